//! Answers of spamd as they should be and as they should not, and servers that misbehave.

use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// An answer as spamd writes it.
pub(crate) fn answer(spam: &str, header: &str) -> Vec<u8> {
    let length = header.len();
    format!("SPAMD/1.1 0 EX_OK\r\nContent-length: {length}\r\nSpam: {spam}\r\n\r\n{header}").into()
}

/// A spamd on a Unix socket that reads one question, says `octets`, and closes if `closes`, else waits
/// for the client to go; gives the question back.
pub(crate) fn serve(name: &str, octets: Vec<u8>, closes: bool) -> (PathBuf, JoinHandle<String>) {
    let path = std::env::temp_dir().join(format!("spamd-{}-{name}", std::process::id()));
    let _old = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let file = path.clone();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        stream.write_all(&octets).unwrap();
        if !closes {
            // Nothing can come but news of the client's end.
            while nix::poll::poll(
                &mut [nix::poll::PollFd::new(
                    std::os::fd::AsFd::as_fd(&stream),
                    nix::poll::PollFlags::empty(),
                )],
                nix::poll::PollTimeout::from(60_000_u16),
            )
            .is_err()
            {}
        }
        std::fs::remove_file(file).unwrap();
        String::from_utf8(question).unwrap()
    });
    (path, thread)
}

/// What it was asked; nothing, if nobody came.
pub(crate) fn heard(path: &Path, thread: JoinHandle<String>) -> String {
    // Who has had no client by now takes this one. Where it is gone already nothing is to be done.
    drop(UnixStream::connect(path));
    thread.join().unwrap()
}

fn request<'a>() -> Request<'a> {
    let parts = [b"Subject: x\r\n".as_slice(), b"\r\n", b"body\r\n\r\n"];
    Request { user: "tim", sender: "<a@example.org>", parts }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

const STATUS: &str = "X-Spam-Checker-Version: SpamAssassin 4.0.0 on mx\r\n\
    X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=15.3 required=5.0 tests=A_ONE,B_TWO,\r\n\t\
    C_THREE autolearn=spam autolearn_force=no\r\n\tversion=4.0.0\r\n\
    Subject: x\r\nX-Spam-Flag: NO\r\nX-Spam-Bad name: x\r\n\r\nX-Spam-Body: x\r\n";

#[test]
fn points() {
    for (text, shown) in [
        ("5", Some("5.0")),
        ("5.0", Some("5.0")),
        ("-0.1", Some("-0.1")),
        ("15.25", Some("15.25")),
        ("0.0019", Some("0.001")),
        ("1000", Some("1000.0")),
        ("9999999.999", Some("9999999.999")),
        ("10000000", None),
        ("5.x", None),
        ("", None),
        (".5", None),
        ("5.", None),
        ("+5", None),
        ("--5", None),
        ("nan", None),
    ] {
        assert_eq!(Points::read(text).map(|it| it.to_string()).as_deref(), shown, "{text}");
    }
    assert!(Points::read("-2") < Points::read("-1.5") && Points::read("12") > Points::read("5.1"));
}

#[test]
fn an_answer_is_read() {
    let report = read(&answer("True ; 15.3 / 5.0", STATUS)).unwrap();
    assert_eq!((report.spam, report.score.to_string()), (true, "15.3".to_string()));
    assert_eq!(report.required, Points::read("5"));
    assert_eq!(report.tests, "A_ONE,B_TWO,C_THREE");
    assert_eq!(report.autolearn.as_deref(), Some("spam"));
    let fields: Vec<_> = report.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(
        fields,
        [
            ("X-Spam-Checker-Version", "SpamAssassin 4.0.0 on mx"),
            ("X-Spam-Flag", "YES"),
            (
                "X-Spam-Status",
                "Yes, score=15.3 required=5.0 tests=A_ONE,B_TWO, C_THREE autolearn=spam \
                 autolearn_force=no version=4.0.0"
            ),
        ]
    );
}

#[test]
fn verdicts_come_from_the_line_or_from_the_field() {
    const OK: &str = "SPAMD/1.1 0 EX_OK\r\n";
    const INVALID: &str = "invalid response from spamd: ";
    for (text, expected) in [
        (format!("{OK}Spam: False ; 1.5 / 5.0\r\n\r\n"), "No 1.5".to_string()),
        (
            format!("{OK}Spam: False ; 1 / 5\r\n\r\nX-Spam-Status: Yes, score=9\r\n\r\n"),
            "No 1.0".to_string(),
        ),
        (format!("{OK}\r\nX-Spam-Status: Yes, hits=9 required=5\n\n"), "Yes 9.0".to_string()),
        (format!("{OK}\r\nX-Spam-Status: Yes\r\n"), "spamd gives no verdict".to_string()),
        (format!("{OK}\r\nSubject: x\r\n\r\n"), "spamd gives no verdict".to_string()),
        (format!("{OK}Spam: maybe ; 5 / 5\r\n\r\n"), format!("{INVALID}Spam: maybe ; 5 / 5")),
        (format!("{OK}Spam: True ; 5.x / 5\r\n\r\n"), format!("{INVALID}Spam: True ; 5.x / 5")),
        (
            "SPAMD/1.0 75 EX_TEMPFAIL\r\n\r\n".to_string(),
            format!("{INVALID}SPAMD/1.0 75 EX_TEMPFAIL"),
        ),
        ("SPAMD/1.1 7 EX_OK\r\n\r\n".to_string(), format!("{INVALID}SPAMD/1.1 7 EX_OK")),
        ("220 mail ESMTP\r\n".to_string(), format!("{INVALID}220 mail ESMTP")),
        ("garbage \u{7}".to_string(), format!("{INVALID}garbage ?")),
        (String::new(), CUT.to_string()),
        (OK.to_string(), CUT.to_string()),
        (format!("{OK}Content-length: 9\r\nSpam: True ; 9 / 5\r\n\r\nX-"), CUT.to_string()),
        (format!("{OK}Content-length: x\r\n\r\n"), format!("{INVALID}Content-length: x")),
    ] {
        let seen = match read(text.as_bytes()) {
            Ok(report) => format!("{} {}", if report.spam { "Yes" } else { "No" }, report.score),
            Err(fault) => fault.to_string(),
        };
        assert_eq!(seen, expected, "{text}");
    }
}

#[test]
fn fields_are_bounded() {
    let long = "x".repeat(VALUE_MAX * 2);
    let many: String = (0..100).map(|n| format!("X-Spam-N{n}: {long}\r\n")).collect();
    let fields = read(&answer("True ; 9 / 5", &many)).unwrap().fields;
    assert_eq!(fields.len(), FIELDS_MAX);
    assert!(fields.iter().map(|(_, value)| value.len()).sum::<usize>() <= VALUES_MAX);
    for (name, expected) in [
        ("X-Spam-Status", true),
        ("x-spam-flag", true),
        ("X-Spam-", false),
        ("X-Spam-a b", false),
        ("X-Spam-a\u{e9}", false),
        ("X-Spammy", false),
        ("Subject", false),
    ] {
        assert_eq!(is_spam_field(name), expected, "{name}");
    }
    assert!(!is_spam_field(&format!("X-Spam-{long}")));
}

#[test]
fn the_question_is_whole() {
    let (path, thread) = serve("whole", answer("True ; 15.3 / 5.0", STATUS), true);
    assert!(ask(Place::Unix(&path), &request(), soon()).unwrap().spam);
    assert_eq!(
        heard(&path, thread),
        "HEADERS SPAMC/1.4\r\nContent-length: 56\r\nUser: tim\r\n\r\n\
         X-Envelope-From: <a@example.org>\r\nSubject: x\r\n\r\nbody\r\n\r\n"
    );
}

#[test]
fn spamd_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Tcp(listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        stream.write_all(&answer("False ; 0.1 / 5.0", "")).unwrap();
    });
    assert!(!ask(place, &request(), soon()).unwrap().spam);
    thread.join().unwrap();
}

#[test]
fn what_goes_wrong_has_words() {
    let half = answer("True ; 15.3 / 5.0", STATUS);
    let endless = [answer("True ; 1 / 5", ""), vec![b'x'; 3 * ANSWER_MORE]].concat();
    for (name, octets, expected) in [
        ("silent", Vec::new(), CUT),
        ("half", half[..half.len() - 200].to_vec(), CUT),
        ("alien", b"hello\r\n".to_vec(), "invalid response from spamd: hello"),
    ] {
        let (path, thread) = serve(name, octets, true);
        let fault = ask(Place::Unix(&path), &request(), soon()).unwrap_err();
        assert_eq!(fault.to_string(), expected, "{name}");
        heard(&path, thread);
    }
    // The far end may find its client gone before all is written.
    let (path, thread) = serve("endless", endless, true);
    let fault = ask(Place::Unix(&path), &request(), soon()).unwrap_err();
    assert_eq!(fault.to_string(), "its answer is too long");
    let _broken_pipe = thread.join();
    let fault = ask(Place::Unix(Path::new("/nowhere/spamd")), &request(), soon()).unwrap_err();
    assert_eq!(fault.to_string(), "Could not connect to spamd: No such file or directory");
}

#[test]
fn silence_ends_with_the_deadline() {
    for (name, octets) in [("hangs", Vec::new()), ("stops", b"SPAMD/1.1 0".to_vec())] {
        let (path, thread) = serve(name, octets, false);
        let short = Deadline::after(Duration::from_millis(100));
        let fault = ask(Place::Unix(&path), &request(), short).unwrap_err();
        assert_eq!(fault.to_string(), "Connection timed out", "{name}");
        heard(&path, thread);
    }
}

#[test]
fn mutated_answers_stay_in_bounds() {
    let seed = answer("True ; 15.3 / 5.0", STATUS);
    for place in 0..seed.len() {
        for octet in [0, b' ', b'\n', b':', 0xff] {
            let mut octets = seed.clone();
            octets[place] = octet;
            fuzz(&octets);
            fuzz(&octets[..place]);
        }
    }
}
