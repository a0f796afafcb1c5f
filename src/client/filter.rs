//! Runs a program that answers a question, with a deadline: no shell, no descriptors of ours but those
//! that it is meant to have, and killed with everything that it has started when its time is over.
//!
//! It gets its input whole, through a pipe: so nothing here can wait for a program that does not
//! read. What it writes to standard output is kept; standard error goes nowhere, since such programs
//! know passwords and the log must not. The environment is that of the daemon.
//!
//! It is started by `posix_spawn` and not by `std::process`, which cannot give a child a descriptor 3
//! without `unsafe`, and cannot wait with a deadline.

use crate::client::Fault;
use crate::client::deadline::Deadline;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::CString;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

/// Most octets of input: what every pipe takes without anybody reading.
pub const INPUT_MAX: usize = 4_096;

/// Most octets of output that are looked at; a program that says more is killed.
pub const OUTPUT_MAX: usize = 4_096;

/// How often a program that neither writes nor ends is looked at. Nothing tells of its end where the
/// kernel has no descriptors for processes.
const GLANCE_FIRST: Duration = Duration::from_millis(1);
const GLANCE_MAX: Duration = Duration::from_millis(20);

/// How long a killed program may take to be gone. One that hangs in the kernel is left behind.
const FAREWELL: Duration = Duration::from_secs(2);

const TOO_LONG: &str = "the program takes too long";

/// A program and how it takes its input.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its file; it is not searched for.
    pub path: &'a Path,
    /// Its arguments, without its own name.
    pub arguments: &'a [&'a str],
    /// The descriptor that it reads: 0, or 3 or more.
    pub input: i32,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; None if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote.
    pub output: Vec<u8>,
}

/// Runs it to its end.
///
/// # Errors
/// It cannot be started, writes more than [`OUTPUT_MAX`], or has not ended by the deadline.
pub fn run(program: &Program<'_>, input: &[u8], deadline: Deadline) -> Result<Ended, Fault> {
    deadline.left().map_err(|_| TOO_LONG)?;
    if input.len() > INPUT_MAX {
        return Err("more input than a program takes".into());
    }
    let (given, mut giver) = io::pipe()?;
    giver.write_all(input)?;
    drop(giver);
    let (output, theirs) = io::pipe()?;
    let child = start(program, &given.into(), &theirs.into())?;
    let mut running = Running { child, output, written: Vec::new(), writes: true };
    running.wait(deadline)
}

fn start(program: &Program<'_>, given: &OwnedFd, output: &OwnedFd) -> Result<Child, Fault> {
    // Were it the very number that it shall have, it would be closed when the program begins.
    let other = given.try_clone()?;
    let given = if given.as_raw_fd() == program.input { &other } else { given };
    let mut actions = PosixSpawnFileActions::init().map_err(io::Error::from)?;
    if program.input != 0 {
        actions
            .add_open(0, "/dev/null", OFlag::O_RDONLY, Mode::empty())
            .map_err(io::Error::from)?;
    }
    actions.add_dup2(output.as_raw_fd(), 1).map_err(io::Error::from)?;
    actions.add_open(2, "/dev/null", OFlag::O_WRONLY, Mode::empty()).map_err(io::Error::from)?;
    actions.add_dup2(given.as_raw_fd(), program.input).map_err(io::Error::from)?;
    let name = c_string(program.path.as_os_str().as_bytes())?;
    let arguments = program.arguments.iter().map(|argument| c_string(argument.as_bytes()));
    let arguments: Vec<CString> =
        std::iter::once(Ok(name.clone())).chain(arguments).collect::<Result<_, _>>()?;
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| {
            CString::new([name.into_vec(), value.into_vec()].join(&b'=')).ok()
        })
        .collect();
    let attributes = attributes().map_err(io::Error::from)?;
    let pid = posix_spawn(&*name, &actions, &attributes, &arguments, &environment);
    Ok(Child { pid: pid.map_err(io::Error::from)?, gone: false })
}

/// A group of its own, so that all of it can be killed, and signals as a program expects them.
fn attributes() -> Result<PosixSpawnAttr, Errno> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    let mut usual = SigSet::from(Signal::SIGPIPE);
    usual.add(Signal::SIGCHLD);
    attributes.set_sigdefault(&usual)?;
    attributes.set_sigmask(&SigSet::empty())?;
    Ok(attributes)
}

fn c_string(text: &[u8]) -> Result<CString, Fault> {
    CString::new(text).map_err(|_| "a NUL in a program's name or argument".into())
}

/// A program that runs, and what it has written so far.
struct Running {
    child: Child,
    output: PipeReader,
    written: Vec<u8>,
    /// Its output has not come to an end.
    writes: bool,
}

impl Running {
    fn wait(&mut self, deadline: Deadline) -> Result<Ended, Fault> {
        let mut glance = GLANCE_FIRST;
        loop {
            if let Some(code) = self.child.ended()? {
                // What it wrote last is in the pipe; what another that has the pipe may write
                // later is not waited for.
                while self.read(Duration::ZERO)? {}
                return Ok(Ended { code, output: std::mem::take(&mut self.written) });
            }
            let left = deadline.left().map_err(|_| TOO_LONG)?;
            if self.read(glance.min(left))? {
                glance = GLANCE_FIRST;
            } else {
                glance = (glance * 2).min(GLANCE_MAX);
            }
        }
    }

    /// Waits for output, so long, and takes it. True if there was some.
    fn read(&mut self, patience: Duration) -> Result<bool, Fault> {
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        let mut ready = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
        let watched = if self.writes { &mut ready[..] } else { &mut [] };
        match poll(watched, patience) {
            Ok(0) | Err(Errno::EINTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let mut piece = [0; 1_024];
        let count = self.output.read(&mut piece)?;
        self.writes = count > 0;
        self.written.extend_from_slice(piece.get(..count).unwrap_or_default());
        if self.written.len() > OUTPUT_MAX {
            return Err("the program says too much".into());
        }
        Ok(self.writes)
    }
}

/// A process, which is killed when nobody is interested in it any more.
struct Child {
    pid: Pid,
    gone: bool,
}

impl Child {
    /// Its exit code if it has ended, None in it if by a signal.
    fn ended(&mut self) -> Result<Option<Option<i32>>, Fault> {
        let code = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Some(code),
            Ok(WaitStatus::Signaled(..)) => None,
            Ok(_) | Err(Errno::EINTR) => return Ok(None),
            Err(error) => {
                // Somebody else has seen its end: its number may be another's by now.
                self.gone = true;
                return Err(io::Error::from(error).into());
            }
        };
        self.gone = true;
        Ok(Some(code))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        // It may have left its group, or be gone this moment: both are fine.
        let _group = killpg(self.pid, Signal::SIGKILL);
        let _process = kill(self.pid, Signal::SIGKILL);
        let farewell = Deadline::after(FAREWELL);
        while matches!(self.ended(), Ok(None)) && farewell.left().is_ok() {
            let glance = PollTimeout::try_from(GLANCE_FIRST).unwrap_or(PollTimeout::ZERO);
            let _nothing = poll(&mut [], glance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    fn shell(script: &str, input: i32, given: &[u8], deadline: Deadline) -> Result<Ended, Fault> {
        let arguments = ["-c", script];
        let program = Program { path: Path::new("/bin/sh"), arguments: &arguments, input };
        run(&program, given, deadline)
    }

    #[test]
    fn programs_get_their_input_and_say_something() {
        for (script, input, given, code, output) in [
            ("cat", 0, "hello\0there", Some(0), "hello\0there"),
            ("cat <&3; exit 7", 3, "hello", Some(7), "hello"),
            ("cat", 3, "not for standard input", Some(0), ""),
            ("cat <&9", 9, "x", Some(0), "x"),
            ("echo unseen >&2", 0, "", Some(0), ""),
            ("kill -TERM $$", 0, "", None, ""),
            ("exec 1>&-; cat >/dev/null; exit 3", 0, "x", Some(3), ""),
            // SIGPIPE ends it: it is not ignored, as it is in the daemon.
            ("kill -PIPE $$; exit 4", 0, "", None, ""),
        ] {
            let ended = shell(script, input, given.as_bytes(), soon());
            let expected = Ended { code, output: output.as_bytes().to_vec() };
            assert_eq!(ended, Ok(expected), "{script}");
        }
        let most = vec![b'x'; INPUT_MAX];
        assert_eq!(shell("cat", 0, &most, soon()).unwrap().output, most);
        assert!(shell("cat", 0, &[b'x'; INPUT_MAX + 1], soon()).is_err());
    }

    /// What cargo itself leaves open for us is not ours to close, so it is not a list of numbers.
    #[test]
    fn programs_have_no_descriptor_of_ours() {
        let _ours = fs::File::open("/dev/zero").unwrap();
        let ended = shell("ls -l /proc/self/fd", 3, b"", soon()).unwrap();
        let shown = String::from_utf8(ended.output).unwrap();
        assert!(shown.contains(" 3 -> pipe:") && !shown.contains("/dev/zero"), "{shown}");
    }

    #[test]
    fn programs_that_cannot_be_run_are_told() {
        for (path, arguments, words) in [
            ("/nowhere/at/all", &[][..], "No such file or directory"),
            ("/etc/passwd", &[], "Permission denied"),
            ("/bin/sh", &["a\0b"], "a NUL in a program's name or argument"),
        ] {
            let program = Program { path: Path::new(path), arguments, input: 0 };
            let fault = run(&program, b"", soon()).unwrap_err();
            assert_eq!(fault.to_string(), words, "{path}");
        }
    }

    #[test]
    fn programs_end_with_the_deadline() {
        let marks = Scratch::new();
        let script = |name: &str| {
            let file = marks.0.join(name);
            format!("trap '' TERM; (sleep 1000; touch {0}) & sleep 1000; touch {0}", file.display())
        };
        let short = Deadline::after(Duration::from_millis(100));
        let fault = shell(&script("a"), 0, b"", short).unwrap_err();
        assert_eq!(fault.to_string(), TOO_LONG);
        // Closing its output is not ending.
        let closed = format!("exec 1>&-; {}", script("b"));
        let short = Deadline::after(Duration::from_millis(100));
        assert!(shell(&closed, 0, b"", short).is_err());
        assert!(shell("true", 0, b"", Deadline::after(Duration::ZERO)).is_err());
        let fault = shell("while :; do echo 0123456789; done", 0, b"", soon()).unwrap_err();
        assert_eq!(fault.to_string(), "the program says too much");
        // Everything that they had started is gone as well.
        let left = marks.processes();
        assert!(left.is_empty(), "{left:?}");
    }

    /// One that it leaves behind, with its output still open, is not waited for.
    #[test]
    fn who_stays_behind_does_not_hold_us_up() {
        let ended = shell("sleep 5 & echo $!", 0, b"", soon()).unwrap();
        let stayed: i32 = String::from_utf8(ended.output).unwrap().trim().parse().unwrap();
        assert_eq!(ended.code, Some(0));
        kill(Pid::from_raw(stayed), Signal::SIGKILL).expect("it is still there");
    }

    /// A folder whose name tells processes of this test from others.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            let path = std::env::temp_dir().join(format!("filter-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            Scratch(path)
        }

        /// The command lines of running processes that name the folder, waited for to go.
        fn processes(&self) -> Vec<String> {
            let name = self.0.display().to_string();
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
            let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
            lines.filter(|line| line.contains(&name)).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }
}
