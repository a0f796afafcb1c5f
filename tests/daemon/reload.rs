//! New configurations: by HUP, by a changed file, and not at all where the files are broken.

use crate::daemon::client::small;
use crate::daemon::house::House;
use crate::daemon::system::until;
use nix::sys::signal::Signal;
use std::fs;

const LOADED: &str = "configuration loaded";

/// A session may last for hours. What the admin changes has to hold for its next mail, but not for
/// the one that is on its way, which was judged by other rules so far.
#[test]
fn hup_counts_from_the_next_mail_of_an_open_session() {
    let house = House::new();
    let daemon = house.start();
    let mut client = daemon.client();
    client.envelope();
    client.expect("RCPT TO:<b@example.org>", "550");
    house.set("rcpthosts", "example.org");
    daemon.signal(Signal::SIGHUP);
    daemon.log.line(LOADED);
    client.expect("RCPT TO:<c@example.com>", "250");
    client.expect("RCPT TO:<c@example.org>", "550");
    client.expect("RSET", "250");
    client.expect("MAIL FROM:<a@example.org>", "250");
    client.expect("RCPT TO:<b@example.org>", "250");
    client.expect("RCPT TO:<b@example.com>", "550");
    daemon.stop();
}

/// Panels and scripts rewrite lists without a signal; qpsmtpd, which read its files for every
/// connection, noticed.
#[test]
fn a_changed_file_needs_no_signal() {
    let house = House::new();
    let daemon = house.start();
    let mut client = daemon.client();
    house.set("rcpthosts", "example.com\nexample.org");
    daemon.log.line(LOADED);
    client.expect("MAIL FROM:<a@example.org>", "250");
    client.expect("RCPT TO:<b@example.org>", "250");
    // A file that was not there before is noticed too.
    house.set("databytes", "1000");
    daemon.log.nth(LOADED, 2);
    client.expect("RSET", "250");
    client.expect("MAIL FROM:<a@example.org> SIZE=1001", "552");
    daemon.stop();
}

/// A recipient who gets settings of his own, or another one in a folder that he has, is served by them
/// without a signal.
#[test]
fn a_recipients_own_settings_need_no_signal() {
    let house = House::new();
    let plugins = fs::read_to_string(house.path("config/plugins")).unwrap();
    let own = "per_user_config\nwhitelist per_recipient 1\ngreylisting per_recipient 1 reject 0";
    house.set("plugins", &format!("{own}\n{plugins}"));
    let daemon = house.start();
    let mut client = daemon.client();
    client.expect("MAIL FROM:<a@example.org>", "250");
    client.expect("RCPT TO:<joe@example.com>", "250");
    // The folder appears as a whole, so that it is one change.
    fs::create_dir_all(house.path("new/Joe")).unwrap();
    fs::write(house.path("new/Joe/denysoft_greylist"), "reject 1\n").unwrap();
    fs::rename(house.path("new"), house.path("config/example.com")).unwrap();
    daemon.log.line(LOADED);
    client.expect("RSET", "250");
    client.expect("MAIL FROM:<a@example.org>", "250");
    client.expect("RCPT TO:<joe@example.com>", "450");
    client.expect("RCPT TO:<ann@example.com>", "250");
    // So does a file in a folder that is there.
    fs::write(house.path("new"), "example.org\n").unwrap();
    fs::rename(house.path("new"), house.path("config/example.com/Joe/whitelistsenders")).unwrap();
    daemon.log.nth(LOADED, 2);
    client.expect("RSET", "250");
    client.expect("MAIL FROM:<a@example.org>", "250");
    client.expect("RCPT TO:<joe@example.com>", "250");
    daemon.stop();
}

/// A slip of the pen must not stop the mail: the old rules stay, and the log says where the fault is.
#[test]
fn broken_files_are_refused_with_file_and_line() {
    let house = House::new();
    house.set("databytes", "100000");
    let daemon = house.start();
    let mut client = daemon.client();
    house.set("databytes", "# octets\nlots");
    house.set("rcpthosts", "example.org");
    daemon.signal(Signal::SIGHUP);
    daemon.log.line("configuration refused, the old one stays");
    assert!(daemon.log.line("databytes:2: ").contains("lots"));
    client.envelope();
    client.expect("RCPT TO:<b@example.org>", "550");
    client.expect("RSET", "250");
    client.expect("MAIL FROM:<a@example.org> SIZE=100001", "552");
    house.set("databytes", "1000");
    daemon.log.line(LOADED);
    client.expect("MAIL FROM:<a@example.org> SIZE=1001", "552");
    client.expect("MAIL FROM:<a@example.org>", "250");
    client.expect("RCPT TO:<b@example.org>", "250");
    daemon.stop();
}

/// Who hunts a fault wants more lines now, without a restart that would make the fault go away.
#[test]
fn loggers_and_their_level_change_while_it_runs() {
    let house = House::new();
    house.set("loglevel", "4");
    let daemon = house.start();
    let mut client = daemon.client();
    client.expect("HELO before.example", "250");
    house.set("loglevel", "6");
    daemon.signal(Signal::SIGHUP);
    daemon.log.line(LOADED);
    client.expect("HELO between.example", "250");
    daemon.log.line("dispatching HELO between.example");
    let file = house.path("extra.log");
    house.set("logging", &format!("logging/file loglevel 6 {}", file.display()));
    daemon.signal(Signal::SIGHUP);
    let read = || fs::read_to_string(&file).unwrap_or_default();
    until("the new logger", || read().contains(LOADED).then_some(()));
    client.expect("HELO after.example", "250");
    until("lines in the new logger", || read().contains("HELO after.example").then_some(()));
    let lines = daemon.log.lines().join("\n");
    assert!(!lines.contains("before.example") && !lines.contains("after.example"), "{lines}");
    assert!(!read().contains("between.example"));
    daemon.stop();
}

/// A reload replaces everything at once, and a client in the middle of its message must not notice.
#[test]
fn hup_in_the_middle_of_a_message_loses_nothing() {
    let house = House::new();
    let daemon = house.start();
    let mut client = daemon.client();
    client.data();
    client.send("Subject: first half\r\n");
    for round in 1..=3 {
        daemon.signal(Signal::SIGHUP);
        daemon.log.nth(LOADED, round);
        client.send(format!("X-Round: {round}\r\n"));
    }
    client.expect("\r\nsecond half\r\n.", "250");
    let mails = house.mails();
    let text = b"Subject: first half\nX-Round: 1\nX-Round: 2\nX-Round: 3\n\nsecond half\n";
    assert!(mails.len() == 1 && mails[0].ends_with(text), "{mails:?}");
    assert!(client.deliver(&small("another")).starts_with("250"));
    daemon.stop();
}
