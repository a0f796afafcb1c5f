//! One thread's connection to the back end: opened when needed, dropped after a failure, and not
//! tried again at once; and what is said of it, which must not fill the log.

use super::super::{Backend, Failure, Open, Say, clock};
use std::mem;
use std::time::{Duration, Instant};

/// How long a back end that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// A complaint is not repeated within this.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// A connection, or the time to try again.
#[derive(Default)]
pub(super) struct Link {
    backend: Option<Box<dyn Backend>>,
    failed_at: Option<Instant>,
}

impl Link {
    /// Does something with the back end.
    pub(super) fn with<T>(
        &mut self,
        opener: &dyn Open,
        act: impl FnOnce(&mut dyn Backend) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let opened = match self.backend.take() {
            Some(backend) => Ok(backend),
            None => opener.open(),
        };
        let done = opened.and_then(|mut backend| {
            let value = act(&mut *backend)?;
            self.backend = Some(backend);
            Ok(value)
        });
        self.failed_at = done.is_err().then(clock::now);
        done
    }

    /// There is a connection.
    pub(super) fn is_open(&self) -> bool {
        self.backend.is_some()
    }

    /// When the back end may be tried again, if it failed.
    pub(super) fn ready_at(&self) -> Option<Instant> {
        self.failed_at.map(|at| at + PAUSE)
    }

    /// The back end may be tried.
    pub(super) fn is_ready(&self) -> bool {
        self.ready_at().is_none_or(|at| at <= clock::now())
    }
}

/// Says what is wrong, once a minute, and when it is over.
#[derive(Default)]
pub(super) struct Complaints {
    said_at: Option<Instant>,
    is_open: bool,
}

impl Complaints {
    /// Something failed.
    pub(super) fn complain(&mut self, say: &Say, what: &str) {
        if self.said_at.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            say(log::Level::Error, &format!("store: {what}"));
            self.said_at = Some(clock::now());
            self.is_open = true;
        }
    }

    /// Nothing fails.
    pub(super) fn relieve(&mut self, say: &Say, what: &str) {
        if mem::take(&mut self.is_open) {
            say(log::Level::Warn, &format!("store: {what}"));
        }
    }
}
