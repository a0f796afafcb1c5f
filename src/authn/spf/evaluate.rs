//! The function `check_host` (RFC 7208 section 4).
//!
//! Terms are judged strictly in their order. Questions of the terms that come next whatever the
//! answers are go out together: no more of them than would be asked one by one, if nothing matched.
//! An `include` may go through any number of the terms that are left to ask, so nothing behind it is
//! asked ahead.

use super::asking::{
    Break, Check, Match, Outcome, first_question, is_name, is_within, no_answer, question, texts,
};
use super::macros::{MacroString, Place};
use super::record::{self, Directive, Mechanism, Prefixes, Record};
use super::{Checked, Client, EXPLANATION_MAX, HOSTS_MAX, Identity, SpfResult, TERMS_MAX};
use crate::authn::Lookup;
use crate::dns::{Answer, Kind, Question, Record as DnsRecord, name_of_octets};

/// What a record comes to.
struct Found {
    result: SpfResult,
    matched: Option<Box<str>>,
    is_wide: bool,
    /// Where the explanation of a fail stands, and whose record says so.
    exp: Option<(MacroString, String)>,
}

pub(super) fn check_host<L: Lookup>(
    lookup: &mut L,
    client: &Client<'_>,
    identity: &Identity,
) -> Result<Checked, L::Missing> {
    let client = Client { ip: client.ip.to_canonical(), ..*client };
    let (known, voids, path) = (Vec::new(), Vec::new(), Vec::new());
    let mut check = Check { lookup, client, identity, known, terms: 0, voids, path };
    let mut checked = Checked {
        result: SpfResult::None,
        identity: identity.clone(),
        ip: client.ip,
        matched: None,
        is_wide: false,
        problem: None,
        explanation: None,
        path: Vec::new(),
    };
    match check.evaluate(identity.domain.to_string(), 0) {
        Err(Break::Missing(missing)) => return Err(missing),
        Err(Break::Stop(result, problem)) => {
            checked.result = result;
            checked.problem = Some(problem);
        }
        Ok(None) => {}
        Ok(Some(found)) => {
            if let (SpfResult::Fail, Some((spec, domain))) = (found.result, &found.exp) {
                checked.explanation = match check.explain(spec, domain) {
                    Err(Break::Missing(missing)) => return Err(missing),
                    // Nothing that is wrong with an explanation changes the result.
                    Err(Break::Stop(..)) => None,
                    Ok(explanation) => explanation,
                };
            }
            checked.result = found.result;
            checked.matched = found.matched;
            checked.is_wide = found.is_wide;
        }
    }
    checked.path = check.path;
    Ok(checked)
}

impl<L: Lookup> Check<'_, L> {
    /// The record of a domain; None where there is none. `include` leads here again, at most as often
    /// as terms may ask.
    fn evaluate(&mut self, domain: String, depth: u32) -> Outcome<Option<Found>, L> {
        let mut domain = domain;
        let mut redirected = false;
        loop {
            let Some(record) = self.record(&domain)? else {
                if redirected {
                    let problem = format!("redirect leads to {domain}, which has no SPF record");
                    return Err(Break::Stop(SpfResult::PermError, problem));
                }
                return Ok(None);
            };
            if let Some((directive, hit)) = self.first_match(&record, &domain, depth)? {
                let (result, matched) = (directive.result, Some(directive.text.clone()));
                let exp = record.exp.map(|spec| (spec, domain));
                return Ok(Some(Found { result, matched, is_wide: hit.is_wide, exp }));
            }
            let Some(spec) = &record.redirect else {
                let result = SpfResult::Neutral;
                return Ok(Some(Found { result, matched: None, is_wide: false, exp: None }));
            };
            self.count_term("redirect")?;
            let target = self.target(Some(spec), &domain)?;
            self.step(depth, &domain, "redirect", "goes on");
            domain = target.unwrap_or_default();
            redirected = true;
        }
    }

    /// Finds, chooses and reads the record of a domain (RFC 7208 sections 4.3 to 4.6).
    fn record(&mut self, domain: &str) -> Outcome<Option<Record>, L> {
        let Some(question) = first_question(domain) else { return Ok(None) };
        let answer = self.ask(question)?;
        if answer == Answer::TempFail {
            let problem = format!("no answer to a question for the record of {domain}");
            return Err(Break::Stop(SpfResult::TempError, problem));
        }
        let mut records = texts(&answer).filter(|text| record::is_record(text));
        let Some(text) = records.next() else { return Ok(None) };
        let broken = |problem| Break::Stop(SpfResult::PermError, problem);
        if records.next().is_some() {
            return Err(broken(format!("{domain} has more than one SPF record")));
        }
        let read = record::parse(text);
        read.map(Some)
            .map_err(|fault| broken(format!("{} in '{}' of {domain}", fault.what, fault.term)))
    }

    fn first_match<'r>(
        &mut self,
        record: &'r Record,
        domain: &str,
        depth: u32,
    ) -> Outcome<Option<(&'r Directive, Match)>, L> {
        let mut ahead = 0;
        for (index, directive) in record.directives.iter().enumerate() {
            if index >= ahead && directive.mechanism.asks() {
                ahead = index + self.ask_ahead(record, index, domain)?;
            }
            let place = self.path.len();
            self.step(depth, domain, &directive.text, "error");
            let hit = self.matches(directive, domain, depth)?;
            if let Some(step) = self.path.get_mut(place) {
                step.outcome = if hit.is_some() { directive.result.word() } else { "no match" };
            }
            if let Some(hit) = hit {
                return Ok(Some((directive, hit)));
            }
        }
        Ok(None)
    }

    /// Asks what the directives from `from` on will ask first, up to the first whose outcome decides
    /// what comes next. Gives the number of directives that were looked at.
    fn ask_ahead(&mut self, record: &Record, from: usize, domain: &str) -> Outcome<usize, L> {
        let mut left = TERMS_MAX.saturating_sub(self.terms);
        let mut questions = Vec::new();
        let mut looked = 0;
        for directive in record.directives.iter().skip(from) {
            let ends = match &directive.mechanism {
                Mechanism::All => true,
                Mechanism::Ip(net) => net.has(self.client.ip),
                _ => left == 0,
            };
            if ends {
                break;
            }
            looked += 1;
            if directive.mechanism.asks() {
                left -= 1;
                questions.extend(self.first_of(&directive.mechanism, domain));
            }
            if matches!(directive.mechanism, Mechanism::Include(_)) {
                break;
            }
        }
        self.ask_all(questions)?;
        Ok(looked.max(1))
    }

    /// The first question of a mechanism, if it needs no other before it.
    fn first_of(&self, mechanism: &Mechanism, domain: &str) -> Option<Question> {
        let (spec, kind) = match mechanism {
            Mechanism::All | Mechanism::Ip(_) => return None,
            Mechanism::Ptr(_) => return Some(self.reverse()),
            Mechanism::Include(spec) => (Some(spec), Kind::Txt),
            Mechanism::Exists(spec) => (Some(spec), Kind::A),
            Mechanism::A(spec, _) => (spec.as_ref(), self.family()),
            Mechanism::Mx(spec, _) => (spec.as_ref(), Kind::Mx),
        };
        if spec.is_some_and(MacroString::has_client_name) {
            return None;
        }
        let target = self.expand(spec, domain, None)?;
        match kind {
            Kind::Txt => first_question(&target),
            _ => is_name(&target).then(|| question(&target, kind)),
        }
    }

    /// Whether a directive matches (RFC 7208 section 5).
    fn matches(
        &mut self,
        directive: &Directive,
        domain: &str,
        depth: u32,
    ) -> Outcome<Option<Match>, L> {
        if directive.mechanism.asks() {
            self.count_term(&directive.text)?;
        }
        match &directive.mechanism {
            Mechanism::All => Ok(Some(Match { is_wide: true })),
            Mechanism::Ip(net) => {
                Ok(net.has(self.client.ip).then(|| Match { is_wide: net.is_wide() }))
            }
            Mechanism::Include(spec) => self.include(spec, domain, depth),
            Mechanism::A(spec, prefixes) => self.a(spec.as_ref(), *prefixes, domain),
            Mechanism::Mx(spec, prefixes) => self.mx(spec.as_ref(), *prefixes, domain),
            Mechanism::Ptr(spec) => self.ptr(spec.as_ref(), domain),
            Mechanism::Exists(spec) => self.exists(spec, domain),
        }
    }

    /// RFC 7208 section 5.2. `none` and errors of what is included are errors here.
    fn include(
        &mut self,
        spec: &MacroString,
        domain: &str,
        depth: u32,
    ) -> Outcome<Option<Match>, L> {
        let Some(target) = self.target(Some(spec), domain)? else { return Ok(None) };
        let Some(found) = self.evaluate(target.clone(), depth + 1)? else {
            let problem = format!("{domain} includes {target}, which has no SPF record");
            return Err(Break::Stop(SpfResult::PermError, problem));
        };
        let passes = found.result == SpfResult::Pass;
        Ok(passes.then_some(Match { is_wide: found.is_wide }))
    }

    /// RFC 7208 section 5.3.
    fn a(
        &mut self,
        spec: Option<&MacroString>,
        prefixes: Prefixes,
        domain: &str,
    ) -> Outcome<Option<Match>, L> {
        let Some(target) = self.host(spec, domain)? else { return Ok(None) };
        let answer = self.ask_for(question(&target, self.family()), &target)?;
        Ok(self.among(&answer, prefixes))
    }

    /// RFC 7208 section 5.4. Hosts are asked for together, and judged in the order of preference.
    fn mx(
        &mut self,
        spec: Option<&MacroString>,
        prefixes: Prefixes,
        domain: &str,
    ) -> Outcome<Option<Match>, L> {
        let Some(target) = self.host(spec, domain)? else { return Ok(None) };
        let answer = self.ask_for(question(&target, Kind::Mx), &target)?;
        let mut hosts: Vec<(u16, &str)> = Vec::new();
        for record in answer.records() {
            if let DnsRecord::Mx(preference, host) = record {
                hosts.push((*preference, host));
            }
        }
        hosts.sort_by_key(|(preference, _)| *preference);
        let family = self.family();
        // The root stands for "no host" (RFC 7505).
        let first = hosts.iter().take(HOSTS_MAX).map(|(_, host)| *host);
        let names: Vec<&str> = first.filter(|host| !host.is_empty()).collect();
        let questions = names.iter().map(|host| Question::new(host, family)).collect();
        let answers = self.ask_all(questions)?;
        for (answer, host) in answers.iter().zip(names) {
            if *answer == Answer::TempFail {
                return Err(no_answer(host));
            }
            if let Some(hit) = self.among(answer, prefixes) {
                return Ok(Some(hit));
            }
        }
        if hosts.len() > HOSTS_MAX {
            let problem = format!("{target} has more than {HOSTS_MAX} mail exchangers");
            return Err(Break::Stop(SpfResult::PermError, problem));
        }
        Ok(None)
    }

    /// RFC 7208 section 5.5. Of the first ten names only those are validated that could match.
    fn ptr(&mut self, spec: Option<&MacroString>, domain: &str) -> Outcome<Option<Match>, L> {
        let Some(target) = self.host(spec, domain)? else { return Ok(None) };
        let question = self.reverse();
        let answer = self.ask(question.clone())?;
        self.count_void(question, &answer)?;
        let target = name_of_octets(target.as_bytes());
        let names = self.validated(&answer, |name| is_within(name, &target))?;
        Ok((!names.is_empty()).then_some(Match { is_wide: false }))
    }

    /// RFC 7208 section 5.7: a question for A whatever the client's family is.
    fn exists(&mut self, spec: &MacroString, domain: &str) -> Outcome<Option<Match>, L> {
        let Some(target) = self.host(Some(spec), domain)? else { return Ok(None) };
        let answer = self.ask_for(question(&target, Kind::A), &target)?;
        Ok(answer.addresses().next().map(|_| Match { is_wide: false }))
    }

    /// The text behind `exp=` (RFC 7208 section 6.2); None where anything is wrong with it.
    fn explain(&mut self, spec: &MacroString, domain: &str) -> Outcome<Option<String>, L> {
        let Some(target) = self.host(Some(spec), domain)? else { return Ok(None) };
        let answer = self.ask(question(&target, Kind::Txt))?;
        let mut texts = texts(&answer);
        let (Some(text), None) = (texts.next(), texts.next()) else { return Ok(None) };
        let text = std::str::from_utf8(text).ok();
        let read = text.and_then(|text| MacroString::parse(text, Place::Explanation).ok());
        let Some(explanation) = read else { return Ok(None) };
        let name = self.client_name(&explanation, domain)?;
        let text = explanation.text(&self.values(domain, name.as_deref()), EXPLANATION_MAX);
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}
