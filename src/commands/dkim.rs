//! `mailreeve dkim`: keys and signatures from the shell, with the daemon's own code.

pub(super) mod keygen;
mod status;

use crate::authn::crypto::PrivateKey;
use crate::authn::dkim::canon::Canon;
use crate::authn::dkim::sign::{NAME, Signer, sign};
use crate::authn::dkim::text::{domain_name, selector_name};
use crate::authn::dkim::{Mail, Outcome, verify as check};
use crate::authn::dmarc::author::Authors;
use crate::commands::message::{parse, read};
use crate::commands::{DONE, Fault, LATER, NO, check as checks, folder, print, wants_help};
use crate::config::Config;
use crate::server::clock;
use lexopt::{Arg, ValueExt};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use zeroize::Zeroizing;

pub(super) const HELP: &str = "\
Usage: mailreeve dkim keygen [--ed25519] [--bits N] [--selector S] DIR
       mailreeve dkim keygen [--ed25519] [--bits N] [--selector S]
                             --default | --domain D | --all   [--config DIR]
       mailreeve dkim sign   --domain D --selector S --key PEM
                             [--canon HEADER/BODY] FILE
       mailreeve dkim verify FILE   [--config DIR] [--resolver IP:PORT]
       mailreeve dkim status [DOMAIN...]   [--config DIR] [--resolver IP:PORT]

keygen  makes a key: the files private (PEM, mode 0400), selector and public in
        DIR, in dkim/default or in dkim/D of the config folder, and prints the
        record to publish. RSA of 2048 bits (or 3072, 4096) unless --ed25519,
        which in the config folder becomes the second key, in ed25519/. A key
        that is there already is never overwritten; with --default and --all that
        is no fault. The selector is `default` (`ed25519`) unless given. --all is
        for every record of type domain in SME Server's database `domains` (in
        the folder that ESMITH_DB or DBPATH names, else in /home/e-smith/db).
        Keys in the config folder sign from the next reload on, and a daemon that
        runs sees them and reloads by itself. The records should be published
        first. So, before --all above all: write `disabled` into dkim_signing (or
        `D disabled` for one domain), make the keys, publish what is printed, and
        take the line out when `mailreeve print-dns --check D` finds it in DNS.
        Until then mail goes out unsigned.
sign    prints the message in FILE with a signature above it. The key is RSA or
        Ed25519, PKCS#1 or PKCS#8. --canon is relaxed/relaxed unless given.
verify  prints a line for each signature of the message in FILE: the result, d=,
        s=, and why. Exit code 0: one passes; 1: none; 75: none, and a name
        server failed.
status  says for each of our domains with which key its mail is signed, and
        whether that is the one in DNS. Exit code 1: some domain's mail goes out
        unsigned or with a key that is not published.

FILE may be - for standard input; its lines may end with LF or CR LF.

  --config DIR         the config folder; else MAILREEVE_CONFIG, QPSMTPD_CONFIG,
                       /etc/mailreeve, /var/service/qpsmtpd/config
  --resolver IP:PORT   ask this name server instead of the configured ones
";

#[derive(Default)]
struct Words {
    values: Vec<String>,
    ed25519: bool,
    default: bool,
    all: bool,
    bits: Option<usize>,
    domain: Option<String>,
    selector: Option<String>,
    key: Option<PathBuf>,
    canon: Option<String>,
    config: Option<PathBuf>,
    resolver: Option<String>,
}

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut words = Words::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("ed25519") => words.ed25519 = true,
            Arg::Long("default") => words.default = true,
            Arg::Long("all") => words.all = true,
            Arg::Long("bits") => words.bits = Some(parser.value()?.parse()?),
            Arg::Long("domain") => words.domain = Some(parser.value()?.string()?),
            Arg::Long("selector") => words.selector = Some(parser.value()?.string()?),
            Arg::Long("key") => words.key = Some(PathBuf::from(parser.value()?)),
            Arg::Long("canon") => words.canon = Some(parser.value()?.string()?),
            Arg::Long("config") => words.config = Some(PathBuf::from(parser.value()?)),
            Arg::Long("resolver") => words.resolver = Some(parser.value()?.string()?),
            Arg::Value(value) => words.values.push(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let values: Vec<&str> = words.values.iter().map(String::as_str).collect();
    match values.as_slice() {
        ["keygen", rest @ ..] if rest.len() <= 1 => keygen::run(&words, rest.first().copied()),
        ["sign", file] => sign_file(file, &words),
        ["verify", file] => verify(file, words.config.clone(), words.resolver.as_deref()),
        ["status", domains @ ..] => status::run(&words, domains),
        _ => Err(Fault::Usage("say what: keygen, sign FILE, verify FILE or status".to_string())),
    }
}

/// Checks the signatures of a stored message.
pub(super) fn verify(
    file: &str,
    config: Option<PathBuf>,
    resolver: Option<&str>,
) -> Result<u8, Fault> {
    let octets = read(file)?;
    let stored = parse(&octets)?;
    let files = folder::open_if_any(config)?;
    // What is wrong in the folder is the business of check-config.
    let config = Config::load(&files, &folder::defaults(), &mut Vec::new());
    let mut live = checks::resolver(&config, resolver)?;
    let mail = Mail::of(&stored);
    let authors = Authors::of(&stored.header, &stored.headers);
    let now = clock::unix().as_secs();
    let found = check(&mail, authors.one(), now, &mut live).map_err(checks::fault)?;
    for it in &found.signatures {
        let (word, why) = (it.outcome.word(), it.words());
        print(&format!("{word} d={} s={} ({why})\n", it.domain, it.selector));
    }
    if found.left_out > 0 {
        print(&format!("{} more signatures were not looked at\n", found.left_out));
    }
    let any = |outcome| found.signatures.iter().any(|it| it.outcome == outcome);
    if found.signatures.is_empty() {
        print("none\n");
    }
    Ok(match () {
        () if any(Outcome::Pass) => DONE,
        () if any(Outcome::TempError) => LATER,
        () => NO,
    })
}

fn sign_file(file: &str, words: &Words) -> Result<u8, Fault> {
    let needs = |what: &str| Fault::Usage(format!("dkim sign needs --{what}"));
    let domain = words.domain.as_deref().ok_or_else(|| needs("domain D"))?;
    let domain = domain_name(domain.trim_end_matches('.'))
        .ok_or_else(|| Fault::Usage(format!("--domain {domain}: that is no domain")))?;
    let selector = words.selector.as_deref().ok_or_else(|| needs("selector S"))?;
    let selector = selector_name(selector)
        .ok_or_else(|| Fault::Usage(format!("--selector {selector}: that is no selector")))?;
    let path = words.key.as_deref().ok_or_else(|| needs("key PEM"))?;
    let (header_canon, body_canon) = canons(words.canon.as_deref())?;
    let pem = fs::read_to_string(path).map(Zeroizing::new);
    let pem = pem.map_err(|error| Fault::No(format!("{}: {error}", path.display())))?;
    let key =
        PrivateKey::from_pem(&pem).map_err(|why| Fault::No(format!("{} {why}", path.display())))?;
    let octets = read(file)?;
    let stored = parse(&octets)?;
    let time = clock::unix().as_secs();
    let signer =
        Signer { key: &key, domain: &domain, selector: &selector, header_canon, body_canon, time };
    let values = sign(&Mail::of(&stored), &[signer]);
    let values = values.ok_or_else(|| Fault::Later("the key could not be used".to_string()))?;
    let mut out = io::stdout().lock();
    for value in values {
        // Written by our own code with CR LF, which a file with LF does not have.
        let end = stored.line_end;
        let field = format!("{NAME}:{value}{end}");
        let field = if end == "\n" { field.replace('\r', "") } else { field };
        out.write_all(field.as_bytes()).map_err(written)?;
    }
    out.write_all(&octets).and_then(|()| out.flush()).map_err(written)?;
    Ok(DONE)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn written(error: io::Error) -> Fault {
    Fault::No(format!("writing the message: {error}"))
}

fn canons(text: Option<&str>) -> Result<(Canon, Canon), Fault> {
    let Some(text) = text else { return Ok((Canon::Relaxed, Canon::Relaxed)) };
    let (header, body) = text.split_once('/').unwrap_or((text, "simple"));
    match (Canon::of_name(header.as_bytes()), Canon::of_name(body.as_bytes())) {
        (Some(header), Some(body)) => Ok((header, body)),
        _ => {
            let what = format!("--canon {text}: write relaxed or simple, a slash, and one again");
            Err(Fault::Usage(what))
        }
    }
}
