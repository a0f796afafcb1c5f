//! The files for systemd and logrotate.

use crate::daemon::client::Client;
use crate::daemon::house::{BINARY, House};
use crate::daemon::services::{Served, find, shipped};
use crate::daemon::system::{skip, until};
use std::fs;
use std::process::Command;

/// systemd knows every word of the units.
#[test]
fn the_units_are_understood() {
    let Some(analyze) = find("systemd-analyze") else {
        return skip("services::the_units_are_understood", "systemd not installed");
    };
    let house = House::new();
    let mut command = Command::new(analyze);
    command.arg("verify");
    for name in ["mailreeve.service", "mailreeve.socket"] {
        let text = fs::read_to_string(shipped("systemd").join(name)).unwrap();
        // It looks whether the program is there.
        let copy = house.path(name);
        fs::write(&copy, text.replace("/usr/sbin/mailreeve", BINARY)).unwrap();
        command.arg(copy);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // What is wrong with units of the machine is not ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("mailreeve")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

/// qmail-queue and sendmail are set-user-id: without new privileges they cannot take a mail. systemd
/// withholds these by name, and of its own where filters meet a user other than root.
#[test]
fn the_unit_lets_set_user_id_programs_work() {
    let text = fs::read_to_string(shipped("systemd/mailreeve.service")).unwrap();
    let settings: Vec<&str> =
        text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    for name in ["NoNewPrivileges", "User", "DynamicUser"] {
        assert!(!settings.contains(&name), "{name}=");
    }
    assert!(settings.contains(&"SystemCallFilter"));
}

/// After a rotation the daemon writes to the new file.
#[test]
fn logrotate_renames_the_log_and_says_so() {
    let Some(logrotate) = find("logrotate") else {
        return skip("services::logrotate_renames_the_log_and_says_so", "logrotate not installed");
    };
    let house = House::new();
    let (log, pidfile) = (house.path("log"), house.path("pid"));
    let text = fs::read_to_string(shipped("logrotate.d/mailreeve")).unwrap();
    let replaced = [
        ("/var/log/mailreeve/log", log.display().to_string()),
        ("/run/mailreeve.pid", pidfile.display().to_string()),
        // There is no such user here.
        ("    su qpsmtpd adm\n", String::new()),
        ("create 0640 qpsmtpd adm", "create 0640".to_string()),
    ];
    let text = replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    fs::write(house.path("logrotate"), text).unwrap();
    let mut command = house.serve();
    command.arg("--log").arg(&log).arg("--pidfile").arg(&pidfile);
    let daemon = Served(command.spawn().unwrap());
    let read = |name: &str| fs::read_to_string(house.path(name)).unwrap_or_default();
    let address = until("a listening daemon", || {
        read("log").split_once("Listening on ")?.1.split_once('\n')?.0.parse().ok()
    });
    let mut client = Client::connect(address);
    client.hello();
    until("the line", || read("log").contains("client.example").then_some(()));
    let mut rotate = Command::new(logrotate);
    rotate.arg("--force").arg("--state").arg(house.path("rotated")).arg(house.path("logrotate"));
    let output = rotate.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
    // It takes the signal when it comes to it, but then no line goes to the old file any more.
    let mut number = 0;
    until("a line in the new file", || {
        number += 1;
        client.expect(&format!("HELO new{number}.example"), "250");
        read("log").contains(".example").then_some(())
    });
    assert!(read("log.1").contains("client.example") && !read("log").contains("client.example"));
    drop(client);
    daemon.stop();
}
