//! What attackers, scanners and careless libraries do with TLS.

use super::believer;
use super::keys::has_openssl;
use super::wire::{good_hello, padding, records};
use crate::daemon::client::{Client, kept, small, stuffed};
use crate::daemon::house::{Daemon, House};
use crate::daemon::system::memory;
use crate::dialogue::tls::config;
use nix::sys::signal::Signal;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;

/// Listeners for everybody and for TLS from the first octet.
fn start(house: &House) -> (Daemon, SocketAddr, SocketAddr) {
    house.certify();
    house.set("listen", "127.0.0.1:0\n127.0.0.1:0 smtps");
    let daemon = house.start();
    let (public, smtps) = (daemon.addresses[0], daemon.addresses[1]);
    (daemon, public, smtps)
}

/// A client under TLS of that version, greeted.
fn secure(address: SocketAddr, version: &'static rustls::SupportedProtocolVersion) -> Client {
    let mut client = Client::connect(address);
    client.try_tls(&Arc::new(config(&[version]).unwrap())).unwrap();
    client.hello();
    client
}

/// Sends octets and gives what the first record of the answer is: its kind, and of an alert what it says.
fn answer(address: SocketAddr, octets: &[u8]) -> (u8, Option<u8>) {
    let mut client = Client::connect(address);
    client.send(octets);
    let mut head = [0; 7];
    client.stream.read_exact(&mut head).unwrap();
    (head[0], (head[0] == ALERT).then_some(head[6]))
}

/// Renegotiation let an attacker put words in front of a client's (CVE-2009-3555).
#[test]
fn nobody_renegotiates() {
    if !has_openssl("tls::hostile::nobody_renegotiates") {
        return;
    }
    let house = House::new();
    let (daemon, _, smtps) = start(&house);
    let mut child = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &smtps.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    daemon.log.line("TLS started: TLS1.2");
    // A letter by which the tool begins a handshake anew.
    child.stdin.as_mut().unwrap().write_all(b"R\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no renegotiation"), "{said}");
    assert_eq!(daemon.log.count("TLS started"), 1);
    daemon.stop();
}

/// A browser that was led to our port must not take us for a web server of the same name (ALPACA).
#[test]
fn another_protocol_gets_an_alert() {
    let house = House::new();
    let (daemon, public, smtps) = start(&house);
    for (protocols, is_ours) in
        [(vec!["http/1.1", "h2"], false), (vec!["imap"], false), (vec!["smtp"], true)]
    {
        let mut config = ClientConfig::clone(&believer());
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let config = Arc::new(config);
        let mut client = Client::connect(smtps);
        let error = client.try_tls(&config).err().map(|error| error.to_string());
        assert_eq!(error.is_none(), is_ours, "{protocols:?}: {error:?}");
        if is_ours {
            client.hello();
        } else {
            assert!(error.unwrap().contains("NoApplicationProtocol"), "{protocols:?}");
        }
    }
    let why = "the client wants another protocol than SMTP (ALPN)";
    daemon.log.nth(why, 2);
    let mut client = Client::connect(public);
    client.hello();
    client.starttls(&believer());
    daemon.stop();
}

/// Whatever a client takes our name for, it gets a certificate: a refusal would send it into clear. Only
/// what cannot be a name is an error, as RFC 6066 allows.
#[test]
fn strange_names_get_the_usual_certificate() {
    let house = House::new();
    let (daemon, _, smtps) = start(&house);
    let hello = good_hello(&believer(), "mx.example.net", b"");
    let at = hello.windows(14).position(|it| it == b"mx.example.net").unwrap();
    let names: [(&[u8; 14], bool); 10] = [
        (b"mx.example.net", true),
        (b"MX.EXAMPLE.NET", true),
        (b"mx.example.ne.", true),
        (b"mx_example_net", true),
        (b"198.51.100.123", true),
        (b"*.example.net.", false),
        (b"mx..example.ne", false),
        (b"mx example net", false),
        (b"\xc3\xbc.example.org", false),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0", false),
    ];
    for (name, is_good) in names {
        let mut hello = hello.clone();
        hello[at..at + 14].copy_from_slice(name);
        let expected = if is_good { (HANDSHAKE, None) } else { (ALERT, Some(47)) };
        let answered = answer(smtps, &records(&hello, 16_384));
        assert_eq!(answered, expected, "{}", String::from_utf8_lossy(name));
    }
    daemon.stop();
}

/// A hello may come in as many records as there are octets, and be as long as 64 KiB less the records;
/// what is longer, or says so, is refused before it is there.
#[test]
fn hellos_of_any_cut_and_size() {
    let house = House::new();
    let (daemon, _, smtps) = start(&house);
    let hello = good_hello(&believer(), "mx.example.net", b"");
    for piece in [1, 2, 3, 100] {
        assert_eq!(answer(smtps, &records(&hello, piece)), (HANDSHAKE, None), "{piece}");
    }
    let most = 65_500 - hello.len();
    for (padding_octets, piece) in [(60_000, 16_384), (60_000, 1_000), (most, 16_384)] {
        let large = good_hello(&believer(), "mx.example.net", &padding(padding_octets));
        assert_eq!(answer(smtps, &records(&large, piece)), (HANDSHAKE, None), "{padding_octets}");
    }
    // 16 MiB are announced; a record is larger than its 16 KiB and a little; records hold nothing.
    let endless = records(&[&[1, 0xff, 0xff, 0xff][..], &hello[4..]].concat(), 16_384);
    let too_large = [HANDSHAKE, 3, 1, 0xff, 0xff, 1, 0];
    let empty = [HANDSHAKE, 3, 1, 0, 0].repeat(100);
    for (number, octets) in [&endless[..], &too_large, &empty].into_iter().enumerate() {
        let mut client = Client::connect(smtps);
        client.send(octets);
        let mut said = Vec::new();
        let _ended = client.stream.read_to_end(&mut said);
        assert!(said.is_empty() || said[0] == ALERT, "{said:?}");
        daemon.log.nth("TLS handshake failed: received corrupt message", number + 1);
    }
    let before = memory(daemon.pid(), "status", "RssAnon");
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(smtps)).collect();
    let large = records(&good_hello(&believer(), "mx.example.net", &padding(60_000)), 16_384);
    for client in &mut clients {
        client.send(&large[..large.len() - 1]);
    }
    assert!(Client::connect(daemon.address()).reply().starts_with("220 "));
    let grown = memory(daemon.pid(), "status", "RssAnon").saturating_sub(before);
    assert!(grown < 100 * 160 * 1_024, "{grown} octets for 100 large halves");
    daemon.stop();
}

/// An octet a record is a mail too.
#[test]
fn an_octet_a_record_is_a_mail_too() {
    let house = House::new();
    let (daemon, _, smtps) = start(&house);
    for version in [&TLS12, &TLS13] {
        let mut client = secure(smtps, version);
        client.data();
        let text = b"Subject: octets\r\n\r\n.dot\r\nend\r\n";
        for octet in stuffed(text) {
            client.send([octet]);
        }
        assert!(client.reply().starts_with("250"));
        let mails = house.take_mails();
        assert!(mails.len() == 1 && mails[0].ends_with(&kept(text)), "{mails:?}");
    }
    daemon.stop();
}

/// The end of a connection can be forged, and the end of a mail must not be: what was cut off is no mail,
/// whether TLS was told of the end or not.
#[test]
fn what_is_cut_off_is_no_mail() {
    let house = House::new();
    let (daemon, _, smtps) = start(&house);
    let mut ended = 0;
    for version in [&TLS12, &TLS13] {
        for is_told in [true, false] {
            for (command, text) in [
                ("DATA", &b"Subject: cut\r\n\r\nhalf of it"[..]),
                ("DATA", b"Subject: cut\r\n\r\nhalf of it\r\n."),
                ("DATA", b"Subject: cut\r\n\r\nhalf of it\r\n.\r"),
                ("BDAT 100 LAST", b"Subject: cut\r\n\r\nhalf of it"),
            ] {
                let mut client = secure(smtps, version);
                client.envelope();
                client.send(format!("{command}\r\n"));
                if command == "DATA" {
                    assert!(client.reply().starts_with("354"));
                }
                client.send(text);
                if is_told {
                    let tls = client.tls.as_mut().unwrap();
                    tls.send_close_notify();
                    tls.complete_io(&mut client.stream).unwrap();
                } else {
                    client.shutdown();
                }
                client.ended();
                ended += 1;
                daemon.log.nth("disconnecting", ended);
            }
        }
    }
    assert!(house.mails().is_empty());
    daemon.spool_is_empty(&house);
    daemon.stop();
}

/// At the end TLS is told of it by us, and a client that does not tell us is no failure: most do not.
#[test]
fn an_end_without_a_word_of_tls_is_an_end() {
    let house = House::new();
    let (daemon, _, smtps) = start(&house);
    for version in [&TLS12, &TLS13] {
        let mut client = secure(smtps, version);
        assert!(client.deliver(&small("whole")).starts_with("250"));
        client.send("QUIT\r\n");
        client.shutdown();
        assert!(client.reply().starts_with("221"));
        client.ended();
        let mut client = secure(smtps, version);
        assert!(client.deliver(&small("whole too")).starts_with("250"));
        client.reset();
    }
    daemon.log.nth("disconnecting", 4);
    assert_eq!(house.mails().len(), 4);
    assert_eq!(daemon.log.count("handshake failed"), 0);
    daemon.stop();
}

/// A client that has heard all and keeps its end open does not keep a place.
#[test]
fn the_last_word_ends_it_on_our_side() {
    let house = House::new();
    let (daemon, _, smtps) = start(&house);
    for (number, version) in [&TLS12, &TLS13].into_iter().enumerate() {
        let mut client = secure(smtps, version);
        client.expect("QUIT", "221");
        client.ended();
        daemon.signal(Signal::SIGUSR2);
        let state = daemon.log.nth(" connections of ", number + 1);
        assert!(state.contains("state: 0 connections of "), "{state}");
    }
    daemon.stop();
}

/// A record that was changed on the way ends the connection, and nothing of it is obeyed.
#[test]
fn a_forged_record_is_not_obeyed() {
    let house = House::new();
    let (daemon, _, smtps) = start(&house);
    for version in [&TLS12, &TLS13] {
        let mut client = secure(smtps, version);
        client.envelope();
        let tls: &mut ClientConnection = client.tls.as_mut().unwrap();
        tls.writer().write_all(b"RSET\r\n").unwrap();
        let mut record = Vec::new();
        tls.write_tls(&mut record).unwrap();
        *record.last_mut().unwrap() ^= 1;
        client.stream.write_all(&record).unwrap();
        assert_eq!(client.line(), None);
    }
    daemon.log.nth("disconnecting", 2);
    assert_eq!(daemon.log.count("dispatching RSET"), 0);
    daemon.stop();
}

/// Early data of TLS 1.3 can be replayed by who has recorded it. Nobody gets to send any.
#[test]
fn no_early_data_is_taken() {
    let house = House::new();
    let (daemon, _, smtps) = start(&house);
    let mut config = ClientConfig::clone(&believer());
    config.enable_early_data = true;
    let config = Arc::new(config);
    for round in 0..2 {
        let name = ServerName::try_from("mx.example.net").unwrap();
        let mut tls = ClientConnection::new(Arc::clone(&config), name).unwrap();
        assert!(tls.early_data().is_none(), "round {round}");
        let mut client = Client::connect(smtps);
        while tls.is_handshaking() {
            tls.complete_io(&mut client.stream).unwrap();
        }
        let resumed = tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        // Tickets are for our own users, and bring no early data with them.
        assert_eq!(resumed, round == 1);
        client.tls = Some(Box::new(tls));
        client.hello();
        client.expect("QUIT", "221");
        client.ended();
    }
    daemon.stop();
}
