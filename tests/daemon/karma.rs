//! `mailreeve karma`, beside a store that another process holds open.

use crate::daemon::house::{BINARY, House};
use mailreeve::store::{Op, Outcome, Place, Settings, Store};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

fn karma(house: &House, words: &str) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY)
        .arg("karma")
        .args(words.split_whitespace())
        .arg("--config")
        .arg(house.path("config"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Lines with single blanks.
fn plain(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn what_is_remembered_can_be_seen_and_forgiven() {
    let house = House::new();
    let file = house.path("reputation.sqlite");
    house.set("store", &format!("sqlite {}", file.display()));
    // Without a database nothing is known, and none is made.
    assert_eq!(karma(&house, "show 192.0.2.1").0, Some(1));
    assert_eq!(karma(&house, "list").0, Some(0));
    assert!(!file.exists());

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (store, threads) =
        Store::start(Settings::new(Place::Sqlite(file.clone())), |_, _| {}).unwrap();
    let close = |key: &str, outcome, days: u64| Op::close(key, outcome, now - days * DAY);
    store.record([
        close("192.0.2.1", Outcome::Naughty, 0),
        close("192.0.2.1", Outcome::Naughty, 0),
        close("2001:db8:1:2::/64", Outcome::Nice, 3),
        close("198.51.100.1", Outcome::Naughty, 9),
    ]);
    threads.finish();

    let (code, output, errors) = karma(&house, "list");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let lines = plain(&output);
    let expected = [
        "IP Address Penalty Naughty Nice Connects Seen",
        "192.0.2.1 1.00 2 0 2 0.00",
        "2001:db8:1:2::/64 - 0 1 1 3.00",
        "198.51.100.1 - 1 0 1 9.00",
        "3 clients, 1 kept out; 3 naughty, 1 nice, 4 connects",
    ];
    assert_eq!(lines, expected);
    assert_eq!(plain(&karma(&house, "list nice").1).len(), 3);
    let (code, output, _) = karma(&house, "show 2001:db8:1:2:3:4:5:6");
    assert_eq!((code, plain(&output).pop().as_deref()), (Some(0), expected.get(2).copied()));

    assert_eq!(karma(&house, "release 192.0.2.1").0, Some(0));
    assert_eq!(karma(&house, "release 192.0.2.2").0, Some(1));
    let output = karma(&house, "show 192.0.2.1").1;
    assert_eq!(plain(&output).pop().as_deref(), Some("192.0.2.1 - 0 0 2 0.00"));
    assert_eq!(karma(&house, "prune").1, "1 clients are forgotten\n");
    assert_eq!(karma(&house, "show 198.51.100.1").0, Some(1));

    // Who holds the database for long keeps others from writing, not from reading.
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (code, _, errors) = karma(&house, "release 192.0.2.1");
    assert_eq!(code, Some(75), "{errors}");
    assert_eq!(karma(&house, "show 192.0.2.1").0, Some(0));
    drop(other);

    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "no database").unwrap();
    let (code, _, errors) = karma(&house, "list");
    assert_eq!(code, Some(1), "{errors}");
}
