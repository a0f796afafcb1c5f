//! Takes one recipient a message, and puts the others off so that the client sends a copy for each.
//!
//! Where recipients have settings of their own, one message for two of them cannot be treated by both.
//! Clients know this answer (RFC 5321 section 4.5.3.1.10): they send the message again, at once, for
//! the recipients that were put off. It costs each of them a transaction. A recipient that is named
//! twice is one recipient. Clients that may relay are not asked. Put it before rcpt_ok.
//!
//! Arguments:
//!   match        `domain`: only a recipient in another domain than the first is put off (a
//!                subdomain is another domain)
//!
//! Config files: none.
//!
//! Replies: `452 4.5.3 one recipient at a time, please send a copy for RECIPIENT`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use std::sync::Arc;

struct MultiRcpt {
    by_domain: bool,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let by_domain = match args.named("match").as_deref() {
        None => false,
        Some("domain") => true,
        Some("config") => {
            args.complain("match config: there are no settings for single recipients; use domain");
            false
        }
        Some(other) => {
            args.complain(format!("match {other}: use domain, or leave it out"));
            false
        }
    };
    Arc::new(MultiRcpt { by_domain })
}

impl MultiRcpt {
    /// The recipient fits those that were accepted before.
    fn fits(&self, accepted: &[Address], recipient: &Address) -> bool {
        let Some(first) = accepted.first() else { return true };
        let same_domain = self.by_domain && first.domain() == recipient.domain();
        same_domain || accepted.contains(recipient)
    }
}

impl Plugin for MultiRcpt {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt])
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if cx.may_relay() {
            cx.log(Level::Info, "skip, relay client");
            return Ok(Verdict::Declined);
        }
        let accepted = cx.envelope().map_or(&[][..], |envelope| &envelope.recipients);
        if self.fits(accepted, recipient) {
            cx.log(Level::Debug, "pass");
            return Ok(Verdict::Declined);
        }
        let what = if self.by_domain { "another domain" } else { "another recipient" };
        cx.log(Level::Info, format!("fail, {what}"));
        let text = format!("one recipient at a time, please send a copy for {}", recipient.plain());
        // By its meaning a want of room, which makes it the 452 that clients wait for.
        Ok(Verdict::deny_soft((5, 3), text).for_storage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;
    use crate::smtp::address::parse_forward;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("denysoft_multi_rcpt", 0),
            ("denysoft_multi_rcpt match domain", 0),
            ("denysoft_multi_rcpt match=domain", 0),
            ("denysoft_multi_rcpt match config", 1),
            ("denysoft_multi_rcpt match user", 1),
            ("denysoft_multi_rcpt domain", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    #[test]
    fn the_first_recipient_decides_who_else_fits() {
        let parse = |path: &str| parse_forward(path.as_bytes(), false).unwrap();
        for (accepted, recipient, fits, fits_by_domain) in [
            (&[][..], "<a@example.com>", true, true),
            (&["<a@example.com>"], "<a@example.com>", true, true),
            (&["<a@example.com>"], "<b@example.com>", false, true),
            (&["<a@example.com>"], "<b@EXAMPLE.com>", false, true),
            (&["<a@example.com>"], "<b@sub.example.com>", false, false),
            (&["<a@example.com>"], "<a@example.org>", false, false),
            (&["<a@example.com>", "<b@example.com>"], "<b@example.com>", true, true),
            (&["<a@example.com>"], "<postmaster>", false, false),
        ] {
            let known: Vec<_> = accepted.iter().map(|path| parse(path)).collect();
            let recipient_address = parse(recipient);
            for (by_domain, expected) in [(false, fits), (true, fits_by_domain)] {
                let plugin = MultiRcpt { by_domain };
                assert_eq!(plugin.fits(&known, &recipient_address), expected, "{recipient}");
            }
        }
    }
}
