//! Refuses messages with a line in their body that begins like an unwanted file.
//!
//! An attachment in base64 begins with the same letters whenever the file has the same first octets, so
//! a list of such beginnings finds programs and archives without decoding anything. Each line of the
//! body is looked at, as it stands after the edits of plugins before this one. Nobody is exempt,
//! and there is no limit of size.
//!
//! A signature that consists of letters, digits, `+`, `/` and `=` stands for itself; every other one is
//! a regular expression that has to fit from the start of a line on, in which white space does not
//! count. Upper and lower case differ.
//!
//! Differences to the plugin of SME Server: `+` in base64 is no quantifier; `check=patterns` is obeyed and
//! not passed over; `action note` does what it says; a recipient's own file chooses among the lists that
//! all have.
//!
//! Arguments:
//!   check           names with commas between them: the files `signatures_NAME` are read, default
//!                   `patterns`; `deny` is its old name
//!   action          `deny` (default) refuses; `note` or `note:virus_score=VALUE` adds 1 or VALUE to the
//!                   score `virus_score` and lets the message go on
//!   per_recipient   `1`: recipients may have a file `pattern_filter` of their own (plugin
//!                   per_user_config); a message that any of its recipients refuses is refused; default 0
//!
//! Config files: `pattern_filter`, more arguments, one `key value` a line, before which the line in
//! `plugins` counts; `signatures_NAME`, one signature a line.
//!
//! Replies: `554 5.7.1 We don't accept email with executable content [WHAT WAS FOUND].`
//!
//! Karma: none.
//!
//! When it cannot tell: without any signature all mail passes, and an error is logged for each message.

use crate::config::files::{Line, Problem, quote};
use crate::mail::headers::clean;
use crate::plugin::log::{Level, foreign_within};
use crate::plugin::signatures::{Action, Beginnings, Filters, Options, act};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use regex::bytes::{Regex, RegexBuilder};
use std::sync::Arc;

const FILE: &str = "pattern_filter";

/// Signatures of one set of lists that are regular expressions.
const REGEXES_MAX: usize = 500;

/// Octets that one of them may take when it is compiled, and how deep its groups may nest.
const REGEX_SIZE_MAX: usize = 256 * 1_024;
const REGEX_NEST_MAX: u32 = 50;

/// Of these are compiled into one expression.
const SET_LEN: usize = 200;

/// Octets of what was found that the client is shown, and of its line that the log shows.
const FOUND_SHOWN: usize = 60;
const LINE_SHOWN: usize = 100;

/// Octets between two words on how far the pass has come.
const STRIDE: usize = 1_024 * 1_024;

struct PatternFilter(Filters<Filter>);

#[derive(Debug)]
struct Filter {
    literals: Beginnings,
    sets: Vec<Regex>,
    action: Action,
}

/// A hit: what was found, and the line it begins.
#[derive(Debug, PartialEq, Eq)]
struct Hit<'b> {
    found: &'b [u8],
    line: &'b [u8],
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let options = Options::new("patterns", Action::Deny).read(FILE, args, setup);
    Arc::new(PatternFilter(Filters::load(&options, FILE, setup, |options| {
        let lines = options.signatures(setup);
        setup.with_problems(|problems| compile(&lines, options.action, problems))
    })))
}

/// Makes a filter of signatures. What is none is told and left out.
fn compile(lines: &[Line], action: Action, problems: &mut Vec<Problem>) -> Filter {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    let is_literal = |line: &&Line| line.text.bytes().all(is_letter);
    let (literals, others): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(is_literal);
    let literals = literals.into_iter().map(|line| (line, line.text.as_bytes().to_vec()));
    let literals = Beginnings::compile(literals, problems);
    let mut patterns = Vec::new();
    for line in others {
        if patterns.len() >= REGEXES_MAX {
            let what = format!("there are more than {REGEXES_MAX} regular expressions");
            Problem::error(line, what).note(problems);
            break;
        }
        let text = &line.text;
        match build(text, REGEX_SIZE_MAX) {
            Ok(regex) if regex.is_match(b"") => {
                let what = format!("{} would fit every line", quote(text));
                Problem::error(line, what).note(problems);
            }
            Ok(_) => patterns.push(format!("(?:{text})")),
            Err(reason) => {
                let what = format!("{} is no regular expression: {reason}", quote(text));
                Problem::error(line, what).note(problems);
            }
        }
    }
    let mut sets = Vec::new();
    for chunk in patterns.chunks(SET_LEN) {
        add_set(chunk, &mut sets);
    }
    Filter { literals, sets, action }
}

/// Each signature is known to compile, but many together may be too large for one expression: then
/// there are more.
fn add_set(signatures: &[String], sets: &mut Vec<Regex>) {
    match build(&signatures.join("|"), 2 * REGEX_SIZE_MAX) {
        Ok(set) => sets.push(set),
        Err(_) if signatures.len() > 1 => {
            let (first, second) = signatures.split_at(signatures.len() / 2);
            add_set(first, sets);
            add_set(second, sets);
        }
        // Alone it took less than half of what a set may take.
        Err(_) => {}
    }
}

/// The expression, to fit from the start on; or in words why there is none. It has to be one by itself
/// too, lest its parentheses close those around it.
fn build(pattern: &str, size: usize) -> Result<Regex, String> {
    built(pattern, size).and_then(|_| built(&format!(r"\A(?:{pattern})"), size))
}

fn built(pattern: &str, size: usize) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern)
        .unicode(false)
        .ignore_whitespace(true)
        .nest_limit(REGEX_NEST_MAX)
        .size_limit(size)
        .build();
    built.map_err(|error| {
        // The message draws the expression over several lines and ends with the reason.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        reason.strip_prefix("error: ").unwrap_or(reason).to_string()
    })
}

impl Filter {
    /// There is nothing to look for.
    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.sets.is_empty()
    }

    /// The signature that a line begins with.
    fn beginning<'b>(&self, line: &'b [u8]) -> Option<&'b [u8]> {
        let by_regex = || self.sets.iter().find_map(|set| set.find(line));
        self.literals.find(line).or_else(|| by_regex().map(|found| found.as_bytes()))
    }

    /// The first line that begins with a signature.
    fn find<'b>(&self, body: &'b [u8], passed: &dyn Fn(usize)) -> Option<Hit<'b>> {
        let (mut at, mut told) = (0, 0);
        while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
            let end = memchr::memchr(b'\n', rest);
            let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let Some(found) = self.beginning(line) {
                return Some(Hit { found, line });
            }
            at += end.map_or(rest.len(), |end| end + 1);
            if at - told >= STRIDE {
                passed(at);
                told = at;
            }
        }
        None
    }
}

impl Plugin for PatternFilter {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let (Some(message), Some(envelope)) = (cx.message(), cx.envelope()) else {
            return Ok(Verdict::Declined);
        };
        let mut filters = self.0.of(cx, &envelope.recipients)?;
        // Where one refuses, nobody needs a note.
        filters.sort_by_key(|filter| filter.action != Action::Deny);
        if filters.iter().any(|filter| filter.is_empty()) {
            cx.log(Level::Error, "error, no signatures are loaded");
        }
        filters.retain(|filter| !filter.is_empty());
        if filters.is_empty() {
            return Ok(Verdict::Declined);
        }
        let _token = cx.lane(Lane::Workers)?;
        let body = message.current.body(message.received);
        let start = message.current.received_body();
        let passed = |upto: usize| {
            if let Some(start) = start {
                message.contents.passed(start + upto);
            }
        };
        let mut is_clean = true;
        for filter in filters {
            let Some(hit) = filter.find(body, &passed) else { continue };
            is_clean = false;
            let words = foreign_within(hit.line, LINE_SHOWN);
            let verdict = act(cx, filter.action, &clean(hit.found, FOUND_SHOWN), &words);
            if verdict != Verdict::Declined {
                return Ok(verdict);
            }
        }
        if is_clean {
            cx.log(Level::Info, "pass");
        }
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    fn filter(signatures: &str) -> (Filter, Vec<String>) {
        let files = Files::in_memory([("list".to_string(), signatures.to_string())]);
        let mut problems = Vec::new();
        let lines = files.lines("list", &mut problems);
        let filter = compile(&lines, Action::Deny, &mut problems);
        (filter, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lines_that_begin_with_a_signature() {
        let list = "TVqQAAMAA\nrp6puS+a/b=\nMZ [0-9]{2}\nfoo|bar\n(?i)case";
        for (body, expected) in [
            ("text\r\nTVqQAAMAAAAE\r\n", Some("TVqQAAMAA")),
            ("TVqQAAMAA", Some("TVqQAAMAA")),
            ("text TVqQAAMAA\r\n", None),
            (" TVqQAAMAA\r\n", None),
            ("tvqqaamaa\r\n", None),
            ("TVqQ\r\nAAMAA\r\n", None),
            ("a\nrp6puS+a/b=x", Some("rp6puS+a/b=")),
            ("rp6puSSa/b=x", None),
            ("\r\nMZ12\r\n", Some("MZ12")),
            ("MZ 12", None),
            ("xfoo\r\nbarx", Some("bar")),
            ("CASE", Some("CASE")),
            ("FOO", None),
            ("", None),
        ] {
            let (filter, told) = filter(list);
            assert!(told.is_empty(), "{told:?}");
            let hit = filter.find(body.as_bytes(), &|_| {});
            assert_eq!(hit.map(|hit| hit.found), expected.map(str::as_bytes), "{body:?}");
        }
    }

    #[test]
    fn what_is_no_signature_is_told_and_left_out() {
        let (filter, told) = filter("a)(b\nx*\n(a{1000}){1000}\n\\p{Greek}\na#b\nTVqQ");
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(told[0].starts_with("list:1: \"a)(b\" is no regular expression"), "{told:?}");
        assert!(told[1].ends_with("would fit every line"), "{told:?}");
        assert!(filter.find(b"TVqQ", &|_| {}).is_some());
        assert!(filter.find(b"ab", &|_| {}).is_none());
    }

    #[test]
    fn many_signatures_and_a_long_message() {
        let list: Vec<String> = (0..=REGEXES_MAX).map(|n| format!("[A]{n:05}")).collect();
        let (filter, told) = filter(&list.join("\n"));
        assert_eq!(told, ["list:501: there are more than 500 regular expressions"]);
        let mut body = b"some text\r\n".repeat(2 * STRIDE / 11 + 3);
        body.extend_from_slice(b"A00499x\r\nA00000");
        let told = std::cell::Cell::new(0);
        let hit = filter.find(&body, &|_| told.set(told.get() + 1));
        assert_eq!(hit, Some(Hit { found: b"A00499", line: b"A00499x" }));
        assert_eq!(told.get(), 2);
    }
}
