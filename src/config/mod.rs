//! The configuration as an immutable snapshot.
//!
//! Everything is read and checked at once, and all errors are told together with file and line. A
//! snapshot never changes; a reload makes another one, and each session keeps the one it has until
//! nothing of it is in use. What belongs to one plugin is read by that plugin; here are the settings
//! of the daemon itself, and who may relay, since that is asked at accept already.

pub mod cdb;
pub mod files;
pub mod mmdb;
pub mod nets;
pub mod patterns;
pub mod peers;
pub mod resolvers;
pub mod routes;
pub mod senders;
pub mod smtpauth;
pub mod tls;
pub mod types;

use crate::config::files::{Files, Problem, Severity};
use crate::config::nets::NetList;
use crate::limits;
use crate::smtp::session::Rules;
pub use senders::Senders;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
pub use tls::Tls;
pub use types::{Listen, RelayNets};

/// The version as greeting and Received show it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a setting is when its file is missing and the system has to be asked.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The machine's host name, for `me`.
    pub host_name: String,
    /// Processor cores, for the numbers of threads.
    pub cores: usize,
}

/// The settings of the daemon.
#[derive(Debug)]
pub struct Config {
    /// What the session machine needs.
    pub rules: Rules,
    /// Idle limit in the command phase.
    pub command_timeout: Duration,
    /// Idle limit while a message comes in.
    pub data_timeout: Duration,
    /// Connections in total.
    pub concurrency: usize,
    /// Connections from one address (IPv6: /64); 0 is no limit.
    pub concurrency_per_ip: usize,
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// Where message text goes that is too large for memory.
    pub spool_dir: PathBuf,
    /// Octets of a message that stay in memory.
    pub size_threshold: usize,
    /// Where databases live.
    pub state_dir: PathBuf,
    /// `user[:group]` to become after binding.
    pub user: Option<String>,
    /// Threads for pure work.
    pub workers: usize,
    /// Threads that may wait for other programs.
    pub scanners: usize,
    /// Threads that may wait for disks.
    pub writers: usize,
    /// Threshold of the built-in logger, 0 to 7.
    pub loglevel: u8,
    /// Bare CR, bare LF and NUL in messages: Some(true) repairs, Some(false) refuses, None repairs
    /// relay clients' mail and refuses other's.
    pub normalize: Option<bool>,
    /// Certificates, and how TLS is offered.
    pub tls: Tls,
    /// Proxies that may send PROXY headers, to listeners marked `proxy`.
    pub proxy_hosts: NetList,
    /// Proxies that may say by XCLIENT who their client is.
    pub xclient_hosts: NetList,
    /// In whose name a user may send.
    pub senders: Senders,
    /// Addresses that may relay.
    pub relay: RelayNets,
    /// Name servers that are asked, at least one.
    pub resolvers: Vec<SocketAddr>,
    /// The text of the system's hosts file.
    pub hosts: String,
}

impl Config {
    /// Reads the settings; what is wrong is added to `problems`, and its default holds.
    pub fn load(files: &Files, defaults: &Defaults, problems: &mut Vec<Problem>) -> Config {
        Config::load_after(files, defaults, None, problems)
    }

    /// The same, with the snapshot before: what can be read by root only is taken over from it.
    pub fn load_after(
        files: &Files,
        defaults: &Defaults,
        earlier: Option<&Config>,
        problems: &mut Vec<Problem>,
    ) -> Config {
        let rules = rules(files, defaults, problems);
        let timeout = files.number("timeout", 300, 1..=86_400, problems);
        let command_timeout = files.number("timeoutsmtpd", timeout, 1..=86_400, problems);
        let small = |setting, default: usize, problems: &mut Vec<Problem>| {
            let number = files.number(setting, default as u64, 1..=256, problems);
            usize::try_from(number).unwrap_or(default)
        };
        let cores = defaults.cores.max(1);
        let concurrency = files.number("concurrency", 200, 1..=1_000_000, problems);
        let per_ip = files.number("concurrency_per_ip", 10, 0..=1_000_000, problems);
        let threshold = files.number("size_threshold", 64 * 1_024, 0..=1 << 30, problems);
        Config {
            rules,
            command_timeout: Duration::from_secs(command_timeout),
            data_timeout: Duration::from_secs(timeout),
            concurrency: usize::try_from(concurrency).unwrap_or(200),
            concurrency_per_ip: usize::try_from(per_ip).unwrap_or(10),
            listen: types::listen(files, problems),
            spool_dir: path(files, "spool_dir", "/var/spool/qpsmtpd", problems),
            size_threshold: usize::try_from(threshold).unwrap_or(64 * 1_024),
            state_dir: path(files, "state_dir", "/var/lib/qpsmtpd", problems),
            user: files.scalar("user", problems).map(|line| line.text),
            workers: small("workers", cores.clamp(1, 8), problems),
            scanners: small("scanners", if cores < 4 { 4 } else { 16 }, problems),
            writers: small("writers", if cores < 2 { 4 } else { 8 }, problems),
            loglevel: loglevel(files, problems),
            normalize: normalize(files, problems),
            tls: Tls::load(files, earlier.map(|config| &config.tls), problems),
            proxy_hosts: types::hosts(files, "proxy_hosts", &["127.0.0.0/8", "::1"], problems),
            xclient_hosts: types::hosts(files, "xclient_hosts", &[], problems),
            senders: Senders::load(files, problems),
            relay: RelayNets::load(files, problems),
            resolvers: resolvers::load(files, problems),
            hosts: files.system("/etc/hosts"),
        }
    }
}

fn rules(files: &Files, defaults: &Defaults, problems: &mut Vec<Problem>) -> Rules {
    let me = match files.scalar("me", problems) {
        Some(line) if types::is_host_name(&line.text) => line.text,
        Some(line) => {
            let what = format!("{} is not a host name", files::quote(&line.text));
            Problem::error(&line, what).note(problems);
            defaults.host_name.clone()
        }
        None => defaults.host_name.clone(),
    };
    let greeting = match files.scalar("smtpgreeting", problems) {
        Some(line) if line.text.split_whitespace().any(|word| word == "ESMTP") => line.text,
        Some(line) => format!("{} ESMTP", line.text),
        None => {
            format!("{me} ESMTP mailreeve {VERSION} ready; send us your mail, but not your spam.")
        }
    };
    Rules {
        me: me.into(),
        greeting: greeting.into(),
        databytes: files.number("databytes", 0, 0..=1 << 40, problems),
        smtputf8: true,
        recipients_max: limits::RECIPIENTS_MAX,
    }
}

fn path(files: &Files, name: &str, default: &str, problems: &mut Vec<Problem>) -> PathBuf {
    match files.scalar(name, problems) {
        Some(line) if line.text.starts_with('/') => PathBuf::from(line.text),
        Some(line) => {
            let what = format!("{} is not an absolute path", files::quote(&line.text));
            Problem::error(&line, what).note(problems);
            PathBuf::from(default)
        }
        None => PathBuf::from(default),
    }
}

/// qpsmtpd took 4 for anything that is no number; a warning says so.
fn loglevel(files: &Files, problems: &mut Vec<Problem>) -> u8 {
    const DEFAULT: u8 = 4;
    let Some(line) = files.scalar("loglevel", problems) else { return DEFAULT };
    match line.text.parse() {
        Ok(level @ 0..=7) => level,
        _ => {
            let what = format!("{} is no level from 0 to 7, using 4", files::quote(&line.text));
            Problem::warning(&line, what).note(problems);
            DEFAULT
        }
    }
}

fn normalize(files: &Files, problems: &mut Vec<Problem>) -> Option<bool> {
    let line = files.scalar("bare_newline", problems)?;
    match line.text.as_str() {
        "normalize" => Some(true),
        "reject" => Some(false),
        other => {
            let what = format!("{}: use reject or normalize", files::quote(other));
            Problem::error(&line, what).note(problems);
            None
        }
    }
}

/// A folder without a `plugins` file would defer all mail for want of a decision.
pub fn require_plugins(files: &Files, problems: &mut Vec<Problem>) {
    if !files.exists("plugins") {
        let what = "missing: it lists the plugins, one a line, and nothing is decided without it";
        Problem::in_file(Severity::Error, "plugins", what).note(problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> (Config, Vec<String>) {
        let owned = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let mut problems = Vec::new();
        let defaults = Defaults { host_name: "host.example".to_string(), cores: 2 };
        let config = Config::load(&Files::in_memory(owned), &defaults, &mut problems);
        (config, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_empty_folder_gives_the_defaults() {
        let (config, problems) = load(&[]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(&*config.rules.me, "host.example");
        assert_eq!(config.command_timeout, Duration::from_secs(300));
        assert_eq!((config.concurrency, config.concurrency_per_ip), (200, 10));
        assert_eq!((config.workers, config.scanners, config.writers), (2, 4, 8));
        assert_eq!(config.listen.len(), 1);
        assert_eq!(config.loglevel, 4);
    }

    #[test]
    fn settings_are_read_and_faults_told_by_file_and_line() {
        let (config, problems) = load(&[
            ("me", "# our name\nmx.example.com\n"),
            ("smtpgreeting", "hello there"),
            ("timeout", "120"),
            ("timeoutsmtpd", "60"),
            ("databytes", "lots"),
            ("spool_dir", "tmp"),
            ("loglevel", "high"),
            ("bare_newline", "maybe"),
        ]);
        assert_eq!(&*config.rules.greeting, "hello there ESMTP");
        assert_eq!(config.command_timeout, Duration::from_secs(60));
        assert_eq!(config.data_timeout, Duration::from_secs(120));
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems.iter().any(|problem| problem.starts_with("databytes:1: ")));
    }
}
