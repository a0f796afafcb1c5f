//! Chains made here, hand by hand; those that others made are in the integration tests.

use super::*;
use crate::authn::crypto::{PrivateKey, sha256};
use crate::authn::dkim::canon::relaxed_field;
use crate::authn::dkim::testing::{ED25519_PKCS8, ED25519_RECORD, Zone};
use crate::mail::headers::Headers;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const NOW: u64 = 1_700_000_000;

const MAIL: &str = "From: Joe <joe@example.com>\r\nSubject: Is dinner  ready?\r\n\r\nHi.\r\n";

const KEY: &str = "ed._domainkey.";

fn zone() -> Zone {
    let names: Vec<String> = (1..=60).map(|number| format!("{KEY}h{number}.example")).collect();
    let records: Vec<(&str, &str)> = names.iter().map(|it| (&**it, ED25519_RECORD)).collect();
    Zone::of(&records)
}

fn parts(mail: &str, headers: &Headers, work: impl FnOnce(&Mail<'_>)) {
    work(&Mail {
        header: &mail.as_bytes()[..headers.end()],
        headers,
        body: &mail.as_bytes()[headers.body()..],
        passed: &|_| (),
    });
}

fn check(mail: &str, zone: &Zone) -> Chain {
    let headers = Headers::index(mail.as_bytes()).unwrap();
    let mut found = None;
    parts(mail, &headers, |parts| {
        let Ok(chain) = verify(parts, NOW, &mut &*zone);
        found = Some(chain);
    });
    found.unwrap()
}

/// `name:value` in the relaxed form, signed, with everything above it: the field with its `b=`.
fn signed(above: Vec<u8>, name: &str, value: &str) -> String {
    let mut data = above;
    relaxed_field(&mut data, name.as_bytes(), &[value.as_bytes()]);
    let key = PrivateKey::from_pem(ED25519_PKCS8).unwrap();
    let octets = key.sign(&sha256(&data)).unwrap();
    format!("{name}:{value}{}\r\n", STANDARD.encode(octets))
}

/// The next hand adds its set. `more` goes into its message signature, `seal` is the seal's own tags.
fn pass_on(mail: &str, number: usize, more: &str, seal: &str) -> String {
    let headers = Headers::index(mail.as_bytes()).unwrap();
    let fields = Fields::new(&mail.as_bytes()[..headers.end()], &headers);
    let mut hash = None;
    parts(mail, &headers, |parts| {
        let wanted = Wanted { canon: Canon::Relaxed, length: None };
        hash = hash_body(parts.body, &[wanted], parts.passed)[0];
    });
    let who = format!("i={number}; a=ed25519-sha256; d=h{number}.example; s=ed;");
    let body = STANDARD.encode(hash.unwrap().hash);
    let mut above = Vec::new();
    fields.write(&mut above, [&b"from"[..], b"subject"].into_iter(), Canon::Relaxed, None);
    let value = format!(" {who} c=relaxed/relaxed; h=from:subject; bh={body};{more} b=");
    let message = signed(above, "ARC-Message-Signature", &value);
    let results = format!("ARC-Authentication-Results: i={number}; mx; spf=pass\r\n");
    let mail = format!("{message}{results}{mail}");
    let headers = Headers::index(mail.as_bytes()).unwrap();
    let fields = Fields::new(&mail.as_bytes()[..headers.end()], &headers);
    let mut above = Vec::new();
    // Each hand's fields stand above those before, so this is their order from the first on.
    for of in 1..=number {
        for name in ["arc-authentication-results", "arc-message-signature", "arc-seal"] {
            let nth = fields.count(name).checked_sub(of);
            if let Some((_, field)) = nth.and_then(|nth| fields.all(name).nth(nth)) {
                write_field(&mut above, &field, Canon::Relaxed);
            }
        }
    }
    signed(above, "ARC-Seal", &format!(" {who} {seal} b=")) + &mail
}

fn chain(hands: usize) -> String {
    (1..=hands).fold(MAIL.to_string(), |mail, number| {
        let validity = if number == 1 { "cv=none;" } else { "cv=pass;" };
        pass_on(&mail, number, "", validity)
    })
}

#[test]
fn chains_that_pass() {
    assert_eq!(check(MAIL, &zone()), Chain::none());
    for hands in [1, 2, 3, INSTANCES_MAX] {
        let zone = zone();
        let found = check(&chain(hands), &zone);
        let sealers = (1..=hands).map(|number| format!("h{number}.example")).collect();
        let results = format!(" i={hands}; mx; spf=pass").into_bytes();
        let pass = Chain { status: Status::Pass, fault: None, sealers, uncovered: 0, results };
        assert_eq!(found, pass, "{hands}");
        assert_eq!(zone.rounds.get(), hands.min(2), "the newest key, then all others");
    }
    // What a hand changes breaks only the signatures before its own.
    let changed = chain(1).replace("Is dinner", "[list] Is dinner");
    assert_eq!(check(&changed, &zone()).fault, Some(Fault::Message(Reason::Header)));
    let found = check(&pass_on(&changed, 2, "", "cv=pass;"), &zone());
    assert_eq!((found.status, found.fault), (Status::Pass, None));
    // Tags that nobody knows (fh= is a draft's) change nothing.
    let found = check(&pass_on(MAIL, 1, " fh=from:to; zz=1;", "zz=1; cv=none; t=5;"), &zone());
    assert_eq!((found.status, found.fault), (Status::Pass, None));
    let part = pass_on(MAIL, 1, " l=5;", "cv=none;") + "Buy this.\r\n";
    let found = check(&part, &zone());
    assert_eq!((found.status, found.uncovered), (Status::Pass, 11));
}

#[test]
fn chains_that_fail() {
    let good = chain(2);
    let seals = |of: &str| {
        let mail = pass_on(MAIL, 1, "", "cv=none;");
        check(&pass_on(&mail, 2, "", of), &zone()).fault
    };
    for (tags, fault) in [
        ("cv=none;", Fault::Validity(2)),
        ("cv=PASS;", Fault::Validity(2)),
        ("cv=fail;", Fault::FoundBroken),
        ("", Fault::Seal(2, Reason::Missing("cv"))),
        ("cv=pass; h=from;", Fault::SealNames(2)),
        ("cv=pass; t=soon;", Fault::Seal(2, Reason::Bad("t"))),
    ] {
        assert_eq!(seals(tags), Some(fault), "{tags}");
    }
    let key = |reason| Fault::Message(reason);
    for (from, to, fault) in [
        ("Hi.", "Ho.", key(Reason::Body)),
        ("From: Joe", "From: Jim", key(Reason::Header)),
        ("spf=pass", "spf=fail", Fault::Seal(2, Reason::Header)),
        ("i=1; mx", "mx; i=1", Fault::Number),
        ("i=1; mx", "i=51; mx", Fault::Number),
        ("i=1; mx", "i=2; mx", Fault::Incomplete),
        ("i=1; mx", "i=3; mx", Fault::Incomplete),
        ("ARC-Seal: i=2", "X-Seal: i=2", Fault::Incomplete),
        ("ARC-Seal: i=2", "ARC-Seal: i=", Fault::Number),
        ("h=from:subject", "h=from:ARC-Seal", Fault::SealSigned),
        ("h=from:subject", "x=1; h=from:subject", key(Reason::Expired)),
        ("a=ed25519-sha256", "a=rsa-sha1", Fault::Seal(2, Reason::Sha1)),
    ] {
        assert!(good.contains(from), "{from}");
        let found = check(&good.replacen(from, to, 1), &zone());
        assert_eq!((found.status, found.fault), (Status::Fail, Some(fault)), "{from} -> {to}");
        assert!(found.sealers.is_empty());
    }
    let found = check(&chain(INSTANCES_MAX + 1), &zone());
    assert_eq!((found.status, found.fault), (Status::Fail, Some(Fault::TooMany)));
}

/// A name server that fails is not the chain's fault, but what is broken is broken.
#[test]
fn a_key_out_of_reach() {
    let mut zone = zone();
    zone.texts.retain(|(name, _)| !name.ends_with(".h1.example"));
    let unknown = Fault::Seal(1, Reason::NoKey);
    assert_eq!(check(&chain(2), &zone).fault, Some(unknown));
    zone.texts.push((format!("{KEY}h1.example"), "!".to_string()));
    let found = check(&chain(2), &zone);
    let out_of_reach = Fault::Seal(1, Reason::KeyOutOfReach);
    assert_eq!((found.status, found.fault), (Status::TempError, Some(out_of_reach)));
    assert_eq!(found.results, b" i=2; mx; spf=pass", "what may speak for it later");
    let found = check(&chain(2).replacen("From: Joe", "From: Jim", 1), &zone);
    assert_eq!((found.status, found.fault), (Status::Fail, Some(Fault::Message(Reason::Header))));
}

#[test]
fn numbers_of_results() {
    for (text, number) in [
        (" i=1; mx", Some(1)),
        ("\r\n\ti = 50 ;", Some(50)),
        (" (a (b) \\) c) i (x) = (y) 7 (z) ; mx", Some(7)),
        (" i=0; mx", None),
        (" i=51; mx", None),
        (" i=001; mx", None),
        (" i=; mx", None),
        (" i=1 mx", None),
        (" i=1", None),
        (" mx; i=1;", None),
        (" (i=1;", None),
        ("", None),
    ] {
        assert_eq!(number_of_results(text.as_bytes()), number, "{text:?}");
    }
}

/// A name that somebody only claims brings no questions about others.
#[test]
fn the_newest_seal_comes_first() {
    let headers = |mail: &str| Headers::index(mail.as_bytes()).unwrap();
    let claimed = |mail: &str| {
        let mut found = None;
        parts(mail, &headers(mail), |parts| found = claimed_sealer(parts));
        found
    };
    assert_eq!(claimed(MAIL), None);
    let mail = chain(3);
    assert_eq!(claimed(&mail).as_deref(), Some("h3.example"));
    assert_eq!(claimed(&mail.replacen("ARC-Seal", "X-Seal", 1)), None, "not a whole chain");
    let mut zone = zone();
    zone.texts.iter_mut().filter(|(name, _)| !name.contains(".h3.")).for_each(|(_, text)| {
        *text = "!".to_string();
    });
    let found = check(&mail.replacen("spf=pass", "spf=fail", 1), &zone);
    assert_eq!(found.fault, Some(Fault::Seal(3, Reason::Header)));
    assert_eq!((found.status, zone.rounds.get()), (Status::Fail, 1));
    assert!(found.results.is_empty());
}
