//! Logins checked by Dovecot's authentication service: who can read mail there may send.
//!
//! Dovecot has a socket for this: `service auth { unix_listener mailreeve { mode = 0660 group = … } }`.
//!
//! Arguments: the socket's path, by default `/run/dovecot/auth-client`; or an IP address with its port.
//!
//! Config files: none.
//!
//! Replies: `235 2.7.0 PLAIN authentication successful for USER - dovecot`; `535 5.7.8 PLAIN
//! authentication failed for USER`; `454 4.7.0 Temporary authentication failure`.
//!
//! Karma: that of every failed login, -1, given by the daemon.
//!
//! When it cannot tell: a Dovecot that is away, slow, or says that its failure is temporary is a fault of
//! ours, so 454 and never 535.

use crate::client::dovecot_auth::{Client, check};
use crate::client::stream::Place;
use crate::config::types::Role;
use crate::plugin::login::{MECHANISMS, Words, checked};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Peer, Plugin};
use crate::smtp::auth::{Credentials, Mechanism};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

enum Dovecot {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let place = args.positional().unwrap_or_else(|| "/run/dovecot/auth-client".to_string());
    Arc::new(match place.parse() {
        Ok(address) => Dovecot::Tcp(address),
        Err(_) => {
            if !place.starts_with('/') {
                args.complain(format!("{place}: give the path of a socket, or IP:PORT"));
            }
            Dovecot::Unix(PathBuf::from(place))
        }
    })
}

impl Plugin for Dovecot {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Auth])
    }

    fn mechanisms(&self, _peer: &Peer, _role: Role) -> &'static [Mechanism] {
        MECHANISMS
    }

    fn auth(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        let words = Words { accepted: "dovecot", refused: "" };
        checked(cx, credentials, &words, |cx, password, deadline| {
            let place = match self {
                Dovecot::Unix(path) => Place::Unix(path),
                Dovecot::Tcp(address) => Place::Tcp(*address),
            };
            let client = Client {
                ip: cx.peer().ip,
                local: Some(cx.peer().local.ip()),
                secured: cx.facts().tls.is_some(),
            };
            check(place, &client, &credentials.user, password, deadline)
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
            [("", 0), ("/run/x", 0), ("127.0.0.1:12345", 0), ("somewhere", 1), ("/x y", 1)]
        {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(&format!("auth/dovecot {line}"));
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
