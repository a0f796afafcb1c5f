//! The clocks: everybody else is given the time.

use crate::plugin::Moment;
use crate::sys;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time since the process first asked.
#[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
pub fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Time since 1970-01-01 UTC; zero where the system's clock is before that.
#[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Both, with the offset of local time.
pub fn moment() -> Moment {
    let unix = unix();
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    Moment { mono: monotonic(), unix, utc_offset: sys::time::utc_offset(seconds) }
}

/// The load of the machine, read through a trait so that a busy machine fails no test.
pub trait LoadAverage: Send {
    /// The 1-minute load average; None where the system does not say.
    fn one_minute(&self) -> Option<f64>;
}

/// What the kernel says.
pub struct SystemLoad;

impl LoadAverage for SystemLoad {
    fn one_minute(&self) -> Option<f64> {
        sys::load::one_minute()
    }
}

/// The load, asked for at most once in ten seconds.
pub struct CachedLoad {
    source: Box<dyn LoadAverage>,
    at: Option<Duration>,
    load: Option<f64>,
}

impl CachedLoad {
    const AGE_MAX: Duration = Duration::from_secs(10);

    /// Nothing is known yet.
    pub fn new(source: Box<dyn LoadAverage>) -> CachedLoad {
        CachedLoad { source, at: None, load: None }
    }

    /// The load at `now`, or at most ten seconds before.
    pub fn at(&mut self, now: Duration) -> Option<f64> {
        if self.at.is_none_or(|at| now.saturating_sub(at) >= CachedLoad::AGE_MAX) {
            self.at = Some(now);
            self.load = self.source.one_minute();
        }
        self.load
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Counting(Arc<AtomicU32>);

    impl LoadAverage for Counting {
        fn one_minute(&self) -> Option<f64> {
            Some(f64::from(self.0.fetch_add(1, Ordering::Relaxed)))
        }
    }

    #[test]
    fn the_load_is_read_every_ten_seconds() {
        let reads = Arc::new(AtomicU32::new(0));
        let mut load = CachedLoad::new(Box::new(Counting(Arc::clone(&reads))));
        for (second, expected) in [(0, 0.0), (9, 0.0), (10, 1.0), (19, 1.0), (25, 2.0)] {
            assert_eq!(load.at(Duration::from_secs(second)), Some(expected));
        }
        assert_eq!(reads.load(Ordering::Relaxed), 3);
    }
}
