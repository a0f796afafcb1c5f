//! The tables of the file, and the two statements that need all of them.

/// Everything that may be missing is made. In a file of Mail::DMARC that is our own tables only.
pub(super) const TABLES: &str = "
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS author (
    id INTEGER PRIMARY KEY AUTOINCREMENT, org_name VARCHAR(253) NOT NULL UNIQUE,
    email VARCHAR(255), extra_contact VARCHAR(255));
CREATE TABLE IF NOT EXISTS domain (
    id INTEGER PRIMARY KEY AUTOINCREMENT, domain VARCHAR(253) NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS report (
    id INTEGER PRIMARY KEY AUTOINCREMENT, begin INTEGER NOT NULL, end INTEGER NOT NULL,
    author_id INTEGER NOT NULL REFERENCES author (id), rcpt_domain_id INTEGER REFERENCES domain (id),
    from_domain_id INTEGER NOT NULL REFERENCES domain (id), uuid VARCHAR(253));
CREATE TABLE IF NOT EXISTS report_error (
    report_id INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE, error VARCHAR(255) NOT NULL,
    time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE IF NOT EXISTS report_policy_published (
    report_id INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE, adkim CHAR(1), aspf CHAR(1),
    p VARCHAR(10), sp VARCHAR(10), pct INTEGER, rua VARCHAR(255));
CREATE TABLE IF NOT EXISTS report_record (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    report_id INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE,
    source_ip VARBINARY(16) NOT NULL, count INTEGER,
    disposition VARCHAR(10) NOT NULL REFERENCES fk_disposition (disposition), dkim CHAR(4),
    spf CHAR(4), envelope_to_did INTEGER, envelope_from_did INTEGER, header_from_did INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS report_record_reason (
    report_record_id INTEGER NOT NULL REFERENCES report_record (id) ON DELETE CASCADE,
    type VARCHAR(24) NOT NULL, comment VARCHAR(255));
CREATE TABLE IF NOT EXISTS report_record_dkim (
    report_record_id INTEGER NOT NULL REFERENCES report_record (id) ON DELETE CASCADE,
    domain_id INTEGER NOT NULL, selector VARCHAR(253), result VARCHAR(9) NOT NULL,
    human_result VARCHAR(64));
CREATE TABLE IF NOT EXISTS report_record_spf (
    report_record_id INTEGER NOT NULL REFERENCES report_record (id) ON DELETE CASCADE,
    domain_id INTEGER NOT NULL, scope VARCHAR(5), result VARCHAR(9) NOT NULL);
CREATE TABLE IF NOT EXISTS fk_disposition (disposition VARCHAR(10) PRIMARY KEY NOT NULL);
CREATE TABLE IF NOT EXISTS fk_disposition_reason (reason VARCHAR(24) PRIMARY KEY NOT NULL);
CREATE TABLE IF NOT EXISTS fk_dkim_result (result VARCHAR(9) PRIMARY KEY NOT NULL);
CREATE TABLE IF NOT EXISTS fk_spf_result (result VARCHAR(9) PRIMARY KEY NOT NULL);
CREATE TABLE IF NOT EXISTS fk_spf_scope (scope VARCHAR(5) PRIMARY KEY NOT NULL);
INSERT OR IGNORE INTO fk_disposition VALUES ('none'), ('quarantine'), ('reject');
INSERT OR IGNORE INTO fk_disposition_reason VALUES ('forwarded'), ('local_policy'),
    ('mailing_list'), ('other'), ('sampled_out'), ('trusted_forwarder');
INSERT OR IGNORE INTO fk_dkim_result VALUES ('fail'), ('neutral'), ('none'), ('pass'),
    ('permerror'), ('policy'), ('temperror');
INSERT OR IGNORE INTO fk_spf_result VALUES ('fail'), ('neutral'), ('none'), ('pass'),
    ('permerror'), ('softfail'), ('temperror');
INSERT OR IGNORE INTO fk_spf_scope VALUES ('helo'), ('mfrom');
CREATE TABLE IF NOT EXISTS mailreeve_report (
    report_id INTEGER PRIMARY KEY NOT NULL, np TEXT, testing TEXT NOT NULL, fo TEXT NOT NULL,
    discovery_method TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS mailreeve_record (
    report_record_id INTEGER PRIMARY KEY NOT NULL, policy TEXT NOT NULL, reason TEXT);
CREATE INDEX IF NOT EXISTS mailreeve_of_window ON report (from_domain_id, begin);
CREATE INDEX IF NOT EXISTS mailreeve_of_policy ON report_policy_published (report_id);
CREATE INDEX IF NOT EXISTS mailreeve_of_report ON report_record (report_id);
CREATE INDEX IF NOT EXISTS mailreeve_of_reason ON report_record_reason (report_record_id);
CREATE INDEX IF NOT EXISTS mailreeve_of_dkim ON report_record_dkim (report_record_id);
CREATE INDEX IF NOT EXISTS mailreeve_of_spf ON report_record_spf (report_record_id);
COMMIT;
";

/// The report of our own that has this author, domain, begin and end, and this policy.
pub(super) const REPORT: &str = "
SELECT report.id FROM report
    JOIN report_policy_published AS old ON old.report_id = report.id
    JOIN mailreeve_report AS new ON new.report_id = report.id
WHERE author_id = ? AND from_domain_id = ? AND begin = ? AND end = ?
    AND old.adkim IS ? AND old.aspf IS ? AND old.p IS ? AND old.sp IS ? AND old.rua IS ?
    AND new.np IS ? AND new.testing = ? AND new.fo = ? AND new.discovery_method = ?
LIMIT 1";

/// Deletes the reports that ended before a time, what hangs on them first.
pub(super) const PRUNE: [&str; 9] = [
    "DELETE FROM report_record_reason WHERE report_record_id IN (SELECT report_record.id FROM
     report_record JOIN report ON report.id = report_id WHERE end < ?)",
    "DELETE FROM report_record_dkim WHERE report_record_id IN (SELECT report_record.id FROM
     report_record JOIN report ON report.id = report_id WHERE end < ?)",
    "DELETE FROM report_record_spf WHERE report_record_id IN (SELECT report_record.id FROM
     report_record JOIN report ON report.id = report_id WHERE end < ?)",
    "DELETE FROM mailreeve_record WHERE report_record_id IN (SELECT report_record.id FROM
     report_record JOIN report ON report.id = report_id WHERE end < ?)",
    "DELETE FROM report_record WHERE report_id IN (SELECT id FROM report WHERE end < ?)",
    "DELETE FROM report_policy_published WHERE report_id IN (SELECT id FROM report WHERE end < ?)",
    "DELETE FROM report_error WHERE report_id IN (SELECT id FROM report WHERE end < ?)",
    "DELETE FROM mailreeve_report WHERE report_id IN (SELECT id FROM report WHERE end < ?)",
    "DELETE FROM report WHERE end < ?",
];
