//! Messages through both plugins while a clamd says what a test wants.

use super::*;
use crate::client::clamd::tests::{Act, Fake};
use crate::config::files::Files;
use crate::plugins::tests::trial::Trial;

const TAKEN: &str = "250 2.0.0 Queued!";
const VIRUS: &str = "554 5.7.1 Virus found: Eicar";
const LATER: &str = "451 4.3.0 Unable to scan for viruses";

/// Sends a message; the reply, and what the plugin has logged. In `line`, `SOCKET` is the fake's.
fn send(line: &str, conf: &str, socket: &str, client: &str) -> (String, Vec<String>) {
    let plugins = format!("relay\nrcpt_ok\n{}\nqueue/discard\n", line.replace("SOCKET", socket));
    let conf = conf.replace("SOCKET", socket);
    let files = [
        ("plugins", plugins.as_str()),
        ("rcpthosts", "example.com"),
        ("relayclients", "198.51.100."),
        ("/etc/clamd.conf", conf.as_str()),
    ];
    let mut trial = Trial::connect(&files, client);
    trial.say("EHLO client.example");
    trial.say("MAIL FROM:<a@example.org>");
    trial.say("RCPT TO:<b@example.com>");
    trial.say("DATA");
    let reply = trial.say("Message-ID: <1@example.org>\r\n\r\ntext\r\n.");
    let log = trial.take_log();
    let ours = log.iter().filter_map(|line| line.strip_prefix("virus::")).map(str::to_string);
    (reply, ours.collect())
}

#[test]
fn verdicts() {
    const CLEAN: Act = Act::Say(b"stream: OK\0");
    const FOUND: Act = Act::Say(b"stream: Eicar FOUND\0");
    const LIMIT: Act = Act::Say(b"INSTREAM size limit exceeded. ERROR\0");
    const BROKEN: Act = Act::Say(b"stream: O");
    let found = ["fail, found virus Eicar", "karma -1 (-1)"];
    let closed = "error, scanning mail: it closed the connection";
    let closed_pass = format!("{closed}, passed unscanned");
    let closed_defer = format!("{closed}, deferred");
    let limit = "error, scanning mail: the message is longer than its StreamMaxLength, deferred";
    let late = "error, scanning mail: Connection timed out, passed unscanned";
    for (name, act, line, reply, log) in [
        ("clean", CLEAN, "clamdscan clamd_socket SOCKET", TAKEN, &["pass, clean"][..]),
        ("found", FOUND, "clamdscan clamd_socket SOCKET", VIRUS, &found),
        ("tag", FOUND, "clamdscan clamd_socket SOCKET deny_viruses no", TAKEN, &found),
        ("broken", BROKEN, "clamdscan clamd_socket SOCKET", TAKEN, &[&*closed_pass]),
        (
            "defer",
            BROKEN,
            "clamdscan clamd_socket SOCKET defer_on_error yes",
            LATER,
            &[&*closed_defer],
        ),
        ("limit", LIMIT, "clamdscan clamd_socket SOCKET defer_on_error yes", LATER, &[limit]),
        ("hang", Act::Hang, "clamdscan clamd_socket SOCKET timeout 1", TAKEN, &[late]),
        ("mute", Act::Mute, "clamdscan clamd_socket SOCKET timeout 1", TAKEN, &[late]),
        ("cl-clean", CLEAN, "clamav", TAKEN, &["pass, clean"]),
        ("cl-found", FOUND, "clamav action=reject", VIRUS, &found),
        ("cl-tag", FOUND, "clamav action=add-header", TAKEN, &found),
        ("cl-broken", BROKEN, "clamav", LATER, &[&*closed_defer]),
        ("cl-pass", BROKEN, "clamav declined_on_fail", TAKEN, &[&*closed_pass]),
    ] {
        let fake = Fake::start(&format!("virus-{name}"), act);
        let socket = fake.path.display().to_string();
        for client in ["192.0.2.1", "198.51.100.7"] {
            let line = format!("virus/{line}");
            let (said, lines) = send(&line, "User x\n LocalSocket SOCKET\n", &socket, client);
            assert!(said == reply || said.starts_with(&format!("{reply} [")), "{name}: {said}");
            let plugin = line.split(['/', ' ']).nth(1).unwrap();
            let log: Vec<_> = log.iter().map(|text| format!("{plugin}: {text}")).collect();
            assert_eq!(lines, log, "{name}, {client}");
        }
        for message in fake.finish() {
            let text = String::from_utf8(message).unwrap();
            assert!(text.ends_with("Message-ID: <1@example.org>\r\n\r\ntext\r\n"), "{text}");
        }
    }
}

#[test]
fn some_messages_are_not_sent_to_clamd() {
    for (line, log) in [
        ("clamav max_size=10", "clamav: skip, too big (N), passed unscanned"),
        ("clamdscan clamd_socket SOCKET scan_all no", "clamdscan: skip, not multipart"),
    ] {
        let (reply, lines) = send(&format!("virus/{line}"), "", "/nowhere/clamd", "192.0.2.1");
        assert_eq!(reply, TAKEN);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let digits = |letter: char| letter.is_ascii_digit();
        let (before, rest) = lines[0].split_at(lines[0].find(digits).unwrap_or(lines[0].len()));
        let shown = match rest.trim_start_matches(digits) {
            behind if behind.len() < rest.len() => format!("{before}N{behind}"),
            _ => lines[0].clone(),
        };
        assert_eq!(shown, log);
    }
}

/// Loads a line; the scanner, complaints and warnings.
fn read(line: &str, files: &[(&str, &str)]) -> (Scanner, usize, usize) {
    let files = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    let files = Files::in_memory(files);
    let mut problems = Vec::new();
    let mut args = Args::of(line);
    let setup = Setup::new(&files, &mut problems);
    let scanner = match args.called.as_str() {
        "virus/clamav" => clamav::from_args(&mut args, &setup),
        _ => clamdscan::from_args(&mut args, &setup),
    };
    let complaints = args.finish().len();
    drop(setup);
    (scanner, complaints, problems.len())
}

#[test]
fn arguments() {
    for (line, complaints, warnings) in [
        ("virus/clamdscan", 0, 0),
        ("virus/clamdscan clamd_socket /run/clamd deny_viruses yes max_size 25000", 0, 0),
        ("virus/clamdscan clamd_port 3310", 0, 0),
        ("virus/clamdscan clamd_port=3310 clamd_host=::1 scan_all=1 defer_on_error=1", 0, 0),
        ("virus/clamdscan clamd_port 3310 clamd_host clamd.example", 0, 0),
        ("virus/clamdscan clamd_host 192.0.2.1", 1, 0),
        ("virus/clamdscan clamd_port 3310 clamd_host a/b", 1, 0),
        ("virus/clamdscan clamd_port 3310 clamd_socket /run/clamd", 1, 0),
        ("virus/clamdscan clamd_socket run/clamd", 1, 0),
        ("virus/clamdscan deny_viruses perhaps scan_all 2 max_size 0 timeout 181", 4, 0),
        ("virus/clamdscan /run/clamd", 1, 0),
        ("virus/clamav", 0, 0),
        ("virus/clamav clamscan_path=/usr/bin/clamdscan action=reject max_size=25000000", 0, 1),
        ("virus/clamav /usr/bin/clamscan tmp_dir=/tmp back_compat declined_on_fail", 0, 1),
        ("virus/clamav action add-header clamd_conf /etc/own.conf timeout 30", 0, 0),
        ("virus/clamav action=delete max_size=1M", 2, 0),
        ("virus/clamav declined_on_fail=perhaps", 1, 0),
        ("virus/clamav clamd_socket /run/clamd", 2, 0),
    ] {
        let (_, complained, warned) = read(line, &[]);
        assert_eq!((complained, warned), (complaints, warnings), "{line}");
    }
}

#[test]
fn sizes_defaults_and_places() {
    let socket = |path: &str| At::Socket(path.into());
    let server = |host: &str, port| At::Server(Server { host: host.into(), port });
    let (debian, own) = ("/etc/clamav/clamd.conf", "/etc/own.conf");
    for (line, at, max_size, on_error) in [
        ("virus/clamdscan", socket("/debian"), 1_048_576, OnError::Pass),
        ("virus/clamdscan max_size 25000", socket("/debian"), 25_600_000, OnError::Pass),
        ("virus/clamdscan clamd_port 3310", server("127.0.0.1", 3310), 1_048_576, OnError::Pass),
        (
            "virus/clamdscan clamd_host [::1] clamd_port 1 defer_on_error yes",
            server("::1", 1),
            1_048_576,
            OnError::Defer,
        ),
        ("virus/clamav", socket("/debian"), 524_288, OnError::Defer),
        ("virus/clamav max_size=25000000", socket("/debian"), 25_000_000, OnError::Defer),
        ("virus/clamav declined_on_fail=1", socket("/debian"), 524_288, OnError::Pass),
        ("virus/clamav clamd_conf=/etc/own.conf", socket("/own"), 524_288, OnError::Defer),
        ("virus/clamav clamd_conf=/etc/none.conf", socket(SOCKET), 524_288, OnError::Defer),
    ] {
        let files = [
            (debian, "# LocalSocket /x\nLocalSocketMode 666\nLocalSocket /debian\n"),
            (own, "LocalSocket\t/own"),
        ];
        let (scanner, complaints, warnings) = read(line, &files);
        assert_eq!((complaints, warnings), (0, 0), "{line}");
        let seen = (scanner.at, scanner.max_size, scanner.on_error);
        assert_eq!(seen, (at, max_size, on_error), "{line}");
    }
}
