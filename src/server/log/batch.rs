//! Lines that wait for one write, and the count of those that got lost.
//!
//! Every output that writes to a descriptor has one: it gathers what one round of the log thread
//! brings, so that a busy second costs few system calls. When a write fails the log must neither
//! stop the mail nor spin nor pretend: the lines are given up, counted, and the count is printed
//! before the next line that gets through.

use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::Duration;

/// How long to wait when a descriptor that somebody else made non-blocking takes nothing now.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Octets of memory that an empty batch keeps.
const KEPT_CAPACITY: usize = 64 * 1_024;

/// Lines that wait to be written to one target.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Octets at the start that are no line of their own: the end of a torn line, and the note.
    head: usize,
    /// Lines lost and not told of yet.
    lost: u64,
    /// How many of them the note in the head tells of.
    told: u64,
    /// Whether the target ends in the middle of a line.
    torn: bool,
}

impl Batch {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many octets wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends one line; `write` adds it without its line end, and does the same for the text
    /// that tells of lost lines, which is put before the first line after a loss.
    pub(super) fn line(&mut self, text: &[u8], write: impl Fn(&mut Vec<u8>, &[u8])) {
        if self.bytes.is_empty() {
            if self.torn {
                self.bytes.push(b'\n');
            }
            if self.lost > 0 {
                write(&mut self.bytes, dropped(self.lost).as_bytes());
                self.bytes.push(b'\n');
                self.told = self.lost;
            }
            self.head = self.bytes.len();
        }
        write(&mut self.bytes, text);
        self.bytes.push(b'\n');
    }

    /// Writes everything at once. On an error what was not written is given up and counted.
    pub(super) fn flush(&mut self, target: &mut dyn Write, full: WhenFull) -> io::Result<()> {
        let (written, result) = write_all(target, &self.bytes, full);
        self.settle(written);
        result
    }

    /// Gives everything up: there is nothing to write to.
    pub(super) fn give_up(&mut self) {
        self.settle(0);
    }

    /// Empties the batch of which `written` octets reached the target.
    fn settle(&mut self, written: usize) {
        if written >= self.head {
            self.lost -= self.told;
        }
        let missing = self.bytes.get(written.max(self.head)..).unwrap_or_default();
        self.lost += memchr::memchr_iter(b'\n', missing).map(|_| 1).sum::<u64>();
        if let Some(last) = written.checked_sub(1).and_then(|last| self.bytes.get(last)) {
            self.torn = *last != b'\n';
        }
        (self.head, self.told) = (0, 0);
        self.bytes.clear();
        // A burst should not be remembered in memory.
        self.bytes.shrink_to(KEPT_CAPACITY);
    }
}

/// What to do when a target says that it is full now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// Wait: it is a stream that somebody reads.
    Wait,
    /// Treat it as an error.
    Fail,
}

/// The text that tells of lost lines.
pub(super) fn dropped(lines: u64) -> String {
    format!("{lines} log lines dropped")
}

/// Writes everything; says how much was written before an error.
#[expect(clippy::disallowed_methods, reason = "the log's own thread waits for its own reader")]
fn write_all(target: &mut dyn Write, bytes: &[u8], full: WhenFull) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match target.write(rest) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock && full == WhenFull::Wait => {
                thread::sleep(FULL_PAUSE);
            }
            Err(e) => return (written, Err(e)),
        }
    }
    (written, target.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many octets and then fails.
    struct Room(usize, Vec<u8>);

    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.0);
            if n == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.0 -= n;
            self.1.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn losses_are_counted_and_told() {
        // Per round: the room, the lines, what the target then holds in all.
        let rounds: [(usize, &[&str], &str); 7] = [
            (100, &["a", "b"], "a\nb\n"),
            (3, &["cc", "dd", "ee"], "a\nb\ncc\n"),
            (0, &["ff"], "a\nb\ncc\n"),
            (100, &["gg"], "a\nb\ncc\n3 log lines dropped\ngg\n"),
            (1, &["hh"], "a\nb\ncc\n3 log lines dropped\ngg\nh"),
            (0, &["ii"], "a\nb\ncc\n3 log lines dropped\ngg\nh"),
            (100, &["jj"], "a\nb\ncc\n3 log lines dropped\ngg\nh\n2 log lines dropped\njj\n"),
        ];
        let mut batch = Batch::default();
        let mut target = Room(0, Vec::new());
        for (room, lines, expected) in rounds {
            target.0 = room;
            for line in lines {
                batch.line(line.as_bytes(), Vec::extend_from_slice);
            }
            assert_eq!(batch.flush(&mut target, WhenFull::Fail).is_ok(), room == 100);
            assert!(batch.is_empty());
            assert_eq!(String::from_utf8_lossy(&target.1), expected);
        }
        batch.line(b"kk", Vec::extend_from_slice);
        batch.give_up();
        assert_eq!((batch.lost, batch.is_empty()), (1, true));
    }

    #[test]
    fn a_note_that_was_written_is_not_told_again() {
        let mut batch = Batch { lost: 5, ..Batch::default() };
        let mut target = Room(20, Vec::new());
        batch.line(b"line", Vec::extend_from_slice);
        assert!(batch.flush(&mut target, WhenFull::Fail).is_err());
        assert_eq!((batch.lost, batch.torn), (1, false));
    }

    #[test]
    fn a_full_stream_is_waited_for() {
        struct Slow(bool, Vec<u8>);
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = !self.0;
                if self.0 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                self.1.extend_from_slice(&bytes[..1]);
                Ok(1)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut batch = Batch::default();
        let mut target = Slow(false, Vec::new());
        batch.line(b"ab", Vec::extend_from_slice);
        batch.flush(&mut target, WhenFull::Wait).unwrap();
        assert_eq!(target.1, b"ab\n");
    }
}
