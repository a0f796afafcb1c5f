//! Which header fields a signature covers: the ones that `h=` names, each name's from the bottom up
//! (RFC 6376 section 5.4.2).
//!
//! A name that stands there more often than there are such fields stands for their absence: whoever
//! adds one breaks the signature.

use super::canon::{Canon, relaxed_field};
use crate::mail::headers::{Field, Headers};
use std::collections::HashMap;
use std::ops::Range;

/// The fields of a header block, by name.
pub struct Fields<'m> {
    header: &'m [u8],
    headers: &'m Headers,
    /// Numbers of the fields of each name, in lower case, from the top.
    by_name: HashMap<Vec<u8>, Vec<usize>>,
}

impl<'m> Fields<'m> {
    /// Of the block that `headers` indexes.
    pub fn new(header: &'m [u8], headers: &'m Headers) -> Fields<'m> {
        let mut by_name: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (number, field) in headers.iter(header).enumerate() {
            by_name.entry(field.name.to_ascii_lowercase()).or_default().push(number);
        }
        Fields { header, headers, by_name }
    }

    /// Number and content of the fields of a name, which is in lower case, from the top.
    pub fn all(&self, name: &str) -> impl Iterator<Item = (usize, Field<'m>)> {
        let numbers = self.by_name.get(name.as_bytes()).into_iter().flatten();
        numbers.filter_map(|number| Some((*number, self.headers.field(self.header, *number)?)))
    }

    /// How many fields of a name there are, which is in lower case.
    pub fn count(&self, name: &str) -> usize {
        self.by_name.get(name.as_bytes()).map_or(0, Vec::len)
    }

    /// Appends the fields that `names` choose, in a form. Field number `own`, the signature at hand,
    /// is not among them.
    pub fn write<'n>(
        &self,
        out: &mut Vec<u8>,
        names: impl Iterator<Item = &'n [u8]>,
        canon: Canon,
        own: Option<usize>,
    ) {
        let mut taken: HashMap<&[u8], usize> = HashMap::new();
        let mut lower = Vec::new();
        for name in names {
            lower.clear();
            lower.extend(name.iter().map(u8::to_ascii_lowercase));
            let Some((key, numbers)) = self.by_name.get_key_value(&lower) else { continue };
            let taken = taken.entry(key).or_default();
            let mut from_below =
                numbers.iter().rev().filter(|number| own != Some(**number)).skip(*taken);
            let Some(number) = from_below.next() else { continue };
            *taken += 1;
            if let Some(field) = self.headers.field(self.header, *number) {
                write_field(out, &field, canon);
            }
        }
    }
}

/// One field in a form, with its line end.
pub(in crate::authn) fn write_field(out: &mut Vec<u8>, field: &Field<'_>, canon: Canon) {
    match canon {
        Canon::Simple => out.extend_from_slice(field.raw),
        Canon::Relaxed => relaxed_field(out, field.name, &[field.value]),
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// The signature's own field in a form: without the value of `b=`, which stands at `hole` in the
/// field's value, and without a line end at the end (RFC 6376 section 3.7).
pub fn write_own_field(out: &mut Vec<u8>, field: &Field<'_>, canon: Canon, hole: &Range<usize>) {
    let front = field.value.get(..hole.start).unwrap_or_default();
    let behind = field.value.get(hole.end..).unwrap_or_default();
    match canon {
        Canon::Simple => {
            let raw = field.raw.strip_suffix(b"\r\n").unwrap_or(field.raw);
            let name = raw.len().saturating_sub(field.value.len());
            out.extend_from_slice(raw.get(..name).unwrap_or_default());
            out.extend_from_slice(front);
            out.extend_from_slice(behind);
        }
        Canon::Relaxed => relaxed_field(out, field.name, &[front, behind]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(message: &str, names: &str, canon: Canon, own: Option<usize>) -> String {
        let headers = Headers::index(message.as_bytes()).unwrap();
        let fields = Fields::new(message.as_bytes(), &headers);
        let mut out = Vec::new();
        fields.write(&mut out, names.split(':').map(str::as_bytes), canon, own);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_name_from_the_bottom_up() {
        const MAIL: &str = "A: 1\r\nB : 2\r\na: 3\r\nC:  4\r\n\t5 \r\nA: 6\r\n\r\n";
        for (names, canon, own, expected) in [
            ("a", Canon::Simple, None, "A: 6\r\n"),
            ("A:b:a", Canon::Simple, None, "A: 6\r\nB : 2\r\na: 3\r\n"),
            ("a:a:a:a:a", Canon::Relaxed, None, "a:6\r\na:3\r\na:1\r\n"),
            ("c:x:B", Canon::Relaxed, None, "c:4 5\r\nb:2\r\n"),
            ("C", Canon::Simple, None, "C:  4\r\n\t5 \r\n"),
            ("a:a", Canon::Simple, Some(4), "a: 3\r\nA: 1\r\n"),
            ("", Canon::Simple, None, ""),
        ] {
            assert_eq!(written(MAIL, names, canon, own), expected, "{names}");
        }
        // The last line of a message without a body may lack its end.
        assert_eq!(written("A: 1\r\nB: 2", "b:a", Canon::Simple, None), "B: 2\r\nA: 1\r\n");
    }

    #[test]
    fn the_signatures_own_field_has_a_hole() {
        const MAIL: &str = "DKIM-Signature : a=b; b = xx\r\n yy ; c=d\r\n\r\n";
        let headers = Headers::index(MAIL.as_bytes()).unwrap();
        let field = headers.field(MAIL.as_bytes(), 0).unwrap();
        let start = field.value.iter().rposition(|octet| *octet == b'x').unwrap() - 2;
        let end = field.value.iter().rposition(|octet| *octet == b';').unwrap();
        for (canon, expected) in [
            (Canon::Simple, "DKIM-Signature : a=b; b =; c=d"),
            (Canon::Relaxed, "dkim-signature:a=b; b =; c=d"),
        ] {
            let mut out = Vec::new();
            write_own_field(&mut out, &field, canon, &(start..end));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
