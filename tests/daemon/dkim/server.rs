//! Keys and records for the domains of SME Server's databases.

use super::{pipe, text};
use crate::daemon::house::{BINARY, House};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

/// A config folder, and databases beside it.
struct Server {
    house: House,
}

impl Server {
    fn new(databases: &[(&str, &str)]) -> Server {
        let house = House::new();
        fs::create_dir(house.path("db")).unwrap();
        for (name, records) in databases {
            fs::write(house.path("db").join(name), records).unwrap();
        }
        Server { house }
    }

    /// Exit code, output, errors.
    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(BINARY);
        command.args(args).env("ESMITH_DB", self.house.path("db"));
        let (code, output, errors) =
            pipe(command.env("MAILREEVE_CONFIG", self.house.path("config")), b"");
        (code, text(&output), errors)
    }
}

/// Every record of type domain gets a key of its own, unless it has one, and one fault keeps none of the
/// others from having one.
#[test]
fn keys_of_all_domains() {
    let server = Server::new(&[(
        "domains",
        "# hosted here\nb.example=domain|DKIMSigning|disabled\nbad..example=domain\n\
         a.example=domain\nlinked.example=domain\nother.example=virtual\ndefault=domain\n",
    )]);
    let file = |name: &str| server.house.path("config/dkim").join(name);
    assert_eq!(server.run(&["dkim", "keygen", "--default"]).0, Some(0));
    // As on SME Server: this domain has the common key on purpose.
    symlink("default", file("linked.example")).unwrap();

    let (code, output, errors) = server.run(&["dkim", "keygen", "--all", "--selector", "s1"]);
    assert_eq!(code, Some(1), "two cannot have one: {errors}");
    for name in ["bad..example", "default"] {
        let line = format!("mailreeve dkim: {name}: that is no domain\n");
        assert!(errors.contains(&line), "{line} in {errors}");
    }
    assert!(errors.contains("linked.example/private is there already and stays"), "{errors}");
    let mut records = Vec::new();
    for name in ["a.example", "b.example"] {
        let start = format!("s1._domainkey.{name}. IN TXT \"v=DKIM1; k=rsa; p=");
        records.extend(output.lines().filter(|line| line.starts_with(&start)).map(str::to_string));
        let private = file(name).join("private");
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(fs::read_to_string(file(name).join("selector")).unwrap(), "s1\n");
    }
    assert_eq!((records.len(), output.lines().count()), (2, 4), "{output}");
    assert_ne!(fs::read(file("a.example/public")).ok(), fs::read(file("b.example/public")).ok());
    let mut folders: Vec<String> = fs::read_dir(file(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort_unstable();
    assert_eq!(folders, ["a.example", "b.example", "default", "linked.example"]);

    let before = fs::read(file("a.example/private")).unwrap();
    let (code, output, _) = server.run(&["dkim", "keygen", "--all", "--selector", "s1"]);
    assert_eq!((code, output.as_str()), (Some(1), ""), "a second time makes nothing");
    assert_eq!(fs::read(file("a.example/private")).unwrap(), before);

    fs::write(server.house.path("db/domains"), "a.example=domain\n").unwrap();
    let (code, output, errors) = server.run(&["dkim", "keygen", "--all", "--ed25519"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(output.contains("ed25519._domainkey.a.example. IN TXT \"v=DKIM1; k=ed25519; p="));
    assert!(file("a.example/ed25519/private").is_file());
}

#[test]
fn where_there_are_no_domains_nothing_is_made() {
    let server = Server::new(&[("domains", "a.example=virtual\n")]);
    let (code, _, errors) = server.run(&["dkim", "keygen", "--all"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("db/domains: there is no record of type domain"), "{errors}");
    let all = ["dkim", "keygen", "--all"];
    for more in [&["--default"][..], &["--domain", "a.example"], &["/tmp/x"]] {
        let (code, _, errors) = server.run(&[&all[..], more].concat());
        assert_eq!(code, Some(2), "{more:?}");
        assert!(errors.contains("say where: one of"), "{errors}");
    }
    assert!(!server.house.path("config/dkim").exists());
}

/// Without a domain the records are those of the server's own one.
#[test]
fn the_domain_of_the_server() {
    for (records, expected, warning) in [
        ("DomainName=Own.example\nSystemName=mail\n", "own.example", ""),
        // `me` is mx.example.net.
        ("SystemName=mail\n", "example.net", ""),
        ("DomainName=\n", "example.net", ""),
        ("DomainName=no..domain\n", "example.net", "DomainName 'no..domain' is none"),
    ] {
        let server = Server::new(&[("configuration", records)]);
        assert_eq!(server.run(&["dkim", "keygen", "--default"]).0, Some(0));
        let (code, output, errors) = server.run(&["print-dns"]);
        assert_eq!(code, Some(0), "{errors}");
        let line = format!("rua=mailto:dmarc-feedback@{expected};");
        assert!(output.contains(&line), "{records}: {output}");
        assert!(errors.contains(warning), "{errors}");
        let (_, named, _) = server.run(&["print-dns", "named.example"]);
        assert!(named.contains("dmarc-feedback@named.example;"), "{named}");
    }
    let server = Server::new(&[]);
    fs::create_dir(server.house.path("db/configuration")).unwrap();
    assert_eq!(server.run(&["dkim", "keygen", "--default"]).0, Some(0));
    let (code, output, errors) = server.run(&["print-dns"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("db/configuration: "), "{errors}");
    assert!(output.contains("dmarc-feedback@example.net;"), "{output}");
}
