//! The file as others read it, and what becomes of it.

use super::*;
use crate::authn::dkim::{Outcome, Verified};
use crate::authn::dmarc::{Discovery, Record};

/// A message that passed nothing.
pub(in crate::store) fn judged(ip: &str) -> Judged {
    let text =
        b"v=DMARC1; p=reject; np=quarantine; rua=mailto:a@example.org!10m,mailto:b@example.org";
    let record = Record::parse(text).expect("a record");
    Judged {
        at: 1_795_651_199,
        ip: ip.parse().expect("an address"),
        applied: Applied {
            author: "a.example.org".to_string(),
            domain: "example.org".to_string(),
            record,
            policy: Policy::Reject,
            discovery: Discovery::Tree,
        },
        sender: "bounce.example.org".to_string(),
        recipient: Some("example.com".to_string()),
        disposition: Policy::Quarantine,
        spf_aligned: false,
        dkim_aligned: false,
        reason: Some(("local_policy", "wanted reject".to_string())),
        spf: Some((Scope::MailFrom, SpfResult::SoftFail, "bounce.example.org".into())),
        dkim: None,
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("mailreeve-reports-{}-{name}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }

    fn settings(&self) -> Settings {
        let organisation = "mx.example.net".to_string();
        Settings { path: self.0.join("dmarc/reports.sqlite"), organisation }
    }

    /// All rows of a query, their values with blanks between.
    fn rows(&self, query: &str) -> Vec<String> {
        let connection = Connection::open(self.settings().path).expect("the file");
        let mut statement = connection.prepare(query).expect(query);
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let values: rusqlite::Result<Vec<String>> = (0..columns)
                .map(|column| {
                    Ok(match row.get(column)? {
                        Value::Null => "-".to_string(),
                        Value::Integer(number) => number.to_string(),
                        Value::Text(text) => text,
                        other => format!("{other:?}"),
                    })
                })
                .collect();
            Ok(values?.join(" "))
        };
        let rows = statement.query_map([], row).expect(query);
        rows.map(|row| row.expect(query)).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_message_as_others_read_it() {
    let folder = Folder::new("rows");
    let mut reports = Reports::open(&folder.settings()).unwrap();
    let verified = |domain: &str, outcome| Verified {
        outcome,
        reason: None,
        domain: domain.to_string(),
        selector: "key".to_string(),
        identity: String::new(),
        algorithm: None,
        start_of_b: String::new(),
        uncovered: 0,
        testing: false,
    };
    let signatures =
        vec![verified("other.example", Outcome::Pass), verified("", Outcome::PermError)];
    let signed = Verification { signatures, ..Verification::default() };
    let first = Judged { dkim: Some(Arc::new(signed)), ..judged("::ffff:192.0.2.1") };
    let testing = Judged {
        reason: Some(("policy_test_mode", String::new())),
        sender: String::new(),
        recipient: None,
        ..judged("2001:db8::1")
    };
    assert_eq!(reports.write(&[first, testing], 1_795_651_200), Ok(0));
    for (query, expected) in [
        (
            "SELECT begin, end, uuid, domain, org_name, email FROM report
             JOIN domain ON domain.id = from_domain_id JOIN author ON author.id = author_id",
            &["1795564800 1795651199 - example.org mx.example.net postmaster@mx.example.net"][..],
        ),
        (
            "SELECT adkim, aspf, p, sp, pct, rua FROM report_policy_published",
            &["r r reject - 100 mailto:a@example.org!10m,mailto:b@example.org"],
        ),
        (
            "SELECT np, testing, fo, discovery_method FROM mailreeve_report",
            &["quarantine n 0 treewalk"],
        ),
        (
            "SELECT hex(source_ip), count, disposition, dkim, spf, f.domain, s.domain, r.domain
             FROM report_record JOIN domain AS f ON f.id = header_from_did
             LEFT JOIN domain AS s ON s.id = envelope_from_did
             LEFT JOIN domain AS r ON r.id = envelope_to_did ORDER BY report_record.id",
            &[
                "C0000201 - quarantine fail fail a.example.org bounce.example.org example.com",
                "20010DB8000000000000000000000001 - quarantine fail fail a.example.org - -",
            ],
        ),
        (
            "SELECT report_record_id, type, comment FROM report_record_reason",
            &["1 local_policy wanted reject", "2 other "],
        ),
        (
            "SELECT report_record_id, policy, reason FROM mailreeve_record",
            &["1 reject local_policy", "2 reject policy_test_mode"],
        ),
        (
            "SELECT report_record_id, domain, selector, result, human_result
             FROM report_record_dkim JOIN domain ON domain.id = domain_id",
            &["1 other.example key pass good signature"],
        ),
        (
            "SELECT report_record_id, domain, scope, result
             FROM report_record_spf JOIN domain ON domain.id = domain_id",
            &["1 bounce.example.org mfrom softfail", "2 bounce.example.org mfrom softfail"],
        ),
        ("PRAGMA foreign_key_check", &[]),
    ] {
        assert_eq!(folder.rows(query), expected, "{query}");
    }
}

/// Each day and each policy has its report, also behind a restart.
#[test]
fn which_report_a_message_belongs_to() {
    let folder = Folder::new("windows");
    let mut reports = Reports::open(&folder.settings()).unwrap();
    let next_day = |message: Judged| Judged { at: message.at + 1, ..message };
    let mut stricter = judged("192.0.2.4");
    stricter.applied.record.dkim = crate::authn::dmarc::record::Alignment::Strict;
    let mut testing = judged("192.0.2.5");
    testing.applied.record.testing = true;
    let messages = [
        judged("192.0.2.1"),
        judged("192.0.2.2"),
        next_day(judged("192.0.2.3")),
        stricter,
        testing,
    ];
    assert_eq!(reports.write(&messages, 1_795_651_200), Ok(0));
    drop(reports);
    let mut reports = Reports::open(&folder.settings()).unwrap();
    assert_eq!(reports.write(&messages, 1_795_651_200), Ok(0));
    let counts = "SELECT report_id, count(*) FROM report_record GROUP BY report_id";
    assert_eq!(folder.rows(counts), ["1 4", "2 2", "3 2", "4 2"]);
    assert_eq!(folder.rows("SELECT DISTINCT begin FROM report"), ["1795564800", "1795651200"]);
}

#[test]
fn old_reports_go_with_all_that_hangs_on_them() {
    let folder = Folder::new("prune");
    let mut reports = Reports::open(&folder.settings()).unwrap();
    let old = judged("192.0.2.1");
    let new = Judged { at: old.at + 5 * DAY, ..judged("192.0.2.2") };
    assert_eq!(reports.write(&[old.clone(), new], old.at), Ok(0));
    let later = old.at + AGE_MAX;
    assert_eq!(reports.write(&[], later), Ok(0));
    assert_eq!((folder.rows("SELECT * FROM report").len(), reports.rows), (2, 2));
    assert_eq!(reports.write(&[], later + PRUNE_INTERVAL), Ok(0));
    for table in [
        "report",
        "report_policy_published",
        "report_record",
        "report_record_reason",
        "report_record_spf",
        "mailreeve_record",
        "mailreeve_report",
    ] {
        assert_eq!(folder.rows(&format!("SELECT count(*) FROM {table}")), ["1"], "{table}");
    }
    reports.rows = ROWS_MAX - 1;
    assert_eq!(reports.write(&vec![old; 3], later + PRUNE_INTERVAL), Ok(2));
}

#[test]
fn a_file_that_cannot_be_used_is_a_failure() {
    let folder = Folder::new("broken");
    let settings = folder.settings();
    std::fs::create_dir_all(settings.path.parent().unwrap()).unwrap();
    std::fs::write(&settings.path, "no database, but long enough to be seen as none".repeat(30))
        .unwrap();
    let failure = Reports::open(&settings).err().unwrap().what;
    assert!(failure.ends_with("reports.sqlite: file is not a database"), "{failure}");
    let of_folder = Settings { path: folder.0.join("dmarc"), ..settings };
    assert!(Reports::open(&of_folder).is_err());
}

#[test]
fn texts_are_cut_at_characters() {
    for (text, max, expected) in
        [("abc", 2, "ab"), ("abc", 3, "abc"), ("a\u{e9}", 2, "a"), ("", 2, "")]
    {
        assert_eq!(cut(text, max), expected);
    }
}
