//! Listeners marked `proxy`: the client that a PROXY header names is the one that counts.

use crate::daemon::client::{Client, small};
use crate::daemon::house::{Daemon, House};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.25 40000 25\r\n";

fn v2() -> Vec<u8> {
    let head = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, 0x11, 0, 16]].concat();
    // With an addition (TLV) of one octet.
    [head, vec![192, 0, 2, 8, 198, 51, 100, 25, 0x9c, 0x40, 0, 25, 0x20, 0, 1, 7]].concat()
}

fn behind_a_proxy(more: &[(&str, &str)]) -> (House, Daemon) {
    let house = House::new();
    house.set("listen", "127.0.0.1:0 proxy\n");
    house.set("relayclients", "127.0.0.1\n");
    for (name, text) in more {
        house.set(name, text);
    }
    let daemon = house.start();
    (house, daemon)
}

#[test]
fn the_named_client_counts_in_both_versions_and_octet_by_octet() {
    let (house, daemon) = behind_a_proxy(&[]);
    for (header, ip) in [(V1.to_vec(), "192.0.2.7"), (v2(), "192.0.2.8")] {
        for pieces in [false, true] {
            let mut client = Client::connect(daemon.address());
            if pieces {
                header.iter().for_each(|octet| client.send([*octet]));
            } else {
                client.send(&header);
            }
            let greeting = client.reply();
            assert!(greeting.starts_with("220 "), "{greeting}");
            client.send("EHLO client.example\r\n");
            let hello = client.line().expect("a reply");
            assert!(hello.ends_with(&format!("[{ip}]")), "{hello}");
            client.reply();
            // The proxy's own address may relay; its client's may not.
            client.expect("MAIL FROM:<a@example.org>", "250");
            client.expect("RCPT TO:<b@example.org>", "550 5.7.1 ");
            client.expect("RSET", "250");
            client.deliver(&small("behind a proxy"));
            client.expect("QUIT", "221");
        }
    }
    let mails = house.mails();
    assert_eq!(mails.len(), 4);
    let from = |mail: &Vec<u8>| String::from_utf8_lossy(mail).contains("(192.0.2.");
    assert!(mails.iter().all(from));
    daemon.stop();
}

#[test]
fn a_hello_behind_the_header_is_talk_and_the_header_is_not() {
    let plugins = "earlytalker wait 1\nrcpt_ok\nqueue/discard\n";
    let (_house, daemon) = behind_a_proxy(&[("plugins", plugins)]);
    let mut client = Client::connect(daemon.address());
    client.send(V1);
    client.hello();
    let mut client = Client::connect(daemon.address());
    client.send([V1, b"EHLO client.example\r\n"].concat());
    let greeting = client.reply();
    assert!(greeting.starts_with("554 ") || greeting.starts_with("421 "), "{greeting}");
    daemon.stop();
}

#[test]
fn what_is_no_header_ends_the_connection() {
    let (_house, daemon) = behind_a_proxy(&[]);
    for octets in [
        &b"EHLO client.example\r\n"[..],
        b"PROXY UNKNOWN\r\n",
        b"PROXY TCP4 192.0.2.7\r\n",
        &[b'x'; 5_000],
    ] {
        let mut client = Client::connect(daemon.address());
        client.try_send(octets);
        client.ended();
    }
    daemon.log.nth("connection closed", 4);
    // Nothing at all: three seconds later it is over.
    let mut client = Client::connect(daemon.address());
    client.ended();
    daemon.log.line("no PROXY header came in time");
    daemon.stop();
}

#[test]
fn only_named_hosts_are_believed() {
    let (_house, daemon) = behind_a_proxy(&[("proxy_hosts", "192.0.2.99\n")]);
    let mut client = Client::connect(daemon.address());
    client.try_send(V1);
    client.ended();
    daemon.log.line("127.0.0.1 is not in proxy_hosts, refused");
    daemon.stop();
}

#[test]
fn a_visit_of_the_proxy_itself_is_served_as_its_own() {
    let (_house, daemon) = behind_a_proxy(&[]);
    let mut client = Client::connect(daemon.address());
    client.send([&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20, 0, 0, 0]].concat());
    client.hello();
    daemon.log.line("Connection from Unknown [127.0.0.1]");
    client.expect("QUIT", "221");
    daemon.stop();
}
