//! Operations that are not written yet, folded by key: pure data with a bound.
//!
//! A thousand connections of one client are one entry, so what is here grows with the clients and
//! not with their connections. When the back end is away for long, the keys that wait longest are
//! given up first: fresh reputation is worth more.

use super::ops::{Key, Op, Row};
use std::collections::{HashMap, VecDeque};
use std::mem;

/// Octets of all keys and records that wait.
pub(super) const QUEUE_OCTETS_MAX: usize = 4 * 1_024 * 1_024;

/// Octets that an entry takes beside its key.
const ENTRY_OCTETS: usize = 160;

/// A key, its folded changes, and how many they were.
pub(super) type Entry = (Key, Row, u64);

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    rows: HashMap<Key, (Row, u64)>,
    /// Every key of `rows` once, the one that waits longest first.
    order: VecDeque<Key>,
    octets: usize,
    dropped: u64,
}

impl Queue {
    /// Adds an op. One whose key is too long is none: nobody could read its record either.
    pub(super) fn push(&mut self, op: &Op) {
        if let Some(key) = Key::new(op.table, &op.key) {
            self.fold((key, op.row, 1), VecDeque::push_back);
        }
    }

    /// Takes the entries that wait longest.
    pub(super) fn take(&mut self, max: usize) -> Vec<Entry> {
        let mut taken = Vec::with_capacity(max.min(self.order.len()));
        while taken.len() < max
            && let Some(entry) = self.pop()
        {
            taken.push(entry);
        }
        if self.order.is_empty() {
            // A long outage should not be remembered in memory.
            *self = Queue { dropped: self.dropped, ..Queue::default() };
        }
        taken
    }

    /// Puts entries back that could not be written; they wait longest still.
    pub(super) fn put_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.fold(entry, VecDeque::push_front);
        }
    }

    /// What waits for this key.
    pub(super) fn find(&self, key: &Key) -> Option<&Row> {
        self.rows.get(key).map(|(row, _)| row)
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Number of ops that wait.
    pub(super) fn ops(&self) -> u64 {
        self.rows.values().map(|(_, ops)| ops).sum()
    }

    /// Counts ops as dropped.
    pub(super) fn drop_ops(&mut self, ops: u64) {
        self.dropped += ops;
    }

    /// Ops dropped since they were last taken.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets how many were dropped, and tells it.
    pub(super) fn take_dropped(&mut self) -> u64 {
        mem::take(&mut self.dropped)
    }

    fn fold(&mut self, (key, row, ops): Entry, add: fn(&mut VecDeque<Key>, Key)) {
        if let Some((known, count)) = self.rows.get_mut(&key) {
            known.merge(key.table, &row);
            *count += ops;
            return;
        }
        self.octets += weight(&key);
        add(&mut self.order, key.clone());
        self.rows.insert(key, (row, ops));
        while self.octets > QUEUE_OCTETS_MAX
            && let Some((_, _, ops)) = self.pop()
        {
            self.dropped += ops;
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let key = self.order.pop_front()?;
        self.octets = self.octets.saturating_sub(weight(&key));
        let (row, ops) = self.rows.remove(&key)?;
        Some((key, row, ops))
    }
}

fn weight(key: &Key) -> usize {
    key.text.len() + ENTRY_OCTETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ops::{Karma, Outcome, Table};

    fn close(key: &str, at: u64) -> Op {
        Op::close(key, Outcome::Nice, at)
    }

    fn keys(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|(key, ..)| &*key.text).collect()
    }

    #[test]
    fn ops_of_one_key_are_folded() {
        let mut queue = Queue::default();
        for (key, at) in [("a", 1), ("b", 2), ("a", 3)] {
            queue.push(&close(key, at));
        }
        assert_eq!((queue.len(), queue.ops()), (2, 3));
        let a = queue.find(&Key::new(Table::Karma, "a").unwrap()).unwrap();
        assert_eq!((Karma::from(a).nice, Karma::from(a).seen_at), (2, 3));
        assert!(queue.find(&Key::new(Table::Greylist, "a").unwrap()).is_none());
        let taken = queue.take(10);
        assert_eq!((keys(&taken), queue.len(), queue.octets), (vec!["a", "b"], 0, 0));
    }

    #[test]
    fn what_comes_back_goes_first_and_is_folded() {
        let mut queue = Queue::default();
        ["a", "b", "c"].iter().for_each(|key| queue.push(&close(key, 1)));
        let taken = queue.take(2);
        assert_eq!(keys(&taken), ["a", "b"]);
        queue.push(&close("b", 9));
        queue.put_back(taken);
        assert_eq!(queue.ops(), 4);
        let all = queue.take(9);
        assert_eq!(keys(&all), ["a", "c", "b"]);
        assert_eq!((all[2].2, Karma::from(&all[2].1).nice), (2, 2));
    }

    #[test]
    fn the_oldest_are_dropped_and_counted() {
        let mut queue = Queue::default();
        let long = "k".repeat(1_000);
        let fit = QUEUE_OCTETS_MAX / (1_004 + ENTRY_OCTETS);
        for number in 0..fit + 10 {
            queue.push(&close(&format!("{number:04}{long}"), 1));
            queue.push(&close(&format!("{number:04}{long}"), 2));
        }
        assert!(queue.octets <= QUEUE_OCTETS_MAX);
        assert_eq!((queue.len(), queue.rows.len()), (fit, fit));
        assert_eq!((queue.take_dropped(), queue.take_dropped()), (20, 0));
        assert!(queue.take(1)[0].0.text.starts_with("0010"));
        queue.push(&close(&"k".repeat(1_025), 1));
        assert_eq!((queue.take_dropped(), queue.ops()), (0, 2 * (fit as u64 - 1)));
    }
}
