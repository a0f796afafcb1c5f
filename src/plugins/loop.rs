//! Refuses messages that have been through so many servers that they must be going round in
//! circles.
//!
//! Each server that a message passes adds a `Received` field, and each delivery may add a
//! `Delivered-To`; both are counted, our own `Received` included. Nobody is exempt: a loop between
//! friends is the usual one. A message with 100 `Received` fields is refused also without this
//! plugin.
//!
//! Arguments:
//!   MAX_HOPS   so many fields are too many, default 100
//!
//! Config files: none.
//!
//! Replies: `554 5.4.6 Too many hops`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use std::sync::Arc;

struct Loop {
    max_hops: usize,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let max_hops = args.positional_number("max_hops", 100, 1..=1_000);
    Arc::new(Loop { max_hops })
}

impl Plugin for Loop {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        let header = message.current.header(message.received);
        let hops = message
            .current
            .headers()
            .iter(header)
            .filter(|field| field.is("Received") || field.is("Delivered-To"))
            .count();
        if hops < self.max_hops {
            cx.log(Level::Info, format!("pass, {hops} hops"));
            return Ok(Verdict::Declined);
        }
        cx.log(Level::Info, format!("fail, {hops} hops"));
        Ok(Verdict::deny((4, 6), "Too many hops"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints) in
            [("loop", 0), ("check_loop 30", 0), ("loop many", 1), ("loop 0", 1), ("loop 20 30", 1)]
        {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
