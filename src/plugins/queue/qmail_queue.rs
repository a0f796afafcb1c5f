//! Hands messages to qmail-queue, or to a program that takes its place.
//!
//! The program gets the message (header and body, LF line ends) on descriptor 0, then the envelope on
//! descriptor 1, and tells by its exit code what came of it. It is started directly, without a shell;
//! of our environment it inherits PATH, HOME, USER, LOGNAME, TZ and the language, and it is told the
//! client's address in TCPREMOTEIP. It may use all of its time, but holds a thread while it does.
//!
//! Arguments:
//!   PROGRAM    absolute path; by default $QMAIL/bin/qmail-queue, or /var/qmail/bin/qmail-queue. The
//!              environment variable QMAILQUEUE wins over it
//!   timeout    seconds until it is killed; 120 by default, at most 180
//!
//! Config files: none.
//!
//! Replies: `250 Queued! TIME qp PID <message-id>` for exit code 0; `554 Unable to queue message
//! (CODE)` for 11 to 40, which qmail-queue uses for good (11 address too long, 31 refused); `451` with
//! the same text for all others. (qpsmtpd said 451 for every code.)
//!
//! Karma: none.
//!
//! When it cannot tell: a program that is killed, by us or by others, or that says 0 and has left part
//! of the message unread, may have queued it or not. The client is told 451, so that the mail is not
//! lost, and the log calls it a possible duplicate.

use crate::client::deadline::Deadline;
use crate::client::qmail::{Mail, queue};
use crate::client::words;
use crate::plugin::cx::MessageView;
use crate::plugin::program::{Judged, judge, not_started, refusal, told};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::Transaction;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

struct QmailQueue {
    program: PathBuf,
    timeout: Duration,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(read(args, setup))
}

fn read(args: &mut Args, setup: &Setup<'_>) -> QmailQueue {
    let timeout = Duration::from_secs(args.number("timeout", 120, 1..=180));
    let argument = args.positional();
    let variable = setup.variable("QMAILQUEUE").map(str::to_string);
    let program = variable.or(argument).unwrap_or_else(|| {
        let qmail = setup.variable("QMAIL").unwrap_or("/var/qmail");
        format!("{qmail}/bin/qmail-queue")
    });
    if !program.starts_with('/') {
        args.complain(format!("{program}: give an absolute path"));
    }
    QmailQueue { program: program.into(), timeout }
}

impl Plugin for QmailQueue {
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
        Ok(self.hand_over(cx, envelope, &message))
    }
}

impl QmailQueue {
    fn hand_over(
        &self,
        cx: &mut Cx<'_>,
        envelope: &Transaction,
        message: &MessageView<'_>,
    ) -> Verdict {
        let sender = envelope.mail.reverse_path.address().map(Address::plain);
        let recipients: Vec<String> = envelope.recipients.iter().map(Address::plain).collect();
        let mail = Mail {
            sender: sender.as_deref().unwrap_or_default(),
            recipients: &recipients,
            parts: &message.current.parts(message.received),
            client: &cx.peer().ip.to_string(),
        };
        let shown = self.program.to_string_lossy();
        match queue(&self.program, &mail, Deadline::after(self.timeout)) {
            Err(error) => not_started(cx, &shown, &words(&error)),
            Ok(run) => {
                let (id, time) = (message.message_id(), cx.now().unix_seconds());
                let queued = || format!("Queued! {time} qp {} {id}", run.pid);
                told(cx, &shown, &run, &id, judge(&run, of_code), queued)
            }
        }
    }
}

/// What an exit code means for the message.
fn of_code(code: i32) -> Judged {
    let ((subject, detail), meaning) = meaning(code);
    let text = refusal(&code.to_string());
    let verdict = match code {
        0 => return Judged::queued(),
        11..=40 => Verdict::deny((subject, detail), text),
        _ => Verdict::deny_soft((subject, detail), text),
    };
    Judged::refused(&format!("exit code {code} ({meaning})"), verdict)
}

/// The enhanced status and the meaning of an exit code, as qmail-queue and the programs that take its
/// place use them.
fn meaning(code: i32) -> ((u16, u16), &'static str) {
    match code {
        11 => ((1, 3), "an address is too long"),
        31 => ((7, 1), "refused for good"),
        12..=40 => ((3, 0), "a permanent fault"),
        51 => ((3, 0), "out of memory"),
        52 => ((3, 0), "timed out"),
        53 => ((3, 0), "cannot write, or the disk is full"),
        54 => ((3, 0), "cannot read the message or its envelope"),
        55 => ((3, 0), "cannot read its configuration"),
        56 => ((4, 1), "trouble with the network"),
        61..=66 => ((3, 0), "trouble with the queue's folders"),
        71 => ((7, 1), "refused for now"),
        72 => ((4, 1), "the next server timed out"),
        73 => ((4, 1), "the next server refused the connection"),
        74 => ((4, 2), "the connection to the next server broke"),
        81 => ((3, 0), "an internal fault"),
        91 => ((3, 0), "it does not understand the envelope"),
        _ => ((3, 0), "a temporary fault"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::program::tests::Programs;
    use crate::config::files::Files;
    use crate::plugins::tests::trial::Trial;

    #[test]
    fn the_program_is_found() {
        for (line, variables, expected) in [
            ("queue/qmail-queue", &[][..], "/var/qmail/bin/qmail-queue"),
            ("queue/qmail-queue", &[("QMAIL", "/opt/qmail")], "/opt/qmail/bin/qmail-queue"),
            ("queue/qmail-queue /usr/bin/filter", &[("QMAIL", "/opt/qmail")], "/usr/bin/filter"),
            ("queue/qmail-queue /usr/bin/filter timeout 9", &[("QMAILQUEUE", "/x")], "/x"),
            ("queue/qmail-queue", &[("QMAILQUEUE", "")], "/var/qmail/bin/qmail-queue"),
        ] {
            let owned = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            let files = Files::in_memory([]).with_variables(owned);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            let plugin = read(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(plugin.program.to_str(), Some(expected), "{line}");
            assert_eq!(args.finish().len(), 0, "{line}");
        }
        for (line, complaints) in [
            ("queue/qmail-queue qmail-queue", 1),
            ("queue/qmail-queue /x more", 1),
            ("queue/qmail-queue timeout 0", 1),
            ("queue/qmail-queue timeout 181", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    #[test]
    fn exit_codes_and_their_replies() {
        for (code, expected) in [
            (0, "250"),
            (1, "4.3.0"),
            (10, "4.3.0"),
            (11, "5.1.3"),
            (12, "5.3.0"),
            (31, "5.7.1"),
            (40, "5.3.0"),
            (41, "4.3.0"),
            (51, "4.3.0"),
            (52, "4.3.0"),
            (53, "4.3.0"),
            (54, "4.3.0"),
            (55, "4.3.0"),
            (56, "4.4.1"),
            (61, "4.3.0"),
            (66, "4.3.0"),
            (71, "4.7.1"),
            (72, "4.4.1"),
            (73, "4.4.1"),
            (74, "4.4.2"),
            (81, "4.3.0"),
            (91, "4.3.0"),
            (111, "4.3.0"),
            (255, "4.3.0"),
        ] {
            let judged = of_code(code);
            let (_, words, verdict) = judged.parts();
            let seen = verdict.map_or_else(
                || "250".to_string(),
                |verdict| {
                    let class = if matches!(verdict, Verdict::Deny(_)) { 5 } else { 4 };
                    let refusal = verdict.refusal().unwrap();
                    assert_eq!(&*refusal.text, format!("Unable to queue message ({code})"));
                    format!("{class}.{}.{}", refusal.status.0, refusal.status.1)
                },
            );
            assert_eq!(seen, expected, "{code}");
            assert!(!words.contains("duplicate"), "{code}: {words}");
        }
    }

    /// A whole mail with this program as the queue: the reply, and what the plugin logged.
    fn deliver(program: &str) -> (String, Vec<String>) {
        let plugins = format!("rcpt_ok\nqueue/qmail-queue {program} timeout 60\n");
        let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
        let mut trial = Trial::connect(&files, "192.0.2.1");
        for line in ["EHLO c.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"] {
            assert!(trial.say(line).starts_with("250"), "{line}");
        }
        assert!(trial.say("DATA").starts_with("354"));
        let reply =
            trial.say("From: a@example.org\r\nMessage-ID: <1@example.org>\r\n\r\ntext\r\n.");
        let log = trial.take_log().into_iter().filter(|line| line.starts_with("queue::"));
        (reply, log.collect())
    }

    #[test]
    fn the_client_is_told() {
        let programs = Programs::new();
        let take = "cat >$here/text; cat <&1 >$here/envelope";
        for (script, reply, line) in [
            (take, "250 2.0.0 Queued! 0 qp ", "pass, queued, "),
            (
                &format!("{take}; echo no room >&2; exit 53"),
                "451 4.3.0 Unable to queue message (53) [",
                "fail, exit code 53 (cannot write, or the disk is full), ",
            ),
            (
                &format!("{take}; exit 31"),
                "554 5.7.1 Unable to queue message (31) [",
                "fail, exit code 31 (refused for good), ",
            ),
            (
                &format!("{take}; kill -11 $$"),
                "451 4.3.0 Unable to queue message (signal 11) [",
                "error, killed by signal 11: it may be queued all the same, a possible duplicate",
            ),
        ] {
            let program = programs.shell("qmail-queue", script);
            let (seen, log) = deliver(&program.to_string_lossy());
            assert!(seen.starts_with(reply), "{script}: {seen}");
            let expected = format!("queue::qmail_2dqueue: {line}");
            assert!(log.iter().any(|it| it.starts_with(&expected)), "{script}: {log:?}");
            assert!(log.iter().all(|it| it.contains("<1@example.org>")), "{script}: {log:?}");
            assert_eq!(
                script.contains("no room"),
                log.iter().any(|it| it.ends_with("it said: no room"))
            );
        }
        let text = String::from_utf8(programs.read("text")).unwrap();
        assert!(text.ends_with("\nMessage-ID: <1@example.org>\n\ntext\n"), "{text}");
        assert_eq!(programs.read("envelope"), b"Fa@example.org\0Tb@example.com\0\0");
        let (seen, log) = deliver("/nowhere/qmail-queue");
        assert!(seen.starts_with("451 4.3.0 Unable to queue message ["), "{seen}");
        let expected = "error, /nowhere/qmail-queue does not run: No such file or directory";
        assert!(log.iter().any(|it| it.ends_with(expected)), "{log:?}");
    }
}
