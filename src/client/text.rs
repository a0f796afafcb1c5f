//! A message on its way to another program or to a file, turned a buffer at a time.
//!
//! Messages are kept with CR LF line ends and may be mapped files of many megabytes, so they are never
//! copied as a whole. What programs on this machine take as a message has LF line ends, as all text
//! on Unix; that is why it goes through our memory and is not spliced inside the kernel.

use memchr::memchr;

/// Octets written at once.
const BUFFER_MAX: usize = 64 * 1_024;

/// Turns CR LF into LF and hands the text on in pieces of at most 64 KiB.
pub(in crate::client) struct UnixText {
    buffer: Vec<u8>,
    room: usize,
}

impl UnixText {
    /// `expected` octets in all; a smaller mail gets a smaller buffer.
    pub(in crate::client) fn new(expected: usize) -> Self {
        let room = expected.clamp(1, BUFFER_MAX);
        Self { buffer: Vec::with_capacity(room), room }
    }

    /// Hands on `header` as it is and then the parts. A CR that stands alone stays.
    pub(in crate::client) fn put_all<E>(
        &mut self,
        header: &[u8],
        parts: &[&[u8]],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.buffer.clear();
        self.put(header, sink)?;
        // Whether the part before ended in a CR, which is not handed on yet.
        let mut held_cr = false;
        for part in parts {
            let mut rest = *part;
            if let (true, Some(first)) = (held_cr, rest.first()) {
                held_cr = false;
                if *first != b'\n' {
                    self.put(b"\r", sink)?;
                }
            }
            while let Some((line, after)) = memchr(b'\r', rest).and_then(|at| cut(rest, at)) {
                self.put(line, sink)?;
                match after.first() {
                    Some(b'\n') => {}
                    Some(_) => self.put(b"\r", sink)?,
                    None => held_cr = true,
                }
                rest = after;
            }
            self.put(rest, sink)?;
        }
        if held_cr {
            self.put(b"\r", sink)?;
        }
        if self.buffer.is_empty() { Ok(()) } else { sink(&self.buffer) }
    }

    /// Appends to the buffer and hands it on each time it is full.
    fn put<E>(
        &mut self,
        mut data: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((fits, more)) = data.split_at_checked(self.room - self.buffer.len()) {
            self.buffer.extend_from_slice(fits);
            sink(&self.buffer)?;
            self.buffer.clear();
            data = more;
        }
        self.buffer.extend_from_slice(data);
        Ok(())
    }
}

/// What stands before and after the octet at `at`.
fn cut(text: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let (before, from) = text.split_at_checked(at)?;
    Some((before, from.get(1..)?))
}

/// Cuts `data` into parts at every octet below 8 and checks the outcome against a plain
/// replacement over the whole, with several sizes of buffer.
#[cfg(any(test, fuzzing))]
pub(in crate::client) fn fuzz(data: &[u8]) {
    let parts: Vec<&[u8]> = data.split(|octet| *octet < 8).collect();
    let whole = parts.concat();
    let mut expected = b"H: x\n".to_vec();
    for (at, octet) in whole.iter().enumerate() {
        if !(*octet == b'\r' && whole.get(at + 1) == Some(&b'\n')) {
            expected.push(*octet);
        }
    }
    for room in [1, 2, 7, whole.len(), BUFFER_MAX + 1] {
        let mut seen = Vec::new();
        let mut sink = |piece: &[u8]| {
            assert!(!piece.is_empty() && piece.len() <= room.clamp(1, BUFFER_MAX));
            seen.extend_from_slice(piece);
            Ok::<(), ()>(())
        };
        let mut text = UnixText::new(room);
        assert!(text.put_all(b"H: x\n", &parts, &mut sink).is_ok());
        assert_eq!(seen, expected, "room {room}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_unix_however_the_text_is_cut() {
        let rows: [&[u8]; 11] = [
            b"",
            b"a\r\nb\r\n",
            b"a\nb\n",
            b"lone \r here\r\n",
            b"\r\r\n\r\r\r\n",
            b"\r",
            b"ends in \r\x00\nafter the cut",
            b"ends in \r\x00not a line end",
            b"\x00\x00\r\x00\x00\n\x00",
            b"\n\r\n\r",
            b"no line end at all",
        ];
        for row in rows {
            fuzz(row);
        }
        let long: Vec<u8> = b"0123456789\r\n".repeat(20_000);
        fuzz(&long);
        fuzz(&b"\r".repeat(200_000));
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut calls = 0;
        let mut sink = |_: &[u8]| {
            calls += 1;
            if calls == 2 { Err("full") } else { Ok(()) }
        };
        let result = UnixText::new(4).put_all(b"", &[b"0123456789"], &mut sink);
        assert_eq!((result, calls), (Err("full"), 2));
    }
}
