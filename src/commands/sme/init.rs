//! `mailreeve sme init`: the first records.

use super::Words;
use crate::commands::{DONE, Fault, complain, databases, db, folder, print};
use crate::esmith::database::Database;
use crate::esmith::file;
use crate::esmith::first::{self, Name};
use crate::esmith::record::Refusal;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// The domain of a machine that has none.
const NO_DOMAIN: &str = "localdomain";

pub(super) fn run(words: &Words) -> Result<u8, Fault> {
    let name = match &words.name {
        Some(full) => Name::of(full).ok_or_else(|| {
            Fault::Usage(format!("--name {full}: write a full name, such as mail.example.com"))
        })?,
        None => found(),
    };
    let configuration = |database: &mut Database| {
        let report = first::configuration(database, &name)?;
        Ok((report, first::primary(database)))
    };
    let (mut report, primary) = change(words, databases::CONFIGURATION, configuration)?;
    // An empty DomainName is the admin's own doing, and no domain.
    if let Some(primary) = primary {
        report.extend(change(words, "domains", |it| first::domains(it, &primary))?);
        if primary == NO_DOMAIN && !report.is_empty() {
            complain(
                "mailreeve sme: warning: this machine has no domain; set one with \
                 `db configuration set DomainName DOMAIN`\n",
            );
        }
    }
    let lines: String = report.iter().map(|line| format!("{line}\n")).collect();
    print(if lines.is_empty() { "nothing to do\n" } else { &lines });
    Ok(DONE)
}

/// Changes a database, whose folder is made if it is missing; with --dry-run only a copy of it.
fn change<T>(
    words: &Words,
    name: &str,
    change: impl FnOnce(&mut Database) -> Result<T, Refusal>,
) -> Result<T, Fault> {
    let path = databases::place(words.databases.clone(), OsStr::new(name));
    let failed = |error: std::io::Error| Fault::No(format!("{}: {error}", path.display()));
    let changed = if words.dry_run {
        change(&mut file::read(&path).map_err(failed)?)
    } else {
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        file::change(&path, &db::now(), change).map_err(failed)?
    };
    changed.map_err(|refusal| Fault::No(refusal.to_string()))
}

/// What the machine is called: its host name where that is a full one, else with its domain from the
/// files in which Debian and others have it.
fn found() -> Name {
    let host = folder::defaults().host_name;
    let text = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let full = Name::of(&host)
        .or_else(|| of_hosts(&text("/etc/hosts"), &host))
        .or_else(|| Name::of(&format!("{host}.{}", text("/etc/mailname").trim())));
    full.unwrap_or(Name { system: host, domain: NO_DOMAIN.to_string() })
}

/// The full name of the line in which the host has its own.
fn of_hosts(hosts: &str, host: &str) -> Option<Name> {
    hosts.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut names = line.split_whitespace().skip(1);
        let is_own = names.clone().any(|name| name.eq_ignore_ascii_case(host));
        names.find_map(Name::of).filter(|name| is_own && name.system != "localhost")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_complete_a_name() {
        let hosts = "127.0.0.1 localhost.localdomain localhost\n# 10.0.0.1 x.no.example mx\n\
                     10.0.0.1\tmx.example.com mx # ours\n10.0.0.2 web.example.com web\n";
        let domain = |host: &str| of_hosts(hosts, host).map(|name| (name.system, name.domain));
        assert_eq!(domain("MX"), Some(("mx".to_string(), "example.com".to_string())));
        assert_eq!(domain("localhost"), None);
        assert_eq!(domain("other"), None);
    }
}
