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

use crate::limits;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::reply::{self, Reply};
use crate::smtp::verdict::Verdict;
use memchr::memchr;
use std::time::Duration;

pub use data::Receiving;

/// What the machine must know of the configuration. It changes between commands at most.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Our name: greeting, HELO reply, Received.
    pub me: Box<str>,
    /// The greeting behind `220 `.
    pub greeting: Box<str>,
    /// Largest message in octets, line ends counted once; 0 is unlimited.
    pub databytes: u64,
    /// SMTPUTF8 is offered (RFC 6531).
    pub smtputf8: bool,
    /// Recipients of one message.
    pub recipients_max: usize,
}

/// What stands around the machine at one call.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// Configuration.
    pub rules: &'a Rules,
    /// The client as HELO replies show it: `name [address]`.
    pub who: &'a str,
    /// Put behind a plugin's refusal, so that it can be found in the log.
    pub id: &'a str,
    /// The client may relay: no error limits for the office's own machines.
    pub trusted: bool,
    /// Bare CR, bare LF and NUL in messages are repaired instead of refused.
    pub normalize: bool,
}

/// Where the machine's output goes.
pub trait Sink {
    /// A whole reply to the client.
    fn send(&mut self, reply: &Reply);
    /// A command line is about to be obeyed (for the log).
    fn dispatching(&mut self, line: &[u8]);
    /// Octets of message text that can be taken now.
    fn room(&self) -> usize;
    /// Message text.
    fn body(&mut self, text: &[u8]);
    /// The message will be refused: forget its text.
    fn spoil(&mut self);
    /// The transaction is over, with or without a message.
    fn transaction_ended(&mut self);
    /// RSET came where there is no transaction.
    fn reset_without_transaction(&mut self) {}
    /// The caller's turn is over; stop at the next command boundary.
    fn enough(&self) -> bool {
        false
    }
}

/// What the machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// More octets from the client.
    Input,
    /// A verdict on [`Session::call`]; give it with [`Session::resume`].
    Hook,
    /// Room for message text; say so with [`Session::held`].
    Hold,
    /// A pause before anything more is read; end it with [`Session::unpause`].
    Pause(Duration),
    /// The connection is to be closed once everything was sent.
    Close,
}

/// A question to the chain of plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A client has connected; nothing has been said.
    Connect,
    /// HELO or EHLO.
    Helo(Hello),
    /// The raw path of MAIL or RCPT with what follows it. `Ok` with a text replaces it.
    Address(PathOf, Box<[u8]>),
    /// MAIL, parsed.
    Mail(MailFrom),
    /// RCPT, parsed.
    Rcpt(Address),
    /// DATA, or the first BDAT.
    Data(Option<Chunk>),
    /// The message is complete.
    Message,
    /// NOOP.
    Noop,
    /// VRFY and its argument.
    Vrfy(Box<str>),
    /// HELP and its argument.
    Help(Box<str>),
    /// QUIT.
    Quit,
    /// A verb that nobody knows, and the line.
    Unrecognized(Box<str>),
}

/// Which command a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathOf {
    /// MAIL
    Mail,
    /// RCPT
    Rcpt,
}

/// How the client introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// EHLO, not HELO.
    pub esmtp: bool,
    /// The name as given, printable characters only.
    pub name: Box<str>,
}

/// A parsed MAIL command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFrom {
    /// The reverse-path.
    pub reverse_path: ReversePath,
    /// SIZE= (RFC 1870), octets.
    pub size: Option<u64>,
    /// BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
}

/// A BDAT chunk that is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Octets still to come.
    pub left: u64,
    /// Octets announced.
    pub size: u64,
    /// It ends the message.
    pub last: bool,
}

/// The envelope while it is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// What MAIL said.
    pub mail: MailFrom,
    /// Accepted recipients, in order, repeated ones included.
    pub recipients: Vec<Address>,
    /// RCPT commands answered 452 for their number.
    overshoot: usize,
}

impl Transaction {
    /// An envelope without recipients.
    pub fn new(mail: MailFrom) -> Transaction {
        Transaction { mail, recipients: Vec::new(), overshoot: 0 }
    }
}

#[derive(Debug)]
enum State {
    Asking(Call),
    Ready,
    /// An over-long line is swallowed up to its end; how much came, and its last octet.
    Skipping(usize, u8),
    Data,
    Chunk(Chunk, Option<Box<Reply>>),
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
        }
    }

    /// What the machine waits for now.
    pub fn need(&self) -> Need {
        match (&self.state, self.pause) {
            (State::Closing, _) => Need::Close,
            (State::Asking(_), _) => Need::Hook,
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
                State::Ready => self.feed_command(env, rest, sink),
                State::Skipping(..) => self.skip(env, rest, sink),
                State::Data => self.feed_data(env, rest, sink),
                State::Chunk(..) => self.feed_chunk(env, rest, sink),
                State::Asking(_) | State::Closing => break,
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
            if self.line.len() + rest.len() > limits::COMMAND_LINE_MAX {
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
        if length > limits::COMMAND_LINE_MAX {
            return self.fail(&reply::LINE_TOO_LONG, env, sink);
        }
        if line.iter().any(u8::is_ascii_control) {
            return self.fail(&reply::CONTROL_CHARACTER, env, sink);
        }
        sink.dispatching(line);
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
