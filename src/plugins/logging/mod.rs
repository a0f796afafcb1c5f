//! Loggers, and the plugins that write one line about each message.

pub mod adaptive;
pub mod devnull;
pub mod file;
pub mod logterse;
pub mod syslog;
pub mod warn;
