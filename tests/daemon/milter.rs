//! `milter` with Debian's opendkim and opendmarc.

use crate::daemon::dkim::{keygen, sign};
use crate::daemon::house::House;
use crate::daemon::system::{skip, succeeds, until};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

struct Filter {
    child: Child,
    socket: PathBuf,
}

impl Filter {
    /// Starts it in the foreground with this configuration, and waits until it listens.
    fn start(house: &House, program: &str, option: &str, conf: &str) -> Filter {
        let (socket, file) = (house.path(&format!("{program}.sock")), house.path(program));
        fs::write(&file, conf).unwrap();
        let log = house.path(&format!("{program}.log"));
        let mut command = Command::new(program);
        command.args(["-f", option]).arg(&file);
        command.arg("-p").arg(format!("local:{}", socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let mut filter = Filter { child: command.spawn().unwrap(), socket };
        until(program, || {
            let ended = filter.child.try_wait().unwrap();
            let words = fs::read_to_string(&log).unwrap();
            assert!(ended.is_none(), "{program} has ended: {words}");
            UnixStream::connect(&filter.socket).ok()
        });
        filter
    }

    /// The lines of `plugins` with this filter in them.
    fn plugins(&self, house: &House, name: &str) -> String {
        let (socket, maildir) = (self.socket.display(), house.path("Maildir"));
        let maildir = maildir.display();
        format!("milter {name} {socket} timeout 40\nrcpt_ok\nqueue/maildir {maildir}")
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What it finds is a field of the mail that is delivered.
#[test]
fn opendkim_verifies() {
    if !succeeds("opendkim", &["-V"]) {
        return skip("milter::opendkim_verifies", "opendkim is not installed");
    }
    let house = House::new();
    let keys = house.path("keys");
    let record = keygen(&keys, "rsa", &[]);
    let published = house.path("published");
    fs::write(&published, format!("rsa._domainkey.example.com {record}\n")).unwrap();
    let conf = format!(
        "Mode v\nSyslog no\nAlwaysAddARHeader yes\nAuthservID filter.example\nTestPublicKeys {}\n",
        published.display()
    );
    let opendkim = Filter::start(&house, "opendkim", "-x", &conf);
    house.set("plugins", &opendkim.plugins(&house, "opendkim"));
    let daemon = house.start();
    let mut client = daemon.client();
    let message = b"From: a@example.com\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\n\
        Subject: is\r\n\tfolded\r\n\r\nhello\r\n";
    let signed = sign(&keys.join("private"), "example.com", "rsa", "simple/simple", message);
    let signed = String::from_utf8(signed).unwrap();
    for (body, expected) in [("hello\r\n", "dkim=pass"), ("other\r\n", "dkim=fail")] {
        let reply = client.deliver(signed.replace("hello\r\n", body).as_bytes());
        assert!(reply.starts_with("250 "), "{reply}");
        let mails = house.take_mails();
        let mail = String::from_utf8(mails[0].clone()).unwrap();
        let flat = mail.replace("\n\t", " ").replace("\n ", " ");
        let results = flat.lines().find(|it| it.starts_with("Authentication-Results: filter"));
        assert!(results.is_some_and(|it| it.contains(expected)), "{mail}");
    }
    daemon.log.nth("pass, at eom by opendkim, 1 changes", 2);
    daemon.stop();
}

/// Without DNS it knows no policy, but what no message may be it refuses.
#[test]
fn opendmarc_refuses() {
    if !succeeds("opendmarc", &["-V"]) {
        return skip("milter::opendmarc_refuses", "opendmarc is not installed");
    }
    let house = House::new();
    // Unless told whose mail it is to ignore, it ignores what comes from loopback.
    let ignored = house.path("ignored");
    fs::write(&ignored, "192.0.2.1\n").unwrap();
    let conf = format!(
        "AuthservID filter.example\nRequiredHeaders true\nRejectFailures true\nSyslog false\n\
         IgnoreHosts {}\n",
        ignored.display()
    );
    let opendmarc = Filter::start(&house, "opendmarc", "-c", &conf);
    house.set("plugins", &opendmarc.plugins(&house, "opendmarc"));
    let daemon = house.start();
    let mut client = daemon.client();
    let reply = client.deliver(b"From: a@example.com\r\nFrom: b@example.com\r\n\r\nhello\r\n");
    assert!(reply.starts_with("554 5.7.1 Rejected at eom by opendmarc milter"), "{reply}");
    daemon.log.line("fail, at eom by opendmarc");
    assert!(house.mails().is_empty());
    daemon.stop();
}
