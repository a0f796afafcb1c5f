//! The pass over a message that finds its parts.
//!
//! A line that divides ends everything that is open inside the multipart it belongs to, so one look at
//! each line that begins with `--` is enough, at any depth. Open containers are frames on a stack of
//! bounded height; nothing recurses.
//!
//! Only one thing makes the walker go back: a multipart in which no delimiter was found. Then the first
//! line that looks like one is taken for one (`Frame::near`), as lax clients do. How much is read again
//! is bounded by the length of the message.

use super::boundary::{Boundaries, Delimiter};
use super::shape::{self, Place};
use super::{Content, Fault, Faults, Kind, Part, Role};
use crate::limits::MIME_PARTS_MAX;
use crate::mail::headers::{Garbage, Headers, PartHeader};
use memchr::memmem;
use std::collections::VecDeque;
use std::ops::Range;

/// Octets searched before pages behind are handed back.
const STRIDE: usize = 1_024 * 1_024;

/// Multiparts of one message whose delimiters are recognised by their beginning.
const LOOSE_MAX: usize = 8;

/// Octets of a line that may become a boundary where none was named; a real one has at most 72.
const GUESS_MAX: usize = 200;

/// Finds the parts of a message, one content after the other.
pub struct Walker<'m> {
    message: &'m [u8],
    passed: &'m dyn Fn(usize),
    parts: Vec<Part>,
    frames: Vec<Frame>,
    boundaries: Boundaries,
    now: Now,
    /// Where the next delimiter is looked for.
    pos: usize,
    ready: VecDeque<Content>,
    faults: Faults,
    /// Octets that were or may still be read twice.
    read_again: usize,
    loose: usize,
}

/// What the walker is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// The body of this leaf.
    Leaf(usize),
    /// Text of the deepest multipart before or behind its parts, from this offset.
    Text(usize),
    /// Nothing that has not been given out; at the end of a step, the end of the message.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Open,
    Closed,
}

/// An open container.
struct Frame {
    part: usize,
    state: State,
    /// A message, which has no delimiters of its own.
    message: bool,
    digest: bool,
    /// Delimiters are recognised by their beginning.
    loose: bool,
    /// The first line in the preamble that looks like a delimiter.
    near: Option<usize>,
    /// The walker went back to that line.
    went_back: bool,
    /// The whole body is content too.
    other_reading: bool,
}

/// A line that divides.
struct Found {
    line: Range<usize>,
    delimiter: Delimiter,
}

impl<'m> Walker<'m> {
    /// At the start of a message, which need not have a header.
    pub fn new(message: &'m [u8]) -> Walker<'m> {
        Walker::with_passed(message, &|_| {})
    }

    /// The same; `passed` is told how far the search has come, so that pages can be handed back.
    pub fn with_passed(message: &'m [u8], passed: &'m dyn Fn(usize)) -> Walker<'m> {
        let mut walker = Walker {
            message,
            passed,
            parts: Vec::new(),
            frames: Vec::new(),
            boundaries: Boundaries::default(),
            now: Now::Done,
            pos: 0,
            ready: VecDeque::new(),
            faults: Faults::default(),
            read_again: message.len(),
            loose: 0,
        };
        walker.begin(0);
        walker
    }

    /// The parts so far. A part's body is complete when a content of it or of one behind it has come.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The parts, when all contents have come.
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    /// What is wrong with the parts so far.
    pub fn faults(&self) -> Faults {
        self.parts.iter().fold(self.faults, |mut faults, part| {
            faults.extend(part.faults);
            faults
        })
    }

    /// Begins the part at `start`, and those that begin with it because it is a message.
    fn begin(&mut self, mut start: usize) {
        loop {
            if self.parts.len() >= MIME_PARTS_MAX {
                self.faults.insert(Fault::TooManyParts);
                self.give_up(start);
                return;
            }
            let read = self.read_header(start);
            let inside_message = self.frames.last().is_some_and(|frame| frame.message);
            if inside_message && read.headers.iter(self.rest(start)).next().is_none() {
                // No field at all: not a message, whatever its type says.
                self.frames.pop();
                let part = self.parts.len().saturating_sub(1);
                self.set_leaf(part);
                self.now = Now::Leaf(part);
                self.pos = start;
                return;
            }
            let number = self.parts.len();
            let (body, opens) = self.enter(start, &read);
            self.pos = body;
            match opens {
                None => self.now = Now::Leaf(number),
                Some(Kind::Message) => {
                    start = body;
                    continue;
                }
                Some(_) => self.now = Now::Text(body),
            }
            return;
        }
    }

    fn read_header(&self, start: usize) -> PartHeader {
        let is_delimiter = |line: &[u8]| self.delimiter(line).is_some();
        Headers::index_part(self.rest(start), self.garbage(), is_delimiter)
    }

    fn garbage(&self) -> Garbage {
        match self.frames.last() {
            None => Garbage::EndsHeader,
            Some(frame) if frame.message => Garbage::BeforeField,
            Some(_) => Garbage::BeforeContent,
        }
    }

    fn rest(&self, start: usize) -> &'m [u8] {
        self.message.get(start..).unwrap_or_default()
    }

    /// Enters the part with this header. Where its body begins, and what container it opens.
    fn enter(&mut self, start: usize, read: &PartHeader) -> (usize, Option<Kind>) {
        let parent = self.frames.last();
        let place = Place {
            parent: parent.map(|frame| frame.part),
            depth: self.frames.len(),
            in_digest: parent.is_some_and(|frame| frame.digest),
            garbage: self.garbage(),
        };
        let (mut part, container) = shape::read(self.message, start, read, &place);
        if let Some(container) = &container {
            self.frames.push(Frame {
                part: self.parts.len(),
                state: State::Preamble,
                message: part.kind == Kind::Message,
                digest: container.digest,
                loose: false,
                near: None,
                went_back: false,
                other_reading: container.other_reading,
            });
            if part.kind == Kind::Multipart {
                self.open_boundaries(&container.boundaries, &mut part.faults);
            }
        }
        let (body, kind) = (part.body.start, part.kind);
        self.parts.push(part);
        (body, container.map(|_| kind))
    }

    /// Enters the boundaries of the multipart that became the deepest.
    fn open_boundaries(&mut self, texts: &[String], faults: &mut Faults) {
        let depth = self.frames.len().saturating_sub(1);
        let mut known: Vec<&str> = Vec::new();
        for text in texts.iter().map(|text| text.trim_ascii_end()) {
            if !known.contains(&text) {
                known.push(text);
                faults
                    .insert_if(Fault::BoundaryReused, self.boundaries.push(depth, text.as_bytes()));
            }
        }
        faults.insert_if(Fault::NoBoundary, known.iter().all(|text| text.is_empty()));
        faults.insert_if(Fault::BoundaryTwice, known.len() > 1);
    }

    /// The multipart that a line divides.
    fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        let state = |frame: usize| self.frames.get(frame).map(|frame| frame.state);
        let exact = self.boundaries.delimiter(line, |frame| state(frame) == Some(State::Closed));
        let found = if exact.is_some() || !self.frames.iter().any(|frame| frame.loose) {
            exact
        } else {
            let deepest = self.frames.len().saturating_sub(1);
            self.boundaries.loose(line, |at| {
                let begins = |frame: &Frame| at == deepest && frame.state == State::Preamble;
                self.frames.get(at).is_some_and(|frame| frame.loose || begins(frame))
            })
        };
        // What was not opened cannot be closed; the line is text.
        found.filter(|found| !found.closes || state(found.frame) != Some(State::Preamble))
    }

    /// Goes on to the next line that divides, or to the end.
    fn step(&mut self) {
        let found = self.find();
        let end = found.as_ref().map_or(self.message.len(), |found| found.line.start);
        let text_end = if found.is_some() { self.before_newline(end) } else { end };
        let keep = found.as_ref().map_or(0, |found| found.delimiter.frame + 1);
        if !self.close_above(keep, text_end) {
            return;
        }
        let Some(Found { line, delimiter }) = found else {
            self.now = Now::Done;
            return;
        };
        let Some(frame) = self.frames.last_mut() else { return };
        let (part, behind_end) = (frame.part, frame.state == State::Closed);
        frame.loose |= delimiter.loose;
        frame.state = if delimiter.closes { State::Closed } else { State::Open };
        if let Some(part) = self.parts.get_mut(part) {
            part.faults.insert_if(Fault::LooseDelimiter, delimiter.loose);
            part.faults.insert_if(Fault::PartBehindEnd, behind_end && !delimiter.closes);
        }
        // A delimiter at the very end opens nothing.
        if delimiter.closes || line.end == self.message.len() {
            self.now = Now::Text(line.end);
            self.pos = line.end;
        } else {
            self.begin(line.end);
        }
    }

    /// Ends what is open inside the `keep` outermost containers. False where a multipart without
    /// delimiter made the walker go back.
    fn close_above(&mut self, keep: usize, end: usize) -> bool {
        if let Now::Leaf(part) = self.now {
            self.end_part(part, end);
            let start = self.parts.get(part).map_or(end, |part| part.body.start);
            self.give(part, Role::Body, start..end);
            self.now = Now::Done;
        }
        while self.frames.len() > keep {
            if self.go_back(end) {
                return false;
            }
            self.pop(end);
        }
        if let (Now::Text(start), Some(frame)) = (self.now, self.frames.last()) {
            let (part, range) = (frame.part, start..end);
            if frame.state == State::Preamble {
                self.give_text(part, Role::Preamble, Fault::Preamble, range);
            } else {
                self.give_text(part, Role::Epilogue, Fault::Epilogue, range);
            }
        }
        true
    }

    /// Takes the first line that looks like a delimiter of the deepest container for one, if that is a
    /// multipart in which none was found.
    fn go_back(&mut self, end: usize) -> bool {
        let Some(depth) = self.frames.len().checked_sub(1) else { return false };
        let Some(frame) = self.frames.get_mut(depth) else { return false };
        let may = frame.state == State::Preamble && !frame.went_back;
        let Some(near) = frame.near.filter(|_| may) else { return false };
        let again = end.saturating_sub(near);
        if self.loose >= LOOSE_MAX || again > self.read_again {
            return false;
        }
        self.loose += 1;
        self.read_again -= again;
        frame.went_back = true;
        let unnamed =
            self.parts.get(frame.part).is_some_and(|part| part.faults.contains(Fault::NoBoundary));
        if unnamed {
            let line = self.message.get(near + 2..).unwrap_or_default();
            self.boundaries.push(depth, line.get(..line_length(line)).unwrap_or(line));
        } else {
            frame.loose = true;
        }
        self.pos = near;
        true
    }

    /// Ends the deepest container.
    fn pop(&mut self, end: usize) {
        let Some(frame) = self.frames.pop() else { return };
        self.boundaries.cut(self.frames.len());
        self.end_part(frame.part, end);
        let start = self.parts.get(frame.part).map_or(end, |part| part.body.start);
        if !frame.message {
            match (frame.state, self.now) {
                (State::Preamble, _) => {
                    self.set_leaf(frame.part);
                    self.give(frame.part, Role::Body, start..end);
                    self.now = Now::Done;
                    return;
                }
                (State::Open, _) => self.fault(frame.part, Fault::NotClosed),
                (State::Closed, Now::Text(from)) => {
                    self.give_text(frame.part, Role::Epilogue, Fault::Epilogue, from..end);
                }
                (State::Closed, _) => {}
            }
        }
        // Whatever text there was is given; the containers around have none.
        self.now = Now::Done;
        if frame.other_reading {
            self.give(frame.part, Role::OtherReading, start..end);
        }
    }

    fn end_part(&mut self, part: usize, end: usize) {
        if let Some(part) = self.parts.get_mut(part) {
            part.body.end = end.max(part.body.start);
        }
    }

    fn set_leaf(&mut self, part: usize) {
        if let Some(part) = self.parts.get_mut(part) {
            if part.kind == Kind::Multipart {
                part.faults.insert(Fault::NoDelimiter);
            }
            part.kind = Kind::Leaf;
        }
    }

    fn fault(&mut self, part: usize, fault: Fault) {
        if let Some(part) = self.parts.get_mut(part) {
            part.faults.insert(fault);
        }
    }

    fn give(&mut self, part: usize, role: Role, range: Range<usize>) {
        self.ready.push_back(Content {
            part,
            role,
            range: range.start..range.end.max(range.start),
        });
    }

    /// Text around parts counts if it is not blank.
    fn give_text(&mut self, part: usize, role: Role, fault: Fault, range: Range<usize>) {
        let text = self.message.get(range.clone()).unwrap_or_default();
        if !text.trim_ascii().is_empty() {
            self.fault(part, fault);
            self.give(part, role, range);
        }
    }

    /// There are too many parts: what is left is one content of the container at hand.
    fn give_up(&mut self, start: usize) {
        let end = self.message.len();
        let part = self.frames.last().map_or(0, |frame| frame.part);
        self.give(part, Role::Rest, start..end);
        self.now = Now::Done;
        while !self.frames.is_empty() {
            self.pop(end);
        }
        self.pos = end;
    }

    /// The next line from `pos` that divides. On the way the first line that only looks so is noted.
    fn find(&mut self) -> Option<Found> {
        let mut from = self.pos;
        if let Some(found) = self.look(from) {
            return Some(found);
        }
        let finder = memmem::Finder::new(b"\n--");
        while from < self.message.len() {
            // A window may begin within a line, but ends with two octets of the next one.
            let window = from..(from + STRIDE + 2).min(self.message.len());
            let text = self.message.get(window.clone()).unwrap_or_default();
            for at in finder.find_iter(text) {
                if let Some(found) = self.look(from + at + 1) {
                    return Some(found);
                }
            }
            from = if window.end == self.message.len() { window.end } else { from + STRIDE };
            (self.passed)(from);
        }
        None
    }

    /// Looks at the line that begins at `start`.
    fn look(&mut self, start: usize) -> Option<Found> {
        let rest = self.rest(start);
        if !rest.starts_with(b"--") {
            return None;
        }
        let length = line_length(rest);
        let line = rest.get(..length).unwrap_or(rest);
        if let Some(delimiter) = self.delimiter(line) {
            return Some(Found { line: start..start + length, delimiter });
        }
        let depth = self.frames.len().checked_sub(1)?;
        let (boundaries, parts) = (&self.boundaries, &self.parts);
        let frame = self.frames.get_mut(depth)?;
        if frame.state == State::Preamble && !frame.message && frame.near.is_none() {
            // A line of any length would do, but no client makes one a boundary.
            let unnamed = parts.get(frame.part)?.faults.contains(Fault::NoBoundary);
            let near = if unnamed {
                line.get(2).is_some_and(u8::is_ascii_graphic) && length < GUESS_MAX
            } else {
                boundaries.loose(line, |at| at == depth).is_some()
            };
            if near {
                frame.near = Some(start);
            }
        }
        None
    }

    /// The end of the text before a delimiter, whose line end belongs to the delimiter (RFC 2046
    /// section 5.1.1).
    fn before_newline(&self, delimiter: usize) -> usize {
        let start = match self.now {
            Now::Leaf(part) => self.parts.get(part).map_or(delimiter, |part| part.body.start),
            Now::Text(start) => start,
            Now::Done => delimiter,
        };
        let text = self.message.get(start..delimiter).unwrap_or_default();
        let end = text.strip_suffix(b"\r\n").or_else(|| text.strip_suffix(b"\n")).unwrap_or(text);
        start.min(delimiter) + end.len()
    }
}

impl Iterator for Walker<'_> {
    type Item = Content;

    fn next(&mut self) -> Option<Content> {
        while self.ready.is_empty() && self.now != Now::Done {
            self.step();
        }
        self.ready.pop_front()
    }
}

/// The length of the first line with its line end.
fn line_length(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |feed| feed + 1)
}
