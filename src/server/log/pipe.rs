//! `logging/file` with a command: log lines are its standard input.
//!
//! The command is the admin's own words and runs through the shell once, not once a line. It gets
//! a bare environment: nothing in ours is meant for it.

use crate::server::clock;
use std::collections::BTreeSet;
use std::io;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::plugin::log::{Id, Level, PipeOutput};

use super::batch::{Batch, WhenFull};
use super::file::{CONNECTIONS_MAX, Head};
use crate::sys::stamp::{self, Moment};

/// The least time between two starts of the command.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// Octets that wait until the command may be started again.
const WAITING_MAX: usize = 64 * 1_024;

/// Commands whose input was closed and that have not ended yet; the oldest is killed first.
const LEAVING_MAX: usize = 8;

/// The command of one `logging/file`.
#[derive(Debug)]
pub(super) struct PipeSink {
    settings: PipeOutput,
    head: Head,
    batch: Batch,
    running: Option<(Child, ChildStdin)>,
    started: Option<Duration>,
    leaving: Vec<Child>,
    seen: BTreeSet<Id>,
    failed: bool,
}

impl PipeSink {
    /// The command is not started before the first line.
    pub(super) fn new(settings: PipeOutput, host: Arc<str>) -> Self {
        Self {
            head: Head::new(settings.tsformat.clone(), host),
            settings,
            batch: Batch::default(),
            running: None,
            started: None,
            leaving: Vec::new(),
            seen: BTreeSet::new(),
            failed: false,
        }
    }

    /// Takes a line. Gives a text for the daemon's own log as [`Self::flush`] does.
    pub(super) fn line(
        &mut self,
        level: Level,
        id: Id,
        text: &[u8],
        now: &Moment,
    ) -> Option<String> {
        if level > self.settings.max {
            return None;
        }
        let complaint =
            if self.settings.reopen && !id.is_none() { self.meet(id, now) } else { None };
        let head = self.head.of(id, now).as_bytes();
        self.batch.line(text, |out, text| {
            out.extend_from_slice(head);
            out.extend_from_slice(text);
        });
        complaint
    }

    /// Writes what waits, starting the command if need be. With `last` it is started even if it
    /// was just now. Gives a text for the daemon's own log when starting or writing begins to fail.
    pub(super) fn flush(&mut self, now: &Moment, last: bool) -> Option<String> {
        self.reap();
        if self.batch.is_empty() {
            return None;
        }
        let ended = |(child, _): &mut (Child, ChildStdin)| !matches!(child.try_wait(), Ok(None));
        if self.running.as_mut().is_some_and(ended) {
            self.stop();
        }
        if self.running.is_none() && !last && !self.may_start() {
            if self.batch.len() > WAITING_MAX {
                self.batch.give_up();
            }
            return None;
        }
        match self.write(now) {
            Ok(()) => {
                self.failed = false;
                None
            }
            Err(error) => {
                self.stop();
                let told = std::mem::replace(&mut self.failed, true);
                (!told).then(|| {
                    format!("logging/file: the command takes no lines: {error}; it is run again")
                })
            }
        }
    }

    /// Whether lines wait for the command to be started again.
    pub(super) fn is_waiting(&self) -> bool {
        !self.batch.is_empty()
    }

    /// A connection is over: with `reopen` the command sees the end of its input.
    pub(super) fn closed(&mut self, id: Id, now: &Moment) -> Option<String> {
        if !self.seen.remove(&id) {
            return None;
        }
        let complaint = self.flush(now, false);
        self.stop();
        complaint
    }

    /// Closes the command's input for good; says whether all commands have ended. One that has not
    /// must be asked again, so that no dead process is left.
    pub(super) fn retire(&mut self) -> bool {
        self.stop();
        self.leaving.is_empty()
    }

    /// The first line of a connection: a new command, unless it was started just now.
    fn meet(&mut self, id: Id, now: &Moment) -> Option<String> {
        if !self.seen.insert(id) {
            return None;
        }
        if self.seen.len() > CONNECTIONS_MAX {
            self.seen.pop_first();
        }
        if self.running.is_none() || !self.may_start() {
            return None;
        }
        let complaint = self.flush(now, false);
        self.stop();
        complaint
    }

    fn may_start(&self) -> bool {
        self.started
            .is_none_or(|started| clock::monotonic().saturating_sub(started) >= START_INTERVAL)
    }

    fn write(&mut self, now: &Moment) -> io::Result<()> {
        if self.running.is_none() {
            self.started = Some(clock::monotonic());
            match start(&stamp::expand(&self.settings.command, now, "parent")) {
                Ok(running) => self.running = Some(running),
                Err(e) => {
                    self.batch.give_up();
                    return Err(e);
                }
            }
        }
        match &mut self.running {
            Some((_, input)) => self.batch.flush(input, WhenFull::Wait),
            None => Ok(()),
        }
    }

    /// Closes the command's input and lets it end in its own time.
    fn stop(&mut self) {
        if let Some((child, _)) = self.running.take() {
            self.leaving.push(child);
        }
        self.reap();
        while self.leaving.len() > LEAVING_MAX {
            let mut oldest = self.leaving.remove(0);
            let _ = oldest.kill();
            let _ = oldest.wait();
        }
    }

    /// Forgets the commands that have ended.
    fn reap(&mut self) {
        self.leaving.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

/// Runs the command with a pipe as its input and nothing of our environment but PATH.
fn start(command: &str) -> io::Result<(Child, ChildStdin)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env_clear()
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((child, input))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Moment {
        Moment { unix: 0, local: crate::sys::time::local(0) }
    }

    fn sink(command: &str, reopen: bool) -> PipeSink {
        let (command, tsformat) = (command.to_owned(), "T".to_owned());
        let settings = PipeOutput { command, max: Level::Info, reopen, tsformat };
        PipeSink::new(settings, Arc::from("mx"))
    }

    /// A start that stays less than a second ago for as long as the test runs.
    fn just_now() -> Duration {
        clock::monotonic() + Duration::from_secs(3_600)
    }

    /// Waits until the command has ended.
    fn settle(sink: &mut PipeSink) {
        sink.stop();
        for child in &mut sink.leaving {
            child.wait().unwrap();
        }
    }

    #[test]
    fn the_command_reads_lines_and_is_run_again() {
        let name = format!("mailreeve-pipe-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let command = format!("cat >> {}; echo %% >> {0}", path.display());
        let mut sink = sink(&command, true);
        assert_eq!(sink.line(Level::Info, Id(1), b"a", &now()), None);
        assert_eq!(sink.line(Level::Debug, Id(1), b"unseen", &now()), None);
        assert_eq!(sink.flush(&now(), false), None);
        assert_eq!(sink.closed(Id(1), &now()), None);
        settle(&mut sink);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "T mx[1]: a\n%\n");

        sink.started = Some(just_now());
        assert_eq!(sink.line(Level::Info, Id(2), b"b", &now()), None);
        assert_eq!(sink.flush(&now(), false), None);
        assert!(sink.is_waiting(), "it was started less than a second ago");
        assert_eq!(sink.flush(&now(), true), None);
        assert!(!sink.is_waiting());
        settle(&mut sink);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "T mx[1]: a\n%\nT mx[2]: b\n%\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_command_that_ends_is_no_loop() {
        let mut sink = sink("exit 1", false);
        assert_eq!(sink.line(Level::Info, Id(1), b"a", &now()), None);
        // Whether this write still finds a reader is up to the scheduler.
        let _ = sink.flush(&now(), false);
        if let Some((child, _)) = &mut sink.running {
            child.wait().unwrap();
        }
        sink.started = Some(just_now());
        let line = "x".repeat(1_000);
        for _ in 0..200 {
            assert_eq!(sink.line(Level::Info, Id(1), line.as_bytes(), &now()), None);
            assert_eq!(sink.flush(&now(), false), None);
            assert!(sink.running.is_none() && sink.batch.len() <= WAITING_MAX);
        }
    }
}
