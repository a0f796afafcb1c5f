//! The UDP sockets that questions leave from, and which question each number on them stands for.
//!
//! Who wants to forge a reply has to guess the port and the number, so both are random. While few
//! questions are out each has a socket of its own; when many are, they share the pool, and a socket
//! that has been used often gets no new ones until it has none left and is closed.

use crate::dns::resolver::{Output, Random};
use std::collections::HashMap;
use std::collections::VecDeque;

/// UDP sockets at most.
pub(super) const SOCKETS_MAX: u16 = 256;

/// Questions from one socket, as long as others are free.
const USES_MAX: u32 = 256;

/// Wrong replies on one socket after which its questions are asked by TCP.
const FORGED_MAX: u32 = 20;

/// Lowest port that is used: those below may belong to services of this machine.
const PORT_MIN: u16 = 16_384;

/// Numbers of answered questions that a socket remembers.
const DONE_MAX: usize = 1_024;

/// All sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: HashMap<u16, Socket>,
    /// Keys by server.
    by_server: Vec<Vec<u16>>,
    /// Keys of closed sockets, the one closed first in front: a key comes back late.
    free: VecDeque<u16>,
    used: u16,
}

#[derive(Debug)]
struct Socket {
    server: usize,
    /// The question of each number; none where it is answered.
    numbers: HashMap<u16, Option<usize>>,
    waiting: usize,
    uses: u32,
    forged: u32,
}

/// What a number on a socket stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// This question in flight.
    Of(usize),
    /// A question that was answered already.
    Done,
    /// It was never given out.
    Unknown,
}

impl Sockets {
    /// Sockets to so many servers.
    pub(super) fn new(servers: usize) -> Sockets {
        Sockets { by_server: vec![Vec::new(); servers], ..Sockets::default() }
    }

    /// A socket to a server and a number on it that is free, for a question. None without randomness.
    pub(super) fn take(
        &mut self,
        server: usize,
        flight: usize,
        random: &mut dyn Random,
        open: impl FnOnce(u16, u16) -> Output,
        out: &mut VecDeque<Output>,
    ) -> Option<(u16, u16)> {
        let share = usize::from(SOCKETS_MAX) / self.by_server.len().max(1);
        let keys = self.by_server.get_mut(server)?;
        let key = if keys.len() < share {
            let port = port(random.u64()?);
            let key = self.free.pop_front().unwrap_or_else(|| {
                self.used += 1;
                self.used - 1
            });
            keys.push(key);
            let numbers = HashMap::new();
            let socket = Socket { server, numbers, waiting: 0, uses: 0, forged: 0 };
            self.open.insert(key, socket);
            out.push_back(open(key, port));
            key
        } else {
            self.pick(server, random)?
        };
        let socket = self.open.get_mut(&key)?;
        let number = loop {
            let [high, low, ..] = random.u64()?.to_be_bytes();
            let number = u16::from_be_bytes([high, low]);
            if !socket.numbers.contains_key(&number) {
                break number;
            }
        };
        socket.numbers.insert(number, Some(flight));
        socket.waiting += 1;
        socket.uses += 1;
        Some((key, number))
    }

    /// One of a server's sockets, a fresh one if a few looks find one.
    fn pick(&self, server: usize, random: &mut dyn Random) -> Option<u16> {
        let keys = self.by_server.get(server)?;
        let mut key = None;
        for _ in 0..8 {
            key = keys.get(below(random.u64()?, keys.len())).copied();
            let socket = key.and_then(|key| self.open.get(&key));
            if socket.is_some_and(|socket| socket.uses < USES_MAX) {
                break;
            }
        }
        key
    }

    /// The server a socket is for.
    pub(super) fn server(&self, key: u16) -> Option<usize> {
        self.open.get(&key).map(|socket| socket.server)
    }

    /// What a number stands for.
    pub(super) fn look_up(&self, key: u16, number: u16) -> Number {
        match self.open.get(&key).and_then(|socket| socket.numbers.get(&number)) {
            Some(Some(flight)) => Number::Of(*flight),
            Some(None) => Number::Done,
            None => Number::Unknown,
        }
    }

    /// Nobody waits for this number any more; a socket without waiters is closed.
    pub(super) fn release(&mut self, key: u16, number: u16, out: &mut VecDeque<Output>) {
        let Some(socket) = self.open.get_mut(&key) else { return };
        let Some(Some(_)) = socket.numbers.remove(&number) else { return };
        if socket.numbers.len() < DONE_MAX {
            socket.numbers.insert(number, None);
        }
        socket.waiting -= 1;
        if socket.waiting == 0 {
            let server = socket.server;
            self.open.remove(&key);
            self.free.push_back(key);
            if let Some(keys) = self.by_server.get_mut(server) {
                keys.retain(|other| *other != key);
            }
            out.push_back(Output::CloseUdp { key });
        }
    }

    /// Counts a reply that fits no question. True when a socket has had so many that somebody must be
    /// guessing; the count then begins again.
    pub(super) fn forged(&mut self, key: u16) -> bool {
        let Some(socket) = self.open.get_mut(&key) else { return false };
        socket.forged += 1;
        let many = socket.forged >= FORGED_MAX;
        if many {
            socket.forged = 0;
        }
        many
    }

    /// The questions that wait on a socket.
    pub(super) fn waiting(&self, key: u16) -> Vec<usize> {
        let numbers = self.open.get(&key).map(|socket| socket.numbers.values());
        numbers.into_iter().flatten().filter_map(|flight| *flight).collect()
    }

    /// Open sockets.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

/// A random port.
fn port(random: u64) -> u16 {
    let span = usize::from(u16::MAX - PORT_MIN) + 1;
    PORT_MIN + u16::try_from(below(random, span)).unwrap_or(0)
}

/// A random number below `bound`; the rest that makes some likelier is too small to notice.
fn below(random: u64, bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
    usize::try_from(random % bound).unwrap_or(0)
}
