//! A message that a command is given as a file.

use crate::commands::Fault;
use crate::mail::stored::Stored;
use std::fs::File;
use std::io::{self, Read};

/// The octets of a file; `-` is standard input.
pub(super) fn read(file: &str) -> Result<Vec<u8>, Fault> {
    read_within(file, u64::MAX)
}

/// The same, no further than to `max` octets.
pub(super) fn read_within(file: &str, max: u64) -> Result<Vec<u8>, Fault> {
    let mut octets = Vec::new();
    let read = match file {
        "-" => io::stdin().lock().take(max).read_to_end(&mut octets),
        file => File::open(file).and_then(|file| file.take(max).read_to_end(&mut octets)),
    };
    read.map_err(|error| Fault::No(format!("{file}: {error}")))?;
    Ok(octets)
}

/// The message in its parts.
pub(super) fn parse(octets: &[u8]) -> Result<Stored<'_>, Fault> {
    Stored::read(octets)
        .map_err(|_| Fault::No("the header of the message is too large".to_string()))
}
