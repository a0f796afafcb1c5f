//! The lines of `attachment_deny`, and what files are judged by: name, type, first octets.

use crate::config::files::{Line, Problem, quote};
use std::collections::HashMap;

/// Lines of the list.
const RULES_MAX: usize = 2_000;

/// Octets of a name that are judged, from its end.
const NAME_MAX: usize = 512;

/// Octets that a magic number may have.
const MAGIC_MAX: usize = 32;

/// Beginnings that have a name, and what such a file is.
const MAGIC: &[(&str, &[u8], &str)] = &[
    ("7z", b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip"),
    ("cab", b"MSCF", "a cabinet archive"),
    ("chm", b"ITSF", "a help file with programs"),
    ("class", b"\xca\xfe\xba\xbe", "a program for Java or macOS"),
    ("elf", b"\x7fELF", "a program for Unix"),
    ("exe", b"MZ", "a program for Windows"),
    ("lnk", b"L\0\0\0\x01\x14\x02\0", "a shortcut of Windows"),
    ("macho", b"\xcf\xfa\xed\xfe", "a program for macOS"),
    ("ole", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an old Office"),
    ("rar", b"Rar!\x1a\x07", "an archive of RAR"),
    ("script", b"#!", "a script for Unix"),
    ("vhd", b"conectix", "the image of a disk"),
    ("vhdx", b"vhdxfile", "the image of a disk"),
];

/// What is refused.
#[derive(Debug, Default)]
pub(super) struct Rules {
    extensions: HashMap<String, String>,
    types: HashMap<String, String>,
    magic: Vec<(Vec<u8>, String)>,
    /// What is said of what is encrypted, and of what cannot be looked into; none where it passes.
    pub(super) encrypted: Option<String>,
    pub(super) unreadable: Option<String>,
}

impl Rules {
    /// Reads the list. What cannot be read is told and left out.
    pub(super) fn load(lines: &[Line], problems: &mut Vec<Problem>) -> Rules {
        let mut rules = Rules::default();
        for (number, line) in lines.iter().enumerate() {
            if number >= RULES_MAX {
                Problem::error(line, format!("there are more than {RULES_MAX} lines"))
                    .note(problems);
                break;
            }
            let (pattern, reason) = line.split_word();
            if !rules.add(&pattern.to_ascii_lowercase(), reason) {
                let what = format!(
                    "{} is neither .EXTENSION, TYPE/SUBTYPE, magic:NAME, encrypted nor unreadable",
                    quote(pattern)
                );
                Problem::error(line, what).note(problems);
            }
        }
        rules
    }

    fn add(&mut self, pattern: &str, reason: &str) -> bool {
        let because = |usual: String| if reason.is_empty() { usual } else { reason.to_string() };
        if pattern == "encrypted" {
            self.encrypted = Some(because("it is encrypted".to_string()));
        } else if pattern == "unreadable" {
            self.unreadable = Some(because("it cannot be looked into".to_string()));
        } else if let Some(name) = pattern.strip_prefix("magic:") {
            let known = MAGIC.iter().find(|(known, ..)| *known == name);
            let found = known.map(|(_, octets, words)| (octets.to_vec(), format!("it is {words}")));
            let in_hex = || {
                hex(name).map(|octets| (octets, "files of its kind are not accepted".to_string()))
            };
            let Some((octets, usual)) = found.or_else(in_hex) else { return false };
            self.magic.push((octets, because(usual)));
        } else if let Some(extension) = pattern.strip_prefix('.').filter(|it| !it.is_empty()) {
            let usual = format!("files with names in .{extension} are not accepted");
            self.extensions.insert(extension.to_string(), because(usual));
        } else if pattern.split('/').filter(|it| !it.is_empty()).count() == 2 {
            let usual = format!("files of type {pattern} are not accepted");
            self.types.insert(pattern.to_string(), because(usual));
        } else {
            return false;
        }
        true
    }

    /// Nothing is refused.
    pub(super) fn is_empty(&self) -> bool {
        self.extensions.is_empty()
            && self.types.is_empty()
            && self.magic.is_empty()
            && self.encrypted.is_none()
            && self.unreadable.is_none()
    }

    /// Why a file of this name is refused.
    pub(super) fn by_name(&self, name: &str) -> Option<&str> {
        extensions(name).iter().find_map(|it| self.extensions.get(it)).map(String::as_str)
    }

    /// Why a file of this type, in lower case, is refused.
    pub(super) fn by_type(&self, head: &str) -> Option<&str> {
        let main = head.split('/').next().unwrap_or_default();
        let any = || self.types.get(&format!("{main}/*"));
        self.types.get(head).or_else(any).map(String::as_str)
    }

    /// Why a file that begins so is refused.
    pub(super) fn by_magic(&self, head: &[u8]) -> Option<&str> {
        let found = self.magic.iter().find(|(octets, _)| head.starts_with(octets));
        found.map(|(_, reason)| reason.as_str())
    }
}

/// Octets written in hexadecimal: at least two.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let digits: Vec<u8> = text.as_bytes().iter().map(digit).collect::<Option<_>>()?;
    let fits = digits.len().is_multiple_of(2) && (4..=2 * MAGIC_MAX).contains(&digits.len());
    let pair = |it: &[u8]| it.iter().fold(0, |octet: u8, digit| octet << 4 | digit);
    fits.then(|| digits.chunks(2).map(pair).collect())
}

/// Every extension that a system could take a name to have, in lower case: what stands behind a NUL or a
/// colon may count or not, blanks and dots at the end do not, marks of writing direction that hide the
/// real end divide, and those without a width are not there.
pub(super) fn extensions(name: &str) -> Vec<String> {
    let from = name.char_indices().rev().map(|(at, _)| at).take(NAME_MAX).last().unwrap_or(0);
    let mut plain = String::new();
    for char in name.get(from..).unwrap_or(name).chars() {
        match char {
            '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => {}
            '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{ff0e}'
            | '\u{2024}' => plain.push('.'),
            char => plain.extend(char.to_lowercase()),
        }
    }
    let before = |mark: char| plain.split(mark).next().unwrap_or_default();
    let mut found: Vec<String> = Vec::new();
    for name in [plain.as_str(), before('\0'), before(':'), before(';'), before('?')] {
        let is_junk = |char: char| {
            char.is_whitespace()
                || char.is_control()
                || matches!(char, '.' | '"' | '\'' | '/' | '\\' | '>')
        };
        let Some((_, extension)) = name.trim_end_matches(is_junk).rsplit_once('.') else {
            continue;
        };
        let extension = extension.trim().to_string();
        // What Windows takes for the type is in braces.
        let extension = if extension.starts_with('{') { "{}".to_string() } else { extension };
        if !found.contains(&extension) {
            found.push(extension);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    fn rules(text: &str) -> (Rules, usize) {
        let files = Files::in_memory([("list".to_string(), text.to_string())]);
        let mut problems = Vec::new();
        let lines = files.lines("list", &mut problems);
        (Rules::load(&lines, &mut problems), problems.len())
    }

    #[test]
    fn names_by_every_reading() {
        let (rules, faults) = rules(".exe\n.{}");
        assert_eq!(faults, 0);
        for name in [
            "x.exe",
            "X.EXE",
            "x.exe.",
            "x.exe . ",
            "x.pdf\u{202e}exe.",
            "x.exe\0.txt",
            "x.e\u{200b}xe",
            "x.exe::$DATA",
            "x.exe:a.txt",
            "x.exe;1",
            "x\u{ff0e}exe",
            "a/x.exe",
            "x.pdf .exe",
            "x.exe\"",
            "x.{00021401-0000-0000-c000-000000000046}",
            "x. exe",
        ] {
            assert!(rules.by_name(name).is_some(), "{name:?}");
        }
        for name in ["x.txt", "exe", "x.exe.txt", "", ".", "x.exec"] {
            assert!(rules.by_name(name).is_none(), "{name:?}");
        }
        let long = format!("{}.exe", "a".repeat(100_000));
        assert!(rules.by_name(&long).is_some());
    }

    #[test]
    fn types_and_beginnings_and_reasons() {
        let (rules, faults) = rules(
            "application/x-bad No, thanks\nVideo/*\nmagic:exe\nmagic:feedface\nmagic:abc\nmagic:ab\nexe\n.\nencrypted",
        );
        assert_eq!(faults, 4);
        assert_eq!(rules.by_type("application/x-bad"), Some("No, thanks"));
        assert_eq!(rules.by_type("video/mp4"), Some("files of type video/* are not accepted"));
        assert_eq!(rules.by_type("text/plain"), None);
        assert_eq!(rules.by_magic(b"MZ\x90"), Some("it is a program for Windows"));
        assert!(rules.by_magic(b"\xfe\xed\xfa\xce").is_some());
        assert_eq!(rules.by_magic(b"M"), None);
        assert!(rules.encrypted.is_some() && rules.unreadable.is_none() && !rules.is_empty());
        assert!(Rules::default().is_empty());
    }
}
