//! What each property of the databases is by default, and its effective value.
//!
//! A property counts where it is there and not empty; else its default holds: without the record, without
//! the property, after `delprop`. SME Server 11 moved some properties to other records, so a property can
//! have several homes; the first in which it is found counts, and the last is where the older releases
//! have it. A value that is none of what the property can be is named, and the default holds.
//!
//! [`TABLE`] has them all: a first set-up can write from it what is missing.

use crate::esmith::database::Database;
use crate::esmith::record::Record;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// What a property's value can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `enabled` or `disabled`.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number in this range.
    Number(RangeInclusive<u64>),
    /// Octets: a number, also of thousands (`25000K`) or millions (`25M`).
    Octets,
    /// Text without white space.
    Word,
    /// A line of text.
    Line,
}

/// A property of the database `configuration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Keys of the records that may have it: the first that has counts. The last one is where it stands
    /// on SME Server 8 to 10, and where a first set-up writes it.
    pub homes: &'static [&'static str],
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub kind: Kind,
    /// The default; empty where there is none.
    pub default: &'static str,
}

impl Property {
    /// The effective value. What is wrong with the one that is stored goes into `warnings`.
    #[must_use]
    pub fn text(&self, configuration: &Database, warnings: &mut Vec<String>) -> String {
        let Some((home, value)) = self.stored(configuration) else {
            return self.default.to_string();
        };
        match self.kind.check(&value) {
            Ok(()) => value,
            Err(why) => {
                let mut warning = format!("{home} {}: '{}' {why}", self.name, value.escape_debug());
                let _written = match self.default {
                    "" => write!(warning, ", and is ignored"),
                    default => write!(warning, "; {default} is used"),
                };
                warnings.push(warning);
                self.default.to_string()
            }
        }
    }

    /// Whether it is effectively `enabled`.
    #[must_use]
    pub fn is_enabled(&self, configuration: &Database, warnings: &mut Vec<String>) -> bool {
        self.text(configuration, warnings) == ENABLED
    }

    /// The effective value as a number; octets with K and M taken into account. 0 where there is none.
    #[must_use]
    pub fn number(&self, configuration: &Database, warnings: &mut Vec<String>) -> u64 {
        octets(&self.text(configuration, warnings)).unwrap_or(0)
    }

    /// Where a value is stored that is not empty, and that value.
    #[must_use]
    pub fn stored(&self, configuration: &Database) -> Option<(&'static str, String)> {
        self.homes.iter().find_map(|home| {
            let record = configuration.get(home.as_bytes())?;
            Some((*home, property(record, self.name)?))
        })
    }
}

impl Kind {
    /// Why a value is none of this kind.
    ///
    /// # Errors
    ///
    /// The reason, to be put behind the value.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let no_line = |c: char| c.is_control() && c != '\t';
        match self {
            Kind::Switch if value == ENABLED || value == DISABLED => Ok(()),
            Kind::Switch => Err("is neither enabled nor disabled".to_string()),
            Kind::OneOf(words) if words.contains(&value) => Ok(()),
            Kind::OneOf(words) => Err(format!("is none of {}", words.join(", "))),
            Kind::Number(range) => match value.parse() {
                Ok(number) if range.contains(&number) => Ok(()),
                _ => Err(format!("is no number from {} to {}", range.start(), range.end())),
            },
            Kind::Octets if octets(value).is_some() => Ok(()),
            Kind::Octets => Err("is no number of octets".to_string()),
            Kind::Word if value.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                Err("has white space in it".to_string())
            }
            Kind::Line if value.contains(no_line) => Err("is more than a line".to_string()),
            Kind::Word | Kind::Line => Ok(()),
        }
    }
}

/// What a switch can be.
pub const ENABLED: &str = "enabled";
/// The same.
pub const DISABLED: &str = "disabled";

/// A record's property without white space around it, if it is not empty. Octets that are no UTF-8 are
/// replaced.
#[must_use]
pub fn property(record: &Record, name: &str) -> Option<String> {
    let value = record.properties().get(name.as_bytes()).copied().flatten()?;
    filled(value)
}

/// A record's only value, such as `DomainName=example.com`, if it is not empty.
#[must_use]
pub fn scalar(configuration: &Database, key: &str) -> Option<String> {
    filled(configuration.get(key.as_bytes())?.kind()?)
}

fn filled(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value).trim().to_string();
    (!text.is_empty()).then_some(text)
}

/// `25000000`, `25000K`, `25M`: K is 1000, M is 1000 times that.
fn octets(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len() - 1)?, 1_000),
        b'm' | b'M' => (text.get(..text.len() - 1)?, 1_000_000),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Records of services and the like that mail needs, and their types: a first set-up makes those that
/// are missing.
pub const RECORDS: [(&str, &str); 12] = [
    ("clamav", "service"),
    ("clamd", "service"),
    ("modSSL", "service"),
    ("qmail", "service"),
    ("qpsmtpd", "service"),
    ("smtp-auth-proxy", "service"),
    ("smtpd", "service"),
    ("spamassassin", "service"),
    ("spamd", "service"),
    ("sqpsmtpd", "service"),
    ("ssmtpd", "service"),
    ("uqpsmtpd", "service"),
];

macro_rules! properties {
    ($($constant:ident = [$($home:literal),+] $name:literal $kind:expr, $default:expr;)+) => {
        $(
            #[doc = concat!("`", $name, "`.")]
            pub const $constant: Property =
                Property { homes: &[$($home),+], name: $name, kind: $kind, default: $default };
        )+
        /// All properties.
        pub const TABLE: &[&Property] = &[$(&$constant),+];
    };
}

const PORT: Kind = Kind::Number(1..=65_535);
const CONNECTIONS: Kind = Kind::Number(1..=1_000_000);
const PER_CLIENT: Kind = Kind::Number(0..=1_000_000);
const DAYS: Kind = Kind::Number(0..=36_500);
const SECONDS: Kind = Kind::Number(1..=86_400);
const SCORE: Kind = Kind::Number(0..=1_000);
const ACCESS: Kind = Kind::OneOf(&["public", "private", "local", "localhost", DISABLED]);
const BIT: Kind = Kind::OneOf(&["0", "1"]);

properties! {
    STATUS = ["qpsmtpd"] "status" Kind::Switch, ENABLED;
    ACCESS_25 = ["qpsmtpd"] "access" ACCESS, "public";
    STATUS_465 = ["sqpsmtpd"] "status" Kind::Switch, ENABLED;
    ACCESS_465 = ["sqpsmtpd"] "access" ACCESS, "public";
    STATUS_587 = ["uqpsmtpd"] "status" Kind::Switch, ENABLED;
    ACCESS_587 = ["uqpsmtpd"] "access" ACCESS, "public";
    PORT_25 = ["qpsmtpd", "smtpd"] "TCPPort" PORT, "25";
    PORT_465 = ["sqpsmtpd", "ssmtpd"] "TCPPort" PORT, "465";
    PORT_587 = ["uqpsmtpd"] "TCPPort" PORT, "587";
    INSTANCES = ["qpsmtpd", "smtpd"] "Instances" CONNECTIONS, "40";
    INSTANCES_PER_IP = ["qpsmtpd", "smtpd"] "InstancesPerIP" PER_CLIENT, "5";
    INSTANCES_465 = ["sqpsmtpd", "ssmtpd"] "Instances" CONNECTIONS, "10";
    INSTANCES_587 = ["uqpsmtpd"] "Instances" CONNECTIONS, "40";
    AUTHENTICATION = ["qpsmtpd", "smtpd"] "Authentication" Kind::Switch, ENABLED;
    AUTHENTICATION_465 = ["sqpsmtpd", "ssmtpd"] "Authentication" Kind::Switch, ENABLED;
    AUTHENTICATION_587 = ["uqpsmtpd"] "Authentication" Kind::Switch, ENABLED;
    GREETING = ["qpsmtpd", "smtpd"] "Greeting" Kind::Line, "";
    VIRUS_SCAN = ["qpsmtpd", "smtpd"] "VirusScan" Kind::Switch, ENABLED;
    PATTERNS_SCAN = ["qpsmtpd", "smtpd"] "PatternsScan" Kind::Switch, DISABLED;
    TNEF2MIME = ["qpsmtpd", "smtpd"] "tnef2mime" Kind::Switch, ENABLED;
    DISCLAIMER = ["qpsmtpd", "smtpd"] "disclaimer" Kind::Switch, DISABLED;
    MAXIMUM_DATE_OFFSET = ["qpsmtpd", "smtpd"] "MaximumDateOffset" DAYS, "0";
    MAXIMUM_FUTURE_OFFSET = ["qpsmtpd", "smtpd"] "MaximumFutureOffset" DAYS, "";
    MAXIMUM_PAST_OFFSET = ["qpsmtpd", "smtpd"] "MaximumPastOffset" DAYS, "";
    REQUIRED_HEADERS = ["qpsmtpd", "smtpd"] "RequiredHeaders" Kind::Line, "From";
    LOG_LEVEL = ["qpsmtpd"] "LogLevel" Kind::Number(0..=7), "6";
    BCC = ["qpsmtpd"] "Bcc" Kind::Switch, DISABLED;
    BCC_MODE = ["qpsmtpd"] "BccMode" Kind::OneOf(&["cc", "bcc"]), "cc";
    BCC_USER = ["qpsmtpd"] "BccUser" Kind::Word, "maillog";
    DNSBL = ["qpsmtpd"] "DNSBL" Kind::Switch, DISABLED;
    RBL_LIST = ["qpsmtpd"] "RBLList" Kind::Line, "bl.spamcop.net,psbl.surriel.com,zen.spamhaus.org";
    RHSBL = ["qpsmtpd"] "RHSBL" Kind::Switch, DISABLED;
    SBL_LIST = ["qpsmtpd"] "SBLList" Kind::Line, "multi.surbl.org,black.uribl.com";
    URIBL = ["qpsmtpd"] "URIBL" Kind::Switch, DISABLED;
    UBL_LIST = ["qpsmtpd"] "UBLList" Kind::Line,
        "multi.surbl.org:8-16-64-128,black.uribl.com,rhsbl.sorbs.net";
    KARMA = ["qpsmtpd"] "Karma" Kind::Switch, DISABLED;
    KARMA_NEGATIVE = ["qpsmtpd"] "KarmaNegative" SCORE, "2";
    KARMA_STRIKES = ["qpsmtpd"] "KarmaStrikes" Kind::Number(1..=1_000), "3";
    HELO_POLICY = ["qpsmtpd"] "HeloPolicy" Kind::OneOf(&["lenient", "rfc", "strict"]), "lenient";
    HELO_REJECT = ["qpsmtpd"] "HeloReject" Kind::OneOf(&["0", "1", "naughty"]), "naughty";
    MAX_LOAD = ["qpsmtpd"] "MaxLoad" Kind::Number(0..=100_000), "7";
    DMARC_REJECT = ["qpsmtpd"] "DMARCReject" Kind::Switch, DISABLED;
    DMARC_REPORTING = ["qpsmtpd"] "DMARCReporting" Kind::Switch, ENABLED;
    SPF_REJECT_POLICY = ["qpsmtpd"] "SPFRejectPolicy" Kind::Number(0..=4), "0";
    DKIM_SIGNING = ["qpsmtpd"] "DKIMSigning" Kind::Switch, DISABLED;
    UNAUTHENTICATED_RELAY_CLIENTS = ["qpsmtpd"] "UnauthenticatedRelayClients" Kind::Line, "";
    RELAY_REQUIRES_AUTH = ["qpsmtpd"] "RelayRequiresAuth" Kind::Switch, ENABLED;
    TLS_BEFORE_AUTH = ["qpsmtpd"] "TlsBeforeAuth" BIT, "1";
    TLS_CIPHER = ["qpsmtpd"] "tlsCipher" Kind::Line, "";
    TLS_PROTOCOLS = ["qpsmtpd"] "tlsProtocols" Kind::Line, "";
    MAX_SCANNER_SIZE = ["qpsmtpd"] "MaxScannerSize" Kind::Octets, "";
    TIMEOUT = ["qpsmtpd"] "timeout" SECONDS, "120";
    TIMEOUT_SMTPD = ["qpsmtpd"] "timeoutsmtpd" SECONDS, "120";
    MODSSL_CIPHER_SUITE = ["modSSL"] "CipherSuite" Kind::Line, "";
    MAX_MESSAGE_SIZE = ["qmail"] "MaxMessageSize" Kind::Octets, "0";
    SMART_HOST = ["postfix"] "SMTPSmartHost" Kind::Word, "";
    SMART_HOST_STATUS = ["postfix"] "SMTPSmartHostStatus" Kind::Switch, ENABLED;
    SMART_HOST_PORT = ["postfix"] "SMTPSmartHostPeerPort" PORT, "";
    AUTH_PROXY = ["smtp-auth-proxy"] "status" Kind::Switch, DISABLED;
    SPAM = ["spamassassin"] "status" Kind::Switch, DISABLED;
    SENSITIVITY = ["spamassassin"] "Sensitivity"
        Kind::OneOf(&["veryhigh", "high", "medium", "low", "verylow", "custom"]), "medium";
    TAG_LEVEL = ["spamassassin"] "TagLevel" SCORE, "5";
    REJECT_LEVEL = ["spamassassin"] "RejectLevel" SCORE, "0";
    SUBJECT_TAG = ["spamassassin"] "SubjectTag" Kind::Switch, DISABLED;
    SUBJECT = ["spamassassin"] "Subject" Kind::Line, "[SPAM]";
    REPORT_SAFE = ["spamassassin"] "ReportSafe" Kind::OneOf(&["0", "1", "2"]), "0";
    USE_BAYES = ["spamassassin"] "UseBayes" BIT, "0";
    SKIP_RBL_CHECKS = ["spamassassin"] "SkipRBLChecks" BIT, "0";
    DNS_AVAILABLE = ["spamassassin"] "DNSAvailable" Kind::Line, "yes";
    OK_LANGUAGES = ["spamassassin"] "OkLanguages" Kind::Line, "all";
    OK_LOCALES = ["spamassassin"] "OkLocales" Kind::Line, "all";
    TRUSTED_NETWORKS = ["spamassassin"] "TrustedNetworks" Kind::Line, "";
    STREAM_MAX_LENGTH = ["clamav"] "StreamMaxLength" Kind::Octets, "25M";
    CLAMD = ["clamd"] "status" Kind::Switch, ENABLED;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(property: &Property, configuration: &str) -> (String, Vec<String>) {
        let mut warnings = Vec::new();
        let value = property.text(&Database::parse(configuration.as_bytes()), &mut warnings);
        (value, warnings)
    }

    /// Without record, without property, with an empty value, after `delprop`; then with a value.
    fn check(property: &Property, default: &str, other: &str) {
        let (key, name) = (property.homes[property.homes.len() - 1], property.name);
        let mut database = Database::parse(format!("{key}=service|{name}|{other}\n").as_bytes());
        assert_eq!(property.text(&database, &mut Vec::new()), other, "{key} {name}");
        let record = database.get(key.as_bytes()).unwrap();
        let without = record.without(&[name.as_bytes()]).unwrap();
        database.set(key.as_bytes(), without).unwrap();
        assert_eq!(property.text(&database, &mut Vec::new()), default, "{key} {name}");
        for text in ["", &format!("{key}=service\n"), &format!("{key}=service|{name}|\n")] {
            assert_eq!(effective(property, text), (default.to_string(), vec![]), "{text}");
        }
    }

    macro_rules! defaults_hold {
        ($($test:ident: $property:ident $default:literal $other:literal;)+) => {
            $(#[test] fn $test() { check(&$property, $default, $other); })+
        };
    }

    defaults_hold! {
        karma_is_disabled: KARMA "disabled" "enabled";
        karma_negative_is_2: KARMA_NEGATIVE "2" "3";
        karma_strikes_is_3: KARMA_STRIKES "3" "5";
        uribl_is_disabled: URIBL "disabled" "enabled";
        dnsbl_is_disabled: DNSBL "disabled" "enabled";
        rhsbl_is_disabled: RHSBL "disabled" "enabled";
        dmarc_reject_is_disabled: DMARC_REJECT "disabled" "enabled";
        dmarc_reporting_is_enabled: DMARC_REPORTING "enabled" "disabled";
        dkim_signing_is_disabled: DKIM_SIGNING "disabled" "enabled";
        spf_reject_policy_is_0: SPF_REJECT_POLICY "0" "2";
        max_load_is_7: MAX_LOAD "7" "11";
        helo_policy_is_lenient: HELO_POLICY "lenient" "rfc";
        ubl_list_is_the_printed_one: UBL_LIST
            "multi.surbl.org:8-16-64-128,black.uribl.com,rhsbl.sorbs.net"
            "multi.surbl.org,black.uribl.com";
        required_headers_is_from: REQUIRED_HEADERS "From" "From,Date";
    }

    #[test]
    fn the_first_home_counts() {
        let both = "qpsmtpd=service|VirusScan|disabled\nsmtpd=service|VirusScan|enabled\n";
        assert_eq!(effective(&VIRUS_SCAN, both).0, "disabled");
        let older = "qpsmtpd=service|VirusScan|\nsmtpd=service|VirusScan|disabled\n";
        assert_eq!(effective(&VIRUS_SCAN, older).0, "disabled");
    }

    #[test]
    fn values_that_cannot_be_are_named() {
        for (property, value, warning) in [
            (&KARMA, "on", "qpsmtpd Karma: 'on' is neither enabled nor disabled; disabled is used"),
            (
                &KARMA_STRIKES,
                "0",
                "qpsmtpd KarmaStrikes: '0' is no number from 1 to 1000; 3 is used",
            ),
            (&BCC_USER, "a b", "qpsmtpd BccUser: 'a b' has white space in it; maillog is used"),
            (&GREETING, "a\\nb", "smtpd Greeting: 'a\\nb' is more than a line, and is ignored"),
            (
                &HELO_POLICY,
                "loose",
                "qpsmtpd HeloPolicy: 'loose' is none of lenient, rfc, strict; lenient is used",
            ),
            (
                &MAX_SCANNER_SIZE,
                "25G",
                "qpsmtpd MaxScannerSize: '25G' is no number of octets, and is ignored",
            ),
        ] {
            let key = property.homes[property.homes.len() - 1];
            let text = format!("{key}=service|{}|{value}\n", property.name);
            let expected = (property.default.to_string(), vec![warning.to_string()]);
            assert_eq!(effective(property, &text), expected);
        }
    }

    #[test]
    fn octets_have_units() {
        for (text, number) in
            [("1", Some(1)), ("25000K", Some(25_000_000)), ("2m", Some(2_000_000))]
        {
            assert_eq!(octets(text), number);
        }
        for text in ["", "M", "é", "-1", "18446744073709551615K"] {
            assert_eq!(octets(text), None, "{text}");
        }
    }

    #[test]
    fn every_default_is_a_value_and_has_a_record() {
        for property in TABLE {
            if !property.default.is_empty() {
                assert_eq!(property.kind.check(property.default), Ok(()), "{property:?}");
            }
            let key = property.homes[property.homes.len() - 1];
            let is_known = RECORDS.iter().any(|(record, _)| *record == key) || key == "postfix";
            assert!(is_known, "{property:?}");
        }
    }
}
