//! A mail that was taken, and whose client does not know it: it will come again, and the log says so,
//! whatever the queue.

use crate::daemon::client::{Client, stuffed};
use crate::daemon::house::{Daemon, House};
use crate::daemon::queue::hop::{Act, Hop};
use crate::daemon::system::until;
use std::sync::Mutex;
use std::sync::mpsc::channel;

const TEXT: &[u8] = b"Message-ID: <twice@example.org>\r\n\r\ntext\r\n";

/// Hands over the mail and reads nothing any more.
fn hand_over(daemon: &Daemon) -> Client {
    let mut client = daemon.client();
    client.data();
    client.send(stuffed(TEXT));
    client
}

/// The line about the mail of the connection at hand, which holds what the queue said of it.
fn told(daemon: &Daemon, queued: &str, why: &str) {
    let line = daemon.log.line("was accepted (");
    let (id, rest) = line.split_once(" message ").unwrap();
    assert!(rest.starts_with(&format!("{id}.1 was accepted ({queued}")), "{line}");
    assert!(
        line.contains(&format!("), but {why}: it will probably come again, a possible duplicate")),
        "{line}"
    );
}

/// The client goes while the queue is at work; `go_on` lets that end.
fn gone_meanwhile(house: &House, queued: &str, busy: impl FnOnce(), go_on: impl FnOnce()) {
    let daemon = house.start();
    let client = hand_over(&daemon);
    busy();
    client.reset();
    go_on();
    told(&daemon, queued, "the client was gone before it could be told 250");
    daemon.stop();
}

#[test]
fn gone_while_a_program_has_it() {
    let wait = "mkfifo $here/fifo; read word <$here/fifo";
    for (line, script, queued) in [
        ("queue/pipe", "cat >/dev/null", "Queued! <twice@example.org>"),
        ("queue/exim-bsmtp exim_path", "cat >/dev/null", "Queued!"),
        ("queue/qmail-queue", "cat >/dev/null; cat <&1 >/dev/null", "Queued! "),
    ] {
        let house = House::new();
        let program = house.program("program", &format!("{script}; {wait}"));
        house.queue(&format!("{line} {}", program.display()));
        gone_meanwhile(
            &house,
            queued,
            || until("the program", || house.path("fifo").exists().then_some(())),
            || std::fs::write(house.path("fifo"), "go on\n").unwrap(),
        );
    }
}

#[test]
fn gone_while_a_server_has_it() {
    for (plugin, queued) in
        [("smtp-forward", "queued as 4XYZ"), ("lmtp", "Queued! <twice@example.org>")]
    {
        let (sender, at_dot) = channel();
        let (go_on, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let hop = Hop::start(&[], move |_, line| {
            if line == "." {
                sender.send(()).unwrap();
                wait.lock().unwrap().recv().unwrap();
            }
            None::<Act>
        });
        let house = House::new();
        house.queue(&format!("queue/{plugin} 127.0.0.1 {}", hop.address().port()));
        gone_meanwhile(&house, queued, || at_dot.recv().unwrap(), || go_on.send(()).unwrap());
    }
}

/// The 250 is on its way when the connection breaks.
#[test]
fn the_answer_is_not_read() {
    let hop = Hop::start(&[], |_, _| None);
    let port = hop.address().port();
    let house = House::new();
    let program = house.program("all", "cat >/dev/null").display().to_string();
    let qmail = house.program("qmail-queue", "cat >/dev/null; cat <&1 >/dev/null");
    for (line, queued) in [
        (
            format!("queue/maildir {}", house.path("Maildir").display()),
            "Queued! <twice@example.org>",
        ),
        ("queue/discard".to_string(), "Queued!"),
        (format!("queue/pipe {program}"), "Queued! <twice@example.org>"),
        (format!("queue/exim-bsmtp exim_path {program}"), "Queued!"),
        (format!("queue/qmail-queue {}", qmail.display()), "Queued! "),
        (format!("queue/smtp-forward 127.0.0.1 {port}"), "queued as 4XYZ"),
        (format!("queue/lmtp 127.0.0.1 {port}"), "Queued! <twice@example.org>"),
    ] {
        house.queue(&line);
        let daemon = house.start();
        let client = hand_over(&daemon);
        daemon.log.line("250 2.0.0 ");
        // What is not read when a socket is closed resets the connection.
        drop(client);
        told(
            &daemon,
            queued,
            "the connection broke before the client said that it has read the 250",
        );
        // Who goes on, or takes leave, has read it, however he ends.
        let mut client = hand_over(&daemon);
        client.reply();
        client.expect("QUIT", "221");
        let mut client = hand_over(&daemon);
        client.reply();
        client.expect("NOOP", "250");
        client.reset();
        // And who just closes has read all there was to read.
        let mut client = hand_over(&daemon);
        client.reply();
        drop(client);
        daemon.log.nth("click, disconnecting", 4);
        assert_eq!(daemon.log.count("was accepted ("), 1, "{line}");
        daemon.stop();
    }
    hop.finish();
}
