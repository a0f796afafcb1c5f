//! What zip archives hold: the names of their files, and how those begin.
//!
//! Programs that open archives disagree on which of its two lists of files counts, the entries before
//! the files or the directory at the end, and where each begins. So nothing is navigated: one pass looks
//! for the heads of both kinds wherever they stand, and whatever any program could open is seen. An
//! archive inside is found where it is stored, and inflated where it is compressed; so a pass costs the
//! same memory for any size, and a bomb costs what [`Budget`] allows.

use super::mime::charset;
use crate::limits::{ZIP_DEPTH_MAX, ZIP_ENTRIES_MAX, ZIP_INFLATED_MAX};
use memchr::memmem;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

/// Octets of a file's beginning that are shown.
pub const HEAD_LEN: usize = 64;

/// Octets of a name that are looked at: the last ones, where the extension stands.
const NAME_LEN: usize = 512;

/// Extra fields of an entry that are looked at.
const EXTRAS_MAX: usize = 64;

/// Octets inflated in one step.
const STEP: usize = 8 * 1_024;

/// APPNOTE.TXT 4.3.7, 4.3.12, 4.3.16.
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// The newest version of the format and the highest method, so that noise is not taken for entries.
const VERSION_MAX: u8 = 63;
const METHOD_MAX: u16 = 99;
/// The name in UTF-8 that stands beside one in another charset (APPNOTE.TXT 4.6.9).
const UNICODE_PATH: u16 = 0x7075;

/// Something seen in an archive, or in one within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A file's name.
    Name(&'a str),
    /// How the file of the name that came before begins: at most [`HEAD_LEN`] octets.
    Head(&'a [u8]),
}

/// What is known of an archive at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Some of it is encrypted; what is, was not looked into.
    pub encrypted: bool,
    /// It does not end as an archive does, or what is compressed in it is damaged.
    pub broken: bool,
    /// There is more in it than is looked at.
    pub too_much: bool,
}

/// What may still be looked at, over all archives of one message.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    entries: usize,
    inflated: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { entries: ZIP_ENTRIES_MAX, inflated: ZIP_INFLATED_MAX }
    }
}

/// A pass over one archive, which is fed in pieces. How they are cut changes nothing.
pub struct Scanner {
    depth: usize,
    /// Octets that are still needed, and the place of the first in the archive.
    held: Vec<u8>,
    base: usize,
    /// Where the next head is looked for.
    pos: usize,
    data: Option<Data>,
    /// Kept to be used again.
    state: Option<Box<InflateState>>,
    ended: bool,
    facts: Facts,
}

/// The file behind the head of an entry.
struct Data {
    /// Where the octets lie that were not read yet.
    at: usize,
    deflated: bool,
    head: Vec<u8>,
    /// An archive in it.
    inner: Option<Box<Scanner>>,
}

/// The head of an entry, from its fixed fields.
struct Entry {
    local: bool,
    encrypted: bool,
    method: u16,
    name: usize,
    extra: usize,
    /// From the signature to the name.
    fixed: usize,
}

impl Scanner {
    /// At the start of an archive.
    pub fn new() -> Scanner {
        Scanner::at_depth(0)
    }

    fn at_depth(depth: usize) -> Scanner {
        Scanner {
            depth,
            held: Vec::new(),
            base: 0,
            pos: 0,
            data: None,
            state: None,
            ended: false,
            facts: Facts::default(),
        }
    }

    /// The next octets; `see` is shown what they hold.
    pub fn feed(&mut self, piece: &[u8], budget: &mut Budget, see: &mut dyn FnMut(Seen<'_>)) {
        self.held.extend_from_slice(piece);
        self.scan(false, budget, see);
        // Not further: a head may begin there, before which the file at hand ends.
        self.read_data(self.pos, budget, see);
        let needed = self.data.as_ref().map_or(self.pos, |data| data.at.min(self.pos));
        let done = needed.saturating_sub(self.base).min(self.held.len());
        self.held.drain(..done);
        self.base += done;
    }

    /// The archive has ended.
    pub fn finish(&mut self, budget: &mut Budget, see: &mut dyn FnMut(Seen<'_>)) -> Facts {
        self.scan(true, budget, see);
        self.read_data(self.base + self.held.len(), budget, see);
        if let Some(data) = self.data.take() {
            self.end_data(data, budget, see);
        }
        self.facts.broken |= !self.ended;
        self.facts
    }

    /// Finds heads, as far as they are whole.
    fn scan(&mut self, last: bool, budget: &mut Budget, see: &mut dyn FnMut(Seen<'_>)) {
        let finder = memmem::Finder::new(b"PK");
        loop {
            let from = self.pos.saturating_sub(self.base);
            let text = self.held.get(from..).unwrap_or_default();
            let Some(found) = finder.find(text) else {
                // The last octet may be the first of a signature.
                self.pos += text.len().saturating_sub(1);
                return;
            };
            self.pos += found;
            let rest = text.get(found..).unwrap_or_default();
            if rest.len() < 46 && !last {
                return;
            }
            self.ended |= rest.starts_with(&END);
            let Some(entry) = entry(rest) else {
                self.pos += 2;
                continue;
            };
            let length = entry.fixed + entry.name + entry.extra;
            if rest.len() < length && !last {
                return;
            }
            if budget.entries == 0 {
                self.facts.too_much = true;
                self.pos += 2;
                continue;
            }
            budget.entries -= 1;
            self.enter(&entry, length, budget, see);
            self.pos += 4;
        }
    }

    /// Shows an entry at `pos`, and begins its file.
    fn enter(
        &mut self,
        entry: &Entry,
        length: usize,
        budget: &mut Budget,
        see: &mut dyn FnMut(Seen<'_>),
    ) {
        self.facts.encrypted |= entry.encrypted;
        // What came before goes on only if it is an archive that is being inflated.
        self.read_data(self.pos, budget, see);
        let goes_on = self.data.as_ref().is_some_and(|data| data.inner.is_some());
        let begins = entry.local && !entry.encrypted && !goes_on;
        if begins && let Some(data) = self.data.take() {
            self.end_data(data, budget, see);
        }
        let from = self.pos.saturating_sub(self.base) + entry.fixed;
        let rest = self.held.get(from..).unwrap_or_default();
        let (name, behind) = rest.split_at_checked(entry.name).unwrap_or((rest, b""));
        let extra = behind.get(..entry.extra).unwrap_or(behind);
        let is_folder = name.ends_with(b"/");
        for name in [Some(name), unicode_path(extra)].into_iter().flatten() {
            let mut text = String::new();
            let tail = name.get(name.len().saturating_sub(NAME_LEN)..).unwrap_or(name);
            charset::push_guessed(tail, &mut text);
            see(Seen::Name(&text));
        }
        if begins && !is_folder && matches!(entry.method, STORED | DEFLATED) {
            let deflated = entry.method == DEFLATED;
            if deflated {
                match &mut self.state {
                    Some(state) => state.reset(DataFormat::Raw),
                    None => self.state = Some(InflateState::new_boxed(DataFormat::Raw)),
                }
            }
            let at = self.pos + length;
            self.data = Some(Data { at, deflated, head: Vec::new(), inner: None });
        }
    }

    /// Reads the file at hand up to `end`.
    fn read_data(&mut self, end: usize, budget: &mut Budget, see: &mut dyn FnMut(Seen<'_>)) {
        let Some(mut data) = self.data.take() else { return };
        if data.at >= end {
            self.data = Some(data);
            return;
        }
        let from = data.at.saturating_sub(self.base);
        let input = self.held.get(from..end.saturating_sub(self.base)).unwrap_or_default();
        data.at = end;
        let goes_on = if !data.deflated {
            let room = HEAD_LEN.saturating_sub(data.head.len());
            data.head.extend_from_slice(input.get(..room).unwrap_or(input));
            data.head.len() < HEAD_LEN
        } else if let Some(state) = &mut self.state {
            let mut inflating = Inflating { data: &mut data, depth: self.depth, budget, see };
            inflating.run(state, input, &mut self.facts)
        } else {
            false
        };
        if goes_on {
            self.data = Some(data);
        } else {
            self.end_data(data, budget, see);
        }
    }

    /// Shows how a file began, or ends the archive that it is.
    fn end_data(&mut self, data: Data, budget: &mut Budget, see: &mut dyn FnMut(Seen<'_>)) {
        match data.inner {
            Some(mut inner) => {
                let facts = inner.finish(budget, see);
                self.facts.encrypted |= facts.encrypted;
                self.facts.too_much |= facts.too_much;
                self.facts.broken |= facts.broken;
            }
            None if data.head.is_empty() => {}
            None => see(Seen::Head(&data.head)),
        }
    }
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner::new()
    }
}

/// A file that is being inflated.
struct Inflating<'a> {
    data: &'a mut Data,
    depth: usize,
    budget: &'a mut Budget,
    see: &'a mut dyn FnMut(Seen<'_>),
}

impl Inflating<'_> {
    /// Inflates a piece. Whether the file goes on, and is wanted.
    fn run(&mut self, state: &mut InflateState, mut input: &[u8], facts: &mut Facts) -> bool {
        let mut output = [0; STEP];
        loop {
            let step = inflate(state, input, &mut output, MZFlush::None);
            input = input.get(step.bytes_consumed..).unwrap_or_default();
            self.budget.inflated = self.budget.inflated.saturating_sub(step.bytes_written);
            let wanted = self.take(output.get(..step.bytes_written).unwrap_or_default(), facts);
            if !wanted {
                return false;
            }
            if self.budget.inflated == 0 {
                facts.too_much = true;
                return false;
            }
            match step.status {
                Ok(MZStatus::StreamEnd) => return false,
                Ok(_) if step.bytes_consumed == 0 && step.bytes_written == 0 => return true,
                Ok(_) => {}
                // No progress is possible without more input.
                Err(miniz_oxide::MZError::Buf) => return true,
                Err(_) => {
                    facts.broken = true;
                    return false;
                }
            }
        }
    }

    /// Takes what was inflated. Nobody wants more than the head of what is no archive.
    fn take(&mut self, octets: &[u8], facts: &mut Facts) -> bool {
        if let Some(inner) = &mut self.data.inner {
            inner.feed(octets, self.budget, self.see);
            return true;
        }
        let head = &mut self.data.head;
        let room = HEAD_LEN.saturating_sub(head.len());
        let (now, rest) = octets.split_at_checked(room).unwrap_or((octets, b""));
        head.extend_from_slice(now);
        if head.len() < HEAD_LEN {
            return true;
        }
        if !is_archive(head) {
            return false;
        }
        if self.depth + 1 >= ZIP_DEPTH_MAX {
            facts.too_much = true;
            return false;
        }
        (self.see)(Seen::Head(head));
        let mut inner = Box::new(Scanner::at_depth(self.depth + 1));
        inner.feed(head, self.budget, self.see);
        inner.feed(rest, self.budget, self.see);
        self.data.inner = Some(inner);
        true
    }
}

/// Whether a file begins as archives do. Empty ones and parts of split ones count too.
pub fn is_archive(head: &[u8]) -> bool {
    [LOCAL, END, *b"PK00", *b"PK\x07\x08"].iter().any(|it| head.starts_with(it))
}

fn number(text: &[u8], at: usize) -> Option<u16> {
    text.get(at..at + 2).and_then(|it| it.try_into().ok()).map(u16::from_le_bytes)
}

/// The head of an entry of either list, if one begins here.
fn entry(text: &[u8]) -> Option<Entry> {
    let (local, at, lengths, fixed) = if text.starts_with(&LOCAL) {
        (true, 4, 26, 30)
    } else if text.starts_with(&CENTRAL) {
        (false, 6, 28, 46)
    } else {
        return None;
    };
    let (version, flags, method) = (*text.get(at)?, number(text, at + 2)?, number(text, at + 4)?);
    let (name, extra) = (number(text, lengths)?, number(text, lengths + 2)?);
    let plausible = version <= VERSION_MAX && method <= METHOD_MAX && name > 0;
    plausible.then_some(Entry {
        local,
        encrypted: flags & 1 != 0,
        method,
        name: name.into(),
        extra: extra.into(),
        fixed,
    })
}

/// The name in the extra field that has one.
fn unicode_path(extra: &[u8]) -> Option<&[u8]> {
    let mut rest = extra;
    for _ in 0..EXTRAS_MAX {
        let (id, length) = (number(rest, 0)?, usize::from(number(rest, 2)?));
        let (value, behind) = rest.get(4..)?.split_at_checked(length)?;
        if id == UNICODE_PATH {
            // Behind a version and a checksum of the other name.
            return value.get(5..);
        }
        rest = behind;
    }
    None
}

/// Checks on any input: no panic, bounds, and how pieces are cut changes nothing.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let run = |size: usize| {
        let (mut scanner, mut budget) = (Scanner::new(), Budget::default());
        let (mut names, mut heads) = (Vec::new(), Vec::new());
        let mut see = |seen: Seen<'_>| match seen {
            Seen::Name(name) => names.push(name.to_string()),
            Seen::Head(head) => {
                assert!(!head.is_empty() && head.len() <= HEAD_LEN);
                heads.push(head.to_vec());
            }
        };
        for piece in data.chunks(size) {
            scanner.feed(piece, &mut budget, &mut see);
        }
        let facts = scanner.finish(&mut budget, &mut see);
        names.sort();
        heads.sort();
        (names, heads, facts)
    };
    let whole = run(data.len().max(1));
    assert!(whole.0.len() <= 2 * ZIP_ENTRIES_MAX);
    assert_eq!(whole, run(7));
}

#[cfg(test)]
mod tests;
