//! Macro strings (RFC 7208 section 7): how they are read, and what comes of them.
//!
//! They are read when the record is, since a fault in any of them is a fault of the record. What
//! comes of them is put together from what the client and the sender's domain say, so every string
//! that grows here has a bound.

use crate::dns::reverse_address;
use std::fmt::Write;
use std::net::IpAddr;

/// Longest name that can be asked for, in octets as it is written (RFC 7208 section 7.3).
pub(super) const NAME_MAX: usize = 253;

/// A name in the making is cut from the left above this; what could still belong to it is kept.
const DRAFT_MAX: usize = 4 * NAME_MAX;

/// What macros stand for, the names behind `%{p}` aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    /// The client's address, never an IPv4-mapped one.
    pub(super) ip: IpAddr,
    /// As the client said it.
    pub(super) helo: &'a str,
    /// Our host name.
    pub(super) receiver: &'a str,
    /// Seconds since 1970.
    pub(super) unix: u64,
    /// The sender's local part.
    pub(super) local: &'a str,
    /// The sender's domain.
    pub(super) sender_domain: &'a str,
    /// The domain whose record is judged.
    pub(super) domain: &'a str,
    /// The client's validated name.
    pub(super) name: Option<&'a str>,
}

/// Where a macro string stands decides which letters it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A name to be asked for.
    Domain,
    /// The text for the sender: blanks and the letters `c`, `r` and `t` as well.
    Explanation,
    /// The value of a modifier that nobody knows: all letters, and nothing comes of it.
    Unknown,
}

/// A macro string, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MacroString {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Macro(Macro),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Macro {
    /// In lower case.
    letter: u8,
    /// The letter was a capital: the value is escaped as in a URL.
    escape: bool,
    /// Number of parts to keep, from the right.
    keep: usize,
    reverse: bool,
    delimiters: String,
}

impl MacroString {
    /// Reads a macro string (`macro-string` or `explain-string`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str, place: Place) -> Result<MacroString, &'static str> {
        read(text, place).map(|(string, _)| string)
    }

    /// Reads a `domain-spec`, which ends in a macro or in a label that can be a top-level domain.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse_domain(text: &str) -> Result<MacroString, &'static str> {
        let (string, tail) = read(text, Place::Domain)?;
        let ends_in_macro = tail.is_empty() && !text.is_empty();
        let tail = tail.strip_suffix('.').unwrap_or(tail);
        let ends_well = tail.rsplit_once('.').is_some_and(|(_, last)| is_top_label(last));
        if ends_in_macro || ends_well { Ok(string) } else { Err("no domain") }
    }

    /// It holds the sender's local part (`%{s}`, `%{l}`).
    pub(super) fn has_local_part(&self) -> bool {
        self.has(|letter| matches!(letter, b's' | b'l'))
    }

    /// It holds `%{p}`.
    pub(super) fn has_client_name(&self) -> bool {
        self.has(|letter| letter == b'p')
    }

    fn has(&self, wanted: impl Fn(u8) -> bool) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Macro(it) if wanted(it.letter)))
    }

    /// The name that it comes to, without a final dot; labels are taken off from the left until it
    /// fits. It need not be one that can be asked for.
    pub(super) fn name(&self, values: &Values<'_>) -> String {
        let mut name = String::new();
        for part in &self.parts {
            part.write(values, &mut name);
            if name.len() > DRAFT_MAX {
                let mut from = name.len() - DRAFT_MAX / 2;
                while !name.is_char_boundary(from) {
                    from += 1;
                }
                name.drain(..from);
            }
        }
        let mut rest = name.strip_suffix('.').unwrap_or(&name);
        while rest.len() > NAME_MAX {
            match rest.split_once('.') {
                Some((_, behind)) => rest = behind,
                None => break,
            }
        }
        rest.to_string()
    }

    /// The text that it comes to, in printable ASCII and at most `max` octets.
    pub(super) fn text(&self, values: &Values<'_>, max: usize) -> String {
        let mut text = String::new();
        for part in &self.parts {
            part.write(values, &mut text);
            if text.len() > max {
                break;
            }
        }
        let printable = |char| if matches!(char, ' '..='~') { char } else { '?' };
        text.chars().map(printable).take(max).collect()
    }
}

/// The string, and the text behind its last macro.
fn read(text: &str, place: Place) -> Result<(MacroString, &str), &'static str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((plain, behind)) = rest.split_once('%') {
        push_text(&mut parts, plain, place)?;
        let mut chars = behind.chars();
        rest = match chars.next() {
            Some('{') => {
                let (inside, behind) =
                    chars.as_str().split_once('}').ok_or("a macro that does not end")?;
                parts.push(Part::Macro(Macro::parse(inside, place)?));
                behind
            }
            Some(sign @ ('%' | '_' | '-')) => {
                let text = match sign {
                    '%' => "%",
                    '_' => " ",
                    _ => "%20",
                };
                parts.push(Part::Text(text.to_string()));
                chars.as_str()
            }
            _ => return Err("a percent sign that begins no macro"),
        };
    }
    push_text(&mut parts, rest, place)?;
    Ok((MacroString { parts }, rest))
}

fn push_text(parts: &mut Vec<Part>, text: &str, place: Place) -> Result<(), &'static str> {
    let allowed = |octet: u8| match octet {
        b'!'..=b'~' => true,
        b' ' => place == Place::Explanation,
        _ => false,
    };
    if !text.bytes().all(allowed) {
        return Err("a character that is not allowed");
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_string()));
    }
    Ok(())
}

/// A `toplabel`: letters, digits and hyphens, and not digits alone.
fn is_top_label(label: &str) -> bool {
    let ends = |octet: Option<u8>| octet.is_some_and(|octet| octet.is_ascii_alphanumeric());
    ends(label.bytes().next())
        && ends(label.bytes().next_back())
        && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && !label.bytes().all(|octet| octet.is_ascii_digit())
}

impl Macro {
    /// Reads what stands between the braces.
    fn parse(text: &str, place: Place) -> Result<Macro, &'static str> {
        let mut chars = text.chars();
        let letter = chars.next().ok_or("an empty macro")?;
        let known = match letter.to_ascii_lowercase() {
            's' | 'l' | 'o' | 'd' | 'i' | 'p' | 'v' | 'h' => true,
            'c' | 'r' | 't' => place != Place::Domain,
            _ => false,
        };
        if !known {
            return Err("a macro of an unknown letter");
        }
        let rest = chars.as_str();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = rest.split_at_checked(digits).unwrap_or((rest, ""));
        // More parts than can be counted are all of them.
        let keep = match digits {
            "" => usize::MAX,
            digits => digits.parse().unwrap_or(usize::MAX),
        };
        if keep == 0 {
            return Err("a macro that keeps nothing");
        }
        let stripped = rest.strip_prefix(['r', 'R']);
        let delimiters = stripped.unwrap_or(rest);
        if !delimiters.chars().all(|char| ".-+,/_=".contains(char)) {
            return Err("a macro with an unknown delimiter");
        }
        Ok(Macro {
            letter: letter.to_ascii_lowercase() as u8,
            escape: letter.is_ascii_uppercase(),
            keep,
            reverse: stripped.is_some(),
            delimiters: if delimiters.is_empty() { "." } else { delimiters }.to_string(),
        })
    }

    fn value(&self, values: &Values<'_>) -> String {
        match self.letter {
            b's' => format!("{}@{}", values.local, values.sender_domain),
            b'l' => values.local.to_string(),
            b'o' => values.sender_domain.to_string(),
            b'd' => values.domain.to_string(),
            b'i' => dotted(values.ip),
            b'p' => values.name.unwrap_or("unknown").to_string(),
            b'v' if values.ip.is_ipv4() => "in-addr".to_string(),
            b'v' => "ip6".to_string(),
            b'h' => values.helo.to_string(),
            b'c' => values.ip.to_string(),
            b't' => values.unix.to_string(),
            _ if values.receiver.is_empty() => "unknown".to_string(),
            _ => values.receiver.to_string(),
        }
    }

    fn write(&self, values: &Values<'_>, out: &mut String) {
        let value = self.value(values);
        let mut parts: Vec<&str> =
            value.split(|char: char| self.delimiters.contains(char)).collect();
        if self.reverse {
            parts.reverse();
        }
        let from = parts.len().saturating_sub(self.keep);
        let kept = parts.get(from..).unwrap_or_default().join(".");
        if self.escape { escape(&kept, out) } else { out.push_str(&kept) }
    }
}

impl Part {
    fn write(&self, values: &Values<'_>, out: &mut String) {
        match self {
            Part::Text(text) => out.push_str(text),
            Part::Macro(it) => it.write(values, out),
        }
    }
}

/// The address with a dot behind each octet, of IPv6 behind each nibble.
fn dotted(ip: IpAddr) -> String {
    let reversed = reverse_address(ip);
    let parts: Vec<&str> = reversed.rsplit('.').collect();
    parts.join(".")
}

/// All but the unreserved characters as `%XX` (RFC 3986 section 2.1).
fn escape(text: &str, out: &mut String) {
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{octet:02X}");
        }
    }
}

/// Checks on any input: no panic, names and texts keep their bounds.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (local, rest) = text.split_once('@').unwrap_or(("strong-bad", &text));
    let (domain, string) = rest.split_once(' ').unwrap_or(("email.example.com", rest));
    for ip in ["192.0.2.3", "2001:db8::cb01"] {
        let values = Values {
            ip: ip.parse().unwrap_or(IpAddr::from([0, 0, 0, 0])),
            helo: local,
            receiver: domain,
            unix: 1_000_000_000,
            local,
            sender_domain: domain,
            domain,
            name: data.len().is_multiple_of(2).then_some(domain),
        };
        for place in [Place::Domain, Place::Explanation, Place::Unknown] {
            let Ok(string) = MacroString::parse(string, place) else { continue };
            let name = string.name(&values);
            assert!(name.len() <= NAME_MAX || !name.contains('.'), "{name}");
            let text = string.text(&values, 100);
            assert!(text.len() <= 100 && text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
        }
    }
    if MacroString::parse_domain(string).is_ok() {
        assert!(MacroString::parse(string, Place::Explanation).is_ok(), "{string}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(ip: &str) -> Values<'static> {
        Values {
            ip: ip.parse().expect("an address"),
            helo: "mx.example.org",
            receiver: "mx.example.net",
            unix: 1_234_567_890,
            local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            name: None,
        }
    }

    fn name(text: &str, values: &Values<'_>) -> String {
        MacroString::parse_domain(text).expect(text).name(values)
    }

    /// The table of RFC 7208 section 7.4.
    #[test]
    fn expansions_of_the_rfc() {
        let (v4, v6) = (values("192.0.2.3"), values("2001:db8::cb01"));
        let nibbles = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
        for (text, values, expected) in [
            ("%{s}", v4, "strong-bad@email.example.com"),
            ("%{o}", v4, "email.example.com"),
            ("%{d}", v4, "email.example.com"),
            ("%{d4}", v4, "email.example.com"),
            ("%{d3}", v4, "email.example.com"),
            ("%{d2}", v4, "example.com"),
            ("%{d1}", v4, "com"),
            ("%{dr}", v4, "com.example.email"),
            ("%{d2r}", v4, "example.email"),
            ("%{l}", v4, "strong-bad"),
            ("%{l-}", v4, "strong.bad"),
            ("%{lr}", v4, "strong-bad"),
            ("%{lr-}", v4, "bad.strong"),
            ("%{l1r-}", v4, "strong"),
            ("%{ir}.%{v}._spf.%{d2}", v4, "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", v4, "bad.strong.lp._spf.example.com"),
            (
                "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
                v4,
                "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
            ),
            (
                "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}",
                v4,
                "3.2.0.192.in-addr.strong.lp._spf.example.com",
            ),
            ("%{d2}.trusted-domains.example.net", v4, "example.com.trusted-domains.example.net"),
            ("%{ir}.%{v}._spf.%{d2}", v6, &format!("{nibbles}.ip6._spf.example.com")),
        ] {
            assert_eq!(name(text, &values), expected, "{text}");
        }
    }

    #[test]
    fn expansions() {
        let v4 = values("192.0.2.3");
        let odd = Values { local: "jack&jill=up+a_b,c/d", helo: "a b%\u{e9}", ..v4 };
        for (text, values, expected) in [
            ("%{L}.x", v4, "strong-bad.x"),
            ("%{LR-}.x", v4, "bad.strong.x"),
            ("%{L}.x", odd, "jack%26jill%3Dup%2Ba_b%2Cc%2Fd.x"),
            ("%{H}.x", odd, "a%20b%25%C3%A9.x"),
            ("%{h}.x", odd, "a b%\u{e9}.x"),
            ("%{l2r+=,/_}.x", odd, "up.jack&jill.x"),
            ("%{l99999999999999999999999}.x", v4, "strong-bad.x"),
            ("%{p}.x", v4, "unknown.x"),
            ("%{p2}.x", Values { name: Some("a.b.example"), ..v4 }, "b.example.x"),
            ("%%%_%-.x.", v4, "% %20.x"),
            ("%{l}%{d}", Values { local: "", ..v4 }, "email.example.com"),
            ("%{i}.x", values("::ffff"), &format!("{}f.f.f.f.x", "0.".repeat(28))),
        ] {
            assert_eq!(name(text, &values), expected, "{text}");
        }
        let text = "%{c} %{r} %{t}%_%{V}";
        let text = MacroString::parse(text, Place::Explanation).expect("an explanation");
        let v6 = values("2001:DB8::CB01");
        assert_eq!(text.text(&v6, 99), "2001:db8::cb01 mx.example.net 1234567890 ip6");
        assert_eq!(text.text(&Values { receiver: "", ..v6 }, 22), "2001:db8::cb01 unknown");
        let text = MacroString::parse("%{l}\u{7e}", Place::Explanation).expect("an explanation");
        assert_eq!(text.text(&Values { local: "\u{e9}\n\0", ..v6 }, 99), "???~");
    }

    #[test]
    fn long_names_are_cut_from_the_left() {
        let long = "l23456789.".repeat(25);
        let values = Values { local: &long, ..values("192.0.2.3") };
        assert_eq!(name("%{l}abc.def", &values).len(), 250 - 10 + 7);
        assert_eq!(name("%{l}abcd.efghij", &values).len(), 261 - 10);
        assert!(name("%{l}%{l}%{l}%{l}%{l}%{l}x.example", &values).ends_with("9.x.example"));
        let text = "%{l}".repeat(4_000);
        let name = MacroString::parse_domain(&text).expect("macros").name(&values);
        assert_eq!(name.len(), 249);
        let label = "a".repeat(300);
        assert_eq!(MacroString::parse_domain(&format!("{label}.x")).map(|_| ()), Ok(()));
        let whole = MacroString::parse(&label, Place::Unknown).expect("a text").name(&values);
        assert_eq!(whole.len(), 300, "one label is for others to judge");
    }

    #[test]
    fn faults() {
        for (text, good) in [
            ("example.com", true),
            ("example.com.", true),
            (".com", true),
            ("a..com", true),
            ("foo:bar/baz.example.com", true),
            ("%{d}", true),
            ("x%{d}", true),
            ("%{d}.com", true),
            ("example%%", true),
            ("x.xn--zckzah", true),
            ("x.1-2", true),
            ("x.a1", true),
            ("", false),
            ("com", false),
            ("com.", false),
            ("example.com..", false),
            ("%{d}.", false),
            ("%{d}com", false),
            ("example.123", false),
            ("example.-com", false),
            ("example.com-", false),
            ("example.c_m", false),
            ("example.com/24", false),
            ("ex ample.com", false),
            ("ex\u{e4}mple.com", false),
            ("%", false),
            ("%(d).com", false),
            ("a%b.com", false),
            ("%{d", false),
            ("%{}", false),
            ("%{d0}", false),
            ("%{x}", false),
            ("%{d}%", false),
            ("%{d1rr}", false),
            ("%{r1}", false),
            ("%{dr2}", false),
            ("%{d:}", false),
            ("%{c}", false),
            ("%{T}", false),
        ] {
            assert_eq!(MacroString::parse_domain(text).is_ok(), good, "{text:?}");
            fuzz(text.as_bytes());
        }
        for (place, good) in [(Place::Explanation, true), (Place::Unknown, false)] {
            assert_eq!(MacroString::parse("%{c} is %{t}", place).is_ok(), good);
            assert!(MacroString::parse("a\tb", place).is_err());
            assert!(MacroString::parse("%{r}", place).is_ok());
        }
    }
}
