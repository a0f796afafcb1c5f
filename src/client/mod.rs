//! Blocking clients of what a message is handed to, and of what is asked about it. They run on lanes
//! only.

pub mod append;
pub mod breaker;
pub mod checkpassword;
pub mod clamd;
pub mod cvm;
pub mod deadline;
pub mod dovecot_auth;
pub mod dspam;
pub mod filter;
pub mod imap_login;
pub mod ldap_bind;
pub mod lmtp;
pub mod maildir;
pub mod milter;
pub mod p0f;
pub mod pipe;
pub mod program;
pub mod qmail;
pub mod rspamd;
pub mod shadow;
pub mod smtp;
pub mod spamd;
pub mod stream;
pub mod text;
mod unix;

use nix::errno::Errno;
use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::io;
use zeroize::Zeroizing;

/// Why a checker of passwords has said neither yes nor no. It is never told to a client as a wrong
/// password. The words are for the log; they hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(Cow<'static, str>);

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault(words(&error).into())
    }
}

impl From<&'static str> for Fault {
    fn from(what: &'static str) -> Fault {
        Fault(what.into())
    }
}

impl From<String> for Fault {
    fn from(what: String) -> Fault {
        Fault(what.into())
    }
}

/// The system's words for an error, without the number that std puts behind them. A wait that the
/// deadline ended reads like one that the system ended.
pub fn words(error: &io::Error) -> String {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, _) => Errno::ETIMEDOUT.desc().into(),
        (_, Some(number)) => Errno::from_raw(number).desc().into(),
        (_, None) => error.to_string(),
    }
}

/// The parts in one piece that is wiped when dropped, and of which no copy is left by its growing.
fn secret(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut whole = Zeroizing::new(Vec::with_capacity(length));
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_words() {
        for (error, expected) in [
            (io::Error::from_raw_os_error(111), "Connection refused"),
            (io::ErrorKind::TimedOut.into(), "Connection timed out"),
            (io::ErrorKind::WouldBlock.into(), "Connection timed out"),
            (io::Error::new(io::ErrorKind::InvalidData, "what?"), "what?"),
        ] {
            assert_eq!(words(&error), expected);
        }
    }
}
