//! Tells forged bounces by two things that a real one never has.
//!
//! A bounce (a message from the null sender) goes to the one person who sent the message that it is
//! about, and answers nobody, so it carries no return path of its own (RFC 3834). Other messages
//! pass unseen. So far nobody was ever refused for the number of recipients: qpsmtpd 0.96 always
//! counted one. Put this plugin before those that add recipients.
//!
//! Arguments:
//!   log|deny|denysoft  `log` (default) only logs, `deny` refuses for good, `denysoft` for now. In
//!                      qpsmtpd 0.96 neither word turned the refusing on; here both do
//!   reject             `0` (default) only logs, `1` refuses, `naughty` leaves it to that plugin
//!   reject_type        `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!
//! Config files: none.
//!
//! Replies: `554 5.7.1 fail, this bounce message does not have 1 recipient`,
//! `554 5.7.1 a bounce return path must be empty (RFC 3834)`; `451 4.7.1` with denysoft.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::mail::headers::unfold;
use crate::plugin::cx::MessageView;
use crate::plugin::log::{Level, foreign_within};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, RejectType, Verdict};
use std::sync::Arc;

struct BogusBounce {
    policy: Policy,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(BogusBounce { policy: policy(args) })
}

/// The word and the arguments that all checks share; where both are given the latter count.
fn policy(args: &mut Args) -> Policy {
    // The word is what is left without the shared arguments, so those have to be taken first; but
    // they are read with defaults that the word gives.
    let mut rest = args.clone();
    Policy::from_args(&mut rest, Reject::Never, RejectType::Perm);
    let word = rest.positional();
    let (reject, reject_type) = match word.as_deref() {
        None | Some("log") => (Reject::Never, RejectType::Perm),
        Some("deny") => (Reject::Now, RejectType::Perm),
        Some("denysoft") => (Reject::Now, RejectType::Temp),
        Some(other) => {
            args.complain(format!("{other}: use log, deny or denysoft"));
            (Reject::Never, RejectType::Perm)
        }
    };
    let policy = Policy::from_args(args, reject, reject_type);
    args.positional();
    policy
}

impl Plugin for BogusBounce {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let (Some(envelope), Some(message)) = (cx.envelope(), cx.message()) else {
            return Ok(Verdict::Declined);
        };
        if !envelope.mail.reverse_path.is_null() {
            cx.log(Level::Info, "pass, not a null sender");
            return Ok(Verdict::Declined);
        }
        if envelope.recipients.len() != 1 {
            let shown: Vec<String> = envelope
                .recipients
                .iter()
                .take(10)
                .map(|it| foreign_within(it.to_string().as_bytes(), 80))
                .collect();
            cx.log(Level::Info, format!("fail, bogus bounce to: {}", shown.join(",")));
            let text = "fail, this bounce message does not have 1 recipient";
            return Ok(cx.reject(&self.policy, (7, 1), text, ""));
        }
        if has_return_path(&message) {
            cx.log(Level::Info, "fail, bounce messages must not have a Return-Path");
            let text = "a bounce return path must be empty (RFC 3834)";
            return Ok(cx.reject(&self.policy, (7, 1), text, ""));
        }
        cx.log(Level::Info, "pass, single recipient, empty Return-Path");
        Ok(Verdict::Declined)
    }
}

/// Some `Return-Path` field is not the null path.
fn has_return_path(message: &MessageView<'_>) -> bool {
    let header = message.current.header(message.received);
    let mut paths = message.current.headers().all(header, "Return-Path");
    paths.any(|field| !matches!(unfold(field.value).as_slice(), b"" | b"<>" | b"< >"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_and_the_shared_arguments() {
        use RejectType::{Disconnect, Perm, Temp};
        for (line, reject, reject_type, complaints) in [
            ("bogus_bounce", Reject::Never, Perm, 0),
            ("bogus_bounce log", Reject::Never, Perm, 0),
            ("check_bogus_bounce deny", Reject::Now, Perm, 0),
            ("bogus_bounce denysoft", Reject::Now, Temp, 0),
            ("bogus_bounce reject 1", Reject::Now, Perm, 0),
            ("bogus_bounce reject naughty reject_type disconnect", Reject::Naughty, Disconnect, 0),
            ("bogus_bounce denysoft reject 0", Reject::Never, Temp, 0),
            ("bogus_bounce reject_type perm denysoft", Reject::Now, Perm, 0),
            ("bogus_bounce refuse", Reject::Never, Perm, 1),
            ("bogus_bounce deny log", Reject::Now, Perm, 1),
            ("bogus_bounce reject perhaps", Reject::Never, Perm, 1),
        ] {
            let mut args = Args::of(line);
            assert_eq!(policy(&mut args), Policy { reject, reject_type }, "{line}");
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
