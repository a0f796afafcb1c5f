//! From the octets of a file to the lines of a setting, with what it includes.
//!
//! Included files are kept on a list instead of being followed by recursion, and all files of one
//! setting share one allowance of octets, lines and includes: a folder that includes itself in
//! some roundabout way ends with a message, not with the memory.

use super::source::{Found, Kind, Source};
use super::stamp::Stamps;
use super::{Line, Problem, Severity, is_blank, quote};
use crate::limits::{CONFIG_FILE_MAX, CONFIG_INCLUDES_MAX, CONFIG_LINE_MAX};
use memchr::memchr;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Lines of one setting, those of included files counted; about 80 MiB of memory.
const LINES_MAX: usize = 1_000_000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads one setting.
pub(super) struct Reader<'a> {
    source: &'a Source,
    stamps: &'a Stamps,
    problems: &'a mut Vec<Problem>,
    /// Files being read, the innermost last.
    open: Vec<Open>,
    seen: HashSet<PathBuf>,
    octets_left: u64,
    includes_left: usize,
    lines: Vec<Line>,
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing yet.
    pub(super) fn new(
        source: &'a Source,
        stamps: &'a Stamps,
        problems: &'a mut Vec<Problem>,
    ) -> Reader<'a> {
        Reader {
            source,
            stamps,
            problems,
            open: Vec::new(),
            seen: HashSet::new(),
            octets_left: CONFIG_FILE_MAX,
            includes_left: CONFIG_INCLUDES_MAX,
            lines: Vec::new(),
        }
    }

    /// The lines of a file and of all that it includes.
    pub(super) fn read(mut self, found: Found) -> Vec<Line> {
        match self.source.read(&found, self.octets_left) {
            Ok(content) => self.push(found, content),
            Err(what) => {
                Problem::in_file(Severity::Error, &found.shown, what).note(self.problems);
            }
        }
        while let Some(open) = self.open.last_mut() {
            let Some(text) = open.next_line() else {
                self.open.pop();
                continue;
            };
            let (file, number) = (Arc::clone(&open.shown), open.number);
            match text {
                Text::Nothing => {}
                Text::Bad(what) => {
                    let line = Line { text: String::new(), file, number };
                    Problem::error(&line, what).note(self.problems);
                }
                Text::Utf8(text) => self.take(Line { text, file, number }),
                Text::Latin1(text) => {
                    let first = !std::mem::replace(&mut open.has_latin1, true);
                    let line = Line { text, file, number };
                    if first {
                        let what = "is not UTF-8: lines like this are read as Latin-1";
                        Problem::warning(&line, what).note(self.problems);
                    }
                    self.take(line);
                }
            }
        }
        self.lines
    }

    fn push(&mut self, found: Found, mut content: Vec<u8>) {
        let len = u64::try_from(content.len()).unwrap_or(u64::MAX);
        self.octets_left = self.octets_left.saturating_sub(len);
        if content.starts_with(BYTE_ORDER_MARK) {
            content.drain(..BYTE_ORDER_MARK.len());
        }
        self.seen.insert(found.key);
        self.open.push(Open { shown: found.shown, content, at: 0, number: 0, has_latin1: false });
    }

    fn take(&mut self, line: Line) {
        if let Some(rest) = line.text.strip_prefix("$include")
            && (rest.is_empty() || rest.starts_with(is_blank))
        {
            let path = rest.trim_start_matches(is_blank).to_owned();
            self.include(&line, &path);
        } else if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        } else {
            let what = format!("a setting has more than {LINES_MAX} lines");
            Problem::error(&line, what).note(self.problems);
            self.open.clear();
        }
    }

    fn include(&mut self, line: &Line, path: &str) {
        if path.is_empty() || path.contains('\0') {
            return Problem::error(line, "$include names no file").note(self.problems);
        }
        let Some(found) = self.source.locate(path, self.stamps) else {
            let what = format!("included file {} does not exist", quote(path));
            return Problem::error(line, what).note(self.problems);
        };
        if found.kind != Kind::Folder {
            self.open_included(line, found);
            return;
        }
        match self.source.list(&found, Kind::File) {
            // The last one opened is read first.
            Ok(names) => {
                for name in names.iter().rev() {
                    let member = self.source.member(&found, name, self.stamps);
                    if !self.open_included(line, member) {
                        break;
                    }
                }
            }
            Err(what) => {
                let what = format!("included folder {} {what}", quote(&found.shown));
                Problem::error(line, what).note(self.problems);
            }
        }
    }

    /// Whether a further file may be included.
    fn open_included(&mut self, line: &Line, found: Found) -> bool {
        if self.seen.contains(&found.key) {
            let what = format!("{} is included a second time: ignored", quote(&found.shown));
            Problem::warning(line, what).note(self.problems);
            return true;
        }
        let Some(left) = self.includes_left.checked_sub(1) else {
            let what = format!("a setting includes more than {CONFIG_INCLUDES_MAX} files");
            Problem::error(line, what).note(self.problems);
            return false;
        };
        self.includes_left = left;
        match self.source.read(&found, self.octets_left) {
            Ok(content) => self.push(found, content),
            Err(what) => {
                let what = format!("included file {} {what}", quote(&found.shown));
                Problem::error(line, what).note(self.problems);
            }
        }
        true
    }
}

/// A file being read.
struct Open {
    shown: Arc<str>,
    content: Vec<u8>,
    at: usize,
    number: u32,
    has_latin1: bool,
}

/// What a line turned out to be.
enum Text {
    /// A blank line or a comment.
    Nothing,
    Utf8(String),
    Latin1(String),
    Bad(String),
}

impl Open {
    fn next_line(&mut self) -> Option<Text> {
        let rest = self.content.get(self.at..).filter(|rest| !rest.is_empty())?;
        let len = memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += len + 1;
        self.number = self.number.saturating_add(1);
        rest.get(..len).map(read_text)
    }
}

fn read_text(raw: &[u8]) -> Text {
    let blank = |b: &u8| is_blank(char::from(*b));
    let Some(start) = raw.iter().position(|b| !blank(b)) else { return Text::Nothing };
    let end = raw.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    let text = raw.get(start..end).unwrap_or_default();
    if text.starts_with(b"#") {
        return Text::Nothing;
    }
    if text.len() > CONFIG_LINE_MAX {
        return Text::Bad(format!("is longer than {CONFIG_LINE_MAX} octets"));
    }
    if memchr(0, text).is_some() {
        return Text::Bad("holds a NUL octet".into());
    }
    match std::str::from_utf8(text) {
        Ok(text) => Text::Utf8(text.to_owned()),
        Err(_) => Text::Latin1(text.iter().map(|&b| char::from(b)).collect()),
    }
}
