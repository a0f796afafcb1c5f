//! What holds for any message.

use super::body::{BUFFER_MIN, Buffers, Text};
use super::*;
use crate::limits::{MIME_DEPTH_MAX, MIME_PARTS_MAX};
use std::ops::ControlFlow;

/// Checks on any input: parts lie in one another, contents in their parts, everything is bounded, and
/// bodies decode to the same whatever the size of the buffer.
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let mime = Mime::index(data);
    structure(&mime, data);
    for part in &mime.parts {
        let names = part.file_names(data);
        assert!(names.iter().all(|name| !name.is_empty() && name.len() <= field::VALUE_MAX));
        part.field_faults(data);
    }
    let mut items = 0;
    each_content(data, &|_| {}, &mut |item: &Item<'_>| {
        items += 1;
        decoding(item);
        ControlFlow::Continue(())
    });
    assert!(items >= mime.contents.len());
    assert!(words::decode(data, 100).len() <= 100);
    assert!(Field::parse(data).head().len() <= 3 * 255);
    let mut end = 0;
    for file in uuencode::files(data) {
        assert!(end <= file.range.start && file.range.start < file.range.end);
        end = file.range.end;
    }
    assert!(end <= data.len());
}

/// What holds for every message that was taken apart.
pub(super) fn structure(mime: &Mime, message: &[u8]) {
    assert!((1..=MIME_PARTS_MAX).contains(&mime.parts.len()));
    for (number, part) in mime.parts.iter().enumerate() {
        assert!(part.start <= part.body.start && part.body.start <= part.body.end, "{part:?}");
        assert!(part.body.end <= message.len() && part.depth <= MIME_DEPTH_MAX);
        assert_eq!(part.parent.is_none(), number == 0);
        if let Some(outer) = part.parent.and_then(|parent| mime.parts.get(parent)) {
            assert!(
                part.parent < Some(number)
                    && part.depth == outer.depth + 1
                    && outer.kind != Kind::Leaf
            );
            assert!(outer.body.start <= part.start && part.body.end <= outer.body.end);
        }
        let given = mime.contents.iter().filter(|c| c.part == number && c.role == Role::Body);
        assert_eq!(given.count(), usize::from(part.kind == Kind::Leaf), "{part:?}");
    }
    let mut ended = 0;
    for content in &mime.contents {
        let body = mime.parts.get(content.part).map_or(0..0, |part| part.body.clone());
        assert!(body.start <= content.range.start && content.range.end <= body.end);
        // All but other readings of a whole stand one behind the other.
        if content.role != Role::OtherReading {
            assert!(ended <= content.range.start, "{:?}", mime.contents);
            ended = content.range.end;
        }
    }
}

/// Decodes with small and large buffers, which must not show.
fn decoding(item: &Item<'_>) {
    let whole = |size: usize| {
        let (mut body, mut buffer, mut out) = (item.body(), vec![0; size], Vec::new());
        while let Some(piece) = body.next(&mut buffer) {
            assert!(!piece.is_empty() && piece.len() <= size);
            out.extend_from_slice(piece);
        }
        (out, body.faults())
    };
    let (small, faults) = whole(BUFFER_MIN);
    assert_eq!((&small, faults), (&whole(8_192).0, whole(8_192).1));
    // The worst is uuencode: two octets can stand for 63.
    assert!(small.len() <= 32 * item.octets().len() + 64);
    let kind = item.content_type();
    let mut text = Text::new(item.body(), kind.parameter("charset").unwrap_or_default());
    let (mut buffers, mut length) = (Buffers::new(0), 0);
    while let Some(piece) = text.next(&mut buffers) {
        length += piece.len();
    }
    assert!(length <= 4 * small.len() + 16);
}
