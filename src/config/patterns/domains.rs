//! Lists of domains in the form of `rcpthosts`: which domains are ours.
//!
//! A mistake here either loses mail or relays for strangers, so an entry has one plain meaning,
//! nothing in it is a pattern, and what looks like one is told instead of being ignored silently.

use super::canonical;
use crate::config::files::{Line, Problem, quote};
use crate::limits::DOMAIN_MAX;
use std::collections::HashMap;

/// Domains (`example.com`) and all subdomains of domains (`.example.com`), without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainList {
    /// Entries as they are written, by their lower-cased form; the dot in front tells both apart.
    entries: HashMap<Box<str>, Box<str>>,
}

impl DomainList {
    /// Reads one domain from each line, its first word. What can be no domain is left out with a
    /// warning.
    pub fn load(lines: &[Line], problems: &mut Vec<Problem>) -> DomainList {
        let mut list = DomainList::default();
        for line in lines {
            let (word, rest) = line.split_word();
            let domain = word.strip_prefix('.').unwrap_or(word);
            if domain.is_empty() || domain.starts_with('.') || word.contains(['@', '*', '/']) {
                let what = format!("{} is no domain (all subdomains of one: .domain)", quote(word));
                Problem::warning(line, what).note(problems);
                continue;
            }
            if !rest.is_empty() {
                let what = format!("only the first word is read, not {}", quote(rest));
                Problem::warning(line, what).note(problems);
            }
            let dot = if domain.len() < word.len() { "." } else { "" };
            let key = format!("{dot}{}", canonical(domain));
            list.entries.entry(key.into()).or_insert_with(|| word.into());
        }
        list
    }

    /// The entry, as it is written, that a domain fits: itself first, then the nearest of those
    /// that stand for subdomains. One look-up for each label.
    pub fn find(&self, domain: &str) -> Option<&str> {
        if domain.len() > DOMAIN_MAX || domain.starts_with('.') {
            return None;
        }
        let lower = domain.to_ascii_lowercase();
        let parents = lower.match_indices('.').filter_map(|(place, _)| lower.get(place..));
        std::iter::once(&*lower)
            .chain(parents)
            .find_map(|name| self.entries.get(name))
            .map(|entry| &**entry)
    }

    /// Whether there are no domains.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> (DomainList, Vec<String>) {
        let lines = text.lines().zip(1..);
        let lines =
            lines.map(|(text, number)| Line { text: text.into(), file: "r".into(), number });
        let mut problems = Vec::new();
        let list = DomainList::load(&lines.collect::<Vec<_>>(), &mut problems);
        (list, problems.iter().map(Problem::to_string).collect())
    }

    /// Addresses carry A-labels, whatever the admin writes.
    #[test]
    fn internationalized_names_are_found() {
        let (list, problems) = load("b\u{fc}cher.example\n.M\u{fc}nchen.example");
        assert!(problems.is_empty(), "{problems:?}");
        for (domain, found) in [
            ("xn--bcher-kva.example", true),
            ("www.xn--mnchen-3ya.example", true),
            ("bucher.example", false),
        ] {
            assert_eq!(list.find(domain).is_some(), found, "{domain}");
        }
    }

    #[test]
    fn domains_and_subdomains_are_found() {
        let (list, problems) = load(
            "Example.com\n.example.net\n.Deep.example.net\n[192.0.2.1]\n__proto__\n.x\nexample.com",
        );
        assert!(problems.is_empty() && !list.is_empty());
        for (domain, entry) in [
            ("example.com", Some("Example.com")),
            ("EXAMPLE.COM", Some("Example.com")),
            ("a.example.com", None),
            ("xexample.com", None),
            ("example.net", None),
            ("a.example.net", Some(".example.net")),
            ("a.b.example.net", Some(".example.net")),
            ("deep.example.net", Some(".example.net")),
            ("a.deep.example.net", Some(".Deep.example.net")),
            ("xexample.net", None),
            (".example.net", None),
            ("[192.0.2.1]", Some("[192.0.2.1]")),
            ("__proto__", Some("__proto__")),
            ("constructor", None),
            ("", None),
            (".", None),
            ("..", None),
            ("a.x", Some(".x")),
            ("*", None),
        ] {
            assert_eq!(list.find(domain), entry, "{domain}");
        }
        assert_eq!(list.find(&format!("{}.x", "a.".repeat(126))), Some(".x"));
        assert_eq!(list.find(&format!("{}.x", "a.".repeat(127))), None);
        assert_eq!(DomainList::default().find("example.com"), None);
    }

    #[test]
    fn what_is_no_domain_is_told() {
        for text in
            [".", "..", "*.example.com", "*", "a@example.com", "..example.com", "10.0.0.0/8"]
        {
            let (list, problems) = load(text);
            let expected =
                format!("r:1: warning: {text:?} is no domain (all subdomains of one: .domain)");
            assert_eq!(problems, [expected]);
            assert!(list.is_empty());
        }
        let (list, problems) = load("example.com # ours");
        assert_eq!(problems, ["r:1: warning: only the first word is read, not \"# ours\""]);
        assert_eq!(list.find("example.com"), Some("example.com"));
    }
}
