//! The integration tests: one binary, a module for each kind.

#![allow(clippy::disallowed_methods, reason = "a test of the daemon waits for it, by a real clock")]

mod addresses;
#[cfg(test)]
mod arc;
#[cfg(test)]
mod checkers;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod daemon;
mod dialogue;
#[cfg(test)]
mod dkim;
mod json;
#[cfg(test)]
mod mime;
#[cfg(test)]
mod parked;
mod sample;
#[cfg(test)]
mod slow_dns;
mod smuggling;
#[cfg(test)]
mod spf;
mod tidy;
#[cfg(test)]
mod tnef;
#[cfg(test)]
mod uri;
#[cfg(test)]
mod yaml;
