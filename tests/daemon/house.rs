//! A daemon's surroundings: its config folder, Maildir and spool in a temporary folder, its process,
//! and what it says.

use crate::daemon::client::Client;
use crate::daemon::system::{self, PATIENCE, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The program.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_mailreeve");

/// A temporary folder with `config`, `Maildir`, `spool` and `state`; removed with the value.
pub(crate) struct House {
    folder: PathBuf,
}

impl House {
    /// Accepts mail for example.com into the Maildir.
    pub(crate) fn new() -> House {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mailreeve-daemon-{}-{number}", std::process::id());
        let house = House { folder: std::env::temp_dir().join(name) };
        fs::create_dir_all(house.path("config")).unwrap();
        house.set("listen", "127.0.0.1:0");
        house.set("me", "mx.example.net");
        house.set("rcpthosts", "example.com");
        house.set("loglevel", "6");
        house
            .set("plugins", &format!("rcpt_ok\nqueue/maildir {}", house.path("Maildir").display()));
        for setting in ["spool_dir", "state_dir"] {
            let folder = house.path(setting.trim_end_matches("_dir"));
            fs::create_dir_all(&folder).unwrap();
            house.set(setting, &folder.display().to_string());
        }
        if system::is_root() {
            house.set("user", "root");
        }
        house
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a config file.
    pub(crate) fn set(&self, name: &str, text: &str) {
        fs::write(self.path("config").join(name), format!("{text}\n")).unwrap();
    }

    /// Lets mail be thrown away, for tests that are about something else than the disk.
    pub(crate) fn discard(&self) {
        self.set("plugins", "rcpt_ok\nqueue/discard");
    }

    /// Makes a program: a shell script, which finds the house's folder in `$here`.
    pub(crate) fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        let text = format!("#!/bin/sh\nhere={}\n{script}\n", self.folder.display());
        // Another process writes it: a child that a test starts at this moment would hold our file open
        // for writing, and what is open for writing is not run.
        let mut install = Command::new("install");
        let install = install.args(["-m", "755", "/dev/stdin"]).arg(&path);
        let mut child = install.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        path
    }

    /// The queue, behind rcpt_ok.
    pub(crate) fn queue(&self, line: &str) {
        self.set("plugins", &format!("rcpt_ok\n{line}"));
    }

    /// `mailreeve serve` on the config folder.
    pub(crate) fn serve(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("serve").arg("--config").arg(self.path("config"));
        command
    }

    /// Starts the daemon and waits until it listens.
    pub(crate) fn start(&self) -> Daemon {
        let listeners = fs::read_to_string(self.path("config/listen")).unwrap();
        let mut daemon = Daemon::start_unread(&mut self.serve(), listeners.lines().count());
        daemon.read_log();
        daemon
    }

    /// The files in the Maildir's `new`, in no order.
    pub(crate) fn mails(&self) -> Vec<Vec<u8>> {
        let files = |entry: std::io::Result<fs::DirEntry>| fs::read(entry.unwrap().path()).unwrap();
        fs::read_dir(self.path("Maildir/new"))
            .map(|entries| entries.map(files).collect())
            .unwrap_or_default()
    }

    /// The same, and removes them.
    pub(crate) fn take_mails(&self) -> Vec<Vec<u8>> {
        let mails = self.mails();
        for name in self.names("Maildir/new") {
            fs::remove_file(self.path("Maildir/new").join(name)).unwrap();
        }
        mails
    }

    /// The files in a folder, in no order.
    pub(crate) fn files(&self, folder: &str) -> Vec<Vec<u8>> {
        let names = self.names(folder);
        names.iter().map(|name| fs::read(self.path(folder).join(name)).unwrap()).collect()
    }

    /// Names in one of the folders.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.folder);
    }
}

/// What a daemon has said on standard error so far.
#[derive(Default)]
pub(crate) struct Log {
    said: Mutex<Said>,
    news: Condvar,
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

impl Said {
    /// The end, for who has to find out what went wrong.
    fn tail(&self) -> String {
        self.lines[self.lines.len().saturating_sub(40)..].join("\n    ")
    }
}

impl Log {
    fn listen(&self, stderr: &mut impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            self.said().lines.push(line);
            self.news.notify_all();
        }
        self.said().ended = true;
        self.news.notify_all();
    }

    /// Good even where a test failed with the lock in its hand.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.said().lines.clone()
    }

    /// How many lines contain the text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until the lines satisfy.
    pub(crate) fn wait<T>(&self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let mut said = self.said();
        let from = Instant::now();
        loop {
            if let Some(found) = find(&said.lines) {
                return found;
            }
            assert!(!said.ended, "the log ended without {what}:\n    {}", said.tail());
            assert!(from.elapsed() < PATIENCE, "the log lacks {what}:\n    {}", said.tail());
            said = self.news.wait_timeout(said, PATIENCE).unwrap().0;
        }
    }

    /// Waits for a line that contains the text; gives the first.
    pub(crate) fn line(&self, text: &str) -> String {
        self.nth(text, 1)
    }

    /// Waits until `count` lines contain the text; gives the last of these.
    pub(crate) fn nth(&self, text: &str, count: usize) -> String {
        self.wait(text, |lines| {
            lines.iter().filter(|line| line.contains(text)).nth(count - 1).cloned()
        })
    }

    fn end(&self) {
        let mut said = self.said();
        let from = Instant::now();
        while !said.ended {
            assert!(from.elapsed() < PATIENCE, "it does not end:\n    {}", said.tail());
            said = self.news.wait_timeout(said, PATIENCE).unwrap().0;
        }
    }
}

/// A running daemon; killed with the value if it still runs.
pub(crate) struct Daemon {
    child: Child,
    unread: Option<BufReader<ChildStderr>>,
    pub(crate) log: Arc<Log>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Daemon {
    /// Starts the command, which is or becomes a daemon, and waits until it listens.
    pub(crate) fn start(command: &mut Command) -> Daemon {
        let mut daemon = Daemon::start_unread(command, 1);
        daemon.read_log();
        daemon
    }

    /// The same, but once it listens at so many addresses nobody reads its log until
    /// [`Daemon::read_log`].
    pub(crate) fn start_unread(command: &mut Command, listeners: usize) -> Daemon {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A small buffer: what is read here is off the pipe.
        let mut stderr = BufReader::with_capacity(256, child.stderr.take().unwrap());
        let (mut lines, mut addresses) = (Vec::new(), Vec::new());
        while addresses.len() < listeners {
            let mut line = String::new();
            if stderr.read_line(&mut line).unwrap() == 0 {
                let status = child.wait();
                panic!("it ended without listening ({status:?}):\n    {}", lines.join("    "));
            }
            if let Some((_, address)) = line.split_once("Listening on ") {
                let (address, _role) =
                    address.trim().split_once(' ').unwrap_or((address.trim(), ""));
                addresses.push(address.parse().unwrap());
            }
            lines.push(line.trim_end().to_string());
            // They are told together, in one write.
            if !addresses.is_empty() && !stderr.buffer().contains(&b'\n') {
                break;
            }
        }
        let log = Arc::new(Log::default());
        log.said().lines = lines;
        Daemon { child, unread: Some(stderr), log, addresses }
    }

    /// Begins to read the log.
    pub(crate) fn read_log(&mut self) {
        let Some(mut stderr) = self.unread.take() else { return };
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || log.listen(&mut stderr));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client that has read its greeting and said EHLO.
    pub(crate) fn client(&self) -> Client {
        let mut client = Client::connect(self.address());
        client.hello();
        client
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.read_log();
        self.log.end();
        self.child.wait().unwrap()
    }

    /// Asks it to end and sees that it does so well.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        let lines = self.log.lines();
        assert!(status.success(), "{status}:\n    {}", lines.join("\n    "));
        assert!(!lines.iter().any(|line| line.contains("panic")), "{lines:#?}");
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until no spool file is open.
    pub(crate) fn spool_is_empty(&self, house: &House) {
        let spool = house.path("spool").display().to_string();
        // A file without a name, or one that has lost it.
        let is_file = |path: &String| path.starts_with(&spool) && path.ends_with(" (deleted)");
        until("an empty spool", || {
            (!system::descriptors(self.pid()).iter().any(is_file)).then_some(())
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}
