//! The ESMTP parameters behind a path (RFC 5321 section 4.1.2, `esmtp-param`).
//!
//! Their form is checked here, once, for MAIL and RCPT alike; what a keyword means, and which may
//! stand where, is the command's affair.

use super::{AddressError, is_blank, is_unsafe};
use crate::limits::PARAMETERS_MAX;

/// One parameter of MAIL or RCPT, as the client wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Letters, digits and hyphens, the first no hyphen; its case means nothing.
    pub keyword: &'a [u8],
    /// What stands behind the `=`, never empty; none if there was no `=`.
    pub value: Option<&'a [u8]>,
}

/// Reads `keyword[=value]` as often as it comes, blanks between. A value is UTF-8 without `=`,
/// blanks and control characters (RFC 6531 section 3.3 widens it beyond ASCII).
///
/// # Errors
/// `Syntax` for a malformed keyword or value, `TooLong` for more than
/// [`PARAMETERS_MAX`] parameters.
pub fn parameters(text: &[u8]) -> Result<Vec<Parameter<'_>>, AddressError> {
    let mut found = Vec::new();
    for word in text.split(|&byte| is_blank(byte)).filter(|word| !word.is_empty()) {
        if found.len() == PARAMETERS_MAX {
            return Err(AddressError::TooLong("list of parameters"));
        }
        found.push(parameter(word)?);
    }
    Ok(found)
}

fn parameter(word: &[u8]) -> Result<Parameter<'_>, AddressError> {
    let mut halves = word.splitn(2, |&byte| byte == b'=');
    let keyword = halves.next().unwrap_or_default();
    let value = halves.next();
    if !is_keyword(keyword) {
        return Err(AddressError::Syntax("parameter keyword"));
    }
    if !value.is_none_or(is_value) {
        return Err(AddressError::Syntax("parameter value"));
    }
    Ok(Parameter { keyword, value })
}

fn is_keyword(keyword: &[u8]) -> bool {
    keyword.first().is_some_and(u8::is_ascii_alphanumeric)
        && keyword.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_value(value: &[u8]) -> bool {
    !value.is_empty()
        && std::str::from_utf8(value)
            .is_ok_and(|text| !text.chars().any(|char| char == '=' || is_unsafe(char)))
}

/// Fuzz entry: the parameters are words of the text, in order and no more of them than allowed.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    let Ok(found) = parameters(data) else { return };
    assert!(found.len() <= PARAMETERS_MAX);
    let words = data.split(|&byte| is_blank(byte)).filter(|word| !word.is_empty());
    assert!(words.eq(found.iter().map(|parameter| match parameter.value {
        Some(value) => [parameter.keyword, b"=", value].concat(),
        None => parameter.keyword.to_vec(),
    })));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[(&str, Option<&str>)], AddressError>) {
        let found = parameters(text.as_bytes()).map(|list| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            list.iter()
                .map(|parameter| (text(parameter.keyword), parameter.value.map(text)))
                .collect::<Vec<_>>()
        });
        let expected = expected.map(|list| {
            list.iter()
                .map(|(keyword, value)| ((*keyword).to_owned(), value.map(str::to_owned)))
                .collect::<Vec<_>>()
        });
        assert_eq!(found, expected, "{text:?}");
        fuzz(text.as_bytes());
    }

    #[test]
    fn parameters_are_words() {
        let keyword = Err(AddressError::Syntax("parameter keyword"));
        let value = Err(AddressError::Syntax("parameter value"));
        check("", Ok(&[]));
        check(" \t ", Ok(&[]));
        check("SIZE=1000", Ok(&[("SIZE", Some("1000"))]));
        check("  size=1 \t BODY=8BITMIME ", Ok(&[("size", Some("1")), ("BODY", Some("8BITMIME"))]));
        check("SMTPUTF8", Ok(&[("SMTPUTF8", None)]));
        check("X-2=a 2x", Ok(&[("X-2", Some("a")), ("2x", None)]));
        check("AUTH=<>", Ok(&[("AUTH", Some("<>"))]));
        check("AUTH=e+3Dmc2@example.com", Ok(&[("AUTH", Some("e+3Dmc2@example.com"))]));
        check("ORCPT=utf-8;ü@example.com", Ok(&[("ORCPT", Some("utf-8;ü@example.com"))]));
        check("=1", keyword);
        check("-X=1", keyword);
        check("SI_ZE=1", keyword);
        check("SIZE\0=1", keyword);
        check("A\r\nB", keyword);
        check("ü=1", keyword);
        check("SIZE=", value);
        check("SIZE==1", value);
        check("SIZE=1=2", value);
        check("SIZE=1\r", value);
        check("SIZE=1\0", value);
        check("ENVID=\u{85}", value);
        check("ENVID=\u{202E}x", value);
    }

    #[test]
    fn parameters_are_bounded() {
        let many = "X ".repeat(PARAMETERS_MAX);
        assert_eq!(parameters(many.as_bytes()).map(|list| list.len()), Ok(PARAMETERS_MAX));
        check(&format!("{many}X"), Err(AddressError::TooLong("list of parameters")));
        assert_eq!(parameters(b"X=\xFF"), Err(AddressError::Syntax("parameter value")));
    }
}
