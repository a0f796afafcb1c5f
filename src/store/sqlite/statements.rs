//! The SQL of the store, made from the tables' own description, so that a field is named once.

use super::super::ops::{COUNT_MAX, Field, Fold, Key, Row, Table};
use rusqlite::Statement;

/// One table, and an index by which it ages and is listed, where they are missing. `STRICT` keeps
/// foreign types out.
pub(super) fn create(table: Table) -> String {
    let (name, age) = (table.name(), table.age_field());
    let columns: String = each(table, |field| format!(", {} INTEGER NOT NULL", field.name));
    format!(
        "CREATE TABLE IF NOT EXISTS {name} (key TEXT PRIMARY KEY NOT NULL{columns}) STRICT, WITHOUT ROWID; \
         CREATE INDEX IF NOT EXISTS {name}_by_age ON {name} ({age});"
    )
}

/// One record's fields by its key.
pub(super) fn read(table: Table) -> String {
    format!("SELECT {} FROM {} WHERE key = ?1", fields(table), table.name())
}

/// Every record, key first, the latest changed first.
pub(super) fn list(table: Table) -> String {
    let (name, age) = (table.name(), table.age_field());
    format!("SELECT key, {} FROM {name} ORDER BY {age} DESC, key DESC", fields(table))
}

/// Folds a row into its record, as [`Row::merge`] does.
pub(super) fn write(table: Table) -> String {
    let name = table.name();
    let places: String =
        (2..).zip(table.fields()).map(|(place, _)| format!(", ?{place}")).collect();
    let changes: Vec<String> = table.fields().iter().map(change).collect();
    format!(
        "INSERT INTO {name} (key, {}) VALUES (?1{places}) ON CONFLICT (key) DO UPDATE SET {}",
        fields(table),
        changes.join(", ")
    )
}

fn change(field: &Field) -> String {
    let name = field.name;
    match field.fold {
        Fold::Sum => format!("{name} = min({name} + excluded.{name}, {COUNT_MAX})"),
        Fold::Latest => format!("{name} = max({name}, excluded.{name})"),
        Fold::Earliest => format!(
            "{name} = CASE WHEN {name} = 0 OR excluded.{name} = 0 \
             THEN max({name}, excluded.{name}) ELSE min({name}, excluded.{name}) END"
        ),
    }
}

/// Sets fields of one record to nothing.
pub(super) fn clear(table: Table, fields: &[&'static str]) -> String {
    let changes: Vec<String> = fields.iter().map(|field| format!("{field} = 0")).collect();
    format!("UPDATE {} SET {} WHERE key = ?1", table.name(), changes.join(", "))
}

/// Number of records.
pub(super) fn count(table: Table) -> String {
    format!("SELECT count(*) FROM {}", table.name())
}

/// Number of records that last changed before a time.
pub(super) fn count_before(table: Table) -> String {
    format!("SELECT count(*) FROM {} WHERE {} < ?1", table.name(), table.age_field())
}

/// Deletes so many of the records that changed longest ago.
pub(super) fn delete_oldest(table: Table) -> String {
    let (name, age) = (table.name(), table.age_field());
    format!("DELETE FROM {name} WHERE key IN (SELECT key FROM {name} ORDER BY {age}, key LIMIT ?1)")
}

/// Binds a row to the statement of [`write`].
pub(super) fn bind(
    statement: &mut Statement<'_>,
    key: &Key,
    row: &Row,
) -> Result<(), rusqlite::Error> {
    statement.raw_bind_parameter(1, &*key.text)?;
    for (place, (_, value)) in (2..).zip(row.values(key.table)) {
        statement.raw_bind_parameter(place, i64::try_from(value).unwrap_or(i64::MAX))?;
    }
    Ok(())
}

/// A record whose fields begin at column `first`.
pub(super) fn row(
    table: Table,
    row: &rusqlite::Row<'_>,
    first: usize,
) -> Result<Row, rusqlite::Error> {
    let columns = first..first + table.fields().len();
    let values: Result<Vec<i64>, _> = columns.map(|column| row.get(column)).collect();
    let values = values?.into_iter().map(|value| u64::try_from(value).unwrap_or_default());
    Ok(Row::from_values(table, values))
}

fn fields(table: Table) -> String {
    let names: Vec<&str> = table.fields().iter().map(|field| field.name).collect();
    names.join(", ")
}

fn each(table: Table, text: impl Fn(&Field) -> String) -> String {
    table.fields().iter().map(text).collect()
}
