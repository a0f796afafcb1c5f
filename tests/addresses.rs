//! Envelope addresses against what others have collected: isemail's tests, Mailgun's lists,
//! Haraka's and qpsmtpd's own tables.
//!
//! Each case agrees with us or belongs to a class of exceptions that is named here with its
//! reason. The material is not part of the project; without it the tests say so and pass, except
//! on the project's own machines (`CI=true`), where it has to be there.
use crate::corpus;
use crate::json::Json;
use mailreeve::smtp::address::{
    Address, AddressError, ReversePath, parse_forward, parse_reverse, split_path,
};
use std::collections::BTreeSet;

/// Reads an address as recipient and as sender, which must agree, and back from what we write.
fn read(address: &str) -> Result<Address, AddressError> {
    let path = format!("<{address}>");
    let found = split_path(path.as_bytes()).and_then(|(path, rest)| match rest {
        b"" => parse_forward(path, true),
        _ => Err(AddressError::Syntax("parameters")),
    });
    if let Ok(found) = &found
        && !found.domain().is_empty()
    {
        assert_eq!(parse_forward(format!("<{found}>").as_bytes(), true).as_ref(), Ok(found));
        let sender = parse_reverse(path.as_bytes(), true);
        assert_eq!(sender.as_ref().ok().and_then(ReversePath::address), Some(found));
    }
    found
}

/// Why a case may differ from what its author expects.
type Reason = &'static str;

/// Counts cases; fails at the end if one differs without a reason, or a reason has no case.
#[derive(Default)]
struct Tally {
    agreed: usize,
    used: BTreeSet<Reason>,
    wrong: Vec<String>,
}

impl Tally {
    fn case(&mut self, address: &str, agrees: bool, reason: Option<Reason>) {
        match reason {
            _ if agrees => self.agreed += 1,
            Some(reason) => _ = self.used.insert(reason),
            None => self.wrong.push(format!("{address:?}: {:?}", read(address))),
        }
    }

    fn finish(self, least: usize, reasons: &[Reason]) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        assert_eq!(self.used, reasons.iter().copied().collect(), "classes of exceptions in use");
        assert!(self.agreed >= least, "only {} cases agreed", self.agreed);
    }
}

const ODD_DOTS: Reason = "misplaced dots behind the first character: real senders have them";
const ONE_GROUP: Reason = "std lets :: stand for a single group, RFC 5321 for two at least";
const LONG_PATH: Reason = "each part keeps its bound, and a path may be longer than 256 octets";
const HEADER_FORM: Reason = "display names and comments stand in header fields, not in paths";
const BAD_ACE: Reason = "whether an A-label decodes is for DNS to show";
const BLANK: Reason = "qpsmtpd let a blank stand in a local part without quotes";
const BRACKETS: Reason = "a path needs brackets; a plugin may add them";

fn has_odd_dots(address: &str) -> bool {
    let local = address.rsplit_once('@').map_or("", |(local, _)| local);
    !local.starts_with('.') && (local.ends_with('.') || local.contains(".."))
}

fn isemail_reason(address: &str, diagnosis: &str) -> Option<Reason> {
    match diagnosis {
        "ISEMAIL_ERR_DOT_END" | "ISEMAIL_ERR_CONSECUTIVEDOTS" if has_odd_dots(address) => {
            Some(ODD_DOTS)
        }
        "ISEMAIL_RFC5321_IPV6DEPRECATED" => Some(ONE_GROUP),
        "ISEMAIL_RFC5322_TOOLONG" if address.len() > 254 => Some(LONG_PATH),
        _ => None,
    }
}

/// What stands in the element `name`, as text: entities resolved, and the pictures of control
/// characters, which that corpus uses, turned into what they show.
fn element(xml: &str, name: &str) -> Option<String> {
    let text = xml.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>"))?.0;
    let mut parts = text.split('&');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (entity, rest) = part.split_once(';')?;
        plain.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let code = u32::from_str_radix(entity.strip_prefix("#x")?, 16).ok()?;
                char::from_u32(code.checked_sub(0x2400).filter(|&c| c < 0x20).unwrap_or(code))?
            }
        });
        plain.push_str(rest);
    }
    Some(plain)
}

#[test]
fn isemail() {
    let mut tally = Tally::default();
    for name in ["addresses/isemail-tests.xml", "addresses/isemail-tests-original.xml"] {
        let Some(xml) = corpus::read(name) else { return };
        for test in xml.split("<test ").skip(1) {
            let address = element(test, "address").unwrap_or_default();
            let category = element(test, "category").expect("a category");
            let diagnosis = element(test, "diagnosis").expect("a diagnosis");
            let valid = matches!(
                category.as_str(),
                "ISEMAIL_VALID_CATEGORY" | "ISEMAIL_DNSWARN" | "ISEMAIL_RFC5321"
            );
            let agrees = read(&address).is_ok() == valid;
            tally.case(&address, agrees, isemail_reason(&address, &diagnosis));
        }
    }
    tally.finish(400, &[ODD_DOTS, ONE_GROUP, LONG_PATH]);
}

#[test]
fn mailgun() {
    let mut tally = Tally::default();
    for (name, valid) in [("valid", true), ("invalid", false)] {
        let Some(text) = corpus::read(&format!("addresses/flanker-mailbox_{name}.txt")) else {
            return;
        };
        for line in text.lines() {
            let address = line.split_once("  #").map_or(line, |(address, _)| address).trim_end();
            if address.is_empty() || address.starts_with('#') {
                continue;
            }
            let reason = match valid {
                true if address.ends_with('>') || address.contains('(') => Some(HEADER_FORM),
                true => None,
                false if has_odd_dots(address) => Some(ODD_DOTS),
                false if address.contains("@xn--") => Some(BAD_ACE),
                false => None,
            };
            tally.case(address, read(address).is_ok() == valid, reason);
        }
    }
    tally.finish(150, &[ODD_DOTS, HEADER_FORM, BAD_ACE]);
}

#[test]
fn haraka() {
    let Some(text) = corpus::read("addresses/haraka-rfc2821.json") else { return };
    let json = Json::parse(&text);
    let mut tally = Tally::default();
    for case in json.at("good").list() {
        let field = |key| case.at(key).text().unwrap_or_default();
        let path = field("address");
        let found = parse_forward(path.as_bytes(), true);
        if path == "<>" {
            tally.case("", parse_reverse(path.as_bytes(), true) == Ok(ReversePath::Null), None);
            continue;
        }
        // Their user part keeps its quotes.
        let user = field("user").trim_matches('"');
        let agrees = found.is_ok_and(|it| it.local() == user && it.domain() == field("host"));
        tally.case(path, agrees, (!path.starts_with('<')).then_some(BRACKETS));
    }
    for case in json.at("bad").list() {
        let path = case.text().expect("a path");
        tally.case(path, parse_forward(path.as_bytes(), true).is_err(), None);
    }
    tally.finish(18, &[BRACKETS]);
}

#[test]
fn qpsmtpd() {
    let Some(text) = corpus::read("smtp-dialogs/qpsmtpd.json") else { return };
    let mut tally = Tally::default();
    for case in Json::parse(&text).at("addresses").list() {
        let [path, valid, format] = case.list() else { panic!("{case:?}") };
        let path = path.text().expect("a path");
        let found = parse_forward(path.as_bytes(), true);
        // Theirs escapes more inside quotes than it has to, so the meaning is compared.
        let expected = format.text().map(|format| parse_forward(format.as_bytes(), true));
        let agrees = match (&found, &expected) {
            (Ok(found), Some(Ok(expected))) => found == expected,
            (Err(_), _) if path == "<>" => parse_reverse(b"<>", true) == Ok(ReversePath::Null),
            (found, _) => found.is_err() && *valid == Json::Bool(false),
        };
        let reason = match path {
            _ if path.contains(' ') => Some(BLANK),
            _ if !path.starts_with('<') => Some(BRACKETS),
            _ => None,
        };
        tally.case(path, agrees, reason);
    }
    tally.finish(9, &[BLANK, BRACKETS]);
}
