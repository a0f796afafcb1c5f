//! Aggregate reports of others, read (RFC 9990, and RFC 7489 appendix C before it).
//!
//! They come from strangers, so everything has a bound: octets, depth, records, and each text. Elements
//! that are unknown are passed over, whatever namespace they claim, since reporters differ widely. A
//! document type definition is refused: no report has one, and entities could be made to grow.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Octets of a report.
pub const OCTETS_MAX: usize = 64 * 1_024 * 1_024;

/// Records of a report.
const RECORDS_MAX: usize = 100_000;

/// Results and reasons of one record that are kept.
const RESULTS_MAX: usize = 16;

/// Elements within one another.
const DEPTH_MAX: usize = 16;

/// Octets of one text that are kept.
const TEXT_MAX: usize = 255;

/// A report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Who reports.
    pub organisation: String,
    /// The name that it gives the report.
    pub id: String,
    /// When its window begins, in seconds since 1970.
    pub begin: i64,
    /// When its window ends, in seconds since 1970.
    pub end: i64,
    /// The domain whose policy it is about.
    pub domain: String,
    /// What that policy says: `p`.
    pub policy: String,
    /// What was seen.
    pub records: Vec<Record>,
}

/// Messages of one client that had the same results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The client's address, as written.
    pub ip: String,
    /// How many messages.
    pub count: u64,
    /// What was done with them.
    pub disposition: String,
    /// Whether a signature passed for the author.
    pub dkim: String,
    /// Whether SPF passed for the author.
    pub spf: String,
    /// The domain in From.
    pub from: String,
    /// Why something else was done than the policy says.
    pub reasons: Vec<String>,
    /// Each signature and each SPF result: its domain and what it came to.
    pub results: Vec<String>,
}

/// Why something is no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReport {
    /// It is no well-formed XML.
    Syntax,
    /// It is XML, and something else.
    Other,
    /// It has a document type definition.
    Doctype,
    /// It is larger or deeper than any report.
    TooLarge,
}

impl std::fmt::Display for NotReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NotReport::Syntax => "is no well-formed XML",
            NotReport::Other => "holds no DMARC report",
            NotReport::Doctype => "has a document type definition",
            NotReport::TooLarge => "is larger than a report may be",
        })
    }
}

impl Feedback {
    /// Reads a report. What is no UTF-8 in it is replaced.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(xml: &[u8]) -> Result<Feedback, NotReport> {
        if xml.len() > OCTETS_MAX {
            return Err(NotReport::TooLarge);
        }
        let text = String::from_utf8_lossy(xml);
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
        let mut walk = Walk::default();
        loop {
            match reader.read_event().map_err(|_| NotReport::Syntax)? {
                Event::Start(tag) => walk.open(tag.local_name().as_ref())?,
                Event::Empty(tag) => {
                    walk.open(tag.local_name().as_ref())?;
                    walk.close();
                }
                Event::End(_) => walk.close(),
                Event::Text(text) => walk.add(&text),
                Event::CData(text) => walk.add(&text),
                Event::GeneralRef(name) => {
                    let char = name.resolve_char_ref().map_err(|_| NotReport::Syntax)?;
                    let mut buffer = [0; 4];
                    match (char, &*name) {
                        (Some(char), _) => walk.add(char.encode_utf8(&mut buffer)),
                        (None, "lt") => walk.add("<"),
                        (None, "gt") => walk.add(">"),
                        (None, "amp") => walk.add("&"),
                        (None, "quot") => walk.add("\""),
                        (None, "apos") => walk.add("'"),
                        (None, _) => return Err(NotReport::Syntax),
                    }
                }
                Event::DocType(_) => return Err(NotReport::Doctype),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof => break,
            }
        }
        match walk.path.is_empty() {
            false => Err(NotReport::Syntax),
            true if walk.is_report => Ok(walk.report),
            true => Err(NotReport::Other),
        }
    }
}

/// Where the reader is, and what it has read.
#[derive(Default)]
struct Walk {
    /// Names of the open elements.
    path: Vec<String>,
    text: String,
    report: Feedback,
    record: Record,
    /// The domain, selector and result of the signature or SPF result at hand.
    result: [String; 3],
    is_report: bool,
}

impl Walk {
    fn open(&mut self, name: &str) -> Result<(), NotReport> {
        if self.path.len() >= DEPTH_MAX {
            return Err(NotReport::TooLarge);
        }
        self.text.clear();
        self.path.push(name.chars().take(TEXT_MAX).collect());
        match self.path().as_slice() {
            ["feedback"] => self.is_report = true,
            ["feedback", "record"] if self.report.records.len() >= RECORDS_MAX => {
                return Err(NotReport::TooLarge);
            }
            ["feedback", "record"] => self.record = Record::default(),
            ["feedback", "record", "auth_results", _] => self.result = Default::default(),
            _ => {}
        }
        Ok(())
    }

    fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    fn add(&mut self, text: &str) {
        let room = TEXT_MAX.saturating_sub(self.text.len());
        let fits = text.char_indices().take_while(|(at, char)| at + char.len_utf8() <= room);
        self.text.extend(fits.map(|(_, char)| char));
    }

    /// An element ends: its text goes where it belongs.
    fn close(&mut self) {
        let text = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.text.clear();
        let path = std::mem::take(&mut self.path);
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["feedback", "record"] => self.report.records.push(std::mem::take(&mut self.record)),
            ["feedback", "record", rest @ ..] => self.take_of_record(rest, text),
            ["feedback", rest @ ..] => self.take(rest, text),
            _ => {}
        }
        self.path = path;
        self.path.pop();
    }

    fn take(&mut self, path: &[&str], text: String) {
        let report = &mut self.report;
        match path {
            ["report_metadata", "org_name"] => report.organisation = text,
            ["report_metadata", "report_id"] => report.id = text,
            ["report_metadata", "date_range", "begin"] => report.begin = seconds(&text),
            ["report_metadata", "date_range", "end"] => report.end = seconds(&text),
            ["policy_published", "domain"] => report.domain = text,
            ["policy_published", "p"] => report.policy = text,
            _ => {}
        }
    }

    fn take_of_record(&mut self, path: &[&str], text: String) {
        let record = &mut self.record;
        let [domain, selector, result] = &mut self.result;
        match path {
            ["row", "source_ip"] => record.ip = text,
            ["row", "count"] => record.count = text.parse().unwrap_or_default(),
            ["row", "policy_evaluated", "disposition"] => record.disposition = text,
            ["row", "policy_evaluated", "dkim"] => record.dkim = text,
            ["row", "policy_evaluated", "spf"] => record.spf = text,
            ["row", "policy_evaluated", "reason", "type"] if record.reasons.len() < RESULTS_MAX => {
                record.reasons.push(text);
            }
            ["identifiers", "header_from"] => record.from = text,
            ["auth_results", _, "domain"] => *domain = text,
            ["auth_results", _, "selector"] => *selector = text,
            ["auth_results", _, "result"] => *result = text,
            ["auth_results", kind @ ("dkim" | "spf")] if record.results.len() < RESULTS_MAX => {
                let slash = if selector.is_empty() { "" } else { "/" };
                record.results.push(format!("{kind} {domain}{slash}{selector} {result}"));
            }
            _ => {}
        }
    }
}

/// A time as reports have it; some write it with a fraction.
fn seconds(text: &str) -> i64 {
    text.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or_default()
}

/// Checks on any input: no panic, and what is kept is bounded.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let Ok(report) = Feedback::parse(data) else { return };
    let is_short = |text: &String| text.len() <= TEXT_MAX;
    assert!([&report.organisation, &report.id, &report.domain].into_iter().all(is_short));
    assert!(report.records.len() <= RECORDS_MAX);
    for record in &report.records {
        assert!(record.reasons.len() <= RESULTS_MAX && record.results.len() <= RESULTS_MAX);
        assert!([&record.ip, &record.disposition, &record.from].into_iter().all(is_short));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report() {
        let record = "<record><row><source_ip>192.0.2.1</source_ip><count>3</count>\
            <policy_evaluated><disposition>pass</disposition><dkim>pass</dkim><spf>fail</spf>\
            <reason><type>other</type><comment>x</comment></reason></policy_evaluated></row>\
            <identifiers><header_from>a.example</header_from></identifiers><auth_results>\
            <dkim><domain>a.example</domain><selector>s</selector><result>pass</result></dkim>\
            <spf><domain>b.example</domain><result>fail</result></spf></auth_results></record>";
        let xml = format!(
            "\u{feff}<?xml version=\"1.0\"?>\n<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">\
             <report_metadata><org_name>A &amp; B&#33; <![CDATA[<c>]]></org_name>\
             <report_id>7</report_id><date_range><begin>1795564800</begin><end>1795651199.0</end>\
             </date_range></report_metadata><policy_published><domain>a.example</domain><p>reject</p>\
             <np/></policy_published>{record}{record}<unknown><deep>x</deep></unknown></feedback>"
        );
        let expected = Record {
            ip: "192.0.2.1".to_string(),
            count: 3,
            disposition: "pass".to_string(),
            dkim: "pass".to_string(),
            spf: "fail".to_string(),
            from: "a.example".to_string(),
            reasons: vec!["other".to_string()],
            results: vec!["dkim a.example/s pass".to_string(), "spf b.example fail".to_string()],
        };
        let expected = Feedback {
            organisation: "A & B! <c>".to_string(),
            id: "7".to_string(),
            begin: 1_795_564_800,
            end: 1_795_651_199,
            domain: "a.example".to_string(),
            policy: "reject".to_string(),
            records: vec![expected.clone(), expected],
        };
        assert_eq!(Feedback::parse(xml.as_bytes()), Ok(expected));
    }

    #[test]
    fn what_is_no_report() {
        let deep = "<feedback>".repeat(DEPTH_MAX + 1);
        let many = format!("<feedback>{}</feedback>", "<record/>".repeat(RECORDS_MAX + 1));
        for (xml, expected) in [
            ("", NotReport::Other),
            ("hello", NotReport::Other),
            ("<html></html>", NotReport::Other),
            ("<feedback>", NotReport::Syntax),
            ("<feedback></record>", NotReport::Syntax),
            ("<feedback>&lol;</feedback>", NotReport::Syntax),
            ("<!DOCTYPE x [<!ENTITY a \"b\">]><feedback/>", NotReport::Doctype),
            (&deep, NotReport::TooLarge),
            (&many, NotReport::TooLarge),
        ] {
            assert_eq!(Feedback::parse(xml.as_bytes()), Err(expected), "{xml:.40}");
        }
        let long = format!("<feedback><record><row><source_ip>{}", "\u{e9}".repeat(1_000));
        let long = format!("{long}</source_ip></row></record></feedback>");
        fuzz(long.as_bytes());
        assert_eq!(Feedback::parse(long.as_bytes()).unwrap().records[0].ip.len(), 254);
    }
}
