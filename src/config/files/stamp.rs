//! What a path led to when it was looked at, so that a later look tells whether it changed.
//!
//! The running daemon compares stamps once a second for everything its configuration was made of.
//! That is one stat for each path, without a watch that a file system might not support.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, FileType};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A path and what it led to, links followed: nothing, or a file or folder with its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    pub(super) seen: Seen,
}

/// What a path led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Seen {
    Nothing,
    Unreadable(ErrorKind),
    Thing(Identity),
}

/// What changes when a file is written, replaced or made readable. The time of the last change of
/// the inode is among it, since a file that is made readable changes in nothing else. A link that
/// leads elsewhere shows as another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) kind: FileType,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Looks at a path, with one stat.
    pub fn look(path: &Path) -> Stamp {
        let seen = match fs::metadata(path) {
            Ok(meta) => Seen::Thing(Identity {
                kind: meta.file_type(),
                device: meta.dev(),
                inode: meta.ino(),
                size: meta.size(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
            }),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Seen::Nothing,
                kind => Seen::Unreadable(kind),
            },
        };
        Stamp { path: path.to_owned(), seen }
    }

    /// Whether the path leads to something else now, or to the same thing with another content.
    pub fn changed(&self) -> bool {
        Stamp::look(&self.path).seen != self.seen
    }

    /// The path that was looked at.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The stamps taken while files are read, the first one for each path: a file that changes between
/// two looks must count as changed later.
#[derive(Debug, Default)]
pub(super) struct Stamps(RefCell<BTreeMap<PathBuf, Stamp>>);

impl Stamps {
    /// Looks at a path, and remembers what it led to if this is the first look.
    pub(super) fn look(&self, path: &Path) -> Seen {
        let stamp = Stamp::look(path);
        let seen = stamp.seen;
        self.0.borrow_mut().entry(path.to_owned()).or_insert(stamp);
        seen
    }

    /// All stamps, by path.
    pub(super) fn all(&self) -> Vec<Stamp> {
        self.0.borrow().values().cloned().collect()
    }
}
