//! Asks p0f, version 3, what kind of machine a client is, through p0f's Unix socket.
//!
//! The protocol is one question of 21 octets and one answer of 232, numbers in the order of the
//! machine. p0f runs here and answers from memory; if it hangs, a mail must not wait for it, so the
//! deadline holds for connecting as well.

use crate::client::deadline::Deadline;
use crate::client::unix::connect;
use crate::mail::headers::clean;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::Path;

/// First number of a question.
const ASK: u32 = 0x5030_4601;

/// First number of an answer.
const ANSWER: u32 = 0x5030_4602;

/// Octets of a question.
const ASK_LEN: usize = 21;

/// Octets of an answer.
const ANSWER_LEN: usize = 232;

/// Where the numbers stand in an answer, and the texts, each of them 32 octets that end with a NUL.
const UPTIME: usize = 20;
const DISTANCE: usize = 36;
const OS_NAME: usize = 40;
const OS_FLAVOR: usize = 72;
const LINK_TYPE: usize = 168;
const TEXT_LEN: usize = 32;

/// What p0f takes a machine for. The texts are printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// `Linux`, `Windows`; empty where only the link was recognised.
    pub os: String,
    /// `2.6.x`, `7 or 8`; may be empty.
    pub flavor: String,
    /// `Ethernet or modem`, `DSL`; may be empty.
    pub link: String,
    /// Minutes that the machine has been up; None where its packets do not tell.
    pub uptime: Option<u32>,
    /// Hops to it; None where that is not known.
    pub distance: Option<u16>,
}

/// Asks for one address. None if p0f does not know the machine.
///
/// # Errors
/// The system's, `TimedOut` among them, or `InvalidData` for an answer that is none.
pub fn ask(path: &Path, ip: IpAddr, deadline: Deadline) -> io::Result<Option<Fingerprint>> {
    let mut stream = connect(path, deadline)?;
    stream.set_write_timeout(Some(deadline.left()?))?;
    stream.write_all(&question(ip))?;
    let mut octets = [0; ANSWER_LEN];
    let mut rest = octets.as_mut_slice();
    while !rest.is_empty() {
        stream.set_read_timeout(Some(deadline.left()?))?;
        match stream.read(rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => rest = rest.split_at_mut_checked(count).map_or(&mut [], |(_, rest)| rest),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    read(&octets).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
}

fn question(ip: IpAddr) -> Vec<u8> {
    let (family, octets) = match ip {
        IpAddr::V4(ip) => (4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (6, ip.octets().to_vec()),
    };
    let mut question = ASK.to_ne_bytes().to_vec();
    question.push(family);
    question.extend(octets);
    question.resize(ASK_LEN, 0);
    question
}

/// Reads an answer; the error says in words why it is none.
fn read(octets: &[u8; ANSWER_LEN]) -> Result<Option<Fingerprint>, &'static str> {
    let number = |at: usize| {
        let four = octets.get(at..).and_then(|rest| rest.first_chunk::<4>());
        four.map_or(0, |four| u32::from_ne_bytes(*four))
    };
    if number(0) != ANSWER {
        return Err("the answer is not p0f's");
    }
    match number(4) {
        0x10 => {}
        0x20 => return Ok(None),
        _ => return Err("p0f does not understand the question"),
    }
    let text = |at: usize| {
        let field = octets.get(at..).and_then(|rest| rest.first_chunk::<TEXT_LEN>());
        let end = field.and_then(|field| field.split(|octet| *octet == 0).next());
        clean(end.unwrap_or_default(), TEXT_LEN).trim().to_string()
    };
    let distance = octets.get(DISTANCE..).and_then(|rest| rest.first_chunk::<2>());
    let found = Fingerprint {
        os: text(OS_NAME),
        flavor: text(OS_FLAVOR),
        link: text(LINK_TYPE),
        uptime: Some(number(UPTIME)).filter(|minutes| *minutes > 0),
        // -1 where p0f does not know.
        distance: distance.and_then(|two| u16::try_from(i16::from_ne_bytes(*two)).ok()),
    };
    let known = !(found.os.is_empty() && found.link.is_empty());
    Ok(known.then_some(found))
}

/// Any 232 octets, shorter inputs filled with zeroes, give short printable texts.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let mut octets = [0; ANSWER_LEN];
    octets.iter_mut().zip(data).for_each(|(octet, given)| *octet = *given);
    if let Ok(Some(found)) = read(&octets) {
        for text in [found.os, found.flavor, found.link] {
            assert!(text.len() <= TEXT_LEN && text.bytes().all(|it| matches!(it, b' '..=b'~')));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread::JoinHandle;
    use std::time::Duration;

    /// An answer as p0f writes it.
    pub(crate) fn answer(status: u32, os: &str, flavor: &str, link: &str) -> Vec<u8> {
        let mut octets = [ANSWER.to_ne_bytes(), status.to_ne_bytes()].concat();
        octets.resize(ANSWER_LEN, 0);
        for (at, text) in [(OS_NAME, os), (OS_FLAVOR, flavor), (LINK_TYPE, link)] {
            octets[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        octets
    }

    /// A p0f that answers one question; gives the question back.
    pub(crate) fn serve(name: &str, octets: Vec<u8>) -> (PathBuf, JoinHandle<Vec<u8>>) {
        let path = std::env::temp_dir().join(format!("p0f-{}-{name}", std::process::id()));
        let _old = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let file = path.clone();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = vec![0; ASK_LEN];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&octets).unwrap();
            // A short answer is followed by silence, not by an end, until the client gives up.
            let _end = stream.read(&mut [0]);
            std::fs::remove_file(file).unwrap();
            question
        });
        (path, thread)
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[test]
    fn machines_are_recognised() {
        let linux = Fingerprint {
            os: "Linux".to_string(),
            flavor: "3.x".to_string(),
            link: "DSL".to_string(),
            uptime: None,
            distance: Some(0),
        };
        let far = {
            let mut octets = answer(0x10, "Linux", "3.x", "DSL");
            octets[UPTIME..UPTIME + 4].copy_from_slice(&90_000_u32.to_ne_bytes());
            octets[DISTANCE..DISTANCE + 2].copy_from_slice(&12_i16.to_ne_bytes());
            octets
        };
        let unknown_way = {
            let mut octets = answer(0x10, "Linux", "3.x", "DSL");
            octets[DISTANCE..DISTANCE + 2].copy_from_slice(&(-1_i16).to_ne_bytes());
            octets
        };
        let nameless = Fingerprint { os: String::new(), flavor: String::new(), ..linux.clone() };
        for (name, octets, expected) in [
            (
                "far",
                far,
                Ok(Some(Fingerprint { uptime: Some(90_000), distance: Some(12), ..linux.clone() })),
            ),
            ("way", unknown_way, Ok(Some(Fingerprint { distance: None, ..linux.clone() }))),
            ("known", answer(0x10, "Linux", "3.x", "DSL"), Ok(Some(linux))),
            ("link", answer(0x10, "", "", "DSL"), Ok(Some(nameless))),
            ("nothing", answer(0x10, "", "", ""), Ok(None)),
            ("unknown", answer(0x20, "", "", ""), Ok(None)),
            ("bad", answer(0, "", "", ""), Err(io::ErrorKind::InvalidData)),
            ("alien", vec![b'x'; ANSWER_LEN], Err(io::ErrorKind::InvalidData)),
        ] {
            let (path, thread) = serve(name, octets);
            let seen = ask(&path, "192.0.2.1".parse().unwrap(), soon());
            assert_eq!(seen.map_err(|error| error.kind()), expected, "{name}");
            let asked = thread.join().unwrap();
            assert_eq!(asked[4..], [[4, 192, 0, 2, 1].as_slice(), &[0; 12]].concat());
            assert_eq!(asked[..4], ASK.to_ne_bytes());
        }
    }

    #[test]
    fn ipv6_addresses_are_asked_whole() {
        let octets = question("2001:db8::25".parse().unwrap());
        assert_eq!((octets.len(), octets[4], octets[5], octets[20]), (ASK_LEN, 6, 0x20, 0x25));
    }

    #[test]
    fn silence_ends_with_the_deadline() {
        let (path, thread) = serve("half", vec![0; 100]);
        let short = Deadline::after(Duration::from_millis(100));
        let error = ask(&path, "192.0.2.1".parse().unwrap(), short).unwrap_err();
        let late = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        assert!(late, "{error}");
        thread.join().unwrap();
    }

    #[test]
    fn nobody_there_is_an_error() {
        let error = ask(Path::new("/nowhere/p0f"), "192.0.2.1".parse().unwrap(), soon());
        assert_eq!(error.map_err(|it| it.kind()), Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn mutated_answers_are_printable() {
        let seed = answer(0x10, "Linux", "3.x", "DSL");
        for place in 0..seed.len() {
            for octet in [0, 1, b'\n', 0x7f, 0xff] {
                let mut octets = seed.clone();
                octets[place] = octet;
                fuzz(&octets);
                fuzz(&octets[..place]);
            }
        }
    }
}
