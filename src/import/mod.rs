//! What a config folder or a database of qpsmtpd 0.84 or 0.96 becomes here.
//!
//! A function of files to files, touching nothing: old names of plugins become the present ones, files
//! that were read beside others are merged into them, keys of the former signing plugin move to where
//! `dkim` has its own. Each change is told with its place. What already is as it should be changes
//! nothing, so a second run does nothing. Lines that nobody asked to change keep every octet.

pub mod database;
mod keys;
pub mod lists;
mod merged;
mod plugins;

use crate::plugin::log::foreign;
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// The files of a config folder by name (`peers/0`). Keys are among them.
pub type Folder = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// What was found, and what is to be done about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For people, a line each.
    pub report: Vec<Entry>,
    /// To be done in this order: stopped between two of them, the next run does the rest.
    pub steps: Vec<Step>,
}

/// A change of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It gets this text.
    Write {
        /// Its name.
        name: String,
        /// All of it.
        text: Vec<u8>,
    },
    /// A private key is copied, for its owner alone to read. The old one is removed by a step of its own.
    Key {
        /// The file it is in.
        from: String,
        /// The file it gets, which is not there.
        to: String,
    },
    /// It is removed.
    Remove {
        /// Its name.
        name: String,
    },
}

/// A line of the report, shown as `PLACE: old → new` or `PLACE: words`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `file:line`, `file`, or a record and its property.
    pub place: String,
    /// What is said about it.
    pub what: What,
}

/// What is said about a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It becomes something else.
    Changed {
        /// What stands there.
        old: String,
        /// What takes its place, or became of it.
        new: String,
    },
    /// It stays as it is, and somebody should know.
    Noted(String),
}

impl Entry {
    fn changed(place: impl Into<String>, old: &str, new: impl Into<String>) -> Entry {
        let (old, new) = (foreign(old.as_bytes()), foreign(new.into().as_bytes()));
        Entry { place: place.into(), what: What::Changed { old, new } }
    }

    fn noted(place: impl Into<String>, what: impl Into<String>) -> Entry {
        Entry { place: place.into(), what: What::Noted(what.into()) }
    }

    /// It tells of a change.
    #[must_use]
    pub fn is_change(&self) -> bool {
        matches!(self.what, What::Changed { .. })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Changed { old, new } => write!(to, "{}: {old} → {new}", self.place),
            What::Noted(what) => write!(to, "{}: {what}", self.place),
        }
    }
}

/// What a config folder becomes. `drop_dead`: block lists that are dead go, instead of being named only.
#[must_use]
pub fn folder(files: &Folder, drop_dead: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let lines = plugins::all(files, &mut outcome.report);
    // Keys first: who reads the new lists finds them there.
    keys::move_all(files, lines.signs.as_deref(), &mut outcome);
    for (name, text) in lines.texts {
        outcome.write(files, name, text);
    }
    merged::merge_all(files, &mut outcome);
    for name in lists::FILES {
        if let Some(text) = files.get(name) {
            let text = lists::file(name, text, drop_dead, &mut outcome.report);
            outcome.write(files, name.to_string(), text);
        }
    }
    // Only what has a new place by now is removed.
    outcome.steps.sort_by_key(|step| matches!(step, Step::Remove { .. }));
    outcome
}

impl Outcome {
    fn write(&mut self, files: &Folder, name: String, text: Vec<u8>) {
        if files.get(&name).is_none_or(|there| **there != text) {
            self.steps.push(Step::Write { name, text });
        }
    }
}

/// The lines of a file with their numbers; the line's end is part of it.
fn numbered(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split_inclusive(|octet| *octet == b'\n').zip(1..).map(|(line, number)| (number, line))
}

/// The line has something in it besides a comment.
fn is_data(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    !line.is_empty() && !line.starts_with(b"#")
}

#[cfg(test)]
mod tests;
