//! Refuses envelope senders that the file `badmailfrom` lists.
//!
//! A line is `PATTERN [reason]`, and the first line that fits decides. `@host` is everybody at that
//! host, but not below it; `user@host` is one address, whatever the case; an entry with one of
//! `/ ^ $ * + ! % ? \` in it is a regular expression, which is searched in the lower-cased address.
//! The sender is told the reason, where the line gives one. Bounces (the null sender) pass, and so
//! does what comes from clients that may relay and from white-listed ones.
//!
//! Arguments:
//!   reject       `1` (default) refuses, `0` only logs, `naughty` leaves it to the plugin naughty
//!   reject_type  `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!
//! Config files: `badmailfrom`; `badmailfrom_patterns`, that of the former plugin
//! check_badmailfrom_patterns, is read too, with a warning that its lines should be moved.
//!
//! Replies: `550 5.7.1 REASON`, by default
//! `550 5.7.1 Your envelope sender is in my badmailfrom list`
//!
//! Karma: -1 for a listed sender.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::patterns::{PatternList, Rules};
use crate::plugin::lists::{self, Former};
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, RejectType, Verdict};
use crate::smtp::session::MailFrom;
use std::sync::Arc;

/// What a listed sender is told where its line gives no reason.
const REASON: &str = "Your envelope sender is in my badmailfrom list";

struct BadMailFrom {
    senders: PatternList,
    policy: Policy,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let policy = Policy::from_args(args, Reject::Now, RejectType::Perm);
    let former = [Former { file: "badmailfrom_patterns", only_regexes: true }];
    let senders = lists::load(setup, "badmailfrom", &former, Rules::SENDERS);
    Arc::new(BadMailFrom { senders, policy })
}

impl Plugin for BadMailFrom {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Mail])
    }

    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let Some(sender) = mail.reverse_path.address() else {
            cx.log(Level::Debug, "skip, null sender");
            return Ok(Verdict::Declined);
        };
        if self.senders.is_empty() {
            cx.log(Level::Debug, "skip, empty list");
            return Ok(Verdict::Declined);
        }
        let Some(found) = self.senders.find(&sender.plain(), sender.domain()) else {
            cx.log(Level::Info, "pass");
            return Ok(Verdict::Declined);
        };
        cx.karma(-1);
        let words = foreign(found.pattern.as_bytes());
        Ok(cx.reject(&self.policy, (7, 1), found.reason.unwrap_or(REASON), &words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("badmailfrom", 0),
            ("badmailfrom reject naughty", 0),
            ("check_badmailfrom reject 0 reject_type temp", 0),
            ("badmailfrom_patterns", 0),
            ("badmailfrom reject perhaps", 1),
            ("badmailfrom reject_type hardly", 1),
            ("badmailfrom /etc/mail/bad", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
