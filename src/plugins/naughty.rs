//! Refuses clients that other plugins have condemned.
//!
//! A check with `reject naughty` in its line refuses nothing at once; it leaves its text here. So a
//! client that is on a block list can still log in, and the admin chooses in one place how far a
//! condemned client gets before it is told. It is told all texts, one a line, each with the name of
//! the plugin that said it. Without `disconnect` in the condemning plugin's reject_type the client
//! stays and each further attempt is refused again. Within a hook the order of the `plugins` file
//! counts: at rcpt this plugin has to stand before rcpt_ok, and at the others behind the checks.
//!
//! Arguments:
//!   reject       where to refuse: `connect`, `mail`, `rcpt` (default), `data` or `data_post`. At
//!                data_post, the end of the message, it always looks once more
//!   reject_type  taken for the sake of old lines, without an effect: the type of the first
//!                plugin that condemned is used, and each has one
//!
//! Config files: none.
//!
//! Replies: `554` (connect, data, data_post) or `550` (mail, rcpt) with `5.7.1 (PLUGIN) TEXT`, or
//! `451`, `450` or `421` with `4.7.1`, by the reject_type of the condemning plugin.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::facts::is_special_account;
use crate::plugin::log::Level;
use crate::plugin::policy::reject_type_of;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::{MailFrom, Transaction};
use std::sync::Arc;

/// Where it can refuse.
const HOOKS: [Hook; 5] = [Hook::Connect, Hook::Mail, Hook::Rcpt, Hook::Data, Hook::Message];

struct Naughty {
    hooks: HookSet,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let word = args.named("reject").unwrap_or_else(|| Hook::Rcpt.name().to_string());
    let wanted = HOOKS.into_iter().find(|hook| hook.name().eq_ignore_ascii_case(&word));
    let hook = wanted.unwrap_or_else(|| {
        args.complain(format!("reject {word}: use connect, mail, rcpt, data or data_post"));
        Hook::Message
    });
    if let Some(word) = args.named("reject_type")
        && reject_type_of(&word).is_none()
    {
        let what = format!("reject_type {word}: use perm, temp, disconnect or temp_disconnect");
        args.complain(what);
    }
    Arc::new(Naughty { hooks: HookSet::of(&[hook, Hook::Message]) })
}

impl Naughty {
    fn judge(&self, cx: &mut Cx<'_>, here: Hook) -> Hooked {
        if !self.hooks.has(here) {
            return Ok(Verdict::Unhooked);
        }
        let Some(naughty) = cx.facts().naughty.as_deref().cloned() else {
            cx.log(Level::Info, "pass");
            return Ok(Verdict::Declined);
        };
        if cx.may_relay() {
            cx.log(Level::Info, "skip, relay client");
            return Ok(Verdict::Declined);
        }
        cx.log(Level::Info, "disconnecting");
        Ok(naughty.reject_type.verdict((7, 1), &naughty.texts.join("\n")))
    }
}

/// The message is only for accounts that everybody must be able to reach.
fn only_special_accounts(cx: &Cx<'_>) -> bool {
    let special = |envelope: &Transaction| {
        !envelope.recipients.is_empty() && envelope.recipients.iter().all(is_special_account)
    };
    cx.envelope().is_some_and(special)
}

impl Plugin for Naughty {
    fn hooks(&self) -> HookSet {
        self.hooks
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        self.judge(cx, Hook::Connect)
    }

    fn mail(&self, cx: &mut Cx<'_>, _mail: &MailFrom) -> Hooked {
        self.judge(cx, Hook::Mail)
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if self.hooks.has(Hook::Rcpt) && is_special_account(recipient) {
            cx.log(Level::Info, "skip, special account");
            return Ok(Verdict::Declined);
        }
        self.judge(cx, Hook::Rcpt)
    }

    fn data(&self, cx: &mut Cx<'_>, _chunked: bool) -> Hooked {
        if self.hooks.has(Hook::Data) && only_special_accounts(cx) {
            cx.log(Level::Info, "skip, special account");
            return Ok(Verdict::Declined);
        }
        self.judge(cx, Hook::Data)
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        if only_special_accounts(cx) {
            cx.log(Level::Info, "skip, special account");
            return Ok(Verdict::Declined);
        }
        self.judge(cx, Hook::Message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, hooks, complaints) in [
            ("naughty", vec![Hook::Rcpt, Hook::Message], 0),
            ("naughty reject connect", vec![Hook::Connect, Hook::Message], 0),
            ("naughty reject MAIL", vec![Hook::Mail, Hook::Message], 0),
            ("naughty reject=data reject_type temp", vec![Hook::Data, Hook::Message], 0),
            ("naughty reject data_post", vec![Hook::Message], 0),
            ("naughty reject hook_queue_post", vec![Hook::Message], 1),
            ("naughty reject helo reject_type never", vec![Hook::Message], 2),
            ("naughty data", vec![Hook::Rcpt, Hook::Message], 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            let plugin = load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(plugin.hooks(), HookSet::of(&hooks), "{line}");
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
