//! Values in SME Server's database `configuration` that are read otherwise now.

use super::Entry;
use super::lists::{told, with_commas, without_dead};
use crate::esmith::database::Database;
use crate::esmith::record::Refusal;

/// The record with the lists, and the properties that have them.
const RECORD: &str = "qpsmtpd";
const LISTS: [&str; 3] = ["RBLList", "SBLList", "UBLList"];

/// Lists that colons part are parted by commas. Dead lists are named, and with `drop_dead` dropped;
/// where none is left the default holds.
///
/// # Errors
///
/// A record that could not be stored again as it is.
pub fn configuration(database: &mut Database, drop_dead: bool) -> Result<Vec<Entry>, Refusal> {
    let mut report = Vec::new();
    for name in LISTS {
        let Some(record) = database.get(RECORD.as_bytes()) else { continue };
        let stored = record.properties().get(name.as_bytes()).copied().flatten();
        let Some(old) = stored.and_then(|value| str::from_utf8(value).ok()) else { continue };
        let place = format!("configuration: {RECORD} {name}");
        let parted = with_commas(old);
        report.extend(parted.as_deref().map(|new| Entry::changed(&place, old, new)));
        let parted = parted.unwrap_or_else(|| old.to_string());
        let (living, found) = without_dead(&parted);
        let new = if drop_dead { &living } else { &parted };
        if !found.is_empty() {
            report.extend(told(&place, &parted, &living, &found, drop_dead));
        }
        if new != old {
            let changed = record.with_properties(&[(name.as_bytes(), new.as_bytes())])?;
            database.set(RECORD.as_bytes(), changed)?;
        }
    }
    Ok(report)
}
