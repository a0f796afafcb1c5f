//! One client's SMTP dialogue as a state machine (RFC 5321, 1870, 2034, 2920, 3030, 6152, 6531).
//!
//! Octets go in by [`Session::feed`], which uses them up to the first one that cannot be judged
//! before somebody has answered; [`Session::need`] then says what it waits for: more input, a hook's
//! verdict, room for the body, a pause, or the close. Because the machine stops there and nowhere
//! else, pipelining, slow clients and hostile cuts need no code of their own: **what it says does
//! not depend on how the octets were cut.** It takes raw octets, not lines, since the end of a line
//! is already something that attackers play with.
//!
//! Each command is handled in three steps (`commands.rs`): check whether it is legal here and reply
//! if not; ask, by naming a [`Call`]; proceed with the verdict in [`Session::resume`]. Message text
//! is in `data.rs`.
//!
//! A bare LF is never a line end: it is answered 521 and the connection is closed, since a client that
//! sends one is broken or hides a second mail behind it.

mod commands;
mod data;
mod security;
mod types;

use crate::limits;
use crate::smtp::auth;
use crate::smtp::proxy::Introduction;
use crate::smtp::reply::{self, Reply};
use crate::smtp::verdict::Verdict;
use memchr::memchr;
use std::time::Duration;

pub use data::Receiving;
pub use security::{NO_KEYS, NoKeys};
pub use types::{
    Auth, Call, Chunk, Env, Hello, KeyStore, MailFrom, Need, PathOf, Rules, Sink, Tls, Transaction,
};

#[derive(Debug)]
enum State {
    Asking(Call),
    Ready,
    /// An over-long line is swallowed up to its end; how much came, and its last octet.
    Skipping(usize, u8),
    Data,
    Chunk(Chunk, Option<Box<Reply>>),
    /// The next lines belong to AUTH.
    Auth(Box<auth::Exchange>),
    StartingTls,
    /// A proxy has said who its client is.
    Introduced(Box<Introduction>),
    Closing,
}

/// The machine. It owns the envelope and a partial command line, and nothing of the world.
#[derive(Debug)]
pub struct Session {
    state: State,
    hello: Option<Box<Hello>>,
    transaction: Option<Box<Transaction>>,
    receiving: Option<Box<Receiving>>,
    line: Vec<u8>,
    errors: u32,
    junk: u32,
    refused: Option<u32>,
    held: bool,
    pause: Option<Duration>,
    user: Option<Box<str>>,
    login_failures: u32,
}

impl Default for Session {
    fn default() -> Session {
        Session::new()
    }
}

impl Session {
    /// A client has connected: the machine first asks [`Call::Connect`].
    pub fn new() -> Session {
        Session {
            state: State::Asking(Call::Connect),
            hello: None,
            transaction: None,
            receiving: None,
            line: Vec::new(),
            errors: 0,
            junk: 0,
            refused: None,
            held: false,
            pause: None,
            user: None,
            login_failures: 0,
        }
    }

    /// What the machine waits for now.
    pub fn need(&self) -> Need {
        match (&self.state, self.pause) {
            (State::Closing, _) => Need::Close,
            (State::Asking(_), _) => Need::Hook,
            (State::StartingTls, _) => Need::StartTls,
            (State::Introduced(_), _) => Need::Introduced,
            (_, Some(pause)) => Need::Pause(pause),
            _ if self.held => Need::Hold,
            _ => Need::Input,
        }
    }

    /// The question that waits for a verdict.
    pub fn call(&self) -> Option<&Call> {
        match &self.state {
            State::Asking(call) => Some(call),
            _ => None,
        }
    }

    /// How the client introduced itself, once that was accepted.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_deref()
    }

    /// Who the proxy's client is.
    pub fn introduction(&self) -> Option<&Introduction> {
        match &self.state {
            State::Introduced(introduction) => Some(introduction),
            _ => None,
        }
    }

    /// Who has logged in, as a proxy in front of us says.
    pub fn log_in(&mut self, user: &str) {
        self.user = Some(user.into());
    }

    /// Who has logged in.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The envelope, between an accepted MAIL and the end of the transaction.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_deref()
    }

    /// The envelope, for what plugins add to it and take away from it.
    pub fn transaction_mut(&mut self) -> Option<&mut Transaction> {
        self.transaction.as_deref_mut()
    }

    /// Message text is being received.
    pub fn is_receiving(&self) -> bool {
        matches!(self.state, State::Data | State::Chunk(..))
    }

    /// Takes octets and returns how many were used. The rest is offered again once the need has been
    /// met. Stops early when [`Sink::enough`] says so.
    pub fn feed(&mut self, env: &Env<'_>, input: &[u8], sink: &mut dyn Sink) -> usize {
        let mut used = 0;
        while self.need() == Need::Input && !sink.enough() {
            let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) else { break };
            let took = match &self.state {
                State::Ready | State::Auth(_) => self.feed_command(env, rest, sink),
                State::Skipping(..) => self.skip(env, rest, sink),
                State::Data => self.feed_data(env, rest, sink),
                State::Chunk(..) => self.feed_chunk(env, rest, sink),
                State::Asking(_) | State::StartingTls | State::Introduced(_) | State::Closing => {
                    break;
                }
            };
            used += took;
            if took == 0 {
                break;
            }
        }
        used
    }

    /// There is room for message text again.
    pub fn held(&mut self) {
        self.held = false;
    }

    /// The pause is over.
    pub fn unpause(&mut self) {
        self.pause = None;
    }

    /// The message text cannot be kept: the rest is read and thrown away, then this is said.
    pub fn spoil(&mut self, reply: &'static Reply, sink: &mut dyn Sink) {
        if let Some(receiving) = &mut self.receiving {
            receiving.spoil(reply, sink);
        }
        self.held = false;
    }

    /// Ends the session with a last reply: a timeout, a shutdown, an overload.
    pub fn bye(&mut self, reply: &Reply, sink: &mut dyn Sink) {
        if !matches!(self.state, State::Closing) {
            sink.send(reply);
            self.close(sink);
        }
    }

    /// The client is gone: the transaction ends without a word.
    pub fn gone(&mut self, sink: &mut dyn Sink) {
        self.close(sink);
    }

    fn close(&mut self, sink: &mut dyn Sink) {
        self.end_transaction(sink);
        self.state = State::Closing;
    }

    fn end_transaction(&mut self, sink: &mut dyn Sink) {
        self.receiving = None;
        self.held = false;
        if self.transaction.take().is_some() {
            sink.transaction_ended();
        }
    }

    /// Gathers a line up to its LF and obeys it.
    fn feed_command(&mut self, env: &Env<'_>, rest: &[u8], sink: &mut dyn Sink) -> usize {
        let Some(end) = memchr(b'\n', rest) else {
            if self.line.len() + rest.len() > self.line_max(rest) {
                let last = rest.last().copied().unwrap_or_default();
                let length = self.line.len() + rest.len();
                self.line = Vec::new();
                self.skipped(length, last, sink);
            } else {
                self.line.extend_from_slice(rest);
            }
            return rest.len();
        };
        let piece = rest.get(..end).unwrap_or_default();
        let length = self.line.len() + end + 1;
        if length > limits::COMMAND_FLOOD_MAX {
            self.bye(&reply::LINE_FLOOD, sink);
        } else if self.line.is_empty() {
            self.line_ended(env, piece, length, sink);
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(piece);
            self.line_ended(env, &line, length, sink);
        }
        end + 1
    }

    fn line_ended(&mut self, env: &Env<'_>, line: &[u8], length: usize, sink: &mut dyn Sink) {
        let Some(line) = line.strip_suffix(b"\r") else {
            return self.bye(&reply::BARE_LF, sink);
        };
        if length > self.line_max(line) {
            self.auth_broken_off();
            return self.fail(&reply::LINE_TOO_LONG, env, sink);
        }
        if matches!(self.state, State::Auth(_)) {
            return self.auth_line(env, line, sink);
        }
        if line.iter().any(u8::is_ascii_control) {
            return self.fail(&reply::CONTROL_CHARACTER, env, sink);
        }
        sink.dispatching(security::without_secrets(line));
        self.obey(env, line, sink);
    }

    fn skip(&mut self, env: &Env<'_>, rest: &[u8], sink: &mut dyn Sink) -> usize {
        let State::Skipping(length, last) = self.state else { return 0 };
        let Some(end) = memchr(b'\n', rest) else {
            let last = rest.last().copied().unwrap_or(last);
            self.skipped(length + rest.len(), last, sink);
            return rest.len();
        };
        let before = end.checked_sub(1).and_then(|at| rest.get(at)).copied().unwrap_or(last);
        if length + end + 1 > limits::COMMAND_FLOOD_MAX {
            self.bye(&reply::LINE_FLOOD, sink);
        } else if before == b'\r' {
            self.state = State::Ready;
            self.fail(&reply::LINE_TOO_LONG, env, sink);
        } else {
            self.bye(&reply::BARE_LF, sink);
        }
        end + 1
    }

    fn skipped(&mut self, length: usize, last: u8, sink: &mut dyn Sink) {
        if length > limits::COMMAND_FLOOD_MAX {
            self.bye(&reply::LINE_FLOOD, sink);
        } else {
            self.state = State::Skipping(length, last);
        }
    }

    /// A reply that counts as the client's fault.
    fn fail(&mut self, reply: &Reply, env: &Env<'_>, sink: &mut dyn Sink) {
        sink.send(reply);
        self.count_error(env, sink);
    }

    /// Above the soft limit each fault costs a growing pause; the hard limit ends the session.
    fn count_error(&mut self, env: &Env<'_>, sink: &mut dyn Sink) {
        if env.trusted || matches!(self.state, State::Closing) {
            return;
        }
        self.errors += 1;
        if self.errors >= limits::ERRORS_HARD {
            self.bye(&reply::TOO_MANY_ERRORS, sink);
        } else if self.errors > limits::ERRORS_SOFT {
            let over = self.errors - limits::ERRORS_SOFT;
            self.pause = Some(Duration::from_secs(u64::from(over)));
        }
    }

    /// Tells the client of a plugin's refusal; `hard` and `soft` are the codes of this moment.
    fn refuse(
        &mut self,
        verdict: &Verdict,
        (hard, soft): (u16, u16),
        env: &Env<'_>,
        sink: &mut dyn Sink,
    ) {
        let (code, refusal) = match verdict {
            Verdict::Deny(refusal) if refusal.storage => (552, refusal),
            Verdict::Deny(refusal) => (hard, refusal),
            Verdict::DenySoft(refusal) if refusal.disconnect => (421, refusal),
            Verdict::DenySoft(refusal) if refusal.storage => (452, refusal),
            Verdict::DenySoft(refusal) => (soft, refusal),
            Verdict::Ok(_) | Verdict::Declined | Verdict::Unhooked => return,
        };
        sink.send(&Reply::refusal(code, refusal, env.id));
        if refusal.disconnect {
            self.close(sink);
        } else if code >= 500 {
            self.count_error(env, sink);
        }
    }
}

#[cfg(any(test, fuzzing))]
pub use tests_support::fuzz;

#[cfg(any(test, fuzzing))]
#[path = "session/tests_support.rs"]
mod tests_support;

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
