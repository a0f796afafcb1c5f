//! What TLS adds to an idle client: the server's end of a connection behind its handshake.

use super::cost;
use crate::dialogue::tls::config;
use mailreeve::config::files::Files;
use mailreeve::config::tls::Tls;
use mailreeve::server::tls::{Contexts, Step, Stream, Taken, self_signed};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// Octets that TLS may add to an idle client.
const TLS_IDLE_MAX: usize = 8 * 1_024;

const NOW: Duration = Duration::from_secs(1_795_000_000);

/// The server's socket, in memory.
#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.to_server.read(buffer) {
            Ok(0) => Err(ErrorKind::WouldBlock.into()),
            other => other,
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.to_client.write(octets)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn contexts() -> Contexts {
    let (certificate, key) = self_signed(&["mx.example.net".to_string()], NOW).unwrap();
    let file = |name: &str, text: &str| (name.to_string(), text.to_string());
    let files = [file("tls_cert", "/pem"), file("/pem", &(certificate + &key))];
    let mut problems = Vec::new();
    let tls = Tls::load(&Files::in_memory(files), None, &mut problems);
    let contexts = Contexts::build(&tls, NOW, &mut problems);
    contexts.unwrap_or_else(|| panic!("{problems:?}"))
}

/// A connection that has said and heard so many octets, and does nothing now.
fn idle(contexts: &Contexts, config: &Arc<ClientConfig>, octets: usize) -> Stream {
    let mut server = contexts.stream(false, Vec::new());
    let name = ServerName::try_from("mx.example.net").unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
    client.set_buffer_limit(None);
    let mut wire = Wire::default();
    let mut done = false;
    while !done {
        while client.wants_write() {
            client.write_tls(&mut wire.to_server).unwrap();
        }
        match server.handshake(&mut wire, &mut true) {
            Ok(Step::More) => {}
            Ok(Step::Work(hello)) => server.answered(hello.answer().unwrap()),
            Ok(Step::Done(_)) => done = true,
            Err(failure) => panic!("{}", failure.why),
        }
        while !wire.to_client.is_empty() {
            client.read_tls(&mut wire.to_client).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    let text = vec![b'x'; octets];
    client.writer().write_all(&text).unwrap();
    while client.wants_write() {
        client.write_tls(&mut wire.to_server).unwrap();
    }
    let (mut heard, mut readable) = (0, true);
    let mut buffer = vec![0; 64 * 1_024];
    while let Taken::Octets(count) = server.read(&mut wire, &mut readable, &mut buffer) {
        heard += count;
    }
    assert_eq!((heard, readable), (octets, false));
    assert_eq!(server.write(&mut wire, &text).unwrap(), octets);
    assert!(!server.has_output());
    server
}

#[test]
fn an_idle_client_under_tls_is_not_much_larger() {
    const COUNT: usize = 20;
    let contexts = contexts();
    for version in [&TLS13, &TLS12] {
        let config = Arc::new(config(&[version]).unwrap());
        let version = format!("{:?}", version.version);
        for said in [50, 1_000_000] {
            let (octets, streams) = cost(|| {
                let mut streams = Vec::with_capacity(COUNT);
                streams.extend((0..COUNT).map(|_| Box::new(idle(&contexts, &config, said))));
                streams
            });
            let each = octets / streams.len();
            println!("{version}, {said} octets each way: {each} octets");
            assert!(each <= TLS_IDLE_MAX, "{version}: {each} octets");
        }
    }
}
