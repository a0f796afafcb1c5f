//! Lists of names in the form of `badhelo`: which names nobody may introduce himself with.
//!
//! The file mixes plain names and regular expressions, told apart by their characters. A name is what a
//! client says, so it is bounded, and the expressions run in time linear in it.

use super::compile;
use crate::config::files::{Line, Problem, quote};
use crate::limits::DOMAIN_MAX;
use regex::bytes::Regex;
use std::collections::HashSet;
use std::net::IpAddr;

/// Characters that make an entry a regular expression in qpsmtpd 0.96.
const REGEX_MARKS: &str = "{}[]()^$|*+?\\!";

/// Regular expressions in one file. They are searched one by one.
const REGEX_MAX: usize = 200;

/// Plain names and regular expressions.
#[derive(Clone, Debug, Default)]
pub struct NameList {
    /// Entries in lower case; an expression may also be meant as it stands.
    plain: HashSet<Box<str>>,
    regexes: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    written: Box<str>,
    regex: Regex,
    /// `!regex`: names that do *not* fit are in the list.
    negated: bool,
}

impl NameList {
    /// Reads one entry from each line, its first word. One with any of `{}[]()^$|*+?\!` in it is a
    /// regular expression too, searched in the name in lower case; `!` in front turns it round. An
    /// address literal (`[192.0.2.1]`) is plain. An expression that does not compile is an error.
    pub fn load(lines: &[Line], problems: &mut Vec<Problem>) -> NameList {
        let mut list = NameList::default();
        for line in lines {
            let (word, rest) = line.split_word();
            if !rest.is_empty() {
                let what = format!("only the first word is read, not {}", quote(rest));
                Problem::warning(line, what).note(problems);
            }
            list.plain.insert(word.to_ascii_lowercase().into());
            if word.contains(|char| REGEX_MARKS.contains(char))
                && !is_literal(word)
                && let Err(what) = list.add_regex(word)
            {
                Problem::error(line, what).note(problems);
            }
        }
        list
    }

    /// The entry that a name fits.
    pub fn find(&self, name: &str) -> Option<&str> {
        if name.len() > DOMAIN_MAX {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        if let Some(entry) = self.plain.get(&*lower) {
            return Some(entry);
        }
        let fits = |entry: &&Entry| entry.regex.is_match(lower.as_bytes()) != entry.negated;
        self.regexes.iter().find(fits).map(|entry| &*entry.written)
    }

    fn add_regex(&mut self, word: &str) -> Result<(), String> {
        if self.regexes.len() == REGEX_MAX {
            return Err(format!("there are more than {REGEX_MAX} regular expressions"));
        }
        let (negated, text) = match word.strip_prefix('!') {
            Some(text) => (true, text),
            None => (false, word),
        };
        if text.is_empty() {
            return Err(format!("{} would fit no name or every name", quote(word)));
        }
        let regex = compile(text, false)
            .map_err(|reason| format!("{} is no regular expression: {reason}", quote(word)))?;
        self.regexes.push(Entry { written: word.into(), regex, negated });
        Ok(())
    }
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]`, which as an expression would fit nearly every name.
fn is_literal(word: &str) -> bool {
    let inner = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| {
        let (tag, address) = inner.split_at_checked(5).unwrap_or_default();
        let address = if tag.eq_ignore_ascii_case("ipv6:") { address } else { inner };
        address.parse::<IpAddr>().is_ok()
    })
}

/// The first line is a name, the others are entries: alone each fits as it does in the list.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((name, rest)) = text.split_once('\n') else { return };
    let lines = rest.lines().map(str::trim).filter(|text| !text.is_empty()).take(30).zip(1..);
    let lines = lines.map(|(text, number)| Line { text: text.into(), file: "f".into(), number });
    let lines: Vec<Line> = lines.collect();
    let list = NameList::load(&lines, &mut Vec::new());
    let alone = lines.iter().any(|line| {
        NameList::load(std::slice::from_ref(line), &mut Vec::new()).find(name).is_some()
    });
    assert_eq!(list.find(name).is_some(), alone);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> (NameList, Vec<String>) {
        let lines = text.lines().zip(1..);
        let lines =
            lines.map(|(text, number)| Line { text: text.into(), file: "b".into(), number });
        let mut problems = Vec::new();
        let list = NameList::load(&lines.collect::<Vec<_>>(), &mut problems);
        (list, problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn names_are_found() {
        let long = "a".repeat(256);
        for (text, name, entry) in [
            ("aol.com\nyahoo.com", "Yahoo.COM", Some("yahoo.com")),
            ("aol.com", "mail.aol.com", None),
            ("aol.com", "aol.com.", None),
            ("aolxcom\naol.com", "aol.com", Some("aol.com")),
            (r"^mail\d+\.spam\.example$", "MAIL12.spam.example", Some(r"^mail\d+\.spam\.example$")),
            (r"^mail\d+\.spam\.example$", "mailx.spam.example", None),
            (r"\.dyn\.", "a.dyn.example", Some(r"\.dyn\.")),
            (r"!\.", "unqualified", Some(r"!\.")),
            (r"!\.", "a.example", None),
            ("!^[a-z]", "1.example", Some("!^[a-z]")),
            ("[192.0.2.25]", "[192.0.2.25]", Some("[192.0.2.25]")),
            ("[192.0.2.25]", "mail.example", None),
            ("[IPv6:2001:db8::1]", "[ipv6:2001:DB8::1]", Some("[ipv6:2001:db8::1]")),
            ("[IPv6:2001:db8::1]", "d.example", None),
            ("[0-9]", "a1.example", Some("[0-9]")),
            ("192.0.2.25", "192.0.2.25", Some("192.0.2.25")),
            (".", "a.example", None),
            (".*", &long, None),
            ("a", "", None),
        ] {
            let (list, problems) = load(text);
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!(list.find(name), entry, "{name} in {text}");
        }
    }

    #[test]
    fn problems_have_their_place() {
        let many = "a+\n".repeat(REGEX_MAX + 1);
        for (text, expected) in [
            ("a\n(b", "b:2: \"(b\" is no regular expression: unclosed group"),
            (
                "a\n\n*.example",
                "b:3: \"*.example\" is no regular expression: repetition operator missing expression",
            ),
            ("!", "b:1: \"!\" would fit no name or every name"),
            ("aol.com is large", "b:1: warning: only the first word is read, not \"is large\""),
            (
                "(a{999}){999}",
                "b:1: \"(a{999}){999}\" is no regular expression: Compiled regex exceeds size limit of 262144 bytes.",
            ),
            (&many, "b:201: there are more than 200 regular expressions"),
        ] {
            let (_, problems) = load(text);
            assert_eq!(problems.first().map(String::as_str), Some(expected));
        }
    }

    #[test]
    fn no_text_confuses_the_list() {
        for data in
            ["a.b\na.b\n!\n[1.2.3.4]\n[ipv6:\n!a\n(", "\u{e4}\n.\n!.\n[\u{e4}]", "[]\n[]\n]\n\\"]
        {
            fuzz(data.as_bytes());
        }
    }
}
