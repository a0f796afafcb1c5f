//! The folder of large messages: full, left behind, shared.

use crate::daemon::client::{kept, small};
use crate::daemon::house::{BINARY, Daemon, House};
use crate::daemon::system::{is_root, skip, succeeds};
use std::process::Command;

/// So much that it goes to the spool.
fn large(subject: &str, octets: usize) -> Vec<u8> {
    let lines = ("x".repeat(76) + "\r\n").repeat(octets / 78 + 1);
    format!("Subject: {subject}\r\n\r\n{lines}").into_bytes()
}

/// A full disk is a matter of hours, so the client is asked to come back; small mail, which needs no
/// spool, goes on in the same session, and a large one as soon as there is room.
#[test]
fn a_full_disk_defers_the_message_and_nothing_else() {
    const TEST: &str = "spool::a_full_disk_defers_the_message_and_nothing_else";
    if !is_root() || !succeeds("unshare", &["-m", "mount", "-t", "tmpfs", "none", "/mnt"]) {
        return skip(TEST, "needs root and mount namespaces");
    }
    let house = House::new();
    // Private to the daemon; it goes away with it.
    let script = "mount -t tmpfs -o size=256k none \"$1\" && exec \"$0\" serve --config \"$2\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, BINARY]);
    let daemon = Daemon::start(command.arg(house.path("spool")).arg(house.path("config")));
    let mut client = daemon.client();
    for round in 0..3 {
        let reply = client.deliver(&large("too much", 1_000_000));
        assert_eq!(reply, "452 4.3.1 Insufficient system storage, please try again later");
        daemon.log.nth("cannot spool the message: No space left on device", round + 1);
        assert!(client.deliver(&small("small")).starts_with("250"));
        assert!(client.deliver(&large("just so", 150_000)).starts_with("250"));
    }
    // In chunks, where the fault shows while others are still to come.
    client.envelope();
    let text = large("chunks", 400_000);
    client.send(format!("BDAT {}\r\n", text.len()));
    client.send(&text);
    let reply = client.reply();
    assert!(reply.starts_with("452 4.3.1 ") || reply.starts_with("250 "), "{reply}");
    if reply.starts_with("250 ") {
        client.expect("BDAT 0 LAST", "452 4.3.1 ");
    }
    client.expect("RSET", "250");
    // Two at a time have less room.
    let mut other = daemon.client();
    other.data();
    other.send(large("holds its part", 150_000));
    assert!(client.deliver(&large("no room", 200_000)).starts_with("452 4.3.1 "));
    other.expect(".", "250");
    assert!(client.deliver(&large("room again", 150_000)).starts_with("250"));
    assert_eq!(house.mails().len(), 8);
    daemon.stop();
}

/// `kill -9` and power cuts leave a folder behind. The next start removes it, or the disk would fill
/// over the years; what is not ours stays.
#[test]
fn the_next_start_cleans_what_a_killed_daemon_left() {
    let house = House::new();
    let daemon = house.start();
    let mut client = daemon.client();
    client.data();
    client.send(large("half", 1_000_000));
    daemon.kill();
    assert_eq!(house.names("spool").len(), 1);
    std::fs::write(house.path("spool/foreign"), "").unwrap();
    let daemon = house.start();
    daemon.log.line("removed 1 dead folders");
    let names = house.names("spool");
    assert!(names.len() == 2 && names.contains(&"foreign".to_string()), "{names:?}");
    assert!(house.mails().is_empty());
    daemon.stop();
    assert_eq!(house.names("spool"), ["foreign"]);
}

/// SME Server runs three daemons on one folder; one that starts or ends must not touch the others'.
#[test]
fn two_daemons_share_a_folder() {
    let house = House::new();
    let (first, second) = (house.start(), house.start());
    let mut clients = [first.client(), second.client()];
    let text = large("shared", 300_000);
    for client in &mut clients {
        client.data();
        client.send(&text[..200_000]);
    }
    // A third comes and goes while both are in the middle of a message.
    let mut third = house.start();
    third.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(third.wait().success());
    assert_eq!(third.log.count("removed"), 0);
    assert_eq!(house.names("spool").len(), 2);
    for client in &mut clients {
        client.send(&text[200_000..]);
        client.expect(".", "250");
    }
    let mails = house.mails();
    assert_eq!(mails.iter().filter(|mail| mail.ends_with(&kept(&text))).count(), 2);
    first.stop();
    second.stop();
}

/// Of several daemons on one folder each has its own, held by a lock: when one is killed, the others
/// keep theirs, whoever starts removes the dead one's and no other, and no mail is mixed up.
#[test]
fn a_killed_neighbour_costs_nobody_else() {
    let house = House::new();
    let daemons = [house.start(), house.start(), house.start()];
    let text = |number: usize| large(&format!("daemon {number}"), 300_000 + number * 1_000);
    let mut clients: Vec<_> = daemons.iter().map(Daemon::client).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.data();
        client.send(&text(number)[..200_000]);
    }
    assert_eq!(house.names("spool").len(), 3);
    let [first, second, third] = daemons;
    second.kill();
    let fourth = house.start();
    fourth.log.line("removed 1 dead folders");
    assert_eq!(house.names("spool").len(), 3);
    for number in [0, 2] {
        clients[number].send(&text(number)[200_000..]);
        clients[number].expect(".", "250");
    }
    assert!(fourth.client().deliver(&text(3)).starts_with("250"));
    let mails = house.mails();
    assert_eq!(mails.len(), 3);
    for number in [0, 2, 3] {
        let whole = mails.iter().filter(|mail| mail.ends_with(&kept(&text(number)))).count();
        assert_eq!(whole, 1, "the mail of {number}");
    }
    [first, third, fourth].into_iter().for_each(Daemon::stop);
    assert_eq!(house.names("spool"), [""; 0]);
}
