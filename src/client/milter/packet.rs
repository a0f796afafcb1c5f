//! The packets of the milter protocol: what is offered, what is answered. Pure.

use crate::client::Fault;
use crate::mail::headers::clean;

/// The newest version of the protocol, and the oldest that is still spoken.
const VERSION: u32 = 6;
const VERSION_MIN: u32 = 2;

/// What a filter may change (`SMFIF_…`).
const ADD_HEADERS: u32 = 0x01;
const CHANGE_BODY: u32 = 0x02;
const ADD_RECIPIENT: u32 = 0x04;
const DELETE_RECIPIENT: u32 = 0x08;
const CHANGE_HEADERS: u32 = 0x10;
const QUARANTINE: u32 = 0x20;
const CHANGE_SENDER: u32 = 0x40;
const ADD_RECIPIENT_WITH: u32 = 0x80;
const ACTIONS: u32 = 0xff;

/// The blank before a field's value is part of it (`SMFIP_HDR_LEADSPC`).
const LEADING_SPACE: u32 = 0x10_0000;

/// All that a filter may want (`SMFIP_…`) but to hear of refused recipients, of whom nothing is known by
/// the end of the message, and to be sent longer packets.
const STEPS: u32 = 0x1f_f7ff;

/// Octets of a reply's text, and of foreign words in an error.
const TEXT_MAX: usize = 400;
const SHOWN: usize = 60;

/// Lines of a reply.
const LINES_MAX: usize = 8;

/// A step of the story that is answered, or skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    Header,
    EndOfHeader,
    Body,
}

impl Step {
    /// The command's letter, and the bits with which a filter says that it does not want to be told and
    /// that it does not answer.
    fn row(self) -> (u8, u32, u32) {
        match self {
            Step::Connect => (b'C', 0x01, 0x1000),
            Step::Helo => (b'H', 0x02, 0x2000),
            Step::Mail => (b'M', 0x04, 0x4000),
            Step::Rcpt => (b'R', 0x08, 0x8000),
            Step::Body => (b'B', 0x10, 0x8_0000),
            Step::Header => (b'L', 0x20, 0x80),
            Step::EndOfHeader => (b'N', 0x40, 0x4_0000),
            Step::Data => (b'T', 0x200, 0x1_0000),
        }
    }

    pub(super) fn letter(self) -> u8 {
        self.row().0
    }
}

/// The data of the packet that opens a conversation.
pub(super) fn offer() -> Vec<u8> {
    [VERSION, ACTIONS, STEPS].into_iter().flat_map(u32::to_be_bytes).collect()
}

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) version: u32,
    pub(super) actions: u32,
    steps: u32,
}

impl Agreed {
    /// Reads the answer to an offer. The macros that a filter would like stand behind it; we send the same
    /// to all.
    pub(super) fn read(letter: u8, data: &[u8]) -> Result<Agreed, Fault> {
        let mut rest = data;
        let numbers = (number(&mut rest), number(&mut rest), number(&mut rest));
        let (b'O', (Some(version), Some(actions), Some(steps))) = (letter, numbers) else {
            return Err("its greeting is not a milter's".into());
        };
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(format!("it speaks version {version} of the protocol").into());
        }
        if actions & !ACTIONS != 0 || steps & !STEPS != 0 {
            return Err(format!("it wants {actions:#x}/{steps:#x}, which was not offered").into());
        }
        Ok(Agreed { version, actions, steps })
    }

    /// The filter does not want to hear of this.
    pub(super) fn leaves_out(self, step: Step) -> bool {
        self.steps & step.row().1 != 0
    }

    /// The filter gives no answer to this.
    pub(super) fn is_silent(self, step: Step) -> bool {
        self.steps & step.row().2 != 0
    }

    /// A field's value as filters want it: its line ends without CR, and without the first blank unless
    /// agreed otherwise.
    pub(super) fn value(self, value: &[u8]) -> Vec<u8> {
        let value = value.strip_suffix(b"\r\n").unwrap_or(value);
        let value = match value.strip_prefix(b" ") {
            Some(rest) if self.steps & LEADING_SPACE == 0 => rest,
            _ => value,
        };
        let mut text = Vec::with_capacity(value.len());
        for (at, octet) in value.iter().enumerate() {
            if *octet != b'\r' || value.get(at + 1) != Some(&b'\n') {
                text.push(*octet);
            }
        }
        text
    }
}

/// A string as packets hold it, with a NUL behind it, and hence none in it.
pub(super) fn string(text: &[u8]) -> Vec<u8> {
    let octets = text.iter().map(|octet| if *octet == 0 { b' ' } else { *octet });
    octets.chain([0]).collect()
}

/// The words of a refusal, for a client to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The first digit of its code: 4 or 5.
    pub class: u8,
    /// Subject and detail of the enhanced status code, where it has one.
    pub status: Option<(u16, u16)>,
    /// The connection ends with it (421).
    pub closes: bool,
    /// Printable ASCII; lines with a line feed between them.
    pub text: String,
}

/// A change that a filter wants. Texts are as they came: they need the same distrust as the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A field below all others.
    AddHeader {
        /// Its name.
        name: String,
        /// Its text.
        value: String,
    },
    /// A field at this place, counted from 0 at the top.
    InsertHeader {
        /// The place.
        at: usize,
        /// Its name.
        name: String,
        /// Its text.
        value: String,
    },
    /// Another text for the `nth` field of this name, counted from 1; an empty one deletes it.
    ChangeHeader {
        /// Which.
        nth: usize,
        /// Its name.
        name: String,
        /// Its text.
        value: String,
    },
    /// Another body, or what follows of it.
    Body(Vec<u8>),
    /// Another reverse-path.
    Sender(String),
    /// One more recipient; parameters are left out.
    AddRecipient {
        /// The path.
        path: String,
        /// Parameters came with it.
        with_parameters: bool,
    },
    /// One recipient less.
    DeleteRecipient(String),
    /// The message is to be looked at before it is read, for this reason.
    Quarantine(String),
}

impl Change {
    /// The right that it needs.
    pub(super) fn action(&self) -> u32 {
        match self {
            Change::AddHeader { .. } | Change::InsertHeader { .. } => ADD_HEADERS | CHANGE_HEADERS,
            Change::ChangeHeader { .. } => CHANGE_HEADERS,
            Change::Body(_) => CHANGE_BODY,
            Change::Sender(_) => CHANGE_SENDER,
            Change::AddRecipient { with_parameters: false, .. } => ADD_RECIPIENT,
            Change::AddRecipient { with_parameters: true, .. } => ADD_RECIPIENT_WITH,
            Change::DeleteRecipient(_) => DELETE_RECIPIENT,
            Change::Quarantine(_) => QUARANTINE,
        }
    }

    /// Octets of its texts.
    pub(super) fn len(&self) -> usize {
        match self {
            Change::AddHeader { name, value }
            | Change::InsertHeader { name, value, .. }
            | Change::ChangeHeader { name, value, .. } => name.len() + value.len(),
            Change::Body(body) => body.len(),
            Change::Sender(text)
            | Change::AddRecipient { path: text, .. }
            | Change::DeleteRecipient(text)
            | Change::Quarantine(text) => text.len(),
        }
    }
}

/// What a filter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Go on.
    Continue,
    /// The message may pass; it wants to hear no more.
    Accept,
    /// It wants to hear no more of this kind.
    Skip,
    /// It is still at work.
    Progress,
    /// Refused for good.
    Reject,
    /// Refused for now.
    TempFail,
    /// Refused for now, and the connection ends.
    Shutdown,
    /// Refused in these words.
    Words(Words),
    /// Accepted, and thrown away.
    Discard,
    /// Not a reply yet: a change.
    Change(Change),
}

impl Reply {
    /// Reads a packet.
    ///
    /// # Errors
    /// In words, why it is none that a milter may send.
    pub(super) fn read(letter: u8, data: &[u8]) -> Result<Reply, Fault> {
        let mut rest = data;
        let reply = match letter {
            b'c' => Reply::Continue,
            b'a' => Reply::Accept,
            b's' => Reply::Skip,
            b'p' => Reply::Progress,
            b'r' => Reply::Reject,
            b't' => Reply::TempFail,
            b'4' => Reply::Shutdown,
            b'd' => Reply::Discard,
            b'f' => return Err("it says that its own connection has failed".into()),
            b'y' => {
                let text = text(&mut rest).ok_or_else(|| cut(letter))?;
                Reply::Words(read_words(&text)?)
            }
            _ => match read_change(letter, &mut rest) {
                Some(change) => Reply::Change(change.ok_or_else(|| cut(letter))?),
                None => {
                    let letter = clean(&[letter], SHOWN);
                    return Err(format!("it says '{letter}', which nobody knows").into());
                }
            },
        };
        Ok(reply)
    }
}

fn cut(letter: u8) -> Fault {
    format!("its packet '{}' is cut short", char::from(letter)).into()
}

/// A change: None where the letter is none's, and an inner None where the data is not whole.
fn read_change(letter: u8, rest: &mut &[u8]) -> Option<Option<Change>> {
    let mut placed = || {
        let place = usize::try_from(number(rest)?).ok()?;
        Some((place, text(rest)?, text(rest)?))
    };
    Some(match letter {
        b'h' => {
            text(rest).and_then(|name| text(rest).map(|value| Change::AddHeader { name, value }))
        }
        b'i' => placed().map(|(at, name, value)| Change::InsertHeader { at, name, value }),
        b'm' => placed().map(|(nth, name, value)| Change::ChangeHeader { nth, name, value }),
        b'b' => Some(Change::Body(rest.to_vec())),
        b'e' => text(rest).map(Change::Sender),
        b'+' => text(rest).map(|path| Change::AddRecipient { path, with_parameters: false }),
        b'2' => text(rest).map(|path| Change::AddRecipient { path, with_parameters: true }),
        b'-' => text(rest).map(Change::DeleteRecipient),
        b'q' => text(rest).map(Change::Quarantine),
        _ => return None,
    })
}

/// `550 5.7.1 Words`; several lines with CR LF between them, and `-` behind all codes but the last.
fn read_words(text: &str) -> Result<Words, Fault> {
    let bad = || Fault::from(format!("its reply is none: {}", clean(text.as_bytes(), SHOWN)));
    let mut lines = Vec::new();
    let mut first: Option<(&str, Option<(u16, u16)>)> = None;
    for line in text.trim_end().split('\n').take(LINES_MAX) {
        let (code, rest) = line.split_at_checked(3).ok_or_else(bad)?;
        let is_code =
            code.bytes().all(|octet| octet.is_ascii_digit()) && code.starts_with(['4', '5']);
        if !is_code || !(rest.trim().is_empty() || rest.starts_with([' ', '-'])) {
            return Err(bad());
        }
        let rest = rest.get(1..).unwrap_or_default().trim();
        let (status, rest) = enhanced(code, rest);
        if first.get_or_insert((code, status)).0 != code {
            return Err(bad());
        }
        // Libmilter has its users double them.
        lines.push(clean(rest.replace("%%", "%").as_bytes(), TEXT_MAX));
    }
    let (code, status) = first.ok_or_else(bad)?;
    let class = if code.starts_with('4') { 4 } else { 5 };
    Ok(Words { class, status, closes: code == "421", text: lines.join("\n") })
}

/// Subject and detail of the enhanced status code at the start, if there is one of the code's class.
fn enhanced<'a>(code: &str, text: &'a str) -> (Option<(u16, u16)>, &'a str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = word.splitn(3, '.');
    let mut part = || parts.next().filter(|it| it.len() <= 3)?.parse::<u16>().ok();
    match (part(), part(), part()) {
        (Some(class), Some(subject), Some(detail))
            if code.starts_with(&class.to_string()) && word.is_ascii() =>
        {
            (Some((subject, detail)), rest.trim_start())
        }
        _ => (None, text),
    }
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (octets, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_be_bytes(*octets))
}

/// What comes before the next NUL.
fn text(rest: &mut &[u8]) -> Option<String> {
    let end = memchr::memchr(0, rest)?;
    let (text, behind) = rest.split_at_checked(end)?;
    *rest = behind.split_first().map(|(_, behind)| behind).unwrap_or_default();
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Any octets, cut into packets by their own lengths, are greetings and replies within bounds, or errors
/// in few printable words.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let mut rest = data;
    while let Some((letter, behind)) = rest.split_first() {
        let length = behind.first().map_or(0, |octet| usize::from(*octet));
        let (packet, next) = behind.split_at_checked(length).unwrap_or((behind, &[]));
        rest = next;
        let fault = match (Agreed::read(*letter, packet), Reply::read(*letter, packet)) {
            (Ok(agreed), _) => {
                assert!(agreed.actions & !ACTIONS == 0 && agreed.steps & !STEPS == 0);
                assert!(!agreed.value(packet).windows(2).any(|two| two == b"\r\n"));
                continue;
            }
            (_, Ok(Reply::Words(words))) => {
                assert!(
                    matches!(words.class, 4 | 5) && words.text.len() <= LINES_MAX * (TEXT_MAX + 1)
                );
                assert!(words.text.bytes().all(|octet| matches!(octet, b'\n' | b' '..=b'~')));
                continue;
            }
            // A letter of three octets stands for what was none.
            (_, Ok(Reply::Change(change))) => {
                assert!(change.len() <= 3 * packet.len() && change.action() & ACTIONS != 0);
                continue;
            }
            (_, Ok(_)) => continue,
            (_, Err(fault)) => fault.to_string(),
        };
        assert!(fault.len() <= 2 * SHOWN && !fault.contains(char::is_control), "{fault}");
    }
}
