//! The small grammars of tag values: base64, numbers, domains, quoted-printable (RFC 6376 section 2).

use super::tags::is_blank;
use crate::smtp::address;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Octets of a name that can be asked for (RFC 1035 section 2.3.4, without the length octets).
const NAME_MAX: usize = 253;

/// The grammar makes the padding optional.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Octets of a base64 string, in which white space may stand anywhere. None where it is none, is empty,
/// or holds more than `max` octets.
pub(super) fn base64(text: &[u8], max: usize) -> Option<Vec<u8>> {
    // Four letters for three octets, so that nothing of a giant is copied.
    let letters = text.iter().filter(|octet| !is_blank(**octet));
    let squeezed: Vec<u8> = letters.copied().take(max.div_ceil(3) * 4 + 1).collect();
    let octets = BASE64.decode(&squeezed).ok()?;
    (1..=max).contains(&octets.len()).then_some(octets)
}

/// Octets as base64, in lines for a header field: each begins with a fold.
pub(super) fn folded_base64(octets: &[u8]) -> String {
    const LINE: usize = 72;
    let encoded = BASE64.encode(octets);
    let mut out = String::with_capacity(encoded.len() + encoded.len() / 16 + 3);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        out.push_str("\r\n\t");
        out.push_str(line);
        rest = behind;
    }
    out
}

/// A decimal number of at most `digits` digits; one too large for us is the largest there is.
pub(in crate::authn) fn number(text: &[u8], digits: usize) -> Option<u64> {
    let good = (1..=digits).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    good.then(|| {
        text.iter().fold(0_u64, |value, digit| {
            value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        })
    })
}

/// A domain in its one form, lower case and A-labels (RFC 8616 section 5 lets U-labels stand here). It
/// has at least `labels` labels of letters, digits, hyphens and underscores.
pub(super) fn domain(text: &[u8], labels: usize) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    if text.len() > 4 * NAME_MAX || text.starts_with('[') || text.contains(['@', '<', '>', '"']) {
        return None;
    }
    // The grammar of envelope addresses is the same, and is written once.
    let path = ["<x@", text, ">"].concat();
    let address = address::parse_forward(path.as_bytes(), true).ok()?;
    let name = address.domain();
    let good = !address.is_literal() && name.split('.').count() >= labels;
    (good && name.len() <= NAME_MAX).then(|| name.to_string())
}

/// A domain as somebody has written it, of one label or more, in its one form.
pub fn domain_name(text: &str) -> Option<String> {
    domain(text.as_bytes(), 1)
}

/// A selector as somebody has written it, if it can be one (RFC 6376 section 3.1).
pub fn selector_name(text: &str) -> Option<String> {
    let name = domain(text.as_bytes(), 1)?;
    Some(if text.is_ascii() { text.to_string() } else { name })
}

/// `name` is `domain`, or lies below it.
pub fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// Undoes the quoting of DKIM (RFC 6376 section 2.11): white space is dropped, `=XX` is an octet. None
/// where it is malformed.
pub(super) fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.iter().copied().filter(|octet| !is_blank(*octet));
    while let Some(octet) = octets.next() {
        if octet != b'=' {
            out.push(octet);
            continue;
        }
        let mut digit = || char::from(octets.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high << 4 | low).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_strings() {
        for (text, max, octets) in [
            ("AQID", 3, Some(&b"\x01\x02\x03"[..])),
            (" A Q\r\n\tI D ", 3, Some(b"\x01\x02\x03")),
            ("AQ==", 3, Some(b"\x01")),
            ("AQ", 3, Some(b"\x01")),
            ("AQI=", 3, Some(b"\x01\x02")),
            ("AQID", 2, None),
            ("AQIDAA", 3, None),
            ("A", 3, None),
            ("", 3, None),
            ("A*ID", 3, None),
            ("AQ-_", 3, None),
        ] {
            assert_eq!(base64(text.as_bytes(), max).as_deref(), octets, "{text:?}");
        }
        let folded = folded_base64(&[7; 100]);
        assert_eq!(base64(folded.as_bytes(), 100), Some(vec![7; 100]));
        assert!(folded.split("\r\n\t").all(|line| line.len() <= 72));
    }

    #[test]
    fn numbers() {
        for (text, value) in [
            ("0", Some(0)),
            ("0017", Some(17)),
            ("99999999999999999999", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("1x", None),
            ("100000000000000000000", None),
        ] {
            assert_eq!(number(text.as_bytes(), 20), value, "{text}");
        }
    }

    #[test]
    fn domains() {
        for (text, labels, expected) in [
            ("Example.COM", 2, Some("example.com")),
            ("a_b.example", 2, Some("a_b.example")),
            ("b\u{fc}cher.example", 2, Some("xn--bcher-kva.example")),
            ("com", 2, None),
            ("sel", 1, Some("sel")),
            ("2024.s1", 1, Some("2024.s1")),
            ("a..b", 2, None),
            (".a.b", 2, None),
            ("a.b.", 2, None),
            ("a b.c", 2, None),
            ("a\0.b", 2, None),
            ("legit.com'a.attack.com", 2, None),
            ("legit.com(.attack.com", 2, None),
            ("[192.0.2.1]", 1, None),
            ("x@a.b", 2, None),
            ("x>,<y@a.b", 2, None),
            ("", 1, None),
        ] {
            assert_eq!(domain(text.as_bytes(), labels).as_deref(), expected, "{text:?}");
        }
        let long = ["a"; 130].join(".");
        assert_eq!(domain(long.as_bytes(), 2), None);
        for (name, of, below) in [
            ("a.example", "a.example", true),
            ("x.a.example", "a.example", true),
            ("xa.example", "a.example", false),
            ("example", "a.example", false),
        ] {
            assert_eq!(is_below(name, of), below, "{name} {of}");
        }
    }

    #[test]
    fn quoting() {
        for (text, octets) in [
            ("joe", Some(&b"joe"[..])),
            ("j=6F e=3D", Some(b"joe=")),
            ("a=3", None),
            ("a=zz", None),
        ] {
            assert_eq!(unquote(text.as_bytes()).as_deref(), octets, "{text}");
        }
    }
}
