//! Judges the recipients of one domain by a table.
//!
//! Each line of the table is `ADDRESS CODE [message]`, an address being `user@domain` or just `user`.
//! The codes are OK (accepted at once, without asking later plugins), DECLINED (later plugins
//! decide), DENY, DENYSOFT, DENY_DISCONNECT, DENYSOFT_DISCONNECT. A recipient of the domain that is
//! not in the table gets the default. Other domains are left alone. For another domain load it
//! again, as `rcpt_map:2`. Put it before rcpt_ok.
//!
//! Arguments:
//!   domain       the domain whose recipients are judged; required
//!   file         the table: a file in the config folder; required, and not empty
//!   default      CODE=text, the text with underscores for blanks; by default
//!                `DENY=No_such_user.`
//!
//! Config files: the one that `file` names. A table elsewhere can be had by a line
//! `$include /absolute/path` in it.
//!
//! Replies: `550 5.1.1 MESSAGE`, `450 4.1.1 MESSAGE`; without a message `No such user.`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::files::{Line, Problem, quote};
use crate::plugin::codes::verdict_of;
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use std::collections::HashMap;
use std::sync::Arc;

/// What somebody who is not there is answered.
const NO_SUCH_USER: &str = "No such user.";

struct RcptMap {
    domain: String,
    /// By lower-cased address.
    users: HashMap<Box<str>, Verdict>,
    default: Verdict,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let default = args.named("default").and_then(|word| {
        let (code, text) = word.split_once('=').unwrap_or((&word, ""));
        let verdict = verdict(code, &text.replace('_', " "));
        if verdict.is_none() {
            args.complain(format!("default {word}: use CODE=text, with a code such as DENY"));
        }
        verdict
    });
    let default = default.unwrap_or_else(|| Verdict::deny((1, 1), NO_SUCH_USER));
    let domain = args.named("domain").unwrap_or_default().to_ascii_lowercase();
    if domain.is_empty() {
        args.complain("say which: rcpt_map domain DOMAIN file FILE");
    }
    let lines = match args.named("file") {
        None => {
            args.complain("say where the table is: rcpt_map domain DOMAIN file FILE");
            Vec::new()
        }
        Some(file) if file.starts_with('/') => {
            args.complain(format!(
                "file {file}: give a name in the config folder; that file can hold `$include {file}`"
            ));
            Vec::new()
        }
        Some(file) => {
            let lines = setup.lines(&file);
            if lines.is_empty() {
                args.complain(format!("file {file}: it is missing or empty"));
            }
            lines
        }
    };
    let users = setup.with_problems(|problems| read(&lines, &domain, problems));
    Arc::new(RcptMap { domain, users, default })
}

/// Reads the table; of several lines for one address the last one holds, as in qpsmtpd.
fn read(lines: &[Line], domain: &str, problems: &mut Vec<Problem>) -> HashMap<Box<str>, Verdict> {
    let mut users = HashMap::new();
    for line in lines {
        let (address, rest) = line.split_word();
        let (code, text) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
        match verdict(code, text.trim()) {
            Some(verdict) => {
                let mut address = address.to_ascii_lowercase();
                if !address.contains('@') {
                    address = format!("{address}@{domain}");
                }
                users.insert(address.into(), verdict);
            }
            None if code.is_empty() => {
                let what = "there is no code behind the address; the line is skipped";
                Problem::warning(line, what).note(problems);
            }
            None => {
                let what = format!("{} is no code; the line is skipped", quote(code));
                Problem::warning(line, what).note(problems);
            }
        }
    }
    users
}

fn verdict(code: &str, text: &str) -> Option<Verdict> {
    verdict_of(code, (1, 1), if text.is_empty() { NO_SUCH_USER } else { text })
}

impl Plugin for RcptMap {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt])
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if recipient.domain() != self.domain {
            cx.log(Level::Debug, "skip, another domain");
            return Ok(Verdict::Declined);
        }
        let found = self.users.get(&*recipient.plain().to_ascii_lowercase());
        let place = if found.is_some() { "in the table" } else { "not in the table" };
        let verdict = found.unwrap_or(&self.default);
        let word = if verdict.refusal().is_some() { "fail" } else { "pass" };
        cx.log(Level::Info, format!("{word}, {place}"));
        Ok(verdict.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints) in [
            ("rcpt_map domain example.com file map", 0),
            ("rcpt_map domain=example.com file=map default=DENYSOFT=not_yet", 0),
            ("rcpt_map domain example.com file map default OK", 0),
            ("rcpt_map domain example.com file map default deny=no", 1),
            ("rcpt_map domain example.com file map default", 1),
            ("rcpt_map domain example.com file none", 1),
            ("rcpt_map domain example.com file empty", 1),
            ("rcpt_map domain example.com file /etc/map", 1),
            ("rcpt_map domain example.com", 1),
            ("rcpt_map file map", 1),
            ("rcpt_map", 2),
            ("rcpt_map domain example.com file map more", 1),
        ] {
            let files = [("map", "a DENY"), ("empty", "# nobody")];
            let files = files.map(|(name, text)| (name.to_string(), text.to_string()));
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&Files::in_memory(files), &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }

    #[test]
    fn tables_are_read() {
        let text = "Ann@Example.com OK\nbob DENY no  such\tBob \ncarl@example.com  DENYSOFT   later\n\
                    dora@example.com\neve@example.com NEVER\nbob@example.com DENY_DISCONNECT";
        let lines: Vec<_> = text
            .lines()
            .zip(1..)
            .map(|(text, number)| Line { text: text.into(), file: "map".into(), number })
            .collect();
        let mut problems = Vec::new();
        let users = read(&lines, "example.com", &mut problems);
        for (address, expected) in [
            ("ann@example.com", Some(Verdict::OK)),
            ("bob@example.com", Some(Verdict::deny((1, 1), "No such user.").and_disconnect())),
            ("carl@example.com", Some(Verdict::deny_soft((1, 1), "later"))),
            ("dora@example.com", None),
            ("bob", None),
        ] {
            assert_eq!(users.get(address), expected.as_ref(), "{address}");
        }
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "map:4: warning: there is no code behind the address; the line is skipped",
                "map:5: warning: \"NEVER\" is no code; the line is skipped",
            ]
        );
    }
}
