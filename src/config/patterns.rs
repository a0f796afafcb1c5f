//! The patterns of `badmailfrom` and `badrcptto`: which addresses an administrator does not want.
//!
//! Files of some thousand addresses come from other programs, and some lines are regular
//! expressions. Addresses and hosts are looked up by hash, expressions are searched in sets, with
//! an engine whose time is linear in the address; the first line of the file that fits wins
//! nevertheless, since its reason is what the sender is told.

use super::files::{Line, Problem, quote};
use crate::smtp::address;
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use std::collections::HashMap;

pub use self::addresses::AddressList;
pub use self::domains::DomainList;
pub use self::names::NameList;

mod addresses;
mod domains;
mod names;

/// A domain in the form that addresses carry: lower case, and A-labels where the admin wrote an
/// internationalized name (RFC 5890). What cannot be converted stays as it is, and matches nothing.
pub fn canonical(domain: &str) -> String {
    let lower = domain.to_ascii_lowercase();
    if domain.is_ascii() {
        return lower;
    }
    let path = format!("<x@{domain}>");
    match address::parse_forward(path.as_bytes(), true) {
        Ok(address) => address.domain().to_string(),
        Err(_) => lower,
    }
}

/// Characters that make an entry a regular expression in qpsmtpd 0.96.
const REGEX_MARKS: [char; 9] = ['/', '^', '$', '*', '+', '!', '%', '?', '\\'];

/// The entry has a character that makes it a regular expression.
#[must_use]
pub fn is_regex(entry: &str) -> bool {
    entry.contains(REGEX_MARKS)
}

/// Regular expressions in one file.
const REGEX_MAX: usize = 2_000;

/// Octets of one compiled expression.
const REGEX_SIZE_MAX: usize = 256 * 1_024;

/// Depth of groups in an expression.
const REGEX_NEST_MAX: u32 = 50;

/// Expressions that are searched together.
const SET_LEN: usize = 64;

/// How the lines of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether regular expressions ignore case. They are searched in the lower-cased address, so
    /// that otherwise one with a capital letter never fits.
    pub ignore_case: bool,
    /// Whether an entry without `@` is a local part, at whatever host.
    pub bare_users: bool,
}

impl Rules {
    /// Those of `badmailfrom`.
    pub const SENDERS: Rules = Rules { ignore_case: false, bare_users: false };
    /// Those of `badrcptto`, into which SME Server writes bare user names.
    pub const RECIPIENTS: Rules = Rules { ignore_case: true, bare_users: true };
}

/// What kind of entry fits an address; the words in which qpsmtpd logs it differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular expression.
    Pattern,
    /// `@host`.
    Host,
    /// A whole address or a local part.
    Address,
}

/// An entry that fits an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The entry as it is written.
    pub pattern: &'a str,
    /// What kind of entry it is.
    pub kind: Kind,
    /// What stands behind it in its line.
    pub reason: Option<&'a str>,
}

/// The entries of one file.
#[derive(Clone, Debug, Default)]
pub struct PatternList {
    entries: Vec<Entry>,
    /// Places of entries by lower-cased address, host and local part.
    addresses: HashMap<Box<str>, usize>,
    hosts: HashMap<Box<str>, usize>,
    users: HashMap<Box<str>, usize>,
    /// Sets of expressions in the order of the file, with the places of their entries.
    sets: Vec<(RegexSet, Vec<usize>)>,
}

#[derive(Clone, Debug)]
struct Entry {
    pattern: Box<str>,
    reason: Option<Box<str>>,
    kind: Kind,
}

impl PatternList {
    /// Reads lines of the form `pattern [reason]`. A pattern with one of `/ ^ $ * + ! % ? \` in it
    /// is a regular expression, with or without slashes around it; else `@host` is a host and all
    /// else an address. An expression that does not compile is an error, what has no `@` a
    /// warning (unless the rules take it for a local part); both are left out.
    pub fn load(lines: &[Line], rules: Rules, problems: &mut Vec<Problem>) -> PatternList {
        let mut list = PatternList::default();
        let mut regexes = Vec::new();
        for line in lines {
            let (pattern, reason) = line.split_word();
            let place = list.entries.len();
            let kind = if is_regex(pattern) {
                if let Err(what) = check_regex(pattern, rules, regexes.len()) {
                    Problem::error(line, what).note(problems);
                    continue;
                }
                regexes.push((place, bare_regex(pattern)));
                Kind::Pattern
            } else {
                match list.add_plain(pattern, place, rules) {
                    Ok(kind) => kind,
                    Err(what) => {
                        Problem::warning(line, what).note(problems);
                        continue;
                    }
                }
            };
            let reason = Some(reason).filter(|reason| !reason.is_empty()).map(Box::from);
            list.entries.push(Entry { pattern: pattern.into(), reason, kind });
        }
        for chunk in regexes.chunks(SET_LEN) {
            list.add_set(chunk, rules);
        }
        list
    }

    /// The first entry that fits an address. `plain` is `user@host` without angle brackets,
    /// `domain` the host in it; case does not matter.
    pub fn find(&self, plain: &str, domain: &str) -> Option<Match<'_>> {
        let plain = plain.to_ascii_lowercase();
        let user = plain.rsplit_once('@').map_or(&*plain, |(user, _)| user);
        let host = || self.hosts.get(&*domain.to_ascii_lowercase());
        let exact = [self.addresses.get(&*plain), host(), self.users.get(user)];
        let places = exact.into_iter().flatten().copied().chain(self.find_regex(&plain));
        let entry = self.entries.get(places.min()?)?;
        Some(Match { pattern: &entry.pattern, kind: entry.kind, reason: entry.reason.as_deref() })
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find_regex(&self, plain: &str) -> Option<usize> {
        self.sets.iter().find_map(|(set, places)| {
            let first = set.matches(plain.as_bytes()).iter().next()?;
            places.get(first).copied()
        })
    }

    fn add_plain(&mut self, text: &str, place: usize, rules: Rules) -> Result<Kind, String> {
        let lower = match text.rsplit_once('@') {
            Some((local, host)) => format!("{}@{}", local.to_ascii_lowercase(), canonical(host)),
            None => text.to_ascii_lowercase(),
        };
        let (table, key, kind) = match lower.split_once('@') {
            Some(("", "")) => return Err(format!("{} names no host", quote(text))),
            Some(("", host)) => (&mut self.hosts, host, Kind::Host),
            Some(_) => (&mut self.addresses, &*lower, Kind::Address),
            None if rules.bare_users => (&mut self.users, &*lower, Kind::Address),
            None => return Err(format!("no @ sign in {}: ignored", quote(text))),
        };
        table.entry(key.into()).or_insert(place);
        Ok(kind)
    }

    /// Each expression is known to compile, but many together may be too large for one set: then
    /// there are more sets.
    fn add_set(&mut self, regexes: &[(usize, &str)], rules: Rules) {
        let set = RegexSetBuilder::new(regexes.iter().map(|(_, regex)| regex))
            .unicode(false)
            .case_insensitive(rules.ignore_case)
            .nest_limit(REGEX_NEST_MAX)
            .size_limit(2 * REGEX_SIZE_MAX)
            .dfa_size_limit(2 * REGEX_SIZE_MAX)
            .build();
        match set {
            Ok(set) => self.sets.push((set, regexes.iter().map(|(place, _)| *place).collect())),
            Err(_) if regexes.len() > 1 => {
                let (first, second) = regexes.split_at(regexes.len() / 2);
                self.add_set(first, rules);
                self.add_set(second, rules);
            }
            // Alone it took less than half of what a set may take.
            Err(_) => {}
        }
    }
}

/// An expression without the slashes around it.
fn bare_regex(pattern: &str) -> &str {
    let inner = pattern.strip_prefix('/').and_then(|inner| inner.strip_suffix('/'));
    inner.unwrap_or(pattern)
}

/// Says in words why a line cannot be an expression.
fn check_regex(pattern: &str, rules: Rules, before: usize) -> Result<(), String> {
    if before >= REGEX_MAX {
        return Err(format!("there are more than {REGEX_MAX} regular expressions"));
    }
    let regex = bare_regex(pattern);
    if regex.is_empty() {
        return Err(format!("{} would fit every address", quote(pattern)));
    }
    compile(regex, rules.ignore_case)
        .map(|_| ())
        .map_err(|reason| format!("{} is no regular expression: {reason}", quote(pattern)))
}

/// An expression within the bounds, or in words why there is none.
fn compile(regex: &str, ignore_case: bool) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(regex)
        .unicode(false)
        .case_insensitive(ignore_case)
        .nest_limit(REGEX_NEST_MAX)
        .size_limit(REGEX_SIZE_MAX)
        .build();
    compiled.map_err(|error| {
        // The message draws the expression over several lines and ends with the reason.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        reason.strip_prefix("error: ").unwrap_or(reason).to_string()
    })
}

/// The first line is an address, the others are patterns.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((address, rest)) = text.split_once('\n') else { return };
    let lines = rest.lines().map(str::trim).filter(|text| !text.is_empty()).take(30).zip(1..);
    let lines = lines.map(|(text, number)| Line { text: text.into(), file: "f".into(), number });
    let lines = lines.collect::<Vec<_>>();
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    for rules in [Rules::SENDERS, Rules::RECIPIENTS] {
        let mut problems = Vec::new();
        let list = PatternList::load(&lines, rules, &mut problems);
        assert_eq!(list.entries.len() + problems.len(), lines.len());
        // One line after the other must give what all give together.
        let mut alone = lines.iter().map(|line| {
            let single = PatternList::load(std::slice::from_ref(line), rules, &mut Vec::new());
            single.find(address, domain).map(|found| (found.pattern.to_owned(), found.kind))
        });
        let first = alone.find_map(|found| found);
        let found = list.find(address, domain);
        assert_eq!(found.map(|found| (found.pattern.to_owned(), found.kind)), first);
    }
    names::fuzz(data);
    let list = DomainList::load(&lines, &mut Vec::new());
    assert!(list.find(domain).is_none_or(|entry| entry.len() <= domain.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, rules: Rules) -> (PatternList, Vec<String>) {
        let lines = text.lines().zip(1..);
        let lines =
            lines.map(|(text, number)| Line { text: text.into(), file: "b".into(), number });
        let mut problems = Vec::new();
        let list = PatternList::load(&lines.collect::<Vec<_>>(), rules, &mut problems);
        (list, problems.iter().map(Problem::to_string).collect())
    }

    /// What fits an address: kind and pattern, and the reason where there is one.
    fn check(text: &str, rules: Rules, address: &str, expected: &str) {
        let (list, problems) = load(text, rules);
        assert!(problems.is_empty(), "{problems:?}");
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let seen = list.find(address, domain).map_or_else(String::new, |found| {
            let reason = found.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{:?} {}{reason}", found.kind, found.pattern)
        });
        assert_eq!(seen, expected, "{address} in {text:?}");
    }

    #[test]
    fn internationalized_hosts_are_found() {
        let text = "@b\u{fc}cher.example\nUser@m\u{fc}nchen.example";
        check(text, Rules::SENDERS, "a@xn--bcher-kva.example", "Host @b\u{fc}cher.example");
        let found = "Address User@m\u{fc}nchen.example";
        check(text, Rules::SENDERS, "user@xn--mnchen-3ya.example", found);
    }

    #[test]
    fn senders_are_found() {
        let rules = Rules::SENDERS;
        for (text, address, expected) in [
            ("", "a@b.example", ""),
            ("a@b.example", "a@b.example", "Address a@b.example"),
            ("A@b.Example  go  away", "a@B.example", "Address A@b.Example: go  away"),
            ("a@b.example", "xa@b.example", ""),
            ("@b.example\tno", "A@B.EXAMPLE", "Host @b.example: no"),
            ("@b.example", "a@c.b.example", ""),
            ("@b.example", "a@xb.example", ""),
            ("a.b@c.example", "axb@c.example", ""),
            ("a@b@c.example", "a@b@c.example", "Address a@b@c.example"),
            (
                r"^sales.*@spam\.example$ spam",
                "Sales7@Spam.example",
                r"Pattern ^sales.*@spam\.example$: spam",
            ),
            (r"^Sales", "Sales@spam.example", ""),
            (r"/foo\d+/", "afoo12b@x.example", r"Pattern /foo\d+/"),
            (r"/foo", "a/foo@x.example", "Pattern /foo"),
            (r"\@x\.", "a@x.example", r"Pattern \@x\."),
            ("!", "host!user@x.example", "Pattern !"),
            ("%", "a%b.example@x.example", "Pattern %"),
            ("%", "a@x.example", ""),
            (".*@.*@", "a@b@x.example", "Pattern .*@.*@"),
            ("^@", "@x.example", "Pattern ^@"),
            ("^@", "a@x.example", ""),
            ("^ü?a@", "a@x.example", "Pattern ^ü?a@"),
            ("__proto__@x.example\n@constructor", "a@constructor", "Host @constructor"),
        ] {
            check(text, rules, address, expected);
        }
    }

    #[test]
    fn recipients_are_found() {
        let rules = Rules::RECIPIENTS;
        for (text, address, expected) in [
            ("everyone", "Everyone@any.example", "Address everyone"),
            ("Everyone internal list", "everyone@any.example", "Address Everyone: internal list"),
            ("everyone", "everyone", "Address everyone"),
            ("everyone", "a@everyone", ""),
            ("everyone", "everyone2@any.example", ""),
            ("^Sales", "SALES@spam.example", "Pattern ^Sales"),
            ("!\tno bang paths\n@.*@ no\n%", "a!b@x.example", "Pattern !: no bang paths"),
            ("!\n@.*@\tno relays\n%", "a@b@x.example", "Pattern @.*@: no relays"),
        ] {
            check(text, rules, address, expected);
        }
    }

    #[test]
    fn the_first_line_wins() {
        let lines =
            ["@x.example host", "a@x.example address", "^a regex", "a user", "x\\.example$ late"];
        let kinds = [
            "Host @x.example: host",
            "Address a@x.example: address",
            "Pattern ^a: regex",
            "Address a: user",
            "Pattern x\\.example$: late",
        ];
        for (first, kind) in kinds.into_iter().enumerate() {
            let mut order = lines.to_vec();
            order.rotate_left(first);
            check(&order.join("\n"), Rules::RECIPIENTS, "a@x.example", kind);
        }
        check(
            "a@x.example 1\nA@x.example 2",
            Rules::SENDERS,
            "a@x.example",
            "Address a@x.example: 1",
        );
        let many =
            (0..500).map(|n| format!("^user{n}@ {n}\nuser{n}@b.example\n")).collect::<String>();
        check(&many, Rules::SENDERS, "user437@b.example", "Pattern ^user437@: 437");
    }

    #[test]
    fn problems_have_their_place() {
        let many = "!\n".repeat(REGEX_MAX + 1);
        for (text, expected) in [
            ("x\nnobody", "b:1: warning: no @ sign in \"x\": ignored"),
            ("a@b\n@", "b:2: warning: \"@\" names no host"),
            (
                "a@b\n*@x.example",
                "b:2: \"*@x.example\" is no regular expression: repetition operator missing expression",
            ),
            (
                "^(?!a)",
                "b:1: \"^(?!a)\" is no regular expression: look-around, including look-ahead and look-behind, is not supported",
            ),
            ("^(a", "b:1: \"^(a\" is no regular expression: unclosed group"),
            ("//", "b:1: \"//\" would fit every address"),
            (
                "/a{9999}{9999}/",
                "b:1: \"/a{9999}{9999}/\" is no regular expression: Compiled regex exceeds size limit of 262144 bytes.",
            ),
            (&many, "b:2001: there are more than 2000 regular expressions"),
        ] {
            let (_, problems) = load(text, Rules::SENDERS);
            assert_eq!(problems.first().map(String::as_str), Some(expected));
        }
    }

    #[test]
    fn large_expressions_share_no_set() {
        let text = (0..20).map(|n| format!("^{n}(a{{300}}){{5}}@ {n}\n")).collect::<String>();
        let address = format!("13{}@x.example", "a".repeat(1_500));
        check(&text, Rules::SENDERS, &address, "Pattern ^13(a{300}){5}@: 13");
        assert!(load(&text, Rules::SENDERS).0.sets.len() > 1);
    }

    #[test]
    fn no_text_confuses_the_list() {
        for data in
            ["a@b\na@b\n@b x\n^a\nb\n!", "@\n@\n//\n/\n/x/\n\\\n(?i)A!\n[", "\n\n\u{e4}@*\n.x\nx"]
        {
            fuzz(data.as_bytes());
        }
    }
}
