//! How fast a message is taken apart, decoded and searched for URIs: `cargo bench --bench content`.
//!
//! Each message has 10 MiB in 50 parts, lies in memory, and is gone through once: parts found, every body
//! decoded, text and HTML made UTF-8 and scanned. One thread; the best of several rounds counts, since
//! other work on the machine only ever makes one slower. The last column counts allocations, for 5 MiB
//! and for 10 MiB in as many parts: but for a buffer that grows once, they are the same.

#![expect(clippy::print_stdout, reason = "a measuring program")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailreeve::mail::mime::{Item, each_content};
use mailreeve::mail::uri::{Hosts, Levels, Scanner};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PARTS: usize = 50;
const SIZE: usize = 10 * 1_024 * 1_024;
const SPELL: Duration = Duration::from_millis(300);
const ROUNDS: usize = 7;

/// The system's allocator, with a counter.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is made of them; it only counts and hands on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps to the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer is from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the pointer is from `alloc` above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PROSE: &str = "The quarterly figures are in, and they are better than we thought in spring: see page 3.5 of \
    the report, or ask whoever wrote it. We meet on Tuesday at 10:30; bring your notes, e.g. on paper. The \
    minutes of last time say what was decided then: item 4.2 is done, item 4.3 (the new door) waits for an \
    offer, and version 1.2.3 of the plan is in the usual place.\r\n\r\nNobody objected; so it stands.\r\n";

const LINKS: &str = "More: https://www.example.com/reports/q3?lang=en, www.example.net/about, or jane.doe@example.org.\r\n";

const MARKUP: &str = "<tr><td style=\"font-family:Arial,sans-serif;font-size:14px;padding:0 8px\" align=\"left\"> \
    <span class=\"MsoNormal\"><b>An offer &amp; more</b>, only this week &ndash; up to 30 % off.</span></td>\
    <td width=\"120\" height=\"60\" bgcolor=\"#ffffff\">&nbsp;</td></tr>\r\n";

const ANCHOR: &str = "<tr><td><a href=\"https://click.example.com/t/1234567890/abcdef?utm_source=mail&amp;utm=x\" \
    target=\"_blank\" style=\"color:#336699\"><img src=\"https://img.example.net/a/b.png\" width=\"120\" \
    alt=\"\" border=\"0\"></a></td></tr>\r\n";

/// Octets that do not repeat soon (xorshift).
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(size);
    out
}

fn base64_lines(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in octets.chunks(57) {
        out.extend_from_slice(STANDARD.encode(line).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn quoted_lines(text: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut column = 0;
    for char in text.chars() {
        let escaped = if char == '=' { "=3D".to_string() } else { char.to_string() };
        if column + escaped.len() > 75 && char != '\r' && char != '\n' {
            out.push_str("=\r\n");
            column = 0;
        }
        column = if char == '\n' { 0 } else { column + escaped.len() };
        out.push_str(&escaped);
    }
    out.into_bytes()
}

/// A header of a part, and its body of about that size.
type Make = fn(usize, usize) -> (&'static str, Vec<u8>);

/// Paragraphs, with links after each ten, so that all URIs of 10 MiB are within the bound.
fn repeated(text: &str, links: &str, size: usize) -> String {
    let chapter = text.repeat(10) + links;
    chapter.repeat(size / chapter.len() + 1)
}

fn attachment(_: usize, size: usize) -> (&'static str, Vec<u8>) {
    let head = "Content-Type: application/pdf; name=\"report.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Disposition: attachment; filename=\"report.pdf\"\r\n";
    (head, base64_lines(&noise(size * 57 / 78)))
}

fn plain(_: usize, size: usize) -> (&'static str, Vec<u8>) {
    ("Content-Type: text/plain; charset=utf-8\r\n", repeated(PROSE, LINKS, size).into_bytes())
}

fn latin(_: usize, size: usize) -> (&'static str, Vec<u8>) {
    ("Content-Type: text/plain; charset=iso-8859-1\r\n", repeated(PROSE, LINKS, size).into_bytes())
}

fn html(_: usize, size: usize) -> (&'static str, Vec<u8>) {
    ("Content-Type: text/html; charset=utf-8\r\n", repeated(MARKUP, ANCHOR, size).into_bytes())
}

fn html_quoted(_: usize, size: usize) -> (&'static str, Vec<u8>) {
    let head =
        "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n";
    (head, quoted_lines(&repeated(MARKUP, ANCHOR, size * 10 / 11)))
}

fn text_base64(_: usize, size: usize) -> (&'static str, Vec<u8>) {
    let head = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n";
    (head, base64_lines(repeated(PROSE, LINKS, size * 57 / 78).as_bytes()))
}

/// What people send: a text, the same as HTML, and files.
fn office(part: usize, size: usize) -> (&'static str, Vec<u8>) {
    match part % 10 {
        0 => plain(part, size),
        1 => html_quoted(part, size),
        _ => attachment(part, size),
    }
}

fn message(make: Make, size: usize) -> Vec<u8> {
    let mut out = b"From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=\"=_b0undary\"\r\n\r\n"
        .to_vec();
    for part in 0..PARTS {
        let (head, body) = make(part, size / PARTS);
        out.extend_from_slice(b"--=_b0undary\r\n");
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&body);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"--=_b0undary--\r\n");
    out
}

/// What a pass found: octets decoded, URIs, domains.
type Sums = (usize, usize, usize);

fn pass(message: &[u8]) -> Sums {
    let levels = Levels::default();
    let mut hosts = Hosts::new(&levels, 20);
    let (mut octets, mut uris) = (0, 0);
    let mut give = |uri: &mailreeve::mail::uri::Uri<'_>| {
        uris += 1;
        hosts.add(uri);
    };
    let mut scanner = Scanner::new(&mut give);
    let mut buffer = vec![0; 64 * 1_024];
    each_content(message, &|_| {}, &mut |item: &Item<'_>| {
        if !scanner.content(item, &|_| {}) {
            let mut body = item.body();
            while let Some(piece) = body.next(&mut buffer) {
                octets += piece.len();
                black_box(piece);
            }
        }
        ControlFlow::Continue(())
    });
    (octets, uris, hosts.entries().len())
}

fn allocations(message: &[u8]) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    black_box(pass(message));
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// The best speed of several rounds, in MiB a second.
#[expect(clippy::disallowed_methods, reason = "a clock is what it is about")]
fn speed(message: &[u8]) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let (began, mut times) = (Instant::now(), 0_u32);
        while began.elapsed() < SPELL {
            black_box(pass(message));
            times += 1;
        }
        best = best.min(began.elapsed().as_secs_f64() / f64::from(times.max(1)));
    }
    message.len() as f64 / (1_024.0 * 1_024.0) / best
}

/// Messages that were made to take long: what they are, and a header with what is repeated behind it.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let nested: String = (0..99)
        .map(|level| {
            format!("Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n--b{level}x\r\n")
        })
        .collect();
    let multipart = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
    let text = "Content-Type: text/plain\r\n\r\n";
    let html = "Content-Type: text/html\r\n\r\n";
    let quoted = "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    let rows = [
        ("a million delimiters", multipart, "--a\r\n\r\n"),
        (
            "multiparts in multiparts",
            multipart,
            "--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n",
        ),
        ("messages in messages", "", "Content-Type: message/rfc822\r\n\r\n"),
        ("lines like delimiters, 99 deep", &nested, "--b98y\r\n--\r\n"),
        ("escapes", quoted, "=3D"),
        ("text `http://`", text, "http://"),
        ("text `a.b.`", text, "a.b."),
        ("text `a.b@`", text, "a.b@"),
        ("text `www.a,`", text, "www.a,"),
        ("text `www.a:`", text, "www.a:"),
        ("text `http://a.com/?u=%`", text, "http://a.com/?u=%"),
        ("HTML `&a`", html, "&a"),
        ("HTML `<`", html, "<"),
        ("HTML `<a href=%`", html, "<a href=%"),
        ("uuencode `begin`", text, "begin 644 x\r\n"),
    ];
    let make =
        |head: &str, piece: &str| [head, &piece.repeat(SIZE / piece.len())].concat().into_bytes();
    rows.into_iter().map(|(name, head, piece)| (name, make(head, piece))).collect()
}

fn main() {
    let kinds: [(&str, Make); 7] = [
        ("text, HTML and files as people send them", office),
        ("files in base64", attachment),
        ("text", plain),
        ("text in ISO 8859-1", latin),
        ("text in base64", text_base64),
        ("HTML", html),
        ("HTML in quoted-printable", html_quoted),
    ];
    println!(
        "| 10 MiB, {PARTS} parts of | MiB/s | URIs seen | allocations at 5, 10 MiB |\n|---|---|---|---|"
    );
    for (name, make) in kinds {
        let text = message(make, SIZE);
        let (_, uris, _) = pass(&text);
        assert!(uris < mailreeve::limits::URIS_MAX, "the scan was cut short");
        let (half, whole) = (allocations(&message(make, SIZE / 2)), allocations(&text));
        println!("| {name} | {:.0} | {uris} | {half}, {whole} |", speed(&text));
    }
    println!("\n| 10 MiB made to take long | MiB/s |\n|---|---|");
    for (name, text) in hostile() {
        println!("| {name} | {:.0} |", speed(&text));
    }
}
