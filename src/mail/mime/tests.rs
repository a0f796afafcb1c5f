//! Examples of how broken messages are read.

use super::fuzz::structure;
use super::*;
use crate::limits::{MIME_DEPTH_MAX, MIME_PARTS_MAX};
use std::ops::ControlFlow;

/// A message's structure: kinds with bodies, roles with texts; faults behind it.
fn show(message: &str) -> String {
    let message = message.replace('\n', "\r\n");
    let mime = Mime::index(message.as_bytes());
    structure(&mime, message.as_bytes());
    let contents: Vec<String> = mime
        .contents
        .iter()
        .map(|content| {
            let part = &mime.parts[content.part];
            let text = message[content.range.clone()].replace("\r\n", "|");
            let role = match content.role {
                Role::Body => part.content_type(message.as_bytes()).head().to_string(),
                role => format!("{role:?}"),
            };
            format!("{}{role} <{text}>", ".".repeat(part.depth))
        })
        .collect();
    format!("{} {:?}", contents.join(" "), mime.faults)
}

/// Messages and what `show` makes of them.
const STRUCTURES: &[(&str, &str)] = &[
    ("", "text/plain <> {NoBlankLine}"),
    ("A: b\n\nx", "text/plain <x> {}"),
    (
        "Content-Type: MULTIPART/Mixed; BOUNDARY=b\n\npre\n--b\n\nx\n--b--\nepi\n",
        "Preamble <pre> .text/plain <x> Epilogue <epi|> {Preamble, Epilogue}",
    ),
    // No final boundary; a boundary at the very end; parts behind the end.
    ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n", ".text/plain <x|> {NotClosed}"),
    ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b", ".text/plain <x> {NotClosed}"),
    (
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--\n",
        ".text/plain <x> .text/plain <y> {PartBehindEnd}",
    ),
    // No boundary parameter, an empty one, two of them, one that only begins like it.
    ("Content-Type: multipart/mixed\n\n--b\n\nx\n--b--\n", ".text/plain <x> {NoBoundary}"),
    (
        "Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\nx\n----\n",
        ".text/plain <x> {NoBoundary}",
    ),
    (
        "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n--a\n\nx\n--b\n\ny\n--a--\n",
        ".text/plain <x> .text/plain <y> {ParameterTwice, BoundaryTwice}",
    ),
    (
        "Content-Type: multipart/mixed; boundary=a b\n\n--a\n\nx\n--a--\n",
        ".text/plain <x> {UnquotedBlank, BoundaryTwice}",
    ),
    (
        "Content-Type: multipart/mixed; boundary=b\n\n--bc\n\nx\n--bc--\n",
        ".text/plain <x> {LooseDelimiter}",
    ),
    ("Content-Type: multipart/mixed; boundary=b\n\nx\n", "multipart/mixed <x|> {NoDelimiter}"),
    // The outer boundary ends what is open inside; the inner one is its own again outside.
    (
        "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; \
             boundary=i\n\n--i\n\nx\n--o\n\ny\n--i\n\nz\n--o--\n",
        "..text/plain <x> .text/plain <y|--i||z> {NotClosed}",
    ),
    // Messages.
    ("Content-Type: message/rfc822\n\nSubject: x\n\ny", ".text/plain <y> {}"),
    ("Content-Type: message/rfc822\n\nno message", "message/rfc822 <no message> {}"),
    (
        "Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: b\n\nx\n--b--\n",
        "..text/plain <x> {}",
    ),
    ("Content-Type: message/partial; id=x\n\nx", "message/partial <x> {Partial}"),
    (
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQTogYgoKeA==\n",
        "message/rfc822 <QTogYgoKeA==|> {EncodedContainer}",
    ),
    // Types and encodings.
    (
        "Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n",
        ".text/plain <x> OtherReading <--b||x|--b--|> {TypeTwice}",
    ),
    ("Content-Type: text\n\nx", "text <x> {BadType}"),
    ("Content-Type: /\n\nx", "text/plain <x> {BadType}"),
    ("Content-Transfer-Encoding: zip\n\nx", "text/plain <x> {UnknownEncoding}"),
    (
        "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\nx",
        "text/plain <x> {EncodingTwice}",
    ),
    ("Content-Type: text/plain; x=\"\0\"\n\nx", "text/plain <x> {NulInHeader}"),
    // A header in a part.
    (
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b\nx\n\
             Content-Type: text/html\n\ny\n--b--\n",
        ".text/html <> .text/html <y> {HeaderGarbage, NoBlankLine}",
    ),
];

#[test]
fn structures() {
    for (message, want) in STRUCTURES {
        assert_eq!(&show(message), want, "{message}");
    }
}

/// Multiparts within one another: the line that opens one, and the header of the next.
fn nested(depth: usize) -> String {
    let mut message = String::new();
    for level in 0..depth {
        message.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n"));
        message.push_str(&format!("--b{level}x\r\n"));
    }
    message
}

#[test]
fn bombs() {
    let many = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        "--b\r\n\r\nx\r\n".repeat(100_000)
    );
    let same = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(10_000);
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    let hyphens = format!("{}{}", nested(99), "--\r\n".repeat(500_000));
    let near = format!("{}{}", nested(99), "--b98x!\r\n--b0x?\r\n".repeat(100_000));
    let unnamed = "Content-Type: multipart/mixed\r\n\r\n--b\r\n".repeat(10_000);
    let rows: &[(String, usize, &[Fault])] = &[
        (many, MIME_PARTS_MAX, &[Fault::TooManyParts]),
        (nested(10_000), MIME_DEPTH_MAX + 1, &[Fault::TooDeep]),
        (same, MIME_PARTS_MAX, &[Fault::TooDeep, Fault::BoundaryReused, Fault::TooManyParts]),
        (messages, MIME_DEPTH_MAX + 1, &[Fault::TooDeep]),
        (hyphens, 100, &[]),
        (near, 100, &[]),
        (unnamed, 0, &[Fault::NoBoundary]),
        (format!("A: b\r\n\r\n{}", "\r\n--".repeat(1_000_000)), 1, &[]),
        ("Content-Type: text/plain;".repeat(100_000), 1, &[Fault::HeaderTooLarge]),
        (format!("Content-Type: a/b; {}", "x=y;".repeat(200_000)), 1, &[Fault::ManyParameters]),
        (format!("Content-Type: a/b; {}", "(".repeat(1_000_000)), 1, &[]),
        (format!("Content-Type: a/b; x={}", " ".repeat(1_000_000)), 1, &[]),
        (format!("Content-Type: a/b; x={}", "y ".repeat(500_000)), 1, &[]),
        (format!("Content-Type: multipart/a{}", "; boundary=b".repeat(80_000)), 1, &[]),
    ];
    for (message, parts, faults) in rows {
        let mime = Mime::index(message.as_bytes());
        structure(&mime, message.as_bytes());
        let start = &message[..message.len().min(60)];
        assert!(*parts == 0 || mime.parts.len() == *parts, "{start:?} {}", mime.parts.len());
        for fault in *faults {
            assert!(mime.faults.contains(*fault), "{start:?} {:?}", mime.faults);
        }
        // Nothing is lost: the end of the message is the end of a content.
        let end = mime.contents.iter().map(|content| content.range.end).max();
        assert_eq!(end, Some(message.len()), "{start:?}");
    }
}

#[test]
fn containers_in_containers() {
    let pack = |inner: &str| {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, inner);
        format!(
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{text}\r\n"
        )
    };
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: \
        quoted-printable\r\n\r\n=2D-b\r\n\r\nx=\r\ny\r\n--b--\r\n";
    let seen = |message: &str| {
        let mut texts = Vec::new();
        let faults = each_content(message.as_bytes(), &|_| {}, &mut |item: &Item<'_>| {
            let (mut body, mut buffer, mut out) = (item.body(), [0; 512], Vec::new());
            while let Some(piece) = body.next(&mut buffer) {
                out.extend_from_slice(piece);
            }
            texts.push(format!("{} {}", item.unpacked, out.escape_ascii()));
            ControlFlow::Continue(())
        });
        (texts, faults)
    };
    let (texts, _) = seen(&pack("A: b\n\ninner\n"));
    assert_eq!(texts, [r"0 A: b\n\ninner\n", r"1 inner\n"]);
    let (texts, _) = seen(multipart);
    assert_eq!(texts, [r"0 --b\r\n\r\nxy\r\n--b--\r\n", "1 xy"]);
    let deep = (0..7).fold("A: b\n\ninner\n".to_string(), |inner, _| pack(&inner));
    let (texts, faults) = seen(&deep);
    assert_eq!(texts.len(), 5);
    assert!(faults.contains(Fault::TooDeep));
    let large = pack(&format!("A: b\n\n{}", "x".repeat(6_000_000)));
    let (texts, faults) = seen(&large);
    assert_eq!(texts[1].len(), 2 + crate::limits::MIME_UNPACKED_MAX - 6);
    assert!(faults.contains(Fault::TooLargeToUnpack));
    assert_eq!(seen(&pack("no message")).0.len(), 1);
}

#[test]
fn names() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("Content-Type: a/b; name=x.exe", "x.exe", &["x.exe"]),
        (
            "Content-Type: a/b; name=x.txt\nContent-Disposition: attachment; filename=\"y.exe\"",
            "y.exe",
            &["y.exe", "x.txt"],
        ),
        // RFC 2231 before everything, whole and in pieces, in any order.
        (
            "Content-Disposition: inline; filename=a.txt; filename*=utf-8''b%2Eexe",
            "b.exe",
            &["a.txt", "b.exe"],
        ),
        (
            "Content-Disposition: attachment; filename*1=\"e\"; filename*0=\"x.ex\"",
            "x.exe",
            &["x.exe"],
        ),
        (
            "Content-Disposition: attachment; filename*0=x; filename*2=.exe",
            "x.exe",
            &["x.exe", "x"],
        ),
        // Words in quotes, cut within the name, folded.
        ("Content-Type: a/b; name=\"=?utf-8?q?x=2E?=\n =?utf-8?q?exe?=\"", "x.exe", &["x.exe"]),
        ("Content-Type: a/b; name==?utf-8?b?eC5leGU=?=", "x.exe", &["x.exe"]),
        // Two readings.
        ("Content-Type: a/b; name=\"x.txt\".exe", "x.txt", &["x.txt", "x.txt.exe"]),
        ("Content-Type: a/b; name=x.txt .exe", "x.txt .exe", &["x.txt .exe", "x.txt"]),
        ("Content-Type: a/b; name=x (1).exe", "x", &["x", "x (1).exe"]),
        ("Content-Type: a/b; name=x; name=y", "x", &["x", "y"]),
        ("Content-Type: a/b; name=\"x.exe", "x.exe", &["x.exe"]),
        ("Content-Type: a/b name=\"x\\\"y\\\\z\" charset=q", "x\"y\\z", &["x\"y\\z"]),
        ("Content-Type: a/b; name=\"x\0.exe\"", "x\0.exe", &["x\0.exe"]),
        ("Content-Disposition: ;\n filename=x.exe", "x.exe", &["x.exe"]),
        ("Content-Disposition: x.exe", "-", &[]),
        ("Content-Description: =?utf-8?q?x=2Eexe?=", "-", &["x.exe"]),
    ];
    for (header, name, all) in rows {
        let message = format!("{header}\n\n").replace('\n', "\r\n");
        let part = &Mime::index(message.as_bytes()).parts[0];
        let found = part.file_name(message.as_bytes());
        assert_eq!(found.as_deref().unwrap_or("-"), *name, "{header}");
        assert_eq!(part.file_names(message.as_bytes()), *all, "{header}");
    }
}
