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

mod desk;
mod host;
mod message;
#[cfg(test)]
mod tests;

use crate::limits;
use crate::mail::edit::Edit;
use crate::plugin::chain::{Chain, Invocation, Observed, Step, observe};
use crate::plugin::content::{Block, Intake, Stored};
use crate::plugin::cx::{Arrival, Moment, Peer};
use crate::plugin::facts::{Facts, MailFacts, Notes};
use crate::plugin::log::{Event, Id, Level, Line};
use crate::plugin::question::{Answer, Lane, Memo, Place, Question};
use crate::plugin::site::Site;
use crate::plugin::{Denial, Hook};
use crate::smtp::reply::{self, Reply};
use crate::smtp::session::{Call, Env, Need, PathOf, Session};
use crate::smtp::verdict::Verdict;
use desk::Desk;
use message::Mail;
use std::sync::Arc;
use std::time::Duration;

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
    /// Its next turn: there is more to do with the octets at hand.
    Turn,
    /// To be taken home to the loop.
    Home,
    /// The close, once everything was sent.
    Close,
}

/// Hooks that belong to one call of the session machine, and how far they are.
struct Progress {
    hooks: &'static [Hook],
    at: usize,
}

/// One client, from accept to close.
pub struct Visit {
    id: Id,
    session: Session,
    site: Arc<Site>,
    chain: Arc<Chain>,
    peer: Peer,
    connected: Moment,
    facts: Facts,
    mail_facts: MailFacts,
    notes: Notes,
    mail_notes: Notes,
    progress: Option<Progress>,
    invocation: Option<Box<Invocation>>,
    outcome: Option<Verdict>,
    intake: Option<Box<Intake>>,
    intakes: u32,
    mail: Option<Box<Mail>>,
    early_edits: Vec<Edit>,
    prefetched: Memo,
    log: Vec<Event>,
    block_due: Option<Box<Block>>,
    tarpit: Duration,
    transaction_ended: bool,
    idle_reset: bool,
    left: bool,
    memory_tight: bool,
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
            connected: around.now,
            facts: Facts::default(),
            mail_facts: MailFacts::default(),
            notes: Notes::default(),
            mail_notes: Notes::default(),
            progress: None,
            invocation: None,
            outcome: None,
            intake: None,
            intakes: 0,
            mail: None,
            early_edits: Vec::new(),
            prefetched: Memo::default(),
            log: Vec::new(),
            block_due: None,
            tarpit: Duration::ZERO,
            transaction_ended: false,
            idle_reset: false,
            left: false,
            memory_tight: false,
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
        if !self.chain.has(Hook::Accept) {
            return true;
        }
        let chain = Arc::clone(&self.chain);
        let mut invocation = Invocation::new(Hook::Accept, &chain);
        let mut host = host::Arriving { visit: self, arrival };
        let step = invocation.run(&mut host, Place::Loop, around.now);
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
                Need::Pause(pause) => Some(Want::Pause(pause)),
                Need::Hook => self.hook(rest, out, around),
                Need::Hold => self.make_room(),
                Need::Input if self.tarpit > Duration::ZERO => Some(Want::Pause(self.tarpit)),
                Need::Input if rest.is_empty() => Some(Want::Input),
                Need::Input if commands >= COMMANDS_PER_TURN => Some(Want::Turn),
                Need::Input => {
                    let env = self.env_parts();
                    let (session, mut desk) = self.desk(out, &mut commands);
                    used += session.feed(&env.env(), rest, &mut desk);
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
        self.resume(&verdict, out);
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
            Some(Call::Message) if self.mail.is_none() => {
                let intake = self.intake.as_mut()?;
                if let Some(block) = intake.take_block() {
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
            self.chain = Arc::clone(chain);
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

    /// Runs the hooks of the pending call as far as they go.
    fn judge(&mut self, place: Place<'_>, now: Moment) -> Judged {
        let Some(hooks) = self.session.call().map(hooks_of) else {
            return Judged::Decided(Verdict::Declined);
        };
        let mut progress = self.progress.take().unwrap_or(Progress { hooks, at: 0 });
        while let Some(&hook) = progress.hooks.get(progress.at) {
            let judged = match self.one_hook(hook, place, now) {
                Judged::Decided(Verdict::Declined | Verdict::Unhooked) => {
                    progress.at += 1;
                    continue;
                }
                // What `headers` is content with is not delivered yet.
                Judged::Decided(Verdict::Ok(_)) if progress.at + 1 < progress.hooks.len() => {
                    progress.at += 1;
                    continue;
                }
                other => other,
            };
            if !matches!(judged, Judged::Decided(_)) {
                self.progress = Some(progress);
            }
            return judged;
        }
        let decided = match self.session.call() {
            // For most calls silence is consent; RCPT and the queue need somebody's word.
            Some(Call::Rcpt(_) | Call::Message) => Verdict::Declined,
            _ => Verdict::OK,
        };
        Judged::Decided(decided)
    }

    fn one_hook(&mut self, hook: Hook, place: Place<'_>, now: Moment) -> Judged {
        if (Hook::Headers..=Hook::Queue).contains(&hook) {
            if matches!(place, Place::Loop) {
                let waits = self.invocation.as_ref().is_some_and(|it| !it.is_ready(now));
                return if waits { Judged::Waiting } else { Judged::Move(Lane::Workers) };
            }
            if self.invocation.is_none()
                && let Some(verdict) = self.before_message_hook(hook, now)
            {
                return Judged::Decided(verdict);
            }
        }
        if self.invocation.is_none() && !self.chain.has(hook) {
            return Judged::Decided(Verdict::Declined);
        }
        let waiting = self.invocation.take();
        let mut invocation =
            waiting.unwrap_or_else(|| Box::new(Invocation::new(hook, &self.chain)));
        let step = invocation.run(self, place, now);
        self.prefetch(&mut invocation);
        match step {
            Step::Done(verdict, who) => {
                self.decided(&invocation, who, &verdict, now);
                Judged::Decided(verdict)
            }
            Step::Waiting => {
                self.invocation = Some(invocation);
                Judged::Waiting
            }
            Step::Move(lane) => {
                self.invocation = Some(invocation);
                Judged::Move(lane)
            }
        }
    }

    fn decided(
        &mut self,
        invocation: &Invocation,
        who: Option<usize>,
        verdict: &Verdict,
        now: Moment,
    ) {
        let (Some(who), chain) = (who, invocation.chain()) else { return };
        if verdict.refusal().is_some() {
            self.tell_denied(chain, who, verdict, now);
        } else if let (Hook::Queue, Verdict::Ok(text)) = (invocation.hook(), verdict) {
            self.tell_queued(chain, who, text.as_deref().unwrap_or("Queued!"), now);
        }
    }

    fn tell_denied(&mut self, chain: &Arc<Chain>, who: usize, verdict: &Verdict, now: Moment) {
        let Some(loaded) = chain.plugins().get(who) else { return };
        let plugin = Arc::clone(&loaded.log_name);
        observe(chain, self, Observed::Denied(Denial { plugin: &plugin, verdict }), now);
        self.log.push(Event::Denied(self.id));
    }

    // ------------------------------------------------------------------ answers

    /// Questions that have to be sent now, each given out once. There may be some after each call of
    /// [`Visit::pump`] and [`Visit::work`], whatever is wanted next: later hooks' among them.
    pub fn take_questions(&mut self) -> Vec<Question> {
        let mut questions = self.prefetched.take_unsent();
        if let Some(invocation) = &mut self.invocation {
            questions.retain(|question| !invocation.is_waiting_for(question));
            let mut own = invocation.take_questions();
            own.retain(|question| !self.prefetched.is_open(question));
            questions.append(&mut own);
        }
        questions
    }

    /// An answer came in. True if it is worth going on.
    pub fn answer(&mut self, question: &Question, answer: &Arc<Answer>) -> bool {
        if let Some(number) = self.prefetched.number(question) {
            let fits = self.prefetched.weight() + answer.weight() <= limits::HOOK_ANSWERS_MAX;
            let nobody_knows = Arc::new(Answer::TempFail);
            self.prefetched.fill(number, if fits { answer } else { &nobody_knows });
        }
        self.invocation.as_mut().is_some_and(|invocation| invocation.answer(question, answer))
    }

    /// Forgets what was asked ahead of time, for a client whose reputation no longer matters.
    pub fn drop_prefetched(&mut self) {
        self.prefetched = Memo::default();
    }

    /// Octets of the answers at hand.
    pub fn answers_in_memory(&self) -> usize {
        let own = self.invocation.as_ref().map_or(0, |invocation| invocation.weight());
        own + self.prefetched.weight()
    }

    /// Notes what plugins want for later. Beyond the budget a hook has to ask when its time has come.
    fn prefetch(&mut self, invocation: &mut Invocation) {
        for (question, answer) in invocation.take_wanted() {
            if self.prefetched.len() >= limits::HOOK_QUESTIONS_MAX {
                return;
            }
            let number = self.prefetched.ask(question);
            if let Some(answer) = answer {
                self.prefetched.fill(number, &answer);
            }
        }
    }

    /// The client has sent something while it should have been quiet. True if anybody cares.
    pub fn talked(&mut self) -> bool {
        let Some(invocation) = &mut self.invocation else { return false };
        let quiet: Vec<Question> = invocation.quiet_questions().cloned().collect();
        let talked = Arc::new(Answer::Talked);
        for question in &quiet {
            invocation.answer(question, &talked);
        }
        !quiet.is_empty()
    }

    /// Somebody waits to see whether the client keeps quiet.
    pub fn listens_for_early_talk(&self) -> bool {
        self.invocation.as_ref().is_some_and(|it| it.quiet_questions().next().is_some())
    }

    /// When the hook at hand gives up waiting, on the clock of [`Moment::mono`].
    pub fn deadline(&self) -> Option<Duration> {
        self.invocation.as_ref().map(|invocation| invocation.deadline())
    }

    // ------------------------------------------------------------------ the spool

    fn make_room(&mut self) -> Option<Want> {
        let block = self.intake.as_mut().and_then(|intake| {
            intake.is_full();
            intake.take_block()
        });
        match block {
            Some(block) => {
                self.block_due = Some(Box::new(block));
                self.session.held();
                None
            }
            None => Some(Want::Written),
        }
    }

    /// The block that has to be written to the spool now.
    pub fn take_block(&mut self) -> Option<Box<Block>> {
        self.block_due.take()
    }

    /// A block of a message was written; its memory comes back. Nothing happens where that message
    /// was refused meanwhile.
    pub fn block_written(&mut self, message: u32, file: Arc<dyn Stored>, spare: Vec<u8>) {
        if let Some(intake) = self.intake.as_mut().filter(|intake| intake.is_message(message)) {
            intake.block_written(file, spare);
            self.session.held();
        }
    }

    /// The spool cannot take a message: the rest is thrown away, then the client is told. Nothing
    /// happens where that message was refused meanwhile.
    pub fn spool_failed(
        &mut self,
        message: u32,
        reply: &'static Reply,
        why: &str,
        out: &mut Vec<u8>,
    ) {
        if self.intake.as_ref().is_none_or(|intake| !intake.is_message(message)) {
            return;
        }
        self.line(Level::Error, format!("cannot spool the message: {why}"));
        let complete = matches!(self.session.call(), Some(Call::Message));
        let mut commands = 0;
        let (session, mut desk) = self.desk(out, &mut commands);
        session.spoil(reply, &mut desk);
        if complete {
            let text = reply.text.to_string();
            self.outcome =
                Some(Verdict::deny_soft(reply.status.unwrap_or((3, 0)), text).for_storage());
        }
        self.intake = None;
    }

    /// No thread had time for the message: the sender is asked to come back.
    pub fn overloaded(&mut self) {
        self.invocation = None;
        self.progress = None;
        self.line(Level::Error, "no thread had time for the message".to_string());
        self.outcome = Some(Verdict::deny_soft((3, 2), &*reply::OVERLOADED.text));
    }

    /// Octets that are worth reading from the client now.
    pub fn appetite(&self) -> usize {
        self.intake.as_ref().map_or(usize::MAX, |intake| intake.appetite())
    }

    /// Octets of message text in memory.
    pub fn text_in_memory(&self) -> usize {
        self.intake.as_ref().map_or(0, |intake| intake.in_memory())
    }

    /// Memory is short: the next message goes to the spool at once.
    pub fn set_memory_tight(&mut self, tight: bool) {
        self.memory_tight = tight;
    }

    // ------------------------------------------------------------------ the end

    /// The pause is over.
    pub fn unpause(&mut self) {
        self.tarpit = Duration::ZERO;
        self.session.unpause();
    }

    /// Ends the session with a last reply.
    pub fn bye(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        let mut commands = 0;
        let (session, mut desk) = self.desk(out, &mut commands);
        session.bye(reply, &mut desk);
    }

    /// The connection has ended, whoever ended it. Observers hear of it exactly once.
    pub fn leave(&mut self, around: &Surroundings<'_>) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        self.invocation = None;
        let accepted = matches!(self.outcome, Some(Verdict::Ok(_)));
        if accepted && matches!(self.session.call(), Some(Call::Message)) {
            let text = "accepted, but the client was gone before it could be told 250: it will \
                        probably send the message again";
            self.line(Level::Warning, text.to_string());
        }
        let mut out = Vec::new();
        let mut commands = 0;
        let (session, mut desk) = self.desk(&mut out, &mut commands);
        session.gone(&mut desk);
        self.line_if(Level::Info, || "click, disconnecting".to_string());
        let chain = Arc::clone(&self.chain);
        observe(&chain, self, Observed::Disconnect, around.now);
        self.after_transaction(around.now);
        observe(&chain, self, Observed::Closed, around.now);
        self.log.push(Event::Closed(self.id));
    }

    /// Nothing that was found out about one mail is known of the next.
    fn forget_mail(&mut self) {
        self.mail_facts = MailFacts::default();
        self.mail_notes.clear();
        self.early_edits = Vec::new();
    }

    fn after_transaction(&mut self, now: Moment) {
        let idle_reset = std::mem::take(&mut self.idle_reset);
        if !std::mem::take(&mut self.transaction_ended) {
            if idle_reset {
                let chain = Arc::clone(&self.chain);
                observe(&chain, self, Observed::Reset, now);
            }
            return;
        }
        self.intake = None;
        self.mail = None;
        self.block_due = None;
        let chain = Arc::clone(&self.chain);
        observe(&chain, self, Observed::Reset, now);
        self.forget_mail();
        self.messages = self.messages.saturating_add(1);
        self.log.push(Event::Accepted(self.id));
    }

    // ------------------------------------------------------------------ small things

    /// Of this connection.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The client.
    pub fn peer(&self) -> &Peer {
        &self.peer
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

    /// Log events since the last call.
    pub fn take_log(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.log)
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
            ended: &mut self.transaction_ended,
            idle_reset: &mut self.idle_reset,
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
}

impl EnvParts {
    fn env(&self) -> Env<'_> {
        Env {
            rules: &self.site.config.rules,
            who: &self.who,
            id: &self.id,
            trusted: self.trusted,
            normalize: self.normalize,
        }
    }
}

enum Judged {
    Decided(Verdict),
    Waiting,
    Move(Lane),
}

/// The hooks that belong to a call, in the order they are run.
fn hooks_of(call: &Call) -> &'static [Hook] {
    match call {
        Call::Connect => &[Hook::Connect, Hook::Greet],
        Call::Helo(_) => &[Hook::Helo],
        Call::Address(..) => &[Hook::Address],
        Call::Mail(_) => &[Hook::Mail],
        Call::Rcpt(_) => &[Hook::Rcpt],
        Call::Data(_) => &[Hook::Data],
        Call::Message => &[Hook::Headers, Hook::Message, Hook::Seal, Hook::Queue],
        Call::Noop => &[Hook::Noop],
        Call::Vrfy(_) => &[Hook::Vrfy],
        Call::Help(_) => &[Hook::Help],
        Call::Quit => &[Hook::Quit],
        Call::Unrecognized(_) => &[Hook::Unrecognized],
    }
}
