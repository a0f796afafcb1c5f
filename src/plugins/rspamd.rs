//! Has Rspamd look at each message, and does what it wants done: refuses, puts off, marks.
//!
//! Rspamd's worker `normal` is given the message as it stands, with our Received and
//! Authentication-Results, and told of the client and the envelope; of many recipients the first hundred.
//! Clients that may relay and exempt ones are not looked at. The fields `X-Spam-Status` and, for spam,
//! `X-Spam-Flag` are put on top of the header. Fields `X-Spam-…` that came with the message are never
//! believed: they are renamed or dropped, also where Rspamd could not be asked. Its score is added to
//! the score `spam_score`, at which `handler` looks.
//!
//! Of Rspamd's actions `reject` refuses, `soft reject` puts off, `rewrite subject` and `add header` mark;
//! `discard` accepts and throws away, `quarantine` delivers to be looked at. `greylist` does nothing by
//! itself: Rspamd's own module of that name, which needs its Redis, makes `soft reject` of it for a
//! message that is new. Put off without that module, mail would be so until its sender gives up.
//!
//! Arguments:
//!   socket             path of Rspamd's socket, or `IP:PORT`, or `localhost:PORT`; by default
//!                      `localhost:11333`
//!   reject             `yes` (default) refuses what Rspamd wants refused; `no`, or 0, only marks it; a
//!                      number refuses from this score on, whatever Rspamd wants
//!   reject_type        `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!   greylist           `pass` (default), or `defer`: that action puts off too
//!   subject_prefix     the prefix for `rewrite subject` where Rspamd does not say what the subject shall
//!                      be, one word; by default the line of the file, or `*** SPAM ***`
//!   leave_old_headers  `rename` (default) makes `X-Old-Spam-…` of fields that came with the message,
//!                      `drop` deletes them, `keep` leaves them
//!   headers            `none`: adds no fields
//!   max_size           octets; a larger message is not looked at; 10000000 by default
//!   timeout            seconds that Rspamd may take, all in all; 15 by default, at most 180
//!   defer_on_error     `yes` puts off what Rspamd cannot tell about; by default `no`
//!   relayclient        `skip`: accepted, for this is always so
//!
//! Config files: `subject_prefix`, one line.
//!
//! Replies: `554 5.7.1 spam score exceeded threshold`, or `451 4.7.1` with `reject_type temp`;
//! `451 4.7.1 Please try again later`; `451 4.3.0 Unable to check for spam`
//!
//! Karma: -1 for spam.
//!
//! When it cannot tell: the message passes as if nobody had asked, with a log line `error, WHY`; with
//! `defer_on_error yes` it is put off.

use crate::client::deadline::Deadline;
use crate::client::rspamd::{Action, Report, Request, ask};
use crate::client::spamd::Points;
use crate::plugin::log::{Level, foreign};
use crate::plugin::next_hop::path;
use crate::plugin::policy::reject_type_of;
use crate::plugin::site::Setup;
use crate::plugin::spam_fields::{Old, Socket, choice, mark_subject, points};
use crate::plugin::{
    Args, Cx, Hook, HookSet, Hooked, Lane, MessageView, Plugin, RejectType, Verdict,
};
use std::sync::Arc;
use std::time::Duration;

/// The port of Rspamd's worker `normal`.
const PORT: u16 = 11_333;

/// Recipients that it is told of.
const RECIPIENTS_MAX: usize = 100;

struct Rspamd {
    socket: Socket,
    reject: Reject,
    reject_type: RejectType,
    defers_greylist: bool,
    prefix: String,
    old: Old,
    add_headers: bool,
    max_size: usize,
    timeout: Duration,
    defer_on_error: bool,
}

#[derive(Clone, Copy)]
enum Reject {
    AsTold,
    Never,
    From(Points),
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(Rspamd::from_args(args, setup))
}

impl Rspamd {
    fn from_args(args: &mut Args, setup: &Setup<'_>) -> Rspamd {
        let reject = match args.named("reject").as_deref() {
            None | Some("yes") => Reject::AsTold,
            Some("no" | "0") => Reject::Never,
            Some(word) => points(args, "reject", word).map_or(Reject::AsTold, Reject::From),
        };
        let types = ["perm", "temp", "disconnect", "temp_disconnect"];
        let types = types.map(|word| (word, reject_type_of(word).unwrap_or(RejectType::Perm)));
        choice(args, "relayclient", (), &[("skip", ())]);
        let prefix = args.named("subject_prefix");
        let prefix = prefix.or_else(|| setup.scalar("subject_prefix").map(|line| line.text));
        let greylist = [("defer", true), ("pass", false)];
        let defers = [("yes", true), ("1", true), ("no", false), ("0", false)];
        Rspamd {
            socket: Socket::from_args(args, "socket", PORT),
            reject,
            reject_type: choice(args, "reject_type", RejectType::Perm, &types),
            defers_greylist: choice(args, "greylist", false, &greylist),
            prefix: prefix.unwrap_or_else(|| "*** SPAM ***".to_string()),
            old: Old::from_args(args),
            add_headers: choice(args, "headers", true, &[("none", false)]),
            max_size: args.number("max_size", 10_000_000, 1..=1_000_000_000),
            timeout: Duration::from_secs(args.number("timeout", 15, 1..=180)),
            defer_on_error: choice(args, "defer_on_error", false, &defers),
        }
    }

    fn refuses(&self, report: &Report) -> bool {
        match self.reject {
            Reject::Never => false,
            Reject::AsTold => report.action == Action::Reject,
            Reject::From(threshold) => report.score >= threshold,
        }
    }

    /// Adds what a reader's filter looks for.
    fn mark(&self, cx: &mut Cx<'_>, report: &Report) {
        if !self.add_headers {
            return;
        }
        let spam = report.action.is_spam();
        let word = if spam { "Yes" } else { "No" };
        let required = report.required.map(|it| format!(" required={it}")).unwrap_or_default();
        // A blank behind each comma: a place for a fold.
        let tests = report.symbols.join(", ");
        let status = format!("{word}, score={}{required} tests={tests}", report.score);
        cx.insert_header("X-Spam-Status", &status);
        if spam {
            cx.insert_header("X-Spam-Flag", "YES");
        }
    }

    /// Karma, log, and what is done.
    fn judge(&self, cx: &mut Cx<'_>, message: &MessageView<'_>, report: &Report) -> Verdict {
        let action = report.action;
        if action.is_spam() {
            cx.karma(-1);
        }
        let required = report.required.map(|it| format!(" of {it}")).unwrap_or_default();
        let words = format!("{}, {}{required}", action.name(), report.score);
        if self.refuses(report) {
            cx.log(Level::Info, format!("fail, {words}, refused"));
            return self.reject_type.verdict((7, 1), "spam score exceeded threshold");
        }
        let greylisted = action == Action::Greylist && self.defers_greylist;
        if greylisted || action == Action::SoftReject {
            cx.log(Level::Info, format!("fail, {words}, deferred"));
            return Verdict::deny_soft((7, 1), "Please try again later");
        }
        match action {
            Action::RewriteSubject => match &report.subject {
                Some(subject) => {
                    // Where there is none, a change finds nothing to do.
                    cx.delete_header("Subject", None);
                    cx.insert_header("Subject", subject);
                }
                None => mark_subject(cx, message, &self.prefix),
            },
            Action::Discard => cx.discard("rspamd wants it"),
            Action::Quarantine => cx.quarantine("rspamd wants it"),
            _ => {}
        }
        let word = if action.is_spam() { "fail, tolerated" } else { "pass" };
        cx.log(Level::Info, format!("{word}, {words}"));
        Verdict::Declined
    }
}

/// What Rspamd is told beside the message.
fn fields(cx: &Cx<'_>) -> Vec<(&'static str, String)> {
    let mut fields = vec![("IP", cx.peer().ip.to_string())];
    fields.extend(cx.hello().map(|hello| ("Helo", hello.name.to_string())));
    fields.extend(cx.peer().name.as_ref().map(|name| ("Hostname", name.to_string())));
    fields.extend(cx.facts().user.as_ref().map(|user| ("User", user.to_string())));
    fields.push(("Queue-Id", cx.id().to_string()));
    if let Some(envelope) = cx.envelope() {
        let sender = envelope.mail.reverse_path.address();
        // In brackets: an empty value would be no sender at all, where `<>` is the null sender.
        fields.push(("From", sender.map_or_else(|| "<>".to_string(), path)));
        let recipients = envelope.recipients.iter().take(RECIPIENTS_MAX);
        fields.extend(recipients.map(|recipient| ("Rcpt", path(recipient))));
    }
    fields
}

impl Plugin for Rspamd {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        // What SpamAssassin has written stays: it has done with the sender's fields.
        let old = if cx.mail_facts().spamassassin.is_some() { None } else { Some(self.old) };
        let length = message.current.len(message.received);
        if length > self.max_size {
            cx.log(Level::Info, format!("skip, too large ({length})"));
            old.inspect(|old| old.clear(cx, &message));
            return Ok(Verdict::Declined);
        }
        cx.lane(Lane::Scanners)?;
        let parts = message.current.parts(message.received);
        let request = Request { fields: &fields(cx), parts };
        let answer = ask(self.socket.place(), &request, Deadline::after(self.timeout));
        old.inspect(|old| old.clear(cx, &message));
        match answer {
            Ok(report) => {
                self.mark(cx, &report);
                cx.score("spam_score", report.score.whole());
                Ok(self.judge(cx, &message, &report))
            }
            Err(fault) => {
                let what = if self.defer_on_error { ", deferred" } else { "" };
                let words = foreign(fault.to_string().as_bytes());
                cx.log(Level::Error, format!("error, {words}{what}"));
                if self.defer_on_error {
                    return Ok(Verdict::deny_soft((3, 0), "Unable to check for spam"));
                }
                Ok(Verdict::Declined)
            }
        }
    }
}

#[cfg(test)]
mod tests;
