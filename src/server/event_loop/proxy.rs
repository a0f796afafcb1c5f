//! Clients behind a proxy: the PROXY header before everything else, and XCLIENT.
//!
//! From the moment that a proxy has said who its client is that client is judged: limits, the list of
//! plugins and every check see its address, and the early-talker check counts only what follows the
//! header. A header from a host that is not named in `proxy_hosts` is a protocol error.

use super::EventLoop;
use super::turn::End;
use crate::config::nets::{canonical, site as site_of};
use crate::config::types::Role;
use crate::limits;
use crate::plugin::log::Level;
use crate::plugin::visit::Visit;
use crate::server::slots::{Slot, Taken, Waiting};
use crate::smtp::proxy::{self, Header};
use mio::net::TcpStream;
use std::net::SocketAddr;

impl EventLoop {
    /// A connection at a listener marked `proxy`.
    pub(super) fn proxy_arrived(&mut self, stream: TcpStream, address: SocketAddr, role: Role) {
        let ip = canonical(address.ip());
        if self.site.config.proxy_hosts.contains(ip).is_none() {
            let text = format!("fail, {ip} is not in proxy_hosts, refused");
            return self.say(Level::Notice, text);
        }
        let Some(mut slot) = self.hold(stream, role, ip) else { return };
        slot.waiting = Waiting::Proxy;
        slot.deadline = self.now.mono + limits::PROXY_TIME_MAX;
        self.hear_proxy(slot);
    }

    /// Octets came, or may have, of a connection that has to begin with a PROXY header.
    pub(super) fn hear_proxy(&mut self, mut slot: Box<Slot>) {
        let mut buffer = [0_u8; proxy::HEADER_MAX];
        let room = proxy::HEADER_MAX.saturating_sub(slot.pending.len());
        match slot.read_plain(buffer.get_mut(..room).unwrap_or_default()) {
            Taken::Octets(count) => {
                slot.pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
            Taken::Nothing => {}
            Taken::End | Taken::Broken(_) => return self.close(slot),
        }
        match proxy::header(&slot.pending) {
            Header::More => {
                let id = slot.id;
                slot.queued = slot.readable;
                let again = slot.readable;
                self.slots.put_back(slot);
                if again {
                    self.ready.push_back(id);
                }
                self.set_timer(id);
            }
            Header::Client(from, to, used) => self.serve_behind(slot, from, to, used),
            Header::Local(used) => {
                let local = slot.stream.local_addr();
                match (slot.stream.peer_addr(), local) {
                    (Ok(from), Ok(to)) => self.serve_behind(slot, from, to, used),
                    // The proxy is gone.
                    _ => self.close(slot),
                }
            }
            Header::Wrong(why) => {
                self.proxy_failed(&slot, why);
                self.close(slot);
            }
        }
    }

    pub(super) fn proxy_failed(&self, slot: &Slot, why: &str) {
        let from = slot.stream.peer_addr().map(|from| canonical(from.ip()).to_string());
        let from = from.unwrap_or_else(|_| "a proxy".to_string());
        self.say(Level::Notice, format!("fail, {why}, from {from}: connection closed"));
    }

    /// The place of the header's reader goes to the client that it named.
    fn serve_behind(&mut self, mut slot: Box<Slot>, from: SocketAddr, to: SocketAddr, used: usize) {
        let pending = slot.pending.split_off(used);
        let role = slot.role;
        let Some(stream) = self.release(slot) else { return };
        self.let_in(stream, (from, to), role, pending);
    }

    /// A proxy has said by XCLIENT who its client is: the dialogue begins anew with that client, on the
    /// same connection and under the same TLS.
    pub(super) fn introduced(&mut self, slot: &mut Slot, mut visit: Box<Visit>) -> End {
        let Some(introduction) = visit.introduction().cloned() else { return End::Close };
        let (peer, secure) = (visit.peer().clone(), visit.secure().cloned());
        visit.leave(&self.around());
        self.post_log(&mut visit);
        self.resolver.cancel(super::names::asker_of(slot.id));
        let ip = introduction.ip.unwrap_or(peer.ip);
        let from = SocketAddr::new(ip, introduction.port.unwrap_or(peer.port));
        self.count_out(slot.site_ip);
        let welcome = self.welcome(from, peer.local, slot.role);
        slot.site_ip = site_of(canonical(ip));
        self.count_in(slot.site_ip);
        let mut visit = match welcome {
            Ok(visit) => visit,
            Err(out) => {
                slot.out.extend_from_slice(&out);
                slot.waiting = Waiting::Closing;
                slot.flush();
                return self.finish_closing(slot);
            }
        };
        if let Some(secure) = secure {
            visit.tls_started(secure);
        }
        if let Some(user) = &introduction.login {
            visit.believe(user);
        }
        slot.visit = Some(visit);
        match (&introduction.name, &mut slot.visit) {
            (Some(name), Some(visit)) => visit.set_name(name),
            _ => self.ask_name(slot, canonical(ip)),
        }
        slot.waiting = Waiting::Turn;
        self.go_on(slot)
    }
}
