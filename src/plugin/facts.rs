//! What plugins know of each other's findings, as typed fields instead of free notes.
//!
//! The facts of a connection live as long as it does; those of a message end with its transaction,
//! so that nothing of one mail is ever seen in the next.

use crate::authn::dkim::Verification;
use crate::authn::dmarc::{Judgement, Policy};
use crate::authn::spf::{Scope, SpfResult};
use crate::client::p0f::Fingerprint;
use crate::client::spamd::Report;
use crate::config::types::Role;
use crate::smtp::address::Address;
use crate::smtp::verdict::Verdict;
use std::any::Any;
use std::sync::Arc;

/// Why a client or a mail is exempt from content and reputation checks. It never gives the right to
/// relay: a sender's address can be forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Immunity {
    /// The host is on a white list.
    WhitelistedHost,
    /// The envelope sender is on a white list.
    WhitelistedSender,
}

impl Immunity {
    /// The words of qpsmtpd's log line `skip, …`.
    pub fn words(self) -> &'static str {
        match self {
            Immunity::WhitelistedHost => "whitelisted host",
            Immunity::WhitelistedSender => "whitelisted sender",
        }
    }
}

/// How a refusal is put: `reject_type` of qpsmtpd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectType {
    /// 5xx
    Perm,
    /// 4xx
    Temp,
    /// 5xx and close
    Disconnect,
    /// 421
    TempDisconnect,
}

impl RejectType {
    /// Makes the verdict.
    pub fn verdict(self, status: (u16, u16), text: &str) -> Verdict {
        match self {
            RejectType::Perm => Verdict::deny(status, text),
            RejectType::Temp => Verdict::deny_soft(status, text),
            RejectType::Disconnect => Verdict::deny(status, text).and_disconnect(),
            RejectType::TempDisconnect => Verdict::deny_soft(status, text).and_disconnect(),
        }
    }
}

/// Condemned, but not refused yet (`reject naughty`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naughty {
    /// Each plugin's text, with `(plugin) ` in front.
    pub texts: Vec<String>,
    /// How it will be refused: the first condemning plugin's type stays.
    pub reject_type: RejectType,
    /// A check of address or HELO asked for a refusal (`reject 1`): the chain itself refuses at
    /// RCPT, with or without the plugin `naughty`. So a user on a listed address can still log in.
    pub due: bool,
}

/// Accounts that everybody can reach, however bad the address he writes from (RFC 2142, RFC 5321
/// 4.5.1), so that a refused sender has somebody to ask.
pub fn is_special_account(recipient: &Address) -> bool {
    ["postmaster", "abuse", "mailer-daemon", "root"]
        .iter()
        .any(|name| recipient.local().eq_ignore_ascii_case(name))
}

/// How a connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secure {
    /// `TLS1.2` or `TLS1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: Box<str>,
    /// The client has shown a certificate.
    pub client: Option<ClientCertificate>,
}

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name of its subject, or the first DNS name.
    pub name: Box<str>,
    /// SHA-256 of the certificate (DER), in lower-case hex.
    pub fingerprint: Box<str>,
    /// The CA of `tls_ca` has signed it.
    pub trusted: bool,
}

/// Where on earth the client's network is, as far as a database knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Two letters (ISO 3166-1), in upper case.
    pub country: Option<Box<str>>,
    /// The country's name in English.
    pub country_name: Option<Box<str>>,
    /// Two letters: AF, AN, AS, EU, NA, OC, SA.
    pub continent: Option<Box<str>>,
    /// The city's name in English.
    pub city: Option<Box<str>>,
    /// Kilometres from here, where it is known where here is.
    pub distance: Option<u32>,
    /// The autonomous system that announces the network: `AS64500 NAME`.
    pub asn: Option<Box<str>>,
}

/// What SPF says of one of the client's claims (RFC 7208).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spf {
    /// The result.
    pub result: SpfResult,
    /// Whether it is about the reverse-path or about the name of HELO.
    pub scope: Scope,
    /// The domain that was judged, in A-labels.
    pub domain: Box<str>,
    /// What matched holds for any client or for a large part of all, so a pass says nothing.
    pub is_wide: bool,
}

/// What came of DMARC: with the client's address, [`MailFacts::spf`] and [`MailFacts::dkim`] all that a
/// row of a report says (RFC 9990).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmarc {
    /// The result, and the policy that counts.
    pub judgement: Judgement,
    /// The first domain in From; empty where there is none.
    pub author: String,
    /// What was done: `reject` refused, `quarantine` marked, `none` let through.
    pub disposition: Policy,
    /// Why something else was done than the domain wants.
    pub reason: Option<Override>,
}

/// Why a policy was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// As reports spell it: `trusted_forwarder`, `mailing_list`, `local_policy`.
    pub kind: &'static str,
    /// In words.
    pub comment: String,
}

/// Findings about the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What the listener is for that the client came to.
    pub role: Role,
    /// TLS is in use.
    pub tls: Option<Box<Secure>>,
    /// Who has logged in.
    pub user: Option<Box<str>>,
    /// By which mechanism of AUTH.
    pub mechanism: Option<&'static str>,
    /// The client may relay: its address, or its user, has that right.
    pub relay: bool,
    /// The host is exempt from content and reputation checks.
    pub immune: Option<Immunity>,
    /// The forward-confirmed reverse name matches.
    pub fcrdns: Option<bool>,
    /// The client talked before its turn.
    pub early: bool,
    /// Where the client is, once that was looked up and found.
    pub place: Option<Arc<Place>>,
    /// A block list names the address.
    pub listed: bool,
    /// What p0f takes the client's machine for.
    pub system: Option<Arc<Fingerprint>>,
    /// Score of this connection: above 0 is nice, below 0 naughty.
    pub karma: i32,
    /// Nice minus naughty connections in the past; None where nothing is known.
    pub karma_history: Option<i32>,
    /// Condemned, to be refused later.
    pub naughty: Option<Box<Naughty>>,
}

/// Findings about the message at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailFacts {
    /// The sender is exempt from content and reputation checks.
    pub immune: Option<Immunity>,
    /// SPF of the reverse-path, and of HELO where that is null. None where it was not looked at: for
    /// clients that may relay and for exempt ones nothing is assumed.
    pub spf: Option<Spf>,
    /// SPF of HELO where the reverse-path is not null and it was looked at as well.
    pub spf_helo: Option<Spf>,
    /// Parts of Authentication-Results, in the order they were found (RFC 8601).
    pub auth_results: Vec<String>,
    /// The signatures on the message, as the plugin `dkim` found them; None where nobody looked.
    pub dkim: Option<Arc<Verification>>,
    /// What DMARC came to, as the plugin `dmarc` found it; None where nobody looked.
    pub dmarc: Option<Arc<Dmarc>>,
    /// What SpamAssassin says, as the plugin `spamassassin` was told; None where nobody asked or there
    /// was no answer.
    pub spamassassin: Option<Arc<Report>>,
    /// Named scores of content filters.
    pub scores: Vec<(&'static str, i32)>,
    /// Accept the message and throw it away, and why.
    pub discard: Option<String>,
    /// Deliver it to be looked at, not to the reader, and why.
    pub quarantine: Option<String>,
}

/// A plugin's private, typed memory. Cloned for each run of a hook and kept when it commits.
pub trait Note: Any + Send {
    /// A copy in a box.
    fn boxed(&self) -> Box<dyn Note>;
    /// The value, to be cast to its type.
    fn as_any(&self) -> &dyn Any;
}

impl<T: Any + Send + Clone> Note for T {
    fn boxed(&self) -> Box<dyn Note> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Notes by plugin. Few plugins keep one, so a list does.
#[derive(Default)]
pub struct Notes(Vec<(u64, Box<dyn Note>)>);

impl Notes {
    /// The note of plugin `key`, if it has one of type `T`.
    pub fn find<T: Any>(&self, key: u64) -> Option<&T> {
        // `Box<dyn Note>` is a `Note` itself, so the value must be reached through the box.
        let (_, note) = self.0.iter().find(|(owner, _)| *owner == key)?;
        (**note).as_any().downcast_ref()
    }

    /// Keeps a note in place of an earlier one.
    pub fn keep(&mut self, key: u64, note: Box<dyn Note>) {
        self.0.retain(|(owner, _)| *owner != key);
        self.0.push((key, note));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_typed_and_private() {
        let mut notes = Notes::default();
        notes.keep(1, Box::new(7_u32));
        notes.keep(2, Box::new("x"));
        notes.keep(1, Box::new(8_u32));
        assert_eq!(notes.find::<u32>(1), Some(&8));
        assert_eq!(notes.find::<u64>(1), None);
        assert_eq!(notes.find::<&str>(2), Some(&"x"));
    }
}
