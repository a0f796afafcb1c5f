//! `spamassassin` with the real spamd, which knows one rule of our own.

use crate::daemon::house::House;
use crate::daemon::system::{is_root, skip, succeeds, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What every spam filter takes for spam, for tests.
const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

const RULES: &str = r#"required_score 5
report_safe 0
add_header all Status "_YESNO_, score=_SCORE_ required=_REQD_ tests=_TESTS_ autolearn=_AUTOLEARN_"
add_header spam Flag _YESNOCAPS_
body GTUBE /XJS\*C4JDBQADN1\.NSBN3\*2IDNEN\*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\*C\.34X/
score GTUBE 1000
header FROM_CLIENT Received =~ /client\.example/
score FROM_CLIENT 0.5
header NO_SPF_SEEN Authentication-Results =~ /mx\.example\.net/
score NO_SPF_SEEN 0.25
header SENDER X-Envelope-From =~ /a\@example\.org/
score SENDER 0.125
"#;

struct Spamd {
    child: Child,
    socket: PathBuf,
}

impl Spamd {
    fn start(house: &House) -> Spamd {
        let folder = house.path("spamd");
        for name in ["rules", "site", "home"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("rules/rules.cf"), RULES).unwrap();
        let check = "loadplugin Mail::SpamAssassin::Plugin::Check\n";
        fs::write(folder.join("site/check.pre"), check).unwrap();
        for path in [folder.clone(), folder.join("home")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let (socket, home) = (folder.join("socket"), folder.display());
        let mut command = Command::new("spamd");
        command.args([
            "-L",
            "-x",
            "-m",
            "2",
            "--min-children=1",
            "--socketmode=0666",
            "-s",
            "stderr",
        ]);
        command.args([format!("-H{home}/home"), format!("--configpath={home}/rules")]);
        command.arg(format!("--siteconfigpath={home}/site"));
        command.arg(format!("--socketpath={}", socket.display()));
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let spamd = Spamd { child, socket };
        until("spamd", || UnixStream::connect(&spamd.socket).ok());
        spamd
    }
}

impl Drop for Spamd {
    fn drop(&mut self) {
        // It ends its children only when it is asked to.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn spamd_judges() {
    if !succeeds("spamd", &["--version"]) {
        return skip("spamassassin::spamd_judges", "spamd not installed");
    }
    let house = House::new();
    let spamd = Spamd::start(&house);
    let socket = spamd.socket.display();
    house.set(
        "plugins",
        &format!(
            "spamassassin spamd_socket {socket} reject 500 timeout 60\nrcpt_ok\nqueue/maildir {}",
            house.path("Maildir").display()
        ),
    );
    let daemon = house.start();
    let mut client = daemon.client();
    let reply = client.deliver(
        b"From: a@example.org\r\nX-Spam-Status: No, score=-9\r\nSubject: x\r\n\r\nhello\r\n",
    );
    assert!(reply.starts_with("250 "), "{reply}");
    let line = daemon.log.line("spamassassin: pass");
    assert!(line.contains("pass, Ham, 0.9 < 500.0"), "{line}");
    let mails = house.take_mails();
    let mail = String::from_utf8(mails[0].clone()).unwrap();
    let status = "X-Spam-Status: No, score=0.9 required=5.0 tests=FROM_CLIENT,NO_SPF_SEEN,SENDER";
    let flat = mail.replace("\r\n", "\n").replace("\n\t", " ").replace("\n ", " ");
    assert!(flat.contains(status), "{mail}");
    assert!(flat.contains("\nX-Old-Spam-Status: No, score=-9\n"), "{mail}");
    let spam = format!("From: a@example.org\r\nSubject: x\r\n\r\n{GTUBE}\r\n");
    let reply = client.deliver(spam.as_bytes());
    assert!(reply.starts_with("554 5.7.1 spam score exceeded threshold"), "{reply}");
    daemon.log.line("spamassassin: fail, Spam, 1000.9, > 500.0");
    assert!(house.mails().is_empty());
    daemon.stop();
}
