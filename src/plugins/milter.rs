//! Runs mail behind a milter, a filter made for Sendmail or Postfix (OpenDKIM, OpenDMARC, …).
//!
//! The filter is told of a mail when it is complete, from the client's connecting on, on a connection of
//! its own: a hook may run anywhere and twice, and a connection that lives as long as the client's could
//! die with half of the filter's mind made up. So what a filter has against client, HELO or sender
//! refuses the message, behind its end. What it has against one recipient refuses the message for all, as
//! no single one can be refused any more. Nobody is exempt: a filter that signs must see our own mail.
//! It sees the message as it stands, our Received and Authentication-Results on top. Several lines
//! `milter:1 NAME PLACE`, `milter:2 …` are several filters, each sees what those before it have changed.
//!
//! Versions 2 to 6 of the protocol are spoken, and all changes done that it knows: fields added, inserted,
//! changed and deleted, another body, another sender, recipients more and less (their parameters are
//! left out), quarantine. All that a filter wants of one mail is done, or nothing.
//!
//! Arguments:
//!   NAME            what log lines and replies call it; required
//!   PLACE           where it listens: `PORT` of this machine, `HOST:PORT`, the path of a Unix socket, or as
//!                   other programs write it: `unix:PATH`, `local:PATH`, `inet:PORT@HOST`; required
//!   defer_on_error  `no`: mail passes that the filter cannot judge; by default `yes`
//!   timeout         seconds that it may take, all in all; 20 by default, at most 180
//!
//! Config files: none.
//!
//! Replies: `554 5.7.1 Rejected at STEP by NAME milter`, `451 4.7.1 …`, or the filter's own words with
//! their enhanced status code; `451 4.3.0 Unable to ask the NAME milter`
//!
//! Karma: none.
//!
//! When it cannot tell: the mail is put off, and the log has `error, …`; with `defer_on_error no` it passes
//! unchanged. A filter that has failed three times in a row is left alone for `timeout` and half a minute,
//! then one mail asks it again; with `defer_on_error no` each mail asks, so that nobody can switch it off.

mod changes;

use crate::client::breaker::{Breaker, RESTS};
use crate::client::deadline::Deadline;
use crate::client::milter::{Judgement, Moment, Reply, Story, converse};
use crate::client::stream::Place;
use crate::config::routes::Server;
use crate::plugin::log::{Level, foreign};
use crate::plugin::next_hop::{addresses, path};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, MessageView, Plugin, Verdict};
use crate::smtp::session::Transaction;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

struct Milter {
    name: String,
    at: At,
    defer: bool,
    timeout: Duration,
    breaker: Breaker,
}

#[derive(Debug, PartialEq, Eq)]
enum At {
    Socket(PathBuf),
    Server(Server),
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(Milter::from_args(args))
}

/// A place in any of its spellings.
fn place(word: &str) -> Option<At> {
    let unix = word.strip_prefix("unix:").or_else(|| word.strip_prefix("local:"));
    if let Some(path) = unix.or(Some(word).filter(|word| word.starts_with('/'))) {
        return path.starts_with('/').then(|| At::Socket(path.into()));
    }
    let (host, port) = match word.strip_prefix("inet:") {
        Some(rest) => rest.split_once('@').map_or((None, rest), |(port, host)| (Some(host), port)),
        None => word.rsplit_once(':').map_or((None, word), |(host, port)| (Some(host), port)),
    };
    let host = host.filter(|host| *host != "localhost").unwrap_or("127.0.0.1");
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Server::named(host, port).map(At::Server)
}

impl Milter {
    fn from_args(args: &mut Args) -> Milter {
        let defer = match args.named("defer_on_error").as_deref() {
            None | Some("yes" | "1") => true,
            Some("no" | "0") => false,
            Some(other) => {
                args.complain(format!("defer_on_error {other}: use yes or no"));
                true
            }
        };
        let timeout = Duration::from_secs(args.number("timeout", 20, 1..=180));
        let (name, word) = (args.positional(), args.positional());
        let at = word.as_deref().and_then(place).unwrap_or_else(|| {
            args.complain("say how it is called and where it listens: milter NAME PLACE");
            At::Socket(PathBuf::from("/"))
        });
        let name = foreign(name.unwrap_or_default().as_bytes());
        Milter { name, at, defer, timeout, breaker: Breaker::new(timeout) }
    }

    /// Asks at the first of the places at which somebody listens.
    fn ask(
        &self,
        found: &[SocketAddr],
        story: &Story<'_>,
    ) -> Result<(Judgement, &'static str), String> {
        let deadline = Deadline::after(self.timeout);
        let places: Vec<Place<'_>> = match &self.at {
            At::Socket(path) => vec![Place::Unix(Path::new(path))],
            At::Server(_) => found.iter().map(|address| Place::Tcp(*address)).collect(),
        };
        let mut words = "it has no address".to_string();
        for place in places {
            match converse(place, story, deadline) {
                Ok(judged) => return Ok(judged),
                Err(fault) => words = fault.to_string(),
            }
        }
        Err(words)
    }

    /// Everything that the filter wants to know.
    fn tell(
        &self,
        cx: &Cx<'_>,
        message: &MessageView<'_>,
        envelope: &Transaction,
        found: &[SocketAddr],
    ) -> Result<(Judgement, &'static str), String> {
        let reverse = envelope.mail.reverse_path.address();
        let sender_path = reverse.map_or_else(|| "<>".to_string(), path);
        let mut sender = vec![sender_path.clone()];
        sender.extend(envelope.mail.size.map(|size| format!("SIZE={size}")));
        sender.extend(envelope.mail.eight_bit.then(|| "BODY=8BITMIME".to_string()));
        sender.extend(envelope.mail.utf8.then(|| "SMTPUTF8".to_string()));
        let recipients: Vec<String> = envelope.recipients.iter().map(path).collect();
        let header = message.current.header(message.received);
        let fields = message.current.headers().iter(header);
        let fields: Vec<(&[u8], &[u8])> = fields.map(|it| (it.name, it.value)).collect();
        let host = match &cx.peer().name {
            Some(name) => name.to_string(),
            None => format!("[{}]", cx.peer().ip),
        };
        let (id, facts) = (cx.id().0.to_string(), cx.facts());
        let me = &*cx.config().rules.me;
        let mut macros = vec![
            (Moment::Connect, "j", me),
            (Moment::Connect, "{daemon_name}", me),
            (Moment::Connect, "v", "Mailreeve"),
            (Moment::Mail, "i", &id),
            (Moment::Mail, "{mail_addr}", sender_path.trim_matches(['<', '>'])),
            (Moment::End, "i", &id),
        ];
        if let Some(tls) = facts.tls.as_deref() {
            macros.push((Moment::Helo, "{tls_version}", tls.version));
            macros.push((Moment::Helo, "{cipher}", &tls.cipher));
        }
        if let (Some(user), Some(mechanism)) = (&facts.user, facts.mechanism) {
            macros.push((Moment::Mail, "{auth_authen}", user));
            macros.push((Moment::Mail, "{auth_type}", mechanism));
        }
        let story = Story {
            host: &host,
            ip: cx.peer().ip,
            port: cx.peer().port,
            helo: cx.hello().map(|hello| &*hello.name),
            sender: &sender,
            recipients: &recipients,
            message: Some((&fields, message.current.body(message.received))),
            macros: &macros,
        };
        self.ask(found, &story)
    }

    /// The filter is against it.
    fn judge(&self, cx: &mut Cx<'_>, reply: &Reply, step: &str) -> Verdict {
        let name = &self.name;
        let text = format!("Rejected at {step} by {name} milter");
        let (verdict, words) = match reply {
            Reply::Discard => {
                cx.log(Level::Notice, format!("fail, discarded at {step} by {name}"));
                cx.discard(&format!("by {name} milter"));
                return Verdict::Declined;
            }
            Reply::Reject => (Verdict::deny((7, 1), text), String::new()),
            Reply::Shutdown => {
                (Verdict::deny_soft((7, 1), text).and_disconnect(), ", shut down".to_string())
            }
            Reply::Words(words) => {
                let status = words.status.unwrap_or((7, 1));
                let said = if words.text.trim().is_empty() { &text } else { &words.text };
                let verdict = if words.class == 4 {
                    Verdict::deny_soft(status, said.as_str())
                } else {
                    Verdict::deny(status, said.as_str())
                };
                let verdict = if words.closes { verdict.and_disconnect() } else { verdict };
                (verdict, format!(": {}", foreign(words.text.as_bytes())))
            }
            // What is left is a refusal for now.
            _ => (Verdict::deny_soft((7, 1), text), ", for now".to_string()),
        };
        cx.log(Level::Info, format!("fail, at {step} by {name}{words}"));
        verdict
    }

    fn failed(&self, cx: &mut Cx<'_>, words: &str) -> Verdict {
        let (name, words) = (&self.name, foreign(words.as_bytes()));
        let what = if self.defer { "deferred" } else { "passed" };
        cx.log(Level::Error, format!("error, {name}: {words}, {what}"));
        if self.defer {
            Verdict::deny_soft((3, 0), format!("Unable to ask the {name} milter"))
        } else {
            Verdict::Declined
        }
    }
}

impl Plugin for Milter {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let (Some(message), Some(envelope)) = (cx.message(), cx.envelope()) else {
            return Ok(Verdict::Declined);
        };
        let now = cx.now().mono;
        if self.defer && self.breaker.rests(now) {
            return Ok(self.failed(cx, RESTS));
        }
        let found = match &self.at {
            At::Socket(_) => Vec::new(),
            At::Server(server) => match addresses(cx, server)? {
                Ok(found) => found,
                Err(words) => return Ok(self.failed(cx, words)),
            },
        };
        cx.lane(Lane::Scanners)?;
        if self.defer && !self.breaker.may_ask(now) {
            return Ok(self.failed(cx, RESTS));
        }
        let told = self.tell(cx, &message, envelope, &found);
        if let Some(news) = self.breaker.heard(now, told.is_ok()).filter(|_| self.defer) {
            cx.log(Level::Warning, format!("info, {} {news}", self.name));
        }
        Ok(match told {
            Err(words) => self.failed(cx, &words),
            Ok((Judgement::Not(reply), step)) => self.judge(cx, &reply, step),
            Ok((Judgement::Pass(wanted), step)) => {
                match changes::stage(cx, &message, envelope.mail.utf8, &wanted) {
                    Ok(()) => {
                        let count = wanted.len();
                        let name = &self.name;
                        let words = format!("pass, at {step} by {name}, {count} changes");
                        cx.log(Level::Info, words);
                        Verdict::Declined
                    }
                    Err(words) => self.failed(cx, &words),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
