//! Messages that were made to be hard to take apart, through all plugins that take them apart.

use crate::daemon::house::House;
use crate::daemon::system::{is_full, memory};
use std::sync::atomic::{AtomicBool, Ordering};

const MIB: usize = 1_024 * 1_024;

/// Many parts, deep ones, a large one in base64, and ones that are cut off: all get an answer, the daemon
/// serves on, and what it holds in memory does not grow with them.
#[test]
fn bombs_of_mime_are_answered_in_bounded_memory() {
    let house = House::new();
    house.discard();
    house.set(
        "plugins",
        "uribl\nvirus/pattern_filter\nexe_filter\nattachment\nrcpt_ok\nqueue/discard\n",
    );
    // Nothing is asked: there is no link in the messages.
    house.set("uribl_zones", "uribl.invalid\n");
    house.set("signatures_patterns", "TVqQAAMAA\n");
    house.set("signatures_exe", "TVqQAAMAA\n");
    house.set("attachment_deny", ".exe\nmagic:exe\nunreadable too complex\n");
    let daemon = house.start();
    let own = || memory(daemon.pid(), "status", "RssAnon");
    let head = "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    let nested = "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n".repeat(10_000);
    let file = "--b\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let letters = format!("{}\r\n", "QUJD".repeat(19)).repeat(10 * MIB / 78);
    let refused = "554 5.7.1 Attachment \"message\" is refused: too complex [";
    // An archive without an end is what the line `unreadable` is about.
    let broken = "554 5.7.1 Attachment \"without a name\" is refused: too complex [";
    let rows = [
        (
            "100,000 parts",
            format!("{head}{}--b--\r\n", "--b\r\n\r\nx\r\n".repeat(100_000)),
            refused,
        ),
        ("10,000 deep", format!("{head}{nested}"), refused),
        ("one large part", format!("{head}{file}{letters}--b--\r\n"), "250 "),
        ("a part that is cut off", format!("{head}{file}UEsDBBQ\r\n"), broken),
        ("a header that is cut off", format!("{head}--b\r\nContent-Type: multipart/\r\n"), "250 "),
    ];
    let mut client = daemon.client();
    assert!(client.deliver(b"Subject: x\r\n\r\nx\r\n").starts_with("250"));
    let before = own();
    for (what, text, expected) in rows {
        let reply = client.deliver(text.as_bytes());
        assert!(reply.starts_with(expected), "{what}: {reply}");
        let grown = own().saturating_sub(before);
        assert!(grown <= 16 * MIB as u64, "{what}: {grown} octets more in memory");
    }
    daemon.spool_is_empty(&house);
    daemon.stop();
}

/// Large mails, one after the other, with all plugins that go through them: three, or with
/// `MAILREEVE_FULL=1` twenty.
#[test]
fn mails_of_25_mib_are_scanned_in_bounded_memory() {
    let house = House::new();
    house.set("databytes", "50000000");
    house.set(
        "plugins",
        "uribl\nvirus/pattern_filter\nexe_filter\nattachment\nrcpt_ok\nqueue/discard\n",
    );
    house.set("uribl_zones", "uribl.invalid\n");
    house.set("signatures_patterns", "TVqQAAMAA\n");
    house.set("signatures_exe", "TVqQAAMAA\n");
    house.set("attachment_deny", ".exe\nmagic:exe\n");
    let daemon = house.start();
    let own = || memory(daemon.pid(), "status", "RssAnon");
    let head = "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    let file = "--b\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let letters = format!("{}\r\n", "QUJD".repeat(19)).repeat(MIB / 2 / 78);
    let text = "Some words without any link in them, and some more.\r\n".repeat(MIB / 2 / 54);
    let pair = format!("--b\r\nContent-Type: text/plain\r\n\r\n{text}{file}{letters}");
    let mail = format!("{head}{}--b--\r\n", pair.repeat(25));
    let mut client = daemon.client();
    assert!(client.deliver(b"Subject: x\r\n\r\nx\r\n").starts_with("250"));
    let before = own();
    let count = if is_full() { 20 } else { 3 };
    let done = AtomicBool::new(false);
    let peak = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = own().max(peak);
                std::thread::yield_now();
            }
            peak
        });
        let replies: Vec<String> = (0..count).map(|_| client.deliver(mail.as_bytes())).collect();
        done.store(true, Ordering::Relaxed);
        assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
        watcher.join().unwrap()
    });
    let grown = peak.saturating_sub(before);
    println!("{count} mails of {} octets: {before} octets before, {grown} more", mail.len());
    assert!(grown <= 16 * MIB as u64, "{grown} octets more in memory");
    daemon.spool_is_empty(&house);
    daemon.stop();
}
