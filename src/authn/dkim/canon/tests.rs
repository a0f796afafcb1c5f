//! Both forms on the examples of RFC 6376, on odd bodies, and in pieces of any size.

use super::*;
use crate::authn::crypto::sha256;
use std::cell::RefCell;

/// The form of a body, made the slow way from the words of the RFC.
fn plainly(canon: Canon, body: &str) -> String {
    let text = body.replace("\r\n", "\n");
    let ends = text.ends_with('\n');
    let mut lines: Vec<String> = text.split('\n').map(str::to_string).collect();
    if ends {
        lines.pop();
    }
    if canon == Canon::Relaxed {
        for line in &mut lines {
            let squeezed: Vec<&str> = line.split([' ', '\t']).filter(|it| !it.is_empty()).collect();
            let front =
                if line.starts_with([' ', '\t']) && !squeezed.is_empty() { " " } else { "" };
            *line = format!("{front}{}", squeezed.join(" "));
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    match (lines.is_empty(), canon) {
        (true, Canon::Simple) => "\r\n".to_string(),
        (true, Canon::Relaxed) => String::new(),
        (false, _) => lines.join("\r\n") + "\r\n",
    }
}

fn all_of(canon: Canon, body: &[u8]) -> Option<BodyHash> {
    hash_body(body, &[Wanted { canon, length: None }], &|_| ())[0]
}

/// Each row: a body, its simple form and its relaxed one (RFC 6376 sections 3.4.3 to 3.4.5).
#[test]
fn bodies() {
    for (body, simple, relaxed) in [
        ("", "\r\n", ""),
        ("\r\n", "\r\n", ""),
        ("\r\n\r\n\r\n", "\r\n", ""),
        (" \r\n", " \r\n", ""),
        (" \t\r\n\t\r\n", " \t\r\n\t\r\n", ""),
        (" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"),
        ("a", "a\r\n", "a\r\n"),
        ("a \t", "a \t\r\n", "a\r\n"),
        ("a\r\n\r\nb\r\n\r\n", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"),
        ("a\r\n \r\nb", "a\r\n \r\nb\r\n", "a\r\n\r\nb\r\n"),
        ("\r\n\r\na\r\n", "\r\n\r\na\r\n", "\r\n\r\na\r\n"),
        ("a  b\tc d\r\n", "a  b\tc d\r\n", "a b c d\r\n"),
        ("a\rb\r\n", "a\rb\r\n", "a\rb\r\n"),
        ("a\r\r\n", "a\r\r\n", "a\r\r\n"),
        ("a\r", "a\r\r\n", "a\r\r\n"),
        ("\u{e4}\u{a0} \r\n", "\u{e4}\u{a0} \r\n", "\u{e4}\u{a0}\r\n"),
    ] {
        // A CR before LF cannot be told from a line end any more.
        let lf = if body.contains("\r\r") { body.into() } else { body.replace("\r\n", "\n") };
        for stored in [body.to_string(), lf] {
            for (canon, form) in [(Canon::Simple, simple), (Canon::Relaxed, relaxed)] {
                let found = all_of(canon, stored.as_bytes());
                let hash = sha256(form.as_bytes());
                assert_eq!(found, Some(BodyHash { hash, uncovered: 0 }), "{canon:?} {stored:?}");
            }
        }
    }
}

/// A generator for bodies of lines, blanks and ends.
fn random_body(seed: &mut u64, octets: usize) -> String {
    const PIECES: [&str; 10] =
        ["\r\n", "\n", "\r\n\r\n", " ", "\t", "  ", "a", "bc", "word ", "=3D"];
    let mut body = String::new();
    while body.len() < octets {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        body.push_str(PIECES[usize::try_from(*seed % 10).unwrap()]);
    }
    body
}

/// Many bodies against the slow way; some are longer than a block, or have a line that is.
#[test]
fn any_body_hashes_as_the_rfc_says() {
    let mut seed = 0x9e37_79b9;
    let mut bodies: Vec<String> = (0..400).map(|size| random_body(&mut seed, size)).collect();
    bodies.push(random_body(&mut seed, 3 * BLOCK));
    bodies.push("x ".repeat(BLOCK) + "\r\n" + &random_body(&mut seed, BLOCK));
    bodies.push("x".repeat(BLOCK - 1) + "\r\n" + &"y  z".repeat(BLOCK));
    bodies.push("a\r\n".to_string() + &"\r\n".repeat(BLOCK) + "b");
    for body in &bodies {
        for canon in [Canon::Simple, Canon::Relaxed] {
            let hash = sha256(plainly(canon, body).as_bytes());
            assert_eq!(all_of(canon, body.as_bytes()).map(|it| it.hash), Some(hash), "{body:?}");
        }
    }
}

/// Any number of parts, in both forms, from one pass that tells how far it is.
#[test]
fn parts_come_from_the_same_pass() {
    let body = "0123456789 abcdef \r\n".repeat(200_000) + "\r\n\r\n";
    for (canon, octets) in [(Canon::Simple, 20 * 200_000_u64), (Canon::Relaxed, 19 * 200_000)] {
        let form = plainly(canon, &body);
        assert_eq!(form.len() as u64, octets);
        let lengths = [octets, 0, 5, 5, 70_000, octets - 1, octets + 1, u64::MAX];
        let mut wanted: Vec<Wanted> =
            lengths.iter().map(|length| Wanted { canon, length: Some(*length) }).collect();
        wanted.push(Wanted { canon, length: None });
        let other = if canon == Canon::Simple { Canon::Relaxed } else { Canon::Simple };
        wanted.push(Wanted { canon: other, length: Some(3) });
        let told = RefCell::new(Vec::new());
        let found = hash_body(body.as_bytes(), &wanted, &|upto| told.borrow_mut().push(upto));
        for (wish, found) in wanted.iter().zip(&found).take(lengths.len()) {
            let length = wish.length.unwrap();
            let expected = (length <= octets).then(|| BodyHash {
                hash: sha256(&form.as_bytes()[..usize::try_from(length).unwrap()]),
                uncovered: octets - length,
            });
            assert_eq!(*found, expected, "{length}");
        }
        assert_eq!(found[8], Some(BodyHash { hash: sha256(form.as_bytes()), uncovered: 0 }));
        assert_eq!(found[9].map(|it| it.hash), Some(sha256(b"012")));
        let told = told.into_inner();
        assert!((3..=4).contains(&told.len()) && told.is_sorted(), "{told:?}");
        assert!(told.iter().all(|upto| *upto <= body.len()));
    }
    assert_eq!(hash_body(b"x", &[], &|_| ()), []);
}

#[test]
fn header_fields() {
    for (name, value, expected) in [
        ("A", " X", "a:X"),
        ("B", "Y\t\r\n\tZ  ", "b:Y Z"),
        ("SUBJect", " AbC\r\n", "subject:AbC"),
        ("X", "  ", "x:"),
        ("X", "", "x:"),
    ] {
        let mut out = Vec::new();
        relaxed_field(&mut out, name.as_bytes(), &[value.as_bytes()]);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
