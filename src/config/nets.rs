//! IP networks in all the ways that qpsmtpd's files write them, and fast lists of them.
//!
//! qpsmtpd 0.96 compares text: an address is cut from the end until it stands in the file, and a
//! block's first and last address never match. Here every entry becomes a network, both ends
//! included, so that one address has one meaning however it is written. A list of thousands
//! answers with one search per prefix length in use.

use super::files::{Line, Problem, quote};
use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of an IPv6 prefix that counts as one client.
const SITE_BITS: u8 = 64;

/// A network: all addresses that agree with `addr` in the first `bits` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    /// First address of the network; IPv4 where the network lies in the mapped part of IPv6.
    pub addr: IpAddr,
    /// Length of the prefix, at most 32 or 128.
    pub bits: u8,
}

impl Net {
    /// A network from any address in it. `bits` beyond the length of an address mean one address.
    pub fn new(addr: IpAddr, bits: u8) -> Net {
        let (addr, bits) = match (addr, canonical(addr)) {
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if bits >= 96 => (v4, bits - 96),
            _ => (addr, bits),
        };
        match addr {
            IpAddr::V4(v4) => {
                let bits = bits.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Net { addr: Ipv4Addr::from_bits(v4.to_bits() & mask).into(), bits }
            }
            IpAddr::V6(v6) => {
                let bits = bits.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Net { addr: Ipv6Addr::from_bits(v6.to_bits() & mask).into(), bits }
            }
        }
    }

    /// Reads a network, and a warning where it was probably meant differently:
    ///
    /// | written | means |
    /// |---|---|
    /// | `192.0.2.1`, `2001:db8::1` | one address |
    /// | `192.0.2.0/24`, `2001:db8::/32` | the block, both ends included |
    /// | `192.0.2.`, `192.0.2` | 192.0.2.0/24 |
    /// | `2001:db8:` | 2001:db8::/32 |
    /// | `2001:0db8:00` | 2001:db8::/40: every digit of the full form is four bits |
    ///
    /// The error says in words what is wrong.
    pub fn parse(text: &str) -> Result<(Net, Option<&'static str>), &'static str> {
        if let Some((addr, bits)) = text.split_once('/') {
            return parse_block(addr, bits);
        }
        if let Ok(addr) = text.parse::<IpAddr>() {
            let warning = text.ends_with("::").then_some(
                "is one address; the network behind it needs the length of its prefix, like /64",
            );
            return Ok((Net::new(addr, 128), warning));
        }
        if text.contains(':') {
            let net = parse_groups(text).or_else(|| parse_digits(text));
            return Ok((net.ok_or("is neither an IPv6 address nor the start of one")?, None));
        }
        match parse_octets(text.strip_suffix('.').unwrap_or(text)) {
            Some(net) if text.ends_with('.') && net.bits < 32 => Ok((net, None)),
            // A lone number is rather a slip than the network of 16 million addresses.
            Some(net) if !text.ends_with('.') && net.bits > 8 => {
                Ok((net, Some("is taken as the start of an address; it should end with a dot")))
            }
            _ => Err("is neither an IP address nor a network"),
        }
    }

    /// Whether an address is in this network. IPv4-mapped addresses are IPv4 addresses.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = canonical(ip);
        ip.is_ipv4() == self.addr.is_ipv4() && Net::new(ip, self.bits) == *self
    }

    /// Sorts by family, long prefixes first, then by the first address as a number.
    fn key(&self) -> (bool, Reverse<u8>, u128) {
        let number = match self.addr {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        (self.addr.is_ipv6(), Reverse(self.bits), number)
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.bits)
    }
}

fn parse_block(addr: &str, bits: &str) -> Result<(Net, Option<&'static str>), &'static str> {
    let addr = match addr.parse::<IpAddr>() {
        Ok(addr) => addr,
        Err(_) => parse_octets(addr).ok_or("has no IP address before the slash")?.addr,
    };
    let max = if addr.is_ipv4() { 32 } else { 128 };
    let bits = Some(bits).filter(|bits| bits.bytes().all(|b| b.is_ascii_digit()));
    let bits = bits.and_then(|bits| bits.parse::<u8>().ok()).filter(|&bits| bits <= max);
    let bits = bits.ok_or("has no length of a prefix behind the slash (0 to 32, IPv6 to 128)")?;
    let net = Net::new(addr, bits);
    let warning = "has bits set behind its prefix; they are ignored";
    Ok((net, (net.addr != canonical(addr) && net.addr != addr).then_some(warning)))
}

/// One to four octets of an IPv4 address with dots between them.
pub(super) fn parse_octets(text: &str) -> Option<Net> {
    let mut octets = [0; 4];
    let mut bits = 0;
    let mut places = octets.iter_mut();
    for part in text.split('.') {
        let plain = part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
        let plain = plain && (part.len() == 1 || !part.starts_with('0'));
        *places.next()? = part.parse().ok().filter(|_| plain)?;
        bits += 8;
    }
    Some(Net::new(Ipv4Addr::from(octets).into(), bits))
}

/// Whole groups of an IPv6 address, each with its colon.
fn parse_groups(text: &str) -> Option<Net> {
    parse_group_list(text.strip_suffix(':')?)
}

/// One to seven whole groups with colons between them.
fn parse_group_list(text: &str) -> Option<Net> {
    let mut groups = [0; 8];
    let mut bits = 0;
    let mut places = groups.iter_mut();
    for part in text.split(':') {
        let plain = part.len() <= 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
        *places.next()? = u16::from_str_radix(part, 16).ok().filter(|_| plain)?;
        bits += 16;
    }
    (bits < 128).then(|| Net::new(Ipv6Addr::from(groups).into(), bits))
}

/// The start of an IPv6 address in its full form: groups of four digits, the last one cut anywhere.
fn parse_digits(text: &str) -> Option<Net> {
    let (whole, last) = text.rsplit_once(':')?;
    let expanded = whole.split(':').all(|group| group.len() == 4) && (1..=4).contains(&last.len());
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let net = parse_group_list(&format!("{whole}:{last:0<4}")).filter(|_| expanded)?;
    Some(Net::new(net.addr, u8::try_from(digits * 4).ok()?))
}

/// An IPv6 prefix of whole groups as file names give it: `2001:db8`, `2001:db8:`, `2001:db8::`. At
/// least one colon must tell it from an IPv4 prefix.
pub(super) fn parse_name_groups(text: &str) -> Option<Net> {
    let groups = text.strip_suffix("::").or_else(|| text.strip_suffix(':')).unwrap_or(text);
    if groups.is_empty() && text == "::" {
        return Some(Net::new(Ipv6Addr::UNSPECIFIED.into(), 0));
    }
    parse_group_list(groups).filter(|_| text.contains(':'))
}

/// The address itself, or the IPv4 address in an IPv4-mapped one (RFC 4291 section 2.5.5.2).
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The network that somebody who guesses passwords has addresses in: the /24 of an IPv4 address, the /64
/// of an IPv6 address.
pub fn network(ip: IpAddr) -> IpAddr {
    match canonical(ip) {
        v4 @ IpAddr::V4(_) => Net::new(v4, 24).addr,
        v6 @ IpAddr::V6(_) => Net::new(v6, SITE_BITS).addr,
    }
}

/// What counts as one client: an IPv4 address, or a whole /64 of IPv6, which is what one customer
/// has at least.
pub fn site(ip: IpAddr) -> IpAddr {
    match canonical(ip) {
        v4 @ IpAddr::V4(_) => v4,
        v6 @ IpAddr::V6(_) => Net::new(v6, SITE_BITS).addr,
    }
}

/// From networks to numbers; the longest prefix wins, and the first of equal ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NetMap {
    /// One level for each family and prefix length in use, long prefixes first.
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Level {
    is_v6: bool,
    bits: u8,
    /// First addresses as numbers, sorted, with what they lead to.
    nets: Vec<(u128, usize)>,
}

impl NetMap {
    /// A map in which each network leads to its place in `nets`.
    pub(super) fn new(nets: &[Net]) -> NetMap {
        let keys = nets.iter().enumerate().map(|(place, net)| (net.key(), place));
        let mut keys = keys.collect::<Vec<_>>();
        keys.sort_unstable();
        keys.dedup_by_key(|(key, _)| *key);
        let mut levels = Vec::<Level>::new();
        for ((is_v6, Reverse(bits), number), place) in keys {
            match levels.last_mut().filter(|level| (level.is_v6, level.bits) == (is_v6, bits)) {
                Some(level) => level.nets.push((number, place)),
                None => levels.push(Level { is_v6, bits, nets: vec![(number, place)] }),
            }
        }
        NetMap { levels }
    }

    /// What the smallest network around an address leads to.
    pub(super) fn find(&self, ip: IpAddr) -> Option<usize> {
        let ip = canonical(ip);
        self.levels.iter().filter(|level| level.is_v6 == ip.is_ipv6()).find_map(|level| {
            let (_, _, number) = Net::new(ip, level.bits).key();
            let found = level.nets.binary_search_by_key(&number, |(number, _)| *number).ok()?;
            level.nets.get(found).map(|(_, place)| *place)
        })
    }
}

/// The networks of a file such as `relayclients`, one a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetList {
    written: Vec<Box<str>>,
    map: NetMap,
}

impl NetList {
    /// Reads one network from each line, its first word. A line that holds none is an error and
    /// left out; a doubtful one is a warning.
    pub fn load(lines: &[Line], problems: &mut Vec<Problem>) -> NetList {
        let mut nets = Vec::new();
        let mut written = Vec::new();
        for line in lines {
            let (word, rest) = line.split_word();
            match Net::parse(word) {
                Err(what) => {
                    Problem::error(line, format!("{} {what}", quote(word))).note(problems);
                    continue;
                }
                Ok((net, warning)) => {
                    if let Some(what) = warning {
                        Problem::warning(line, format!("{} {what}", quote(word))).note(problems);
                    }
                    nets.push(net);
                    written.push(word.into());
                }
            }
            if !rest.is_empty() {
                let what = format!("only the first word is read, not {}", quote(rest));
                Problem::warning(line, what).note(problems);
            }
        }
        NetList { map: NetMap::new(&nets), written }
    }

    /// The entry, as it is written, of the smallest network that an address is in.
    pub fn contains(&self, ip: IpAddr) -> Option<&str> {
        self.written.get(self.map.find(ip)?).map(|entry| &**entry)
    }

    /// Whether there are no networks.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }
}

/// Reads each line as a network, alone and in a list, and looks for its ends.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    for text in String::from_utf8_lossy(data).lines().take(100) {
        let _ = (parse_name_groups(text), parse_octets(text));
        let Ok((net, _)) = Net::parse(text) else { continue };
        assert!(net.contains(net.addr) && net.bits <= if net.addr.is_ipv4() { 32 } else { 128 });
        assert_eq!(Net::parse(&net.to_string()), Ok((net, None)), "{text}");
        let line = Line { text: text.into(), file: "f".into(), number: 1 };
        let list = NetList::load(&[line], &mut Vec::new());
        for ip in [net.addr, site(net.addr), Ipv4Addr::LOCALHOST.into()] {
            assert_eq!(list.contains(ip).is_some(), net.contains(ip), "{text} {ip}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let seen = match Net::parse(text) {
            Ok((net, warning)) => format!("{net}{}", if warning.is_some() { " ?" } else { "" }),
            Err(_) => "no".into(),
        };
        assert_eq!(seen, expected, "{text:?}");
    }

    #[test]
    fn networks_are_read_in_all_their_forms() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1/32", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.77/24", "192.0.2.0/24 ?"),
            ("192.0.2/24", "192.0.2.0/24"),
            ("10/8", "10.0.0.0/8"),
            ("192.0.2.", "192.0.2.0/24"),
            ("192.0.", "192.0.0.0/16"),
            ("10.", "10.0.0.0/8"),
            ("192.0.2", "192.0.2.0/24 ?"),
            ("10.1", "10.1.0.0/16 ?"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8::1/32", "2001:db8::/32 ?"),
            ("::/0", "::/0"),
            ("::1", "::1/128"),
            ("2001:0db8::0", "2001:db8::/128"),
            ("2001:db8:", "2001:db8::/32"),
            ("2001:0db8:", "2001:db8::/32"),
            ("2001:", "2001::/16"),
            ("1:2:3:4:5:6:7:", "1:2:3:4:5:6:7:0/112"),
            ("2001:0db8:00", "2001:db8::/40"),
            ("2001:0db8:0001:f", "2001:db8:1:f000::/52"),
            ("2001:0db8:0001", "2001:db8:1::/48"),
            ("2001:0db8:0000:0000:0000:0000:0000:001", "2001:db8::1/128"),
            ("2001:db8::", "2001:db8::/128 ?"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.9/120", "192.0.2.0/24 ?"),
            ("::ffff:0:0/90", "::ffc0:0:0/90 ?"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            ".",
            ":",
            "/",
            "*",
            "10",
            "192",
            "256.",
            "192.0.2.1.",
            "1.2.3.4.5",
            "192..2.",
            ".1.2",
            "010.1.",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/+8",
            "192.0.2.0/-1",
            "192.0.2.0/2 4",
            "/24",
            "2001:db8::/129",
            "2001:db8::/999",
            "2001:db8:1",
            "2001:db8:x:",
            "20010:",
            "1:2:3:4:5:6:7:8:",
            "2001:0db8:00000",
            ":1:",
            "2001::db8:",
            "fe80::1%eth0",
            "[::1]",
            "::ffff:192.0.2.",
            "example.com",
            "192.0.2.1/24/3",
            "+1.2.",
            "٣.1.",
            "__proto__",
        ] {
            check(text, "no");
        }
    }

    fn list(text: &str) -> (NetList, Vec<String>) {
        let lines = text.lines().zip(1..);
        let lines =
            lines.map(|(text, number)| Line { text: text.into(), file: "r".into(), number });
        let mut problems = Vec::new();
        let list = NetList::load(&lines.collect::<Vec<_>>(), &mut problems);
        (list, problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn lists_find_the_smallest_network() {
        let (list, problems) = list(
            "192.0.2.\n192.0.2.0/24\n192.0.2.128/31\n10.0.0.0/8\n127.0.0.1\n2001:db8:\n2001:0db8:0001:00\n::1\n0.0.0.0/32",
        );
        assert!(problems.is_empty(), "{problems:?}");
        for (ip, entry) in [
            ("192.0.2.0", Some("192.0.2.")),
            ("192.0.2.255", Some("192.0.2.")),
            ("192.0.2.128", Some("192.0.2.128/31")),
            ("192.0.2.129", Some("192.0.2.128/31")),
            ("192.0.2.130", Some("192.0.2.")),
            ("192.0.3.0", None),
            ("10.0.0.0", Some("10.0.0.0/8")),
            ("10.255.255.255", Some("10.0.0.0/8")),
            ("::ffff:10.1.2.3", Some("10.0.0.0/8")),
            ("::a01:203", None),
            ("11.0.0.0", None),
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.0.0.2", None),
            ("2001:db8:1:ff::1", Some("2001:0db8:0001:00")),
            ("2001:db8:1:100::1", Some("2001:db8:")),
            ("2001:db9::", None),
            ("::1", Some("::1")),
            ("::", None),
        ] {
            assert_eq!(list.contains(ip.parse().unwrap()), entry, "{ip}");
        }
        assert!(
            !list.is_empty() && NetList::default().contains(Ipv4Addr::LOCALHOST.into()).is_none()
        );
    }

    #[test]
    fn problems_have_their_place() {
        let (list, problems) = list("10.0.0.1/8 the office\nnonsense\n10.1");
        assert_eq!(list.contains([10, 1, 2, 3].into()), Some("10.1"));
        assert_eq!(
            problems,
            [
                "r:1: warning: \"10.0.0.1/8\" has bits set behind its prefix; they are ignored",
                "r:1: warning: only the first word is read, not \"the office\"",
                "r:2: \"nonsense\" is neither an IP address nor a network",
                "r:3: warning: \"10.1\" is taken as the start of an address; it should end with a dot",
            ]
        );
    }

    #[test]
    fn a_site_is_what_one_customer_has() {
        for (ip, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(site(ip.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn no_text_confuses_the_parser() {
        for data in [
            "1.2.3.4/5\n::/1\n2001:0db8:0\n1.",
            "::ffff:1.2.3.4/96\n::ffff:0:0/95",
            "ä:\n:::\n1:::",
        ] {
            fuzz(data.as_bytes());
        }
    }
}
