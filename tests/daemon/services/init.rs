//! The init script, with files in a temporary folder; exit codes as the Linux Standard Base has them.

use crate::daemon::client::{Client, small};
use crate::daemon::house::{BINARY, House};
use crate::daemon::services::shipped;
use crate::daemon::system::{lives, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

struct Init {
    house: House,
}

impl Init {
    /// Calls it; gives its exit code and what it said.
    fn call(&self, action: &str, other: &[(&str, &str)]) -> (i32, String) {
        let mut command = Command::new("sh");
        command.arg(shipped("init.d/mailreeve")).arg(action);
        command.env("MAILREEVE", BINARY).env("MAILREEVE_CONFIG", self.house.path("config"));
        command.env("MAILREEVE_PIDFILE", self.house.path("pid"));
        command.env("MAILREEVE_LOG", self.house.path("log"));
        command.env("MAILREEVE_DEFAULT", self.house.path("default"));
        command.envs(other.iter().copied());
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    /// Calls it and looks at the exit code.
    fn code(&self, action: &str, expected: i32) -> String {
        let (code, said) = self.call(action, &[]);
        assert_eq!(code, expected, "{action}: {said}");
        said
    }

    fn pid(&self) -> u32 {
        fs::read_to_string(self.house.path("pid")).unwrap().trim().parse().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.house.path("log")).unwrap()
    }

    /// Where the newest daemon listens, of so many that were started.
    fn address(&self, started: usize) -> SocketAddr {
        until("a listening daemon", || {
            let log = self.log();
            log.split("Listening on ").nth(started)?.split_once('\n')?.0.parse().ok()
        })
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.house.path("pid"));
        if let Some(pid) = pid.ok().and_then(|text| text.trim().parse::<i32>().ok())
            && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it == "mailreeve\n")
        {
            let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[test]
fn the_init_script_starts_reloads_and_stops() {
    let init = Init { house: House::new() };
    init.code("status", 3);
    init.code("reload", 7);
    init.code("stop", 0);
    init.code("try-restart", 0);
    init.code("start", 0);
    let first = init.pid();
    assert!(lives(first));
    assert!(init.code("start", 0).contains(&format!("runs already, process {first}")));
    assert!(init.code("status", 0).contains(&first.to_string()));
    let mut client = Client::connect(init.address(1));
    client.hello();
    assert!(client.deliver(&small("by init")).starts_with("250"));
    drop(client);

    init.house.set("me", "renamed.example.net");
    init.code("reload", 0);
    until("the configuration", || init.log().contains("configuration loaded").then_some(()));
    init.house.set("databytes", "many");
    for action in ["reload", "force-reload", "restart", "try-restart"] {
        let said = init.code(action, 1);
        assert!(said.contains("databytes:1"), "{action}: {said}");
        assert!(lives(first), "{action} with a broken configuration ends what works");
    }
    init.house.set("databytes", "1000");

    init.code("restart", 0);
    let second = init.pid();
    assert!(!lives(first) && lives(second));
    assert!(Client::connect(init.address(2)).reply().starts_with("220 renamed.example.net "));
    init.code("stop", 0);
    assert!(!lives(second) && !init.house.path("pid").exists());
    init.code("status", 3);
}

/// A crash leaves the pid file; its number may be that of another program by now.
#[test]
fn the_init_script_is_not_misled_by_a_left_pid_file() {
    let init = Init { house: House::new() };
    init.code("start", 0);
    let first = init.pid();
    init.address(1);
    kill(Pid::from_raw(i32::try_from(first).unwrap()), Signal::SIGKILL).unwrap();
    until("its end", || (!lives(first)).then_some(()));
    init.code("status", 1);
    init.code("reload", 7);
    // That of this test.
    let pidfile = init.house.path("pid");
    fs::write(&pidfile, format!("{}\n", std::process::id())).unwrap();
    init.code("status", 1);
    init.code("stop", 0);
    fs::write(&pidfile, format!("{}\n", std::process::id())).unwrap();
    init.code("start", 0);
    assert_ne!(init.pid(), std::process::id());
    init.code("stop", 0);
}

#[test]
fn the_init_script_says_what_is_missing() {
    let init = Init { house: House::new() };
    let rows = [
        ("start", "MAILREEVE", "/nonexistent/mailreeve", 5),
        ("reload", "MAILREEVE", "/nonexistent/mailreeve", 5),
        ("start", "MAILREEVE_CONFIG", "/nonexistent", 6),
        ("restart", "MAILREEVE_CONFIG", "/nonexistent", 6),
        ("dance", "MAILREEVE", BINARY, 2),
        ("", "MAILREEVE", BINARY, 2),
    ];
    for (action, name, value, expected) in rows {
        let (code, said) = init.call(action, &[(name, value)]);
        assert_eq!(code, expected, "{action} {name}={value}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    init.house.set("listen", &taken.local_addr().unwrap().to_string());
    assert!(init.code("start", 1).contains("another server holds the port"));
    // The file for what is to be otherwise on this machine.
    fs::write(init.house.path("default"), "MAILREEVE=/nonexistent\n").unwrap();
    init.code("start", 5);
}
