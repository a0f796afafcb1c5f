//! Checkers of passwords as Debian has them, asked by the library's clients: CVM's modules and its
//! checkpassword program, Dovecot's authentication and its IMAP server, OpenLDAP.
//!
//! Each is started with a configuration of its own in a scratch folder, and ended with the test. A
//! test whose program is not installed skips itself.

use crate::daemon::system::{is_root, skip, succeeds, until};
use mailreeve::client::deadline::Deadline;
use mailreeve::client::dovecot_auth::Client;
use mailreeve::client::ldap_bind::Directory;
use mailreeve::client::stream::Place;
use mailreeve::client::{Fault, checkpassword, cvm, dovecot_auth, imap_login, ldap_bind};
use mailreeve::smtp::auth::Password;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(50))
}

/// A folder that everybody may read, as Dovecot's processes want it, and that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("checkers-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Scratch(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in which `DIR` stands for the folder.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text.replace("DIR", self.0.to_str().unwrap())).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// A server, ended with the test.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Server {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Server(quiet.spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        // It may have ended by itself; then the test has said so.
        let _gone = kill(pid, Signal::SIGTERM);
        let _status = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks until the server is up, then for right and wrong users and passwords.
fn judges(
    name: &str,
    ask: impl Fn(&str, &str) -> Result<bool, Fault>,
    rows: &[(&str, &str, bool)],
) {
    let (user, password, _) = rows[0];
    until(name, || ask(user, password).ok());
    for (user, password, expected) in rows {
        assert_eq!(ask(user, password), Ok(*expected), "{name}: {user} {password}");
    }
}

const CVM_USERS: &str = "tim:se cret:1000:1000:Tim:/tmp:/bin/sh\nzoë:pässwörd:1001:1001::/:/\n";

const CVM_ROWS: [(&str, &str, bool); 6] = [
    ("tim", "se cret", true),
    ("tim@example.com", "se cret", true),
    ("zoë", "pässwörd", true),
    ("tim", "se cre", false),
    ("tim", "se crets", false),
    ("tom", "se cret", false),
];

fn cvm_module(users: &Path, address: &str) -> Command {
    let mut command = Command::new("cvm-pwfile");
    command.env("CVM_PWFILE_PATH", users).env("CVM_PWFILE_PWCMP", "plain").arg(address);
    command
}

fn has_cvm(test: &str) -> bool {
    // Without a file of users it says no to everybody, with 6: its configuration is missing.
    let installed = Command::new("cvm-pwfile").stdin(Stdio::null()).output().is_ok();
    if !installed {
        skip(test, "cvm is not installed");
    }
    installed
}

#[test]
fn cvm_on_a_unix_socket_and_behind_checkpassword() {
    if !has_cvm("cvm_on_a_unix_socket_and_behind_checkpassword") {
        return;
    }
    let scratch = Scratch::new("cvm-local");
    let users = scratch.write("users", CVM_USERS);
    let socket = scratch.path("socket");
    let address = format!("cvm-local:{}", socket.display());
    let server = Server::start(&mut cvm_module(&users, &address));
    let ask = |user: &str, password: &str| {
        cvm::check(cvm::Module::Local(&socket), user, &Password::new(password), soon())
    };
    judges("cvm-local", ask, &CVM_ROWS);
    let check = |then: &str, user: &str, password: &str| {
        let program = Path::new("/usr/bin/cvm-checkpassword");
        checkpassword::check(program, &[&address, then], user, &Password::new(password), soon())
    };
    judges("cvm-checkpassword", |user, password| check("/bin/true", user, password), &CVM_ROWS);
    assert_eq!(check("/bin/false", "tim", "se cret"), Ok(false), "what comes then has a say");
    // Without its users the module has trouble, and that is no answer.
    fs::remove_file(&users).unwrap();
    assert!(ask("tim", "se cret").is_err());
    drop(server);
    assert!(ask("tim", "se cret").is_err());
    assert!(check("/bin/true", "tim", "se cret").is_err());
}

#[test]
fn cvm_as_a_program() {
    if !has_cvm("cvm_as_a_program") {
        return;
    }
    let scratch = Scratch::new("cvm-command");
    let users = scratch.write("users", CVM_USERS);
    let module = scratch.path("module");
    let text = format!(
        "#!/bin/sh\nCVM_PWFILE_PATH={} CVM_PWFILE_PWCMP=plain exec cvm-pwfile\n",
        users.display()
    );
    // Another process writes it: while we have it open, a new process of another test has so too,
    // and what is open for writing cannot be executed.
    let script = format!("cat >{0}; chmod 755 {0}", module.display());
    let mut writer =
        Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    let ask = |user: &str, password: &str| {
        cvm::check(cvm::Module::Command(&module), user, &Password::new(password), soon())
    };
    judges("cvm-command", ask, &CVM_ROWS);
    fs::remove_file(&users).unwrap();
    assert!(ask("tim", "se cret").is_err());
}

#[test]
fn cvm_over_udp() {
    if !has_cvm("cvm_over_udp") {
        return;
    }
    let scratch = Scratch::new("cvm-udp");
    let users = scratch.write("users", CVM_USERS);
    let port = free_port();
    let _server = Server::start(&mut cvm_module(&users, &format!("cvm-udp:127.0.0.1:{port}")));
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let ask = |user: &str, password: &str| {
        cvm::check(cvm::Module::Udp(address), user, &Password::new(password), soon())
    };
    judges("cvm-udp", ask, &CVM_ROWS);
}

/// Who is not in the file of users is asked of a program, which is in trouble with one of them. No
/// penalties: they would add up to a minute over a test.
const DOVECOT: &str = "base_dir = DIR/run
state_dir = DIR/run
log_path = DIR/log
protocols = imap
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
auth_username_chars =
default_internal_user = root
default_internal_group = root
default_login_user = nobody
first_valid_uid = 0
mail_location = maildir:DIR/mail/%u
passdb {
  driver = passwd-file
  args = scheme=PLAIN DIR/users
}
passdb {
  driver = checkpassword
  args = DIR/second
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=DIR/mail
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  chroot =
  inet_listener imap {
    address = 127.0.0.1
    port = PORT
  }
}
";

#[test]
fn dovecot_by_its_socket_and_by_imap() {
    const NAME: &str = "dovecot_by_its_socket_and_by_imap";
    if !succeeds("/usr/sbin/dovecot", &["--version"]) {
        return skip(NAME, "dovecot is not installed");
    }
    if !is_root() {
        return skip(NAME, "dovecot wants root");
    }
    let scratch = Scratch::new("dovecot");
    let port = free_port();
    let imap = Path::new("/usr/lib/dovecot/imap-login").exists();
    let protocols = if imap { "protocols = imap" } else { "protocols =" };
    let text = DOVECOT.replace("PORT", &port.to_string()).replace("protocols = imap", protocols);
    let config = scratch.write("dovecot.conf", &text);
    scratch.write("users", "tim:{PLAIN}secret\nzoë:{PLAIN}pä\"ss {3} wörd\n");
    let second =
        "#!/bin/sh\ncase $(tr '\\000' '|' <&3) in broken*) exit 111 ;; *) exit 1 ;; esac\n";
    let second = scratch.write("second", second);
    fs::set_permissions(second, Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(scratch.path("mail")).unwrap();
    fs::set_permissions(scratch.path("mail"), Permissions::from_mode(0o777)).unwrap();
    let server = Server::start(Command::new("/usr/sbin/dovecot").arg("-F").arg("-c").arg(config));
    let rows = [
        ("tim", "secret", true),
        ("zoë", "pä\"ss {3} wörd", true),
        ("tim", "Secret", false),
        ("tim", "secret ", false),
        ("tom", "secret", false),
        ("tim\" LOGOUT", "secret", false),
    ];
    let socket = scratch.path("run/auth-client");
    let client = Client { ip: "192.0.2.7".parse().unwrap(), local: None, secured: true };
    let ask = |user: &str, password: &str| {
        let place = Place::Unix(&socket);
        dovecot_auth::check(place, &client, user, &Password::new(password), soon())
    };
    judges("dovecot auth", ask, &rows);
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let login = |user: &str, password: &str| {
        imap_login::check(Place::Tcp(address), user, &Password::new(password), soon())
    };
    if imap {
        judges("dovecot imap", login, &rows);
    } else {
        skip(NAME, "dovecot-imapd is not installed, so only the socket was asked");
    }
    let fault = ask("broken", "secret").unwrap_err().to_string();
    assert!(fault.starts_with("Dovecot has trouble"), "{fault}");
    if imap {
        let fault = login("broken", "secret").unwrap_err().to_string();
        assert!(fault.starts_with("it cannot tell: [UNAVAILABLE]"), "{fault}");
    }
    drop(server);
    assert!(ask("tim", "secret").is_err() && login("tim", "secret").is_err());
}

const SLAPD: &str = "include /etc/ldap/schema/core.schema
pidfile DIR/pid
argsfile DIR/args
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
maxsize 10485760
suffix dc=example,dc=com
directory DIR/db
";

const ENTRIES: &str = "dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: uid=tim,dc=example,dc=com
objectClass: uidObject
objectClass: person
uid: tim
cn: Tim
sn: Taler
userPassword: se cret

dn: uid=tom,dc=example,dc=com
objectClass: uidObject
objectClass: person
uid: tom
cn: Tom
sn: Taler
";

#[test]
fn openldap() {
    if !succeeds("/usr/sbin/slapd", &["-VV"]) {
        return skip("openldap", "slapd is not installed");
    }
    let scratch = Scratch::new("slapd");
    let (config, entries) = (scratch.write("conf", SLAPD), scratch.write("ldif", ENTRIES));
    fs::create_dir(scratch.path("db")).unwrap();
    let (config, entries) = (config.to_str().unwrap(), entries.to_str().unwrap());
    assert!(succeeds("/usr/sbin/slapadd", &["-f", config, "-l", entries]));
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let url = format!("ldap://{address}");
    let server =
        Server::start(Command::new("/usr/sbin/slapd").args(["-f", config, "-h", &url, "-d", "0"]));
    let ask_for = |base: &str, attribute: &str, user: &str, password: &str| {
        let directory = Directory { place: Place::Tcp(address), base, attribute };
        ldap_bind::check(&directory, user, &Password::new(password), soon())
    };
    let ask = |user: &str, password: &str| ask_for("dc=example,dc=com", "uid", user, password);
    let rows = [
        ("tim", "se cret", true),
        ("tim", "se cre", false),
        ("tim", "", false),
        ("tom", "se cret", false),
        ("nobody", "se cret", false),
        ("*", "se cret", false),
        ("tim)(uid=*", "se cret", false),
    ];
    judges("slapd", ask, &rows);
    let fault = |base, attribute| ask_for(base, attribute, "Taler", "x").unwrap_err().to_string();
    assert_eq!(fault("dc=example,dc=com", "sn"), "several entries have this name");
    assert_eq!(fault("dc=example,dc=org", "uid"), "it cannot search: code 32");
    drop(server);
    assert!(ask("tim", "se cret").is_err());
}
