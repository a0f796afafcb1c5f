//! Reader of MaxMind's database format, version 2: what is known of the network of an address.
//!
//! The file is a binary tree of address bits, whose leaves point into a section of typed values, and a
//! description at the end. MaxMind's own package would bring eight more into the build to turn whole
//! records into types; here some fields of one record are looked up, in a fraction of that code. The
//! file was made by somebody else's program and may be damaged: every number in it is checked where it
//! is used, nothing recurses, and a look-up is bounded, whatever stands there.
//!
//! <https://maxmind.github.io/MaxMind-DB/>

use super::nets::canonical;
use memchr::memmem;
use std::net::IpAddr;

/// What stands before the description.
const MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// The description lies within so many octets of the end.
const TAIL: usize = 128 * 1_024;

/// Zero octets between the tree and the values.
const GAP: usize = 16;

/// Values that one look-up passes over; a record has some tens.
const STEPS_MAX: usize = 10_000;

/// Types of values that are read here; others are passed over.
const POINTER: u8 = 1;
const TEXT: u8 = 2;
const REAL: u8 = 3;
const SHORT: u8 = 5;
const LONG: u8 = 6;
const MAP: u8 = 7;
const LONGER: u8 = 9;
const ARRAY: u8 = 11;
const TRUTH: u8 = 14;

/// A database, whole in memory.
pub struct Mmdb {
    octets: Vec<u8>,
    nodes: usize,
    /// Bits of one of the two branches of a node: 24, 28 or 32.
    branch_bits: usize,
    /// The tree is of IPv6 addresses; IPv4 ones lie below `::/96`.
    is_v6: bool,
    /// Where the values begin and end.
    values: (usize, usize),
    kind: String,
}

/// What is known of an address: a map of names to values and further maps.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    section: Section<'a>,
    at: usize,
}

impl Mmdb {
    /// Takes the content of a `.mmdb` file. An error says in words why it is none.
    pub fn new(octets: Vec<u8>) -> Result<Mmdb, &'static str> {
        const DAMAGED: &str = "is a damaged MaxMind database";
        let tail = octets.len().saturating_sub(TAIL);
        let place = octets.get(tail..).and_then(|end| memmem::rfind(end, MARK));
        let mark = tail + place.ok_or("is no MaxMind database: it has no description")?;
        let about = Section(octets.get(mark + MARK.len()..).unwrap_or_default());
        let about = Record { section: about, at: 0 };
        let number = |name: &str| usize::try_from(about.number(&[name])?).ok();
        if number("binary_format_major_version") != Some(2) {
            return Err("is a MaxMind database of another version than 2");
        }
        let (nodes, branch_bits) = (number("node_count"), number("record_size"));
        let branch_bits = branch_bits.filter(|bits| matches!(bits, 24 | 28 | 32)).ok_or(DAMAGED)?;
        let is_v6 = match number("ip_version") {
            Some(4) => false,
            Some(6) => true,
            _ => return Err(DAMAGED),
        };
        let nodes = nodes.ok_or(DAMAGED)?;
        let start = nodes.checked_mul(branch_bits / 4).and_then(|tree| tree.checked_add(GAP));
        let start = start.filter(|start| *start <= mark).ok_or(DAMAGED)?;
        let kind = about.text(&["database_type"]).unwrap_or_default().to_string();
        Ok(Mmdb { octets, nodes, branch_bits, is_v6, values: (start, mark), kind })
    }

    /// What the file says it is, such as `GeoLite2-City`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What is known of an address.
    pub fn find(&self, ip: IpAddr) -> Option<Record<'_>> {
        let (bits, length) = match (canonical(ip), self.is_v6) {
            (IpAddr::V4(v4), false) => (u128::from(v4.to_bits()) << 96, 32),
            (IpAddr::V4(v4), true) => (u128::from(v4.to_bits()), 128),
            (IpAddr::V6(v6), true) => (v6.to_bits(), 128),
            (IpAddr::V6(_), false) => return None,
        };
        let mut node = 0;
        for place in 0..length {
            if node >= self.nodes {
                break;
            }
            node = self.branch(node, bits >> (127 - place) & 1 == 1)?;
        }
        // Below the number of nodes it is a node, at it there is nothing, above it a value.
        let at = node.checked_sub(self.nodes)?.checked_sub(GAP)?;
        let (start, end) = self.values;
        Some(Record { section: Section(self.octets.get(start..end)?), at })
    }

    fn branch(&self, node: usize, right: bool) -> Option<usize> {
        let width = self.branch_bits / 4;
        let start = node.checked_mul(width)?;
        let number = match (self.octets.get(start..start.checked_add(width)?)?, right) {
            (&[a, b, c, _, _, _], false) | (&[_, _, _, a, b, c], true) => [0, a, b, c],
            // The octet in the middle holds the upper four bits of both branches.
            (&[a, b, c, high, _, _, _], false) => [high >> 4, a, b, c],
            (&[_, _, _, high, a, b, c], true) => [high & 15, a, b, c],
            (&[a, b, c, d, _, _, _, _], false) | (&[_, _, _, _, a, b, c, d], true) => [a, b, c, d],
            _ => return None,
        };
        usize::try_from(u32::from_be_bytes(number)).ok()
    }
}

impl<'a> Record<'a> {
    /// The text behind a path of names.
    pub fn text(&self, path: &[&str]) -> Option<&'a str> {
        let value = self.value(path).filter(|value| value.kind == TEXT)?;
        std::str::from_utf8(self.section.payload(value)?).ok()
    }

    /// The whole number behind a path of names.
    pub fn number(&self, path: &[&str]) -> Option<u64> {
        let is_number = |value: &Value| matches!(value.kind, SHORT | LONG | LONGER);
        let value = self.value(path).filter(is_number)?;
        let octets = self.section.payload(value).filter(|octets| octets.len() <= 8)?;
        Some(octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }

    /// The real number behind a path of names; never one that is none, or infinite.
    pub fn real(&self, path: &[&str]) -> Option<f64> {
        let value = self.value(path).filter(|value| value.kind == REAL)?;
        let octets = self.section.payload(value)?.try_into().ok()?;
        Some(f64::from_be_bytes(octets)).filter(|real| real.is_finite())
    }

    fn value(&self, path: &[&str]) -> Option<Value> {
        let mut steps = STEPS_MAX;
        let member = |at, name: &&str| self.section.member(at, name, &mut steps);
        let at = path.iter().try_fold(self.at, member)?;
        self.section.resolve(at)
    }
}

/// A section of values; pointers count from its start.
#[derive(Clone, Copy)]
struct Section<'a>(&'a [u8]);

/// A value: its type, its size as that type has it, and where it goes on behind both.
#[derive(Clone, Copy)]
struct Value {
    kind: u8,
    size: usize,
    at: usize,
}

impl<'a> Section<'a> {
    /// Reads the octets before a value: three bits of type, five of size, and what does not fit.
    fn head(self, at: usize) -> Option<Value> {
        let (control, mut at) = (*self.0.get(at)?, at + 1);
        let kind = match control >> 5 {
            POINTER => return self.pointer(control, at),
            0 => {
                at += 1;
                self.0.get(at - 1)?.checked_add(7)?
            }
            kind => kind,
        };
        let (more, least) = match control & 31 {
            short @ 0..29 => (0, usize::from(short)),
            29 => (1, 29),
            30 => (2, 285),
            _ => (3, 65_821),
        };
        let size = least + self.big_endian(at, more)?;
        Some(Value { kind, size, at: at + more })
    }

    /// A pointer's size is the place that it leads to.
    fn pointer(self, control: u8, at: usize) -> Option<Value> {
        let high = usize::from(control & 7);
        let (more, high, least) = match control >> 3 & 3 {
            0 => (1, high << 8, 0),
            1 => (2, high << 16, 2_048),
            2 => (3, high << 24, 526_336),
            _ => (4, 0, 0),
        };
        let size = (high | self.big_endian(at, more)?).checked_add(least)?;
        Some(Value { kind: POINTER, size, at: at + more })
    }

    fn big_endian(self, at: usize, count: usize) -> Option<usize> {
        let octets = self.0.get(at..at + count)?;
        Some(octets.iter().fold(0, |number, octet| number << 8 | usize::from(*octet)))
    }

    /// The value at a place, or the one that a pointer there leads to. That one must be no pointer.
    fn resolve(self, at: usize) -> Option<Value> {
        let value = self.head(at)?;
        if value.kind != POINTER {
            return Some(value);
        }
        self.head(value.size).filter(|value| value.kind != POINTER)
    }

    fn payload(self, value: Value) -> Option<&'a [u8]> {
        self.0.get(value.at..value.at.checked_add(value.size)?)
    }

    /// Where the value of a name stands, in the map at a place.
    fn member(self, at: usize, name: &str, steps: &mut usize) -> Option<usize> {
        let map = self.resolve(at).filter(|value| value.kind == MAP)?;
        let mut at = map.at;
        for _ in 0..map.size {
            let key = self.resolve(at).filter(|value| value.kind == TEXT)?;
            at = self.skip(at, steps)?;
            if self.payload(key)? == name.as_bytes() {
                return Some(at);
            }
            at = self.skip(at, steps)?;
        }
        None
    }

    /// Where the next value stands behind the one at a place, and behind all that is in it.
    fn skip(self, mut at: usize, steps: &mut usize) -> Option<usize> {
        let mut pending = 1_usize;
        while pending > 0 {
            *steps = steps.checked_sub(1)?;
            let value = self.head(at)?;
            let (octets, members) = match value.kind {
                POINTER | TRUTH => (0, 0),
                MAP => (0, 2 * value.size),
                ARRAY => (0, value.size),
                _ => (value.size, 0),
            };
            at = value.at.checked_add(octets)?;
            pending = (pending - 1).saturating_add(members);
        }
        Some(at)
    }
}

/// Looks up some addresses and fields in whatever was given.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let Ok(mmdb) = Mmdb::new(data.to_vec()) else { return };
    assert!(mmdb.values.0 <= mmdb.values.1 && mmdb.values.1 <= data.len());
    let ips = ["192.0.2.1", "198.51.100.77", "255.255.255.255", "2001:db8::1", "::1", "ffff::"];
    for ip in ips.into_iter().filter_map(|ip| ip.parse().ok()) {
        let Some(record) = mmdb.find(ip) else { continue };
        for path in [&["country", "iso_code"][..], &["city", "names", "en"], &["a", "b", "c"], &[]]
        {
            assert!(record.text(path).is_none_or(|text| text.len() <= data.len()));
            assert!(record.real(path).is_none_or(f64::is_finite));
            assert!(record.number(path).is_none() || record.text(path).is_none());
        }
    }
}

#[cfg(test)]
pub(crate) mod write;

#[cfg(test)]
mod tests;
