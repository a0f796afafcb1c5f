//! Servers that fail, are silent, or do not understand us.

use super::*;

#[test]
fn errors_go_to_the_next_server() {
    for (what, reply) in [
        ("SERVFAIL", (|sent: &Sent| sent.empty().rcode(2)) as fn(&Sent) -> Reply),
        ("REFUSED", |sent| sent.empty().rcode(5)),
        ("REFUSED without question", |sent| {
            let mut reply = sent.empty().rcode(5).0;
            reply.truncate(12);
            reply[5] = 0;
            Reply(reply)
        }),
        ("another code", |sent| sent.empty().rcode(9)),
        ("a referral", |sent| sent.empty().authority("example", make::NS, 9, &make::name("ns.x"))),
        ("a record cut off", |sent| sent.empty().answer(&sent.name(), make::A, 9, &[1, 2, 3])),
        ("65 records", |sent| {
            (0..65).fold(sent.empty(), |reply, _| reply.address(&sent.name(), 9, "192.0.2.1"))
        }),
        ("4,000 records", |sent| {
            let owner = [0xc0, 12];
            let record = |reply: Reply, _| reply.record(6, &owner, make::A, 9, &[192, 0, 2, 1]);
            (0..4_000).fold(sent.empty(), record)
        }),
    ] {
        let mut world = World::new(2);
        let sent = world.ask_one("www.example");
        assert_eq!(sent.to, server(1));
        world.reply(&sent, &reply(&sent));
        let second = world.one();
        assert_eq!(second.to, server(2), "{what}");
        world.reply(&second, &second.address("192.0.2.80"));
        assert_eq!(world.answered(), [found("192.0.2.80")], "{what}");

        let sent = world.ask_one("other.example");
        world.reply(&sent, &reply(&sent));
        let second = world.one();
        world.reply(&second, &reply(&second));
        assert_eq!(world.answered(), [Answer::TempFail], "{what}: nobody knows, told at once");
        assert!(world.is_clean() && world.resolver.counts().forged == 0, "{what}");
        assert_eq!(world.ask(1, "other.example"), Some(Answer::TempFail), "{what}: kept");
        world.pass(seconds(30));
        assert_eq!(world.ask(1, "other.example"), None, "{what}: for half a minute");
    }
}

#[test]
fn silence_costs_five_seconds_a_try_and_fifteen_in_all() {
    for (servers, asked, given_up) in [
        (0, &[][..], 0),
        (1, &[(0, 1), (5, 1)], 10),
        (2, &[(0, 1), (5, 2), (10, 1)], 15),
        (4, &[(0, 1), (5, 2), (10, 3)], 15),
        (12, &[(0, 1), (5, 2), (10, 3)], 15),
    ] {
        let mut world = World::new(servers);
        let start = world.now;
        world.ask(1, "www.example");
        let (mut seen, mut ended) = (Vec::new(), None);
        for second in 0..20 {
            seen.extend(world.sent.drain(..).map(|sent| (second, sent.to)));
            if ended.is_none() && !world.answers.is_empty() {
                ended = Some((world.now - start).as_secs());
            }
            world.pass(seconds(1));
        }
        let expected: Vec<_> = asked.iter().map(|(at, number)| (*at, server(*number))).collect();
        assert_eq!((seen, ended), (expected, Some(given_up)), "{servers} servers");
        assert_eq!(world.answered(), [Answer::TempFail]);
        assert!(world.is_clean());
    }
}

#[test]
fn a_lost_packet_is_sent_again_and_a_late_answer_counts() {
    let mut world = World::new(1);
    let first = world.ask_one("www.example");
    world.pass(seconds(5));
    let second = world.one();
    assert!((first.number(), first.key) != (second.number(), second.key));
    assert_eq!((first.edns(), second.edns()), (true, false));
    world.pass(seconds(1));
    world.reply(&first, &first.address("192.0.2.80"));
    assert_eq!(world.answered(), [found("192.0.2.80")]);
    world.reply(&second, &second.address("192.0.2.66"));
    assert!(world.answered().is_empty() && world.is_clean());
}

#[test]
fn silent_servers_come_last_until_they_answer() {
    let mut world = World::new(2);
    for count in 0..3 {
        let sent = world.ask_one(&format!("{count}.example"));
        assert_eq!(sent.to, server(1));
        world.pass(seconds(5));
        let sent = world.one();
        world.reply(&sent, &sent.empty());
    }
    assert_eq!(world.log, ["DNS server 192.0.2.1:53 does not answer"]);
    let sent = world.ask_one("3.example");
    assert_eq!(sent.to, server(2), "the second is asked first");
    world.reply(&sent, &sent.empty());
    world.pass(seconds(10));
    let sent = world.ask_one_more("4.example", 4);
    assert_eq!(sent.to, server(1), "tried again after a while");
    world.reply(&sent, &sent.empty());
    assert_eq!(world.log.last().unwrap(), "DNS server 192.0.2.1:53 answers again");
}

#[test]
fn nobody_listens() {
    let mut world = World::new(2);
    let sent = world.ask_one("www.example");
    world.resolver.udp_failed(sent.key, world.now);
    world.drain();
    let second = world.one();
    assert_eq!(second.to, server(2), "no need to wait");
    world.reply(&second, &second.address("192.0.2.80"));
    assert_eq!(world.answered(), [found("192.0.2.80")]);
    let mut world = World::new(1);
    for _ in 0..2 {
        let sent = if world.answers.is_empty() && world.resolver.in_flight() == 0 {
            world.ask_one("other.example")
        } else {
            world.one()
        };
        world.resolver.udp_failed(sent.key, world.now);
        world.drain();
    }
    assert_eq!(world.answered(), [Answer::TempFail]);
    assert!(world.is_clean());
}

#[test]
fn servers_without_edns() {
    for (what, code) in [("FORMERR", 1), ("NOTIMP", 4)] {
        let mut world = World::new(2);
        let sent = world.ask_one("www.example");
        assert!(sent.edns());
        world.reply(&sent, &sent.empty().rcode(code));
        let plain = world.one();
        assert_eq!((plain.to, plain.edns()), (server(1), false), "{what}: the same one, at once");
        world.reply(&plain, &plain.address("192.0.2.80"));
        assert_eq!(world.answered(), [found("192.0.2.80")]);
        assert!(!world.ask_one("other.example").edns(), "{what}: remembered");
        assert_eq!(world.log.len(), 1, "{what}: said once");
    }
    let mut world = World::new(1);
    let sent = world.ask_one("www.example");
    let reply = sent.empty().additional("", make::OPT, 1 << 24, b"");
    world.reply(&sent, &reply);
    assert!(!world.one().edns(), "BADVERS");
    let mut world = World::new(1);
    let sent = world.ask_one("www.example");
    world.reply(&sent, &sent.empty().rcode(1));
    let plain = world.one();
    world.reply(&plain, &plain.empty().rcode(1));
    assert_eq!(world.answered(), [Answer::TempFail], "an error either way");
    assert!(world.ask_one("other.example").edns(), "then EDNS was not the reason");
}

#[test]
fn servers_that_drop_edns() {
    let mut world = World::new(1);
    for count in 0..3 {
        assert!(world.ask_one(&format!("{count}.example")).edns());
        world.pass(seconds(5));
        let plain = world.one();
        world.reply(&plain, &plain.empty());
    }
    assert_eq!(world.answered(), vec![Answer::NoData; 3]);
    assert!(!world.ask_one("3.example").edns());
    assert!(world.log.iter().any(|line| line.contains("with EDNS")), "{:?}", world.log);
}

#[test]
fn servers_that_change_case() {
    let mut world = World::new(1);
    for count in 0..2 {
        let sent = world.ask_one(&format!("{count}.lower.example"));
        let lower = Reply::to(&make::query(&sent.name(), make::A));
        let mut lower = lower.address(&sent.name(), 60, "192.0.2.80").0;
        lower[..2].copy_from_slice(&sent.number().to_be_bytes());
        world.reply(&sent, &Reply(lower));
        assert!(world.answered().is_empty(), "not believed");
        let stream = world.one_stream();
        world.stream_reply(&stream, &stream.address("192.0.2.81"));
        assert_eq!(world.answered(), [found("192.0.2.81")]);
        assert!(world.is_clean());
    }
    let said = world.log.iter().filter(|line| line.contains("case of names")).count();
    assert_eq!(said, 1, "{:?}", world.log);
    let sent = world.ask_one("3.lower.example");
    assert_eq!(make::read_query(&sent.bytes).0, "3.lower.example");
    world.reply(&sent, &sent.address("192.0.2.82"));
    assert_eq!(world.answered(), [found("192.0.2.82")]);
}

#[test]
fn other_servers_while_questions_are_out() {
    let mut world = World::new(1);
    world.ask_one("www.example");
    let settings = |last| {
        let hosts = "192.0.2.7 nas".into();
        Settings { servers: vec![server(last)], hosts, everything: false }
    };
    world.resolver.configure(settings(9), world.now);
    world.drain();
    let sent = world.one();
    assert_eq!(sent.to, server(9));
    world.reply(&sent, &sent.address("192.0.2.80"));
    assert_eq!(world.answered(), [found("192.0.2.80")]);
    assert_eq!(world.ask(1, "www.example"), Some(found("192.0.2.80")), "what is known stays known");
    assert_eq!(world.ask(1, "nas"), Some(found("192.0.2.7")));
    world.resolver.configure(settings(9), world.now);
    world.drain();
    assert!(world.sent.is_empty() && world.is_clean());
}

#[test]
fn without_randomness_nothing_is_asked() {
    struct Broken;
    impl Random for Broken {
        fn u64(&mut self) -> Option<u64> {
            None
        }
    }
    let mut world = World::new(2);
    let settings = world.resolver.settings.clone();
    world.resolver = Resolver::new(settings, Box::new(Broken));
    assert_eq!(world.ask(1, "www.example"), None);
    assert_eq!((world.answered(), world.sent.len()), (vec![Answer::TempFail], 0));
    assert!(world.is_clean());
}
