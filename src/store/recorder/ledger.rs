//! The recorder's other work: DMARC's results, which wait in a queue of their own and go to a file of
//! their own. Neither that file nor the store can hold the other up for longer than one failure.

use super::super::reports::{Judged, Reports, Settings};
use super::super::{Failure, Say, clock};
use super::link::Complaints;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Messages that wait; a few MiB. Of more the latest are dropped.
const QUEUE_MAX: usize = 1_000;

/// So many that wait are written at once.
const BATCH: usize = 100;

/// How long messages gather before they are written.
const GATHER: Duration = Duration::from_secs(1);

/// How long a file that failed is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// What waits to be written.
#[derive(Default)]
pub(super) struct Waiting {
    messages: VecDeque<Judged>,
    due: Option<Instant>,
    dropped: usize,
}

impl Waiting {
    /// Adds messages. True where the recorder has to be woken.
    pub(super) fn add(&mut self, messages: Vec<Judged>) -> bool {
        let room = QUEUE_MAX.saturating_sub(self.messages.len());
        self.dropped += messages.len().saturating_sub(room);
        self.messages.extend(messages.into_iter().take(room));
        let is_first = self.due.is_none() && !self.messages.is_empty();
        if is_first {
            self.due = Some(clock::now() + GATHER);
        }
        is_first
    }

    /// When to write.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes those that wait longest; the next batch is due at once.
    pub(super) fn take(&mut self) -> (Vec<Judged>, usize) {
        let count = self.messages.len().min(BATCH);
        let taken = self.messages.drain(..count).collect();
        self.due = (!self.messages.is_empty()).then(clock::now);
        (taken, std::mem::take(&mut self.dropped))
    }

    /// Puts back what could not be written; it waits longest still.
    fn put_back(&mut self, messages: Vec<Judged>, dropped: usize) {
        messages.into_iter().rev().for_each(|message| self.messages.push_front(message));
        self.dropped += dropped + self.messages.len().saturating_sub(QUEUE_MAX);
        self.messages.truncate(QUEUE_MAX);
        self.due = Some(clock::now() + PAUSE);
    }
}

/// The recorder's connection to the file.
#[derive(Default)]
pub(super) struct Ledger {
    file: Option<Reports>,
    complaints: Complaints,
}

impl Ledger {
    /// Writes a batch. What comes back is to be put back.
    pub(super) fn write(
        &mut self,
        settings: &Settings,
        say: &Say,
        (messages, dropped): (Vec<Judged>, usize),
    ) -> Option<PutBack> {
        match self.try_write(settings, &messages) {
            Ok(left_out) => {
                if left_out + dropped > 0 {
                    let lost = left_out + dropped;
                    let what = format!("{lost} messages are in no DMARC report: too many at once");
                    self.complaints.complain(say, &what);
                } else {
                    self.complaints.relieve(say, "messages are recorded for DMARC reports again");
                }
                None
            }
            Err(failure) => {
                self.file = None;
                self.complaints.complain(say, &format!("no record for DMARC reports: {failure}"));
                Some(PutBack { messages, dropped })
            }
        }
    }

    fn try_write(&mut self, settings: &Settings, messages: &[Judged]) -> Result<usize, Failure> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Reports::open(settings)?),
        };
        file.write(messages, clock::unix_seconds())
    }
}

/// A batch that was not written.
pub(super) struct PutBack {
    messages: Vec<Judged>,
    dropped: usize,
}

impl PutBack {
    /// Lets it wait again.
    pub(super) fn into(self, waiting: &mut Waiting) {
        waiting.put_back(self.messages, self.dropped);
    }

    /// How many messages it has, with those that were dropped before.
    pub(super) fn lost(&self) -> usize {
        self.messages.len() + self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::reports::tests::judged;
    use super::*;

    #[test]
    fn the_queue_is_bounded_and_drops_the_latest() {
        let mut waiting = Waiting::default();
        let many = |count: usize| vec![judged("192.0.2.1"); count];
        assert!(!waiting.add(Vec::new()) && waiting.due().is_none());
        assert!(waiting.add(many(QUEUE_MAX - 1)));
        assert!(!waiting.add(many(3)));
        let (taken, dropped) = waiting.take();
        assert_eq!((taken.len(), dropped, waiting.messages.len()), (BATCH, 2, QUEUE_MAX - BATCH));
        waiting.add(many(1));
        PutBack { messages: taken, dropped }.into(&mut waiting);
        assert_eq!((waiting.messages.len(), waiting.dropped), (QUEUE_MAX, 3));
        while !waiting.is_empty() {
            waiting.take();
        }
        assert!(waiting.due().is_none());
    }
}
