//! DMARC (RFC 9989): whose word counts for the domain that a reader sees.
//!
//! `author` finds the domains in From, `discover` says where records are looked for, `record` reads one,
//! `evaluate` judges a message by SPF and DKIM, `feedback` reads reports of
//! others, `report` writes ours.

pub mod author;
pub mod discover;
pub mod evaluate;
pub mod feedback;
pub mod record;
pub mod report;

pub use discover::Discovery;
pub use evaluate::{Applied, DmarcResult, Evidence, Judgement, any_aligned, evaluate};
pub use record::{Alignment, Policy, Record};
