//! One hook on one session, run as often as answers come.
//!
//! An [`Invocation`] knows where the chain stands, what each waiting plugin waits for, and the answers
//! that are in. The rules:
//!
//! 1. The set of missed questions decides whether a plugin is pending, not what it returned. Pending
//!    with nothing missed is a fault of the plugin: it is logged and answered 451, never skipped.
//! 2. When a plugin is pending, the ones behind it run too, on speculation: their effects are thrown
//!    away, their questions are sent at once. Each plugin has its own set of answers to wait for, so a
//!    verdict never waits for a question behind it; once it stands, the rest is dropped.
//! 3. Speculation stops where it would ask what may turn out not to concern anybody: at a pending
//!    plugin that may change what later ones see ([`crate::plugin::Plugin::gates`]), or one that would
//!    change it now; at one that would decide the hook; at one that wants to block; at `speculate no`.
//! 4. A hook has a budget of time and questions, and each plugin one of rounds. When one is spent, what
//!    is missing becomes `TempFail` and the next run is the last: nothing waits for ever. An answer for
//!    which there is no room is `TempFail`, alone. Rounds count per plugin, so that a sender who makes one check go round and round in
//!    his own DNS cannot take the answers of block lists away.
//! 5. Effects count once, when a plugin's run commits.
//! 6. A plugin moves to one lane at most, and runs there once; on a lane its questions wait.

use crate::limits;
use crate::plugin::Hook;
use crate::plugin::chain::{Chain, Host, Loaded, ask, hook_name, note_panic};
use crate::plugin::cx::{Cx, Moment, Run};
use crate::plugin::log::Level;
use crate::plugin::question::{Answer, Lane, Memo, Place, Question};
use crate::smtp::verdict::Verdict;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

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
    chain: Arc<Chain>,
    cursor: usize,
    waits: Vec<Wait>,
    memo: Memo,
    wanted: Vec<(Question, Option<Arc<Answer>>)>,
    ready: bool,
    spent: bool,
    started: Option<Moment>,
}

/// What the last run of one plugin came to, if it did not commit.
struct Wait {
    /// The plugin's place in the chain.
    at: usize,
    /// The numbers of its open questions in the memo.
    open: Vec<usize>,
    /// The lane it has to run on.
    lane: Option<Lane>,
    /// Speculation stops here.
    barrier: bool,
    /// Runs that missed a question.
    rounds: u32,
}

enum Turn {
    Committed(Verdict),
    Move(Lane),
    Pending { barrier: bool },
}

/// The plugin whose turn it is, and where.
#[derive(Clone, Copy)]
struct Seat<'a> {
    at: usize,
    loaded: &'a Loaded,
    place: Place<'a>,
    speculative: bool,
}

impl Invocation {
    /// A hook that has not run yet. The chain stays the same until it is decided, whatever its plugins
    /// choose for later hooks.
    pub fn new(hook: Hook, chain: &Arc<Chain>) -> Invocation {
        Invocation {
            hook,
            chain: Arc::clone(chain),
            cursor: 0,
            waits: Vec::new(),
            memo: Memo::default(),
            wanted: Vec::new(),
            ready: true,
            // At accept nobody waits for anything.
            spent: hook == Hook::Accept,
            started: None,
        }
    }

    /// The hook.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// The plugin whose turn it is.
    pub fn current(&self) -> Option<&Loaded> {
        self.chain.plugins().get(self.cursor)
    }

    /// The plugins that it runs over.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
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
        self.memo.take_unsent()
    }

    /// Questions asked ahead of time, with the answers that the hook has itself.
    pub fn take_wanted(&mut self) -> Vec<(Question, Option<Arc<Answer>>)> {
        let mut wanted = std::mem::take(&mut self.wanted);
        for (question, answer) in &mut wanted {
            *answer = answer.take().or_else(|| self.memo.find(question).map(Arc::clone));
        }
        wanted
    }

    /// The question was sent, and its answer will come.
    pub fn is_waiting_for(&self, question: &Question) -> bool {
        self.memo.was_sent(question) && self.memo.is_open(question)
    }

    /// An answer came in. True if it is worth running again.
    pub fn answer(&mut self, question: &Question, answer: &Arc<Answer>) -> bool {
        let Some(number) = self.memo.number(question) else { return false };
        if self.memo.is_answered(number) {
            return false;
        }
        let answer = answer.fitted(self.memo.weight());
        self.memo.fill(number, &answer);
        let complete = |wait: &Wait| {
            wait.open.contains(&number) && wait.open.iter().all(|it| self.memo.is_answered(*it))
        };
        let worth = self.spent || self.waits.iter().any(complete);
        self.ready |= worth;
        worth
    }

    /// A run would get further than the last one did.
    pub fn is_ready(&self, now: Moment) -> bool {
        self.ready || now.mono >= self.deadline()
    }

    /// Questions about the client's silence that have not been answered.
    pub fn quiet_questions(&self) -> impl Iterator<Item = &Question> {
        self.memo.open().filter(|question| matches!(question, Question::Quiet(_)))
    }

    /// The budget is spent: the next run is the last.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Octets of the answers it holds.
    pub fn weight(&self) -> usize {
        self.memo.weight()
    }

    /// Runs what can go on. While nothing new is known, this costs nothing and changes nothing.
    pub fn run(&mut self, host: &mut dyn Host, place: Place<'_>, now: Moment) -> Step {
        let started = *self.started.get_or_insert(now);
        self.spent |= now.mono >= self.deadline();
        // Who has been brought to a lane has not come for nothing.
        if !self.ready && !self.spent && !matches!(place, Place::Lane(..)) {
            return Step::Waiting;
        }
        self.ready = false;
        let step = match self.pass(host, place, started) {
            // The budget ended in this pass, and nobody may be left to wake the hook.
            Step::Waiting if self.spent => self.pass(host, place, started),
            step => step,
        };
        self.ready = matches!(step, Step::Move(_));
        step
    }

    fn pass(&mut self, host: &mut dyn Host, place: Place<'_>, now: Moment) -> Step {
        let chain = Arc::clone(&self.chain);
        let mut speculative = false;
        for (at, loaded) in chain.plugins().iter().enumerate().skip(self.cursor) {
            if !loaded.plugin.hooks().has(self.hook) {
                continue;
            }
            if speculative && !loaded.speculate {
                break;
            }
            let seat = Seat { at, loaded, place, speculative };
            match self.turn(seat, host, now) {
                Turn::Committed(Verdict::Declined | Verdict::Unhooked) => self.cursor = at + 1,
                Turn::Committed(verdict) => return Step::Done(verdict, Some(at)),
                Turn::Move(lane) => return Step::Move(lane),
                Turn::Pending { barrier: true } => return Step::Waiting,
                Turn::Pending { barrier: false } => speculative = true,
            }
        }
        if speculative { Step::Waiting } else { Step::Done(Verdict::Declined, None) }
    }

    /// Decides whether the plugin has to be run, and where.
    fn turn(&mut self, seat: Seat<'_>, host: &mut dyn Host, now: Moment) -> Turn {
        let Seat { at, loaded, place, speculative } = seat;
        let wait = self.waits.iter().find(|wait| wait.at == at);
        let mut rounds = 0;
        if let Some(wait) = wait {
            let answered = wait.open.iter().all(|it| self.memo.is_answered(*it));
            let on_lane = matches!(place, Place::Lane(..));
            let learned = speculative && wait.open.is_empty() && wait.lane.is_none();
            if learned || !(answered || on_lane || self.spent) {
                return Turn::Pending { barrier: wait.barrier };
            }
            match wait.lane {
                Some(_) if speculative => return Turn::Pending { barrier: true },
                Some(lane) if !place.serves(lane) => return Turn::Move(lane),
                _ => {}
            }
            rounds = wait.rounds;
        }
        if !loaded.inline && matches!(place, Place::Loop) {
            let barrier = Turn::Pending { barrier: true };
            return if speculative { barrier } else { Turn::Move(Lane::Workers) };
        }
        let closed = self.spent || rounds >= limits::HOOK_ROUNDS_MAX;
        self.run_plugin(seat, closed, host, now)
    }

    fn run_plugin(
        &mut self,
        seat: Seat<'_>,
        closed: bool,
        host: &mut dyn Host,
        now: Moment,
    ) -> Turn {
        let Seat { loaded, place, speculative, .. } = seat;
        let deadline = self.deadline();
        let memo = &self.memo;
        let chain = self.chain.plugins();
        let run =
            Run { plugin: loaded, chain, hook: self.hook, memo, place, closed, now, deadline };
        let before = host.stopwatch();
        let ground = host.ground();
        let hook = hook_name(self.hook, ground.occasion);
        let mut cx = Cx::new(ground, &run);
        let said = catch_unwind(AssertUnwindSafe(|| {
            ask(&*loaded.plugin, self.hook, &mut cx, ground.occasion)
        }));
        let (staged, asked) = cx.into_parts();
        let changes = staged.changes(&ground);
        let took = host.stopwatch().saturating_sub(before);
        if took > limits::INLINE_RUN_MAX && matches!(place, Place::Loop) {
            let text = format!("took {} µs in the event loop", took.as_micros());
            host.note(Level::Notice, hook, loaded, text);
        }
        self.spent |= asked.spent;
        for (question, answer) in asked.answered {
            self.memo.insert(question, &answer);
        }
        for (question, answer) in asked.wanted {
            if !self.wanted.iter().any(|(wanted, _)| *wanted == question) {
                self.wanted.push((question, answer));
            }
        }
        match said {
            Ok(_) if !asked.missed.is_empty() => self.missed(seat, asked.missed, host, hook),
            Ok(said) if speculative => {
                let decides = !matches!(said, Ok(Verdict::Declined | Verdict::Unhooked));
                self.learned(seat, decides || (loaded.plugin.gates() && changes))
            }
            Ok(Ok(verdict)) => {
                host.commit(loaded, hook, staged);
                Turn::Committed(verdict)
            }
            Ok(Err(_)) => fault(host, hook, loaded, "pending with nothing missed"),
            // It will panic again when its word counts, and be logged then.
            Err(_) if speculative => self.learned(seat, true),
            Err(_) => {
                note_panic(host, hook, loaded);
                Turn::Committed(internal_error())
            }
        }
    }

    /// A run on speculation missed nothing: there is nothing to learn from another.
    fn learned(&mut self, seat: Seat<'_>, barrier: bool) -> Turn {
        let rounds = self.forget(seat.at).map_or(0, |wait| wait.rounds);
        self.waits.push(Wait { at: seat.at, open: Vec::new(), lane: None, barrier, rounds });
        Turn::Pending { barrier }
    }

    /// A run missed something.
    fn missed(
        &mut self,
        seat: Seat<'_>,
        missed: Vec<Question>,
        host: &mut dyn Host,
        hook: &'static str,
    ) -> Turn {
        let Seat { at, loaded, place, speculative } = seat;
        let before = self.forget(at);
        let mut lane = None;
        let mut open = Vec::new();
        for question in missed {
            match question {
                Question::Lane(asked) => lane = Some(asked),
                question => open.extend(self.post(question)),
            }
        }
        let moved = before.as_ref().and_then(|wait| wait.lane);
        if lane.is_some() && self.hook == Hook::Accept {
            return fault(host, hook, loaded, "it wants to block at accept");
        }
        if lane.is_some() && moved.is_some_and(|moved| place.serves(moved)) {
            return fault(host, hook, loaded, "it wants a second lane");
        }
        let rounds = before.map_or(0, |wait| wait.rounds) + u32::from(!open.is_empty());
        let barrier = lane.is_some() || loaded.plugin.gates();
        let move_now = lane.filter(|_| open.is_empty() && !speculative);
        self.waits.push(Wait { at, open, lane, barrier, rounds });
        move_now.map_or(Turn::Pending { barrier }, Turn::Move)
    }

    fn forget(&mut self, at: usize) -> Option<Wait> {
        let position = self.waits.iter().position(|wait| wait.at == at)?;
        Some(self.waits.swap_remove(position))
    }

    /// Notes a question as far as the budget goes, and gives its number.
    fn post(&mut self, question: Question) -> Option<usize> {
        let number = self.memo.number(&question);
        if number.is_none() && self.memo.len() >= limits::HOOK_QUESTIONS_MAX {
            self.spent = true;
            return None;
        }
        Some(number.unwrap_or_else(|| self.memo.ask(question)))
    }
}

fn fault(host: &mut dyn Host, hook: &'static str, loaded: &Loaded, what: &str) -> Turn {
    host.note(Level::Critical, hook, loaded, format!("error, {what}: a fault of the plugin"));
    Turn::Committed(internal_error())
}

fn internal_error() -> Verdict {
    Verdict::deny_soft((3, 0), "Internal error, please try again later")
}
