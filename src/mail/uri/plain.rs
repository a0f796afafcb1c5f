//! URIs in plain text: what a mail client makes a link of.
//!
//! Clients look for a scheme they know (`http:`, `https:`, `ftp:`, `mailto:`), wherever in a word it
//! begins, and for words that are host names under a known suffix, with or without a path, or addresses.
//! What stands between them is guessed from SpamAssassin's tests, which were made from what Thunderbird
//! and Outlook do.
//!
//! The scan jumps from dot to colon, since every URI has one; each octet is looked at a bounded number of
//! times.

use super::host::Host;
use super::{Found, Scheme, Uri};
use crate::mail::mime::percent_decode;
use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// Octets of a URI that are looked at.
const URI_MAX: usize = 4_096;

/// Octets before and behind a dot that may be a host name.
const HOST_MAX: usize = 255;

/// Octets of a local part before an `@`.
const LOCAL_MAX: usize = 128;

/// Octets of a user's name and password, or a port, behind a name that begins with `www.`.
const USER_MAX: usize = 64;

/// Times that a URI within a URI is decoded to find a further one.
const NESTED_MAX: usize = 3;

/// Finds the URIs in a text. Without `guess` only those with a scheme.
pub(super) fn scan(text: &[u8], guess: bool, found: &mut Found<'_>) {
    scan_nested(text, guess, 0, found);
}

/// Finds further URIs in what is one already, behind its scheme: those that are written out, and those
/// that are hidden by `%XX`, even several times.
pub(super) fn scan_inside(text: &[u8], found: &mut Found<'_>) {
    scan(text, false, found);
    let mut text = Cow::Borrowed(text.get(..URI_MAX).unwrap_or(text));
    for depth in 1..=NESTED_MAX {
        if memchr(b'%', &text).is_none() {
            return;
        }
        let mut decoded = Vec::new();
        percent_decode(&text, &mut decoded);
        scan_nested(&decoded, false, depth, found);
        text = Cow::Owned(decoded);
    }
}

/// `depth` is how often the text was decoded.
fn scan_nested(text: &[u8], guess: bool, depth: usize, found: &mut Found<'_>) {
    let mut scan = Scan { text, done: 0, inside: 0, depth };
    let mut from = 0;
    while let Some(rest) = text.get(from..) {
        let next = if guess { memchr2(b'.', b':', rest) } else { memchr(b':', rest) };
        let Some(at) = next.map(|at| from + at) else { return };
        let end = if text.get(at) == Some(&b':') {
            scan.with_scheme(at, found)
        } else if at < scan.inside {
            None
        } else {
            scan.guessed(at, found)
        };
        from = end.unwrap_or(at + 1);
        // A word before an `@` may still be the end of a local part.
        if let Some(end) = end.filter(|end| text.get(*end) != Some(&b'@')) {
            scan.done = scan.done.max(end);
        }
        if found.is_full() {
            return;
        }
    }
}

struct Scan<'t> {
    text: &'t [u8],
    /// What stands before was looked at; no word begins there.
    done: usize,
    /// Up to here a URI reaches, in which only further schemes count.
    inside: usize,
    depth: usize,
}

impl Scan<'_> {
    fn get(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    /// A URI whose scheme ends at the colon. Gives where to go on.
    fn with_scheme(&mut self, colon: usize, found: &mut Found<'_>) -> Option<usize> {
        let before = self.text.get(..colon)?;
        let ends = |name: &str| {
            let start = before.len().checked_sub(name.len())?;
            before.get(start..)?.eq_ignore_ascii_case(name.as_bytes()).then_some(start)
        };
        let known = [
            ("https", Scheme::Https),
            ("http", Scheme::Http),
            ("ftp", Scheme::Ftp),
            ("mailto", Scheme::Mail),
        ];
        let (start, scheme) =
            known.into_iter().find_map(|(name, scheme)| Some((ends(name)?, scheme)))?;
        let behind = self.text.get(colon + 1..)?;
        let slashes = behind.iter().take_while(|octet| is_slash(**octet)).take(8).count();
        if scheme == Scheme::Mail {
            return self.mail_with_scheme(start, colon + 1 + slashes, found);
        }
        if slashes == 0 {
            return None;
        }
        let authority = colon + 1 + slashes;
        let rest = self.text.get(authority..)?;
        let (host, length) = authority_host(rest.get(..URI_MAX).unwrap_or(rest))?;
        // One that lies in another ends with it; to look for its end again would cost the square.
        let end = if start < self.inside { self.inside } else { self.end(authority) };
        let text = self.text.get(start..end.max(authority + length))?;
        found.give(&Uri { text, scheme, guessed: false, host });
        self.nested(start, end, found);
        Some(authority + length)
    }

    /// Looks for a URI that is hidden in the one from `start` to `end` by `%XX`. One that lies in another
    /// is looked at with that, so each octet is decoded once.
    fn nested(&mut self, start: usize, end: usize, found: &mut Found<'_>) {
        let outer = start >= self.inside;
        self.inside = self.inside.max(end);
        let text = self.text.get(start..end).unwrap_or_default();
        if outer && self.depth < NESTED_MAX && memchr(b'%', text).is_some() {
            let mut decoded = Vec::new();
            percent_decode(text, &mut decoded);
            // The URI itself was found; a further one begins behind it.
            let first = memchr(b':', &decoded).map_or(0, |colon| colon + 1);
            if decoded != text {
                scan_nested(decoded.get(first..).unwrap_or_default(), false, self.depth + 1, found);
            }
        }
    }

    fn mail_with_scheme(&self, start: usize, local: usize, found: &mut Found<'_>) -> Option<usize> {
        let rest = self.text.get(local..)?;
        let window = rest.get(..LOCAL_MAX).unwrap_or(rest);
        let length = window.iter().take_while(|octet| is_local(**octet)).count();
        if length == 0 || self.get(local + length) != Some(b'@') {
            return None;
        }
        let host_start = local + length + 1;
        let (host, end) = self.host_at(host_start)?;
        if self.get(end) == Some(b'@') {
            return None;
        }
        let text = self.text.get(start..end)?;
        found.give(&Uri { text, scheme: Scheme::Mail, guessed: false, host });
        Some(end)
    }

    /// A host name or address around the dot, without a scheme. Gives where to go on.
    fn guessed(&mut self, dot: usize, found: &mut Found<'_>) -> Option<usize> {
        let beside = |at: Option<usize>| at.and_then(|at| self.get(at)).is_some_and(is_inner);
        if !beside(dot.checked_sub(1)) || !beside(Some(dot + 1)) {
            return None;
        }
        let (start, end) = self.run(dot);
        let found_end = self.word(start, end, found);
        if found_end.is_none() && !self.text.get(start..end)?.is_ascii() {
            // Letters of another script may stand beside a name without a blank between.
            let (start, end) = self.ascii_run(dot);
            return Some(self.word(start, end, found).unwrap_or(end));
        }
        Some(found_end.unwrap_or(end))
    }

    /// The octets around the dot that may be in a host name.
    fn run(&self, dot: usize) -> (usize, usize) {
        self.run_of(dot, is_host)
    }

    fn ascii_run(&self, dot: usize) -> (usize, usize) {
        self.run_of(dot, |octet| octet.is_ascii() && is_host(octet))
    }

    fn run_of(&self, dot: usize, is: impl Fn(u8) -> bool) -> (usize, usize) {
        let first = self.done.max(dot.saturating_sub(HOST_MAX));
        let before = self.text.get(first..dot).unwrap_or_default();
        let start = before.iter().rposition(|octet| !is(*octet)).map_or(first, |at| first + at + 1);
        let behind = self.text.get(dot..).unwrap_or_default();
        let window = behind.get(..HOST_MAX).unwrap_or(behind);
        let length = window.iter().position(|octet| !is(*octet)).unwrap_or(window.len());
        (start, dot + length)
    }

    /// Judges the run of host octets from `start` to `end`. Gives where to go on if it is a URI.
    fn word(&mut self, start: usize, end: usize, found: &mut Found<'_>) -> Option<usize> {
        let edge = |octet: &u8| !matches!(octet, b'.' | b'-');
        let run = self.text.get(start..end)?;
        let first = start + run.iter().position(edge)?;
        let end = start + run.iter().rposition(edge)? + 1;
        let run = self.text.get(first..end)?;
        let before = start.checked_sub(1).and_then(|at| self.get(at));
        let www = run.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"www."));
        if self.get(end) == Some(b'@') && !www {
            return None;
        }
        if before == Some(b'@') && self.mail(first, found).is_some() {
            return Some(end);
        }
        if !before.is_none_or(may_begin) {
            return None;
        }
        let (host, behind) = if www && matches!(self.get(end), Some(b':' | b'@')) {
            let rest = self.text.get(first..)?;
            let (host, length) = authority_host(rest.get(..run.len() + USER_MAX).unwrap_or(rest))?;
            (host, first + length)
        } else {
            let completed = || if www { completed(run, b"") } else { None };
            (public(run).or_else(completed)?, end)
        };
        // Addresses without a scheme are numbers of something else.
        if matches!(host, Host::Ip(_)) {
            return None;
        }
        let text_end = self.behind(first, behind)?;
        let ftp = run.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"ftp."));
        let scheme = if ftp { Scheme::Ftp } else { Scheme::Http };
        found.give(&Uri { text: self.text.get(first..text_end)?, scheme, guessed: true, host });
        self.nested(first, text_end, found);
        Some(end)
    }

    /// An address whose host begins at `host_start`.
    fn mail(&self, host_start: usize, found: &mut Found<'_>) -> Option<()> {
        let at = host_start.checked_sub(1)?;
        let first = self.done.max(at.saturating_sub(LOCAL_MAX)).min(at);
        let before = self.text.get(first..at)?;
        let local = before.iter().rev().take_while(|octet| is_local(**octet)).count();
        let start = at - local;
        let ahead = start.checked_sub(1).and_then(|at| self.get(at));
        if local == 0 || ahead == Some(b'@') {
            return None;
        }
        let (host, end) = self.host_at(host_start)?;
        if self.get(end) == Some(b'@') {
            return None;
        }
        let text = self.text.get(start..end)?;
        found.give(&Uri { text, scheme: Scheme::Mail, guessed: true, host });
        Some(())
    }

    /// The public host name that begins at `start`, and where it ends.
    fn host_at(&self, start: usize) -> Option<(Host, usize)> {
        let rest = self.text.get(start..)?;
        let window = rest.get(..HOST_MAX).unwrap_or(rest);
        let run = window.iter().position(|octet| !is_host(*octet)).unwrap_or(window.len());
        let run = window.get(..run)?;
        let length = run.iter().rposition(|octet| !matches!(octet, b'.' | b'-'))? + 1;
        let host = public(run.get(..length)?)?;
        Some((host, start + length))
    }

    /// The end of a guessed URI that begins at `start`: behind its host come a port and a path, or
    /// something else.
    fn behind(&self, start: usize, end: usize) -> Option<usize> {
        let rest = self.text.get(end..).unwrap_or_default();
        let digits = match rest {
            [b':', digits @ ..] => {
                digits.iter().take(5).take_while(|octet| octet.is_ascii_digit()).count()
            }
            _ => 0,
        };
        let port = if digits > 0 { digits + 1 } else { 0 };
        let goes_on = !rest.get(port + 1).is_none_or(|octet| is_end(*octet));
        match rest.get(port) {
            Some(b'/' | b'?' | b'#') => Some(self.end(start)),
            Some(octet) if goes_on && b"=(%$&~+^".contains(octet) => None,
            _ => Some(start + trimmed(self.text.get(start..end + port)?)),
        }
    }

    /// Where a URI that begins at `start` ends: before a blank or a mark that is in none, without the
    /// punctuation of the sentence around it.
    fn end(&self, start: usize) -> usize {
        let rest = self.text.get(start..).unwrap_or_default();
        let window = rest.get(..URI_MAX).unwrap_or(rest);
        // Brackets hold an IPv6 address.
        let bracket = match window {
            [b'[', inside @ ..] => {
                inside.iter().take(50).position(|octet| *octet == b']').map(|at| at + 2)
            }
            _ => None,
        };
        let from = bracket.unwrap_or(0);
        let behind = window.get(from..).unwrap_or_default();
        let length = behind.iter().position(|octet| is_end(*octet)).unwrap_or(behind.len());
        start + from + trimmed(behind.get(..length).unwrap_or_default())
    }
}

/// The length of a URI without the punctuation at its end.
fn trimmed(text: &[u8]) -> usize {
    let last = text
        .iter()
        .rposition(|octet| octet.is_ascii_alphanumeric() || !octet.is_ascii() || is_slash(*octet));
    last.map_or(0, |at| at + 1)
}

/// The host in what stands behind `//`, if it leads anywhere, and the length up to its end with what
/// belongs to it.
pub(super) fn authority_host(text: &[u8]) -> Option<(Host, usize)> {
    let bracket = |octet: u8| matches!(octet, b'[' | b']');
    let end = |octet: &u8| {
        matches!(octet, b'/' | b'\\' | b'?' | b'#') || (is_end(*octet) && !bracket(*octet))
    };
    let length = text.iter().position(end).unwrap_or(text.len());
    let authority = text.get(..length)?;
    let at = memchr::memrchr(b'@', authority).map_or(0, |at| at + 1);
    let behind = authority.get(at..)?;
    let bracket =
        if behind.starts_with(b"[") { memchr(b']', behind).map(|at| at + 1) } else { None };
    let colon = bracket.or_else(|| memchr(b':', behind)).unwrap_or(behind.len());
    let written = behind.get(..colon)?;
    if let Some(host) = public(written).or_else(|| completed(written, behind.get(colon..)?)) {
        return Some((host, length));
    }
    // In text without blanks, letters of another script or punctuation may follow at once.
    let inside = |octet: &&u8| octet.is_ascii() && (is_host(**octet) || **octet == b'%');
    let start = written.get(..written.iter().take_while(inside).count())?;
    let start = start.get(..=start.iter().rposition(|octet| !matches!(octet, b'.' | b'-'))?)?;
    Some((public(start).filter(|_| start.len() < written.len())?, at + start.len()))
}

/// A host that leads somewhere: an address, or a name under a public suffix.
pub(super) fn public(written: &[u8]) -> Option<Host> {
    let host = Host::parse(written)?;
    match &host {
        Host::Name(name) => name.is_public().then_some(host),
        Host::Ip(_) => Some(host),
    }
}

/// `www.example` without more: browsers try `.com` behind it.
fn completed(written: &[u8], port: &[u8]) -> Option<Host> {
    let label = written.get(..4).filter(|start| start.eq_ignore_ascii_case(b"www."))?;
    let label = written.get(label.len()..)?;
    let alone = !label.is_empty() && memchr(b'.', label).is_none();
    if !alone || !matches!(port, b"" | b":" | b":80") {
        return None;
    }
    public(&[written, b".com"].concat())
}

fn is_slash(octet: u8) -> bool {
    matches!(octet, b'/' | b'\\')
}

/// Octets that may be in a host name, of other scripts too.
fn is_host(octet: u8) -> bool {
    is_inner(octet) || octet == b'.'
}

fn is_inner(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_') || !octet.is_ascii()
}

/// Octets of a local part that clients take into a link.
fn is_local(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b".!#$%&'*+-/=?^_~".contains(&octet)
}

/// What may stand before a host name without a scheme.
fn may_begin(octet: u8) -> bool {
    is_end(octet) || b"',(\\=@;*!~".contains(&octet) || !octet.is_ascii()
}

/// What is in no URI: blanks, controls, and brackets and quotes that stand around one.
pub(super) fn is_end(octet: u8) -> bool {
    octet <= b' ' || octet == 0x7f || b"<>\"`{}[]|".contains(&octet)
}
