//! Files in gzip (RFC 1952) and in ZIP archives, unpacked in memory, bounded.
//!
//! For the reports that others send about our domains: small archives of one file. An archive that would
//! grow beyond the bound is refused as soon as it does, and nothing in it names a place on the disk.

use flate2::Crc;
use flate2::read::{DeflateDecoder, GzDecoder};
use std::io::Read;

/// Files of one archive that are unpacked.
const FILES_MAX: usize = 16;

/// Octets of the end of an archive without its comment, and of the longest comment.
const END: usize = 22;
const COMMENT_MAX: usize = 65_535;

/// Why something cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is damaged.
    Damaged,
    /// It is encrypted, or packed in a way that is not known here.
    Unknown,
    /// It would be larger than allowed, or holds too many files.
    TooLarge,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Fault::Damaged => "is damaged",
            Fault::Unknown => "is encrypted, or packed in an unknown way",
            Fault::TooLarge => "would be too large unpacked",
        })
    }
}

/// The files in it, of at most `max` octets together; None where it is neither gzip nor ZIP.
///
/// # Errors
/// Why it cannot be unpacked.
pub fn unpack(octets: &[u8], max: usize) -> Result<Option<Vec<Vec<u8>>>, Fault> {
    if octets.starts_with(b"\x1f\x8b") {
        return Ok(Some(vec![inflated(GzDecoder::new(octets), max)?]));
    }
    if octets.starts_with(b"PK\x03\x04") {
        return files(octets, max).map(Some);
    }
    Ok(None)
}

fn inflated(decoder: impl Read, max: usize) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let read = decoder.take(max as u64 + 1).read_to_end(&mut out);
    match read {
        _ if out.len() > max => Err(Fault::TooLarge),
        Ok(_) => Ok(out),
        Err(_) => Err(Fault::Damaged),
    }
}

/// The files that the archive's directory names.
fn files(octets: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Fault> {
    let from = octets.len().saturating_sub(END + COMMENT_MAX);
    let tail = octets.get(from..).unwrap_or_default();
    let end = memchr::memmem::rfind(tail, b"PK\x05\x06").ok_or(Fault::Damaged)? + from;
    let count = short(octets, end + 10)?;
    if count > FILES_MAX {
        return Err(Fault::TooLarge);
    }
    let mut at = long(octets, end + 16)?;
    let (mut found, mut left) = (Vec::with_capacity(count), max);
    for _ in 0..count {
        if piece(octets, at, 4)? != b"PK\x01\x02" {
            return Err(Fault::Damaged);
        }
        let file = file(octets, at, left)?;
        left = left.saturating_sub(file.len());
        found.push(file);
        at += 46 + short(octets, at + 28)? + short(octets, at + 30)? + short(octets, at + 32)?;
    }
    Ok(found)
}

/// The file whose entry in the directory stands here.
fn file(octets: &[u8], entry: usize, max: usize) -> Result<Vec<u8>, Fault> {
    let is_encrypted = short(octets, entry + 8)? & 1 == 1;
    let (crc, packed) = (long(octets, entry + 16)?, long(octets, entry + 20)?);
    let start = long(octets, entry + 42)?;
    if piece(octets, start, 4)? != b"PK\x03\x04" {
        return Err(Fault::Damaged);
    }
    let start = start + 30 + short(octets, start + 26)? + short(octets, start + 28)?;
    let data = piece(octets, start, packed)?;
    let file = match short(octets, entry + 10)? {
        _ if is_encrypted => return Err(Fault::Unknown),
        0 => inflated(data, max)?,
        8 => inflated(DeflateDecoder::new(data), max)?,
        _ => return Err(Fault::Unknown),
    };
    let mut sum = Crc::new();
    sum.update(&file);
    if usize::try_from(sum.sum()) == Ok(crc) { Ok(file) } else { Err(Fault::Damaged) }
}

fn piece(octets: &[u8], at: usize, count: usize) -> Result<&[u8], Fault> {
    let end = at.checked_add(count).ok_or(Fault::Damaged)?;
    octets.get(at..end).ok_or(Fault::Damaged)
}

fn short(octets: &[u8], at: usize) -> Result<usize, Fault> {
    let octets = piece(octets, at, 2)?.try_into().map_err(|_| Fault::Damaged)?;
    Ok(usize::from(u16::from_le_bytes(octets)))
}

fn long(octets: &[u8], at: usize) -> Result<usize, Fault> {
    let octets = piece(octets, at, 4)?.try_into().map_err(|_| Fault::Damaged)?;
    usize::try_from(u32::from_le_bytes(octets)).map_err(|_| Fault::Damaged)
}

/// Checks on any input: no panic, and no more than the bound.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    const MAX: usize = 100_000;
    if let Ok(Some(files)) = unpack(data, MAX) {
        assert!(files.len() <= FILES_MAX && files.iter().map(Vec::len).sum::<usize>() <= MAX);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder};

    pub(crate) fn gzip(octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        GzEncoder::new(octets, Compression::fast()).read_to_end(&mut out).unwrap();
        out
    }

    /// An archive of files, stored or deflated.
    pub(crate) fn zip(files: &[&[u8]], method: u16) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for file in files {
            let mut data = Vec::new();
            match method {
                8 => drop(DeflateEncoder::new(*file, Compression::fast()).read_to_end(&mut data)),
                _ => data.extend_from_slice(file),
            }
            let mut sum = Crc::new();
            sum.update(file);
            let mut both = vec![20, 0, 0, 0];
            both.extend(method.to_le_bytes());
            both.extend([0; 4]);
            for number in [sum.sum(), data.len() as u32, file.len() as u32] {
                both.extend(number.to_le_bytes());
            }
            both.extend([1, 0, 0, 0]);
            directory.extend(b"PK\x01\x02\x14\0");
            directory.extend(&both);
            directory.extend([0; 10]);
            directory.extend((out.len() as u32).to_le_bytes());
            directory.push(b'x');
            out.extend(b"PK\x03\x04");
            out.extend(&both);
            out.push(b'x');
            out.extend(data);
        }
        let (start, size, count) = (out.len() as u32, directory.len() as u32, files.len() as u16);
        out.extend(directory);
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
        out.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
        out.extend([0, 0]);
        out
    }

    #[test]
    fn archives() {
        let bomb = vec![0; 1_000_000];
        let mut damaged = zip(&[b"hello"], 0);
        damaged[31] ^= 1;
        let mut encrypted = zip(&[b"hello"], 0);
        let entry = memchr::memmem::find(&encrypted, b"PK\x01\x02").unwrap();
        encrypted[entry + 8] |= 1;
        let gzipped = gzip(b"hello");
        let cut = &gzipped[..gzipped.len() - 9];
        let one = || Ok(Some(vec![b"hello".to_vec()]));
        for (octets, expected) in [
            (&gzipped[..], one()),
            (cut, Err(Fault::Damaged)),
            (&zip(&[b"hello"], 0), one()),
            (&zip(&[b"hello", b""], 8), Ok(Some(vec![b"hello".to_vec(), Vec::new()]))),
            (&gzip(&bomb), Err(Fault::TooLarge)),
            (&zip(&[&bomb], 8), Err(Fault::TooLarge)),
            (&zip(&[&bomb[..60_000], &bomb[..60_000]], 8), Err(Fault::TooLarge)),
            (&zip(&[&b"x"[..]; FILES_MAX + 1], 0), Err(Fault::TooLarge)),
            (&zip(&[b"hello"], 9), Err(Fault::Unknown)),
            (&encrypted, Err(Fault::Unknown)),
            (&damaged, Err(Fault::Damaged)),
            (b"PK\x03\x04", Err(Fault::Damaged)),
            (b"<feedback/>", Ok(None)),
        ] {
            assert_eq!(unpack(octets, 100_000), expected, "{:x?}", octets.get(..40));
            fuzz(octets);
        }
    }
}
