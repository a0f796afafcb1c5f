//! The parts that a reader is shown, and how they take a text.

use super::text::Text;
use crate::mail::mime::body::Body;
use crate::mail::mime::encode::Encoder;
use crate::mail::mime::{Encoding, Fault, Faults, Kind, Mime, Part, charset};
use memchr::memmem;
use std::io::{self, Write};
use std::ops::Range;

/// Octets that are decoded at once.
const PIECE: usize = 16 * 1_024;

/// Types whose content a signature is over, or that nobody can read who stands between.
pub(in crate::mail) const SEALED: [&str; 9] = [
    "multipart/signed",
    "multipart/encrypted",
    "application/pkcs7-mime",
    "application/x-pkcs7-mime",
    "application/pkcs7-signature",
    "application/x-pkcs7-signature",
    "application/pgp",
    "application/pgp-encrypted",
    "application/pgp-signature",
];

/// What makes it doubtful where a part begins and ends, or what it is.
pub(in crate::mail) const DOUBTS: [Fault; 17] = [
    Fault::NoBlankLine,
    Fault::BareLf,
    Fault::HeaderGarbage,
    Fault::HeaderTooLarge,
    Fault::NulInHeader,
    Fault::TypeTwice,
    Fault::EncodingTwice,
    Fault::UnknownEncoding,
    Fault::EncodedContainer,
    Fault::NoBoundary,
    Fault::BoundaryTwice,
    Fault::NoDelimiter,
    Fault::LooseDelimiter,
    Fault::NotClosed,
    Fault::PartBehindEnd,
    Fault::TooDeep,
    Fault::Partial,
];

/// Alternatives that take the text. Mail has two or three.
const SHOWN_MAX: usize = 16;

/// The longest of the words that are looked for in a text.
const PGP: &[u8] = b"-----begin pgp ";

/// What stays as it is, and why.
#[derive(Debug)]
pub enum Left {
    /// One part.
    Part(String),
    /// All of the mail.
    Mail(&'static str),
}

/// The numbers of the parts that a reader is shown first, all alternatives of them.
///
/// # Errors
/// Why the mail has to stay as it is.
pub fn shown(message: &[u8], mime: &Mime) -> Result<Vec<usize>, &'static str> {
    if mime.faults.contains(Fault::TooManyParts) {
        return Err("it has too many parts");
    }
    // A mail within the mail is content, whatever it is like.
    let mut inside: Vec<bool> = Vec::with_capacity(mime.parts.len());
    for part in &mime.parts {
        let parent = part.parent.and_then(|number| Some((number, mime.parts.get(number)?)));
        let within = parent.is_some_and(|(number, parent)| {
            parent.kind == Kind::Message || inside.get(number) == Some(&true)
        });
        inside.push(within);
        if within {
            continue;
        }
        let types = part.content_types(message);
        if types.iter().any(|field| SEALED.contains(&field.head())) {
            return Err("it is signed or encrypted");
        }
        if types.iter().any(|field| field.head() == "multipart/report") {
            return Err("it is a report");
        }
        if DOUBTS.iter().any(|fault| part.faults.contains(*fault)) {
            return Err("it is malformed");
        }
    }
    let (mut found, mut open) = (Vec::new(), vec![0]);
    while let Some(number) = open.pop() {
        let Some(part) = mime.parts.get(number) else { continue };
        if part.kind == Kind::Leaf {
            found.extend(is_text(message, part).then_some(number));
            continue;
        }
        let children = mime.parts.iter().enumerate().skip(number + 1);
        let children = children.filter(|(_, child)| {
            child.parent == Some(number)
                && (child.kind == Kind::Multipart || is_text(message, child))
        });
        let children = children.map(|(number, _)| number);
        match part.content_type(message).head() {
            "multipart/alternative" => open.extend(children),
            head if head.starts_with("multipart/") => open.extend(children.take(1)),
            _ => {}
        }
    }
    found.sort_unstable();
    if found.len() > SHOWN_MAX { Err("it has too many alternatives") } else { Ok(found) }
}

/// Text that is shown and not offered as a file.
fn is_text(message: &[u8], part: &Part) -> bool {
    part.kind == Kind::Leaf
        && matches!(part.content_type(message).head(), "text/plain" | "text/html")
        && part.file_name(message).is_none()
        && part.dispositions(message).iter().all(|field| field.head() != "attachment")
}

/// What a pass over a decoded part has found.
#[derive(Default)]
struct Scan {
    length: usize,
    last: Option<u8>,
    eight_bit: bool,
    /// Where the last `</body` and the last `</html` begin.
    body: Option<usize>,
    html: Option<usize>,
    pgp: bool,
    faults: Faults,
}

impl Scan {
    fn of(octets: &[u8], encoding: Encoding) -> Scan {
        let (mut scan, mut body) = (Scan::default(), Body::new(octets, encoding));
        let (mut buffer, mut window) = (vec![0; PIECE], Vec::new());
        while let Some(piece) = body.next(&mut buffer) {
            // A word may lie across two pieces.
            let kept = window.len().min(PGP.len() - 1);
            window.drain(..window.len() - kept);
            window.extend(piece.iter().map(u8::to_ascii_lowercase));
            let start = scan.length - kept;
            let place = |word: &[u8]| memmem::rfind(&window, word).map(|at| start + at);
            scan.body = place(b"</body").or(scan.body);
            scan.html = place(b"</html").or(scan.html);
            scan.pgp |= place(PGP).is_some();
            scan.eight_bit |= !piece.is_ascii();
            scan.last = piece.last().copied();
            scan.length += piece.len();
        }
        scan.faults = body.faults();
        scan
    }
}

/// A text that goes into a part.
pub struct Change {
    /// The part's body in the message.
    body: Range<usize>,
    /// Where the text goes, in octets of the decoded body.
    at: usize,
    addition: Vec<u8>,
    from: Encoding,
    into: Encoding,
    /// The part's header and what takes its place, where the encoding becomes another one; for the mail's
    /// own header the edit of a field does.
    header: Option<(Range<usize>, Vec<u8>)>,
    /// It is the mail itself.
    whole: bool,
}

impl Change {
    /// Of a part with text.
    ///
    /// # Errors
    /// What stays as it is instead, and why.
    pub fn plan(message: &[u8], part: &Part, text: &Text) -> Result<Change, Left> {
        let kind = part.content_type(message);
        let label = kind.parameter("charset").unwrap_or_default();
        let scan = Scan::of(message.get(part.body.clone()).unwrap_or_default(), part.encoding);
        if scan.pgp {
            return Err(Left::Mail("it is signed or encrypted"));
        }
        if part.encoding == Encoding::Uuencode || !scan.faults.is_empty() {
            return Err(Left::Part("its encoding is malformed".to_string()));
        }
        let is_html = kind.head() == "text/html";
        let (at, words) = if is_html {
            (scan.body.or(scan.html).unwrap_or(scan.length), text.html())
        } else {
            let flowed =
                kind.parameter("format").is_some_and(|it| it.eq_ignore_ascii_case("flowed"));
            let end = if matches!(scan.last, None | Some(b'\n')) { "" } else { "\r\n" };
            (scan.length, format!("{end}{}", text.plain(flowed)))
        };
        let Some(addition) = charset::encode(label.as_bytes(), &words) else {
            return Err(Left::Part(format!("the charset {label} has no place for the text")));
        };
        let whole = part.parent.is_none();
        let (mut into, mut header) = (part.encoding, None);
        let narrow = part.encoding == Encoding::Identity && !scan.eight_bit;
        if narrow && !addition.is_ascii() && !says_eight_bit(message, part) {
            into = Encoding::QuotedPrintable;
            header = (!whole).then(|| (part.start..part.body.start, with_encoding(message, part)));
        }
        let (body, from) = (part.body.clone(), part.encoding);
        Ok(Change { body, at, addition, from, into, header, whole })
    }

    /// The mail's own Content-Transfer-Encoding becomes quoted-printable.
    pub fn recodes_mail(&self) -> bool {
        self.whole && self.from != self.into
    }

    /// Writes the part's body with the text.
    fn write(&self, message: &[u8], out: &mut impl Write) -> io::Result<()> {
        let Some(mut encoder) = Encoder::new(self.into) else { return Ok(()) };
        let mut body = Body::new(message.get(self.body.clone()).unwrap_or_default(), self.from);
        let (mut buffer, mut passed, mut added) = (vec![0; PIECE], 0, false);
        while let Some(piece) = body.next(&mut buffer) {
            match piece.split_at_checked(self.at.saturating_sub(passed)) {
                Some((before, behind)) if !added && !behind.is_empty() => {
                    encoder.write(before, out)?;
                    encoder.write(&self.addition, out)?;
                    encoder.write(behind, out)?;
                    added = true;
                }
                _ => encoder.write(piece, out)?,
            }
            passed += piece.len();
        }
        if !added {
            encoder.write(&self.addition, out)?;
        }
        encoder.finish(out)
    }
}

const ENCODING: &str = "Content-Transfer-Encoding";

/// Its header declares other octets than ASCII.
fn says_eight_bit(message: &[u8], part: &Part) -> bool {
    let header = part.header(message);
    let value = part.headers(message).first(header, ENCODING).map(|field| field.value);
    let value = value.unwrap_or_default().trim_ascii().to_ascii_lowercase();
    value.starts_with(b"8bit") || value.starts_with(b"binary")
}

/// The header with quoted-printable as the encoding.
fn with_encoding(message: &[u8], part: &Part) -> Vec<u8> {
    let header = part.header(message);
    let mut out = Vec::with_capacity(header.len() + 64);
    for field in part.headers(message).iter(header) {
        if !field.is(ENCODING) {
            out.extend_from_slice(field.raw);
        }
    }
    out.extend_from_slice(ENCODING.as_bytes());
    out.extend_from_slice(b": quoted-printable\r\n\r\n");
    out
}

/// Writes the body of the message, which begins at `start`, with all changes, which are in the order of
/// their places.
///
/// # Errors
/// What `out` says.
pub fn write(
    message: &[u8],
    start: usize,
    changes: &[Change],
    out: &mut impl Write,
) -> io::Result<()> {
    let mut from = start;
    let mut copy = |out: &mut dyn Write, upto: usize, next: usize| {
        let text = message.get(from..upto).unwrap_or_default();
        from = next;
        out.write_all(text)
    };
    for change in changes {
        if let Some((range, header)) = &change.header {
            copy(out, range.start, range.end)?;
            out.write_all(header)?;
        }
        copy(out, change.body.start, change.body.end)?;
        change.write(message, out)?;
    }
    copy(out, message.len(), message.len())
}
