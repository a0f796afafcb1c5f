//! Checking the signatures on a message (RFC 6376 section 6).
//!
//! Keys are asked for first, all together, so that nothing is hashed twice when a hook is run again for
//! an answer. A signature is checked against the header before the body is touched, so a signature of
//! nobody costs no pass over the body; those that are left share one.

use super::canon::{Wanted, hash_body};
use super::fields::{Fields, write_own_field};
use super::key::KeyRecord;
use super::signature::{Algorithm, Shown, Signature};
use super::text::is_below;
use super::{Mail, Outcome, Reason};
use crate::authn::Lookup;
use crate::dns::{Answer, Kind, Question, Record};
use crate::mail::headers::Field;

/// Signatures of one message that are looked at.
pub const SIGNATURES_MAX: usize = 10;

/// Records under one selector that are tried (RFC 6376 section 6.1.2 lets us choose).
const RECORDS_MAX: usize = 4;

/// Seconds that a signer's clock may be ahead of ours.
const CLOCK_SLACK: u64 = 24 * 3_600;

/// The check of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it came to.
    pub outcome: Outcome,
    /// Why it is no pass.
    pub reason: Option<Reason>,
    /// `d=`, in lower case and A-labels; empty where it is no domain.
    pub domain: String,
    /// `s=`; empty where it is none.
    pub selector: String,
    /// `i=`, or its default `@DOMAIN`; empty where it is malformed.
    pub identity: String,
    /// `a=`; None where it is none that we know.
    pub algorithm: Option<Algorithm>,
    /// The first letters of `b=` (RFC 6008).
    pub start_of_b: String,
    /// Octets at the end of the body that a passing signature does not cover (`l=`): anybody may have
    /// added them.
    pub uncovered: u64,
    /// The key says that its domain is only trying (`t=y`): a failure counts as no signature.
    pub testing: bool,
}

impl Verified {
    /// It passes, and for the whole body.
    pub fn passes_for_all(&self) -> bool {
        self.outcome == Outcome::Pass && self.uncovered == 0
    }

    /// Why it is as it is, in words for people.
    pub fn words(&self) -> String {
        let mut words = match self.reason {
            Some(reason) => reason.to_string(),
            None if self.uncovered > 0 => {
                format!("good signature, but not on the last {} octets", self.uncovered)
            }
            None => "good signature".to_string(),
        };
        if self.testing {
            words.push_str(", testing");
        }
        words
    }
}

/// The check of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The signatures that were looked at, in the order of their fields.
    pub signatures: Vec<Verified>,
    /// How many more there are.
    pub left_out: usize,
}

impl Verification {
    /// The signature that speaks loudest for the message: one that passes if any does, and of those one
    /// of this domain; else the first.
    pub fn best(&self, author: Option<&str>) -> Option<&Verified> {
        let passing = || self.signatures.iter().filter(|it| it.outcome == Outcome::Pass);
        let of_author = |it: &&Verified| author.is_some_and(|author| is_below(author, &it.domain));
        passing()
            .find(|it| of_author(it) && it.passes_for_all())
            .or_else(|| passing().find(of_author))
            .or_else(|| passing().next())
            .or_else(|| self.signatures.first())
    }
}

/// Checks the signatures on a message. `author` is the domain in its From field, whose signatures come
/// first where there are too many; `now` is seconds since 1970.
///
/// # Errors
/// Keys are not in yet.
pub fn verify<L: Lookup>(
    mail: &Mail<'_>,
    author: Option<&str>,
    now: u64,
    lookup: &mut L,
) -> Result<Verification, L::Missing> {
    let fields = Fields::new(mail.header, mail.headers);
    let (mut checks, left_out) = chosen(&fields, author);
    for check in &mut checks {
        check.refuse_by_itself(now);
    }
    ask(&mut checks, lookup)?;
    for check in &mut checks {
        check.header(&fields);
    }
    bodies(&mut checks, mail);
    let signatures = checks.into_iter().map(Check::finish).collect();
    Ok(Verification { signatures, left_out })
}

/// One signature on its way through the check.
struct Check<'m> {
    number: usize,
    field: Field<'m>,
    shown: Shown,
    /// The signature as long as nothing speaks against it.
    state: Result<Signature<'m>, Reason>,
    answer: Answer,
    uncovered: u64,
    testing: bool,
}

/// The signatures to look at, and how many are not.
fn chosen<'m>(fields: &Fields<'m>, author: Option<&str>) -> (Vec<Check<'m>>, usize) {
    let mut all: Vec<Check<'m>> = fields
        .all("dkim-signature")
        .map(|(number, field)| {
            let (shown, state) = Signature::parse(field.value);
            let (answer, uncovered, testing) = (Answer::NoData, 0, false);
            Check { number, field, shown, state, answer, uncovered, testing }
        })
        .collect();
    let left_out = all.len().saturating_sub(SIGNATURES_MAX);
    if left_out > 0 {
        let is_foreign = |check: &Check<'_>| {
            author.is_none_or(|author| {
                let domain = &check.shown.domain;
                domain.is_empty() || !(is_below(author, domain) || is_below(domain, author))
            })
        };
        all.sort_by_key(is_foreign);
        all.truncate(SIGNATURES_MAX);
        all.sort_by_key(|check| check.number);
    }
    (all, left_out)
}

/// Asks for all keys in one round.
fn ask<L: Lookup>(checks: &mut [Check<'_>], lookup: &mut L) -> Result<(), L::Missing> {
    let open = |check: &Check<'_>| check.state.is_ok();
    let mut questions: Vec<Question> = Vec::new();
    for check in checks.iter().filter(|check| open(check)) {
        let question = check.question();
        if !questions.contains(&question) {
            questions.push(question);
        }
    }
    if questions.is_empty() {
        return Ok(());
    }
    let answers = lookup.ask_all(questions.clone())?;
    for check in checks.iter_mut().filter(|check| open(check)) {
        let asked = check.question();
        let found = questions.iter().zip(&answers).find(|(question, _)| **question == asked);
        check.answer = found.map_or(Answer::TempFail, |(_, answer)| answer.clone());
    }
    Ok(())
}

/// Hashes the body, once, for all signatures that are good so far.
fn bodies(checks: &mut [Check<'_>], mail: &Mail<'_>) {
    let wanted = |check: &Check<'_>| {
        let signature = check.state.as_ref().ok()?;
        Some(Wanted { canon: signature.body_canon, length: signature.length })
    };
    let mut all: Vec<Wanted> = Vec::new();
    for wish in checks.iter().filter_map(wanted) {
        if !all.contains(&wish) {
            all.push(wish);
        }
    }
    if all.is_empty() {
        return;
    }
    let hashes = hash_body(mail.body, &all, mail.passed);
    for check in checks {
        let (Some(wish), Ok(signature)) = (wanted(check), &check.state) else { continue };
        let found = all.iter().zip(&hashes).find(|(known, _)| **known == wish);
        let refused = match found.and_then(|(_, hash)| *hash) {
            None => Some(Reason::LongerThanBody),
            Some(body) if body.hash != signature.body_hash => Some(Reason::Body),
            Some(body) => {
                check.uncovered = body.uncovered;
                None
            }
        };
        if let Some(reason) = refused {
            check.state = Err(reason);
        }
    }
}

impl<'m> Check<'m> {
    fn question(&self) -> Question {
        key_question(&self.shown)
    }

    /// What can be said without a key.
    fn refuse_by_itself(&mut self, now: u64) {
        let Ok(signature) = &self.state else { return };
        if let Err(reason) = in_time(signature, now).and_then(|()| askable(&self.shown)) {
            self.state = Err(reason);
        }
    }

    /// Checks the signature on the header with each key under the selector, until one fits.
    fn header(&mut self, fields: &Fields<'m>) {
        let Ok(signature) = &self.state else { return };
        let signed = Signed {
            algorithm: signature.algorithm,
            signature: &signature.signature,
            is_strict: signature.is_strict,
        };
        let data = || signed_data(fields, signature, self.number, &self.field);
        let (verified, testing) = signed.check(&self.answer, data);
        self.testing = testing;
        if let Err(reason) = verified {
            self.state = Err(reason);
        }
    }

    fn finish(self) -> Verified {
        let Shown { domain, selector, identity, algorithm, start_of_b } = self.shown;
        let reason = self.state.err();
        Verified {
            outcome: reason.map_or(Outcome::Pass, Reason::outcome),
            reason,
            domain,
            selector,
            identity,
            algorithm,
            start_of_b,
            uncovered: if reason.is_none() { self.uncovered } else { 0 },
            testing: self.testing,
        }
    }
}

/// Where the key of a signature is.
pub(in crate::authn) fn key_question(shown: &Shown) -> Question {
    let name = format!("{}._domainkey.{}", shown.selector, shown.domain);
    Question::new(&name, Kind::Txt)
}

/// The name of the key is not longer than a name can be.
pub(in crate::authn) fn askable(shown: &Shown) -> Result<(), Reason> {
    if key_question(shown).name.len() > 253 { Err(Reason::Bad("s")) } else { Ok(()) }
}

/// A signature's times are not past and not to come; `now` is seconds since 1970.
pub(in crate::authn) fn in_time(signature: &Signature<'_>, now: u64) -> Result<(), Reason> {
    if signature.expires.is_some_and(|expires| expires < now) {
        return Err(Reason::Expired);
    }
    if signature.time.is_some_and(|time| time > now.saturating_add(CLOCK_SLACK)) {
        return Err(Reason::Future);
    }
    Ok(())
}

/// What of a signature the keys are tried on.
pub(in crate::authn) struct Signed<'a> {
    pub(in crate::authn) algorithm: Algorithm,
    /// `b=`, decoded.
    pub(in crate::authn) signature: &'a [u8],
    /// The identity is of the domain itself, not of one below it.
    pub(in crate::authn) is_strict: bool,
}

impl Signed<'_> {
    /// Tries each key under the selector on the data that was signed, until one fits; says also whether
    /// the last one's domain is only testing.
    pub(in crate::authn) fn check(
        &self,
        answer: &Answer,
        data: impl Fn() -> Vec<u8>,
    ) -> (Result<(), Reason>, bool) {
        let mut testing = false;
        let mut refused = match answer {
            Answer::TempFail => Reason::KeyOutOfReach,
            Answer::Found(_) | Answer::NoData | Answer::NxDomain => Reason::NoKey,
        };
        let texts = answer.records().iter().filter_map(|record| match record {
            Record::Text(text) => Some(text),
            Record::Address(_) | Record::Name(_) | Record::Mx(..) => None,
        });
        let mut made = None;
        for text in texts.take(RECORDS_MAX) {
            let record = match KeyRecord::parse(text) {
                Ok(record) => record,
                Err(reason) => {
                    refused = reason;
                    continue;
                }
            };
            testing = record.testing;
            refused = if record.key.kind() != self.algorithm.key_kind() {
                Reason::KeyMismatch
            } else if record.strict && !self.is_strict {
                Reason::KeyStrict
            } else if record.key.verifies(made.get_or_insert_with(&data), self.signature) {
                return (Ok(()), testing);
            } else {
                Reason::Header
            };
        }
        (Err(refused), testing)
    }
}

/// What the key has signed: the fields and the signature's own; of Ed25519 their hash (RFC 8463
/// section 3).
pub(in crate::authn) fn signed_data(
    fields: &Fields<'_>,
    signature: &Signature<'_>,
    number: usize,
    field: &Field<'_>,
) -> Vec<u8> {
    let mut data = Vec::new();
    let canon = signature.header_canon;
    fields.write(&mut data, signature.names(), canon, Some(number));
    write_own_field(&mut data, field, canon, &signature.hole);
    super::sign::to_be_signed(data, signature.algorithm.key_kind())
}

#[cfg(test)]
mod tests;
