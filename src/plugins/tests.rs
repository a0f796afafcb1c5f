//! What holds for every plugin: the registry is in order, hooks are told truly, manuals are whole.

mod bodies;
mod scanners;
pub(super) mod trial;

pub(crate) mod testing;

use super::*;
use crate::config::files::Files;
use crate::config::mmdb::write::{Datum, write};
use crate::config::{Config, Defaults};
use crate::plugin::chain::{Observed, ask, tell};
use crate::plugin::cx::{Cx, Ground, Occasion, Peer};
use crate::plugin::facts::{Facts, MailFacts, Notes};
use crate::plugin::log::Id;
use crate::plugin::question::{Memo, Place};
use crate::plugin::{Denial, Hook, Loaded, Moment, Queued, Verdict};
use crate::smtp::address;
use crate::smtp::auth::{Credentials, Evidence, Mechanism, Password};
use crate::smtp::session::{Call, Hello, MailFrom, PathOf, Transaction};
use std::sync::Arc;

/// A line that loads the plugin, where it cannot do without arguments.
fn line_of(name: &str) -> String {
    match name {
        "ident/geoip" => "ident/geoip db_dir /geo".to_string(),
        "ident/p0f" => "ident/p0f /run/p0f.sock".to_string(),
        "milter" => "milter filter /run/milter".to_string(),
        "queue/lmtp" => "queue/lmtp /run/lmtp".to_string(),
        "auth/auth_checkpassword" => "auth/auth_checkpassword checkpw /bin/vchkpw".to_string(),
        "auth/auth_cvm_unix_local" => "auth/auth_cvm_unix_local cvm_socket /run/cvm".to_string(),
        "auth/auth_imap" => "auth/auth_imap localhost".to_string(),
        "auth/auth_ldap_bind" => "auth/auth_ldap_bind ldap_base dc=example".to_string(),
        "queue/maildir" => "queue/maildir /var/mail/all".to_string(),
        "queue/pipe" => "queue/pipe /bin/cat".to_string(),
        "queue/smtp-forward" => "queue/smtp-forward 127.0.0.1".to_string(),
        "rcpt_map" => "rcpt_map domain example.com file map".to_string(),
        _ => name.to_string(),
    }
}

fn loaded(entry: &Entry) -> Option<Arc<dyn Plugin>> {
    let Kind::Plugin(load) = entry.kind else { return None };
    let networks = [("192.0.2.0".parse().expect("an address"), 24, Datum::Truth(true))];
    let files = Files::in_memory_bytes([
        ("map".to_string(), b"b@example.com OK".to_vec()),
        ("/geo/GeoLite2-City.mmdb".to_string(), write(true, 24, &networks)),
    ]);
    let mut problems = Vec::new();
    let setup = Setup::new(&files, &mut problems);
    let mut args = Args::of(&line_of(entry.name));
    let plugin = load(&mut args, &setup);
    assert_eq!(args.finish(), Vec::<String>::new(), "{}", entry.name);
    drop(setup);
    // This one warns of itself.
    assert!(problems.is_empty() || entry.name == "dkim_sign", "{}: {problems:?}", entry.name);
    Some(plugin)
}

#[test]
fn the_registry_is_in_order_and_names_are_unique() {
    let mut names = Vec::new();
    for entry in REGISTRY {
        names.push(entry.name);
        names.extend(entry.aliases);
    }
    let sorted: Vec<_> = REGISTRY.iter().map(|entry| entry.name).collect();
    assert!(sorted.is_sorted(), "keep the registry in alphabetical order");
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands twice");
}

#[test]
fn every_plugin_has_a_whole_manual() {
    for entry in REGISTRY {
        if matches!(entry.kind, Kind::Gone(_)) {
            continue;
        }
        let manual = manual(entry).unwrap_or_else(|| panic!("{} has no header", entry.name));
        assert!(manual.lines().next().is_some_and(|line| line.len() > 10), "{}", entry.name);
    }
}

/// Calls a plugin at a hook it may or may not have; true if it is implemented.
fn implements(plugin: &Arc<dyn Plugin>, hook: Hook) -> bool {
    let files = Files::in_memory([]);
    let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
    let config = Config::load(&files, &defaults, &mut Vec::new());
    let sender = address::parse_reverse(b"<a@example.org>", false).expect("an address");
    let recipient = address::parse_forward(b"<b@example.com>", false).expect("an address");
    let mail = MailFrom { reverse_path: sender, size: None, eight_bit: false, utf8: false };
    let call = match hook {
        Hook::Helo => Call::Helo(Hello { esmtp: true, name: "c.example".into() }),
        Hook::Auth => Call::Auth(Credentials {
            mechanism: Mechanism::Plain,
            user: "a@b.example".into(),
            evidence: Evidence::Password(Password::new("secret")),
        }),
        Hook::Address => Call::Address(PathOf::Mail, b"a@b.example".as_slice().into()),
        Hook::Mail => Call::Mail(mail.clone()),
        Hook::Rcpt => Call::Rcpt(recipient),
        Hook::Data => Call::Data(None),
        Hook::Noop => Call::Noop,
        Hook::Vrfy => Call::Vrfy("x".into()),
        Hook::Help => Call::Help("".into()),
        Hook::Quit => Call::Quit,
        Hook::Unrecognized => Call::Unrecognized("FOO".into()),
        _ => Call::Message,
    };
    let envelope = Transaction::new(mail);
    let peer = Peer {
        ip: "192.0.2.1".parse().expect("an address"),
        port: 1,
        local: "127.0.0.1:25".parse().expect("an address"),
        name: None,
    };
    let (facts, mail_facts) = (Facts::default(), MailFacts::default());
    let (notes, prefetched) = (Notes::default(), Memo::default());
    let ground = Ground {
        id: Id(7),
        peer: &peer,
        config: &config,
        hello: None,
        envelope: Some(&envelope),
        facts: &facts,
        mail_facts: &mail_facts,
        notes: &notes,
        mail_notes: &notes,
        message: None,
        arrival: None,
        occasion: Occasion::Call(&call),
        connected: Moment::default(),
        prefetched: &prefetched,
    };
    let loaded = Loaded::plain("test", Arc::clone(plugin));
    let mut cx = Cx::new_for_tests(ground, &loaded, Place::Loop);
    let verdict = Verdict::deny((7, 1), "no");
    let observed = match hook {
        Hook::Queued => Observed::Queued(Queued { plugin: "queue::x", text: "Queued!" }),
        Hook::Authenticated => Observed::Authenticated,
        Hook::Denied => Observed::Denied(Denial { plugin: "x", verdict: &verdict }),
        Hook::Reset => Observed::Reset,
        Hook::Disconnect => Observed::Disconnect,
        Hook::Closed => Observed::Closed,
        _ => {
            return !matches!(
                ask(&**plugin, hook, &mut cx, ground.occasion),
                Ok(Verdict::Unhooked)
            );
        }
    };
    tell(&**plugin, &mut cx, observed);
    !cx.was_not_hooked()
}

#[test]
fn plugins_tell_the_truth_about_their_hooks() {
    for entry in REGISTRY {
        let Some(plugin) = loaded(entry) else { continue };
        for hook in Hook::ALL {
            assert_eq!(
                plugin.hooks().has(hook),
                implements(&plugin, hook),
                "{} declares or implements {hook:?}, but not both",
                entry.name
            );
        }
    }
}
