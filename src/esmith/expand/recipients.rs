//! Whom mail is for: our domains, the people in them, and servers behind us.

use super::{Fragment, SECRET, Sources, domains, lines, word};
use crate::config::smtpauth::WORD_MAX;
use crate::esmith::defaults::{self, property, scalar};

/// Kinds of accounts that can get mail.
const KINDS: [&[u8]; 5] = [b"group", b"mailinglist", b"mailmanlist", b"pseudonym", b"user"];

/// The domains that another server has, and which.
pub(super) fn delegated(sources: &Sources) -> Vec<(String, String)> {
    let whole = scalar(&sources.configuration, "DelegateMailServer");
    let mut found = Vec::new();
    for domain in domains(sources) {
        let own = sources.domains.get(domain.as_bytes()).and_then(|it| property(it, "MailServer"));
        let server = own.filter(|server| server != "localhost").or_else(|| whole.clone());
        if let Some(server) = server.as_deref().and_then(|it| word(it.as_bytes())) {
            found.push((domain, server));
        }
    }
    let primary = scalar(&sources.configuration, "DomainName");
    let is_new = |primary: &String| !found.iter().any(|(domain, _)| domain == primary);
    if let Some((server, primary)) = whole.zip(primary.filter(is_new)) {
        found.push((primary, server));
    }
    found
}

/// Whether all recipients of our domains are known.
pub(super) fn are_known(sources: &Sources) -> bool {
    let unknown = scalar(&sources.configuration, "EmailUnknownUser");
    unknown.is_none_or(|it| it == "returntosender")
        && scalar(&sources.configuration, "DelegateMailServer").is_none()
}

/// The files about recipients.
pub(super) fn files(
    sources: &Sources,
    warnings: &mut Vec<String>,
) -> Vec<(&'static str, Vec<Fragment>)> {
    vec![
        (
            "rcpthosts",
            vec![
                Fragment::new("10domains", rcpthosts(sources)),
                Fragment::new("20mxbackup", backup(sources)),
            ],
        ),
        ("goodrcptto", vec![Fragment::new("10goodrcptto", good(sources))]),
        (
            "badrcptto",
            vec![Fragment::new("10internal", bad(sources)), Fragment::new("50patterns", PATTERNS)],
        ),
        ("smtproutes", vec![Fragment::new("10smtproutes", routes(sources, warnings))]),
        (SECRET, vec![Fragment::new("10smtpauth", logins(sources, warnings))]),
    ]
}

/// Formerly in badrcptto_patterns.
const PATTERNS: &str = "\
! Paths of hosts are not followed here
@.*@ One at sign is enough
% Forwarding by percent sign is not done here
^@ A recipient needs a name before the at sign
";

fn rcpthosts(sources: &Sources) -> String {
    let name = |key| scalar(&sources.configuration, key);
    let host =
        name("SystemName").zip(name("DomainName")).map(|(host, domain)| format!("{host}.{domain}"));
    let literal = name("ExternalIP").map(|address| format!("[{address}]"));
    let found = host.into_iter().chain(domains(sources)).chain(literal);
    lines(found.filter_map(|it| word(it.as_bytes())))
}

/// Domains that we take mail for when their own server is away: `domain,1,domain,0`, where 1 says that
/// the hosts below it count too.
fn backup(sources: &Sources) -> String {
    let Some(record) = sources.configuration.get(b"mxbackup") else { return String::new() };
    if property(record, "status").as_deref() != Some(defaults::ENABLED) {
        return String::new();
    }
    let names = property(record, "name").unwrap_or_default();
    let words: Vec<&str> = names.split(',').map(str::trim).collect();
    let pairs = words.chunks(2).filter_map(|pair| {
        let domain = word(pair.first()?.as_bytes())?;
        let below = pair.get(1).is_some_and(|flag| !flag.is_empty() && *flag != "0");
        Some(if below { format!("{domain}\n.{domain}") } else { domain })
    });
    lines(pairs)
}

fn good(sources: &Sources) -> String {
    let domains = domains(sources);
    let away = delegated(sources);
    let external = scalar(&sources.configuration, "ExternalIP");
    let mut found: Vec<String> =
        external.into_iter().map(|address| format!("postmaster@[{address}]")).collect();
    for name in ["admin", "root"] {
        found.extend(domains.iter().map(|domain| format!("{name}@{domain}")));
    }
    for (key, record) in sources.accounts.records() {
        if !record.kind().is_some_and(|kind| KINDS.contains(&kind)) {
            continue;
        }
        let Some(name) = word(key) else { continue };
        if name.contains('@') {
            found.push(name);
        } else {
            found.extend(domains.iter().map(|domain| format!("{name}@{domain}")));
        }
    }
    found.extend(away.into_iter().map(|(domain, _)| format!("@{domain}")));
    lines(found)
}

fn bad(sources: &Sources) -> String {
    let mut all = domains(sources);
    let primary = scalar(&sources.configuration, "DomainName");
    if let Some(primary) = primary.filter(|primary| !all.contains(primary)) {
        all.insert(0, primary);
    }
    let mut found = Vec::new();
    for (key, record) in sources.accounts.records() {
        if property(record, "Visible").as_deref() != Some("internal") {
            continue;
        }
        let Some(name) = word(key) else { continue };
        if !name.contains('@') {
            found.extend(all.iter().map(|domain| format!("{name}@{domain}")));
        }
        found.push(name);
    }
    lines(found)
}

fn routes(sources: &Sources, warnings: &mut Vec<String>) -> String {
    let bracket = |server: &str| match server.starts_with('[') || server.contains(':') {
        true => server.to_string(),
        false => format!("[{server}]"),
    };
    let away = delegated(sources).into_iter();
    let mut found: Vec<String> =
        away.map(|(domain, server)| format!("{domain}:{}", bracket(&server))).collect();
    let smart = smart_host(sources, warnings);
    found.extend(smart.map(|SmartHost { host, port, .. }| format!(":{host}{port}")));
    lines(found)
}

/// The line by which queue/smtp-forward and the queue log in at the smart host.
fn logins(sources: &Sources, warnings: &mut Vec<String>) -> String {
    let smart = smart_host(sources, warnings);
    let known = smart.and_then(|SmartHost { host, login, .. }| Some((host, login?)));
    lines(known.map(|(host, (user, password))| format!("{host} {user} {password}")))
}

/// Where all other mail goes, if not straight to whom it is for.
struct SmartHost {
    /// Name or address, as `smtproutes` spells it.
    host: String,
    /// `:PORT`, or nothing.
    port: String,
    /// Name and password to log in with.
    login: Option<(String, String)>,
}

/// SME Server 11 has all of it in `postfix`. Before, `smtp-auth-proxy` was a program on port 26 that logged
/// in for others: we do that ourselves, and it is asked only where we cannot know what it knows.
fn smart_host(sources: &Sources, warnings: &mut Vec<String>) -> Option<SmartHost> {
    let configuration = &sources.configuration;
    let newer = defaults::SMART_HOST.stored(configuration).map(|(_, host)| host);
    let newer = newer.and_then(|host| word(host.as_bytes()));
    let older = scalar(configuration, "SMTPSmartHost").filter(|host| host != "off");
    let older = older.and_then(|host| word(host.as_bytes()));
    if defaults::AUTH_PROXY.is_enabled(configuration, warnings) {
        let login = login(sources, "smtp-auth-proxy", ["Userid", "Passwd"], warnings);
        let direct = older.filter(|_| login.is_some()).map(|route| split(&route));
        let (host, port) = direct.unwrap_or_else(|| ("localhost".into(), ":26".into()));
        let login = login.filter(|_| port != ":26" || host != "localhost");
        return Some(SmartHost { host, port, login });
    }
    if let Some(host) = newer {
        if !defaults::SMART_HOST_STATUS.is_enabled(configuration, warnings) {
            return None;
        }
        let port = defaults::SMART_HOST_PORT.text(configuration, warnings);
        let port = if port.is_empty() { port } else { format!(":{port}") };
        let names = ["SMTPSmartHostUserid", "SMTPSmartHostPasswd"];
        return Some(SmartHost { host, port, login: login(sources, "postfix", names, warnings) });
    }
    let (host, port) = split(&older?);
    Some(SmartHost { host, port, login: None })
}

/// The host and `:PORT` of a route.
fn split(route: &str) -> (String, String) {
    let is_port = |it: &str| !it.is_empty() && it.bytes().all(|octet| octet.is_ascii_digit());
    match route.rsplit_once(':') {
        Some((host, port)) if is_port(port) && (host.ends_with(']') || !host.contains(':')) => {
            (host.to_string(), format!(":{port}"))
        }
        _ => (route.to_string(), String::new()),
    }
}

/// Name and password of a record. What the file `smtpauth` cannot hold is told without the password.
fn login(
    sources: &Sources,
    key: &str,
    names: [&str; 2],
    warnings: &mut Vec<String>,
) -> Option<(String, String)> {
    let record = sources.configuration.get(key.as_bytes())?;
    let [user, password] = names.map(|name| property(record, name));
    let (user, password) = match (user, password) {
        (Some(user), Some(password)) => (user, password),
        (None, None) => return None,
        _ => {
            let [user, password] = names;
            warnings.push(format!("{key}: {user} and {password} go together, one is not set"));
            return None;
        }
    };
    let is_odd = |text: &str| {
        text.len() > WORD_MAX
            || text.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER)
    };
    if is_odd(&user) || is_odd(&password) || user.contains(char::is_whitespace) {
        warnings.push(format!("{key}: name or password cannot be written into smtpauth"));
        return None;
    }
    Some((user, password))
}
