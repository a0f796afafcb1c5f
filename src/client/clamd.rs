//! Asks clamd, ClamAV's daemon, whether a message holds a virus.
//!
//! The message goes through the connection itself, as `INSTREAM` wants it: so clamd may run as another
//! user or on another machine, and no spool file has to be made readable for it. Commands and answers
//! end with a NUL (clamd(8), "z"), and each command has a connection of its own.

use crate::client::Fault;
use crate::client::deadline::Deadline;
use crate::client::stream::{Place, Stream};
use crate::mail::headers::clean;
use std::io;

/// Octets of the message in one chunk.
const CHUNK: usize = 65_536;

/// Longest answer in octets.
const ANSWER_MAX: usize = 4_096;

/// Octets that are kept of a virus's name, of a version and of words about an error.
const NAME_MAX: usize = 200;

/// A virus whose name is not told.
const UNNAMED: &str = "unnamed";

const NO_ANSWER: &str = "the answer is not clamd's";

/// What clamd has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing.
    Clean,
    /// A virus of this name: printable ASCII, at most 200 octets, never empty.
    Virus(String),
}

/// The program's version, `ClamAV 1.4.6`: what stands before the first slash; printable ASCII.
///
/// # Errors
/// Nobody is there, nothing is said in time, or what is said is no version.
pub fn version(place: Place<'_>, deadline: Deadline) -> Result<String, Fault> {
    let mut stream = Stream::connect(place, deadline)?;
    stream.send(b"zVERSION\0")?;
    read_version(&stream.until(0, ANSWER_MAX)?)
}

/// Has a message scanned, whose octets are those of `parts` in order.
///
/// # Errors
/// Nobody is there, the message is longer than clamd takes, clamd is in trouble, nothing is said in time,
/// or what is said is no answer. The message counts as not scanned then.
pub fn scan(place: Place<'_>, parts: &[&[u8]], deadline: Deadline) -> Result<Finding, Fault> {
    let mut stream = Stream::connect(place, deadline)?;
    let sent = send(&mut stream, parts);
    // Who has had enough says why and hangs up: its words tell more than that we could not write.
    match (sent, stream.until(0, ANSWER_MAX)) {
        (Ok(()), answer) => read(&answer?),
        (Err(error), Err(_)) => Err(error.into()),
        (Err(error), Ok(answer)) => match read(&answer) {
            // It has not seen the whole message.
            Ok(Finding::Clean) => Err(error.into()),
            finding => finding,
        },
    }
}

/// The command, and the message in chunks, before each its length; a chunk of nothing is the end.
fn send(stream: &mut Stream, parts: &[&[u8]]) -> io::Result<()> {
    stream.send(b"zINSTREAM\0")?;
    for chunk in parts.iter().flat_map(|part| part.chunks(CHUNK)) {
        let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
        stream.send(&length.to_be_bytes())?;
        stream.send(chunk)?;
    }
    stream.send(&[0; 4])
}

/// Reads an answer without its NUL.
fn read(answer: &[u8]) -> Result<Finding, Fault> {
    if let Some(words) = answer.strip_suffix(b" ERROR") {
        return Err(if words.starts_with(b"INSTREAM size limit exceeded") {
            "the message is longer than its StreamMaxLength".into()
        } else {
            clean(words, NAME_MAX).into()
        });
    }
    match answer.strip_prefix(b"stream: ") {
        Some(b"OK") => Ok(Finding::Clean),
        Some(b"FOUND") => Ok(Finding::Virus(UNNAMED.to_string())),
        Some(found) => {
            let name = found.strip_suffix(b" FOUND").ok_or(NO_ANSWER)?;
            let name = clean(name.trim_ascii(), NAME_MAX);
            Ok(Finding::Virus(if name.is_empty() { UNNAMED.to_string() } else { name }))
        }
        None => Err(NO_ANSWER.into()),
    }
}

fn read_version(answer: &[u8]) -> Result<String, Fault> {
    let program = answer.split(|octet| *octet == b'/').next().unwrap_or_default();
    if !program.starts_with(b"ClamAV ") {
        return Err(NO_ANSWER.into());
    }
    Ok(clean(program.trim_ascii(), NAME_MAX))
}

/// Any octets are a finding with a short printable name, or none; only one answer is clean.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let text = match read(data) {
        Ok(Finding::Clean) => {
            assert_eq!(data, b"stream: OK");
            return;
        }
        Ok(Finding::Virus(name)) => {
            assert!(data.ends_with(b"FOUND"));
            name
        }
        Err(fault) => {
            assert!(!data.ends_with(b" FOUND") || !data.starts_with(b"stream: "));
            fault.to_string()
        }
    };
    assert!(text.len() <= NAME_MAX && text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
    if let Ok(version) = read_version(data) {
        assert!(version.len() <= NAME_MAX && version.starts_with("ClamAV"));
    }
}

#[cfg(test)]
pub(crate) mod tests;
