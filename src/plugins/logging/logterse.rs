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
use crate::plugin::{Args, Cx, Denial, HookSet, Plugin, Queued};
use crate::plugin::{Hook, MessageView};
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
    let lines = value.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.into_iter().find(|line| !line.is_empty()).unwrap_or_default();
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
    let tests = |octets: &[u8]| matches!(octets, [b' ' | b'\t' | b'\r' | b'\n', b"tests" @ ..]);
    let end = value.windows(6).position(tests).unwrap_or(value.len());
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
