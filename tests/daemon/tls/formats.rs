//! Keys and certificates in every form that authorities, openssl and panels write.

use super::keys::{believer_of_root, certify, has_openssl, make_authority, openssl};
use crate::daemon::client::{Client, small};
use crate::daemon::house::{BINARY, House};
use std::fs;
use std::process::Command;

/// What makes a key of each kind; the first line of its file tells the form.
const KEYS: [(&str, &str, &str); 9] = [
    ("rsa2048-pkcs1", "genrsa -traditional -out KEY 2048", "-----BEGIN RSA PRIVATE KEY-----"),
    ("rsa2048-pkcs8", "genrsa -out KEY 2048", "-----BEGIN PRIVATE KEY-----"),
    ("rsa3072-pkcs1", "genrsa -traditional -out KEY 3072", "-----BEGIN RSA PRIVATE KEY-----"),
    (
        "rsa3072-pkcs8",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out KEY",
        "-----BEGIN PRIVATE KEY-----",
    ),
    (
        "p256-sec1",
        "ecparam -name prime256v1 -genkey -noout -out KEY",
        "-----BEGIN EC PRIVATE KEY-----",
    ),
    // The parameters stand in front of the key, as openssl writes it unless it is told not to.
    (
        "p384-sec1-parameters",
        "ecparam -name secp384r1 -genkey -out KEY",
        "-----BEGIN EC PARAMETERS-----",
    ),
    (
        "p256-pkcs8",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY",
        "-----BEGIN PRIVATE KEY-----",
    ),
    (
        "p384-pkcs8",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out KEY",
        "-----BEGIN PRIVATE KEY-----",
    ),
    ("ed25519-pkcs8", "genpkey -algorithm ed25519 -out KEY", "-----BEGIN PRIVATE KEY-----"),
];

/// Delivers under TLS to a new daemon in that house, by a client that believes our root only: the chain
/// has to be complete.
fn delivers(house: &House, what: &str) {
    let daemon = house.start();
    let mut client = daemon.client();
    client.starttls(&believer_of_root(house));
    assert!(client.deliver(&small(what)).starts_with("250"), "{what}");
    client.expect("QUIT", "221");
    client.ended();
    assert_eq!(house.take_mails().len(), 1, "{what}");
    daemon.stop();
}

#[test]
fn every_kind_of_key_serves() {
    if !has_openssl("tls::formats::every_kind_of_key_serves") {
        return;
    }
    let house = House::new();
    make_authority(&house);
    for (name, command, first_line) in KEYS {
        openssl(&house, &command.replace("KEY", &format!("{name}.key")));
        let key = fs::read_to_string(house.path(&format!("{name}.key"))).unwrap();
        assert!(key.starts_with(first_line), "{name}: {key}");
        certify(&house, name, 30);
        house.set("tls_cert", &format!("{name}.crt"));
        house.set("tls_key", &house.path(&format!("{name}.key")).display().to_string());
        delivers(&house, name);
    }
}

/// SME Server writes key, certificate and CA into one file, which its qpsmtpd names three times from
/// the folder that it starts in: the one above the config folder.
#[test]
fn one_file_with_everything_serves() {
    if !has_openssl("tls::formats::one_file_with_everything_serves") {
        return;
    }
    let house = House::new();
    make_authority(&house);
    openssl(&house, "genrsa -out mx.key 2048");
    certify(&house, "mx", 30);
    let read = |name: &str| fs::read_to_string(house.path(name)).unwrap();
    fs::create_dir(house.path("ssl")).unwrap();
    let plugins = format!("rcpt_ok\nqueue/maildir {}", house.path("Maildir").display());
    let tls = "tls ssl/cert.pem ssl/cert.pem ssl/cert.pem\n";
    for (what, text) in [
        ("key first", read("mx.key") + &read("mx.crt")),
        ("key last", read("mx.crt") + &read("mx.key")),
        ("with line ends of Windows", (read("mx.key") + &read("mx.crt")).replace('\n', "\r\n")),
        (
            "with words between them",
            format!(
                "Bag Attributes\n    friendlyName: x\n{}\nKey:\n{}",
                read("mx.crt"),
                read("mx.key")
            ),
        ),
    ] {
        fs::write(house.path("ssl/cert.pem"), text).unwrap();
        house.set("plugins", &(tls.to_string() + &plugins));
        delivers(&house, what);
    }
    // Whoever checks it stands anywhere.
    for (place, config) in [("", "config"), ("config", "."), ("ssl", "../config")] {
        let mut check = Command::new(BINARY);
        check.args(["check-config", "--config", config]).current_dir(house.path(place));
        let said = String::from_utf8(check.output().unwrap().stdout).unwrap();
        assert!(said.contains(": 0 errors, 0 warnings"), "{config}: {said}");
    }
    // Our own setting, without a key's.
    house.set("plugins", &plugins);
    house.set("tls_cert", "ssl/cert.pem");
    delivers(&house, "tls_cert alone");
}

/// Several names, each with its own certificate.
#[test]
fn other_names_have_their_own_certificate() {
    let house = House::new();
    house.certify();
    let (other, key) = super::self_signed(&["mx.example.net".to_string()], super::unix()).unwrap();
    fs::create_dir(house.path("config/tls_certs")).unwrap();
    house.set("tls_certs/MX.example.net.crt", &other);
    house.set("tls_certs/MX.example.net.key", &key);
    house.set("listen", "127.0.0.1:0\n127.0.0.1:0 smtps");
    let daemon = house.start();
    let mut client = daemon.client();
    client.starttls(&super::believer());
    let by_name = client.certificate();
    // Who names nobody.
    let mut silent = rustls::ClientConfig::clone(&super::believer());
    silent.enable_sni = false;
    let mut client = Client::connect(daemon.addresses[1]);
    client.try_tls(&silent.into()).unwrap();
    client.hello();
    assert_ne!(client.certificate(), by_name);
    daemon.stop();
}

/// What cannot be used is told with its place, by the command and by a start.
#[test]
fn what_cannot_serve_is_told_with_its_place() {
    if !has_openssl("tls::formats::what_cannot_serve_is_told_with_its_place") {
        return;
    }
    let house = House::new();
    make_authority(&house);
    openssl(&house, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out good.key");
    certify(&house, "good", 30);
    openssl(&house, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out other.key");
    openssl(&house, "genrsa -out small.key 1024");
    certify(&house, "small", 30);
    openssl(&house, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.key");
    certify(&house, "p521", 30);
    openssl(&house, "rsa -in small.key -aes128 -passout pass:x -out locked.key");
    openssl(&house, "ec -in good.key -aes128 -passout pass:x -out locked-sec1.key");
    openssl(&house, "x509 -in good.crt -outform der -out der.crt");
    fs::write(house.path("empty"), "").unwrap();
    let good = fs::read_to_string(house.path("good.crt")).unwrap();
    fs::write(house.path("cut.crt"), &good[..good.len() / 3]).unwrap();
    for (certificate, key, complaint) in [
        ("good.crt", "other.key", "tls_cert:1: other.key is not the key of good.crt"),
        ("absent", "good.key", "tls_cert:1: absent: there is no such file: STARTTLS cannot"),
        ("good.crt", "absent", "tls_cert:1: absent: there is no such file: STARTTLS cannot"),
        ("ssl", "good.key", "tls_cert:1: ssl: is a folder"),
        ("empty", "good.key", "tls_cert:1: empty: there is no certificate in it (PEM)"),
        ("der.crt", "good.key", "tls_cert:1: der.crt: there is no certificate in it (PEM)"),
        ("cut.crt", "good.key", "tls_cert:1: cut.crt: the PEM in it is broken"),
        ("good.crt", "good.crt", "tls_cert:1: good.crt: there is no key in it (PEM: PKCS#8, "),
        ("small.crt", "small.key", "tls_cert:1: small.key: only RSA from 2048 bits, "),
        ("p521.crt", "p521.key", "tls_cert:1: p521.key: only RSA from 2048 bits, "),
        ("small.crt", "locked.key", "tls_cert:1: locked.key: there is no key in it (PEM"),
        ("good.crt", "locked-sec1.key", "tls_cert:1: locked-sec1.key: there is no key in it (PEM"),
    ] {
        fs::create_dir_all(house.path("ssl")).unwrap();
        house.set("tls_cert", certificate);
        house.set("tls_key", key);
        let checked = Command::new(BINARY)
            .args(["check-config", "--config"])
            .arg(house.path("config"))
            .output()
            .unwrap();
        let said = String::from_utf8(checked.stdout).unwrap();
        let found = said.lines().any(|line| line.starts_with(complaint));
        assert!(found && checked.status.code() == Some(1), "{complaint}:\n{said}");
        let served = house.serve().output().unwrap();
        let said = String::from_utf8(served.stderr).unwrap();
        assert!(said.contains(complaint) && served.status.code() == Some(1), "{said}");
    }
}
