//! The values of Content-Type and Content-Disposition, read as mail clients read them.
//!
//! `type/subtype; name=value; …` (RFC 2045 section 5.1, RFC 2183), with what real mail makes of it:
//! comments and folds anywhere, no semicolons, no quotes, blanks in unquoted values, quotes that do
//! not end, encoded words in values (RFC 2047 section 5 forbids them, every client reads them), and
//! continuations and charsets by RFC 2231, in any order and with gaps.
//!
//! Where clients differ in what a parameter's value is, all readings are kept, the likeliest first:
//! a boundary or a file name that only some clients see must not escape who looks for it.

use super::{Fault, Faults, charset, words};

/// Parameters of a field that are looked at, continuations counted; a file name of 32 KiB in lines of
/// 78 octets needs 420.
const PARAMETERS_MAX: usize = 500;

/// Octets of a decoded value that are kept.
pub(super) const VALUE_MAX: usize = 32 * 1_024;

/// Octets of a type or disposition that are kept (RFC 6838 section 4.2 allows 127 + 1 + 127).
const HEAD_MAX: usize = 255;

/// A field with parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    head: String,
    parameters: Vec<Parameter>,
    faults: Faults,
}

/// One reading of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The name in lower case, without the marks of RFC 2231.
    pub name: String,
    /// The value, decoded.
    pub value: String,
    /// Another reading than the likeliest.
    pub other: bool,
    /// Written by RFC 2231; such a value comes before one that is not.
    pub extended: bool,
}

/// A parameter as it is written, before continuations are joined.
struct Segment<'v> {
    name: &'v [u8],
    /// The number behind the first `*`.
    number: Option<u32>,
    /// A `*` at the end: the value has a charset and octets as `%XX`.
    extended: bool,
    value: Vec<u8>,
    /// What other clients read, where they do.
    other: Option<Vec<u8>>,
}

impl Field {
    /// Reads a value as it stands in the message, folds included.
    pub fn parse(value: &[u8]) -> Field {
        let text = unfolded(value);
        let mut reader = Reader { rest: &text, open_comment: false };
        let mut field = Field { head: reader.head(), ..Field::default() };
        let mut segments = Vec::new();
        while let Some(segment) = reader.segment(&mut field.faults) {
            if segments.len() >= PARAMETERS_MAX {
                field.faults.insert(Fault::ManyParameters);
                break;
            }
            segments.push(segment);
        }
        field.join(&segments);
        field
    }

    /// `type/subtype` or the disposition, in lower case, without blanks and comments. Empty where the
    /// field has none.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// The type before the slash.
    pub fn main_type(&self) -> &str {
        self.head.split('/').next().unwrap_or_default()
    }

    /// The likeliest value of a parameter: RFC 2231 before plain, the first before the next.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let likely = || self.parameters.iter().filter(|p| p.name == name && !p.other);
        likely().find(|p| p.extended).or_else(|| likely().next()).map(|p| p.value.as_str())
    }

    /// Every reading of a parameter.
    pub fn readings(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parameters.iter().filter(move |p| p.name == name).map(|p| p.value.as_str())
    }

    /// All parameters, in the order of their first appearance.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// What is wrong with the field.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Joins continuations (RFC 2231 section 3) and decodes (section 4).
    fn join(&mut self, segments: &[Segment<'_>]) {
        let mut order: Vec<&Segment<'_>> = segments.iter().collect();
        // Stable: pieces with the same number stay in the order they came.
        order.sort_by_key(|segment| segment.number);
        for (index, segment) in segments.iter().enumerate() {
            let name = lower(segment.name);
            if segment.number.is_none() {
                let value = decode(&[segment], segment.extended, &mut self.faults);
                self.push(&name, value, false, segment.extended);
                if let Some(other) = &segment.other {
                    let value = plain(other, &mut self.faults);
                    self.push(&name, value, true, false);
                }
                continue;
            }
            let same =
                |s: &&Segment<'_>| s.number.is_some() && s.name.eq_ignore_ascii_case(segment.name);
            if segments.iter().take(index).any(|s| same(&s)) {
                continue;
            }
            let pieces: Vec<&Segment<'_>> = order.iter().copied().filter(same).collect();
            self.push_pieces(&name, &pieces);
        }
    }

    /// One value in numbered pieces. Some clients stop at a gap, others join over it.
    fn push_pieces(&mut self, name: &str, pieces: &[&Segment<'_>]) {
        let whole = pieces
            .iter()
            .zip(0_u32..)
            .take_while(|(piece, number)| piece.number == Some(*number))
            .count();
        let extended = pieces.iter().any(|piece| piece.extended);
        let value = decode(pieces, extended, &mut self.faults);
        self.push(name, value, false, true);
        if whole < pieces.len() {
            self.faults.insert(Fault::ParameterGap);
            let value = decode(pieces.get(..whole).unwrap_or_default(), extended, &mut self.faults);
            self.push(name, value, true, true);
        }
    }

    fn push(&mut self, name: &str, value: String, other: bool, extended: bool) {
        if self.parameters.iter().any(|p| p.name == name && !p.other && !other) {
            self.faults.insert(Fault::ParameterTwice);
        }
        let name = name.to_string();
        self.parameters.push(Parameter { name, value, other, extended });
    }
}

/// The value without its line ends; blanks of folds stay.
fn unfolded(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect()
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// The text of one value, of one or more pieces.
fn decode(pieces: &[&Segment<'_>], extended: bool, faults: &mut Faults) -> String {
    let mut octets = Vec::new();
    let mut label: &[u8] = b"";
    for (index, piece) in pieces.iter().enumerate() {
        let mut value = piece.value.as_slice();
        if index == 0
            && extended
            && let Some((charset, text)) = charset_prefix(value)
        {
            (label, value) = (charset, text);
        }
        if piece.extended {
            percent_decode(value, &mut octets);
        } else {
            octets.extend(value);
        }
        if octets.len() > VALUE_MAX {
            octets.truncate(VALUE_MAX);
            faults.insert(Fault::ManyParameters);
            break;
        }
    }
    if extended && !label.is_empty() {
        let (text, known) = charset::decode_whole(label, &octets, VALUE_MAX);
        if !known {
            faults.insert(Fault::UnknownCharset);
        }
        return text;
    }
    plain(&octets, faults)
}

/// A value that is not extended: encoded words, or octets in whatever charset.
fn plain(value: &[u8], faults: &mut Faults) -> String {
    if !value.is_ascii() {
        faults.insert(Fault::EightBitHeader);
    }
    words::decode(value, VALUE_MAX)
}

/// `charset'language'` before an extended value.
fn charset_prefix(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = value.splitn(3, |octet| *octet == b'\'');
    let (charset, _language, text) = (parts.next()?, parts.next()?, parts.next()?);
    Some((charset, text))
}

/// Appends with `%XX` made octets; a `%` without two hexadecimal digits stays.
pub(in crate::mail) fn percent_decode(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(percent) = memchr::memchr(b'%', rest) {
        let (before, behind) = rest.split_at_checked(percent).unwrap_or((rest, b""));
        out.extend_from_slice(before);
        let octet = match behind {
            [_, high, low, ..] => hex_pair(*high, *low),
            _ => None,
        };
        out.push(octet.unwrap_or(b'%'));
        rest = behind.get(if octet.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// The octet that two hexadecimal digits stand for.
pub(super) fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |octet: u8| (octet as char).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Walks over a value. Everything it skips or takes is gone from `rest`, so it ends.
struct Reader<'v> {
    rest: &'v [u8],
    /// A comment was seen that does not end; so as not to look for its end again, no more are.
    open_comment: bool,
}

impl<'v> Reader<'v> {
    /// What stands before the parameters, without blanks and comments.
    fn head(&mut self) -> String {
        let mut head = self.word(b"/;");
        // A slash with nothing before it makes no type.
        let none = head.is_empty();
        if self.rest.starts_with(b"/") {
            self.skip(1);
            let subtype = self.word(b";");
            head.push(b'/');
            head.extend(subtype);
        }
        head.truncate(if none { 0 } else { HEAD_MAX });
        lower(head.strip_suffix(b"/").unwrap_or(&head))
    }

    /// A word with the blanks and comments around it.
    fn word(&mut self, ends: &[u8]) -> Vec<u8> {
        self.skip_blanks();
        let stop = |octet: &u8| matches!(octet, b' ' | b'\t' | b'(') || ends.contains(octet);
        let word = self.take(self.rest.iter().position(stop));
        self.skip_blanks();
        word.to_vec()
    }

    /// The next parameter that has a value.
    fn segment(&mut self, faults: &mut Faults) -> Option<Segment<'v>> {
        loop {
            self.skip_blanks();
            if self.rest.is_empty() {
                return None;
            }
            if self.rest.starts_with(b";") {
                self.skip(1);
                continue;
            }
            let stop = |octet: &u8| matches!(octet, b' ' | b'\t' | b'(' | b'=' | b';');
            let name = self.take(self.rest.iter().position(stop));
            self.skip_blanks();
            if !self.rest.starts_with(b"=") {
                // A word without a value. A lone `(` was taken for a comment, so this goes on.
                continue;
            }
            self.skip(1);
            let (value, other) = self.value(faults);
            let (base, number, extended) = marks(name);
            // Nothing can be looked up by a name that is not there.
            if !base.is_empty() {
                return Some(Segment { name: base, number, extended, value, other });
            }
        }
    }

    fn value(&mut self, faults: &mut Faults) -> (Vec<u8>, Option<Vec<u8>>) {
        self.skip(blanks(self.rest));
        if self.rest.starts_with(b"\"") { self.quoted(faults) } else { self.unquoted(faults) }
    }

    /// A quoted string. Text that follows without a blank belongs to the value for some clients.
    fn quoted(&mut self, faults: &mut Faults) -> (Vec<u8>, Option<Vec<u8>>) {
        self.skip(1);
        let mut value = Vec::new();
        loop {
            match self.rest {
                [] => {
                    faults.insert(Fault::OpenQuote);
                    return (value, None);
                }
                [b'"', ..] => break,
                [b'\\', octet, rest @ ..] | [octet, rest @ ..] => {
                    value.push(*octet);
                    self.rest = rest;
                }
            }
        }
        self.skip(1);
        let stop = |octet: &u8| matches!(octet, b' ' | b'\t' | b'(' | b';');
        let tail = self.take(self.rest.iter().position(stop));
        if tail.is_empty() {
            return (value, None);
        }
        faults.insert(Fault::ParameterTail);
        let other = [value.as_slice(), tail].concat();
        (value, Some(other))
    }

    /// A value without quotes. It ends at the semicolon, or where `name=` begins after a blank; for
    /// some clients at the first blank.
    fn unquoted(&mut self, faults: &mut Faults) -> (Vec<u8>, Option<Vec<u8>>) {
        let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
        let window = self.rest.get(..end).unwrap_or(self.rest);
        let next = memchr::memchr2_iter(b' ', b'\t', window)
            // The first blank of a row speaks for all, or rows of blanks would cost their square.
            .filter(|at| !at.checked_sub(1).and_then(|at| window.get(at)).is_some_and(is_blank))
            .find(|at| window.get(*at..).is_some_and(starts_parameter));
        let long = self.take(Some(next.unwrap_or(end))).trim_ascii_end();
        let Some(blank) = memchr::memchr3(b' ', b'\t', b'(', long) else {
            return (long.to_vec(), None);
        };
        faults.insert(Fault::UnquotedBlank);
        let short = long.get(..blank).unwrap_or(long);
        let comment = long.get(blank..).unwrap_or_default().trim_ascii_start().starts_with(b"(");
        if comment {
            (short.to_vec(), Some(long.to_vec()))
        } else {
            (long.to_vec(), Some(short.to_vec()))
        }
    }

    /// Takes what stands before `end`, or all.
    fn take(&mut self, end: Option<usize>) -> &'v [u8] {
        let end = end.unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, b""));
        self.rest = rest;
        taken
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// Skips blanks and comments (RFC 5322 section 3.2.2). Of a comment that does not end only the
    /// bracket is skipped.
    fn skip_blanks(&mut self) {
        loop {
            self.skip(blanks(self.rest));
            if !self.rest.starts_with(b"(") {
                return;
            }
            let length = if self.open_comment { None } else { comment(self.rest) };
            self.open_comment |= length.is_none();
            self.skip(length.unwrap_or(1));
        }
    }
}

fn is_blank(octet: &u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|octet| is_blank(octet)).count()
}

/// The length of a comment, nested ones included.
fn comment(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut octets = text.iter().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'\\' => {
                octets.next();
            }
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Whether a blank is followed by `name=`. The `=` of an encoded word is none.
fn starts_parameter(text: &[u8]) -> bool {
    let text = text.get(blanks(text)..).unwrap_or_default();
    let is_name = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'*');
    let name = text.iter().take_while(|octet| is_name(octet)).count();
    let behind = text.get(name..).unwrap_or_default();
    let behind = behind.get(blanks(behind)..).unwrap_or_default();
    name > 0 && behind.starts_with(b"=") && !behind.starts_with(b"=?")
}

/// `name*1*` is the name, the number 1, and extended.
fn marks(name: &[u8]) -> (&[u8], Option<u32>, bool) {
    let Some(star) = memchr::memchr(b'*', name) else { return (name, None, false) };
    let (base, marks) = name.split_at_checked(star).unwrap_or((name, b""));
    let marks = marks.get(1..).unwrap_or_default();
    let digits = marks.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (number, behind) = marks.split_at_checked(digits).unwrap_or((marks, b""));
    // A number beyond 32 bits comes last, which is all that numbers are for.
    let number = std::str::from_utf8(number).ok().filter(|text| !text.is_empty());
    let number = number.map(|text| text.parse().unwrap_or(u32::MAX));
    (base, number, number.is_none() || behind.starts_with(b"*"))
}
