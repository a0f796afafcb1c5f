//! What stands around one run of one plugin ([`Ground`]), and what the run leaves behind ([`Staged`]).
//!
//! The owner of a session lends its parts for a run and takes over what the run did if it counts.
//! Everything here is plain data, so that a table in a test can be a session as well as a real one.

use crate::config::Config;
use crate::mail::edit::{Current, Edit};
use crate::mail::headers::{clean, unfold};
use crate::plugin::content::Contents;
use crate::plugin::facts::{Facts, MailFacts, Note, Notes};
use crate::plugin::log::{Id, Level};
use crate::plugin::question::Memo;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::session::{Call, Hello, Transaction};
use crate::store::{Op, reports::Judged};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Octets of a Message-ID in a reply.
const MESSAGE_ID_MAX: usize = 200;

/// A point in time, given by who runs the hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time since some start.
    pub mono: Duration,
    /// Time since 1970-01-01 UTC.
    pub unix: Duration,
    /// Seconds that local time is ahead of UTC.
    pub utc_offset: i32,
}

impl Moment {
    /// Whole seconds since 1970.
    pub fn unix_seconds(&self) -> i64 {
        i64::try_from(self.unix.as_secs()).unwrap_or(i64::MAX)
    }
}

/// The client's end of the connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address; IPv4-mapped ones are IPv4.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Our address.
    pub local: SocketAddr,
    /// Its reverse name, once known. Shown, never trusted.
    pub name: Option<Box<str>>,
}

impl Peer {
    /// The reverse name, or `Unknown`.
    pub fn shown_name(&self) -> &str {
        self.name.as_deref().unwrap_or("Unknown")
    }
}

/// What is known at the moment of accepting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    /// 1-minute load average of this machine, where it is known.
    pub load: Option<f64>,
    /// Connections from this client's address (IPv6: its /64), this one included.
    pub same_ip: usize,
    /// How many it may have; 0 is no limit. Relay clients and loopback have none.
    pub same_ip_max: usize,
    /// The client's network is one of ours: the list `local` serves it, or it is loopback.
    pub is_local: bool,
    /// The history of this client (nice connections minus naughty ones), where another connection of
    /// it that is still open has found it out. Nothing may be asked at accept.
    pub karma_history: Option<i32>,
}

/// The message for the hooks behind the end of data.
#[derive(Clone, Copy)]
pub struct MessageView<'a> {
    /// The message as received, CR LF line ends. Never changes.
    pub received: &'a [u8],
    /// Its present state, with the edits of the plugins before this one.
    pub current: &'a Current,
    /// Where its octets are kept, for who copies them inside the kernel.
    pub contents: &'a Contents,
}

impl MessageView<'_> {
    /// The Message-ID in angle brackets, cleaned for replies and logs; `<>` if there is none.
    pub fn message_id(&self) -> String {
        let header = self.current.header(self.received);
        let Some(field) = self.current.headers().first(header, "Message-ID") else {
            return "<>".to_string();
        };
        let id = clean(&unfold(field.value), MESSAGE_ID_MAX);
        if id.starts_with('<') { id } else { format!("<{id}>") }
    }
}

/// What an occasion is about, borrowed from the session.
#[derive(Clone, Copy, Debug)]
pub enum Occasion<'a> {
    /// A hook that carries nothing.
    Plain,
    /// The question of the session machine.
    Call(&'a Call),
}

/// What stands around one run of one plugin.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// Of the connection.
    pub id: Id,
    /// The client.
    pub peer: &'a Peer,
    /// The snapshot of the configuration that this session keeps.
    pub config: &'a Config,
    /// What HELO or EHLO said, once accepted.
    pub hello: Option<&'a Hello>,
    /// The envelope, between an accepted MAIL and its end.
    pub envelope: Option<&'a Transaction>,
    /// Findings about the connection.
    pub facts: &'a Facts,
    /// Findings about the message.
    pub mail_facts: &'a MailFacts,
    /// Notes that live as long as the connection.
    pub notes: &'a Notes,
    /// Notes that live as long as the transaction.
    pub mail_notes: &'a Notes,
    /// The message.
    pub message: Option<MessageView<'a>>,
    /// What was known at accept; None where the client did not come through it.
    pub arrival: Option<&'a Arrival>,
    /// What the session asks.
    pub occasion: Occasion<'a>,
    /// When the client connected.
    pub connected: Moment,
    /// Answers to questions that were asked ahead of time.
    pub prefetched: &'a Memo,
}

/// An effect on envelope, message or session.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Delays the next reply.
    Tarpit(Duration),
    /// Changes the message.
    Edit(Edit),
    /// Adds a recipient.
    AddRecipient(Address),
    /// Removes a recipient.
    DeleteRecipient(Address),
    /// Replaces all recipients by one.
    Redirect(Address),
    /// Replaces the reverse-path.
    SetSender(ReversePath),
    /// Changes a record of the store: an operation that can be applied in any order.
    Record(Op),
    /// Adds a message to the reports that domains with a DMARC policy get.
    Report(Box<Judged>),
    /// From the next hook on another list of plugins serves this client.
    UseChain(String),
}

/// All that one run did.
#[derive(Default)]
pub struct Staged {
    pub(super) facts: Option<Box<Facts>>,
    pub(super) mail_facts: Option<Box<MailFacts>>,
    pub(super) karma: i32,
    pub(super) effects: Vec<Effect>,
    pub(super) log: Vec<(Level, String)>,
    pub(super) note: Option<Box<dyn Note>>,
    pub(super) mail_note: Option<Box<dyn Note>>,
    pub(super) not_hooked: bool,
}

impl Staged {
    /// It would change what plugins behind this one see of session or message.
    pub(super) fn changes(&self, ground: &Ground<'_>) -> bool {
        let facts = self.facts.as_deref().is_some_and(|facts| facts != ground.facts);
        let mail_facts = self.mail_facts.as_deref().is_some_and(|it| it != ground.mail_facts);
        facts || mail_facts || !self.effects.is_empty()
    }
}
