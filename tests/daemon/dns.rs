//! The daemon with a real name server: Debian's unbound, on loopback, with zones of the test's own.

use crate::daemon::client::{Client, small, stuffed};
use crate::daemon::house::{BINARY, House};
use crate::daemon::system::{skip, until};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One list that works, one that lists everybody, one that answers whom it does not serve.
const ZONES: &str = "
local-zone: \"net.\" static
local-zone: \"org.\" static
local-zone: \"bl.example.\" static
local-data: '2.0.0.127.bl.example. A 127.0.0.2'
local-data: '5.0.0.127.bl.example. A 127.0.0.4'
local-data: '5.0.0.127.bl.example. TXT \"see http://bl.example/\"'
local-zone: \"dead.example.\" redirect
local-data: 'dead.example. A 127.0.0.2'
local-zone: \"blocked.example.\" redirect
local-data: 'blocked.example. A 127.255.255.254'
local-zone: \"moody.example.\" static
local-data: '2.0.0.127.moody.example. A 127.0.0.2'
local-data: '6.0.0.127.moody.example. A 127.255.255.255'
local-data: '7.0.0.127.moody.example. A 127.255.255.255'
local-zone: \"names.example.\" static
local-data: 'test.names.example. A 127.0.1.2'
local-data: 'spam.example.names.example. A 127.0.1.2'
local-zone: \"all-names.example.\" redirect
local-data: 'all-names.example. A 127.0.1.2'
local-zone: \"good.example.\" static
local-data: 'good.example. MX 10 mail.good.example.'
local-data: 'mail.good.example. A 203.0.113.25'
local-zone: \"gone.example.\" static
local-zone: \"uri.example.\" static
local-data: 'bad.co.uk.uri.example. A 127.0.0.72'
local-data: 'bad.co.uk.uri.example. TXT \"a bad site\"'
local-data: 'odd.com.uri.example. A 127.0.0.2'
local-zone: \"spf.example.\" static
local-data: 'spf.example. TXT \"v=spf1 ip4:127.0.0.7 \" \"mx:foo:bar/baz.spf.example ptr -all exp=why.spf.example\"'
local-data: 'why.spf.example. TXT \"%{i} may not send for %{o}\"'
local-data: 'foo\\058bar/baz.spf.example. MX 10 foo\\058bar/baz.spf.example.'
local-data: 'foo\\058bar/baz.spf.example. A 203.0.113.9'
local-data: 'mail.spf.example. A 10.0.0.9'
local-data: '9.0.0.10.in-addr.arpa. PTR mail.spf.example.'
local-data: 'broken.spf.example. TXT \"v=spf1 moo\"'
local-zone: \"refused.example.\" always_refuse
";

struct Unbound(Child);

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The name server of a provider who answers for names that do not exist.
const REWRITING: &str = "
local-zone: \".\" redirect
local-data: '. A 93.184.216.34'
local-zone: \"bl.example.\" static
local-data: '2.0.0.127.bl.example. A 127.0.0.2'
local-data: '5.0.0.127.bl.example. A 127.0.0.4'
local-zone: \"good.example.\" static
local-data: 'good.example. MX 10 mail.good.example.'
local-data: 'mail.good.example. A 203.0.113.25'
";

/// Starts unbound and waits until it answers; None where it is not installed.
fn unbound(house: &House, zones: &str) -> Option<(Unbound, u16)> {
    fs::create_dir_all(house.path("unbound")).unwrap();
    let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
    asker.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // A question for good.example, type MX, by hand.
    let question = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x04good\x07example\0\0\x0f\0\x01";
    loop {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = spawn(house, zones, port)?;
        let answers = until("unbound to answer", || {
            // Somebody else may have taken the port meanwhile.
            if server.0.try_wait().unwrap().is_some() {
                return Some(false);
            }
            asker.send_to(question, ("127.0.0.1", port)).ok()?;
            asker.recv(&mut [0; 512]).ok().map(|_| true)
        });
        if answers {
            return Some((server, port));
        }
    }
}

fn spawn(house: &House, zones: &str, port: u16) -> Option<Unbound> {
    let folder = house.path("unbound");
    let settings = format!(
        "server:\ninterface: 127.0.0.1\nport: {port}\naccess-control: 127.0.0.0/8 allow\n\
         so-reuseport: no\ndo-daemonize: no\nchroot: \"\"\nusername: \"\"\ndirectory: \"{0}\"\n\
         pidfile: \"\"\nuse-syslog: no\nlogfile: \"{0}/log\"\nmodule-config: iterator\n\
         num-threads: 1\n{zones}\nremote-control:\ncontrol-enable: no\n",
        folder.display()
    );
    let file = folder.join("unbound.conf");
    fs::write(&file, settings).unwrap();
    let program = ["/usr/sbin/unbound", "unbound"].into_iter().find_map(|program| {
        let mut command = Command::new(program);
        command.arg("-d").arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().ok()
    });
    program.map(Unbound)
}

fn from(source: [u8; 4], to: SocketAddr) -> Client {
    let source = SocketAddr::new(IpAddr::from(source), 0);
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(source)).unwrap();
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    Client::over(TcpStream::from(fd))
}

/// A listed client hears so at RCPT, with the list's own words; postmaster hears him all the same; a
/// sender's domain that does not exist is told from one that does; and lists that are dead, or answer
/// with error codes, refuse nobody and are named in the log.
#[test]
fn a_real_name_server_answers() {
    let house = House::new();
    let Some((_unbound, port)) = unbound(&house, ZONES) else {
        return skip("dns::a_real_name_server_answers", "unbound is not installed");
    };
    house.set("resolvers", &format!("127.0.0.1:{port}"));
    house.set("dnsbl_zones", "bl.example\ndead.example\nblocked.example");
    let queue = house.path("Maildir");
    house.set(
        "plugins",
        &format!(
            "logging/logterse\ndnsbl reject 1\nresolvable_fromhost reject 1 reject_type perm\n\
             rcpt_ok\nqueue/maildir {}",
            queue.display()
        ),
    );
    let daemon = house.start();
    daemon.log.line("dead.example: it lists everybody: it looks dead");
    daemon.log.line("blocked.example: asked through a public resolver");

    let mut listed = from([127, 0, 0, 5], daemon.address());
    listed.hello();
    listed.expect("MAIL FROM:<a@good.example>", "250");
    let reply = listed.expect("RCPT TO:<b@example.com>", "550");
    assert!(reply.starts_with("550 5.7.1 (dnsbl) see http://bl.example/ ["), "{reply}");
    listed.expect("RCPT TO:<postmaster@example.com>", "250");
    daemon.log.line("naughty\t901\t(dnsbl) see http://bl.example/");

    let mut clean = from([127, 0, 0, 6], daemon.address());
    clean.hello();
    clean.expect("MAIL FROM:<a@gone.example>", "550 5.1.8");
    clean.expect("MAIL FROM:<a@good.example>", "250");
    clean.expect("RCPT TO:<b@example.com>", "250");
    clean.expect("DATA", "354");
    clean.send(stuffed(&small("clean")));
    assert!(clean.reply().starts_with("250"));
    assert_eq!(house.mails().len(), 1);
    drop((listed, clean));
    daemon.stop();
}

/// Lists are known by their test entries, those of names too; what is wrong with one is said once,
/// however many mails meet it, and none of them is refused for it.
#[test]
fn a_list_in_error_is_named_once() {
    let house = House::new();
    let Some((_unbound, port)) = unbound(&house, ZONES) else {
        return skip("dns::a_list_in_error_is_named_once", "unbound is not installed");
    };
    house.set("resolvers", &format!("127.0.0.1:{port}"));
    house.set("dnsbl_zones", "moody.example\nbl.example\ngone.example");
    house.set("rhsbl_zones", "all-names.example\nnames.example");
    house.set("plugins", "dnsbl\nrhsbl\nrcpt_ok\nqueue/discard");
    let daemon = house.start();
    daemon.log.line("all-names.example: it lists everybody: it looks dead: not asked until");
    daemon.log.line("gone.example: its test entry is not listed: it looks dead");
    for address in [6, 7, 6, 7] {
        let mut client = from([127, 0, 0, address], daemon.address());
        client.hello();
        client.expect("MAIL FROM:<a@good.example>", "250");
        client.expect("RCPT TO:<b@example.com>", "250");
        client.expect("RSET", "250");
        client.expect("MAIL FROM:<a@spam.example>", "550 5.7.1 Mail from spam.example rejected");
        client.expect("QUIT", "221");
    }
    let bench = "moody.example: it answers 127.255.255.255: too many questions: not asked for five";
    daemon.log.line(bench);
    daemon.log.line("dnsbl: error, moody.example answers with an error code (127.255.255.255: too");
    daemon.log.nth("closing connection", 4);
    assert_eq!(daemon.log.count("moody.example"), 2, "{:#?}", daemon.log.lines());
    assert_eq!(daemon.log.count("all-names.example"), 1);
    daemon.signal(Signal::SIGUSR2);
    let state = daemon.log.line("state: DNS: ");
    let left_alone = "; all-names.example is left alone: it lists everybody: it looks dead; \
                      moody.example is left alone: it answers 127.255.255.255: too many questions";
    assert!(state.ends_with(left_alone), "{state}");
    daemon.stop();
}

/// A provider's name server that answers for names that do not exist is found out at start: sender
/// domains do not exist by its grace, and the lists go on working.
#[test]
fn a_name_server_that_makes_names_up_is_found_out() {
    let house = House::new();
    let Some((_unbound, port)) = unbound(&house, REWRITING) else {
        return skip("dns::a_name_server_that_makes_names_up", "unbound is not installed");
    };
    house.set("resolvers", &format!("127.0.0.1:{port}"));
    house.set("dnsbl_zones", "bl.example\ngone.example");
    house.set("plugins", "dnsbl\nresolvable_fromhost\nrcpt_ok\nqueue/discard");
    let daemon = house.start();
    daemon.log.line("the name servers answer 93.184.216.34 for names that do not exist");
    // The lists are probed behind that.
    daemon.log.line("gone.example: its test entry is not listed: it looks dead");
    let mut clean = from([127, 0, 0, 6], daemon.address());
    clean.hello();
    clean.expect("MAIL FROM:<a@no-such-domain.example>", "450 4.1.8 FQDN required");
    clean.expect("MAIL FROM:<a@good.example>", "250");
    clean.expect("RCPT TO:<b@example.com>", "250");
    let mut listed = from([127, 0, 0, 5], daemon.address());
    listed.hello();
    listed.expect("MAIL FROM:<a@good.example>", "250");
    listed.expect("RCPT TO:<b@example.com>", "550 5.7.1 (dnsbl) listed in bl.example");
    assert_eq!(daemon.log.count("93.184.216.34"), 1, "{:#?}", daemon.log.lines());
    daemon.signal(Signal::SIGUSR2);
    daemon.log.line("; 93.184.216.34 is not believed");
    drop((clean, listed));
    daemon.stop();
}

/// The same questions from the shell: what each list says, and what a HELO name would come to.
#[test]
fn names_and_addresses_are_checked_from_the_shell() {
    let house = House::new();
    let Some((_unbound, port)) = unbound(&house, ZONES) else {
        return skip("dns::names_and_addresses_are_checked", "unbound is not installed");
    };
    house.set("dnsbl_zones", "bl.example\nblocked.example");
    house.set("plugins", "dnsbl\nhelo policy rfc\nrcpt_ok\nqueue/discard");
    let check = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.arg("check").args(args).arg("--config").arg(house.path("config"));
        let output = command.arg("--resolver").arg(format!("127.0.0.1:{port}")).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let blocked = "blocked.example: an error of the list, not a listing: 127.255.255.254: asked \
                   through a public resolver\n";
    for (ip, code, words) in [
        ("127.0.0.5", 1, "LISTED (127.0.0.4) see http://bl.example/"),
        ("127.0.0.6", 0, "not listed"),
    ] {
        let (status, said) = check(&["dns-lists", ip]);
        assert_eq!((status, said), (Some(code), format!("bl.example: {words}\n{blocked}")));
    }
    let (status, said) = check(&["helo", "gone.example", "--ip", "203.0.113.25"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.ends_with("fail\n"), "{said}");
    let (status, _) = check(&["helo", "localhost"]);
    assert_eq!(status, Some(2), "--ip is missing");
}

/// Where a message leads, and which lists have it.
#[test]
fn uris_are_checked_from_the_shell() {
    let house = House::new();
    let Some((_unbound, port)) = unbound(&house, ZONES) else {
        return skip("dns::uris_are_checked_from_the_shell", "unbound is not installed");
    };
    house.set("uribl_zones", "uri.example:8-16-64-128\nblocked.example");
    house.set("uribl_whitelist_domains", "good.com");
    let file = house.path("message");
    let check = |text: &str| {
        fs::write(&file, format!("Subject: x\n\n{text}\n")).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["check", "uri"]).arg(&file).arg("--config").arg(house.path("config"));
        let output = command.arg("--resolver").arg(format!("127.0.0.1:{port}")).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let blocked = "an error of the list, not a listing: blocked.example answers with an error code \
                   (127.255.255.254: asked through a public resolver)\n";
    for (text, code, said, blocked) in [
        (
            "http://www.bad.co.uk/ http://www.good.com/",
            1,
            "bad.co.uk: LISTED in uri.example (127.0.0.72) a bad site\n\
             good.com: not asked about: in uribl_whitelist_domains\n",
            blocked,
        ),
        ("http://odd.com/", 0, "odd.com: not listed\n", blocked),
        ("text", 0, "the message leads nowhere\n", ""),
    ] {
        assert_eq!(check(text), (Some(code), format!("{said}{blocked}")), "{text}");
    }
}

/// SPF with real questions and answers: from the shell, with names that only a macro or a strange MX record
/// makes and reverse zones that the daemon itself never asks for; and in the daemon.
#[test]
fn spf_by_a_real_name_server() {
    let house = House::new();
    let Some((_unbound, port)) = unbound(&house, ZONES) else {
        return skip("dns::spf_by_a_real_name_server", "unbound is not installed");
    };
    let resolver = format!("127.0.0.1:{port}");
    let check = |ip: &str, helo: &str, sender: &str| {
        let mut command = Command::new(BINARY);
        command.args(["check", "spf", "--resolver", &resolver, "--ip", ip]);
        command.args(["--helo", helo, "--mail-from", sender]).stdin(Stdio::null());
        command.env_remove("MAILREEVE_CONFIG").env_remove("QPSMTPD_CONFIG");
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text.lines().map(str::to_string).collect::<Vec<_>>())
    };
    for (ip, helo, sender, code, result) in [
        ("127.0.0.7", "h.example", "u@spf.example", 0, "pass"),
        ("::ffff:127.0.0.7", "h.example", "<u@spf.example>", 0, "pass"),
        ("203.0.113.9", "h.example", "u@spf.example", 0, "pass"),
        ("10.0.0.9", "h.example", "u@spf.example", 0, "pass"),
        ("127.0.0.8", "h.example", "u@spf.example", 1, "fail"),
        ("127.0.0.7", "spf.example", "", 0, "pass"),
        ("127.0.0.8", "spf.example", "<>", 1, "fail"),
        ("127.0.0.8", "h.example", "u@gone.example", 0, "none"),
        ("127.0.0.8", "h.example", "u@broken.spf.example", 1, "permerror"),
        ("127.0.0.8", "h.example", "u@refused.example", 75, "temperror"),
    ] {
        let (found, lines) = check(ip, helo, sender);
        let first = lines.first().map(String::as_str);
        assert_eq!((found, first), (Some(code), Some(result)), "{ip} {helo} {sender} {lines:?}");
    }
    let (_, lines) = check("127.0.0.8", "h.example", "u@spf.example");
    assert_eq!(
        lines[1..],
        [
            "127.0.0.8 may not send for spf.example",
            "spf.example: Sender is not authorized by default to use 'u@spf.example' in 'mfrom' \
             identity (mechanism '-all' matched)",
            "  spf.example ip4:127.0.0.7: no match",
            "  spf.example mx:foo:bar/baz.spf.example: no match",
            "  spf.example ptr: no match",
            "  spf.example -all: fail",
        ]
    );

    house.set("resolvers", &resolver);
    let queue = house.path("Maildir");
    let plugins =
        format!("sender_permitted_from reject 3\nrcpt_ok\nqueue/maildir {}", queue.display());
    house.set("plugins", &plugins);
    let daemon = house.start();
    let mut wrong = from([127, 0, 0, 8], daemon.address());
    wrong.hello();
    let reply = wrong.expect("MAIL FROM:<u@spf.example>", "550");
    assert!(reply.starts_with("550 5.7.23 The domain spf.example "), "{reply}");
    assert!(reply.contains("explains: 127.0.0.8 may not send for spf.example ["), "{reply}");
    let mut right = from([127, 0, 0, 7], daemon.address());
    right.hello();
    right.expect("MAIL FROM:<u@spf.example>", "250");
    right.expect("RCPT TO:<b@example.com>", "250");
    right.expect("DATA", "354");
    right.send(stuffed(&small("right")));
    assert!(right.reply().starts_with("250"));
    let mails = house.mails();
    let mail = String::from_utf8_lossy(&mails[0]);
    assert!(mail.contains("smtp.mailfrom=spf.example\n"), "{mail}");
    assert!(mail.contains("Received-SPF: pass (spf.example: 127.0.0.7 is authorized"), "{mail}");
    drop((wrong, right));
    daemon.stop();
}
