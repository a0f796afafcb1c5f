//! Debian's clamd, with a folder of signatures of its own that knows one virus: the test file of EICAR,
//! which is none.

use crate::daemon::client::small;
use crate::daemon::house::House;
use crate::daemon::system::{skip, succeeds, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// MD5 and size of the test file.
const SIGNATURE: &str = "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n";

/// The test file in base64, so that nobody who scans these sources finds it.
const EICAR: &str = "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy1URVNU\r\n\
    LUZJTEUhJEgrSCo=\r\n";

/// A clamd, ended with the test.
struct Clamd {
    child: Child,
    socket: PathBuf,
    port: u16,
}

impl Clamd {
    fn start(house: &House) -> Clamd {
        let folder = house.path("clamd");
        fs::create_dir_all(folder.join("db")).unwrap();
        fs::write(folder.join("db/own.hdb"), SIGNATURE).unwrap();
        let socket = folder.join("socket");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Foreground yes\nLocalSocket {}\nTCPAddr 127.0.0.1\nTCPSocket {port}\n\
             DatabaseDirectory {}\nTemporaryDirectory {}\nStreamMaxLength 300K\n",
            socket.display(),
            folder.join("db").display(),
            folder.display(),
        );
        fs::write(folder.join("clamd.conf"), config).unwrap();
        let mut command = Command::new("clamd");
        command.arg("-c").arg(folder.join("clamd.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let clamd = Clamd { child, socket, port };
        until("clamd", || UnixStream::connect(&clamd.socket).ok());
        until("clamd", || TcpStream::connect(("127.0.0.1", port)).ok());
        clamd
    }
}

impl Drop for Clamd {
    fn drop(&mut self) {
        // It may have ended by itself; then the test has said so.
        let _gone = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        let _status = self.child.wait();
    }
}

fn infected() -> Vec<u8> {
    format!(
        "From: a@example.org\r\nSubject: invoice\r\nX-Virus-Found: No\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: \
         application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n{EICAR}--b--\r\n"
    )
    .into_bytes()
}

/// The fields of a kept mail that are about viruses.
fn fields(mail: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(mail);
    let ours = text.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-virus-"));
    ours.map(str::to_string).collect()
}

#[test]
fn clamd_finds_and_marks() {
    if !succeeds("clamd", &["--version"]) {
        return skip("clamd_finds_and_marks", "clamd is not installed");
    }
    let house = House::new();
    let clamd = Clamd::start(&house);
    let (socket, port) = (clamd.socket.display(), clamd.port);
    let conf = house.path("clamd/clamd.conf");
    let maildir = format!("queue/maildir {}", house.path("Maildir").display());
    let lines = [
        format!("virus/clamdscan clamd_socket {socket}"),
        format!("virus/clamdscan clamd_port {port} clamd_host localhost deny_viruses no"),
        format!("virus/clamav clamd_conf={}", conf.display()),
    ];
    for (number, line) in lines.iter().enumerate() {
        house.set("plugins", &format!("rcpt_ok\n{line}\n{maildir}"));
        let daemon = house.start();
        let reply = daemon.client().deliver(&small("clean"));
        assert!(reply.starts_with("250 "), "{reply}");
        let clean = fields(&house.take_mails()[0]);
        assert_eq!(clean[0], "X-Virus-Found: No");
        let checked = if number < 2 { "by ClamAV " } else { "Checked by ClamAV on " };
        assert!(clean[1].starts_with(&format!("X-Virus-Checked: {checked}")), "{clean:?}");
        assert!(clean[1].ends_with(" on mx.example.net"), "{clean:?}");
        let reply = daemon.client().deliver(&infected());
        daemon.log.line("fail, found virus Eicar-Test-Signature");
        if number == 1 {
            let found = fields(&house.take_mails()[0]);
            assert!(reply.starts_with("250 "), "{reply}");
            assert_eq!(found[0], "X-Virus-Found: Yes");
            assert!(found[1].starts_with("X-Virus-Details: Eicar-Test-Signature"), "{found:?}");
            assert_eq!(found.len(), 2);
        } else {
            assert!(reply.starts_with("554 5.7.1 Virus found: Eicar-Test-Signature"), "{reply}");
            assert!(house.mails().is_empty());
        }
        daemon.stop();
    }
}

#[test]
fn what_clamd_does_not_take_is_told() {
    if !succeeds("clamd", &["--version"]) {
        return skip("what_clamd_does_not_take_is_told", "clamd is not installed");
    }
    let house = House::new();
    let clamd = Clamd::start(&house);
    let maildir = format!("queue/maildir {}", house.path("Maildir").display());
    let line = format!("virus/clamdscan clamd_socket {}", clamd.socket.display());
    house.set("plugins", &format!("rcpt_ok\n{line}\n{maildir}"));
    let daemon = house.start();
    let large = [small("large"), b"0123456789abcd\r\n".repeat(50_000)].concat();
    let reply = daemon.client().deliver(&large);
    assert!(reply.starts_with("250 "), "{reply}");
    daemon.log.line("error, scanning mail: the message is longer than its StreamMaxLength");
    let marks = ["X-Virus-Found: Unknown", "X-Virus-Details: not scanned, scanner error"];
    assert_eq!(fields(&house.take_mails()[0]), marks);
    drop(clamd);
    let reply = daemon.client().deliver(&infected());
    assert!(reply.starts_with("250 "), "{reply}");
    daemon.log.nth("error, scanning mail: ", 2);
    assert_eq!(fields(&house.take_mails()[0]), marks);
    daemon.stop();
}
