//! A body that a plugin makes anew, without holding all of it in memory ([`Draft`]).

use crate::client::words;
use crate::limits::BODY_BLOCK;
use crate::plugin::content::{Contents, Intake};
use crate::plugin::log::Level;
use crate::plugin::question::{Ask, Lane, Pending, Place};
use crate::plugin::{Cx, MessageView, Verdict};
use std::io::{self, Write};
use std::sync::Arc;

/// A text that is being written: up to a block of it in memory, a longer one in a spool file.
pub struct Draft<'a> {
    disk: &'a dyn Ask,
    intake: Intake,
    room: usize,
}

impl Draft<'_> {
    /// The whole text.
    ///
    /// # Errors
    /// What the system says when the spool file cannot be written or looked at.
    pub fn finish(self) -> io::Result<Contents> {
        self.intake.finish()
    }

    /// Has the full block written, and gives its memory back.
    fn spill(&mut self) -> io::Result<()> {
        self.intake.is_full();
        let Some(block) = self.intake.take_block() else { return Ok(()) };
        let file = match &block.file {
            Some(file) => Arc::clone(file),
            None => self.disk.file()?,
        };
        file.write_at(&block.octets, block.offset)?;
        self.intake.block_written(file, block.octets);
        Ok(())
    }
}

impl Write for Draft<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if text.len() > self.room {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if self.intake.room() == 0 {
            self.spill()?;
        }
        let count = text.len().min(self.intake.room());
        self.intake.append(text.get(..count).unwrap_or(text));
        self.room -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A message in one piece, as it stands.
pub enum Whole<'a> {
    /// The received one.
    Received(&'a Contents),
    /// One whose body, or the fields that tell how to take it apart, were changed.
    Copied(Contents),
}

impl Whole<'_> {
    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        match self {
            Whole::Received(contents) => contents.octets(),
            Whole::Copied(contents) => contents.octets(),
        }
    }

    /// A pass over it has gone past `upto`: the pages behind it need not stay in memory.
    pub fn passed(&self, upto: usize) {
        match self {
            Whole::Received(contents) => contents.passed(upto),
            Whole::Copied(contents) => contents.passed(upto),
        }
    }
}

impl<'a> Cx<'a> {
    /// Begins a text of at most `room` octets; a longer one ends in an error of the kind
    /// `FileTooLarge`. Disks are waited for, so it moves the hook to [`Lane::Writers`].
    ///
    /// # Errors
    /// [`Pending`] on another lane.
    pub fn draft(&self, room: usize) -> Result<Draft<'a>, Pending> {
        match self.lookup.place {
            Place::Lane(Lane::Writers, disk) => {
                Ok(Draft { disk, intake: Intake::new(0, BODY_BLOCK), room })
            }
            Place::Loop | Place::Worker | Place::Lane(..) => {
                Err(self.lookup.miss_lane(Lane::Writers))
            }
        }
    }

    /// The message in one piece, for who takes it apart. It is the received one, for as long as the edits
    /// so far have changed neither its body nor a field `Content-…` or `MIME-Version`: others, such as
    /// our own Received, are not in it then. After that it is a copy of the present message.
    ///
    /// # Errors
    /// [`Pending`] where a copy has to be made, and not yet on [`Lane::Writers`]; the inner error is the
    /// system's.
    pub fn whole(&self, message: &MessageView<'a>) -> Result<io::Result<Whole<'a>>, Pending> {
        if message.current.has_received_parts(message.received) {
            return Ok(Ok(Whole::Received(message.contents)));
        }
        let mut draft = self.draft(usize::MAX)?;
        let parts = message.current.parts(message.received);
        let written = parts.iter().try_for_each(|part| draft.write_all(part));
        Ok(written.and_then(|()| draft.finish()).map(Whole::Copied))
    }
}

/// The answer of a check that needs the whole message where [`Cx::whole`] cannot give it: later.
pub fn unreadable(cx: &mut Cx<'_>, error: &io::Error) -> Verdict {
    cx.log(Level::Error, format!("error, reading the message: {}, deferred", words(error)));
    Verdict::deny_soft((3, 0), "Unable to check the message now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::content::Stored;
    use crate::plugin::content::tests::FakeFile;
    use crate::plugin::question::{Answer, Question};
    use std::time::Duration;

    struct Disk;

    impl Ask for Disk {
        fn ask(&self, _questions: &[Question], _deadline: Duration) -> Vec<Arc<Answer>> {
            Vec::new()
        }
        fn file(&self) -> io::Result<Arc<dyn Stored>> {
            Ok(Arc::new(FakeFile::default()))
        }
    }

    #[test]
    fn long_texts_go_to_a_file_and_too_long_ones_end() {
        for (octets, room, whole) in [
            (0, 0, true),
            (BODY_BLOCK, BODY_BLOCK, true),
            (3 * BODY_BLOCK + 5, 3 * BODY_BLOCK + 5, true),
            (3 * BODY_BLOCK + 5, 3 * BODY_BLOCK + 4, false),
        ] {
            let intake = Intake::new(0, BODY_BLOCK);
            let mut draft = Draft { disk: &Disk, intake, room };
            let text: Vec<u8> = (0..octets).map(|at| (at % 251) as u8).collect();
            let written = text.chunks(1_000).try_for_each(|piece| draft.write_all(piece));
            assert_eq!(written.is_ok(), whole, "{octets}");
            if let Err(error) = written {
                assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
                continue;
            }
            let contents = draft.finish().unwrap();
            assert!(contents.octets() == text, "{octets}");
            assert_eq!(matches!(contents, Contents::File(..)), octets > BODY_BLOCK);
        }
    }
}
