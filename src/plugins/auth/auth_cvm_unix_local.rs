//! Logins checked by a CVM, a credential validation module, as SME Server has it.
//!
//! The module listens on a Unix socket and is asked in version 1 of its protocol, user and domain apart.
//! It is asked on listeners for submission, and on other ports than 25, always; on port 25 and on listeners
//! marked `smtps` as the arguments say.
//!
//! Arguments:
//!   cvm_socket    the socket's path (also `cvm-local:PATH`); required
//!   enable_smtp   `yes` or `no`: on port 25; by default `no`
//!   enable_ssmtp  `yes` or `no`: on listeners marked `smtps`; by default `yes`
//!
//! Config files: none.
//!
//! Replies: `235 2.7.0 PLAIN authentication successful for USER - authcvm/plain`; `535 5.7.8 PLAIN
//! authentication failed for USER - authcvm/plain`; `454 4.7.0 Temporary authentication failure`.
//!
//! Karma: that of every failed login, -1, given by the daemon.
//!
//! When it cannot tell: a module that is not there, hangs, or answers anything but yes and no is a fault
//! of ours, so 454 and never 535.

use crate::client::cvm::{Module, check};
use crate::config::types::Role;
use crate::plugin::login::{MECHANISMS, Words, checked};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Peer, Plugin};
use crate::smtp::auth::{Credentials, Mechanism};
use std::path::PathBuf;
use std::sync::Arc;

struct Cvm {
    socket: PathBuf,
    smtp: bool,
    ssmtp: bool,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let socket = args.named("cvm_socket").unwrap_or_default();
    let socket = PathBuf::from(socket.trim_start_matches("cvm-local:"));
    if !socket.is_absolute() {
        args.complain("say where the module listens: cvm_socket /path/of/socket");
    }
    let smtp = yes(args, "enable_smtp", false);
    let ssmtp = yes(args, "enable_ssmtp", true);
    Arc::new(Cvm { socket, smtp, ssmtp })
}

fn yes(args: &mut Args, name: &str, default: bool) -> bool {
    match args.named(name).as_deref() {
        None => default,
        Some("yes" | "1") => true,
        Some("no" | "0") => false,
        Some(other) => {
            args.complain(format!("{name} {other}: use yes or no"));
            default
        }
    }
}

impl Plugin for Cvm {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Auth])
    }

    fn mechanisms(&self, peer: &Peer, role: Role) -> &'static [Mechanism] {
        let offered = match role {
            Role { submission: true, .. } => true,
            Role { smtps: true, .. } => self.ssmtp,
            _ => self.smtp || peer.local.port() != 25,
        };
        if offered { MECHANISMS } else { &[] }
    }

    fn auth(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        let user = &credentials.user;
        let text = format!("authcvm/{}", credentials.mechanism.name().to_ascii_lowercase());
        let words = Words { accepted: &text, refused: &text };
        checked(cx, credentials, &words, |_, password, deadline| {
            check(Module::Local(&self.socket), user, password, deadline)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn listeners_have_auth_by_their_role() {
        let plain = Role::default();
        let smtps = Role { smtps: true, submission: false };
        let submission = Role { smtps: false, submission: true };
        for (line, offered, complaints) in [
            ("cvm_socket /x", [false, true, true], 0),
            ("cvm_socket cvm-local:/x enable_smtp yes", [true, true, true], 0),
            ("cvm_socket /x enable_smtp yes enable_ssmtp no", [true, false, true], 0),
            ("enable_smtp yes", [true, true, true], 1),
            ("cvm_socket x", [false, true, true], 1),
            ("cvm_socket /x enable_smtp perhaps", [false, true, true], 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(&format!("auth/auth_cvm_unix_local {line}"));
            let plugin = load(&mut args, &Setup::new(&files, &mut problems));
            let peer = Peer {
                ip: "192.0.2.1".parse().expect("an address"),
                port: 1,
                local: "192.0.2.2:25".parse().expect("an address"),
                name: None,
            };
            let found =
                [plain, smtps, submission].map(|role| !plugin.mechanisms(&peer, role).is_empty());
            assert_eq!(found, offered, "{line}");
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
