//! Lists in DNS: the files that name them, and how a plugin asks all of them at once.
//!
//! Three plugins ask lists (`dnsbl`, `rhsbl`, `dns_whitelist_soft`); what a line of their files means
//! and what an answer means is the same for all. All zones are asked in one round, an address and,
//! where the line has no text of its own, the list's text together; the first listing in the order
//! of the file counts. A list in error is logged by name and never counts.

use crate::config::files::{Line, Problem, quote};
use crate::dns::lists::{Listing, can_be_asked, cause, classify, is_zone};
use crate::dns::{Answer, Kind, Question, Record};
use crate::plugin::Zone as ToldZone;
use crate::plugin::facts::RejectType;
use crate::plugin::log::{Level, foreign_within};
use crate::plugin::policy::{Policy, Reject, reject_type_of};
use crate::plugin::question::Pending;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx};
use std::net::Ipv4Addr;

/// Zones in one file: with two questions each they leave room for what other plugins ask.
const ZONES_MAX: usize = 40;

/// Octets of a list's text that are shown.
const TEXT_MAX: usize = 300;

/// What separates a zone from its text. Only the first counts: a text may be a URL.
const MARKS: [char; 2] = [';', ':'];

/// The lists of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones(Vec<Zone>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Zone {
    /// In lower case, without dots at its ends.
    name: Box<str>,
    /// What the admin wrote behind it.
    text: Option<Box<str>>,
}

/// Something is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The zone that lists it.
    pub zone: Box<str>,
    /// What the list answered, at least one.
    pub codes: Vec<Ipv4Addr>,
    /// The words for people: the admin's, else the list's (cleaned), else `listed in ZONE`.
    pub text: String,
}

impl Hit {
    /// Zone and codes, for the log.
    pub fn words(&self) -> String {
        let codes: Vec<String> = self.codes.iter().take(8).map(ToString::to_string).collect();
        format!("{} ({})", self.zone, codes.join(" "))
    }
}

impl Zones {
    /// Reads a file. A line is `zone`, `zone;text`, `zone:text`, `zone,zone` or, with `blanks`,
    /// `zone text`. What is no zone is left out with a warning: mail flows without that list too.
    pub fn load(setup: &Setup<'_>, file: &str, blanks: bool) -> Zones {
        let lines = setup.lines(file);
        setup.with_problems(|problems| {
            let mut zones = Zones::default();
            for line in &lines {
                for zone in parse(line, blanks, problems) {
                    zones.add(line, zone, problems);
                }
            }
            zones
        })
    }

    /// There are no lists.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The zones, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|zone| &*zone.name)
    }

    /// The zones as [`crate::plugin::Plugin::zones`] tells them.
    pub fn told(&self, of_names: bool) -> Vec<ToldZone> {
        self.names().map(|name| ToldZone { name: name.to_string(), of_names }).collect()
    }

    /// Asks ahead of time, for a later hook. `below` is what stands in front of each zone: a domain, or
    /// an address in reverse ([`crate::dns::reverse_address`]).
    pub fn want(&self, cx: &Cx<'_>, below: &str) {
        self.askable(below).flat_map(|zone| zone.questions(below)).for_each(|it| cx.want(it));
    }

    /// Asks all lists in one round and gives the first listing in the order of the file. Lists in
    /// error before it are logged, unless they rest for that already.
    ///
    /// # Errors
    /// [`Pending`] while any answer is missing.
    pub fn ask(&self, cx: &mut Cx<'_>, below: &str) -> Result<Option<Hit>, Pending> {
        let questions = self.askable(below).flat_map(|zone| zone.questions(below));
        let mut answers = cx.dns_lists(questions)?.into_iter();
        for zone in self.askable(below) {
            let address = answers.next().unwrap_or(Some(Answer::TempFail));
            let text = if zone.text.is_none() { answers.next().flatten() } else { None };
            let Some(address) = address else {
                cx.log(Level::Debug, format!("skip, {} is left alone", zone.name));
                continue;
            };
            match zone.judge(&address, text.as_ref()) {
                Ok(None) => {}
                Ok(Some(hit)) => {
                    let text = hit.text.replace("%IP%", &cx.peer().ip.to_string());
                    return Ok(Some(Hit { text, ..hit }));
                }
                Err(what) => cx.log(Level::Error, format!("error, {what}")),
            }
        }
        Ok(None)
    }

    fn askable<'a>(&'a self, below: &'a str) -> impl Iterator<Item = &'a Zone> {
        self.0.iter().filter(|zone| zone.questions(below).all(|it| can_be_asked(&it)))
    }

    fn add(&mut self, line: &Line, zone: Zone, problems: &mut Vec<Problem>) {
        let name = quote(&zone.name);
        let what = if !is_zone(&zone.name) {
            format!("{name} is no name of a list: not asked")
        } else if self.names().any(|known| known == &*zone.name) {
            format!("{name} stands here twice: asked once")
        } else if self.0.len() == ZONES_MAX {
            format!("there are more than {ZONES_MAX} lists: {name} is not asked")
        } else {
            return self.0.push(zone);
        };
        Problem::warning(line, what).note(problems);
    }
}

impl Zone {
    fn new(name: &str, text: &str) -> Zone {
        let text = Some(text.trim()).filter(|text| !text.is_empty()).map(Box::from);
        Zone { name: name.trim().trim_matches('.').to_ascii_lowercase().into(), text }
    }

    /// The list's own text is asked for together with the address: who is listed waits once.
    fn questions(&self, below: &str) -> impl Iterator<Item = Question> + use<> {
        let name = format!("{below}.{}", self.name);
        let text = self.text.is_none().then(|| Question::new(&name, Kind::Txt));
        std::iter::once(Question::new(&name, Kind::A)).chain(text)
    }

    /// A listing, none, or in words why the list is of no use.
    fn judge(&self, address: &Answer, text: Option<&Answer>) -> Result<Option<Hit>, String> {
        let codes = codes(&self.name, address)?;
        if codes.is_empty() {
            return Ok(None);
        }
        let own = self.text.as_deref().map(str::to_string);
        let text = own
            .or_else(|| text.and_then(first_text))
            .unwrap_or_else(|| format!("listed in {}", self.name));
        Ok(Some(Hit { zone: self.name.clone(), codes, text }))
    }
}

/// The codes with which a list answers, none where it does not list what it was asked about.
///
/// # Errors
/// In words, when the list does not answer, or answers with what is no code of a listing.
pub fn codes(zone: &str, address: &Answer) -> Result<Vec<Ipv4Addr>, String> {
    match classify(address) {
        Listing::Listed(codes) => Ok(codes),
        Listing::NotListed => Ok(Vec::new()),
        Listing::Unknown => Err(format!("{zone} query failed: no answer")),
        Listing::ListError(bad) => {
            let why = cause(bad).unwrap_or("no listing");
            Err(format!("{zone} answers with an error code ({bad}: {why})"))
        }
    }
}

/// The first text that says something, fit for a reply and a log line.
pub fn first_text(answer: &Answer) -> Option<String> {
    answer.records().iter().find_map(|record| match record {
        Record::Text(text) if !text.trim_ascii().is_empty() => {
            Some(foreign_within(text.trim_ascii(), TEXT_MAX))
        }
        Record::Text(_) | Record::Address(_) | Record::Name(_) | Record::Mx(..) => None,
    })
}

fn parse(line: &Line, blanks: bool, problems: &mut Vec<Problem>) -> Vec<Zone> {
    if let Some((name, text)) = line.text.split_once(MARKS) {
        let (word, more) = name.trim().split_once(char::is_whitespace).unwrap_or((name, ""));
        if blanks && !more.is_empty() {
            // The mark stands in a text that begins behind a blank.
            let text = line.text.get(word.len()..).unwrap_or(text);
            return vec![Zone::new(word, text)];
        }
        return vec![Zone::new(name, text)];
    }
    let parts: Vec<Zone> = line.text.split(',').map(|name| Zone::new(name, "")).collect();
    if parts.len() > 1 && parts.iter().all(|zone| is_zone(&zone.name)) {
        return parts;
    }
    let (name, text) = line.split_word();
    if !blanks && !text.is_empty() {
        let what = format!("a text stands behind ; or : and not like {}", quote(text));
        Problem::warning(line, what).note(problems);
    }
    vec![Zone::new(name, if blanks { text } else { "" })]
}

/// `reject`, `reject_type` and `timeout` of the plugins that ask block lists, and the one word that
/// may stand alone for the `reject_type` (`dnsbl disconnect`). How long a list may take is the
/// resolver's affair, so the `timeout` of old lines is only checked.
pub fn policy(args: &mut Args) -> Policy {
    args.number("timeout", 30_u32, 0..=3_600);
    let named = Policy::from_args(args, Reject::Now, RejectType::Perm);
    match args.positional() {
        None => named,
        Some(word) => {
            let reject_type = reject_type_of(&word).unwrap_or_else(|| {
                args.complain(format!(
                    "{word}: use perm, temp, disconnect or temp_disconnect, or names and values"
                ));
                named.reject_type
            });
            Policy { reject_type, ..named }
        }
    }
}

/// Reads the octets as a file in both forms: whatever stands there, the zones are names that can be
/// asked for, and none stands twice.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().map(str::trim).filter(|text| !text.is_empty()).zip(1..);
    for blanks in [false, true] {
        let (mut zones, mut problems) = (Zones::default(), Vec::new());
        for (text, number) in lines.clone() {
            let line = Line { text: text.into(), file: "z".into(), number };
            for zone in parse(&line, blanks, &mut problems) {
                zones.add(&line, zone, &mut problems);
            }
        }
        let mut names: Vec<&str> = zones.names().collect();
        assert!(names.len() <= ZONES_MAX && names.iter().all(|name| is_zone(name)));
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

#[cfg(test)]
mod tests;
