//! One command line, taken apart (RFC 5321 4.1.1, RFC 3030).
//!
//! The verb and the shape of its argument are judged here; paths and parameters belong to `address`,
//! order and limits to `session`. A line arrives without its CR LF.

use crate::smtp::reply::{self, Reply};

/// A parsed command. Arguments are what stands behind the verb, outer blanks removed.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `EHLO name`
    Ehlo(&'a [u8]),
    /// `HELO name`
    Helo(&'a [u8]),
    /// `MAIL FROM:` and what follows the colon
    Mail(&'a [u8]),
    /// `RCPT TO:` and what follows the colon
    Rcpt(&'a [u8]),
    /// `DATA`
    Data,
    /// `BDAT size [LAST]`
    Bdat {
        /// Octets of the chunk that follows.
        size: u64,
        /// The chunk ends the message.
        last: bool,
    },
    /// `RSET`
    Rset,
    /// `NOOP [anything]`
    Noop,
    /// `VRFY string`
    Vrfy(&'a [u8]),
    /// `EXPN string`, never offered
    Expn,
    /// `HELP [string]`
    Help(&'a [u8]),
    /// `QUIT`
    Quit,
    /// `STARTTLS`
    StartTls,
    /// `AUTH mechanism [initial response]`
    Auth(&'a [u8]),
    /// A verb of HTTP: somebody's web browser is being used against us.
    Http,
    /// BDAT without a readable size; the connection cannot go on.
    BadBdat,
    /// `XCLIENT attribute=value …`
    Xclient(&'a [u8]),
    /// A verb nobody knows.
    Unknown,
    /// A known verb, wrongly used; the reply says how.
    Wrong(&'static Reply),
}

/// A chunk larger than this is not a message but an attack on arithmetic.
const CHUNK_MAX: u64 = 1 << 40;

/// Parses one line. Never fails: what is wrong is a variant of its own.
pub fn parse(line: &[u8]) -> Command<'_> {
    let line = line.trim_ascii_end();
    let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
    let (verb, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    let argument = rest.trim_ascii_start();
    let mut upper = [0_u8; 8];
    let Some(upper) = upper.get_mut(..verb.len()) else {
        return Command::Unknown;
    };
    upper.copy_from_slice(verb);
    upper.make_ascii_uppercase();
    match &*upper {
        b"EHLO" => Command::Ehlo(argument),
        b"HELO" => Command::Helo(argument),
        b"MAIL" => after(argument, b"FROM:", Command::Mail),
        b"RCPT" => after(argument, b"TO:", Command::Rcpt),
        b"DATA" => bare(argument, Command::Data),
        b"BDAT" => chunk(argument),
        b"RSET" => bare(argument, Command::Rset),
        b"NOOP" => Command::Noop,
        b"VRFY" => Command::Vrfy(argument),
        b"EXPN" => Command::Expn,
        b"HELP" => Command::Help(argument),
        b"QUIT" => bare(argument, Command::Quit),
        b"STARTTLS" if argument.is_empty() => Command::StartTls,
        b"STARTTLS" => Command::Wrong(&reply::TLS_ARGUMENT),
        b"AUTH" => Command::Auth(argument),
        b"XCLIENT" => Command::Xclient(argument),
        b"GET" | b"POST" | b"PUT" | b"HEAD" | b"OPTIONS" | b"CONNECT" | b"DELETE" | b"PATCH"
        | b"TRACE" => Command::Http,
        _ => Command::Unknown,
    }
}

fn bare<'a>(argument: &[u8], command: Command<'a>) -> Command<'a> {
    if argument.is_empty() { command } else { Command::Wrong(&reply::NO_ARGUMENT) }
}

fn after<'a>(
    argument: &'a [u8],
    keyword: &[u8],
    command: fn(&'a [u8]) -> Command<'a>,
) -> Command<'a> {
    match argument.split_at_checked(keyword.len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case(keyword) => command(rest),
        _ => Command::Wrong(&reply::COMMAND_SYNTAX),
    }
}

fn chunk(argument: &[u8]) -> Command<'_> {
    let mut words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let size = words.next().and_then(decimal);
    let last = match words.next() {
        None => Some(false),
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => Some(true),
        Some(_) => None,
    };
    match (size, last, words.next()) {
        (Some(size), Some(last), None) if size <= CHUNK_MAX => Command::Bdat { size, last },
        _ => Command::BadBdat,
    }
}

/// A command as a client sends it.
pub fn line(text: &str) -> Vec<u8> {
    let mut line = text.as_bytes().to_vec();
    line.extend_from_slice(b"\r\n");
    line
}

/// Reads a decimal number of at most 20 digits (RFC 1870: size-value).
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Any bytes parse to something, and no argument reaches outside its line.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    match parse(data) {
        Command::Ehlo(argument)
        | Command::Helo(argument)
        | Command::Mail(argument)
        | Command::Rcpt(argument)
        | Command::Vrfy(argument)
        | Command::Help(argument) => assert!(argument.len() <= data.len()),
        Command::Bdat { size, .. } => assert!(size <= CHUNK_MAX),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_commands() {
        for (line, command) in [
            (&b"EHLO a.example"[..], Command::Ehlo(b"a.example")),
            (b"ehlo", Command::Ehlo(b"")),
            (b"hElO  two words ", Command::Helo(b"two words")),
            (b"MAIL FROM:<a@b>", Command::Mail(b"<a@b>")),
            (b"mail from: <a@b> SIZE=1", Command::Mail(b" <a@b> SIZE=1")),
            (b"MAIL FROM <a@b>", Command::Wrong(&reply::COMMAND_SYNTAX)),
            (b"RCPT TO:<a@b>", Command::Rcpt(b"<a@b>")),
            (b"RCPT", Command::Wrong(&reply::COMMAND_SYNTAX)),
            (b"DATA ", Command::Data),
            (b"DATA x", Command::Wrong(&reply::NO_ARGUMENT)),
            (b"RSET x", Command::Wrong(&reply::NO_ARGUMENT)),
            (b"QUIT x", Command::Wrong(&reply::NO_ARGUMENT)),
            (b"NOOP anything at all", Command::Noop),
            (b"VRFY <a@b>", Command::Vrfy(b"<a@b>")),
            (b"EXPN list", Command::Expn),
            (b"HELP", Command::Help(b"")),
            (b"BDAT 10", Command::Bdat { size: 10, last: false }),
            (b"bdat 0 last", Command::Bdat { size: 0, last: true }),
            (b"BDAT", Command::BadBdat),
            (b"BDAT -1", Command::BadBdat),
            (b"BDAT 1 LAST LAST", Command::BadBdat),
            (b"BDAT 99999999999999999999", Command::BadBdat),
            (b"BDAT 123456789012345678901", Command::BadBdat),
            (b"GET / HTTP/1.1", Command::Http),
            (b"STARTTLS", Command::StartTls),
            (b"starttls now", Command::Wrong(&reply::TLS_ARGUMENT)),
            (b"AUTH PLAIN AGEAYg==", Command::Auth(b"PLAIN AGEAYg==")),
            (b"auth", Command::Auth(b"")),
            (b"AUTHX", Command::Unknown),
            (b"", Command::Unknown),
            (b" NOOP", Command::Unknown),
            (b"VERYLONGVERB", Command::Unknown),
        ] {
            assert_eq!(parse(line), command, "{:?}", String::from_utf8_lossy(line));
        }
    }
}
