//! Plugins that take a message over. They answer for it: their `Ok` is the client's 250.

pub mod discard;
pub mod lmtp;
pub mod maildir;
pub mod qmail_queue;
pub mod smtp_forward;
