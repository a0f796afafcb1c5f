//! What an evaluation asks and counts: names made of macros, questions, limits.

use super::macros::{MacroString, NAME_MAX, Values};
use super::record::Prefixes;
use super::{Client, HOSTS_MAX, Identity, PATH_MAX, SpfResult, Step, TERMS_MAX, VOIDS_MAX};
use crate::authn::Lookup;
use crate::dns::{Answer, Kind, Question, Record, name_of_octets, octets_of_name, reverse_name};
use crate::limits::LABEL_MAX;
use std::net::IpAddr;

/// Why an evaluation does not go on.
pub(super) enum Break<M> {
    /// An answer is missing.
    Missing(M),
    /// It ends here: `temperror` or `permerror`, and why.
    Stop(SpfResult, String),
}

impl<M> From<M> for Break<M> {
    fn from(missing: M) -> Break<M> {
        Break::Missing(missing)
    }
}

pub(super) type Outcome<T, L> = Result<T, Break<<L as Lookup>::Missing>>;

/// A mechanism that matched.
pub(super) struct Match {
    pub(super) is_wide: bool,
}

pub(super) struct Check<'a, L> {
    pub(super) lookup: &'a mut L,
    pub(super) client: Client<'a>,
    pub(super) identity: &'a Identity,
    /// A question is never asked twice.
    pub(super) known: Vec<(Question, Answer)>,
    pub(super) terms: u32,
    /// Questions of terms that found nothing. What is asked once is void once: that the client has no
    /// name does not count for each `ptr`.
    pub(super) voids: Vec<Question>,
    pub(super) path: Vec<Step>,
}

impl<L: Lookup> Check<'_, L> {
    /// What a `domain-spec` comes to; None where nothing can match it.
    pub(super) fn target(
        &mut self,
        spec: Option<&MacroString>,
        domain: &str,
    ) -> Outcome<Option<String>, L> {
        let name = match spec {
            Some(spec) => self.client_name(spec, domain)?,
            None => None,
        };
        Ok(self.expand(spec, domain, name.as_deref()))
    }

    /// The same, and a name that can be asked for.
    pub(super) fn host(
        &mut self,
        spec: Option<&MacroString>,
        domain: &str,
    ) -> Outcome<Option<String>, L> {
        Ok(self.target(spec, domain)?.filter(|target| is_name(target)))
    }

    pub(super) fn expand(
        &self,
        spec: Option<&MacroString>,
        domain: &str,
        name: Option<&str>,
    ) -> Option<String> {
        let Some(spec) = spec else { return Some(domain.to_string()) };
        if spec.has_local_part() && !self.identity.local.is_ascii() {
            return None;
        }
        Some(spec.name(&self.values(domain, name)))
    }

    pub(super) fn values<'v>(&'v self, domain: &'v str, name: Option<&'v str>) -> Values<'v> {
        Values {
            ip: self.client.ip,
            helo: self.client.helo,
            receiver: self.client.receiver,
            unix: self.client.unix,
            local: &self.identity.local,
            sender_domain: &self.identity.domain,
            domain,
            name,
        }
    }

    /// What `%{p}` stands for (RFC 7208 section 7.3), if it is needed: the domain itself, a name below
    /// it, or any other that is validated.
    pub(super) fn client_name(
        &mut self,
        spec: &MacroString,
        domain: &str,
    ) -> Outcome<Option<String>, L> {
        if !spec.has_client_name() {
            return Ok(None);
        }
        let answer = self.ask(self.reverse())?;
        let names = self.validated(&answer, |_| true)?;
        let domain = name_of_octets(domain.as_bytes());
        let best = names.iter().min_by_key(|name| match **name == domain {
            true => 0,
            false if is_within(name, &domain) => 1,
            false => 2,
        });
        // In a macro it stands for its octets, like everything else that a name is made of.
        Ok(best.map(|name| String::from_utf8_lossy(&octets_of_name(name)).into_owned()))
    }

    /// Those of the client's first ten names that are `wanted` and have its address. A name that
    /// nobody could say anything about is none of them.
    pub(super) fn validated(
        &mut self,
        answer: &Answer,
        wanted: impl Fn(&str) -> bool,
    ) -> Outcome<Vec<Box<str>>, L> {
        let mut names: Vec<Box<str>> = Vec::new();
        for record in answer.records().iter().take(HOSTS_MAX) {
            if let Record::Name(name) = record
                && !name.is_empty()
                && wanted(name)
            {
                names.push(name.clone());
            }
        }
        let family = self.family();
        let answers = self.ask_all(names.iter().map(|it| Question::new(it, family)).collect())?;
        let mut answers = answers.iter();
        let ip = self.client.ip;
        names.retain(|_| answers.next().is_some_and(|it| it.addresses().any(|one| one == ip)));
        Ok(names)
    }

    pub(super) fn reverse(&self) -> Question {
        Question::new(&reverse_name(self.client.ip), Kind::Ptr)
    }

    pub(super) fn family(&self) -> Kind {
        if self.client.ip.is_ipv4() { Kind::A } else { Kind::Aaaa }
    }

    // ------------------------------------------------------------------ answers and limits

    pub(super) fn ask(&mut self, question: Question) -> Outcome<Answer, L> {
        if let Some((_, answer)) = self.known.iter().find(|(known, _)| *known == question) {
            return Ok(answer.clone());
        }
        let answer = self.lookup.ask(question.clone())?;
        self.known.push((question, answer.clone()));
        Ok(answer)
    }

    pub(super) fn ask_all(&mut self, questions: Vec<Question>) -> Outcome<Vec<Answer>, L> {
        let mut missing: Vec<Question> = Vec::new();
        for question in &questions {
            let known = self.known.iter().any(|(known, _)| known == question);
            if !known && !missing.contains(question) {
                missing.push(question.clone());
            }
        }
        if missing.len() > 1 {
            let answers = self.lookup.ask_all(missing.clone())?;
            self.known.extend(missing.into_iter().zip(answers));
        }
        questions.into_iter().map(|question| self.ask(question)).collect()
    }

    /// Addresses of an answer whose network holds the client.
    pub(super) fn among(&self, answer: &Answer, prefixes: Prefixes) -> Option<Match> {
        let ip = self.client.ip;
        let mut nets = answer.addresses().map(|address| prefixes.around(address));
        nets.find(|net| net.has(ip)).map(|net| Match { is_wide: net.is_wide() })
    }

    /// The answer to a term's own question: one that is missing ends the check, and one that finds
    /// nothing counts.
    pub(super) fn ask_for(&mut self, question: Question, name: &str) -> Outcome<Answer, L> {
        let answer = self.ask(question.clone())?;
        if answer == Answer::TempFail {
            return Err(no_answer(name));
        }
        self.count_void(question, &answer)?;
        Ok(answer)
    }

    pub(super) fn count_term(&mut self, term: &str) -> Outcome<(), L> {
        self.terms += 1;
        if self.terms <= TERMS_MAX {
            return Ok(());
        }
        let problem = format!("more than {TERMS_MAX} terms that ask DNS: '{term}' is one too many");
        Err(Break::Stop(SpfResult::PermError, problem))
    }

    pub(super) fn count_void(&mut self, question: Question, answer: &Answer) -> Outcome<(), L> {
        let is_void = matches!(answer, Answer::NoData | Answer::NxDomain);
        if is_void && !self.voids.contains(&question) {
            self.voids.push(question);
        }
        if self.voids.len() <= VOIDS_MAX {
            return Ok(());
        }
        let problem = format!("more than {VOIDS_MAX} terms that ask DNS and find nothing");
        Err(Break::Stop(SpfResult::PermError, problem))
    }

    pub(super) fn step(&mut self, depth: u32, domain: &str, term: &str, outcome: &'static str) {
        if self.path.len() < PATH_MAX {
            self.path.push(Step { depth, domain: domain.into(), term: term.into(), outcome });
        }
    }
}

/// The question with which an evaluation begins.
pub(super) fn first_question(domain: &str) -> Option<Question> {
    is_domain(domain).then(|| question(domain, Kind::Txt))
}

pub(super) fn no_answer<M>(name: &str) -> Break<M> {
    Break::Stop(SpfResult::TempError, format!("no answer to a question for {name}"))
}

pub(super) fn question(name: &str, kind: Kind) -> Question {
    Question::of_octets(name.as_bytes(), kind)
}

pub(super) fn texts(answer: &Answer) -> impl Iterator<Item = &[u8]> {
    answer.records().iter().filter_map(|record| match record {
        Record::Text(text) => Some(&**text),
        Record::Address(_) | Record::Name(_) | Record::Mx(..) => None,
    })
}

/// A name that can be asked for.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX && name.split('.').all(|label| (1..=LABEL_MAX).contains(&label.len()))
}

/// A domain that can have a record (RFC 7208 section 4.3): of two labels or more, and no address.
pub(super) fn is_domain(name: &str) -> bool {
    is_name(name) && name.contains('.') && !name.starts_with('[') && name.parse::<IpAddr>().is_err()
}

/// A name is a domain or lies below it; both in the form of [`name_of_octets`].
pub(super) fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
