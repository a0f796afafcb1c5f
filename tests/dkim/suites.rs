//! The suites, case by case.

use super::{Zone, check};
use crate::corpus;
use crate::json::Json;
use mailreeve::authn::dkim::Outcome;
use mailreeve::authn::dkim::verify::Verification;
use mailreeve::dns::Answer;
use std::collections::BTreeSet;

/// When the suites' signatures without a time are checked: late in 2023.
const NOW: u64 = 1_700_000_000;

const OLD_VERSION: &str = "RFC 6376 section 3.5: v= MUST be 1 (these are older than RFC 4871)";
const SHA1: &str = "RFC 8301 section 3.1: rsa-sha1 MUST NOT be used for verifying";
const DOMAIN_KEYS: &str = "RFC 4870 is historic: there is no DKIM signature on this message";
const EIGHT: &str = "RFC 8301 section 3.2: more than 4096 bits MAY be supported, and are not";
const FIVE: &str = "RFC 6376 section 8.4 leaves the number of signatures to policy: ours is 10";

/// Cases that agree, reasons that were used, and the rest.
#[derive(Default)]
struct Tally {
    agreed: usize,
    used: BTreeSet<&'static str>,
    wrong: Vec<String>,
}

impl Tally {
    fn case(
        &mut self,
        name: &str,
        agrees: bool,
        reason: Option<&'static str>,
        found: &Verification,
    ) {
        match reason {
            _ if agrees => self.agreed += 1,
            Some(reason) => _ = self.used.insert(reason),
            None => self.wrong.push(format!("{name}: {:?}", summary(found))),
        }
    }

    fn finish(self, agreed: usize, reasons: &[&'static str]) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        assert_eq!(self.used, reasons.iter().copied().collect(), "reasons in use");
        assert_eq!(self.agreed, agreed, "cases that agree");
    }
}

/// `pass`, or `permerror: why`, for each signature.
fn summary(found: &Verification) -> Vec<String> {
    let one = |it: &mailreeve::authn::dkim::Verified| {
        it.reason.map_or("pass".to_string(), |why| format!("{}: {why}", it.outcome.word()))
    };
    found.signatures.iter().map(one).collect()
}

fn outcomes(found: &Verification) -> Vec<Outcome> {
    found.signatures.iter().map(|it| it.outcome).collect()
}

/// Mail::DKIM's corpus, most of it from before RFC 6376 and RFC 8301.
#[test]
fn mail_dkim() {
    let Some(records) = corpus::read("dkim-mail-dkim/FAKE_DNS.dat") else { return };
    let mut zone = Zone::default();
    for line in records.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once(' ') else { continue };
        match value.trim() {
            "NXDOMAIN" => zone.fault(name, Answer::NxDomain),
            value if value.starts_with("~~") => zone.fault(name, Answer::TempFail),
            value => zone.add(name, value),
        }
    }
    let mut tally = Tally::default();
    let list = corpus::read("dkim-mail-dkim/expected_by_mail_dkim.json").expect("the same folder");
    for case in Json::parse(&list).list() {
        let (name, expected) = (case.at("file").text().unwrap(), case.at("expect").text().unwrap());
        let message = corpus::octets(&format!("dkim-mail-dkim/corpus/{name}")).unwrap();
        let found = check(&message, &zone, NOW);
        let any = |outcome| outcomes(&found).contains(&outcome);
        let agrees = match expected {
            "pass" => any(Outcome::Pass),
            "fail" => any(Outcome::Fail),
            _ => any(Outcome::PermError) || any(Outcome::TempError),
        };
        assert!(expected == "pass" || !any(Outcome::Pass), "{name}");
        let words = summary(&found).join(", ");
        let reason = match words.as_str() {
            "" => Some(DOMAIN_KEYS),
            words if words.contains("rsa-sha1 is not accepted") => Some(SHA1),
            words if words.contains("missing tag v") || words.contains("unknown version") => {
                Some(OLD_VERSION)
            }
            _ => None,
        };
        tally.case(name, agrees, reason, &found);
    }
    tally.finish(29, &[OLD_VERSION, SHA1, DOMAIN_KEYS]);
}

/// chasquid's scenarios, with what it says of each signature in turn.
#[test]
fn chasquid() {
    let mut tally = Tally::default();
    for name in [
        "01-rfc8463",
        "02-too_many_headers",
        "04-bad_dkim_signature_header",
        "05-dns_temp_error",
        "06-dns_perm_error",
        "07-algo_mismatch",
        "08-our_signature",
        "09-limited_body",
        "10-strict_domain_check_pass",
        "11-strict_domain_check_fail",
    ] {
        let file = |end: &str| format!("dkim-chasquid/{name}.{end}");
        let Some(result) = corpus::read(&file("result")) else { return };
        let message = corpus::octets(&file("msg")).unwrap();
        let mut zone = Zone::default();
        // One scenario needs no zone, since its signature is refused before.
        let records = if name.starts_with("04") { None } else { corpus::read(&file("dns")) };
        for line in records.unwrap_or_default().replace("\\\n", " ").lines() {
            match line.split_once(": ") {
                Some((name, "TEMPERROR")) => zone.fault(name, Answer::TempFail),
                Some((name, "PERMERROR")) => zone.fault(name, Answer::NxDomain),
                Some((name, text)) => zone.add(name, text.trim()),
                None => {}
            }
        }
        let found = check(&message, &zone, NOW + 10_000_000);
        let expected: Vec<&str> = Json::parse(&result)
            .at("Results")
            .list()
            .iter()
            .map(|it| match it.at("State").text() {
                Some("SUCCESS") => "pass",
                Some("TEMPFAIL") => "temperror",
                _ => "permerror",
            })
            .collect();
        let words: Vec<&str> = outcomes(&found).iter().map(|it| it.word()).collect();
        // chasquid looks at five, we at ten; these agree.
        let reason = (words.get(..5) == Some(expected.as_slice())).then_some(FIVE);
        tally.case(name, words == expected, reason, &found);
        if name.starts_with("09") {
            assert_eq!(found.signatures[0].uncovered, 37, "l= leaves the end of the body open");
            assert!(!found.signatures[0].passes_for_all());
        }
    }
    // A message with a line in its header that is none: read as the daemon reads it, without panic.
    let message = corpus::octets("dkim-chasquid/03-bad_message.msg").unwrap();
    assert_eq!(summary(&check(&message, &Zone::default(), NOW)), Vec::<String>::new());
    tally.finish(9, &[FIVE]);
}

/// Real senders' mail in crate mail-auth: key records, an empty line, the message.
#[test]
fn mail_auth() {
    for (file, expected) in [
        ("dkim/001", "pass pass"),
        ("dkim/002", "pass"),
        ("dkim/003", "pass pass"),
        ("dkim/004", "pass"),
        ("dkim/005", "pass"),
        ("dkim/006", "pass"),
        // The author's own signature was broken by the mailing list, which changed the Subject.
        ("arc/001", "pass pass fail"),
        ("arc/002", "pass"),
    ] {
        let Some(octets) = corpus::octets(&format!("dkim-mail-auth/{file}.txt")) else { return };
        let text = String::from_utf8_lossy(&octets).into_owned();
        let end = ["\r\n\r\n", "\n\n"].iter().find_map(|end| Some(text.find(end)? + end.len()));
        let (front, message) = text.split_at(end.unwrap());
        let mut zone = Zone::default();
        for (name, record) in front.lines().filter_map(|line| line.split_once(' ')) {
            zone.add(name, record.trim());
        }
        // At the time of its own t=, since one has expired by now.
        let time = message.split("t=").skip(1).find_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok().filter(|time| (1_000_000_000..2_000_000_000).contains(time))
        });
        let found = check(&octets[front.len()..], &zone, time.unwrap_or(NOW));
        let words: Vec<&str> = outcomes(&found).iter().map(|it| it.word()).collect();
        assert_eq!(words.join(" "), expected, "{file}: {:?}", summary(&found));
        if file == "dkim/005" {
            let found = check(&octets[front.len()..], &zone, NOW);
            assert_eq!(summary(&found), ["fail: signature expired"], "its x= is of 2022");
        }
    }
}

/// MimeKit's: a mail from gmail with its key, and the example of RFC 8463.
#[test]
fn mimekit() {
    let Some(pem) = corpus::read("dkim-mimekit/gmail.pub") else { return };
    let key: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut zone = Zone::default();
    zone.add("20120113._domainkey.gmail.com", &format!("k=rsa; p={key}"));
    zone.add(
        "brisbane._domainkey.football.example.com",
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    );
    zone.add(
        "test._domainkey.football.example.com",
        "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qh\
         dR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hst\
         T5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
    );
    for (file, expected) in [
        ("gmail.msg", "pass"),
        ("related.msg", "pass"),
        ("multipart-no-end-boundary.msg", "pass"),
        ("rfc8463-example.msg", "pass, pass"),
    ] {
        let message = corpus::octets(&format!("dkim-mimekit/{file}")).unwrap();
        let found = check(&message, &zone, NOW);
        assert_eq!(summary(&found).join(", "), expected, "{file}");
        // The same with LF, and with CR LF.
        let lf = String::from_utf8_lossy(&message).replace("\r\n", "\n");
        for stored in [lf.replace('\n', "\r\n"), lf] {
            assert_eq!(check(stored.as_bytes(), &zone, NOW), found, "{file}");
        }
    }
}

/// rspamd's functional tests about DKIM: one symbol stands for the message.
#[test]
fn rspamd() {
    let Some(cases) = corpus::read("rspamd-functional/cases.json") else { return };
    let zones = Json::parse(&corpus::read("rspamd-functional/fake_dns.json").unwrap());
    let mut tally = Tally::default();
    for case in Json::parse(&cases).list() {
        let name = case.at("name").text().unwrap();
        if case.at("suite").text() != Some("116_dkim.robot") || name == "DKIM Self Verify" {
            continue;
        }
        let zone = rspamd_zone(zones.at("plugins.conf"));
        for scan in case.at("scans").list() {
            let file = scan.at("message").text().unwrap();
            let message = corpus::octets(&format!("rspamd-functional/{file}")).unwrap();
            let found = check(&message, &zone, NOW);
            let has = |symbol: &Json| match symbol.text().unwrap() {
                "R_DKIM_NA" => found.signatures.is_empty(),
                symbol => outcomes(&found).contains(&match symbol {
                    "R_DKIM_ALLOW" => Outcome::Pass,
                    "R_DKIM_REJECT" => Outcome::Fail,
                    "R_DKIM_PERMFAIL" => Outcome::PermError,
                    "R_DKIM_TEMPFAIL" => Outcome::TempError,
                    other => panic!("{other}"),
                }),
            };
            let agrees = scan.at("expect").list().iter().all(has)
                && !scan.at("not_expect").list().iter().any(has);
            let reason = match name {
                "DKIM Accept Large Key Below Limit" => Some(EIGHT),
                "DKIM Unparseable Signatures Count Towards Limit" => Some(FIVE),
                _ => None,
            };
            tally.case(name, agrees, reason, &found);
        }
    }
    tally.finish(14, &[EIGHT, FIVE]);
}

fn rspamd_zone(records: &Json) -> Zone {
    let mut zone = Zone::default();
    for record in records.list().iter().filter(|it| it.at("type").text() == Some("txt")) {
        let name = record.at("name").text().unwrap();
        match record.at("rcode").text() {
            Some("norec" | "nxdomain") => zone.fault(name, Answer::NxDomain),
            Some(_) => zone.fault(name, Answer::TempFail),
            None => {
                for text in record.at("replies").list() {
                    zone.add(name, text.text().unwrap());
                }
            }
        }
    }
    zone
}
