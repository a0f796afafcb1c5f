//! DKIM against what others have collected, and against what others have built.
//!
//! The suites are not part of the project; without them the tests say so and pass, except on the
//! project's own machines (`CI=true`). Each case agrees with its author's expectation, or stands in a
//! table here with the text of an RFC, or the policy, that explains why not.

mod hostile;
mod suites;

use mailreeve::authn::Lookup;
use mailreeve::authn::dkim::{Mail, Verification, verify};
use mailreeve::authn::dmarc::author::Authors;
use mailreeve::dns::{Answer, Kind, Question, Record};
use mailreeve::mail::stored::Stored;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// TXT records by name.
#[derive(Default)]
pub(crate) struct Zone(BTreeMap<String, Answer>);

impl Zone {
    /// Adds a record, or a fault of the whole name.
    pub(crate) fn add(&mut self, name: &str, text: &str) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let record = Record::Text(text.as_bytes().into());
        let records: Vec<Record> = match self.0.get(&name) {
            Some(answer) => answer.records().iter().cloned().chain([record]).collect(),
            None => vec![record],
        };
        self.0.insert(name, Answer::Found(records.into()));
    }

    pub(crate) fn fault(&mut self, name: &str, answer: Answer) {
        self.0.insert(name.trim_end_matches('.').to_ascii_lowercase(), answer);
    }

    fn answer(&self, question: &Question) -> Answer {
        assert_eq!(question.kind, Kind::Txt);
        self.0.get(&*question.name).cloned().unwrap_or(Answer::NxDomain)
    }
}

impl Lookup for &Zone {
    type Missing = Infallible;

    fn ask(&mut self, question: Question) -> Result<Answer, Infallible> {
        Ok(self.answer(&question))
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Infallible> {
        Ok(questions.iter().map(|question| self.answer(question)).collect())
    }
}

/// Checks a message as the daemon and the command do.
pub(crate) fn check(message: &[u8], zone: &Zone, now: u64) -> Verification {
    let stored = Stored::read(message).unwrap();
    let authors = Authors::of(&stored.header, &stored.headers);
    let Ok(found) = verify(&Mail::of(&stored), authors.one(), now, &mut &*zone);
    found
}
