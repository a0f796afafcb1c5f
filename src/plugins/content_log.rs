//! Appends every message to a file: for looking at what comes in, and for teaching filters.
//!
//! Header and body are written as they stand when the plugin's turn comes, with LF line ends and nothing
//! between two messages, whatever plugins behind this one say of them. The file is as private as mail
//! (mode 600), and its folder, where it is missing, too (700). Files grow without a bound of ours: a new
//! one is begun when what strftime makes of its name changes, and somebody else takes old ones away.
//!
//! Arguments: none.
//!
//! Config files: `content_log_enabled`, `true`, `yes` or `1` (default), or `false`, `no` or `0`;
//! `content_log_file`, the path, in which `%Y`, `%m`, `%d`, `%H`, `%M`, `%S`, `%F`, `%j` and so on are
//! filled in as by strftime; default `mail/%Y%m%d`. A relative path is below `state_dir`.
//!
//! Replies: none.
//!
//! Karma: none.
//!
//! When it cannot tell: a file that cannot be written is an error in the log and no reason to keep mail
//! up; nothing of that message stays in it.

use crate::client::append::append;
use crate::client::words;
use crate::config::files::{Problem, quote};
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use std::sync::Arc;

struct ContentLog {
    enabled: bool,
    pattern: String,
}

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let pattern = setup.scalar("content_log_file").map_or("mail/%Y%m%d".to_string(), |it| it.text);
    Arc::new(ContentLog { enabled: enabled(setup), pattern })
}

fn enabled(setup: &Setup<'_>) -> bool {
    let Some(line) = setup.scalar("content_log_enabled") else { return true };
    match line.text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" => true,
        "0" | "false" | "no" => false,
        other => {
            let what = format!("{}: use true or false; it is taken for false", quote(other));
            setup.with_problems(|problems| Problem::error(&line, what).note(problems));
            false
        }
    }
}

impl Plugin for ContentLog {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        if !self.enabled {
            cx.log(Level::Debug, "skip, not enabled");
            return Ok(Verdict::Declined);
        }
        cx.lane(Lane::Writers)?;
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        let pattern = cx.config().state_dir.join(&self.pattern);
        let parts = message.current.parts(message.received);
        match append(&pattern, cx.now().unix_seconds(), &parts) {
            Ok(path) => {
                let path = foreign(path.to_string_lossy().as_bytes());
                cx.log(Level::Info, format!("pass, written to {path}"));
            }
            Err(error) => {
                let path = foreign(pattern.to_string_lossy().as_bytes());
                cx.log(Level::Error, format!("error, {path}: {}", words(&error)));
            }
        }
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn it_is_on_unless_told_otherwise() {
        for (word, on, faults) in [
            ("", true, 0),
            ("1", true, 0),
            ("True", true, 0),
            ("yes", true, 0),
            ("0", false, 0),
            ("no", false, 0),
            ("FALSE", false, 0),
            ("perhaps", false, 1),
        ] {
            let file = ("content_log_enabled".to_string(), word.to_string());
            let files = Files::in_memory([file]);
            let mut problems = Vec::new();
            assert_eq!(enabled(&Setup::new(&files, &mut problems)), on, "{word}");
            assert_eq!(problems.len(), faults, "{word}");
        }
    }
}
