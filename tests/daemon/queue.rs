//! The plugins that hand a mail on: 250 means that somebody has it, whatever they do.

mod qmail;
