//! What a hand says in ARC-Authentication-Results (RFC 8617 section 4.1.1, in the grammar of RFC 8601
//! section 2.2) of the message as it came to it.

use crate::authn::dkim::text::domain_name;

/// Results of one field, and properties of one result. A field with more says nothing: what is left out
/// could be the very thing that speaks against the message.
const PARTS_MAX: usize = 30;

/// What a hand found, as far as it is about one author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Testimony {
    /// DMARC passed for the author.
    Passed,
    /// DMARC failed; what else passed does not count against that.
    Failed,
    /// DMARC had no result. The domains for which SPF and signatures passed.
    Checks {
        /// Of the reverse-path, or of HELO where that was null.
        spf: Vec<String>,
        /// Of signatures.
        dkim: Vec<String>,
    },
}

/// Reads the value of ARC-Authentication-Results for an author (in lower case and A-labels). What cannot
/// be read says nothing.
pub fn testimony(value: &[u8], author: &str) -> Testimony {
    let (mut spf, mut dkim) = (Vec::new(), Vec::new());
    let mut has_passed = false;
    for said in read(value).unwrap_or_default() {
        let passes = said.result == "pass";
        match said.method.as_str() {
            "dmarc" => {
                // Without the name it is about whoever is in From, which the hand has signed.
                let of = said.property("header.from").map(domain_of);
                if of.is_some_and(|of| of.as_deref() != Some(author)) {
                    continue;
                }
                if said.result == "fail" {
                    return Testimony::Failed;
                }
                has_passed |= passes;
            }
            "spf" if passes => {
                let sender = said.property("smtp.mailfrom").filter(|it| !it.is_empty());
                spf.extend(sender.or(said.property("smtp.helo")).and_then(domain_of));
            }
            "dkim" if passes => {
                let signer = said.property("header.d").or(said.property("header.i"));
                dkim.extend(signer.and_then(domain_of));
            }
            _ => {}
        }
    }
    if has_passed { Testimony::Passed } else { Testimony::Checks { spf, dkim } }
}

/// The domain of an address, or a domain.
fn domain_of(text: &str) -> Option<String> {
    let domain = text.rsplit_once('@').map_or(text, |(_, domain)| domain);
    domain_name(domain.trim_end_matches('.'))
}

/// `method=result` with its properties.
struct Said {
    method: String,
    result: String,
    properties: Vec<(String, String)>,
}

impl Said {
    fn property(&self, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The results behind the number and the name of the server. None where quotes or comments do not close:
/// then nobody knows where a result begins.
fn read(value: &[u8]) -> Option<Vec<Said>> {
    let parts = parts(value)?;
    let mut all = Vec::new();
    for words in parts.into_iter().skip(2) {
        let mut words = words.into_iter();
        let Some(first) = words.next() else { continue };
        let Some((method, result)) = first.split().filter(|_| !first.is_quoted) else { continue };
        // `dmarc/1`: the version of the method.
        let method = method.split('/').next().unwrap_or_default().to_string();
        let properties: Vec<(String, String)> = words.filter_map(|word| word.split()).collect();
        if all.len() == PARTS_MAX || properties.len() > PARTS_MAX {
            return None;
        }
        all.push(Said { method, result: result.to_ascii_lowercase(), properties });
    }
    Some(all)
}

/// A word, without the quotes in it.
#[derive(Default)]
struct Word {
    text: Vec<u8>,
    /// The first `=` that is not quoted, with nothing quoted before it.
    equals: Option<usize>,
    is_quoted: bool,
}

impl Word {
    fn push(&mut self, octet: u8) {
        if octet == b'=' && self.equals.is_none() && !self.is_quoted {
            self.equals = Some(self.text.len());
        }
        self.text.push(octet);
    }

    /// `key=value`, the key in lower case.
    fn split(&self) -> Option<(String, String)> {
        let (key, value) = self.text.split_at_checked(self.equals?)?;
        let text = |octets| String::from_utf8_lossy(octets).into_owned();
        Some((text(key).to_ascii_lowercase(), text(value.get(1..).unwrap_or_default())))
    }

    /// It ends with its `=`.
    fn is_open(&self) -> bool {
        !self.is_quoted && self.equals.is_some_and(|at| at + 1 == self.text.len())
    }

    /// Blanks may stand around `=`: takes the next word in, if it belongs to this one.
    fn join(&mut self, next: Word) -> Option<Word> {
        let goes_on = self.equals.is_none() && !self.is_quoted && next.equals == Some(0);
        let is_value = self.is_open() && next.equals.is_none();
        if !goes_on && !is_value {
            return Some(next);
        }
        let offset = self.text.len();
        self.equals = self.equals.or(next.equals.map(|at| at + offset));
        self.is_quoted |= next.is_quoted;
        self.text.extend(next.text);
        None
    }
}

/// The words between semicolons, without comments.
fn parts(value: &[u8]) -> Option<Vec<Vec<Word>>> {
    let (mut parts, mut words, mut word) = (Vec::new(), Vec::new(), None::<Word>);
    let (mut depth, mut in_quotes, mut escaped) = (0_usize, false, false);
    for octet in value.iter().copied() {
        if std::mem::take(&mut escaped) {
            if in_quotes {
                word.get_or_insert_default().text.push(octet);
            }
            continue;
        }
        match octet {
            b'\\' if in_quotes || depth > 0 => escaped = true,
            b'"' if depth == 0 => {
                in_quotes = !in_quotes;
                word.get_or_insert_default().is_quoted = true;
            }
            _ if in_quotes => word.get_or_insert_default().text.push(octet),
            b'(' => {
                depth += 1;
                keep(&mut words, &mut word);
            }
            b')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            b';' => {
                keep(&mut words, &mut word);
                parts.push(std::mem::take(&mut words));
            }
            b' ' | b'\t' | b'\r' | b'\n' => keep(&mut words, &mut word),
            octet => word.get_or_insert_default().push(octet),
        }
    }
    keep(&mut words, &mut word);
    parts.push(words);
    (depth == 0 && !in_quotes && !escaped).then_some(parts)
}

fn keep(words: &mut Vec<Word>, word: &mut Option<Word>) {
    let Some(word) = word.take() else { return };
    let left = match words.last_mut() {
        Some(last) => last.join(word),
        None => Some(word),
    };
    words.extend(left);
}

/// Any value can be read, and what it names are domains.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    if let Testimony::Checks { spf, dkim } = testimony(data, "example.org") {
        assert!(spf.iter().chain(&dkim).all(|domain| domain_name(domain).as_ref() == Some(domain)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn testimonies() {
        let checks = |spf: &[&str], dkim: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            Testimony::Checks { spf: owned(spf), dkim: owned(dkim) }
        };
        for (text, expected) in [
            (" i=1; mx; dmarc=pass header.from=a.example", Testimony::Passed),
            (" i=1; mx 1; dmarc/1 = Pass (p=none) header.from = A.example", Testimony::Passed),
            (" i=1; mx;\r\n\tdmarc=pass action=none header.from=\"a.example\"", Testimony::Passed),
            (" i=1; mx; dmarc=pass", Testimony::Passed),
            (" i=1; mx; dmarc=pass header.from=b.example", checks(&[], &[])),
            (" i=1; mx; dmarc=fail header.from=a.example; dmarc=pass", Testimony::Failed),
            (" i=1; mx; dmarc=pass; dkim=pass header.d=a.example; dmarc=FAIL", Testimony::Failed),
            (" i=1; mx; dmarc=none header.from=a.example", checks(&[], &[])),
            (
                " i=1; mx; dkim=pass (good) header.i=@a.example header.b=\"a/+=\"; \
                 dkim=pass header.d=B.example header.b=a= header.s=x; dkim=fail header.d=c.example; \
                 spf=pass (x) smtp.mailfrom=u@d.example smtp.helo=e.example",
                checks(&["d.example"], &["a.example", "b.example"]),
            ),
            (" i=1; mx; spf=pass smtp.mailfrom= smtp.helo=e.example", checks(&["e.example"], &[])),
            (" i=1; mx; spf=softfail smtp.mailfrom=d.example", checks(&[], &[])),
            // What stands in quotes, in a comment or in the server's name is no result.
            (" i=1; mx; x=y reason=\"a; dmarc=pass\"", checks(&[], &[])),
            (" i=1; mx; x=y (a; (b;) dmarc=pass)", checks(&[], &[])),
            (" i=1; mx; x=y (a \\) ; dmarc=pass)", checks(&[], &[])),
            (" i=1; mx; dmarc=\"pass\"", checks(&[], &[])),
            (" i=1; mx; \"dmarc\"=pass", checks(&[], &[])),
            (" i=1; dmarc=pass", checks(&[], &[])),
            (" i=1; mx; spf=pass reason=dmarc=pass", checks(&[], &[])),
            // What does not close says nothing.
            (" i=1; mx; dmarc=pass; x=y \"", checks(&[], &[])),
            (" i=1; mx; dmarc=pass (", checks(&[], &[])),
            (" i=1; mx; none", checks(&[], &[])),
            ("", checks(&[], &[])),
        ] {
            assert_eq!(testimony(text.as_bytes(), "a.example"), expected, "{text}");
            fuzz(text.as_bytes());
        }
        let many = format!(" i=1; mx{}", "; dmarc=pass".repeat(PARTS_MAX));
        assert_eq!(testimony(many.as_bytes(), "a.example"), Testimony::Passed);
        let many = format!("{many}; dmarc=fail");
        assert_eq!(testimony(many.as_bytes(), "a.example"), checks(&[], &[]));
    }
}
