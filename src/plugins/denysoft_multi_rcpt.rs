//! Takes one recipient a message, and puts the others off so that the client sends a copy for each.
//!
//! Where recipients have settings of their own, one message for two of them cannot be treated by both.
//! Clients know this answer (RFC 5321 section 4.5.3.1.10): they send the message again, at once, for
//! the recipients that were put off. It costs each of them a transaction. A recipient that is named
//! twice is one recipient. Clients that may relay are not asked. Put it before rcpt_ok.
//!
//! Arguments:
//!   match        `domain`: only a recipient in another domain than the first is put off (a
//!                subdomain is another domain). `config`: only one whose own settings lie in other
//!                folders than the first one's; it needs the plugin per_user_config, without which
//!                nobody has such settings
//!
//! Config files: none of its own; with `match config` the folders of recipients.
//!
//! Replies: `452 4.5.3 one recipient at a time, please send a copy for RECIPIENT`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, ConfigFor, Cx, Hook, HookSet, Hooked, Pending, Plugin, Verdict};
use crate::smtp::address::Address;
use std::sync::Arc;

/// What tells recipients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Recipient,
    Domain,
    Config,
}

struct MultiRcpt(Match);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(MultiRcpt(match args.named("match").as_deref() {
        None => Match::Recipient,
        Some("domain") => Match::Domain,
        Some("config") => Match::Config,
        Some(other) => {
            args.complain(format!("match {other}: use domain or config, or leave it out"));
            Match::Recipient
        }
    }))
}

impl MultiRcpt {
    /// The recipient fits those that were accepted before.
    fn fits(
        &self,
        accepted: &[Address],
        recipient: &Address,
        config_for: impl Fn(&Address) -> Result<ConfigFor, Pending>,
    ) -> Result<bool, Pending> {
        let Some(first) = accepted.first() else { return Ok(true) };
        let same = match self.0 {
            Match::Recipient => false,
            Match::Domain => first.domain() == recipient.domain(),
            Match::Config => config_for(first)? == config_for(recipient)?,
        };
        Ok(same || accepted.contains(recipient))
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
        if self.fits(accepted, recipient, |of| cx.config_for(of))? {
            cx.log(Level::Debug, "pass");
            return Ok(Verdict::Declined);
        }
        let what = match self.0 {
            Match::Recipient => "another recipient",
            Match::Domain => "another domain",
            Match::Config => "other settings",
        };
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
            ("denysoft_multi_rcpt match config", 0),
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
        // Users a and b have settings of their own, the others those of nobody.
        let config_for = |recipient: &Address| {
            let own = Some(recipient.local()).filter(|local| ["a", "b"].contains(local));
            Ok(ConfigFor::new(own.map(Arc::from).into_iter().collect()))
        };
        for (accepted, recipient, fits, fits_by_domain, fits_by_config) in [
            (&[][..], "<a@example.com>", true, true, true),
            (&["<a@example.com>"], "<a@example.com>", true, true, true),
            (&["<a@example.com>"], "<b@example.com>", false, true, false),
            (&["<a@example.com>"], "<b@EXAMPLE.com>", false, true, false),
            (&["<a@example.com>"], "<b@sub.example.com>", false, false, false),
            (&["<a@example.com>"], "<a@example.org>", false, false, true),
            (&["<a@example.com>", "<b@example.com>"], "<b@example.com>", true, true, true),
            (&["<a@example.com>"], "<postmaster>", false, false, false),
            (&["<c@example.com>"], "<d@example.org>", false, false, true),
        ] {
            let known: Vec<_> = accepted.iter().map(|path| parse(path)).collect();
            let recipient_address = parse(recipient);
            for (by, expected) in [
                (Match::Recipient, fits),
                (Match::Domain, fits_by_domain),
                (Match::Config, fits_by_config),
            ] {
                let seen = MultiRcpt(by).fits(&known, &recipient_address, config_for);
                assert_eq!(seen.unwrap(), expected, "{recipient} {by:?}");
            }
        }
    }
}
