//! What a server keeps of a password for SCRAM-SHA-256 (RFC 5802, RFC 7677), and what it computes
//! with it.
//!
//! A stored line does not contain the password, and who steals it cannot log in with it, but can try
//! passwords against it: iterations make that slow. The line has the form of RFC 5803, as PostgreSQL
//! writes it: `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`, the last three in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use std::fmt::{self, Debug, Formatter};
use std::num::NonZeroU32;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The name in front of a stored line, and of the mechanism.
pub const NAME: &str = "SCRAM-SHA-256";

/// Iterations of new keys. RFC 7677 asks for 4,096 at least, in 2015; clients compute this many at
/// each login, telephones among them.
pub const ITERATIONS: u32 = 32_768;

/// Fewest and most iterations that are believed. More would keep a client, or us, busy for minutes.
const ITERATIONS_MIN: u32 = 4_096;
const ITERATIONS_MAX: u32 = 1_000_000;

/// Longest salt in octets.
const SALT_MAX: usize = 64;

/// Longest stored line in octets that can be right.
const LINE_MAX: usize = 256;

/// Octets of a key, a signature and a proof: those of SHA-256.
pub const KEY_LEN: usize = digest::SHA256_OUTPUT_LEN;

/// One user's keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    salt: Box<[u8]>,
    iterations: NonZeroU32,
    stored_key: [u8; KEY_LEN],
    server_key: [u8; KEY_LEN],
}

impl Keys {
    /// Makes the keys of a password. None where `iterations` or the length of `salt` are out of
    /// bounds. The password is taken as it is: no SASLprep.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Option<Keys> {
        let iterations = bounded(salt, iterations)?;
        let mut salted = Zeroizing::new([0; KEY_LEN]);
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut *salted);
        let client_key = Zeroizing::new(mac(&*salted, b"Client Key"));
        let server_key = mac(&*salted, b"Server Key");
        Some(Keys { salt: salt.into(), iterations, stored_key: hash(&*client_key), server_key })
    }

    /// Keys of a user who does not exist: always the same for the same name, and nobody can prove
    /// that he knows the password. With them an exchange goes its normal way, so that it does not
    /// tell who is a user. `secret` must stay the same from one exchange to the next.
    pub fn decoy(secret: &[u8], user: &str) -> Keys {
        let part = |what: &str| mac(secret, format!("{what} {user}").as_bytes());
        let salt = part("salt").first_chunk::<16>().copied().unwrap_or_default();
        let iterations = NonZeroU32::MIN.saturating_add(ITERATIONS - 1);
        let (stored_key, server_key) = (part("stored"), part("server"));
        Keys { salt: salt.into(), iterations, stored_key, server_key }
    }

    /// Reads a stored line. None if it is none, or its numbers are out of bounds.
    pub fn parse(line: &str) -> Option<Keys> {
        let line = Some(line).filter(|line| line.len() <= LINE_MAX)?;
        let (effort, keys) = line.strip_prefix(NAME)?.strip_prefix('$')?.split_once('$')?;
        let (iterations, salt) = effort.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let plain = iterations.bytes().all(|octet| octet.is_ascii_digit());
        let salt = STANDARD.decode(salt).ok()?;
        let iterations = bounded(&salt, iterations.parse().ok().filter(|_| plain)?)?;
        let key = |text| <[u8; KEY_LEN]>::try_from(STANDARD.decode(text).ok()?).ok();
        let (stored_key, server_key) = (key(stored_key)?, key(server_key)?);
        Some(Keys { salt: salt.into(), iterations, stored_key, server_key })
    }

    /// The line to store; [`Keys::parse`] reads it.
    pub fn line(&self) -> String {
        let [salt, stored, server] =
            [&*self.salt, &self.stored_key, &self.server_key].map(|part| STANDARD.encode(part));
        format!("{NAME}${}:{salt}${stored}:{server}", self.iterations)
    }

    /// The salt, which the client is told.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The iterations, which the client is told.
    pub fn iterations(&self) -> u32 {
        self.iterations.get()
    }

    /// These are the keys of this password. Takes as long as the iterations say.
    pub fn are_of(&self, password: &str) -> bool {
        let other = Keys::derive(password, &self.salt, self.iterations.get());
        other.is_some_and(|other| other.stored_key.ct_eq(&self.stored_key).into())
    }

    /// Judges a client's proof for the messages of an exchange: the server's signature, which proves
    /// to the client that we know him, or None if he does not know the password.
    pub fn verify(&self, messages: &[u8], proof: &[u8; KEY_LEN]) -> Option<[u8; KEY_LEN]> {
        let mut client_key = Zeroizing::new(mac(&self.stored_key, messages));
        client_key.iter_mut().zip(proof).for_each(|(octet, proof)| *octet ^= proof);
        let known: bool = hash(&*client_key).ct_eq(&self.stored_key).into();
        known.then(|| mac(&self.server_key, messages))
    }
}

/// Shows no key: with one and a recorded exchange passwords could be tried.
impl Debug for Keys {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({NAME}, {} iterations)", self.iterations)
    }
}

fn bounded(salt: &[u8], iterations: u32) -> Option<NonZeroU32> {
    let fits = (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations)
        && (1..=SALT_MAX).contains(&salt.len());
    NonZeroU32::new(iterations).filter(|_| fits)
}

fn mac(key: &[u8], text: &[u8]) -> [u8; KEY_LEN] {
    sized(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref())
}

fn hash(octets: &[u8]) -> [u8; KEY_LEN] {
    sized(digest::digest(&digest::SHA256, octets).as_ref())
}

/// SHA-256 gives this many octets; were it otherwise, a panic is better than keys that are equal.
fn sized(octets: &[u8]) -> [u8; KEY_LEN] {
    let mut array = [0; KEY_LEN];
    array.copy_from_slice(octets);
    array
}

/// Any text is a stored line or none; what is one is written again as it was read.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(keys) = Keys::parse(text) {
        assert_eq!(Keys::parse(&keys.line()), Some(keys));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user of RFC 7677 section 3.
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

    fn pencil() -> Keys {
        Keys::derive("pencil", &STANDARD.decode(SALT).unwrap(), 4_096).unwrap()
    }

    #[test]
    fn stored_lines_are_read_and_written() {
        let line = pencil().line();
        assert!(line.starts_with(&format!("SCRAM-SHA-256$4096:{SALT}$")), "{line}");
        assert_eq!(Keys::parse(&line), Some(pencil()));
        for (from, to) in [
            ("SCRAM-SHA-256", "SCRAM-SHA-1"),
            ("$4096:", "$4095:"),
            ("$4096:", "$1000001:"),
            ("$4096:", "$+4096:"),
            ("$4096:", "$:"),
            (SALT, ""),
            (SALT, "W22ZaJ0SNY7soEsUEjb6gQ"),
            ("==$", "==$AA"),
            ("==$", "=="),
        ] {
            let bad = line.replacen(from, to, 1);
            assert!(bad != line && Keys::parse(&bad).is_none(), "{bad}");
        }
        assert!(Keys::parse(&line[..line.len() - 4]).is_none());
        assert!(Keys::parse(&line.replace(SALT, &STANDARD.encode([7; 65]))).is_none());
        assert!(Keys::parse(&format!("{line}{}", "A".repeat(1_000))).is_none());
    }

    #[test]
    fn passwords_are_recognised() {
        assert!(pencil().are_of("pencil"));
        assert!(!pencil().are_of("pencil "));
        assert!(!Keys::decoy(b"secret", "user").are_of("pencil"));
    }

    #[test]
    fn decoys_are_steady_and_differ() {
        let decoy = Keys::decoy(b"secret", "user");
        assert_eq!(decoy, Keys::decoy(b"secret", "user"));
        for other in [Keys::decoy(b"secret", "use"), Keys::decoy(b"other", "user")] {
            assert!(decoy.salt != other.salt && decoy.stored_key != other.stored_key);
        }
        assert_eq!((decoy.iterations(), decoy.salt().len()), (ITERATIONS, 16));
        assert!(Keys::parse(&decoy.line()).is_some());
    }

    #[test]
    fn no_key_is_shown() {
        let shown = format!("{:?}", pencil());
        let line = pencil().line();
        assert!(line.split(['$', ':']).skip(3).all(|key| !shown.contains(key)), "{shown}");
    }
}
