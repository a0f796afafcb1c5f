//! The command line: what it prints, and with which exit code.

use crate::daemon::client::Client;
use crate::daemon::house::{BINARY, Daemon, House};
use crate::daemon::system::{is_root, note, skip, succeeds};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
fn run(args: &[&OsStr]) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY)
        .args(args)
        .env_remove("MAILREEVE_CONFIG")
        .env_remove("QPSMTPD_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn say(line: &str) -> (Option<i32>, String, String) {
    run(&line.split_whitespace().map(OsStr::new).collect::<Vec<_>>())
}

/// Help that was asked for is output and success; a mistake is neither, and says what is right.
#[test]
fn help_and_mistakes() {
    let (code, overview, errors) = say("--help");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let commands: Vec<&str> = overview
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .collect();
    for known in ["serve", "demo", "check-config", "karma", "plugins"] {
        assert!(commands.contains(&known), "{overview}");
    }
    for command in commands {
        let (code, help, errors) = say(&format!("{command} --help"));
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{command}");
        assert!(help.starts_with(&format!("Usage: mailreeve {command}")), "{help}");
        let (code, output, errors) = say(&format!("{command} --no-such-option"));
        assert_eq!((code, output.as_str()), (Some(2), ""), "{command}");
        assert!(errors.contains("--no-such-option") && errors.contains("Usage: "), "{errors}");
    }
    for (line, expected) in [
        ("", "Usage: mailreeve COMMAND"),
        ("no-such-command", "there is no command 'no-such-command'"),
        ("--no-such-option", "--no-such-option"),
        ("serve --config", "missing argument"),
        ("demo --port many", "many"),
        ("plugins no-such-plugin", "no-such-plugin"),
    ] {
        let (code, output, errors) = say(line);
        assert_eq!((code, output.as_str()), (Some(2), ""), "{line}: {errors}");
        assert!(errors.contains(expected), "{line}: {errors}");
    }
    let (code, version, _) = say("--version");
    assert_eq!(code, Some(0));
    assert_eq!(version, format!("mailreeve {}\n", env!("CARGO_PKG_VERSION")));
}

/// An upgrade script asks before it restarts: 0 may go on, and each fault has its place.
#[test]
fn check_config_names_every_fault_with_its_line() {
    let house = House::new();
    let folder = house.path("config");
    let check = || run(&[OsStr::new("check-config"), OsStr::new("--config"), folder.as_os_str()]);
    let (code, output, errors) = check();
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{output}");
    assert!(output.contains(": 0 errors, 0 warnings; "), "{output}");

    house.set("plugins", "check_relay\nrcpt_ok\nqueue/discard");
    let (code, output, _) = check();
    assert_eq!(code, Some(0), "a warning is no error: {output}");
    assert!(
        output.contains("plugins:1: ") && output.contains(": 0 errors, 1 warnings"),
        "{output}"
    );

    house.set("plugins", "rcpt_ok\n\n# a comment\nno_such_plugin\nqueue/maildir relative");
    house.set("databytes", "lots");
    house.set("listen", "127.0.0.1:0\nlocalhost");
    let (code, output, _) = check();
    assert_eq!(code, Some(1), "{output}");
    for place in ["plugins:4: ", "plugins:5: ", "databytes:1: ", "listen:2: "] {
        assert!(output.lines().any(|line| line.contains(place)), "{place} in\n{output}");
    }
    assert!(output.contains(": 4 errors, "), "{output}");

    // The daemon refuses the same, with the same lines.
    let (code, _, errors) = run(&[OsStr::new("serve"), OsStr::new("--config"), folder.as_os_str()]);
    assert_eq!(code, Some(1), "{errors}");
    for place in ["plugins:4: ", "plugins:5: ", "databytes:1: ", "listen:2: "] {
        assert!(errors.contains(place), "{place} in\n{errors}");
    }
    for command in ["check-config", "serve"] {
        let (code, output, errors) = say(&format!("{command} --config /no/such/folder"));
        assert_eq!((code, output.as_str()), (Some(2), ""), "{errors}");
        assert!(errors.contains("there is no folder /no/such/folder"), "{errors}");
    }
}

/// Who installs it and starts it without a folder learns where it looked.
#[test]
fn without_a_folder_it_says_where_it_looked() {
    const TEST: &str = "commands::without_a_folder_it_says_where_it_looked";
    let usual = ["/etc/mailreeve", "/var/service/qpsmtpd/config"];
    if usual.iter().any(|folder| std::path::Path::new(folder).is_dir()) {
        return skip(TEST, "this machine has a config folder");
    }
    for command in ["serve", "check-config"] {
        let (code, output, errors) = say(command);
        assert_eq!((code, output.as_str()), (Some(2), ""), "{errors}");
        for place in ["--config", "MAILREEVE_CONFIG", "QPSMTPD_CONFIG", usual[0], usual[1]] {
            assert!(errors.contains(place), "{place} in {errors}");
        }
    }
    let house = House::new();
    for variable in ["MAILREEVE_CONFIG", "QPSMTPD_CONFIG"] {
        let status = Command::new(BINARY)
            .arg("check-config")
            .env_remove("MAILREEVE_CONFIG")
            .env(variable, house.path("config"))
            .stdout(Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(0), "{variable}");
    }
}

/// A daemon that talks to strangers runs as root only if somebody wrote that down.
#[test]
fn root_has_to_be_asked_for() {
    if !is_root() {
        return skip("commands::root_has_to_be_asked_for", "needs root");
    }
    let house = House::new();
    std::fs::remove_file(house.path("config/user")).unwrap();
    let output = house.serve().output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("started as root without a file `user`"), "{errors}");
    house.set("user", "root");
    let daemon = house.start();
    daemon.log.line("Running as user root, which is not wise");
    daemon.stop();
}

/// After the port is bound nothing of root is left: not in any thread, not in the groups.
#[test]
fn root_is_given_up_for_good() {
    const TEST: &str = "commands::root_is_given_up_for_good";
    if !is_root() || nix::unistd::User::from_name("nobody").ok().flatten().is_none() {
        return skip(TEST, "needs root and a user nobody");
    }
    let house = House::new();
    house.discard();
    house.set("user", "nobody");
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    std::os::unix::fs::chown(house.path("spool"), Some(nobody.uid.as_raw()), None).unwrap();
    let daemon = house.start();
    daemon.client().deliver(b"Subject: x\r\n\r\nx\r\n");
    let uid = nobody.uid.as_raw();
    for task in std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<u32>>()
        };
        assert_eq!(field("Uid:"), [uid; 4]);
        assert_eq!(field("Gid:"), [nobody.gid.as_raw(); 4]);
        assert!(!field("Groups:").contains(&0), "{status}");
        assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    }
    daemon.stop();
}

/// A port that nobody uses at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The first five minutes of a newcomer: start it, paste the line, see the mail.
#[test]
fn the_demo_delivers_the_line_to_paste() {
    let house = House::new();
    let folder = house.path("newcomer");
    std::fs::create_dir(&folder).unwrap();
    let port = free_port().to_string();
    let mut command = Command::new(BINARY);
    command.args(["demo", "--port", &port]).current_dir(&folder).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("Listening on ") && stderr.read_line(&mut said).unwrap() > 0 {}
    let rest = std::thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut welcome = String::new();
    while !welcome.contains("What is not for") && stdout.read_line(&mut welcome).unwrap() > 0 {}

    let paste = welcome.lines().find(|line| line.contains("| curl ")).expect(&welcome).trim();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    if succeeds("curl", &["--version"]) {
        let shell = |line: &str| Command::new("sh").args(["-c", line]).output().unwrap();
        let output = shell(paste);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{paste}: {errors}");
        let new = folder.join("mailreeve-demo/Maildir/new");
        let mails: Vec<_> = std::fs::read_dir(&new).unwrap().collect();
        assert_eq!(mails.len(), 1);
        let mail = std::fs::read_to_string(mails[0].as_ref().unwrap().path()).unwrap();
        assert!(mail.contains("\nSubject: hello\n") && mail.ends_with("\nIt works.\n"), "{mail}");
        assert!(welcome.contains(&new.display().to_string()), "{welcome}");
        let elsewhere = paste.replace("friend@example.com", "somebody@example.org");
        assert!(!shell(&elsewhere).status.success(), "the demo is no open relay");
    } else {
        note("the demo's line was not run: curl not installed");
    }
    let mut client = Client::connect(address);
    client.hello();
    client.expect("MAIL FROM:<you@example.net>", "250");
    client.expect("RCPT TO:<somebody@example.org>", "550 5.7.1 ");
    client.expect("RCPT TO:<spamtrap@example.com>", "550 ");
    client.expect("RCPT TO:<friend@example.com>", "250");
    client.expect("QUIT", "221");

    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    // What Ctrl-C sends.
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(child.wait().unwrap().success());
    rest.join().unwrap().unwrap();
}

/// Two newcomers on one machine: the second is told what is wrong and what to do.
#[test]
fn a_port_that_is_taken_is_named() {
    let house = House::new();
    let daemon = house.start();
    house.set("listen", &daemon.address().to_string());
    let output = house.serve().output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let expected = format!("cannot bind {}", daemon.address());
    assert!(errors.contains(&expected) && errors.contains("another server"), "{errors}");
    let port = daemon.address().port().to_string();
    let mut demo = Command::new(BINARY);
    let demo = demo.args(["demo", "--port", &port]).current_dir(house.path("")).output().unwrap();
    let errors = String::from_utf8(demo.stderr).unwrap();
    assert_eq!(demo.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&expected), "{errors}");
    daemon.stop();
}

/// What stands in the log at the start is for people: where it listens, as whom, and what is odd.
#[test]
fn warnings_of_the_start_are_in_the_log() {
    let house = House::new();
    house.set("plugins", "check_relay\nrcpt_ok\nqueue/discard");
    let daemon = Daemon::start(&mut house.serve());
    daemon.log.line("plugins:1: ");
    daemon.stop();
}

/// A run script of SME Server's starts this program by qpsmtpd-forkserver's name and options: the file
/// `listen` does not count, the limit of the options does.
#[test]
fn the_forkservers_options_are_understood() {
    let house = House::new();
    house.set("listen", "192.0.2.1:25");
    let link = house.path("qpsmtpd-forkserver");
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    let pidfile = house.path("pid");
    let mut command = Command::new(&link);
    command.args(["-l", "127.0.0.1", "-u", &nix::unistd::geteuid().to_string(), "-c", "1"]);
    command.arg("--pid-file").arg(&pidfile);
    command.env("QPSMTPD_CONFIG", house.path("config")).env_remove("MAILREEVE_CONFIG");
    command.env("PORT", "0").env("INSTANCES", "30").env("INSTANCES_PER_IP", "5");
    let daemon = Daemon::start(&mut command);
    let mut first = Client::connect(daemon.address());
    assert!(first.reply().starts_with("220"));
    let mut second = Client::connect(daemon.address());
    assert!(second.reply().starts_with("421"), "-c counts more than INSTANCES");
    let number = std::fs::read_to_string(&pidfile).unwrap();
    assert!(number.trim().parse::<u32>().is_ok(), "{number}");
}
