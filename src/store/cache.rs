//! What was read from the back end a moment ago: pure data with a bound and an age.
//!
//! A client that opens ten connections in a row costs one read. Where several front ends share a
//! back end, what another one wrote is seen once the entry is old.

use super::ops::{Key, Row};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Entries.
const ENTRIES_MAX: usize = 2_048;

/// How long an entry holds. Also how long a daemon may not notice what the command line released.
pub(super) const AGE_MAX: Duration = Duration::from_secs(5);

/// Records by key, and the knowledge that there is none.
#[derive(Debug, Default)]
pub(super) struct Cache {
    rows: HashMap<Key, (Option<Row>, Duration)>,
    /// Every key of `rows`, each time it came in, with the time until which it holds.
    order: VecDeque<(Duration, Key)>,
}

impl Cache {
    /// What the back end held, if that is known well enough at `now` on a monotonic clock.
    pub(super) fn find(&self, key: &Key, now: Duration) -> Option<Option<Row>> {
        let (row, until) = self.rows.get(key)?;
        (now < *until).then_some(*row)
    }

    /// Remembers what the back end holds.
    pub(super) fn insert(&mut self, key: Key, row: Option<Row>, now: Duration) {
        let until = now + AGE_MAX;
        self.order.push_back((until, key.clone()));
        self.rows.insert(key, (row, until));
        while let Some((until, key)) = self.order.front()
            && (self.order.len() > ENTRIES_MAX || *until <= now)
        {
            if self.rows.get(key).is_some_and(|(_, newest)| newest == until) {
                self.rows.remove(key);
            }
            self.order.pop_front();
        }
    }

    /// Forgets a record, which has changed.
    pub(super) fn remove(&mut self, key: &Key) {
        self.rows.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ops::Table;

    fn key(text: &str) -> Key {
        Key::new(Table::Karma, text).unwrap()
    }

    #[test]
    fn entries_hold_for_their_age() {
        let mut cache = Cache::default();
        let second = Duration::from_secs(1);
        cache.insert(key("a"), None, second);
        cache.insert(key("b"), Some(Row::default()), second * 2);
        assert_eq!(cache.find(&key("a"), second), Some(None));
        assert_eq!(cache.find(&key("b"), second * 2), Some(Some(Row::default())));
        assert_eq!(cache.find(&key("c"), second), None);
        assert_eq!(cache.find(&key("a"), second + AGE_MAX), None);
        cache.insert(key("c"), None, second + AGE_MAX);
        assert_eq!((cache.rows.len(), cache.order.len()), (2, 2), "the old one is gone");
        cache.remove(&key("b"));
        assert_eq!(cache.find(&key("b"), second * 2), None);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut cache = Cache::default();
        for number in 0..3 * ENTRIES_MAX {
            cache.insert(key(&number.to_string()), None, Duration::ZERO);
            cache.insert(key("again"), None, Duration::ZERO);
            cache.remove(&key("again"));
        }
        assert!(cache.rows.len() <= ENTRIES_MAX && cache.order.len() <= ENTRIES_MAX);
        let last = (3 * ENTRIES_MAX - 1).to_string();
        assert_eq!(cache.find(&key(&last), Duration::ZERO), Some(None));
    }

    #[test]
    fn an_old_place_in_the_order_does_not_evict_a_new_entry() {
        let mut cache = Cache::default();
        cache.insert(key("a"), None, Duration::ZERO);
        cache.insert(key("a"), None, AGE_MAX);
        assert_eq!(cache.find(&key("a"), AGE_MAX), Some(None));
        assert_eq!(cache.order.len(), 1);
    }
}
