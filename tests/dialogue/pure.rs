//! The pure form: a visit without sockets and threads, in virtual time.
//!
//! It does what the event loop does with a visit (`Want`), but nothing ever takes time unless the
//! script says so: answers, pauses and deadlines are events on a clock that is moved forward.

use crate::dialogue::memory::Memory;
use crate::dialogue::play::{Failure, Folder, Said, Wire};
use crate::dialogue::script::{End, Script};
use crate::dialogue::spool::MemoryFile;
use crate::dialogue::zone::Zone;
use mailreeve::config::Defaults;
use mailreeve::config::files::{Files, Severity};
use mailreeve::config::types::Role;
use mailreeve::dns;
use mailreeve::limits;
use mailreeve::plugin::content::Stored;
use mailreeve::plugin::log::{Event, Id, Level, Line};
use mailreeve::plugin::question::{Answer, Ask, Lane, Place, Question};
use mailreeve::plugin::site::Site;
use mailreeve::plugin::visit::{Offer, Surroundings, Visit, Want};
use mailreeve::plugin::{Arrival, ClientCertificate, Moment, Peer, Secure};
use mailreeve::plugins::load::{Strictness, load};
use mailreeve::smtp::reply;
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The connection's number, in replies and logs.
pub(crate) const ID: Id = Id(424_242);

/// Sunday, 22 November 2026, 05:27:23 UTC: when every client comes.
const ARRIVAL: Duration = Duration::from_secs(1_795_325_243);

/// How far a wait for a line may move the clock.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Rounds without an event, after which something runs in a circle.
const ROUNDS_MAX: usize = 1_000_000;

/// Where the visit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parked {
    Ready,
    Input,
    Answers,
    Handshake,
    Until(Duration),
    Closed,
}

/// A client in virtual time.
pub(crate) struct Visitor {
    visit: Visit,
    site: Arc<Site>,
    zone: Zone,
    memory: Memory,
    now: Duration,
    /// When the client's patience or ours ends.
    deadline: Duration,
    /// Message text: when it began, and the octets so far.
    text: Option<(Duration, u64)>,
    parked: Parked,
    /// What the client has sent; the first `used` octets are done with.
    input: Vec<u8>,
    used: usize,
    /// The client sends no more.
    ended: bool,
    /// The client reads no more.
    deaf: bool,
    /// What was said to the client; the first `read` octets are read.
    output: Vec<u8>,
    read: usize,
    coming: Vec<(Duration, Question, Arc<Answer>)>,
    log: Vec<String>,
    folder: Option<Folder>,
    offered: Option<Offer>,
}

impl Visitor {
    /// Connects as a script says.
    pub(crate) fn arrive(script: &Script) -> Result<Visitor, Failure> {
        let folder = Folder::of(script)?;
        let files = script.config(&folder.path().to_string_lossy());
        let defaults = Defaults { host_name: "mx.example.net".into(), cores: 2 };
        let mut octets = script.places.files();
        octets.extend(files.into_iter().map(|(name, text)| (name, text.into_bytes())));
        let files = Files::in_memory_bytes(octets);
        let (site, problems) = load(&files, &defaults, None, Strictness::Start);
        if let Some(error) = problems.iter().find(|it| it.severity == Severity::Error) {
            return Err(Failure::of(&format!("tests/dialogues/{}.txt: {error}", script.name)));
        }
        let ip = script.peer.unwrap_or(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let others = Arrival {
            load: script.load,
            same_ip: script.connections.unwrap_or(1),
            karma_history: script.history,
            ..Arrival::default()
        };
        let mut visitor = Visitor::connect(Arc::new(site), ip, others);
        visitor.offer(script);
        visitor.log.extend(problems.iter().map(ToString::to_string));
        visitor.zone = script.zone.clone();
        visitor.memory = script.memory.since(ARRIVAL.as_secs());
        // The core asks for the client's name at accept; here it is known at once, or not at all.
        let name = dns::Question::new(&dns::reverse_name(ip.to_canonical()), dns::Kind::Ptr);
        let (answer, took) = visitor.zone.answer(&name);
        if let (Some(dns::Record::Name(name)), Duration::ZERO) = (answer.records().first(), took) {
            visitor.visit.set_name(name);
        }
        visitor.folder = Some(folder);
        visitor.settle();
        Ok(visitor)
    }

    /// What the loop says that it can do for the client.
    fn offer(&mut self, script: &Script) {
        let is = |word: &str| script.listener.split_whitespace().any(|it| it == word);
        let role = Role { smtps: is("smtps"), submission: is("submission") };
        let offer = Offer {
            starttls: script.tls && !role.smtps,
            role,
            login_failures: script.guesses,
            nonce: || [7; 18],
            secret: || [7; 32],
        };
        self.offered = Some(offer);
        self.visit.offer(offer);
        if role.smtps && self.parked == Parked::Ready {
            self.parked = Parked::Handshake;
        }
    }

    /// Connects to a site, at rest before the greeting.
    pub(crate) fn connect(site: Arc<Site>, ip: IpAddr, arrival: Arrival) -> Visitor {
        let ip = ip.to_canonical();
        let served = site.chain_for(ip);
        let chain = served.unwrap_or(&site.base);
        let is_local = ip.is_loopback() || &*chain.name == "local";
        let unlimited = ip.is_loopback() || site.config.relay.allows(ip);
        let same_ip_max = if unlimited { 0 } else { site.config.concurrency_per_ip };
        let arrival = Arrival { same_ip_max, is_local, ..arrival };
        let local = ([198, 51, 100, 25], 25).into();
        let peer = Peer { ip, port: 40_000, local, name: None };
        let around = surroundings(&site, Duration::ZERO);
        let mut visit = Visit::new(ID, peer, Arc::clone(chain), &around);
        let mut output = Vec::new();
        visit.line(Level::Info, format!("Accepted connection 0/200 from {ip} / Unknown"));
        visit.line(Level::Notice, format!("Connection from Unknown [{ip}]"));
        let served = served.is_some();
        let welcome = served && visit.accept(&arrival, &around, &mut output);
        let mut visitor = Visitor {
            visit,
            zone: Zone::default(),
            memory: Memory::default(),
            now: Duration::ZERO,
            deadline: Duration::ZERO,
            text: None,
            parked: Parked::Ready,
            input: Vec::new(),
            used: 0,
            ended: false,
            deaf: false,
            output,
            read: 0,
            coming: Vec::new(),
            log: Vec::new(),
            folder: None,
            offered: None,
            site,
        };
        match (served, welcome) {
            (true, true) => {}
            (true, false) => visitor.leave(),
            (false, _) => {
                visitor
                    .output
                    .extend_from_slice(b"554 5.7.1 Sorry, service not available for you\r\n");
                visitor.parked = Parked::Closed;
            }
        }
        visitor
    }

    /// Octets come in; all happens for which no time has to pass.
    pub(crate) fn hear_from_client(&mut self, octets: &[u8]) {
        if self.parked != Parked::Closed {
            self.input.drain(..std::mem::take(&mut self.used));
            self.input.extend_from_slice(octets);
            self.settle();
        }
    }

    /// Everything said so far, taken.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        let unread = self.output.split_off(self.read);
        (self.output, self.read) = (Vec::new(), 0);
        unread
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.used..).unwrap_or_default()
    }

    fn unread(&self) -> &[u8] {
        self.output.get(self.read..).unwrap_or_default()
    }

    /// Lets time run until the visit waits for the client.
    pub(crate) fn run(&mut self) {
        self.settle();
        while self.parked != Parked::Input
            && let Some(at) = self.next_event()
        {
            self.advance(at);
        }
    }

    /// Goes on as long as no time has to pass.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let go_on = match self.parked {
                Parked::Closed => false,
                // What is no handshake ends the connection, and so does the client's end.
                Parked::Handshake if !self.input().is_empty() || self.ended => {
                    self.leave();
                    false
                }
                Parked::Handshake => false,
                Parked::Ready => true,
                Parked::Until(until) if self.now >= until => {
                    self.visit.unpause();
                    true
                }
                Parked::Until(_) => false,
                Parked::Answers => self.hear() || self.is_late(),
                Parked::Input if !self.input().is_empty() => true,
                Parked::Input if self.ended => {
                    self.leave();
                    false
                }
                Parked::Input if self.now >= self.deadline => {
                    self.time_out();
                    true
                }
                Parked::Input => false,
            };
            if !go_on {
                return;
            }
            self.pump();
        }
        self.output.extend_from_slice(b"<the visit runs in a circle>\r\n");
        self.parked = Parked::Closed;
    }

    fn pump(&mut self) {
        let around = surroundings(&self.site, self.now);
        let (said, was_receiving) = (self.output.len(), self.visit.is_receiving());
        let input = self.input.get(self.used..).unwrap_or_default();
        let (used, want) = self.visit.pump(input, &mut self.output, &around);
        self.used += used;
        if let Some((_, octets)) = &mut self.text {
            *octets += used as u64;
        }
        let progress = self.output.len() > said || was_receiving != self.visit.is_receiving();
        self.parked = match want {
            Want::Input => {
                self.set_deadline(progress);
                Parked::Input
            }
            Want::Answers => Parked::Answers,
            Want::Move(lane) => self.work(lane),
            Want::StartTls => {
                // Whatever came before the handshake is forgotten.
                self.used = self.input.len();
                Parked::Handshake
            }
            Want::Introduced => self.introduced(),
            Want::Written => {
                self.write();
                Parked::Ready
            }
            Want::Pause(pause) => Parked::Until(self.now + pause),
            Want::Turn | Want::Home => Parked::Ready,
            Want::Close => {
                self.leave();
                Parked::Closed
            }
        };
        self.ask();
        self.gather_log();
        if self.deaf {
            (self.output, self.read) = (Vec::new(), 0);
        }
    }

    /// A proxy has said who its client is: that client's visit takes the place of the proxy's.
    fn introduced(&mut self) -> Parked {
        let Some(who) = self.visit.introduction().cloned() else { return Parked::Closed };
        let around = surroundings(&self.site, self.now);
        let (peer, secure) = (self.visit.peer().clone(), self.visit.secure().cloned());
        self.visit.leave(&around);
        self.gather_log();
        let around = surroundings(&self.site, self.now);
        let ip = who.ip.unwrap_or(peer.ip).to_canonical();
        let Some(chain) = self.site.chain_for(ip).map(Arc::clone) else { return Parked::Closed };
        let arrival = Arrival { same_ip: 1, is_local: ip.is_loopback(), ..Arrival::default() };
        let peer = Peer { ip, name: None, ..peer };
        self.visit = Visit::new(ID, peer, chain, &around);
        if let Some(offer) = self.offered {
            self.visit.offer(offer);
        }
        if !self.visit.accept(&arrival, &around, &mut self.output) {
            return Parked::Closed;
        }
        if let Some(secure) = secure {
            self.visit.tls_started(secure);
        }
        if let Some(user) = &who.login {
            self.visit.believe(user);
        }
        if let Some(name) = &who.name {
            self.visit.set_name(name);
        }
        Parked::Ready
    }

    /// The hooks of a message, as far as they go without answers.
    fn work(&mut self, mut lane: Lane) -> Parked {
        let ask = Waiting { zone: &self.zone, memory: &self.memory, now: Cell::new(self.now) };
        let mut on_worker = false;
        loop {
            let now = moment(ask.now.get());
            let place = match lane {
                Lane::Workers if !on_worker => Place::Worker,
                lane => Place::Lane(lane, &ask),
            };
            on_worker = true;
            match self.visit.work(place, now) {
                Want::Move(to) => lane = to,
                _ => break,
            }
        }
        self.now = ask.now.get();
        // With questions open the visit is home to wait for them, else with a verdict.
        if self.visit.deadline().is_some() { Parked::Answers } else { Parked::Ready }
    }

    fn write(&mut self) {
        let Some(block) = self.visit.take_block() else { return };
        let file = block.file.clone().unwrap_or_else(|| Arc::new(MemoryFile::default()));
        match file.write_at(&block.octets, block.offset) {
            Ok(()) => self.visit.block_written(block.message, file, block.octets),
            Err(error) => {
                let why = error.to_string();
                self.visit.spool_failed(block.message, &reply::NO_SPACE, &why, &mut self.output);
            }
        }
    }

    /// Sends new questions off.
    fn ask(&mut self) {
        for question in self.visit.take_questions() {
            let (answer, took) = answer(&self.zone, &self.memory, &question);
            self.coming.push((self.now + took, question, Arc::new(answer)));
        }
    }

    /// Hands in the answers that are due, and what the client said meanwhile.
    fn hear(&mut self) -> bool {
        let mut go_on = !self.input().is_empty() && self.visit.talked();
        while let Some(at) = self.coming.iter().position(|(due, ..)| *due <= self.now) {
            let (_, question, answer) = self.coming.remove(at);
            go_on |= self.visit.answer(&question, &answer);
        }
        go_on
    }

    fn is_late(&self) -> bool {
        self.visit.deadline().is_some_and(|deadline| self.now >= deadline)
    }

    /// In the dialogue only a whole command moves the deadline; message text has an idle limit and
    /// has to keep a minimal pace.
    fn set_deadline(&mut self, progress: bool) {
        let config = &self.visit.site().config;
        if self.visit.is_receiving() {
            let (since, octets) = *self.text.get_or_insert((self.now, 0));
            let slowest = limits::slowest_text(since, octets, config.data_timeout);
            self.deadline = slowest.min(self.now + config.data_timeout);
            return;
        }
        let text_ended = self.text.take().is_some();
        if progress || text_ended || self.parked != Parked::Input {
            let longest = limits::SESSION_TIME_MAX.max(self.now);
            self.deadline = longest.min(self.now + config.command_timeout);
        }
    }

    fn time_out(&mut self) {
        let patience = self.visit.site().config.data_timeout;
        let slow = |(since, octets)| self.now >= limits::slowest_text(since, octets, patience);
        let reply = if self.text.is_some_and(slow) { &reply::TOO_SLOW } else { &reply::TIMED_OUT };
        self.visit.bye(reply, &mut self.output);
    }

    fn next_event(&self) -> Option<Duration> {
        let answer = self.coming.iter().map(|(due, ..)| *due).min();
        match self.parked {
            Parked::Ready => Some(self.now),
            Parked::Closed | Parked::Handshake => None,
            Parked::Until(until) => Some(until),
            Parked::Input => Some(self.deadline),
            Parked::Answers => answer.into_iter().chain(self.visit.deadline()).min(),
        }
    }

    fn advance(&mut self, to: Duration) {
        self.now = self.now.max(to);
        self.settle();
    }

    fn leave(&mut self) {
        self.parked = Parked::Closed;
        let around = surroundings(&self.site, self.now);
        self.visit.leave(&around);
        self.gather_log();
    }

    /// Takes what was logged, and what was recorded: a line `store: …` for each changed record.
    fn gather_log(&mut self) {
        for event in self.visit.take_log() {
            if let Event::Line(line) = event {
                let mut shown = Vec::new();
                Line { id: Id::NONE, ..line }.render(&mut shown);
                self.log.push(String::from_utf8_lossy(&shown).into_owned());
            }
        }
        for op in self.visit.take_ops() {
            self.log.push(self.memory.record(&op));
        }
    }
}

impl Wire for Visitor {
    fn send(&mut self, octets: &[u8]) {
        self.hear_from_client(octets);
    }

    fn end(&mut self, end: End) {
        self.ended = true;
        self.deaf = end != End::Shutdown;
        if self.deaf {
            (self.output, self.read) = (Vec::new(), 0);
        }
        match end {
            End::Reset => self.leave(),
            End::Close | End::Shutdown => self.settle(),
        }
    }

    fn tls(&mut self, certificate: Option<&str>) -> Result<(), String> {
        if self.parked != Parked::Handshake {
            return Err(format!("no handshake is waited for: {:?}", self.parked));
        }
        self.visit.tls_started(Secure {
            version: "TLS1.3",
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            client: certificate.map(|name| ClientCertificate {
                name: name.into(),
                fingerprint: "0a".repeat(32).into(),
                trusted: true,
            }),
        });
        self.parked = Parked::Ready;
        self.settle();
        Ok(())
    }

    fn line(&mut self) -> Said {
        let limit = self.now + PATIENCE;
        loop {
            if let Some(line) = self.unread().split_inclusive(|octet| *octet == b'\n').next() {
                let line = line.to_vec();
                self.read += line.len();
                let text = line.strip_suffix(b"\r\n").unwrap_or(b"<a line without CR LF>");
                return Said::Line(String::from_utf8_lossy(text).into_owned());
            }
            if self.parked == Parked::Closed {
                return Said::Closed;
            }
            match self.next_event().filter(|at| *at <= limit) {
                Some(at) => self.advance(at),
                None => return Said::Nothing,
            }
        }
    }

    fn is_pending(&self) -> bool {
        !self.unread().is_empty()
    }

    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(at) = self.next_event().filter(|at| *at <= until) {
            self.advance(at);
        }
        self.now = until;
        self.settle();
    }

    fn log(&mut self) -> Vec<String> {
        self.log.clone()
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("/nonexistent"), Folder::path)
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    fn finish(&mut self) -> Result<(), String> {
        if self.parked != Parked::Closed && !self.ended {
            self.end(End::Shutdown);
        }
        match self.unread() {
            [] => Ok(()),
            more => Err(format!("the server also said:\n{}", String::from_utf8_lossy(more))),
        }
    }
}

/// Answers for hooks that may block: there a wait moves the clock.
struct Waiting<'a> {
    zone: &'a Zone,
    memory: &'a Memory,
    now: Cell<Duration>,
}

impl Ask for Waiting<'_> {
    fn ask(&self, questions: &[Question], deadline: Duration) -> Vec<Arc<Answer>> {
        let asked = self.now.get();
        let answer_in_time = |question: &Question| {
            let (answer, took) = answer(self.zone, self.memory, question);
            let answer = if asked + took > deadline { Answer::TempFail } else { answer };
            self.now.set(self.now.get().max((asked + took).min(deadline)));
            Arc::new(answer)
        };
        questions.iter().map(answer_in_time).collect()
    }

    fn file(&self) -> io::Result<Arc<dyn Stored>> {
        Ok(Arc::new(MemoryFile::default()))
    }
}

/// The answer to a question, and how long it takes.
fn answer(zone: &Zone, memory: &Memory, question: &Question) -> (Answer, Duration) {
    match question {
        Question::Dns(question) if zone.rests(question) => (Answer::Rests, Duration::ZERO),
        Question::Dns(question) => {
            let (answer, took) = zone.answer(question);
            (Answer::Dns(answer), took)
        }
        Question::Store(table, key) => (memory.answer(table, key), Duration::ZERO),
        Question::Quiet(duration) => (Answer::Quiet, *duration),
        Question::Lane(_) => (Answer::TempFail, Duration::ZERO),
    }
}

fn moment(now: Duration) -> Moment {
    Moment { mono: now, unix: ARRIVAL + now, utc_offset: 0 }
}

fn surroundings(site: &Arc<Site>, now: Duration) -> Surroundings<'_> {
    Surroundings { now: moment(now), site, verbosity: site.loglevel, stopwatch: || Duration::ZERO }
}
