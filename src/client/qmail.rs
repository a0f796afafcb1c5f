//! Hands a mail to qmail-queue, or to a program that takes its place.
//!
//! It reads the message on descriptor 0 and then the envelope on descriptor 1: `F`, the sender, NUL,
//! for each recipient `T`, the address, NUL, and one NUL more at the end. Addresses stand there without
//! quotes, and the text has LF line ends. What came of it is told by the exit code.

use crate::client::deadline::Deadline;
use crate::client::program::{Program, Run, run};
use crate::client::text::UnixText;
use std::io;
use std::path::Path;

/// One mail and whom it is for.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// The sender without brackets and quotes; empty for a bounce.
    pub sender: &'a str,
    /// All recipients, without brackets and quotes.
    pub recipients: &'a [String],
    /// The message in order, with CR LF line ends.
    pub parts: &'a [&'a [u8]],
    /// The client's address as the program's environment has it.
    pub client: &'a str,
}

/// Runs the program and waits for its end.
///
/// # Errors
/// What the system says when the program cannot be started, or `InvalidInput` for an address that
/// the envelope cannot hold. The program has not run then.
pub fn queue(program: &Path, mail: &Mail<'_>, deadline: Deadline) -> io::Result<Run> {
    let envelope = envelope(mail.sender, mail.recipients)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an address holds a NUL"))?;
    let program = Program {
        path: program,
        args: &[],
        environment: &[("TCPREMOTEIP", mail.client.to_string())],
        envelope: Some(&envelope),
    };
    let total = mail.parts.iter().map(|part| part.len()).sum();
    run(&program, deadline, |mut sink| UnixText::new(total).put_all(b"", mail.parts, &mut sink))
}

/// The envelope; none if an address could not be told from the next one.
fn envelope(sender: &str, recipients: &[String]) -> Option<Vec<u8>> {
    let mut envelope = Vec::new();
    let first = std::iter::once((b'F', sender));
    for (mark, address) in first.chain(recipients.iter().map(|address| (b'T', address.as_str()))) {
        if address.contains('\0') {
            return None;
        }
        envelope.push(mark);
        envelope.extend_from_slice(address.as_bytes());
        envelope.push(0);
    }
    envelope.push(0);
    Some(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::program::Ending;
    use crate::client::program::tests::Programs;
    use std::time::Duration;

    #[test]
    fn envelopes() {
        let recipients = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (sender, list, expected) in [
            ("a@example.org", &["b@example.com"][..], Some("Fa@example.org\0Tb@example.com\0\0")),
            (
                "",
                &["b@example.com", "c d@example.com"],
                Some("F\0Tb@example.com\0Tc d@example.com\0\0"),
            ),
            (
                "gr\u{fc}n@example.org",
                &["postmaster"],
                Some("Fgr\u{fc}n@example.org\0Tpostmaster\0\0"),
            ),
            ("a\0Tx@example.org", &["b@example.com"], None),
            ("a@example.org", &["b\0@example.com"], None),
        ] {
            let seen = envelope(sender, &recipients(list));
            assert_eq!(seen.as_deref(), expected.map(str::as_bytes), "{sender:?} {list:?}");
        }
    }

    #[test]
    fn the_program_gets_unix_text_and_then_the_envelope() {
        let programs = Programs::new();
        let script = "cat >$here/text; cat <&1 >$here/envelope; echo $TCPREMOTEIP >$here/client";
        let program = programs.shell("qmail-queue", script);
        let mail = Mail {
            sender: "a@example.org",
            recipients: &["b@example.com".to_string()],
            parts: &[b"Received: x\r\nSubject: y\r\n", b"\r\n", b"one\r\n.\r\ntwo\r\n"],
            client: "192.0.2.1",
        };
        let run = queue(&program, &mail, Deadline::after(Duration::from_secs(60))).unwrap();
        assert_eq!((run.ending, run.took_all), (Ending::Exited(0), true));
        assert_eq!(programs.read("text"), b"Received: x\nSubject: y\n\none\n.\ntwo\n");
        assert_eq!(programs.read("envelope"), b"Fa@example.org\0Tb@example.com\0\0");
        assert_eq!(programs.read("client"), b"192.0.2.1\n");
        let mail = Mail { sender: "a\0b", ..mail };
        let refused = queue(&program, &mail, Deadline::after(Duration::from_secs(60)));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
