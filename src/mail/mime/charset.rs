//! Text in the charsets of mail, made UTF-8 in bounded steps.
//!
//! `encoding_rs` has the tables of the web, and takes the names that browsers take. Mail has one more:
//! UTF-7 (RFC 2152), which browsers dropped and mail clients still open.

use encoding_rs::{CoderResult, EncoderResult, Encoding, WINDOWS_1252};

/// Most octets of UTF-8 that one call to [`Decoder::decode`] may need room for.
pub const ROOM_MIN: usize = 16;

/// Text in one charset, on its way to UTF-8.
pub struct Decoder(State);

enum State {
    /// UTF-8, ASCII, or no charset named: handed on as it is.
    Plain,
    Table(Box<encoding_rs::Decoder>),
    Utf7(Utf7),
    /// All was decoded.
    Done,
}

/// What one call to [`Decoder::decode`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Octets of the input that are done with.
    pub read: usize,
    /// Octets of the output that were written.
    pub written: usize,
    /// The whole input was decoded; otherwise the output was too small for the rest.
    pub done: bool,
}

impl Decoder {
    /// For the charset of that name; none if nobody knows it. An empty name is ASCII, the default of
    /// RFC 2045 section 5.2.
    pub fn new(label: &[u8]) -> Option<Decoder> {
        let label = label.trim_ascii();
        let is = |name: &str| label.eq_ignore_ascii_case(name.as_bytes());
        if is("") || is("us-ascii") || is("ascii") || is("utf-8") || is("utf8") {
            return Some(Decoder(State::Plain));
        }
        if is("utf-7") || is("unicode-1-1-utf-7") || is("utf7") {
            return Some(Decoder(State::Utf7(Utf7::default())));
        }
        let table = Encoding::for_label_no_replacement(label).or_else(|| code_page(label))?;
        Some(Decoder(State::Table(Box::new(table.new_decoder_with_bom_removal()))))
    }

    /// For text that is handed on as it is.
    pub fn plain() -> Decoder {
        Decoder(State::Plain)
    }

    /// Whether the text is UTF-8 as it stands and need not go through [`Decoder::decode`].
    pub fn is_plain(&self) -> bool {
        matches!(self.0, State::Plain)
    }

    /// Makes `input` UTF-8, as much as `output` has room for, which must be at least [`ROOM_MIN`].
    /// What is no character becomes U+FFFD. `last` says that nothing comes behind `input`.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Step {
        match &mut self.0 {
            State::Plain => {
                let count = input.len().min(output.len());
                if let (Some(from), Some(to)) = (input.get(..count), output.get_mut(..count)) {
                    to.copy_from_slice(from);
                }
                Step { read: count, written: count, done: count == input.len() }
            }
            State::Table(decoder) => {
                let (result, read, written, _) = decoder.decode_to_utf8(input, output, last);
                let done = result == CoderResult::InputEmpty;
                if done && last {
                    // It must not be asked again.
                    self.0 = State::Done;
                }
                Step { read, written, done }
            }
            State::Utf7(decoder) => {
                let (read, written) = decoder.decode(input, output);
                Step { read, written, done: read == input.len() }
            }
            State::Done => Step { read: input.len(), written: 0, done: true },
        }
    }
}

/// Names with a number of Windows that `encoding_rs` does not have, as old Outlook wrote them.
fn code_page(label: &[u8]) -> Option<&'static Encoding> {
    let digits = label.iter().position(u8::is_ascii_digit)?;
    let (prefix, number) = label.split_at_checked(digits)?;
    let prefix = prefix.to_ascii_lowercase();
    if !matches!(
        prefix.as_slice(),
        b"cp" | b"cp-" | b"windows" | b"win" | b"win-" | b"ms" | b"x-cp"
    ) {
        return None;
    }
    let name: &[u8] = match number {
        b"932" => b"shift_jis",
        b"936" => b"gbk",
        b"949" => b"euc-kr",
        b"950" => b"big5",
        b"65001" => b"utf-8",
        number => return Encoding::for_label(&[b"windows-", number].concat()),
    };
    Encoding::for_label(name)
}

/// A short text at once, cut at `max` octets and a character, and whether its charset is known. An
/// unknown one is read as UTF-8 or Windows-1252.
pub fn decode_whole(label: &[u8], octets: &[u8], max: usize) -> (String, bool) {
    let mut text = String::new();
    let Some(mut decoder) = Decoder::new(label) else {
        push_guessed(octets.get(..max).unwrap_or(octets), &mut text);
        return (text, false);
    };
    if decoder.is_plain() {
        push_lossy(octets.get(..max).unwrap_or(octets), &mut text);
        return (text, true);
    }
    let mut buffer = [0; 1_024];
    let mut rest = octets;
    loop {
        let step = decoder.decode(rest, &mut buffer, true);
        push_lossy(buffer.get(..step.written).unwrap_or_default(), &mut text);
        rest = rest.get(step.read..).unwrap_or_default();
        if step.done || text.len() > max {
            return (text, true);
        }
    }
}

/// Text in the charset of that name, for who adds it to a body; None where the charset is unknown, is not
/// one that extends ASCII, or has no place for some character. An empty name is ASCII.
pub fn encode(label: &[u8], text: &str) -> Option<Vec<u8>> {
    let label = label.trim_ascii().to_ascii_lowercase();
    if matches!(label.as_slice(), b"" | b"us-ascii" | b"ascii") {
        return text.is_ascii().then(|| text.as_bytes().to_vec());
    }
    let table = Encoding::for_label_no_replacement(&label).or_else(|| code_page(&label))?;
    if !table.is_ascii_compatible() {
        return None;
    }
    let mut encoder = table.new_encoder();
    let room = encoder.max_buffer_length_from_utf8_without_replacement(text.len())?;
    let mut octets = vec![0; room];
    let (result, _, written) =
        encoder.encode_from_utf8_without_replacement(text, &mut octets, true);
    octets.truncate(written);
    let unmappable = result != EncoderResult::InputEmpty;
    // The web takes ISO 8859-1 for Windows-1252, and some others so too. Mail does not, and has nothing
    // but controls between 0x80 and 0x9f there.
    let named = label.windows(3).any(|it| matches!(it, b"125" | b"874" | b"866"));
    let extra = |octet: &u8| (0x80..0xa0).contains(octet);
    let borrowed = table.is_single_byte() && !named && table.name().starts_with("windows-");
    let lost = unmappable || (borrowed && octets.iter().any(extra));
    (!lost).then_some(octets)
}

fn push_lossy(octets: &[u8], text: &mut String) {
    text.push_str(&String::from_utf8_lossy(octets));
}

/// Octets of an unknown charset: what is UTF-8 is taken for it, the rest for Windows-1252.
pub fn push_guessed(octets: &[u8], text: &mut String) {
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            // At most three octets, of which each makes at most three.
            let mut guess = [0; 3 * ROOM_MIN];
            let mut decoder = WINDOWS_1252.new_decoder_without_bom_handling();
            let (_, _, written, _) = decoder.decode_to_utf8(chunk.invalid(), &mut guess, true);
            push_lossy(guess.get(..written).unwrap_or_default(), text);
        }
    }
}

/// UTF-7 (RFC 2152): ASCII, and UTF-16 in base64 between `+` and the first octet that is none.
#[derive(Default)]
struct Utf7 {
    shifted: bool,
    /// Nothing has come since the `+`.
    fresh: bool,
    bits: u32,
    count: u32,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

impl Utf7 {
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> (usize, usize) {
        let mut written = 0;
        for (at, octet) in input.iter().copied().enumerate() {
            // One octet makes at most a U+FFFD for a lone surrogate and one character.
            if output.len() - written < ROOM_MIN {
                return (at, written);
            }
            for char in self.take(octet).into_iter().flatten() {
                let mut utf8 = [0; 4];
                let utf8 = char.encode_utf8(&mut utf8).as_bytes();
                if let Some(place) = output.get_mut(written..written + utf8.len()) {
                    place.copy_from_slice(utf8);
                    written += utf8.len();
                }
            }
        }
        (input.len(), written)
    }

    fn take(&mut self, octet: u8) -> [Option<char>; 2] {
        if !self.shifted {
            if octet == b'+' {
                *self = Utf7 { shifted: true, fresh: true, ..Utf7::default() };
                return [None, None];
            }
            return [Some(ascii(octet)), None];
        }
        let fresh = std::mem::take(&mut self.fresh);
        if let Some(sextet) = super::transfer::sextet(octet) {
            self.bits = self.bits << 6 | u32::from(sextet);
            self.count += 6;
            if self.count < 16 {
                return [None, None];
            }
            self.count -= 16;
            // Cut to the 16 bits that were just completed.
            let unit = (self.bits >> self.count) as u16;
            self.bits &= (1 << self.count) - 1;
            return self.unit(unit);
        }
        let lost = self.high.take().map(|_| char::REPLACEMENT_CHARACTER);
        self.shifted = false;
        match octet {
            b'-' if fresh => [Some('+'), None],
            b'-' => [lost, None],
            _ => [lost, Some(ascii(octet))],
        }
    }

    fn unit(&mut self, unit: u16) -> [Option<char>; 2] {
        let high = self.high.take();
        let lost = high.map(|_| char::REPLACEMENT_CHARACTER);
        match (high, unit) {
            (_, 0xd800..=0xdbff) => {
                self.high = Some(unit);
                [lost, None]
            }
            (Some(high), 0xdc00..=0xdfff) => {
                let pair = char::decode_utf16([high, unit]).next().and_then(Result::ok);
                [Some(pair.unwrap_or(char::REPLACEMENT_CHARACTER)), None]
            }
            _ => {
                let char = char::from_u32(u32::from(unit));
                [lost, Some(char.unwrap_or(char::REPLACEMENT_CHARACTER))]
            }
        }
    }
}

fn ascii(octet: u8) -> char {
    if octet.is_ascii() { char::from(octet) } else { char::REPLACEMENT_CHARACTER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        let rows: &[(&str, &[u8], &str)] = &[
            ("", b"a\xc3\xa9", "a\u{e9}"),
            (" US-ASCII ", b"a\xff", "a\u{fffd}"),
            ("iso-8859-1", b"caf\xe9 \x80", "caf\u{e9} \u{20ac}"),
            ("CP1252", b"\x80", "\u{20ac}"),
            ("cp-850", b"\x80", "\u{20ac}"),
            ("win-1251", b"\xc0", "\u{410}"),
            ("cp936", b"\xd6\xd0", "\u{4e2d}"),
            ("cp65001", b"\xc3\xa9", "\u{e9}"),
            ("shift_jis", b"\x93\xfa\x96{", "\u{65e5}\u{672c}"),
            ("iso-2022-jp", b"\x1b$BF|\x1b(B", "\u{65e5}"),
            ("utf-16le", b"a\0b\0c", "ab\u{fffd}"),
            ("utf-7", b"1 +AOk-x +- +2D3eAA. +AOkA6Q", "1 \u{e9}x + \u{1f600}. \u{e9}\u{e9}"),
            ("utf-7", b"+2D0-a+3gA-\xff", "\u{fffd}a\u{fffd}\u{fffd}"),
            ("iso-2022-kr", b"a", "a"),
            ("x-unknown", b"caf\xc3\xa9 \xe9", "caf\u{e9} \u{e9}"),
        ];
        for (label, octets, want) in rows {
            let (text, known) = decode_whole(label.as_bytes(), octets, 100);
            assert_eq!(text, *want, "{label}");
            let unknown = matches!(*label, "x-unknown" | "iso-2022-kr" | "cp-850");
            assert_eq!(known, !unknown, "{label}");
        }
    }

    /// However the input is cut and however small the output is, the text is the same.
    #[test]
    fn steps_do_not_show() {
        let texts: &[(&str, &[u8])] = &[
            ("utf-7", b"1 +AOk-x +- +2D3eAA. +AOkA6Q"),
            ("iso-2022-jp", b"a\x1b$BF|K\\\x1b(Bb"),
            ("gb18030", b"a\x81\x30\x81\x30\xd6\xd0\x81"),
            ("utf-16be", b"\xd8\x3d\xde\0\0a\xd8"),
        ];
        for (label, octets) in texts {
            let (want, _) = decode_whole(label.as_bytes(), octets, 1_000);
            for size in 1..octets.len() {
                let mut decoder = Decoder::new(label.as_bytes()).unwrap();
                let (mut text, mut output) = (Vec::new(), [0; ROOM_MIN]);
                for (index, piece) in octets.chunks(size).enumerate() {
                    let (last, mut rest) = ((index + 1) * size >= octets.len(), piece);
                    loop {
                        let step = decoder.decode(rest, &mut output, last);
                        text.extend_from_slice(&output[..step.written]);
                        rest = &rest[step.read..];
                        if step.done {
                            break;
                        }
                    }
                }
                assert_eq!(String::from_utf8(text).unwrap(), want, "{label} {size}");
            }
        }
    }

    #[test]
    fn encodes() {
        let rows: &[(&str, &str, Option<&[u8]>)] = &[
            ("", "a", Some(b"a")),
            ("US-ASCII", "\u{e9}", None),
            ("utf-8", "\u{e9}", Some(b"\xc3\xa9")),
            ("iso-8859-1", "\u{e9}", Some(b"\xe9")),
            ("iso-8859-1", "\u{20ac}", None),
            ("iso-8859-15", "\u{20ac}", Some(b"\xa4")),
            ("CP1252", "\u{20ac}", Some(b"\x80")),
            ("koi8-r", "\u{410}", Some(b"\xe1")),
            ("iso-8859-2", "\u{410}", None),
            ("gb18030", "\u{4e2d}", Some(b"\xd6\xd0")),
            ("iso-2022-jp", "a", None),
            ("utf-16le", "a", None),
            ("utf-7", "a", None),
            ("x-unknown", "a", None),
        ];
        for (label, text, want) in rows {
            assert_eq!(encode(label.as_bytes(), text).as_deref(), *want, "{label} {text}");
        }
    }
}
