//! SPF (RFC 7208): may this client use this domain as the sender's?
//!
//! [`check_host`] is the function of RFC 7208 section 4. It is pure: answers come from a
//! [`Lookup`], it is run again from its top where one is missing, and it comes to the same each time.
//! `record.rs` reads a record whole before anything of it is judged, `macros.rs` puts together the
//! names that it makes, `evaluate.rs` judges, `words.rs` says what came of it.
//!
//! What the RFC leaves open: a target that is no name (an empty label, one of more than 63 octets)
//! matches nothing; only a term's own question counts as void, not the addresses of its hosts, and a question that two terms share counts once; of 11
//! and more mail exchangers the first ten may match before it is an error. A term with the sender's
//! local part in it matches nothing if that is not ASCII (RFC 8616 section 4).

mod asking;
mod evaluate;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod macros;
mod record;
mod words;

use crate::authn::Lookup;
use crate::smtp::address::{self, Address};
use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

#[cfg(any(test, fuzzing))]
pub use fuzz::{fuzz_check, fuzz_macros, fuzz_record};
pub use words::received_spf;

/// Terms that ask, over all records that take part (RFC 7208 section 4.6.4).
pub const TERMS_MAX: u32 = 10;

/// Terms whose question finds nothing (RFC 7208 section 4.6.4).
pub const VOIDS_MAX: usize = 2;

/// Hosts of one `mx`, and names of the client, that are looked at (RFC 7208 section 4.6.4).
pub const HOSTS_MAX: usize = 10;

/// Octets of the explanation that a domain gives for a fail.
pub const EXPLANATION_MAX: usize = 400;

/// Steps of the path that are kept; a record can hold thousands of terms.
pub const PATH_MAX: usize = 100;

/// What SPF says (RFC 7208 section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfResult {
    /// There is no record, or no domain to ask.
    None,
    /// The domain says nothing about the client.
    Neutral,
    /// The client may.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// Nobody could say now.
    TempError,
    /// The domain's records cannot be understood.
    PermError,
}

impl SpfResult {
    /// The word for it in header fields.
    pub fn word(self) -> &'static str {
        match self {
            SpfResult::None => "none",
            SpfResult::Neutral => "neutral",
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
        }
    }
}

/// Which of the client's claims was judged (RFC 7208 sections 2.3 and 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The name of HELO or EHLO. Also where the reverse-path is null.
    Helo,
    /// The reverse-path of MAIL.
    MailFrom,
}

impl Scope {
    /// The word for it in aggregate reports (RFC 9990) and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Helo => "helo",
            Scope::MailFrom => "mfrom",
        }
    }
}

/// The client, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its address; an IPv4-mapped one is taken for what it holds.
    pub ip: IpAddr,
    /// How it introduced itself, as it was said.
    pub helo: &'a str,
    /// Our host name; may be empty.
    pub receiver: &'a str,
    /// Seconds since 1970.
    pub unix: u64,
}

/// Whom the client claims to write for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which claim it is.
    pub scope: Scope,
    /// `postmaster` where there is none (RFC 7208 section 4.3).
    pub local: Box<str>,
    /// In A-labels where it can be, without a final dot; what is no domain stays as it was said.
    pub domain: Box<str>,
}

impl Identity {
    /// The reverse-path of MAIL, parsed.
    pub fn of_address(address: &Address) -> Identity {
        Identity::new(Scope::MailFrom, address.local(), address.domain())
    }

    /// A sender in plain words, brackets and quotes or not: for the command line and for tests. None
    /// for the null sender.
    pub fn of_text(text: &str) -> Option<Identity> {
        let text = text.trim();
        let inner = text.strip_prefix('<').and_then(|it| it.strip_suffix('>')).unwrap_or(text);
        let (local, domain) = inner.rsplit_once('@').unwrap_or(("", inner));
        let bare = local.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        (!inner.is_empty()).then(|| Identity::new(Scope::MailFrom, bare.unwrap_or(local), domain))
    }

    /// The name of HELO or EHLO; also for the null sender.
    pub fn of_helo(name: &str) -> Identity {
        Identity::new(Scope::Helo, "", name)
    }

    fn new(scope: Scope, local: &str, domain: &str) -> Identity {
        let local = if local.is_empty() { "postmaster" } else { local };
        let domain = a_labels(domain.strip_suffix('.').unwrap_or(domain));
        Identity { scope, local: local.into(), domain: domain.into() }
    }
}

/// `local@domain`, and for HELO only the name.
impl Display for Identity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.scope {
            Scope::Helo => f.write_str(&self.domain),
            Scope::MailFrom => write!(f, "{}@{}", self.local, self.domain),
        }
    }
}

/// A domain in U-labels as the same one in A-labels (RFC 7208 section 4.3, RFC 8616 section 4).
fn a_labels(domain: &str) -> Cow<'_, str> {
    if domain.is_ascii() {
        return domain.into();
    }
    match address::parse_forward(format!("<x@{domain}>").as_bytes(), true) {
        Ok(address) => address.domain().to_owned().into(),
        Err(_) => domain.into(),
    }
}

/// A term that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many `include` are around it.
    pub depth: u32,
    /// Whose record it stands in.
    pub domain: Box<str>,
    /// As it stands there.
    pub term: Box<str>,
    /// What came of it.
    pub outcome: &'static str,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What SPF says.
    pub result: SpfResult,
    /// About whom.
    pub identity: Identity,
    /// The client's address, never an IPv4-mapped one.
    pub ip: IpAddr,
    /// The directive that matched, as it stands in the record.
    pub matched: Option<Box<str>>,
    /// What matched holds for any client at all, or for a large part of all: `all`, `ip4:0.0.0.0/1`.
    pub is_wide: bool,
    /// What is wrong, for the errors and for `none`.
    pub problem: Option<String>,
    /// The domain's own explanation of a fail, printable ASCII, at most [`EXPLANATION_MAX`] octets.
    pub explanation: Option<String>,
    /// The terms on the way, at most [`PATH_MAX`].
    pub path: Vec<Step>,
}

/// Judges whether the client may use the identity's domain (RFC 7208 section 4, `check_host`).
///
/// # Errors
/// An answer is missing.
pub fn check_host<L: Lookup>(
    lookup: &mut L,
    client: &Client<'_>,
    identity: &Identity,
) -> Result<Checked, L::Missing> {
    evaluate::check_host(lookup, client, identity)
}

#[cfg(test)]
mod tests;
