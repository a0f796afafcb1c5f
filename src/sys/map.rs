//! A spooled message as one slice of bytes, without its being in memory.
//!
//! Scanners, DKIM and the walkers over MIME parts all want a message as `&[u8]`. Mapping the spool
//! file gives them that at the price of the page cache, and [`View::drop_behind`] hands pages back
//! while a pass goes over a large message, so that it never counts as a whole.

use memmap2::{Mmap, MmapOptions, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pages are handed back in steps of this many octets: one system call each.
const STEP: usize = 1_024 * 1_024;

/// A read-only mapping of the first octets of a spool file; derefs to them.
#[derive(Debug)]
pub struct View {
    map: Option<Mmap>,
    /// How far the present pass has handed pages back; a multiple of `STEP`.
    dropped: AtomicUsize,
}

impl View {
    /// Maps the first `len` octets of `file`, which must be a private spool file: it has no name
    /// any more, and everything that writes it is done with the first `len` octets. The mapping
    /// outlives `file`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter than `len`; otherwise what mmap says (out of
    /// address space or memory).
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        if file.metadata()?.len() < len as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if len == 0 {
            return Ok(Self { map: None, dropped: AtomicUsize::new(0) });
        }
        // SAFETY: a mapping is unsound only when the file changes or shrinks under it. A spool
        // file has no name (made with O_TMPFILE, or unlinked at once, mode 0600, in a folder of
        // mode 0700 that this process holds locked), so no other process can open it; this
        // process truncates none, and writes only past what a view covers. The length was just
        // checked, so no access lies behind the end of the file.
        #[expect(unsafe_code, reason = "mmap of a private file; see SAFETY")]
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(Self { map: Some(map), dropped: AtomicUsize::new(0) })
    }

    /// Tells that a pass has done with the octets before `upto`: their pages are handed back in
    /// steps of 1 MiB, and read again from the page cache or disk if they are touched once more.
    /// A call with a smaller `upto` starts a new pass. Cheap when there is nothing to do.
    pub fn drop_behind(&self, upto: usize) {
        let Some(map) = &self.map else { return };
        let end = upto.min(map.len()) / STEP * STEP;
        let before = self.dropped.swap(end, Ordering::Relaxed);
        let start = if before <= end { before } else { 0 };
        if start == end {
            return;
        }
        // SAFETY: MADV_DONTNEED on a shared read-only mapping of a file only unmaps pages; the
        // next access brings back the same octets, so slices into the view stay true.
        #[expect(unsafe_code, reason = "MADV_DONTNEED of a file mapping; see SAFETY")]
        let advised =
            unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        // It is advice: where the kernel does not take it, the pages just stay a little longer.
        drop(advised);
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;

    /// A file that lost its name at once, as the spool's have.
    fn private_file(tag: &str, content: &[u8]) -> File {
        let path: PathBuf =
            std::env::temp_dir().join(format!("mailreeve-map-{}-{tag}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn shows_what_was_asked_for_and_outlives_the_file() {
        let file = private_file("basic", b"Subject: x\r\n\r\n");
        assert_eq!(&*View::new(&file, 0).unwrap(), b"");
        assert_eq!(&*View::new(&file, 7).unwrap(), b"Subject");
        let whole = View::new(&file, 14).unwrap();
        let short = View::new(&file, 15).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
        drop(file);
        let seen = std::thread::spawn(move || whole.to_vec()).join().unwrap();
        assert_eq!(seen, b"Subject: x\r\n\r\n");
    }

    #[test]
    fn dropped_pages_read_the_same_again() {
        let content: Vec<u8> = (0..3 * STEP + 100).map(|n| (n / 4_096 % 251) as u8).collect();
        let file = private_file("drop", &content);
        let view = View::new(&file, content.len()).unwrap();
        for upto in [0, 1, STEP, STEP + 5, 3 * STEP, usize::MAX, STEP, 2 * STEP, content.len()] {
            view.drop_behind(upto);
            assert!(*view == content[..], "after {upto}");
        }
        View::new(&file, 0).unwrap().drop_behind(10);
    }
}
