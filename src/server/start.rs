//! Brings the daemon up: bind, become the user, lock the spool, start the threads, serve.
//!
//! The order matters. Whatever can fail is tried before the process detaches, so that an init script
//! sees it; privileges are dropped before anything is opened for foreign data; threads start last,
//! for neither a fork nor a change of user may happen beside one.

use crate::config::Defaults;
use crate::config::files::Files;
use crate::config::types::Listen;
use crate::plugin::log::{Event, Id, Level, Line};
use crate::plugin::site::Site;
use crate::server::clock::SystemLoad;
use crate::server::errand::{Home, Pools};
use crate::server::event_loop::{EventLoop, Parts, WAKER};
use crate::server::log::{Destination, Log, install_facade};
use crate::server::privileges::{self, Identity};
use crate::server::snapshot::Snapshot;
use crate::server::spool::Spool;
use crate::server::tls::Contexts;
use crate::server::watch::Watch;
use crate::store::{Store, StoreHandle};
use crate::sys;
use mio::{Poll, Waker};
use nix::unistd::daemon;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_mio::v1_0::Signals;
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, process};

/// How the daemon is to run.
pub struct Options {
    /// Where the log goes.
    pub destination: Destination,
    /// Detach from the terminal.
    pub detach: bool,
    /// Write the process number here.
    pub pidfile: Option<PathBuf>,
    /// Listening sockets that somebody else has opened for the addresses of `listen`.
    pub inherited: Vec<TcpListener>,
    /// Run as whoever started it, root too.
    pub any_user: bool,
    /// Gives the config folder's files afresh; None for a configuration that cannot change.
    pub reopen: Option<Box<dyn Fn() -> Files + Send>>,
    /// What was found while loading, for the log.
    pub warnings: Vec<String>,
    /// Told once the ports are bound.
    pub ready: Option<Box<dyn FnOnce()>>,
}

/// Serves until told to stop.
///
/// # Errors
/// A sentence that says what could not be done, and where.
pub fn serve(snapshot: Snapshot, defaults: Defaults, options: Options) -> Result<(), String> {
    let Snapshot { site, tls } = snapshot;
    let site = Arc::new(site);
    sys::malloc::limit_arenas();
    let files = sys::rlimit::raise_files();
    sys::children::prepare().map_err(|error| format!("SIGCHLD: {error}"))?;
    // Without it a file over RLIMIT_FSIZE would end the process instead of one message.
    sys::rlimit::refuse_oversize_writes().map_err(|error| format!("ignoring SIGXFSZ: {error}"))?;
    let identity = whom_to_become(&site, options.any_user)?;
    let mut pidfile = options.pidfile.map(Pidfile::open).transpose()?;
    let listeners = bind(&site.config.listen, options.inherited)?;
    if let Some(identity) = &identity {
        identity.assume()?;
    }
    let open_spool = || Spool::open(&site.config.spool_dir).map_err(|error| error.to_string());
    let mut notes = Vec::new();
    if options.detach {
        // The folder belongs to one process, so it is taken twice; what is wrong shows here.
        let (_, removed) = open_spool()?;
        notes = removed;
        options.destination.check().map_err(|error| format!("log: {error}"))?;
        daemon(false, false).map_err(|error| format!("detaching: {error}"))?;
    }
    if let Some(pidfile) = &mut pidfile {
        pidfile.write()?;
    }
    let (spool, more) = open_spool()?;
    notes.extend(more);
    let (log, thread) = Log::start(options.destination, site.outputs.clone())
        .map_err(|error| format!("log: {error}"))?;
    log.set_outputs(site.outputs.clone(), site.loglevel);
    install_facade(log.clone());
    log_panics(log.clone());
    let say = |level, text: String| log.post(Event::Line(Line::core(level, Id::NONE, text)));
    for text in options.warnings.into_iter().chain(notes) {
        say(Level::Warning, text);
    }
    let most = files.map_or(usize::MAX, |(soft, _)| connections_for(soft));
    if most < site.config.concurrency {
        let wanted = site.config.concurrency;
        let text = format!("concurrency {wanted} needs more descriptors: serving {most} at once");
        say(Level::Warning, text);
    }
    let addresses: Vec<String> = listeners.iter().map(described).collect();
    let store_log = log.clone();
    let (store, store_threads) = Store::start(site.store.clone(), move |level, text| {
        store_log.post(Event::Line(Line::core(level_of(level), Id::NONE, text)));
    })
    .map_err(|error| format!("store: {error}"))?;
    let prepared =
        Prepared { listeners, tls, spool, log: log.clone(), store, connections_max: most };
    let mut daemon = assemble(site, defaults, options.reopen, prepared)
        .map_err(|error| format!("starting: {error}"))?;
    if let Some(identity) = &identity {
        let warning = if identity.is_root() { ", which is not wise" } else { "" };
        say(Level::Notice, format!("Running as user {}{warning}", identity.name()));
    }
    if let Some(ready) = options.ready {
        ready();
    }
    for address in addresses {
        say(Level::Alert, format!("Listening on {address}"));
    }
    let result = daemon.run();
    drop(daemon);
    store_threads.finish();
    say(Level::Alert, "stopped".to_string());
    thread.finish(Duration::from_secs(2));
    result.map_err(|error| format!("the event loop: {error}"))
}

/// Address and port as bound, and what clients are served there.
fn described((listen, listener): &(Listen, TcpListener)) -> String {
    let address = listener.local_addr().unwrap_or(listen.address);
    let words = [
        (listen.role.smtps, " smtps"),
        (listen.role.submission, " submission"),
        (listen.proxy, " proxy"),
    ];
    let words = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word);
    format!("{address}{}", words.collect::<String>())
}

/// What can fail, and has not.
struct Prepared {
    listeners: Vec<(Listen, TcpListener)>,
    tls: Option<Arc<Contexts>>,
    spool: Spool,
    log: Log,
    store: StoreHandle,
    connections_max: usize,
}

fn assemble(
    site: Arc<Site>,
    defaults: Defaults,
    reopen: Option<Box<dyn Fn() -> Files + Send>>,
    prepared: Prepared,
) -> io::Result<EventLoop> {
    let Prepared { listeners, tls, spool, log, store, connections_max } = prepared;
    let poll = Poll::new()?;
    let home = Arc::new(Home::new(Waker::new(poll.registry(), WAKER)?));
    let config = &site.config;
    let threads = (config.workers, config.scanners, config.writers);
    let pools = Pools::start(Arc::clone(&home), spool, threads)?;
    let watch = match reopen {
        None => Watch::nothing(),
        Some(open) => {
            Watch::start(open, defaults, Arc::clone(&site), Arc::clone(&home), log.clone())?
        }
    };
    let signals = Signals::new([SIGHUP, SIGTERM, SIGINT, SIGUSR1, SIGUSR2])?;
    EventLoop::new(Parts {
        poll,
        home,
        pools,
        listeners,
        tls,
        site,
        watch,
        log: log.clone(),
        load: Box::new(SystemLoad),
        connections_max,
        store: Some(store),
        signals: Some(signals),
    })
}

/// The levels of libraries, in ours.
fn level_of(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warning,
        log::Level::Info => Level::Notice,
        log::Level::Debug | log::Level::Trace => Level::Debug,
    }
}

/// Connections that this many descriptors allow: what is left over is for spool files and deliveries,
/// without which a client that was let in could not be served.
fn connections_for(descriptors: u64) -> usize {
    let reserve = (descriptors / 8).clamp(64, 1_024).min(descriptors / 2);
    usize::try_from(descriptors - reserve).unwrap_or(usize::MAX)
}

/// Root has to be named: a daemon that talks to strangers should not run as root by oversight.
fn whom_to_become(site: &Site, any_user: bool) -> Result<Option<Identity>, String> {
    match &site.config.user {
        Some(user) => Identity::find(user).map(Some).map_err(|what| format!("user: {what}")),
        None if privileges::is_root() && !any_user => Err(
            "started as root without a file `user` in the config folder: write the name of the \
             user to become into it (naming root is allowed)"
                .to_string(),
        ),
        None => Ok(None),
    }
}

/// Opens a port for each address, where none was inherited.
fn bind(
    wanted: &[Listen],
    mut inherited: Vec<TcpListener>,
) -> Result<Vec<(Listen, TcpListener)>, String> {
    let fresh = |address: SocketAddr| {
        sys::listen::tcp(address).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => " (ports below 1024 need root)",
                io::ErrorKind::AddrInUse => " (another server holds the port)",
                _ => "",
            };
            format!("listen: cannot bind {address}: {error}{hint}")
        })
    };
    let is_at =
        |listener: &TcpListener, address| listener.local_addr().is_ok_and(|it| it == address);
    // First, so that what is not wanted is told as that and not as a port that somebody holds.
    let mut taken = Vec::new();
    for Listen { address, .. } in wanted {
        let found = inherited.iter().position(|listener| is_at(listener, *address));
        taken.push(found.map(|at| inherited.swap_remove(at)));
    }
    if let Some(listener) = inherited.first() {
        let address = listener.local_addr().map_err(|error| format!("listen: {error}"))?;
        return Err(format!(
            "listen: a socket for {address} was handed on (LISTEN_FDS), but the file `listen` has no \
             such line, or it came twice: write it there, or take it out of the socket unit"
        ));
    }
    let pairs = wanted.iter().zip(taken);
    let bound = pairs.map(|(listen, taken)| {
        let listener = taken.map_or_else(|| fresh(listen.address), Ok)?;
        Ok((listen.clone(), listener))
    });
    bound.collect()
}

/// A panic anywhere is logged, and by nobody but the log's own thread.
fn log_panics(log: Log) {
    std::panic::set_hook(Box::new(move |info| {
        let text = format!("panic: {info}").replace('\n', " ");
        log.post(Event::Line(Line::core(Level::Critical, Id::NONE, text)));
    }));
}

/// The pid file; removed when the daemon ends. It is opened by who starts us and written by who we
/// become, which is neither the same user nor the same process.
struct Pidfile {
    path: PathBuf,
    file: File,
}

impl Pidfile {
    fn open(path: PathBuf) -> Result<Pidfile, String> {
        if let Ok(text) = fs::read_to_string(&path)
            && let Ok(pid) = text.trim().parse::<u32>()
            && pid != process::id()
            && fs::metadata(format!("/proc/{pid}")).is_ok()
        {
            return Err(format!("Found an already running mailreeve with pid {pid}."));
        }
        let opened = File::options().write(true).create(true).truncate(true).open(&path);
        let file = opened.map_err(|error| format!("pidfile {}: {error}", path.display()))?;
        Ok(Pidfile { path, file })
    }

    fn write(&mut self) -> Result<(), String> {
        let written = self.file.write_all(format!("{}\n", process::id()).as_bytes());
        written.map_err(|error| format!("pidfile {}: {error}", self.path.display()))
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // It may be in a folder that only root can change; the next start looks whether we live.
        let _ = fs::remove_file(&self.path);
    }
}
