//! `mailreeve check`: what the daemon would say of a name, an address, a sender or a message, asked from the shell.

mod dmarc;
mod spf;
mod uri;

use crate::commands::{DONE, Fault, NO, dkim, folder, print, wants_help};
use crate::config::Config;
use crate::config::files::Files;
use crate::config::nets::canonical;
use crate::dns::lists::{Listing, cause, classify};
use crate::dns::{Answer, Kind, Question, Record, reverse_address};
use crate::plugin::log::foreign;
use crate::plugin::site::{Setup, Site};
use crate::plugin::{Args, Chain, Loaded};
use crate::plugins;
use crate::plugins::load::{Strictness, load};
use crate::server::live::Live;
use crate::smtp::command;
use lexopt::{Arg, ValueExt};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const HELP: &str = "\
Usage: mailreeve check helo NAME --ip IP [--config DIR] [--resolver IP:PORT]
       mailreeve check dns-lists IP      [--config DIR] [--resolver IP:PORT]
       mailreeve check spf --ip IP --helo NAME --mail-from ADDR
                                         [--config DIR] [--resolver IP:PORT]
       mailreeve check dkim FILE         [--config DIR] [--resolver IP:PORT]
       mailreeve check uri FILE          [--config DIR] [--resolver IP:PORT]
       mailreeve check dmarc FILE --ip IP --helo NAME --mail-from ADDR
                                         [--config DIR] [--resolver IP:PORT]

helo       says what the plugin `helo`, as the configuration has it, thinks of a
           client at IP that introduces itself as NAME. Exit code 0: nothing
           against it; 1: it fails.
dns-lists  asks every list of `dnsbl_zones` about IP and prints what each
           answered. Exit code 0: no list names it; 1: one does.
spf        says whether a client at IP may send for ADDR, or for NAME where ADDR
           is empty or <> (RFC 7208). The first line is the result alone: pass,
           fail, softfail, neutral, none, temperror or permerror; then the
           domain's explanation, why, and each mechanism on the way. Needs no
           config folder. Exit code 0: pass, neutral or none; 1: fail, softfail
           or permerror; 75: temperror.
dkim       checks the DKIM signatures of the message in FILE; the same as
           `mailreeve dkim verify`, whose help tells more.
uri        prints each domain that the message in FILE (- for standard input)
           leads to, its header included, and which lists of `uribl_zones` have
           it. Exit code 0: none; 1: some list has one.
dmarc      says what the message in FILE comes to if a client at IP sends it for
           ADDR (RFC 9989). The first line is the Authentication-Results that it
           would get (SPF, DKIM, DMARC); the second what is to be done with it:
           pass, or what the author's domain wants: none, quarantine or reject.
           What a forwarder in `dmarc_trusted` or `arc_trusted` has passed on is
           none. Needs no config folder. Exit code 0: pass or none; 1: quarantine,
           reject, or a From without a domain to ask; 75: a name server failed
           (temperror, or a forwarder out of reach), and so nothing is to be done.

  --config DIR         the config folder; else MAILREEVE_CONFIG, QPSMTPD_CONFIG,
                       /etc/mailreeve, /var/service/qpsmtpd/config
  --resolver IP:PORT   ask this name server instead of the configured ones
";

#[derive(Default)]
struct Words {
    what: Vec<String>,
    ip: Option<IpAddr>,
    helo: Option<String>,
    mail_from: Option<String>,
    config: Option<PathBuf>,
    resolver: Option<String>,
}

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut words = Words::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("ip") => words.ip = Some(parser.value()?.parse()?),
            // What a client says need not be UTF-8.
            Arg::Long("helo") => words.helo = Some(parser.value()?.to_string_lossy().into()),
            Arg::Long("mail-from") => {
                words.mail_from = Some(parser.value()?.to_string_lossy().into());
            }
            Arg::Long("config") => words.config = Some(PathBuf::from(parser.value()?)),
            Arg::Long("resolver") => words.resolver = Some(parser.value()?.string()?),
            Arg::Value(value) if words.what.len() < 2 => words.what.push(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let what: Vec<&str> = words.what.iter().map(String::as_str).collect();
    let sender = (words.helo.as_deref(), words.mail_from.as_deref());
    match (what.as_slice(), words.ip, sender) {
        (["helo", name], Some(ip), (None, None)) => helo(name, ip, &words),
        (["helo", _], None, _) => Err(Fault::Usage("check helo needs --ip IP".to_string())),
        (["dns-lists", ip], None, (None, None)) => {
            let address =
                ip.parse().map_err(|_| Fault::Usage(format!("'{ip}' is no IP address")))?;
            dns_lists(address, &words)
        }
        (["spf"], Some(ip), (Some(helo), Some(sender))) => spf::run(ip, helo, sender, &words),
        (["spf"], ..) => {
            let what = "check spf needs --ip IP, --helo NAME and --mail-from ADDR";
            Err(Fault::Usage(what.to_string()))
        }
        (["dkim", file], None, (None, None)) => {
            dkim::verify(file, words.config.clone(), words.resolver.as_deref())
        }
        (["uri", file], None, (None, None)) => uri::run(file, &words),
        (["dmarc", file], Some(ip), (Some(helo), Some(sender))) => {
            dmarc::run(file, (ip, helo, sender), &words)
        }
        (["dmarc", ..], ..) => {
            let what = "check dmarc needs FILE, --ip IP, --helo NAME and --mail-from ADDR";
            Err(Fault::Usage(what.to_string()))
        }
        _ => {
            let what = "say what: helo NAME --ip IP, dns-lists IP, dkim FILE, uri FILE, \
                spf --ip IP --helo NAME --mail-from ADDR, or dmarc FILE with the same";
            Err(Fault::Usage(what.to_string()))
        }
    }
}

fn helo(name: &str, ip: IpAddr, words: &Words) -> Result<u8, Fault> {
    if name.is_empty() || name.contains(|character: char| character.is_ascii_control()) {
        return Err(Fault::Usage("a HELO name has no control characters".to_string()));
    }
    let (site, chain) = reduced(words, "helo")?;
    let mut live = live(&site, words)?;
    let commands = command::line(&format!("EHLO {name}"));
    let (log, _) = live.play(&site, &chain, canonical(ip), &commands).map_err(fault)?;
    let lines: Vec<&String> = log.iter().filter(|line| line.contains(" helo: ")).collect();
    for line in &lines {
        print(&format!("{line}\n"));
    }
    let failed = lines.iter().any(|line| line.contains(" helo: fail"));
    print(if failed { "fail\n" } else { "pass\n" });
    Ok(if failed { NO } else { DONE })
}

fn dns_lists(ip: IpAddr, words: &Words) -> Result<u8, Fault> {
    let (site, chain) = reduced(words, "dnsbl")?;
    let zones = chain.plugins().iter().flat_map(|loaded| loaded.plugin.zones());
    let zones: Vec<String> = zones.map(|zone| zone.name).collect();
    if zones.is_empty() {
        print("no lists: the file dnsbl_zones is missing or empty\n");
        return Ok(DONE);
    }
    let below = reverse_address(canonical(ip));
    let questions: Vec<Question> = zones
        .iter()
        .flat_map(|zone| {
            let name = format!("{below}.{zone}");
            [Question::new(&name, Kind::A), Question::new(&name, Kind::Txt)]
        })
        .collect();
    let answers = live(&site, words)?.ask(&questions).map_err(fault)?;
    let mut listed = false;
    for (zone, pair) in zones.iter().zip(answers.chunks(2)) {
        let (said, hit) = judged(pair);
        listed |= hit;
        print(&format!("{zone}: {said}\n"));
    }
    Ok(if listed { NO } else { DONE })
}

/// What one list said, and whether that names the address.
fn judged(pair: &[Answer]) -> (String, bool) {
    let [address, text] = pair else { return ("no answer".to_string(), false) };
    match classify(address) {
        Listing::Unknown => ("no answer".to_string(), false),
        Listing::NotListed => ("not listed".to_string(), false),
        Listing::ListError(code) => {
            let why = cause(code).unwrap_or("an error code");
            (format!("an error of the list, not a listing: {code}: {why}"), false)
        }
        Listing::Listed(codes) => {
            let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
            let text = text.records().iter().find_map(|record| match record {
                Record::Text(text) => Some(foreign(text)),
                Record::Address(_) | Record::Name(_) | Record::Mx(..) => None,
            });
            (format!("LISTED ({}) {}", codes.join(" "), text.unwrap_or_default()), true)
        }
    }
}

/// The configuration, and of the list that outsiders get the one plugin; with its defaults where the
/// list does not have it.
fn reduced(words: &Words, plugin: &'static str) -> Result<(Arc<Site>, Arc<Chain>), Fault> {
    let folder = folder::find(words.config.clone())?;
    let files = folder::open(folder);
    // What is wrong elsewhere is the business of check-config.
    let (site, _) = load(&files, &folder::defaults(), None, Strictness::Start);
    let outside = site.lists.get("0").unwrap_or(&site.base);
    let found = outside.plugins().iter().find(|loaded| loaded.name == plugin).cloned();
    let loaded = match found {
        Some(loaded) => loaded,
        None => by_default(&files, plugin)?,
    };
    Ok((Arc::new(site), Arc::new(Chain::new("check", vec![loaded]))))
}

fn by_default(files: &Files, plugin: &'static str) -> Result<Loaded, Fault> {
    let mut problems = Vec::new();
    let setup = Setup::new(files, &mut problems);
    match plugins::find(plugin).map(|entry| (entry.name, entry.kind)) {
        Some((name, plugins::Kind::Plugin(load))) => {
            Ok(Loaded::plain(name, load(&mut Args::of(plugin), &setup)))
        }
        _ => Err(Fault::No(format!("there is no plugin {plugin}"))),
    }
}

fn live(site: &Site, words: &Words) -> Result<Live, Fault> {
    resolver(&site.config, words.resolver.as_deref())
}

/// The daemon's resolver, with the configured servers or the one that was named.
pub(super) fn resolver(config: &Config, named: Option<&str>) -> Result<Live, Fault> {
    let server = match named {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Fault::Usage(format!("--resolver {text}: write IP:PORT, an IPv6 address in brackets"))
        })?),
    };
    Live::new(config, server).map_err(fault)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn fault(error: io::Error) -> Fault {
    Fault::No(format!("asking: {error}"))
}
