//! The reports of a day, read for whom they are about.

use super::{DAY, number};
use crate::authn::dmarc::report::{Report, Row};
use crate::store::Failure;
use rusqlite::{Connection, OpenFlags, params};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Different rows of one report; what more there is, is left out.
const ROWS_MAX: usize = 20_000;

/// Shows the reports whose window begins at `begin`, in seconds since 1970, to `visit`. A file that is
/// missing has none.
///
/// # Errors
/// The file cannot be read, or is none of ours.
pub fn of_day(path: &Path, begin: u64, visit: &mut dyn FnMut(&Report)) -> Result<(), Failure> {
    let failure =
        |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
    if !path.try_exists().map_err(|error| failure(&error))? {
        return Ok(());
    }
    try_of_day(path, begin, visit).map_err(|error| failure(&error))
}

fn try_of_day(path: &Path, begin: u64, visit: &mut dyn FnMut(&Report)) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(super::BUSY_TIME_MAX)?;
    let mut statement = connection.prepare(
        "SELECT report.id, org_name, ifnull(email, ''), domain, p, ifnull(sp, ''), ifnull(np, ''),
         adkim, aspf, discovery_method, fo, testing FROM report
         JOIN author ON author.id = author_id JOIN domain ON domain.id = from_domain_id
         JOIN report_policy_published AS old ON old.report_id = report.id
         JOIN mailreeve_report AS new ON new.report_id = report.id
         WHERE begin = ? AND end = ? ORDER BY report.id",
    )?;
    let mut found = statement.query([number(begin), number(begin + DAY - 1)])?;
    while let Some(row) = found.next()? {
        let id: i64 = row.get(0)?;
        let names =
            ["domain", "p", "sp", "np", "adkim", "aspf", "discovery_method", "fo", "testing"];
        let mut policy = Vec::with_capacity(names.len());
        for (column, name) in (3..).zip(names) {
            policy.push((name, row.get(column)?));
        }
        visit(&Report {
            organisation: row.get(1)?,
            email: row.get(2)?,
            id: format!("{begin}.{id}"),
            begin,
            end: begin + DAY - 1,
            policy,
            rows: rows(&connection, id)?,
        });
    }
    Ok(())
}

fn rows(connection: &Connection, report: i64) -> rusqlite::Result<Vec<(Row, u64)>> {
    let mut statement = connection.prepare(
        "SELECT record.id, source_ip, disposition, policy, dkim, spf, new.reason, old.comment,
         f.domain, s.domain, t.domain FROM report_record AS record
         JOIN mailreeve_record AS new ON new.report_record_id = record.id
         LEFT JOIN report_record_reason AS old ON old.report_record_id = record.id
         JOIN domain AS f ON f.id = header_from_did
         LEFT JOIN domain AS s ON s.id = envelope_from_did
         LEFT JOIN domain AS t ON t.id = envelope_to_did
         WHERE report_id = ? AND count IS NULL ORDER BY record.id",
    )?;
    let mut signatures = connection.prepare(
        "SELECT domain, selector, result, human_result FROM report_record_dkim
         JOIN domain ON domain.id = domain_id WHERE report_record_id = ?",
    )?;
    let mut checked = connection.prepare(
        "SELECT domain, result FROM report_record_spf
         JOIN domain ON domain.id = domain_id WHERE report_record_id = ?",
    )?;
    let mut counted = BTreeMap::<Row, u64>::new();
    let mut found = statement.query([report])?;
    while let Some(row) = found.next()? {
        let id: i64 = row.get(0)?;
        let of_dkim = signatures.query_map(params![id], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
        })?;
        let signatures = of_dkim.collect::<rusqlite::Result<_>>()?;
        let mut of_spf = checked.query_map(params![id], |row| Ok([row.get(0)?, row.get(1)?]))?;
        let checked = of_spf.next().transpose()?;
        let octets: Vec<u8> = row.get(1)?;
        let Some(ip) = address(&octets) else { continue };
        let reason: Option<String> = row.get(6)?;
        let comment: Option<String> = row.get(7)?;
        let row = Row {
            ip,
            disposition: row.get(2)?,
            policy: row.get(3)?,
            dkim: row.get(4)?,
            spf: row.get(5)?,
            reason: reason.map(|kind| (kind, comment.unwrap_or_default())),
            from: row.get(8)?,
            sender: row.get(9)?,
            recipient: row.get(10)?,
            signatures,
            checked,
        };
        if counted.len() < ROWS_MAX || counted.contains_key(&row) {
            *counted.entry(row).or_default() += 1;
        }
    }
    Ok(counted.into_iter().collect())
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|it| Ipv4Addr::from(it).into());
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|it| Ipv6Addr::from(it).into())).ok()
}
