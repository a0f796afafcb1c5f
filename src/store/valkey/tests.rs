//! Addresses, and servers that misbehave.
#![expect(clippy::disallowed_methods, reason = "the threads under test keep real time")]

use super::*;
use crate::store::ops::{Op, Outcome};
use crate::store::tests::{Lines, RedisServer, entry, read_karma};
use crate::store::{Place, Settings, Store, Unavailable};
use std::net::TcpListener;
use std::time::Instant;

#[test]
fn addresses_are_read() {
    for (url, expected) in [
        ("redis://192.0.2.1", Ok("redis://192.0.2.1:6379/0")),
        ("valkey://192.0.2.1:7000", Ok("redis://192.0.2.1:7000/0")),
        ("redis://[2001:db8::1]:7000/12", Ok("redis://[2001:db8::1]:7000/12")),
        ("redis://[2001:db8::1]/1", Ok("redis://[2001:db8::1]:6379/1")),
        ("redis://localhost", Ok("redis://127.0.0.1:6379/0")),
        ("redis://localhost:7001/", Ok("redis://127.0.0.1:7001/0")),
        ("redis://u:p@192.0.2.1/2", Ok("redis://192.0.2.1:6379/2")),
        ("redis://:p@ss@192.0.2.1/2", Ok("redis://192.0.2.1:6379/2")),
        ("redis://u@192.0.2.1", Err("without a password")),
        ("redis://192.0.2.1/x", Err("number of a database")),
        ("redis://192.0.2.1/-1", Err("number of a database")),
        ("redis://192.0.2.1:port", Err("no IP address")),
        ("redis://store.lan", Ok("redis://192.0.2.9:6379/0")),
        ("redis://:p@Store.LAN:7001/4", Ok("redis://192.0.2.9:7001/4")),
        ("redis://six.lan", Ok("redis://[2001:db8::9]:6379/0")),
        ("redis://store.lan:0x", Err("no IP address")),
        ("redis://valkey.example", Err("DNS is not asked")),
        ("redis://localhostess", Err("DNS is not asked")),
        ("redis://", Err("no IP address")),
        ("rediss://192.0.2.1", Err("TLS is not offered")),
        ("192.0.2.1:6379", Err("does not begin with redis://")),
    ] {
        let hosts = "2001:db8::9 store.lan six.lan\n192.0.2.9 store.lan\n";
        let read = Server::parse(url, hosts).map(|server| server.to_string());
        match expected {
            Ok(expected) => assert_eq!(read.as_deref(), Ok(expected), "{url}"),
            Err(expected) => assert!(read.unwrap_err().contains(expected), "{url}"),
        }
    }
    let server = Server::parse("redis://user:hidden@192.0.2.1", "").unwrap();
    assert_eq!(
        (server.user.as_deref(), server.password.as_deref()),
        (Some("user"), Some("hidden"))
    );
    assert!(!format!("{server:?}").contains("hidden"));
}

#[test]
fn a_server_that_says_nothing_is_soon_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let server = Server::parse(&format!("redis://{address}"), "").unwrap();
    let began = Instant::now();
    assert!(server.open().is_err());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(silent);
    let failure = server.open().err().unwrap();
    assert!(failure.what.starts_with(&format!("redis://{address}/0: ")), "{failure}");
}

#[test]
fn what_is_surely_not_done_may_be_done_again() {
    let Some(server) = RedisServer::start() else { return };
    let mut admin = server.server.connect().unwrap();
    let mut backend = server.server.open().unwrap();
    let batch = [entry("k", Outcome::Nice, 1)];
    let set = |admin: &mut Connection, octets: &str| {
        let done = redis::pipe().cmd("CONFIG").arg("SET").arg("maxmemory").arg(octets).exec(admin);
        done.unwrap();
    };
    set(&mut admin, "1");
    let failure = backend.write(&batch).unwrap_err();
    assert!(!failure.is_doubtful, "{failure}");
    assert_eq!(backend.read(&batch[0].0), Ok(None));
    set(&mut admin, "0");
    // A foreign value under our name spoils its own record, and the batch is not repeated.
    redis::pipe().cmd("SET").arg("mailreeve:karma/foreign").arg("x").exec(&mut admin).unwrap();
    let mixed = [entry("foreign", Outcome::Nice, 1), entry("k", Outcome::Nice, 1)];
    let failure = backend.write(&mixed).unwrap_err();
    assert!(failure.is_doubtful, "{failure}");
    let mut backend = server.server.open().unwrap();
    assert!(backend.read(&mixed[1].0).unwrap().is_some());
    // Numbers that we would not write do no harm.
    for value in ["99999999999999", "-5", "1e300", "nan"] {
        let set = redis::pipe()
            .cmd("HSET")
            .arg("mailreeve:karma/k")
            .arg("nice")
            .arg(value)
            .exec(&mut admin);
        set.unwrap();
        assert!(backend.read(&mixed[1].0).unwrap().is_some(), "{value}");
    }
}

#[test]
fn a_server_that_goes_and_comes_back_is_used_again() {
    let Some(first) = RedisServer::start() else { return };
    let lines = Lines::default();
    let settings = Settings::new(Place::Valkey(first.server.clone()));
    let say = lines.say();
    let (handle, threads) = Store::start(settings, move |level, text| say(level, text)).unwrap();
    handle.record([Op::close("known", Outcome::Nice, 1)]);
    assert_eq!(read_karma(&handle, "other"), Ok(None));
    let port = first.server.address.port();
    drop(first);
    handle.record([Op::close("k", Outcome::Nice, 1)]);
    let asked = Instant::now();
    assert_eq!(read_karma(&handle, "k"), Err(Unavailable));
    assert_eq!(read_karma(&handle, "k"), Err(Unavailable));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    std::thread::sleep(Duration::from_millis(2_500));
    let said = lines.all();
    assert_eq!(said.iter().filter(|it| it.contains("cannot read")).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|it| it.contains("cannot write")).count(), 1, "{said:?}");

    let second = RedisServer::start_on(port).expect("the port is still free");
    let until = Instant::now() + Duration::from_secs(10);
    let mut own = second.server.open().unwrap();
    let (key, ..) = entry("k", Outcome::Nice, 1);
    while own.read(&key).unwrap().is_none() {
        assert!(Instant::now() < until, "{:?}", lines.all());
        std::thread::sleep(Duration::from_millis(50));
    }
    while read_karma(&handle, "k").is_err() {
        assert!(Instant::now() < until, "{:?}", lines.all());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(read_karma(&handle, "k").unwrap().unwrap().nice, 1);
    threads.finish();
    assert!(lines.all().iter().any(|it| it == "store: can be written again"), "{:?}", lines.all());
}
