//! Writes into the log how long each connection lasted, in seconds: `1.055 s.`
//!
//! Arguments:
//!   LEVEL      level of the line, a number or a name, default info; `loglevel LEVEL` does the same
//!
//! Config files: none.
//!
//! Replies: none.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Plugin};
use std::sync::Arc;
use std::time::Duration;

struct ConnectionTime {
    level: Level,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(ConnectionTime { level: level(args) })
}

fn level(args: &mut Args) -> Level {
    match args.positional().map(|word| word.parse()) {
        None => Level::Info,
        Some(Ok(level)) => level,
        Some(Err(unknown)) => {
            args.complain(unknown.to_string());
            Level::Info
        }
    }
}

impl Plugin for ConnectionTime {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Closed])
    }

    fn closed(&self, cx: &mut Cx<'_>) {
        let lasted = cx.now().mono.saturating_sub(cx.connected().mono);
        cx.log(self.level, seconds(lasted));
    }
}

/// Seconds with three decimals.
fn seconds(time: Duration) -> String {
    format!("{}.{:03} s.", time.as_secs(), time.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        for (line, expected, complaints) in [
            ("", Level::Info, 0),
            ("5", Level::Notice, 0),
            ("LOGDEBUG", Level::Debug, 0),
            ("9", Level::Info, 1),
            ("5 6", Level::Notice, 1),
        ] {
            let mut args = Args::of(&format!("connection_time {line}"));
            assert_eq!(level(&mut args), expected, "{line}");
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    #[test]
    fn times_have_three_decimals() {
        for (micros, expected) in
            [(0, "0.000 s."), (1_055_999, "1.055 s."), (3_600_000_000, "3600.000 s.")]
        {
            assert_eq!(seconds(Duration::from_micros(micros)), expected);
        }
    }
}
