//! The local syslog daemon: one datagram a line.
//!
//! The C library's syslog is not used because it blocks without a limit and keeps its state in
//! the process. The format is RFC 3164's, which is what every daemon that listens on /dev/log
//! takes.

use crate::server::clock;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::plugin::log::{Id, Level, SyslogOutput};

use super::batch::dropped;
use crate::sys::stamp::{self, Moment};

/// How long a datagram may wait for a daemon that is there but reads nothing, and how long after
/// a failure lines are given up without another try.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connection to the daemon.
#[derive(Debug)]
pub(super) struct SyslogSink {
    settings: SyslogOutput,
    socket: Option<UnixDatagram>,
    failed: Option<Duration>,
    lost: u64,
    datagram: Vec<u8>,
    stamp: (i64, String),
}

impl SyslogSink {
    /// A sink that connects with its first line.
    pub(super) fn new(settings: SyslogOutput) -> Self {
        let stamp = (i64::MIN, String::new());
        Self { settings, socket: None, failed: None, lost: 0, datagram: Vec::new(), stamp }
    }

    /// Sends a line. `sender` is what stands in brackets; the daemon's process number if none.
    pub(super) fn line(&mut self, level: Level, sender: Id, text: &[u8], now: &Moment) {
        if level > self.settings.max {
            return;
        }
        if self.failed.is_some_and(|failed| clock::monotonic().saturating_sub(failed) < PATIENCE) {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let note = dropped(self.lost);
            if self.send(Level::Error, Id::NONE, note.as_bytes(), now).is_err() {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        if self.send(level, sender, text, now).is_err() {
            self.lost += 1;
        }
    }

    /// Connects anew with the next line.
    pub(super) fn reopen(&mut self) {
        self.socket = None;
        self.failed = None;
    }

    /// Sends one datagram. A daemon that was restarted shows as an error on the old socket, so
    /// there is one more try on a new one.
    fn send(&mut self, level: Level, sender: Id, text: &[u8], now: &Moment) -> io::Result<()> {
        self.compose(level, sender, text, now)?;
        if self.socket.as_ref().is_some_and(|socket| socket.send(&self.datagram).is_ok()) {
            self.failed = None;
            return Ok(());
        }
        let result = self.connect().and_then(|socket| {
            socket.send(&self.datagram)?;
            Ok(socket)
        });
        match result {
            Ok(socket) => {
                self.socket = Some(socket);
                self.failed = None;
                Ok(())
            }
            Err(e) => {
                self.socket = None;
                self.failed = Some(clock::monotonic());
                Err(e)
            }
        }
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect(&self.settings.socket)?;
        Ok(socket)
    }

    /// Puts the datagram together: `<PRI>Mon dd hh:mm:ss ident[sender]: text`.
    fn compose(&mut self, level: Level, sender: Id, text: &[u8], now: &Moment) -> io::Result<()> {
        if self.stamp.0 != now.unix {
            self.stamp = (now.unix, stamp::rfc3164(now));
        }
        let level = self.settings.priority.unwrap_or(level);
        let priority = self.settings.facility.priority(level);
        let number = if sender.is_none() { u64::from(std::process::id()) } else { sender.0 };
        self.datagram.clear();
        write!(self.datagram, "<{priority}>{} {}[{number}]: ", self.stamp.1, self.settings.ident)?;
        self.datagram.extend_from_slice(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::log::Facility;
    use crate::sys::time::LocalTime;

    fn now() -> Moment {
        let (month, day, hour, minute, second) = (2, 3, 4, 5, 6);
        let (year, weekday, offset_seconds) = (2026, 2, 0);
        let local = LocalTime { year, month, day, hour, minute, second, weekday, offset_seconds };
        Moment { unix: 1, local }
    }

    fn sink(socket: &std::path::Path, priority: Option<Level>) -> SyslogSink {
        SyslogSink::new(SyslogOutput {
            max: Level::Info,
            priority,
            ident: "qpsmtpd".to_owned(),
            facility: Facility::MAIL,
            socket: socket.to_owned(),
        })
    }

    fn receive(socket: &UnixDatagram) -> String {
        let mut buf = [0; 1_000];
        let n = socket.recv(&mut buf).unwrap();
        String::from_utf8(buf[..n].to_vec()).unwrap()
    }

    #[test]
    fn lines_are_datagrams_and_losses_are_told() {
        let folder = std::env::temp_dir().join(format!("mailreeve-syslog-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut sink = sink(&path, None);
        sink.line(Level::Debug, Id(7), b"unseen", &now());
        sink.line(Level::Info, Id(7), b"pass", &now());
        assert_eq!(receive(&daemon), "<22>Feb  3 04:05:06 qpsmtpd[7]: pass");

        drop(daemon);
        std::fs::remove_file(&path).unwrap();
        for _ in 0..3 {
            sink.line(Level::Error, Id(7), b"lost", &now());
        }
        let daemon = UnixDatagram::bind(&path).unwrap();
        sink.reopen();
        sink.line(Level::Error, Id::NONE, b"back", &now());
        let pid = std::process::id();
        let note = format!("<19>Feb  3 04:05:06 qpsmtpd[{pid}]: 3 log lines dropped");
        assert_eq!(receive(&daemon), note);
        assert_eq!(receive(&daemon), format!("<19>Feb  3 04:05:06 qpsmtpd[{pid}]: back"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn one_priority_for_all() {
        let mut sink = sink(std::path::Path::new("/nowhere"), Some(Level::Notice));
        sink.compose(Level::Error, Id(7), b"x", &now()).unwrap();
        assert!(sink.datagram.starts_with(b"<21>Feb"));
    }
}
