//! Hands a message to a local delivery agent by LMTP (RFC 2033).
//!
//! The dialogue is that of SMTP up to the final dot, behind which the server answers once for each
//! recipient: it may keep a message for one and refuse it for another. Nobody can take that back, so
//! whoever calls this should have one recipient.

use crate::client::deadline::Deadline;
use crate::client::smtp::connection::{Connection, Trouble};
use crate::client::smtp::forward::{After, Answers, Mail, Outcome, transact};
use crate::client::smtp::transport::Socket;
use crate::client::unix;
use std::net::SocketAddr;
use std::path::Path;

/// Where the agent listens.
#[derive(Clone, Copy, Debug)]
pub enum Agent<'a> {
    /// At a Unix socket.
    Unix(&'a Path),
    /// At one of these addresses.
    Tcp(&'a [SocketAddr]),
}

/// Hands a message over. `me` is our name, for LHLO.
pub fn deliver(agent: &Agent<'_>, me: &str, mail: &Mail<'_>, deadline: Deadline) -> Outcome {
    let gone = |trouble: Trouble| Outcome::Unreachable(trouble.to_string());
    converse(agent, me, mail, deadline).unwrap_or_else(gone)
}

/// An error means that nobody has the message.
fn converse(
    agent: &Agent<'_>,
    me: &str,
    mail: &Mail<'_>,
    deadline: Deadline,
) -> Result<Outcome, Trouble> {
    let mut connection = match agent {
        Agent::Unix(path) => Connection::new(Socket::new(unix::connect(path, deadline)?), deadline),
        Agent::Tcp(servers) => Connection::open(servers, deadline)?.1,
    };
    let offers = connection.greet(me, "LHLO")?;
    let (outcome, after) = transact(&mut connection, &offers, mail, Answers::Each)?;
    if after != After::Dead {
        connection.quit();
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::smtp::hop::{Act, Hop};
    use std::time::Duration;

    const PARTS: &[&[u8]] = &[b"Subject: x\r\n", b"\r\n", b".text\r\n"];

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    fn mail<'a>(recipients: &'a [String]) -> Mail<'a> {
        Mail { sender: "<>", recipients, utf8: false, eight_bit: false, parts: PARTS }
    }

    /// A message for two through an agent that answers so; the outcome in words.
    fn hand(
        deadline: Deadline,
        answer: impl Fn(usize, &str) -> Option<Act> + Send + Sync + 'static,
    ) -> (String, Hop) {
        let hop = Hop::start(&["PIPELINING", "8BITMIME"], answer);
        let recipients = ["<b@example.com>", "<c@example.com>"].map(str::to_string);
        let agent = Agent::Tcp(&[hop.address()]);
        let words = match deliver(&agent, "mx.example.net", &mail(&recipients), deadline) {
            Outcome::Taken(reply) => format!("taken: {}", reply.text()),
            Outcome::Refused(reply) => format!("refused: {} {}", reply.code, reply.text()),
            Outcome::RecipientRefused(at, reply) => {
                format!("{at}: {} {}", reply.code, reply.text())
            }
            Outcome::Unreachable(words) => format!("nobody: {words}"),
            Outcome::Unknown(words) => format!("unknown: {words}"),
            Outcome::InPart(replies) => {
                let codes: Vec<_> = replies.iter().map(|reply| reply.code.to_string()).collect();
                format!("in part: {}", codes.join(" "))
            }
            other => format!("{other:?}"),
        };
        (words, hop)
    }

    #[test]
    fn each_recipient_has_an_answer() {
        let say = |text: &'static str| {
            move |_: usize, line: &str| (line == ".").then(|| Act::Say(text.to_string()))
        };
        for (answers, expected) in [
            ("250 for b\r\n250 for c\r\n", "taken: for b"),
            ("250 for b\r\n452 4.2.2 c is full\r\n", "in part: 250 452"),
            ("550 no b\r\n250 for c\r\n", "in part: 550 250"),
            ("450 no b\r\n550 no c\r\n", "1: 550 no c"),
            ("450 no b\r\n451 no c\r\n", "0: 450 no b"),
        ] {
            let (words, hop) = hand(soon(), say(answers));
            assert_eq!(words, expected);
            let heard = hop.finish();
            let expected = [
                "LHLO mx.example.net",
                "MAIL FROM:<>",
                "RCPT TO:<b@example.com>",
                "RCPT TO:<c@example.com>",
                "DATA",
                "QUIT",
            ];
            assert_eq!(heard[0].lines, expected);
            assert_eq!(heard[0].texts, [b"Subject: x\r\n\r\n..text\r\n.\r\n"]);
        }
    }

    #[test]
    fn refusals_and_ends() {
        let say = |text: &str| Some(Act::Say(format!("{text}\r\n")));
        for (verb, act, expected) in [
            ("MAIL", say("451 no"), "refused: 451 no"),
            ("RCPT TO:<c", say("550 5.1.1 who?"), "1: 550 5.1.1 who?"),
            ("DATA", say("554 no"), "refused: 554 no"),
            ("DATA", say("250 what?"), "nobody: it does not answer as an SMTP server"),
            ("LHLO", say("500 what?"), "nobody: 500 what?"),
            ("LHLO", Some(Act::Leave(String::new())), "nobody: it closed the connection"),
            (".", Some(Act::Leave(String::new())), "unknown: it closed the connection"),
            (".", Some(Act::Leave("250 b\r\n".into())), "unknown: it closed the connection"),
            (".", say("354 what?"), "unknown: it does not answer as an SMTP server"),
            (".", say("250 b\r\n250-c\r\n550 c"), "unknown: the code changes within its reply"),
        ] {
            let (words, hop) =
                hand(soon(), move |_, line| line.starts_with(verb).then(|| act.clone()).flatten());
            assert_eq!(words, expected, "{verb}");
            drop(hop);
        }
        // One answer is missing: the time ends before it comes.
        let (words, hop) = hand(Deadline::after(Duration::from_secs(1)), |_, _| None);
        assert_eq!(words, "unknown: Connection timed out");
        drop(hop);
    }

    #[test]
    fn nobody_there() {
        let agent = Agent::Unix(Path::new("/nowhere/lmtp"));
        let outcome = deliver(&agent, "mx.example.net", &mail(&["<b@example.com>".into()]), soon());
        assert_eq!(outcome, Outcome::Unreachable("No such file or directory".to_string()));
    }
}
