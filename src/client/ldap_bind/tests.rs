//! A server that answers octets, as RFC 4511 has them. A real one is asked in `tests/checkers.rs`.

use super::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

/// Sends each answer when something has come, and closes behind the last; gives what it heard.
fn serve(answers: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        for answer in answers {
            let mut head = [0; 2];
            stream.read_exact(&mut head).unwrap();
            let mut content = vec![0; usize::from(head[1])];
            stream.read_exact(&mut content).unwrap();
            heard.push([&head[..], &content].concat());
            // The client may have hung up on what he did not like.
            let _left = stream.write_all(&answer);
        }
        let mut rest = Vec::new();
        let _left = stream.read_to_end(&mut rest);
        heard.push(rest);
        heard
    });
    (address, thread)
}

fn done(number: u8, tag: u8, code: u8, words: &str) -> Vec<u8> {
    let parts: [&[u8]; 3] = [
        &element(ENUMERATED, &[&[code]]),
        &element(OCTETS, &[b"dc=example"]),
        &element(OCTETS, &[words.as_bytes()]),
    ];
    message(number, &element(tag, &parts)).to_vec()
}

fn entry(name: &str) -> Vec<u8> {
    let parts: [&[u8]; 2] = [&element(OCTETS, &[name.as_bytes()]), &element(SEQUENCE, &[])];
    message(FIRST, &element(ENTRY, &parts)).to_vec()
}

fn ask(answers: &[&[&[u8]]], time: Duration) -> (String, Vec<Vec<u8>>) {
    let answers = answers.iter().map(|parts| parts.concat()).collect();
    let (address, thread) = serve(answers);
    let place = Place::Tcp(address);
    let directory = Directory { place, base: "dc=example", attribute: "uid" };
    let password = Password::new("geheim");
    let seen = check(&directory, "ti*m", &password, Deadline::after(time));
    let seen = seen.map_or_else(|fault| fault.to_string(), |accepted| accepted.to_string());
    (seen, thread.join().unwrap())
}

/// Requests octet by octet.
#[test]
fn requests_are_those_of_the_standard() {
    let searched = [entry("uid=tim,dc=example"), done(FIRST, FOUND, 0, "")].concat();
    let (seen, heard) =
        ask(&[&[&searched], &[&done(SECOND, BOUND, 0, "")]], Duration::from_secs(20));
    assert_eq!(seen, "true");
    let expected: [&[u8]; 3] = [
        b"\x30\x34\x02\x01\x01\x63\x2f\x04\x0adc=example\x0a\x01\x02\x0a\x01\x00\x02\x01\x02\
          \x02\x01\x00\x01\x01\x00\xa3\x0b\x04\x03uid\x04\x04ti*m\x30\x05\x04\x031.1",
        b"\x30\x24\x02\x01\x02\x60\x1f\x02\x01\x03\x04\x12uid=tim,dc=example\x80\x06geheim",
        b"\x30\x05\x02\x01\x03\x42\x00",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn answers_are_judged() {
    let tim = entry("uid=tim,dc=example");
    let end = done(FIRST, FOUND, 0, "");
    let reference = message(FIRST, &element(REFERENCE, &[&element(OCTETS, &[b"ldap://x/"])]));
    let padded = [&[SEQUENCE, 0x84, 0, 0, 0, u8::try_from(tim.len() - 2).unwrap()], &tim[2..]];
    let padded = padded.concat();
    for (search, bind, expected) in [
        (&[&*tim, &end][..], Some(done(SECOND, BOUND, 0, "")), "true"),
        (&[&*reference, &padded, &reference, &end], Some(done(SECOND, BOUND, 0, "")), "true"),
        (&[&*tim, &end], Some(done(SECOND, BOUND, 49, "wrong")), "false"),
        (&[&*tim, &end], Some(done(SECOND, BOUND, 48, "")), "false"),
        (
            &[&*tim, &end],
            Some(done(SECOND, BOUND, 51, "b\u{7}sy")),
            "it cannot tell: code 51, b?sy",
        ),
        (&[&*tim, &end], Some(done(SECOND, BOUND, 13, "")), "it cannot tell: code 13"),
        (&[&*tim, &end], Some(done(FIRST, BOUND, 0, "")), "it does not answer the question"),
        (&[&*tim, &end], Some(done(SECOND, FOUND, 0, "")), NOT_LDAP),
        (&[&*tim, &end], Some(b"\x30\x05\x02\x01\x02\x61\x00".to_vec()), NOT_LDAP),
        (&[&*end], None, "false"),
        (&[&*tim, &tim, &end], None, "several entries have this name"),
        (&[&*tim, &done(FIRST, FOUND, 4, "")], None, "several entries have this name"),
        (&[&*entry("")], None, "the entry has no name"),
        (&[&*done(FIRST, FOUND, 32, "")], None, "it cannot search: code 32"),
        (&[&*done(0, 0x78, 52, "bye")], None, "it does not answer the question"),
        (&[&*done(FIRST, BOUND, 0, "")], None, NOT_LDAP),
        (&[b"* OK IMAP4"], None, NOT_LDAP),
        (&[b"\x30\x80"], None, NOT_LDAP),
        (&[b"\x30\x84\xff\xff\xff\xff"], None, "its answer is too long"),
        (&[&*reference.repeat(20)], None, "it talks too much"),
    ] {
        let bind: Vec<&[u8]> = bind.iter().map(Vec::as_slice).collect();
        let answers = if bind.is_empty() { vec![search] } else { vec![search, &bind] };
        let (seen, heard) = ask(&answers, Duration::from_secs(20));
        assert_eq!(seen, expected);
        let told = heard.iter().any(|it| it.windows(6).any(|part| part == b"geheim"));
        assert_eq!(told, !bind.is_empty(), "{expected}");
    }
    let (seen, _) = ask(&[&[&tim[..7]]], Duration::from_millis(200));
    assert_eq!(seen, "Connection timed out");
}

/// Nobody is there to be asked.
#[test]
fn empty_passwords_are_not_sent() {
    let place = Place::Unix(std::path::Path::new("/nowhere/at/all"));
    let directory = Directory { place, base: "dc=example", attribute: "uid" };
    let soon = Deadline::after(Duration::from_secs(20));
    assert_eq!(check(&directory, "tim", &Password::new(""), soon), Ok(false));
    assert_eq!(check(&directory, "", &Password::new("x"), soon), Ok(false));
    assert!(check(&directory, "tim", &Password::new("x"), soon).is_err());
}

#[test]
fn long_elements_have_long_lengths() {
    for (length, head) in [
        (0, &[4, 0][..]),
        (127, &[4, 127]),
        (128, &[4, 0x81, 128]),
        (255, &[4, 0x81, 255]),
        (256, &[4, 0x82, 1, 0]),
        (65_536, &[4, 0x83, 1, 0, 0]),
    ] {
        let octets = vec![7; length];
        let element = element(OCTETS, &[&octets]);
        assert_eq!(*element, [head, &octets].concat());
        let mut rest = &element[..];
        assert_eq!(take(&mut rest), Some((OCTETS, &*octets)));
        assert!(rest.is_empty());
    }
}

#[test]
fn mutated_messages_are_judged() {
    for seed in [entry("uid=tim,dc=example"), done(FIRST, FOUND, 0, "words")] {
        let seed = &seed[2..];
        for place in 0..seed.len() {
            for octet in [0, 1, 2, 4, 0x7F, 0x80, 0x81, 0x84, 255] {
                let mut octets = seed.to_vec();
                octets[place] = octet;
                fuzz(&octets);
                fuzz(&octets[..place]);
            }
        }
    }
}
