//! The suite: each case gets the settings of an empty back end.

use super::*;
use crate::store::queue::Entry;

type Case = fn(&Settings);

pub(super) const ALL: [(&str, Case); 9] = [
    ("ops give the same record as in memory", same_as_in_memory),
    ("any text is a key", any_key),
    ("connections see each other and add up", several_writers),
    ("fields are cleared", cleared),
    ("records are listed, latest first", listed),
    ("records age", pruned_by_age),
    ("tables have a bound", pruned_by_number),
    ("recorded ops are seen at once and kept", through_the_threads),
    ("the command line looks and forgives", kept_by_a_person),
];

fn opener(settings: &Settings) -> Box<dyn Open> {
    settings.opener(Lines::default().say())
}

fn open(settings: &Settings) -> Box<dyn Backend> {
    opener(settings).open().unwrap()
}

fn karma(backend: &mut dyn Backend, key: &str) -> Option<Karma> {
    let row = backend.read(&Key::new(Table::Karma, key).unwrap()).unwrap();
    row.map(|row| Karma::from(&row))
}

/// Numbers that look random and are the same each time.
fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

fn any_op(next: &mut impl FnMut(u64) -> u64) -> Op {
    let key = format!("192.0.2.{}", next(6));
    let at = 1_790_000_000 + next(1_000);
    match next(7) {
        0 => Op::insert_if_absent(&key, at),
        1 => Op::seen_black(&key, at),
        2 => Op::seen_white(&key, at),
        3 => Op::close(&key, Outcome::Nice, at),
        4 => Op::close(&key, Outcome::Naughty, at),
        5 => Op::written_to(&key, at),
        _ => Op::close(&key, Outcome::Neutral, at),
    }
}

fn same_as_in_memory(settings: &Settings) {
    let mut backend = open(settings);
    let mut next = numbers(7);
    let mut expected = std::collections::HashMap::<Key, Row>::new();
    for _ in 0..40 {
        let batch: Vec<Entry> = (0..next(12))
            .map(|_| {
                let op = any_op(&mut next);
                (Key::new(op.table, op.key()).unwrap(), op.row, 1)
            })
            .collect();
        for (key, row, _) in &batch {
            expected.entry(key.clone()).or_default().merge(key.table, row);
        }
        backend.write(&batch).unwrap();
        backend.settle().unwrap();
    }
    assert_eq!(expected.len(), 18, "six keys in each table");
    for (key, row) in &expected {
        assert_eq!(backend.read(key).unwrap(), Some(*row), "{key:?}");
    }
    assert_eq!(karma(&mut *backend, "198.51.100.1"), None);
}

fn any_key(settings: &Settings) {
    let mut backend = open(settings);
    let long = "l".repeat(1_024);
    let keys =
        ["", " ", "a'b\"c\\", "a\0b", "a\0", "ä€𝄞", "seen_at", "%_*?[]", "2001:db8::/64", &long];
    for (at, key) in (1..).zip(keys) {
        backend.write(&[entry(key, Outcome::Nice, at)]).unwrap();
    }
    for (at, key) in (1..).zip(keys) {
        let expected = Karma { seen_at: at, nice: 1, connects: 1, ..Karma::default() };
        assert_eq!(karma(&mut *backend, key), Some(expected), "{key:?}");
    }
    let mut seen = Vec::new();
    let visit = &mut |key: &str, _: &Row| {
        seen.push(key.to_string());
        true
    };
    backend.list(Table::Karma, visit).unwrap();
    seen.reverse();
    assert_eq!(seen, keys);
}

fn several_writers(settings: &Settings) {
    const EACH: u64 = 50;
    let opener = opener(settings);
    let mut reader = opener.open().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut backend = opener.open().unwrap();
                for at in 1..=EACH {
                    backend.write(&[entry("k", Outcome::Naughty, at)]).unwrap();
                }
            });
        }
        let mut last = 0;
        while last < 3 * u32::try_from(EACH).unwrap() {
            let Some(seen) = karma(&mut *reader, "k") else { continue };
            assert!(seen.naughty >= last && seen.naughty == seen.connects, "{seen:?} after {last}");
            last = seen.naughty;
        }
    });
    let all = karma(&mut *reader, "k").unwrap();
    assert_eq!((all.connects, all.naughty_at, all.seen_at), (150, EACH, EACH));
}

fn cleared(settings: &Settings) {
    let mut backend = open(settings);
    let key = Key::new(Table::Karma, "k").unwrap();
    let fields = ["naughty", "naughty_at"];
    assert!(!backend.clear(&key, &fields).unwrap());
    for outcome in [Outcome::Naughty, Outcome::Naughty, Outcome::Nice] {
        backend.write(&[entry("k", outcome, 5), entry("other", outcome, 6)]).unwrap();
    }
    assert!(backend.clear(&key, &fields).unwrap());
    let left = Karma { seen_at: 5, nice: 1, connects: 3, ..Karma::default() };
    assert_eq!(karma(&mut *backend, "k"), Some(left));
    assert_eq!(karma(&mut *backend, "other").unwrap().naughty, 2);
    backend.write(&[entry("k", Outcome::Naughty, 4)]).unwrap();
    let again = Karma { naughty: 1, naughty_at: 4, connects: 4, ..left };
    assert_eq!(karma(&mut *backend, "k"), Some(again));
}

fn listed(settings: &Settings) {
    let mut backend = open(settings);
    let entries: Vec<Entry> =
        (0..450).map(|n| entry(&format!("k{n:03}"), Outcome::Nice, 1 + n / 2)).collect();
    backend.write(&entries).unwrap();
    let attempt = Op::insert_if_absent("grey", 9);
    let grey = Key::new(Table::Greylist, "grey").unwrap();
    backend.write(&[(grey, attempt.row, 1)]).unwrap();
    for limit in [usize::MAX, 1, 250] {
        let mut seen = Vec::new();
        let visit = &mut |key: &str, row: &Row| {
            seen.push((key.to_string(), Karma::from(row).seen_at));
            seen.len() < limit
        };
        backend.list(Table::Karma, visit).unwrap();
        let expected: Vec<(String, u64)> =
            (0..450).rev().map(|n| (format!("k{n:03}"), 1 + n / 2)).take(limit).collect();
        assert_eq!(seen, expected);
    }
}

fn keys(backend: &mut dyn Backend, table: Table) -> Vec<String> {
    let mut seen = Vec::new();
    let visit = &mut |key: &str, _: &Row| {
        seen.push(key.to_string());
        true
    };
    backend.list(table, visit).unwrap();
    seen
}

fn pruned_by_age(settings: &Settings) {
    let mut backend = open(settings);
    for (key, at) in [("a", 10), ("b", 20), ("c", 30), ("d", 40)] {
        backend.write(&[entry(key, Outcome::Naughty, at)]).unwrap();
        let (attempt, grey) = (Op::seen_black(key, at), Key::new(Table::Greylist, key).unwrap());
        backend.write(&[(grey, attempt.row, 1)]).unwrap();
    }
    backend.write(&[entry("a", Outcome::Neutral, 50)]).unwrap();
    let keep = |limit| Keep { rows_max: 100, limit };
    assert_eq!(backend.prune(Table::Karma, 20, keep(10)).unwrap(), 0);
    assert_eq!(backend.prune(Table::Karma, 40, keep(1)).unwrap(), 1);
    assert_eq!(keys(&mut *backend, Table::Karma), ["a", "d", "c"]);
    assert_eq!(backend.prune(Table::Karma, 40, keep(10)).unwrap(), 1);
    assert_eq!(keys(&mut *backend, Table::Karma), ["a", "d"]);
    assert_eq!(karma(&mut *backend, "c"), None);
    assert_eq!(keys(&mut *backend, Table::Greylist), ["d", "c", "b", "a"]);
    backend.write(&[entry("c", Outcome::Nice, 45)]).unwrap();
    let fresh = Karma { seen_at: 45, nice: 1, connects: 1, ..Karma::default() };
    assert_eq!(karma(&mut *backend, "c"), Some(fresh), "nothing of the old one is left");
}

fn pruned_by_number(settings: &Settings) {
    let mut backend = open(settings);
    let entries: Vec<Entry> =
        (0..30).map(|n| entry(&format!("k{n:02}"), Outcome::Nice, 100 - n)).collect();
    backend.write(&entries).unwrap();
    let keep = Keep { rows_max: 12, limit: 10 };
    let counts: Vec<u64> = (0..3).map(|_| backend.prune(Table::Karma, 0, keep).unwrap()).collect();
    assert_eq!(counts, [10, 8, 0]);
    let left: Vec<String> = (0..12).map(|n| format!("k{n:02}")).collect();
    assert_eq!(keys(&mut *backend, Table::Karma), left);
}

fn through_the_threads(settings: &Settings) {
    let lines = Lines::default();
    let say = lines.say();
    let start = || {
        let say = Arc::clone(&say);
        Store::start(settings.clone(), move |level, text| say(level, text)).unwrap()
    };
    let (handle, threads) = start();
    assert_eq!(read_karma(&handle, "192.0.2.1"), Ok(None));
    handle.record([
        Op::close("192.0.2.1", Outcome::Naughty, 10),
        Op::close("192.0.2.1", Outcome::Nice, 20),
        Op::seen_white("192.0.2.1:a@b", 30),
        Op::written_to("a@b", 40),
        Op::written_to("a@b", 35),
    ]);
    let expected = Karma { seen_at: 20, naughty_at: 10, naughty: 1, nice: 1, connects: 2 };
    assert_eq!(read_karma(&handle, "192.0.2.1"), Ok(Some(expected)));
    let grey = read(&handle, GREYLIST, "192.0.2.1:a@b").unwrap().unwrap();
    let white = Greylist { first: 30, last: 30, black: 0, white: 1 };
    assert_eq!(Greylist::decode(&grey), Some(white));
    let known = read(&handle, WHITELIST, "a@b").unwrap().unwrap();
    let twice = Correspondent { written_at: 40, mails: 2 };
    assert_eq!(Correspondent::decode(&known), Some(twice));
    assert_eq!(read(&handle, "dmarc", "x"), Err(Unavailable));
    assert_eq!(read(&handle, KARMA, &"k".repeat(1_025)), Err(Unavailable));
    threads.finish();
    assert_eq!(read_karma(&handle, "192.0.2.1"), Err(Unavailable));

    let (handle, threads) = start();
    assert_eq!(read_karma(&handle, "192.0.2.1"), Ok(Some(expected)));
    let known = read(&handle, WHITELIST, "a@b").unwrap().unwrap();
    assert_eq!(Correspondent::decode(&known), Some(twice));
    handle.record([Op::close("192.0.2.1", Outcome::Neutral, 40)]);
    let after = Karma { seen_at: 40, connects: 3, ..expected };
    let until = Instant::now() + Duration::from_secs(3);
    let mut other = open(settings);
    while karma(&mut *other, "192.0.2.1") != Some(after) {
        assert!(Instant::now() < until, "not written within a second");
        assert_eq!(read_karma(&handle, "192.0.2.1"), Ok(Some(after)), "at any time");
    }
    assert_eq!(read_karma(&handle, "192.0.2.1"), Ok(Some(after)), "and then");
    threads.finish();
    assert_eq!(lines.all(), Vec::<String>::new());
}

fn kept_by_a_person(settings: &Settings) {
    let mut before = Keeper::open(settings).unwrap();
    assert_eq!(before.karma("192.0.2.1").unwrap(), None);
    assert!(!before.release("192.0.2.1").unwrap());
    assert_eq!(before.prune(Table::Karma, u64::MAX).unwrap(), 0);
    before.list_karma(&mut |_, _| panic!("there is nothing")).unwrap();
    let mut backend = open(settings);
    let entries: Vec<Entry> =
        (1..=1_200).map(|n| entry(&n.to_string(), Outcome::Naughty, n)).collect();
    backend.write(&entries).unwrap();
    let grey = Key::new(Table::Greylist, "g").unwrap();
    backend.write(&[(grey, Op::seen_black("g", 8).row, 1)]).unwrap();
    let mut keeper = Keeper::open(settings).unwrap();
    assert!(keeper.release("1200").unwrap());
    let released = Karma { seen_at: 1_200, connects: 1, ..Karma::default() };
    assert_eq!(keeper.karma("1200").unwrap(), Some(released));
    assert_eq!(keeper.prune(Table::Karma, 1_199).unwrap(), 1_198);
    let mut seen = Vec::new();
    let visit = &mut |key: &str, karma: &Karma| {
        seen.push((key.to_string(), karma.naughty));
        true
    };
    keeper.list_karma(visit).unwrap();
    assert_eq!(seen, [("1200".to_string(), 0), ("1199".to_string(), 1)]);
    let mut grey = 0;
    keeper
        .list_greylist(&mut |key, it| {
            assert_eq!((key, it.black), ("g", 1));
            grey += 1;
            true
        })
        .unwrap();
    assert_eq!(grey, 1);
}
