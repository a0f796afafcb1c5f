//! Sockets that somebody else has opened (LISTEN_FDS), by a shell and by systemd's own program.

use crate::daemon::client::{Client, small};
use crate::daemon::house::{BINARY, House};
use crate::daemon::services::{Served, find};
use crate::daemon::system::{skip, until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// The daemon by a shell that hands on this socket, with these variables (`$$` is the daemon).
fn handed_on(house: &House, socket: &TcpListener, variables: &str) -> Command {
    redirected(house, socket, "3<&0", variables)
}

/// The same, with descriptors as the shell makes them of its standard input.
fn redirected(house: &House, socket: &TcpListener, these: &str, variables: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("exec {these} 0</dev/null\nexport {variables}\nexec \"$@\"");
    command.args(["-c", &script, "sh", BINARY, "serve", "--config"]);
    command.arg(house.path("config")).arg("--log").arg(house.path("log"));
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    command
}

fn log(house: &House) -> String {
    fs::read_to_string(house.path("log")).unwrap_or_default()
}

/// A house that listens where the socket does, and at one more address.
fn house_of(socket: &TcpListener) -> House {
    let house = House::new();
    house.set("listen", &format!("127.0.0.1:0\n{}", socket.local_addr().unwrap()));
    house
}

/// Clients that come while nobody serves are served by the next daemon, and none is refused.
#[test]
fn a_socket_stays_while_the_daemon_is_started_again() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let house = house_of(&socket);
    for number in 1..=3 {
        let mut early = Client::connect(address);
        let mut command =
            handed_on(&house, &socket, "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=smtp");
        let daemon = Served(command.spawn().unwrap());
        early.hello();
        assert!(early.deliver(&small("early")).starts_with("250"));
        drop(early);
        assert_eq!(house.mails().len(), number);
        // The other address was bound.
        let other = until("the other address", || {
            let log = log(&house);
            let mut found = log.lines().filter_map(|line| line.split_once("Listening on "));
            found.nth(2 * (number - 1))?.1.parse().ok()
        });
        assert_ne!(address, other);
        Client::connect(other).hello();
        daemon.stop();
        assert!(TcpStream::connect(other).is_err());
    }
    assert_eq!(log(&house).matches(&format!("Listening on {address}")).count(), 3);
}

/// A program that the daemon starts must neither take the variables for its own nor get the socket.
#[test]
fn programs_do_not_hear_of_the_socket() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let house = house_of(&socket);
    let script = "env >$here/environment; ls -l /proc/self/fd >$here/open; cat <&3 >/dev/null";
    let checker = house.program("checker", script).display().to_string();
    house.set("tls_before_auth", "0");
    house.set("plugins", &format!("auth/auth_checkpassword checkpw {checker}\nqueue/discard"));
    let variables = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=smtp STAYS=1";
    let daemon = Served(handed_on(&house, &socket, variables).spawn().unwrap());
    let mut client = Client::connect(socket.local_addr().unwrap());
    client.hello();
    client.expect(&format!("AUTH PLAIN {}", STANDARD.encode("\0ann\0secret")), "235");
    let environment = fs::read_to_string(house.path("environment")).unwrap();
    assert!(environment.contains("STAYS=1"), "{environment}");
    assert!(!environment.contains("LISTEN_"), "{environment}");
    let open = fs::read_to_string(house.path("open")).unwrap();
    assert!(!open.contains("socket:"), "{open}");
    drop(client);
    daemon.stop();
}

#[test]
fn what_is_handed_on_wrongly_is_told() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let elsewhere = House::new();
    let here = house_of(&socket);
    let stranger =
        format!("a socket for {address} was handed on (LISTEN_FDS), but the file `listen`");
    let rows = [
        (&elsewhere, "LISTEN_PID=$$ LISTEN_FDS=1", stranger.as_str()),
        (&here, "LISTEN_PID=$$ LISTEN_FDS=2", "LISTEN_FDS: descriptor 4 is not open"),
        (&here, "LISTEN_PID=$$ LISTEN_FDS=many", "LISTEN_FDS=many: not a number that can be"),
        // For another process: the port is bound, which fails as somebody has it.
        (&here, "LISTEN_PID=1 LISTEN_FDS=1", "another server holds the port"),
        (&here, "LISTEN_FDS=1", "another server holds the port"),
    ];
    for (house, variables, expected) in rows {
        let output = handed_on(house, &socket, variables).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{variables}: {said}");
        assert!(said.contains(expected), "{variables}: {said}");
    }
    let variables = "LISTEN_PID=$$ LISTEN_FDS=2";
    let mut command = redirected(&here, &socket, "3<&0 4<&0", variables);
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("or it came twice"), "{said}");
}

/// A socket for both families, as systemd opens it for `ListenStream=25`: the IPv4 address of a client is
/// found in lists of such addresses.
#[test]
fn a_socket_for_both_families_serves_both() {
    // std opens it for both, unless the machine says otherwise or has no IPv6.
    let name = "services::a_socket_for_both_families_serves_both";
    let Ok(socket) = TcpListener::bind("[::]:0") else { return skip(name, "no IPv6 here") };
    let port = socket.local_addr().unwrap().port();
    if TcpStream::connect(("127.0.0.1", port)).is_err() {
        return skip(name, "IPv6 sockets take IPv6 only here");
    }
    let house = House::new();
    house.set("listen", &format!("[::]:{port}"));
    house.set("norelayclients", "127.0.0.1");
    house.set("plugins", "relay\nrcpt_ok\nqueue/discard");
    let daemon = Served(handed_on(&house, &socket, "LISTEN_PID=$$ LISTEN_FDS=1").spawn().unwrap());
    for (address, relays) in [("127.0.0.1", "550"), ("::1", "250")] {
        let to = SocketAddr::new(address.parse().unwrap(), port);
        let mut client = Client::connect(to);
        client.hello();
        client.expect("MAIL FROM:<a@client.example>", "250");
        client.expect("RCPT TO:<b@elsewhere.example>", relays);
    }
    daemon.stop();
    let said = log(&house);
    assert!(said.contains("from 127.0.0.1 / ") && said.contains("from ::1 / "), "{said}");
    assert!(!said.contains("ffff"), "{said}");
}

#[test]
fn systemd_hands_on_a_socket() {
    let Some(activate) = find("systemd-socket-activate") else {
        return skip("services::systemd_hands_on_a_socket", "systemd not installed");
    };
    // An address of its own, so that no other test is given the port meanwhile.
    let free = TcpListener::bind("127.0.33.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let house = House::new();
    house.set("listen", &address.to_string());
    let mut command = Command::new(activate);
    command.args(["-l", &address.to_string(), BINARY, "serve", "--config"]);
    command.arg(house.path("config")).arg("--log").arg(house.path("log"));
    let daemon = Served(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    // It waits for the first client before it becomes the daemon.
    let stream = until("the socket", || TcpStream::connect(address).ok());
    let mut client = Client::over(stream);
    client.hello();
    assert!(client.deliver(&small("by systemd")).starts_with("250"));
    assert_eq!(house.mails().len(), 1);
    drop(client);
    daemon.stop();
}
