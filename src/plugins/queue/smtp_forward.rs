//! Hands messages to another SMTP server while the client waits: its answer is ours.
//!
//! With HOST everything goes there; without it the file `smtproutes` says where the mail of each domain
//! goes, its line without a domain where all other mail goes, and mail for which it names no server is
//! left to the next queue plugin. A message goes to one server only: a further recipient who needs
//! another one is put off at RCPT (452) and gets a message of his own. If the server refuses one
//! recipient, nobody gets the message, and its refusal is passed on.
//!
//! Connections are kept for the next message, at most four and for half a minute. Commands are sent
//! together where PIPELINING is offered. What leaves is canonical: CR LF line ends, dots doubled, no NUL.
//! Octets above 127 are passed unchanged to a server without 8BITMIME; what needs SMTPUTF8 goes to
//! none without it.
//!
//! TLS is used where it is offered, with whatever certificate; a server that fails in it gets the mail in
//! clear, and the log says so. `tls required` and `tls verify` never send in clear: then there is 451.
//! At port 465 TLS begins with the first octet, and nothing is sent in clear but with `tls off`.
//! Where the file `smtpauth` has the server's name we log in, and if the server is another machine `verify` is
//! the default. A password goes in clear only to this machine, or where `tls off` is written.
//!
//! Arguments:
//!   HOST         the server, a name or an address; IPv6 may have brackets
//!   PORT         its port, 25 by default
//!   xclient      tell it of the client by XCLIENT (name, address, port, HELO, protocol). It must take
//!                that from us; connections are then not kept
//!   tls          off; may: where it is offered; required; verify: required, with a certificate of HOST
//!                that a CA has signed. By default verify where we log in, else may
//!   ca           for verify, the absolute path of a file of CA certificates (PEM); by default the system's
//!   timeout      seconds that one message may take, all in all; 120 by default, at most 180
//!
//! Config files: `smtproutes` (without HOST), lines `domain:server` or `domain:server:port`; see
//! check_smtp_forward, which asks the same server at RCPT already. `smtpauth`, lines `HOST USER PASSWORD`,
//! HOST as it is written in the argument or in smtproutes; let only the daemon's user read it. Of PLAIN,
//! LOGIN and CRAM-MD5 what the server offers is used.
//!
//! Replies: `250 queued as NAME`, the last word of the server's answer; `554 Unable to queue message
//! (WORDS OF THE SERVER)`, or `451` where it says 4xx (552 and 452 for size and space), with its enhanced
//! status; `451 4.4.1 Unable to connect to HOST: ERROR`, also where there is no TLS or no login; `554 5.6.7` for want of SMTPUTF8; `452 4.5.3
//! Too many recipients` at RCPT.
//!
//! Karma: none.
//!
//! When it cannot tell: a server that does not answer to the end of the message may have it or not. The
//! client is told 451, so that the mail is not lost, and the log calls it a possible duplicate.

use crate::client::deadline::Deadline;
use crate::client::smtp::forward::{Client, NextHop, Outcome, forward};
use crate::client::smtp::pool::Pool;
use crate::client::smtp::reply::Reply;
use crate::config::routes::{Routes, Server};
use crate::plugin::log::Level;
use crate::plugin::log::foreign;
use crate::plugin::next_hop::{Letter, Protection, addresses, told, unreachable};
use crate::plugin::program::refusal;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use crate::smtp::address::Address;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

struct SmtpForward {
    to: To,
    xclient: bool,
    protection: Protection,
    timeout: Duration,
    pool: Pool,
}

/// Where mail goes.
enum To {
    Server(Server),
    Routes(Routes),
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let timeout = Duration::from_secs(args.number("timeout", 120, 1..=180));
    let protection = Protection::load(args, setup);
    let (words, odd): (Vec<_>, Vec<_>) = args.rest().into_iter().partition(|it| it != "xclient");
    let xclient = !odd.is_empty();
    let to = match words.as_slice() {
        [] => {
            let lines = setup.lines("smtproutes");
            if lines.is_empty() {
                args.complain("say which server, or write smtproutes: queue/smtp-forward HOST");
            }
            To::Routes(setup.with_problems(|problems| Routes::load(&lines, problems)))
        }
        [host, rest @ ..] => To::Server(server(host, rest).unwrap_or_else(|| {
            args.complain(format!("{}: give HOST [PORT] [xclient]", words.join(" ")));
            Server { host: host.as_str().into(), port: 25 }
        })),
    };
    Arc::new(SmtpForward { to, xclient, protection, timeout, pool: Pool::default() })
}

fn server(host: &str, rest: &[String]) -> Option<Server> {
    match rest {
        [] => Server::named(host, 25),
        [port] => Server::named(host, port.parse().ok().filter(|port| *port > 0)?),
        _ => None,
    }
}

impl Plugin for SmtpForward {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Queue])
    }

    fn waits_for_others(&self) -> bool {
        true
    }

    fn goes_with(&self, first: &Address, next: &Address) -> bool {
        self.way(first) == self.way(next)
    }

    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        let (Some(envelope), Some(message)) = (cx.envelope(), cx.message()) else {
            cx.lane(Lane::Writers)?;
            return Ok(Verdict::Declined);
        };
        let mut ways = envelope.recipients.iter().map(|recipient| self.way(recipient));
        let way = ways.next().flatten();
        if ways.any(|other| other != way) {
            // Only a plugin can have added one: at RCPT such a recipient is put off.
            cx.log(Level::Error, "error, recipients of several servers in one message");
            let text = refusal("recipients of several servers");
            return Ok(Verdict::deny_soft((3, 5), text));
        }
        let Some(server) = way else {
            cx.log(Level::Debug, "skip, no route");
            return Ok(Verdict::Declined);
        };
        let found = match addresses(cx, server)? {
            Ok(found) => found,
            Err(words) => return Ok(unreachable(cx, &server.host, words)),
        };
        cx.lane(Lane::Writers)?;
        let letter = Letter::new(envelope, &message);
        let (outcome, note) = self.hand_over(cx, &server.host, &found, &letter);
        if let Some(note) = note {
            cx.log(Level::Notice, format!("skip, {}", foreign(note.as_bytes())));
        }
        let queued = |reply: &Reply| {
            let name = reply.last_word().unwrap_or_else(|| "it".to_string());
            format!("queued as {name}")
        };
        Ok(told(cx, &server.host, &letter, outcome, queued))
    }
}

impl SmtpForward {
    /// The server of this recipient's mail.
    fn way(&self, recipient: &Address) -> Option<&Server> {
        match &self.to {
            To::Server(server) => Some(server),
            To::Routes(routes) => routes.way(recipient.domain()),
        }
    }

    fn hand_over(
        &self,
        cx: &Cx<'_>,
        host: &str,
        servers: &[SocketAddr],
        letter: &Letter<'_>,
    ) -> (Outcome, Option<String>) {
        let peer = cx.peer();
        let client = Client {
            name: peer.name.as_deref(),
            ip: peer.ip,
            port: peer.port,
            helo: cx.hello().map(|hello| &*hello.name),
            esmtp: cx.hello().is_some_and(|hello| hello.esmtp),
        };
        let client = self.xclient.then_some(client);
        let secure = Some(self.protection.of(host, servers));
        let next = NextHop { servers, me: &cx.config().rules.me, client, secure };
        forward(&self.pool, &next, &letter.mail(), Deadline::after(self.timeout))
    }
}

#[cfg(test)]
mod tests;
