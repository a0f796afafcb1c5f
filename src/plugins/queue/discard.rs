//! Accepts every message and throws it away. For measuring; it loses mail on purpose.
//!
//! Each message is logged at level warning, so that nobody runs it unawares.
//!
//! Arguments: none.
//!
//! Config files: none.
//!
//! Replies: `250 Queued!`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use std::sync::Arc;

struct Discard;

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(Discard)
}

impl Plugin for Discard {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Queue])
    }

    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        cx.log(Level::Warning, "pass, the message is DISCARDED: this plugin is for tests only");
        Ok(Verdict::Ok(Some("Queued!".into())))
    }
}
