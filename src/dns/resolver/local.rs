//! Names that are answered here and never asked for: those of /etc/hosts, and those that mean
//! something only on this machine or in this building (RFC 6761, RFC 6303, RFC 7793).

use crate::dns::{Answer, Kind, Question, Record, reverse_name};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names of a hosts file that are taken: some people list all the web's advertisers in it.
const HOSTS_MAX: usize = 65_536;

/// Zones of which no server outside knows anything: multicast DNS, Tor, and what must not exist.
const NOWHERE: [&str; 3] = ["invalid", "local", "onion"];

/// Reverse zones of private, local and documentation addresses.
const REVERSE: [&str; 18] = [
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "c.f.ip6.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
];

/// Names with their addresses, and addresses with their names.
#[derive(Debug, Default)]
pub(super) struct Local {
    addresses: HashMap<Box<str>, Vec<IpAddr>>,
    names: HashMap<Box<str>, Box<str>>,
}

impl Local {
    /// Reads a hosts file: an address and its names on each line, comments behind `#`. Lines that
    /// are anything else are passed over.
    pub(super) fn new(hosts: &str) -> Local {
        let mut local = Local::default();
        for line in hosts.lines() {
            let line = line.split_once('#').map_or(line, |(line, _)| line);
            let mut words = line.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            let names = words.map(|name| Question::new(name, Kind::A).name);
            for (index, name) in names.enumerate() {
                if local.addresses.len() == HOSTS_MAX {
                    return local;
                }
                if index == 0 {
                    let reverse = reverse_name(address).into();
                    local.names.entry(reverse).or_insert_with(|| name.clone());
                }
                let addresses = local.addresses.entry(name).or_default();
                if addresses.len() < crate::dns::wire::RECORDS_MAX {
                    addresses.push(address);
                }
            }
        }
        local
    }

    /// What is known without asking. The hosts file comes first: a name of the local net may stand
    /// there; only `localhost` cannot be changed by it.
    pub(super) fn find(&self, question: &Question) -> Option<Answer> {
        if within(&question.name, "localhost") {
            return special(question);
        }
        let addresses = matches!(question.kind, Kind::A | Kind::Aaaa)
            .then(|| self.addresses.get(&question.name))
            .flatten()
            .map(|addresses| of_kind(addresses, question.kind));
        let name = || {
            let name = self.names.get(&question.name).filter(|_| question.kind == Kind::Ptr)?;
            Some(Answer::Found([Record::Name(name.clone())].into()))
        };
        addresses.or_else(name).or_else(|| special(question))
    }
}

/// The address that a hosts file, or the meaning of `localhost`, gives to a name: an IPv4 one if it has
/// any. For what has to be known before there is a resolver.
pub fn address_in_hosts(hosts: &str, name: &str) -> Option<IpAddr> {
    let local = Local::new(hosts);
    let find = |kind| local.find(&Question::new(name, kind))?.addresses().next();
    find(Kind::A).or_else(|| find(Kind::Aaaa))
}

/// What is known of names that no hosts file can change.
pub(super) fn special(question: &Question) -> Option<Answer> {
    const LOOPBACK: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let name = &*question.name;
    if within(name, "localhost") {
        return Some(of_kind(&LOOPBACK, question.kind));
    }
    let unknown = NOWHERE.iter().any(|zone| within(name, zone))
        || (name.ends_with("arpa") && (shared(name) || REVERSE.iter().any(|it| within(name, it))));
    unknown.then_some(Answer::NxDomain)
}

/// 172.16.0.0/12 (RFC 1918) and 100.64.0.0/10 (RFC 6598), whose reverse zones are many.
fn shared(name: &str) -> bool {
    let Some(labels) = name.strip_suffix(".in-addr.arpa") else { return false };
    let mut labels = labels.rsplit('.').map(str::parse::<u8>);
    match (labels.next(), labels.next()) {
        (Some(Ok(172)), Some(Ok(16..=31))) | (Some(Ok(100)), Some(Ok(64..=127))) => true,
        (Some(_), Some(_)) | (None | Some(_), None) | (None, Some(_)) => false,
    }
}

/// A name is a zone, or lies below it.
fn within(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn of_kind(addresses: &[IpAddr], kind: Kind) -> Answer {
    let wanted = addresses.iter().filter(|address| match kind {
        Kind::A => address.is_ipv4(),
        Kind::Aaaa => address.is_ipv6(),
        Kind::Ptr | Kind::Mx | Kind::Txt | Kind::Ns => false,
    });
    let records: Vec<Record> = wanted.copied().map(Record::Address).collect();
    if records.is_empty() { Answer::NoData } else { Answer::Found(records.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(answer: Option<Answer>) -> String {
        match answer {
            None => "ask".to_string(),
            Some(Answer::Found(records)) => records
                .iter()
                .map(|record| match record {
                    Record::Address(address) => address.to_string(),
                    Record::Name(name) => name.to_string(),
                    other => format!("{other:?}"),
                })
                .collect::<Vec<_>>()
                .join(" "),
            Some(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn names_that_never_leave() {
        let hosts = "127.0.0.1 localhost loopback # 192.0.2.9 no\n\
            192.168.7.1\tNAS.example.com. nas\n::1 localhost\nnonsense here\n192.168.7.1 second\n\
            192.0.2.80 localhost\n2001:db8::7 nas printer.local\n999.1.1.1 bad\n192.168.7.2";
        let local = Local::new(hosts);
        for (name, kind, answer) in [
            ("localhost", Kind::A, "127.0.0.1"),
            ("LOCALHOST.", Kind::Aaaa, "::1"),
            ("a.b.localhost", Kind::A, "127.0.0.1"),
            ("localhost", Kind::Mx, "NoData"),
            ("notlocalhost", Kind::A, "ask"),
            ("localhost.example", Kind::A, "ask"),
            ("invalid", Kind::Mx, "NxDomain"),
            ("a.invalid", Kind::Txt, "NxDomain"),
            ("server.local", Kind::A, "NxDomain"),
            ("printer.local", Kind::Aaaa, "2001:db8::7"),
            ("x.onion", Kind::Aaaa, "NxDomain"),
            ("nas", Kind::A, "192.168.7.1"),
            ("nas", Kind::Aaaa, "2001:db8::7"),
            ("nas.example.com", Kind::A, "192.168.7.1"),
            ("nas.example.com", Kind::Aaaa, "NoData"),
            ("nas.example.com", Kind::Mx, "ask"),
            ("no", Kind::A, "ask"),
            ("1.7.168.192.in-addr.arpa", Kind::Ptr, "nas.example.com"),
            ("1.0.0.127.in-addr.arpa", Kind::Ptr, "localhost"),
            ("2.0.0.127.in-addr.arpa", Kind::Ptr, "NxDomain"),
            ("2.7.168.192.in-addr.arpa", Kind::Ptr, "NxDomain"),
            ("10.in-addr.arpa", Kind::Ns, "NxDomain"),
            ("1.1.110.in-addr.arpa", Kind::Ptr, "ask"),
            ("1.1.16.172.in-addr.arpa", Kind::Ptr, "NxDomain"),
            ("1.1.32.172.in-addr.arpa", Kind::Ptr, "ask"),
            ("1.1.127.100.in-addr.arpa", Kind::Ptr, "NxDomain"),
            ("1.1.128.100.in-addr.arpa", Kind::Ptr, "ask"),
            ("1.2.0.192.in-addr.arpa", Kind::Ptr, "NxDomain"),
            ("2.2.2.2.in-addr.arpa", Kind::Ptr, "ask"),
            ("2.0.0.127.list.example", Kind::A, "ask"),
            ("1.2.3.4", Kind::A, "ask"),
        ] {
            assert_eq!(shown(local.find(&Question::new(name, kind))), answer, "{name} {kind:?}");
        }
        for (address, answer) in [
            ("::1", "localhost"),
            ("fd00::1", "NxDomain"),
            ("fe80::1", "NxDomain"),
            ("2001:db8::7", "nas"),
            ("2001:db8::8", "NxDomain"),
            ("2620:fe::fe", "ask"),
        ] {
            let name = reverse_name(address.parse().expect("an address"));
            let question = Question::new(&name, Kind::Ptr);
            assert_eq!(shown(local.find(&question)), answer, "{address}");
        }
        let quiet = Question::new("nas", Kind::A);
        assert_eq!(shown(special(&quiet)), "ask", "an alias does not lead into the hosts file");
    }

    #[test]
    fn a_long_hosts_file_is_cut() {
        let line = |number: usize| format!("0.0.0.0 ad{number}.example\n");
        let local = Local::new(&(0..HOSTS_MAX + 100).map(line).collect::<String>());
        assert_eq!(local.addresses.len(), HOSTS_MAX);
        let many = Local::new(&"192.0.2.1 same\n".repeat(1_000));
        assert_eq!(many.addresses.get("same").map(Vec::len), Some(64));
    }
}
