//! Refuses senders whose domain stands on a block list in DNS.
//!
//! A line of `rhsbl_zones` is `ZONE`, or `ZONE TEXT`, `ZONE;TEXT` or `ZONE:TEXT` with what the sender is
//! told; without a text of ours the list's own (TXT) is shown. All lists are asked at once, for the
//! sender's domain itself and not for its parents; the first in the order of the file that names it
//! counts. Bounces (the null sender) and addresses as domain pass.
//!
//! A list that answers with an error code, or with an address outside 127.0.0.0/8, is in error: it
//! lists nobody, and its text is not shown.
//!
//! Arguments:
//!   reject       `1` (default) refuses, `0` only logs, `naughty` leaves it to the plugin naughty
//!   reject_type  `perm` (default), `temp`, `disconnect`, `temp_disconnect`; one word alone
//!                (`rhsbl disconnect`) means it too
//!   timeout      taken for the sake of old lines, without an effect: the resolver has its own
//!
//! Config files: `rhsbl_zones`.
//!
//! Replies: `550 5.7.1 Mail from DOMAIN rejected because it TEXT`, by default with the list's text, or
//! `listed in ZONE` where it has none.
//!
//! Karma: none.
//!
//! When it cannot tell: a list that does not answer lists nobody; it is logged by name.

use crate::plugin::Zone;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::zones::{Zones, policy};
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::MailFrom;
use std::sync::Arc;

struct Rhsbl {
    zones: Zones,
    policy: Policy,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(Rhsbl { policy: policy(args), zones: Zones::load(setup, "rhsbl_zones", true) })
}

impl Plugin for Rhsbl {
    fn zones(&self) -> Vec<Zone> {
        self.zones.told(true)
    }

    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Mail])
    }

    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let has_domain = |sender: &&Address| !sender.is_literal() && !sender.domain().is_empty();
        let domain = mail.reverse_path.address().filter(has_domain);
        let reason = match domain {
            None if mail.reverse_path.is_null() => "null sender",
            None => "no domain",
            Some(_) if self.zones.is_empty() => "no zones",
            Some(sender) => {
                return match self.zones.ask(cx, sender.domain())? {
                    Some(hit) => {
                        let domain = foreign(sender.domain().as_bytes());
                        let text = format!("Mail from {domain} rejected because it {}", hit.text);
                        Ok(cx.reject(&self.policy, (7, 1), &text, &hit.words()))
                    }
                    None => {
                        cx.log(Level::Info, "pass");
                        Ok(Verdict::Declined)
                    }
                };
            }
        };
        cx.log(Level::Info, format!("pass, {reason}"));
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use crate::plugins::tests::testing::{addresses, play};

    #[test]
    fn one_round_for_a_sender_with_a_domain() {
        let long = format!("MAIL FROM:<a@{}b.example>", "aaaaaaaaa.".repeat(23));
        for (ip, mail, rounds) in [
            ("192.0.2.1", "MAIL FROM:<a@spam.example>", vec![3]),
            ("192.0.2.1", "MAIL FROM:<>", vec![]),
            ("192.0.2.1", "MAIL FROM:<a@[192.0.2.1]>", vec![]),
            // Below the longer zone it does not fit into a name.
            ("192.0.2.1", &long, vec![2]),
            ("10.0.0.1", "MAIL FROM:<a@spam.example>", vec![]),
        ] {
            let files = [
                ("plugins", "relay\nrhsbl\nrcpt_ok"),
                ("rhsbl_zones", "a.example\nb.long-name-of-a-list.example is not wanted"),
                ("relayclients", "10."),
            ];
            let played = play(&files, ip, &["EHLO c.example", mail], |_| addresses(&[]));
            let seen: Vec<usize> = played.rounds.iter().map(Vec::len).collect();
            assert_eq!(seen, rounds, "{mail} {:?}", played.rounds);
        }
    }
}
