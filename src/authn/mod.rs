//! Who really sent a mail: SPF, DKIM, ARC, DMARC as functions of a message and of DNS answers.
//!
//! Nothing here asks a name server. Each check is handed a [`Lookup`] and returns early, by `?`, where
//! an answer is missing; it is called again from its top when the answer is in. So the same code runs
//! in the daemon, where thousands of sessions wait without a thread, and in a test with a zone in a
//! table.

pub mod arc;
pub mod crypto;
pub mod der;
pub mod dkim;
pub mod dmarc;
pub mod keygen;
pub mod password;
pub mod scram;
pub mod spf;

use crate::dns::{Answer, Question};

/// Where a check's answers come from.
pub trait Lookup {
    /// Says that an answer is not in yet.
    type Missing;

    /// The answer to one question.
    ///
    /// # Errors
    /// The answer is missing: leave, and be called again.
    fn ask(&mut self, question: Question) -> Result<Answer, Self::Missing>;

    /// The answers to several questions, in their order, asked for together.
    ///
    /// # Errors
    /// An answer is missing: leave, and be called again.
    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Self::Missing>;
}
