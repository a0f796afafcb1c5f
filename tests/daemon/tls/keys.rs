//! Keys and certificates by the command openssl, in the forms in which admins get them.

use crate::daemon::house::House;
use crate::daemon::system::{skip, succeeds};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::process::Command;
use std::sync::Arc;

/// Whether there is the command; else the test is skipped.
pub(super) fn has_openssl(test: &str) -> bool {
    let there = succeeds("openssl", &["version"]);
    if !there {
        skip(test, "openssl not installed");
    }
    there
}

/// Runs openssl in the house.
pub(super) fn openssl(house: &House, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(house.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {said}");
}

/// A root, and one below it that signs: `root.crt` and `issuer.crt` in the house.
pub(super) fn make_authority(house: &House) {
    fs::write(house.path("ca.ext"), "basicConstraints=critical,CA:TRUE\n").unwrap();
    let names = "subjectAltName=DNS:mx.example.net,DNS:localhost,IP:127.0.0.1";
    fs::write(house.path("leaf.ext"), format!("{names}\nbasicConstraints=CA:FALSE\n")).unwrap();
    for (name, signer) in [("root", None), ("issuer", Some("root"))] {
        openssl(
            house,
            &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"),
        );
        sign(house, name, signer, "ca.ext", 30);
    }
}

/// A certificate for the tests' daemon, NAME.crt with its issuer behind it, for the key NAME.key.
pub(super) fn certify(house: &House, name: &str, days: u32) {
    sign(house, name, Some("issuer"), "leaf.ext", days);
    let read = |file: &str| fs::read_to_string(house.path(file)).unwrap();
    let chain = read(&format!("{name}.crt")) + &read("issuer.crt");
    fs::write(house.path(&format!("{name}.crt")), chain).unwrap();
}

fn sign(house: &House, name: &str, signer: Option<&str>, extensions: &str, days: u32) {
    openssl(house, &format!("req -new -key {name}.key -subj /CN={name}.example -out {name}.csr"));
    let by = match signer {
        Some(signer) => format!("-CA {signer}.crt -CAkey {signer}.key -CAcreateserial"),
        None => format!("-signkey {name}.key"),
    };
    openssl(
        house,
        &format!(
            "x509 -req -in {name}.csr {by} -days {days} -extfile {extensions} -out {name}.crt"
        ),
    );
}

/// The usual pair, `mx.key` and `mx.crt`, named in the configuration.
pub(super) fn make_usual(house: &House) {
    make_authority(house);
    openssl(house, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out mx.key");
    certify(house, "mx", 30);
    house.set("tls_cert", "mx.crt");
    house.set("tls_key", "mx.key");
}

/// A client that believes what our root has signed, and nothing else.
pub(super) fn believer_of_root(house: &House) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(house.path("root.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
