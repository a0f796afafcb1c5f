//! Hands messages to Exim as batch SMTP, on the standard input of `rsmtp -bS`.
//!
//! Exim reads envelope and message as an SMTP dialogue of one side. It takes all recipients or none, and
//! says what it refuses on its output. The program is started directly, without a shell, and inherits of
//! our environment PATH, HOME, USER, LOGNAME, TZ and the language. Batch SMTP knows no SMTPUTF8.
//!
//! Arguments:
//!   exim_path    absolute path of the program, /usr/sbin/rsmtp by default
//!   timeout      seconds until it is killed; 120 by default, at most 180
//!
//! Config files: none.
//!
//! Replies: `250 Queued!`; `554 WORDS OF EXIM` for a line with a code of 5xx in its output, `451` for 4xx
//! (qpsmtpd refused for good in both cases), with its enhanced status; `451 Internal error enqueuing
//! mail` for any other failure; `554 5.6.7` for addresses that need SMTPUTF8.
//!
//! Karma: none.
//!
//! When it cannot tell: a program that is killed, by us or by others, or that says that all is well and
//! has left part of the message unread, or complains at the same time, may have queued it or not. The
//! client is told 451, so that the mail is not lost, and the log calls it a possible duplicate.

use crate::client::deadline::Deadline;
use crate::client::pipe::hand_over_batch;
use crate::client::program::Run;
use crate::client::smtp::reply::{Reader, Reply};
use crate::client::words;
use crate::plugin::log::Level;
use crate::plugin::next_hop::Letter;
use crate::plugin::program::{Judged, judge, not_started, refusal, told};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

struct EximBsmtp {
    program: PathBuf,
    timeout: Duration,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let timeout = Duration::from_secs(args.number("timeout", 120, 1..=180));
    let program = args.named("exim_path").unwrap_or_else(|| "/usr/sbin/rsmtp".to_string());
    if !program.starts_with('/') {
        args.complain(format!("exim_path {program}: give an absolute path"));
    }
    Arc::new(EximBsmtp { program: program.into(), timeout })
}

impl Plugin for EximBsmtp {
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
        let letter = Letter::new(envelope, &message);
        let mail = letter.mail();
        if mail.utf8 {
            cx.log(Level::Info, "fail, batch SMTP knows no SMTPUTF8");
            return Ok(Verdict::deny((6, 7), refusal("Exim is not told of SMTPUTF8")));
        }
        let shown = self.program.to_string_lossy();
        let deadline = Deadline::after(self.timeout);
        Ok(match hand_over_batch(&self.program, &cx.config().rules.me, &mail, deadline) {
            Err(error) => not_started(cx, &shown, &words(&error)),
            Ok(run) => {
                let judged = judge(&run, |code| of_run(code, &run));
                told(cx, &shown, &run, letter.id(), judged, || "Queued!".to_string())
            }
        })
    }
}

/// Judges exit code and output together.
fn of_run(code: i32, run: &Run) -> Judged {
    match (code, complaint(&run.said)) {
        (0, None) => Judged::queued(),
        (0, Some(_)) => {
            Judged::unsure("it complains, and says that all is well", "0, but it complains")
        }
        (_, Some(reply)) => {
            let text = reply.text();
            // Our reply has the status in front anyway.
            let status = reply.status();
            let words =
                status.and_then(|_| text.split_once(' ')).map_or(&*text, |(_, words)| words);
            let (status, text) = (status.unwrap_or((3, 0)), words.to_string());
            let verdict = match reply.class() {
                5 => Verdict::deny(status, text),
                _ => Verdict::deny_soft(status, text),
            };
            Judged::refused(&format!("exit code {code}, it says {}", reply.code), verdict)
        }
        (_, None) => {
            let verdict = Verdict::deny_soft((3, 0), "Internal error enqueuing mail");
            Judged::refused(&format!("exit code {code}"), verdict)
        }
    }
}

/// The first line of the output that is a refusal.
fn complaint(said: &[u8]) -> Option<Reply> {
    said.split(|octet| *octet == b'\n').find_map(|line| {
        let mut reader = Reader::default();
        let end = [b'\n'];
        let read = line.iter().chain(&end).find_map(|octet| reader.push(*octet).transpose());
        read?.ok().filter(|reply| reply.class() >= 4)
    })
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
            ("queue/exim-bsmtp", 0),
            ("queue/exim-bsmtp exim_path /usr/sbin/exim4", 0),
            ("queue/exim-bsmtp exim_path=/usr/sbin/exim4 timeout 30", 0),
            ("queue/exim-bsmtp exim_path exim4", 1),
            ("queue/exim-bsmtp /usr/sbin/exim4", 1),
            ("queue/exim-bsmtp timeout 181", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    /// A mail to this program; the reply, and what the plugin logged.
    fn send(program: &str, recipient: &str) -> (String, String) {
        let plugins = format!("rcpt_ok\nqueue/exim-bsmtp exim_path {program} timeout 60\n");
        let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
        let mut trial = Trial::connect(&files, "192.0.2.1");
        trial.say("EHLO c.example");
        trial.say("MAIL FROM:<a@example.org> SMTPUTF8");
        assert!(trial.say(&format!("RCPT TO:<{recipient}>")).starts_with("250"));
        trial.say("DATA");
        let reply = trial.say("Message-ID: <1@example.org>\r\n\r\ntext\r\n.");
        let log: Vec<String> =
            trial.take_log().into_iter().filter(|line| line.starts_with("queue::")).collect();
        (reply, log.join("\n"))
    }

    #[test]
    fn exim_is_heard() {
        let programs = Programs::new();
        for (script, expected, line) in [
            ("exit 0", "250 2.0.0 Queued!", "pass, queued, "),
            ("echo Transaction started in line 2", "250 2.0.0 Queued!", "pass, queued, "),
            (
                "echo '550 5.1.1 no such user'; echo Error detected in line 4; exit 2",
                "554 5.1.1 no such user [7.1]",
                "fail, exit code 2, it says 550, ",
            ),
            // As Exim 4.96 has it.
            (
                "printf 'The error message was:\\n\\n  501 domain missing\\n\\n' >&2; \
                 printf '501 domain missing\\nTransaction started in line 1\\n'; exit 2",
                "554 5.3.0 domain missing [7.1]",
                "fail, exit code 2, it says 501, ",
            ),
            (
                "echo 'Transaction started in line 2'; echo '451 try later' >&2; exit 2",
                "451 4.3.0 try later [7.1]",
                "fail, exit code 2, it says 451, ",
            ),
            (
                "echo 5500 people; exit 1",
                "451 4.3.0 Internal error enqueuing mail [7.1]",
                "fail, exit",
            ),
            ("exit 127", "451 4.3.0 Internal error enqueuing mail [7.1]", "fail, exit code 127, "),
            (
                "echo '550 no'",
                "451 4.3.0 Unable to queue message (0, but it complains) [7.1]",
                "error, it complains, and says that all is well: it may be queued all the same, a \
                 possible duplicate, ",
            ),
            (
                "kill -9 $$",
                "451 4.3.0 Unable to queue message (signal 9) [7.1]",
                "error, killed by signal 9: it may be queued all the same, a possible duplicate, ",
            ),
        ] {
            let program = programs.shell("rsmtp", &format!("cat >$here/batch; {script}"));
            let (reply, log) = send(&program.to_string_lossy(), "b@example.com");
            assert_eq!(reply, expected, "{script}");
            let expected = format!("queue::exim_2dbsmtp: {line}");
            assert!(log.starts_with(&expected), "{script}: {log}");
        }
        let batch = String::from_utf8(programs.read("batch")).unwrap();
        let head =
            "HELO mx.example.net\nMAIL FROM:<a@example.org>\nRCPT TO:<b@example.com>\nDATA\n";
        assert!(batch.starts_with(head) && batch.ends_with("\n\ntext\n.\nQUIT\n"), "{batch}");
        let (reply, _) = send("/nowhere/rsmtp", "b@example.com");
        assert_eq!(reply, "451 4.3.0 Unable to queue message [7.1]");
        let (reply, _) = send("/bin/true", "gr\u{fc}n@example.com");
        assert_eq!(reply, "554 5.6.7 Unable to queue message (Exim is not told of SMTPUTF8) [7.1]");
    }
}
