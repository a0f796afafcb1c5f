//! Remembers how clients behaved, and keeps those out for a while who behaved badly.
//!
//! Each connection has a score to which many plugins add and from which they take. At its end, a
//! score of `strikes` or more makes it a nice connection, of minus `strikes` or less a naughty one;
//! anything between is neutral, and a connection without any score is not counted at all. Whose
//! naughty connections outnumber the nice ones by `negative` is refused for `penalty_days` after the
//! latest naughty one: by default somebody with 8 nice and 10 naughty ones. Whoever was never nice
//! and is at more than 5 naughty ones gets a day more for each of them. Clients are told apart by
//! their IPv4 address, or by the /64 of their IPv6 address. Clients that may relay and hosts that are
//! whitelisted are neither judged nor remembered; put `relay` and `whitelist` before this plugin.
//! Where `hosts_allow` is listed too, whoever has a bad history has one connection at a time.
//!
//! A score below -4 also refuses the message at hand, unless all its recipients are special accounts
//! such as postmaster. `mailreeve karma` shows what is remembered, and forgives.
//!
//! Differences to qpsmtpd 0.96: naughty connections are counted, as they were meant to be; a second
//! recipient is only refused for want of karma with the argument `recipients`; connections that
//! time out are remembered too; scores of top-level domains are only those of the file.
//!
//! Arguments:
//!   negative      how far naughty connections have to outnumber nice ones, default 2
//!   strikes       the score that makes a connection nice, or with a minus naughty, default 3
//!   penalty_days  how long a penalty lasts, decimals allowed, at most 90, default 1
//!   reject        0 (tolerate), 1 (refuse at RCPT), connect (refuse at the greeting) or naughty (the
//!                 default: the plugin naughty refuses)
//!   reject_type   disconnect (the default), perm, temp or temp_disconnect
//!   recipients    how many recipients a message may have if neither the client's history nor its
//!                 score is above 0; by default no limit
//!   db_dir, nfslock, penalty_box
//!                 accepted and not used: the file `store` says where reputations are kept
//!
//! Config files: `karma_tlds`, lines `TLD:SCORE` such as `example:-3`: what a sender of that top-level
//! domain adds to the score.
//!
//! Replies: `5.7.1 You were naughty. You cannot connect for N.NN more days.`, `5.7.1 very bad karma:
//! K`, each by `reject` and `reject_type`; `550 5.5.3 too many recipients for karma K (h: HISTORY)`
//!
//! Karma: +1 for a history above 10, -2 for each MAIL or RCPT whose address does not begin with `<`
//! right behind the colon, and what karma_tlds says.
//!
//! When it cannot tell: the client counts as unknown, and nobody unknown is refused.

use crate::config::files::{Files, Line, Problem, quote};
use crate::plugin::facts::is_special_account;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, RejectType, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::{MailFrom, PathOf};
use crate::store::{self, KARMA, Op, Outcome, site_key};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Above this history a client begins with a point.
const GOOD_HISTORY: i32 = 10;

/// Below this score no message is taken.
const BAD_SCORE: i32 = -4;

/// Longest penalty: the store forgets clients that do not come back after so many days.
const DAYS_MAX: f64 = 90.0;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Largest score of a top-level domain.
const TLD_SCORE_MAX: i32 = 100;

struct Karma {
    rules: Rules,
    strikes: u32,
    policy: Policy,
    recipients: Option<usize>,
    tlds: HashMap<Box<str>, i32>,
}

/// When a client is kept out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rules {
    negative: u32,
    penalty: Duration,
}

/// How a known client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its history is no worse than others'.
    Clear,
    /// Its penalty is over.
    Served,
    /// Its penalty lasts for so many seconds more.
    KeptOut(i64),
}

/// Note on a connection: the client was kept out, so it is counted even without a score.
#[derive(Clone, Copy)]
struct KeptOut;

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let rules = Rules::read(args);
    let strikes = args.number("strikes", 3, 1..=1_000);
    let policy = Policy::from_args(args, Reject::Naughty, RejectType::Disconnect);
    let recipients = match args.number("recipients", 0, 0..=100_000) {
        0 => None,
        some => Some(some),
    };
    // Where the records are is not this plugin's business any more.
    for former in ["db_dir", "nfslock", "penalty_box"] {
        args.named(former);
    }
    let lines = setup.lines("karma_tlds");
    let tlds = setup
        .with_problems(|problems| lines.iter().filter_map(|line| tld_of(line, problems)).collect());
    Arc::new(Karma { rules, strikes, policy, recipients, tlds })
}

fn tld_of(line: &Line, problems: &mut Vec<Problem>) -> Option<(Box<str>, i32)> {
    let parts = line.text.split_once(':').map(|(tld, score)| (tld.trim(), score.trim().parse()));
    match parts {
        Some((tld, Ok(score))) if (-TLD_SCORE_MAX..=TLD_SCORE_MAX).contains(&score) => {
            let tld = tld.strip_prefix('.').unwrap_or(tld);
            Some((tld.to_ascii_lowercase().into(), score))
        }
        _ => {
            let what = format!("{} is not TLD:SCORE; the line is skipped", quote(&line.text));
            Problem::warning(line, what).note(problems);
            None
        }
    }
}

impl Rules {
    fn read(args: &mut Args) -> Rules {
        let negative = args.number("negative", 2, 1..=100_000);
        let days = args.number("penalty_days", 1.0, 0.0..=DAYS_MAX);
        let penalty = Duration::try_from_secs_f64(days * 86_400.0).unwrap_or_default();
        Rules { negative, penalty }
    }

    /// The rules of the first line in `plugins`, or in a list under `peers/`, that names this plugin;
    /// the defaults where there is none.
    pub(crate) fn of_config(files: &Files) -> Rules {
        let lists = files.names("peers").into_iter().map(|name| format!("peers/{name}"));
        // Whatever is wrong in them is told by who loads them.
        let mut lines = [String::from("plugins")]
            .into_iter()
            .chain(lists)
            .flat_map(|list| files.lines(&list, &mut Vec::new()));
        let named = lines.find_map(|line| {
            let args = Args::new(line);
            (args.called == "karma").then_some(args)
        });
        Rules::read(&mut named.unwrap_or_else(|| Args::of("karma")))
    }

    /// How a client stands at `now`, in seconds since 1970.
    pub(crate) fn standing(&self, record: &store::Karma, now: i64) -> Standing {
        let Some(start) = record.penalty_start(self.negative) else { return Standing::Clear };
        let end = start.saturating_add(self.penalty.as_secs());
        match i64::try_from(end).unwrap_or(i64::MAX).saturating_sub(now) {
            left @ 1.. => Standing::KeptOut(left),
            _ => Standing::Served,
        }
    }
}

/// Seconds as days with two decimals.
pub(crate) fn days(seconds: i64) -> String {
    let hundredths = seconds.max(0).saturating_mul(100).saturating_add(DAY / 2) / DAY;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

impl Karma {
    /// Applies the policy to a score that is too bad for any message.
    fn judge_score(&self, cx: &mut Cx<'_>) -> Verdict {
        let special = cx.envelope().is_some_and(|envelope| {
            !envelope.recipients.is_empty() && envelope.recipients.iter().all(is_special_account)
        });
        let score = cx.facts().karma;
        if score >= BAD_SCORE || cx.skip_immune() {
            return Verdict::Declined;
        }
        if special {
            cx.log(Level::Info, "skip, special account");
            return Verdict::Declined;
        }
        if cx.facts().naughty.is_some() {
            cx.log(Level::Info, "skip, naughty");
            return Verdict::Declined;
        }
        let text = format!("very bad karma: {score}");
        cx.reject(&self.policy, (7, 1), &text, &text)
    }

    /// The history that a connection with this outcome leaves behind, and the words for it.
    fn closing(&self, outcome: Outcome, history: i32) -> (i32, &'static str) {
        match outcome {
            Outcome::Naughty => {
                let after = history.saturating_sub(1);
                let penalised = i64::from(after) <= -i64::from(self.rules.negative);
                (after, if penalised { "negative, sent to penalty box" } else { "negative" })
            }
            Outcome::Nice => (history, "positive"),
            Outcome::Neutral => (history, "neutral"),
        }
    }
}

/// Is nobody to be judged here? Unlike `skip_immune` it says nothing in the log.
fn is_exempt(cx: &Cx<'_>) -> bool {
    cx.may_relay() || cx.facts().immune.or(cx.mail_facts().immune).is_some()
}

impl Plugin for Karma {
    fn hooks(&self) -> HookSet {
        const ALWAYS: HookSet = HookSet::of(&[
            Hook::Connect,
            Hook::Address,
            Hook::Mail,
            Hook::Data,
            Hook::Message,
            Hook::Disconnect,
        ]);
        if self.recipients.is_some() { ALWAYS.with(Hook::Rcpt) } else { ALWAYS }
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let found = cx.stored(KARMA, &site_key(cx.peer().ip))?;
        let Some(record) = found.as_deref().and_then(store::Karma::decode) else {
            cx.log(Level::Info, "pass, no record");
            return Ok(Verdict::Declined);
        };
        let bound = i64::from(i32::MAX);
        let history = i32::try_from(record.history().clamp(-bound, bound)).unwrap_or_default();
        cx.facts_mut().karma_history = Some(history);
        if history > GOOD_HISTORY {
            cx.karma(1);
        }
        let store::Karma { naughty, nice, connects, .. } = record;
        let counts = format!("({naughty} naughty, {nice} nice, {connects} connects)");
        match self.rules.standing(&record, cx.now().unix_seconds()) {
            Standing::Clear => cx.log(Level::Info, format!("pass, no penalty {counts}")),
            Standing::Served => cx.log(Level::Info, format!("pass, penalty expired {counts}")),
            Standing::KeptOut(left) => {
                cx.keep_note(KeptOut);
                let left = days(left);
                let text = format!("You were naughty. You cannot connect for {left} more days.");
                return Ok(cx.reject(&self.policy, (7, 1), &text, &history.to_string()));
            }
        }
        Ok(Verdict::Declined)
    }

    fn address(&self, cx: &mut Cx<'_>, command: PathOf, raw: &[u8]) -> Hooked {
        if raw.first() == Some(&b'<') || is_exempt(cx) {
            return Ok(Verdict::Declined);
        }
        let before = match command {
            PathOf::Mail => "FROM:",
            PathOf::Rcpt => "TO:",
        };
        let shown = foreign(raw);
        cx.log(Level::Info, format!("illegal envelope address format: {before}{shown}"));
        cx.karma(-2);
        Ok(Verdict::Declined)
    }

    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        let Some(sender) = mail.reverse_path.address() else { return Ok(Verdict::Declined) };
        let tld = sender.domain().rsplit('.').next().unwrap_or_default();
        let Some(score) = self.tlds.get(tld).copied().filter(|score| *score != 0) else {
            return Ok(Verdict::Declined);
        };
        if !is_exempt(cx) {
            cx.log(Level::Info, format!("adjusting karma for .{tld} envelope sender"));
            cx.karma(score);
        }
        Ok(Verdict::Declined)
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        let Some(most) = self.recipients else { return Ok(Verdict::Unhooked) };
        let accepted = cx.envelope().map_or(0, |envelope| envelope.recipients.len());
        if accepted < most || is_special_account(recipient) || is_exempt(cx) {
            return Ok(Verdict::Declined);
        }
        let (score, history) = (cx.facts().karma, cx.facts().karma_history.unwrap_or_default());
        if history > 0 {
            cx.log(Level::Info, "info, good history");
            return Ok(Verdict::Declined);
        }
        if score > 0 {
            cx.log(Level::Info, "info, good connection");
            return Ok(Verdict::Declined);
        }
        let text = format!("too many recipients for karma {score} (h: {history})");
        cx.log(Level::Info, format!("fail, {text}"));
        Ok(Verdict::deny((5, 3), text))
    }

    fn data(&self, cx: &mut Cx<'_>, _chunked: bool) -> Hooked {
        Ok(self.judge_score(cx))
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(self.judge_score(cx))
    }

    fn disconnect(&self, cx: &mut Cx<'_>) {
        let score = cx.facts().karma;
        let counts = score != 0 || cx.note::<KeptOut>().is_some();
        if !counts || cx.may_relay() || cx.facts().immune.is_some() {
            return;
        }
        let outcome = Outcome::of(score, self.strikes);
        let history = cx.facts().karma_history.unwrap_or_default();
        let (history, words) = self.closing(outcome, history);
        cx.log(Level::Info, format!("{words}, (msg: {score}, his: {history})"));
        cx.record(Op::close(&site_key(cx.peer().ip), outcome, cx.now().unix.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(line: &str) -> Rules {
        Rules::read(&mut Args::of(line))
    }

    #[test]
    fn arguments() {
        for (line, tlds, complaints, warnings) in [
            ("karma", "", 0, 0),
            ("karma negative 3 strikes 4 penalty_days 0.5 reject connect", "", 0, 0),
            ("karma reject 0 reject_type temp recipients 1", "", 0, 0),
            ("karma penalty_box 1 nfslock 0 db_dir /var/lib/qpsmtpd/karma", "", 0, 0),
            ("karma negative 0 strikes 0 penalty_days 91 reject maybe recipients -1", "", 5, 0),
            ("karma bad", "work:-4\n.Rocks: -3\nfun:+3", 1, 0),
            ("karma", "work\nwork -4\nwork:x\nwork:101", 0, 4),
        ] {
            let files = Files::in_memory([("karma_tlds".to_string(), tlds.to_string())]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
            assert_eq!(problems.len(), warnings, "{line}: {problems:?}");
        }
    }

    #[test]
    fn the_rules_are_found_in_the_config_folder() {
        for (plugins, list, expected) in [
            ("relay", "", "karma"),
            ("relay\nkarma negative 4\nkarma:2 negative 5", "", "karma negative 4"),
            ("peers", "karma penalty_days 3", "karma penalty_days 3"),
        ] {
            let named = [("plugins", plugins), ("peers/0", list)];
            let files = named.map(|(name, text)| (name.to_string(), text.to_string()));
            let found = Rules::of_config(&Files::in_memory(files));
            assert_eq!(found, rules(expected), "{plugins} {list}");
        }
    }

    #[test]
    fn a_penalty_follows_from_the_record() {
        let day = 86_400;
        for (line, naughty, nice, ago, expected) in [
            ("karma", 1, 0, 0, Standing::Clear),
            ("karma", 2, 0, 0, Standing::KeptOut(day)),
            // The example of the manual.
            ("karma", 10, 8, 3_600, Standing::KeptOut(day - 3_600)),
            ("karma", 10, 9, 0, Standing::Clear),
            ("karma", 10, 8, day - 1, Standing::KeptOut(1)),
            ("karma", 10, 8, day, Standing::Served),
            ("karma negative 1", 1, 0, 0, Standing::KeptOut(day)),
            ("karma negative 3", 2, 0, 0, Standing::Clear),
            ("karma penalty_days 0.5", 2, 0, 0, Standing::KeptOut(day / 2)),
            ("karma penalty_days 0", 2, 0, 0, Standing::Served),
            // Never nice, and worse than 5: a day more for each.
            ("karma", 5, 0, 0, Standing::KeptOut(day)),
            ("karma", 6, 0, 0, Standing::KeptOut(7 * day)),
            ("karma", 7, 1, 0, Standing::KeptOut(day)),
        ] {
            let now = 1_795_325_243;
            let at = u64::try_from(now - ago).expect("a time");
            let record =
                store::Karma { seen_at: at, naughty_at: at, naughty, nice, connects: naughty };
            assert_eq!(rules(line).standing(&record, now), expected, "{line} {naughty} {nice}");
        }
    }

    #[test]
    fn days_have_two_decimals() {
        for (seconds, expected) in [
            (86_400, "1.00"),
            (86_399, "1.00"),
            (82_800, "0.96"),
            (60, "0.00"),
            (950_400, "11.00"),
            (-5, "0.00"),
            (i64::MAX, "1067519911673.00"),
        ] {
            assert_eq!(days(seconds), expected, "{seconds}");
        }
    }
}
