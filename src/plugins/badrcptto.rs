//! Refuses recipients that the file `badrcptto` lists, although they are ours.
//!
//! A line is `PATTERN [reason]`, and the first line that fits decides. `@host` is everybody at that
//! host, `user@host` is one address, `user` that user at any host, and an entry with one of
//! `/ ^ $ * + ! % ? \` in it a regular expression, searched in the address; nothing minds the case.
//! Typical are `!` (paths of hosts), `@.*@` (two at signs) and `%` (a domain inside the local
//! part). Put it before rcpt_ok. White-listed clients are refused like all others; only those that
//! may relay are not asked, since a list can name addresses that are for the house alone.
//! `<postmaster>` without a domain is never refused.
//!
//! Arguments:
//!   reject       `1` (default) refuses, `0` only logs, `naughty` leaves it to the plugin naughty
//!   reject_type  `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!
//! Config files: `badrcptto`; also `badrcptto_patterns`, that of the former plugin
//! check_badrcptto_patterns, and SME Server's `more_badrcptto`, with a warning that their lines
//! should be moved.
//!
//! Replies: `550 5.1.1 REASON`, by default `550 5.1.1 mail to PATTERN not accepted here`
//!
//! Karma: -2 for a listed recipient.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::patterns::{Kind, PatternList, Rules};
use crate::plugin::lists::{self, Former};
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, RejectType, Verdict};
use crate::smtp::address::Address;
use std::sync::Arc;

/// Files that were read beside `badrcptto` once.
const FORMER: [Former; 2] = [
    Former { file: "badrcptto_patterns", only_regexes: true },
    Former { file: "more_badrcptto", only_regexes: false },
];

struct BadRcptTo {
    recipients: PatternList,
    policy: Policy,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let policy = Policy::from_args(args, Reject::Now, RejectType::Perm);
    let recipients = lists::load(setup, "badrcptto", &FORMER, Rules::RECIPIENTS);
    Arc::new(BadRcptTo { recipients, policy })
}

impl Plugin for BadRcptTo {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt])
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if cx.may_relay() {
            cx.log(Level::Info, "skip, relay client");
            return Ok(Verdict::Declined);
        }
        if self.recipients.is_empty() {
            cx.log(Level::Info, "skip, empty config");
            return Ok(Verdict::Declined);
        }
        if recipient.domain().is_empty() {
            cx.log(Level::Info, "skip: missing host or user");
            return Ok(Verdict::Declined);
        }
        let Some(found) = self.recipients.find(&recipient.plain(), recipient.domain()) else {
            cx.log(Level::Info, "pass");
            return Ok(Verdict::Declined);
        };
        cx.karma(-2);
        let words = match found.kind {
            Kind::Pattern => "pattern match",
            Kind::Host => "host match",
            Kind::Address => "rcpt match",
        };
        let text = match found.reason {
            Some(reason) => reason.to_string(),
            None => format!("mail to {} not accepted here", found.pattern),
        };
        if self.policy.reject == Reject::Now {
            // The words of qpsmtpd, with a colon where the shared policy has a comma.
            cx.log(Level::Info, format!("fail: {words}"));
            return Ok(self.policy.reject_type.verdict((1, 1), &text));
        }
        Ok(cx.reject(&self.policy, (1, 1), &text, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("badrcptto", 0),
            ("badrcptto reject 0", 0),
            ("check_badrcptto reject_type soft", 0),
            ("check_badrcptto_patterns", 0),
            ("badrcptto reject some", 1),
            ("badrcptto always", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
