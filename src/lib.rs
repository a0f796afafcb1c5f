//! Mailreeve: the SMTP daemon that stands in front of a small company's mail server and decides what
//! comes in. `ARCHITECTURE.md` is the map; `plugin` is the manual for who writes a plugin.

pub mod authn;
pub mod client;
pub mod commands;
pub mod config;
pub mod dns;
pub mod esmith;
pub mod import;
pub mod limits;
pub mod mail;
pub mod plugin;
pub mod plugins;
pub mod server;
pub mod smtp;
pub mod store;
pub mod sys;

#[cfg(any(test, fuzzing))]
mod fuzz;
