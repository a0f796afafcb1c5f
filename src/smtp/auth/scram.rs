//! The server's side of SCRAM-SHA-256 (RFC 5802 section 5, RFC 7677), without channel binding.
//!
//! Four messages: the client names himself and gives a nonce; we answer with a longer nonce, the
//! user's salt and iterations; he proves that he knows the password; we prove that we know his keys.
//! SMTP has no room for our last message beside the 235, so it is a challenge that the client answers
//! with an empty line (RFC 4954 section 4).
//!
//! The flag `y` (he could bind to the TLS channel, but thinks that we cannot) is accepted as well as
//! `n`, since we never announce the `-PLUS` mechanism; `p` (he does bind) is refused.

use crate::authn::scram::{KEY_LEN, Keys};
use crate::smtp::auth::{Failure, USER_MAX, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

/// Longest nonce of a client in octets; they send 24 to 40.
const NONCE_MAX: usize = 256;

/// Where an exchange stands.
#[derive(Debug)]
pub(super) enum State {
    /// The client's first message is awaited.
    First {
        /// Our part of the nonce.
        nonce: Box<str>,
    },
    /// The keys are awaited.
    Keys(First),
    /// The client's proof is awaited.
    Proof(Box<Proof>),
    /// We have proved ourselves; an empty line is awaited.
    Done,
}

/// The client's first message.
#[derive(Debug)]
pub(super) struct First {
    /// His nonce and ours.
    nonce: String,
    /// What comes before the message proper, which his last message repeats.
    gs2_header: Box<str>,
    /// The message without that.
    bare: Box<str>,
}

/// What the client's proof is judged by.
#[derive(Debug)]
pub(super) struct Proof {
    first: First,
    server_first: String,
    keys: Keys,
}

/// What comes next.
pub(super) enum Turn {
    /// Look for this user's keys, then give them to [`State::stored`].
    Lookup(Box<str>, State),
    /// Say this, not yet in base64.
    Say(String, State),
    /// He is who he says he is.
    Done,
    Fail(Failure),
}

impl State {
    /// Takes a message of the client.
    pub(super) fn message(self, message: &[u8]) -> Turn {
        let read = match self {
            State::First { nonce } => std::str::from_utf8(message)
                .map_err(|_| Failure::Invalid)
                .and_then(|message| client_first(message, &nonce))
                .map(|(user, first)| Turn::Lookup(user, State::Keys(first))),
            State::Proof(proof) => proof.judge(message),
            State::Done if message.is_empty() => Ok(Turn::Done),
            State::Done | State::Keys(_) => Err(Failure::Invalid),
        };
        read.unwrap_or_else(Turn::Fail)
    }

    /// Takes the keys of the user.
    pub(super) fn stored(self, keys: &Keys) -> Turn {
        let State::Keys(first) = self else { return Turn::Fail(Failure::Invalid) };
        let salt = STANDARD.encode(keys.salt());
        let server_first = format!("r={},s={salt},i={}", first.nonce, keys.iterations());
        let proof = Proof { first, server_first: server_first.clone(), keys: keys.clone() };
        Turn::Say(server_first, State::Proof(Box::new(proof)))
    }
}

/// `n,[a=authzid],n=user,r=nonce[,extensions]`
fn client_first(message: &str, ours: &str) -> Result<(Box<str>, First), Failure> {
    let mut parts = message.splitn(3, ',');
    let (Some("n" | "y"), Some(other), Some(bare)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::Invalid);
    };
    let gs2_header = message.strip_suffix(bare).unwrap_or_default();
    // Attributes that are not known may follow; a mandatory one (`m=`) would stand first.
    let mut attributes = bare.split(',');
    let mut value = |name| attributes.next().and_then(|it| it.strip_prefix(name));
    let user = value("n=").and_then(name).ok_or(Failure::Invalid)?;
    let nonce = value("r=").filter(|nonce| is_nonce(nonce)).ok_or(Failure::Invalid)?;
    if !other.is_empty() {
        let other = other.strip_prefix("a=").and_then(name).ok_or(Failure::Invalid)?;
        if other != user {
            return Err(Failure::OtherIdentity);
        }
    }
    let nonce = format!("{nonce}{ours}");
    Ok((user, First { nonce, gs2_header: gs2_header.into(), bare: bare.into() }))
}

/// A user's name, where `,` and `=` are written `=2C` and `=3D`.
fn name(written: &str) -> Option<Box<str>> {
    let mut pieces = written.split('=');
    let mut name = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let (sign, rest) = match piece.strip_prefix("2C") {
            Some(rest) => (',', rest),
            None => ('=', piece.strip_prefix("3D")?),
        };
        name.push(sign);
        name.push_str(rest);
    }
    text(name.as_bytes(), USER_MAX).map(Box::from)
}

fn is_nonce(nonce: &str) -> bool {
    (1..=NONCE_MAX).contains(&nonce.len())
        && nonce.bytes().all(|octet| octet.is_ascii_graphic() && octet != b',')
}

impl Proof {
    /// `c=gs2-header-in-base64,r=nonce[,extensions],p=proof-in-base64`
    fn judge(&self, message: &[u8]) -> Result<Turn, Failure> {
        let end = memmem::rfind(message, b",p=").ok_or(Failure::Invalid)?;
        let (unproved, proof) = message.split_at_checked(end).ok_or(Failure::Invalid)?;
        let mut attributes = unproved.split(|octet| *octet == b',');
        let mut value = |name| attributes.next().and_then(|it| it.strip_prefix(name));
        let binding = STANDARD.encode(self.first.gs2_header.as_bytes());
        if value(b"c=") != Some(binding.as_bytes())
            || value(b"r=") != Some(self.first.nonce.as_bytes())
        {
            return Err(Failure::Invalid);
        }
        let proof = proof.get(3..).and_then(|proof| STANDARD.decode(proof).ok());
        let proof = proof.and_then(|proof| <[u8; KEY_LEN]>::try_from(proof).ok());
        let proof = proof.ok_or(Failure::Invalid)?;
        let (first, server_first) = (self.first.bare.as_bytes(), self.server_first.as_bytes());
        let messages = [first, b",", server_first, b",", unproved].concat();
        let signature = self.keys.verify(&messages, &proof).ok_or(Failure::WrongProof)?;
        Ok(Turn::Say(format!("v={}", STANDARD.encode(signature)), State::Done))
    }
}
