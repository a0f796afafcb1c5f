//! The integration tests: one binary, a module for each kind.

mod addresses;
mod dialogue;
mod json;
mod tidy;
