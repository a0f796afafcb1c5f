//! Servers and strangers that lie.

use super::*;

#[test]
fn forged_replies_change_nothing() {
    let mut world = World::new(2);
    let other = world.ask_one_more("other.example", 0);
    let sent = world.ask_one_more("www.example", 1);
    let right = sent.address("192.0.2.80");
    let forged = sent.address("203.0.113.66");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = forged.0.clone();
        change(&mut octets);
        octets
    };
    let letter = (13..).find(|at| sent.bytes[*at].is_ascii_alphabetic()).unwrap();
    let rows: [(&str, u16, SocketAddr, Vec<u8>); 9] = [
        ("a wrong number", sent.key, sent.to, with(&|it| it[0] ^= 1)),
        ("another server", sent.key, server(2), with(&|_| {})),
        ("another port of the server", sent.key, ([192, 0, 2, 1], 54).into(), with(&|_| {})),
        ("another socket", other.key, sent.to, with(&|_| {})),
        ("another name", sent.key, sent.to, with(&|it| it[letter] = b'9')),
        ("another type", sent.key, sent.to, with(&|it| it[sent.name().len() + 15] = 28)),
        ("a query", sent.key, sent.to, with(&|it| it[2] &= 0x7f)),
        ("nothing", sent.key, sent.to, Vec::new()),
        ("no question", sent.key, sent.to, with(&|it| it[5] = 0)),
    ];
    for (what, key, from, bytes) in rows {
        let before = world.resolver.counts().forged;
        world.datagram(key, from, &bytes);
        assert!(world.answers.is_empty() && world.sent.is_empty(), "{what}");
        assert_eq!(world.resolver.counts().forged, before + 1, "{what}");
    }
    let case = with(&|it| it[letter] ^= 0x20);
    world.datagram(sent.key, sent.to, &case);
    assert!(world.answers.is_empty(), "wrong case");
    assert_eq!(world.one_stream().to, server(1), "wrong case: asked by TCP as well");
    world.reply(&sent, &right);
    assert_eq!(world.answered(), [found("192.0.2.80")], "the right one still counts");
    world.reply(&sent, &forged);
    assert!(world.answered().is_empty(), "a second answer does not");
    assert_eq!(world.ask(1, "1.www.example"), Some(found("192.0.2.80")));
    assert!(world.log.iter().any(|line| line.starts_with("1 DNS replies")), "{:?}", world.log);
}

#[test]
fn guessing_leads_to_tcp() {
    let mut world = World::new(1);
    let sent = world.ask_one("www.example");
    let mut guess = sent.address("203.0.113.66").0;
    for count in 0..19_u16 {
        guess[..2].copy_from_slice(&(sent.number() ^ (count + 1)).to_be_bytes());
        world.datagram(sent.key, sent.to, &guess);
    }
    assert!(world.connected.is_empty());
    world.datagram(sent.key, sent.to, b"");
    let stream = world.one_stream();
    assert!(world.sockets.is_empty(), "the port that is under attack is given up");
    world.stream_reply(&stream, &stream.address("192.0.2.80"));
    assert_eq!(world.answered(), [found("192.0.2.80")]);
    assert!(world.is_clean());
}

#[test]
fn only_the_question_is_learnt_from_a_reply() {
    let mut world = World::new(1);
    let sent = world.ask_one("www.example");
    let reply = sent
        .address("192.0.2.80")
        .address("www.bank.test", 300, "203.0.113.66")
        .authority("bank.test", make::NS, 300, &make::name("ns.evil.test"))
        .additional("www.bank.test", make::A, 300, &[203, 0, 113, 66])
        .additional("www.example", make::A, 300, &[203, 0, 113, 66]);
    world.reply(&sent, &reply);
    assert_eq!(world.answered(), [found("192.0.2.80")]);
    assert_eq!(world.ask(1, "www.bank.test"), None);
    assert_eq!(world.ask(1, "ns.evil.test"), None);
}

#[test]
fn loops_of_aliases_end() {
    let mut world = World::new(1);
    let mut sent = world.ask_one("a.example");
    let mut asked = 1;
    loop {
        let target = if sent.name() == "a.example" { "b.example" } else { "a.example" };
        world.reply(&sent, &sent.empty().alias(&sent.name(), 0, target));
        if world.sent.is_empty() {
            break;
        }
        sent = world.one();
        asked += 1;
    }
    assert_eq!((world.answered(), asked), (vec![Answer::TempFail], 9));
    assert!(world.is_clean());
}

/// What a server does to a connection, what comes of it, and how many seconds that may take.
type Act = (&'static str, fn(&mut World, &Sent), u64, Answer);

fn acts() -> [Act; 9] {
    let fail = || Answer::TempFail;
    [
        ("answers", |world, it| world.stream_reply(it, &it.address("192.0.2.80")), 0, {
            found("192.0.2.80")
        }),
        ("refuses", |world, it| world.stream_closed(it.key), 0, fail()),
        ("half a length", half_a_length, 0, fail()),
        ("an octet a second", an_octet_a_second, 14, fail()),
        ("65,535 octets", |world, it| world.stream(it.key, &[0xff; 65_537]), 0, fail()),
        ("another number", |world, it| world.stream_reply(it, &changed(it, 0)), 0, fail()),
        ("another question", |world, it| world.stream_reply(it, &changed(it, 13)), 0, fail()),
        ("truncated again", |world, it| world.stream_reply(it, &it.empty().truncated()), 0, fail()),
        ("a length of nothing", |world, it| world.stream(it.key, &[0, 0]), 0, fail()),
    ]
}

fn half_a_length(world: &mut World, it: &Sent) {
    world.stream(it.key, &[0]);
    world.stream_closed(it.key);
}

fn an_octet_a_second(world: &mut World, it: &Sent) {
    for octet in [0, 100, 1, 2, 3, 4, 5, 6, 7] {
        world.stream(it.key, &[octet]);
        world.pass(seconds(1));
    }
}

fn changed(it: &Sent, at: usize) -> Reply {
    let mut reply = it.address("203.0.113.66");
    reply.0[at] ^= 1;
    reply
}

#[test]
fn tcp_is_bounded_in_time_and_octets() {
    for (what, act, at_most, answer) in acts() {
        let mut world = World::new(1);
        let start = world.now;
        world.ask(1, "www.example");
        let mut rounds = 0;
        while world.answers.is_empty() {
            rounds += 1;
            assert!(rounds < 20, "{what}");
            for sent in std::mem::take(&mut world.sent) {
                world.reply(&sent, &sent.empty().truncated());
            }
            match world.connected.pop() {
                Some(stream) => act(&mut world, &stream),
                None => world.pass(seconds(1)),
            }
        }
        assert_eq!(world.answered(), [answer], "{what}");
        let took = (world.now - start).as_secs();
        assert!(took <= at_most + 4, "{what}: {took}");
        assert!(world.is_clean(), "{what}");
    }
}

#[test]
fn many_streams_wait_in_line() {
    let mut world = World::new(1);
    for count in 0..200 {
        let sent = world.ask_one(&format!("{count}.example"));
        world.reply(&sent, &sent.empty().truncated());
    }
    assert_eq!(world.streams.len(), 64);
    while let Some(stream) = world.connected.pop() {
        assert!(world.streams.len() <= 64);
        world.stream_reply(&stream, &stream.address("192.0.2.80"));
    }
    assert_eq!(world.answered(), vec![found("192.0.2.80"); 200]);
    assert!(world.is_clean());
}

#[test]
fn floods_are_bounded() {
    let mut world = World::new(1);
    for count in 0..IN_FLIGHT_MAX {
        assert_eq!(world.ask(count as u64, &format!("{count}.example")), None);
    }
    assert_eq!((world.sent.len(), world.sockets.len()), (IN_FLIGHT_MAX, 256));
    assert_eq!(world.ask(1, "more.example"), Some(Answer::TempFail));
    assert_eq!(world.ask(1, "2.example"), None, "joining costs nothing");
    assert!(world.resolver.counts().refused == 1 && world.log.len() == 1, "{:?}", world.log);
    let pairs: HashSet<(u16, u16)> = world.sent.iter().map(|it| (it.key, it.number())).collect();
    assert_eq!(pairs.len(), IN_FLIGHT_MAX, "each can be told from the others");
    for sent in std::mem::take(&mut world.sent) {
        world.reply(&sent, &sent.address("192.0.2.80"));
    }
    assert_eq!(world.answered().len(), IN_FLIGHT_MAX + 1);
    assert!(world.is_clean());
    assert!(world.resolver.cache.len() <= cache::ENTRIES_MAX);
    assert!(world.resolver.cache.octets() <= cache::OCTETS_MAX);
}

#[test]
fn noise_changes_nothing() {
    let mut world = World::new(2);
    let mut noise = Numbers(7);
    let mut next = move || noise.u64().unwrap();
    let mut right = 0;
    for round in 0..3_000_u64 {
        let before = world.sent.len();
        world.ask(round, &format!("{round}.example"));
        let fresh: Vec<Sent> = world.sent.drain(before.min(world.sent.len())..).collect();
        for sent in &fresh {
            let mut octets = sent.address("203.0.113.66").0;
            // Anything but number and question may be anything.
            let from = sent.name().len() + 18;
            for _ in 0..next() % 8 {
                let at = from + (next() as usize) % (octets.len() - from);
                octets[at] = next() as u8;
            }
            if next() % 2 == 0 {
                octets[2] ^= 0x80;
            }
            world.datagram(sent.key, sent.to, &octets);
            world.reply(sent, &sent.address("192.0.2.80"));
        }
        for stream in std::mem::take(&mut world.connected) {
            let length = (next() % 64) as usize;
            let octets: Vec<u8> = (0..length).map(|_| next() as u8).collect();
            world.stream(stream.key, &octets);
        }
        world.pass(Duration::from_millis(next() % 200));
        right += world.answers.iter().filter(|(.., it)| *it == found("192.0.2.80")).count();
        world.answers.clear();
    }
    world.pass(seconds(15));
    assert!(world.is_clean());
    assert!(right > 1_000, "{right}");
}
