//! ARC against a suite that others have collected (ValiMail's arc_test_suite).
//!
//! It is not part of the project; without it the test says so and passes, except on the project's own
//! machines (`CI=true`). Each case agrees with its author's expectation, or stands in a table here with
//! the text of an RFC that explains why not.

use crate::corpus;
use crate::dkim::Zone;
use crate::json::Json;
use crate::yaml;
use mailreeve::authn::arc::{Chain, Status, verify};
use mailreeve::authn::dkim::Mail;
use mailreeve::mail::stored::Stored;
use std::collections::BTreeSet;

/// The suite's signatures are of 1970, and have no end.
const NOW: u64 = 1_700_000_000;

const EMPTY_NAMES: &str = "RFC 6376 sections 3.5 and 5.4: h= has one name or more, none of them empty, \
    and From is among them; RFC 8617 section 4.1.2 keeps that for ARC-Message-Signature";
const SIMPLE: &str = "RFC 6376 section 3.5, which RFC 8617 section 4.1.2 keeps: without c= the form is \
    simple/simple; this signature was made in relaxed/relaxed";
const SAID_BROKEN: &str = "RFC 8617 section 5.2 step 2: where the newest seal says cv=fail the chain \
    failed (the suite leaves this open)";

/// The cases that we see differently.
const DIFFERENT: [(&str, &str); 6] = [
    ("ams_fields_c_na", SIMPLE),
    ("ams_fields_h_empty", EMPTY_NAMES),
    ("ams_fields_h_mis_hdr", EMPTY_NAMES),
    ("cv_fail_i1_as_cv_fail", SAID_BROKEN),
    ("cv_fail_i2_as2_fail", SAID_BROKEN),
    ("cv_fail_i2_as1_fail", SAID_BROKEN),
];

fn check(message: &[u8], zone: &Zone) -> Chain {
    let stored = Stored::read(message).unwrap();
    let Ok(chain) = verify(&Mail::of(&stored), NOW, &mut &*zone);
    chain
}

fn members(value: &Json) -> &[(String, Json)] {
    match value {
        Json::Object(members) => members,
        Json::Null => &[],
        other => panic!("{other:?} is no mapping"),
    }
}

/// Every case: 171 names, of which four stand twice.
#[test]
fn valimail() {
    let Some(suite) = corpus::read("arc-valimail/arc-draft-validation-tests.yml") else { return };
    let (mut agreed, mut wrong, mut used) = (0, Vec::new(), BTreeSet::new());
    for document in yaml::documents(&suite) {
        let mut zone = Zone::default();
        for (name, text) in members(document.at("txt-records")) {
            zone.add(name, text.text().unwrap_or_default().trim_end());
        }
        for (name, case) in members(document.at("tests")) {
            let expected = case.at("cv").text().unwrap_or_default().trim().to_ascii_lowercase();
            let message = case.at("message").text().unwrap();
            let chain = check(message.as_bytes(), &zone);
            // The same on the network's line ends.
            assert_eq!(check(message.replace('\n', "\r\n").as_bytes(), &zone), chain, "{name}");
            let reason = DIFFERENT.iter().find(|(different, _)| different == name);
            match reason {
                _ if chain.status.word() == expected => agreed += 1,
                Some((name, _)) => {
                    assert_eq!(chain.status, Status::Fail, "{name}: stricter, never more lenient");
                    used.insert(*name);
                }
                None => {
                    let words = chain.fault.map(|fault| fault.to_string()).unwrap_or_default();
                    wrong.push(format!("{name}: {expected}, not {:?} {words}", chain.status));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(used, DIFFERENT.iter().map(|(name, _)| *name).collect(), "reasons in use");
    assert_eq!(agreed, 169, "cases that agree");
}
