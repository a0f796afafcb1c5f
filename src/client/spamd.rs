//! Asks SpamAssassin's daemon, spamd, what it thinks of a message.
//!
//! The protocol is one question and one answer a connection: `HEADERS` with the message behind it, and
//! back come a verdict and the message's header as SpamAssassin would rewrite it. Of that header only
//! the fields `X-Spam-…` are read, within bounds: spamd is ours, but much of what it writes was the
//! sender's. Where the protocol's own line `Spam:` gives a verdict it counts, for nobody outside can
//! write it; a field that comes twice is the upper one, which is SpamAssassin's.

use crate::client::Fault;
use crate::client::deadline::Deadline;
use crate::client::stream::{Place, Stream};
use crate::client::words;
use crate::mail::headers::{clean, clean_utf8, unfold};
use std::fmt::{self, Display, Formatter};

/// Octets of an answer beyond the header that it repeats.
const ANSWER_MORE: usize = 256 * 1_024;

/// Fields that are taken from an answer, and the octets of one name, one value, and all of them.
const FIELDS_MAX: usize = 32;
const NAME_MAX: usize = 60;
const VALUE_MAX: usize = 8 * 1_024;
const VALUES_MAX: usize = 48 * 1_024;

/// Octets of foreign words in an error.
const SHOWN: usize = 100;

const CUT: &str = "spamd closed the connection in the middle of its answer";

/// A number of points, in thousandths. Printed with one decimal at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Points(i64);

impl Points {
    /// Reads a decimal number of at most seven digits before the point; those behind the third behind
    /// it do not count.
    pub fn read(text: &str) -> Option<Points> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || whole.len() > 7 {
            return None;
        }
        let thousandths: String = fraction.chars().chain("00".chars()).take(3).collect();
        let sum = whole.parse::<i64>().ok()? * 1_000 + thousandths.parse::<i64>().ok()?;
        Some(Points(if negative { -sum } else { sum }))
    }
}

impl Points {
    /// Without what is behind the point, rounded down.
    pub fn whole(self) -> i32 {
        // It fits: seven digits are read at most.
        i32::try_from(self.0.div_euclid(1_000)).unwrap_or(i32::MAX)
    }
}

impl From<i32> for Points {
    fn from(points: i32) -> Points {
        Points(i64::from(points) * 1_000)
    }
}

impl Display for Points {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let all = self.0.unsigned_abs();
        let fraction = format!("{:03}", all % 1_000);
        let (tenth, rest) = fraction.split_at_checked(1).unwrap_or((&fraction, ""));
        write!(f, "{sign}{}.{tenth}{}", all / 1_000, rest.trim_end_matches('0'))
    }
}

/// What spamd says of a message. The texts are printable and on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// It takes the message for spam.
    pub spam: bool,
    /// The score.
    pub score: Points,
    /// The score from which on it is spam; None where the answer does not tell.
    pub required: Option<Points>,
    /// The names of the tests that hit, with commas between them; may be empty.
    pub tests: String,
    /// What was learnt of it: `ham`, `spam`, `no`; None where the answer does not tell.
    pub autolearn: Option<String>,
    /// The fields `X-Spam-…`, as they came, each name once.
    pub fields: Vec<(String, String)>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In whose name: his settings count. It must not hold line ends.
    pub user: &'a str,
    /// The reverse-path in angle brackets, without line ends.
    pub sender: &'a str,
    /// The message in its parts, lines that end with CR LF; the first of them is its header.
    pub parts: [&'a [u8]; 3],
}

impl Request<'_> {
    fn head(&self) -> Vec<u8> {
        let sender = format!("X-Envelope-From: {}\r\n", self.sender);
        let length = self.parts.iter().map(|part| part.len()).sum::<usize>() + sender.len();
        let Request { user, .. } = self;
        format!("HEADERS SPAMC/1.4\r\nContent-length: {length}\r\nUser: {user}\r\n\r\n{sender}")
            .into_bytes()
    }
}

/// Asks.
///
/// # Errors
/// In words, why there is no verdict: nobody listens, the deadline passes, the answer is none.
pub fn ask(place: Place<'_>, request: &Request<'_>, deadline: Deadline) -> Result<Report, Fault> {
    let mut stream = Stream::connect(place, deadline)
        .map_err(|error| Fault::from(format!("Could not connect to spamd: {}", words(&error))))?;
    let head = request.head();
    let [header, empty, body] = request.parts;
    let sent = [&head, header, empty, body]
        .into_iter()
        .try_for_each(|part| stream.send(part))
        .and_then(|()| stream.finish());
    let answer = stream.to_end(header.len() * 2 + ANSWER_MORE);
    // Who does not want the message says so and closes while it is still being sent.
    match (sent, answer) {
        (Err(error), Ok(answer)) if answer.is_empty() => Err(error.into()),
        (_, Ok(answer)) => read(&answer),
        (Err(error), Err(_)) => Err(error.into()),
        (Ok(()), Err(fault)) => Err(fault),
    }
}

/// Takes the next line, without its end; None behind the last one that has an end.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr(b'\n', rest)?;
    let (line, behind) = rest.split_at_checked(end + 1)?;
    *rest = behind;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn invalid(line: &[u8]) -> Fault {
    format!("invalid response from spamd: {}", clean(line, SHOWN)).into()
}

/// Reads an answer.
///
/// # Errors
/// In words, why it is none.
pub fn read(answer: &[u8]) -> Result<Report, Fault> {
    let mut rest = answer;
    let Some(first) = next_line(&mut rest) else {
        return Err(if answer.is_empty() { CUT.into() } else { invalid(answer) });
    };
    let mut words = first.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let known = words.next().is_some_and(|word| word.starts_with(b"SPAMD/"));
    if !known || words.next() != Some(b"0".as_slice()) || words.next() != Some(b"EX_OK".as_slice())
    {
        return Err(invalid(first));
    }
    let (mut verdict, mut length) = (None, None);
    loop {
        let line = next_line(&mut rest).ok_or(CUT)?;
        if line.is_empty() {
            break;
        }
        let text = String::from_utf8_lossy(line);
        let (name, value) = text.split_once(':').ok_or_else(|| invalid(line))?;
        match name.to_ascii_lowercase().as_str() {
            "spam" => verdict = Some(read_spam(value).ok_or_else(|| invalid(line))?),
            "content-length" => {
                length = Some(value.trim().parse::<usize>().map_err(|_| invalid(line))?);
            }
            _ => {}
        }
    }
    if length.is_some_and(|length| rest.len() < length) {
        return Err(CUT.into());
    }
    let fields = read_fields(rest);
    let status = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("X-Spam-Status"));
    let status = status.map(|(_, value)| Status::read(value)).unwrap_or_default();
    let (spam, score, required) = match (verdict, status.verdict()) {
        (Some((spam, score, required)), _) => (spam, score, Some(required)),
        (None, Some(found)) => found,
        (None, None) => return Err("spamd gives no verdict".into()),
    };
    Ok(Report { spam, score, required, tests: status.tests, autolearn: status.autolearn, fields })
}

/// `True ; 15.3 / 5.0`
fn read_spam(value: &str) -> Option<(bool, Points, Points)> {
    let (word, numbers) = value.split_once(';')?;
    let spam = match word.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" => true,
        "false" | "no" => false,
        _ => return None,
    };
    let (score, required) = numbers.split_once('/')?;
    Some((spam, Points::read(score.trim())?, Points::read(required.trim())?))
}

/// The fields that are ours to take, folded ones on one line.
fn read_fields(header: &[u8]) -> Vec<(String, String)> {
    let mut rest = header;
    let mut raw: Vec<(String, Vec<u8>)> = Vec::new();
    let (mut taking, mut total) = (false, 0);
    while let Some(line) = next_line(&mut rest) {
        if line.is_empty() {
            break;
        }
        let is_fold = matches!(line.first(), Some(b' ' | b'\t'));
        let value = if is_fold {
            line
        } else {
            let Some(colon) = memchr::memchr(b':', line) else {
                taking = false;
                continue;
            };
            let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
            let name = String::from_utf8_lossy(name);
            let is_new = !raw.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name));
            taking = is_spam_field(&name) && is_new && raw.len() < FIELDS_MAX;
            if taking {
                raw.push((name.into_owned(), Vec::new()));
            }
            value.strip_prefix(b":").unwrap_or(value)
        };
        if let Some((_, text)) = raw.last_mut().filter(|_| taking) {
            let room = (VALUE_MAX - text.len()).min(VALUES_MAX - total);
            let value = value.get(..room).unwrap_or(value);
            total += value.len();
            text.extend_from_slice(value);
        }
    }
    let on_one_line = |text: &[u8]| clean_utf8(&tabs_out(&unfold(text)), VALUE_MAX);
    raw.into_iter().map(|(name, text)| (name, on_one_line(&text))).collect()
}

/// A fold begins with a TAB, which is a blank on one line.
fn tabs_out(text: &[u8]) -> Vec<u8> {
    text.iter().map(|octet| if *octet == b'\t' { b' ' } else { *octet }).collect()
}

/// Whether a field's name begins with `X-Spam-`.
pub fn is_of_spam(name: &str) -> bool {
    name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("X-Spam-"))
}

/// Whether a field is named `X-Spam-…`, and by what a name may be made of.
pub fn is_spam_field(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    is_of_spam(name) && (8..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// `Yes, score=15.3 required=5.0 tests=A,B, C autolearn=no version=3.4.6`
#[derive(Default)]
struct Status {
    spam: Option<bool>,
    score: Option<Points>,
    required: Option<Points>,
    tests: String,
    autolearn: Option<String>,
}

impl Status {
    fn read(value: &str) -> Status {
        let mut status = Status::default();
        let mut words = value.split_whitespace();
        status.spam = match words.next().map(|word| word.trim_end_matches(',')) {
            Some("Yes") => Some(true),
            Some("No") => Some(false),
            _ => None,
        };
        let mut in_tests = false;
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                // The list goes on behind a fold.
                if in_tests {
                    status.tests.push_str(word);
                }
                continue;
            };
            in_tests = key == "tests";
            match key {
                "score" | "hits" => status.score = Points::read(value),
                "required" => status.required = Points::read(value),
                "tests" => status.tests = value.to_string(),
                "autolearn" => status.autolearn = Some(value.to_string()),
                _ => {}
            }
        }
        status
    }

    fn verdict(&self) -> Option<(bool, Points, Option<Points>)> {
        Some((self.spam?, self.score?, self.required))
    }
}

/// Any answer gives an error in few words, or fields within bounds.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    match read(data) {
        Err(fault) => assert!(fault.to_string().len() <= 2 * SHOWN),
        Ok(report) => {
            assert!(report.fields.len() <= FIELDS_MAX);
            for (name, value) in &report.fields {
                assert!(is_spam_field(name) && value.len() <= VALUE_MAX);
                assert!(!value.contains(char::is_control));
            }
            assert!(Points::read(&report.score.to_string()) == Some(report.score));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
