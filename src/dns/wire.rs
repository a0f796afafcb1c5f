//! DNS messages: how a question is written, and what a reply says.
//!
//! The octets of a reply come from outside, so everything read from them has a bound: records, octets,
//! links of a chain of aliases, passes over the message. Only what answers the question is ever taken:
//! records of other names, and the additional section, are walked past. What a reply says about names
//! is given back with every octet that is no usual part of a host name escaped, so that no later reader
//! has to think of control characters or of dots inside a label.

use crate::dns::{Answer, Kind, Record};
use crate::limits::DOMAIN_MAX;
use crate::smtp::address;
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::{Name, NameBuilder, ParsedName, ToName};
use domain::base::{Message, MessageBuilder, ParsedRecord};
use domain::rdata::{A, Aaaa, Cname, Mx, Ns, Ptr, Soa, Txt};

/// Records of one answer.
pub const RECORDS_MAX: usize = 64;

/// Octets of one answer, by [`Answer::weight`].
pub const ANSWER_OCTETS_MAX: usize = 16 * 1_024;

/// Aliases followed for one question, in one reply and over all of them.
pub const ALIASES_MAX: usize = 8;

/// Octets that a reply by UDP may have (RFC 6891 6.2.3, at the size that passes every path).
pub const UDP_OCTETS_MAX: u16 = 1_232;

/// Records that a reply may announce in all sections: each pass over it parses them all.
const ANNOUNCED_MAX: usize = 400;

/// Where the question stands in a message.
const HEADER_OCTETS: usize = 12;

/// A name in the form of the wire, in lower case, at most 255 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireName(Name<Vec<u8>>);

impl WireName {
    /// The name of a dotted text, whose octets between the dots are asked for as they are, but for
    /// `\DDD`, which is the octet of that number, as names in answers have it ([`WireName::text`]). A
    /// text with other than ASCII characters is taken for U-labels (RFC 5890) where it can be. None for
    /// what is no name: an empty label, one of more than 63 octets, more than 255 octets in all.
    pub fn new(text: &str) -> Option<WireName> {
        if text.is_ascii() { WireName::of_labels(text) } else { WireName::of_u_labels(text) }
    }

    fn of_u_labels(text: &str) -> Option<WireName> {
        let path = format!("<x@{text}>");
        match address::parse_forward(path.as_bytes(), true) {
            Ok(address) => WireName::of_labels(address.domain()),
            Err(_) => WireName::of_labels(text),
        }
    }

    fn of_labels(text: &str) -> Option<WireName> {
        let mut builder = NameBuilder::new_vec();
        if !text.is_empty() {
            for label in text.split('.') {
                if label.is_empty() {
                    return None;
                }
                builder.append_label(&octets_of(label)).ok()?;
            }
        }
        // The builder itself lets one octet too many through.
        builder.into_name().ok().filter(|name| name.as_slice().len() <= DOMAIN_MAX).map(WireName)
    }

    /// The name in dotted form, as [`show`] writes it.
    pub fn text(&self) -> Box<str> {
        show(&self.0)
    }
}

/// The octets of a text in lower case, each `\DDD` in it made one.
pub(super) fn octets_of(label: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(label.len());
    let mut rest = label;
    while let Some((plain, behind)) = rest.split_once('\\') {
        octets.extend_from_slice(plain.as_bytes());
        let digits = behind.get(..3).filter(|it| it.bytes().all(|octet| octet.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(octet) => {
                octets.push(octet);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                octets.push(b'\\');
                rest = behind;
            }
        }
    }
    octets.extend_from_slice(rest.as_bytes());
    octets.make_ascii_lowercase();
    octets
}

/// A question ready to be sent, without case mixing: `edns` says that the asker takes
/// [`UDP_OCTETS_MAX`] octets (RFC 6891). None is never given for a [`WireName`].
pub fn query(id: u16, name: &WireName, kind: Kind, edns: bool) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((&name.0, rtype(kind), Class::IN)).ok()?;
    let mut builder = builder.additional();
    if edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(UDP_OCTETS_MAX);
                Ok(())
            })
            .ok()?;
    }
    Some(builder.finish())
}

/// The part of a query that its reply has to repeat: name, type and class.
pub fn question_of<'a>(query: &'a [u8], name: &WireName) -> &'a [u8] {
    let behind = query.get(HEADER_OCTETS..).unwrap_or_default();
    behind.get(..name.0.as_slice().len() + 4).unwrap_or_default()
}

/// Sets the case of the letters in a query's name by the bits of `bit`, one call a letter.
pub fn mix_case(query: &mut [u8], name: &WireName, mut bit: impl FnMut() -> bool) {
    // An octet of a length is at most 63, and letters begin at 65: only letters are met.
    for octet in query.iter_mut().skip(HEADER_OCTETS).take(name.0.as_slice().len()) {
        if octet.is_ascii_alphabetic() && bit() {
            *octet ^= 0x20;
        }
    }
}

/// The first twelve octets of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the question.
    pub id: u16,
    /// What became of it.
    pub status: Status,
    /// The reply did not fit; ask by TCP.
    pub truncated: bool,
}

/// A response code, by what it means for the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// NOERROR or NXDOMAIN: [`read`] says what.
    Answered,
    /// FORMERR: the server did not understand, EDNS perhaps.
    NotUnderstood,
    /// SERVFAIL, REFUSED, NOTIMP and all others.
    Failed(u8),
}

/// Reads the head. None for what is no reply to a question at all.
pub fn head(message: &[u8]) -> Option<Head> {
    let message = Message::from_slice(message).ok()?;
    let header = message.header();
    let question = message.header_counts().qdcount();
    let status = match header.rcode() {
        Rcode::NOERROR | Rcode::NXDOMAIN => Status::Answered,
        Rcode::FORMERR => Status::NotUnderstood,
        other => Status::Failed(other.to_int()),
    };
    // An error may come without the question, if the server could not or would not read it.
    let fits = question == 1 || (question == 0 && status != Status::Answered);
    (header.qr() && header.opcode().to_int() == 0 && fits).then_some(Head {
        id: header.id(),
        status,
        truncated: header.tc(),
    })
}

/// How the question in a reply compares to the one that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Octet for octet the same.
    Same,
    /// The same but for upper and lower case.
    OtherCase,
    /// The reply is an error without a question.
    Absent,
    /// Another question.
    Other,
}

/// Compares the question of a reply that has a [`head`] to the one asked.
pub fn echo(message: &[u8], asked: &[u8]) -> Echo {
    let counts = Message::from_slice(message).map(Message::header_counts);
    if counts.is_ok_and(|counts| counts.qdcount() == 0) {
        return Echo::Absent;
    }
    let behind = message.get(HEADER_OCTETS..).unwrap_or_default();
    match behind.get(..asked.len()) {
        Some(echoed) if echoed == asked => Echo::Same,
        Some(echoed) if echoed.eq_ignore_ascii_case(asked) => Echo::OtherCase,
        Some(_) | None => Echo::Other,
    }
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Records, or the certainty that there are none, or where to go on asking.
    pub found: Found,
    /// Seconds that it holds: the least of all records that led to it, 0 where none says.
    pub ttl: u32,
    /// Aliases that were followed in this reply.
    pub aliases: usize,
}

/// The gist of a [`Content`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// `Found`, `NoData` or `NxDomain`, never `TempFail`.
    Answer(Answer),
    /// The name is an alias of this one, of which the reply says nothing.
    Alias(WireName),
}

/// Why a reply is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Something in it cannot be parsed.
    Malformed,
    /// More records, octets or aliases than an answer may have.
    TooMuch,
    /// The server sends us elsewhere instead of answering.
    Referral,
    /// It does not speak our version of EDNS.
    Version,
}

/// Reads the reply to a question for `name`. Status and question were looked at before.
///
/// An answer of more than [`RECORDS_MAX`] records is an error, for a part of them could hide the one
/// that matters; of the names of an address the first ones do, since each is only a claim.
///
/// # Errors
/// [`Bad`], after which the next server may do better.
pub fn read(message: &[u8], name: &WireName, kind: Kind) -> Result<Content, Bad> {
    let message = Message::from_slice(message).map_err(|_| Bad::Malformed)?;
    let counts = message.header_counts();
    let announced = [counts.ancount(), counts.nscount(), counts.arcount()];
    if announced.into_iter().map(usize::from).sum::<usize>() > ANNOUNCED_MAX {
        return Err(Bad::TooMuch);
    }
    if message.opt_rcode().is_ext() {
        return Err(Bad::Version);
    }
    let mut at = name.clone();
    let mut ttl = u32::MAX;
    for aliases in 0..=ALIASES_MAX {
        let stop = look(message, &at, kind)?;
        ttl = ttl.min(stop.ttl);
        if let Some(target) = stop.alias {
            at = target;
            continue;
        }
        let nx = message.header().rcode() == Rcode::NXDOMAIN;
        let (found, ttl) = if nx || stop.records.is_empty() {
            let (found, negative) = nothing(message, nx, (aliases > 0).then_some(at))?;
            (found, ttl.min(negative))
        } else {
            (Found::Answer(Answer::Found(stop.records.into())), ttl)
        };
        return Ok(Content { found, ttl, aliases });
    }
    Err(Bad::TooMuch)
}

/// What the answer section has for one name.
struct Stop {
    records: Vec<Record>,
    alias: Option<WireName>,
    ttl: u32,
}

/// One pass over the answer section.
fn look(message: &Message<[u8]>, at: &WireName, kind: Kind) -> Result<Stop, Bad> {
    let mut stop = Stop { records: Vec::new(), alias: None, ttl: u32::MAX };
    let (mut alias_ttl, mut octets, mut renamed) = (u32::MAX, 0, false);
    for record in message.answer().map_err(malformed)? {
        let record = record.map_err(malformed)?;
        if record.class() != Class::IN {
            continue;
        }
        let owner = record.owner();
        if !owner.name_eq(&at.0) {
            renamed |= record.rtype() == Rtype::DNAME && at.0.ends_with(&owner);
            continue;
        }
        if record.rtype() == rtype(kind) {
            let value = value(&record, kind)?;
            octets += value.weight();
            if stop.records.len() == RECORDS_MAX || octets > ANSWER_OCTETS_MAX {
                if kind == Kind::Ptr {
                    break;
                }
                return Err(Bad::TooMuch);
            }
            stop.records.push(value);
            stop.ttl = stop.ttl.min(ttl_of(&record));
        } else if record.rtype() == Rtype::CNAME && stop.alias.is_none() {
            let target = data::<Cname<ParsedName<&[u8]>>>(&record)?;
            stop.alias = Some(WireName(target.cname().to_canonical_name()));
            alias_ttl = ttl_of(&record);
        }
    }
    if !stop.records.is_empty() {
        stop.alias = None;
    } else if stop.alias.is_some() {
        stop.ttl = alias_ttl;
    } else if renamed {
        // A server that knows DNAME also makes the CNAME (RFC 6672 section 3.1).
        return Err(Bad::Malformed);
    }
    Ok(stop)
}

/// What it means that there are no records: the reply's own word if there is no alias, or if the end
/// of the chain is settled; otherwise the end has to be asked for. The second value is the lifetime
/// of the denial (RFC 2308 section 5), 0 without an SOA record.
fn nothing(
    message: &Message<[u8]>,
    nx: bool,
    end_of_chain: Option<WireName>,
) -> Result<(Found, u32), Bad> {
    let (mut lifetime, mut delegates) = (None, false);
    for record in message.authority().map_err(malformed)? {
        let record = record.map_err(malformed)?;
        if record.class() == Class::IN && record.rtype() == Rtype::SOA {
            let soa = data::<Soa<ParsedName<&[u8]>>>(&record)?;
            let minimum = signed(soa.minimum().as_secs());
            lifetime = lifetime.or(Some(minimum.min(ttl_of(&record))));
        }
        delegates |= record.rtype() == Rtype::NS;
    }
    match (nx, end_of_chain, lifetime) {
        (true, _, lifetime) => Ok((Found::Answer(Answer::NxDomain), lifetime.unwrap_or(0))),
        (false, _, Some(lifetime)) => Ok((Found::Answer(Answer::NoData), lifetime)),
        (false, Some(target), None) => Ok((Found::Alias(target), u32::MAX)),
        (false, None, None) if delegates => Err(Bad::Referral),
        (false, None, None) => Ok((Found::Answer(Answer::NoData), 0)),
    }
}

type Parsed<'a> = ParsedRecord<'a, [u8]>;

/// The value of a record of the type asked for.
fn value(record: &Parsed<'_>, kind: Kind) -> Result<Record, Bad> {
    Ok(match kind {
        Kind::A => Record::Address(data::<A>(record)?.addr().into()),
        Kind::Aaaa => Record::Address(data::<Aaaa>(record)?.addr().into()),
        Kind::Ptr => Record::Name(show(data::<Ptr<ParsedName<&[u8]>>>(record)?.ptrdname())),
        Kind::Ns => Record::Name(show(data::<Ns<ParsedName<&[u8]>>>(record)?.nsdname())),
        Kind::Mx => {
            let mx = data::<Mx<ParsedName<&[u8]>>>(record)?;
            Record::Mx(mx.preference(), show(mx.exchange()))
        }
        Kind::Txt => {
            let txt = data::<Txt<&[u8]>>(record)?;
            Record::Text(txt.iter().flatten().copied().collect())
        }
    })
}

fn data<'a, D>(record: &Parsed<'a>) -> Result<D, Bad>
where
    D: domain::base::rdata::ParseRecordData<'a, [u8]>,
{
    match record.to_record::<D>() {
        Ok(Some(record)) => Ok(record.into_data()),
        Ok(None) | Err(_) => Err(Bad::Malformed),
    }
}

fn ttl_of(record: &Parsed<'_>) -> u32 {
    signed(record.ttl().as_secs())
}

/// A lifetime with its highest bit set counts as 0 (RFC 2181 section 8).
fn signed(seconds: u32) -> u32 {
    if i32::try_from(seconds).is_ok() { seconds } else { 0 }
}

fn rtype(kind: Kind) -> Rtype {
    match kind {
        Kind::A => Rtype::A,
        Kind::Aaaa => Rtype::AAAA,
        Kind::Ptr => Rtype::PTR,
        Kind::Mx => Rtype::MX,
        Kind::Txt => Rtype::TXT,
        Kind::Ns => Rtype::NS,
    }
}

fn malformed(_: domain::base::wire::ParseError) -> Bad {
    Bad::Malformed
}

/// A name in dotted form, lower case, without a final dot. Letters, digits and `-_/+=*` stand for
/// themselves, every other octet as backslash and three decimal digits (RFC 1035 section 5.1), so the
/// text can be logged and split at its dots. The root is the empty text.
fn show(name: &impl ToName) -> Box<str> {
    let mut text = String::new();
    for label in name.iter_labels().filter(|label| !label.is_root()) {
        if !text.is_empty() {
            text.push('.');
        }
        for octet in label.as_slice() {
            push_octet(&mut text, *octet);
        }
    }
    text.into()
}

/// Writes one octet of a label in that form.
pub(super) fn push_octet(text: &mut String, octet: u8) {
    if octet.is_ascii_alphanumeric() || b"-_/+=*".contains(&octet) {
        text.push(char::from(octet.to_ascii_lowercase()));
    } else {
        text.push_str(&format!("\\{octet:03}"));
    }
}

#[cfg(any(test, fuzzing))]
mod fuzz;
#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz;
#[cfg(test)]
pub(crate) use fuzz::ways;
#[cfg(test)]
mod tests;
