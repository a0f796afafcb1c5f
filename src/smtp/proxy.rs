//! What a proxy in front of us says of its client: the PROXY header (HAProxy's PROXY protocol, versions
//! 1 and 2) and the command XCLIENT of Postfix.
//!
//! Both name the address by which every check judges, so neither is read from anybody but the hosts that
//! the administrator has named. A header that names no address (`UNKNOWN`, `UNSPEC`, a UNIX socket) is
//! refused: the proxy's own address, which may well have the right to relay, must not stand in for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest line of version 1, CR LF included.
const LINE_MAX: usize = 107;

/// Longest header of version 2, its additions (TLVs) included.
pub const HEADER_MAX: usize = 4_096;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Longest value of XCLIENT in octets, decoded.
const VALUE_MAX: usize = 255;

/// What stands at the beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The header is not complete.
    More,
    /// The addresses of client and server, and how many octets the header has.
    Client(SocketAddr, SocketAddr, usize),
    /// The proxy itself has come, to see whether we live; how many octets the header has.
    Local(usize),
    /// No header, or one that cannot be used.
    Wrong(&'static str),
}

/// Reads a header. More octets than it has may follow.
pub fn header(octets: &[u8]) -> Header {
    let is_second = octets.iter().zip(SIGNATURE).all(|(octet, wanted)| octet == wanted);
    match octets.split_at_checked(SIGNATURE.len()) {
        Some((_, rest)) if is_second => second(rest),
        _ if is_second => Header::More,
        _ => first(octets),
    }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.25 40000 25` CR LF.
fn first(octets: &[u8]) -> Header {
    if !octets.iter().zip(b"PROXY ").all(|(octet, wanted)| octet == wanted) {
        return Header::Wrong("no PROXY header");
    }
    let Some(end) = octets.windows(2).take(LINE_MAX - 1).position(|pair| pair == b"\r\n") else {
        let more = octets.len() < LINE_MAX;
        return if more { Header::More } else { Header::Wrong("the PROXY line is too long") };
    };
    let line = octets.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let words: Vec<&str> = line.unwrap_or_default().split(' ').collect();
    let [_, family, from, to, from_port, to_port] = words.as_slice() else {
        let unknown = words.get(1) == Some(&"UNKNOWN");
        let why = if unknown { "PROXY UNKNOWN names no client" } else { "PROXY line" };
        return Header::Wrong(why);
    };
    let address = |ip: &str, port: &str| {
        let ip: IpAddr = match *family {
            "TCP4" => ip.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => ip.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        let plain = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
        Some(SocketAddr::new(ip, port.parse().ok().filter(|_| plain)?))
    };
    match (address(from, from_port), address(to, to_port)) {
        (Some(from), Some(to)) => Header::Client(from, to, end + 2),
        _ => Header::Wrong("PROXY line"),
    }
}

/// What follows the signature: version and command, family, length, addresses, additions.
fn second(rest: &[u8]) -> Header {
    let Some((&[command, family, high, low], rest)) = rest.split_first_chunk::<4>() else {
        return Header::More;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let used = SIGNATURE.len() + 4 + length;
    if used > HEADER_MAX {
        return Header::Wrong("the PROXY header is too long");
    }
    let Some(content) = rest.get(..length) else { return Header::More };
    match (command, family) {
        (0x20, _) => Header::Local(used),
        (0x21, 0x11) => match content.split_first_chunk::<12>() {
            Some((&[a, b, c, d, e, f, g, h, i, j, k, l], _)) => Header::Client(
                (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([i, j])).into(),
                (Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([k, l])).into(),
                used,
            ),
            None => Header::Wrong("the PROXY header is too short"),
        },
        (0x21, 0x21) => {
            let Some((from, rest)) = content.split_first_chunk::<16>() else {
                return Header::Wrong("the PROXY header is too short");
            };
            let Some((to, rest)) = rest.split_first_chunk::<16>() else {
                return Header::Wrong("the PROXY header is too short");
            };
            let Some((&[i, j, k, l], _)) = rest.split_first_chunk::<4>() else {
                return Header::Wrong("the PROXY header is too short");
            };
            Header::Client(
                (Ipv6Addr::from(*from), u16::from_be_bytes([i, j])).into(),
                (Ipv6Addr::from(*to), u16::from_be_bytes([k, l])).into(),
                used,
            )
        }
        (0x21, _) => Header::Wrong("the PROXY header names no TCP client"),
        _ => Header::Wrong("PROXY version or command"),
    }
}

/// What XCLIENT says (Postfix's XCLIENT_README).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// The client's address, if it was named.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// Its reverse name; of the alphabet of host names.
    pub name: Option<Box<str>>,
    /// Who has logged in at the proxy.
    pub login: Option<Box<str>>,
}

/// Attributes that EHLO announces.
pub const ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// Reads the argument of XCLIENT: `ATTRIBUTE=xtext …`.
///
/// # Errors
/// What is wrong with it.
pub fn introduction(argument: &[u8]) -> Result<Introduction, &'static str> {
    let text = std::str::from_utf8(argument).map_err(|_| "not ASCII")?;
    let mut found = Introduction::default();
    let mut any = false;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (attribute, value) = word.split_once('=').ok_or("write ATTRIBUTE=value")?;
        let value = unquoted(value).ok_or("a value is no xtext, or too long")?;
        let known = !matches!(&*value, "[UNAVAILABLE]" | "[TEMPUNAVAIL]");
        any = true;
        match attribute.to_ascii_uppercase().as_str() {
            "ADDR" if known => found.ip = Some(address(&value).ok_or("ADDR is no address")?),
            "ADDR" => return Err("ADDR has to be known"),
            "PORT" if known => found.port = Some(value.parse().map_err(|_| "PORT is no port")?),
            "NAME" if known => {
                let host = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
                found.name = Some(value).filter(|name| name.chars().all(host));
            }
            "LOGIN" if known => found.login = Some(value).filter(|login| !login.is_empty()),
            "NAME" | "PORT" | "LOGIN" | "HELO" | "DESTADDR" | "DESTPORT" => {}
            "PROTO" if matches!(&*value, "SMTP" | "ESMTP" | "[UNAVAILABLE]") => {}
            "PROTO" => return Err("PROTO is SMTP or ESMTP"),
            _ => return Err("an unknown attribute"),
        }
    }
    if any { Ok(found) } else { Err("no attribute") }
}

fn address(value: &str) -> Option<IpAddr> {
    match value.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPV6:") => {
            value.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => value.parse().ok(),
    }
}

/// xtext (RFC 3461 section 4), decoded. Nothing in it may end a line or a field.
fn unquoted(value: &str) -> Option<Box<str>> {
    let mut octets = Vec::new();
    let mut rest = value.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            octet => octet,
        });
    }
    let text = String::from_utf8(octets).ok()?;
    (text.len() <= VALUE_MAX && !text.chars().any(char::is_control)).then(|| text.into())
}

/// Reads both forms from any octets; what a header says does not depend on what follows it.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    match header(data) {
        Header::Client(from, to, used) => {
            let (head, _) = data.split_at(used);
            assert_eq!(header(head), Header::Client(from, to, used));
            assert!(used <= HEADER_MAX);
            assert_eq!(header(head.split_at(used - 1).0), Header::More);
        }
        Header::Local(used) => assert!(used <= data.len() && used <= HEADER_MAX),
        Header::More => assert!(data.len() < HEADER_MAX),
        Header::Wrong(_) => {}
    }
    if let Ok(found) = introduction(data) {
        let texts = [found.name, found.login];
        assert!(texts.iter().flatten().all(|text| !text.contains(['\r', '\n', '\0'])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(from: &str, to: &str, used: usize) -> Header {
        Header::Client(from.parse().expect("from"), to.parse().expect("to"), used)
    }

    fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("short");
        [&SIGNATURE[..], &[command, family], &length.to_be_bytes(), content].concat()
    }

    #[test]
    fn version_1() {
        let four = "PROXY TCP4 192.0.2.1 198.51.100.25 40000 25\r\n";
        let six = "PROXY TCP6 2001:db8::1 2001:db8::25 1 65535\r\n";
        for (text, found) in [
            (four, client("192.0.2.1:40000", "198.51.100.25:25", four.len())),
            (
                &format!("{four}EHLO x\r\n"),
                client("192.0.2.1:40000", "198.51.100.25:25", four.len()),
            ),
            (six, client("[2001:db8::1]:1", "[2001:db8::25]:65535", six.len())),
            ("", Header::More),
            ("PRO", Header::More),
            ("PROXY TCP4 192.0.2.1 ", Header::More),
            ("EHLO x\r\n", Header::Wrong("no PROXY header")),
            ("proxy TCP4", Header::Wrong("no PROXY header")),
            ("PROXY UNKNOWN\r\n", Header::Wrong("PROXY UNKNOWN names no client")),
            ("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", Header::Wrong("PROXY line")),
            ("PROXY TCP4 192.0.2.1 198.51.100.25 +1 25\r\n", Header::Wrong("PROXY line")),
            ("PROXY TCP4 192.0.2.1 198.51.100.25 70000 25\r\n", Header::Wrong("PROXY line")),
            ("PROXY TCP4 192.0.2.1  198.51.100.25 1 25\r\n", Header::Wrong("PROXY line")),
            (&format!("PROXY {}", "x".repeat(101)), Header::Wrong("the PROXY line is too long")),
        ] {
            assert_eq!(header(text.as_bytes()), found, "{text}");
            fuzz(text.as_bytes());
        }
    }

    #[test]
    fn version_2() {
        let four = [192, 0, 2, 1, 198, 51, 100, 25, 0x9c, 0x40, 0, 25];
        let with_tlv = [&four[..], &[0x20, 0, 1, 7]].concat();
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 1, 0, 2]].concat();
        for (octets, found) in [
            (v2(0x21, 0x11, &four), client("192.0.2.1:40000", "198.51.100.25:25", 28)),
            (v2(0x21, 0x11, &with_tlv), client("192.0.2.1:40000", "198.51.100.25:25", 32)),
            (v2(0x21, 0x21, &six), client("[::1]:1", "[::]:2", 52)),
            (v2(0x20, 0, &[]), Header::Local(16)),
            (v2(0x21, 0x11, &four[..11]), Header::Wrong("the PROXY header is too short")),
            (v2(0x21, 0x21, &six[..20]), Header::Wrong("the PROXY header is too short")),
            (v2(0x21, 0x31, &[0; 216]), Header::Wrong("the PROXY header names no TCP client")),
            (v2(0x21, 0, &[]), Header::Wrong("the PROXY header names no TCP client")),
            (v2(0x11, 0x11, &four), Header::Wrong("PROXY version or command")),
            (v2(0x21, 0x11, &[0; 5_000]), Header::Wrong("the PROXY header is too long")),
        ] {
            assert_eq!(header(&octets), found);
            fuzz(&octets);
        }
        let whole = v2(0x21, 0x11, &four);
        for end in 0..whole.len() {
            assert_eq!(header(&whole[..end]), Header::More, "{end}");
        }
    }

    #[test]
    fn what_xclient_says() {
        let found = introduction(
            b"NAME=spike.porcupine.org ADDR=168.100.189.2 PORT=+31 PROTO=ESMTP LOGIN=a+40b HELO=x",
        );
        let expected = Introduction {
            ip: Some("168.100.189.2".parse().expect("an address")),
            port: Some(1),
            name: Some("spike.porcupine.org".into()),
            login: Some("a@b".into()),
        };
        assert_eq!(found, Ok(expected));
        let six = introduction(b"ADDR=IPV6:2001:db8::1 NAME=[UNAVAILABLE]").expect("it is right");
        assert_eq!(six.ip, "2001:db8::1".parse().ok());
        assert_eq!(six.name, None);
        for wrong in [
            &b""[..],
            b"ADDR",
            b"ADDR=nobody",
            b"ADDR=[UNAVAILABLE]",
            b"LOGIN=a+0D+0AMAIL",
            b"LOGIN=a+0",
            b"LOGIN=\xff",
            b"PORT=x",
            b"PROTO=HTTP",
            b"COLOR=red",
        ] {
            assert!(introduction(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
        assert!(introduction(format!("NAME={}", "x".repeat(10_000)).as_bytes()).is_err());
        assert_eq!(introduction(b"NAME=a(b)").map(|it| it.name), Ok(None));
    }
}
