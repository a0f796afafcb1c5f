//! Asks an IMAP server whether a password is right, by logging in (RFC 3501 section 6.2.3).
//!
//! User and password are sent as literals, each after the server has asked for it, so that neither can
//! break out of its line and both may hold any character. The connection is in clear: this is for a
//! server on the same machine or network, as qpsmtpd's plugin `auth_imap` has it.
//!
//! `OK` is yes and `NO` is no, unless its response code (RFC 5530) says that the server itself is in
//! trouble or wants TLS first; `BAD`, `BYE` and everything else are faults.
//!
//! To the server all logins come from this machine. One that makes who guesses wait, as Dovecot does,
//! makes everybody wait while somebody guesses: [`crate::client::dovecot_auth`] tells it the client's
//! own address.

use crate::client::deadline::Deadline;
use crate::client::stream::{Place, Stream};
use crate::client::{Fault, secret};
use crate::mail::headers::clean;
use crate::smtp::auth::Password;

/// Longest line in octets. An answer to LOGIN may announce all capabilities.
const LINE_MAX: usize = 8_192;

/// Lines before the one that is waited for.
const LINES_MAX: usize = 100;

/// Octets of the server's words that are logged.
const WORDS_MAX: usize = 200;

/// The tag of the login.
const TAG: &[u8] = b"a ";

/// Response codes of a `NO` that are not about the password.
const OTHER_CAUSES: [&[u8]; 9] = [
    b"UNAVAILABLE",
    b"PRIVACYREQUIRED",
    b"CONTACTADMIN",
    b"INUSE",
    b"SERVERBUG",
    b"CLIENTBUG",
    b"LIMIT",
    b"OVERQUOTA",
    b"CORRUPTION",
];

/// Asks.
///
/// # Errors
/// The server cannot be reached, does not answer as an IMAP server or not in time, or cannot tell.
pub fn check(
    place: Place<'_>,
    user: &str,
    password: &Password,
    deadline: Deadline,
) -> Result<bool, Fault> {
    let mut stream = Stream::connect(place, deadline)?;
    greet(&stream.line(LINE_MAX)?)?;
    stream.send(format!("a LOGIN {{{}}}\r\n", user.len()).as_bytes())?;
    if let Some(verdict) = answer(&mut stream)? {
        return Ok(verdict);
    }
    stream.send(format!("{user} {{{}}}\r\n", password.reveal().len()).as_bytes())?;
    if let Some(verdict) = answer(&mut stream)? {
        return Ok(verdict);
    }
    stream.send(&secret(&[password.reveal().as_bytes(), b"\r\n"]))?;
    let verdict = answer(&mut stream)?.ok_or("it asks for more than there is")?;
    // What it makes of this does not matter any more.
    let _farewell = stream.send(b"b LOGOUT\r\n");
    Ok(verdict)
}

fn greet(line: &[u8]) -> Result<(), Fault> {
    match status(line.strip_prefix(b"* ").unwrap_or_default()) {
        (b"OK", _) => Ok(()),
        (b"PREAUTH", _) => Err("it knows everybody without a password".into()),
        (b"BYE", text) => Err(said("it says goodbye", text)),
        _ => Err("it does not answer as an IMAP server".into()),
    }
}

/// Waits for the answer to what was sent: None if the server asks for more.
fn answer(stream: &mut Stream) -> Result<Option<bool>, Fault> {
    for _ in 0..LINES_MAX {
        let line = stream.line(LINE_MAX)?;
        if line.starts_with(b"+") {
            return Ok(None);
        }
        if let Some(text) = line.strip_prefix(TAG) {
            return judge(text).map(Some);
        }
        let Some(text) = line.strip_prefix(b"* ") else {
            return Err("it does not answer as an IMAP server".into());
        };
        if let (b"BYE", text) = status(text) {
            return Err(said("it says goodbye", text));
        }
    }
    Err("it talks too much".into())
}

/// What stands behind our tag.
fn judge(text: &[u8]) -> Result<bool, Fault> {
    match status(text) {
        (b"OK", _) => Ok(true),
        (b"NO", text) if is_other_cause(text) => Err(said("it cannot tell", text)),
        (b"NO", _) => Ok(false),
        (b"BAD", text) => Err(said("it does not understand", text)),
        _ => Err("it does not answer as an IMAP server".into()),
    }
}

/// The word in front, and the rest.
fn status(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|octet| *octet == b' ').unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or_default();
    (word, rest.trim_ascii_start())
}

/// `[CODE]` or `[CODE arguments]`, and CODE is one of those.
fn is_other_cause(text: &[u8]) -> bool {
    let code = text.strip_prefix(b"[").unwrap_or_default();
    let code = code.split(|octet| matches!(octet, b']' | b' ')).next().unwrap_or_default();
    OTHER_CAUSES.iter().any(|cause| cause.eq_ignore_ascii_case(code))
}

fn said(what: &str, text: &[u8]) -> Fault {
    format!("{what}: {}", clean(text, WORDS_MAX)).into()
}

/// Any line is an answer or a fault.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    for line in data.split(|octet| *octet == b'\n') {
        if judge(line) == Ok(true) {
            assert!(line.starts_with(b"OK"));
        }
        if let Err(fault) = greet(line) {
            assert!(fault.to_string().bytes().all(|octet| matches!(octet, b' '..=b'~')));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::smtp::script::{Play, Server};
    use std::time::Duration;

    fn ask(plays: &[Play], time: Duration) -> (String, Vec<String>) {
        let server = Server::start(plays);
        let place = Place::Tcp(server.address());
        let seen = check(place, "tim", &Password::new("pass\"wörd"), Deadline::after(time));
        let seen = seen.map_or_else(|fault| fault.to_string(), |accepted| accepted.to_string());
        (seen, server.heard())
    }

    #[test]
    fn logins_are_judged() {
        let all = ["a LOGIN {3}", "tim {10}", "pass\"wörd", "b LOGOUT"];
        for (answer, expected) in [
            ("a OK [CAPABILITY IMAP4rev1] Logged in\r\n", "true"),
            ("a OK\r\n", "true"),
            ("* CAPABILITY IMAP4rev1\r\na OK done\r\n", "true"),
            ("a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n", "false"),
            ("a NO go away\r\n", "false"),
            ("a NO\r\n", "false"),
            ("a NO [UNAVAILABLE] no db\r\n", "it cannot tell: [UNAVAILABLE] no db"),
            ("a NO [PRIVACYREQUIRED] TLS\r\n", "it cannot tell: [PRIVACYREQUIRED] TLS"),
            ("a BAD what?\u{7}\r\n", "it does not understand: what??"),
            ("a YES\r\n", "it does not answer as an IMAP server"),
            ("c OK\r\n", "it does not answer as an IMAP server"),
            ("* BYE shutting down\r\n", "it says goodbye: shutting down"),
            ("+ more\r\n", "it asks for more than there is"),
        ] {
            let go = Play::Say("+ go\r\n");
            let plays = [Play::Say("* OK [CAPABILITY X] hi\r\n"), go, go, Play::Say(answer)];
            let (seen, heard) = ask(&plays, Duration::from_secs(20));
            assert_eq!(seen, expected, "{answer}");
            assert!(all.starts_with(&heard.iter().map(String::as_str).collect::<Vec<_>>()));
            assert!(heard.len() >= 3, "{heard:?}");
        }
    }

    #[test]
    fn refusals_before_the_password_are_judged() {
        let hi = Play::Say("* OK hi\r\n");
        for (plays, expected) in [
            (
                &[hi, Play::Say("a NO [PRIVACYREQUIRED] x\r\n")][..],
                "it cannot tell: [PRIVACYREQUIRED] x",
            ),
            (&[hi, Play::Say("a BAD no literals\r\n")], "it does not understand: no literals"),
            (&[hi, Play::Say("+\r\n"), Play::Say("a NO who?\r\n")], "false"),
            (&[hi, Play::Close], "it closed the connection"),
            (&[Play::Say("* PREAUTH x\r\n")], "it knows everybody without a password"),
            (&[Play::Say("* BYE full\r\n")], "it says goodbye: full"),
            (&[Play::Say("220 mail ESMTP\r\n")], "it does not answer as an IMAP server"),
            (&[Play::Say("\r\n")], "it does not answer as an IMAP server"),
            (&[Play::Close], "it closed the connection"),
            (&[hi, Play::Flood("* x\r\n", 1_000)], "it talks too much"),
            (&[Play::Flood("x", 1_000_000)], "a line of its answer is too long"),
        ] {
            let (seen, heard) = ask(plays, Duration::from_secs(20));
            assert_eq!(seen, expected);
            assert!(!heard.iter().any(|line| line.contains("pass")), "{heard:?}");
        }
        let (seen, _) = ask(&[Play::Drip("* OK hello", 50)], Duration::from_millis(200));
        assert_eq!(seen, "Connection timed out");
    }

    #[test]
    fn mutated_lines_are_judged() {
        for seed in [&b"* OK [CAPABILITY X] hi"[..], b"OK done", b"NO [UNAVAILABLE] x"] {
            for place in 0..seed.len() {
                for octet in [0, b' ', b'[', b']', b'\r', 255] {
                    let mut octets = seed.to_vec();
                    octets[place] = octet;
                    fuzz(&octets);
                    fuzz(&octets[..place]);
                }
            }
        }
    }
}
