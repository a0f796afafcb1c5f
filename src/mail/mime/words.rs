//! Encoded words in header fields (RFC 2047), read as mail clients read them: inside quotes and other
//! text too, with blanks inside, and with characters that are cut in two between words.

use super::charset;
use super::field::hex_pair;
use super::transfer::Base64;
use memchr::memmem;

/// Octets of a charset's name with its language (RFC 2231 section 5).
const CHARSET_MAX: usize = 64;

/// An encoded word, its text still encoded.
struct Word<'t> {
    charset: &'t [u8],
    base64: bool,
    text: &'t [u8],
    /// From its `=?` to behind its `?=`.
    length: usize,
}

/// The text of a field's value, which has no line ends: words decoded, blanks between two words taken
/// away, other 8-bit octets read as UTF-8 or else as Windows-1252. At most `max` octets and a character.
pub fn decode(value: &[u8], max: usize) -> String {
    let mut out = Out { text: String::new(), octets: Vec::new(), charset: b"", max };
    let mut rest = value;
    // From the last end of a word to the end of the text. Where no word can end none is looked for, or
    // a row of beginnings would cost its square.
    let last_end = memmem::rfind(value, b"?=").map_or(usize::MAX, |at| value.len() - at);
    let mut behind_word = false;
    while !out.is_full() {
        let next = words(rest, last_end);
        let before = rest.get(..next.as_ref().map_or(rest.len(), |(at, _)| *at)).unwrap_or(rest);
        let gap = behind_word && next.is_some() && before.iter().all(u8::is_ascii_whitespace);
        if !gap && !before.is_empty() {
            out.literal(before);
        }
        let Some((at, word)) = next else { break };
        out.word(&word);
        behind_word = true;
        rest = rest.get(at + word.length..).unwrap_or_default();
    }
    out.finish()
}

/// The next word and where it begins. Its end is not among the last `last_end - 1` octets.
fn words(text: &[u8], last_end: usize) -> Option<(usize, Word<'_>)> {
    memmem::find_iter(text, b"=?")
        .take_while(|at| text.len() - at > last_end)
        .find_map(|at| Some((at, word(text.get(at..)?)?)))
}

/// The word that begins with the text.
fn word(text: &[u8]) -> Option<Word<'_>> {
    let inside = text.get(2..)?;
    let window = inside.get(..CHARSET_MAX).unwrap_or(inside);
    let charset = inside.get(..memchr::memchr(b'?', window)?)?;
    let [b'?', encoding, b'?', behind @ ..] = inside.get(charset.len()..)? else { return None };
    let base64 = match encoding {
        b'b' | b'B' => true,
        b'q' | b'Q' => false,
        _ => return None,
    };
    if charset.is_empty() || charset.iter().any(u8::is_ascii_whitespace) {
        return None;
    }
    let end = memmem::find(behind, b"?=")?;
    let length = text.len() - behind.len() + end + 2;
    let charset = charset.split(|octet| *octet == b'*').next()?;
    Some(Word { charset, base64, text: behind.get(..end)?, length })
}

struct Out<'t> {
    text: String,
    /// Octets of the words before, which may end within a character.
    octets: Vec<u8>,
    charset: &'t [u8],
    max: usize,
}

impl<'t> Out<'t> {
    fn is_full(&self) -> bool {
        self.text.len() + self.octets.len() > self.max
    }

    fn word(&mut self, word: &Word<'t>) {
        if !word.charset.eq_ignore_ascii_case(self.charset) {
            self.flush();
            self.charset = word.charset;
        }
        if word.base64 {
            Base64::append(word.text, &mut self.octets);
        } else {
            q_decode(word.text, &mut self.octets);
        }
    }

    fn flush(&mut self) {
        if !self.octets.is_empty() {
            let (text, _known) = charset::decode_whole(self.charset, &self.octets, self.max);
            self.text.push_str(&text);
            self.octets.clear();
        }
    }

    fn literal(&mut self, text: &[u8]) {
        self.flush();
        self.charset = b"";
        let text = text.get(..self.max.saturating_add(4)).unwrap_or(text);
        charset::push_guessed(text, &mut self.text);
    }

    fn finish(mut self) -> String {
        self.flush();
        let mut end = self.max.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.truncate(end);
        self.text
    }
}

/// The Q encoding (RFC 2047 section 4.2); an `=` without two hexadecimal digits stays.
fn q_decode(text: &[u8], out: &mut Vec<u8>) {
    let mut octets = text.iter().copied().enumerate();
    while let Some((at, octet)) = octets.next() {
        let coded = match (octet, text.get(at + 1..at + 3)) {
            (b'=', Some([high, low])) => hex_pair(*high, *low),
            _ => None,
        };
        if let Some(coded) = coded {
            out.push(coded);
            octets.nth(1);
        } else {
            out.push(if octet == b'_' { b' ' } else { octet });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        let rows: &[(&str, &str)] = &[
            ("", ""),
            ("plain = text =? here", "plain = text =? here"),
            ("=?iso-8859-1?q?this=20is_some text?=", "this is some text"),
            ("=?utf-8?b?w6k?=", "\u{e9}"),
            ("=?ISO-8859-1?Q?a?= \t =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?utf-8?q?caf=C3?= =?UTF-8?q?=A9?=", "caf\u{e9}"),
            ("=?utf-8?b?4pi?= =?utf-8?b?6?=", "\u{fffd}"),
            ("a =?utf-8?q?b?= c =?utf-8?q?d?=", "a b c d"),
            ("[x]=?utf-8*en?q?caf=C3=A9?=y", "[x]caf\u{e9}y"),
            ("=?utf-8?Q??=here", "here"),
            ("=?x?q?a?=", "a"),
            ("=?utf-8?q?=ZZ=4?=", "=ZZ=4"),
            ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
            ("=?utf-8?q?a", "=?utf-8?q?a"),
            ("=? ?q?a?=", "=? ?q?a?="),
            ("=?a=?utf-8?q?b?=", "=?ab"),
            ("gr\u{fc}n", "gr\u{fc}n"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\u{65e5}\u{672c}"),
        ];
        for (text, want) in rows {
            assert_eq!(decode(text.as_bytes(), 1_000), *want, "{text}");
        }
        assert_eq!(decode(b"gr\xfcn \x80", 100), "gr\u{fc}n \u{20ac}");
    }

    #[test]
    fn is_bounded() {
        assert_eq!(decode("\u{e9}\u{e9}\u{e9}".as_bytes(), 3), "\u{e9}");
        let word = "=?utf-8?q?aaaaaaaaaa?= ".repeat(100_000);
        assert_eq!(decode(word.as_bytes(), 1_000), "a".repeat(1_000));
        // Beginnings without an end are looked at once.
        let open = "=?a?q?x ".repeat(200_000);
        assert_eq!(decode(open.as_bytes(), 2_000_000).len(), open.len());
        let hardly = format!("?={open}");
        assert_eq!(decode(hardly.as_bytes(), 2_000_000).len(), hardly.len());
    }
}
