//! The field `DKIM-Signature` (RFC 6376 section 3.5), read.
//!
//! A signature that cannot be used still has a domain and a selector as a rule, which logs and reports
//! name, so reading gives both parts: what can be shown, and what can be checked or why not.

use super::Reason;
use super::canon::Canon;
use super::tags::{Tags, colon_list};
use super::text::{base64, domain, is_below, number, selector_name, unquote};
use crate::authn::crypto::{KeyKind, RSA_BITS, Sha256Hash};
use crate::limits::HEADER_FIELDS_MAX;
use std::ops::Range;

/// Octets of a signature: as many as the longest RSA key has.
const SIGNATURE_MAX: usize = *RSA_BITS.end() / 8;

/// Names in `h=`: as many as a message may have fields.
const NAMES_MAX: usize = HEADER_FIELDS_MAX;

/// Octets of a local part in `i=` that are kept to be shown.
const LOCAL_PART_MAX: usize = 64;

/// What a signature was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `rsa-sha256`
    RsaSha256,
    /// `ed25519-sha256`
    Ed25519Sha256,
    /// `rsa-sha1`, which is no longer accepted (RFC 8301 section 3.1).
    RsaSha1,
}

impl Algorithm {
    /// As `a=` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::RsaSha256 => "rsa-sha256",
            Algorithm::Ed25519Sha256 => "ed25519-sha256",
            Algorithm::RsaSha1 => "rsa-sha1",
        }
    }

    /// The kind of key that it takes.
    pub fn key_kind(self) -> KeyKind {
        match self {
            Algorithm::RsaSha256 | Algorithm::RsaSha1 => KeyKind::Rsa,
            Algorithm::Ed25519Sha256 => KeyKind::Ed25519,
        }
    }

    /// Reads what `a=` spells.
    pub fn of_name(name: &[u8]) -> Option<Algorithm> {
        [Algorithm::RsaSha256, Algorithm::Ed25519Sha256, Algorithm::RsaSha1]
            .into_iter()
            .find(|algorithm| name.eq_ignore_ascii_case(algorithm.name().as_bytes()))
    }
}

/// What of a signature can be shown, whatever is wrong with the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `d=`, in lower case and A-labels; empty where it is no domain.
    pub domain: String,
    /// `s=` as it is written; empty where it is none.
    pub selector: String,
    /// `i=`, or its default `@DOMAIN`; empty where it is malformed.
    pub identity: String,
    /// `a=`; None where it is none that we know.
    pub algorithm: Option<Algorithm>,
    /// The first letters of `b=`, which tell two signatures of one domain apart (RFC 6008).
    pub start_of_b: String,
}

/// A signature that can be checked.
#[derive(Clone, Debug)]
pub struct Signature<'a> {
    /// `a=`
    pub algorithm: Algorithm,
    /// `b=`, decoded.
    pub signature: Vec<u8>,
    /// `bh=`, decoded.
    pub body_hash: Sha256Hash,
    /// The first half of `c=`.
    pub header_canon: Canon,
    /// The second half of `c=`.
    pub body_canon: Canon,
    /// `h=`, between its colons.
    pub names: &'a [u8],
    /// `l=`
    pub length: Option<u64>,
    /// `t=`, seconds since 1970.
    pub time: Option<u64>,
    /// `x=`, seconds since 1970.
    pub expires: Option<u64>,
    /// The identity is of the domain itself, not of one below it.
    pub is_strict: bool,
    /// Where the value of `b=` stands in the field's value.
    pub hole: Range<usize>,
}

impl<'a> Signature<'a> {
    /// Reads a field's value, which is what stands behind the colon.
    ///
    /// # Errors
    /// Beside what can be shown: why the signature cannot be checked.
    pub fn parse(value: &'a [u8]) -> (Shown, Result<Signature<'a>, Reason>) {
        match Tags::parse(value) {
            Ok(tags) => {
                let shown = show(&tags);
                let signature = read(&tags, &shown, Form::Dkim);
                (shown, signature)
            }
            Err(error) => (Shown::default(), Err(Reason::Syntax(error))),
        }
    }

    /// Reads an `ARC-Message-Signature`, which has no version, and whose `i=` is no identity but the
    /// number of its set (RFC 8617 section 4.1.2).
    ///
    /// # Errors
    /// Beside what can be shown: why the signature cannot be checked.
    pub fn parse_arc(value: &'a [u8]) -> (Shown, Result<Signature<'a>, Reason>) {
        match Tags::parse(value) {
            Ok(tags) => {
                let shown = Shown { identity: String::new(), ..show(&tags) };
                let signature = read(&tags, &shown, Form::Arc);
                (shown, signature)
            }
            Err(error) => (Shown::default(), Err(Reason::Syntax(error))),
        }
    }

    /// The names in `h=`, in their order.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        colon_list(self.names)
    }
}

/// The two fields that are written alike.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Dkim,
    Arc,
}

pub(in crate::authn) fn show(tags: &Tags<'_>) -> Shown {
    let domain = tags.get("d").and_then(|text| domain(text, 2)).unwrap_or_default();
    let selector = tags.get("s").and_then(|text| std::str::from_utf8(text).ok());
    let selector = selector.and_then(selector_name).unwrap_or_default();
    let identity = match tags.get("i") {
        Some(text) => {
            identity(text).map_or_else(String::new, |(local, of)| format!("{local}@{of}"))
        }
        None if domain.is_empty() => String::new(),
        None => format!("@{domain}"),
    };
    let b = tags.get("b").unwrap_or_default();
    let letters = b.iter().filter(|octet| octet.is_ascii_alphanumeric() || b"+/=".contains(octet));
    let start_of_b = letters.take(8).map(|octet| char::from(*octet)).collect();
    let algorithm = tags.get("a").and_then(Algorithm::of_name);
    Shown { domain, selector, identity, algorithm, start_of_b }
}

/// Local part, made fit to be shown, and domain of `i=`.
fn identity(text: &[u8]) -> Option<(String, String)> {
    let text = unquote(text)?;
    let at = text.iter().rposition(|octet| *octet == b'@')?;
    let (local, of) = text.split_at_checked(at)?;
    let of = domain(of.strip_prefix(b"@")?, 2)?;
    Some((crate::mail::headers::clean_utf8(local, LOCAL_PART_MAX), of))
}

fn read<'a>(tags: &Tags<'a>, shown: &Shown, form: Form) -> Result<Signature<'a>, Reason> {
    let needed = |tag: &'static str| tags.get(tag).ok_or(Reason::Missing(tag));
    if form == Form::Dkim && needed("v")? != b"1" {
        return Err(Reason::Version);
    }
    let algorithm = algorithm(tags, shown)?;
    let (header_canon, body_canon) = canons(tags.get("c"))?;
    if tags.get("q").is_some_and(|methods| !colon_list(methods).any(is_dns)) {
        return Err(Reason::Query);
    }
    named(tags, shown)?;
    let of = match (form, shown.identity.rsplit_once('@')) {
        (Form::Arc, _) => shown.domain.as_str(),
        (Form::Dkim, Some((_, of))) if is_below(of, &shown.domain) => of,
        (Form::Dkim, Some(_)) => return Err(Reason::Identity),
        (Form::Dkim, None) => return Err(Reason::Bad("i")),
    };
    let names = names(needed("h")?)?;
    let digits = |tag: &'static str, most| {
        tags.get(tag).map(|text| number(text, most).ok_or(Reason::Bad(tag))).transpose()
    };
    let (time, expires) = (digits("t", 20)?, digits("x", 20)?);
    if let (Some(time), Some(expires)) = (time, expires)
        && expires <= time
    {
        return Err(Reason::Bad("x"));
    }
    let body_hash = base64(needed("bh")?, 32).and_then(|hash| hash.try_into().ok());
    let signature = signature(tags)?;
    Ok(Signature {
        algorithm,
        signature,
        body_hash: body_hash.ok_or(Reason::Bad("bh"))?,
        header_canon,
        body_canon,
        names,
        length: digits("l", 76)?,
        time,
        expires,
        is_strict: of == shown.domain,
        hole: tags.place("b").unwrap_or_default(),
    })
}

/// `a=`, if signatures of its kind count.
pub(in crate::authn) fn algorithm(tags: &Tags<'_>, shown: &Shown) -> Result<Algorithm, Reason> {
    tags.get("a").ok_or(Reason::Missing("a"))?;
    match shown.algorithm.ok_or(Reason::Algorithm)? {
        // Whatever else it says.
        Algorithm::RsaSha1 => Err(Reason::Sha1),
        algorithm => Ok(algorithm),
    }
}

/// `d=` and `s=` are there, and are names.
pub(in crate::authn) fn named(tags: &Tags<'_>, shown: &Shown) -> Result<(), Reason> {
    tags.get("d").ok_or(Reason::Missing("d"))?;
    tags.get("s").ok_or(Reason::Missing("s"))?;
    match (shown.domain.as_str(), shown.selector.as_str()) {
        ("", _) => Err(Reason::Bad("d")),
        (_, "") => Err(Reason::Bad("s")),
        _ => Ok(()),
    }
}

/// `b=`, decoded.
pub(in crate::authn) fn signature(tags: &Tags<'_>) -> Result<Vec<u8>, Reason> {
    let text = tags.get("b").ok_or(Reason::Missing("b"))?;
    base64(text, SIGNATURE_MAX).ok_or(Reason::Bad("b"))
}

fn is_dns(method: &[u8]) -> bool {
    method.eq_ignore_ascii_case(b"dns/txt") || method.eq_ignore_ascii_case(b"dns")
}

/// `c=HEADER/BODY`; what is not said is simple.
fn canons(text: Option<&[u8]>) -> Result<(Canon, Canon), Reason> {
    let Some(text) = text else { return Ok((Canon::Simple, Canon::Simple)) };
    let mut parts = text.splitn(2, |octet| *octet == b'/');
    let header = parts.next().and_then(Canon::of_name).ok_or(Reason::Bad("c"))?;
    let body = parts.next().map_or(Some(Canon::Simple), Canon::of_name).ok_or(Reason::Bad("c"))?;
    Ok((header, body))
}

/// `h=`, in which `From` must stand.
fn names(text: &[u8]) -> Result<&[u8], Reason> {
    let (mut count, mut has_from) = (0, false);
    for name in colon_list(text) {
        count += 1;
        has_from |= name.eq_ignore_ascii_case(b"from");
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(Reason::Bad("h"));
        }
        if count > NAMES_MAX {
            return Err(Reason::TooManyNames);
        }
    }
    if has_from { Ok(text) } else { Err(Reason::FromNotSigned) }
}

/// Checks on any input: no panic, what can be asked for is a name, and what is kept is short.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    super::tags::fuzz(data);
    let (shown, signature) = Signature::parse(data);
    let is_name = |text: &str| {
        text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet))
    };
    assert!(is_name(&shown.domain) && is_name(&shown.selector) && shown.start_of_b.len() <= 8);
    assert!(!shown.identity.contains(char::is_control));
    let Ok(signature) = signature else { return };
    assert!(!shown.domain.is_empty() && !shown.selector.is_empty());
    assert!(signature.signature.len() <= SIGNATURE_MAX && signature.names().count() <= NAMES_MAX);
    assert!(data.get(signature.hole.clone()).is_some());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::dkim::tags::TagError;

    const GOOD: &str = "v=1; a=ed25519-sha256; c=relaxed/simple; d=Example.COM; s=Sel; \
        i=j=6Fe@mail.example.com; q=dns/txt; t=1528637909; x=1528637910; l=5; \
        h=from : to:\r\n subject; bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=; \
        b=AQ ID\r\n BA==";

    fn parse(text: &str) -> (Shown, Result<(), Reason>) {
        let (shown, signature) = Signature::parse(text.as_bytes());
        (shown, signature.map(|_| ()))
    }

    #[test]
    fn a_signature_in_all_its_parts() {
        let (shown, signature) = Signature::parse(GOOD.as_bytes());
        assert_eq!((&*shown.domain, &*shown.selector), ("example.com", "Sel"));
        assert_eq!((&*shown.identity, &*shown.start_of_b), ("joe@mail.example.com", "AQIDBA=="));
        let signature = signature.expect("it is good");
        assert_eq!(signature.algorithm, Algorithm::Ed25519Sha256);
        assert_eq!(signature.signature, [1, 2, 3, 4]);
        assert_eq!((signature.header_canon, signature.body_canon), (Canon::Relaxed, Canon::Simple));
        assert_eq!((signature.length, signature.time), (Some(5), Some(1_528_637_909)));
        assert!(!signature.is_strict);
        assert!(signature.names().eq([&b"from"[..], b"to", b"subject"]));
        assert_eq!(GOOD.get(signature.hole), Some("AQ ID\r\n BA=="));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (from, to, expected) in [
            ("v=1", "v=2", Err(Reason::Version)),
            ("v=1;", "", Err(Reason::Missing("v"))),
            ("a=ed25519-sha256", "a=rsa-sha512", Err(Reason::Algorithm)),
            ("a=ed25519-sha256;", "", Err(Reason::Missing("a"))),
            ("a=ed25519-sha256; c=relaxed/simple", "a=rsa-sha1; c=x", Err(Reason::Sha1)),
            ("a=ed25519-sha256", "a=RSA-SHA256", Ok(())),
            ("c=relaxed/simple;", "", Ok(())),
            ("c=relaxed/simple", "c=relaxed", Ok(())),
            ("c=relaxed/simple", "c=nowsp", Err(Reason::Bad("c"))),
            ("c=relaxed/simple", "c=relaxed/", Err(Reason::Bad("c"))),
            ("q=dns/txt", "q=finger:dns/txt", Ok(())),
            ("q=dns/txt", "q=finger", Err(Reason::Query)),
            ("d=Example.COM", "d=a..b", Err(Reason::Bad("d"))),
            ("d=Example.COM", "d=com", Err(Reason::Bad("d"))),
            ("d=Example.COM;", "", Err(Reason::Missing("d"))),
            ("s=Sel", "s=a b", Err(Reason::Bad("s"))),
            ("s=Sel", "s=sel._domainkey.attack.com\u{1}", Err(Reason::Syntax(TagError::BadValue))),
            ("d=Example.COM", "d=legit.com'a.attack.com", Err(Reason::Bad("d"))),
            ("i=j=6Fe@mail.example.com;", "", Ok(())),
            ("mail.example.com", "example.com", Ok(())),
            ("mail.example.com", "other.example", Err(Reason::Identity)),
            ("mail.example.com", "anexample.com", Err(Reason::Identity)),
            ("j=6Fe@mail", "joe.mail", Err(Reason::Bad("i"))),
            ("t=1528637909", "t=0", Ok(())),
            ("t=1528637909", "t=-1", Err(Reason::Bad("t"))),
            ("x=1528637910", "x=1528637909", Err(Reason::Bad("x"))),
            ("x=1528637910", "x=99999999999999999999", Ok(())),
            ("l=5", "l=five", Err(Reason::Bad("l"))),
            ("h=from : to", "h=sender : to", Err(Reason::FromNotSigned)),
            ("h=from : to", "h=from : : to", Err(Reason::Bad("h"))),
            ("h=from : to", "h=FROM : t o", Err(Reason::Bad("h"))),
            ("bh=AAAA", "bh=", Err(Reason::Bad("bh"))),
            ("bh=AAAA", "bh=AAAAAAAA", Err(Reason::Bad("bh"))),
            ("b=AQ ID", "b=A*", Err(Reason::Bad("b"))),
            ("b=AQ ID\r\n BA==", "b=", Err(Reason::Bad("b"))),
            ("b=AQ ID", "fh=x; r=y; b=AQ ID", Ok(())),
            ("b=AQ ID", "l=6; b=AQ ID", Err(Reason::Syntax(TagError::Repeated))),
        ] {
            assert!(GOOD.contains(from), "{from}");
            assert_eq!(parse(&GOOD.replacen(from, to, 1)).1, expected, "{from} -> {to}");
        }
    }

    /// Nothing that a field can hold makes more than its own length of work, or is kept.
    #[test]
    fn bounds() {
        let long_b = GOOD.replacen("b=AQ ID", &format!("b={}", "A".repeat(1 << 20)), 1);
        let (shown, found) = parse(&long_b);
        assert_eq!((found, shown.start_of_b.len()), (Err(Reason::Bad("b")), 8));
        for (names, expected) in
            [(NAMES_MAX - 3, Ok(())), (NAMES_MAX - 2, Err(Reason::TooManyNames))]
        {
            let many = GOOD.replacen("h=from", &format!("h=from{}", ":x".repeat(names)), 1);
            assert_eq!(parse(&many).1, expected, "{names}");
        }
        let (shown, found) = parse(&"a=b;".repeat(100_000));
        assert_eq!((shown, found), (Shown::default(), Err(Reason::Syntax(TagError::Repeated))));
        let long_i = GOOD.replacen("j=6Fe@", &format!("{}\u{1f600}@", "x".repeat(500)), 1);
        assert!(parse(&long_i).0.identity.len() < 100);
    }
}
