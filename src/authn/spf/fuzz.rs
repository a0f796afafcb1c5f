//! What must hold of SPF for any input at all.

use super::{Client, EXPLANATION_MAX, HOSTS_MAX, Identity, PATH_MAX, SpfResult, TERMS_MAX};
use crate::authn::Lookup;
use crate::dns::{Answer, Kind, Question, Record};
use std::convert::Infallible;

pub use super::macros::fuzz as fuzz_macros;
pub use super::record::fuzz as fuzz_record;

/// A world in which every name has the records of the input, a line each, and all lines at once.
struct World<'a> {
    data: &'a [u8],
    asked: usize,
    texts: usize,
}

impl World<'_> {
    fn records(&self, question: &Question) -> Vec<Record> {
        // Names and types choose where the lines begin, so that not every answer is the same.
        let shift = question.name.len() + question.kind as usize;
        let lines: Vec<&[u8]> = self.data.split(|octet| *octet == b'\n').collect();
        let lines = lines.iter().cycle().skip(shift % lines.len().max(1)).take(lines.len().min(20));
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        let record = |line: &&[u8]| match question.kind {
            Kind::Txt => Some(Record::Text((*line).into())),
            Kind::Mx => Some(Record::Mx(line.len() as u16, text(line).into())),
            Kind::Ptr | Kind::Ns => Some(Record::Name(text(line).into())),
            Kind::A | Kind::Aaaa => text(line).parse().ok().map(Record::Address),
        };
        lines.filter_map(record).take(if question.kind == Kind::Txt { 1 } else { 20 }).collect()
    }
}

impl Lookup for World<'_> {
    type Missing = Infallible;

    fn ask(&mut self, question: Question) -> Result<Answer, Infallible> {
        self.asked += 1;
        self.texts += usize::from(question.kind == Kind::Txt);
        assert!(question.name.split('.').all(|label| !label.is_empty()), "{question:?}");
        let records = self.records(&question);
        Ok(match (records.is_empty(), question.name.len() % 3) {
            (false, _) => Answer::Found(records.into()),
            (true, 0) => Answer::NoData,
            (true, 1) => Answer::NxDomain,
            (true, _) => Answer::TempFail,
        })
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Infallible> {
        questions.into_iter().map(|question| self.ask(question)).collect()
    }
}

/// A whole check in a world that the input makes: it ends, and keeps every bound.
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz_check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let sender = text.lines().next_back().unwrap_or_default();
    for ip in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
        let Ok(ip) = ip.parse() else { continue };
        let client = Client { ip, helo: sender, receiver: "mx.example.net", unix: 1_000_000_000 };
        let identity = Identity::of_text(sender).unwrap_or_else(|| Identity::of_helo(sender));
        let mut world = World { data, asked: 0, texts: 0 };
        let Ok(checked) = super::check_host(&mut world, &client, &identity);
        // A record for each term and for the domain itself, and one explanation.
        let terms = TERMS_MAX as usize;
        assert!(world.texts <= terms + 2, "{} texts", world.texts);
        // Each term may ask for hosts; so may the names behind %{p}, once for all.
        assert!(world.asked <= terms + 2 + (terms + 1) * (HOSTS_MAX + 1), "{}", world.asked);
        assert!(checked.path.len() <= PATH_MAX);
        let explained = checked.explanation.as_deref().unwrap_or_default();
        assert!(explained.len() <= EXPLANATION_MAX);
        assert!(explained.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{explained}");
        assert!(explained.is_empty() || checked.result == SpfResult::Fail);
        let error = matches!(checked.result, SpfResult::TempError | SpfResult::PermError);
        assert_eq!(checked.problem.is_some(), error);
        let field = super::received_spf(&checked, "mx.example.net", sender, sender);
        assert!(field.starts_with(checked.result.word()) && !field.contains('\n'), "{field}");
    }
}
