//! testssl.sh, by which many people judge a server: every protocol, suite, weakness and client it knows.

use super::keys::{certify, has_openssl, make_authority, openssl};
use crate::daemon::house::House;
use crate::daemon::system::{is_full, skip, succeeds};
use crate::json::Json;
use std::fs;
use std::process::{Command, Stdio};

/// What it says of the test's certificate, which nobody can revoke.
const OF_THE_CERTIFICATE: [&str; 2] = ["cert_revocation", "DNS_CAArecord"];

/// Weaknesses, protocols and the like that it must have looked at, with the verdict OK.
const LOOKED_AT: [&str; 14] = [
    "SSLv2",
    "SSLv3",
    "TLS1_2",
    "TLS1_3",
    "cipherlist_NULL",
    "cipherlist_EXPORT",
    "cipher_order",
    "cert_chain_of_trust",
    "heartbleed",
    "CCS",
    "secure_renego",
    "secure_client_renego",
    "SWEET32",
    "LUCKY13",
];

/// Listeners for STARTTLS and for TLS from the first octet, with a key of either kind. The former is one
/// for submission: on port 25 who fails on purpose is offered no STARTTLS from then on.
#[test]
fn finds_nothing_that_matters() {
    const TEST: &str = "tls::testssl::finds_nothing_that_matters";
    if !is_full() {
        return skip(TEST, "takes minutes: MAILREEVE_FULL=1");
    }
    if !has_openssl(TEST) {
        return;
    }
    if !succeeds("testssl", &["--help"]) {
        return skip(TEST, "testssl not installed");
    }
    for (listener, key, starttls) in [
        ("submission", "genrsa -out mx.key 2048", Some("smtp")),
        ("smtps", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out mx.key", None),
    ] {
        let house = House::new();
        make_authority(&house);
        openssl(&house, key);
        // It warns of ends within 60 days.
        certify(&house, "mx", 90);
        house.set("tls_cert", "mx.crt");
        house.set("tls_key", "mx.key");
        house.set("listen", &format!("127.0.0.1:0 {listener}"));
        let daemon = house.start();
        let report = house.path("report.json");
        let mut command = Command::new("testssl");
        command
            .args(["--ip", "127.0.0.1", "--nodns", "none", "--warnings", "off", "--color", "0"])
            .arg("--add-ca")
            .arg(house.path("root.crt"))
            .arg("--jsonfile")
            .arg(&report)
            .args(starttls.map(|protocol| ["--starttls", protocol]).iter().flatten())
            .arg(format!("localhost:{}", daemon.address().port()))
            .current_dir(house.path(""))
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let report = Json::parse(&fs::read_to_string(report).unwrap());
        let found: Vec<(String, String, String)> = report
            .list()
            .iter()
            .map(|it| {
                ["id", "severity", "finding"]
                    .map(|name| it.at(name).text().unwrap_or_default().to_string())
            })
            .map(|[id, severity, finding]| (id, severity, finding))
            .collect();
        let bad: Vec<_> = found
            .iter()
            .filter(|(id, severity, _)| {
                let matters = ["MEDIUM", "HIGH", "CRITICAL", "FATAL"].contains(&&**severity);
                matters && !OF_THE_CERTIFICATE.iter().any(|it| id.starts_with(it))
            })
            .collect();
        assert!(bad.is_empty(), "{listener}: {bad:#?}\n{said}");
        for wanted in LOOKED_AT {
            let is_good = |(id, severity, _): &&(String, String, String)| {
                id.starts_with(wanted) && severity == "OK"
            };
            assert!(found.iter().find(is_good).is_some(), "{listener}: {wanted}: {said}");
        }
        daemon.stop();
    }
}
