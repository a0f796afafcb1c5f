//! Handshakes that fail: who is told what, and what becomes of the client's mail.

use super::keys::has_openssl;
use super::wire::{old_hello, records};
use super::{believer, unbeliever};
use crate::daemon::client::{Client, small};
use crate::daemon::house::{Daemon, House};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const FAILED: &str = "TLS handshake failed: ";
const REST: &str = "; the client is offered no STARTTLS for an hour";

/// Listeners for everybody, for TLS from the first octet, and for submission.
fn start(house: &House) -> (Daemon, [SocketAddr; 3]) {
    house.certify();
    house.set("listen", "127.0.0.1:0\n127.0.0.1:0 smtps\n127.0.0.1:0 submission");
    let daemon = house.start();
    let addresses = daemon.addresses[..].try_into().unwrap();
    (daemon, addresses)
}

/// A client that was told to go ahead.
fn begun(source: &str, address: SocketAddr) -> Client {
    let mut client = Client::connect_from(source, address);
    client.hello();
    client.expect("STARTTLS", "220");
    client
}

/// What comes until the end, however it ends.
fn rest_of(client: &mut Client) -> Vec<u8> {
    let mut octets = Vec::new();
    let _ended = client.stream.read_to_end(&mut octets);
    octets
}

const TOO_OLD: &str = "the client speaks no TLS 1.2";
const NO_SUITE: &str = "no cipher suite in common";
const BROKEN: &str = "received corrupt message";

/// A way to fail, its cause as the log names it, and the alert that the client is told by.
type Way = (&'static str, fn(Client), &'static str);

const WAYS: [Way; 10] = [
    ("plaintext", |client| wrong(client, b"MAIL FROM:<a@example.org>\r\n"), "what came is no TLS"),
    ("an old version", |client| refused(client, &old_hello([3, 2], &[0xc009, 0x2f]), 70), TOO_OLD),
    ("no version at all", |client| refused(client, &old_hello([3, 0], &[0x2f]), 70), TOO_OLD),
    (
        "old suites",
        |client| refused(client, &old_hello([3, 3], &[0xc009, 0x2f, 0xa]), 40),
        NO_SUITE,
    ),
    ("suites for RSA", |client| refused(client, &old_hello([3, 3], &[0xc02f]), 40), NO_SUITE),
    ("a broken hello", |client| refused(client, &[1, 0, 0, 4, 3, 3, 9, 9], 50), BROKEN),
    ("a hello without end", endless, BROKEN),
    ("an end", |client| client.shutdown(), "the client hung up in the handshake"),
    ("a reset", Client::reset, "the client broke off"),
    ("mistrust", mistrusting, "the client sent the alert UnknownCA"),
];

fn wrong(mut client: Client, octets: &[u8]) {
    client.send(octets);
    assert!(!rest_of(&mut client).starts_with(b"5"), "a word in clear");
}

fn refused(mut client: Client, hello: &[u8], alert: u8) {
    client.send(records(hello, 16_384));
    let said = rest_of(&mut client);
    assert!(said.len() == 7 && said[0] == 21 && said[5..] == [2, alert], "{said:?}");
}

/// More than any handshake message may have.
fn endless(mut client: Client) {
    client.send(records(&[&[1, 0xff, 0xff, 0xff][..], &[0; 1_000]].concat(), 16_384));
    while client.try_send(records(&[0; 10_000], 10_000)) {}
}

fn mistrusting(mut client: Client) {
    let error = client.try_tls(&unbeliever()).unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

/// A sender that cannot do our TLS must get its mail through all the same: where TLS is opportunistic it
/// is offered none when it comes back. Whoever logs in is never lured into clear.
#[test]
fn who_fails_is_let_in_without_tls_the_next_time() {
    let house = House::new();
    let (daemon, [public, smtps, submission]) = start(&house);
    for (number, (what, fail, cause)) in WAYS.into_iter().enumerate() {
        let source = &format!("127.0.1.{}", number + 1);
        fail(begun(source, public));
        let line = daemon.log.nth(FAILED, number + 1);
        assert!(
            line.contains(&format!("{FAILED}{cause}")) && line.ends_with(REST),
            "{what}: {line}"
        );
        let mut again = Client::connect_from(source, public);
        assert!(again.reply().starts_with("220 "));
        assert!(!again.is_offered_tls(), "{what}");
        again.expect("STARTTLS", "500");
        assert!(again.deliver(&small(what)).starts_with("250"), "{what}");
        let mut user = Client::connect_from(source, submission);
        assert!(user.reply().starts_with("220 "));
        assert!(user.is_offered_tls(), "{what}");
        user.starttls(&believer());
    }
    let failures = WAYS.len();
    assert_eq!(daemon.log.count("no STARTTLS is offered: a handshake with this client"), failures);
    assert_eq!(house.mails().len(), failures);
    // Failures where TLS is a must are told, and change nothing.
    let source = "127.0.2.1";
    mistrusting(begun(source, submission));
    mistrusting(Client::connect_from(source, smtps));
    let line = daemon.log.nth(FAILED, failures + 2);
    assert!(line.ends_with("UnknownCA"), "{line}");
    let mut client = Client::connect_from(source, public);
    assert!(client.reply().starts_with("220 "));
    assert!(client.is_offered_tls());
    daemon.signal(Signal::SIGUSR2);
    let state = daemon.log.line("state: ");
    let (done, failed) = (failures, failures + 2);
    let handshakes = format!("TLS handshakes: {done} done, {failed} failed");
    assert!(state.contains(&handshakes), "{state}");
    daemon.stop();
}

/// The tool that admins try it with.
#[test]
fn an_old_client_of_openssl_is_refused_by_its_version() {
    if !has_openssl("tls::failures::an_old_client_of_openssl_is_refused_by_its_version") {
        return;
    }
    let house = House::new();
    let (daemon, [public, ..]) = start(&house);
    for (number, version) in ["-tls1_1", "-tls1"].into_iter().enumerate() {
        let source = format!("127.0.3.{}:0", number + 1);
        let output = Command::new("openssl")
            .args(["s_client", "-starttls", "smtp", version, "-cipher", "ALL:@SECLEVEL=0"])
            .args(["-bind", &source, "-connect", &public.to_string()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("alert number 40") || said.contains("alert number 70"), "{said}");
        let line = daemon.log.nth(FAILED, number + 1);
        assert!(line.contains(&format!("{FAILED}{TOO_OLD}")), "{line}");
    }
    daemon.stop();
}

/// Patience is shorter than for a command, and silence is not taken for anything else.
#[test]
fn a_handshake_that_stops_ends_in_time() {
    let house = House::new();
    house.set("timeout", "1");
    let (daemon, [public, smtps, _]) = start(&house);
    let hello = records(&old_hello([3, 3], &[0xc02b]), 16_384);
    // Nothing, half of a hello, and a whole one whose answer is never answered.
    for (number, part) in [0, hello.len() / 2, hello.len()].into_iter().enumerate() {
        for address in [public, smtps] {
            let mut client = Client::connect_from("127.0.4.1", address);
            if address == public && number == 0 {
                client.hello();
                client.expect("STARTTLS", "220");
            } else if address == public {
                // It rests for this client by now.
                client = begun(&format!("127.0.4.{}", number + 1), address);
            }
            client.stream.write_all(&hello[..part]).unwrap();
            rest_of(&mut client);
        }
        let line = daemon.log.nth("TLS handshake failed: the client took too long", 2 * number + 2);
        assert!(line.contains("failed"), "{line}");
    }
    daemon.stop();
}

/// Half-open handshakes cost a place and no thread: others are served in clear and under TLS, and an end
/// is not held up.
#[test]
fn hundreds_of_halves_hold_up_nobody() {
    let house = House::new();
    house.set("concurrency", "1000");
    house.set("concurrency_per_ip", "0");
    house.set("workers", "1");
    let (mut daemon, [public, smtps, _]) = start(&house);
    let hello = records(&old_hello([3, 3], &[0xc02b]), 16_384);
    let mut halves: Vec<Client> = Vec::new();
    for number in 0..200 {
        let mut client = match number % 2 {
            0 => Client::connect(smtps),
            _ => {
                let mut client = daemon.client();
                client.expect("STARTTLS", "220");
                client
            }
        };
        let part = [0, 1, 5, hello.len() / 2, hello.len() - 1, hello.len()][number / 2 % 6];
        client.send(&hello[..part]);
        halves.push(client);
    }
    assert!(daemon.client().deliver(&small("in clear")).starts_with("250"));
    let mut client = Client::connect_from("127.0.5.1", public);
    client.hello();
    client.starttls(&believer());
    assert!(client.deliver(&small("under TLS")).starts_with("250"));
    drop(client);
    assert_eq!(daemon.log.count(FAILED), 0);
    daemon.signal(Signal::SIGTERM);
    let from = std::time::Instant::now();
    assert_eq!(daemon.wait().code(), Some(0));
    // Nothing is waited for; a minute would be the handshakes' own end, half of one that of messages.
    assert!(from.elapsed() < Duration::from_secs(15), "{:?}", from.elapsed());
    assert_eq!(daemon.log.count("cut off"), 0);
    drop(halves);
}

/// More handshakes at once than the workers may have: each has its turn, and nobody is sent away.
#[test]
fn a_burst_of_handshakes_is_served_in_turn() {
    const CLIENTS: usize = 400;
    let house = House::new();
    house.set("concurrency", "1000");
    house.set("concurrency_per_ip", "0");
    house.set("workers", "1");
    house.set("loglevel", "5");
    let (daemon, [_, smtps, _]) = start(&house);
    let config = Arc::new(believer());
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(smtps)).collect();
    let name = rustls::pki_types::ServerName::try_from("mx.example.net").unwrap();
    let mut ends: Vec<rustls::ClientConnection> = clients
        .iter_mut()
        .map(|client| {
            let config = Arc::clone(&config);
            let mut end =
                rustls::ClientConnection::new(config.as_ref().clone(), name.clone()).unwrap();
            end.write_tls(&mut client.stream).unwrap();
            end
        })
        .collect();
    for (client, mut end) in clients.iter_mut().zip(ends.drain(..)) {
        while end.is_handshaking() {
            end.complete_io(&mut client.stream).unwrap();
        }
        client.tls = Some(Box::new(end));
        assert!(client.reply().starts_with("220 "));
    }
    daemon.signal(Signal::SIGUSR2);
    let state = daemon.log.line("state: ");
    assert!(state.contains(&format!("TLS handshakes: {CLIENTS} done, 0 failed")), "{state}");
    daemon.stop();
}
