//! Logins from a file of users and passwords.
//!
//! `flat_auth_pw` has a line `USER@DOMAIN:PASSWORD` for each user. What stands for the password is best a
//! hash, as `mailreeve auth hash` makes it (argon2id, or `--sha512` for machines with little memory), or
//! the keys of SCRAM-SHA-256 (`--scram`), with which no password is ever sent. The lines of crypt(3) in
//! /etc/shadow are understood too (MD5, SHA-256, SHA-512, yescrypt, bcrypt). A password in clear is
//! taken, as in qpsmtpd, and warned of.
//!
//! PLAIN and LOGIN are offered; CRAM-MD5 only where all passwords are in clear, and SCRAM-SHA-256 only
//! where all are its keys, since a client chooses by what is offered and not by what its user has. The
//! reply does not tell whether there is such a user, and takes as long if there is none.
//!
//! Arguments: none.
//!
//! Config files: `flat_auth_pw`. The daemon has to be able to read it, and nobody else should be.
//!
//! Replies: `235 2.7.0 PLAIN authentication successful for USER - auth_flat_file`; `535 5.7.8 PLAIN
//! authentication failed for USER`.
//!
//! Karma: that of every failed login, -1, given by the daemon.
//!
//! When it cannot tell: a user who is not in the file, or has no domain, is left to the plugins behind it;
//! a line that cannot be used is `454 4.7.0` for its user, and named at start.

use crate::authn::password::{self, Verdict as Found};
use crate::authn::scram::Keys;
use crate::config::files::{Problem, quote};
use crate::config::types::Role;
use crate::plugin::log::{Level, foreign};
use crate::plugin::question::Lane;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Peer, Plugin, Verdict};
use crate::smtp::auth::{Credentials, Evidence, Mechanism};
use std::collections::HashMap;
use std::sync::Arc;
use zeroize::Zeroizing;

const FILE: &str = "flat_auth_pw";

struct FlatFile {
    users: HashMap<String, Secret>,
    mechanisms: &'static [Mechanism],
    /// Compared with where there is no such user, so that this takes as long.
    decoy: Option<Zeroizing<String>>,
}

enum Secret {
    Clear(Zeroizing<String>),
    Hash(Zeroizing<String>),
    Scram(Keys, Zeroizing<String>),
}

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let mut users = HashMap::new();
    let mut clear = 0;
    for line in setup.lines(FILE) {
        let Some((user, secret)) = line.text.split_once(':').filter(|(user, _)| user.contains('@'))
        else {
            // The line itself may be a password.
            let what = format!("{FILE}: a line without USER@DOMAIN:PASSWORD");
            setup.with_problems(|problems| Problem::warning(&line, what).note(problems));
            continue;
        };
        let secret = Zeroizing::new(secret.trim().to_string());
        let secret = match Keys::parse(&secret) {
            Some(keys) => Secret::Scram(keys, secret),
            None if password::is_hash(&secret) => Secret::Hash(secret),
            None => {
                clear += 1;
                Secret::Clear(secret)
            }
        };
        if let Secret::Hash(hash) = &secret
            && let Err(why) = password::usable(hash)
        {
            let what = format!("{}: {why}", quote(user));
            setup.with_problems(|problems| Problem::warning(&line, what).note(problems));
        }
        users.entry(user.to_ascii_lowercase()).or_insert(secret);
    }
    if clear > 0 {
        setup.warn(FILE, format!("{clear} passwords in clear: `mailreeve auth hash` makes hashes"));
    }
    let decoy = users.values().find_map(Secret::slow).cloned();
    Arc::new(FlatFile { mechanisms: mechanisms(&users), users, decoy })
}

impl Secret {
    /// The line that takes its time to compare with.
    fn slow(&self) -> Option<&Zeroizing<String>> {
        match self {
            Secret::Clear(_) => None,
            Secret::Hash(line) | Secret::Scram(_, line) => Some(line),
        }
    }
}

/// What every user can log in with.
fn mechanisms(users: &HashMap<String, Secret>) -> &'static [Mechanism] {
    let all = |is: fn(&Secret) -> bool| !users.is_empty() && users.values().all(is);
    if users.is_empty() {
        &[]
    } else if all(|secret| matches!(secret, Secret::Clear(_))) {
        &[Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5]
    } else if all(|secret| matches!(secret, Secret::Scram(..))) {
        &[Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256]
    } else {
        &[Mechanism::Plain, Mechanism::Login]
    }
}

impl FlatFile {
    fn judge(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        let user = credentials.user.to_ascii_lowercase();
        let secret = self.users.get(&user);
        let found = match (&credentials.evidence, secret) {
            (Evidence::Proved, Some(Secret::Scram(..))) => Some(Found::Match),
            (Evidence::Proved, _) => None,
            (Evidence::Password(given), Some(Secret::Clear(stored))) => {
                Some(password::plain(stored, given.reveal()))
            }
            (Evidence::Password(given), Some(Secret::Hash(line) | Secret::Scram(_, line))) => {
                let _token = cx.lane(Lane::Workers)?;
                Some(password::check(line, given.reveal()))
            }
            (Evidence::Password(given), None) => {
                if let Some(decoy) = &self.decoy {
                    let _token = cx.lane(Lane::Workers)?;
                    // What comes of it does not matter.
                    let _ = password::check(decoy, given.reveal());
                }
                None
            }
            (Evidence::CramMd5 { challenge, digest }, Some(Secret::Clear(stored))) => {
                Some(password::cram_md5(stored, challenge, digest))
            }
            (Evidence::CramMd5 { .. }, _) => None,
        };
        let how = match credentials.evidence {
            Evidence::Password(_) if matches!(secret, Some(Secret::Clear(_))) => "clear match",
            Evidence::Password(_) => "crypt match",
            Evidence::CramMd5 { .. } | Evidence::Proved => "hash match",
        };
        Ok(match found {
            Some(Found::Match) => {
                cx.log(Level::Info, format!("pass: {how}"));
                Verdict::Ok(Some("auth_flat_file".into()))
            }
            Some(Found::NoMatch) => {
                cx.log(Level::Info, "fail: wrong password");
                Verdict::deny((7, 8), "")
            }
            Some(Found::Unsupported(why)) => {
                cx.log(Level::Error, format!("error: the line of this user cannot be used: {why}"));
                Verdict::deny_soft((7, 0), "Temporary authentication failure")
            }
            None => {
                let user = foreign(credentials.user.as_bytes());
                cx.log(Level::Info, format!("fail: no such user: {user}"));
                Verdict::Declined
            }
        })
    }
}

impl Plugin for FlatFile {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Auth])
    }

    fn mechanisms(&self, _peer: &Peer, _role: Role) -> &'static [Mechanism] {
        self.mechanisms
    }

    fn scram_keys(&self, user: &str) -> Option<Keys> {
        match self.users.get(&user.to_ascii_lowercase()) {
            Some(Secret::Scram(keys, _)) => Some(keys.clone()),
            _ => None,
        }
    }

    fn auth(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        if !credentials.user.contains('@') {
            cx.log(Level::Info, "fail: missing domain");
            return Ok(Verdict::Declined);
        }
        self.judge(cx, credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                         wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn what_is_offered_is_what_every_user_has() {
        let scram = format!("a@x.example:{SCRAM}\n");
        let hash = "b@x.example:$6$salt$x\n";
        for (text, mechanisms, problems) in [
            ("", 0, 0),
            ("a@x.example:secret\nb@x.example:more:colons\n", 3, 1),
            (scram.as_str(), 3, 0),
            (&format!("{scram}b@x.example:secret\n"), 2, 1),
            // The hash is too short to be one.
            (hash, 2, 1),
            ("nobody:secret\n", 0, 1),
        ] {
            let files = Files::in_memory([(FILE.to_string(), text.to_string())]);
            let mut found = Vec::new();
            let mut args = Args::of("auth/auth_flat_file");
            let plugin = load(&mut args, &Setup::new(&files, &mut found));
            let peer = Peer {
                ip: "192.0.2.1".parse().expect("an address"),
                port: 1,
                local: "192.0.2.2:25".parse().expect("an address"),
                name: None,
            };
            let offered = plugin.mechanisms(&peer, Role::default());
            assert_eq!((offered.len(), found.len()), (mechanisms, problems), "{text}: {found:?}");
            assert!(!found.iter().any(|problem| problem.to_string().contains("secret")));
        }
    }
}
