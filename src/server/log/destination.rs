//! The daemon's own log: what the built-in logger writes to.
//!
//! Under daemontools or systemd that is stderr, and whoever reads it puts the time before each
//! line. An init script has nobody who reads stderr; there `--log` names a file or syslog.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::plugin::log::{Facility, Id, Level, SyslogOutput, foreign};

use super::batch::{Batch, WhenFull};
use super::file;
use super::syslog::SyslogSink;
use crate::sys::stamp::{self, Moment};

/// Where the daemon's own log goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Standard error, lines without time and level.
    Stderr,
    /// A file, lines with time (RFC 3339) and level before them.
    File(PathBuf),
    /// The local syslog daemon, as `mailreeve` with facility mail.
    Syslog,
    /// A list of lines, for tests.
    Capture(Arc<Mutex<Vec<String>>>),
}

impl Destination {
    /// Sees whether it can be used, while there is still somebody to be told.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn check(&self) -> io::Result<()> {
        match self {
            Self::File(path) => open_file(path).map(drop),
            Self::Stderr | Self::Syslog | Self::Capture(_) => Ok(()),
        }
    }
}

/// The daemon's own log, open.
pub(super) struct Main {
    target: Target,
    batch: Batch,
    date: (i64, String),
}

/// Errors name the path.
fn open_file(path: &Path) -> io::Result<File> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    file::open(path).map_err(named)
}

enum Target {
    Stream(Box<dyn Write + Send>),
    File { path: PathBuf, file: File },
    Syslog(SyslogSink),
    Capture(Arc<Mutex<Vec<String>>>),
}

impl Main {
    /// Opens it; a file that cannot be opened is an error.
    pub(super) fn open(destination: Destination) -> io::Result<Self> {
        let target = match destination {
            Destination::Stderr => Target::Stream(Box::new(io::stderr())),
            Destination::File(path) => Target::File { file: open_file(&path)?, path },
            Destination::Syslog => Target::Syslog(SyslogSink::new(SyslogOutput {
                max: Level::Debug,
                priority: None,
                ident: "mailreeve".to_owned(),
                facility: Facility::MAIL,
                socket: PathBuf::from("/dev/log"),
            })),
            Destination::Capture(lines) => Target::Capture(lines),
        };
        Ok(Self::new(target))
    }

    /// Any stream in the place of stderr.
    #[cfg(test)]
    pub(super) fn stream(stream: Box<dyn Write + Send>) -> Self {
        Self::new(Target::Stream(stream))
    }

    fn new(target: Target) -> Self {
        Self { target, batch: Batch::default(), date: (i64::MIN, String::new()) }
    }

    /// Takes one line, which is printable and has no line end.
    pub(super) fn put(&mut self, level: Level, text: &[u8], now: &Moment) {
        match &mut self.target {
            Target::Stream(_) => self.batch.line(text, Vec::extend_from_slice),
            Target::File { .. } => {
                if self.date.0 != now.unix {
                    self.date = (now.unix, stamp::rfc3339(now));
                }
                let date = self.date.1.as_bytes();
                self.batch.line(text, |out, text| {
                    out.extend_from_slice(date);
                    out.push(b' ');
                    out.extend_from_slice(level.name().as_bytes());
                    out.push(b' ');
                    out.extend_from_slice(text);
                });
            }
            Target::Syslog(syslog) => syslog.line(level, Id::NONE, text, now),
            Target::Capture(lines) => {
                let line = String::from_utf8_lossy(text).into_owned();
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        }
    }

    /// Writes what waits. What cannot be written is given up and counted.
    pub(super) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        // There is nowhere left to complain of an error to; the batch counts what it costs.
        let _ = match &mut self.target {
            Target::Stream(stream) => self.batch.flush(stream.as_mut(), WhenFull::Wait),
            Target::File { file, .. } => self.batch.flush(file, WhenFull::Fail),
            Target::Syslog(_) | Target::Capture(_) => Ok(()),
        };
    }

    /// Opens the file anew; on an error the old one stays, with a line that says so.
    pub(super) fn reopen(&mut self, now: &Moment) {
        self.flush();
        let complaint = match &mut self.target {
            Target::File { path, file } => match file::open(path) {
                Ok(new) => {
                    *file = new;
                    return;
                }
                Err(e) => {
                    let path = foreign(path.as_os_str().as_encoded_bytes());
                    format!("cannot open {path} anew: {e}; the log goes on in the old file")
                }
            },
            Target::Syslog(syslog) => return syslog.reopen(),
            Target::Stream(_) | Target::Capture(_) => return,
        };
        self.put(Level::Error, complaint.as_bytes(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_have_time_and_level_and_are_opened_anew() {
        let folder = std::env::temp_dir().join(format!("mailreeve-main-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, moved) = (folder.join("log"), folder.join("moved"));
        let now = Moment { unix: 0, local: crate::sys::time::local(0) };
        let mut main = Main::open(Destination::File(path.clone())).unwrap();
        main.put(Level::Warning, b"17 one", &now);
        fs::rename(&path, &moved).unwrap();
        main.reopen(&now);
        main.put(Level::Info, b"17 two", &now);
        main.flush();
        let stamp = stamp::rfc3339(&now);
        assert_eq!(fs::read_to_string(&moved).unwrap(), format!("{stamp} warn 17 one\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{stamp} info 17 two\n"));

        fs::rename(&folder, folder.with_extension("gone")).unwrap();
        main.reopen(&now);
        main.flush();
        let log = folder.with_extension("gone").join("log");
        let text = fs::read_to_string(log).unwrap();
        assert!(text.lines().last().unwrap().contains("anew: No such file"), "{text}");
        fs::remove_dir_all(folder.with_extension("gone")).unwrap();
        assert!(Main::open(Destination::File(path)).is_err());
    }
}
