//! Asks the server behind us whether it would take a recipient, before we do.
//!
//! For a domain that the file `smtproutes` sends to a server of its own, that server is given sender
//! and recipient (EHLO or HELO, MAIL, RCPT, QUIT) while the client waits, on a connection for each
//! recipient. What it refuses is refused here in its own words, so that no bounce has to be sent for
//! mail that was accepted. A recipient that was taken is not asked about again for five minutes, by
//! whomever the mail is; within a message, a server that did not answer is not asked again. The line
//! without a domain, the default route, is not asked about. Put it before rcpt_ok, and behind what
//! refuses without asking anybody. TLS and login are as in queue/smtp-forward; give both the same arguments.
//!
//! Arguments:
//!   tls          off, may, required or verify: see queue/smtp-forward
//!   ca           for verify: see there
//!   timeout      seconds that one question may take, all in all; 30 by default, at most 120
//!
//! Config files: `smtproutes`, lines `domain:server` or `domain:server:port`; brackets and blanks mean
//! nothing (an IPv6 address needs brackets), and a later line for the same domain wins. `smtpauth`: see
//! queue/smtp-forward.
//!
//! Replies: `550 5.1.1 Unable to queue message (WORDS OF THE SERVER)`, `450` where it says 4xx, with
//! the server's own enhanced status where it gives one; `450 4.4.1 Unable to connect to SERVER:
//! ERROR`.
//!
//! Karma: none.
//!
//! When it cannot tell: the recipient is put off, since a server that is away cannot take mail.

use crate::client::deadline::Deadline;
use crate::client::smtp::known::Known;
use crate::client::smtp::{Outcome, Probe, probe};
use crate::config::routes::{Routes, Server};
use crate::plugin::log::{Level, foreign};
use crate::plugin::next_hop::{Protection, addresses, path, refused};
use crate::plugin::program::refusal;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use crate::smtp::address::Address;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Servers that did not answer which one transaction remembers.
const DOWN_MAX: usize = 16;

struct SmtpForward {
    routes: Routes,
    protection: Protection,
    timeout: Duration,
    /// Looked into on the lane only.
    known: Known,
}

/// Note on a transaction: servers that did not answer, and what was said of them.
#[derive(Clone, Default)]
struct Down(Vec<(Server, String)>);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let timeout = Duration::from_secs(args.number("timeout", 30, 1..=120));
    let lines = setup.lines("smtproutes");
    let routes = setup.with_problems(|problems| Routes::load(&lines, problems));
    let protection = Protection::load(args, setup);
    Arc::new(SmtpForward { routes, protection, timeout, known: Known::default() })
}

impl Plugin for SmtpForward {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt])
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        let Some(server) = self.routes.find(recipient.domain()) else {
            cx.log(Level::Debug, "skip, no route");
            return Ok(Verdict::Declined);
        };
        if let Some(text) = cx.mail_note::<Down>().and_then(|down| down.find(server)) {
            cx.log(Level::Info, "fail, did not answer before");
            return Ok(Verdict::deny_soft((4, 1), text));
        }
        let addresses = match addresses(cx, server)? {
            Ok(addresses) => addresses,
            Err(words) => return Ok(unreachable(cx, server, words)),
        };
        cx.lane(Lane::Scanners)?;
        let shown = foreign(server.host.as_bytes());
        let place = format!("{}:{}", server.host, server.port);
        if self.known.holds(&place, &path(recipient)) {
            cx.log(Level::Debug, format!("pass, {shown} took it before"));
            return Ok(Verdict::Declined);
        }
        let (outcome, note) = self.ask(cx, &server.host, &addresses, recipient);
        if let Some(note) = note {
            cx.log(Level::Notice, format!("skip, {}", foreign(note.as_bytes())));
        }
        let (reply, default) = match outcome {
            Outcome::Accepted => {
                self.known.note(&place, &path(recipient));
                cx.log(Level::Debug, format!("pass, {shown} takes it"));
                return Ok(Verdict::Declined);
            }
            Outcome::Unreachable(words) => return Ok(unreachable(cx, server, &words)),
            Outcome::NoUtf8 => {
                let words = format!("{} does not offer SMTPUTF8", server.host);
                cx.log(Level::Info, format!("fail, {}", foreign(words.as_bytes())));
                return Ok(Verdict::deny((6, 7), refusal(&words)));
            }
            Outcome::SenderRefused(reply) => (reply, (1, 0)),
            Outcome::RecipientRefused(reply) => (reply, (1, 1)),
        };
        let words = foreign(reply.text().as_bytes());
        cx.log(Level::Info, format!("fail, {shown} says {} {words}", reply.code));
        Ok(refused(&reply, default, &reply.text()))
    }
}

impl SmtpForward {
    fn ask(
        &self,
        cx: &Cx<'_>,
        host: &str,
        addresses: &[SocketAddr],
        recipient: &Address,
    ) -> (Outcome, Option<String>) {
        let sender = cx.envelope().and_then(|envelope| envelope.mail.reverse_path.address());
        let utf8 = |address: &Address| !address.local().is_ascii();
        let question = Probe {
            servers: addresses,
            me: &cx.config().rules.me,
            sender: &sender.map_or_else(|| "<>".to_string(), path),
            recipient: &path(recipient),
            utf8: utf8(recipient) || sender.is_some_and(utf8),
            secure: Some(self.protection.of(host, addresses)),
        };
        probe(&question, Deadline::after(self.timeout))
    }
}

impl Down {
    fn find(&self, server: &Server) -> Option<&str> {
        let (_, text) = self.0.iter().find(|(down, _)| down == server)?;
        Some(text)
    }
}

/// The server is away: this recipient is put off, and so are the next ones of its domain.
fn unreachable(cx: &mut Cx<'_>, server: &Server, words: &str) -> Verdict {
    let text = format!("Unable to connect to {}: {words}", server.host);
    cx.log(Level::Warning, format!("fail, {}", foreign(text.as_bytes())));
    let mut down = cx.mail_note::<Down>().cloned().unwrap_or_default();
    if down.0.len() < DOWN_MAX {
        down.0.push((server.clone(), text.clone()));
        cx.keep_mail_note(down);
    }
    Verdict::deny_soft((4, 1), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::smtp::hop::{Act, Hop};
    use crate::client::smtp::script::{Play, Server as Script};
    use crate::config::files::Files;
    use crate::plugins::tests::trial::Trial;
    use Play::Say;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("check_smtp_forward", 0),
            ("check_smtp_forward timeout 5", 0),
            ("check_smtp_forward timeout=120", 0),
            ("check_smtp_forward timeout 0", 1),
            ("check_smtp_forward timeout 121", 1),
            ("check_smtp_forward example.com", 1),
            ("check_smtp_forward tls required", 0),
            ("check_smtp_forward tls perhaps", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    /// A client whose recipients in example.com are asked about at this server.
    fn trial(server: &Script, more: &str) -> Trial {
        let route = format!("example.com:[127.0.0.1]:{}\n", server.address().port());
        let mut trial = Trial::connect(
            &[
                ("plugins", &format!("check_smtp_forward {more}\nrcpt_ok\nqueue/discard\n")),
                ("smtproutes", &route),
                ("rcpthosts", "example.com\nexample.net"),
            ],
            "192.0.2.1",
        );
        trial.say("EHLO client.example");
        trial
    }

    #[test]
    fn the_server_decides() {
        let accepted = "250 2.1.5 <b@example.com>, recipient ok";
        for (mail, rcpt, expected) in [
            ("250 ok\r\n", "250 ok\r\n", accepted),
            (
                "250 ok\r\n",
                "550 5.1.10 no such user here\r\n",
                "550 5.1.10 Unable to queue message (5.1.10 no such user here) [7.1]",
            ),
            ("250 ok\r\n", "550 no\r\n", "550 5.1.1 Unable to queue message (no) [7.1]"),
            (
                "250 ok\r\n",
                "450-4.2.2 mailbox full\r\n450 4.2.2 try later\r\n",
                "450 4.2.2 Unable to queue message (4.2.2 mailbox full 4.2.2 try later) [7.1]",
            ),
            ("451 busy\r\n", "221 bye\r\n", "450 4.1.0 Unable to queue message (busy) [7.1]"),
            (
                "553 5.7.1 not you\r\n",
                "221 bye\r\n",
                "550 5.7.1 Unable to queue message (5.7.1 not you) [7.1]",
            ),
            (
                "250 ok\r\n",
                "250-ok\r\n550 no\r\n",
                "450 4.4.1 Unable to connect to 127.0.0.1: the code changes within its reply [7.1]",
            ),
        ] {
            let steps =
                [Say("220 hi\r\n"), Say("250 hi\r\n"), Say(mail), Say(rcpt), Say("221 bye\r\n")];
            let server = Script::start(&steps.map(|step| match step {
                Say(text) => Say(Box::leak(text.to_string().into_boxed_str())),
                other => other,
            }));
            let mut trial = trial(&server, "");
            trial.say("MAIL FROM:<a@example.org>");
            assert_eq!(trial.say("RCPT TO:<b@example.com>"), expected);
            let word = if expected == accepted { "pass, 127.0.0.1 takes it" } else { "fail, " };
            let line = format!("check_smtp_forward: {word}");
            assert!(trial.take_log().iter().any(|it| it.starts_with(&line)), "no {line}");
            let heard = server.heard();
            assert_eq!(heard[0], "EHLO mx.example.net");
            assert_eq!(heard[1], "MAIL FROM:<a@example.org>");
        }
    }

    /// What a server wants that we should have given it is no fault of the sender's.
    #[test]
    fn a_server_that_wants_a_login() {
        let hop = Hop::start(&["AUTH PLAIN"], |_, line| {
            line.starts_with("MAIL").then(|| Act::Say("530 5.7.0 who are you?\r\n".into()))
        });
        let route = format!("example.com:[127.0.0.1]:{}\n", hop.address().port());
        for smtpauth in ["", "127.0.0.1 ann secret"] {
            let mut trial = Trial::connect(
                &[
                    ("plugins", "check_smtp_forward\nrcpt_ok\nqueue/discard\n"),
                    ("smtproutes", &route),
                    ("smtpauth", smtpauth),
                    ("rcpthosts", "example.com"),
                ],
                "192.0.2.1",
            );
            trial.say("EHLO client.example");
            trial.say("MAIL FROM:<a@example.org>");
            let reply = trial.say("RCPT TO:<b@example.com>");
            assert!(reply.starts_with("450 4.7.0 "), "{reply}");
        }
        let heard = hop.finish();
        assert!(!heard[0].lines.iter().any(|line| line.starts_with("AUTH")));
        assert_eq!(heard[1].lines[1], "AUTH PLAIN AGFubgBzZWNyZXQ=");
    }

    #[test]
    fn other_domains_are_not_asked_about() {
        let server = Script::start(&[]);
        let mut trial = trial(&server, "");
        trial.say("MAIL FROM:<>");
        for recipient in ["b@example.net", "b@sub.example.com", "postmaster"] {
            let reply = trial.say(&format!("RCPT TO:<{recipient}>"));
            assert!(!reply.contains("Unable"), "{reply}");
        }
        server.into_dead_address();
    }

    #[test]
    fn who_was_taken_is_not_asked_about_again() {
        let say = |rcpt| [Say("220 hi\r\n"), Say("250 hi\r\n"), Say("250 ok\r\n"), Say(rcpt)];
        let server = Script::start(&say("250 ok\r\n"));
        let mut trial = trial(&server, "");
        trial.say("MAIL FROM:<a@example.org>");
        assert!(trial.say("RCPT TO:<b@example.com>").starts_with("250"));
        // The server takes no second connection.
        server.heard();
        trial.say("RSET");
        trial.say("MAIL FROM:<other@example.org>");
        assert!(trial.say("RCPT TO:<b@Example.com>").starts_with("250"));
        let line = "check_smtp_forward: pass, 127.0.0.1 took it before";
        assert!(trial.take_log().iter().any(|it| it == line));
        assert!(trial.say("RCPT TO:<c@example.com>").starts_with("450 4.4.1 Unable to connect"));
    }

    #[test]
    fn the_null_sender_is_asked_about_as_such() {
        let yes = [Say("220 hi\r\n"), Say("250 hi\r\n"), Say("250 ok\r\n"), Say("250 ok\r\n")];
        let server = Script::start(&yes);
        let mut trial = trial(&server, "");
        trial.say("MAIL FROM:<>");
        assert!(trial.say("RCPT TO:<b@example.com>").starts_with("250"));
        let heard = server.heard();
        assert_eq!(heard[1..], ["MAIL FROM:<>", "RCPT TO:<b@example.com>", "QUIT"]);
    }

    #[test]
    fn a_server_that_is_silent_is_waited_for_once_in_a_transaction() {
        let server = Script::start(&[Play::Drip("220 slow\r\n", 300)]);
        let mut trial = trial(&server, "timeout 1");
        trial.say("MAIL FROM:<a@example.org>");
        let expected = "450 4.4.1 Unable to connect to 127.0.0.1: Connection timed out [7.1]";
        assert_eq!(trial.say("RCPT TO:<b@example.com>"), expected);
        // The server is gone by now, which would be another error.
        server.heard();
        assert_eq!(trial.say("RCPT TO:<c@example.com>"), expected);
        trial.say("RSET");
        trial.say("MAIL FROM:<a@example.org>");
        assert_eq!(
            trial.say("RCPT TO:<c@example.com>"),
            "450 4.4.1 Unable to connect to 127.0.0.1: Connection refused [7.2]"
        );
    }
}
