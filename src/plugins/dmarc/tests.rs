//! Arguments, the file of trusted forwarders, and what a result looks like; the dialogues show the rest.

use super::*;
use crate::config::files::Files;

#[test]
fn arguments() {
    for (line, file, sealers, errors, complaints) in [
        ("dmarc", "", "", 0, 0),
        ("dmarc reject 1 reject_quarantine 1 reject_type temp", "", "", 0, 0),
        ("dmarc reject naughty", "", "", 0, 0),
        ("dmarc reject 2", "", "", 0, 1),
        ("dmarc reject_quarantine yes", "", "", 0, 1),
        ("dmarc strict", "", "", 0, 1),
        ("dmarc", "192.0.2.0/24\n2001:db8::1 mailing_list\nlists.example. local_policy", "", 0, 0),
        ("dmarc", "lists.example friend\n@x", "", 2, 0),
        ("dmarc", "", "lists.example mailing_list\nBücher.example", 0, 0),
        ("dmarc", "", "192.0.2.1\n@x\nlists.example friend", 3, 0),
    ] {
        let files = [("dmarc_trusted", file), ("arc_trusted", sealers)];
        let files = files.map(|(name, text)| (name.to_string(), text.to_string()));
        let files = Files::in_memory(files);
        let mut problems = Vec::new();
        let mut args = Args::of(line);
        let setup = Setup::new(&files, &mut problems);
        load(&mut args, &setup);
        drop(setup);
        assert_eq!((problems.len(), args.finish().len()), (errors, complaints), "{line} {file}");
    }
}

#[test]
fn results() {
    let judgement = Judgement {
        result: DmarcResult::Fail,
        applied: Some(dmarc::Applied {
            author: "a.example.org".to_string(),
            domain: "example.org".to_string(),
            record: dmarc::Record { testing: true, ..dmarc::Record::default() },
            policy: dmarc::Policy::Reject,
            discovery: Discovery::Tree,
        }),
        spf: false,
        dkim: false,
        why: "no single author",
    };
    let from = From { authors: Authors::default(), fields: 1 };
    let reason = Override { kind: "mailing_list", comment: "by its (name)".to_string() };
    for (reason, expected) in [
        (None, "dmarc=fail (p=reject) header.from=a.example.org"),
        (
            Some(&reason),
            "dmarc=fail (p=reject, let through: mailing_list by its \\(name\\)) \
             header.from=a.example.org",
        ),
    ] {
        assert_eq!(auth_result(&from, &judgement, reason), expected);
    }
    assert_eq!(describe(&judgement), "p=reject of example.org, testing, no single author");
}
