//! DMARC from the shell, with a name server on loopback.

use crate::daemon::dkim::{keygen, run, sign};
use crate::daemon::house::House;
use crate::daemon::nameserver::{Has, Names};
use std::fs;

fn message(from: &str) -> String {
    format!("{from}To: b@example.net\nSubject: Is dinner ready?\n\nHi.\n")
}

/// A zone with the policies of several domains, and the key of one.
fn zone(record: String) -> Names {
    let texts = |text: &str| Has::Texts(vec![text.to_string()]);
    Names::serve(
        0,
        &[
            ("example.com", texts("v=spf1 ip4:192.0.2.1 -all")),
            ("key._domainkey.example.com", Has::Texts(vec![record])),
            ("_dmarc.example.com", texts("v=DMARC1; p=reject")),
            ("_dmarc.some.example", texts("v=DMARC1; p=quarantine")),
            ("_dmarc.testing.example", texts("v=DMARC1; p=reject; t=y")),
            ("_dmarc.none.example", texts("v=DMARC1; p=none")),
            ("_dmarc.mute.example", Has::Fault),
        ],
    )
}

/// Exit code, disposition with its line end, and the results behind this machine's name.
fn check(path: &str, server: &str, ip: &str, sender: &str) -> (Option<i32>, String, String) {
    let args = ["check", "dmarc", path, "--resolver", server, "--ip", ip];
    let (code, said, errors) =
        run(&[&args[..], &["--helo", "h.example", "--mail-from", sender]].concat(), b"");
    let said = String::from_utf8(said).unwrap();
    let (value, disposition) = said.split_once('\n').expect(&errors);
    let (_, results) = value.split_once("; ").unwrap();
    (code, disposition.to_string(), results.to_string())
}

/// What would be written above a message, what is to be done with it, and the exit codes.
#[test]
fn a_message_is_judged_from_the_shell() {
    let house = House::new();
    let record = keygen(&house.path("key"), "key", &["--ed25519"]);
    let names = zone(record);
    let file = house.path("message");
    let path = file.to_str().unwrap();
    let address = names.address();
    let check = |ip: &str, sender: &str| check(path, &address, ip, sender);
    for (from, ip, sender, code, disposition, spf, dmarc) in [
        ("example.com", "192.0.2.1", "joe@example.com", 0, "pass", "pass", "pass (p=reject)"),
        (
            "example.com",
            "::ffff:192.0.2.1",
            "joe@example.com",
            0,
            "pass",
            "pass",
            "pass (p=reject)",
        ),
        ("example.com", "192.0.2.9", "joe@example.com", 1, "reject", "fail", "fail (p=reject)"),
        (
            "some.example",
            "192.0.2.1",
            "joe@example.com",
            1,
            "quarantine",
            "pass",
            "fail (p=quarantine)",
        ),
        (
            "testing.example",
            "192.0.2.1",
            "joe@example.com",
            1,
            "quarantine",
            "pass",
            "fail (p=reject)",
        ),
        ("none.example", "192.0.2.1", "joe@example.com", 0, "none", "pass", "fail (p=none)"),
        ("gone.example", "192.0.2.1", "joe@example.com", 0, "none", "pass", "none"),
        ("mute.example", "192.0.2.1", "joe@example.com", 75, "none", "pass", "temperror"),
    ] {
        fs::write(&file, message(&format!("From: Joe <joe@{from}>\n"))).unwrap();
        let results = format!(
            "auth=none; spf={spf} smtp.mailfrom=example.com; dkim=none; \
             dmarc={dmarc} header.from={from}"
        );
        let expected = (Some(code), format!("{disposition}\n"), results);
        assert_eq!(check(ip, sender), expected, "{from} {ip}");
    }
    fs::write(&file, message("")).unwrap();
    let (code, disposition, results) = check("192.0.2.9", "<>");
    assert_eq!((code, disposition.as_str()), (Some(1), "none\n"));
    assert_eq!(results, "auth=none; spf=none smtp.helo=h.example; dkim=none; dmarc=permerror");
    let signed = message("From: joe@example.com\n");
    let key = house.path("key/private");
    fs::write(&file, sign(&key, "example.com", "key", "relaxed", signed.as_bytes())).unwrap();
    let (code, disposition, results) = check("192.0.2.9", "u@other.example");
    assert_eq!((code, disposition.as_str()), (Some(0), "pass\n"), "{results}");
    let parts: Vec<&str> = results.split("; ").collect();
    let dkim = "dkim=pass header.i=@example.com header.d=example.com header.s=key \
        header.a=ed25519-sha256 header.b=";
    assert!(parts[2].starts_with(dkim), "{results}");
    assert_eq!(parts[3], "dmarc=pass (p=reject) header.from=example.com");
}

/// What is missing is said.
#[test]
fn used_wrongly() {
    let words = ["--ip", "192.0.2.1", "--helo", "h.example", "--mail-from", "u@a.example"];
    for (args, code, said) in [
        (&["check", "dmarc", "-"][..], 2, "check dmarc needs FILE, --ip IP"),
        (&[&["check", "dmarc"][..], &words].concat(), 2, "check dmarc needs FILE, --ip IP"),
        (&[&["check", "dmarc", "/no/such/file"][..], &words].concat(), 1, "/no/such/file: "),
    ] {
        let (found, _, errors) = run(args, b"");
        assert_eq!(found, Some(code), "{errors}");
        assert!(errors.contains(said), "{errors}");
    }
}
