//! What holds for any mail.

use super::{Change, Text, shown, write};
use crate::mail::mime::body::Body;
use crate::mail::mime::{Mime, Part};

/// Checks on any input: the mail has the same parts afterwards, and those that were changed hold what
/// they held, and the text.
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let (mime, Some(text)) = (Mime::index(data), Text::new("Bye\n> now")) else { return };
    let (Ok(shown), Some(mail)) = (shown(data, &mime), mime.parts.first()) else { return };
    let changes: Vec<(usize, Change)> = shown
        .into_iter()
        .filter_map(|number| {
            Some((number, Change::plan(data, mime.parts.get(number)?, &text).ok()?))
        })
        .collect();
    let (numbers, changes): (Vec<usize>, Vec<Change>) = changes.into_iter().unzip();
    let start = mail.body.start;
    let mut out = data.get(..start).unwrap_or_default().to_vec();
    let written = write(data, start, &changes, &mut out);
    assert!(written.is_ok(), "memory takes everything");
    let after = Mime::index(&out);
    assert_eq!(mime.parts.len(), after.parts.len());
    for (number, (old, new)) in mime.parts.iter().zip(&after.parts).enumerate() {
        let (before, now) = (decoded(data, old), decoded(&out, new));
        if numbers.contains(&number) {
            let added = now.len().saturating_sub(before.len());
            assert!(added >= 10 && memchr::memmem::find(&now, b"Bye").is_some());
            let common = before.iter().zip(&now).take_while(|(one, other)| one == other).count();
            let tail = before.get(common..).unwrap_or_default();
            // The line end before a delimiter belongs to the delimiter.
            assert!(now.ends_with(tail) || [&now, b"\r\n".as_slice()].concat().ends_with(tail));
        } else if old.kind == crate::mail::mime::Kind::Leaf {
            assert!(before == now, "part {number} was not meant");
        }
    }
}

fn decoded(message: &[u8], part: &Part) -> Vec<u8> {
    let mut body = Body::new(message.get(part.body.clone()).unwrap_or_default(), part.encoding);
    let (mut buffer, mut out) = (vec![0; 4_096], Vec::new());
    while let Some(piece) = body.next(&mut buffer) {
        out.extend_from_slice(piece);
    }
    out
}
