//! Puts mail from outside off while this machine is busy, before anything else costs it time.
//!
//! The measure is the 1-minute load average at the moment of accepting. Clients that may relay, and
//! those of the local networks, are served all the same: nobody in the office should notice.
//!
//! Arguments:
//!   max_load    highest load at which strangers are let in, decimals allowed, default 7; the number
//!               alone will do (`loadcheck 7`)
//!   cache_time  taken for old configurations, and not needed: the daemon looks at the load itself
//!   uptime      the same: no program is run
//!
//! Config files: none of its own; `relayclients` and its kin say who may relay.
//!
//! Replies: `421 4.3.2 Server load too high, please try again later.`
//!
//! Karma: none.
//!
//! When it cannot tell: on a system that knows no load average, everybody is let in.

use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What may be given as a load.
const LOADS: RangeInclusive<f64> = 0.0..=100_000.0;

#[derive(Debug, PartialEq)]
struct LoadCheck {
    max: f64,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(read(args))
}

fn read(args: &mut Args) -> LoadCheck {
    let _unneeded = (args.named("cache_time"), args.named("uptime"));
    let max = args.number("max_load", 7.0, LOADS);
    LoadCheck { max: args.positional_number("max_load", max, LOADS) }
}

impl Plugin for LoadCheck {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Accept])
    }

    fn accept(&self, cx: &mut Cx<'_>) -> Hooked {
        let arrival = cx.arrival().copied().unwrap_or_default();
        let Some(load) = arrival.load else {
            cx.log(Level::Debug, "skip, load unknown");
            return Ok(Verdict::Declined);
        };
        if load <= self.max {
            cx.log(Level::Debug, format!("pass, load {load:.2}"));
            return Ok(Verdict::Declined);
        }
        let ours = if arrival.is_local {
            Some("local client")
        } else {
            cx.config().relay.allows(cx.peer().ip).then_some("relay client")
        };
        if let Some(words) = ours {
            cx.log(Level::Info, format!("skip, {words} (load {load:.2})"));
            return Ok(Verdict::Declined);
        }
        cx.log(Level::Error, format!("local load too high: {load:.2}"));
        Ok(Verdict::deny_soft((3, 2), "Server load too high, please try again later."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        for (line, max, complaints) in [
            ("", 7.0, 0),
            ("max_load 5", 5.0, 0),
            ("max_load=2.5 cache_time 10 uptime /usr/bin/uptime", 2.5, 0),
            ("12", 12.0, 0),
            ("cache_time 30 4", 4.0, 0),
            ("max_load high", 7.0, 1),
            ("max_load NaN", 7.0, 1),
            ("max_load -1", 7.0, 1),
            ("7 8", 7.0, 1),
            ("min_load 1", 7.0, 2),
        ] {
            let mut args = Args::of(&format!("loadcheck {line}"));
            assert_eq!(read(&mut args), LoadCheck { max }, "{line}");
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
