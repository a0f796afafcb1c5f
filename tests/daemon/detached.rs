//! As init scripts run it: pid file, log file, detached from the terminal.

use crate::daemon::client::{Client, small};
use crate::daemon::house::{Daemon, House};
use crate::daemon::system::{lives, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// The address in a log file, once it is there.
fn address_in(log: &Path) -> SocketAddr {
    until("a listening daemon", || {
        let text = fs::read_to_string(log).ok()?;
        text.split_once("Listening on ")?.1.split_once('\n')?.0.parse().ok()
    })
}

/// Ends what a test has started and detached.
struct Detached(u32);

impl Drop for Detached {
    fn drop(&mut self) {
        if lives(self.0) {
            let _ended = kill(Pid::from_raw(i32::try_from(self.0).unwrap()), Signal::SIGKILL);
        }
    }
}

/// logrotate renames the file and sends USR1: from then on lines go to a new file, none is lost, and
/// none goes to the old one.
#[test]
fn usr1_opens_the_log_file_again() {
    let house = House::new();
    let (log, old) = (house.path("log"), house.path("log.1"));
    let mut child = house.serve().arg("--log").arg(&log).spawn().unwrap();
    let guard = Detached(child.id());
    let mut client = Client::connect(address_in(&log));
    client.hello();
    client.expect("HELO old.example", "250");
    until("the line", || fs::read_to_string(&log).unwrap().contains("HELO old.ex").then_some(()));
    fs::rename(&log, &old).unwrap();
    let pid = Pid::from_raw(i32::try_from(guard.0).unwrap());
    kill(pid, Signal::SIGUSR1).unwrap();
    until("the new file", || log.exists().then_some(()));
    client.expect("HELO new.example", "250");
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    let (old, new) = (fs::read_to_string(old).unwrap(), fs::read_to_string(&log).unwrap());
    assert!(!old.contains("new.example") && !new.contains("old.example"), "{old}\n{new}");
    assert!(new.contains("dispatching HELO new.example") && new.contains("stopped"), "{new}");
    let line = new.lines().find(|line| line.contains("dispatching")).unwrap();
    // 2026-11-23T17:29:05+00:00 info 17… dispatching …
    assert!(line.as_bytes()[10] == b'T' && line.contains(" info "), "time and level: {line}");
}

/// An init script that starts it twice must not get two daemons that fight for a port, and a pid file
/// left by a crash must not keep it down for ever.
#[test]
fn a_pid_file_tells_of_a_living_daemon_only() {
    let house = House::new();
    let pidfile = house.path("pid");
    // Of a process that has ended.
    fs::write(&pidfile, "4194304999\n").unwrap();
    let daemon = Daemon::start(house.serve().arg("--pidfile").arg(&pidfile));
    let pid = daemon.pid();
    assert_eq!(fs::read_to_string(&pidfile).unwrap(), format!("{pid}\n"));
    let second = house.serve().arg("--pidfile").arg(&pidfile).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("already running mailreeve with pid {pid}.")), "{said}");
    assert_eq!(fs::read_to_string(&pidfile).unwrap(), format!("{pid}\n"), "left as it was");
    daemon.stop();
    assert!(!pidfile.exists(), "removed at the end");
}

/// The init script goes on when the parent has ended, so whatever can fail has failed by then.
#[test]
fn a_detached_daemon_serves_and_ends_by_its_pid_file() {
    let house = House::new();
    let (log, pidfile) = (house.path("log"), house.path("pid"));
    let start = || {
        let mut command = house.serve();
        command.arg("--daemon").arg("--log").arg(&log).arg("--pidfile").arg(&pidfile);
        command.output().unwrap()
    };
    let started = start();
    assert_eq!(started.status.code(), Some(0), "{}", String::from_utf8_lossy(&started.stderr));
    let pid = until("the pid file", || {
        fs::read_to_string(&pidfile).ok()?.strip_suffix('\n')?.parse::<u32>().ok()
    });
    let _guard = Detached(pid);
    let mut client = Client::connect(address_in(&log));
    client.hello();
    assert!(client.deliver(&small("detached")).starts_with("250"));
    assert_eq!(house.mails().len(), 1);

    let second = start();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "the second start has to say so: {said}");
    assert!(said.contains(&format!("already running mailreeve with pid {pid}.")), "{said}");

    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    assert!(client.reply().starts_with("421 4.3.2 "));
    until("its end", || (!lives(pid)).then_some(()));
    assert!(!pidfile.exists());
}

/// A port that is taken, a log file or a spool folder that cannot be used: the init script has to see
/// the exit code, and the admin the sentence. Nobody reads standard error once it has detached.
#[test]
fn what_can_fail_fails_before_it_detaches() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let rows: [(&str, &str, &str, &str); 4] = [
        ("listen", &listen, "log", "another server holds the port"),
        ("spool_dir", "/proc/no", "log", "spool_dir /proc/no is missing and cannot be made"),
        ("listen", "127.0.0.1:0", "no/such/folder/log", "No such file or directory"),
        ("user", "nobody-of-this-name", "log", "there is no user nobody-of-this-name"),
    ];
    for (setting, value, log, expected) in rows {
        let house = House::new();
        house.set(setting, value);
        let mut command = house.serve();
        command.arg("--daemon").arg("--log").arg(house.path(log));
        command.arg("--pidfile").arg(house.path("pid"));
        let output = command.output().unwrap();
        if let Ok(pid) = fs::read_to_string(house.path("pid")) {
            drop(Detached(pid.trim().parse().unwrap()));
        }
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{setting} {value}: {said}");
        assert!(said.contains(expected), "{setting} {value}: {said}");
    }
}
