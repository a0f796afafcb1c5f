//! All content of a message, that of encoded containers too.
//!
//! A message/rfc822 in base64 is forbidden (RFC 2045 section 6.4), and mail clients open it. What is in
//! it does not lie in the message as received, so it is decoded into memory, of which there is little:
//! `MIME_UNPACKED_MAX` octets for each container, `MIME_UNPACKED_DEPTH_MAX` of them within one another.

use super::body::Body;
use super::{Content, Encoding, Fault, Faults, Field, Part, Role, Walker};
use crate::limits::{MIME_UNPACKED_DEPTH_MAX, MIME_UNPACKED_MAX};
use crate::mail::headers::{Garbage, Headers};
use std::ops::{ControlFlow, Range};

/// Encoded containers of one message that are unpacked.
const CONTAINERS_MAX: usize = 100;

/// A content and where it lies.
pub struct Item<'a> {
    /// The message as received, or an unpacked container; what offsets count in.
    pub message: &'a [u8],
    /// The parts of that message so far.
    pub parts: &'a [Part],
    /// The part that the content belongs to.
    pub part: &'a Part,
    /// What it is to the part, and where.
    pub content: &'a Content,
    /// In how many containers that were unpacked it lies.
    pub unpacked: usize,
}

impl Item<'_> {
    /// Its octets, still encoded.
    pub fn octets(&self) -> &[u8] {
        self.message.get(self.content.range.clone()).unwrap_or_default()
    }

    /// How they are encoded: text around the parts of a multipart never is.
    pub fn encoding(&self) -> Encoding {
        match self.content.role {
            Role::Body | Role::OtherReading => self.part.encoding,
            Role::Preamble | Role::Epilogue | Role::Rest => Encoding::Identity,
        }
    }

    /// Its type: of text around the parts of a multipart text/plain, and where there is another reading
    /// of a container, what its header says beside the multipart.
    pub fn content_type(&self) -> Field {
        let text = || Field::parse(b"text/plain");
        match self.content.role {
            Role::Body => self.part.content_type(self.message),
            Role::Preamble | Role::Epilogue | Role::Rest => text(),
            Role::OtherReading => {
                let types = self.part.content_types(self.message);
                let other = types.iter().find(|field| field.main_type() != "multipart");
                other.or(types.first()).cloned().unwrap_or_else(text)
            }
        }
    }

    /// Its octets, to be decoded in pieces.
    pub fn body(&self) -> Body<'_> {
        Body::new(self.octets(), self.encoding())
    }
}

/// Shows `visit` each content of a message, until it breaks off, and gives the faults of what was seen.
/// `passed` is told how far in the message the pass has come.
pub fn each_content(
    message: &[u8],
    passed: &dyn Fn(usize),
    visit: &mut dyn FnMut(&Item<'_>) -> ControlFlow<()>,
) -> Faults {
    let mut pass = Pass { visit, faults: Faults::default(), containers: 0, broken: false };
    let mut levels = vec![Level { octets: Vec::new(), pending: pass.walk(message, passed, 0) }];
    while let Some(level) = levels.last_mut() {
        let Some(Pending { range, encoding, mut octets }) = level.pending.pop() else {
            levels.pop();
            continue;
        };
        let depth = levels.len();
        let outer = if depth == 1 { message } else { levels.last().map_or(message, |l| &l.octets) };
        let by_type = octets.is_empty();
        pass.decode(outer.get(range).unwrap_or_default(), encoding, &mut octets);
        if by_type && !has_field(&octets) {
            // Not a message, whatever its type says; it was shown as a leaf.
            continue;
        }
        let pending = pass.walk(&octets, &|_| {}, depth);
        levels.push(Level { octets, pending });
    }
    pass.faults
}

/// The types of a multipart, as a header of their own; nothing for a message.
fn head(part: &Part, message: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    if part.content_types(message).iter().any(|field| field.main_type() == "multipart") {
        let (header, headers) = (part.header(message), part.headers(message));
        for field in headers.all(header, "Content-Type") {
            head.extend_from_slice(field.raw);
        }
        head.extend_from_slice(b"\r\n");
    }
    head
}

/// Whether a message has a header at all.
fn has_field(message: &[u8]) -> bool {
    let read = Headers::index_part(message, Garbage::BeforeField, |_| false);
    read.headers.iter(message).next().is_some()
}

/// A message being gone through.
struct Level {
    /// What was unpacked; empty for the message as received.
    octets: Vec<u8>,
    /// Containers in it that are not unpacked yet.
    pending: Vec<Pending>,
}

/// A container that is not unpacked yet.
struct Pending {
    range: Range<usize>,
    encoding: Encoding,
    /// What belongs before what it decodes to: a message brings its own header, the parts of a multipart
    /// are found by the type that stands in this one's.
    octets: Vec<u8>,
}

struct Pass<'v> {
    visit: &'v mut dyn FnMut(&Item<'_>) -> ControlFlow<()>,
    faults: Faults,
    containers: usize,
    broken: bool,
}

impl Pass<'_> {
    /// Shows all content of one message and gives the containers in it.
    fn walk(&mut self, message: &[u8], passed: &dyn Fn(usize), unpacked: usize) -> Vec<Pending> {
        let mut pending = Vec::new();
        let mut walker = Walker::with_passed(message, passed);
        while !self.broken
            && let Some(content) = walker.next()
        {
            let Some(part) = walker.parts().get(content.part) else { continue };
            let item = Item { message, parts: walker.parts(), part, content: &content, unpacked };
            self.broken = (self.visit)(&item).is_break();
            if part.faults.contains(Fault::EncodedContainer)
                && item.encoding() != Encoding::Identity
            {
                if unpacked >= MIME_UNPACKED_DEPTH_MAX {
                    self.faults.insert(Fault::TooDeep);
                } else if self.containers >= CONTAINERS_MAX {
                    self.faults.insert(Fault::TooManyParts);
                } else {
                    self.containers += 1;
                    let octets = head(part, message);
                    pending.push(Pending { range: content.range, encoding: part.encoding, octets });
                }
            }
        }
        self.faults.extend(walker.faults());
        pending
    }

    fn decode(&mut self, octets: &[u8], encoding: Encoding, out: &mut Vec<u8>) {
        let mut body = Body::new(octets, encoding);
        let mut buffer = [0; 4_096];
        while let Some(piece) = body.next(&mut buffer) {
            let room = MIME_UNPACKED_MAX.saturating_sub(out.len());
            out.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if piece.len() > room {
                self.faults.insert(Fault::TooLargeToUnpack);
                break;
            }
        }
        self.faults.extend(body.faults());
    }
}
