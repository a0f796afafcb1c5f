//! Speaks with a milter, a mail filter of Sendmail's and Postfix's kind, by version 2 to 6 of their
//! protocol: <https://github.com/emersion/go-milter/blob/master/milter-protocol.txt> and libmilter's
//! `mfdef.h` write it down.
//!
//! One conversation is about one message, told from the client's connecting on ([`converse`]). At its
//! start both sides agree on a version, on what the filter may change, and on the steps that it does not
//! want to be told or does not answer. A packet is a length of four octets, a letter, and data. What the
//! filter wants changed is gathered, within bounds, and handed out only with its last word: who dies in
//! the middle has changed nothing.

mod packet;

#[cfg(any(test, fuzzing))]
pub use packet::fuzz;
pub use packet::{Change, Reply, Words};

use crate::client::Fault;
use crate::client::deadline::Deadline;
use crate::client::stream::{Place, Stream};
use packet::{Agreed, Step, string};
use std::net::IpAddr;

/// Longest packet that is taken, in octets.
const PACKET_MAX: usize = 256 * 1_024;

/// Octets of the body in one packet: what every libmilter takes.
const CHUNK: usize = 65_535;

/// Changes that a filter may want of one message.
const CHANGES_MAX: usize = 1_000;

/// Octets of text in them, that of a new body not counted.
const CHANGES_OCTETS_MAX: usize = 1_024 * 1_024;

/// Octets that a new body may have beyond twice those of the old one.
const BODY_MORE: usize = 1_024 * 1_024;

/// Packets that say that the filter is still at work.
const PROGRESS_MAX: usize = 10_000;

/// Name and value of a header field.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// What a filter is told.
#[derive(Clone, Copy, Debug)]
pub struct Story<'a> {
    /// The client's name, or its address in brackets.
    pub host: &'a str,
    /// The client's address.
    pub ip: IpAddr,
    /// The client's port.
    pub port: u16,
    /// What it says it is called; None where it has not said.
    pub helo: Option<&'a str>,
    /// The reverse-path in angle brackets, and behind it the parameters of MAIL.
    pub sender: &'a [String],
    /// The recipients in angle brackets.
    pub recipients: &'a [String],
    /// Name and value of each field, from the top, and the body; None asks about the envelope only.
    pub message: Option<(&'a [Field<'a>], &'a [u8])>,
    /// Sendmail's macros: what they are called, without braces where the name has one letter, and what
    /// they stand for. They are told before the step that they belong to.
    pub macros: &'a [(Moment, &'a str, &'a str)],
}

/// The step that a macro belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The client has connected.
    Connect,
    /// HELO.
    Helo,
    /// MAIL.
    Mail,
    /// The end of the message.
    End,
}

/// What a filter comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The message may pass, with these changes in their order.
    Pass(Vec<Change>),
    /// It is refused, thrown away, or put off: any reply but `Continue`, `Accept`, `Skip` and `Progress`.
    Not(Reply),
}

/// Tells a filter the whole story, or as much of it as it wants to hear. The text says at which step it
/// came to its judgement: `connect`, `helo`, `mail`, `rcpt`, `data`, `header`, `eoh`, `body`, `eom`.
///
/// # Errors
/// In words, why there is no judgement: nobody listens, the deadline passes, the filter dies, or does not
/// keep to the protocol or the bounds.
pub fn converse(
    place: Place<'_>,
    story: &Story<'_>,
    deadline: Deadline,
) -> Result<(Judgement, &'static str), Fault> {
    let mut stream = Stream::connect(place, deadline)?;
    send(&mut stream, b'O', &packet::offer())?;
    let (letter, data) = receive(&mut stream)?;
    let agreed = Agreed::read(letter, &data)?;
    let mut talk = Talk { stream, agreed, story };
    let judgement = talk.tell()?;
    // It has said all that counts; whether it hears the farewell makes no difference.
    let _heard = send(&mut talk.stream, b'Q', &[]);
    Ok(judgement)
}

fn send(stream: &mut Stream, letter: u8, data: &[u8]) -> Result<(), Fault> {
    let length = u32::try_from(data.len() + 1).map_err(|_| "a packet is too long")?;
    let head = [&length.to_be_bytes()[..], &[letter]].concat();
    stream.send(&head)?;
    Ok(stream.send(data)?)
}

fn receive(stream: &mut Stream) -> Result<(u8, Vec<u8>), Fault> {
    let head = stream.exactly(4)?;
    let length = head.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    if length == 0 || length > PACKET_MAX {
        return Err(format!("a packet of {length} octets is none of a milter").into());
    }
    let mut data = stream.exactly(length)?;
    let rest = data.split_off(1);
    Ok((data.first().copied().unwrap_or_default(), rest))
}

struct Talk<'a> {
    stream: Stream,
    agreed: Agreed,
    story: &'a Story<'a>,
}

/// How far a filter wants to hear more.
enum Go {
    On,
    /// No more of this kind.
    Skip,
    End(Judgement),
}

impl Talk<'_> {
    fn tell(&mut self) -> Result<(Judgement, &'static str), Fault> {
        type Part<'a> = (&'static str, fn(&mut Talk<'a>) -> Result<Go, Fault>);
        let parts: [Part<'_>; 8] = [
            ("connect", Talk::connect),
            ("helo", Talk::helo),
            ("mail", Talk::mail),
            ("rcpt", Talk::recipients),
            ("data", Talk::data),
            ("header", Talk::header),
            ("eoh", |talk| talk.step(Step::EndOfHeader, &[])),
            ("body", Talk::body),
        ];
        let count = if self.story.message.is_some() { parts.len() } else { 4 };
        for (name, part) in parts.into_iter().take(count) {
            if let Go::End(judgement) = part(self)? {
                return Ok((judgement, name));
            }
        }
        if self.story.message.is_none() {
            return Ok((Judgement::Pass(Vec::new()), "rcpt"));
        }
        Ok((self.end()?, "eom"))
    }

    fn connect(&mut self) -> Result<Go, Fault> {
        self.macros(Moment::Connect, b'C')?;
        let family = if self.story.ip.is_ipv4() { b'4' } else { b'6' };
        let mut data = string(self.story.host.as_bytes());
        data.push(family);
        data.extend_from_slice(&self.story.port.to_be_bytes());
        data.extend(string(self.story.ip.to_string().as_bytes()));
        self.step(Step::Connect, &data)
    }

    fn helo(&mut self) -> Result<Go, Fault> {
        self.macros(Moment::Helo, b'H')?;
        match self.story.helo {
            Some(helo) => self.step(Step::Helo, &string(helo.as_bytes())),
            None => Ok(Go::On),
        }
    }

    fn mail(&mut self) -> Result<Go, Fault> {
        self.macros(Moment::Mail, b'M')?;
        let data: Vec<u8> = self.story.sender.iter().flat_map(|it| string(it.as_bytes())).collect();
        self.step(Step::Mail, &data)
    }

    fn recipients(&mut self) -> Result<Go, Fault> {
        for recipient in self.story.recipients {
            let path = recipient.trim_matches(['<', '>']);
            let (_, host) = path.rsplit_once('@').unwrap_or((path, ""));
            let macros = [("{rcpt_addr}", path), ("{rcpt_host}", host)];
            self.define(b'R', macros.into_iter())?;
            let go = self.step(Step::Rcpt, &string(recipient.as_bytes()))?;
            if !matches!(go, Go::On) {
                return Ok(go);
            }
        }
        Ok(Go::On)
    }

    fn data(&mut self) -> Result<Go, Fault> {
        if self.agreed.version < 4 { Ok(Go::On) } else { self.step(Step::Data, &[]) }
    }

    fn header(&mut self) -> Result<Go, Fault> {
        let Some((fields, _)) = self.story.message else { return Ok(Go::On) };
        for (name, value) in fields {
            let value = self.agreed.value(value);
            let go = self.step(Step::Header, &[string(name), string(&value)].concat())?;
            if !matches!(go, Go::On) {
                return Ok(go);
            }
        }
        Ok(Go::On)
    }

    fn body(&mut self) -> Result<Go, Fault> {
        let Some((_, body)) = self.story.message else { return Ok(Go::On) };
        for chunk in body.chunks(CHUNK) {
            let go = self.step(Step::Body, chunk)?;
            if !matches!(go, Go::On) {
                return Ok(go);
            }
        }
        Ok(Go::On)
    }

    /// Tells one step, unless the filter has said that it does not want it, and hears what it says.
    fn step(&mut self, step: Step, data: &[u8]) -> Result<Go, Fault> {
        if self.agreed.leaves_out(step) {
            return Ok(Go::On);
        }
        send(&mut self.stream, step.letter(), data)?;
        if self.agreed.is_silent(step) {
            return Ok(Go::On);
        }
        for _ in 0..PROGRESS_MAX {
            let (letter, data) = receive(&mut self.stream)?;
            return match Reply::read(letter, &data)? {
                Reply::Progress => continue,
                Reply::Continue => Ok(Go::On),
                Reply::Skip => Ok(Go::Skip),
                Reply::Accept => Ok(Go::End(Judgement::Pass(Vec::new()))),
                Reply::Change(_) => Err("it changes a message before its end".into()),
                not => Ok(Go::End(Judgement::Not(not))),
            };
        }
        Err("it goes on for ever".into())
    }

    /// The end of the message: what is to be changed, and the last word.
    fn end(&mut self) -> Result<Judgement, Fault> {
        self.macros(Moment::End, b'E')?;
        send(&mut self.stream, b'E', &[])?;
        let body = self.story.message.map_or(0, |(_, body)| body.len());
        let mut wanted = Wanted { changes: Vec::new(), octets: 0, body_left: body * 2 + BODY_MORE };
        for _ in 0..PROGRESS_MAX + CHANGES_MAX + wanted.body_left {
            let (letter, data) = receive(&mut self.stream)?;
            match Reply::read(letter, &data)? {
                Reply::Progress => {}
                Reply::Change(change) => wanted.add(change, self.agreed.actions)?,
                Reply::Skip => return Err("it skips the end of a message".into()),
                Reply::Continue | Reply::Accept => return Ok(Judgement::Pass(wanted.changes)),
                not => return Ok(Judgement::Not(not)),
            }
        }
        Err("it goes on for ever".into())
    }

    fn macros(&mut self, moment: Moment, letter: u8) -> Result<(), Fault> {
        let all = self.story.macros.iter();
        let macros = all.filter(|(of, ..)| *of == moment).map(|(_, name, value)| (*name, *value));
        self.define(letter, macros)
    }

    fn define<'m>(
        &mut self,
        letter: u8,
        macros: impl Iterator<Item = (&'m str, &'m str)>,
    ) -> Result<(), Fault> {
        let mut data = vec![letter];
        for (name, value) in macros {
            data.extend(string(name.as_bytes()));
            data.extend(string(value.as_bytes()));
        }
        send(&mut self.stream, b'D', &data)
    }
}

/// What a filter wants changed, as far as it has said.
struct Wanted {
    changes: Vec<Change>,
    octets: usize,
    body_left: usize,
}

impl Wanted {
    fn add(&mut self, change: Change, actions: u32) -> Result<(), Fault> {
        if actions & change.action() == 0 {
            return Err("it changes what it has not said it would change".into());
        }
        if let (Change::Body(more), Some(Change::Body(body))) = (&change, self.changes.last_mut()) {
            self.body_left = self.body_left.checked_sub(more.len()).ok_or(Wanted::TOO_MUCH)?;
            body.extend_from_slice(more);
            return Ok(());
        }
        if let Change::Body(body) = &change {
            self.body_left = self.body_left.checked_sub(body.len()).ok_or(Wanted::TOO_MUCH)?;
        } else {
            self.octets += change.len();
        }
        if self.changes.len() >= CHANGES_MAX || self.octets > CHANGES_OCTETS_MAX {
            return Err(Wanted::TOO_MUCH.into());
        }
        self.changes.push(change);
        Ok(())
    }

    const TOO_MUCH: &str = "it changes too much";
}

#[cfg(test)]
pub(crate) mod tests;
