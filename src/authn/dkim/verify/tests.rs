//! Whole messages: good ones, changed ones, and what an attacker would try. The signatures are made by
//! `sign`, which other programs judge elsewhere.

use super::*;
use crate::authn::crypto::PrivateKey;
use crate::authn::dkim::canon::Canon;
use crate::authn::dkim::sign::{NAME, Signer, sign};
use crate::authn::dkim::testing::{ED25519_PKCS8, ED25519_RECORD, RSA_PKCS8, RSA_RECORD, Zone};
use crate::mail::headers::Headers;

const NOW: u64 = 1_700_000_000;

const MAIL: &str = "From: Joe <joe@example.com>\r\nTo: b@example.net\r\nSubject: Is dinner  ready?\r\n\
    Date: Fri, 11 Jul 2003 21:00:37 -0700\r\n\r\nHi.\r\n\r\nWe lost the  game.\r\n\r\n";

const NAMES: [&str; 2] = ["rsa._domainkey.example.com", "ed._domainkey.example.com"];

fn zone() -> Zone {
    Zone::of(&[(NAMES[0], RSA_RECORD), (NAMES[1], ED25519_RECORD)])
}

fn signed(mail: &str, header_canon: Canon, body_canon: Canon) -> String {
    let headers = Headers::index(mail.as_bytes()).unwrap();
    let parts = Mail {
        header: &mail.as_bytes()[..headers.end()],
        headers: &headers,
        body: &mail.as_bytes()[headers.body()..],
        passed: &|_| (),
    };
    let keys = [RSA_PKCS8, ED25519_PKCS8].map(|pem| PrivateKey::from_pem(pem).unwrap());
    let signer = |(key, selector)| Signer {
        key,
        domain: "example.com",
        selector,
        header_canon,
        body_canon,
        time: NOW,
    };
    let signers: Vec<Signer<'_>> = keys.iter().zip(["rsa", "ed"]).map(signer).collect();
    let values = sign(&parts, &signers).expect("it signs");
    values.iter().map(|value| format!("{NAME}:{value}\r\n")).collect::<String>() + mail
}

fn check(mail: &str, zone: &Zone, now: u64) -> Verification {
    let headers = Headers::index(mail.as_bytes()).unwrap();
    let parts = Mail {
        header: &mail.as_bytes()[..headers.end()],
        headers: &headers,
        body: &mail.as_bytes()[headers.body()..],
        passed: &|_| (),
    };
    let Ok(found) = verify(&parts, Some("example.com"), now, &mut &*zone);
    found
}

fn outcomes(found: &Verification) -> Vec<(Outcome, Option<Reason>)> {
    found.signatures.iter().map(|it| (it.outcome, it.reason)).collect()
}

#[test]
fn both_algorithms_in_every_form_and_either_line_end() {
    for header in [Canon::Simple, Canon::Relaxed] {
        for body in [Canon::Simple, Canon::Relaxed] {
            let mail = signed(MAIL, header, body);
            let (head, text) = mail.split_once("\r\n\r\n").unwrap();
            for stored in [mail.clone(), format!("{head}\r\n\r\n{}", text.replace("\r\n", "\n"))] {
                let zone = zone();
                let found = check(&stored, &zone, NOW);
                assert_eq!(outcomes(&found), [(Outcome::Pass, None); 2], "{header:?} {body:?}");
                assert_eq!(zone.rounds.get(), 1, "all keys in one round");
                let first = &found.signatures[0];
                assert_eq!((&*first.domain, &*first.selector), ("example.com", "rsa"));
                assert_eq!((&*first.identity, first.uncovered), ("@example.com", 0));
                assert!(first.passes_for_all() && first.words() == "good signature");
            }
        }
    }
}

#[test]
fn what_may_change_and_what_may_not() {
    let relaxed = signed(MAIL, Canon::Relaxed, Canon::Relaxed);
    let simple = signed(MAIL, Canon::Simple, Canon::Simple);
    let pass = (Outcome::Pass, None);
    let header = (Outcome::Fail, Some(Reason::Header));
    let body = (Outcome::Fail, Some(Reason::Body));
    for (from, to, of_relaxed, of_simple) in [
        ("dinner  ready", "dinner\r\n\tready", pass, header),
        ("Subject: Is", "SUBJECT :  Is", pass, header),
        ("dinner", "supper", header, header),
        ("lost the  game", "lost the game", pass, body),
        ("lost the  game", "won the  game", body, body),
        ("Hi.\r\n", "Hi. \r\n", pass, body),
        ("game.\r\n\r\n", "game.\r\n\r\n\r\n\r\n", pass, pass),
        ("game.\r\n\r\n", "game.\r\nx\r\n", body, body),
        ("To: b@", "Received: by x\r\nTo: b@", pass, pass),
        // Over-signed fields cannot be added to, above or below.
        ("From: Joe", "From: Eve <eve@example.com>\r\nFrom: Joe", header, header),
        ("Date:", "Subject: other\r\nDate:", header, header),
        ("Date:", "Reply-To: eve@example.org\r\nDate:", header, header),
        ("Date:", "Content-Type: text/html\r\nDate:", header, header),
    ] {
        for (mail, expected) in [(&relaxed, of_relaxed), (&simple, of_simple)] {
            assert!(mail.contains(from), "{from}");
            let changed = mail.replacen(from, to, 1);
            let found = check(&changed, &zone(), NOW);
            assert_eq!(outcomes(&found), [expected; 2], "{from:?} -> {to:?}");
        }
    }
}

/// Changes to the signature's own field that a checker must see before, or through, its hash.
#[test]
fn times_lengths_and_keys() {
    let mail = signed(MAIL, Canon::Relaxed, Canon::Relaxed);
    let time = format!("t={NOW}");
    for (now, from, to, expected) in [
        (NOW, "a=rsa-sha256", "a=rsa-sha1", Reason::Sha1),
        (NOW, "a=rsa-sha256", "a=ed25519-sha256", Reason::KeyMismatch),
        (NOW + 9, &time, &format!("{time}; x={}", NOW + 8), Reason::Expired),
        (NOW - 7 * 86_400, "v=1", "v=1", Reason::Future),
        (NOW, "v=1", "v=1; l=1000", Reason::Header),
        (NOW, "s=rsa", "s=none", Reason::NoKey),
        (NOW, "s=rsa", "s=mute", Reason::KeyOutOfReach),
        (NOW, "s=rsa", "s=revoked", Reason::KeyRevoked),
        (NOW, "s=rsa", "s=strict; i=@mail.example.com", Reason::KeyStrict),
        (NOW, "s=rsa", "s=strict", Reason::Header),
        (NOW, "s=rsa", "s=noise", Reason::KeySyntax),
        (NOW, "d=example.com", "d=com", Reason::Bad("d")),
    ] {
        let mut zone = zone();
        for (selector, text) in [
            ("mute", "!"),
            ("revoked", "v=DKIM1; p="),
            ("strict", &RSA_RECORD.replace("k=rsa", "k=rsa; t=s")),
            ("noise", "google-site-verification=x"),
        ] {
            zone.texts.push((format!("{selector}._domainkey.example.com"), text.to_string()));
        }
        let changed = mail.replacen(from, to, 1);
        let first = &check(&changed, &zone, now).signatures[0];
        assert_eq!((first.reason, first.outcome), (Some(expected), expected.outcome()), "{to}");
    }
    // An hour fast is a clock, not a lie.
    assert_eq!(check(&mail, &zone(), NOW - 3_600).signatures[0].outcome, Outcome::Pass);
}

#[test]
fn several_records_under_a_selector_are_tried() {
    let mail = signed(MAIL, Canon::Relaxed, Canon::Relaxed);
    let wrong = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR\
        6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5Qj\
        vHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
    for (records, expected) in [
        (vec!["v=spf1 -all", ED25519_RECORD, wrong, RSA_RECORD], None),
        (vec![ED25519_RECORD], Some(Reason::KeyMismatch)),
        (vec![wrong, wrong, wrong, wrong, RSA_RECORD], Some(Reason::Header)),
        (vec!["v=DKIM1; t=y; p="], Some(Reason::KeyRevoked)),
    ] {
        let texts: Vec<(&str, &str)> = records.iter().map(|text| (NAMES[0], *text)).collect();
        let found = check(&mail, &Zone::of(&texts), NOW);
        assert_eq!(found.signatures[0].reason, expected, "{records:?}");
    }
    let testing = RSA_RECORD.replace("k=rsa", "t=y");
    let found = check(&mail.replacen("Hi.", "Ho.", 1), &Zone::of(&[(NAMES[0], &testing)]), NOW);
    assert!(found.signatures[0].testing);
    assert_eq!(found.signatures[0].words(), "body has been altered, testing");
}

/// The author's signatures come first, the others from the top; nobody pays for the rest.
#[test]
fn only_so_many_signatures() {
    let own = signed(MAIL, Canon::Relaxed, Canon::Relaxed);
    let foreign = |number: usize| {
        format!(
            "{NAME}: v=1; a=rsa-sha256; d=d{number}.example; s=s; h=from; \
             bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=; b=AAAA\r\n"
        )
    };
    let many = (0..900).map(foreign).collect::<String>() + &own;
    let mut zone = zone();
    let found = check(&many, &zone, NOW);
    assert_eq!((found.signatures.len(), found.left_out), (SIGNATURES_MAX, 892));
    let passing: Vec<usize> = (0..SIGNATURES_MAX)
        .filter(|number| found.signatures[*number].outcome == Outcome::Pass)
        .collect();
    assert_eq!(passing, [8, 9], "in the order of their fields");
    assert_eq!(found.best(Some("example.com")).map(|it| &*it.domain), Some("example.com"));
    zone.texts.clear();
    assert_eq!(check(&many, &zone, NOW).best(None).map(|it| &*it.domain), Some("d0.example"));
    assert_eq!(check(MAIL, &zone, NOW), Verification::default());
    assert_eq!(Verification::default().best(None), None);
}

/// A signature whose field is large, or full of tags, or names thousands of fields.
#[test]
fn hostile_fields() {
    let good = signed(MAIL, Canon::Relaxed, Canon::Relaxed);
    let huge = "A".repeat(900 * 1_024);
    for (field, expected) in [
        (format!("v=1; b={huge}"), Reason::Missing("a")),
        (format!("v=1; {}", "x=y;".repeat(200_000)), Reason::Syntax(TagErrorForTests::Repeated)),
        (huge.clone(), Reason::Syntax(TagErrorForTests::NoEquals)),
        (format!("v=1; d={huge}"), Reason::Missing("a")),
    ] {
        let mail = format!("{NAME}: {field}\r\n{good}");
        let found = check(&mail, &zone(), NOW);
        assert_eq!(found.signatures[0].reason, Some(expected));
        assert_eq!(outcomes(&found)[1..], [(Outcome::Pass, None); 2], "the others still count");
    }
}

use crate::authn::dkim::tags::TagError as TagErrorForTests;
