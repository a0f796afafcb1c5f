//! The text of what we write; other programs judge elsewhere whether it is a good signature.

use super::*;
use crate::authn::dkim::testing::{ED25519_PKCS8, RSA_PKCS1};
use crate::mail::headers::Headers;

fn signature(message: &str, pem: &str, domain: &str) -> String {
    let headers = Headers::index(message.as_bytes()).unwrap();
    let mail = Mail {
        header: &message.as_bytes()[..headers.end()],
        headers: &headers,
        body: &message.as_bytes()[headers.body()..],
        passed: &|_| (),
    };
    let key = PrivateKey::from_pem(pem).unwrap();
    let signer = Signer {
        key: &key,
        domain,
        selector: "s",
        header_canon: Canon::Relaxed,
        body_canon: Canon::Relaxed,
        time: 1_700_000_000,
    };
    sign(&mail, &[signer]).unwrap().remove(0)
}

#[test]
fn a_field_is_whole_folded_and_oversigned() {
    let message = "Received: by x\r\nFrom: a@example.com\r\nTo: b@example.net\r\nTo: c@example.net\r\n\
        Sender: d@example.com\r\nX-Own: y\r\n\r\nbody\r\n";
    for (pem, algorithm) in [(RSA_PKCS1, "rsa-sha256"), (ED25519_PKCS8, "ed25519-sha256")] {
        let value = signature(message, pem, "example.com");
        let start = format!(" v=1; a={algorithm}; c=relaxed/relaxed; d=example.com;");
        assert!(value.starts_with(&start), "{value}");
        let squeezed: String = value.split_whitespace().collect();
        let names = "h=from:from:to:to:to:cc:subject:date:reply-to:message-id:mime-version:\
            content-type:content-transfer-encoding:sender;bh=";
        assert!(squeezed.contains(names), "{squeezed}");
        assert!(squeezed.contains(";s=s;t=1700000000;h="), "{squeezed}");
        let lines: Vec<&str> = value.split("\r\n").collect();
        assert!(NAME.len() + 1 + lines[0].len() <= 78 && lines.iter().all(|it| it.len() <= 78));
        assert!(lines[1..].iter().all(|line| line.starts_with('\t')), "{value}");
    }
}

/// Names that are too long for a line, and more fields than one would think of.
#[test]
fn long_values() {
    let domain = format!("{}.example", ["a".repeat(60).as_str(); 3].join("."));
    let message = "From: a@example.com\r\n".repeat(200) + "\r\n";
    let value = signature(&message, ED25519_PKCS8, &domain);
    assert!(value.contains(&format!("\r\n\td={domain};")), "{value}");
    assert_eq!(value.matches("from").count(), 201);
    assert!(value.split("\r\n").all(|line| line.len() <= 200));
}
