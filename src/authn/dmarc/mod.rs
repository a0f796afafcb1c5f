//! DMARC (RFC 9989): whose word counts for the domain that a reader sees.

pub mod author;
pub mod discover;
