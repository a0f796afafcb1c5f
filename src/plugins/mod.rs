//! The registry: every plugin by name, with the names it had before.
//!
//! Adding a plugin is a file and a line here. Names of qpsmtpd 0.84 to 1.0 are aliases that say once
//! what the plugin is called now; plugins of that time that are not built are entries that say why
//! and what to use instead, so that an upgrade never keeps mail down.

pub mod load;
pub mod logging;
pub mod queue;

pub mod peers;
pub mod rcpt_ok;
pub mod relay;

use crate::plugin::log::Output;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Plugin};
use std::sync::Arc;

include!(concat!(env!("OUT_DIR"), "/headers.rs"));

/// Makes a plugin of its line.
pub type Loader = fn(&mut Args, &Setup<'_>) -> Arc<dyn Plugin>;

/// What stands behind a name.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A plugin.
    Plugin(Loader),
    /// A logger: a line of the file `logging`.
    Logger(fn(&[&str]) -> Result<Output, String>),
    /// The line `peers`: the lists under `peers/` take its place.
    Peers,
    /// Not built: why, and what to use instead.
    Gone(&'static str),
}

/// One name.
pub struct Entry {
    /// As lines and logs spell it.
    pub name: &'static str,
    /// Names it had before, or has elsewhere.
    pub aliases: &'static [&'static str],
    /// What it is.
    pub kind: Kind,
}

const fn plugin(name: &'static str, aliases: &'static [&'static str], load: Loader) -> Entry {
    Entry { name, aliases, kind: Kind::Plugin(load) }
}

const fn logger(name: &'static str, load: fn(&[&str]) -> Result<Output, String>) -> Entry {
    Entry { name, aliases: &[], kind: Kind::Logger(load) }
}

const fn gone(name: &'static str, why: &'static str) -> Entry {
    Entry { name, aliases: &[], kind: Kind::Gone(why) }
}

/// All names, in alphabetical order.
pub static REGISTRY: &[Entry] = &[
    logger("logging/adaptive", logging::adaptive::load),
    logger("logging/devnull", logging::devnull::load),
    logger("logging/file", logging::file::load),
    logger("logging/syslog", logging::syslog::load),
    logger("logging/warn", logging::warn::load),
    Entry { name: "peers", aliases: &[], kind: Kind::Peers },
    plugin("queue/discard", &[], queue::discard::load),
    plugin("queue/maildir", &["maildir"], queue::maildir::load),
    plugin("rcpt_ok", &[], rcpt_ok::load),
    plugin("relay", &["check_relay", "check_norelay", "norelay", "relay_only"], relay::load),
];

/// Finds an entry by its name or an old one.
pub fn find(name: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.name == name || entry.aliases.contains(&name))
}

/// The manual of a plugin: the header of its file.
pub fn manual(entry: &Entry) -> Option<&'static str> {
    let file = entry.name.replace('-', "_");
    HEADERS.iter().find(|(name, _)| *name == file).map(|(_, header)| *header)
}

#[cfg(test)]
mod tests;
