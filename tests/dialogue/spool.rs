//! The spool of the pure form: files in memory, written in order.

use mailreeve::plugin::content::{Octets, Stored};
use std::io;
use std::sync::Mutex;

/// A spool file in memory.
#[derive(Default)]
pub(crate) struct MemoryFile(Mutex<Vec<u8>>);

impl Stored for MemoryFile {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        let mut file = self.0.lock().map_err(|_| io::Error::other("poisoned"))?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        if file.len() != offset {
            return Err(io::Error::other("blocks come in order and without gaps"));
        }
        file.extend_from_slice(octets);
        Ok(())
    }

    fn view(&self, len: u64) -> io::Result<Box<dyn Octets>> {
        let file = self.0.lock().map_err(|_| io::Error::other("poisoned"))?;
        if file.len() as u64 != len {
            return Err(io::Error::other("not everything was written"));
        }
        Ok(Box::new(MemoryView(file.clone())))
    }
}

struct MemoryView(Vec<u8>);

impl Octets for MemoryView {
    fn octets(&self) -> &[u8] {
        &self.0
    }

    fn passed(&self, _upto: usize) {}
}
