//! Answers that are still valid, bounded in number and in octets.
//!
//! What was used longest ago goes first: the entries are a list in the order of use, threaded through
//! one vector, so that finding, adding and throwing out take the same time however full it is. An
//! answer stands under the question that was asked and under no other name, whatever else a reply may
//! have contained.

use crate::dns::{Answer, Question};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Entries at most.
pub const ENTRIES_MAX: usize = 20_000;

/// Octets at most, by the estimate that [`Cache::octets`] gives.
pub const OCTETS_MAX: usize = 4 * 1_024 * 1_024;

/// No answer is kept for less: zero would let a sender have us ask without end.
const TTL_MIN: Duration = Duration::from_secs(30);

/// Records are kept for at most this long.
const TTL_MAX: Duration = Duration::from_secs(86_400);

/// "There is none" is kept for at most this long (RFC 2308 section 5 finds one to three hours good).
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(3_600);

/// "Nobody knows" is kept for at most this long (RFC 2308 section 7 allows five minutes).
const FAILURE_TTL_MAX: Duration = Duration::from_secs(30);

/// What an entry occupies besides its name, twice counted, and its records.
const ENTRY_OCTETS: usize = 160;

/// Not a place in the vector.
const NONE: usize = usize::MAX;

/// How long an answer whose records say `ttl` seconds is kept.
pub fn lifetime(answer: &Answer, ttl: u32) -> Duration {
    let longest = match answer {
        Answer::Found(_) => TTL_MAX,
        Answer::NoData | Answer::NxDomain => NEGATIVE_TTL_MAX,
        Answer::TempFail => FAILURE_TTL_MAX,
    };
    Duration::from_secs(ttl.into()).clamp(TTL_MIN, longest)
}

/// The cache.
#[derive(Debug)]
pub struct Cache {
    places: HashMap<Arc<Question>, usize>,
    entries: Vec<Entry>,
    /// Used last.
    newest: usize,
    /// Used longest ago.
    oldest: usize,
    octets: usize,
    entries_max: usize,
    octets_max: usize,
}

#[derive(Debug)]
struct Entry {
    question: Arc<Question>,
    answer: Answer,
    until: Duration,
    newer: usize,
    older: usize,
}

impl Cache {
    /// An empty cache with these bounds.
    pub fn new(entries_max: usize, octets_max: usize) -> Cache {
        Cache {
            places: HashMap::new(),
            entries: Vec::new(),
            newest: NONE,
            oldest: NONE,
            octets: 0,
            entries_max,
            octets_max,
        }
    }

    /// The answer, if one is known that holds at `now`.
    pub fn find(&mut self, question: &Question, now: Duration) -> Option<Answer> {
        let place = *self.places.get(question)?;
        if self.entries.get(place)?.until <= now {
            self.remove(place);
            return None;
        }
        self.unlink(place);
        self.link_newest(place);
        self.entries.get(place).map(|entry| entry.answer.clone())
    }

    /// Keeps an answer for [`lifetime`], in place of one that is there. One that alone exceeds the
    /// bounds is not kept.
    pub fn insert(&mut self, question: &Question, answer: &Answer, ttl: u32, now: Duration) {
        if let Some(place) = self.places.get(question) {
            self.remove(*place);
        }
        let until = now + lifetime(answer, ttl);
        let entry = Entry {
            question: Arc::new(question.clone()),
            answer: answer.clone(),
            until,
            newer: NONE,
            older: NONE,
        };
        let octets = entry.octets();
        if octets > self.octets_max || self.entries_max == 0 {
            return;
        }
        while self.entries.len() >= self.entries_max || self.octets + octets > self.octets_max {
            self.remove(self.oldest);
        }
        self.octets += octets;
        let place = self.entries.len();
        self.places.insert(Arc::clone(&entry.question), place);
        self.entries.push(entry);
        self.link_newest(place);
    }

    /// Number of entries, outdated ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Octets of all entries, estimated.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Takes an entry out, and puts the last one of the vector into its place.
    fn remove(&mut self, place: usize) {
        if place >= self.entries.len() {
            return;
        }
        self.unlink(place);
        let gone = self.entries.swap_remove(place);
        self.octets -= gone.octets();
        self.places.remove(&gone.question);
        let Some(moved) = self.entries.get(place) else { return };
        let (newer, older) = (moved.newer, moved.older);
        self.places.insert(Arc::clone(&moved.question), place);
        self.set_older(newer, place);
        self.set_newer(older, place);
    }

    fn unlink(&mut self, place: usize) {
        let Some(entry) = self.entries.get(place) else { return };
        let (newer, older) = (entry.newer, entry.older);
        self.set_older(newer, older);
        self.set_newer(older, newer);
    }

    fn link_newest(&mut self, place: usize) {
        let before = self.newest;
        if let Some(entry) = self.entries.get_mut(place) {
            (entry.newer, entry.older) = (NONE, before);
        }
        self.set_newer(before, place);
        self.newest = place;
    }

    /// Says who comes after `place` in the order from new to old; the head of the list for no place.
    fn set_older(&mut self, place: usize, older: usize) {
        match self.entries.get_mut(place) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    /// The other direction; the tail of the list for no place.
    fn set_newer(&mut self, place: usize, newer: usize) {
        match self.entries.get_mut(place) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }
}

impl Entry {
    fn octets(&self) -> usize {
        ENTRY_OCTETS + self.question.name.len() + self.answer.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Kind, Record};

    const NOON: Duration = Duration::from_secs(43_200);

    fn question(number: usize) -> Question {
        Question::new(&format!("host{number}.example.com"), Kind::A)
    }

    fn text(octets: usize) -> Answer {
        Answer::Found([Record::Text(vec![b'x'; octets].into())].into())
    }

    /// The list in both directions and the map all know the same entries.
    fn check(cache: &Cache) {
        let walk = |start: usize, next: fn(&Entry) -> usize| {
            let mut found = Vec::new();
            let mut place = start;
            while let Some(entry) = cache.entries.get(place) {
                assert!(found.len() < cache.len(), "a loop");
                found.push(place);
                place = next(entry);
            }
            found
        };
        let down = walk(cache.newest, |entry| entry.older);
        let mut up = walk(cache.oldest, |entry| entry.newer);
        up.reverse();
        assert_eq!(down, up);
        assert_eq!((down.len(), cache.places.len()), (cache.len(), cache.len()));
        assert_eq!(cache.octets, cache.entries.iter().map(Entry::octets).sum::<usize>());
        assert!(cache.octets <= cache.octets_max && cache.len() <= cache.entries_max);
        for (question, place) in &cache.places {
            assert_eq!(cache.entries[*place].question, *question);
        }
    }

    #[test]
    fn lifetimes_are_clamped() {
        for (answer, ttl, seconds) in [
            (text(1), 0, 30),
            (text(1), 300, 300),
            (text(1), 86_401, 86_400),
            (text(1), u32::MAX, 86_400),
            (Answer::NxDomain, 0, 30),
            (Answer::NxDomain, 900, 900),
            (Answer::NoData, 86_400, 3_600),
            (Answer::TempFail, 86_400, 30),
        ] {
            assert_eq!(lifetime(&answer, ttl), Duration::from_secs(seconds), "{answer:?} {ttl}");
            let mut cache = Cache::new(10, 10_000);
            cache.insert(&question(1), &answer, ttl, NOON);
            let end = NOON + Duration::from_secs(seconds);
            let just_before = end - Duration::from_millis(1);
            assert_eq!(cache.find(&question(1), just_before), Some(answer));
            assert_eq!(cache.find(&question(1), end), None);
            assert!(cache.is_empty(), "outdated entries go when they are met");
        }
    }

    #[test]
    fn the_least_used_goes_first() {
        let mut cache = Cache::new(3, 100_000);
        for number in 1..=3 {
            cache.insert(&question(number), &text(number), 300, NOON);
        }
        assert!(cache.find(&question(1), NOON).is_some());
        cache.insert(&question(4), &text(4), 300, NOON);
        check(&cache);
        let known = |cache: &mut Cache| {
            (1..=4).filter(|number| cache.find(&question(*number), NOON).is_some()).collect()
        };
        let left: Vec<usize> = known(&mut cache);
        assert_eq!(left, [1, 3, 4]);
    }

    #[test]
    fn another_answer_takes_the_place_of_the_first() {
        let mut cache = Cache::new(3, 100_000);
        cache.insert(&question(1), &text(1), 300, NOON);
        cache.insert(&question(1), &Answer::NxDomain, 300, NOON);
        assert_eq!(cache.find(&question(1), NOON), Some(Answer::NxDomain));
        assert_eq!(cache.len(), 1);
        let other_kind = Question::new("host1.example.com", Kind::Aaaa);
        assert_eq!(cache.find(&other_kind, NOON), None);
    }

    #[test]
    fn a_flood_of_names_stays_within_the_bounds() {
        let mut cache = Cache::new(500, 64 * 1_024);
        for number in 0..20_000 {
            cache.insert(&question(number), &text(number % 700), 300, NOON);
            cache.find(&question(number / 2), NOON + Duration::from_secs((number % 400) as u64));
            if number % 997 == 0 {
                check(&cache);
            }
        }
        check(&cache);
        assert!(cache.len() > 100, "{}", cache.len());
        let before = cache.len();
        cache.insert(&question(0), &text(64 * 1_024), 300, NOON);
        assert_eq!(cache.len(), before, "what is larger than all room throws nothing out");
        assert_eq!(cache.find(&question(0), NOON), None);
    }
}
