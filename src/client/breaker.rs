//! Keeps mail from waiting for a program that does not answer ([`Breaker`]).
//!
//! Each mail that asks a scanner which hangs holds a thread and its client for as long as the scanner may
//! take. So after some failures in a row it is left alone for a while: mail is treated at once as after a
//! failure. Then one mail asks again, and what that finds out decides for those behind it.

use std::fmt::{self, Display, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Failures in a row that are one too many.
const FAILURES_MAX: u32 = 3;

/// How long a program is left alone beyond what a question to it may take.
const REST: Duration = Duration::from_secs(30);

/// What is said of a mail that did not ask.
pub const RESTS: &str = "it has failed again and again and is left alone for a while";

/// What is known of one program. Times are those at which a hook began, monotonic: what fails late has
/// begun earlier, hence the rest is counted from there and includes the time that a question may take.
#[derive(Debug)]
pub struct Breaker {
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In a row, with no answer between them.
    failures: u32,
    /// When the next mail may ask; None while all may.
    until: Option<Duration>,
}

/// What the log is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// From now on it is left alone.
    Opened,
    /// It answers again.
    Closed,
}

impl Display for News {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            News::Opened => {
                write!(f, "has failed {FAILURES_MAX} times in a row and is left alone for a while")
            }
            News::Closed => f.write_str("answers again"),
        }
    }
}

impl Breaker {
    /// For a program that may take so long to answer.
    pub fn new(timeout: Duration) -> Breaker {
        Breaker { rest: REST + timeout, state: Mutex::default() }
    }

    /// Whether a mail need not even try: it is not its turn to ask.
    pub fn rests(&self, now: Duration) -> bool {
        self.state().until.is_some_and(|until| now < until)
    }

    /// Whether a mail may ask, right before it does. Where the rest is over, the first one may, and the
    /// others wait another rest for what it finds out: so one that never comes back stops nothing.
    pub fn may_ask(&self, now: Duration) -> bool {
        let mut state = self.state();
        match state.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.until = Some(now + self.rest);
                true
            }
        }
    }

    /// What came of asking. Each opening and each closing is told once.
    pub fn heard(&self, now: Duration, answered: bool) -> Option<News> {
        let mut state = self.state();
        if answered {
            state.failures = 0;
            return state.until.take().map(|_| News::Closed);
        }
        state.failures = state.failures.saturating_add(1);
        if state.until.is_some() || state.failures < FAILURES_MAX {
            return None;
        }
        state.until = Some(now + self.rest);
        Some(News::Opened)
    }

    /// Good even where a thread has died with the lock in its hand: it is two numbers.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: u64 = 20;

    /// Asks at this second if that is allowed; whether it was, and the news.
    fn ask(breaker: &Breaker, second: u64, answers: bool) -> (bool, Option<News>) {
        let now = Duration::from_secs(second);
        let rests = breaker.rests(now);
        let may = breaker.may_ask(now);
        assert_eq!(may, !rests, "{second}");
        (may, if may { breaker.heard(now, answers) } else { None })
    }

    #[test]
    fn it_opens_and_closes_once_each() {
        let breaker = Breaker::new(Duration::from_secs(TIMEOUT));
        for (second, answers, asks, news) in [
            (0, false, true, None),
            (1, false, true, None),
            // An answer between them: not in a row.
            (2, true, true, None),
            (3, false, true, None),
            (4, false, true, None),
            (5, false, true, Some(News::Opened)),
            (5, true, false, None),
            (54, true, false, None),
            // One mail asks, in vain.
            (55, false, true, None),
            (56, true, false, None),
            (104, true, false, None),
            // And again, and all may.
            (105, true, true, Some(News::Closed)),
            (105, true, true, None),
            (106, false, true, None),
            (107, false, true, None),
            (108, false, true, Some(News::Opened)),
        ] {
            assert_eq!(ask(&breaker, second, answers), (asks, news), "{second}");
        }
    }

    #[test]
    fn one_mail_asks_and_need_not_come_back() {
        let at = Duration::from_secs;
        let breaker = Breaker::new(at(TIMEOUT));
        let news: Vec<_> = (0..20).filter_map(|_| breaker.heard(at(0), false)).collect();
        assert_eq!(news, [News::Opened], "those who had asked by then fail too");
        assert!(!breaker.rests(at(50)) && breaker.may_ask(at(50)));
        assert!(breaker.rests(at(50)) && !breaker.may_ask(at(50)), "it is only one");
        assert!(!breaker.may_ask(at(99)));
        assert!(breaker.may_ask(at(100)), "nobody has heard of it");
        // A late answer to an earlier question is an answer.
        assert_eq!(breaker.heard(at(1), true), Some(News::Closed));
        assert!(breaker.may_ask(at(100)));
    }
}
