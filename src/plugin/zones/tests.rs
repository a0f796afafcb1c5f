//! Lines of zone files and answers of lists, as tables.

use super::*;
use crate::config::files::Files;

fn load(text: &str, blanks: bool) -> (Zones, Vec<String>) {
    let files = Files::in_memory([("z".to_string(), text.to_string())]);
    let mut problems = Vec::new();
    let zones = Zones::load(&Setup::new(&files, &mut problems), "z", blanks);
    (zones, problems.iter().map(ToString::to_string).collect())
}

fn check(text: &str, blanks: bool, expected: &[(&str, Option<&str>)]) {
    let (zones, problems) = load(text, blanks);
    let seen: Vec<_> = zones.0.iter().map(|zone| (&*zone.name, zone.text.as_deref())).collect();
    assert_eq!(seen, expected, "{text} {blanks}");
    assert!(problems.is_empty(), "{text}: {problems:?}");
}

#[test]
fn a_line_is_a_zone_and_a_text() {
    for blanks in [false, true] {
        for (text, expected) in [
            ("zen.spamhaus.org", &[("zen.spamhaus.org", None)][..]),
            ("Bl.Example.", &[("bl.example", None)]),
            (
                "bl.example;See https://bl.example/?%IP%, or call: us",
                &[("bl.example", Some("See https://bl.example/?%IP%, or call: us"))],
            ),
            (
                "bl.example:blocked, see http://bl.example/?q=%IP%;x",
                &[("bl.example", Some("blocked, see http://bl.example/?q=%IP%;x"))],
            ),
            ("bl.example : text", &[("bl.example", Some("text"))]),
            ("bl.example;", &[("bl.example", None)]),
            ("bl.example:  ", &[("bl.example", None)]),
            (
                "a.example,b.example , c.example",
                &[("a.example", None), ("b.example", None), ("c.example", None)],
            ),
            ("b.example\n# a.example\n\na.example", &[("b.example", None), ("a.example", None)]),
        ] {
            check(text, blanks, expected);
        }
    }
    // Behind a blank only where the file has that form.
    for (text, expected) in [
        ("bl.example is full of spam", ("bl.example", "is full of spam")),
        (
            "bl.example\tsee http://bl.example/, please",
            ("bl.example", "see http://bl.example/, please"),
        ),
        ("bl.example one, two", ("bl.example", "one, two")),
    ] {
        check(text, true, &[(expected.0, Some(expected.1))]);
    }
}

#[test]
fn faults_are_told_and_left_out() {
    for (text, zones, problem) in [
        ("b.example l.example", 1, "a text stands behind ; or : and not like \"l.example\""),
        ("a.example\nA.example.", 1, "\"a.example\" stands here twice: asked once"),
        (";text", 0, "\"\" is no name of a list: not asked"),
        ("http://bl.example", 0, "\"http\" is no name of a list: not asked"),
        ("bl.example/24", 0, "\"bl.example/24\" is no name of a list: not asked"),
        ("a.example,/,b.example", 0, "\"a.example,/,b.example\" is no name of a list: not asked"),
        ("a.example,b.example;text", 0, "\"a.example,b.example\" is no name of a list: not asked"),
    ] {
        let (loaded, problems) = load(text, false);
        assert_eq!(loaded.0.len(), zones, "{text}");
        let seen = problems.first().and_then(|it| it.split_once(": warning: "));
        assert_eq!(seen.map(|(_, it)| it), Some(problem), "{text}");
    }
    let many: String = (0..=ZONES_MAX).map(|n| format!("z{n}.example\n")).collect();
    let (loaded, problems) = load(&many, false);
    assert_eq!(loaded.0.len(), ZONES_MAX);
    assert_eq!(
        problems,
        ["z:41: warning: there are more than 40 lists: \"z40.example\" is not asked"]
    );
}

#[test]
fn what_does_not_fit_is_not_asked() {
    let (zones, _) = load("a.example;text\nb.example", false);
    let names = |below: &str| {
        let asked = zones.askable(below).flat_map(|zone| zone.questions(below));
        asked.map(|it| format!("{:?} {}", it.kind, it.name)).collect::<Vec<_>>()
    };
    assert_eq!(
        names("1.2.0.192"),
        ["A 1.2.0.192.a.example", "A 1.2.0.192.b.example", "Txt 1.2.0.192.b.example"]
    );
    assert_eq!(names(&"a.".repeat(123)).len(), 0);
}

fn addresses(texts: &[&str]) -> Answer {
    let record = |text: &&str| Record::Address(text.parse().expect("an address"));
    Answer::Found(texts.iter().map(record).collect())
}

fn text(text: &[u8]) -> Answer {
    Answer::Found([Record::Text(text.into())].into())
}

#[test]
fn texts_come_from_the_admin_then_from_the_list() {
    let listed = addresses(&["127.0.0.2", "127.0.0.9"]);
    let own = Zone::new("bl.example", "Go to %IP%");
    let bare = Zone::new("bl.example", "");
    for (zone, answer, expected) in [
        (&own, None, "Go to %IP%"),
        (&bare, Some(text(b" Listed: see http://bl.example/ ")), "Listed: see http://bl.example/"),
        (&bare, Some(text(b"a\r\n250 ok\xff")), "a\\x0d\\x0a250 ok\\xff"),
        (&bare, Some(text(b"  ")), "listed in bl.example"),
        (&bare, Some(Answer::NoData), "listed in bl.example"),
        (&bare, Some(Answer::TempFail), "listed in bl.example"),
        (&bare, None, "listed in bl.example"),
    ] {
        let hit = zone.judge(&listed, answer.as_ref()).expect("a list").expect("a listing");
        assert_eq!(hit.text, expected);
        assert_eq!(hit.words(), "bl.example (127.0.0.2 127.0.0.9)");
    }
    let long = bare.judge(&listed, Some(&text(&[b'x'; 4_000]))).expect("a list");
    assert!(long.is_some_and(|hit| hit.text.len() < TEXT_MAX + 20));
}

#[test]
fn a_list_in_error_lists_nothing_and_is_named() {
    let zone = Zone::new("bl.example", "");
    let shown = text(b"Error: open resolver");
    for (answer, expected) in [
        (addresses(&["127.255.255.254"]), "(127.255.255.254: asked through a public resolver)"),
        (addresses(&["127.0.0.2", "93.184.216.34"]), "(93.184.216.34: the list is dead, or "),
        (addresses(&["127.0.0.1"]), "bl.example answers with an error code (127.0.0.1: our "),
        (Answer::TempFail, "bl.example query failed: no answer"),
    ] {
        let error = zone.judge(&answer, Some(&shown)).expect_err("an error");
        assert!(error.contains(expected) && !error.contains("open"), "{error}");
    }
    for answer in [Answer::NxDomain, Answer::NoData] {
        assert_eq!(zone.judge(&answer, Some(&shown)), Ok(None));
    }
}

#[test]
fn arguments() {
    use crate::plugin::facts::RejectType::{Disconnect, Perm, Temp};
    for (line, reject, reject_type, complaints) in [
        ("dnsbl", Reject::Now, Perm, 0),
        ("dnsbl disconnect", Reject::Now, Disconnect, 0),
        ("dnsbl temp reject naughty", Reject::Naughty, Temp, 0),
        ("dnsbl reject naughty reject_type disconnect", Reject::Naughty, Disconnect, 0),
        ("dnsbl reject connect timeout 30", Reject::Connect, Perm, 0),
        ("dnsbl timeout never", Reject::Now, Perm, 1),
        ("dnsbl maybe", Reject::Now, Perm, 1),
        ("dnsbl disconnect perm", Reject::Now, Disconnect, 1),
    ] {
        let mut args = Args::of(line);
        assert_eq!(policy(&mut args), Policy { reject, reject_type }, "{line}");
        assert_eq!(args.finish().len(), complaints, "{line}");
    }
}

#[test]
fn no_text_confuses_the_parser() {
    for data in [
        "a.example;b\na.example:b;c\na.example b\n a.b,c.d , e.f\n,\n;\n:\n.;.",
        "\u{e4}.example \u{e4}:\u{e4}\na.\u{2028}b;c\n\u{a0}a.b\u{a0}c;d",
    ] {
        fuzz(data.as_bytes());
    }
    fuzz(b"\xff.example;\xfe\n\0.\0");
}
