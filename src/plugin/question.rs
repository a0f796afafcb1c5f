//! What a hook may wait for. Everything that can change is a question.
//!
//! A hook never waits itself: it asks, and runs again once the answer is in its memo. So the same
//! plugin runs in the loop, on a thread, in a test and in a replay, and thousands of sessions wait
//! for slow name servers without a thread each.

use crate::dns;
use crate::limits::{HOOK_ANSWERS_MAX, SMALL_ANSWER_MAX};
use crate::plugin::content::Stored;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Records in one answer. Larger answers are an attack, or of no use to a mail server.
const ANSWER_RECORDS_MAX: usize = 64;

/// Octets of one answer, as [`Answer::weight`] counts them.
const ANSWER_OCTETS_MAX: usize = 16 * 1_024;

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
    /// From the resolver: the list is left alone for a while. Why was logged when that began.
    Rests,
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
            Answer::Rests
            | Answer::Stored(None)
            | Answer::Quiet
            | Answer::Talked
            | Answer::TempFail => 0,
        }
    }

    /// The answer as a hook may have it: one that is too large counts as [`Answer::TempFail`], since a
    /// part of it would be a wrong answer.
    pub(super) fn bounded(self: &Arc<Answer>) -> Arc<Answer> {
        let records = match &**self {
            Answer::Dns(answer) => answer.records().len(),
            Answer::Rests
            | Answer::Stored(_)
            | Answer::Quiet
            | Answer::Talked
            | Answer::TempFail => 0,
        };
        if records > ANSWER_RECORDS_MAX || self.weight() > ANSWER_OCTETS_MAX {
            Arc::new(Answer::TempFail)
        } else {
            Arc::clone(self)
        }
    }

    /// The answer as a hook may have it that holds `held` octets of answers already: one that does not
    /// fit is [`Answer::TempFail`], alone. The last quarter of the room is for small answers, so that
    /// whoever sends mail cannot have large keys crowd out the policy that condemns it.
    pub(super) fn fitted(self: &Arc<Answer>, held: usize) -> Arc<Answer> {
        let answer = self.bounded();
        let weight = answer.weight();
        let room = if weight <= SMALL_ANSWER_MAX {
            HOOK_ANSWERS_MAX
        } else {
            HOOK_ANSWERS_MAX - HOOK_ANSWERS_MAX / 4
        };
        if held + weight > room { Arc::new(Answer::TempFail) } else { answer }
    }
}

/// Questions, each with its answer once that is in. One memo is owned by one invocation of a hook, and
/// one by the session for what was asked ahead of time; nothing is evicted while a hook runs.
///
/// A question has a number, by which whoever waits for it knows it: the same name is never kept twice.
#[derive(Debug, Default)]
pub struct Memo {
    entries: Vec<(Question, Option<Arc<Answer>>)>,
    weight: usize,
    sent: usize,
}

impl Memo {
    /// The answer, if it is in.
    pub fn find(&self, question: &Question) -> Option<&Arc<Answer>> {
        self.entries.iter().find(|(known, _)| known == question)?.1.as_ref()
    }

    /// Adds an answer; the first one to a question stays.
    pub fn insert(&mut self, question: Question, answer: &Arc<Answer>) {
        let at = self.ask(question);
        self.fill(at, answer);
    }

    /// Octets of all answers.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Number of questions, answered or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of a question that is known already.
    pub(super) fn number(&self, question: &Question) -> Option<usize> {
        self.entries.iter().position(|(known, _)| known == question)
    }

    /// Notes a question to be sent, unless it is known already, and gives its number.
    pub(super) fn ask(&mut self, question: Question) -> usize {
        self.number(&question).unwrap_or_else(|| {
            self.entries.push((question, None));
            self.entries.len() - 1
        })
    }

    /// The question of this number has its answer.
    pub(super) fn is_answered(&self, number: usize) -> bool {
        self.entries.get(number).is_some_and(|(_, answer)| answer.is_some())
    }

    /// Answers a question by its number; the first answer stays.
    pub(super) fn fill(&mut self, number: usize, answer: &Arc<Answer>) {
        if let Some((_, open @ None)) = self.entries.get_mut(number) {
            let answer = answer.bounded();
            self.weight += answer.weight();
            *open = Some(answer);
        }
    }

    /// The question was asked and is still without an answer.
    pub(super) fn is_open(&self, question: &Question) -> bool {
        self.entries.iter().any(|(known, answer)| answer.is_none() && known == question)
    }

    /// The questions without an answer.
    pub(super) fn open(&self) -> impl Iterator<Item = &Question> {
        self.entries.iter().filter(|(_, answer)| answer.is_none()).map(|(question, _)| question)
    }

    /// The question has been given out to be sent.
    pub(super) fn was_sent(&self, question: &Question) -> bool {
        self.number(question).is_some_and(|number| number < self.sent)
    }

    /// Questions to be sent, each given out once.
    pub(super) fn take_unsent(&mut self) -> Vec<Question> {
        let unsent = self.entries.iter().skip(self.sent).filter(|(_, answer)| answer.is_none());
        let questions = unsent.map(|(question, _)| question.clone()).collect();
        self.sent = self.entries.len();
        questions
    }
}

mod pending {
    /// "An answer is missing." Only the lookups of a [`Cx`](crate::plugin::Cx) can make one, so that
    /// a plugin cannot wait for nothing.
    #[derive(Debug)]
    #[must_use = "leave the hook with `?`: it runs again when the answer is in"]
    pub struct Pending(());

    pub(in crate::plugin) fn pending() -> Pending {
        Pending(())
    }
}

pub use pending::Pending;
pub(super) use pending::pending;

/// Answers questions for a hook that may block: there a question waits instead of missing.
pub trait Ask {
    /// The answers, in the order of the questions. The ones not in by `deadline`, on the clock of
    /// [`crate::plugin::Moment::mono`], are [`Answer::TempFail`].
    fn ask(&self, questions: &[Question], deadline: Duration) -> Vec<Arc<Answer>>;

    /// A new spool file, for a plugin that makes a body.
    ///
    /// # Errors
    /// What the system says; `Unsupported` where there is no spool.
    fn file(&self) -> io::Result<Arc<dyn Stored>> {
        Err(io::ErrorKind::Unsupported.into())
    }
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

impl Place<'_> {
    /// A hook that asked for this lane can run here. Who wants workers only wants to be out of the
    /// loop's way, which is so on every thread.
    pub(super) fn serves(self, lane: Lane) -> bool {
        match self {
            Place::Loop => false,
            Place::Worker => lane == Lane::Workers,
            Place::Lane(here, _) => here == lane || lane == Lane::Workers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Kind, Record};

    fn question(name: &str) -> Question {
        Question::Dns(dns::Question::new(name, Kind::Txt))
    }

    fn texts(count: usize, octets: usize) -> Arc<Answer> {
        let record = Record::Text(vec![b'x'; octets].into());
        Arc::new(Answer::Dns(dns::Answer::Found(vec![record; count].into())))
    }

    #[test]
    fn answers_that_are_too_large_are_no_answers() {
        for (answer, kept) in [
            (texts(64, 1), true),
            (texts(65, 1), false),
            (texts(1, ANSWER_OCTETS_MAX - 32), true),
            (texts(1, ANSWER_OCTETS_MAX - 31), false),
            (Arc::new(Answer::Stored(Some(vec![0; ANSWER_OCTETS_MAX].into()))), true),
            (Arc::new(Answer::Stored(Some(vec![0; ANSWER_OCTETS_MAX + 1].into()))), false),
            (Arc::new(Answer::Quiet), true),
        ] {
            let mut memo = Memo::default();
            memo.insert(question("a.example"), &answer);
            let found = memo.find(&question("a.example")).expect("an answer");
            assert_eq!(**found == *answer, kept);
            assert_eq!(**found == Answer::TempFail, !kept);
            assert_eq!(memo.weight(), if kept { answer.weight() } else { 0 });
        }
    }

    #[test]
    fn a_question_is_kept_once_sent_once_and_answered_once() {
        let mut memo = Memo::default();
        let (a, b) = (question("a.example"), question("b.example"));
        assert_eq!((memo.ask(a.clone()), memo.ask(b.clone()), memo.ask(a.clone())), (0, 1, 0));
        assert!(memo.is_open(&a) && !memo.was_sent(&a) && memo.find(&a).is_none());
        memo.insert(b.clone(), &texts(1, 3));
        assert_eq!(memo.take_unsent(), std::slice::from_ref(&a), "the other is answered");
        assert_eq!(memo.take_unsent(), []);
        assert!(memo.was_sent(&a));
        memo.fill(0, &texts(1, 1));
        memo.fill(0, &texts(1, 2));
        assert_eq!(memo.find(&a), Some(&texts(1, 1)), "the first answer stays");
        assert_eq!((memo.len(), memo.open().count()), (2, 0));
        assert_eq!(memo.weight(), texts(1, 1).weight() + texts(1, 3).weight());
    }

    #[test]
    fn places_serve_their_lane() {
        struct Nobody;
        impl Ask for Nobody {
            fn ask(&self, questions: &[Question], _deadline: Duration) -> Vec<Arc<Answer>> {
                questions.iter().map(|_| Arc::new(Answer::TempFail)).collect()
            }
        }
        for (place, workers, scanners) in [
            (Place::Loop, false, false),
            (Place::Worker, true, false),
            (Place::Lane(Lane::Scanners, &Nobody), true, true),
            (Place::Lane(Lane::Writers, &Nobody), true, false),
        ] {
            assert_eq!(place.serves(Lane::Workers), workers);
            assert_eq!(place.serves(Lane::Scanners), scanners);
        }
    }
}
