//! Large messages, which go through the spool.

use crate::daemon::client::{Client, kept, small, stuffed};
use crate::daemon::house::House;
use crate::daemon::system::{Dice, memory};

/// About this many octets of lines that begin with dots now and then and hold any octet.
pub(super) fn large(seed: u64, octets: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut text = format!("Subject: large {seed}\r\n\r\n").into_bytes();
    text.reserve(octets + 1_000);
    while text.len() < octets {
        match dice.roll(20) {
            0 => text.extend(b"."),
            1 => text.extend(b".."),
            _ => {}
        }
        let length = dice.roll(120);
        // Neither NUL nor CR nor LF, of which a message may hold none but in its line ends.
        text.extend((0..length).map(|at| 14 + ((seed * 31 + at * 7 + length) % 242) as u8));
        text.extend(b"\r\n");
    }
    text
}

/// Several large messages at a time arrive octet for octet, and stay out of memory meanwhile.
#[test]
fn thirty_mebibytes_arrive_octet_for_octet() {
    const SENDERS: u64 = 3;
    const OCTETS: usize = 30 * 1_024 * 1_024;
    let house = House::new();
    let daemon = house.start();
    let address = daemon.address();
    let texts: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let send = |seed: u64| {
            let text = large(seed, OCTETS);
            let mut client = Client::connect(address);
            client.hello();
            let reply = client.deliver(&text);
            assert!(reply.starts_with("250 "), "{reply}");
            kept(&text)
        };
        let senders: Vec<_> = (1..=SENDERS).map(|seed| scope.spawn(move || send(seed))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let mails = house.mails();
    assert_eq!(mails.len(), texts.len());
    for text in &texts {
        let same = mails.iter().filter(|mail| mail.ends_with(text)).count();
        assert_eq!(same, 1, "a message of {} octets is not there as sent", text.len());
    }
    let peak = memory(daemon.pid(), "status", "VmData");
    daemon.spool_is_empty(&house);
    assert!(peak < 64 * 1_024 * 1_024, "{peak} octets of own memory for what should be in files");
    daemon.stop();
}

/// A message over the limit is read to its end, so that none of it is taken for commands, refused,
/// and forgotten. The session goes on, and its next message is not mixed up with the dead one.
#[test]
fn too_large_is_refused_and_the_session_goes_on() {
    const LIMIT: usize = 300_000;
    let house = House::new();
    house.set("databytes", &LIMIT.to_string());
    let daemon = house.start();
    let mut client = daemon.client();
    client.expect(&format!("MAIL FROM:<a@example.org> SIZE={}", LIMIT + 1), "552 5.3.4 ");
    for round in 0..5 {
        let reply = client.deliver(&large(round, 3 * LIMIT));
        assert_eq!(reply, "552 5.3.4 Message too big!");
        daemon.spool_is_empty(&house);
        let text = large(100 + round, LIMIT - 10_000);
        assert!(client.deliver(&text).starts_with("250 "));
        let mails = house.mails();
        assert_eq!(mails.len(), usize::try_from(round).unwrap() + 1);
        assert_eq!(mails.iter().filter(|mail| mail.ends_with(&kept(&text))).count(), 1);
    }
    daemon.spool_is_empty(&house);
    daemon.stop();
}

/// A refused message may still have a block on its way to the disk when the next one begins. What
/// comes back late belongs to the dead one. (Here both are sent in one go, as chunks allow.)
#[test]
fn a_late_block_of_a_refused_message_spoils_nobody_elses() {
    const LIMIT: usize = 300_000;
    let house = House::new();
    house.set("databytes", &LIMIT.to_string());
    house.set("writers", "1");
    let daemon = house.start();
    let address = daemon.address();
    std::thread::scope(|scope| {
        for sender in 0..4_u64 {
            let daemon = &daemon;
            scope.spawn(move || {
                let _alive = daemon;
                let mut client = Client::connect(address);
                client.hello();
                for round in 0..20 {
                    let (bad, good) =
                        (large(round, LIMIT + 70_000), large(sender * 100 + round, LIMIT / 2));
                    let mut wire = Vec::new();
                    for text in [&bad, &good] {
                        wire.extend(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n");
                        wire.extend(format!("BDAT {} LAST\r\n", text.len()).as_bytes());
                        wire.extend(text);
                    }
                    client.send(wire);
                    for code in ["250", "250", "552", "250", "250", "250"] {
                        let reply = client.reply();
                        assert!(reply.starts_with(code), "{code}: {reply}");
                    }
                }
            });
        }
    });
    let mails = house.mails();
    assert_eq!(mails.len(), 80);
    for sender in 0..4 {
        for round in 0..20 {
            let good = kept(&large(sender * 100 + round, LIMIT / 2));
            assert!(
                mails.iter().any(|mail| mail.ends_with(&good)),
                "{sender}/{round} is not whole"
            );
        }
    }
    daemon.stop();
}

/// The same letters whether they come dotted or in chunks.
#[test]
fn data_and_chunks_give_the_same_file() {
    let house = House::new();
    let daemon = house.start();
    let text = large(7, 500_000);
    let mut client = daemon.client();
    assert!(client.deliver(&text).starts_with("250"));
    client.envelope();
    for chunk in text.chunks(70_001) {
        client.send(format!("BDAT {}\r\n", chunk.len()));
        client.send(chunk);
        assert!(client.reply().starts_with("250 2.0.0 "));
    }
    client.expect("BDAT 0 LAST", "250");
    let mails = house.mails();
    assert_eq!(mails.iter().filter(|mail| mail.ends_with(&kept(&text))).count(), 2);
    assert!(client.deliver(&small("after")).starts_with("250"));
    assert!(stuffed(&text).len() > text.len(), "some lines begin with a dot");
    daemon.stop();
}
