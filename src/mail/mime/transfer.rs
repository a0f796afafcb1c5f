//! Content-Transfer-Encodings (RFC 2045 section 6), undone as mail clients undo them: what is wrong is
//! passed over and said, and decoding goes on to the end.
//!
//! Decoders are fed in pieces and write into a buffer of the caller's, so a part of any size costs the
//! same memory. How the pieces are cut changes nothing.

use super::field::hex_pair;
use super::uuencode::Uuencode;
use super::{Fault, Faults};

/// How the octets of a body were made fit for lines of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// 7bit, 8bit, binary, or a name that nobody knows: as it stands.
    #[default]
    Identity,
    /// RFC 2045 section 6.8.
    Base64,
    /// RFC 2045 section 6.7.
    QuotedPrintable,
    /// The lines between `begin` and `end` that Unix mail had before MIME.
    Uuencode,
}

impl Encoding {
    /// From a field's value; none for a name that is unknown. Case, comments, quotes and a semicolon
    /// do not matter, nor does a hyphen more or less.
    pub fn from_value(value: &[u8]) -> Option<Encoding> {
        let word: Vec<u8> = value
            .iter()
            .skip_while(|octet| octet.is_ascii_whitespace() || **octet == b'"')
            .take_while(|octet| !matches!(octet, b';' | b'(' | b'"' | b','))
            .filter(|octet| octet.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
            .take(20)
            .collect();
        match word.as_slice() {
            b"7bit" | b"8bit" | b"7bits" | b"8bits" | b"binary" => Some(Encoding::Identity),
            b"base64" | b"xbase64" => Some(Encoding::Base64),
            b"quotedprintable" | b"qp" => Some(Encoding::QuotedPrintable),
            b"xuuencode" | b"uuencode" | b"xuue" | b"uue" | b"xuu" => Some(Encoding::Uuencode),
            _ => None,
        }
    }
}

/// What one call to [`Decoder::decode`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Octets of the input that are done with; all, unless the output was full.
    pub read: usize,
    /// Octets of the output that were written.
    pub written: usize,
}

/// Undoes one encoding.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    faults: Faults,
}

#[derive(Clone, Debug)]
enum State {
    Identity,
    Base64(Base64),
    QuotedPrintable(Quoted),
    Uuencode(Uuencode),
}

/// Least room that an output needs for a decoder to go on: a line of blanks that turn out to be text
/// in quoted-printable is held back up to a quarter of this.
pub const ROOM_MIN: usize = 256;

impl Decoder {
    /// Ready for the first octet.
    pub fn new(encoding: Encoding) -> Decoder {
        let state = match encoding {
            Encoding::Identity => State::Identity,
            Encoding::Base64 => State::Base64(Base64::default()),
            Encoding::QuotedPrintable => State::QuotedPrintable(Quoted::default()),
            Encoding::Uuencode => State::Uuencode(Uuencode::default()),
        };
        Decoder { state, faults: Faults::default() }
    }

    /// Decodes as much of `input` as `output` has room for, which must be at least [`ROOM_MIN`].
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        match &mut self.state {
            State::Identity => {
                let count = input.len().min(output.len());
                if let (Some(from), Some(to)) = (input.get(..count), output.get_mut(..count)) {
                    to.copy_from_slice(from);
                }
                Step { read: count, written: count }
            }
            State::Base64(base64) => base64.decode(input, output, &mut self.faults),
            State::QuotedPrintable(quoted) => quoted.decode(input, output, &mut self.faults),
            State::Uuencode(uuencode) => uuencode.decode(input, output, &mut self.faults),
        }
    }

    /// Writes what was held back, at most [`ROOM_MIN`] octets; nothing comes behind it.
    pub fn finish(&mut self, output: &mut [u8]) -> usize {
        match &mut self.state {
            State::Identity => 0,
            State::Base64(base64) => base64.finish(output, &mut self.faults),
            State::QuotedPrintable(quoted) => quoted.finish(output, &mut self.faults),
            State::Uuencode(uuencode) => uuencode.finish(output, &mut self.faults),
        }
    }

    /// What was wrong so far.
    pub fn faults(&self) -> Faults {
        self.faults
    }
}

/// Puts octets into an output and counts them. What does not fit is lost, so callers look first.
pub(super) struct Sink<'o> {
    output: &'o mut [u8],
    pub(super) written: usize,
}

impl<'o> Sink<'o> {
    pub(super) fn new(output: &'o mut [u8]) -> Sink<'o> {
        Sink { output, written: 0 }
    }

    pub(super) fn room(&self) -> usize {
        self.output.len() - self.written
    }

    pub(super) fn put(&mut self, octets: &[u8]) {
        if let Some(place) = self.output.get_mut(self.written..self.written + octets.len()) {
            place.copy_from_slice(octets);
            self.written += octets.len();
        }
    }
}

/// Marks in the table of base64: padding, blanks and line ends, and what does not belong there.
const PAD: u8 = 64;
const BLANK: u8 = 65;
const JUNK: u8 = 66;

/// What each octet is in base64: a sextet, or one of the marks.
const SEXTETS: [u8; 256] = {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [JUNK; 256];
    let mut value = 0;
    #[expect(clippy::indexing_slicing, reason = "computed by the compiler, which checks it")]
    while value < 64 {
        table[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    #[expect(clippy::indexing_slicing, reason = "computed by the compiler, which checks it")]
    {
        table[b'=' as usize] = PAD;
        table[b' ' as usize] = BLANK;
        table[b'\t' as usize] = BLANK;
        table[b'\r' as usize] = BLANK;
        table[b'\n' as usize] = BLANK;
    }
    table
};

fn mark(octet: u8) -> u8 {
    // The table has a place for every octet.
    SEXTETS.get(usize::from(octet)).copied().unwrap_or(JUNK)
}

/// The value of a letter of base64.
pub(super) fn sextet(octet: u8) -> Option<u8> {
    Some(mark(octet)).filter(|value| *value < PAD)
}

/// Base64 between two calls. Octets outside the alphabet are passed over (RFC 2045 section 6.8);
/// padding ends a group, and what follows it begins a new one.
#[derive(Clone, Debug, Default)]
pub(super) struct Base64 {
    bits: u32,
    count: u32,
    padded: bool,
}

impl Base64 {
    /// Appends what a whole text decodes to.
    pub(super) fn append(text: &[u8], out: &mut Vec<u8>) {
        let (mut base64, mut faults) = (Base64::default(), Faults::default());
        let mut buffer = [0; ROOM_MIN];
        let mut rest = text;
        while !rest.is_empty() {
            let step = base64.decode(rest, &mut buffer, &mut faults);
            out.extend_from_slice(buffer.get(..step.written).unwrap_or_default());
            rest = rest.get(step.read..).unwrap_or_default();
        }
        let written = base64.finish(&mut buffer, &mut faults);
        out.extend_from_slice(buffer.get(..written).unwrap_or_default());
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8], faults: &mut Faults) -> Step {
        let mut sink = Sink::new(output);
        let mut rest = input;
        while sink.room() >= 3 {
            if self.count == 0 && !self.padded {
                rest = groups(rest, &mut sink);
            }
            let [octet, behind @ ..] = rest else { break };
            if sink.room() < 3 {
                break;
            }
            rest = behind;
            match mark(*octet) {
                PAD => self.pad(&mut sink, faults),
                BLANK => {}
                JUNK => faults.insert(Fault::Base64Junk),
                value => {
                    if std::mem::take(&mut self.padded) {
                        faults.insert(Fault::Base64Padding);
                    }
                    self.bits = self.bits << 6 | u32::from(value);
                    self.count += 1;
                    if self.count == 4 {
                        let [_, group @ ..] = self.bits.to_be_bytes();
                        sink.put(&group);
                        (self.bits, self.count) = (0, 0);
                    }
                }
            }
        }
        Step { read: input.len() - rest.len(), written: sink.written }
    }

    fn pad(&mut self, sink: &mut Sink<'_>, faults: &mut Faults) {
        // The second `=` of two finds an empty group.
        if self.count == 0 && !self.padded {
            faults.insert(Fault::Base64Padding);
        }
        self.flush(sink);
        self.padded = true;
    }

    /// Writes the whole octets of a group that is not full.
    fn flush(&mut self, sink: &mut Sink<'_>) {
        let [_, first, second, _] =
            (self.bits << (24_u32.saturating_sub(6 * self.count))).to_be_bytes();
        match self.count {
            2 => sink.put(&[first]),
            3 => sink.put(&[first, second]),
            _ => {}
        }
        (self.bits, self.count) = (0, 0);
    }

    fn finish(&mut self, output: &mut [u8], faults: &mut Faults) -> usize {
        if self.count > 0 {
            faults.insert(Fault::Base64Cut);
        }
        let mut sink = Sink::new(output);
        self.flush(&mut sink);
        sink.written
    }
}

/// Decodes groups of four letters, line ends between them included, as long as there is nothing else.
fn groups<'i>(input: &'i [u8], sink: &mut Sink<'_>) -> &'i [u8] {
    let mut rest = input;
    while let [a, b, c, d, behind @ ..] = rest {
        let (a, b, c, d) = (mark(*a), mark(*b), mark(*c), mark(*d));
        if (a | b | c | d) >= PAD {
            // The marks have bits that no sextet has, so this is one of them.
            match rest {
                [b'\r', b'\n', behind @ ..] | [b'\n', behind @ ..] => {
                    rest = behind;
                    continue;
                }
                _ => break,
            }
        }
        if sink.room() < 3 {
            break;
        }
        let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        let [_, group @ ..] = bits.to_be_bytes();
        sink.put(&group);
        rest = behind;
    }
    rest
}

/// Quoted-printable between two calls.
#[derive(Clone, Debug, Default)]
struct Quoted {
    /// An `=` and what came behind it, not decided yet: a hexadecimal digit, or blanks before a line
    /// end.
    held: Vec<u8>,
}

/// What an escape turns out to be.
enum Escape {
    Octet(u8),
    /// A soft line break: nothing.
    Break,
    /// No escape; what was held stands as it is.
    None,
    Undecided,
}

/// Blanks behind an `=` that are waited with for a line end.
const HELD_MAX: usize = ROOM_MIN / 4;

impl Quoted {
    fn decode(&mut self, input: &[u8], output: &mut [u8], faults: &mut Faults) -> Step {
        let mut sink = Sink::new(output);
        let mut rest = input;
        while !rest.is_empty() && sink.room() >= ROOM_MIN / 2 {
            if self.held.is_empty() {
                rest = literal(rest, &mut sink);
                if let [b'=', behind @ ..] = rest {
                    self.held.push(b'=');
                    rest = behind;
                }
                continue;
            }
            let [octet, behind @ ..] = rest else { break };
            self.held.push(*octet);
            rest = behind;
            match escape(&self.held) {
                Escape::Undecided => continue,
                Escape::Octet(octet) => sink.put(&[octet]),
                Escape::Break => {}
                Escape::None => {
                    faults.insert(Fault::QuotedJunk);
                    // The octet that decided may be an `=` itself.
                    self.held.pop();
                    rest = input.get(input.len() - behind.len() - 1..).unwrap_or(behind);
                    sink.put(&self.held);
                }
            }
            self.held.clear();
        }
        Step { read: input.len() - rest.len(), written: sink.written }
    }

    fn finish(&mut self, output: &mut [u8], faults: &mut Faults) -> usize {
        let mut sink = Sink::new(output);
        // A single `=` at the end is a soft line break whose line end went with the delimiter.
        if self.held.len() > 1 && !self.held.iter().skip(1).all(u8::is_ascii_whitespace) {
            faults.insert(Fault::QuotedJunk);
            sink.put(&self.held);
        }
        self.held.clear();
        sink.written
    }
}

/// Copies text, and decodes escapes that are whole, up to an `=` that needs a closer look.
fn literal<'i>(input: &'i [u8], sink: &mut Sink<'_>) -> &'i [u8] {
    let mut rest = input;
    while sink.room() >= ROOM_MIN / 2 {
        let window = rest.get(..sink.room()).unwrap_or(rest);
        let end = memchr::memchr(b'=', window).unwrap_or(window.len());
        let (text, behind) = rest.split_at_checked(end).unwrap_or((rest, b""));
        sink.put(text);
        rest = behind;
        let [b'=', first, second, behind @ ..] = rest else { break };
        match (hex_pair(*first, *second), [first, second]) {
            (Some(octet), _) if sink.room() > 0 => sink.put(&[octet]),
            (None, [b'\r', b'\n']) => {}
            _ => break,
        }
        rest = behind;
    }
    rest
}

fn escape(held: &[u8]) -> Escape {
    match held {
        [b'=', b'\n'] | [b'=', .., b'\r', b'\n'] => Escape::Break,
        [b'=', high, low] if high.is_ascii_hexdigit() => {
            hex_pair(*high, *low).map_or(Escape::None, Escape::Octet)
        }
        [b'=', high] if high.is_ascii_hexdigit() => Escape::Undecided,
        [b'=', blanks @ .., last] if blanks.iter().all(|octet| matches!(octet, b' ' | b'\t')) => {
            match last {
                b'\n' => Escape::Break,
                b' ' | b'\t' | b'\r' if held.len() < HELD_MAX => Escape::Undecided,
                _ => Escape::None,
            }
        }
        _ => Escape::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in pieces of that size.
    fn decode(encoding: Encoding, text: &[u8], size: usize) -> (Vec<u8>, Faults) {
        let mut decoder = Decoder::new(encoding);
        let (mut out, mut buffer) = (Vec::new(), [0; ROOM_MIN]);
        for mut piece in text.chunks(size) {
            while !piece.is_empty() {
                let step = decoder.decode(piece, &mut buffer);
                assert!(step.read > 0);
                out.extend_from_slice(&buffer[..step.written]);
                piece = &piece[step.read..];
            }
        }
        let written = decoder.finish(&mut buffer);
        out.extend_from_slice(&buffer[..written]);
        (out, decoder.faults())
    }

    #[test]
    fn lax_as_clients() {
        use Encoding::{Base64, Identity, QuotedPrintable};
        let rows: &[(Encoding, &str, &str, &[Fault])] = &[
            (Identity, "a=3D", "a=3D", &[]),
            (Base64, "", "", &[]),
            (Base64, "YWJj", "abc", &[]),
            (Base64, "YW\r\nJjZA==\r\n", "abcd", &[]),
            (Base64, " Y W\tJj\n", "abc", &[]),
            (Base64, "YWI=", "ab", &[]),
            (Base64, "YWI", "ab", &[Fault::Base64Cut]),
            (Base64, "YWJjZ", "abc", &[Fault::Base64Cut]),
            (Base64, "Y!W-J_j", "abc", &[Fault::Base64Junk]),
            (Base64, "YQ==YWJj", "aabc", &[Fault::Base64Padding]),
            // One letter before the padding makes no octet, and what follows begins anew.
            (Base64, "Y=WJj", "X\u{98}", &[Fault::Base64Padding, Fault::Base64Cut]),
            (Base64, "====YWJj", "abc", &[Fault::Base64Padding]),
            (QuotedPrintable, "a=3Db=3db", "a=b=b", &[]),
            (QuotedPrintable, "a=\r\nb=\nc= \t\r\nd", "abcd", &[]),
            (QuotedPrintable, "a=\r\n\r\nb", "a\r\nb", &[]),
            (QuotedPrintable, "a=", "a", &[]),
            (QuotedPrintable, "a= ", "a", &[]),
            (QuotedPrintable, "a=ZZ=4x=4", "a=ZZ=4x=4", &[Fault::QuotedJunk]),
            (QuotedPrintable, "==3D=", "==", &[Fault::QuotedJunk]),
            (QuotedPrintable, "a=  b", "a=  b", &[Fault::QuotedJunk]),
            (QuotedPrintable, "a \r\n_?", "a \r\n_?", &[]),
        ];
        for (encoding, text, want, faults) in rows {
            for size in 1..=text.len().max(1) {
                let (out, found) = decode(*encoding, text.as_bytes(), size);
                // The rows' characters stand for one octet each.
                let out: String = out.iter().map(|octet| char::from(*octet)).collect();
                assert_eq!(out, *want, "{text:?}");
                assert_eq!(found.iter().collect::<Vec<_>>(), *faults, "{text:?}");
            }
        }
        // Blanks behind an equals sign are waited with for a while only.
        let blanks = format!("a={}\r\nb", " ".repeat(100));
        assert_eq!(decode(QuotedPrintable, blanks.as_bytes(), 7).0, blanks.as_bytes());
    }

    #[test]
    fn labels() {
        use Encoding::{Base64, Identity, QuotedPrintable, Uuencode};
        let rows: &[(&str, Option<Encoding>)] = &[
            (" 7bit\r\n", Some(Identity)),
            ("8-bit", Some(Identity)),
            ("8bits", Some(Identity)),
            ("BASE64;", Some(Base64)),
            ("\"base64\"", Some(Base64)),
            (" base64 (why)", Some(Base64)),
            ("quoted printable", Some(QuotedPrintable)),
            ("Quoted-Printable\r\n\t", Some(QuotedPrintable)),
            ("x-uuencode", Some(Uuencode)),
            ("x-gzip64", None),
            ("", None),
            ("spam", None),
        ];
        for (value, want) in rows {
            assert_eq!(Encoding::from_value(value.as_bytes()), *want, "{value:?}");
        }
    }
}
