//! Many sessions and slow name servers: the visits and the resolver of the daemon, without sockets or
//! threads, in virtual time. What leaves for the name server is counted, datagram by datagram.

use mailreeve::config::Defaults;
use mailreeve::config::files::Files;
use mailreeve::dns::resolver::{Output, Random, Resolver, Settings};
use mailreeve::dns::{self, Kind};
use mailreeve::plugin::log::{Id, Level};
use mailreeve::plugin::question::{Answer, Question};
use mailreeve::plugin::site::Site;
use mailreeve::plugin::visit::{Surroundings, Visit, Want};
use mailreeve::plugin::{Moment, Peer};
use mailreeve::plugins::load::{Strictness, load};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long the name server takes for every answer.
const DELAY: Duration = Duration::from_secs(2);

/// Numbers that are the same in each run (xorshift64*).
struct Numbers(u64);

impl Random for Numbers {
    fn u64(&mut self) -> Option<u64> {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        Some(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }
}

/// A client: what it will say, and when it heard what.
struct Client {
    visit: Visit,
    commands: Vec<String>,
    next: usize,
    /// The time of each reply that ended a wait for the server.
    replies: Vec<(Duration, String)>,
    closed: bool,
}

/// Everything there is.
struct World {
    site: Arc<Site>,
    resolver: Resolver,
    now: Duration,
    clients: Vec<Client>,
    /// Datagrams under way to us, by the time of their arrival.
    coming: BTreeMap<(Duration, u64), (u16, SocketAddr, Vec<u8>)>,
    /// Each datagram that left: when, and the question.
    sent: Vec<(Duration, String)>,
    /// Names that have an address, here 127.0.0.2.
    listed: BTreeSet<String>,
}

impl World {
    fn new(files: &[(&str, &str)]) -> World {
        let files = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let defaults = Defaults { host_name: "mx.example.net".into(), cores: 2 };
        let (site, problems) = load(&Files::in_memory(files), &defaults, None, Strictness::Start);
        assert!(problems.is_empty(), "{problems:?}");
        let servers = vec![([127, 0, 0, 1], 53).into()];
        let settings = Settings { servers, hosts: String::new(), everything: false };
        World {
            site: Arc::new(site),
            resolver: Resolver::new(settings, Box::new(Numbers(88_172_645_463_325_252))),
            now: Duration::from_secs(1),
            clients: Vec::new(),
            coming: BTreeMap::new(),
            sent: Vec::new(),
            listed: BTreeSet::new(),
        }
    }

    /// A client connects, and will say all this.
    fn connect(&mut self, ip: Ipv4Addr, commands: &[&str]) -> usize {
        let ip = IpAddr::V4(ip);
        let local = ([198, 51, 100, 25], 25).into();
        let peer = Peer { ip, port: 40_000, local, name: None };
        let around = around(&self.site, self.now);
        let number = self.clients.len();
        let visit = Visit::new(Id(number as u64 + 1), peer, Arc::clone(&self.site.base), &around);
        let commands = commands.iter().map(|it| format!("{it}\r\n")).collect();
        let client = Client { visit, commands, next: 0, replies: Vec::new(), closed: false };
        self.clients.push(client);
        // As the daemon does at accept.
        let name = dns::Question::new(&dns::reverse_name(ip), Kind::Ptr);
        self.ask(number, &Question::Dns(name));
        self.pump(number);
        number
    }

    /// Goes on with a client until it waits for answers.
    fn pump(&mut self, number: usize) {
        loop {
            let client = &mut self.clients[number];
            if client.closed {
                return;
            }
            let input = match client.next.checked_sub(1) {
                Some(last) if !client.commands[last].is_empty() => {
                    std::mem::take(&mut client.commands[last]).into_bytes()
                }
                _ => Vec::new(),
            };
            let mut out = Vec::new();
            let (used, want) = client.visit.pump(&input, &mut out, &around(&self.site, self.now));
            assert_eq!(used, input.len(), "a command is used whole");
            if !out.is_empty() {
                let said = String::from_utf8(out).expect("replies are ASCII");
                client.replies.push((self.now, said));
            }
            client.visit.take_log();
            let mut known = false;
            for question in client.visit.take_questions() {
                known |= self.ask(number, &question);
            }
            let client = &mut self.clients[number];
            match want {
                Want::Input if client.next < client.commands.len() => client.next += 1,
                Want::Answers if known => {}
                Want::Input | Want::Answers => return,
                Want::Close => client.closed = true,
                Want::Turn => {}
                // `Move` would be a thread.
                other => panic!("{other:?}: nothing here needs more than the loop"),
            }
        }
    }

    /// Asks for a client. True if that was answered at once, and it can go on.
    fn ask(&mut self, number: usize, question: &Question) -> bool {
        let answer = match question {
            Question::Dns(asked) => self.resolver.ask(number as u64, asked, self.now),
            _ => Some(dns::Answer::TempFail),
        };
        self.obey();
        answer.is_some_and(|answer| {
            self.clients[number].visit.answer(question, &Arc::new(Answer::Dns(answer)))
        })
    }

    /// Does what the resolver wants; gives the clients that can go on.
    fn obey(&mut self) -> BTreeSet<usize> {
        let mut ready = BTreeSet::new();
        while let Some(output) = self.resolver.take_output() {
            match output {
                Output::Send { key, to, bytes } => {
                    let reply = self.reply(&bytes);
                    self.coming
                        .insert((self.now + DELAY, self.sent.len() as u64), (key, to, reply));
                }
                Output::Answer { asker, question, answer, .. } => {
                    let number = usize::try_from(asker).expect("small");
                    let question = Question::Dns(dns::Question::clone(&question));
                    let answer = Arc::new(Answer::Dns(answer));
                    if self.clients[number].visit.answer(&question, &answer) {
                        ready.insert(number);
                    }
                }
                Output::OpenUdp { .. } | Output::CloseUdp { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        ready
    }

    /// What the name server says: most names do not exist. It notes what it was asked.
    fn reply(&mut self, query: &[u8]) -> Vec<u8> {
        let mut at = 12;
        let mut name = String::new();
        while query[at] != 0 {
            let end = at + 1 + usize::from(query[at]);
            name.push_str(&String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
            name.push('.');
            at = end;
        }
        name.pop();
        let mut reply = query[..at + 5].to_vec();
        let code = if self.listed.contains(&name) { 0x80 } else { 0x83 };
        let found = u8::from(code == 0x80);
        reply[2..12].copy_from_slice(&[0x81, code, 0, 1, 0, found, 0, 0, 0, 0]);
        if found == 1 {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 2]);
        }
        self.sent.push((self.now, name));
        reply
    }

    /// Time passes, up to this moment.
    fn pass(&mut self, until: Duration) {
        loop {
            let datagram = self.coming.keys().next().map(|(at, _)| *at);
            let timer = self.resolver.deadline();
            let Some(at) = datagram.into_iter().chain(timer).min().filter(|at| *at <= until) else {
                break;
            };
            self.now = at.max(self.now);
            if datagram == Some(at)
                && let Some((_, (key, from, bytes))) = self.coming.pop_first()
            {
                self.resolver.datagram(key, from, &bytes, self.now);
            } else {
                self.resolver.expire(self.now);
            }
            for number in self.obey() {
                self.pump(number);
            }
        }
        self.now = until;
    }

    /// Datagrams by the time at which they left.
    fn rounds(&self) -> Vec<(Duration, usize)> {
        let mut rounds = BTreeMap::new();
        for (at, _) in &self.sent {
            *rounds.entry(*at).or_insert(0) += 1;
        }
        rounds.into_iter().collect()
    }
}

fn around(site: &Arc<Site>, now: Duration) -> Surroundings<'_> {
    let now = Moment { mono: now, unix: Duration::from_secs(1_795_325_243) + now, utc_offset: 0 };
    Surroundings { now, site, verbosity: Level::Warning, stopwatch: || Duration::ZERO }
}

/// Twelve lists with texts of our own, so that each costs one datagram.
fn twelve_zones() -> String {
    (0..12).map(|number| format!("list{number}.example;No\n")).collect()
}

const MAIL: [&str; 4] = [
    "EHLO mail.client.example",
    "MAIL FROM:<a@sender.example>",
    "RCPT TO:<b@mx.example.net>",
    "QUIT",
];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Each hook sends its questions in one round, and none that was asked before: at accept and connect
/// the name and twelve lists, at HELO the name's two addresses, at MAIL three lists of names. Who comes
/// from the same address at the same time costs nothing more, and nor does who comes a minute later.
#[test]
fn one_round_of_questions_a_hook() {
    let zones = twelve_zones();
    let files = [
        ("plugins", "dnsbl\nhelo policy rfc reject 0\nrhsbl\nrcpt_ok\nqueue/discard"),
        ("dnsbl_zones", zones.as_str()),
        ("rhsbl_zones", "a.example bad\nb.example bad\nc.example bad"),
    ];
    let mut world = World::new(&files);
    let client = Ipv4Addr::new(198, 18, 0, 1);
    let start = world.now;
    let first = world.connect(client, &MAIL);
    for _ in 1..50 {
        world.connect(client, &MAIL);
    }
    world.pass(start + seconds(20));
    let expected = [(start, 1 + 12 + 2), (start + DELAY, 3)];
    assert_eq!(world.rounds(), expected, "{:#?}", world.sent);
    assert_eq!(world.resolver.counts().sent, 18);
    for client in &world.clients {
        assert!(client.closed, "{:?}", client.replies);
    }
    let replies = &world.clients[first].replies;
    assert!(replies.iter().any(|(_, said)| said.starts_with("250 2.1.5 ")), "{replies:?}");

    world.pass(start + seconds(25));
    world.connect(client, &MAIL);
    world.pass(start + seconds(30));
    assert_eq!(world.resolver.counts().sent, 18, "what is known is not asked for");
    // Another sender from there costs the lists of names only.
    let other = ["EHLO mail.client.example", "MAIL FROM:<a@other.example>", "QUIT"];
    world.connect(client, &other);
    world.pass(start + seconds(40));
    assert_eq!(world.resolver.counts().sent, 21);
}

/// Two thousand clients, each from an address of its own, whose every list takes two seconds: all are
/// answered within four seconds of their coming, whether the greeting waits for the lists or RCPT
/// does, and no thread is wanted for any of them. Somebody beside them who waits for no list does not
/// wait for them either.
#[test]
fn thousands_wait_for_slow_lists_and_nobody_else_does() {
    const SESSIONS: u32 = 2_000;
    for (reject, listed_reply) in
        [("reject 1", "550 5.7.1 (dnsbl) No ["), ("reject connect", "554 ")]
    {
        let zones = twelve_zones();
        let plugins = format!("dnsbl {reject}\nrcpt_ok\nqueue/discard");
        let files = [
            ("plugins", plugins.as_str()),
            ("dnsbl_zones", zones.as_str()),
            ("dnsbl_allow", "198.19.255.1"),
        ];
        let mut world = World::new(&files);
        world.listed.insert("5.0.18.198.list11.example".to_string());
        let start = world.now;
        for number in 0..SESSIONS {
            let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
            world.connect(ip, &MAIL);
        }
        assert_eq!(world.resolver.in_flight(), 13 * SESSIONS as usize);
        world.pass(start + seconds(1));
        let fast = world.connect(Ipv4Addr::new(198, 19, 255, 1), &MAIL);
        world.pass(start + seconds(10));

        let said = |number: usize| &world.clients[number].replies;
        assert!(said(fast).iter().all(|(at, _)| *at == start + seconds(1)), "{:?}", said(fast));
        assert!(said(fast).iter().any(|(_, said)| said.starts_with("250 2.1.5 ")));
        for (number, client) in world.clients.iter().enumerate() {
            let last = client.replies.iter().map(|(at, _)| *at).max().expect("a reply");
            assert!(last <= start + seconds(4), "client {number}: {:?}", client.replies);
            let wanted = if number == 5 { listed_reply } else { "250 2.1.5 " };
            let heard = client.replies.iter().any(|(_, said)| said.starts_with(wanted));
            assert!(heard, "client {number}: {:?}", client.replies);
        }
        assert_eq!(world.resolver.in_flight(), 0);
        let each = 1 + 12;
        assert_eq!(world.resolver.counts().sent, u64::from(SESSIONS) * each + 1);
    }
}
