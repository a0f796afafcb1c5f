//! Has SpamAssassin look at each message: marks spam, and can refuse it.
//!
//! spamd is given the message as it stands, with our Received and Authentication-Results, and the
//! envelope sender. Clients that may relay and exempt ones are not looked at. The fields `X-Spam-…` that
//! come back are put on top of the header. Those that came with the message are never believed: they
//! are renamed or dropped, also where spamd could not be asked. What spamd said is a finding that later
//! plugins can look at.
//!
//! spamd is asked in the name of a user, so that his settings and what was learnt of his mail count: of
//! the recipient, if there is only one, else of the site, and then a field `X-Spam-User: USER, N
//! recipients` says so. A recipient whose name would be no good user name counts as the site.
//!
//! Arguments:
//!   spamd_socket             path of spamd's socket, or `IP:PORT`, or `localhost:PORT`; by default
//!                            `localhost:783`
//!   reject                   refuses from this score on, `userprefs` from the score on that spamd
//!                            calls spam; by default nothing is refused. Formerly `reject_threshold`
//!   reject_type              `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!   munge_subject_threshold  spam with a score above this has a prefix put before its subject; by
//!                            default the subject is left alone
//!   subject_prefix           the prefix, one word; by default the line of the file, or `*** SPAM ***`
//!   spamd_user               the site's user for spamd; by default that of the file `user`, or
//!                            `mailreeve`. `vpopmail` is `per_user address`, as it was
//!   per_user                 how the one recipient is named to spamd: `name` is what stands before the
//!                            @, `address` the whole address, `domain` DOMAIN/NAME, `no`: always the
//!                            site's user. By default `name`, and `no` with `spamd_user`
//!   leave_old_headers        `rename` (default) makes `X-Old-Spam-…` of fields that came with the
//!                            message, `drop` deletes them, `keep` leaves them
//!   headers                  `none`: adds no fields
//!   size_limit               octets; a larger message is not looked at; 500000 by default
//!   timeout                  seconds that spamd may take, all in all; 15 by default, at most 180
//!   relayclient              `skip`: accepted, for this is always so
//!
//! Config files: `subject_prefix`, one line.
//!
//! Replies: `554 5.7.1 spam score exceeded threshold`, or `451 4.7.1` with `reject_type temp`
//!
//! Karma: -1 for spam; 1 where SpamAssassin has learnt the message as ham, -1 as spam.
//!
//! When it cannot tell: the message passes as if nobody had asked, with a log line `error, WHY`. A spamd that
//! has failed three times in a row is left alone for `timeout` and half a minute, then one mail asks again.

use crate::client::Fault;
use crate::client::breaker::{Breaker, RESTS};
use crate::client::deadline::Deadline;
use crate::client::spamd::{Points, Report, Request, ask};
use crate::plugin::log::{Level, foreign};
use crate::plugin::next_hop::path;
use crate::plugin::policy::reject_type_of;
use crate::plugin::site::Setup;
use crate::plugin::spam_fields::{
    Old, Socket, USER_FIELD, account, choice, is_user, mark_subject, points,
};
use crate::plugin::{
    Args, Cx, Hook, HookSet, Hooked, Lane, MessageView, Plugin, RejectType, Verdict,
};
use crate::smtp::address::Address;
use std::sync::Arc;
use std::time::Duration;

/// The port of spamd.
const PORT: u16 = 783;

struct SpamAssassin {
    socket: Socket,
    reject: Option<Threshold>,
    reject_type: RejectType,
    munge: Option<Points>,
    prefix: String,
    site_user: Option<String>,
    per_user: PerUser,
    old: Old,
    add_headers: bool,
    size_limit: usize,
    timeout: Duration,
    breaker: Breaker,
}

#[derive(Clone, Copy)]
enum Threshold {
    Score(Points),
    UserPrefs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PerUser {
    No,
    Name,
    Address,
    Domain,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(SpamAssassin::from_args(args, setup))
}

impl SpamAssassin {
    fn from_args(args: &mut Args, setup: &Setup<'_>) -> SpamAssassin {
        let older = args.named("reject_threshold");
        let reject = match args.named("reject").or(older).as_deref() {
            // As in qpsmtpd, where 0 is as good as nothing.
            None | Some("0") => None,
            Some("userprefs") => Some(Threshold::UserPrefs),
            Some(word) => points(args, "reject", word).map(Threshold::Score),
        };
        let reject_type = args.named("reject_type").unwrap_or_else(|| "perm".to_string());
        let reject_type = reject_type_of(&reject_type).unwrap_or_else(|| {
            let what = "use perm, temp, disconnect or temp_disconnect";
            args.complain(format!("reject_type {reject_type}: {what}"));
            RejectType::Perm
        });
        let munge = args.named("munge_subject_threshold");
        let munge = munge.and_then(|word| points(args, "munge_subject_threshold", &word));
        let prefix = args.named("subject_prefix");
        let prefix = prefix.or_else(|| setup.scalar("subject_prefix").map(|line| line.text));
        choice(args, "relayclient", (), &[("skip", ())]);
        let spamd_user = args.named("spamd_user");
        let (site_user, default) = match spamd_user.as_deref() {
            None => (None, PerUser::Name),
            Some("vpopmail") => (Some("vpopmail".to_string()), PerUser::Address),
            Some(user) => (Some(user.to_string()), PerUser::No),
        };
        if let Some(user) = site_user.as_ref().filter(|user| !is_user(user)) {
            args.complain(format!("spamd_user {user}: this is no user name"));
        }
        let forms = [
            ("no", PerUser::No),
            ("name", PerUser::Name),
            ("address", PerUser::Address),
            ("domain", PerUser::Domain),
        ];
        let timeout = Duration::from_secs(args.number("timeout", 15, 1..=180));
        SpamAssassin {
            socket: Socket::from_args(args, "spamd_socket", PORT),
            reject,
            reject_type,
            munge,
            prefix: prefix.unwrap_or_else(|| "*** SPAM ***".to_string()),
            site_user,
            per_user: choice(args, "per_user", default, &forms),
            old: Old::from_args(args),
            add_headers: choice(args, "headers", true, &[("none", false)]),
            size_limit: args.number("size_limit", 500_000, 1..=1_000_000_000),
            timeout,
            breaker: Breaker::new(timeout),
        }
    }

    /// In whose name spamd is asked.
    fn user(&self, cx: &Cx<'_>, recipients: &[Address]) -> String {
        let of_recipient = match recipients {
            [only] => per_user(self.per_user, only),
            _ => None,
        };
        of_recipient.or_else(|| self.site_user.clone()).unwrap_or_else(|| account(cx))
    }

    fn ask(&self, request: &Request<'_>) -> Result<Report, Fault> {
        ask(self.socket.place(), request, Deadline::after(self.timeout))
    }

    /// Adds what spamd wants added, in its order.
    fn mark(&self, cx: &mut Cx<'_>, report: &Report, user: &str, recipients: usize) {
        if !self.add_headers {
            return;
        }
        let not_taken = [USER_FIELD, "X-Spam-Prev-Subject", "X-Spam-Report"];
        for (name, value) in report.fields.iter().rev() {
            if !not_taken.iter().any(|other| name.eq_ignore_ascii_case(other)) {
                cx.insert_header(name, value);
            }
        }
        if recipients > 1 {
            cx.insert_header(USER_FIELD, &format!("{user}, {recipients} recipients"));
        }
    }

    fn munge_subject(&self, cx: &mut Cx<'_>, message: &MessageView<'_>, report: &Report) {
        let Some(threshold) = self.munge else { return };
        if report.score <= threshold || report.required.is_some_and(|it| report.score <= it) {
            return;
        }
        mark_subject(cx, message, &self.prefix);
    }

    /// Karma, log, and the refusal.
    fn judge(&self, cx: &mut Cx<'_>, report: &Report) -> Verdict {
        if report.spam {
            cx.karma(-1);
        }
        match report.autolearn.as_deref() {
            Some("ham") => cx.karma(1),
            Some("spam") => cx.karma(-1),
            _ => {}
        }
        let kind = if report.spam { "Spam" } else { "Ham" };
        let score = report.score;
        let learn = match &report.autolearn {
            Some(learn) => format!(", learn={}", foreign(learn.as_bytes())),
            None => String::new(),
        };
        let threshold = match self.reject {
            None => None,
            Some(Threshold::Score(points)) => Some(points),
            Some(Threshold::UserPrefs) => report.required,
        };
        let Some(threshold) = threshold else {
            cx.log(Level::Info, format!("error, reject disabled ({kind}, {score}{learn})"));
            return Verdict::Declined;
        };
        if score < threshold {
            let word = if report.spam { "fail, tolerated" } else { "pass" };
            cx.log(Level::Info, format!("{word}, {kind}, {score} < {threshold}{learn}"));
            return Verdict::Declined;
        }
        cx.log(Level::Info, format!("fail, {kind}, {score}, > {threshold}{learn}"));
        self.reject_type.verdict((7, 1), "spam score exceeded threshold")
    }
}

fn per_user(form: PerUser, recipient: &Address) -> Option<String> {
    let local = recipient.local().to_ascii_lowercase();
    if local.contains(['/', '@']) {
        return None;
    }
    let domain = recipient.domain();
    let name = match form {
        PerUser::No => return None,
        PerUser::Name => local,
        _ if domain.is_empty() => return None,
        PerUser::Address => format!("{local}@{domain}"),
        PerUser::Domain => format!("{domain}/{local}"),
    };
    Some(name).filter(|name| is_user(name))
}

impl Plugin for SpamAssassin {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let (Some(message), Some(envelope)) = (cx.message(), cx.envelope()) else {
            return Ok(Verdict::Declined);
        };
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let length = message.current.len(message.received);
        if length > self.size_limit {
            cx.log(Level::Info, format!("skip, too large ({length})"));
            self.old.clear(cx, &message);
            return Ok(Verdict::Declined);
        }
        let now = cx.now().mono;
        // Asked once: who has not moved to the lane must not ask spamd, whatever others find out meanwhile.
        let rests = self.breaker.rests(now);
        if !rests {
            cx.lane(Lane::Scanners)?;
        }
        let user = self.user(cx, &envelope.recipients);
        let sender = envelope.mail.reverse_path.address();
        let sender = sender.map_or_else(|| "<>".to_string(), path);
        let parts = message.current.parts(message.received);
        let answer = if !rests && self.breaker.may_ask(now) {
            let answer = self.ask(&Request { user: &user, sender: &sender, parts });
            if let Some(news) = self.breaker.heard(now, answer.is_ok()) {
                cx.log(Level::Warning, format!("info, spamd {news}"));
            }
            answer
        } else {
            Err(RESTS.into())
        };
        self.old.clear(cx, &message);
        match answer {
            Ok(report) => {
                self.mark(cx, &report, &user, envelope.recipients.len());
                self.munge_subject(cx, &message, &report);
                let verdict = self.judge(cx, &report);
                cx.mail_facts_mut().spamassassin = Some(Arc::new(report));
                Ok(verdict)
            }
            Err(fault) => {
                cx.log(Level::Error, format!("error, {}", foreign(fault.to_string().as_bytes())));
                Ok(Verdict::Declined)
            }
        }
    }
}

#[cfg(test)]
mod tests;
