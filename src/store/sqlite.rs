//! The store in a SQLite file, for a daemon that stands alone.
//!
//! Write-ahead logging lets the store thread read while the recorder writes, and needs no fsync for
//! each batch; checkpoints, which do, are the recorder's and happen outside of any wait. The file is
//! ours alone, so a broken one is set aside and a new one begun: reputation grows again by itself,
//! and a daemon that stands still for a list of bad hosts would be worse than the list's loss. Only
//! what SQLite calls corrupt counts as broken. A full disk or missing rights change nothing in the
//! file; then reads or writes fail until somebody mends that.

mod statements;

use super::ops::{Key, Row, Table};
use super::queue::Entry;
use super::{Backend, Failure, Keep, Open, Say, Visit, clock};
use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
use rusqlite::{Connection, DropBehavior, OpenFlags, OptionalExtension, TransactionBehavior};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Number of our layout in the file.
const LAYOUT: i64 = 1;

/// How long to wait for another process, the command line, that writes.
const BUSY_TIME_MAX: Duration = Duration::from_secs(1);

/// Files up to this many octets are checked as a whole when they are first opened; larger ones would
/// take too long.
const CHECKED_MAX: u64 = 64 * 1_024 * 1_024;

/// Octets of the write-ahead log that call for a checkpoint.
const WAL_MAX: u64 = 2 * 1_024 * 1_024;

/// Broken files that are kept for whoever wants to look at them.
const BROKEN_MAX: usize = 3;

/// What each connection is told: a cache in which a batch of the recorder has room, for pages that are
/// written out before their commit make the commit slow; and distrust of what the file holds.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
     PRAGMA cache_size = -768; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 4194304; \
     PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;";

/// A write that changes no record: the number by which `file` knows our databases.
const MARK: &str = "PRAGMA application_id = 1835100537";

/// The database file, as all connections of this process know it.
pub(super) struct File(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// Where to tell what was set aside; without it the file is neither made nor mended.
    say: Option<Say>,
    health: Mutex<Health>,
    /// How often the file was set aside. A connection of another count is to the old file.
    generation: AtomicU32,
}

#[derive(Default)]
struct Health {
    checked: bool,
    broken: Option<String>,
}

/// What went wrong.
enum Trouble {
    /// The file is no database of ours any more.
    Broken(String),
    /// SQLite did not like a statement. All of ours are right, so when a file is opened that means that
    /// the file is not; later it means that it should be opened again.
    Strange(String),
    /// Anything else.
    Other(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        use rusqlite::Error::{FromSqlConversionFailure, InvalidColumnType};
        let what = error.to_string();
        match (error.sqlite_error(), &error) {
            (Some(error), _) if matches!(error.code, DatabaseCorrupt | NotADatabase) => {
                Trouble::Broken(what)
            }
            (Some(error), _) if error.extended_code == rusqlite::ffi::SQLITE_ERROR => {
                Trouble::Strange(what)
            }
            (None, FromSqlConversionFailure(..) | InvalidColumnType(..)) => Trouble::Broken(what),
            _ => Trouble::Other(what),
        }
    }
}

impl File {
    /// The file at `path`. With `say` it is made and mended, without it only used as it is.
    pub(super) fn new(path: &Path, say: Option<Say>) -> File {
        let (health, generation) = (Mutex::default(), AtomicU32::new(0));
        File(Arc::new(Inner { path: path.to_path_buf(), say, health, generation }))
    }
}

impl Open for File {
    fn open(&self) -> Result<Box<dyn Backend>, Failure> {
        Ok(Box::new(Sqlite::open(&self.0)?))
    }
}

impl Inner {
    /// A connection, to a new file if the old one is broken.
    fn connect(&self) -> Result<Connection, Failure> {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if self.say.is_some()
            && let Some(why) = health.broken.take()
        {
            self.set_aside(&why)?;
            health.checked = false;
        }
        let connection = match connect(&self.path, self.say.is_some(), !health.checked) {
            Err(Trouble::Broken(why) | Trouble::Strange(why)) if self.say.is_some() => {
                self.set_aside(&why)?;
                connect(&self.path, true, true)
            }
            other => other,
        };
        health.checked |= connection.is_ok();
        connection.map_err(|trouble| self.failure(trouble))
    }

    /// Moves the file away. SQLite sees that a file has moved and leaves the new one's log alone when
    /// a connection to the old one is closed.
    fn set_aside(&self, why: &str) -> Result<(), Failure> {
        let away = free_name(&self.path, clock::unix_seconds());
        let name = self.path.display();
        fs::rename(&self.path, &away).map_err(|error| {
            Failure::new(format!("{name} is broken ({why}) and stays: {error}"))
        })?;
        self.generation.fetch_add(1, Ordering::SeqCst);
        // Without its log the old file lacks what was written last; it may well not have one.
        let _missing = fs::rename(with_end(&self.path, "-wal"), with_end(&away, "-wal"));
        let _missing = fs::remove_file(with_end(&self.path, "-shm"));
        keep_few(&self.path);
        if let Some(say) = &self.say {
            let away = away.display();
            say(log::Level::Error, &format!("store: {name} is broken ({why}); moved to {away}"));
        }
        Ok(())
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        let (Trouble::Broken(what) | Trouble::Strange(what) | Trouble::Other(what)) = trouble;
        Failure::new(format!("{}: {what}", self.path.display()))
    }
}

/// A name for a broken file that is not taken.
fn free_name(path: &Path, now: u64) -> PathBuf {
    let names = (now..).map(|time| with_end(path, &format!(".corrupt-{time}")));
    let mut free = names.skip_while(|name| name.symlink_metadata().is_ok());
    free.next().unwrap_or_else(|| with_end(path, ".corrupt"))
}

/// Deletes all but the latest broken files.
fn keep_few(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
    let start = format!("{}.corrupt-", name.to_string_lossy());
    let mut times: Vec<u64> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(&start)?.parse().ok())
        .collect();
    times.sort_unstable();
    for time in times.iter().rev().skip(BROKEN_MAX) {
        let old = with_end(path, &format!(".corrupt-{time}"));
        // What cannot be deleted stays; there is nobody to tell who does not know.
        let _stays = fs::remove_file(with_end(&old, "-wal"));
        let _stays = fs::remove_file(old);
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    PathBuf::from(name)
}

/// Opens the file, made where it is missing and that is wanted, with our tables in it.
fn connect(path: &Path, make: bool, check: bool) -> Result<Connection, Trouble> {
    if make {
        create(path).map_err(|error| Trouble::Other(error.to_string()))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIME_MAX)?;
    connection.execute_batch(PRAGMAS)?;
    if make {
        make_tables(&mut connection)?;
        // The file can be written, as making it has shown; then only its header can say no.
        if connection.is_readonly("main")? {
            return Err(Trouble::Broken("its header says that it is read-only".to_string()));
        }
    }
    let layout: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if layout != LAYOUT {
        return Err(Trouble::Broken(format!("its layout is {layout}, not {LAYOUT}")));
    }
    // A file of an earlier version lacks new tables until the daemon has made them.
    let there = tables(&connection)?;
    for table in Table::ALL.into_iter().filter(|table| make || there.contains(table)) {
        connection.prepare(&statements::read(table))?;
    }
    if check && path.metadata().is_ok_and(|it| it.len() <= CHECKED_MAX) {
        let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if said != "ok" {
            return Err(Trouble::Broken(said));
        }
    }
    Ok(connection)
}

/// An empty file that only its owner writes and its group reads: it tells who writes to whom.
pub(super) fn create(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o640).open(path).map(drop)
}

/// Makes the tables that are missing: all of them in an empty file, new ones in a file of an earlier
/// version. A database of another program is left alone.
fn make_tables(connection: &mut Connection) -> Result<(), Trouble> {
    let there = tables(connection)?;
    if there.len() == Table::ALL.len() {
        return Ok(());
    }
    let any = "SELECT count(*) FROM sqlite_schema";
    if there.is_empty() && connection.query_row(any, [], |row| row.get::<_, i64>(0))? > 0 {
        return Err(Trouble::Other("is a database of another program".to_string()));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for table in Table::ALL {
        transaction.execute_batch(&statements::create(table))?;
    }
    if there.is_empty() {
        transaction.execute_batch(&format!("PRAGMA user_version = {LAYOUT}"))?;
    }
    Ok(transaction.commit()?)
}

/// Which of our tables the file has.
fn tables(connection: &Connection) -> Result<Vec<Table>, Trouble> {
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    let names: Vec<String> = names.collect::<Result<_, _>>()?;
    Ok(names.iter().filter_map(|name| Table::named(name)).collect())
}

/// A connection to the file.
struct Sqlite {
    file: Arc<Inner>,
    generation: u32,
    connection: Connection,
    /// A batch has been written and waits for its commit.
    is_prepared: bool,
    /// The next write may begin the write-ahead log anew.
    log_begins: bool,
}

impl Sqlite {
    fn open(file: &Arc<Inner>) -> Result<Sqlite, Failure> {
        let connection = file.connect()?;
        let generation = file.generation.load(Ordering::SeqCst);
        Ok(Sqlite {
            file: Arc::clone(file),
            generation,
            connection,
            is_prepared: false,
            log_begins: true,
        })
    }

    /// Does something with the connection, which is renewed if its file has been set aside.
    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Connection) -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        if self.generation != self.file.generation.load(Ordering::SeqCst) {
            *self = Sqlite::open(&self.file)?;
        }
        act(&mut self.connection).map_err(|trouble| {
            if let Trouble::Broken(why) = &trouble {
                let mut health = self.file.health.lock().unwrap_or_else(PoisonError::into_inner);
                // Another connection may have found the same, and set the file aside already.
                if self.generation == self.file.generation.load(Ordering::SeqCst) {
                    health.broken = Some(why.clone());
                }
            }
            self.file.failure(trouble)
        })
    }
}

impl Backend for Sqlite {
    fn read(&mut self, key: &Key) -> Result<Option<Row>, Failure> {
        self.with(|connection| {
            let mut statement = connection.prepare(&statements::read(key.table))?;
            let row = statement.query_row([&*key.text], |row| statements::row(key.table, row, 0));
            Ok(row.optional()?)
        })
    }

    /// Everything but the commit: most of the time of a write, in which readers see the old records
    /// and wait for nobody.
    fn prepare(&mut self, batch: &[Entry]) -> Result<(), Failure> {
        self.is_prepared = false;
        let log_begins = std::mem::take(&mut self.log_begins);
        self.with(|connection| {
            if log_begins {
                // Who begins the log anew syncs its head: better here than in the commit.
                connection.execute_batch(MARK)?;
            }
            let mut transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for table in Table::ALL {
                let mut statement = transaction.prepare(&statements::write(table))?;
                for (key, row, _) in batch.iter().filter(|(key, ..)| key.table == table) {
                    statements::bind(&mut statement, key, row)?;
                    statement.raw_execute()?;
                }
            }
            // Left open here. A connection that is dropped before its commit takes it back.
            transaction.set_drop_behavior(DropBehavior::Ignore);
            Ok(())
        })?;
        self.is_prepared = true;
        Ok(())
    }

    fn write(&mut self, batch: &[Entry]) -> Result<(), Failure> {
        if !self.is_prepared || self.generation != self.file.generation.load(Ordering::SeqCst) {
            self.prepare(batch)?;
        }
        self.is_prepared = false;
        self.with(|connection| {
            connection.execute_batch("COMMIT").map_err(|error| {
                // It may have ended by itself, which is as well.
                let _ended = connection.execute_batch("ROLLBACK");
                error.into()
            })
        })
    }

    fn settle(&mut self) -> Result<(), Failure> {
        let log = with_end(&self.file.path, "-wal");
        if log.metadata().is_ok_and(|log| log.len() < WAL_MAX) {
            return Ok(());
        }
        self.log_begins = true;
        self.with(|connection| {
            Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
        })
    }

    fn clear(&mut self, key: &Key, fields: &[&'static str]) -> Result<bool, Failure> {
        self.with(|connection| {
            let statement = statements::clear(key.table, fields);
            Ok(connection.execute(&statement, [&*key.text])? > 0)
        })
    }

    fn list(&mut self, table: Table, visit: Visit<'_>) -> Result<(), Failure> {
        self.with(|connection| {
            let mut statement = connection.prepare(&statements::list(table))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                if !visit(&key, &statements::row(table, row, 1)?) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn prune(&mut self, table: Table, before: u64, keep: Keep) -> Result<u64, Failure> {
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        self.with(|connection| {
            let number = |query: &str, values: &[i64]| -> Result<u64, rusqlite::Error> {
                let count: i64 =
                    connection
                        .query_row(query, rusqlite::params_from_iter(values), |row| row.get(0))?;
                Ok(u64::try_from(count).unwrap_or_default())
            };
            let aged = number(&statements::count_before(table), &[before])?;
            let all = number(&statements::count(table), &[])?;
            let doomed = aged.max(all.saturating_sub(keep.rows_max)).min(keep.limit);
            if doomed == 0 {
                return Ok(0);
            }
            let limit = i64::try_from(doomed).unwrap_or(i64::MAX);
            let deleted = connection.execute(&statements::delete_oldest(table), [limit])?;
            Ok(u64::try_from(deleted).unwrap_or(doomed))
        })
    }
}

#[cfg(test)]
mod tests;
