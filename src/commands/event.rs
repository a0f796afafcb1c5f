//! `mailreeve event NAME`, which is also `signal-event`: makes the config folder say what the databases
//! say, and has the daemon read it.
//!
//! Every event does the same, since all of it is done only where something changes. On an SME Server
//! what has a template there is left to that.

mod install;
mod running;

use crate::commands::{DONE, Fault, NO, complain, print, wants_help};
use crate::esmith::database::Database;
use crate::esmith::expand::{self, Custom, Sources};
use crate::esmith::file;
use crate::plugins;
use install::{Change, Target};
use lexopt::Arg;
use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

pub(super) const HELP: &str = "\
Usage: mailreeve event [--dry-run] [--root DIR] [--db-dir DIR] [--config DIR]
                       NAME [ARGS]

Reads SME Server's databases, writes the files of the config folder that change,
the links of local networks and DKIM keys, makes the default DKIM key where there
is none, and has running daemons read all that. ARGS are ignored. NAME is one of
email-update, bootstrap-console-save, console-save, ip-change, network-create,
network-delete, and domain-, user-, group- and pseudonym-create, -modify and
-delete.

The file smtpauth, with the smart host's password, is of mode 0440 and is not
shown by --dry-run. The file user is made where there is none, and never changed.
Files that have a template in /etc/e-smith/templates are left to SME Server.
Fragments of plain text in /etc/e-smith/templates-custom are merged in.

  --dry-run      show what would change as a diff, and change nothing
  --root DIR     put before every path below; for tests
  --db-dir DIR   the databases; else ESMITH_DB, DBPATH, /home/e-smith/db
  --config DIR   the config folder; else MAILREEVE_CONFIG, QPSMTPD_CONFIG,
                 /var/service/qpsmtpd/config

Exit codes: 0: done, also where no daemon is running. 1: something could not be
done; the rest was. 255: there is no such event.
";

/// How `signal-event` ends when there is no such event.
const DIED: u8 = 255;

/// Events that touch mail.
const EVENTS: [&str; 6] = [
    "bootstrap-console-save",
    "console-save",
    "email-update",
    "ip-change",
    "network-create",
    "network-delete",
];

/// Things whose creation, change and deletion touch mail.
const THINGS: [&str; 4] = ["domain", "group", "pseudonym", "user"];

/// Octets of a fragment.
const FRAGMENT_MAX: u64 = 1024 * 1024;

/// Where everything is.
struct Places {
    root: PathBuf,
    has_root: bool,
    databases: PathBuf,
    config: PathBuf,
}

impl Places {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let (mut is_dry, mut root, mut databases, mut config, mut words) =
        (false, None, None, None, vec![]);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("dry-run") => is_dry = true,
            Arg::Long("root") => root = Some(PathBuf::from(parser.value()?)),
            Arg::Long("db-dir") => databases = Some(PathBuf::from(parser.value()?)),
            Arg::Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(name) = words.first() else { return Err(Fault::Usage("name an event".to_string())) };
    if !is_event(name) {
        complain(&format!("mailreeve event: there is no event {name} that touches mail\n"));
        return Ok(DIED);
    }
    let variable =
        |names: [&str; 2]| names.iter().find_map(|it| env::var_os(it).map(PathBuf::from));
    let has_root = root.is_some();
    let root = root.unwrap_or_else(|| PathBuf::from("/"));
    let databases = databases.or_else(|| variable(["ESMITH_DB", "DBPATH"]));
    let databases = databases.unwrap_or_else(|| root.join("home/e-smith/db"));
    let config = config.or_else(|| variable(["MAILREEVE_CONFIG", "QPSMTPD_CONFIG"]));
    let config = config.unwrap_or_else(|| root.join("var/service/qpsmtpd/config"));
    happen(&Places { root, has_root, databases, config }, is_dry)
}

fn is_event(name: &str) -> bool {
    let of_thing = || {
        let (thing, what) = name.rsplit_once('-')?;
        Some(THINGS.contains(&thing) && ["create", "modify", "delete"].contains(&what))
    };
    EVENTS.contains(&name) || of_thing().unwrap_or(false)
}

fn happen(places: &Places, is_dry: bool) -> Result<u8, Fault> {
    let mut target = Target::new(is_dry);
    migrate(places, is_dry, &mut target);
    let sources = read(&places.databases).map_err(Fault::No)?;
    let custom = fragments(&places.at("etc/e-smith/templates-custom"), &mut target);
    let expansion = expand::expand(&sources, &custom, &|name| plugins::find(name).is_some());
    target.warnings.extend(expansion.warnings);
    for (name, text) in &expansion.files {
        match name.as_str() {
            _ if has_template(places, name) => {}
            expand::SECRET => target.login(&places.config, name, text),
            expand::FIRST => target.first(&places.config, name, text),
            _ => target.file(&places.config, name, text),
        }
    }
    target.links(&places.config.join("peers"), &expand::links(&sources));
    spamassassin(places, &sources, &mut target);
    certificate(places, &sources, &mut target);
    target.keys(&places.at("home/e-smith/dkim_keys"), &places.config.join("dkim"));
    for warning in &target.warnings {
        complain(&format!("mailreeve event: warning: {warning}\n"));
    }
    for fault in &target.faults {
        complain(&format!("mailreeve event: {fault}\n"));
    }
    for Change { what, diff } in &target.changes {
        print(&if is_dry { format!("{what}\n{diff}") } else { format!("{what}\n") });
    }
    if !is_dry {
        running::reload(places, &sources);
    }
    Ok(if target.faults.is_empty() { DONE } else { NO })
}

/// On an SME Server, files that it makes from templates of its own.
fn has_template(places: &Places, name: &str) -> bool {
    ["var/service/qpsmtpd/config", "var/qmail/control"]
        .iter()
        .any(|folder| places.at("etc/e-smith/templates").join(folder).join(name).exists())
}

fn read(folder: &Path) -> Result<Sources, String> {
    let one = |name: &str| -> Result<Database, String> {
        let path = folder.join(name);
        file::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    Ok(Sources {
        configuration: one("configuration")?,
        domains: one("domains")?,
        accounts: one("accounts")?,
        networks: one("networks")?,
        spamassassin: one("spamassassin")?,
        mailpatterns: one("mailpatterns")?,
        wbl: one("wbl")?,
    })
}

/// Lists with colons between them, as SME Server 8 had them, get commas, once.
fn migrate(places: &Places, is_dry: bool, target: &mut Target) {
    let path = places.databases.join("configuration");
    let Ok(before) = file::read(&path) else { return };
    let Some(record) = before.get(b"qpsmtpd") else { return };
    let mut changed: Vec<(&str, String)> = Vec::new();
    for name in ["RBLList", "SBLList"] {
        let value = crate::esmith::defaults::property(record, name);
        if let Some(new) = value.as_deref().and_then(expand::migrated) {
            target
                .say(format!("{}: {name} has commas between its lists now: {new}", path.display()));
            changed.push((name, new));
        }
    }
    if changed.is_empty() || is_dry {
        return;
    }
    let pairs: Vec<(&[u8], &[u8])> =
        changed.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let stored = file::change(&path, &super::db::now(), |database| {
        let Some(record) = database.get(b"qpsmtpd") else { return Ok(()) };
        let record = record.with_properties(&pairs)?;
        database.set(b"qpsmtpd", record)
    });
    let fault = match stored {
        Ok(Ok(())) => return,
        Ok(Err(refusal)) => refusal.to_string(),
        Err(error) => error.to_string(),
    };
    target.faults.push(format!("{}: {fault}", path.display()));
}

/// The fragments of an admin, by the file of the config folder that they are for.
fn fragments(custom: &Path, target: &mut Target) -> Custom {
    let mut found = Custom::new();
    for folder in ["var/qmail/control", "var/service/qpsmtpd/config"] {
        let folder = custom.join(folder);
        for name in names(&folder) {
            if name == "peers" {
                for list in names(&folder.join(&name)) {
                    collect(&folder, &format!("peers/{list}"), &mut found, target);
                }
            } else {
                collect(&folder, &name, &mut found, target);
            }
        }
    }
    found
}

/// A folder of fragments, or one file.
fn collect(folder: &Path, name: &str, found: &mut Custom, target: &mut Target) {
    let path = folder.join(name);
    let pieces: Vec<(String, PathBuf)> = match path.is_dir() {
        true => names(&path).into_iter().map(|it| (it.clone(), path.join(it))).collect(),
        false => vec![("10stock".to_string(), path)],
    };
    for (piece, path) in pieces {
        let is_left_over = piece.ends_with('~')
            || [".swp", ".orig", ".rpmsave", ".rpmnew"].iter().any(|end| piece.ends_with(end));
        if is_left_over || !path.is_file() {
            continue;
        }
        match read_bounded(&path) {
            Ok(text) => found.entry(name.to_string()).or_default().push((piece, text)),
            Err(error) => target.faults.push(format!("{}: {error}", path.display())),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > FRAGMENT_MAX {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "over 1 MiB: no fragment"));
    }
    fs::read(path)
}

/// Names in a folder, in order; none where there is no folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The file that the line `tls` names, from the certificate of the web server: `modSSL` says where, else
/// it is that of our name. Where there is none, one that is its own.
fn certificate(places: &Places, sources: &Sources, target: &mut Target) {
    use crate::esmith::defaults::{property, scalar};
    let configuration = &sources.configuration;
    let path = places.config.parent().unwrap_or(&places.config).join("ssl/cert.pem");
    if path.exists() && places.at("etc/e-smith/templates").exists() {
        return;
    }
    let part = |key| scalar(configuration, key).unwrap_or_else(|| "localhost".to_string());
    let host = format!("{}.{}", part("SystemName"), part("DomainName"));
    let named = |name: &str| property(configuration.get(b"modSSL")?, name);
    let usual = |kind: &str| places.at(&format!("home/e-smith/ssl.{kind}/{host}.{kind}"));
    let key = named("key").map_or_else(|| usual("key"), PathBuf::from);
    let crt = named("crt").map_or_else(|| usual("crt"), PathBuf::from);
    let chain = named("CertificateChainFile").map(PathBuf::from);
    let mut text = String::new();
    for part in [Some(key), Some(crt), chain].into_iter().flatten() {
        match read_bounded(&part) {
            Ok(octets) => text.push_str(String::from_utf8_lossy(&octets).trim_end()),
            Err(error) if path.exists() => {
                // One that we made for want of another is nothing to warn of each time.
                if named("crt").is_some() {
                    let shown = part.display();
                    let what = format!("{shown}: {error}: the certificate stays as it is");
                    target.warnings.push(what);
                }
                return;
            }
            Err(_) => {
                text.clear();
                break;
            }
        }
        text.push('\n');
    }
    if text.is_empty() {
        match crate::server::tls::self_signed(&[host], crate::server::clock::unix()) {
            Ok((certificate, key)) => text = format!("{key}{certificate}"),
            Err(why) => {
                target.faults.push(format!("{}: {why}", path.display()));
                return;
            }
        }
    }
    target.secret(&path, &text);
}

/// Where SME Server does not write them itself, a file of its own in SpamAssassin's folder.
fn spamassassin(places: &Places, sources: &Sources, target: &mut Target) {
    let is_left = places.at("etc/e-smith/templates/etc/mail/spamassassin/local.cf").exists();
    let folders = ["etc/mail/spamassassin", "etc/spamassassin"].map(|folder| places.at(folder));
    let Some(folder) = folders.iter().find(|folder| folder.is_dir()) else { return };
    if !is_left {
        let text = expand::spamassassin(sources, &mut target.warnings);
        target.file(folder, "mailreeve.cf", &format!("{}{text}", expand::BANNER));
    }
}
