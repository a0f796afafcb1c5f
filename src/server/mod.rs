//! The shell around the pure core: sockets, threads, files, signals.
//!
//! `start.rs` brings the daemon up; `event_loop.rs` owns every socket; `errand.rs` and `pool.rs` are
//! the threads; `spool.rs` keeps large messages on their way; `log.rs` is the one thread that prints.

pub mod clock;
pub mod errand;
pub mod event_loop;
pub mod live;
pub mod log;
pub mod pool;
pub mod privileges;
pub mod resolver;
pub mod slots;
pub mod snapshot;
pub mod spool;
pub mod start;
pub mod tls;
pub mod watch;
