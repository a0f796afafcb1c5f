//! What is asked when, and what a result looks like. The dialogues show the rest.

use super::*;
use crate::authn::dkim::testing::ED25519_PKCS8;
use crate::authn::dkim::{Algorithm, Reason};
use crate::config::files::Files;

#[test]
fn arguments() {
    for (line, warnings, complaints) in [
        ("dkim", 0, 0),
        ("dkim reject 0", 0, 0),
        ("dkim reject 1 reject_type perm", 1, 0),
        ("dkim reject naughty", 1, 0),
        ("dkim reject maybe", 0, 1),
        ("dkim strict", 0, 1),
    ] {
        let files = Files::in_memory([]);
        let mut problems = Vec::new();
        let mut args = Args::of(line);
        let setup = Setup::new(&files, &mut problems);
        load(&mut args, &setup);
        drop(setup);
        assert_eq!((problems.len(), args.finish().len()), (warnings, complaints), "{line}");
    }
}

/// A folder that appears is seen by the next snapshot, one that stays is not read anew.
#[test]
fn keys_are_read_with_the_snapshot() {
    use crate::config::Defaults;
    use crate::plugin::site::Site;
    use crate::plugins::load::{Strictness, load};
    let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
    let site = |folders: &[&str], earlier: Option<&Site>| {
        let mut files = vec![("plugins".to_string(), "dkim\nrcpt_ok\nqueue/discard".to_string())];
        for folder in folders {
            files.push((format!("dkim/{folder}/private"), ED25519_PKCS8.to_string()));
        }
        load(&Files::in_memory(files), &defaults, earlier, Strictness::Reload).0
    };
    let first = site(&["default"], None);
    let same = site(&["default"], Some(&first));
    let more = site(&["default", "example.com"], Some(&first));
    let plugin = |site: &Site| Arc::clone(&site.base.plugins()[0].plugin);
    assert!(Arc::ptr_eq(&plugin(&first), &plugin(&same)));
    assert!(!Arc::ptr_eq(&plugin(&first), &plugin(&more)));
}

#[test]
fn results() {
    let good = Verified {
        outcome: Outcome::Pass,
        reason: None,
        domain: "example.com".to_string(),
        selector: "s1".to_string(),
        identity: "a b@example.com".to_string(),
        algorithm: Some(Algorithm::Ed25519Sha256),
        start_of_b: "ab+/cd==".to_string(),
        uncovered: 0,
        testing: false,
    };
    let bad = Verified {
        outcome: Outcome::PermError,
        reason: Some(Reason::Bad("d")),
        domain: String::new(),
        selector: String::new(),
        identity: String::new(),
        algorithm: None,
        start_of_b: String::new(),
        ..good.clone()
    };
    let partly = Verified { uncovered: 7, identity: "@example.com".to_string(), ..good.clone() };
    for (signature, expected) in [
        (
            &good,
            "dkim=pass header.i=\"a b@example.com\" header.d=example.com header.s=s1 \
             header.a=ed25519-sha256 header.b=\"ab+/cd==\"",
        ),
        (&bad, "dkim=permerror (malformed tag d)"),
        (
            &partly,
            "dkim=pass (good signature, but not on the last 7 octets) header.i=@example.com \
             header.d=example.com header.s=s1 header.a=ed25519-sha256 header.b=\"ab+/cd==\"",
        ),
    ] {
        assert_eq!(auth_result(signature), expected);
    }
}
