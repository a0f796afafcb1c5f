//! The plugins of one list, and how one hook is run over them.
//!
//! An [`Invocation`] is one hook on one session: where the chain stands, what each waiting plugin
//! waits for, and the answers that are in. It can be run again as often as answers come. The rules:
//!
//! 1. The set of missed questions decides whether a plugin is pending, not what it returned. Pending
//!    with nothing missed is a fault of the plugin: it is logged and answered 451, never skipped.
//! 2. When a plugin is pending, the ones behind it run too, on speculation: their effects are thrown
//!    away, their questions are sent at once. Each plugin has its own set of answers to wait for, so a
//!    verdict never waits for a question behind it; once it stands, the rest is dropped.
//! 3. Speculation stops at a plugin that is pending and may change what later ones see
//!    ([`crate::plugin::Plugin::gates`]), at a plugin that wants to block, and at `speculate no`.
//! 4. A hook has a budget of time, rounds, questions and octets of answers. When one is spent, what
//!    is missing becomes `TempFail` and the next run is the last: nothing waits for ever.
//! 5. Effects count once, when a plugin's run commits.

use crate::limits;
use crate::plugin::cx::{Cx, Ground, Moment, Occasion, Staged};
use crate::plugin::log::Level;
use crate::plugin::question::{Answer, Lane, Memo, Place, Question};
use crate::plugin::{Denial, Hook, HookSet, Hooked, Plugin, Queued};
use crate::smtp::session::{Call, Hello};
use crate::smtp::verdict::Verdict;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// A plugin with what its line in the file said about running it.
#[derive(Clone)]
pub struct Loaded {
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// Its name in the registry.
    pub name: &'static str,
    /// Its name in logs: `queue::maildir`.
    pub log_name: Arc<str>,
    /// Owner of its notes.
    pub key: u64,
    /// `loglevel`: 0 to 7 replaces each line's level, a signed number shifts it.
    pub loglevel: LogShift,
    /// `speculate no`: its questions are only sent when its turn has come (paid lists).
    pub speculate: bool,
    /// `inline no`: it runs on a worker, not in the event loop.
    pub inline: bool,
}

/// The `loglevel` argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogShift {
    /// As the plugin says.
    #[default]
    Keep,
    /// This level for every line.
    Fixed(Level),
    /// Less (positive) or more important.
    By(i8),
}

impl Loaded {
    /// A plugin without arguments that matter here, for tests and harnesses.
    pub fn plain(name: &'static str, plugin: Arc<dyn Plugin>) -> Loaded {
        Loaded {
            plugin,
            name,
            log_name: crate::plugin::log::log_name(name).into(),
            key: name
                .bytes()
                .fold(7, |key: u64, octet| key.wrapping_mul(1_099_511_628_211) ^ u64::from(octet)),
            loglevel: LogShift::Keep,
            speculate: true,
            inline: true,
        }
    }

    /// The level of one of its lines.
    pub fn level(&self, level: Level) -> Level {
        match self.loglevel {
            LogShift::Keep => level,
            LogShift::Fixed(fixed) => fixed,
            LogShift::By(by) => level.shifted(by),
        }
    }
}

/// A list of plugins, indexed by hook.
pub struct Chain {
    /// The list's name: `plugins`, or that of the file under `peers/`.
    pub name: Arc<str>,
    plugins: Vec<Loaded>,
    hooks: HookSet,
}

impl Chain {
    /// A chain in the order of the list.
    pub fn new(name: &str, plugins: Vec<Loaded>) -> Chain {
        let hooks = Hook::ALL
            .into_iter()
            .filter(|hook| plugins.iter().any(|loaded| loaded.plugin.hooks().has(*hook)))
            .fold(HookSet::default(), HookSet::with);
        Chain { name: name.into(), plugins, hooks }
    }

    /// Some plugin implements this hook.
    pub fn has(&self, hook: Hook) -> bool {
        self.hooks.has(hook)
    }

    /// The plugins, in order.
    pub fn plugins(&self) -> &[Loaded] {
        &self.plugins
    }

    /// A plugin of this name is in the list.
    pub fn contains(&self, name: &str) -> bool {
        self.plugins.iter().any(|loaded| loaded.name == name)
    }
}

/// Whoever owns the session: gives plugins their ground and takes what they did.
pub trait Host {
    /// What the next plugin sees.
    fn ground(&self) -> Ground<'_>;

    /// One plugin's run counts.
    fn commit(&mut self, plugin: &Loaded, hook: &'static str, staged: Staged);

    /// A line of the chain itself about a plugin.
    fn note(&mut self, level: Level, hook: &'static str, plugin: &Loaded, text: String);

    /// Monotonic time for measuring runs; the default measures nothing.
    fn stopwatch(&self) -> Duration {
        Duration::ZERO
    }
}

/// What one run of an invocation came to.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// The hook is decided; by whom, unless everybody declined.
    Done(Verdict, Option<usize>),
    /// Answers are missing; the new questions are in [`Invocation::take_questions`].
    Waiting,
    /// The plugin whose turn it is has to run on this lane.
    Move(Lane),
}

/// One hook on one session.
pub struct Invocation {
    hook: Hook,
    cursor: usize,
    waits: Vec<(usize, Vec<Question>)>,
    memo: Memo,
    asked: Vec<Question>,
    outbox: Vec<Question>,
    wanted: Vec<Question>,
    rounds: u32,
    spent: bool,
    started: Option<Moment>,
}

impl Invocation {
    /// A hook that has not run yet.
    pub fn new(hook: Hook) -> Invocation {
        Invocation {
            hook,
            cursor: 0,
            waits: Vec::new(),
            memo: Memo::default(),
            asked: Vec::new(),
            outbox: Vec::new(),
            wanted: Vec::new(),
            rounds: 0,
            spent: false,
            started: None,
        }
    }

    /// The hook.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// When the time budget ends, on the clock of [`Moment::mono`].
    pub fn deadline(&self) -> Duration {
        let limit = match self.hook {
            Hook::Headers | Hook::Message | Hook::Seal => limits::MESSAGE_HOOK_TIME_MAX,
            _ => limits::HOOK_TIME_MAX,
        };
        self.started.map_or(Duration::ZERO, |started| started.mono) + limit
    }

    /// Questions to be sent, each given out once.
    pub fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.outbox)
    }

    /// Questions asked ahead of time.
    pub fn take_wanted(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.wanted)
    }

    /// An answer came in. True if a plugin has all its answers now.
    pub fn answer(&mut self, question: &Question, answer: &Arc<Answer>) -> bool {
        if self.memo.weight() + answer.weight() > limits::HOOK_ANSWERS_MAX {
            self.spent = true;
            self.memo.insert(question.clone(), Arc::new(Answer::TempFail));
        } else {
            self.memo.insert(question.clone(), Arc::clone(answer));
        }
        let memo = &self.memo;
        self.waits.iter().any(|(_, wait)| {
            wait.contains(question) && wait.iter().all(|missing| memo.find(missing).is_some())
        })
    }

    /// Runs what can go on.
    pub fn run(
        &mut self,
        chain: &Chain,
        host: &mut dyn Host,
        place: Place<'_>,
        now: Moment,
    ) -> Step {
        let started = *self.started.get_or_insert(now);
        self.rounds += 1;
        self.spent |= self.rounds > limits::HOOK_ROUNDS_MAX || now.mono >= self.deadline();
        let mut speculative = false;
        for (index, loaded) in chain.plugins.iter().enumerate().skip(self.cursor) {
            if !loaded.plugin.hooks().has(self.hook) {
                continue;
            }
            if speculative && !loaded.speculate {
                break;
            }
            match self.turn(index, loaded, host, place, started, speculative) {
                Turn::Committed(Verdict::Declined | Verdict::Unhooked) => self.cursor = index + 1,
                Turn::Committed(verdict) => return Step::Done(verdict, Some(index)),
                Turn::Move(lane) => return Step::Move(lane),
                Turn::Known => {}
                Turn::Pending { barrier: true } => return Step::Waiting,
                Turn::Pending { barrier: false } => speculative = true,
            }
        }
        if speculative { Step::Waiting } else { Step::Done(Verdict::Declined, None) }
    }

    fn turn(
        &mut self,
        index: usize,
        loaded: &Loaded,
        host: &mut dyn Host,
        place: Place<'_>,
        now: Moment,
        speculative: bool,
    ) -> Turn {
        let waits = self.waits.iter().find(|(at, _)| *at == index).map(|(_, wait)| wait.as_slice());
        match waits {
            Some([]) if speculative => return Turn::Known,
            Some(wait) if !self.spent && !self.has_all(wait, host, place) => {
                let lane = lane_of(wait);
                return match lane {
                    Some(lane) if !speculative && self.only_lane_missing(wait, host) => {
                        Turn::Move(lane)
                    }
                    _ => Turn::Pending { barrier: lane.is_some() || loaded.plugin.gates() },
                };
            }
            _ => {}
        }
        if !loaded.inline && matches!(place, Place::Loop) {
            return if speculative {
                Turn::Pending { barrier: true }
            } else {
                Turn::Move(Lane::Workers)
            };
        }
        self.run_one(index, loaded, host, place, now, speculative)
    }

    fn run_one(
        &mut self,
        index: usize,
        loaded: &Loaded,
        host: &mut dyn Host,
        place: Place<'_>,
        now: Moment,
        speculative: bool,
    ) -> Turn {
        let before = host.stopwatch();
        let ground = host.ground();
        let hook_name = hook_name(self.hook, ground.occasion);
        let mut cx = Cx::new(ground, loaded, &self.memo, self.spent, place, now);
        let said = catch_unwind(AssertUnwindSafe(|| {
            ask(&*loaded.plugin, self.hook, &mut cx, ground.occasion)
        }));
        let (staged, asked) = cx.into_parts();
        let took = host.stopwatch().saturating_sub(before);
        if took > limits::INLINE_RUN_MAX && matches!(place, Place::Loop) {
            let text = format!("took {} µs in the event loop", took.as_micros());
            host.note(Level::Notice, hook_name, loaded, text);
        }
        for (question, answer) in asked.answered {
            self.memo.insert(question, answer);
        }
        self.wanted.extend(asked.wanted);
        let Ok(said) = said else {
            let text = format!("FATAL PLUGIN ERROR [{}]: the plugin panicked", loaded.log_name);
            host.note(Level::Critical, hook_name, loaded, text);
            return if speculative { self.learned(index, Vec::new()) } else { fault() };
        };
        let lane = lane_of(&asked.missed);
        if speculative || !asked.missed.is_empty() {
            let barrier = lane.is_some() || (!asked.missed.is_empty() && loaded.plugin.gates());
            let only_lane = asked.missed.iter().all(|it| matches!(it, Question::Lane(_)));
            self.post(&asked.missed);
            self.learned(index, asked.missed);
            return match lane {
                Some(lane) if !speculative && only_lane => Turn::Move(lane),
                _ => Turn::Pending { barrier },
            };
        }
        let Ok(verdict) = said else {
            let text = "error, pending with nothing missed: a fault of the plugin".to_string();
            host.note(Level::Critical, hook_name, loaded, text);
            return fault();
        };
        host.commit(loaded, hook_name, staged);
        Turn::Committed(verdict)
    }

    fn learned(&mut self, index: usize, missed: Vec<Question>) -> Turn {
        self.waits.retain(|(at, _)| *at != index);
        self.waits.push((index, missed));
        Turn::Known
    }

    /// Puts new questions into the outbox, as far as the budget goes.
    fn post(&mut self, missed: &[Question]) {
        for question in missed {
            if matches!(question, Question::Lane(_)) || self.asked.contains(question) {
                continue;
            }
            if self.asked.len() >= limits::HOOK_QUESTIONS_MAX {
                self.spent = true;
                self.memo.insert(question.clone(), Arc::new(Answer::TempFail));
                continue;
            }
            self.asked.push(question.clone());
            self.outbox.push(question.clone());
        }
    }

    fn has_all(&self, wait: &[Question], host: &dyn Host, place: Place<'_>) -> bool {
        wait.iter().all(|question| match (question, place) {
            (Question::Lane(lane), Place::Lane(here, _)) => *lane == here,
            (Question::Lane(_), Place::Loop | Place::Worker) => false,
            _ => self.is_known(question, host),
        })
    }

    fn only_lane_missing(&self, wait: &[Question], host: &dyn Host) -> bool {
        wait.iter().all(|it| matches!(it, Question::Lane(_)) || self.is_known(it, host))
    }

    fn is_known(&self, question: &Question, host: &dyn Host) -> bool {
        self.memo.find(question).is_some() || host.ground().prefetched.find(question).is_some()
    }

    /// Some answer is missing that has been asked and has not come.
    pub fn is_waiting_for(&self, question: &Question) -> bool {
        self.asked.contains(question) && self.memo.find(question).is_none()
    }

    /// Questions about the client's silence that have not been answered.
    pub fn quiet_questions(&self) -> Vec<Question> {
        let open = |question: &&Question| {
            matches!(question, Question::Quiet(_)) && self.memo.find(question).is_none()
        };
        self.asked.iter().filter(open).cloned().collect()
    }

    /// The budget is spent: the next run is the last.
    pub fn is_spent(&self) -> bool {
        self.spent
    }
}

enum Turn {
    Committed(Verdict),
    Move(Lane),
    Pending { barrier: bool },
    Known,
}

fn fault() -> Turn {
    Turn::Committed(Verdict::deny_soft((3, 0), "Internal error, please try again later"))
}

fn lane_of(questions: &[Question]) -> Option<Lane> {
    questions.iter().find_map(|question| match question {
        Question::Lane(lane) => Some(*lane),
        Question::Dns(_) | Question::Store(..) | Question::Quiet(_) => None,
    })
}

/// qpsmtpd's name of the hook as log lines print it: EHLO and HELO, MAIL and RCPT differ.
pub fn hook_name(hook: Hook, occasion: Occasion<'_>) -> &'static str {
    use crate::smtp::session::PathOf;
    match (hook, occasion) {
        (Hook::Helo, Occasion::Call(Call::Helo(Hello { esmtp: true, .. }))) => "ehlo",
        (Hook::Address, Occasion::Call(Call::Address(PathOf::Mail, _))) => "mail_pre",
        (Hook::Address, Occasion::Call(Call::Address(PathOf::Rcpt, _))) => "rcpt_pre",
        _ => hook.name(),
    }
}

/// Calls the method of the hook.
pub fn ask(plugin: &dyn Plugin, hook: Hook, cx: &mut Cx<'_>, occasion: Occasion<'_>) -> Hooked {
    let call = match occasion {
        Occasion::Call(call) => Some(call),
        Occasion::Plain => None,
    };
    match (hook, call) {
        (Hook::Accept, _) => plugin.accept(cx),
        (Hook::Connect, _) => plugin.connect(cx),
        (Hook::Greet, _) => plugin.greet(cx),
        (Hook::Helo, Some(Call::Helo(hello))) => plugin.helo(cx, hello),
        (Hook::Address, Some(Call::Address(of, raw))) => plugin.address(cx, *of, raw),
        (Hook::Mail, Some(Call::Mail(mail))) => plugin.mail(cx, mail),
        (Hook::Rcpt, Some(Call::Rcpt(recipient))) => plugin.rcpt(cx, recipient),
        (Hook::Data, Some(Call::Data(chunk))) => plugin.data(cx, chunk.is_some()),
        (Hook::Headers, _) => plugin.headers(cx),
        (Hook::Message, _) => plugin.message(cx),
        (Hook::Seal, _) => plugin.seal(cx),
        (Hook::Queue, _) => plugin.queue(cx),
        (Hook::Noop, _) => plugin.noop(cx),
        (Hook::Vrfy, Some(Call::Vrfy(what))) => plugin.vrfy(cx, what),
        (Hook::Help, Some(Call::Help(what))) => plugin.help(cx, what),
        (Hook::Quit, _) => plugin.quit(cx),
        (Hook::Unrecognized, Some(Call::Unrecognized(line))) => plugin.unrecognized(cx, line),
        _ => Ok(Verdict::Unhooked),
    }
}

/// What an observer is told.
#[derive(Clone, Copy)]
pub enum Observed<'a> {
    /// A message was handed over.
    Queued(Queued<'a>),
    /// A plugin refused.
    Denied(Denial<'a>),
    /// A transaction ended.
    Reset,
    /// The connection ends.
    Disconnect,
    /// The connection has ended.
    Closed,
}

impl Observed<'_> {
    /// The hook of it.
    pub fn hook(&self) -> Hook {
        match self {
            Observed::Queued(_) => Hook::Queued,
            Observed::Denied(_) => Hook::Denied,
            Observed::Reset => Hook::Reset,
            Observed::Disconnect => Hook::Disconnect,
            Observed::Closed => Hook::Closed,
        }
    }
}

/// Calls one observer.
pub fn tell(plugin: &dyn Plugin, cx: &mut Cx<'_>, observed: Observed<'_>) {
    match observed {
        Observed::Queued(queued) => plugin.queued(cx, &queued),
        Observed::Denied(denial) => plugin.denied(cx, &denial),
        Observed::Reset => plugin.reset(cx),
        Observed::Disconnect => plugin.disconnect(cx),
        Observed::Closed => plugin.closed(cx),
    }
}

/// Tells all observers of a chain. They ask nothing and decide nothing, so they run at once.
pub fn observe(chain: &Chain, host: &mut dyn Host, observed: Observed<'_>, now: Moment) {
    let hook = observed.hook();
    if !chain.has(hook) {
        return;
    }
    let memo = Memo::default();
    for loaded in chain.plugins.iter().filter(|loaded| loaded.plugin.hooks().has(hook)) {
        let ground = host.ground();
        let mut cx = Cx::new(ground, loaded, &memo, true, Place::Loop, now);
        let told = catch_unwind(AssertUnwindSafe(|| tell(&*loaded.plugin, &mut cx, observed)));
        let (staged, _) = cx.into_parts();
        if told.is_err() {
            let text = format!("FATAL PLUGIN ERROR [{}]: the plugin panicked", loaded.log_name);
            host.note(Level::Critical, hook.name(), loaded, text);
        } else {
            host.commit(loaded, hook.name(), staged);
        }
    }
}
