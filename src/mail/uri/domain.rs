//! Which part of a host name somebody registered.
//!
//! Lists of bad domains know `example.co.uk`, not `www.example.co.uk`, and not `co.uk`. Where the one
//! ends is in the Public Suffix List, compiled in; lists that sell names below theirs (`us.com`) or
//! give one to each customer are in it too. Lists of block lists say more of the kind ([`Levels`]).

use super::host::Name;
use std::collections::HashSet;

/// Domains under which names are given to others and that the Public Suffix List does not have: what the
/// files `two-level-tlds` and `three-level-tlds` of URI block lists hold.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    names: HashSet<Box<str>>,
}

impl Levels {
    /// From the lines of such files, in any mixture; what is no name of two or three labels is left out.
    pub fn new<'l>(lines: impl IntoIterator<Item = &'l str>) -> Levels {
        let lines = lines.into_iter().map(|line| line.trim().to_ascii_lowercase());
        let names = lines.filter(|line| matches!(line.split('.').count(), 2 | 3));
        Levels { names: names.map(String::into_boxed_str).collect() }
    }

    fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

impl Name {
    /// Whether the name ends in a public suffix and has more than that: only such names lead anywhere
    /// for a reader outside. The registered label has no underscore.
    pub fn is_public(&self) -> bool {
        self.base().is_some_and(|base| !base.contains('_'))
    }

    /// The registered domain: the public suffix and one label; one or two more where `levels` has what
    /// that makes.
    pub fn registered(&self, levels: &Levels) -> Option<&str> {
        let name = self.as_str();
        let two = self.base()?;
        let three = with_one_more(name, two);
        let four =
            three.filter(|three| levels.contains(three)).and_then(|t| with_one_more(name, t));
        four.or(three.filter(|_| levels.contains(two)))
            .or(three.filter(|t| levels.contains(t)))
            .or(Some(two))
    }

    fn base(&self) -> Option<&str> {
        let name = self.as_str();
        let suffix = psl::suffix(name.as_bytes()).filter(psl::Suffix::is_known)?;
        if let Some(domain) = psl::domain(name.as_bytes()) {
            return name.get(name.len().checked_sub(domain.as_bytes().len())?..);
        }
        // A company's suffix is a site of its own: `github.io`.
        (suffix.typ() == Some(psl::Type::Private)).then_some(name)
    }
}

/// The end of `name` that has one label more than `domain`.
fn with_one_more<'n>(name: &'n str, domain: &str) -> Option<&'n str> {
    let before = name.strip_suffix(domain)?.strip_suffix('.')?;
    let start = before.rfind('.').map_or(0, |dot| dot + 1);
    name.get(start..)
}

#[cfg(test)]
mod tests {
    use super::super::host::Host;
    use super::*;

    #[test]
    fn registered() {
        let levels = Levels::new(["live.com", "# x", " 3ldlive.com\r", "three.3ldlive.com", "com"]);
        let rows: &[(&str, Option<&str>)] = &[
            ("example.com", Some("example.com")),
            ("a.b.example.co.uk", Some("example.co.uk")),
            ("co.uk", None),
            ("com", None),
            ("example.invalid", None),
            ("localhost", None),
            ("user.github.io", Some("user.github.io")),
            ("a.user.github.io", Some("user.github.io")),
            ("github.io", Some("github.io")),
            ("live.com", Some("live.com")),
            ("www.live.com", Some("www.live.com")),
            ("www.foo.live.com", Some("foo.live.com")),
            ("www.three.3ldlive.com", Some("www.three.3ldlive.com")),
            ("a.www.three.3ldlive.com", Some("www.three.3ldlive.com")),
            ("a.two.3ldlive.com", Some("two.3ldlive.com")),
            ("xn--85x722f.xn--55qx5d.cn", Some("xn--85x722f.xn--55qx5d.cn")),
        ];
        for (name, want) in rows {
            let Some(Host::Name(host)) = Host::parse(name.as_bytes()) else { panic!("{name}") };
            assert_eq!(host.registered(&levels), *want, "{name}");
            assert_eq!(host.is_public(), want.is_some(), "{name}");
        }
    }
}
