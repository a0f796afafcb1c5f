//! Message text on its way to the spool, and what happens when it cannot get there.

use super::{Visit, Want};
use crate::plugin::content::{Block, Intake, Stored};
use crate::plugin::log::Level;
use crate::smtp::reply::{self, Reply};
use crate::smtp::session::Call;
use crate::smtp::verdict::Verdict;
use std::sync::Arc;

impl Visit {
    pub(super) fn make_room(&mut self) -> Option<Want> {
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
        self.waste = self.intake.take().or(self.waste.take());
    }

    /// No thread had time for the message: the sender is asked to come back.
    pub fn overloaded(&mut self) {
        self.invocation = None;
        self.progress = None;
        self.line(Level::Error, "no thread had time for the message".to_string());
        self.outcome = Some(Verdict::deny_soft((3, 2), &*reply::OVERLOADED.text));
    }

    /// Text that nobody wants any more, where letting go of it would keep a disk busy.
    pub fn take_waste(&mut self) -> Option<Box<Intake>> {
        self.waste.take().filter(|waste| waste.is_spooling())
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
}
