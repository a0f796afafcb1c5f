//! Many clients: how many are served, what the others are told, and what it costs.

use crate::daemon::client::{Client, small};
use crate::daemon::house::{BINARY, Daemon, House};
use crate::daemon::system::{is_inside_netns, skip, ticks, until};
use mailreeve::store::{Op, Outcome, Place, Settings, Store};
use nix::sys::signal::Signal;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Full is full, but nobody is left in silence, and a place that gets free is used.
#[test]
fn above_the_total_a_client_is_told_at_once() {
    let house = House::new();
    house.set("concurrency", "3");
    let daemon = house.start();
    let mut clients = vec![daemon.client(), daemon.client(), daemon.client()];
    for _ in 0..2 {
        let mut surplus = Client::connect(daemon.address());
        assert_eq!(surplus.reply(), "421 4.7.0 Too many connections, try again later");
        surplus.ended();
    }
    let mut leaving = clients.pop().unwrap();
    leaving.expect("QUIT", "221");
    leaving.ended();
    // Its place is free before it sees the end of the connection.
    let mut next = daemon.client();
    assert!(next.deliver(&small("next")).starts_with("250"));
    let refused = "Too many connections: 3 >= 3, refused 127.0.0.1";
    daemon.log.nth(refused, 2);
    assert_eq!(daemon.log.count(refused), 2);
    daemon.stop();
}

/// Webmail and cron jobs come from loopback in any number.
#[test]
fn loopback_has_no_limit_of_its_own() {
    let house = House::new();
    house.set("concurrency_per_ip", "2");
    let daemon = house.start();
    let mut clients: Vec<Client> = (0..8).map(|_| daemon.client()).collect();
    assert!(clients[7].deliver(&small("eighth")).starts_with("250"));
    daemon.stop();
}

/// One broken or evil host must not take all places. IPv6 hosts own a /64, so that is what counts; a
/// relay client and the list of plugins make their own rules.
#[test]
fn one_address_has_its_share() {
    if !is_inside_netns("limits::one_address_has_its_share") {
        return;
    }
    for plugins in ["rcpt_ok\nqueue/discard", "hosts_allow\nrcpt_ok\nqueue/discard"] {
        let house = House::new();
        house.set("listen", "0.0.0.0:0\n[::]:0");
        house.set("plugins", plugins);
        house.set("concurrency_per_ip", "2");
        house.set("relayclients", "203.0.113.");
        let daemon = house.start();
        let [four, six] = daemon.addresses[..] else { panic!("two listeners") };
        let four = SocketAddr::new("192.0.2.200".parse().unwrap(), four.port());
        let six = SocketAddr::new("2001:db8:ffff::1".parse().unwrap(), six.port());
        let rows = [
            (four, ["198.51.100.1"; 3], true),
            (four, ["198.51.100.2"; 3], true),
            (four, ["203.0.113.1"; 3], false),
            (four, ["127.0.0.2"; 3], false),
            (four, ["198.51.100.3", "198.51.100.4", "198.51.100.5"], false),
            (six, ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::1"], true),
            (six, ["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"], false),
        ];
        let mut guests = Vec::new();
        for (to, sources, is_too_much) in rows {
            let mut clients = sources.map(|source| Client::connect_from(source, to));
            let replies = clients.each_mut().map(Client::reply);
            assert!(
                replies[0].starts_with("220 ") && replies[1].starts_with("220 "),
                "{replies:?}"
            );
            if is_too_much {
                let source = sources[2].parse::<IpAddr>().unwrap();
                let text = format!("too many connections from {source}, try again later");
                assert!(replies[2].starts_with(&format!("421 4.7.0 {text}")), "{replies:?}");
                clients[2].ended();
                // One leaves, one may come.
                clients[0].expect("QUIT", "221");
                clients[0].ended();
                assert!(Client::connect_from(sources[0], to).reply().starts_with("220 "));
            } else {
                assert!(replies[2].starts_with("220 "), "{replies:?}");
            }
            guests.push(clients);
        }
        daemon.stop();
    }
}

/// Of whom the store knows nothing good, one connection is served at a time: the ones that come in the
/// same moment, too, and the next as soon as the first has left. A good past is worth three more.
#[test]
fn a_clients_past_moves_its_share() {
    if !is_inside_netns("limits::a_clients_past_moves_its_share") {
        return;
    }
    let house = House::new();
    house.set("listen", "0.0.0.0:0");
    house.set("plugins", "hosts_allow\nkarma reject 0\nrcpt_ok\nqueue/discard");
    house.set("concurrency_per_ip", "4");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let place = Place::Sqlite(house.path("state/mailreeve.sqlite"));
    let (store, threads) = Store::start(Settings::new(place), |_, _| {}).unwrap();
    store.record([Op::close("198.51.100.1", Outcome::Naughty, now - 60)]);
    store.record((0..6).map(|ago| Op::close("198.51.100.2", Outcome::Nice, now - ago)));
    threads.finish();
    let daemon = house.start();
    let to = SocketAddr::new("192.0.2.200".parse().unwrap(), daemon.address().port());
    for (source, served) in [("198.51.100.1", 1), ("198.51.100.2", 7), ("198.51.100.3", 4)] {
        let too_many = format!("421 4.7.0 too many connections from {source}, try again later");
        // The good one's past has to be known before it makes a difference.
        let mut clients = vec![Client::connect_from(source, to)];
        let together = if source == "198.51.100.2" {
            assert!(clients[0].reply().starts_with("220 "));
            7
        } else {
            5
        };
        clients.extend((0..together).map(|_| Client::connect_from(source, to)));
        let first = usize::from(source == "198.51.100.2");
        for (number, client) in clients.iter_mut().enumerate().skip(first) {
            let reply = client.reply();
            let expected = if number < served { "220 " } else { too_many.as_str() };
            assert!(reply.starts_with(expected), "{source} {number}: {reply}");
        }
        // One leaves, one may come, as soon as those who were sent away have gone too.
        clients.truncate(served);
        clients[0].expect("QUIT", "221");
        clients[0].ended();
        until("a place", || {
            Client::connect_from(source, to).reply().starts_with("220 ").then_some(())
        });
    }
    daemon.stop();
}

/// Both families are served by one daemon, each client under its own address.
#[test]
fn ipv4_and_ipv6_listen_side_by_side() {
    const TEST: &str = "limits::ipv4_and_ipv6_listen_side_by_side";
    if TcpListener::bind("[::1]:0").is_err() {
        return skip(TEST, "no IPv6 on this machine");
    }
    let house = House::new();
    house.set("listen", "127.0.0.1:0\n[::1]:0");
    let daemon = house.start();
    assert_eq!(daemon.addresses.len(), 2);
    for address in &daemon.addresses {
        let mut client = Client::connect(*address);
        client.hello();
        assert!(client.deliver(&small("either")).starts_with("250"));
    }
    let mails: Vec<String> =
        house.mails().into_iter().map(|mail| String::from_utf8(mail).unwrap()).collect();
    for client in ["(127.0.0.1)", "(::1)"] {
        assert!(mails.iter().any(|mail| mail.contains(client)), "{client}: {mails:?}");
    }
    daemon.stop();
}

/// What a client that was not let in at once is told, if anything.
fn fate(client: &mut Client) -> Option<String> {
    client.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut octet = [0];
    let silent = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
    match client.stream.peek(&mut octet) {
        Err(error) if silent.contains(&error.kind()) => None,
        _ => Some(client.try_reply().unwrap_or_default()),
    }
}

/// A start with few descriptors lets fewer clients in, so that those who are in can deliver.
#[test]
fn few_descriptors_mean_few_connections_and_those_work() {
    let house = House::new();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" serve --config \"$1\"", BINARY]);
    let daemon = Daemon::start(command.arg(house.path("config")));
    daemon.log.line("concurrency 200 needs more descriptors: serving 32 at once");
    let mut clients: Vec<Client> = (0..32).map(|_| daemon.client()).collect();
    let mut one_more = Client::connect(daemon.address());
    assert_eq!(one_more.reply(), "421 4.7.0 Too many connections, try again later");
    for client in &mut clients {
        assert!(client.deliver(&small("few")).starts_with("250"));
    }
    for mut client in clients {
        client.expect("QUIT", "221");
        client.ended();
    }
    assert_eq!(house.mails().len(), 32);
    daemon.stop();
}

/// Descriptors run out before the configured number of clients: those who are in are served, others
/// hear 421 or wait, the processor rests meanwhile, and later all is as before.
#[test]
fn without_descriptors_it_neither_spins_nor_stays_deaf() {
    let house = House::new();
    house.discard();
    let daemon = house.start();
    // After the start, which would have allowed for it.
    let limited = Command::new("prlimit")
        .args(["--pid", &daemon.pid().to_string(), "--nofile=64:64"])
        .status();
    if !limited.is_ok_and(|status| status.success()) {
        daemon.stop();
        return skip("daemon::without_descriptors", "no prlimit, or not allowed");
    }

    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(daemon.address())).collect();
    daemon.log.line("cannot accept: ");
    let before = ticks(daemon.pid());
    // Each is somebody who is let in by the descriptor in reserve, twice a second.
    daemon.log.nth("cannot accept: ", 4);
    let used = ticks(daemon.pid()) - before;
    assert!(used < 50, "{used} ticks while it could do nothing");

    let (mut served, mut refused, mut waiting) = (Vec::new(), 0, Vec::new());
    for mut client in clients.drain(..) {
        match fate(&mut client) {
            Some(reply) if reply.starts_with("220 ") => served.push(client),
            Some(reply) => {
                assert_eq!(reply, "421 4.7.0 Too many connections, try again later");
                refused += 1;
            }
            None => waiting.push(client),
        }
    }
    assert!(served.len() >= 40, "{} of 100 served with 64 descriptors", served.len());
    assert!(refused >= 1 && served.len() + refused + waiting.len() == 100);
    for client in &mut served {
        client.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client.expect("EHLO client.example", "250");
        assert!(client.deliver(&small("inside")).starts_with("250"));
    }
    for mut client in served {
        client.expect("QUIT", "221");
        client.ended();
    }
    // Whoever still waits is served now, or was told; then everybody is.
    for mut client in waiting {
        client.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let reply = client.reply();
        assert!(reply.starts_with("220 ") || reply.starts_with("421 4.7.0 "), "{reply}");
    }
    let mut clients: Vec<Client> = (0..30).map(|_| daemon.client()).collect();
    for client in &mut clients {
        assert!(client.deliver(&small("later")).starts_with("250"));
    }
    daemon.signal(Signal::SIGUSR2);
    daemon.log.line("state: 30 connections of 200");
    daemon.stop();
}
