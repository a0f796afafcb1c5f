//! Where a recipient's Maildir is: a root and a pattern that the address is put into.
//!
//! An address is foreign text and a path is not. Its parts are reduced to a small alphabet before
//! they come near a path, so that no recipient leads out of the root, into a hidden folder, or to
//! a name that the file system refuses.

use std::path::PathBuf;

/// Octets kept of a local part or domain.
const PART_MAX: usize = 200;

/// Octets of one step of a path; most file systems take no more.
const STEP_MAX: usize = 255;

/// One recipient as the delivery needs it.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// What stands before the last `@`, without quotes.
    pub local: &'a str,
    /// What stands behind it; empty for `postmaster` alone.
    pub domain: &'a str,
    /// The whole address, without brackets, for `Delivered-To:`.
    pub display: &'a str,
}

/// The arguments of the maildir plugin, checked: root folder, sub-folder pattern, mode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    root: PathBuf,
    /// The steps of the path below the root; none when all mail goes to the root itself.
    steps: Vec<Vec<Piece>>,
    mode: u32,
}

/// A bit of a sub-folder pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(char),
    Local,
    User,
    Domain,
}

impl Template {
    /// Reads `DIR [PATTERN] [MODE]`. In the pattern `%l` is the local part, `%n` the user it stands for
    /// (lower case, without `+` and what follows it), `%d` the domain, `%u` local part and domain with
    /// `@` between them, and `/` parts folders. The mode is three octal digits for the
    /// folders that are made (700 when missing); files get the same without the execute bits.
    ///
    /// # Errors
    /// A sentence that says which argument is wrong and why.
    pub fn parse(dir: &str, pattern: Option<&str>, mode: Option<&str>) -> Result<Self, String> {
        if dir.is_empty() || dir.chars().any(char::is_control) {
            return Err(format!("{dir:?} cannot be a Maildir"));
        }
        Ok(Self {
            root: PathBuf::from(dir),
            steps: pattern.map_or(Ok(Vec::new()), parse_pattern)?,
            mode: mode.map_or(Ok(0o700), parse_mode)?,
        })
    }

    /// The Maildir of one recipient: always the root or below it.
    pub(super) fn target(&self, recipient: &Recipient<'_>) -> PathBuf {
        let mut path = self.root.clone();
        if self.steps.is_empty() {
            return path;
        }
        let local = harmless(recipient.local.chars());
        let user = harmless(user(recipient.local).chars().map(|c| c.to_ascii_lowercase()));
        let domain = harmless(recipient.domain.chars().map(|c| c.to_ascii_lowercase()));
        for pieces in &self.steps {
            let mut step = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(c) => step.push(*c),
                    Piece::Local => step.push_str(&local),
                    Piece::User => step.push_str(&user),
                    Piece::Domain => step.push_str(&domain),
                }
            }
            // All of it is ASCII, so that a cut is never within a character.
            step.truncate(STEP_MAX);
            path.push(step);
        }
        path
    }

    /// The mode of folders that are made.
    pub(super) fn folder_mode(&self) -> u32 {
        self.mode
    }

    /// The mode of delivered files.
    pub(super) fn file_mode(&self) -> u32 {
        self.mode & 0o666
    }
}

/// Reads a sub-folder pattern into the steps of a path.
fn parse_pattern(pattern: &str) -> Result<Vec<Vec<Piece>>, String> {
    let mut steps = Vec::new();
    for step in pattern.split('/').filter(|step| !step.is_empty()) {
        if matches!(step, "." | "..") {
            return Err(format!("sub-folder pattern {pattern:?}: {step:?} leads elsewhere"));
        }
        let mut pieces = Vec::new();
        let mut chars = step.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match chars.next() {
                    Some('l') => pieces.push(Piece::Local),
                    Some('n') => pieces.push(Piece::User),
                    Some('d') => pieces.push(Piece::Domain),
                    Some('u') => pieces.extend([Piece::Local, Piece::Text('@'), Piece::Domain]),
                    _ => {
                        return Err(format!(
                            "sub-folder pattern {pattern:?}: only %l, %n, %d and %u stand for something"
                        ));
                    }
                },
                '@' => pieces.push(Piece::Text(c)),
                _ if is_harmless(c) => pieces.push(Piece::Text(c)),
                _ => return Err(format!("sub-folder pattern {pattern:?}: {c:?} is not allowed")),
            }
        }
        steps.push(pieces);
    }
    if steps.is_empty() {
        return Err(format!("sub-folder pattern {pattern:?} names no folder"));
    }
    Ok(steps)
}

/// The user that a local part stands for: the part before a `+`, unless nothing stands there.
fn user(local: &str) -> &str {
    match local.split_once('+') {
        Some((user, _)) if !user.is_empty() => user,
        _ => local,
    }
}

/// Reads a mode of three octal digits; a zero before them is allowed.
fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if octal && mode & 0o700 == 0o700 => Ok(mode),
        Ok(_) if octal => Err(format!("mode {text:?} locks out the daemon itself")),
        _ => Err(format!("mode {text:?} is not three octal digits")),
    }
}

/// A part of an address as it may stand in a path: unusual characters and dots at the start
/// become `_`, as does an empty part.
fn harmless(chars: impl Iterator<Item = char>) -> String {
    let mut part = String::new();
    let mut at_start = true;
    for c in chars.take(PART_MAX) {
        at_start &= c == '.';
        part.push(if is_harmless(c) && !at_start { c } else { '_' });
    }
    if part.is_empty() { "_".to_owned() } else { part }
}

/// The alphabet of paths made from addresses.
fn is_harmless(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '=' | '-')
}

/// Octets up to the first LF are a pattern, up to the next a local part, the rest a domain: the
/// path never leaves the root and each step is a plain name.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    use std::path::{Component, Path};
    let text = String::from_utf8_lossy(data);
    let mut fields = text.splitn(3, '\n');
    let mut field = || fields.next().unwrap_or_default();
    let (pattern, local, domain) = (field(), field(), field());
    for pattern in [pattern, "%d/%l", "%d/%n", ".%l", "..%u..", "%l%d"] {
        let Ok(template) = Template::parse("/root", Some(pattern), None) else { continue };
        let path = template.target(&Recipient { local, domain, display: "" });
        let below = path.strip_prefix("/root").unwrap_or(Path::new("/"));
        let steps: Vec<Component<'_>> = below.components().collect();
        assert_eq!(steps.len(), template.steps.len(), "{path:?}");
        for step in steps {
            assert!(matches!(step, Component::Normal(_)), "{path:?}");
            assert!(step.as_os_str().len() <= STEP_MAX, "{path:?}");
        }
        assert!(path.to_string_lossy().chars().all(|c| c.is_ascii_graphic()), "{path:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked() {
        let rows = [
            (("/m", None, None), "ok"),
            (("m", Some("%d/%l"), Some("0750")), "ok"),
            (("/m", Some("/%u/"), Some("770")), "ok"),
            (("/m", Some("users/%l.box"), None), "ok"),
            (("", None, None), "\"\" cannot be a Maildir"),
            (("/m\n", None, None), "\"/m\\n\" cannot be a Maildir"),
            (("/m", Some("../%l"), None), "leads elsewhere"),
            (("/m", Some("%l/."), None), "leads elsewhere"),
            (("/m", Some("%x"), None), "only %l, %n, %d and %u"),
            (("/m", Some("%l%"), None), "only %l, %n, %d and %u"),
            (("/m", Some("a b"), None), "' ' is not allowed"),
            (("/m", Some("/"), None), "names no folder"),
            (("/m", None, Some("77")), "is not three octal digits"),
            (("/m", None, Some("+77")), "is not three octal digits"),
            (("/m", None, Some("1700")), "is not three octal digits"),
            (("/m", None, Some("788")), "is not three octal digits"),
            (("/m", None, Some("077")), "locks out the daemon itself"),
        ];
        for ((dir, pattern, mode), expected) in rows {
            let seen = Template::parse(dir, pattern, mode).map_or_else(|e| e, |_| "ok".to_owned());
            assert!(seen.contains(expected), "{dir:?} {pattern:?} {mode:?}: {seen}");
        }
        let shared = Template::parse("/m", None, Some("0750")).unwrap();
        assert_eq!((shared.folder_mode(), shared.file_mode()), (0o750, 0o640));
    }

    #[test]
    fn addresses_stay_below_the_root() {
        let long = "x".repeat(300);
        let cut = format!("/m/example.com/{}", "x".repeat(200));
        let both = format!("/m/{}@{}", "x".repeat(200), "x".repeat(54));
        let rows = [
            ("%d/%l", "bob", "Example.COM", "/m/example.com/bob"),
            ("%u", "Bob", "Example.com", "/m/Bob@example.com"),
            (".%l", "bob", "", "/m/.bob"),
            ("%l", "bob+tag=1-2_3.4", "", "/m/bob+tag=1-2_3.4"),
            ("%d/%l", "../../etc/x", "..", "/m/__/___.._etc_x"),
            ("%d/%l", "..", "", "/m/_/__"),
            ("%d/%n", "Bob+Lists", "Example.com", "/m/example.com/bob"),
            ("%n", "+x", "", "/m/+x"),
            ("%n", "../+x", "", "/m/___"),
            ("%n", "", "", "/m/_"),
            ("%d/%l", "", ".", "/m/_/_"),
            ("%d/%l", "a\0b\nc/d", "[192.0.2.1]", "/m/_192.0.2.1_/a_b_c_d"),
            ("%l", "grüße", "", "/m/gr__e"),
            ("%d/%l", &long, "example.com", &cut),
            ("%u", &long, &long, &both),
        ];
        for (pattern, local, domain, expected) in rows {
            let template = Template::parse("/m", Some(pattern), None).unwrap();
            let path = template.target(&Recipient { local, domain, display: "" });
            assert_eq!(path.to_str(), Some(expected), "{pattern} {local:?} {domain:?}");
            fuzz(format!("{pattern}\n{local}\n{domain}").as_bytes());
        }
    }
}
