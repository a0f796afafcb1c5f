//! Lists of patterns that may lie in more files than one.
//!
//! qpsmtpd 0.84 kept regular expressions apart from addresses (`badmailfrom_patterns`),
//! distributions added files of their own, and 0.96 reads one file only. What an administrator once
//! refused must not come in because of an upgrade, so the old files are read as before, with a
//! warning that says where their lines belong now.

use crate::config::files::Line;
use crate::config::patterns::{PatternList, Rules};
use crate::plugin::site::Setup;

/// A file whose lines belong into another one now.
#[derive(Clone, Copy, Debug)]
pub struct Former {
    /// Its name in the config folder.
    pub file: &'static str,
    /// Each of its lines is a regular expression, whatever characters are in it.
    pub only_regexes: bool,
}

/// Reads the file `current`, and after it those of `former` that hold lines, each with a warning.
pub fn load(setup: &Setup<'_>, current: &str, former: &[Former], rules: Rules) -> PatternList {
    let mut lines = setup.lines(current);
    for file in former {
        let more = setup.lines(file.file);
        if more.is_empty() {
            continue;
        }
        setup.warn(
            file.file,
            format!("is read as part of {current}: move its lines there and remove it"),
        );
        lines.extend(
            more.into_iter().map(|line| if file.only_regexes { regex(line) } else { line }),
        );
    }
    setup.with_problems(|problems| PatternList::load(&lines, rules, problems))
}

/// The line with slashes around its pattern, which make it a regular expression in any case.
fn regex(line: Line) -> Line {
    let (pattern, reason) = line.split_word();
    let is_slashed = pattern.len() > 1 && pattern.starts_with('/') && pattern.ends_with('/');
    let text = if is_slashed { line.text } else { format!("/{pattern}/ {reason}") };
    Line { text: text.trim_end().to_string(), ..line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    const FORMER: [Former; 2] = [
        Former { file: "bad_patterns", only_regexes: true },
        Former { file: "more_bad", only_regexes: false },
    ];

    fn load_from(files: &[(&str, &str)]) -> (PatternList, Vec<String>) {
        let owned = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let files = Files::in_memory(owned);
        let mut problems = Vec::new();
        let list = load(&Setup::new(&files, &mut problems), "bad", &FORMER, Rules::SENDERS);
        (list, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn former_files_are_read_after_the_current_one() {
        let (list, problems) = load_from(&[
            ("bad", "a@x.example first"),
            ("bad_patterns", "x.example late\n/^b@/ slashed\n"),
            ("more_bad", "c@y.example\n@z.example"),
        ]);
        for (address, domain, reason) in [
            ("a@x.example", "x.example", Some(Some("first"))),
            ("z@x.example", "x.example", Some(Some("late"))),
            ("z@mail.x.example.org", "mail.x.example.org", Some(Some("late"))),
            ("b@y.example", "y.example", Some(Some("slashed"))),
            ("c@y.example", "y.example", Some(None)),
            ("d@z.example", "z.example", Some(None)),
            ("d@y.example", "y.example", None),
        ] {
            assert_eq!(list.find(address, domain).map(|it| it.reason), reason, "{address}");
        }
        let expected = ["bad_patterns", "more_bad"].map(|file| {
            format!("{file}: warning: is read as part of bad: move its lines there and remove it")
        });
        assert_eq!(problems, expected);
    }

    #[test]
    fn missing_and_empty_files_are_no_matter() {
        let (list, problems) = load_from(&[("bad_patterns", "# nothing\n")]);
        assert!(list.is_empty());
        assert!(problems.is_empty(), "{problems:?}");
    }
}
