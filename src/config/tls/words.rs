//! `tls_protocols` and `tls_ciphers`, in the words of OpenSSL.
//!
//! The TLS that is spoken here knows nine cipher suites, all of them with forward secrecy, and two
//! versions. A word that asks for one of those, or forbids one, is obeyed; a word that is met anyhow
//! (`HIGH`, `!SSLv3`) needs no answer; any other is reported by name, since silence would let an admin
//! believe that an old client is served.

use crate::config::files::{Line, Problem};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5246
    Tls12,
    /// RFC 8446
    Tls13,
}

/// Versions that are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// TLS 1.2 is.
    pub tls12: bool,
    /// TLS 1.3 is.
    pub tls13: bool,
}

impl Default for Protocols {
    fn default() -> Protocols {
        Protocols { tls12: true, tls13: true }
    }
}

/// The suites there are: the IANA name, and OpenSSL's where it differs.
const SUITES: [(&str, &str); 9] = [
    ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    ("TLS13_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("TLS13_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
];

/// Words that ask for nothing but what is offered in any case.
const MET: [&str; 8] =
    ["HIGH", "DEFAULT", "ALL", "ECDHE", "EECDH", "kECDHE", "kEECDH", "@STRENGTH"];

/// Words that would take something away that is offered, and name no suite.
const CLASSES: [&str; 8] =
    ["AESGCM", "AES", "AES128", "AES256", "CHACHA20", "ECDHE", "EECDH", "aRSA"];

/// The versions that a line allows; a line that leaves none allows both, with an error.
pub(super) fn protocols(line: Option<Line>, problems: &mut Vec<Problem>) -> Protocols {
    let Some(line) = line else { return Protocols::default() };
    let mut allowed = Protocols { tls12: false, tls13: false };
    let mut forbidden = allowed;
    let mut positive = false;
    let mut unknown = Vec::new();
    for word in words(&line.text) {
        let (off, name) = match word.strip_prefix(['!', '-']) {
            Some(name) => (true, name),
            None => (false, word.trim_start_matches('+')),
        };
        let set = if off { &mut forbidden } else { &mut allowed };
        match name.to_ascii_lowercase().replace('.', "_").as_str() {
            "tlsv1_2" | "tlsv12" => set.tls12 = true,
            "tlsv1_3" | "tlsv13" => set.tls13 = true,
            "sslv23" | "tls" | "all" if !off => *set = Protocols::default(),
            "sslv2" | "sslv3" | "tlsv1" | "tlsv1_0" | "tlsv1_1" | "tlsv11" if off => {}
            _ => unknown.push(word),
        }
        positive |= !off;
    }
    if !unknown.is_empty() {
        let what = format!("not offered here: {} (TLS 1.2 and 1.3 are)", unknown.join(", "));
        Problem::warning(&line, what).note(problems);
    }
    let some = allowed.tls12 || allowed.tls13;
    if !positive || !some {
        // Only words that forbid, or none that could be obeyed.
        allowed = Protocols::default();
    }
    let offered = Protocols {
        tls12: allowed.tls12 && !forbidden.tls12,
        tls13: allowed.tls13 && !forbidden.tls13,
    };
    if offered.tls12 || offered.tls13 {
        return offered;
    }
    Problem::error(&line, "leaves no protocol: allow TLSv1_2 or TLSv1_3").note(problems);
    Protocols::default()
}

/// The suites that a line names, by their IANA names; empty where it names none, which is all.
pub(super) fn suites(line: Option<Line>, problems: &mut Vec<Problem>) -> Vec<&'static str> {
    let Some(line) = line else { return Vec::new() };
    let find = |word: &str| {
        let found = SUITES.iter().find(|(iana, openssl)| {
            iana.eq_ignore_ascii_case(word) || openssl.eq_ignore_ascii_case(word)
        });
        found.map(|(iana, _)| *iana)
    };
    let (mut asked, mut forbidden, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for word in words(&line.text) {
        let off = word.strip_prefix(['!', '-']);
        match (off, find(off.unwrap_or(word).trim_start_matches('+'))) {
            (Some(_), Some(suite)) => forbidden.push(suite),
            (Some(name), None) if !CLASSES.contains(&name) => {}
            (None, Some(suite)) => asked.push(suite),
            (None, None) if MET.contains(&word) || word.starts_with("@SECLEVEL") => {}
            _ => unknown.push(word),
        }
    }
    if !unknown.is_empty() {
        let what = format!("no cipher suite here answers to: {}", unknown.join(", "));
        Problem::warning(&line, what).note(problems);
    }
    let of_13 = |suite: &&str| suite.starts_with("TLS13_");
    if asked.is_empty() && forbidden.is_empty() {
        return Vec::new();
    }
    // As with OpenSSL, a list of suites of TLS 1.2 says nothing of those of 1.3.
    let all: Vec<&'static str> = SUITES.iter().map(|(iana, _)| *iana).collect();
    let listed = |suite: &&'static str| {
        asked.is_empty() || asked.contains(suite) || (of_13(suite) && !asked.iter().any(of_13))
    };
    all.into_iter().filter(listed).filter(|suite| !forbidden.contains(suite)).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([':', ',', ' ', '\t']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<Line> {
        Some(Line { text: text.to_string(), file: "x".into(), number: 1 })
    }

    #[test]
    fn protocols_by_openssl_words() {
        for (text, tls12, tls13, told) in [
            ("SSLv23:!SSLv2:!SSLv3", true, true, None),
            ("TLSv1_2", true, false, None),
            ("TLSv1.3", false, true, None),
            ("!TLSv1_2", false, true, None),
            ("!TLSv1:!TLSv1_1", true, true, None),
            ("TLSv1_1:TLSv1_2", true, false, Some("x:1: warning: not offered here: TLSv1_1 ")),
            ("SSLv3", true, true, Some("x:1: warning: not offered here: SSLv3 ")),
            ("!TLSv1_2:!TLSv1_3", true, true, Some("x:1: leaves no protocol")),
        ] {
            let mut problems = Vec::new();
            let found = protocols(line(text), &mut problems);
            assert_eq!(found, Protocols { tls12, tls13 }, "{text}");
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            assert!(first.starts_with(told.unwrap_or_default()), "{text}: {first}");
            assert_eq!(problems.len(), usize::from(told.is_some()), "{text}: {problems:?}");
        }
    }

    #[test]
    fn suites_by_both_kinds_of_names() {
        for (text, count, told) in [
            ("HIGH", 0, ""),
            ("HIGH:!SSLv2:!aNULL:!MD5:@STRENGTH", 0, ""),
            ("ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256", 5, ""),
            ("TLS_AES_256_GCM_SHA384", 1, ""),
            ("HIGH:!ECDHE-RSA-CHACHA20-POLY1305", 8, ""),
            ("RC4-SHA:AES256-SHA:HIGH", 0, "RC4-SHA, AES256-SHA"),
            ("HIGH:!AESGCM", 0, "!AESGCM"),
        ] {
            let mut problems = Vec::new();
            assert_eq!(suites(line(text), &mut problems).len(), count, "{text}");
            let told_now = problems.iter().map(ToString::to_string).collect::<String>();
            assert!(told_now.ends_with(told), "{text}: {told_now}");
            assert_eq!(problems.is_empty(), told.is_empty(), "{text}: {told_now}");
        }
    }
}
