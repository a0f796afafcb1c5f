//! Aggregate reports, written (RFC 9990 section 3).

use quick_xml::escape::escape;
use std::net::IpAddr;

/// A report: one policy, one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who reports, and how that can be reached.
    pub organisation: String,
    /// The address of who reports.
    pub email: String,
    /// The name of the report, unique among ours.
    pub id: String,
    /// When the window begins, in seconds since 1970.
    pub begin: u64,
    /// Its last second.
    pub end: u64,
    /// The elements of `policy_published`, in their order; empty ones are left out.
    pub policy: Vec<(&'static str, String)>,
    /// What was seen, each once, with its count.
    pub rows: Vec<(Row, u64)>,
}

/// What messages have in common that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The client.
    pub ip: IpAddr,
    /// What was done: `none`, `quarantine`, `reject`.
    pub disposition: String,
    /// The policy that applied, testing or not.
    pub policy: String,
    /// `pass` or `fail`: a signature speaks for the author.
    pub dkim: String,
    /// `pass` or `fail`: SPF speaks for the author.
    pub spf: String,
    /// Why something else was done than the policy says: a word of RFC 9990, and why.
    pub reason: Option<(String, String)>,
    /// The domain in From.
    pub from: String,
    /// The domain of the reverse-path.
    pub sender: Option<String>,
    /// The domain of the recipients.
    pub recipient: Option<String>,
    /// Each signature: domain, selector, result, why.
    pub signatures: Vec<[String; 4]>,
    /// SPF: domain, result.
    pub checked: Option<[String; 2]>,
}

impl Row {
    /// `pass` stands for mail that a policy spared because it passed.
    fn action(&self) -> &str {
        let passes = self.dkim == "pass" || self.spf == "pass";
        if passes && self.policy != "none" { "pass" } else { &self.disposition }
    }
}

/// The report as XML.
pub fn xml(report: &Report) -> String {
    let mut xml = Xml(String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"));
    xml.0.push_str("<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">\n");
    xml.text("version", "1.0");
    xml.within("report_metadata", |xml| {
        xml.text("org_name", &report.organisation);
        xml.text("email", &report.email);
        xml.text("report_id", &report.id);
        xml.within("date_range", |xml| {
            xml.text("begin", &report.begin.to_string());
            xml.text("end", &report.end.to_string());
        });
        xml.text("generator", concat!("mailreeve ", env!("CARGO_PKG_VERSION")));
    });
    xml.within("policy_published", |xml| {
        for (name, value) in report.policy.iter().filter(|(_, value)| !value.is_empty()) {
            xml.text(name, value);
        }
    });
    report
        .rows
        .iter()
        .for_each(|(row, count)| xml.within("record", |xml| record(xml, row, *count)));
    xml.0.push_str("</feedback>\n");
    xml.0
}

fn record(xml: &mut Xml, row: &Row, count: u64) {
    xml.within("row", |xml| {
        xml.text("source_ip", &row.ip.to_string());
        xml.text("count", &count.to_string());
        xml.within("policy_evaluated", |xml| {
            xml.text("disposition", row.action());
            xml.text("dkim", &row.dkim);
            xml.text("spf", &row.spf);
            if let Some((kind, comment)) = &row.reason {
                xml.within("reason", |xml| {
                    xml.text("type", kind);
                    if !comment.is_empty() {
                        xml.text("comment", comment);
                    }
                });
            }
        });
    });
    xml.within("identifiers", |xml| {
        xml.text("header_from", &row.from);
        for (name, domain) in [("envelope_from", &row.sender), ("envelope_to", &row.recipient)] {
            if let Some(domain) = domain {
                xml.text(name, domain);
            }
        }
    });
    xml.within("auth_results", |xml| {
        for [domain, selector, result, why] in &row.signatures {
            xml.within("dkim", |xml| {
                xml.text("domain", domain);
                xml.text("selector", selector);
                xml.text("result", result);
                xml.text("human_result", why);
            });
        }
        if let Some([domain, result]) = &row.checked {
            xml.within("spf", |xml| {
                xml.text("domain", domain);
                // HELO stands for the reverse-path where that is null (RFC 7208 section 2.4).
                xml.text("scope", "mfrom");
                xml.text("result", result);
            });
        }
    });
}

struct Xml(String);

impl Xml {
    fn text(&mut self, name: &str, text: &str) {
        // XML has no way to write most controls.
        let text = text.replace(|char: char| char.is_control() || char > '\u{fffd}', "?");
        self.0.push_str(&format!("<{name}>{}</{name}>\n", escape(text.as_str())));
    }

    fn within(&mut self, name: &str, content: impl FnOnce(&mut Xml)) {
        self.0.push_str(&format!("<{name}>\n"));
        content(self);
        self.0.push_str(&format!("</{name}>\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::dmarc::feedback::Feedback;

    /// What comes from others cannot end an element, nor make the document ill-formed.
    #[test]
    fn hostile_values_stay_text() {
        let hostile = "</result>&<\u{1}\u{7f}\"\u{ffff}x".to_string();
        let row = Row {
            ip: "2001:db8::1".parse().expect("an address"),
            disposition: "none".to_string(),
            policy: "reject".to_string(),
            dkim: "fail".to_string(),
            spf: "pass".to_string(),
            reason: Some(("other".to_string(), hostile.clone())),
            from: "a.example".to_string(),
            sender: Some(hostile.clone()),
            recipient: None,
            signatures: vec![["b.example", &hostile, "fail", &hostile].map(str::to_string)],
            checked: Some(["c.example", "pass"].map(str::to_string)),
        };
        let spared = Row { policy: "none".to_string(), ..row.clone() };
        let report = Report {
            organisation: hostile,
            email: "postmaster@a.example".to_string(),
            id: "1.1".to_string(),
            begin: 1_795_564_800,
            end: 1_795_651_199,
            policy: vec![("domain", "a.example".to_string()), ("np", String::new())],
            rows: vec![(row, 7), (spared, 1)],
        };
        let read = Feedback::parse(xml(&report).as_bytes()).expect("a report");
        assert_eq!(read.organisation, "</result>&<??\"?x");
        let found: Vec<_> = read.records.iter().map(|it| (&*it.disposition, it.count)).collect();
        assert_eq!(found, [("pass", 7), ("none", 1)]);
        let results = ["dkim b.example/</result>&<??\"?x fail", "spf c.example pass"];
        assert_eq!(read.records[0].results, results);
        assert!(!xml(&report).contains("<np>"));
    }
}
