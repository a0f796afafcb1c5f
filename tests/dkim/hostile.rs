//! Mail that is made to cost: what it may hold, and for how long it keeps a checker busy.

use super::{Zone, check};
use crate::parked::height;
use mailreeve::authn::crypto::PrivateKey;
use mailreeve::authn::dkim::canon::Canon;
use mailreeve::authn::dkim::sign::{NAME, Signer, sign};
use mailreeve::authn::dkim::{Mail, Outcome, SIGNATURES_MAX, Verification};
use mailreeve::authn::keygen;
use mailreeve::mail::stored::Stored;
use std::convert::Infallible;

const NOW: u64 = 1_700_000_000;

const HEADER: &str = "From: a@example.com\r\nTo: b@example.net\r\nSubject: x\r\n\r\n";

fn key() -> PrivateKey {
    let mut seed = |octets: &mut [u8]| {
        octets.fill(7);
        Ok::<(), Infallible>(())
    };
    let Ok(pem) = keygen::ed25519(&mut seed);
    PrivateKey::from_pem(&pem).unwrap()
}

fn zone(key: &PrivateKey) -> Zone {
    use base64::Engine;
    let public =
        base64::engine::general_purpose::STANDARD.encode(key.public().unwrap().for_record());
    let mut zone = Zone::default();
    for selector in ["simple", "relaxed"] {
        let name = format!("{selector}._domainkey.example.com");
        zone.add(&name, &format!("v=DKIM1; k=ed25519; p={public}"));
    }
    zone
}

/// The signatures of both forms on a message.
fn fields(message: &str, key: &PrivateKey) -> Vec<String> {
    let stored = Stored::read(message.as_bytes()).unwrap();
    let mail = Mail {
        header: &stored.header,
        headers: &stored.headers,
        body: stored.body,
        passed: &|_| (),
    };
    let signer = |(canon, selector)| Signer {
        key,
        domain: "example.com",
        selector,
        header_canon: canon,
        body_canon: canon,
        time: NOW,
    };
    let signers = [(Canon::Simple, "simple"), (Canon::Relaxed, "relaxed")].map(signer);
    let values = sign(&mail, &signers).unwrap();
    values.iter().map(|value| format!("{NAME}:{value}\r\n")).collect()
}

fn outcomes(found: &Verification) -> Vec<Outcome> {
    found.signatures.iter().map(|it| it.outcome).collect()
}

/// Neither checking nor signing holds more of a large body than of a small one, whatever it is made of.
#[test]
fn memory_does_not_grow_with_the_body() {
    let key = key();
    let zone = zone(&key);
    for line in
        ["plain text as most lines are\r\n", "two  blanks\tand tabs \r\n", "\r\n", "\n", "x"]
    {
        let measure = |octets: usize| {
            let message = format!("{HEADER}{}end", line.repeat(octets / line.len()));
            let (signing, fields) = height(|| fields(&message, &key));
            let signed = fields.concat() + &message;
            let (checking, found) = height(|| check(signed.as_bytes(), &zone, NOW));
            assert_eq!(outcomes(&found), [Outcome::Pass; 2], "{line:?}");
            (signing, checking)
        };
        let (small, large) = (measure(10_000), measure(1_024 * 1_024));
        assert_eq!(small, large, "octets held while signing and checking {line:?}");
    }
}

/// A header of the largest size that is taken, in the shapes that cost most.
#[test]
fn costly_headers_cost_little() {
    let key = key();
    let zone = zone(&key);
    let message = format!("{HEADER}body\r\n");
    let good = fields(&message, &key).concat();
    let room = 900 * 1_024;
    let names = |count: usize| (0..count).map(|number| format!(":x{number}")).collect::<String>();
    let rest = "bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=; b=AAAA";
    let of = |more: &str| {
        format!("{NAME}: v=1; a=rsa-sha256; d=example.com; s=simple; h=from{more}; {rest}\r\n")
    };
    for (what, front) in [
        ("1000 signatures", of("").repeat(990)),
        ("a wide field", format!("X-Wide:{}\r\n", " x".repeat(room / 2))),
        ("a b= of 900 KiB", of("").replace("AAAA\r\n", &format!("{}\r\n", "A".repeat(room)))),
        ("many tags", format!("{NAME}: {}\r\n", "a=b; ".repeat(room / 5))),
        ("many different tags", format!("{NAME}: {}\r\n", names(50_000).replace(':', "=;"))),
        ("a thousand names, ten times", of(&names(999)).repeat(10)),
        ("one name a thousand times", of(&":to".repeat(999)).repeat(10) + &"To: x\r\n".repeat(900)),
        ("names of nothing", of(&":".repeat(room))),
        ("a folded field", format!("X-Folded: x{}\r\n", "\r\n x".repeat(room / 4))),
        ("two authors", "From: ceo@bank.example\r\n".to_string()),
    ] {
        let signed = format!("{front}{good}{message}");
        assert!(signed.len() < 1_024 * 1_024, "{what}");
        let (held, found) = height(|| check(signed.as_bytes(), &zone, NOW));
        assert!(found.signatures.len() <= SIGNATURES_MAX, "{what}");
        assert!(held < 4 * 1_024 * 1_024, "{what}: {held} octets");
        let passes = outcomes(&found).iter().filter(|it| **it == Outcome::Pass).count();
        let expected = match what {
            // Those of the domain on top fill the number, and none of them is good.
            "1000 signatures" | "a thousand names, ten times" => 0,
            // A field that is named once more than it was there breaks what covers it.
            "two authors" | "one name a thousand times" => 0,
            _ => 2,
        };
        assert_eq!(passes, expected, "{what}: {:?}", outcomes(&found));
    }
}
