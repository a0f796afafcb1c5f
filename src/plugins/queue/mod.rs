//! Plugins that take a message over. They answer for it: their `Ok` is the client's 250.

pub mod discard;
pub mod exim_bsmtp;
pub mod lmtp;
pub mod maildir;
pub mod pipe;
pub mod qmail_queue;
pub mod smtp_forward;
