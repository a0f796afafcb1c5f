//! Lets recipients have settings of their own, in folders of the config folder.
//!
//! A plugin that has such a setting looks for it in `DOMAIN/USER/FILE`, then in `DOMAIN/FILE`, and takes
//! the common `FILE` if neither is there. Which plugins do so, and with which files, is in their
//! manuals: `whitelist` and `greylisting` with `per_recipient 1`, and `denysoft_multi_rcpt match config`
//! puts off recipients whose settings lie in other folders. Folders are named as the addresses are,
//! in whatever case. They are read with the rest of the configuration, at start and when something in
//! them changes. Settings of the daemon itself, such as `rcpthosts`, are the same for everybody.
//!
//! Where in the list of plugins this line stands does not matter.
//!
//! Arguments:
//!   domain/user  folders DOMAIN and DOMAIN/USER (the default)
//!   domain       only folders DOMAIN
//!   user         only folders USER, in whatever domain the user is
//!
//! Config files: none of its own; at most 4096 folders, and 16 MiB of one setting in all of them.
//!
//! Replies: none.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::files::{Problem, Severity, own, quote};
use crate::plugin::own::{ConfigFor, key_of};
use crate::plugin::site::Setup;
use crate::plugin::{Args, HookSet, Plugin};
use crate::smtp::address::Address;
use std::collections::HashSet;
use std::sync::Arc;

/// Files that are the same for everybody. Anything else a plugin may look up for a recipient.
const COMMON: [&str; 28] = [
    "IP",
    "concurrency",
    "concurrency_per_ip",
    "databytes",
    "hosts_allow",
    "listen",
    "logging",
    "loglevel",
    "me",
    "morercpthosts.cdb",
    "morerelayclients.cdb",
    "norelayclients",
    "plugin_dirs",
    "plugins",
    "rcpthosts",
    "relayclients",
    "resolvers",
    "scanners",
    "size_threshold",
    "smtpgreeting",
    "spool_dir",
    "state_dir",
    "store",
    "timeout",
    "timeoutsmtpd",
    "user",
    "workers",
    "writers",
];

/// How folders are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    DomainAndUser,
    Domain,
    User,
}

struct PerUserConfig {
    scheme: Scheme,
    folders: HashSet<Arc<str>>,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(read(args, setup))
}

fn read(args: &mut Args, setup: &Setup<'_>) -> PerUserConfig {
    let scheme = match args.positional().as_deref() {
        None | Some("domain/user") => Scheme::DomainAndUser,
        Some("domain") => Scheme::Domain,
        Some("user") => Scheme::User,
        Some(other) => {
            args.complain(format!("{other}: use domain/user, domain or user"));
            Scheme::DomainAndUser
        }
    };
    let mut folders = HashSet::new();
    for (folder, names) in setup.own_folders() {
        for name in names.iter().filter(|name| is_common(name)) {
            let what = "is the same for everybody: it is not looked for in folders of recipients";
            setup.warn(&format!("{folder}/{name}"), what);
        }
        let Some(key) = key_of(&folder) else { continue };
        if !folders.insert(Arc::from(key.as_str())) {
            let what = format!(
                "is {} in another spelling: of a file that is in both, one is read",
                quote(&key)
            );
            let problem = Problem::in_file(Severity::Warning, &folder, what);
            setup.with_problems(|problems| problem.note(problems));
        }
    }
    PerUserConfig { scheme, folders }
}

fn is_common(name: &str) -> bool {
    COMMON.contains(&name) || name.starts_with("tls_")
}

impl Plugin for PerUserConfig {
    fn hooks(&self) -> HookSet {
        HookSet::default()
    }

    fn config_for(&self, recipient: &Address) -> Option<ConfigFor> {
        let (user, domain) = (recipient.local(), recipient.domain());
        let places: &[&[&str]] = match self.scheme {
            Scheme::DomainAndUser => &[&[domain, user], &[domain]],
            Scheme::Domain => &[&[domain]],
            Scheme::User => &[&[user]],
        };
        let keys = places.iter().filter_map(|parts| own::key(parts));
        let known = keys.filter_map(|key| self.folders.get(&*key).cloned());
        Some(ConfigFor::new(known.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;
    use crate::smtp::address::parse_forward;

    const FILES: [(&str, &str); 6] = [
        ("Example.com/bcc", "x"),
        ("example.com/Joe/bcc", "x"),
        ("b\u{fc}cher.example/bcc", "x"),
        ("joe/bcc", "x"),
        ("ann/bcc", "x"),
        ("postmaster/bcc", "x"),
    ];

    fn made(line: &str, files: &[(&str, &str)]) -> (PerUserConfig, usize, Vec<String>) {
        let owned = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let files = Files::in_memory(owned);
        let mut problems = Vec::new();
        let mut args = Args::of(line);
        let plugin = read(&mut args, &Setup::new(&files, &mut problems));
        let problems = problems.iter().map(ToString::to_string).collect();
        (plugin, args.finish().len(), problems)
    }

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("per_user_config", 0),
            ("per_user_config domain/user", 0),
            ("per_user_config domain", 0),
            ("per_user_config user", 0),
            ("per_user_config home", 1),
            ("per_user_config domain user", 1),
        ] {
            let (_, found, problems) = made(line, &FILES);
            assert_eq!((found, problems.len()), (complaints, 0), "{line}: {problems:?}");
        }
    }

    #[test]
    fn recipients_have_folders() {
        for (line, path, expected) in [
            ("per_user_config", "<joe@example.com>", &["example.com/joe", "example.com"][..]),
            ("per_user_config", "<JOE@EXAMPLE.COM>", &["example.com/joe", "example.com"]),
            ("per_user_config", "<ann@example.com>", &["example.com"]),
            ("per_user_config", "<ann@b\u{fc}cher.example>", &["xn--bcher-kva.example"]),
            ("per_user_config", "<joe@sub.example.com>", &[]),
            ("per_user_config", "<\"../joe\"@example.com>", &["example.com"]),
            ("per_user_config", "<postmaster>", &[]),
            ("per_user_config domain", "<joe@example.com>", &["example.com"]),
            ("per_user_config user", "<Joe@example.com>", &["joe"]),
            ("per_user_config user", "<ann@any.example>", &["ann"]),
            ("per_user_config user", "<bob@example.com>", &[]),
            ("per_user_config user", "<\"example.com/joe\"@any.example>", &[]),
            ("per_user_config user", "<postmaster>", &["postmaster"]),
        ] {
            let (plugin, ..) = made(line, &FILES);
            let recipient = parse_forward(path.as_bytes(), true).unwrap();
            let expected = expected.iter().map(|folder| Arc::from(*folder)).collect();
            assert_eq!(
                plugin.config_for(&recipient),
                Some(ConfigFor::new(expected)),
                "{line} {path}"
            );
        }
    }

    #[test]
    fn what_does_not_count_is_told() {
        let (_, _, problems) = made(
            "per_user_config",
            &[("a.example/rcpthosts", "x"), ("A.example/x", "x"), ("a.example/joe/me", "x")],
        );
        assert_eq!(
            problems,
            [
                "a.example/rcpthosts: warning: is the same for everybody: it is not looked for in \
                 folders of recipients",
                "a.example: warning: is \"a.example\" in another spelling: of a file that is in \
                 both, one is read",
                "a.example/joe/me: warning: is the same for everybody: it is not looked for in \
                 folders of recipients",
            ]
        );
    }
}
