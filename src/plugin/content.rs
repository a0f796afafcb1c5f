//! The text of a message: on its way in, and complete.
//!
//! Up to `size_threshold` octets stay in memory, since most spam never needs a disk. What is larger
//! goes to a nameless spool file in blocks: one block fills while another is written, and when both
//! are full the client has to wait. Whoever owns the files stands behind [`Stored`], so that nothing
//! here does I/O.

use crate::limits::BODY_BLOCK;
use std::io;
use std::sync::Arc;

/// A spool file.
pub trait Stored: Send + Sync {
    /// Writes all octets at an offset.
    ///
    /// # Errors
    /// What the file system says; nothing may be taken for written then.
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;

    /// The first `len` octets as memory.
    ///
    /// # Errors
    /// What the system says.
    fn view(&self, len: u64) -> io::Result<Box<dyn Octets>>;
}

/// Octets of a spool file as memory.
pub trait Octets: Send + Sync {
    /// All of them.
    fn octets(&self) -> &[u8];

    /// A pass over the text has gone past `upto`: the pages behind it need not stay in memory.
    fn passed(&self, upto: usize);
}

/// A complete message.
pub enum Contents {
    /// In memory.
    Memory(Vec<u8>),
    /// In a spool file.
    File(Arc<dyn Stored>, Box<dyn Octets>),
}

impl Contents {
    /// The octets as received: CR LF line ends, no dots added.
    pub fn octets(&self) -> &[u8] {
        match self {
            Contents::Memory(octets) => octets,
            Contents::File(_, view) => view.octets(),
        }
    }

    /// A pass over the text has gone past `upto`.
    pub fn passed(&self, upto: usize) {
        if let Contents::File(_, view) = self {
            view.passed(upto);
        }
    }
}

impl AsRef<[u8]> for Contents {
    fn as_ref(&self) -> &[u8] {
        self.octets()
    }
}

/// A full block and where it belongs.
pub struct Block {
    /// The number of its message, for a block may come back when its message was refused and the
    /// session's next one has begun.
    pub message: u32,
    /// The text.
    pub octets: Vec<u8>,
    /// Its place in the file.
    pub offset: u64,
    /// The file, once there is one.
    pub file: Option<Arc<dyn Stored>>,
}

/// Message text on its way in.
pub struct Intake {
    message: u32,
    block: Vec<u8>,
    threshold: usize,
    spooling: bool,
    on_its_way: bool,
    written: u64,
    file: Option<Arc<dyn Stored>>,
}

impl Intake {
    /// Nothing yet of the session's message of this number; more than `threshold` octets will go to
    /// a file.
    pub fn new(message: u32, threshold: usize) -> Intake {
        Intake {
            message,
            block: Vec::new(),
            threshold,
            spooling: false,
            on_its_way: false,
            written: 0,
            file: None,
        }
    }

    /// Octets that can be taken now.
    pub fn room(&self) -> usize {
        self.limit().saturating_sub(self.block.len())
    }

    /// Takes text; never more than there is room for.
    pub fn append(&mut self, text: &[u8]) {
        let length = self.block.len() + text.len();
        if length > self.block.capacity() {
            // Doubled as usual, but never past what the block may hold.
            let capacity = (2 * self.block.capacity()).clamp(4_096, self.limit()).max(length);
            self.block.reserve_exact(capacity - self.block.len());
        }
        self.block.extend_from_slice(text);
        self.spooling |= self.block.len() > self.threshold;
    }

    fn limit(&self) -> usize {
        if self.spooling { BODY_BLOCK } else { BODY_BLOCK.max(self.threshold) }
    }

    /// There is no room: what is in memory has to go to the file, however little it is.
    pub fn is_full(&mut self) {
        self.spooling = true;
    }

    /// Octets that are worth reading now: what the block takes, and the next one if it may fill.
    pub fn appetite(&self) -> usize {
        self.room() + if self.on_its_way { 0 } else { BODY_BLOCK }
    }

    /// Octets held in memory.
    pub fn in_memory(&self) -> usize {
        self.block.capacity()
    }

    /// Part of the text is, or has to go, in a file.
    pub fn is_spooling(&self) -> bool {
        self.spooling
    }

    /// A block of this number belongs to this message.
    pub fn is_message(&self, message: u32) -> bool {
        self.message == message
    }

    /// A block is being written.
    pub fn is_writing(&self) -> bool {
        self.on_its_way
    }

    /// The block that has to be written now, unless one is on its way already.
    pub fn take_block(&mut self) -> Option<Block> {
        if self.on_its_way || self.block.is_empty() || !self.spooling {
            return None;
        }
        self.on_its_way = true;
        let octets = std::mem::take(&mut self.block);
        let offset = self.written;
        self.written += octets.len() as u64;
        Some(Block { message: self.message, octets, offset, file: self.file.clone() })
    }

    /// The block was written; its memory is used again.
    pub fn block_written(&mut self, file: Arc<dyn Stored>, mut spare: Vec<u8>) {
        self.on_its_way = false;
        self.file = Some(file);
        if self.block.capacity() == 0 {
            spare.clear();
            self.block = spare;
        }
    }

    /// Part of the text is in a file. What is in memory yet is written by [`Intake::finish`].
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The complete message. Where there is a file, what is still in memory is written to it: to be
    /// called where a disk may be waited for.
    ///
    /// # Errors
    /// What the system says when the file cannot be written or looked at.
    pub fn finish(self) -> io::Result<Contents> {
        match self.file {
            Some(file) => {
                if !self.block.is_empty() {
                    file.write_at(&self.block, self.written)?;
                }
                let view = file.view(self.written + self.block.len() as u64)?;
                Ok(Contents::File(file, view))
            }
            None => Ok(Contents::Memory(self.block)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A spool file that is none.
    #[derive(Default)]
    pub(crate) struct FakeFile(Mutex<Vec<u8>>);

    impl Stored for FakeFile {
        fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
            let mut file = self.0.lock().expect("one writer");
            let offset = usize::try_from(offset).expect("small");
            file.resize(offset + octets.len(), 0);
            file[offset..].copy_from_slice(octets);
            Ok(())
        }
        fn view(&self, len: u64) -> io::Result<Box<dyn Octets>> {
            let file = self.0.lock().expect("one writer");
            Ok(Box::new(FakeView(file[..usize::try_from(len).expect("small")].to_vec())))
        }
    }

    struct FakeView(Vec<u8>);

    impl Octets for FakeView {
        fn octets(&self) -> &[u8] {
            &self.0
        }
        fn passed(&self, _upto: usize) {}
    }

    #[test]
    fn small_text_stays_in_memory() {
        let mut intake = Intake::new(1, 10);
        intake.append(b"0123456789");
        assert!(!intake.is_spooling() && intake.take_block().is_none());
        assert_eq!(intake.finish().expect("memory").octets(), b"0123456789");
    }

    #[test]
    fn large_text_goes_to_the_file_in_blocks() {
        let mut intake = Intake::new(1, 10);
        let mut expected = Vec::new();
        for piece in 0..40_u8 {
            let text = vec![piece; 10_000];
            while intake.room() < text.len() {
                let block = intake.take_block().expect("a block is due");
                assert!(block.octets.len() <= BODY_BLOCK);
                assert!(intake.take_block().is_none(), "one block at a time is on its way");
                let file = block.file.unwrap_or_else(|| Arc::new(FakeFile::default()));
                file.write_at(&block.octets, block.offset).expect("a fake");
                intake.block_written(file, block.octets);
            }
            intake.append(&text);
            expected.extend(text);
        }
        assert!(intake.has_file() && !intake.is_writing());
        assert_eq!(intake.finish().expect("a fake").octets(), expected);
    }
}
