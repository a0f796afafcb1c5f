//! Asks a CVM, a credential validation module by Bruce Guenter, whether a password is right.
//!
//! A module is contacted in one of three ways: a Unix socket (`cvm-local:`), a program that reads the
//! question and writes the answer (`cvm-command:`), or UDP (`cvm-udp:`). Sockets and programs are
//! asked in version 1 of the protocol, as qpsmtpd's plugin asks, since the modules of old systems know
//! no other. Over UDP anybody may send an answer, so there it is version 2, whose questions hold
//! random octets that the answer must repeat.
//!
//! The first octet of an answer decides: 0 is yes, 100 is no, and all others are faults of the module.
//! The facts about the account that may follow are not looked at. Questions have at most 512 octets;
//! what does not fit is no password of this account.

use crate::client::deadline::Deadline;
use crate::client::filter::{self, Program};
use crate::client::stream::{Place, Stream};
use crate::client::{Fault, secret, words};
use crate::smtp::auth::Password;
use crate::sys::random;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// Longest question and longest answer in octets.
const PACKET_MAX: usize = 512;

/// Random octets of a question in version 2.
const TAG_LEN: usize = 8;

/// The credentials of version 2.
const ACCOUNT: u8 = 1;
const DOMAIN: u8 = 2;
const PASSWORD: u8 = 3;

/// Who has no domain is of this one.
const LOCALHOST: &str = "localhost";

/// How long an answer over UDP is waited for before the question is sent again, at first; each
/// further time twice as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a module is contacted.
#[derive(Clone, Copy, Debug)]
pub enum Module<'a> {
    /// A Unix socket.
    Local(&'a Path),
    /// A program, without arguments.
    Command(&'a Path),
    /// A UDP port.
    Udp(SocketAddr),
}

/// Asks. `user` is divided at its last `@` into account and domain.
///
/// # Errors
/// The module cannot be reached, does not answer in time, or answers that it cannot tell.
pub fn check(
    module: Module<'_>,
    user: &str,
    password: &Password,
    deadline: Deadline,
) -> Result<bool, Fault> {
    let (account, domain) = user.rsplit_once('@').unwrap_or((user, LOCALHOST));
    let parts = [account, domain, password.reveal()];
    match module {
        Module::Local(path) => {
            let Some(question) = version_1(parts) else { return Ok(false) };
            let mut stream = Stream::connect(Place::Unix(path), deadline)?;
            stream.send(&question)?;
            stream.finish()?;
            judge(&stream.to_end(PACKET_MAX)?)
        }
        Module::Command(path) => {
            let Some(question) = version_1(parts) else { return Ok(false) };
            let program = Program { path, arguments: &[], input: 0 };
            let ended = filter::run(&program, &question, deadline)?;
            let verdict = judge(&ended.output)?;
            // Its exit code says the same, or it was stopped before it was done.
            let expected = if verdict { 0 } else { NO.into() };
            if ended.code == Some(expected) { Ok(verdict) } else { Err(BROKEN.into()) }
        }
        Module::Udp(address) => {
            let mut tag = [0; TAG_LEN];
            random::bytes(&mut tag)?;
            let Some(question) = version_2(&tag, parts) else { return Ok(false) };
            ask(address, &question, &tag, deadline)
        }
    }
}

/// The octet of an answer that says no.
const NO: u8 = 100;

const BROKEN: &str = "the module broke off";

/// The version, the three parts, an empty one; each ends with a NUL.
fn version_1([account, domain, password]: [&str; 3]) -> Option<Zeroizing<Vec<u8>>> {
    let parts = [account, domain, password].map(str::as_bytes);
    // An empty password would be the end of the list, and a NUL the end of a part.
    if password.is_empty() || parts.iter().any(|part| part.contains(&0)) {
        return None;
    }
    let [account, domain, password] = parts;
    let question = secret(&[b"\x01", account, b"\0", domain, b"\0", password, b"\0\0"]);
    (question.len() <= PACKET_MAX).then_some(question)
}

/// The version, random octets, the three parts with what they are; before each its length, and a NUL
/// at the end.
fn version_2(
    tag: &[u8; TAG_LEN],
    [account, domain, password]: [&str; 3],
) -> Option<Zeroizing<Vec<u8>>> {
    let length = |part: &str| u8::try_from(part.len()).ok();
    let question = secret(&[
        &[2, 8],
        tag,
        &[ACCOUNT, length(account)?],
        account.as_bytes(),
        &[DOMAIN, length(domain)?],
        domain.as_bytes(),
        &[PASSWORD, length(password)?],
        password.as_bytes(),
        &[0],
    ]);
    (question.len() <= PACKET_MAX).then_some(question)
}

/// Sends a question until it is answered, and believes only who repeats its tag.
fn ask(
    address: SocketAddr,
    question: &[u8],
    tag: &[u8; TAG_LEN],
    deadline: Deadline,
) -> Result<bool, Fault> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    let mut patience = PATIENCE;
    loop {
        socket.send(question)?;
        let turn = deadline.within(patience);
        patience *= 2;
        while let Ok(left) = turn.left() {
            // An octet more than an answer may have, so that a longer one is seen to be longer.
            let mut packet = [0; PACKET_MAX + 1];
            socket.set_read_timeout(Some(left))?;
            let count = match socket.recv(&mut packet) {
                Ok(count) => count,
                Err(error) if is_early(&error) => continue,
                Err(error) => return Err(words(&error).into()),
            };
            let packet = packet.get(..count).unwrap_or_default();
            if repeats(packet, tag) && count <= PACKET_MAX {
                return judge(packet);
            }
        }
        deadline.left()?;
    }
}

fn is_early(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The code, the length of the tag, the tag.
fn repeats(packet: &[u8], tag: &[u8; TAG_LEN]) -> bool {
    let length = packet.get(1).map(|length| usize::from(*length));
    length == Some(TAG_LEN) && packet.get(2..2 + TAG_LEN) == Some(tag)
}

/// What an answer says.
fn judge(answer: &[u8]) -> Result<bool, Fault> {
    match answer.first() {
        None => Err("the module closed the connection".into()),
        Some(0) if answer.ends_with(b"\0") && answer.len() > 1 => Ok(true),
        Some(0) => Err(BROKEN.into()),
        Some(&NO) => Ok(false),
        Some(code) => Err(trouble(*code).into()),
    }
}

/// The errors that CVM's documentation names.
fn trouble(code: u8) -> &'static str {
    match code {
        2 => "the module does not understand the question",
        3 => "the module's own data are bad",
        4 => "the module has trouble reading or writing",
        6 => "the module is not configured well",
        7 => "the module wants other credentials",
        _ => "the module has trouble",
    }
}

/// Any octets are an answer or none.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    if judge(data) == Ok(true) {
        assert_eq!((data.first(), data.last()), (Some(&0), Some(&0)));
    }
    let tag = [7; TAG_LEN];
    assert!(!repeats(data, &tag) || data.len() > TAG_LEN);
}

#[cfg(test)]
mod tests;
