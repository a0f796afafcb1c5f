//! Settings of one value, listeners, and SpamAssassin's own.

use super::{FIRST, Fragment, Sources, lines, recipients::delegated};
use crate::esmith::defaults::{self, DISABLED, ENABLED, Property, property, scalar};
use std::net::Ipv4Addr;

/// The files of settings.
pub(super) fn files(
    sources: &Sources,
    warnings: &mut Vec<String>,
) -> Vec<(&'static str, Vec<Fragment>)> {
    let configuration = &sources.configuration;
    let name = |key| scalar(configuration, key);
    let domain = name("DomainName");
    let host =
        name("SystemName").zip(domain.clone()).map(|(host, domain)| format!("{host}.{domain}"));
    let own = defaults::GREETING.text(configuration, warnings);
    let greeting = if own.is_empty() { host.unwrap_or_default() } else { own };
    let mut bad_names: Vec<String> = name("ExternalIP").into_iter().collect();
    bad_names.extend(["aol.com", "yahoo.com"].map(str::to_string));
    let mut files = vec![
        ("plugins", "hosts_allow\npeers\ntls ssl/cert.pem ssl/cert.pem ssl/cert.pem\n".to_string()),
        ("IP", "0\n".to_string()),
        (FIRST, "qpsmtpd\n".to_string()),
        ("listen", listen(sources, warnings)),
        ("concurrency", concurrency(sources, warnings)),
        ("dkim_signing", signing(sources, warnings)),
        ("badhelo", lines(bad_names)),
        ("badmailfrom", String::new()),
        (
            "invalid_resolvable_fromhost",
            "127.0.0.0/8\n0.0.0.0/8\n224.0.0.0/4\n169.254.0.0/16\n".to_string(),
        ),
        ("plugin_dirs", "/usr/share/qpsmtpd/plugins\n".to_string()),
        ("spool_dir", "/var/spool/qpsmtpd\n".to_string()),
        ("memory_threshold", "1\n".to_string()),
        ("require_resolvable_fromhost", "1\n".to_string()),
        ("signatures_patterns", patterns(sources)),
        ("smtpgreeting", lines(Some(greeting).filter(|it| !it.is_empty()))),
        ("me", lines(domain)),
        ("tls_ciphers", lines(Some(ciphers(sources, warnings)))),
        (
            "databytes",
            lines(Some(defaults::MAX_MESSAGE_SIZE.number(configuration, warnings).to_string())),
        ),
    ];
    for (file, property) in [
        ("concurrency_per_ip", &defaults::INSTANCES_PER_IP),
        ("loglevel", &defaults::LOG_LEVEL),
        ("subject_prefix", &defaults::SUBJECT),
        ("timeout", &defaults::TIMEOUT),
        ("timeoutsmtpd", &defaults::TIMEOUT_SMTPD),
        ("tls_before_auth", &defaults::TLS_BEFORE_AUTH),
        ("tls_protocols", &defaults::TLS_PROTOCOLS),
    ] {
        let value = Some(property.text(configuration, warnings)).filter(|it| !it.is_empty());
        files.push((file, lines(value)));
    }
    let piece = |(file, text)| (file, vec![Fragment::new("10stock", text)]);
    files.into_iter().map(piece).collect()
}

fn ciphers(sources: &Sources, warnings: &mut Vec<String>) -> String {
    let own = defaults::TLS_CIPHER.text(&sources.configuration, warnings);
    let shared = defaults::MODSSL_CIPHER_SUITE.text(&sources.configuration, warnings);
    [own, shared].into_iter().find(|it| !it.is_empty()).unwrap_or_else(|| "HIGH:!SSLv2".to_string())
}

/// A service of mail and the properties that say how it listens.
struct Service {
    key: &'static str,
    status: &'static Property,
    access: &'static Property,
    port: &'static Property,
    instances: &'static Property,
    authentication: &'static Property,
    smtps: bool,
    submission: bool,
}

const SERVICES: [Service; 3] = [
    Service {
        key: "qpsmtpd",
        status: &defaults::STATUS,
        access: &defaults::ACCESS_25,
        port: &defaults::PORT_25,
        instances: &defaults::INSTANCES,
        authentication: &defaults::AUTHENTICATION,
        smtps: false,
        submission: false,
    },
    Service {
        key: "sqpsmtpd",
        status: &defaults::STATUS_465,
        access: &defaults::ACCESS_465,
        port: &defaults::PORT_465,
        instances: &defaults::INSTANCES_465,
        authentication: &defaults::AUTHENTICATION_465,
        smtps: true,
        submission: true,
    },
    Service {
        key: "uqpsmtpd",
        status: &defaults::STATUS_587,
        access: &defaults::ACCESS_587,
        port: &defaults::PORT_587,
        instances: &defaults::INSTANCES_587,
        authentication: &defaults::AUTHENTICATION_587,
        smtps: false,
        submission: true,
    },
];

/// The services that are to listen. One without a record is not there, but for the first.
fn services(sources: &Sources, warnings: &mut Vec<String>) -> Vec<&'static Service> {
    let configuration = &sources.configuration;
    let mut found = Vec::new();
    for service in &SERVICES {
        let is_there =
            service.key == "qpsmtpd" || configuration.get(service.key.as_bytes()).is_some();
        let is_on = service.status.is_enabled(configuration, warnings);
        if is_there && is_on && service.access.text(configuration, warnings) != DISABLED {
            found.push(service);
        }
    }
    found
}

/// `private` and `local` keep to the inner address: there need be no firewall.
fn listen(sources: &Sources, warnings: &mut Vec<String>) -> String {
    let configuration = &sources.configuration;
    let inner = scalar(configuration, "LocalIP").filter(|it| it.parse::<Ipv4Addr>().is_ok());
    let mut found = Vec::new();
    for service in services(sources, warnings) {
        let addresses = match service.access.text(configuration, warnings).as_str() {
            "public" => vec!["0.0.0.0".to_string()],
            "localhost" => vec!["127.0.0.1".to_string()],
            _ => std::iter::once("127.0.0.1".to_string()).chain(inner.clone()).collect(),
        };
        let port = service.port.text(configuration, warnings);
        let smtps = if service.smtps { " smtps" } else { "" };
        let logs_in = service.authentication.is_enabled(configuration, warnings);
        let submission = if service.submission && logs_in { " submission" } else { "" };
        found.extend(addresses.iter().map(|it| format!("{it}:{port}{smtps}{submission}")));
    }
    if found.is_empty() {
        // Without a line the daemon would listen on port 25 of all addresses.
        warnings.push("every service is disabled: only this machine itself is served".to_string());
        found.push("127.0.0.1:25".to_string());
    }
    lines(found)
}

/// One daemon serves what several did: their numbers add up.
fn concurrency(sources: &Sources, warnings: &mut Vec<String>) -> String {
    let services = services(sources, warnings);
    let numbers = services.iter().map(|it| it.instances.number(&sources.configuration, warnings));
    lines(Some(numbers.fold(0, u64::saturating_add).clamp(1, 1_000_000).to_string()))
}

/// For all domains, then for those with a switch of their own.
fn signing(sources: &Sources, warnings: &mut Vec<String>) -> String {
    let mut found = vec![defaults::DKIM_SIGNING.text(&sources.configuration, warnings)];
    for domain in super::domains(sources) {
        let record = sources.domains.get(domain.as_bytes());
        match record.and_then(|record| property(record, "DKIMSigning")) {
            Some(own) if own == ENABLED || own == DISABLED => found.push(format!("{domain} {own}")),
            Some(own) => warnings.push(format!(
                "domains {domain} DKIMSigning: '{}' is neither enabled nor disabled",
                own.escape_debug()
            )),
            None => {}
        }
    }
    lines(found)
}

fn patterns(sources: &Sources) -> String {
    let records = sources.mailpatterns.records().filter(|(_, record)| {
        record.kind() == Some(b"pattern") && property(record, "Status").as_deref() == Some(ENABLED)
    });
    let bodies = records.filter_map(|(_, record)| property(record, "Body"));
    let single =
        bodies.flat_map(|body| body.split(',').map(|it| it.trim().to_string()).collect::<Vec<_>>());
    lines(single.filter(|it| !it.is_empty()))
}

/// Whether another server has some of our domains.
pub(super) fn forwards(sources: &Sources) -> bool {
    !delegated(sources).is_empty()
}

/// SpamAssassin's settings, for a file in its own folder.
#[must_use]
pub fn spamassassin(sources: &Sources, warnings: &mut Vec<String>) -> String {
    let configuration = &sources.configuration;
    let mut text = |property: &Property| property.text(configuration, warnings);
    let tag = text(&defaults::TAG_LEVEL);
    let sensitivity = text(&defaults::SENSITIVITY);
    let score = match sensitivity.as_str() {
        "veryhigh" => "2",
        "high" => "3",
        "low" => "7",
        "verylow" => "9",
        "custom" => tag.as_str(),
        _ => "5",
    };
    let hundredths = score.parse::<u64>().unwrap_or(5).saturating_mul(100).saturating_sub(1);
    let mut found = vec![format!("required_score {}.{:02}", hundredths / 100, hundredths % 100)];
    if text(&defaults::SUBJECT_TAG) == ENABLED {
        found.push(format!("rewrite_header Subject {}", text(&defaults::SUBJECT)));
    }
    for (name, property) in [
        ("report_safe", &defaults::REPORT_SAFE),
        ("use_bayes", &defaults::USE_BAYES),
        ("skip_rbl_checks", &defaults::SKIP_RBL_CHECKS),
        ("dns_available", &defaults::DNS_AVAILABLE),
        ("ok_locales", &defaults::OK_LOCALES),
    ] {
        found.push(format!("{name} {}", text(property)));
    }
    let own = scalar(configuration, "LocalIP").unwrap_or_default();
    let trusted = format!("{own} {}", text(&defaults::TRUSTED_NETWORKS));
    if !trusted.trim().is_empty() {
        found.push("clear_trusted_networks".to_string());
        found.push(format!("trusted_networks {}", trusted.trim()));
    }
    for (key, end) in [("wbl.global", "from"), ("wbl.global_to", "to")] {
        let record = sources.spamassassin.get(key.as_bytes());
        for (address, colour) in record.map(|it| it.properties()).unwrap_or_default() {
            let Some(address) = super::word(address) else { continue };
            match colour {
                Some(b"White") => found.push(format!("whitelist_{end} {address}")),
                Some(b"Black") => found.push(format!("blacklist_{end} {address}")),
                _ => {}
            }
        }
    }
    lines(found)
}
