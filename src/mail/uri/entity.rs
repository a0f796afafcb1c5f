//! Character references of HTML, as far as they can hide a URI: numbers, and the names of ASCII
//! characters and of what cannot be seen.

use memchr::memchr;

/// Octets of a reference that are looked at.
pub(super) const REFERENCE_MAX: usize = 128;

/// Names that stand for ASCII characters or for nothing that is seen.
const NAMES: &[(&str, char)] = &[
    ("amp", '&'),
    ("AMP", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("colon", ':'),
    ("sol", '/'),
    ("bsol", '\\'),
    ("period", '.'),
    ("commat", '@'),
    ("num", '#'),
    ("quest", '?'),
    ("equals", '='),
    ("percnt", '%'),
    ("hyphen", '-'),
    ("dash", '-'),
    ("lowbar", '_'),
    ("lpar", '('),
    ("rpar", ')'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("excl", '!'),
    ("ast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("semi", ';'),
    ("dollar", '$'),
    ("shy", '\u{ad}'),
    ("zwj", '\u{200d}'),
    ("zwnj", '\u{200c}'),
    ("ZeroWidthSpace", '\u{200b}'),
    ("NoBreak", '\u{2060}'),
];

/// Names that need no semicolon, as HTML has it for the oldest ones.
const OPEN: &[&str] = &["AMP", "amp", "gt", "lt", "nbsp", "quot", "shy"];

/// Whether an octet may stand inside a reference.
pub(super) fn is_inner(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'#'
}

/// Appends `text` with its references resolved. Others stay.
pub(super) fn resolve(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr(b'&', rest) {
        let (before, behind) = rest.split_at_checked(at).unwrap_or((rest, b""));
        out.extend_from_slice(before);
        rest = if let Some((char, length)) = reference(behind) {
            out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            behind.get(length..).unwrap_or_default()
        } else {
            out.push(b'&');
            behind.get(1..).unwrap_or_default()
        };
    }
    out.extend_from_slice(rest);
}

/// What the reference at the start of `text` stands for, and its length. Numbers need no semicolon.
fn reference(text: &[u8]) -> Option<(char, usize)> {
    let text = text.get(..REFERENCE_MAX).unwrap_or(text);
    let (value, length) = match text {
        [b'&', b'#', b'x' | b'X', digits @ ..] => {
            let (char, length) = number(digits, 16)?;
            (char, length + 3)
        }
        [b'&', b'#', digits @ ..] => {
            let (char, length) = number(digits, 10)?;
            (char, length + 2)
        }
        [b'&', name @ ..] => {
            let length = name.iter().take_while(|octet| octet.is_ascii_alphanumeric()).count();
            let name = name.get(..length)?;
            let (_, value) = NAMES.iter().find(|(known, _)| known.as_bytes() == name)?;
            let ended = text.get(length + 1) == Some(&b';');
            if !ended && !OPEN.iter().any(|open| open.as_bytes() == name) {
                return None;
            }
            (*value, length + 1)
        }
        _ => return None,
    };
    Some((value, length + usize::from(text.get(length) == Some(&b';'))))
}

/// The character with a number, and the number's length.
fn number(text: &[u8], base: u32) -> Option<(char, usize)> {
    let length = text.iter().take_while(|octet| char::from(**octet).is_digit(base)).count();
    let digits = text.get(..length).filter(|digits| !digits.is_empty())?;
    let value = digits.iter().fold(0_u32, |sum, digit| {
        sum.saturating_mul(base).saturating_add(char::from(*digit).to_digit(base).unwrap_or(0))
    });
    Some((char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves() {
        let rows: &[(&str, &str)] = &[
            ("", ""),
            ("a&amp;b&ampc", "a&b&ampc"),
            ("&#104;&#x74;&#X74;p&#58//x", "http://x"),
            ("&colon;&sol;&period;", ":/."),
            ("a&num=5&lt=b", "a&num=5<=b"),
            ("&#0000000000000104;", "h"),
            ("&#99999999999;&#xd800;", "\u{fffd}\u{fffd}"),
            ("& &; &# &#; &#x; &unknown; &", "& &; &# &#; &#x; &unknown; &"),
            ("e&shy;v&ZeroWidthSpace;il", "e\u{ad}v\u{200b}il"),
        ];
        for (text, want) in rows {
            let mut out = Vec::new();
            resolve(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), *want, "{text}");
        }
    }
}
