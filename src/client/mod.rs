//! Blocking clients of what a message is handed to. They run on lanes only.

pub mod maildir;
