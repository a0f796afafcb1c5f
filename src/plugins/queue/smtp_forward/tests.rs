//! Whole mails through a session and on to a next server.

use super::*;
use crate::client::smtp::hop::{Act, Heard, Hop};
use crate::config::files::Files;
use crate::plugins::tests::trial::Trial;

const ALL: &[&str] = &["PIPELINING", "SIZE 100000", "8BITMIME", "SMTPUTF8"];

#[test]
fn arguments() {
    for (line, routes, complaints) in [
        ("queue/smtp-forward mail.example.net", "", 0),
        ("queue/smtp-forward 192.0.2.1 2525", "", 0),
        ("queue/smtp-forward [2001:db8::1] 2525 xclient", "", 0),
        ("queue/smtp-forward 2001:db8::1 xclient timeout 30", "", 0),
        ("queue/smtp-forward", "example.com:mail.example.net", 0),
        ("queue/smtp-forward xclient", ":mail.example.net", 0),
        ("queue/smtp-forward", "", 1),
        ("queue/smtp-forward mail/example", "", 1),
        ("queue/smtp-forward mail.example.net 0", "", 1),
        ("queue/smtp-forward mail.example.net smtp", "", 1),
        ("queue/smtp-forward mail.example.net 25 more", "", 1),
        ("queue/smtp-forward mail.example.net timeout 181", "", 1),
        ("queue/smtp-forward mail.example.net tls required", "", 0),
        ("queue/smtp-forward mail.example.net 587 tls=off xclient", "", 0),
        ("queue/smtp-forward mail.example.net tls perhaps", "", 1),
        ("queue/smtp-forward mail.example.net tls verify", "", 1),
        ("queue/smtp-forward mail.example.net tls verify ca /no/file", "", 1),
    ] {
        let files = Files::in_memory([("smtproutes".to_string(), routes.to_string())]);
        let mut problems = Vec::new();
        let mut args = Args::of(line);
        load(&mut args, &Setup::new(&files, &mut problems));
        assert_eq!(args.finish().len(), complaints, "{line}");
    }
}

fn say(text: &str) -> Option<Act> {
    Some(Act::Say(format!("{text}\r\n")))
}

/// A session whose mail goes to this server; `more` stands behind its port in the plugin's line.
fn session(hop: &Hop, more: &str) -> Trial {
    let port = hop.address().port();
    let plugins = format!("rcpt_ok\nqueue/smtp-forward 127.0.0.1 {port} {more}\n");
    let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com\nexample.net")];
    let mut trial = Trial::connect(&files, "192.0.2.1");
    trial.say("EHLO client.example");
    trial
}

/// A whole mail; the reply to its end, and what the plugin logged.
fn send(trial: &mut Trial, mail: &str, recipients: &[&str], text: &str) -> (String, String) {
    assert!(trial.say(mail).starts_with("250"), "{mail}");
    for recipient in recipients {
        let reply = trial.say(&format!("RCPT TO:<{recipient}>"));
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert!(trial.say("DATA").starts_with("354"));
    let reply = trial.say(&format!("{text}\r\n."));
    let log: Vec<String> =
        trial.take_log().into_iter().filter(|line| line.starts_with("queue::")).collect();
    (reply, log.join("\n"))
}

const TEXT: &str = "From: a@example.org\r\nMessage-ID: <1@example.org>\r\n\r\n..text";

#[test]
fn a_mail_goes_through() {
    let hop = Hop::start(ALL, |_, _| None);
    let mut trial = session(&hop, "");
    let recipients = ["b@example.com", "c@example.net"];
    for (sender, said) in [("<a@example.org>", "<a@example.org>"), ("<>", "<>")] {
        let mail = format!("MAIL FROM:{sender}");
        let (reply, log) = send(&mut trial, &mail, &recipients, TEXT);
        assert_eq!(reply, "250 2.0.0 queued as 4XYZ");
        let expected = "queue::smtp_2dforward: pass, 127.0.0.1 has it: 250 2.0.0 Ok: queued as 4XYZ, \
                        <1@example.org>";
        assert_eq!(log, expected);
        let heard = hop.heard();
        let lines = &heard[0].lines;
        assert_eq!(lines[0], "EHLO mx.example.net");
        assert!(lines.iter().any(|line| line.starts_with(&format!("MAIL FROM:{said} SIZE="))));
    }
    drop(trial);
    let [Heard { lines, texts }] = &hop.finish()[..] else { panic!("one connection") };
    assert_eq!(lines[2..4], ["RCPT TO:<b@example.com>", "RCPT TO:<c@example.net>"]);
    let text = String::from_utf8(texts[0].clone()).unwrap();
    assert!(text.ends_with("\r\nMessage-ID: <1@example.org>\r\n\r\n..text\r\n.\r\n"), "{text}");
    assert!(text.contains("\r\nReceived: from "), "{text}");
}

#[test]
fn the_servers_words_are_the_clients() {
    for (verb, said, reply, log) in [
        (
            ".",
            "250 ok",
            "250 2.0.0 queued as ok",
            "pass, 127.0.0.1 has it: 250 ok, <1@example.org>",
        ),
        (".", "250", "250 2.0.0 queued as it", "pass, 127.0.0.1 has it: 250 , <1@example.org>"),
        (
            ".",
            "554 5.7.1 spam",
            "554 5.7.1 Unable to queue message (5.7.1 spam) [7.1]",
            "fail, 127.0.0.1 says 554 5.7.1 spam",
        ),
        (
            ".",
            "552 5.2.2 box full",
            "552 5.2.2 Unable to queue message (5.2.2 box full) [7.1]",
            "fail, 127.0.0.1 says 552 5.2.2 box full",
        ),
        (
            "MAIL",
            "451 4.3.2 not now",
            "451 4.3.2 Unable to queue message (4.3.2 not now) [7.1]",
            "fail, 127.0.0.1 says 451 4.3.2 not now",
        ),
        (
            "RCPT TO:<c",
            "550 no such user",
            "554 5.1.1 Unable to queue message (<c@example.net>: no such user) [7.1]",
            "fail, 127.0.0.1 says 550 no such user of <c@example.net>",
        ),
        (
            "RCPT TO:<b",
            "452 4.2.2 quota",
            "452 4.2.2 Unable to queue message (<b@example.com>: 4.2.2 quota) [7.1]",
            "fail, 127.0.0.1 says 452 4.2.2 quota of <b@example.com>",
        ),
        (
            "EHLO",
            "421 4.3.2 down",
            "451 4.4.1 Unable to connect to 127.0.0.1: 421 4.3.2 down [7.1]",
            "fail, Unable to connect to 127.0.0.1: 421 4.3.2 down",
        ),
        (
            ".",
            "what?",
            "451 4.4.2 Unable to queue message (no answer from 127.0.0.1) [7.1]",
            "error, 127.0.0.1 did not answer to the end of the message (it does not answer as an SMTP \
             server): it may have it all the same, a possible duplicate, <1@example.org>",
        ),
    ] {
        let hop =
            Hop::start(ALL, move |_, line| line.starts_with(verb).then(|| say(said)).flatten());
        let mut trial = session(&hop, "");
        let recipients = ["b@example.com", "c@example.net"];
        let (seen, logged) = send(&mut trial, "MAIL FROM:<a@example.org>", &recipients, TEXT);
        assert_eq!(seen, reply, "{said}");
        assert_eq!(logged, format!("queue::smtp_2dforward: {log}"), "{said}");
        // The session goes on.
        assert!(trial.say("NOOP").starts_with("250"));
    }
}

const NO_UTF8: &str = "554 5.6.7 Unable to queue message (127.0.0.1 does not offer SMTPUTF8) [7.1]";

#[test]
fn what_the_server_must_be_able_to_take() {
    for (extensions, more, mail, recipient, text, reply) in [
        (
            &["SIZE 50"][..],
            "",
            "MAIL FROM:<a@example.org>",
            "b@example.com",
            TEXT,
            "552 5.3.4 Unable to queue message (larger than 50 octets) [7.1]",
        ),
        (&[], "", "MAIL FROM:<a@example.org> SMTPUTF8", "gr\u{fc}n@example.com", TEXT, NO_UTF8),
        (
            &[],
            "",
            "MAIL FROM:<a@example.org> SMTPUTF8",
            "b@example.com",
            "Subject: gr\u{fc}n\r\n",
            NO_UTF8,
        ),
        // Offered by the sender, but not needed.
        (
            &[],
            "",
            "MAIL FROM:<a@example.org> SMTPUTF8",
            "b@example.com",
            TEXT,
            "250 2.0.0 queued as 4XYZ",
        ),
        (
            &[],
            "",
            "MAIL FROM:<a@example.org> BODY=8BITMIME",
            "b@example.com",
            "Subject: x\r\n\r\n\u{fc}",
            "250 2.0.0 queued as 4XYZ",
        ),
        (
            &[],
            "xclient",
            "MAIL FROM:<a@example.org>",
            "b@example.com",
            TEXT,
            "451 4.3.5 Unable to queue message (Server does not advertise XCLIENT support) [7.1]",
        ),
        (
            &["XCLIENT NAME ADDR PORT PROTO HELO"],
            "xclient",
            "MAIL FROM:<>",
            "b@example.com",
            TEXT,
            "250 2.0.0 queued as 4XYZ",
        ),
    ] {
        let hop = Hop::start(extensions, |_, _| None);
        let mut trial = session(&hop, more);
        let (seen, _) = send(&mut trial, mail, &[recipient], text);
        assert_eq!(seen, reply, "{mail} {extensions:?}");
        drop(trial);
        let heard = hop.finish();
        if more == "xclient" && seen.starts_with("250") {
            let expected =
                "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=1 HELO=client.example PROTO=ESMTP";
            assert_eq!(heard[0].lines[1..3], [expected, "EHLO client.example"]);
        }
        assert_eq!(heard[0].texts.len(), usize::from(seen.starts_with("250")));
    }
}

#[test]
fn routes_lead_to_their_servers() {
    let (one, two) = (Hop::start(ALL, |_, _| None), Hop::start(ALL, |_, _| None));
    let [one_port, two_port] = [&one, &two].map(|hop| hop.address().port());
    let routes = format!(
        "example.com:127.0.0.1:{one_port}\nexample.org:[127.0.0.1]:{one_port}\n\
         .example.com:127.0.0.1:{two_port}\nlocal.example.com:\n"
    );
    let files = [
        ("plugins", "rcpt_ok\nqueue/smtp-forward\nqueue/discard\n"),
        ("rcpthosts", "example.com\n.example.com\nexample.org\nexample.net"),
        ("smtproutes", routes.as_str()),
    ];
    let mut trial = Trial::connect(&files, "192.0.2.1");
    trial.say("EHLO client.example");
    // Those of one server go together, others are put off.
    trial.say("MAIL FROM:<a@example.org>");
    for (recipient, expected) in [
        ("b@example.com", "250 2.1.5"),
        ("b@sub.example.com", "452 4.5.3 Too many recipients: this one needs a message of his own"),
        ("b@example.net", "452 4.5.3"),
        ("b@local.example.com", "452 4.5.3"),
        ("b@example.org", "250 2.1.5"),
        ("c@example.com", "250 2.1.5"),
    ] {
        let reply = trial.say(&format!("RCPT TO:<{recipient}>"));
        assert!(reply.starts_with(expected), "{recipient}: {reply}");
    }
    trial.say("DATA");
    assert_eq!(trial.say("Subject: x\r\n\r\n."), "250 2.0.0 queued as 4XYZ");
    let (reply, _) = send(&mut trial, "MAIL FROM:<>", &["b@sub.example.com"], TEXT);
    assert_eq!(reply, "250 2.0.0 queued as 4XYZ");
    // What has no route is the next plugin's.
    for recipients in [&["b@example.net", "c@local.example.com"][..], &["c@local.example.com"]] {
        let (reply, log) = send(&mut trial, "MAIL FROM:<>", recipients, TEXT);
        assert_eq!(reply, "250 2.0.0 Queued!");
        assert!(log.starts_with("queue::smtp_2dforward: skip, no route"), "{log}");
    }
    drop(trial);
    let (one, two) = (one.finish(), two.finish());
    assert_eq!((one[0].texts.len(), two[0].texts.len()), (1, 1));
    assert_eq!(one[0].lines.iter().filter(|line| line.starts_with("RCPT")).count(), 3);
}

#[test]
fn nobody_there() {
    let dead = Hop::start(&[], |_, _| None);
    let port = dead.address().port();
    dead.finish();
    for (host, words) in [
        (format!("127.0.0.1 {port}"), "127.0.0.1: Connection refused"),
        ("mail.example.net".into(), "mail.example.net: its address cannot be looked up now"),
    ] {
        let plugins = format!("rcpt_ok\nqueue/smtp-forward {host}\n");
        let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
        let mut trial = Trial::connect(&files, "192.0.2.1");
        trial.say("EHLO client.example");
        let (reply, log) = send(&mut trial, "MAIL FROM:<>", &["b@example.com"], TEXT);
        assert_eq!(reply, format!("451 4.4.1 Unable to connect to {words} [7.1]"));
        assert_eq!(log, format!("queue::smtp_2dforward: fail, Unable to connect to {words}"));
    }
}
