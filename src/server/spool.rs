//! Where message bodies too large for memory wait until their session is done with them.
//!
//! A spool file has no name: it is made with O_TMPFILE, or loses its name at once where the file
//! system cannot do that. So nothing has to be removed afterwards, and `kill -9` leaves nothing
//! but an empty folder. Each process works in a folder of its own that it keeps locked, because
//! several daemons (SME runs three) share one `spool_dir`; whoever starts removes the folders
//! whose lock nobody holds. Two processes that start at once cannot hurt each other: a folder is
//! only removed under its lock, and its maker takes a new name when it lost the race.

use crate::sys::map::View;
use crate::sys::{is_out_of_space, random};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};
use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Every folder of ours in `spool_dir` starts so.
const PREFIX: &str = "mailreeve-";

/// The file in a folder whose lock tells that its process lives.
const LOCK: &str = "lock";

/// Entries of one folder that a start looks at; what is behind them waits for a later start.
const ENTRIES_MAX: usize = 100_000;

/// Names tried for the own folder; each is lost only to a process that starts at the same moment.
const TRIES: usize = 16;

/// How folders are opened: a symbolic link in the place of one is not followed.
const FOLDER: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// This process's own folder under `spool_dir`, locked for as long as the value lives. The
/// folder is removed when the value is dropped.
#[derive(Debug)]
pub struct Spool {
    parent: OwnedFd,
    path: PathBuf,
    name: String,
    folder: OwnedFd,
    /// Held for its lock alone.
    _lock: File,
    /// Set once the file system was seen to know no files without a name.
    named: AtomicBool,
    counter: AtomicU32,
}

impl Spool {
    /// Takes a folder in `spool_dir` (made with mode 0700 where missing), after removing those
    /// that dead processes left. Call it as the user that the daemon runs as, and after the last
    /// fork. The strings are notes for the log: what was removed, and what was left alone.
    ///
    /// # Errors
    /// A sentence for the admin when `spool_dir` is a symbolic link, open to everyone, or not
    /// usable.
    pub fn open(spool_dir: &Path) -> Result<(Self, Vec<String>), SpoolError> {
        // A slash at the end would make the kernel follow a symbolic link.
        let path: PathBuf = spool_dir.components().collect();
        let parent = open_parent(&path)?;
        let mut notes = own_note(&path, &parent);
        notes.extend(Cleaned::run(&parent, &path).notes(&path));
        let (name, folder, lock) = take_folder(&parent)
            .map_err(|error| SpoolError::new(&path, format!("cannot be used: {error}")))?;
        let spool = Self {
            parent,
            path: path.join(&name),
            name,
            folder,
            _lock: lock,
            named: AtomicBool::new(false),
            counter: AtomicU32::new(0),
        };
        match spool.create() {
            Ok(_) => Ok((spool, notes)),
            Err(error) => Err(SpoolError::new(&path, format!("takes no files: {error}"))),
        }
    }

    /// Makes an empty spool file of mode 0600 that has no name.
    ///
    /// # Errors
    /// What the kernel says; [`Trouble::of`] tells a full disk from the rest.
    pub fn create(&self) -> io::Result<SpoolFile> {
        if !self.named.load(Ordering::Relaxed) {
            match self.create_unnamed() {
                Err(errno) if knows_no_unnamed(errno) => self.named.store(true, Ordering::Relaxed),
                result => return Ok(SpoolFile { file: result?.into() }),
            }
        }
        Ok(SpoolFile { file: self.create_named()?.into() })
    }

    /// O_EXCL here means that the file can never be given a name.
    fn create_unnamed(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_TMPFILE | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        retry(|| openat(&self.folder, ".", flags, private()))
    }

    /// For kernels before 3.11 and file systems without O_TMPFILE.
    fn create_named(&self) -> nix::Result<OwnedFd> {
        let name = format!("body-{}", self.counter.fetch_add(1, Ordering::Relaxed));
        let file = create_new(&self.folder, &name)?;
        unlinkat(&self.folder, name.as_str(), UnlinkatFlags::NoRemoveDir)?;
        Ok(file)
    }
}

impl Spool {
    /// Removes the folder now, however many may still hold the value; no new file can be made then.
    pub fn close(&self) {
        // Nobody can be told about a failure here; the next start cleans what is left.
        let _left = remove_folder(&self.parent, &self.name, &self.folder, &self.path);
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}

/// A file without a name that holds one message while it is received and judged. It is gone when
/// the value and all views are.
#[derive(Debug)]
pub struct SpoolFile {
    file: File,
}

impl SpoolFile {
    /// Writes all of `data` at `offset` octets from the start; signals do not cut it short.
    /// Several threads may write, each to its own part.
    ///
    /// # Errors
    /// What the kernel says; the part of the file is then undefined, and the mail must be
    /// refused ([`Trouble::of`]).
    pub fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    /// Maps the first `len` octets, all of which must have been written before.
    ///
    /// # Errors
    /// `UnexpectedEof` when less was written; EFBIG when it is more than this machine can
    /// address; otherwise what mmap says.
    pub fn view(&self, len: u64) -> io::Result<View> {
        View::new(&self.file, usize::try_from(len).map_err(|_| Errno::EFBIG)?)
    }
}

/// What a failed call on the spool means for the reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// No room: 452 4.3.1.
    Space,
    /// Anything else: 451 4.3.0.
    Other,
}

impl Trouble {
    /// Sorts an error of [`Spool::create`], [`SpoolFile::write_at`] or [`SpoolFile::view`].
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        if is_out_of_space(error) { Self::Space } else { Self::Other }
    }
}

/// Why the daemon cannot start with this `spool_dir`: one sentence for the admin.
#[derive(Debug)]
pub struct SpoolError {
    sentence: String,
}

impl SpoolError {
    fn new(path: &Path, what: impl fmt::Display) -> Self {
        Self { sentence: format!("spool_dir {} {what}", path.display()) }
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for SpoolError {}

/// Makes `spool_dir` where missing, opens it and refuses it where others could reach into it.
fn open_parent(path: &Path) -> Result<OwnedFd, SpoolError> {
    let refuse = |what: String| Err(SpoolError::new(path, what));
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            return refuse("is a symbolic link: name the folder that it leads to".to_owned());
        }
        Ok(found) if !found.is_dir() => return refuse("is not a folder".to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(path) {
                return refuse(format!("is missing and cannot be made: {error}"));
            }
        }
        Err(error) => return refuse(format!("cannot be looked at: {error}")),
    }
    let opened = open(path, FOLDER, Mode::empty());
    let (stat, fd) = match opened.and_then(|fd| Ok((fstat(&fd)?, fd))) {
        Ok(found) => found,
        Err(error) => return refuse(format!("cannot be opened: {error}")),
    };
    let mode = Mode::from_bits_truncate(stat.st_mode);
    if mode.contains(Mode::S_IWOTH) && !mode.contains(Mode::S_ISVTX) {
        return refuse("may be written by everyone: take that right away (chmod o-w)".to_owned());
    }
    Ok(fd)
}

/// A note when another user owns `spool_dir` and could so take our folder away.
fn own_note(path: &Path, parent: &OwnedFd) -> Vec<String> {
    let owner = fstat(parent).map_or(0, |stat| stat.st_uid);
    if owner == 0 || owner == Uid::effective().as_raw() {
        return Vec::new();
    }
    vec![format!("spool_dir {} belongs to user {owner}, who can disturb it", path.display())]
}

/// Makes and locks a folder with a fresh name: (name, folder, lock).
fn take_folder(parent: &OwnedFd) -> io::Result<(String, OwnedFd, File)> {
    for _ in 0..TRIES {
        let name = format!("{PREFIX}{}-{:016x}", std::process::id(), random::u64()?);
        match mkdirat(parent, name.as_str(), Mode::S_IRWXU) {
            Err(Errno::EEXIST) => continue,
            result => result?,
        }
        // From here on each missing thing means that another start took the folder for a dead
        // one, because it was not locked yet.
        let folder = match open_folder(parent, &name) {
            Err(Errno::ENOENT) => continue,
            result => result?,
        };
        let lock = match create_new(&folder, LOCK) {
            Err(Errno::ENOENT) => continue,
            result => File::from(result?),
        };
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => {
                let _left = remove_empty(parent, &name, &folder);
                return Err(error);
            }
            Ok(()) => {}
        }
        if fstat(&lock)?.st_nlink > 0 {
            return Ok((name, folder, lock));
        }
    }
    Err(io::Error::other("too many processes start at the same moment"))
}

/// What a start found in `spool_dir`.
#[derive(Debug, Default, Eq, PartialEq)]
struct Cleaned {
    removed: usize,
    odd: usize,
    unseen: bool,
}

/// What became of one entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Removed,
    InUse,
    Odd,
}

impl Cleaned {
    /// Removes the folders that dead processes left; everything else stays and is counted.
    fn run(parent: &OwnedFd, path: &Path) -> Self {
        let mut cleaned = Self::default();
        let Ok(entries) = fs::read_dir(path) else { return cleaned };
        for (count, entry) in entries.flatten().enumerate() {
            if count >= ENTRIES_MAX {
                cleaned.unseen = true;
                break;
            }
            let name = entry.file_name();
            let outcome = match name.to_str().filter(|name| is_ours(name)) {
                Some(name) => clean_folder(parent, path, name).unwrap_or(Outcome::Odd),
                None => Outcome::Odd,
            };
            match outcome {
                Outcome::Removed => cleaned.removed += 1,
                Outcome::InUse => {}
                Outcome::Odd => cleaned.odd += 1,
            }
        }
        cleaned
    }

    /// Says it for the log; no foreign name is in it.
    fn notes(&self, path: &Path) -> Vec<String> {
        let path = path.display();
        let mut notes = Vec::new();
        if self.removed > 0 {
            notes.push(format!("spool_dir {path}: removed {} dead folders", self.removed));
        }
        if self.odd > 0 {
            notes.push(format!("spool_dir {path}: left {} foreign entries alone", self.odd));
        }
        if self.unseen {
            notes.push(format!("spool_dir {path}: looked at the first {ENTRIES_MAX} entries only"));
        }
        notes
    }
}

/// Whether a name has the form that [`take_folder`] gives.
fn is_ours(name: &str) -> bool {
    let Some((pid, random)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'))
    else {
        return false;
    };
    (1..=10).contains(&pid.len())
        && pid.bytes().all(|b| b.is_ascii_digit())
        && random.len() == 16
        && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Removes one folder of the right name if its process is dead and all in it is ours.
fn clean_folder(parent: &OwnedFd, path: &Path, name: &str) -> io::Result<Outcome> {
    let folder = match open_folder(parent, name) {
        Err(Errno::ENOENT) => return Ok(Outcome::InUse),
        result => result?,
    };
    if fstat(&folder)?.st_uid != Uid::effective().as_raw() {
        return Ok(Outcome::Odd);
    }
    // Non-blocking, so that a FIFO of this name does not hold up the start.
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let lock = match openat(&folder, LOCK, flags, Mode::empty()) {
        // Just made and not locked yet, or half removed: it goes only if it is empty.
        Err(Errno::ENOENT) => {
            return Ok(match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
                Ok(()) => Outcome::Removed,
                Err(Errno::ENOENT) => Outcome::InUse,
                Err(_) if fstatat(&folder, LOCK, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() => {
                    Outcome::InUse
                }
                Err(_) => Outcome::Odd,
            });
        }
        result => File::from(result?),
    };
    if !is_regular(&fstat(&lock)?) {
        return Ok(Outcome::Odd);
    }
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(Outcome::InUse),
        Err(TryLockError::Error(error)) => return Err(error),
        Ok(()) => {}
    }
    // The lock of a file that somebody else has removed meanwhile protects nothing.
    if fstat(&lock)?.st_nlink == 0 {
        return Ok(Outcome::InUse);
    }
    let removed = remove_folder(parent, name, &folder, &path.join(name))?;
    Ok(if removed { Outcome::Removed } else { Outcome::Odd })
}

/// Removes a folder whose lock the caller holds, with the regular files in it. `false` when
/// something else is in there: then the folder and its lock stay.
fn remove_folder(parent: &OwnedFd, name: &str, folder: &OwnedFd, path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)?.take(ENTRIES_MAX) {
        let entry = entry?.file_name();
        if entry == LOCK {
            continue;
        }
        let stat = fstatat(folder, entry.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if !is_regular(&stat) {
            return Ok(false);
        }
        unlinkat(folder, entry.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
    }
    remove_empty(parent, name, folder)?;
    Ok(true)
}

/// Removes the lock and the folder, which has to be empty but for it.
fn remove_empty(parent: &OwnedFd, name: &str, folder: &OwnedFd) -> nix::Result<()> {
    unlinkat(folder, LOCK, UnlinkatFlags::NoRemoveDir)?;
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        // Another start found it empty and was faster.
        Err(Errno::ENOENT) => Ok(()),
        result => result,
    }
}

/// Opens a folder in `parent`; a symbolic link is not followed.
fn open_folder(parent: &OwnedFd, name: &str) -> nix::Result<OwnedFd> {
    openat(parent, name, FOLDER, Mode::empty())
}

/// Makes a file of mode 0600 that was not there before.
fn create_new(folder: &OwnedFd, name: &str) -> nix::Result<OwnedFd> {
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    retry(|| openat(folder, name, flags, private()))
}

/// Read and write for the owner alone.
fn private() -> Mode {
    Mode::S_IRUSR | Mode::S_IWUSR
}

/// Calls again when a signal came in between.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// The answers of kernels (EISDIR) and file systems that know no O_TMPFILE.
fn knows_no_unnamed(errno: Errno) -> bool {
    matches!(errno, Errno::EISDIR | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS)
}

/// Whether it is a plain file: no link, FIFO, device or folder.
fn is_regular(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

#[cfg(test)]
mod tests;
