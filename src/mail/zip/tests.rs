//! Archives of every make, whole, cut, damaged, nested, and made to take long.

use super::*;
use miniz_oxide::deflate::compress_to_vec;

/// An entry with its file, and its line in the directory.
struct File<'a> {
    name: &'a [u8],
    data: Vec<u8>,
    method: u16,
    flags: u16,
}

fn stored(name: &str, data: &[u8]) -> File<'static> {
    let name = name.as_bytes().to_vec().leak();
    File { name, data: data.to_vec(), method: STORED, flags: 0 }
}

fn deflated(name: &str, data: &[u8]) -> File<'static> {
    // Sizes stand behind the data, as in archives that were written to a pipe.
    File { data: compress_to_vec(data, 6), method: DEFLATED, flags: 8, ..stored(name, b"") }
}

fn head(file: &File<'_>, signature: [u8; 4], before: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut out = signature.to_vec();
    out.extend(before);
    out.extend([20, 0]);
    out.extend(file.flags.to_le_bytes());
    out.extend(file.method.to_le_bytes());
    out.extend([0; 16]);
    out.extend(u16::try_from(file.name.len()).unwrap().to_le_bytes());
    out.extend([0, 0]);
    out.extend(behind);
    out.extend(file.name);
    out
}

fn archive(files: &[File<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for file in files {
        out.extend(head(file, LOCAL, &[], &[]));
        out.extend(&file.data);
    }
    for file in files {
        out.extend(head(file, CENTRAL, &[20, 0], &[0; 14]));
    }
    out.extend(END);
    out.extend([0; 18]);
    out
}

/// Names, each once, then `=` and heads as text, then facts.
fn look(archive: &[u8], size: usize) -> (Vec<String>, Facts) {
    let (mut scanner, mut budget, mut seen) = (Scanner::new(), Budget::default(), Vec::new());
    let mut see = |it: Seen<'_>| {
        let text = match it {
            Seen::Name(name) => name.to_string(),
            Seen::Head(head) => format!("={}", head.get(..4).unwrap_or(head).escape_ascii()),
        };
        if !seen.contains(&text) {
            seen.push(text);
        }
    };
    for piece in archive.chunks(size) {
        scanner.feed(piece, &mut budget, &mut see);
    }
    let facts = scanner.finish(&mut budget, &mut see);
    seen.sort();
    (seen, facts)
}

#[test]
fn names_and_beginnings_however_it_is_cut() {
    let program = [b"MZ\x90\0".as_slice(), &[7; 200]].concat();
    let inner = archive(&[deflated("in.exe", &program), stored("b.txt", b"text")]);
    let nested = archive(&[deflated("x.dat", &archive(&[stored("deep.js", b"var x")]))]);
    let none = Facts::default();
    let rows: Vec<(Vec<u8>, &[&str], Facts)> = vec![
        (
            archive(&[stored("a/b.txt", b"hello"), stored("c/", b"")]),
            &["=hell", "a/b.txt", "c/"],
            none,
        ),
        (archive(&[deflated("a.txt", &program)]), &["=MZ\\x90\\x00", "a.txt"], none),
        (
            archive(&[deflated("i.zip", &inner), deflated("z", b"zz")]),
            &["=MZ\\x90\\x00", "=PK\\x03\\x04", "=text", "=zz", "b.txt", "i.zip", "in.exe", "z"],
            none,
        ),
        (
            // What begins with a head is not shown as a file's beginning too.
            archive(&[stored("i.zip", &inner)]),
            &["=MZ\\x90\\x00", "=text", "b.txt", "i.zip", "in.exe"],
            none,
        ),
        (
            archive(&[deflated("n.zip", &nested)]),
            &["=PK\\x03\\x04", "=var ", "deep.js", "n.zip", "x.dat"],
            none,
        ),
        (
            archive(&[File { flags: 1, ..stored("secret.exe", b"noise") }]),
            &["secret.exe"],
            Facts { encrypted: true, ..none },
        ),
        (archive(&[]), &[], none),
        (b"PK no archive, nor PK\x03\x04".to_vec(), &[], Facts { broken: true, ..none }),
    ];
    for (text, expected, facts) in rows {
        for size in [1, 3, 50, text.len()] {
            let (seen, found) = look(&text, size);
            assert_eq!(seen, expected, "in pieces of {size}");
            assert_eq!(found, facts, "{expected:?} in pieces of {size}");
        }
    }
}

#[test]
fn either_list_alone_will_do_and_a_cut_archive_is_broken() {
    let whole = archive(&[stored("a.exe", b"MZ\x01\0"), deflated("b.txt", &[7; 5_000])]);
    let directory = memmem::find(&whole, &CENTRAL).unwrap();
    let (seen, facts) = look(&whole[directory..], 9);
    assert_eq!(seen, ["a.exe", "b.txt"]);
    assert!(!facts.broken);
    let (seen, facts) = look(&whole[..directory], 9);
    assert!(seen.contains(&"a.exe".to_string()) && seen.contains(&"b.txt".to_string()));
    assert!(facts.broken);
    for cut in 0..whole.len() {
        let (_, facts) = look(&whole[..cut], 64);
        assert!(facts.broken || cut + 18 >= whole.len(), "cut at {cut}");
    }
    let mut damaged = File { data: vec![0xff; 40], ..deflated("a", b"") };
    damaged.flags = 0;
    assert!(look(&archive(&[damaged]), 1_000).1.broken);
}

#[test]
fn the_name_in_unicode_counts_too() {
    let mut text = head(&stored("a.txt", b""), LOCAL, &[], &[]);
    let extra = [&[0x75, 0x70, 10, 0, 1, 0, 0, 0, 0][..], b"b.exe"].concat();
    text[28..30].copy_from_slice(&u16::try_from(extra.len()).unwrap().to_le_bytes());
    text.extend(extra);
    assert_eq!(look(&text, 5).0, ["a.txt", "b.exe"]);
}

#[test]
fn bombs_are_bounded() {
    // Zeros that begin as an archive: inflated no further than the budget, at any depth.
    let mut zeros = archive(&[stored("x", b"x")]);
    zeros.resize(2 * ZIP_INFLATED_MAX, 0);
    let bomb = archive(&[deflated("bomb.zip", &zeros)]);
    let (seen, facts) = look(&bomb, 10_000);
    assert!(seen.contains(&"bomb.zip".to_string()) && facts.too_much);
    let mut nested = archive(&[deflated("core.exe", &[b'M'; 100])]);
    for level in 0..100 {
        nested = archive(&[deflated(&format!("{level}.zip"), &nested)]);
    }
    let (seen, facts) = look(&nested, 1_000);
    assert!(facts.too_much && seen.contains(&"99.zip".to_string()));
    assert!(!seen.contains(&"core.exe".to_string()));
    // As many entries as there is room for, each with the longest name: linear, and bounded.
    let many = head(&stored("a", b""), LOCAL, &[], &[]).repeat(3 * ZIP_ENTRIES_MAX);
    assert!(look(&many, 100_000).1.too_much);
    let mut long = LOCAL.to_vec();
    long.extend([20, 0, 0, 0, 0, 0]);
    long.extend([0; 16]);
    long.extend([0xff; 4]);
    let (mut scanner, mut budget) = (Scanner::new(), Budget::default());
    for piece in long.repeat(100_000).chunks(50_000) {
        scanner.feed(piece, &mut budget, &mut |_| {});
        assert!(scanner.held.len() <= 50_000 + 30 + 2 * 0xffff, "{}", scanner.held.len());
    }
    assert!(scanner.finish(&mut budget, &mut |_| {}).too_much);
}
