//! Name servers: the file `resolvers`, else those of the system.
//!
//! Of /etc/resolv.conf only the addresses count. Its search list would turn a sender's domain into one
//! of ours, and its options are about a program that waits for each answer.

use crate::config::files::{self, Files, Line, Problem, Severity};
use nix::net::if_::if_nametoindex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

const SYSTEM: &str = "/etc/resolv.conf";

const PORT: u16 = 53;

/// Services that anybody may use. Block lists count questions by who asks, so that these have always
/// asked too often: they get errors instead of answers, and some of those look like listings.
const PUBLIC: [&str; 30] = [
    "8.8.8.8",
    "8.8.4.4",
    "1.1.1.1",
    "1.0.0.1",
    "1.1.1.2",
    "1.0.0.2",
    "1.1.1.3",
    "1.0.0.3",
    "9.9.9.9",
    "9.9.9.10",
    "9.9.9.11",
    "149.112.112.112",
    "149.112.112.10",
    "149.112.112.11",
    "208.67.222.222",
    "208.67.220.220",
    "64.6.64.6",
    "64.6.65.6",
    "94.140.14.14",
    "94.140.15.15",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
    "2606:4700:4700::1111",
    "2606:4700:4700::1001",
    "2620:fe::fe",
    "2620:fe::9",
    "2620:fe::10",
    "2620:fe::11",
    "2620:119:35::35",
    "2620:119:53::53",
];

/// The servers in the order of preference, at least one: lines `IP[:PORT]` of `resolvers`, without such
/// lines the `nameserver` lines of /etc/resolv.conf, without those this machine.
pub fn load(files: &Files, problems: &mut Vec<Problem>) -> Vec<SocketAddr> {
    let lines = files.lines("resolvers", problems);
    let mut servers = Vec::new();
    if lines.is_empty() {
        for address in system_servers(&files.system(SYSTEM)) {
            if let Some(what) = warning(address) {
                Problem::in_file(Severity::Warning, SYSTEM, what).note(problems);
            }
            servers.push(address);
        }
    }
    servers.extend(lines.iter().filter_map(|line| of_line(line, problems)));
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    servers
}

fn of_line(line: &Line, problems: &mut Vec<Problem>) -> Option<SocketAddr> {
    let address = parse(&line.text);
    match address {
        Some(address) => {
            if let Some(what) = warning(address) {
                Problem::warning(line, what).note(problems);
            }
        }
        None => {
            let what = format!(
                "{} is no address of a name server: write IP or IP:PORT, an IPv6 address with a \
                 port in brackets",
                files::quote(&line.text)
            );
            Problem::error(line, what).note(problems);
        }
    }
    address
}

fn warning(address: SocketAddr) -> Option<String> {
    let ip = address.ip().to_canonical();
    let public = PUBLIC.iter().any(|text| text.parse() == Ok(ip));
    public.then(|| {
        format!(
            "{ip} is a public resolver, which block lists answer with errors: run a resolver of \
             your own, for instance unbound on 127.0.0.1"
        )
    })
}

/// The addresses behind `nameserver`; what cannot be used is passed over, as everybody does.
fn system_servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        let server = ip(words.next()?)?;
        Some(server)
    };
    text.lines().filter_map(address).collect()
}

/// `IP`, `IP:PORT` or `[IP]:PORT`.
fn parse(text: &str) -> Option<SocketAddr> {
    if let Some((inner, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None if port.is_empty() => PORT,
            None => return None,
        };
        let mut address = ip(inner)?;
        address.set_port(port);
        return Some(address);
    }
    let with_port = || text.parse().ok().filter(|address: &SocketAddr| address.port() > 0);
    ip(text).or_else(with_port)
}

/// An address, of IPv6 also one with the interface that it belongs to: `fe80::1%eth0`.
fn ip(text: &str) -> Option<SocketAddr> {
    let Some((address, interface)) = text.split_once('%') else {
        return text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let number = interface.parse().ok().or_else(|| if_nametoindex(interface).ok())?;
    Some(SocketAddrV6::new(address, PORT, 0, number).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, servers: &[&str], problems: usize) {
        let files = Files::in_memory([(name.to_string(), text.to_string())]);
        let mut told = Vec::new();
        let got: Vec<String> = load(&files, &mut told).iter().map(ToString::to_string).collect();
        assert_eq!(got, servers, "{text}");
        assert_eq!(told.len(), problems, "{text} {told:?}");
    }

    #[test]
    fn servers_of_the_setting() {
        let rows: [(&str, &[&str], usize); 11] = [
            ("127.0.0.1", &["127.0.0.1:53"], 0),
            ("192.0.2.1:5353\n192.0.2.2", &["192.0.2.1:5353", "192.0.2.2:53"], 0),
            ("::1\n[2001:db8::1]:5353\n[::1]", &["[::1]:53", "[2001:db8::1]:5353", "[::1]:53"], 0),
            ("fe80::1%7\n[fe80::1%lo]:54", &["[fe80::1%7]:53", "[fe80::1%1]:54"], 0),
            ("fe80::1%no-such-thing", &["127.0.0.1:53"], 1),
            (
                "8.8.8.8\n2620:fe::fe\n::ffff:1.1.1.1",
                &["8.8.8.8:53", "[2620:fe::fe]:53", "[::ffff:1.1.1.1]:53"],
                3,
            ),
            ("localhost", &["127.0.0.1:53"], 1),
            ("192.0.2.1:0\n192.0.2.1:65536", &["127.0.0.1:53"], 2),
            ("[::1]x\n[::1", &["127.0.0.1:53"], 2),
            ("192.0.2.1 192.0.2.2", &["127.0.0.1:53"], 1),
            ("# none", &["127.0.0.1:53"], 0),
        ];
        for (text, servers, problems) in rows {
            check("resolvers", text, servers, problems);
        }
    }

    #[test]
    fn servers_of_the_system() {
        let many: String = (1..=5).map(|last| format!("nameserver 192.0.2.{last}\n")).collect();
        let five = ["1", "2", "3", "4", "5"].map(|last| format!("192.0.2.{last}:53"));
        let five: Vec<&str> = five.iter().map(String::as_str).collect();
        let rows: [(&str, &[&str], usize); 6] = [
            ("", &["127.0.0.1:53"], 0),
            (&many, &five, 0),
            ("search lan.example\nnameserver\t192.0.2.1 # x\noptions rotate", &["192.0.2.1:53"], 0),
            ("# nameserver 192.0.2.9\n;nameserver 192.0.2.9\n", &["127.0.0.1:53"], 0),
            (
                "nameserver fe80::1%lo\nnameserver x\nnameserver\nnameserver ::1",
                &["[fe80::1%1]:53", "[::1]:53"],
                0,
            ),
            ("nameserver 9.9.9.9", &["9.9.9.9:53"], 1),
        ];
        for (text, servers, problems) in rows {
            check(SYSTEM, text, servers, problems);
        }
    }

    #[test]
    fn the_list_of_public_servers_is_one_of_addresses() {
        assert!(PUBLIC.iter().all(|text| text.parse::<IpAddr>().is_ok()));
    }
}
