//! Ends sessions of clients that send nothing but NOOP.
//!
//! Now and then a NOOP keeps a connection open; many in a row only occupy it. HELO, EHLO, MAIL, RCPT,
//! DATA, VRFY and HELP set the counter back, and so does RSET where it ends a mail transaction.
//!
//! Arguments:
//!   N          at this NOOP in a row the connection is closed, default 3
//!
//! Config files: none.
//!
//! Replies: `500 5.7.0 Stop wasting my time, too many consecutive NOOPs`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::session::{Hello, PathOf};
use std::sync::Arc;

struct NoopCounter {
    max: u32,
}

/// NOOPs in a row: the note on the connection.
#[derive(Clone, Copy)]
struct Count(u32);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let max = args.positional_number("number of NOOPs", 3, 1..=1_000_000);
    Arc::new(NoopCounter { max })
}

impl Plugin for NoopCounter {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[
            Hook::Noop,
            Hook::Helo,
            Hook::Address,
            Hook::Data,
            Hook::Vrfy,
            Hook::Help,
            Hook::Reset,
        ])
    }

    fn noop(&self, cx: &mut Cx<'_>) -> Hooked {
        let count = count(cx).saturating_add(1);
        cx.keep_note(Count(count));
        if count < self.max {
            return Ok(Verdict::Declined);
        }
        cx.log(Level::Info, format!("fail, {count} consecutive NOOPs"));
        let text = "Stop wasting my time, too many consecutive NOOPs";
        Ok(Verdict::deny((7, 0), text).and_disconnect())
    }

    fn helo(&self, cx: &mut Cx<'_>, _hello: &Hello) -> Hooked {
        set_back(cx)
    }

    /// MAIL and RCPT: asked before the hooks of these names, where an earlier plugin may refuse.
    fn address(&self, cx: &mut Cx<'_>, _command: PathOf, _raw: &[u8]) -> Hooked {
        set_back(cx)
    }

    fn data(&self, cx: &mut Cx<'_>, _chunked: bool) -> Hooked {
        set_back(cx)
    }

    fn vrfy(&self, cx: &mut Cx<'_>, _what: &str) -> Hooked {
        set_back(cx)
    }

    fn help(&self, cx: &mut Cx<'_>, _what: &str) -> Hooked {
        set_back(cx)
    }

    fn reset(&self, cx: &mut Cx<'_>) {
        if count(cx) != 0 {
            cx.keep_note(Count(0));
        }
    }
}

fn count(cx: &Cx<'_>) -> u32 {
    cx.note::<Count>().map_or(0, |count| count.0)
}

fn set_back(cx: &mut Cx<'_>) -> Hooked {
    if count(cx) != 0 {
        cx.keep_note(Count(0));
    }
    Ok(Verdict::Declined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("noop_counter", 0),
            ("noop_counter 10", 0),
            ("noop_counter 0", 1),
            ("noop_counter often", 1),
            ("noop_counter 3 4", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
