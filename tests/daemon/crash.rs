//! `kill -9` and SIGTERM under load: 250 means kept, exactly once.

use crate::daemon::client::{Client, kept, stuffed};
use crate::daemon::house::{Daemon, House};
use crate::daemon::system::{Dice, is_full, note};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::time::{SystemTime, UNIX_EPOCH};

const SENDERS: usize = 4;

/// A message by its name: small, at the threshold, or large enough for the spool.
fn text(name: &str) -> Vec<u8> {
    let sum: usize = name.bytes().map(usize::from).sum();
    let lines = [1, 5, 820, 3_000][sum % 4];
    let line = format!("{name} ").repeat(76 / (name.len() + 1)) + "\r\n";
    format!("Subject: {name}\r\n\r\n{}", line.repeat(lines)).into_bytes()
}

/// Sends until the daemon is gone, and tells of each step; gives what was begun, and whether its 250
/// was read.
fn send(address: SocketAddr, sender: &str, steps: &Sender<()>) -> Vec<(String, bool)> {
    let mut sent = Vec::new();
    let Ok(stream) = std::net::TcpStream::connect(address) else { return sent };
    let mut client = Client::over(stream);
    let say = |client: &mut Client, wire: &[u8]| {
        // Nobody counts any more once it was killed.
        let _uncounted = steps.send(());
        client.try_send(wire).then(|| client.try_reply()).flatten()
    };
    if say(&mut client, b"").and_then(|_| say(&mut client, b"EHLO client.example\r\n")).is_none() {
        return sent;
    }
    loop {
        let name = format!("{sender}-{}", sent.len());
        let commands = ["MAIL FROM:<a@example.org>\r\n", "RCPT TO:<b@example.com>\r\n", "DATA\r\n"];
        if commands.iter().any(|command| say(&mut client, command.as_bytes()).is_none()) {
            return sent;
        }
        sent.push((name.clone(), false));
        let wire = stuffed(&text(&name));
        let (first, second) = wire.split_at(wire.len() / 2);
        if !client.try_send(first) {
            return sent;
        }
        let Some(reply) = say(&mut client, second) else { return sent };
        assert!(reply.starts_with("250 "), "{reply}");
        if let Some(last) = sent.last_mut() {
            last.1 = true;
        }
    }
}

/// The promise of RFC 5321 section 6.1, at whatever moment the process dies: every mail whose 250 was
/// read is there exactly once and whole, every other at most once and whole, and nothing else is.
#[test]
fn what_was_acknowledged_is_there_exactly_once() {
    ends_under_load(if is_full() { 500 } else { 50 }, Daemon::kill);
}

/// The same for an orderly end, which is a success each time and leaves nothing in the spool.
#[test]
fn a_stop_under_load_loses_nothing() {
    ends_under_load(if is_full() { 100 } else { 15 }, Daemon::stop);
}

/// Ends a daemon so many times while mail comes in, and counts.
fn ends_under_load(rounds: usize, end: fn(Daemon)) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = std::env::var("MAILREEVE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(now.as_nanos() as u64);
    println!("MAILREEVE_SEED={seed}");
    let mut dice = Dice::new(seed);
    let house = House::new();
    house.set("loglevel", "3");
    let (mut acknowledged, mut open_ends) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let daemon = house.start();
        let address = daemon.address();
        let (sender, steps) = channel();
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                let (name, sender) = (format!("r{round}c{number}"), sender.clone());
                std::thread::spawn(move || send(address, &name, &sender))
            })
            .collect();
        drop(sender);
        for _ in 0..dice.roll(200) {
            steps.recv().unwrap();
        }
        // And somewhere between two steps.
        for _ in 0..dice.roll(20_000) {
            std::hint::spin_loop();
        }
        end(daemon);
        for sender in senders {
            for (name, is_acknowledged) in sender.join().unwrap() {
                if is_acknowledged { acknowledged.push(name) } else { open_ends.push(name) }
            }
        }
    }
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for mail in house.mails() {
        let shown = String::from_utf8_lossy(&mail);
        let name = shown.split_once("\nSubject: ").unwrap().1.split_once('\n').unwrap().0;
        assert!(mail.ends_with(&kept(&text(name))), "{name} is not whole");
        assert!(mail.starts_with(b"Return-Path: <a@example.org>\n"), "{name} is not whole");
        *found.entry(name.to_string()).or_default() += 1;
    }
    for name in &acknowledged {
        assert_eq!(found.remove(name), Some(1), "acknowledged: {name}");
    }
    for name in &open_ends {
        let times = found.remove(name).unwrap_or_default();
        assert!(times <= 1, "{name} is there {times} times");
    }
    assert!(found.is_empty(), "nobody sent these: {found:?}");
    assert!(acknowledged.len() > rounds, "hardly any load: {}", acknowledged.len());
    nothing_is_left(&house);
    println!("{} acknowledged, {} not, in {rounds} rounds", acknowledged.len(), open_ends.len());
}

/// Where the file system knows files without a name, nothing unfinished has one.
fn nothing_is_left(house: &House) {
    let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    if open(&house.path("Maildir"), flags, Mode::S_IRUSR).is_ok() {
        assert_eq!(house.names("Maildir/tmp"), [""; 0]);
    } else {
        note("crash: a file system without O_TMPFILE leaves names in tmp");
    }
    house.start().stop();
    assert_eq!(house.names("spool"), [""; 0]);
}
