//! DNS in a table, for checks that ask.

use mailreeve::authn::Lookup;
use mailreeve::dns::{Answer, Kind, Question, Record, name_of_octets};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Links of a chain of aliases, as the resolver follows them.
const ALIASES_MAX: usize = 8;

/// All names, in the form that questions have.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    names: BTreeMap<Box<str>, Name>,
}

#[derive(Clone, Debug, Default)]
struct Name {
    records: Vec<(Kind, Record)>,
    alias: Option<Box<str>>,
    /// Types that get no answer.
    silent: Vec<Kind>,
    /// Nothing but what is listed gets an answer.
    silent_else: bool,
}

impl World {
    fn at(&mut self, name: &str) -> &mut Name {
        let name = name_of_octets(name.as_bytes()).to_ascii_lowercase();
        self.names.entry(name.into()).or_default()
    }

    pub(crate) fn add(&mut self, name: &str, kind: Kind, record: Record) {
        self.at(name).records.push((kind, record));
    }

    /// Takes all records of a type away.
    pub(crate) fn clear(&mut self, name: &str, kind: Kind) {
        self.at(name).records.retain(|(known, _)| *known != kind);
    }

    /// A name without records.
    pub(crate) fn exists(&mut self, name: &str) {
        self.at(name);
    }

    pub(crate) fn address(&mut self, name: &str, address: &str) {
        let address = address.parse().unwrap_or_else(|_| panic!("{address} is no address"));
        let kind = if matches!(address, std::net::IpAddr::V4(_)) { Kind::A } else { Kind::Aaaa };
        self.add(name, kind, Record::Address(address));
    }

    pub(crate) fn mx(&mut self, name: &str, preference: u16, host: &str) {
        self.add(name, Kind::Mx, Record::Mx(preference, name_of_octets(host.as_bytes())));
    }

    pub(crate) fn ptr(&mut self, name: &str, host: &str) {
        self.add(name, Kind::Ptr, Record::Name(name_of_octets(host.as_bytes())));
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.add(name, Kind::Txt, Record::Text(text.as_bytes().into()));
    }

    pub(crate) fn alias(&mut self, name: &str, target: &str) {
        self.at(name).alias = Some(name_of_octets(target.as_bytes()));
    }

    pub(crate) fn silence(&mut self, name: &str, kind: Option<Kind>) {
        let at = self.at(name);
        match kind {
            Some(kind) => at.silent.push(kind),
            None => at.silent_else = true,
        }
    }

    fn answer(&self, question: &Question) -> Answer {
        let mut name = &question.name;
        for _ in 0..=ALIASES_MAX {
            let Some(at) = self.names.get(name) else {
                if name.split('.').any(|label| label.starts_with("_dns_error")) {
                    return Answer::TempFail;
                }
                return Answer::NxDomain;
            };
            if let Some(target) = &at.alias {
                name = target;
                continue;
            }
            let of_kind = at.records.iter().filter(|(kind, _)| *kind == question.kind);
            let records: Vec<Record> = of_kind.map(|(_, record)| record.clone()).collect();
            return match records.is_empty() {
                _ if at.silent.contains(&question.kind) => Answer::TempFail,
                false => Answer::Found(records.into()),
                true if at.silent_else => Answer::TempFail,
                true => Answer::NoData,
            };
        }
        Answer::TempFail
    }
}

impl Lookup for &World {
    type Missing = Infallible;

    fn ask(&mut self, question: Question) -> Result<Answer, Infallible> {
        Ok(self.answer(&question))
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Infallible> {
        Ok(questions.iter().map(|question| self.answer(question)).collect())
    }
}

/// The same world, whose answers come only when the asker has left.
pub(crate) struct Late<'a> {
    world: &'a World,
    known: Vec<Question>,
    missed: Vec<Question>,
    /// How many times answers came.
    pub(crate) rounds: usize,
}

impl Late<'_> {
    pub(crate) fn new(world: &World) -> Late<'_> {
        Late { world, known: Vec::new(), missed: Vec::new(), rounds: 0 }
    }

    pub(crate) fn arrive(&mut self) {
        assert!(!self.missed.is_empty(), "it left without a question");
        self.known.append(&mut self.missed);
        self.rounds += 1;
    }
}

impl Lookup for Late<'_> {
    type Missing = ();

    fn ask(&mut self, question: Question) -> Result<Answer, ()> {
        if self.known.contains(&question) {
            return Ok(self.world.answer(&question));
        }
        self.missed.push(question);
        Err(())
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, ()> {
        let unknown = questions.iter().filter(|it| !self.known.contains(it)).cloned();
        self.missed.extend(unknown);
        if !self.missed.is_empty() {
            return Err(());
        }
        Ok(questions.iter().map(|question| self.world.answer(question)).collect())
    }
}
