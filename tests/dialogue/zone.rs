//! The `dns:` lines of a script: what the resolver of the pure form answers.

use crate::dialogue::script::matches;
use mailreeve::dns::{Answer, Kind, Question, Record};
use std::time::Duration;

/// How long a question without an answer keeps its asker waiting.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that is in DNS.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// In lower case, `*` for any text.
    name: String,
    /// None stands for every type.
    kind: Option<Kind>,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Record(Record),
    NoName,
    NoRecord,
    Failure,
    Timeout,
    Rests,
}

impl Zone {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes `NAME TYPE DATA`; `*` as type is every type, and as part of a name any text.
    pub(crate) fn add(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.splitn(3, char::is_whitespace);
        let mut word = || words.next().map(str::trim).filter(|word| !word.is_empty());
        let (Some(name), Some(kind), Some(data)) = (word(), word(), word()) else {
            return Err("dns: NAME TYPE DATA".into());
        };
        let kind = match kind.to_ascii_uppercase().as_str() {
            "A" => Some(Kind::A),
            "AAAA" => Some(Kind::Aaaa),
            "PTR" => Some(Kind::Ptr),
            "MX" => Some(Kind::Mx),
            "TXT" => Some(Kind::Txt),
            "NS" => Some(Kind::Ns),
            "*" => None,
            other => return Err(format!("{other} is no type")),
        };
        let data = match data {
            "NXDOMAIN" => Data::NoName,
            "NODATA" => Data::NoRecord,
            "SERVFAIL" => Data::Failure,
            "TIMEOUT" => Data::Timeout,
            "RESTS" => Data::Rests,
            text => Data::Record(record(kind, text)?),
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.entries.push(Entry { name, kind, data });
        Ok(())
    }

    /// The list that this question is for is left alone by the resolver.
    pub(crate) fn rests(&self, question: &Question) -> bool {
        let rests = |entry: &&Entry| matches!(entry.data, Data::Rests);
        self.entries.iter().filter(rests).any(|entry| matches(&entry.name, &question.name))
    }

    /// The answer and how long it takes.
    pub(crate) fn answer(&self, question: &Question) -> (Answer, Duration) {
        let exact = self.entries.iter().any(|entry| entry.name == *question.name);
        let of_name: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| match exact {
                true => entry.name == *question.name,
                false => entry.name.contains('*') && matches(&entry.name, &question.name),
            })
            .collect();
        let of_kind = of_name.iter().filter(|it| it.kind.is_none_or(|kind| kind == question.kind));
        let mut records = Vec::new();
        for entry in of_kind {
            match &entry.data {
                Data::Record(record) => records.push(record.clone()),
                Data::NoName => return (Answer::NxDomain, Duration::ZERO),
                Data::NoRecord => return (Answer::NoData, Duration::ZERO),
                Data::Failure | Data::Rests => return (Answer::TempFail, Duration::ZERO),
                Data::Timeout => return (Answer::TempFail, TIMEOUT),
            }
        }
        let answer = match (records.is_empty(), of_name.is_empty()) {
            (false, _) => Answer::Found(records.into()),
            (true, false) => Answer::NoData,
            (true, true) => Answer::NxDomain,
        };
        (answer, Duration::ZERO)
    }
}

fn record(kind: Option<Kind>, text: &str) -> Result<Record, String> {
    let name = |text: &str| text.trim_end_matches('.').to_ascii_lowercase().into_boxed_str();
    match kind {
        Some(Kind::A | Kind::Aaaa) => {
            text.parse().map(Record::Address).map_err(|_| format!("{text} is no address"))
        }
        Some(Kind::Ptr | Kind::Ns) => Ok(Record::Name(name(text))),
        Some(Kind::Mx) => {
            let (preference, host) = text.split_once(' ').ok_or("MX wants a number and a name")?;
            let preference = preference.parse().map_err(|_| format!("{preference}: a number"))?;
            Ok(Record::Mx(preference, name(host.trim())))
        }
        Some(Kind::Txt) => {
            let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            Ok(Record::Text(bare.unwrap_or(text).as_bytes().into()))
        }
        None => Err("type * is for NXDOMAIN, NODATA, SERVFAIL, TIMEOUT and RESTS".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let mut zone = Zone::default();
        for line in [
            "a.example A 192.0.2.1",
            "A.example. A 192.0.2.2",
            "a.example MX 10 mx.a.example.",
            "slow.example * TIMEOUT",
            "*.list.example A 127.0.0.2",
            "good.list.example A NXDOMAIN",
            "t.example TXT \"v=spf1 -all\"",
            "*.tired.example * RESTS",
        ] {
            zone.add(line).expect(line);
        }
        for (name, kind, expected) in [
            ("a.example", Kind::A, 2),
            ("a.example", Kind::Mx, 1),
            ("x.list.example", Kind::A, 1),
            ("t.example", Kind::Txt, 1),
        ] {
            let (answer, _) = zone.answer(&Question::new(name, kind));
            assert_eq!(answer.records().len(), expected, "{name}");
        }
        let ask = |name: &str, kind| zone.answer(&Question::new(name, kind));
        assert_eq!(ask("a.example", Kind::Txt).0, Answer::NoData);
        assert_eq!(ask("b.example", Kind::A).0, Answer::NxDomain);
        assert_eq!(ask("good.list.example", Kind::A).0, Answer::NxDomain);
        assert_eq!(ask("slow.example", Kind::A), (Answer::TempFail, TIMEOUT));
        assert!(zone.rests(&Question::new("x.tired.example", Kind::A)));
        assert!(!zone.rests(&Question::new("slow.example", Kind::A)));
        for line in ["", "a.example A", "a.example A x", "a.example SRV x", "a.example * x"] {
            assert!(zone.add(line).is_err(), "{line}");
        }
    }
}
