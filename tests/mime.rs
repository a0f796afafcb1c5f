//! Messages of other projects' tests, taken apart and compared with what those projects say of them.

use crate::corpus;
use crate::json::Json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailreeve::mail::headers::{Headers, unfold};
use mailreeve::mail::mime::body::{Buffers, Text};
use mailreeve::mail::mime::charset::push_guessed;
use mailreeve::mail::mime::transfer::{Decoder, Encoding};
use mailreeve::mail::mime::words::decode;
use mailreeve::mail::mime::{Fault, Field, Item, Kind, Mime, Part, Role, each_content};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Where we differ from mail-parser, and why.
const DIFFER: &[(&str, &[&str])] = &[
    (
        "we decode uuencode",
        &["legacy/017", "legacy/026", "legacy/048", "regressions/decode-problems"],
    ),
    (
        "a line that is no field ends the message's own header, for everyone that reads it",
        &[
            "malformed/023",
            "regressions/garbage-line-before-fold",
            "regressions/header-block-edge-cases",
            "regressions/header-name-colons-and-blanks",
            "regressions/header-name-form-feed",
            "regressions/header-name-leading-colon",
            "regressions/header-name-nul",
            "regressions/header-name-smuggled-subject",
            "regressions/header-name-space",
            "regressions/header-views",
        ],
    ),
    (
        "in the header of what lies inside such lines are body, unless fields follow that matter",
        &["malformed/019", "thirdparty/015"],
    ),
    (
        "a delimiter stands at the start of a line",
        &[
            "regressions/fallback-delimiter-after-text",
            "regressions/fallback-delimiter-mid-line",
            "thirdparty/005",
        ],
    ),
    (
        "a multipart in which nothing was opened is a leaf, so that its text is seen",
        &[
            "regressions/boundary-of-dashes",
            "regressions/close-delimiter-first",
            "regressions/close-delimiter-mid-line",
            "regressions/no-delimiter-close-mid-line",
        ],
    ),
    (
        "of two types one of which is multipart, we take that, and keep the whole as another reading",
        &["malformed/020", "malformed/021"],
    ),
];

/// A leaf: in how many unpacked containers it lies, where, and what it decodes to.
struct Leaf {
    level: usize,
    start: usize,
    end: usize,
    content: Vec<u8>,
    /// A container that may have been unpacked, and is then no leaf.
    container: bool,
}

impl Leaf {
    fn is(&self, their: &Leaf) -> bool {
        let empty = self.start == self.end && their.start == their.end;
        // Octets that are said to be UTF-8 or ASCII are handed on as they are.
        let mut guessed = String::new();
        push_guessed(&self.content, &mut guessed);
        let lossy = String::from_utf8_lossy(&self.content);
        self.level == their.level
            && (empty || (self.start, self.end) == (their.start, their.end))
            && [&self.content, guessed.as_bytes(), lossy.as_bytes()].contains(&&*their.content)
    }
}

/// The message with CR LF, or LF alone, at each line's end.
fn with_newlines(message: &[u8], crlf: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for octet in message {
        match octet {
            b'\n' if crlf && !out.ends_with(b"\r") => out.extend_from_slice(b"\r\n"),
            b'\r' if !crlf => {}
            octet => out.push(*octet),
        }
    }
    out
}

/// The parts as brackets, and the leaves.
fn ours(message: &[u8]) -> (String, Vec<Leaf>) {
    let mut leaves = Vec::new();
    each_content(message, &|_| {}, &mut |item: &Item<'_>| {
        if item.content.role == Role::Body {
            leaves.push(leaf(item));
        }
        ControlFlow::Continue(())
    });
    let mut tree = String::new();
    show(&Mime::index(message).parts, None, &mut tree);
    (tree, leaves)
}

fn show(parts: &[Part], parent: Option<usize>, tree: &mut String) {
    for (number, part) in parts.iter().enumerate().filter(|(_, part)| part.parent == parent) {
        let (open, close) = match part.kind {
            Kind::Leaf => ("l", ""),
            Kind::Multipart => ("(", ")"),
            Kind::Message => ("[", "]"),
        };
        tree.push_str(open);
        show(parts, Some(number), tree);
        tree.push_str(close);
    }
}

fn leaf(item: &Item<'_>) -> Leaf {
    let kind = item.part.content_type(item.message);
    let mut content = Vec::new();
    if matches!(kind.main_type(), "text" | "multipart" | "message") {
        let mut text = Text::new(item.body(), kind.parameter("charset").unwrap_or_default());
        let mut buffers = Buffers::new(512);
        while let Some(piece) = text.next(&mut buffers) {
            content.extend_from_slice(piece);
        }
    } else {
        let (mut body, mut buffer) = (item.body(), [0; 512]);
        while let Some(piece) = body.next(&mut buffer) {
            content.extend_from_slice(piece);
        }
    }
    Leaf {
        level: item.unpacked,
        start: item.content.range.start,
        end: item.content.range.end,
        content,
        container: item.part.faults.contains(Fault::EncodedContainer),
    }
}

fn number(value: &Json) -> usize {
    match value {
        Json::Number(number) => *number as usize,
        other => panic!("{other:?} is no number"),
    }
}

/// The same from mail-parser's description.
fn theirs(json: &Json) -> (String, Vec<Leaf>) {
    let parts = json.at("parts").list();
    let mut levels = HashMap::new();
    for message in json.at("messages").list() {
        let outer = match message.at("container") {
            Json::Null => 0,
            part => {
                let part = &parts[number(part)];
                let encoded = part.at("encoding").text() != Some("none");
                levels[&number(part.at("message"))] + usize::from(encoded)
            }
        };
        levels.insert(number(message.at("id")), outer);
    }
    let mut leaves = Vec::new();
    for part in parts {
        let Some(text) = part.at("text").text().or(part.at("binary").text()) else { continue };
        leaves.push(Leaf {
            level: levels[&number(part.at("message"))],
            start: number(part.at("offset_body")),
            end: number(part.at("offset_end")),
            content: match part.at("binary") {
                Json::Text(_) => STANDARD.decode(text).expect("base64"),
                _ => text.as_bytes().to_vec(),
            },
            container: false,
        });
    }
    leaves.sort_by_key(|leaf| leaf.level);
    let mut tree = String::new();
    show_theirs(json, 0, &mut tree);
    (tree, leaves)
}

fn show_theirs(json: &Json, id: usize, tree: &mut String) {
    let part = &json.at("parts").list()[id];
    let children: Vec<usize> = part.at("children").list().iter().map(number).collect();
    let nested = match part.at("nested") {
        Json::Null => None,
        id => Some(&json.at("messages").list()[number(id)]),
    };
    // What was decoded first is not in our tree; what is in it is compared leaf by leaf.
    let (open, inside, close) = match nested.filter(|message| message.at("source").text().is_some())
    {
        Some(message) => ("[", vec![number(message.at("root"))], "]"),
        None if children.is_empty() => ("l", children, ""),
        None => ("(", children, ")"),
    };
    tree.push_str(open);
    for id in inside {
        show_theirs(json, id, tree);
    }
    tree.push_str(close);
}

#[test]
fn as_mail_parser_does() {
    let Some(files) = corpus::files("mime-mail-parser/eml") else { return };
    let files: HashMap<String, Vec<u8>> = files.into_iter().collect();
    let mut names: Vec<&str> = files.keys().filter_map(|name| name.strip_suffix(".eml")).collect();
    names.sort_unstable();
    let (mut compared, mut wrong) = (0, Vec::new());
    for name in names {
        for (ending, crlf) in [("json", false), ("crlf.json", true)] {
            let Some(json) = files.get(&format!("{name}.{ending}")) else { continue };
            compared += 1;
            let json = Json::parse(std::str::from_utf8(json).expect("UTF-8"));
            let (their_tree, their_leaves) = theirs(&json);
            let (tree, mut leaves) = ours(&with_newlines(&files[&format!("{name}.eml")], crlf));
            // A container that was unpacked is no leaf for them.
            leaves
                .retain(|leaf| !leaf.container || their_leaves.iter().any(|their| leaf.is(their)));
            let same = tree == their_tree
                && leaves.len() == their_leaves.len()
                && leaves.iter().zip(&their_leaves).all(|(leaf, their)| leaf.is(their));
            let listed = DIFFER.iter().any(|(_, names)| names.contains(&name));
            if same == listed {
                wrong.push(format!("{name}.{ending}: ours {tree}, theirs {their_tree}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(compared >= 368, "{compared}");
}
/// Types and parameters that mail-parser reads otherwise, and why.
const FIELDS_DIFFER: &[(&str, &[&str])] = &[
    (
        "only the first piece has a charset (RFC 2231 section 4.1)",
        &[
            "application/pdf\n   filename*0*=iso-8859-1'es'%D1and%FA\n   filename*1*=iso-8859-1'%20\
                r%E1pido\n   filename*2*=\"iso-8859-1' (versi%F3n \\'99 \\\"oficial\\\").pdf\"\n",
            " text/plain; title*0*=us-ascii'en'a; title*1*=us-ascii'en'b\n",
        ],
    ),
    (
        "octets of all pieces are decoded together",
        &[" text/plain; name*0*=utf-16le''%41%00; name*1=bc\n"],
    ),
    (
        "blanks between encoded words are none (RFC 2047 section 6.2)",
        &["image/jpeg;\n   name=\"=?iso-8859-1?B?4Q==?= =?utf-8?B?w6k=?= \
            =?iso-8859-1?q?=ED?=.jpeg\"\n"],
    ),
    ("a lone % stays", &["application/pdf; name*=\"iso-8859-1''abc%\"\n"]),
    (
        "pieces are one value and the plain parameter another",
        &[" text/plain; name*1=\"b\"; name=\"x\"; name*0=\"a\"\n"],
    ),
    (
        "a piece has one number",
        &["malicious/attempt; 1*2*=a; 3**=b; 4***=c; *5**6*=d;*****7*8*=e; 9*10*11*12*13*14=f; \
            15*x***fff*===g;1 * 999999999999999999 *= h; 18 *=*=*=*=*==i;\n"],
    ),
];

#[test]
fn fields_as_mail_parser_reads_them() {
    let Some(text) = corpus::read("mime-mail-parser/content_type.json") else { return };
    let rows = Json::parse(&text);
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for row in rows.list() {
        let header = row.at("header").text().expect("a header");
        let field = Field::parse(header.as_bytes());
        let expected = row.at("expected");
        let part = |key| expected.at(key).text().unwrap_or_default().to_lowercase();
        let head = match (part("c_type"), part("c_subtype")) {
            (main, sub) if sub.is_empty() => main,
            (main, sub) => format!("{main}/{sub}"),
        };
        let mut same = field.head() == head;
        for pair in expected.at("attributes").list() {
            let [name, value] = pair.list() else { panic!("{pair:?}") };
            let (name, value) = (name.text().expect("a name"), value.text().expect("a value"));
            same &= name.ends_with("-language") || field.parameter(name) == Some(value);
        }
        compared += 1;
        if same == FIELDS_DIFFER.iter().any(|(_, headers)| headers.contains(&header)) {
            wrong.push(format!("{header:?}: {field:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(compared, 126);
}

/// The same for encoded words.
const WORDS_DIFFER: &[(&str, &[&str])] = &[
    ("an escape that is none stays in the text", &["=?utf-8?q?a?= =?utf-8?q?=ZZ?=\n"]),
    ("a bare CR is dropped where lines are joined", &["a\rb\n"]),
];

#[test]
fn words_as_mail_parser_reads_them() {
    let Some(text) = corpus::read("mime-mail-parser/unstructured.json") else { return };
    let rows = Json::parse(&text);
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for row in rows.list() {
        let header = row.at("header").text().expect("a header");
        // Some rows have a second field behind the first.
        let message = with_newlines(format!("X:{header}").as_bytes(), true);
        let headers = Headers::index(&message).expect("a header");
        let field = headers.first(&message, "X").expect("a field");
        let value = decode(&unfold(field.value), 1_000);
        compared += 1;
        let same = squeeze(&value) == squeeze(row.at("expected").text().expect("a text"));
        if same == WORDS_DIFFER.iter().any(|(_, headers)| headers.contains(&header)) {
            wrong.push(format!("{header:?}: {value:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(compared, 54);
}

/// Names of attachments that the author of `mail` for Ruby wants found, and their decoded lengths.
const RUBY_NAMES: &[(&str, &str, usize)] = &[
    ("attachment_content_disposition", "api.rb", 28),
    ("attachment_message_rfc822", "broken.pdf", 1_026),
    ("attachment_nonascii_filename", "ci\u{eb}le.txt", 11),
    ("attachment_only_email", "blah.gz", 288),
    ("attachment_pdf", "broken.pdf", 1_026),
    ("attachment_pdf_lf", "broken.pdf", 1_026),
    ("attachment_with_base64_encoded_name", "This is a test.pdf", 399),
    ("attachment_with_encoded_name", "01 Quien Te Dij\u{fffd}at. Pitbull.mp3", 399),
    ("attachment_with_quoted_filename", "Eelanal\u{fc}\u{fc}si p\u{e4}ring.jpg", 1_952),
    ("attachment_with_unquoted_name", "This is a test.txt", 11),
];

#[test]
fn ruby_names() {
    let Some(files) = corpus::files("mime-ruby-mail/attachment_emails") else { return };
    let files: HashMap<String, Vec<u8>> = files.into_iter().collect();
    for (file, name, length) in RUBY_NAMES {
        let mut found = Vec::new();
        let message = with_newlines(&files[&format!("{file}.eml")], true);
        each_content(&message, &|_| {}, &mut |item: &Item<'_>| {
            if let Some(name) = item.part.file_name(item.message) {
                found.push((name, leaf(item).content.len()));
            }
            ControlFlow::Continue(())
        });
        assert_eq!(found, [(name.to_string(), *length)], "{file}");
    }
}

/// MimeKit's description of an mbox: types, and where headers and bodies end.
#[test]
fn as_mimekit_does() {
    let Some(files) = corpus::files("mime-mimekit/mbox") else { return };
    let files: HashMap<String, Vec<u8>> = files.into_iter().collect();
    let mbox = with_newlines(&files["issue1189.mbox.txt"], false);
    let json = std::str::from_utf8(&files["issue1189.unix-offsets.json"]).expect("UTF-8");
    let json = Json::parse(json.trim_start_matches('\u{feff}'));
    assert_eq!(json.list().len(), 4);
    for described in json.list() {
        let start = number(described.at("beginOffset"));
        let message = &mbox[start..number(described.at("endOffset"))];
        let parts = Mime::index(message).parts;
        let ours = parts.iter().map(|part| {
            let kind = part.content_type(message).head().to_string();
            let end = if part.kind == Kind::Leaf { part.body.end + start } else { 0 };
            (kind, part.body.start + start, end)
        });
        let mut theirs = Vec::new();
        let mut open = vec![described.at("body")];
        while let Some(part) = open.pop() {
            let children = part.at("children").list();
            open.extend(children.iter().rev());
            let end = if children.is_empty() { number(part.at("endOffset")) } else { 0 };
            let body = match number(part.at("headersEndOffset")) {
                // An attachment without an empty line: all of it is header for them, and we see it.
                6411 => 1410,
                end => end,
            };
            theirs.push((part.at("mimeType").text().expect("a type").to_string(), body, end));
        }
        assert_eq!(ours.collect::<Vec<_>>(), theirs);
    }
}

/// Real bounces, with LF, CR LF and CR: none may be lost, and what can be taken apart is.
#[test]
fn bounces() {
    let Some(files) = corpus::files("bounces-sisimai/maildir") else { return };
    let mut reports = 0;
    for (name, octets) in &files {
        for message in [octets.clone(), with_newlines(octets, true)] {
            let mime = Mime::index(&message);
            check(&mime, &message);
            let report = mime.parts.iter().any(|part| {
                part.content_type(&message).head() == "message/delivery-status"
                    && part.kind == Kind::Leaf
            });
            reports += usize::from(report);
        }
        assert!(!Mime::index(octets).contents.is_empty(), "{name}");
    }
    assert!(reports > 400, "{reports}");
}

/// What holds for every message: parts lie in one another and contents in their parts.
fn check(mime: &Mime, message: &[u8]) {
    for part in &mime.parts {
        assert!(part.start <= part.body.start && part.body.start <= part.body.end);
        assert!(part.body.end <= message.len());
        if let Some(parent) = part.parent {
            let parent = &mime.parts[parent];
            assert!(parent.body.start <= part.start && part.body.end <= parent.body.end);
            assert_eq!(part.depth, parent.depth + 1);
        }
    }
    for content in &mime.contents {
        let body = &mime.parts[content.part].body;
        assert!(body.start <= content.range.start && content.range.end <= body.end);
    }
}

/// Whole corpora, cut anywhere: nothing panics, and the bounds hold.
#[test]
fn cut_anywhere() {
    for folder in ["mime-mimekit/messages", "mime-mimekit/partial", "mime-ruby-mail"] {
        let Some(files) = corpus::files(folder) else { return };
        for (name, octets) in files {
            let step = (octets.len() / 50).max(1);
            for end in (0..=octets.len()).rev().step_by(step) {
                let message = &octets[..end];
                check(&Mime::index(message), message);
                let faults = each_content(message, &|_| {}, &mut |item: &Item<'_>| {
                    let most = 4 * item.octets().len() + 64;
                    assert!(leaf(item).content.len() <= most, "{name}");
                    ControlFlow::Continue(())
                });
                assert!(!faults.contains(Fault::TooManyParts), "{name}");
            }
        }
    }
}

/// A part of 64 MiB of base64 (1 GiB with `MAILREEVE_FULL=1`) goes through a small buffer.
#[test]
fn a_large_part_in_pieces() {
    let full = std::env::var_os("MAILREEVE_FULL").is_some();
    let piece = STANDARD.encode([b'x'; 57]) + "\r\n";
    let piece = piece.repeat(840);
    let rounds = if full { 1 << 30 } else { 1 << 26 } / piece.len();
    let (mut decoder, mut buffer) = (Decoder::new(Encoding::Base64), [0; 8_192]);
    let mut decoded = 0;
    for _ in 0..rounds {
        let mut rest = piece.as_bytes();
        while !rest.is_empty() {
            let step = decoder.decode(rest, &mut buffer);
            assert!(step.read > 0 && buffer[..step.written].iter().all(|octet| *octet == b'x'));
            decoded += step.written;
            rest = &rest[step.read..];
        }
    }
    decoded += decoder.finish(&mut buffer);
    assert_eq!((decoded, decoder.faults().is_empty()), (rounds * 840 * 57, true));
}
