//! The end of a transaction, and of the visit.

use super::{Surroundings, Visit};
use crate::plugin::chain::{Observed, observe};
use crate::plugin::cx::Moment;
use crate::plugin::facts::MailFacts;
use crate::plugin::log::{Event, Level};
use crate::smtp::reply::Reply;
use crate::smtp::session::Call;
use crate::smtp::verdict::Verdict;
use std::sync::Arc;
use std::time::Duration;

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
