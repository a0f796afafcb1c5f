//! Reads a database's file, and changes it by replacing it.
//!
//! Who reads takes no lock: a file is only ever replaced as a whole, by a rename. Who writes holds a lock
//! on `FILE.lock`, which SME Server's own programs hold too, and reads again under it, so that of two
//! changes none is lost. The lock's file is removed at the end; since who waited for it then holds a lock
//! on a file that is nobody's, each writer looks whether what it locked is still there.

use crate::esmith::database::Database;
use nix::unistd::{Gid, Group, Uid, fchown};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Octets of a file; one with ten thousand accounts has two million.
const OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// Mode of a new file, less what the umask takes.
const MODE: u32 = 0o660;

/// How long others who are changing a database are waited for. Each needs moments.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks whether they are done.
const PAUSE: Duration = Duration::from_millis(10);

/// The group whose members may read the databases, where there is one.
const GROUP: &str = "admin";

/// Reads a database. A missing file is an empty one, and is not made.
///
/// # Errors
///
/// What the system says; a file over 64 MiB.
pub fn read(path: &Path) -> io::Result<Database> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Database::default()),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    if file.take(OCTETS_MAX + 1).read_to_end(&mut text)? as u64 > OCTETS_MAX {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "over 64 MiB: no database"));
    }
    Ok(Database::parse(&text))
}

/// Changes a database. Where `change` changes nothing the file is left alone; `updated` is the time for
/// the file's notice. Returns what `change` returns. Waits for others who are changing it, for a minute.
///
/// # Errors
///
/// What the system says, another who is not done in a minute, or a file that is over 64 MiB or whose owner
/// could not be kept: then the file is as it was.
pub fn change<T>(
    path: &Path,
    updated: &str,
    change: impl FnOnce(&mut Database) -> T,
) -> io::Result<T> {
    let lock = Lock::take(with_end(path, ".lock"), PATIENCE)?;
    let before = read(path)?;
    let mut after = before.clone();
    let result = change(&mut after);
    if after != before {
        replace(path, &after.serialise(updated))?;
    }
    lock.release()?;
    Ok(result)
}

/// The right to write, until it is released or dropped.
struct Lock {
    path: PathBuf,
    _held: File,
    is_over: bool,
}

impl Lock {
    #[expect(clippy::disallowed_methods, reason = "a command waits here for another program")]
    fn take(path: PathBuf, patience: Duration) -> io::Result<Lock> {
        let until = Instant::now() + patience;
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(MODE);
            let held = options.open(&path)?;
            match held.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    thread::sleep(PAUSE);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    let what = format!("another program has held {} too long", path.display());
                    return Err(io::Error::new(ErrorKind::TimedOut, what));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let locked = held.metadata()?;
            match fs::metadata(&path) {
                Ok(there) if is_same(&there, &locked) => {
                    return Ok(Lock { path, _held: held, is_over: false });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the file while it is still held: afterwards it could be another's.
    fn release(mut self) -> io::Result<()> {
        self.is_over = true;
        fs::remove_file(&self.path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.is_over {
            // The error that led here is the one to tell. A lock's file that stays hinders nobody.
            let _stays = fs::remove_file(&self.path);
        }
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// `path` with more at its end.
fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    PathBuf::from(name)
}

/// Puts a file with this text, on the disk, in the place of the one that is there.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = with_end(path, &format!(".{}", std::process::id()));
    // Only a process of this number that was cut off can have left one: the lock is ours.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write(&temporary, path, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; the next change by this number removes what stays.
        let _stays = fs::remove_file(&temporary);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write(temporary: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(temporary)?;
    match fs::metadata(path) {
        Ok(there) => {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (there.uid(), there.gid()) {
                fchown(&file, Some(there.uid().into()), Some(there.gid().into()))?;
            }
            file.set_permissions(Permissions::from_mode(there.mode() & 0o7777))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if Uid::effective().is_root() {
                let group = Group::from_name(GROUP)?.map_or(Gid::from_raw(0), |group| group.gid);
                fchown(&file, Some(Uid::from_raw(0)), Some(group))?;
            }
        }
        Err(error) => return Err(error),
    }
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esmith::record::Record;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("mailreeve-esmith-{name}-{}", std::process::id());
            let folder = Folder(std::env::temp_dir().join(name));
            let _left_over = fs::remove_dir_all(&folder.0);
            fs::create_dir_all(&folder.0).unwrap();
            folder
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    fn set(path: &Path, key: &str, value: &str) {
        let record = Record::new(value.as_bytes(), &[]).unwrap();
        change(path, "now", |database| database.set(key.as_bytes(), record)).unwrap().unwrap();
    }

    #[test]
    fn a_missing_file_is_empty_and_made_only_by_a_change() {
        let folder = Folder::new("missing");
        let path = folder.0.join("x");
        assert_eq!(read(&path).unwrap(), Database::default());
        change(&path, "now", |database| assert!(!database.remove(b"k"))).unwrap();
        assert_eq!(folder.names(), [""; 0]);
        set(&path, "k", "v");
        assert_eq!(folder.names(), ["x"], "neither lock nor temporary file stays");
        assert!(read(&path).unwrap().get(b"k").is_some());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o117, 0, "for nobody else to read");
    }

    #[test]
    fn mode_is_kept_and_what_changes_nothing_writes_nothing() {
        let folder = Folder::new("mode");
        let path = folder.0.join("x");
        fs::write(&path, "# mine\nk=v\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        set(&path, "k", "v");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(fs::read(&path).unwrap(), b"# mine\nk=v\n");
        let left = with_end(&path, &format!(".{}", std::process::id()));
        fs::write(&left, "cut off").unwrap();
        set(&path, "k", "w");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o604);
        assert!(fs::read(&path).unwrap().ends_with(b"\nk=w\n"));
        assert_eq!(folder.names(), ["x"]);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_an_error_and_stays() {
        let folder = Folder::new("blocked");
        let path = folder.0.join("x");
        set(&path, "k", "v");
        fs::create_dir(with_end(&path, &format!(".{}", std::process::id()))).unwrap();
        let record = Record::new(b"w", &[]).unwrap();
        assert!(change(&path, "now", |database| database.set(b"k", record)).is_err());
        assert!(fs::read(&path).unwrap().ends_with(b"\nk=v\n"));
        assert!(!with_end(&path, ".lock").exists());
    }

    #[test]
    fn a_lock_that_is_not_let_go_is_given_up() {
        let folder = Folder::new("held");
        let path = folder.0.join("x.lock");
        let held = Lock::take(path.clone(), PATIENCE).unwrap();
        let error = Lock::take(path.clone(), Duration::ZERO).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(folder.names(), ["x.lock"], "it is the other's");
        held.release().unwrap();
        Lock::take(path, Duration::ZERO).unwrap().release().unwrap();
        assert_eq!(folder.names(), [""; 0]);
    }

    /// Four writers at a time, and a reader who sees every state but no half of one.
    #[test]
    fn no_change_is_lost_and_no_half_file_is_seen() {
        const WRITERS: usize = 4;
        const CHANGES: usize = 10;
        let folder = Folder::new("writers");
        let path = folder.0.join("x");
        thread::scope(|scope| {
            let write = |writer: usize| {
                for count in 0..CHANGES {
                    set(&path, &format!("k{writer}-{count}"), "end");
                }
            };
            let writers: Vec<_> =
                (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
            let mut before = 0;
            while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
                let database = read(&path).unwrap();
                assert!(database.records().all(|(_, record)| record.raw() == Some(b"end")));
                let count = database.records().count();
                assert!(count >= before, "{count} after {before}");
                before = count;
            }
        });
        assert_eq!(read(&path).unwrap().records().count(), WRITERS * CHANGES);
        assert_eq!(folder.names(), ["x"]);
    }
}
