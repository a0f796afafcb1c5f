//! Reputations: `mailreeve karma` beside a store that others hold open, and what the daemon remembers
//! over its end, in a file and on a server that several front ends share.

use crate::daemon::client::{Client, small};
use crate::daemon::house::{BINARY, Daemon, House};
use crate::daemon::system::{skip, until};
use mailreeve::store::{Op, Outcome, Place, Server, Settings, Store};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

fn karma(house: &House, words: &str) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY)
        .arg("karma")
        .args(words.split_whitespace())
        .arg("--config")
        .arg(house.path("config"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Lines with single blanks.
fn plain(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// A redis-server of the test's own, which keeps nothing.
struct Redis {
    program: Child,
    folder: PathBuf,
    url: String,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended = self.program.kill();
        let _waited = self.program.wait();
    }
}

impl Redis {
    /// None where it is not installed.
    fn start(house: &House) -> Option<Redis> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = house.path("redis");
        std::fs::create_dir_all(&folder).unwrap();
        Redis::start_on(port, folder)
    }

    fn start_on(port: u16, folder: PathBuf) -> Option<Redis> {
        let program = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(&folder)
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        until("redis-server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Redis { program, folder, url: format!("redis://127.0.0.1:{port}/3") })
    }

    /// The same again, where it was.
    fn restart(mut self) -> Redis {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
        let port = Server::parse(&self.url, "").unwrap().address.port();
        Redis::start_on(port, self.folder.clone()).unwrap()
    }
}

/// What the command shows and changes, on a store that is open elsewhere as well.
fn seen_and_forgiven(house: &House, place: Place) {
    assert_eq!(karma(house, "show 192.0.2.1").0, Some(1));
    assert_eq!(karma(house, "list").0, Some(0));

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (store, threads) = Store::start(Settings::new(place), |_, _| {}).unwrap();
    let close = |key: &str, outcome, days: u64| Op::close(key, outcome, now - days * DAY);
    store.record([
        close("192.0.2.1", Outcome::Naughty, 0),
        close("192.0.2.1", Outcome::Naughty, 0),
        close("2001:db8:1:2::/64", Outcome::Nice, 3),
        close("198.51.100.1", Outcome::Naughty, 9),
    ]);
    threads.finish();

    let (code, output, errors) = karma(house, "list");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let lines = plain(&output);
    let expected = [
        "IP Address Penalty Naughty Nice Connects Seen",
        "192.0.2.1 1.00 2 0 2 0.00",
        "2001:db8:1:2::/64 - 0 1 1 3.00",
        "198.51.100.1 - 1 0 1 9.00",
        "3 clients, 1 kept out; 3 naughty, 1 nice, 4 connects",
    ];
    assert_eq!(lines, expected);
    assert_eq!(plain(&karma(house, "list nice").1).len(), 3);
    let (code, output, _) = karma(house, "show 2001:db8:1:2:3:4:5:6");
    assert_eq!((code, plain(&output).pop().as_deref()), (Some(0), expected.get(2).copied()));

    assert_eq!(karma(house, "release 192.0.2.1").0, Some(0));
    assert_eq!(karma(house, "release 192.0.2.2").0, Some(1));
    let output = karma(house, "show 192.0.2.1").1;
    assert_eq!(plain(&output).pop().as_deref(), Some("192.0.2.1 - 0 0 2 0.00"));
    assert_eq!(karma(house, "prune").1, "1 clients are forgotten\n");
    assert_eq!(karma(house, "show 198.51.100.1").0, Some(1));
}

#[test]
fn what_is_remembered_can_be_seen_and_forgiven() {
    let house = House::new();
    let file = house.path("reputation.sqlite");
    house.set("store", &format!("sqlite {}", file.display()));
    // Without a database nothing is known, and none is made.
    assert_eq!(karma(&house, "list").0, Some(0));
    assert!(!file.exists());
    seen_and_forgiven(&house, Place::Sqlite(file.clone()));

    // Who holds the database for long keeps others from writing, not from reading.
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (code, _, errors) = karma(&house, "release 192.0.2.1");
    assert_eq!(code, Some(75), "{errors}");
    assert_eq!(karma(&house, "show 192.0.2.1").0, Some(0));
    drop(other);

    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "no database").unwrap();
    let (code, _, errors) = karma(&house, "list");
    assert_eq!(code, Some(1), "{errors}");
}

#[test]
fn what_is_remembered_on_a_server_can_be_seen_and_forgiven() {
    let house = House::new();
    let Some(redis) = Redis::start(&house) else {
        return skip("karma::what_is_remembered_on_a_server", "redis-server is not installed");
    };
    house.set("store", &format!("valkey {}", redis.url));
    seen_and_forgiven(&house, Place::Valkey(Server::parse(&redis.url, "").unwrap()));
    drop(redis);
    let (code, _, errors) = karma(&house, "list");
    assert_eq!(code, Some(75), "{errors}");
    assert!(errors.contains("redis://127.0.0.1:"), "{errors}");
}

/// Kept out at the greeting after two naughty connections; one illegal address makes a naughty one.
const PLUGINS: &str = "karma strikes 2 reject connect\nrcpt_ok\nqueue/discard";

/// Connects, misbehaves, and goes.
fn misbehave(daemon: &Daemon) {
    let mut client = daemon.client();
    client.expect("MAIL FROM: <a@example.org>", "250");
    client.expect("QUIT", "221");
    client.ended();
}

fn is_kept_out(daemon: &Daemon) -> bool {
    let reply = Client::connect(daemon.address()).reply();
    let kept_out = reply.starts_with("554 5.7.1 You were naughty. You cannot connect for 1.00");
    assert!(kept_out || reply.starts_with("220 "), "{reply}");
    kept_out
}

/// Whatever was seen before TERM is known after the next start; and what was written a while before
/// kill -9 is, too.
#[test]
fn reputations_outlive_the_daemon() {
    let house = House::new();
    house.set("plugins", PLUGINS);
    let daemon = house.start();
    misbehave(&daemon);
    daemon.stop();
    let shown = karma(&house, "show 127.0.0.1").1;
    assert!(plain(&shown).pop().unwrap().starts_with("127.0.0.1 - 1 0 1 "), "{shown}");

    let daemon = house.start();
    assert!(!is_kept_out(&daemon));
    misbehave(&daemon);
    // Known at once, though it is not written yet.
    assert!(is_kept_out(&daemon));
    until("it to be written", || {
        let shown = karma(&house, "show 127.0.0.1").1;
        plain(&shown).pop().unwrap().starts_with("127.0.0.1 1.00 2 ").then_some(())
    });
    daemon.kill();
    let daemon = house.start();
    assert!(is_kept_out(&daemon));
    daemon.stop();
}

/// A store that cannot be opened costs the memory of the past and no mail.
#[test]
fn a_store_that_cannot_be_opened_stops_no_mail() {
    let house = House::new();
    house.set("plugins", PLUGINS);
    std::fs::create_dir_all(house.path("state/mailreeve.sqlite")).unwrap();
    let daemon = house.start();
    for _ in 0..3 {
        misbehave(&daemon);
    }
    let mut client = daemon.client();
    assert!(client.deliver(&small("in spite of it")).starts_with("250"));
    daemon.log.line("store: cannot read, so checks that need it skip: ");
    assert_eq!(daemon.log.count("store: cannot read"), 1, "{:#?}", daemon.log.lines());
    drop(client);
    daemon.stop();
}

/// Two front ends share what they know; a server that goes away lets everybody in and is named once.
#[test]
fn front_ends_share_a_server() {
    let house = House::new();
    let Some(redis) = Redis::start(&house) else {
        return skip("karma::front_ends_share_a_server", "redis-server is not installed");
    };
    let neighbour = House::new();
    for house in [&house, &neighbour] {
        house.set("store", &format!("valkey {}", redis.url));
        house.set("plugins", PLUGINS);
    }
    let (first, second) = (house.start(), neighbour.start());
    misbehave(&first);
    misbehave(&first);
    assert!(is_kept_out(&first));
    until("the other front end to know", || is_kept_out(&second).then_some(()));
    assert_eq!(karma(&neighbour, "release 127.0.0.1").0, Some(0));
    for daemon in [&first, &second] {
        until("the client to be let in", || (!is_kept_out(daemon)).then_some(()));
    }

    let redis = redis.restart();
    // What the server forgot is forgotten; the connections to it are made anew.
    misbehave(&second);
    misbehave(&second);
    until("both to know", || (is_kept_out(&first) && is_kept_out(&second)).then_some(()));
    drop(redis);
    until("the client to be let in", || (!is_kept_out(&first)).then_some(()));
    let mut client = first.client();
    assert!(client.deliver(&small("without a store")).starts_with("250"));
    first.log.line("store: cannot read, so checks that need it skip: redis://127.0.0.1:");
    assert_eq!(first.log.count("store: cannot read"), 1, "{:#?}", first.log.lines());
    drop(client);
    first.stop();
}

/// A server that lets everybody in and then says nothing; the connection on which it was asked for a
/// record, as soon as it was.
fn server_that_falls_silent() -> (String, std::sync::mpsc::Receiver<TcpStream>) {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/0", listener.local_addr().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = || {
            let mut text = String::new();
            reader.read_line(&mut text).unwrap();
            let number = text.trim_end().get(1..).and_then(|it| it.parse::<usize>().ok());
            let octets = number.filter(|_| text.starts_with('$'))?;
            let mut word = vec![0; octets + 2];
            reader.read_exact(&mut word).unwrap();
            Some(String::from_utf8(word).unwrap().trim_end().to_string())
        };
        // The words of a command follow on a line with their number.
        while line().is_none() {
            let verb = line().expect("a verb");
            if verb == "HMGET" {
                return tell.send(stream).unwrap();
            }
            let words = if verb == "CLIENT" { 3 } else { 1 };
            (0..words).for_each(|_| drop(line()));
            stream.write_all(b"+OK\r\n").unwrap();
        }
    });
    (url, told)
}

/// Nobody waits for a store that hangs: the client is greeted before the store gives it up.
#[test]
fn a_store_that_hangs_is_not_waited_for() {
    let (url, told) = server_that_falls_silent();
    let house = House::new();
    house.set("store", &format!("valkey {url}"));
    house.set("plugins", PLUGINS);
    let daemon = house.start();
    let mut client = Client::connect(daemon.address());
    let stream = told.recv().unwrap();
    assert!(client.reply().starts_with("220 "));
    stream.set_nonblocking(true).unwrap();
    let still_waits = match stream.peek(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    };
    assert!(still_waits, "the connection to the store ended first");
    daemon.log.line("(connect) karma: pass, no record");
    drop(client);
    daemon.stop();
}
