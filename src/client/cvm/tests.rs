//! Modules that say what a test wants, and the octets that they are asked with. Debian's real modules
//! are asked in `tests/checkers.rs`.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn shown(verdict: Result<bool, Fault>) -> String {
    verdict.map_or_else(|fault| fault.to_string(), |accepted| accepted.to_string())
}

/// A module on a Unix socket for one question; gives the question back.
fn serve(name: &str, answer: &[u8]) -> (PathBuf, JoinHandle<Vec<u8>>) {
    let path = std::env::temp_dir().join(format!("cvm-{}-{name}", std::process::id()));
    let _old = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let (file, answer) = (path.clone(), answer.to_vec());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        // The client may have hung up on an answer that is too long.
        let _cut = stream.write_all(&answer);
        std::fs::remove_file(file).unwrap();
        question
    });
    (path, thread)
}

#[test]
fn sockets_are_asked_in_version_1() {
    let flood = vec![0; 1_000];
    let facts = b"\0\x01tim\0\x021000\0\0";
    for (name, answer, expected) in [
        ("yes", &facts[..], "true"),
        ("bare", b"\0\0", "true"),
        ("no", b"d\0", "false"),
        ("no-bare", b"d", "false"),
        ("cut", &facts[..7], "the module broke off"),
        ("cut-early", b"\0", "the module broke off"),
        ("nothing", b"", "the module closed the connection"),
        ("general", b"\x01\0", "the module has trouble"),
        ("client", b"\x02\0", "the module does not understand the question"),
        ("io", b"\x04\0", "the module has trouble reading or writing"),
        ("config", b"\x06\0", "the module is not configured well"),
        ("credentials", b"\x07\0", "the module wants other credentials"),
        ("flood", &flood, "its answer is too long"),
    ] {
        let (path, thread) = serve(name, answer);
        let module = Module::Local(&path);
        let seen = check(module, "tim@example.com", &Password::new("pass wörd"), soon());
        assert_eq!(shown(seen), expected, "{name}");
        let question = thread.join().unwrap();
        assert_eq!(question, "\u{1}tim\0example.com\0pass wörd\0\0".as_bytes());
    }
}

#[test]
fn users_have_a_domain() {
    for (user, account) in [
        ("tim", "tim\0localhost"),
        ("tim@", "tim\0"),
        ("@example.com", "\0example.com"),
        ("a@b@example.com", "a@b\0example.com"),
    ] {
        let (path, thread) = serve("domain", b"d\0");
        assert_eq!(check(Module::Local(&path), user, &Password::new("x"), soon()), Ok(false));
        let question = String::from_utf8(thread.join().unwrap()).unwrap();
        assert_eq!(question, format!("\u{1}{account}\0x\0\0"));
    }
}

/// Nobody listens, so what gives a verdict was not asked.
#[test]
fn what_a_question_cannot_hold_is_no_password() {
    let nowhere = Path::new("/nowhere/at/all");
    let udp = "127.0.0.1:9".parse().unwrap();
    for (user, password, expected) in [
        ("tim", "x".repeat(512 - 1 - 4 - 10 - 2), "No such file or directory"),
        ("tim", "x".repeat(512 - 1 - 4 - 10 - 1), "false"),
        ("tim", "x\0y".to_string(), "false"),
        ("tim", String::new(), "false"),
        ("t\0im", "x".to_string(), "false"),
    ] {
        let password = Password::new(password);
        for module in [Module::Local(nowhere), Module::Command(nowhere)] {
            assert_eq!(shown(check(module, user, &password, soon())), expected, "{user}");
        }
    }
    for password in ["x".repeat(256), "x".repeat(1_000)] {
        let password = Password::new(password);
        assert_eq!(check(Module::Udp(udp), "tim", &password, soon()), Ok(false));
    }
    let parts = |user: usize, password: usize| {
        let (user, password) = ("u".repeat(user), "x".repeat(password));
        version_2(&[0; 8], [&user, "localhost", &password]).map(|question| question.len())
    };
    assert_eq!(parts(3, 255), Some(10 + 5 + 11 + 257 + 1));
    assert_eq!(parts(255, 231), Some(512));
    assert_eq!(parts(255, 232), None);
    assert_eq!(parts(256, 1), None);
}

/// `cat` gives the question back: its first octet is no answer that a module gives to version 1.
#[test]
fn programs_that_are_no_modules_are_faults() {
    for (path, expected) in [
        ("/bin/cat", "the module has trouble"),
        ("/bin/true", "the module closed the connection"),
        ("/etc/passwd", "Permission denied"),
    ] {
        let module = Module::Command(Path::new(path));
        assert_eq!(shown(check(module, "tim", &Password::new("x"), soon())), expected, "{path}");
    }
}

/// A module on UDP: for each packet it gets, what `answer` makes of the question.
fn udp(packets: usize, answer: fn(usize, &[u8]) -> Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        for number in 0..packets {
            let mut packet = [0; 1_000];
            let (count, from) = socket.recv_from(&mut packet).unwrap();
            let question = &packet[..count];
            assert_eq!(question[..2], [2, 8]);
            assert_eq!(question[10..], *b"\x01\x03tim\x02\x09localhost\x03\x04word\0");
            for answer in answer(number, question) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    (address, thread)
}

#[test]
fn udp_is_asked_in_version_2_and_again() {
    let ask = |address, deadline| {
        shown(check(Module::Udp(address), "tim", &Password::new("word"), deadline))
    };
    let (address, thread) = udp(1, |_, question| {
        let (mut right, mut wrong) = (question[..10].to_vec(), question[..10].to_vec());
        (right[0], wrong[0], wrong[9]) = (100, 0, !wrong[9]);
        // A forger who does not know the question, who is too short, or too long; then the module.
        let (tag, long) = (question[2..10].to_vec(), [&question[..10], &[0; 600]].concat());
        vec![
            [&wrong[..], b"\0"].concat(),
            b"\0\0".to_vec(),
            tag,
            long,
            [&right[..], b"\0"].concat(),
        ]
    });
    assert_eq!(ask(address, soon()), "false");
    thread.join().unwrap();
    let (address, thread) = udp(2, |number, question| {
        let mut answer = [&question[..10], b"\x01\x03tim\0"].concat();
        answer[0] = 0;
        if number == 0 { Vec::new() } else { vec![answer] }
    });
    assert_eq!(ask(address, soon()), "true", "the first packet was lost");
    thread.join().unwrap();
    let (address, thread) = udp(1, |_, _| Vec::new());
    assert_eq!(ask(address, Deadline::after(Duration::from_millis(200))), "Connection timed out");
    thread.join().unwrap();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(ask(nobody, soon()), "Connection refused");
}

#[test]
fn mutated_answers_are_judged() {
    let seed = b"\0\x08abcdefgh\x01\x03tim\x02\x041000\0";
    for place in 0..seed.len() {
        for octet in [0, 1, 7, 8, 100, 255] {
            let mut octets = seed.to_vec();
            octets[place] = octet;
            fuzz(&octets);
            fuzz(&octets[..place]);
        }
    }
}
