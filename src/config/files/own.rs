//! Settings of single recipients: files in sub-folders of the config folder.
//!
//! `DOMAIN/USER/FILE` and `DOMAIN/FILE`, or `USER/FILE`. All of them are read when a configuration is
//! made, for nothing may be read while a client waits; so there is a bound to folders and to what they
//! hold of one setting. Only a file that is there is looked at: where there is none, the folder tells
//! when one appears, and a thousand users do not cost a stat for each file that they do not have.

use super::source::Kind;
use super::{Files, Line, Problem, Severity};
use crate::config::patterns::canonical;
use crate::limits::{CONFIG_FILE_MAX, OWN_FOLDERS_MAX};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Before the name of a setting: the setting as the folders have it.
pub(super) const MARK: &str = "*/";

impl Files {
    /// The folders that hold files, as [`key`] writes them, with where each is and its files' names.
    /// Two folders that differ in their spelling only, and more than there may be, are told of.
    pub fn own_folders(&self, problems: &mut Vec<Problem>) -> Vec<(String, Vec<String>)> {
        let mut folders = BTreeMap::new();
        let tops = self.list_in("", Kind::Folder);
        let subs = tops
            .iter()
            .flat_map(|top| self.folders(top).into_iter().map(move |sub| format!("{top}/{sub}")));
        for folder in tops.iter().cloned().chain(subs) {
            let names = self.names(&folder);
            if names.is_empty() {
                continue;
            }
            if folders.len() >= OWN_FOLDERS_MAX {
                let what = format!("there are more than {OWN_FOLDERS_MAX} folders of recipients");
                Problem::in_file(Severity::Error, &folder, what).note(problems);
                break;
            }
            folders.insert(folder, names);
        }
        let mut hasher = DefaultHasher::new();
        folders.hash(&mut hasher);
        self.note_digest(MARK, hasher.finish());
        folders.into_iter().collect()
    }

    /// The lines of a setting in each folder that has it.
    pub fn own_lines(&self, file: &str, problems: &mut Vec<Problem>) -> Vec<(String, Vec<Line>)> {
        let mut hasher = DefaultHasher::new();
        let (mut found, mut octets) = (Vec::new(), 0);
        // What is wrong with the folders is told by who asks for them.
        for (folder, names) in self.own_folders(&mut Vec::new()) {
            if !names.iter().any(|name| name == file) {
                continue;
            }
            let name = format!("{folder}/{file}");
            let lines = self.lines(&name, problems);
            octets += lines.iter().map(|line| line.text.len() as u64).sum::<u64>();
            if octets > CONFIG_FILE_MAX {
                let what = format!(
                    "with the same setting of other recipients it comes to more than \
                     {CONFIG_FILE_MAX} octets"
                );
                Problem::in_file(Severity::Error, &name, what).note(problems);
                break;
            }
            (&folder, self.digest(&name)).hash(&mut hasher);
            found.push((folder, lines));
        }
        self.note_digest(&format!("{MARK}{file}"), hasher.finish());
        found
    }
}

/// The one spelling of a folder, `DOMAIN`, `USER` or `DOMAIN/USER`: lower case, the first part in
/// A-labels. None where a part could lead elsewhere: it is empty, begins with a dot, or holds a slash.
pub fn key(parts: &[&str]) -> Option<String> {
    let is_plain = |part: &&str| !part.is_empty() && !part.starts_with('.') && !part.contains('/');
    let (first, rest) = parts.split_first()?;
    if !parts.iter().all(is_plain) {
        return None;
    }
    let mut key = canonical(first);
    for part in rest {
        key.push('/');
        key.push_str(&part.to_ascii_lowercase());
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::super::Reading;
    use super::*;
    use std::fs;

    const FILES: [(&str, &str); 8] = [
        ("whitelistsenders", "all@x.example"),
        ("peers/0", "rcpt_ok"),
        ("Example.com/whitelistsenders", "domain@x.example"),
        ("Example.com/Joe/whitelistsenders", "joe@x.example\n# a word\n$include more"),
        ("Example.com/Joe/bcc", "mode off"),
        ("Example.com/Joe/deeper/whitelistsenders", "nobody@x.example"),
        ("ann/whitelistsenders", "ann@x.example"),
        (".hidden/whitelistsenders", "hidden@x.example"),
    ];

    fn in_memory(files: &[(&str, &str)]) -> Files {
        Files::in_memory(files.iter().map(|(name, text)| (name.to_string(), text.to_string())))
    }

    /// On disk below a temporary folder, which is removed with the value.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str, files: &[(&str, &str)]) -> Folder {
            let name = format!("mailreeve-own-{name}-{}", std::process::id());
            let folder = Folder(std::env::temp_dir().join(name));
            for (name, text) in files {
                let path = folder.0.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            folder
        }

        fn files(&self) -> Files {
            Files::on_disk(vec![self.0.clone()])
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn settings_of_recipients_are_found() {
        let mut all = FILES.to_vec();
        all.push(("more", "late@x.example"));
        let folder = Folder::new("found", &all);
        for files in [in_memory(&all), folder.files()] {
            let mut problems = Vec::new();
            let folders = files.own_folders(&mut problems);
            let names: Vec<_> = folders.iter().map(|(folder, _)| folder.as_str()).collect();
            assert_eq!(names, ["Example.com", "Example.com/Joe", "ann", "peers"]);
            assert_eq!(folders[1].1, ["bcc", "whitelistsenders"]);
            let own = files.own_lines("whitelistsenders", &mut problems);
            let shown = own.iter().map(|(folder, lines)| {
                let lines = lines.iter().map(|it| format!("{}:{} {}", it.file, it.number, it.text));
                (
                    folder.as_str(),
                    lines.map(|it| it.rsplit('/').next().unwrap().to_string()).collect(),
                )
            });
            let shown: Vec<(_, Vec<_>)> = shown.collect();
            let expected = [
                ("Example.com", vec!["whitelistsenders:1 domain@x.example"]),
                (
                    "Example.com/Joe",
                    vec!["whitelistsenders:1 joe@x.example", "more:1 late@x.example"],
                ),
                ("ann", vec!["whitelistsenders:1 ann@x.example"]),
            ]
            .map(|(folder, lines)| (folder, lines.into_iter().map(String::from).collect()));
            assert_eq!(shown, expected);
            assert_eq!(files.own_lines("nothing", &mut problems), []);
            assert!(problems.is_empty(), "{problems:?}");
        }
    }

    #[test]
    fn changes_are_seen() {
        let digests = |files: &Files| {
            let lines = |file: &str| Reading::OwnLines(file.to_string());
            [Reading::OwnFolders, lines("whitelistsenders"), lines("bcc")]
                .map(|reading| files.read_again(&reading, &mut Vec::new()))
        };
        let base = digests(&in_memory(&FILES));
        for (name, text, changed) in [
            ("whitelistsenders", "other@x.example", [false, false, false]),
            ("ann/whitelistsenders", "other@x.example", [false, true, false]),
            ("bob/whitelistsenders", "bob@x.example", [true, true, false]),
            ("Example.com/bcc", "mode cc", [true, false, true]),
        ] {
            let mut files = FILES.to_vec();
            files.retain(|(known, _)| *known != name);
            files.push((name, text));
            let now = digests(&in_memory(&files));
            let seen: Vec<bool> = base.iter().zip(now).map(|(a, b)| *a != b).collect();
            assert_eq!(seen, changed, "{name}");
        }
        // On disk a file that appears where none was is seen by its folder.
        let folder = Folder::new("changes", &FILES);
        let files = folder.files();
        files.own_lines("bcc", &mut Vec::new());
        let stamps = files.stamps();
        assert!(!stamps.iter().any(|stamp| stamp.path().ends_with("ann/bcc")));
        assert!(!stamps.iter().any(super::super::Stamp::changed));
        fs::write(folder.0.join("ann/bcc"), "mode cc").unwrap();
        assert!(stamps.iter().any(super::super::Stamp::changed));
    }

    #[test]
    fn there_are_bounds() {
        let many: Vec<String> = (0..=OWN_FOLDERS_MAX).map(|n| format!("u{n:05}/bcc")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
        let files = in_memory(&many);
        let mut problems = Vec::new();
        assert_eq!(files.own_folders(&mut problems).len(), OWN_FOLDERS_MAX);
        let what = format!("there are more than {OWN_FOLDERS_MAX} folders of recipients");
        assert_eq!(problems[0].to_string(), format!("u{OWN_FOLDERS_MAX:05}: {what}"));

        let line = format!("{}\n", "x".repeat(1_023));
        let large = line.repeat(9 * 1_024);
        let files = in_memory(&[("a/bcc", &large), ("b/bcc", &large), ("c/bcc", "x")]);
        let mut problems = Vec::new();
        assert_eq!(files.own_lines("bcc", &mut problems).len(), 1);
        assert!(
            problems[0].to_string().starts_with("b/bcc: with the same setting"),
            "{problems:?}"
        );
    }

    #[test]
    fn folders_have_one_spelling_and_stay_where_they_are() {
        for (parts, expected) in [
            (&["Example.COM", "Joe"][..], Some("example.com/joe")),
            (&["Example.COM"], Some("example.com")),
            (&["b\u{fc}cher.example", "Ann"], Some("xn--bcher-kva.example/ann")),
            (&["example.com", ""], None),
            (&["example.com", ".."], None),
            (&["example.com", ".hidden"], None),
            (&["example.com", "../ann"], None),
            (&["example.com", "a/b"], None),
            (&["example.com/joe"], None),
            (&["", "joe"], None),
            (&["..", "joe"], None),
            (&[], None),
        ] {
            assert_eq!(key(parts).as_deref(), expected, "{parts:?}");
        }
    }
}
