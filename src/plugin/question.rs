//! What a hook may wait for. Everything that can change is a question.
//!
//! A hook never waits itself: it asks, and runs again once the answer is in its memo. So the same
//! plugin runs in the loop, on a thread, in a test and in a replay, and thousands of sessions wait
//! for slow name servers without a thread each.

use crate::dns;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A thread pool on which a hook may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Pure work that would hold up the event loop.
    Workers,
    /// Scanners, authentication, call-ahead: other programs' sockets.
    Scanners,
    /// Disks and queues.
    Writers,
}

/// A question that a hook asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// To the resolver.
    Dns(dns::Question),
    /// To the store: a table and a key.
    Store(&'static str, Box<str>),
    /// Does the client keep quiet for this long?
    Quiet(Duration),
    /// May I block? Answered by being run on that lane.
    Lane(Lane),
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// From the resolver.
    Dns(dns::Answer),
    /// From the store: the value, or nothing stored under the key.
    Stored(Option<Box<[u8]>>),
    /// The client kept quiet.
    Quiet,
    /// The client talked out of turn.
    Talked,
    /// Nobody could say in time. Every kind of question can end like this.
    TempFail,
}

impl Answer {
    /// Octets that the answer occupies, for the budgets.
    pub fn weight(&self) -> usize {
        match self {
            Answer::Dns(answer) => answer.weight(),
            Answer::Stored(Some(value)) => value.len(),
            Answer::Stored(None) | Answer::Quiet | Answer::Talked | Answer::TempFail => 0,
        }
    }
}

/// Answers by question, owned by one invocation of a hook and never evicted while it runs.
#[derive(Debug, Default)]
pub struct Memo {
    answers: Vec<(Question, Arc<Answer>)>,
    weight: usize,
}

impl Memo {
    /// The answer, if it is in.
    pub fn find(&self, question: &Question) -> Option<&Arc<Answer>> {
        self.answers.iter().find(|(known, _)| known == question).map(|(_, answer)| answer)
    }

    /// Adds an answer; the first one to a question stays.
    pub fn insert(&mut self, question: Question, answer: Arc<Answer>) {
        if self.find(&question).is_none() {
            self.weight += answer.weight();
            self.answers.push((question, answer));
        }
    }

    /// Octets of all answers.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// No answer is in.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

mod pending {
    /// "An answer is missing." Only the lookups of a [`Cx`](crate::plugin::Cx) can make one, so that
    /// a plugin cannot wait for nothing.
    #[derive(Debug)]
    pub struct Pending(());

    pub(in crate::plugin) fn pending() -> Pending {
        Pending(())
    }
}

pub use pending::Pending;
pub(super) use pending::pending;

/// Answers questions for a hook that may block: there a question waits instead of missing.
pub trait Ask {
    /// The answers, in the order of the questions; the ones not in by the deadline are
    /// [`Answer::TempFail`].
    fn ask(&self, questions: &[Question]) -> Vec<Arc<Answer>>;
}

/// Proof that a hook runs where it may block. Blocking clients can only be built from one.
#[derive(Clone, Copy)]
pub struct Token<'a> {
    pub(super) lane: Lane,
    pub(super) here: PhantomData<&'a dyn Ask>,
}

impl Token<'_> {
    /// The lane it runs on.
    pub fn lane(&self) -> Lane {
        self.lane
    }
}

/// Where a hook runs.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// In the event loop: nothing may block, nor take long.
    Loop,
    /// On a worker: nothing may block.
    Worker,
    /// On a lane's thread.
    Lane(Lane, &'a dyn Ask),
}
