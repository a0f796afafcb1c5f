//! What a message is made of, seen as mail clients see it (RFC 2045 to 2049, 2183, 2231).
//!
//! A filter that reads a broken message more strictly than the reader's client does not see what the
//! client opens. So nothing here is an error: whatever comes is taken apart as the laxest client would,
//! both readings are kept where clients differ, and every fault is a fact ([`Fault`]) that a plugin can
//! judge.
//!
//! Everything works on the one slice that is the message and keeps offsets: a [`Part`] is a few numbers,
//! and its header is read again when somebody asks. [`Walker`] finds the parts in one pass without
//! recursion; number and depth are bounded by `limits`. Bodies are decoded in pieces ([`body`]), so a
//! part of any size costs the same memory.
//!
//! ```
//! use mailreeve::mail::mime::{Role, Walker, body::Body};
//! let message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
//!     Content-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\
//!     JVBERg==\r\n--b--\r\n";
//! let mut walker = Walker::new(message);
//! let content = walker.next().unwrap();
//! let part = &walker.parts()[content.part];
//! assert_eq!(content.role, Role::Body);
//! assert_eq!(part.file_name(message).as_deref(), Some("a.pdf"));
//! let mut buffer = [0; 1024];
//! let mut body = Body::new(&message[content.range.clone()], part.encoding);
//! assert_eq!(body.next(&mut buffer), Some(&b"%PDF"[..]));
//! ```

pub mod body;
mod boundary;
pub mod charset;
pub mod encode;
mod fault;
mod field;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod shape;
#[cfg(test)]
mod tests;
pub mod transfer;
mod unpack;
pub mod uuencode;
mod walk;
pub mod words;

pub use fault::{Fault, Faults};
pub(super) use field::percent_decode;
pub use field::{Field, Parameter};
#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz;
pub use transfer::Encoding;
pub use unpack::{Item, each_content};
pub use walk::Walker;

use super::headers::{Garbage, Headers};
use std::ops::Range;

/// Fields of one name in a part's header that are looked at.
const FIELDS_MAX: usize = 8;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A multipart whose parts were found.
    Multipart,
    /// A message whose header was found.
    Message,
    /// Everything else, multiparts and messages that could not be taken apart too.
    Leaf,
}

/// What a piece of a message is to its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The body of a leaf.
    Body,
    /// Text before the first part of a multipart, which some clients show.
    Preamble,
    /// Text behind a multipart's end.
    Epilogue,
    /// The whole body of a multipart or message, which is something else to some clients: its header
    /// names another type too, or an encoding.
    OtherReading,
    /// What lies behind the last part that the bound allows.
    Rest,
}

/// A piece of a message that holds content. Pieces come in the order in which they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The number of its part.
    pub part: usize,
    /// What it is to the part.
    pub role: Role,
    /// Where it lies in the message, still encoded.
    pub range: Range<usize>,
}

/// A part, as offsets into the message. Number 0 is the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number of the part that it lies in.
    pub parent: Option<usize>,
    /// How many parts it lies in.
    pub depth: usize,
    /// What it is.
    pub kind: Kind,
    /// Where its header begins.
    pub start: usize,
    /// From behind its header to the end; complete once the walker has passed it.
    pub body: Range<usize>,
    /// How its body is encoded.
    pub encoding: Encoding,
    /// What is wrong with it, as far as its structure shows.
    pub faults: Faults,
    garbage: Garbage,
    /// It lies in a multipart/digest, where a part without a type is a message.
    in_digest: bool,
}

impl Part {
    /// The index of its header in `message`, with offsets that count from `start`.
    pub fn headers(&self, message: &[u8]) -> Headers {
        Headers::index_part(self.header(message), self.garbage, |_| false).headers
    }

    /// The octets of its header.
    pub fn header<'m>(&self, message: &'m [u8]) -> &'m [u8] {
        message.get(self.start..self.body.start).unwrap_or_default()
    }

    /// Its type as most clients see it: the first Content-Type, but a multipart before everything else
    /// as long as its parts were found. Where there is none, text/plain (RFC 2045 section 5.2) or, in a
    /// digest, message/rfc822 (RFC 2046 section 5.1.5).
    pub fn content_type(&self, message: &[u8]) -> Field {
        let types = self.content_types(message);
        let wanted =
            |field: &&Field| (self.kind == Kind::Multipart) == (field.main_type() == "multipart");
        let found = types.iter().find(wanted).or(types.first());
        found.cloned().unwrap_or_else(|| Field::parse(self.default_type()))
    }

    fn default_type(&self) -> &'static [u8] {
        if self.in_digest { b"message/rfc822" } else { b"text/plain" }
    }

    /// Every Content-Type in its header that says a type, at most 8.
    pub fn content_types(&self, message: &[u8]) -> Vec<Field> {
        let mut types = self.fields(message, "Content-Type");
        types.retain(|field| !field.head().is_empty());
        types
    }

    /// Every Content-Disposition in its header, at most 8.
    pub fn dispositions(&self, message: &[u8]) -> Vec<Field> {
        self.fields(message, "Content-Disposition")
    }

    fn fields(&self, message: &[u8], name: &str) -> Vec<Field> {
        let header = self.header(message);
        let headers = self.headers(message);
        headers.all(header, name).take(FIELDS_MAX).map(|field| Field::parse(field.value)).collect()
    }

    /// The name under which most clients show and store it: Content-Disposition before Content-Type,
    /// RFC 2231 before RFC 2047 before plain.
    pub fn file_name(&self, message: &[u8]) -> Option<String> {
        let disposition = self.dispositions(message);
        let types = self.fields(message, "Content-Type");
        let first = |fields: &[Field], names: [&str; 2]| {
            let found = fields.iter().find_map(|field| {
                names.iter().find_map(|name| field.parameter(name).map(str::to_string))
            });
            found.filter(|name| !name.is_empty())
        };
        first(&disposition, ["filename", "name"]).or_else(|| first(&types, ["name", "filename"]))
    }

    /// Every name that some client could take, each once: all readings of all fields, and the
    /// Content-Description and Content-Location that stand in for a name where there is none.
    pub fn file_names(&self, message: &[u8]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut add = |name: &str| {
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_string());
            }
        };
        for field in ["Content-Disposition", "Content-Type"] {
            for field in self.fields(message, field) {
                field.readings("filename").chain(field.readings("name")).for_each(&mut add);
            }
        }
        let (header, headers) = (self.header(message), self.headers(message));
        for name in ["Content-Description", "Content-Location"] {
            for field in headers.all(header, name).take(FIELDS_MAX) {
                add(&words::decode(&super::headers::unfold(field.value), field::VALUE_MAX));
            }
        }
        names
    }

    /// What is wrong with its header fields: their parameters, charset and file name.
    pub fn field_faults(&self, message: &[u8]) -> Faults {
        let mut faults = Faults::default();
        let types = self.fields(message, "Content-Type");
        for field in types.iter().chain(&self.dispositions(message)) {
            faults.extend(field.faults());
        }
        for charset in types.iter().filter_map(|field| field.parameter("charset")) {
            let unknown = charset::Decoder::new(charset.as_bytes()).is_none();
            faults.insert_if(Fault::UnknownCharset, unknown);
        }
        faults
    }
}

/// A message taken apart: what a memo keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mime {
    /// The parts; each comes behind the one it lies in.
    pub parts: Vec<Part>,
    /// Where content lies.
    pub contents: Vec<Content>,
    /// What is wrong with any part.
    pub faults: Faults,
}

impl Mime {
    /// Takes a message apart.
    pub fn index(message: &[u8]) -> Mime {
        let mut walker = Walker::new(message);
        let contents = walker.by_ref().collect();
        let faults = walker.faults();
        Mime { parts: walker.into_parts(), contents, faults }
    }
}
