//! The resolver's sockets: what `dns::resolver` decides is done here, on the event loop's poll.
//!
//! Nothing blocks. The loop hands over its events and the time, asks, and takes answers and log lines;
//! one event reads a bounded number of datagrams, and [`Shell::deadline`] says at once that there are
//! more. Sockets have tokens from [`Shell::TOKENS`] numbers that the loop sets aside.

use crate::config::Config;
use crate::dns::Question;
use crate::dns::resolver::{Output, Random, Resolver, SOCKETS_MAX, STREAMS_MAX, Settings, Weight};
use crate::plugin::log::Level;
use crate::plugin::question::{self, Answer};
use crate::sys;
use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Datagrams read from one socket in one turn.
const DATAGRAMS_PER_TURN: usize = 64;

/// Reads from one connection in one turn.
const READS_PER_TURN: usize = 8;

/// Room for what is read at once: servers are asked for at most 1,232 octets by UDP.
const BUFFER: usize = 4_096;

/// An answer, with who asked and what.
pub type Told = (u64, question::Question, Arc<Answer>);

/// The resolver with its sockets.
pub struct Shell {
    resolver: Resolver,
    registry: Registry,
    base: usize,
    udp: HashMap<u16, Udp>,
    tcp: HashMap<u16, Tcp>,
    /// Offsets of sockets that may have more to read.
    unread: VecDeque<usize>,
    answers: Vec<Told>,
    lines: Vec<(Level, String)>,
    buffer: Vec<u8>,
    /// That no socket can be had was said.
    complained: bool,
}

struct Udp {
    socket: UdpSocket,
    server: SocketAddr,
}

struct Tcp {
    stream: TcpStream,
    /// What is still to be sent.
    out: Vec<u8>,
}

impl Shell {
    /// Numbers of tokens that it needs.
    pub const TOKENS: usize = FIRST_STREAM + STREAMS_MAX as usize;

    /// A resolver that registers its sockets with tokens from `base` on.
    pub fn new(settings: Settings, registry: Registry, base: usize) -> Shell {
        Shell {
            resolver: Resolver::new(settings, Box::new(Entropy::default())),
            registry,
            base,
            udp: HashMap::new(),
            tcp: HashMap::new(),
            unread: VecDeque::new(),
            answers: Vec::new(),
            lines: Vec::new(),
            buffer: vec![0; BUFFER],
            complained: false,
        }
    }

    /// Whether an event's token is one of its own.
    pub fn owns(&self, token: usize) -> bool {
        token.checked_sub(self.base).is_some_and(|offset| offset < Shell::TOKENS)
    }

    /// Something has happened to a socket.
    pub fn on_event(&mut self, token: usize, now: Duration) {
        if let Some(offset) = token.checked_sub(self.base) {
            self.read(offset, now);
        }
    }

    /// Asks. The answer comes at once if it is known, else through [`Shell::take_answers`]. An asker
    /// who asks the same again before that is answered once.
    pub fn ask(&mut self, asker: u64, question: &Question, now: Duration) -> Option<Arc<Answer>> {
        let answer = self.resolver.ask(asker, question, now);
        self.obey(now);
        answer.map(|answer| {
            let rests = self.resolver.is_old_news(question, &answer, now);
            Arc::new(if rests { Answer::Rests } else { Answer::Dns(answer) })
        })
    }

    /// The same about a list itself, whatever is known of it.
    pub fn probe(&mut self, asker: u64, question: &Question, now: Duration) -> Option<Arc<Answer>> {
        let answer = self.resolver.probe(asker, question, now);
        self.obey(now);
        answer.map(|answer| Arc::new(Answer::Dns(answer)))
    }

    /// Somebody does not wait for any answer any more.
    pub fn cancel(&mut self, asker: u64) {
        self.resolver.cancel(asker);
    }

    /// The answers that have come in.
    pub fn take_answers(&mut self) -> impl Iterator<Item = Told> + use<> {
        std::mem::take(&mut self.answers).into_iter()
    }

    /// Lines for the log.
    pub fn take_lines(&mut self, now: Duration) -> impl Iterator<Item = (Level, String)> + use<> {
        // The state machine may have been spoken to directly.
        self.obey(now);
        std::mem::take(&mut self.lines).into_iter()
    }

    /// When [`Shell::tick`] has to be called at the latest; zero if there is more to read.
    pub fn deadline(&self) -> Option<Duration> {
        if self.unread.is_empty() { self.resolver.deadline() } else { Some(Duration::ZERO) }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        for _ in 0..self.unread.len() {
            let Some(offset) = self.unread.pop_front() else { break };
            self.read(offset, now);
        }
        self.resolver.expire(now);
        self.obey(now);
    }

    /// Goes over to other servers and another hosts file.
    pub fn configure(&mut self, settings: Settings, now: Duration) {
        self.resolver.configure(settings, now);
        self.obey(now);
    }

    /// Which zones are lists, to be left alone for a while when they do not answer.
    pub fn watch_zones<'a>(&mut self, zones: impl IntoIterator<Item = &'a str>) {
        self.resolver.watch_zones(zones);
    }

    /// The state machine, for what needs no socket: benched zones, counts.
    pub fn resolver(&mut self) -> &mut Resolver {
        &mut self.resolver
    }

    fn read(&mut self, offset: usize, now: Duration) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let more = match u16::try_from(offset) {
            Ok(key) if key < SOCKETS_MAX => self.read_udp(key, &mut buffer, now),
            Ok(key) => self.read_tcp(key - SOCKETS_MAX, &mut buffer, now),
            Err(_) => false,
        };
        self.buffer = buffer;
        if more && !self.unread.contains(&offset) {
            self.unread.push_back(offset);
        }
    }

    /// Reads datagrams. True if there may be more.
    fn read_udp(&mut self, key: u16, buffer: &mut [u8], now: Duration) -> bool {
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some(udp) = self.udp.get(&key) else { return false };
            match udp.socket.recv(buffer) {
                Ok(count) => {
                    let from = udp.server;
                    let datagram = buffer.get(..count).unwrap_or_default();
                    self.resolver.datagram(key, from, datagram, now);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // Mostly a refusal that ICMP brought: nobody listens there.
                Err(_) => self.resolver.udp_failed(key, now),
            }
            // After each datagram, since this socket may be another one afterwards.
            self.obey(now);
        }
        true
    }

    /// Sends what is left to send and reads. True if there may be more to read.
    fn read_tcp(&mut self, key: u16, buffer: &mut [u8], now: Duration) -> bool {
        for _ in 0..READS_PER_TURN {
            let Some(tcp) = self.tcp.get_mut(&key) else { return false };
            match tcp.go_on(buffer) {
                Ok(0) => self.resolver.tcp_closed(key, now),
                Ok(count) => {
                    let octets = buffer.get(..count).unwrap_or_default();
                    self.resolver.tcp_data(key, octets, now);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Not connected yet: there will be an event.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
                {
                    return false;
                }
                Err(_) => self.resolver.tcp_closed(key, now),
            }
            self.obey(now);
        }
        true
    }

    /// Does all that the resolver wants done.
    fn obey(&mut self, now: Duration) {
        while let Some(output) = self.resolver.take_output() {
            match output {
                Output::OpenUdp { key, server, port } => {
                    if let Err(error) = self.open_udp(key, server, port) {
                        self.complain(server, &error);
                        self.resolver.udp_failed(key, now);
                    }
                }
                Output::CloseUdp { key } => {
                    if let Some(mut udp) = self.udp.remove(&key) {
                        // Nothing to do about a failure: the socket is closed in any case.
                        let _ = self.registry.deregister(&mut udp.socket);
                    }
                }
                Output::Send { key, to: _, bytes } => self.send(key, &bytes, now),
                Output::TcpConnect { key, to, bytes } => {
                    if let Err(error) = self.connect(key, to, bytes) {
                        self.complain(to, &error);
                        self.resolver.tcp_closed(key, now);
                    }
                }
                Output::TcpClose { key } => {
                    if let Some(mut tcp) = self.tcp.remove(&key) {
                        let _ = self.registry.deregister(&mut tcp.stream);
                    }
                }
                Output::Answer { asker, question, answer, rests } => {
                    let question = question::Question::Dns(Question::clone(&question));
                    let answer = if rests { Answer::Rests } else { Answer::Dns(answer) };
                    self.answers.push((asker, question, Arc::new(answer)));
                }
                Output::Log(weight, text) => self.lines.push((level(weight), text)),
            }
        }
    }

    /// Opens a socket to a server. Connected, it gets nothing from anybody else, and is told when
    /// nobody listens.
    fn open_udp(&mut self, key: u16, server: SocketAddr, port: u16) -> io::Result<()> {
        let any = match server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // A port that is taken, or that a security module keeps, is replaced by one of the kernel's
        // choice, which is random as well.
        let socket = UdpSocket::bind(SocketAddr::new(any, port))
            .or_else(|_| UdpSocket::bind(SocketAddr::new(any, 0)))?;
        socket.connect(server)?;
        let mut udp = Udp { socket, server };
        let token = Token(self.base + usize::from(key));
        self.registry.register(&mut udp.socket, token, Interest::READABLE)?;
        self.udp.insert(key, udp);
        self.complained = false;
        Ok(())
    }

    fn send(&mut self, key: u16, bytes: &[u8], now: Duration) {
        let Some(udp) = self.udp.get(&key) else { return };
        match udp.socket.send(bytes) {
            // A full buffer loses the datagram, as the network may.
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.resolver.udp_failed(key, now),
        }
    }

    fn connect(&mut self, key: u16, to: SocketAddr, bytes: Vec<u8>) -> io::Result<()> {
        let mut stream = TcpStream::connect(to)?;
        let token = Token(self.base + FIRST_STREAM + usize::from(key));
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut stream, token, interest)?;
        self.tcp.insert(key, Tcp { stream, out: bytes });
        Ok(())
    }

    /// Says once that a socket cannot be had, until one can again.
    fn complain(&mut self, server: SocketAddr, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            let text = format!("no socket to DNS server {server}: {error}");
            self.lines.push((Level::Warning, text));
        }
    }
}

const FIRST_STREAM: usize = SOCKETS_MAX as usize;

impl Tcp {
    /// Sends what is left, then reads.
    fn go_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        while !self.out.is_empty() {
            match self.stream.write(&self.out)? {
                0 => return Err(ErrorKind::WriteZero.into()),
                count => self.out.drain(..count),
            };
        }
        self.stream.read(buffer)
    }
}

fn level(weight: Weight) -> Level {
    match weight {
        Weight::Notice => Level::Notice,
        Weight::Warning => Level::Warning,
    }
}

/// The kernel's random numbers, fetched some at a time.
#[derive(Default)]
struct Entropy(Vec<u64>);

impl Random for Entropy {
    fn u64(&mut self) -> Option<u64> {
        if self.0.is_empty() {
            let mut octets = [0; 512];
            sys::random::bytes(&mut octets).ok()?;
            let (numbers, _) = octets.as_chunks();
            self.0 = numbers.iter().copied().map(u64::from_ne_bytes).collect();
        }
        self.0.pop()
    }
}

/// What a configuration says about the resolver.
pub fn settings(config: &Config) -> Settings {
    let (servers, hosts) = (config.resolvers.clone(), config.hosts.clone());
    Settings { servers, hosts, everything: false }
}

#[cfg(test)]
mod tests;
