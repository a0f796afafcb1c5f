//! Where files come from: folders on disk, or a table in memory.
//!
//! Both sides are the same to the reader of lines, which asks for three things: where a name is,
//! what stands in it, and what a folder holds.

use super::stamp::{Seen, Stamps};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names in one folder that are read; a folder with more is an error.
const NAMES_MAX: usize = 10_000;

/// A place where files come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Folders, searched in order.
    Disk(Vec<PathBuf>),
    /// Contents by name.
    Memory(BTreeMap<String, Vec<u8>>),
}

/// Something that a name led to.
#[derive(Debug)]
pub(super) struct Found {
    /// What tells it from other files.
    pub(super) key: PathBuf,
    /// What people are shown.
    pub(super) shown: Arc<str>,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a name led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A device, pipe or socket.
    Other,
    Unreadable(ErrorKind),
}

impl Source {
    /// The first folder's file of this name, or the file at an absolute path. The result and all
    /// places tried before are stamped.
    pub(super) fn locate(&self, name: &str, stamps: &Stamps) -> Option<Found> {
        match self {
            Source::Disk(dirs) => on_disk(dirs, name, stamps).next(),
            Source::Memory(files) => in_memory(files, name),
        }
    }

    /// What every folder has of this name.
    pub(super) fn locate_all(&self, name: &str, stamps: &Stamps) -> Vec<Found> {
        match self {
            Source::Disk(dirs) => on_disk(dirs, name, stamps).collect(),
            Source::Memory(files) => in_memory(files, name).into_iter().collect(),
        }
    }

    /// A file that a folder was found to hold, stamped.
    pub(super) fn member(&self, folder: &Found, name: &str, stamps: &Stamps) -> Found {
        let key = folder.key.join(name);
        if let Source::Disk(_) = self {
            stamps.look(&key);
        }
        Found { key, shown: format!("{}/{name}", folder.shown).into(), kind: Kind::File }
    }

    /// The content of a file of at most `max` octets, or in words why not.
    pub(super) fn read(&self, found: &Found, max: u64) -> Result<Vec<u8>, String> {
        let content = match (self, found.kind) {
            (_, Kind::Folder) => return Err("is a folder, not a file".into()),
            (_, Kind::Unreadable(kind)) => return Err(format!("cannot be read: {kind}")),
            // A link to /dev/null is an old way to switch a file off.
            (_, Kind::Other) if leads_to_null(&found.key) => Ok(Vec::new()),
            (_, Kind::Other) => return Err("is neither a file nor a folder".into()),
            (Source::Disk(_), Kind::File) => read_file(&found.key, max),
            (Source::Memory(files), Kind::File) => {
                Ok(found.key.to_str().and_then(|key| files.get(key)).cloned().unwrap_or_default())
            }
        };
        let content = content.map_err(|error| format!("cannot be read: {error}"))?;
        if u64::try_from(content.len()).is_ok_and(|len| len <= max) {
            Ok(content)
        } else {
            Err(format!("is larger than {max} octets"))
        }
    }

    /// Feeds a hasher with what changes when the file does: its stamp, or in memory its content.
    pub(super) fn identify(&self, found: &Found, stamps: &Stamps, hasher: &mut impl Hasher) {
        match self {
            Source::Disk(_) => stamps.look(&found.key).hash(hasher),
            Source::Memory(files) => {
                found.key.to_str().and_then(|key| files.get(key)).hash(hasher);
            }
        }
    }

    /// Sorted names, without those with a leading dot, of the files or folders in a folder, or in
    /// words why there are none.
    pub(super) fn list(&self, found: &Found, kind: Kind) -> Result<Vec<String>, String> {
        if found.kind != Kind::Folder {
            return Err("is not a folder".into());
        }
        let mut names = match self {
            Source::Disk(_) => list_folder(&found.key, kind),
            Source::Memory(files) => Ok(list_memory(files, &found.key, kind)),
        }
        .map_err(|error| format!("cannot be read: {error}"))?;
        if names.len() > NAMES_MAX {
            return Err(format!("holds more than {NAMES_MAX} names"));
        }
        names.sort_unstable();
        Ok(names)
    }
}

fn on_disk<'a>(
    dirs: &'a [PathBuf],
    name: &'a str,
    stamps: &'a Stamps,
) -> impl Iterator<Item = Found> + 'a {
    // Joined to an absolute name each folder gives that same path: one look is enough.
    let tried = if Path::new(name).is_absolute() { 1 } else { dirs.len() };
    dirs.iter().take(tried).enumerate().filter_map(move |(place, dir)| {
        let key = dir.join(name);
        let kind = match stamps.look(&key) {
            Seen::Nothing => return None,
            Seen::Unreadable(kind) => Kind::Unreadable(kind),
            Seen::Thing(identity) if identity.kind.is_file() => Kind::File,
            Seen::Thing(identity) if identity.kind.is_dir() => Kind::Folder,
            Seen::Thing(_) => Kind::Other,
        };
        let shown = if place == 0 { name.into() } else { key.display().to_string().into() };
        Some(Found { key, shown, kind })
    })
}

fn in_memory(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Option<Found> {
    // The config folder itself; a slash would be the system's.
    if name.is_empty() {
        return Some(Found { key: PathBuf::new(), shown: name.into(), kind: Kind::Folder });
    }
    let name = name.trim_end_matches('/');
    let kind = if files.contains_key(name) {
        Kind::File
    } else {
        let inside = format!("{name}/");
        let (next, _) = files.range(inside.clone()..).next()?;
        next.starts_with(&inside).then_some(Kind::Folder)?
    };
    Some(Found { key: name.into(), shown: name.into(), kind })
}

/// Reads one octet more than allowed at most, so that the caller sees that there is more.
fn read_file(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut content)?;
    Ok(content)
}

fn leads_to_null(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|real| real == Path::new("/dev/null"))
}

/// Stops after one name more than allowed, so that the caller sees that there are more.
fn list_folder(path: &Path, kind: Kind) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A name that is not UTF-8 could not be written in any setting either.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let wanted = match (fs::metadata(entry.path()), kind) {
            (Ok(meta), Kind::Folder) => meta.is_dir(),
            (Ok(meta), _) => meta.is_file(),
            (Err(_), kind) => {
                kind == Kind::Folder && entry.file_type().is_ok_and(|it| it.is_symlink())
            }
        };
        if wanted && !name.starts_with('.') {
            names.push(name);
        }
        if names.len() > NAMES_MAX {
            break;
        }
    }
    Ok(names)
}

fn list_memory(files: &BTreeMap<String, Vec<u8>>, folder: &Path, kind: Kind) -> Vec<String> {
    let top = folder.as_os_str().is_empty();
    let inside = if top { String::new() } else { format!("{}/", folder.display()) };
    let names = files.range(inside.clone()..).map_while(|(name, _)| name.strip_prefix(&inside));
    let wanted = names.filter_map(|name| match (name.split_once('/'), kind) {
        (Some((sub, _)), Kind::Folder) => Some(sub),
        (None, Kind::File) => Some(name),
        _ => None,
    });
    let wanted = wanted.filter(|name| !name.is_empty() && !name.starts_with('.'));
    wanted.map(str::to_owned).take(NAMES_MAX + 1).collect::<BTreeSet<_>>().into_iter().collect()
}
