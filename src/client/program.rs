//! Runs another program for one message: hands the text over within a deadline, and sees how it ends.
//!
//! The program is started by posix_spawn, which is what `Command` uses as long as nothing is to be done
//! between fork and exec: such a child borrows our memory instead of copying its page tables, so that
//! a start costs the same however large the daemon is. It is started directly, never by a shell;
//! inherits no descriptor but its own three; has SIGPIPE as programs expect it, though we ignore ours;
//! and gets a process group of its own, so that a signal to ours does not end a delivery that has
//! begun, and what it starts in turn is killed with it.
//!
//! The text comes first and its end is told only when it is whole. So whoever dies, the daemon or the
//! program, nobody takes half a message for all of it: qmail-queue lacks its envelope then.

use crate::client::deadline::Deadline;
use crate::mail::headers::clean;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, read};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// Octets kept of what a program says; the rest is read and thrown away.
const SAID_MAX: usize = 4_096;

/// Octets of that in a line of the log.
const WORDS_MAX: usize = 300;

/// The first pause between two looks at whether a program has ended. It doubles up to [`LOOK_MAX`].
/// Programs end their output when they end, which is told at once; this is for what they leave behind.
const LOOK_MIN: Duration = Duration::from_millis(1);

/// The longest pause between two looks.
const LOOK_MAX: Duration = Duration::from_millis(50);

/// What a program inherits of our environment. The rest may hold the admin's secrets, and nothing in
/// it ever comes from a client.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "TZ", "LANG", "LC_ALL"];

/// Where programs look for others, unless our environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and what it is given beside the text.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its absolute path.
    pub path: &'a Path,
    /// Its arguments.
    pub args: &'a [String],
    /// Variables of its environment beside the few that it inherits.
    pub environment: &'a [(&'a str, String)],
    /// What it reads on descriptor 1 behind the text, as qmail-queue does; None: that is its standard
    /// output.
    pub envelope: Option<&'a [u8]>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal of this number, which was not ours.
    Signalled(i32),
    /// We killed it: its time was over, or the system did not tell any more how it fared.
    Killed,
}

/// A program that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its process number.
    pub pid: u32,
    /// How it ended.
    pub ending: Ending,
    /// It read all that it was given, to the end.
    pub took_all: bool,
    /// The beginning of what it wrote on standard output and error.
    pub said: Vec<u8>,
}

impl Run {
    /// What it said, for a line of the log: printable ASCII, bounded.
    pub fn words(&self) -> String {
        clean(self.said.trim_ascii(), WORDS_MAX)
    }
}

/// Why no more is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The program has closed its end.
    Refused,
    /// Its time is over.
    Late,
}

/// Takes the text, piece by piece.
pub type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> Result<(), Stopped>;

/// Runs a program. `give` hands on the text; when it returns `Ok`, and not before, the program sees the
/// end of it.
///
/// # Errors
/// What the system says when the program cannot be started: it has not run then.
pub fn run(
    program: &Program<'_>,
    deadline: Deadline,
    give: impl FnOnce(Sink<'_>) -> Result<(), Stopped>,
) -> io::Result<Run> {
    let Started { mut child, mut text, mut envelope, output } = start(program)?;
    let mut talk = Talk { output: Some(output), said: Vec::new(), deadline };
    let given = give(&mut |piece| talk.feed(&mut text, piece)).and_then(|()| {
        text.end();
        let (Some(input), Some(octets)) = (&mut envelope, program.envelope) else { return Ok(()) };
        talk.feed(input, octets)?;
        input.end();
        Ok(())
    });
    let ending = match given {
        // Before its pipes are closed: the end of them would pass for the end of the text.
        Err(Stopped::Late) => kill(&mut child),
        Err(Stopped::Refused) => {
            envelope = None;
            talk.see_it_end(&mut child)
        }
        Ok(()) => talk.see_it_end(&mut child),
    };
    talk.listen();
    let mut inputs = std::iter::once(&text).chain(&envelope);
    let took_all = given.is_ok() && inputs.all(Input::was_read);
    Ok(Run { pid: child.id(), ending, took_all, said: talk.said })
}

/// A program that runs, and our ends of its pipes.
struct Started {
    child: Child,
    text: Input,
    envelope: Option<Input>,
    output: PipeReader,
}

fn start(program: &Program<'_>) -> io::Result<Started> {
    let mut command = Command::new(program.path);
    command.args(program.args).env_clear().env("PATH", PATH).process_group(0);
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(program.environment.iter().map(|(name, value)| (name, value)));
    let (stdin, text) = pipe()?;
    let (output, said) = pipe()?;
    never_wait(&output)?;
    command.stdin(stdin);
    let envelope = if program.envelope.is_some() {
        let (stdout, envelope) = pipe()?;
        command.stdout(stdout).stderr(said);
        Some(Input::new(envelope)?)
    } else {
        command.stdout(said.try_clone()?).stderr(said);
        None
    };
    let text = Input::new(text)?;
    // Our copies of its ends are closed with `command`, at the end of this function.
    Ok(Started { child: command.spawn()?, text, envelope, output })
}

/// Reads and writes on our end do not wait. The other end is a thing of its own and stays as it is.
fn never_wait(pipe: &impl AsFd) -> nix::Result<()> {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

/// Kills a program with all that it has started, and waits for it. It may just have ended by itself.
fn kill(child: &mut Child) -> Ending {
    if let Ok(group) = i32::try_from(child.id()) {
        // It fails only where nobody is left.
        let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let code = child.wait().ok().and_then(|status| status.code());
    code.map_or(Ending::Killed, Ending::Exited)
}

/// Our end of what a program reads.
struct Input {
    pipe: Option<PipeWriter>,
    /// The program has closed the other end.
    broken: bool,
    /// A second reading end, opened once all is written, to see whether something is left.
    rest: Option<OwnedFd>,
}

impl Input {
    fn new(pipe: PipeWriter) -> io::Result<Input> {
        never_wait(&pipe)?;
        Ok(Input { pipe: Some(pipe), broken: false, rest: None })
    }

    /// Writes what the pipe takes now, and tells how much that is.
    fn write(&mut self, octets: &[u8]) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        match pipe.write(octets) {
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                0
            }
            Err(_) => {
                self.broken = true;
                self.pipe = None;
                0
            }
        }
    }

    /// There is no more.
    fn end(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        // Without /proc it is not seen if a program leaves its last octets unread.
        self.rest = open(path.as_str(), flags, Mode::empty()).ok();
    }

    /// Nothing is left in the pipe of a program that has ended.
    fn was_read(&self) -> bool {
        let left = |rest: &OwnedFd| read(rest, &mut [0]).is_ok_and(|count| count > 0);
        !self.broken && self.pipe.is_none() && !self.rest.as_ref().is_some_and(left)
    }
}

/// The conversation with a program.
struct Talk {
    output: Option<PipeReader>,
    said: Vec<u8>,
    deadline: Deadline,
}

impl Talk {
    /// Hands all octets over, whatever the program takes at a time.
    fn feed(&mut self, input: &mut Input, mut octets: &[u8]) -> Result<(), Stopped> {
        while !octets.is_empty() {
            let count = input.write(octets);
            octets = octets.split_at_checked(count).map_or(&[], |(_, rest)| rest);
            if input.broken {
                return Err(Stopped::Refused);
            }
            if count == 0 {
                self.pause(input.pipe.as_ref(), Duration::MAX)?;
            }
        }
        Ok(())
    }

    /// Waits until the pipe can be written to, the program says something, or the time is over.
    fn pause(&mut self, pipe: Option<&PipeWriter>, longest: Duration) -> Result<(), Stopped> {
        let left = self.deadline.left().map_err(|_| Stopped::Late)?.min(longest);
        let patience = PollTimeout::try_from(left.max(LOOK_MIN)).unwrap_or(PollTimeout::MAX);
        let writable = pipe.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT));
        let output = self.output.as_ref();
        let readable = output.map(|output| PollFd::new(output.as_fd(), PollFlags::POLLIN));
        let mut ends: Vec<PollFd<'_>> = writable.into_iter().chain(readable).collect();
        // A signal ends the wait early, and a second look does no harm.
        let _count = poll(&mut ends, patience);
        self.listen();
        Ok(())
    }

    /// Takes what the program has said, so that it never waits for us.
    fn listen(&mut self) {
        let mut buffer = [0; SAID_MAX];
        for _ in 0..16 {
            let Some(output) = &mut self.output else { return };
            match output.read(&mut buffer) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    let room = count.min(SAID_MAX - self.said.len());
                    self.said.extend_from_slice(buffer.get(..room).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.output = None,
            }
        }
    }

    /// Waits for the program's own end, as long as there is time.
    fn see_it_end(&mut self, child: &mut Child) -> Ending {
        let mut pause = LOOK_MIN;
        loop {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    let signal = status.signal().map_or(Ending::Killed, Ending::Signalled);
                    return status.code().map_or(signal, Ending::Exited);
                }
                Err(_) => return kill(child),
            }
            let talked = self.output.is_some();
            if self.pause(None, pause).is_err() {
                return kill(child);
            }
            // Its output ends with it: its end is near.
            let ends = talked && self.output.is_none();
            pause = if ends { LOOK_MIN } else { LOOK_MAX.min(pause * 2) };
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
