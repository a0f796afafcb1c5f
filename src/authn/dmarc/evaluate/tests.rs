//! Policies, organisations and alignment, with the number of rounds that they took.

use super::*;
use crate::authn::dkim::Reason;
use crate::dns::Record as DnsRecord;
use std::convert::Infallible;

/// Names with their text; `!` is no answer, `@` a host.
#[derive(Clone, Copy)]
struct World<'a>(&'a [(&'a str, &'a str)]);

struct Asked<'a> {
    world: World<'a>,
    rounds: Vec<usize>,
}

impl Lookup for Asked<'_> {
    type Missing = Infallible;

    fn ask(&mut self, question: Question) -> Result<Answer, Infallible> {
        self.ask_all(vec![question]).map(|answers| answers[0].clone())
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Infallible> {
        self.rounds.push(questions.len());
        Ok(questions.iter().map(|question| self.answer(question)).collect())
    }
}

impl Asked<'_> {
    fn answer(&self, question: &Question) -> Answer {
        let name = question.name.strip_prefix("_dmarc.").unwrap_or(&question.name);
        let is_text = question.kind == Kind::Txt;
        let mut texts = Vec::new();
        for (known, text) in self.world.0 {
            match (*text, is_text) {
                ("!", true) | ("?", false) if *known == name => return Answer::TempFail,
                ("@", false) if *known == name => {
                    let address = DnsRecord::Address("192.0.2.1".parse().unwrap());
                    return Answer::Found([address].into());
                }
                ("@" | "?", _) => {}
                (text, true) if *known == name => {
                    texts.push(DnsRecord::Text(format!("v=DMARC1; {text}").into_bytes().into()));
                }
                _ => {}
            }
        }
        if texts.is_empty() { Answer::NxDomain } else { Answer::Found(texts.into()) }
    }
}

fn signature(domain: &str, outcome: Outcome, uncovered: u64) -> Verified {
    Verified {
        outcome,
        reason: (outcome != Outcome::Pass).then_some(Reason::Header),
        domain: domain.to_string(),
        selector: "s".to_string(),
        identity: format!("@{domain}"),
        algorithm: None,
        start_of_b: String::new(),
        uncovered,
        testing: false,
    }
}

/// `spf` and `dkim` are `DOMAIN`, which passes, or `DOMAIN WORD`.
fn judged(world: &[(&str, &str)], from: &str, spf: &str, dkim: &str) -> (String, usize) {
    judged_by(Discovery::Tree, world, from, spf, dkim)
}

fn judged_by(
    discovery: Discovery,
    world: &[(&str, &str)],
    from: &str,
    spf: &str,
    dkim: &str,
) -> (String, usize) {
    let authors: Vec<String> = from.split(' ').map(str::to_string).collect();
    let (spf_domain, spf_word) = spf.split_once(' ').unwrap_or((spf, "pass"));
    let spf_result = match spf_word {
        "pass" => SpfResult::Pass,
        "temperror" => SpfResult::TempError,
        _ => SpfResult::Fail,
    };
    let (dkim_domain, dkim_word) = dkim.split_once(' ').unwrap_or((dkim, "pass"));
    let signatures = [match dkim_word {
        "pass" => signature(dkim_domain, Outcome::Pass, 0),
        "part" => signature(dkim_domain, Outcome::Pass, 1),
        "temperror" => signature(dkim_domain, Outcome::TempError, 0),
        _ => signature(dkim_domain, Outcome::Fail, 0),
    }];
    let evidence = Evidence {
        authors: if from.is_empty() { &[] } else { &authors },
        is_clear: authors.len() == 1,
        spf: (spf != "-").then_some((spf_domain, spf_result)),
        dkim: (dkim != "-").then_some(if dkim.is_empty() { &[] } else { &signatures[..] }),
    };
    let mut asked = Asked { world: World(world), rounds: Vec::new() };
    let Ok(found) = evaluate(&mut asked, discovery, &evidence);
    assert!(asked.rounds.len() <= 2, "{:?}", asked.rounds);
    let mut shown = found.result.word().to_string();
    if let Some(applied) = &found.applied {
        shown.push_str(&format!(" {} {}", applied.domain, applied.wanted().word()));
    }
    if found.spf {
        shown.push_str(" spf");
    }
    if found.dkim {
        shown.push_str(" dkim");
    }
    (shown, asked.rounds.len())
}

#[test]
fn alignment() {
    const WORLD: &[(&str, &str)] = &[
        ("x.example", "p=reject"),
        ("s.example", "p=reject; adkim=s; aspf=s"),
        ("own.x.example", "p=none"),
    ];
    for (from, spf, dkim, expected, rounds) in [
        ("x.example", "x.example", "", "pass x.example reject spf", 1),
        ("x.example", "y.example fail", "x.example", "pass x.example reject dkim", 1),
        ("x.example", "x.example", "x.example", "pass x.example reject spf dkim", 1),
        ("x.example", "a.b.x.example", "", "pass x.example reject spf", 2),
        ("x.example", "x.other", "x.other", "fail x.example reject", 1),
        ("x.example", "notx.example", "", "fail x.example reject", 2),
        ("x.example", "x.example fail", "", "fail x.example reject", 1),
        ("x.example", "", "x.example part", "fail x.example reject", 1),
        ("x.example", "", "x.example fail", "fail x.example reject", 1),
        ("s.example", "a.s.example", "a.s.example", "fail s.example reject", 1),
        ("s.example", "s.example", "", "pass s.example reject spf", 1),
        ("a.x.example", "b.x.example", "", "pass x.example reject spf", 2),
        ("a.s.example", "s.example", "s.example", "fail s.example reject", 2),
        ("own.x.example", "b.x.example fail", "x.example", "pass own.x.example none dkim", 2),
        ("none.example", "none.example", "none.example", "none", 2),
        // Who has no result yet.
        ("x.example", "x.example temperror", "", "temperror x.example reject", 1),
        ("x.example", "x.other temperror", "", "fail x.example reject", 1),
        ("x.example", "x.example fail", "x.example temperror", "temperror x.example reject", 1),
        ("x.example", "x.example temperror", "x.example", "pass x.example reject dkim", 1),
        ("x.example", "-", "", "temperror x.example reject", 1),
        ("x.example", "x.example fail", "-", "temperror x.example reject", 1),
        ("x.example", "-", "x.example", "pass x.example reject dkim", 1),
        // Several authors: the strictest policy counts, and nothing passes.
        ("own.x.example x.example", "x.example", "own.x.example", "fail x.example reject", 1),
        ("x.example none.example", "x.example", "", "fail x.example reject", 2),
        ("none.example none2.example", "none.example", "", "permerror", 2),
        ("", "x.example", "", "permerror", 0),
    ] {
        let found = judged(WORLD, from, spf, dkim);
        assert_eq!(found, (expected.to_string(), rounds), "{from} {spf} {dkim}");
    }
}

#[test]
fn policies_and_organisations() {
    for (world, from, spf, expected) in [
        // sp and np.
        (&[("x.org", "p=reject; sp=none"), ("a.x.org", "@")][..], "a.x.org", "", "fail x.org none"),
        (&[("x.org", "p=none; np=reject")], "a.x.org", "", "fail x.org reject"),
        (&[("x.org", "p=none; np=reject"), ("a.x.org", "@")], "a.x.org", "", "fail x.org none"),
        (&[("x.org", "p=none; np=reject"), ("a.x.org", "?")], "a.x.org", "", "fail x.org none"),
        (&[("x.org", "p=reject; sp=none")], "x.org", "", "fail x.org reject"),
        (&[("x.org", "p=reject; t=y")], "x.org", "", "fail x.org quarantine"),
        (&[("x.org", "sp=quarantine; t=y")], "a.x.org", "", "fail x.org none"),
        // The organisation is the shortest name with a record, unless psd says otherwise.
        (
            &[("x.org", "p=reject"), ("b.x.org", "p=none")],
            "a.b.x.org",
            "x.org",
            "pass x.org reject spf",
        ),
        (
            &[("x.org", "p=reject"), ("b.x.org", "p=none; psd=n")],
            "a.b.x.org",
            "x.org",
            "fail b.x.org none",
        ),
        (
            &[("co.org", "p=none; psd=y"), ("x.co.org", "p=reject")],
            "a.x.co.org",
            "y.co.org",
            "fail x.co.org reject",
        ),
        (&[("co.org", "p=none; psd=y; np=reject")], "a.x.co.org", "", "fail co.org reject"),
        (&[("co.org", "psd=y")], "a.x.co.org", "b.x.co.org", "pass co.org none spf"),
        (&[("co.org", "psd=y")], "a.x.co.org", "b.y.co.org", "fail co.org none"),
        (&[("org", "psd=u; p=reject")], "a.x.org", "", "fail org reject"),
        // Records that do not count.
        (&[("x.org", "p=reject"), ("x.org", "p=none")], "x.org", "", "none"),
        (&[("x.org", "p=bogus")], "x.org", "x.org", "none"),
        (&[("x.org", "p=bogus; rua=mailto:a@x.org")], "x.org", "", "fail x.org none"),
        (&[("x.org", "p=reject; p=none"), ("org", "p=reject")], "x.org", "", "fail org reject"),
        // Faults of name servers.
        (&[("x.org", "!")], "x.org", "x.org", "temperror"),
        (&[("x.org", "!")], "a.x.org", "a.x.org", "temperror"),
        (&[("org", "!"), ("x.org", "p=reject")], "x.org", "x.org", "pass x.org reject spf"),
        (&[("org", "!"), ("x.org", "p=reject")], "x.org", "a.x.org", "temperror x.org reject"),
        (
            &[("org", "!"), ("x.org", "p=reject; psd=n")],
            "x.org",
            "a.x.org",
            "pass x.org reject spf",
        ),
        (&[("org", "!"), ("x.org", "p=reject")], "x.org", "y.net", "fail x.org reject"),
    ] {
        assert_eq!(judged(world, from, spf, "").0, expected, "{world:?} {from} {spf}");
    }
}

#[test]
fn walks_are_bounded() {
    let deep = format!("{}x.org", "a.".repeat(100));
    let world = [("x.org", "p=reject")];
    assert_eq!(judged(&world, &deep, "x.org", "").0, "pass x.org reject spf");
    let long =
        format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(59));
    assert_eq!(judged(&world, &long, &long, "").0, "none");
    assert_eq!(below("a.b.co.uk", "co.uk"), "b.co.uk");
    assert_eq!(below("b.co.uk", "uk"), "co.uk");
}

/// What others have seen counts by the modes of the record.
#[test]
fn what_others_have_seen() {
    const WORLD: &[(&str, &str)] = &[("x.example", "p=reject"), ("a.mute", "!"), ("mute", "!")];
    for (author, modes, spf, dkim, expected, rounds) in [
        ("a.x.example", "", "a.x.example", "", Some(true), 0),
        ("a.x.example", "", "", "a.x.example", Some(true), 0),
        ("a.x.example", "", "b.x.example", "", Some(true), 1),
        ("a.x.example", "aspf=s", "b.x.example", "", Some(false), 0),
        ("a.x.example", "aspf=s", "b.x.example", "x.example", Some(true), 1),
        ("a.x.example", "adkim=s", "y.example", "x.example", Some(false), 1),
        ("a.x.example", "", "y.other", "", Some(false), 0),
        ("a.x.example", "", "", "", Some(false), 0),
        ("a.mute", "", "b.mute", "", None, 1),
    ] {
        let record = Record::parse(format!("v=DMARC1; p=reject; {modes}").as_bytes()).unwrap();
        let (author, domain) = (author.to_string(), author.to_string());
        let (policy, discovery) = (Policy::Reject, Discovery::Tree);
        let applied = Applied { author, domain, record, policy, discovery };
        let names =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_string).collect() };
        let mut asked = Asked { world: World(WORLD), rounds: Vec::new() };
        let Ok(found) = any_aligned(&mut asked, &applied, &names(spf), &names(dkim));
        assert_eq!((found, asked.rounds.len()), (expected, rounds), "{modes} {spf} {dkim}");
        // By the list nobody is asked.
        let (applied, mut asked) =
            (Applied { discovery: Discovery::Psl, ..applied }, Asked { rounds: vec![], ..asked });
        let Ok(found) = any_aligned(&mut asked, &applied, &names(spf), &names(dkim));
        assert_eq!((found, asked.rounds.len()), (Some(expected == Some(true)), 0), "{spf} {dkim}");
    }
}

/// The old way knows the author's own record and that of the organisation, and no `psd`.
#[test]
fn by_the_public_suffix_list() {
    const WORLD: &[(&str, &str)] = &[
        ("x.co.uk", "p=reject; sp=quarantine"),
        ("mid.x.co.uk", "p=none; psd=n"),
        ("a.mid.x.co.uk", "@"),
        ("b.example", "@"),
        ("example", "p=reject; psd=y"),
        ("uk", "p=reject"),
        ("mute.co.uk", "!"),
    ];
    for (from, spf, dkim, tree, psl, rounds) in [
        ("x.co.uk", "b.x.co.uk", "", "pass x.co.uk reject spf", "pass x.co.uk reject spf", 1),
        ("a.mid.x.co.uk", "", "", "fail mid.x.co.uk none", "fail x.co.uk quarantine", 2),
        (
            "a.mid.x.co.uk",
            "",
            "b.x.co.uk",
            "fail mid.x.co.uk none",
            "pass x.co.uk quarantine dkim",
            2,
        ),
        ("mid.x.co.uk", "x.co.uk", "", "fail mid.x.co.uk none", "pass mid.x.co.uk none spf", 1),
        ("b.example", "", "", "fail example reject", "none", 2),
        ("y.co.uk", "", "", "fail uk reject", "none", 2),
        ("a.mute.co.uk", "", "", "temperror", "temperror", 2),
        ("x.co.uk x.co.uk", "x.co.uk", "", "fail x.co.uk reject", "fail x.co.uk reject", 1),
    ] {
        assert_eq!(judged(WORLD, from, spf, dkim).0, tree, "{from} {spf} {dkim}");
        let found = judged_by(Discovery::Psl, WORLD, from, spf, dkim);
        assert_eq!(found, (psl.to_string(), rounds), "{from} {spf} {dkim}");
    }
}

/// A stranger whose name servers fail on purpose makes nobody unsure whether he speaks for the author.
#[test]
fn strangers_out_of_reach() {
    const WORLD: &[(&str, &str)] =
        &[("bank.example", "p=reject"), ("evil.example", "!"), ("a.bank.example", "!")];
    for (from, spf, dkim, expected) in [
        ("bank.example", "", "evil.example", "fail bank.example reject"),
        ("bank.example", "evil.example", "", "fail bank.example reject"),
        ("bank.example", "evil.example temperror", "", "fail bank.example reject"),
        ("b.bank.example", "", "evil.example", "fail bank.example reject"),
        // Its own people may be who they say.
        ("bank.example", "", "a.bank.example", "temperror bank.example reject"),
    ] {
        let (found, _) = judged(WORLD, from, spf, dkim);
        assert_eq!(found, expected, "{from} {spf} {dkim}");
    }
}
