//! The machine by rows: what is sent for what comes in, whatever the cuts.

use super::tests_support::play;
use super::*;
use crate::smtp::verdict::Verdict;

fn decide(call: &Call) -> Verdict {
    match call {
        Call::Rcpt(address) if address.domain() == "example.com" => Verdict::OK,
        Call::Rcpt(_) => Verdict::deny((7, 1), "Relaying denied"),
        Call::Message => Verdict::Ok(Some("Queued!".into())),
        _ => Verdict::Declined,
    }
}

/// Plays `input` whole, by octet and by 7 octets; all must say the same.
fn said(input: &str) -> (String, Vec<String>) {
    let mut results: Vec<_> = [usize::MAX, 1, 7]
        .into_iter()
        .map(|cut| play(input.as_bytes(), cut, false, &mut decide))
        .collect();
    results.dedup();
    assert_eq!(results.len(), 1, "depends on cuts: {input:?}");
    let record = results.remove(0);
    let text = |octets: Vec<u8>| String::from_utf8(octets).expect("ASCII");
    (text(record.sent), record.bodies.into_iter().map(text).collect())
}

/// The codes of the final reply lines.
fn codes(input: &str) -> Vec<String> {
    let (sent, _) = said(input);
    sent.lines()
        .filter(|line| line.as_bytes().get(3) == Some(&b' '))
        .map(|line| line[..3].to_string())
        .collect()
}

const HELLO: &str = "EHLO c.example\r\n";
const MAIL: &str = "MAIL FROM:<a@example.org>\r\n";
const RCPT: &str = "RCPT TO:<b@example.com>\r\n";

#[test]
fn a_mail_is_taken() {
    let (sent, bodies) =
        said(&format!("{HELLO}{MAIL}{RCPT}DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n"));
    assert_eq!(
        sent,
        "220 mx.example.net ESMTP\r\n\
         250-mx.example.net Hi Unknown [192.0.2.1]\r\n\
         250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 10000\r\n250-ENHANCEDSTATUSCODES\r\n\
         250-CHUNKING\r\n250-SMTPUTF8\r\n250-LIMITS RCPTMAX=3\r\n250-STARTTLS\r\n250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n250 AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\r\n\
         250 2.1.0 <a@example.org>, sender OK - how exciting to get mail from you!\r\n\
         250 2.1.5 <b@example.com>, recipient ok\r\n\
         354 go ahead\r\n\
         250 2.0.0 Queued!\r\n\
         221 2.0.0 mx.example.net closing connection. Have a wonderful day.\r\n"
    );
    assert_eq!(bodies, ["Subject: x\r\n\r\n.dot\r\n"]);
}

#[test]
fn order_and_syntax_by_rows() {
    for (input, expected) in [
        ("MAIL FROM:<a@b.example>\r\n".to_string(), "220 503"),
        (format!("{HELLO}{MAIL}{MAIL}"), "220 250 250 503"),
        (format!("{HELLO}{RCPT}"), "220 250 503"),
        (format!("{HELLO}DATA\r\n"), "220 250 503"),
        (format!("{HELLO}{MAIL}DATA\r\n"), "220 250 250 503"),
        (format!("{HELLO}{MAIL}RCPT TO:<x@other.example>\r\nDATA\r\n"), "220 250 250 550 503"),
        (format!("{HELLO}{MAIL}{HELLO}{RCPT}"), "220 250 250 250 503"),
        (format!("{HELLO}{MAIL}RSET\r\n{RCPT}"), "220 250 250 250 503"),
        ("HELO\r\nEHLO \r\n".to_string(), "220 501 501"),
        (format!("{HELLO}MAIL FROM:<a@b.example> SIZE=10001\r\n"), "220 250 552"),
        (format!("{HELLO}MAIL FROM:<a@b.example> SIZE=x\r\n"), "220 250 501"),
        (format!("{HELLO}MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n"), "220 250 501"),
        (format!("{HELLO}MAIL FROM:<a@b.example> RET=HDRS\r\n"), "220 250 555"),
        (format!("{HELLO}MAIL FROM:<a@b.example> SIZE=1 SIZE=1\r\n"), "220 250 501"),
        (format!("{HELLO}{MAIL}RCPT TO:<b@example.com> NOTIFY=NEVER\r\n"), "220 250 250 555"),
        (format!("{HELLO}MAIL FROM:<>\r\n"), "220 250 250"),
        (format!("{HELLO}{MAIL}RCPT TO:<>\r\n"), "220 250 250 501"),
        ("NOOP a b\r\nVRFY x\r\nEXPN x\r\nHELP\r\nRSET\r\n".to_string(), "220 250 252 502 214 250"),
        ("FOO\r\n\r\n".to_string(), "220 500 500"),
        ("NOOP a\rb\r\nNOOP\0\r\n".to_string(), "220 500 500"),
        ("NOOP\nNOOP\r\n".to_string(), "220 521"),
        ("GET / HTTP/1.0\r\n".to_string(), "220 521"),
        (format!("NOOP {}\r\nNOOP\r\n", "x".repeat(3_000)), "220 500 250"),
        ("x".repeat(70_000), "220 421"),
        (format!("{}\r\n", "x".repeat(70_000)), "220 421"),
        ("FOO\r\n".repeat(25), &format!("220{} 421", " 500".repeat(20))),
        ("NOOP\r\n".repeat(110), &format!("220{} 421", " 250".repeat(100))),
    ] {
        assert_eq!(codes(&input).join(" "), expected, "{input:?}");
    }
}

#[test]
fn more_recipients_than_allowed_are_deferred() {
    let input = format!("{HELLO}{MAIL}{}DATA\r\n", RCPT.repeat(5));
    assert_eq!(codes(&input).join(" "), "220 250 250 250 250 250 452 452 354");
}

#[test]
fn chunks_are_swallowed_whatever_is_said() {
    let start = format!("{HELLO}{MAIL}{RCPT}");
    for (input, expected, body) in [
        (format!("{start}BDAT 5\r\na\r\nb\rBDAT 3 LAST\r\n\nc\n"), "250 550", None),
        (format!("{start}BDAT 4\r\na\r\n.BDAT 4 LAST\r\n\r\nc\n"), "250 550", None),
        (format!("{start}BDAT 4\r\na\r\n.BDAT 3 LAST\r\n\r\nc"), "250 250", Some("a\r\n.\r\nc")),
        (format!("{start}BDAT 0 LAST\r\n"), "250", Some("")),
        (format!("{start}BDAT 0\r\nBDAT 1 LAST\r\nxNOOP\r\n"), "250 250 250", Some("x")),
        (format!("{start}BDAT 3\r\nabcDATA\r\nRSET\r\n"), "250 503 250", None),
        (format!("{start}BDAT 3\r\nabc{RCPT}"), "250 503", None),
        (format!("{start}BDAT x\r\nNOOP\r\n"), "421", None),
        (format!("{HELLO}BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n"), "503 250", None),
        (
            format!("{start}BDAT 10001\r\n{}BDAT 4 LAST\r\nNOOP", "x".repeat(10_001)),
            "552 503",
            None,
        ),
    ] {
        let (_, bodies) = said(&input);
        let skip = if input.starts_with(&start) { 4 } else { 2 };
        assert_eq!(codes(&input)[skip..].join(" "), expected, "{input:?}");
        assert_eq!(bodies.first().map(String::as_str), body, "{input:?}");
    }
}

#[test]
fn a_spoiled_message_is_read_to_its_end() {
    let start = format!("{HELLO}{MAIL}{RCPT}DATA\r\n");
    for (text, expected) in [
        (format!("{}\r\n.\r\nNOOP\r\n", "x".repeat(20_000)), "354 552 250"),
        ("a\nMAIL FROM:<x@y.example>\r\n.\r\nNOOP\r\n".to_string(), "354 550 250"),
        ("a\n.\nMAIL FROM:<x@y.example>\n.\r\n.\r\n".to_string(), "354 550"),
        ("nul \0\r\n.\r\n".to_string(), "354 550"),
    ] {
        let input = format!("{start}{text}");
        assert_eq!(codes(&input)[4..].join(" "), expected, "{input:?}");
        assert!(said(&input).1.is_empty());
    }
}

#[test]
fn refusals_at_connect() {
    let play_refused = |verdict: Verdict| {
        let mut judge = |call: &Call| match call {
            Call::Connect => verdict.clone(),
            _ => Verdict::OK,
        };
        let record = play(b"EHLO x\r\nNOOP\r\nQUIT\r\n", 3, false, &mut judge);
        String::from_utf8(record.sent).expect("ASCII")
    };
    let deny = Verdict::deny((7, 1), "go away");
    let soft = Verdict::deny_soft((7, 1), "not now");
    let no_service = "503 5.5.1 No SMTP service here, only QUIT is left\r\n";
    assert_eq!(
        play_refused(deny.clone()),
        format!(
            "554 5.7.1 go away [7]\r\n{no_service}{no_service}\
             221 2.0.0 mx.example.net closing connection. Have a wonderful day.\r\n"
        )
    );
    assert_eq!(play_refused(deny.and_disconnect()), "554 5.7.1 go away [7]\r\n");
    assert_eq!(play_refused(soft), "421 4.7.1 not now [7]\r\n");
}

#[test]
fn every_refusal_after_the_dot_ends_the_transaction() {
    for (verdict, code) in [
        (Verdict::deny((7, 1), "no"), "554"),
        (Verdict::deny((7, 23), "SPF"), "550"),
        (Verdict::deny_soft((7, 23), "SPF"), "451"),
        (Verdict::deny((3, 4), "big").for_storage(), "552"),
        (Verdict::deny_soft((3, 1), "full").for_storage(), "452"),
        (Verdict::Declined, "451"),
    ] {
        let mut judge = |call: &Call| match call {
            Call::Message => verdict.clone(),
            other => decide(other),
        };
        let input = format!("{HELLO}{MAIL}{RCPT}DATA\r\nx\r\n.\r\nDATA\r\n{RCPT}");
        let record = play(input.as_bytes(), 5, false, &mut judge);
        let sent = String::from_utf8(record.sent).expect("ASCII");
        let after: Vec<_> = sent.lines().rev().take(3).map(|line| &line[..3]).collect();
        assert_eq!(after, ["503", "503", code], "{verdict:?}");
    }
}

#[test]
fn cuts_do_not_matter() {
    fuzz(b"\x04EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n");
    fuzz(b"\x06EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nBDAT 4 LAST\r\na\r\nbQUIT\r\n");
    fuzz(b"\x05\nEHLO x\r\n");
}
