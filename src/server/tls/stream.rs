//! One connection's encryption, from the first octet of the handshake to the last of the dialogue.
//!
//! The ClientHello is gathered in the loop; what follows it costs a signature and is done by a worker
//! ([`Hello::answer`]); the rest of the handshake is cheap and is the loop's again. No octet is read that
//! the socket has not, none is buffered beyond what TLS itself needs: a record of at most 16 KiB each way
//! while it is in the making.

use super::certificate::Certificate;
use crate::plugin::{ClientCertificate, Secure};
use crate::server::clock;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Accepted, Acceptor};
use rustls::{
    Error, HandshakeKind, InvalidMessage, PeerIncompatible as Incompatible, ProtocolVersion,
    ServerConfig, ServerConnection,
};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// Octets that wait for a client that does not read; more stay with the caller.
const BUFFER_MAX: usize = 64 * 1_024;

/// Octets of a ClientHello; rustls itself allows a handshake message of 64 KiB.
const HELLO_MAX: usize = 70_000;

/// Why there is no TLS with a client whose connection is reset.
pub const BROKE_OFF: &str = "the client broke off";

/// The server's end.
pub struct Stream {
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Octets of the ClientHello that were read before the handshake began.
    first: VecDeque<u8>,
    state: State,
}

enum State {
    /// The ClientHello comes in; how many octets of it so far.
    Hello(Box<Acceptor>, usize),
    /// A worker is to have it, once one has time.
    Held(Hello),
    /// A worker has it.
    Away,
    /// The rest of the handshake.
    Handshake(Box<ServerConnection>),
    /// The dialogue.
    Open(Box<ServerConnection>),
    /// Over.
    Failed,
}

/// What a worker has to do.
pub enum Hello {
    /// Answer a ClientHello.
    First(Box<Accepted>, Arc<ServerConfig>),
    /// Answer the second one, for a client that had guessed wrong about our curves.
    Second(Box<ServerConnection>),
}

/// Why there is no TLS with a client, for the log.
#[derive(Debug)]
pub struct Failure {
    /// In words.
    pub why: String,
    /// What is to be sent to the client: an alert.
    pub alert: Vec<u8>,
    /// The fault is ours: the client would have had TLS.
    pub is_ours: bool,
}

/// How far a handshake is.
pub enum Step {
    /// The client has to say more.
    More,
    /// A worker has to do this, and bring it back to [`Stream::answered`].
    Work(Hello),
    /// Done.
    Done(Secure),
}

/// What reading gave.
pub enum Taken {
    /// So many octets.
    Octets(usize),
    /// Nothing for now.
    Nothing,
    /// The client has ended the dialogue.
    End,
    /// The connection is broken, and why.
    Broken(String),
}

impl Failure {
    /// A failure without an alert.
    pub fn new(why: &str) -> Failure {
        Failure { why: why.to_string(), alert: Vec::new(), is_ours: false }
    }

    /// A failure for which the client can do nothing.
    pub fn of_ours(why: &str) -> Failure {
        Failure { is_ours: true, ..Failure::new(why) }
    }

    fn with_alert(error: &Error, alert: Vec<u8>) -> Failure {
        Failure { alert, ..Failure::new(&cause(error)) }
    }
}

/// What a worker brings back.
pub type Answered = Result<Box<ServerConnection>, Failure>;

impl Hello {
    /// Does the work.
    ///
    /// # Errors
    /// Why there is no TLS with this client.
    pub fn answer(self) -> Answered {
        match self {
            Hello::First(accepted, config) => match accepted.into_connection(config) {
                Ok(mut connection) => {
                    connection.set_buffer_limit(Some(BUFFER_MAX));
                    Ok(Box::new(connection))
                }
                Err((error, mut alert)) => {
                    let mut octets = Vec::new();
                    // Writing to memory cannot fail.
                    let _ = alert.write_all(&mut octets);
                    Err(Failure::with_alert(&error, octets))
                }
            },
            Hello::Second(mut connection) => match connection.process_new_packets() {
                Ok(_) => Ok(connection),
                Err(error) => Err(failure(&error, &mut connection)),
            },
        }
    }
}

impl Stream {
    pub(super) fn new(
        config: Arc<ServerConfig>,
        clients: Option<Arc<dyn ClientCertVerifier>>,
        first: Vec<u8>,
    ) -> Stream {
        Stream { config, clients, first: first.into(), state: State::Hello(Box::default(), 0) }
    }

    /// The handshake is done.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Octets wait to be sent.
    pub fn has_output(&self) -> bool {
        match &self.state {
            State::Handshake(connection) | State::Open(connection) => connection.wants_write(),
            State::Hello(..) | State::Held(_) | State::Away | State::Failed => false,
        }
    }

    /// Goes on with the handshake as far as the socket allows.
    ///
    /// # Errors
    /// Why it cannot succeed.
    pub fn handshake<S: Read + Write>(
        &mut self,
        socket: &mut S,
        readable: &mut bool,
    ) -> Result<Step, Failure> {
        loop {
            match std::mem::replace(&mut self.state, State::Failed) {
                State::Hello(acceptor, seen) => {
                    match self.read_hello(acceptor, seen, socket, readable)? {
                        Some(step) => return Ok(step),
                        None if *readable || !self.first.is_empty() => {}
                        None => return Ok(Step::More),
                    }
                }
                waiting @ (State::Held(_) | State::Away) => {
                    self.state = waiting;
                    return Ok(Step::More);
                }
                State::Handshake(connection) => return self.finish(connection, socket, readable),
                State::Open(_) | State::Failed => {
                    return Err(Failure::new("the connection is over"));
                }
            }
        }
    }

    fn read_hello<S: Read>(
        &mut self,
        mut acceptor: Box<Acceptor>,
        seen: usize,
        socket: &mut S,
        readable: &mut bool,
    ) -> Result<Option<Step>, Failure> {
        let mut count = 0;
        if !self.first.is_empty() {
            // Reading from memory cannot fail.
            count = acceptor.read_tls(&mut self.first).unwrap_or(0);
        } else if *readable {
            match acceptor.read_tls(socket) {
                Ok(0) => return Err(Failure::new("the client hung up in the handshake")),
                Ok(read) => count = read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => *readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        let seen = seen + count;
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                self.state = State::Away;
                Ok(Some(Step::Work(Hello::First(Box::new(accepted), Arc::clone(&self.config)))))
            }
            Ok(None) if seen > HELLO_MAX => Err(Failure::new("the ClientHello is too large")),
            Ok(None) => {
                self.state = State::Hello(acceptor, seen);
                Ok(None)
            }
            Err((error, mut alert)) => {
                let mut octets = Vec::new();
                // Writing to memory cannot fail.
                let _ = alert.write_all(&mut octets);
                Err(Failure::with_alert(&error, octets))
            }
        }
    }

    /// Keeps what a worker has to do until one has time.
    pub fn hold(&mut self, hello: Hello) {
        self.state = State::Held(hello);
    }

    /// What was kept for a worker.
    pub fn take_held(&mut self) -> Option<Hello> {
        match std::mem::replace(&mut self.state, State::Away) {
            State::Held(hello) => Some(hello),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// It is our turn in the handshake, not the client's.
    pub fn is_ours(&self) -> bool {
        matches!(self.state, State::Held(_) | State::Away)
    }

    /// A worker has done its work.
    pub fn answered(&mut self, connection: Box<ServerConnection>) {
        self.state = State::Handshake(connection);
    }

    fn finish<S: Read + Write>(
        &mut self,
        mut connection: Box<ServerConnection>,
        socket: &mut S,
        readable: &mut bool,
    ) -> Result<Step, Failure> {
        loop {
            if let Err(error) = send(&mut connection, socket) {
                return Err(broken(&error));
            }
            if !connection.is_handshaking() {
                let secure = self.secure(&connection);
                self.state = State::Open(connection);
                return Ok(Step::Done(secure));
            }
            if !*readable {
                self.state = State::Handshake(connection);
                return Ok(Step::More);
            }
            match connection.read_tls(socket) {
                Ok(0) => return Err(Failure::new("the client hung up in the handshake")),
                Ok(_) if guessed_wrong(&connection) => {
                    self.state = State::Away;
                    return Ok(Step::Work(Hello::Second(connection)));
                }
                Ok(_) => {
                    if let Err(error) = connection.process_new_packets() {
                        return Err(failure(&error, &mut connection));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => *readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    fn secure(&self, connection: &ServerConnection) -> Secure {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS1.3",
            _ => "TLS1.2",
        };
        let suite = connection.negotiated_cipher_suite();
        let cipher = suite.map(|suite| format!("{:?}", suite.suite()));
        // The name that IANA and the rest of the world use for those of TLS 1.3.
        let cipher = cipher.unwrap_or_default().replace("TLS13_", "TLS_").into();
        Secure { version, cipher, client: self.client(connection) }
    }

    fn client(&self, connection: &ServerConnection) -> Option<ClientCertificate> {
        let (end, others) = connection.peer_certificates()?.split_first()?;
        let now = UnixTime::since_unix_epoch(clock::unix());
        let trusted = self
            .clients
            .as_ref()
            .is_some_and(|verifier| verifier.verify_client_cert(end, others, now).is_ok());
        let name = Certificate::parse(end).and_then(|it| it.name()).unwrap_or_default();
        let digest = ring::digest::digest(&ring::digest::SHA256, end);
        let fingerprint: String =
            digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        Some(ClientCertificate { name: name.into(), fingerprint: fingerprint.into(), trusted })
    }

    /// Reads what the client said.
    pub fn read<S: Read>(
        &mut self,
        socket: &mut S,
        readable: &mut bool,
        buffer: &mut [u8],
    ) -> Taken {
        let State::Open(connection) = &mut self.state else { return Taken::Nothing };
        loop {
            match connection.reader().read(buffer) {
                Ok(0) => return Taken::End,
                Ok(count) => return Taken::Octets(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The end of the connection without a word of TLS: nobody can say who ended it.
                Err(_) => return Taken::End,
            }
            if !*readable {
                return Taken::Nothing;
            }
            match connection.read_tls(socket) {
                Ok(count) => {
                    if let Err(error) = connection.process_new_packets() {
                        return Taken::Broken(error.to_string());
                    }
                    if count == 0 && !has_plaintext(connection) {
                        return Taken::End;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => *readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Taken::Broken(error.to_string()),
            }
        }
    }

    /// Encrypts and sends what can be sent; returns how much of `out` was taken.
    ///
    /// # Errors
    /// The socket is dead.
    pub fn write<S: Write>(&mut self, socket: &mut S, out: &[u8]) -> io::Result<usize> {
        let State::Open(connection) = &mut self.state else { return Ok(0) };
        let mut taken = 0;
        loop {
            send(connection, socket)?;
            let rest = out.get(taken..).unwrap_or_default();
            if rest.is_empty() || connection.wants_write() {
                return Ok(taken);
            }
            taken += connection.writer().write(rest)?;
        }
    }

    /// Says that nothing more will come.
    pub fn close(&mut self) {
        if let State::Open(connection) = &mut self.state {
            connection.send_close_notify();
        }
    }
}

fn broken(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::new(BROKE_OFF),
        _ => Failure::new(&error.to_string()),
    }
}

/// Why there is no TLS, for people; in the words of rustls where it is seldom seen.
fn cause(error: &Error) -> String {
    let words = match error {
        Error::PeerIncompatible(
            // The last is how clients without TLS 1.2 are noticed that do not say so.
            Incompatible::Tls12NotOffered
            | Incompatible::Tls12NotOfferedOrEnabled
            | Incompatible::ServerTlsVersionIsDisabledByOurConfig
            | Incompatible::SupportedVersionsExtensionRequired
            | Incompatible::SignatureAlgorithmsExtensionRequired,
        ) => "the client speaks no TLS 1.2 or newer that is offered here",
        Error::PeerIncompatible(Incompatible::NoCipherSuitesInCommon) => {
            "no cipher suite in common that goes with the certificate"
        }
        Error::PeerIncompatible(Incompatible::NoKxGroupsInCommon) => "no curve in common",
        Error::PeerIncompatible(Incompatible::NoSignatureSchemesInCommon) => {
            "the client takes no signature of the certificate's kind"
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "what came is no TLS",
        Error::NoApplicationProtocol => "the client wants another protocol than SMTP (ALPN)",
        Error::AlertReceived(alert) => return format!("the client sent the alert {alert:?}"),
        other => return other.to_string(),
    };
    words.to_string()
}

fn has_plaintext(connection: &mut ServerConnection) -> bool {
    use std::io::BufRead;
    connection.reader().fill_buf().is_ok_and(|octets| !octets.is_empty())
}

/// The second ClientHello of a client whose first had no curve that we know.
fn guessed_wrong(connection: &ServerConnection) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
}

/// Sends until there is nothing left, or the socket takes no more.
fn send<S: Write>(connection: &mut ServerConnection, socket: &mut S) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(socket) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn failure(error: &Error, connection: &mut ServerConnection) -> Failure {
    let mut alert = Vec::new();
    while connection.wants_write() {
        // Writing to memory cannot fail.
        if connection.write_tls(&mut alert).is_err() {
            break;
        }
    }
    Failure::with_alert(error, alert)
}
