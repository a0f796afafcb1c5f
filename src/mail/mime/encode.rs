//! Bodies written in a Content-Transfer-Encoding (RFC 2045 section 6), piece by piece.

use super::Encoding;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Write};

/// Octets that one line of base64 holds: 76 letters.
const LINE_OCTETS: usize = 57;

/// Letters of a line of quoted-printable; the soft line break is one more (RFC 2045 section 6.7).
const LINE_LETTERS: usize = 75;

/// Encodes what it is given. How it is cut into pieces changes nothing.
pub enum Encoder {
    /// As it stands.
    Identity,
    /// RFC 2045 section 6.8, in whole lines.
    Base64 {
        /// What does not fill a line yet.
        held: Vec<u8>,
    },
    /// RFC 2045 section 6.7, for text.
    Quoted {
        /// A blank or CR, which a line end may follow.
        held: Option<u8>,
        /// Letters in the line so far.
        column: usize,
    },
}

impl Encoder {
    /// None for uuencode, which holds files and no text.
    pub fn new(encoding: Encoding) -> Option<Encoder> {
        match encoding {
            Encoding::Identity => Some(Encoder::Identity),
            Encoding::Base64 => Some(Encoder::Base64 { held: Vec::new() }),
            Encoding::QuotedPrintable => Some(Encoder::Quoted { held: None, column: 0 }),
            Encoding::Uuencode => None,
        }
    }

    /// Writes the octets, but for what has to wait for those behind them.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&mut self, octets: &[u8], out: &mut impl Write) -> io::Result<()> {
        match self {
            Encoder::Identity => out.write_all(octets),
            Encoder::Base64 { held } => {
                let mut rest = octets;
                while held.len() + rest.len() >= LINE_OCTETS {
                    let (now, behind) =
                        rest.split_at_checked(LINE_OCTETS - held.len()).unwrap_or((rest, b""));
                    held.extend_from_slice(now);
                    base64_line(held, out)?;
                    held.clear();
                    rest = behind;
                }
                held.extend_from_slice(rest);
                Ok(())
            }
            Encoder::Quoted { held, column } => {
                octets.iter().try_for_each(|octet| quoted(*octet, held, column, out))
            }
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Encoder::Base64 { held } if !held.is_empty() => base64_line(&held, out),
            Encoder::Quoted { held: Some(octet), mut column } => escape(octet, &mut column, out),
            Encoder::Identity | Encoder::Base64 { .. } | Encoder::Quoted { .. } => Ok(()),
        }
    }
}

fn base64_line(octets: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(STANDARD.encode(octets).as_bytes())?;
    out.write_all(b"\r\n")
}

/// Takes one octet of text.
fn quoted(
    octet: u8,
    held: &mut Option<u8>,
    column: &mut usize,
    out: &mut impl Write,
) -> io::Result<()> {
    match (held.take(), octet) {
        (Some(b'\r'), b'\n') => {
            *column = 0;
            return out.write_all(b"\r\n");
        }
        (Some(b'\r'), _) => escape(b'\r', column, out)?,
        // A blank at the end of a line would get lost.
        (Some(blank), b'\r') => escape(blank, column, out)?,
        (Some(blank), _) => put(&[blank], column, out)?,
        (None, _) => {}
    }
    match octet {
        b' ' | b'\t' | b'\r' => {
            *held = Some(octet);
            Ok(())
        }
        b'=' | 0..=b' ' | 0x7f.. => escape(octet, column, out),
        _ => put(&[octet], column, out),
    }
}

fn escape(octet: u8, column: &mut usize, out: &mut impl Write) -> io::Result<()> {
    put(format!("={octet:02X}").as_bytes(), column, out)
}

fn put(letters: &[u8], column: &mut usize, out: &mut impl Write) -> io::Result<()> {
    if *column + letters.len() > LINE_LETTERS {
        out.write_all(b"=\r\n")?;
        *column = 0;
    }
    *column += letters.len();
    out.write_all(letters)
}

#[cfg(test)]
mod tests {
    use super::super::body::{BUFFER_MIN, Body};
    use super::*;

    fn encode(encoding: Encoding, text: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(encoding).unwrap();
        text.chunks(size).try_for_each(|piece| encoder.write(piece, &mut out)).unwrap();
        encoder.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn forms() {
        use Encoding::{Base64, Identity, QuotedPrintable};
        for (encoding, text, expected) in [
            (Identity, "a=\r\n", "a=\r\n"),
            (Base64, "", ""),
            (Base64, "abc\r\n", "YWJjDQo=\r\n"),
            (QuotedPrintable, "a=b \u{e4}\t\r\nx y\r\n", "a=3Db =C3=A4=09\r\nx y\r\n"),
            (QuotedPrintable, "a\rb\nc ", "a=0Db=0Ac=20"),
            (QuotedPrintable, "a\r\r\n\r\n", "a=0D\r\n\r\n"),
        ] {
            for size in [1, 2, 100] {
                let out = encode(encoding, text.as_bytes(), size);
                assert_eq!(String::from_utf8_lossy(&out), expected, "{text:?} {size}");
            }
        }
        assert!(Encoder::new(Encoding::Uuencode).is_none());
    }

    #[test]
    fn decoders_give_it_back_and_lines_are_short() {
        let text: Vec<u8> = (0..9_000_u32).map(|at| (at * at / 7 % 256) as u8).collect();
        let letters = b"long line without an end ".repeat(100);
        for text in [text.as_slice(), &letters] {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable] {
                let out = encode(encoding, text, 61);
                assert!(out.split(|octet| *octet == b'\n').all(|line| line.len() <= 77));
                let mut body = Body::new(&out, encoding);
                let (mut buffer, mut back) = ([0; BUFFER_MIN], Vec::new());
                while let Some(piece) = body.next(&mut buffer) {
                    back.extend_from_slice(piece);
                }
                assert!(back == text && body.faults().is_empty(), "{encoding:?}");
            }
        }
    }
}
