//! A line in the system's log for the record before a change and one for that after it, as SME Server's
//! own programs write them: admins look there for who changed what.

use crate::esmith::record::Record;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Facility local1, severity info (RFC 3164 section 4.1.1).
const PRIORITY: u8 = 17 * 8 + 6;

/// Octets of a line; syslog daemons cut longer ones themselves.
const LINE_MAX: usize = 8_000;

/// What stands in the place of a password.
const HIDDEN: &[u8] = b"***";

/// The lines about a change; none where nothing changed.
pub(super) fn lines(
    file: &Path,
    key: &[u8],
    before: Option<&Record>,
    after: Option<&Record>,
) -> Vec<Vec<u8>> {
    let line = |word: &str, record: &Record| {
        let mut text = format!("{}: {word} ", file.display()).into_bytes();
        text.extend([key, b"=", &shown(record)].concat());
        text
    };
    match (before, after) {
        (before, after) if before == after => Vec::new(),
        (Some(before), None) => vec![line("DELETE", before)],
        (before, after) => {
            let old = before.map(|record| line("OLD", record));
            old.into_iter().chain(after.map(|record| line("NEW", record))).collect()
        }
    }
}

/// A record as it is stored, without passwords, which a log is no place for, and on one line.
fn shown(record: &Record) -> Vec<u8> {
    let mut text = record.kind().unwrap_or_default().to_vec();
    for (name, value) in record.properties() {
        let is_secret = name.to_ascii_lowercase().windows(5).any(|it| it == b"passw");
        let value = if is_secret { HIDDEN } else { value.unwrap_or_default() };
        text.extend([b"|", name, b"|", value].concat());
    }
    text.iter()
        .flat_map(|octet| if *octet == b'\n' { vec![b'\\', b'n'] } else { vec![*octet] })
        .collect()
}

/// Sends lines to a syslog daemon; `time` is RFC 3164's.
///
/// # Errors
///
/// What the system says: mostly that nobody listens there.
pub(super) fn send(socket: &Path, time: &str, lines: &[Vec<u8>]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let own = UnixDatagram::unbound()?;
    // The change is done, and does not wait for its log.
    own.set_nonblocking(true)?;
    own.connect(socket)?;
    for line in lines {
        let mut datagram = format!("<{PRIORITY}>{time} db[{}]: ", std::process::id()).into_bytes();
        datagram.extend(line.iter().take(LINE_MAX));
        own.send(&datagram)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(raw: &str) -> Record {
        Record::from_raw(Some(raw.as_bytes().to_vec()))
    }

    #[test]
    fn changes_have_lines() {
        let told = |before: Option<&str>, after: Option<&str>| -> Vec<String> {
            let (before, after) = (before.map(record), after.map(record));
            let lines = lines(Path::new("/db/x"), b"k", before.as_ref(), after.as_ref());
            lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
        };
        let (one, two) = (Some("t|p|1"), Some("t|Passwd|secret|p|a\nb"));
        assert_eq!(told(None, one), ["/db/x: NEW k=t|p|1"]);
        let both = ["/db/x: OLD k=t|p|1", "/db/x: NEW k=t|Passwd|***|p|a\\nb"];
        assert_eq!(told(one, two), both);
        assert_eq!(told(one, None), ["/db/x: DELETE k=t|p|1"]);
        assert_eq!(told(one, one), [""; 0]);
        assert_eq!(told(None, None), [""; 0]);
    }

    #[test]
    fn lines_reach_a_daemon() {
        let name = format!("mailreeve-journal-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let daemon = UnixDatagram::bind(&path).unwrap();
        let sent = send(&path, "Nov 26 02:00:00", &[b"a".to_vec()]);
        std::fs::remove_file(&path).unwrap();
        sent.unwrap();
        daemon.set_nonblocking(true).unwrap();
        let mut buffer = [0; 100];
        let length = daemon.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert_eq!(text, format!("<142>Nov 26 02:00:00 db[{}]: a", std::process::id()));
        assert!(send(&path, "now", &[b"a".to_vec()]).is_err());
        assert!(send(&path, "now", &[]).is_ok());
    }
}
