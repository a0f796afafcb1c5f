//! A message on its way to another program, server or file, turned a buffer at a time.
//!
//! Messages are kept with CR LF line ends and may be mapped files of many megabytes, so they are never
//! copied as a whole. Programs and files of this machine take LF line ends, as all text on Unix. A
//! server takes CR LF, and dots doubled at the start of lines; what goes to one is made canonical on
//! the way whatever is stored, so that no server further on can find the end of a message, and another
//! message behind it, where we saw none (SMTP smuggling).

use memchr::{memchr, memchr3};

/// Octets written at once.
const BUFFER_MAX: usize = 64 * 1_024;

/// Gathers octets and hands them on each time they fill it.
struct Buffer {
    octets: Vec<u8>,
    room: usize,
}

impl Buffer {
    /// `expected` octets in all; for less than 64 KiB a smaller buffer does.
    fn new(expected: usize) -> Buffer {
        let room = expected.clamp(1, BUFFER_MAX);
        Buffer { octets: Vec::with_capacity(room), room }
    }

    fn put<E>(
        &mut self,
        mut data: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((fits, more)) = data.split_at_checked(self.room - self.octets.len()) {
            self.octets.extend_from_slice(fits);
            sink(&self.octets)?;
            self.octets.clear();
            data = more;
        }
        self.octets.extend_from_slice(data);
        Ok(())
    }
}

/// Turns CR LF into LF and hands the text on in pieces of at most 64 KiB.
pub(in crate::client) struct UnixText(Buffer);

impl UnixText {
    /// `expected` octets in all; a smaller mail gets a smaller buffer.
    pub(in crate::client) fn new(expected: usize) -> Self {
        Self(Buffer::new(expected))
    }

    /// Hands on `header` as it is and then the parts. A CR that stands alone stays.
    pub(in crate::client) fn put_all<E>(
        &mut self,
        header: &[u8],
        parts: &[&[u8]],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let buffer = &mut self.0;
        buffer.octets.clear();
        buffer.put(header, sink)?;
        // Whether the part before ended in a CR, which is not handed on yet.
        let mut held_cr = false;
        for part in parts {
            let mut rest = *part;
            if let (true, Some(first)) = (held_cr, rest.first()) {
                held_cr = false;
                if *first != b'\n' {
                    buffer.put(b"\r", sink)?;
                }
            }
            while let Some((line, after)) = memchr(b'\r', rest).and_then(|at| cut(rest, at)) {
                buffer.put(line, sink)?;
                match after.first() {
                    Some(b'\n') => {}
                    Some(_) => buffer.put(b"\r", sink)?,
                    None => held_cr = true,
                }
                rest = after;
            }
            buffer.put(rest, sink)?;
        }
        if held_cr {
            buffer.put(b"\r", sink)?;
        }
        if buffer.octets.is_empty() { Ok(()) } else { sink(&buffer.octets) }
    }
}

/// Makes a text what may stand between DATA and its final dot: every CR LF, bare CR and bare LF is one
/// line end, NUL is left out, a dot at the start of a line is doubled, and the last line is ended.
pub(in crate::client) struct WireText {
    buffer: Buffer,
    line_end: &'static [u8],
    at_start: bool,
    /// The last octet was a CR, whose line end is not written yet.
    held_cr: bool,
}

impl WireText {
    /// For a server: CR LF line ends. `expected` octets in all.
    pub(in crate::client) fn new(expected: usize) -> Self {
        let buffer = Buffer::new(expected);
        Self { buffer, line_end: b"\r\n", at_start: true, held_cr: false }
    }

    /// For a program that reads batch SMTP: LF line ends.
    pub(in crate::client) fn unix(expected: usize) -> Self {
        Self { line_end: b"\n", ..Self::new(expected) }
    }

    /// Hands on the parts in pieces of at most 64 KiB. The last piece comes back instead, so that the
    /// final dot can be written with it.
    pub(in crate::client) fn put_all<E>(
        mut self,
        parts: &[&[u8]],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        for part in parts {
            self.put(part, sink)?;
        }
        if self.held_cr || !self.at_start {
            self.end_line(sink)?;
        }
        Ok(self.buffer.octets)
    }

    fn put<E>(
        &mut self,
        mut rest: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(first) = rest.first() {
            if self.held_cr {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                self.end_line(sink)?;
                continue;
            }
            if self.at_start && *first == b'.' {
                self.buffer.put(b".", sink)?;
            }
            let (line, mark, after) = match memchr3(b'\r', b'\n', 0, rest) {
                Some(at) => match cut(rest, at) {
                    Some((line, after)) => (line, rest.get(at), after),
                    None => return Ok(()),
                },
                None => (rest, None, &[][..]),
            };
            self.buffer.put(line, sink)?;
            self.at_start &= line.is_empty();
            match mark {
                Some(b'\r') => self.held_cr = true,
                Some(b'\n') => self.end_line(sink)?,
                // A NUL, or the end of the part.
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }

    fn end_line<E>(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.held_cr = false;
        self.at_start = true;
        self.buffer.put(self.line_end, sink)
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
    fuzz_wire(data);
}

/// Cuts `data` in two (a short one at every place) and checks what goes to a server against a
/// slow reading of the rules.
#[cfg(any(test, fuzzing))]
fn fuzz_wire(data: &[u8]) {
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut octets = data.iter().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b'\r' | b'\n' => {
                if *octet == b'\r' {
                    octets.next_if_eq(&&b'\n');
                }
                lines.push(Vec::new());
            }
            0 => {}
            _ => lines.last_mut().into_iter().for_each(|line| line.push(*octet)),
        }
    }
    if lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    let mut expected = Vec::new();
    for line in &lines {
        expected.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        expected.extend_from_slice(line);
        expected.extend_from_slice(b"\r\n");
    }
    let cuts = if data.len() > 1_000 { 1 } else { data.len() + 1 };
    for at in (0..cuts).take(20) {
        let (one, two) = data.split_at(at);
        for room in [1, 7, BUFFER_MAX] {
            let mut seen = Vec::new();
            let mut sink = |piece: &[u8]| {
                assert!(!piece.is_empty() && piece.len() <= room);
                seen.extend_from_slice(piece);
                Ok::<(), ()>(())
            };
            let last = WireText::new(room).put_all(&[one, two], &mut sink);
            seen.extend(last.unwrap_or_default());
            assert_eq!(seen, expected, "cut at {at}, room {room}");
        }
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
    fn what_goes_to_a_server_is_canonical() {
        for (text, expected) in [
            ("", ""),
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("no line end", "no line end\r\n"),
            (
                ".\r\n..\r\n.x\r\n. \r\n",
                "..\r\n...\r\n..x\r\n. \r\n".replace(". \r", ".. \r").as_str(),
            ),
            ("a\n.\nb", "a\r\n..\r\nb\r\n"),
            ("a\r.\rb", "a\r\n..\r\nb\r\n"),
            ("a\r\n.\nMAIL FROM:<x@example.org>\r\n", "a\r\n..\r\nMAIL FROM:<x@example.org>\r\n"),
            ("a\r\r\n.\r\r\n", "a\r\n\r\n..\r\n\r\n"),
            ("a\r\n\0.\0\r\nb\0", "a\r\n..\r\nb\r\n"),
            ("\r", "\r\n"),
            ("\0", ""),
        ] {
            let sink = &mut |_: &[u8]| Ok::<(), ()>(());
            let seen = WireText::new(1_000).put_all(&[text.as_bytes()], sink).unwrap();
            assert_eq!(String::from_utf8_lossy(&seen), expected, "{text:?}");
            fuzz(text.as_bytes());
        }
        // Every string of what matters, up to five octets.
        let mut texts = vec![Vec::new()];
        for _ in 0..5 {
            let longer = |text: &Vec<u8>| {
                let text = text.clone();
                b"\r\n\0.a".iter().map(move |octet| [text.as_slice(), &[*octet]].concat())
            };
            texts = texts.iter().flat_map(longer).collect();
            texts.iter().for_each(|text| fuzz_wire(text));
        }
        assert_eq!(texts.len(), 5_usize.pow(5));
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
