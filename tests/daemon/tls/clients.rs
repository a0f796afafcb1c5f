//! Programs that people send mail with, under TLS. Those that can look at the certificate do.

use super::keys::{has_openssl, make_usual};
use crate::daemon::house::{Daemon, House};
use crate::daemon::peers::{delivers, message, words};
use crate::daemon::system::{skip, succeeds};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// A daemon with a listener for STARTTLS and one for TLS from the first octet.
fn start(test: &str, program: &str) -> Option<(House, Daemon)> {
    if !has_openssl(test) {
        return None;
    }
    if !succeeds(program, &["--version"]) {
        skip(test, &format!("{program} not installed"));
        return None;
    }
    let house = House::new();
    make_usual(&house);
    house.set("listen", "127.0.0.1:0\n127.0.0.1:0 smtps");
    let daemon = house.start();
    Some((house, daemon))
}

/// Has the message sent both ways, and looks what our field says of it.
fn sends(test: &str, program: &str, end: &str, arguments: impl Fn(&House, u16, bool) -> String) {
    let Some((house, daemon)) = start(test, program) else { return };
    for (address, implicit) in daemon.addresses.iter().zip([false, true]) {
        let arguments = words(&arguments(&house, address.port(), implicit));
        let ours = delivers(&house, program, end, &arguments);
        assert!(unfolded(&ours).contains(" with ESMTPS (TLS1.3 TLS_"), "{ours}");
    }
    assert_eq!(daemon.log.count("TLS started: TLS1.3"), 2, "{:#?}", daemon.log.lines());
    assert_eq!(daemon.log.count("handshake failed"), 0);
    daemon.stop();
}

fn unfolded(header: &str) -> String {
    header.replace("\n ", " ")
}

#[test]
fn curl_sends() {
    sends("tls::clients::curl_sends", "curl", "", |house, port, implicit| {
        let (scheme, must) = if implicit { ("smtps", "") } else { ("smtp", "--ssl-reqd ") };
        format!(
            "--silent --show-error --crlf --cacert {} {must}{scheme}://localhost:{port}/client.example \
             --ipv4 --mail-from a@example.org --mail-rcpt b@example.com --upload-file -",
            house.path("root.crt").display()
        )
    });
}

#[test]
fn swaks_sends() {
    sends("tls::clients::swaks_sends", "swaks", "\n", |house, port, implicit| {
        let tls = if implicit { "--tls-on-connect" } else { "--tls" };
        format!(
            "{tls} --tls-verify --tls-ca-path {} --server 127.0.0.1 --port {port} \
             --helo client.example --from a@example.org --to b@example.com --data -",
            house.path("root.crt").display()
        )
    });
}

#[test]
fn msmtp_sends() {
    sends("tls::clients::msmtp_sends", "msmtp", "", |house, port, implicit| {
        let starttls = if implicit { "off" } else { "on" };
        format!(
            "--host=localhost --port={port} --domain=client.example --from=a@example.org --tls=on \
             --tls-starttls={starttls} --tls-trust-file={} --auth=off -- b@example.com",
            house.path("root.crt").display()
        )
    });
}

#[test]
fn smtplib_sends() {
    const TEST: &str = "tls::clients::smtplib_sends";
    const SCRIPT: &str = "import smtplib, ssl, sys\n\
        port, implicit, root = int(sys.argv[1]), sys.argv[2] == 'true', sys.argv[3]\n\
        text = sys.stdin.buffer.read().replace(b'\\n', b'\\r\\n')\n\
        tls = ssl.create_default_context(cafile=root)\n\
        if implicit:\n    \
            client = smtplib.SMTP_SSL('localhost', port, 'client.example', timeout=60, context=tls)\n\
        else:\n    \
            client = smtplib.SMTP('localhost', port, 'client.example', 60)\n    \
            client.starttls(context=tls)\n\
        with client:\n    \
            refused = client.sendmail('a@example.org', ['b@example.com'], text, ['BODY=8BITMIME'])\n    \
            assert not refused, refused\n";
    let Some((house, daemon)) = start(TEST, "python3") else { return };
    if !succeeds("python3", &["-c", "import ssl"]) {
        return skip(TEST, "python3 without ssl");
    }
    for (address, implicit) in daemon.addresses.iter().zip([false, true]) {
        let (port, root) = (address.port(), house.path("root.crt"));
        let arguments = ["-c", SCRIPT, &port.to_string(), &implicit.to_string()].map(String::from);
        let arguments = [&arguments[..], &[root.display().to_string()]].concat();
        let ours = delivers(&house, "python3", "", &arguments);
        assert!(unfolded(&ours).contains(" with ESMTPS (TLS1.3 TLS_"), "{ours}");
    }
    daemon.stop();
}

/// What admins look with. Here it is told every word.
#[test]
fn openssl_sends() {
    const TEST: &str = "tls::clients::openssl_sends";
    if !has_openssl(TEST) {
        return;
    }
    let house = House::new();
    make_usual(&house);
    house.set("listen", "127.0.0.1:0\n127.0.0.1:0 smtps");
    let daemon = house.start();
    for version in ["-tls1_2", "-tls1_3"] {
        for (address, starttls) in daemon.addresses.iter().zip(["-starttls smtp ", ""]) {
            let mut child = Command::new("openssl")
                .args(words(&format!(
                    "s_client {starttls}{version} -quiet -verify_return_error -CAfile {} \
                     -verify_hostname mx.example.net -servername mx.example.net -connect {address}",
                    house.path("root.crt").display()
                )))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            dialogue(&mut child, starttls.is_empty());
            assert!(child.wait().unwrap().success());
            let mails = house.take_mails();
            assert!(mails.len() == 1 && mails[0].ends_with(&message()), "{mails:?}");
            let protocol = if version == "-tls1_2" { "(TLS1.2 TLS_ECDHE_" } else { "(TLS1.3 TLS_" };
            let head = String::from_utf8_lossy(&mails[0]).into_owned();
            assert!(unfolded(&head).contains(protocol), "{head}");
        }
    }
    daemon.stop();
}

/// A mail, word by word, through a program that carries them.
fn dialogue(child: &mut Child, greeted: bool) {
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut expect = |code: &str| {
        let last = lines.find(|line| line.as_bytes().get(3) == Some(&b' ')).unwrap();
        assert!(last.starts_with(code), "{last}");
    };
    // What came before TLS is not shown.
    if greeted {
        expect("220");
    }
    let text: Vec<u8> = message()
        .split_inclusive(|octet| *octet == b'\n')
        .flat_map(|line| {
            let dot: &[u8] = if line.starts_with(b".") { b"." } else { b"" };
            let (text, _end) = line.split_at(line.len() - 1);
            [dot, text, b"\r\n"].concat()
        })
        .collect();
    let text = [&text[..], b".\r\n"].concat();
    for (said, code) in [
        (&b"EHLO client.example\r\n"[..], "250"),
        (b"MAIL FROM:<a@example.org>\r\n", "250"),
        (b"RCPT TO:<b@example.com>\r\n", "250"),
        (b"DATA\r\n", "354"),
        (&text, "250"),
        (b"QUIT\r\n", "221"),
    ] {
        stdin.write_all(said).unwrap();
        expect(code);
    }
}
