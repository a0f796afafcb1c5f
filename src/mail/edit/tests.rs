//! Lists of edits, and the messages that they make.

use super::*;

fn insert(name: &str, value: &str) -> Edit {
    Edit::Insert { name: name.into(), value: value.into() }
}
fn append(name: &str, value: &str) -> Edit {
    Edit::Append { name: name.into(), value: value.into() }
}
fn change(name: &str, nth: usize, value: &str) -> Edit {
    Edit::Change { name: name.into(), nth, value: value.into() }
}
fn delete(name: &str, nth: Option<usize>) -> Edit {
    Edit::Delete { name: name.into(), nth }
}

#[test]
fn written_as_it_was_read() {
    let rows: &[(&str, &str)] = &[
        ("A: b\r\n c\r\n\r\nbody", "A: b\r\n c\r\n\r\nbody"),
        ("", "\r\n"),
        ("\r\nbody", "\r\nbody"),
        ("body\r\n", "\r\nbody\r\n"),
        (" A: b\r\n", "\r\n A: b\r\n"),
        ("A: b\r\nnot a field\r\n\r\nx", "A: b\r\n\r\nnot a field\r\n\r\nx"),
        ("A: b", "A: b\r\n\r\n"),
        ("A: b\r\n", "A: b\r\n\r\n"),
        ("A : b\r\nC:", "A : b\r\nC:\r\n\r\n"),
        ("From x Mon\r\n y\r\nA: b\r\n\r\nz", "Mail-From: x Mon\r\n y\r\nA: b\r\n\r\nz"),
        ("From ", "Mail-From: \r\n\r\n"),
        ("From : a\r\n\r\nz", "From : a\r\n\r\nz"),
        ("A: b\r", "A: b\r\r\n\r\n"),
    ];
    for (message, want) in rows {
        let message = message.as_bytes();
        let current = Current::new(message).unwrap();
        let written = current.parts(message).concat();
        assert_eq!(written.escape_ascii().to_string(), want.as_bytes().escape_ascii().to_string());
        fuzz(message);
    }
}

#[test]
fn edits_follow_one_another() {
    let message = b"A: 1\r\nB: 2\r\na : 3\r\n\r\nbody";
    let rows: &[(&[Edit], &str)] = &[
        (&[], "A: 1|B: 2|a : 3"),
        (&[insert("X", "1"), insert("Y", "2")], "Y: 2|X: 1|A: 1|B: 2|a : 3"),
        (&[insert("X", "1"), append("Y", "2")], "X: 1|A: 1|B: 2|a : 3|Y: 2"),
        (&[delete("a", None)], "B: 2"),
        (&[delete("a", Some(0))], "B: 2|a : 3"),
        (&[delete("A", Some(1)), delete("A", Some(0))], "B: 2"),
        (&[delete("A", Some(0)), delete("A", Some(1))], "B: 2|a : 3"),
        (&[delete("C", None), delete("A", Some(2))], "A: 1|B: 2|a : 3"),
        (&[change("A", 1, "4")], "A: 1|B: 2|A: 4"),
        (&[change("A", 2, "4"), change("", 0, "4")], "A: 1|B: 2|a : 3"),
        (&[insert("A", "0"), change("a", 0, "x")], "a: x|A: 1|B: 2|a : 3"),
        (&[insert("A", "0"), delete("A", None)], "B: 2"),
        (&[delete("A", None), delete("B", None)], ""),
    ];
    for (edits, want) in rows {
        let mut current = Current::new(message).unwrap();
        current.apply(message, edits).unwrap();
        let header = String::from_utf8(current.header(message).to_vec()).unwrap();
        assert_eq!(header.trim_end().replace("\r\n", "|"), *want);
        let changed = header.as_bytes() != &message[..19];
        assert_eq!(current.version(), u32::from(changed), "{edits:?}");
        assert_eq!(current.body(message), b"body");
        same_when_read_again(&current, message);
    }
}

#[test]
fn each_version_builds_on_the_last() {
    let message = b"A: 1\r\n\r\nbody";
    let mut current = Current::new(message).unwrap();
    current.apply(message, &[insert("B", "2")]).unwrap();
    let body = NewBody::new(*b"other");
    current.apply(message, &[Edit::ReplaceBody(body), delete("A", None)]).unwrap();
    assert_eq!(current.parts(message).concat(), b"B: 2\r\n\r\nother");
    assert_eq!((current.version(), current.len(message)), (2, 13));
    // One bad edit, and none of the list is done.
    let bad = [delete("B", None), insert("C d", "x")];
    assert_eq!(current.apply(message, &bad), Err(EditError::BadName));
    assert_eq!(current.header(message), b"B: 2\r\n");
    assert_eq!(current.version(), 2);
}

#[test]
fn utf8_stays_where_it_was() {
    let message = "Subject: gr\u{fc}n\r\nTo: x\r\n\r\n".as_bytes();
    let mut current = Current::new(message).unwrap();
    let value = "[spam] gr\u{fc}n\u{202e}";
    let edits = [change("Subject", 0, value), change("To", 0, value)];
    current.apply(message, &edits).unwrap();
    let want = "Subject: [spam] gr\u{fc}n?\r\nTo: [spam] gr?n?\r\n";
    assert_eq!(current.header(message), want.as_bytes());
}

#[test]
fn places_are_counted_as_the_fields_stand() {
    let message = b"A: 1\r\nB: 2\r\nC: 3\r\n\r\n";
    let at = |at, name: &str| Edit::InsertAt { at, name: name.into(), value: "x".into() };
    for (edits, want) in [
        (vec![at(0, "N")], "N: x\r\nA: 1\r\nB: 2\r\nC: 3\r\n"),
        (vec![at(2, "N")], "A: 1\r\nB: 2\r\nN: x\r\nC: 3\r\n"),
        (vec![at(3, "N")], "A: 1\r\nB: 2\r\nC: 3\r\nN: x\r\n"),
        (vec![at(usize::MAX, "N")], "A: 1\r\nB: 2\r\nC: 3\r\nN: x\r\n"),
        (vec![delete("A", None), at(1, "N")], "B: 2\r\nN: x\r\nC: 3\r\n"),
    ] {
        let mut current = Current::new(message).unwrap();
        current.apply(message, &edits).unwrap();
        assert_eq!(current.header(message), want.as_bytes(), "{edits:?}");
    }
}

#[test]
fn bounds() {
    let message = "A: b\r\n".repeat(HEADER_FIELDS_MAX).into_bytes();
    let mut current = Current::new(&message).unwrap();
    current.apply(&message, &vec![insert("X", "y"); 100]).unwrap();
    let more = current.apply(&message, &[insert("X", "y")]);
    assert_eq!(more, Err(EditError::TooManyFields));
    current.apply(&message, &[delete("A", None)]).unwrap();
    let huge = insert("X", &"y".repeat(2 * HEADER_BLOCK_MAX));
    assert_eq!(current.apply(&message, &[huge]), Err(EditError::TooLarge));
    assert_eq!((current.headers().len(), current.version()), (100, 2));
}
