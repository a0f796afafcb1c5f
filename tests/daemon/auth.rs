//! Logins by the daemon and those who check passwords for it, each of them a program or server of the
//! test's own; the real ones are asked in the tests of the clients in `src/client/`.

use crate::daemon::client::{Client, small};
use crate::daemon::house::{Daemon, House};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

fn serve(house: &House, plugin: &str) -> Daemon {
    house.set("tls_before_auth", "0");
    let queue = format!("queue/maildir {}", house.path("Maildir").display());
    house.set("plugins", &format!("relay\n{plugin}\nrcpt_ok\n{queue}"));
    house.start()
}

fn login(client: &mut Client, user: &str, password: &str, reply: &str) -> String {
    let message = STANDARD.encode(format!("\0{user}\0{password}"));
    client.expect(&format!("AUTH PLAIN {message}"), reply)
}

/// Who is accepted may relay; who is not, and who could not be checked, may not.
fn judge(daemon: &Daemon, text: &str) {
    let mut client = daemon.client();
    let said = login(&mut client, "ann@example.com", "secret", "235 2.7.0 ");
    assert!(said.ends_with(text), "{said}");
    client.expect("MAIL FROM:<ann@example.com>", "250");
    client.expect("RCPT TO:<b@example.org>", "250");
    client.expect("RSET", "250");
    client.deliver(&small("by a user"));
    let mut client = daemon.client();
    login(&mut client, "ann@example.com", "guess", "535 5.7.8 ");
    client.expect("MAIL FROM:<ann@example.com>", "250");
    client.expect("RCPT TO:<b@example.org>", "550 5.7.1 ");
    let lines = daemon.log.lines();
    assert!(!lines.iter().any(|line| line.contains("secret")), "{lines:#?}");
}

fn cannot_tell(daemon: &Daemon) {
    let mut client = daemon.client();
    login(&mut client, "ann@example.com", "secret", "454 4.7.0 ");
    client.expect("MAIL FROM:<ann@example.com>", "250");
    client.expect("RCPT TO:<b@example.org>", "550 5.7.1 ");
    daemon.log.line("was not checked");
}

fn program(house: &House, name: &str, text: &str) -> String {
    let path = house.path(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_checkpassword_program_is_asked() {
    let house = House::new();
    // NUL becomes a blank, which neither user nor password has.
    let script = "tr '\\0' ' ' <&3 | grep -q '^ann@example.com secret Y' || exit 1\nexec \"$@\"";
    let checker = program(&house, "checker", script);
    let daemon = serve(&house, &format!("auth/auth_checkpassword checkpw {checker}"));
    judge(&daemon, "for ann@example.com - auth_checkpassword");
    daemon.stop();
    let house = House::new();
    let checker = program(&house, "checker", "exit 111");
    let daemon = serve(&house, &format!("auth/auth_checkpassword checkpw {checker}"));
    cannot_tell(&daemon);
    daemon.stop();
}

#[test]
fn a_cvm_is_asked() {
    let house = House::new();
    let socket = house.path("cvm");
    let plugin = format!("auth/auth_cvm_unix_local cvm_socket {}", socket.display());
    let daemon = serve(&house, &plugin);
    // It is not there yet.
    cannot_tell(&daemon);
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut question) = (stream.unwrap(), Vec::new());
            stream.read_to_end(&mut question).unwrap();
            let right = question == b"\x01ann\0example.com\0secret\0\0";
            // The verdict, and facts about the account with a NUL behind each and behind all.
            let answer: &[u8] = if right { b"\0\x01ann\0\0" } else { &[100] };
            stream.write_all(answer).unwrap();
        }
    });
    judge(&daemon, "for ann@example.com - authcvm/plain");
    daemon.stop();
}

#[test]
fn an_imap_server_is_asked() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let daemon = serve(&house, &format!("auth/auth_imap 127.0.0.1 {port}"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"* OK ready\r\n").unwrap();
            let mut said = Vec::new();
            let mut buffer = [0; 512];
            // The literals of user and password, each asked for; then the end of the command.
            while !said.ends_with(b"secret\r\n") && !said.ends_with(b"guess\r\n") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => said.extend(&buffer[..count]),
                }
                if said.ends_with(b"}\r\n") {
                    stream.write_all(b"+ go on\r\n").unwrap();
                }
            }
            let right = said.ends_with(b"secret\r\n");
            let reply = if right { "a OK in\r\n" } else { "a NO [AUTHENTICATIONFAILED] no\r\n" };
            let _gone = stream.write_all(reply.as_bytes());
        }
    });
    judge(&daemon, "for ann@example.com - auth_imap");
    daemon.stop();
}

#[test]
fn the_shadow_file_is_looked_at() {
    let house = House::new();
    let hash = mailreeve::authn::password::new_sha512("secret", b"abcdefghijkl").unwrap();
    let shadow = house.path("shadow");
    fs::write(&shadow, format!("ann@example.com:{hash}:19000::::::\nroot:{hash}:19000::::::\n"))
        .unwrap();
    let daemon = serve(&house, &format!("auth/system {}", shadow.display()));
    judge(&daemon, "for ann@example.com - system");
    let mut client = daemon.client();
    login(&mut client, "root", "secret", "535 5.7.8 ");
    daemon.stop();
    let house = House::new();
    let daemon = serve(&house, &format!("auth/system {}", house.path("nothing").display()));
    cannot_tell(&daemon);
    daemon.stop();
}

#[test]
fn an_ldap_server_that_is_away_is_no_wrong_password() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let plugin = format!("auth/auth_ldap_bind ldap_base dc=example ldap_port {port}");
    let daemon = serve(&house, &plugin);
    cannot_tell(&daemon);
    daemon.stop();
    let daemon = serve(&House::new(), "auth/dovecot /nonexistent/auth-client");
    cannot_tell(&daemon);
    daemon.stop();
}
