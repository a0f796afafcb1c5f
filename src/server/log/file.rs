//! `logging/file` with a path: appends to a file, or to one per day or connection.
//!
//! The connections of a busy server run side by side through one thread, so where qpsmtpd had a
//! process with an open file for each, a few open files are kept here and found again by path.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;

use crate::plugin::log::{FileOutput, Id, Level, foreign};

use super::batch::{Batch, WhenFull};
use crate::sys::stamp::{self, Moment};

/// Files kept open at the same time; the one not used for longest is closed first.
const OPEN_MAX: usize = 16;

/// Connections whose first line is remembered, for `nosplit` and `reopen`.
pub(super) const CONNECTIONS_MAX: usize = 4_096;

/// Opens a log file to append to it, and makes it (mode 0640) where it is missing. A named pipe
/// that nobody reads is an error, not something to wait for.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(flags.bits()).open(path)
}

/// What stands before each line of `logging/file`: `DATE HOST[ID]: `.
#[derive(Debug)]
pub(super) struct Head {
    tsformat: String,
    host: Arc<str>,
    date: (i64, String),
    text: String,
}

impl Head {
    /// With the date in this pattern, from this host.
    pub(super) fn new(tsformat: String, host: Arc<str>) -> Self {
        Self { tsformat, host, date: (i64::MIN, String::new()), text: String::new() }
    }

    /// The head of a line of connection `id`.
    pub(super) fn of(&mut self, id: Id, now: &Moment) -> &str {
        if self.date.0 != now.unix {
            self.date = (now.unix, stamp::expand(&self.tsformat, now, "%i"));
        }
        let number = if id.is_none() { u64::from(std::process::id()) } else { id.0 };
        self.text.clear();
        self.text.push_str(&self.date.1);
        self.text.push(' ');
        self.text.push_str(&self.host);
        self.text.push_str(&format!("[{number}]: "));
        &self.text
    }
}

/// The log files of one `logging/file`.
#[derive(Debug)]
pub(super) struct FileSink {
    settings: FileOutput,
    head: Head,
    batch: Batch,
    path: String,
    open: Vec<(String, File)>,
    first: BTreeMap<Id, String>,
    failed: bool,
    complaint: Option<String>,
}

impl FileSink {
    /// Nothing is opened before the first line.
    pub(super) fn new(settings: FileOutput, host: Arc<str>) -> Self {
        Self {
            head: Head::new(settings.tsformat.clone(), host),
            settings,
            batch: Batch::default(),
            path: String::new(),
            open: Vec::new(),
            first: BTreeMap::new(),
            failed: false,
            complaint: None,
        }
    }

    /// Takes a line.
    pub(super) fn line(&mut self, level: Level, id: Id, text: &[u8], now: &Moment) {
        if level > self.settings.max {
            return;
        }
        let path = self.path_for(id, now);
        if path != self.path {
            self.write();
            self.path = path;
        }
        let head = self.head.of(id, now).as_bytes();
        self.batch.line(text, |out, text| {
            out.extend_from_slice(head);
            out.extend_from_slice(text);
        });
    }

    /// Writes what waits. Gives a text for the daemon's own log when writing begins to fail.
    pub(super) fn flush(&mut self) -> Option<String> {
        self.write();
        self.complaint.take()
    }

    /// Opens every file anew with its next line.
    pub(super) fn reopen(&mut self) {
        self.write();
        self.open.clear();
    }

    /// Closes what only this connection used.
    pub(super) fn closed(&mut self, id: Id) {
        if let Some(path) = self.first.remove(&id)
            && (self.settings.reopen || self.settings.path.contains("%i"))
        {
            self.write();
            self.open.retain(|(open, _)| *open != path);
        }
    }

    /// The file for a line of this connection.
    fn path_for(&mut self, id: Id, now: &Moment) -> String {
        let connection = if id.is_none() { "parent".to_owned() } else { id.to_string() };
        let path = stamp::expand(&self.settings.path, now, &connection);
        let settings = &self.settings;
        if id.is_none() || (settings.split && !settings.reopen && !settings.path.contains("%i")) {
            return path;
        }
        match self.first.get(&id) {
            Some(first) if !settings.split => first.clone(),
            Some(_) => path,
            None => {
                if settings.reopen {
                    self.reopen();
                }
                if self.first.len() >= CONNECTIONS_MAX {
                    self.first.pop_first();
                }
                self.first.insert(id, path.clone());
                path
            }
        }
    }

    /// Writes what waits to the present file.
    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let result = match find_or_open(&mut self.open, &self.path) {
            Ok(file) => self.batch.flush(file, WhenFull::Fail),
            Err(e) => {
                self.batch.give_up();
                Err(e)
            }
        };
        let Err(error) = result else {
            self.failed = false;
            return;
        };
        self.open.retain(|(open, _)| *open != self.path);
        if !self.failed {
            let path = foreign(self.path.as_bytes());
            self.complaint = Some(format!(
                "logging/file: cannot write {path}: {error}; lines are dropped until it can be"
            ));
        }
        self.failed = true;
    }
}

/// The open file with this path, which becomes the last of `open`.
fn find_or_open<'a>(open: &'a mut Vec<(String, File)>, path: &str) -> io::Result<&'a mut File> {
    let found = match open.iter().position(|(known, _)| known == path) {
        Some(at) => open.remove(at),
        None => (path.to_owned(), self::open(Path::new(path))?),
    };
    if open.len() >= OPEN_MAX {
        open.remove(0);
    }
    open.push(found);
    open.last_mut().map(|(_, file)| file).ok_or_else(|| ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::time::LocalTime;
    use std::fs;

    fn on(day: u8) -> Moment {
        let (month, hour, minute, second, weekday) = (2, 4, 5, 6, 2);
        let (year, offset_seconds) = (2026, 0);
        let local = LocalTime { year, month, day, hour, minute, second, weekday, offset_seconds };
        Moment { unix: i64::from(day), local }
    }

    fn folder(name: &str) -> String {
        let folder = format!("mailreeve-file-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).unwrap();
        folder.to_str().unwrap().to_owned()
    }

    fn sink(path: String, split: bool, reopen: bool) -> FileSink {
        let tsformat = "%a %b %d %T %Y".to_owned();
        let max = Level::Info;
        FileSink::new(FileOutput { path, max, split, reopen, tsformat }, Arc::from("mx"))
    }

    #[test]
    fn lines_go_where_the_pattern_says() {
        let folder = folder("pattern");
        // Per row: pattern, split, then the files and what they hold after the same four lines.
        let rows: [(&str, bool, &[[&str; 2]]); 4] = [
            ("plain", true, &[["plain", "7a 0b 8c 7d"]]),
            ("day-%d", true, &[["day-03", "7a 0b"], ["day-04", "8c 7d"]]),
            ("whole-%d", false, &[["whole-03", "7a 0b 7d"], ["whole-04", "8c"]]),
            ("id-%i", true, &[["id-7", "7a 7d"], ["id-8", "8c"], ["id-parent", "0b"]]),
        ];
        for (pattern, split, files) in rows {
            let mut sink = sink(format!("{folder}/{pattern}"), split, false);
            sink.line(Level::Debug, Id(7), b"unseen", &on(3));
            sink.line(Level::Info, Id(7), b"a", &on(3));
            sink.line(Level::Info, Id::NONE, b"b", &on(3));
            sink.line(Level::Error, Id(8), b"c", &on(4));
            sink.line(Level::Info, Id(7), b"d", &on(4));
            assert_eq!(sink.flush(), None);
            for [name, expected] in files {
                let text = fs::read_to_string(format!("{folder}/{name}")).unwrap();
                let pid = std::process::id().to_string();
                let seen: Vec<_> = text
                    .lines()
                    .map(|line| {
                        let (stamp, rest) = line.split_once(" mx[").unwrap();
                        assert!(stamp.starts_with("Tue Feb 0") && stamp.ends_with("04:05:06 2026"));
                        rest.replace("]: ", "").replace(&pid, "0")
                    })
                    .collect();
                assert_eq!(seen.join(" "), *expected, "{name}");
            }
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn files_are_opened_anew_when_asked() {
        let folder = folder("reopen");
        let (path, moved) = (format!("{folder}/log"), format!("{folder}/moved"));
        let count = |path: &str| fs::read_to_string(path).unwrap().lines().count();
        let mut sink = sink(path.clone(), true, true);
        let write = |sink: &mut FileSink, id| {
            sink.line(Level::Info, Id(id), b"x", &on(3));
            assert_eq!(sink.flush(), None);
        };
        write(&mut sink, 1);
        fs::rename(&path, &moved).unwrap();
        write(&mut sink, 1);
        assert_eq!(count(&moved), 2);
        write(&mut sink, 2);
        assert_eq!((count(&moved), count(&path)), (2, 1));
        fs::rename(&path, &moved).unwrap();
        sink.closed(Id(1));
        write(&mut sink, 2);
        assert_eq!((count(&moved), count(&path)), (1, 1));
        fs::rename(&path, &moved).unwrap();
        sink.reopen();
        write(&mut sink, 2);
        assert_eq!((count(&moved), count(&path)), (1, 1));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_failing_file_is_complained_of_once() {
        let folder = folder("failing");
        let mut sink = sink(format!("{folder}/new/log"), true, false);
        for (complains, text) in [(true, b"1"), (false, b"2")] {
            sink.line(Level::Info, Id(1), text, &on(3));
            let complaint = sink.flush();
            assert_eq!(complaint.is_some_and(|c| c.contains("cannot write")), complains);
        }
        fs::create_dir(format!("{folder}/new")).unwrap();
        sink.line(Level::Info, Id(1), b"3", &on(3));
        assert_eq!(sink.flush(), None);
        let text = fs::read_to_string(format!("{folder}/new/log")).unwrap();
        let texts: Vec<_> = text.lines().filter_map(|line| line.split_once("]: ")).collect();
        assert_eq!(texts.iter().map(|t| t.1).collect::<Vec<_>>(), ["2 log lines dropped", "3"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn few_files_are_open() {
        let folder = folder("many");
        let mut sink = sink(format!("{folder}/%i"), true, false);
        for id in 1..100 {
            sink.line(Level::Info, Id(id), b"x", &on(3));
        }
        assert_eq!(sink.flush(), None);
        assert_eq!(sink.open.len(), OPEN_MAX);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 99);
        for id in 1..100 {
            sink.closed(Id(id));
        }
        assert!(sink.open.is_empty() && sink.first.is_empty());
        fs::remove_dir_all(folder).unwrap();
    }
}
