//! Is this the password that a stored line was made of? The hashes of crypt(3) and newer ones.
//!
//! | line begins with | hash | bounds on what it may cost |
//! |---|---|---|
//! | `$1$` | MD5 crypt, of systems before 2010 | |
//! | `$5$`, `$6$` | SHA-256 and SHA-512 crypt | 1,000,000 rounds |
//! | `$y$` | yescrypt, as Debian writes it (no parallelism, no extra time) | 256 MiB |
//! | `$2a$`, `$2b$`, `$2y$` | bcrypt | cost 15 |
//! | `$argon2id$`, `$argon2i$` | Argon2, version 19 | 256 MiB, 4 GiB over all passes |
//! | `SCRAM-SHA-256$` | keys of SCRAM ([`crate::authn::scram`]) | 1,000,000 iterations |
//!
//! A file that asks for more, by mistake or by malice, would keep a thread busy for minutes; such a
//! line is [`Verdict::Unsupported`], and so is a damaged one. That is a fault of ours: it must not be
//! told to a client as a wrong password. Comparison takes the same time wherever two hashes differ.

mod crypt;

use crate::authn::scram::{self, Keys};
use argon2::{Argon2, Block};
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;

/// Rounds of SHA crypt: crypt(3)'s own minimum and default, and our maximum.
const SHA_ROUNDS_MIN: u32 = 1_000;
const SHA_ROUNDS: u32 = 5_000;
const SHA_ROUNDS_MAX: u32 = 1_000_000;

/// Rounds of a new SHA-512 line: some 0.1 s on a server.
const SHA_ROUNDS_NEW: u32 = 100_000;

/// Memory that a check may take, KiB.
const MEMORY_MAX: u32 = 256 * 1_024;

/// Memory that all passes of Argon2 may touch together, KiB.
const PASSES_MAX: u32 = 4 * 1_024 * 1_024;

/// Lanes of Argon2.
const LANES_MAX: u32 = 64;

/// Memory in KiB and passes of a new Argon2 line: what OWASP asks for at least, since the daemon runs
/// on small machines too.
const ARGON2_MEMORY_NEW: u32 = 19 * 1_024;
const ARGON2_PASSES_NEW: u32 = 2;

/// Cost of bcrypt, a power of two: the format's own minimum, and our maximum.
const BCRYPT_COST_MIN: u32 = 4;
const BCRYPT_COST_MAX: u32 = 15;

/// Longest stored line in octets that is looked at.
const LINE_MAX: usize = 512;

/// The base64 of bcrypt. A salt has two bits that some programs have filled with noise.
const BCRYPT64: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

/// What comes of comparing a password with a stored line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the password.
    Match,
    /// It is not.
    NoMatch,
    /// The line is of a kind that we do not know, damaged, or costs too much; in words, without the
    /// line itself. A fault, not a wrong password.
    Unsupported(&'static str),
}

impl From<bool> for Verdict {
    fn from(same: bool) -> Verdict {
        if same { Verdict::Match } else { Verdict::NoMatch }
    }
}

/// Compares with a hashed line. Takes the time that the line asks for, from microseconds to seconds:
/// only for a lane.
pub fn check(stored: &str, password: &str) -> Verdict {
    match Hash::parse(stored).and_then(|hash| hash.is_of(password)) {
        Ok(same) => same.into(),
        Err(why) => Verdict::Unsupported(why),
    }
}

/// Whether a hashed line can be compared with, without doing so.
///
/// # Errors
/// In words why not, without the line itself.
pub fn usable(stored: &str) -> Result<(), &'static str> {
    Hash::parse(stored).map(drop)
}

/// Compares with a password that is stored as it is.
pub fn plain(stored: &str, password: &str) -> Verdict {
    bool::from(stored.as_bytes().ct_eq(password.as_bytes())).into()
}

/// Compares the answer to a challenge of CRAM-MD5 (RFC 2195) with a password that is stored as it is.
pub fn cram_md5(stored: &str, challenge: &str, digest: &[u8; 16]) -> Verdict {
    match Hmac::<md5::Md5>::new_from_slice(stored.as_bytes()) {
        Ok(mac) => mac.chain_update(challenge).verify_slice(digest).is_ok().into(),
        Err(_) => Verdict::Unsupported("a password that is no key"),
    }
}

/// The line is a hash, of whatever kind, and not a password as it is. (The hashes of DES crypt, 13
/// letters and digits, cannot be told from passwords.)
pub fn is_hash(stored: &str) -> bool {
    let kind = stored.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    kind.is_some_and(|(kind, _)| is_kind(kind))
        || stored.strip_prefix(scram::NAME).is_some_and(|rest| rest.starts_with('$'))
}

fn is_kind(kind: &str) -> bool {
    let sign = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    (1..=16).contains(&kind.len()) && kind.bytes().all(sign)
}

/// A new line with argon2id. None when there is not enough memory.
pub fn new_argon2id(password: &str, salt: &[u8; 16]) -> Option<String> {
    let (memory, passes) = (ARGON2_MEMORY_NEW, ARGON2_PASSES_NEW);
    let params = argon2::Params::new(memory, passes, 1, None).ok()?;
    let hash = argon2_key(argon2::Algorithm::Argon2id, &params, password, salt, 32)?;
    let [salt, hash] = [&salt[..], &hash].map(|part| STANDARD_NO_PAD.encode(part));
    Some(format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${hash}"))
}

/// A new line with SHA-512 crypt, which every crypt(3) of the last fifteen years reads. None never
/// happens: the rounds are within what the format allows.
pub fn new_sha512(password: &str, salt: &[u8; 12]) -> Option<String> {
    let salt = crypt::encode(salt);
    let hash = crypt::sha512(password, &salt, SHA_ROUNDS_NEW)?;
    Some(format!("$6$rounds={SHA_ROUNDS_NEW}${salt}${hash}"))
}

const DAMAGED: &str = "a damaged hash";
const NO_MEMORY: &str = "a hash for which there is not enough memory";
const TOO_DEAR: &str = "a hash that costs too much time or memory";

/// A stored line, taken apart. The hashes of crypt(3) stay in its base64.
#[derive(Debug)]
enum Hash<'a> {
    Md5 { salt: &'a str, hash: &'a str },
    Sha256 { rounds: u32, salt: &'a str, hash: &'a str },
    Sha512 { rounds: u32, salt: &'a str, hash: &'a str },
    Yescrypt { params: yescrypt::Params, salt: Vec<u8>, hash: &'a str },
    Bcrypt { cost: u32, salt: [u8; 16], hash: &'a str },
    Argon2 { kind: argon2::Algorithm, params: argon2::Params, salt: Vec<u8>, hash: Vec<u8> },
    Scram(Keys),
}

impl<'a> Hash<'a> {
    /// Reads a line; the error says in words why it cannot be used.
    fn parse(stored: &'a str) -> Result<Hash<'a>, &'static str> {
        if stored.len() > LINE_MAX {
            return Err(DAMAGED);
        }
        if stored.strip_prefix(scram::NAME).is_some_and(|rest| rest.starts_with('$')) {
            return Keys::parse(stored).map(Hash::Scram).ok_or(DAMAGED);
        }
        let (kind, rest) =
            stored.strip_prefix('$').and_then(|rest| rest.split_once('$')).unwrap_or_default();
        match kind {
            "1" => salted(rest, 8, 22).map(|(salt, hash)| Hash::Md5 { salt, hash }),
            "5" => {
                let (rounds, rest) = rounds(rest)?;
                salted(rest, 16, 43).map(|(salt, hash)| Hash::Sha256 { rounds, salt, hash })
            }
            "6" => {
                let (rounds, rest) = rounds(rest)?;
                salted(rest, 16, 86).map(|(salt, hash)| Hash::Sha512 { rounds, salt, hash })
            }
            "y" => yescrypt(rest),
            "2a" | "2b" | "2y" => bcrypt(rest),
            "argon2id" => argon2(argon2::Algorithm::Argon2id, rest),
            "argon2i" => argon2(argon2::Algorithm::Argon2i, rest),
            "2x" => Err("bcrypt 2x, which is broken"),
            "3" => Err("an NT hash"),
            "7" => Err("scrypt"),
            "argon2d" => Err("argon2d, which is not for passwords"),
            "gy" => Err("gost-yescrypt"),
            "md5" => Err("SunMD5"),
            "sha1" => Err("SHA-1 crypt"),
            _ => Err("a kind of hash that is not known here"),
        }
    }

    fn is_of(&self, password: &str) -> Result<bool, &'static str> {
        let octets = password.as_bytes();
        let (hash, computed) = match self {
            Hash::Md5 { salt, hash } => (hash, crypt::md5(password, salt)),
            Hash::Sha256 { rounds, salt, hash } => {
                (hash, crypt::sha256(password, salt, *rounds).ok_or(DAMAGED)?)
            }
            Hash::Sha512 { rounds, salt, hash } => {
                (hash, crypt::sha512(password, salt, *rounds).ok_or(DAMAGED)?)
            }
            Hash::Yescrypt { params, salt, hash } => {
                // The crate takes what it needs without asking whether it can have it.
                let memory = params.n() * u64::from(params.r()) * 128;
                drop(room::<u8>(memory).ok_or(NO_MEMORY)?);
                let mut key = [0; 32];
                yescrypt::yescrypt(octets, salt, params, &mut key).map_err(|_| DAMAGED)?;
                (hash, crypt::encode(&key))
            }
            Hash::Bcrypt { cost, salt, hash } => {
                // The NUL at the end of a C string counts, and what is behind 72 octets does not.
                let key: Vec<u8> = octets.iter().copied().chain([0]).take(72).collect();
                let key = bcrypt::bcrypt(*cost, *salt, &zeroize::Zeroizing::new(key));
                (hash, BCRYPT64.encode(key.get(..23).unwrap_or_default()))
            }
            Hash::Argon2 { kind, params, salt, hash } => {
                let key = argon2_key(*kind, params, password, salt, hash.len()).ok_or(NO_MEMORY)?;
                return Ok(key.ct_eq(hash).into());
            }
            Hash::Scram(keys) => return Ok(keys.are_of(password)),
        };
        Ok(computed.as_bytes().ct_eq(hash.as_bytes()).into())
    }
}

/// `salt$hash`, the salt at most, the hash exactly so many characters of crypt's base64. A longer salt
/// would be cut by crypt(3), so such a line matches nothing there.
fn salted(rest: &str, salt_max: usize, hash_len: usize) -> Result<(&str, &str), &'static str> {
    let (salt, hash) = rest.split_once('$').ok_or(DAMAGED)?;
    let fits = salt.len() <= salt_max && hash.len() == hash_len && crypt::is_encoded(hash);
    if fits { Ok((salt, hash)) } else { Err(DAMAGED) }
}

/// `[rounds=N$]` and what follows.
fn rounds(rest: &str) -> Result<(u32, &str), &'static str> {
    let Some(rest) = rest.strip_prefix("rounds=") else { return Ok((SHA_ROUNDS, rest)) };
    let (rounds, rest) = rest.split_once('$').ok_or(DAMAGED)?;
    match number(rounds)? {
        0..SHA_ROUNDS_MIN => Err(DAMAGED),
        SHA_ROUNDS_MIN..=SHA_ROUNDS_MAX => Ok((number(rounds)?, rest)),
        _ => Err(TOO_DEAR),
    }
}

/// A decimal number without sign or blank.
fn number(text: &str) -> Result<u32, &'static str> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(DAMAGED)
}

/// `params$salt$hash`
fn yescrypt(rest: &str) -> Result<Hash<'_>, &'static str> {
    let (text, rest) = rest.split_once('$').ok_or(DAMAGED)?;
    let (salt, hash) = rest.split_once('$').ok_or(DAMAGED)?;
    let params: yescrypt::Params = text.parse().map_err(|_| "this flavor of yescrypt")?;
    let (blocks, size) = (params.n(), params.r());
    // 128 octets a unit.
    let memory = blocks.checked_mul(u64::from(size)).ok_or(TOO_DEAR)? / 8;
    if memory > u64::from(MEMORY_MAX) {
        return Err(TOO_DEAR);
    }
    // What makes it take longer cannot be read from `params`; so it must be as if made without.
    let usual = yescrypt::Params::new(yescrypt::Mode::default(), blocks, size, 1);
    if blocks < 2 || usual.is_ok_and(|usual| usual.to_string() != text) || usual.is_err() {
        return Err("this flavor of yescrypt");
    }
    let salt = Some(salt).filter(|salt| salt.len() <= 86).and_then(crypt::decode);
    let salt = salt.ok_or(DAMAGED)?;
    let fits = hash.len() == 43 && crypt::is_encoded(hash);
    if fits { Ok(Hash::Yescrypt { params, salt, hash }) } else { Err(DAMAGED) }
}

/// `cost$`, 22 characters of salt and 31 of hash.
fn bcrypt(rest: &str) -> Result<Hash<'_>, &'static str> {
    let (cost, rest) = rest.split_once('$').ok_or(DAMAGED)?;
    let cost = Some(cost).filter(|cost| cost.len() == 2).ok_or(DAMAGED).and_then(number)?;
    let (salt, hash) = rest.split_at_checked(22).ok_or(DAMAGED)?;
    let salt = BCRYPT64.decode(salt).ok().and_then(|salt| salt.try_into().ok()).ok_or(DAMAGED)?;
    if hash.len() != 31 || BCRYPT64.decode(hash).is_err() {
        return Err(DAMAGED);
    }
    match cost {
        0..BCRYPT_COST_MIN => Err(DAMAGED),
        BCRYPT_COST_MIN..=BCRYPT_COST_MAX => Ok(Hash::Bcrypt { cost, salt, hash }),
        _ => Err(TOO_DEAR),
    }
}

/// `v=19$m=KIB,t=PASSES,p=LANES$salt$hash`
fn argon2(kind: argon2::Algorithm, rest: &str) -> Result<Hash<'_>, &'static str> {
    let rest = rest.strip_prefix("v=19$").ok_or("an old version of Argon2")?;
    let mut parts = rest.split('$');
    let (Some(costs), Some(salt), Some(hash), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(DAMAGED);
    };
    let mut costs = costs.split(',');
    let mut cost =
        |name| costs.next().and_then(|it| it.strip_prefix(name)).ok_or(DAMAGED).and_then(number);
    let (memory, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
    if costs.next().is_some() {
        return Err(DAMAGED);
    }
    let touched = memory.checked_mul(passes).ok_or(TOO_DEAR)?;
    if memory > MEMORY_MAX || touched > PASSES_MAX || lanes > LANES_MAX {
        return Err(TOO_DEAR);
    }
    let octets = |text| STANDARD_NO_PAD.decode(text).map_err(|_| DAMAGED);
    let (salt, hash) = (octets(salt)?, octets(hash)?);
    let fits = (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len());
    let params = argon2::Params::new(memory, passes, lanes, Some(hash.len()));
    match params {
        Ok(params) if fits && memory / 8 >= lanes => Ok(Hash::Argon2 { kind, params, salt, hash }),
        _ => Err(DAMAGED),
    }
}

/// Runs Argon2, whose parameters have been checked; None when there is not enough memory.
fn argon2_key(
    kind: argon2::Algorithm,
    params: &argon2::Params,
    password: &str,
    salt: &[u8],
    len: usize,
) -> Option<Vec<u8>> {
    let blocks = params.block_count();
    let mut memory: Vec<Block> = room(u64::try_from(blocks).ok()?)?;
    memory.resize(blocks, Block::default());
    let mut key = vec![0; len];
    let argon2 = Argon2::new(kind, argon2::Version::V0x13, params.clone());
    let octets = password.as_bytes();
    argon2.hash_password_into_with_memory(octets, salt, &mut key, &mut memory).ok()?;
    Some(key)
}

/// A vector with room for so many. Without this a process that cannot have the memory is ended.
fn room<T>(count: u64) -> Option<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(usize::try_from(count).ok()?).ok()?;
    Some(vector)
}

/// Any text can be taken apart, and what is accepted is within the bounds.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Hash::parse(text) {
        Ok(Hash::Sha256 { rounds, .. } | Hash::Sha512 { rounds, .. }) => {
            assert!((SHA_ROUNDS_MIN..=SHA_ROUNDS_MAX).contains(&rounds));
        }
        Ok(Hash::Yescrypt { params, .. }) => {
            assert!(params.n() * u64::from(params.r()) <= u64::from(MEMORY_MAX) * 8);
        }
        Ok(Hash::Bcrypt { cost, .. }) => assert!(cost <= BCRYPT_COST_MAX),
        Ok(Hash::Argon2 { params, .. }) => assert!(params.m_cost() <= MEMORY_MAX),
        Ok(Hash::Md5 { .. } | Hash::Scram(_)) => {}
        Err(why) => assert!(!why.is_empty()),
    }
    scram::fuzz(data);
}

#[cfg(test)]
mod tests;
