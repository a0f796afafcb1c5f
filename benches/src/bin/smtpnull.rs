//! smtpnull: the smallest SMTP server that can take the load, as a yardstick for the machine.
//! It parses just enough to find the end of data. Not a mail server: loopback only.
//!
//!   smtpnull [--threads N] [--store DIR [--sync none|file|full]] PORT
//!
//! With --store each message is written to DIR/tmp.N and renamed to DIR/new.N before the 250;
//! `file` fsyncs the file first, `full` the directory too. Writes block their event loop, so give
//! it threads when it syncs. Each thread has its own listener (SO_REUSEPORT) and event loop.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, PartialEq)]
enum Sync {
    None,
    File,
    Full,
}

struct Conf {
    store: Option<String>,
    sync: Sync,
    serial: AtomicU64,
}

struct Conn {
    sock: TcpStream,
    buf: Vec<u8>,
    data: bool,
    message: Vec<u8>,
    out: Vec<u8>,
}

fn main() -> io::Result<()> {
    let (mut threads, mut port, mut store, mut sync) = (1usize, 0u16, None, Sync::None);
    let mut it = std::env::args().skip(1);
    while let Some(a) = it.next() {
        match a.as_str() {
            "--threads" => threads = it.next().and_then(|v| v.parse().ok()).expect("number"),
            "--store" => store = it.next(),
            "--sync" => {
                sync = match it.next().as_deref() {
                    Some("file") => Sync::File,
                    Some("full") => Sync::Full,
                    _ => Sync::None,
                }
            }
            "-h" | "--help" => {
                println!(
                    "usage: smtpnull [--threads N] [--store DIR [--sync none|file|full]] PORT"
                );
                return Ok(());
            }
            p => port = p.parse().expect("port"),
        }
    }
    let conf = Arc::new(Conf { store, sync, serial: AtomicU64::new(0) });
    let handles: Vec<_> = (0..threads)
        .map(|_| {
            let conf = conf.clone();
            std::thread::spawn(move || serve(port, &conf))
        })
        .collect();
    for h in handles {
        h.join().expect("thread")?;
    }
    Ok(())
}

fn listener(port: u16) -> io::Result<TcpListener> {
    let s = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    s.set_reuse_address(true)?;
    s.set_reuse_port(true)?;
    s.set_nonblocking(true)?;
    let addr: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
    s.bind(&addr.into())?;
    s.listen(4096)?;
    Ok(TcpListener::from_std(s.into()))
}

fn serve(port: u16, conf: &Conf) -> io::Result<()> {
    let mut l = listener(port)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut l, Token(usize::MAX), Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut conns: Vec<Option<Conn>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    loop {
        poll.poll(&mut events, None)?;
        for ev in &events {
            let t = ev.token().0;
            if t == usize::MAX {
                while let Ok((mut sock, _)) = l.accept() {
                    let _ = sock.set_nodelay(true);
                    let i = free.pop().unwrap_or_else(|| {
                        conns.push(None);
                        conns.len() - 1
                    });
                    poll.registry().register(&mut sock, Token(i), Interest::READABLE)?;
                    let mut c = Conn {
                        sock,
                        buf: Vec::new(),
                        data: false,
                        message: Vec::new(),
                        out: b"220 null ESMTP\r\n".to_vec(),
                    };
                    let _ = c.flush();
                    conns[i] = Some(c);
                }
                continue;
            }
            let Some(c) = &mut conns[t] else { continue };
            if !matches!(c.ready(conf), Ok(true)) {
                conns[t] = None;
                free.push(t);
            }
        }
    }
}

impl Conn {
    fn flush(&mut self) -> io::Result<()> {
        // Replies are far smaller than a socket buffer; a peer that does not read is dropped.
        let r = self.sock.write_all(&self.out);
        self.out.clear();
        r
    }

    /// false: done.
    fn ready(&mut self, conf: &Conf) -> io::Result<bool> {
        let mut chunk = [0u8; 65536];
        loop {
            match self.sock.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.buf.extend_from_slice(&chunk[..n]);
                    let go_on = self.digest(conf)?;
                    self.flush()?;
                    if !go_on {
                        return Ok(false);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) => return Err(e),
            }
        }
    }

    fn digest(&mut self, conf: &Conf) -> io::Result<bool> {
        loop {
            if self.data {
                // Search from a little before the new bytes: the mark may straddle two reads.
                let from = self.message.len().saturating_sub(4);
                self.message.append(&mut self.buf);
                let Some(p) = self.message[from..].windows(5).position(|w| w == b"\r\n.\r\n")
                else {
                    if conf.store.is_none() {
                        let keep = self.message.len().saturating_sub(4);
                        self.message.drain(..keep);
                    }
                    return Ok(true);
                };
                let end = from + p + 5;
                self.buf = self.message.split_off(end);
                store(conf, &self.message)?;
                self.message.clear();
                self.data = false;
                self.out.extend_from_slice(b"250 ok\r\n");
            }
            let Some(nl) = self.buf.iter().position(|&b| b == b'\n') else { return Ok(true) };
            let verb = self.buf.first().map(|b| b.to_ascii_uppercase());
            self.buf.drain(..=nl);
            match verb {
                Some(b'D') => {
                    self.data = true;
                    self.out.extend_from_slice(b"354 go\r\n");
                }
                Some(b'Q') => {
                    self.out.extend_from_slice(b"221 bye\r\n");
                    return Ok(false);
                }
                Some(b'E') => self.out.extend_from_slice(b"250-null\r\n250 PIPELINING\r\n"),
                _ => self.out.extend_from_slice(b"250 ok\r\n"),
            }
        }
    }
}

fn store(conf: &Conf, message: &[u8]) -> io::Result<()> {
    let Some(dir) = &conf.store else { return Ok(()) };
    let n = conf.serial.fetch_add(1, Ordering::Relaxed);
    let tmp = format!("{dir}/tmp.{n}");
    let mut f = File::create(&tmp)?;
    f.write_all(message)?;
    if conf.sync != Sync::None {
        f.sync_all()?;
    }
    fs::rename(&tmp, format!("{dir}/new.{n}"))?;
    if conf.sync == Sync::Full {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}
