//! What the plugins that look for signatures of files have in common: which lists of signatures they
//! read (`signatures_SUFFIX`), how those are looked for, and what a hit comes to. Their arguments may
//! stand in the plugin's line, in a file of the plugin's name, and in such a file of a recipient.

use crate::config::files::{Line, Problem};
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Own, Pending, Verdict};
use crate::smtp::address::Address;
use aho_corasick::{
    AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, Anchored, Input, MatchKind, StartKind,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Signatures of one set of lists, and their octets.
const SIGNATURES_MAX: usize = 10_000;
const OCTETS_MAX: usize = 256 * 1_024;

/// The only score that a hit can add to.
const SCORE: &str = "virus_score";

/// What a hit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The message is refused.
    Deny,
    /// So many points are added to the score `virus_score`, and the message goes on.
    Note(i32),
}

/// The arguments of such a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// The lists, by what stands behind `signatures_`.
    pub check: Vec<String>,
    /// What a hit comes to.
    pub action: Action,
    /// Recipients may have arguments of their own.
    pub per_recipient: bool,
}

impl Options {
    /// One list, and what its hits come to: the defaults of a plugin.
    pub fn new(check: &str, action: Action) -> Options {
        Options { check: vec![check.to_string()], action, per_recipient: false }
    }

    /// What the common file and the plugin's line say, on top of the defaults; the line counts before
    /// the file.
    #[must_use]
    pub fn read(mut self, file: &str, args: &mut Args, setup: &Setup<'_>) -> Options {
        self.take_lines(file, &setup.lines(file), setup);
        self.take(args);
        self
    }

    /// The signatures of all lists, one a line.
    pub fn signatures(&self, setup: &Setup<'_>) -> Vec<Line> {
        let files = self.check.iter().map(|suffix| format!("signatures_{suffix}"));
        files.flat_map(|file| setup.lines(&file)).collect()
    }

    fn take_lines(&mut self, file: &str, lines: &[Line], setup: &Setup<'_>) {
        for line in lines {
            let text = format!("{file} {}", line.text);
            let mut args = Args::new(Line { text, ..line.clone() });
            self.take(&mut args);
            for what in args.finish() {
                setup.with_problems(|problems| Problem::error(line, what).note(problems));
            }
        }
    }

    /// Takes what the words say, and leaves the rest as it was.
    fn take(&mut self, args: &mut Args) {
        // Before the old name of `check`, which is a value of this one too.
        if let Some(word) = args.named("action") {
            match action(&word) {
                Some(action) => self.action = action,
                None => args.complain(format!(
                    "action {word}: use deny, note or note:{SCORE}=VALUE, the only score there is"
                )),
            }
        }
        let [check, deny] = ["check", "deny"].map(|name| (name, args.named(name)));
        for (name, list) in [deny, check] {
            let Some(list) = list else { continue };
            let is_suffix = |word: &&str| {
                let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
                !word.is_empty() && word.bytes().all(fits)
            };
            if list.split(',').all(|word| is_suffix(&word)) {
                self.check = list.split(',').map(str::to_string).collect();
            } else {
                args.complain(format!("{name} {list}: give names with commas between them"));
            }
        }
        match args.named("per_recipient").as_deref() {
            None => {}
            Some("1") => self.per_recipient = true,
            Some("0") => self.per_recipient = false,
            Some(other) => args.complain(format!("per_recipient {other}: use 0 or 1")),
        }
    }
}

/// What a plugin works with: that of all, and that of recipients who have arguments of their own.
/// Whoever asks for the same shares it.
pub struct Filters<T> {
    common: Arc<T>,
    own: Own<Arc<T>>,
}

impl<T> Filters<T> {
    /// Makes what the plugin works with of the options, and of what recipients say on top of them in
    /// `file`.
    pub fn load(
        options: &Options,
        file: &str,
        setup: &Setup<'_>,
        compile: impl Fn(&Options) -> T,
    ) -> Filters<T> {
        let mut made: HashMap<Options, Arc<T>> = HashMap::new();
        let mut make = |options: Options| {
            let filter = made.entry(options).or_insert_with_key(|key| Arc::new(compile(key)));
            Arc::clone(filter)
        };
        let common = make(options.clone());
        let own = if options.per_recipient {
            Own::load(setup, file, |lines| {
                let mut options = options.clone();
                options.take_lines(file, lines, setup);
                make(options)
            })
        } else {
            Own::none()
        };
        Filters { common, own }
    }

    /// Those of the recipients, each once.
    ///
    /// # Errors
    /// [`Pending`] while it is not known which settings are whose.
    pub fn of(&self, cx: &Cx<'_>, recipients: &[Address]) -> Result<Vec<&T>, Pending> {
        let mut filters: Vec<&Arc<T>> = Vec::new();
        for recipient in recipients {
            let folders = cx.config_for(recipient)?;
            let filter = folders.find(&self.own).unwrap_or(&self.common);
            if !filters.iter().any(|known| Arc::ptr_eq(known, filter)) {
                filters.push(filter);
            }
        }
        Ok(filters.into_iter().map(|filter| &**filter).collect())
    }
}

/// Signatures that are looked for at the start of a text, all in one pass over as much of it as the
/// longest that may fit.
#[derive(Debug, Default)]
pub struct Beginnings(Option<AhoCorasick>);

impl Beginnings {
    /// Makes one automaton of all. What is over the bounds is told and left out.
    pub fn compile<'l>(
        signatures: impl IntoIterator<Item = (&'l Line, Vec<u8>)>,
        problems: &mut Vec<Problem>,
    ) -> Beginnings {
        let (mut kept, mut octets): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
        let mut last = None;
        for (line, text) in signatures {
            octets += text.len();
            if kept.len() >= SIGNATURES_MAX || octets > OCTETS_MAX {
                let what = format!(
                    "there are more than {SIGNATURES_MAX} signatures or {OCTETS_MAX} octets of them"
                );
                Problem::error(line, what).note(problems);
                break;
            }
            kept.push(text);
            last = Some(line);
        }
        let Some(line) = last else { return Beginnings::default() };
        let built = AhoCorasickBuilder::new()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::LeftmostFirst)
            .build(&kept);
        match built {
            Ok(automaton) => Beginnings(Some(automaton)),
            Err(error) => {
                Problem::error(line, format!("the signatures cannot be used: {error}"))
                    .note(problems);
                Beginnings::default()
            }
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The signature that a text begins with.
    pub fn find<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let input = Input::new(text).anchored(Anchored::Yes);
        // An error means that the automaton is not for this kind of search, for which it was made.
        let found = self.0.as_ref()?.try_find(input).ok().flatten()?;
        text.get(..found.end())
    }
}

fn action(word: &str) -> Option<Action> {
    match word {
        "deny" => return Some(Action::Deny),
        "note" => return Some(Action::Note(1)),
        _ => {}
    }
    let (name, points) = match word.strip_prefix("note:")?.split_once('=') {
        Some((name, points)) => (name, points.parse().ok()?),
        None => (word.strip_prefix("note:")?, 1),
    };
    (name == SCORE).then_some(Action::Note(points))
}

/// Does what a hit comes to. `found` is for the client, `words` for the log, both without control
/// characters.
pub fn act(cx: &mut Cx<'_>, action: Action, found: &str, words: &str) -> Verdict {
    match action {
        Action::Deny => {
            cx.log(Level::Info, format!("fail, {words}"));
            let text = format!("We don't accept email with executable content [{found}].");
            Verdict::deny((7, 1), text)
        }
        Action::Note(points) => {
            cx.log(Level::Info, format!("fail, tolerated, {SCORE} {points}, {words}"));
            cx.score(SCORE, points);
            Verdict::Declined
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn both_ways_of_writing_the_arguments() {
        for (line, file, check, action, faults) in [
            ("x", "", "patterns", Action::Deny, 0),
            ("x check=patterns action=deny", "", "patterns", Action::Deny, 0),
            ("x check exe,zip action note", "", "exe,zip", Action::Note(1), 0),
            ("x check exe action deny per_recipient 1", "", "exe", Action::Deny, 0),
            ("x action deny deny zip", "", "zip", Action::Deny, 0),
            ("x deny exe check zip", "", "zip", Action::Deny, 0),
            ("x deny zip", "", "zip", Action::Deny, 0),
            ("x action note:virus_score=5", "", "patterns", Action::Note(5), 0),
            ("x action=note:virus_score", "", "patterns", Action::Note(1), 0),
            ("x", "check exe\naction note", "exe", Action::Note(1), 0),
            ("x check zip", "check exe", "zip", Action::Deny, 0),
            ("x action note:karma=1", "", "patterns", Action::Deny, 1),
            ("x action note:virus_score=many", "", "patterns", Action::Deny, 1),
            ("x check ../me", "", "patterns", Action::Deny, 1),
            ("x check a,,b", "", "patterns", Action::Deny, 1),
            ("x per_recipient 2 patterns", "", "patterns", Action::Deny, 2),
            ("x", "chek exe", "patterns", Action::Deny, 1),
        ] {
            let files = Files::in_memory([("x".to_string(), file.to_string())]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            let setup = Setup::new(&files, &mut problems);
            let options = Options::new("patterns", Action::Deny).read("x", &mut args, &setup);
            drop(setup);
            assert_eq!(
                (options.check.join(",").as_str(), options.action),
                (check, action),
                "{line}"
            );
            assert_eq!(args.finish().len() + problems.len(), faults, "{line} {file}");
        }
    }
    #[test]
    fn beginnings_are_bounded_and_the_first_that_fits_is_found() {
        let many: Vec<String> = (0..=SIGNATURES_MAX).map(|n| format!("A{n:05}")).collect();
        let long = "B".repeat(OCTETS_MAX / 4);
        for (list, faults, text, expected) in [
            (vec!["TVqQAA", "TVqQ"], 0, "TVqQAAMAA", Some("TVqQAA")),
            (vec!["TVqQ", "TVqQAA"], 0, "TVqQAAMAA", Some("TVqQ")),
            (vec!["TVqQ"], 0, "xTVqQ", None),
            (vec!["TVqQ"], 0, "TVq", None),
            (vec!["TVqQ"], 0, "", None),
            (vec![], 0, "TVqQ", None),
            (many.iter().map(String::as_str).collect(), 1, "A09999x", Some("A09999")),
            (many.iter().map(String::as_str).collect(), 1, "A10000x", None),
            (vec![&long, &long, &long, "ab", &long, "x"], 1, "abc", Some("ab")),
        ] {
            let line = Line { text: String::new(), file: Arc::from("list"), number: 1 };
            let signatures = list.iter().map(|text| (&line, text.as_bytes().to_vec()));
            let mut problems = Vec::new();
            let beginnings = Beginnings::compile(signatures, &mut problems);
            assert_eq!(beginnings.is_empty(), list.is_empty());
            assert_eq!(problems.len(), faults, "{problems:?}");
            assert_eq!(beginnings.find(text.as_bytes()), expected.map(str::as_bytes), "{text}");
        }
    }
}
