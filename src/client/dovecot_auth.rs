//! Asks Dovecot's authentication service, through its client socket, whether a password is right.
//!
//! The protocol (auth-client, version 1) is lines of fields between tabs. Both sides say their version
//! first; the server tells which mechanisms it has and ends that with `DONE`. Then one request with
//! the SASL message of PLAIN in base64, and one answer: `OK`, `FAIL` with its cause, or `CONT`, which
//! PLAIN has no use for. User and password are within the base64, so nothing in them can break out of
//! a line.
//!
//! A `FAIL` that is temporary (`temp`, `code=temp_fail`) is a fault, and so is one that says that the
//! mechanism is not allowed: the password was not looked at.

use crate::client::deadline::Deadline;
use crate::client::stream::{Place, Stream};
use crate::client::{Fault, secret};
use crate::mail::headers::clean;
use crate::smtp::auth::Password;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// Longest line in octets, Dovecot's own bound.
const LINE_MAX: usize = 8_192;

/// Lines before `DONE`, and lines before the answer. A server has some ten.
const LINES_MAX: usize = 100;

/// Octets of Dovecot's reason that are logged.
const REASON_MAX: usize = 200;

/// What Dovecot may want to know of the client, for its own rules and log.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The client's address.
    pub ip: IpAddr,
    /// The address it connected to.
    pub local: Option<IpAddr>,
    /// It came by TLS. Dovecot may be told to refuse plain passwords otherwise.
    pub secured: bool,
}

/// Asks for the service `smtp`.
///
/// # Errors
/// Dovecot cannot be reached, does not speak this protocol or does not offer PLAIN, does not answer in
/// time, or answers that it cannot tell.
pub fn check(
    place: Place<'_>,
    client: &Client,
    user: &str,
    password: &Password,
    deadline: Deadline,
) -> Result<bool, Fault> {
    let mut stream = Stream::connect(place, deadline)?;
    stream.send(format!("VERSION\t1\t1\nCPID\t{}\n", std::process::id()).as_bytes())?;
    greet(&mut stream)?;
    stream.send(&request(client, user, password))?;
    for _ in 0..LINES_MAX {
        if let Some(verdict) = judge(&stream.line(LINE_MAX)?) {
            return verdict;
        }
    }
    Err("Dovecot talks too much".into())
}

/// The only request of a connection.
const ID: &[u8] = b"1";

/// Reads what the server tells about itself.
fn greet(stream: &mut Stream) -> Result<(), Fault> {
    let mut has_plain = false;
    for _ in 0..LINES_MAX {
        let line = stream.line(LINE_MAX)?;
        let mut fields = line.split(|octet| *octet == b'\t');
        match (fields.next(), fields.next()) {
            (Some(b"VERSION"), Some(b"1")) => {}
            (Some(b"VERSION"), _) => return Err("Dovecot speaks another version".into()),
            (Some(b"MECH"), Some(name)) => has_plain |= name.eq_ignore_ascii_case(b"PLAIN"),
            (Some(b"DONE"), _) if has_plain => return Ok(()),
            (Some(b"DONE"), _) => return Err("Dovecot does not offer PLAIN".into()),
            (Some(b"SPID" | b"CUID" | b"COOKIE"), _) => {}
            _ => return Err("it does not answer as Dovecot".into()),
        }
    }
    Err("Dovecot talks too much".into())
}

/// `AUTH`, the number, the mechanism, parameters, and last the message: `NUL user NUL password`.
fn request(client: &Client, user: &str, password: &Password) -> Zeroizing<Vec<u8>> {
    let message = secret(&[b"\0", user.as_bytes(), b"\0", password.reveal().as_bytes()]);
    let message = Zeroizing::new(STANDARD.encode(&message));
    let secured = if client.secured { "\tsecured" } else { "" };
    let local = client.local.map(|ip| format!("\tlip={ip}")).unwrap_or_default();
    let before = format!("AUTH\t1\tPLAIN\tservice=smtp{secured}{local}\trip={}\tresp=", client.ip);
    secret(&[before.as_bytes(), message.as_bytes(), b"\n"])
}

/// What a line behind the request says; None if it is not about that.
fn judge(line: &[u8]) -> Option<Result<bool, Fault>> {
    let mut fields = line.split(|octet| *octet == b'\t');
    match (fields.next()?, fields.next()) {
        (b"OK", Some(ID)) => Some(Ok(true)),
        (b"FAIL", Some(ID)) => Some(refused(fields)),
        (b"CONT", Some(ID)) => Some(Err("Dovecot wants more than PLAIN has".into())),
        (b"OK" | b"FAIL" | b"CONT", _) => Some(Err("Dovecot answers another request".into())),
        // Mechanisms may change while we are connected, and later versions may say more.
        _ => None,
    }
}

/// The parameters of `FAIL` tell a wrong password from the server's own trouble.
fn refused<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Result<bool, Fault> {
    let (mut reason, mut fault) = (None, None);
    for field in fields {
        match field.splitn(2, |octet| *octet == b'=').collect::<Vec<_>>().as_slice() {
            [b"temp"] | [b"code", b"temp_fail"] => fault = Some("Dovecot has trouble"),
            [b"code", b"auth_mech_ssl_required"] => fault = Some("Dovecot wants TLS for this"),
            [b"code", b"auth_mech_invalid"] => fault = Some("Dovecot does not offer PLAIN"),
            [b"reason", words] => reason = Some(clean(words, REASON_MAX)),
            _ => {}
        }
    }
    match (fault, reason) {
        (None, _) => Ok(false),
        (Some(fault), None) => Err(fault.into()),
        (Some(fault), Some(reason)) => Err(format!("{fault}: {reason}").into()),
    }
}

/// Any line is an answer, or none, or not about us.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    for line in data.split(|octet| *octet == b'\n') {
        if judge(line) == Some(Ok(true)) {
            assert!(line.starts_with(b"OK\t1"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::smtp::script::{Play, Server};
    use std::time::Duration;

    const CLIENT: Client = Client {
        ip: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        local: None,
        secured: false,
    };

    const HELLO: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\n\
                         SPID\t17\nCUID\t1\nCOOKIE\tabcdef\nDONE\n";

    fn ask(plays: &[Play], time: Duration) -> (String, Vec<String>) {
        let server = Server::start(plays);
        let place = Place::Tcp(server.address());
        let password = Password::new("pass wörd");
        let seen = check(place, &CLIENT, "tim", &password, Deadline::after(time));
        let seen = seen.map_or_else(|fault| fault.to_string(), |accepted| accepted.to_string());
        (seen, server.heard())
    }

    #[test]
    fn answers_are_read() {
        let cpid = format!("CPID\t{}", std::process::id());
        let resp = STANDARD.encode("\0tim\0pass wörd");
        let request = format!("AUTH\t1\tPLAIN\tservice=smtp\trip=192.0.2.7\tresp={resp}");
        for (answer, expected) in [
            ("OK\t1\tuser=tim\n", "true"),
            ("OK\t1\n", "true"),
            ("MECH\tX\nNEW\tthing\nOK\t1\n", "true"),
            ("FAIL\t1\tuser=tim\n", "false"),
            ("FAIL\t1\tuser=tim\tcode=pass_expired\treason=too old\n", "false"),
            ("FAIL\t1\tuser=tim\ttemp\n", "Dovecot has trouble"),
            ("FAIL\t1\tcode=temp_fail\treason=no\u{1b} db\n", "Dovecot has trouble: no? db"),
            ("FAIL\t1\ttempo=1\tuser=temp\n", "false"),
            ("FAIL\t1\tcode=auth_mech_ssl_required\n", "Dovecot wants TLS for this"),
            ("FAIL\t1\tcode=auth_mech_invalid\n", "Dovecot does not offer PLAIN"),
            ("CONT\t1\tabcd\n", "Dovecot wants more than PLAIN has"),
            ("OK\t2\n", "Dovecot answers another request"),
            ("OK\n", "Dovecot answers another request"),
        ] {
            let plays = [Play::Say(""), Play::Say(HELLO), Play::Say(answer)];
            let (seen, heard) = ask(&plays, Duration::from_secs(20));
            assert_eq!(seen, expected, "{answer}");
            assert_eq!(heard, ["VERSION\t1\t1", &cpid, &request], "{answer}");
        }
    }

    #[test]
    fn servers_that_are_not_dovecot_are_left() {
        let endless = "SPID\t1\n".repeat(101);
        let endless: &'static str = Box::leak(endless.into_boxed_str());
        for (hello, expected) in [
            ("VERSION\t2\t0\n", "Dovecot speaks another version"),
            ("VERSION\t1\t2\nMECH\tLOGIN\nDONE\n", "Dovecot does not offer PLAIN"),
            ("220 mail ESMTP\r\n", "it does not answer as Dovecot"),
            ("\n", "it does not answer as Dovecot"),
            (endless, "Dovecot talks too much"),
        ] {
            let (seen, _) = ask(&[Play::Say(hello)], Duration::from_secs(20));
            assert_eq!(seen, expected, "{hello:.20}");
        }
        let (seen, _) = ask(&[Play::Flood("x", 1_000_000)], Duration::from_secs(20));
        assert_eq!(seen, "a line of its answer is too long");
        let (seen, _) = ask(&[Play::Drip(HELLO, 50)], Duration::from_millis(200));
        assert_eq!(seen, "Connection timed out");
        for (last, expected) in [
            (Play::Flood("MECH\tX\n", 1_000), "Dovecot talks too much"),
            (Play::Close, "it closed the connection"),
        ] {
            // Behind the third line: it is a reset and no end to close with something unread.
            let plays = [Play::Say(HELLO), Play::Say(""), Play::Say(""), last];
            assert_eq!(ask(&plays, Duration::from_secs(20)).0, expected);
        }
    }

    #[test]
    fn mutated_lines_are_judged() {
        for seed in [&b"OK\t1\tuser=tim\n"[..], b"FAIL\t1\tcode=temp_fail\treason=x\nCONT\t1\n"] {
            for place in 0..seed.len() {
                for octet in [0, b'\t', b'=', b'1', b'\n', 255] {
                    let mut octets = seed.to_vec();
                    octets[place] = octet;
                    fuzz(&octets);
                    fuzz(&octets[..place]);
                }
            }
        }
    }

    #[test]
    fn what_is_known_of_the_client_is_told() {
        let local = Some("2001:db8::25".parse().unwrap());
        let client = Client { local, secured: true, ..CLIENT };
        let line = request(&client, "tim", &Password::new("x"));
        let expected =
            "AUTH\t1\tPLAIN\tservice=smtp\tsecured\tlip=2001:db8::25\trip=192.0.2.7\tresp=";
        assert!(line.starts_with(expected.as_bytes()), "{:?}", String::from_utf8_lossy(&line));
    }
}
