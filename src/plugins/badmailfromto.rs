//! Refuses mail from certain senders to certain recipients.
//!
//! A line of the file `badmailfromto` is `FROM TO`, two addresses with any white space between
//! them, where `@host` stands for everybody at that host. Case does not matter, and an
//! internationalized host may be written in its own letters. The refusal comes at RCPT and reads as if
//! the recipient did not exist, so that somebody who pesters one person does not learn that it is
//! he who is not wanted. It holds for everyone, relay clients and white-listed ones included.
//!
//! Arguments: none.
//!
//! Config files: `badmailfromto`.
//!
//! Replies: `550 5.1.1 mail to RECIPIENT not accepted here`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::files::{Line, Problem, quote};
use crate::config::patterns::canonical;
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Unwelcome senders by recipient, both lower-cased.
struct BadMailFromTo {
    senders: HashMap<String, HashSet<String>>,
}

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let lines = setup.lines("badmailfromto");
    Arc::new(setup.with_problems(|problems| BadMailFromTo::read(&lines, problems)))
}

impl BadMailFromTo {
    fn read(lines: &[Line], problems: &mut Vec<Problem>) -> BadMailFromTo {
        let mut senders = HashMap::<String, HashSet<String>>::new();
        for line in lines {
            let mut words = line.text.split_ascii_whitespace();
            let (Some(from), Some(to)) = (words.next(), words.next()) else {
                let what = "two addresses are needed, FROM and TO; the line is left out";
                Problem::warning(line, what).note(problems);
                continue;
            };
            if let Some(odd) = [from, to].into_iter().find(|word| !word.contains('@')) {
                let what = format!("no @ sign in {}: the line is left out", quote(odd));
                Problem::warning(line, what).note(problems);
                continue;
            }
            if let Some(more) = words.next() {
                let what = format!("only two words are read, not {}", quote(more));
                Problem::warning(line, what).note(problems);
            }
            senders.entry(spelling(to)).or_default().insert(spelling(from));
        }
        BadMailFromTo { senders }
    }

    fn holds(&self, from: &Address, to: &Address) -> bool {
        let from = spellings(from);
        let unwelcome = |to: String| {
            self.senders.get(&to).is_some_and(|senders| from.iter().any(|it| senders.contains(it)))
        };
        spellings(to).into_iter().any(unwelcome)
    }
}

/// An entry in the form that addresses carry: lower case, its host in A-labels (RFC 5890).
fn spelling(entry: &str) -> String {
    match entry.rsplit_once('@') {
        Some((local, host)) => format!("{}@{}", local.to_ascii_lowercase(), canonical(host)),
        None => entry.to_ascii_lowercase(),
    }
}

/// The two entries that fit an address: itself and its host.
fn spellings(address: &Address) -> [String; 2] {
    [address.plain().to_ascii_lowercase(), format!("@{}", address.domain())]
}

impl Plugin for BadMailFromTo {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt])
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if self.senders.is_empty() {
            cx.log(Level::Debug, "skip, empty list");
            return Ok(Verdict::Declined);
        }
        let Some(sender) = cx.envelope().and_then(|it| it.mail.reverse_path.address()) else {
            cx.log(Level::Debug, "skip, null sender");
            return Ok(Verdict::Declined);
        };
        if !self.holds(sender, recipient) {
            cx.log(Level::Debug, "pass, sender and recipient are not listed together");
            return Ok(Verdict::Declined);
        }
        cx.log(Level::Info, "fail, sender and recipient are listed together");
        let text = format!("mail to {} not accepted here", recipient.plain().to_ascii_lowercase());
        Ok(Verdict::deny((1, 1), text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::address;

    fn read(text: &str) -> (BadMailFromTo, Vec<String>) {
        let lines = text.lines().zip(1..);
        let lines =
            lines.map(|(text, number)| Line { text: text.into(), file: "b".into(), number });
        let mut problems = Vec::new();
        let list = BadMailFromTo::read(&lines.collect::<Vec<_>>(), &mut problems);
        (list, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn pairs_are_found() {
        let (list, problems) = read(
            "ex@x.example\tAnn@example.com\n@spam.example   bob@example.com\n\
             EX@x.example bob@example.com\nall@x.example @example.com",
        );
        assert!(problems.is_empty(), "{problems:?}");
        for (from, to, listed) in [
            ("<ex@x.example>", "<ann@example.com>", true),
            ("<Ex@X.example>", "<ANN@Example.com>", true),
            ("<ex@x.example>", "<bob@example.com>", true),
            ("<ex@x.example>", "<carl@example.com>", false),
            ("<any@spam.example>", "<bob@example.com>", true),
            ("<any@spam.example>", "<ann@example.com>", false),
            ("<any@sub.spam.example>", "<bob@example.com>", false),
            ("<all@x.example>", "<carl@example.com>", true),
            ("<all@x.example>", "<carl@example.org>", false),
            ("<ann@example.com>", "<ex@x.example>", false),
            ("<ex@x.example>", "<postmaster>", false),
        ] {
            let sender = address::parse_reverse(from.as_bytes(), false).unwrap();
            let recipient = address::parse_forward(to.as_bytes(), false).unwrap();
            assert_eq!(list.holds(sender.address().unwrap(), &recipient), listed, "{from} {to}");
        }
    }

    #[test]
    fn internationalized_hosts_are_found_in_both_columns() {
        let (list, problems) = read(
            "Ex@B\u{fc}cher.example ann@m\u{fc}nchen.example\n\
             @m\u{fc}nchen.example @b\u{fc}cher.example\n\
             x@xn--bcher-kva.example y@xn--mnchen-3ya.example",
        );
        assert!(problems.is_empty(), "{problems:?}");
        for (from, to, listed) in [
            ("<ex@xn--bcher-kva.example>", "<ann@xn--mnchen-3ya.example>", true),
            ("<ex@b\u{fc}cher.example>", "<Ann@M\u{fc}nchen.example>", true),
            ("<any@xn--mnchen-3ya.example>", "<any@xn--bcher-kva.example>", true),
            ("<x@b\u{fc}cher.example>", "<y@m\u{fc}nchen.example>", true),
            ("<ex@bucher.example>", "<ann@xn--mnchen-3ya.example>", false),
            ("<ex@xn--bcher-kva.example>", "<ann@munchen.example>", false),
        ] {
            let sender = address::parse_reverse(from.as_bytes(), true).unwrap();
            let recipient = address::parse_forward(to.as_bytes(), true).unwrap();
            assert_eq!(list.holds(sender.address().unwrap(), &recipient), listed, "{from} {to}");
        }
    }

    #[test]
    fn lines_that_are_no_pairs_are_told() {
        let (list, problems) = read("a@x.example\nnobody b@y.example\na@x.example b@y.example c");
        assert_eq!(
            problems,
            [
                "b:1: warning: two addresses are needed, FROM and TO; the line is left out",
                "b:2: warning: no @ sign in \"nobody\": the line is left out",
                "b:3: warning: only two words are read, not \"c\"",
            ]
        );
        assert_eq!(list.senders.len(), 1);
    }

    #[test]
    fn arguments() {
        let files = crate::config::files::Files::in_memory([]);
        for (line, complaints) in [("badmailfromto", 0), ("badmailfromto reject 0", 1)] {
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
