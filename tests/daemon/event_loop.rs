//! The event loop in this process, where a load can be invented.

use crate::daemon::client::Client;
use crate::daemon::house::House;
use crate::daemon::system::is_inside_netns;
use mailreeve::config::Defaults;
use mailreeve::config::files::{Files, Severity};
use mailreeve::plugins::load::{Strictness, load};
use mailreeve::server::clock::LoadAverage;
use mailreeve::server::errand::{Home, Pools};
use mailreeve::server::event_loop::{EventLoop, Parts, WAKER};
use mailreeve::server::log::{Destination, Log};
use mailreeve::server::spool::Spool;
use mailreeve::server::watch::Watch;
use mailreeve::sys::listen;
use mio::{Poll, Waker};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A machine that is always this busy, and counts who asks.
struct Busy(f64, Arc<AtomicU32>);

impl LoadAverage for Busy {
    fn one_minute(&self) -> Option<f64> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Some(self.0)
    }
}

/// Starts a loop that lives as long as this process; without signals nothing can end it.
fn start(
    house: &House,
    load_average: f64,
) -> (SocketAddr, Arc<AtomicU32>, Arc<Mutex<Vec<String>>>) {
    let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
    let files = Files::on_disk(vec![house.path("config")]);
    let (site, problems) = load(&files, &defaults, None, Strictness::Start);
    assert!(problems.iter().all(|it| it.severity != Severity::Error), "{problems:?}");
    let site = Arc::new(site);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (log, _thread) = Log::start(Destination::Capture(Arc::clone(&lines)), vec![]).unwrap();
    log.set_outputs(vec![], site.loglevel);
    let poll = Poll::new().unwrap();
    let home = Arc::new(Home::new(Waker::new(poll.registry(), WAKER).unwrap()));
    let (spool, _notes) = Spool::open(&site.config.spool_dir).unwrap();
    let pools = Pools::start(Arc::clone(&home), spool, (1, 1, 1)).unwrap();
    let wanted = site.config.listen[0].clone();
    let listener = listen::tcp(wanted.address).unwrap();
    let address = listener.local_addr().unwrap();
    let reads = Arc::new(AtomicU32::new(0));
    let parts = Parts {
        poll,
        home,
        pools,
        listeners: vec![(wanted, listener)],
        tls: None,
        site,
        watch: Watch::nothing(),
        log,
        load: Box::new(Busy(load_average, Arc::clone(&reads))),
        store: None,
        connections_max: usize::MAX,
        signals: None,
    };
    let mut event_loop = EventLoop::new(parts).unwrap();
    std::thread::spawn(move || event_loop.run());
    (address, reads, lines)
}

/// The office goes on working while the machine is busy; and the load is not asked for each client.
#[test]
fn load_does_not_keep_local_clients_out_and_is_read_once() {
    let house = House::new();
    house.set("plugins", "loadcheck max_load 7\nrcpt_ok\nqueue/discard");
    let (address, reads, lines) = start(&house, 99.5);
    for _ in 0..20 {
        let mut client = Client::connect(address);
        client.hello();
        assert!(client.deliver(b"Subject: x\r\n\r\nx\r\n").starts_with("250"));
        client.expect("QUIT", "221");
        client.ended();
    }
    // Once in ten seconds, however many come; more only if this machine is very slow.
    let reads = reads.load(Ordering::Relaxed);
    assert!((1..20).contains(&reads), "{reads} readings for 20 clients");
    let said = lines.lock().unwrap().join("\n");
    assert!(said.contains("loadcheck: skip, local client (load 99.50)"), "{said}");
}

/// Strangers are asked to come back before they cost anything; relay clients are not.
#[test]
fn load_keeps_strangers_out() {
    if !is_inside_netns("event_loop::load_keeps_strangers_out") {
        return;
    }
    for (load_average, is_let_in) in [(6.99, true), (7.01, false)] {
        let house = House::new();
        house.set("listen", "0.0.0.0:0");
        house.set("plugins", "loadcheck max_load 7\nrcpt_ok\nqueue/discard");
        house.set("relayclients", "203.0.113.");
        let (address, _, _) = start(&house, load_average);
        // To a local address the kernel takes the same address as the source.
        let reply = |ip: &str| {
            let mut client = Client::connect(SocketAddr::new(ip.parse().unwrap(), address.port()));
            client.reply()
        };
        assert!(reply("203.0.113.7").starts_with("220 "));
        let stranger = reply("192.0.2.1");
        if is_let_in {
            assert!(stranger.starts_with("220 "), "{stranger}");
        } else {
            let text = "421 4.3.2 Server load too high, please try again later.";
            assert!(stranger.starts_with(text), "{stranger}");
        }
    }
}
