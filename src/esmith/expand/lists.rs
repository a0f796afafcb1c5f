//! Block lists: `RBLList`, `SBLList` and `UBLList` have one form, `zone`, `zone;message` or `zone:masks`
//! with commas between.

use super::{Fragment, Sources, lines, word};
use crate::esmith::defaults::{self, Property};

/// Lists that have ended. Some name everybody who is asked about.
const DEAD: [&str; 14] = [
    "ahbl.org",
    "blackhole.securitysage.com",
    "dsbl.org",
    "ex.dnsbl.org",
    "mailpolice.com",
    "njabl.org",
    "ordb.net",
    "ordb.org",
    "rfc-ignorant.org",
    "sbl-xbl.spamhaus.org",
    "sorbs.net",
    "spamcannibal.org",
    "uribl.swinog.ch",
    "virbl.bit.nl",
];

/// One list.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    zone: String,
    message: Option<String>,
    masks: Option<String>,
}

/// A value with colons between the lists, as SME Server 8 had it, in the form of today; `None` where it
/// is in that form already.
#[must_use]
pub fn migrated(value: &str) -> Option<String> {
    let parts: Vec<&str> = value.split(':').map(str::trim).collect();
    let is_old =
        parts.len() > 1 && !value.contains([',', ';']) && parts.iter().all(|part| is_zone(part));
    is_old.then(|| parts.join(","))
}

fn is_zone(text: &str) -> bool {
    text.contains('.')
        && text.split('.').all(|label| {
            let is_inner = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
            !label.is_empty() && label.len() <= 63 && label.bytes().all(is_inner)
        })
}

fn parse(name: &str, value: &str, warnings: &mut Vec<String>) -> Vec<Entry> {
    let new = migrated(value);
    let mut entries: Vec<Entry> = Vec::new();
    for part in new.as_deref().unwrap_or(value).split(',') {
        let (zone, rest) = match part.split_once([';', ':']) {
            Some((zone, rest)) => (zone.trim(), Some(rest.trim()).filter(|it| !it.is_empty())),
            None => (part.trim(), None),
        };
        if !is_zone(zone) {
            match entries.last_mut().and_then(|entry| entry.message.as_mut()) {
                // A comma inside of a message.
                Some(message) => message.push_str(&format!(",{part}")),
                None if part.trim().is_empty() => {}
                None => warnings.push(format!("{name}: '{}' is no list", part.escape_debug())),
            }
            continue;
        }
        let is_mask = |text: &str| text.bytes().all(|it| it.is_ascii_digit() || it == b'-');
        let masks = rest.filter(|rest| is_mask(rest)).map(str::to_string);
        let message = rest.filter(|rest| !is_mask(rest)).map(str::to_string);
        entries.push(Entry { zone: zone.to_ascii_lowercase(), message, masks });
    }
    entries
}

fn entries(
    property: &Property,
    switch: &Property,
    sources: &Sources,
    warnings: &mut Vec<String>,
) -> Vec<Entry> {
    let value = property.text(&sources.configuration, warnings);
    let found = parse(property.name, &value, warnings);
    if switch.is_enabled(&sources.configuration, warnings) {
        for entry in &found {
            let is_in = |dead: &&&str| {
                entry.zone.strip_suffix(**dead).is_some_and(|it| it.is_empty() || it.ends_with('.'))
            };
            if DEAD.iter().find(is_in).is_some() {
                let (name, zone) = (property.name, &entry.zone);
                warnings.push(format!("{name}: {zone} has ended; it stays until you remove it"));
            }
        }
    }
    found
}

/// `zone` or `zone:message`.
fn with_messages(name: &str, entries: Vec<Entry>, warnings: &mut Vec<String>) -> String {
    lines(entries.into_iter().map(|entry| {
        if entry.masks.is_some() {
            let zone = &entry.zone;
            warnings.push(format!("{name}: {zone}: this list has no use for masks, ignored"));
        }
        match entry.message {
            Some(message) => format!("{}:{message}", entry.zone),
            None => entry.zone,
        }
    }))
}

/// `zone` or `zone masks`.
fn with_masks(name: &str, entries: Vec<Entry>, warnings: &mut Vec<String>) -> String {
    lines(entries.into_iter().map(|entry| {
        if entry.message.is_some() {
            let zone = &entry.zone;
            warnings.push(format!("{name}: {zone}: this list has no use for a message, ignored"));
        }
        match entry.masks {
            Some(masks) => format!("{} {}", entry.zone, masks.replace('-', ",")),
            None => entry.zone,
        }
    }))
}

/// The files of block lists, and those of the contrib wbl.
pub(super) fn files(
    sources: &Sources,
    warnings: &mut Vec<String>,
) -> Vec<(&'static str, Vec<Fragment>)> {
    let rbl = entries(&defaults::RBL_LIST, &defaults::DNSBL, sources, warnings);
    let sbl = entries(&defaults::SBL_LIST, &defaults::RHSBL, sources, warnings);
    let ubl = entries(&defaults::UBL_LIST, &defaults::URIBL, sources, warnings);
    let one = |name, text| vec![Fragment::new(name, text)];
    let mut files = vec![
        ("dnsbl_zones", one("10dnsbl_zones", with_messages("RBLList", rbl, warnings))),
        ("rhsbl_zones", one("10rhsbl_zones", with_messages("SBLList", sbl, warnings))),
        ("uribl_zones", one("10uribl_zones", with_masks("UBLList", ubl, warnings))),
    ];
    for (record, value) in [
        ("badhelo", "Black"),
        ("badmailfrom", "Black"),
        ("whitelisthelo", "White"),
        ("whitelisthosts", "White"),
        ("whitelistsenders", "White"),
    ] {
        files.push((record, one("10wbl", marked(sources, record, value))));
    }
    files
}

/// The names in a record of wbl that have this value.
pub(super) fn marked(sources: &Sources, record: &str, value: &str) -> String {
    let Some(record) = sources.wbl.get(record.as_bytes()) else { return String::new() };
    let properties = record.properties();
    let chosen = properties.iter().filter(|(_, it)| **it == Some(value.as_bytes()));
    lines(chosen.filter_map(|(name, _)| word(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_for_all_lists() {
        let entry = |zone: &str, message: Option<&str>, masks: Option<&str>| Entry {
            zone: zone.to_string(),
            message: message.map(str::to_string),
            masks: masks.map(str::to_string),
        };
        for (value, expected, complaints) in [
            (
                "a.example, B.example",
                vec![entry("a.example", None, None), entry("b.example", None, None)],
                0,
            ),
            (
                "a.example:b.example",
                vec![entry("a.example", None, None), entry("b.example", None, None)],
                0,
            ),
            ("a.example:8-16", vec![entry("a.example", None, Some("8-16"))], 0),
            (
                "a.example;Listed, see http://a.example/%IP%,b.example",
                vec![
                    entry("a.example", Some("Listed, see http://a.example/%IP%"), None),
                    entry("b.example", None, None),
                ],
                0,
            ),
            ("a.example:Listed here", vec![entry("a.example", Some("Listed here"), None)], 0),
            ("nonsense,a.example,,", vec![entry("a.example", None, None)], 1),
            ("", vec![], 0),
        ] {
            let mut warnings = Vec::new();
            assert_eq!(parse("RBLList", value, &mut warnings), expected, "{value}");
            assert_eq!(warnings.len(), complaints, "{value}: {warnings:?}");
        }
    }

    #[test]
    fn old_values_become_new_ones_once() {
        assert_eq!(migrated("a.example:b.example").as_deref(), Some("a.example,b.example"));
        for value in
            ["a.example,b.example", "a.example", "a.example:8-16", "a.example;b.example:c.d"]
        {
            assert_eq!(migrated(value), None, "{value}");
        }
    }
}
