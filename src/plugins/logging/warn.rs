//! `logging/warn`: log lines on the daemon's own log, up to a level of its own.
//!
//! ```text
//! logging/warn [LEVEL]
//! ```
//!
//! * `LEVEL` (default `LOGWARN`, 4): the least urgent level that is printed, a number from 0 to 7
//!   or a name (`LOGINFO`, `info`).
//!
//! Reads no config file; `loglevel` has no effect on it. Lines look like those of the built-in
//! logger, which is silent while any logging plugin is loaded: `ID (hook) plugin: text`. They go
//! to stderr, or to what `--log` names. If that takes nothing more, lines are dropped and counted,
//! and the mail goes on.

use crate::plugin::log::{Level, Output};

/// Reads the arguments.
///
/// # Errors
///
/// A level that is none, or more than one argument.
pub fn load(args: &[&str]) -> Result<Output, String> {
    let max = match args {
        [] => Level::Warning,
        [level] => level.parse().map_err(|e| format!("level: {e}"))?,
        [_, more, ..] => return Err(format!("unknown argument {more:?}; one level is allowed")),
    };
    Ok(Output::Stderr { max })
}

/// Any arguments are taken or refused with a one-line text.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let args: Vec<&str> = text.split_whitespace().collect();
    if let Err(error) = load(&args) {
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        for (line, expected) in [
            ("", Ok(Level::Warning)),
            ("6", Ok(Level::Info)),
            ("LOGDEBUG", Ok(Level::Debug)),
            ("9", Err("level: \"9\" is no log level; allowed are 0 to 7")),
            ("6 7", Err("unknown argument \"7\"")),
        ] {
            let args: Vec<&str> = line.split_whitespace().collect();
            match (load(&args), expected) {
                (Ok(output), Ok(max)) => assert_eq!(output, Output::Stderr { max }),
                (Err(error), Err(start)) => assert!(error.starts_with(start), "{error}"),
                (got, _) => panic!("{line}: {got:?}"),
            }
            fuzz(line.as_bytes());
        }
    }
}
