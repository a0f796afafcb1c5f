//! SME Server's databases on a machine that is none, and its services on one that is.

use crate::daemon::house::{BINARY, House};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
fn run(house: &House, line: &str) -> (i32, String, String) {
    let output = Command::new(BINARY)
        .args(line.split_whitespace())
        .env("ESMITH_DB", house.path("home/db"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Everything below a folder but pipes: inode, mode, and octets or where a link leads.
fn state(folder: &Path) -> BTreeMap<PathBuf, (u64, u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let octets = if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if meta.is_file() {
            fs::read(&path).unwrap()
        } else if meta.is_dir() {
            found.extend(state(&path));
            continue;
        } else {
            continue;
        };
        found.insert(path, (meta.ino(), meta.mode(), octets));
    }
    found
}

#[test]
fn the_first_records_are_made_once() {
    let house = House::new();
    let (code, told, errors) = run(&house, "sme init --name mx.example.com --dry-run");
    assert_eq!((code, errors.as_str()), (0, ""), "{told}");
    assert!(!house.path("home").exists(), "only told");
    assert_eq!(run(&house, "sme init --name mx.example.com"), (0, told.clone(), String::new()));
    for line in [
        "configuration: clamd is made with status=enabled\n",
        "configuration: qpsmtpd is made with Bcc=disabled ",
        "configuration: DomainName is example.com\nconfiguration: SystemName is mx\n",
        "domains: example.com is made\n",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    let before = state(&house.path("home"));
    let nothing = (0, "nothing to do\n".to_string(), String::new());
    assert_eq!(run(&house, "sme init --name other.example.org"), nothing);
    assert_eq!(state(&house.path("home")), before);

    // What the manual prints does something now, and stays.
    for (line, question, answer) in [
        (
            "db configuration setprop qpsmtpd Karma enabled KarmaNegative 3",
            "db configuration getprop qpsmtpd KarmaNegative",
            "3\n",
        ),
        (
            "db domains setprop example.com DKIMSigning disabled",
            "db domains getprop example.com DKIMSigning",
            "disabled\n",
        ),
        (
            "db configuration delprop qpsmtpd MaxLoad",
            "db configuration getprop qpsmtpd UBLList",
            "multi.surbl.org:8-16-64-128,black.uribl.com,rhsbl.sorbs.net\n",
        ),
    ] {
        assert_eq!(run(&house, line), (0, String::new(), String::new()), "{line}");
        assert_eq!(run(&house, question), (0, answer.to_string(), String::new()), "{question}");
    }
    let (code, told, _) = run(&house, "sme init");
    assert_eq!((code, told.as_str()), (0, "configuration: qpsmtpd gets MaxLoad=7\n"));
    assert_eq!(run(&house, "db configuration getprop qpsmtpd Karma").1, "enabled\n");
    assert_eq!(run(&house, "sme init --name localhost").0, 2);
}

/// A made-up system: `qpsmtpd` and `uqpsmtpd` under a supervisor with one config folder, `sqpsmtpd` as a
/// systemd unit with its own.
struct System {
    house: House,
    root: PathBuf,
    /// What the supervisor of qpsmtpd is told; nobody supervises uqpsmtpd.
    control: File,
}

impl System {
    fn new() -> System {
        let house = House::new();
        let root = house.path("root");
        let service = |name: &str| root.join("var/service").join(name);
        for name in ["qpsmtpd", "uqpsmtpd", "sqpsmtpd"] {
            fs::create_dir_all(service(name)).unwrap();
        }
        for name in ["qpsmtpd", "uqpsmtpd"] {
            let run = service(name).join("run");
            fs::write(&run, format!("#!/bin/sh\nexec qpsmtpd-forkserver # {name}\n")).unwrap();
            fs::set_permissions(&run, Permissions::from_mode(0o755)).unwrap();
        }
        house.set("user", "root");
        house.set("listen", "127.0.0.1:2525\n127.0.0.1:2587 submission");
        let copy = |name: &str| {
            let mut command = Command::new("cp");
            command.arg("-r").arg(house.path("config")).arg(service(name));
            assert!(command.status().unwrap().success());
        };
        copy("qpsmtpd");
        copy("sqpsmtpd");
        symlink("../qpsmtpd/config", service("uqpsmtpd").join("config")).unwrap();
        fs::write(service("sqpsmtpd").join("config/listen"), "127.0.0.1:2465\n").unwrap();
        let units = root.join("usr/lib/systemd/system");
        fs::create_dir_all(&units).unwrap();
        fs::write(units.join("sqpsmtpd.service"), "[Service]\n").unwrap();
        let control = service("qpsmtpd").join("supervise/control");
        fs::create_dir(control.parent().unwrap()).unwrap();
        mkfifo(&control, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&control)
            .unwrap();
        System { house, root, control: reader }
    }

    fn run(&self, command: &str) -> (i32, String, String) {
        run(&self.house, &format!("sme {command} --root {}", self.root.display()))
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root.join(name), text).unwrap();
    }

    /// What the supervisor has been told since the last look.
    fn told(&mut self) -> String {
        let mut text = [0; 16];
        let length = self.control.read(&mut text).unwrap_or(0);
        String::from_utf8(text[..length].to_vec()).unwrap()
    }
}

#[test]
fn services_are_taken_over_and_given_back() {
    let mut system = System::new();
    let before = state(&system.root);
    let (code, listed, errors) = system.run("takeover --dry-run");
    assert_eq!((code, errors.as_str()), (0, ""), "{listed}");
    assert_eq!((state(&system.root), system.told()), (before.clone(), String::new()));

    assert_eq!(system.run("takeover"), (0, listed.clone(), String::new()), "as was said");
    let own = fs::canonicalize(BINARY).unwrap();
    let command =
        |name: &str| format!("{} serve --config /var/service/{name}/config\n", own.display());
    assert!(
        system.text("var/service/qpsmtpd/run").ends_with(&format!("exec {}", command("qpsmtpd")))
    );
    assert!(system.text("var/service/uqpsmtpd/run").ends_with("exec /bin/sleep 2147483647\n"));
    let drop_in = "etc/systemd/system/sqpsmtpd.service.d/90-mailreeve.conf";
    assert!(system.text(drop_in).ends_with(&format!("ExecStart={}", command("sqpsmtpd"))));
    assert!(system.text("var/service/qpsmtpd/run.qpsmtpd").contains("forkserver # qpsmtpd"));
    let run = fs::metadata(system.root.join("var/service/qpsmtpd/run")).unwrap();
    assert_eq!(run.mode() & 0o7777, 0o755);
    assert_eq!(system.told(), "t", "qpsmtpd is started again");
    for line in ["uqpsmtpd: is not supervised\n", "systemctl try-restart sqpsmtpd: left out, "] {
        assert!(listed.contains(line), "{line} in\n{listed}");
    }
    // Nothing but what was listed.
    let after = state(&system.root);
    for (path, _) in after.iter().filter(|(path, it)| before.get(*path) != Some(it)) {
        assert!(listed.contains(&path.display().to_string()), "{} in\n{listed}", path.display());
    }
    let nothing = (0, "nothing to do\n".to_string(), String::new());
    assert_eq!(system.run("takeover"), nothing);
    assert_eq!((state(&system.root), system.told()), (after, String::new()));

    // A package put its own file back: that is the one to keep.
    system.write("var/service/uqpsmtpd/run", "#!/bin/sh\nexec newer\n");
    assert_eq!(system.run("takeover").0, 0);
    assert_eq!(system.text("var/service/uqpsmtpd/run.qpsmtpd"), "#!/bin/sh\nexec newer\n");
    system.write(
        "var/service/uqpsmtpd/run.qpsmtpd",
        "#!/bin/sh\nexec qpsmtpd-forkserver # uqpsmtpd\n",
    );

    let taken = state(&system.root);
    let (code, listed, errors) = system.run("rollback --dry-run");
    assert_eq!((code, errors.as_str()), (0, ""), "{listed}");
    assert_eq!((state(&system.root), system.told()), (taken, String::new()));
    assert_eq!(system.run("rollback"), (0, listed, String::new()));
    let octets = |state: BTreeMap<PathBuf, (u64, u32, Vec<u8>)>| -> BTreeMap<_, _> {
        state.into_iter().map(|(path, (_, mode, octets))| (path, (mode, octets))).collect()
    };
    assert_eq!(octets(state(&system.root)), octets(before), "as before, to the octet");
    assert_eq!(system.told(), "t");
    assert_eq!((system.run("rollback"), system.told()), (nothing, String::new()));
}

#[test]
fn a_folder_with_an_error_is_not_taken_over() {
    let mut system = System::new();
    let config = "var/service/qpsmtpd/config";
    for (file, text, expected) in [
        ("plugins", "no_such_plugin\n", "qpsmtpd/config/plugins:1: "),
        ("listen", "127.0.0.1:2525\n", "no line has `submission`, for which uqpsmtpd is there"),
        (
            "listen",
            "0.0.0.0:2465\n127.0.0.1:2587 submission\n",
            "sqpsmtpd/config/listen: 127.0.0.1:2465 is what qpsmtpd listens at, too",
        ),
        ("user", "# nobody\n", "qpsmtpd/config/user: missing"),
    ] {
        let name = format!("{config}/{file}");
        let good = system.text(&name);
        system.write(&name, text);
        let before = state(&system.root);
        let (code, output, errors) = system.run("takeover");
        assert_eq!((code, output.as_str()), (1, ""), "{file}: {errors}");
        assert!(errors.contains("nothing was changed") && errors.contains(expected), "{errors}");
        assert_eq!((state(&system.root), system.told()), (before, String::new()));
        system.write(&name, &good);
    }
    assert_eq!(system.run("takeover").0, 0);
    let empty = system.house.path("empty");
    fs::create_dir(&empty).unwrap();
    for command in ["takeover", "rollback"] {
        let line = format!("sme {command} --root {}", empty.display());
        let (code, output, errors) = run(&system.house, &line);
        assert_eq!((code, output.as_str()), (1, ""));
        assert!(errors.contains("there is no service qpsmtpd"), "{errors}");
    }
}
