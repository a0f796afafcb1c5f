//! The threads, on a back end in memory that can be made slow, refuse, or lose answers.
#![expect(clippy::disallowed_methods, reason = "the threads under test keep real time")]

use super::*;
use crate::store::ops::Outcome;
use crate::store::tests::{Lines, read_karma};
use crate::store::{Backend, Place, Visit};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

#[derive(Default)]
struct Memory {
    rows: Mutex<HashMap<Key, Row>>,
    mood: Mutex<Mood>,
    writes: AtomicUsize,
    reads: AtomicUsize,
    pruned: Mutex<Vec<(Table, u64)>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    Down,
    Doubtful,
    Slow(Duration),
    /// It reads and writes at once, and answers this much later.
    Late(Duration),
}

#[derive(Clone, Default)]
struct Fake(Arc<Memory>);

impl Fake {
    fn be(&self, mood: Mood) {
        *self.0.mood.lock().unwrap() = mood;
    }

    fn feel(&self) -> Result<(), Failure> {
        let mood = *self.0.mood.lock().unwrap();
        match mood {
            Mood::Well | Mood::Late(_) => Ok(()),
            Mood::Down => Err(Failure::new("down")),
            Mood::Doubtful => Err(Failure { is_doubtful: true, ..Failure::new("no answer") }),
            Mood::Slow(time) => {
                thread::sleep(time);
                Ok(())
            }
        }
    }

    fn answer(&self) {
        let mood = *self.0.mood.lock().unwrap();
        if let Mood::Late(time) = mood {
            thread::sleep(time);
        }
    }

    fn stored(&self, key: &str) -> Option<u32> {
        let rows = self.0.rows.lock().unwrap();
        rows.get(&Key::new(Table::Karma, key).unwrap())
            .map(|row| crate::store::Karma::from(row).nice)
    }

    fn start(&self, lines: &Lines) -> (StoreHandle, StoreThreads) {
        let settings = Settings::new(Place::Sqlite("/nowhere".into()));
        Store::start_on(settings, Box::new(self.clone()), lines.say()).unwrap()
    }
}

impl Open for Fake {
    fn open(&self) -> Result<Box<dyn Backend>, Failure> {
        self.feel().map(|()| Box::new(self.clone()) as Box<dyn Backend>)
    }
}

impl Backend for Fake {
    fn read(&mut self, key: &Key) -> Result<Option<Row>, Failure> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        self.feel()?;
        let row = self.0.rows.lock().unwrap().get(key).copied();
        self.answer();
        Ok(row)
    }

    fn write(&mut self, batch: &[Entry]) -> Result<(), Failure> {
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        self.feel()?;
        for (key, row, _) in batch {
            // One by one, so that a read in between would see half a batch.
            self.0.rows.lock().unwrap().entry(key.clone()).or_default().merge(key.table, row);
            thread::yield_now();
        }
        self.answer();
        Ok(())
    }

    fn clear(&mut self, _: &Key, _: &[&'static str]) -> Result<bool, Failure> {
        Ok(false)
    }

    fn list(&mut self, _: Table, _: Visit<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn prune(&mut self, table: Table, before: u64, _: Keep) -> Result<u64, Failure> {
        self.0.pruned.lock().unwrap().push((table, before));
        Ok(0)
    }
}

fn nice(key: &str) -> Op {
    Op::close(key, Outcome::Nice, 1)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_second_of_ops_is_one_transaction() {
    let (fake, lines) = (Fake::default(), Lines::default());
    let (handle, threads) = fake.start(&lines);
    for n in 0..1_000 {
        handle.record([nice(&format!("k{}", n % 10))]);
    }
    assert_eq!(fake.stored("k0"), None, "it gathers first");
    assert_eq!(read_karma(&handle, "k0").unwrap().unwrap().nice, 100);
    wait_until("written", || fake.stored("k9") == Some(100));
    assert_eq!(fake.0.writes.load(Ordering::SeqCst), 1);
    assert_eq!(read_karma(&handle, "k0").unwrap().unwrap().nice, 100);
    threads.finish();
    assert_eq!(fake.0.writes.load(Ordering::SeqCst), 1);
}

#[test]
fn many_keys_do_not_wait_for_the_second() {
    let (fake, lines) = (Fake::default(), Lines::default());
    let (handle, threads) = fake.start(&lines);
    let began = Instant::now();
    handle.record((0..BATCH).map(|n| nice(&n.to_string())));
    wait_until("written", || fake.stored(&(BATCH - 1).to_string()).is_some());
    assert!(began.elapsed() < GATHER);
    // What is left over at the end is written too, in batches.
    handle.record((0..3 * BATCH).map(|n| nice(&n.to_string())));
    threads.finish();
    let last = (3 * BATCH - 1).to_string();
    assert_eq!((fake.stored("0"), fake.stored(&last)), (Some(2), Some(1)));
    assert_eq!(lines.all(), Vec::<String>::new());
}

#[test]
fn reads_count_every_op_once_while_batches_are_written() {
    let (fake, lines) = (Fake::default(), Lines::default());
    let (handle, threads) = fake.start(&lines);
    let recorder = thread::spawn({
        let handle = handle.clone();
        move || {
            for round in 0..40_u32 {
                // `k` is last in its batch; the others make it long.
                handle.record((0..BATCH - 1).map(|n| nice(&format!("{round} {n}"))));
                handle.record([nice("k")]);
                thread::sleep(Duration::from_millis(3));
            }
        }
    });
    let mut last = 0;
    while !recorder.is_finished() {
        let seen = read_karma(&handle, "k").unwrap().map_or(0, |karma| karma.nice);
        assert!((last..=40).contains(&seen), "{seen} after {last}");
        last = seen;
    }
    recorder.join().unwrap();
    assert_eq!(read_karma(&handle, "k").unwrap().unwrap().nice, 40);
    threads.finish();
    assert_eq!(fake.stored("k"), Some(40));
}

#[test]
fn a_read_and_a_batch_that_meet_count_every_op_once() {
    const LATE: Duration = Duration::from_millis(200);
    // First the read begins and then the batch, then the other way round.
    for read_first in [true, false] {
        let (fake, lines) = (Fake::default(), Lines::default());
        let (handle, threads) = fake.start(&lines);
        fake.be(Mood::Late(LATE));
        let (tx, rx) = mpsc::channel();
        let ask = || handle.read("karma", "k", move |answer| tx.send(answer).unwrap());
        let begun = |calls: &AtomicUsize| wait_until("begun", || calls.load(Ordering::SeqCst) > 0);
        handle.record([nice("k")]);
        let others = (1..BATCH).map(|n| nice(&n.to_string()));
        if read_first {
            ask();
            begun(&fake.0.reads);
            handle.record(others);
        } else {
            handle.record(others);
            begun(&fake.0.writes);
            ask();
        }
        let octets = rx.recv().unwrap().unwrap().expect("a record");
        assert_eq!(crate::store::Karma::decode(&octets).unwrap().nice, 1, "{read_first}");
        wait_until("written", || handle.shared.state().in_flight.is_empty());
        assert_eq!(read_karma(&handle, "k").unwrap().unwrap().nice, 1, "{read_first}");
        threads.finish();
    }
}

#[test]
fn a_back_end_that_is_away_costs_nothing_but_memory() {
    let (fake, lines) = (Fake::default(), Lines::default());
    fake.be(Mood::Down);
    let (handle, threads) = fake.start(&lines);
    handle.record([nice("k")]);
    assert_eq!(
        read_karma(&handle, "k"),
        Err(Unavailable),
        "half of what is known is not an answer"
    );
    wait_until("complained", || lines.all().len() == 2);
    for n in 0..60_000 {
        handle.record([nice(&n.to_string())]);
    }
    let waiting = handle.shared.state().queue.len();
    assert!(waiting < 60_000, "{waiting}");
    assert_eq!(read_karma(&handle, "k"), Err(Unavailable));
    thread::sleep(Duration::from_millis(2_200));
    assert_eq!(lines.all().len(), 2, "{:?}", lines.all());
    fake.be(Mood::Well);
    wait_until("written", || fake.stored("59999") == Some(1));
    assert_eq!(fake.stored("0"), None, "the oldest were dropped");
    wait_until("read again", || read_karma(&handle, "59999").is_ok());
    threads.finish();
    let said = lines.all();
    assert!(said[..2].iter().any(|it| it.contains("cannot read")), "{said:?}");
    assert!(said[..2].iter().any(|it| it.contains("cannot write (1 operations wait")), "{said:?}");
    let dropped = format!("store: {} operations were dropped", 60_001 - waiting);
    assert!(said.contains(&dropped), "{dropped}: {said:?}");
}

#[test]
fn a_batch_that_may_be_written_is_not_written_again() {
    let (fake, lines) = (Fake::default(), Lines::default());
    let (handle, threads) = fake.start(&lines);
    handle.record([nice("before")]);
    wait_until("written", || fake.stored("before").is_some());
    fake.be(Mood::Doubtful);
    handle.record([nice("k"), nice("k")]);
    wait_until("complained", || !lines.all().is_empty());
    fake.be(Mood::Well);
    handle.record([nice("after")]);
    wait_until("written", || fake.stored("after").is_some());
    assert_eq!(fake.stored("k"), None);
    threads.finish();
    let said = lines.all();
    assert!(said[0].contains("(0 operations wait, 2 were dropped)"), "{said:?}");
}

#[test]
fn what_cannot_be_written_at_the_end_is_lost_and_told() {
    let (fake, lines) = (Fake::default(), Lines::default());
    fake.be(Mood::Down);
    let (handle, threads) = fake.start(&lines);
    handle.record([nice("a"), nice("b"), nice("b")]);
    let began = Instant::now();
    threads.finish();
    assert!(began.elapsed() < FINISH_TIME_MAX + Duration::from_secs(1));
    assert_eq!(lines.all().last().unwrap(), "store: 3 operations are lost at the end");
}

#[test]
fn reads_are_bounded_and_old_ones_not_begun() {
    let (fake, lines) = (Fake::default(), Lines::default());
    fake.be(Mood::Slow(READ_TIME_MAX));
    let (handle, threads) = fake.start(&lines);
    let (tx, rx) = mpsc::channel();
    for n in 0..READS_MAX + 100 {
        let tx = tx.clone();
        handle.read("karma", &n.to_string(), move |answer| tx.send(answer).unwrap());
    }
    drop(tx);
    let answers: Vec<_> = rx.iter().collect();
    assert_eq!(answers.len(), READS_MAX + 100, "every one is answered, once");
    let began = fake.0.reads.load(Ordering::SeqCst);
    assert!((1..5).contains(&began), "{began} were begun");
    assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), began);
    threads.finish();
}

#[test]
fn a_client_is_read_once_and_changed_ones_again() {
    let (fake, lines) = (Fake::default(), Lines::default());
    let (handle, threads) = fake.start(&lines);
    let reads = || fake.0.reads.load(Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(read_karma(&handle, "k"), Ok(None));
    }
    assert_eq!(reads(), 1);
    handle.record([nice("k")]);
    wait_until("written", || fake.stored("k") == Some(1));
    wait_until("settled", || handle.shared.state().in_flight.is_empty());
    assert_eq!(read_karma(&handle, "k").unwrap().unwrap().nice, 1);
    assert_eq!(reads(), 2);
    threads.finish();
}

#[test]
fn pruning_looks_back_as_far_as_each_table_remembers() {
    let (fake, lines) = (Fake::default(), Lines::default());
    let (handle, threads) = fake.start(&lines);
    let mut link = Link::default();
    let pause = handle.shared.prune(&mut link, &mut Complaints::default());
    assert_eq!(pause, PRUNE_INTERVAL);
    let now = clock::unix_seconds();
    let pruned = fake.0.pruned.lock().unwrap().clone();
    assert_eq!(pruned.iter().map(|(table, _)| *table).collect::<Vec<_>>(), Table::ALL);
    for (table, before) in pruned {
        let (age, expected) = (now - before, handle.shared.settings.age(table).as_secs());
        assert!((expected..expected + 5).contains(&age), "{table:?} {age}");
    }
    fake.be(Mood::Down);
    let mut fresh = Link::default();
    assert_eq!(handle.shared.prune(&mut fresh, &mut Complaints::default()), PRUNE_FIRST);
    threads.finish();
}

#[test]
fn a_store_that_nobody_uses_is_not_touched() {
    let folder = crate::store::tests::Folder::new();
    let settings = Settings::new(Place::Sqlite(folder.file()));
    let (handle, threads) = Store::start(settings, |_, text| panic!("{text}")).unwrap();
    handle.record([]);
    thread::sleep(Duration::from_millis(100));
    threads.finish();
    assert!(!folder.file().exists());
}
