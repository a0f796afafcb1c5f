//! `logging/syslog`: log lines to the local syslog daemon or journald.
//!
//! ```text
//! logging/syslog [loglevel LEVEL] [priority P] [ident NAME] [facility F] [logsock SOCKET]
//! ```
//!
//! * `loglevel` (default `LOGWARN`, 4): the least urgent level that is sent.
//! * `priority` (default: each line's own level): one level for all lines, as `LOG_NOTICE`.
//! * `ident` (default `qpsmtpd`): the name of the sender, of letters, digits, `-`, `_`, `.`.
//! * `facility` (default `LOG_MAIL`): `mail`, `LOG_DAEMON`, `local0` to `local7`, …
//! * `logsock` (default `unix`): `unix` is the datagram socket `/dev/log`; an absolute path names
//!   another. qpsmtpd's other kinds are taken when `unix` is among them, as in `udp,unix`.
//!
//! Reads no config file. Each line is one datagram, `<PRI>Mon dd hh:mm:ss ident[ID]: text` (RFC
//! 3164): the text alone, without hook and plugin as in qpsmtpd, and with the connection's number
//! where qpsmtpd had the number of the connection's process. If the daemon is not there or takes
//! nothing for a second, lines are dropped, counted, and the number is sent once it is back.

use std::path::PathBuf;

use crate::plugin::log::{Facility, Level, Output, SyslogOutput, named_arguments};

/// Where syslog daemons and journald listen.
const SOCKET: &str = "/dev/log";

/// Longest `ident` in octets (RFC 5424 section 6.2.5 allows 48).
const IDENT_MAX: usize = 48;

/// Reads the arguments.
///
/// # Errors
///
/// An unknown argument, one without a value, or a value that is not allowed.
pub fn load(args: &[&str]) -> Result<Output, String> {
    let known = ["loglevel", "priority", "ident", "facility", "logsock"];
    let mut syslog = SyslogOutput {
        max: Level::Warning,
        priority: None,
        ident: "qpsmtpd".to_owned(),
        facility: Facility::MAIL,
        socket: PathBuf::from(SOCKET),
    };
    for (name, value) in named_arguments(args, &known)? {
        match name {
            "loglevel" => syslog.max = value.parse().map_err(|e| format!("loglevel: {e}"))?,
            "priority" => {
                syslog.priority = Some(value.parse().map_err(|e| format!("priority: {e}"))?);
            }
            "ident" => syslog.ident = ident(value)?,
            "facility" => syslog.facility = value.parse().map_err(|e| format!("facility: {e}"))?,
            _ => syslog.socket = socket(value)?,
        }
    }
    Ok(Output::Syslog(syslog))
}

/// A name that every syslog daemon can tell from the text behind it.
fn ident(value: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if value.len() <= IDENT_MAX && value.bytes().all(plain) {
        return Ok(value.to_owned());
    }
    Err(format!("ident: {value:?} is not allowed; up to {IDENT_MAX} letters, digits, - _ . are"))
}

/// The path of the socket that `logsock` names.
fn socket(value: &str) -> Result<PathBuf, String> {
    if value.starts_with('/') {
        return Ok(PathBuf::from(value));
    }
    if value.split(',').any(|kind| kind == "unix") {
        return Ok(PathBuf::from(SOCKET));
    }
    Err(format!("logsock: {value:?} is not supported; allowed are unix and an absolute path"))
}

/// Any arguments are taken or refused with a one-line text.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let args: Vec<&str> = text.split_whitespace().collect();
    match load(&args) {
        Ok(output) => {
            let fits = |o: &Output| matches!(o, Output::Syslog(s) if s.ident.len() <= IDENT_MAX);
            assert!(fits(&output), "{output:?}");
        }
        Err(error) => assert_eq!(error.lines().count(), 1, "{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let row = |max, priority, ident: &str, priority_number, socket: &str| {
            Ok((max, priority, ident.to_owned(), priority_number, PathBuf::from(socket)))
        };
        for (line, expected) in [
            ("", row(Level::Warning, None, "qpsmtpd", 22, "/dev/log")),
            (
                "loglevel LOGINFO priority LOG_NOTICE ident mx-1 facility LOG_LOCAL0 logsock unix",
                row(Level::Info, Some(Level::Notice), "mx-1", 134, "/dev/log"),
            ),
            ("logsock udp,unix", row(Level::Warning, None, "qpsmtpd", 22, "/dev/log")),
            ("logsock=/run/log", row(Level::Warning, None, "qpsmtpd", 22, "/run/log")),
            ("logsock udp", Err("logsock: \"udp\" is not supported; allowed are unix")),
            ("ident a[b", Err("ident: \"a[b\" is not allowed; up to 48")),
            ("facility post", Err("facility: \"post\" is no syslog facility; allowed are kern")),
            ("priority x", Err("priority: \"x\" is no log level; allowed are 0 to 7")),
            ("loglevel", Err("loglevel: its value is missing")),
            ("level 3", Err("unknown argument \"level\"; known are loglevel")),
        ] {
            let args: Vec<&str> = line.split_whitespace().collect();
            match (load(&args), expected) {
                (Ok(Output::Syslog(s)), Ok(expected)) => {
                    let number = s.facility.priority(Level::Info);
                    assert_eq!((s.max, s.priority, s.ident, number, s.socket), expected);
                }
                (Err(error), Err(start)) => assert!(error.starts_with(start), "{error}"),
                (got, _) => panic!("{line}: {got:?}"),
            }
            fuzz(line.as_bytes());
        }
    }
}
