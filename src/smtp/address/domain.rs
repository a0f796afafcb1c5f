//! The part of a mailbox behind the `@`: a domain name or an address literal.
//!
//! Lists, SPF, DMARC and the relay decision all compare domains, so each is brought to one form
//! here: lower case, A-labels, literals rewritten from their value. U-labels are made lower case
//! and encoded, without Unicode normalisation: a domain that is not normalised is then a name that
//! nobody can register, and cannot be taken for another.

use super::{AddressError, punycode};
use crate::limits::{DOMAIN_MAX, LABEL_MAX};
use std::net::Ipv6Addr;

/// What marks an A-label (RFC 5890 section 2.3.2.1).
const ACE_PREFIX: &str = "xn--";

/// A domain in its canonical form, and as written if that differs by more than case.
#[derive(Debug, Default)]
pub(super) struct Domain {
    pub(super) ascii: String,
    pub(super) written: Option<String>,
}

/// Reads a domain or an address literal (RFC 5321 sections 4.1.2 and 4.1.3). Underscores are
/// letters here, a single label will do, a dot at the end will not.
pub(super) fn parse(text: &str) -> Result<Domain, AddressError> {
    if let Some(inner) = text.strip_prefix('[') {
        let ascii = inner.strip_suffix(']').and_then(literal);
        let ascii = ascii.ok_or(AddressError::Syntax("address literal"))?;
        return Ok(Domain { ascii, written: None });
    }
    let mut ascii = String::new();
    for (index, label) in text.split('.').enumerate() {
        if index > 0 {
            ascii.push('.');
        }
        push_label(&mut ascii, label)?;
        if ascii.len() > DOMAIN_MAX {
            return Err(AddressError::TooLong("domain"));
        }
    }
    let written = (!text.is_ascii()).then(|| lower(text));
    Ok(Domain { ascii, written })
}

fn push_label(ascii: &mut String, label: &str) -> Result<(), AddressError> {
    if label.is_empty() {
        return Err(AddressError::Syntax("empty label in the domain"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(AddressError::Syntax("hyphen at the end of a label"));
    }
    if !label.chars().all(is_label_char) {
        return Err(AddressError::Syntax("character in the domain"));
    }
    if label.is_ascii() {
        if label.len() > LABEL_MAX {
            return Err(AddressError::TooLong("label"));
        }
        ascii.extend(label.chars().map(|char| char.to_ascii_lowercase()));
        return Ok(());
    }
    // RFC 5891 section 4.2.3.1: that place belongs to the prefix.
    if label.chars().skip(2).take(2).eq(['-', '-']) {
        return Err(AddressError::Syntax("hyphens in a U-label"));
    }
    let encoded = punycode::encode(&lower(label), LABEL_MAX - ACE_PREFIX.len());
    ascii.push_str(ACE_PREFIX);
    ascii.push_str(&encoded.ok_or(AddressError::TooLong("label"))?);
    Ok(())
}

fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn is_label_char(char: char) -> bool {
    match char {
        '-' | '_' => true,
        _ if char.is_ascii() => char.is_ascii_alphanumeric(),
        _ => !MISLEADING.iter().any(|(first, last)| (*first..=*last).contains(&char)),
    }
}

/// Ranges of which RFC 5892 leaves next to nothing for U-labels, and which cannot be seen or which
/// other software maps to something else, often to ASCII letters or a dot: with them a domain
/// would have two readings.
const MISLEADING: &[(char, char)] = &[
    ('\u{80}', '\u{B6}'),     // Latin-1 controls, marks, soft hyphen, small a and o
    ('\u{B8}', '\u{BF}'),     // but not the middle dot of Catalan
    ('\u{17F}', '\u{17F}'),   // the long s
    ('\u{34F}', '\u{34F}'),   // grapheme joiner
    ('\u{61C}', '\u{61C}'),   // Arabic letter mark
    ('\u{115F}', '\u{1160}'), // Hangul fillers
    ('\u{180B}', '\u{180F}'), // Mongolian selectors
    ('\u{2000}', '\u{200B}'), // spaces; the two joiners behind them are real letters' parts
    ('\u{200E}', '\u{218F}'), // punctuation, direction marks, letter-like signs, numbers
    ('\u{2460}', '\u{24FF}'), // letters and digits in circles
    ('\u{2E00}', '\u{3004}'), // more punctuation, radicals, the ideographic full stop
    ('\u{3164}', '\u{3164}'), // Hangul filler
    ('\u{3200}', '\u{33FF}'), // squared words
    ('\u{E000}', '\u{F8FF}'), // private use
    ('\u{FB00}', '\u{FE1F}'), // ligatures, presentation forms, variation selectors
    ('\u{FE30}', '\u{FFFF}'), // small and full-width forms
    ('\u{1D400}', '\u{1D7FF}'), // mathematical letters
    ('\u{1F100}', '\u{1F2FF}'), // squared letters
    ('\u{E0000}', '\u{10FFFF}'), // tags, selectors, private use
];

/// An address literal without its brackets, rewritten from its value with them.
fn literal(text: &str) -> Option<String> {
    const TAG: &str = "ipv6:";
    match text.split_at_checked(TAG.len()) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case(TAG) => {
            rest.parse::<Ipv6Addr>().ok().map(|addr| format!("[{TAG}{addr}]"))
        }
        _ => ipv4(text).map(|[a, b, c, d]| format!("[{a}.{b}.{c}.{d}]")),
    }
}

/// Four decimal numbers. The grammar allows leading noughts (`Snum`), which std does not; they are
/// gone in the rewritten form, so nobody behind us takes them for octal.
fn ipv4(text: &str) -> Option<[u8; 4]> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then_some(octets)
}
