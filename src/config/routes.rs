//! qmail's `smtproutes`: which server the mail of a domain goes to.
//!
//! A line is `domain:server` or `domain:server:port`; the server is a name or an address, with or
//! without brackets. `.domain` stands for all subdomains, a line without a domain for all other mail,
//! and one without a server for the usual way (by MX). A later line for the same domain wins. Blanks
//! mean nothing. An IPv6 address needs its brackets, since its colons would be taken for the port's.

use super::files::{Line, Problem, quote};
use super::types::is_host_name;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// The port where a line names none.
const PORT: u16 = 25;

/// Where mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A host name, or an IP address without brackets.
    pub host: Box<str>,
    /// The port, 25 where none is written.
    pub port: u16,
}

impl Server {
    /// A server by its name, or its address with or without brackets; None for what is neither.
    pub fn named(host: &str, port: u16) -> Option<Server> {
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = inner.unwrap_or(host).parse::<IpAddr>().is_ok();
        let host = if address { inner.unwrap_or(host) } else { host };
        (address || is_plain_name(host)).then(|| Server { host: host.into(), port })
    }

    /// The address, where the line gives one instead of a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// All routes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// By lower-cased domain; a dot in front stands for subdomains. None is the usual way.
    domains: HashMap<Box<str>, Option<Server>>,
    default: Option<Server>,
}

impl Routes {
    /// Reads the lines. One that is no route is left out with a warning.
    pub fn load(lines: &[Line], problems: &mut Vec<Problem>) -> Routes {
        let mut routes = Routes::default();
        for line in lines {
            match parse(&line.text) {
                Ok((domain, server)) if domain.is_empty() => routes.default = server,
                Ok((domain, server)) => {
                    routes.domains.insert(domain.into(), server);
                }
                Err(what) => {
                    let what = format!("{} {what}", quote(&line.text));
                    Problem::warning(line, what).note(problems);
                }
            }
        }
        routes
    }

    /// The route of a domain: its own, or that of the nearest domain above it that stands for its
    /// subdomains. The default route is not asked; see [`Routes::default_server`].
    pub fn find(&self, domain: &str) -> Option<&Server> {
        self.line(domain)?.as_ref()
    }

    /// Where mail for a domain goes: its route, or the default where it has none. None is the usual way.
    pub fn way(&self, domain: &str) -> Option<&Server> {
        self.line(domain).unwrap_or(&self.default).as_ref()
    }

    /// What the file says of a domain; the inner None is the usual way.
    fn line(&self, domain: &str) -> Option<&Option<Server>> {
        let lower = domain.to_ascii_lowercase();
        let above = lower.match_indices('.').filter_map(|(place, _)| lower.get(place..));
        std::iter::once(&*lower).chain(above).find_map(|name| self.domains.get(name))
    }

    /// Where all other mail goes; None is the usual way.
    pub fn default_server(&self) -> Option<&Server> {
        self.default.as_ref()
    }

    /// No domain has a route, the default aside.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }
}

/// The lower-cased domain and its server; the error says in words what is wrong.
fn parse(text: &str) -> Result<(String, Option<Server>), &'static str> {
    let text: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    let (domain, rest) = text.split_once(':').ok_or("is no route: write DOMAIN:SERVER[:PORT]")?;
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("has no closing bracket")?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("")))
        }
        None if rest.parse::<Ipv6Addr>().is_ok() => {
            return Err("names an IPv6 address, which needs brackets");
        }
        None => rest.split_once(':').map_or((rest, Some("")), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some("") => PORT,
        Some(digits) => {
            let port = digits.parse().ok().filter(|port| *port > 0);
            port.ok_or("has no number of a port behind the server")?
        }
        None => return Err("has something odd behind the bracket"),
    };
    let domain = domain.to_ascii_lowercase();
    match host {
        "" => Ok((domain, None)),
        _ if host.parse::<IpAddr>().is_ok() || is_plain_name(host) => {
            Ok((domain, Some(Server { host: host.into(), port })))
        }
        _ => Err("names no server"),
    }
}

/// A name that can be looked up, other than an address literal.
fn is_plain_name(host: &str) -> bool {
    !host.starts_with('[') && is_host_name(host)
}

/// Any line is a route or a warning, and each domain leads to what its last line says.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().map(str::trim).filter(|text| !text.is_empty()).take(100).zip(1..);
    let lines: Vec<_> = lines
        .map(|(text, number)| Line { text: text.into(), file: "smtproutes".into(), number })
        .collect();
    let mut problems = Vec::new();
    let routes = Routes::load(&lines, &mut problems);
    let read: Vec<_> = lines.iter().filter_map(|line| parse(&line.text).ok()).collect();
    assert_eq!(read.len() + problems.len(), lines.len());
    for (domain, _) in &read {
        let last = read.iter().rev().find(|(other, _)| other == domain);
        let expected = last.and_then(|(_, server)| server.as_ref());
        let found = if domain.is_empty() { routes.default_server() } else { routes.find(domain) };
        assert_eq!(found, expected, "{domain}");
        assert!(found.is_none_or(|server| server.port > 0 && !server.host.contains(['[', '\n'])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> (Routes, Vec<String>) {
        let lines = text.lines().zip(1..);
        let lines =
            lines.map(|(text, number)| Line { text: text.into(), file: "s".into(), number });
        let mut problems = Vec::new();
        let routes = Routes::load(&lines.collect::<Vec<_>>(), &mut problems);
        (routes, problems.iter().map(Problem::to_string).collect())
    }

    fn shown(server: Option<&Server>) -> String {
        server.map_or_else(String::new, |it| format!("{} {}", it.host, it.port))
    }

    #[test]
    fn domains_have_routes() {
        let (routes, problems) = load(
            "Example.com:old.example.net\n\
             example.com : [192.0.2.7]\n\
             port.example:mail.example.net:2525\n\
             six.example:[2001:db8::25]:26\n\
             bare.example:192.0.2.8:\n\
             .wide.example:wide.example.net\n\
             not.wide.example:\n\
             .deep.wide.example:deep.example.net\n\
             :[192.0.2.9]:587",
        );
        assert!(problems.is_empty(), "{problems:?}");
        for (domain, expected) in [
            ("example.com", "192.0.2.7 25"),
            ("EXAMPLE.COM", "192.0.2.7 25"),
            ("sub.example.com", ""),
            ("port.example", "mail.example.net 2525"),
            ("six.example", "2001:db8::25 26"),
            ("bare.example", "192.0.2.8 25"),
            ("wide.example", ""),
            ("a.wide.example", "wide.example.net 25"),
            ("a.b.wide.example", "wide.example.net 25"),
            ("not.wide.example", ""),
            ("a.deep.wide.example", "deep.example.net 25"),
            ("other.example", ""),
            ("", ""),
        ] {
            assert_eq!(shown(routes.find(domain)), expected, "{domain}");
            // What has no line of its own goes the default's way; what has one without a server does not.
            let way = match domain {
                "not.wide.example" => "",
                _ if expected.is_empty() => "192.0.2.9 587",
                _ => expected,
            };
            assert_eq!(shown(routes.way(domain)), way, "{domain}");
        }
        assert_eq!(shown(routes.default_server()), "192.0.2.9 587");
        assert!(!routes.is_empty());
    }

    #[test]
    fn a_default_route_alone_is_no_domain() {
        let (routes, problems) = load(":smarthost.example.net\n:localhost:26");
        assert!(problems.is_empty() && routes.is_empty());
        assert_eq!(shown(routes.default_server()), "localhost 26");
        assert_eq!(shown(routes.find("example.com")), "");
    }

    #[test]
    fn what_is_no_route_is_told() {
        for (line, what) in [
            ("example.com", "is no route: write DOMAIN:SERVER[:PORT]"),
            ("example.com:[192.0.2.7", "has no closing bracket"),
            ("example.com:[192.0.2.7]26", "has something odd behind the bracket"),
            ("example.com:server:smtp", "has no number of a port behind the server"),
            ("example.com:server:0", "has no number of a port behind the server"),
            ("example.com:server:65536", "has no number of a port behind the server"),
            ("example.com:2001:db8::25", "names an IPv6 address, which needs brackets"),
            ("example.com:ser/ver", "names no server"),
            ("example.com:[[192.0.2.7]]", "has something odd behind the bracket"),
        ] {
            let (routes, problems) = load(line);
            assert!(routes.is_empty(), "{line}");
            assert_eq!(problems, [format!("s:1: warning: \"{line}\" {what}")]);
        }
    }

    #[test]
    fn any_line_is_a_route_or_a_warning() {
        let seed = "a.example:[192.0.2.7]:25\n.b.example:server:26\n:[2001:db8::1]\nA.example:";
        for place in 0..seed.len() {
            for char in [':', '[', ']', '.', '\n', ' ', '0', '\u{e9}'] {
                let mut octets = seed.as_bytes().to_vec();
                octets.splice(place..=place, char.to_string().into_bytes());
                fuzz(&octets);
            }
        }
    }
}
