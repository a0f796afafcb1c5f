//! Bodies in pieces: decoded, and as text.

use super::charset;
use super::transfer::{self, Decoder, Encoding};
use super::uuencode;
use super::{Fault, Faults};

/// Least octets of a buffer that a body is decoded into.
pub const BUFFER_MIN: usize = transfer::ROOM_MIN;

/// A body on its way through the decoder of its transfer encoding.
pub struct Body<'m> {
    rest: &'m [u8],
    /// None where the octets are handed on as they stand.
    decoder: Option<Decoder>,
    finished: bool,
    faults: Faults,
}

impl<'m> Body<'m> {
    /// Of octets as they stand in the message. Octets that should be uuencoded but hold no file are
    /// handed on as they are.
    pub fn new(octets: &'m [u8], encoding: Encoding) -> Body<'m> {
        let mut faults = Faults::default();
        let hollow = encoding == Encoding::Uuencode && uuencode::files(octets).next().is_none();
        faults.insert_if(Fault::UuencodeCut, hollow);
        let decoder = (encoding != Encoding::Identity && !hollow).then(|| Decoder::new(encoding));
        Body { rest: octets, decoder, finished: false, faults }
    }

    /// The next octets, at most as many as `buffer` has, which must have [`BUFFER_MIN`]; none when all
    /// were given. Octets that are not encoded are not copied.
    pub fn next<'b>(&mut self, buffer: &'b mut [u8]) -> Option<&'b [u8]>
    where
        'm: 'b,
    {
        let Some(decoder) = &mut self.decoder else {
            let count = self.rest.len().min(buffer.len());
            let (now, rest) = self.rest.split_at_checked(count)?;
            self.rest = rest;
            return Some(now).filter(|now| !now.is_empty());
        };
        let mut written = 0;
        while !self.finished && written == 0 {
            let step = decoder.decode(self.rest, buffer);
            self.rest = self.rest.get(step.read..).unwrap_or_default();
            written = step.written;
            if written == 0 && (self.rest.is_empty() || step.read == 0) {
                written = decoder.finish(buffer);
                self.finished = true;
            }
        }
        self.faults.extend(decoder.faults());
        buffer.get(..written).filter(|now| !now.is_empty())
    }

    /// Octets of the message that are not decoded yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// What was wrong with the encoding so far.
    pub fn faults(&self) -> Faults {
        self.faults
    }
}

/// Buffers for [`Text`], to be used for one body after the other.
pub struct Buffers {
    octets: Vec<u8>,
    text: Vec<u8>,
}

impl Buffers {
    /// Two buffers of `size` octets, at least [`BUFFER_MIN`].
    pub fn new(size: usize) -> Buffers {
        let size = size.max(BUFFER_MIN);
        Buffers { octets: vec![0; size], text: vec![0; size] }
    }
}

/// A body of text as UTF-8. Of text that is said to be UTF-8 or ASCII the octets are handed on as they
/// are, well-formed or not.
pub struct Text<'m> {
    body: Body<'m>,
    charset: charset::Decoder,
    /// Octets in the buffer that await the charset's decoder.
    waiting: std::ops::Range<usize>,
    ended: bool,
}

impl<'m> Text<'m> {
    /// A body of text in the charset of that name; an unknown one is taken for ASCII.
    pub fn new(body: Body<'m>, charset: &str) -> Text<'m> {
        let charset =
            charset::Decoder::new(charset.as_bytes()).unwrap_or_else(charset::Decoder::plain);
        Text { body, charset, waiting: 0..0, ended: false }
    }

    /// The next piece; none when all was given. Pieces may end within a character.
    pub fn next<'b>(&mut self, buffers: &'b mut Buffers) -> Option<&'b [u8]>
    where
        'm: 'b,
    {
        if self.charset.is_plain() {
            return self.body.next(&mut buffers.octets);
        }
        while !self.ended {
            if self.waiting.is_empty() && self.body.decoder.is_some() {
                let count = self.body.next(&mut buffers.octets).map_or(0, <[u8]>::len);
                self.waiting = 0..count;
            }
            let (input, last) = if self.body.decoder.is_some() {
                (
                    buffers.octets.get(self.waiting.clone()).unwrap_or_default(),
                    self.waiting.is_empty(),
                )
            } else {
                (self.body.rest, true)
            };
            let step = self.charset.decode(input, &mut buffers.text, last);
            if self.body.decoder.is_some() {
                self.waiting.start += step.read;
            } else {
                self.body.rest = self.body.rest.get(step.read..).unwrap_or_default();
            }
            self.ended = last && step.done;
            if step.written > 0 {
                return buffers.text.get(..step.written);
            }
        }
        None
    }

    /// Octets of the message that are not decoded yet.
    pub fn left(&self) -> usize {
        self.body.left()
    }

    /// What was wrong with the encoding so far.
    pub fn faults(&self) -> Faults {
        self.body.faults()
    }
}
