//! DKIM from the shell and through the daemon, with a name server on loopback, and judged by the
//! programs of others.

mod published;
mod server;

use crate::daemon::client::{Client, stuffed};
use crate::daemon::house::{BINARY, Daemon, House};
use crate::daemon::nameserver::{Has, Names};
use crate::daemon::system::{is_inside_netns, skip, succeeds};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const MESSAGE: &str = "From: Joe <joe@example.com>\nTo: b@example.net\nTo: c@example.net\n\
    Subject: Is dinner\n\tready?\nDate: Fri, 11 Jul 2003 21:00:37 -0700\nX-Odd:  two  blanks \n\n\
    Hi.\n\n  We lost the \t game.  \n.dot\n\n\n";

/// Runs the program with standard input; exit code, output, errors.
pub(crate) fn run(args: &[&str], input: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    pipe(Command::new(BINARY).args(args), input)
}

fn pipe(command: &mut Command, input: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _closed = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Makes a key in a folder; gives the text of the record to publish.
pub(crate) fn keygen(folder: &Path, selector: &str, more: &[&str]) -> String {
    let folder = folder.to_str().unwrap();
    let args = [&["dkim", "keygen", "--selector", selector], more, &[folder]].concat();
    let (code, output, errors) = run(&args, b"");
    assert_eq!(code, Some(0), "{errors}");
    let output = text(&output);
    let line = output.lines().last().unwrap();
    let (name, record) = line.split_once(" IN TXT ").unwrap();
    assert_eq!(name, format!("{selector}._domainkey"));
    record.split('"').filter(|part| !part.trim().is_empty()).collect()
}

pub(crate) fn sign(
    key: &Path,
    domain: &str,
    selector: &str,
    canon: &str,
    message: &[u8],
) -> Vec<u8> {
    let key = key.to_str().unwrap();
    let args = ["dkim", "sign", "--domain", domain, "--selector", selector, "--key", key];
    let (code, signed, errors) = run(&[&args[..], &["--canon", canon, "-"]].concat(), message);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    signed
}

/// Two keys, made by the program, and what serves their records.
struct Keys {
    house: House,
    records: [(String, String); 2],
}

impl Keys {
    fn new() -> Keys {
        let house = House::new();
        let make = |selector: &str, more: &[&str]| {
            let record = keygen(&house.path(selector), selector, more);
            (format!("{selector}._domainkey.example.com"), record)
        };
        let records = [make("rsa", &[]), make("ed", &["--ed25519"])];
        Keys { house, records }
    }

    fn key(&self, selector: &str) -> std::path::PathBuf {
        self.house.path(selector).join("private")
    }

    fn serve(&self, port: u16) -> Names {
        let record =
            |(name, text): &(String, String)| (name.clone(), Has::Texts(vec![text.clone()]));
        let mut names: Vec<(String, Has)> = self.records.iter().map(record).collect();
        names.push(("mute._domainkey.example.com".into(), Has::Fault));
        names.push(("loop._domainkey.example.com".into(), Has::Alias("l2.example.com".into())));
        names.push(("l2.example.com".into(), Has::Alias("loop._domainkey.example.com".into())));
        let names: Vec<(&str, Has)> =
            names.iter().map(|(name, has)| (&**name, has.clone())).collect();
        Names::serve(port, &names)
    }
}

fn verify(message: &[u8], names: &Names) -> (Option<i32>, String) {
    let (code, output, _) = run(&["dkim", "verify", "--resolver", &names.address(), "-"], message);
    (code, text(&output))
}

/// What we sign, in any form and with either line end, we verify; what was changed we do not.
#[test]
fn what_is_signed_is_verified() {
    let keys = Keys::new();
    let names = keys.serve(0);
    let crlf = MESSAGE.replace('\n', "\r\n");
    for selector in ["rsa", "ed"] {
        for canon in ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"] {
            for message in [MESSAGE, &crlf] {
                let signed =
                    sign(&keys.key(selector), "Example.com", selector, canon, message.as_bytes());
                assert!(signed.ends_with(message.as_bytes()));
                let field = text(&signed[..signed.len() - message.len()]);
                assert_eq!(field.contains('\r'), message.contains('\r'), "{field:?}");
                let good = format!("pass d=example.com s={selector} (good signature)\n");
                assert_eq!(verify(&signed, &names), (Some(0), good), "{canon}");
                let other = if message.contains('\r') {
                    text(&signed).replace("\r\n", "\n")
                } else {
                    text(&signed).replace('\n', "\r\n")
                };
                assert_eq!(verify(other.as_bytes(), &names).0, Some(0), "{canon}");
                let bad = text(&signed).replace("lost", "won");
                let (code, said) = verify(bad.as_bytes(), &names);
                assert_eq!(code, Some(1), "{said}");
                assert!(said.contains("(body has been altered)"), "{said}");
            }
        }
    }
}

/// Exit codes and lines of `dkim verify`, which `check dkim` prints too.
#[test]
fn results_are_told_from_the_shell() {
    let keys = Keys::new();
    let names = keys.serve(0);
    let (file, address) = (keys.house.path("message"), names.address());
    for (selector, code, expected) in [
        ("rsa", 0, "pass d=example.com s=rsa (good signature)\n"),
        ("none", 1, "permerror d=example.com s=none (public key: not available)\n"),
        ("mute", 75, "temperror d=example.com s=mute (public key: DNS failure)\n"),
        ("loop", 75, "temperror d=example.com s=loop (public key: DNS failure)\n"),
    ] {
        let signed = sign(&keys.key("rsa"), "example.com", selector, "relaxed", MESSAGE.as_bytes());
        fs::write(&file, &signed).unwrap();
        for command in [["dkim", "verify"], ["check", "dkim"]] {
            let file = file.to_str().unwrap();
            let args = [&command[..], &[file, "--resolver", &address]].concat();
            let (found, said, errors) = run(&args, b"");
            assert_eq!((found, text(&said).as_str()), (Some(code), expected), "{errors}");
        }
    }
    assert_eq!(verify(MESSAGE.as_bytes(), &names), (Some(1), "none\n".to_string()));
    for (args, code, words) in [
        (&["dkim", "verify", "/no/such/file"][..], 1, "/no/such/file: "),
        (&["dkim", "sign", "-"], 2, "dkim sign needs --domain D"),
        (&["dkim", "verify"], 2, "say what"),
        (&["dkim", "keygen"], 2, "say where"),
        (&["dkim", "keygen", "--bits", "1024", "/tmp/x"], 2, "use 2048, 3072 or 4096"),
        (&["dkim", "keygen", "--ed25519", "--bits", "2048", "/tmp/x"], 2, "has no --bits"),
        (&["dkim", "keygen", "--selector", "a..b", "/tmp/x"], 2, "is no selector"),
    ] {
        let (found, _, errors) = run(args, b"");
        assert_eq!(found, Some(code), "{errors}");
        assert!(errors.contains(words), "{words} in {errors}");
    }
}

/// Keys are files with modes, are never overwritten, and openssl finds nothing wrong with them.
#[test]
fn keys_are_made_once() {
    let house = House::new();
    let config = house.path("config");
    let config = config.to_str().unwrap();
    let keygen =
        |args: &[&str]| run(&[&["dkim", "keygen", "--config", config], args].concat(), b"");
    let (code, first, errors) = keygen(&["--default"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(text(&first).contains("default._domainkey IN TXT \"v=DKIM1; k=rsa; p="));
    let file = |name: &str| house.path("config/dkim").join(name);
    let before = fs::read(file("default/private")).unwrap();
    for (name, mode) in [("private", 0o400), ("selector", 0o644), ("public", 0o644)] {
        let found = fs::metadata(file("default").join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    assert_eq!(fs::read_dir(file("default")).unwrap().count(), 3, "no draft is left");
    let (code, _, errors) = keygen(&["--default"]);
    assert_eq!(code, Some(0));
    assert!(errors.contains("is there already and stays as it is"), "{errors}");
    assert_eq!(fs::read(file("default/private")).unwrap(), before);
    assert_eq!(keygen(&["--domain", "Example.com", "--bits", "3072"]).0, Some(0));
    assert_eq!(keygen(&["--domain", "example.com"]).0, Some(1), "it stays");
    assert_eq!(keygen(&["--domain", "example.com", "--ed25519"]).0, Some(0));
    assert_eq!(fs::read_to_string(file("example.com/selector")).unwrap(), "default\n");
    assert_eq!(fs::read_to_string(file("example.com/ed25519/selector")).unwrap(), "ed25519\n");

    house.set("plugins", "dkim\nrcpt_ok\nqueue/discard");
    let (code, output, _) = run(&["check-config", "--offline", "--config", config], b"");
    assert_eq!(code, Some(0), "{}", text(&output));
    assert!(text(&output).contains(": 0 errors, 0 warnings"), "{}", text(&output));

    if !succeeds("openssl", &["version"]) {
        return skip("dkim::keys_are_made_once", "openssl is not installed");
    }
    for name in ["default", "example.com"] {
        let (private, public) = (file(name).join("private"), file(name).join("public"));
        let private = private.to_str().unwrap();
        assert!(succeeds("openssl", &["rsa", "-in", private, "-check", "-noout"]), "{name}");
        let mut openssl = Command::new("openssl");
        let (_, theirs, _) = pipe(openssl.args(["rsa", "-in", private, "-pubout"]), b"");
        assert_eq!(text(&theirs), fs::read_to_string(public).unwrap());
    }
    let second = file("example.com/ed25519/private");
    let mut openssl = Command::new("openssl");
    let (_, theirs, _) =
        pipe(openssl.args(["pkey", "-in", second.to_str().unwrap(), "-pubout"]), b"");
    let ours = fs::read_to_string(file("example.com/ed25519/public")).unwrap();
    assert_eq!(text(&theirs), ours);
}

/// The records to publish, by both names of the command, and what is published of them.
#[test]
fn records_are_printed_and_compared() {
    let house = House::new();
    let config = house.path("config");
    let folder = config.to_str().unwrap();
    house.set("plugins", "dkim\nrcpt_ok\nqueue/discard");
    assert_eq!(run(&["dkim", "keygen", "--default", "--config", folder], b"").0, Some(0));
    let link = house.path("qpsmtpd-print-dns");
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    let (code, linked, errors) =
        pipe(Command::new(&link).env("QPSMTPD_CONFIG", folder).arg("Example.com."), b"");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (code, printed, _) = run(&["print-dns", "example.com", "--config", folder], b"");
    assert_eq!((code, text(&printed)), (Some(0), text(&linked)));
    let printed = text(&printed);
    assert!(printed.starts_with("Here are sample DNS entries"), "{printed}");
    assert_eq!(printed.lines().count(), 10, "{printed}");
    let (_, own, errors) = run(&["print-dns", "--config", folder], b"");
    assert!(text(&own).contains("dmarc-feedback@example.net"), "me is mx.example.net");
    assert!(errors.contains("warning: example.net is not hosted here"), "{errors}");

    let key = printed.lines().nth(6).unwrap().split_once(" IN TXT ").unwrap().1;
    let key: String = key.split('"').collect();
    let published = |key: &str| {
        Names::serve(
            0,
            &[
                ("default._domainkey.example.com", Has::Texts(vec![key.to_string()])),
                ("example.com", Has::Texts(vec!["x".to_string(), "v=spf1 mx -all".to_string()])),
                ("_dmarc.example.com", Has::Texts(vec!["v=DMARC1; p=none".to_string()])),
                ("mx.example.net", Has::Texts(Vec::new())),
            ],
        )
    };
    let ask = |command: &[&str], names: &Names| {
        let more = ["--config", folder, "--resolver", &names.address()];
        let (code, output, errors) = run(&[command, &more].concat(), b"");
        (code, text(&output), errors)
    };
    let good = published(&key);
    let (code, said, _) = ask(&["print-dns", "example.com", "--check"], &good);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("default._domainkey.example.com: published\n"), "{said}");
    assert!(said.contains("example.com: published: v=spf1 mx -all\n"), "{said}");
    let (code, said, errors) = ask(&["dkim", "status", "example.com"], &good);
    let expected = "example.com: signed with dkim/default; s=default 2048 bits, published\n";
    assert_eq!((code, said.as_str(), errors.as_str()), (Some(0), expected, ""));
    let (code, said, _) = ask(&["dkim", "status"], &good);
    assert_eq!(code, Some(1), "me has no record");
    assert!(said.contains("mx.example.net: signed with dkim/default; s=default 2048 bits, NOT"));

    let bad = published("v=DKIM1; p=");
    let (code, said, _) = ask(&["print-dns", "example.com", "--check"], &bad);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("published WRONGLY: public key: revoked"), "{said}");
    house.set("plugins", "rcpt_ok\nqueue/discard");
    let (code, _, errors) = ask(&["dkim", "status", "example.com", "example.org"], &bad);
    assert_eq!(code, Some(1));
    assert!(errors.contains("there is no line dkim"), "{errors}");
}

/// A daemon that signs for its own network: what lies in the Maildir verifies, small and large, and a
/// stranger's signed mail is judged with keys from a name server.
#[test]
fn the_daemon_signs_and_checks() {
    let keys = Keys::new();
    let house = &keys.house;
    let names = keys.serve(0);
    house.set("resolvers", &names.address());
    let copy = |selector: &str, to: &str| {
        let folder = house.path("config/dkim").join(to);
        fs::create_dir_all(&folder).unwrap();
        for name in ["private", "selector", "public"] {
            fs::copy(house.path(selector).join(name), folder.join(name)).unwrap();
        }
    };
    copy("rsa", "keys");
    copy("ed", "keys/ed25519");
    // As on SME Server: the domain's folder is a link, and the signature is in the domain's name.
    std::os::unix::fs::symlink("keys", house.path("config/dkim/example.com")).unwrap();
    house.set("relayclients", "127.0.0.1");
    let queue = house.path("Maildir");
    house.set("plugins", &format!("relay\ndkim\nrcpt_ok\nqueue/maildir {}", queue.display()));
    let daemon = house.start();
    let send = |daemon: &Daemon, message: &str| {
        let mut client = Client::connect(daemon.address());
        client.hello();
        client.expect("MAIL FROM:<joe@example.com>", "250");
        client.expect("RCPT TO:<b@example.com>", "250");
        client.expect("DATA", "354");
        client.send(stuffed(message.replace('\n', "\r\n").as_bytes()));
        let reply = client.reply();
        assert!(reply.starts_with("250"), "{reply}");
    };
    let mails = || {
        let mails = house.mails();
        for mail in fs::read_dir(queue.join("new")).unwrap() {
            fs::remove_file(mail.unwrap().path()).unwrap();
        }
        mails
    };
    let large = format!("{MESSAGE}{}", "a line of a large mail, with  two blanks\n".repeat(60_000));
    for message in [MESSAGE, &large] {
        send(&daemon, message);
        daemon.log.line("(seal) dkim: pass, we signed the message");
        let mails = mails();
        let (code, said) = verify(&mails[0], &names);
        let both = "pass d=example.com s=rsa (good signature)\n\
                    pass d=example.com s=ed (good signature)\n";
        assert_eq!((code, said.as_str()), (Some(0), both));
    }

    let asked = names.asked();
    send(&daemon, MESSAGE);
    assert_eq!(names.asked(), asked, "nobody is asked about a relay client's mail");
    mails();
    daemon.stop();
    house.set("relayclients", "192.0.2.1");
    house.set("plugins", &format!("dkim\nrcpt_ok\nqueue/maildir {}", queue.display()));
    let daemon = house.start();
    for (message, selector, expected) in [
        (MESSAGE, "rsa", "dkim=pass header.i=@example.com header.d=example.com header.s=rsa"),
        (&large, "ed", "dkim=pass header.i=@example.com header.d=example.com header.s=ed"),
        (MESSAGE, "loop", "dkim=temperror (public key: DNS failure) header.i=@example.com"),
    ] {
        let key = if selector == "ed" { "ed" } else { "rsa" };
        let signed =
            sign(&keys.key(key), "example.com", selector, "relaxed/relaxed", message.as_bytes());
        send(&daemon, &text(&signed));
        let mail = mails().remove(0);
        let unfolded = text(&mail[..mail.len().min(4_000)]).replace("\n ", " ");
        assert!(unfolded.contains(expected), "{expected} in {unfolded}");
    }
    daemon.stop();
}

/// Debian's python3-dkim: it verifies what we sign, and we verify what it signs.
#[test]
fn dkimpy_and_we_agree() {
    const TEST: &str = "dkim::dkimpy_and_we_agree";
    const PYTHON: &str = "/usr/bin/python3";
    if !succeeds(PYTHON, &["-c", "import dkim"]) {
        return skip(TEST, "python3-dkim is not installed");
    }
    let keys = Keys::new();
    let names = keys.serve(0);
    let judge = "import sys, dkim\n\
        records = {(sys.argv[i] + '.').encode(): sys.argv[i + 1].encode() for i in (1, 3)}\n\
        message = sys.stdin.buffer.read()\n\
        look = lambda name, timeout=5: records.get(name if isinstance(name, bytes) else name.encode())\n\
        sys.exit(0 if dkim.verify(message, dnsfunc=look) else 1)\n";
    let signer = "import sys, dkim\n\
        message = sys.stdin.buffer.read()\n\
        kind, header, body = (it.encode() for it in sys.argv[1:4])\n\
        key = open(sys.argv[4], 'rb').read()\n\
        field = dkim.sign(message, b'rsa', b'example.com', key, canonicalize=(header, body),\n\
            signature_algorithm=kind)\n\
        sys.stdout.buffer.write(field + message)\n";
    let crlf = MESSAGE.replace('\n', "\r\n");
    for header in ["simple", "relaxed"] {
        for body in ["simple", "relaxed"] {
            let canon = format!("{header}/{body}");
            for selector in ["rsa", "ed"] {
                let signed =
                    sign(&keys.key(selector), "example.com", selector, &canon, crlf.as_bytes());
                let mut python = Command::new(PYTHON);
                python.args(["-c", judge]);
                for (name, record) in &keys.records {
                    python.args([name, record]);
                }
                let (code, _, errors) = pipe(&mut python, &signed);
                assert_eq!(code, Some(0), "{selector} {canon}: {errors}");
            }
            // Their reader of keys wants PKCS#1, or PKCS#8 under the same name.
            let key = keys.key("rsa");
            let args = ["-c", signer, "rsa-sha256", header, body, key.to_str().unwrap()];
            let (code, signed, errors) = pipe(Command::new(PYTHON).args(args), crlf.as_bytes());
            assert_eq!(code, Some(0), "{errors}");
            let good = "pass d=example.com s=rsa (good signature)\n".to_string();
            assert_eq!(verify(&signed, &names), (Some(0), good), "{canon}");
        }
    }
}

/// Debian's opendkim-tools, which asks the system's name server: in a network of its own.
#[test]
fn opendkim_and_we_agree() {
    const TEST: &str = "dkim::opendkim_and_we_agree";
    let program = "/usr/sbin/opendkim-testmsg";
    if !Path::new(program).exists() {
        return skip(TEST, "opendkim-tools is not installed");
    }
    if !is_inside_netns(TEST) {
        return;
    }
    let keys = Keys::new();
    let names = keys.serve(53);
    // It takes no message with two To fields, and makes CR LF of LF itself.
    let message = MESSAGE.replacen("To: c@example.net\n", "", 1);
    // It knows no Ed25519 on Debian 12.
    for canon in ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"] {
        let signed = sign(&keys.key("rsa"), "example.com", "rsa", canon, message.as_bytes());
        let (code, output, errors) = pipe(&mut Command::new(program), &signed);
        assert_eq!((code, text(&output).as_str(), errors.as_str()), (Some(0), "", ""), "{canon}");
        let bad = text(&signed).replace("lost", "won");
        let (code, _, errors) = pipe(&mut Command::new(program), bad.as_bytes());
        assert!(code != Some(0) || !errors.is_empty(), "it judges at all");
    }
    let key = keys.key("rsa");
    let args = ["-d", "example.com", "-s", "rsa", "-k", key.to_str().unwrap()];
    let (code, signed, errors) = pipe(Command::new(program).args(args), message.as_bytes());
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    // It signs with SHA-1 and cannot be told otherwise; RFC 8301 forbids us to accept that.
    let refused = "permerror d=example.com s=rsa (rsa-sha1 is not accepted, by policy)\n";
    assert_eq!(verify(&signed, &names), (Some(1), refused.to_string()), "{}", text(&signed));
}

/// Debian's libmail-dkim-perl, which qpsmtpd uses: in a network of its own, as above.
#[test]
fn mail_dkim_and_we_agree() {
    const TEST: &str = "dkim::mail_dkim_and_we_agree";
    if !succeeds("perl", &["-MMail::DKIM::Verifier", "-MMail::DKIM::Signer", "-e", "1"]) {
        return skip(TEST, "libmail-dkim-perl is not installed");
    }
    if !is_inside_netns(TEST) {
        return;
    }
    let keys = Keys::new();
    let names = keys.serve(53);
    let verifier = "use Mail::DKIM::Verifier; my $v = Mail::DKIM::Verifier->new; \
        while (<STDIN>) { $v->PRINT($_) } $v->CLOSE; print $v->result_detail";
    let signer = "use Mail::DKIM::Signer; my $m = join '', <STDIN>; my $s = Mail::DKIM::Signer->new(\
        Algorithm => 'rsa-sha256', Method => $ARGV[0], Domain => 'example.com', \
        Selector => 'rsa', KeyFile => $ARGV[1]); $s->PRINT($m); $s->CLOSE; \
        print $s->signature->as_string, qq(\\r\\n), $m";
    let crlf = MESSAGE.replace('\n', "\r\n");
    let key = keys.key("rsa");
    for canon in ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"] {
        let signed = sign(&key, "example.com", "rsa", canon, crlf.as_bytes());
        let (_, said, errors) = pipe(Command::new("perl").args(["-e", verifier]), &signed);
        assert_eq!((text(&said).as_str(), errors.as_str()), ("pass", ""), "{canon}");
        let args = ["-e", signer, canon, key.to_str().unwrap()];
        let (code, signed, errors) = pipe(Command::new("perl").args(args), crlf.as_bytes());
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        let good = "pass d=example.com s=rsa (good signature)\n".to_string();
        assert_eq!(verify(&signed, &names), (Some(0), good), "{canon}");
    }
}
