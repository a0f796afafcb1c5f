//! A conversation with an SMTP or LMTP server: commands, replies, what the server offers.
//!
//! One deadline holds for everything together. Commands are sent in groups only where the server offers
//! PIPELINING, and no more at a time than it answers into its socket without anybody reading. A server
//! that talks out of turn is not believed: an answer too many would be taken for that to a later command.

use super::reply::{Reader, Reply};
use super::tls::Tls;
use super::transport::{Socket, Transport};
use crate::client::deadline::Deadline;
use crate::client::words;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Addresses of one server that are tried.
const ADDRESSES_MAX: usize = 4;

/// How long the answer to QUIT or RSET is waited for. Nothing depends on it.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// How long a handshake may take. A server that hangs in it must leave time to do without.
const HANDSHAKE_MAX: Duration = Duration::from_secs(20);

/// Commands that are sent before their answers are read: more answers than these might fill the socket
/// of a server that then reads no more either.
pub(in crate::client) const GROUP_MAX: usize = 50;

/// Why a conversation came to nothing.
#[derive(Debug)]
pub(in crate::client) enum Trouble {
    /// The system's word.
    System(io::Error),
    /// The server does what none may do.
    Fault(&'static str),
    /// The greeting, or the answer to EHLO and HELO.
    Refused(Reply),
    /// There is no TLS; in words.
    Tls(String),
    /// What the server says to our name and password.
    Login(Reply),
}

impl Display for Trouble {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::System(error) => f.write_str(&words(error)),
            Trouble::Fault(what) => f.write_str(what),
            Trouble::Refused(reply) => write!(f, "{} {}", reply.code, reply.text()),
            Trouble::Tls(words) => write!(f, "no TLS: {words}"),
            Trouble::Login(reply) => {
                write!(f, "it does not let us in: {} {}", reply.code, reply.text())
            }
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::System(error)
    }
}

/// Our greeting; where it is refused HELO is tried.
pub(in crate::client) const EHLO: &str = "EHLO";

/// What a server offers that matters to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::client) struct Extensions {
    /// Commands in groups (RFC 2920).
    pub(in crate::client) pipelining: bool,
    /// Octets above 127 in the text (RFC 6152).
    pub(in crate::client) eight_bit: bool,
    /// UTF-8 in addresses and header (RFC 6531).
    pub(in crate::client) utf8: bool,
    /// SIZE (RFC 1870), with the largest message where it is told.
    pub(in crate::client) size: Option<u64>,
    /// The attributes of Postfix's XCLIENT.
    pub(in crate::client) xclient: Vec<String>,
    /// TLS (RFC 3207).
    pub(in crate::client) starttls: bool,
    /// Mechanisms of AUTH (RFC 4954).
    pub(in crate::client) auth: Vec<String>,
}

impl Extensions {
    fn of(answer: &Reply) -> Extensions {
        Extensions {
            pipelining: answer.announces("PIPELINING"),
            eight_bit: answer.announces("8BITMIME"),
            utf8: answer.announces("SMTPUTF8"),
            size: answer
                .words_of("SIZE")
                .map(|words| words.first().and_then(|word| word.parse().ok()).unwrap_or_default()),
            xclient: answer.words_of("XCLIENT").unwrap_or_default(),
            starttls: answer.announces("STARTTLS"),
            auth: answer.words_of("AUTH").unwrap_or_default(),
        }
    }
}

/// True for 2xx, false for 4xx and 5xx.
pub(in crate::client) fn judged(answer: &Reply) -> Result<bool, Trouble> {
    match answer.class() {
        2 => Ok(true),
        3 => Err(Trouble::Fault("it does not answer as an SMTP server")),
        _ => Ok(false),
    }
}

/// A conversation.
pub(in crate::client) struct Connection {
    transport: Box<dyn Transport>,
    pub(in crate::client) deadline: Deadline,
    /// Octets that came behind the last reply.
    unread: Vec<u8>,
    /// Commands whose answers have not been read.
    open: usize,
}

impl Connection {
    /// Takes a transport over on which nothing was said.
    pub(in crate::client) fn new(transport: impl Transport + 'static, deadline: Deadline) -> Self {
        Connection { transport: Box::new(transport), deadline, unread: Vec::new(), open: 1 }
    }

    /// Connects to the first address that takes it. Each gets an equal part of the time.
    pub(in crate::client) fn open(
        servers: &[SocketAddr],
        deadline: Deadline,
    ) -> Result<(SocketAddr, Connection), Trouble> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let mut tries = servers.len().min(ADDRESSES_MAX);
        for server in servers.iter().take(ADDRESSES_MAX) {
            let share = deadline.left()? / u32::try_from(tries).unwrap_or(1).max(1);
            tries -= 1;
            match Socket::connect(server, share) {
                Ok(socket) => return Ok((*server, Connection::new(socket, deadline))),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// The server's greeting and ours: the verb, and our name.
    pub(in crate::client) fn greet(&mut self, me: &str, verb: &str) -> Result<Extensions, Trouble> {
        let greeting = self.reply()?;
        if greeting.class() != 2 {
            self.quit();
            return Err(Trouble::Refused(greeting));
        }
        self.hello(me, verb)
    }

    /// Our greeting; it may be said again.
    pub(in crate::client) fn hello(&mut self, me: &str, verb: &str) -> Result<Extensions, Trouble> {
        let answer = self.command(&format!("{verb} {me}"))?;
        if answer.class() == 2 {
            return Ok(Extensions::of(&answer));
        }
        let answer = match answer.class() {
            5 if verb == EHLO => self.command(&format!("HELO {me}"))?,
            _ => answer,
        };
        if answer.class() != 2 {
            self.quit();
            return Err(Trouble::Refused(answer));
        }
        Ok(Extensions::default())
    }

    /// The handshake, behind a positive answer to STARTTLS. What came in clear before it is believed no
    /// more: somebody between us and the server may have said it.
    pub(in crate::client) fn into_tls(self, tls: &Tls, host: &str) -> Result<Connection, Trouble> {
        if self.open > 0 || !self.unread.is_empty() {
            return Err(Trouble::Tls("it talks out of turn before the handshake".into()));
        }
        self.handshake(tls, host)
    }

    /// The handshake. Where the server has said nothing yet it greets behind it (RFC 8314).
    pub(in crate::client) fn handshake(self, tls: &Tls, host: &str) -> Result<Connection, Trouble> {
        let patience = self.deadline.within(HANDSHAKE_MAX);
        let encrypted = tls.start(host, self.transport, patience).map_err(Trouble::Tls)?;
        Ok(Connection { transport: Box::new(encrypted), ..self })
    }

    /// Sends a command and waits for the whole answer.
    pub(in crate::client) fn command(&mut self, line: &str) -> Result<Reply, Trouble> {
        self.say(&[line])?;
        self.reply()
    }

    /// Sends commands together, no more than [`GROUP_MAX`]. Each has an answer to be read by
    /// [`Connection::reply`].
    pub(in crate::client) fn say(&mut self, lines: &[impl AsRef<str>]) -> Result<(), Trouble> {
        self.expect_silence()?;
        let mut octets = Vec::new();
        for line in lines.iter().map(AsRef::as_ref) {
            // No address and no name of ours has such a character; a second command would be worse
            // than no answer.
            if line.bytes().any(|octet| octet.is_ascii_control()) {
                return Err(Trouble::Fault("there is a control character in what we would say"));
            }
            octets.extend_from_slice(line.as_bytes());
            octets.extend_from_slice(b"\r\n");
        }
        self.open += lines.len();
        Ok(self.send(&octets)?)
    }

    /// Nobody has spoken without being asked.
    pub(in crate::client) fn expect_silence(&self) -> Result<(), Trouble> {
        if self.open > 0 || self.unread.is_empty() {
            return Ok(());
        }
        Err(Trouble::Fault("it talks out of turn"))
    }

    /// Sends all octets.
    pub(in crate::client) fn send(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            match self.transport.send(octets, self.deadline)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => octets = octets.split_at_checked(count).map_or(&[], |(_, rest)| rest),
            }
        }
        Ok(())
    }

    /// The answer to a command whose last octets were sent by [`Connection::send`].
    pub(in crate::client) fn answer(&mut self) -> Result<Reply, Trouble> {
        self.open += 1;
        self.reply()
    }

    /// The next answer.
    pub(in crate::client) fn reply(&mut self) -> Result<Reply, Trouble> {
        self.open = self.open.saturating_sub(1);
        let mut reader = Reader::default();
        let mut octets = std::mem::take(&mut self.unread);
        loop {
            for (place, octet) in octets.iter().enumerate() {
                if let Some(reply) = reader.push(*octet).map_err(Trouble::Fault)? {
                    self.unread = octets.split_off(place + 1);
                    return Ok(reply);
                }
            }
            octets = self.receive()?;
        }
    }

    fn receive(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut buffer = vec![0; 2_048];
        match self.transport.receive(&mut buffer, self.deadline)? {
            0 => Err(Trouble::Fault("it closed the connection")),
            count => {
                buffer.truncate(count);
                Ok(buffer)
            }
        }
    }

    /// All answers are read, nothing else has come, and the other end is open as far as is known.
    pub(in crate::client) fn is_quiet(&mut self) -> bool {
        if self.open > 0 || !self.unread.is_empty() {
            return false;
        }
        let mut octet = [0];
        match self.transport.arrived(&mut octet) {
            Ok(count) => {
                self.unread.extend(octet.iter().take(count));
                false
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Takes leave. What the server makes of it does not matter any more.
    pub(in crate::client) fn quit(&mut self) {
        self.deadline = self.deadline.within(FAREWELL);
        let _answer = self.command("QUIT");
    }
}
