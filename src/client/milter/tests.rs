//! A milter that says what a test wants.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

/// A packet.
pub(crate) fn packet(letter: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[letter], data].concat()
}

/// The filter's greeting.
pub(crate) fn greeting(version: u32, actions: u32, steps: u32) -> Vec<u8> {
    let numbers: Vec<u8> =
        [version, actions, steps].into_iter().flat_map(u32::to_be_bytes).collect();
    packet(b'O', &numbers)
}

/// A milter on a Unix socket that serves one mail.
pub(crate) struct Fake {
    pub(crate) path: PathBuf,
    thread: JoinHandle<Vec<(u8, Vec<u8>)>>,
}

impl Fake {
    /// `says` has a row for each letter that it does not answer with `continue`; nothing is silence, and
    /// it hangs up behind the letter `closes`.
    pub(crate) fn start(name: &str, says: &[(u8, Vec<u8>)], closes: u8) -> Fake {
        let path = std::env::temp_dir().join(format!("milter-{}-{name}", std::process::id()));
        let _old = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let says = says.to_vec();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut heard = Vec::new();
            while let Some((letter, data)) = hear(&mut stream) {
                let own = says.iter().find(|(of, _)| *of == letter).map(|(_, says)| says.clone());
                let silent = matches!(letter, b'D' | b'Q');
                let usual = || if silent { Vec::new() } else { packet(b'c', &[]) };
                heard.push((letter, data));
                // The client may have heard enough.
                let _gone = stream.write_all(&own.unwrap_or_else(usual));
                if letter == closes {
                    break;
                }
            }
            heard
        });
        Fake { path, thread }
    }

    /// What it was told.
    pub(crate) fn heard(self) -> Vec<(u8, Vec<u8>)> {
        let heard = self.thread.join().unwrap();
        std::fs::remove_file(&self.path).unwrap();
        heard
    }
}

fn hear(stream: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(*head.first_chunk().unwrap()) as usize;
    let mut data = vec![0; length - 1];
    stream.read_exact(&mut data).ok()?;
    Some((head[4], data))
}

type Answer = Result<(Judgement, &'static str), Fault>;

fn asked(
    name: &str,
    says: &[(u8, Vec<u8>)],
    closes: u8,
    time: Duration,
) -> (Answer, Vec<(u8, Vec<u8>)>) {
    let fake = Fake::start(name, says, closes);
    let body = vec![b'x'; CHUNK + 1];
    let strings = ["<a@example.org>".to_string()];
    let recipients = ["<b@example.com>".to_string(), "<c@example.com>".to_string()];
    let story = Story {
        host: "client.example",
        ip: "192.0.2.1".parse().unwrap(),
        port: 25,
        helo: Some("client"),
        sender: &strings,
        recipients: &recipients,
        message: Some((&[(b"Subject", b" a\r\n\tb\r\n"), (b"X", b" c\0\r\n")], &body)),
        macros: &[(Moment::Mail, "i", "7")],
    };
    let answer = converse(Place::Unix(&fake.path), &story, Deadline::after(time));
    (answer, fake.heard())
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_whole_story_is_told() {
    let (answer, heard) = asked("whole", &[(b'O', greeting(6, 0xff, 0))], 0, LONG);
    assert_eq!(answer, Ok((Judgement::Pass(Vec::new()), "eom")));
    let letters: Vec<u8> = heard.iter().map(|(letter, _)| *letter).collect();
    assert_eq!(String::from_utf8(letters).unwrap(), "ODCDHDMDRDRTLLNBBDEQ");
    let of = |letter| heard.iter().find(|(it, _)| *it == letter).map(|(_, data)| &**data);
    assert_eq!(of(b'O'), Some(&b"\0\0\0\x06\0\0\0\xff\0\x1f\xf7\xff"[..]));
    assert_eq!(of(b'C'), Some(&b"client.example\x004\0\x19192.0.2.1\0"[..]));
    assert_eq!(of(b'M'), Some(&b"<a@example.org>\0"[..]));
    assert_eq!(of(b'L'), Some(&b"Subject\0a\n\tb\0"[..]));
    assert!(heard.contains(&(b'D', b"Mi\x007\0".to_vec())));
    assert!(heard.contains(&(b'L', b"X\0c \0".to_vec())));
    assert!(
        heard
            .contains(&(b'D', b"R{rcpt_addr}\0c@example.com\0{rcpt_host}\0example.com\0".to_vec()))
    );
}

#[test]
fn steps_are_left_out_as_agreed() {
    for (name, version, steps, letters) in [
        ("old", 2, 0, "ODCDHDMDRDRLLNBBDEQ"),
        ("few", 6, 0x27f, "ODDDDDDEQ"),
        ("mute", 6, 0xf_f080, "ODCDHDMDRDRTLLNBBDEQ"),
    ] {
        let mut says = vec![(b'O', greeting(version, 0xff, steps))];
        if name == "mute" {
            says.extend(b"CHMRTLNB".iter().map(|letter| (*letter, Vec::new())));
        }
        let (answer, heard) = asked(name, &says, 0, LONG);
        assert_eq!(answer, Ok((Judgement::Pass(Vec::new()), "eom")), "{name}");
        let told: Vec<u8> = heard.iter().map(|(letter, _)| *letter).collect();
        assert_eq!(String::from_utf8(told).unwrap(), letters, "{name}");
    }
    let (answer, heard) =
        asked("skip", &[(b'O', greeting(6, 0, 0)), (b'B', packet(b's', &[]))], 0, LONG);
    assert_eq!(answer, Ok((Judgement::Pass(Vec::new()), "eom")));
    assert_eq!(heard.iter().filter(|(letter, _)| *letter == b'B').count(), 1);
}

#[test]
fn judgements() {
    let words = |class, status, closes, text: &str| {
        Judgement::Not(Reply::Words(Words { class, status, closes, text: text.to_string() }))
    };
    let pass = || Judgement::Pass(Vec::new());
    for (name, at, says, expected, step) in [
        ("accept", b'C', packet(b'a', &[]), pass(), "connect"),
        ("reject", b'H', packet(b'r', &[]), Judgement::Not(Reply::Reject), "helo"),
        ("tempfail", b'M', packet(b't', &[]), Judgement::Not(Reply::TempFail), "mail"),
        ("shutdown", b'R', packet(b'4', &[]), Judgement::Not(Reply::Shutdown), "rcpt"),
        ("discard", b'E', packet(b'd', &[]), Judgement::Not(Reply::Discard), "eom"),
        (
            "words",
            b'T',
            packet(b'y', b"550-5.7.9 a\r\n550 5.7.9 100%%\0"),
            words(5, Some((7, 9)), false, "a\n100%"),
            "data",
        ),
        ("421", b'L', packet(b'y', b"421 later\0"), words(4, None, true, "later"), "header"),
        ("odd", b'N', packet(b'y', b"451 5.7.1 x\0"), words(4, None, false, "5.7.1 x"), "eoh"),
        ("bare", b'B', packet(b'y', b"550\0"), words(5, None, false, ""), "body"),
        ("progress", b'E', packet(b'p', &[]).repeat(9), pass(), "eom"),
    ] {
        let says = if name == "progress" { [says, packet(b'c', &[])].concat() } else { says };
        let (answer, _) = asked(name, &[(b'O', greeting(6, 0, 0)), (at, says)], 0, LONG);
        assert_eq!(answer, Ok((expected, step)), "{name}");
    }
}

#[test]
fn changes_are_handed_out_with_the_last_word() {
    let says = [
        packet(b'h', b"A\0 x\0"),
        packet(b'i', b"\0\0\0\x01B\0y\0"),
        packet(b'm', b"\xff\xff\xff\xffC\0\0"),
        packet(b'b', b"one"),
        packet(b'b', b"two"),
        packet(b'e', b"<z@example.org>\0"),
        packet(b'+', b"<d@example.com>\0"),
        packet(b'2', b"<e@example.com>\0NOTIFY=NEVER\0"),
        packet(b'-', b"<b@example.com>\0"),
        packet(b'q', b"odd\0"),
    ]
    .concat();
    let full = [says.clone(), packet(b'a', &[])].concat();
    let (answer, _) = asked("all", &[(b'O', greeting(6, 0xff, 0)), (b'E', full)], 0, LONG);
    let Ok((Judgement::Pass(changes), "eom")) = answer else { panic!("{answer:?}") };
    assert_eq!(changes.len(), 9);
    assert_eq!(changes[3], Change::Body(b"onetwo".to_vec()));
    // Who dies in the middle has changed nothing.
    let (answer, _) = asked("dies", &[(b'O', greeting(6, 0xff, 0)), (b'E', says)], b'E', LONG);
    assert_eq!(answer, Err("it closed the connection".into()));
}

#[test]
fn faults_are_told_in_words() {
    let flood = packet(b'+', b"<d@example.com>\0").repeat(CHANGES_MAX + 1);
    let body = packet(b'b', &[b'x'; 200_000]).repeat(10);
    let header = packet(b'h', &[&b"A\0"[..], &[b'x'; 200_000], &[0]].concat()).repeat(6);
    for (name, greets, at, says, expected) in [
        (
            "garbage",
            b"HTTP/1.1 400".to_vec(),
            0,
            vec![],
            "a packet of 1213486160 octets is none of a milter",
        ),
        ("huge", vec![0xff; 4], 0, vec![], "a packet of 4294967295 octets is none of a milter"),
        ("empty", vec![0; 4], 0, vec![], "a packet of 0 octets is none of a milter"),
        ("letter", packet(b'c', &[]), 0, vec![], "its greeting is not a milter's"),
        ("new", greeting(7, 0, 0), 0, vec![], "it speaks version 7 of the protocol"),
        ("wants", greeting(6, 0x100, 0), 0, vec![], "it wants 0x100/0x0, which was not offered"),
        ("none", greeting(6, 0xff, 0), b'M', packet(b'?', &[]), "it says '?', which nobody knows"),
        ("cut", greeting(6, 0xff, 0), b'E', packet(b'h', b"A\0b"), "its packet 'h' is cut short"),
        (
            "early",
            greeting(6, 0xff, 0),
            b'M',
            packet(b'h', b"A\0b\0"),
            "it changes a message before its end",
        ),
        (
            "words",
            greeting(6, 0xff, 0),
            b'M',
            packet(b'y', b"250 ok\0"),
            "its reply is none: 250 ok",
        ),
        (
            "right",
            greeting(6, 0x02, 0),
            b'E',
            packet(b'q', b"x\0"),
            "it changes what it has not said it would change",
        ),
        ("flood", greeting(6, 0xff, 0), b'E', flood, "it changes too much"),
        ("body", greeting(6, 0xff, 0), b'E', body, "it changes too much"),
        ("header", greeting(6, 0xff, 0), b'E', header, "it changes too much"),
        (
            "progress",
            greeting(6, 0xff, 0),
            b'M',
            packet(b'p', &[]).repeat(PROGRESS_MAX),
            "it goes on for ever",
        ),
        (
            "failed",
            greeting(6, 0xff, 0),
            b'C',
            packet(b'f', &[]),
            "it says that its own connection has failed",
        ),
    ] {
        let (answer, _) = asked(&format!("bad-{name}"), &[(b'O', greets), (at, says)], 0, LONG);
        assert_eq!(answer, Err(expected.to_string().into()), "{name}");
    }
}

#[test]
fn who_hangs_is_left() {
    for (name, letter) in [("greeting", b'O'), ("mail", b'M'), ("end", b'E')] {
        let mut says = vec![(letter, Vec::new())];
        says.push((b'O', greeting(6, 0xff, 0)));
        let (answer, _) = asked(&format!("hang-{name}"), &says, 0, Duration::from_millis(300));
        assert_eq!(answer, Err("Connection timed out".to_string().into()), "{name}");
    }
}
