//! The daemon as a process: the real binary with a config folder of its own, and clients.
//!
//! What a dialogue cannot show is here: several clients at a time, signals, full disks, exhausted
//! descriptors, a log that nobody reads, `kill -9`. Tests wait for events (a reply, a log line, the
//! end of a process) and never for a time to pass; where the system has no event to wait for they
//! look again until a deadline that is far away. `MAILREEVE_FULL=1` makes the long ones longer.

mod client;
mod house;
pub(crate) mod system;

mod auth;
mod big;
mod commands;
mod content;
mod crash;
mod detached;
mod dkim;
mod dmarc;
mod dns;
mod esmith;
mod esmith_event;
mod event_loop;
mod faults;
mod hostile;
mod import;
mod karma;
mod limits;
mod log;
mod memory;
mod milter;
mod names;
mod nameserver;
mod passwords;
mod peers;
mod proxy;
mod queue;
mod reload;
mod rspamd;
mod services;
mod signals;
mod sme;
mod spamassassin;
mod spool;
mod tls;
mod virus;
