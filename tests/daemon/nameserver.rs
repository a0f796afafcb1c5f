//! A name server for tests: TXT records over UDP on loopback, aliases that lead in a circle, silence.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a name has.
#[derive(Clone, Debug)]
pub(crate) enum Has {
    /// TXT records.
    Texts(Vec<String>),
    /// It is an alias of this name.
    Alias(String),
    /// The server fails.
    Fault,
}

/// A running server; it ends with the value.
pub(crate) struct Names {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    /// Serves these names on a port of loopback, 0 for any; all others do not exist.
    pub(crate) fn serve(port: u16, names: &[(&str, Has)]) -> Names {
        let lower = |(name, has): &(&str, Has)| (name.to_ascii_lowercase(), has.clone());
        let names: BTreeMap<String, Has> = names.iter().map(lower).collect();
        let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let (asked, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&asked), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut query = [0; 4_096];
            while !end.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut query) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let _gone = socket.send_to(&reply(&query[..length], &names), client);
            }
        });
        Names { address, asked, over, thread: Some(thread) }
    }

    /// As `--resolver` and the file `resolvers` want it.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Datagrams that came in so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// The reply to one query (RFC 1035 section 4.1).
fn reply(query: &[u8], names: &BTreeMap<String, Has>) -> Vec<u8> {
    let (name, end) = question(query);
    let is_txt = query[end..end + 2] == [0, 16];
    let mut answers = Vec::new();
    let mut code = 0;
    match names.get(&name) {
        None => code = 3,
        Some(Has::Fault) => code = 2,
        Some(Has::Alias(other)) => answers.push(record(5, &wire_name(other))),
        Some(Has::Texts(texts)) if is_txt => {
            let strings = |text: &String| {
                let pieces = text.as_bytes().chunks(255);
                let piece = |it: &[u8]| [&[u8::try_from(it.len()).unwrap()], it].concat();
                record(16, &pieces.flat_map(piece).collect::<Vec<u8>>())
            };
            answers.extend(texts.iter().map(strings));
        }
        Some(Has::Texts(_)) => {}
    }
    let mut out = query[..2].to_vec();
    out.extend([0x84, code, 0, 1, 0, u8::try_from(answers.len()).unwrap(), 0, 0, 0, 0]);
    out.extend(&query[12..end + 4]);
    out.extend(answers.concat());
    out
}

/// The name that is asked for, in lower case, and where it ends.
fn question(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    (labels.join("."), at + 1)
}

/// A record of the name that was asked for.
fn record(kind: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60][..], &length, data].concat()
}

fn wire_name(name: &str) -> Vec<u8> {
    let label = |it: &str| [&[u8::try_from(it.len()).unwrap()], it.as_bytes()].concat();
    let mut out: Vec<u8> = name.split('.').flat_map(label).collect();
    out.push(0);
    out
}
