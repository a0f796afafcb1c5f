//! Signals that end the daemon or make it talk, and what they may not cost.

use crate::daemon::client::{Client, small};
use crate::daemon::house::House;
use crate::daemon::system::until;
use mailreeve::limits::SHUTDOWN_TIME_MAX;
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Instant;

const BYE: &str = "421 4.3.2 Service is shutting down";

/// An update restarts the daemon, and nobody wants to wait for five minutes of silence of some
/// client. Whoever has no message on its way is told at once to come back.
#[test]
fn term_and_int_tell_idle_clients_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let house = House::new();
        let mut daemon = house.start();
        let mut fresh = Client::connect(daemon.address());
        assert!(fresh.reply().starts_with("220 "));
        let greeted = daemon.client();
        let mut sending = daemon.client();
        sending.envelope();
        let mut halfway = daemon.client();
        halfway.send("MAIL FR");
        daemon.signal(signal);
        for mut client in [fresh, greeted, sending, halfway] {
            assert_eq!(client.reply(), BYE);
            client.ended();
        }
        let status = daemon.wait();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(daemon.log.count("disconnecting"), 4);
        assert!(TcpStream::connect(daemon.address()).is_err(), "nobody listens");
        assert!(house.names("spool").is_empty(), "{:?}", house.names("spool"));
    }
}

/// A client that has sent most of its message should not have to send it again, and above all must
/// not be left without knowing whether we have it.
#[test]
fn term_lets_a_message_in_hand_come_to_its_end() {
    let house = House::new();
    let mut daemon = house.start();
    let (mut idle, mut sending) = (daemon.client(), daemon.client());
    sending.data();
    sending.send("Subject: in hand\r\n");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(idle.reply(), BYE);
    assert!(TcpStream::connect(daemon.address()).is_err(), "the listener is closed by now");
    sending.expect("\r\nthe rest\r\n.", "250");
    assert_eq!(sending.reply(), BYE);
    sending.ended();
    assert_eq!(daemon.wait().code(), Some(0));
    let mails = house.mails();
    assert!(mails.len() == 1 && mails[0].ends_with(b"Subject: in hand\n\nthe rest\n"));
    // A thread that has just brought the message home must not keep the folder.
    assert!(house.names("spool").is_empty(), "{:?}", house.names("spool"));
}

/// Who is waited for may have gone home. The admin who sends TERM again means it.
#[test]
fn a_second_term_ends_it_where_it_stands() {
    let house = House::new();
    let mut daemon = house.start();
    let mut sending = daemon.client();
    sending.data();
    sending.send("Subject: never complete\r\n");
    daemon.signal(Signal::SIGTERM);
    daemon.log.line("stopping, 1 connections");
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait();
    assert_eq!(status.code(), Some(0));
    assert_eq!(daemon.log.count("1 connections cut off"), 1);
    sending.ended();
    assert!(house.mails().is_empty());
    assert!(house.names("spool").is_empty(), "{:?}", house.names("spool"));
}

/// USR2 is for the admin who wonders why nothing moves.
#[test]
fn usr2_tells_what_the_daemon_is_doing() {
    let house = House::new();
    house.set("loglevel", "1");
    let daemon = house.start();
    let mut clients = [daemon.client(), daemon.client(), daemon.client()];
    clients[0].data();
    daemon.signal(Signal::SIGUSR2);
    let line = daemon.log.line("state: ");
    assert!(line.contains("state: 3 connections of 200, 1 addresses"), "{line}");
    assert!(line.contains("3 connections since the start"), "{line}");
    daemon.log.line("state: DNS: 0 questions in flight; ");
    daemon.signal(Signal::SIGUSR2);
    daemon.log.nth("state: ", 4);
    drop(clients);
    daemon.stop();
}

/// All signals in a storm, while mail comes in: none is mistaken for another, and none costs mail.
#[test]
fn a_storm_of_signals_costs_nothing() {
    const MAILS: usize = 50;
    let house = House::new();
    house.set("loglevel", "4");
    let daemon = house.start();
    let address = daemon.address();
    let sender = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        client.hello();
        for number in 0..MAILS {
            assert!(client.deliver(&small(&number.to_string())).starts_with("250"));
        }
    });
    while !sender.is_finished() {
        for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
            daemon.signal(signal);
        }
        std::thread::yield_now();
    }
    sender.join().unwrap();
    assert_eq!(house.mails().len(), MAILS);
    daemon.stop();
}

/// A client that is made to wait for its greeting, by a plugin that listens, hears of the end at once.
#[test]
fn term_does_not_wait_for_plugins_that_wait() {
    let house = House::new();
    house.set("plugins", "earlytalker wait 9\nrcpt_ok\nqueue/discard");
    let mut daemon = house.start();
    let mut clients = [Client::connect(daemon.address()), Client::connect(daemon.address())];
    daemon.log.nth("Accepted connection", 2);
    daemon.signal(Signal::SIGTERM);
    for client in &mut clients {
        assert_eq!(client.reply(), BYE);
        client.ended();
    }
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(daemon.log.count("click, disconnecting"), 2);
}

/// Half a minute is for messages in hand. A client that does not even read its replies is none of
/// those, and must not keep a restart waiting.
#[test]
fn term_does_not_wait_for_who_does_not_read() {
    let house = House::new();
    // Without a limit of commands without a mail.
    house.set("relayclients", "127.0.0.1");
    house.set("plugins", "relay\nrcpt_ok\nqueue/discard");
    house.set("loglevel", "4");
    let mut daemon = house.start();
    let deaf = daemon.client();
    let mut stream = &deaf.stream;
    stream.set_nonblocking(true).unwrap();
    let (commands, mut fruitless) = ("HELP\r\n".repeat(1_000), 0);
    until("a daemon that reads no more", || {
        match stream.write(commands.as_bytes()) {
            Ok(_) => fruitless = 0,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                fruitless += 1;
            }
        }
        (fruitless > 20).then_some(())
    });
    daemon.signal(Signal::SIGTERM);
    let from = Instant::now();
    assert_eq!(daemon.wait().code(), Some(0));
    // It takes two seconds; half of what messages have is far from both.
    assert!(from.elapsed() < SHUTDOWN_TIME_MAX / 2, "{:?}", from.elapsed());
    assert_eq!(daemon.log.count("cut off"), 0, "{:#?}", daemon.log.lines());
    drop(deaf);
}
