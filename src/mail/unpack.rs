//! Files of Outlook's `winmail.dat` as parts of the mail that brought it.
//!
//! [`candidates`] finds the parts, [`Turn::plan`] looks into one of them and says whether it is sound and
//! may be touched, [`write()`] writes the body anew. What is signed, malformed or doubtful is left alone.

use super::attached::Attached;
use super::extend::{DOUBTS, SEALED};
use super::mime::body::Body;
use super::mime::{Fault, Kind, Mime, Part};
use super::tnef::{Content, File, NotTnef, Tnef, each_file};
use std::io::{self, Write};
use std::ops::{ControlFlow, Range};

/// Parts of a mail that are turned; others stay.
const TURNS_MAX: usize = 16;

/// Files that a mail gets.
pub const FILES_MAX: usize = 1_000;

/// Names of files that are kept for the log.
const NAMES_MAX: usize = 20;

/// Octets that are decoded at once.
const PIECE: usize = 16 * 1_024;

/// The numbers of the parts that say that they are TNEF, at most 16.
pub fn candidates(message: &[u8], mime: &Mime) -> Vec<usize> {
    let parts = mime.parts.iter().enumerate().filter(|(_, part)| is_labelled(message, part));
    parts.map(|(number, _)| number).take(TURNS_MAX).collect()
}

fn is_labelled(message: &[u8], part: &Part) -> bool {
    if part.kind != Kind::Leaf {
        return false;
    }
    let kind = part.content_type(message);
    let named = || part.file_name(message).is_some_and(|it| it.eq_ignore_ascii_case("winmail.dat"));
    kind.head().ends_with("ms-tnef") || kind.head() == "application/octet-stream" && named()
}

/// Why a part may not be touched.
fn obstacle(message: &[u8], mime: &Mime, number: usize) -> Option<&'static str> {
    if mime.faults.contains(Fault::TooManyParts) {
        return Some("is in a mail of too many parts");
    }
    let (mut next, mut below) = (Some(number), None);
    // A part lies in one with a lower number, so this ends.
    while let Some(part) = next.and_then(|number| mime.parts.get(number)) {
        let types = part.content_types(message);
        let is = |kind: &str| types.iter().any(|field| field.head() == kind);
        if SEALED.iter().any(|kind| is(kind)) {
            return Some("is signed or encrypted");
        }
        if DOUBTS.iter().any(|fault| part.faults.contains(*fault)) {
            return Some("is in a part that is malformed");
        }
        if below.is_some() && part.kind != Kind::Multipart {
            return Some("is in a message within the mail");
        }
        if below == Some(number) && is("multipart/alternative") {
            return Some("is one of several alternatives");
        }
        below = next;
        next = part.parent;
    }
    None
}

/// A part that becomes several.
#[derive(Debug)]
pub struct Turn {
    /// The part in the message, with its header.
    range: Range<usize>,
    number: usize,
    /// The line before the part; none where it is the whole mail.
    delimiter: Option<Range<usize>>,
    /// The part stays too: not all of it could be turned.
    keep: bool,
    /// Files that it becomes.
    pub files: usize,
    /// The names of the first 20 of them, as their sender wrote them.
    pub names: Vec<String>,
}

impl Turn {
    /// Of a candidate; at most `room` files.
    ///
    /// # Errors
    /// Why it stays as it is: words that follow its name.
    pub fn plan(
        message: &[u8],
        mime: &Mime,
        number: usize,
        room: usize,
    ) -> Result<Turn, &'static str> {
        const MALFORMED: &str = "is malformed";
        if let Some(words) = obstacle(message, mime, number) {
            return Err(words);
        }
        let part = mime.parts.get(number).ok_or(MALFORMED)?;
        let delimiter = match part.parent {
            Some(_) => Some(line_before(message, part.start).ok_or(MALFORMED)?),
            None => None,
        };
        let stream = decoded(message, part).ok_or(MALFORMED)?;
        let bad = [Fault::TnefChecksum, Fault::TnefCut, Fault::TnefGarbage];
        let outer = Tnef::parse(&stream).map_err(|NotTnef| MALFORMED)?.faults;
        if bad.iter().any(|fault| outer.contains(*fault)) {
            return Err(MALFORMED);
        }
        let (mut files, mut names, mut keep) = (0, Vec::new(), false);
        let found = each_file(&stream, &mut |file| {
            let Some(attached) = attached(file) else {
                keep = true;
                return ControlFlow::Continue(());
            };
            files += 1;
            if names.len() < NAMES_MAX {
                names.push(attached.name.to_string());
            }
            if files > room { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let faults = found.map_err(|NotTnef| MALFORMED)?;
        if files > room {
            return Err("holds too many files");
        }
        if files == 0 {
            return Err("holds no files");
        }
        keep |= !faults.is_empty();
        let range = part.start..part.body.end;
        Ok(Turn { range, number, delimiter, keep, files, names })
    }

    /// The part is the whole mail, which has to become a multipart.
    pub fn is_mail(&self) -> bool {
        self.delimiter.is_none()
    }

    /// Writes the parts, with `delimiter` between them.
    fn write(
        &self,
        message: &[u8],
        part: &Part,
        delimiter: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let stream = decoded(message, part).unwrap_or_default();
        let (mut first, mut written) = (true, Ok(()));
        let seen = each_file(&stream, &mut |file| {
            let Some(attached) = attached(file) else { return ControlFlow::Continue(()) };
            let between = if first { &[] } else { delimiter };
            first = false;
            written = out.write_all(between).and_then(|()| attached.write(out));
            if written.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        written?;
        seen.map_err(|NotTnef| io::Error::from(io::ErrorKind::InvalidData))?;
        if !self.keep {
            return Ok(());
        }
        out.write_all(delimiter)?;
        if !self.is_mail() {
            return out.write_all(message.get(self.range.clone()).unwrap_or_default());
        }
        for field in part.headers(message).iter(part.header(message)) {
            if field.name.get(..8).is_some_and(|it| it.eq_ignore_ascii_case(b"Content-")) {
                out.write_all(field.raw)?;
            }
        }
        out.write_all(b"\r\n")?;
        out.write_all(message.get(part.body.clone()).unwrap_or_default())
    }
}

/// The delimiter line before a part.
fn line_before(message: &[u8], start: usize) -> Option<Range<usize>> {
    let before = message.get(..start)?.strip_suffix(b"\n")?;
    let line = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    message.get(line..start)?.starts_with(b"--").then_some(line..start)
}

/// The stream; none where its encoding is broken.
fn decoded(message: &[u8], part: &Part) -> Option<Vec<u8>> {
    let mut body = Body::new(message.get(part.body.clone())?, part.encoding);
    let (mut buffer, mut out) = (vec![0; PIECE], Vec::new());
    while let Some(piece) = body.next(&mut buffer) {
        out.extend_from_slice(piece);
    }
    body.faults().is_empty().then_some(out)
}

/// A file as a part; none for what only Outlook can read.
fn attached<'f>(file: &'f File<'_>) -> Option<Attached<'f>> {
    if matches!(file.content, Some(Content::Message(_) | Content::Object { .. })) {
        return None;
    }
    let name = match (file.attachment, file.mime_type) {
        (Some(_), _) => file.name.unwrap_or_default(),
        (None, Some("text/html")) => "message.html",
        (None, Some("text/rtf")) => "message.rtf",
        (None, _) => "message.txt",
    };
    let content_id = file.attachment.and_then(|it| it.content_id.as_deref());
    Some(Attached { name, mime_type: file.mime_type, content_id, data: file.data })
}

/// Writes the body of the message, which begins at `start`, with all turns, which are in the order of their
/// places. `boundary` is for a mail that becomes a multipart.
///
/// # Errors
/// What `out` says.
pub fn write(
    message: &[u8],
    mime: &Mime,
    start: usize,
    turns: &[Turn],
    boundary: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut from = start;
    for turn in turns {
        let Some(part) = mime.parts.get(turn.number) else { continue };
        let Some(line) = turn.delimiter.clone() else {
            write!(out, "--{boundary}\r\n")?;
            turn.write(message, part, format!("\r\n--{boundary}\r\n").as_bytes(), out)?;
            return write!(out, "\r\n--{boundary}--\r\n");
        };
        out.write_all(message.get(from..turn.range.start).unwrap_or_default())?;
        let delimiter = [b"\r\n", message.get(line).unwrap_or_default()].concat();
        turn.write(message, part, &delimiter, out)?;
        from = turn.range.end;
    }
    out.write_all(message.get(from..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    /// Code page, and an attachment `a.exe` that holds `MZ`.
    const STREAM: &[u8] = b"x\x9f>\"\x01\0\x01\x06\x90\x08\0\x04\0\0\0\0\0\x01\0\x01\0\x02\x02\x90\x06\0\x02\0\0\0\x01\0\
        \x01\0\x02\x10\x80\x01\0\x06\0\0\0a.exe\0\xd1\x01\x02\x0f\x80\x06\0\x02\0\0\0MZ\xa7\0";

    /// An attachment that is an object which only Outlook reads, to be put behind the stream.
    fn object() -> Vec<u8> {
        let value =
            [&[1, 0, 0, 0, 0x0d, 0, 1, 0x37, 1, 0, 0, 0, 17, 0, 0, 0][..], &[9; 20]].concat();
        let sum = value.iter().fold(0_u16, |sum, octet| sum + u16::from(*octet));
        [&[2, 5, 0x90, 6, 0, 36, 0, 0, 0][..], &value, &sum.to_le_bytes()].concat()
    }

    fn part(stream: &[u8]) -> String {
        let kind = "Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64";
        format!("{kind}\r\n\r\n{}", STANDARD.encode(stream))
    }

    const FILE: &str = "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Disposition: attachment;\r\n filename=\"a.exe\"\r\n\r\nTVo=";

    fn turned(message: &str) -> Result<String, &'static str> {
        let octets = message.as_bytes();
        let mime = Mime::index(octets);
        let plan = |number| Turn::plan(octets, &mime, number, FILES_MAX);
        let turns: Result<Vec<Turn>, _> = candidates(octets, &mime).into_iter().map(plan).collect();
        let (start, mut out) = (mime.parts[0].body.start, Vec::new());
        write(octets, &mime, start, &turns?, "B", &mut out).unwrap();
        Ok(String::from_utf8(out).unwrap())
    }

    fn multipart(kind: &str, boundary: &str, parts: &[&str]) -> String {
        let parts: String =
            parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
        format!(
            "Content-Type: multipart/{kind}; boundary={boundary}\r\n\r\n{parts}--{boundary}--\r\n"
        )
    }

    fn body(message: &str) -> String {
        message.split_once("\r\n\r\n").unwrap().1.to_string()
    }

    #[test]
    fn files_take_the_place_of_the_part() {
        let (text, sound) = ("Content-Type: text/plain\r\n\r\nHi", part(STREAM));
        let both = part(&[STREAM, &object()].concat());
        let twice = part(&[STREAM, &STREAM[21..]].concat());
        let named = sound.replace("ms-tnef", "octet-stream; name=WINMAIL.DAT");
        let other = named.replace("WINMAIL", "x");
        for (before, after) in [
            (vec![text, &sound], vec![text, FILE]),
            (vec![&named, text], vec![FILE, text]),
            (vec![&other, text], vec![&other, text]),
            (vec![text, &twice, text], vec![text, FILE, FILE, text]),
            (vec![&sound, &sound], vec![FILE, FILE]),
            (vec![text, &both], vec![text, FILE, &both]),
        ] {
            let expected = body(&multipart("mixed", "b", &after));
            assert_eq!(turned(&multipart("mixed", "b", &before)), Ok(expected));
            let inner = multipart("mixed", "c", &before);
            let expected = body(&multipart("related", "b", &[&multipart("mixed", "c", &after)]));
            assert_eq!(turned(&multipart("related", "b", &[&inner])), Ok(expected));
        }
        assert_eq!(turned(&sound), Ok(format!("--B\r\n{FILE}\r\n--B--\r\n")));
        let kept = format!("--B\r\n{FILE}\r\n--B\r\n{both}\r\n--B--\r\n");
        assert_eq!(turned(&format!("Subject: x\r\n{both}")), Ok(kept));
    }

    #[test]
    fn what_is_sealed_or_malformed_stays() {
        let sound = part(STREAM);
        let mut wrong = STREAM.to_vec();
        wrong.pop();
        let message = format!("Content-Type: message/rfc822\r\n\r\n{sound}");
        let open = multipart("mixed", "b", &[&sound]).replace("--b--\r\n", "");
        for (mail, words) in [
            (multipart("signed", "b", &[&sound]), "is signed or encrypted"),
            (multipart("mixed", "b", &[&part(&wrong)]), "is malformed"),
            (multipart("mixed", "b", &[&part(b"no stream")]), "is malformed"),
            (multipart("mixed", "b", &[&part(&STREAM[..21])]), "holds no files"),
            (multipart("alternative", "b", &[&sound]), "is one of several alternatives"),
            (multipart("mixed", "b", &[&message]), "is in a message within the mail"),
            (open, "is in a part that is malformed"),
            (sound.replace("eJ8+", "eJ8!+"), "is malformed"),
        ] {
            assert_eq!(turned(&mail), Err(words), "{mail}");
        }
        let mail = multipart("mixed", "b", &[&sound]);
        let (mail, mime) = (mail.as_bytes(), Mime::index(mail.as_bytes()));
        assert_eq!(Turn::plan(mail, &mime, 1, 0).unwrap_err(), "holds too many files");
    }
}
