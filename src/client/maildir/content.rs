//! The fields that stand above the message in a delivered file.

/// One header field as a line. Line ends and other controls in `value` become `_`: whoever chose
/// an address cannot add fields of his own.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(name.len() + value.len() + 3);
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b": ");
    line.extend(value.bytes().map(|octet| if octet.is_ascii_control() { b'_' } else { octet }));
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_brings_another_with_it() {
        let rows = [
            ("<a@example.com>", "X: <a@example.com>\n"),
            ("<>", "X: <>\n"),
            ("a\r\nBcc: b\0\t", "X: a__Bcc: b__\n"),
            ("grüße@example.com", "X: grüße@example.com\n"),
        ];
        for (value, expected) in rows {
            assert_eq!(field("X", value), expected.as_bytes(), "{value:?}");
        }
    }
}
