//! The client's side of SMTP: asking the next server whether it would take a message, and (in
//! `forward.rs`) handing one over.
//!
//! Mail that a server behind us will not take must not be accepted here, or its sender, who is
//! mostly forged, gets a bounce. So the question is put while the client still waits: greeting, EHLO
//! (HELO where that is refused), TLS and login as for a message, MAIL, RCPT, QUIT, with one deadline for everything together. No
//! command is sent before the answer to the last one is whole, and a server that talks out of turn
//! is not believed.

pub(in crate::client) mod connection;
pub mod forward;
#[cfg(test)]
pub(crate) mod hop;
mod introduction;
pub mod known;
mod login;
pub mod pool;
pub mod reply;
#[cfg(test)]
pub(crate) mod script;
pub mod tls;
pub mod transport;

use crate::client::deadline::Deadline;
use connection::{Trouble, judged};
use forward::{NextHop, Secure};
use introduction::introduce;
use pool::Line;
use reply::Reply;
use std::net::SocketAddr;

/// One question: would you take a message of this sender for this recipient?
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// Addresses of the server; the first that takes a connection is asked.
    pub servers: &'a [SocketAddr],
    /// Our name, for EHLO.
    pub me: &'a str,
    /// The reverse-path in angle brackets.
    pub sender: &'a str,
    /// The forward-path in angle brackets.
    pub recipient: &'a str,
    /// One of the two needs SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// How what is said is kept from others; None: in clear, and without a login.
    pub secure: Option<Secure<'a>>,
}

/// How the server takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It would take the message.
    Accepted,
    /// It refuses the sender, for good (5xx) or for now (4xx).
    SenderRefused(Reply),
    /// It refuses the recipient, for good (5xx) or for now (4xx).
    RecipientRefused(Reply),
    /// The addresses need SMTPUTF8, which it does not offer.
    NoUtf8,
    /// There is no server, or none that one can talk to; in words.
    Unreachable(String),
}

/// Asks. The words tell what the admin should know of how it went.
pub fn probe(probe: &Probe<'_>, deadline: Deadline) -> (Outcome, Option<String>) {
    let Probe { servers, me, secure, .. } = *probe;
    let (line, note) = introduce(&NextHop { servers, me, client: None, secure }, deadline);
    let outcome = line.and_then(|line| converse(probe, line));
    (outcome.unwrap_or_else(|trouble| Outcome::Unreachable(trouble.to_string())), note)
}

fn converse(probe: &Probe<'_>, line: Line) -> Result<Outcome, Trouble> {
    let Line { mut connection, offers, .. } = line;
    if probe.utf8 && !offers.utf8 {
        connection.quit();
        return Ok(Outcome::NoUtf8);
    }
    let parameter = if probe.utf8 { " SMTPUTF8" } else { "" };
    let answer = connection.command(&format!("MAIL FROM:{}{parameter}", probe.sender))?;
    if !judged(&answer)? {
        connection.quit();
        return Ok(Outcome::SenderRefused(answer));
    }
    let answer = connection.command(&format!("RCPT TO:{}", probe.recipient))?;
    let taken = judged(&answer)?;
    connection.quit();
    Ok(if taken { Outcome::Accepted } else { Outcome::RecipientRefused(answer) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use script::{Play, Server};
    use std::time::Duration;

    fn ask(servers: &[SocketAddr], utf8: bool, seconds: u64) -> Outcome {
        let question = Probe {
            servers,
            me: "mx.example.net",
            sender: "<a@example.org>",
            recipient: "<b@example.com>",
            utf8,
            secure: None,
        };
        probe(&question, Deadline::after(Duration::from_secs(seconds))).0
    }

    /// Outcome in words, and what the server heard.
    fn check(plays: &[Play], utf8: bool, expected: &str, heard: &[&str]) {
        let server = Server::start(plays);
        let seen = match ask(&[server.address()], utf8, 20) {
            Outcome::Accepted => "accepted".to_string(),
            Outcome::SenderRefused(reply) => format!("sender {} {}", reply.code, reply.text()),
            Outcome::RecipientRefused(reply) => format!("{} {}", reply.code, reply.text()),
            Outcome::NoUtf8 => "no utf8".to_string(),
            Outcome::Unreachable(words) => format!("unreachable: {words}"),
        };
        assert_eq!(seen, expected, "{plays:?}");
        assert_eq!(server.heard(), heard, "{plays:?}");
    }

    #[test]
    fn servers_are_asked() {
        use Play::Say;
        const HELLO: &str = "EHLO mx.example.net";
        const MAIL: &str = "MAIL FROM:<a@example.org>";
        const RCPT: &str = "RCPT TO:<b@example.com>";
        let up = [Say("220 hi\r\n"), Say("250-x\r\n250-SMTPUTF8\r\n250 SIZE\r\n")];
        let with = |more: &[Play]| [&up, more].concat();
        let all = [HELLO, MAIL, RCPT, "QUIT"];
        check(
            &with(&[Say("250 ok\r\n"), Say("251 ok\r\n"), Say("221 bye\r\n")]),
            false,
            "accepted",
            &all,
        );
        check(
            &with(&[Say("250 ok\r\n"), Say("550 5.1.1 who?\r\n"), Say("221 bye\r\n")]),
            false,
            "550 5.1.1 who?",
            &all,
        );
        check(
            &with(&[Say("250 ok\r\n"), Say("450 later\r\n"), Say("221 bye\r\n")]),
            false,
            "450 later",
            &all,
        );
        check(
            &with(&[Say("553 no\r\n"), Say("221 bye\r\n")]),
            false,
            "sender 553 no",
            &[HELLO, MAIL, "QUIT"],
        );
        check(
            &with(&[Say("250 ok\r\n"), Say("421 4.3.2 going down\r\n"), Play::Close]),
            false,
            "421 4.3.2 going down",
            &all,
        );
        check(
            &with(&[Say("250 ok\r\n"), Say("250 ok\r\n"), Play::Close]),
            true,
            "accepted",
            &[HELLO, "MAIL FROM:<a@example.org> SMTPUTF8", RCPT, "QUIT"],
        );
    }

    #[test]
    fn old_servers_are_greeted_with_helo() {
        use Play::Say;
        let old = [Say("220 hi\r\n"), Say("500 what?\r\n"), Say("250 hi\r\n")];
        let rest = [Say("250 ok\r\n"), Say("250 ok\r\n"), Say("221 bye\r\n")];
        let (ehlo, helo) = ("EHLO mx.example.net", "HELO mx.example.net");
        let heard = [ehlo, helo, "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "QUIT"];
        check(&[&old[..], &rest].concat(), false, "accepted", &heard);
        check(&[&old[..], &[Say("221 bye\r\n")]].concat(), true, "no utf8", &[ehlo, helo, "QUIT"]);
        check(
            &[Say("220 hi\r\n"), Say("550 no\r\n"), Say("554 never\r\n"), Say("221 bye\r\n")],
            false,
            "unreachable: 554 never",
            &[ehlo, helo, "QUIT"],
        );
        check(
            &[Say("220 hi\r\n"), Say("421 full\r\n"), Say("221 bye\r\n")],
            false,
            "unreachable: 421 full",
            &[ehlo, "QUIT"],
        );
    }

    #[test]
    fn hostile_servers_are_left() {
        use Play::{Close, Flood, Say};
        let no_smtp = "unreachable: it does not answer as an SMTP server";
        for (plays, expected, heard) in [
            (
                &[Say("554 go away\r\n"), Say("221 bye\r\n")][..],
                "unreachable: 554 go away",
                &["QUIT"][..],
            ),
            (&[Close], "unreachable: it closed the connection", &[]),
            (&[Say("SSH-2.0-x\r\n")], no_smtp, &[]),
            (&[Say("220-a\r\n554 b\r\n")], "unreachable: the code changes within its reply", &[]),
            (&[Say("220 a\0b\r\n")], "unreachable: its reply holds a NUL", &[]),
            (&[Flood("x", 10_000_000)], "unreachable: a line of its reply is too long", &[]),
            (&[Flood("220-x\r\n", 10_000)], "unreachable: its reply has too many lines", &[]),
            (&[Say("220 a\r\n250 b\r\n")], "unreachable: it talks out of turn", &[]),
            (
                &[Say("220 a\r\n"), Say("250 b\r\n"), Say("354 go on\r\n")],
                no_smtp,
                &["EHLO mx.example.net", "MAIL FROM:<a@example.org>"],
            ),
        ] {
            check(plays, false, expected, heard);
        }
    }

    #[test]
    fn one_deadline_holds_for_everything() {
        // Each octet comes in time, all of them together would take an hour.
        let server = Server::start(&[Play::Drip("220 a very slow server\r\n", 100)]);
        assert_eq!(
            ask(&[server.address()], false, 1),
            Outcome::Unreachable("Connection timed out".to_string())
        );
    }

    #[test]
    fn the_next_address_is_tried() {
        let dead = Server::start(&[]).into_dead_address();
        assert_eq!(ask(&[dead], false, 20), Outcome::Unreachable("Connection refused".to_string()));
        let server = Server::start(&[Play::Say("554 but here\r\n")]);
        assert_eq!(
            ask(&[dead, server.address()], false, 20),
            Outcome::Unreachable("554 but here".to_string())
        );
        assert!(matches!(ask(&[], false, 20), Outcome::Unreachable(_)));
    }

    #[test]
    fn nothing_can_be_smuggled_into_a_command() {
        let server = Server::start(&[Play::Say("220 hi\r\n"), Play::Say("250 hi\r\n")]);
        let question = Probe {
            servers: &[server.address()],
            me: "mx.example.net",
            sender: "<a@example.org>\r\nRCPT TO:<x@example.org>",
            recipient: "<b@example.com>",
            utf8: false,
            secure: None,
        };
        let (outcome, _) = probe(&question, Deadline::after(Duration::from_secs(20)));
        assert!(matches!(outcome, Outcome::Unreachable(_)), "{outcome:?}");
        assert_eq!(server.heard(), ["EHLO mx.example.net"]);
    }
}
