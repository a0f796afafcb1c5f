//! What is set about TLS: certificates with their keys, and how they are offered.
//!
//! `tls_cert` and `tls_key` name PEM files; without them the line `tls CERT KEY CA [DHPARAM]` of
//! qpsmtpd in a list of plugins does. A folder `tls_certs` with `NAME.crt` and `NAME.key` adds
//! certificates for other names (SNI). Files are read here with everything else, so that a change of
//! one is seen; whether a certificate is good, and fits its key, is judged by who speaks TLS.

mod words;

use crate::config::files::{Files, Foreign, Line, Problem, Severity, quote};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

pub use words::{Protocol, Protocols};

/// What qpsmtpd looks for where its line `tls` names nothing.
const USUAL: [&str; 4] = [
    "ssl/qpsmtpd-server.crt",
    "ssl/qpsmtpd-server.key",
    "ssl/qpsmtpd-ca.crt",
    "ssl/qpsmtpd-dhparam.pem",
];

/// Certificates for other names that are read.
const NAMES_MAX: usize = 1_000;

/// One certificate chain with its key, as read.
#[derive(Clone)]
pub struct Pair {
    /// Where the certificate was named, for messages.
    pub named: Line,
    /// The path of the certificate.
    pub certificate_path: String,
    /// PEM: the certificate, and what signed it.
    pub certificate: Arc<[u8]>,
    /// The path of the key.
    pub key_path: String,
    /// PEM: the key. Overwritten when the last snapshot that holds it goes.
    pub key: Arc<Zeroizing<Vec<u8>>>,
    /// The pair as it was last read whole, where a part of this one could not be read and is of then:
    /// in its place where the two parts do not belong together.
    pub before: Option<Arc<Pair>>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({}, {})", self.certificate_path, self.key_path)
    }
}

/// The settings of TLS.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Shown to who asks for no name, or for one that nobody knows. None: TLS is not offered.
    pub default: Option<Pair>,
    /// Certificates by the name that clients ask for, lower case.
    pub named: Vec<(String, Pair)>,
    /// Client certificates are asked for, and those that these sign are believed (PEM).
    pub client_ca: Option<(Line, Arc<[u8]>)>,
    /// Session tickets are given out on port 25 too.
    pub tickets: bool,
    /// AUTH is offered under TLS only.
    pub before_auth: bool,
    /// Protocols that are offered.
    pub protocols: Protocols,
    /// Cipher suites that are offered, by their IANA names; empty is all that there are.
    pub suites: Vec<&'static str>,
}

impl Tls {
    /// Reads the settings. `earlier` is the snapshot before: what only root can read is taken over
    /// from it, since the daemon has become another user meanwhile.
    pub fn load(files: &Files, earlier: Option<&Tls>, problems: &mut Vec<Problem>) -> Tls {
        let mut reader = Reader { files, earlier, problems };
        let default = reader.default_pair();
        let named = reader.named_pairs();
        let client_ca = reader.client_ca();
        Tls {
            default,
            named,
            client_ca,
            tickets: switch(files, "tls_tickets", false, problems),
            before_auth: switch(files, "tls_before_auth", true, problems),
            protocols: words::protocols(files.scalar("tls_protocols", problems), problems),
            suites: words::suites(files.scalar("tls_ciphers", problems), problems),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.default.iter().chain(self.named.iter().map(|(_, pair)| pair))
    }
}

struct Reader<'a> {
    files: &'a Files,
    earlier: Option<&'a Tls>,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn default_pair(&mut self) -> Option<Pair> {
        let certificate = self.files.scalar("tls_cert", self.problems);
        let key = self.files.scalar("tls_key", self.problems);
        match (certificate, key) {
            (Some(certificate), key) => {
                // One file may hold both.
                let key_path = key.map_or_else(|| certificate.text.clone(), |key| key.text);
                let path = certificate.text.clone();
                self.foreign_pair(&certificate, (&path, &key_path), Severity::Error)
            }
            (None, Some(key)) => {
                Problem::error(&key, "there is a tls_key but no tls_cert").note(self.problems);
                None
            }
            (None, None) => self.pair_of_plugin_line(),
        }
    }

    /// The first line `tls` of any list. Upstream starts without TLS where its files are missing, and
    /// an upgrade must not keep mail down: so that is a warning.
    fn pair_of_plugin_line(&mut self) -> Option<Pair> {
        let lists = self.files.names("peers").into_iter().map(|name| format!("peers/{name}"));
        let lists: Vec<String> = std::iter::once("plugins".to_string()).chain(lists).collect();
        let line = lists.iter().find_map(|list| {
            // What is wrong in the lists is told by who loads the plugins.
            let lines = self.files.lines(list, &mut Vec::new());
            lines.into_iter().find(|line| line.split_word().0 == "tls")
        })?;
        let words: Vec<&str> = line.text.split_whitespace().skip(1).collect();
        let word = |at: usize| words.get(at).copied().or(USUAL.get(at).copied()).unwrap_or("");
        if words.len() > USUAL.len() {
            let what = "tls: give CERT KEY CA DHPARAM, or some of them in this order";
            Problem::error(&line, what).note(self.problems);
        }
        if let Some(path) = words.get(3) {
            let what = match self.files.foreign(path) {
                Foreign::Missing => format!("tls: {path} does not exist, and is not needed"),
                _ => format!("tls: {path} is not needed: keys are agreed on elliptic curves only"),
            };
            Problem::warning(&line, what).note(self.problems);
        }
        self.foreign_pair(&line, (word(0), word(1)), Severity::Warning)
    }

    /// A pair that is named from outside the config folder.
    fn foreign_pair(
        &mut self,
        named: &Line,
        (path, key_path): (&str, &str),
        fault: Severity,
    ) -> Option<Pair> {
        let found = (self.files.foreign(path), self.files.foreign(key_path));
        self.pair(named, (path, key_path), found, fault)
    }

    /// What was found becomes a pair. Root may have read at the start what the daemon cannot read any
    /// more: then that is used on, and with it goes the whole pair as it was, for where only one half
    /// is new.
    fn pair(
        &mut self,
        named: &Line,
        (path, key_path): (&str, &str),
        (certificate, key): (Foreign, Foreign),
        fault: Severity,
    ) -> Option<Pair> {
        let same = |pair: &&Pair| pair.certificate_path == path && pair.key_path == key_path;
        let before = self.earlier.and_then(|tls| tls.pairs().find(same)).cloned();
        let mut pair = Pair {
            named: named.clone(),
            certificate_path: path.to_string(),
            certificate: Arc::default(),
            key_path: key_path.to_string(),
            key: Arc::default(),
            before: None,
        };
        let mut kept = false;
        match (self.fresh(named, path, certificate, fault, before.is_some())?, &before) {
            (None, Some(before)) => (pair.certificate, kept) = (before.certificate.clone(), true),
            (octets, _) => pair.certificate = octets.unwrap_or_default().into(),
        }
        match (self.fresh(named, key_path, key, fault, before.is_some())?, &before) {
            (None, Some(before)) => (pair.key, kept) = (before.key.clone(), true),
            (octets, _) => pair.key = Arc::new(Zeroizing::new(octets.unwrap_or_default())),
        }
        if kept {
            pair.before = before.map(|it| it.before.clone().unwrap_or_else(|| Arc::new(it)));
        }
        Some(pair)
    }

    /// The octets of a file of a pair; `Some(None)` where those read before are used on, None where
    /// there are none.
    #[expect(clippy::option_option, reason = "none to be had, and none needed, are two answers")]
    fn fresh(
        &mut self,
        named: &Line,
        path: &str,
        found: Foreign,
        fault: Severity,
        is_known: bool,
    ) -> Option<Option<Vec<u8>>> {
        let (what, is_missing) = match found {
            Foreign::Octets(octets) => return Some(Some(octets)),
            Foreign::Missing => ("there is no such file".to_string(), true),
            Foreign::Unreadable(why) => (why, false),
        };
        // A reload that is refused for a missing file keeps the pair too.
        if is_known && !(is_missing && fault == Severity::Error) {
            let what = format!("{path}: {what}: what was read of it before is used on");
            Problem::warning(named, what).note(self.problems);
            return Some(None);
        }
        let what = format!(
            "{path}: {what}: STARTTLS cannot be offered; `mailreeve tls selfsigned` makes a first \
             certificate"
        );
        match fault {
            Severity::Error => Problem::error(named, what).note(self.problems),
            Severity::Warning => Problem::warning(named, what).note(self.problems),
        }
        None
    }

    fn named_pairs(&mut self) -> Vec<(String, Pair)> {
        let names = self.files.names("tls_certs");
        let mut pairs = Vec::new();
        for file in names.iter().filter(|name| name.ends_with(".crt")).take(NAMES_MAX) {
            let name = file.trim_end_matches(".crt").to_ascii_lowercase();
            let certificate = format!("tls_certs/{file}");
            let key = certificate.trim_end_matches("crt").to_string() + "key";
            let named = Line { text: name.clone(), file: certificate.as_str().into(), number: 0 };
            if !self.files.exists(&key) {
                let what = format!("there is no {key} beside it");
                Problem::error(&named, what).note(self.problems);
                continue;
            }
            let found = (self.own(&certificate), self.own(&key));
            if let Some(pair) = self.pair(&named, (&certificate, &key), found, Severity::Error) {
                pairs.push((name, pair));
            }
        }
        pairs
    }

    /// A file of the config folder.
    fn own(&self, name: &str) -> Foreign {
        let mut problems = Vec::new();
        match (self.files.bytes(name, &mut problems), problems.pop()) {
            (Some(octets), _) => Foreign::Octets(octets),
            (None, Some(problem)) => Foreign::Unreadable(problem.what),
            (None, None) => Foreign::Missing,
        }
    }

    fn client_ca(&mut self) -> Option<(Line, Arc<[u8]>)> {
        let line = self.files.scalar("tls_ca", self.problems)?;
        match self.files.foreign(&line.text) {
            Foreign::Octets(octets) => Some((line, octets.into())),
            Foreign::Missing => {
                let what = format!("{}: there is no such file", quote(&line.text));
                Problem::error(&line, what).note(self.problems);
                None
            }
            Foreign::Unreadable(why) => {
                let before = self.earlier.and_then(|tls| tls.client_ca.as_ref());
                let Some((_, pem)) = before.filter(|(before, _)| before.text == line.text) else {
                    Problem::error(&line, format!("{}: {why}", line.text)).note(self.problems);
                    return None;
                };
                let what = format!("{}: {why}: what was read of it before is used on", line.text);
                Problem::warning(&line, what).note(self.problems);
                Some((line, Arc::clone(pem)))
            }
        }
    }
}

/// A setting that is yes or no, in the ways that admins write it.
pub(super) fn switch(
    files: &Files,
    name: &str,
    default: bool,
    problems: &mut Vec<Problem>,
) -> bool {
    let Some(line) = files.scalar(name, problems) else { return default };
    match line.text.as_str() {
        "1" | "yes" | "on" | "enabled" => true,
        "0" | "no" | "off" | "disabled" => false,
        other => {
            let what = format!("{}: use 1 or 0", quote(other));
            Problem::error(&line, what).note(problems);
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> (Tls, Vec<String>) {
        load_after(None, files)
    }

    fn load_after(earlier: Option<&Tls>, files: &[(&str, &str)]) -> (Tls, Vec<String>) {
        let owned = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let mut problems = Vec::new();
        let tls = Tls::load(&Files::in_memory(owned), earlier, &mut problems);
        (tls, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_is_set() {
        let (tls, problems) = load(&[]);
        assert!(tls.default.is_none() && tls.before_auth && !tls.tickets);
        assert!(problems.is_empty());
    }

    #[test]
    fn our_files_and_the_line_of_qpsmtpd() {
        let own = [
            ("tls_cert", "/k/a.pem"),
            ("/k/a.pem", "A"),
            ("tls_key", "/k/b.pem"),
            ("/k/b.pem", "B"),
        ];
        let (tls, problems) = load(&own);
        let pair = tls.default.expect("a pair");
        assert_eq!((&*pair.certificate, pair.key.as_slice()), (&b"A"[..], &b"B"[..]));
        assert!(problems.is_empty(), "{problems:?}");

        let sme = [("plugins", "peers\ntls ssl/cert.pem ssl/cert.pem ssl/cert.pem\n")];
        let with = [&sme[..], &[("ssl/cert.pem", "AB")]].concat();
        let (tls, problems) = load(&with);
        assert_eq!(&*tls.default.expect("a pair").certificate, b"AB");
        assert!(problems.is_empty(), "{problems:?}");

        let (tls, problems) = load(&sme);
        assert!(tls.default.is_none());
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("plugins:2: warning: ssl/cert.pem: there is no such file"));
    }

    #[test]
    fn faults_are_told_with_their_place() {
        for (files, expected) in [
            (vec![("tls_cert", "/no")], "tls_cert:1: /no: there is no such file"),
            (vec![("tls_key", "/no")], "tls_key:1: there is a tls_key but no tls_cert"),
            (vec![("tls_certs/a.crt", "A")], "tls_certs/a.crt: there is no tls_certs/a.key"),
            (vec![("tls_ca", "/no")], "tls_ca:1: \"/no\": there is no such file"),
            (vec![("tls_before_auth", "maybe")], "tls_before_auth:1: \"maybe\": use 1 or 0"),
            (
                vec![("plugins", "tls c c c dh"), ("c", "x"), ("dh", "y")],
                "plugins:1: warning: tls: dh is not needed: keys",
            ),
            (
                vec![("plugins", "tls c c c dh"), ("c", "x")],
                "plugins:1: warning: tls: dh does not exist, and is not needed",
            ),
        ] {
            let (_, problems) = load(&files);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(expected), "{problems:?}");
        }
    }

    /// In memory, what cannot be read is a folder.
    #[test]
    fn what_cannot_be_read_any_more_is_used_on() {
        let settings = [("tls_cert", "/c"), ("tls_key", "/k"), ("tls_ca", "/a")];
        let others = [("tls_certs/x.crt", "C"), ("tls_certs/x.key/folder", "")];
        let start = [&settings[..], &[("/c", "C1"), ("/k", "K1"), ("/a", "A")]].concat();
        let (start, problems) = load(&start);
        assert!(problems.is_empty(), "{problems:?}");
        let octets = |tls: &Tls| {
            let pair = tls.default.clone().expect("a pair");
            let before = pair.before.map(|it| (it.certificate.to_vec(), it.key.to_vec()));
            (pair.certificate.to_vec(), pair.key.to_vec(), before)
        };
        let whole = |certificate: &[u8], key: &[u8]| (certificate.to_vec(), key.to_vec());
        let key_locked =
            [&settings[..], &[("/c", "C2"), ("/k/folder", ""), ("/a/folder", "")]].concat();
        let (first, problems) = load_after(Some(&start), &key_locked);
        assert_eq!(problems.len(), 2, "{problems:?}");
        let what = "is a folder, not a file: what was read of it before is used on";
        assert_eq!(problems[0], format!("tls_cert:1: warning: /k: {what}"));
        assert_eq!(problems[1], format!("tls_ca:1: warning: /a: {what}"));
        assert_eq!(octets(&first), (b"C2".into(), b"K1".into(), Some(whole(b"C1", b"K1"))));
        // Once more, and then all can be read again.
        let (second, _) = load_after(Some(&first), &key_locked);
        assert_eq!(octets(&second).2, Some(whole(b"C1", b"K1")));
        let all = [&settings[..], &[("/c", "C3"), ("/k", "K3"), ("/a", "A")]].concat();
        let (third, problems) = load_after(Some(&second), &all);
        assert_eq!(octets(&third), (b"C3".into(), b"K3".into(), None));
        assert!(problems.is_empty(), "{problems:?}");
        // At a start there is nothing to go on with.
        for (files, told) in [
            (&key_locked[..], "tls_cert:1: /k: is a folder, not a file: STARTTLS cannot"),
            (&others, "tls_certs/x.crt: tls_certs/x.key: is a folder, not a file: STARTTLS cannot"),
        ] {
            let (_, problems) = load(files);
            assert!(problems[0].starts_with(told), "{problems:?}");
        }
        // A missing file refuses a reload, which keeps everything; qpsmtpd's line goes on by itself.
        let (_, problems) = load_after(Some(&start), &[("tls_cert", "/c"), ("tls_key", "/k")]);
        assert!(problems[0].starts_with("tls_cert:1: /c: there is no such file: STARTTLS cannot"));
        let line = [("plugins", "tls /c /k")];
        let (start, _) = load(&[&line[..], &[("/c", "C1"), ("/k", "K1")]].concat());
        let (next, problems) = load_after(Some(&start), &line);
        assert_eq!(octets(&next), (b"C1".into(), b"K1".into(), Some(whole(b"C1", b"K1"))));
        assert!(problems.iter().all(|problem| problem.contains(": warning: ")), "{problems:?}");
    }

    #[test]
    fn other_names_have_their_own() {
        let (tls, problems) = load(&[
            ("tls_certs/Mail.Example.org.crt", "A"),
            ("tls_certs/Mail.Example.org.key", "B"),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(tls.named.len(), 1);
        assert_eq!(tls.named[0].0, "mail.example.org");
        assert!(!format!("{tls:?}").contains('B'.to_string().repeat(2).as_str()));
    }
}
