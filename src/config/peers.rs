//! Which list of plugins an address selects.
//!
//! The plugin `peers` of SME Server keeps a list of plugins in `peers/0` for everybody, in
//! `peers/local` for local and authenticated clients, and in (mostly links named)
//! `peers/192.168.1` for networks, cut at the dots. The original knows no IPv6, and would loop for
//! ever on such an address; here the parsed address is compared, and the longest prefix wins.

use super::nets::{Net, NetMap, parse_name_groups, parse_octets};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

/// The list for everybody who has no other.
const DEFAULT: &str = "0";

/// The list for local clients and those who logged in.
const LOCAL: &str = "local";

/// The names of the lists, ready for look-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    names: Vec<String>,
    map: NetMap,
    has_default: bool,
    has_local: bool,
    has_own_loopback: bool,
}

impl Peers {
    /// Takes the names of the files in `peers/`: `0`, `local`, one to four octets of an IPv4
    /// address (`192.168`), an IPv6 address, or whole groups of one (`2001:db8`, `2001:db8:` or
    /// `2001:db8::`). Given back are those that are nothing of this, or that only repeat an
    /// earlier one in another form.
    pub fn new(names: &[String]) -> (Peers, Vec<String>) {
        let mut peers = Peers::default();
        let mut nets = Vec::new();
        let mut seen = HashSet::new();
        let mut refused = Vec::new();
        for name in names {
            match (&**name, parse_name(name)) {
                (DEFAULT, _) => peers.has_default = true,
                (LOCAL, _) => peers.has_local = true,
                (_, Some(net)) if seen.insert(net) => {
                    nets.push(net);
                    peers.names.push(name.clone());
                }
                _ => refused.push(name.clone()),
            }
        }
        peers.has_own_loopback = seen.contains(&Net::new(Ipv6Addr::LOCALHOST.into(), 128));
        peers.map = NetMap::new(&nets);
        (peers, refused)
    }

    /// The name of the list for an address; None where there is not even a list `0`, and then
    /// nothing says how to treat this client. `::1` is local if it has no list of its own.
    pub fn select(&self, ip: IpAddr) -> Option<&str> {
        if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) && !self.has_own_loopback && self.has_local {
            return Some(LOCAL);
        }
        let place = self.map.find(ip);
        let name = place.and_then(|place| self.names.get(place)).map(String::as_str);
        name.or(self.has_default.then_some(DEFAULT))
    }

    /// The name of the list for clients who logged in, if there is one.
    pub fn local(&self) -> Option<&str> {
        self.has_local.then_some(LOCAL)
    }
}

fn parse_name(name: &str) -> Option<Net> {
    // The address with nothing behind its prefix stands for all that begin like it.
    let addr = || name.parse().ok().map(|addr| Net::new(addr, 128));
    parse_octets(name).or_else(|| parse_name_groups(name)).or_else(addr)
}

/// Takes each line as a name; the addresses that the names themselves give must select something.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let names = text.lines().map(String::from).take(100).collect::<Vec<_>>();
    let (peers, refused) = Peers::new(&names);
    assert!(peers.names.len() + refused.len() <= names.len());
    for ip in names.iter().filter_map(|name| name.parse::<IpAddr>().ok()) {
        let selected = peers.select(ip);
        assert!(selected.is_some_and(|name| names.iter().any(|known| known == name)), "{ip}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(names: &[&str]) -> (Peers, Vec<String>) {
        Peers::new(&names.iter().map(|name| String::from(*name)).collect::<Vec<_>>())
    }

    fn check(names: &[&str], rows: &[(&str, Option<&str>)]) {
        let (peers, refused) = peers(names);
        assert!(refused.is_empty(), "{refused:?}");
        for (ip, list) in rows {
            assert_eq!(peers.select(ip.parse().unwrap()), *list, "{ip} of {names:?}");
        }
    }

    #[test]
    fn the_longest_prefix_wins() {
        check(
            &["0", "local", "127.0.0.1", "192.168.1", "192.168", "10", "192.168.1.5", "172.16.0"],
            &[
                ("192.168.1.5", Some("192.168.1.5")),
                ("192.168.1.50", Some("192.168.1")),
                ("192.168.10.5", Some("192.168")),
                ("192.169.1.5", Some("0")),
                ("10.1.2.3", Some("10")),
                ("100.1.2.3", Some("0")),
                ("0.1.2.3", Some("0")),
                ("172.16.0.1", Some("172.16.0")),
                ("172.16.1.1", Some("0")),
                ("127.0.0.1", Some("127.0.0.1")),
                ("127.0.0.2", Some("0")),
                ("::ffff:192.168.1.5", Some("192.168.1.5")),
                ("::1", Some("local")),
                ("2001:db8::1", Some("0")),
            ],
        );
        check(
            &["0", "2001:db8", "2001:db8:1", "2001:db8::1", "fd00:1:", "2001:db8:f::"],
            &[
                ("2001:db8::1", Some("2001:db8::1")),
                ("2001:db8::2", Some("2001:db8")),
                ("2001:db8:1::2", Some("2001:db8:1")),
                ("2001:db8:10::2", Some("2001:db8")),
                ("2001:db8:f:1::2", Some("2001:db8:f::")),
                ("fd00:1:2::", Some("fd00:1:")),
                ("2001:db9::", Some("0")),
                ("::1", Some("0")),
                ("10.0.0.1", Some("0")),
            ],
        );
    }

    #[test]
    fn loopback_is_local_without_a_list_of_its_own() {
        check(&["0", "local", "::1"], &[("::1", Some("::1")), ("127.0.0.1", Some("0"))]);
        check(&["0", "local", "::"], &[("::1", Some("local")), ("2001:db8::1", Some("::"))]);
        check(&["0", "::"], &[("::1", Some("::"))]);
        check(&["local"], &[("::1", Some("local")), ("127.0.0.1", None), ("2001:db8::1", None)]);
        check(&[], &[("::1", None), ("192.0.2.1", None)]);
        assert_eq!(peers(&["local"]).0.local(), Some("local"));
        assert_eq!(peers(&["0"]).0.local(), None);
    }

    #[test]
    fn names_without_sense_are_given_back() {
        let nonsense = [
            "",
            "local~",
            "0~",
            "256",
            "1.2.3.4.5",
            "192.168.",
            "10.0.0.0-8",
            "01",
            "x",
            "fe80",
            "2001:db8:x",
            "Local",
            "__proto__",
            "*",
            "00",
            "1.2.3.4 ",
            "2001:db8:::",
        ];
        let (peers, refused) = peers(&nonsense);
        assert_eq!(refused, nonsense);
        assert_eq!(peers, Peers::default());
        let (_, repeated) = self::peers(&["2001:db8", "2001:0db8", "1.2.3.4", "::ffff:1.2.3.4"]);
        assert_eq!(repeated, ["2001:0db8", "::ffff:1.2.3.4"]);
    }

    #[test]
    fn no_names_confuse_the_look_up() {
        for data in
            ["0\nlocal\n1.2.3.4\n1\n::\n", "1:2:3:4:5:6:7:8\n1:2\n:\n::\n\n0", "\u{661}.2\n2001::"]
        {
            fuzz(data.as_bytes());
        }
    }
}
