//! Acts on the score that filters before it gave a message: refuses it, throws it away, sends it to
//! somebody else, or marks its subject.
//!
//! Of the thresholds that the score has reached, the first counts: reject, drop, redirect, munge. A
//! message without that score passes. It must stand behind the filters; a second instance
//! (`handler:viruses`) acts on another score.
//!
//! Arguments:
//!   note                NAME of the score: `spam_score` (default) is SpamAssassin's, or else what filters
//!                       have added up under that name, as any other name is
//!   reject_threshold    refuses from this score on; `5-10` only up to 10
//!   reject_note         what the client is told, the rest of a line of the file; `%n` is the name of the
//!                       score, `%v` its value; by default `%n of %v exceeded threshold`
//!   drop_threshold      accepts the message and throws it away
//!   redirect_threshold  sends it to `redirect_recipient` instead of its recipients
//!   redirect_recipient  that address
//!   munge_threshold     puts a prefix before the subject
//!   subject_prefix      the prefix; by default the line of the file, or `*** SPAM ***`
//!
//! No threshold is set by default.
//!
//! Config files: `handler`, or the name of the instance where there is one: more arguments, one
//! `key value` a line, before which the line in `plugins` counts; `subject_prefix`, one line.
//!
//! Replies: `554 5.7.1 NOTE`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out. Where no filter gave a score, the message passes.

use crate::client::spamd::Points;
use crate::config::files::{Problem, quote};
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::spam_fields::mark_subject;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::{Address, parse_forward};
use std::sync::Arc;

/// The score that SpamAssassin gives.
const SPAM_SCORE: &str = "spam_score";

/// The arguments that are thresholds or texts, as file and line name them.
const KEYS: [&str; 8] = [
    "note",
    "reject_threshold",
    "reject_note",
    "drop_threshold",
    "redirect_threshold",
    "redirect_recipient",
    "munge_threshold",
    "subject_prefix",
];

struct Handler {
    note: String,
    reject: Option<(Points, Option<Points>)>,
    reject_note: String,
    drop: Option<Points>,
    redirect: Option<(Points, Address)>,
    munge: Option<Points>,
    prefix: String,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(Handler::from_args(args, setup))
}

/// What stands under the keys: in the line, or else in the file.
fn values(args: &mut Args, setup: &Setup<'_>) -> [Option<String>; KEYS.len()] {
    let file = if args.instance.is_empty() { "handler" } else { &args.instance }.to_string();
    let mut values = KEYS.map(|_| None);
    for line in setup.lines(&file) {
        let (key, value) = line.split_word();
        let place = KEYS.iter().zip(&mut values).find(|(known, _)| **known == key);
        match place {
            Some((_, place)) if !value.is_empty() => *place = Some(value.to_string()),
            Some(_) | None => {
                let what = format!("{} is no argument with a value", quote(&line.text));
                setup.with_problems(|problems| Problem::error(&line, what).note(problems));
            }
        }
    }
    for (key, place) in KEYS.iter().zip(&mut values) {
        *place = args.named(key).or(place.take());
    }
    values
}

fn points(args: &mut Args, key: &str, word: &str) -> Option<Points> {
    let found = Points::read(word);
    if found.is_none() {
        args.complain(format!("{key} {word}: give a number"));
    }
    found
}

/// `5`, or `5-10`; the sign of a number is no dash.
fn range(args: &mut Args, word: &str) -> Option<(Points, Option<Points>)> {
    let dash = word.get(1..).and_then(|rest| rest.find('-')).map(|at| at + 1);
    let Some((from, to)) = dash.and_then(|at| Some((word.get(..at)?, word.get(at + 1..)?))) else {
        return Some((points(args, "reject_threshold", word)?, None));
    };
    let from = points(args, "reject_threshold", from)?;
    let to = points(args, "reject_threshold", to)?;
    if to < from {
        args.complain(format!("reject_threshold {word}: it ends before it begins"));
    }
    Some((from, Some(to)))
}

impl Handler {
    fn from_args(args: &mut Args, setup: &Setup<'_>) -> Handler {
        let [note, reject, reject_note, drop, redirect, recipient, munge, prefix] =
            values(args, setup);
        let mut number = |key, word: Option<String>| word.and_then(|word| points(args, key, &word));
        let drop = number("drop_threshold", drop);
        let redirect = number("redirect_threshold", redirect);
        let munge = number("munge_threshold", munge);
        let reject = reject.and_then(|word| range(args, &word));
        let to = recipient.as_ref().and_then(|word| {
            let found = parse_forward(format!("<{word}>").as_bytes(), false).ok();
            if found.is_none() {
                args.complain(format!("redirect_recipient {}: it is no address", quote(word)));
            }
            found
        });
        if redirect.is_some() != recipient.is_some() {
            args.complain("redirect_threshold and redirect_recipient go together");
        }
        let prefix = prefix.or_else(|| setup.scalar("subject_prefix").map(|line| line.text));
        Handler {
            note: note.unwrap_or_else(|| SPAM_SCORE.to_string()),
            reject,
            reject_note: reject_note.unwrap_or_else(|| "%n of %v exceeded threshold".to_string()),
            drop,
            redirect: redirect.zip(to),
            munge,
            prefix: prefix.unwrap_or_else(|| "*** SPAM ***".to_string()),
        }
    }

    /// The score that the filters gave, if any did.
    fn score(&self, cx: &Cx<'_>) -> Option<Points> {
        let facts = cx.mail_facts();
        let of_spam = facts.spamassassin.as_ref().filter(|_| self.note == SPAM_SCORE);
        if let Some(report) = of_spam {
            return Some(report.score);
        }
        let own = facts.scores.iter().filter(|(name, _)| *name == self.note);
        let sum = |sum: Option<i32>, (_, points): &(&str, i32)| {
            Some(sum.unwrap_or_default().saturating_add(*points))
        };
        own.fold(None, sum).map(Points::from)
    }
}

impl Plugin for Handler {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let note = foreign(self.note.as_bytes());
        let Some(score) = self.score(cx) else {
            cx.log(Level::Info, format!("skip, no {note}"));
            return Ok(Verdict::Declined);
        };
        let reached = |threshold: Option<Points>| threshold.is_some_and(|it| score >= it);
        let in_range =
            self.reject.is_some_and(|(from, to)| score >= from && to.is_none_or(|to| score <= to));
        if in_range {
            cx.log(Level::Info, format!("fail, {note} {score}"));
            let text = self.reject_note.replace("%n", &self.note);
            return Ok(Verdict::deny((7, 1), text.replace("%v", &score.to_string())));
        }
        if reached(self.drop) {
            cx.log(Level::Info, format!("fail, {note} {score}, dropped"));
            cx.discard(&format!("{note} {score}"));
        } else if let Some((_, to)) = self.redirect.as_ref().filter(|(it, _)| score >= *it) {
            let whom = foreign(to.plain().as_bytes());
            cx.log(Level::Info, format!("fail, {note} {score}, redirected to {whom}"));
            cx.redirect(to.clone());
        } else if reached(self.munge) {
            cx.log(Level::Info, format!("fail, {note} {score}, subject marked"));
            if let Some(message) = cx.message() {
                mark_subject(cx, &message, &self.prefix);
            }
        } else {
            cx.log(Level::Info, format!("pass, {note} {score}"));
        }
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests;
