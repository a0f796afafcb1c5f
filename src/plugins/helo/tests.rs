//! Names and answers as tables: which test of which policy fails.

use super::*;
use crate::config::files::Files;
use crate::plugins::tests::testing::{addresses, names, play};

fn plugin(bad: &str) -> Helo {
    let files = Files::in_memory([("badhelo".to_string(), bad.to_string())]);
    let mut problems = Vec::new();
    let lines = Setup::new(&files, &mut problems).lines("badhelo");
    let bad = NameList::load(&lines, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    let policy = Policy { reject: Reject::Now, reject_type: RejectType::Disconnect };
    Helo { tests: Tests::Lenient, policy, bad }
}

fn words(failure: Option<Failure>) -> String {
    failure.map_or_else(|| "-".to_string(), |failure| failure.words)
}

#[test]
fn arguments() {
    for (line, complaints) in [
        ("helo", 0),
        ("check_spamhelo", 0),
        ("helo policy strict reject 0", 0),
        ("helo policy=rfc reject naughty reject_type perm timeout 5 dns_timeout 5", 0),
        ("helo policy loose", 1),
        ("helo strict", 1),
        ("helo timeout long", 1),
    ] {
        let files = Files::in_memory([]);
        let mut problems = Vec::new();
        let mut args = Args::of(line);
        load(&mut args, &Setup::new(&files, &mut problems));
        assert_eq!(args.finish().len(), complaints, "{line}");
    }
}

#[test]
fn lies_and_faults() {
    let plugin = plugin("aol.com\n\\.dyn\\.\n!^[a-z0-9:\\[]");
    for (client, name, lie, rfc) in [
        ("192.0.2.1", "mail.example.org", "-", "-"),
        ("192.0.2.1", "AOL.com", "in badhelo (aol.com)", "-"),
        ("192.0.2.1", "a.dyn.example", "in badhelo (\\.dyn\\.)", "-"),
        ("192.0.2.1", "_x.example", "in badhelo (!^[a-z0-9:\\[])", "invalid FQDN chars"),
        ("192.0.2.1", "LocalHost", "invalid localhost", "not FQDN"),
        ("127.0.0.1", "localhost", "-", "not FQDN"),
        ("::1", "localhost", "-", "not FQDN"),
        ("192.0.2.1", "localhost.localdomain", "-", "-"),
        // Addresses without brackets.
        ("192.0.2.1", "192.0.2.1", "-", "plain IP"),
        ("192.0.2.1", "192.0.2.2", "forged IP literal", "plain IP"),
        ("192.0.2.1", "192.168.0.5", "-", "plain IP"),
        ("192.0.2.1", "100.64.0.5", "-", "plain IP"),
        ("192.0.2.1", "100.128.0.5", "forged IP literal", "plain IP"),
        ("192.0.2.1", "127.0.0.1", "forged IP literal", "plain IP"),
        ("2001:db8::1", "2001:db8::2", "forged IP literal", "plain IP"),
        ("2001:db8::1", "fd00::2", "-", "plain IP"),
        ("192.0.2.1", "::ffff:192.0.2.1", "-", "plain IP"),
        ("192.0.2.1", "192.0.2", "-", "-"),
        // Addresses in brackets.
        ("192.0.2.1", "[192.0.2.1]", "-", "-"),
        ("192.0.2.1", "[192.0.2.2]", "-", "forged IP literal"),
        ("192.0.2.1", "[10.0.0.1]", "-", "-"),
        ("2001:db8::1", "[IPv6:2001:db8::1]", "-", "-"),
        ("2001:db8::1", "[ipv6:2001:db8::2]", "-", "forged IP literal"),
        ("192.0.2.1", "[192.0.2]", "-", "invalid FQDN chars"),
        ("192.0.2.1", "[", "-", "not FQDN"),
        // Ourselves.
        ("192.0.2.1", "MX.example.net", "our own name", "-"),
        ("127.0.0.1", "mx.example.net", "-", "-"),
        ("198.51.100.25", "mx.example.net", "-", "-"),
        ("192.0.2.1", "198.51.100.25", "forged IP literal", "plain IP"),
        ("192.0.2.1", "[198.51.100.25]", "our own address", "forged IP literal"),
        ("198.51.100.25", "[198.51.100.25]", "-", "-"),
        ("192.0.2.1", "example.net", "-", "-"),
        // Names that are none.
        ("192.0.2.1", "server", "-", "not FQDN"),
        ("192.0.2.1", "my_pc.example", "-", "invalid FQDN chars"),
        ("192.0.2.1", "a b.example", "-", "invalid FQDN chars"),
    ] {
        let parties = Parties {
            client: client.parse().expect("an address"),
            ours: "::ffff:198.51.100.25".parse().expect("an address"),
            me: "mx.example.net",
        };
        assert_eq!(words(plugin.lie(name, parties)), lie, "{client} {name}");
        assert_eq!(words(fault(name, parties)), rfc, "{client} {name}");
    }
    let parties = Parties {
        client: "192.0.2.1".parse().expect("an address"),
        ours: "198.51.100.25".parse().expect("an address"),
        me: "mx.example.net",
    };
    let text = plugin.lie("aol.com", parties).map(|failure| failure.text);
    assert_eq!(text.as_deref(), Some("I do not believe you are aol.com."));
}

#[test]
fn what_dns_says() {
    let none = || Answer::NoData;
    let (a, dumb, no_name) = (addresses, Answer::TempFail, Answer::NxDomain);
    let ptr = || names(&["mail.example.org"]);
    let client = "192.0.2.1".parse().expect("an address");
    let name = "mail.example.org";
    for (forward, reverse, rfc, strict, unknown) in [
        (vec![a(&["192.0.2.1"]), none()], ptr(), "-", "-", 0),
        (vec![a(&["192.0.2.77"]), none()], names(&["x.example"]), "-", "-", 0),
        (vec![a(&["203.0.113.1"]), none()], names(&["mx.EXAMPLE.org"]), "-", "-", 0),
        (
            vec![a(&["203.0.113.1"]), none()],
            names(&["mail.example.com"]),
            "-",
            "no matching DNS",
            0,
        ),
        (vec![none(), a(&["2001:db8::1"])], names(&["org"]), "-", "no matching DNS", 0),
        (vec![no_name.clone(), no_name.clone()], ptr(), "no such host", "no such host", 0),
        (vec![no_name.clone(), dumb.clone()], ptr(), "no such host", "no such host", 0),
        (vec![none(), none()], ptr(), "no forward DNS", "no forward DNS", 0),
        (vec![dumb.clone(), none()], ptr(), "-", "-", 1),
        (vec![dumb.clone(), dumb.clone()], dumb.clone(), "-", "-", 2),
        (vec![a(&["203.0.113.1"]), dumb.clone()], dumb, "-", "-", 1),
        (vec![a(&["192.0.2.1"]), none()], no_name, "no rDNS", "no rDNS", 0),
        (vec![a(&["192.0.2.1"]), none()], none(), "", "", 0),
        // A literal.
        (vec![], ptr(), "-", "bracketed IP", 0),
    ] {
        let answers = Answers { forward, reverse };
        for (tests, expected) in [(Tests::Rfc, rfc), (Tests::Strict, strict)] {
            let mut seen = Vec::new();
            let failure = answers.test(name, client, tests, &mut seen);
            assert_eq!(words(failure), expected, "{:?} {:?}", answers.forward, answers.reverse);
            assert_eq!(seen.len(), unknown, "{seen:?}");
        }
    }
}

#[test]
fn matching_is_near_or_of_one_domain() {
    for (a, b, near) in [
        ("192.0.2.1", "192.0.2.200", true),
        ("192.0.2.1", "192.0.3.1", false),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:9:9", true),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:9:5:6", false),
        ("192.0.2.1", "::1", false),
    ] {
        let address = |text: &str| text.parse().expect("an address");
        assert_eq!(is_near(address(a), address(b)), near, "{a} {b}");
    }
    for (a, b, same) in [
        ("a.example.org", "b.example.org", true),
        ("example.org", "b.Example.ORG", true),
        ("a.example.org", "a.example.com", false),
        ("org", "org", false),
        ("", "", false),
    ] {
        assert_eq!(is_same_domain(a, b), same, "{a} {b}");
    }
}

#[test]
fn one_round_and_none_under_lenient() {
    let hello = ["EHLO mail.example.org", "EHLO mail.example.org", "EHLO [192.0.2.1]"];
    for (line, ip, rounds) in [
        ("helo", "192.0.2.1", vec![]),
        ("helo policy rfc", "192.0.2.1", vec![3, 1]),
        ("helo policy strict", "192.0.2.1", vec![3, 1]),
        ("helo policy strict", "10.0.0.1", vec![]),
    ] {
        let plugins = format!("relay\n{line}\nrcpt_ok");
        let files = [("plugins", plugins.as_str()), ("relayclients", "10.")];
        let played = play(&files, ip, &hello, |question| match question.kind {
            Kind::Ptr => names(&["mail.example.org"]),
            Kind::A => addresses(&["192.0.2.1"]),
            _ => Answer::NoData,
        });
        let seen: Vec<usize> = played.rounds.iter().map(Vec::len).collect();
        assert_eq!(seen, rounds, "{line} {ip} {:?}", played.rounds);
    }
}
