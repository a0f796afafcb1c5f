//! What a client costs while it does nothing: idle in the dialogue, or waiting for slow name servers.
//!
//! Thousands of sessions may wait at once, so their size is a promise. An allocator that counts sees
//! every octet that this thread holds, rounded as the C library rounds it; other tests run beside.

mod tls;

use mailreeve::config::files::Files;
use mailreeve::config::{Config, Defaults};
use mailreeve::dns::{self, Kind, Record, reverse_address};
use mailreeve::plugin::log::{Id, Level};
use mailreeve::plugin::question::Answer;
use mailreeve::plugin::site::Site;
use mailreeve::plugin::visit::{Surroundings, Visit, Want};
use mailreeve::plugin::{
    Chain, Cx, Hook, HookSet, Hooked, Loaded, Moment, Peer, Place, Plugin, Question, Verdict,
};
use mailreeve::smtp::address::Address;
use mailreeve::store;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// Sessions that may wait at once within `PARKED_MAX` octets.
const SESSIONS: u32 = 5_000;
const PARKED_MAX: usize = 20 * 1_024 * 1_024;

/// Octets of a session that waits for its client, all in all.
const IDLE_MAX: usize = 2 * 1_024;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Octets that this thread has taken and not given back.
    static LIVE: Cell<isize> = const { Cell::new(0) };

    /// The most it has held since somebody set this back.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// What the allocator of the C library sets aside for a request: a header word, steps of 16.
fn rounded(size: usize) -> isize {
    isize::try_from((size + 8).next_multiple_of(16).max(32)).expect("no request is that large")
}

fn count(by: isize) {
    // While a thread ends there is nothing to count with any more.
    let _ = LIVE.try_with(|live| {
        let now = live.get() + by;
        live.set(now);
        PEAK.try_with(|peak| peak.set(peak.get().max(now)))
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature; this one adds a count")]
// SAFETY: every call is passed on to the system's allocator as it came; the count allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(rounded(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-rounded(layout.size()));
        // SAFETY: as above; `at` came from `alloc`, that is, from the system.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(rounded(size) - rounded(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Octets that `make` leaves behind in what it returns.
fn cost<T>(make: impl FnOnce() -> T) -> (usize, T) {
    let before = LIVE.get();
    let made = make();
    let taken = LIVE.get() - before;
    (usize::try_from(taken).expect("making something does not free more than it takes"), made)
}

/// Octets that `work` holds at its height, above what was held before.
pub(crate) fn height<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = LIVE.get();
    PEAK.set(before);
    let done = work();
    (usize::try_from(PEAK.get() - before).expect("a height is not below its ground"), done)
}

/// Block lists and a reverse name, as one plugin at one hook.
struct Lists {
    hook: Hook,
    zones: &'static [&'static str],
}

impl Lists {
    fn look(&self, cx: &mut Cx<'_>) -> Hooked {
        let address = reverse_address(cx.peer().ip);
        let names = self.zones.iter().map(|zone| format!("{address}.{zone}"));
        let answers = cx.dns_all(names.map(|name| dns::Question::new(&name, Kind::A)))?;
        let listed = answers.iter().any(|answer| !answer.records().is_empty());
        Ok(if listed { Verdict::deny((7, 1), "listed") } else { Verdict::Declined })
    }
}

impl Plugin for Lists {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[self.hook])
    }
    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        self.look(cx)
    }
    fn rcpt(&self, cx: &mut Cx<'_>, _recipient: &Address) -> Hooked {
        self.look(cx)
    }
}

/// Takes every recipient and every message.
struct Taker;

impl Plugin for Taker {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt, Hook::Queue])
    }
    fn rcpt(&self, _cx: &mut Cx<'_>, _recipient: &Address) -> Hooked {
        Ok(Verdict::OK)
    }
    fn queue(&self, _cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::OK)
    }
}

fn chain(waits_at: Option<Hook>) -> Arc<Chain> {
    let lists = |name, zones| {
        let hook = waits_at?;
        Some(Loaded::plain(name, Arc::new(Lists { hook, zones })))
    };
    let plugins = [
        lists("dnsbl", &["zen.list.example", "bl.list.example", "b.other.example"]),
        lists("fcrdns", &["in-addr.arpa"]),
        lists("white", &["white.list.example", "reputation.list.example"]),
        Some(Loaded::plain("taker", Arc::new(Taker))),
    ];
    Arc::new(Chain::new("plugins", plugins.into_iter().flatten().collect()))
}

fn site() -> Arc<Site> {
    let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
    let nowhere = store::Place::Sqlite(std::path::PathBuf::new());
    Arc::new(Site {
        store: store::Settings::new(nowhere),
        config: Arc::new(Config::load(&Files::in_memory([]), &defaults, &mut Vec::new())),
        base: chain(None),
        lists: BTreeMap::new(),
        peers: None,
        outputs: Vec::new(),
        loglevel: Level::Info,
        stamps: Vec::new(),
        parts: BTreeMap::new(),
    })
}

fn around(site: &Arc<Site>) -> Surroundings<'_> {
    let now = Moment { mono: Duration::ZERO, unix: Duration::ZERO, utc_offset: 0 };
    Surroundings { now, site, verbosity: Level::Info, stopwatch: || Duration::ZERO }
}

/// A client that has said `text`. Its replies and its log are on their way, as in the daemon.
fn visit(number: u32, chain: &Arc<Chain>, site: &Arc<Site>, text: &[u8]) -> (Visit, Want) {
    let ip = IpAddr::V4(Ipv4Addr::from(0xc633_6400 + number));
    let peer =
        Peer { ip, port: 1_025, local: "192.0.2.25:25".parse().expect("a socket"), name: None };
    let mut visit = Visit::new(Id(u64::from(number) + 1), peer, Arc::clone(chain), &around(site));
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let (used, want) = visit.pump(rest, &mut out, &around(site));
        rest = rest.get(used..).unwrap_or_default();
        match want {
            Want::Move(_) => {
                visit.work(Place::Worker, around(site).now);
            }
            Want::Turn => {}
            want => {
                visit.take_log();
                return (visit, want);
            }
        }
    }
}

const HELLO: &[u8] = b"EHLO mail.some-company.example\r\n";
const MAIL: &[u8] = b"MAIL FROM:<somebody@some-company.example>\r\n";
const RCPT: &[u8] = b"RCPT TO:<somebody@mx.example.net>\r\n";
const TEXT: &[u8] = b"DATA\r\nSubject: x\r\n\r\nHello!\r\n.\r\n";

#[test]
fn an_idle_client_is_small() {
    let (site, chain) = (site(), chain(None));
    for (what, said) in [
        ("greeted", vec![]),
        ("introduced", vec![HELLO]),
        ("after a mail", vec![HELLO, MAIL, RCPT, TEXT]),
        ("in an envelope", vec![HELLO, MAIL, RCPT]),
    ] {
        let said = said.concat();
        let count = 100;
        let (octets, visits) = cost(|| {
            let mut visits = Vec::with_capacity(count);
            for number in 0..100 {
                let (visit, want) = visit(number, &chain, &site, &said);
                assert_eq!(want, Want::Input);
                visits.push(visit);
            }
            visits
        });
        let each = octets / visits.len();
        println!("{what}: {each} octets, {} of them inline", size_of::<Visit>());
        assert!(each <= IDLE_MAX, "{what}: {each} octets");
    }
}

#[test]
fn thousands_wait_for_slow_name_servers() {
    let site = site();
    for (hook, said) in [(Hook::Connect, vec![]), (Hook::Rcpt, vec![HELLO, MAIL, RCPT])] {
        let (chain, said) = (chain(Some(hook)), said.concat());
        let (octets, mut visits) = cost(|| {
            let mut visits = Vec::with_capacity(SESSIONS as usize);
            for number in 0..SESSIONS {
                let (mut visit, want) = visit(number, &chain, &site, &said);
                assert_eq!(want, Want::Answers);
                assert_eq!(visit.take_questions().len(), 6, "every list is asked at once");
                visits.push(visit);
            }
            visits
        });
        println!("at {hook:?}: {} octets each", octets / visits.len());
        assert!(octets <= PARKED_MAX, "{hook:?}: {octets} octets for {SESSIONS} sessions");

        // They have not lost anything: each goes on when its own answers are in.
        let address = Record::Address("127.0.0.2".parse().expect("an address"));
        let listed = Arc::new(Answer::Dns(dns::Answer::Found(Arc::new([address]))));
        for visit in &mut visits {
            let address = reverse_address(visit.peer().ip);
            for (zone, goes_on) in
                [("zen.list.example", false), ("bl.list.example", false), ("b.other.example", true)]
            {
                let name = format!("{address}.{zone}");
                let question = Question::Dns(dns::Question::new(&name, Kind::A));
                assert_eq!(visit.answer(&question, &listed), goes_on);
            }
            let mut out = Vec::new();
            visit.pump(b"", &mut out, &around(&site));
            assert!(out.starts_with(b"55"), "{}", String::from_utf8_lossy(&out));
        }
    }
}
