//! The resolver against scripted servers in virtual time: the harness, and the usual course.

mod faults;
mod hostile;
mod lists;

use super::*;
use crate::dns::testing::{self as make, Reply};
use crate::dns::{Kind, Record};
use std::collections::{HashMap, HashSet};

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

/// A datagram or stream that the resolver sent.
#[derive(Clone, Debug)]
struct Sent {
    key: u16,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Sent {
    fn name(&self) -> String {
        make::read_query(&self.bytes).0.to_ascii_lowercase()
    }

    fn edns(&self) -> bool {
        make::read_query(&self.bytes).2
    }

    fn number(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// A reply with this address.
    fn address(&self, address: &str) -> Reply {
        Reply::to(&self.bytes).address(&make::read_query(&self.bytes).0, 300, address)
    }

    fn empty(&self) -> Reply {
        Reply::to(&self.bytes)
    }
}

/// The resolver and all that surrounds it.
struct World {
    resolver: Resolver,
    now: Duration,
    sockets: HashMap<u16, SocketAddr>,
    streams: HashMap<u16, SocketAddr>,
    ports: Vec<u16>,
    open_ports: HashMap<u16, u16>,
    sent: Vec<Sent>,
    connected: Vec<Sent>,
    answers: Vec<(u64, String, Answer)>,
    /// For each answer, whether it says nothing that is new.
    rests: Vec<bool>,
    log: Vec<String>,
}

fn server(number: u8) -> SocketAddr {
    ([192, 0, 2, number], 53).into()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn found(address: &str) -> Answer {
    Answer::Found([Record::Address(address.parse().expect("an address"))].into())
}

impl World {
    fn new(servers: u8) -> World {
        let servers = (1..=servers).map(server).collect();
        let hosts = "192.168.0.9 nas\n".to_string();
        let settings = Settings { servers, hosts, everything: false };
        World {
            resolver: Resolver::new(settings, Box::new(Numbers(88_172_645_463_325_252))),
            now: seconds(1_000),
            sockets: HashMap::new(),
            streams: HashMap::new(),
            ports: Vec::new(),
            open_ports: HashMap::new(),
            sent: Vec::new(),
            connected: Vec::new(),
            answers: Vec::new(),
            rests: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Does what the resolver says, and checks that it keeps to its own rules.
    fn drain(&mut self) {
        while let Some(output) = self.resolver.take_output() {
            match output {
                Output::OpenUdp { key, server, port } => {
                    assert!(port >= 16_384, "{port}");
                    assert!(self.sockets.insert(key, server).is_none(), "{key} is open");
                    assert!(self.sockets.len() <= 256 && key < SOCKETS_MAX, "{key}");
                    self.ports.push(port);
                    self.open_ports.insert(key, port);
                }
                Output::CloseUdp { key } => assert!(self.sockets.remove(&key).is_some(), "{key}"),
                Output::Send { key, to, bytes } => {
                    assert_eq!(self.sockets.get(&key), Some(&to));
                    self.sent.push(Sent { key, to, bytes });
                }
                Output::TcpConnect { key, to, bytes } => {
                    assert!(self.streams.insert(key, to).is_none() && key < STREAMS_MAX);
                    let (length, query) = bytes.split_at(2);
                    assert_eq!(length, u16::try_from(query.len()).unwrap().to_be_bytes());
                    self.connected.push(Sent { key, to, bytes: query.to_vec() });
                }
                Output::TcpClose { key } => assert!(self.streams.remove(&key).is_some(), "{key}"),
                Output::Answer { asker, question, answer, rests } => {
                    self.rests.push(rests);
                    self.answers.push((asker, question.name.to_string(), answer));
                }
                Output::Log(_, text) => self.log.push(text),
            }
        }
    }

    /// Asks for an address.
    fn ask(&mut self, asker: u64, name: &str) -> Option<Answer> {
        let answer = self.resolver.ask(asker, &Question::new(name, Kind::A), self.now);
        self.drain();
        answer
    }

    /// Asks, and gives the one datagram that this led to.
    fn ask_one(&mut self, name: &str) -> Sent {
        assert_eq!(self.ask(1, name), None);
        self.one()
    }

    /// The one datagram that was sent since the last look.
    fn one(&mut self) -> Sent {
        let mut sent = std::mem::take(&mut self.sent);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// The one connection that was made since the last look.
    fn one_stream(&mut self) -> Sent {
        let mut connected = std::mem::take(&mut self.connected);
        assert_eq!(connected.len(), 1, "{connected:?}");
        connected.remove(0)
    }

    fn datagram(&mut self, key: u16, from: SocketAddr, bytes: &[u8]) {
        if self.sockets.contains_key(&key) {
            self.resolver.datagram(key, from, bytes, self.now);
            self.drain();
        }
    }

    fn reply(&mut self, to: &Sent, reply: &Reply) {
        self.datagram(to.key, to.to, &reply.0);
    }

    fn stream(&mut self, key: u16, bytes: &[u8]) {
        if self.streams.contains_key(&key) {
            self.resolver.tcp_data(key, bytes, self.now);
            self.drain();
        }
    }

    /// A whole reply by TCP.
    fn stream_reply(&mut self, to: &Sent, reply: &Reply) {
        let length = u16::try_from(reply.0.len()).expect("short").to_be_bytes();
        self.stream(to.key, &[&length[..], &reply.0].concat());
    }

    fn stream_closed(&mut self, key: u16) {
        self.resolver.tcp_closed(key, self.now);
        self.drain();
    }

    /// Time passes; what is due in it happens on time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.resolver.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.resolver.expire(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// The answers so far, in short, without those who asked.
    fn answered(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers).into_iter().map(|(_, _, answer)| answer).collect()
    }

    /// Nothing is left over from questions that have ended.
    fn is_clean(&self) -> bool {
        self.sockets.is_empty() && self.streams.is_empty() && self.resolver.in_flight() == 0
    }
}

#[test]
fn identical_questions_are_asked_once_and_then_known() {
    let mut world = World::new(1);
    let sent = world.ask_one("www.Example.");
    assert_eq!(world.ask(2, "www.example"), None);
    assert_eq!(world.ask(2, "www.example"), None, "asking twice");
    assert!(world.sent.is_empty());
    world.pass(Duration::from_millis(20));
    world.reply(&sent, &sent.address("192.0.2.80"));
    let answer = found("192.0.2.80");
    let expected = [1, 2].map(|asker| (asker, "www.example".to_string(), answer.clone()));
    assert_eq!(world.answers, expected);
    assert!(world.is_clean());
    world.pass(seconds(299));
    assert_eq!(world.ask(3, "WWW.example"), Some(answer));
    assert_eq!(world.resolver.counts().cached, 1);
    world.pass(seconds(1));
    assert_eq!(world.ask(3, "www.example"), None, "its time is over");
    let other = Question::new("www.example", Kind::Aaaa);
    assert_eq!(world.resolver.ask(3, &other, world.now), None, "another type");
    world.drain();
    assert_eq!(world.sent.len(), 2);
}

#[test]
fn denials_are_told_apart_and_kept() {
    for (code, authority, answer, kept) in [
        (0, true, Answer::NoData, 600),
        (3, true, Answer::NxDomain, 600),
        (0, false, Answer::NoData, 30),
        (3, false, Answer::NxDomain, 30),
    ] {
        let mut world = World::new(1);
        let sent = world.ask_one("www.example");
        let mut reply = sent.empty().rcode(code);
        if authority {
            reply = reply.authority("example", make::SOA, 900, &make::soa(600));
        }
        world.reply(&sent, &reply);
        assert_eq!(world.answered(), std::slice::from_ref(&answer));
        world.pass(seconds(kept - 1));
        assert_eq!(world.ask(2, "www.example"), Some(answer));
        world.pass(seconds(1));
        assert_eq!(world.ask(2, "www.example"), None);
    }
}

#[test]
fn names_that_never_leave() {
    let mut world = World::new(1);
    let long = format!("{}.example", "a".repeat(64));
    for (name, answer) in [
        ("localhost", found("127.0.0.1")),
        ("nas", found("192.168.0.9")),
        ("a.invalid", Answer::NxDomain),
        ("1.0.0.10.in-addr.arpa", Answer::NxDomain),
        (&long, Answer::NxDomain),
        ("a..example", Answer::NxDomain),
    ] {
        assert_eq!(world.ask(1, name), Some(answer), "{name}");
    }
    assert!(world.sent.is_empty() && world.is_clean());
}

#[test]
fn a_server_named_by_hand_is_asked_for_everything() {
    let mut world = World::new(1);
    let hosts = "192.168.0.9 nas\n".to_string();
    let settings = Settings { servers: vec![server(1)], hosts, everything: true };
    world.resolver.configure(settings, world.now);
    for name in ["localhost", "nas", "a.invalid", "1.0.0.10.in-addr.arpa"] {
        let sent = world.ask_one(name);
        assert_eq!(sent.name(), name);
        let alias = sent.empty().alias(name, 300, "b.invalid");
        world.reply(&sent, &alias);
        assert_eq!(world.one().name(), "b.invalid");
    }
}

#[test]
fn ports_numbers_and_case_are_spread() {
    let mut world = World::new(1);
    let (mut numbers, mut capitals) = (HashSet::new(), 0_usize);
    let mut bits = [0; 16];
    for count in 0..1_000 {
        let sent = world.ask_one(&format!("abcdefghij{count}.example"));
        numbers.insert(sent.number());
        for (bit, ones) in bits.iter_mut().enumerate() {
            *ones += sent.number() >> bit & 1;
        }
        let name = make::read_query(&sent.bytes).0;
        capitals += name.bytes().filter(u8::is_ascii_uppercase).count();
        world.reply(&sent, &sent.empty());
    }
    let ports: HashSet<u16> = world.ports.iter().copied().collect();
    assert_eq!(world.ports.len(), 1_000, "each had a socket of its own");
    assert!(ports.len() > 950 && numbers.len() > 950, "{} {}", ports.len(), numbers.len());
    let spread = ports.iter().max().unwrap() - ports.iter().min().unwrap();
    assert!(spread > 40_000, "{spread}");
    assert!(bits.iter().all(|ones| (400..600).contains(ones)), "{bits:?}");
    assert!((8_000..9_000).contains(&capitals), "half of 17,000: {capitals}");
}

#[test]
fn busy_sockets_make_room_for_new_ones() {
    // One of eight servers has 32 sockets.
    let mut world = World::new(8);
    let (mut waiting, mut uses) = (VecDeque::new(), HashMap::<(u16, u16), u32>::new());
    let mut most = 0;
    // Five hundred are out at any time, so that no socket is ever without a question by chance.
    for count in 0..40_000 {
        let sent = world.ask_one(&format!("{count}.example"));
        let port = world.open_ports[&sent.key];
        let used = uses.entry((sent.key, port)).or_default();
        *used += 1;
        most = most.max(*used);
        waiting.push_back(sent);
        if waiting.len() > 500
            && let Some(sent) = waiting.pop_front()
        {
            world.reply(&sent, &sent.empty());
            world.answers.clear();
        }
    }
    assert!(most <= 600, "{most} questions from one socket");
    assert!(world.ports.len() > 100, "{} sockets", world.ports.len());
    assert!(world.sockets.len() <= 32);
}

#[test]
fn who_leaves_is_not_answered() {
    let mut world = World::new(1);
    let sent = world.ask_one("www.example");
    world.ask(2, "www.example");
    world.resolver.cancel(1);
    world.resolver.cancel(7);
    world.reply(&sent, &sent.address("192.0.2.80"));
    assert_eq!(world.answers.iter().map(|(asker, ..)| *asker).collect::<Vec<_>>(), [2]);

    let sent = world.ask_one("late.example");
    world.resolver.cancel(1);
    world.answers.clear();
    world.pass(seconds(4));
    world.reply(&sent, &sent.address("192.0.2.80"));
    assert_eq!(world.ask(1, "late.example"), Some(found("192.0.2.80")), "it was kept all the same");

    world.ask_one("never.example");
    world.resolver.cancel(1);
    world.pass(seconds(5));
    assert!(world.sent.is_empty() && world.is_clean(), "not asked again for nobody");
    assert_eq!(world.ask(1, "never.example"), None, "and not known to fail");
    assert!(world.answers.is_empty());
}

#[test]
fn aliases_are_followed_over_questions() {
    for (links, data, answer) in [
        (1, true, found("192.0.2.80")),
        (8, true, found("192.0.2.80")),
        (9, true, Answer::TempFail),
        (3, false, Answer::NxDomain),
    ] {
        let mut world = World::new(1);
        let mut sent = world.ask_one("n0.example");
        for link in 1..=links {
            let reply = sent.empty().alias(&sent.name(), 40, &format!("N{link}.example"));
            world.reply(&sent, &reply);
            if !world.sent.is_empty() {
                sent = world.one();
                assert_eq!(sent.name(), format!("n{link}.example"));
            }
        }
        let last = if data { sent.address("192.0.2.80") } else { sent.empty().rcode(3) };
        world.reply(&sent, &last);
        assert_eq!(world.answered(), std::slice::from_ref(&answer), "{links} links");
        assert!(world.is_clean());
        assert_eq!(world.ask(1, "n0.example"), Some(answer));
        assert_eq!(
            world.ask(1, &format!("n{links}.example")),
            None,
            "only what was asked is known"
        );
    }
}

#[test]
fn aliases_lead_to_no_name_of_ours() {
    for (target, answer) in [
        ("localhost", found("127.0.0.1")),
        ("x.invalid", Answer::NxDomain),
        ("1.0.168.192.in-addr.arpa", Answer::NxDomain),
    ] {
        let mut world = World::new(1);
        let sent = world.ask_one("www.example");
        world.reply(&sent, &sent.empty().alias("www.example", 300, target));
        assert_eq!((world.answered(), world.sent.len()), (vec![answer], 0), "{target}");
    }
    let mut world = World::new(1);
    let sent = world.ask_one("www.example");
    world.reply(&sent, &sent.empty().alias("www.example", 300, "nas"));
    assert_eq!(world.one().name(), "nas", "strangers do not read our hosts file");
}

impl World {
    /// Another name asked for beside the ones on their way.
    fn ask_one_more(&mut self, name: &str, count: i32) -> Sent {
        self.sent.clear();
        self.ask_one(&format!("{count}.{name}"))
    }
}
