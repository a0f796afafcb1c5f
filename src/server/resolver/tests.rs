//! The shell against a server of our own on loopback. The sockets are real, the time is not: when
//! nothing comes for a moment, it jumps to the next deadline.

use super::*;
use crate::dns::testing::{self as make, Reply};
use crate::dns::{Kind, Record};
use mio::{Events, Poll};
use std::collections::HashSet;
use std::net::{TcpListener, UdpSocket as StdUdpSocket};
use std::thread;

const BASE: usize = 5_000;

/// A server that does what the first label of a name says.
fn serve() -> SocketAddr {
    let (udp, tcp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = tcp.local_addr().expect("an address");
        if let Ok(udp) = StdUdpSocket::bind(address) {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().expect("an address");
    thread::spawn(move || serve_udp(&udp));
    thread::spawn(move || serve_tcp(&tcp));
    address
}

fn right(query: &[u8]) -> Reply {
    Reply::to(query).address(&make::read_query(query).0, 300, "192.0.2.80")
}

fn serve_udp(socket: &StdUdpSocket) {
    let mut lost = HashSet::new();
    let mut buffer = [0; 4_096];
    while let Ok((count, from)) = socket.recv_from(&mut buffer) {
        let query = &buffer[..count];
        let name = make::read_query(query).0.to_ascii_lowercase();
        let send = |octets: &[u8]| {
            let _ = socket.send_to(octets, from);
        };
        let right = right(query);
        let mut forged = Reply::to(query).address(&name, 300, "203.0.113.66").0;
        match name.split('.').next().unwrap_or_default() {
            "lost" if lost.insert(name.clone()) => {}
            "long" => send(&Reply::to(query).truncated().0),
            "forged" => {
                let stranger = StdUdpSocket::bind("127.0.0.1:0").expect("a port");
                let _ = stranger.send_to(&forged, from);
                forged[0] ^= 0x55;
                send(&forged);
                send(b"");
                send(&right.0);
            }
            _ => send(&right.0),
        }
    }
}

fn serve_tcp(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.expect("a client");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a length");
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).expect("a query");
        let name = make::read_query(&query).0;
        let more = (1..=60).fold(Reply::to(&query), |reply, last| {
            reply.address(&name, 300, &format!("192.0.2.{last}"))
        });
        let length = u16::try_from(more.0.len()).expect("short").to_be_bytes();
        // In two pieces, the first of them an odd one.
        stream.write_all(&length[..1]).expect("a client that listens");
        let _ = stream.flush();
        thread::yield_now();
        stream.write_all(&[&length[1..], &more.0].concat()).expect("a client that listens");
    }
}

struct Rig {
    poll: Poll,
    shell: Shell,
    now: Duration,
}

impl Rig {
    fn new(server: SocketAddr) -> Rig {
        let poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("a registry");
        let settings = Settings { servers: vec![server], ..Settings::default() };
        Rig { poll, shell: Shell::new(settings, registry, BASE), now: Duration::from_secs(100) }
    }

    fn ask(&mut self, asker: u64, name: &str) -> Option<Arc<Answer>> {
        self.shell.ask(asker, &Question::new(name, Kind::A), self.now)
    }

    /// Waits for this many answers, sorted by asker.
    fn wait(&mut self, count: usize) -> Vec<Told> {
        let mut told: Vec<Told> = Vec::new();
        let mut events = Events::with_capacity(64);
        for _ in 0..2_000 {
            told.extend(self.shell.take_answers());
            if told.len() >= count {
                told.sort_by_key(|(asker, ..)| *asker);
                return told;
            }
            let unread = self.shell.deadline() == Some(Duration::ZERO);
            let patience = Duration::from_millis(if unread { 0 } else { 100 });
            self.poll.poll(&mut events, Some(patience)).expect("events");
            for event in &events {
                assert!(self.shell.owns(event.token().0));
                self.shell.on_event(event.token().0, self.now);
            }
            if events.is_empty() && !unread {
                self.now = self.now.max(self.shell.deadline().expect("something to wait for"));
            }
            self.shell.tick(self.now);
        }
        panic!("{} of {count} answers", told.len());
    }

    fn addresses(&mut self, name: &str) -> Vec<String> {
        assert_eq!(self.ask(1, name), None);
        let (_, question, answer) = self.wait(1).remove(0);
        assert_eq!(question, question::Question::Dns(Question::new(name, Kind::A)));
        let Answer::Dns(answer) = &*answer else { panic!("{answer:?}") };
        answer.addresses().map(|address| address.to_string()).collect()
    }

    fn is_clean(&self) -> bool {
        self.shell.udp.is_empty() && self.shell.tcp.is_empty()
    }
}

#[test]
fn questions_over_real_sockets() {
    let mut rig = Rig::new(serve());
    for name in ["plain.example", "lost.example", "forged.example"] {
        let before = rig.now;
        assert_eq!(rig.addresses(name), ["192.0.2.80"], "{name}");
        let waited = rig.now - before;
        assert_eq!(waited >= Duration::from_secs(5), name.starts_with("lost"), "{name}");
        assert!(rig.is_clean(), "{name}");
        assert!(rig.ask(1, name).is_some(), "{name} is known now");
    }
    assert!(rig.shell.resolver().counts().forged >= 2, "{:?}", rig.shell.resolver().counts());
    assert_eq!(rig.addresses("long.example").len(), 60);
    assert_eq!(rig.shell.resolver().counts().streams, 1);
    assert!(rig.is_clean());
}

#[test]
fn many_at_once_share_sockets() {
    let mut rig = Rig::new(serve());
    for asker in 0..600 {
        let name = if asker % 3 == 0 { "same.example" } else { &format!("n{asker}.example") };
        assert_eq!(rig.ask(asker, name), None);
        assert!(rig.shell.udp.len() <= 256);
    }
    let told = rig.wait(600);
    let askers: Vec<u64> = told.iter().map(|(asker, ..)| *asker).collect();
    assert_eq!(askers, (0..600).collect::<Vec<_>>());
    let records = [Record::Address(Ipv4Addr::new(192, 0, 2, 80).into())];
    let expected = Answer::Dns(crate::dns::Answer::Found(records.into()));
    assert!(told.iter().all(|(.., answer)| **answer == expected));
    assert!(rig.is_clean());
}

#[test]
fn a_server_that_is_not_there_is_noticed_at_once() {
    let gone = StdUdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let mut rig = Rig::new(gone.expect("an address"));
    let before = rig.now;
    assert_eq!(rig.ask(1, "www.example"), None);
    let told = rig.wait(1);
    assert_eq!(*told[0].2, Answer::Dns(crate::dns::Answer::TempFail));
    assert_eq!(rig.now, before, "without waiting");
    assert!(rig.is_clean());
}

#[test]
fn answers_that_are_known_come_at_once() {
    let mut rig = Rig::new(([127, 0, 0, 1], 9).into());
    assert!(rig.ask(1, "localhost").is_some());
    let (servers, hosts) = (vec![([127, 0, 0, 1], 9).into()], "192.0.2.1 nas".into());
    let settings = Settings { servers, hosts, everything: false };
    rig.shell.configure(settings, rig.now);
    assert!(rig.ask(1, "nas").is_some());
    assert_eq!((rig.shell.deadline(), rig.shell.take_lines(Duration::ZERO).count()), (None, 0));
    assert!(!rig.shell.owns(BASE - 1) && !rig.shell.owns(BASE + Shell::TOKENS));
}
