//! The config folder: flat files with the rules of qpsmtpd 0.96, on disk or in memory.
//!
//! One setting is one file of lines. A snapshot of the configuration is built from a [`Files`],
//! which gives every line together with its place, collects what is wrong instead of stopping at
//! it, and remembers each path it looked at, so that a change of any of them (also a file that
//! appears where none was) can be seen later with one stat each. The in-memory form is for tests,
//! for the built-in configuration and for replays; it follows the same rules.

pub mod own;
mod reader;
mod reading;
mod source;
mod stamp;

use self::reader::Reader;
use self::source::{Found, Kind, Source};
use self::stamp::Stamps;
use crate::limits::CONFIG_FILE_MAX;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

pub use self::reading::Reading;
pub use self::stamp::Stamp;

/// Warnings that are kept while a configuration is read; there is as much room again for errors,
/// so that a flood of warnings hides none.
const PROBLEMS_MAX: usize = 1_000;

/// Characters of a wrong value that a message shows.
const QUOTE_MAX: usize = 60;

/// One line of a setting, with the place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The text without white space around it; never empty.
    pub text: String,
    /// The file as it is shown to people: its name in the config folder, or a whole path where it
    /// lies elsewhere.
    pub file: Arc<str>,
    /// Number of the line in its file, from 1.
    pub number: u32,
}

impl Line {
    /// The first word and what follows it, trimmed: the form of `pattern [reason]` and the like.
    pub fn split_word(&self) -> (&str, &str) {
        match self.text.split_once(is_blank) {
            Some((word, rest)) => (word, rest.trim_matches(is_blank)),
            None => (&self.text, ""),
        }
    }
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something that is read differently from what was probably meant; the rest holds.
    Warning,
    /// Something that cannot be used: a start or a reload with it is refused.
    Error,
}

/// Something wrong in the configuration, shown as `file:line: what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// The file as it is shown to people.
    pub file: Arc<str>,
    /// Line in the file, from 1; 0 is the file as a whole.
    pub line: u32,
    /// What is wrong, in words.
    pub what: String,
}

impl Problem {
    /// An error at a line.
    pub fn error(line: &Line, what: impl Into<String>) -> Problem {
        Problem::at(Severity::Error, line, what.into())
    }

    /// A warning at a line.
    pub fn warning(line: &Line, what: impl Into<String>) -> Problem {
        Problem::at(Severity::Warning, line, what.into())
    }

    /// A problem of a file as a whole.
    pub fn in_file(severity: Severity, file: &str, what: impl Into<String>) -> Problem {
        Problem { severity, file: file.into(), line: 0, what: what.into() }
    }

    /// Adds this problem to the others unless there are already so many that nobody reads on: a
    /// file of a million bad lines must not become a million messages. The first errors always
    /// find room.
    pub fn note(self, problems: &mut Vec<Problem>) {
        let room = match self.severity {
            Severity::Warning => PROBLEMS_MAX,
            Severity::Error => 2 * PROBLEMS_MAX,
        };
        if problems.len() < room {
            problems.push(self);
        }
    }

    fn at(severity: Severity, line: &Line, what: String) -> Problem {
        Problem { severity, file: Arc::clone(&line.file), line: line.number, what }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        match self.severity {
            Severity::Warning => write!(f, ": warning: {}", self.what),
            Severity::Error => write!(f, ": {}", self.what),
        }
    }
}

/// A wrong value as a message shows it: in quotation marks, control characters escaped, cut.
pub(crate) fn quote(text: &str) -> String {
    let mut shown = String::from('"');
    for (place, c) in text.chars().enumerate() {
        if place == QUOTE_MAX {
            shown.push('…');
            break;
        }
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.push('"');
    shown
}

/// White space as config lines know it, that of ASCII: a no-break space is data.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\x0b' | '\x0c')
}

/// What a path that a setting names leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Nothing.
    Missing,
    /// Something that cannot be read, and why.
    Unreadable(String),
    /// A file.
    Octets(Vec<u8>),
}

/// A config folder, with folders that are searched for files it does not have.
///
/// A name of a file is relative, may hold `/` (`peers/0`) and holds no `..`.
#[derive(Debug)]
pub struct Files {
    source: Source,
    folder: String,
    /// Environment variables that count as settings.
    variables: HashMap<String, String>,
    /// Settings that hold in place of the files of these names.
    settings: HashMap<String, String>,
    stamps: Stamps,
    /// Digest of what was read last under each name.
    digests: RefCell<HashMap<String, u64>>,
}

impl Files {
    /// Folders on disk. The first one is the config folder, the others are asked, in order, for
    /// each file that is not in those before.
    pub fn on_disk(dirs: Vec<PathBuf>) -> Files {
        let folder = dirs.first().map(|dir| dir.display().to_string()).unwrap_or_default();
        Files::new(Source::Disk(dirs), folder)
    }

    /// Files that exist in memory only, as pairs of name and content.
    pub fn in_memory(files: impl IntoIterator<Item = (String, String)>) -> Files {
        Files::in_memory_bytes(files.into_iter().map(|(name, text)| (name, text.into_bytes())))
    }

    /// The same as [`Files::in_memory`] for contents that need not be text.
    pub fn in_memory_bytes(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Files {
        Files::new(Source::Memory(files.into_iter().collect()), String::from("(in memory)"))
    }

    fn new(source: Source, folder: String) -> Files {
        let (variables, settings) = (HashMap::new(), HashMap::new());
        Files {
            source,
            folder,
            variables,
            settings,
            stamps: Stamps::default(),
            digests: RefCell::default(),
        }
    }

    /// The same files, with environment variables that count as settings: whoever opens the folder
    /// reads them once, and nothing below asks the environment.
    #[must_use]
    pub fn with_variables(self, variables: impl IntoIterator<Item = (String, String)>) -> Files {
        Files { variables: variables.into_iter().collect(), ..self }
    }

    /// The same files, with these settings of the command line in place of what [`Files::lines`] finds.
    #[must_use]
    pub fn with_settings(self, settings: impl IntoIterator<Item = (String, String)>) -> Files {
        Files { settings: settings.into_iter().collect(), ..self }
    }

    /// An environment variable that counts as a setting; none where it is not set, or empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The config folder as it is shown to people.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Whether there is anything of that name. What cannot be read exists, and so does a folder in
    /// place of a file: [`Files::lines`] then says what is wrong with it.
    pub fn exists(&self, name: &str) -> bool {
        is_plain(name) && self.source.locate(name, &self.stamps).is_some()
    }

    /// The lines of a setting: trimmed, without blank lines and those that begin with `#`, each
    /// `$include` replaced by what it names (a file found like a setting or by its absolute path,
    /// or a folder, which stands for its regular files without a leading dot, sorted).
    ///
    /// A missing file has no lines. Anything else that keeps lines from being read goes into
    /// `problems`; a path that is included a second time is ignored with a warning.
    pub fn lines(&self, name: &str, problems: &mut Vec<Problem>) -> Vec<Line> {
        let mut hasher = DefaultHasher::new();
        let lines = if let Some(text) = self.settings.get(name) {
            let file: Arc<str> = "command line".into();
            let line =
                |(text, number): (&str, _)| Line { text: text.into(), file: file.clone(), number };
            text.lines().zip(1..).map(line).collect()
        } else {
            let found = self.find(name, problems);
            found.is_some().hash(&mut hasher);
            found.map_or_else(Vec::new, |found| {
                Reader::new(&self.source, &self.stamps, problems).read(found)
            })
        };
        for line in &lines {
            line.text.hash(&mut hasher);
        }
        self.digests.borrow_mut().insert(name.to_owned(), hasher.finish());
        lines
    }

    /// The first line of a setting that has one value.
    pub fn scalar(&self, name: &str, problems: &mut Vec<Problem>) -> Option<Line> {
        self.lines(name, problems).into_iter().next()
    }

    /// A setting that is one decimal number, or `default` where the file is missing or empty. A
    /// value that is no number or out of range is an error, and `default` is given.
    pub fn number(
        &self,
        name: &str,
        default: u64,
        range: RangeInclusive<u64>,
        problems: &mut Vec<Problem>,
    ) -> u64 {
        let Some(line) = self.scalar(name, problems) else { return default };
        match line.text.parse() {
            Ok(number) if range.contains(&number) => number,
            Ok(_) | Err(_) => {
                let (low, high) = range.into_inner();
                let value = quote(&line.text);
                let what = format!("{value} is not a number from {low} to {high}");
                Problem::error(&line, what).note(problems);
                default
            }
        }
    }

    /// The raw content of a file, at most `CONFIG_FILE_MAX` octets, for formats without lines.
    /// None where it is missing, and where it cannot be read, which goes into `problems`.
    pub fn bytes(&self, name: &str, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
        let found = self.find(name, problems);
        let content = found.and_then(|found| match self.source.read(&found, CONFIG_FILE_MAX) {
            Ok(content) => Some(content),
            Err(what) => {
                Problem::in_file(Severity::Error, &found.shown, what).note(problems);
                None
            }
        });
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        self.digests.borrow_mut().insert(name.to_owned(), hasher.finish());
        content
    }

    /// The text of a file of the system, by its whole path: empty where it is missing or cannot be
    /// read, what is no UTF-8 replaced. A change of it is seen like one of the config folder's. Files
    /// in memory have only what was put among them under that path.
    pub fn system(&self, path: &str) -> String {
        let found = self.source.locate(path, &self.stamps);
        let content = found.and_then(|found| self.source.read(&found, CONFIG_FILE_MAX).ok());
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        self.digests.borrow_mut().insert(path.to_owned(), hasher.finish());
        String::from_utf8_lossy(&content.unwrap_or_default()).into_owned()
    }

    /// The octets of a file that a setting names, which need not lie in the config folder: by its
    /// whole path, or a path from the folder that holds the config folder (where qpsmtpd is started)
    /// or from the config folder itself. A change of it is seen like one of the config folder's.
    pub fn foreign(&self, path: &str) -> Foreign {
        if path.is_empty() || path.contains('\0') {
            return Foreign::Missing;
        }
        let places = match (&self.source, path.starts_with('/')) {
            // From the root, since a relative place would be looked for in each of the folders.
            (Source::Disk(_), false) => {
                let folder = std::path::absolute(&self.folder).unwrap_or_default();
                let folder = folder.display();
                vec![format!("{folder}/../{path}"), format!("{folder}/{path}")]
            }
            _ => vec![path.to_string()],
        };
        for place in places {
            let Some(found) = self.source.locate(&place, &self.stamps) else { continue };
            return match self.source.read(&found, CONFIG_FILE_MAX) {
                Ok(octets) => Foreign::Octets(octets),
                Err(why) => Foreign::Unreadable(why),
            };
        }
        Foreign::Missing
    }

    /// The octets of a database of the system, by its whole path, at most `max` of them. None where it
    /// is missing, and where it cannot be read, which is a warning. It may be far too large to be read
    /// again only to see whether it has changed: its digest is of the file's identity, size and times,
    /// except in memory.
    pub fn database(&self, path: &str, max: u64, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
        let found = self.locate_database(path)?;
        match self.source.read(&found, max) {
            Ok(content) => Some(content),
            Err(what) => {
                Problem::in_file(Severity::Warning, path, what).note(problems);
                None
            }
        }
    }

    /// Finds a database, and notes what it is like now.
    fn locate_database(&self, path: &str) -> Option<Found> {
        let found = self.source.locate(path, &self.stamps);
        let mut hasher = DefaultHasher::new();
        match &found {
            Some(found) => self.source.identify(found, &self.stamps, &mut hasher),
            None => false.hash(&mut hasher),
        }
        self.digests.borrow_mut().insert(path.to_owned(), hasher.finish());
        found
    }

    /// Names of the regular files in a sub-folder, links to such included, those with a leading
    /// dot left out; sorted. The folders searched count as one. A missing sub-folder has none.
    pub fn names(&self, sub: &str) -> Vec<String> {
        self.list(sub, Kind::File)
    }

    /// Names of the folders in a sub-folder, by the same rules as [`Files::names`]. A link that leads to
    /// nothing counts as a folder, so that whoever looks into it can say that it is empty.
    pub fn folders(&self, sub: &str) -> Vec<String> {
        self.list(sub, Kind::Folder)
    }

    /// Every path looked at so far, absent ones included, as it was when first looked at; sorted.
    /// Empty for files in memory, which never change.
    pub fn stamps(&self) -> Vec<Stamp> {
        self.stamps.all()
    }

    /// A number that is the same for the same content of a setting: of the text of its lines,
    /// what is included among them, and of whether the file exists; of the raw octets for what was
    /// read with [`Files::bytes`] or ends in `.cdb`, or is a whole path. It belongs to what was read
    /// last under this name, and only what was never read is read now. It holds within one build of
    /// the program.
    pub fn digest(&self, name: &str) -> u64 {
        let unheard = &mut Vec::new();
        match self.known_digest(name) {
            Some(digest) => digest,
            None if name.starts_with('/') => {
                self.read_again(&Reading::System(name.into()), unheard)
            }
            None if name.ends_with(".cdb") => {
                self.read_again(&Reading::Bytes(name.into()), unheard)
            }
            None => self.read_again(&Reading::Lines(name.into()), unheard),
        }
    }

    /// Reads again what somebody has read in this way, and gives the digest of what is there now.
    pub fn read_again(&self, reading: &Reading, problems: &mut Vec<Problem>) -> u64 {
        match reading {
            Reading::Lines(name) => drop(self.lines(name, problems)),
            Reading::Bytes(name) => drop(self.bytes(name, problems)),
            // Whoever can do without it has its own words for what is wrong with it.
            Reading::Text(name) => drop(self.bytes(name, &mut Vec::new())),
            Reading::System(path) => drop(self.system(path)),
            Reading::Database(path) => drop(self.locate_database(path)),
            Reading::Folders(sub) => drop(self.folders(sub)),
            Reading::Names(sub) => drop(self.names(sub)),
            Reading::OwnFolders => drop(self.own_folders(problems)),
            Reading::OwnLines(file) => drop(self.own_lines(file, problems)),
        }
        self.known_digest(&reading.key()).unwrap_or_default()
    }

    fn known_digest(&self, name: &str) -> Option<u64> {
        self.digests.borrow().get(name).copied()
    }

    fn find(&self, name: &str, problems: &mut Vec<Problem>) -> Option<Found> {
        if is_plain(name) {
            return self.source.locate(name, &self.stamps);
        }
        let what = "is no name of a file in the config folder";
        Problem::in_file(Severity::Error, &quote(name), what).note(problems);
        None
    }

    fn note_digest(&self, name: &str, digest: u64) {
        self.digests.borrow_mut().insert(name.to_owned(), digest);
    }

    fn list(&self, sub: &str, kind: Kind) -> Vec<String> {
        if is_plain(sub) { self.list_in(sub, kind) } else { Vec::new() }
    }

    /// The empty name is the config folder itself.
    fn list_in(&self, sub: &str, kind: Kind) -> Vec<String> {
        let found = self.source.locate_all(sub, &self.stamps);
        let names =
            found.iter().flat_map(|found| self.source.list(found, kind).unwrap_or_default());
        let names = names.collect::<BTreeSet<_>>();
        let mut hasher = DefaultHasher::new();
        names.hash(&mut hasher);
        let reading = match kind {
            Kind::Folder => Reading::Folders(sub.to_owned()),
            _ => Reading::Names(sub.to_owned()),
        };
        self.digests.borrow_mut().insert(reading.key(), hasher.finish());
        names.into_iter().collect()
    }
}

/// Whether a name stays in the config folder. What asks for a file may have the name from a
/// client (a domain with its own key, say), so this is no mere check of our own code.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !name.contains('\0')
}

/// Reads a setting `a` that may include `b` and `c`; the three are cut from `data` at octet 255.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    use crate::limits::CONFIG_LINE_MAX;
    let names = ["a", "b", "c"].map(String::from);
    let files = names.into_iter().zip(data.splitn(3, |&b| b == 255).map(<[u8]>::to_vec));
    let files = Files::in_memory_bytes(files);
    let mut problems = Vec::new();
    let lines = files.lines("a", &mut problems);
    let breaks = data.iter().filter(|&&b| b == b'\n' || b == 255).count();
    assert!(lines.len() <= breaks + 1, "no file counts twice");
    for line in &lines {
        assert_eq!(line.text, line.text.trim_matches(is_blank));
        assert!(!line.text.is_empty() && !line.text.starts_with('#'));
        assert!(line.text.len() <= 2 * CONFIG_LINE_MAX && !line.text.contains(['\0', '\n']));
        assert!(["a", "b", "c"].contains(&&*line.file) && line.number > 0);
        let (word, rest) = line.split_word();
        assert!(!word.is_empty() && word.len() + rest.len() <= line.text.len());
    }
    assert!(problems.iter().all(|problem| !problem.to_string().contains('\n')));
    let digest = files.digest("a");
    assert_eq!(lines, files.lines("a", &mut problems));
    assert_eq!(digest, files.digest("a"));
}

#[cfg(test)]
mod tests;
