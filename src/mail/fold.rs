//! Writing one header field, whatever its text holds.
//!
//! The text often comes from a client, a name server or a scanner. A line end in it that reaches
//! the message starts a field, or the body, of the sender's choice; an 8-bit octet or a line of
//! more than 998 makes the next server refuse or mangle the mail. So what is written is always
//! exactly one field, of printable octets, in lines of at most 998 (RFC 5322 2.1.1), folded at
//! blanks so that most are at most 78.

use super::headers::{harmless, is_ftext};

/// Longest field name that may be written, in octets, so that a name alone never fills a line.
const NAME_MAX: usize = 76;

/// Where lines are folded if a blank allows it, in octets without CR LF (RFC 5322 2.1.1).
const LINE_WISH: usize = 78;

/// Where a word without blanks is broken; the limit is 998 and a character has up to 4 octets.
const LINE_MAX: usize = 994;

/// Blanks in a row that are kept; a line of blanks alone is no use to anyone.
const GAP_MAX: usize = 64;

/// A name that no field can have (RFC 5322 3.6.8), or one longer than 76 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadName;

/// Writes one field. Folds that `value` brings are kept, others are made where a line gets long;
/// line ends that are no folds, controls and (unless `utf8`) 8-bit become `?`.
///
/// # Errors
/// When `name` is none; then nothing is written.
pub(super) fn write_field(
    out: &mut Vec<u8>,
    name: &str,
    value: &str,
    utf8: bool,
) -> Result<(), BadName> {
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_ftext) {
        return Err(BadName);
    }
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut column = name.len() + 1;
    let (mut gap, mut rest) = (" ", value.trim_matches([' ', '\t', '\r', '\n']));
    while !rest.is_empty() {
        let (word, behind) =
            rest.split_at_checked(word_length(rest.as_bytes())).unwrap_or((rest, ""));
        let blanks = gap.bytes().filter(|octet| matches!(octet, b' ' | b'\t')).take(GAP_MAX);
        let width = blanks.clone().count();
        let long = column + width + word.len() > LINE_WISH;
        if column > name.len() + 1 && (long || gap.contains('\n')) {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.extend(blanks);
        column = write_word(out, word, column + width, utf8);
        (gap, rest) = behind.split_at_checked(gap_length(behind.as_bytes())).unwrap_or_default();
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes a word that starts at `column` and says at which column it ends.
fn write_word(out: &mut Vec<u8>, word: &str, mut column: usize, utf8: bool) -> usize {
    for char in word.chars() {
        if column >= LINE_MAX {
            out.extend_from_slice(b"\r\n ");
            column = 1;
        }
        let char = if char.is_ascii() || utf8 { harmless(char) } else { '?' };
        let mut octets = [0; 4];
        let octets = char.encode_utf8(&mut octets).as_bytes();
        out.extend_from_slice(octets);
        column += octets.len();
    }
    column
}

/// The length up to the next blank or fold.
fn word_length(text: &[u8]) -> usize {
    let starts = memchr::memchr3_iter(b' ', b'\t', b'\n', text);
    for start in starts {
        // A fold may begin one octet earlier, with its CR.
        for at in [start.saturating_sub(1), start] {
            if text.get(at..).is_some_and(|rest| gap_step(rest) > 0) {
                return at;
            }
        }
    }
    text.len()
}

/// The length of the blanks and folds at the start.
fn gap_length(text: &[u8]) -> usize {
    let mut length = 0;
    loop {
        match text.get(length..).map_or(0, gap_step) {
            0 => return length,
            step => length += step,
        }
    }
}

/// A blank, or a line end with a blank behind it: what can stand between two words (RFC 5322 3.2.2).
fn gap_step(text: &[u8]) -> usize {
    match text {
        [b' ' | b'\t', ..] | [b'\n', b' ' | b'\t', ..] => 1,
        [b'\r', b'\n', b' ' | b'\t', ..] => 2,
        _ => 0,
    }
}

/// Checks on any input: one field, one name, lines in bounds, nothing unprintable.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for utf8 in [false, true] {
        let mut out = Vec::new();
        assert_eq!(write_field(&mut out, "X-Name", &text, utf8), Ok(()));
        let lines = out.strip_suffix(b"\r\n").unwrap_or_default().split(|octet| *octet == b'\n');
        for (number, line) in lines.enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(line.len() <= 998 && (utf8 || line.is_ascii()));
            assert!(line.iter().all(|octet| matches!(octet, b'\t' | b' '..=b'~' | 0x80..)));
            let start: &[u8] = if number == 0 { b"X-Name:" } else { b"" };
            let text = line.strip_prefix(start).unwrap_or_default();
            assert!(matches!(text.first(), Some(b' ' | b'\t')) || out == b"X-Name:\r\n");
            assert!(!text.trim_ascii().is_empty() || out == b"X-Name:\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_whatever_it_holds() {
        let long = "word ".repeat(30);
        let huge = "x".repeat(2_500);
        let rows: &[(&str, &str)] = &[
            ("v", "X: v"),
            ("", "X:"),
            (" \r\n ", "X:"),
            ("v\r\n", "X: v"),
            ("a\r\nEvil: b", "X: a??Evil: b"),
            ("a\nEvil: b", "X: a?Evil: b"),
            ("a\r\n\r\nbody", "X: a????body"),
            ("a\r\n b", "X: a| b"),
            ("a\n\tb", "X: a|\tb"),
            ("a\r\n \r\n b", "X: a|  b"),
            ("a\r b\0\x1b", "X: a? b??"),
            ("gr\u{fc}n \u{2028}", "X: gr?n ?"),
            ("a  \tb", "X: a  \tb"),
            (&format!("a{}b", " ".repeat(5_000)), &format!("X: a{}b", " ".repeat(64))),
            (&long, &format!("X: {}|{}", "word ".repeat(15).trim(), " word".repeat(15))),
            (&huge, &format!("X: {}| {}| {}", &huge[..991], &huge[..993], &huge[..516])),
        ];
        for (value, want) in rows {
            let mut out = Vec::new();
            write_field(&mut out, "X", value, false).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out.strip_suffix("\r\n").unwrap().replace("\r\n", "|"), *want);
            fuzz(value.as_bytes());
        }
    }

    #[test]
    fn names() {
        for name in ["", "a b", "a:", "\u{e9}", "a\n", "a\0", &"x".repeat(77)] {
            let mut out = Vec::new();
            assert_eq!(write_field(&mut out, name, "y", false), Err(BadName));
            assert!(out.is_empty());
        }
        assert_eq!(write_field(&mut Vec::new(), &"x".repeat(76), "y", false), Ok(()));
    }
}
