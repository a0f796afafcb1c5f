//! The host of a URI in one form, as a browser would make it from what stands there.
//!
//! Spam writes hosts so that a filter reads them otherwise than the browser that is sent there: with
//! `%77`, full-width letters, numbers for addresses, an `@` before the real host. Browsers follow the URL
//! standard of WHATWG (section 3.5, host parsing); this does the same where it matters and is laxer where
//! older programs were.

use crate::limits::{DOMAIN_MAX, LABEL_MAX};
use crate::mail::mime::percent_decode;
use crate::smtp::address;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of a host as written that are looked at.
const WRITTEN_MAX: usize = 1_024;

/// Where a URI leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each URI")]
pub enum Host {
    /// A domain name.
    Name(Name),
    /// An address, in whatever form it was written.
    Ip(IpAddr),
}

/// A domain name: lower case, A-labels, no dot at the end. Kept without an allocation, since most URIs of
/// a message lead where others lead too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    octets: [u8; DOMAIN_MAX],
    length: u8,
}

const _: () = assert!(DOMAIN_MAX <= u8::MAX as usize);

impl Host {
    /// Reads what stands between `//` (and a user's name with its `@`) and the port.
    pub fn parse(written: &[u8]) -> Option<Host> {
        if written.is_empty() || written.len() > WRITTEN_MAX {
            return None;
        }
        if let Some(inner) = written.strip_prefix(b"[") {
            let inner = std::str::from_utf8(inner.strip_suffix(b"]")?).ok()?;
            return Some(Host::Ip(IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?).to_canonical()));
        }
        if let Some(host) = Host::from_ascii(written) {
            return Some(host);
        }
        if written.iter().all(|octet| octet.is_ascii_graphic() && *octet != b'%') {
            return None;
        }
        let mut decoded = Vec::new();
        percent_decode(written, &mut decoded);
        let text: String = String::from_utf8_lossy(&decoded).chars().filter_map(mapped).collect();
        if text.is_ascii() {
            return Host::from_ascii(text.as_bytes());
        }
        let text = text.strip_suffix('.').unwrap_or(&text);
        Host::from_ascii(address::domain_name(text)?.as_bytes())
    }

    /// A host without anything that has to be decoded.
    fn from_ascii(text: &[u8]) -> Option<Host> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let last = text.rsplit(|octet| *octet == b'.').next()?;
        if last.first().is_some_and(u8::is_ascii_digit) && is_number(last) {
            return ipv4(text).map(|address| Host::Ip(IpAddr::V4(address)));
        }
        Name::from_ascii(text).map(Host::Name)
    }
}

impl Name {
    fn from_ascii(text: &[u8]) -> Option<Name> {
        // A host name has at most 253 octets: with its root it makes the 255 of RFC 1035 section 3.1.
        if text.len() > DOMAIN_MAX - 2 || !text.split(|octet| *octet == b'.').all(is_label) {
            return None;
        }
        let mut name = Name { octets: [0; DOMAIN_MAX], length: u8::try_from(text.len()).ok()? };
        name.octets.get_mut(..text.len())?.copy_from_slice(text);
        name.octets.make_ascii_lowercase();
        Some(name)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let octets = self.octets.get(..usize::from(self.length)).unwrap_or_default();
        // Only ASCII gets in.
        std::str::from_utf8(octets).unwrap_or_default()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name.as_str()),
            Host::Ip(IpAddr::V4(address)) => address.fmt(f),
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Letters, digits, hyphens inside, and the underscores of names that are not for hosts but are used.
fn is_label(label: &[u8]) -> bool {
    let hyphen = label.first() == Some(&b'-') || label.last() == Some(&b'-');
    (1..=LABEL_MAX).contains(&label.len())
        && !hyphen
        && label.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
}

/// Whether a last label makes the host an address (WHATWG URL, "ends in a number").
fn is_number(label: &[u8]) -> bool {
    let hex = label.strip_prefix(b"0x").or_else(|| label.strip_prefix(b"0X"));
    match hex {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
        None => label.iter().all(u8::is_ascii_digit),
    }
}

/// One to four numbers, decimal, octal or hexadecimal, of which the last fills what is left.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let count = text.split(|octet| *octet == b'.').count();
    if count > 4 {
        return None;
    }
    let mut address = 0_u64;
    for (index, part) in text.split(|octet| *octet == b'.').enumerate() {
        let value = number(part)?;
        let last = index + 1 == count;
        let bits = if last { 8 * (5 - count) } else { 8 };
        if value >> bits != 0 {
            return None;
        }
        address = address << bits | value;
    }
    u32::try_from(address).ok().map(Ipv4Addr::from_bits)
}

/// A number of at most 32 bits. An 8 or 9 behind a nought makes it decimal for some programs.
fn number(part: &[u8]) -> Option<u64> {
    let hex = part.strip_prefix(b"0x").or_else(|| part.strip_prefix(b"0X"));
    let octal =
        part.first() == Some(&b'0') && part.iter().all(|digit| (b'0'..=b'7').contains(digit));
    let (digits, base) = match hex {
        Some(digits) => (digits, 16),
        None if octal => (part, 8),
        None => (part, 10),
    };
    if part.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = char::from(*digit).to_digit(base)?;
        Some(sum * u64::from(base) + u64::from(digit)).filter(|sum| *sum <= u64::from(u32::MAX))
    })
}

/// What a character of a host is for a browser (UTS 46): the compatibility forms of ASCII are ASCII,
/// what cannot be seen is nothing.
fn mapped(char: char) -> Option<char> {
    let from = |first: u32, base: u8| {
        char::from_u32(u32::from(char).checked_sub(first)? + u32::from(base))
    };
    match char {
        '\t' | '\r' | '\n' => None,
        '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{2064}' | '\u{feff}' => {
            None
        }
        '\u{180b}'..='\u{180d}' | '\u{fe00}'..='\u{fe0f}' => None,
        '\u{3002}' | '\u{ff0e}' | '\u{ff61}' | '\u{2024}' => Some('.'),
        '\u{ff01}'..='\u{ff5e}' => from(0xff01, b'!'),
        '\u{24b6}'..='\u{24cf}' => from(0x24b6, b'a'),
        '\u{24d0}'..='\u{24e9}' => from(0x24d0, b'a'),
        '\u{2460}'..='\u{2468}' => from(0x2460, b'1'),
        '\u{24ea}' => Some('0'),
        '\u{1d400}'..='\u{1d6a3}' => letter((u32::from(char) - 0x1d400) % 52),
        '\u{1d7ce}'..='\u{1d7ff}' => char::from_digit((u32::from(char) - 0x1d7ce) % 10, 10),
        _ => Some(SINGLE.iter().find(|(form, _)| *form == char).map_or(char, |(_, plain)| *plain)),
    }
}

/// The mathematical letters come in alphabets of 52.
fn letter(index: u32) -> Option<char> {
    char::from_digit(10 + index % 26, 36)
}

/// Mathematical letters that are older than their alphabets, and superscripts.
const SINGLE: &[(char, char)] = &[
    ('\u{2102}', 'c'),
    ('\u{210a}', 'g'),
    ('\u{210b}', 'h'),
    ('\u{210c}', 'h'),
    ('\u{210d}', 'h'),
    ('\u{210e}', 'h'),
    ('\u{2110}', 'i'),
    ('\u{2111}', 'i'),
    ('\u{2112}', 'l'),
    ('\u{2113}', 'l'),
    ('\u{2115}', 'n'),
    ('\u{2119}', 'p'),
    ('\u{211a}', 'q'),
    ('\u{211b}', 'r'),
    ('\u{211c}', 'r'),
    ('\u{211d}', 'r'),
    ('\u{2124}', 'z'),
    ('\u{2128}', 'z'),
    ('\u{212a}', 'k'),
    ('\u{212c}', 'b'),
    ('\u{212d}', 'c'),
    ('\u{212f}', 'e'),
    ('\u{2130}', 'e'),
    ('\u{2131}', 'f'),
    ('\u{2133}', 'm'),
    ('\u{2134}', 'o'),
    ('\u{aa}', 'a'),
    ('\u{ba}', 'o'),
    ('\u{b9}', '1'),
    ('\u{b2}', '2'),
    ('\u{b3}', '3'),
    ('\u{17f}', 's'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form() {
        let rows: &[(&str, &str)] = &[
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("a_b.example.com", "a_b.example.com"),
            ("%77%77%77.example.com", "www.example.com"),
            ("exa\u{ad}m\tple.com", "example.com"),
            ("\u{ff45}\u{ff58}\u{ff41}mple\u{3002}com", "example.com"),
            ("\u{24d4}\u{24e7}\u{1d41a}\u{1d426}ple.\u{2102}om", "example.com"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("B%C3%9Ccher.example", "xn--bcher-kva.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("3221225985", "192.0.2.1"),
            ("0xC0.0.0x2.1", "192.0.2.1"),
            ("0300.0.02.01", "192.0.2.1"),
            ("192.0.513", "192.0.2.1"),
            ("0xc0000201.", "192.0.2.1"),
            ("089.104.0160.0x11", "89.104.112.17"),
            ("\u{2460}.2.3.4", "1.2.3.4"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
        ];
        for (written, want) in rows {
            let host = Host::parse(written.as_bytes()).map(|host| host.to_string());
            assert_eq!(host.as_deref(), Some(*want), "{written}");
        }
        let long = format!("{}.com", "a.".repeat(130));
        let label = format!("{}.com", "a".repeat(64));
        for written in [
            "",
            ".",
            "a..b",
            ".a",
            "-a.com",
            "a-.com",
            "a b.com",
            "a&b.com",
            "%",
            "a%00.com",
            "1.2.3.4.5",
            "256.0.0.1",
            "1.2.3.65536",
            "0x1ffffffff",
            "1..2",
            "[::1",
            "[x]",
            "::1",
            "a/b",
            "\u{202e}.com",
            &long,
            &label,
        ] {
            assert_eq!(Host::parse(written.as_bytes()), None, "{written}");
        }
    }
}
