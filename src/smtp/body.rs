//! The octets behind DATA or BDAT, turned into the message.
//!
//! End of data is CR LF . CR LF and nothing else: every other mixture of CR, LF, NUL and dot stays
//! inside the one message, whatever some server further on would make of it (SMTP smuggling,
//! CVE-2023-51764 to -51766). A bare CR, a bare LF and a NUL are noticed on the way: mail from outside
//! that holds one is refused at its end, that of relay clients is repaired (`normalize`) before
//! anything else sees it.
//!
//! The decoder copies nothing: it hands out runs of the input between the dots it removes. What it
//! hands out does not depend on how the input was cut.

use crate::limits::TEXT_LINE_MAX;
use memchr::memchr3;

/// How the end of the message is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// DATA: CR LF . CR LF ends it, a leading dot of a line is removed (RFC 5321 4.5.2).
    Dots,
    /// BDAT: the chunk sizes tell; dots mean nothing (RFC 3030).
    Counted,
}

/// Where in a line the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Inside,
    /// A CR came last; it has not been handed out.
    Cr,
    /// A dot began the line; it has not been handed out.
    Dot,
    /// A dot and a CR are the line so far.
    DotCr,
    Done,
}

/// Decodes one message. 40 octets of state, no buffer.
#[derive(Clone, Debug)]
pub struct Decoder {
    framing: Framing,
    normalize: bool,
    at: At,
    bare: bool,
    long: bool,
    line: usize,
    lines: u64,
    octets: u64,
}

impl Decoder {
    /// A decoder at the start of a message. With `normalize` bare CR and LF are handed out as CR LF
    /// and NUL is left out; else they are only noticed.
    pub fn new(framing: Framing, normalize: bool) -> Decoder {
        Decoder {
            framing,
            normalize,
            at: At::LineStart,
            bare: false,
            long: false,
            line: 0,
            lines: 0,
            octets: 0,
        }
    }

    /// A bare CR, a bare LF or a NUL has been seen.
    pub fn saw_bare_newline(&self) -> bool {
        self.bare
    }

    /// A line was longer than [`TEXT_LINE_MAX`].
    pub fn saw_long_line(&self) -> bool {
        self.long
    }

    /// The end of the data was seen.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Size of what was handed out with one octet for each line end, as `databytes` counts.
    pub fn size(&self) -> u64 {
        self.octets.saturating_sub(self.lines)
    }

    /// Takes octets, hands out runs of the message, and returns how many octets were used: all, or
    /// up to the end of the data. What is handed out is at most twice as long as what was used.
    pub fn decode(&mut self, input: &[u8], emit: &mut dyn FnMut(&[u8])) -> usize {
        let mut run = Run { input, start: 0, emit, octets: &mut 0 };
        let mut next = 0;
        while let Some(&octet) = input.get(next) {
            if self.at == At::Inside {
                next = self.scan(&mut run, next);
                continue;
            }
            next = self.step(&mut run, octet, next);
            if self.at == At::Done {
                break;
            }
        }
        let held = usize::from(self.at == At::Cr && next > run.start);
        run.flush(next.saturating_sub(held));
        self.octets += *run.octets;
        next
    }

    /// The end of a counted message: a CR that was held back is content after all.
    pub fn finish(&mut self, emit: &mut dyn FnMut(&[u8])) {
        if self.at == At::Cr {
            self.bare = true;
            if self.normalize {
                emit(b"\r\n");
                self.octets += 2;
                self.lines += 1;
            }
        }
        self.at = At::Done;
    }

    /// Inside a line: straight to the next octet that means something.
    fn scan(&mut self, run: &mut Run<'_, '_>, from: usize) -> usize {
        let rest = run.input.get(from..).unwrap_or_default();
        let Some(distance) = memchr3(b'\r', b'\n', 0, rest) else {
            self.lengthen(rest.len());
            return run.input.len();
        };
        self.lengthen(distance);
        let found = from + distance;
        if rest.get(distance..distance + 2) == Some(b"\r\n") {
            self.end_line();
            return found + 2;
        }
        match rest.get(distance) {
            Some(b'\r') => {
                self.at = At::Cr;
                found + 1
            }
            Some(b'\n') => self.bare_octet(run, found, b"\r\n"),
            _ => self.bare_octet(run, found, b""),
        }
    }

    /// Anywhere else: one octet.
    fn step(&mut self, run: &mut Run<'_, '_>, octet: u8, at: usize) -> usize {
        match (self.at, octet) {
            (At::LineStart, b'.') if self.framing == Framing::Dots => {
                run.cut(at, at + 1);
                self.at = At::Dot;
                at + 1
            }
            (At::Dot, b'\r') => {
                run.cut(at, at + 1);
                self.at = At::DotCr;
                at + 1
            }
            (At::DotCr, b'\n') => {
                run.cut(at, at + 1);
                self.at = At::Done;
                at + 1
            }
            (At::Cr, b'\n') => {
                // The CR may have come with an earlier piece: it is handed out here in any case.
                run.cut(at.saturating_sub(1).max(run.start), at + 1);
                run.put(b"\r\n");
                self.end_line();
                at + 1
            }
            (At::Cr | At::DotCr, _) => {
                // That CR was bare. The octet at hand is looked at again, inside the line.
                run.cut(at.saturating_sub(1).max(run.start), at);
                self.bare = true;
                self.at = At::Inside;
                if self.normalize {
                    run.put(b"\r\n");
                    self.end_line();
                    self.at = At::Inside;
                }
                at
            }
            _ => {
                self.at = At::Inside;
                at
            }
        }
    }

    fn bare_octet(&mut self, run: &mut Run<'_, '_>, at: usize, repaired: &[u8]) -> usize {
        self.bare = true;
        run.cut(at, at + 1);
        if self.normalize {
            run.put(repaired);
            if !repaired.is_empty() {
                self.end_line();
                self.at = At::Inside;
            }
        }
        at + 1
    }

    fn lengthen(&mut self, by: usize) {
        self.line += by;
        self.long |= self.line > TEXT_LINE_MAX;
    }

    fn end_line(&mut self) {
        self.line = 0;
        self.lines += 1;
        self.at = At::LineStart;
    }
}

/// The stretch of input that waits to be handed out in one piece.
struct Run<'a, 'e> {
    input: &'a [u8],
    start: usize,
    emit: &'e mut dyn FnMut(&[u8]),
    octets: &'e mut u64,
}

impl Run<'_, '_> {
    /// Hands out what stands before `end`, and leaves out `end..resume`.
    fn cut(&mut self, end: usize, resume: usize) {
        self.flush(end);
        self.start = resume;
    }

    fn flush(&mut self, end: usize) {
        let piece = self.input.get(self.start..end).unwrap_or_default();
        self.put(piece);
        self.start = end.max(self.start);
    }

    fn put(&mut self, piece: &[u8]) {
        if !piece.is_empty() {
            *self.octets += piece.len() as u64;
            (self.emit)(piece);
        }
    }
}

/// What is decoded does not depend on cuts, dots are removed as RFC 5321 4.5.2 says, and the
/// message never holds the end of data of another one once it is repaired.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let Some((&cut, input)) = data.split_first() else { return };
    for (framing, normalize) in
        [(Framing::Dots, false), (Framing::Dots, true), (Framing::Counted, true)]
    {
        let decode = |pieces: usize| {
            let mut decoder = Decoder::new(framing, normalize);
            let mut message = Vec::new();
            let mut used = 0;
            for piece in input.chunks(pieces.max(1)) {
                let took = decoder.decode(piece, &mut |run| message.extend_from_slice(run));
                used += took;
                if decoder.is_done() {
                    break;
                }
                assert_eq!(took, piece.len(), "everything is used until the end");
            }
            if framing == Framing::Counted {
                decoder.finish(&mut |run| message.extend_from_slice(run));
            }
            (message, used, decoder.saw_bare_newline(), decoder.size(), decoder.is_done())
        };
        let whole = decode(usize::MAX);
        assert_eq!(whole, decode(usize::from(cut)), "cut into {cut}");
        assert_eq!(whole, decode(1));
        assert!(whole.0.len() <= 2 * input.len() + 2);
        if normalize {
            let repaired = String::from_utf8_lossy(&whole.0).replace("\r\n", "");
            assert!(!repaired.contains(['\r', '\n', '\0']), "repaired: {repaired:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in pieces of every size and returns message, unused rest, bare.
    fn decode(framing: Framing, normalize: bool, input: &[u8]) -> (String, String, bool, bool) {
        let mut results = Vec::new();
        for size in 1..=input.len().max(1) {
            let mut decoder = Decoder::new(framing, normalize);
            let mut message = Vec::new();
            let mut used = 0;
            for piece in input.chunks(size) {
                used += decoder.decode(piece, &mut |run| message.extend_from_slice(run));
                if decoder.is_done() {
                    break;
                }
            }
            let done = decoder.is_done();
            if framing == Framing::Counted {
                decoder.finish(&mut |run| message.extend_from_slice(run));
            }
            results.push((
                String::from_utf8(message).expect("ASCII tests"),
                String::from_utf8(input[used..].to_vec()).expect("ASCII tests"),
                decoder.saw_bare_newline(),
                done,
            ));
        }
        results.dedup();
        assert_eq!(results.len(), 1, "depends on cuts: {results:?}");
        results.remove(0)
    }

    #[test]
    fn only_crlf_dot_crlf_ends_data() {
        for (input, message, rest, bare, done) in [
            ("a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n", false, true),
            (".\r\n", "", "", false, true),
            ("a\n.\n", "a.", "", true, false),
            ("a\n.\r\n", "a.\r\n", "", true, false),
            ("a\r\n.\n", "a\r\n", "", true, false),
            ("a\r.\r", "a.", "", true, false),
            ("a\r\r\n.\r\nx", "a\r\n", "x", true, true),
            ("a\r\n\0.\r\n", "a\r\n.\r\n", "", true, false),
            ("a\r\n.\0\r\n", "a\r\n\r\n", "", true, false),
            ("a\r\n.\r\0\n", "a\r\n", "", true, false),
            ("a\r\n.\r\r\n.\r\n", "a\r\n\r\n", "", true, true),
        ] {
            let got = decode(Framing::Dots, false, input.as_bytes());
            assert_eq!(got, (message.into(), rest.into(), bare, done), "{input:?}");
        }
    }

    #[test]
    fn the_first_dot_of_a_line_is_removed() {
        for (input, message) in [
            ("..\r\n.\r\n", ".\r\n"),
            (".x\r\n.\r\n", "x\r\n"),
            ("...\r\n.\r\n", "..\r\n"),
            ("a.b\r\n. \r\n.\r\n", "a.b\r\n \r\n"),
        ] {
            let got = decode(Framing::Dots, false, input.as_bytes());
            assert_eq!(got, (message.into(), String::new(), false, true), "{input:?}");
        }
    }

    #[test]
    fn relay_clients_text_is_repaired() {
        for (input, message) in [
            ("a\nb\r\n.\r\n", "a\r\nb\r\n"),
            ("a\rb\r\n.\r\n", "a\r\nb\r\n"),
            ("a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"),
            ("a\0b\r\n.\r\n", "ab\r\n"),
            ("a\r\r\n.\r\n", "a\r\n\r\n"),
        ] {
            let (got, rest, bare, done) = decode(Framing::Dots, true, input.as_bytes());
            assert_eq!((got.as_str(), rest.as_str(), bare, done), (message, "", true, true));
        }
    }

    #[test]
    fn counted_text_keeps_its_dots() {
        for (input, message) in
            [(".\r\n..\r\n", ".\r\n..\r\n"), ("no end", "no end"), ("a\r", "a\r\n")]
        {
            let (got, rest, ..) = decode(Framing::Counted, true, input.as_bytes());
            assert_eq!((got.as_str(), rest.as_str()), (message, ""));
        }
    }

    #[test]
    fn size_counts_a_line_end_once() {
        let mut decoder = Decoder::new(Framing::Dots, false);
        decoder.decode(b"12345\r\n..\r\n.\r\n", &mut |_| {});
        assert_eq!(decoder.size(), 6 + 2);
    }

    #[test]
    fn long_lines_are_noticed() {
        let mut decoder = Decoder::new(Framing::Dots, false);
        let line = vec![b'x'; TEXT_LINE_MAX];
        decoder.decode(&line, &mut |_| {});
        assert!(!decoder.saw_long_line());
        decoder.decode(b"y", &mut |_| {});
        assert!(decoder.saw_long_line());
    }
}
