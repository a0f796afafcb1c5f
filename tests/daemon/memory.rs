//! What idle clients cost.

use crate::daemon::client::Client;
use crate::daemon::house::House;
use crate::daemon::system::{is_full, memory, note, raise_files};

/// Most connections of a mail server wait for something. On a machine with 256 MiB a thousand of them
/// must not matter, and with `MAILREEVE_FULL=1` ten thousand must not either.
#[test]
fn idle_clients_cost_two_kibibytes_each() {
    let files = usize::try_from(raise_files()).unwrap();
    let wanted = if is_full() { 10_000 } else { 1_000 };
    // Other tests of this process have descriptors too.
    let clients = wanted.min(files.saturating_sub(2_000));
    if clients < wanted {
        note(&format!("memory: {clients} clients, not {wanted}, for want of descriptors"));
    }
    let house = House::new();
    house.discard();
    house.set("loglevel", "3");
    house.set("concurrency", "20000");
    let daemon = house.start();
    // What the process shares with other tests' daemons says nothing of clients.
    let own = || memory(daemon.pid(), "status", "RssAnon");
    let connect = |count: usize| -> Vec<Client> {
        // In parts: the kernel keeps no more than 4,096 that were not accepted yet.
        let mut all = Vec::new();
        while all.len() < count {
            let part = count.min(all.len() + 500) - all.len();
            let mut new: Vec<Client> =
                (0..part).map(|_| Client::connect(daemon.address())).collect();
            for client in &mut new {
                client.hello();
            }
            all.extend(new);
        }
        all
    };
    // The first ones pay for what all share.
    let first = connect(50);
    let before = own();
    let rest = connect(clients);
    let after = own();
    let each = after.saturating_sub(before) / clients as u64;
    println!("{clients} idle clients: {before} -> {after} octets, {each} each");
    assert!(each <= 2_048, "{each} octets for each of {clients} idle clients");
    if is_full() {
        assert!(after <= 24 * 1_024 * 1_024, "{after} octets in all");
    }
    drop((first, rest));
    // They are all gone, and it still serves.
    let mut client = daemon.client();
    assert!(client.deliver(b"Subject: x\r\n\r\nx\r\n").starts_with("250"));
    daemon.stop();
}
