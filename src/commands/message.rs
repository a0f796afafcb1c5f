//! A message that a command is given as a file.

use crate::commands::Fault;
use crate::mail::stored::Stored;
use std::fs;
use std::io::{self, Read};

/// The octets of a file; `-` is standard input.
pub(super) fn read(file: &str) -> Result<Vec<u8>, Fault> {
    let mut octets = Vec::new();
    let read = match file {
        "-" => io::stdin().lock().read_to_end(&mut octets).map(|_| octets),
        file => fs::read(file),
    };
    read.map_err(|error| Fault::No(format!("{file}: {error}")))
}

/// The message in its parts.
pub(super) fn parse(octets: &[u8]) -> Result<Stored<'_>, Fault> {
    Stored::read(octets)
        .map_err(|_| Fault::No("the header of the message is too large".to_string()))
}
