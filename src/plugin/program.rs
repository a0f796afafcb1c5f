//! What the queues share that hand messages to another program: how its end is judged, and told.

use crate::client::program::{Ending, Run};
use crate::plugin::log::{Level, foreign};
use crate::plugin::{Cx, Verdict};

/// What is made of a run.
pub struct Judged {
    level: Level,
    words: String,
    verdict: Option<Verdict>,
}

impl Judged {
    /// The program has the message.
    pub fn queued() -> Judged {
        Judged { level: Level::Info, words: "pass, queued".to_string(), verdict: None }
    }

    /// It has not.
    pub fn refused(words: &str, verdict: Verdict) -> Judged {
        Judged { level: Level::Warning, words: format!("fail, {words}"), verdict: Some(verdict) }
    }

    /// Nobody knows: the client keeps the message, and the admin is told what that may lead to.
    pub fn unsure(why: &str, text: &str) -> Judged {
        Judged {
            level: Level::Warning,
            words: format!("error, {why}: it may be queued all the same, a possible duplicate"),
            verdict: Some(Verdict::deny_soft((3, 0), refusal(text))),
        }
    }

    /// The refusal, for tests.
    #[cfg(test)]
    pub(crate) fn parts(&self) -> (Level, &str, Option<&Verdict>) {
        (self.level, &self.words, self.verdict.as_ref())
    }
}

/// The text of a refusal, as qpsmtpd words it.
pub fn refusal(words: &str) -> String {
    format!("Unable to queue message ({words})")
}

/// Judges a run; `of_code` says what the exit codes of this program mean. A program that says that all
/// is well has the message only if it has read it.
pub fn judge(run: &Run, of_code: impl FnOnce(i32) -> Judged) -> Judged {
    match run.ending {
        Ending::Exited(0) if !run.took_all => Judged::unsure(
            "it left part of what it was given unread, and says that all is well",
            "0, but not all was read",
        ),
        Ending::Exited(code) => of_code(code),
        Ending::Signalled(signal) => {
            Judged::unsure(&format!("killed by signal {signal}"), &format!("signal {signal}"))
        }
        Ending::Killed => Judged::unsure("killed, its time was over", "timed out"),
    }
}

/// Logs a run of `program` for the message of this Message-ID, and gives the verdict; `queued` is the
/// text for a message that it has.
pub fn told(
    cx: &mut Cx<'_>,
    program: &str,
    run: &Run,
    id: &str,
    judged: Judged,
    queued: impl FnOnce() -> String,
) -> Verdict {
    let said = match run.words() {
        said if said.is_empty() => said,
        said => format!(", it said: {}", foreign(said.as_bytes())),
    };
    let Judged { level, words, verdict } = judged;
    let (program, id) = (foreign(program.as_bytes()), foreign(id.as_bytes()));
    cx.log(level, format!("{words}, {program} qp {} {id}{said}", run.pid));
    verdict.unwrap_or_else(|| Verdict::Ok(Some(queued().into())))
}

/// A program that could not be started has not run: that is the admin's to mend.
pub fn not_started(cx: &mut Cx<'_>, program: &str, words: &str) -> Verdict {
    let program = foreign(program.as_bytes());
    cx.log(Level::Error, format!("error, {program} does not run: {words}"));
    Verdict::deny_soft((3, 0), "Unable to queue message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_called_so() {
        for (ending, took_all, expected) in [
            (Ending::Exited(0), true, None),
            (Ending::Exited(0), false, Some("Unable to queue message (0, but not all was read)")),
            (Ending::Signalled(9), true, Some("Unable to queue message (signal 9)")),
            (Ending::Killed, true, Some("Unable to queue message (timed out)")),
        ] {
            let run = Run { pid: 7, ending, took_all, said: Vec::new() };
            let judged = judge(&run, |_| Judged::queued());
            let (level, words, verdict) = judged.parts();
            let text = verdict.and_then(Verdict::refusal).map(|refusal| &*refusal.text);
            assert_eq!(text, expected, "{ending:?}");
            assert_eq!(words.contains("possible duplicate"), expected.is_some(), "{words}");
            assert_eq!(level == Level::Warning, expected.is_some());
            assert!(verdict.is_none_or(|verdict| matches!(verdict, Verdict::DenySoft(_))));
        }
    }
}
