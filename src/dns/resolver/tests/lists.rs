//! Lists that fail or lie, and name servers that make names up.

use super::*;

#[test]
fn lists_that_fail_rest() {
    let mut world = World::new(1);
    world.resolver.watch_zones(["bl.example"]);
    for count in 0..3 {
        assert_eq!(world.ask(1, &format!("{count}.bl.example")), None);
        world.pass(Duration::from_millis(10));
        let other = world.ask_one_more("alive.example", count);
        world.reply(&other, &other.address("192.0.2.1"));
        world.pass(seconds(10));
        world.sent.clear();
    }
    assert_eq!(world.ask(1, "4.bl.example"), Some(Answer::TempFail));
    assert!(world.log.iter().any(|line| line.starts_with("bl.example does not answer")));
    let benched = |world: &World| world.resolver.leaves_alone("5.bl.example", world.now);
    assert!(benched(&world));
    world.pass(seconds(300));
    assert!(!benched(&world));
    let sent = world.ask_one("5.bl.example");
    world.reply(&sent, &sent.empty().rcode(3));
    assert!(!benched(&world));
}

#[test]
fn a_dead_line_is_no_fault_of_lists() {
    let mut world = World::new(1);
    world.resolver.watch_zones(["bl.example"]);
    for count in 0..5 {
        world.ask(1, &format!("{count}.bl.example"));
        world.pass(seconds(10));
    }
    assert_eq!(world.answered(), vec![Answer::TempFail; 5]);
    assert!(!world.resolver.leaves_alone("bl.example", world.now));
    assert_eq!(world.log, ["DNS server 192.0.2.1:53 does not answer"]);
}

/// The line about a list that rests for what it answered.
const BLOCKED: &str = "bl.example: it answers 127.255.255.254: asked through a public resolver: not \
                       asked for five minutes";

#[test]
fn a_list_that_answers_with_an_error_rests_and_is_told_once() {
    let mut world = World::new(1);
    world.resolver.watch_zones(["bl.example"]);
    let (first, second) = (world.ask_one("1.bl.example"), world.ask_one("2.bl.example"));
    world.ask(7, "1.bl.example");
    let error = |sent: &Sent| sent.address("127.255.255.254");
    world.reply(&first, &error(&first));
    // Who heard of it first may say so; the others, and those who asked meanwhile, need not.
    assert_eq!(world.rests, [false, true]);
    world.reply(&second, &error(&second));
    assert_eq!(world.rests, [false, true, true]);
    assert_eq!(world.answered(), vec![found("127.255.255.254"); 3]);
    for name in ["1.bl.example", "3.bl.example"] {
        let question = Question::new(name, Kind::A);
        let answer = world.ask(1, name).expect("known, or not asked");
        assert!(world.resolver.is_old_news(&question, &answer, world.now), "{name}");
    }
    assert!(world.sent.is_empty());
    assert_eq!(world.log, [BLOCKED]);

    world.pass(seconds(300));
    let sent = world.ask_one("4.bl.example");
    world.reply(&sent, &sent.address("127.0.0.2"));
    assert_eq!((world.answered(), world.rests.pop()), (vec![found("127.0.0.2")], Some(false)));
    // Elsewhere such an address means nothing.
    let sent = world.ask_one("www.example");
    world.reply(&sent, &error(&sent));
    assert_eq!(world.log, [BLOCKED]);
}

#[test]
fn a_listing_that_is_known_counts_while_its_list_rests() {
    let mut world = World::new(1);
    world.resolver.watch_zones(["bl.example"]);
    let sent = world.ask_one("1.bl.example");
    world.reply(&sent, &sent.address("127.0.0.2"));
    let sent = world.ask_one("2.bl.example");
    world.reply(&sent, &sent.address("127.255.255.255"));
    let known = world.ask(1, "1.bl.example").expect("it is known");
    assert_eq!(known, found("127.0.0.2"));
    let question = Question::new("1.bl.example", Kind::A);
    assert!(!world.resolver.is_old_news(&question, &known, world.now));
}

#[test]
fn a_condemned_list_is_only_probed() {
    let mut world = World::new(1);
    world.resolver.watch_zones(["bl.example"]);
    let probe = Question::new("1.0.0.127.bl.example", Kind::A);
    assert_eq!(world.resolver.probe(9, &probe, world.now), None);
    world.drain();
    let sent = world.one();
    world.reply(&sent, &sent.address("127.255.255.254"));
    assert_eq!((world.log.len(), world.rests.pop()), (0, Some(false)), "its asker judges");
    for _ in 0..2 {
        world.resolver.condemn("bl.example", "it lists everybody");
        world.drain();
    }
    assert_eq!(
        world.log,
        ["bl.example: it lists everybody: not asked until its test entries are right"]
    );
    world.pass(seconds(100_000));
    assert_eq!(world.ask(1, "2.bl.example"), Some(Answer::TempFail));
    assert_eq!(world.resolver.probe(9, &probe, world.now), None, "asked anew");
    world.drain();
    let sent = world.one();
    world.reply(&sent, &sent.empty().rcode(3));
    for _ in 0..2 {
        world.resolver.acquit("bl.example");
        world.drain();
    }
    assert_eq!(world.log.len(), 2, "{:?}", world.log);
    assert_eq!(world.ask(1, "2.bl.example"), None);
}

#[test]
fn addresses_of_names_that_do_not_exist_are_no_addresses() {
    let mut world = World::new(1);
    world.resolver.watch_zones(["bl.example"]);
    let sent = world.ask_one("before.example");
    world.reply(&sent, &sent.address("203.0.113.80"));
    let addresses = ["203.0.113.80", "203.0.113.81", "203.0.113.80"];
    for _ in 0..2 {
        let parsed = addresses.iter().map(|it| it.parse().expect("an address")).collect();
        world.resolver.distrust(parsed);
        world.drain();
    }
    let said = "the name servers answer 203.0.113.80 203.0.113.81 for names that do not exist: taken \
                for \"no such name\"; use a resolver that does not do that";
    assert_eq!(world.log, [said]);
    assert_eq!(world.ask(1, "before.example"), Some(Answer::NxDomain), "what was known, too");
    world.answers.clear();
    let sent = world.ask_one("1.bl.example");
    world.reply(&sent, &sent.address("203.0.113.81"));
    assert_eq!(world.answered(), [Answer::NxDomain]);
    assert!(!world.resolver.leaves_alone("1.bl.example", world.now), "the list is not to blame");
    // Beside another address it may be meant.
    let sent = world.ask_one("www.example");
    let mixed = sent.address("203.0.113.80").address(&sent.name(), 300, "192.0.2.80");
    world.reply(&sent, &mixed);
    let [Answer::Found(records)] = &world.answered()[..] else { panic!("found") };
    assert_eq!(records.len(), 2);
    assert_eq!(world.ask(1, "nas"), Some(found("192.168.0.9")));

    world.resolver.distrust(Vec::new());
    world.drain();
    assert_eq!(world.log.len(), 2);
    assert_eq!(world.ask(1, "before.example"), Some(found("203.0.113.80")));
}
