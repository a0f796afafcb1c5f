//! From `db … setprop` through `signal-event` to the config folder and to what a client is told.

use crate::daemon::client::Client;
use crate::daemon::house::{BINARY, House};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A machine below a folder, with its links and databases.
struct Machine {
    house: House,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine { house: House::new() };
        fs::remove_dir_all(machine.house.path("config")).unwrap();
        fs::create_dir_all(machine.house.path("bin")).unwrap();
        fs::create_dir_all(machine.house.path("home/e-smith/db")).unwrap();
        for link in ["db", "config", "signal-event"] {
            symlink(BINARY, machine.house.path("bin").join(link)).unwrap();
        }
        for line in [
            // However busy the machine of the tests is.
            "db configuration set qpsmtpd service status enabled access public MaxLoad 100000",
            "db configuration set smtpd service tnef2mime disabled VirusScan disabled",
            "db configuration set DomainName example.com",
            "db configuration set SystemName mail",
            "db domains set example.com domain",
            "db domains set domain.com domain",
            "db accounts set joe user",
            "db networks set 192.168.1.0 network Mask 255.255.255.0",
        ] {
            machine.done(line);
        }
        let maildir = machine.house.path("Maildir").display().to_string();
        machine.fragment("peers/0/90qmail-queue", &format!("queue/maildir {maildir}"));
        machine.fragment("listen/10stock", "127.0.0.1:0");
        for setting in ["spool_dir", "state_dir"] {
            let folder = machine.house.path(setting.trim_end_matches("_dir"));
            machine.fragment(&format!("{setting}/10stock"), &folder.display().to_string());
        }
        machine.fragment("user/10stock", &nix::unistd::geteuid().to_string());
        machine
    }

    /// A fragment of the admin.
    fn fragment(&self, name: &str, text: &str) {
        let folder = "etc/e-smith/templates-custom/var/service/qpsmtpd/config";
        let path = self.house.path(folder).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    /// Exit code, standard output, standard error.
    fn say(&self, line: &str) -> (i32, String, String) {
        let mut words = line.split_whitespace();
        let mut command = Command::new(self.house.path("bin").join(words.next().unwrap()));
        command.env("ESMITH_DB", self.house.path("home/e-smith/db"));
        if line.starts_with("signal-event") {
            command.arg("--root").arg(self.house.path(""));
            command.arg("--config").arg(self.house.path("config"));
        }
        let output = command.args(words).stdin(Stdio::null()).output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn done(&self, line: &str) -> String {
        let (code, output, errors) = self.say(line);
        assert_eq!(code, 0, "{line}: {output}{errors}");
        output
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.house.path("config").join(name)).unwrap()
    }

    fn has(&self, name: &str, line: &str) -> bool {
        self.text(name).lines().any(|it| it == line)
    }

    fn check(&self) {
        let mut command = Command::new(BINARY);
        command.arg("check-config").arg("--config").arg(self.house.path("config"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// The commands as SME Server's page prints them, each with the lines that it is for.
#[test]
fn printed_examples_work() {
    let machine = Machine::new();
    machine.done("signal-event email-update");
    machine.check();
    for (line, file, changed) in [
        (
            "db configuration setprop qpsmtpd Karma enabled KarmaNegative 3",
            "peers/0",
            "karma reject naughty negative 3 strikes 3",
        ),
        (
            "db configuration setprop qpsmtpd URIBL enabled UBLList multi.surbl.org,black.uribl.com",
            "peers/0",
            "uribl action deny",
        ),
        (
            "db configuration setprop qpsmtpd HeloPolicy rfc",
            "peers/0",
            "helo policy rfc reject naughty",
        ),
        (
            "db configuration setprop qpsmtpd DMARCReject disabled SPFRejectPolicy 2",
            "peers/0",
            "sender_permitted_from reject 1 no_dmarc_policy 2",
        ),
        ("db configuration setprop qpsmtpd DKIMSigning enabled", "dkim_signing", "enabled"),
        (
            "db domains setprop domain.com DKIMSigning disabled",
            "dkim_signing",
            "domain.com disabled",
        ),
    ] {
        assert!(!machine.has(file, changed), "{line}");
        machine.done(line);
        let shown = machine.done("signal-event --dry-run email-update");
        assert!(shown.contains(&format!("\n+{changed}\n")), "{line}: {shown}");
        assert!(!machine.has(file, changed), "{line}: a dry run changed it");
        let told = machine.done("signal-event email-update");
        assert!(told.contains(&format!("changed: {file}\n")), "{line}: {told}");
        assert!(machine.has(file, changed), "{line}: {}", machine.text(file));
        assert_eq!(machine.done("signal-event email-update"), "no daemon is running\n", "{line}");
        machine.check();
    }
    let zones: Vec<String> = machine.text("uribl_zones").lines().map(str::to_string).collect();
    assert!(zones.ends_with(&["multi.surbl.org".to_string(), "black.uribl.com".to_string()]));
    machine.done("db configuration delprop qpsmtpd Karma");
    machine.done("signal-event email-update");
    assert!(!machine.text("peers/0").contains("\nkarma "));
}

/// Links of networks and keys; a key that is there is never made anew.
#[test]
fn links_and_keys_follow_the_databases() {
    let machine = Machine::new();
    machine.done("db configuration set GatewayIP 192.168.1.254");
    machine.done("signal-event network-create 192.168.1.0");
    let leads = |name: &str| fs::read_link(machine.house.path("config").join(name)).ok();
    assert_eq!(leads("peers/192.168.1"), Some(PathBuf::from("local")));
    assert_eq!(leads("peers/127.0.0.1"), Some(PathBuf::from("local")));
    assert_eq!(leads("peers/192.168.1.254"), Some(PathBuf::from("0")));
    let keys = machine.house.path("home/e-smith/dkim_keys");
    assert_eq!(leads("dkim/default"), Some(keys.join("default")));
    let private = keys.join("default/private");
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o400);
    let key = fs::read(&private).unwrap();
    fs::create_dir(keys.join("domain.net")).unwrap();

    machine.done("db networks delete 192.168.1.0");
    machine.done("signal-event network-delete 192.168.1.0");
    assert_eq!(leads("peers/192.168.1"), None);
    assert_eq!(leads("peers/127.0.0.1"), Some(PathBuf::from("local")));
    assert_eq!(leads("dkim/domain.net"), Some(keys.join("domain.net")));
    assert_eq!(fs::read(&private).unwrap(), key);

    fs::remove_dir(keys.join("domain.net")).unwrap();
    machine.done("signal-event domain-delete domain.net");
    assert_eq!(leads("dkim/domain.net"), None);
}

/// What the smart host is told is for the daemon alone, and nobody else's `user` is touched.
#[test]
fn passwords_are_not_shown() {
    let machine = Machine::new();
    machine.done("signal-event email-update");
    let path = machine.house.path("config/smtpauth");
    assert!(!path.exists(), "nobody is to log in");
    machine.done("db configuration set SMTPSmartHost relay.example");
    machine.done(
        "db configuration set smtp-auth-proxy service status enabled Userid ann Passwd swordfish",
    );
    fs::write(&path, "# Nothing yet\n").unwrap();
    fs::write(machine.house.path("config/user"), "nobody # by hand\n").unwrap();
    for line in ["signal-event --dry-run email-update", "signal-event email-update"] {
        let (code, output, errors) = machine.say(line);
        assert_eq!(code, 0, "{line}: {output}{errors}");
        assert!(output.contains("changed: smtpauth\n"), "{line}: {output}");
        assert!(!format!("{output}{errors}").contains("swordfish"), "{line}: {output}{errors}");
    }
    assert!(machine.has("smtpauth", "relay.example ann swordfish"));
    assert!(machine.has("smtproutes", ":relay.example"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o440);
    assert_eq!(machine.text("user"), "nobody # by hand\n");
    machine.done("db configuration setprop smtp-auth-proxy status disabled");
    machine.done("signal-event email-update");
    assert!(!machine.text("smtpauth").contains("swordfish"));
}

/// From a machine without databases to one whose services can be taken over.
#[test]
fn a_first_folder_is_taken_over() {
    let machine = Machine::new();
    let root = machine.house.path("");
    let run = |words: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(words).env("ESMITH_DB", machine.house.path("first/db"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let (told, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words:?}: {errors}");
        String::from_utf8_lossy(told).into_owned()
    };
    // The fragments of the other tests are none of this one.
    fs::remove_dir_all(machine.house.path("etc")).unwrap();
    for service in ["qpsmtpd", "sqpsmtpd", "uqpsmtpd"] {
        let folder = machine.house.path("var/service").join(service);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("run"), "#!/bin/sh\n").unwrap();
        if service != "qpsmtpd" {
            symlink("../qpsmtpd/config", folder.join("config")).unwrap();
        }
    }
    run(&["sme", "init", "--name", "mx.example.com"]);
    let root = root.to_str().unwrap();
    run(&["event", "--root", root, "email-update"]);
    let config = machine.house.path("var/service/qpsmtpd/config");
    let user = fs::read_to_string(config.join("user")).unwrap();
    assert!(user.lines().any(|line| line == "qpsmtpd"), "{user}");
    let listed = run(&["sme", "takeover", "--dry-run", "--root", root]);
    assert!(listed.contains("var/service/sqpsmtpd/run"), "{listed}");
}

/// What the system's own templates write is theirs, and what is not known is refused.
#[test]
fn templates_of_the_system_are_left_alone() {
    let machine = Machine::new();
    let templates = machine.house.path("etc/e-smith/templates/var");
    fs::create_dir_all(templates.join("service/qpsmtpd/config/badhelo")).unwrap();
    fs::create_dir_all(templates.join("qmail/control")).unwrap();
    fs::write(templates.join("qmail/control/rcpthosts"), "x").unwrap();
    machine.done("signal-event email-update");
    for name in ["badhelo", "rcpthosts"] {
        assert!(!machine.house.path("config").join(name).exists(), "{name}");
    }
    assert!(machine.has("goodrcptto", "joe@example.com"));
    let (code, output, errors) = machine.say("signal-event reboot");
    assert_eq!((code, output.as_str()), (255, ""));
    assert!(errors.contains("no event reboot"), "{errors}");
}

/// Ports of TLS need a certificate: the web server's, else one that is made.
#[test]
fn there_is_a_certificate() {
    let machine = Machine::new();
    machine.fragment("listen/20tls", "127.0.0.1:0 smtps submission");
    machine.done("signal-event email-update");
    machine.check();
    let made = fs::read(machine.house.path("ssl/cert.pem")).unwrap();
    machine.done("signal-event email-update");
    assert_eq!(fs::read(machine.house.path("ssl/cert.pem")).unwrap(), made);

    let mut selfsigned = Command::new(BINARY);
    selfsigned.args(["tls", "selfsigned", "mail.example.com", "--dir"]);
    assert!(selfsigned.arg(machine.house.path("")).output().unwrap().status.success());
    let [key, crt] = ["tls.key", "tls.crt"].map(|name| machine.house.path(name));
    let (shown_key, shown_crt) = (key.display(), crt.display());
    machine.done(&format!("db configuration set modSSL service key {shown_key} crt {shown_crt}"));
    let shown = machine.done("signal-event --dry-run email-update");
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    machine.done("signal-event email-update");
    let both = [fs::read(key).unwrap(), fs::read(crt).unwrap()].concat();
    assert_eq!(fs::read(machine.house.path("ssl/cert.pem")).unwrap(), both);
    machine.check();
}

/// Lists of old get commas, in the database, once.
#[test]
fn old_lists_are_migrated_once() {
    let machine = Machine::new();
    machine.done("db configuration setprop qpsmtpd RBLList a.example:b.example");
    let told = machine.done("signal-event email-update");
    assert!(told.contains("RBLList has commas between its lists now: a.example,b.example"));
    let value = machine.done("db configuration getprop qpsmtpd RBLList");
    assert_eq!(value, "a.example,b.example\n");
    assert!(machine.has("dnsbl_zones", "a.example") && machine.has("dnsbl_zones", "b.example"));
    assert_eq!(machine.done("signal-event email-update"), "no daemon is running\n");
}

/// A supervisor is told through its pipe.
#[test]
fn supervised_daemons_are_told() {
    let machine = Machine::new();
    let control = machine.house.path("service/qpsmtpd/supervise/control");
    fs::create_dir_all(control.parent().unwrap()).unwrap();
    mkfifo(&control, Mode::from_bits_truncate(0o600)).unwrap();
    assert!(machine.done("signal-event email-update").ends_with("no daemon is running\n"));
    let mut options = fs::OpenOptions::new();
    let mut pipe = options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(&control).unwrap();
    let told = machine.done("signal-event email-update");
    assert_eq!(told, "told to read it: qpsmtpd (supervise)\n");
    machine.done("db configuration setprop qpsmtpd status disabled");
    machine.done("signal-event email-update");
    let mut orders = String::new();
    pipe.read_to_string(&mut orders).unwrap();
    assert_eq!(orders, "hud");
}

/// The reply to a command.
fn ask(client: &mut Client, line: &str) -> String {
    client.send(format!("{line}\r\n"));
    client.reply()
}

/// What a client is told: from the property to the wire, by a daemon on the folder.
#[test]
fn properties_reach_the_wire() {
    let machine = Machine::new();
    fs::create_dir_all(machine.house.path("config")).unwrap();
    machine.done("db networks delete 192.168.1.0");
    // This machine is served like the world, as SME Server does it with what fetchmail brings.
    machine.done("db configuration setprop qpsmtpd Greeting one.example.com");
    machine.fragment("relayclients/10localhost", "192.0.2.1");
    machine.fragment("peers/local/90qmail-queue", "queue/discard");
    machine.done("signal-event email-update");
    let daemon = machine.house.start();
    let mut client = Client::connect(daemon.address());
    assert!(client.reply().contains("one.example.com"));
    assert!(ask(&mut client, "HELO client.example").starts_with("250"));
    let replies = |client: &mut Client, lines: &[&str]| -> Vec<String> {
        lines.iter().map(|line| ask(client, line)).collect()
    };
    let told = replies(&mut client, &["MAIL FROM:<>", "RCPT TO:<joe@example.com>", "RSET"]);
    assert!(told[1].starts_with("250"), "{told:?}");
    let told = replies(&mut client, &["MAIL FROM:<>", "RCPT TO:<jim@example.com>", "RSET"]);
    assert!(told[1].starts_with("550 5.1.1 invalid recipient jim@example.com"), "{told:?}");

    machine.done("db accounts set jim user");
    machine.done("db accounts setprop joe Visible internal");
    machine.done("db configuration set qmail service MaxMessageSize 1000");
    machine.done("db configuration setprop qpsmtpd Greeting two.example.com");
    machine.done("signal-event user-create jim");
    // Not a reload: one that begins while the files are written may see some of them only.
    drop(daemon);
    let daemon = machine.house.start();
    let mut client = Client::connect(daemon.address());
    assert!(client.reply().contains("two.example.com"));
    assert!(ask(&mut client, "EHLO client.example").starts_with("250"));
    let told = replies(
        &mut client,
        &["MAIL FROM:<> SIZE=2000", "MAIL FROM:<>", "RCPT TO:<jim@example.com>"],
    );
    assert!(told[0].starts_with("552"), "{told:?}");
    assert!(told[2].starts_with("250"), "{told:?}");
    assert!(ask(&mut client, "RCPT TO:<joe@example.com>").starts_with("550"), "joe is internal");
}

/// The same for strangers, whom the list `0` serves.
#[test]
fn properties_reach_strangers() {
    let machine = Machine::new();
    machine.fragment("relayclients/10localhost", "192.0.2.1");
    machine.fragment("resolvers/10stock", "127.0.0.1:1");
    machine.fragment("peers/0/10earlytalker", "");
    for (property, refusal) in [
        ("HeloPolicy lenient", ""),
        ("HeloPolicy rfc", "RCPT 550"),
        ("HeloPolicy lenient RelayRequiresAuth disabled", ""),
        ("UnauthenticatedRelayClients 127.0.0.2", "relays"),
    ] {
        machine.done(&format!("db configuration setprop qpsmtpd {property}"));
        machine.done("db configuration setprop smtpd RequiredHeaders From,Date");
        machine.done("signal-event email-update");
        let daemon = machine.house.start();
        let mut client = Client::connect_from("127.0.0.2", daemon.address());
        assert!(client.reply().starts_with("220"), "{property}");
        assert!(ask(&mut client, "HELO undotted").starts_with("250"), "{property}");
        assert!(ask(&mut client, "MAIL FROM:<>").starts_with("250"), "{property}");
        let known = ask(&mut client, "RCPT TO:<joe@example.com>");
        if refusal == "RCPT 550" {
            assert!(known.starts_with("550 5.7.1 (helo)"), "{property}: {known}");
            continue;
        }
        assert!(known.starts_with("250"), "{property}: {known}");
        let foreign = ask(&mut client, "RCPT TO:<joe@example.org>");
        assert_eq!(foreign.starts_with("250"), refusal == "relays", "{property}: {foreign}");
        if refusal.is_empty() {
            assert!(ask(&mut client, "DATA").starts_with("354"), "{property}");
            let told = ask(&mut client, "From: a@example.net\r\n\r\nbody\r\n.");
            assert!(told.starts_with("554 5.6.0 We require a valid Date"), "{property}: {told}");
        }
    }
}
