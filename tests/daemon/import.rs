//! A folder of qpsmtpd 0.84 is taken over: what was refused and signed before still is.

use crate::daemon::client::Client;
use crate::daemon::dkim::keygen;
use crate::daemon::house::{BINARY, Daemon, House};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// SME Server 8's list, less what other packages bring.
const OUTSIDE: &str = "\
logging/logterse
check_earlytalker
count_unrecognized_commands 4
check_relay
check_norelay
require_resolvable_fromhost reject 0
check_basicheaders 3
rhsbl
dnsbl disconnect
check_badmailfrom
check_badrcptto_patterns
check_badrcptto
check_spamhelo
dkim_sign selector mail keys dkim
rcpt_ok
virus/clamav clamscan_path=/usr/bin/clamdscan action=reject max_size=25000000 declined_on_fail
old_thing of=ours
queue/discard
";

/// Standard output of a run that ends well.
fn run(house: &House, args: &[&str]) -> String {
    let output = Command::new(BINARY)
        .args(args)
        .env("QMAIL", house.path("qmail"))
        .env("ESMITH_DB", house.path("db"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (text, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""), "{text}");
    text
}

/// Every file below a folder: its inode, mode and octets.
fn state(folder: &Path) -> BTreeMap<String, (u64, u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(state(&path));
        } else {
            let octets = fs::read(&path).unwrap();
            found.insert(path.display().to_string(), (meta.ino(), meta.mode(), octets));
        }
    }
    found
}

fn old_house() -> House {
    let house = House::new();
    house.set("plugins", "hosts_allow\npeers");
    fs::create_dir_all(house.path("config/peers")).unwrap();
    fs::create_dir_all(house.path("config/dkimkeys")).unwrap();
    fs::create_dir_all(house.path("qmail/control")).unwrap();
    house.set("peers/0", OUTSIDE.trim_end());
    house.set("peers/local", "check_relay\nrcpt_ok\nqueue/discard");
    symlink("local", house.path("config/peers/192.168.1")).unwrap();
    house.set("badrcptto_patterns", "! no bang\nx.example.com no such host");
    fs::write(house.path("qmail/control/badrcptto"), "joe@example.com gone\n").unwrap();
    house.set("dnsbl_zones", "list.dsbl.org");
    let permissions = Permissions::from_mode(0o640);
    fs::set_permissions(house.path("config/peers/0"), permissions).unwrap();
    keygen(&house.path("made"), "mail", &[]);
    let key = house.path("config/dkimkeys/example.com.private");
    fs::copy(house.path("made/private"), key).unwrap();
    house
}

#[test]
fn an_old_folder_is_taken_over_once() {
    let house = old_house();
    let folder = house.path("config");
    let import = ["import", folder.to_str().unwrap()];
    let before = state(&house.path(""));
    let told = run(&house, &[&import[..], &["--dry-run"]].concat());
    assert_eq!(state(&house.path("")), before, "only told");

    let report = run(&house, &import);
    assert_eq!(report.replace(" made\n", ""), told.replace(" to make; nothing was written\n", ""));
    for line in [
        "peers/0:2: check_earlytalker → earlytalker",
        "peers/0:7: check_basicheaders 3 → headers past 3 future 3",
        "peers/0:17: old_thing of=ours → # old_thing of=ours (left out: no plugin is called that)",
        "peers/local:1: check_relay → relay",
        "badrcptto_patterns:1: ! no bang → badrcptto:2: ! no bang",
        "dkimkeys/example.com.private: the key → dkim/example.com/private, selector mail",
        "dnsbl_zones:1: list.dsbl.org is dead (closed in 2008); --drop-dead-lists drops it",
    ] {
        assert!(report.lines().any(|it| it == line), "{line} in\n{report}");
    }
    assert!(!folder.join("badrcptto").exists(), "it would hide that of qmail");
    let merged = fs::read_to_string(house.path("qmail/control/badrcptto")).unwrap();
    assert_eq!(merged, "joe@example.com gone\n! no bang\n/x.example.com/ no such host\n");
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("peers/0"), mode("dkim/example.com/private")), (0o640, 0o400));
    let selector = fs::read_to_string(folder.join("dkim/example.com/selector")).unwrap();
    assert_eq!(selector, "mail\n");
    for file in ["private", "public"] {
        let made = fs::read(house.path("made").join(file)).unwrap();
        assert_eq!(fs::read(folder.join("dkim/example.com").join(file)).unwrap(), made, "{file}");
    }
    assert!(fs::symlink_metadata(folder.join("peers/192.168.1")).unwrap().is_symlink());

    let checked = run(&house, &["check-config", "--offline", "--config", import[1]]);
    assert!(checked.contains(": 0 errors, 0 warnings;"), "{checked}");
    let after = state(&house.path(""));
    assert!(run(&house, &import).ends_with("nothing to change\n"));
    assert_eq!(state(&house.path("")), after, "a second run writes nothing");
    let report = run(&house, &[&import[..], &["--drop-dead-lists"]].concat());
    assert!(report.ends_with("1 changes made\n"), "{report}");
    assert_eq!(fs::read(folder.join("dnsbl_zones")).unwrap(), b"");

    let daemon = Daemon::start(house.serve().env("QMAIL", house.path("qmail")));
    let mut client = Client::connect(daemon.address());
    client.hello();
    client.expect("MAIL FROM:<a@example.net>", "250");
    client.expect("RCPT TO:<joe@example.com>", "550 ");
    client.expect("RCPT TO:<a!b@example.com>", "550 ");
    client.expect("RCPT TO:<ann@example.com>", "250");
    client.expect("QUIT", "221");
    daemon.stop();
}

#[test]
fn what_qmail_refuses_and_cannot_be_read_is_not_hidden() {
    let house = old_house();
    let control = house.path("qmail/control/badrcptto");
    fs::remove_file(&control).unwrap();
    fs::create_dir(&control).unwrap();
    let before = state(&house.path("config"));
    let mut command = Command::new(BINARY);
    command.arg("import").arg(house.path("config")).env("QMAIL", house.path("qmail"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(control.to_str().unwrap()), "{errors}");
    assert_eq!(state(&house.path("config")), before, "nothing was written");
}

#[test]
fn the_database_is_taken_over_once() {
    let house = House::new();
    fs::create_dir(house.path("db")).unwrap();
    let text = "qpsmtpd=service|RBLList|list.dsbl.org:zen.spamhaus.org\n";
    fs::write(house.path("db/configuration"), text).unwrap();
    let lists = || run(&house, &["config", "getprop", "qpsmtpd", "RBLList"]);
    assert!(run(&house, &["import", "--sme", "--dry-run"]).ends_with("nothing was written\n"));
    assert_eq!(lists(), "list.dsbl.org:zen.spamhaus.org\n");
    let report = run(&house, &["import", "--sme"]);
    let changed = "configuration: qpsmtpd RBLList: list.dsbl.org:zen.spamhaus.org → \
                   list.dsbl.org,zen.spamhaus.org\n";
    assert!(report.starts_with(changed) && report.contains("list.dsbl.org is dead"), "{report}");
    assert_eq!(lists(), "list.dsbl.org,zen.spamhaus.org\n");
    assert!(run(&house, &["import", "--sme"]).ends_with("nothing to change\n"));
    run(&house, &["import", "--sme", "--drop-dead-lists"]);
    assert_eq!(lists(), "zen.spamhaus.org\n");
}
