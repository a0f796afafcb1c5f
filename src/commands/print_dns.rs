//! `mailreeve print-dns`, which is also `qpsmtpd-print-dns`: the DNS records to publish for a domain.
//!
//! The plain form is that of SME Server's script, to the letter, since people have scripts that read it.
//! `--modern` prints what one would publish today, and `--check` compares with what is published.

use crate::authn::crypto::{KeyKind, PrivateKey, PublicKey};
use crate::authn::dkim::published::{Published, published_as, texts};
use crate::authn::dkim::text::{domain_name, selector_name};
use crate::commands::{
    DONE, Fault, LATER, NO, check, complain, databases, folder, print, wants_help,
};
use crate::config::Config;
use crate::config::files::Files;
use crate::dns::{Answer, Kind, Question};
use crate::plugin::dkim_keys::{DkimKeys, SECOND, SELECTOR, first_line, nearest};
use crate::plugin::log::foreign;
use crate::plugin::site::Setup;
use crate::server::clock;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lexopt::{Arg, ValueExt};
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Usage: mailreeve print-dns [DOMAIN] [--modern | --check] [--config DIR]
                           [--resolver IP:PORT]

Prints the records for DKIM, SPF and DMARC to publish for DOMAIN, to be pasted
into a zone file as BIND reads it. The key is that of dkim/DOMAIN in the config
folder, else of its nearest parent, else of dkim/default. Without DOMAIN it is
DomainName of SME Server's database `configuration` (in the folder that ESMITH_DB
or DBPATH names, else in /home/e-smith/db), else the domain of the host name in
`me`.

  --modern   what one would publish today: no record of type SPF, an Ed25519 key
             where there is one, and records for MTA-STS and TLS reports
  --check    asks what is published and says what differs. Exit code 0: nothing;
             1: something; 75: a name server failed

  --config DIR         the config folder; else MAILREEVE_CONFIG, QPSMTPD_CONFIG,
                       /etc/mailreeve, /var/service/qpsmtpd/config
  --resolver IP:PORT   ask this name server instead of the configured ones
";

/// As the script says it, its slip included.
const INTRODUCTION: &str = "\
Here are sample DNS entries you should add in your public DNS
The DKIM entry can be copied as is, but others will probably need to be adjusted
to your need. For example, you should either change the reporting email adress
for DMARC (or create the needed pseudonym)


";

/// Octets of one string of a TXT record (RFC 1035 section 3.3).
const STRING_MAX: usize = 255;

const SPF: &str = "v=spf1 mx a -all";

/// A key and the name under which it is to be published.
struct Key {
    selector: String,
    public: PublicKey,
}

#[derive(Default)]
struct Words {
    domain: Option<String>,
    modern: bool,
    check: bool,
    config: Option<PathBuf>,
    resolver: Option<String>,
}

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut words = Words::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("modern") => words.modern = true,
            Arg::Long("check") => words.check = true,
            Arg::Long("config") => words.config = Some(PathBuf::from(parser.value()?)),
            Arg::Long("resolver") => words.resolver = Some(parser.value()?.string()?),
            Arg::Value(value) if words.domain.is_none() => words.domain = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if words.modern && words.check {
        return Err(Fault::Usage("--modern and --check are two questions".to_string()));
    }
    let files = folder::open(folder::find(words.config.clone())?);
    let config = Config::load(&files, &folder::defaults(), &mut Vec::new());
    let domain = match &words.domain {
        Some(text) => domain_name(text.trim_end_matches('.'))
            .ok_or_else(|| Fault::Usage(format!("'{text}' is no domain")))?,
        None => of_server().unwrap_or_else(|| own_domain(&files, &config.rules.me)),
    };
    warn(&files, &config, &domain);
    let keys = keys(&files, &domain).map_err(Fault::No)?;
    let text = match (words.modern, words.check) {
        (true, _) => modern(&domain, &config.rules.me, &keys),
        (_, true) => return compare(&domain, &keys, &config, words.resolver.as_deref()),
        _ => plain(&domain, &keys),
    };
    print(&text);
    Ok(DONE)
}

/// The domain that SME Server's databases name.
fn of_server() -> Option<String> {
    let named = databases::domain_of_server()?;
    let domain = domain_name(named.trim_end_matches('.'));
    if domain.is_none() {
        complain(&format!(
            "print-dns: warning: DomainName '{}' is none\n",
            foreign(named.as_bytes())
        ));
    }
    domain
}

/// The domain of the host name: the one of it and its parents that is hosted, else all but its first
/// label.
fn own_domain(files: &Files, me: &str) -> String {
    let me = me.to_ascii_lowercase();
    let lines = files.lines("rcpthosts", &mut Vec::new());
    let hosted: Vec<String> =
        lines.iter().filter_map(|line| domain_name(line.split_word().0)).collect();
    let names = std::iter::successors(Some(me.as_str()), |name| Some(name.split_once('.')?.1));
    let found =
        names.filter(|name| name.contains('.')).find(|it| hosted.iter().any(|own| own == it));
    let parent = || me.split_once('.').map(|(_, up)| up).filter(|up| up.contains('.'));
    found.or_else(parent).unwrap_or(&me).to_string()
}

/// Records for a domain whose mail is not signed are printed all the same.
fn warn(files: &Files, config: &Config, domain: &str) {
    let mut unheard = Vec::new();
    let keys = DkimKeys::read(&Setup::new(files, &mut unheard));
    if !keys.is_hosted(&config.rules.me, domain) {
        complain(&format!("print-dns: warning: {domain} is not hosted here: no mail is signed\n"));
    } else if !keys.is_enabled(domain) {
        complain(&format!("print-dns: warning: DKIM signing is disabled for {domain}\n"));
    }
}

/// The public keys of the folder that signs for a domain. The private key is only read where there is
/// no file with the public half, so that nobody needs to be root for this.
fn keys(files: &Files, domain: &str) -> Result<Vec<Key>, String> {
    let mut problems = Vec::new();
    let setup = Setup::new(files, &mut problems);
    let folders = setup.folders("dkim");
    let of = |name: &str| folders.iter().find(|it| domain_name(it).as_deref() == Some(name));
    let folder = nearest(domain, of).ok_or_else(|| {
        format!("{}: there is neither dkim/{domain} nor dkim/default", files.folder())
    })?;
    let folder = format!("dkim/{folder}");
    let first = read_key(&setup, &folder, SELECTOR)?
        .ok_or_else(|| format!("{folder}: neither public nor private is there"))?;
    let second = read_key(&setup, &format!("{folder}/{SECOND}"), SECOND)?;
    Ok(std::iter::once(first).chain(second).collect())
}

fn read_key(setup: &Setup<'_>, folder: &str, selector: &str) -> Result<Option<Key>, String> {
    let file = |name: &str| {
        let path = format!("{folder}/{name}");
        setup.text(&path).map_err(|why| format!("{path} {why}"))
    };
    let public = match file("public")? {
        Some(text) => PublicKey::from_pem(&text)
            .map_err(|_| format!("{folder}/public is no RSA or Ed25519 key"))?,
        None => match file("private")? {
            None => return Ok(None),
            Some(text) => PrivateKey::from_pem(&text)
                .map_err(|why| format!("{folder}/private {why}"))?
                .public()
                .ok_or_else(|| format!("{folder}/private cannot be used"))?,
        },
    };
    let named = file("selector")?;
    let named = named.as_deref().and_then(first_line).unwrap_or(selector);
    let selector =
        selector_name(named).ok_or_else(|| format!("{folder}/selector: {named:?} is none"))?;
    Ok(Some(Key { selector, public }))
}

/// SME Server's form.
fn plain(domain: &str, keys: &[Key]) -> String {
    let mut text = INTRODUCTION.to_string();
    if let Some(Key { selector, public }) = keys.first() {
        let kind = if public.kind() == KeyKind::Ed25519 { "k=ed25519;" } else { "" };
        let record = format!("v=DKIM1;{kind}p={}", STANDARD.encode(public.for_record()));
        text.push_str(&format!("{selector}._domainkey IN TXT {}\n", strings(&record, "")));
    }
    text.push_str(&format!("@ IN SPF \"{SPF}\"\n@ IN TXT \"{SPF}\"\n"));
    text.push_str(&format!(
        "_dmarc IN TXT \"v=DMARC1; p=none; adkim=s; aspf=r; \
         rua=mailto:dmarc-feedback@{domain}; pct=100\"\n"
    ));
    text
}

fn modern(domain: &str, me: &str, keys: &[Key]) -> String {
    let mut text = format!("; For the zone {domain}. Adjust the addresses, or create them.\n");
    for Key { selector, public } in keys {
        let record = key_record(public, " ");
        text.push_str(&format!("{selector}._domainkey IN TXT {record}\n"));
    }
    text.push_str(&format!("@ IN TXT \"{SPF}\"\n"));
    text.push_str(&format!(
        "_dmarc IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc-feedback@{domain}\"\n"
    ));
    let id = clock::unix().as_secs();
    text.push_str(&format!(
        "; MTA-STS (RFC 8461) also wants this file, by HTTPS with a valid certificate, at\n\
         ; https://mta-sts.{domain}/.well-known/mta-sts.txt, and a new id when it changes:\n\
         ;   version: STSv1\n;   mode: testing\n;   mx: {me}\n;   max_age: 604800\n\
         _mta-sts IN TXT \"v=STSv1; id={id}\"\n\
         _smtp._tls IN TXT \"v=TLSRPTv1; rua=mailto:tls-feedback@{domain}\"\n"
    ));
    text
}

/// The key record as the strings of a TXT record with something between them.
pub(super) fn key_record(public: &PublicKey, between: &str) -> String {
    let kind = match public.kind() {
        KeyKind::Rsa => "rsa",
        KeyKind::Ed25519 => "ed25519",
    };
    let key = STANDARD.encode(public.for_record());
    strings(&format!("v=DKIM1; k={kind}; p={key}"), between)
}

/// A text in quotes, cut into strings; it is ASCII without quotes.
fn strings(text: &str, between: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (string, behind) = rest.split_at_checked(STRING_MAX).unwrap_or((rest, ""));
        if !out.is_empty() {
            out.push_str(between);
        }
        out.push_str(&format!("\"{string}\""));
        rest = behind;
    }
    out
}

/// Words and exit code for it.
pub(super) fn verdict(published: &Published) -> (&'static str, u8) {
    match published {
        Published::Same => ("published", DONE),
        Published::Missing => ("NOT published", NO),
        Published::Other(_) => ("published WRONGLY", NO),
        Published::Unknown => ("not known whether published: DNS failed", LATER),
    }
}

/// A record that begins with `mark` must be there once; what it says is the admin's affair.
fn once(answer: &Answer, mark: &str) -> (Published, String) {
    let wanted = |text: &&[u8]| {
        text.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark.as_bytes()))
    };
    let found: Vec<String> = texts(answer).into_iter().filter(wanted).map(foreign).collect();
    match (answer, found.as_slice()) {
        (Answer::TempFail, _) => (Published::Unknown, String::new()),
        (_, []) => (Published::Missing, String::new()),
        (_, [one]) => (Published::Same, one.clone()),
        (_, several) => {
            (Published::Other(format!("{} records, one is right", several.len())), String::new())
        }
    }
}

fn compare(
    domain: &str,
    keys: &[Key],
    config: &Config,
    resolver: Option<&str>,
) -> Result<u8, Fault> {
    let mut names: Vec<String> =
        keys.iter().map(|key| format!("{}._domainkey.{domain}", key.selector)).collect();
    names.extend([domain.to_string(), format!("_dmarc.{domain}")]);
    let questions: Vec<Question> =
        names.iter().map(|name| Question::new(name, Kind::Txt)).collect();
    let answers = check::resolver(config, resolver)?.ask(&questions).map_err(check::fault)?;
    let mut worst = DONE;
    for (index, (name, answer)) in names.iter().zip(&answers).enumerate() {
        let (found, text) = match keys.get(index) {
            Some(key) => (published_as(answer, &key.public), String::new()),
            None if index == keys.len() => once(answer, "v=spf1"),
            None => once(answer, "v=DMARC1"),
        };
        let (words, code) = verdict(&found);
        let more = match found {
            Published::Other(what) => format!(": {what}"),
            _ if text.is_empty() => String::new(),
            _ => format!(": {text}"),
        };
        print(&format!("{name}: {words}{more}\n"));
        worst = if worst == NO || code == NO { NO } else { worst.max(code) };
    }
    Ok(worst)
}

#[cfg(test)]
mod tests;
