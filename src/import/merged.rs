//! Files that were read beside others once.

use super::{Entry, Folder, Outcome, Step, is_data, numbered};
use crate::config::patterns::is_regex;
use std::collections::HashSet;

/// A file, the one that has its lines now, and whether each is a regular expression by its place.
const MERGED: [(&str, &str, bool); 3] = [
    ("badrcptto_patterns", "badrcptto", true),
    ("more_badrcptto", "badrcptto", false),
    ("badmailfrom_patterns", "badmailfrom", true),
];

/// Appends the lines that are not there yet, and removes the old files.
pub(super) fn merge_all(files: &Folder, outcome: &mut Outcome) {
    for target in ["badmailfrom", "badrcptto"] {
        let old = MERGED.into_iter().filter(|(_, into, _)| *into == target);
        let old: Vec<_> = old.filter_map(|it| Some((it.0, files.get(it.0)?, it.2))).collect();
        if old.is_empty() {
            continue;
        }
        let mut merged = Merged::new(files.get(target).map_or(&[], |text| text.as_slice()));
        for (from, text, only_regexes) in old {
            for (number, line) in numbered(text) {
                let line = line.trim_ascii();
                let new = if only_regexes && is_data(line) { regex(line) } else { line.to_vec() };
                if merged.append(&new) && is_data(line) {
                    let new = String::from_utf8_lossy(&new);
                    let new = format!("{target}:{}: {new}", merged.lines);
                    let old = String::from_utf8_lossy(line);
                    let place = format!("{from}:{number}");
                    outcome.report.push(Entry::changed(place, &old, new));
                }
            }
            let what = format!("(removed: its lines are in {target})");
            outcome.report.push(Entry::changed(from, "the file", what));
            outcome.steps.push(Step::Remove { name: from.to_string() });
        }
        outcome.write(files, target.to_string(), merged.text);
    }
}

/// A file that gets lines of others.
struct Merged {
    text: Vec<u8>,
    lines: usize,
    known: HashSet<Vec<u8>>,
}

impl Merged {
    fn new(text: &[u8]) -> Merged {
        let known = numbered(text).map(|(_, line)| line.trim_ascii().to_vec()).collect();
        Merged { text: text.to_vec(), lines: numbered(text).count(), known }
    }

    /// Appends a line, a comment too, unless it is there or empty; says whether it did.
    fn append(&mut self, line: &[u8]) -> bool {
        if line.is_empty() || !self.known.insert(line.to_vec()) {
            return false;
        }
        if self.text.last().is_some_and(|last| *last != b'\n') {
            self.text.push(b'\n');
        }
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        self.lines += 1;
        true
    }
}

/// The line in a form that is a regular expression among others, too.
fn regex(line: &[u8]) -> Vec<u8> {
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (pattern, reason) = line.split_at(end);
    if is_regex(&String::from_utf8_lossy(pattern)) {
        return line.to_vec();
    }
    [b"/", pattern, b"/", reason].concat()
}
