//! The two threads of the store, and the handle by which everybody else uses them.
//!
//! What is recorded passes through three places: it waits in the queue, it is in flight while the
//! recorder writes it, and it is in the back end. A read must count it once, wherever it is. Hence
//! the lock `commit`: the recorder holds it from the moment at which a batch can be seen in the back end
//! until it is no longer in flight, and the store thread while it reads from the back end, so a read
//! counts a batch before or after, never half or twice. What takes time is done before the lock is
//! taken. A read that the cache can answer waits for nobody and adds what is in flight itself.

mod ledger;
mod link;

use super::cache::Cache;
use super::ops::{Key, Op, Row, Table};
use super::queue::{Entry, Queue};
use super::reports::Judged;
use super::{Failure, Keep, Open, Say, Settings, Unavailable, clock};
use ledger::{Ledger, Waiting};
use link::{Complaints, Link};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

/// Whoever reads waits no longer than this; a read that has waited so long is not begun.
pub const READ_TIME_MAX: Duration = Duration::from_millis(500);

/// Reads that wait for the store thread; more are answered at once that nobody can say.
const READS_MAX: usize = 4_096;

/// How long ops gather before they are written.
const GATHER: Duration = Duration::from_secs(1);

/// Keys in one batch. So many that wait are written at once. Readers wait for the commit of a batch, and
/// this many take half a millisecond.
const BATCH: usize = 64;

/// How long the recorder tries to write the rest when the daemon ends.
const FINISH_TIME_MAX: Duration = Duration::from_secs(5);

/// When the recorder prunes after its first batch, when again, and when where there is more to delete.
const PRUNE_FIRST: Duration = Duration::from_secs(60);
const PRUNE_INTERVAL: Duration = Duration::from_secs(3_600);
const PRUNE_PAUSE: Duration = Duration::from_millis(50);

/// Keys written after which it prunes without waiting for the hour.
const PRUNE_AFTER: usize = 20_000;

/// Records deleted in one go.
const PRUNE_CHUNK: u64 = 500;

/// Stack of each thread in octets; SQLite's parser wants more than others.
const STACK_SIZE: usize = 1_024 * 1_024;

/// Starts the store.
pub struct Store;

/// Reads and records. Cloning it is cheap; nothing it does waits for a disk or a server.
#[derive(Clone)]
pub struct StoreHandle {
    shared: Arc<Shared>,
}

/// The threads of the store, to be ended with [`StoreThreads::finish`] when the last session has.
pub struct StoreThreads {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
    recorder: JoinHandle<()>,
}

type Reply = Box<dyn FnOnce(Result<Option<Box<[u8]>>, Unavailable>) + Send>;

struct Read {
    key: Key,
    asked: Instant,
    reply: Reply,
}

struct Shared {
    settings: Settings,
    opener: Box<dyn Open>,
    say: Say,
    started: Instant,
    state: Mutex<State>,
    /// Held while a batch becomes visible, and while the back end is read. Taken before `state`.
    commit: Mutex<()>,
    reader_wakes: Condvar,
    recorder_wakes: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// When the first op came into an empty queue, or the queue was last put off.
    gathering_since: Option<Instant>,
    in_flight: HashMap<Key, Row>,
    cache: Cache,
    reads: VecDeque<Read>,
    judged: Waiting,
    stop: bool,
}

/// What the recorder woke up for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Write,
    Report,
    Prune,
    Stop,
}

impl Store {
    /// Starts the two threads. `say` takes lines for the log and must not block. The back end is
    /// opened by the threads: one that is away, or broken, is no reason not to start.
    ///
    /// # Errors
    ///
    /// A thread that cannot be started.
    pub fn start(
        settings: Settings,
        say: impl Fn(log::Level, &str) + Send + Sync + 'static,
    ) -> io::Result<(StoreHandle, StoreThreads)> {
        let say: Say = Arc::new(say);
        let opener = settings.opener(Arc::clone(&say));
        Store::start_on(settings, opener, say)
    }

    pub(super) fn start_on(
        settings: Settings,
        opener: Box<dyn Open>,
        say: Say,
    ) -> io::Result<(StoreHandle, StoreThreads)> {
        let shared = Arc::new(Shared {
            settings,
            opener,
            say,
            started: clock::now(),
            state: Mutex::default(),
            commit: Mutex::default(),
            reader_wakes: Condvar::new(),
            recorder_wakes: Condvar::new(),
        });
        let spawn = |name: &str, run: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            let builder = thread::Builder::new().name(name.to_string()).stack_size(STACK_SIZE);
            builder.spawn(move || run(&shared))
        };
        let reader = spawn("store", read_all)?;
        let recorder = spawn("recorder", record_all).inspect_err(|_| shared.stop())?;
        let handle = StoreHandle { shared: Arc::clone(&shared) };
        Ok((handle, StoreThreads { shared, reader, recorder }))
    }
}

impl StoreHandle {
    /// Reads a record; `reply` gets it encoded ([`super::Karma::decode`]), with what has been recorded
    /// and not written yet. It is called once, on the store thread, or on this one when it is known at
    /// once that nobody can say. A reply may come late, or never if the daemon ends: the caller keeps
    /// the time, [`READ_TIME_MAX`].
    pub fn read(
        &self,
        table: &'static str,
        key: &str,
        reply: impl FnOnce(Result<Option<Box<[u8]>>, Unavailable>) + Send + 'static,
    ) {
        let Some(key) = Table::named(table).and_then(|table| Key::new(table, key)) else {
            return reply(Err(Unavailable));
        };
        let mut state = self.shared.state();
        if state.stop || state.reads.len() >= READS_MAX {
            drop(state);
            return reply(Err(Unavailable));
        }
        state.reads.push_back(Read { key, asked: clock::now(), reply: Box::new(reply) });
        drop(state);
        self.shared.reader_wakes.notify_one();
    }

    /// Records ops. They count in every read from now on, and are written within a second or so.
    pub fn record(&self, ops: impl IntoIterator<Item = Op>) {
        let mut state = self.shared.state();
        for op in ops {
            state.queue.push(&op);
        }
        let waiting = state.queue.len();
        let wakes = waiting >= BATCH || (waiting > 0 && state.gathering_since.is_none());
        if waiting > 0 {
            state.gathering_since.get_or_insert_with(clock::now);
        }
        drop(state);
        if wakes {
            self.shared.recorder_wakes.notify_one();
        }
    }

    /// Records what DMARC came to, for its reports. It is written within a second or so.
    pub fn report(&self, messages: Vec<Judged>) {
        if self.shared.settings.reports.is_some() && self.shared.state().judged.add(messages) {
            self.shared.recorder_wakes.notify_one();
        }
    }
}

impl StoreThreads {
    /// Writes everything that is recorded, and ends the threads. Takes no longer than some seconds;
    /// what a back end that is away does not take in that time is lost, and logged.
    pub fn finish(self) {
        self.shared.stop();
        for thread in [self.recorder, self.reader] {
            if thread.join().is_err() {
                (self.shared.say)(log::Level::Error, "store: a thread of the store has panicked");
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self) -> MutexGuard<'_, ()> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.state().stop = true;
        self.reader_wakes.notify_all();
        self.recorder_wakes.notify_all();
    }

    /// The next read; `None` when the daemon ends.
    fn next_read(&self) -> Option<Read> {
        let mut state = self.state();
        loop {
            if let Some(read) = state.reads.pop_front() {
                return Some(read);
            }
            if state.stop {
                return None;
            }
            state = self.reader_wakes.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn look_up(
        &self,
        link: &mut Link,
        complaints: &mut Complaints,
        key: &Key,
    ) -> Result<Option<Row>, Unavailable> {
        let now = self.started.elapsed();
        {
            let state = self.state();
            if let Some(row) = state.cache.find(key, now) {
                return Ok(state.with_recorded(key, row));
            }
        }
        if !link.is_ready() {
            return Err(Unavailable);
        }
        let commit = self.commit();
        let found = link.with(&*self.opener, |backend| backend.read(key));
        let mut state = self.state();
        let row = match found {
            Ok(row) => row,
            Err(failure) => {
                drop((state, commit));
                let what = format!("cannot read, so checks that need it skip: {failure}");
                complaints.complain(&self.say, &what);
                return Err(Unavailable);
            }
        };
        state.cache.insert(key.clone(), row, now);
        let row = state.with_recorded(key, row);
        drop((state, commit));
        complaints.relieve(&self.say, "can be read again");
        Ok(row)
    }

    /// Waits for something to do.
    fn next_work(&self, link: &Link, prune_at: Option<Instant>) -> Work {
        let mut state = self.state();
        loop {
            if state.stop {
                return Work::Stop;
            }
            let now = clock::now();
            let write_at = state.write_at(now).map(|due| due.max(link.ready_at().unwrap_or(due)));
            if write_at.is_some_and(|due| due <= now) {
                return Work::Write;
            }
            let report_at = state.judged.due();
            if report_at.is_some_and(|due| due <= now) {
                return Work::Report;
            }
            if prune_at.is_some_and(|due| due <= now) {
                return Work::Prune;
            }
            let wake_at = [write_at, report_at, prune_at].into_iter().flatten().min();
            let pause = wake_at.map_or(PRUNE_INTERVAL, |due| due.saturating_duration_since(now));
            let woken = self.recorder_wakes.wait_timeout(state, pause);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes one batch. Tells how many keys were written.
    fn write(&self, link: &mut Link, complaints: &mut Complaints) -> usize {
        let batch = self.state().take_batch();
        let prepared = match &*batch {
            [] => Ok(()),
            some => link.with(&*self.opener, |backend| backend.prepare(some)),
        };
        let commit = self.commit();
        let written = prepared.and_then(|()| match &*batch {
            [] => Ok(()),
            some => link.with(&*self.opener, |backend| backend.write(some)),
        });
        let keys = batch.len();
        let mut state = self.state();
        state.in_flight.clear();
        match written {
            Ok(()) => {
                batch.iter().for_each(|(key, ..)| state.cache.remove(key));
                let dropped = state.queue.take_dropped();
                drop((state, commit));
                if dropped > 0 {
                    let what = format!("store: {dropped} operations were dropped");
                    (self.say)(log::Level::Warn, &what);
                }
                complaints.relieve(&self.say, "can be written again");
                keys
            }
            Err(failure) => {
                state.take_back(batch, &failure);
                let (waiting, dropped) = (state.queue.ops(), state.queue.dropped());
                drop((state, commit));
                let counts = format!("{waiting} operations wait, {dropped} were dropped");
                let what = format!("cannot write ({counts}): {failure}");
                complaints.complain(&self.say, &what);
                0
            }
        }
    }

    /// Writes messages for DMARC's reports. Tells how many are lost if it is not tried again.
    fn report(&self, ledger: &mut Ledger) -> usize {
        let batch = self.state().judged.take();
        let Some(settings) = &self.settings.reports else { return 0 };
        let Some(back) = ledger.write(settings, &self.say, batch) else { return 0 };
        let lost = back.lost();
        back.into(&mut self.state().judged);
        lost
    }

    /// Deletes what is old or too much, a little. Tells when to look again.
    fn prune(&self, link: &mut Link, complaints: &mut Complaints) -> Duration {
        let now = clock::unix_seconds();
        let keep = Keep { rows_max: self.settings.rows_max, limit: PRUNE_CHUNK };
        for table in Table::ALL {
            let before = now.saturating_sub(self.settings.age(table).as_secs());
            match link.with(&*self.opener, |backend| backend.prune(table, before, keep)) {
                Ok(PRUNE_CHUNK..) => return PRUNE_PAUSE,
                Ok(_) => {}
                Err(failure) => {
                    complaints.complain(&self.say, &format!("cannot prune: {failure}"));
                    return PRUNE_FIRST;
                }
            }
        }
        PRUNE_INTERVAL
    }
}

impl State {
    /// A record as the back end has it, with what it has not yet.
    fn with_recorded(&self, key: &Key, stored: Option<Row>) -> Option<Row> {
        let recorded = [self.in_flight.get(key), self.queue.find(key)];
        recorded.into_iter().flatten().fold(stored, |row, more| {
            let mut row = row.unwrap_or_default();
            row.merge(key.table, more);
            Some(row)
        })
    }

    /// When to write the next batch.
    fn write_at(&self, now: Instant) -> Option<Instant> {
        let since = self.gathering_since?;
        Some(if self.queue.len() >= BATCH { now } else { since + GATHER })
    }

    fn take_batch(&mut self) -> Vec<Entry> {
        let batch = self.queue.take(BATCH);
        self.in_flight = batch.iter().map(|(key, row, _)| (key.clone(), *row)).collect();
        if self.queue.len() == 0 {
            self.gathering_since = None;
        }
        batch
    }

    /// A batch was not written.
    fn take_back(&mut self, batch: Vec<Entry>, failure: &Failure) {
        if failure.is_doubtful {
            self.queue.drop_ops(batch.iter().map(|(.., ops)| ops).sum());
            batch.iter().for_each(|(key, ..)| self.cache.remove(key));
        } else {
            self.queue.put_back(batch);
        }
        self.gathering_since = (self.queue.len() > 0).then(clock::now);
    }
}

/// The store thread.
fn read_all(shared: &Shared) {
    let (mut link, mut complaints) = (Link::default(), Complaints::default());
    while let Some(read) = shared.next_read() {
        let answer = if read.asked.elapsed() < READ_TIME_MAX {
            let row = shared.look_up(&mut link, &mut complaints, &read.key);
            row.map(|row| row.map(|row| row.encode(read.key.table)))
        } else {
            Err(Unavailable)
        };
        (read.reply)(answer);
    }
}

/// The recorder thread. A store that nobody writes to is not pruned either, and so never made.
fn record_all(shared: &Shared) {
    let (mut link, mut complaints) = (Link::default(), Complaints::default());
    let (mut written, mut prune_at, mut ledger) = (0, None, Ledger::default());
    loop {
        match shared.next_work(&link, prune_at) {
            Work::Write => {
                written += shared.write(&mut link, &mut complaints);
                if written >= PRUNE_AFTER {
                    prune_at = Some(clock::now());
                } else if prune_at.is_none() {
                    prune_at = Some(clock::now() + PRUNE_FIRST);
                }
                if link.is_open()
                    && let Err(failure) = link.with(&*shared.opener, |backend| backend.settle())
                {
                    complaints.complain(&shared.say, &format!("cannot checkpoint: {failure}"));
                }
            }
            Work::Report => {
                shared.report(&mut ledger);
            }
            Work::Prune => {
                written = 0;
                prune_at = Some(clock::now() + shared.prune(&mut link, &mut complaints));
            }
            Work::Stop => {
                report_rest(shared, &mut ledger);
                return write_rest(shared, &mut link, &mut complaints);
            }
        }
    }
}

/// Writes the messages that are left for DMARC's reports, unless the file fails.
fn report_rest(shared: &Shared, ledger: &mut Ledger) {
    while !shared.state().judged.is_empty() {
        let lost = shared.report(ledger);
        if lost > 0 {
            let what = format!("store: {lost} messages and more are in no DMARC report");
            return (shared.say)(log::Level::Error, &what);
        }
    }
}

/// Writes what is left, as long as there is hope.
#[expect(
    clippy::disallowed_methods,
    reason = "at the end only a back end that is away is waited for"
)]
fn write_rest(shared: &Shared, link: &mut Link, complaints: &mut Complaints) {
    let deadline = clock::now() + FINISH_TIME_MAX;
    while shared.state().queue.len() > 0 && clock::now() < deadline {
        if let Some(at) = link.ready_at() {
            thread::sleep(at.min(deadline).saturating_duration_since(clock::now()));
        }
        shared.write(link, complaints);
    }
    let rest = mem::take(&mut shared.state().queue);
    let lost = rest.ops();
    if lost > 0 {
        (shared.say)(log::Level::Error, &format!("store: {lost} operations are lost at the end"));
    }
}

#[cfg(test)]
mod tests;
