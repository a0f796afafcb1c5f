//! Files between `begin` and `end` in lines of text, as Unix mail had them before MIME and as clients
//! still find them in text: `begin MODE NAME`, lines of a length and groups of four letters, `end`.

use super::transfer::{Sink, Step};
use super::{Fault, Faults, charset};
use memchr::memmem;
use std::ops::Range;

/// Octets of a line that are looked at; one with 63 octets of data has 85 letters.
const LINE_MAX: usize = 128;

/// Most octets that one line decodes to.
const LINE_OCTETS_MAX: usize = 63;

/// A file in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, with 8-bit octets read as UTF-8 or else Windows-1252.
    pub name: String,
    /// From its `begin` to behind its `end`, in the text that was searched.
    pub range: Range<usize>,
    /// No `end` was found; the file ends with the text.
    pub cut: bool,
}

/// The files in a text, in their order. `Encoding::Uuencode` decodes what their ranges hold.
pub fn files(text: &[u8]) -> impl Iterator<Item = File> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..)?;
        let starts_line =
            |at: &usize| at.checked_sub(1).is_none_or(|at| rest.get(at) == Some(&b'\n'));
        let mut begins = memmem::find_iter(rest, b"begin ").filter(starts_line);
        let (at, name, length) = begins.find_map(|at| {
            let line = line(rest.get(at..)?);
            Some((at, name(line)?, line.len()))
        })?;
        let data = rest.get(at + length..).unwrap_or_default();
        let end = memmem::find_iter(data, b"\nend").find(|end| {
            let behind = line(data.get(end + 4..).unwrap_or_default());
            behind.trim_ascii().is_empty()
        });
        // Without an `end` the file takes the rest of the text, so nothing is searched twice.
        let length = end.map_or(rest.len(), |end| at + length + end + 4);
        let range = from + at..from + length;
        from = range.end;
        let mut decoded = String::new();
        charset::push_guessed(name, &mut decoded);
        Some(File { name: decoded, range, cut: end.is_none() })
    })
}

/// The first line, without what ends it.
fn line(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let line = text.get(..end).unwrap_or(text);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The name in `begin MODE NAME`.
fn name(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"begin ")?.trim_ascii_start();
    let mode = rest.iter().take_while(|octet| matches!(octet, b'0'..=b'7')).count();
    let name = rest.get(mode..)?;
    let blank = matches!(name.first(), Some(b' ' | b'\t'));
    let name = name.trim_ascii();
    ((3..=6).contains(&mode) && blank && !name.is_empty()).then_some(name)
}

/// Uuencode between two calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Uuencode {
    /// The line so far.
    line: Vec<u8>,
    inside: bool,
    /// A file was seen.
    begun: bool,
}

impl Uuencode {
    pub(super) fn decode(&mut self, input: &[u8], output: &mut [u8], faults: &mut Faults) -> Step {
        let mut sink = Sink::new(output);
        let mut rest = input;
        while !rest.is_empty() && sink.room() >= LINE_OCTETS_MAX {
            let feed = memchr::memchr(b'\n', rest);
            let (piece, behind) =
                rest.split_at_checked(feed.map_or(rest.len(), |at| at + 1)).unwrap_or((rest, b""));
            let room = LINE_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
            rest = behind;
            if feed.is_some() {
                self.end_line(&mut sink, faults);
            }
        }
        Step { read: input.len() - rest.len(), written: sink.written }
    }

    pub(super) fn finish(&mut self, output: &mut [u8], faults: &mut Faults) -> usize {
        let mut sink = Sink::new(output);
        self.end_line(&mut sink, faults);
        if self.inside || !self.begun {
            faults.insert(Fault::UuencodeCut);
        }
        sink.written
    }

    fn end_line(&mut self, sink: &mut Sink<'_>, faults: &mut Faults) {
        let held = std::mem::take(&mut self.line);
        let line = line(&held);
        if !self.inside {
            self.inside = name(line).is_some();
            self.begun |= self.inside;
        } else if line.trim_ascii() == b"end" {
            self.inside = false;
        } else if !data(line, sink) {
            faults.insert(Fault::UuencodeJunk);
        }
        self.line = held;
        self.line.clear();
    }
}

/// Decodes a line of data. Letters that are missing at its end are blanks that a mailer took away.
fn data(line: &[u8], sink: &mut Sink<'_>) -> bool {
    let Some((length, letters)) = line.split_first() else { return true };
    if !(b' '..=b'`').contains(length) {
        return false;
    }
    let mut missing = usize::from((length - b' ') & 63);
    let enough = letters.len() * 3 / 4 + 2 >= missing;
    let mut clean = true;
    let mut letters = letters.iter();
    while missing > 0 {
        let mut bits = 0_u32;
        for _ in 0..4 {
            let letter = *letters.next().unwrap_or(&b' ');
            clean &= (b' '..=b'`').contains(&letter);
            bits = bits << 6 | u32::from(letter.wrapping_sub(b' ') & 63);
        }
        let [_, group @ ..] = bits.to_be_bytes();
        let count = missing.min(3);
        sink.put(group.get(..count).unwrap_or(&group));
        missing -= count;
    }
    clean && enough
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::mime::transfer::{Decoder, Encoding};

    #[test]
    fn finds_files() {
        let text =
            b"see\r\nbegin 644 a b.exe\r\n#0V%T\r\n`\r\nend\r\nbegin with me\nxbegin 644 n\n\
            begin 0755 c\n#0V%T\nending\nend \nbegin 666 \xe9\n#0V%T\n";
        let found: Vec<File> = files(text).collect();
        let names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a b.exe", "c", "\u{e9}"]);
        assert_eq!(found.iter().map(|file| file.cut).collect::<Vec<_>>(), [false, false, true]);
        for file in found.iter().take(2) {
            let range = &text[file.range.clone()];
            assert!(range.starts_with(b"begin ") && range.ends_with(b"\nend"), "{file:?}");
        }
        assert_eq!(found[2].range.end, text.len());
        // Each beginning is looked at once.
        assert_eq!(files("begin 644 x\n".repeat(100_000).as_bytes()).count(), 1);
        assert_eq!(files("begin 64 x\n".repeat(100_000).as_bytes()).count(), 0);
    }

    #[test]
    fn decodes_at_any_cut() {
        let rows: &[(&[u8], &[u8], bool)] = &[
            (b"begin 644 x\n#0V%T\n`\nend\n", b"Cat", true),
            (b"text\r\nbegin 644 x\r\n#0V%T\r\nend", b"Cat", true),
            (b"begin 644 x\n#0V%T", b"Cat", false),
            (b"begin 644 x\n!0\nend\n", b"@", true),
            (b"begin 644 x\nM\nend\n", &[0; 45], false),
            (b"begin 644 x\n\x80junk\n#0V%T\nend\n", b"Cat", false),
            (b"no file", b"", false),
        ];
        for (text, want, sound) in rows {
            for size in 1..=text.len() {
                let mut decoder = Decoder::new(Encoding::Uuencode);
                let (mut out, mut buffer) = (Vec::new(), [0; 256]);
                for piece in text.chunks(size) {
                    let step = decoder.decode(piece, &mut buffer);
                    assert_eq!(step.read, piece.len());
                    out.extend_from_slice(&buffer[..step.written]);
                }
                let written = decoder.finish(&mut buffer);
                out.extend_from_slice(&buffer[..written]);
                assert_eq!(&out, want, "{}", text.escape_ascii());
                assert_eq!(decoder.faults().is_empty(), *sound, "{}", text.escape_ascii());
            }
        }
    }
}
