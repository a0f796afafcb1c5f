//! The little of DER (X.690) that keys are wrapped in: reading and writing elements with a tag and a
//! definite length.
//!
//! A key record comes from strangers, so reading is by slices that can only get shorter: no copy, no
//! recursion, and a length that promises more than there is ends it.

/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// NULL.
pub const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub const OBJECT: u8 = 0x06;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;

/// Elements that stand behind each other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `input`.
    pub fn new(input: &'a [u8]) -> Reader<'a> {
        Reader(input)
    }

    /// The content of the next element if it has this tag.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_first()?;
        let (length, rest) = length(rest)?;
        if *first != tag {
            return None;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    /// The next element is an INTEGER that is not negative: its octets without leading zeros.
    pub fn number(&mut self) -> Option<&'a [u8]> {
        let content = self.take(INTEGER)?;
        if content.first()? & 0x80 != 0 {
            return None;
        }
        let zeros = content.iter().take_while(|octet| **octet == 0).count();
        content.get(zeros..)
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The short form, or the long one with up to four octets.
fn length(input: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = input.split_first()?;
    if *first < 0x80 {
        return Some((usize::from(*first), rest));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return None;
    }
    let (octets, rest) = rest.split_at_checked(count)?;
    let value = octets.iter().try_fold(0_usize, |value, octet| {
        value.checked_mul(256).map(|value| value + usize::from(*octet))
    })?;
    Some((value, rest))
}

/// One element of this content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ 0..0x80) => out.push(short),
        _ => {
            let octets = content.len().to_be_bytes();
            let zeros = octets.iter().take_while(|octet| **octet == 0).count();
            let octets = octets.get(zeros..).unwrap_or_default();
            // A length has at most eight octets.
            out.push(0x80 | u8::try_from(octets.len()).unwrap_or(8));
            out.extend_from_slice(octets);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of elements.
pub fn sequence(elements: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &elements.concat())
}

/// An INTEGER that is not negative, of its octets, the most significant first.
pub fn number(octets: &[u8]) -> Vec<u8> {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    let octets = octets.get(zeros..).unwrap_or_default();
    // A first bit that is set would make it negative.
    let front: &[u8] =
        if octets.first().is_none_or(|octet| octet & 0x80 != 0) { &[0] } else { &[] };
    element(INTEGER, &[front, octets].concat())
}

/// A BIT STRING of whole octets.
pub fn bit_string(octets: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], octets].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let written = element(OCTET_STRING, &content);
            let mut reader = Reader::new(&written);
            assert_eq!(reader.take(OCTET_STRING), Some(content.as_slice()), "{length}");
            assert!(reader.is_empty());
        }
        for (octets, written) in [
            (&b""[..], &b"\x02\x01\0"[..]),
            (b"\0", b"\x02\x01\0"),
            (b"\0\0\x05", b"\x02\x01\x05"),
            (b"\x80", b"\x02\x02\0\x80"),
            (b"\x7f\xff", b"\x02\x02\x7f\xff"),
        ] {
            assert_eq!(number(octets), written);
            let back = Reader::new(written).number().expect("a number");
            assert!(octets.ends_with(back) && !back.starts_with(&[0]));
        }
    }

    #[test]
    fn what_is_no_element_is_none() {
        for input in [
            &b""[..],
            b"\x04",
            b"\x04\x02a",
            b"\x04\x80a",
            b"\x04\x85\0\0\0\0\x01a",
            b"\x04\x84\xff\xff\xff\xffa",
            b"\x05\0",
        ] {
            assert_eq!(Reader::new(input).take(OCTET_STRING), None, "{input:?}");
        }
        assert_eq!(Reader::new(b"\x02\x01\xff").number(), None, "negative");
        assert_eq!(Reader::new(b"\x02\0").number(), None, "empty");
    }
}
