//! The header of a part inside a message, read as mail clients read it.
//!
//! The message's own header is written anew where it is broken, so its reading (`Headers::index`) can
//! be strict and is the same for everybody. What lies inside is delivered as it came. There
//!
//! * LF ends a line as CR LF does;
//! * a line that is no field is passed over where the header clearly goes on behind it, since most
//!   clients look for the empty line only ([`Garbage`] says when);
//! * what does not fit the bounds is left to the body, and said, but never an error;
//! * a line that delimits parts ends the header.

use super::{Entry, Headers, Line, is_ftext, line_kind, offset};
use crate::limits::{HEADER_BLOCK_MAX, HEADER_FIELDS_MAX};

/// What a line that is no field means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mail) enum Garbage {
    /// The body begins with it, as in the message's own header.
    EndsHeader,
    /// It is passed over if a field `Content-…` stands between it and the empty line: some clients
    /// would honour that field, and without one the line is more likely text whose header is missing.
    BeforeContent,
    /// It is passed over if any field stands between it and the empty line.
    BeforeField,
}

/// The header of a part and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(in crate::mail) struct PartHeader {
    /// Offsets count from the start of the part.
    pub(in crate::mail) headers: Headers,
    /// Lines that are no field were passed over.
    pub(in crate::mail) garbage: bool,
    /// There is more header than the bounds allow; what is over them counts as body.
    pub(in crate::mail) too_large: bool,
    /// A bare LF ends a line in it.
    pub(in crate::mail) bare_lf: bool,
}

/// Where the header would end if no field followed the first line that is none.
struct Doubt {
    pos: usize,
    entries: usize,
}

impl Headers {
    /// Reads the header at the start of `part`. `is_delimiter` is asked about each line that begins
    /// with `--`, and ends the block where it says yes.
    pub(in crate::mail) fn index_part(
        part: &[u8],
        garbage: Garbage,
        is_delimiter: impl Fn(&[u8]) -> bool,
    ) -> PartHeader {
        let mut read = PartHeader::default();
        let (mut pos, mut doubt, mut separator) = (0, None, 0);
        while let Some(rest) = part.get(pos..).filter(|rest| !rest.is_empty()) {
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |feed| feed + 1);
            let line = rest.get(..length).unwrap_or(rest);
            if line == b"\r\n" || line == b"\n" {
                separator = length;
                break;
            }
            if line.starts_with(b"--") && is_delimiter(line) {
                break;
            }
            if pos + length > HEADER_BLOCK_MAX || read.headers.len() >= HEADER_FIELDS_MAX {
                read.too_large = true;
                break;
            }
            read.bare_lf |= line.ends_with(b"\n") && !line.ends_with(b"\r\n");
            if !take_line(&mut read.headers, &mut doubt, line, pos, garbage) {
                break;
            }
            pos += length;
        }
        read.garbage = read.headers.entries.iter().any(|entry| entry.value == entry.start);
        match doubt {
            Some(Doubt { pos, entries }) => {
                read.headers.entries.truncate(entries);
                read.headers.end = offset(pos);
                read.garbage = read.headers.entries.iter().any(|entry| entry.value == entry.start);
            }
            None => {
                read.headers.end = offset(pos);
                // At most two octets.
                read.headers.separator = separator as u8;
            }
        }
        read
    }
}

/// Enters a line that is neither empty nor a delimiter. False where it ends the header.
fn take_line(
    headers: &mut Headers,
    doubt: &mut Option<Doubt>,
    line: &[u8],
    pos: usize,
    garbage: Garbage,
) -> bool {
    let start = offset(pos);
    match line_kind(line, pos == 0) {
        Line::Continuation if !headers.entries.is_empty() => {}
        Line::Field { name, value } => {
            let (name_end, value) = (offset(pos + name), offset(pos + value));
            headers.entries.push(Entry { start, name_end, value });
            if garbage == Garbage::BeforeField || is_content(line) {
                *doubt = None;
            }
        }
        Line::Empty | Line::Continuation | Line::Other if garbage == Garbage::EndsHeader => {
            return false;
        }
        Line::Empty | Line::Continuation | Line::Other => {
            let entries = headers.entries.len();
            doubt.get_or_insert(Doubt { pos, entries });
            headers.entries.push(Entry { start, name_end: start, value: start });
        }
    }
    true
}

/// Whether a field of this line says what a part is.
fn is_content(line: &[u8]) -> bool {
    const CONTENT: &[u8] = b"content-";
    let name = line.iter().take_while(|octet| is_ftext(**octet)).count();
    name > CONTENT.len()
        && line.get(..CONTENT.len()).is_some_and(|start| start.eq_ignore_ascii_case(CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::headers::unfold;

    fn show(part: &[u8], garbage: Garbage) -> String {
        let read = Headers::index_part(part, garbage, |line| line.starts_with(b"--b"));
        let fields: Vec<String> = read
            .headers
            .iter(part)
            .map(|field| {
                format!("{}={}", field.name.escape_ascii(), unfold(field.value).escape_ascii())
            })
            .collect();
        let marks: String =
            [('g', read.garbage), ('l', read.bare_lf), ('-', !read.headers.has_separator())]
                .iter()
                .filter(|(_, set)| *set)
                .map(|(mark, _)| *mark)
                .collect();
        format!("{} {marks}|{}", fields.join(","), part[read.headers.body()..].escape_ascii())
    }

    #[test]
    fn reads_as_clients_do() {
        use Garbage::{BeforeContent, BeforeField, EndsHeader};
        let rows: &[(&str, Garbage, &str)] = &[
            ("A: b\r\nB: c\r\n\r\nx", BeforeContent, "A=b,B=c |x"),
            ("A: b\nB: c\n d\n\nx", BeforeContent, "A=b,B=c d l|x"),
            ("\nx", BeforeContent, " |x"),
            ("\r\nx", BeforeContent, " |x"),
            ("", BeforeContent, " -|"),
            ("A: b", BeforeContent, "A=b -|"),
            ("A: b\r\n--b\r\n", BeforeContent, r"A=b -|--b\r\n"),
            ("A: b\r\n--c: d\r\n\r\nx", BeforeContent, "A=b,--c=d |x"),
            ("A: b\r\ntext\r\n\r\nx", BeforeContent, r"A=b -|text\r\n\r\nx"),
            ("A: b\r\ntext\r\nC: d\r\n\r\nx", BeforeContent, r"A=b -|text\r\nC: d\r\n\r\nx"),
            ("A: b\r\ntext\r\nC: d\r\n\r\nx", BeforeField, "A=b,C=d g|x"),
            (
                "A: b\r\ntext\r\n m\r\ncontent-type: d\r\n\r\nx",
                BeforeContent,
                "A=b,content-type=d g|x",
            ),
            (
                "A: b\r\ntext\r\nContent-Type: d\r\n\r\nx",
                EndsHeader,
                r"A=b -|text\r\nContent-Type: d\r\n\r\nx",
            ),
            (
                "text\r\nContent-A: d\r\nmore\r\n\r\nx",
                BeforeContent,
                r"Content-A=d g-|more\r\n\r\nx",
            ),
            (" A: b\r\nContent-A: d\r\n\r\nx", BeforeContent, "Content-A=d g|x"),
            ("From x\nA: b\n\nx", BeforeField, "Mail-From=x,A=b l|x"),
            (">From x\nA: b\n\nx", BeforeField, "A=b gl|x"),
            ("content-: b\n\nx", BeforeContent, "content-=b l|x"),
        ];
        for (part, garbage, want) in rows {
            assert_eq!(&show(part.as_bytes(), *garbage), want, "{part:?}");
        }
    }

    #[test]
    fn what_is_over_the_bounds_is_body() {
        let fields = "A: b\r\n".repeat(HEADER_FIELDS_MAX + 1);
        let long = format!("A: b\r\nB: {}\r\n\r\n", "x".repeat(HEADER_BLOCK_MAX));
        for (part, end) in [(fields, 6 * HEADER_FIELDS_MAX), (long, 6)] {
            let read = Headers::index_part(part.as_bytes(), Garbage::BeforeField, |_| false);
            assert!(read.too_large);
            assert_eq!((read.headers.body(), read.headers.has_separator()), (end, false));
        }
    }
}
