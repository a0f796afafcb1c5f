//! The configuration with its plugins: what one snapshot of a config folder comes to.

use crate::authn::dkim::published::{KEYS_MAX, ToPublish};
use crate::config::Config;
use crate::config::files::{Files, Line, Problem, Reading, Severity, Stamp};
use crate::config::peers::Peers;
use crate::limits::GEO_FILE_MAX;
use crate::plugin::chain::{Chain, Loaded};
use crate::plugin::log::{Level, Output};
use crate::store;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A snapshot: settings, lists of plugins, loggers. Immutable; a reload makes another.
pub struct Site {
    /// The daemon's settings.
    pub config: Arc<Config>,
    /// Where reputations are kept.
    pub store: store::Settings,
    /// The list in the file `plugins`.
    pub base: Arc<Chain>,
    /// Lists under `peers/`, by file name, where `plugins` has the line `peers`.
    pub lists: BTreeMap<String, Arc<Chain>>,
    /// Which list an address selects; None without the line `peers`.
    pub peers: Option<Peers>,
    /// Loggers of the file `logging`.
    pub outputs: Vec<Output>,
    /// Threshold of the built-in logger.
    pub loglevel: Level,
    /// Every file that was looked at, to see when one changes.
    pub stamps: Vec<Stamp>,
    /// Plugins by line, to be used again by the next snapshot where nothing changed.
    pub parts: BTreeMap<String, Part>,
}

/// A loaded plugin and the state of the files that it read.
#[derive(Clone)]
pub struct Part {
    /// The plugin as it stands in chains.
    pub loaded: Loaded,
    /// What it read, with the digest of the content then.
    pub read: Vec<(Reading, u64)>,
}

impl Site {
    /// The list that serves an address; None where `peers` knows none, which refuses the client.
    pub fn chain_for(&self, ip: IpAddr) -> Option<&Arc<Chain>> {
        match &self.peers {
            None => Some(&self.base),
            Some(peers) => self.lists.get(peers.select(ip)?),
        }
    }

    /// A list by name: one under `peers/`, or `plugins` itself.
    pub fn list(&self, name: &str) -> Option<&Arc<Chain>> {
        self.lists.get(name).or_else(|| (*self.base.name == *name).then_some(&self.base))
    }

    /// The keys that plugins sign with, each once, and no more than a report is about.
    pub fn to_publish(&self) -> Vec<ToPublish> {
        let mut all: Vec<ToPublish> = Vec::new();
        for loaded in self.lists.values().chain([&self.base]).flat_map(|chain| chain.plugins()) {
            for key in loaded.plugin.to_publish(&self.config.rules.me) {
                if all.len() < KEYS_MAX && !all.contains(&key) {
                    all.push(key);
                }
            }
        }
        all
    }

    /// Some file that the snapshot was made from has changed.
    pub fn is_stale(&self) -> bool {
        self.stamps.iter().any(Stamp::changed)
    }
}

/// What a plugin may read while it is loaded. It remembers which files were read, so that the
/// plugin is loaded again when, and only when, one of them changes.
pub struct Setup<'a> {
    files: &'a Files,
    problems: RefCell<&'a mut Vec<Problem>>,
    read: RefCell<Vec<(Reading, u64)>>,
}

impl<'a> Setup<'a> {
    /// A view of a config folder.
    pub fn new(files: &'a Files, problems: &'a mut Vec<Problem>) -> Setup<'a> {
        Setup { files, problems: RefCell::new(problems), read: RefCell::default() }
    }

    /// The lines of a config file; none where it is missing.
    pub fn lines(&self, name: &str) -> Vec<Line> {
        let lines = self.files.lines(name, &mut self.problems.borrow_mut());
        self.note_read(Reading::Lines(name.into()));
        lines
    }

    /// The first line of a config file.
    pub fn scalar(&self, name: &str) -> Option<Line> {
        self.lines(name).into_iter().next()
    }

    /// A config file as octets (cdb).
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let octets = self.files.bytes(name, &mut self.problems.borrow_mut());
        self.note_read(Reading::Bytes(name.into()));
        octets
    }

    /// A config file as text, for who can do without it: None where it is missing.
    ///
    /// # Errors
    /// In words, why it cannot be read; it is not added to the problems.
    pub fn text(&self, name: &str) -> Result<Option<String>, String> {
        let mut problems = Vec::new();
        let octets = self.files.bytes(name, &mut problems);
        self.note_read(Reading::Text(name.into()));
        match problems.pop() {
            Some(problem) => Err(problem.what),
            None => octets.map(String::from_utf8).transpose().map_err(|_| "is no text".into()),
        }
    }

    /// The names of the folders in a folder of the config folder.
    pub fn folders(&self, sub: &str) -> Vec<String> {
        let names = self.files.folders(sub);
        self.note_read(Reading::Folders(sub.into()));
        names
    }

    /// The names of the files in a folder of the config folder.
    pub fn names(&self, sub: &str) -> Vec<String> {
        let names = self.files.names(sub);
        self.note_read(Reading::Names(sub.into()));
        names
    }

    /// The text of a file of other software, by its whole path; empty where it cannot be read.
    pub fn system(&self, path: &str) -> String {
        let text = self.files.system(path);
        self.note_read(Reading::System(path.into()));
        text
    }

    /// The folders of recipients, with the names of what they hold ([`crate::config::files::own`]).
    pub fn own_folders(&self) -> Vec<(String, Vec<String>)> {
        let folders = self.files.own_folders(&mut self.problems.borrow_mut());
        self.note_read(Reading::OwnFolders);
        folders
    }

    /// The lines of a config file in each folder of recipients that has it.
    pub fn own_lines(&self, name: &str) -> Vec<(String, Vec<Line>)> {
        let lines = self.files.own_lines(name, &mut self.problems.borrow_mut());
        self.note_read(Reading::OwnLines(name.into()));
        lines
    }

    /// The octets of a database of other software, by its whole path.
    pub fn database(&self, path: &str) -> Option<Vec<u8>> {
        let octets = self.files.database(path, GEO_FILE_MAX, &mut self.problems.borrow_mut());
        self.note_read(Reading::Database(path.into()));
        octets
    }

    /// An environment variable that counts as a setting; none where it is not set, or empty. It stays
    /// as it was when the program was started.
    pub fn variable(&self, name: &str) -> Option<&'a str> {
        self.files.variable(name)
    }

    /// Runs something that reports problems itself.
    pub fn with_problems<T>(&self, work: impl FnOnce(&mut Vec<Problem>) -> T) -> T {
        work(&mut self.problems.borrow_mut())
    }

    /// Warns about a config file as a whole.
    pub fn warn(&self, file: &str, what: impl Into<String>) {
        let problem = Problem::in_file(Severity::Warning, file, what);
        problem.note(&mut self.problems.borrow_mut());
    }

    /// What was read so far, with the digests of its content.
    pub fn read(&self) -> Vec<(Reading, u64)> {
        self.read.borrow().clone()
    }

    fn note_read(&self, reading: Reading) {
        let mut read = self.read.borrow_mut();
        if !read.iter().any(|(known, _)| *known == reading) {
            let digest = self.files.digest(&reading.key());
            read.push((reading, digest));
        }
    }
}
