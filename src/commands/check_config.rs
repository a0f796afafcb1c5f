//! `mailreeve check-config`: every problem of a config folder at once.

use crate::authn::dkim::published::{Report, ToPublish};
use crate::commands::{DONE, Fault, NO, check, folder, print, wants_help};
use crate::config::files::Severity;
use crate::plugin::site::Site;
use crate::plugins::load::Strictness;
use crate::server::snapshot::load;
use lexopt::{Arg, ValueExt};
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Usage: mailreeve check-config [--offline] [--config DIR] [--resolver IP:PORT]

Reads the config folder as `serve` would, and prints every problem as
file:line: what. Then asks name servers whether the keys that mail is signed with
are the ones in DNS. Exit code 0: it can be used, perhaps with warnings; 1: it
cannot.

  --offline            ask no name server
  --config DIR         the config folder; else MAILREEVE_CONFIG, QPSMTPD_CONFIG,
                       /etc/mailreeve, /var/service/qpsmtpd/config, the first that
                       is set or there
  --resolver IP:PORT   ask this name server instead of the configured ones
";

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let (mut named, mut resolver, mut offline) = (None, None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("offline") => offline = true,
            Arg::Long("resolver") => resolver = Some(parser.value()?.string()?),
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
    let keys = if offline { Report::default() } else { keys(&site, resolver.as_deref())? };
    text.extend(keys.faults.iter().map(|fault| format!("dkim: warning: {fault}\n")));
    // It is nobody's mistake, and so no warning.
    text.extend(keys.unknown.iter().map(|what| format!("dkim: {what}\n")));
    let warnings = problems.len() - errors + keys.faults.len();
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

/// Whether the keys that mail is signed with are the ones in DNS.
fn keys(site: &Site, resolver: Option<&str>) -> Result<Report, Fault> {
    let wanted = site.to_publish();
    if wanted.is_empty() {
        return Ok(Report::default());
    }
    let questions: Vec<_> = wanted.iter().map(ToPublish::question).collect();
    let answers = check::resolver(&site.config, resolver)?.ask(&questions).map_err(check::fault)?;
    Ok(Report::of(wanted.iter().zip(&answers)))
}
