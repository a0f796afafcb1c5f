//! SME Server's databases through the names by which its scripts call them.

use crate::daemon::house::{BINARY, House};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A folder of databases, and links `db` and `config` beside it.
struct Server {
    house: House,
    databases: PathBuf,
}

impl Server {
    fn new() -> Server {
        let house = House::new();
        let databases = house.path("db");
        fs::create_dir(&databases).unwrap();
        for link in ["db", "config"] {
            fs::create_dir_all(house.path("bin")).unwrap();
            symlink(BINARY, house.path("bin").join(link)).unwrap();
        }
        Server { house, databases }
    }

    /// Exit code, standard output, standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let (link, args) = words.split_first().unwrap();
        let output = Command::new(self.house.path("bin").join(link))
            .args(args)
            .env("ESMITH_DB", &self.databases)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn say(&self, line: &str) -> (i32, String, String) {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// The lines of a database that are no comments.
    fn records(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.databases.join(name)).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_string).collect()
    }
}

fn said(code: i32, output: &str) -> (i32, String, String) {
    (code, output.to_string(), String::new())
}

/// The commands that SME Server's manual prints, word for word.
#[test]
fn printed_commands_work_through_the_links() {
    let server = Server::new();
    assert_eq!(server.say("db configuration set qpsmtpd service status enabled"), said(0, ""));
    assert_eq!(server.say("db domains set domain.com domain"), said(0, ""));
    for line in [
        "db configuration setprop qpsmtpd Karma enabled KarmaNegative 3",
        "db configuration setprop qpsmtpd URIBL enabled UBLList multi.surbl.org,black.uribl.com",
        "db configuration setprop qpsmtpd HeloPolicy rfc",
        "db configuration setprop qpsmtpd DMARCReject disabled SPFRejectPolicy 2",
        "db configuration setprop qpsmtpd DKIMSigning enabled",
        "db domains setprop domain.com DKIMSigning disabled",
        "config setprop qpsmtpd HeloPolicy lenient",
    ] {
        assert_eq!(server.say(line), said(0, ""), "{line}");
    }
    assert_eq!(
        server.records("configuration"),
        [
            "qpsmtpd=service|DKIMSigning|enabled|DMARCReject|disabled|HeloPolicy|lenient|Karma|enabled\
          |KarmaNegative|3|SPFRejectPolicy|2|UBLList|multi.surbl.org,black.uribl.com|URIBL|enabled\
          |status|enabled"
        ]
    );
    assert_eq!(server.records("domains"), ["domain.com=domain|DKIMSigning|disabled"]);
    assert_eq!(server.say("config getprop qpsmtpd KarmaNegative"), said(0, "3\n"));
    assert_eq!(server.say("config getprop qpsmtpd KarmaStrikes"), said(1, ""));
    let shown = "domain.com=domain\n    DKIMSigning=disabled\n";
    assert_eq!(server.say("db domains show domain.com"), said(0, shown));
    let left: Vec<_> = fs::read_dir(&server.databases).unwrap().collect();
    assert_eq!(left.len(), 2, "no lock and no temporary file: {left:?}");
}

/// What scripts rely on where something is missing or wrong.
#[test]
fn exit_codes_are_the_originals() {
    let server = Server::new();
    assert_eq!(server.say("db x setprop nokey status x"), said(0, ""));
    assert!(!server.databases.join("x").exists(), "neither a question nor nothing makes a file");
    assert_eq!(server.say("db x delete nokey"), said(1, ""));
    assert_eq!(server.say("db x keys"), said(1, ""));
    for line in ["db", "db x", "db x unknown", "db x get", "config", "config set k", "db x --help"]
    {
        let (code, output, errors) = server.say(line);
        assert_eq!((code, output.as_str()), (255, ""), "{line}");
        assert!(errors.starts_with("Usage: mailreeve "), "{line}: {errors}");
    }
    let (code, help, errors) = server.say("config --help");
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(help.starts_with("Usage: mailreeve config"), "{help}");

    assert_eq!(server.run(&["db", "x", "set", "k", "t", "p", "-v", "nl", "l1\nl2"]), said(0, ""));
    assert_eq!(server.records("x"), ["k=t|nl|l1\\nl2|p|-v"]);
    assert_eq!(server.say("db x getprop k nl"), said(0, "l1\nl2\n"));
    let (code, output, errors) = server.say("db x setprop k p a|b|c");
    assert_eq!((code, output.as_str()), (1, ""));
    assert!(errors.contains("'a|b|c' has a `|`"), "{errors}");
    assert_eq!(server.records("x"), ["k=t|nl|l1\\nl2|p|-v"], "untouched");

    fs::create_dir(server.databases.join("folder")).unwrap();
    let (code, output, errors) = server.say("db folder get k");
    assert_eq!((code, output.as_str()), (255, ""));
    assert!(errors.contains("folder"), "{errors}");
    assert_eq!(server.say("db folder set k t").0, 1);

    let other = server.house.path("other");
    fs::create_dir(&other).unwrap();
    let folder = other.to_str().unwrap();
    assert_eq!(server.run(&["config", "--db-dir", folder, "set", "k", "v"]), said(0, ""));
    let path = other.join("configuration");
    assert_eq!(server.run(&["db", path.to_str().unwrap(), "print"]), said(0, "k=v\n"));
}
