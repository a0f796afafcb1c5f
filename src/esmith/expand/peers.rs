//! The lists of plugins: `peers/0` for the world, `peers/local` for our own, in the order and with the
//! numbers of SME Server's fragments.

use super::{Fragment, Sources, lists, recipients, settings};
use crate::esmith::defaults::{self, Property};

/// A line, and on which side it stands.
struct Row {
    name: &'static str,
    older: &'static [&'static str],
    side: Side,
    line: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    World,
    Local,
    Both,
}

use Side::{Both, Local, World};

/// Both lists.
pub(super) fn files(
    sources: &Sources,
    is_known: &dyn Fn(&str) -> bool,
    warnings: &mut Vec<String>,
) -> Vec<(&'static str, Vec<Fragment>)> {
    let mut rows = connection(sources, warnings);
    rows.extend(envelope(sources, warnings));
    rows.extend(message(sources, warnings));
    let (mut world, mut local) = (Vec::new(), Vec::new());
    for row in rows {
        let mut text = row.line.unwrap_or_default();
        let plugin = text.split(' ').next().unwrap_or_default().to_string();
        if !text.is_empty() && !is_known(&plugin) {
            warnings.push(format!("{}: this version has no plugin {plugin}, left out", row.name));
            text = format!("# {text}\n");
        }
        let piece = || Fragment { name: row.name, older: row.older, text: text.clone() };
        if row.side != Local {
            world.push(piece());
        }
        if row.side != World {
            local.push(piece());
        }
    }
    // A user who sits in the office says any name that his machine has.
    local.push(Fragment {
        name: "36helo",
        older: &["36check_spamhelo"],
        text: "helo policy lenient".into(),
    });
    vec![("peers/0", world), ("peers/local", local)]
}

fn row(
    name: &'static str,
    older: &'static [&'static str],
    side: Side,
    line: impl Into<String>,
) -> Row {
    Row { name, older, side, line: Some(line.into()) }
}

fn optional(
    name: &'static str,
    older: &'static [&'static str],
    side: Side,
    line: Option<String>,
) -> Row {
    Row { name, older, side, line }
}

fn connection(sources: &Sources, warnings: &mut Vec<String>) -> Vec<Row> {
    let mut text = |property: &Property| property.text(&sources.configuration, warnings);
    let yes = |value: String| if value == defaults::ENABLED { "yes" } else { "no" };
    let auth = format!(
        "auth/auth_cvm_unix_local cvm_socket /var/lib/cvm/cvm-unix-local.socket enable_smtp {} enable_ssmtp {}",
        yes(text(&defaults::AUTHENTICATION)),
        yes(text(&defaults::AUTHENTICATION_465))
    );
    let karma = (text(&defaults::KARMA) == defaults::ENABLED).then(|| {
        let (negative, strikes) = (text(&defaults::KARMA_NEGATIVE), text(&defaults::KARMA_STRIKES));
        format!("karma reject naughty negative {negative} strikes {strikes}")
    });
    let bcc = (text(&defaults::BCC) == defaults::ENABLED).then(|| {
        format!("bcc mode {} all {}", text(&defaults::BCC_MODE), text(&defaults::BCC_USER))
    });
    let load = format!("loadcheck max_load {}", text(&defaults::MAX_LOAD));
    let is_listed = ["whitelisthosts", "whitelisthelo", "whitelistsenders"]
        .iter()
        .any(|record| !lists::marked(sources, record, "White").is_empty());
    vec![
        row("02logterse", &[], Both, "logging/logterse"),
        row("04tls", &[], Both, "tls ssl/cert.pem ssl/cert.pem ssl/cert.pem"),
        row("05auth_cvm_unix_local", &[], Both, auth),
        row("06loadcheck", &[], World, load),
        row("10earlytalker", &["10check_earlytalker"], World, "earlytalker"),
        optional("11whitelist_soft", &[], World, is_listed.then(|| "whitelist".to_string())),
        row("12bogus_bounce", &[], World, "bogus_bounce log"),
        row("12count_unrecognized_commands", &[], World, "count_unrecognized_commands 4"),
        optional("13bcc", &[], Both, bcc),
        row("14relay", &["14check_relay", "15check_norelay"], Both, "relay"),
        optional("15karma", &[], World, karma),
    ]
}

fn envelope(sources: &Sources, warnings: &mut Vec<String>) -> Vec<Row> {
    let forwards = settings::forwards(sources).then(|| "check_smtp_forward".to_string());
    let known = recipients::are_known(sources).then(|| "check_goodrcptto extn -".to_string());
    let headers = headers(sources, warnings);
    let mut text = |property: &Property| property.text(&sources.configuration, warnings);
    let spf = format!(
        "sender_permitted_from reject 1 no_dmarc_policy {}",
        text(&defaults::SPF_REJECT_POLICY)
    );
    let mut bit = |property| u8::from(text(property) == defaults::ENABLED);
    let (reject, reporting) = (bit(&defaults::DMARC_REJECT), bit(&defaults::DMARC_REPORTING));
    let dmarc = format!("dmarc reject {reject} reporting {reporting}");
    let rhsbl = (text(&defaults::RHSBL) == defaults::ENABLED).then(|| "rhsbl".to_string());
    let dnsbl =
        (text(&defaults::DNSBL) == defaults::ENABLED).then(|| "dnsbl reject naughty".to_string());
    let helo = format!(
        "helo policy {} reject {}",
        text(&defaults::HELO_POLICY),
        text(&defaults::HELO_REJECT)
    );
    vec![
        row(
            "16resolvable_fromhost",
            &["16require_resolvable_fromhost"],
            World,
            "resolvable_fromhost",
        ),
        row("17headers", &["17check_basicheaders"], Both, headers),
        row("18sender_permitted_from", &[], World, spf),
        row("19dkim", &[], Both, "dkim"),
        row("19dmarc", &[], World, dmarc),
        optional("20rhsbl", &[], World, rhsbl),
        optional("22dnsbl", &[], World, dnsbl),
        row("30badmailfrom", &["30check_badmailfrom"], Both, "badmailfrom"),
        row("34badrcptto", &["33check_badrcptto_patterns", "34check_badrcptto"], Both, "badrcptto"),
        row("36helo", &["36check_spamhelo"], World, helo),
        optional("37check_smtp_forward", &[], Both, forwards),
        optional("38check_goodrcptto", &[], Both, known),
        row("38naughty", &[], World, "naughty reject rcpt"),
        row("39rcpt_ok", &[], Both, "rcpt_ok"),
    ]
}

fn headers(sources: &Sources, warnings: &mut Vec<String>) -> String {
    let mut text = |property: &Property| property.text(&sources.configuration, warnings);
    let names = text(&defaults::REQUIRED_HEADERS);
    let names: Vec<&str> = names.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let is_name =
        |name: &&str| name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let mut line = "headers require From".to_string();
    if !names.is_empty() && names.iter().all(is_name) {
        line = format!("headers require {}", names.join(","));
    }
    let both = text(&defaults::MAXIMUM_DATE_OFFSET);
    for (argument, property) in
        [("future", &defaults::MAXIMUM_FUTURE_OFFSET), ("past", &defaults::MAXIMUM_PAST_OFFSET)]
    {
        let own = text(property);
        let days = if own.is_empty() { &both } else { &own };
        if days != "0" {
            line.push_str(&format!(" {argument} {days}"));
        }
    }
    line
}

fn message(sources: &Sources, warnings: &mut Vec<String>) -> Vec<Row> {
    let configuration = &sources.configuration;
    let spam = spam(sources, warnings);
    let virus = virus(sources, warnings);
    let mut on = |property: &Property| property.is_enabled(configuration, warnings);
    let when = |is_on: bool, line: &str| is_on.then(|| line.to_string());
    let patterns =
        when(on(&defaults::PATTERNS_SCAN), "virus/pattern_filter check patterns action deny");
    let tnef = when(on(&defaults::TNEF2MIME), "tnef2mime");
    let disclaimer = when(on(&defaults::DISCLAIMER), "disclaimer");
    let uribl = when(on(&defaults::URIBL), "uribl action deny");
    vec![
        optional("62pattern_filter", &[], Both, patterns),
        optional("62tnef2mime", &[], Both, tnef),
        optional("65disclaimer", &[], Local, disclaimer),
        optional("69uribl", &[], World, uribl),
        optional("70spamassassin", &[], World, spam),
        optional("80clamdscan", &["80clamav"], Both, virus),
        row("90qmail-queue", &[], Both, "queue/qmail-queue"),
    ]
}

fn spam(sources: &Sources, warnings: &mut Vec<String>) -> Option<String> {
    let configuration = &sources.configuration;
    if !defaults::SPAM.is_enabled(configuration, warnings) {
        return None;
    }
    let tag = defaults::TAG_LEVEL.number(configuration, warnings);
    let reject = defaults::REJECT_LEVEL.number(configuration, warnings);
    let mut line = "spamassassin".to_string();
    if defaults::SENSITIVITY.text(configuration, warnings) == "custom" && reject > tag {
        line.push_str(&format!(" reject {reject}"));
    }
    if defaults::SUBJECT_TAG.is_enabled(configuration, warnings) {
        line.push_str(&format!(" munge_subject_threshold {tag}"));
    }
    Some(line)
}

/// The plugin counts in KiB.
fn virus(sources: &Sources, warnings: &mut Vec<String>) -> Option<String> {
    let configuration = &sources.configuration;
    let is_on = defaults::VIRUS_SCAN.is_enabled(configuration, warnings)
        && defaults::CLAMD.is_enabled(configuration, warnings);
    let octets = match defaults::MAX_SCANNER_SIZE.number(configuration, warnings) {
        0 => defaults::STREAM_MAX_LENGTH.number(configuration, warnings),
        own => own,
    };
    is_on.then(|| {
        format!(
            "virus/clamdscan clamd_socket /var/clamav/clamd.socket max_size {}",
            octets.div_ceil(1_024).max(1)
        )
    })
}
