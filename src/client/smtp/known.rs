//! Recipients that a server took a moment ago, so that a newsletter or a busy sender does not cost it a
//! connection for each mail.
//!
//! Only what was taken is remembered: a mailbox that was full, or not there yet, may be a minute later.
//! It is the client's memory and not the plugin's, for only who may block ever looks into it.

use crate::client::deadline::Deadline;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Recipients that are remembered.
const RECIPIENTS_MAX: usize = 4_096;

/// How long.
const HOLDS: Duration = Duration::from_secs(300);

/// What is remembered.
#[derive(Debug, Default)]
pub struct Known(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    until: HashMap<Box<str>, Deadline>,
    /// Every key once, the one that came first in front.
    order: VecDeque<Box<str>>,
}

impl Known {
    /// A server has taken this recipient not long ago.
    pub fn holds(&self, server: &str, recipient: &str) -> bool {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.until.get(&*key(server, recipient)).is_some_and(|until| until.left().is_ok())
    }

    /// A server takes this recipient.
    pub fn note(&self, server: &str, recipient: &str) {
        self.note_until(server, recipient, Deadline::after(HOLDS));
    }

    fn note_until(&self, server: &str, recipient: &str, until: Deadline) {
        let key = key(server, recipient);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.until.insert(key.clone(), until).is_none() {
            taken.order.push_back(key);
        }
        while taken.order.len() > RECIPIENTS_MAX {
            if let Some(oldest) = taken.order.pop_front() {
                taken.until.remove(&oldest);
            }
        }
    }
}

/// A blank stands in neither part but in quotes, and then the recipient's own quotes tell them apart.
fn key(server: &str, recipient: &str) -> Box<str> {
    format!("{server} {recipient}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_known_for_a_while() {
        let known = Known::default();
        known.note("192.0.2.1:25", "<a@example.com>");
        for (server, recipient, expected) in [
            ("192.0.2.1:25", "<a@example.com>", true),
            ("192.0.2.1:25", "<A@example.com>", false),
            ("192.0.2.2:25", "<a@example.com>", false),
            ("192.0.2.1:25", "<b@example.com>", false),
        ] {
            assert_eq!(known.holds(server, recipient), expected, "{server} {recipient}");
        }
        known.note_until("192.0.2.1:25", "<a@example.com>", Deadline::after(Duration::ZERO));
        assert!(!known.holds("192.0.2.1:25", "<a@example.com>"));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let known = Known::default();
        for number in 0..=RECIPIENTS_MAX {
            known.note("s", &number.to_string());
            known.note("s", &number.to_string());
        }
        assert!(!known.holds("s", "0") && known.holds("s", "1"));
        let taken = known.0.lock().expect("nobody panicked");
        assert_eq!((taken.until.len(), taken.order.len()), (RECIPIENTS_MAX, RECIPIENTS_MAX));
    }
}
