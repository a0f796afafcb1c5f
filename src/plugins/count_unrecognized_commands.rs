//! Ends sessions of clients that send unknown commands again and again.
//!
//! A mail program knows the commands of SMTP; what sends others is a scanner, a worm, or a web browser
//! that somebody misuses. The count runs over the whole connection and is never set back.
//!
//! Arguments:
//!   N          at this unknown command the connection is closed, default 4
//!
//! Config files: none.
//!
//! Replies: `521 5.5.1 Closing connection, N unrecognized commands. Perhaps you should read RFC 2821?`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::log::{Level, foreign_within};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use std::sync::Arc;

/// Octets of a command that the log shows.
const SHOWN_MAX: usize = 100;

struct CountUnrecognizedCommands {
    max: u32,
}

/// Unknown commands so far: the note on the connection.
#[derive(Clone, Copy)]
struct Count(u32);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let max = args.positional_number("number of commands", 4, 1..=1_000_000);
    Arc::new(CountUnrecognizedCommands { max })
}

impl Plugin for CountUnrecognizedCommands {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Unrecognized])
    }

    fn unrecognized(&self, cx: &mut Cx<'_>, line: &str) -> Hooked {
        let count = cx.note::<Count>().map_or(0, |count| count.0).saturating_add(1);
        cx.keep_note(Count(count));
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        let shown = foreign_within(verb.as_bytes(), SHOWN_MAX);
        if count < self.max {
            cx.log(Level::Info, format!("'{shown}', ({count})"));
            return Ok(Verdict::Declined);
        }
        cx.log(Level::Info, format!("fail, '{shown}' ({count})"));
        let text = format!(
            "Closing connection, {count} unrecognized commands. Perhaps you should read RFC 2821?"
        );
        Ok(Verdict::deny((5, 1), text).and_disconnect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("count_unrecognized_commands", 0),
            ("count_unrecognized_commands 4", 0),
            ("count_unrecognized_commands 0", 1),
            ("count_unrecognized_commands four", 1),
            ("count_unrecognized_commands 4 5", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
