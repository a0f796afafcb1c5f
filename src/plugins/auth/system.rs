//! Logins of the system's own users, by their hashes in `/etc/shadow`.
//!
//! The daemon's user has to be able to read that file: on Debian, be a member of the group `shadow`. PAM is
//! not used: it would load modules of unknown origin into a process that talks to strangers. Accounts that
//! are locked, expired or without a password log nobody in. Root is never let in.
//!
//! Arguments: the file's path, by default `/etc/shadow`.
//!
//! Config files: none.
//!
//! Replies: `235 2.7.0 PLAIN authentication successful for USER - system`; `535 5.7.8 PLAIN authentication
//! failed for USER`; `454 4.7.0 Temporary authentication failure`.
//!
//! Karma: that of every failed login, -1, given by the daemon.
//!
//! When it cannot tell: a file that cannot be read, or a hash of a kind that we cannot compute, is a fault
//! of ours, so 454 and never 535.

use crate::client::shadow::check;
use crate::config::types::Role;
use crate::plugin::login::{MECHANISMS, Words, checked};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Peer, Plugin};
use crate::smtp::auth::{Credentials, Mechanism};
use std::path::PathBuf;
use std::sync::Arc;

struct System(PathBuf);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let path = PathBuf::from(args.positional().unwrap_or_else(|| "/etc/shadow".to_string()));
    if !path.is_absolute() {
        args.complain(format!("{}: give an absolute path", path.display()));
    }
    Arc::new(System(path))
}

impl Plugin for System {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Auth])
    }

    fn mechanisms(&self, _peer: &Peer, _role: Role) -> &'static [Mechanism] {
        MECHANISMS
    }

    fn auth(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        let words = Words { accepted: "system", refused: "" };
        checked(cx, credentials, &words, |cx, password, _deadline| {
            let known = check(&self.0, &credentials.user, password, cx.now().unix_seconds())?;
            Ok(known && &*credentials.user != "root")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints) in [("", 0), ("/etc/shadow.mail", 0), ("shadow", 1), ("/x y", 1)] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(&format!("auth/system {line}"));
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
