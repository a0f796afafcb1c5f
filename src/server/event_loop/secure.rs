//! TLS handshakes, and what is remembered of clients with whom they failed, or who guessed passwords.
//!
//! A failed handshake ends the connection: nothing readable can be said any more. The sender will come
//! back, and for an hour it is offered no STARTTLS on port 25: mail in clear is better than none where
//! TLS is opportunistic. A listener for our own users makes no such exception.

use super::EventLoop;
use super::turn::End;
use crate::config::nets::network;
use crate::config::types::Role;
use crate::limits;
use crate::plugin::log::Level;
use crate::plugin::visit::{Offer, Visit};
use crate::server::errand::SlotId;
use crate::server::slots::{Slot, Waiting};
use crate::server::tls::{Answered, BROKE_OFF, Failure, Hello, Step};
use crate::sys;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

/// Why there is no TLS where no worker came to it.
const TOO_BUSY: &str = "no thread had time for it";

/// How often certificates are looked at whether they end soon.
const LOOK_EVERY: Duration = Duration::from_secs(86_400);

/// Handshakes that may be with the workers. More wait in the loop: mail has to find the workers' queue
/// short, also in a flood of handshakes.
const HANDSHAKES_AWAY_MAX: usize = 32;

/// A number for each address, for a while. Bounded: the one that ends first makes room.
pub(super) struct Remembered {
    entries: HashMap<IpAddr, (u32, Duration)>,
    keep: Duration,
}

impl Remembered {
    pub(super) fn new(keep: Duration) -> Remembered {
        Remembered { entries: HashMap::new(), keep }
    }

    pub(super) fn add(&mut self, ip: IpAddr, more: u32, now: Duration) {
        if !self.entries.contains_key(&ip) && self.entries.len() >= limits::REMEMBERED_MAX {
            let first = self.entries.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(first) = first.map(|(ip, _)| *ip) {
                self.entries.remove(&first);
            }
        }
        let (count, until) = self.entries.entry(ip).or_default();
        *count = if *until > now { count.saturating_add(more) } else { more };
        *until = now + self.keep;
    }

    pub(super) fn get(&self, ip: IpAddr, now: Duration) -> u32 {
        self.entries.get(&ip).filter(|(_, until)| *until > now).map_or(0, |(count, _)| *count)
    }
}

/// What is counted of handshakes.
#[derive(Default)]
pub(super) struct Handshakes {
    pub(super) done: u64,
    pub(super) failed: u64,
    away: usize,
    /// Whose turn with a worker comes next. Ids of connections that have ended are passed over, so that
    /// there are no more than came in the time that a handshake waits.
    queue: VecDeque<SlotId>,
    looked: Option<Duration>,
}

impl EventLoop {
    /// Says what a client can be offered.
    pub(super) fn offer(&self, visit: &mut Visit, role: Role) {
        let (ip, now) = (visit.peer().ip, self.now.mono);
        let is_public = !role.smtps && !role.submission;
        let rests = is_public && self.no_tls.get(ip, now) > 0;
        visit.offer(Offer {
            starttls: self.tls.is_some() && !role.smtps && !rests,
            role,
            login_failures: self.login_failures.get(network(ip), now),
            nonce,
            secret,
        });
        if rests {
            let text =
                "no STARTTLS is offered: a handshake with this client failed within the hour";
            visit.line(Level::Info, text.to_string());
        }
    }

    /// Remembers logins that failed.
    pub(super) fn note_logins(&mut self, visit: &mut Visit) {
        let failed = visit.take_login_failures();
        if failed > 0 {
            self.login_failures.add(network(visit.peer().ip), failed, self.now.mono);
        }
    }

    /// The next thing on this connection is a handshake, whose first octets may have been read already.
    pub(super) fn start_tls(&mut self, slot: &mut Slot, first: &[u8]) -> End {
        slot.hello = first.to_vec();
        slot.waiting = Waiting::Handshake;
        let patience = self.site.config.command_timeout.min(limits::HANDSHAKE_TIME_MAX);
        slot.deadline = self.now.mono + self.patience_with(patience);
        self.handshake(slot)
    }

    /// Goes on with a handshake.
    pub(super) fn handshake(&mut self, slot: &mut Slot) -> End {
        if slot.gone {
            return self.handshake_failed(slot, &Failure::new(BROKE_OFF));
        }
        if slot.tls.is_none() {
            slot.flush();
            if !slot.out.is_empty() {
                return End::Keep;
            }
            let Some(contexts) = &self.tls else {
                return self.handshake_failed(slot, &Failure::of_ours("the certificate is gone"));
            };
            let is_for_users = slot.role.smtps || slot.role.submission;
            let first = std::mem::take(&mut slot.hello);
            slot.tls = Some(Box::new(contexts.stream(is_for_users, first)));
        }
        match slot.handshake() {
            Ok(Step::More) => End::Keep,
            Ok(Step::Work(hello)) => self.send_hello(slot, hello),
            Ok(Step::Done(secure)) => {
                self.handshakes.done += 1;
                if let Some(visit) = &mut slot.visit {
                    visit.tls_started(secure);
                }
                slot.waiting = Waiting::Turn;
                self.note_patience(slot);
                self.go_on(slot)
            }
            Err(failure) => self.handshake_failed(slot, &failure),
        }
    }

    /// Has a worker answer a ClientHello, at once or when it is its turn.
    fn send_hello(&mut self, slot: &mut Slot, hello: Hello) -> End {
        if self.handshakes.away >= HANDSHAKES_AWAY_MAX
            && let Some(tls) = &mut slot.tls
        {
            tls.hold(hello);
            self.handshakes.queue.push_back(slot.id);
            return End::Keep;
        }
        if self.pools.handshake(slot.id, hello) {
            self.handshakes.away += 1;
            return End::Keep;
        }
        self.handshake_failed(slot, &Failure::of_ours(TOO_BUSY))
    }

    fn send_held_hellos(&mut self) {
        while self.handshakes.away < HANDSHAKES_AWAY_MAX
            && let Some(id) = self.handshakes.queue.pop_front()
        {
            let Some(mut slot) = self.slots.take(id) else { continue };
            let held = slot.tls.as_mut().and_then(|tls| tls.take_held());
            let end = held.map_or(End::Keep, |hello| self.send_hello(&mut slot, hello));
            self.end_turn(slot, &end);
        }
    }

    /// A worker has answered a ClientHello.
    pub(super) fn on_handshake(&mut self, id: SlotId, answered: Answered) {
        self.handshakes.away = self.handshakes.away.saturating_sub(1);
        self.handshake_answered(id, answered);
        self.send_held_hellos();
    }

    fn handshake_answered(&mut self, id: SlotId, answered: Answered) {
        let Some(mut slot) = self.slots.take(id) else { return };
        let end = match (answered, &mut slot.tls) {
            (Ok(connection), Some(tls)) if slot.waiting == Waiting::Handshake => {
                tls.answered(connection);
                self.handshake(&mut slot)
            }
            (Err(failure), _) => self.handshake_failed(&mut slot, &failure),
            // The connection has ended meanwhile.
            (Ok(_), _) => End::Keep,
        };
        self.end_turn(slot, &end);
    }

    pub(super) fn handshake_expired(&mut self, slot: &mut Slot) -> End {
        let failure = match &slot.tls {
            Some(tls) if tls.is_ours() => Failure::of_ours(TOO_BUSY),
            _ => Failure::new("the client took too long"),
        };
        self.handshake_failed(slot, &failure)
    }

    fn handshake_failed(&mut self, slot: &mut Slot, failure: &Failure) -> End {
        self.handshakes.failed += 1;
        slot.send_alert(&failure.alert);
        if let Some(visit) = &mut slot.visit {
            let is_public = !slot.role.smtps && !slot.role.submission;
            let mut text = format!("TLS handshake failed: {}", failure.why);
            if is_public && !failure.is_ours {
                text.push_str("; the client is offered no STARTTLS for an hour");
                self.no_tls.add(visit.peer().ip, 1, self.now.mono);
            }
            visit.line(Level::Notice, text);
        }
        End::Close
    }

    /// Warns of certificates that end soon, once a day.
    pub(super) fn look_at_certificates(&mut self) {
        let now = self.now.mono;
        if self.handshakes.looked.is_some_and(|looked| now < looked + LOOK_EVERY) {
            return;
        }
        // What there is to say at the start and on a reload is said by who loads the configuration.
        let first = self.handshakes.looked.replace(now).is_none();
        let Some(contexts) = self.tls.as_ref().filter(|_| !first) else { return };
        for problem in contexts.ending(self.now.unix) {
            self.say(Level::Warning, problem.to_string());
        }
    }

    /// When certificates are looked at next.
    pub(super) fn certificates_due(&self) -> Option<Duration> {
        self.tls.as_ref().and(self.handshakes.looked).map(|looked| looked + LOOK_EVERY)
    }
}

/// Octets for a challenge. Without the kernel's random numbers there are none that nobody can guess:
/// then the process ends, as it would have at the start.
fn nonce() -> [u8; 18] {
    random()
}

fn secret() -> [u8; 32] {
    static SECRET: OnceLock<[u8; 32]> = OnceLock::new();
    *SECRET.get_or_init(random)
}

fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    if sys::random::bytes(&mut octets).is_err() {
        std::process::abort();
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_fades() {
        let at = Duration::from_secs;
        let ip = |number: u32| IpAddr::from(number.to_be_bytes());
        let mut memory = Remembered::new(at(3_600));
        memory.add(ip(0), 1, at(1));
        memory.add(ip(0), 2, at(2));
        assert_eq!((memory.get(ip(0), at(3)), memory.get(ip(1), at(3))), (3, 0));
        assert_eq!(memory.get(ip(0), at(4_000)), 0);
        memory.add(ip(0), 1, at(4_000));
        assert_eq!(memory.get(ip(0), at(4_001)), 1);
        for number in 0..2 * limits::REMEMBERED_MAX as u32 {
            memory.add(ip(number + 1), 1, at(5_000 + u64::from(number)));
        }
        assert_eq!(memory.entries.len(), limits::REMEMBERED_MAX);
        assert_eq!(memory.get(ip(0), at(5_001)), 0, "the oldest made room");
    }
}
