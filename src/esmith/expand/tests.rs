//! What comes out for which records: each property by the line that it changes, and whole folders.

use super::*;
use crate::config::files::{Files, Severity};

/// A server with the seed's records, and more of them: `DATABASE KEY=…` lines.
fn sources(lines: &str) -> Sources {
    let text = |name: &str| -> Vec<u8> {
        let own = lines.lines().filter_map(|line| line.trim().strip_prefix(&format!("{name} ")));
        own.flat_map(|line| format!("{line}\n").into_bytes()).collect()
    };
    let base =
        b"DomainName=example.com\nSystemName=mail\nExternalIP=203.0.113.5\nLocalIP=192.168.1.1\n";
    Sources {
        configuration: Database::parse(&[base.to_vec(), text("configuration")].concat()),
        domains: Database::parse(&[b"example.com=domain\n".to_vec(), text("domains")].concat()),
        accounts: Database::parse(&text("accounts")),
        networks: Database::parse(&text("networks")),
        spamassassin: Database::parse(&text("spamassassin")),
        mailpatterns: Database::parse(&text("mailpatterns")),
        wbl: Database::parse(&text("wbl")),
    }
}

/// The lines of a file that are no comments.
fn file(lines: &str, name: &str) -> Vec<String> {
    let expansion = expand(&sources(lines), &Custom::new(), &|_| true);
    let text = &expansion.files[name];
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_string).collect()
}

#[test]
fn the_lists_of_plugins_without_any_property() {
    assert_eq!(
        file("", "peers/0"),
        [
            "logging/logterse",
            "tls ssl/cert.pem ssl/cert.pem ssl/cert.pem",
            "auth/auth_cvm_unix_local cvm_socket /var/lib/cvm/cvm-unix-local.socket enable_smtp yes enable_ssmtp yes",
            "loadcheck max_load 7",
            "earlytalker",
            "bogus_bounce log",
            "count_unrecognized_commands 4",
            "relay",
            "resolvable_fromhost",
            "headers require From",
            "sender_permitted_from reject 1 no_dmarc_policy 0",
            "dkim",
            "dmarc reject 0 reporting 1",
            "badmailfrom",
            "badrcptto",
            "helo policy lenient reject naughty",
            "check_goodrcptto extn -",
            "naughty reject rcpt",
            "rcpt_ok",
            "tnef2mime",
            "virus/clamdscan clamd_socket /var/clamav/clamd.socket max_size 24415",
            "queue/qmail-queue",
        ]
    );
    assert_eq!(
        file("configuration smtpd=service|disclaimer|enabled", "peers/local"),
        [
            "logging/logterse",
            "tls ssl/cert.pem ssl/cert.pem ssl/cert.pem",
            "auth/auth_cvm_unix_local cvm_socket /var/lib/cvm/cvm-unix-local.socket enable_smtp yes enable_ssmtp yes",
            "relay",
            "headers require From",
            "dkim",
            "badmailfrom",
            "badrcptto",
            "helo policy lenient",
            "check_goodrcptto extn -",
            "rcpt_ok",
            "tnef2mime",
            "disclaimer",
            "virus/clamdscan clamd_socket /var/clamav/clamd.socket max_size 24415",
            "queue/qmail-queue",
        ]
    );
}

/// A record, a file, and the line in it that is there because of that record.
const CHANGES: &[(&str, &str, &str)] = &[
    (
        "configuration qpsmtpd=service|Karma|enabled|KarmaNegative|3",
        "peers/0",
        "karma reject naughty negative 3 strikes 3",
    ),
    (
        "configuration qpsmtpd=service|Karma|enabled|KarmaStrikes|5",
        "peers/0",
        "karma reject naughty negative 2 strikes 5",
    ),
    ("configuration qpsmtpd=service|URIBL|enabled", "peers/0", "uribl action deny"),
    (
        "configuration qpsmtpd=service|UBLList|a.example:8-16,b.example",
        "uribl_zones",
        "a.example 8,16",
    ),
    ("configuration qpsmtpd=service|DNSBL|enabled", "peers/0", "dnsbl reject naughty"),
    ("configuration qpsmtpd=service|RBLList|a.example;Listed", "dnsbl_zones", "a.example:Listed"),
    ("configuration qpsmtpd=service|RHSBL|enabled", "peers/0", "rhsbl"),
    ("configuration qpsmtpd=service|SBLList|a.example:b.example", "rhsbl_zones", "b.example"),
    ("configuration qpsmtpd=service|HeloPolicy|rfc", "peers/0", "helo policy rfc reject naughty"),
    ("configuration qpsmtpd=service|HeloReject|0", "peers/0", "helo policy lenient reject 0"),
    ("configuration qpsmtpd=service|MaxLoad|11", "peers/0", "loadcheck max_load 11"),
    ("configuration qpsmtpd=service|DMARCReject|enabled", "peers/0", "dmarc reject 1 reporting 1"),
    (
        "configuration qpsmtpd=service|DMARCReporting|disabled",
        "peers/0",
        "dmarc reject 0 reporting 0",
    ),
    (
        "configuration qpsmtpd=service|SPFRejectPolicy|2",
        "peers/0",
        "sender_permitted_from reject 1 no_dmarc_policy 2",
    ),
    ("configuration qpsmtpd=service|DKIMSigning|enabled", "dkim_signing", "enabled"),
    ("domains d.example=domain|DKIMSigning|disabled", "dkim_signing", "d.example disabled"),
    ("configuration qpsmtpd=service|Bcc|enabled", "peers/local", "bcc mode cc all maillog"),
    (
        "configuration qpsmtpd=service|Bcc|enabled|BccMode|bcc|BccUser|a@b.example",
        "peers/0",
        "bcc mode bcc all a@b.example",
    ),
    ("configuration qpsmtpd=service|LogLevel|7", "loglevel", "7"),
    ("configuration qpsmtpd=service|timeout|60", "timeout", "60"),
    ("configuration qpsmtpd=service|timeoutsmtpd|61", "timeoutsmtpd", "61"),
    ("configuration qpsmtpd=service|TlsBeforeAuth|0", "tls_before_auth", "0"),
    ("configuration qpsmtpd=service|tlsCipher|HIGH", "tls_ciphers", "HIGH"),
    ("configuration modSSL=service|CipherSuite|HIGH", "tls_ciphers", "HIGH"),
    ("configuration qpsmtpd=service|tlsProtocols|TLSv1.3", "tls_protocols", "TLSv1.3"),
    (
        "configuration qpsmtpd=service|UnauthenticatedRelayClients|192.0.2.9,192.0.2.10",
        "relayclients",
        "192.0.2.10",
    ),
    (
        "configuration qpsmtpd=service|MaxScannerSize|10M",
        "peers/0",
        "virus/clamdscan clamd_socket /var/clamav/clamd.socket max_size 9766",
    ),
    (
        "configuration smtpd=service|PatternsScan|enabled",
        "peers/0",
        "virus/pattern_filter check patterns action deny",
    ),
    (
        "configuration smtpd=service|MaximumDateOffset|3",
        "peers/0",
        "headers require From future 3 past 3",
    ),
    (
        "configuration smtpd=service|MaximumDateOffset|3|MaximumFutureOffset|1|MaximumPastOffset|5",
        "peers/0",
        "headers require From future 1 past 5",
    ),
    (
        "configuration smtpd=service|MaximumDateOffset|3|MaximumFutureOffset|0",
        "peers/0",
        "headers require From past 3",
    ),
    (
        "configuration smtpd=service|RequiredHeaders|From,Date",
        "peers/local",
        "headers require From,Date",
    ),
    ("configuration smtpd=service|Greeting|hello there", "smtpgreeting", "hello there"),
    ("configuration smtpd=service|Instances|30", "concurrency", "30"),
    ("configuration smtpd=service|InstancesPerIP|3", "concurrency_per_ip", "3"),
    ("configuration smtpd=service|TCPPort|2525", "listen", "0.0.0.0:2525"),
    ("configuration qpsmtpd=service|access|private", "listen", "192.168.1.1:25"),
    ("configuration qpsmtpd=service|access|localhost", "listen", "127.0.0.1:25"),
    ("configuration sqpsmtpd=service", "listen", "0.0.0.0:465 smtps submission"),
    ("configuration uqpsmtpd=service", "listen", "0.0.0.0:587 submission"),
    ("configuration qmail=service|MaxMessageSize|1000", "databytes", "1000"),
    ("configuration spamassassin=service|Subject|[X]", "subject_prefix", "[X]"),
    (
        "configuration spamassassin=service|status|enabled|Sensitivity|custom|RejectLevel|12|SubjectTag|enabled",
        "peers/0",
        "spamassassin reject 12 munge_subject_threshold 5",
    ),
    ("configuration DelegateMailServer=10.0.0.9", "smtproutes", "example.com:[10.0.0.9]"),
    ("configuration DelegateMailServer=10.0.0.9", "peers/0", "check_smtp_forward"),
    ("domains d.example=domain|MailServer|10.0.0.9", "goodrcptto", "@d.example"),
    ("configuration SMTPSmartHost=relay.example", "smtproutes", ":relay.example"),
    ("configuration GatewayIP=192.168.1.254", "norelayclients", "192.168.1.254"),
    (
        "networks 10.1.0.0=network|Mask|255.255.0.0|RelayRequiresAuth|disabled",
        "relayclients",
        "10.1.",
    ),
    ("networks 10.1.0.0=network|Mask|255.255.0.0", "dnsbl_allow", "10.1."),
    ("accounts joe=user", "goodrcptto", "joe@example.com"),
    ("accounts everyone=pseudonym|Visible|internal", "badrcptto", "everyone@example.com"),
    ("mailpatterns x=pattern|Body|TVoA,TVoB|Status|enabled", "signatures_patterns", "TVoB"),
    ("wbl whitelisthosts=x|192.0.2.7|White", "whitelisthosts", "192.0.2.7"),
    ("wbl whitelisthosts=x|192.0.2.7|White", "peers/0", "whitelist"),
    ("wbl badmailfrom=x|a@b.example|Black", "badmailfrom", "a@b.example"),
    (
        "configuration mxbackup=service|status|enabled|name|a.example,1,b.example,0",
        "rcpthosts",
        ".a.example",
    ),
];

#[test]
fn every_property_changes_its_line() {
    for (record, name, line) in CHANGES {
        assert!(
            !file("", name).contains(&line.to_string()),
            "{record}: {name} has {line} without it"
        );
        let found = file(record, name);
        assert!(found.contains(&line.to_string()), "{record}: {name} has no {line}: {found:?}");
    }
}

#[test]
fn switches_take_lines_away() {
    for (record, name, start) in [
        ("configuration smtpd=service|VirusScan|disabled", "peers/0", "virus/clamdscan"),
        ("configuration qpsmtpd=service|VirusScan|disabled", "peers/0", "virus/clamdscan"),
        ("configuration clamd=service|status|disabled", "peers/local", "virus/clamdscan"),
        ("configuration smtpd=service|tnef2mime|disabled", "peers/0", "tnef2mime"),
        ("configuration EmailUnknownUser=admin", "peers/0", "check_goodrcptto"),
    ] {
        let has = |lines: &str| file(lines, name).iter().any(|line| line.starts_with(start));
        assert!(has(""), "{start}");
        assert!(!has(record), "{record}");
    }
}

#[test]
fn fragments_of_an_admin_are_merged_by_name() {
    let own = |name: &str, text: &str| (name.to_string(), text.as_bytes().to_vec());
    let custom = Custom::from([
        (
            "peers/0".to_string(),
            vec![
                own("11whitelist_soft", "whitelist_soft\n"),
                own("10check_earlytalker", "earlytalker wait 2\n"),
                own("70perl", "{ $OUT = 'x'; }"),
                own("62tnef2mime", ""),
            ],
        ),
        ("badrcptto".to_string(), vec![own("90more", "^a\\{2\\}@ no\n")]),
    ]);
    let expansion = expand(&sources(""), &custom, &|_| true);
    let text = &expansion.files["peers/0"];
    let at =
        |line: &str| text.find(&format!("\n{line}\n")).unwrap_or_else(|| panic!("{line}: {text}"));
    assert!(at("earlytalker wait 2") < at("whitelist_soft"));
    assert!(at("whitelist_soft") < at("count_unrecognized_commands 4"));
    assert!(!text.contains("\nearlytalker\n") && !text.contains("\ntnef2mime\n"));
    assert!(expansion.files["badrcptto"].contains("\n^a{2}@ no\n"));
    assert_eq!(expansion.warnings, ["templates-custom peers/0/70perl: has Perl in it, left out"]);
}

/// The smart host that wants to know who we are, as SME Server 11 and the older ones have it.
#[test]
fn the_smart_host_is_told_who_we_are() {
    let (new, old) =
        ("configuration postfix=service|SMTPSmartHost|", "configuration smtp-auth-proxy=service|");
    let none: &[&str] = &[];
    for (records, routes, logins, warns) in [
        (
            format!("{new}Relay.example|SMTPSmartHostUserid|ann|SMTPSmartHostPasswd|two wor{{ds"),
            &[":relay.example"][..],
            &["relay.example ann two wor{ds"][..],
            false,
        ),
        (
            format!(
                "{new}[192.0.2.1]|SMTPSmartHostPeerPort|587|SMTPSmartHostUserid|ann|SMTPSmartHostPasswd|x"
            ),
            &[":[192.0.2.1]:587"],
            &["[192.0.2.1] ann x"],
            false,
        ),
        (
            format!(
                "{new}r.example|SMTPSmartHostStatus|disabled|SMTPSmartHostUserid|ann|SMTPSmartHostPasswd|x"
            ),
            none,
            none,
            false,
        ),
        (format!("{new}r.example|SMTPSmartHostUserid|ann"), &[":r.example"], none, true),
        (
            format!("{new}r.example|SMTPSmartHostUserid|a nn|SMTPSmartHostPasswd|hidden"),
            &[":r.example"],
            none,
            true,
        ),
        (
            format!(
                "configuration SMTPSmartHost=r.example:587\n{old}status|enabled|Userid|ann|Passwd|x"
            ),
            &[":r.example:587"],
            &["r.example ann x"],
            false,
        ),
        (
            format!(
                "configuration SMTPSmartHost=r.example\n{old}status|disabled|Userid|ann|Passwd|x"
            ),
            &[":r.example"],
            none,
            false,
        ),
        (format!("{old}status|enabled|Userid|ann|Passwd|x"), &[":localhost:26"], none, false),
        (
            format!("configuration SMTPSmartHost=r.example\n{old}status|enabled"),
            &[":localhost:26"],
            none,
            false,
        ),
    ] {
        assert_eq!(file(&records, "smtproutes"), routes, "{records}");
        assert_eq!(file(&records, SECRET), logins, "{records}");
        let told = expand(&sources(&records), &Custom::new(), &|_| true).warnings;
        let told: Vec<_> = told.iter().filter(|it| !it.starts_with("UBLList")).collect();
        assert_eq!(!told.is_empty(), warns, "{records}: {told:?}");
        assert!(told.iter().all(|it| !it.contains("hidden")), "{told:?}");
    }
}

/// A line for a plugin stands where the registry has it, and is a comment where it has not.
#[test]
fn the_registry_decides_what_is_a_comment() {
    for (is_there, line) in [(true, "tnef2mime"), (false, "# tnef2mime")] {
        let known = |name: &str| is_there || name != "tnef2mime";
        let expansion = expand(&sources(""), &Custom::new(), &known);
        for list in ["peers/0", "peers/local"] {
            assert!(expansion.files[list].lines().any(|it| it == line), "{list}: {line}");
        }
        let warned = expansion.warnings.iter().any(|it| it.contains("has no plugin tnef2mime"));
        assert_eq!(warned, !is_there);
    }
}

/// What comes out is a config folder that the daemon starts with.
#[test]
fn the_folder_has_no_errors() {
    let all = sources(
        "configuration qpsmtpd=service|Karma|enabled|URIBL|enabled|DNSBL|enabled|RHSBL|enabled|Bcc|enabled
         configuration spamassassin=service|status|enabled
         domains d.example=domain|MailServer|10.0.0.9
         networks 192.168.1.0=network|Mask|255.255.255.0
         wbl whitelisthosts=x|192.0.2.7|White",
    );
    let expansion = expand(&all, &Custom::new(), &|name| !["tnef2mime"].contains(&name));
    assert_eq!(
        expansion.warnings,
        [
            "UBLList: rhsbl.sorbs.net has ended; it stays until you remove it",
            "62tnef2mime: this version has no plugin tnef2mime, left out",
        ]
    );
    let files = Files::in_memory(expansion.files);
    let mut problems = Vec::new();
    let defaults = crate::config::Defaults { host_name: "host.example".to_string(), cores: 2 };
    let config = crate::config::Config::load(&files, &defaults, &mut problems);
    let errors: Vec<_> = problems.iter().filter(|it| it.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(config.concurrency, 40);
}

#[test]
fn spamassassins_own_settings() {
    let mut warnings = Vec::new();
    let made = sources(
        "configuration spamassassin=service|Sensitivity|high|SubjectTag|enabled
         spamassassin wbl.global=list|a@b.example|White|*@c.example|Black",
    );
    let text = spamassassin(&made, &mut warnings);
    for line in [
        "required_score 2.99",
        "rewrite_header Subject [SPAM]",
        "trusted_networks 192.168.1.1",
        "whitelist_from a@b.example",
        "blacklist_from *@c.example",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    assert!(warnings.is_empty());
}
