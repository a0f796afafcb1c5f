//! The clocks of the store's threads. Ops and caches are given the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic, for pauses and deadlines.
#[expect(clippy::disallowed_methods, reason = "the store's own threads keep their own time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for the age of records and the names of broken files.
#[expect(clippy::disallowed_methods, reason = "the store's own threads keep their own time")]
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
