//! `mailreeve auth hash`: what it prints is judged by the library, and by the system's own crypt.

use crate::daemon::house::BINARY;
use crate::daemon::system::{skip, succeeds};
use mailreeve::authn::password::{Verdict, check};
use nix::pty::openpty;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

fn start(arguments: &[&str], input: Stdio) -> Child {
    let mut command = Command::new(BINARY);
    command.arg("auth").args(arguments).stdin(input);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Exit code, standard output, standard error.
fn end(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn hash(arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = start(arguments, Stdio::piped());
    // A password that is too long is not read to its end.
    let _unread = child.stdin.take().unwrap().write_all(input);
    end(child)
}

#[test]
fn lines_are_made_for_every_store() {
    let mut lines = Vec::new();
    for (option, start) in
        [(None, "$argon2id$v=19$"), (Some("--sha512"), "$6$"), (Some("--scram"), "SCRAM-SHA-256$")]
    {
        let arguments: Vec<&str> = ["hash"].into_iter().chain(option).collect();
        for input in ["pass wörd\n", "pass wörd\r\nmore\n", "pass wörd"] {
            let (code, output, errors) = hash(&arguments, input.as_bytes());
            assert_eq!((code, errors.as_str()), (Some(0), ""));
            let line = output.strip_suffix('\n').unwrap();
            assert!(line.starts_with(start) && !line.contains('\n'), "{output}");
            lines.push(line.to_string());
        }
        let line = lines.last().unwrap();
        assert_eq!(check(line, "pass wörd"), Verdict::Match, "{line}");
        assert_eq!(check(line, "pass word"), Verdict::NoMatch, "{line}");
    }
    let count = lines.len();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), count, "a salt came twice");
}

#[test]
fn crypt_agrees() {
    if !succeeds("perl", &["-e", "exit crypt('x', '$6$x$') !~ /^\\$6/"]) {
        return skip("crypt_agrees", "no perl whose crypt knows SHA-512");
    }
    let (_, output, _) = hash(&["hash", "--sha512"], "pass wörd\n".as_bytes());
    let line = output.trim_end();
    let script = "print crypt($ARGV[0], $ARGV[1])";
    let judged = Command::new("perl").args(["-e", script, "pass wörd", line]).output().unwrap();
    assert_eq!(String::from_utf8(judged.stdout).unwrap(), line);
}

#[test]
fn what_no_client_could_send_is_no_password() {
    let long = "x".repeat(1_025);
    for input in [&b""[..], b"\n", b"\r\n", b"a\tb\n", b"a\0b", b"\xff\n", long.as_bytes()] {
        let (code, output, errors) = hash(&["hash"], input);
        assert_eq!((code, output.as_str()), (Some(1), ""));
        assert!(errors.starts_with("mailreeve auth: no password"), "{errors}");
    }
    let (code, output, _) = hash(&["hash", "--sha512"], &long.as_bytes()[1..]);
    assert!(code == Some(0) && output.starts_with("$6$"));
    for wrong in [&["hash", "--sha512", "--scram"][..], &["hash", "secret"], &["chop"], &[]] {
        let (code, output, errors) = hash(wrong, b"x\n");
        assert_eq!((code, output.as_str()), (Some(2), ""));
        assert!(errors.contains("Usage: mailreeve auth hash"), "{errors}");
    }
}

/// Nothing that is typed is seen, and Ctrl-C does not leave the terminal blind.
#[test]
fn a_terminal_is_asked_without_an_echo() {
    for (typed, code) in [("geheim\n", 0), ("geh\u{3}eim\n", 1)] {
        let terminal = openpty(None, None).unwrap();
        let mut child = start(&["hash", "--sha512"], Stdio::from(terminal.slave));
        let mut errors = child.stderr.take().unwrap();
        let mut prompt = [0; 10];
        errors.read_exact(&mut prompt).unwrap();
        assert_eq!(&prompt, b"Password: ");
        let mut keyboard = File::from(terminal.master);
        keyboard.write_all(typed.as_bytes()).unwrap();
        let (status, output, _) = end(child);
        assert_eq!((status, output.is_empty()), (Some(code), code != 0));
        let mut seen = Vec::new();
        // The terminal's other end is closed: an error ends it, not an end of file.
        let _closed = keyboard.read_to_end(&mut seen);
        assert!(!String::from_utf8_lossy(&seen).contains("geh"), "{seen:?}");
        let mut rest = String::new();
        errors.read_to_string(&mut rest).unwrap();
        assert!(rest.starts_with('\n'), "{rest}");
    }
}
