//! What an SMTP server answers, read octet by octet within bounds (RFC 5321 section 4.2).
//!
//! The server is the admin's own, but it may be broken, taken over, or no SMTP server at all. So a
//! reply is bounded in lines and octets, one code must stand in all of its lines (a program that
//! trusted only the last one was made to run commands, CVE-2020-8794), and what cannot be a reply
//! is a fault with words, not a guess.

use crate::mail::headers::clean;

/// Octets of one line without its end; RFC 5321 4.5.3.1.5 allows 510.
const LINE_MAX: usize = 2_048;

/// Lines of one reply. The longest in real life answer EHLO, with some thirty.
const LINES_MAX: usize = 100;

/// Octets of the text that is shown or logged.
const TEXT_MAX: usize = 300;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The code, 200 to 599.
    pub code: u16,
    /// What stands behind the code in each line; as it came, so never to be shown as it is.
    lines: Vec<Box<[u8]>>,
}

impl Reply {
    /// The first digit of the code.
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// All lines in one, printable ASCII, at most 300 octets.
    pub fn text(&self) -> String {
        clean(&self.lines.join(&b' '), TEXT_MAX).trim().to_string()
    }

    /// The first line behind the code, as it came: a challenge, never to be shown.
    pub fn first_line(&self) -> &[u8] {
        self.lines.first().map_or(&[], |line| line)
    }

    /// Subject and detail of the enhanced status code at the start of the first line (RFC 2034), if
    /// its class is that of the reply.
    pub fn status(&self) -> Option<(u16, u16)> {
        let first = std::str::from_utf8(self.lines.first()?).ok()?;
        let mut parts = first.split(' ').next()?.splitn(3, '.').map(number);
        let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
        (class == self.class()).then_some((subject, detail))
    }

    /// The answer to EHLO announces this extension.
    pub fn announces(&self, keyword: &str) -> bool {
        self.words_of(keyword).is_some()
    }

    /// What the answer to EHLO says behind the keyword of an extension, if it announces that. Words
    /// that are not ASCII are left out.
    pub fn words_of(&self, keyword: &str) -> Option<Vec<String>> {
        self.lines.iter().skip(1).find_map(|line| {
            let mut words = line.split(|it| *it == b' ').filter(|word| !word.is_empty());
            let first = words.next()?;
            let plain = words.filter(|word| word.is_ascii());
            first
                .eq_ignore_ascii_case(keyword.as_bytes())
                .then(|| plain.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
        })
    }

    /// The last word of the text, where it is one of letters, digits and the usual marks: servers put
    /// the name there under which they keep a message.
    pub fn last_word(&self) -> Option<String> {
        let text = self.text();
        let word = text.split(' ').next_back()?.trim_matches(|c: char| "<>()\"'.,;".contains(c));
        (!word.is_empty()).then(|| word.to_string())
    }
}

/// A number of RFC 3463: one to three digits.
fn number(text: &str) -> Option<u16> {
    let plain = text.len() <= 3 && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// Collects one reply.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    code: Option<u16>,
    lines: Vec<Box<[u8]>>,
}

impl Reader {
    /// Takes the next octet, and gives the reply if that was its last. Then, and after a fault, the
    /// reader is done with.
    ///
    /// # Errors
    /// In words why this is no reply.
    pub fn push(&mut self, octet: u8) -> Result<Option<Reply>, &'static str> {
        match octet {
            b'\n' => return self.end_line(),
            0 => return Err("its reply holds a NUL"),
            _ if self.line.len() >= LINE_MAX => return Err("a line of its reply is too long"),
            _ => self.line.push(octet),
        }
        Ok(None)
    }

    fn end_line(&mut self) -> Result<Option<Reply>, &'static str> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let (code, more, text) = split(line).ok_or("it does not answer as an SMTP server")?;
        if *self.code.get_or_insert(code) != code {
            return Err("the code changes within its reply");
        }
        if self.lines.len() >= LINES_MAX {
            return Err("its reply has too many lines");
        }
        self.lines.push(text.into());
        Ok((!more).then(|| Reply { code, lines: std::mem::take(&mut self.lines) }))
    }
}

/// `250-text`, `250 text` or `250`: the code, whether lines follow, and the text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let plain = digits.iter().all(u8::is_ascii_digit);
    let code = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0')));
    if !plain || !(200..600).contains(&code) {
        return None;
    }
    match rest.split_first() {
        None => Some((code, false, b"")),
        Some((b' ', text)) => Some((code, false, text)),
        Some((b'-', text)) => Some((code, true, text)),
        Some(_) => None,
    }
}

/// Reads replies one after the other, as a connection does, until one cannot be read.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let mut reader = Reader::default();
    for octet in data {
        match reader.push(*octet) {
            Ok(None) => assert!(reader.line.len() <= LINE_MAX && reader.lines.len() <= LINES_MAX),
            Ok(Some(reply)) => {
                assert!((2..=5).contains(&reply.class()));
                assert!((1..=LINES_MAX).contains(&reply.lines.len()));
                let text = reply.text();
                assert!(text.len() <= TEXT_MAX && text.bytes().all(|it| matches!(it, b' '..=b'~')));
                assert!(reply.status().is_none_or(|(subject, detail)| subject.max(detail) < 1_000));
                reader = Reader::default();
            }
            Err(what) => {
                assert!(!what.is_empty());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8]) -> Result<Option<Reply>, &'static str> {
        let mut reader = Reader::default();
        for (place, octet) in octets.iter().enumerate() {
            if let Some(reply) = reader.push(*octet)? {
                assert_eq!(place + 1, octets.len(), "something is left behind the reply");
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    #[test]
    fn replies_are_read() {
        for (octets, code, text, status) in [
            ("250 ok\r\n", 250, "ok", None),
            ("250\r\n", 250, "", None),
            ("250 ok\n", 250, "ok", None),
            ("550 5.1.1 no such user\r\n", 550, "5.1.1 no such user", Some((1, 1))),
            (
                "550-5.7.1 first\r\n550 5.7.1 second\r\n",
                550,
                "5.7.1 first 5.7.1 second",
                Some((7, 1)),
            ),
            ("450 5.1.1 class differs\r\n", 450, "5.1.1 class differs", None),
            ("550 5.1 short\r\n", 550, "5.1 short", None),
            ("550 5.1000.1 large\r\n", 550, "5.1000.1 large", None),
            ("550 5.+1.1 sign\r\n", 550, "5.+1.1 sign", None),
            ("554 \u{1b}[2J\rn\u{e4}\r\n", 554, "?[2J?n??", None),
        ] {
            let reply = read(octets.as_bytes()).unwrap().expect(octets);
            assert_eq!((reply.code, &*reply.text(), reply.status()), (code, text, status));
        }
        let long = read(format!("550 {}\r\n", "x".repeat(2_000)).as_bytes()).unwrap().unwrap();
        assert_eq!(long.text().len(), TEXT_MAX);
    }

    #[test]
    fn extensions_are_announced_behind_the_first_line() {
        let reply = read(b"250-SMTPUTF8 is my name\r\n250-Size 1000\r\n250 8bitmime\r\n");
        let reply = reply.unwrap().unwrap();
        for (keyword, announced) in
            [("SMTPUTF8", false), ("SIZE", true), ("8BITMIME", true), ("8BIT", false)]
        {
            assert_eq!(reply.announces(keyword), announced, "{keyword}");
        }
    }

    #[test]
    fn what_is_no_reply_is_told() {
        let endless = "250-x\r\n".repeat(10_000);
        for (octets, fault) in [
            ("SSH-2.0-OpenSSH\r\n", "it does not answer as an SMTP server"),
            ("25\r\n", "it does not answer as an SMTP server"),
            ("\r\n", "it does not answer as an SMTP server"),
            ("600 x\r\n", "it does not answer as an SMTP server"),
            ("199 x\r\n", "it does not answer as an SMTP server"),
            ("250_x\r\n", "it does not answer as an SMTP server"),
            ("250-a\r\n550 b\r\n", "the code changes within its reply"),
            ("250 a\0b\r\n", "its reply holds a NUL"),
            (&"x".repeat(10_000), "a line of its reply is too long"),
            (&endless, "its reply has too many lines"),
        ] {
            assert_eq!(read(octets.as_bytes()), Err(fault), "{octets:.20}");
        }
        assert_eq!(read(b"250-first\r\n250 no end"), Ok(None));
    }

    #[test]
    fn mutated_replies_keep_the_bounds() {
        for seed in [
            &b"220-a\r\n220 b\r\n250-c\r\n250-SIZE 10\r\n250 SMTPUTF8\r\n550 5.1.1 no\r\n"[..],
            b"250\r\n\r\n250-\r\n\0",
            b"421 4.3.2 down\n",
        ] {
            for place in 0..seed.len() {
                for octet in [0, b'\n', b'\r', b'-', b' ', b'.', b'9', 255] {
                    let mut octets = seed.to_vec();
                    octets[place] = octet;
                    fuzz(&octets);
                    octets.truncate(place);
                    fuzz(&octets.repeat(40));
                }
            }
        }
    }
}
