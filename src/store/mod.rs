//! What must be remembered longer than a session: reputations, greylisting, and whom we write to.
//!
//! The mail never depends on it. A check that wants to know the past asks, and skips when nobody can
//! say in time; what it has to say goes into a queue and is written when it is convenient. So a
//! full disk, a torn file or a dead server costs memory of the past and nothing else:
//!
//! * the **store thread** answers reads, from a small cache or from the back end, within
//!   [`READ_TIME_MAX`] or not at all;
//! * the **recorder thread** writes what has been recorded, folded by client, in one transaction a
//!   second, so that a busy server does not pay a transaction for each connection. A crash of the
//!   daemon costs that second, a stop nothing; a power failure may cost what the system had not yet
//!   put on the disk, some thirty seconds;
//! * reads see what waits to be written, so a client cannot be quicker than its reputation.
//!
//! What is recorded are [`ops`], which commute; so several sessions, and several front ends on one
//! server, can record at once. There are two back ends: SQLite in a file of our own, and a
//! Valkey or Redis server where several front ends share what they know. A record ages from the time
//! it last changed, and each table has a bound; the recorder prunes.
//!
//! The recorder also writes what DMARC came to, into a file of its own ([`reports`]).
//!
//! Greylisting is answered like reputation: a store that cannot say lets the mail in.

mod cache;
mod clock;
mod keeper;
pub mod ops;
mod queue;
mod recorder;
pub mod reports;
mod sqlite;
mod valkey;

use crate::config::files::{Files, Problem, quote};
use ops::{Key, Row, Table};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use keeper::Keeper;
pub use ops::{Correspondent, GREYLIST, Greylist, KARMA, Karma, Op, Outcome, WHITELIST, site_key};
pub use recorder::{READ_TIME_MAX, Store, StoreHandle, StoreThreads};
pub use valkey::Server;

/// Name of the database file in the state folder.
const FILE: &str = "mailreeve.sqlite";

/// The file of DMARC's results in the state folder, as Mail::DMARC has it on SME Server.
const REPORTS: &str = "dmarc/reports.sqlite";

/// Names of servers that need no DNS.
const HOSTS: &str = "/etc/hosts";

/// Records of one table; the ones that changed longest ago go first.
const ROWS_MAX: u64 = 2_000_000;

/// Reputations are forgotten after this, unless the client comes again.
const KARMA_AGE: Duration = Duration::from_secs(90 * 86_400);

/// Greylisting forgets after this; above qpsmtpd's `white_timeout` of 36 days.
const GREYLIST_AGE: Duration = Duration::from_secs(40 * 86_400);

/// Addresses that nobody here writes to any more are forgotten after this: ten years.
const WHITELIST_AGE: Duration = Duration::from_secs(3_652 * 86_400);

/// Where the store is and how long it remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The back end.
    pub place: Place,
    /// Where DMARC's results are kept; None: nowhere.
    pub reports: Option<reports::Settings>,
    karma_age: Duration,
    greylist_age: Duration,
    whitelist_age: Duration,
    rows_max: u64,
}

/// A back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A database file, made where it is missing.
    Sqlite(PathBuf),
    /// A server that speaks the protocol of Redis.
    Valkey(Server),
}

impl Settings {
    /// A store in this place that remembers for the usual times.
    pub fn new(place: Place) -> Settings {
        Settings {
            place,
            reports: None,
            karma_age: KARMA_AGE,
            greylist_age: GREYLIST_AGE,
            whitelist_age: WHITELIST_AGE,
            rows_max: ROWS_MAX,
        }
    }

    /// Reads the file `store`: `sqlite PATH`, `sqlite` (the default, in `state_dir`), or
    /// `valkey redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, HOST being an address or a name in
    /// /etc/hosts. What is wrong is added to `problems`.
    pub fn load(files: &Files, state_dir: &Path, problems: &mut Vec<Problem>) -> Settings {
        let default = || Settings::new(Place::Sqlite(state_dir.join(FILE)));
        let Some(line) = files.scalar("store", problems) else { return default() };
        match place(&line.text, || files.system(HOSTS)) {
            Ok(Some(place)) => Settings::new(place),
            Ok(None) => default(),
            Err(what) => {
                Problem::error(&line, what).note(problems);
                default()
            }
        }
    }

    /// Keeps DMARC's results in the state folder, in the name of this domain.
    pub fn keep_reports(&mut self, state_dir: &Path, organisation: &str) {
        let (path, organisation) = (state_dir.join(REPORTS), organisation.to_string());
        self.reports = Some(reports::Settings { path, organisation });
    }

    /// Makes a table remember for at least this long after a record's last change, because a plugin
    /// was configured to look back so far.
    pub fn keep_at_least(&mut self, table: Table, age: Duration) {
        let known = match table {
            Table::Karma => &mut self.karma_age,
            Table::Greylist => &mut self.greylist_age,
            Table::Whitelist => &mut self.whitelist_age,
        };
        *known = age.max(*known);
    }

    fn age(&self, table: Table) -> Duration {
        match table {
            Table::Karma => self.karma_age,
            Table::Greylist => self.greylist_age,
            Table::Whitelist => self.whitelist_age,
        }
    }

    fn opener(&self, say: Say) -> Box<dyn Open> {
        match &self.place {
            Place::Sqlite(path) => Box::new(sqlite::File::new(path, Some(say))),
            Place::Valkey(server) => Box::new(server.clone()),
        }
    }
}

/// The back end that a line names; `None` for the default.
fn place(text: &str, hosts: impl FnOnce() -> String) -> Result<Option<Place>, String> {
    let mut words = text.split_whitespace();
    let (kind, location, more) = (words.next(), words.next(), words.next());
    match (kind, location, more) {
        (Some("sqlite"), None, _) => Ok(None),
        (Some("sqlite"), Some(path), None) if path.starts_with('/') => {
            Ok(Some(Place::Sqlite(path.into())))
        }
        (Some("sqlite"), Some(path), None) => {
            Err(format!("{} is not an absolute path", quote(path)))
        }
        // A URL may hold a password: it is not repeated.
        (Some("valkey" | "redis"), Some(url), None) => match Server::parse(url, &hosts()) {
            Ok(server) => Ok(Some(Place::Valkey(server))),
            Err(what) => Err(format!("the address of the server {what}")),
        },
        (Some("sqlite" | "valkey" | "redis"), ..) => {
            Err("write `sqlite PATH` or `valkey redis://IP:PORT/DB`".to_string())
        }
        (word, ..) => {
            let word = quote(word.unwrap_or_default());
            Err(format!("{word} is no store; there are sqlite and valkey"))
        }
    }
}

/// The store cannot say. A check that needed it skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// Takes lines for the log. It must not block.
type Say = Arc<dyn Fn(log::Level, &str) + Send + Sync>;

/// Why a back end could not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words, for the log. Holds nothing that a client sent.
    pub what: String,
    /// It may have been done all the same, so it must not be done again.
    is_doubtful: bool,
}

impl Failure {
    fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), is_doubtful: false }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// Makes connections to a back end.
trait Open: Send + Sync {
    /// Another connection. May block for a second or two.
    fn open(&self) -> Result<Box<dyn Backend>, Failure>;
}

/// A connection to what keeps the records. Each thread has its own. After a failure it is dropped and
/// another one is opened.
trait Backend: Send {
    /// The record of this key.
    fn read(&mut self, key: &Key) -> Result<Option<Row>, Failure>;

    /// Does what can be done of a write while nobody sees it yet. [`Backend::write`] follows, with the
    /// same batch.
    fn prepare(&mut self, _batch: &[queue::Entry]) -> Result<(), Failure> {
        Ok(())
    }

    /// Adds these rows to their records, all or none.
    fn write(&mut self, batch: &[queue::Entry]) -> Result<(), Failure>;

    /// Does what a back end puts off while it writes. Called now and then.
    fn settle(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Sets fields of a record to nothing. False if there is no such record.
    fn clear(&mut self, key: &Key, fields: &[&'static str]) -> Result<bool, Failure>;

    /// Shows the records to `visit`, the latest changed first, until it says false. Records that
    /// change meanwhile may be missed or come twice.
    fn list(&mut self, table: Table, visit: Visit<'_>) -> Result<(), Failure>;

    /// Deletes at most `limit` records, the ones that changed longest ago first: those that last
    /// changed before `before`, and those over `rows_max`. Tells how many.
    fn prune(&mut self, table: Table, before: u64, keep: Keep) -> Result<u64, Failure>;
}

/// Takes a key and its record; false ends the listing.
type Visit<'a> = &'a mut dyn FnMut(&str, &Row) -> bool;

/// How many records to leave, and how many to delete at once.
#[derive(Clone, Copy, Debug)]
struct Keep {
    rows_max: u64,
    limit: u64,
}

#[cfg(test)]
mod tests;
