//! Connections that are kept open for the next message to the same server.
//!
//! There are few, and none for long: a thread of its own takes leave of those that nobody used for half
//! a minute, and ends when none is left. One whose server has said anything since, or hung up, is not
//! used again.

use super::connection::{Connection, Extensions};
use crate::client::deadline::Deadline;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Connections that are kept.
const KEPT_MAX: usize = 4;

/// How long one is kept unused.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Stack of the thread.
const STACK: usize = 128 * 1_024;

/// A connection on which MAIL may be said.
pub(in crate::client) struct Line {
    pub(in crate::client) server: SocketAddr,
    /// The name under which it was reached: under TLS it was proven for this one only.
    pub(in crate::client) host: Box<str>,
    pub(in crate::client) connection: Connection,
    pub(in crate::client) offers: Extensions,
}

/// Connections of one queue. Those that are left are closed with the value.
pub struct Pool {
    shared: Arc<Shared>,
    idle_max: Duration,
}

#[derive(Default)]
struct Shared {
    idle: Mutex<Idle>,
    news: Condvar,
}

#[derive(Default)]
struct Idle {
    /// The newest last.
    lines: Vec<(Deadline, Line)>,
    /// The thread runs.
    watched: bool,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::keeping(IDLE_MAX)
    }
}

impl Pool {
    fn keeping(idle_max: Duration) -> Pool {
        Pool { shared: Arc::default(), idle_max }
    }

    /// A connection to one of these addresses of the host, the one used last, whose conversation now has
    /// this deadline.
    pub(in crate::client) fn take(
        &self,
        servers: &[SocketAddr],
        host: &str,
        deadline: Deadline,
    ) -> Option<Line> {
        let mut idle = lock(&self.shared);
        let fits = |line: &Line| servers.contains(&line.server) && &*line.host == host;
        loop {
            let at = idle.lines.iter().rposition(|(_, line)| fits(line))?;
            let (until, mut line) = idle.lines.remove(at);
            if until.left().is_ok() && line.connection.is_quiet() {
                line.connection.deadline = deadline;
                return Some(line);
            }
        }
    }

    /// Keeps a connection for the next message, or takes leave of it where there are enough.
    pub(in crate::client) fn keep(&self, mut line: Line) {
        let mut idle = lock(&self.shared);
        if idle.lines.len() >= KEPT_MAX || !self.watch(&mut idle) {
            drop(idle);
            line.connection.quit();
            return;
        }
        idle.lines.push((Deadline::after(self.idle_max), line));
    }

    /// Sees to it that the thread runs; false where the system has none to give.
    fn watch(&self, idle: &mut Idle) -> bool {
        if !idle.watched {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("next hop".to_string()).stack_size(STACK);
            idle.watched = thread.spawn(move || see_off(&shared)).is_ok();
        }
        idle.watched
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared).lines.clear();
        self.shared.news.notify_all();
    }
}

/// Takes leave of connections whose time is over, as long as there are any.
fn see_off(shared: &Shared) {
    let mut idle = lock(shared);
    loop {
        // The oldest stands first, and all are kept for the same time.
        let Some((until, _)) = idle.lines.first() else {
            idle.watched = false;
            return;
        };
        if let Ok(left) = until.left() {
            let waited = shared.news.wait_timeout(idle, left);
            idle = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let (_, mut line) = idle.lines.remove(0);
        drop(idle);
        line.connection.deadline = Deadline::after(IDLE_MAX);
        line.connection.quit();
        idle = lock(shared);
    }
}

/// Good even where a holder panicked: a list is changed in one step.
fn lock(shared: &Shared) -> MutexGuard<'_, Idle> {
    shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::smtp::forward::{Mail, NextHop, Outcome, forward};
    use crate::client::smtp::hop::Hop;
    use std::sync::mpsc::{Receiver, channel};

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A server, and what tells of its clients' farewells.
    fn hop() -> (Hop, Receiver<()>) {
        let (sender, farewells) = channel();
        let hop = Hop::start(&[], move |_, line| {
            if line == "QUIT" {
                sender.send(()).expect("the test listens");
            }
            None
        });
        (hop, farewells)
    }

    fn hand(hop: &Hop, pool: &Pool) {
        let (servers, recipients) = ([hop.address()], ["<b@example.com>".to_string()]);
        let me = "mx.example.net";
        let next = NextHop { servers: &servers, me, client: None, secure: None };
        let mail = Mail {
            sender: "<>",
            recipients: &recipients,
            utf8: false,
            eight_bit: false,
            parts: &[b"x\r\n"],
        };
        let (outcome, _) = forward(pool, &next, &mail, Deadline::after(PATIENCE));
        assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
    }

    #[test]
    fn idle_connections_are_seen_off_and_the_thread_with_them() {
        let (hop, farewells) = hop();
        let pool = Pool::keeping(Duration::from_millis(50));
        for _ in 0..2 {
            hand(&hop, &pool);
            farewells.recv_timeout(PATIENCE).expect("a farewell");
        }
        drop(pool);
        let heard = hop.finish();
        assert_eq!((heard.len(), heard[0].lines.last().map(String::as_str)), (2, Some("QUIT")));
    }

    #[test]
    fn few_are_kept() {
        let hops: Vec<_> = (0..KEPT_MAX + 2).map(|_| hop()).collect();
        let pool = Pool::default();
        for (hop, _) in &hops {
            hand(hop, &pool);
        }
        assert_eq!(lock(&pool.shared).lines.len(), KEPT_MAX);
        let (kept, seen_off) = hops.split_at(KEPT_MAX);
        assert!(seen_off.iter().all(|(_, farewells)| farewells.recv_timeout(PATIENCE).is_ok()));
        assert!(kept.iter().all(|(_, farewells)| farewells.try_recv().is_err()));
        hand(&hops[0].0, &pool);
        assert_eq!(hops[0].0.heard().len(), 1, "the one that is kept is used");
    }

    /// The last one out closes what is left, and no thread stays.
    #[test]
    fn nothing_stays_behind() {
        let (hop, _farewells) = hop();
        let pool = Pool::default();
        hand(&hop, &pool);
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        hop.finish();
        let from = Deadline::after(PATIENCE);
        while shared.upgrade().is_some() {
            assert!(from.left().is_ok(), "the thread does not end");
            thread::yield_now();
        }
    }
}
