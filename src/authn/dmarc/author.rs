//! The domains of a `From` field: those of which a reader may believe that the mail is theirs.
//!
//! Comments, quoted strings, groups, display names and source routes are walked over (RFC 5322
//! sections 3.2.2 and 3.4, and its obsolete forms). One pass, no recursion: comments nest by a count.

use crate::mail::headers::Headers;
use crate::smtp::address;

/// Domains of one field that are looked at.
pub const DOMAINS_MAX: usize = 8;

/// What a `From` field says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authors {
    /// The domains in A-labels and lower case, each once, at most [`DOMAINS_MAX`].
    pub domains: Vec<String>,
    /// Something stands there that is no address with a domain, or there is more than is kept.
    pub is_doubtful: bool,
}

impl Authors {
    /// Of all From fields of a header block.
    pub fn of(header: &[u8], headers: &Headers) -> Authors {
        let mut authors = Authors::default();
        for field in headers.all(header, "From") {
            authors.read(field.value);
        }
        authors
    }

    /// The one domain of all of them; None where there are several, none, or doubt.
    pub fn one(&self) -> Option<&str> {
        match self.domains.as_slice() {
            [domain] if !self.is_doubtful => Some(domain),
            _ => None,
        }
    }

    /// Reads the value of one field, folded or not, into what is known of others.
    pub fn read(&mut self, value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        let mut walk = Walk::default();
        for char in text.chars() {
            if let Some(mailbox) = walk.step(char) {
                self.take(&mailbox);
            }
        }
        self.is_doubtful |= walk.depth > 0 || walk.quoted || walk.in_angle;
        self.take(&walk.text);
    }

    fn take(&mut self, mailbox: &str) {
        if mailbox.is_empty() {
            return;
        }
        let Some(domain) = domain_of(mailbox) else {
            self.is_doubtful = true;
            return;
        };
        if self.domains.contains(&domain) {
            return;
        }
        if self.domains.len() < DOMAINS_MAX {
            self.domains.push(domain);
        } else {
            self.is_doubtful = true;
        }
    }
}

/// What stands behind the last `@`; quoted local parts have lost theirs.
fn domain_of(mailbox: &str) -> Option<String> {
    let (_, domain) = mailbox.rsplit_once('@')?;
    let path = format!("<x@{}>", domain.strip_suffix('.').unwrap_or(domain));
    let address = address::parse_forward(path.as_bytes(), true).ok()?;
    (!address.is_literal()).then(|| address.domain().to_string())
}

/// Where the walk is, and the address so far: without comments, blanks, and what stands in quotes.
#[derive(Default)]
struct Walk {
    depth: usize,
    quoted: bool,
    escaped: bool,
    in_angle: bool,
    had_angle: bool,
    text: String,
}

impl Walk {
    /// The address that ends here, if one does.
    fn step(&mut self, char: char) -> Option<String> {
        if std::mem::take(&mut self.escaped) {
            return None;
        }
        match char {
            '\\' if self.quoted || self.depth > 0 => self.escaped = true,
            '"' if self.depth == 0 => {
                self.quoted = !self.quoted;
                self.push('q');
            }
            _ if self.quoted => {}
            '(' => self.depth += 1,
            ')' if self.depth > 0 => self.depth -= 1,
            _ if self.depth > 0 => {}
            ' ' | '\t' | '\r' | '\n' => {}
            '<' => {
                // What came before is a display name.
                self.text.clear();
                (self.in_angle, self.had_angle) = (true, true);
            }
            '>' if self.in_angle => self.in_angle = false,
            ':' => self.text.clear(),
            ',' | ';' if !self.in_angle => {
                self.had_angle = false;
                return Some(std::mem::take(&mut self.text));
            }
            char => self.push(char),
        }
        None
    }

    /// Text behind an angle bracket is no part of the address.
    fn push(&mut self, char: char) {
        if self.in_angle || !self.had_angle {
            self.text.push(char);
        }
    }
}

/// Checks on any input: no panic, and domains are in the one form that is asked for.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let mut authors = Authors::default();
    authors.read(data);
    assert!(authors.domains.len() <= DOMAINS_MAX);
    for domain in &authors.domains {
        assert!(domain.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it)));
        assert!(!domain.bytes().any(|it| it.is_ascii_uppercase()));
        super::discover::fuzz(domain.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for (value, domains, is_doubtful) in [
            ("a@x.example", "x.example", false),
            (" Joe <a@X.Example.>\r\n", "x.example", false),
            ("\"a@b.example, (\" <a@x.example>", "x.example", false),
            ("a (b@c.example (d)) @ (e) x . example", "x.example", false),
            ("\"b\\\"@c.example\"@x.example", "x.example", false),
            ("<@b.example,@c.example:a@x.example>", "x.example", false),
            ("a@x.example, B <b@y.example>, c@x.example", "x.example y.example", false),
            ("Group: a@x.example, b@y.example;", "x.example y.example", false),
            ("Nobody:;", "", false),
            ("", "", false),
            ("a@b\u{fc}cher.example", "xn--bcher-kva.example", false),
            ("=?utf-8?q?a=40b.example?= <a@x.example>", "x.example", false),
            ("b@y.example <a@x.example>", "x.example", false),
            ("<a@x.example> b@y.example", "x.example", false),
            ("<a@x.example", "x.example", true),
            ("\"a@x.example", "", true),
            ("(a@x.example", "", true),
            ("=?utf-8?b?YUB4LmV4YW1wbGU=?=", "", true),
            ("Joe", "", true),
            ("a@", "", true),
            ("a@[192.0.2.1]", "", true),
            ("a@x..example", "", true),
            ("a@x.example\0.y.example", "", true),
            ("a@x.example, nobody", "x.example", true),
        ] {
            let mut authors = Authors::default();
            authors.read(value.as_bytes());
            let found = (authors.domains.join(" "), authors.is_doubtful);
            assert_eq!(found, (domains.to_string(), is_doubtful), "{value:?}");
            fuzz(value.as_bytes());
        }
        let mut authors = Authors::default();
        authors.read(b"a@x.example");
        authors.read(b"b@y.example");
        assert_eq!(authors.domains, ["x.example", "y.example"]);
        let many: Vec<String> = (0..9).map(|n| format!("a@x{n}.example")).collect();
        authors.read(many.join(",").as_bytes());
        assert_eq!((authors.domains.len(), authors.is_doubtful), (DOMAINS_MAX, true));
    }

    #[test]
    fn headers_with_one_domain_and_others() {
        for (header, one) in [
            ("From: a@b.example\r\n", Some("b.example")),
            ("From: a@b.example, c@B.example\r\n", Some("b.example")),
            ("From: a@b.example, c@d.example\r\n", None),
            ("From: a@b.example\r\nfrom : c@d.example\r\n", None),
            ("From: a@b.example, nobody\r\n", None),
            ("Sender: a@b.example\r\n", None),
        ] {
            let headers = Headers::index(header.as_bytes()).unwrap();
            assert_eq!(Authors::of(header.as_bytes(), &headers).one(), one, "{header:?}");
        }
    }
}
