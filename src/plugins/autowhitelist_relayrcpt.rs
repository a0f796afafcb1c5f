//! Remembers whom our own users write to, and exempts mail from those addresses from checks.
//!
//! Each recipient elsewhere that a client names who may relay, by his address or by having logged in,
//! is kept in the store. A later mail whose envelope sender is such an address counts as one from a
//! whitelisted sender: block lists, greylisting, scoring and the like skip it. It never gets the right
//! to relay by that, and no plugin behind this one is hidden: a sender is easily forged. Put it behind
//! `relay` and before the checks that it is to silence.
//!
//! Recipients in our own domains are not remembered, for nobody outside has to write in their name. The
//! file takes addresses out again, such as that of somebody who was only told to write no more. An
//! address is forgotten when nobody has written to it for ten years.
//!
//! Differences to the plugin of qpsmtpd-plugins: it wrote into the file `whitelistsenders`, which the
//! plugin `whitelist` then read; here that file stays as the admin wrote it, and both count.
//!
//! Arguments: none.
//!
//! Config files: `autowhitelist_never`, lines `user@domain` or `domain`: neither remembered nor
//! exempted. `rcpthosts`, `morercpthosts.cdb` and `me` say which domains are ours.
//!
//! Replies: none.
//!
//! Karma: none.
//!
//! When it cannot tell: the sender counts as unknown, and is checked like any other.

use crate::config::patterns::AddressList;
use crate::plugin::hosted::Hosted;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::MailFrom;
use crate::store::{Correspondent, Op, Unavailable, WHITELIST};
use std::sync::Arc;

struct AutoWhitelist {
    never: AddressList,
    hosted: Hosted,
}

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let lines = setup.lines("autowhitelist_never");
    let never = setup.with_problems(|problems| AddressList::load(&lines, problems));
    Arc::new(AutoWhitelist { never, hosted: Hosted::read(setup) })
}

impl AutoWhitelist {
    /// The key under which an address is kept; None for those that never are.
    fn key(&self, me: &str, address: &Address) -> Option<String> {
        let is_ours = self.hosted.holds(me, address.domain());
        (!is_ours && !self.never.holds(address)).then(|| address.plain().to_ascii_lowercase())
    }
}

impl Plugin for AutoWhitelist {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Mail, Hook::Rcpt])
    }

    fn gates(&self) -> bool {
        true
    }

    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        let Some(sender) = mail.reverse_path.address() else { return Ok(Verdict::Declined) };
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let Some(key) = self.key(&cx.config().rules.me, sender) else {
            cx.log(Level::Debug, "skip, never whitelisted");
            return Ok(Verdict::Declined);
        };
        let shown = foreign(key.as_bytes());
        match cx.recall(WHITELIST, &key)? {
            Ok(found) => match found.as_deref().and_then(Correspondent::decode) {
                Some(Correspondent { mails, .. }) => {
                    let words = format!("pass, whitelisted sender {shown} ({mails} mails to it)");
                    cx.log(Level::Info, words);
                    cx.exempt_sender();
                }
                None => cx.log(Level::Debug, format!("skip, nobody has written to {shown}")),
            },
            Err(Unavailable) => cx.log(Level::Notice, "error, the store does not answer"),
        }
        Ok(Verdict::Declined)
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if !cx.may_relay() {
            return Ok(Verdict::Declined);
        }
        if let Some(key) = self.key(&cx.config().rules.me, recipient) {
            cx.log(Level::Info, format!("pass, remembers {}", foreign(key.as_bytes())));
            cx.record(Op::written_to(&key, cx.now().unix.as_secs()));
        }
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;
    use crate::smtp::address::parse_forward;

    #[test]
    fn arguments() {
        for (line, complaints, warnings) in
            [("autowhitelist_relayrcpt", 0, 1), ("autowhitelist_relayrcpt reject 0", 1, 1)]
        {
            let never = ("autowhitelist_never".to_string(), "a@b.example and more".to_string());
            let files = Files::in_memory([never]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!((args.finish().len(), problems.len()), (complaints, warnings), "{line}");
        }
    }

    #[test]
    fn strangers_have_a_key() {
        let files = [("rcpthosts", "example.com"), ("autowhitelist_never", "spam@x.example")];
        let files = files.map(|(name, text)| (name.to_string(), text.to_string()));
        let files = Files::in_memory(files);
        let mut problems = Vec::new();
        let setup = Setup::new(&files, &mut problems);
        let never = AddressList::load(&setup.lines("autowhitelist_never"), &mut Vec::new());
        let plugin = AutoWhitelist { never, hosted: Hosted::read(&setup) };
        for (path, key) in [
            ("<Ann@Example.org>", Some("ann@example.org")),
            ("<ann@b\u{fc}cher.example>", Some("ann@xn--bcher-kva.example")),
            ("<\"a b\"@example.org>", Some("a b@example.org")),
            ("<ann@example.com>", None),
            ("<ann@mx.example.net>", None),
            ("<Spam@X.example>", None),
            ("<postmaster>", None),
        ] {
            let address = parse_forward(path.as_bytes(), true).unwrap();
            assert_eq!(plugin.key("mx.example.net", &address).as_deref(), key, "{path}");
        }
    }
}
