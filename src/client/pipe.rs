//! Hands a message to a program on its standard input: as it is, or as batch SMTP.

use crate::client::deadline::Deadline;
use crate::client::program::{Program, Run, run};
use crate::client::smtp::forward::Mail;
use crate::client::text::{UnixText, WireText};
use std::io;
use std::path::Path;

/// Hands over the message with LF line ends; `parts` is it, in order.
///
/// # Errors
/// What the system says when the program cannot be started: it has not run then.
pub fn hand_over(
    program: &Path,
    args: &[String],
    parts: &[&[u8]],
    deadline: Deadline,
) -> io::Result<Run> {
    let program = Program { path: program, args, environment: &[], envelope: None };
    let total = parts.iter().map(|part| part.len()).sum();
    run(&program, deadline, |mut sink| UnixText::new(total).put_all(b"", parts, &mut sink))
}

/// Hands over envelope and message as an SMTP dialogue of one side, as `sendmail -bS` takes it: LF line
/// ends, dots doubled. `me` is our name, for HELO.
///
/// # Errors
/// As for [`hand_over`]; `InvalidInput` for an address that would be two lines.
pub fn hand_over_batch(
    program: &Path,
    me: &str,
    mail: &Mail<'_>,
    deadline: Deadline,
) -> io::Result<Run> {
    let mut head = format!("HELO {me}\nMAIL FROM:{}\n", mail.sender);
    for recipient in mail.recipients {
        head.push_str(&format!("RCPT TO:{recipient}\n"));
    }
    head.push_str("DATA\n");
    if head.lines().count() != mail.recipients.len() + 3 || head.contains(['\r', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an address holds a line end"));
    }
    let args = ["-bS".to_string()];
    let program = Program { path: program, args: &args, environment: &[], envelope: None };
    run(&program, deadline, |mut sink| {
        sink(head.as_bytes())?;
        let mut last = WireText::unix(mail.size()).put_all(mail.parts, &mut sink)?;
        last.extend_from_slice(b".\nQUIT\n");
        sink(&last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::program::Ending;
    use crate::client::program::tests::Programs;
    use std::time::Duration;

    #[test]
    fn a_batch_holds_one_message() {
        let programs = Programs::new();
        let program = programs.shell("rsmtp", "echo $* >$here/arguments; cat >$here/batch");
        let recipients = ["<b@example.com>", "<c@example.com>"].map(str::to_string);
        let mail = Mail {
            sender: "<>",
            recipients: &recipients,
            utf8: false,
            eight_bit: false,
            parts: &[b"Subject: x\r\n", b"\r\n", b".\r\nQUIT\r\na\n.\nb\r.\rno end"],
        };
        let soon = || Deadline::after(Duration::from_secs(60));
        let run = hand_over_batch(&program, "mx.example.net", &mail, soon()).unwrap();
        assert_eq!((run.ending, run.took_all), (Ending::Exited(0), true));
        assert_eq!(programs.read("arguments"), b"-bS\n");
        let expected = "HELO mx.example.net\nMAIL FROM:<>\nRCPT TO:<b@example.com>\n\
            RCPT TO:<c@example.com>\nDATA\nSubject: x\n\n..\nQUIT\na\n..\nb\n..\nno end\n.\nQUIT\n";
        assert_eq!(String::from_utf8(programs.read("batch")).unwrap(), expected);
        let mail = Mail { sender: "<a@b>\nDATA", ..mail };
        let refused = hand_over_batch(&program, "mx.example.net", &mail, soon());
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
