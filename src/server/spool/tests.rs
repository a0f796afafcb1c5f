//! What the spool does with folders of dead and living processes, and with strange company.

use super::*;
use nix::unistd::mkfifo;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Arc, Barrier};

/// A folder of a name of its own under the temporary folder; goes when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let random = random::u64().unwrap();
        let path = std::env::temp_dir().join(format!("spool-test-{random:016x}"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A folder as a process that was killed leaves it.
    fn dead(&self, number: u64) -> PathBuf {
        let path = self.0.join(format!("{PREFIX}1-{number:016x}"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join(LOCK), "").unwrap();
        fs::write(path.join("body-3"), "half a mail").unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn files_have_no_name_and_hold_what_was_written() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("not/there/yet/");
    let (spool, notes) = Spool::open(&dir).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(&spool.path).unwrap().permissions().mode() & 0o7777, 0o700);
    for named in [false, true] {
        spool.named.store(named, Ordering::Relaxed);
        let file = Arc::new(spool.create().unwrap());
        let other = Arc::clone(&file);
        std::thread::spawn(move || other.write_at(b"world", 6).unwrap()).join().unwrap();
        file.write_at(b"hello ", 0).unwrap();
        assert_eq!(fs::read_dir(&spool.path).unwrap().count(), 1, "more than the lock");
        let stat = fstat(&file.file).unwrap();
        assert_eq!((stat.st_nlink, stat.st_mode & 0o7777), (0, 0o600));
        let view = file.view(11).unwrap();
        let short = file.view(12).unwrap_err();
        assert_eq!(Trouble::of(&short), Trouble::Other);
        drop(file);
        assert_eq!(&*view, b"hello world");
    }
    drop(spool);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn dead_folders_go_and_living_ones_stay() {
    let scratch = Scratch::new();
    for number in 0..3 {
        scratch.dead(number);
    }
    // Killed between mkdir and the lock.
    fs::create_dir(scratch.0.join(format!("{PREFIX}1-{:016x}", 9))).unwrap();
    let (first, notes) = Spool::open(&scratch.0).unwrap();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].ends_with("removed 4 dead folders"), "{notes:?}");
    let (second, notes) = Spool::open(&scratch.0).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(scratch.names().len(), 2);
    drop(first);
    assert_eq!(scratch.names(), std::slice::from_ref(&second.name));
}

#[test]
fn strange_company_is_left_alone_and_counted() {
    let scratch = Scratch::new();
    let everyone = Mode::from_bits_truncate(0o666);
    mkfifo(&scratch.0.join("fifo"), everyone).unwrap();
    fs::write(scratch.0.join("1700000000:99:1"), "of qpsmtpd").unwrap();
    fs::write(scratch.0.join(format!("{PREFIX}1-{:016x}", 1)), "a file").unwrap();
    fs::write(scratch.0.join(format!("{PREFIX}1-{:016x}\n", 1)), "newline").unwrap();
    symlink("/", scratch.0.join(format!("{PREFIX}1-{:016x}", 2))).unwrap();
    let fifo_inside = scratch.dead(3);
    mkfifo(&fifo_inside.join("fifo"), everyone).unwrap();
    let fifo_lock = scratch.dead(4);
    fs::remove_file(fifo_lock.join(LOCK)).unwrap();
    mkfifo(&fifo_lock.join(LOCK), everyone).unwrap();
    let link_inside = scratch.dead(5);
    symlink("/etc/passwd", link_inside.join("passwd")).unwrap();
    let no_lock = scratch.dead(6);
    fs::remove_file(no_lock.join(LOCK)).unwrap();
    let before = scratch.names().len();
    let (_spool, notes) = Spool::open(&scratch.0).unwrap();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].ends_with("left 9 foreign entries alone"), "{notes:?}");
    assert_eq!(scratch.names().len(), before + 1);
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn unsafe_places_are_refused_with_a_sentence() {
    let scratch = Scratch::new();
    let open_to_all = scratch.0.join("open");
    fs::create_dir(&open_to_all).unwrap();
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o777)).unwrap();
    let link = scratch.0.join("link");
    symlink(&scratch.0, &link).unwrap();
    let file = scratch.0.join("file");
    fs::write(&file, "").unwrap();
    let rows = [
        (open_to_all.clone(), "may be written by everyone: take that right away (chmod o-w)"),
        (link.clone(), "is a symbolic link: name the folder that it leads to"),
        (link.join(""), "is a symbolic link: name the folder that it leads to"),
        (file.clone(), "is not a folder"),
        (file.join("x"), "cannot be looked at: Not a directory (os error 20)"),
        (PathBuf::from("/proc/no"), "is missing and cannot be made"),
        (PathBuf::from("/proc"), "cannot be used"),
    ];
    for (path, expected) in rows {
        let sentence = Spool::open(&path).unwrap_err().to_string();
        assert!(sentence.starts_with("spool_dir /"), "{sentence}");
        assert!(sentence.contains(expected), "{sentence}");
    }
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o1777)).unwrap();
    Spool::open(&open_to_all).unwrap();
}

#[test]
fn many_may_start_at_once() {
    const STARTS: usize = 8;
    for _round in 0..20 {
        let scratch = Scratch::new();
        for number in 0..5 {
            scratch.dead(number);
        }
        let barrier = Barrier::new(STARTS);
        let spools: Vec<Spool> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                Spool::open(&scratch.0).unwrap().0
            };
            let threads: Vec<_> = (0..STARTS).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut expected: Vec<_> = spools.iter().map(|spool| spool.name.clone()).collect();
        let mut seen = scratch.names();
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected);
        for spool in &spools {
            spool.create().unwrap().write_at(b"x", 0).unwrap();
        }
        drop(spools);
        assert!(scratch.names().is_empty());
    }
}

#[test]
fn only_names_that_we_give_are_ours() {
    let rows = [
        ("mailreeve-1-0123456789abcdef", true),
        ("mailreeve-4194304-0123456789abcdef", true),
        ("mailreeve-1-0123456789ABCDEF", false),
        ("mailreeve-1-0123456789abcde", false),
        ("mailreeve--0123456789abcdef", false),
        ("mailreeve-12345678901-0123456789abcdef", false),
        ("mailreeve-1-0123456789abcdef\n", false),
        ("mailreeve-x-0123456789abcdef", false),
        ("mailreeve-", false),
        ("1700000000:99:1", false),
        ("", false),
    ];
    for (name, expected) in rows {
        assert_eq!(is_ours(name), expected, "{name:?}");
    }
}

#[test]
fn errors_sort_into_space_and_other() {
    let rows = [
        (Errno::ENOSPC, Trouble::Space),
        (Errno::EDQUOT, Trouble::Space),
        (Errno::EROFS, Trouble::Space),
        (Errno::EFBIG, Trouble::Space),
        (Errno::EIO, Trouble::Other),
        (Errno::EMFILE, Trouble::Other),
    ];
    for (errno, expected) in rows {
        assert_eq!(Trouble::of(&errno.into()), expected, "{errno}");
    }
}
