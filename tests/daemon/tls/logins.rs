//! Programs that people send mail with, logging in: on listeners for submission, under TLS, with each
//! mechanism that the program has. A guess gets nothing sent.

use super::keys::{has_openssl, make_usual};
use crate::daemon::house::{Daemon, House};
use crate::daemon::peers::{message, words};
use crate::daemon::system::{skip, succeeds};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const USER: &str = "ann@example.com";

/// A daemon whose users log in by STARTTLS or under TLS from the first octet.
fn start(test: &str, program: &str, stored: &str) -> Option<(House, Daemon)> {
    if !has_openssl(test) {
        return None;
    }
    if !succeeds(program, &["--version"]) {
        skip(test, &format!("{program} not installed"));
        return None;
    }
    let house = House::new();
    make_usual(&house);
    house.set("listen", "127.0.0.1:0 submission\n127.0.0.1:0 smtps submission");
    house.set("flat_auth_pw", &format!("{USER}:{stored}"));
    let queue = format!("queue/maildir {}", house.path("Maildir").display());
    house.set("plugins", &format!("relay\nauth/auth_flat_file\nrcpt_ok\n{queue}"));
    let daemon = house.start();
    Some((house, daemon))
}

fn hashed() -> String {
    mailreeve::authn::password::new_sha512("secret", b"abcdefghijkl").unwrap()
}

/// Runs a client with the message on its standard input; true if it is content.
fn run(program: &str, arguments: &[String]) -> bool {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A client that gives up does not read all of it.
    let _sent = child.stdin.take().unwrap().write_all(&message());
    child.wait().unwrap().success()
}

/// Sends with each mechanism on both listeners, to somebody whom only our users may write to.
fn logs_in(
    test: &str,
    program: &str,
    (mechanisms, stored): (&[&str], &str),
    arguments: impl Fn(&House, u16, bool, &str, &str) -> String,
) {
    let Some((house, daemon)) = start(test, program, stored) else { return };
    for (address, implicit) in daemon.addresses.iter().zip([false, true]) {
        let line = |mechanism: &str, password: &str| {
            words(&arguments(&house, address.port(), implicit, mechanism, password))
        };
        for mechanism in mechanisms {
            assert!(run(program, &line(mechanism, "secret")), "{:#?}", daemon.log.lines());
            let mails = house.take_mails();
            assert_eq!(mails.len(), 1);
            let head = String::from_utf8_lossy(&mails[0]).replace("\n ", " ");
            let how = format!("auth=pass ({}, TLS1.3 ", mechanism.to_lowercase());
            assert!(head.contains(&how) && head.contains(" with ESMTPSA "), "{head}");
        }
        assert!(!run(program, &line(mechanisms[0], "guess")));
        assert!(house.take_mails().is_empty());
    }
    let lines = daemon.log.lines();
    assert!(!lines.iter().any(|line| line.contains("secret") || line.contains("guess")));
    daemon.stop();
}

#[test]
fn swaks_logs_in() {
    let both: &[&str] = &["PLAIN", "LOGIN"];
    let line = |house: &House, port: u16, implicit: bool, mechanism: &str, password: &str| {
        let tls = if implicit { "--tls-on-connect" } else { "--tls" };
        format!(
            "{tls} --tls-verify --tls-ca-path {} --server 127.0.0.1 --port {port} --helo phone \
             --auth {mechanism} --auth-user {USER} --auth-password {password} --from {USER} \
             --to b@example.org --data -",
            house.path("root.crt").display()
        )
    };
    logs_in("tls::logins::swaks_logs_in", "swaks", (both, &hashed()), line);
}

#[test]
fn curl_logs_in() {
    let both: &[&str] = &["PLAIN", "LOGIN"];
    let line = |house: &House, port: u16, implicit: bool, mechanism: &str, password: &str| {
        let (scheme, must) = if implicit { ("smtps", "") } else { ("smtp", "--ssl-reqd ") };
        format!(
            "--silent --show-error --crlf --cacert {} {must}--login-options AUTH={mechanism} \
             --user {USER}:{password} {scheme}://localhost:{port}/phone --ipv4 --mail-from {USER} \
             --mail-rcpt b@example.org --upload-file -",
            house.path("root.crt").display()
        )
    };
    logs_in("tls::logins::curl_logs_in", "curl", (both, &hashed()), line);
}

/// Passwords in clear, for the mechanism that needs them.
const THREE: (&[&str], &str) = (&["PLAIN", "LOGIN", "CRAM-MD5"], "secret");

#[test]
fn msmtp_logs_in() {
    let line = |house: &House, port: u16, implicit: bool, mechanism: &str, password: &str| {
        // It takes its password from a program.
        let says = house.path(&format!("says-{password}"));
        fs::write(&says, format!("#!/bin/sh\necho {password}\n")).unwrap();
        fs::set_permissions(&says, fs::Permissions::from_mode(0o755)).unwrap();
        let starttls = if implicit { "off" } else { "on" };
        format!(
            "--host=localhost --port={port} --domain=phone --from={USER} --tls=on \
             --tls-starttls={starttls} --tls-trust-file={} --auth={} --user={USER} \
             --passwordeval={} -- b@example.org",
            house.path("root.crt").display(),
            mechanism.to_lowercase(),
            says.display()
        )
    };
    logs_in("tls::logins::msmtp_logs_in", "msmtp", THREE, line);
}

#[test]
fn smtplib_logs_in() {
    let line = |house: &House, port: u16, implicit: bool, mechanism: &str, password: &str| {
        let script = house.path("login.py");
        fs::write(&script, SMTPLIB).unwrap();
        let root = house.path("root.crt");
        let (script, root) = (script.display(), root.display());
        format!("{script} {port} {implicit} {root} {mechanism} {password} {USER}")
    };
    logs_in("tls::logins::smtplib_logs_in", "python3", THREE, line);
}

const SMTPLIB: &str = "import smtplib, ssl, sys
port, implicit, root, mechanism, password, user = sys.argv[1:]
tls = ssl.create_default_context(cafile=root)
if implicit == 'true':
    client = smtplib.SMTP_SSL('localhost', int(port), 'phone', timeout=60, context=tls)
else:
    client = smtplib.SMTP('localhost', int(port), 'phone', 60)
    client.starttls(context=tls)
with client:
    client.ehlo_or_helo_if_needed()
    client.esmtp_features['auth'] = mechanism
    client.login(user, password)
    refused = client.sendmail(user, ['b@example.org'], sys.stdin.buffer.read())
    assert not refused, refused
";
