//! `rspamd` with the real Rspamd, which knows one rule of our own.

use crate::daemon::house::House;
use crate::daemon::system::{is_root, skip, succeeds, until};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What every spam filter takes for spam, for tests.
const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// No module, no DNS, and a list of domains that is read at once.
const CONFIG: &str = r#"options {
  control_socket = "HERE/control.sock";
  filters = "";
  url_tld = "HERE/tld";
  tempdir = "HERE";
  cache_file = "HERE/symbols.cache";
  hs_cache_dir = "HERE";
  disable_hyperscan = true;
  dns { nameserver = "127.0.0.1:1"; timeout = 0.1s; retransmits = 1; }
}
logging { type = "console"; level = "info"; }
actions { reject = 15; rewrite_subject = 8; add_header = 6; }
lua = "HERE/rules.lua";
worker "normal" { bind_socket = "HERE/normal.sock mode=0666"; count = 1; }
"#;

/// Points for what only the fields of the request tell.
const RULES: &str = r#"
rspamd_config:register_symbol({ name = "TOLD", score = 7.5, callback = function(task)
  local ip, from, rcpt = task:get_from_ip(), task:get_from("smtp"), task:get_recipients("smtp")
  if task:get_header("Marked") and ip and ip:is_valid() and from[1].addr == "a@example.org"
      and #rcpt == 1 and task:get_helo() then
    return true, 1.0
  end
end })
"#;

struct Rspamd {
    child: Child,
    socket: PathBuf,
}

impl Rspamd {
    fn start(house: &House) -> Rspamd {
        let folder = house.path("rspamd");
        fs::create_dir_all(&folder).unwrap();
        let here = folder.display().to_string();
        fs::write(folder.join("rspamd.conf"), CONFIG.replace("HERE", &here)).unwrap();
        fs::write(folder.join("rules.lua"), RULES).unwrap();
        fs::write(folder.join("tld"), "com\norg\nexample\n").unwrap();
        let mut command = Command::new("rspamd");
        command.arg("-f").arg("-c").arg(folder.join("rspamd.conf"));
        if is_root() {
            command.arg("-i");
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        let errors = log.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap();
        let rspamd = Rspamd { child, socket: folder.join("normal.sock") };
        until("rspamd", || UnixStream::connect(&rspamd.socket).ok());
        rspamd
    }
}

impl Drop for Rspamd {
    fn drop(&mut self) {
        // It ends its workers only when it is asked to.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn rspamd_judges() {
    if !succeeds("rspamd", &["--version"]) {
        return skip("rspamd::rspamd_judges", "rspamd not installed");
    }
    let house = House::new();
    let rspamd = Rspamd::start(&house);
    house.set(
        "plugins",
        &format!(
            "rspamd socket {} timeout 60 defer_on_error yes\nrcpt_ok\nqueue/maildir {}",
            rspamd.socket.display(),
            house.path("Maildir").display()
        ),
    );
    let daemon = house.start();
    let mut client = daemon.client();
    let ham = b"From: a@example.org\r\nX-Spam-Status: No, score=-9\r\nSubject: x\r\n\r\nhello\r\n";
    let reply = client.deliver(ham);
    assert!(reply.starts_with("250 "), "{reply}");
    daemon.log.line("rspamd: pass, no action, 0.0 of 15.0");
    let mail = String::from_utf8(house.take_mails()[0].clone()).unwrap().replace("\r\n", "\n");
    assert!(mail.contains("X-Spam-Status: No, score=0.0 required=15.0 tests="), "{mail}");
    assert!(mail.contains("\nX-Old-Spam-Status: No, score=-9\n"), "{mail}");
    let reply = client.deliver(b"From: a@example.org\r\nMarked: x\r\nSubject: x\r\n\r\nhello\r\n");
    assert!(reply.starts_with("250 "), "{reply}");
    daemon.log.line("rspamd: fail, tolerated, add header, 7.5 of 15.0");
    let mail = String::from_utf8(house.take_mails()[0].clone()).unwrap().replace("\r\n", "\n");
    let marks = "X-Spam-Flag: YES\nX-Spam-Status: Yes, score=7.5 required=15.0 tests=TOLD\n";
    assert!(mail.contains(marks), "{mail}");
    let spam = format!("From: a@example.org\r\nSubject: x\r\n\r\n{GTUBE}\r\n");
    let reply = client.deliver(spam.as_bytes());
    assert!(reply.starts_with("554 5.7.1 spam score exceeded threshold"), "{reply}");
    daemon.log.line("rspamd: fail, reject, 15.0 of 15.0, refused");
    assert!(house.mails().is_empty());
    daemon.stop();
}
