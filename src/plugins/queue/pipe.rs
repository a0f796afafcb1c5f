//! Hands messages to a program of your own, on its standard input.
//!
//! The program is started directly, without a shell, so that no address is ever taken for a command;
//! of our environment it inherits PATH, HOME, USER, LOGNAME, TZ and the language. It gets the message
//! (header and body, LF line ends) as it is, and the envelope in its arguments. What it writes is
//! logged, the beginning of it. Its exit code tells what came of the message, as sysexits.h has them.
//!
//! Arguments: in this order; `loglevel`, `speculate` and `inline` are ours wherever they stand
//!   timeout SECONDS   before the program: until it is killed; 120 by default, at most 180
//!   PROGRAM           absolute path
//!   WORD ...          its arguments. In a word `%s` is the sender, empty for a bounce; a word `%r` is
//!                     all recipients, a word each; `%%` is a percent sign. Addresses are written
//!                     without quotes and brackets
//!
//! Config files: none.
//!
//! Replies: `250 Queued! <message-id>` for exit code 0; `451 Unable to queue message (CODE)` for 75 and
//! for what is our system's fault and not the message's (64, 71, 72, 74, 78, 126, 127); `554` with
//! the same text for all others; `554 5.1.3` for an address that the program would take for an option.
//!
//! Karma: none.
//!
//! When it cannot tell: a program that is killed, by us or by others, or that says 0 and has left part
//! of the message unread, may have kept it or not. The client is told 451, so that the mail is not
//! lost, and the log calls it a possible duplicate.

use crate::client::deadline::Deadline;
use crate::client::pipe::hand_over;
use crate::client::words;
use crate::plugin::log::Level;
use crate::plugin::program::{Judged, judge, not_started, refusal, told};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::Transaction;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Octets of all arguments; the system takes some more.
const ARGUMENTS_MAX: usize = 100_000;

struct Pipe {
    program: PathBuf,
    words: Vec<Word>,
    timeout: Duration,
}

/// An argument of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// Text, with the sender between its pieces.
    Text(Vec<String>),
    /// All recipients.
    Recipients,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let mut words = args.rest();
    let timeout = match timeout(&mut words) {
        Some(word) => word.parse().ok().filter(|seconds| (1..=180).contains(seconds)),
        None => Some(120),
    };
    let timeout = timeout.unwrap_or_else(|| {
        args.complain("timeout: give a number from 1 to 180");
        120
    });
    let program = if words.is_empty() { String::new() } else { words.remove(0) };
    if !program.starts_with('/') {
        args.complain(
            "say which program, by its absolute path: queue/pipe /usr/local/bin/keep %s %r",
        );
    }
    let read = words.iter().map(|word| Word::read(word));
    let words = read.collect::<Result<_, _>>().unwrap_or_else(|what| {
        args.complain(what);
        Vec::new()
    });
    Arc::new(Pipe { program: program.into(), words, timeout: Duration::from_secs(timeout) })
}

/// Takes `timeout N` or `timeout=N` from the front.
fn timeout(words: &mut Vec<String>) -> Option<String> {
    let first = words.first()?;
    if let Some(value) = first.strip_prefix("timeout=").map(str::to_string) {
        words.remove(0);
        return Some(value);
    }
    if first != "timeout" {
        return None;
    }
    words.remove(0);
    Some(if words.is_empty() { String::new() } else { words.remove(0) })
}

impl Word {
    fn read(text: &str) -> Result<Word, String> {
        if text == "%r" {
            return Ok(Word::Recipients);
        }
        let mut pieces = vec![String::new()];
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            let plain = match (char, if char == '%' { chars.next() } else { None }) {
                ('%', Some('s')) => {
                    pieces.push(String::new());
                    continue;
                }
                ('%', Some('%')) => '%',
                ('%', Some('r')) => return Err(format!("{text}: %r has to be a word of its own")),
                ('%', _) => return Err(format!("{text}: only %s, %r and %% stand for something")),
                (char, _) => char,
            };
            pieces.last_mut().into_iter().for_each(|piece| piece.push(plain));
        }
        Ok(Word::Text(pieces))
    }
}

impl Plugin for Pipe {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Queue])
    }

    fn waits_for_others(&self) -> bool {
        true
    }

    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        cx.lane(Lane::Writers)?;
        let (Some(envelope), Some(message)) = (cx.envelope(), cx.message()) else {
            return Ok(Verdict::Declined);
        };
        let arguments = match self.arguments(envelope) {
            Ok(arguments) => arguments,
            Err(what) => {
                cx.log(Level::Info, format!("fail, {what}"));
                return Ok(Verdict::deny((1, 3), refusal(what)));
            }
        };
        let shown = self.program.to_string_lossy();
        let parts = message.current.parts(message.received);
        let deadline = Deadline::after(self.timeout);
        Ok(match hand_over(&self.program, &arguments, &parts, deadline) {
            Err(error) => not_started(cx, &shown, &words(&error)),
            Ok(run) => {
                let id = message.message_id();
                told(cx, &shown, &run, &id, judge(&run, of_code), || format!("Queued! {id}"))
            }
        })
    }
}

impl Pipe {
    /// The program's arguments; the error says what cannot be one.
    fn arguments(&self, envelope: &Transaction) -> Result<Vec<String>, &'static str> {
        let sender = envelope.mail.reverse_path.address().map(Address::plain).unwrap_or_default();
        let mut arguments = Vec::new();
        let safe = |text: String| match text.starts_with('-') {
            true => Err("an address looks like an option"),
            false => Ok(text),
        };
        for word in &self.words {
            match word {
                Word::Recipients => {
                    for recipient in &envelope.recipients {
                        arguments.push(safe(recipient.plain())?);
                    }
                }
                Word::Text(pieces) => {
                    let by_sender = pieces.first().is_some_and(String::is_empty);
                    let text = pieces.join(&sender);
                    arguments.push(if by_sender { safe(text)? } else { text });
                }
            }
        }
        let octets: usize = arguments.iter().map(|argument| argument.len() + 1).sum();
        if octets > ARGUMENTS_MAX {
            return Err("too many recipients for one program");
        }
        Ok(arguments)
    }
}

/// What an exit code means for the message (sysexits.h).
fn of_code(code: i32) -> Judged {
    let (status, meaning) = match code {
        0 => return Judged::queued(),
        64 => ((3, 5), "used wrongly"),
        65 => ((6, 0), "the message cannot be used"),
        66 => ((3, 0), "no input"),
        67 => ((1, 1), "no such user"),
        68 => ((1, 2), "no such host"),
        69 => ((3, 0), "not available"),
        70 => ((3, 0), "an internal fault"),
        71 => ((3, 0), "a fault of the system"),
        72 => ((3, 0), "a file of the system is missing"),
        73 => ((2, 0), "cannot write"),
        74 => ((3, 0), "input or output failed"),
        75 => ((3, 0), "not now"),
        76 => ((5, 0), "a fault of the protocol"),
        77 => ((7, 1), "not allowed"),
        78 => ((3, 5), "configured wrongly"),
        126 | 127 => ((3, 5), "it cannot run what it wants to run"),
        _ => ((3, 0), "refused"),
    };
    let text = refusal(&code.to_string());
    let verdict = match code {
        64 | 71 | 72 | 74 | 75 | 78 | 126 | 127 => Verdict::deny_soft(status, text),
        _ => Verdict::deny(status, text),
    };
    Judged::refused(&format!("exit code {code} ({meaning})"), verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::program::tests::Programs;
    use crate::config::files::Files;
    use crate::plugins::tests::trial::Trial;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("queue/pipe /bin/keep", 0),
            ("queue/pipe /bin/keep -f%s -- %r 100%%", 0),
            ("queue/pipe timeout 30 /bin/keep timeout x", 0),
            ("queue/pipe timeout=30 /bin/keep", 0),
            ("queue/pipe", 1),
            ("queue/pipe keep", 1),
            ("queue/pipe timeout 181 /bin/keep", 1),
            ("queue/pipe timeout", 2),
            ("queue/pipe /bin/keep x%r", 1),
            ("queue/pipe /bin/keep %x", 1),
            ("queue/pipe /bin/keep 100%", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    /// A session whose mail goes to this program.
    fn session(program: &str) -> Trial {
        let plugins = format!("rcpt_ok\nqueue/pipe timeout 60 {program}\n");
        let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
        let mut trial = Trial::connect(&files, "192.0.2.1");
        trial.say("EHLO c.example");
        trial
    }

    fn send(trial: &mut Trial, sender: &str, recipients: &[&str]) -> String {
        assert!(trial.say(&format!("MAIL FROM:<{sender}>")).starts_with("250"));
        for recipient in recipients {
            let reply = trial.say(&format!("RCPT TO:<{recipient}>"));
            assert!(reply.starts_with("250"), "{reply}");
        }
        trial.say("DATA");
        trial.say("Message-ID: <1@example.org>\r\n\r\n..text\r\n.")
    }

    #[test]
    fn the_program_gets_the_message_and_its_arguments() {
        let programs = Programs::new();
        let script = "for it; do echo \"<$it>\"; done >$here/arguments; cat >$here/text";
        let program = programs.shell("keep", script);
        let mut trial = session(&format!("{} -f%s %s a%%b %r end", program.display()));
        for (sender, recipients, expected) in [
            (
                "a@example.org",
                &["b@example.com", "\"c $(x)\"@example.com"][..],
                "<-fa@example.org>\n<a@example.org>\n<a%b>\n<b@example.com>\n<c $(x)@example.com>\n<end>\n",
            ),
            ("", &["b@example.com"], "<-f>\n<>\n<a%b>\n<b@example.com>\n<end>\n"),
        ] {
            let reply = send(&mut trial, sender, recipients);
            assert_eq!(reply, "250 2.0.0 Queued! <1@example.org>");
            assert_eq!(String::from_utf8(programs.read("arguments")).unwrap(), expected);
            let text = String::from_utf8(programs.read("text")).unwrap();
            assert!(text.ends_with("\nMessage-ID: <1@example.org>\n\n.text\n"), "{text}");
        }
        for (sender, recipient) in [("-x@example.org", "b@example.com"), ("", "-x@example.com")] {
            let reply = send(&mut trial, sender, &[recipient]);
            let expected =
                "554 5.1.3 Unable to queue message (an address looks like an option) [7.";
            assert!(reply.starts_with(expected), "{reply}");
        }
    }

    #[test]
    fn exit_codes_and_their_replies() {
        let programs = Programs::new();
        for (script, expected, line) in [
            ("exit 75", "451 4.3.0 Unable to queue message (75) [7.1]", "exit code 75 (not now), "),
            ("exit 71", "451 4.3.0 Unable to queue message (71) [7.1]", "exit code 71 (a fault of"),
            (
                "exit 127",
                "451 4.3.5 Unable to queue message (127) [7.1]",
                "exit code 127 (it cannot",
            ),
            (
                "exit 67",
                "554 5.1.1 Unable to queue message (67) [7.1]",
                "exit code 67 (no such user), ",
            ),
            (
                "exit 77",
                "554 5.7.1 Unable to queue message (77) [7.1]",
                "exit code 77 (not allowed), ",
            ),
            ("exit 1", "554 5.3.0 Unable to queue message (1) [7.1]", "exit code 1 (refused), "),
            (
                "exit 255",
                "554 5.3.0 Unable to queue message (255) [7.1]",
                "exit code 255 (refused), ",
            ),
            (
                "kill -9 $$",
                "451 4.3.0 Unable to queue message (signal 9) [7.1]",
                "killed by signal 9: it may be queued all the same, a possible duplicate, ",
            ),
        ] {
            let program =
                programs.shell("keep", &format!("cat >/dev/null; echo why not; {script}"));
            let mut trial = session(&program.to_string_lossy());
            assert_eq!(send(&mut trial, "", &["b@example.com"]), expected);
            let log = trial.take_log();
            let line = log.iter().find(|it| it.contains(line)).unwrap_or_else(|| panic!("{log:?}"));
            assert!(line.ends_with(" <1@example.org>, it said: why not"), "{line}");
        }
        let reply = send(&mut session("/nowhere/keep"), "", &["b@example.com"]);
        assert_eq!(reply, "451 4.3.0 Unable to queue message [7.1]");
        let reply = send(&mut session("/bin/true"), "", &["b@example.com"]);
        assert_eq!(reply, "451 4.3.0 Unable to queue message (0, but not all was read) [7.1]");
    }
}
