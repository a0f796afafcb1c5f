//! Refuses recipients in our domains that do not exist.
//!
//! What is not refused at RCPT becomes a bounce later, mostly to somebody whose address was forged. The
//! file `goodrcptto` names all recipients there are: `user@domain`, `@domain` for everybody in a
//! domain, or `user` at whatever domain; nothing minds the case. Recipients in domains that are not
//! ours are left to rcpt_ok, and clients that may relay are not asked. An empty file refuses nobody,
//! and `<postmaster>` without a domain always gets through (RFC 5321 section 4.5.1). Put it before
//! rcpt_ok.
//!
//! Arguments:
//!   extn CHAR    what stands behind CHAR in a local part does not matter: with `extn -`, joe-list
//!                is as good as joe
//!   deny_note    once counted refusals for other plugins; accepted with a warning, and not used
//!   reject       `1` (default) refuses, `0` only logs, `naughty` leaves it to the plugin naughty
//!   reject_type  `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!
//! Config files: `goodrcptto`; `rcpthosts`, `morercpthosts.cdb` and `me` for which domains are ours.
//!
//! Replies: `550 5.1.1 invalid recipient ADDRESS`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::files::{Line, Problem, quote};
use crate::plugin::hosted::Hosted;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, RejectType, Verdict};
use crate::smtp::address::Address;
use std::collections::HashSet;
use std::sync::Arc;

struct GoodRcptTo {
    /// All entries, lower-cased: users, addresses, and domains with their `@`.
    good: HashSet<Box<str>>,
    extension: Option<char>,
    hosted: Hosted,
    policy: Policy,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let policy = Policy::from_args(args, Reject::Now, RejectType::Perm);
    let extension = args.named("extn").and_then(|word| {
        let mut chars = word.chars();
        let first = chars.next();
        if first.is_none() || chars.next().is_some() {
            args.complain(format!("extn {word}: give one character"));
        }
        first
    });
    if args.named("deny_note").is_some() {
        let what = "deny_note is not used: a refusal is in the log, and plugins have scores of their \
                    own; remove it";
        setup.with_problems(|problems| Problem::warning(&args.line, what).note(problems));
    }
    let lines = setup.lines("goodrcptto");
    let good = setup.with_problems(|problems| read(&lines, problems));
    Arc::new(GoodRcptTo { good, extension, hosted: Hosted::read(setup), policy })
}

fn read(lines: &[Line], problems: &mut Vec<Problem>) -> HashSet<Box<str>> {
    let entries = lines.iter().map(|line| {
        let (entry, rest) = line.split_word();
        if !rest.is_empty() {
            let what = format!("only the first word is read, not {}", quote(rest));
            Problem::warning(line, what).note(problems);
        }
        entry.to_ascii_lowercase().into()
    });
    entries.collect()
}

impl GoodRcptTo {
    fn knows(&self, recipient: &Address) -> bool {
        let (local, domain) = (recipient.local().to_ascii_lowercase(), recipient.domain());
        let is_good = |local: &str| {
            // In quotes a local part can look like an entry of another kind.
            let user = !local.contains('@') && self.good.contains(local);
            user || self.good.contains(&*format!("{local}@{domain}"))
        };
        let base = self.extension.and_then(|mark| local.split_once(mark)).map(|(base, _)| base);
        self.good.contains(&*format!("@{domain}"))
            || is_good(&local)
            || base.is_some_and(|base| !base.is_empty() && is_good(base))
    }
}

impl Plugin for GoodRcptTo {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt])
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if cx.may_relay() {
            cx.log(Level::Info, "skip, relay client");
            return Ok(Verdict::Declined);
        }
        if self.good.is_empty() {
            cx.log(Level::Info, "skip, empty config");
            return Ok(Verdict::Declined);
        }
        if recipient.domain().is_empty() {
            cx.log(Level::Info, "skip, postmaster");
            return Ok(Verdict::Declined);
        }
        if !self.hosted.holds(&cx.config().rules.me, recipient.domain()) {
            cx.log(Level::Info, "skip, not in our domains");
            return Ok(Verdict::Declined);
        }
        if self.knows(recipient) {
            cx.log(Level::Info, "pass");
            return Ok(Verdict::Declined);
        }
        let text = format!("invalid recipient {}", recipient.plain());
        let words = foreign(text.as_bytes());
        Ok(cx.reject(&self.policy, (1, 1), &text, &words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;
    use crate::smtp::address::parse_forward;

    #[test]
    fn arguments() {
        for (line, complaints, warnings) in [
            ("check_goodrcptto", 0, 0),
            ("check_goodrcptto extn -", 0, 0),
            ("check_goodrcptto extn=+ reject 0", 0, 0),
            ("check_goodrcptto reject_type soft", 0, 0),
            ("check_goodrcptto deny_note virus_score=1", 0, 1),
            ("check_goodrcptto extn -+", 1, 0),
            ("check_goodrcptto extn=", 1, 0),
            ("check_goodrcptto extn", 1, 0),
            ("check_goodrcptto always", 1, 0),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!((args.finish().len(), problems.len()), (complaints, warnings), "{line}");
        }
    }

    #[test]
    fn recipients_are_known() {
        let lines = ["Joe@Example.com", "ann", "@all.example", "x-y@example.com", "-"]
            .map(|text| Line { text: text.to_string(), file: "goodrcptto".into(), number: 1 });
        let mut problems = Vec::new();
        let good = read(&lines, &mut problems);
        assert!(problems.is_empty());
        let with = |extension| GoodRcptTo {
            good: good.clone(),
            extension,
            hosted: Hosted::default(),
            policy: Policy { reject: Reject::Now, reject_type: RejectType::Perm },
        };
        let (plain, dashed) = (with(None), with(Some('-')));
        for (path, known, known_with_extension) in [
            ("<joe@example.com>", true, true),
            ("<JOE@EXAMPLE.COM>", true, true),
            ("<joe@example.org>", false, false),
            ("<ann@anywhere.example>", true, true),
            ("<anybody@all.example>", true, true),
            ("<anybody@sub.all.example>", false, false),
            ("<joe-list@example.com>", false, true),
            ("<joe-list-a@example.com>", false, true),
            ("<joe-list@example.org>", false, false),
            ("<ann-x@anywhere.example>", false, true),
            ("<x-y@example.com>", true, true),
            ("<x-y-z@example.com>", false, false),
            ("<-x@example.com>", false, false),
            ("<joe+list@example.com>", false, false),
            ("<jo@example.com>", false, false),
            ("<\"ann@example.com\"@example.com>", false, false),
        ] {
            let recipient = parse_forward(path.as_bytes(), false).unwrap();
            assert_eq!(plain.knows(&recipient), known, "{path}");
            assert_eq!(dashed.knows(&recipient), known_with_extension, "{path} with extn -");
        }
    }

    #[test]
    fn a_quoted_local_part_is_no_entry_of_another_kind() {
        let lines = ["@example.com", "joe@example.com"].map(|text| Line {
            text: text.to_string(),
            file: "goodrcptto".into(),
            number: 1,
        });
        let plugin = GoodRcptTo {
            good: read(&lines, &mut Vec::new()),
            extension: None,
            hosted: Hosted::default(),
            policy: Policy { reject: Reject::Now, reject_type: RejectType::Perm },
        };
        for path in ["<\"@example.com\"@example.org>", "<\"joe@example.com\"@example.org>"] {
            let recipient = parse_forward(path.as_bytes(), false).unwrap();
            assert!(!plugin.knows(&recipient), "{path}");
        }
    }
}
