//! Certificates that change while the daemon runs, and those that are about to end.

use super::keys::{certify, has_openssl, make_usual, openssl};
use super::{believer, unix};
use crate::daemon::client::{Client, small};
use crate::daemon::house::{BINARY, Daemon, House};
use crate::daemon::system::{is_root, skip};
use mailreeve::server::tls::self_signed;
use nix::sys::signal::Signal;
use nix::unistd::{User, chown};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const LOADED: &str = "configuration loaded";
const REFUSED: &str = "a config file changed: configuration refused, the old one stays";

/// The certificate that a new client is shown.
fn shown(daemon: &Daemon) -> Vec<u8> {
    let mut client = daemon.client();
    client.starttls(&believer());
    client.certificate()
}

fn fresh_pair() -> (String, String) {
    self_signed(&["mx.example.net".to_string()], unix()).unwrap()
}

/// Renewal scripts write one file after the other and send no signal. In between the two do not belong
/// together; nobody may notice, least of all who is in the middle of a mail.
#[test]
fn a_renewed_pair_is_taken_over_once_it_is_whole() {
    let house = House::new();
    house.certify();
    let daemon = house.start();
    let mut open = daemon.client();
    open.starttls(&believer());
    open.data();
    open.send("Subject: over a renewal\r\n");
    let old = open.certificate();
    let (certificate, key) = fresh_pair();
    fs::write(house.path("cert.pem"), certificate).unwrap();
    daemon.log.line(REFUSED);
    assert!(daemon.log.line("tls_cert:1: ").ends_with("key.pem is not the key of cert.pem"));
    assert_eq!(shown(&daemon), old);
    open.send("\r\nunder the old certificate\r\n");
    fs::write(house.path("key.pem"), key).unwrap();
    daemon.log.line(LOADED);
    assert_ne!(shown(&daemon), old);
    open.expect("under the old keys\r\n.", "250");
    assert!(open.deliver(&small("and one more")).starts_with("250"));
    open.expect("QUIT", "221");
    open.ended();
    assert_eq!(house.mails().len(), 2);
    daemon.stop();
}

/// Written at once, with a signal; and by a link that leads elsewhere, as certbot does it.
#[test]
fn hup_and_a_moved_link_bring_a_new_pair() {
    let house = House::new();
    house.certify();
    let daemon = house.start();
    let first = shown(&daemon);
    let (certificate, key) = fresh_pair();
    fs::write(house.path("both.pem"), certificate + &key).unwrap();
    house.set("tls_cert", "link.pem");
    std::os::unix::fs::symlink(house.path("both.pem"), house.path("link.pem")).unwrap();
    fs::remove_file(house.path("config/tls_key")).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.log.line(LOADED);
    let second = shown(&daemon);
    assert_ne!(second, first);
    let before = daemon.log.count(LOADED);
    let (certificate, key) = fresh_pair();
    fs::write(house.path("new.pem"), certificate + &key).unwrap();
    std::os::unix::fs::symlink(house.path("new.pem"), house.path("link.new")).unwrap();
    fs::rename(house.path("link.new"), house.path("link.pem")).unwrap();
    daemon.log.nth(LOADED, before + 1);
    assert_ne!(shown(&daemon), second);
    daemon.stop();
}

/// TLS may come to a running daemon, and go again when its files go out of the configuration.
#[test]
fn tls_comes_and_goes_with_its_settings() {
    let house = House::new();
    let daemon = house.start();
    daemon.client().expect("STARTTLS", "500");
    house.certify();
    daemon.signal(Signal::SIGHUP);
    daemon.log.line(LOADED);
    let mut client = daemon.client();
    client.expect("STARTTLS", "220");
    // Between the 220 and the handshake there was TLS still.
    let before = daemon.log.count(LOADED);
    for name in ["tls_cert", "tls_key"] {
        fs::remove_file(house.path("config").join(name)).unwrap();
    }
    daemon.signal(Signal::SIGHUP);
    daemon.log.nth(LOADED, before + 1);
    daemon.client().expect("STARTTLS", "500");
    client.try_tls(&believer()).unwrap();
    client.expect("EHLO client.example", "250");
    assert!(client.deliver(&small("the last under TLS")).starts_with("250"));
    daemon.stop();
}

/// SME Server makes its file anew from a template: for a moment there is none, or half of one.
#[test]
fn a_file_of_the_plugins_line_that_is_gone_for_a_moment_ends_no_tls() {
    let house = House::new();
    let (certificate, key) = fresh_pair();
    fs::create_dir(house.path("ssl")).unwrap();
    let pem = house.path("ssl/cert.pem");
    fs::write(&pem, certificate + &key).unwrap();
    let plugins = fs::read_to_string(house.path("config/plugins")).unwrap();
    house.set("plugins", &format!("tls ssl/cert.pem ssl/cert.pem ssl/cert.pem\n{plugins}"));
    let daemon = house.start();
    let first = shown(&daemon);
    fs::remove_file(&pem).unwrap();
    daemon.log.line(LOADED);
    daemon.log.line("ssl/cert.pem: there is no such file: what was read of it before is used on");
    assert_eq!(shown(&daemon), first);
    let (certificate, key) = fresh_pair();
    fs::write(&pem, &certificate[..certificate.len() / 2]).unwrap();
    daemon.log.line(REFUSED);
    assert_eq!(shown(&daemon), first);
    fs::write(&pem, certificate + &key).unwrap();
    daemon.log.nth(LOADED, 2);
    assert_ne!(shown(&daemon), first);
    daemon.stop();
}

/// Gives the house to a user who is not root.
fn give_to_nobody(house: &House) {
    let nobody = User::from_name("nobody").unwrap().unwrap();
    for folder in ["", "spool", "state"] {
        chown(&house.path(folder), Some(nobody.uid), Some(nobody.gid)).unwrap();
    }
    house.set("user", "nobody");
}

/// certbot writes keys for root alone, behind a folder that is root's alone. Such a key is read before
/// the daemon becomes another user. A new one it cannot read: it goes on with what it has, says so, and
/// does not keep other changes waiting.
#[test]
fn a_key_for_root_alone_is_used_on() {
    if !is_root() {
        return skip("tls::reload::a_key_for_root_alone_is_used_on", "needs root");
    }
    for locked in ["key.pem", "live"] {
        let house = House::new();
        house.certify();
        house.discard();
        give_to_nobody(&house);
        fs::create_dir(house.path("live")).unwrap();
        let write = || {
            let (certificate, key) = fresh_pair();
            fs::write(house.path("live/cert.pem"), certificate).unwrap();
            fs::write(house.path("live/key.pem"), key).unwrap();
            let only_root = house.path("live").join(if locked == "live" { "" } else { locked });
            fs::set_permissions(only_root, Permissions::from_mode(0o700)).unwrap();
        };
        write();
        house.set("tls_cert", "live/cert.pem");
        house.set("tls_key", "live/key.pem");
        let daemon = house.start();
        let first = shown(&daemon);
        house.set("rcpthosts", "example.org");
        daemon.signal(Signal::SIGHUP);
        let kept = "what was read of it before is used on";
        assert!(daemon.log.line(kept).contains("tls_cert:1: warning: live/"), "{locked}");
        daemon.log.line(LOADED);
        assert_eq!(shown(&daemon), first, "{locked}");
        write();
        house.set("rcpthosts", "example.com\nexample.org");
        let before = daemon.log.count(LOADED);
        daemon.signal(Signal::SIGHUP);
        daemon.log.nth(LOADED, before + 1);
        if locked == "key.pem" {
            // The certificate can be read, and is another one.
            let what = "live/key.pem is not the key of live/cert.pem: the two as they were read";
            daemon.log.line(what);
        }
        assert_eq!(shown(&daemon), first, "{locked}");
        let mut client = daemon.client();
        client.starttls(&believer());
        client.envelope();
        assert_eq!(daemon.log.count("refused"), 0, "{:#?}", daemon.log.lines());
        daemon.stop();
        // The next start reads it.
        let daemon = house.start();
        assert_ne!(shown(&daemon), first, "{locked}");
        daemon.stop();
    }
}

/// Mail stops coming in when senders that look at certificates find one that has ended. Whoever reads
/// the log knows two weeks ahead.
#[test]
fn an_end_that_is_near_is_named() {
    if !has_openssl("tls::reload::an_end_that_is_near_is_named") {
        return;
    }
    let house = House::new();
    make_usual(&house);
    certify(&house, "mx", 3);
    fs::create_dir(house.path("config/tls_certs")).unwrap();
    openssl(&house, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out other.key");
    certify(&house, "other", 30);
    let copy = |from: &str, to: &str| {
        house.set(to, &fs::read_to_string(house.path(from)).unwrap());
    };
    copy("other.crt", "tls_certs/mail.example.org.crt");
    copy("other.key", "tls_certs/mail.example.org.key");
    let near = "mx.crt: the certificate expires in 2 days: renew it";
    let check = || {
        let mut command = Command::new(BINARY);
        command.args(["check-config", "--config"]).arg(house.path("config"));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let said = check();
    assert!(said.starts_with(&format!("tls_cert:1: warning: {near}\n")), "{said}");
    assert!(said.contains(": 0 errors, 1 warnings"), "{said}");
    let daemon = house.start();
    daemon.log.line(near);
    assert_eq!(daemon.log.count("the certificate expires"), 1);
    // A renewed one for the name, which ends soon too, and one that has ended.
    certify(&house, "other", 10);
    copy("other.crt", "tls_certs/mail.example.org.crt");
    let near = "tls_certs/mail.example.org.crt: the certificate expires in 9 days: renew it";
    daemon.log.line(near);
    let said = check();
    assert!(said.contains(&format!("tls_certs/mail.example.org.crt: warning: {near}")), "{said}");
    daemon.stop();
    certify(&house, "mx", 0);
    assert!(check().contains("tls_cert:1: warning: mx.crt: the certificate has expired: renew it"));
}

/// A listener for TLS from the first octet needs a certificate; one for submission does not start
/// silently without logins.
#[test]
fn listeners_that_need_a_certificate_say_so() {
    let house = House::new();
    house.set("listen", "127.0.0.1:0 smtps");
    let output = house.serve().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("listen: 127.0.0.1:0 smtps: there is no certificate to offer"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    house.set("listen", "127.0.0.1:0 submission");
    let daemon = house.start();
    daemon.log.line("listen: warning: 127.0.0.1:0 submission: nobody can log in without TLS");
    let mut client = Client::connect(daemon.address());
    client.hello();
    daemon.stop();
}
