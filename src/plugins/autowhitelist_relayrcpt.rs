//! Exempts senders to whom our own clients have written: whoever is written to may answer.
//!
//! The addresses come from the store, under the table `autowhitelist`. A sender on it is exempt from
//! content and reputation checks for that mail, as if he stood in whitelistsenders, and has no right to
//! relay. It decides nothing; put it before the plugins that it is to silence.
//!
//! Arguments: none.
//!
//! Config files: none.
//!
//! Replies: none.
//!
//! Karma: none.
//!
//! When it cannot tell: the sender is judged like everybody.

use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::MailFrom;
use std::sync::Arc;

/// The table of addresses.
const TABLE: &str = "autowhitelist";

struct AutoWhitelist;

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(AutoWhitelist)
}

/// Under which key an address stands in the table.
fn key(address: &Address) -> String {
    address.plain().to_ascii_lowercase()
}

impl Plugin for AutoWhitelist {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Mail])
    }

    fn gates(&self) -> bool {
        true
    }

    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        let Some(sender) = mail.reverse_path.address() else {
            cx.log(Level::Debug, "skip, null sender");
            return Ok(Verdict::Declined);
        };
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        if cx.stored(TABLE, &key(sender))?.is_none() {
            cx.log(Level::Debug, "pass, not written to");
            return Ok(Verdict::Declined);
        }
        let shown = sender.plain();
        cx.log(Level::Info, format!("pass, has been written to: {}", foreign(shown.as_bytes())));
        cx.exempt_sender();
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;
    use crate::plugin::Loaded;
    use crate::plugins::tests::trial::Trial;

    #[test]
    fn arguments() {
        for (line, complaints) in
            [("autowhitelist_relayrcpt", 0), ("autowhitelist_relayrcpt days 30", 1)]
        {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    #[test]
    fn who_was_written_to_is_exempt() {
        const EXEMPT: &str = "autowhitelist_relayrcpt: pass, has been written to: Pal@example.org";
        for (ip, sender, stored, expected) in [
            ("192.0.2.1", "Pal@Example.org", Some("autowhitelist pal@example.org"), EXEMPT),
            (
                "192.0.2.1",
                "pal@sub.example.org",
                Some("autowhitelist pal@example.org"),
                "autowhitelist_relayrcpt: pass, not written to",
            ),
            ("192.0.2.1", "pal@example.org", None, "autowhitelist_relayrcpt: pass, not written to"),
            ("192.0.2.1", "", Some(""), "autowhitelist_relayrcpt: skip, null sender"),
            ("198.51.100.7", "a@example.com", None, "autowhitelist_relayrcpt: skip, relay client"),
        ] {
            let files =
                [("plugins", "relay\nrcpt_ok\nqueue/discard"), ("relayclients", "198.51.100.")];
            let plugin = Loaded::plain("autowhitelist_relayrcpt", Arc::new(AutoWhitelist));
            let mut trial = Trial::connect_with(&files, ip, vec![plugin]);
            trial.stored = stored.map(str::to_string);
            trial.say("HELO client.example");
            trial.say(&format!("MAIL FROM:<{sender}>"));
            let log = trial.take_log();
            assert!(log.iter().any(|line| line == expected), "{sender}: {log:?}");
            // Exempt or not, it is no relay.
            let relays = trial.say("RCPT TO:<b@elsewhere.example>").starts_with("250");
            assert_eq!(relays, ip == "198.51.100.7");
        }
    }
}
