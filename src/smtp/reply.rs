//! Every reply that the daemon gives of its own accord, and how replies are written.
//!
//! The texts are those of qpsmtpd 0.96 where it has one, since admins and log readers know them; its
//! `(#x.y.z)` at the end of a text becomes the enhanced status code in front of it (RFC 2034). A
//! reply is one write: multi-line replies leave as a whole.

use crate::limits::{REPLY_LINE_MAX, REPLY_LINES_MAX};
use crate::smtp::verdict::Refusal;
use std::borrow::Cow;

/// A reply code, an enhanced status code (RFC 3463) and the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// RFC 5321 reply code.
    pub code: u16,
    /// Subject and detail of the enhanced status code; the class is the code's first digit.
    /// None where RFC 2034 has none: the greeting, HELO, EHLO, 3xx.
    pub status: Option<(u16, u16)>,
    /// Text; `\n` separates lines.
    pub text: Cow<'static, str>,
}

impl Reply {
    const fn fixed(code: u16, subject: u16, detail: u16, text: &'static str) -> Reply {
        Reply { code, status: Some((subject, detail)), text: Cow::Borrowed(text) }
    }

    /// A reply with a text made for the occasion.
    pub fn new(code: u16, status: Option<(u16, u16)>, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { code, status, text: text.into() }
    }

    /// A plugin's refusal: `CODE X.Y.Z TEXT [ID]`, the ID on the last line so that the person who
    /// gets the bounce can name it and the admin finds the story in the log.
    pub fn refusal(code: u16, refusal: &Refusal, id: &str) -> Reply {
        let text = if id.is_empty() {
            refusal.text.to_string()
        } else {
            format!("{} [{id}]", refusal.text)
        };
        Reply::new(code, Some(refusal.status), text)
    }

    /// True for 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Writes the reply with CR LF at each line's end. Characters that are not printable ASCII
    /// become `?`; lines are cut at 512 octets and after 20 lines, so that foreign text in a reply
    /// can neither forge a second one nor grow without a bound.
    pub fn write(&self, out: &mut Vec<u8>) {
        let lines: Vec<&str> = self.text.split('\n').take(REPLY_LINES_MAX).collect();
        let last = lines.len().saturating_sub(1);
        for (number, line) in lines.iter().enumerate() {
            let start = out.len();
            let separator = if number == last { ' ' } else { '-' };
            let mut prefix = format!("{}{separator}", self.code);
            if let Some((subject, detail)) = self.status {
                prefix.push_str(&format!("{}.{subject}.{detail} ", self.code / 100));
            }
            out.extend_from_slice(prefix.as_bytes());
            let room = REPLY_LINE_MAX - 2 - (out.len() - start);
            out.extend(line.trim_end_matches('\r').chars().take(room).map(printable));
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn printable(character: char) -> u8 {
    if matches!(character, ' '..='~') { character as u8 } else { b'?' }
}

/// A line of commands longer than the bound.
pub static LINE_TOO_LONG: Reply = Reply::fixed(500, 5, 2, "Line too long");
/// A command line that never ends.
pub static LINE_FLOOD: Reply = Reply::fixed(421, 5, 2, "Line too long, closing connection");
/// A bare LF in the dialogue (RFC 5321 2.3.8); the connection is closed.
pub static BARE_LF: Reply =
    Reply::fixed(521, 5, 2, "Bare LF received: SMTP lines end in CR LF, see RFC 5321 2.3.8");
/// A bare CR, NUL or other control character in a command.
pub static CONTROL_CHARACTER: Reply =
    Reply::fixed(500, 5, 2, "Syntax error: control character in command");
/// A verb that nobody knows.
pub static UNRECOGNIZED: Reply = Reply::fixed(500, 5, 1, "Unrecognized command");
/// A web browser or a cross-protocol attack; the connection is closed.
pub static NOT_HTTP: Reply = Reply::fixed(521, 5, 1, "This is an SMTP server, not a web server");
/// An argument where the command takes none.
pub static NO_ARGUMENT: Reply = Reply::fixed(501, 5, 4, "Syntax error: no argument allowed");
/// HELO without a name.
pub static HELO_ARGUMENT: Reply =
    Reply::fixed(501, 5, 4, "helo requires domain/address - see RFC-2821 4.1.1.1");
/// EHLO without a name.
pub static EHLO_ARGUMENT: Reply =
    Reply::fixed(501, 5, 4, "ehlo requires domain/address - see RFC-2821 4.1.1.1");
/// HELO or EHLO with control characters or more than 255 octets.
pub static HELO_SYNTAX: Reply = Reply::fixed(501, 5, 2, "Syntax error in host name");
/// MAIL without FROM: or RCPT without TO:.
pub static COMMAND_SYNTAX: Reply = Reply::fixed(501, 5, 4, "Syntax error in command");
/// MAIL before HELO or EHLO.
pub static HELLO_FIRST: Reply = Reply::fixed(503, 5, 1, "please say hello first ...");
/// MAIL on a listener for users who log in first (RFC 6409 section 4.3).
pub static AUTH_REQUIRED: Reply = Reply::fixed(530, 7, 0, "Authentication required");
/// STARTTLS.
pub static TLS_GO_AHEAD: Reply = Reply::fixed(220, 0, 0, "Go ahead with TLS");
/// STARTTLS with an argument.
pub static TLS_ARGUMENT: Reply = Reply::fixed(501, 5, 4, "Syntax error (no parameters allowed)");
/// STARTTLS under TLS.
pub static TLS_ACTIVE: Reply = Reply::fixed(503, 5, 1, "TLS is in use already");
/// AUTH in clear where it is offered under TLS only.
pub static AUTH_NEEDS_TLS: Reply = Reply::fixed(538, 7, 11, "SSL/TLS required before AUTH");
/// AUTH after HELO.
pub static AUTH_AFTER_HELO: Reply = Reply::fixed(503, 5, 1, "AUTH not defined for HELO");
/// AUTH by who has logged in.
pub static AUTH_TWICE: Reply = Reply::fixed(503, 5, 1, "but you already said AUTH ...");
/// AUTH inside a transaction.
pub static AUTH_IN_TRANSACTION: Reply =
    Reply::fixed(503, 5, 1, "AUTH is not allowed inside a transaction");
/// XCLIENT inside a transaction.
pub static XCLIENT_IN_TRANSACTION: Reply =
    Reply::fixed(503, 5, 1, "XCLIENT is not allowed inside a transaction");
/// AUTH that the client broke off.
pub static AUTH_CANCELED: Reply = Reply::fixed(501, 0, 0, "Authentication canceled");
/// A response longer than RFC 4954 allows.
pub static AUTH_TOO_LONG: Reply = Reply::fixed(500, 5, 6, "Authentication response too long");
/// A response that is no base64.
pub static AUTH_BASE64: Reply =
    Reply::fixed(501, 5, 2, "Invalid base64 in authentication response");
/// An initial response for a mechanism in which the server speaks first.
pub static AUTH_INITIAL_RESPONSE: Reply =
    Reply::fixed(501, 7, 0, "This mechanism takes no initial response");
/// Nobody can log in with what came.
pub static AUTH_INVALID: Reply = Reply::fixed(535, 7, 8, "Authentication invalid");
/// Too many failed logins.
pub static AUTH_TOO_MANY: Reply =
    Reply::fixed(421, 7, 0, "Too many failed logins, closing connection");
/// MAIL inside a transaction.
pub static NESTED_MAIL: Reply = Reply::fixed(503, 5, 1, "nested MAIL command");
/// The reverse-path cannot be parsed.
pub static MAIL_SYNTAX: Reply = Reply::fixed(501, 1, 7, "could not parse your mail from command");
/// The forward-path cannot be parsed.
pub static RCPT_SYNTAX: Reply = Reply::fixed(501, 1, 3, "could not parse recipient");
/// A path longer than RFC 5321 4.5.3.1 allows.
pub static PATH_TOO_LONG: Reply = Reply::fixed(501, 1, 3, "address too long");
/// A non-ASCII address without the SMTPUTF8 parameter (RFC 6531 3.5).
pub static NEEDS_SMTPUTF8: Reply =
    Reply::fixed(553, 6, 7, "non-ASCII address: this needs the SMTPUTF8 parameter of MAIL");
/// ESMTP parameters that cannot be parsed, or one given twice.
pub static PARAMETER_SYNTAX: Reply = Reply::fixed(501, 5, 4, "Syntax error in parameters");
/// An ESMTP parameter that was not offered (RFC 5321 4.1.1.11).
pub static PARAMETER_UNKNOWN: Reply =
    Reply::fixed(555, 5, 4, "MAIL FROM/RCPT TO parameters not recognized or not implemented");
/// The declared or real size is above `databytes`.
pub static TOO_BIG: Reply = Reply::fixed(552, 3, 4, "Message too big!");
/// RCPT before MAIL.
pub static MAIL_BEFORE_RCPT: Reply = Reply::fixed(503, 5, 1, "Use MAIL before RCPT");
/// More recipients than a message may have (RFC 5321 4.5.3.1.10).
pub static TOO_MANY_RECIPIENTS: Reply = Reply::fixed(452, 5, 3, "Too many recipients");
/// RCPT between two BDAT chunks.
pub static RCPT_AFTER_BDAT: Reply = Reply::fixed(503, 5, 1, "BDAT has begun, no more recipients");
/// DATA between two BDAT chunks (RFC 3030 section 3).
pub static DATA_AFTER_BDAT: Reply = Reply::fixed(503, 5, 1, "BDAT has begun, DATA is not allowed");
/// DATA or BDAT before MAIL.
pub static MAIL_FIRST: Reply = Reply::fixed(503, 5, 1, "MAIL first");
/// DATA or BDAT without an accepted recipient.
pub static RCPT_FIRST: Reply = Reply::fixed(503, 5, 1, "RCPT first");
/// DATA accepted.
pub static GO_AHEAD: Reply = Reply { code: 354, status: None, text: Cow::Borrowed("go ahead") };
/// BDAT whose size cannot be read: its octets cannot be told from commands, so we must close.
pub static BDAT_SYNTAX: Reply =
    Reply::fixed(421, 5, 4, "Syntax error: BDAT needs a chunk size, closing connection");
/// More chunks than the bound.
pub static TOO_MANY_CHUNKS: Reply = Reply::fixed(552, 3, 4, "Too many BDAT chunks");
/// A line longer than the bound in a message.
pub static TEXT_LINE_TOO_LONG: Reply =
    Reply::fixed(550, 6, 0, "Message refused: a line is longer than 1 MiB");
/// A bare CR, bare LF or NUL in a message (RFC 5321 2.3.8).
pub static BARE_NEWLINE: Reply = Reply::fixed(
    550,
    6,
    11,
    "Message refused: it holds a bare CR, a bare LF or a NUL, see RFC 5321 2.3.8",
);
/// The spool cannot take the message.
pub static NO_SPACE: Reply =
    Reply::fixed(452, 3, 1, "Insufficient system storage, please try again later");
/// A fault of ours that is not one of space.
pub static LOCAL_ERROR: Reply = Reply::fixed(451, 3, 0, "Internal error, please try again later");
/// The header block is larger than the bound.
pub static HEADERS_TOO_LARGE: Reply = Reply::fixed(554, 6, 0, "Header block too large");
/// Too many `Received:` fields.
pub static TOO_MANY_HOPS: Reply = Reply::fixed(554, 4, 6, "Too many hops");
/// RSET.
pub static RESET_OK: Reply = Reply::fixed(250, 0, 0, "OK");
/// NOOP.
pub static NOOP_OK: Reply = Reply::fixed(250, 0, 0, "OK");
/// VRFY.
pub static VRFY_OK: Reply =
    Reply::fixed(252, 5, 2, "Just try sending a mail and we'll see how it turns out ...");
/// EXPN: never offered.
pub static EXPN_REFUSED: Reply = Reply::fixed(502, 5, 1, "EXPN is not available here");
/// HELP.
pub static HELP: Reply = Reply::fixed(
    214,
    0,
    0,
    "This is mailreeve\nCommands: HELO EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT HELP",
);
/// Anything but QUIT after a 554 greeting (RFC 5321 3.1).
pub static NO_SERVICE: Reply = Reply::fixed(503, 5, 1, "No SMTP service here, only QUIT is left");
/// Too many refused commands.
pub static TOO_MANY_ERRORS: Reply = Reply::fixed(421, 7, 0, "Too many errors, closing connection");
/// Too many commands without a message.
pub static TOO_MUCH_JUNK: Reply =
    Reply::fixed(421, 7, 0, "Too many commands without a message, closing connection");
/// Nothing came for too long.
pub static TIMED_OUT: Reply = Reply::fixed(421, 4, 2, "Connection Timed Out");
/// The message came too slowly.
pub static TOO_SLOW: Reply = Reply::fixed(421, 4, 2, "Message data too slow, closing connection");
/// The daemon is stopping.
pub static SHUTTING_DOWN: Reply = Reply::fixed(421, 3, 2, "Service is shutting down");
/// A queue or a table of ours is full.
pub static OVERLOADED: Reply = Reply::fixed(421, 3, 2, "Server too busy, please try again later");
/// A worker died with the session's work in hand.
pub static INTERNAL_DISCONNECT: Reply =
    Reply::fixed(421, 3, 0, "Internal error, please try again later");
/// The total number of connections is reached.
pub static TOO_MANY_CONNECTIONS: Reply =
    Reply::fixed(421, 7, 0, "Too many connections, try again later");
/// No plugin spoke at RCPT.
pub static NOBODY_DECIDED: Reply =
    Reply::fixed(450, 7, 1, "No plugin decided if relaying is allowed");
/// No queue plugin took the message.
pub static NOT_QUEUED: Reply =
    Reply::fixed(451, 3, 0, "Queuing declined or disabled; try again later");

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).expect("replies are ASCII")
    }

    #[test]
    fn class_follows_the_code() {
        assert_eq!(text(&MAIL_FIRST), "503 5.5.1 MAIL first\r\n");
        assert_eq!(text(&GO_AHEAD), "354 go ahead\r\n");
        assert_eq!(text(&TIMED_OUT), "421 4.4.2 Connection Timed Out\r\n");
    }

    #[test]
    fn several_lines_are_one_reply() {
        let refusal = Refusal::new((7, 1), "first\nsecond");
        assert_eq!(
            text(&Reply::refusal(550, &refusal, "17.1")),
            "550-5.7.1 first\r\n550 5.7.1 second [17.1]\r\n"
        );
    }

    #[test]
    fn foreign_text_cannot_forge_a_reply() {
        let refusal = Refusal::new((7, 1), "a\r\u{1b}[2J\u{e9}\0b");
        assert_eq!(text(&Reply::refusal(550, &refusal, "")), "550 5.7.1 a??[2J??b\r\n");
        let long = Reply::new(550, Some((7, 1)), "x".repeat(5_000));
        assert_eq!(text(&long).len(), REPLY_LINE_MAX);
        let many = Reply::new(550, Some((7, 1)), "x\n".repeat(500));
        assert_eq!(text(&many).lines().count(), REPLY_LINES_MAX);
    }
}
