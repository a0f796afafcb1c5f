//! Lists of whole addresses and of domains in the form of `whitelistsenders`.
//!
//! Nothing in an entry is a pattern. What stands here exempts somebody from checks, so an entry fits
//! one address, or the addresses of one domain without its subdomains, and nothing else.

use super::canonical;
use crate::config::files::{Line, Problem, quote};
use crate::smtp::address::Address;
use std::collections::HashSet;

/// Addresses (`user@example.com`) and domains (`example.com`), without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList(HashSet<Box<str>>);

impl AddressList {
    /// Reads one entry from each line, its first word; a domain may be written with an `@` before it,
    /// as in other files. What stands behind the first word is warned of.
    pub fn load(lines: &[Line], problems: &mut Vec<Problem>) -> AddressList {
        let entries = lines.iter().map(|line| {
            let (word, rest) = line.split_word();
            if !rest.is_empty() {
                let what = format!("only the first word is read, not {}", quote(rest));
                Problem::warning(line, what).note(problems);
            }
            match word.rsplit_once('@') {
                None | Some(("", _)) => canonical(word.strip_prefix('@').unwrap_or(word)),
                Some((local, host)) => {
                    format!("{}@{}", local.to_ascii_lowercase(), canonical(host))
                }
            }
        });
        AddressList(entries.map(String::into_boxed_str).collect())
    }

    /// The address stands in the list, itself or by its domain.
    pub fn holds(&self, address: &Address) -> bool {
        let domain = address.domain();
        // Without a domain there is only the bare postmaster, whose name must not pass for a domain.
        !domain.is_empty()
            && (self.0.contains(domain) || self.0.contains(&*address.plain().to_ascii_lowercase()))
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::address::parse_forward;

    fn load(text: &str) -> (AddressList, Vec<String>) {
        let lines = text.lines().zip(1..);
        let lines =
            lines.map(|(text, number)| Line { text: text.into(), file: "w".into(), number });
        let mut problems = Vec::new();
        let list = AddressList::load(&lines.collect::<Vec<_>>(), &mut problems);
        (list, problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn addresses_are_held_whole_or_by_domain() {
        let (list, problems) = load(
            "Ann@Example.com\nexample.org\n@At.example\npostmaster\n\
             @b\u{fc}cher.example\nBob@m\u{fc}nchen.example",
        );
        assert!(problems.is_empty(), "{problems:?}");
        for (path, held) in [
            ("<ann@example.com>", true),
            ("<Ann@Example.COM>", true),
            ("<ann@mail.example.com>", false),
            ("<xann@example.com>", false),
            ("<anybody@example.org>", true),
            ("<anybody@sub.example.org>", false),
            ("<anybody@at.example>", true),
            ("<\"example.org\"@example.net>", false),
            ("<\"ann@example.com\"@example.net>", false),
            ("<postmaster>", false),
            ("<anybody@xn--bcher-kva.example>", true),
            ("<bob@xn--mnchen-3ya.example>", true),
            ("<bob@munchen.example>", false),
        ] {
            let address = parse_forward(path.as_bytes(), false).unwrap();
            assert_eq!(list.holds(&address), held, "{path}");
            assert!(!AddressList::default().holds(&address));
        }
        assert!(!list.is_empty() && AddressList::default().is_empty());
    }

    #[test]
    fn more_than_a_word_is_told() {
        let (list, problems) = load("a@b.example our friend");
        assert_eq!(problems, ["w:1: warning: only the first word is read, not \"our friend\""]);
        assert!(list.holds(&parse_forward(b"<a@b.example>", false).unwrap()));
    }
}
