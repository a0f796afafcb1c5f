//! Canonicalization: what of a message is hashed, so that what relays do to it on its way matters not
//! at all (`relaxed`) or hardly (`simple`) (RFC 6376 section 3.4).
//!
//! The body is hashed in one pass from its start to its end, for all signatures together: both forms
//! are made of each piece while it is in the cache, and hashes of a part (`l=`) are taken when the
//! running one comes by. Nothing is copied but lines that a form changes, and those in small pieces;
//! what has been passed can be dropped from memory. Line ends are LF with or without a CR before it, so
//! that a message stored in either way hashes alike.

use crate::authn::crypto::{Sha256, Sha256Hash};
use std::ops::Range;

/// Octets of body that are worked on at a time; they stay in the cache for the second form.
const BLOCK: usize = 64 * 1_024;

/// How often it is told that a part of the body is done with, in octets.
const PASSED_EVERY: usize = 1_024 * 1_024;

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Canon {
    /// As it is.
    Simple,
    /// White space and case forgiven.
    Relaxed,
}

impl Canon {
    /// As `c=` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Canon::Simple => "simple",
            Canon::Relaxed => "relaxed",
        }
    }

    /// Reads what `c=` spells.
    pub fn of_name(name: &[u8]) -> Option<Canon> {
        [Canon::Simple, Canon::Relaxed]
            .into_iter()
            .find(|canon| name.eq_ignore_ascii_case(canon.name().as_bytes()))
    }
}

// ------------------------------------------------------------------ header fields

/// Appends a field in the relaxed form, without a line end (RFC 6376 section 3.4.2). The value may come
/// in pieces.
pub fn relaxed_field(out: &mut Vec<u8>, name: &[u8], value: &[&[u8]]) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut blank = false;
    for octet in value.iter().flat_map(|piece| piece.iter().copied()) {
        match octet {
            b' ' | b'\t' => blank = true,
            b'\r' | b'\n' => {}
            octet => {
                if std::mem::take(&mut blank) && out.len() > start {
                    out.push(b' ');
                }
                out.push(octet);
            }
        }
    }
}

// ------------------------------------------------------------------ the body

/// A hash of the body that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Of this form.
    pub canon: Canon,
    /// Of so many of its octets (`l=`); all where it is not said.
    pub length: Option<u64>,
}

/// A hash of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash {
    /// Its value.
    pub hash: Sha256Hash,
    /// Octets of the form that it does not cover.
    pub uncovered: u64,
}

/// The hashes that are wanted, in their order; None where `length` is more than there is.
///
/// `passed` is told, about every MiB, up to where the body has been read.
pub fn hash_body(body: &[u8], wanted: &[Wanted], passed: &dyn Fn(usize)) -> Vec<Option<BodyHash>> {
    let mut forms: Vec<Form> = [Canon::Simple, Canon::Relaxed]
        .into_iter()
        .filter(|canon| wanted.iter().any(|it| it.canon == *canon))
        .map(|canon| Form::new(canon, wanted))
        .collect();
    let (mut done, mut told) = (0, 0);
    while let Some(rest) = body.get(done..).filter(|rest| !rest.is_empty() && !forms.is_empty()) {
        let block = rest.get(..block_length(rest)).unwrap_or(rest);
        for form in &mut forms {
            form.block(block);
        }
        done += block.len();
        if done - told >= PASSED_EVERY {
            told = done;
            passed(done);
        }
    }
    let hashed: Vec<(Canon, Sink)> = forms.into_iter().map(Form::finish).collect();
    let of = |wish: &Wanted| {
        hashed.iter().find(|(canon, _)| *canon == wish.canon)?.1.hash_at(wish.length)
    };
    wanted.iter().map(of).collect()
}

/// Whole lines of about a block; at least one line.
fn block_length(rest: &[u8]) -> usize {
    let Some((block, behind)) = rest.split_at_checked(BLOCK) else { return rest.len() };
    match memchr::memrchr(b'\n', block) {
        Some(last) => last + 1,
        None => memchr::memchr(b'\n', behind).map_or(rest.len(), |next| BLOCK + next + 1),
    }
}

/// One form of a body while it is made.
struct Form {
    canon: Canon,
    sink: Sink,
    /// Empty lines that count only if something follows.
    empty_lines: u64,
}

impl Form {
    fn new(canon: Canon, wanted: &[Wanted]) -> Form {
        let own = wanted.iter().filter(|it| it.canon == canon);
        Form { canon, sink: Sink::new(own.map(|it| it.length)), empty_lines: 0 }
    }

    /// Takes lines. Those that stay as they are go to the hash together.
    fn block(&mut self, block: &[u8]) {
        let (mut start, mut same) = (0, 0..0);
        while let Some(rest) = block.get(start..).filter(|rest| !rest.is_empty()) {
            let line = Line::first(rest);
            let kept = self.content(line.content);
            if kept.is_empty() {
                self.flush(block, &mut same);
                self.empty_lines += 1;
            } else {
                if self.empty_lines > 0 {
                    self.flush(block, &mut same);
                    self.put_empty_lines();
                }
                if line.has_crlf && kept.len() == line.content.len() && !self.changes(kept) {
                    if same.is_empty() {
                        same.start = start;
                    }
                    same.end = start + line.length;
                } else {
                    self.flush(block, &mut same);
                    self.put_line(kept);
                }
            }
            start += line.length;
        }
        self.flush(block, &mut same);
    }

    fn flush(&mut self, block: &[u8], same: &mut Range<usize>) {
        if let Some(lines) = block.get(std::mem::take(same)) {
            self.sink.put(lines);
        }
    }

    /// The line without what the form drops at its end.
    fn content<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        match self.canon {
            Canon::Simple => line,
            Canon::Relaxed => {
                let last = line.iter().rposition(|octet| !matches!(octet, b' ' | b'\t'));
                line.get(..last.map_or(0, |last| last + 1)).unwrap_or_default()
            }
        }
    }

    /// The form makes something else of this line. Without a branch for each octet, since most lines
    /// of most mails stay as they are.
    fn changes(&self, line: &[u8]) -> bool {
        let next = line.get(1..).unwrap_or_default();
        let pair = |(one, two): (&u8, &u8)| u8::from(*one == b' ') & u8::from(*two == b' ');
        self.canon == Canon::Relaxed
            && line
                .iter()
                .zip(next)
                .fold(0, |found, octets| found | pair(octets) | u8::from(*octets.0 == b'\t'))
                != 0
    }

    fn put_line(&mut self, line: &[u8]) {
        match self.canon {
            Canon::Simple => self.sink.put(line),
            Canon::Relaxed => self.put_squeezed(line),
        }
        self.sink.put(b"\r\n");
    }

    /// Each run of blanks becomes one.
    fn put_squeezed(&mut self, line: &[u8]) {
        let mut piece = [0; 512];
        let (mut filled, mut blank) = (0, false);
        for octet in line {
            let is_blank = matches!(octet, b' ' | b'\t');
            if is_blank && blank {
                continue;
            }
            blank = is_blank;
            if filled == piece.len() {
                self.sink.put(&piece);
                filled = 0;
            }
            if let Some(place) = piece.get_mut(filled) {
                *place = if is_blank { b' ' } else { *octet };
                filled += 1;
            }
        }
        self.sink.put(piece.get(..filled).unwrap_or_default());
    }

    fn put_empty_lines(&mut self) {
        const LINES: [[u8; 2]; 256] = [*b"\r\n"; 256];
        let lines = LINES.as_flattened();
        let mut octets = 2 * std::mem::take(&mut self.empty_lines);
        while octets > 0 {
            let piece = usize::try_from(octets).unwrap_or(usize::MAX).min(lines.len());
            self.sink.put(lines.get(..piece).unwrap_or_default());
            octets -= piece as u64;
        }
    }

    /// An empty body is one empty line in the simple form, and nothing in the relaxed one.
    fn finish(mut self) -> (Canon, Sink) {
        if self.canon == Canon::Simple && self.sink.octets == 0 {
            self.sink.put(b"\r\n");
        }
        (self.canon, self.sink)
    }
}

/// The first line of a text.
struct Line<'a> {
    /// Without its line end.
    content: &'a [u8],
    /// With it.
    length: usize,
    has_crlf: bool,
}

impl Line<'_> {
    fn first(text: &[u8]) -> Line<'_> {
        let Some(feed) = memchr::memchr(b'\n', text) else {
            return Line { content: text, length: text.len(), has_crlf: false };
        };
        let line = text.get(..feed).unwrap_or_default();
        let content = line.strip_suffix(b"\r").unwrap_or(line);
        Line { content, length: feed + 1, has_crlf: content.len() < line.len() }
    }
}

/// The running hash of a form, with the hashes of parts that were wanted.
struct Sink {
    running: Sha256,
    octets: u64,
    /// Lengths at which a hash is wanted, ascending, with the hash once it was reached.
    cuts: Vec<(u64, Option<Sha256Hash>)>,
    reached: usize,
    /// The hash of all is wanted too.
    whole: bool,
}

impl Sink {
    fn new(lengths: impl Iterator<Item = Option<u64>>) -> Sink {
        let mut whole = false;
        let mut cuts: Vec<(u64, Option<Sha256Hash>)> = Vec::new();
        for length in lengths {
            match length {
                Some(length) => cuts.push((length, None)),
                None => whole = true,
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        let mut sink = Sink { running: Sha256::new(), octets: 0, cuts, reached: 0, whole };
        // A length of 0 is reached before the first octet.
        sink.put(b"");
        sink
    }

    fn put(&mut self, mut piece: &[u8]) {
        while let Some((at, hash)) = self.cuts.get_mut(self.reached) {
            let ahead = usize::try_from(*at - self.octets).unwrap_or(usize::MAX);
            let Some((within, behind)) = piece.split_at_checked(ahead) else { break };
            self.running.update(within);
            self.octets = *at;
            *hash = Some(self.running.clone().finish());
            self.reached += 1;
            piece = behind;
        }
        if self.whole || self.reached < self.cuts.len() {
            self.running.update(piece);
        }
        self.octets += piece.len() as u64;
    }

    fn hash_at(&self, length: Option<u64>) -> Option<BodyHash> {
        let Some(length) = length else {
            return Some(BodyHash { hash: self.running.clone().finish(), uncovered: 0 });
        };
        let (at, hash) = self.cuts.iter().find(|(at, _)| *at == length)?;
        Some(BodyHash { hash: (*hash)?, uncovered: self.octets - at })
    }
}

#[cfg(test)]
mod tests;
