//! `mailreeve serve`: the daemon.

use crate::commands::{DONE, Fault, folder, wants_help};
use crate::config::files::Severity;
use crate::plugins::load::Strictness;
use crate::server::log::Destination;
use crate::server::snapshot::load;
use crate::server::start::{self, Options};
use crate::sys;
use lexopt::Arg;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) const HELP: &str = "\
Usage: mailreeve serve [--config DIR] [--daemon] [--pidfile FILE] [--log FILE|syslog]

Runs the daemon in the foreground, with the log on standard error, as daemontools
and runit want it. Stops on TERM: idle clients are told 421, messages in hand are
finished first. HUP reads the configuration again, USR1 opens log files again,
USR2 logs what the daemon is doing. Sockets that systemd has opened for addresses of
the file listen (LISTEN_FDS) take the place of binding these.

  --config DIR     the config folder; else MAILREEVE_CONFIG, QPSMTPD_CONFIG,
                   /etc/mailreeve, /var/service/qpsmtpd/config, the first that is
                   set or there
  --daemon         detach from the terminal, for init scripts
  --pidfile FILE   write the process number here
  --log FILE       log to a file, with time and level; 'syslog' logs there
";

/// What the daemon is started with.
#[derive(Default)]
pub(super) struct Wanted {
    /// The config folder.
    pub(super) config: Option<PathBuf>,
    /// Settings that hold in place of its files.
    pub(super) settings: Vec<(String, String)>,
    pub(super) detach: bool,
    pub(super) pidfile: Option<PathBuf>,
    pub(super) log: Option<OsString>,
}

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut wanted = Wanted::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("config") => wanted.config = Some(PathBuf::from(parser.value()?)),
            Arg::Long("daemon") => wanted.detach = true,
            Arg::Long("pidfile") => wanted.pidfile = Some(PathBuf::from(parser.value()?)),
            Arg::Long("log") => wanted.log = Some(parser.value()?),
            other => return Err(other.unexpected().into()),
        }
    }
    serve(wanted)
}

/// Serves until told to stop.
pub(super) fn serve(wanted: Wanted) -> Result<u8, Fault> {
    let Wanted { config, settings, detach, pidfile, log } = wanted;
    let pidfile = pidfile.map(|path| absolute(&path)).transpose()?;
    let inherited = sys::inherited::take().map_err(Fault::No)?;
    let destination = match log {
        None if detach => Destination::Syslog,
        None => Destination::Stderr,
        Some(log) if log == "syslog" => Destination::Syslog,
        Some(log) => Destination::File(absolute(Path::new(&log))?),
    };
    let folder = absolute(&folder::find(config)?)?;
    let defaults = folder::defaults();
    let files = folder::open(folder.clone()).with_settings(settings.clone());
    let (snapshot, problems) = load(&files, &defaults, None, Strictness::Start);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| problem.severity == Severity::Error);
    if !errors.is_empty() {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(Fault::No(format!(
            "the configuration in {} cannot be used:\n{}",
            folder.display(),
            lines.join("\n")
        )));
    }
    let options = Options {
        destination,
        detach,
        pidfile,
        inherited,
        any_user: false,
        reopen: Some(Box::new(move || {
            folder::open(folder.clone()).with_settings(settings.clone())
        })),
        warnings: warnings.iter().map(ToString::to_string).collect(),
        ready: None,
    };
    start::serve(snapshot, defaults, options).map_err(Fault::No)?;
    Ok(DONE)
}

/// A path that still holds after the daemon has left its folder.
fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    std::path::absolute(path).map_err(|error| Fault::Usage(format!("{}: {error}", path.display())))
}
