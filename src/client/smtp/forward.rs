//! Hands a message to the next server, whole, or to nobody.
//!
//! MAIL and all RCPT go in groups where the server offers PIPELINING; DATA does not go with them, for if
//! one recipient is refused nothing must be taken for the others: RSET, and the refusal is ours. The
//! text is made canonical on its way (`text.rs`). Until the final dot is sent nothing is taken, so
//! a connection that was kept open and turns out to be dead costs one more try on a new one. From the
//! first octet of the piece that holds the dot, only the server's answer tells.
//!
//! What comes before MAIL (EHLO, TLS, login) is in [`introduction`](super::introduction).

use super::connection::{Connection, EHLO, Extensions, FAREWELL, GROUP_MAX, Trouble, judged};
use super::introduction::introduce;
use super::pool::{Line, Pool};
use super::reply::Reply;
use crate::client::deadline::Deadline;
use crate::client::text::WireText;
use std::io;
use std::net::{IpAddr, SocketAddr};

pub use super::introduction::{Policy, Secure};

/// Octets of one XCLIENT command, its line end not counted.
const XCLIENT_MAX: usize = 500;

/// A server, and who is said to come.
#[derive(Clone, Copy, Debug)]
pub struct NextHop<'a> {
    /// Addresses of the server; the first that takes a connection is used.
    pub servers: &'a [SocketAddr],
    /// Our name, for EHLO.
    pub me: &'a str,
    /// Whom to tell of by XCLIENT; None: we speak for ourselves.
    pub client: Option<Client<'a>>,
    /// How what is said is kept from others; None: in clear, and without a login.
    pub secure: Option<Secure<'a>>,
}

impl NextHop<'_> {
    /// The name by which connections are told apart.
    pub(super) fn host(&self) -> &str {
        self.secure.map_or("", |secure| secure.host)
    }
}

/// A client as XCLIENT tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its reverse name.
    pub name: Option<&'a str>,
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its HELO name.
    pub helo: Option<&'a str>,
    /// It said EHLO.
    pub esmtp: bool,
}

/// A message and its envelope.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// The reverse-path in angle brackets.
    pub sender: &'a str,
    /// The forward-paths in angle brackets.
    pub recipients: &'a [String],
    /// It can only go to a server that offers SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// Its sender declared it as 8BITMIME. A message that turns out to be so is declared in any case.
    pub eight_bit: bool,
    /// The message in order, with CR LF line ends as far as is known.
    pub parts: &'a [&'a [u8]],
}

impl Mail<'_> {
    pub(in crate::client) fn size(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// MAIL and each RCPT, with the parameters that the server understands.
    fn commands(&self, offers: &Extensions) -> Vec<String> {
        let mut mail = format!("MAIL FROM:{}", self.sender);
        if offers.size.is_some() {
            mail.push_str(&format!(" SIZE={}", self.size()));
        }
        if offers.eight_bit && (self.eight_bit || !self.parts.iter().all(|part| part.is_ascii())) {
            mail.push_str(" BODY=8BITMIME");
        }
        if self.utf8 {
            mail.push_str(" SMTPUTF8");
        }
        let rcpts = self.recipients.iter().map(|recipient| format!("RCPT TO:{recipient}"));
        std::iter::once(mail).chain(rcpts).collect()
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Taken(Reply),
    /// The server refuses it.
    Refused(Reply),
    /// The server refuses the recipient at this place, and so nobody gets it. Of several refusals it is
    /// the first that is permanent, for trying again does not help then.
    RecipientRefused(usize, Reply),
    /// It is larger than the server takes: that many octets.
    TooLarge(u64),
    /// It needs SMTPUTF8, which the server does not offer.
    NoUtf8,
    /// XCLIENT is wanted, and not offered.
    NoXclient,
    /// Nobody has it: there is no server, or none that one can talk to; in words.
    Unreachable(String),
    /// Some recipients have it, and some have not: the answers in order. Only LMTP has such an end.
    InPart(Vec<Reply>),
    /// All of it was sent, and whether the server has it is not known; in words.
    Unknown(String),
}

/// Who answers behind the final dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Answers {
    /// The server, for all.
    One,
    /// The server, for each recipient in turn (LMTP).
    Each,
}

/// In which state the connection is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum After {
    /// No transaction is open.
    Clean,
    /// One is open that was refused.
    Open,
    /// It is of no more use.
    Dead,
}

/// Hands a message over. The words tell what the admin should know of how it went.
pub fn forward(
    pool: &Pool,
    hop: &NextHop<'_>,
    mail: &Mail<'_>,
    deadline: Deadline,
) -> (Outcome, Option<String>) {
    if hop.client.is_none()
        && let Some(line) = pool.take(hop.servers, hop.host(), deadline)
        && let Ok(outcome) = go(pool, line, mail, true)
        && !is_farewell(&outcome)
    {
        return (outcome, None);
    }
    let (introduced, note) = introduce(hop, deadline);
    let outcome = match introduced.and_then(|line| speak_for(hop, line)) {
        Ok(Ok(line)) => {
            let reusable = hop.client.is_none();
            let gone = |trouble: Trouble| Outcome::Unreachable(trouble.to_string());
            go(pool, line, mail, reusable).unwrap_or_else(gone)
        }
        Ok(Err(outcome)) => outcome,
        Err(trouble) => Outcome::Unreachable(trouble.to_string()),
    };
    (outcome, note)
}

/// Says by XCLIENT for whom we speak, where that is wanted.
fn speak_for(hop: &NextHop<'_>, line: Line) -> Result<Result<Line, Outcome>, Trouble> {
    let Some(client) = &hop.client else { return Ok(Ok(line)) };
    let Line { mut connection, offers, .. } = line;
    if offers.xclient.is_empty() {
        connection.quit();
        return Ok(Err(Outcome::NoXclient));
    }
    for command in xclient(client, &offers.xclient) {
        let answer = connection.command(&command)?;
        if !judged(&answer)? {
            connection.quit();
            return Ok(Err(Outcome::Refused(answer)));
        }
    }
    let name = client.helo.filter(|name| name.bytes().all(|octet| octet.is_ascii_graphic()));
    let offers = connection.hello(name.unwrap_or(hop.me), EHLO)?;
    Ok(Ok(Line { connection, offers, ..line }))
}

/// The server ends the connection, not the message: "too many messages in this session", say.
fn is_farewell(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused(reply) | Outcome::RecipientRefused(_, reply) => reply.code == 421,
        _ => false,
    }
}

/// One transaction, and what becomes of the connection behind it. An error means that nobody has the
/// message.
fn go(pool: &Pool, mut line: Line, mail: &Mail<'_>, reusable: bool) -> Result<Outcome, Trouble> {
    let (outcome, after) = transact(&mut line.connection, &line.offers, mail, Answers::One)?;
    let clean = match after {
        After::Clean => true,
        After::Open => {
            line.connection.deadline = line.connection.deadline.within(FAREWELL);
            line.connection.command("RSET").is_ok_and(|answer| answer.class() == 2)
        }
        After::Dead => false,
    };
    if reusable && clean && !is_farewell(&outcome) {
        pool.keep(line);
    } else if after != After::Dead {
        line.connection.quit();
    }
    Ok(outcome)
}

/// One transaction. An error means that nobody has the message.
pub(in crate::client) fn transact(
    connection: &mut Connection,
    offers: &Extensions,
    mail: &Mail<'_>,
    answers: Answers,
) -> Result<(Outcome, After), Trouble> {
    if mail.utf8 && !offers.utf8 {
        return Ok((Outcome::NoUtf8, After::Clean));
    }
    let limit = offers.size.filter(|limit| *limit > 0 && mail.size() as u64 > *limit);
    if let Some(limit) = limit {
        return Ok((Outcome::TooLarge(limit), After::Clean));
    }
    if let Some(refused) = envelope(connection, offers, mail)? {
        return Ok(refused);
    }
    let answer = connection.command("DATA")?;
    match answer.class() {
        3 => Ok(send_text(connection, mail, answers)?),
        2 => Err(Trouble::Fault("it does not answer as an SMTP server")),
        _ => Ok((Outcome::Refused(answer), After::Open)),
    }
}

/// MAIL and RCPT; what comes back is a refusal.
fn envelope(
    connection: &mut Connection,
    offers: &Extensions,
    mail: &Mail<'_>,
) -> Result<Option<(Outcome, After)>, Trouble> {
    let group = if offers.pipelining { GROUP_MAX } else { 1 };
    let mut refusal: Option<(usize, Reply)> = None;
    let mut place = 0;
    for group in mail.commands(offers).chunks(group) {
        connection.say(group)?;
        for _ in group {
            let reply = match connection.reply() {
                Ok(reply) => reply,
                // It said why, and left.
                Err(_) if refusal.is_some() => {
                    return Ok(refusal.map(|it| (refused(it), After::Dead)));
                }
                Err(trouble) => return Err(trouble),
            };
            // What MAIL was answered counts, not the answers to what was sent behind it.
            let counts = match &refusal {
                None => true,
                Some((0, _)) => false,
                Some((_, before)) => before.class() < reply.class(),
            };
            if !judged(&reply)? && counts {
                refusal = Some((place, reply));
            }
            place += 1;
        }
        if let Some(refusal) = refusal {
            return Ok(Some((refused(refusal), After::Open)));
        }
    }
    Ok(None)
}

/// The refusal of the command at this place, MAIL being the first.
fn refused((place, reply): (usize, Reply)) -> Outcome {
    match place.checked_sub(1) {
        None => Outcome::Refused(reply),
        Some(recipient) => Outcome::RecipientRefused(recipient, reply),
    }
}

/// The text, the dot, and what is said of it. An error means that the dot was not sent.
fn send_text(
    connection: &mut Connection,
    mail: &Mail<'_>,
    answers: Answers,
) -> Result<(Outcome, After), Trouble> {
    let last = match hand_over(connection, mail)? {
        Ok(last) => last,
        Err(reply) => return Ok((Outcome::Refused(reply), After::Dead)),
    };
    let unknown = |trouble: Trouble| (Outcome::Unknown(trouble.to_string()), After::Dead);
    if let Err(error) = connection.send(&last) {
        // It may have said why before it left.
        connection.deadline = connection.deadline.within(FAREWELL);
        return Ok(match connection.answer() {
            Ok(reply) if reply.class() > 3 => (Outcome::Refused(reply), After::Dead),
            _ => unknown(error.into()),
        });
    }
    let count = match answers {
        Answers::One => 1,
        Answers::Each => mail.recipients.len(),
    };
    let mut replies = Vec::with_capacity(count);
    while replies.len() < count {
        match connection.answer() {
            Ok(reply) if reply.class() != 3 => replies.push(reply),
            Ok(_) => return Ok(unknown(Trouble::Fault("it does not answer as an SMTP server"))),
            Err(trouble) => return Ok(unknown(trouble)),
        }
    }
    Ok((summed_up(replies, answers), After::Clean))
}

/// One answer, or one for each recipient, as an outcome.
fn summed_up(mut replies: Vec<Reply>, answers: Answers) -> Outcome {
    let taken = replies.iter().filter(|reply| reply.class() == 2).count();
    if taken > 0 && taken < replies.len() {
        return Outcome::InPart(replies);
    }
    let permanent = replies.iter().position(|reply| reply.class() == 5);
    let place = permanent.unwrap_or(0).min(replies.len().saturating_sub(1));
    if replies.is_empty() {
        return Outcome::Unknown("there was no recipient".to_string());
    }
    let reply = replies.swap_remove(place);
    match answers {
        _ if taken > 0 => Outcome::Taken(reply),
        Answers::One => Outcome::Refused(reply),
        Answers::Each => Outcome::RecipientRefused(place, reply),
    }
}

/// Sends the text but for its last piece, which comes back with the dot behind it. A server that has
/// seen enough says so before the end: the inner error.
fn hand_over(
    connection: &mut Connection,
    mail: &Mail<'_>,
) -> Result<Result<Vec<u8>, Reply>, Trouble> {
    let mut sink = |piece: &[u8]| connection.send(piece);
    let sent: io::Result<Vec<u8>> = WireText::new(mail.size()).put_all(mail.parts, &mut sink);
    let broken = match sent {
        Ok(mut last) if connection.is_quiet() => {
            last.extend_from_slice(b".\r\n");
            return Ok(Ok(last));
        }
        Ok(_) => Trouble::Fault("it answers before the end of the message"),
        Err(error) => error.into(),
    };
    connection.deadline = connection.deadline.within(FAREWELL);
    match connection.answer() {
        Ok(reply) if reply.class() > 3 => Ok(Err(reply)),
        _ => Err(broken),
    }
}

/// XCLIENT commands with what the server takes, none too long.
fn xclient(client: &Client<'_>, offered: &[String]) -> Vec<String> {
    let address = match client.ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPV6:{ip}"),
    };
    let unavailable = || "[UNAVAILABLE]".to_string();
    let protocol = if client.esmtp { "ESMTP" } else { "SMTP" };
    let mut lines: Vec<String> = Vec::new();
    for (name, value) in [
        ("NAME", client.name.map_or_else(unavailable, xtext)),
        ("ADDR", address),
        ("PORT", client.port.to_string()),
        ("HELO", client.helo.map_or_else(unavailable, xtext)),
        ("PROTO", protocol.to_string()),
    ] {
        if !offered.iter().any(|it| it.eq_ignore_ascii_case(name)) {
            continue;
        }
        let attribute = format!(" {name}={value}");
        match lines.last_mut().filter(|line| line.len() + attribute.len() <= XCLIENT_MAX) {
            Some(line) => line.push_str(&attribute),
            None => lines.push(format!("XCLIENT{attribute}")),
        }
    }
    lines
}

/// RFC 3461 section 4.
fn xtext(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_graphic() && !b"+=".contains(&octet);
    let one = |octet: u8| {
        if plain(octet) { char::from(octet).to_string() } else { format!("+{octet:02X}") }
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests;
