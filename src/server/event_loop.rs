//! The event loop: every socket, every timer, and nothing that blocks.
//!
//! One thread owns all connections. It waits in `poll` and nowhere else. Each connection whose turn has
//! come gets a bounded amount of work (`turn.rs`); what takes longer goes away on an errand and comes
//! home through [`Home`]. New connections are in `arrivals.rs`, signals and the end in `stop.rs`.

mod arrivals;
mod keys;
mod names;
mod probes;
mod proxy;
mod secure;
mod stop;
mod turn;

use crate::config::types::Listen;
use crate::limits;
use crate::plugin::log::{Event, Id, Level, Line};
use crate::plugin::site::Site;
use crate::plugin::visit::{Surroundings, Visit};
use crate::plugin::{Moment, Question};
use crate::server::clock::{self, CachedLoad, LoadAverage};
use crate::server::errand::{Done, Home, Pools, SlotId};
use crate::server::log::Log;
use crate::server::resolver;
use crate::server::slots::{Slot, Slots, Waiting};
use crate::server::tls::Contexts;
use crate::server::watch::Watch;
use crate::smtp::reply;
use crate::store::StoreHandle;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use signal_hook_mio::v1_0::Signals;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Token of the wake-up by threads.
pub const WAKER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const LISTENERS: usize = usize::MAX - 1_000;
const RESOLVER: usize = LISTENERS - 1_000;

/// The read buffer that all connections share.
const BUFFER: usize = 64 * 1_024;

/// Everything the loop is made of.
pub struct Parts {
    /// Its poll, with the waker of `home` registered.
    pub poll: Poll,
    /// The way home for errands.
    pub home: Arc<Home>,
    /// The threads.
    pub pools: Arc<Pools>,
    /// Bound listeners, non-blocking, and what they are for.
    pub listeners: Vec<(Listen, std::net::TcpListener)>,
    /// TLS, where there is a certificate.
    pub tls: Option<Arc<Contexts>>,
    /// The first snapshot.
    pub site: Arc<Site>,
    /// Makes new snapshots.
    pub watch: Watch,
    /// The log.
    pub log: Log,
    /// Reputations; None where nothing is remembered.
    pub store: Option<StoreHandle>,
    /// Where the load comes from.
    pub load: Box<dyn LoadAverage>,
    /// Connections that the process's descriptors allow.
    pub connections_max: usize,
    /// HUP, TERM, INT, USR1, USR2; tests run without.
    pub signals: Option<Signals>,
}

struct Listener {
    listen: Listen,
    socket: Option<TcpListener>,
    ready: bool,
}

/// What the loop knows of a client that has connections. It goes with the last of them, for a first
/// connection is never one too many.
#[derive(Default)]
struct Client {
    connections: usize,
    /// Nice connections minus naughty ones, once karma has told that of any of them.
    karma_history: Option<i32>,
}

/// The loop's own state.
pub struct EventLoop {
    poll: Poll,
    home: Arc<Home>,
    pools: Arc<Pools>,
    listeners: Vec<Listener>,
    site: Arc<Site>,
    watch: Watch,
    resolver: resolver::Shell,
    keys: keys::Keys,
    probes: probes::Probes,
    store: Option<StoreHandle>,
    lane_questions: HashMap<u64, names::LaneQuestion>,
    lane_counter: u64,
    log: Log,
    verbosity: Level,
    load: CachedLoad,
    signals: Option<Signals>,
    slots: Slots,
    connections_max: usize,
    by_ip: HashMap<IpAddr, Client>,
    ready: VecDeque<SlotId>,
    timers: BinaryHeap<Reverse<(Duration, usize, u32)>>,
    buffer: Vec<u8>,
    now: Moment,
    started: u64,
    counter: u64,
    text_in_memory: usize,
    answers_in_memory: usize,
    spare_fd: Option<std::fs::File>,
    accept_paused: Option<Duration>,
    stopping: Option<Duration>,
    tls: Option<Arc<Contexts>>,
    no_tls: secure::Remembered,
    login_failures: secure::Remembered,
    handshakes: secure::Handshakes,
}

impl EventLoop {
    /// Registers the listeners and signals.
    ///
    /// # Errors
    /// What the system says when it has no more to register.
    pub fn new(parts: Parts) -> io::Result<EventLoop> {
        let Parts {
            store,
            poll,
            home,
            pools,
            listeners,
            tls,
            site,
            watch,
            log,
            load,
            connections_max,
            mut signals,
        } = parts;
        let mut registered = Vec::new();
        for (number, (listen, listener)) in listeners.into_iter().enumerate() {
            let mut socket = TcpListener::from_std(listener);
            let token = Token(LISTENERS + number);
            poll.registry().register(&mut socket, token, Interest::READABLE)?;
            registered.push(Listener { listen, socket: Some(socket), ready: true });
        }
        if let Some(signals) = &mut signals {
            poll.registry().register(signals, SIGNALS, Interest::READABLE)?;
        }
        let settings = resolver::settings(&site.config);
        let resolver = resolver::Shell::new(settings, poll.registry().try_clone()?, RESOLVER);
        let now = clock::moment();
        let verbosity = verbosity_of(&log);
        Ok(EventLoop {
            poll,
            home,
            pools,
            listeners: registered,
            site,
            watch,
            resolver,
            keys: keys::Keys::default(),
            probes: probes::Probes::default(),
            store,
            lane_questions: HashMap::new(),
            lane_counter: 0,
            log,
            verbosity,
            load: CachedLoad::new(load),
            signals,
            slots: Slots::default(),
            connections_max,
            by_ip: HashMap::new(),
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            buffer: vec![0; BUFFER],
            now,
            started: now.unix.as_secs(),
            counter: 0,
            text_in_memory: 0,
            answers_in_memory: 0,
            spare_fd: arrivals::spare_fd(),
            accept_paused: None,
            stopping: None,
            tls,
            no_tls: secure::Remembered::new(limits::TLS_REST),
            login_failures: secure::Remembered::new(limits::LOGIN_MEMORY),
            handshakes: secure::Handshakes::default(),
        })
    }

    /// Runs until it is told to stop and all messages in hand are done.
    ///
    /// # Errors
    /// What `poll` says; nothing else ends the loop.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        self.watch_lists();
        self.watch_keys();
        loop {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            self.now = clock::moment();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    SIGNALS => self.on_signals(),
                    Token(token) if self.resolver.owns(token) => {
                        self.resolver.on_event(token, self.now.mono);
                    }
                    Token(token) if token >= LISTENERS => {
                        if let Some(listener) = self.listeners.get_mut(token - LISTENERS) {
                            listener.ready = true;
                        }
                    }
                    Token(index) => self.on_socket(index, event),
                }
            }
            self.on_homecomers();
            self.probe_lists();
            self.look_for_keys();
            self.look_at_certificates();
            self.deliver_answers();
            self.accept_some();
            self.give_turns();
            self.fire_timers();
            self.sweep_timers();
            if self.is_finished() {
                self.pools.close_spool();
                return Ok(());
            }
        }
    }

    /// How long `poll` may wait.
    fn patience(&self) -> Option<Duration> {
        let accepting = self.accept_paused.is_none() && self.listeners.iter().any(|it| it.ready);
        if !self.ready.is_empty() || accepting {
            return Some(Duration::ZERO);
        }
        let mut wait = self.timers.peek().map(|Reverse((at, ..))| *at);
        let background = [self.probes.due(), self.keys.due(), self.certificates_due()];
        let due = background.into_iter().chain([self.resolver.deadline()]);
        for at in due.flatten() {
            wait = Some(wait.map_or(at, |other| other.min(at)));
        }
        if let Some(stop) = self.stopping {
            wait = Some(wait.map_or(stop, |at| at.min(stop)));
        }
        if let Some(until) = self.accept_paused {
            wait = Some(wait.map_or(until, |at| at.min(until)));
        }
        wait.map(|at| at.saturating_sub(clock::monotonic()))
    }

    fn on_socket(&mut self, index: usize, event: &mio::event::Event) {
        let Some(slot) = self.slots.at(index) else { return };
        slot.readable |= event.is_readable() || event.is_read_closed();
        slot.read_closed |= event.is_read_closed();
        // A half-closed client still reads; an error, or both halves closed, is the end.
        slot.gone |= event.is_error() || (event.is_read_closed() && event.is_write_closed());
        let id = slot.id;
        self.make_ready(id);
    }

    fn make_ready(&mut self, id: SlotId) {
        if let Some(slot) = self.slots.find(id)
            && !slot.queued
        {
            slot.queued = true;
            self.ready.push_back(id);
        }
    }

    fn on_homecomers(&mut self) {
        for done in self.home.take() {
            match done {
                Done::Home(id, visit) => {
                    if let Some(slot) = self.slots.find(id) {
                        slot.visit = Some(visit);
                        slot.waiting = Waiting::Turn;
                        self.make_ready(id);
                        self.catch_up(id);
                    }
                }
                Done::Answer(id, question, answer) => self.answer_slot(id, question, answer),
                Done::Questions(questions, sender) => self.ask_for_lane(&questions, &sender),
                Done::Written(id, message, file, spare) => self.on_visit(id, |visit, _| {
                    visit.block_written(message, file, spare);
                }),
                Done::NotWritten(id, message, reply, why) => self.on_visit(id, |visit, out| {
                    visit.spool_failed(message, reply, &why, out);
                }),
                Done::Handshake(id, answered) => self.on_handshake(id, answered),
                Done::Lost(id) => {
                    if let Some(slot) = self.slots.find(id) {
                        reply::INTERNAL_DISCONNECT.write(&mut slot.out);
                        slot.waiting = Waiting::Closing;
                        self.make_ready(id);
                    }
                }
                Done::Site(site, tls) => self.go_over_to(site, tls),
            }
        }
    }

    /// Something for a visit that is at home, after which it has its turn.
    fn on_visit(&mut self, id: SlotId, act: impl FnOnce(&mut Visit, &mut Vec<u8>)) {
        let Some(slot) = self.slots.find(id) else { return };
        let Some(visit) = &mut slot.visit else { return };
        act(visit, &mut slot.out);
        if slot.waiting == Waiting::Written {
            slot.waiting = Waiting::Turn;
        }
        self.make_ready(id);
    }

    fn go_over_to(&mut self, site: Arc<Site>, tls: Option<Arc<Contexts>>) {
        self.log.set_outputs(site.outputs.clone(), site.loglevel);
        if site.config.listen != self.site.config.listen {
            let text = "listen has changed: that takes effect at the next start";
            self.say(Level::Warning, text.to_string());
        }
        self.resolver.configure(resolver::settings(&site.config), self.now.mono);
        self.site = site;
        self.tls = tls;
        self.watch_lists();
        self.watch_keys();
        self.verbosity = verbosity_of(&self.log);
        self.say(Level::Notice, "configuration loaded".to_string());
    }

    fn give_turns(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            if let Some(slot) = self.slots.take(id) {
                self.turn(slot);
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = clock::monotonic();
        while let Some(Reverse((at, ..))) = self.timers.peek()
            && *at <= now
        {
            let Some(Reverse((at, index, generation))) = self.timers.pop() else { break };
            let id = SlotId { index, generation };
            let Some(slot) = self.slots.find(id) else { continue };
            if slot.timer != Some(at) {
                continue;
            }
            slot.timer = None;
            if slot.deadline > now {
                self.set_timer(id);
            } else if let Some(slot) = self.slots.take(id) {
                self.now = clock::moment();
                self.expired(slot);
            }
        }
    }

    /// Connections that ended leave their timers behind; there must not be more of those than of
    /// living ones.
    fn sweep_timers(&mut self) {
        if self.timers.len() > 2 * self.slots.len() + 1_024 {
            let slots = &mut self.slots;
            self.timers.retain(|Reverse((at, index, generation))| {
                let id = SlotId { index: *index, generation: *generation };
                slots.find(id).is_some_and(|slot| slot.timer == Some(*at))
            });
        }
    }

    /// Makes sure that the heap has an entry for the slot that is early enough. There is one entry a
    /// slot as a rule: a deadline that moves away leaves it where it is.
    fn set_timer(&mut self, id: SlotId) {
        let Some(slot) = self.slots.find(id) else { return };
        if slot.timer.is_none_or(|at| at > slot.deadline) {
            slot.timer = Some(slot.deadline);
            self.timers.push(Reverse((slot.deadline, id.index, id.generation)));
        }
    }

    fn around(&self) -> Surroundings<'_> {
        Surroundings {
            now: self.now,
            site: &self.site,
            verbosity: self.verbosity,
            stopwatch: clock::monotonic,
        }
    }

    /// Hands over what a visit wants written: to the log, and to the store.
    fn post_log(&self, visit: &mut Visit) {
        let events = visit.take_log();
        if !events.is_empty() {
            self.log.post_all(events.into_iter());
        }
        let ops = visit.take_ops();
        if let Some(store) = self.store.as_ref().filter(|_| !ops.is_empty()) {
            store.record(ops);
        }
        let reports = visit.take_reports();
        if let Some(store) = self.store.as_ref().filter(|_| !reports.is_empty()) {
            store.report(reports);
        }
    }

    fn say(&self, level: Level, text: String) {
        self.log.post(Event::Line(Line::core(level, Id::NONE, text)));
    }

    /// More than 80 % of all connections are in use: patience gets short.
    fn is_stressed(&self) -> bool {
        self.slots.len() * 5 > self.most_connections() * 4
    }

    /// How long a client is waited for: not long while connections are scarce.
    fn patience_with(&self, patience: Duration) -> Duration {
        if self.is_stressed() { patience.min(limits::STRESS_TIMEOUT) } else { patience }
    }

    /// How many connections there may be.
    fn most_connections(&self) -> usize {
        self.site.config.concurrency.min(self.connections_max)
    }

    /// The slot's life ends: it leaves the counts, and its socket is closed.
    fn close(&mut self, mut slot: Box<Slot>) {
        if let Some(mut visit) = slot.visit.take() {
            if slot.gone || slot.has_output() {
                visit.replies_lost();
            }
            visit.leave(&self.around());
            if let Some(waste) = visit.take_waste() {
                self.pools.throw_away(slot.id, waste);
            }
            self.post_log(&mut visit);
        }
        self.text_in_memory = self.text_in_memory.saturating_sub(slot.text_in_memory);
        self.answers_in_memory = self.answers_in_memory.saturating_sub(slot.answers_in_memory);
        self.resolver.cancel(names::asker_of(slot.id));
        // Dropping the stream closes it.
        self.release(slot);
        self.accept_paused = None;
    }

    /// The slot's place and counts are given up; what is left is its socket.
    fn release(&mut self, mut slot: Box<Slot>) -> Option<TcpStream> {
        self.count_out(slot.site_ip);
        // Nothing to do about a failure: the descriptor is closed, or watched anew, in any case.
        let _ = self.poll.registry().deregister(&mut slot.stream);
        let (id, gone) = (slot.id, slot.gone);
        let stream = slot.stream;
        self.slots.free(id);
        (!gone).then_some(stream)
    }

    fn count_in(&mut self, site_ip: IpAddr) {
        self.by_ip.entry(site_ip).or_default().connections += 1;
    }

    fn count_out(&mut self, site_ip: IpAddr) {
        if let Some(client) = self.by_ip.get_mut(&site_ip) {
            client.connections -= 1;
            if client.connections == 0 {
                self.by_ip.remove(&site_ip);
            }
        }
    }

    /// Memory for message text is short: new messages go to the spool at once.
    fn is_memory_tight(&self) -> bool {
        self.text_in_memory > limits::BODIES_IN_MEMORY_MAX
    }

    /// When the first of these is answered by time.
    fn first_due(due: &[(Question, Duration)]) -> Option<Duration> {
        due.iter().map(|(_, at)| *at).min()
    }
}

/// The highest level that anybody prints.
fn verbosity_of(log: &Log) -> Level {
    Level::ALL.into_iter().rev().find(|level| log.wants(*level)).unwrap_or(Level::Emergency)
}
