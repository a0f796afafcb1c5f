//! The store for a person at the command line: look, forgive, prune, beside a daemon that runs.

use super::ops::{Key, Row, Table};
use super::{Backend, Failure, Greylist, Karma, Keep, Open, Place, Settings, sqlite};

/// Records deleted in one transaction; a daemon that writes meanwhile does not wait long.
const CHUNK: u64 = 500;

/// The store, without threads and without anything that waits.
pub struct Keeper {
    /// `None` while there is no database yet: making one would be the daemon's, under its own user.
    backend: Option<Box<dyn Backend>>,
}

impl Keeper {
    /// Opens the store as it is: a missing file is not made, a broken one not mended.
    ///
    /// # Errors
    ///
    /// A file that is no store or cannot be read, or a server that cannot be reached.
    pub fn open(settings: &Settings) -> Result<Keeper, Failure> {
        let backend = match &settings.place {
            Place::Sqlite(path) => match path.try_exists() {
                Ok(false) => None,
                _ => Some(sqlite::File::new(path, None).open()?),
            },
            Place::Valkey(server) => Some(server.open()?),
        };
        Ok(Keeper { backend })
    }

    /// What is known of a client, by its [`super::site_key`].
    ///
    /// # Errors
    ///
    /// The back end failed.
    pub fn karma(&mut self, client: &str) -> Result<Option<Karma>, Failure> {
        let Some((backend, key)) = self.at(client) else { return Ok(None) };
        Ok(backend.read(&key)?.map(|row| Karma::from(&row)))
    }

    /// Forgives a client: its naughty connections count no more. False if it is not known. A running
    /// daemon sees it within a few seconds.
    ///
    /// # Errors
    ///
    /// The back end failed.
    pub fn release(&mut self, client: &str) -> Result<bool, Failure> {
        let Some((backend, key)) = self.at(client) else { return Ok(false) };
        backend.clear(&key, &["naughty", "naughty_at"])
    }

    /// Shows every client, the latest seen first, until `visit` says false.
    ///
    /// # Errors
    ///
    /// The back end failed.
    pub fn list_karma(
        &mut self,
        visit: &mut dyn FnMut(&str, &Karma) -> bool,
    ) -> Result<(), Failure> {
        self.list(Table::Karma, &mut |key, row| visit(key, &Karma::from(row)))
    }

    /// Shows every greylisted combination, the latest seen first, until `visit` says false.
    ///
    /// # Errors
    ///
    /// The back end failed.
    pub fn list_greylist(
        &mut self,
        visit: &mut dyn FnMut(&str, &Greylist) -> bool,
    ) -> Result<(), Failure> {
        self.list(Table::Greylist, &mut |key, row| visit(key, &Greylist::from(row)))
    }

    /// Deletes every record of a table that was last seen before `before` (seconds since 1970).
    /// Tells how many.
    ///
    /// # Errors
    ///
    /// The back end failed; what was deleted until then is gone.
    pub fn prune(&mut self, table: Table, before: u64) -> Result<u64, Failure> {
        let Some(backend) = &mut self.backend else { return Ok(0) };
        let keep = Keep { rows_max: u64::MAX, limit: CHUNK };
        let mut all = 0;
        loop {
            match backend.prune(table, before, keep)? {
                0 => return Ok(all),
                some => all += some,
            }
        }
    }

    fn at(&mut self, client: &str) -> Option<(&mut dyn Backend, Key)> {
        let key = Key::new(Table::Karma, client)?;
        Some((self.backend.as_deref_mut()?, key))
    }

    fn list(
        &mut self,
        table: Table,
        visit: &mut dyn FnMut(&str, &Row) -> bool,
    ) -> Result<(), Failure> {
        self.backend.as_deref_mut().map_or(Ok(()), |backend| backend.list(table, visit))
    }
}
