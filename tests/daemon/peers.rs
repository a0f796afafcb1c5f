//! Programs that people send mail with. Each sends the same awkward message.

use crate::daemon::house::{Daemon, House};
use crate::daemon::system::{skip, succeeds};
use std::fs;
use std::process::{Command, Stdio};

/// Dots at the start of lines, a long line, octets above 127: UTF-8 and not.
pub(crate) fn message() -> Vec<u8> {
    let mut text = b"From: a@example.org\nTo: b@example.com\nSubject: real clients\n".to_vec();
    text.extend(b"Date: Mon, 23 Nov 2026 18:29:19 +0000\nMessage-ID: <1@example.org>\n");
    text.extend(b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n");
    text.extend(b"Content-Transfer-Encoding: 8bit\n\n.one dot\n..two dots\n.\n\nFrom here\n");
    text.extend("Gr\u{fc}\u{df}e aus K\u{f6}ln, \u{4f60}\u{597d}\n".as_bytes());
    text.extend(b"not UTF-8: \xe4\xf6\xfc\xff\n");
    text.extend("0123456789".repeat(500).as_bytes());
    text.extend(b"\n.\nlast line\n");
    text
}

/// Has a program send the message in clear.
fn sends(test: &str, program: &str, end: &str, arguments: impl Fn(&Daemon) -> Vec<String>) {
    if !succeeds(program, &["--version"]) {
        return skip(test, &format!("{program} not installed"));
    }
    let house = House::new();
    let daemon = house.start();
    delivers(&house, program, end, &arguments(&daemon));
    daemon.stop();
}

/// Has a program send the message and looks whether that is what came, with what the program itself
/// puts at the end. Gives what stands above it.
pub(crate) fn delivers(house: &House, program: &str, end: &str, arguments: &[String]) -> String {
    let file = house.path("message");
    fs::write(&file, message()).unwrap();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(fs::File::open(&file).unwrap()))
        .env("HOME", house.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{said}", output.status);
    let mails = house.take_mails();
    assert_eq!(mails.len(), 1, "{said}");
    let mail = &mails[0];
    let at = mail.windows(7).position(|it| it == b"\nFrom: ").unwrap() + 1;
    let (ours, theirs) = mail.split_at(at);
    let expected = [message(), end.into()].concat();
    assert_eq!(String::from_utf8_lossy(theirs), String::from_utf8_lossy(&expected));
    assert_eq!(theirs, expected);
    // Nothing but our own fields stands above.
    let ours = String::from_utf8(ours.to_vec()).unwrap();
    for line in ours.lines() {
        let known = ["Return-Path: ", "Delivered-To: ", "Received: ", "Authentication-Results: "];
        let is_ours = line.starts_with([' ', '\t']) || known.iter().any(|it| line.starts_with(it));
        assert!(is_ours, "{line}");
    }
    ours
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_string).collect()
}

/// Scripts and monitoring use it; it sends DATA with --crlf.
#[test]
fn curl_sends() {
    sends("peers::curl_sends", "curl", "", |daemon| {
        words(&format!(
            "--silent --show-error --crlf smtp://{}/client.example --mail-from a@example.org \
             --mail-rcpt b@example.com --upload-file -",
            daemon.address()
        ))
    });
}

/// The mail of countless Python programs. It repairs line ends in strings, not in octets.
#[test]
fn smtplib_sends() {
    const SCRIPT: &str = "import smtplib, sys\n\
        host, port = sys.argv[1], int(sys.argv[2])\n\
        text = sys.stdin.buffer.read().replace(b'\\n', b'\\r\\n')\n\
        with smtplib.SMTP(host, port, 'client.example', 60) as client:\n    \
            refused = client.sendmail('a@example.org', ['b@example.com'], text, ['BODY=8BITMIME'])\n    \
            assert not refused, refused\n";
    sends("peers::smtplib_sends", "python3", "", |daemon| {
        let port = daemon.address().port().to_string();
        vec!["-c".into(), SCRIPT.into(), "127.0.0.1".into(), port]
    });
}

/// The admin's own tool for trying a server. It ends every message with an empty line.
#[test]
fn swaks_sends() {
    sends("peers::swaks_sends", "swaks", "\n", |daemon| {
        words(&format!(
            "--server 127.0.0.1 --port {} --helo client.example --from a@example.org \
             --to b@example.com --data -",
            daemon.address().port()
        ))
    });
}

/// What stands in for sendmail on many machines.
#[test]
fn msmtp_sends() {
    sends("peers::msmtp_sends", "msmtp", "", |daemon| {
        words(&format!(
            "--host=127.0.0.1 --port={} --domain=client.example --from=a@example.org --tls=off \
             --auth=off -- b@example.com",
            daemon.address().port()
        ))
    });
}
