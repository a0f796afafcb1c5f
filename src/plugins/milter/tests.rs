//! Mail through the plugin while a milter says what a test wants.

use super::*;
use crate::client::milter::tests::{Fake, greeting, packet};
use crate::plugins::tests::trial::Trial;

const TAKEN: &str = "250 ";

/// What a mail came to: the reply, the plugin's lines, and the mail as delivered.
fn send(name: &str, place: &str, arguments: &str) -> (String, Vec<String>, Vec<String>) {
    let folder = std::env::temp_dir().join(format!("milter-{}-{name}-mail", std::process::id()));
    let _old = std::fs::remove_dir_all(&folder);
    let plugins =
        format!("milter filter {place} {arguments}\nrcpt_ok\nqueue/maildir {}\n", folder.display());
    let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
    let mut trial = Trial::connect(&files, "192.0.2.1");
    trial.say("EHLO client.example");
    trial.say("MAIL FROM:<a@example.org>");
    trial.say("RCPT TO:<b@example.com>");
    trial.say("DATA");
    let reply = trial.say("Subject: x\r\nX-A: 1\r\nX-A: 2\r\n\r\nbody\r\n.");
    let log = trial.take_log();
    let log = log.iter().filter_map(|line| line.strip_prefix("milter: ")).map(str::to_string);
    let mails = std::fs::read_dir(folder.join("new")).into_iter().flatten().flatten();
    let mails = mails.map(|it| std::fs::read_to_string(it.path()).unwrap()).collect();
    let _done = std::fs::remove_dir_all(&folder);
    (reply, log.collect(), mails)
}

const LATER: &str = "451 4.3.0 Unable to ask the filter milter";

/// A name, the command and what is said to it, arguments, the reply and the line.
type Row = (&'static str, u8, Vec<u8>, &'static str, &'static str, &'static str);

fn check(rows: Vec<Row>) {
    for (name, at, says, arguments, reply, log) in rows {
        let says = [(at, says), (b'O', greeting(6, 0xff, 0))];
        let fake = Fake::start(&format!("plugin-{name}"), &says, 0);
        let (said, lines, mails) = send(name, &fake.path.display().to_string(), arguments);
        assert!(said.starts_with(reply), "{name}: {said}");
        assert_eq!(lines, [log], "{name}");
        assert_eq!(mails.len(), usize::from(reply == TAKEN && name != "discard"), "{name}");
        // All changes, or none.
        assert!(mails.iter().all(|mail| !mail.contains("X-B")), "{name}: {mails:?}");
        fake.heard();
    }
}

#[test]
fn judgements() {
    let words = packet(b'y', b"550 5.7.9 no such luck\0");
    check(vec![
        ("pass", b'E', packet(b'c', &[]), "", TAKEN, "pass, at eom by filter, 0 changes"),
        ("accept", b'C', packet(b'a', &[]), "", TAKEN, "pass, at connect by filter, 0 changes"),
        (
            "words",
            b'E',
            words,
            "",
            "554 5.7.9 no such luck",
            "fail, at eom by filter: no such luck",
        ),
        (
            "reject",
            b'R',
            packet(b'r', &[]),
            "",
            "554 5.7.1 Rejected at rcpt by filter milter",
            "fail, at rcpt by filter",
        ),
        (
            "temp",
            b'M',
            packet(b't', &[]),
            "",
            "451 4.7.1 Rejected at mail by filter milter",
            "fail, at mail by filter, for now",
        ),
        ("discard", b'E', packet(b'd', &[]), "", TAKEN, "fail, discarded at eom by filter"),
    ]);
}

#[test]
fn faults_put_off_or_let_pass() {
    let bad_name = [packet(b'h', b"X-B\x003\0"), packet(b'h', b"X B\x003\0")].concat();
    let bad_name = [bad_name, packet(b'c', &[])].concat();
    let bad_path = [packet(b'h', b"X-B\x003\0"), packet(b'+', b"<a b>\0"), packet(b'c', &[])];
    let bad_path = bad_path.concat();
    check(vec![
        (
            "garbage",
            b'E',
            vec![0; 4],
            "",
            LATER,
            "error, filter: a packet of 0 octets is none of a milter, deferred",
        ),
        (
            "garbage-pass",
            b'E',
            vec![0; 4],
            "defer_on_error no",
            TAKEN,
            "error, filter: a packet of 0 octets is none of a milter, passed",
        ),
        (
            "hang",
            b'E',
            Vec::new(),
            "timeout 1",
            LATER,
            "error, filter: Connection timed out, deferred",
        ),
        (
            "bad-name",
            b'E',
            bad_name,
            "defer_on_error no",
            TAKEN,
            "error, filter: its changes cannot be made: BadName, passed",
        ),
        (
            "bad-path",
            b'E',
            bad_path,
            "defer_on_error no",
            TAKEN,
            "error, filter: it gives no address: <a b>, passed",
        ),
    ]);
    let (said, lines, _) = send("absent", "/nowhere/milter", "");
    assert!(said.starts_with(LATER), "{said}");
    assert_eq!(lines, ["error, filter: No such file or directory, deferred"]);
}

#[test]
fn changes_are_made() {
    let says = [
        packet(b'h', b"X-B\0 3\r\nX-Forged: y\0"),
        packet(b'i', b"\0\0\0\0X-Top\0 4\0"),
        packet(b'm', b"\0\0\0\x01X-A\0\0"),
        packet(b'm', b"\0\0\0\x01X-A\0 two\0"),
        packet(b'm', b"\0\0\0\x09X-New\0 5\0"),
        packet(b'b', b"other\nbody\r\n"),
        packet(b'q', b"odd\0"),
        packet(b'c', &[]),
    ]
    .concat();
    let fake = Fake::start("plugin-changes", &[(b'O', greeting(6, 0xff, 0)), (b'E', says)], 0);
    let (said, lines, mails) = send("changes", &fake.path.display().to_string(), "");
    assert!(said.starts_with(TAKEN), "{said}");
    assert_eq!(lines, ["pass, at eom by filter, 7 changes"]);
    let mail = &mails[0];
    let end = "Subject: x\nX-A: two\nX-B: 3??X-Forged: y\nX-New: 5\n\nother\nbody\n";
    assert!(mail.ends_with(end), "{mail}");
    assert!(mail.contains("X-Quarantine: odd\nX-Top: 4\n"), "{mail}");
    let heard = fake.heard();
    assert!(heard.contains(&(b'L', b"X-A\x002\0".to_vec())));
    assert!(heard.contains(&(b'B', b"body\r\n".to_vec())));
}

#[test]
fn arguments() {
    let server = |host, port| Some(At::Server(Server::named(host, port).unwrap()));
    for (word, expected) in [
        ("8891", server("127.0.0.1", 8_891)),
        ("localhost:8891", server("127.0.0.1", 8_891)),
        ("[2001:db8::1]:8891", server("2001:db8::1", 8_891)),
        ("inet:8891@milter.example", server("milter.example", 8_891)),
        ("/run/m", Some(At::Socket("/run/m".into()))),
        ("unix:/run/m", Some(At::Socket("/run/m".into()))),
        ("local:/run/m", Some(At::Socket("/run/m".into()))),
        ("unix:run/m", None),
        ("0", None),
        ("a/b:25", None),
        ("", None),
    ] {
        assert_eq!(place(word), expected, "{word}");
    }
    for (line, complaints) in [
        ("milter dkim 8891 timeout 30 defer_on_error no", 0),
        ("milter dkim", 1),
        ("milter", 1),
        ("milter dkim 8891 more", 1),
        ("milter dkim 8891 defer_on_error perhaps timeout 0", 2),
    ] {
        let mut args = Args::of(line);
        Milter::from_args(&mut args);
        assert_eq!(args.finish().len(), complaints, "{line}");
    }
}
