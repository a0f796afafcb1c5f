//! `queue/smtp-forward` under TLS, and logging in: to our own daemon, to OpenSSL, and to servers that fail.

use crate::daemon::client::small;
use crate::daemon::house::{Daemon, House};
use crate::daemon::queue::hop::{Act, Heard, Hop};
use crate::daemon::system::{PATIENCE, is_root, skip, succeeds, until};
use mailreeve::server::clock::unix;
use mailreeve::server::tls::self_signed;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

const USER: &str = "ann@example.com";

/// A certificate for our address, with its key, in this folder.
fn certify(house: &House, name: &str) {
    let (certificate, key) = self_signed(&["127.0.0.1".to_string()], unix()).unwrap();
    fs::write(house.path(&format!("{name}.pem")), certificate).unwrap();
    fs::write(house.path(&format!("{name}.key")), key).unwrap();
}

/// A next server of our own, whose user may log in under TLS.
fn back() -> (House, Daemon) {
    let house = House::new();
    certify(&house, "cert");
    house.set("tls_cert", &house.path("cert.pem").display().to_string());
    house.set("tls_key", &house.path("cert.key").display().to_string());
    house.set("flat_auth_pw", &format!("{USER}:secret"));
    let queue = format!("queue/maildir {}", house.path("Maildir").display());
    house.set("plugins", &format!("auth/auth_flat_file\nrcpt_ok\n{queue}"));
    let daemon = house.start();
    (house, daemon)
}

/// A daemon whose mail goes to this port.
fn front(port: u16, more: &str, smtpauth: &str) -> (House, Daemon) {
    let house = House::new();
    house.queue(&format!("queue/smtp-forward 127.0.0.1 {port} {more}"));
    house.set("smtpauth", smtpauth);
    let daemon = house.start();
    (house, daemon)
}

/// One mail by way of a front to this port: the reply, and what the front's queue said.
fn send(port: u16, more: &str, smtpauth: &str) -> (String, String) {
    let (_house, daemon) = front(port, more, smtpauth);
    let reply = daemon.client().deliver(&small("by way of another"));
    // Its last words of this mail.
    let log = daemon.log.line("(queue) queue::smtp_2dforward: ");
    daemon.stop();
    (reply, log)
}

#[test]
fn mail_goes_under_tls() {
    let (house, daemon) = back();
    let port = daemon.addresses[0].port();
    let trust = format!("tls verify ca {}", house.path("cert.pem").display());
    for (more, with) in [
        ("", "ESMTPS"),
        ("tls may", "ESMTPS"),
        ("tls=required", "ESMTPS"),
        (&trust, "ESMTPS"),
        ("tls off", "ESMTP"),
    ] {
        let (reply, _) = send(port, more, "");
        assert!(reply.starts_with("250"), "{more}: {reply}");
        let mails = house.take_mails();
        let text = String::from_utf8(mails[0].clone()).unwrap();
        let received = text.split("Received: ").nth(1).unwrap();
        let expected = format!("with {with} ");
        let words = received.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&expected), "{more}: {received}");
        assert_eq!(mails.len(), 1);
    }
    daemon.stop();
}

/// Port 465: TLS from the first octet, and no second try in clear where it fails.
#[test]
fn smtps_is_spoken_at_its_port() {
    if !is_root() {
        return skip("secure::smtps_is_spoken_at_its_port", "only root may listen at port 465");
    }
    // An address that no other test has.
    let address = "127.0.44.65";
    let house = House::new();
    let (certificate, key) = self_signed(&[address.to_string()], unix()).unwrap();
    fs::write(house.path("cert.pem"), certificate).unwrap();
    fs::write(house.path("cert.key"), key).unwrap();
    certify(&house, "other");
    house.set("tls_cert", &house.path("cert.pem").display().to_string());
    house.set("tls_key", &house.path("cert.key").display().to_string());
    house.set("listen", &format!("{address}:465 smtps"));
    let daemon = house.start();
    let send = |more: &str| {
        let front = House::new();
        front.queue(&format!("queue/smtp-forward {address} 465 {more}"));
        let sender = front.start();
        let reply = sender.client().deliver(&small("x"));
        sender.stop();
        reply
    };
    let trust = |name| format!("tls verify ca {}", house.path(&format!("{name}.pem")).display());
    for more in [String::new(), trust("cert")] {
        let reply = send(&more);
        assert!(reply.starts_with("250"), "{more}: {reply}");
        let text = String::from_utf8(house.take_mails().remove(0)).unwrap();
        assert!(text.contains("with ESMTPS "), "{text}");
    }
    let reply = send(&trust("other"));
    assert!(reply.contains("no TLS: its certificate is not believed: "), "{reply}");
    daemon.stop();
    // A server in clear at that port: words that are no TLS, and no second connection.
    let listener = TcpListener::bind((address, 465)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let clear = std::thread::spawn(move || {
        let (mut stream, _) = until("a client", || listener.accept().ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"220 hop.example ready\r\n").unwrap();
        // Until the client is gone.
        let _octets = stream.read_to_end(&mut Vec::new());
        listener.accept().is_err()
    });
    let reply = send("");
    assert!(reply.starts_with("451 4.4.1 ") && reply.contains(": no TLS: "), "{reply}");
    assert!(clear.join().unwrap(), "it was tried in clear");
}

/// Somebody else between us and the server, or a wrong name: nothing is sent.
#[test]
fn a_certificate_that_is_not_believed() {
    let (house, daemon) = back();
    let port = daemon.addresses[0].port();
    certify(&house, "other");
    let more = format!("tls verify ca {}", house.path("other.pem").display());
    let (reply, _) = send(port, &more, &format!("127.0.0.1 {USER} secret"));
    let expected =
        "451 4.4.1 Unable to connect to 127.0.0.1: no TLS: its certificate is not believed: ";
    assert!(reply.starts_with(expected), "{reply}");
    // The right CA, and another name.
    let more = format!("tls verify ca {}", house.path("cert.pem").display());
    let front = House::new();
    front.queue(&format!("queue/smtp-forward localhost {port} {more}"));
    let name = front.start();
    let reply = name.client().deliver(&small("to another name"));
    assert!(reply.starts_with("451 4.4.1 Unable to connect to localhost: no TLS: "), "{reply}");
    name.stop();
    assert!(house.mails().is_empty());
    daemon.stop();
}

#[test]
fn we_log_in() {
    let (house, daemon) = back();
    let port = daemon.addresses[0].port();
    let (reply, _) = send(port, "", &format!("127.0.0.1 {USER} secret"));
    assert!(reply.starts_with("250"), "{reply}");
    let text = String::from_utf8(house.take_mails().remove(0)).unwrap();
    assert!(text.contains("with ESMTPSA "), "{text}");
    let (reply, log) = send(port, "", &format!("127.0.0.1 {USER} wrong"));
    assert!(
        reply.starts_with("451 4.4.1 Unable to connect to 127.0.0.1: it does not let us in: 535"),
        "{reply}"
    );
    assert!(!log.contains("wrong"), "{log}");
    assert!(house.mails().is_empty());
    daemon.stop();
}

/// Asking a server about a recipient is kept from others as a mail to him would be.
#[test]
fn questions_go_under_tls_too() {
    let (house, daemon) = back();
    certify(&house, "other");
    for (name, reply) in [("cert", "250"), ("other", "450")] {
        let front = House::new();
        let ca = house.path(&format!("{name}.pem"));
        let line = format!("check_smtp_forward tls verify ca {}", ca.display());
        front.set("plugins", &format!("{line}\nrcpt_ok\nqueue/discard"));
        front.set("smtproutes", &format!("example.com:127.0.0.1:{}", daemon.addresses[0].port()));
        front.set("smtpauth", &format!("127.0.0.1 {USER} secret"));
        let asking = front.start();
        let mut client = asking.client();
        client.expect("MAIL FROM:<a@example.org>", "250");
        client.expect("RCPT TO:<b@example.com>", reply);
        drop(client);
        asking.stop();
    }
    let logins = daemon.log.lines().iter().filter(|line| line.contains("(auth) ")).count();
    assert!(logins > 0, "{:?}", daemon.log.lines());
    daemon.stop();
}

/// What a server says that offers no TLS, or breaks off, or has somebody in between.
fn hop(said: &'static str) -> Hop {
    let extensions: &[&str] =
        if said.is_empty() { &["SIZE"] } else { &["STARTTLS", "AUTH PLAIN LOGIN"] };
    Hop::start(extensions, move |_, line| {
        (line == "STARTTLS").then(|| Act::Leave(format!("{said}\r\n")))
    })
}

fn commands(heard: &[Heard]) -> String {
    let lines = heard.iter().flat_map(|heard| heard.lines.iter());
    lines
        .map(|line| line.split([' ', ':']).next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn servers_that_fail_in_tls_get_mail_in_clear_only_where_they_may() {
    for (said, may, may_say, required) in [
        ("", "EHLO MAIL RCPT DATA", "", "EHLO QUIT"),
        (
            "220 go",
            "EHLO STARTTLS EHLO MAIL RCPT DATA",
            "it closed the connection",
            "EHLO STARTTLS",
        ),
        ("220 go\r\n250 x", "EHLO STARTTLS EHLO MAIL RCPT DATA", "out of turn", "EHLO STARTTLS"),
    ] {
        let server = hop(said);
        let (house, daemon) = front(server.address().port(), "", "");
        let reply = daemon.client().deliver(&small("x"));
        assert!(reply.starts_with("250"), "{said}: {reply}");
        if !may_say.is_empty() {
            let line = daemon.log.line("; in clear");
            assert!(
                line.contains("skip, no TLS with 127.0.0.1: ") && line.contains(may_say),
                "{line}"
            );
        }
        daemon.stop();
        drop(house);
        let heard = commands(&server.finish());
        assert!(heard.starts_with(may), "{said}: {heard}");
        for policy in ["required", "verify ca cert.pem"] {
            let server = hop(said);
            let house = House::new();
            certify(&house, "cert");
            let policy = policy.replace("cert.pem", &house.path("cert.pem").display().to_string());
            let (reply, _) = send(server.address().port(), &format!("tls {policy}"), "");
            assert!(
                reply.starts_with("451 4.4.1 Unable to connect to 127.0.0.1: no TLS: "),
                "{reply}"
            );
            assert_eq!(commands(&server.finish()), required, "{said}");
        }
    }
}

/// A server that says nothing in the handshake: the time of the message is all that it gets.
#[test]
fn a_server_that_hangs_in_the_handshake() {
    let server = Hop::start(&["STARTTLS"], |_, line| match line {
        "" => None,
        line if line.starts_with("EHLO ") => None,
        "STARTTLS" => Some(Act::Say("220 go\r\n".into())),
        _ => Some(Act::Hang),
    });
    let (reply, _) = send(server.address().port(), "tls required timeout 2", "");
    let expected = "451 4.4.1 Unable to connect to 127.0.0.1: no TLS: Connection timed out";
    assert!(reply.starts_with(expected), "{reply}");
}

/// A server that speaks no TLS behind its 220.
#[test]
fn a_server_that_talks_on_in_clear() {
    let server = Hop::start(&["STARTTLS"], |_, line| {
        (line == "STARTTLS").then(|| Act::Flood("220 go\r\n".into(), 1_000))
    });
    let (reply, _) = send(server.address().port(), "tls required", "");
    assert!(reply.starts_with("451 4.4.1 Unable to connect to 127.0.0.1: no TLS: "), "{reply}");
    drop(server);
}

/// A server with OpenSSL, which sends session tickets behind the handshake; one connection for two mails.
const PYTHON: &str = r#"
import socket, ssl, sys
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(5)
listener.settimeout(60)
with open(sys.argv[1] + "/port", "w") as file:
    file.write("%d\n" % listener.getsockname()[1])
plain, _ = listener.accept()
plain.settimeout(60)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/cert.pem", sys.argv[1] + "/cert.key")
heard = open(sys.argv[1] + "/heard", "w")
stream = plain
def say(text):
    stream.sendall(text.encode() + b"\r\n")
say("220 openssl ESMTP")
lines = stream.makefile("rb")
text = False
while True:
    line = lines.readline()
    if not line:
        break
    line = line.decode().rstrip("\r\n")
    if text:
        if line == ".":
            text = False
            say("250 2.0.0 queued as 1")
        continue
    heard.write(line + "\n")
    heard.flush()
    if line.startswith("EHLO"):
        offer = "250 AUTH LOGIN" if stream is not plain else "250 STARTTLS"
        say("250-openssl\r\n" + offer)
    elif line == "STARTTLS":
        say("220 go")
        stream = context.wrap_socket(plain, server_side=True)
        lines = stream.makefile("rb")
    elif line == "AUTH LOGIN":
        say("334 VXNlcm5hbWU6")
    elif line == "YW5u":
        say("334 UGFzc3dvcmQ6")
    elif line == "c2VjcmV0":
        say("235 welcome")
    elif line == "DATA":
        text = True
        say("354 go on")
    elif line == "QUIT":
        say("221 bye")
        break
    else:
        say("250 ok")
"#;

struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

#[test]
fn openssl_is_understood() {
    if !succeeds("python3", &["-c", "import ssl"]) {
        return skip("secure::openssl_is_understood", "python3 not installed");
    }
    let house = House::new();
    certify(&house, "cert");
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON]).arg(house.path(".")).stdin(Stdio::null());
    let python = Python(command.spawn().unwrap());
    let port = until("a port", || {
        let text = fs::read_to_string(house.path("port")).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    });
    let more = format!("tls verify ca {}", house.path("cert.pem").display());
    let (_front, daemon) = front(port, &more, "127.0.0.1 ann secret");
    let mut client = daemon.client();
    for text in ["one", "two"] {
        assert_eq!(client.deliver(&small(text)), "250 2.0.0 queued as 1");
    }
    drop(client);
    daemon.stop();
    let heard = fs::read_to_string(house.path("heard")).unwrap();
    let verbs: Vec<&str> =
        heard.lines().map(|line| line.split([' ', ':']).next().unwrap()).collect();
    let login = ["EHLO", "STARTTLS", "EHLO", "AUTH", "YW5u", "c2VjcmV0"];
    let mail = ["MAIL", "RCPT", "DATA"];
    assert_eq!(verbs[..12], [&login[..], &mail, &mail].concat()[..], "{heard}");
    drop(python);
}
