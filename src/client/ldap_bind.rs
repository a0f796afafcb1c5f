//! Asks an LDAP server whether a password is right: looks for the user's entry and binds as it
//! (RFC 4511).
//!
//! Two requests on one connection: an anonymous search below a base for the one entry whose attribute
//! has the user's name, then a simple bind with its name and the password. The name is sent as an
//! octet string of BER, not within the text of a filter, so nothing in it can change the question. The
//! connection is in clear, as qpsmtpd's plugin `auth_ldap_bind` has it: for a server on this machine.
//!
//! No such entry, `invalidCredentials` (49) and `inappropriateAuthentication` (48: the entry has no
//! password) are no; every other code but success is a fault, and so are several entries. An empty
//! password is never sent: a server would take it for an anonymous bind and say yes (RFC 4513
//! section 5.1.2).

use crate::client::deadline::Deadline;
use crate::client::stream::{Place, Stream};
use crate::client::{Fault, secret};
use crate::mail::headers::clean;
use crate::smtp::auth::Password;
use zeroize::Zeroizing;

/// Longest message of the server in octets.
const MESSAGE_MAX: usize = 64 * 1_024;

/// Messages before the end of the search: one entry more than there may be, and some references.
const MESSAGES_MAX: usize = 20;

/// Octets of the server's words that are logged.
const WORDS_MAX: usize = 200;

/// Tags of BER that are used here.
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0A;
const SEQUENCE: u8 = 0x30;

/// Tags of requests and responses (RFC 4511 section 4).
const BIND: u8 = 0x60;
const BOUND: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const FOUND: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EQUALS: u8 = 0xA3;
const SIMPLE: u8 = 0x80;

/// Result codes.
const SUCCESS: u32 = 0;
const TOO_MANY: u32 = 4;
const NO_PASSWORD: u32 = 48;
const WRONG_PASSWORD: u32 = 49;

/// The requests' numbers.
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;

const NOT_LDAP: &str = "it does not answer as an LDAP server";

/// Where users are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Directory<'a> {
    /// The server.
    pub place: Place<'a>,
    /// The entry below which they are, as `ou=people,dc=example,dc=com`.
    pub base: &'a str,
    /// The attribute that holds the user's name, as `uid`.
    pub attribute: &'a str,
}

/// Asks.
///
/// # Errors
/// The server cannot be reached, does not answer as an LDAP server or not in time, cannot search or
/// bind, or has several entries of this name.
pub fn check(
    directory: &Directory<'_>,
    user: &str,
    password: &Password,
    deadline: Deadline,
) -> Result<bool, Fault> {
    if user.is_empty() || password.reveal().is_empty() {
        return Ok(false);
    }
    let mut stream = Stream::connect(directory.place, deadline)?;
    stream.send(&search(directory, user))?;
    let verdict = match found(&mut stream)? {
        None => false,
        Some(entry) => {
            stream.send(&bind(&entry, password))?;
            bound(&mut stream)?
        }
    };
    // What it makes of this does not matter any more.
    let _farewell = stream.send(&message(THIRD, &element(UNBIND, &[])));
    Ok(verdict)
}

fn search(directory: &Directory<'_>, user: &str) -> Zeroizing<Vec<u8>> {
    let filter: [&[u8]; 2] =
        [&element(OCTETS, &[directory.attribute.as_bytes()]), &element(OCTETS, &[user.as_bytes()])];
    let request = element(
        SEARCH,
        &[
            &element(OCTETS, &[directory.base.as_bytes()]),
            // The whole subtree; aliases are not followed.
            &element(ENUMERATED, &[&[2]]),
            &element(ENUMERATED, &[&[0]]),
            // Two entries show that there are several. No limit of time: the deadline is ours.
            &element(INTEGER, &[&[2]]),
            &element(INTEGER, &[&[0]]),
            &element(BOOLEAN, &[&[0]]),
            &element(EQUALS, &filter),
            // No attributes (RFC 4511 section 4.5.1.8).
            &element(SEQUENCE, &[&element(OCTETS, &[b"1.1"])]),
        ],
    );
    message(FIRST, &request)
}

fn bind(entry: &[u8], password: &Password) -> Zeroizing<Vec<u8>> {
    let parts: [&[u8]; 3] = [
        &element(INTEGER, &[&[3]]),
        &element(OCTETS, &[entry]),
        &element(SIMPLE, &[password.reveal().as_bytes()]),
    ];
    message(SECOND, &element(BIND, &parts))
}

fn message(number: u8, operation: &[u8]) -> Zeroizing<Vec<u8>> {
    element(SEQUENCE, &[&element(INTEGER, &[&[number]]), operation])
}

/// An element of BER: tag, length, content.
fn element(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let octets = length.to_be_bytes();
    let long: &[u8] = octets
        .iter()
        .position(|octet| *octet != 0)
        .map_or(&[], |first| octets.get(first..).unwrap_or_default());
    let short = [u8::try_from(length).unwrap_or_default()];
    let head = [tag, 0x80 | u8::try_from(long.len()).unwrap_or_default()];
    let head: [&[u8]; 2] = match length {
        0x00..=0x7F => [head.get(..1).unwrap_or_default(), &short],
        _ => [&head, long],
    };
    secret(&[&head, parts].concat())
}

/// The name of the entry that was found.
fn found(stream: &mut Stream) -> Result<Option<Vec<u8>>, Fault> {
    let mut entry = None;
    for _ in 0..MESSAGES_MAX {
        let message = receive(stream)?;
        let (tag, mut content) = response(&message, FIRST)?;
        match tag {
            ENTRY => {
                let name = expect(&mut content, OCTETS)?.to_vec();
                if name.is_empty() {
                    return Err("the entry has no name".into());
                }
                if entry.replace(name).is_some() {
                    return Err("several entries have this name".into());
                }
            }
            REFERENCE => {}
            FOUND => {
                return match result(content)? {
                    (SUCCESS, _) => Ok(entry),
                    (TOO_MANY, _) => Err("several entries have this name".into()),
                    (code, words) => Err(said("it cannot search", code, words)),
                };
            }
            _ => return Err(NOT_LDAP.into()),
        }
    }
    Err("it talks too much".into())
}

fn bound(stream: &mut Stream) -> Result<bool, Fault> {
    let message = receive(stream)?;
    match response(&message, SECOND)? {
        (BOUND, content) => match result(content)? {
            (SUCCESS, _) => Ok(true),
            (WRONG_PASSWORD | NO_PASSWORD, _) => Ok(false),
            (code, words) => Err(said("it cannot tell", code, words)),
        },
        _ => Err(NOT_LDAP.into()),
    }
}

fn said(what: &str, code: u32, words: &[u8]) -> Fault {
    match clean(words, WORDS_MAX).trim() {
        "" => format!("{what}: code {code}").into(),
        words => format!("{what}: code {code}, {words}").into(),
    }
}

/// The content of the next message.
fn receive(stream: &mut Stream) -> Result<Vec<u8>, Fault> {
    let head = stream.exactly(2)?;
    let [SEQUENCE, first] = head.as_slice() else { return Err(NOT_LDAP.into()) };
    let length = match first {
        0x00..=0x7F => usize::from(*first),
        // Some servers always write four octets of length.
        0x81..=0x84 => {
            let octets = stream.exactly(usize::from(first & 0x7F))?;
            let length = octets.iter().fold(0_u32, |sum, octet| sum << 8 | u32::from(*octet));
            usize::try_from(length).unwrap_or(usize::MAX)
        }
        _ => return Err(NOT_LDAP.into()),
    };
    if length > MESSAGE_MAX { Err("its answer is too long".into()) } else { stream.exactly(length) }
}

/// The operation in a message, if it answers this request.
fn response(message: &[u8], number: u8) -> Result<(u8, &[u8]), Fault> {
    let mut rest = message;
    if value(expect(&mut rest, INTEGER)?) != Some(number.into()) {
        // Number 0 is a server that takes its leave (RFC 4511 section 4.4).
        return Err("it does not answer the question".into());
    }
    take(&mut rest).ok_or_else(|| NOT_LDAP.into())
}

/// Code and words of a result; the name between them is not used.
fn result(content: &[u8]) -> Result<(u32, &[u8]), Fault> {
    let mut rest = content;
    let code = value(expect(&mut rest, ENUMERATED)?).ok_or(NOT_LDAP)?;
    expect(&mut rest, OCTETS)?;
    Ok((code, expect(&mut rest, OCTETS)?))
}

/// Takes the next element, which has to have this tag.
fn expect<'a>(rest: &mut &'a [u8], tag: u8) -> Result<&'a [u8], Fault> {
    match take(rest) {
        Some((found, content)) if found == tag => Ok(content),
        _ => Err(NOT_LDAP.into()),
    }
}

/// Takes the next element: its tag and content.
fn take<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let ([tag, first], mut behind) = rest.split_first_chunk::<2>()?;
    let length = match first {
        0x00..=0x7F => usize::from(*first),
        0x81..=0x84 => {
            let (octets, content) = behind.split_at_checked(usize::from(first & 0x7F))?;
            behind = content;
            usize::try_from(value(octets)?).ok()?
        }
        _ => return None,
    };
    let (content, other) = behind.split_at_checked(length)?;
    *rest = other;
    Some((*tag, content))
}

/// A number of one to four octets that is not negative.
fn value(octets: &[u8]) -> Option<u32> {
    let fits = (1..=4).contains(&octets.len());
    fits.then(|| octets.iter().fold(0, |sum, octet| sum << 8 | u32::from(*octet)))
}

/// Any octets are a message or none, and nothing reaches outside it.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    if let Ok((_, content)) = response(data, FIRST) {
        assert!(content.len() < data.len());
        if let Ok((_, words)) = result(content) {
            assert!(words.len() < content.len());
        }
    }
}

#[cfg(test)]
mod tests;
