//! What a plugin sees of DNS: questions and answers as plain data.
//!
//! An answer is one of four things, and "could not find out" is one of them: a plugin that treats
//! [`Answer::TempFail`] as "not listed" or "does not exist" has to write that down.

pub mod cache;
pub mod lists;
pub mod resolver;
#[cfg(test)]
pub(crate) mod testing;
pub mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The types of records that the daemon asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 address
    A,
    /// IPv6 address
    Aaaa,
    /// Name of an address
    Ptr,
    /// Mail exchanger
    Mx,
    /// Text
    Txt,
    /// Name server
    Ns,
}

/// One question to the resolver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// Dotted name in lower case, without a final dot. `\DDD` stands for an octet, as in the names
    /// that answers hold ([`wire`] says which octets are written so).
    pub name: Box<str>,
    /// Type asked for.
    pub kind: Kind,
}

impl Question {
    /// A question; the name is lower-cased and a final dot removed.
    pub fn new(name: &str, kind: Kind) -> Question {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        Question { name: name.into(), kind }
    }

    /// A question for exactly these octets between the dots, whatever they are: for names that
    /// somebody else has put together (SPF macros), in which a backslash is a backslash.
    pub fn of_octets(name: &[u8], kind: Kind) -> Question {
        Question { name: name_of_octets(name), kind }
    }
}

/// The dotted name of these octets, in the one form that questions and answers have.
pub fn name_of_octets(name: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(name.len());
    for octet in name.strip_suffix(b".").unwrap_or(name) {
        match octet {
            b'.' => text.push('.'),
            octet => wire::push_octet(&mut text, *octet),
        }
    }
    text.into()
}

/// The octets of a dotted name in the form of questions and answers, without its escapes.
pub fn octets_of_name(name: &str) -> Vec<u8> {
    wire::octets_of(name)
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An address, of either family.
    Address(IpAddr),
    /// A name: PTR, NS.
    Name(Box<str>),
    /// A mail exchanger with its preference.
    Mx(u16, Box<str>),
    /// A text, its strings joined (RFC 7208 section 3.3).
    Text(Box<[u8]>),
}

impl Record {
    /// Octets that the record occupies.
    pub fn weight(&self) -> usize {
        match self {
            Record::Address(_) => 32,
            Record::Name(name) | Record::Mx(_, name) => 32 + name.len(),
            Record::Text(text) => 32 + text.len(),
        }
    }
}

/// What is known after a question was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The records, at most 64.
    Found(Arc<[Record]>),
    /// The name exists, but has no record of this type.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Nobody answered in time, or with an error: nothing is known.
    TempFail,
}

impl Answer {
    /// The records, if there are any.
    pub fn records(&self) -> &[Record] {
        match self {
            Answer::Found(records) => records,
            Answer::NoData | Answer::NxDomain | Answer::TempFail => &[],
        }
    }

    /// The addresses among the records.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.records().iter().filter_map(|record| match record {
            Record::Address(address) => Some(*address),
            Record::Name(_) | Record::Mx(..) | Record::Text(_) => None,
        })
    }

    /// Octets that the answer occupies, for the budgets.
    pub fn weight(&self) -> usize {
        self.records().iter().map(Record::weight).sum()
    }
}

/// The name under which the records of an address stand: `1.2.0.192.in-addr.arpa` or nibbles under
/// `ip6.arpa` (RFC 1035 3.5, RFC 3596 2.5).
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{}.in-addr.arpa", reverse_v4(address)),
        IpAddr::V6(address) => format!("{}.ip6.arpa", reverse_v6(address)),
    }
}

/// The address as block lists want it: reversed octets, or reversed nibbles (RFC 5782).
pub fn reverse_address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => reverse_v4(address),
        IpAddr::V6(address) => reverse_v6(address),
    }
}

fn reverse_v4(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}")
}

fn reverse_v6(address: Ipv6Addr) -> String {
    let nibble = |octet: u8| format!("{:x}.{:x}", octet & 15, octet >> 4);
    address.octets().iter().rev().map(|octet| nibble(*octet)).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_reversed_in_both_families() {
        for (address, name) in [
            ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
            (
                "2001:db8::1",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
        ] {
            assert_eq!(reverse_name(address.parse().expect("an address")), name);
        }
    }

    #[test]
    fn questions_have_one_form() {
        assert_eq!(Question::new("Example.COM.", Kind::A), Question::new("example.com", Kind::A));
        for (octets, name) in [
            (&b"Example.COM."[..], "example.com"),
            (b"foo:bar/baz.example", "foo\\058bar/baz.example"),
            (b"a\\065 b.\xc3\xbc\0", "a\\092065\\032b.\\195\\188\\000"),
            (b"", ""),
        ] {
            assert_eq!(Question::of_octets(octets, Kind::A), Question::new(name, Kind::A));
            let plain = octets.strip_suffix(b".").unwrap_or(octets).to_ascii_lowercase();
            assert_eq!(octets_of_name(name), plain);
        }
    }
}
