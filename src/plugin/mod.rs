//! The plugin interface, and how plugins are run. This page is the manual for who writes one.
//!
//! # A plugin
//!
//! A plugin is one file under `src/plugins/` and one line in its registry. It is a type that
//! implements [`Plugin`]: a set of hooks, and one method for each. A hook method is written straight
//! down, as if every answer were already there:
//!
//! ```
//! use mailreeve::dns::{Kind, Question};
//! use mailreeve::plugin::{Cx, Hook, HookSet, Hooked, Plugin, Verdict};
//!
//! struct NoName;
//!
//! impl Plugin for NoName {
//!     fn hooks(&self) -> HookSet {
//!         HookSet::of(&[Hook::Mail])
//!     }
//!     fn mail(&self, cx: &mut Cx<'_>, mail: &mailreeve::smtp::session::MailFrom) -> Hooked {
//!         let Some(sender) = mail.reverse_path.address() else { return Ok(Verdict::Declined) };
//!         let answer = cx.dns(Question::new(sender.domain(), Kind::Mx))?;
//!         if answer == mailreeve::dns::Answer::NxDomain {
//!             cx.karma(-1);
//!             return Ok(Verdict::deny((1, 8), "your domain does not exist"));
//!         }
//!         Ok(Verdict::Declined)
//!     }
//! }
//! ```
//!
//! # Restartable hooks
//!
//! Where the answer is not there, `?` leaves the method with [`Pending`], all that it staged is thrown
//! away, and the session is parked. When the answers are in, the method runs again from its top and
//! finds them. So a plugin is a pure function of session, message and answers: tested with a table,
//! replayed offline, and thousands of sessions wait for slow block lists without a thread each. It
//! follows that
//!
//! * a plugin keeps nothing mutable, and asks no clock, file or environment: everything that may
//!   change is a [`Question`]; [`Cx::now`] stands still while a hook runs; [`Cx::random`] gives the
//!   same numbers in each run of it;
//! * the *set of missed questions* decides whether a hook is pending, not what it returned: a
//!   forgotten `?` neither passes nor refuses anything;
//! * "nobody knows" is an answer ([`crate::dns::Answer::TempFail`]), which a plugin must judge;
//! * what it does is staged ([`Cx::karma`], [`Cx::insert_header`], …) and counts once, when the run
//!   commits;
//! * blocking needs a [`Token`] from [`Cx::lane`], which moves the hook to a thread that may block.
//!
//! While one plugin waits, those behind it in the chain are run on speculation, only to send their
//! questions too (`chain/invocation.rs` has the rules). Verdicts keep the order of the `plugins` file.
//!
//! # The parts
//!
//! `cx.rs` is what a hook sees and can do, `chain/` runs the plugins of one hook, `visit/` is one
//! client's whole visit (session machine, chain, message) without any I/O, `policy.rs` and `args.rs`
//! read the arguments that plugins share, `lists.rs` the files of patterns, `own.rs` the settings of
//! single recipients, `signatures.rs` what those have in common that look for files by their first octets,
//! `spam_fields.rs` what those have in common that ask a spam filter, `draft.rs` is for bodies that are made anew, `facts.rs` holds what plugins know of each other.

pub mod args;
pub mod chain;
pub mod codes;
pub mod content;
pub mod cx;
pub mod dkim_keys;
pub mod dmarc_discovery;
pub mod draft;
pub mod facts;
pub mod ground;
pub mod hosted;
pub mod lists;
pub mod log;
pub mod login;
mod lookup;
pub mod next_hop;
pub mod own;
pub mod policy;
pub mod program;
pub mod question;
pub mod sealing;
pub mod signatures;
pub mod site;
pub mod spam_fields;
pub mod uri_lists;
pub mod visit;
pub mod zones;

pub use args::Args;
pub use chain::{Chain, Loaded};
pub use cx::{Arrival, Cx, Ground, MessageView, Moment, Peer};
pub use facts::{ClientCertificate, Facts, Immunity, MailFacts, RejectType, Secure, Spf};
pub use own::{ConfigFor, Own};
pub use policy::{Policy, Reject};
pub use question::{Ask, Lane, Pending, Place, Question, Token};

pub use crate::smtp::verdict::{Refusal, Verdict};

use crate::authn::dkim::published::ToPublish;
use crate::authn::scram::Keys;
use crate::config::types::Role;
use crate::smtp::address::Address;
use crate::smtp::auth::{Credentials, Mechanism};
use crate::smtp::session::{Hello, MailFrom, PathOf};

/// What a hook method returns: a verdict, or "an answer is missing".
pub type Hooked = Result<Verdict, Pending>;

/// The moments at which plugins are asked, more or less in the order they fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Hook {
    /// A connection was accepted; nothing may be asked. qpsmtpd: `pre-connection`.
    Accept,
    /// Before the greeting.
    Connect,
    /// After `connect`, still before the greeting.
    Greet,
    /// HELO and EHLO.
    Helo,
    /// AUTH: somebody wants to log in.
    Auth,
    /// The raw path of MAIL and RCPT. qpsmtpd: `mail_pre`, `rcpt_pre`.
    Address,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, or the first BDAT.
    Data,
    /// The message is in; its header can be read. qpsmtpd: `data_headers_end`.
    Headers,
    /// The message as a whole. qpsmtpd: `data_post`.
    Message,
    /// After all edits: sees the final octets, may add header fields only.
    Seal,
    /// Hands the message over.
    Queue,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// A verb that nobody knows.
    Unrecognized,
    /// Observer: somebody has logged in. qpsmtpd: `valid_auth`.
    Authenticated,
    /// Observer: the message was handed over. qpsmtpd's logs call it `queue`.
    Queued,
    /// Observer: a plugin refused. qpsmtpd: `deny`.
    Denied,
    /// Observer: a transaction ended. qpsmtpd: `reset_transaction`.
    Reset,
    /// Observer: the connection ends, whoever ended it.
    Disconnect,
    /// Observer: after `disconnect`. qpsmtpd: `post-connection`.
    Closed,
}

impl Hook {
    /// How many there are.
    pub const COUNT: usize = Hook::Closed as usize + 1;

    /// All, in order.
    pub const ALL: [Hook; Hook::COUNT] = [
        Hook::Accept,
        Hook::Connect,
        Hook::Greet,
        Hook::Helo,
        Hook::Auth,
        Hook::Address,
        Hook::Mail,
        Hook::Rcpt,
        Hook::Data,
        Hook::Headers,
        Hook::Message,
        Hook::Seal,
        Hook::Queue,
        Hook::Noop,
        Hook::Vrfy,
        Hook::Help,
        Hook::Quit,
        Hook::Unrecognized,
        Hook::Authenticated,
        Hook::Queued,
        Hook::Denied,
        Hook::Reset,
        Hook::Disconnect,
        Hook::Closed,
    ];

    /// qpsmtpd's name, as log lines print it and as manuals and `naughty reject HOOK` use it.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Accept => "pre-connection",
            Hook::Connect => "connect",
            Hook::Greet => "greet",
            Hook::Helo => "helo",
            Hook::Auth => "auth",
            Hook::Address => "address",
            Hook::Mail => "mail",
            Hook::Rcpt => "rcpt",
            Hook::Data => "data",
            Hook::Headers => "data_headers_end",
            Hook::Message => "data_post",
            Hook::Seal => "seal",
            Hook::Authenticated => "valid_auth",
            Hook::Queue | Hook::Queued => "queue",
            Hook::Noop => "noop",
            Hook::Vrfy => "vrfy",
            Hook::Help => "help",
            Hook::Quit => "quit",
            Hook::Unrecognized => "unrecognized_command",
            Hook::Denied => "deny",
            Hook::Reset => "reset_transaction",
            Hook::Disconnect => "disconnect",
            Hook::Closed => "post-connection",
        }
    }
}

/// A set of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookSet(u32);

impl HookSet {
    /// The set of these.
    pub const fn of(hooks: &[Hook]) -> HookSet {
        let mut bits = 0;
        let mut rest = hooks;
        while let Some((hook, others)) = rest.split_first() {
            bits |= 1 << *hook as u32;
            rest = others;
        }
        HookSet(bits)
    }

    /// This hook is in the set.
    pub const fn has(self, hook: Hook) -> bool {
        self.0 & (1 << hook as u32) != 0
    }

    /// The set with one more.
    #[must_use]
    pub const fn with(self, hook: Hook) -> HookSet {
        HookSet(self.0 | 1 << hook as u32)
    }
}

/// A block or white list that a plugin asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The name under which it is asked.
    pub name: String,
    /// It lists names, not addresses.
    pub of_names: bool,
}

/// A refusal, as observers are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'a> {
    /// The plugin's name in logs (`queue::maildir`).
    pub plugin: &'a str,
    /// What it said.
    pub verdict: &'a Verdict,
}

/// A message that was handed over, as observers are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Queued<'a> {
    /// The plugin that took it.
    pub plugin: &'a str,
    /// What the client is told.
    pub text: &'a str,
}

/// One filter. Every method has a default that means "not my hook"; a test calls every plugin at
/// every hook to see that [`Plugin::hooks`] tells the truth.
#[expect(unused_variables, reason = "the defaults show the parameters' names to who implements")]
pub trait Plugin: Send + Sync {
    /// The hooks it implements.
    fn hooks(&self) -> HookSet;

    /// While it waits, later plugins must not be run on speculation: it may grant relay or immunity,
    /// or rewrite the mail.
    fn gates(&self) -> bool {
        false
    }

    /// The lists that it asks, so that dead ones are found out before they do harm.
    fn zones(&self) -> Vec<Zone> {
        Vec::new()
    }

    /// It concludes something from a name that exists in DNS, or does not. Then it is found out at
    /// start whether the name servers make names up.
    fn relies_on_names(&self) -> bool {
        false
    }

    /// The keys that it signs with, whose public halves have to be in DNS; `me` is our own name. The
    /// daemon looks whether they are.
    fn to_publish(&self, me: &str) -> Vec<ToPublish> {
        Vec::new()
    }

    /// The mechanisms of AUTH that it can check for this client, on a listener of this role. EHLO
    /// announces those of all plugins together.
    fn mechanisms(&self, peer: &Peer, role: Role) -> &'static [Mechanism] {
        &[]
    }

    /// The keys for SCRAM that it keeps of a user. Pure: they were read with the configuration.
    fn scram_keys(&self, user: &str) -> Option<Keys> {
        None
    }

    /// The folders with the settings that a recipient has of his own. No hook but a call of the chain:
    /// [`Cx::config_for`] takes the first answer.
    fn config_for(&self, recipient: &Address) -> Option<ConfigFor> {
        None
    }

    /// Of a queue: recipients that one of its messages may have. One, where each of them gets an answer
    /// of his own and a message cannot be taken back.
    fn recipients_max(&self) -> usize {
        usize::MAX
    }

    /// Of a queue: it can keep, or not keep, a message for these two as a whole. Where it cannot, because
    /// two servers would have to agree, the second recipient is put off, and gets a message of his own.
    fn goes_with(&self, first: &Address, next: &Address) -> bool {
        true
    }

    /// Of a queue: another server or program takes its messages, and may let us wait. Then these never
    /// hold all writers: text that comes in must go on being spooled.
    fn waits_for_others(&self) -> bool {
        false
    }

    /// A connection was accepted. Inline, and nothing may be asked.
    fn accept(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// Before the greeting: 554 or 421.
    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// After all of `connect`.
    fn greet(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// HELO or EHLO: 550 or 450.
    fn helo(&self, cx: &mut Cx<'_>, hello: &Hello) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// AUTH: `Ok` is 235 and gives the right to relay, `Deny` 535, `DenySoft` 454: for a checker that
    /// does not answer. Texts are put behind qpsmtpd's own words. What only blocks is done behind
    /// [`Cx::lane`]; the password must not get into a log line.
    fn auth(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// The raw text behind `FROM:` or `TO:`; `Ok` with a text replaces it.
    fn address(&self, cx: &mut Cx<'_>, command: PathOf, raw: &[u8]) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// MAIL: 550 or 450.
    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// RCPT: 550 or 450; `Ok` accepts the recipient. If nobody does, it is deferred.
    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// DATA, or the first BDAT (`chunked`): 554 or 451.
    fn data(&self, cx: &mut Cx<'_>, chunked: bool) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// The header of the complete message: 554, 550 where authentication failed (RFC 7372), or 451.
    fn headers(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// The complete message: as behind the header.
    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// The final octets: header fields may be added, nothing else.
    fn seal(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// Takes the message: `Ok` means it is kept, durably, and its text is the client's 250.
    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// NOOP.
    fn noop(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// VRFY.
    fn vrfy(&self, cx: &mut Cx<'_>, what: &str) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// HELP.
    fn help(&self, cx: &mut Cx<'_>, what: &str) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// QUIT; `Ok` with a text replaces the farewell.
    fn quit(&self, cx: &mut Cx<'_>) -> Hooked {
        Ok(Verdict::Unhooked)
    }
    /// A verb that nobody knows: 500, or 521 and close.
    fn unrecognized(&self, cx: &mut Cx<'_>, line: &str) -> Hooked {
        Ok(Verdict::Unhooked)
    }

    /// Somebody has logged in; [`Facts::user`] says who.
    fn authenticated(&self, cx: &mut Cx<'_>) {
        cx.not_hooked();
    }
    /// The message was handed over.
    fn queued(&self, cx: &mut Cx<'_>, queued: &Queued<'_>) {
        cx.not_hooked();
    }
    /// A plugin refused.
    fn denied(&self, cx: &mut Cx<'_>, denial: &Denial<'_>) {
        cx.not_hooked();
    }
    /// A transaction ended.
    fn reset(&self, cx: &mut Cx<'_>) {
        cx.not_hooked();
    }
    /// The connection ends.
    fn disconnect(&self, cx: &mut Cx<'_>) {
        cx.not_hooked();
    }
    /// The connection has ended.
    fn closed(&self, cx: &mut Cx<'_>) {
        cx.not_hooked();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_numbered_in_order() {
        for (number, hook) in Hook::ALL.into_iter().enumerate() {
            assert_eq!(hook as usize, number);
            assert!(HookSet::of(&[hook]).has(hook));
            assert!(!HookSet::default().has(hook));
        }
    }
}
