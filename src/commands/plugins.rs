//! `mailreeve plugins`: the table of all plugins, or the manual of one.
//!
//! Both are made of the header that each plugin's source file begins with, so that there is one
//! text to keep right. Names of earlier times lead to the plugin that they stand for now.

use crate::commands::{DONE, USAGE, complain, print};
use crate::plugins::{Entry, Kind, REGISTRY, find, manual};

/// Columns of the table's lines.
const WIDTH: usize = 96;

/// Names that are offered in the place of one that nobody knows.
const OFFERS_MAX: usize = 5;

/// Letters of a name that are looked at when others like it are sought.
const NAME_MAX: usize = 64;

/// Prints the table, or the manual of the plugin `name`, and gives the exit code: 2 where nobody
/// knows the name.
pub(super) fn run(name: Option<&str>) -> u8 {
    match name.map(page) {
        None => print(&table(REGISTRY)),
        Some(Ok(text)) => print(&text),
        Some(Err(text)) => {
            complain(&text);
            return USAGE;
        }
    }
    DONE
}

/// One plugin or logger a line, then what is not built.
fn table(registry: &[Entry]) -> String {
    let name_width = registry.iter().map(|entry| entry.name.len()).max().unwrap_or_default() + 2;
    let mut text = String::new();
    let mut gone = String::new();
    for entry in registry {
        match entry.kind {
            Kind::Gone(why) => row(&mut gone, entry.name, why, name_width),
            Kind::Plugin(_) | Kind::Logger(_) | Kind::Peers | Kind::Tls => {
                let mut what = summary(entry.name, manual(entry).unwrap_or_default());
                if !entry.aliases.is_empty() {
                    what.push_str(&format!(" ({})", entry.aliases.join(", ")));
                }
                row(&mut text, entry.name, &what, name_width);
            }
        }
    }
    text.push_str(
        "\nIn parentheses: names that are understood too. `mailreeve plugins NAME` tells all.\n",
    );
    if !gone.is_empty() {
        text.push_str("\nNot built; lines that name these are skipped with a warning:\n\n");
        text.push_str(&gone);
    }
    text
}

/// Appends a name and what there is to say about it, in lines of `WIDTH` columns.
fn row(text: &mut String, name: &str, what: &str, name_width: usize) {
    text.push_str(&format!("{name:<name_width$}"));
    let mut column = name_width;
    for word in what.split_whitespace() {
        let width = word.chars().count();
        if column > name_width {
            if column + 1 + width > WIDTH {
                text.push('\n');
                text.push_str(&" ".repeat(name_width));
                column = name_width;
            } else {
                text.push(' ');
                column += 1;
            }
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

/// The first sentence of a header, without the plugin's name if it begins with that.
fn summary(name: &str, header: &str) -> String {
    let paragraph: Vec<&str> = header.lines().take_while(|line| !line.trim().is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let ends = paragraph.match_indices(". ").map(|(at, _)| at + 1);
    // A full stop that no capital letter follows belongs to an abbreviation or a number.
    let mut ends = ends.filter(|end| {
        let behind = paragraph.get(*end..).unwrap_or_default().trim_start();
        behind.starts_with(|c: char| c.is_uppercase() || c == '`')
    });
    let sentence = ends.next().and_then(|end| paragraph.get(..end)).unwrap_or(&paragraph);
    let sentence = sentence.strip_prefix(&format!("`{name}`: ")).unwrap_or(sentence);
    sentence.trim_end_matches([':', '.']).to_string()
}

/// The manual of one plugin, or in words that there is none.
fn page(name: &str) -> Result<String, String> {
    // Log lines write queue::maildir for queue/maildir.
    let Some(entry) = find(name).or_else(|| find(&name.replace("::", "/"))) else {
        return Err(unknown(name));
    };
    let mut text = entry.name.to_string();
    if !entry.aliases.is_empty() {
        text.push_str(&format!(" (also called {})", entry.aliases.join(", ")));
    }
    text.push_str("\n\n");
    match entry.kind {
        Kind::Gone(why) => text.push_str(&format!("Not built: {why}\n")),
        Kind::Plugin(_) | Kind::Logger(_) | Kind::Peers | Kind::Tls => {
            text.push_str(manual(entry).unwrap_or_default());
        }
    }
    Ok(text)
}

fn unknown(name: &str) -> String {
    let shown: String = name.escape_debug().take(NAME_MAX).collect();
    let mut text = format!("mailreeve plugins: there is no plugin called '{shown}'\n");
    let offers = like(name);
    if !offers.is_empty() {
        text.push_str(&format!("Did you mean {}?\n", offers.join(", ")));
    }
    text
}

/// Names like this one, the nearest first.
fn like(name: &str) -> Vec<&'static str> {
    let wanted: String = name.to_ascii_lowercase().chars().take(NAME_MAX).collect();
    let names = REGISTRY
        .iter()
        .flat_map(|entry| [entry.name].into_iter().chain(entry.aliases.iter().copied()));
    let mut found: Vec<(usize, &str)> = names
        .filter_map(|known| {
            let distance = distance(&wanted, known);
            let is_part = wanted.len() > 2 && (known.contains(&wanted) || wanted.contains(known));
            (is_part || distance <= wanted.len() / 3).then_some((distance, known))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, known)| known).take(OFFERS_MAX).collect()
}

/// How many letters have to be put in, taken out or replaced to make one of the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (number, letter) in from.chars().enumerate() {
        let mut next = vec![number + 1];
        for (((above, beside), other), left) in row.iter().zip(row.iter().skip(1)).zip(&to).zip(0..)
        {
            let replaced = above + usize::from(letter != *other);
            let shorter = next.get(left).copied().unwrap_or_default().min(*beside) + 1;
            next.push(replaced.min(shorter));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_plugin_with_its_summary() {
        let text = table(REGISTRY);
        for entry in REGISTRY {
            assert!(text.lines().any(|line| line.starts_with(entry.name)), "{}", entry.name);
            if !matches!(entry.kind, Kind::Gone(_)) {
                let summary = summary(entry.name, manual(entry).unwrap_or_default());
                assert!((10..=200).contains(&summary.len()), "{}: {summary}", entry.name);
            }
        }
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("check_basicheaders"));
    }

    #[test]
    fn what_is_not_built_has_its_own_part() {
        let kind = Kind::Gone("the core answers HELP");
        let gone = Entry { name: "help", aliases: &[], kind, reputation: false };
        let text = table(&[gone]);
        let (_, part) = text.split_once("Not built").expect("the part");
        assert!(part.contains("\nhelp  the core answers HELP\n"), "{text}");
        assert!(!table(&[]).contains("Not built"));
    }

    #[test]
    fn summaries_are_first_sentences() {
        for (header, expected) in [
            ("One. Two.\nThree.", "One"),
            ("One goes\non, e.g. here. Two", "One goes on, e.g. here"),
            ("As qpsmtpd 0.96 does\n\nMore. Text", "As qpsmtpd 0.96 does"),
            ("`x/y`: what it does:\n\n```text", "what it does"),
            ("Only this.", "Only this"),
            ("Reads `a.b`. `c` is more", "Reads `a.b`"),
            ("", ""),
        ] {
            assert_eq!(summary("x/y", header), expected, "{header:?}");
        }
    }

    #[test]
    fn pages_are_found_by_every_name() {
        for name in ["headers", "check_basicheaders"] {
            let text = page(name).expect("a page");
            assert!(text.starts_with("headers (also called check_basicheaders)\n\n"), "{text}");
            assert!(text.contains("\nArguments:\n"), "{text}");
        }
        assert!(page("queue::maildir").expect("a page").starts_with("queue/maildir"));
        for (name, offer) in [
            ("header", Some("headers")),
            ("badmailform", Some("badmailfrom")),
            ("Relay", Some("relay")),
            ("maildirs", Some("maildir")),
            ("zzz", None),
            ("", None),
            ("\x1b[2J", None),
        ] {
            let text = page(name).expect_err("no page");
            assert!(text.starts_with("mailreeve plugins: there is no plugin called '"), "{text}");
            assert_eq!(like(name).first().copied(), offer, "{name}");
            assert_eq!(text.contains("Did you mean"), offer.is_some());
            assert!(!text.contains('\x1b'));
        }
    }

    #[test]
    fn distances() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 2),
            ("abc", "abxc", 1),
            ("relay", "realy", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
