//! `mailreeve sme`: puts the daemon into an SME Server, or SME Server's databases beside the daemon.

mod init;
mod services;

use crate::commands::{Fault, wants_help};
use lexopt::{Arg, ValueExt};
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Usage: mailreeve sme init     [--name FQDN] [--db-dir DIR] [--dry-run]
       mailreeve sme takeover [--root DIR] [--dry-run]
       mailreeve sme rollback [--root DIR] [--dry-run]

init      makes the records that SME Server's commands change, with their defaults,
          where they are missing: qpsmtpd, sqpsmtpd, uqpsmtpd, smtpd, ssmtpd,
          spamassassin, clamd, DomainName and SystemName in `configuration`, and
          the primary domain in `domains`. Changes nothing that is there.
takeover  lets the services qpsmtpd, uqpsmtpd and sqpsmtpd run mailreeve: checks
          their config folders, and stops if one has an error; then changes the
          file `run` of each (or adds a drop-in to its systemd unit), keeps the
          old one as `run.qpsmtpd`, and starts them again. Services that share a
          config folder are served by the daemon of the first; the others wait.
rollback  puts back what takeover changed, and starts the services again.

Each prints what it does, and does nothing else; a second time it does nothing.

  --name FQDN    the machine's name; else its host name, completed by /etc/hosts
                 or /etc/mailname
  --db-dir DIR   the folder of the databases; else ESMITH_DB, DBPATH,
                 /home/e-smith/db
  --root DIR     a system that lies below DIR; its units are not started
  --dry-run      only say what would be done
";

#[derive(Default)]
struct Words {
    what: Option<String>,
    name: Option<String>,
    databases: Option<PathBuf>,
    root: Option<PathBuf>,
    dry_run: bool,
}

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut words = Words::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("name") => words.name = Some(parser.value()?.string()?),
            Arg::Long("db-dir") => words.databases = Some(PathBuf::from(parser.value()?)),
            Arg::Long("root") => words.root = Some(PathBuf::from(parser.value()?)),
            Arg::Long("dry-run") => words.dry_run = true,
            Arg::Value(value) if words.what.is_none() => words.what = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let of_init = words.name.is_some() || words.databases.is_some();
    match words.what.as_deref() {
        Some("init") if words.root.is_none() => init::run(&words),
        Some("takeover") if !of_init => services::takeover(&words),
        Some("rollback") if !of_init => services::rollback(&words),
        _ => {
            let what = "say what: init [--name, --db-dir], takeover or rollback [--root]";
            Err(Fault::Usage(what.to_string()))
        }
    }
}
