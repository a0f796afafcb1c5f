//! The thread that makes new snapshots: on SIGHUP, and when a config file changes.
//!
//! It looks at the files once a second, since some tools rewrite lists without a signal. A snapshot
//! with errors is refused, every error is logged, and the old one stays. It is a thread of its own with
//! a larger stack, for compiling patterns is the one thing here that goes deep.

use crate::config::Defaults;
use crate::config::files::{Files, Severity};
use crate::plugin::log::{Event, Id, Level, Line};
use crate::plugin::site::Site;
use crate::plugins::load::Strictness;
use crate::server::errand::{Done, Home};
use crate::server::log::Log;
use crate::server::snapshot::{Snapshot, load};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

const STACK: usize = 1_024 * 1_024;

/// Asks the thread for a new snapshot. Dropping it ends the thread.
pub struct Watch {
    sender: Option<Sender<()>>,
}

impl Watch {
    /// A watch that never makes one: the built-in configuration cannot change.
    pub fn nothing() -> Watch {
        Watch { sender: None }
    }

    /// Starts the thread. `open` gives the folder's files afresh.
    ///
    /// # Errors
    /// What the system says when it has no thread to give.
    pub fn start(
        open: impl Fn() -> Files + Send + 'static,
        defaults: Defaults,
        site: Arc<Site>,
        home: Arc<Home>,
        log: Log,
    ) -> io::Result<Watch> {
        let (sender, receiver) = channel();
        let mut watched = Watched { open: Box::new(open), defaults, site, home, log };
        let work = move || {
            loop {
                match receiver.recv_timeout(INTERVAL) {
                    Ok(()) => watched.reload("SIGHUP"),
                    Err(RecvTimeoutError::Timeout) if watched.site.is_stale() => {
                        watched.reload("a config file changed");
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        thread::Builder::new().name("config".to_string()).stack_size(STACK).spawn(work)?;
        Ok(Watch { sender: Some(sender) })
    }

    /// Asks for a new snapshot, changed files or not.
    pub fn reload(&self) {
        if let Some(sender) = &self.sender {
            // The thread ends only with this sender.
            let _ = sender.send(());
        }
    }
}

struct Watched {
    open: Box<dyn Fn() -> Files + Send>,
    defaults: Defaults,
    site: Arc<Site>,
    home: Arc<Home>,
    log: Log,
}

impl Watched {
    fn reload(&mut self, why: &str) {
        let files = (self.open)();
        let (snapshot, problems) =
            load(&files, &self.defaults, Some(&self.site), Strictness::Reload);
        let Snapshot { mut site, tls } = snapshot;
        for problem in &problems {
            self.say(Level::Error, problem.to_string());
        }
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            self.say(Level::Error, format!("{why}: configuration refused, the old one stays"));
            // What was looked at now is not looked at again until it changes once more.
            let stamps = std::mem::take(&mut site.stamps);
            self.site = Arc::new(Site { stamps, ..copy_of(&self.site) });
            return;
        }
        self.site = Arc::new(site);
        self.home.post(Done::Site(Arc::clone(&self.site), tls));
    }

    fn say(&self, level: Level, text: String) {
        self.log.post(Event::Line(Line::core(level, Id::NONE, text)));
    }
}

/// The same snapshot, to be given other stamps.
fn copy_of(site: &Site) -> Site {
    Site {
        config: Arc::clone(&site.config),
        store: site.store.clone(),
        base: Arc::clone(&site.base),
        lists: site.lists.clone(),
        peers: site.peers.clone(),
        outputs: site.outputs.clone(),
        loglevel: site.loglevel,
        stamps: Vec::new(),
        parts: site.parts.clone(),
    }
}
