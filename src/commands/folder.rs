//! Where the config folder is, and what it inherits from qmail's.

use crate::commands::Fault;
use crate::config::Defaults;
use crate::config::files::Files;
use std::env;
use std::path::PathBuf;
use std::thread;

/// Folders that are tried when none is named.
const USUAL: [&str; 2] = ["/etc/mailreeve", "/var/service/qpsmtpd/config"];

/// Environment variables that may name it, in this order.
const VARIABLES: [&str; 2] = ["MAILREEVE_CONFIG", "QPSMTPD_CONFIG"];

/// The folder that was named, or the first usual one that is there.
pub(super) fn find(named: Option<PathBuf>) -> Result<PathBuf, Fault> {
    let from_variable = || VARIABLES.iter().find_map(|name| env::var_os(name).map(PathBuf::from));
    if let Some(folder) = named.or_else(from_variable) {
        return if folder.is_dir() {
            Ok(folder)
        } else {
            Err(Fault::Usage(format!("there is no folder {}", folder.display())))
        };
    }
    let usual = USUAL.iter().map(PathBuf::from).find(|folder| folder.is_dir());
    usual.ok_or_else(|| {
        Fault::Usage(format!(
            "no config folder: looked at --config, {}, {}",
            VARIABLES.join(", "),
            USUAL.join(", ")
        ))
    })
}

/// Environment variables that plugins may be told of.
const SETTINGS: [&str; 2] = ["QMAIL", "QMAILQUEUE"];

/// Opens a folder. A setting that it does not have is looked for in qmail's control folder, as
/// qpsmtpd does.
pub(super) fn open(folder: PathBuf) -> Files {
    let variable = |name: &str| Some((name.to_string(), env::var(name).ok()?));
    Files::on_disk(vec![folder, control()])
        .with_variables(SETTINGS.into_iter().filter_map(variable))
}

/// qmail's control folder.
pub(super) fn control() -> PathBuf {
    match env::var_os("QMAIL") {
        Some(qmail) => PathBuf::from(qmail).join("control"),
        None => PathBuf::from("/var/qmail/control"),
    }
}

/// The folder that was named, or a usual one, and where there is none an empty one: for commands that
/// a configuration only helps.
pub(super) fn open_if_any(named: Option<PathBuf>) -> Result<Files, Fault> {
    let is_named = named.is_some() || VARIABLES.iter().any(|name| env::var_os(name).is_some());
    match find(named) {
        Ok(folder) => Ok(open(folder)),
        Err(fault) if is_named => Err(fault),
        // One folder at least, or the system's files would not be looked for either.
        Err(_) => Ok(Files::on_disk(vec![PathBuf::from("/nonexistent")])),
    }
}

/// What the system has to be asked for.
pub(super) fn defaults() -> Defaults {
    let host_name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| crate::config::types::is_host_name(name))
        .unwrap_or_else(|| "localhost".to_string());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Defaults { host_name, cores }
}
