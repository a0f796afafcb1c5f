//! A million clients, under `MAILREEVE_FULL=1`: prints how long reads take, and holds that memory
//! does not grow with what is stored.

use super::*;
use std::fmt::Write;

/// Few clients, to compare with, and many.
const CLIENTS: [u64; 2] = [10_000, 1_000_000];

/// What many clients may take more than few, in KiB: tests that run beside this one take some, too.
const GROWTH_MAX: u64 = 32 * 1_024;

#[test]
fn a_million_clients_take_no_memory() {
    if std::env::var_os("MAILREEVE_FULL").is_none_or(|it| it != "1") {
        return;
    }
    let [few, many] = CLIENTS.map(with_so_many);
    assert!(many < few + GROWTH_MAX, "{few} KiB grew to {many} KiB");
}

/// Reads and records with so many clients in the store; gives what the process then holds, in KiB.
fn with_so_many(clients: u64) -> u64 {
    let folder = Folder::new();
    let settings = Settings::new(Place::Sqlite(folder.file()));
    let mut backend = settings.opener(Lines::default().say()).open().unwrap();
    let began = Instant::now();
    for start in (0..clients).step_by(10_000) {
        let batch: Vec<queue::Entry> =
            (start..start + 10_000).map(|n| entry(&client(n), Outcome::Nice, 1 + n)).collect();
        backend.write(&batch).unwrap();
        backend.settle().unwrap();
    }
    let filled = began.elapsed();
    drop(backend);
    let (handle, threads) = Store::start(settings, |_, text| panic!("{text}")).unwrap();
    // The first read opens the file.
    read_karma(&handle, &client(0)).unwrap();
    let mut times: Vec<Duration> = Vec::new();
    for n in 0..20_000 {
        let client = client(n * 104_729 % clients);
        let asked = Instant::now();
        assert_eq!(read_karma(&handle, &client).map(|it| it.map(|it| it.nice)), Ok(Some(1)));
        times.push(asked.elapsed());
        handle.record([Op::close(&client, Outcome::Neutral, 2 * clients + n)]);
    }
    let resident = resident();
    threads.finish();
    times.sort();
    let mut text = format!("store: {clients} clients written in {filled:?}; reads");
    for (name, share) in [("median", 50), ("99 %", 99), ("worst", 100)] {
        let at = (times.len() * share / 100).min(times.len() - 1);
        write!(text, " {name} {:?}", times[at]).unwrap();
    }
    let size = folder.file().metadata().unwrap().len() / 1_024;
    eprintln!("{text}; file {size} KiB; resident {resident} KiB");
    resident
}

/// Addresses in no order that an index would like.
fn client(n: u64) -> String {
    let mixed = u32::try_from(n * 2_654_435_761 % (1 << 32)).unwrap();
    std::net::Ipv4Addr::from_bits(mixed).to_string()
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
