//! What a machine that never was an SME Server needs in its databases, so that commands for one do
//! something here: `setprop` changes no record that is not there.
//!
//! Only what is missing is written: a record that is there keeps its type and every property, an empty one
//! too.

use crate::esmith::database::Database;
use crate::esmith::defaults::{RECORDS, TABLE, scalar};
use crate::esmith::record::{Record, Refusal};
use std::collections::BTreeMap;

/// The records of services that are made.
const SERVICES: [&str; 7] =
    ["clamd", "qpsmtpd", "smtpd", "spamassassin", "sqpsmtpd", "ssmtpd", "uqpsmtpd"];

/// Properties that SME Server has there and that nothing here reads.
const UNREAD: [(&str, &str, &str); 4] = [
    ("smtpd", "access", "public"),
    ("smtpd", "status", "enabled"),
    ("ssmtpd", "access", "public"),
    ("ssmtpd", "status", "enabled"),
];

/// The scalars with the machine's name.
const DOMAIN_NAME: &str = "DomainName";
const SYSTEM_NAME: &str = "SystemName";

/// The property that marks the primary domain.
const PRIMARY: &str = "SystemPrimaryDomain";

/// A machine's name, in the two halves in which the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `SystemName`: one label.
    pub system: String,
    /// `DomainName`: for which it has mail.
    pub domain: String,
}

impl Name {
    /// Parts a full name. `example.com` is a domain, whose mail server is called `mail`; of longer names
    /// the first label is the system's. None for a name of one label, and for what is no name.
    #[must_use]
    pub fn of(full: &str) -> Option<Name> {
        let full = full.trim_end_matches('.').to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        if full.len() > 253 || !full.split('.').all(is_label) {
            return None;
        }
        let (system, domain) = full.split_once('.')?;
        let is_domain = psl::domain_str(&full) == Some(&*full)
            && psl::suffix(full.as_bytes()).is_some_and(|it| it.is_known());
        Some(match is_domain {
            true => Name { system: "mail".to_string(), domain: full },
            false => Name { system: system.to_string(), domain: domain.to_string() },
        })
    }
}

/// Adds what is missing to the database `configuration`; says what, a line each.
///
/// # Errors
///
/// A record that could not be stored with more properties.
pub fn configuration(database: &mut Database, name: &Name) -> Result<Vec<String>, Refusal> {
    let mut report = Vec::new();
    for key in SERVICES {
        let kind = RECORDS.iter().find(|(known, _)| *known == key).map_or("service", |it| it.1);
        let missing = missing(database, key);
        let (record, what) = match database.get(key.as_bytes()) {
            Some(_) if missing.is_empty() => continue,
            Some(record) => (record.clone(), "gets"),
            None => (Record::new(kind.as_bytes(), &[])?, "is made with"),
        };
        let pairs: Vec<(&[u8], &[u8])> =
            missing.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        database.set(key.as_bytes(), record.with_properties(&pairs)?)?;
        let pairs: Vec<String> =
            missing.iter().map(|(name, value)| format!("{name}={value}")).collect();
        report.push(format!("configuration: {key} {what} {}", pairs.join(" ")));
    }
    for (key, value) in [(DOMAIN_NAME, &name.domain), (SYSTEM_NAME, &name.system)] {
        if database.get(key.as_bytes()).is_none() {
            database.set(key.as_bytes(), Record::new(value.as_bytes(), &[])?)?;
            report.push(format!("configuration: {key} is {value}"));
        }
    }
    Ok(report)
}

/// The properties that a record should have and has in none of their homes, with their defaults.
fn missing(database: &Database, key: &str) -> BTreeMap<&'static str, &'static str> {
    let has = |home: &str, name: &str| {
        let record = database.get(home.as_bytes());
        record.is_some_and(|record| record.properties().contains_key(name.as_bytes()))
    };
    let of_table = TABLE.iter().filter(|it| {
        it.homes.last() == Some(&key)
            && !it.default.is_empty()
            && !it.homes.iter().any(|home| has(home, it.name))
    });
    let unread = UNREAD.into_iter().filter(|(home, name, _)| *home == key && !has(home, name));
    let unread = unread.map(|(_, name, value)| (name, value));
    of_table.map(|it| (it.name, it.default)).chain(unread).collect()
}

/// The domain that the database `configuration` calls the machine's.
#[must_use]
pub fn primary(configuration: &Database) -> Option<String> {
    scalar(configuration, DOMAIN_NAME)
}

/// Adds the primary domain to the database `domains` if it is missing; says so.
///
/// # Errors
///
/// A domain that cannot be a key.
pub fn domains(database: &mut Database, primary: &str) -> Result<Vec<String>, Refusal> {
    if database.get(primary.as_bytes()).is_some() {
        return Ok(Vec::new());
    }
    let is_primary = |record: &Record| {
        record.properties().get(PRIMARY.as_bytes()).copied().flatten() == Some(b"yes")
    };
    let mut properties: Vec<(&[u8], &[u8])> = vec![(b"Description", b"Primary domain")];
    if !database.records().any(|(_, record)| is_primary(record)) {
        properties.push((PRIMARY.as_bytes(), b"yes"));
    }
    database.set(primary.as_bytes(), Record::new(b"domain", &properties)?)?;
    Ok(vec![format!("domains: {primary} is made")])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name { system: "mx".to_string(), domain: "example.com".to_string() }
    }

    #[test]
    fn names_are_parted() {
        for (full, expected) in [
            ("mx.example.com", Some(("mx", "example.com"))),
            ("MX.Example.COM.", Some(("mx", "example.com"))),
            ("example.com", Some(("mail", "example.com"))),
            ("example.co.uk", Some(("mail", "example.co.uk"))),
            ("server.localdomain", Some(("server", "localdomain"))),
            ("a.b.c.example.org", Some(("a", "b.c.example.org"))),
            ("localhost", None),
            ("a..b", None),
            ("a b.example", None),
            ("x|y.example", None),
            ("", None),
        ] {
            let found = Name::of(full);
            let found = found.as_ref().map(|it| (it.system.as_str(), it.domain.as_str()));
            assert_eq!(found, expected, "{full}");
        }
    }

    #[test]
    fn an_empty_database_gets_every_default_once() {
        let mut database = Database::default();
        let report = configuration(&mut database, &name()).unwrap();
        assert_eq!(report.len(), SERVICES.len() + 2, "{report:?}");
        for property in TABLE.iter().filter(|it| !it.default.is_empty()) {
            let key = *property.homes.last().unwrap();
            let stored = property.stored(&database);
            let expected = SERVICES.contains(&key).then(|| (key, property.default.to_string()));
            assert_eq!(stored, expected, "{key} {}", property.name);
        }
        let scalars = (scalar(&database, "SystemName"), primary(&database));
        assert_eq!(scalars, (Some("mx".to_string()), Some("example.com".to_string())));
        let once = database.clone();
        assert_eq!(configuration(&mut database, &name()).unwrap(), [""; 0]);
        assert_eq!(database, once);
    }

    #[test]
    fn what_is_there_stays() {
        let text = "DomainName=other.example\nqpsmtpd=odd|Karma|enabled|MaxLoad||VirusScan|disabled\n\
                    sqpsmtpd=service|Instances|3\nmine=x\n";
        let mut database = Database::parse(text.as_bytes());
        configuration(&mut database, &name()).unwrap();
        let record = |key: &str| database.get(key.as_bytes()).unwrap();
        let value = |key: &str, name: &str| {
            let found = record(key).properties().get(name.as_bytes()).copied().flatten();
            found.map(|it| String::from_utf8(it.to_vec()).unwrap())
        };
        assert_eq!(record("qpsmtpd").kind(), Some(b"odd".as_slice()));
        for (key, name, expected) in [
            ("qpsmtpd", "Karma", Some("enabled")),
            ("qpsmtpd", "MaxLoad", Some("")),
            ("qpsmtpd", "KarmaNegative", Some("2")),
            ("qpsmtpd", "VirusScan", Some("disabled")),
            // Its first home has it already.
            ("smtpd", "VirusScan", None),
            ("smtpd", "Instances", Some("40")),
            ("ssmtpd", "Instances", None),
            ("ssmtpd", "status", Some("enabled")),
        ] {
            assert_eq!(value(key, name).as_deref(), expected, "{key} {name}");
        }
        assert_eq!(primary(&database).as_deref(), Some("other.example"));
        assert_eq!(record("mine").raw(), Some(b"x".as_slice()));
    }

    #[test]
    fn there_is_one_primary_domain() {
        let mut database = Database::default();
        assert_eq!(domains(&mut database, "a.example").unwrap(), ["domains: a.example is made"]);
        let raw = |database: &Database, key: &str| {
            String::from_utf8(database.get(key.as_bytes()).unwrap().raw().unwrap().to_vec())
                .unwrap()
        };
        let made = "domain|Description|Primary domain|SystemPrimaryDomain|yes";
        assert_eq!(raw(&database, "a.example"), made);
        assert_eq!(domains(&mut database, "a.example").unwrap(), [""; 0]);
        domains(&mut database, "b.example").unwrap();
        assert_eq!(raw(&database, "b.example"), "domain|Description|Primary domain");
        assert!(domains(&mut database, "").is_err());
    }
}
