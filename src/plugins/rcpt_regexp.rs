//! Judges recipients by regular expressions and addresses.
//!
//! Each line of the file is `/REGEX/ CODE [message]` or `ADDRESS CODE [message]`, and the first line
//! that fits decides. Expressions are searched anywhere in `user@domain` unless they are anchored with
//! `^` and `$`; nothing minds the case. The codes are OK (accepted at once, also where the domain is
//! not ours, so anchor such lines), DECLINED (later plugins decide), DENY, DENYSOFT,
//! DENY_DISCONNECT, DENYSOFT_DISCONNECT. Put it before rcpt_ok.
//!
//! Arguments: none.
//!
//! Config files: `rcpt_regexp`. A line that cannot be used is told at the start, and skipped.
//! Expressions that look ahead, behind or back do not exist here; what is there takes a time in
//! proportion to the address, whatever the expression.
//!
//! Replies: `550 5.1.1 MESSAGE`, `450 4.1.1 MESSAGE`; without a message `this recipient is not accepted
//! here`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::files::{Line, Problem, quote};
use crate::plugin::codes::verdict_of;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashMap;
use std::sync::Arc;

/// Regular expressions in the file: each costs some kilobytes, and time at every recipient.
const REGEX_MAX: usize = 500;

/// Octets of one compiled expression.
const REGEX_SIZE_MAX: usize = 256 * 1_024;

/// Depth of groups in an expression.
const REGEX_NEST_MAX: u32 = 50;

/// One line that can be used.
struct Rule {
    /// As written.
    pattern: String,
    verdict: Verdict,
}

#[derive(Default)]
struct RcptRegexp {
    rules: Vec<Rule>,
    /// Places of rules by lower-cased address.
    addresses: HashMap<String, usize>,
    /// Expressions in the order of the file, with the places of their rules.
    regexes: Vec<(usize, Regex)>,
}

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let lines = setup.lines("rcpt_regexp");
    Arc::new(setup.with_problems(|problems| RcptRegexp::read(&lines, problems)))
}

impl RcptRegexp {
    fn read(lines: &[Line], problems: &mut Vec<Problem>) -> RcptRegexp {
        let mut list = RcptRegexp::default();
        for line in lines {
            match parse(line) {
                Ok((_, Some(_))) if list.regexes.len() >= REGEX_MAX => {
                    let what = format!("there are more than {REGEX_MAX} regular expressions");
                    Problem::error(line, what).note(problems);
                }
                Ok((rule, regex)) => list.add(rule, regex),
                Err(what) => Problem::warning(line, what).note(problems),
            }
        }
        list
    }

    fn add(&mut self, rule: Rule, regex: Option<Regex>) {
        let place = self.rules.len();
        match regex {
            Some(regex) => self.regexes.push((place, regex)),
            None => {
                self.addresses.entry(rule.pattern.to_ascii_lowercase()).or_insert(place);
            }
        }
        self.rules.push(rule);
    }

    /// The first rule that fits `user@domain`.
    fn find(&self, plain: &str) -> Option<&Rule> {
        let address = self.addresses.get(&plain.to_ascii_lowercase()).copied();
        let regex = self.regexes.iter().find(|(_, regex)| regex.is_match(plain.as_bytes()));
        let place = address.into_iter().chain(regex.map(|(place, _)| *place)).min()?;
        self.rules.get(place)
    }
}

/// Reads one line; the error says in words why it is skipped.
fn parse(line: &Line) -> Result<(Rule, Option<Regex>), String> {
    let (pattern, rest) = line.split_word();
    let (code, text) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
    let text = if text.is_empty() { "this recipient is not accepted here" } else { text.trim() };
    let verdict = verdict_of(code, (1, 1), text).ok_or_else(|| match code {
        "" => format!("there is no code behind {}; the line is skipped", quote(pattern)),
        _ => format!("{} is no code; the line is skipped", quote(code)),
    })?;
    let inner = pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    let regex = inner.map(|inner| compile(pattern, inner)).transpose()?;
    Ok((Rule { pattern: pattern.to_string(), verdict }, regex))
}

fn compile(pattern: &str, inner: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(inner)
        .unicode(false)
        .case_insensitive(true)
        .nest_limit(REGEX_NEST_MAX)
        .size_limit(REGEX_SIZE_MAX)
        .dfa_size_limit(REGEX_SIZE_MAX)
        .build();
    compiled.map_err(|error| {
        // The message draws the expression over several lines and ends with the reason.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        format!("REGEXP {} not valid: {reason}", quote(pattern))
    })
}

impl Plugin for RcptRegexp {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt])
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        let Some(rule) = self.find(&recipient.plain()) else {
            cx.log(Level::Debug, "pass, no match");
            return Ok(Verdict::Declined);
        };
        let word = if rule.verdict.refusal().is_some() { "fail" } else { "pass" };
        cx.log(Level::Info, format!("{word}, match {}", foreign(rule.pattern.as_bytes())));
        Ok(rule.verdict.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    fn read(text: &str) -> (RcptRegexp, Vec<String>) {
        let lines = text.lines().zip(1..);
        let lines =
            lines.map(|(text, number)| Line { text: text.into(), file: "r".into(), number });
        let mut problems = Vec::new();
        let list = RcptRegexp::read(&lines.collect::<Vec<_>>(), &mut problems);
        (list, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_first_line_that_fits_decides() {
        let (list, problems) = read(
            "/^ann@/ OK\nBob@example.com DENY  no Bob\n/@example\\.com$/ DENYSOFT\n\
             bob@example.com OK\n/b{2}/ DENY_DISCONNECT\n/x/y/ DECLINED",
        );
        assert!(problems.is_empty(), "{problems:?}");
        let later = "this recipient is not accepted here";
        for (plain, expected) in [
            ("Ann@example.com", Some(Verdict::OK)),
            ("joann@example.com", Some(Verdict::deny_soft((1, 1), later))),
            ("bob@Example.com", Some(Verdict::deny((1, 1), "no Bob"))),
            ("xbob@example.com", Some(Verdict::deny_soft((1, 1), later))),
            ("abBa@example.org", Some(Verdict::deny((1, 1), later).and_disconnect())),
            ("x/y@example.org", Some(Verdict::Declined)),
            ("bob@example.comx", None),
            ("postmaster", None),
        ] {
            assert_eq!(list.find(plain).map(|rule| rule.verdict.clone()), expected, "{plain}");
        }
    }

    #[test]
    fn lines_that_cannot_be_used_are_told() {
        let (list, problems) = read("/(/ DENY\na@b.example\n/a/ deny\n/(?=a)/ DENY\n/a/ DENY");
        assert_eq!(list.rules.len(), 1);
        assert_eq!(
            problems,
            [
                "r:1: warning: REGEXP \"/(/\" not valid: unclosed group",
                "r:2: warning: there is no code behind \"a@b.example\"; the line is skipped",
                "r:3: warning: \"deny\" is no code; the line is skipped",
                "r:4: warning: REGEXP \"/(?=a)/\" not valid: look-around, including look-ahead and \
                 look-behind, is not supported",
            ]
        );
        let many = "/a/ DENY\na@b.example DENY\n".repeat(REGEX_MAX + 2);
        let (list, problems) = read(&many);
        assert_eq!((list.rules.len(), problems.len()), (2 * REGEX_MAX + 2, 2));
    }

    #[test]
    fn arguments() {
        for (line, complaints) in [("rcpt_regexp", 0), ("rcpt_regexp file x", 1)] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
