//! `mailreeve check-config`: every problem of a config folder at once.

use crate::commands::{DONE, Fault, NO, folder, print, wants_help};
use crate::config::files::Severity;
use crate::plugins::load::Strictness;
use crate::server::snapshot::load;
use lexopt::Arg;
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Usage: mailreeve check-config [--config DIR]

Reads the config folder as `serve` would, and prints every problem as
file:line: what. Exit code 0: it can be used, perhaps with warnings; 1: it cannot.

  --config DIR     the config folder; else MAILREEVE_CONFIG, QPSMTPD_CONFIG,
                   /etc/mailreeve, /var/service/qpsmtpd/config, the first that is
                   set or there
";

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut named = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("config") => named = Some(PathBuf::from(parser.value()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    let folder = folder::find(named)?;
    let files = folder::open(folder.clone());
    let (snapshot, problems) = load(&files, &folder::defaults(), None, Strictness::Start);
    let site = snapshot.site;
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    let warnings = problems.len() - errors;
    text.push_str(&format!("{}: {errors} errors, {warnings} warnings", folder.display()));
    if errors == 0 {
        let lists = site.lists.len().max(1);
        let plugins = site.lists.values().chain([&site.base]).map(|it| it.plugins().len()).max();
        let plugins = plugins.unwrap_or_default();
        text.push_str(&format!("; lists of plugins: {lists}, plugins in the longest: {plugins}"));
    }
    text.push('\n');
    print(&text);
    Ok(if errors == 0 { DONE } else { NO })
}
