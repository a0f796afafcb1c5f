//! What goes in and out of the session machine: rules, questions, needs, the envelope.

use crate::smtp::address::{Address, ReversePath};
use crate::smtp::auth::{Credentials, Mechanism};
use crate::smtp::reply::Reply;
use std::time::Duration;

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
    /// The client is a proxy whose word counts: it may say by XCLIENT who its client is.
    pub proxy: bool,
    /// Where the connection stands with TLS.
    pub tls: Tls,
    /// What AUTH can be done with, and who has what it takes.
    pub auth: Auth<'a>,
    /// Recipients of one message, where the queue takes fewer than the rules allow.
    pub recipients_max: usize,
}

impl Env<'_> {
    /// Recipients that one message may have.
    pub(super) fn most_recipients(&self) -> usize {
        self.rules.recipients_max.min(self.recipients_max)
    }
}

/// Where a connection stands with TLS (RFC 3207).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Not offered.
    #[default]
    None,
    /// Offered, and not in use yet.
    Offered,
    /// In use.
    Active,
}

/// What is offered of AUTH (RFC 4954).
#[derive(Clone, Copy)]
pub struct Auth<'a> {
    /// The mechanisms that some plugin can check, in the order in which they are announced.
    pub mechanisms: &'a [Mechanism],
    /// AUTH is offered under TLS only.
    pub needs_tls: bool,
    /// Nobody may send without having logged in (RFC 6409 section 4.3).
    pub required: bool,
    /// Wrong guesses that one connection has.
    pub attempts: u32,
    /// The keys of users, for SCRAM.
    pub keys: &'a dyn KeyStore,
    /// Octets that nobody can guess and that are never used again, for challenges.
    pub nonce: fn() -> [u8; 18],
}

impl Auth<'_> {
    /// Nobody can log in.
    pub const NONE: Auth<'static> = Auth {
        mechanisms: &[],
        needs_tls: true,
        required: false,
        attempts: 1,
        keys: &super::security::NO_KEYS,
        nonce: || [0; 18],
    };
}

impl std::fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("mechanisms", &self.mechanisms).finish_non_exhaustive()
    }
}

/// Who keeps keys for SCRAM (RFC 5802).
pub trait KeyStore {
    /// The keys of a user; of one who does not exist, or has none, such as look real.
    fn keys(&self, user: &str) -> crate::authn::scram::Keys;
}

/// Where the machine's output goes.
pub trait Sink {
    /// A whole reply to the client.
    fn send(&mut self, reply: &Reply);
    /// A command line is about to be obeyed (for the log).
    fn dispatching(&mut self, line: &[u8]);
    /// Octets of message text that can be taken now.
    fn room(&self) -> usize;
    /// The same for a reply that the log must not show.
    fn send_secret(&mut self, reply: &Reply) {
        self.send(reply);
    }
    /// Somebody has failed to log in as this user (empty where none was named).
    fn login_failed(&mut self, user: &str) {
        let _ = user;
    }
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
    /// A proxy has said who its client is ([`Session::introduction`]): the session begins anew with that
    /// client.
    Introduced,
    /// TLS: everything that the client has sent so far is to be forgotten, and once the handshake is
    /// done, [`Session::tls_started`].
    StartTls,
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
    /// Somebody wants to log in.
    Auth(Credentials),
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
    pub(super) overshoot: usize,
}

impl Transaction {
    /// An envelope without recipients.
    pub fn new(mail: MailFrom) -> Transaction {
        Transaction { mail, recipients: Vec::new(), overshoot: 0 }
    }
}
