//! One client's visit: the session machine, the chain of plugins and the message, without any I/O.
//!
//! A `Visit` moves by value between the event loop, which feeds it octets, and threads, which run the
//! hooks that may take long. Whoever holds it calls [`Visit::pump`] in the loop or [`Visit::work`] on
//! a thread and does what the returned [`Want`] says. The same code serves the daemon, the dialogue
//! tests in virtual time, and a replay.
//!
//! The life of a mail: `pump` feeds the session machine until it asks a [`Call`]; `judge` runs the
//! hooks that belong to the call and the machine resumes with the verdict. Behind the end of data the
//! hooks `headers`, `message`, `seal` and `queue` run as one job on a worker, which moves on to a lane
//! where a plugin wants to block, and comes home with the verdict (`message.rs`).

mod answers;
mod desk;
mod ending;
mod host;
mod judge;
mod message;
mod security;
mod spooling;
#[cfg(test)]
mod tests;

use crate::limits;
use crate::mail::edit::Edit;
use crate::plugin::Hook;
use crate::plugin::chain::{Chain, Invocation, Step};
use crate::plugin::content::{Block, Intake};
use crate::plugin::cx::{Arrival, Moment, Peer};
use crate::plugin::facts::{Facts, MailFacts, Notes};
use crate::plugin::log::{Event, Id, Level, Line};
use crate::plugin::question::{Lane, Memo, Place};
use crate::plugin::site::Site;
use crate::smtp::reply::Reply;
use crate::smtp::session::{Call, Env, Need, PathOf, Session};
use crate::smtp::verdict::Verdict;
use crate::store::{Op, reports};
use desk::Desk;
use judge::{Judged, Progress};
use message::Mail;
use security::{BeforeHello, BeforeLogin, Security};
use std::sync::Arc;
use std::time::Duration;

pub use security::Offer;

/// Commands obeyed in one turn, so that a client that pipelines a thousand holds up nobody.
pub const COMMANDS_PER_TURN: u32 = 16;

/// What stands around one call.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The time.
    pub now: Moment,
    /// The newest snapshot.
    pub site: &'a Arc<Site>,
    /// Lines above this level are printed by nobody and need not be made.
    pub verbosity: Level,
    /// Monotonic time for measuring a plugin's run.
    pub stopwatch: fn() -> Duration,
}

/// What the visit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// More octets from the client.
    Input,
    /// Answers: send [`Visit::take_questions`] and come back when some are in.
    Answers,
    /// To be taken to a thread of this lane, for [`Visit::work`].
    Move(Lane),
    /// The block on its way to the spool to be written.
    Written,
    /// A pause in which nothing is read; then [`Visit::unpause`].
    Pause(Duration),
    /// A TLS handshake, once what was said so far has been sent; what the client has sent so far is to
    /// be forgotten. Then [`Visit::tls_started`].
    StartTls,
    /// To be replaced by a visit of the client that [`Visit::introduction`] names.
    Introduced,
    /// Its next turn: there is more to do with the octets at hand.
    Turn,
    /// To be taken home to the loop.
    Home,
    /// The close, once everything was sent.
    Close,
}

/// One client, from accept to close.
pub struct Visit {
    id: Id,
    session: Session,
    site: Arc<Site>,
    chain: Arc<Chain>,
    peer: Peer,
    arrival: Option<Arrival>,
    connected: Moment,
    facts: Facts,
    mail_facts: MailFacts,
    notes: Notes,
    mail_notes: Notes,
    progress: Option<Progress>,
    invocation: Option<Box<Invocation>>,
    outcome: Option<Verdict>,
    taken: Option<Box<ending::Taken>>,
    intake: Option<Box<Intake>>,
    waste: Option<Box<Intake>>,
    intakes: u32,
    mail: Option<Box<Mail>>,
    early_edits: Vec<Edit>,
    prefetched: Memo,
    log: Vec<Event>,
    ops: Vec<Op>,
    reports: Vec<reports::Judged>,
    block_due: Option<Box<Block>>,
    tarpit: Duration,
    transaction_ended: bool,
    idle_reset: bool,
    left: bool,
    memory_tight: bool,
    offer: Option<Offer>,
    before_hello: Option<Box<BeforeHello>>,
    before_login: Option<Box<BeforeLogin>>,
    login_failures: u32,
    login_failures_untold: u32,
    login_judged: bool,
    messages: u16,
    verbosity: Level,
    stopwatch: fn() -> Duration,
}

impl Visit {
    /// A client that has connected, served by `chain` of the snapshot at hand.
    pub fn new(id: Id, peer: Peer, chain: Arc<Chain>, around: &Surroundings<'_>) -> Visit {
        Visit {
            id,
            session: Session::new(),
            site: Arc::clone(around.site),
            chain,
            peer,
            arrival: None,
            connected: around.now,
            facts: Facts::default(),
            mail_facts: MailFacts::default(),
            notes: Notes::default(),
            mail_notes: Notes::default(),
            progress: None,
            invocation: None,
            outcome: None,
            taken: None,
            intake: None,
            waste: None,
            intakes: 0,
            mail: None,
            early_edits: Vec::new(),
            prefetched: Memo::default(),
            log: Vec::new(),
            ops: Vec::new(),
            reports: Vec::new(),
            block_due: None,
            tarpit: Duration::ZERO,
            transaction_ended: false,
            idle_reset: false,
            left: false,
            memory_tight: false,
            offer: None,
            before_hello: None,
            before_login: None,
            login_failures: 0,
            login_failures_untold: 0,
            login_judged: false,
            messages: 0,
            verbosity: around.verbosity,
            stopwatch: around.stopwatch,
        }
    }

    /// The hook `accept`, inline: a refusal is written to `out` and the connection is to be closed.
    pub fn accept(
        &mut self,
        arrival: &Arrival,
        around: &Surroundings<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        self.arrival = Some(*arrival);
        if !self.chain.has(Hook::Accept) {
            return true;
        }
        let chain = Arc::clone(&self.chain);
        let mut invocation = Invocation::new(Hook::Accept, &chain);
        let step = invocation.run(self, Place::Loop, around.now);
        match step {
            Step::Done(verdict, Some(who)) if verdict.refusal().is_some() => {
                self.tell_denied(&chain, who, &verdict, around.now);
                let code = if matches!(verdict, Verdict::Deny(_)) { 554 } else { 421 };
                if let Some(refusal) = verdict.refusal() {
                    self.say(&Reply::refusal(code, refusal, &self.id.to_string()), out);
                }
                false
            }
            Step::Done(..) => true,
            Step::Waiting | Step::Move(_) => {
                let text = "error, a plugin asked something at accept; it was not heard";
                self.line(Level::Critical, text.to_string());
                true
            }
        }
    }

    /// Goes on in the event loop: uses octets, writes replies to `out`, and says how many octets were
    /// used and what is wanted next.
    pub fn pump(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        around: &Surroundings<'_>,
    ) -> (usize, Want) {
        self.verbosity = around.verbosity;
        let mut used = 0;
        let mut commands = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let want = match self.session.need() {
                Need::Close => Some(Want::Close),
                Need::StartTls => Some(Want::StartTls),
                Need::Introduced => Some(Want::Introduced),
                Need::Pause(pause) => Some(Want::Pause(pause)),
                Need::Hook => self.hook(rest, out, around),
                Need::Hold => self.make_room(),
                Need::Input if self.tarpit > Duration::ZERO => Some(Want::Pause(self.tarpit)),
                Need::Input if rest.is_empty() => Some(Want::Input),
                Need::Input if commands >= COMMANDS_PER_TURN => Some(Want::Turn),
                Need::Input => {
                    let env = self.env_parts();
                    let before = commands;
                    let (session, mut desk) = self.desk(out, &mut commands);
                    used += session.feed(&env.env(), rest, &mut desk);
                    self.heard(commands > before);
                    None
                }
            };
            self.after_transaction(around.now);
            if let Some(want) = want {
                return (used, want);
            }
        }
    }

    /// Goes on on a thread: runs the hooks of the message.
    pub fn work(&mut self, place: Place<'_>, now: Moment) -> Want {
        match self.judge(place, now) {
            Judged::Decided(verdict) => {
                self.outcome = Some(verdict);
                // Letting go of a large file takes its time: here, not in the loop.
                self.mail = None;
                Want::Home
            }
            Judged::Waiting => Want::Home,
            Judged::Move(lane) => Want::Move(lane),
        }
    }

    /// The session asks: the verdict that is there already, or the plugins'.
    fn hook(&mut self, rest: &[u8], out: &mut Vec<u8>, around: &Surroundings<'_>) -> Option<Want> {
        let verdict = match self.outcome.take() {
            Some(verdict) => verdict,
            None => {
                if let Some(want) = self.before_call(around) {
                    return Some(want);
                }
                match self.judge(Place::Loop, around.now) {
                    Judged::Decided(verdict) => verdict,
                    // A client that has talked already is not quiet; no need to wait and see.
                    Judged::Waiting if !rest.is_empty() && self.talked() => return None,
                    Judged::Waiting => return Some(Want::Answers),
                    Judged::Move(lane) => return Some(Want::Move(lane)),
                }
            }
        };
        if let Some(delay) = self.login_delay(&verdict).filter(|_| !self.login_judged) {
            // Who guesses has to wait for each answer.
            self.login_judged = true;
            self.outcome = Some(verdict);
            return Some(Want::Pause(delay));
        }
        self.login_judged = false;
        if matches!(verdict, Verdict::Ok(_)) {
            self.logged_in(around);
        }
        let is_message = matches!(self.session.call(), Some(Call::Message));
        self.resume(&verdict, out);
        if let (true, Verdict::Ok(text)) = (is_message, verdict) {
            self.note_taken(text);
        }
        None
    }

    /// What has to be done before the plugins are asked.
    fn before_call(&mut self, around: &Surroundings<'_>) -> Option<Want> {
        match self.session.call() {
            Some(Call::Address(PathOf::Mail, _)) if self.progress.is_none() => {
                self.renew(around.site);
                // What a refused MAIL left behind must not help the next one.
                self.forget_mail();
                None
            }
            Some(Call::Helo(_)) if self.progress.is_none() => {
                self.remember_before_hello();
                None
            }
            Some(Call::Message) if self.mail.is_none() => {
                let intake = self.intake.as_mut()?;
                if !intake.has_file()
                    && let Some(block) = intake.take_block()
                {
                    self.block_due = Some(Box::new(block));
                }
                intake.is_writing().then_some(Want::Written)
            }
            _ => None,
        }
    }

    /// At MAIL nothing of the old snapshot is in use: the session goes over to the newest.
    fn renew(&mut self, site: &Arc<Site>) {
        if Arc::ptr_eq(&self.site, site) {
            return;
        }
        let same = site.list(&self.chain.name).or_else(|| site.chain_for(self.peer.ip));
        if let Some(chain) = same {
            self.chain = self.served_by(chain);
            self.site = Arc::clone(site);
        }
    }

    fn resume(&mut self, verdict: &Verdict, out: &mut Vec<u8>) {
        let starts_text = matches!(self.session.call(), Some(Call::Data(_)));
        if starts_text && verdict.refusal().is_none() {
            let threshold = if self.memory_tight { 0 } else { self.site.config.size_threshold };
            self.intakes = self.intakes.wrapping_add(1);
            self.intake = Some(Box::new(Intake::new(self.intakes, threshold)));
        }
        let env = self.env_parts();
        let mut commands = 0;
        let (session, mut desk) = self.desk(out, &mut commands);
        session.resume(&env.env(), verdict, &mut desk);
    }

    /// Of this connection.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The client.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The client's reverse name, whenever it comes. What is not of the alphabet of host names is left
    /// out, as qpsmtpd does, for it is shown in replies, logs and header fields.
    pub fn set_name(&mut self, name: &str) {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "-._[]".contains(*c);
        let name: String = name.chars().filter(allowed).take(limits::DOMAIN_MAX).collect();
        if !name.is_empty() {
            self.peer.name = Some(name.into());
        }
    }

    /// The snapshot that this session keeps.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Message text is being received.
    pub fn is_receiving(&self) -> bool {
        self.session.is_receiving()
    }

    /// Nothing of a message is in hand: the session can be ended without losing anything.
    pub fn is_idle(&self) -> bool {
        !self.session.is_receiving() && !matches!(self.session.call(), Some(Call::Message))
    }

    /// The client may relay.
    pub fn may_relay(&self) -> bool {
        self.facts.relay
    }

    /// What karma has found out of the client's past; None for clients that it does not judge.
    pub fn karma_history(&self) -> Option<i32> {
        let exempt = self.facts.relay || self.facts.immune.is_some();
        self.facts.karma_history.filter(|_| !exempt)
    }

    /// Log events since the last call.
    pub fn take_log(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.log)
    }

    /// Changes to the store since the last call.
    pub fn take_ops(&mut self) -> Vec<Op> {
        std::mem::take(&mut self.ops)
    }

    /// Messages for DMARC's reports since the last call.
    pub fn take_reports(&mut self) -> Vec<reports::Judged> {
        std::mem::take(&mut self.reports)
    }

    /// A line of the core.
    pub fn line(&mut self, level: Level, text: String) {
        if level <= self.verbosity {
            self.log.push(Event::Line(Line::core(level, self.id, text)));
        }
    }

    fn line_if(&mut self, level: Level, text: impl FnOnce() -> String) {
        if level <= self.verbosity {
            self.line(level, text());
        }
    }

    fn say(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        let mut commands = 0;
        let (_, mut desk) = self.desk(out, &mut commands);
        crate::smtp::session::Sink::send(&mut desk, reply);
    }

    fn desk<'a>(
        &'a mut self,
        out: &'a mut Vec<u8>,
        commands: &'a mut u32,
    ) -> (&'a mut Session, Desk<'a>) {
        let desk = Desk {
            out,
            commands,
            log: &mut self.log,
            intake: &mut self.intake,
            waste: &mut self.waste,
            ended: &mut self.transaction_ended,
            idle_reset: &mut self.idle_reset,
            login_failures: (&mut self.login_failures, &mut self.login_failures_untold),
            karma: &mut self.facts.karma,
            id: self.id,
            verbosity: self.verbosity,
        };
        (&mut self.session, desk)
    }

    fn env_parts(&self) -> EnvParts {
        let message = match self.session.call() {
            Some(Call::Connect | Call::Helo(_)) | None => String::new(),
            Some(_) => format!(".{}", self.messages.saturating_add(1)),
        };
        EnvParts {
            site: Arc::clone(&self.site),
            who: format!("{} [{}]", self.peer.shown_name(), self.peer.ip),
            id: format!("{}{message}", self.id),
            trusted: self.facts.relay,
            normalize: self.site.config.normalize.unwrap_or(self.facts.relay),
            security: self.security(),
            recipients_max: self.chain.recipients_max(),
        }
    }
}

/// What an [`Env`] borrows from.
struct EnvParts {
    site: Arc<Site>,
    who: String,
    id: String,
    trusted: bool,
    normalize: bool,
    security: Security,
    recipients_max: usize,
}

impl EnvParts {
    fn env(&self) -> Env<'_> {
        Env {
            rules: &self.site.config.rules,
            who: &self.who,
            id: &self.id,
            trusted: self.trusted,
            normalize: self.normalize,
            proxy: self.security.proxy,
            tls: self.security.tls,
            auth: self.auth(),
            recipients_max: self.recipients_max,
        }
    }
}
