//! A clamd that says what a test wants. Debian's real one is asked in `tests/daemon/virus.rs`.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a fake says to a message.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// This, when it has all of the message.
    Say(&'static [u8]),
    /// This, without having read any of it.
    Hasty(&'static [u8]),
    /// Nothing, until the client gives up.
    Hang,
    /// Nothing, neither to this nor to the question for its version.
    Mute,
}

/// A clamd on a Unix socket.
pub(crate) struct Fake {
    pub(crate) path: PathBuf,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Fake {
    pub(crate) fn start(name: &str, act: Act) -> Fake {
        let path = std::env::temp_dir().join(format!("clamd-{}-{name}", std::process::id()));
        let _old = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let mut messages = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                match &*command(&mut stream) {
                    b"" => return messages,
                    b"zVERSION" if matches!(act, Act::Mute) => drain(&mut stream),
                    b"zVERSION" => stream.write_all(b"ClamAV 1.4.6/27000/Mon Nov 23\0").unwrap(),
                    b"zINSTREAM" => messages.extend(serve(&mut stream, act)),
                    other => panic!("{}", other.escape_ascii()),
                }
            }
        });
        Fake { path, thread }
    }

    /// Ends it; gives the messages it has read to their ends.
    pub(crate) fn finish(self) -> Vec<Vec<u8>> {
        drop(UnixStream::connect(&self.path).unwrap());
        let messages = self.thread.join().unwrap();
        std::fs::remove_file(&self.path).unwrap();
        messages
    }
}

fn command(stream: &mut UnixStream) -> Vec<u8> {
    let (mut command, mut octet) = (Vec::new(), [0]);
    while stream.read(&mut octet).unwrap() == 1 && octet != [0] {
        command.push(octet[0]);
    }
    command
}

fn drain(stream: &mut UnixStream) {
    // The client may hang up in any way it likes.
    let _end = stream.read_to_end(&mut Vec::new());
}

fn serve(stream: &mut UnixStream, act: Act) -> Option<Vec<u8>> {
    match act {
        Act::Say(answer) => {
            let message = chunks(stream);
            stream.write_all(answer).unwrap();
            Some(message)
        }
        Act::Hasty(answer) => {
            stream.write_all(answer).unwrap();
            None
        }
        Act::Hang | Act::Mute => {
            drain(stream);
            None
        }
    }
}

fn chunks(stream: &mut UnixStream) -> Vec<u8> {
    let mut message = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 {
            return message;
        }
        assert!(length <= CHUNK);
        let mut chunk = vec![0; length];
        stream.read_exact(&mut chunk).unwrap();
        message.extend(chunk);
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn shown(result: Result<Finding, Fault>) -> String {
    match result {
        Ok(Finding::Clean) => "clean".to_string(),
        Ok(Finding::Virus(name)) => format!("virus {name}"),
        Err(fault) => format!("error {fault}"),
    }
}

#[test]
fn answers() {
    let long = [b"stream: ", &[b'x'; 1_000][..], b" FOUND"].concat();
    let cut = format!("virus {}", "x".repeat(NAME_MAX));
    for (answer, expected) in [
        (&b"stream: OK"[..], "clean"),
        (b"stream: Eicar-Test-Signature.UNOFFICIAL FOUND", "virus Eicar-Test-Signature.UNOFFICIAL"),
        (b"stream: OK FOUND", "virus OK"),
        (b"stream: a\r\nX: b\x1b[2J\xff FOUND", "virus a??X: b?[2J?"),
        (b"stream:  FOUND", "virus unnamed"),
        (b"stream: FOUND", "virus unnamed"),
        (&long, &cut),
        (b"stream: Can't allocate memory ERROR", "error stream: Can't allocate memory"),
        (
            b"INSTREAM size limit exceeded. ERROR",
            "error the message is longer than its StreamMaxLength",
        ),
        (b"stream: OK\n", "error the answer is not clamd's"),
        (b"stream: ok", "error the answer is not clamd's"),
        (b" stream: OK", "error the answer is not clamd's"),
        (b"OK", "error the answer is not clamd's"),
        (b"stream: Eicar", "error the answer is not clamd's"),
        (b"COMMAND READ TIMED OUT", "error the answer is not clamd's"),
        (b"", "error the answer is not clamd's"),
    ] {
        assert_eq!(shown(read(answer)), expected, "{}", answer.escape_ascii());
    }
}

#[test]
fn versions() {
    for (answer, expected) in [
        (&b"ClamAV 1.4.6/27000/Mon Nov 23 10:00:00 2026"[..], Some("ClamAV 1.4.6")),
        (b"ClamAV 0.103.8", Some("ClamAV 0.103.8")),
        (b"ClamAV 1\r\nX: y", Some("ClamAV 1??X: y")),
        (b"UNKNOWN COMMAND", None),
        (b"", None),
    ] {
        assert_eq!(read_version(answer).ok().as_deref(), expected);
    }
}

#[test]
fn messages_arrive_as_they_are() {
    let fake = Fake::start("whole", Act::Say(b"stream: OK\0"));
    let place = Place::Unix(&fake.path);
    assert_eq!(version(place, soon()).unwrap(), "ClamAV 1.4.6");
    let body = b"0123456789abcde\n".repeat(20_000);
    let parts: [&[u8]; 3] = [b"Subject: x\r\n", b"", &body];
    assert_eq!(scan(place, &parts, soon()), Ok(Finding::Clean));
    assert_eq!(scan(place, &[], soon()), Ok(Finding::Clean));
    assert_eq!(fake.finish(), [parts.concat(), Vec::new()]);
}

#[test]
fn who_does_not_answer_well_has_not_scanned() {
    let flood: &[u8] = &[b'x'; 3 * ANSWER_MAX];
    for (name, act, expected) in [
        ("dies", Act::Say(b"stream: O"), "error it closed the connection"),
        ("leaves", Act::Say(b""), "error it closed the connection"),
        ("alien", Act::Say(b"220 mx ESMTP\r\n\0"), "error the answer is not clamd's"),
        ("flood", Act::Say(Box::leak(flood.into())), "error a line of its answer is too long"),
        ("found", Act::Say(b"stream: Eicar FOUND\0more"), "virus Eicar"),
    ] {
        let fake = Fake::start(name, act);
        assert_eq!(shown(scan(Place::Unix(&fake.path), &[b"text"], soon())), expected, "{name}");
        fake.finish();
    }
    let fake = Fake::start("hangs", Act::Hang);
    let short = Deadline::after(Duration::from_millis(100));
    let place = Place::Unix(&fake.path);
    assert_eq!(shown(scan(place, &[b"text"], short)), "error Connection timed out");
    fake.finish();
    let nowhere = Place::Unix(Path::new("/nowhere/clamd"));
    assert_eq!(shown(scan(nowhere, &[b"text"], soon())), "error No such file or directory");
}

/// The message is longer than what a socket holds, so that it cannot all have been sent.
#[test]
fn who_hangs_up_early_is_still_heard() {
    let long = vec![b'x'; 8_000_000];
    for (name, answer, expected) in [
        (
            "full",
            &b"INSTREAM size limit exceeded. ERROR\0"[..],
            "error the message is longer than its StreamMaxLength",
        ),
        ("early", b"stream: Eicar FOUND\0", "virus Eicar"),
        ("hasty", b"stream: OK\0", "error Broken pipe"),
    ] {
        let fake = Fake::start(name, Act::Hasty(answer));
        let seen = shown(scan(Place::Unix(&fake.path), &[&long], soon()));
        let reset = seen.replace("Connection reset by peer", "Broken pipe");
        assert_eq!(reset, expected, "{name}");
        fake.finish();
    }
}
