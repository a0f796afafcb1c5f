//! What a part is, by its header.

use super::{Encoding, Fault, Faults, Field, Kind, Part};
use crate::limits::MIME_DEPTH_MAX;
use crate::mail::headers::{Garbage, PartHeader};

/// What a part lies in.
pub(super) struct Place {
    pub(super) parent: Option<usize>,
    pub(super) depth: usize,
    pub(super) in_digest: bool,
    pub(super) garbage: Garbage,
}

/// A part that holds others, if they are found.
pub(super) struct Container {
    /// Every reading of every boundary parameter.
    pub(super) boundaries: Vec<String>,
    pub(super) digest: bool,
    /// To some clients the body as a whole is something else.
    pub(super) other_reading: bool,
}

/// Reads the part whose header begins at `start`.
pub(super) fn read(
    message: &[u8],
    start: usize,
    read: &PartHeader,
    place: &Place,
) -> (Part, Option<Container>) {
    let body = start + read.headers.body();
    let mut part = Part {
        parent: place.parent,
        depth: place.depth,
        kind: Kind::Leaf,
        start,
        body: body..body,
        encoding: Encoding::Identity,
        faults: Faults::default(),
        garbage: place.garbage,
        in_digest: place.in_digest,
    };
    header_faults(message.get(start..).unwrap_or_default(), read, &mut part);
    let mut types = part.content_types(message);
    if types.is_empty() {
        types.push(part.content_type(message));
    }
    let first = types.first().map_or("", Field::head);
    part.faults.insert_if(Fault::Partial, first == "message/partial");
    part.faults.insert_if(Fault::ExternalBody, first == "message/external-body");
    let multiparts: Vec<&Field> =
        types.iter().filter(|field| field.main_type() == "multipart").collect();
    if multiparts.is_empty() && !is_message(first) {
        return (part, None);
    }
    let encoded = part.encoding != Encoding::Identity;
    part.faults.insert_if(Fault::EncodedContainer, encoded);
    if place.depth >= MIME_DEPTH_MAX {
        part.faults.insert(Fault::TooDeep);
        return (part, None);
    }
    part.kind = if multiparts.is_empty() { Kind::Message } else { Kind::Multipart };
    let boundaries = multiparts.iter().flat_map(|field| field.readings("boundary"));
    let container = Container {
        boundaries: boundaries.map(str::to_string).collect(),
        digest: multiparts.iter().any(|field| field.head() == "multipart/digest"),
        other_reading: encoded || (!multiparts.is_empty() && multiparts.len() < types.len()),
    };
    (part, Some(container))
}

fn is_message(head: &str) -> bool {
    matches!(head, "message/rfc822" | "message/global" | "message/news")
}

/// Reads the encoding and notes what is wrong with the header as such.
fn header_faults(rest: &[u8], read: &PartHeader, part: &mut Part) {
    let headers = &read.headers;
    let faults = &mut part.faults;
    let octets = rest.get(..headers.end()).unwrap_or_default();
    faults.insert_if(Fault::HeaderGarbage, read.garbage);
    faults.insert_if(Fault::HeaderTooLarge, read.too_large);
    faults.insert_if(Fault::BareLf, read.bare_lf);
    faults.insert_if(Fault::NoBlankLine, !headers.has_separator());
    faults.insert_if(Fault::NulInHeader, memchr::memchr(0, octets).is_some());
    faults.insert_if(Fault::TypeTwice, headers.count(rest, "Content-Type") > 1);
    faults.insert_if(Fault::DispositionTwice, headers.count(rest, "Content-Disposition") > 1);
    let mut encodings = headers.all(rest, "Content-Transfer-Encoding");
    if let Some(field) = encodings.next() {
        let known = Encoding::from_value(field.value);
        faults.insert_if(Fault::UnknownEncoding, known.is_none());
        part.encoding = known.unwrap_or_default();
        faults.insert_if(Fault::EncodingTwice, encodings.next().is_some());
    }
    if let Some(field) = headers.first(rest, "Content-Type") {
        let parsed = Field::parse(field.value);
        faults.insert_if(Fault::BadType, !parsed.head().contains('/'));
        faults.extend(parsed.faults());
    }
}
