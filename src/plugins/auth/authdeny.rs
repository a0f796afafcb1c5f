//! Refuses every login: for the end of a list, so that whoever no other plugin knows is told off.
//!
//! It offers PLAIN and LOGIN, and lets nobody in. A login that an earlier plugin has accepted never comes
//! to it.
//!
//! Arguments: none.
//!
//! Config files: none.
//!
//! Replies: `535 5.7.8 PLAIN authentication failed for USER - USER is not free to abuse my relay`.
//!
//! Karma: that of every failed login, -1, given by the daemon.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::types::Role;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Peer, Plugin, Verdict};
use crate::smtp::auth::{Credentials, Mechanism};
use std::sync::Arc;

struct AuthDeny;

/// Loads the plugin.
pub fn load(_args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(AuthDeny)
}

impl Plugin for AuthDeny {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Auth])
    }

    fn mechanisms(&self, _peer: &Peer, _role: Role) -> &'static [Mechanism] {
        &[Mechanism::Plain, Mechanism::Login]
    }

    fn auth(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        cx.log(Level::Warning, "fail: cannot authenticate");
        let user = foreign(credentials.user.as_bytes());
        Ok(Verdict::deny((7, 8), format!("{user} is not free to abuse my relay")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_arguments() {
        let files = crate::config::files::Files::in_memory([]);
        let mut problems = Vec::new();
        let mut args = Args::of("auth/authdeny now");
        let plugin = load(&mut args, &Setup::new(&files, &mut problems));
        assert!(plugin.hooks().has(Hook::Auth));
        assert_eq!(args.finish(), ["unknown argument: now"]);
    }
}
