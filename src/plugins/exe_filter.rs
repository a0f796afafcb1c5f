//! Looks for attachments that begin like programs, part by part.
//!
//! Each part of the message is compared with a list of beginnings as base64 writes them: a part in
//! base64 by its first letters, wherever its lines end and whatever stands between them, every other
//! part by its first line that is not blank. Parts of messages within the message count too, and those
//! of messages that are encoded. It sees the message as it stands after the edits of plugins before
//! this one. Nobody is exempt.
//!
//! Differences to the plugin of qpsmtpd-plugins: the score is always `virus_score`; a recipient's own file
//! chooses among the lists that all have.
//!
//! Arguments:
//!   check           names with commas between them: the files `signatures_NAME` are read, default `exe`;
//!                   `deny` is its old name
//!   action          `note` or `note:virus_score=VALUE` adds 1 or VALUE to the score `virus_score` for
//!                   each such part and lets the message go on (default `note`); `deny` refuses
//!   per_recipient   `1`: recipients may have a file `exe_filter` of their own (plugin per_user_config);
//!                   a message that any of its recipients refuses is refused, and scores are those of
//!                   the recipient who sets the most; default 0
//!
//! Config files: `exe_filter`, more arguments, one `key value` a line, before which the line in
//! `plugins` counts; `signatures_NAME`, one beginning a line, in which white space does not count.
//!
//! Replies: `554 5.7.1 We don't accept email with executable content [SIGNATURE].`
//!
//! Karma: none.
//!
//! When it cannot tell: without any signature all mail passes, and an error is logged for each message; a
//! message that was changed and cannot be read is put off (451).

use crate::config::files::{Line, Problem};
use crate::mail::headers::clean;
use crate::mail::mime::{Encoding, Item, each_content};
use crate::plugin::draft::unreadable;
use crate::plugin::log::Level;
use crate::plugin::signatures::{Action, Beginnings, Filters, Options, act};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use std::ops::ControlFlow;
use std::sync::Arc;

const FILE: &str = "exe_filter";

/// Octets of one signature.
const SIGNATURE_MAX: usize = 200;

/// Octets of a part among which its beginning is looked for.
const LOOKED_AT: usize = 64 * 1_024;

/// Octets of a signature that the client is shown.
const FOUND_SHOWN: usize = 60;

struct ExeFilter(Filters<Filter>);

#[derive(Debug)]
struct Filter {
    signatures: Beginnings,
    action: Action,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let options = Options::new("exe", Action::Note(1)).read(FILE, args, setup);
    Arc::new(ExeFilter(Filters::load(&options, FILE, setup, |options| {
        let lines = options.signatures(setup);
        setup.with_problems(|problems| compile(&lines, options.action, problems))
    })))
}

fn compile(lines: &[Line], action: Action, problems: &mut Vec<Problem>) -> Filter {
    let mut signatures = Vec::new();
    for line in lines {
        let text: Vec<u8> = line.text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        if text.len() > SIGNATURE_MAX {
            let what = format!("is longer than {SIGNATURE_MAX} characters");
            Problem::error(line, what).note(problems);
        } else {
            signatures.push((line, text));
        }
    }
    Filter { signatures: Beginnings::compile(signatures, problems), action }
}

/// How a part begins: at most as much as a signature is long.
fn beginning(octets: &[u8], encoding: Encoding) -> Vec<u8> {
    let octets = octets.get(..LOOKED_AT).unwrap_or(octets).iter().copied();
    if encoding == Encoding::Base64 {
        let is_letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        return octets.filter(is_letter).take(SIGNATURE_MAX).collect();
    }
    let line = octets.skip_while(u8::is_ascii_whitespace);
    line.take_while(|b| !matches!(b, b'\r' | b'\n')).take(SIGNATURE_MAX).collect()
}

impl Filter {
    /// The first signature that a part of the message begins with, and how many parts do: one, where
    /// that one refuses.
    fn hits(&self, text: &[u8], passed: &dyn Fn(usize)) -> (Option<Vec<u8>>, i32) {
        let (mut first, mut count) = (None, 0);
        each_content(text, passed, &mut |item: &Item<'_>| {
            let beginning = beginning(item.octets(), item.encoding());
            if let Some(found) = self.signatures.find(&beginning) {
                first.get_or_insert_with(|| found.to_vec());
                count += 1;
                if self.action == Action::Deny {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        (first, count)
    }
}

impl Plugin for ExeFilter {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let (Some(message), Some(envelope)) = (cx.message(), cx.envelope()) else {
            return Ok(Verdict::Declined);
        };
        let mut filters = self.0.of(cx, &envelope.recipients)?;
        if filters.iter().any(|filter| filter.signatures.is_empty()) {
            cx.log(Level::Error, "error, no signatures are loaded");
        }
        filters.retain(|filter| !filter.signatures.is_empty());
        if filters.is_empty() {
            return Ok(Verdict::Declined);
        }
        // A copy needs the writers, who do this work as well then.
        let whole = match cx.whole(&message)? {
            Ok(whole) => whole,
            Err(error) => return Ok(unreadable(cx, &error)),
        };
        let _token = cx.lane(Lane::Workers)?;
        let passed = |upto: usize| whole.passed(upto);
        let mut worst: Option<(Action, Vec<u8>)> = None;
        for filter in filters {
            let (Some(found), count) = filter.hits(whole.octets(), &passed) else { continue };
            let action = match filter.action {
                Action::Deny => Action::Deny,
                Action::Note(points) => Action::Note(points.saturating_mul(count)),
            };
            if worst.as_ref().is_none_or(|(known, _)| weight(action) > weight(*known)) {
                worst = Some((action, found));
            }
        }
        let Some((action, found)) = worst else {
            cx.log(Level::Info, "pass");
            return Ok(Verdict::Declined);
        };
        let shown = clean(&found, FOUND_SHOWN);
        Ok(act(cx, action, &shown, &shown))
    }
}

/// Refusing outweighs every score.
fn weight(action: Action) -> (bool, i32) {
    match action {
        Action::Deny => (true, 0),
        Action::Note(points) => (false, points),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    fn filter(list: &str, action: Action) -> (Filter, Vec<Problem>) {
        let files = Files::in_memory([("list".to_string(), list.to_string())]);
        let mut problems = Vec::new();
        let lines = files.lines("list", &mut problems);
        let filter = compile(&lines, action, &mut problems);
        (filter, problems)
    }

    #[test]
    fn parts_begin_in_many_ways() {
        for (octets, encoding, expected) in [
            ("TVqQAAMA\r\nAAAE", Encoding::Base64, "TVqQAAMAAAAE"),
            ("\r\n \r\nTV\r\n q!QA", Encoding::Base64, "TVqQA"),
            ("TVqQAAMA\r\nAAAE", Encoding::Identity, "TVqQAAMA"),
            ("\r\n\r\n  MZ 1\r\n2", Encoding::QuotedPrintable, "MZ 1"),
            ("", Encoding::Base64, ""),
            ("\r\n", Encoding::Identity, ""),
        ] {
            let found = beginning(octets.as_bytes(), encoding);
            assert_eq!(found, expected.as_bytes(), "{octets:?}");
        }
        assert_eq!(beginning(&[b'A'; 2 * LOOKED_AT], Encoding::Base64).len(), SIGNATURE_MAX);
        assert_eq!(beginning(&[b' '; 2 * LOOKED_AT], Encoding::Identity).len(), 0);
    }

    #[test]
    fn parts_are_counted_or_the_first_one_decides() {
        let part =
            |body: &str| format!("--b\r\nContent-Transfer-Encoding: base64\r\n\r\n{body}\r\n");
        let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        for (bodies, counted) in [
            (&["TVqQAAMA", "dGV4dA=="][..], 1),
            (&["UEsDBBQA", "TVqQAAMA", "UEsDBBQA"], 3),
            (&["dGV4dA=="], 0),
            (&["dGV4dA==\r\nTVqQAAMA"], 0),
            (&[], 0),
        ] {
            let parts: String = bodies.iter().map(|body| part(body)).collect();
            let message = format!("{head}{parts}--b--\r\n");
            for (action, count) in [(Action::Note(1), counted), (Action::Deny, counted.min(1))] {
                let (filter, _) = filter("TVqQ\nUEsD", action);
                let (first, seen) = filter.hits(message.as_bytes(), &|_| {});
                assert_eq!((first.is_some(), seen), (count > 0, count), "{bodies:?} {action:?}");
            }
        }
    }

    #[test]
    fn a_signature_that_is_too_long_is_told_and_left_out() {
        let long = "A".repeat(SIGNATURE_MAX + 1);
        for (list, told) in [("TVqQ\nUE sD\n".to_string(), 0), (format!("{long}\nUE sD"), 1)] {
            let (filter, problems) = filter(&list, Action::Deny);
            assert_eq!(problems.len(), told, "{problems:?}");
            assert_eq!(filter.signatures.find(b"UEsDB"), Some(&b"UEsD"[..]));
            assert_eq!(filter.signatures.find(long.as_bytes()), None);
        }
    }
}
