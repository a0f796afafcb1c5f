//! What fuzzing feeds the parser with, what must hold then, and how a test sees where that led.

use super::*;

/// Reads the octets as a reply to the question that they hold, of the type that the first octet
/// chooses; and asks for them as a name.
pub fn fuzz(data: &[u8]) {
    const KINDS: [Kind; 6] = [Kind::A, Kind::Aaaa, Kind::Ptr, Kind::Mx, Kind::Txt, Kind::Ns];
    let asked = Message::from_slice(data)
        .ok()
        .and_then(Message::first_question)
        .map_or_else(|| WireName(Name::root()), |q| WireName(q.qname().to_canonical_name()));
    if let Some(head) = head(data) {
        assert_eq!(Some(head.id), data.first_chunk().copied().map(u16::from_be_bytes));
    }
    for kind in KINDS {
        let Ok(content) = read(data, &asked, kind) else { continue };
        assert!(content.aliases <= ALIASES_MAX);
        let Found::Answer(answer) = content.found else { continue };
        assert!(answer != Answer::TempFail && answer.weight() <= ANSWER_OCTETS_MAX);
        assert!(answer.records().len() <= RECORDS_MAX);
        for record in answer.records() {
            if let Record::Name(name) | Record::Mx(_, name) = record {
                assert!(name.bytes().all(|octet| octet.is_ascii_graphic()));
                assert!(name.is_empty() || name.split('.').all(|label| !label.is_empty()));
            }
        }
    }
    assert_eq!(WireName::new(&asked.text()).as_ref(), Some(&asked), "a name that was shown");
    let text = String::from_utf8_lossy(data);
    if let Some(name) = WireName::new(&text)
        && let Some(mut message) = query(7, &name, Kind::Txt, data.len().is_multiple_of(2))
    {
        let asked = question_of(&message, &name).to_vec();
        assert!(asked.len() <= 255 + 4 && message.len() <= HEADER_OCTETS + asked.len() + 11);
        mix_case(&mut message, &name, || true);
        if let Some(flags) = message.get_mut(2) {
            *flags |= 0x80;
        }
        assert_eq!(head(&message).map(|head| head.id), Some(7));
        assert_ne!(echo(&message, &asked), Echo::Other);
        let (found, ttl) = (Found::Answer(Answer::NoData), 0);
        assert_eq!(read(&message, &name, Kind::Txt), Ok(Content { found, ttl, aliases: 0 }));
    }
}

/// The ways through [`read`] on which these octets lead, for a test of what fuzzing reaches.
#[cfg(test)]
pub(crate) fn ways(data: &[u8]) -> Vec<String> {
    let mut ways = Vec::new();
    let question = Message::from_slice(data).ok().and_then(Message::first_question);
    let (Some(question), Ok(message)) = (question, Message::from_slice(data)) else { return ways };
    let asked = WireName(question.qname().to_canonical_name());
    for record in message.answer().into_iter().flatten().flatten() {
        if record.owner().is_compressed() {
            ways.push("a compressed owner".to_string());
        }
        let value = record.to_record::<domain::rdata::AllRecordData<&[u8], ParsedName<&[u8]>>>();
        let target = value.ok().flatten().is_some_and(|value| match value.data() {
            domain::rdata::AllRecordData::Mx(mx) => mx.exchange().is_compressed(),
            domain::rdata::AllRecordData::Cname(name) => name.cname().is_compressed(),
            domain::rdata::AllRecordData::Ptr(name) => name.ptrdname().is_compressed(),
            _ => false,
        });
        if target {
            ways.push("a compressed value".to_string());
        }
    }
    for kind in [Kind::A, Kind::Mx, Kind::Txt, Kind::Ptr] {
        ways.push(match read(data, &asked, kind) {
            Err(bad) => format!("{bad:?}"),
            Ok(Content { found: Found::Alias(_), .. }) => "alias left open".to_string(),
            Ok(Content { found: Found::Answer(answer), ttl, aliases }) => match answer {
                Answer::NxDomain if ttl > 0 => "NXDOMAIN kept by its SOA".to_string(),
                Answer::NxDomain => "NXDOMAIN".to_string(),
                Answer::NoData => "no data".to_string(),
                _ if aliases > 0 => format!("{} by an alias", rtype(kind)),
                _ => rtype(kind).to_string(),
            },
        });
    }
    ways
}
