//! The distinct domains and addresses that a message leads to.

use super::{Host, Levels, Scheme, Uri};
use std::collections::HashMap;

/// Gathers hosts: each registered domain and each address once, up to a bound.
pub struct Hosts<'l> {
    levels: &'l Levels,
    entries: Vec<Entry>,
    /// Hosts that were seen, and their place in `entries`.
    seen: HashMap<Host, usize>,
    max: usize,
    more: bool,
}

/// A registered domain or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The registered domain or the address.
    pub host: Host,
    /// The first whole host name that led to it.
    pub full: Host,
    /// How often it was found.
    pub count: usize,
    /// It was found with a scheme, or in an attribute of HTML, at least once.
    pub linked: bool,
    /// It was found in mail addresses only.
    pub mail: bool,
}

impl<'l> Hosts<'l> {
    /// At most `max` entries.
    pub fn new(levels: &'l Levels, max: usize) -> Hosts<'l> {
        Hosts { levels, entries: Vec::new(), seen: HashMap::new(), max, more: false }
    }

    /// Takes a URI.
    pub fn add(&mut self, uri: &Uri<'_>) {
        let place = match self.seen.get(&uri.host) {
            Some(place) => Some(*place),
            None => self.place(&uri.host),
        };
        let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) else { return };
        entry.count = entry.count.saturating_add(1);
        entry.linked |= !uri.guessed;
        entry.mail &= uri.scheme == Scheme::Mail;
    }

    /// The place of the entry that a new host belongs to.
    fn place(&mut self, full: &Host) -> Option<usize> {
        let host = match full {
            Host::Name(name) => Host::parse(name.registered(self.levels)?.as_bytes())?,
            Host::Ip(_) => *full,
        };
        let known = self.entries.iter().position(|entry| entry.host == host);
        if known.is_none() && self.entries.len() >= self.max {
            self.more = true;
            return None;
        }
        let place = known.unwrap_or(self.entries.len());
        if known.is_none() {
            self.entries.push(Entry { host, full: *full, count: 0, linked: false, mail: true });
        }
        // Names under one domain are as many as a sender likes.
        if self.seen.len() < 4 * self.max {
            self.seen.insert(*full, place);
        }
        Some(place)
    }

    /// What was found, in the order of the message.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// There are more than the bound allows.
    pub fn more(&self) -> bool {
        self.more
    }
}
