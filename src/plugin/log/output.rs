//! Where log lines go, as data: what a logging plugin's arguments come to.
//!
//! A logging plugin only reads its arguments. It gives back one of these descriptions, and the
//! log thread does the opening and writing: so a check of the configuration opens nothing, and a
//! reload can keep what stays the same.

use std::path::PathBuf;
use std::str::FromStr;

use super::Level;

/// One place that log lines go to, with the lines that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The daemon's own log (stderr, or what `--log` names), in the grammar of
    /// [`Line::render`](super::Line::render).
    Stderr {
        /// The least urgent level that is printed.
        max: Level,
    },
    /// A file, or one file per day or connection.
    File(FileOutput),
    /// The standard input of a command.
    Pipe(PipeOutput),
    /// The local syslog daemon.
    Syslog(SyslogOutput),
    /// The daemon's own log again, with more lines about refused messages than accepted ones.
    Adaptive {
        /// Lines up to this level are repeated when their message was accepted.
        accept: Level,
        /// Lines up to this level are printed at once.
        reject: Level,
        /// Stands before the repeated lines, after the connection's number.
        prefix: String,
    },
    /// Nowhere.
    Devnull,
}

impl Output {
    /// The least urgent level of which this output prints anything; `None` when it prints nothing.
    #[must_use]
    pub fn max(&self) -> Option<Level> {
        match self {
            Self::Stderr { max } => Some(*max),
            Self::File(file) => Some(file.max),
            Self::Pipe(pipe) => Some(pipe.max),
            Self::Syslog(syslog) => Some(syslog.max),
            Self::Adaptive { accept, reject, .. } => Some(*accept.max(reject)),
            Self::Devnull => None,
        }
    }

    /// Whether this output must be told how transactions and connections end.
    #[must_use]
    pub fn follows_connections(&self) -> bool {
        match self {
            Self::File(file) => file.reopen || !file.split || file.path.contains("%i"),
            Self::Pipe(pipe) => pipe.reopen,
            Self::Adaptive { .. } => true,
            Self::Stderr { .. } | Self::Syslog(_) | Self::Devnull => false,
        }
    }
}

/// A log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOutput {
    /// The path, a pattern of strftime; `%i` is the connection's number.
    pub path: String,
    /// The least urgent level that is written.
    pub max: Level,
    /// Whether the lines of one connection may be spread over two files when the time in the
    /// path changes meanwhile.
    pub split: bool,
    /// Whether the file is opened anew for each connection.
    pub reopen: bool,
    /// The time before each line, a pattern of strftime.
    pub tsformat: String,
}

/// A command that reads log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipeOutput {
    /// The command for `/bin/sh -c`, a pattern of strftime that is filled in at its start.
    pub command: String,
    /// The least urgent level that is written.
    pub max: Level,
    /// Whether the command is run anew for each connection.
    pub reopen: bool,
    /// The time before each line, a pattern of strftime.
    pub tsformat: String,
}

/// The local syslog daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogOutput {
    /// The least urgent level that is sent.
    pub max: Level,
    /// The priority of all lines; `None` = each line's own level.
    pub priority: Option<Level>,
    /// The name of the sender.
    pub ident: String,
    /// The part of the system that the lines belong to.
    pub facility: Facility,
    /// The datagram socket of the daemon.
    pub socket: PathBuf,
}

/// A facility of syslog (RFC 5424 section 6.2.1), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// The mail system, 2.
    pub const MAIL: Self = Self(2);

    /// The names of syslog.h in the order of their numbers; 12 to 15 have none.
    const NAMES: [&'static str; 12] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
        "authpriv", "ftp",
    ];

    /// What stands between `<` and `>` before a message: facility × 8 + level.
    #[must_use]
    pub fn priority(self, level: Level) -> u8 {
        self.0 * 8 + level.number()
    }
}

impl FromStr for Facility {
    type Err = String;

    /// Reads `LOG_MAIL`, `mail`, `local3` and so on, in any case. The error names what is allowed.
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("log_").unwrap_or(&lower);
        let standard = (0..).zip(Self::NAMES).find(|(_, known)| *known == name);
        let local = name.strip_prefix("local").and_then(|n| n.parse::<u8>().ok());
        match (standard, local) {
            (Some((number, _)), _) => Ok(Self(number)),
            (None, Some(n)) if n < 8 && name.len() == 6 => Ok(Self(16 + n)),
            _ => {
                let names = Self::NAMES.join(", ");
                Err(format!(
                    "{text:?} is no syslog facility; allowed are {names}, local0 to local7"
                ))
            }
        }
    }
}

/// Splits a logger's arguments `name value …` or `name=value …` into pairs; `known` are the names
/// that it has.
///
/// # Errors
///
/// An unknown name (the text lists those known), or a name without a value.
pub fn named_arguments<'a, 'k>(
    args: &[&'a str],
    known: &[&'k str],
) -> Result<Vec<(&'k str, &'a str)>, String> {
    let mut pairs = Vec::new();
    let mut words = args.iter().copied();
    while let Some(word) = words.next() {
        let (key, inline) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        let Some(name) = known.iter().find(|name| name.eq_ignore_ascii_case(key)) else {
            return Err(format!("unknown argument {key:?}; known are {}", known.join(", ")));
        };
        let Some(value) = inline.or_else(|| words.next()).filter(|value| !value.is_empty()) else {
            return Err(format!("{name}: its value is missing"));
        };
        pairs.push((*name, value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facilities_are_read_by_name() {
        for (text, number) in [
            ("LOG_MAIL", Some(2)),
            ("mail", Some(2)),
            ("Daemon", Some(3)),
            ("log_ftp", Some(11)),
            ("LOG_LOCAL0", Some(16)),
            ("local7", Some(23)),
            ("local8", None),
            ("local07", None),
            ("local", None),
            ("", None),
            ("2", None),
        ] {
            assert_eq!(text.parse::<Facility>().ok().map(|f| f.0), number, "{text:?}");
        }
        assert_eq!(Facility::MAIL.priority(Level::Info), 22);
        assert_eq!(Facility(23).priority(Level::Debug), 191);
    }

    #[test]
    fn arguments_come_in_two_spellings() {
        let known = ["accept", "prefix"];
        for (line, expected) in [
            ("", Ok(vec![])),
            ("accept 3 prefix =", Ok(vec![("accept", "3"), ("prefix", "=")])),
            ("Accept=info", Ok(vec![("accept", "info")])),
            ("accept", Err("accept: its value is missing")),
            ("accept=", Err("accept: its value is missing")),
            ("deny 3", Err("unknown argument \"deny\"; known are accept, prefix")),
        ] {
            let args: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(named_arguments(&args, &known), expected.map_err(str::to_owned), "{line}");
        }
    }

    #[test]
    fn outputs_say_what_they_need() {
        let file = |path: &str, split, reopen| {
            Output::File(FileOutput {
                path: path.to_owned(),
                max: Level::Info,
                split,
                reopen,
                tsformat: String::new(),
            })
        };
        let adaptive =
            Output::Adaptive { accept: Level::Error, reject: Level::Info, prefix: String::new() };
        for (output, max, follows) in [
            (Output::Devnull, None, false),
            (Output::Stderr { max: Level::Alert }, Some(Level::Alert), false),
            (adaptive, Some(Level::Info), true),
            (file("/log", true, false), Some(Level::Info), false),
            (file("/log", false, false), Some(Level::Info), true),
            (file("/log", true, true), Some(Level::Info), true),
            (file("/log.%i", true, false), Some(Level::Info), true),
        ] {
            assert_eq!((output.max(), output.follows_connections()), (max, follows), "{output:?}");
        }
    }
}
