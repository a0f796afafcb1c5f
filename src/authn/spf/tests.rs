//! Records against a small world, by the sections of RFC 7208; suites of others are in `tests/spf.rs`.

mod explanation;
mod limits;
mod mechanisms;

use super::*;
use crate::dns::{Answer, Kind, Question, Record, name_of_octets, reverse_name};

/// A name in it has its records, any other does not exist. A line is `NAME TYPE DATA`; the data of
/// `NAME TYPE -` is that there is none, and of `NAME TYPE !` that nobody answers.
struct World {
    lines: Vec<(Box<str>, Kind, String)>,
    /// Questions, a batch for each call.
    asked: Vec<Vec<Question>>,
}

const STANDARD: [&str; 26] = [
    "a.example A 192.0.2.1",
    "a.example A 192.0.2.2",
    "a.example AAAA 2001:db8::1",
    "wide.example A 192.0.2.200",
    "only6.example AAAA 2001:db8::7",
    "foo:bar/baz.example A 192.0.2.1",
    "foo:bar/baz.example MX 10 foo:bar/baz.example",
    "empty.example A -",
    "dumb.example A !",
    "dumb.example AAAA !",
    "dumb.example MX !",
    "dumb.example TXT !",
    "m.example MX 20 a.example",
    "m.example MX 10 wide.example",
    "m.example A 198.51.100.1",
    "null.example MX 0 .",
    "half.example MX 10 dumb.example",
    "half.example MX 5 a.example",
    "pass.example TXT v=spf1 all",
    "fail.example TXT v=spf1 -all exp=e.example",
    "softfail.example TXT v=spf1 ~all",
    "neutral.example TXT v=spf1 ?all",
    "broken.example TXT v=spf1 moo",
    "e.example TXT not for you",
    "sub.pass.example A 192.0.2.1",
    "nothing.example TXT some text",
];

impl World {
    fn of(lines: &[&str]) -> World {
        let lines = STANDARD.iter().chain(lines).map(|line| {
            let (name, rest) = line.rsplit_once_kind();
            (name_of_octets(name.as_bytes()), rest.0, rest.1.to_string())
        });
        World { lines: lines.collect(), asked: Vec::new() }
    }

    fn answer(&self, question: &Question) -> Answer {
        let of_name = self.lines.iter().filter(|(name, ..)| *name == question.name);
        let exists = of_name.clone().next().is_some();
        let mut records = Vec::new();
        for (_, kind, data) in of_name.filter(|(_, kind, _)| *kind == question.kind) {
            match (kind, data.as_str()) {
                (_, "!") => return Answer::TempFail,
                (_, "-") => {}
                (Kind::Mx, data) => {
                    let (preference, host) = data.split_once(' ').expect("a preference");
                    let host = name_of_octets(host.as_bytes());
                    records.push(Record::Mx(preference.parse().expect("a number"), host));
                }
                (Kind::Ptr, data) => records.push(Record::Name(name_of_octets(data.as_bytes()))),
                (Kind::Txt, data) => records.push(Record::Text(data.as_bytes().into())),
                (_, data) => records.push(Record::Address(data.parse().expect("an address"))),
            }
        }
        match (records.is_empty(), exists) {
            (false, _) => Answer::Found(records.into()),
            (true, true) => Answer::NoData,
            (true, false) => Answer::NxDomain,
        }
    }

    /// Sizes of the batches.
    fn rounds(&self) -> Vec<usize> {
        self.asked.iter().map(Vec::len).collect()
    }
}

trait Splits {
    fn rsplit_once_kind(&self) -> (&str, (Kind, &str));
}

impl Splits for str {
    /// A name may hold blanks, so the type is looked for.
    fn rsplit_once_kind(&self) -> (&str, (Kind, &str)) {
        const KINDS: [(&str, Kind); 5] = [
            (" TXT ", Kind::Txt),
            (" AAAA ", Kind::Aaaa),
            (" A ", Kind::A),
            (" MX ", Kind::Mx),
            (" PTR ", Kind::Ptr),
        ];
        let split = |(word, kind): &(&str, Kind)| {
            self.split_once(word).map(|(name, data)| (name, (*kind, data)))
        };
        KINDS.iter().find_map(split).unwrap_or_else(|| panic!("{self:?} has no type"))
    }
}

impl Lookup for World {
    type Missing = std::convert::Infallible;

    fn ask(&mut self, question: Question) -> Result<Answer, Self::Missing> {
        self.asked.push(vec![question.clone()]);
        Ok(self.answer(&question))
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Self::Missing> {
        let answers = questions.iter().map(|question| self.answer(question)).collect();
        self.asked.push(questions);
        Ok(answers)
    }
}

/// Checks a sender; empty is the null sender.
fn check(world: &mut World, ip: &str, helo: &str, sender: &str) -> Checked {
    let client = Client {
        ip: ip.parse().expect("an address"),
        helo,
        receiver: "mx.example.net",
        unix: 1_000_000_000,
    };
    let identity = Identity::of_text(sender).unwrap_or_else(|| Identity::of_helo(helo));
    let Ok(checked) = check_host(world, &client, &identity);
    checked
}

/// Checks `u@d.example`, whose record is this, with more lines in the world.
fn check_record(record: &str, lines: &[&str], ip: &str) -> Checked {
    let record = format!("d.example TXT {record}");
    let mut lines = lines.to_vec();
    lines.push(&record);
    check(&mut World::of(&lines), ip, "mail.d.example", "u@d.example")
}

/// A table of records, addresses and results.
fn table(rows: &[(&str, &str, SpfResult)]) {
    for (record, ip, expected) in rows {
        let checked = check_record(record, &[], ip);
        assert_eq!(checked.result, *expected, "{record} {ip}: {}", checked.why());
    }
}

/// RFC 7208 sections 2.4 and 4.3.
#[test]
fn initial_processing() {
    let label = "l".repeat(63);
    let long = format!("u@{}d.example", "l23456789.".repeat(25));
    let lines = [
        "d.example TXT v=spf1 exists:%{l}.l.example -all",
        "postmaster.l.example A 127.0.0.2",
        "xn--bcher-kva.example TXT v=spf1 -all",
        "localhost TXT v=spf1 -all",
        "1.2.3.4 TXT v=spf1 -all",
        "a b.example TXT v=spf1 -all",
        &format!("{label}.example TXT v=spf1 -all"),
        &format!("x{label}.example TXT v=spf1 -all"),
    ];
    for (sender, helo, expected, scope) in [
        ("u@d.example", "h.example", SpfResult::Fail, Scope::MailFrom),
        ("<u@D.example.>", "h.example", SpfResult::Fail, Scope::MailFrom),
        ("@d.example", "h.example", SpfResult::Pass, Scope::MailFrom),
        ("d.example", "h.example", SpfResult::Pass, Scope::MailFrom),
        ("\"\"@d.example", "h.example", SpfResult::Pass, Scope::MailFrom),
        ("", "d.example", SpfResult::Pass, Scope::Helo),
        ("<>", "d.example", SpfResult::Pass, Scope::Helo),
        ("", "h.example", SpfResult::None, Scope::Helo),
        ("", "localhost", SpfResult::None, Scope::Helo),
        ("", "", SpfResult::None, Scope::Helo),
        ("", "[192.0.2.1]", SpfResult::None, Scope::Helo),
        ("", "1.2.3.4", SpfResult::None, Scope::Helo),
        ("", "a b.example", SpfResult::Fail, Scope::Helo),
        ("", "b\u{fc}cher.example", SpfResult::Fail, Scope::Helo),
        ("u@[192.0.2.1]", "h.example", SpfResult::None, Scope::MailFrom),
        ("u@localhost", "h.example", SpfResult::None, Scope::MailFrom),
        ("u@a..example", "h.example", SpfResult::None, Scope::MailFrom),
        ("u@.example", "h.example", SpfResult::None, Scope::MailFrom),
        ("u@b\u{dc}cher.example", "h.example", SpfResult::Fail, Scope::MailFrom),
        ("u@\u{ff0e}.example", "h.example", SpfResult::None, Scope::MailFrom),
        (&format!("u@{label}.example"), "h.example", SpfResult::Fail, Scope::MailFrom),
        (&format!("u@x{label}.example"), "h.example", SpfResult::None, Scope::MailFrom),
        (&long, "h.example", SpfResult::None, Scope::MailFrom),
    ] {
        let checked = check(&mut World::of(&lines), "192.0.2.9", helo, sender);
        assert_eq!(checked.result, expected, "{sender} {helo}: {}", checked.why());
        assert_eq!(checked.identity.scope, scope, "{sender} {helo}");
    }
}

/// RFC 7208 sections 4.4 and 4.5.
#[test]
fn lookup_and_selection() {
    for (texts, expected) in [
        (&["v=spf1 -all"][..], SpfResult::Fail),
        (&["V=SpF1 ~all"], SpfResult::SoftFail),
        (&["v=spf1"], SpfResult::Neutral),
        (&["v=spf1 "], SpfResult::Neutral),
        (&["v=spf10 -all"], SpfResult::None),
        (&["v=spf1-all"], SpfResult::None),
        (&["spf2.0/pra -all"], SpfResult::None),
        (&["some text", ""], SpfResult::None),
        (&["some text", "v=spf1 -all", "v=spf10 +all", "\u{96}"], SpfResult::Fail),
        (&["v=spf1 -all", "v=spf1 -all"], SpfResult::PermError),
        (&["v=spf1 -all", "V=SPF1"], SpfResult::PermError),
        (&["!"], SpfResult::TempError),
        (&["-"], SpfResult::None),
    ] {
        let lines: Vec<String> = texts.iter().map(|it| format!("d.example TXT {it}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let checked = check(&mut World::of(&lines), "192.0.2.9", "h.example", "u@d.example");
        assert_eq!(checked.result, expected, "{texts:?}: {}", checked.why());
    }
    let checked = check(&mut World::of(&[]), "192.0.2.9", "h.example", "u@gone.example");
    assert_eq!(checked.result, SpfResult::None);
}

/// RFC 7208 sections 4.6 and 4.7: faults count before anything is judged, and without any match the
/// result is neutral.
#[test]
fn record_evaluation() {
    table(&[
        ("v=spf1 ip4:192.0.2.1 -all moo", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 +all ip:10.0.0.1", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 +all redirect=", "192.0.2.1", SpfResult::PermError),
        ("v=spf1   ip4:192.0.2.1   -all  ", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 foo=bar foo=%%baz ip4:192.0.2.1", "192.0.2.2", SpfResult::Neutral),
        ("v=spf1 redirect=pass.example", "192.0.2.2", SpfResult::Pass),
        ("v=spf1 redirect=fail.example a:a.example", "192.0.2.2", SpfResult::Pass),
        ("v=spf1 ?all redirect=pass.example", "192.0.2.2", SpfResult::Neutral),
        ("v=spf1 redirect=pass.example -all", "192.0.2.2", SpfResult::Fail),
        ("v=spf1 a:a..example -all", "192.0.2.1", SpfResult::Fail),
    ]);
    let mut world = World::of(&["d.example TXT v=spf1 a:a.example include:pass.example moo"]);
    let checked = check(&mut world, "192.0.2.1", "h.example", "u@d.example");
    assert_eq!((checked.result, world.rounds()), (SpfResult::PermError, vec![1]));
    let problem = "an unknown mechanism in 'moo' of d.example";
    assert_eq!(checked.problem.as_deref(), Some(problem));
}

/// What is on the way to a result, for whoever wants to know why.
#[test]
fn the_path_tells_each_term() {
    let lines = ["i.example TXT v=spf1 a:gone.example ~a:a.example -all"];
    let record = "v=spf1 ip4:198.51.100.1 include:i.example redirect=neutral.example";
    let checked = check_record(record, &lines, "192.0.2.1");
    let path: Vec<String> = checked
        .path
        .iter()
        .map(|step| format!("{} {} {}: {}", step.depth, step.domain, step.term, step.outcome))
        .collect();
    assert_eq!(
        path,
        [
            "0 d.example ip4:198.51.100.1: no match",
            "0 d.example include:i.example: no match",
            "1 i.example a:gone.example: no match",
            "1 i.example ~a:a.example: softfail",
            "0 d.example redirect: goes on",
            "0 neutral.example ?all: neutral",
        ]
    );
    assert_eq!(checked.matched.as_deref(), Some("?all"));
    let record = format!("v=spf1 {}-all", "ip4:198.51.100.1 ".repeat(1_000));
    let checked = check_record(&record, &[], "192.0.2.1");
    assert_eq!((checked.path.len(), checked.result), (PATH_MAX, SpfResult::Fail));
}

/// A pass that any client gets says nothing about this one.
#[test]
fn wide_passes() {
    for (record, expected) in [
        ("v=spf1 +all", true),
        ("v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1", true),
        ("v=spf1 include:pass.example -all", true),
        ("v=spf1 redirect=pass.example", true),
        ("v=spf1 a:a.example/0 -all", true),
        ("v=spf1 mx:m.example/7 -all", true),
        ("v=spf1 ip4:192.0.0.0/8 -all", false),
        ("v=spf1 a:a.example +all", false),
        ("v=spf1 include:pass2.example -all", false),
        ("v=spf1 exists:a.example -all", false),
    ] {
        let lines = ["pass2.example TXT v=spf1 ip4:192.0.2.0/24"];
        let checked = check_record(record, &lines, "192.0.2.1");
        assert_eq!((checked.result, checked.is_wide), (SpfResult::Pass, expected), "{record}");
    }
}
