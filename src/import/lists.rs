//! Lists in DNS: how the databases' values part them, and which are dead.
//!
//! A dead list answers nobody, or answers everybody that he is listed. It is named, and dropped only for
//! who asks: an admin knows his own mirror of one better than we do.

use super::{Entry, is_data, numbered};
use crate::dns::lists::is_zone;

/// The files that name lists, a line each.
pub(super) const FILES: [&str; 3] = ["dnsbl_zones", "rhsbl_zones", "uribl_zones"];

/// Lists that have been given up, with all below these names, and since when.
const DEAD: [(&str, &str); 16] = [
    ("ahbl.org", "closed in 2015"),
    ("blackhole.securitysage.com", "closed long ago"),
    ("blitzed.org", "closed in 2006"),
    ("dnsbl.org", "closed long ago"),
    ("dsbl.org", "closed in 2008"),
    ("ix.dnsbl.manitu.net", "closed in 2025"),
    ("moensted.dk", "closed long ago"),
    ("njabl.org", "closed in 2013"),
    ("ordb.org", "closed in 2006"),
    ("relays.osirusoft.com", "closed in 2003"),
    ("rfc-ignorant.org", "closed in 2012"),
    ("rhs.mailpolice.com", "closed long ago"),
    ("sorbs.net", "closed in 2024"),
    ("spamcannibal.org", "closed in 2018"),
    ("virbl.dnsbl.bit.nl", "closed long ago"),
    ("wpbl.info", "closed long ago"),
];

/// Why a list is dead; None for one that is not known to be.
#[must_use]
pub fn dead(zone: &str) -> Option<&'static str> {
    let zone = zone.trim_end_matches('.').to_ascii_lowercase();
    let is_of = |name: &str| {
        zone.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    DEAD.into_iter().find(|(name, _)| is_of(name)).map(|(_, why)| why)
}

/// A value whose lists are parted by colons, as SME Server 8 wrote it, with commas; None where it has
/// commas, or where a colon parts a list from its text or masks.
#[must_use]
pub fn with_commas(value: &str) -> Option<String> {
    let parts: Vec<&str> = value.split(':').map(str::trim).collect();
    let is_name = |part: &str| {
        let top = part.rsplit('.').next().unwrap_or_default();
        is_zone(part) && top.bytes().any(|octet| octet.is_ascii_alphabetic())
    };
    let is_old = !value.contains(',') && parts.len() > 1 && parts.iter().all(|it| is_name(it));
    is_old.then(|| parts.join(","))
}

/// A value without its dead lists, and each of these with the reason. Of a text with commas in it nothing
/// is taken for a list that does not look like one.
#[must_use]
pub fn without_dead(value: &str) -> (String, Vec<(String, &'static str)>) {
    let mut entries: Vec<String> = Vec::new();
    for part in value.split(',') {
        match entries.last_mut() {
            Some(last) if !is_zone(zone(part)) => {
                last.push(',');
                last.push_str(part);
            }
            _ => entries.push(part.to_string()),
        }
    }
    let mut found = Vec::new();
    entries.retain(|entry| match dead(zone(entry)) {
        Some(why) => {
            found.push((zone(entry).to_string(), why));
            false
        }
        None => true,
    });
    (entries.join(","), found)
}

/// The name of an entry's list.
fn zone(entry: &str) -> &str {
    let entry = entry.trim();
    entry.split([';', ':', ' ', '\t']).next().unwrap_or_default().trim_end_matches('.')
}

/// One of the files: dead lists are named, and with `drop_dead` dropped.
pub(super) fn file(name: &str, text: &[u8], drop: bool, report: &mut Vec<Entry>) -> Vec<u8> {
    let mut made = Vec::with_capacity(text.len());
    for (number, line) in numbered(text) {
        let old = str::from_utf8(line.trim_ascii()).ok().filter(|_| is_data(line));
        let (new, found) = old.map(without_dead).unwrap_or_default();
        let (Some(old), false) = (old, found.is_empty()) else {
            made.extend_from_slice(line);
            continue;
        };
        let place = format!("{name}:{number}");
        report.extend(told(&place, old, &new, &found, drop));
        if !drop {
            made.extend_from_slice(line);
        } else if !new.is_empty() {
            made.extend_from_slice(new.as_bytes());
            made.extend(line.ends_with(b"\n").then_some(b'\n'));
        }
    }
    made
}

/// What is said of dead lists at a place.
pub(super) fn told(
    place: &str,
    old: &str,
    new: &str,
    found: &[(String, &'static str)],
    drop: bool,
) -> Vec<Entry> {
    let named = |end: &str| -> Vec<String> {
        found.iter().map(|(zone, why)| format!("{zone} is dead ({why}){end}")).collect()
    };
    if !drop {
        let names = named("; --drop-dead-lists drops it");
        return names.into_iter().map(|what| Entry::noted(place, what)).collect();
    }
    let new = if new.is_empty() { "(removed)" } else { new };
    vec![Entry::changed(place, old, format!("{new} ({})", named("").join(", ")))]
}
