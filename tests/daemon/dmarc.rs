//! DMARC from the shell, with a name server on loopback.

use crate::corpus;
use crate::daemon::client::stuffed;
use crate::daemon::dkim::{keygen, run, sign};
use crate::daemon::house::{Daemon, House};
use crate::daemon::nameserver::{Has, Names};
use crate::daemon::system::{skip, succeeds};
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

/// Sealed with the key of RFC 8463 by h1.example, which says that DMARC passed there.
const SEALED: &str = "\
ARC-Seal: i=1; a=ed25519-sha256; d=h1.example; s=ed; cv=none; \
    b=PW8oU2Obpj2Du8MolM7ls/F0JNVshdkkYJYbFqfFCQ6ptOzYfySpFQfrxwFaUUekzWX/PI1r7OOSYfyui9xyDg==\n\
ARC-Message-Signature: i=1; a=ed25519-sha256; d=h1.example; s=ed; \
    c=relaxed/relaxed; h=from:subject; \
    bh=UrA8rmgY3eNBotmDWtzAmHyn5RyZv8Gea45sNGsP0zw=; \
    b=NNqNXohXuvovw71OcnKMlsCquHlgK1cZkaffeJLTJrzESxJpxjFSy4Vwv8iIOHwJo7MHG74QfLLnjdkYDh6qBg==\n\
ARC-Authentication-Results: i=1; h1.example; dmarc=pass (p=reject) \
    header.from=bank.example\n\
From: Joe <joe@bank.example>\n\
Subject: Is dinner  ready?\n\
\n\
Hi.\n";

/// What a forwarder has passed on is let through, as the daemon would; a key out of reach is no refusal.
#[test]
fn forwarders_count_from_the_shell() {
    let house = House::new();
    let file = house.path("message");
    fs::write(&file, SEALED).unwrap();
    let config = house.path("config");
    let (config, path) = (config.to_str().unwrap(), file.to_str().unwrap());
    let texts = |text: &str| Has::Texts(vec![text.to_string()]);
    let policy = || ("_dmarc.bank.example", texts("v=DMARC1; p=reject"));
    let key = || texts("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    let (fails, revoked) = ((1, "reject", "dmarc=fail (p=reject)"), texts("v=DKIM1; p="));
    let by_address = "dmarc=fail (p=reject, let through: mailing_list by its address)";
    let sealed = "arc=pass (sealed by h1.example); \
        dmarc=fail (p=reject, let through: trusted_forwarder sealed by h1.example)";
    let broken = "arc=fail (message signature: public key: revoked); dmarc=fail (p=reject)";
    let mute = "arc=temperror (message signature: public key: DNS failure); dmarc=fail (p=reject)";
    for (forwarders, sealers, key, (code, disposition, said)) in [
        ("", "", key(), fails),
        ("192.0.2.0/24 mailing_list", "h1.example", key(), (0, "none", by_address)),
        ("192.0.2.1", "", key(), fails),
        ("h1.example", "", key(), fails),
        ("", "h1.example", key(), (0, "none", sealed)),
        ("", "h2.example", key(), fails),
        ("", "h1.example", revoked, (1, "reject", broken)),
        ("", "h1.example", Has::Fault, (75, "none", mute)),
    ] {
        house.set("dmarc_trusted", forwarders);
        house.set("arc_trusted", sealers);
        let names = Names::serve(0, &[policy(), ("ed._domainkey.h1.example", key)]);
        let args = ["check", "dmarc", path, "--config", config, "--resolver", &names.address()];
        let more = ["--ip", "192.0.2.9", "--helo", "h.example", "--mail-from", "u@list.example"];
        let (found, output, errors) = run(&[&args[..], &more].concat(), b"");
        assert_eq!(errors, "");
        let expected = format!(
            "mx.example.net; auth=none; spf=none smtp.mailfrom=list.example; dkim=none; {said} \
             header.from=bank.example\n{disposition}\n"
        );
        let output = String::from_utf8(output).unwrap();
        assert_eq!((found, output.as_str()), (Some(code), expected.as_str()), "{sealers}");
    }
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

const CHAIN: &str = "sender_permitted_from\ndkim\ndmarc reject 1\nrcpt_ok\nqueue/discard";

/// A daemon that judges, with a zone in which loopback may send for one domain.
fn judging(house: &House, chain: &str) -> (Daemon, Names) {
    let texts = |text: &str| Has::Texts(vec![text.to_string()]);
    let names = Names::serve(
        0,
        &[
            ("good.example", texts("v=spf1 ip4:127.0.0.1 -all")),
            ("_dmarc.good.example", texts("v=DMARC1; p=reject; rua=mailto:r@good.example")),
            ("_dmarc.testing.example", texts("v=DMARC1; p=quarantine; t=y")),
        ],
    );
    house.set("resolvers", &names.address());
    house.set("plugins", chain);
    (house.start(), names)
}

/// The first digit of what a mail is answered.
fn send(daemon: &Daemon, sender: &str, recipients: &[&str], message: &str) -> String {
    let mut client = daemon.client();
    client.expect(&format!("MAIL FROM:<{sender}>"), "250");
    for recipient in recipients {
        client.expect(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.expect("DATA", "354");
    client.send(stuffed(message.replace('\n', "\r\n").as_bytes()));
    let reply = client.reply();
    client.expect("QUIT", "221");
    reply.chars().take(1).collect()
}

/// Everything that was recorded, a line for a message.
fn recorded(house: &House) -> Vec<String> {
    let file = house.path("state/dmarc/reports.sqlite");
    if !file.exists() {
        return Vec::new();
    }
    let connection = rusqlite::Connection::open(file).unwrap();
    let query = "SELECT org_name || ' ' || p.domain || ' ' || f.domain || ' '
        || ifnull(s.domain, '<>') || ' ' || ifnull(t.domain, '-') || ' ' || hex(source_ip) || ' '
        || disposition || ' ' || record.dkim || ' ' || record.spf || ' ' || ifnull(count, 'ours')
        || ' ' || ifnull(new.reason, '-') || ' ' || of.result
        FROM report_record AS record JOIN report ON report.id = report_id
        JOIN author ON author.id = author_id JOIN domain AS p ON p.id = from_domain_id
        JOIN domain AS f ON f.id = header_from_did
        LEFT JOIN domain AS s ON s.id = envelope_from_did
        LEFT JOIN domain AS t ON t.id = envelope_to_did
        JOIN mailreeve_record AS new ON new.report_record_id = record.id
        JOIN report_record_spf AS of ON of.report_record_id = record.id ORDER BY record.id";
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Mail that a policy has judged is in the database, refused or not, once the daemon has ended; mail
/// without a policy and reports of others are not.
#[test]
fn judged_mail_is_recorded() {
    let house = House::new();
    house.set("rcpthosts", "example.com\nexample.net");
    let (daemon, _names) = judging(&house, CHAIN);
    let from = |domain: &str| message(&format!("From: joe@{domain}\n"));
    let (one, two) = (&["b@example.com"][..], &["b@example.com", "c@example.net"][..]);
    let report = from("good.example").replace(
        "Subject: Is dinner ready?",
        "Subject: Report Domain: example.com\n Submitter: good.example Report-ID: <1>",
    );
    let note = from("good.example").replace(
        "Subject:",
        "Content-Type: Multipart/Report; report-type=delivery-status; boundary=x\nSubject:",
    );
    for (sender, recipients, message, reply) in [
        ("joe@good.example", one, from("good.example"), "2"),
        ("joe@other.example", two, from("sub.good.example"), "5"),
        ("", one, from("testing.example"), "2"),
        ("joe@good.example", one, from("none.example"), "2"),
        ("joe@good.example", one, report, "2"),
        ("", one, note, "5"),
    ] {
        assert_eq!(send(&daemon, sender, recipients, &message), reply, "{sender} {message}");
    }
    daemon.stop();
    let us = "mx.example.net";
    let expected = [
        format!(
            "{us} good.example good.example good.example example.com 7F000001 none fail pass ours - pass"
        ),
        format!(
            "{us} good.example sub.good.example other.example - 7F000001 reject fail fail ours - none"
        ),
        format!(
            "{us} testing.example testing.example <> example.com 7F000001 none fail fail ours \
             policy_test_mode none"
        ),
    ];
    assert_eq!(recorded(&house), expected);
    reports_are_valid(&house);
}

/// What would be reported says what was recorded, and is what RFC 9990 wants it to be.
fn reports_are_valid(house: &House) {
    let config = house.path("config");
    let file = house.path("state/dmarc/reports.sqlite");
    let day = rusqlite::Connection::open(file)
        .unwrap()
        .query_row("SELECT date(begin, 'unixepoch') FROM report", [], |row| row.get::<_, String>(0))
        .unwrap();
    let args = ["dmarc", "report", "--dry-run", "--config", config.to_str().unwrap()];
    let (code, said, errors) = run(&[&args[..], &["--day", &day]].concat(), b"");
    assert_eq!(code, Some(0), "{errors}");
    let said = String::from_utf8(said).unwrap();
    let reports: Vec<&str> = said.split_inclusive("</feedback>\n").collect();
    assert_eq!(reports.len(), 2, "{said}");
    let (code, shown, _) = run(&["dmarc", "show", "-"], reports[0].as_bytes());
    let shown = String::from_utf8(shown).unwrap();
    let lines: Vec<String> = shown
        .lines()
        .skip(3)
        .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "127.0.0.1 1 pass fail pass good.example spf good.example pass",
        "127.0.0.1 1 reject fail fail sub.good.example spf other.example none",
        "",
    ];
    assert_eq!((code, lines), (Some(0), expected.map(str::to_string).into()));
    assert!(reports[1].contains("<type>policy_test_mode</type>"), "{}", reports[1]);
    assert!(reports[1].contains("<testing>y</testing>"), "{}", reports[1]);
    let Some(schema) = corpus::octets("dmarc-reports/xsd/dmarc-2.0.xsd") else { return };
    if !succeeds("xmllint", &["--version"]) {
        return skip("dmarc::reports_are_valid", "xmllint is not installed");
    }
    let (xsd, xml) = (house.path("dmarc.xsd"), house.path("report.xml"));
    fs::write(&xsd, schema).unwrap();
    for report in reports {
        fs::write(&xml, report).unwrap();
        let args = ["--noout", "--schema", xsd.to_str().unwrap(), xml.to_str().unwrap()];
        assert!(succeeds("xmllint", &args), "{report}");
    }
}

#[test]
fn recording_can_be_switched_off() {
    let house = House::new();
    let (daemon, _names) = judging(&house, &CHAIN.replace("reject 1", "reporting 0"));
    let message = message("From: joe@good.example\n");
    assert_eq!(send(&daemon, "joe@good.example", &["b@example.com"], &message), "2");
    daemon.stop();
    assert!(!house.path("state/dmarc").exists());
}

/// The mail goes on where nothing can be recorded, and the log says so.
#[test]
fn a_database_that_cannot_be_made_stops_no_mail() {
    let house = House::new();
    fs::write(house.path("state/dmarc"), "").unwrap();
    let (daemon, _names) = judging(&house, CHAIN);
    let message = message("From: joe@good.example\n");
    for _ in 0..3 {
        assert_eq!(send(&daemon, "joe@good.example", &["b@example.com"], &message), "2");
    }
    daemon.log.line("store: no record for DMARC reports: ");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.log.line("store: 3 messages and more are in no DMARC report");
}

/// Reports of many senders can be read, but for those that are broken, or reports of another kind.
#[test]
fn reports_of_others_are_shown() {
    let Some(files) = corpus::files("dmarc-reports") else { return };
    let is_input = |name: &String| {
        let ends = [".xml", ".gz", ".zip", ".eml"];
        ends.iter().any(|end| name.ends_with(end)) && !name.starts_with("xsd/")
    };
    let (mut shown, mut refused) = (0, Vec::new());
    for (name, octets) in files.iter().filter(|(name, _)| is_input(name)) {
        let (code, said, errors) = run(&["dmarc", "show", "-"], octets);
        match code {
            Some(0) => {
                assert!(said.windows(7).any(|part| part == b" about "), "{name}");
                shown += 1;
            }
            Some(1) if errors.starts_with("mailreeve dmarc: -: ") => refused.push(name.clone()),
            other => panic!("{name}: {other:?} {errors}"),
        }
    }
    // No end tag, no start tag, an element of a schema that is never closed, nothing at all.
    let broken = ["bad.com!", "ikea.com!", "invalid_xml.xml", "empty.xml"];
    let is_expected = |name: &&String| {
        let of_failures = name.starts_with("mail-auth-arf/") || name.contains("/failure/");
        !of_failures && !broken.iter().any(|part| name.contains(part))
    };
    let unexpected: Vec<&String> = refused.iter().filter(is_expected).collect();
    assert!(unexpected.is_empty() && shown >= 30, "{shown} {unexpected:?}");
    let (code, _, errors) = run(&["dmarc", "show"], b"");
    assert!(code == Some(2) && errors.contains("show FILE"), "{errors}");
}
