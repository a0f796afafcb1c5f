//! Whether the keys that mail is signed with are the ones in DNS: said by check-config, and in the log of
//! a daemon that does not wait for it.

use super::{run, text};
use crate::daemon::client::Client;
use crate::daemon::house::House;
use crate::daemon::nameserver::{Has, Names};

/// A house that signs with one key for example.com and `me`, and the text of its record.
fn signing() -> (House, String) {
    let house = House::new();
    house.set("plugins", "relay\ndkim\nrcpt_ok\nqueue/discard");
    let config = house.path("config");
    let args = ["dkim", "keygen", "--default", "--config", config.to_str().unwrap()];
    let (code, output, errors) = run(&args, b"");
    assert_eq!(code, Some(0), "{errors}");
    let output = text(&output);
    let record = output.lines().last().unwrap().split_once(" IN TXT ").unwrap().1;
    (house, record.split('"').filter(|part| !part.trim().is_empty()).collect())
}

const OURS: &str = "default._domainkey.example.com";
const MES: &str = "default._domainkey.mx.example.net";

#[test]
fn check_config_says_what_is_signed_in_vain() {
    let (house, record) = signing();
    let config = house.path("config");
    let good = || Has::Texts(vec![record.clone()]);
    let missing =
        format!("dkim: warning: mail of mx.example.net is signed in vain: {MES} is not in DNS\n");
    let revoked = format!(
        "dkim: warning: mail of example.com is signed in vain: {OURS} is wrong in DNS (public key: \
         revoked)\n"
    );
    let unknown = format!("dkim: could not ask whether {OURS} and 1 more is in DNS\n");
    for (names, expected, warnings) in [
        (vec![(OURS, good()), (MES, good())], String::new(), 0),
        (vec![(OURS, good())], missing.clone(), 1),
        (vec![(OURS, Has::Texts(vec!["v=DKIM1; p=".into()]))], format!("{revoked}{missing}"), 2),
        (vec![(OURS, Has::Fault), (MES, Has::Fault)], unknown, 0),
    ] {
        let names = Names::serve(0, &names);
        let args = ["check-config", "--config", config.to_str().unwrap(), "--resolver"];
        let (code, output, errors) = run(&[&args[..], &[&names.address()]].concat(), b"");
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        let output = text(&output);
        let (said, end) = output.split_at(output.rfind(&*config.to_string_lossy()).unwrap());
        assert_eq!(said, expected);
        assert!(end.contains(&format!(": 0 errors, {warnings} warnings; ")), "{end}");
    }
    let names = Names::serve(0, &[]);
    house.set("resolvers", &names.address());
    let args = ["check-config", "--offline", "--config", config.to_str().unwrap()];
    let (code, output, _) = run(&args, b"");
    assert_eq!((code, names.asked()), (Some(0), 0));
    assert!(text(&output).contains(": 0 errors, 0 warnings; "), "{}", text(&output));
}

/// The daemon listens whatever the name server does, and says what it found when it knows it.
#[test]
fn the_daemon_says_it_in_its_log() {
    let (house, record) = signing();
    let names = Names::serve(0, &[(OURS, Has::Texts(vec![record]))]);
    house.set("resolvers", &names.address());
    let daemon = house.start();
    let line = format!("dkim: mail of mx.example.net is signed in vain: {MES} is not in DNS");
    daemon.log.line(&line);
    daemon.stop();

    // Nobody answers at this address: the daemon serves all the same, and says so later.
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    house.set("resolvers", &mute.local_addr().unwrap().to_string());
    let daemon = house.start();
    Client::connect(daemon.address()).hello();
    daemon.log.line(&format!("dkim: could not ask whether {OURS} and 1 more is in DNS"));
    daemon.stop();
}
