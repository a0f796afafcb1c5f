//! slowlists: many clients at once whose address has to be looked up, each from a loopback address of
//! its own, and one client beside them that is not looked up. For a server whose name server is
//! slowdns. Prints one JSON line, times in milliseconds:
//!
//!   banner   connect to 220, of the many
//!   rcpt     connect to the answer to RCPT, of the many
//!   fast     from each command (or connect) to its reply, of the one, while the many were there
//!   quiet    the same before they came
//!
//!   slowlists [--sessions N] [--to ADDRESS] ADDR:PORT

use loadtools::stats::Samples;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A session that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the one is alone.
const QUIET: Duration = Duration::from_secs(1);

/// One of the many.
struct Session {
    socket: TcpStream,
    began: Instant,
    input: Vec<u8>,
    /// Commands said so far.
    said: usize,
}

/// What came of all.
#[derive(Default)]
struct Results {
    banner: Samples,
    rcpt: Samples,
    /// First digit of the answer to RCPT, or why there was none.
    ends: BTreeMap<String, u64>,
}

fn main() -> io::Result<()> {
    let (mut sessions, mut to, mut server) = (2_000_u32, "user@bench.example".to_string(), None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--sessions" => {
                sessions = words.next().and_then(|it| it.parse().ok()).expect("a number")
            }
            "--to" => to = words.next().expect("an address"),
            "-h" | "--help" => {
                println!("usage: slowlists [--sessions N] [--to ADDRESS] ADDR:PORT");
                return Ok(());
            }
            other => server = Some(other.parse::<SocketAddr>().expect("ADDR:PORT")),
        }
    }
    let server = server.filter(|it| it.ip().is_loopback()).expect("an address on loopback");
    let commands = [
        "EHLO mail.bench.example\r\n".to_string(),
        "MAIL FROM:<a@sender.example>\r\n".to_string(),
        format!("RCPT TO:<{to}>\r\n"),
        "QUIT\r\n".to_string(),
    ];

    let stop = Arc::new(AtomicBool::new(false));
    let one = {
        let (stop, commands) = (Arc::clone(&stop), commands.clone());
        std::thread::spawn(move || alone(server, &commands, &stop))
    };
    std::thread::sleep(QUIET);
    let began = Instant::now();
    let mut results = many(server, sessions, &commands)?;
    let ended = Instant::now();
    stop.store(true, Ordering::Relaxed);
    let replies = one.join().expect("the one client")?;

    let (mut fast, mut quiet) = (Samples::default(), Samples::default());
    for (at, took) in replies {
        if at >= began && at <= ended { fast.add(took) } else { quiet.add(took) }
    }
    let ends: Vec<String> = results.ends.iter().map(|(end, n)| format!("\"{end}\":{n}")).collect();
    println!(
        "{{\"sessions\":{sessions},\"elapsed_s\":{:.3},\"ends\":{{{}}},\"banner\":{},\"rcpt\":{},\"fast\":{},\"quiet\":{}}}",
        (ended - began).as_secs_f64(),
        ends.join(","),
        results.banner.json(),
        results.rcpt.json(),
        fast.json(),
        quiet.json()
    );
    Ok(())
}

/// The one client: connects and says everything, again and again. When each reply came, and how long
/// it took.
fn alone(
    server: SocketAddr,
    commands: &[String],
    stop: &AtomicBool,
) -> io::Result<Vec<(Instant, Duration)>> {
    let mut replies = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut asked = Instant::now();
        let stream = std::net::TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = &stream;
        for command in [""].into_iter().chain(commands.iter().map(String::as_str)) {
            if !command.is_empty() {
                asked = Instant::now();
                writer.write_all(command.as_bytes())?;
            }
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Err(io::Error::other("the one client was sent away"));
                }
                if !line.starts_with('2') {
                    return Err(io::Error::other(format!("the one client was told {line}")));
                }
                if line.as_bytes().get(3) != Some(&b'-') {
                    break;
                }
            }
            let now = Instant::now();
            replies.push((now, now - asked));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(replies)
}

/// All the others, in one loop.
fn many(server: SocketAddr, sessions: u32, commands: &[String]) -> io::Result<Results> {
    let mut poll = Poll::new()?;
    let mut open = BTreeMap::new();
    for number in 0..sessions {
        let mut socket = connect(server, Ipv4Addr::from(0x7f01_0000 + number))?;
        let interest = Interest::READABLE;
        poll.registry().register(&mut socket, Token(number as usize), interest)?;
        let began = Instant::now();
        open.insert(number as usize, Session { socket, began, input: Vec::new(), said: 0 });
    }
    let (mut results, mut events) = (Results::default(), Events::with_capacity(1_024));
    let until = Instant::now() + PATIENCE;
    while !open.is_empty() && Instant::now() < until {
        poll.poll(&mut events, Some(Duration::from_millis(500)))?;
        for event in &events {
            let Some(session) = open.get_mut(&event.token().0) else { continue };
            if session.go_on(commands, &mut results)? {
                open.remove(&event.token().0);
            }
        }
    }
    *results.ends.entry("silent".to_string()).or_default() += open.len() as u64;
    Ok(results)
}

fn connect(server: SocketAddr, source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&server.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    Ok(TcpStream::from_std(socket.into()))
}

impl Session {
    /// Reads what is there, and says the next command behind each whole reply. True at its end.
    fn go_on(&mut self, commands: &[String], results: &mut Results) -> io::Result<bool> {
        let mut buffer = [0; 4_096];
        let ended = loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) => self.input.extend(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        while let Some(end) = self.input.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if line.get(3) == Some(&b'-') {
                continue;
            }
            match self.said {
                0 => results.banner.add(self.began.elapsed()),
                3 => {
                    results.rcpt.add(self.began.elapsed());
                    let code = String::from_utf8_lossy(line.get(..3).unwrap_or_default());
                    *results.ends.entry(code.into_owned()).or_default() += 1;
                }
                _ => {}
            }
            if let Some(command) = commands.get(self.said) {
                // A few octets fit into an empty buffer.
                self.socket.write_all(command.as_bytes())?;
                self.said += 1;
            }
        }
        if ended && self.said < commands.len() {
            *results.ends.entry(format!("closed after {} commands", self.said)).or_default() += 1;
        }
        Ok(ended)
    }
}
