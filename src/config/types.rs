//! Settings that are more than a number: listeners and relay networks.

use crate::config::cdb::Cdb;
use crate::config::files::{self, Files, Line, Problem};
use crate::config::nets::NetList;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One line of the file `listen`: `ADDR:PORT [smtps] [submission] [proxy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// How clients are served there.
    pub role: Role,
    /// A proxy stands in front: each connection begins with a PROXY header.
    pub proxy: bool,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// TLS from the first octet (RFC 8314 section 3.3).
    pub smtps: bool,
    /// For the mail programs of our own users, who have to log in (RFC 6409).
    pub submission: bool,
}

/// The file `listen`; without it qpsmtpd's file `IP` and port 25.
pub fn listen(files: &Files, problems: &mut Vec<Problem>) -> Vec<Listen> {
    let lines = files.lines("listen", problems);
    if lines.is_empty() {
        let address = SocketAddr::new(from_ip_file(files, problems), 25);
        return vec![Listen { address, role: Role::default(), proxy: false }];
    }
    lines.iter().filter_map(|line| parse_listen(line, problems)).collect()
}

fn from_ip_file(files: &Files, problems: &mut Vec<Problem>) -> IpAddr {
    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let Some(line) = files.scalar("IP", problems) else { return ANY };
    match line.text.as_str() {
        "0" => ANY,
        text => text.parse().unwrap_or_else(|_| {
            let what = format!("{} is no IP address, and not 0", files::quote(text));
            Problem::error(&line, what).note(problems);
            ANY
        }),
    }
}

fn parse_listen(line: &Line, problems: &mut Vec<Problem>) -> Option<Listen> {
    let mut words = line.text.split_whitespace();
    let word = words.next().unwrap_or_default();
    let Ok(address) = word.parse() else {
        let what =
            format!("{}: write ADDRESS:PORT, an IPv6 address in brackets", files::quote(word));
        Problem::error(line, what).note(problems);
        return None;
    };
    let mut listen = Listen { address, role: Role::default(), proxy: false };
    for word in words {
        match word {
            "smtps" => listen.role.smtps = true,
            "submission" => listen.role.submission = true,
            "proxy" => listen.proxy = true,
            other => {
                let what = format!(
                    "unknown word {}: there are smtps, submission and proxy",
                    files::quote(other)
                );
                Problem::error(line, what).note(problems);
                return None;
            }
        }
    }
    Some(listen)
}

/// A file of addresses, CIDR blocks and prefixes, or its default where it is missing.
pub fn hosts(files: &Files, name: &str, default: &[&str], problems: &mut Vec<Problem>) -> NetList {
    let mut lines = files.lines(name, problems);
    if lines.is_empty() {
        let line = |text: &&str| Line { text: text.to_string(), file: name.into(), number: 0 };
        lines = default.iter().map(line).collect();
    }
    NetList::load(&lines, problems)
}

/// A name that can stand in a greeting: labels of letters, digits, hyphens and underscores, or an
/// address literal.
pub fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    let literal = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.trim_start_matches("IPv6:").parse::<IpAddr>().is_ok());
    literal || (text.len() <= 253 && text.split('.').all(label))
}

/// Who may relay by address: `relayclients`, `morerelayclients.cdb`, less `norelayclients`.
#[derive(Debug, Default)]
pub struct RelayNets {
    clients: NetList,
    more: Option<Cdb>,
    never: NetList,
}

/// What the relay files say of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayMatch {
    /// It may relay by this entry of `relayclients`.
    Listed(String),
    /// It may relay by this entry of `morerelayclients.cdb`.
    More(String),
    /// `::1` always may.
    Localhost,
    /// `norelayclients` forbids it.
    Never(String),
    /// Nothing is said of it.
    None,
}

impl RelayNets {
    /// Reads the three files.
    pub fn load(files: &Files, problems: &mut Vec<Problem>) -> RelayNets {
        let list = |name, problems: &mut Vec<Problem>| {
            NetList::load(&files.lines(name, problems), problems)
        };
        let clients = list("relayclients", problems);
        let never = list("norelayclients", problems);
        let more = files.bytes("morerelayclients.cdb", problems).and_then(|octets| {
            Cdb::new(octets)
                .map_err(|what| {
                    let severity = files::Severity::Error;
                    Problem::in_file(severity, "morerelayclients.cdb", what).note(problems);
                })
                .ok()
        });
        RelayNets { clients, more, never }
    }

    /// Looks an address up. `norelayclients` wins.
    pub fn find(&self, ip: IpAddr) -> RelayMatch {
        if let Some(entry) = self.never.contains(ip) {
            return RelayMatch::Never(entry.to_string());
        }
        if let Some(entry) = self.clients.contains(ip) {
            return RelayMatch::Listed(entry.to_string());
        }
        if let Some(prefix) = self.more.as_ref().and_then(|more| find_prefix(more, ip)) {
            return RelayMatch::More(prefix);
        }
        match ip {
            IpAddr::V6(ip) if ip.is_loopback() => RelayMatch::Localhost,
            IpAddr::V4(_) | IpAddr::V6(_) => RelayMatch::None,
        }
    }

    /// It may relay.
    pub fn allows(&self, ip: IpAddr) -> bool {
        matches!(self.find(ip), RelayMatch::Listed(_) | RelayMatch::More(_) | RelayMatch::Localhost)
    }
}

/// The entry of a database that an address fits.
fn find_prefix(more: &Cdb, ip: IpAddr) -> Option<String> {
    prefixes(ip).into_iter().find(|prefix| more.find(prefix.as_bytes()).is_some())
}

/// The whole address, then shorter and shorter prefixes in all the ways to write them: `192.0.2.5`,
/// `192.0.2.`, `192.0.`, `192.`; of IPv6 the digits of the full form, as qpsmtpd cuts them
/// (`2001:0db8:0`), down to one group, and whole groups without their leading zeros (`2001:db8:`).
fn prefixes(ip: IpAddr) -> Vec<String> {
    let groups = |separator: char, text: &str| -> Vec<String> {
        let ends = text.rmatch_indices(separator);
        ends.filter_map(|(end, _)| text.get(..=end)).map(str::to_string).collect()
    };
    let text = ip.to_string();
    match ip {
        IpAddr::V4(_) => {
            let shorter = groups('.', &text);
            std::iter::once(text).chain(shorter).collect()
        }
        IpAddr::V6(v6) => {
            let full = v6.segments().map(|group| format!("{group:04x}")).join(":");
            let short = v6.segments().map(|group| format!("{group:x}")).join(":");
            let digits = (5..=full.len()).rev().filter_map(|end| full.get(..end));
            let digits = digits.map(str::to_string);
            std::iter::once(text).chain(digits).chain(groups(':', &short)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cdb;

    #[test]
    fn listeners() {
        let load = |text: &str| {
            let files = Files::in_memory([("listen".to_string(), text.to_string())]);
            let mut problems = Vec::new();
            (listen(&files, &mut problems).len(), problems.len())
        };
        for (text, listeners, problems) in [
            ("127.0.0.1:25\n[::1]:2525\n", 2, 0),
            ("localhost:25", 0, 1),
            ("::1:25x", 0, 1),
            ("0.0.0.0:465 smtps submission\n127.0.0.1:26 proxy", 2, 0),
            ("0.0.0.0:465 ssl", 0, 1),
            ("", 1, 0),
        ] {
            assert_eq!(load(text), (listeners, problems), "{text}");
        }
    }

    #[test]
    fn host_names() {
        for (text, good) in [
            ("mx.example.com", true),
            ("localhost", true),
            ("[192.0.2.1]", true),
            ("a b", false),
            ("", false),
            ("a..b", false),
            ("[x]", false),
        ] {
            assert_eq!(is_host_name(text), good, "{text}");
        }
    }

    #[test]
    fn relay_networks() {
        let keys = ["198.51.100.", "2001:db8:1:", "2001:0db8:0002:f", "2001:db8:3::1"];
        let more = cdb::write(&keys.map(|key| (key.as_bytes(), b"".as_slice())));
        let files = Files::in_memory_bytes([
            ("relayclients".to_string(), b"192.0.2.0/24\n203.0.113.7/32\n".to_vec()),
            ("norelayclients".to_string(), b"192.0.2.13\n".to_vec()),
            ("morerelayclients.cdb".to_string(), more),
        ]);
        let mut problems = Vec::new();
        let nets = RelayNets::load(&files, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        for (ip, allowed) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.2.13", false),
            ("203.0.113.7", true),
            ("203.0.113.8", false),
            ("198.51.100.200", true),
            ("198.51.101.200", false),
            ("::1", true),
            ("2001:db8::1", false),
            ("2001:db8:1::1", true),
            ("2001:db8:1:2:3:4:5:6", true),
            ("2001:db8:10::1", false),
            ("2001:db8:2:f00d::1", true),
            ("2001:db8:2:e00d::1", false),
            ("2001:db8:3::1", true),
            ("2001:db8:3::2", false),
        ] {
            assert_eq!(nets.allows(ip.parse().expect("an address")), allowed, "{ip}");
        }
    }
}
