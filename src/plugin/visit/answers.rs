//! Questions out, answers in.

use super::Visit;
use crate::limits;
use crate::plugin::chain::Invocation;
use crate::plugin::question::{Answer, Memo, Question};
use std::sync::Arc;
use std::time::Duration;

impl Visit {
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
    pub(super) fn prefetch(&mut self, invocation: &mut Invocation) {
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
}
