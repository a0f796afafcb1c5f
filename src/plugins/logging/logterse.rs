//! Writes one line about each message that was taken and each refusal, for statistics and fail2ban.
//!
//! The line is the prefix, a blank, and nine fields with one TAB between them: the client's address,
//! its name (`Unknown` without one), its HELO name, `<sender>`, `<recipient>,<recipient>`, the plugin
//! that refused or `queued`, the number of its verdict (901 refused, 902 for now, 903 and 904 the
//! same and disconnected; empty if queued), the refusal's text or `<Message-ID>`, and at last
//! `msg denied before queued`, or of mail that was taken (or refused by spamassassin) its
//! `X-Spam-Status` up to `tests`. Sender and recipients are those that were accepted so far: a
//! refused recipient is not among them. It may stand anywhere in the list; unlike qpsmtpd's, it says
//! `queued` only once the message is in the queue. Octets that are not printable are shown as `\xHH`,
//! also a backquote, so that the prefix is the first one of its line.
//!
//! Arguments:
//!   prefix     one word in front of the fields, default a backquote; mail statistics look for that
//!   loglevel   level of the lines, a number or a name, default alert: they are always printed
//!
//! Config files: none.
//!
//! Replies: none.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out; what is not known yet is an empty field.

use crate::plugin::log::{Level, foreign, foreign_within};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Denial, Hook, HookSet, MessageView, Plugin, Queued};
use std::fmt::Display;
use std::sync::Arc;

/// Octets of the list of recipients; whole addresses are left out above it. With the bound of
/// `foreign` on every other field, a line always keeps its last field.
const RECIPIENTS_SHOWN_MAX: usize = 4_000;

/// Octets of the prefix.
const PREFIX_MAX: usize = 32;

/// What stands in place of the spam status where there never was one.
const BEFORE_QUEUED: &str = "msg denied before queued";

struct LogTerse {
    prefix: String,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let prefix = args.named("prefix").unwrap_or_else(|| "`".to_string());
    if prefix.is_empty() || prefix.len() > PREFIX_MAX {
        args.complain(format!("prefix: give 1 to {PREFIX_MAX} characters"));
    }
    Arc::new(LogTerse { prefix })
}

impl Plugin for LogTerse {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Queued, Hook::Denied])
    }

    fn queued(&self, cx: &mut Cx<'_>, _queued: &Queued<'_>) {
        let message = cx.message();
        let id = message.map_or_else(|| "<>".to_string(), |message| message_id(&message));
        self.write(cx, &["queued", "", &id, &spam_field(message)]);
    }

    fn denied(&self, cx: &mut Cx<'_>, denial: &Denial<'_>) {
        let number = denial.verdict.number().to_string();
        let text = denial.verdict.refusal().map_or("", |refusal| &*refusal.text);
        let text = foreign(text.as_bytes());
        let spam = if denial.plugin.starts_with("spamas") {
            spam_field(cx.message())
        } else {
            BEFORE_QUEUED.to_string()
        };
        self.write(cx, &[denial.plugin, &number, &text, &spam]);
    }
}

impl LogTerse {
    /// Puts what is known of client and envelope in front of the last four fields.
    fn write(&self, cx: &mut Cx<'_>, outcome: &[&str; 4]) {
        let peer = cx.peer();
        let hello = cx.hello().map_or("", |hello| &*hello.name);
        let (sender, recipients) = match cx.envelope() {
            Some(envelope) => (
                envelope.mail.reverse_path.to_string(),
                recipient_field(&envelope.recipients, RECIPIENTS_SHOWN_MAX),
            ),
            None => Default::default(),
        };
        let fields = [
            field(&peer.ip.to_string()),
            field(peer.shown_name()),
            field(hello),
            field(&sender),
            recipients,
        ];
        let line = format!("{} {}\t{}", self.prefix, fields.join("\t"), outcome.join("\t"));
        cx.log(Level::Alert, line);
    }
}

/// One of the first fields: a TAB is `_` there, as statistics know it.
fn field(text: &str) -> String {
    foreign(text.replace('\t', "_").as_bytes())
}

/// The addresses in brackets with commas between them; those without room are only counted.
fn recipient_field<T: Display>(recipients: &[T], max: usize) -> String {
    let mut list = String::new();
    for (number, recipient) in recipients.iter().enumerate() {
        let comma = if list.is_empty() { "" } else { "," };
        let shown = format!("{comma}<{}>", field(&recipient.to_string()));
        if list.len() + shown.len() > max {
            let left = recipients.len() - number;
            list.push_str(&format!("{comma}…[+{left}]"));
            break;
        }
        list.push_str(&shown);
    }
    list
}

/// The Message-ID in angle brackets; `<>` if there is none.
fn message_id(message: &MessageView<'_>) -> String {
    let header = message.current.header(message.received);
    let found = message.current.headers().first(header, "Message-ID");
    bracketed(found.map_or(b"", |field| field.value))
}

/// The first line with something on it, in exactly one pair of brackets.
fn bracketed(value: &[u8]) -> String {
    let mut lines = value.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let line = line.strip_prefix(b"<").unwrap_or(line);
    let line = line.strip_suffix(b">").unwrap_or(line);
    format!("<{}>", foreign(line))
}

/// The last field of mail that a spam filter has seen.
fn spam_field(message: Option<MessageView<'_>>) -> String {
    let Some(message) = message else { return String::new() };
    let header = message.current.header(message.received);
    let found = message.current.headers().first(header, "X-Spam-Status");
    found.map_or_else(String::new, |field| spam_status(field.value))
}

/// `Yes, score=7.1 required=5.0`: what stands before the word `tests`. Line breaks become `_`.
fn spam_status(value: &[u8]) -> String {
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
    let before_tests =
        |octets: &[u8]| octets.ends_with(b"tests") && octets.first().is_some_and(is_blank);
    let end = value.windows(6).position(before_tests).unwrap_or(value.len());
    let words = value.get(..end).unwrap_or_default().trim_ascii();
    let shown: Vec<u8> = words
        .iter()
        .filter(|octet| **octet != b'\r')
        .map(|octet| match octet {
            b'\n' => b'_',
            b'\t' => b' ',
            other => *other,
        })
        .collect();
    foreign_within(&shown, 200)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;
    use crate::plugin::log::{Id, Line};

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("logging/logterse", 0),
            ("logging/logterse prefix #", 0),
            ("logging/logterse prefix=terse:", 0),
            ("logging/logterse prefix", 1),
            ("logging/logterse prefix=", 1),
            ("logging/logterse prefix abcdefghijklmnopqrstuvwxyz0123456789", 1),
            ("logging/logterse 6", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    #[test]
    fn spam_status_ends_before_the_tests() {
        for (value, expected) in [
            (" Yes, score=7.1 required=5.0 tests=A,B autolearn=no", "Yes, score=7.1 required=5.0"),
            (" No, score=0.1 required=5.0\r\n\ttests=A", "No, score=0.1 required=5.0"),
            (" No, score=0.1\r\n required=5.0 tests", "No, score=0.1_ required=5.0"),
            (" No, score=0.1\r\n\trequired=5.0", "No, score=0.1_ required=5.0"),
            (" No, contests=1", "No, contests=1"),
            (" tests=A", ""),
            ("", ""),
            (" No\tscore=1 `x", "No score=1 \\x60x"),
        ] {
            assert_eq!(spam_status(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn message_ids_have_one_pair_of_brackets() {
        for (value, expected) in [
            (" <id@example.net>", "<id@example.net>"),
            (" id@example.net ", "<id@example.net>"),
            ("\r\n\t<id@example.net>\r\n (folded)", "<id@example.net>"),
            (" <a\tb\x00>", "<a\\x09b\\x00>"),
            ("", "<>"),
            (" <", "<>"),
        ] {
            assert_eq!(bracketed(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn recipients_are_shown_whole_or_counted() {
        for (recipients, max, expected) in [
            (vec![], 20, ""),
            (vec!["a@b"], 20, "<a@b>"),
            (vec!["a@b", "c\t`@d"], 20, "<a@b>,<c_\\x60@d>"),
            (vec!["a@b", "c@d", "e@f", "g@h"], 12, "<a@b>,<c@d>,…[+2]"),
            (vec!["a@b", "c@d"], 1, "…[+2]"),
        ] {
            assert_eq!(recipient_field(&recipients, max), expected);
        }
    }

    /// Reads a line as the nightly statistics do: at the first blank, the first backquote, the TABs.
    fn read_as_statistics(line: &str) -> Vec<&str> {
        let (_stamp, line) = line.split_once(' ').expect("a stamp");
        let (_who, fields) = line.split_once('`').expect("a backquote");
        fields.trim_start().split('\t').collect()
    }

    /// A line as the log prints it, from the fields of one outcome.
    fn printed(hook: &'static str, sender: &str, outcome: [&str; 4]) -> String {
        let first = [field("192.0.2.7"), field("mail\texample"), field("h`elo"), field(sender)];
        let text = format!("` {}\t<u@example.com>\t{}", first.join("\t"), outcome.join("\t"));
        let plugin = Arc::from("logging::logterse");
        let mut out = b"@40000000571f0c2d1b2c3d4e ".to_vec();
        Line::plugin(Level::Alert, Id(12_345), hook, &plugin, text).render(&mut out);
        String::from_utf8(out).expect("printable")
    }

    #[test]
    fn statistics_find_their_nine_fields() {
        let denial = foreign(b"one\ttwo\r\nthree");
        for (outcome, hook) in [
            (["dmarc", "901", "failed DMARC policy", BEFORE_QUEUED], "deny"),
            (["naughty", "903", &denial, BEFORE_QUEUED], "deny"),
            (["queued", "", "<id@example.net>", "No, score=0.1 required=5.0"], "queue"),
        ] {
            let line = printed(hook, "<a@example.net>", outcome);
            let fields = read_as_statistics(&line);
            assert_eq!(fields.len(), 9, "{line}");
            assert_eq!(
                fields[..5],
                ["192.0.2.7", "mail_example", "h\\x60elo", "<a@example.net>", "<u@example.com>"]
            );
            assert_eq!(fields[5..], outcome);
            assert!(line.contains(&format!(" 12345 ({hook}) logging::logterse: ` 192.0.2.7\t")));
        }
    }

    #[test]
    fn fail2ban_finds_the_host_of_a_refusal() {
        let expression = "^\\S+ [0-9]+ \\(deny\\) logging::logterse: ` ([0-9A-Fa-f.:]+)\\s.*\t90[1-4]\t\
                          .*msg denied before queued$";
        let expression =
            regex::bytes::Regex::new(&format!("(?-u){expression}")).expect("it is one");
        let host = |line: &str| {
            let found = expression.captures(line.as_bytes());
            found.map(|found| String::from_utf8_lossy(&found[1]).into_owned())
        };
        let refused = printed("deny", "", ["helo", "903", "bad\nname", BEFORE_QUEUED]);
        assert_eq!(host(&refused).as_deref(), Some("192.0.2.7"));
        let queued = printed("queue", "<>", ["queued", "", "<>", ""]);
        assert_eq!(host(&queued), None);
        // Nobody can put another host's address where the filter looks.
        let forged = printed(
            "deny",
            "<\n1 (deny) logging::logterse: ` 198.51.100.1 @x>",
            ["rcpt_ok", "901", "Relaying denied", BEFORE_QUEUED],
        );
        assert_eq!(host(&forged).as_deref(), Some("192.0.2.7"));
    }

    #[test]
    fn the_longest_line_keeps_its_last_field() {
        let long = "x\u{1}".repeat(3_000);
        let recipients = vec![long.as_str(); 1_000];
        let first = [field(&long), field(&long), field(&long), field(&long)].join("\t");
        let recipients = recipient_field(&recipients, RECIPIENTS_SHOWN_MAX);
        let text = foreign(long.as_bytes());
        let line = format!("` {first}\t{recipients}\tname\t901\t{text}\t{BEFORE_QUEUED}");
        let mut out = Vec::new();
        Line::core(Level::Alert, Id(1), line).render(&mut out);
        assert!(out.ends_with(BEFORE_QUEUED.as_bytes()), "{}", out.len());
    }
}
