//! `queue/lmtp` with a careless agent, and with Dovecot.

use crate::daemon::client::{small, stuffed};
use crate::daemon::house::House;
use crate::daemon::queue::hop::{Act, Hop};
use crate::daemon::queue::leaves_clean;
use crate::daemon::system::{is_root, skip, until};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[test]
fn nothing_can_be_smuggled() {
    let hop = Hop::start(&["PIPELINING"], |_, _| None);
    leaves_clean(&format!("queue/lmtp 127.0.0.1 {}", hop.address().port()), || {
        hop.heard().iter().flat_map(|heard| heard.texts.clone()).collect()
    });
    let heard = hop.finish();
    assert!(heard.iter().all(|it| !it.lines.iter().any(|line| line.contains("smuggled"))));
}

/// The answer that says whether the mail is delivered never comes.
#[test]
fn a_lost_answer_is_a_possible_duplicate() {
    let hop = Hop::start(&[], |_, line| (line == ".").then_some(Act::Hang));
    let house = House::new();
    house.queue(&format!("queue/lmtp 127.0.0.1 {} timeout 5", hop.address().port()));
    let daemon = house.start();
    let mut client = daemon.client();
    let reply = client.deliver(b"Message-ID: <lost@example.org>\r\n\r\n");
    assert!(reply.starts_with("451 4.4.2 Unable to queue message (no answer from 127."), "{reply}");
    let line = daemon.log.line("a possible duplicate");
    assert!(line.contains("<lost@example.org>"), "{line}");
    client.expect("NOOP", "250");
    daemon.stop();
    assert_eq!(hop.finish().len(), 1, "it was not tried again");
}

/// A Dovecot of our own, with its LMTP service only.
struct Dovecot(PathBuf);

impl Dovecot {
    fn start(house: &House) -> Dovecot {
        let folder = house.path("dovecot");
        for name in ["mail", "state"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let home = folder.display();
        let config = format!(
            "protocols = lmtp\nbase_dir = {home}/run\nstate_dir = {home}/state\nlog_path = {home}/log\n\
             ssl = no\nfirst_valid_uid = 1\nmail_location = maildir:{home}/mail/%n\n\
             quota_full_tempfail = no\nmail_plugins = quota\n\
             plugin {{\n quota = maildir:User quota\n quota_rule = *:bytes=50000\n}}\n\
             passdb {{\n driver = static\n args = nopassword=y\n}}\n\
             userdb {{\n driver = passwd-file\n args = {home}/users\n}}\n\
             service lmtp {{\n unix_listener {home}/lmtp {{\n mode = 0666\n }}\n}}\n"
        );
        fs::write(folder.join("dovecot.conf"), config).unwrap();
        fs::write(folder.join("users"), "b@example.com::65534:65534::/nonexistent::\n").unwrap();
        let mail = folder.join("mail");
        std::os::unix::fs::chown(&mail, Some(65_534), Some(65_534)).unwrap();
        let dovecot = Dovecot(folder);
        assert!(dovecot.order("dovecot", &[]), "{}", dovecot.log());
        until("Dovecot", || UnixStream::connect(dovecot.socket()).ok());
        dovecot
    }

    fn order(&self, program: &str, words: &[&str]) -> bool {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.0.join("dovecot.conf")).args(words);
        // The daemon keeps what it is given: pipes of ours would never end.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn socket(&self) -> PathBuf {
        self.0.join("lmtp")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }

    fn mails(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("mail/b/new")).into_iter().flatten().flatten();
        entries
            .map(|it| String::from_utf8_lossy(&fs::read(it.path()).unwrap()).into_owned())
            .collect()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log());
        }
        self.order("doveadm", &["stop"]);
    }
}

#[test]
fn dovecot_takes_it() {
    const TEST: &str = "queue::lmtp::dovecot_takes_it";
    if !is_root() || fs::metadata("/usr/lib/dovecot/lmtp").is_err() {
        return skip(TEST, "needs root, and Dovecot's LMTP installed");
    }
    let house = House::new();
    let dovecot = Dovecot::start(&house);
    house.queue(&format!("queue/lmtp {}", dovecot.socket().display()));
    let daemon = house.start();
    let mut client = daemon.client();
    client.envelope();
    client.expect("RCPT TO:<c@example.com>", "452 4.5.3 Too many recipients");
    client.expect("DATA", "354");
    client.send(stuffed("Subject: x\r\n\r\n.dot\r\n.\r\ngr\u{fc}n\r\n".as_bytes()));
    assert_eq!(client.reply(), "250 2.0.0 Queued! <>");
    let mails = dovecot.mails();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert!(mail.starts_with("Return-Path: <a@example.org>\n"), "{mail}");
    assert!(mail.contains("\nDelivered-To: b@example.com\n"), "{mail}");
    assert!(mail.ends_with("\nSubject: x\n\n.dot\n.\ngr\u{fc}n\n"), "{mail}");
    daemon.log.line("pass, the delivery agent has it: 250 2.0.0 <b@example.com>");
    // Refusals at RCPT and behind the text.
    client.expect("MAIL FROM:<>", "250");
    client.expect("RCPT TO:<nobody@example.com>", "250");
    client.expect("DATA", "354");
    client.send(stuffed(&small("x")));
    let reply = client.reply();
    let expected = "554 5.1.1 Unable to queue message (<nobody@example.com>: 5.1.1 ";
    assert!(reply.starts_with(expected), "{reply}");
    let large = format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(10_000));
    let reply = client.deliver(large.as_bytes());
    let expected = "552 5.2.2 Unable to queue message (<b@example.com>: 5.2.2 ";
    assert!(reply.starts_with(expected), "{reply}");
    assert_eq!(dovecot.mails().len(), 1);
    daemon.stop();
}
