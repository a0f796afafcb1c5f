//! An SPF record, read whole before anything of it is judged (RFC 7208 sections 4.6, 5 and 12): a
//! fault anywhere in it is a fault of the record.

use super::SpfResult;
use super::macros::{MacroString, Place};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const VERSION: &[u8] = b"v=spf1";

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// In their order; what stands behind `all` is read and never met.
    pub(super) directives: Vec<Directive>,
    /// Whose record goes on where no directive matches.
    pub(super) redirect: Option<MacroString>,
    /// Where the explanation of a fail stands.
    pub(super) exp: Option<MacroString>,
}

/// A mechanism with what it means to match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// Pass, fail, softfail or neutral.
    pub(super) result: SpfResult,
    pub(super) mechanism: Mechanism,
    /// As it stands in the record, printable ASCII.
    pub(super) text: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Prefixes),
    Mx(Option<MacroString>, Prefixes),
    Ptr(Option<MacroString>),
    Ip(Net),
    Exists(MacroString),
}

impl Mechanism {
    /// It makes questions, and so counts against the limit (RFC 7208 section 4.6.4).
    pub(super) fn asks(&self) -> bool {
        !matches!(self, Mechanism::All | Mechanism::Ip(_))
    }
}

/// How many bits of an address count, for both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

impl Prefixes {
    /// The network around an address.
    pub(super) fn around(self, address: IpAddr) -> Net {
        let bits = if address.is_ipv4() { self.v4 } else { self.v6 };
        Net { address, bits }
    }
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Net {
    pub(super) address: IpAddr,
    pub(super) bits: u8,
}

impl Net {
    pub(super) fn has(self, ip: IpAddr) -> bool {
        let differ = |a: u128, b: u128, width: u32| {
            let free = width.saturating_sub(u32::from(self.bits));
            (a ^ b).checked_shr(free).unwrap_or(0) != 0
        };
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                !differ(a.to_bits().into(), b.to_bits().into(), Ipv4Addr::BITS)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => !differ(a.to_bits(), b.to_bits(), Ipv6Addr::BITS),
            _ => false,
        }
    }

    /// It holds so many addresses that whoever has one says nothing by it.
    pub(super) fn is_wide(self) -> bool {
        self.bits < if self.address.is_ipv4() { 8 } else { 16 }
    }
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The term, printable.
    pub(super) term: String,
    pub(super) what: &'static str,
}

/// A text is an SPF record, whatever stands in it behind the version.
pub(super) fn is_record(text: &[u8]) -> bool {
    text.split_at_checked(VERSION.len()).is_some_and(|(version, rest)| {
        version.eq_ignore_ascii_case(VERSION) && matches!(rest.first(), None | Some(b' '))
    })
}

/// Reads a text for which [`is_record`] holds.
///
/// # Errors
/// The first fault.
pub(super) fn parse(text: &[u8]) -> Result<Record, Fault> {
    let mut record = Record::default();
    let terms = text.get(VERSION.len()..).unwrap_or_default();
    for term in terms.split(|octet| *octet == b' ').filter(|term| !term.is_empty()) {
        let fault = |what| Fault { term: crate::mail::headers::clean(term, TERM_SHOWN), what };
        let text = std::str::from_utf8(term)
            .ok()
            .filter(|text| text.bytes().all(|octet| octet.is_ascii_graphic()))
            .ok_or_else(|| fault("a character that is not allowed"))?;
        record.take(text).map_err(fault)?;
    }
    Ok(record)
}

/// Octets of a faulty term that are shown.
const TERM_SHOWN: usize = 100;

impl Record {
    fn take(&mut self, text: &str) -> Result<(), &'static str> {
        let is_name = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        let plain = text.bytes().take_while(|octet| is_name(*octet)).count();
        let (name, rest) = text.split_at_checked(plain).unwrap_or((text, ""));
        if let Some(value) = rest.strip_prefix('=') {
            return self.take_modifier(name, value);
        }
        let (result, bare) = match text.split_at_checked(1) {
            Some(("+", bare)) => (SpfResult::Pass, bare),
            Some(("-", bare)) => (SpfResult::Fail, bare),
            Some(("~", bare)) => (SpfResult::SoftFail, bare),
            Some(("?", bare)) => (SpfResult::Neutral, bare),
            _ => (SpfResult::Pass, text),
        };
        let mechanism = mechanism(bare)?;
        self.directives.push(Directive { result, mechanism, text: text.into() });
        Ok(())
    }

    fn take_modifier(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        if !name.starts_with(|char: char| char.is_ascii_alphabetic()) {
            return Err("not the name of a modifier");
        }
        let place = match name.to_ascii_lowercase().as_str() {
            "redirect" => &mut self.redirect,
            "exp" => &mut self.exp,
            _ => return MacroString::parse(value, Place::Unknown).map(|_| ()),
        };
        let value = MacroString::parse_domain(value)?;
        if place.replace(value).is_some() { Err("it stands there twice") } else { Ok(()) }
    }
}

fn mechanism(text: &str) -> Result<Mechanism, &'static str> {
    let end = text.find([':', '/']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Ok(Mechanism::All),
        "all" => Err("text behind it"),
        "include" => domain_of(rest).map(Mechanism::Include),
        "exists" => domain_of(rest).map(Mechanism::Exists),
        "ptr" if rest.is_empty() => Ok(Mechanism::Ptr(None)),
        "ptr" => domain_of(rest).map(|domain| Mechanism::Ptr(Some(domain))),
        "a" => host_of(rest).map(|(domain, prefixes)| Mechanism::A(domain, prefixes)),
        "mx" => host_of(rest).map(|(domain, prefixes)| Mechanism::Mx(domain, prefixes)),
        "ip4" => net_of(rest, |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4), 32),
        "ip6" => net_of(rest, |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6), 128),
        _ => Err("an unknown mechanism"),
    }
}

/// `:` and a domain.
fn domain_of(text: &str) -> Result<MacroString, &'static str> {
    MacroString::parse_domain(text.strip_prefix(':').ok_or("no domain")?)
}

/// What stands behind `a` and `mx`. A domain may hold slashes too, so the lengths are taken off
/// from the right.
fn host_of(text: &str) -> Result<(Option<MacroString>, Prefixes), &'static str> {
    let (text, v6) = length_behind(text, "//", 128)?;
    let (text, v4) = length_behind(text, "/", 32)?;
    let domain = if text.is_empty() { None } else { Some(domain_of(text)?) };
    Ok((domain, Prefixes { v4: v4.unwrap_or(32), v6: v6.unwrap_or(128) }))
}

/// A text without the number at its end, and that, if a sign and nothing but digits stand there.
fn length_behind<'a>(
    text: &'a str,
    sign: &str,
    max: u8,
) -> Result<(&'a str, Option<u8>), &'static str> {
    let Some((front, digits)) = text.rsplit_once(sign) else { return Ok((text, None)) };
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return Ok((text, None));
    }
    length(digits, max).map(|bits| (front, Some(bits)))
}

fn length(digits: &str, max: u8) -> Result<u8, &'static str> {
    let plain = digits.bytes().all(|octet| octet.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    let bits = digits.parse().ok().filter(|bits| plain && *bits <= max);
    bits.ok_or("not the length of a prefix")
}

fn net_of(
    text: &str,
    read: impl Fn(&str) -> Option<IpAddr>,
    max: u8,
) -> Result<Mechanism, &'static str> {
    let text = text.strip_prefix(':').ok_or("no address")?;
    let (address, bits) = match text.split_once('/') {
        Some((address, digits)) => (address, length(digits, max)?),
        None => (text, max),
    };
    let address = read(address).ok_or("not an address")?;
    Ok(Mechanism::Ip(unmapped(Net { address, bits })))
}

/// An IPv4-mapped address counts as an IPv4 address wherever it stands (RFC 7208 section 5), as long
/// as the network has no other ones in it.
fn unmapped(net: Net) -> Net {
    match net.address.to_canonical() {
        address @ IpAddr::V4(_) if net.address.is_ipv6() && net.bits >= 96 => {
            Net { address, bits: net.bits - 96 }
        }
        _ => net,
    }
}

/// Checks on any input: no panic, and what is read is in range and reads back from its own text.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let text = if is_record(data) { data.to_vec() } else { [b"v=spf1 ", data].concat() };
    let record = match parse(&text) {
        Ok(record) => record,
        Err(fault) => {
            assert!(fault.term.len() <= TERM_SHOWN && fault.term.is_ascii());
            return;
        }
    };
    for directive in &record.directives {
        if let Mechanism::Ip(net) = directive.mechanism {
            assert!(net.bits <= if net.address.is_ipv4() { 32 } else { 128 });
            assert!(net.has(net.address));
        }
        let again = parse(format!("V=sPf1  {} ", directive.text).as_bytes());
        assert_eq!(again.map(|it| it.directives), Ok(vec![directive.clone()]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_texts_are_records() {
        for (text, expected) in [
            ("v=spf1", true),
            ("v=spf1 ", true),
            ("V=SPF1 -all", true),
            ("v=spf1 \u{96}", true),
            ("v=spf10 -all", false),
            ("v=spf1-all", false),
            ("v=spf1\t-all", false),
            (" v=spf1 -all", false),
            ("v=spf", false),
            ("spf2.0/mfrom -all", false),
            ("", false),
        ] {
            assert_eq!(is_record(text.as_bytes()), expected, "{text:?}");
        }
    }

    /// Whether the terms make a record.
    fn reads(terms: &str) -> bool {
        fuzz(terms.as_bytes());
        parse(format!("v=spf1 {terms}").as_bytes()).is_ok()
    }

    const GOOD: &[&str] = &[
        "",
        "   -all   ",
        "ALL",
        "?all all",
        "a mx ptr",
        "A:Example.COM MX:example.com",
        "a/0 a/32 a//0 a//128 a/24//64 a:example.com/24 mx:example.com//64",
        "a:foo:bar/baz.example.com",
        "a:foo/24.example.com/24",
        "a:%{d}/24//96 mx:%{i}.example.com.",
        "include:example.com exists:%{ir}.example.com",
        "ptr:example.com",
        "ip4:192.0.2.1 ip4:0.0.0.0/0 ip4:192.0.2.1/32",
        "ip6:::1 ip6:2001:DB8::/32 ip6:::1.1.1.1/33 ip6:2001:db8:1:2:3:4:5:6/128",
        "redirect=example.com",
        "EXP=%{d}",
        "a=b all=1 ip4=1.2.3.4 include=%{t}",
        "x-y_z.9= x=a x=b x=%%%-%_",
        "default=-",
    ];

    const BAD: &[&str] = &[
        "moo",
        "-all moo",
        "all. all: all:example.com all/8",
        "all.",
        "-all.",
        "all:example.com",
        "all/8",
        "--all",
        "-",
        "a: mx:",
        "a:",
        "a/33",
        "a//129",
        "a/024",
        "a/",
        "a//",
        "a/24/32",
        "a//64/24",
        "a/-1",
        "a:example.com/",
        "a:example.com/33",
        "a:example.com/032",
        "a:example.com:8080",
        "a:111.222.33.44",
        "a:museum",
        "a:museum.",
        "a:abc.123",
        "a:example.com\0",
        "a:ex\u{feff}.example.com",
        "a\rptr",
        "\ta",
        "include",
        "include:",
        "include:example.com/24",
        "exists",
        "exists:example.com/24",
        "ptr:",
        "ptr/0",
        "ptr:example.com/24",
        "ip4",
        "ip4:",
        "ip4:1.2.3",
        "ip4:01.2.3.4",
        "ip4:1.2.3.256",
        "ip4:1.2.3.4:8080",
        "ip4:1.2.3.4/33",
        "ip4:1.2.3.4/032",
        "ip4:1.2.3.4/",
        "ip4:1.2.3.4//32",
        "ip4:::1",
        "ip6",
        "ip6:1.2.3.4",
        "ip6:CAFE::1::",
        "ip6:::1/129",
        "ip6:::1//33",
        "ip6:fe80::1%1",
        "redirect",
        "redirect:example.com",
        "redirect=",
        "redirect=a.example redirect=a.example",
        "?redirect=example.com",
        "exp=",
        "exp=a.example exp=b.example",
        "exp=%{x}.example.com",
        "=bar",
        "9-x=1",
        "-x=1",
        "x!=1",
        "x=%abc",
        "x=\u{e4}",
        "(",
    ];

    #[test]
    fn terms() {
        for good in GOOD {
            assert!(reads(good), "{good}");
        }
        for bad in BAD {
            assert!(!reads(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_read() {
        let record = parse(b"v=spf1 ~A/8//16 -ip6:::ffff:192.0.2.0/120 EXP=x.example").expect("it");
        let [a, net] = &record.directives[..] else { panic!("{record:?}") };
        let prefixes = Prefixes { v4: 8, v6: 16 };
        assert_eq!((a.result, &*a.text), (SpfResult::SoftFail, "~A/8//16"));
        assert_eq!(a.mechanism, Mechanism::A(None, prefixes));
        let address = "192.0.2.0".parse().expect("an address");
        assert_eq!(net.mechanism, Mechanism::Ip(Net { address, bits: 24 }));
        assert!(record.exp.is_some() && record.redirect.is_none());
        let fault = parse(b"v=spf1 a mx:\xff\x07").expect_err("a fault");
        assert_eq!((&*fault.term, fault.what), ("mx:??", "a character that is not allowed"));
    }

    #[test]
    fn networks() {
        for (net, bits, ip, expected) in [
            ("192.0.2.0", 24, "192.0.2.255", true),
            ("192.0.2.0", 25, "192.0.2.128", false),
            ("192.0.2.1", 32, "192.0.2.1", true),
            ("192.0.2.1", 32, "192.0.2.0", false),
            ("1.1.1.1", 0, "255.0.0.0", true),
            ("1.1.1.1", 0, "::1", false),
            ("::", 0, "ffff::", true),
            ("::", 0, "1.1.1.1", false),
            ("2001:db8::", 32, "2001:db8:ffff::", true),
            ("2001:db8::", 33, "2001:db8:ffff::", false),
            ("::1", 128, "::1", true),
            ("::1", 128, "::2", false),
        ] {
            let net = Net { address: net.parse().expect("an address"), bits };
            assert_eq!(net.has(ip.parse().expect("an address")), expected, "{net:?} {ip}");
            assert_eq!(net.is_wide(), bits == 0, "{net:?}");
        }
    }
}
