//! Logins checked by an IMAP server: who can log in there may send.
//!
//! The password goes to that server in clear, so it should be this machine, or a network of ours.
//!
//! Arguments: `HOST [PORT]`: an IP address or `localhost`, port 143 unless said otherwise.
//!
//! Config files: none.
//!
//! Replies: `235 2.7.0 PLAIN authentication successful for USER - auth_imap`; `535 5.7.8 PLAIN
//! authentication failed for USER - auth_imap - invalid password`; `454 4.7.0 Temporary authentication
//! failure`.
//!
//! Karma: that of every failed login, -1, given by the daemon.
//!
//! When it cannot tell: a server that is away, slow, or says that it cannot tell is a fault of ours, so
//! 454 and never 535.

use crate::client::imap_login::check;
use crate::client::stream::Place;
use crate::config::types::Role;
use crate::plugin::login::{MECHANISMS, Words, address, checked};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Peer, Plugin};
use crate::smtp::auth::{Credentials, Mechanism};
use std::net::SocketAddr;
use std::sync::Arc;

struct Imap(Option<SocketAddr>);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let host = args.positional();
    let port = args.positional_number("port", 143, 1..=u16::MAX);
    let place = match host.map(|host| address(&host, port)) {
        Some(Ok(place)) => Some(place),
        Some(Err(what)) => {
            args.complain(what);
            None
        }
        None => {
            args.complain("name the server: auth/auth_imap HOST [PORT]");
            None
        }
    };
    Arc::new(Imap(place))
}

impl Plugin for Imap {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Auth])
    }

    fn mechanisms(&self, _peer: &Peer, _role: Role) -> &'static [Mechanism] {
        MECHANISMS
    }

    fn auth(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        let words = Words { accepted: "auth_imap", refused: "auth_imap - invalid password" };
        checked(cx, credentials, &words, |_, password, deadline| {
            let place = self.0.ok_or("no server is named")?;
            check(Place::Tcp(place), &credentials.user, password, deadline)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints) in
            [("localhost", 0), ("192.0.2.1 1143", 0), ("", 1), ("imap.example", 1), ("::1 x", 1)]
        {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(&format!("auth/auth_imap {line}"));
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
