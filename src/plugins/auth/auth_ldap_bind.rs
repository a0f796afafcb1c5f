//! Logins checked by an LDAP server: the user's entry is searched for, and a bind as it tried.
//!
//! Entry and password go to that server in clear, so it should be this machine, or a network of ours.
//! What stands before the `@` of the user is searched for, escaped, in the whole subtree.
//!
//! Arguments: by name, or as lines `name value` of the config file:
//!   ldap_base              the entry below which users are, as `ou=people,dc=example,dc=com`; required
//!   ldap_host              an IP address or `localhost`, by default 127.0.0.1
//!   ldap_port              by default 389
//!   ldap_auth_filter_attr  the attribute that holds the user's name, by default `uid`
//!   ldap_timeout           accepted and not used: a checker has some seconds
//!
//! Config files: `ldap`.
//!
//! Replies: `235 2.7.0 PLAIN authentication successful for USER - authldap`; `535 5.7.8 PLAIN
//! authentication failed for USER - authldap - wrong username or password`; `454 4.7.0 Temporary
//! authentication failure`.
//!
//! Karma: that of every failed login, -1, given by the daemon.
//!
//! When it cannot tell: a server that is away, slow, or does not let us search is a fault of ours, so 454
//! and never 535. The plugin of qpsmtpd could never succeed; this one can.

use crate::client::ldap_bind::{Directory, check};
use crate::client::stream::Place;
use crate::config::files::Line;
use crate::config::types::Role;
use crate::plugin::login::{MECHANISMS, Words, address, checked};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Peer, Plugin};
use crate::smtp::auth::{Credentials, Mechanism};
use std::net::SocketAddr;
use std::sync::Arc;

struct Ldap {
    server: Option<SocketAddr>,
    base: String,
    attribute: String,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let lines = setup.lines("ldap");
    let mut setting = |name: &str| {
        let of_file = lines.iter().map(Line::split_word).find(|(word, _)| *word == name);
        args.named(name).or(of_file.map(|(_, value)| value.to_string()))
    };
    let base = setting("ldap_base").unwrap_or_default();
    let host = setting("ldap_host").unwrap_or_else(|| "127.0.0.1".to_string());
    let port = setting("ldap_port");
    let attribute = setting("ldap_auth_filter_attr").unwrap_or_else(|| "uid".to_string());
    setting("ldap_timeout");
    if base.is_empty() {
        args.complain("say where users are: ldap_base ou=people,dc=example,dc=com");
    }
    let port = match port.as_deref().map_or(Ok(389), str::parse) {
        Ok(port) => port,
        Err(_) => {
            args.complain("ldap_port: give a number from 1 to 65535");
            389
        }
    };
    let server = address(&host, port).map_err(|what| args.complain(what)).ok();
    Arc::new(Ldap { server, base, attribute })
}

impl Plugin for Ldap {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Auth])
    }

    fn mechanisms(&self, _peer: &Peer, _role: Role) -> &'static [Mechanism] {
        MECHANISMS
    }

    fn auth(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        let refused = "authldap - wrong username or password";
        let words = Words { accepted: "authldap", refused };
        checked(cx, credentials, &words, |_, password, deadline| {
            let place = Place::Tcp(self.server.ok_or("no server is named")?);
            let directory = Directory { place, base: &self.base, attribute: &self.attribute };
            let name =
                credentials.user.rsplit_once('@').map_or(&*credentials.user, |(name, _)| name);
            check(&directory, name, password, deadline)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments_come_from_line_and_file() {
        for (line, file, complaints) in [
            ("ldap_base dc=x ldap_host localhost ldap_port 1389", "", 0),
            ("", "ldap_base ou=people,dc=x\nldap_timeout 5", 0),
            ("", "", 1),
            ("ldap_base dc=x ldap_port x", "", 1),
            ("ldap_base dc=x ldap_host ldap.example", "", 1),
        ] {
            let files = Files::in_memory([("ldap".to_string(), format!("{file}\n"))]);
            let mut problems = Vec::new();
            let mut args = Args::of(&format!("auth/auth_ldap_bind {line}"));
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line} {file}");
        }
    }
}
