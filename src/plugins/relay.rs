//! Gives clients the right to relay by their address.
//!
//! `norelayclients` is asked first and wins. Both it and `relayclients` take addresses, CIDR blocks
//! (their first and last address included) and prefixes that end in a dot or colon;
//! `morerelayclients.cdb` takes addresses and prefixes. `::1` may always relay, unless
//! `norelayclients` says otherwise. The right holds for any recipient; it also exempts from content
//! and reputation checks. Put it before the plugins that such clients are spared.
//!
//! Arguments:
//!   only       `1`: nobody else may send mail here at all (the old `relay_only`)
//!
//! Config files: `relayclients`, `morerelayclients.cdb`, `norelayclients`.
//!
//! Replies: with `only`, `550 5.7.1 relaying denied` to every other client's recipients.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::types::RelayMatch;
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use std::sync::Arc;

struct Relay {
    only: bool,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let only = match args.named("only").as_deref() {
        None => args.was_called("relay_only"),
        Some("1") => true,
        Some("0") => false,
        Some(other) => {
            args.complain(format!("only {other}: use 0 or 1"));
            false
        }
    };
    Arc::new(Relay { only })
}

impl Plugin for Relay {
    fn hooks(&self) -> HookSet {
        let hooks = HookSet::of(&[Hook::Connect]);
        if self.only { hooks.with(Hook::Rcpt) } else { hooks }
    }

    fn gates(&self) -> bool {
        true
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        let ip = cx.peer().ip;
        let (relay, words) = match cx.config().relay.find(ip) {
            RelayMatch::Listed(entry) if entry.contains('/') => {
                (true, format!("pass, cidr match ({ip}) in {entry}"))
            }
            RelayMatch::Listed(entry) => {
                (true, format!("pass, octet match in relayclients ({entry})"))
            }
            RelayMatch::More(prefix) => {
                (true, format!("pass, octet match in morerelayclients ({prefix})"))
            }
            RelayMatch::Localhost => (true, "pass, octet matched localhost (::1)".to_string()),
            RelayMatch::Never(entry) => {
                (false, format!("fail, disabled by norelayclients ({entry})"))
            }
            RelayMatch::None => (cx.may_relay(), "skip, no match".to_string()),
        };
        cx.set_relay(relay);
        cx.log(Level::Info, words);
        Ok(Verdict::Declined)
    }

    fn rcpt(&self, cx: &mut Cx<'_>, _recipient: &Address) -> Hooked {
        if !self.only {
            return Ok(Verdict::Unhooked);
        }
        if cx.may_relay() {
            cx.log(Level::Info, "pass, relay client");
            return Ok(Verdict::OK);
        }
        cx.log(Level::Info, "fail, only relay clients may send mail here");
        Ok(Verdict::deny((7, 1), "relaying denied"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, only, complaints) in [
            ("relay", false, 0),
            ("relay only 1", true, 0),
            ("relay only=0", false, 0),
            ("check_relay", false, 0),
            ("check_norelay", false, 0),
            ("relay_only", true, 0),
            ("relay_only only 0", false, 0),
            ("relay only perhaps", false, 1),
            ("relay 1", false, 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            let plugin = load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(plugin.hooks().has(Hook::Rcpt), only, "{line}");
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
