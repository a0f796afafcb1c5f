//! The message as it stands now: what was received plus the edits of each plugin in turn.
//!
//! The received octets never change, for signatures are checked against them. `Current` keeps a
//! header block of its own once something is edited and otherwise points into what was received,
//! so a message that nobody touches is never copied. It is also the place where a message that
//! lacks the empty line behind its header gets one, and where an mbox line becomes a field:
//! whoever reads what we write reads it as we did.
//!
//! Whatever the text of an edit holds, one edit writes one field; `fold` sees to that.

use super::fold::{BadName, write_field};
use super::headers::{Bounds, Field, HeaderError, Headers};
use super::new_body::NewBody;
use crate::limits::{HEADER_BLOCK_MAX, HEADER_FIELDS_MAX};
use std::borrow::Cow;
use std::collections::VecDeque;

/// A message that came in at the bounds must still take our own fields, hence more room here.
const ROOM: Bounds =
    Bounds { octets: HEADER_BLOCK_MAX + 256 * 1_024, fields: HEADER_FIELDS_MAX + 100 };

/// One change of the message. The fields of a name count from the top and from 0, as they stand
/// when the edit's turn comes, edits before it in the same list included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A new field above all others.
    Insert {
        /// The field's name.
        name: String,
        /// Its text; folded here.
        value: String,
    },
    /// A new field below all others.
    Append {
        /// The field's name.
        name: String,
        /// Its text; folded here.
        value: String,
    },
    /// A new field above the one that now stands at this place, counting all fields; below all others
    /// where there are not so many.
    InsertAt {
        /// The place.
        at: usize,
        /// The field's name.
        name: String,
        /// Its text; folded here.
        value: String,
    },
    /// Takes out field number `nth` of that name, or all of them. Nothing if there is none.
    Delete {
        /// The field's name; case does not matter.
        name: String,
        /// Which one; `None` is all.
        nth: Option<usize>,
    },
    /// Rewrites field number `nth` of that name in its place. Nothing if there is none.
    Change {
        /// The field's name; case does not matter, and it is written as given here.
        name: String,
        /// Which one.
        nth: usize,
        /// Its new text; folded here.
        value: String,
    },
    /// Another body, in CR LF lines.
    ReplaceBody(NewBody),
}

/// Why edits are not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// A name that no field can have (RFC 5322 3.6.8), or one longer than 76 octets.
    BadName,
    /// The header block would grow out of its bounds.
    TooLarge,
    /// There would be too many fields.
    TooManyFields,
}

impl From<BadName> for EditError {
    fn from(BadName: BadName) -> EditError {
        EditError::BadName
    }
}

impl From<HeaderError> for EditError {
    fn from(error: HeaderError) -> EditError {
        match error {
            HeaderError::TooLarge => EditError::TooLarge,
            HeaderError::TooManyFields => EditError::TooManyFields,
        }
    }
}

/// The message with all edits so far.
///
/// It does not own what was received: callers pass the same octets each time.
#[derive(Clone, Debug)]
pub struct Current {
    /// The header block when it is no longer the received one.
    block: Option<Vec<u8>>,
    /// The index of the block as it stands.
    headers: Headers,
    body: Body,
    version: u32,
}

#[derive(Clone, Debug)]
enum Body {
    /// The received one, which starts here.
    Received(usize),
    Replaced(NewBody),
}

impl Current {
    /// The message before any edit.
    ///
    /// # Errors
    /// When its header block is larger than the bounds in `limits`.
    pub fn new(received: &[u8]) -> Result<Current, HeaderError> {
        let headers = Headers::index(received)?;
        let body = Body::Received(headers.body());
        let as_written =
            |field: Field<'_>| field.raw.ends_with(b"\r\n") && field.raw.starts_with(field.name);
        if headers.iter(received).all(as_written) {
            let headers = headers.block_only();
            return Ok(Current { block: None, headers, body, version: 0 });
        }
        let mut block = Vec::with_capacity(headers.end() + 16);
        for field in headers.iter(received) {
            if field.raw.starts_with(field.name) {
                block.extend_from_slice(field.raw);
            } else {
                // The mbox line: its name is not what stands there.
                block.extend_from_slice(field.name);
                block.push(b':');
                block.extend_from_slice(field.value);
            }
            if !block.ends_with(b"\r\n") {
                block.extend_from_slice(b"\r\n");
            }
        }
        let headers = Headers::index_within(&block, ROOM)?;
        Ok(Current { block: Some(block), headers, body, version: 0 })
    }

    /// Does all edits in their order, or none of them.
    ///
    /// # Errors
    /// When a name is not one, or the header block would grow out of its bounds.
    pub fn apply(&mut self, received: &[u8], edits: &[Edit]) -> Result<(), EditError> {
        let only_inserts = edits.iter().all(|edit| matches!(edit, Edit::Insert { .. }));
        let change = if only_inserts {
            self.insert(received, edits)?
        } else {
            let mut draft = Draft::new(self, received);
            edits.iter().try_for_each(|edit| draft.apply(edit))?;
            draft.finish()
        };
        if let Some(block) = change.block {
            self.headers = Headers::index_within(&block, ROOM)?;
            self.block = Some(block);
        }
        if let Some(body) = change.body {
            self.body = Body::Replaced(body);
        }
        self.version = self.version.wrapping_add(u32::from(change.any));
        Ok(())
    }

    /// The header block as it stands: each field ends with CR LF, no separator behind them.
    pub fn header<'a>(&'a self, received: &'a [u8]) -> &'a [u8] {
        match &self.block {
            Some(block) => block,
            None => received.get(..self.headers.end()).unwrap_or_default(),
        }
    }

    /// The index of `header()`. It knows the fields only: its body is empty.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body as it stands.
    pub fn body<'a>(&'a self, received: &'a [u8]) -> &'a [u8] {
        match &self.body {
            Body::Received(start) => received.get(*start..).unwrap_or_default(),
            Body::Replaced(body) => body.octets(),
        }
    }

    /// Where the body starts in what was received; None where another one took its place.
    pub fn received_body(&self) -> Option<usize> {
        match &self.body {
            Body::Received(start) => Some(*start),
            Body::Replaced(_) => None,
        }
    }

    /// No edit has changed what the parts of the message are: its body and the fields that tell how to
    /// take it apart (`Content-…`, `MIME-Version`) are the received ones, whatever stands around them.
    pub fn has_received_parts(&self, received: &[u8]) -> bool {
        fn text(field: Field<'_>) -> (&[u8], &[u8]) {
            (field.name, field.value.trim_ascii())
        }
        let is_ours = |field: &Field<'_>| {
            let prefix = field.name.get(..8).unwrap_or_default();
            prefix.eq_ignore_ascii_case(b"Content-")
                || field.name.eq_ignore_ascii_case(b"MIME-Version")
        };
        let Ok(before) = Headers::index(received) else { return false };
        let before = before.iter(received).filter(is_ours).map(text);
        let now = self.headers.iter(self.header(received)).filter(is_ours).map(text);
        self.received_body().is_some() && before.eq(now)
    }

    /// What a delivery writes: the header block, the separator, the body.
    pub fn parts<'a>(&'a self, received: &'a [u8]) -> [&'a [u8]; 3] {
        [self.header(received), b"\r\n", self.body(received)]
    }

    /// Grows with every `apply` that changed something, so that a memo about the message knows
    /// whether it still holds.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The length of all parts in octets.
    pub fn len(&self, received: &[u8]) -> usize {
        self.parts(received).iter().map(|part| part.len()).sum()
    }

    /// The common case, one allocation and one copy: new fields above an untouched block.
    fn insert(&self, received: &[u8], edits: &[Edit]) -> Result<Change, EditError> {
        let header = self.header(received);
        let mut block = Vec::with_capacity(header.len() + edits.len() * 32 + text_length(edits));
        // The last one to be inserted stands on top.
        for edit in edits.iter().rev() {
            if let Edit::Insert { name, value } = edit {
                write_field(&mut block, name, value, false)?;
            }
        }
        if block.is_empty() {
            return Ok(Change::default());
        }
        block.extend_from_slice(header);
        Ok(Change { block: Some(block), body: None, any: true })
    }
}

/// How much text the inserts bring, with room for some folding.
fn text_length(edits: &[Edit]) -> usize {
    let length = |edit: &Edit| match edit {
        Edit::Insert { name, value } => name.len() + value.len() + value.len() / 32,
        Edit::Append { .. }
        | Edit::InsertAt { .. }
        | Edit::Delete { .. }
        | Edit::Change { .. }
        | Edit::ReplaceBody(_) => 0,
    };
    edits.iter().map(length).sum()
}

/// What a list of edits comes to.
#[derive(Default)]
struct Change {
    block: Option<Vec<u8>>,
    body: Option<NewBody>,
    any: bool,
}

/// One field of a draft. A deleted one is empty and so has no name that anything could match.
struct Piece<'a> {
    raw: Cow<'a, [u8]>,
    name: usize,
}

impl Piece<'_> {
    fn is(&self, name: &str) -> bool {
        let own = self.raw.get(..self.name).unwrap_or_default();
        !own.is_empty() && own.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields while a list of edits is worked through.
struct Draft<'a> {
    pieces: VecDeque<Piece<'a>>,
    body: Option<NewBody>,
    header_changed: bool,
}

impl<'a> Draft<'a> {
    fn new(current: &'a Current, received: &'a [u8]) -> Draft<'a> {
        let fields = current.headers.iter(current.header(received));
        let piece = |field: Field<'a>| Piece { raw: field.raw.into(), name: field.name.len() };
        Draft { pieces: fields.map(piece).collect(), body: None, header_changed: false }
    }

    fn apply(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::Insert { name, value } => self.pieces.push_front(written(name, value, false)?),
            Edit::Append { name, value } => self.pieces.push_back(written(name, value, false)?),
            Edit::InsertAt { at, name, value } => {
                let mut standing = self.pieces.iter().enumerate().filter(|(_, it)| it.name > 0);
                let place = standing.nth(*at).map_or(self.pieces.len(), |(place, _)| place);
                self.pieces.insert(place, written(name, value, false)?);
            }
            Edit::Delete { name, nth } => {
                let same = self.pieces.iter_mut().filter(|piece| piece.is(name));
                let (skip, take) = nth.map_or((0, usize::MAX), |nth| (nth, 1));
                for piece in same.skip(skip).take(take) {
                    *piece = Piece { raw: Cow::default(), name: 0 };
                    self.header_changed = true;
                }
                return Ok(());
            }
            Edit::Change { name, nth, value } => {
                let mut same = self.pieces.iter_mut().filter(|piece| piece.is(name));
                let Some(piece) = same.nth(*nth) else { return Ok(()) };
                // A field that came with UTF-8 may keep it: a Subject that gets a mark in front
                // would else be lost.
                *piece = written(name, value, !piece.raw.is_ascii())?;
            }
            Edit::ReplaceBody(body) => {
                self.body = Some(body.clone());
                return Ok(());
            }
        }
        self.header_changed = true;
        Ok(())
    }

    fn finish(self) -> Change {
        let block = self.header_changed.then(|| {
            let mut block =
                Vec::with_capacity(self.pieces.iter().map(|piece| piece.raw.len()).sum());
            self.pieces.iter().for_each(|piece| block.extend_from_slice(&piece.raw));
            block
        });
        Change { any: block.is_some() || self.body.is_some(), block, body: self.body }
    }
}

fn written(name: &str, value: &str, utf8: bool) -> Result<Piece<'static>, EditError> {
    let mut raw = Vec::new();
    write_field(&mut raw, name, value, utf8)?;
    Ok(Piece { raw: raw.into(), name: name.len() })
}

/// Checks on any input: what is written reads as the same fields again, and foreign text in an
/// edit makes one field, whatever it holds.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let Ok(mut current) = Current::new(data) else { return };
    same_when_read_again(&current, data);
    let values = |headers: &Headers, message: &[u8]| -> Vec<Vec<u8>> {
        headers.iter(message).map(|field| [field.name, b":", field.value].concat()).collect()
    };
    let received = Headers::index(data).map(|headers| values(&headers, data));
    assert_eq!(received, Ok(values(current.headers(), current.header(data))));
    let fields = current.headers().len();
    let text: String = String::from_utf8_lossy(data).chars().take(10_000).collect();
    let edit = |name: &str| Edit::Insert { name: name.to_owned(), value: text.clone() };
    let bad = current.apply(data, &[edit("X-A"), edit(&text)]);
    assert!(bad.is_ok() || current.headers().len() == fields);
    let before = current.headers().len();
    let append = Edit::Append { name: "X-B".to_owned(), value: text.clone() };
    let change = Edit::Change { name: "X-A".to_owned(), nth: 0, value: text.clone() };
    let at = Edit::InsertAt { at: 2, name: "X-C".to_owned(), value: text.clone() };
    let edits = [edit("X-A"), edit("From"), change, at, append];
    assert_eq!(current.apply(data, &edits), Ok(()));
    assert_eq!(current.headers().len(), before + 4);
    let added = |nth| current.headers().field(current.header(data), nth).map(|field| field.raw);
    for raw in [added(0), added(1), added(2), added(before + 3)].into_iter().flatten() {
        assert!(raw.split(|octet| *octet == b'\n').all(|line| line.len() <= 999));
        assert!(raw.is_ascii() && !raw.windows(3).any(|three| three == b"\r\n\r"));
    }
    same_when_read_again(&current, data);
}

/// A reader of the written message finds the same fields and the same body.
#[cfg(any(test, fuzzing))]
fn same_when_read_again(current: &Current, received: &[u8]) {
    let parts = current.parts(received);
    let message = parts.concat();
    assert_eq!(message.len(), current.len(received));
    let again = Headers::index_within(&message, ROOM).unwrap_or_default();
    assert!(again.has_separator());
    assert!(again.iter(&message).eq(current.headers().iter(current.header(received))));
    assert_eq!(message.get(again.body()..), Some(current.body(received)));
}

#[cfg(test)]
mod tests;
