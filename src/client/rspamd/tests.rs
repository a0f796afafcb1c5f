//! Answers of Rspamd as they should be and as they should not, and servers that misbehave.

use super::*;
use crate::client::smtp::script::{Play, Server};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// An answer as Rspamd writes it.
pub(crate) fn answer(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nServer: rspamd\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

/// The body of an answer with this action and score.
pub(crate) fn verdict(action: &str, score: &str) -> String {
    format!(
        "{{\"is_skipped\":false,\"score\":{score},\"required_score\":15.0,\"action\":\"{action}\",\
         \"symbols\":{{\"A\":{{\"name\":\"A\",\"score\":1.0,\"options\":[\"x\"]}},\"B_2\":{{}}}},\
         \"messages\":{{}},\"message-id\":\"x@y\",\"time_real\":0.000473}}"
    )
}

/// An Rspamd on a Unix socket that reads one question and says `octets`, `times` times; then it closes
/// if `closes`, else waits for the client to go. Gives the question back.
pub(crate) fn serve(
    name: &str,
    octets: Vec<u8>,
    times: usize,
    closes: bool,
) -> (PathBuf, JoinHandle<String>) {
    let path = std::env::temp_dir().join(format!("rspamd-{}-{name}", std::process::id()));
    let _old = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let file = path.clone();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let question = question(&stream);
        // Who is flooded goes away in the middle of it.
        let _told = (0..times).all(|_| stream.write_all(&octets).is_ok());
        if !closes {
            // Nothing can come but the client's end.
            let _end = stream.read(&mut [0]);
        }
        std::fs::remove_file(file).unwrap();
        question
    });
    (path, thread)
}

/// A request, whole.
fn question(stream: &UnixStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let before = head.len();
        if reader.read_line(&mut head).unwrap() == 0 {
            return head;
        }
        if let Some(number) = head.get(before..).unwrap().strip_prefix("Content-Length: ") {
            length = number.trim_end().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// What it was asked; nothing, if nobody came.
pub(crate) fn heard(path: &Path, thread: JoinHandle<String>) -> String {
    // Who has had no client by now takes this one. Where it is gone already nothing is to be done.
    drop(UnixStream::connect(path));
    thread.join().unwrap()
}

fn fields() -> [(&'static str, String); 2] {
    [("From", "a@example.org\r\nX: y".to_string()), ("IP", "192.0.2.1".to_string())]
}

fn ask_it(place: Place<'_>, time: Duration) -> Result<Report, String> {
    let parts = [b"Subject: x\r\n".as_slice(), b"\r\n", b"body\r\n"];
    let request = Request { fields: &fields(), parts };
    ask(place, &request, Deadline::after(time)).map_err(|fault| fault.to_string())
}

#[test]
fn a_message_is_asked_about() {
    let (path, thread) = serve("asked", answer(&verdict("add header", "7.25")), 1, false);
    let report = ask_it(Place::Unix(&path), Duration::from_secs(60)).unwrap();
    assert_eq!(
        heard(&path, thread),
        "POST /checkv2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 20\r\n\
         From: a@example.org??X: y\r\nIP: 192.0.2.1\r\n\r\nSubject: x\r\n\r\nbody\r\n"
    );
    let expected = Report {
        action: Action::AddHeader,
        score: Points::read("7.25").unwrap(),
        required: Points::read("15"),
        symbols: vec!["A".to_string(), "B_2".to_string()],
        subject: None,
    };
    assert_eq!(report, expected);
    // An answer that ends with the connection.
    let open = b"HTTP/1.0 200\r\n\r\n{\"action\":\"reject\",\"score\":1}".to_vec();
    let (path, thread) = serve("open", open, 1, true);
    let report = ask_it(Place::Unix(&path), Duration::from_secs(60)).unwrap();
    assert_eq!(report.action, Action::Reject);
    heard(&path, thread);
    // Over TCP. This server reads to the end before it closes, so that nothing is lost by a reset.
    let server = Server::start(&[
        Play::Say(""),
        Play::Say(
            "HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n{\"action\":\"reject\",\"score\":2}",
        ),
    ]);
    let report = ask_it(Place::Tcp(server.address()), Duration::from_secs(60)).unwrap();
    assert_eq!(report.score, Points::from(2));
    assert_eq!(server.heard().first().map(String::as_str), Some("POST /checkv2 HTTP/1.1"));
}

#[test]
fn servers_misbehave() {
    const CLOSED: &str = "it closed the connection";
    let good = answer(&verdict("reject", "20"));
    let half = good.get(..good.len() - 10).unwrap().to_vec();
    let huge = b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n".to_vec();
    for (name, octets, times, closes, expected) in [
        ("dies", half.clone(), 1, true, CLOSED),
        ("mute", Vec::new(), 1, true, CLOSED),
        ("hangs", Vec::new(), 1, false, "Connection timed out"),
        ("hangs-late", half, 1, false, "Connection timed out"),
        ("huge", huge, 1, false, "its answer is too long"),
        ("line", vec![b'x'; 9_000], 1, false, "a line of its answer is too long"),
        ("lines", b"A: b\r\n".repeat(101), 1, false, "the header of its answer is too long"),
        ("garbage", b"\x1b[2J\r\n\r\n".to_vec(), 1, true, "invalid response from rspamd: ?[2J"),
    ] {
        let (path, thread) = serve(name, octets, times, closes);
        let time = if expected == "Connection timed out" { 100 } else { 60_000 };
        let told = ask_it(Place::Unix(&path), Duration::from_millis(time)).unwrap_err();
        assert_eq!(told, expected, "{name}");
        heard(&path, thread);
    }
    let flood = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 1_000]].concat();
    let (path, thread) = serve("flood", flood, 10_000, true);
    let told = ask_it(Place::Unix(&path), Duration::from_secs(60)).unwrap_err();
    assert_eq!(told, "its answer is too long");
    heard(&path, thread);
    let nobody = ask_it(Place::Unix(Path::new("/nowhere")), Duration::from_secs(60)).unwrap_err();
    assert_eq!(nobody, "Could not connect to rspamd: No such file or directory");
}

#[test]
fn heads() {
    for (text, expected) in [
        ("HTTP/1.1 200 OK", "None"),
        ("HTTP/1.1 200 OK\nContent-length:  5 ", "Some(5)"),
        ("HTTP/1.1 403 Unauthorized", "invalid response from rspamd: HTTP/1.1 403 Unauthorized"),
        ("HTTP/1.1 2000", "invalid response from rspamd: HTTP/1.1 2000"),
        ("", "invalid response from rspamd: "),
        ("HTTP/1.1 200 OK\nx", "invalid response from rspamd: x"),
        ("HTTP/1.1 200 OK\nContent-Length: -1", "invalid response from rspamd: Content-Length: -1"),
        (
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked",
            "invalid response from rspamd: Transfer-Encoding: chunked",
        ),
    ] {
        let lines: Vec<Vec<u8>> = text.split('\n').map(Into::into).collect();
        let told = match read_head(&lines) {
            Ok(length) => format!("{length:?}"),
            Err(fault) => fault.to_string(),
        };
        assert_eq!(told, expected, "{text}");
    }
}

#[test]
fn bodies() {
    const INVALID: &str = "invalid response from rspamd: ";
    let deep = format!("{{\"x\":{}", "[".repeat(100_000));
    let many: String = (0..1_000).map(|number| format!("\"S{number}\":{{}},")).collect();
    let many = format!("{{\"action\":\"reject\",\"score\":1,\"symbols\":{{{many}\"E\":1}}}}");
    assert_eq!(read(many.as_bytes()).unwrap().symbols.len(), SYMBOLS_MAX);
    for (text, expected) in [
        (r#" {"action" : "no action", "score": -0.0004} "#, "no action 0.0".to_string()),
        (r#"{"score":1e3,"action":"soft reject"}"#, "soft reject 1000.0".to_string()),
        (r#"{"score":1e30,"action":"discard"}"#, "discard 9999999.0".to_string()),
        (r#"{"score":1,"action":"re\u006aect","subject":"\ud83d\ude00\n\"\ud83d"}"#, {
            "reject 1.0 \u{1f600}?\"\u{fffd}".to_string()
        }),
        (r#"{"score":1,"action":"explode\n"}"#, {
            "rspamd wants what is not known here: explode?".to_string()
        }),
        (r#"{"score":"1","action":"reject"}"#, "rspamd gives no verdict".to_string()),
        (r#"{"error":"x"}"#, "rspamd gives no verdict".to_string()),
        (r#"[{"action":"reject","score":1}]"#, "rspamd gives no verdict".to_string()),
        (r#"{"score":1,"action":"reject"} x"#, format!("{INVALID}there is more behind its end")),
        (r#"{"score":1,"action":"rej"#, format!("{INVALID}a string without an end")),
        (r#"{"score":1 "action":2}"#, format!("{INVALID}a comma or bracket is missing")),
        (r#"{"score"}"#, format!("{INVALID}a name without a value")),
        (r#"{score:1}"#, format!("{INVALID}a string is missing")),
        (r#"{"score":1-1}"#, format!("{INVALID}a number that is none")),
        (r#"{"score":1e999}"#, format!("{INVALID}a number that is none")),
        (r#"{"score":yes}"#, format!("{INVALID}what is no value")),
        (r#"{"a":"\x"}"#, format!("{INVALID}an escape that there is not")),
        (r#"{"a":"\u+123"}"#, format!("{INVALID}an escape that there is not")),
        ("{\"a\":\"\n\"}", format!("{INVALID}a control character in a string")),
        ("", format!("{INVALID}it ends too early")),
        (&deep, format!("{INVALID}it is nested too deep")),
    ] {
        let told = match read(text.as_bytes()) {
            Ok(report) => {
                let subject = report.subject.map(|it| format!(" {it}")).unwrap_or_default();
                format!("{} {}{subject}", report.action.name(), report.score)
            }
            Err(fault) => fault.to_string(),
        };
        assert_eq!(told, expected, "{}", text.get(..50).unwrap_or(text));
    }
}

#[test]
fn long_texts_are_cut() {
    let mut reader = Reader::new("\"ab\u{e9}c\" ".as_bytes());
    assert_eq!(reader.text(3).unwrap().as_deref(), Some("ab\u{fffd}"));
    assert_eq!(reader.end(), Ok(()));
    let mut reader = Reader::new(br#""\ud83d\ude00a""#);
    assert_eq!(reader.text(3).unwrap().as_deref(), Some(""));
    assert_eq!(Reader::new(b"[true,false,null,{}]").number(), Ok(None));
}
