//! Asks Rspamd what it thinks of a message.
//!
//! One HTTP/1.1 request a connection: `POST /checkv2` with the message, and what is known of client and
//! envelope in the header. Of the answer, a JSON object, a few members are read, within bounds: Rspamd
//! is ours, but much of what it writes was the sender's.

pub mod json;

use self::json::{NAME_MAX, Reader};
use crate::client::Fault;
use crate::client::deadline::Deadline;
use crate::client::spamd::Points;
use crate::client::stream::{Place, Stream};
use crate::client::words;
use crate::mail::headers::{clean, clean_utf8};

/// Octets of an answer's body.
const ANSWER_MAX: usize = 1_024 * 1_024;

/// Lines of an answer's header, and octets of one.
const LINES_MAX: usize = 100;
const LINE_MAX: usize = 8 * 1_024;

/// Names of symbols that are kept.
const SYMBOLS_MAX: usize = 200;

/// Octets of a subject.
const SUBJECT_MAX: usize = 4_000;

/// Octets of a value in the request's header.
const VALUE_MAX: usize = 1_000;

/// Octets of foreign words in an error.
const SHOWN: usize = 100;

/// A score's amount is taken for at most so much.
const SCORE_MAX: f64 = 9_999_999.0;

/// What Rspamd wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Put the message off, once.
    Greylist,
    /// Mark it.
    AddHeader,
    /// Mark its subject.
    RewriteSubject,
    /// Put it off.
    SoftReject,
    /// Refuse it.
    Reject,
    /// Accept it and throw it away.
    Discard,
    /// Deliver it to be looked at.
    Quarantine,
}

impl Action {
    const ALL: [Action; 8] = [
        Action::None,
        Action::Greylist,
        Action::AddHeader,
        Action::RewriteSubject,
        Action::SoftReject,
        Action::Reject,
        Action::Discard,
        Action::Quarantine,
    ];

    /// As Rspamd spells it.
    pub fn name(self) -> &'static str {
        match self {
            Action::None => "no action",
            Action::Greylist => "greylist",
            Action::AddHeader => "add header",
            Action::RewriteSubject => "rewrite subject",
            Action::SoftReject => "soft reject",
            Action::Reject => "reject",
            Action::Discard => "discard",
            Action::Quarantine => "quarantine",
        }
    }

    /// The message is spam.
    pub fn is_spam(self) -> bool {
        !matches!(self, Action::None | Action::Greylist | Action::SoftReject)
    }
}

/// What Rspamd says of a message. The texts are printable and on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it wants done.
    pub action: Action,
    /// The score.
    pub score: Points,
    /// The score from which on it refuses; None where the answer does not tell.
    pub required: Option<Points>,
    /// The names of the symbols that hit, in its order.
    pub symbols: Vec<String>,
    /// The subject as it would write it.
    pub subject: Option<String>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Names and values of the header, such as `IP`; what cannot stand there is taken out.
    pub fields: &'a [(&'static str, String)],
    /// The message in its parts, lines that end with CR LF.
    pub parts: [&'a [u8]; 3],
}

impl Request<'_> {
    fn head(&self) -> Vec<u8> {
        let length = self.parts.iter().map(|part| part.len()).sum::<usize>();
        let mut head = format!(
            "POST /checkv2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n"
        );
        for (name, value) in self.fields {
            head.push_str(&format!("{name}: {}\r\n", clean_utf8(value.as_bytes(), VALUE_MAX)));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// Asks.
///
/// # Errors
/// In words, why there is no verdict: nobody listens, the deadline passes, the answer is none.
pub fn ask(place: Place<'_>, request: &Request<'_>, deadline: Deadline) -> Result<Report, Fault> {
    let mut stream = Stream::connect(place, deadline)
        .map_err(|error| Fault::from(format!("Could not connect to rspamd: {}", words(&error))))?;
    let head = request.head();
    let [header, empty, body] = request.parts;
    let mut parts = [&head, header, empty, body].into_iter();
    let sent = parts.try_for_each(|part| stream.send(part));
    // Who does not want the message says so and closes while it is still being sent.
    match (sent, receive(&mut stream)) {
        (Err(error), Err(_)) => Err(error.into()),
        (_, answer) => answer,
    }
}

fn receive(stream: &mut Stream) -> Result<Report, Fault> {
    let mut lines = Vec::new();
    loop {
        let line = stream.line(LINE_MAX)?;
        if line.is_empty() {
            break;
        }
        lines.push(line);
        if lines.len() > LINES_MAX {
            return Err("the header of its answer is too long".into());
        }
    }
    let body = match read_head(&lines)? {
        Some(length) => stream.exactly(length)?,
        None => stream.to_end(ANSWER_MAX)?,
    };
    read(&body)
}

fn invalid(line: &[u8]) -> Fault {
    format!("invalid response from rspamd: {}", clean(line, SHOWN)).into()
}

/// Reads the lines of an answer's header: the length of the body, None where it goes on to the end.
fn read_head(lines: &[Vec<u8>]) -> Result<Option<usize>, Fault> {
    let (first, rest) = lines.split_first().ok_or("invalid response from rspamd: an empty line")?;
    let status = first.strip_prefix(b"HTTP/1.").and_then(|it| it.get(1..));
    if !status.is_some_and(|it| it == b" 200" || it.starts_with(b" 200 ")) {
        return Err(invalid(first));
    }
    let mut length = None;
    for line in rest {
        let text = String::from_utf8_lossy(line);
        let (name, value) = text.split_once(':').ok_or_else(|| invalid(line))?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let octets = value.trim().parse::<usize>().map_err(|_| invalid(line))?;
                if octets > ANSWER_MAX {
                    return Err("its answer is too long".into());
                }
                length = Some(octets);
            }
            // Nobody has asked for it, and HTTP/1.1 allows it only to who may be asked.
            "transfer-encoding" | "content-encoding" => return Err(invalid(line)),
            _ => {}
        }
    }
    Ok(length)
}

/// Reads the body of an answer.
///
/// # Errors
/// In words, why it is none.
pub fn read(body: &[u8]) -> Result<Report, Fault> {
    let (mut action, mut score, mut required, mut subject) = (None, None, None, None);
    let mut symbols: Vec<String> = Vec::new();
    let mut reader = Reader::new(body);
    let parsed = reader.object(&mut |name, value| {
        match name {
            "action" => action = value.text(SHOWN)?,
            "score" => score = value.number()?,
            "required_score" => required = value.number()?,
            "subject" => subject = value.text(SUBJECT_MAX)?,
            "symbols" => value.object(&mut |name, symbol| {
                if symbols.len() < SYMBOLS_MAX {
                    symbols.push(clean(name.as_bytes(), NAME_MAX));
                }
                symbol.skip()
            })?,
            _ => value.skip()?,
        }
        Ok(())
    });
    parsed
        .and_then(|()| reader.end())
        .map_err(|what| Fault::from(format!("invalid response from rspamd: {what}")))?;
    let (Some(word), Some(score)) = (action, score.and_then(points)) else {
        return Err("rspamd gives no verdict".into());
    };
    let action = Action::ALL.into_iter().find(|action| action.name() == word);
    let action = action.ok_or_else(|| {
        Fault::from(format!(
            "rspamd wants what is not known here: {}",
            clean(word.as_bytes(), SHOWN)
        ))
    })?;
    let subject = subject.map(|text| clean_utf8(text.as_bytes(), SUBJECT_MAX));
    Ok(Report { action, score, required: required.and_then(points), symbols, subject })
}

fn points(number: f64) -> Option<Points> {
    Points::read(&format!("{:.3}", number.clamp(-SCORE_MAX, SCORE_MAX)))
}

/// Any answer gives an error in few words, or a report within bounds.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let end = memchr::memmem::find(data, b"\r\n\r\n");
    let (head, body) = end.and_then(|end| data.split_at_checked(end)).unwrap_or((b"", data));
    let lines: Vec<Vec<u8>> =
        head.split(|it| *it == b'\n').map(|it| it.trim_ascii().to_vec()).collect();
    match read_head(&lines) {
        Err(fault) => assert!(fault.to_string().len() <= 5 * SHOWN),
        Ok(length) => assert!(length.is_none_or(|length| length <= ANSWER_MAX)),
    }
    match read(body) {
        Err(fault) => assert!(fault.to_string().len() <= 5 * SHOWN),
        Ok(report) => {
            assert!(report.symbols.len() <= SYMBOLS_MAX);
            for name in &report.symbols {
                assert!(name.is_ascii() && !name.contains(char::is_control));
            }
            assert!(!report.subject.is_some_and(|it| it.contains(char::is_control)));
            assert!(Points::read(&report.score.to_string()) == Some(report.score));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
