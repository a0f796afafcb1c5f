//! Messages that reach a next server whole, or nobody, whatever the server does.

use super::*;
use crate::client::smtp::hop::{Act, Heard, Hop};
use std::time::Duration;

const ALL: &[&str] = &["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8"];

fn say(text: &str) -> Option<Act> {
    Some(Act::Say(format!("{text}\r\n")))
}

fn leave(text: &str) -> Option<Act> {
    Some(Act::Leave(format!("{text}\r\n")))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn hand(hop: &Hop, pool: &Pool, mail: &Mail<'_>, deadline: Deadline) -> Outcome {
    let servers = [hop.address()];
    let me = "mx.example.net";
    let next = NextHop { servers: &servers, me, client: None, secure: None };
    forward(pool, &next, mail, deadline).0
}

fn to(recipients: &[&str]) -> Vec<String> {
    recipients.iter().map(|it| format!("<{it}@example.com>")).collect()
}

fn mail<'a>(recipients: &'a [String], parts: &'a [&'a [u8]]) -> Mail<'a> {
    Mail { sender: "<a@example.org>", recipients, utf8: false, eight_bit: false, parts }
}

const PARTS: &[&[u8]] = &[b"Subject: x\r\n", b"\r\n", b"text\r\n.\r\n..\r\nend\r\n"];

/// Outcome in words.
fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Taken(reply) => format!("taken {}", reply.text()),
        Outcome::Refused(reply) => format!("refused {} {}", reply.code, reply.text()),
        Outcome::RecipientRefused(at, reply) => format!("{at} {} {}", reply.code, reply.text()),
        Outcome::Unreachable(words) => format!("nobody: {words}"),
        Outcome::Unknown(words) => format!("unknown: {words}"),
        other => format!("{other:?}"),
    }
}

/// A message for two through a server that answers so; what it heard.
fn check(
    extensions: &'static [&'static str],
    answer: impl Fn(usize, &str) -> Option<Act> + Send + Sync + 'static,
    expected: &str,
) -> Vec<Heard> {
    let hop = Hop::start(extensions, answer);
    let pool = Pool::default();
    let outcome = hand(&hop, &pool, &mail(&to(&["b", "c"]), PARTS), soon());
    assert_eq!(words(&outcome), expected);
    drop(pool);
    hop.finish()
}

#[test]
fn a_message_reaches_the_server() {
    for extensions in [ALL, &["8BITMIME"], &[]] {
        let heard = check(extensions, |_, _| None, "taken 2.0.0 Ok: queued as 4XYZ");
        let size = if extensions == ALL { " SIZE=32" } else { "" };
        let lines = [
            "EHLO mx.example.net",
            &format!("MAIL FROM:<a@example.org>{size}"),
            "RCPT TO:<b@example.com>",
            "RCPT TO:<c@example.com>",
            "DATA",
        ];
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].lines, lines, "{extensions:?}");
        let text = b"Subject: x\r\n\r\ntext\r\n..\r\n...\r\nend\r\n.\r\n";
        assert_eq!(heard[0].texts, [text], "{extensions:?}");
    }
}

#[test]
fn what_the_server_understands_is_said() {
    let eight = "Subject: gr\u{fc}n\r\n".as_bytes();
    for (extensions, utf8, declared, part, expected) in [
        (ALL, false, false, &b"x"[..], "MAIL FROM:<a@example.org> SIZE=1"),
        (ALL, false, true, b"x", "MAIL FROM:<a@example.org> SIZE=1 BODY=8BITMIME"),
        (ALL, false, false, eight, "MAIL FROM:<a@example.org> SIZE=16 BODY=8BITMIME"),
        (ALL, true, false, eight, "MAIL FROM:<a@example.org> SIZE=16 BODY=8BITMIME SMTPUTF8"),
        (&["SIZE"], false, true, eight, "MAIL FROM:<a@example.org> SIZE=16"),
        (&["size 0"], false, true, eight, "MAIL FROM:<a@example.org> SIZE=16"),
        (&[], false, true, eight, "MAIL FROM:<a@example.org>"),
    ] {
        let hop = Hop::start(extensions, |_, _| None);
        let recipients = to(&["b"]);
        let parts = [part];
        let mail = Mail { utf8, eight_bit: declared, ..mail(&recipients, &parts) };
        let outcome = hand(&hop, &Pool::default(), &mail, soon());
        assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
        let heard = hop.finish();
        assert_eq!(heard[0].lines[1], expected);
        // What is not understood is passed unchanged.
        assert_eq!(
            heard[0].texts[0].strip_suffix(b".\r\n").unwrap().trim_ascii_end(),
            part.trim_ascii_end()
        );
    }
    for (extensions, utf8, part, expected) in [
        (&["SIZE 10"][..], false, &b"0123456789x"[..], Outcome::TooLarge(10)),
        (&["8BITMIME"], true, b"x", Outcome::NoUtf8),
    ] {
        let hop = Hop::start(extensions, |_, _| None);
        let recipients = to(&["b"]);
        let parts = [part];
        let mail = Mail { utf8, ..mail(&recipients, &parts) };
        assert_eq!(hand(&hop, &Pool::default(), &mail, soon()), expected);
        assert_eq!(hop.finish()[0].lines, ["EHLO mx.example.net"]);
    }
}

/// One refused recipient, and nobody gets the message.
#[test]
fn refusals_are_passed_on() {
    let at = |verb: &'static str, reply: &'static str| {
        move |_: usize, line: &str| line.starts_with(verb).then(|| say(reply)).flatten()
    };
    for (verb, reply, expected, texts) in [
        ("MAIL", "550 5.7.1 not you", "refused 550 5.7.1 not you", 0),
        ("MAIL", "451 busy", "refused 451 busy", 0),
        ("RCPT TO:<c", "550 5.1.1 who?", "1 550 5.1.1 who?", 0),
        ("RCPT TO:<b", "450 later", "0 450 later", 0),
        ("RCPT", "452 too many", "0 452 too many", 0),
        ("DATA", "554 no", "refused 554 no", 0),
        ("DATA", "451 later", "refused 451 later", 0),
        (".", "554 5.6.0 bad\u{1b}[2J words", "refused 554 5.6.0 bad?[2J words", 1),
        (".", "452 4.3.1 full", "refused 452 4.3.1 full", 1),
        ("EHLO", "421 full", "nobody: 421 full", 0),
    ] {
        for extensions in [ALL, &[]] {
            let heard = check(extensions, at(verb, reply), expected);
            assert_eq!(heard[0].texts.len(), texts, "{verb} {reply}");
            let reset = heard[0].lines.iter().any(|line| line == "RSET");
            assert_eq!(reset, !matches!(verb, "." | "EHLO"), "{verb} {reply}: {heard:?}");
        }
    }
    // A permanent refusal counts more than one that is not.
    let mixed = |_: usize, line: &str| match line {
        "RCPT TO:<b@example.com>" => say("450 later"),
        "RCPT TO:<c@example.com>" => say("550 never"),
        _ => None,
    };
    check(ALL, mixed, "1 550 never");
    // What MAIL was answered counts more than what is said to the commands behind it.
    let nobody = |_: usize, line: &str| match line.split(' ').next() {
        Some("MAIL") => say("450 4.7.1 greylisted"),
        Some("RCPT") => say("503 5.5.1 MAIL first"),
        _ => None,
    };
    check(ALL, nobody, "refused 450 4.7.1 greylisted");
}

#[test]
fn servers_may_leave() {
    for (line, text, expected) in [
        ("", "554 go away", "nobody: 554 go away"),
        ("", "", "nobody: it closed the connection"),
        ("EHLO mx.example.net", "", "nobody: it closed the connection"),
        ("RCPT TO:<b@example.com>", "421 4.3.2 bye", "0 421 4.3.2 bye"),
        ("RCPT TO:<b@example.com>", "", "nobody: it closed the connection"),
        ("DATA", "421 4.3.2 bye", "refused 421 4.3.2 bye"),
        (".", "421 4.3.2 bye", "refused 421 4.3.2 bye"),
        (".", "", "unknown: it closed the connection"),
        (".", "250-half of a", "unknown: it closed the connection"),
        (".", "hello?", "unknown: it does not answer as an SMTP server"),
        (".", "354 more", "unknown: it does not answer as an SMTP server"),
        ("DATA", "250 what?", "nobody: it does not answer as an SMTP server"),
    ] {
        let answer = move |_: usize, said: &str| {
            (said == line)
                .then(
                    || if text.is_empty() { Some(Act::Leave(String::new())) } else { leave(text) },
                )
                .flatten()
        };
        check(ALL, answer, expected);
    }
}

/// Bounded in time and octets, whatever comes (RFC 5321 4.2, CVE-2020-8794).
#[test]
fn hostile_servers_are_left() {
    for (line, act, expected) in [
        ("", Act::Flood("x".to_string(), 10_000_000), "nobody: a line of its reply is too long"),
        ("", Act::Flood("220-x\r\n".to_string(), 10_000), "nobody: its reply has too many lines"),
        (
            "MAIL",
            Act::Say("250-ok\r\n550 no\r\n".to_string()),
            "nobody: the code changes within its reply",
        ),
        ("DATA", Act::Say("354 a\0b\r\n".to_string()), "nobody: its reply holds a NUL"),
        ("EHLO", Act::Say("250 a\r\n250 b\r\n".to_string()), "nobody: it talks out of turn"),
        (".", Act::Flood("250-x\r\n".to_string(), 10_000), "unknown: its reply has too many lines"),
    ] {
        let answer = move |_: usize, said: &str| {
            let hit = if line.is_empty() { said.is_empty() } else { said.starts_with(line) };
            hit.then(|| act.clone())
        };
        check(ALL, answer, expected);
    }
}

#[test]
fn one_deadline_holds_for_everything() {
    for (line, act, expected) in [
        (
            "",
            Act::Drip("220 a very slow server indeed\r\n".to_string(), 100),
            "nobody: Connection timed out",
        ),
        ("MAIL", Act::Hang, "nobody: Connection timed out"),
        (".", Act::Hang, "unknown: Connection timed out"),
        (
            ".",
            Act::Drip("250 queued, in a while\r\n".to_string(), 200),
            "unknown: Connection timed out",
        ),
    ] {
        let hop = Hop::start(ALL, move |_, said| {
            let hit = if line.is_empty() { said.is_empty() } else { said.starts_with(line) };
            hit.then(|| act.clone())
        });
        let deadline = Deadline::after(Duration::from_secs(1));
        let outcome = hand(&hop, &Pool::default(), &mail(&to(&["b", "c"]), PARTS), deadline);
        assert_eq!(words(&outcome), expected, "{line}");
    }
}

/// A server that has seen enough in the middle of the text says why, and gets no dot.
#[test]
fn an_answer_before_the_end_counts() {
    let early = |_: usize, line: &str| {
        (line == "DATA").then(|| leave("354 go on\r\n552 5.3.4 too much")).flatten()
    };
    let hop = Hop::start(ALL, early);
    let text = b"0123456789\r\n".repeat(2_000_000);
    let outcome = hand(&hop, &Pool::default(), &mail(&to(&["b"]), &[&text[..900_000]]), soon());
    assert_eq!(words(&outcome), "refused 552 5.3.4 too much");
    assert_eq!(hop.finish()[0].texts.len(), 0);
}

#[test]
fn what_is_large_arrives_whole() {
    let hop = Hop::start(&["PIPELINING"], |_, _| None);
    let line = b"..0123456789012345678901234567890123456789\r\n";
    let text = line.repeat(30_000_000 / line.len());
    let outcome =
        hand(&hop, &Pool::default(), &mail(&to(&["b"]), &[b"Subject: x\r\n\r\n", &text]), soon());
    assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
    let heard = hop.finish();
    let stuffed = [b".", &line[..]].concat().repeat(30_000_000 / line.len());
    assert!(heard[0].texts[0] == [b"Subject: x\r\n\r\n", &stuffed[..], b".\r\n"].concat());
}

/// A thousand recipients and more answers than a socket holds.
#[test]
fn many_recipients_do_not_fill_the_pipes() {
    let long = |_: usize, line: &str| {
        line.starts_with("RCPT").then(|| Act::Say(format!("250 {}\r\n", "x".repeat(1_500))))
    };
    let hop = Hop::start(ALL, long);
    let names: Vec<String> = (0..1_000).map(|it| format!("{}{it}", "n".repeat(60))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outcome = hand(&hop, &Pool::default(), &mail(&to(&names), PARTS), soon());
    assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
    assert_eq!(hop.finish()[0].lines.len(), 1_003);
}

#[test]
fn connections_are_used_again() {
    let refused =
        |_: usize, line: &str| line.starts_with("RCPT TO:<no").then(|| say("550 no")).flatten();
    let hop = Hop::start(ALL, refused);
    let pool = Pool::default();
    for (recipient, expected) in [
        ("b", "taken 2.0.0 Ok: queued as 4XYZ"),
        ("c", "taken 2.0.0 Ok: queued as 4XYZ"),
        ("no", "0 550 no"),
        ("d", "taken 2.0.0 Ok: queued as 4XYZ"),
    ] {
        let outcome = hand(&hop, &pool, &mail(&to(&[recipient]), PARTS), soon());
        assert_eq!(words(&outcome), expected);
    }
    drop(pool);
    let heard = hop.finish();
    assert_eq!((heard.len(), heard[0].texts.len()), (1, 3), "{heard:?}");
}

/// A connection that died, or whose server has had enough of it, costs another try and no message.
#[test]
fn dead_connections_are_replaced() {
    for (line, act) in [
        ("MAIL", leave("421 4.4.2 too many messages")),
        ("MAIL", Some(Act::Leave(String::new()))),
        ("RCPT", leave("421 4.4.2 timeout")),
        ("DATA", Some(Act::Leave(String::new()))),
    ] {
        let act = act.unwrap();
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let hop = Hop::start(ALL, move |number, said| {
            let again = said.starts_with(line) && number == 0;
            let second = again && seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1;
            second.then(|| act.clone())
        });
        let pool = Pool::default();
        for _ in 0..2 {
            let outcome = hand(&hop, &pool, &mail(&to(&["b"]), PARTS), soon());
            assert_eq!(words(&outcome), "taken 2.0.0 Ok: queued as 4XYZ", "{line}");
        }
        drop(pool);
        let heard = hop.finish();
        let texts: Vec<usize> = heard.iter().map(|it| it.texts.len()).collect();
        assert_eq!(texts, [1, 1], "{line}");
    }
    // It left between two messages: nothing is tried on it.
    let hop = Hop::start(ALL, |number, said| {
        (number == 0 && said == ".").then(|| leave("250 ok")).flatten()
    });
    let pool = Pool::default();
    for _ in 0..2 {
        let outcome = hand(&hop, &pool, &mail(&to(&["b"]), PARTS), soon());
        assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
    }
    drop(pool);
    assert_eq!(hop.finish().len(), 2);
}

#[test]
fn the_client_is_told_of() {
    let client = Client {
        name: Some("mail.example.org"),
        ip: "2001:db8::1".parse().unwrap(),
        port: 4_711,
        helo: Some("a+b=c"),
        esmtp: true,
    };
    let hop = Hop::start(&["XCLIENT NAME ADDR PORT PROTO HELO LOGIN", "PIPELINING"], |_, line| {
        line.starts_with("XCLIENT").then(|| say("220 hop.example")).flatten()
    });
    let servers = [hop.address()];
    let me = "mx.example.net";
    let next = NextHop { servers: &servers, me, client: Some(client), secure: None };
    let pool = Pool::default();
    for _ in 0..2 {
        let (outcome, _) = forward(&pool, &next, &mail(&to(&["b"]), PARTS), soon());
        assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
    }
    drop(pool);
    let heard = hop.finish();
    assert_eq!(heard.len(), 2, "such a connection is not used for another client");
    let xclient =
        "XCLIENT NAME=mail.example.org ADDR=IPV6:2001:db8::1 PORT=4711 HELO=a+2Bb+3Dc PROTO=ESMTP";
    assert_eq!(heard[0].lines[..3], ["EHLO mx.example.net", xclient, "EHLO a+b=c"]);
    let long = Client { name: Some(&"n".repeat(300)), helo: Some(&"h".repeat(300)), ..client };
    let all = ["NAME", "ADDR", "PORT", "HELO", "PROTO"].map(str::to_string);
    let lines = self::xclient(&long, &all);
    assert!(lines.len() == 2 && lines.iter().all(|line| line.len() <= XCLIENT_MAX), "{lines:?}");
    let unknown =
        Client { name: None, helo: None, ip: "192.0.2.1".parse().unwrap(), esmtp: false, ..client };
    let lines = self::xclient(&unknown, &["name", "addr", "proto"].map(str::to_string));
    assert_eq!(lines, ["XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PROTO=SMTP"]);
    for (extensions, expected) in
        [(&["XCLIENT NAME"][..], "refused 550 not you"), (ALL, "NoXclient")]
    {
        let hop = Hop::start(extensions, |_, line| {
            line.starts_with("XCLIENT").then(|| say("550 not you")).flatten()
        });
        let servers = [hop.address()];
        let next = NextHop { servers: &servers, ..next };
        assert_eq!(
            words(&forward(&Pool::default(), &next, &mail(&to(&["b"]), PARTS), soon()).0),
            expected
        );
    }
}
