//! The shell around the pure core: sockets, threads, files, signals.

pub mod log;
pub mod spool;
