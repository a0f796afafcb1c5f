//! Writing a file as a part of a message: its header and its octets in base64.
//!
//! Names and types are foreign. Whatever they hold, what is written is one header of a few fields in
//! short lines of ASCII, and a body that no delimiter can stand in.

use super::headers::clean_utf8;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Write};

/// Octets of a name that are kept: its end, which programs go by.
const NAME_MAX: usize = 255;

/// Letters of a piece of an encoded name (RFC 2231 section 3), so that lines stay below 78.
const PIECE_MAX: usize = 54;

/// Octets in a line of 76 letters of base64 (RFC 2045 section 6.8).
const LINE_OCTETS: usize = 57;

/// Longest type, and longest Content-ID, that is written.
const TOKEN_MAX: usize = 127;

/// Types by the ends of names, in the order of these.
const TYPES: &[(&str, &str)] = &[
    ("avi", "video/x-msvideo"),
    ("bmp", "image/bmp"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ics", "text/calendar"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("ps", "application/postscript"),
    ("rtf", "text/rtf"),
    ("svg", "image/svg+xml"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("txt", "text/plain"),
    ("vcf", "text/vcard"),
    ("wav", "audio/x-wav"),
    ("webp", "image/webp"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];

/// A file that becomes a part.
#[derive(Clone, Copy, Debug)]
pub struct Attached<'f> {
    /// Its name; of a path the last element is written.
    pub name: &'f str,
    /// Its type as others gave it; where there is none, or none that may be written, the name says it.
    pub mime_type: Option<&'f str>,
    /// What HTML refers to it by, without angle brackets.
    pub content_id: Option<&'f str>,
    /// Its octets.
    pub data: &'f [u8],
}

impl Attached<'_> {
    /// Writes header, empty line and body; the line end behind the last line belongs to the delimiter
    /// that follows (RFC 2046 section 5.1.1).
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = base_name(self.name);
        let given = self.mime_type.filter(|kind| may_be_written(kind));
        let kind = given.unwrap_or_else(|| by_name(&name));
        write!(out, "Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n")?;
        write!(out, "Content-Disposition: attachment")?;
        write_name(out, &name)?;
        let plain = |id: &&str| {
            (1..=TOKEN_MAX).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'))
        };
        if let Some(id) = self.content_id.filter(plain) {
            write!(out, "\r\nContent-ID: <{id}>")?;
        }
        write!(out, "\r\n\r\n")?;
        for (index, octets) in self.data.chunks(LINE_OCTETS).enumerate() {
            let end = if index > 0 { "\r\n" } else { "" };
            write!(out, "{end}{}", STANDARD.encode(octets))?;
        }
        Ok(())
    }
}

/// The last element of a path on any system, without what ends or deceives lines.
fn base_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    let mut start = last.len().saturating_sub(NAME_MAX);
    while !last.is_char_boundary(start) {
        start += 1;
    }
    let name = clean_utf8(last.get(start..).unwrap_or_default().as_bytes(), NAME_MAX);
    if name.is_empty() { "untitled".to_string() } else { name }
}

/// A type in two words; a container in base64 is forbidden (RFC 2045 section 6.4).
fn may_be_written(kind: &str) -> bool {
    let word = |word: &str| {
        let mark = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'_');
        !word.is_empty() && word.bytes().all(mark)
    };
    let container =
        |word: &str| ["multipart", "message"].iter().any(|it| word.eq_ignore_ascii_case(it));
    let words = kind.split_once('/');
    kind.len() <= TOKEN_MAX && words.is_some_and(|(a, b)| word(a) && word(b) && !container(a))
}

/// The type that a name says.
fn by_name(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
    let found = TYPES.binary_search_by_key(&end.as_str(), |(end, _)| end).ok();
    found.and_then(|at| TYPES.get(at)).map_or("application/octet-stream", |(_, kind)| kind)
}

/// Writes the parameter (RFC 2231 sections 3 and 4; RFC 2183).
fn write_name(out: &mut dyn Write, name: &str) -> io::Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b' ');
    if name.len() <= PIECE_MAX && name.bytes().all(plain) {
        return write!(out, ";\r\n filename=\"{name}\"");
    }
    let mut pieces = vec!["utf-8''".to_string()];
    for octet in name.bytes() {
        let next = match octet {
            b if b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_') => {
                (b as char).to_string()
            }
            b => format!("%{b:02X}"),
        };
        match pieces.last_mut() {
            Some(piece) if piece.len() + next.len() <= PIECE_MAX => piece.push_str(&next),
            _ => pieces.push(next),
        }
    }
    for (number, piece) in pieces.iter().enumerate() {
        write!(out, ";\r\n filename*{number}*={piece}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::mime::Mime;
    use crate::mail::mime::body::Body;

    #[test]
    fn what_is_written_is_read_again() {
        assert!(TYPES.is_sorted());
        let long = format!("{}.pdf", "\u{fc}".repeat(300));
        let kept = &long[long.len() - 254..];
        for (name, kind, want, want_kind) in [
            ("a b.PDF", None, "a b.PDF", "application/pdf"),
            ("gr\u{fc}n.jpg", Some("a/b"), "gr\u{fc}n.jpg", "a/b"),
            ("C:\\dir\\x.exe", None, "x.exe", "application/octet-stream"),
            ("a\"\r\nX-Y: z.zip", None, "a\"??X-Y: z.zip", "application/zip"),
            ("", Some("message/rfc822"), "untitled", "application/octet-stream"),
            ("x.txt", Some("a/b; c\r\nd: e"), "x.txt", "text/plain"),
            (&long, None, kept, "application/pdf"),
        ] {
            for length in [0, 1, 57, 58, 10_000] {
                let data: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                let id = Some("x@y");
                let file = Attached { name, mime_type: kind, content_id: id, data: &data };
                let mut message = Vec::new();
                file.write(&mut message).unwrap();
                assert!(message.split(|b| *b == b'\n').all(|line| line.len() <= 100), "{name}");
                let mime = Mime::index(&message);
                assert!(mime.faults.is_empty(), "{name}: {:?}", mime.faults);
                let part = &mime.parts[0];
                assert_eq!(part.file_name(&message).as_deref(), Some(want));
                assert_eq!(part.content_type(&message).head(), want_kind);
                let (mut found, mut buffer) = (Vec::new(), [0; 4_096]);
                let mut body = Body::new(&message[part.body.clone()], part.encoding);
                while let Some(piece) = body.next(&mut buffer) {
                    found.extend_from_slice(piece);
                }
                assert!(found == data && body.faults().is_empty(), "{name} {length}");
            }
        }
    }
}
