//! ARC (RFC 8617): the chain of those who have passed a message on, each of whom says what the checks
//! came to when it arrived there, and seals that with all that was said before.
//!
//! A chain that passes shows that these hands have had the message and that the last of them left it as it
//! is. It says nothing of whether their words are true: that is for whoever knows the sealers.
//!
//! Each hand adds a set of three fields with one number: ARC-Authentication-Results, ARC-Message-Signature
//! (a signature as of DKIM) and ARC-Seal, a signature over all sets so far. Hashing, keys and tag lists are
//! DKIM's, with its decisions: no SHA-1, no RSA key below 1024 bits. Only the newest message signature
//! counts (section 5.2); older ones break as soon as somebody changes the message, which is what ARC is
//! for.

pub mod results;

use crate::authn::Lookup;
use crate::authn::dkim::canon::{Canon, Wanted, hash_body};
use crate::authn::dkim::fields::{Fields, write_field, write_own_field};
use crate::authn::dkim::sign::to_be_signed;
use crate::authn::dkim::signature::{self, Shown, Signature};
use crate::authn::dkim::tags::{Tags, is_blank};
use crate::authn::dkim::text::number;
use crate::authn::dkim::verify::{Signed, askable, in_time, key_question, signed_data};
use crate::authn::dkim::{Algorithm, Mail, Reason};
use crate::dns::{Answer, Question};
use crate::mail::headers::Field;
use std::fmt;
use std::ops::{Range, RangeInclusive};

/// Sets of one message (RFC 8617 section 4.2.1).
pub const INSTANCES_MAX: usize = 50;

/// What a chain came to (RFC 8617 section 4.4, RFC 8601 section 2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is no chain.
    None,
    /// All seals are good, and so is the newest message signature.
    Pass,
    /// Something of it is not.
    Fail,
    /// Nobody can say now: a key is out of reach, and nothing else is wrong as far as one can see.
    TempError,
}

impl Status {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Status::None => "none",
            Status::Pass => "pass",
            Status::Fail => "fail",
            Status::TempError => "temperror",
        }
    }
}

/// Why a chain does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There are more sets than anybody has to look at.
    TooMany,
    /// A field without a number, or with one that is none.
    Number,
    /// Not each number from 1 on has exactly one field of each kind.
    Incomplete,
    /// Somebody on the way found the chain broken, and says so in the newest seal (`cv=fail`).
    FoundBroken,
    /// `cv=` of this seal is not what its place in the chain demands.
    Validity(usize),
    /// This seal has an `h=`, which it must not have.
    SealNames(usize),
    /// The newest message signature covers a seal, which it must not.
    SealSigned,
    /// What is wrong with the newest message signature.
    Message(Reason),
    /// What is wrong with the seal of this number.
    Seal(usize, Reason),
}

impl Fault {
    fn status(self) -> Status {
        match self {
            Fault::Message(Reason::KeyOutOfReach) | Fault::Seal(_, Reason::KeyOutOfReach) => {
                Status::TempError
            }
            _ => Status::Fail,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::TooMany => f.write_str("too many sets"),
            Fault::Number => f.write_str("a set without a number"),
            Fault::Incomplete => f.write_str("a set is not complete"),
            Fault::FoundBroken => f.write_str("found broken before"),
            Fault::Validity(number) => write!(f, "seal {number}: wrong chain status"),
            Fault::SealNames(number) => write!(f, "seal {number}: tag h is not allowed"),
            Fault::SealSigned => f.write_str("message signature: covers a seal"),
            Fault::Message(reason) => write!(f, "message signature: {reason}"),
            Fault::Seal(number, reason) => write!(f, "seal {number}: {reason}"),
        }
    }
}

/// A chain, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What it came to.
    pub status: Status,
    /// Why it does not pass; None too where there is none.
    pub fault: Option<Fault>,
    /// `d=` of the seals from the first to the newest, in lower case and A-labels; empty unless the chain
    /// passes.
    pub sealers: Vec<String>,
    /// Octets at the end of the body that the newest message signature does not cover (`l=`): anybody may
    /// have added them.
    pub uncovered: u64,
    /// The value of the newest ARC-Authentication-Results: what the checks came to when its hand got the
    /// message ([`results::testimony`] reads it). Empty where there is no chain or it fails; of a chain
    /// that nobody can tell of it is not proven.
    pub results: Vec<u8>,
}

impl Chain {
    fn none() -> Chain {
        let (sealers, results) = (Vec::new(), Vec::new());
        Chain { status: Status::None, fault: None, sealers, uncovered: 0, results }
    }

    fn broken(fault: Fault) -> Chain {
        Chain { status: fault.status(), fault: Some(fault), ..Chain::none() }
    }
}

/// `d=` of the newest seal, in lower case and A-labels, which nobody has checked yet: who is not waiting
/// for this name can do without the check. None where there is no whole chain.
pub fn claimed_sealer(mail: &Mail<'_>) -> Option<String> {
    let sets = sets(&Fields::new(mail.header, mail.headers)).ok()?;
    let tags = Tags::parse(sets.last()?.seal.value).ok()?;
    Some(signature::show(&tags).domain).filter(|domain| !domain.is_empty())
}

/// Checks a message's chain (RFC 8617 section 5.2). `now` is seconds since 1970.
///
/// # Errors
/// Keys are not in yet.
pub fn verify<L: Lookup>(mail: &Mail<'_>, now: u64, lookup: &mut L) -> Result<Chain, L::Missing> {
    let fields = Fields::new(mail.header, mail.headers);
    let read = sets(&fields).and_then(|sets| match sets.last() {
        None => Ok(None),
        Some(newest) => {
            let seals = seals(&sets)?;
            let message = message_of(newest, now)?;
            Ok(Some((sets, seals, message)))
        }
    });
    let (sets, seals, message) = match read {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(Chain::none()),
        Err(fault) => return Ok(Chain::broken(fault)),
    };
    // The newest hand first: where its name is only claimed, nobody is asked about the others, who could
    // keep its own key out of reach.
    let (mut keys, newest) = (Keys::default(), seals.len());
    keys.ask(seals.last().map(|seal| &seal.shown).into_iter().chain([&message.shown]), lookup)?;
    let mut faults = message.header(&fields, &keys).err().into_iter().collect::<Vec<Fault>>();
    faults.extend(broken_seals(&sets, &seals, &keys, newest..=newest));
    let is_final = |fault: &&Fault| fault.status() == Status::Fail;
    if !faults.iter().any(|fault| is_final(&fault)) {
        keys.ask(seals.iter().map(|seal| &seal.shown), lookup)?;
        faults.extend(broken_seals(&sets, &seals, &keys, 1..=newest.saturating_sub(1)));
    }
    // What is wrong for good counts more than what is not known.
    let worst = faults.iter().find(is_final).or(faults.first());
    let uncovered = match worst {
        Some(fault) => Err(*fault),
        None => message.body(mail),
    };
    let results = || sets.last().map_or_else(Vec::new, |set| set.results.value.to_vec());
    Ok(match uncovered {
        Err(fault) if fault.status() == Status::TempError => {
            Chain { results: results(), ..Chain::broken(fault) }
        }
        Err(fault) => Chain::broken(fault),
        Ok(uncovered) => {
            let results = results();
            let sealers = seals.into_iter().map(|seal| seal.shown.domain).collect();
            Chain { status: Status::Pass, fault: None, sealers, uncovered, results }
        }
    })
}

// ------------------------------------------------------------------ the sets

/// The three fields of one number.
struct Set<'m> {
    results: Field<'m>,
    /// With its number in the header.
    message: (usize, Field<'m>),
    seal: Field<'m>,
}

/// The sets in their order; none where there is no chain.
fn sets<'m>(fields: &Fields<'m>) -> Result<Vec<Set<'m>>, Fault> {
    let names = ["arc-authentication-results", "arc-message-signature", "arc-seal"];
    let [results, messages, seals] = names.map(|name| fields.count(name));
    if [results, messages, seals].iter().any(|count| *count > INSTANCES_MAX) {
        return Err(Fault::TooMany);
    }
    if results != messages || results != seals {
        return Err(Fault::Incomplete);
    }
    let [of_results, of_message, of_seal] = names;
    let all = in_order(fields, of_results, results, number_of_results)?;
    let all = all.into_iter().zip(in_order(fields, of_message, results, number_of_tags)?);
    let all = all.zip(in_order(fields, of_seal, results, number_of_tags)?);
    let set = |(((_, results), message), (_, seal))| Set { results, message, seal };
    Ok(all.map(set).collect())
}

/// The fields of a kind by their numbers, which are 1 to `count`, each once.
fn in_order<'m>(
    fields: &Fields<'m>,
    name: &str,
    count: usize,
    number: fn(&[u8]) -> Option<usize>,
) -> Result<Vec<(usize, Field<'m>)>, Fault> {
    let mut places = vec![None; count];
    for found in fields.all(name) {
        let number = number(found.1.value).ok_or(Fault::Number)?;
        let place = number.checked_sub(1).and_then(|index| places.get_mut(index));
        if place.ok_or(Fault::Incomplete)?.replace(found).is_some() {
            return Err(Fault::Incomplete);
        }
    }
    places.into_iter().collect::<Option<Vec<_>>>().ok_or(Fault::Incomplete)
}

/// `i=` of a tag list.
fn number_of_tags(value: &[u8]) -> Option<usize> {
    Tags::parse(value).ok()?.get("i").and_then(instance)
}

/// `i=N;` at the front of ARC-Authentication-Results, where blanks and comments may stand between
/// (RFC 8617 section 4.1.1).
fn number_of_results(value: &[u8]) -> Option<usize> {
    let behind = skip_blanks(value).strip_prefix(b"i")?;
    let behind = skip_blanks(skip_blanks(behind).strip_prefix(b"=")?);
    let end = behind.iter().position(|octet| !octet.is_ascii_digit())?;
    let (digits, behind) = behind.split_at_checked(end)?;
    skip_blanks(behind).strip_prefix(b";")?;
    instance(digits)
}

fn instance(text: &[u8]) -> Option<usize> {
    let number = usize::try_from(number(text, 2)?).ok()?;
    (1..=INSTANCES_MAX).contains(&number).then_some(number)
}

/// Without white space, folds and comments at its front.
fn skip_blanks(text: &[u8]) -> &[u8] {
    let (mut depth, mut escaped) = (0_usize, false);
    for (index, octet) in text.iter().enumerate() {
        match octet {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' if depth > 0 => escaped = true,
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            octet if depth > 0 || is_blank(*octet) => {}
            _ => return text.get(index..).unwrap_or_default(),
        }
    }
    &[]
}

// ------------------------------------------------------------------ keys

/// The keys under the selectors of the chain.
#[derive(Default)]
struct Keys(Vec<(Question, Answer)>);

impl Keys {
    /// Asks, in one round, for those that are not known yet.
    fn ask<'s, L: Lookup>(
        &mut self,
        shown: impl Iterator<Item = &'s Shown>,
        lookup: &mut L,
    ) -> Result<(), L::Missing> {
        let mut questions: Vec<Question> = Vec::new();
        for question in shown.map(key_question) {
            let is_known = self.0.iter().any(|(known, _)| *known == question);
            if !is_known && !questions.contains(&question) {
                questions.push(question);
            }
        }
        if !questions.is_empty() {
            let answers = lookup.ask_all(questions.clone())?;
            self.0.extend(questions.into_iter().zip(answers));
        }
        Ok(())
    }

    fn of(&self, shown: &Shown) -> &Answer {
        let asked = key_question(shown);
        let found = self.0.iter().find(|(question, _)| *question == asked);
        found.map_or(&Answer::TempFail, |(_, answer)| answer)
    }
}

// ------------------------------------------------------------------ seals

/// A seal that can be checked.
struct Seal {
    shown: Shown,
    algorithm: Algorithm,
    signature: Vec<u8>,
    /// Where the value of `b=` stands in the field's value.
    hole: Range<usize>,
}

/// All seals. What they say of the chain below them fits.
fn seals(sets: &[Set<'_>]) -> Result<Vec<Seal>, Fault> {
    let validity = |set: &Set<'_>| {
        let tags = Tags::parse(set.seal.value).ok()?;
        tags.get("cv").map(<[u8]>::to_vec)
    };
    if sets.last().and_then(validity).is_some_and(|said| said == b"fail") {
        return Err(Fault::FoundBroken);
    }
    let seal = |(number, set): (usize, &Set<'_>)| {
        let bad = |reason| Fault::Seal(number, reason);
        let tags = Tags::parse(set.seal.value).map_err(|error| bad(Reason::Syntax(error)))?;
        // Unknown tags are ignored, this one is forbidden (RFC 8617 section 4.1.3).
        if tags.get("h").is_some() {
            return Err(Fault::SealNames(number));
        }
        let expected: &[u8] = if number == 1 { b"none" } else { b"pass" };
        if tags.get("cv").ok_or(bad(Reason::Missing("cv")))? != expected {
            return Err(Fault::Validity(number));
        }
        read_seal(&tags).map_err(bad)
    };
    (1..).zip(sets).map(seal).collect()
}

fn read_seal(tags: &Tags<'_>) -> Result<Seal, Reason> {
    let shown = signature::show(tags);
    let algorithm = signature::algorithm(tags, &shown)?;
    signature::named(tags, &shown)?;
    askable(&shown)?;
    if tags.get("t").is_some_and(|text| number(text, 20).is_none()) {
        return Err(Reason::Bad("t"));
    }
    let signature = signature::signature(tags)?;
    Ok(Seal { shown, algorithm, signature, hole: tags.place("b").unwrap_or_default() })
}

/// Checks the seals of these numbers on their own set and all sets below it, in the relaxed form
/// (RFC 8617 section 5.1.1).
fn broken_seals(
    sets: &[Set<'_>],
    seals: &[Seal],
    keys: &Keys,
    numbers: RangeInclusive<usize>,
) -> Vec<Fault> {
    let (mut below, mut faults) = (Vec::new(), Vec::new());
    for (number, (set, seal)) in (1..).zip(sets.iter().zip(seals)) {
        write_field(&mut below, &set.results, Canon::Relaxed);
        write_field(&mut below, &set.message.1, Canon::Relaxed);
        let data = || {
            let mut data = below.clone();
            write_own_field(&mut data, &set.seal, Canon::Relaxed, &seal.hole);
            to_be_signed(data, seal.algorithm.key_kind())
        };
        let (algorithm, signature) = (seal.algorithm, seal.signature.as_slice());
        let signed = Signed { algorithm, signature, is_strict: true };
        if !numbers.contains(&number) {
            // Only part of what is below another.
        } else if let (Err(reason), _) = signed.check(keys.of(&seal.shown), data) {
            faults.push(Fault::Seal(number, reason));
        }
        write_field(&mut below, &set.seal, Canon::Relaxed);
    }
    faults
}

// ------------------------------------------------------------------ the newest message signature

struct Message<'m> {
    number: usize,
    field: Field<'m>,
    shown: Shown,
    signature: Signature<'m>,
}

fn message_of<'m>(set: &Set<'m>, now: u64) -> Result<Message<'m>, Fault> {
    let (number, field) = set.message;
    let (shown, read) = Signature::parse_arc(field.value);
    let signature = read.map_err(Fault::Message)?;
    // Seals come on top of it, so it cannot have covered them (RFC 8617 section 4.1.2).
    if signature.names().any(|name| name.eq_ignore_ascii_case(b"arc-seal")) {
        return Err(Fault::SealSigned);
    }
    in_time(&signature, now).and_then(|()| askable(&shown)).map_err(Fault::Message)?;
    Ok(Message { number, field, shown, signature })
}

impl<'m> Message<'m> {
    fn header(&self, fields: &Fields<'m>, keys: &Keys) -> Result<(), Fault> {
        let signature = &self.signature;
        let data = || signed_data(fields, signature, self.number, &self.field);
        let algorithm = signature.algorithm;
        let signed = Signed { algorithm, signature: &signature.signature, is_strict: true };
        signed.check(keys.of(&self.shown), data).0.map_err(Fault::Message)
    }

    /// Octets that are not covered.
    fn body(&self, mail: &Mail<'_>) -> Result<u64, Fault> {
        let (canon, length) = (self.signature.body_canon, self.signature.length);
        let hashes = hash_body(mail.body, &[Wanted { canon, length }], mail.passed);
        match hashes.first().copied().flatten() {
            None => Err(Fault::Message(Reason::LongerThanBody)),
            Some(body) if body.hash != self.signature.body_hash => {
                Err(Fault::Message(Reason::Body))
            }
            Some(body) => Ok(body.uncovered),
        }
    }
}

/// Any message has a chain of a status that fits its fault, and no more sealers than sets; without keys
/// none passes.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    if let Some(number) = number_of_results(data) {
        assert!((1..=INSTANCES_MAX).contains(&number));
    }
    let Ok(stored) = crate::mail::stored::Stored::read(data) else { return };
    let Ok(chain) = verify(&Mail::of(&stored), 1_700_000_000, &mut NoKeys);
    assert_eq!(chain.fault.is_none(), chain.status == Status::None);
    assert!(chain.status != Status::Pass && chain.sealers.is_empty() && chain.uncovered == 0);
    assert!(chain.results.is_empty(), "without a key a chain fails");
    results::fuzz(data);
}

/// Name servers that know nothing.
#[cfg(any(test, fuzzing))]
struct NoKeys;

#[cfg(any(test, fuzzing))]
impl Lookup for NoKeys {
    type Missing = std::convert::Infallible;

    fn ask(&mut self, _question: Question) -> Result<Answer, Self::Missing> {
        Ok(Answer::NxDomain)
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Self::Missing> {
        Ok(questions.iter().map(|_| Answer::NxDomain).collect())
    }
}

#[cfg(test)]
mod tests;
