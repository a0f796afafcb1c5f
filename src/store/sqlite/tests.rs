//! Broken files, and files that cannot be written.

use super::*;
use crate::store::ops::{Op, Outcome};
use crate::store::tests::{Folder, Lines, entry};

fn opener(folder: &Folder, lines: &Lines) -> File {
    File::new(&folder.file(), Some(lines.say()))
}

/// A file with 300 records, closed.
fn filled() -> (Folder, Lines) {
    let (folder, lines) = (Folder::new(), Lines::default());
    let mut backend = opener(&folder, &lines).open().unwrap();
    for n in 0..300 {
        backend.write(&[entry(&format!("192.0.2.{n}"), Outcome::Nice, 1 + n)]).unwrap();
    }
    (folder, lines)
}

fn works(backend: &mut dyn Backend) -> Result<(), Failure> {
    let there = Key::new(Table::Karma, "192.0.2.7").unwrap();
    backend.read(&there)?;
    backend.write(&[entry("new", Outcome::Naughty, 1_000)])?;
    assert!(backend.read(&Key::new(Table::Karma, "new").unwrap())?.is_some());
    backend.list(Table::Karma, &mut |_, _| true)?;
    backend.prune(Table::Karma, 5, Keep { rows_max: 10, limit: 1_000 })?;
    backend.settle()
}

fn broken_files(folder: &Folder) -> usize {
    let names = fs::read_dir(&folder.0).unwrap().map(|it| it.unwrap().file_name());
    let names = names.filter_map(|it| it.into_string().ok());
    names.filter(|it| it.contains(".corrupt-") && !it.ends_with("-wal")).count()
}

#[test]
fn a_broken_file_is_set_aside_and_a_new_one_begun() {
    type Damage = fn(&Path, &[u8]);
    let cases: [(&str, Damage, usize); 8] = [
        ("whole", |_, _| {}, 0),
        ("missing", |path, _| fs::remove_file(path).unwrap(), 0),
        ("empty", |path, _| fs::write(path, b"").unwrap(), 0),
        ("torn", |path, whole| fs::write(path, &whole[..whole.len() / 2]).unwrap(), 1),
        ("torn early", |path, whole| fs::write(path, &whole[..100]).unwrap(), 1),
        ("text", |path, _| fs::write(path, b"not a database at all\n".repeat(99)).unwrap(), 1),
        (
            "zeroed inside",
            |path, whole| {
                let mut octets = whole.to_vec();
                octets[4_096..12_288].fill(0);
                fs::write(path, octets).unwrap();
            },
            1,
        ),
        (
            "another layout",
            |path, _| {
                let connection = Connection::open(path).unwrap();
                connection.execute_batch("PRAGMA user_version = 2").unwrap();
            },
            1,
        ),
    ];
    for (name, damage, expected) in cases {
        let (folder, lines) = filled();
        let whole = fs::read(folder.file()).unwrap();
        damage(&folder.file(), &whole);
        let mut backend = opener(&folder, &lines).open().unwrap();
        works(&mut *backend).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert_eq!(broken_files(&folder), expected, "{name}");
        assert_eq!(lines.all().len(), expected, "{name}: {:?}", lines.all());
    }
}

#[test]
fn any_flipped_bit_does_no_harm() {
    let (folder, lines) = filled();
    let whole = fs::read(folder.file()).unwrap();
    // The header and the schema bit by bit, the rest here and there.
    let places = (0..whole.len()).filter(|place| place % 151 == 0 || *place < 130);
    for place in places {
        let mut octets = whole.clone();
        octets[place] ^= 1 << (place % 8);
        for end in ["-wal", "-shm"] {
            let _missing = fs::remove_file(with_end(&folder.file(), end));
        }
        fs::write(folder.file(), &octets).unwrap();
        let opener = opener(&folder, &lines);
        // What is found late costs that one use; the next one has a new file.
        let worked = opener.open().and_then(|mut backend| works(&mut *backend));
        let again = || opener.open().and_then(|mut backend| works(&mut *backend));
        worked.or_else(|_| again()).unwrap_or_else(|failure| panic!("at {place}: {failure}"));
    }
    assert!(broken_files(&folder) <= BROKEN_MAX);
}

#[test]
fn a_file_that_breaks_in_use_is_replaced_for_every_connection() {
    let (folder, lines) = filled();
    let opener = opener(&folder, &lines);
    let (mut one, mut other) = (opener.open().unwrap(), opener.open().unwrap());
    works(&mut *one).unwrap();
    works(&mut *other).unwrap();
    let size = usize::try_from(folder.file().metadata().unwrap().len()).unwrap();
    fs::write(folder.file(), vec![0xa5; size]).unwrap();
    fs::write(with_end(&folder.file(), "-wal"), b"").unwrap();
    let mut failures = 0;
    for _ in 0..4 {
        // As the threads do it: a connection that failed is replaced.
        for backend in [&mut one, &mut other] {
            if works(&mut **backend).is_err() {
                failures += 1;
                *backend = opener.open().unwrap();
            }
        }
    }
    assert!((1..=4).contains(&failures), "{failures}");
    assert_eq!((broken_files(&folder), lines.all().len()), (1, 1), "{:?}", lines.all());
    one.write(&[entry("shared", Outcome::Nice, 7)]).unwrap();
    assert!(other.read(&Key::new(Table::Karma, "shared").unwrap()).unwrap().is_some());
    // Closing a connection to the old file leaves the new one's log alone.
    drop(one);
    assert!(other.read(&Key::new(Table::Karma, "shared").unwrap()).unwrap().is_some());
}

/// A daemon that is newer than its file adds what the file lacks and keeps what it has.
#[test]
fn a_file_of_an_earlier_version_gets_the_new_tables() {
    let (folder, lines) = filled();
    let connection = Connection::open(folder.file()).unwrap();
    connection.execute_batch("DROP TABLE whitelist").unwrap();
    drop(connection);
    // Who only looks does without it.
    let there = Key::new(Table::Karma, "192.0.2.7").unwrap();
    let mut keeper = File::new(&folder.file(), None).open().unwrap();
    assert!(keeper.read(&there).unwrap().is_some());
    drop(keeper);
    let mut backend = opener(&folder, &lines).open().unwrap();
    let key = Key::new(Table::Whitelist, "a@example.org").unwrap();
    let op = Op::written_to("a@example.org", 9);
    backend.write(&[(key.clone(), *op.row(), 1)]).unwrap();
    assert_eq!(backend.read(&key).unwrap(), Some(*op.row()));
    assert!(backend.read(&there).unwrap().is_some());
    works(&mut *backend).unwrap();
    assert_eq!((broken_files(&folder), lines.all().len()), (0, 0));
}

#[test]
fn another_programs_database_is_left_alone() {
    let (folder, lines) = (Folder::new(), Lines::default());
    let foreign = Connection::open(folder.file()).unwrap();
    foreign.execute_batch("CREATE TABLE report (id INTEGER)").unwrap();
    drop(foreign);
    let failure = opener(&folder, &lines).open().err().unwrap();
    assert!(failure.what.ends_with("is a database of another program"), "{failure}");
    assert_eq!((broken_files(&folder), lines.all().len()), (0, 0));
}

#[test]
fn who_only_looks_makes_and_mends_nothing() {
    let folder = Folder::new();
    assert!(File::new(&folder.file(), None).open().is_err());
    assert!(!folder.file().exists());
    let (folder, _lines) = filled();
    fs::write(folder.file(), b"broken".repeat(1_000)).unwrap();
    assert!(File::new(&folder.file(), None).open().is_err());
    assert_eq!(broken_files(&folder), 0);
}

#[test]
fn a_full_disk_and_a_locked_file_refuse_a_batch_whole() {
    let (folder, lines) = filled();
    let file = opener(&folder, &lines);
    let mut backend = Sqlite::open(&file.0).unwrap();
    let pages: i64 =
        backend.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    backend.connection.execute_batch(&format!("PRAGMA max_page_count = {pages}")).unwrap();
    let many: Vec<Entry> =
        (0..5_000).map(|n| entry(&format!("many {n}"), Outcome::Nice, 1 + n)).collect();
    let failure = backend.write(&many).unwrap_err();
    assert!(failure.what.contains("full") && !failure.is_doubtful, "{failure}");
    assert_eq!(backend.read(&many[0].0), Ok(None), "nothing of it is there");
    assert!(backend.read(&Key::new(Table::Karma, "192.0.2.7").unwrap()).unwrap().is_some());

    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failure = backend.write(&many[..1]).unwrap_err();
    assert!(failure.what.contains("locked") && !failure.is_doubtful, "{failure}");
    assert!(backend.read(&Key::new(Table::Karma, "192.0.2.7").unwrap()).unwrap().is_some());
    other.execute_batch("ROLLBACK").unwrap();
    backend.write(&many[..1]).unwrap();
    assert_eq!((broken_files(&folder), lines.all().len()), (0, 0));
}

#[test]
fn the_file_is_made_where_it_is_wanted_and_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, lines) = (Folder::new(), Lines::default());
    let path = folder.0.join("a/b/c.sqlite");
    let mut backend = File::new(&path, Some(lines.say())).open().unwrap();
    works(&mut *backend).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o007, 0);
    let log = with_end(&path, "-wal").metadata().unwrap();
    assert_eq!(log.permissions().mode() & 0o007, 0);
}

#[test]
fn a_batch_is_seen_with_its_commit() {
    let (folder, lines) = (Folder::new(), Lines::default());
    let file = opener(&folder, &lines);
    let (mut writer, mut reader) = (file.open().unwrap(), file.open().unwrap());
    let (first, second) = ([entry("a", Outcome::Nice, 1)], [entry("b", Outcome::Nice, 2)]);
    writer.prepare(&first).unwrap();
    assert_eq!(reader.read(&first[0].0), Ok(None));
    writer.write(&first).unwrap();
    assert!(reader.read(&first[0].0).unwrap().is_some());
    // Without a first step the second does both; a first step that is left alone leaves nothing.
    writer.write(&second).unwrap();
    assert!(reader.read(&second[0].0).unwrap().is_some());
    let third = [entry("c", Outcome::Nice, 3)];
    writer.prepare(&third).unwrap();
    drop(writer);
    assert_eq!(reader.read(&third[0].0), Ok(None));
    let mut other = file.open().unwrap();
    other.write(&third).unwrap();
    assert!(reader.read(&third[0].0).unwrap().is_some());
}

#[test]
fn checkpoints_keep_the_log_short() {
    let (folder, _lines) = (Folder::new(), Lines::default());
    let mut backend = opener(&folder, &Lines::default()).open().unwrap();
    let mut most = 0;
    for round in 0..60_u64 {
        let batch: Vec<Entry> = (0..512)
            .map(|n| {
                entry(
                    &format!("{:08x}", (round * 512 + n) * 2_654_435_761 % (1 << 32)),
                    Outcome::Nice,
                    1,
                )
            })
            .collect();
        backend.write(&batch).unwrap();
        backend.settle().unwrap();
        most = most.max(with_end(&folder.file(), "-wal").metadata().unwrap().len());
    }
    assert!((WAL_MAX..8 * WAL_MAX).contains(&most), "{most}");
    let kept = fs::metadata(folder.file()).unwrap().len();
    assert!(kept > 1_000_000, "{kept}");
}
