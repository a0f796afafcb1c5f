//! Deliveries on a sound disk and on one that fails at the n-th call, for every n.

use super::*;
use crate::sys::random;
use std::cell::{Cell, RefCell};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::AtomicBool;

/// A folder of a name of its own under the temporary folder; goes when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let random = random::u64().unwrap();
        let path = std::env::temp_dir().join(format!("maildir-test-{random:016x}"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn template(&self, pattern: Option<&str>, mode: Option<&str>) -> Template {
        Template::parse(self.0.join("a/b").to_str().unwrap(), pattern, mode).unwrap()
    }

    /// Every file below, as (path below the scratch folder without the name, content); a dead
    /// link has none.
    fn files(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let below = folder.strip_prefix(&self.0).unwrap().to_str().unwrap();
                    let content = fs::read_to_string(path).unwrap_or_default();
                    found.push((below.to_owned(), content));
                }
            }
        }
        found.sort();
        found
    }

    /// Makes everything as it was before a delivery.
    fn clear(&self) {
        fs::remove_dir_all(&self.0).unwrap();
        fs::create_dir(&self.0).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const RECIPIENTS: [Recipient<'static>; 3] = [
    Recipient { local: "bob", domain: "example.com", display: "bob@example.com" },
    Recipient { local: "eve", domain: "example.com", display: "eve@example.com" },
    Recipient { local: "bob", domain: "EXAMPLE.com", display: "bob@EXAMPLE.com" },
];

const PARTS: [&[u8]; 3] = [b"Received: x\r", b"\nSubject: y\r\n\r\n", b"line\r\n.\r\n"];

const TEXT: &str = "Received: x\nSubject: y\n\nline\n.\n";

fn job(sync: bool) -> Job<'static> {
    Job { return_path: "<>", recipients: &RECIPIENTS, parts: &PARTS, sync, host: "h" }
}

/// What stands in the files after [`job`] with and without a pattern.
fn expected(pattern: Option<&str>) -> Vec<(String, String)> {
    let text = |who: &[&str]| {
        let lines: String = who.iter().map(|who| format!("Delivered-To: {who}\n")).collect();
        format!("Return-Path: <>\n{lines}{TEXT}")
    };
    let (bob, eve, also_bob) = ("bob@example.com", "eve@example.com", "bob@EXAMPLE.com");
    match pattern {
        None => vec![("a/b/new".to_owned(), text(&[bob, eve, also_bob]))],
        Some(_) => vec![
            ("a/b/example.com/bob/new".to_owned(), text(&[bob, also_bob])),
            ("a/b/example.com/eve/new".to_owned(), text(&[eve])),
        ],
    }
}

/// What a [`Faulty`] disk does from its `at`-th call on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// One call fails and does nothing.
    Once(Errno),
    /// One call does its work and fails all the same.
    Late(Errno),
    /// All calls fail.
    Forever(Errno),
    /// All works, but writes take few octets at a time and are interrupted.
    ShortWrites,
}

/// The real disk with one fault.
struct Faulty {
    fault: Fault,
    at: u32,
    calls: Cell<u32>,
    only_named: AtomicBool,
    /// Whether O_TMPFILE is known.
    knows_unnamed: bool,
    /// Files whose sync has failed, which must not be synced again.
    given_up: RefCell<Vec<i32>>,
}

impl Faulty {
    fn new(fault: Fault, at: u32, knows_unnamed: bool) -> Self {
        let calls = Cell::new(0);
        let given_up = RefCell::default();
        Self { fault, at, calls, only_named: AtomicBool::new(false), knows_unnamed, given_up }
    }

    fn call<T>(&self, work: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        let number = self.calls.get();
        self.calls.set(number + 1);
        match self.fault {
            Fault::Once(errno) if number == self.at => Err(errno),
            Fault::Forever(errno) if number >= self.at => Err(errno),
            Fault::Late(errno) if number == self.at => work().and(Err(errno)),
            _ => work(),
        }
    }
}

impl Disk for Faulty {
    type File = OwnedFd;

    fn only_named(&self) -> &AtomicBool {
        &self.only_named
    }

    fn is_folder(&self, path: &Path) -> Result<bool, Errno> {
        self.call(|| System.is_folder(path))
    }

    fn make_folder(&self, path: &Path, mode: u32) -> Result<(), Errno> {
        self.call(|| System.make_folder(path, mode))
    }

    fn remove_folder(&self, path: &Path) -> Result<(), Errno> {
        self.call(|| System.remove_folder(path))
    }

    fn create_unnamed(&self, folder: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        if !self.knows_unnamed {
            return Err(Errno::EISDIR);
        }
        self.call(|| System.create_unnamed(folder, mode))
    }

    fn create_named(&self, path: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        self.call(|| System.create_named(path, mode))
    }

    fn write(&self, file: &OwnedFd, data: &[u8]) -> Result<usize, Errno> {
        if self.fault != Fault::ShortWrites {
            return self.call(|| System.write(file, data));
        }
        self.calls.set(self.calls.get() + 1);
        match self.calls.get() % 2 {
            0 => Err(Errno::EINTR),
            _ => System.write(file, &data[..data.len().min(7)]),
        }
    }

    fn sync(&self, file: &OwnedFd) -> Result<(), Errno> {
        use std::os::fd::AsRawFd;
        let number = file.as_raw_fd();
        assert!(!self.given_up.borrow().contains(&number), "synced again after an error");
        // Whether the kernel syncs is not in question here, and hundreds of syncs take long.
        let result = self.call(|| Ok(()));
        result.inspect_err(|_| self.given_up.borrow_mut().push(number))
    }

    fn forgets_unnamed(&self, _: &OwnedFd) -> bool {
        true
    }

    fn sync_folder(&self, path: &Path) -> Result<(), Errno> {
        self.call(|| System.is_folder(path).map(drop))
    }

    fn link_unnamed(&self, file: &OwnedFd, path: &Path) -> Result<(), Errno> {
        self.call(|| System.link_unnamed(file, path))
    }

    fn link_named(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        self.call(|| System.link_named(from, to))
    }

    fn remove(&self, path: &Path) -> Result<(), Errno> {
        self.call(|| System.remove(path))
    }
}

/// Lets the n-th call fail for every n until none is left to fail, in a Maildir that is missing
/// or there. `Ok` must mean that every copy is there once; anything else that no file is left
/// (unless the disk stays broken), and that the next try delivers once.
fn check_every_call(fault: Fault, pattern: Option<&str>, knows_unnamed: bool, there: bool) {
    let scratch = Scratch::new();
    let template = scratch.template(pattern, None);
    let mut failures = 0;
    for at in 0..200 {
        scratch.clear();
        if there {
            for copy in plan(&template, &job(true)) {
                make_maildir(&System, &copy.maildir, 0o700, false).unwrap();
            }
        }
        let disk = Faulty::new(fault, at, knows_unnamed);
        let result = deliver_on(&disk, &template, &job(true));
        let context = format!("{fault:?} {pattern:?} {knows_unnamed} {there} at {at}: {result:?}");
        let mut files = scratch.files();
        if result.is_ok() && disk.calls.get() > at {
            // Only a second name in tmp/ may stay behind a mail that is delivered.
            files.retain(|(folder, _)| !folder.ends_with("/tmp"));
        }
        match result {
            Ok(()) => assert_eq!(files, expected(pattern), "{context}"),
            Err(failure) => {
                failures += 1;
                check_failure(fault, &failure, &context);
                if !matches!(fault, Fault::Forever(_)) {
                    assert_eq!(files, [], "{context}");
                    deliver(&template, &job(false)).unwrap();
                    assert_eq!(scratch.files(), expected(pattern), "{context}");
                }
            }
        }
        if disk.calls.get() <= at {
            assert!(failures >= 7, "{context}: only {failures} calls could fail");
            return;
        }
    }
    panic!("a delivery that never ends");
}

fn check_failure(fault: Fault, failure: &Failure, context: &str) {
    let kind = match fault {
        Fault::Once(errno) | Fault::Late(errno) | Fault::Forever(errno) => match errno {
            Errno::EACCES => FailureKind::Permission,
            Errno::EIO => FailureKind::Temporary,
            _ => FailureKind::Space,
        },
        Fault::ShortWrites => panic!("{context}: short writes are no failure"),
    };
    assert_eq!(failure.kind, kind, "{context}");
    assert!(failure.reply.starts_with("queue error ("), "{context}");
    assert!(failure.what.starts_with(failure.reply), "{context}");
}

#[test]
fn no_single_failure_loses_or_doubles_a_mail() {
    for errno in [Errno::ENOSPC, Errno::EIO, Errno::EDQUOT, Errno::EROFS, Errno::EACCES] {
        for pattern in [None, Some("%d/%l")] {
            for knows_unnamed in [true, false] {
                for there in [true, false] {
                    check_every_call(Fault::Once(errno), pattern, knows_unnamed, there);
                }
            }
        }
    }
}

#[test]
fn a_disk_that_stays_broken_is_never_acknowledged() {
    for errno in [Errno::ENOSPC, Errno::EIO] {
        for pattern in [None, Some("%d/%l")] {
            for knows_unnamed in [true, false] {
                check_every_call(Fault::Forever(errno), pattern, knows_unnamed, true);
            }
        }
    }
}

#[test]
fn a_call_that_worked_but_said_no_is_undone() {
    for pattern in [None, Some("%d/%l")] {
        check_every_call(Fault::Late(Errno::EIO), pattern, true, true);
    }
}

#[test]
fn short_and_interrupted_writes_are_completed() {
    for knows_unnamed in [true, false] {
        let scratch = Scratch::new();
        let disk = Faulty::new(Fault::ShortWrites, 0, knows_unnamed);
        deliver_on(&disk, &scratch.template(Some("%d/%l"), None), &job(true)).unwrap();
        assert_eq!(scratch.files(), expected(Some("%d/%l")));
        assert_eq!(disk.only_named.into_inner(), !knows_unnamed);
    }
}

#[test]
fn folders_and_files_get_the_mode_asked_for() {
    for (mode, folder, file) in [(None, 0o700, 0o600), (Some("0777"), 0o777, 0o666)] {
        let scratch = Scratch::new();
        deliver(&scratch.template(None, mode), &job(true)).unwrap();
        let mode_of = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let maildir = scratch.0.join("a/b");
        for name in ["", "cur", "new", "tmp", ".."] {
            assert_eq!(mode_of(&maildir.join(name)), folder, "{name}");
        }
        let mail = fs::read_dir(maildir.join("new")).unwrap().next().unwrap().unwrap();
        assert_eq!(mode_of(&mail.path()), file);
    }
}

#[test]
fn more_copies_than_files_may_be_open() {
    let scratch = Scratch::new();
    let locals: Vec<String> = (0..=HELD_MAX).map(|n| format!("user{n}")).collect();
    let recipients: Vec<Recipient<'_>> = locals
        .iter()
        .map(|local| Recipient { local, domain: "example.com", display: local })
        .collect();
    let many = Job { recipients: &recipients, sync: false, ..job(false) };
    deliver(&scratch.template(Some("%l"), None), &many).unwrap();
    let files = scratch.files();
    assert_eq!(files.len(), HELD_MAX + 1);
    assert!(files.iter().all(|(folder, _)| folder.ends_with("/new")), "{files:?}");
    let disk = Faulty::new(Fault::Once(Errno::EIO), 900, true);
    let result = deliver_on(&disk, &scratch.template(Some("%l"), None), &many);
    assert_eq!(result.is_ok(), disk.calls.get() <= 900);
}

#[test]
fn nobody_to_deliver_to_is_no_success() {
    let scratch = Scratch::new();
    for pattern in [None, Some("%l")] {
        let nobody = Job { recipients: &[], ..job(true) };
        let failure = deliver(&scratch.template(pattern, None), &nobody).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Temporary);
    }
    assert_eq!(scratch.files(), []);
}

#[test]
fn what_the_admin_has_put_there_is_respected() {
    let scratch = Scratch::new();
    // A `new` that lies elsewhere is followed (and seen twice here); a missing `tmp` beside it is made.
    fs::create_dir_all(scratch.0.join("elsewhere/new")).unwrap();
    fs::create_dir_all(scratch.0.join("a/b")).unwrap();
    symlink(scratch.0.join("elsewhere/new"), scratch.0.join("a/b/new")).unwrap();
    deliver(&scratch.template(None, None), &job(true)).unwrap();
    let place = |files: Vec<(String, String)>| files.into_iter().map(|file| file.0);
    assert!(place(scratch.files()).eq(["a/b/new", "elsewhere/new"]));
    // A file or a dead link in the place of a folder is a failure that leaves nothing.
    for bad in ["file", "dead link"] {
        scratch.clear();
        fs::create_dir_all(scratch.0.join("a/b")).unwrap();
        match bad {
            "file" => fs::write(scratch.0.join("a/b/new"), "").unwrap(),
            _ => symlink("/nowhere/at/all", scratch.0.join("a/b/new")).unwrap(),
        }
        let failure = deliver(&scratch.template(None, None), &job(true)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Temporary, "{bad}: {failure:?}");
        assert!(place(scratch.files()).all(|folder| folder == "a/b"), "{bad}");
    }
}

#[test]
fn many_at_once_all_arrive() {
    let scratch = Scratch::new();
    let template = scratch.template(Some("%d/%l"), None);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| deliver(&template, &job(false)).unwrap()));
        }
    });
    assert_eq!(scratch.files().len(), 200);
}

#[test]
fn foreign_text_is_harmless_everywhere() {
    let rows: [&[u8]; 4] = [b"", b"%d/%l\n../x\n..", b"\r\n\0\xff\r", b"%u\na\n[::1]"];
    for row in rows {
        fuzz(row);
    }
}
