//! What DMARC came to, message by message, for the aggregate reports of the day (RFC 9990).
//!
//! The file has the tables of Mail::DMARC, so that what reads them goes on to do so: one report for each
//! policy and day (UTC), one row for each message, whose `count` is NULL as long as it is one of ours. What
//! RFC 9990 wants and these tables have no column for stands in tables of our own beside them,
//! `mailreeve_*`. The recorder thread alone writes. A mail never waits for it, and a fault costs
//! rows of a report and nothing else.

pub mod read;
mod schema;

use super::Failure;
use super::sqlite::create;
use crate::authn::dkim::Verification;
use crate::authn::dmarc::{Applied, Policy};
use crate::authn::spf::{Scope, SpfResult};
use rusqlite::types::Value;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
    params_from_iter,
};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Seconds of a report's window, which begins at midnight UTC.
const DAY: u64 = 86_400;

/// Reports whose window ended so many seconds ago are of no use to anybody: ten days.
const AGE_MAX: u64 = 10 * DAY;

/// Seconds between two looks for old reports.
const PRUNE_INTERVAL: u64 = 3_600;

/// Messages in the file. More are not recorded until old ones are gone.
const ROWS_MAX: u64 = 1_000_000;

/// How long to wait for another process that writes, the sender of reports, say.
const BUSY_TIME_MAX: Duration = Duration::from_secs(1);

/// Octets of a text that is kept of what others wrote.
const TEXT_MAX: usize = 255;

/// Octets of all report addresses of one policy.
const ADDRESSES_MAX: usize = 4_000;

/// Where DMARC's results are kept, and in whose name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The database file, made where it is missing.
    pub path: PathBuf,
    /// The domain that reports: our own name.
    pub organisation: String,
}

/// One message that was judged by a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The client.
    pub ip: IpAddr,
    /// The policy, and the author that it is for.
    pub applied: Applied,
    /// The domain of the reverse-path; empty where that is null.
    pub sender: String,
    /// The domain of all recipients; None where they have several.
    pub recipient: Option<String>,
    /// What was done.
    pub disposition: Policy,
    /// SPF passes, for the author.
    pub spf_aligned: bool,
    /// A signature passes, for the author.
    pub dkim_aligned: bool,
    /// Why something else was done than the policy says: a word of RFC 9990, and why.
    pub reason: Option<(&'static str, String)>,
    /// What SPF said, and of whom. None where it was not looked at.
    pub spf: Option<(Scope, SpfResult, Box<str>)>,
    /// The signatures. None where nobody looked.
    pub dkim: Option<Arc<Verification>>,
}

/// A connection to the file.
pub(super) struct Reports {
    connection: Connection,
    organisation: String,
    /// Messages in the file, as of `pruned_at` and with those added since.
    rows: u64,
    /// When old reports were last looked for, in seconds since 1970.
    pruned_at: u64,
}

impl Reports {
    /// Opens the file, which is made with its folder where it is missing.
    pub(super) fn open(settings: &Settings) -> Result<Reports, Failure> {
        let Settings { path, organisation } = settings;
        let failure =
            |what: &dyn std::fmt::Display| Failure::new(format!("{}: {what}", path.display()));
        create(path).map_err(|error| failure(&error))?;
        let connection = connect(path).map_err(|error| failure(&error))?;
        let organisation = organisation.clone();
        Ok(Reports { connection, organisation, rows: 0, pruned_at: 0 })
    }

    /// Writes messages, all or none. Tells how many of them were left out since the file is full.
    pub(super) fn write(&mut self, messages: &[Judged], now: u64) -> Result<usize, Failure> {
        self.try_write(messages, now).map_err(|error| Failure::new(error.to_string()))
    }

    fn try_write(&mut self, messages: &[Judged], now: u64) -> rusqlite::Result<usize> {
        if now.saturating_sub(self.pruned_at) >= PRUNE_INTERVAL {
            self.rows = prune(&mut self.connection, now.saturating_sub(AGE_MAX))?;
            self.pruned_at = now;
        }
        let room = usize::try_from(ROWS_MAX.saturating_sub(self.rows)).unwrap_or(usize::MAX);
        let (kept, left_out) = messages.split_at(room.min(messages.len()));
        if !kept.is_empty() {
            let transaction =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for message in kept {
                add(&transaction, &self.organisation, message)?;
            }
            transaction.commit()?;
            self.rows += kept.len() as u64;
        }
        Ok(left_out.len())
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIME_MAX)?;
    connection.execute_batch(schema::TABLES)?;
    Ok(connection)
}

/// Deletes reports that ended before, with all that hangs on them; tells how many messages are left.
/// SQLite follows foreign keys only where it is told to, and other programs do not tell it.
fn prune(connection: &mut Connection, before: u64) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for statement in schema::PRUNE {
        transaction.execute(statement, [number(before)])?;
    }
    let rows: i64 =
        transaction.query_row("SELECT count(*) FROM report_record", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(u64::try_from(rows).unwrap_or_default())
}

fn add(
    transaction: &Transaction<'_>,
    organisation: &str,
    message: &Judged,
) -> rusqlite::Result<()> {
    let report = report(transaction, organisation, message)?;
    let sender = message.sender.as_str();
    let sender = if sender.is_empty() { None } else { Some(domain(transaction, sender)?) };
    let recipient = message.recipient.as_deref();
    let recipient = recipient.map(|recipient| domain(transaction, recipient)).transpose()?;
    let author = domain(transaction, &message.applied.author)?;
    let octets = match message.ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let word = |passes: bool| if passes { "pass" } else { "fail" };
    transaction.execute(
        "INSERT INTO report_record (report_id, source_ip, disposition, dkim, spf, envelope_to_did,
         envelope_from_did, header_from_did) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            report,
            octets,
            message.disposition.word(),
            word(message.dkim_aligned),
            word(message.spf_aligned),
            recipient,
            sender,
            author
        ],
    )?;
    let record = transaction.last_insert_rowid();
    let reason = message.reason.as_ref().map(|(kind, comment)| (*kind, cut(comment, TEXT_MAX)));
    if let Some((kind, comment)) = reason {
        // The old tables do not know what RFC 9990 has added.
        let kind = if kind == "policy_test_mode" { "other" } else { kind };
        transaction.execute(
            "INSERT INTO report_record_reason (report_record_id, type, comment) VALUES (?, ?, ?)",
            params![record, kind, comment],
        )?;
    }
    transaction.execute(
        "INSERT INTO mailreeve_record (report_record_id, policy, reason) VALUES (?, ?, ?)",
        params![record, message.applied.policy.word(), reason.map(|(kind, _)| kind)],
    )?;
    add_results(transaction, record, message)
}

/// What SPF and DKIM said, whether that speaks for the author or not.
fn add_results(
    transaction: &Transaction<'_>,
    record: i64,
    message: &Judged,
) -> rusqlite::Result<()> {
    if let Some((scope, result, of)) = &message.spf {
        let of = domain(transaction, of)?;
        transaction.execute(
            "INSERT INTO report_record_spf (report_record_id, domain_id, scope, result)
             VALUES (?, ?, ?, ?)",
            params![record, of, scope.word(), result.word()],
        )?;
    }
    let signatures = message.dkim.as_deref().map(|found| found.signatures.as_slice());
    for signature in signatures.unwrap_or_default() {
        if signature.domain.is_empty() {
            // It names nobody whom a report could tell of.
            continue;
        }
        let of = domain(transaction, &signature.domain)?;
        let (selector, words) = (cut(&signature.selector, TEXT_MAX), signature.words());
        transaction.execute(
            "INSERT INTO report_record_dkim (report_record_id, domain_id, selector, result,
             human_result) VALUES (?, ?, ?, ?, ?)",
            params![record, of, selector, signature.outcome.word(), words],
        )?;
    }
    Ok(())
}

/// The report that a message belongs to: of its day, and of the very policy. A policy that changes in the
/// course of a day has two (RFC 9990 section 3.5.1).
fn report(
    transaction: &Transaction<'_>,
    organisation: &str,
    message: &Judged,
) -> rusqlite::Result<i64> {
    let published = &message.applied.record;
    let author = author(transaction, organisation)?;
    let from = domain(transaction, &message.applied.domain)?;
    let begin = message.at - message.at % DAY;
    let text = |text: &str| Value::Text(text.to_string());
    let policy = |policy: Option<Policy>| policy.map_or(Value::Null, |it| text(it.word()));
    let addresses = published.aggregate.join(",");
    let old = [
        text(published.dkim.word()),
        text(published.spf.word()),
        text(published.own().word()),
        policy(published.subdomains),
        text(cut(&addresses, ADDRESSES_MAX)),
    ];
    let testing = if published.testing { "y" } else { "n" };
    let options = cut(&published.failure_options, TEXT_MAX);
    let method = text(message.applied.discovery.word());
    let new = [policy(published.nonexistent), text(testing), text(options), method];
    let of = [author, from, number(begin), number(begin + DAY - 1)].map(Value::Integer);
    let known = of.iter().chain(&old).chain(&new);
    let found = transaction.query_row(schema::REPORT, params_from_iter(known), |row| row.get(0));
    if let Some(report) = found.optional()? {
        return Ok(report);
    }
    transaction.execute(
        "INSERT INTO report (author_id, from_domain_id, begin, end) VALUES (?, ?, ?, ?)",
        params_from_iter(&of),
    )?;
    let report = Value::Integer(transaction.last_insert_rowid());
    transaction.execute(
        "INSERT INTO report_policy_published (report_id, adkim, aspf, p, sp, rua, pct)
         VALUES (?, ?, ?, ?, ?, ?, 100)",
        params_from_iter(std::iter::once(&report).chain(&old)),
    )?;
    transaction.execute(
        "INSERT INTO mailreeve_report (report_id, np, testing, fo, discovery_method)
         VALUES (?, ?, ?, ?, ?)",
        params_from_iter(std::iter::once(&report).chain(&new)),
    )?;
    match report {
        Value::Integer(report) => Ok(report),
        _ => Err(rusqlite::Error::QueryReturnedNoRows),
    }
}

fn author(transaction: &Transaction<'_>, organisation: &str) -> rusqlite::Result<i64> {
    transaction.execute(
        "INSERT OR IGNORE INTO author (org_name, email) VALUES (?, ?)",
        [organisation, &format!("postmaster@{organisation}")],
    )?;
    let query = "SELECT id FROM author WHERE org_name = ?";
    transaction.query_row(query, [organisation], |row| row.get(0))
}

fn domain(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    let name = cut(name, TEXT_MAX);
    transaction.execute("INSERT OR IGNORE INTO domain (domain) VALUES (?)", [name])?;
    transaction.query_row("SELECT id FROM domain WHERE domain = ?", [name], |row| row.get(0))
}

/// The beginning of a text, whole characters.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|place| text.is_char_boundary(*place));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests;
