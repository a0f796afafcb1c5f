//! Refuses messages whose header lacks a field, has one twice that may stand there once, or is
//! dated wrongly.
//!
//! Two `From` fields are more than bad style: filters judge one and the reader is shown the other.
//! A message of nothing at all is refused from everybody; the rest is not looked at for clients
//! that may relay and for white-listed ones. Once at most may stand Date, From, Sender, Reply-To,
//! To, Cc, Bcc, Message-Id, In-Reply-To, References and Subject (RFC 5322 section 3.6). The client
//! is told the first fault, the log all. A date that cannot be read is no fault, and neither is a
//! missing one, unless Date is required.
//!
//! Arguments:
//!   require      names with commas between them, which have to be there; default `From`
//!   past         days that the date may lie back; decimals are allowed, 0 (default) is no limit
//!   future       days that it may lie ahead, in the same way
//!   days         of the former check_basicheaders, which also took the bare number: both of these
//!   reject       `1` (default) refuses, `0` only logs, `naughty` leaves it to the plugin naughty
//!   reject_type  `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!
//! Config files: none.
//!
//! Replies: `554 5.6.0` (`451 4.6.0`) with `You must send some data first`, `Headers are missing`,
//! `We require a valid NAME header`, `Only one NAME header allowed. See RFC 5322, Section 3.6`,
//! `The Date header is too far in the past` or `The Date header is too far in the future`.
//!
//! Karma: -1 for each required field that is missing, each field that stands there more than once,
//! and a wrong date.
//!
//! When it cannot tell: there is nothing to find out.

use crate::mail::date;
use crate::mail::headers::{Headers as Index, unfold};
use crate::plugin::log::{Level, foreign_within};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, RejectType, Verdict};
use std::sync::Arc;

/// Fields that stand in a header once or not at all (RFC 5322 section 3.6).
const SINGULAR: [&str; 11] = [
    "Date",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Message-Id",
    "In-Reply-To",
    "References",
    "Subject",
];

/// Names that `require` may hold.
const REQUIRE_MAX: usize = 20;

/// A hundred years is as good as no limit.
const DAYS_MAX: f64 = 36_500.0;

/// Octets of a date that the log shows.
const DATE_SHOWN: usize = 100;

struct Headers {
    require: Vec<String>,
    /// Seconds that a date may lie back and ahead.
    past: Option<i64>,
    future: Option<i64>,
    policy: Policy,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(Headers::from_args(args))
}

impl Headers {
    fn from_args(args: &mut Args) -> Headers {
        let policy = Policy::from_args(args, Reject::Now, RejectType::Perm);
        let require = required(args);
        let days = args.named("days");
        let days = days
            .or_else(|| args.was_called("check_basicheaders").then(|| args.positional()).flatten());
        let both = days.map_or(0.0, |word| days_of(args, "days", &word));
        let mut limit = |name: &str| {
            let days = args.named(name).map_or(both, |word| days_of(args, name, &word));
            // A limit that rounds to nothing is meant as one, not as none.
            (days > 0.0).then(|| ((days * 86_400.0).round() as i64).max(1))
        };
        Headers { require, past: limit("past"), future: limit("future"), policy }
    }

    /// All that is wrong, in the order in which it is told; and the date if it cannot be read.
    fn faults(&self, index: &Index, block: &[u8], now: i64) -> (Vec<Fault>, Option<String>) {
        let mut faults = Vec::new();
        for name in self.require.iter().filter(|name| index.count(block, name) == 0) {
            faults.push(Fault {
                words: format!("no {name} header"),
                text: format!("We require a valid {name} header"),
                is_date: false,
            });
        }
        for name in SINGULAR.into_iter().filter(|name| index.all(block, name).nth(1).is_some()) {
            faults.push(Fault {
                words: format!("too many {name} headers"),
                text: format!("Only one {name} header allowed. See RFC 5322, Section 3.6"),
                is_date: false,
            });
        }
        if self.past.is_none() && self.future.is_none() {
            return (faults, None);
        }
        let Some(field) = index.first(block, "Date") else { return (faults, None) };
        let value = unfold(field.value);
        let shown = foreign_within(&value, DATE_SHOWN);
        let Some(sent) = date::parse(&value) else { return (faults, Some(shown)) };
        let words = if self.past.is_some_and(|past| now.saturating_sub(sent) > past) {
            Some(("date too old", "past"))
        } else if self.future.is_some_and(|future| sent.saturating_sub(now) > future) {
            Some(("date in future", "future"))
        } else {
            None
        };
        if let Some((words, when)) = words {
            faults.push(Fault {
                words: format!("{words} ({shown})"),
                text: format!("The Date header is too far in the {when}"),
                is_date: true,
            });
        }
        (faults, None)
    }

    /// Logs all faults and has the first one judged by the policy.
    fn refuse(&self, cx: &mut Cx<'_>, faults: &[Fault]) -> Verdict {
        for _ in faults {
            cx.karma(-1);
        }
        let Some((first, others)) = faults.split_first() else { return Verdict::Declined };
        let words = if first.is_date {
            first.words.clone()
        } else {
            for fault in faults {
                cx.log(Level::Info, format!("fail, {}", fault.words));
            }
            "RFC 5322 validation errors".to_string()
        };
        let verdict = cx.reject(&self.policy, (6, 0), &first.text, &words);
        if self.policy.reject == Reject::Naughty {
            for fault in others {
                cx.condemn(self.policy.reject_type, &fault.text);
            }
        }
        verdict
    }
}

/// One thing that is wrong.
struct Fault {
    /// For the log.
    words: String,
    /// For the client.
    text: String,
    is_date: bool,
}

/// The names behind `require`.
fn required(args: &mut Args) -> Vec<String> {
    let Some(list) = args.named("require") else { return vec!["From".to_string()] };
    let names: Vec<String> = list.split(',').map(str::to_string).collect();
    let is_name = |name: &String| {
        !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':')
    };
    if names.len() > REQUIRE_MAX || !names.iter().all(is_name) {
        args.complain(format!(
            "require {list}: give up to {REQUIRE_MAX} names of fields with commas between them"
        ));
        return Vec::new();
    }
    names
}

fn days_of(args: &mut Args, name: &str, word: &str) -> f64 {
    match word.parse::<f64>() {
        Ok(days) if (0.0..=DAYS_MAX).contains(&days) => days,
        _ => {
            args.complain(format!("{name} {word}: give a number of days from 0 to {DAYS_MAX}"));
            0.0
        }
    }
}

/// The message that was received begins with a field.
fn has_header(received: &[u8]) -> bool {
    let line = received.split_inclusive(|octet| *octet == b'\n').next().unwrap_or_default();
    // A first line beyond every bound belongs to whoever keeps the bounds.
    Index::index(line).map_or(true, |index| !index.is_empty())
}

impl Plugin for Headers {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        if message.received.is_empty() {
            let text = "You must send some data first";
            return Ok(cx.reject(&self.policy, (6, 0), text, "no data"));
        }
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        if !has_header(message.received) {
            let text = "Headers are missing";
            return Ok(cx.reject(&self.policy, (6, 0), text, "missing headers"));
        }
        let block = message.current.header(message.received);
        let now = cx.now().unix_seconds();
        let (faults, unreadable) = self.faults(message.current.headers(), block, now);
        if let Some(date) = unreadable {
            cx.log(Level::Info, format!("skip, date not parseable ({date})"));
        }
        if faults.is_empty() {
            cx.log(Level::Info, "pass");
            return Ok(Verdict::Declined);
        }
        Ok(self.refuse(cx, &faults))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(line: &str) -> (Headers, usize) {
        let mut args = Args::of(line);
        let plugin = Headers::from_args(&mut args);
        (plugin, args.finish().len())
    }

    #[test]
    fn arguments() {
        let day = 86_400;
        for (line, require, past, future, complaints) in [
            ("headers", "From", None, None, 0),
            ("headers require From,Date", "From,Date", None, None, 0),
            ("headers past 5 future 1", "From", Some(5 * day), Some(day), 0),
            ("headers past=0.5 future=0", "From", Some(day / 2), None, 0),
            ("headers past 0.000001", "From", Some(1), None, 0),
            ("headers days 3", "From", Some(3 * day), Some(3 * day), 0),
            ("check_basicheaders 7", "From", Some(7 * day), Some(7 * day), 0),
            ("check_basicheaders", "From", None, None, 0),
            ("check_basicheaders days 2 future 1", "From", Some(2 * day), Some(day), 0),
            ("check_basicheaders 7 reject 0", "From", Some(7 * day), Some(7 * day), 0),
            ("check_basicheaders 0", "From", None, None, 0),
            ("headers 7", "From", None, None, 1),
            ("headers past nan future inf", "From", None, None, 2),
            ("headers past -1", "From", None, None, 1),
            ("headers require From,,Date", "", None, None, 1),
            ("headers require From:", "", None, None, 1),
            ("check_basicheaders weeks", "From", None, None, 1),
        ] {
            let (plugin, found) = plugin(line);
            assert_eq!(plugin.require.join(","), require, "{line}");
            assert_eq!((plugin.past, plugin.future), (past, future), "{line}");
            assert_eq!(found, complaints, "{line}");
        }
    }

    /// The words of all faults of a header, dated against 22 November 2026, 12:00 UTC.
    fn check(line: &str, header: &str, expected: &[&str]) {
        let (plugin, _) = plugin(line);
        let block = header.replace('\n', "\r\n");
        let index = Index::index(block.as_bytes()).expect("a header within bounds");
        let noon = date::parse(b"Sun, 22 Nov 2026 12:00:00 +0000").expect("a date");
        let (faults, unreadable) = plugin.faults(&index, block.as_bytes(), noon);
        let mut words: Vec<String> = faults.into_iter().map(|fault| fault.words).collect();
        words.extend(unreadable.map(|date| format!("unreadable {date}")));
        assert_eq!(words, expected, "{line} {header:?}");
    }

    #[test]
    fn fields_that_are_missing_or_too_many() {
        for (line, header, expected) in [
            ("headers", "From: a\n", &[] as &[&str]),
            ("headers", "from : a\n", &[]),
            ("headers", "Subject: a\n", &["no From header"]),
            ("headers", "Subject: a\n From: b\n", &["no From header"]),
            ("headers require Date,From", "To: a\n", &["no Date header", "no From header"]),
            ("headers require x-spam", "X-Spam: 1\n", &[]),
            ("headers", "From: a\nFROM: b\n", &["too many From headers"]),
            ("headers", "From: a\nFrom\t: b\n", &["too many From headers"]),
            ("headers", "From: a\nReceived: b\nReceived: c\nComments: d\nComments: e\n", &[]),
            (
                "headers",
                "To: a\nSubject: b\nTo: c\nSubject: d\nSubject: e\n",
                &["no From header", "too many To headers", "too many Subject headers"],
            ),
            (
                "headers",
                "From: a\nmessage-id: <a@b>\nMessage-ID: <a@b>\n",
                &["too many Message-Id headers"],
            ),
        ] {
            check(line, header, expected);
        }
    }

    #[test]
    fn dates() {
        let line = "headers past 5 future 0.5";
        for (date, expected) in [
            ("Sun, 22 Nov 2026 12:00:00 +0000", None),
            ("Sun, 22 Nov 2026\n 12:00:00 +0000", None),
            ("Tue, 17 Nov 2026 12:00:00 +0000", None),
            ("Tue, 17 Nov 2026 11:59:59 +0000", Some("date too old")),
            ("Mon, 23 Nov 2026 00:00:00 +0000", None),
            ("Mon, 23 Nov 2026 00:00:01 +0000", Some("date in future")),
            ("Mon, 23 Nov 2026 02:00:00 +0200", None),
            ("Thu, 1 Jan 1970 00:00:00 +0000", Some("date too old")),
            ("Sun, 31 Feb 2026 12:00:00 +0000", Some("unreadable")),
            ("yesterday\x1b[2J", Some("unreadable")),
        ] {
            let shown = date.replace('\n', "").replace('\x1b', "\\x1b");
            let expected = expected.map(|words| match words {
                "unreadable" => format!("{words} {shown}"),
                words => format!("{words} ({shown})"),
            });
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check(line, &format!("From: a\nDate: {date}\n"), &expected);
            check("headers", &format!("From: a\nDate: {date}\n"), &[]);
        }
        check(line, "From: a\n", &[]);
    }

    #[test]
    fn messages_without_a_header() {
        for (received, expected) in [
            (&b"From: a\r\n\r\n"[..], true),
            (b"From a@b Sun Nov 22\r\nx", true),
            (b"X-Long: a", true),
            (b"\r\nFrom: a\r\n", false),
            (b" From: a\r\n", false),
            (b"hello\r\nFrom: a\r\n", false),
            (b"From\r\n : a\r\n", false),
        ] {
            assert_eq!(has_header(received), expected, "{received:?}");
        }
    }
}
