//! Questions on their way: who waits for each, what was tried, and when to do something next.

use crate::dns::Question;
use crate::dns::resolver::servers::Edns;
use crate::dns::wire::WireName;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A question in flight.
#[derive(Debug)]
pub(super) struct Flight {
    /// What was asked.
    pub(super) question: Arc<Question>,
    /// The name asked for at the moment: the question's, or where its aliases led.
    pub(super) name: WireName,
    /// Aliases followed so far, and the least lifetime among them.
    pub(super) aliases: usize,
    pub(super) ttl: u32,
    /// Who waits.
    pub(super) askers: Vec<u64>,
    /// It is about the list itself, so its answer is judged by who asked.
    pub(super) is_probe: bool,
    pub(super) started: Duration,
    /// Then it has failed.
    pub(super) deadline: Duration,
    /// Then something has to be done.
    pub(super) timer: Duration,
    /// Questions by UDP of which the answer may still come, the last one at the end.
    pub(super) tries: Vec<Try>,
    /// Tries at each server.
    pub(super) made: Vec<u8>,
    /// The server asked last, and when.
    pub(super) server: usize,
    pub(super) sent: Duration,
    /// How it is asked by TCP.
    pub(super) stream: Stream,
    /// Tells it from others that had the same place before.
    pub(super) serial: u64,
}

/// One datagram that was sent.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) socket: u16,
    pub(super) number: u16,
    pub(super) server: usize,
    pub(super) edns: Edns,
    /// The question as it was sent.
    pub(super) asked: Box<[u8]>,
}

/// How far a question by TCP is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// It is not asked by TCP.
    None,
    /// It waits for a connection to become free.
    Waiting,
    /// It has this one.
    Open(u16),
}

/// All questions in flight.
#[derive(Debug, Default)]
pub(super) struct Flights {
    places: Vec<Option<Flight>>,
    free: Vec<usize>,
    by_question: HashMap<Arc<Question>, usize>,
    by_asker: HashMap<u64, Vec<usize>>,
    timers: BinaryHeap<Reverse<(Duration, usize, u64)>>,
    serials: u64,
}

impl Flights {
    /// Number of questions.
    pub(super) fn len(&self) -> usize {
        self.by_question.len()
    }

    /// A question by its place.
    pub(super) fn at(&mut self, place: usize) -> Option<&mut Flight> {
        self.places.get_mut(place)?.as_mut()
    }

    /// The places of all questions.
    pub(super) fn all(&self) -> Vec<usize> {
        self.by_question.values().copied().collect()
    }

    /// Where a question is, if it is on its way already.
    pub(super) fn find(&self, question: &Question) -> Option<usize> {
        self.by_question.get(question).copied()
    }

    /// Adds a question that nobody waits for yet. Its timer has to be set.
    pub(super) fn add(&mut self, mut flight: Flight) -> usize {
        self.serials += 1;
        flight.serial = self.serials;
        let question = Arc::clone(&flight.question);
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(empty) = self.places.get_mut(place) {
                    *empty = Some(flight);
                }
                place
            }
            None => {
                self.places.push(Some(flight));
                self.places.len() - 1
            }
        };
        self.by_question.insert(question, place);
        place
    }

    /// One more waits for a question; nobody waits twice.
    pub(super) fn join(&mut self, place: usize, asker: u64) {
        let Some(Some(flight)) = self.places.get_mut(place) else { return };
        let places = self.by_asker.entry(asker).or_default();
        if !places.contains(&place) {
            places.push(place);
            flight.askers.push(asker);
        }
    }

    /// Somebody waits for nothing any more.
    pub(super) fn leave(&mut self, asker: u64) {
        for place in self.by_asker.remove(&asker).unwrap_or_default() {
            if let Some(flight) = self.at(place) {
                flight.askers.retain(|other| *other != asker);
            }
        }
    }

    /// Takes a question out.
    pub(super) fn remove(&mut self, place: usize) -> Option<Flight> {
        let flight = self.places.get_mut(place)?.take()?;
        self.free.push(place);
        self.by_question.remove(&flight.question);
        for asker in &flight.askers {
            if let Some(places) = self.by_asker.get_mut(asker) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    self.by_asker.remove(asker);
                }
            }
        }
        Some(flight)
    }

    /// Sets the time at which something has to be done, not behind the deadline.
    pub(super) fn set_timer(&mut self, place: usize, at: Duration) {
        let Some(Some(flight)) = self.places.get_mut(place) else { return };
        flight.timer = at.min(flight.deadline);
        self.timers.push(Reverse((flight.timer, place, flight.serial)));
        // Questions that ended leave their timers behind; a flood of them must not add up.
        if self.timers.len() > 1_024 + 4 * self.places.len() {
            let timers = std::mem::take(&mut self.timers);
            self.timers = timers.into_iter().filter(|timer| self.is_live(timer)).collect();
        }
    }

    fn is_live(&self, Reverse((at, place, serial)): &Reverse<(Duration, usize, u64)>) -> bool {
        let flight = self.places.get(*place).and_then(Option::as_ref);
        flight.is_some_and(|flight| flight.serial == *serial && flight.timer == *at)
    }

    /// The next time that something has to be done; it may turn out that there is nothing.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// A question whose time has come.
    pub(super) fn expired(&mut self, now: Duration) -> Option<usize> {
        while let Some(timer) = self.timers.peek()
            && timer.0.0 <= now
        {
            let timer = self.timers.pop()?;
            if self.is_live(&timer) {
                return Some(timer.0.1);
            }
        }
        None
    }
}
