//! Replies for tests, octet by octet, so that wrong ones can be made as well.

use std::net::IpAddr;

pub(crate) const A: u16 = 1;
pub(crate) const NS: u16 = 2;
pub(crate) const CNAME: u16 = 5;
pub(crate) const SOA: u16 = 6;
pub(crate) const PTR: u16 = 12;
pub(crate) const MX: u16 = 15;
pub(crate) const TXT: u16 = 16;
pub(crate) const DNAME: u16 = 39;
pub(crate) const OPT: u16 = 41;

/// A name without compression.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).expect("a short label"));
        octets.extend(label.bytes());
    }
    octets.push(0);
    octets
}

/// Data of an MX record.
pub(crate) fn mx(preference: u16, host: &str) -> Vec<u8> {
    [&preference.to_be_bytes()[..], &name(host)].concat()
}

/// Data of a TXT record.
pub(crate) fn txt(strings: &[&[u8]]) -> Vec<u8> {
    let string = |text: &&[u8]| [&[u8::try_from(text.len()).expect("short")], *text].concat();
    strings.iter().flat_map(string).collect()
}

/// Data of an SOA record with this minimum.
pub(crate) fn soa(minimum: u32) -> Vec<u8> {
    let numbers = [1, 2, 3, 4, minimum].map(u32::to_be_bytes).concat();
    [name("ns.example"), name("admin.example"), numbers].concat()
}

/// A query without EDNS, its case not mixed.
pub(crate) fn query(asked: &str, rtype: u16) -> Vec<u8> {
    let head = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&head[..], &name(asked), &rtype.to_be_bytes(), &[0, 1]].concat()
}

/// The name in a query as it was written, its type, and whether EDNS is used.
pub(crate) fn read_query(query: &[u8]) -> (String, u16, bool) {
    let mut text = String::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&String::from_utf8_lossy(&query[at + 1..end]));
        at = end;
    }
    (text, u16::from_be_bytes([query[at + 1], query[at + 2]]), query[11] == 1)
}

/// A reply in the making. Sections have to be filled in their order.
#[derive(Clone)]
pub(crate) struct Reply(pub(crate) Vec<u8>);

impl Reply {
    /// Number and question as in the query, no records.
    pub(crate) fn to(query: &[u8]) -> Reply {
        let (asked, _, _) = read_query(query);
        let mut octets = query[..12 + name(&asked).len() + 4].to_vec();
        octets[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        Reply(octets)
    }

    pub(crate) fn rcode(mut self, code: u8) -> Reply {
        self.0[3] = 0x80 | code;
        self
    }

    pub(crate) fn truncated(mut self) -> Reply {
        self.0[2] |= 2;
        self
    }

    pub(crate) fn answer(self, owner: &str, rtype: u16, ttl: u32, data: &[u8]) -> Reply {
        self.record(6, &name(owner), rtype, ttl, data)
    }

    pub(crate) fn address(self, owner: &str, ttl: u32, address: &str) -> Reply {
        match address.parse() {
            Ok(IpAddr::V4(it)) => self.answer(owner, A, ttl, &it.octets()),
            Ok(IpAddr::V6(it)) => self.answer(owner, 28, ttl, &it.octets()),
            Err(error) => panic!("{address}: {error}"),
        }
    }

    pub(crate) fn alias(self, owner: &str, ttl: u32, target: &str) -> Reply {
        self.answer(owner, CNAME, ttl, &name(target))
    }

    pub(crate) fn authority(self, owner: &str, rtype: u16, ttl: u32, data: &[u8]) -> Reply {
        self.record(8, &name(owner), rtype, ttl, data)
    }

    pub(crate) fn additional(self, owner: &str, rtype: u16, ttl: u32, data: &[u8]) -> Reply {
        self.record(10, &name(owner), rtype, ttl, data)
    }

    /// A record whose owner is given in octets; `count` is where the section's count stands.
    pub(crate) fn record(
        mut self,
        count: usize,
        owner: &[u8],
        rtype: u16,
        ttl: u32,
        data: &[u8],
    ) -> Reply {
        let counted = u16::from_be_bytes([self.0[count], self.0[count + 1]]) + 1;
        self.0[count..count + 2].copy_from_slice(&counted.to_be_bytes());
        self.0.extend(owner);
        self.0.extend(rtype.to_be_bytes());
        self.0.extend([0, 1]);
        self.0.extend(ttl.to_be_bytes());
        self.0.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
        self.0.extend(data);
        self
    }
}
