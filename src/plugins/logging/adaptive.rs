//! `logging/adaptive`: much about refused messages, little about accepted ones.
//!
//! ```text
//! logging/adaptive [accept LEVEL] [reject LEVEL] [prefix TEXT]
//! ```
//!
//! * `accept` (default `LOGERROR`, 3): lines up to this level are kept, and repeated with the
//!   prefix once their message was accepted. Refusing one recipient counts as a refusal of the
//!   message: then nothing is repeated.
//! * `reject` (default `LOGWARN`, 4): lines up to this level are printed at once.
//! * `prefix` (default one backquote): stands before the repeated lines, after the connection's
//!   number, so that multilog can tell them apart (``'+*` *'``).
//!
//! Reads no config file. Lines go to the daemon's own log (stderr, or what `--log` names) as
//! `ID plugin plugin: text`, in words `` 1234 ` rcpt_ok plugin: pass `` when repeated, and
//! `ID text` from the core. What is kept is bounded: when too much is, the oldest connection's
//! lines are given up. If the log takes nothing more, lines are dropped and counted, and the mail
//! goes on.

use crate::plugin::log::{Level, Output, named_arguments};

/// Reads the arguments.
///
/// # Errors
///
/// An unknown argument, one without a value, or a level that is none.
pub fn load(args: &[&str]) -> Result<Output, String> {
    let (mut accept, mut reject, mut prefix) = (Level::Error, Level::Warning, "`");
    for (name, value) in named_arguments(args, &["accept", "reject", "prefix"])? {
        match name {
            "prefix" => prefix = value,
            "accept" => accept = value.parse().map_err(|e| format!("accept: {e}"))?,
            _ => reject = value.parse().map_err(|e| format!("reject: {e}"))?,
        }
    }
    Ok(Output::Adaptive { accept, reject, prefix: prefix.to_owned() })
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
            ("", Ok((Level::Error, Level::Warning, "`"))),
            ("accept 4 reject LOGINFO", Ok((Level::Warning, Level::Info, "`"))),
            ("prefix=+ accept=1", Ok((Level::Alert, Level::Warning, "+"))),
            ("accept loud", Err("accept: \"loud\" is no log level; allowed are 0 to 7")),
            ("reject", Err("reject: its value is missing")),
            ("deny 5", Err("unknown argument \"deny\"; known are accept, reject, prefix")),
        ] {
            let args: Vec<&str> = line.split_whitespace().collect();
            match (load(&args), expected) {
                (Ok(output), Ok((accept, reject, prefix))) => {
                    let prefix = prefix.to_owned();
                    assert_eq!(output, Output::Adaptive { accept, reject, prefix });
                }
                (Err(error), Err(start)) => assert!(error.starts_with(start), "{error}"),
                (got, _) => panic!("{line}: {got:?}"),
            }
            fuzz(line.as_bytes());
        }
    }
}
