//! A text that is added to a mail, below what a reader is shown.
//!
//! [`shown`] finds the parts, [`Change::plan`] says how one of them takes the text in its own charset and
//! encoding, [`write()`] writes the body anew. Whatever is signed, encrypted or doubtful is left alone: a
//! text is not worth a broken mail. Memory does not grow with the mail: parts are decoded in pieces, twice.

#[cfg(any(test, fuzzing))]
mod fuzz;
mod parts;
#[cfg(test)]
mod tests;
mod text;

#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz;
pub use parts::{Change, Left, shown, write};
pub(super) use parts::{DOUBTS, SEALED};
pub use text::Text;
