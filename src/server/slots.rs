//! The table of connections.
//!
//! A slot keeps what belongs to the socket: unread input, unsent output, what epoll said, when to
//! look again. The visit is in it only while it is at home. A place is used again with the next
//! generation, so that a late answer to a client that is gone meets nobody.

use crate::config::types::Role;
use crate::dns;
use crate::limits;
use crate::plugin::Question;
use crate::plugin::question::Answer;
use crate::plugin::visit::Visit;
use crate::server::errand::SlotId;
use crate::server::tls;
pub use crate::server::tls::Taken;
use mio::net::TcpStream;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Its turn: there is something to do at once.
    Turn,
    /// Input from the client.
    Input,
    /// The header of a proxy.
    Proxy,
    /// A TLS handshake.
    Handshake,
    /// Answers for a hook.
    Answers,
    /// The visit to come home.
    Away,
    /// A spool block to be written.
    Written,
    /// The end of a pause.
    Pause,
    /// Its last output to be sent.
    Closing,
    /// Unread input to end, after the last output.
    Linger,
}

/// One connection.
pub struct Slot {
    /// Its place and life.
    pub id: SlotId,
    /// The socket.
    pub stream: TcpStream,
    /// The client's address as it counts (IPv6: its /64).
    pub site_ip: IpAddr,
    /// Its encryption, from the first octet of the handshake on.
    pub tls: Option<Box<tls::Stream>>,
    /// Octets of a handshake that were read before it began.
    pub hello: Vec<u8>,
    /// What the listener is for that the client came to.
    pub role: Role,
    /// The client's history, as the loop has it from this visit.
    pub karma_history: Option<i32>,
    /// The visit, unless it is away.
    pub visit: Option<Box<Visit>>,
    /// Input that could not be used yet.
    pub pending: Vec<u8>,
    /// Output that could not be sent yet.
    pub out: Vec<u8>,
    /// epoll says there is input, or an end of it.
    pub readable: bool,
    /// The client has ended its side.
    pub read_closed: bool,
    /// The socket is dead: nobody reads replies any more.
    pub gone: bool,
    /// What it waits for.
    pub waiting: Waiting,
    /// When to look at it again, whatever happens.
    pub deadline: Duration,
    /// The time of its entry in the heap of timers.
    pub timer: Option<Duration>,
    /// It stands in the list of those whose turn comes.
    pub queued: bool,
    /// When the client connected.
    pub connected: Duration,
    /// When message text began to come, and how much has come.
    pub text: Option<(Duration, u64)>,
    /// Questions that time answers, and when: silence has lasted, the store is not waited for longer.
    pub due: Vec<(Question, Duration)>,
    /// TLS was told that nothing more will come.
    pub said_end: bool,
    /// Octets thrown away after the last reply.
    pub lingered: usize,
    /// Memory its message text held at the last look.
    pub text_in_memory: usize,
    /// Memory its answers held at the last look.
    pub answers_in_memory: usize,
    /// The question for the client's name, while it is open.
    pub name_asked: Option<dns::Question>,
    /// Answers that came while the visit was away.
    pub late_answers: Vec<(Question, Arc<Answer>)>,
}

impl Slot {
    /// Sends what can be sent. A dead socket is noted, not an error: the visit decides what to do.
    pub fn flush(&mut self) {
        let sent = match &mut self.tls {
            Some(tls) => tls.write(&mut self.stream, &self.out),
            None => write_plain(&mut self.stream, &self.out),
        };
        match sent {
            Err(_) => {
                self.gone = true;
                self.out = Vec::new();
            }
            // Freed, not kept: an idle client holds no buffer.
            Ok(sent) if sent == self.out.len() => self.out = Vec::new(),
            Ok(sent) => {
                self.out.drain(..sent);
            }
        }
    }

    /// Something waits to be sent.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.has_output())
    }

    /// Reads what the client sent.
    pub fn read(&mut self, buffer: &mut [u8]) -> Taken {
        match &mut self.tls {
            Some(tls) => tls.read(&mut self.stream, &mut self.readable, buffer),
            None => self.read_plain(buffer),
        }
    }

    /// Reads octets as they are on the wire.
    pub fn read_plain(&mut self, buffer: &mut [u8]) -> Taken {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Taken::End,
                Ok(count) => {
                    // A short read has emptied the socket: the next octet makes a new edge. An end
                    // that epoll has told already makes none.
                    self.readable = count == buffer.len() || self.read_closed;
                    return Taken::Octets(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Taken::Nothing;
                }
                Err(error) => return Taken::Broken(error.to_string()),
            }
        }
    }

    /// The socket holds octets that nobody has read. Under TLS that it may hold some says nothing: reading
    /// stops at the last record.
    pub fn has_unread(&mut self) -> bool {
        self.readable && matches!(self.stream.peek(&mut [0_u8]), Ok(1..))
    }

    /// Whether the client has said something that nobody has read. Under TLS what was said is kept.
    pub fn has_talked(&mut self) -> Taken {
        if self.tls.is_some() {
            let mut buffer = [0_u8; 1_024];
            let taken = self.read(&mut buffer);
            if let Taken::Octets(count) = taken {
                self.pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
            return taken;
        }
        match self.stream.peek(&mut [0_u8]) {
            Ok(0) => Taken::End,
            Ok(count) => Taken::Octets(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Taken::Nothing
            }
            Err(error) => Taken::Broken(error.to_string()),
        }
    }

    /// Goes on with the handshake as far as the socket allows.
    ///
    /// # Errors
    /// Why it cannot succeed.
    pub fn handshake(&mut self) -> Result<tls::Step, tls::Failure> {
        match &mut self.tls {
            Some(tls) => tls.handshake(&mut self.stream, &mut self.readable),
            None => Err(tls::Failure::new("there is no TLS")),
        }
    }

    /// A last word of TLS to a client with whom there will be none. If the socket does not take it, it
    /// will never be read.
    pub fn send_alert(&mut self, alert: &[u8]) {
        self.out = Vec::new();
        let _ = self.stream.write(alert);
    }

    /// The client does not read its replies: no more of its input is looked at.
    pub fn is_stuffed(&self) -> bool {
        self.out.len() > limits::OUTPUT_MAX
    }
}

/// Sends what the socket takes, and says how much that was.
fn write_plain(stream: &mut TcpStream, out: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(rest) = out.get(sent..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// All connections.
#[derive(Default)]
pub struct Slots {
    places: Vec<Place>,
    free: Vec<usize>,
    used: usize,
}

struct Place {
    generation: u32,
    slot: Option<Box<Slot>>,
}

impl Slots {
    /// Connections there are.
    pub fn len(&self) -> usize {
        self.used
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Reserves a place; `make` fills it.
    pub fn insert(&mut self, make: impl FnOnce(SlotId) -> Slot) -> SlotId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, slot: None });
            self.places.len() - 1
        });
        let Some(place) = self.places.get_mut(index) else {
            // `free` and `places` are changed together, so the index is always in the table.
            std::process::abort()
        };
        let id = SlotId { index, generation: place.generation };
        place.slot = Some(Box::new(make(id)));
        self.used += 1;
        id
    }

    /// The slot at this place, whatever its life.
    pub fn at(&mut self, index: usize) -> Option<&mut Slot> {
        self.places.get_mut(index)?.slot.as_deref_mut()
    }

    /// The slot, if it is still in that life.
    pub fn find(&mut self, id: SlotId) -> Option<&mut Slot> {
        let place = self.places.get_mut(id.index)?;
        if place.generation == id.generation { place.slot.as_deref_mut() } else { None }
    }

    /// Takes a slot out of the table for its turn.
    pub fn take(&mut self, id: SlotId) -> Option<Box<Slot>> {
        let place = self.places.get_mut(id.index)?;
        if place.generation == id.generation { place.slot.take() } else { None }
    }

    /// Puts a slot back after its turn.
    pub fn put_back(&mut self, slot: Box<Slot>) {
        if let Some(place) = self.places.get_mut(slot.id.index) {
            place.slot = Some(slot);
        }
    }

    /// Ends the life of a slot that was taken out.
    pub fn free(&mut self, id: SlotId) {
        if let Some(place) = self.places.get_mut(id.index) {
            place.generation = place.generation.wrapping_add(1);
            place.slot = None;
            self.free.push(id.index);
            self.used -= 1;
        }
    }

    /// The ids of all connections.
    pub fn ids(&self) -> Vec<SlotId> {
        let of = |place: &Place| place.slot.as_ref().map(|slot| slot.id);
        self.places.iter().filter_map(of).collect()
    }
}
