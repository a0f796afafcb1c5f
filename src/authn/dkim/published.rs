//! Whether DNS has the public half of a key that we sign with. Where it has not, every signature by that
//! key fails at those who check it, and mail is worse off than without one.

use super::key::KeyRecord;
use crate::authn::crypto::PublicKey;
use crate::dns::{Answer, Kind, Question, Record};

/// Keys that are asked about at most; no site has more whose admin would read all lines.
pub const KEYS_MAX: usize = 200;

/// Lines that a report has at most.
const LINES_MAX: usize = 20;

/// How a record that should be in DNS is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// As it should be.
    Same,
    /// Not at all.
    Missing,
    /// In another form, in words.
    Other(String),
    /// Nobody could say.
    Unknown,
}

/// A key that others look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToPublish {
    /// `d=`
    pub domain: String,
    /// `s=`
    pub selector: String,
    /// The public half of what we sign with.
    pub key: PublicKey,
}

impl ToPublish {
    /// The name of its record.
    pub fn name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// What to ask.
    pub fn question(&self) -> Question {
        Question::new(&self.name(), Kind::Txt)
    }
}

/// What is published where the record of this key should be.
pub fn published_as(answer: &Answer, key: &PublicKey) -> Published {
    let texts = texts(answer);
    match (answer, texts.as_slice()) {
        (Answer::TempFail, _) => Published::Unknown,
        (_, []) => Published::Missing,
        (_, [text]) => match KeyRecord::parse(text) {
            Ok(record) if record.key == *key => Published::Same,
            Ok(_) => Published::Other("another key".to_string()),
            Err(why) => Published::Other(why.to_string()),
        },
        (_, several) => Published::Other(format!("{} records, one is right", several.len())),
    }
}

/// The texts of an answer.
pub fn texts(answer: &Answer) -> Vec<&[u8]> {
    let texts = answer.records().iter().filter_map(|record| match record {
        Record::Text(text) => Some(&**text),
        Record::Address(_) | Record::Name(_) | Record::Mx(..) => None,
    });
    texts.collect()
}

/// What the answers about several keys come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong, a line each: these domains' mail is signed in vain.
    pub faults: Vec<String>,
    /// That nobody could say, and of what.
    pub unknown: Option<String>,
}

impl Report {
    /// Of keys and the answers to their questions.
    pub fn of<'a>(found: impl Iterator<Item = (&'a ToPublish, &'a Answer)>) -> Report {
        let (mut report, mut left_out) = (Report::default(), 0);
        let mut unknown: Vec<String> = Vec::new();
        for (key, answer) in found {
            let how = match published_as(answer, &key.key) {
                Published::Same => continue,
                Published::Unknown => {
                    unknown.push(key.name());
                    continue;
                }
                Published::Missing => "is not in DNS".to_string(),
                Published::Other(what) => format!("is wrong in DNS ({what})"),
            };
            if report.faults.len() == LINES_MAX {
                left_out += 1;
                continue;
            }
            let (domain, name) = (&key.domain, key.name());
            report.faults.push(format!("mail of {domain} is signed in vain: {name} {how}"));
        }
        if left_out > 0 {
            report.faults.push(format!("and {left_out} more; see mailreeve dkim status"));
        }
        report.unknown = unknown.first().map(|first| {
            let more = match unknown.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("could not ask whether {first}{more} is in DNS")
        });
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::crypto::PrivateKey;
    use crate::authn::dkim::testing::{ED25519_PKCS8, RSA_PUBLIC};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn answer(texts: &[&str]) -> Answer {
        Answer::Found(texts.iter().map(|text| Record::Text(text.as_bytes().into())).collect())
    }

    fn record(key: &PublicKey) -> String {
        let kind = if matches!(key, PublicKey::Rsa { .. }) { "rsa" } else { "ed25519" };
        format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(key.for_record()))
    }

    fn keys() -> (PublicKey, PublicKey) {
        let other = PrivateKey::from_pem(ED25519_PKCS8).ok().and_then(|key| key.public());
        (PublicKey::from_pem(RSA_PUBLIC).expect("a key"), other.expect("a key"))
    }

    #[test]
    fn what_is_published_is_compared() {
        let (key, other) = keys();
        let (ours, theirs) = (record(&key), record(&other));
        let wrong = |what: &str| Published::Other(what.to_string());
        for (answer, expected) in [
            (answer(&[&ours]), Published::Same),
            (answer(&[&theirs]), wrong("another key")),
            (answer(&["v=DKIM1; p="]), wrong("public key: revoked")),
            (answer(&["v=DKIM1"]), wrong("public key: malformed")),
            (answer(&[&ours, &theirs]), wrong("2 records, one is right")),
            (answer(&[]), Published::Missing),
            (Answer::NxDomain, Published::Missing),
            (Answer::NoData, Published::Missing),
            (Answer::TempFail, Published::Unknown),
        ] {
            assert_eq!(published_as(&answer, &key), expected, "{answer:?}");
        }
    }

    #[test]
    fn reports() {
        let (key, other) = keys();
        let of = |domain: &str| ToPublish {
            domain: domain.to_string(),
            selector: "s".to_string(),
            key: key.clone(),
        };
        let same = answer(&[&record(&key)]);
        let all = [
            (of("good.example"), same),
            (of("none.example"), Answer::NxDomain),
            (of("other.example"), answer(&[&record(&other)])),
            (of("mute.example"), Answer::TempFail),
            (of("mute.example.org"), Answer::TempFail),
        ];
        assert_eq!(all[0].0.question(), Question::new("s._domainkey.good.example", Kind::Txt));
        let report = |count| Report::of(all.iter().take(count).map(|(key, answer)| (key, answer)));
        let expected = Report {
            faults: vec![
                "mail of none.example is signed in vain: s._domainkey.none.example is not in DNS"
                    .to_string(),
                "mail of other.example is signed in vain: s._domainkey.other.example is wrong in \
                 DNS (another key)"
                    .to_string(),
            ],
            unknown: Some(
                "could not ask whether s._domainkey.mute.example and 1 more is in DNS".to_string(),
            ),
        };
        assert_eq!(report(5), expected);
        let one = "could not ask whether s._domainkey.mute.example is in DNS";
        assert_eq!(report(4).unknown.as_deref(), Some(one));
        assert_eq!(report(1), Report::default());
        let many: Vec<ToPublish> = (0..50).map(|n| of(&format!("x{n}.example"))).collect();
        let report = Report::of(many.iter().map(|key| (key, &Answer::NoData)));
        assert_eq!(report.faults.len(), LINES_MAX + 1);
        assert_eq!(report.faults.last().unwrap(), "and 30 more; see mailreeve dkim status");
    }
}
