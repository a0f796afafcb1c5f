//! Where a message leads: the URIs that a mail client makes links of, or loads.
//!
//! They are found in plain text (`plain`), in HTML (`html`), in every part that a client shows as text,
//! decoded, and if wanted in the header. The host of each is brought to the form that a browser would ask
//! for (`host`), and cut to what somebody registered (`domain`), which is what block lists know.
//!
//! Text passes through in pieces; what is kept is a word, a tag's attribute, and distinct hosts, all
//! bounded.

mod domain;
mod entity;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod host;
mod hosts;
mod html;
mod plain;
#[cfg(test)]
mod tests;
mod text;

pub use domain::Levels;
#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz;
pub use host::{Host, Name};
pub use hosts::{Entry, Hosts};

use super::headers::{Garbage, Headers, unfold};
use super::mime::body::{Buffers, Text};
use super::mime::{Field, Item, Role, each_content, words};
use crate::limits::URIS_MAX;
use html::HtmlScanner;
use std::borrow::Cow;
use std::ops::ControlFlow;
use text::TextScanner;

/// Octets of decoded text that are scanned at once.
const PIECE: usize = 64 * 1_024;

/// Octets of a header field that are scanned, decoded.
const FIELD_MAX: usize = 32 * 1_024;

/// What a URI says before its colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, and what has no scheme.
    Http,
    /// `https`
    Https,
    /// `ftp`, and names that begin with `ftp.`.
    Ftp,
    /// `mailto`, and mail addresses.
    Mail,
    /// `file`, which names another machine's file.
    File,
}

/// A URI where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'t> {
    /// As it is written, without references of HTML.
    pub text: &'t [u8],
    /// Its scheme.
    pub scheme: Scheme,
    /// The scheme is not written; clients guess it from the name.
    pub guessed: bool,
    /// Where it leads.
    pub host: Host,
}

impl Uri<'_> {
    /// As a client would show it: with the scheme that it guesses.
    pub fn full(&self) -> Cow<'_, str> {
        let text = String::from_utf8_lossy(self.text);
        if !self.guessed {
            return text;
        }
        let scheme = match self.scheme {
            Scheme::Ftp => "ftp://",
            Scheme::Mail => "mailto:",
            Scheme::Http | Scheme::Https | Scheme::File => "http://",
        };
        let text = text.trim_start_matches(['/', '\\']);
        format!("{scheme}{text}").into()
    }
}

/// Takes URIs, at most `URIS_MAX`.
pub(super) struct Found<'f> {
    give: &'f mut dyn FnMut(&Uri<'_>),
    room: usize,
}

impl<'f> Found<'f> {
    fn new(give: &'f mut dyn FnMut(&Uri<'_>)) -> Found<'f> {
        Found { give, room: URIS_MAX }
    }

    fn is_full(&self) -> bool {
        self.room == 0
    }

    fn give(&mut self, uri: &Uri<'_>) {
        if self.room > 0 {
            self.room -= 1;
            (self.give)(uri);
        }
    }
}

/// Finds the URIs in a plain text.
pub fn in_text(text: &[u8], give: &mut dyn FnMut(&Uri<'_>)) {
    plain::scan(text, true, &mut Found::new(give));
}

/// Finds the URIs in HTML.
pub fn in_html(html: &[u8], give: &mut dyn FnMut(&Uri<'_>)) {
    let (mut scanner, mut found) = (HtmlScanner::new(), Found::new(give));
    scanner.feed(html, &mut found);
    scanner.finish(&mut found);
}

/// Finds the URIs of a message: those of its text and HTML parts, those of messages in it and of text
/// around parts, and with `headers` those of its header fields, except the ones that mail servers write.
/// `passed` is told how far the pass has come. False if there are more than `URIS_MAX`.
pub fn in_message(
    message: &[u8],
    headers: bool,
    passed: &dyn Fn(usize),
    give: &mut dyn FnMut(&Uri<'_>),
) -> bool {
    let mut scanner = Scanner::new(give);
    if headers {
        scanner.header(message);
    }
    each_content(message, passed, &mut |item: &Item<'_>| {
        scanner.content(item, passed);
        if scanner.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    !scanner.is_full()
}

/// Finds the URIs of one content after the other, for who goes through a message for other reasons too.
pub struct Scanner<'f> {
    found: Found<'f>,
    buffers: Buffers,
}

impl<'f> Scanner<'f> {
    /// `give` is shown what is found.
    pub fn new(give: &'f mut dyn FnMut(&Uri<'_>)) -> Scanner<'f> {
        Scanner { found: Found::new(give), buffers: Buffers::new(PIECE) }
    }

    /// Scans a message's header.
    pub fn header(&mut self, message: &[u8]) {
        in_header(message, &mut self.found);
    }

    /// Scans a content, if it is one that a client shows as text; says whether it is.
    pub fn content(&mut self, item: &Item<'_>, passed: &dyn Fn(usize)) -> bool {
        let kind = item.content_type();
        let Some(html) = shown(item, &kind) else { return false };
        in_content(item, &kind, html, passed, &mut self.buffers, &mut self.found);
        true
    }

    /// As many URIs were found as are looked at.
    pub fn is_full(&self) -> bool {
        self.found.is_full()
    }
}

/// Whether a client shows a content as text, and then whether as HTML. A page that is attached opens in a
/// browser, whatever type it is said to have.
fn shown(item: &Item<'_>, kind: &Field) -> Option<bool> {
    const PAGES: [&str; 5] = [".htm", ".html", ".shtml", ".xhtml", ".svg"];
    let head = kind.head();
    if matches!(head, "text/html" | "application/xhtml+xml" | "image/svg+xml") {
        return Some(true);
    }
    let named_page = || {
        let names = item.part.file_names(item.message);
        let lower = names.iter().map(|name| name.trim_end().to_ascii_lowercase());
        lower.into_iter().any(|name| PAGES.iter().any(|page| name.ends_with(page)))
    };
    if matches!(item.content.role, Role::Body | Role::OtherReading) && named_page() {
        return Some(true);
    }
    let text = matches!(kind.main_type(), "text" | "message" | "multipart") || !head.contains('/');
    text.then_some(false)
}

fn in_content(
    item: &Item<'_>,
    kind: &Field,
    html: bool,
    passed: &dyn Fn(usize),
    buffers: &mut Buffers,
    found: &mut Found<'_>,
) {
    let charset = kind.parameter("charset").unwrap_or_default();
    let mut text = Text::new(item.body(), charset);
    let (mut pages, mut words) = (HtmlScanner::new(), TextScanner::new(true));
    while let Some(piece) = text.next(buffers) {
        if html {
            pages.feed(piece, found);
        } else {
            words.feed(piece, found);
        }
        if item.unpacked == 0 {
            passed(item.content.range.end.saturating_sub(text.left()));
        }
        if found.is_full() {
            return;
        }
    }
    pages.finish(found);
    words.finish(found);
}

/// Fields that say how the message came, not what it wants.
const TRACE: [&str; 16] = [
    "ARC-Authentication-Results",
    "ARC-Message-Signature",
    "ARC-Seal",
    "Authentication-Results",
    "DKIM-Signature",
    "Delivered-To",
    "DomainKey-Signature",
    "In-Reply-To",
    "Message-ID",
    "Received",
    "Received-SPF",
    "References",
    "Return-Path",
    "To",
    "Cc",
    "X-Original-To",
];

fn in_header(message: &[u8], found: &mut Found<'_>) {
    let read = Headers::index_part(message, Garbage::EndsHeader, |_| false);
    for field in read.headers.iter(message) {
        if !TRACE.iter().any(|name| field.is(name)) {
            let text = words::decode(&unfold(field.value), FIELD_MAX);
            plain::scan(text.as_bytes(), true, found);
        }
    }
}
