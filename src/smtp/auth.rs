//! The exchanges of AUTH (RFC 4954): PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), SCRAM-SHA-256
//! (RFC 7677), from the client's lines to what has to be checked.
//!
//! Nothing here knows whether a password is right, except for SCRAM, whose last step is arithmetic.
//! An [`Exchange`] is started with the command's argument, fed the client's lines, and ends with
//! [`Step::Check`] or [`Step::Fail`]:
//!
//! * Base64 is strict: no blank, right padding, no stray bits. `=` is an empty initial response, `*`
//!   cancels, a line has at most 12,288 octets.
//! * A user is UTF-8 without control characters, 1 to 320 octets; a password the same, up to 1,024.
//!   So nothing can break out of the line protocols of the checkers, and an empty password, which an
//!   LDAP server takes for an anonymous and successful bind, reaches none. SASLprep (RFC 4013) is not
//!   applied: octets go to the checker as they are, as every other mail server on Debian does it.
//! * Nobody acts for another: an authorization identity must be empty or the user himself.
//!
//! Passwords are wiped from memory when dropped, and no `Debug` shows one.

mod scram;

use crate::authn::scram::Keys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::{self, Debug, Formatter};
use zeroize::{Zeroize, Zeroizing};

/// Longest response in octets, without CR LF (RFC 4954 section 4).
pub const RESPONSE_MAX: usize = 12_288;

/// Longest user in octets: a mail address with a full local part and domain (RFC 4616 asks for 255).
pub const USER_MAX: usize = 320;

/// Longest password in octets (RFC 4616 asks for 255).
pub const PASSWORD_MAX: usize = 1_024;

/// How a client proves who he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// User and password in one message (RFC 4616).
    Plain,
    /// User and password, each prompted for; never a standard, spoken by all.
    Login,
    /// A keyed MD5 of our challenge (RFC 2195). The checker needs the password in clear, so this is
    /// for old password files only.
    CramMd5,
    /// Proof of the password without telling it (RFC 7677). The store needs [`Keys`].
    ScramSha256,
}

impl Mechanism {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Mechanism; 4] =
        [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5, Mechanism::ScramSha256];

    /// The mechanism of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|it| it.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The name, as EHLO announces it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::ScramSha256 => crate::authn::scram::NAME,
        }
    }
}

/// A password on its way from the client to a checker. Wiped when dropped; shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

impl Password {
    /// Takes a password, and with it the care that no copy stays behind.
    pub fn new(text: impl Into<Box<str>>) -> Password {
        Password(text.into())
    }

    /// Takes a password that a client could send: 1 to 1,024 octets without control characters.
    pub fn usable(password: &str) -> Option<Password> {
        text(password.as_bytes(), PASSWORD_MAX).map(Password::new)
    }

    /// The password itself: for the checker, and for nothing that is kept or shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Debug for Password {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What has to be checked, or has been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// How the client showed it.
    pub mechanism: Mechanism,
    /// Who the client says he is; 1 to 320 octets without control characters.
    pub user: Box<str>,
    /// What he shows for it.
    pub evidence: Evidence,
}

/// What a client shows for being who he says he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The password; 1 to 1,024 octets without control characters.
    Password(Password),
    /// HMAC-MD5 of a challenge with the password as its key.
    CramMd5 {
        /// What we sent, angle brackets included.
        challenge: Box<str>,
        /// What came back.
        digest: [u8; 16],
    },
    /// Nothing is left to check: he has proved by SCRAM that he knows the password of the keys that
    /// [`Exchange::stored`] was given.
    Proved,
}

/// What an exchange needs from outside.
#[derive(Clone, Copy, Debug)]
pub struct Seed<'a> {
    /// Our name, for the challenge of CRAM-MD5.
    pub me: &'a str,
    /// Octets that nobody can guess and that are never used again.
    pub nonce: [u8; 18],
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send `334 ` and this, which is in base64 and may be empty, and feed the client's next line.
    Challenge(Box<[u8]>),
    /// Only SCRAM: find the keys of this user and give them to [`Exchange::stored`]; for one who does
    /// not exist or has no keys [`Keys::decoy`].
    Lookup(Box<str>),
    /// Ask a checker. The exchange is over.
    Check(Credentials),
    /// Refuse. The exchange is over.
    Fail(Failure),
}

/// Why an exchange fails before anybody was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The client cancelled with `*`: 501.
    Canceled,
    /// A line above [`RESPONSE_MAX`]: 500 5.5.6.
    TooLong,
    /// No base64: 501 5.5.2.
    Base64,
    /// An initial response where we speak first: 501 5.7.0.
    InitialResponse,
    /// Readable, but nobody can be authenticated with it: parts are missing, empty or too long, not
    /// UTF-8, or hold control characters; or the messages of SCRAM are wrong: 535 5.7.8.
    Invalid,
    /// He wants to act for somebody else: 535 5.7.8.
    OtherIdentity,
    /// SCRAM: the proof is wrong, so he does not know the password: 535 5.7.8.
    WrongProof,
}

/// One AUTH, from the command to its end. It is over after [`Step::Check`] and [`Step::Fail`]; then
/// every further line fails.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    user: Option<Box<str>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The message with everything.
    Plain,
    LoginUser,
    LoginPassword,
    CramMd5 {
        challenge: Box<str>,
    },
    Scram(scram::State),
    Over,
}

impl Exchange {
    /// Begins. `initial` is what stands behind the mechanism in the command.
    pub fn start(mechanism: Mechanism, initial: Option<&[u8]>, seed: &Seed<'_>) -> (Self, Step) {
        let (state, prompt) = match mechanism {
            Mechanism::Plain => (State::Plain, String::new()),
            Mechanism::Login => (State::LoginUser, "Username:".to_string()),
            Mechanism::CramMd5 => {
                let challenge = challenge(seed);
                (State::CramMd5 { challenge: challenge.as_str().into() }, challenge)
            }
            Mechanism::ScramSha256 => {
                let nonce = STANDARD.encode(seed.nonce);
                (State::Scram(scram::State::First { nonce: nonce.into() }), String::new())
            }
        };
        let mut exchange = Exchange { mechanism, user: None, state };
        let step = match initial {
            None => encoded(prompt.as_bytes()),
            Some(_) if mechanism == Mechanism::CramMd5 => exchange.fail(Failure::InitialResponse),
            Some(b"=") => exchange.message(b""),
            Some(response) => exchange.response(response),
        };
        (exchange, step)
    }

    /// Takes the client's next line, without its CR LF.
    pub fn feed(&mut self, line: &[u8]) -> Step {
        if line == b"*" { self.fail(Failure::Canceled) } else { self.response(line) }
    }

    /// Only SCRAM, in answer to [`Step::Lookup`]: goes on with the user's keys.
    pub fn stored(&mut self, keys: &Keys) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Scram(state) => self.scram(state.stored(keys)),
            _ => self.fail(Failure::Invalid),
        }
    }

    /// The mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Who the client says he is, as soon as he has: for the log, also where the exchange failed.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    fn response(&mut self, line: &[u8]) -> Step {
        if line.len() > RESPONSE_MAX {
            return self.fail(Failure::TooLong);
        }
        match decoded(line) {
            Some(message) => self.message(&message),
            None => self.fail(Failure::Base64),
        }
    }

    fn message(&mut self, message: &[u8]) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => self.plain(message),
            State::LoginUser => match user(message) {
                Some(user) => {
                    self.user = Some(user);
                    self.state = State::LoginPassword;
                    encoded(b"Password:")
                }
                None => self.fail(Failure::Invalid),
            },
            State::LoginPassword => self.password(message),
            State::CramMd5 { challenge } => self.cram_md5(challenge, message),
            State::Scram(state) => self.scram(state.message(message)),
            State::Over => self.fail(Failure::Invalid),
        }
    }

    /// RFC 4616: `[authzid] NUL authcid NUL passwd`.
    fn plain(&mut self, message: &[u8]) -> Step {
        let mut parts = message.split(|octet| *octet == 0);
        let (Some(other), Some(name), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return self.fail(Failure::Invalid);
        };
        self.user = user(name);
        match &self.user {
            None => self.fail(Failure::Invalid),
            Some(_) if !other.is_empty() && other != name => self.fail(Failure::OtherIdentity),
            Some(_) => self.password(password),
        }
    }

    fn password(&mut self, octets: &[u8]) -> Step {
        match text(octets, PASSWORD_MAX) {
            Some(text) => self.check(Evidence::Password(Password::new(text))),
            None => self.fail(Failure::Invalid),
        }
    }

    /// RFC 2195: the user, a blank and 32 digits. A user may contain blanks.
    fn cram_md5(&mut self, challenge: Box<str>, message: &[u8]) -> Step {
        let blank = memchr::memrchr(b' ', message).unwrap_or(0);
        let (name, digits) = message.split_at_checked(blank).unwrap_or_default();
        self.user = user(name);
        match (&self.user, digits.get(1..).and_then(md5)) {
            (Some(_), Some(digest)) => self.check(Evidence::CramMd5 { challenge, digest }),
            _ => self.fail(Failure::Invalid),
        }
    }

    fn scram(&mut self, turn: scram::Turn) -> Step {
        match turn {
            scram::Turn::Lookup(user, state) => {
                self.user = Some(user.clone());
                self.state = State::Scram(state);
                Step::Lookup(user)
            }
            scram::Turn::Say(text, state) => {
                self.state = State::Scram(state);
                encoded(text.as_bytes())
            }
            scram::Turn::Done => self.check(Evidence::Proved),
            scram::Turn::Fail(failure) => self.fail(failure),
        }
    }

    fn check(&mut self, evidence: Evidence) -> Step {
        self.state = State::Over;
        match self.user.clone() {
            Some(user) => Step::Check(Credentials { mechanism: self.mechanism, user, evidence }),
            None => Step::Fail(Failure::Invalid),
        }
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.state = State::Over;
        Step::Fail(failure)
    }
}

/// The octets may be a password, so they are wiped, what came before a mistake as well.
fn decoded(line: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(vec![0; base64::decoded_len_estimate(line.len())]);
    let count = STANDARD.decode_slice(line, &mut octets).ok()?;
    octets.truncate(count);
    Some(octets)
}

fn encoded(text: &[u8]) -> Step {
    Step::Challenge(STANDARD.encode(text).into_bytes().into())
}

/// `<HEX.HEX@me>`, in the form that RFC 2195 wants: a message id that was never there before.
fn challenge(seed: &Seed<'_>) -> String {
    let number = |octets: &[u8]| octets.iter().map(|it| format!("{it:02x}")).collect::<String>();
    let (one, other) = seed.nonce.split_at(seed.nonce.len() / 2);
    format!("<{}.{}@{}>", number(one), number(other), seed.me)
}

fn user(octets: &[u8]) -> Option<Box<str>> {
    text(octets, USER_MAX).map(Box::from)
}

/// UTF-8 without control characters, not empty.
fn text(octets: &[u8], longest: usize) -> Option<&str> {
    let text = std::str::from_utf8(octets).ok()?;
    let fits = (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then_some(text)
}

/// 32 hexadecimal digits.
fn md5(digits: &[u8]) -> Option<[u8; 16]> {
    let mut digest = [0; 16];
    let digits = Some(digits).filter(|digits| digits.len() == 2 * digest.len())?;
    for (octet, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *octet = (*octet << 4) | u8::try_from(value).ok()?;
        }
    }
    Some(digest)
}

/// The first octet chooses the mechanism and whether there is an initial response, each further line
/// is fed. What is asked for and what comes out is within its bounds, and what is over stays over.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let (choice, lines) = data.split_first().map_or((0, data), |(first, rest)| (*first, rest));
    let mechanism = Mechanism::ALL.into_iter().cycle().nth(choice.into());
    let mut lines = lines.split(|octet| *octet == b'\n');
    let initial = if choice & 0x80 == 0 { lines.next() } else { None };
    let seed = Seed { me: "mx.example.com", nonce: [choice; 18] };
    let (mut exchange, mut step) =
        Exchange::start(mechanism.unwrap_or(Mechanism::Plain), initial, &seed);
    let keys = Keys::decoy(b"secret", "user");
    loop {
        step = match step {
            Step::Challenge(text) => {
                assert!(STANDARD.decode(&text).is_ok() && text.len() <= 2 * RESPONSE_MAX);
                let Some(line) = lines.next() else { return };
                exchange.feed(line)
            }
            Step::Lookup(user) => {
                assert!(text(user.as_bytes(), USER_MAX).is_some());
                assert_eq!(exchange.user(), Some(&*user));
                exchange.stored(&keys)
            }
            Step::Check(Credentials { user, evidence, .. }) => {
                assert!(text(user.as_bytes(), USER_MAX).is_some());
                assert!(evidence != Evidence::Proved, "nobody knows a decoy's password");
                if let Evidence::Password(password) = evidence {
                    assert!(text(password.reveal().as_bytes(), PASSWORD_MAX).is_some());
                }
                break;
            }
            Step::Fail(_) => break,
        };
    }
    assert!(matches!(exchange.feed(lines.next().unwrap_or(b"")), Step::Fail(_)));
}

#[cfg(test)]
mod tests;
