//! Exempts clients on a white list in DNS from reputation and content checks.
//!
//! A line of `whitelist_zones` is `ZONE`, with a text for the log behind a blank, `;` or `:` if you
//! like. The lists are asked when the client connects and heard at MAIL, before the checks that stand
//! behind this line; what checks at connect and HELO held against the client is forgiven then. Only
//! checks with `reject connect` have spoken before. It gives no right to relay.
//!
//! A list that answers with an error code, or with an address outside 127.0.0.0/8, exempts nobody.
//!
//! Arguments: none.
//!
//! Config files: `whitelist_zones`.
//!
//! Replies: none.
//!
//! Karma: none.
//!
//! When it cannot tell: nobody is exempt; the list is logged by name.

use crate::dns::reverse_address;
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::zones::Zones;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict, Zone};
use crate::smtp::session::MailFrom;
use std::sync::Arc;

struct DnsWhitelistSoft {
    zones: Zones,
}

/// The lists have spoken about this connection.
#[derive(Clone, Copy)]
struct Judged;

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(DnsWhitelistSoft { zones: Zones::load(setup, "whitelist_zones", true) })
}

impl Plugin for DnsWhitelistSoft {
    fn zones(&self) -> Vec<Zone> {
        self.zones.told(false)
    }

    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Connect, Hook::Mail])
    }

    fn gates(&self) -> bool {
        true
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        if !is_exempt(cx) {
            self.zones.want(cx, &reverse_address(cx.peer().ip));
        }
        Ok(Verdict::Declined)
    }

    fn mail(&self, cx: &mut Cx<'_>, _mail: &MailFrom) -> Hooked {
        if is_exempt(cx) || cx.note::<Judged>().is_some() {
            return Ok(Verdict::Declined);
        }
        let ip = cx.peer().ip;
        match self.zones.ask(cx, &reverse_address(ip))? {
            Some(hit) => {
                let text = format!("pass, Host {ip} is whitelisted: {}", hit.text);
                cx.log(Level::Notice, text);
                cx.exempt_host();
                cx.facts_mut().naughty = None;
            }
            None => cx.log(Level::Debug, "skip, no match"),
        }
        cx.keep_note(Judged);
        Ok(Verdict::Declined)
    }
}

/// There is nothing left to exempt the client from.
fn is_exempt(cx: &Cx<'_>) -> bool {
    cx.may_relay() || cx.facts().immune.is_some()
}

#[cfg(test)]
mod tests {
    use crate::plugins::tests::testing::{addresses, play};

    const MAIL: [&str; 3] = ["EHLO c.example", "MAIL FROM:<a@b.example>", "RSET"];

    #[test]
    fn lists_are_asked_once_and_only_for_whom_it_matters() {
        let files = [
            ("plugins", "relay\ndns_whitelist_soft\nrcpt_ok"),
            ("whitelist_zones", "list.example\nmore.example good people"),
            ("relayclients", "10."),
        ];
        for (ip, rounds) in [("192.0.2.1", vec![3]), ("10.0.0.1", vec![])] {
            let played = play(&files, ip, &MAIL.repeat(2), |_| addresses(&[]));
            let seen: Vec<usize> = played.rounds.iter().map(Vec::len).collect();
            assert_eq!(seen, rounds, "{:?}", played.rounds);
        }
    }

    #[test]
    fn checks_behind_it_wait_for_its_word() {
        let files = [
            ("plugins", "dns_whitelist_soft\ndnsbl\nrcpt_ok"),
            ("whitelist_zones", "good.example"),
            ("dnsbl_zones", "bad.example"),
        ];
        let commands = [&MAIL[..2], &["RCPT TO:<a@mx.example.net>"]].concat();
        for (codes, refused) in [
            (&["127.0.0.2"][..], false),
            (&["127.0.0.255"], true),
            (&["93.184.216.34"], true),
            (&[], true),
        ] {
            let played = play(&files, "192.0.2.1", &commands, |question| {
                let good = question.name.ends_with(".good.example");
                addresses(if good { codes } else { &["127.0.0.2"] })
            });
            assert_eq!(played.said.contains("550 5.7.1 (dnsbl) "), refused, "{}", played.said);
            let skips =
                played.log.iter().any(|line| line.contains("dnsbl: skip, whitelisted host"));
            assert_eq!(skips, !refused, "{:?}", played.log);
        }
    }
}
