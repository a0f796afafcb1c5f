//! DKIM (RFC 6376, 8301, 8463, 8616): who takes responsibility for a message, and signing our own.
//!
//! `tags` and `text` read what signatures and key records are made of, `signature` and `key` what they
//! say, `canon` and `fields` say what of a message is hashed, `verify` and `sign` put it together. ARC
//! hashes by the same rules and uses the same parts.
//!
//! Three decisions of policy, each allowed by the RFCs: signatures with SHA-1 and RSA keys of fewer than
//! 1024 bits never count (RFC 8301), nor do RSA keys of more than 4096; at most [`SIGNATURES_MAX`]
//! signatures of a message are looked at, the author's domain first. A signature over a part of the
//! body (`l=`) passes, and the result says how much of the body anybody may have added.

pub mod canon;
pub mod fields;
pub mod key;
pub mod published;
pub mod sign;
pub mod signature;
pub mod tags;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod verify;

pub use signature::Algorithm;
pub use verify::{SIGNATURES_MAX, Verification, Verified, verify};

use crate::authn::dkim::tags::TagError;
use crate::mail::headers::Headers;
use crate::mail::stored::Stored;
use std::fmt;

/// A message, in the parts that are hashed.
#[derive(Clone, Copy)]
pub struct Mail<'a> {
    /// The header block, with CR LF.
    pub header: &'a [u8],
    /// Its index.
    pub headers: &'a Headers,
    /// The body; its lines may end with LF or CR LF.
    pub body: &'a [u8],
    /// Told now and then up to where the body has been read, so that it may leave memory.
    pub passed: &'a dyn Fn(usize),
}

impl<'a> Mail<'a> {
    /// The parts of a message that lies in memory as a whole.
    pub fn of(stored: &'a Stored<'_>) -> Mail<'a> {
        let (header, headers, body) = (&*stored.header, &stored.headers, stored.body);
        Mail { header, headers, body, passed: &|_| () }
    }
}

/// What a check came to, in the words of RFC 8601 section 2.7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The signature is good.
    Pass,
    /// The signature is not one on this message, or its time is over.
    Fail,
    /// It cannot be checked, and never will be.
    PermError,
    /// It could not be checked now: its key is out of reach.
    TempError,
}

impl Outcome {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::PermError => "permerror",
            Outcome::TempError => "temperror",
        }
    }
}

/// Why a signature does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The field is no tag list.
    Syntax(TagError),
    /// A tag that has to be there is missing.
    Missing(&'static str),
    /// A tag's value is malformed.
    Bad(&'static str),
    /// `v=` is not 1.
    Version,
    /// `a=` is none that we know.
    Algorithm,
    /// `a=rsa-sha1`
    Sha1,
    /// `q=` names no way to the key that we know.
    Query,
    /// `i=` is neither of the domain nor of one below it.
    Identity,
    /// `h=` has more names than a message may have fields.
    TooManyNames,
    /// `h=` does not name `From`.
    FromNotSigned,
    /// There is no key record.
    NoKey,
    /// The name server could not say whether there is one.
    KeyOutOfReach,
    /// The record is none, or its key is malformed.
    KeySyntax,
    /// `h=` of the key does not allow SHA-256.
    KeyHash,
    /// `s=` of the key is not about mail.
    KeyService,
    /// `k=` is none that we know.
    KeyKind,
    /// The key does not fit the signature's algorithm.
    KeyMismatch,
    /// `p=` is empty.
    KeyRevoked,
    /// An RSA key of so few bits.
    KeyShort(usize),
    /// An RSA key of so many bits.
    KeyLong(usize),
    /// The key is only for identities of the domain itself (`t=s`).
    KeyStrict,
    /// `x=` is past.
    Expired,
    /// `t=` is in the future.
    Future,
    /// `l=` is more than there is.
    LongerThanBody,
    /// The header is not the one that was signed, or the signature is not the key's.
    Header,
    /// The body is not the one that was signed.
    Body,
}

impl Reason {
    /// The result that it leads to.
    pub fn outcome(self) -> Outcome {
        match self {
            Reason::Expired | Reason::Future | Reason::Header | Reason::Body => Outcome::Fail,
            Reason::KeyOutOfReach => Outcome::TempError,
            _ => Outcome::PermError,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Reason::Syntax(error) => return write!(f, "malformed signature: {}", error.words()),
            Reason::Missing(tag) => return write!(f, "missing tag {tag}"),
            Reason::Bad(tag) => return write!(f, "malformed tag {tag}"),
            Reason::KeyShort(bits) => {
                return write!(f, "public key: too short, {bits} bits, by policy");
            }
            Reason::KeyLong(bits) => {
                return write!(f, "public key: too long, {bits} bits, by policy");
            }
            Reason::Version => "unknown version",
            Reason::Algorithm => "unknown algorithm",
            Reason::Sha1 => "rsa-sha1 is not accepted, by policy",
            Reason::Query => "unknown query method",
            Reason::Identity => "identity outside the domain",
            Reason::TooManyNames => "too many header names",
            Reason::FromNotSigned => "From is not signed",
            Reason::NoKey => "public key: not available",
            Reason::KeyOutOfReach => "public key: DNS failure",
            Reason::KeySyntax => "public key: malformed",
            Reason::KeyHash => "public key: not for sha256",
            Reason::KeyService => "public key: not for mail",
            Reason::KeyKind => "public key: unknown kind",
            Reason::KeyMismatch => "public key: not of the signature's algorithm",
            Reason::KeyRevoked => "public key: revoked",
            Reason::KeyStrict => "public key: not for identities below the domain",
            Reason::Expired => "signature expired",
            Reason::Future => "signature from the future",
            Reason::LongerThanBody => "signed length exceeds the body",
            Reason::Header => "message has been altered",
            Reason::Body => "body has been altered",
        };
        f.write_str(words)
    }
}
