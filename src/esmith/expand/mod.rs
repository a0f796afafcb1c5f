//! Databases in, config files out: what SME Server's templates do for its mail daemon.
//!
//! Each file is made of fragments, numbered as SME Server numbers them and merged with those that an
//! admin has put below `templates-custom`: one of the same name takes a fragment's place, an empty one
//! removes it, others fall where their name puts them. Fragments there are plain text; one with Perl in
//! it is named and left out.

mod lists;
mod networks;
mod peers;
mod recipients;
mod settings;

use crate::esmith::database::Database;
use std::collections::BTreeMap;

pub use self::lists::migrated;
pub use self::networks::links;
pub use self::settings::spamassassin;

/// The databases that say something about mail.
#[derive(Debug, Default)]
pub struct Sources {
    /// Services and single values.
    pub configuration: Database,
    /// Domains of this server.
    pub domains: Database,
    /// Users, groups, pseudonyms, lists.
    pub accounts: Database,
    /// Local networks.
    pub networks: Database,
    /// SpamAssassin's white and black lists.
    pub spamassassin: Database,
    /// What attachments begin with that nobody should send.
    pub mailpatterns: Database,
    /// White and black lists of the contrib of that name.
    pub wbl: Database,
}

/// Fragments of an admin, by the file that they are for (`peers/0`), each with its name.
pub type Custom = BTreeMap<String, Vec<(String, Vec<u8>)>>;

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// Files of the config folder: name and text.
    pub files: BTreeMap<String, String>,
    /// What was not done as it was asked for, in words.
    pub warnings: Vec<String>,
}

/// A piece of a file, before it is merged with those of an admin.
struct Fragment {
    /// Its number and name.
    name: &'static str,
    /// What it was called on SME Server 8: an admin's fragment of that name takes its place too.
    older: &'static [&'static str],
    /// Its lines.
    text: String,
}

impl Fragment {
    fn new(name: &'static str, text: impl Into<String>) -> Fragment {
        Fragment { name, older: &[], text: text.into() }
    }
}

/// On top of each file.
pub const BANNER: &str = "\
# Written by `mailreeve event` from SME Server's databases: a change made here is lost. Use `db`, or a
# fragment below /etc/e-smith/templates-custom.
";

/// The file that holds a password: only the daemon may read it, and no diff shows it.
pub const SECRET: &str = "smtpauth";

/// The file that is made where there is none, and stays as it is where an admin wrote one.
pub const FIRST: &str = "user";

/// Makes all files. `is_known` says whether there is a plugin of a name: a line for one that this version
/// does not have would keep the daemon from starting.
#[must_use]
pub fn expand(sources: &Sources, custom: &Custom, is_known: &dyn Fn(&str) -> bool) -> Expansion {
    let mut warnings = Vec::new();
    let mut pieces: BTreeMap<String, Vec<Fragment>> = BTreeMap::new();
    for (name, fragments) in settings::files(sources, &mut warnings)
        .into_iter()
        .chain(recipients::files(sources, &mut warnings))
        .chain(networks::files(sources, &mut warnings))
        .chain(lists::files(sources, &mut warnings))
        .chain(peers::files(sources, is_known, &mut warnings))
    {
        pieces.entry(name.to_string()).or_default().extend(fragments);
    }
    for name in custom.keys() {
        pieces.entry(name.clone()).or_default();
    }
    let mut files = BTreeMap::new();
    for (name, fragments) in pieces {
        let own = custom.get(&name).map_or(&[][..], Vec::as_slice);
        let text = merge(&name, &fragments, own, &mut warnings);
        files.insert(name, text);
    }
    let mut said = std::collections::BTreeSet::new();
    warnings.retain(|warning| said.insert(warning.clone()));
    Expansion { files, warnings }
}

/// Fragments in the order of their names, `template-begin` first and `template-end` last.
fn merge(
    file: &str,
    fragments: &[Fragment],
    custom: &[(String, Vec<u8>)],
    warnings: &mut Vec<String>,
) -> String {
    let mut all: BTreeMap<(u8, &str), String> = BTreeMap::new();
    for fragment in fragments {
        all.entry(place(fragment.name)).or_default().push_str(&fragment.text);
    }
    for (name, octets) in custom {
        match plain(octets) {
            None => {
                warnings.push(format!("templates-custom {file}/{name}: has Perl in it, left out"));
            }
            Some(text) => {
                let taken = fragments.iter().find(|it| it.older.contains(&name.as_str()));
                let name = taken.map_or(name.as_str(), |fragment| fragment.name);
                all.insert(place(name), text);
            }
        }
    }
    let mut text = BANNER.to_string();
    for ((_, name), lines) in all {
        if lines.trim().is_empty() {
            continue;
        }
        text.push_str(&format!("# {name}\n{}\n", lines.trim_end_matches('\n')));
    }
    text
}

fn place(name: &str) -> (u8, &str) {
    match name {
        "template-begin" => (0, name),
        "template-end" => (2, name),
        _ => (1, name),
    }
}

/// The text of a fragment, `\{` and `\}` as braces; `None` where a brace begins Perl.
fn plain(octets: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(octets);
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, characters.peek()) {
            ('\\', Some('{' | '}')) => plain.extend(characters.next()),
            ('{', _) => return None,
            _ => plain.push(c),
        }
    }
    Some(plain)
}

/// Each on a line of its own.
fn lines(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().map(|item| item + "\n").collect()
}

/// The domains that are ours, in order.
fn domains(sources: &Sources) -> Vec<String> {
    let ours = sources.domains.records().filter(|(_, record)| record.kind() == Some(b"domain"));
    ours.filter_map(|(key, _)| word(key)).collect()
}

/// A key or value that can stand in a list: lower case, without white space.
fn word(octets: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(octets).to_ascii_lowercase();
    let is_word = !text.is_empty()
        && !text.starts_with(['#', '$'])
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    is_word.then_some(text)
}

#[cfg(test)]
mod tests;
