//! URIs in HTML: in attributes that are followed or loaded, and in the text between tags.
//!
//! A state machine that takes the text in pieces of any size and holds little of it. It is as lax as
//! browsers are: whatever begins like a tag is one, and what Outlook alone reads (conditional comments) is
//! read. Text is joined over tags that do not part words, since `ev<b></b>il.com` reads as one.

use super::entity::{self, REFERENCE_MAX};
use super::plain::{self, authority_host};
use super::text::TextScanner;
use super::{Found, Scheme, Uri};
use memchr::{memchr, memmem};

/// Octets of an attribute's value that are looked at; what is longer is data, not an address.
const VALUE_MAX: usize = 4_096;

/// Octets of a name of a tag or attribute that are kept.
const NAME_MAX: usize = 32;

/// Attributes that hold URIs. Others may hold text in which a URI stands, such as `style`.
const ATTRIBUTES: &[&str] = &[
    "action",
    "archive",
    "background",
    "cite",
    "classid",
    "codebase",
    "data",
    "dynsrc",
    "formaction",
    "href",
    "icon",
    "longdesc",
    "lowsrc",
    "manifest",
    "ping",
    "poster",
    "profile",
    "src",
    "usemap",
    "xlink:href",
];

/// Attributes with text in which URIs may stand.
const TEXTS: &[&str] = &["content", "onclick", "srcset", "style", "value"];

/// Tags that do not part the text around them.
const INLINE: &[&str] = &[
    "a", "abbr", "acronym", "b", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i",
    "ins", "kbd", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup",
    "tt", "u", "var", "wbr",
];

/// Reads HTML in pieces.
pub(super) struct HtmlScanner {
    state: State,
    name: Vec<u8>,
    attribute: Vec<u8>,
    value: Vec<u8>,
    /// The end of a piece that may be the beginning of a reference.
    held: Vec<u8>,
    /// Text with its references resolved.
    resolved: Vec<u8>,
    text: TextScanner,
    /// Inside `script` or `style`: only schemes are looked for.
    code: bool,
    code_text: TextScanner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// Behind a `<`.
    TagOpen,
    TagName,
    /// Behind `<!` or `<?`; what came so far is in `name`.
    Declaration,
    /// In a comment; the number of hyphens just seen.
    Comment(u8),
    BeforeAttribute,
    AttributeName,
    AfterAttributeName,
    BeforeValue,
    /// In a value; the quote that ends it, or 0.
    Value(u8),
}

impl HtmlScanner {
    pub(super) fn new() -> HtmlScanner {
        HtmlScanner {
            state: State::Text,
            name: Vec::new(),
            attribute: Vec::new(),
            value: Vec::new(),
            held: Vec::new(),
            resolved: Vec::new(),
            text: TextScanner::new(true),
            code: false,
            code_text: TextScanner::new(false),
        }
    }

    /// Takes the next piece.
    pub(super) fn feed(&mut self, piece: &[u8], found: &mut Found<'_>) {
        let mut rest = piece;
        while !rest.is_empty() {
            let count = match self.state {
                State::Text => self.take_text(rest, found),
                State::Value(quote) => self.take_value(rest, quote, found),
                State::Comment(hyphens) => self.take_comment(rest, hyphens),
                _ => {
                    if let [octet, ..] = rest {
                        self.take(*octet, found);
                    }
                    1
                }
            };
            rest = rest.get(count.max(1)..).unwrap_or_default();
        }
    }

    /// Nothing comes behind.
    pub(super) fn finish(&mut self, found: &mut Found<'_>) {
        if matches!(self.state, State::Value(_)) {
            self.end_attribute(found);
        }
        let held = std::mem::take(&mut self.held);
        self.give_text(&held, found);
        self.text.finish(found);
        self.code_text.finish(found);
    }

    /// Text up to the next tag.
    fn take_text(&mut self, rest: &[u8], found: &mut Found<'_>) -> usize {
        let end = memchr(b'<', rest);
        let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        if end.is_some() {
            self.state = State::TagOpen;
            self.name.clear();
        }
        let (mut held, mut text) = (std::mem::take(&mut self.held), text);
        if !held.is_empty() {
            let more = text.iter().take_while(|octet| entity::is_inner(**octet)).count();
            let more = more.min(REFERENCE_MAX);
            held.extend_from_slice(text.get(..more).unwrap_or_default());
            text = text.get(more..).unwrap_or_default();
            if text.is_empty() && end.is_none() && held.len() < REFERENCE_MAX {
                self.held = held;
                return rest.len();
            }
            // The semicolon, if it is next, belongs to it.
            if let [b';', behind @ ..] = text {
                held.push(b';');
                text = behind;
            }
            self.give_text(&held, found);
            held.clear();
        }
        let inner =
            text.iter().rev().take(REFERENCE_MAX).take_while(|octet| entity::is_inner(**octet));
        let cut = text.len() - inner.count();
        let open = cut.checked_sub(1).filter(|at| end.is_none() && text.get(*at) == Some(&b'&'));
        let (whole, tail) =
            text.split_at_checked(open.unwrap_or(text.len())).unwrap_or((text, b""));
        self.give_text(whole, found);
        held.extend_from_slice(tail);
        self.held = held;
        end.map_or(rest.len(), |end| end + 1)
    }

    fn give_text(&mut self, text: &[u8], found: &mut Found<'_>) {
        if text.is_empty() {
            return;
        }
        if self.code {
            self.code_text.feed(text, found);
        } else if memchr(b'&', text).is_some() {
            self.resolved.clear();
            entity::resolve(text, &mut self.resolved);
            self.text.feed(&self.resolved, found);
        } else {
            self.text.feed(text, found);
        }
    }

    fn take(&mut self, octet: u8, found: &mut Found<'_>) {
        match (self.state, octet) {
            (State::TagOpen, b'/') => self.begin_tag(octet),
            (State::TagOpen, b'a'..=b'z' | b'A'..=b'Z') if !self.code => self.begin_tag(octet),
            (State::TagOpen, b'!' | b'?') if !self.code => self.state = State::Declaration,
            (State::TagOpen, _) => {
                self.state = State::Text;
                self.give_text(&[b'<', octet], found);
            }
            (State::Declaration, _) => self.declaration(octet),
            (State::TagName | State::AttributeName | State::AfterAttributeName, b'>')
            | (State::BeforeAttribute | State::BeforeValue, b'>') => self.end_tag(found),
            (State::TagName, b'/' | b'\t' | b'\n' | b'\r' | b' ' | 0x0c) => {
                self.state = State::BeforeAttribute;
            }
            (State::TagName, _) => push(&mut self.name, octet, NAME_MAX),
            (State::BeforeAttribute, _) if is_blank(octet) || octet == b'/' => {}
            (State::BeforeAttribute, _) => self.begin_attribute(octet),
            (State::AttributeName | State::AfterAttributeName, b'=') => {
                self.state = State::BeforeValue;
            }
            (State::AttributeName, _) if is_blank(octet) => self.state = State::AfterAttributeName,
            (State::AttributeName, b'/') => self.state = State::BeforeAttribute,
            (State::AttributeName, _) => push(&mut self.attribute, octet, NAME_MAX),
            (State::AfterAttributeName, _) if is_blank(octet) => {}
            (State::AfterAttributeName, _) => self.begin_attribute(octet),
            (State::BeforeValue, _) if is_blank(octet) => {}
            (State::BeforeValue, b'"' | b'\'') => self.begin_value(octet),
            (State::BeforeValue, _) => {
                self.begin_value(0);
                self.value.push(octet);
            }
            (State::Text | State::Value(_) | State::Comment(_), _) => {}
        }
    }

    fn begin_tag(&mut self, octet: u8) {
        self.name.push(octet);
        self.state = State::TagName;
    }

    fn begin_attribute(&mut self, octet: u8) {
        self.attribute.clear();
        self.attribute.push(octet);
        self.state = State::AttributeName;
    }

    fn begin_value(&mut self, quote: u8) {
        self.value.clear();
        self.state = State::Value(quote);
    }

    /// What follows `<!`: a comment, one that Outlook reads as HTML, or something without meaning.
    fn declaration(&mut self, octet: u8) {
        self.name.push(octet);
        self.state = match self.name.as_slice() {
            b"--" | b"-" | b"--[" | b"--[i" | b"--[if" | b"--[I" | b"--[IF" => State::Declaration,
            // `<![endif]-->` ends what `<!--[if …]>` began.
            _ if octet == b'>' => State::Text,
            name if name.starts_with(b"--[if") || name.starts_with(b"--[IF") => {
                // Behind the condition the text goes on.
                self.name.truncate(5);
                State::Declaration
            }
            // `<!--->` is a whole comment for browsers, as `<!-->` is.
            name if name.starts_with(b"--") => State::Comment(if octet == b'-' { 2 } else { 0 }),
            _ => {
                self.name.truncate(1);
                State::Declaration
            }
        };
    }

    /// Skips to the end of a comment.
    fn take_comment(&mut self, rest: &[u8], mut hyphens: u8) -> usize {
        for (at, octet) in rest.iter().enumerate() {
            match octet {
                b'-' => hyphens = (hyphens + 1).min(2),
                b'>' if hyphens == 2 => {
                    self.state = State::Text;
                    return at + 1;
                }
                _ => hyphens = 0,
            }
        }
        self.state = State::Comment(hyphens);
        rest.len()
    }

    /// A value up to its quote, or unquoted up to a blank or the end of the tag.
    fn take_value(&mut self, rest: &[u8], quote: u8, found: &mut Found<'_>) -> usize {
        let end = if quote == 0 {
            rest.iter().position(|octet| is_blank(*octet) || *octet == b'>')
        } else {
            memchr(quote, rest)
        };
        let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        let room = VALUE_MAX.saturating_sub(self.value.len());
        self.value.extend_from_slice(text.get(..room).unwrap_or(text));
        let Some(end) = end else { return rest.len() };
        self.end_attribute(found);
        self.state = State::BeforeAttribute;
        if rest.get(end) == Some(&b'>') && quote == 0 {
            self.end_tag(found);
        }
        end + 1
    }

    fn end_tag(&mut self, found: &mut Found<'_>) {
        self.state = State::Text;
        self.attribute.clear();
        let name = std::mem::take(&mut self.name);
        let (closing, bare) = match name.as_slice() {
            [b'/', bare @ ..] => (true, bare),
            bare => (false, bare),
        };
        let is =
            |names: &[&str]| names.iter().any(|name| bare.eq_ignore_ascii_case(name.as_bytes()));
        if is(&["script", "style"]) {
            self.code = !closing;
        }
        if !is(INLINE) {
            self.text.feed(b" ", found);
        }
        self.name = name;
    }

    fn end_attribute(&mut self, found: &mut Found<'_>) {
        let is = |names: &[&str]| {
            names.iter().any(|name| self.attribute.eq_ignore_ascii_case(name.as_bytes()))
        };
        let own = is(ATTRIBUTES)
            || self.attribute.ends_with(b":src")
            || self.attribute.ends_with(b":href");
        if !own && !is(TEXTS) {
            return;
        }
        self.resolved.clear();
        entity::resolve(&self.value, &mut self.resolved);
        if own {
            // Browsers take line ends and tabs out of a URI, and blanks from its ends.
            self.resolved.retain(|octet| !matches!(octet, b'\t' | b'\r' | b'\n'));
            reference(trim(&self.resolved), found);
        } else {
            plain::scan(&self.resolved, false, found);
        }
    }
}

/// A URI reference in an attribute (RFC 3986 section 4.1).
fn reference(text: &[u8], found: &mut Found<'_>) {
    let scheme = text.iter().take_while(|octet| octet.is_ascii_alphanumeric()).count();
    let (name, behind) = text.split_at_checked(scheme).unwrap_or((text, b""));
    let schemes = [
        ("https", Scheme::Https),
        ("http", Scheme::Http),
        ("ftp", Scheme::Ftp),
        ("file", Scheme::File),
    ];
    let is =
        |scheme: &str| behind.starts_with(b":") && name.eq_ignore_ascii_case(scheme.as_bytes());
    let known = schemes.into_iter().find(|(name, _)| is(name)).map(|(_, scheme)| scheme);
    if known.is_none() && behind.starts_with(b":") {
        // Another scheme; in what it holds may be a URI.
        return plain::scan(text, false, found);
    }
    let rest = if known.is_some() { behind.get(1..).unwrap_or_default() } else { text };
    let slashes = rest.iter().take_while(|octet| matches!(octet, b'/' | b'\\')).count();
    // A path of this site, or of none: what begins with one slash leads nowhere.
    if known.is_none() && slashes == 1 {
        return plain::scan(text, false, found);
    }
    let host = authority_host(rest.get(slashes..).unwrap_or_default()).map(|(host, _)| host);
    if let Some(host) = host {
        let ftp = rest.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"ftp."));
        let guess = if ftp { Scheme::Ftp } else { Scheme::Http };
        found.give(&Uri { text, scheme: known.unwrap_or(guess), guessed: known.is_none(), host });
    }
    // What is no address at all leads nowhere, but some clients look for one in it.
    if host.is_none() && memmem::find(rest, b"www.").is_some() {
        return plain::scan(rest, true, found);
    }
    // Beginning with the slashes, so that the URI itself is not found again.
    plain::scan_inside(rest, found);
}

fn trim(text: &[u8]) -> &[u8] {
    let blank = |octet: &u8| *octet <= b' ';
    let start = text.iter().position(|octet| !blank(octet)).unwrap_or(text.len());
    let end = text.iter().rposition(|octet| !blank(octet)).map_or(start, |at| at + 1);
    text.get(start..end).unwrap_or_default()
}

fn push(name: &mut Vec<u8>, octet: u8, max: usize) {
    if name.len() < max {
        name.push(octet);
    }
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}
