//! The end of a transaction, and of the visit.

use super::{Surroundings, Visit};
use crate::plugin::chain::{Observed, observe};
use crate::plugin::cx::Moment;
use crate::plugin::facts::MailFacts;
use crate::plugin::log::{Event, Level, foreign};
use crate::smtp::reply::Reply;
use crate::smtp::session::Call;
use crate::smtp::verdict::Verdict;
use std::sync::Arc;
use std::time::Duration;

/// A message that was taken.
pub(super) struct Taken {
    /// What the queue says of it.
    text: Option<Box<str>>,
    /// The session's message of this number.
    number: u16,
}

impl Visit {
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
        if matches!(self.session.call(), Some(Call::Message))
            && let Some(Verdict::Ok(text)) = self.outcome.take()
        {
            let taken = Taken { text, number: self.messages.saturating_add(1) };
            self.warn_of_duplicate(&taken, "the client was gone before it could be told 250");
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

    /// The last replies never reached the client. To be said before [`Visit::leave`].
    pub fn replies_lost(&mut self) {
        if let Some(taken) = self.taken.take() {
            let why = "the connection broke before the client said that it has read the 250";
            self.warn_of_duplicate(&taken, why);
        }
    }

    /// A message is taken whose 250 the client may not have got: it will send it again, and whoever
    /// wonders why it is there twice finds both in the log.
    fn warn_of_duplicate(&mut self, taken: &Taken, why: &str) {
        let Taken { text, number } = taken;
        let text = foreign(text.as_deref().unwrap_or("Queued").as_bytes());
        let words = format!("message {}.{number} was accepted ({text}), but {why}", self.id);
        self.line(
            Level::Warning,
            format!("{words}: it will probably come again, a possible duplicate"),
        );
    }

    /// The client is told 250 for a message.
    pub(super) fn note_taken(&mut self, text: Option<Box<str>>) {
        self.taken = Some(Box::new(Taken { text, number: self.messages.saturating_add(1) }));
    }

    /// Who says something behind a 250 has read it, as far as one can know.
    pub(super) fn heard(&mut self, command: bool) {
        if command {
            self.taken = None;
        }
    }

    /// Nothing that was found out about one mail is known of the next.
    pub(super) fn forget_mail(&mut self) {
        self.mail_facts = MailFacts::default();
        self.mail_notes.clear();
        self.early_edits = Vec::new();
    }

    pub(super) fn after_transaction(&mut self, now: Moment) {
        let idle_reset = std::mem::take(&mut self.idle_reset);
        if !std::mem::take(&mut self.transaction_ended) {
            if idle_reset {
                let chain = Arc::clone(&self.chain);
                observe(&chain, self, Observed::Reset, now);
            }
            return;
        }
        self.waste = self.intake.take().or(self.waste.take());
        self.mail = None;
        self.block_due = None;
        let chain = Arc::clone(&self.chain);
        observe(&chain, self, Observed::Reset, now);
        self.forget_mail();
        self.messages = self.messages.saturating_add(1);
        self.log.push(Event::Accepted(self.id));
    }
}
