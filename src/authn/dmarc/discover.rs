//! Where a domain's DMARC record is looked for: the tree walk (RFC 9989 section 4.10), or by the Public
//! Suffix List, as before it (RFC 7489 sections 3.2 and 6.6.3).

use crate::authn::Lookup;
use crate::dns::{Answer, Kind, Question, Record};

/// Questions of one walk.
pub const QUERIES_MAX: usize = 8;

/// Labels of the second name that is asked for, where the domain has more.
const LABELS_MAX: usize = 7;

/// How the domain of an organisation is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// By what the domains above say of themselves.
    #[default]
    Tree,
    /// By the Public Suffix List, as it was when this program was built.
    Psl,
}

impl Discovery {
    /// As reports name it: `discovery_method` of RFC 9990.
    pub fn word(self) -> &'static str {
        match self {
            Discovery::Tree => "treewalk",
            Discovery::Psl => "psl",
        }
    }

    /// The domains whose records count for `domain`, itself first.
    pub fn targets(self, domain: &str) -> Vec<&str> {
        match (self, organisation(domain)) {
            (Discovery::Tree, _) => targets(domain),
            (Discovery::Psl, of) if of == domain => vec![domain],
            (Discovery::Psl, of) => vec![domain, of],
        }
    }
}

/// The public suffix and one label, by the list; a name that is itself a public suffix stays as it is.
pub fn organisation(domain: &str) -> &str {
    psl::domain_str(domain).unwrap_or(domain)
}

/// Whether a domain is spoken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// A record: the domain at which it stands, and its text.
    Record(String, Box<[u8]>),
    /// There is none, neither for the domain nor for one above it.
    None,
    /// Nobody could say.
    Unknown,
}

/// The domains whose records count for `domain`, itself first: then, of at most seven labels, each
/// that has a label less. At most [`QUERIES_MAX`].
pub fn targets(domain: &str) -> Vec<&str> {
    let mut targets = vec![domain];
    let mut rest = domain;
    while let Some((_, parent)) = rest.split_once('.') {
        rest = parent;
        if rest.split('.').count() <= LABELS_MAX {
            targets.push(rest);
        }
    }
    targets
}

/// The record that is found first on the way up. The domain itself is asked for alone, since most of
/// those that have a record have it there; then all others together.
///
/// # Errors
/// An answer is missing.
pub fn published<L: Lookup>(
    lookup: &mut L,
    discovery: Discovery,
    domain: &str,
) -> Result<Published, L::Missing> {
    let question =
        |target: &&str| Question::of_octets(format!("_dmarc.{target}").as_bytes(), Kind::Txt);
    let targets = discovery.targets(domain);
    let (own, above) = targets.split_at_checked(1).unwrap_or_default();
    let mut is_unknown = false;
    for part in [own, above] {
        if part.is_empty() {
            continue;
        }
        let answers = lookup.ask_all(part.iter().map(question).collect())?;
        for (target, answer) in part.iter().zip(&answers) {
            is_unknown |= *answer == Answer::TempFail;
            if let Some(text) = single(answer) {
                return Ok(Published::Record((*target).to_string(), text.into()));
            }
        }
    }
    Ok(if is_unknown { Published::Unknown } else { Published::None })
}

/// The DMARC record of an answer. Two of them count as none.
pub(super) fn single(answer: &Answer) -> Option<&[u8]> {
    let mut records = answer.records().iter().filter_map(|record| match record {
        Record::Text(text) => Some(&**text).filter(|text| is_record(text)),
        Record::Address(_) | Record::Name(_) | Record::Mx(..) => None,
    });
    let first = records.next()?;
    records.next().is_none().then_some(first)
}

/// A text is a DMARC record: it begins with the version (RFC 9989 section 4.8).
pub fn is_record(text: &[u8]) -> bool {
    let Some(([b'v' | b'V'], rest)) = text.split_at_checked(1) else { return false };
    let Some(rest) = rest.trim_ascii_start().strip_prefix(b"=") else { return false };
    let Some(rest) = rest.trim_ascii_start().strip_prefix(b"DMARC1") else { return false };
    matches!(rest.trim_ascii_start().first(), None | Some(b';'))
}

/// Checks on any input: the walk is short, and goes up.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    is_record(data);
    let text = String::from_utf8_lossy(data);
    let targets = targets(&text);
    assert!(targets.len() <= QUERIES_MAX && targets.first() == Some(&&*text));
    let goes_up = |pair: &[&str]| matches!(pair, [a, b] if a.ends_with(b) && a.len() > b.len());
    assert!(targets.windows(2).all(goes_up));
    assert!(Discovery::Psl.targets(&text).windows(2).all(goes_up));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    struct World<'a> {
        /// Name below `_dmarc.`, text; `!` is no answer.
        texts: &'a [(&'a str, &'a str)],
        rounds: Vec<usize>,
    }

    impl Lookup for World<'_> {
        type Missing = Infallible;

        fn ask(&mut self, question: Question) -> Result<Answer, Infallible> {
            self.ask_all(vec![question]).map(|answers| answers[0].clone())
        }

        fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Infallible> {
            self.rounds.push(questions.len());
            let answer = |question: &Question| {
                let name = question.name.strip_prefix("_dmarc.").expect("below _dmarc");
                let of_name = self.texts.iter().filter(|(known, _)| *known == name);
                let texts: Vec<&str> = of_name.map(|(_, text)| *text).collect();
                match &texts[..] {
                    [] => Answer::NxDomain,
                    ["!"] => Answer::TempFail,
                    texts => Answer::Found(
                        texts.iter().map(|text| Record::Text(text.as_bytes().into())).collect(),
                    ),
                }
            };
            Ok(questions.iter().map(answer).collect())
        }
    }

    #[test]
    fn the_way_up() {
        for (domain, expected) in [
            ("com", "com"),
            ("mail.example.com", "mail.example.com example.com com"),
            ("1.2.3.4.5.6.7", "1.2.3.4.5.6.7 2.3.4.5.6.7 3.4.5.6.7 4.5.6.7 5.6.7 6.7 7"),
            (
                "0.1.2.3.4.5.6.7",
                "0.1.2.3.4.5.6.7 1.2.3.4.5.6.7 2.3.4.5.6.7 3.4.5.6.7 4.5.6.7 5.6.7 6.7 7",
            ),
            (
                "a.b.c.d.e.f.g.h.i.j.mail.example.com",
                "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com \
                 h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com \
                 example.com com",
            ),
        ] {
            assert_eq!(targets(domain).join(" "), expected);
            fuzz(domain.as_bytes());
        }
    }

    #[test]
    fn records() {
        for (text, expected) in [
            ("v=DMARC1", true),
            ("v=DMARC1;p=none", true),
            ("v = DMARC1 ; p=none", true),
            ("V=DMARC1; p=none", true),
            ("v=dmarc1; p=none", false),
            ("v=DMARC10; p=none", false),
            ("v=DMARC1 p=none", false),
            (" v=DMARC1; p=none", false),
            ("p=none; v=DMARC1", false),
            ("v=spf1 -all", false),
            ("", false),
        ] {
            assert_eq!(is_record(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn who_is_spoken_for() {
        let record = |at: &str| Published::Record(at.to_string(), b"v=DMARC1"[..].into());
        for (texts, expected, rounds) in [
            (&[("a.b.example", "v=DMARC1")][..], record("a.b.example"), vec![1]),
            (&[("b.example", "v=DMARC1")], record("b.example"), vec![1, 2]),
            (&[("example", "v=DMARC1"), ("b.example", "v=spf1")], record("example"), vec![1, 2]),
            // Two records are none, and the walk goes on.
            (
                &[
                    ("a.b.example", "v=DMARC1"),
                    ("a.b.example", "v=DMARC1"),
                    ("example", "v=DMARC1"),
                ],
                record("example"),
                vec![1, 2],
            ),
            (&[("a.b.example", "x"), ("a.b.example", "v=DMARC1")], record("a.b.example"), vec![1]),
            (&[], Published::None, vec![1, 2]),
            (&[("b.example", "!")], Published::Unknown, vec![1, 2]),
            (&[("a.b.example", "!")], Published::Unknown, vec![1, 2]),
            (&[("a.b.example", "!"), ("b.example", "v=DMARC1")], record("b.example"), vec![1, 2]),
        ] {
            let mut world = World { texts, rounds: Vec::new() };
            let Ok(found) = published(&mut world, Discovery::Tree, "a.b.example");
            assert_eq!((found, world.rounds), (expected, rounds), "{texts:?}");
        }
    }

    #[test]
    fn organisations_by_the_list() {
        for (domain, expected) in [
            ("example.com", "example.com"),
            ("a.b.example.com", "example.com"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("co.uk", "co.uk"),
            ("com", "com"),
            ("user.github.io", "user.github.io"),
            ("a.user.github.io", "user.github.io"),
            // A suffix that the list does not have is one label.
            ("a.b.unlisted", "b.unlisted"),
            ("a.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
            ("", ""),
        ] {
            assert_eq!(organisation(domain), expected, "{domain}");
            fuzz(domain.as_bytes());
        }
        assert_eq!(Discovery::Psl.targets("a.b.x.co.uk"), ["a.b.x.co.uk", "x.co.uk"]);
        assert_eq!(Discovery::Psl.targets("x.co.uk"), ["x.co.uk"]);
        assert_eq!(Discovery::Tree.targets("x.co.uk"), ["x.co.uk", "co.uk", "uk"]);
        // What stands between does not count, nor does what stands above.
        for (texts, expected) in [
            (&[("b.x.example", "v=DMARC1"), ("example", "v=DMARC1")][..], Published::None),
            (
                &[("x.example", "v=DMARC1")],
                Published::Record("x.example".to_string(), b"v=DMARC1"[..].into()),
            ),
            (&[("b.x.example", "!")], Published::None),
            (&[("x.example", "!")], Published::Unknown),
        ] {
            let mut world = World { texts, rounds: Vec::new() };
            let Ok(found) = published(&mut world, Discovery::Psl, "a.b.x.example");
            assert_eq!((found, world.rounds), (expected, vec![1, 1]), "{texts:?}");
        }
    }
}
