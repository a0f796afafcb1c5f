//! A message from a file: its lines may end with CR LF, with LF alone, or with either in turn.
//!
//! A message from the network has CR LF throughout. What lies in a Maildir, or was saved by a mail
//! client, has LF; to check or sign it the header is needed as it came over the network. Only that is
//! copied. The body stays where it is, for it may be large, and who hashes it reads both ends of lines.

use super::headers::{HeaderError, Headers};
use crate::limits::HEADER_BLOCK_MAX;
use std::borrow::Cow;

/// A message in its parts.
#[derive(Debug)]
pub struct Stored<'a> {
    /// The header block with CR LF, each field with its line end where it has one.
    pub header: Cow<'a, [u8]>,
    /// Its index.
    pub headers: Headers,
    /// The body as it is.
    pub body: &'a [u8],
    /// What ends the file's lines, by its first one.
    pub line_end: &'static str,
}

impl<'a> Stored<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// When the header is larger than the bounds in `limits`.
    pub fn read(octets: &'a [u8]) -> Result<Stored<'a>, HeaderError> {
        let first = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
        let is_lf = !first.ends_with(b"\r") && first.len() < octets.len();
        let block = block(octets);
        let converted = with_crlf(block);
        let headers = Headers::index(&converted)?;
        let is_cut = block.len() < octets.len() && !headers.has_separator();
        if is_cut && headers.body() == converted.len() {
            return Err(HeaderError::TooLarge);
        }
        let front = converted.get(..headers.body()).unwrap_or_default();
        let lines = memchr::memchr_iter(b'\n', front).count();
        let ends = memchr::memchr_iter(b'\n', octets).map(|feed| feed + 1);
        let body = match front.ends_with(b"\n") || front.is_empty() {
            true => std::iter::once(0).chain(ends).nth(lines).unwrap_or(octets.len()),
            false => octets.len(),
        };
        let end = headers.end();
        let header = match converted {
            Cow::Borrowed(octets) => Cow::Borrowed(octets.get(..end).unwrap_or_default()),
            Cow::Owned(mut octets) => {
                octets.truncate(end);
                Cow::Owned(octets)
            }
        };
        let body = octets.get(body..).unwrap_or_default();
        let line_end = if is_lf { "\n" } else { "\r\n" };
        Ok(Stored { header, headers, body, line_end })
    }
}

/// A header that is too large is seen as such with one octet more.
const BLOCK_MAX: usize = HEADER_BLOCK_MAX + 1;

/// All up to the first empty line, that included, as far as a header may reach.
fn block(octets: &[u8]) -> &[u8] {
    let window = octets.get(..BLOCK_MAX).unwrap_or(octets);
    let mut start = 0;
    for feed in memchr::memchr_iter(b'\n', window) {
        if matches!(window.get(start..feed), Some(b"" | b"\r")) {
            return window.get(..=feed).unwrap_or(window);
        }
        start = feed + 1;
    }
    window
}

/// The text with every line end as CR LF.
pub fn with_crlf(block: &[u8]) -> Cow<'_, [u8]> {
    let is_bare = |feed: usize| feed == 0 || block.get(feed - 1) != Some(&b'\r');
    let bare = memchr::memchr_iter(b'\n', block).filter(|feed| is_bare(*feed)).count();
    if bare == 0 {
        return Cow::Borrowed(block);
    }
    let mut out = Vec::with_capacity(block.len() + bare);
    for line in block.split_inclusive(|octet| *octet == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) if !text.ends_with(b"\r") => {
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            _ => out.extend_from_slice(line),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_with_either_line_end() {
        for (text, header, body) in [
            ("A: b\nC: d\n\nbody\n", "A: b\r\nC: d\r\n", "body\n"),
            ("A: b\n\nx\r\ny\n", "A: b\r\n", "x\r\ny\n"),
            ("A: b\n c\n\r\nx", "A: b\r\n c\r\n", "x"),
            ("A: b\r\nC: d\n\nx", "A: b\r\nC: d\r\n", "x"),
            ("A: b\nno field\n\nx", "A: b\r\n", "no field\n\nx"),
            ("A: b\n", "A: b\r\n", ""),
            ("A: b", "A: b", ""),
            ("A: b\nC: d", "A: b\r\nC: d", ""),
            ("\nx", "", "x"),
            ("x\ny", "", "x\ny"),
            ("", "", ""),
            ("A: b\n\n\n\nx", "A: b\r\n", "\n\nx"),
        ] {
            let stored = Stored::read(text.as_bytes()).expect(text);
            assert_eq!(stored.header, header.as_bytes(), "{text:?}");
            assert_eq!(stored.body, body.as_bytes(), "{text:?}");
            let crlf = text.replace("\r\n", "\n").replace('\n', "\r\n");
            let stored = Stored::read(crlf.as_bytes()).expect(text);
            assert_eq!(stored.header, header.as_bytes(), "{crlf:?}");
            assert!(matches!(stored.header, Cow::Borrowed(_)));
        }
        let ends = |text: &str| Stored::read(text.as_bytes()).expect(text).line_end;
        assert_eq!([ends("A: b\n"), ends("A: b\r\n"), ends("A: b")], ["\n", "\r\n", "\r\n"]);
    }

    #[test]
    fn bounds() {
        let text = |octets: usize| format!("A: {}\n\nbody", "x".repeat(octets));
        assert!(Stored::read(text(HEADER_BLOCK_MAX - 10).as_bytes()).is_ok());
        for octets in [HEADER_BLOCK_MAX - 4, HEADER_BLOCK_MAX, 3 * HEADER_BLOCK_MAX] {
            let found = Stored::read(text(octets).as_bytes()).map(|stored| stored.header.len());
            assert_eq!(found, Err(HeaderError::TooLarge), "{octets}");
        }
    }
}
