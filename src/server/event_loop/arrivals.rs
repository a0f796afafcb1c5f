//! New connections: limits, the choice of the list of plugins, and the hook `accept`.
//!
//! Whoever is not served is told so at once, with 421 or 554, and never left in silence. When
//! descriptors run out, the one kept in reserve is used to say so, and accepting pauses until a
//! connection ends.

use super::EventLoop;
use crate::config::nets::{canonical, site as site_of};
use crate::config::types::{Listen, Role};
use crate::limits;
use crate::plugin::log::{Event, Id, Level, Line};
use crate::plugin::visit::Visit;
use crate::plugin::{Arrival, Peer};
use crate::server::errand::SlotId;
use crate::server::slots::{Slot, Waiting};
use crate::smtp::reply::{self, Reply};
use mio::net::TcpStream;
use mio::{Interest, Token};
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long accepting rests when descriptors have run out and no connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A descriptor to give up when there is none left for a client who has to be told so.
pub(super) fn spare_fd() -> Option<File> {
    File::open("/dev/null").ok()
}

impl EventLoop {
    /// Accepts from every listener that is ready, a bounded number each.
    pub(super) fn accept_some(&mut self) {
        match self.accept_paused {
            Some(until) if self.now.mono < until => return,
            // A descriptor may have come free without our noticing (a thread's file, say).
            _ => self.accept_paused = None,
        }
        for number in 0..self.listeners.len() {
            for _ in 0..limits::ACCEPTS_PER_TURN {
                let Some(listener) = self.listeners.get_mut(number) else { break };
                let Some(socket) = listener.socket.as_ref().filter(|_| listener.ready) else {
                    break;
                };
                match socket.accept() {
                    Ok((stream, address)) => {
                        let listen = listener.listen.clone();
                        self.arrived(stream, address, &listen);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.ready = false;
                    }
                    Err(error) if is_out_of_descriptors(&error) => {
                        self.out_of_descriptors(number, &error);
                        return;
                    }
                    // The client gave up before it was served.
                    Err(_) => {}
                }
            }
        }
    }

    fn out_of_descriptors(&mut self, number: usize, error: &io::Error) {
        self.say(Level::Error, format!("cannot accept: {error}; waiting for a connection to end"));
        self.accept_paused = Some(self.now.mono + ACCEPT_PAUSE);
        self.spare_fd = None;
        let socket = self.listeners.get(number).and_then(|listener| listener.socket.as_ref());
        if let Some(Ok((mut stream, _))) = socket.map(mio::net::TcpListener::accept) {
            tell(&mut stream, &reply::TOO_MANY_CONNECTIONS);
        }
        self.spare_fd = spare_fd();
    }

    fn arrived(&mut self, mut stream: TcpStream, address: SocketAddr, listen: &Listen) {
        // Without it only latency suffers.
        let _ = stream.set_nodelay(true);
        let most = self.most_connections();
        if self.slots.len() >= most {
            let (used, ip) = (self.slots.len(), canonical(address.ip()));
            let text = format!("Too many connections: {used} >= {most}, refused {ip}");
            self.say(Level::Info, text);
            return tell(&mut stream, &reply::TOO_MANY_CONNECTIONS);
        }
        if listen.proxy {
            return self.proxy_arrived(stream, address, listen.role);
        }
        let local = stream.local_addr().unwrap_or(address);
        self.let_in(stream, (address, local), listen.role, Vec::new());
    }

    /// Serves a client, or tells it why not. `pending` was read of it already.
    pub(super) fn let_in(
        &mut self,
        mut stream: TcpStream,
        (from, local): (SocketAddr, SocketAddr),
        role: Role,
        pending: Vec<u8>,
    ) {
        match self.welcome(from, local, role) {
            Ok(visit) => self.admit(stream, role, visit, pending),
            // A client that waits for TLS could not read it.
            Err(_) if role.smtps => {}
            Err(out) => tell_octets(&mut stream, &out),
        }
    }

    /// The visit of a client that is served; or what it has to be told.
    pub(super) fn welcome(
        &mut self,
        from: SocketAddr,
        local: SocketAddr,
        role: Role,
    ) -> Result<Box<Visit>, Vec<u8>> {
        let ip = canonical(from.ip());
        let Some(chain) = self.site.chain_for(ip).map(Arc::clone) else {
            self.say(Level::Notice, format!("no list of plugins serves {ip}, refused"));
            let text = "Sorry, service not available for you";
            return Err(octets(&Reply::new(554, Some((7, 1)), text)));
        };
        let arrival = self.arrival(ip, &chain.name);
        let id = self.next_id();
        if !chain.contains("hosts_allow") && over_the_limit(&arrival) {
            let text = format!("too many connections from {ip}, try again later");
            self.log.post(Event::Line(Line::core(Level::Info, id, format!("fail: {text}"))));
            return Err(octets(&Reply::new(421, Some((7, 0)), text)));
        }
        let local = SocketAddr::new(canonical(local.ip()), local.port());
        let peer = Peer { ip, port: from.port(), local, name: None };
        let mut visit = Box::new(Visit::new(id, peer, chain, &self.around()));
        let (used, most) = (self.slots.len(), self.most_connections());
        visit.line(Level::Info, format!("Accepted connection {used}/{most} from {ip} / Unknown"));
        visit.line(Level::Notice, format!("Connection from Unknown [{ip}]"));
        self.offer(&mut visit, role);
        let mut out = Vec::new();
        let welcome = visit.accept(&arrival, &self.around(), &mut out);
        if !welcome {
            visit.leave(&self.around());
        }
        self.post_log(&mut visit);
        if welcome { Ok(visit) } else { Err(out) }
    }

    fn arrival(&mut self, ip: IpAddr, list: &str) -> Arrival {
        let config = Arc::clone(&self.site.config);
        let exempt = ip.is_loopback() || config.relay.allows(ip);
        let known = self.by_ip.get(&site_of(ip));
        Arrival {
            load: self.load.at(self.now.mono),
            same_ip: known.map_or(0, |client| client.connections) + 1,
            same_ip_max: if exempt { 0 } else { config.concurrency_per_ip },
            is_local: ip.is_loopback() || list == "local",
            karma_history: known.and_then(|client| client.karma_history),
        }
    }

    fn admit(&mut self, stream: TcpStream, role: Role, visit: Box<Visit>, pending: Vec<u8>) {
        let ip = visit.peer().ip;
        let Some(mut slot) = self.hold(stream, role, ip) else { return };
        slot.visit = Some(visit);
        slot.pending = pending;
        self.ask_name(&mut slot, ip);
        slot.deadline = self.now.mono + Duration::from_secs(1);
        if slot.role.smtps {
            let pending = std::mem::take(&mut slot.pending);
            let end = self.start_tls(&mut slot, &pending);
            return self.end_turn(slot, &end);
        }
        self.turn(slot);
    }

    /// A place for a connection, without a visit yet.
    pub(super) fn hold(&mut self, stream: TcpStream, role: Role, ip: IpAddr) -> Option<Box<Slot>> {
        let now = self.now.mono;
        let site_ip = site_of(ip);
        let make = |id: SlotId| Slot {
            id,
            stream,
            tls: None,
            hello: Vec::new(),
            role,
            site_ip,
            karma_history: None,
            visit: None,
            pending: Vec::new(),
            out: Vec::new(),
            readable: false,
            read_closed: false,
            gone: false,
            waiting: Waiting::Turn,
            deadline: now,
            timer: None,
            queued: false,
            connected: now,
            text: None,
            due: Vec::new(),
            said_end: false,
            lingered: 0,
            text_in_memory: 0,
            answers_in_memory: 0,
            name_asked: None,
            late_answers: Vec::new(),
        };
        let id = self.slots.insert(make);
        self.count_in(site_ip);
        let mut slot = self.slots.take(id)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut slot.stream, Token(id.index), interest);
        if let Err(error) = registered {
            self.say(Level::Error, format!("cannot watch a connection: {error}"));
            self.close(slot);
            return None;
        }
        Some(slot)
    }

    /// Decimal, unique across restarts: the second of the start and a counter.
    fn next_id(&mut self) -> Id {
        self.counter += 1;
        let mut scale = 1_000_000;
        while scale <= self.counter {
            scale *= 10;
        }
        Id(self.started.wrapping_mul(scale).wrapping_add(self.counter))
    }
}

fn over_the_limit(arrival: &Arrival) -> bool {
    arrival.same_ip_max != 0 && arrival.same_ip > arrival.same_ip_max
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    use nix::errno::Errno;
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM]
        .iter()
        .any(|errno| code == Some(*errno as i32))
}

/// A last word to somebody who will not be served. A fresh socket takes it whole; if it cannot, the
/// client is gone.
fn tell(stream: &mut TcpStream, reply: &Reply) {
    tell_octets(stream, &octets(reply));
}

fn octets(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    reply.write(&mut out);
    out
}

fn tell_octets(stream: &mut TcpStream, out: &[u8]) {
    let _ = stream.write(out);
    let _ = stream.shutdown(std::net::Shutdown::Write);
}
