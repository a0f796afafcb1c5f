//! Has DSPAM, a filter that learns, look at each message: marks it, and can refuse spam.
//!
//! The program is run in the name of the recipient, if there is only one, else of the site, and without
//! a shell: a recipient whose name would be no good user name counts as the site. Clients that may relay
//! and exempt ones are not looked at. The fields `X-DSPAM-Result` and `X-DSPAM-Signature` are put on top
//! of the header; fields of these names that came with the message are removed, also where DSPAM could
//! not be asked. It needs to stand behind `spamassassin` where that is to be heard.
//!
//! Arguments:
//!   dspam_bin    path of the program; `/usr/local/bin/dspam` by default; that of `dspamc` asks the daemon
//!                of DSPAM
//!   reject       refuses spam that is more probable than this, and only if DSPAM is sure (confidence 1);
//!                by default 1: nothing is. `agree` refuses what SpamAssassin takes for spam as well
//!   reject_type  `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!   autolearn    tells DSPAM that it was wrong, once a message: `naughty` where an innocent message comes
//!                from a condemned client; `karma` where the client's karma is below -2, or above 2 for
//!                spam; `spamassassin` where that has learnt the message as the other kind; `any`: all of
//!                these. By default DSPAM is told nothing. Spam that it is told to be none is not refused
//!   size_limit   octets; a larger message is not looked at; 500000 by default
//!   timeout      seconds that DSPAM may take, all in all; 15 by default, at most 180
//!
//! Config files: none.
//!
//! Replies: `554 5.6.1 dspam says, no spam please`, `554 5.6.1 we agree, no spam please`, or `451 4.6.1`
//! with `reject_type temp`
//!
//! Karma: with `reject agree` -2 for spam, 1 for what both take for innocent, DSPAM with a confidence
//! above 0.9.
//!
//! When it cannot tell: the message passes as if nobody had asked, with a log line `error, WHY`.

use crate::client::deadline::Deadline;
use crate::client::dspam::{Report, Request, classify, train};
use crate::plugin::log::{Level, foreign};
use crate::plugin::next_hop::path;
use crate::plugin::policy::reject_type_of;
use crate::plugin::site::Setup;
use crate::plugin::spam_fields::{account, choice, is_user};
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, RejectType, Verdict};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the program is.
const PROGRAM: &str = "/usr/local/bin/dspam";

/// The fields that DSPAM and its friends believe.
const FIELDS: [&str; 6] = [
    "X-DSPAM-Result",
    "X-DSPAM-Signature",
    "X-DSPAM-Confidence",
    "X-DSPAM-Probability",
    "X-DSPAM-Processed",
    "X-DSPAM-User",
];

struct Dspam {
    program: PathBuf,
    reject: Reject,
    reject_type: RejectType,
    learn: Learn,
    size_limit: usize,
    timeout: Duration,
}

#[derive(Clone, Copy)]
enum Reject {
    Above(f64),
    Agree,
}

/// Who may correct DSPAM.
#[derive(Clone, Copy, Default)]
struct Learn {
    naughty: bool,
    karma: bool,
    spamassassin: bool,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let program = args.named("dspam_bin").unwrap_or_else(|| PROGRAM.to_string());
    if !program.starts_with('/') {
        args.complain(format!("dspam_bin {program}: give an absolute path"));
    }
    let reject = match args.named("reject").as_deref() {
        None => Reject::Above(1.0),
        Some("agree") => Reject::Agree,
        Some(word) => {
            let number = word.parse::<f64>().ok().filter(|it| (0.0..=1.0).contains(it));
            if number.is_none() {
                args.complain(format!("reject {word}: give a number from 0 to 1, or agree"));
            }
            Reject::Above(number.unwrap_or(1.0))
        }
    };
    let types = ["perm", "temp", "disconnect", "temp_disconnect"];
    let types = types.map(|word| (word, reject_type_of(word).unwrap_or(RejectType::Perm)));
    let nobody = Learn::default();
    let learners = [
        ("naughty", Learn { naughty: true, ..nobody }),
        ("karma", Learn { karma: true, ..nobody }),
        ("spamassassin", Learn { spamassassin: true, ..nobody }),
        ("any", Learn { naughty: true, karma: true, spamassassin: true }),
    ];
    Arc::new(Dspam {
        program: program.into(),
        reject,
        reject_type: choice(args, "reject_type", RejectType::Perm, &types),
        learn: choice(args, "autolearn", nobody, &learners),
        size_limit: args.number("size_limit", 500_000, 1..=1_000_000_000),
        timeout: Duration::from_secs(args.number("timeout", 15, 1..=180)),
    })
}

impl Dspam {
    /// What DSPAM has to learn of the message if it was wrong: whether it is spam.
    fn lesson(&self, cx: &Cx<'_>, report: &Report) -> Option<bool> {
        let Learn { naughty, karma, spamassassin } = self.learn;
        if naughty && !report.spam && cx.facts().naughty.is_some() {
            return Some(true);
        }
        match cx.facts().karma {
            points if karma && !report.spam && points < -2 => return Some(true),
            points if karma && report.spam && points > 2 => return Some(false),
            _ => {}
        }
        let theirs = cx.mail_facts().spamassassin.as_ref().filter(|_| spamassassin)?;
        match theirs.autolearn.as_deref() {
            Some("spam") if !report.spam => Some(true),
            Some("ham") if report.spam => Some(false),
            _ => None,
        }
    }

    fn judge(&self, cx: &mut Cx<'_>, report: &Report) -> Verdict {
        let words = format!("{}, {:.2} c.", report.result, report.confidence);
        let mut log = |words: String| cx.log(Level::Info, words);
        match self.reject {
            Reject::Above(_) if !report.spam => log(format!("pass, {words}")),
            Reject::Above(least) if report.probability <= least => {
                log(format!("pass, {words}, probability is too low"));
            }
            Reject::Above(_) if report.confidence < 1.0 => {
                log(format!("pass, {words}, confidence is too low"));
            }
            Reject::Above(_) => {
                log(format!("fail, {words}"));
                return self.reject_type.verdict((6, 1), "dspam says, no spam please");
            }
            Reject::Agree => return self.agree(cx, report, &words),
        }
        Verdict::Declined
    }

    /// With SpamAssassin.
    fn agree(&self, cx: &mut Cx<'_>, report: &Report, words: &str) -> Verdict {
        let theirs = cx.mail_facts().spamassassin.as_ref().map(|theirs| theirs.spam);
        let word = match (report.spam, theirs) {
            (_, None) => "pass, SpamAssassin has not said anything",
            (true, Some(true)) => {
                cx.karma(-2);
                cx.log(Level::Info, format!("fail, we agree, {words}"));
                return self.reject_type.verdict((6, 1), "we agree, no spam please");
            }
            (false, Some(false)) => {
                if report.confidence > 0.9 {
                    cx.karma(1);
                }
                "pass, we agree"
            }
            _ => "pass, we disagree",
        };
        cx.log(Level::Info, format!("{word}, {words}"));
        Verdict::Declined
    }
}

fn failed(cx: &mut Cx<'_>, words: &str) {
    cx.log(Level::Error, format!("error, {}", foreign(words.as_bytes())));
}

impl Plugin for Dspam {
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
        if length <= self.size_limit {
            cx.lane(Lane::Scanners)?;
        }
        for field in FIELDS {
            cx.delete_header(field, None);
        }
        if length > self.size_limit {
            cx.log(Level::Info, format!("skip, too large ({length})"));
            return Ok(Verdict::Declined);
        }
        let user = match &*envelope.recipients {
            [only] => Some(only.plain().to_lowercase()).filter(|user| is_user(user)),
            _ => None,
        };
        let user = user.unwrap_or_else(|| account(cx));
        let sender = envelope.mail.reverse_path.address();
        let sender = sender.map_or_else(|| "<>".to_string(), path);
        let parts = message.current.parts(message.received);
        let request = Request { program: &self.program, user: &user, sender: &sender, parts };
        let deadline = Deadline::after(self.timeout);
        let report = match classify(&request, deadline) {
            Ok(report) => report,
            Err(fault) => {
                failed(cx, &fault.to_string());
                return Ok(Verdict::Declined);
            }
        };
        if let Some(signature) = &report.signature {
            cx.insert_header("X-DSPAM-Signature", signature);
        }
        let Report { result, probability, confidence, .. } = &report;
        let shown = format!("{result}, probability={probability:.4}, confidence={confidence:.2}");
        cx.insert_header("X-DSPAM-Result", &shown);
        if let Some(spam) = self.lesson(cx, &report) {
            let kind = if spam { "spam" } else { "ham" };
            match train(&request, spam, deadline) {
                Ok(()) => cx.log(Level::Info, format!("pass, {result}, learnt as {kind}")),
                Err(fault) => failed(cx, &fault.to_string()),
            }
            return Ok(Verdict::Declined);
        }
        Ok(self.judge(cx, &report))
    }
}

#[cfg(test)]
mod tests;
