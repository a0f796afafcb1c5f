//! Envelope addresses: the paths of MAIL and RCPT and the parameters behind them.
//!
//! What a client writes as a path decides what is relayed, where it is delivered and which domain
//! SPF and DMARC judge, so there is exactly one reading of it: the grammar of RFC 5321 section
//! 4.1.2 and 4.1.3 with the additions of RFC 6531. The local part ends at the first `@` outside
//! quotes and all behind it has to be a domain; a second `@`, a comment or a blank is an error and
//! never a reason to look for another split. Percent signs, exclamation marks and what stands
//! inside quotes are letters of a name and nothing more.
//!
//! Two things are laxer than the RFC because real mail needs them: underscores in domains, and
//! misplaced dots behind the first character of a local part (`u..x`, `u.`).

mod domain;
mod parameter;
mod punycode;

use crate::limits::{DOMAIN_MAX, LOCAL_PART_MAX, PATH_MAX};
pub use parameter::{Parameter, parameters};
use std::borrow::Cow;
use std::fmt::{self, Debug, Display, Formatter, Write};
use std::hash::{Hash, Hasher};

// The lengths inside an address are kept in one octet each.
const _: () = assert!(LOCAL_PART_MAX <= u8::MAX as usize);
const _: () = assert!(DOMAIN_MAX <= u8::MAX as usize);

/// A mailbox as it stands in the envelope.
///
/// Two addresses are equal when local part (case counts) and canonical domain are, so a domain in
/// U-labels equals the same one in A-labels.
#[derive(Clone)]
pub struct Address {
    /// Local part, canonical domain, and the domain as written if that had U-labels, without
    /// anything between them. One allocation, since every waiting session carries its envelope.
    text: Box<str>,
    local_len: u8,
    domain_len: u8,
}

/// The sender's path of MAIL (RFC 5321 section 4.1.2, `Reverse-path`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: a bounce or another notice that must not be answered.
    Null,
    /// A sender to whom failures are reported.
    Mailbox(Address),
}

/// Why a path or its parameters were not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// The path does not start with `<`.
    NoBrackets,
    /// The grammar is not kept; the text says where.
    Syntax(&'static str),
    /// A bound is passed; the text names what is too long.
    TooLong(&'static str),
    /// The path is not ASCII and the client did not say SMTPUTF8 (RFC 6531 section 3.4).
    NeedsUtf8,
}

impl Address {
    fn new(local: &str, domain: &domain::Domain) -> Self {
        let written = domain.written.as_deref().unwrap_or_default();
        Self {
            text: [local, &domain.ascii, written].concat().into_boxed_str(),
            // Both were held to their bounds when they were read.
            local_len: local.len() as u8,
            domain_len: domain.ascii.len() as u8,
        }
    }

    /// The local part without quotes and escapes, its case kept. May hold blanks, `@` and other
    /// marks, and may be empty (`""@example.com`).
    pub fn local(&self) -> &str {
        self.part(0, self.local_len.into())
    }

    /// The domain in the one form for every check: lower case, A-labels for U-labels, address
    /// literals as `[192.0.2.1]` and `[ipv6:2001:db8::1]`. Empty for the bare `postmaster`.
    pub fn domain(&self) -> &str {
        self.part(self.local_len.into(), self.domain_len.into())
    }

    /// `local@domain` without quotes and escapes, for comparison with lists; only the local part
    /// for the bare `postmaster`. Never to be parsed again.
    pub fn plain(&self) -> String {
        match self.domain() {
            "" => self.local().to_owned(),
            domain => [self.local(), "@", domain].concat(),
        }
    }

    /// Whether the next server has to offer SMTPUTF8 for this address: the local part is not
    /// ASCII, or the domain was written with U-labels.
    pub fn needs_utf8(&self) -> bool {
        !self.local().is_ascii() || !self.written().is_empty()
    }

    /// Whether the domain is an address literal (RFC 5321 section 4.1.3).
    pub fn is_literal(&self) -> bool {
        self.domain().starts_with('[')
    }

    /// The domain as the client wrote it, in lower case; empty if it was ASCII.
    fn written(&self) -> &str {
        let start = usize::from(self.local_len) + usize::from(self.domain_len);
        self.text.get(start..).unwrap_or_default()
    }

    fn part(&self, start: usize, len: usize) -> &str {
        self.text.get(start..start + len).unwrap_or_default()
    }
}

/// The form of RFC 5321 without angle brackets. The local part is quoted where it has to be; the
/// domain is the canonical one, or the U-labels as written, in lower case.
impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let local = self.local();
        if is_plain(local) {
            f.write_str(local)?;
        } else {
            f.write_char('"')?;
            for char in local.chars() {
                if matches!(char, '"' | '\\') {
                    f.write_char('\\')?;
                }
                f.write_char(char)?;
            }
            f.write_char('"')?;
        }
        match (self.domain(), self.written()) {
            ("", _) => Ok(()),
            (domain, "") => write!(f, "@{domain}"),
            (_, written) => write!(f, "@{written}"),
        }
    }
}

impl Debug for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.local() == other.local() && self.domain() == other.domain()
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.local().hash(state);
        self.domain().hash(state);
    }
}

impl ReversePath {
    /// The sender's address; none for `<>`.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Mailbox(address) => Some(address),
        }
    }

    /// Whether this is `<>`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// `<>` or the address in angle brackets.
impl Display for ReversePath {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(address) => write!(f, "<{address}>"),
        }
    }
}

impl Display for AddressError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBrackets => f.write_str("no angle brackets"),
            Self::Syntax(what) => f.write_str(what),
            Self::TooLong(what) => write!(f, "{what} too long"),
            Self::NeedsUtf8 => f.write_str("not ASCII, and SMTPUTF8 was not asked for"),
        }
    }
}

impl std::error::Error for AddressError {}

/// Splits what stands behind `FROM:` or `TO:` into the path and its parameters, blanks at either
/// end of both left out.
///
/// A path in angle brackets ends at the first `>` outside quotes; one without them ends at the
/// first blank (a plugin may add the brackets) and may be empty. Only the shape is looked at here;
/// the path goes to [`parse_reverse`] or [`parse_forward`], the rest to [`parameters`].
///
/// # Errors
/// `Syntax` if the bracket is never closed, or is followed by anything but a blank.
pub fn split_path(text: &[u8]) -> Result<(&[u8], &[u8]), AddressError> {
    let text = trim_start(text);
    let end = match text.first() {
        Some(b'<') => closing_bracket(text).ok_or(AddressError::Syntax("no closing bracket"))? + 1,
        _ => text.iter().position(|&byte| is_blank(byte)).unwrap_or(text.len()),
    };
    let (path, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    match rest.first() {
        Some(&byte) if !is_blank(byte) => Err(AddressError::Syntax("text behind the path")),
        _ => Ok((path, trim_end(trim_start(rest)))),
    }
}

/// Reads the path of MAIL, angle brackets included. `utf8` says whether the client asked for
/// SMTPUTF8.
///
/// `<>` is the null path, and so is `<#@[]>`, with which qmail sends the bounce of a bounce.
///
/// # Errors
/// [`AddressError`]; a bare `<postmaster>` is a recipient only (RFC 5321 section 4.1.1.3).
pub fn parse_reverse(path: &[u8], utf8: bool) -> Result<ReversePath, AddressError> {
    match path {
        b"<>" | b"<#@[]>" => Ok(ReversePath::Null),
        _ => mailbox(inside(path, utf8)?).map(ReversePath::Mailbox),
    }
}

/// Reads the path of RCPT, angle brackets included. `utf8` says whether the client asked for
/// SMTPUTF8. The bare `<postmaster>`, in any case, becomes `postmaster` without a domain.
///
/// # Errors
/// [`AddressError`]; `<>` is a `Syntax` error.
pub fn parse_forward(path: &[u8], utf8: bool) -> Result<Address, AddressError> {
    let text = inside(path, utf8)?;
    if text.eq_ignore_ascii_case("postmaster") {
        return Ok(Address::new("postmaster", &domain::Domain::default()));
    }
    mailbox(text)
}

/// A domain name in the form that addresses carry: lower case, A-labels for U-labels (RFC 5890). None for
/// what is no domain name, an address literal too.
pub fn domain_name(text: &str) -> Option<String> {
    let domain = domain::parse(text).ok()?;
    (!domain.ascii.starts_with('[')).then_some(domain.ascii)
}

/// Where the `>` stands that closes the `<` at the start. Quotes hide brackets, and a backslash
/// hides what follows it inside quotes only, as in the grammar of the local part.
fn closing_bracket(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    text.iter().position(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    })
}

/// What stands between the brackets, as text that is safe to log, to store and to pass on.
fn inside(path: &[u8], utf8: bool) -> Result<&str, AddressError> {
    if path.len() > PATH_MAX {
        return Err(AddressError::TooLong("path"));
    }
    let open = path.strip_prefix(b"<").ok_or(AddressError::NoBrackets)?;
    let text = open.strip_suffix(b">").ok_or(AddressError::Syntax("no closing bracket"))?;
    if text.iter().any(u8::is_ascii_control) {
        return Err(AddressError::Syntax("control character"));
    }
    if !utf8 && !text.is_ascii() {
        return Err(AddressError::NeedsUtf8);
    }
    let text = std::str::from_utf8(text).map_err(|_| AddressError::Syntax("not UTF-8"))?;
    if text.chars().any(is_unsafe) {
        return Err(AddressError::Syntax("character that is not for addresses"));
    }
    Ok(text)
}

fn mailbox(text: &str) -> Result<Address, AddressError> {
    let (local, rest) = local_part(behind_route(text)?)?;
    let domain =
        rest.strip_prefix('@').ok_or(AddressError::Syntax("no @ behind the local part"))?;
    Ok(Address::new(&local, &domain::parse(domain)?))
}

/// Drops a source route (`@a,@b:`), as RFC 5321 appendix C asks; its hosts only have to be domains.
fn behind_route(text: &str) -> Result<&str, AddressError> {
    const ERROR: AddressError = AddressError::Syntax("source route");
    if !text.starts_with('@') {
        return Ok(text);
    }
    let mut rest = text;
    loop {
        rest = rest.strip_prefix('@').ok_or(ERROR)?;
        // An IPv6 literal holds colons of its own.
        let end = if rest.starts_with('[') {
            rest.find(']').map(|at| at + 1)
        } else {
            rest.find([',', ':'])
        };
        let (host, tail) = end.and_then(|end| rest.split_at_checked(end)).ok_or(ERROR)?;
        domain::parse(host)?;
        if let Some(mailbox) = tail.strip_prefix(':') {
            return Ok(mailbox);
        }
        rest = tail.strip_prefix(',').ok_or(ERROR)?;
    }
}

/// The local part without quotes, and what follows it. Its length counts as written, quotes and
/// escapes included (RFC 5321 section 4.5.3.1.1).
fn local_part(text: &str) -> Result<(Cow<'_, str>, &str), AddressError> {
    let (local, rest) = match text.strip_prefix('"') {
        Some(inner) => quoted(inner)?,
        None => {
            let end = text.find(|char| !is_plain_char(char)).unwrap_or(text.len());
            let (local, rest) = text.split_at_checked(end).unwrap_or((text, ""));
            if !is_plain(local) {
                return Err(AddressError::Syntax("local part"));
            }
            (Cow::Borrowed(local), rest)
        }
    };
    if text.len() - rest.len() > LOCAL_PART_MAX {
        return Err(AddressError::TooLong("local part"));
    }
    Ok((local, rest))
}

/// The text of a quoted string whose opening quote is gone, and what follows it. RFC 6531 lets
/// UTF-8 into the string but not behind a backslash.
fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), AddressError> {
    let mut local = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => return Ok((Cow::Owned(local), chars.as_str())),
            '\\' => match chars.next() {
                Some(escaped) if escaped.is_ascii() => local.push(escaped),
                _ => return Err(AddressError::Syntax("backslash")),
            },
            _ => local.push(char),
        }
    }
    Err(AddressError::Syntax("quote that is not closed"))
}

/// Whether a local part can stand without quotes: atoms and dots, the first no dot.
fn is_plain(local: &str) -> bool {
    !local.is_empty() && !local.starts_with('.') && local.chars().all(is_plain_char)
}

/// A dot or `atext` (RFC 5322 section 3.2.3, RFC 6531 section 3.3).
fn is_plain_char(char: char) -> bool {
    !char.is_ascii() || char.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(char)
}

/// Characters that nobody's name holds and that forge what a person reads: control characters,
/// line ends, marks that turn the direction of writing, and code points that are no characters.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FDD0}'..='\u{FDEF}')
        || u32::from(char) & 0xFFFE == 0xFFFE
}

/// Unlike the trimming of std, this leaves line ends where they are, to be refused.
fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Fuzz entry: whatever the octets are, a path that is accepted reads back as itself, keeps every
/// bound, and holds nothing that ends a line.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    parameter::fuzz(data);
    let Ok((path, rest)) = split_path(data) else { return };
    assert!(path.len() + rest.len() <= data.len());
    for utf8 in [false, true] {
        let Ok(address) = parse_forward(path, utf8) else { continue };
        let bracketed = format!("<{address}>");
        assert_eq!(parse_forward(bracketed.as_bytes(), utf8).as_ref(), Ok(&address), "{address}");
        assert_eq!(split_path(bracketed.as_bytes()), Ok((bracketed.as_bytes(), &b""[..])));
        assert_eq!(address.needs_utf8(), !bracketed.is_ascii());
        assert!(utf8 || !address.needs_utf8());
        assert!(address.local().len() <= LOCAL_PART_MAX && address.domain().len() <= DOMAIN_MAX);
        assert!(!bracketed.chars().any(is_unsafe) && !address.plain().chars().any(is_unsafe));
        let domain = address.domain();
        assert!(domain.is_ascii() && !domain.contains([' ', '@', '<', '>', '"', ',']));
        assert!(!domain.bytes().any(|byte| byte.is_ascii_uppercase()));
        if domain.is_empty() {
            assert_eq!(address.plain(), "postmaster");
        } else {
            assert_eq!(parse_reverse(path, utf8), Ok(ReversePath::Mailbox(address)));
        }
    }
}

#[cfg(test)]
mod tests;
