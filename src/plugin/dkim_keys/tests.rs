//! Folders, links and switches, from files in memory.

use super::*;
use crate::authn::dkim::testing::{ED25519_PKCS8, RSA_PKCS1, RSA_PKCS8, RSA_PUBLIC};
use crate::config::files::Files;

const ME: &str = "mx.example.net";

fn keys(files: &[(&str, &str)]) -> (DkimKeys, Vec<String>) {
    let owned = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    let files = Files::in_memory(owned);
    let mut problems = Vec::new();
    let keys = DkimKeys::read(&Setup::new(&files, &mut problems));
    (keys, problems.iter().map(ToString::to_string).collect())
}

fn shown(choice: &Choice<'_>) -> String {
    match choice {
        Choice::Sign { domain, folder, keys } => {
            let selectors: Vec<&str> = keys.iter().map(|key| key.selector.as_str()).collect();
            format!("{domain} by {folder} ({})", selectors.join(" "))
        }
        Choice::NotHosted => "not hosted".to_string(),
        Choice::Disabled(domain) => format!("{domain} is off"),
        Choice::NoKey(domain) => format!("{domain} has no key"),
        Choice::Broken { folder, why } => format!("{folder}: {why}"),
    }
}

/// Who signs for whom: the author before the sender, the nearest folder, never a domain of others.
#[test]
fn domains_and_folders() {
    let (keys, problems) = keys(&[
        ("rcpthosts", "example.com\nmail.example.org\n.wild.example\nmute.example"),
        ("dkim/default/private", RSA_PKCS1),
        ("dkim/Example.ORG/private", RSA_PKCS8),
        ("dkim/Example.ORG/selector", "# ours\n 2026.a \n"),
        ("dkim/Example.ORG/public", RSA_PUBLIC),
        ("dkim/Example.ORG/ed25519/private", ED25519_PKCS8),
        ("dkim/mute.example/selector", "x"),
        ("dkim/b\u{fc}cher.example/private", ED25519_PKCS8),
    ]);
    assert_eq!(
        problems,
        ["dkim/mute.example: warning: its mail goes out unsigned: there is no file private"]
    );
    for (author, sender, expected) in [
        (Some("example.com"), Some("example.org"), "example.com by default (default)"),
        (Some("example.org"), None, "example.org by example.org (2026.a ed25519)"),
        (Some("mail.example.org"), None, "mail.example.org by example.org (2026.a ed25519)"),
        (Some("gmail.com"), Some("example.com"), "example.com by default (default)"),
        (None, Some("example.com"), "example.com by default (default)"),
        (Some("gmail.com"), Some("gmail.com"), "not hosted"),
        (Some("gmail.com"), None, "not hosted"),
        (None, None, "not hosted"),
        (Some(""), Some(""), "not hosted"),
        (Some("default"), None, "not hosted"),
        (Some("other.example.org"), None, "not hosted"),
        (Some("a.wild.example"), None, "a.wild.example by default (default)"),
        (Some("mx.example.net"), None, "mx.example.net by default (default)"),
        (Some("mute.example"), None, "mute.example: there is no file private"),
        (
            Some("xn--bcher-kva.example"),
            None,
            "xn--bcher-kva.example by xn--bcher-kva.example (default)",
        ),
    ] {
        assert_eq!(shown(&keys.choose(ME, author, sender)), expected, "{author:?} {sender:?}");
    }
}

#[test]
fn switches() {
    let folders = [("rcpthosts", "a.example\nb.example"), ("dkim/default/private", ED25519_PKCS8)];
    for (switch, of_a, of_b) in [
        ("", true, true),
        ("enabled", true, true),
        ("disabled", false, false),
        ("A.example disabled", false, true),
        ("disabled\na.example enabled", true, false),
        ("a.example disabled\nenabled", false, true),
    ] {
        let mut files = folders.to_vec();
        files.push(("dkim_signing", switch));
        let (keys, problems) = keys(&files);
        assert!(problems.is_empty(), "{problems:?}");
        let signs = |domain| matches!(keys.choose(ME, Some(domain), None), Choice::Sign { .. });
        assert_eq!((signs("a.example"), signs("b.example")), (of_a, of_b), "{switch}");
        assert_eq!(keys.is_enabled("a.example"), of_a);
    }
    for line in ["on", "a.example", "a.example on", "enabled disabled", "a b enabled"] {
        let (_, problems) = keys(&[("dkim_signing", line)]);
        assert_eq!(problems.len(), 1, "{line}: {problems:?}");
        assert!(problems[0].starts_with("dkim_signing:1: write enabled"), "{problems:?}");
    }
    let (_, problems) = keys(&[("dkim_signing", "enabled\na.example enabled\nb.example disabled")]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("dkim_signing: warning: signing is enabled, but"));
    assert!(problems[1].starts_with("dkim_signing: warning: a.example is enabled, but"));
    let (keys, _) = keys(&[("rcpthosts", "a.example")]);
    assert_eq!(shown(&keys.choose(ME, Some("a.example"), None)), "a.example has no key");
}

/// What is wrong with a key is a warning that says so; nothing of the key is in it.
#[test]
fn broken_folders_are_told() {
    for (file, text, expected) in [
        (
            "a.example/private",
            "rubbish",
            "a.example: warning: its mail goes out unsigned: private holds no key",
        ),
        (
            "a.example/private",
            RSA_PUBLIC,
            "a.example: warning: its mail goes out unsigned: private holds a",
        ),
        (
            "a.example/selector",
            "two words",
            "a.example: warning: its mail goes out unsigned: \"two words\" is no",
        ),
        ("a.example/public", RSA_PUBLIC, "a.example/public: warning: is not the public half"),
        ("a.example/public", "x", "a.example/public: warning: is no public key"),
        (
            "a.example/ed25519/private",
            "x",
            "a.example/ed25519: warning: left out: private holds no",
        ),
        (
            "a.example/ed25519/selector",
            "default",
            "a.example/ed25519: warning: its selector is that",
        ),
        ("a b/private", "x", "a b: warning: is no domain"),
    ] {
        let mut files = vec![
            ("dkim/a.example/private".to_string(), ED25519_PKCS8),
            ("dkim/a.example/ed25519/private".to_string(), ED25519_PKCS8),
        ];
        files.retain(|(name, _)| *name != format!("dkim/{file}"));
        files.push((format!("dkim/{file}"), text));
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, *text)).collect();
        let (_, problems) = keys(&files);
        assert_eq!(problems.len(), 1, "{file}: {problems:?}");
        assert!(problems[0].starts_with(&format!("dkim/{expected}")), "{problems:?}");
    }
}
