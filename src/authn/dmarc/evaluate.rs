//! Judging a message: the author's policy, what speaks for the author, and what follows (RFC 9989
//! sections 4.10 and 5.3).
//!
//! All questions go out in two rounds. In the first, the author's own records: most domains with a
//! policy have it there, and most of their mail is signed by that very domain, so that nothing else is
//! asked. In the second, all that is left of every walk.

use super::discover::{Discovery, organisation, single};
use super::record::{Alignment, Invalid, Policy, Psd, Record};
use crate::authn::Lookup;
use crate::authn::dkim::text::is_below;
use crate::authn::dkim::{Outcome, Verified};
use crate::authn::spf::SpfResult;
use crate::dns::{Answer, Kind, Question};

/// Domains of each kind that [`any_aligned`] looks at.
pub const OTHERS_MAX: usize = 4;

/// What is known of a message before it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The domains in From, in A-labels and lower case.
    pub authors: &'a [String],
    /// From says exactly one thing: there is one field, and every reader finds this one domain in it.
    pub is_clear: bool,
    /// SPF of the reverse-path, or of HELO where that is null: domain and result. None where it was not
    /// looked at.
    pub spf: Option<(&'a str, SpfResult)>,
    /// The signatures. None where nobody looked.
    pub dkim: Option<&'a [Verified]>,
}

/// What it came to, in the words of RFC 8601.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmarcResult {
    /// The domain has no policy.
    None,
    /// The author's domain stands behind the message.
    Pass,
    /// It does not.
    Fail,
    /// Nobody can say now.
    TempError,
    /// There is no domain to ask.
    PermError,
}

impl DmarcResult {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            DmarcResult::None => "none",
            DmarcResult::Pass => "pass",
            DmarcResult::Fail => "fail",
            DmarcResult::TempError => "temperror",
            DmarcResult::PermError => "permerror",
        }
    }
}

/// The policy that counts for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The domain in From that it is for.
    pub author: String,
    /// The domain at which the record stands.
    pub domain: String,
    /// The record.
    pub record: Record,
    /// What it says for this author: `p`, `sp` or `np`.
    pub policy: Policy,
    /// How it was found.
    pub discovery: Discovery,
}

impl Applied {
    /// What is wanted after all: one step less where the domain is testing.
    pub fn wanted(&self) -> Policy {
        if self.record.testing { self.policy.lowered() } else { self.policy }
    }
}

/// A message, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The result.
    pub result: DmarcResult,
    /// The policy; of several authors' the strictest.
    pub applied: Option<Applied>,
    /// SPF passes, for the author.
    pub spf: bool,
    /// A signature passes, for the author and for the whole body.
    pub dkim: bool,
    /// What cannot be told from result and policy, in words.
    pub why: &'static str,
}

impl Judgement {
    /// What the domain wants done with the message; nothing unless it fails.
    pub fn wanted(&self) -> Policy {
        match (self.result, &self.applied) {
            (DmarcResult::Fail, Some(applied)) => applied.wanted(),
            _ => Policy::None,
        }
    }
}

/// Judges a message.
///
/// # Errors
/// An answer is missing.
pub fn evaluate<L: Lookup>(
    lookup: &mut L,
    discovery: Discovery,
    evidence: &Evidence<'_>,
) -> Result<Judgement, L::Missing> {
    let mut known = Known::new(discovery);
    let authors = evidence.authors;
    let own = authors.iter().filter(|author| is_askable(author)).map(|author| text_of(author));
    known.fetch(lookup, own.collect())?;
    let rest = authors.iter().flat_map(|author| known.left(author, evidence)).collect();
    known.fetch(lookup, rest)?;
    Ok(judge(&known, evidence))
}

/// Whether one of these domains, for which others have seen SPF (`spf`) or a signature (`dkim`) pass,
/// speaks for the author of a policy, by its record's modes. At most [`OTHERS_MAX`] of each are looked at.
/// None where nobody can say.
///
/// # Errors
/// An answer is missing.
pub fn any_aligned<L: Lookup>(
    lookup: &mut L,
    applied: &Applied,
    spf: &[String],
    dkim: &[String],
) -> Result<Option<bool>, L::Missing> {
    let author = applied.author.as_str();
    let of = |domains: &'_ [String], mode| {
        domains.iter().take(OTHERS_MAX).map(|domain| (domain.clone(), mode)).collect::<Vec<_>>()
    };
    let all = [of(spf, applied.record.spf), of(dkim, applied.record.dkim)].concat();
    let mut known = Known::new(applied.discovery);
    if applied.discovery == Discovery::Tree && !all.iter().any(|(domain, _)| domain == author) {
        let relaxed = all
            .iter()
            .filter(|(domain, mode)| *mode == Alignment::Relaxed && may_be_kin(domain, author));
        let mut wanted: Vec<Question> =
            relaxed.flat_map(|(domain, _)| known.walk_of(domain)).collect();
        if !wanted.is_empty() {
            wanted.extend(known.walk_of(author));
        }
        known.fetch(lookup, wanted)?;
    }
    let found: Vec<Option<bool>> =
        all.iter().map(|(domain, mode)| known.aligned(domain, author, *mode)).collect();
    Ok(if found.contains(&Some(true)) {
        Some(true)
    } else if found.contains(&None) {
        None
    } else {
        Some(false)
    })
}

fn judge(known: &Known, evidence: &Evidence<'_>) -> Judgement {
    let of = |result, why| Judgement { result, applied: None, spf: false, dkim: false, why };
    if evidence.authors.is_empty() {
        return of(DmarcResult::PermError, "no domain in From");
    }
    let mut strictest: Option<Applied> = None;
    let mut is_unknown = false;
    for author in evidence.authors {
        match known.policy(author) {
            Found::Policy(applied) => {
                let is_stricter = |it: &Applied| applied.wanted() > it.wanted();
                if strictest.as_ref().is_none_or(is_stricter) {
                    strictest = Some(*applied);
                }
            }
            Found::None => {}
            Found::Unknown => is_unknown = true,
        }
    }
    let Some(applied) = strictest else {
        return match (is_unknown, evidence.is_clear) {
            (true, _) => of(DmarcResult::TempError, "policy out of reach"),
            (false, true) => of(DmarcResult::None, "no policy"),
            (false, false) => of(DmarcResult::PermError, "no single author"),
        };
    };
    if !evidence.is_clear || evidence.authors.len() > 1 {
        // A reader may see any of them, so nothing can speak for all.
        let why = "no single author";
        let fail = of(DmarcResult::Fail, why);
        return Judgement { applied: Some(applied), ..fail };
    }
    align(known, evidence, applied)
}

/// Whether anything that passes speaks for the author.
fn align(known: &Known, evidence: &Evidence<'_>, applied: Applied) -> Judgement {
    let author = applied.author.as_str();
    let record = &applied.record;
    let mut unsure = Vec::new();
    let mut speaks = |domain: &str, mode, passes: bool, is_open: bool| {
        if !passes && !is_open {
            return false;
        }
        match known.aligned(domain, author, mode) {
            Some(true) if passes => true,
            Some(true) => {
                unsure.push("a check has no result yet");
                false
            }
            None => {
                unsure.push("organisation out of reach");
                false
            }
            Some(false) => false,
        }
    };
    let spf = evidence.spf.is_some_and(|(domain, result)| {
        let (passes, open) = (result == SpfResult::Pass, result == SpfResult::TempError);
        speaks(domain, record.spf, passes, open)
    });
    let mut dkim = false;
    for signature in evidence.dkim.unwrap_or_default() {
        let is_open = signature.outcome == Outcome::TempError;
        dkim |= speaks(&signature.domain, record.dkim, signature.passes_for_all(), is_open);
    }
    if evidence.spf.is_none() {
        unsure.push("SPF was not looked at");
    }
    if evidence.dkim.is_none() {
        unsure.push("DKIM was not looked at");
    }
    let (result, why) = match unsure.first() {
        _ if spf || dkim => (DmarcResult::Pass, ""),
        Some(why) => (DmarcResult::TempError, *why),
        None => (DmarcResult::Fail, ""),
    };
    Judgement { result, applied: Some(applied), spf, dkim, why }
}

/// Whether a domain has a policy.
enum Found {
    Policy(Box<Applied>),
    None,
    Unknown,
}

/// What one walk found.
struct Walk<'d> {
    /// Domains with a record that counts, from the longest to the shortest.
    records: Vec<(&'d str, Record)>,
    /// A name server failed on the way.
    is_unknown: bool,
}

impl<'d> Walk<'d> {
    /// The organisational domain (RFC 9989 section 4.10.2).
    fn organisation(&self, domain: &'d str) -> &'d str {
        for (at, record) in &self.records {
            match record.psd {
                Psd::No => return at,
                Psd::Yes if *at != domain => return below(domain, at),
                Psd::Yes | Psd::Unknown => {}
            }
        }
        self.records.last().map_or(domain, |(at, _)| at)
    }
}

/// The domain one label below `suffix` on the way to `domain`.
fn below<'d>(domain: &'d str, suffix: &str) -> &'d str {
    let front = domain.strip_suffix(suffix).and_then(|front| front.strip_suffix('.'));
    let label = front.map_or("", |front| front.rsplit('.').next().unwrap_or(front));
    domain.get(domain.len().saturating_sub(suffix.len() + label.len() + 1)..).unwrap_or(domain)
}

/// The answers so far.
struct Known {
    discovery: Discovery,
    answers: Vec<(Question, Answer)>,
}

impl Known {
    fn new(discovery: Discovery) -> Known {
        Known { discovery, answers: Vec::new() }
    }

    fn fetch<L: Lookup>(
        &mut self,
        lookup: &mut L,
        wanted: Vec<Question>,
    ) -> Result<(), L::Missing> {
        let mut new: Vec<Question> = Vec::new();
        for question in wanted {
            if !new.contains(&question) && self.find(&question).is_none() {
                new.push(question);
            }
        }
        if !new.is_empty() {
            let answers = lookup.ask_all(new.clone())?;
            self.answers.extend(new.into_iter().zip(answers));
        }
        Ok(())
    }

    fn find(&self, question: &Question) -> Option<&Answer> {
        self.answers.iter().find(|(known, _)| known == question).map(|(_, answer)| answer)
    }

    /// What is still to be asked about an author, once its own record is known.
    fn left(&self, author: &str, evidence: &Evidence<'_>) -> Vec<Question> {
        let own = match self.record(author) {
            Ok(own) => own,
            // Without its policy there is nothing to judge.
            Err(_) => return Vec::new(),
        };
        let mut left = Vec::new();
        let is_alone = evidence.is_clear && evidence.authors.len() == 1;
        // By the list nothing more is asked to compare organisations.
        let may_ask = is_alone && self.discovery == Discovery::Tree;
        let others = if may_ask { others(author, own.as_ref(), evidence) } else { Vec::new() };
        if own.is_none() {
            left.extend([Kind::A, Kind::Aaaa, Kind::Mx].map(|kind| Question::new(author, kind)));
        }
        if own.is_none() || !others.is_empty() {
            left.extend(self.walk_of(author));
        }
        left.extend(others.into_iter().flat_map(|other| self.walk_of(other)));
        left
    }

    /// The record of one name; None where there is none that counts.
    fn record(&self, domain: &str) -> Result<Option<Record>, Stop> {
        if !is_askable(domain) {
            return Ok(None);
        }
        match self.find(&text_of(domain)) {
            None | Some(Answer::TempFail) => Err(Stop::Unknown),
            Some(answer) => match single(answer).map(Record::parse) {
                Some(Ok(record)) => Ok(Some(record)),
                Some(Err(Invalid::Policy)) => Err(Stop::Ignored),
                Some(Err(Invalid::Version | Invalid::Tags)) | None => Ok(None),
            },
        }
    }

    fn walk<'d>(&self, domain: &'d str) -> Walk<'d> {
        let mut walk = Walk { records: Vec::new(), is_unknown: false };
        for target in self.discovery.targets(domain) {
            match self.record(target) {
                Ok(Some(record)) => {
                    let ends = record.psd != Psd::Unknown;
                    walk.records.push((target, record));
                    if ends {
                        break;
                    }
                }
                Ok(None) | Err(Stop::Ignored) => {}
                Err(Stop::Unknown) => walk.is_unknown = true,
            }
        }
        walk
    }

    fn walk_of(&self, domain: &str) -> Vec<Question> {
        let targets = self.discovery.targets(domain).into_iter();
        targets.filter(|target| is_askable(target)).map(text_of).collect()
    }

    /// The policy for an author: its own, its organisation's, or that of the public suffix.
    fn policy(&self, author: &str) -> Found {
        let found = |domain: &str, record: Record, policy| {
            let (author, domain) = (author.to_string(), domain.to_string());
            let discovery = self.discovery;
            Found::Policy(Box::new(Applied { author, domain, record, policy, discovery }))
        };
        match self.record(author) {
            Ok(Some(record)) => {
                let policy = record.own();
                return found(author, record, policy);
            }
            Ok(None) => {}
            Err(Stop::Ignored) => return Found::None,
            Err(Stop::Unknown) => return Found::Unknown,
        }
        let walk = self.walk(author);
        if walk.is_unknown {
            return Found::Unknown;
        }
        let organisation = match self.discovery {
            Discovery::Tree => walk.organisation(author),
            Discovery::Psl => organisation(author),
        };
        let of = |domain: &str| walk.records.iter().find(|(at, _)| *at == domain);
        let suffix = || walk.records.last().filter(|(_, record)| record.psd == Psd::Yes);
        match of(organisation).or_else(suffix) {
            Some((at, record)) => found(at, record.clone(), self.for_subdomain(author, record)),
            None => Found::None,
        }
    }

    /// `sp` or `np`; the milder where nobody knows whether the author's domain exists.
    fn for_subdomain(&self, author: &str, record: &Record) -> Policy {
        let (there, missing) = (record.below(true), record.below(false));
        let kinds = [Kind::A, Kind::Aaaa, Kind::Mx];
        let answers = kinds.map(|kind| self.find(&Question::new(author, kind)));
        if answers.iter().any(|answer| matches!(answer, Some(Answer::Found(_)))) {
            there
        } else if answers.iter().all(|it| matches!(it, Some(Answer::NxDomain | Answer::NoData))) {
            missing
        } else {
            there.min(missing)
        }
    }

    /// Whether a domain speaks for the author; None where nobody can say.
    fn aligned(&self, domain: &str, author: &str, mode: Alignment) -> Option<bool> {
        if domain == author {
            return Some(true);
        }
        if mode == Alignment::Strict || !may_be_kin(domain, author) {
            return Some(false);
        }
        if self.discovery == Discovery::Psl {
            return Some(organisation(domain) == organisation(author));
        }
        let (ours, theirs) = (self.walk(author), self.walk(domain));
        // An organisation is a domain above, so that who is not below the author's has another one. Its
        // own name servers, which may fail on purpose, have no say in that.
        if !ours.is_unknown && !is_below(domain, ours.organisation(author)) {
            return Some(false);
        }
        if ours.is_unknown || theirs.is_unknown {
            return None;
        }
        Some(ours.organisation(author) == theirs.organisation(domain))
    }
}

/// Why a name has no record that could be used.
enum Stop {
    /// A name server failed, or was not asked.
    Unknown,
    /// Its record is to be left alone: no policy in it, and nobody to tell.
    Ignored,
}

/// The domains whose organisation matters: they pass, or may yet, and are not the author's own.
fn others<'a>(author: &str, own: Option<&Record>, evidence: &Evidence<'a>) -> Vec<&'a str> {
    let is_relaxed = |mode: fn(&Record) -> Alignment| {
        own.is_none_or(|record| mode(record) == Alignment::Relaxed)
    };
    let mut others = Vec::new();
    let mut add = |domain: &'a str, passes: bool, is_open: bool, relaxed: bool| {
        if (passes || is_open) && relaxed && domain != author && may_be_kin(domain, author) {
            others.push(domain);
        }
    };
    if let Some((domain, result)) = evidence.spf {
        let (passes, is_open) = (result == SpfResult::Pass, result == SpfResult::TempError);
        add(domain, passes, is_open, is_relaxed(|record| record.spf));
    }
    for signature in evidence.dkim.unwrap_or_default() {
        let is_open = signature.outcome == Outcome::TempError;
        let relaxed = is_relaxed(|record| record.dkim);
        add(&signature.domain, signature.passes_for_all(), is_open, relaxed);
    }
    others
}

/// Two domains that do not even share the last label have no organisation in common.
fn may_be_kin(domain: &str, author: &str) -> bool {
    let last = |name: &str| name.rsplit('.').next().map(str::to_string);
    !domain.is_empty() && is_askable(domain) && last(domain) == last(author)
}

/// The name with `_dmarc.` in front fits into a question.
fn is_askable(domain: &str) -> bool {
    domain.len() + "_dmarc.".len() <= 253
}

fn text_of(domain: &str) -> Question {
    Question::of_octets(format!("_dmarc.{domain}").as_bytes(), Kind::Txt)
}

#[cfg(test)]
mod tests;
