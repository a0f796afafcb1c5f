//! The file system as a delivery sees it: the calls, one method each.
//!
//! They are behind a trait for one reason: the promise that a full or broken disk never loses an
//! acknowledged mail is proved by tests that let each call fail in turn. The real disk is a type
//! of no size, so that the daemon pays nothing for it.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::libc::mode_t;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat, stat};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, fsync, linkat, mkdir, unlink, unlinkat, write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

/// The number by which XFS makes itself known; not every C library has a name for it.
const XFS: FsType = FsType(0x5846_5342);

/// What a delivery asks of a file system. Errors are what the kernel says.
pub(super) trait Disk {
    /// An open file; closed when dropped.
    type File;

    /// Set when files without a name were seen not to work; for the rest of the process.
    fn only_named(&self) -> &AtomicBool;
    /// Whether a folder is there; symbolic links are followed. ENOTDIR when it is something else.
    fn is_folder(&self, path: &Path) -> Result<bool, Errno>;
    /// Makes a folder with just this mode, whatever the umask is.
    fn make_folder(&self, path: &Path, mode: u32) -> Result<(), Errno>;
    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> Result<(), Errno>;
    /// Makes a file in `folder` that has no name and may get one.
    fn create_unnamed(&self, folder: &Path, mode: u32) -> Result<Self::File, Errno>;
    /// Makes a file that was not there before.
    fn create_named(&self, path: &Path, mode: u32) -> Result<Self::File, Errno>;
    /// Appends some of `data` and tells how much.
    fn write(&self, file: &Self::File, data: &[u8]) -> Result<usize, Errno>;
    /// Brings a file to the disk. After an error the file must be given up: the kernel forgets
    /// what it could not write, and a second call would say that all is well.
    fn sync(&self, file: &Self::File) -> Result<(), Errno>;
    /// Whether a file that was synced while it had no name must be synced again once it has one,
    /// because syncing the folder brings only the name to the disk.
    fn forgets_unnamed(&self, file: &Self::File) -> bool;
    /// Brings the names in a folder to the disk.
    fn sync_folder(&self, path: &Path) -> Result<(), Errno>;
    /// Gives a file without a name its first; never replaces another file.
    fn link_unnamed(&self, file: &Self::File, path: &Path) -> Result<(), Errno>;
    /// Gives a file a second name; never replaces another file.
    fn link_named(&self, from: &Path, to: &Path) -> Result<(), Errno>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> Result<(), Errno>;
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub(super) struct System;

impl Disk for System {
    type File = OwnedFd;

    fn only_named(&self) -> &AtomicBool {
        static ONLY_NAMED: OnceLock<AtomicBool> = OnceLock::new();
        // A file without a name gets one through /proc, which a chroot may lack.
        ONLY_NAMED.get_or_init(|| AtomicBool::new(stat("/proc/self/fd").is_err()))
    }

    fn is_folder(&self, path: &Path) -> Result<bool, Errno> {
        match stat(path) {
            Ok(found) if is_folder(found.st_mode) => Ok(true),
            Ok(_) => Err(Errno::ENOTDIR),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn make_folder(&self, path: &Path, mode: u32) -> Result<(), Errno> {
        mkdir(path, bits(mode))?;
        if !is_shared(mode) {
            return Ok(());
        }
        // The umask may have taken bits away; a set-group-id bit from above is kept.
        let set = |found: mode_t| {
            let group = Mode::from_bits_truncate(found) & Mode::S_ISGID;
            fchmodat(AT_FDCWD, path, bits(mode) | group, FchmodatFlags::FollowSymlink)
        };
        stat(path).and_then(|found| set(found.st_mode)).inspect_err(|_| {
            let _stays = self.remove_folder(path);
        })
    }

    fn remove_folder(&self, path: &Path) -> Result<(), Errno> {
        unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir)
    }

    fn create_unnamed(&self, folder: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        with_mode(open(folder, flags, bits(mode))?, mode)
    }

    fn create_named(&self, path: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        let flags =
            OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        with_mode(open(path, flags, bits(mode))?, mode).inspect_err(|_| {
            let _stays = unlink(path);
        })
    }

    fn write(&self, file: &OwnedFd, data: &[u8]) -> Result<usize, Errno> {
        write(file, data)
    }

    fn sync(&self, file: &OwnedFd) -> Result<(), Errno> {
        fsync(file)
    }

    fn forgets_unnamed(&self, file: &OwnedFd) -> bool {
        // btrfs records nothing of a file with no links when it is synced, so that a power cut
        // would leave the new name with an empty file. ext4 and XFS have one journal for names
        // and files in order, and tmpfs keeps nothing; the rest is not trusted.
        !fstatfs(file).is_ok_and(|found| {
            [EXT4_SUPER_MAGIC, XFS, TMPFS_MAGIC].contains(&found.filesystem_type())
        })
    }

    fn sync_folder(&self, path: &Path) -> Result<(), Errno> {
        let folder = open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        match fsync(&folder) {
            // A file system that has no such thing for folders; it is asked for no more.
            Err(Errno::EINVAL) => Ok(()),
            result => result,
        }
    }

    fn link_unnamed(&self, file: &OwnedFd, path: &Path) -> Result<(), Errno> {
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(AT_FDCWD, own.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)
    }

    fn link_named(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        linkat(AT_FDCWD, from, AT_FDCWD, to, AtFlags::empty())
    }

    fn remove(&self, path: &Path) -> Result<(), Errno> {
        unlink(path)
    }
}

/// Sets a new file's mode where the umask may have taken bits away.
fn with_mode(file: OwnedFd, mode: u32) -> Result<OwnedFd, Errno> {
    if is_shared(mode) {
        fchmod(&file, bits(mode))?;
    }
    Ok(file)
}

/// Whether others than the owner get rights: no umask in use takes any from the owner.
fn is_shared(mode: u32) -> bool {
    mode & 0o077 != 0
}

fn is_folder(mode: mode_t) -> bool {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// The C type of a mode is narrower on some targets; the bits in use always fit.
fn bits(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode_t::try_from(mode & 0o777).unwrap_or(0))
}
