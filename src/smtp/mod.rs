//! The SMTP protocol as a state machine that owns no socket.
//!
//! `session` is the machine: bytes and verdicts go in, replies and questions come out. `command`,
//! `address` and `body` are its parsers, `auth` has the exchanges of AUTH, `reply` holds every text
//! a client can read, and `verdict` says what a hook may decide. Nothing here names a socket, a
//! clock, a file or a thread, so that every path is tested with plain bytes and fuzzed.

pub mod address;
pub mod auth;
pub mod body;
pub mod command;
pub mod proxy;
pub mod reply;
pub mod session;
pub mod verdict;
