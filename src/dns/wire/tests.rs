//! Names, queries and replies as tables: each trick that a reply can try is a row.

use super::*;
use crate::dns::testing::{self as make, Reply};

fn asked(name: &str) -> WireName {
    WireName::new(name).expect("a name")
}

/// What a reply to the question for `www.example` of a kind says, in short.
fn said(kind: Kind, reply: &Reply) -> String {
    match read(&reply.0, &asked("www.example"), kind) {
        Err(bad) => format!("{bad:?}"),
        Ok(Content { found, ttl, aliases }) => {
            let text = match found {
                Found::Alias(name) => format!("alias {}", name.text()),
                Found::Answer(Answer::Found(records)) => {
                    let texts: Vec<String> = records.iter().map(shown).collect();
                    texts.join(" ")
                }
                Found::Answer(other) => format!("{other:?}"),
            };
            format!("{text} ttl={ttl} aliases={aliases}")
        }
    }
}

fn shown(record: &Record) -> String {
    match record {
        Record::Address(address) => address.to_string(),
        Record::Name(name) => name.to_string(),
        Record::Mx(preference, name) => format!("{preference}:{name}"),
        Record::Text(text) => text.escape_ascii().to_string(),
    }
}

fn check(kind: Kind, rows: &[(&str, Reply, &str)]) {
    for (what, reply, expected) in rows {
        assert_eq!(said(kind, reply), *expected, "{what}");
    }
}

/// An empty reply to the question.
fn empty() -> Reply {
    Reply::to(&make::query("www.example", make::A))
}

const WWW: &str = "www.example";

#[test]
fn names_are_written_as_they_are() {
    for (text, octets) in [
        ("", Some("\\x00")),
        ("Example", Some("\\x07example\\x00")),
        ("_dmarc.a b", Some("\\x06_dmarc\\x03a b\\x00")),
        ("a\\.b", Some("\\x02a\\\\\\x01b\\x00")),
        ("foo\\058bar.\\046\\000", Some("\\x07foo:bar\\x02.\\x00\\x00")),
        ("\\065\\256\\12.\\\\099", Some("\\x08a\\\\256\\\\12\\x02\\\\c\\x00")),
        ("b\u{fc}cher.example", Some("\\rxn--bcher-kva\\x07example\\x00")),
        // No domain for U-labels: the octets go as they are.
        ("\u{fc} x", Some("\\x04\\xc3\\xbc x\\x00")),
        (".", None),
        ("a..b", None),
        (".a", None),
    ] {
        let name = WireName::new(text).map(|name| name.0.as_slice().escape_ascii().to_string());
        assert_eq!(name.as_deref(), octets, "{text:?}");
    }
    for (labels, length, good) in [(1, 63, true), (1, 64, false), (4, 61, true), (4, 63, false)] {
        let name = vec!["a".repeat(length); labels].join(".");
        assert_eq!(WireName::new(&name).is_some(), good, "{labels} of {length}");
    }
    for (last, good) in [(61, true), (62, false), (63, false)] {
        let label = "a".repeat(63);
        let name = format!("{label}.{label}.{label}.{}", "b".repeat(last));
        let octets = WireName::new(&name).map(|name| name.0.as_slice().len());
        assert_eq!(octets, good.then_some(255), "{last}");
    }
    assert!(
        WireName::new(&"a.".repeat(127)).is_none() && WireName::new(&"a".repeat(70_000)).is_none()
    );
}

#[test]
fn queries() {
    let name = asked("Ab.example");
    let plain = query(0x1234, &name, Kind::Mx, false).expect("a query");
    assert_eq!(&plain[..12], [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(make::read_query(&plain), ("ab.example".to_string(), make::MX, false));
    let mut edns = query(1, &name, Kind::Txt, true).expect("a query");
    assert_eq!(edns.len(), 12 + 12 + 4 + 11);
    assert_eq!(edns[edns.len() - 10..], [0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0][..]);
    let before = question_of(&edns, &name).to_vec();
    assert_eq!(before, [make::name("ab.example"), vec![0, 16, 0, 1]].concat());
    mix_case(&mut edns, &name, || true);
    assert_eq!(make::read_query(&edns).0, "AB.EXAMPLE");
    let reply = Reply::to(&edns).0;
    assert_eq!(echo(&reply, question_of(&edns, &name)), Echo::Same);
    assert_eq!(echo(&reply, &before), Echo::OtherCase);
    assert_eq!(echo(&reply, question_of(&plain, &name)), Echo::Other, "another type");
    assert_eq!(echo(&reply[..20], &before), Echo::Other);
}

#[test]
fn heads() {
    let with = |change: fn(&mut Vec<u8>)| {
        let mut octets = empty().0;
        change(&mut octets);
        head(&octets).map(|head| (head.status, head.truncated))
    };
    use Status::{Answered, Failed, NotUnderstood};
    for (what, change, expected) in [
        ("plain", (|_| {}) as fn(&mut Vec<u8>), Some((Answered, false))),
        ("a query", |it| it[2] &= 0x7f, None),
        ("another operation", |it| it[2] |= 0x28, None),
        ("truncated", |it| it[2] |= 2, Some((Answered, true))),
        ("FORMERR", |it| it[3] = 0x81, Some((NotUnderstood, false))),
        ("SERVFAIL", |it| it[3] = 0x82, Some((Failed(2), false))),
        ("NXDOMAIN", |it| it[3] = 0x83, Some((Answered, false))),
        ("REFUSED", |it| it[3] = 0x85, Some((Failed(5), false))),
        ("two questions", |it| it[5] = 2, None),
        ("no question", |it| it[5] = 0, None),
        ("an error without question", |it| (it[3], it[5]) = (0x85, 0), Some((Failed(5), false))),
        ("too short", |it| it.truncate(11), None),
        ("nothing", Vec::clear, None),
    ] {
        assert_eq!(with(change), expected, "{what}");
    }
    assert_eq!(head(&empty().0).map(|head| head.id), Some(7));
}

#[test]
fn answers_and_denials() {
    let soa = make::soa(600);
    let nx = || empty().rcode(3);
    check(
        Kind::A,
        &[
            (
                "two addresses, the least lifetime",
                empty().address(WWW, 300, "192.0.2.1").address("WWW.Example", 60, "192.0.2.2"),
                "192.0.2.1 192.0.2.2 ttl=60 aliases=0",
            ),
            (
                "highest bit",
                empty().address(WWW, 1 << 31, "192.0.2.1"),
                "192.0.2.1 ttl=0 aliases=0",
            ),
            (
                "other names, other types",
                empty().address("bank.test", 300, "192.0.2.6").address(WWW, 300, "2001:db8::1"),
                "NoData ttl=0 aliases=0",
            ),
            (
                "additional records are not answers",
                empty().additional(WWW, make::A, 300, &[192, 0, 2, 6]),
                "NoData ttl=0 aliases=0",
            ),
            (
                "NODATA",
                empty().authority("example", make::SOA, 900, &soa),
                "NoData ttl=600 aliases=0",
            ),
            ("NODATA", empty().authority("example", make::SOA, 9, &soa), "NoData ttl=9 aliases=0"),
            (
                "NXDOMAIN",
                nx().authority("example", make::SOA, 900, &soa),
                "NxDomain ttl=600 aliases=0",
            ),
            ("NXDOMAIN, bare", nx(), "NxDomain ttl=0 aliases=0"),
            (
                "NXDOMAIN with an address",
                nx().address(WWW, 9, "192.0.2.1"),
                "NxDomain ttl=0 aliases=0",
            ),
            (
                "referral",
                empty().authority("example", make::NS, 900, &make::name("ns.example")),
                "Referral",
            ),
            ("wrong length", empty().answer(WWW, make::A, 1, &[1, 2, 3]), "Malformed"),
            ("wrong length", empty().answer(WWW, make::A, 1, &[1, 2, 3, 4, 5]), "Malformed"),
            ("BADVERS", empty().additional("", make::OPT, 1 << 24, b""), "Version"),
            (
                "EDNS",
                empty().address(WWW, 60, "192.0.2.1").additional("", make::OPT, 0, b""),
                "192.0.2.1 ttl=60 aliases=0",
            ),
        ],
    );
}

#[test]
fn other_types() {
    check(
        Kind::Mx,
        &[
            (
                "in the order of the reply",
                empty().answer(WWW, make::MX, 60, &make::mx(20, "B.example")).answer(
                    WWW,
                    make::MX,
                    60,
                    &make::mx(10, "a.example"),
                ),
                "20:b.example 10:a.example ttl=60 aliases=0",
            ),
            ("null MX", empty().answer(WWW, make::MX, 60, &make::mx(0, "")), "0: ttl=60 aliases=0"),
            ("cut off", empty().answer(WWW, make::MX, 60, &[0]), "Malformed"),
        ],
    );
    let text = |data: &[u8]| empty().answer(WWW, make::TXT, 60, data);
    check(
        Kind::Txt,
        &[
            ("joined", text(&make::txt(&[b"v=spf1 ", b"-all"])), "v=spf1 -all ttl=60 aliases=0"),
            (
                "empty strings",
                text(&make::txt(&[b"", b"a", b"", b"\xff\0"])),
                "a\\xff\\x00 ttl=60 aliases=0",
            ),
            ("a string beyond its record", text(b"\x05abc"), "Malformed"),
            ("no string", text(b""), " ttl=60 aliases=0"),
            (
                "two records stay two",
                text(&make::txt(&[b"v=spf1 -all"])).answer(WWW, make::TXT, 9, &make::txt(&[b"x"])),
                "v=spf1 -all x ttl=9 aliases=0",
            ),
        ],
    );
    check(
        Kind::Ns,
        &[(
            "name servers",
            empty().answer(WWW, make::NS, 60, &make::name("Ns.Example")).answer(
                WWW,
                make::NS,
                60,
                &[0xc0, 12],
            ),
            "ns.example www.example ttl=60 aliases=0",
        )],
    );
    check(
        Kind::Ptr,
        &[
            (
                "control characters, dots, quotes",
                empty().answer(WWW, make::PTR, 60, b"\x06a\x1b[m.\"\x02\xc3\xa4\0"),
                "a\\027\\091m\\046\\034.\\195\\164 ttl=60 aliases=0",
            ),
            (
                "an address",
                empty().answer(WWW, make::PTR, 60, &make::name("1.2.3.4")),
                "1.2.3.4 ttl=60 aliases=0",
            ),
        ],
    );
}

#[test]
fn aliases() {
    let chain = |links: usize| {
        let mut reply = empty().alias(WWW, 60, "n1.example");
        for link in 1..links {
            reply = reply.alias(&format!("n{link}.example"), 90, &format!("n{}.example", link + 1));
        }
        reply.address(&format!("n{links}.example"), 300, "192.0.2.1")
    };
    let soa = make::soa(20);
    check(
        Kind::A,
        &[
            ("one", chain(1), "192.0.2.1 ttl=60 aliases=1"),
            ("eight", chain(8), "192.0.2.1 ttl=60 aliases=8"),
            ("nine", chain(9), "TooMuch"),
            ("twenty", chain(20), "TooMuch"),
            (
                "in no order",
                empty().address("x.example", 5, "192.0.2.1").alias(WWW, 9, "X.example"),
                "192.0.2.1 ttl=5 aliases=1",
            ),
            ("a loop", empty().alias(WWW, 60, "b.example").alias("b.example", 60, WWW), "TooMuch"),
            ("to itself", empty().alias(WWW, 60, WWW), "TooMuch"),
            (
                "beside data",
                empty().alias(WWW, 9, "b.example").address(WWW, 60, "192.0.2.7"),
                "192.0.2.7 ttl=60 aliases=0",
            ),
            ("open end", empty().alias(WWW, 60, "B.example"), "alias b.example ttl=60 aliases=1"),
            (
                "end without data",
                empty().alias(WWW, 60, "b.example").authority("example", make::SOA, 30, &soa),
                "NoData ttl=20 aliases=1",
            ),
            (
                "end that does not exist",
                empty().alias(WWW, 60, "b.example").rcode(3),
                "NxDomain ttl=0 aliases=1",
            ),
            (
                "DNAME alone",
                empty().answer("example", make::DNAME, 60, &make::name("b.test")),
                "Malformed",
            ),
            (
                "DNAME with its CNAME",
                empty()
                    .answer("example", make::DNAME, 60, &make::name("b.test"))
                    .alias(WWW, 60, "www.b.test")
                    .address("www.b.test", 60, "192.0.2.1"),
                "192.0.2.1 ttl=60 aliases=1",
            ),
        ],
    );
}

#[test]
fn names_that_bend() {
    let owner = |octets: &[u8]| empty().record(6, octets, make::A, 60, &[192, 0, 2, 1]);
    let at = u8::try_from(empty().0.len()).expect("short");
    let long = [[vec![63], vec![b'a'; 63]].concat().repeat(4), vec![0]].concat();
    let mut ladder = empty();
    // Each label-less pointer points to the one before it.
    let mut data = vec![0xc0, 12];
    let first = at + 12;
    for step in 0..200_u16 {
        data.extend((0xc000 | (u16::from(first) + 2 * step)).to_be_bytes());
    }
    ladder = ladder.record(6, &[0xc0, 12], 999, 60, &data);
    let top = 0xc000 | (u16::from(first) + 2 * 200);
    check(
        Kind::A,
        &[
            ("a pointer back", owner(&[0xc0, 12]), "192.0.2.1 ttl=60 aliases=0"),
            ("a pointer to itself", owner(&[0xc0, at]), "Malformed"),
            ("a pointer forward", owner(&[0xc0, at + 4]), "Malformed"),
            ("a pointer out", owner(&[0xff, 0xff]), "Malformed"),
            ("a label and a pointer to it", owner(&[1, b'a', 0xc0, at]), "Malformed"),
            ("a label type of 1999", owner(&[0x41, 0, 0]), "Malformed"),
            ("more than 255 octets", owner(&long), "Malformed"),
            (
                "a label that ends behind the message",
                Reply([empty().0, vec![50, b'a']].concat()),
                "NoData ttl=0 aliases=0",
            ),
            (
                "200 pointers",
                ladder.record(6, &top.to_be_bytes(), make::A, 60, &[192, 0, 2, 1]),
                "192.0.2.1 ttl=60 aliases=0",
            ),
            (
                "announced, but not there",
                {
                    let mut it = empty();
                    it.0[7] = 1;
                    it
                },
                "Malformed",
            ),
        ],
    );
}

#[test]
fn bounds() {
    let many = |count: usize, rtype: u16, data: &[u8]| {
        (0..count).fold(empty(), |reply, _| reply.record(6, &[0xc0, 12], rtype, 60, data))
    };
    for (count, good) in [(64, true), (65, false), (399, false), (4_000, false)] {
        let reply = many(count, make::A, &[192, 0, 2, 1]);
        assert_eq!(read(&reply.0, &asked(WWW), Kind::A).is_ok(), good, "{count} addresses");
    }
    let reply = many(300, make::PTR, &make::name("host.example"));
    let names = read(&reply.0, &asked(WWW), Kind::Ptr).map(|content| match content.found {
        Found::Answer(answer) => answer.records().len(),
        Found::Alias(_) => 0,
    });
    assert_eq!(names, Ok(64), "the first names do");
    let string = make::txt(&[&[b'x'; 255]]);
    for (strings, good) in [(63, true), (65, false), (240, false)] {
        let reply = many(1, make::TXT, &string.repeat(strings));
        assert_eq!(read(&reply.0, &asked(WWW), Kind::Txt).is_ok(), good, "{strings} strings");
    }
    let reply = many(500, 999, b"");
    assert_eq!(read(&reply.0, &asked(WWW), Kind::A), Err(Bad::TooMuch), "records of no use");
}
