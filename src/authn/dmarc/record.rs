//! DMARC policy records, read (RFC 9989 section 4.7).
//!
//! What is unknown is ignored, and so is the value of a tag that has a default and is malformed. A tag
//! that stands twice makes the record invalid, as in all tag lists (RFC 6376 section 3.2): nobody can
//! tell which of the two was meant.

use super::discover::is_record;

/// Report addresses of one tag that are kept.
pub const URIS_MAX: usize = 10;

/// Octets of one report address.
const URI_MAX: usize = 320;

/// Tags of one record.
const TAGS_MAX: usize = 64;

/// What a domain wants done with mail that fails, from mild to strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// `none`: nothing.
    None,
    /// `quarantine`: treat it as suspicious.
    Quarantine,
    /// `reject`: refuse it.
    Reject,
}

impl Policy {
    /// As records spell it.
    pub fn word(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::Quarantine => "quarantine",
            Policy::Reject => "reject",
        }
    }

    /// One step milder: what counts while the domain is testing (`t=y`).
    #[must_use]
    pub fn lowered(self) -> Policy {
        match self {
            Policy::Reject => Policy::Quarantine,
            Policy::Quarantine | Policy::None => Policy::None,
        }
    }

    fn of(text: &str) -> Option<Policy> {
        [Policy::None, Policy::Quarantine, Policy::Reject]
            .into_iter()
            .find(|policy| text.eq_ignore_ascii_case(policy.word()))
    }
}

/// How close a domain must be to the author's to speak for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Alignment {
    /// `r`: of the same organisation.
    #[default]
    Relaxed,
    /// `s`: the same.
    Strict,
}

impl Alignment {
    /// As records spell it.
    pub fn word(self) -> &'static str {
        match self {
            Alignment::Relaxed => "r",
            Alignment::Strict => "s",
        }
    }
}

/// What a domain says of its place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Psd {
    /// `y`: it is a public suffix; organisations begin one label below it.
    Yes,
    /// `n`: it is an organisation's domain.
    No,
    /// `u`: the tree walk finds out.
    #[default]
    Unknown,
}

/// A policy record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `p=`, for the domain itself.
    pub policy: Option<Policy>,
    /// `sp=`, for those below it.
    pub subdomains: Option<Policy>,
    /// `np=`, for those below it that do not exist.
    pub nonexistent: Option<Policy>,
    /// `adkim=`
    pub dkim: Alignment,
    /// `aspf=`
    pub spf: Alignment,
    /// `t=y`: policies count one step less.
    pub testing: bool,
    /// `psd=`
    pub psd: Psd,
    /// `rua=`: where aggregate reports go, as written, at most [`URIS_MAX`].
    pub aggregate: Vec<String>,
    /// `ruf=`: where failure reports go, as written, at most [`URIS_MAX`].
    pub failure: Vec<String>,
    /// `fo=`, as written; `0` by default.
    pub failure_options: String,
    /// Tags of RFC 7489 that say nothing any more: `pct`, `rf`, `ri`.
    pub outdated: Vec<&'static str>,
}

/// Why a text is no record that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// It does not begin with the version.
    Version,
    /// A tag stands twice, or there are too many.
    Tags,
    /// `p`, `sp` or `np` holds no policy, and there is nobody to report it to.
    Policy,
}

impl Record {
    /// Reads a record. Where a policy is malformed but there is somebody to report to, the record counts
    /// as `p=none` (RFC 9989 section 4.10.1).
    ///
    /// # Errors
    /// Why it does not count.
    pub fn parse(text: &[u8]) -> Result<Record, Invalid> {
        if !is_record(text) {
            return Err(Invalid::Version);
        }
        let text = String::from_utf8_lossy(text);
        let mut record = Record { failure_options: "0".to_string(), ..Record::default() };
        let mut seen: Vec<String> = vec!["v".to_string()];
        let mut is_bad = false;
        for part in text.split(';').skip(1) {
            let Some((name, value)) = part.split_once('=') else { continue };
            let name = name.trim().to_ascii_lowercase();
            if seen.contains(&name) || seen.len() >= TAGS_MAX {
                return Err(Invalid::Tags);
            }
            is_bad |= !record.take(&name, value.trim());
            seen.push(name);
        }
        if is_bad {
            if record.aggregate.is_empty() {
                return Err(Invalid::Policy);
            }
            record.policy = Some(Policy::None);
            (record.subdomains, record.nonexistent) = (None, None);
        }
        Ok(record)
    }

    /// False where it is a policy and none that is known.
    fn take(&mut self, name: &str, value: &str) -> bool {
        let policy = match name {
            "p" => &mut self.policy,
            "sp" => &mut self.subdomains,
            "np" => &mut self.nonexistent,
            _ => {
                self.take_other(name, value);
                return true;
            }
        };
        *policy = Policy::of(value);
        policy.is_some()
    }

    fn take_other(&mut self, name: &str, value: &str) {
        let alignment = |value: &str| match value {
            "s" | "S" => Alignment::Strict,
            _ => Alignment::Relaxed,
        };
        match name {
            "adkim" => self.dkim = alignment(value),
            "aspf" => self.spf = alignment(value),
            "t" => self.testing = value.eq_ignore_ascii_case("y"),
            "psd" => {
                self.psd = match value {
                    "y" | "Y" => Psd::Yes,
                    "n" | "N" => Psd::No,
                    _ => Psd::Unknown,
                }
            }
            "rua" => self.aggregate = uris(value),
            "ruf" => self.failure = uris(value),
            "fo" if is_failure_options(value) => self.failure_options = value.to_string(),
            "pct" => self.outdated.push("pct"),
            "rf" => self.outdated.push("rf"),
            "ri" => self.outdated.push("ri"),
            _ => {}
        }
    }

    /// What the domain itself wants; `none` where it does not say.
    pub fn own(&self) -> Policy {
        self.policy.unwrap_or(Policy::None)
    }

    /// What it wants for those below it, which exist or not.
    pub fn below(&self, exists: bool) -> Policy {
        let subdomains = self.subdomains.unwrap_or(self.own());
        if exists { subdomains } else { self.nonexistent.unwrap_or(subdomains) }
    }
}

fn is_failure_options(value: &str) -> bool {
    value.split(':').all(|option| matches!(option.trim(), "0" | "1" | "d" | "s" | "D" | "S"))
}

/// The addresses of a list that are ones: a scheme, a colon, and printable text.
fn uris(value: &str) -> Vec<String> {
    let parts = value.split(',').map(str::trim).filter(|part| is_uri(part));
    parts.take(URIS_MAX).map(str::to_string).collect()
}

fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let in_scheme = |octet: u8| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet);
    scheme.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.bytes().all(in_scheme)
        && !rest.is_empty()
        && text.len() <= URI_MAX
        && rest.bytes().all(|octet| octet.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&octet))
}

/// Checks on any input: no panic, and what is kept is bounded.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let read = Record::parse(data);
    assert_eq!(read == Err(Invalid::Version), !is_record(data));
    let Ok(record) = read else { return };
    for uris in [&record.aggregate, &record.failure] {
        assert!(uris.len() <= URIS_MAX);
        assert!(uris.iter().all(|uri| uri.len() <= URI_MAX && uri.is_ascii()));
    }
    for exists in [true, false] {
        assert!(record.below(exists).lowered() <= record.below(exists));
    }
    assert!(record.outdated.len() <= 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, Invalid> {
        let record = Record::parse(text.as_bytes())?;
        let word = |policy: Option<Policy>| policy.map_or("-", Policy::word);
        Ok(format!(
            "{} {} {} {}{}{} {:?}",
            word(record.policy),
            word(record.subdomains),
            word(record.nonexistent),
            record.dkim.word(),
            record.spf.word(),
            if record.testing { "t" } else { "" },
            record.psd
        ))
    }

    #[test]
    fn records() {
        for (text, expected) in [
            ("v=DMARC1", Ok("- - - rr Unknown")),
            ("v=DMARC1; p=reject", Ok("reject - - rr Unknown")),
            (
                "v=DMARC1;sp=none;np=quarantine;p=reject;adkim=s;aspf=s;t=y;psd=n",
                Ok("reject none quarantine sst No"),
            ),
            ("v=DMARC1; P = Reject ; PSD=Y; ADKIM=S;", Ok("reject - - sr Yes")),
            ("v=DMARC1; p=none; adkim=bob; aspf=; t=maybe; psd=x", Ok("none - - rr Unknown")),
            ("v=DMARC1; unknown=x; p=reject; ; junk; =", Ok("reject - - rr Unknown")),
            ("v=DMARC1; p=bogus", Err(Invalid::Policy)),
            ("v=DMARC1; p=reject; sp=bogus", Err(Invalid::Policy)),
            ("v=DMARC1; p=reject; np=", Err(Invalid::Policy)),
            ("v=DMARC1; p=bogus; rua=mailto:a@x.example", Ok("none - - rr Unknown")),
            ("v=DMARC1; p=reject; sp=bogus; rua=mailto:a@x.example", Ok("none - - rr Unknown")),
            ("v=DMARC1; p=bogus; rua=nobody", Err(Invalid::Policy)),
            ("v=DMARC1; rua=mailto:a@x.example", Ok("- - - rr Unknown")),
            ("v=DMARC1; p=none; p=reject", Err(Invalid::Tags)),
            ("v=DMARC1; p=none; V=DMARC1", Err(Invalid::Tags)),
            ("v=dmarc1; p=none", Err(Invalid::Version)),
            ("p=none; v=DMARC1", Err(Invalid::Version)),
        ] {
            assert_eq!(shown(text), expected.map(str::to_string), "{text}");
            fuzz(text.as_bytes());
        }
        let many: String = (0..100).map(|n| format!("; t{n}=x")).collect();
        assert_eq!(shown(&format!("v=DMARC1{many}")), Err(Invalid::Tags));
    }

    #[test]
    fn reports_and_outdated_tags() {
        let text = "v=DMARC1; rua= mailto:a@x.example!10m , https://x.example/r,ftp, mailto:a b@c,\
            mailto:; ruf=mailto:b@x.example; fo=1:d:s; pct=50; ri=x; rf=afrf";
        let record = Record::parse(text.as_bytes()).unwrap();
        assert_eq!(record.aggregate, ["mailto:a@x.example!10m", "https://x.example/r"]);
        assert_eq!(record.failure, ["mailto:b@x.example"]);
        assert_eq!(record.failure_options, "1:d:s");
        assert_eq!(record.outdated, ["pct", "ri", "rf"]);
        let many = vec!["mailto:a@x.example"; 50].join(",");
        let record = Record::parse(format!("v=DMARC1; fo=x; rua={many}").as_bytes()).unwrap();
        assert_eq!((record.aggregate.len(), &*record.failure_options), (URIS_MAX, "0"));
    }

    #[test]
    fn policies() {
        for (text, own, below, nonexistent) in [
            ("", "none", "none", "none"),
            ("p=reject", "reject", "reject", "reject"),
            ("p=reject; sp=none", "reject", "none", "none"),
            ("p=none; np=reject", "none", "none", "reject"),
            ("p=none; sp=quarantine; np=reject", "none", "quarantine", "reject"),
            ("sp=reject", "none", "reject", "reject"),
        ] {
            let record = Record::parse(format!("v=DMARC1; {text}").as_bytes()).unwrap();
            let found = [record.own(), record.below(true), record.below(false)].map(Policy::word);
            assert_eq!(found, [own, below, nonexistent], "{text}");
        }
        let all = [Policy::None, Policy::Quarantine, Policy::Reject];
        assert_eq!(all.map(Policy::lowered), [Policy::None, Policy::None, Policy::Quarantine]);
    }
}
