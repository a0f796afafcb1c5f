//! Tag lists: `name=value; name=value`, of which signatures and key records are made (RFC 6376 section
//! 3.2).
//!
//! A list is read without a copy; each value keeps its place, since the value of `b=` has to be cut out
//! of the field again before it is hashed. The grammar is kept as it stands: one tag that is none, or
//! one that stands twice, makes the whole list invalid, for whoever reads such a list more kindly may
//! read it differently from the signer.

use std::ops::Range;

/// Tags of one list. Real ones have a dozen, and every one more is compared with those before it.
const TAGS_MAX: usize = 64;

/// Why a text is no tag list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagError {
    /// A part without `=`, or an empty one.
    NoEquals,
    /// A name that is none: a letter, then letters, digits and underscores.
    BadName,
    /// A control character in a value.
    BadValue,
    /// A name that stands twice.
    Repeated,
    /// More tags than anybody needs.
    TooMany,
}

impl TagError {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            TagError::NoEquals => "a tag without =",
            TagError::BadName => "a malformed tag name",
            TagError::BadValue => "a control character",
            TagError::Repeated => "a tag that stands twice",
            TagError::TooMany => "too many tags",
        }
    }
}

#[derive(Clone, Debug)]
struct Tag<'a> {
    name: &'a [u8],
    /// Without white space around it.
    value: &'a [u8],
    /// All between `=` and `;` in the text.
    place: Range<usize>,
}

/// A tag list, borrowed from its text.
#[derive(Clone, Debug)]
pub struct Tags<'a>(Vec<Tag<'a>>);

impl<'a> Tags<'a> {
    /// Reads a list.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &'a [u8]) -> Result<Tags<'a>, TagError> {
        let mut tags = Tags(Vec::new());
        let mut start = 0;
        while let Some(rest) = text.get(start..) {
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            let part = rest.get(..end).unwrap_or_default();
            // The last tag may have a `;` behind it, and white space may follow.
            let is_last = end == rest.len();
            if is_last && start > 0 && trim(part).is_empty() {
                break;
            }
            tags.add(part, start)?;
            if is_last {
                break;
            }
            start += end + 1;
        }
        Ok(tags)
    }

    fn add(&mut self, part: &'a [u8], start: usize) -> Result<(), TagError> {
        let equals = memchr::memchr(b'=', part).ok_or(TagError::NoEquals)?;
        let name = trim(part.get(..equals).unwrap_or_default());
        let raw = part.get(equals + 1..).unwrap_or_default();
        if !is_name(name) {
            return Err(TagError::BadName);
        }
        if raw.iter().any(|octet| octet.is_ascii_control() && !is_blank(*octet)) {
            return Err(TagError::BadValue);
        }
        if self.0.iter().any(|tag| tag.name == name) {
            return Err(TagError::Repeated);
        }
        if self.0.len() >= TAGS_MAX {
            return Err(TagError::TooMany);
        }
        let place = start + equals + 1..start + part.len();
        self.0.push(Tag { name, value: trim(raw), place });
        Ok(())
    }

    /// The value of a tag, without white space around it. Names are told apart by case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.find(name).map(|tag| tag.value)
    }

    /// Where in the text the value of a tag stands, with all white space around it.
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        self.find(name).map(|tag| tag.place.clone())
    }

    /// The name of the first tag.
    pub fn first(&self) -> Option<&'a [u8]> {
        self.0.first().map(|tag| tag.name)
    }

    fn find(&self, name: &str) -> Option<&Tag<'a>> {
        self.0.iter().find(|tag| tag.name == name.as_bytes())
    }
}

/// The parts of a value between colons, without white space around them (`h=`, `q=`, `s=`, `t=`).
pub fn colon_list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|octet| *octet == b':').map(trim)
}

/// Without white space, folds included, at both ends.
pub fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|octet| !is_blank(*octet)).unwrap_or(text.len());
    let end = text.iter().rposition(|octet| !is_blank(*octet)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// White space, and the line ends of folds.
pub fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_name(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'_')
}

/// Checks on any input: no panic, and each value stands at its place.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let Ok(tags) = Tags::parse(data) else { return };
    assert!(tags.0.len() <= TAGS_MAX && !tags.0.is_empty());
    for tag in &tags.0 {
        let name = String::from_utf8_lossy(tag.name);
        let place = tags.place(&name).and_then(|place| data.get(place)).unwrap_or_default();
        assert_eq!(trim(place), tag.value);
        assert_eq!(tags.get(&name), Some(tag.value));
        assert!(!tag.value.contains(&b';'));
    }
    assert!(tags.first().is_some());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (text, expected) in [
            ("a=b", Ok("a=b")),
            ("a=b;", Ok("a=b")),
            ("a=b; \r\n ", Ok("a=b")),
            (" a = b c ;\r\n\td=\r\n e=f==", Ok("a=b c|d=e=f==")),
            ("a=b;c=", Ok("a=b|c=")),
            ("a_1=b;A_1=c", Ok("a_1=b|A_1=c")),
            ("a=\u{e4}", Ok("a=\u{e4}")),
            ("", Err(TagError::NoEquals)),
            (";", Err(TagError::NoEquals)),
            ("a=b;;c=d", Err(TagError::NoEquals)),
            ("a=b; ;", Err(TagError::NoEquals)),
            ("a", Err(TagError::NoEquals)),
            ("=b", Err(TagError::BadName)),
            ("1a=b", Err(TagError::BadName)),
            ("a b=c", Err(TagError::BadName)),
            ("a-b=c", Err(TagError::BadName)),
            ("a=b\0", Err(TagError::BadValue)),
            ("a=b;c=d;a=b", Err(TagError::Repeated)),
        ] {
            let shown = Tags::parse(text.as_bytes()).map(|tags| {
                let show = |tag: &Tag<'_>| [tag.name, b"=", tag.value].concat();
                String::from_utf8(tags.0.iter().map(show).collect::<Vec<_>>().join(&b'|')).unwrap()
            });
            assert_eq!(shown.as_deref(), expected.as_deref(), "{text:?}");
            fuzz(text.as_bytes());
        }
    }

    #[test]
    fn places_and_bounds() {
        let tags = Tags::parse(b"b = x y \r\n ; c=").unwrap();
        assert_eq!((tags.place("b"), tags.place("c")), (Some(3..11), Some(15..15)));
        assert_eq!((tags.get("B"), tags.first()), (None, Some(&b"b"[..])));
        let many = |count: usize| {
            let tag = |number: usize| format!("t{number}=x;");
            (0..count).map(tag).collect::<String>()
        };
        assert!(Tags::parse(many(TAGS_MAX).as_bytes()).is_ok());
        assert_eq!(Tags::parse(many(TAGS_MAX + 1).as_bytes()).err(), Some(TagError::TooMany));
        // The time for a hostile list does not grow with its square.
        assert!(Tags::parse(many(100_000).as_bytes()).is_err());
        let parts: Vec<&[u8]> = colon_list(b"a : b:\r\n c::").collect();
        assert_eq!(parts, [&b"a"[..], b"b", b"c", b"", b""]);
    }
}
