//! A client that does what a test says, right or wrong.

use crate::daemon::system::PATIENCE;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// A connection to a daemon.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) tls: Option<Box<ClientConnection>>,
    input: Vec<u8>,
}

impl Client {
    /// Connects and says nothing.
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).unwrap())
    }

    /// A connection that comes from this address.
    pub(crate) fn connect_from(source: &str, to: SocketAddr) -> Client {
        let source: IpAddr = source.parse().unwrap();
        let family = if to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0))).unwrap();
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
        Client::over(TcpStream::from(fd))
    }

    pub(crate) fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, tls: None, input: Vec::new() }
    }

    /// Reads the greeting and says EHLO.
    pub(crate) fn hello(&mut self) {
        let greeting = self.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        self.expect("EHLO client.example", "250");
    }

    /// The handshake, with the name of the tests' daemon. Gives why there is no TLS.
    pub(crate) fn try_tls(&mut self, config: &Arc<ClientConfig>) -> io::Result<()> {
        let name = ServerName::try_from("mx.example.net").unwrap();
        let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// STARTTLS, the handshake, and EHLO again.
    pub(crate) fn starttls(&mut self, config: &Arc<ClientConfig>) {
        self.expect("STARTTLS", "220");
        self.try_tls(config).unwrap();
        self.expect("EHLO client.example", "250");
    }

    /// The certificate that the server has shown.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.tls.as_ref().unwrap().peer_certificates().unwrap()[0].to_vec()
    }

    pub(crate) fn send(&mut self, octets: impl AsRef<[u8]>) {
        assert!(self.try_send(octets), "the server is gone");
    }

    /// Sends where the server may be gone already.
    pub(crate) fn try_send(&mut self, octets: impl AsRef<[u8]>) -> bool {
        match &mut self.tls {
            Some(tls) => {
                rustls::Stream::new(tls.as_mut(), &mut self.stream).write_all(octets.as_ref())
            }
            None => self.stream.write_all(octets.as_ref()),
        }
        .is_ok()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.stream).read(buffer),
            None => self.stream.read(buffer),
        }
    }

    /// The next line without its CR LF; none where the connection has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let mut buffer = [0; 16 * 1_024];
            match self.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.input.extend(&buffer[..count]),
                Err(error) => {
                    let silent = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
                    assert!(!silent.contains(&error.kind()), "no reply");
                    return None;
                }
            }
        }
    }

    /// The last line of the next reply; none where the connection has ended.
    pub(crate) fn try_reply(&mut self) -> Option<String> {
        loop {
            let line = self.line()?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(line);
            }
        }
    }

    pub(crate) fn reply(&mut self) -> String {
        self.try_reply().expect("a reply, not the end of the connection")
    }

    /// Says a command; the reply has to begin so.
    pub(crate) fn expect(&mut self, command: &str, reply: &str) -> String {
        self.send(format!("{command}\r\n"));
        let said = self.reply();
        assert!(said.starts_with(reply), "{command:?} was answered {said:?}, not {reply:?}");
        said
    }

    /// Whether EHLO announces STARTTLS.
    pub(crate) fn is_offered_tls(&mut self) -> bool {
        self.send("EHLO client.example\r\n");
        let mut offered = false;
        loop {
            let line = self.line().expect("the reply to EHLO");
            offered |= line.get(4..) == Some("STARTTLS");
            if !line.starts_with("250-") {
                assert!(line.starts_with("250 "), "{line}");
                return offered;
            }
        }
    }

    /// MAIL and one RCPT that is accepted.
    pub(crate) fn envelope(&mut self) {
        self.expect("MAIL FROM:<a@example.org>", "250");
        self.expect("RCPT TO:<b@example.com>", "250");
    }

    /// All up to the 354.
    pub(crate) fn data(&mut self) {
        self.envelope();
        self.expect("DATA", "354");
    }

    /// A whole mail. The text has CR LF line ends, and dots as they are to be received.
    pub(crate) fn deliver(&mut self, text: &[u8]) -> String {
        self.data();
        self.send(stuffed(text));
        self.reply()
    }

    /// Nothing more is said, and the connection is closed by the server; under TLS with a word of TLS,
    /// so that nobody on the way can have done it.
    pub(crate) fn ended(&mut self) {
        if self.tls.is_some() {
            assert_eq!(self.read(&mut [0; 512]).unwrap(), 0, "more was said");
        }
        assert_eq!(self.line(), None);
    }

    pub(crate) fn shutdown(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &at_once).unwrap();
    }
}

/// A text as it is sent: dots doubled at the start of lines, and the end.
pub(crate) fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(text.len() + 1_024);
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend(line);
    }
    wire.extend(b".\r\n");
    wire
}

/// A text as it is kept: LF line ends.
pub(crate) fn kept(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|octet| *octet != b'\r').collect()
}

/// A small mail with this subject.
pub(crate) fn small(subject: &str) -> Vec<u8> {
    format!("From: a@example.org\r\nSubject: {subject}\r\n\r\nA few words.\r\n").into_bytes()
}
