//! Clients that are never greylisted, from files in the form of postgrey.
//!
//! These files come with other software and hold lines that only it may understand; a line that is
//! none of ours is warned of and skipped, for it does no more harm than a missing one.

use crate::config::files::{Line, Problem, quote};
use crate::config::nets::Net;
use crate::plugin::site::Setup;
use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The file that names the files.
const FILES: &str = "greylist_exclude_files";

/// Octets of one compiled expression.
const REGEX_SIZE_MAX: usize = 256 * 1_024;

/// Longest host name in DNS.
const NAME_MAX: usize = 255;

/// Who is exempt.
#[derive(Default)]
pub(super) struct Excluded {
    nets: Vec<Net>,
    names: HashSet<Box<str>>,
    expressions: Vec<Regex>,
}

impl Excluded {
    /// Reads all files that are named.
    pub(super) fn load(setup: &Setup<'_>) -> Excluded {
        let mut excluded = Excluded::default();
        for file in setup.lines(FILES) {
            let lines = lines_of(setup, &file.text);
            setup.with_problems(|problems| {
                if lines.is_empty() {
                    let what = format!("{}: it is missing or empty", quote(&file.text));
                    Problem::warning(&file, what).note(problems);
                }
                for line in &lines {
                    if let Err(what) = excluded.add(line) {
                        Problem::warning(line, what).note(problems);
                    }
                }
            });
        }
        excluded
    }

    /// Takes a line; the error says why it is none.
    pub(super) fn add(&mut self, line: &Line) -> Result<(), String> {
        let text = line.text.as_str();
        if let Some(inner) = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            self.expressions.push(compile(inner)?);
            return Ok(());
        }
        let (word, _comment) = line.split_word();
        if let Ok((net, _)) = Net::parse(word) {
            self.nets.push(net);
        } else if word.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._".contains(&it)) {
            self.names.insert(word.trim_matches('.').to_ascii_lowercase().into());
        } else {
            return Err(format!("{} is no address, host name or /REGEX/; skipped", quote(word)));
        }
        Ok(())
    }

    /// Is the client exempt, by its address or its name?
    pub(super) fn has(&self, ip: IpAddr, name: Option<&str>) -> bool {
        if self.nets.iter().any(|net| net.contains(ip)) {
            return true;
        }
        let Some(name) = name.filter(|name| name.len() <= NAME_MAX) else { return false };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut parents =
            std::iter::successors(Some(&*name), |rest| rest.split_once('.').map(|(_, up)| up));
        parents.any(|parent| self.names.contains(parent))
            || self.expressions.iter().any(|regex| regex.is_match(name.as_bytes()))
    }
}

/// A file of the config folder, or one by its whole path.
fn lines_of(setup: &Setup<'_>, path: &str) -> Vec<Line> {
    if !path.starts_with('/') {
        return setup.lines(path);
    }
    let file: Arc<str> = path.into();
    let text = setup.system(path);
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
    let line = |(number, text): (u32, &str)| Line {
        text: text.to_string(),
        file: Arc::clone(&file),
        number,
    };
    lines.map(line).collect()
}

fn compile(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(true)
        .nest_limit(50)
        .size_limit(REGEX_SIZE_MAX)
        .dfa_size_limit(REGEX_SIZE_MAX)
        .build();
    built.map_err(|_| format!("{} is no regular expression; skipped", quote(text)))
}
