//! Questions by TCP: one a connection, a bounded number of connections, a queue before them.

use std::collections::{HashMap, VecDeque};

/// Connections at most.
pub(super) const STREAMS_MAX: u16 = 64;

/// Octets of a reply: what an answer may have, with room for what stands around it.
pub(super) const REPLY_OCTETS_MAX: usize = 32 * 1_024;

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: HashMap<u16, Stream>,
    free: VecDeque<u16>,
    used: u16,
    /// Questions without a connection, by place and serial number.
    queue: VecDeque<(usize, u64)>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Stream {
    /// The question's place, its number, and itself as it was sent.
    pub(super) flight: usize,
    pub(super) number: u16,
    pub(super) asked: Box<[u8]>,
    /// What came so far, the length in front included.
    received: Vec<u8>,
}

/// What has come of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Not all of it.
    Part,
    /// All of it.
    Whole(Vec<u8>),
    /// It is too long for us.
    TooLong,
}

impl Streams {
    /// Connections that can still be opened.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < usize::from(STREAMS_MAX)
    }

    /// Opens a connection for a question.
    pub(super) fn open(&mut self, flight: usize, number: u16, asked: &[u8]) -> u16 {
        let key = self.free.pop_front().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        let stream = Stream { flight, number, asked: asked.into(), received: Vec::new() };
        self.open.insert(key, stream);
        key
    }

    /// A connection by its key.
    pub(super) fn at(&mut self, key: u16) -> Option<&mut Stream> {
        self.open.get_mut(&key)
    }

    /// Forgets a connection.
    pub(super) fn close(&mut self, key: u16) -> Option<Stream> {
        let stream = self.open.remove(&key)?;
        self.free.push_back(key);
        Some(stream)
    }

    /// Puts a question into the queue.
    pub(super) fn queue(&mut self, flight: usize, serial: u64) {
        self.queue.push_back((flight, serial));
    }

    /// The question that has waited longest, if there is room for it.
    pub(super) fn next(&mut self) -> Option<(usize, u64)> {
        if self.has_room() { self.queue.pop_front() } else { None }
    }
}

impl Stream {
    /// Takes what was read. Octets behind the reply are not kept.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Received {
        for octet in bytes {
            self.received.push(*octet);
            let Some((length, reply)) = self.received.split_first_chunk() else { continue };
            let length = usize::from(u16::from_be_bytes(*length));
            if length > REPLY_OCTETS_MAX {
                return Received::TooLong;
            }
            if reply.len() == length {
                return Received::Whole(reply.to_vec());
            }
        }
        Received::Part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_in_pieces() {
        for (pieces, received) in [
            (&[&b""[..]][..], Received::Part),
            (&[b"\0"], Received::Part),
            (&[b"\0\x03abc"], Received::Whole(b"abc".to_vec())),
            (&[b"\0", b"\x03", b"a", b"bcdef"], Received::Whole(b"abc".to_vec())),
            (&[b"\0\x03", b"ab"], Received::Part),
            (&[b"\0\0"], Received::Whole(Vec::new())),
            (&[b"\xff\xff"], Received::TooLong),
            (&[b"\x80\x01a"], Received::TooLong),
        ] {
            let mut streams = Streams::default();
            let key = streams.open(1, 2, b"");
            let stream = streams.at(key).expect("just opened");
            let last = pieces.iter().fold(Received::Part, |_, piece| stream.receive(piece));
            assert_eq!(last, received, "{pieces:?}");
            assert!(stream.received.len() <= 2 + REPLY_OCTETS_MAX);
        }
    }

    #[test]
    fn the_queue_waits_for_room() {
        let mut streams = Streams::default();
        let keys: Vec<u16> = (0..64).map(|flight| streams.open(flight, 0, b"")).collect();
        streams.queue(100, 1);
        assert_eq!((streams.has_room(), streams.next()), (false, None));
        assert_eq!(streams.close(keys[7]).map(|stream| stream.flight), Some(7));
        assert_eq!(streams.next(), Some((100, 1)));
        assert_eq!(streams.open(8, 0, b""), 7, "keys are used again");
    }
}
