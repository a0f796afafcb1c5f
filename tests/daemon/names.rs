//! The client's name: asked for when it connects, shown when it is there, and waited for by nobody.

use crate::daemon::client::{Client, small};
use crate::daemon::house::House;
use crate::daemon::system::{is_inside_netns, until};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The client whose name is slow, and the one whose name never comes.
const SLOW: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 25);
const NEVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 26);

/// A name server that answers when the test says so.
struct NameServer(UdpSocket);

impl NameServer {
    fn start(address: &str) -> NameServer {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        NameServer(socket)
    }

    /// The next question about this client's address: itself, and who asked.
    fn question_about(&self, client: Ipv4Addr) -> (Vec<u8>, SocketAddr) {
        let [a, b, c, d] = client.octets();
        let mut name = Vec::new();
        for label in [d, c, b, a] {
            let label = label.to_string();
            name.push(u8::try_from(label.len()).unwrap());
            name.extend(label.bytes());
        }
        loop {
            let mut buffer = [0; 512];
            let (count, from) = self.0.recv_from(&mut buffer).unwrap();
            let question = buffer[..count].to_vec();
            if question[12..].starts_with(&name) {
                return (question, from);
            }
        }
    }

    /// Answers a question for a name.
    fn answer(&self, (question, to): &(Vec<u8>, SocketAddr), name: &str) {
        let end = 12 + question[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
        let mut reply = question[..end].to_vec();
        reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        let mut data = Vec::new();
        for label in name.split('.') {
            data.push(u8::try_from(label.len()).unwrap());
            data.extend(label.bytes());
        }
        data.push(0);
        reply.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).unwrap()]);
        reply.extend(data);
        self.0.send_to(&reply, to).unwrap();
    }
}

fn from(source: Ipv4Addr, to: SocketAddr) -> Client {
    let source = SocketAddr::new(IpAddr::V4(source), 0);
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(source)).unwrap();
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    Client::over(TcpStream::from(fd))
}

/// The greeting comes while the name is still being asked for. Once it is there it stands in replies,
/// in Received and in logterse's line; the name of who has none, or whose server is silent, is
/// `Unknown`, and no mail waits for it.
#[test]
fn the_name_of_a_client_delays_nothing() {
    if !is_inside_netns("names::the_name_of_a_client_delays_nothing") {
        return;
    }
    let server = NameServer::start("127.0.0.1:0");
    let house = House::new();
    house.set("listen", "0.0.0.0:0");
    house.set("resolvers", &server.0.local_addr().unwrap().to_string());
    let queue = house.path("Maildir");
    let plugins = format!("logging/logterse\nrcpt_ok\nqueue/maildir {}", queue.display());
    house.set("plugins", &plugins);
    let daemon = house.start();
    let to = SocketAddr::new("192.0.2.200".parse().unwrap(), daemon.address().port());

    let mut slow = from(SLOW, to);
    assert!(slow.reply().starts_with("220 "));
    slow.send("EHLO client.example\r\n");
    assert_eq!(slow.line().unwrap(), "250-mx.example.net Hi Unknown [198.18.0.25]");
    slow.reply();
    let question = server.question_about(SLOW);
    server.answer(&question, "mail.some-where.example");
    until("the name to be known", || {
        slow.send("EHLO client.example\r\n");
        let hello = slow.line().unwrap();
        slow.reply();
        (hello == "250-mx.example.net Hi mail.some-where.example [198.18.0.25]").then_some(())
    });
    assert!(slow.deliver(&small("slow")).starts_with("250"));

    let mut never = from(NEVER, to);
    never.hello();
    assert!(never.deliver(&small("never")).starts_with("250"));
    server.question_about(NEVER);

    let mails: Vec<String> =
        house.mails().into_iter().map(|mail| String::from_utf8(mail).unwrap()).collect();
    for received in [
        "Received: from mail.some-where.example (HELO client.example) (198.18.0.25)\n",
        "Received: from Unknown (HELO client.example) (198.18.0.26)\n",
    ] {
        assert!(mails.iter().any(|mail| mail.contains(received)), "{received}: {mails:#?}");
    }
    daemon.log.line("` 198.18.0.25\tmail.some-where.example\tclient.example\t");
    daemon.log.line("` 198.18.0.26\tUnknown\tclient.example\t");
    drop((slow, never));
    daemon.stop();
}

/// The system's name servers are followed when they change; its search list never is.
#[test]
fn the_servers_of_the_system_are_followed() {
    if !is_inside_netns("names::the_servers_of_the_system_are_followed") {
        return;
    }
    // In this network the file is one of our own.
    const FILE: &str = "/etc/resolv.conf";
    let house = House::new();
    house.set("listen", "0.0.0.0:0");
    house.discard();
    let daemon = house.start();
    let server = NameServer::start("127.0.0.2:53");
    std::fs::write(FILE, "search our-own.example\noptions rotate\nnameserver 127.0.0.2\n").unwrap();
    daemon.log.line("configuration loaded");
    let to = SocketAddr::new("192.0.2.200".parse().unwrap(), daemon.address().port());
    let mut client = from(SLOW, to);
    assert!(client.reply().starts_with("220 "));
    let (question, _) = server.question_about(SLOW);
    let question = question.to_ascii_lowercase();
    let whole = b"\x0225\x010\x0218\x03198\x07in-addr\x04arpa\0\0\x0c\0\x01";
    assert!(question[12..].starts_with(whole), "{}", question.escape_ascii());
    drop(client);
    daemon.stop();
}
