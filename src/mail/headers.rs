//! Where the fields of a message are: an index of offsets into the header block.
//!
//! Attackers live from two programs that read one message differently: one sees a `From` field
//! where the other already sees the body. So there is a single reading, and everybody uses this
//! one: filters, signature checks, and (through `edit`) what is written out.
//!
//! * A field is `ftext+ [WSP]* ":"` up to its CR LF, with every following line that begins with
//!   a blank (RFC 5322 2.2.3). `From :` is the field `From` (RFC 5322 4.5).
//! * The first empty line ends the block and is the separator. A line that is neither a field nor
//!   a continuation ends it too; then there is no separator and that line is the body's first.
//! * An mbox line `From …` at the very top counts as the field `Mail-From`, as in qpsmtpd 0.96.
//!
//! The index costs 12 octets a field and copies nothing. Building it is linear: each octet of
//! the block is looked at once for its line end and once more if it belongs to a name.

mod part;

use crate::limits::{HEADER_BLOCK_MAX, HEADER_FIELDS_MAX};
pub(super) use part::{Garbage, PartHeader};

/// The name under which an mbox `From ` line at the top of a message is a field.
const MBOX_NAME: &[u8] = b"Mail-From";

/// Why a header block is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The block is longer than `HEADER_BLOCK_MAX` octets.
    TooLarge,
    /// The block holds more than `HEADER_FIELDS_MAX` fields.
    TooManyFields,
}

/// One field, borrowed from the message that it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'m> {
    /// The name as the sender spelt it, without blanks before the colon.
    pub name: &'m [u8],
    /// What stands behind the colon, with its folding, without the final CR LF.
    pub value: &'m [u8],
    /// The whole field as it stands in the message, with its final CR LF if it has one.
    pub raw: &'m [u8],
}

impl Field<'_> {
    /// Whether this is the field `name`; case does not matter (RFC 5322 1.2.2).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Offsets of one field. It ends where the next one starts, so its end is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    start: u32,
    /// Where the name ends; equal to `start` for the mbox line, which no real field can have.
    name_end: u32,
    /// Where the value starts; equal to `start` for lines that are no field (see `part`).
    value: u32,
}

/// The index of a message's header block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<Entry>,
    end: u32,
    /// Length of the empty line behind the block; 0 where there is none.
    separator: u8,
}

/// How much an index may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) octets: usize,
    pub(super) fields: usize,
}

impl Headers {
    /// Finds the fields of `message`, which has CR LF line ends and is not dot-stuffed.
    ///
    /// # Errors
    /// When the block is larger than the bounds in `limits`.
    pub fn index(message: &[u8]) -> Result<Headers, HeaderError> {
        let bounds = Bounds { octets: HEADER_BLOCK_MAX, fields: HEADER_FIELDS_MAX };
        Headers::index_within(message, bounds)
    }

    /// `index` with other bounds: a message that came in at the bound still gets our own fields.
    pub(super) fn index_within(message: &[u8], bounds: Bounds) -> Result<Headers, HeaderError> {
        let mut headers = Headers::default();
        let mut pos = 0;
        while let Some(rest) = message.get(pos..).filter(|rest| !rest.is_empty()) {
            match line_kind(rest, pos == 0) {
                Line::Empty => {
                    headers.separator = 2;
                    break;
                }
                Line::Continuation if !headers.entries.is_empty() => {}
                Line::Continuation | Line::Other => break,
                Line::Field { name, value } => {
                    if headers.entries.len() >= bounds.fields {
                        return Err(HeaderError::TooManyFields);
                    }
                    headers.entries.push(Entry {
                        start: offset(pos),
                        name_end: offset(pos + name),
                        value: offset(pos + value),
                    });
                }
            }
            pos += line_length(rest, bounds.octets.saturating_sub(pos))?;
        }
        headers.end = offset(pos);
        Ok(headers)
    }

    /// The same fields, as an index of the block alone: without separator and body.
    pub(super) fn block_only(self) -> Headers {
        Headers { separator: 0, ..self }
    }

    /// The offset of the first octet of the body.
    pub fn body(&self) -> usize {
        self.end() + usize::from(self.separator)
    }

    /// The offset where the last field ends; 0 when there is no field.
    pub fn end(&self) -> usize {
        self.end as usize
    }

    /// Whether an empty line stands between header and body.
    pub fn has_separator(&self) -> bool {
        self.separator > 0
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Field number `index`, from the top and from 0. `message` is what was indexed. None also for
    /// lines of a part that are no field.
    pub fn field<'m>(&self, message: &'m [u8], index: usize) -> Option<Field<'m>> {
        let entry = self.entries.get(index).filter(|entry| entry.value > entry.start)?;
        let end = self.entries.get(index + 1).map_or(self.end, |next| next.start);
        let raw = message.get(entry.start as usize..end as usize)?;
        let value = message.get(entry.value as usize..end as usize)?;
        let end = value.strip_suffix(b"\r\n").or_else(|| value.strip_suffix(b"\n"));
        let value = end.unwrap_or(value);
        let name = if entry.name_end == entry.start {
            MBOX_NAME
        } else {
            message.get(entry.start as usize..entry.name_end as usize)?
        };
        Some(Field { name, value, raw })
    }

    /// All fields from the top; `rev()` gives them from the bottom, as DKIM counts them
    /// (RFC 6376 5.4.2).
    pub fn iter<'m>(&self, message: &'m [u8]) -> impl DoubleEndedIterator<Item = Field<'m>> {
        (0..self.len()).filter_map(move |index| self.field(message, index))
    }

    /// All fields of one name, from the top.
    pub fn all<'m>(
        &self,
        message: &'m [u8],
        name: &str,
    ) -> impl DoubleEndedIterator<Item = Field<'m>> {
        self.iter(message).filter(move |field| field.is(name))
    }

    /// The topmost field of that name.
    pub fn first<'m>(&self, message: &'m [u8], name: &str) -> Option<Field<'m>> {
        self.all(message, name).next()
    }

    /// How many fields have that name.
    pub fn count(&self, message: &[u8], name: &str) -> usize {
        self.all(message, name).count()
    }
}

/// A field's value on one line: line ends taken out, blanks at both ends trimmed (RFC 5322 2.2.3).
pub fn unfold(value: &[u8]) -> Vec<u8> {
    let blank = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
    let start = value.iter().position(|octet| !blank(octet)).unwrap_or(value.len());
    let end = value.iter().rposition(|octet| !blank(octet)).map_or(start, |last| last + 1);
    let trimmed = value.get(start..end).unwrap_or_default();
    trimmed.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect()
}

/// Foreign text made fit for one header value or log line: printable ASCII, every other octet
/// (CR, LF, NUL and the other controls, 8-bit) a `?`, cut after `max` octets.
pub fn clean(text: &[u8], max: usize) -> String {
    text.iter()
        .take(max)
        .map(|&octet| if matches!(octet, b' '..=b'~') { octet as char } else { '?' })
        .collect()
}

/// `clean` that keeps well-formed UTF-8, except for controls, line separators and the marks that
/// change the writing direction. The cut at `max` octets never splits a character.
pub fn clean_utf8(text: &[u8], max: usize) -> String {
    let mut out = String::new();
    // One character has at most 4 octets, so this window is never the reason for a cut.
    let window = text.get(..max.saturating_add(4)).unwrap_or(text);
    for chunk in window.utf8_chunks() {
        let bad = chunk.invalid().iter().map(|_| '?');
        for char in chunk.valid().chars().map(harmless).chain(bad) {
            if out.len() + char.len_utf8() > max {
                return out;
            }
            out.push(char);
        }
    }
    out
}

/// The character itself, or `?` for one that can end a line or deceive the reader of one.
pub(super) fn harmless(char: char) -> char {
    match char {
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '?',
        char if char.is_control() => '?',
        char => char,
    }
}

/// What a line is, seen from the top of a header block.
enum Line {
    Empty,
    Continuation,
    /// Lengths from the start of the line to the end of the name and to the start of the value.
    Field {
        name: usize,
        value: usize,
    },
    Other,
}

fn line_kind(line: &[u8], first: bool) -> Line {
    if line.starts_with(b"\r\n") {
        return Line::Empty;
    }
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Line::Continuation;
    }
    let name = line.iter().take_while(|octet| is_ftext(**octet)).count();
    let after = line.get(name..).unwrap_or_default();
    let blanks = after.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    if name > 0 && after.get(blanks) == Some(&b':') {
        return Line::Field { name, value: name + blanks + 1 };
    }
    // The value of the mbox line keeps its blank, so that a colon takes the place of nothing.
    if first && line.starts_with(b"From ") {
        return Line::Field { name: 0, value: 4 };
    }
    Line::Other
}

/// The octets of a field name: printable ASCII without the colon (RFC 5322 3.6.8).
pub(super) fn is_ftext(octet: u8) -> bool {
    matches!(octet, b'!'..=b'9' | b';'..=b'~')
}

/// The length of the first line with its CR LF; all of `rest` when the message ends before one.
fn line_length(rest: &[u8], room: usize) -> Result<usize, HeaderError> {
    let window = rest.get(..room).unwrap_or(rest);
    for feed in memchr::memchr_iter(b'\n', window) {
        if window.get(..feed).is_some_and(|line| line.ends_with(b"\r")) {
            return Ok(feed + 1);
        }
    }
    if window.len() < rest.len() { Err(HeaderError::TooLarge) } else { Ok(rest.len()) }
}

/// An offset inside a header block. Blocks end far below 4 GiB, so nothing is ever cut here.
fn offset(pos: usize) -> u32 {
    u32::try_from(pos).unwrap_or(u32::MAX)
}

/// Checks on any input: no panic, the fields tile the block, and every field reads as itself.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let line = clean(data, 40);
    assert!(line.len() <= 40 && line.bytes().all(|octet| matches!(octet, b' '..=b'~')));
    let text = clean_utf8(data, 40);
    assert!(text.len() <= 40 && !text.contains(char::is_control));
    let Ok(headers) = Headers::index(data) else { return };
    assert!(headers.len() <= HEADER_FIELDS_MAX && headers.end() <= HEADER_BLOCK_MAX);
    assert!(headers.end() <= headers.body() && headers.body() <= data.len());
    let mut pos = 0;
    for field in headers.iter(data) {
        assert!(data.get(pos..).is_some_and(|rest| rest.starts_with(field.raw)));
        pos += field.raw.len();
        assert!(!field.name.is_empty() && field.name.iter().all(|octet| is_ftext(*octet)));
        assert!(!field.value.ends_with(b"\r\n"));
        assert!(!unfold(field.value).contains(&b'\n'));
    }
    assert_eq!(pos, headers.end());
    assert_eq!(headers.iter(data).count(), headers.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields as `name=value` joined by `|`, then the body; `-` before it when no separator.
    fn show(message: &[u8]) -> String {
        let headers = Headers::index(message).unwrap();
        let fields: Vec<String> = headers
            .iter(message)
            .map(|field| {
                let value = unfold(field.value);
                format!("{}={}", field.name.escape_ascii(), value.escape_ascii())
            })
            .collect();
        let mark = if headers.has_separator() { "" } else { "-" };
        format!("{} {mark}{}", fields.join("|"), message[headers.body()..].escape_ascii())
    }

    #[test]
    fn one_reading() {
        let rows: &[(&str, &str)] = &[
            ("", " -"),
            ("\r\n", " "),
            ("\r\nA: b\r\n", r" A: b\r\n"),
            ("A: b\r\n\r\nbody", "A=b body"),
            ("A: b\r\nB:c\r\n\r\n", "A=b|B=c "),
            ("A: b\r\n c\r\n\td\r\n\r\nx", r"A=b c\td x"),
            ("A: b\r\n \r\n\r\nx", "A=b x"),
            ("From : a\r\nFROM\t :b\r\n\r\n", "From=a|FROM=b "),
            ("From\r\n : a\r\n\r\n", r" -From\r\n : a\r\n\r\n"),
            ("From : a\r\n\r\n", "From=a "),
            ("From x@y Mon\r\nA: b\r\n\r\nz", "Mail-From=x@y Mon|A=b z"),
            ("From x\r\n y\r\n\r\nz", "Mail-From=x y z"),
            ("A: b\r\nFrom x@y Mon\r\n\r\nz", r"A=b -From x@y Mon\r\n\r\nz"),
            ("A: b\r\nno field\r\nC: d\r\n\r\n", r"A=b -no field\r\nC: d\r\n\r\n"),
            (" A: b\r\n\r\n", r" - A: b\r\n\r\n"),
            (": b\r\n\r\n", r" -: b\r\n\r\n"),
            ("A: b", "A=b -"),
            ("A: b\r\n", "A=b -"),
            ("A:\r\nB:\r\n\r\n", "A=|B= "),
            ("A: b\nC: d\r\n\r\n", "A=bC: d "),
            ("A: b\r\r\n\r\n", "A=b "),
            ("A\u{e9}: b\r\n\r\n", r" -A\xc3\xa9: b\r\n\r\n"),
            ("just text\r\n\r\nmore", r" -just text\r\n\r\nmore"),
            ("A: b\r\n.\r\n", r"A=b -.\r\n"),
        ];
        for (message, want) in rows {
            assert_eq!(&show(message.as_bytes()), want, "{message:?}");
            fuzz(message.as_bytes());
        }
    }

    #[test]
    fn looks_up_by_name() {
        let message = b"To: a\r\nReceived: 1\r\nto : b\r\nreceived: 2\r\n\r\n";
        let headers = Headers::index(message).unwrap();
        assert_eq!(headers.count(message, "TO"), 2);
        assert_eq!(headers.first(message, "received").unwrap().value, b" 1");
        assert_eq!(headers.all(message, "Received").next_back().unwrap().raw, b"received: 2\r\n");
        assert_eq!(headers.field(message, 2).unwrap().raw, b"to : b\r\n");
        assert!(headers.first(message, "Receive").is_none());
        // A message that was not the one indexed gives nothing, and no panic.
        assert_eq!(headers.iter(b"x").count(), 0);
    }

    #[test]
    fn bounds() {
        let rows: &[(String, Result<usize, HeaderError>)] = &[
            ("A: b\r\n".repeat(HEADER_FIELDS_MAX), Ok(6 * HEADER_FIELDS_MAX)),
            ("A: b\r\n".repeat(HEADER_FIELDS_MAX + 1), Err(HeaderError::TooManyFields)),
            (format!("A:{}\r\n", "x".repeat(HEADER_BLOCK_MAX - 4)), Ok(HEADER_BLOCK_MAX)),
            (format!("A:{}\r\n", "x".repeat(HEADER_BLOCK_MAX - 3)), Err(HeaderError::TooLarge)),
            (format!("A:{}", " b\r\n".repeat(HEADER_BLOCK_MAX)), Err(HeaderError::TooLarge)),
            (format!("A: b\r\n\r\n{}", "x".repeat(2 * HEADER_BLOCK_MAX)), Ok(6)),
            ("x".repeat(2 * HEADER_BLOCK_MAX), Ok(0)),
        ];
        for (message, want) in rows {
            let end = Headers::index(message.as_bytes()).map(|headers| headers.end());
            assert_eq!(end, *want, "{} octets", message.len());
        }
        assert_eq!(size_of::<Entry>(), 12);
    }

    #[test]
    fn cleans() {
        let rows: &[(&[u8], usize, &str, &str)] = &[
            (b"mail.example", 40, "mail.example", "mail.example"),
            (b"a\r\nX: y\0\x7f\t", 40, "a??X: y???", "a??X: y???"),
            ("gr\u{fc}n".as_bytes(), 40, "gr??n", "gr\u{fc}n"),
            ("gr\u{fc}n".as_bytes(), 3, "gr?", "gr"),
            (b"a\xffb\xc3", 40, "a?b?", "a?b?"),
            ("a\u{2028}b\u{85}".as_bytes(), 40, "a???b??", "a?b?"),
            (b"abcdef", 3, "abc", "abc"),
            (b"abcdef", 0, "", ""),
        ];
        for (text, max, ascii, utf8) in rows {
            assert_eq!((&*clean(text, *max), &*clean_utf8(text, *max)), (*ascii, *utf8));
        }
    }

    #[test]
    fn unfolds() {
        let rows: &[(&[u8], &[u8])] =
            &[(b"", b""), (b" \r\n ", b""), (b" a\r\n b \r\n", b"a b"), (b"\ta\r\n\tb", b"a\tb")];
        for (value, want) in rows {
            assert_eq!(unfold(value), *want);
        }
    }
}
