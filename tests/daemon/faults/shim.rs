//! The library that lets system calls of a daemon fail, and the file that tells it which.

use crate::daemon::house::{BINARY, Daemon, House};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What becomes of the call, as `shim.c` numbers it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// It is not made, and says that it failed.
    Fail = 0,
    /// It is made, and says that it failed.
    WorkAndFail = 1,
    /// The process is killed in its place.
    Die = 2,
}

/// Which call is to fail, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Its name in `shim.c`; `*` is every call.
    pub(crate) call: &'static str,
    pub(crate) errno: nix::errno::Errno,
    pub(crate) action: Action,
    /// The first is 1.
    pub(crate) nth: i32,
    /// All that follow fail too.
    pub(crate) lasts: bool,
}

/// Where things are in `struct order` of `shim.c`.
const FIRED: u64 = 32;
const ARMED: u64 = 36;
const LOADED: u64 = 40;
const CLOCK: u64 = 48;

/// The orders for one daemon at a time.
pub(crate) struct Shim {
    file: File,
    path: PathBuf,
}

impl Shim {
    /// For daemons of this house; none where the library cannot be built or is not loaded into the
    /// program, as into one that is linked statically.
    pub(crate) fn new(house: &House) -> Option<Shim> {
        library()?;
        let path = house.path("faults");
        fs::write(&path, vec![0; 4_096]).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let shim = Shim { file, path };
        let mut trial = Command::new(BINARY);
        trial.arg("--version");
        let status = shim.command(&trial).stdout(Stdio::null()).status();
        assert!(status.unwrap().success());
        (shim.get(LOADED) == 1).then_some(shim)
    }

    /// The same command with the library.
    fn command(&self, plain: &Command) -> Command {
        let mut command = Command::new(plain.get_program());
        command.args(plain.get_args()).env("LD_PRELOAD", library().unwrap());
        command.env("MAILREEVE_FAULTS", &self.path);
        command
    }

    /// Starts a daemon whose calls can fail.
    pub(crate) fn start(&self, house: &House) -> Daemon {
        Daemon::start(&mut self.command(&house.serve()))
    }

    /// From now on.
    pub(crate) fn arm(&self, fault: &Fault) {
        let mut octets = [0; 48];
        octets[..fault.call.len()].copy_from_slice(fault.call.as_bytes());
        // In the order of `struct order`, but for what it tells us.
        let numbers = [fault.errno as i32, fault.action as i32, fault.nth, 0, 0, 0, 1];
        for (place, number) in octets[16..].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        octets[44..].copy_from_slice(&i32::from(fault.lasts).to_ne_bytes());
        self.file.write_all_at(&octets, 0).unwrap();
        self.put(ARMED, 1);
    }

    /// No more faults; whether there was one.
    pub(crate) fn disarm(&self) -> bool {
        self.put(ARMED, 0);
        self.get(FIRED) == 1
    }

    /// Sets the daemon's wall clock so many seconds ahead, or back.
    pub(crate) fn set_clock(&self, seconds: i64) {
        self.file.write_all_at(&seconds.to_ne_bytes(), CLOCK).unwrap();
    }

    fn put(&self, at: u64, number: i32) {
        self.file.write_all_at(&number.to_ne_bytes(), at).unwrap();
    }

    fn get(&self, at: u64) -> i32 {
        let mut octets = [0; 4];
        self.file.read_exact_at(&mut octets, at).unwrap();
        i32::from_ne_bytes(octets)
    }
}

/// The library, built once for all tests of this process; none without a C compiler.
fn library() -> Option<&'static PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/faults/shim.c");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (made, target) =
            (folder.join(std::process::id().to_string()), folder.join("faults.so"));
        let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
        let mut compiler = Command::new("cc");
        compiler.args(flags).arg(&made).arg(source).arg("-ldl");
        // Another run of the tests may have the one of before in use.
        let built = compiler.status().is_ok_and(|status| status.success());
        (built && fs::rename(made, &target).is_ok()).then_some(target)
    };
    LIBRARY.get_or_init(build).as_ref()
}
