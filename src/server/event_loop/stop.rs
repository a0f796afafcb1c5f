//! Signals, and how the daemon stops without losing a mail.
//!
//! TERM closes the listeners and tells idle clients 421 at once; a message that is coming in, or on its
//! way into a queue, has 30 seconds. A second TERM ends everything where it stands, which loses no mail
//! either: whoever has no 250 still has the mail.

use super::{EventLoop, Waiting};
use crate::limits;
use crate::plugin::log::Level;
use crate::server::slots::Slot;
use crate::smtp::reply;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

impl EventLoop {
    pub(super) fn on_signals(&mut self) {
        let Some(signals) = &mut self.signals else { return };
        let arrived: Vec<i32> = signals.pending().collect();
        for signal in arrived {
            match signal {
                SIGHUP => self.watch.reload(),
                SIGTERM | SIGINT => self.stop(),
                SIGUSR1 => self.log.reopen(),
                SIGUSR2 => self.tell_state(),
                _ => {}
            }
        }
    }

    /// The first time: gently. The second time: at once.
    pub(super) fn stop(&mut self) {
        let now = self.now.mono;
        if self.stopping.is_some() {
            self.stopping = Some(now);
            return;
        }
        self.say(Level::Notice, format!("stopping, {} connections", self.slots.len()));
        self.stopping = Some(now + limits::SHUTDOWN_TIME_MAX);
        for listener in &mut self.listeners {
            if let Some(mut socket) = listener.socket.take() {
                // Closing it does the same.
                let _ = self.poll.registry().deregister(&mut socket);
            }
            listener.ready = false;
        }
        for id in self.slots.ids() {
            if let Some(slot) = self.slots.take(id) {
                self.say_goodbye(slot);
            }
        }
    }

    fn say_goodbye(&mut self, mut slot: Box<Slot>) {
        if matches!(slot.waiting, Waiting::Handshake | Waiting::Proxy) {
            return self.close(slot);
        }
        let idle = slot.visit.as_ref().is_some_and(|visit| visit.is_idle());
        if idle && !matches!(slot.waiting, Waiting::Closing | Waiting::Linger) {
            if let Some(visit) = &mut slot.visit {
                visit.bye(&reply::SHUTTING_DOWN, &mut slot.out);
            }
            slot.waiting = Waiting::Turn;
        }
        let id = slot.id;
        self.slots.put_back(slot);
        self.make_ready(id);
    }

    /// All is said and done, or the time for it is up. Sessions that finish a message while we stop
    /// are told 421 at their next command.
    pub(super) fn is_finished(&mut self) -> bool {
        let Some(until) = self.stopping else { return false };
        if self.slots.is_empty() {
            return true;
        }
        if self.now.mono >= until {
            self.say(Level::Warning, format!("{} connections cut off", self.slots.len()));
            return true;
        }
        for id in self.slots.ids() {
            let Some(slot) = self.slots.find(id) else { continue };
            let idle = slot.visit.as_ref().is_some_and(|visit| visit.is_idle());
            if idle
                && slot.waiting == Waiting::Input
                && let Some(slot) = self.slots.take(id)
            {
                self.say_goodbye(slot);
            }
        }
        false
    }

    /// What the daemon is doing, for the admin who sends USR2.
    fn tell_state(&mut self) {
        let (workers, scanners, writers) = self.pools.depths();
        let text = format!(
            "state: {} connections of {}, {} addresses; waiting jobs: workers {workers}, \
             scanners {scanners}, writers {writers}; message text in memory: {} octets; {} \
             connections since the start; TLS handshakes: {} done, {} failed",
            self.slots.len(),
            self.most_connections(),
            self.by_ip.len(),
            self.text_in_memory,
            self.counter,
            self.handshakes.done,
            self.handshakes.failed,
        );
        self.say(Level::Alert, text);
        let names = self.resolver.resolver().state(self.now.mono);
        self.say(Level::Alert, format!("state: DNS: {names}"));
    }
}
