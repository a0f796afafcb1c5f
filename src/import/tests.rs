//! Folders and databases as they were, as they become, and what is said of it; each twice.

use super::*;
use crate::esmith::database::Database;

fn files(rows: &[(&str, &str)]) -> Folder {
    let owned = |(name, text): &(&str, &str)| (name.to_string(), text.as_bytes().to_vec().into());
    rows.iter().map(owned).collect()
}

/// What the folder is after all steps.
fn after(files: &Folder, outcome: &Outcome) -> Folder {
    let mut files = files.clone();
    for step in &outcome.steps {
        match step {
            Step::Write { name, text } => {
                files.insert(name.clone(), Zeroizing::new(text.clone()));
            }
            Step::Key { from, to } => {
                assert!(!files.contains_key(to), "{to} is there");
                files.insert(to.clone(), files[from].clone());
            }
            Step::Remove { name } => assert!(files.remove(name).is_some(), "{name}"),
        }
    }
    files
}

/// Runs it twice; gives the files, and the lines of the first report.
fn imported(rows: &[(&str, &str)], drop: bool) -> (BTreeMap<String, String>, Vec<String>) {
    let before = files(rows);
    let outcome = folder(&before, drop);
    let now = after(&before, &outcome);
    let again = folder(&now, drop);
    assert_eq!(again.steps, [], "a second run does nothing");
    assert!(again.report.iter().all(|entry| !entry.is_change()), "{:?}", again.report);
    let text = |it: &Zeroizing<Vec<u8>>| String::from_utf8(it.to_vec()).unwrap();
    let now = now.iter().map(|(name, it)| (name.clone(), text(it))).collect();
    (now, outcome.report.iter().map(ToString::to_string).collect())
}

/// The list that SME Server 8 has for outsiders, and what the plugins are called now.
#[test]
fn every_plugin_of_sme_server_gets_its_present_name() {
    for (old, new) in [
        ("logging/logterse", "logging/logterse"),
        ("tls cert.pem cert.pem cert.pem", "tls cert.pem cert.pem cert.pem"),
        (
            "auth/auth_cvm_unix_local cvm_socket /s enable_smtp no",
            "auth/auth_cvm_unix_local cvm_socket /s enable_smtp no",
        ),
        ("check_earlytalker", "earlytalker"),
        ("count_unrecognized_commands 4", "count_unrecognized_commands 4"),
        ("bcc mode cc all maillog", "bcc mode cc all maillog"),
        ("check_relay", "relay"),
        ("check_norelay", "relay"),
        ("relay_only", "relay only 1"),
        ("require_resolvable_fromhost", "resolvable_fromhost"),
        ("check_basicheaders", "headers"),
        ("check_basicheaders 3", "headers past 3 future 3"),
        ("check_basicheaders 0", "headers"),
        ("check_basicheaders days 2 reject 0", "headers reject 0 past 2 future 2"),
        ("headers days 1.5 future=1", "headers future=1 past 1.5"),
        ("headers require From,Date", "headers require From,Date"),
        ("rhsbl", "rhsbl"),
        ("dnsbl disconnect", "dnsbl disconnect"),
        ("check_badmailfrom", "badmailfrom"),
        ("check_badrcptto_patterns", "badrcptto"),
        ("check_badrcptto", "badrcptto"),
        ("check_spamhelo", "helo"),
        ("check_smtp_forward", "check_smtp_forward"),
        ("check_goodrcptto extn -", "check_goodrcptto extn -"),
        ("rcpt_ok", "rcpt_ok"),
        (
            "virus/clamav clamscan_path=/usr/bin/clamdscan action=reject max_size=25000000",
            "virus/clamdscan max_size 24415 defer_on_error yes",
        ),
        (
            "clamav /usr/bin/x action add-header declined_on_fail back_compat loglevel 3",
            "virus/clamdscan deny_viruses no max_size 512 loglevel 3 defer_on_error no",
        ),
        ("virus::clamav", "virus/clamdscan max_size 512 defer_on_error yes"),
        ("virus/clamav clamd_conf /c", "virus/clamav clamd_conf /c"),
        ("queue/qmail-queue", "queue/qmail-queue"),
        ("queue/smtp-forward:2 10.0.0.1", "queue/smtp-forward:2 10.0.0.1"),
        ("check_earlytalker:2 wait 2", "earlytalker:2 wait 2"),
        ("dkim_sign selector s1 keys both", "dkim"),
        ("no_such_plugin a b", "# no_such_plugin a b"),
        ("stunnel", "# stunnel"),
    ] {
        let (now, report) = imported(&[("plugins", &format!("# top\n\n{old}\n"))], false);
        assert_eq!(now["plugins"], format!("# top\n\n{new}\n"), "{old}");
        let line = report.iter().find(|line| line.starts_with("plugins:3: ") && line.contains('→'));
        assert_eq!(line.is_some(), old != new, "{report:?}");
        if let Some(line) = line {
            assert!(line.starts_with(&format!("plugins:3: {old} → {new}")), "{line}");
        }
    }
}

#[test]
fn lines_that_name_one_plugin_become_one() {
    let (now, report) = imported(
        &[(
            "peers/0",
            "check_relay\ncheck_norelay\n  check_badrcptto_patterns \nrcpt_ok\r\ncheck_badrcptto reject 0\n\
             dkim\ndkim_sign\nrelay\nvirus/clamdscan\nclamav",
        )],
        false,
    );
    assert_eq!(
        now["peers/0"],
        "relay\nbadrcptto reject 0\nrcpt_ok\r\ndkim\nrelay\nvirus/clamdscan\n"
    );
    assert_eq!(
        report,
        [
            "peers/0:1: check_relay → relay",
            "peers/0:2: check_norelay → (removed: the line relay above does it)",
            "peers/0:3: check_badrcptto_patterns → badrcptto",
            "peers/0:5: check_badrcptto reject 0 → (added to the line above: badrcptto reject 0)",
            "peers/0:7: dkim_sign → (removed: the line dkim above does it)",
            "peers/0:10: clamav → (removed: the line virus/clamdscan above does it)",
        ]
    );
}

#[test]
fn included_files_are_changed_too() {
    let (now, report) = imported(
        &[
            ("plugins", "$include more\n$include parts/\n$include /etc/other\n$include plugins\n"),
            ("more", "check_loop\n$include more\n"),
            ("parts/1", "check_relay"),
            ("other", "check_relay\n"),
            ("logging", "warn\n"),
        ],
        false,
    );
    assert_eq!((&*now["more"], &*now["parts/1"]), ("loop\n$include more\n", "relay"));
    assert_eq!(now["other"], "check_relay\n", "no list of plugins");
    assert!(report.contains(
        &"plugins:3: $include /etc/other: is not in this folder and was not looked at".to_string()
    ));
}

#[test]
fn what_is_no_utf8_stays_to_the_octet() {
    let text = b"# caf\xe9\ncheck_relay\n\xe9 x\n".to_vec();
    let before = Folder::from([("plugins".to_string(), Zeroizing::new(text))]);
    let now = after(&before, &folder(&before, false));
    assert_eq!(now["plugins"].as_slice(), b"# caf\xe9\nrelay\n\xe9 x\n");
}

#[test]
fn patterns_go_where_their_plugin_reads_them() {
    let (now, report) = imported(
        &[
            ("badrcptto", "joe@example.com\n% no percent"),
            ("badrcptto_patterns", "# ours\n! no bang\n% no percent\nx.example other\n@.*@\n"),
            ("more_badrcptto", "ann@example.com\n"),
            ("badmailfrom_patterns", "/^spam@/ no\n"),
        ],
        false,
    );
    let names: Vec<&str> = now.keys().map(String::as_str).collect();
    assert_eq!(names, ["badmailfrom", "badrcptto"]);
    assert_eq!(now["badmailfrom"], "/^spam@/ no\n");
    assert_eq!(
        now["badrcptto"],
        "joe@example.com\n% no percent\n# ours\n! no bang\n/x.example/ other\n@.*@\nann@example.com\n"
    );
    assert_eq!(
        report,
        [
            "badmailfrom_patterns:1: /^spam@/ no → badmailfrom:1: /^spam@/ no",
            "badmailfrom_patterns: the file → (removed: its lines are in badmailfrom)",
            "badrcptto_patterns:2: ! no bang → badrcptto:4: ! no bang",
            "badrcptto_patterns:4: x.example other → badrcptto:5: /x.example/ other",
            "badrcptto_patterns:5: @.*@ → badrcptto:6: @.*@",
            "badrcptto_patterns: the file → (removed: its lines are in badrcptto)",
            "more_badrcptto:1: ann@example.com → badrcptto:7: ann@example.com",
            "more_badrcptto: the file → (removed: its lines are in badrcptto)",
        ]
    );
    // Cut off before the old file was removed: nothing is there twice.
    let cut = [("badrcptto", "! no bang\n"), ("badrcptto_patterns", "! no bang\n")];
    assert_eq!(imported(&cut, false).0["badrcptto"], "! no bang\n");
}

#[test]
fn dead_lists_are_named_and_dropped_when_asked() {
    let rows = [
        ("dnsbl_zones", "# dnsbl.ahbl.org\nlist.dsbl.org\nzen.spamhaus.org;see, list.dsbl.org\n"),
        ("rhsbl_zones", "bl.example.org\ndnsbl.SORBS.net. gone\n"),
        ("uribl_zones", "multi.surbl.org:8-16,rhsbl.sorbs.net,black.uribl.com 2,4 deny\n"),
    ];
    let (now, report) = imported(&rows, false);
    assert!(rows.iter().all(|(name, text)| now[*name] == *text), "named only");
    assert_eq!(
        report,
        [
            "dnsbl_zones:2: list.dsbl.org is dead (closed in 2008); --drop-dead-lists drops it",
            "dnsbl_zones:3: list.dsbl.org is dead (closed in 2008); --drop-dead-lists drops it",
            "rhsbl_zones:2: dnsbl.SORBS.net is dead (closed in 2024); --drop-dead-lists drops it",
            "uribl_zones:1: rhsbl.sorbs.net is dead (closed in 2024); --drop-dead-lists drops it",
        ]
    );
    let (now, report) = imported(&rows, true);
    assert_eq!(now["dnsbl_zones"], "# dnsbl.ahbl.org\nzen.spamhaus.org;see\n");
    assert_eq!(now["rhsbl_zones"], "bl.example.org\n");
    assert_eq!(now["uribl_zones"], "multi.surbl.org:8-16,black.uribl.com 2,4 deny\n");
    assert_eq!(
        report[0],
        "dnsbl_zones:2: list.dsbl.org → (removed) (list.dsbl.org is dead (closed in 2008))"
    );
}

#[test]
fn dead_is_what_is_below_a_dead_name() {
    for (zone, is_dead) in [
        ("ordb.org", true),
        ("relays.ordb.org", true),
        ("RHSBL.sorbs.net.", true),
        ("notordb.org", false),
        ("zen.spamhaus.org", false),
        ("multi.surbl.org", false),
        ("bl.spamcop.net", false),
        ("psbl.surriel.com", false),
        ("black.uribl.com", false),
        ("dnsbl-1.uceprotect.net", false),
    ] {
        assert_eq!(lists::dead(zone).is_some(), is_dead, "{zone}");
    }
}

#[test]
fn colons_between_lists_become_commas() {
    for (value, expected) in [
        ("zen.spamhaus.org:bl.spamcop.net", Some("zen.spamhaus.org,bl.spamcop.net")),
        ("a.example: b.example :c-1.example", Some("a.example,b.example,c-1.example")),
        ("zen.spamhaus.org", None),
        ("zen.spamhaus.org,bl.spamcop.net:text", None),
        ("multi.surbl.org:8-16-64-128", None),
        ("multi.surbl.org:127.0.0.2", None),
        ("b.barracudacentral.org:You are listed", None),
        ("b.barracudacentral.org;http://x.example", None),
        ("", None),
    ] {
        assert_eq!(lists::with_commas(value).as_deref(), expected, "{value}");
    }
}

#[test]
fn the_database_is_migrated_once() {
    let text = "qpsmtpd=service|RBLList|list.dsbl.org:zen.spamhaus.org|SBLList|a.example|\
                UBLList|rhsbl.sorbs.net,a.example:8-16|status|enabled\n";
    let run = |database: &mut Database, drop| -> Vec<String> {
        let report = database::configuration(database, drop).unwrap();
        report.iter().map(ToString::to_string).collect()
    };
    let dead = |place: &str, what: &str, year: u32| {
        format!("{place}: {what} is dead (closed in {year}); --drop-dead-lists drops it")
    };
    let mut database = Database::parse(text.as_bytes());
    let (rbl, ubl) = ("configuration: qpsmtpd RBLList", "configuration: qpsmtpd UBLList");
    let changed = format!("{rbl}: list.dsbl.org:zen.spamhaus.org → list.dsbl.org,zen.spamhaus.org");
    let named = [dead(rbl, "list.dsbl.org", 2008), dead(ubl, "rhsbl.sorbs.net", 2024)];
    assert_eq!(run(&mut database, false), [&[changed], &named[..]].concat());
    let once = database.clone();
    assert_eq!(run(&mut database, false), named);
    assert_eq!(database, once);
    run(&mut database, true);
    let record = database.get(b"qpsmtpd").unwrap().raw().unwrap();
    let expected = "service|RBLList|zen.spamhaus.org|SBLList|a.example|UBLList|a.example:8-16|\
                    status|enabled";
    assert_eq!(String::from_utf8_lossy(record), expected);
    assert_eq!(run(&mut database, true), [""; 0]);
    assert_eq!(run(&mut Database::default(), true), [""; 0]);
}

#[test]
fn keys_of_dkim_sign_move_with_their_selector() {
    let rows = [
        ("plugins", "dkim_sign selector mail\n"),
        ("dkimkeys/Example.COM.private", "no key\n"),
        ("dkimkeys/b.example.private", "other\n"),
        ("dkimkeys/c.example.private", "same\n"),
        ("dkimkeys/a b.private", "x\n"),
        ("dkim/b.example/private", "another\n"),
        ("dkim/c.example/private", "same\n"),
        ("dkim/c.example/selector", "c\n"),
    ];
    let (now, report) = imported(&rows, false);
    assert_eq!(now["plugins"], "dkim\n");
    assert_eq!(now["dkim/example.com/private"], "no key\n");
    assert_eq!(now["dkim/example.com/selector"], "mail\n");
    assert_eq!(now["dkim/c.example/selector"], "c\n");
    assert!(!now.contains_key("dkim/b.example/selector"), "not ours");
    let left: Vec<_> = now.keys().filter(|name| name.starts_with("dkimkeys/")).collect();
    assert_eq!(left, ["dkimkeys/a b.private", "dkimkeys/b.example.private"]);
    let moved = "dkimkeys/Example.COM.private: the key → dkim/example.com/private, selector mail";
    assert!(report.contains(&moved.to_string()), "{report:?}");
    assert!(report.iter().any(|line| line.contains("signs nothing: it holds no key in PEM")));
    // Keys that no line uses would begin to sign.
    let (now, report) = imported(&[("plugins", "dkim\n"), rows[1]], false);
    assert!(now.contains_key(rows[1].0), "{report:?}");
}
