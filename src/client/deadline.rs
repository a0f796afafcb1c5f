//! The one deadline of a whole conversation with another program.
//!
//! A limit for each read is no limit: a peer that sends one octet a second keeps to it for ever. So a
//! client is given a point in time, and every single wait is only allowed what is left until then.

use std::io;
use std::time::{Duration, Instant};

/// When a conversation has to be over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// This long from now.
    #[expect(clippy::disallowed_methods, reason = "a client on a lane waits for another program")]
    pub fn after(limit: Duration) -> Deadline {
        Deadline(Instant::now() + limit)
    }

    /// What is left, never zero: the system takes a zero for no limit at all.
    ///
    /// # Errors
    /// `TimedOut` when the time is over.
    #[expect(clippy::disallowed_methods, reason = "a client on a lane waits for another program")]
    pub fn left(&self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// This deadline, or this long from now if that is sooner.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Deadline {
        Deadline(self.0.min(Deadline::after(limit).0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_never_zero() {
        let none = Deadline::after(Duration::ZERO);
        assert_eq!(none.left().map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        let long = Deadline::after(Duration::from_secs(100));
        assert!(long.left().is_ok_and(|left| left > Duration::from_secs(90)));
        assert!(long.within(Duration::from_secs(5)).left().is_ok_and(|it| it.as_secs() < 6));
        assert!(none.within(Duration::from_secs(5)).left().is_err());
    }
}
