//! Delivers into Maildirs, durably: the client's 250 means that file and folder are on the disk.
//!
//! The form is `queue/maildir DIR [PATTERN] [MODE] [sync no]`. Without PATTERN one copy goes to DIR,
//! with a `Delivered-To` field for each recipient. With PATTERN each recipient has a Maildir of his own
//! below DIR: `%l` is the local part, `%d` the domain, `%u` both with `@` between them, and `%n` the local
//! part in lower case, without `+` and what follows it, as most mail readers name a user. So `%d/%n` is a
//! folder for each domain with one for each user in it, and `%d` a mailbox for each domain. Unusual
//! characters become `_`; a recipient without a domain (postmaster) is one of our own name. A message for
//! several Maildirs goes to all of them or to none. Files have LF line ends, as Unix mail readers expect,
//! and begin with `Return-Path` and `Delivered-To`.
//!
//! Arguments:
//!   DIR        absolute path of the Maildir, made if missing
//!   PATTERN    path below DIR, with %l, %n, %d, %u
//!   MODE       permissions of new folders, octal, default 700
//!   sync       `no`: do not wait for the disk. A crash then loses mail that was accepted
//!
//! Config files: none.
//!
//! Replies: `250 Queued! <message-id>`; `452 queue error (…)` for want of space, `451 queue error (…)`
//! for everything else; after either nothing is left behind.
//!
//! Karma: none.
//!
//! When it cannot tell: a fault of the disk defers the message; the sender keeps it.

use crate::client::maildir::{FailureKind, Job, Recipient, Template, deliver};
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use std::sync::Arc;

struct Maildir {
    template: Option<Template>,
    sync: bool,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let sync = match args.named("sync").as_deref() {
        None | Some("yes") => true,
        Some("no") => false,
        Some(other) => {
            args.complain(format!("sync {other}: use yes or no"));
            true
        }
    };
    let Some(dir) = args.positional() else {
        args.complain("say which folder: queue/maildir /absolute/path");
        return Arc::new(Maildir { template: None, sync });
    };
    if !dir.starts_with('/') {
        args.complain(format!("{dir}: give an absolute path"));
    }
    let (pattern, mode) = match (args.positional(), args.positional()) {
        // One word more: a pattern has a percent sign, a mode is digits.
        (Some(word), None) if word.bytes().all(|octet| octet.is_ascii_digit()) => {
            (None, Some(word))
        }
        words => words,
    };
    let template = Template::parse(&dir, pattern.as_deref(), mode.as_deref());
    let template = template.map_err(|what| args.complain(what)).ok();
    Arc::new(Maildir { template, sync })
}

impl Plugin for Maildir {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Queue])
    }

    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        cx.lane(Lane::Writers)?;
        let (Some(template), Some(envelope), Some(message)) =
            (&self.template, cx.envelope(), cx.message())
        else {
            return Ok(Verdict::Declined);
        };
        let shown: Vec<String> = envelope.recipients.iter().map(ToString::to_string).collect();
        let recipients: Vec<Recipient<'_>> = envelope
            .recipients
            .iter()
            .zip(&shown)
            .map(|(address, display)| Recipient {
                local: address.local(),
                domain: match address.domain() {
                    "" => &cx.config().rules.me,
                    domain => domain,
                },
                display,
            })
            .collect();
        let parts = message.current.parts(message.received);
        let job = Job {
            return_path: &envelope.mail.reverse_path.to_string(),
            recipients: &recipients,
            parts: &parts,
            sync: self.sync,
            host: &cx.config().rules.me,
        };
        match deliver(template, &job) {
            Ok(()) => {
                let text = format!("Queued! {}", message.message_id());
                cx.log(Level::Info, format!("pass, {} recipients", recipients.len()));
                Ok(Verdict::Ok(Some(text.into())))
            }
            Err(failure) => {
                cx.log(Level::Error, format!("error, {}", foreign(failure.what.as_bytes())));
                let verdict = Verdict::deny_soft((3, 0), failure.reply);
                Ok(match failure.kind {
                    FailureKind::Space => Verdict::deny_soft((3, 1), failure.reply).for_storage(),
                    FailureKind::Permission | FailureKind::Temporary => verdict,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("queue/maildir /var/mail", 0),
            ("queue/maildir /var/mail %d/%l", 0),
            ("queue/maildir /home %n/Maildir", 0),
            ("queue/maildir /var/mail %u 750", 0),
            ("queue/maildir /var/mail 750", 0),
            ("queue/maildir /var/mail sync no", 0),
            ("queue/maildir", 1),
            ("queue/maildir relative/path", 1),
            ("queue/maildir /var/mail sync perhaps", 1),
            ("queue/maildir /var/mail %l 700 more", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
