//! The run scripts, under runit and under daemontools; each with no other programs than its own.

use crate::daemon::client::Client;
use crate::daemon::house::{BINARY, House};
use crate::daemon::services::{find, install, shipped};
use crate::daemon::system::{skip, until};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A supervisor with what stops it.
struct Supervisor {
    child: Child,
    stop: Command,
}

impl Supervisor {
    fn start(command: &mut Command, stop: Command) -> Supervisor {
        command.stderr(Stdio::null());
        Supervisor { child: command.spawn().unwrap(), stop }
    }

    /// Ends it in good order, and with it what it runs.
    fn end(&mut self) {
        assert!(self.stop.status().unwrap().success(), "{:?}", self.stop);
        until("the supervisor's end", || self.child.try_wait().unwrap());
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // A test has failed; what is supervised must not be left running.
            let _stopped = self.stop.status();
            let _ended = self.child.wait();
        }
    }
}

/// A service folder with our scripts, and a folder with only these programs.
struct Service {
    house: House,
}

impl Service {
    fn new(programs: &[&str]) -> Service {
        let house = House::new();
        install(&shipped("daemontools/run"), &house.path("service/run"));
        install(&shipped("daemontools/log/run"), &house.path("service/log/run"));
        fs::create_dir_all(house.path("service/env")).unwrap();
        let config = house.path("config").display().to_string();
        for (name, value) in [
            ("MAILREEVE", BINARY),
            ("MAILREEVE_CONFIG", &config),
            // What is asked of the limit is only that it is there.
            ("MAILREEVE_DATA", "3000000000"),
        ] {
            fs::write(house.path("service/env").join(name), format!("{value}\n")).unwrap();
        }
        fs::create_dir_all(house.path("bin")).unwrap();
        for program in ["sh", "id", "mkdir", "chown"].iter().chain(programs) {
            symlink(find(program).unwrap(), house.path("bin").join(program)).unwrap();
        }
        Service { house }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.house.path("service").join(name)
    }

    /// A command that finds the programs of the folder and no others.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.house.path("bin").join(program));
        command.env("PATH", self.house.path("bin")).env("MAILREEVE_LOG_USER", "root");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder("log/main/current")).unwrap_or_default()
    }

    /// The address of the first daemon that was started, or the second, …
    fn address(&self, number: usize) -> SocketAddr {
        until("a listening daemon", || {
            let log = self.log();
            let rest = log.split("Listening on ").nth(number + 1)?;
            rest.split_once('\n')?.0.parse().ok()
        })
    }

    /// Starts, HUP, TERM (which the supervisor answers with a new start), and nothing more.
    fn lives(&self, control: impl Fn(&str) -> Command) {
        let first = self.address(0);
        Client::connect(first).hello();
        let send = |command: &str| assert!(control(command).status().unwrap().success());
        self.house.set("me", "renamed.example.net");
        send("hup");
        until("the new configuration", || {
            self.log().contains("configuration loaded").then_some(())
        });
        send("term");
        let second = self.address(1);
        let mut client = Client::connect(second);
        assert!(client.reply().starts_with("220 renamed.example.net "));
        assert!(self.log().contains("stopped"), "{}", self.log());
    }

    /// The limit that MAILREEVE_DATA has set, in the process of this number.
    fn is_limited(&self, pid: u32) {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
        assert!(line.contains("3000000000"), "{line}");
    }
}

#[test]
fn runit_runs_the_service() {
    if find("runsv").is_none() {
        return skip("services::runit_runs_the_service", "runit not installed");
    }
    let service = Service::new(&["runsv", "sv", "chpst", "svlogd"]);
    let folder = service.folder("").display().to_string();
    let control = |command: &str| {
        let mut sv = service.command("sv");
        sv.args(["-w", "60", command, &folder]);
        sv
    };
    let mut runsv = service.command("runsv");
    let mut runsv = Supervisor::start(runsv.arg(&folder), control("exit"));
    service.lives(control);
    let pid = fs::read_to_string(service.folder("supervise/pid")).unwrap();
    service.is_limited(pid.trim().parse().unwrap());
    runsv.end();
    assert_eq!(service.log().matches("stopped").count(), 2, "{}", service.log());
}

#[test]
fn daemontools_run_the_service() {
    if find("supervise").is_none() {
        return skip("services::daemontools_run_the_service", "daemontools not installed");
    }
    let programs = ["supervise", "svc", "svstat", "envdir", "softlimit", "setuidgid", "multilog"];
    let service = Service::new(&programs);
    let svc = |options: &str, folder: &str| {
        let mut svc = service.command("svc");
        svc.arg(options).arg(service.folder(folder));
        svc
    };
    // As svscan does: two supervisors and a pipe.
    let mut run = service.command("supervise");
    run.arg(service.folder("")).stdout(Stdio::piped());
    let mut run = Supervisor::start(&mut run, svc("-dx", ""));
    let mut log = service.command("supervise");
    log.arg(service.folder("log")).stdin(run.child.stdout.take().unwrap());
    let mut log = Supervisor::start(&mut log, svc("-dx", "log"));
    service.lives(|command| svc(if command == "hup" { "-h" } else { "-t" }, ""));
    let output = service.command("svstat").arg(service.folder("")).stdout(Stdio::piped()).output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    // PATH: up (pid 123) 1 seconds
    let pid = said.split_once("(pid ").unwrap().1.split_once(')').unwrap().0;
    service.is_limited(pid.parse().unwrap());
    run.end();
    until("the last words", || (service.log().matches("stopped").count() == 2).then_some(()));
    log.end();
}

/// A setting that nothing here can follow is said, and not passed over.
#[test]
fn a_setting_without_its_program_is_said() {
    let service = Service::new(&[]);
    let run = |folder: &str| {
        let mut command = service.command("sh");
        command.arg("./run").current_dir(service.folder(folder)).stdout(Stdio::piped());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(""), "run: ./env is here, but neither envdir nor chpst to read it\n");
    assert_eq!(run("log"), "log/run: neither multilog nor svlogd is here\n");
    fs::remove_dir_all(service.folder("env")).unwrap();
    let mut command = service.command("sh");
    command.arg("./run").env("MAILREEVE_DATA", "1").current_dir(service.folder(""));
    let output = command.stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("neither softlimit nor chpst is here"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}
