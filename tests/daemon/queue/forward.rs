//! `queue/smtp-forward` with next servers of every kind, good and bad.

use crate::daemon::big::large;
use crate::daemon::client::{small, stuffed};
use crate::daemon::house::House;
use crate::daemon::queue::hop::{Act, Hop};
use crate::daemon::queue::leaves_clean;
use crate::daemon::system::{is_root, skip, succeeds, until};
use nix::sys::signal::Signal;
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::channel;

const ALL: &[&str] = &["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE"];

/// A house whose mail goes to this port.
fn house(port: u16, more: &str) -> House {
    let house = House::new();
    house.queue(&format!("queue/smtp-forward 127.0.0.1 {port} {more}"));
    house
}

#[test]
fn large_messages_go_through_whole() {
    let hop = Hop::start(ALL, |_, _| None);
    let house = house(hop.address().port(), "");
    let daemon = house.start();
    let texts: Vec<Vec<u8>> = (1..=2).map(|seed| large(seed, 15_000_000)).collect();
    let mut client = daemon.client();
    for text in &texts {
        assert_eq!(client.deliver(text), "250 2.0.0 queued as 4XYZ");
    }
    daemon.spool_is_empty(&house);
    daemon.stop();
    let heard = hop.finish();
    assert_eq!(heard.len(), 1, "the connection is used again");
    for (seen, text) in heard[0].texts.iter().zip(&texts) {
        assert!(seen.ends_with(&stuffed(text)), "not as it was sent");
    }
}

/// What ends a line, or a message, for some server is never passed on, whatever came in and whoever
/// sent it; the server here takes a dot between any line ends.
#[test]
fn nothing_can_be_smuggled() {
    let hop = Hop::start(ALL, |_, _| None);
    leaves_clean(&format!("queue/smtp-forward 127.0.0.1 {}", hop.address().port()), || {
        hop.heard().iter().flat_map(|heard| heard.texts.clone()).collect()
    });
    for heard in hop.finish() {
        let inner = heard.lines.iter().find(|line| line.contains("smuggled"));
        assert_eq!(inner, None, "taken for a command");
    }
}

/// The next server says 250 and dies at once: it has the mail, so the client hears 250 (once, and the
/// next mail finds the server away).
#[test]
fn a_server_that_takes_the_mail_and_dies() {
    let hop = Hop::start(ALL, |_, line| {
        (line == ".").then(|| Act::Leave("250 queued as 1\r\n".to_string()))
    });
    let house = house(hop.address().port(), "");
    let daemon = house.start();
    let mut client = daemon.client();
    assert_eq!(client.deliver(&small("one")), "250 2.0.0 queued as 1");
    hop.finish();
    let reply = client.deliver(&small("two"));
    assert!(reply.starts_with("451 4.4.1 Unable to connect to 127.0.0.1: "), "{reply}");
    assert_eq!(daemon.log.count("possible duplicate"), 0);
    daemon.stop();
}

/// No answer behind the dot: only the client can know what to do, and the admin is told.
#[test]
fn a_lost_answer_is_a_possible_duplicate() {
    for act in [Act::Hang, Act::Leave(String::new()), Act::Say("250-and\r\n251 so on\r\n".into())] {
        let hop = Hop::start(ALL, move |_, line| (line == ".").then(|| act.clone()));
        let house = house(hop.address().port(), "timeout 5");
        let daemon = house.start();
        let mut client = daemon.client();
        let reply = client.deliver(b"Message-ID: <lost@example.org>\r\n\r\n");
        assert!(
            reply.starts_with("451 4.4.2 Unable to queue message (no answer from 127."),
            "{reply}"
        );
        let line = daemon.log.line("a possible duplicate");
        assert!(line.contains("<lost@example.org>"), "{line}");
        client.expect("NOOP", "250");
        daemon.stop();
        let heard = hop.finish();
        assert_eq!((heard.len(), heard[0].texts.len()), (1, 1), "it was not tried again");
    }
}

/// Until the dot nothing is taken: a server that is killed in the middle has nothing, and there is no
/// talk of duplicates.
#[test]
fn a_server_that_dies_in_the_middle_has_nothing() {
    for line in ["", "MAIL FROM:<a@example.org>", "DATA"] {
        let hop = Hop::start(ALL, move |_, said| {
            let dies = if line.is_empty() { said.is_empty() } else { said.starts_with(line) };
            dies.then(|| {
                Act::Leave(if said == "DATA" { "354 go on\r\n".into() } else { String::new() })
            })
        });
        let house = house(hop.address().port(), "");
        let daemon = house.start();
        let reply = daemon.client().deliver(&large(5, 3_000_000));
        assert!(reply.starts_with("451 4.4.1 Unable to connect to 127.0.0.1: "), "{line}: {reply}");
        assert_eq!(daemon.log.count("possible duplicate"), 0);
        daemon.spool_is_empty(&house);
        daemon.stop();
        assert!(hop.finish().iter().all(|heard| heard.texts.is_empty()));
    }
}

/// A next server that takes connections and says nothing: the mails that wait for it leave a thread to
/// spool what others send meanwhile.
#[test]
fn a_server_that_hangs_keeps_nobody_from_sending() {
    let hop = Hop::start(ALL, |_, line| (line == ".").then_some(Act::Hang));
    let house = house(hop.address().port(), "timeout 60");
    house.set("writers", "3");
    let daemon = house.start();
    let mut waiting: Vec<_> = (0..4).map(|_| daemon.client()).collect();
    for client in &mut waiting {
        client.data();
        client.send(b"Subject: waits\r\n\r\n.\r\n");
    }
    until("the first waits", || hop.heard().into_iter().find(|heard| !heard.texts.is_empty()));
    // More than all buffers between here and the spool take.
    let mut client = daemon.client();
    client.data();
    client.send(stuffed(&large(7, 24_000_000)));
    daemon.kill();
}

/// Many clients at a time: each mail reaches the server once, over few connections.
#[test]
fn many_at_a_time() {
    const CLIENTS: usize = 20;
    let hop = Hop::start(ALL, |_, _| None);
    let house = house(hop.address().port(), "");
    let daemon = house.start();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = daemon.client();
            scope.spawn(move || {
                for mail in 0..10 {
                    let reply = client.deliver(&small(&format!("number {number}-{mail}.")));
                    assert_eq!(reply, "250 2.0.0 queued as 4XYZ");
                }
            });
        }
    });
    daemon.stop();
    let heard = hop.finish();
    let texts: Vec<String> = heard
        .iter()
        .flat_map(|it| &it.texts)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    assert_eq!(texts.len(), CLIENTS * 10);
    for (number, mail) in (0..CLIENTS).flat_map(|number| (0..10).map(move |mail| (number, mail))) {
        let subject = format!("\r\nSubject: number {number}-{mail}.\r\n");
        assert_eq!(texts.iter().filter(|text| text.contains(&subject)).count(), 1, "{subject}");
    }
    assert!(
        heard.len() < CLIENTS * 10 / 2,
        "{} connections for {} mails",
        heard.len(),
        texts.len()
    );
}

/// A stop waits for the next server's word, and it counts.
#[test]
fn a_stop_waits_for_the_answer() {
    let (sender, at_dot) = channel();
    let (go_on, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let hop = Hop::start(ALL, move |_, line| {
        if line == "." {
            sender.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
        }
        None
    });
    let house = house(hop.address().port(), "");
    let mut daemon = house.start();
    let mut client = daemon.client();
    client.data();
    client.send(stuffed(&small("x")));
    at_dot.recv().unwrap();
    daemon.signal(Signal::SIGTERM);
    daemon.log.line("stopping");
    go_on.send(()).unwrap();
    assert_eq!(client.reply(), "250 2.0.0 queued as 4XYZ");
    assert!(daemon.wait().success());
}

/// A Postfix of our own, which delivers into a Maildir.
struct Postfix {
    folder: std::path::PathBuf,
    port: u16,
}

impl Postfix {
    fn start(house: &House) -> Postfix {
        let folder = house.path("postfix");
        for name in ["config", "queue", "data", "mail"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = folder.display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {home}/queue\ndata_directory = {home}/data\n\
             inet_interfaces = 127.0.0.1\nmyhostname = next.example.net\nmydestination =\n\
             virtual_mailbox_domains = example.com\nvirtual_mailbox_base = {home}/mail\n\
             virtual_mailbox_maps = inline:{{ b@example.com=b/ c@example.com=c/ }}\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\nmynetworks =\n\
             alias_maps =\nsmtpd_peername_lookup = no\nmaillog_file = {home}/log\n\
             maillog_file_prefixes = {home}\nmessage_size_limit = 100000\n\
             smtpd_authorized_xclient_hosts = 127.0.0.1\n"
        );
        let master = format!(
            "127.0.0.1:{port} inet n - n - 100 smtpd\npickup unix n - n 60 1 pickup\n\
             cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
             rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\n\
             defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nproxymap unix - - n - - proxymap\n\
             anvil unix - - n - 1 anvil\nerror unix - - n - - error\nretry unix - - n - - error\n\
             virtual unix - n n - - virtual\npostlog unix-dgram n - n - 1 postlogd\n"
        );
        fs::write(folder.join("config/main.cf"), main).unwrap();
        fs::write(folder.join("config/master.cf"), master).unwrap();
        for (owner, name) in [("postfix", "data"), ("nobody", "mail")] {
            assert!(succeeds("chown", &[owner, &folder.join(name).to_string_lossy()]));
        }
        let postfix = Postfix { folder, port };
        assert!(postfix.order("start"), "{:?}", fs::read_to_string(postfix.folder.join("log")));
        until("Postfix", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        postfix
    }

    fn order(&self, what: &str) -> bool {
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(self.folder.join("config")).arg(what);
        command.output().is_ok_and(|output| output.status.success())
    }

    /// What was delivered for a user.
    fn mails(&self, user: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.join("mail").join(user).join("new"));
        let entries = entries.into_iter().flatten().flatten();
        entries
            .map(|it| String::from_utf8_lossy(&fs::read(it.path()).unwrap()).into_owned())
            .collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
            println!("{:?}", self.mails("b"));
        }
        self.order("abort");
    }
}

#[test]
fn postfix_takes_it() {
    const TEST: &str = "queue::forward::postfix_takes_it";
    if !is_root() || fs::metadata("/usr/sbin/postfix").is_err() {
        return skip(TEST, "needs root, and Postfix installed");
    }
    let house = House::new();
    let postfix = Postfix::start(&house);
    for more in ["", "xclient"] {
        house.queue(&format!("queue/smtp-forward 127.0.0.1 {} {more}", postfix.port));
        let daemon = house.start();
        let mut client = daemon.client();
        client.expect("MAIL FROM:<a@example.org> BODY=8BITMIME", "250");
        for name in ["b", "c"] {
            client.expect(&format!("RCPT TO:<{name}@example.com>"), "250");
        }
        client.expect("DATA", "354");
        // Whole, for Postfix adds what is missing.
        let text = format!(
            "From: a@example.org\r\nDate: Mon, 23 Nov 2026 18:29:19 +0000\r\n\
             Message-ID: <1@example.org>\r\nSubject: for both{more}\r\n\r\n\
             .dot\r\n.\r\ngr\u{fc}n\r\n"
        );
        client.send(stuffed(text.as_bytes()));
        let reply = client.reply();
        assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
        for name in ["b", "c"] {
            let end = format!("\nSubject: for both{more}\n\n.dot\n.\ngr\u{fc}n\n");
            let found = || postfix.mails(name).into_iter().find(|mail| mail.ends_with(&end));
            let mail = until("the mail", found);
            assert!(mail.contains("HELO client.example"), "{mail}");
        }
        // One unknown recipient, and nobody gets it.
        client.envelope();
        client.expect("RCPT TO:<nobody@example.com>", "250");
        client.expect("DATA", "354");
        client.send(stuffed(&small("for nobody")));
        let reply = client.reply();
        let expected = "554 5.1.1 Unable to queue message (<nobody@example.com>: 5.1.1 ";
        assert!(reply.starts_with(expected), "{reply}");
        let reply = client.deliver(&large(1, 200_000));
        let expected = "552 5.3.4 Unable to queue message (larger than 100000 octets) [";
        assert!(reply.starts_with(expected), "{reply}");
        daemon.stop();
    }
    assert!(!postfix.mails("b").iter().any(|mail| mail.contains("for nobody")));
}
