//! The words of a line in the `plugins` file: `name key value …` or `name key=value …`.
//!
//! A plugin takes the words it knows; whatever is left at the end is reported, so that a misspelt
//! argument is an error at start and never silently ignored.

use crate::config::files::Line;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

/// The arguments of one plugin line.
#[derive(Clone, Debug)]
pub struct Args {
    /// The name as written, an alias perhaps; a plugin may read old arguments by it.
    pub called: String,
    /// The instance behind `name:`, empty for the first.
    pub instance: String,
    /// Where the line stands.
    pub line: Line,
    also_called: Vec<String>,
    words: Vec<String>,
    complaints: Vec<String>,
}

impl Args {
    /// Splits a line into name, instance and words.
    pub fn new(line: Line) -> Args {
        let mut words = line.text.split_whitespace().map(str::to_string);
        let name = words.next().unwrap_or_default();
        let (called, instance) = match name.split_once(':') {
            // A Perl module name; there is none that we could load.
            Some((_, rest)) if rest.starts_with(':') => (name.clone(), String::new()),
            Some((called, instance)) => (called.to_string(), instance.to_string()),
            None => (name.clone(), String::new()),
        };
        let words = words.collect();
        Args { called, instance, line, also_called: Vec::new(), words, complaints: Vec::new() }
    }

    /// Takes over another line that names the same plugin: its words are added, its name remembered.
    pub fn merge(&mut self, other: Args) {
        self.also_called.push(other.called);
        self.words.extend(other.words);
    }

    /// The line, or one merged into it, used this name.
    pub fn was_called(&self, name: &str) -> bool {
        self.called == name || self.also_called.iter().any(|called| called == name)
    }

    /// Tells lines apart that load different plugins.
    pub fn key(&self) -> String {
        format!(
            "{}:{} {} {}",
            self.called,
            self.instance,
            self.also_called.join(","),
            self.words.join(" ")
        )
    }

    /// The arguments of a line given as text, for tests and built-in lists.
    pub fn of(text: &str) -> Args {
        Args::new(Line { text: text.to_string(), file: Arc::from("plugins"), number: 1 })
    }

    /// Takes `key value` or `key=value`; the last of several wins.
    pub fn named(&mut self, key: &str) -> Option<String> {
        self.repeated(key).pop()
    }

    /// Takes every `key value` and `key=value`, in order.
    pub fn repeated(&mut self, key: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut kept = Vec::new();
        let mut words = std::mem::take(&mut self.words).into_iter();
        while let Some(word) = words.next() {
            match word.strip_prefix(key) {
                Some("") => match words.next() {
                    Some(value) => found.push(value),
                    None => self.complaints.push(format!("argument '{key}' has no value")),
                },
                Some(rest) if rest.starts_with('=') => found.push(rest.split_at(1).1.to_string()),
                _ => kept.push(word),
            }
        }
        self.words = kept;
        found
    }

    /// Takes the first word that is left.
    pub fn positional(&mut self) -> Option<String> {
        (!self.words.is_empty()).then(|| self.words.remove(0))
    }

    /// Takes all words that are left.
    pub fn rest(&mut self) -> Vec<String> {
        std::mem::take(&mut self.words)
    }

    /// How many words are left.
    pub fn left(&self) -> usize {
        self.words.len()
    }

    /// Takes a number by name; a bad one is a complaint and gives the default.
    pub fn number<T>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        match self.named(key) {
            Some(word) => self.checked(key, &word, default, range),
            None => default,
        }
    }

    /// Takes a number by position; a bad one is a complaint and gives the default.
    pub fn positional_number<T>(&mut self, what: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        match self.positional() {
            Some(word) => self.checked(what, &word, default, range),
            None => default,
        }
    }

    fn checked<T>(&mut self, what: &str, word: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        match word.parse::<T>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.complain(format!("{what} {word}: give a number from {low} to {high}"));
                default
            }
        }
    }

    /// Notes a fault of the line.
    pub fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }

    /// The faults found, unknown words among them.
    pub fn finish(&mut self) -> Vec<String> {
        let mut complaints = std::mem::take(&mut self.complaints);
        if !self.words.is_empty() {
            complaints.push(format!("unknown argument: {}", self.words.join(" ")));
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_an_argument() {
        let mut args = Args::of("earlytalker:2 wait 3 check-at CONNECT check-at=DATA odd");
        assert_eq!((args.called.as_str(), args.instance.as_str()), ("earlytalker", "2"));
        assert_eq!(args.number("wait", 1_u32, 0..=60), 3);
        assert_eq!(args.repeated("check-at"), ["CONNECT", "DATA"]);
        assert_eq!(args.finish(), ["unknown argument: odd"]);
    }

    #[test]
    fn faults_are_told_and_the_default_holds() {
        let mut args = Args::of("x wait never negative");
        assert_eq!(args.number("wait", 1_u32, 0..=60), 1);
        assert_eq!(args.number("negative", 2_u32, 0..=9), 2);
        assert_eq!(
            args.finish(),
            ["wait never: give a number from 0 to 60", "argument 'negative' has no value"]
        );
    }

    #[test]
    fn names_and_instances() {
        for (line, called, instance) in
            [("a b", "a", ""), ("queue/x:2", "queue/x", "2"), ("My::Module x", "My::Module", "")]
        {
            let args = Args::of(line);
            assert_eq!((args.called.as_str(), args.instance.as_str()), (called, instance));
        }
    }
}
