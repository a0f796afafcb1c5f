//! Hands messages to a local delivery agent by LMTP: Dovecot, Cyrus, and whatever else speaks it.
//!
//! The agent answers for each recipient, and what it has delivered to one cannot be taken back when it
//! refuses another. So a message has one recipient: EHLO announces `LIMITS RCPTMAX=1`, and a second RCPT
//! is told 452, upon which the client sends him a message of his own. What leaves is canonical: CR LF
//! line ends, dots doubled, no NUL. The agent adds Return-Path and Delivered-To as it likes. There is no TLS:
//! an agent is of the same machine or network, and queue/smtp-forward is for all others.
//!
//! Arguments:
//!   AGENT        the absolute path of a Unix socket, or a host name or address
//!   PORT         of a host, 24 by default
//!   timeout      seconds that one message may take, all in all; 120 by default, at most 180
//!
//! Config files: none.
//!
//! Replies: `250 Queued! <message-id>`; `554 Unable to queue message (WORDS OF THE AGENT)`, or `451` where
//! it says 4xx (552 and 452 for size and space), with its enhanced status; `451 4.4.1 Unable to connect
//! to AGENT: ERROR`; `554 5.6.7` for want of SMTPUTF8; `452 4.5.3 Too many recipients` at RCPT.
//!
//! Karma: none.
//!
//! When it cannot tell: an agent that does not answer to the end of the message may have delivered it or
//! not. The client is told 451, so that the mail is not lost, and the log calls it a possible duplicate.
//! The same holds if a plugin has added a recipient and only some of them have got the mail.

use crate::client::deadline::Deadline;
use crate::client::lmtp::{Agent, deliver};
use crate::client::smtp::reply::Reply;
use crate::config::routes::Server;
use crate::plugin::next_hop::{Letter, addresses, told, unreachable};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The port where none is given: that of private mail systems, since LMTP may be any but SMTP's
/// (RFC 2033 section 5).
const PORT: u16 = 24;

struct Lmtp {
    at: At,
    timeout: Duration,
}

/// Where the agent is.
enum At {
    Socket(PathBuf),
    Server(Server),
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let timeout = Duration::from_secs(args.number("timeout", 120, 1..=180));
    let at = match args.positional() {
        None => {
            args.complain("say which agent: queue/lmtp /path/of/socket, or queue/lmtp HOST [PORT]");
            At::Socket(PathBuf::new())
        }
        Some(path) if path.starts_with('/') => At::Socket(path.into()),
        Some(host) => {
            let port = args.positional_number("port", PORT, 1..=u16::MAX);
            At::Server(Server::named(&host, port).unwrap_or_else(|| {
                args.complain(format!("{host}: give an absolute path, a host name or an address"));
                Server { host: host.into(), port }
            }))
        }
    };
    Arc::new(Lmtp { at, timeout })
}

impl Plugin for Lmtp {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Queue])
    }

    fn waits_for_others(&self) -> bool {
        true
    }

    fn recipients_max(&self) -> usize {
        1
    }

    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        let mut found = Vec::new();
        if let At::Server(server) = &self.at {
            match addresses(cx, server)? {
                Ok(addresses) => found = addresses,
                Err(words) => return Ok(unreachable(cx, &server.host, words)),
            }
        }
        cx.lane(Lane::Writers)?;
        let (Some(envelope), Some(message)) = (cx.envelope(), cx.message()) else {
            return Ok(Verdict::Declined);
        };
        let agent = match &self.at {
            At::Socket(path) => Agent::Unix(path),
            At::Server(_) => Agent::Tcp(&found),
        };
        let letter = Letter::new(envelope, &message);
        let deadline = Deadline::after(self.timeout);
        let outcome = deliver(&agent, &cx.config().rules.me, &letter.mail(), deadline);
        let queued = |_: &Reply| format!("Queued! {}", letter.id());
        Ok(told(cx, self.at.name(), &letter, outcome, queued))
    }
}

impl At {
    /// For log and client; nobody outside needs to know where a socket is.
    fn name(&self) -> &str {
        match self {
            At::Socket(_) => "the delivery agent",
            At::Server(server) => &server.host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::smtp::hop::{Act, Hop};
    use crate::config::files::Files;
    use crate::plugins::tests::trial::Trial;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("queue/lmtp /run/dovecot/lmtp", 0),
            ("queue/lmtp /run/dovecot/lmtp timeout 30", 0),
            ("queue/lmtp localhost", 0),
            ("queue/lmtp [::1] 2424", 0),
            ("queue/lmtp", 1),
            ("queue/lmtp run/lmtp", 1),
            ("queue/lmtp localhost lmtp", 1),
            ("queue/lmtp /run/lmtp 24", 1),
            ("queue/lmtp /run/lmtp timeout 181", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    /// A mail through an agent that answers so to its end; the replies to a second RCPT and to the dot.
    fn send(answer: &'static str) -> [String; 2] {
        let hop = Hop::start(&["PIPELINING"], move |_, line| {
            (line == ".").then(|| Act::Say(format!("{answer}\r\n")))
        });
        let plugins = format!("rcpt_ok\nqueue/lmtp 127.0.0.1 {}\n", hop.address().port());
        let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
        let mut trial = Trial::connect(&files, "192.0.2.1");
        assert!(trial.say("EHLO client.example").ends_with("\n250 LIMITS RCPTMAX=1"));
        trial.say("MAIL FROM:<a@example.org>");
        trial.say("RCPT TO:<b@example.com>");
        let second = trial.say("RCPT TO:<c@example.com>");
        trial.say("DATA");
        let reply = trial.say("Message-ID: <1@example.org>\r\n\r\n.");
        drop(trial);
        assert_eq!(hop.finish()[0].lines[2..4], ["RCPT TO:<b@example.com>", "DATA"]);
        [second, reply]
    }

    #[test]
    fn one_recipient_a_message() {
        for (answer, expected) in [
            ("250 2.0.0 <b@example.com> abc Saved", "250 2.0.0 Queued! <1@example.org>"),
            (
                "552 5.2.2 <b@example.com> Quota exceeded",
                "552 5.2.2 Unable to queue message (<b@example.com>: 5.2.2 <b@example.com> Quota \
                 exceeded) [7.1]",
            ),
            ("451 later", "451 4.1.1 Unable to queue message (<b@example.com>: later) [7.1]"),
            ("what?", "451 4.4.2 Unable to queue message (no answer from 127.0.0.1) [7.1]"),
        ] {
            let [second, reply] = send(answer);
            assert_eq!(second, "452 4.5.3 Too many recipients");
            assert_eq!(reply, expected);
        }
    }
}
