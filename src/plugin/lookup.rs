//! How one run of a plugin looks things up: what is known, what is missing, what it may still ask.
//!
//! The loop and the workers wait for nobody, so there a missing answer ends the run. On a lane the
//! same question waits, within the budget that the hook has left, and the run goes on. A plugin cannot
//! tell the two apart, but for being run once instead of twice.

use crate::authn;
use crate::dns;
use crate::limits::HOOK_QUESTIONS_MAX;
use crate::plugin::cx::Cx;
use crate::plugin::question::{Answer, Ask, Lane, Memo, Pending, Place, Question, Token, pending};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// What one run asked.
#[derive(Default)]
pub(super) struct Asked {
    /// Questions whose answers are missing, a lane among them. They make the run count for nothing.
    pub(super) missed: Vec<Question>,
    /// Questions for later hooks, with the answer where this run knew it.
    pub(super) wanted: Vec<(Question, Option<Arc<Answer>>)>,
    /// Answers that a lane waited for.
    pub(super) answered: Vec<(Question, Arc<Answer>)>,
    /// The budget ended in this run.
    pub(super) spent: bool,
}

/// The eyes of one run.
pub(super) struct Lookup<'a> {
    /// The hook's answers.
    pub(super) memo: &'a Memo,
    /// The session's answers to what was asked ahead of time.
    pub(super) prefetched: &'a Memo,
    /// Where the plugin runs.
    pub(super) place: Place<'a>,
    /// The budget is spent: what is not known now never will be.
    pub(super) closed: bool,
    /// How long a lane may wait, on the clock of [`crate::plugin::Moment::mono`].
    pub(super) deadline: Duration,
    /// What was asked so far.
    pub(super) asked: RefCell<Asked>,
}

impl<'a> Lookup<'a> {
    /// One answer.
    pub(super) fn find(&self, question: Question) -> Result<Arc<Answer>, Pending> {
        if let Some(answer) = self.known(&question) {
            return Ok(answer);
        }
        let answers = self.find_all(&[question])?;
        Ok(answers.into_iter().next().unwrap_or_else(nobody_knows))
    }

    /// Answers in the order of the questions. All that are missing are missed, or waited for, together.
    pub(super) fn find_all(&self, questions: &[Question]) -> Result<Vec<Arc<Answer>>, Pending> {
        let mut missing: Vec<Question> = Vec::new();
        for question in questions {
            if self.known(question).is_none() && !missing.contains(question) {
                missing.push(question.clone());
            }
        }
        if !missing.is_empty() && !self.is_closed() {
            match self.place {
                Place::Lane(_, ask) => self.wait_for(missing, ask),
                Place::Loop | Place::Worker => {
                    missing.into_iter().for_each(|question| self.miss(question));
                    return Err(pending());
                }
            }
        }
        Ok(questions.iter().map(|it| self.known(it).unwrap_or_else(nobody_knows)).collect())
    }

    /// Permission to block, where it can be had.
    pub(super) fn lane(&self, lane: Lane) -> Result<Token<'a>, Pending> {
        if self.place.serves(lane) {
            return Ok(Token { lane, here: PhantomData });
        }
        Err(self.miss_lane(lane))
    }

    /// The run has to be made on that lane.
    pub(super) fn miss_lane(&self, lane: Lane) -> Pending {
        self.miss(Question::Lane(lane));
        pending()
    }

    /// A question for a later hook.
    pub(super) fn want(&self, question: Question) {
        let answer = self.memo.find(&question).map(Arc::clone);
        let mut asked = self.asked.borrow_mut();
        let known = self.prefetched.number(&question).is_some()
            || asked.wanted.iter().any(|(wanted, _)| *wanted == question);
        if !known && asked.wanted.len() < HOOK_QUESTIONS_MAX {
            asked.wanted.push((question, answer));
        }
    }

    fn known(&self, question: &Question) -> Option<Arc<Answer>> {
        let kept = self.memo.find(question).or_else(|| self.prefetched.find(question));
        kept.map(Arc::clone).or_else(|| {
            let asked = self.asked.borrow();
            let (_, answer) = asked.answered.iter().find(|(known, _)| known == question)?;
            Some(Arc::clone(answer))
        })
    }

    fn is_closed(&self) -> bool {
        self.closed || self.asked.borrow().spent
    }

    /// One more than the budget is kept, so that the hook sees that it is spent.
    fn miss(&self, question: Question) {
        let mut asked = self.asked.borrow_mut();
        let is_lane = matches!(question, Question::Lane(_));
        if is_lane || asked.missed.len() <= HOOK_QUESTIONS_MAX {
            asked.missed.push(question);
        }
    }

    /// Waits on a lane, as far as the budget goes.
    fn wait_for(&self, mut missing: Vec<Question>, ask: &dyn Ask) {
        let mut asked = self.asked.borrow_mut();
        let known = self.memo.len() + asked.answered.len();
        let room = HOOK_QUESTIONS_MAX.saturating_sub(known);
        asked.spent |= missing.len() > room;
        missing.truncate(room);
        if missing.is_empty() {
            return;
        }
        let answers = ask.ask(&missing, self.deadline);
        let answers = answers.into_iter().chain(std::iter::repeat_with(nobody_knows));
        let here: usize = asked.answered.iter().map(|(_, answer)| answer.weight()).sum();
        let mut weight = self.memo.weight() + here;
        for (question, answer) in missing.into_iter().zip(answers) {
            let answer = answer.fitted(weight);
            weight += answer.weight();
            asked.answered.push((question, answer));
        }
    }
}

fn nobody_knows() -> Arc<Answer> {
    Arc::new(Answer::TempFail)
}

/// An answer that the resolver was asked for.
pub(super) fn of_resolver(answer: &Answer) -> dns::Answer {
    match answer {
        Answer::Dns(answer) => answer.clone(),
        _ => dns::Answer::TempFail,
    }
}

impl Cx<'_> {
    /// Asks lists several things at once: None where one is left alone for a while, which was logged
    /// when that began.
    ///
    /// # Errors
    /// [`Pending`] while any answer is missing.
    pub fn dns_lists(
        &self,
        questions: impl IntoIterator<Item = dns::Question>,
    ) -> Result<Vec<Option<dns::Answer>>, Pending> {
        let questions: Vec<_> = questions.into_iter().map(Question::Dns).collect();
        let answers = self.lookup.find_all(&questions)?;
        let known = answers.iter().map(|it| (**it != Answer::Rests).then(|| of_resolver(it)));
        Ok(known.collect())
    }
}

/// The questions of [`crate::authn`], asked through a plugin's window.
pub(super) struct Resolver<'a, 'b>(pub(super) &'b Cx<'a>);

impl authn::Lookup for Resolver<'_, '_> {
    type Missing = Pending;

    fn ask(&mut self, question: dns::Question) -> Result<dns::Answer, Pending> {
        self.0.dns(question)
    }

    fn ask_all(&mut self, questions: Vec<dns::Question>) -> Result<Vec<dns::Answer>, Pending> {
        self.0.dns_all(questions)
    }
}
