//! What every back end must do: one suite, run on a SQLite file and on a redis-server from the
//! system. Without the program the second run skips itself, and says so.
#![expect(clippy::disallowed_methods, reason = "the threads under test keep real time")]

mod cases;
mod figures;

use super::*;
use ops::Outcome;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A folder of our own that goes with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mailreeve-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A redis-server of our own on a port of the loopback, which keeps nothing.
pub(super) struct RedisServer {
    program: Child,
    _folder: Folder,
    pub(super) server: Server,
}

impl RedisServer {
    /// `None`, and a note of it, where the program is not installed.
    pub(super) fn start() -> Option<RedisServer> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let started = RedisServer::start_on(port);
        if started.is_none() {
            note("skipped: store on valkey: no redis-server\n");
        }
        started
    }

    pub(super) fn start_on(port: u16) -> Option<RedisServer> {
        let folder = Folder::new();
        let port_text = port.to_string();
        let program = Command::new("redis-server")
            .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(&folder.0)
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let server = Server::parse(&format!("redis://127.0.0.1:{port}/7"), "").unwrap();
        let started = RedisServer { program, _folder: folder, server };
        for _ in 0..200 {
            if TcpStream::connect(started.server.address).is_ok() {
                return Some(started);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server does not listen");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

/// Tells `scripts/test`, where it listens, what this run went without.
fn note(line: &str) {
    use std::io::Write;
    let Some(path) = std::env::var_os("MAILREEVE_SKIPPED") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// Lines for the log, kept.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(super) fn say(&self) -> Say {
        let lines = self.clone();
        Arc::new(move |_, text| lines.0.lock().unwrap().push(text.to_string()))
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Asks a store and waits for its answer.
pub(super) fn read(
    handle: &StoreHandle,
    table: &'static str,
    key: &str,
) -> Result<Option<Box<[u8]>>, Unavailable> {
    let (tx, rx) = std::sync::mpsc::channel();
    handle.read(table, key, move |answer| tx.send(answer).unwrap());
    rx.recv_timeout(Duration::from_secs(20)).expect("an answer")
}

pub(super) fn read_karma(handle: &StoreHandle, key: &str) -> Result<Option<Karma>, Unavailable> {
    Ok(read(handle, KARMA, key)?.map(|octets| Karma::decode(&octets).expect("a record")))
}

/// A row that adds `naughty` naughty connections and nothing else, for a batch.
pub(super) fn entry(key: &str, outcome: Outcome, at: u64) -> queue::Entry {
    let op = Op::close(key, outcome, at);
    (Key::new(op.table, key).unwrap(), op.row, 1)
}

#[test]
fn the_suite_on_sqlite() {
    for (name, case) in cases::ALL {
        let folder = Folder::new();
        eprintln!("sqlite: {name}");
        case(&Settings::new(Place::Sqlite(folder.file())));
    }
}

#[test]
fn the_suite_on_valkey() {
    for (name, case) in cases::ALL {
        // A new server for each case: there is nothing of the one before.
        let Some(server) = RedisServer::start() else { return };
        eprintln!("valkey: {name}");
        case(&Settings::new(Place::Valkey(server.server.clone())));
    }
}

const NO_NAME: &str = "the address of the server has no IP address and port: DNS is not asked, so \
     write an IP address, localhost, or a name that stands in /etc/hosts; an IPv6 address stands in \
     brackets";

#[test]
fn the_file_store_names_a_back_end() {
    let state = Path::new("/var/lib/qpsmtpd");
    let default = Place::Sqlite("/var/lib/qpsmtpd/mailreeve.sqlite".into());
    for (text, expected) in [
        (None, Ok(default.clone())),
        (Some("sqlite"), Ok(default.clone())),
        (Some("sqlite /srv/k.db"), Ok(Place::Sqlite("/srv/k.db".into()))),
        (Some("sqlite k.db"), Err("\"k.db\" is not an absolute path")),
        (Some("sqlite /a b"), Err("write `sqlite PATH` or `valkey redis://IP:PORT/DB`")),
        (Some("valkey"), Err("write `sqlite PATH` or `valkey redis://IP:PORT/DB`")),
        (
            Some("valkey redis://192.0.2.1:7000/3"),
            Ok(Place::Valkey(Server::parse("valkey://192.0.2.1:7000/3", "").unwrap())),
        ),
        (
            Some("valkey redis://:secret@192.0.2.1/x"),
            Err("the address of the server has no number of a database behind the slash"),
        ),
        (
            Some("valkey redis://cache.lan/2"),
            Ok(Place::Valkey(Server::parse("redis://192.0.2.8/2", "").unwrap())),
        ),
        (Some("valkey redis://cache.example"), Err(NO_NAME)),
        (Some("mysql /x"), Err("\"mysql\" is no store; there are sqlite and valkey")),
    ] {
        let store = text.map(|text| ("store".to_string(), format!("# where\n{text}\n")));
        let hosts = ("/etc/hosts".to_string(), "192.0.2.8 cache.lan\n".to_string());
        let files = store.into_iter().chain([hosts]);
        let mut problems = Vec::new();
        let settings = Settings::load(&Files::in_memory(files), state, &mut problems);
        let what: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
        match expected {
            Ok(place) => assert_eq!((settings.place, what), (place, vec![]), "{text:?}"),
            Err(error) => {
                assert_eq!((settings.place, what), (default.clone(), vec![error]), "{text:?}");
                assert!(problems[0].to_string().starts_with("store:2: "), "{problems:?}");
            }
        }
    }
}

#[test]
fn plugins_lengthen_what_is_remembered() {
    let mut settings = Settings::new(Place::Sqlite("/x".into()));
    settings.keep_at_least(Table::Greylist, Duration::from_secs(1));
    assert_eq!(settings.age(Table::Greylist), GREYLIST_AGE);
    settings.keep_at_least(Table::Greylist, GREYLIST_AGE * 2);
    assert_eq!(settings.age(Table::Greylist), GREYLIST_AGE * 2);
    assert_eq!(settings.age(Table::Karma), KARMA_AGE);
    assert_eq!(settings.age(Table::Whitelist), WHITELIST_AGE);
}
