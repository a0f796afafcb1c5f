//! A log that nobody reads must not hold up the mail.

use crate::daemon::client::{Client, small, stuffed};
use crate::daemon::house::{Daemon, House};

/// Whoever reads standard error (multilog on a full disk, a stopped terminal) may stop. The pipe is
/// full after 64 KiB; mail goes on, and once somebody reads again the log says what is missing.
#[test]
fn a_log_that_nobody_reads_costs_lines_and_no_mail() {
    const SENDERS: usize = 4;
    const MAILS: usize = 250;
    let house = House::new();
    house.discard();
    house.set("loglevel", "7");
    let mut daemon = Daemon::start_unread(&mut house.serve(), 1);
    let address = daemon.address();
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                client.hello();
                for number in 0..MAILS {
                    client.expect("MAIL FROM:<a@example.org>", "250");
                    // For the lines that each of them makes.
                    for _ in 0..10 {
                        client.expect("RCPT TO:<b@example.com>", "250");
                    }
                    client.expect("DATA", "354");
                    client.send(stuffed(&small(&number.to_string())));
                    let reply = client.reply();
                    assert!(reply.starts_with("250"), "{reply}");
                }
                client.expect("QUIT", "221");
            });
        }
    });
    daemon.read_log();
    let line = daemon.log.line(" log lines dropped");
    let dropped: u64 = line.split(' ').next().unwrap().parse().unwrap();
    assert!(dropped > 0, "{line}");
    // What is said from now on is all there.
    let mut client = daemon.client();
    client.expect("HELO heard.example", "250");
    daemon.log.line("dispatching HELO heard.example");
    daemon.stop();
}
