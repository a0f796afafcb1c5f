//! Refuses mail from certain senders to certain recipients.
//!
//! A line of the file `badmailfromto` is `FROM TO`, two addresses with any white space between them,
//! where `@host` stands for everybody at that host. The refusal comes at RCPT and reads as if the
//! recipient did not exist, so that somebody who pesters one person does not learn that it is he who
//! is not wanted. It holds for everyone, relay clients and white-listed ones included.
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
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use std::collections::HashSet;
use std::sync::Arc;

/// Pairs of sender and recipient, lower-cased, with the space that no address of a file can hold.
struct BadMailFromTo {
    pairs: HashSet<Box<str>>,
}

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let lines = setup.lines("badmailfromto");
    Arc::new(setup.with_problems(|problems| BadMailFromTo::read(&lines, problems)))
}

impl BadMailFromTo {
    fn read(lines: &[Line], problems: &mut Vec<Problem>) -> BadMailFromTo {
        let mut pairs = HashSet::new();
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
            pairs.insert(pair(from, to));
        }
        BadMailFromTo { pairs }
    }

    fn holds(&self, from: &Address, to: &Address) -> bool {
        let both = |address: &Address| [address.plain(), format!("@{}", address.domain())];
        let (froms, tos) = (both(from), both(to));
        froms.iter().any(|from| tos.iter().any(|to| self.pairs.contains(&pair(from, to))))
    }
}

impl Plugin for BadMailFromTo {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt])
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if self.pairs.is_empty() {
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

/// One key for both. Blanks of a quoted local part become something that no line holds, so that
/// `"a@b c"@d` is not taken for a pair.
fn pair(from: &str, to: &str) -> Box<str> {
    let mut key = String::with_capacity(from.len() + to.len() + 1);
    let words = [from, " ", to].map(|word| if word == " " { " ".to_string() } else { word.replace(' ', "\0") });
    words.iter().for_each(|word| key.push_str(word));
    key.make_ascii_lowercase();
    key.into()
}
