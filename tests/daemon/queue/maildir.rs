//! `queue/maildir` with a Maildir for each user.

use crate::daemon::client::{kept, small, stuffed};
use crate::daemon::house::House;
use crate::daemon::queue::smuggle;
use std::fs;

/// A house with a folder for each domain and one for each user in it.
fn house() -> House {
    let house = House::new();
    house.set("rcpthosts", "example.com\nexample.net");
    house.queue(&format!("queue/maildir {} %d/%n", house.path("mail").display()));
    house
}

#[test]
fn each_user_has_his_own() {
    let house = house();
    let daemon = house.start();
    let mut client = daemon.client();
    let text = small("for three");
    client.expect("MAIL FROM:<a@example.org>", "250");
    for recipient in
        ["bob@example.com", "Bob+lists@example.com", "eve@example.com", "bob@example.net"]
    {
        client.expect(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.expect("DATA", "354");
    client.send(stuffed(&text));
    assert!(client.reply().starts_with("250 2.0.0 Queued! "));
    for (user, fields) in [
        ("example.com/bob", "Delivered-To: bob@example.com\nDelivered-To: Bob+lists@example.com\n"),
        ("example.com/eve", "Delivered-To: eve@example.com\n"),
        ("example.net/bob", "Delivered-To: bob@example.net\n"),
    ] {
        let mails = house.files(&format!("mail/{user}/new"));
        let [mail] = mails.as_slice() else { panic!("{user}: {} mails", mails.len()) };
        let head = format!("Return-Path: <a@example.org>\n{fields}Authentication-Results: ");
        assert!(mail.starts_with(head.as_bytes()), "{}", String::from_utf8_lossy(mail));
        assert!(mail.ends_with(&kept(&text)));
    }
    daemon.stop();
}

/// One user's Maildir cannot be written: nobody gets the mail, and once that is mended each gets it once.
#[test]
fn all_or_nobody() {
    let house = house();
    fs::create_dir_all(house.path("mail/example.com")).unwrap();
    // Even root cannot make a folder in a file.
    fs::write(house.path("mail/example.com/eve"), "").unwrap();
    let daemon = house.start();
    let mut client = daemon.client();
    let mut send = || {
        client.expect("MAIL FROM:<a@example.org>", "250");
        for recipient in ["bob@example.com", "eve@example.com"] {
            client.expect(&format!("RCPT TO:<{recipient}>"), "250");
        }
        client.expect("DATA", "354");
        client.send(stuffed(&small("x")));
        client.reply()
    };
    for _ in 0..2 {
        let reply = send();
        assert!(reply.starts_with("451 4.3.0 queue error (mkdir) ["), "{reply}");
        assert_eq!(house.names("mail/example.com/bob/new"), [""; 0]);
        assert_eq!(house.names("mail/example.com/bob/tmp"), [""; 0]);
    }
    fs::remove_file(house.path("mail/example.com/eve")).unwrap();
    assert!(send().starts_with("250 2.0.0 Queued! "));
    for user in ["bob", "eve"] {
        assert_eq!(house.names(&format!("mail/example.com/{user}/new")).len(), 1, "{user}");
    }
    daemon.stop();
}

#[test]
fn nothing_can_be_smuggled() {
    let house = house();
    smuggle(
        &house,
        || house.files("mail/example.com/b/new"),
        |text| {
            assert!(!text.contains(['\r', '\0']), "{text:?}");
        },
    );
}
