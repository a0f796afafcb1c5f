//! One record's value: a type, and properties with their values, all between bars.
//!
//! A bar after a backslash parts nothing. Nobody writes such a bar, yet files have them, so they stay
//! as they are. What would come back as another record than was meant is refused: the original wrote
//! it, and the next change then made new properties of the pieces.

use std::collections::BTreeMap;
use std::fmt;

/// What parts type, properties and values.
const BAR: u8 = b'|';

/// The value of one key. It may have none at all: a line without `=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    raw: Option<Vec<u8>>,
}

/// Properties by name, in order of octets. A name at the end of a record has no value.
pub type Properties<'a> = BTreeMap<&'a [u8], Option<&'a [u8]>>;

/// What cannot be stored, because it would be read as something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A type, name or value with a bar.
    Bar(Vec<u8>),
    /// A type, name or value that ends in a backslash, which would hide the bar behind it.
    Backslash(Vec<u8>),
    /// A key that is empty or looks like a comment, or has a `=` or a line end.
    Key(Vec<u8>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, why) = match self {
            Refusal::Bar(text) => (text, "has a `|`, which would part it into other properties"),
            Refusal::Backslash(text) => {
                (text, "ends in a backslash, which would join it with what follows")
            }
            Refusal::Key(text) => {
                (text, "is no key: it is empty, begins with `#`, or has a `=` or a line end")
            }
        };
        write!(to, "'{}' {why}; nothing was stored", text.escape_ascii())
    }
}

impl Record {
    /// A record as it stands behind its key's `=`, line ends decoded.
    #[must_use]
    pub fn from_raw(raw: Option<Vec<u8>>) -> Record {
        Record { raw }
    }

    /// A new record.
    ///
    /// # Errors
    ///
    /// Text that would come back as something else.
    pub fn new(kind: &[u8], properties: &[(&[u8], &[u8])]) -> Result<Record, Refusal> {
        Record::default().with_kind(kind)?.with_properties(properties)
    }

    /// All of it, as stored; `None` where the line had no `=`.
    #[must_use]
    pub fn raw(&self) -> Option<&[u8]> {
        self.raw.as_deref()
    }

    /// Its type, which is all of the value where it has no properties; `None` where that is empty.
    #[must_use]
    pub fn kind(&self) -> Option<&[u8]> {
        self.fields().next().filter(|kind| !kind.is_empty())
    }

    /// Its properties. Of two of one name the last counts.
    #[must_use]
    pub fn properties(&self) -> Properties<'_> {
        let mut fields = self.fields().skip(1);
        let mut found = Properties::new();
        while let Some(name) = fields.next() {
            found.insert(name, fields.next());
        }
        found
    }

    /// The same record with another type.
    ///
    /// # Errors
    ///
    /// Text that would come back as something else.
    pub fn with_kind(&self, kind: &[u8]) -> Result<Record, Refusal> {
        check_new(kind)?;
        compose(kind, &self.properties())
    }

    /// The same record with some properties added or changed.
    ///
    /// # Errors
    ///
    /// Text that would come back as something else.
    pub fn with_properties(&self, changed: &[(&[u8], &[u8])]) -> Result<Record, Refusal> {
        let mut properties = self.properties();
        for (name, value) in changed {
            check_new(name)?;
            check_new(value)?;
            properties.insert(name, Some(value));
        }
        compose(self.kind().unwrap_or_default(), &properties)
    }

    /// The same record without some properties. Names that it does not have change nothing.
    ///
    /// # Errors
    ///
    /// A part of the record as it was that may stand only at the end and would no longer.
    pub fn without(&self, names: &[&[u8]]) -> Result<Record, Refusal> {
        let mut properties = self.properties();
        let before = properties.len();
        properties.retain(|name, _| !names.contains(name));
        if properties.len() == before {
            return Ok(self.clone());
        }
        compose(self.kind().unwrap_or_default(), &properties)
    }

    fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let mut before = 0;
        self.raw.as_deref().into_iter().flat_map(move |raw| {
            raw.split(move |octet| {
                let parts = *octet == BAR && before != b'\\';
                before = *octet;
                parts
            })
        })
    }
}

/// Text that a person wants to store. Even a bar behind a backslash is refused: who writes it expects
/// it to come back as a bar alone, and it would not.
fn check_new(text: &[u8]) -> Result<(), Refusal> {
    if text.contains(&BAR) {
        return Err(Refusal::Bar(text.to_vec()));
    }
    Ok(())
}

/// Properties are stored in the order of their names, without white space around the whole.
fn compose(kind: &[u8], properties: &Properties<'_>) -> Result<Record, Refusal> {
    let fields = properties.iter().flat_map(|(name, value)| [*name, value.unwrap_or_default()]);
    let fields: Vec<&[u8]> = std::iter::once(kind).chain(fields).collect();
    if let Some(open) = fields.iter().find(|field| field.ends_with(b"\\")) {
        return Err(Refusal::Backslash(open.to_vec()));
    }
    Ok(Record { raw: Some(trim(&fields.join(&BAR)).to_vec()) })
}

/// The text without white space around it.
#[must_use]
pub fn trim(text: &[u8]) -> &[u8] {
    // Vertical tabs are white space to Perl, and to the files.
    let is_blank = |octet: &u8| octet.is_ascii_whitespace() || *octet == b'\x0b';
    let start = text.iter().position(|octet| !is_blank(octet)).unwrap_or(text.len());
    let end = text.iter().rposition(|octet| !is_blank(octet)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(raw: &str) -> Record {
        Record::from_raw(Some(raw.as_bytes().to_vec()))
    }

    fn shown(record: &Record) -> String {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let kind = record.kind().map_or("-".to_string(), text);
        record.properties().into_iter().fold(kind, |shown, (name, value)| {
            format!("{shown} {}={}", text(name), value.map_or("-".to_string(), text))
        })
    }

    #[test]
    fn values_are_read() {
        for (raw, expected) in [
            ("service|access|public|status|enabled", "service access=public status=enabled"),
            ("value1", "value1"),
            ("", "-"),
            ("|p|v", "- p=v"),
            ("domain|MailServer|", "domain MailServer="),
            ("t|p", "t p=-"),
            ("t|", "t =-"),
            ("t|b|1|a|2|b|3", "t a=2 b=3"),
            ("t|p|a\\|b|q|c", "t p=a\\|b q=c"),
            ("t|p|a=b", "t p=a=b"),
            ("t|p|v\r", "t p=v\r"),
        ] {
            assert_eq!(shown(&record(raw)), expected, "{raw}");
        }
        assert_eq!(shown(&Record::from_raw(None)), "-");
        assert_eq!(Record::from_raw(None).raw(), None);
    }

    #[test]
    fn values_are_made_in_order_and_trimmed() {
        let made = |kind: &str, properties: &[(&str, &str)]| {
            let octets: Vec<(&[u8], &[u8])> = properties
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
                .collect();
            let raw = Record::new(kind.as_bytes(), &octets).unwrap().raw.unwrap();
            String::from_utf8(raw).unwrap()
        };
        assert_eq!(
            made("service", &[("status", "on"), ("access", "x")]),
            "service|access|x|status|on"
        );
        assert_eq!(made("t", &[("b", "1"), ("_", "2"), ("B", "3")]), "t|B|3|_|2|b|1");
        assert_eq!(
            made("domain", &[("MailServer", ""), ("Desc", "has space = eq")]),
            "domain|Desc|has space = eq|MailServer|"
        );
        assert_eq!(made(" value1\t", &[]), "value1");
        assert_eq!(made("t", &[("p", " v \x0b")]), "t|p| v");
    }

    #[test]
    fn changes() {
        let odd = record("t|q|a\\|b|p");
        let changed = odd.with_properties(&[(b"r", b"1"), (b"q2", b"")]).unwrap();
        assert_eq!(changed, record("t|p||q|a\\|b|q2||r|1"));
        assert_eq!(odd.without(&[b"none"]).unwrap(), odd, "untouched, so not rearranged");
        assert_eq!(odd.without(&[b"p", b"none"]).unwrap(), record("t|q|a\\|b"));
        assert_eq!(odd.with_kind(b"u").unwrap(), record("u|p||q|a\\|b"));
    }

    #[test]
    fn what_would_come_back_as_another_record_is_refused() {
        let whole = record("t|p|v");
        let bar = |text: &[u8]| Err(Refusal::Bar(text.to_vec()));
        let backslash = |text: &[u8]| Err(Refusal::Backslash(text.to_vec()));
        assert_eq!(whole.with_properties(&[(b"p", b"a|b|c")]), bar(b"a|b|c"));
        assert_eq!(whole.with_properties(&[(b"p", b"a\\|b")]), bar(b"a\\|b"));
        assert_eq!(whole.with_properties(&[(b"a|b", b"1")]), bar(b"a|b"));
        assert_eq!(whole.with_kind(b"t|q"), bar(b"t|q"));
        assert_eq!(whole.with_properties(&[(b"p", b"C:\\")]), backslash(b"C:\\"));
        assert_eq!(record("t|p|C:\\").with_properties(&[(b"q", b"1")]), backslash(b"C:\\"));
    }
}
