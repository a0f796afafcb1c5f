//! `logging/file`: log lines into a file or into a command.
//!
//! ```text
//! logging/file [loglevel LEVEL] [nosplit] [reopen] [tsformat FORMAT] PATH
//! logging/file [loglevel LEVEL] [reopen] [tsformat FORMAT] |COMMAND
//! ```
//!
//! * `loglevel` (default `LOGWARN`, 4): the least urgent level that is written.
//! * `nosplit`: a connection's lines stay in the file in which its first one was written.
//! * `reopen`: the file is opened anew, or the command run anew, for each connection.
//! * `tsformat` (default `%a %b %d %T %Y`): the time before each line, for strftime; one word.
//! * `PATH`: appended to, created (mode 0640) where it is missing. strftime's `%Y-%m-%d` and so
//!   on are filled in, and a new file begun when the result changes. `%i` is the connection's
//!   number, `parent` outside a connection: a file each. Absolute: nobody should have to know
//!   the daemon's working folder.
//! * `COMMAND`: everything after the bar, for `/bin/sh -c`, run once with log lines as its input.
//!   strftime is filled in when it starts.
//!
//! Of strftime's patterns `%a %b %h %d %e %j %m %y %Y %H %M %S %T %R %F %D %s %z %%` are known;
//! others stay as they are.
//!
//! Reads no config file. Lines look like `Mon Nov 23 17:29:05 2026 HOST[ID]: text`: without hook
//! and plugin as in qpsmtpd, with the connection's number where qpsmtpd had the number of the
//! connection's process. If the file cannot be written, one line on the daemon's own log says so,
//! lines are dropped and counted, and the count is written once it can be again. A command that
//! ends is run again, at most once a second. One that stops reading stops the log, never the mail.

use crate::plugin::log::{FileOutput, Level, Output, PipeOutput};

/// The time as `scalar localtime` of Perl gives it.
const TSFORMAT: &str = "%a %b %d %T %Y";

/// Reads the arguments.
///
/// # Errors
///
/// A missing or relative path, a missing command or value, a level that is none, `nosplit` with
/// a command.
pub fn load(args: &[&str]) -> Result<Output, String> {
    let (mut max, mut split, mut reopen) = (Level::Warning, true, false);
    let mut tsformat = TSFORMAT;
    let mut words = args.iter().copied();
    let target = loop {
        let Some(word) = words.next() else {
            return Err("the path or |command is missing".to_owned());
        };
        let (key, inline) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        let mut value = |name| {
            let value = inline.or_else(|| words.next()).filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("{name}: its value is missing"))
        };
        match key.to_ascii_lowercase().as_str() {
            "loglevel" => {
                max = value("loglevel")?.parse().map_err(|e| format!("loglevel: {e}"))?;
            }
            "tsformat" => tsformat = value("tsformat")?,
            "nosplit" if inline.is_none() => split = false,
            "reopen" if inline.is_none() => reopen = true,
            _ => break words.fold(word.to_owned(), |target, word| target + " " + word),
        }
    };
    let tsformat = tsformat.to_owned();
    match target.strip_prefix('|') {
        Some(command) if command.trim().is_empty() => Err("|: the command is missing".to_owned()),
        Some(_) if !split => Err("nosplit: is for files, not for a command".to_owned()),
        Some(command) => {
            let command = command.trim().to_owned();
            Ok(Output::Pipe(PipeOutput { command, max, reopen, tsformat }))
        }
        None if !target.starts_with('/') => Err(format!(
            "{target:?} is neither an argument (loglevel, nosplit, reopen, tsformat) \
             nor an absolute path nor a |command"
        )),
        None => Ok(Output::File(FileOutput { path: target, max, split, reopen, tsformat })),
    }
}

/// Any arguments are taken or refused with a one-line text.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let args: Vec<&str> = text.split_whitespace().collect();
    match load(&args) {
        Ok(output) => assert!(
            match &output {
                Output::File(file) => file.path.starts_with('/'),
                Output::Pipe(pipe) => !pipe.command.is_empty(),
                _ => false,
            },
            "{output:?}"
        ),
        Err(error) => assert_eq!(error.lines().count(), 1, "{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let file = |path: &str, max, split, reopen, tsformat: &str| {
            let (path, tsformat) = (path.to_owned(), tsformat.to_owned());
            Ok(Output::File(FileOutput { path, max, split, reopen, tsformat }))
        };
        let pipe = |command: &str, max, reopen| {
            let (command, tsformat) = (command.to_owned(), TSFORMAT.to_owned());
            Ok(Output::Pipe(PipeOutput { command, max, reopen, tsformat }))
        };
        for (line, expected) in [
            ("/var/log/x", file("/var/log/x", Level::Warning, true, false, TSFORMAT)),
            (
                "loglevel LOGINFO nosplit REOPEN /x.%Y-%i",
                file("/x.%Y-%i", Level::Info, false, true, TSFORMAT),
            ),
            (
                "loglevel=7 tsformat %FT%T /with blank/a=b",
                file("/with blank/a=b", Level::Debug, true, false, "%FT%T"),
            ),
            ("loglevel LOGCRIT reopen |/page me", pipe("/page me", Level::Critical, true)),
            ("| cat >> /x", pipe("cat >> /x", Level::Warning, false)),
            ("", Err("the path or |command is missing")),
            ("loglevel", Err("loglevel: its value is missing")),
            ("loglevel x /y", Err("loglevel: \"x\" is no log level; allowed are 0 to 7")),
            ("|", Err("|: the command is missing")),
            ("nosplit |cat", Err("nosplit: is for files")),
            ("maxlevel 3 /x", Err("\"maxlevel 3 /x\" is neither an argument (loglevel, nosplit")),
        ] {
            let args: Vec<&str> = line.split_whitespace().collect();
            match (load(&args), expected) {
                (Ok(output), Ok(expected)) => {
                    let expected: Output = expected;
                    assert_eq!(output, expected);
                }
                (Err(error), Err(start)) => {
                    let start: &str = start;
                    assert!(error.starts_with(start), "{error}");
                }
                (got, _) => panic!("{line}: {got:?}"),
            }
            fuzz(line.as_bytes());
        }
    }
}
