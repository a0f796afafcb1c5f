//! Blocking clients of what a message is handed to, and of what is asked about it. They run on lanes
//! only.

pub mod deadline;
pub mod lmtp;
pub mod maildir;
pub mod p0f;
pub mod pipe;
pub mod program;
pub mod qmail;
pub mod smtp;
pub mod text;
mod unix;

use nix::errno::Errno;
use std::io;

/// The system's words for an error, without the number that std puts behind them. A wait that the
/// deadline ended reads like one that the system ended.
pub fn words(error: &io::Error) -> String {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, _) => Errno::ETIMEDOUT.desc().into(),
        (_, Some(number)) => Errno::from_raw(number).desc().into(),
        (_, None) => error.to_string(),
    }
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
