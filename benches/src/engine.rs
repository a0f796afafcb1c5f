//! The event loop of one client thread.

use crate::args::Mode;
use crate::mix::KINDS;
use crate::session::{End, Session, Shared};
use crate::stats::Stats;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

struct Slots {
    poll: Poll,
    slots: Vec<Option<Session>>,
    free: Vec<usize>,
    active: usize,
}

impl Slots {
    fn new() -> io::Result<Slots> {
        Ok(Slots { poll: Poll::new()?, slots: Vec::new(), free: Vec::new(), active: 0 })
    }

    /// Starts a connection; the socket is registered for both directions, edge-triggered.
    fn open(&mut self, sh: &Shared, plain_only: bool) -> io::Result<usize> {
        let n = sh.serial.fetch_add(1, Ordering::Relaxed);
        let mix =
            if !plain_only && sh.args.mode == Mode::Send && (n * 37) % 100 < sh.args.mix as u64 {
                Some(&KINDS[(n / 3) as usize % KINDS.len()])
            } else {
                None
            };
        let sock =
            Socket::new(Domain::for_address(sh.args.addr), Type::STREAM, Some(Protocol::TCP))?;
        sock.set_nonblocking(true)?;
        sock.set_nodelay(true)?;
        if sh.args.sources > 1 {
            let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + (n % sh.args.sources as u64) as u8));
            // Defer the choice of a port to connect(), so that ports are shared per destination.
            set_bind_no_port(&sock)?;
            sock.bind(&SocketAddr::new(ip, 0).into())?;
        }
        // On loopback the handshake is over, and the banner perhaps there, when connect returns.
        let began = Instant::now();
        match sock.connect(&sh.args.addr.into()) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(e) => return Err(e),
        }
        let mut stream = TcpStream::from_std(sock.into());
        let i = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(i), both)?;
        let mut session = Session::new(stream, sh, mix);
        session.started = began;
        self.slots[i] = Some(session);
        self.active += 1;
        Ok(i)
    }

    fn close(&mut self, i: usize) {
        if self.slots[i].take().is_some() {
            self.free.push(i);
            self.active -= 1;
        }
    }
}

fn set_bind_no_port(sock: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let r = unsafe {
        libc::setsockopt(
            sock.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&on as *const libc::c_int).cast(),
            std::mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `sessions` concurrent sessions until the shared budget is used up.
pub fn run_load(sh: &Shared, sessions: usize) -> io::Result<Stats> {
    let mut st = Stats::default();
    let mut w = Slots::new()?;
    let mut events = Events::with_capacity(1024);
    let mut next_scan = Instant::now() + Duration::from_millis(500);
    loop {
        while w.active < sessions && sh.claim() {
            match w.open(sh, false) {
                Ok(_) => st.conns += 1,
                Err(e) => {
                    st.connect_errors += 1;
                    st.failed += 1;
                    st.example(format!("connect: {e}"));
                }
            }
        }
        if w.active == 0 {
            return Ok(st);
        }
        poll(&mut w.poll, &mut events, 200)?;
        for ev in &events {
            let i = ev.token().0;
            let Some(s) = w.slots.get_mut(i).and_then(|s| s.as_mut()) else { continue };
            if s.ready(sh, &mut st, ev.is_read_closed() || ev.is_error()) == End::Closed {
                w.close(i);
            }
        }
        if Instant::now() >= next_scan {
            next_scan = Instant::now() + Duration::from_millis(500);
            expire(&mut w, sh, &mut st);
        }
    }
}

fn expire(w: &mut Slots, sh: &Shared, st: &mut Stats) {
    for i in 0..w.slots.len() {
        let Some(s) = &mut w.slots[i] else { continue };
        if s.last_progress.elapsed() > s.patience(sh) {
            if !s.is_mix() {
                st.timeouts += 1;
            }
            s.lost(st, "timeout");
            w.close(i);
        }
    }
}

/// What idle mode found.
pub struct Idle {
    pub opened: u64,
    pub held: u64,
    pub no_banner: u64,
    pub open_seconds: f64,
    pub held_at_end: u64,
}

/// Opens `args.idle` connections, `ramp` at a time, holds them, calls `at_end` and lets go.
pub fn run_idle(sh: &Shared, at_end: impl FnOnce()) -> io::Result<(Stats, Idle)> {
    let mut st = Stats::default();
    let mut w = Slots::new()?;
    let mut events = Events::with_capacity(1024);
    let t0 = Instant::now();
    let wait = Duration::from_secs_f64(sh.args.banner_wait);
    let mut opened = 0u64;
    let mut hold_until: Option<Instant> = None;
    let mut open_seconds = 0.0;
    loop {
        // Connections that reached the stage, and those given up on, no longer hold the ramp.
        let pending =
            w.slots.iter().flatten().filter(|s| !s.is_held() && s.started.elapsed() < wait).count();
        let mut room = sh.args.ramp.saturating_sub(pending);
        while (opened as usize) < sh.args.idle && room > 0 {
            match w.open(sh, true) {
                Ok(_) => st.conns += 1,
                Err(e) => {
                    st.connect_errors += 1;
                    st.example(format!("connect: {e}"));
                }
            }
            opened += 1;
            room -= 1;
        }
        if hold_until.is_none() && opened as usize == sh.args.idle && pending == 0 {
            open_seconds = t0.elapsed().as_secs_f64();
            hold_until = Some(Instant::now() + Duration::from_secs_f64(sh.args.hold));
        }
        if hold_until.is_some_and(|t| Instant::now() >= t) {
            break;
        }
        poll(&mut w.poll, &mut events, 50)?;
        for ev in &events {
            let i = ev.token().0;
            let Some(s) = w.slots.get_mut(i).and_then(|s| s.as_mut()) else { continue };
            if s.ready(sh, &mut st, ev.is_read_closed() || ev.is_error()) == End::Closed {
                w.close(i);
            }
        }
    }
    at_end();
    let held_at_end = w.slots.iter().flatten().filter(|s| s.is_held()).count() as u64;
    let no_banner = w.slots.iter().flatten().filter(|s| !s.bannered).count() as u64;
    let idle = Idle { opened: st.conns, held: st.bannered, no_banner, open_seconds, held_at_end };
    Ok((st, idle))
}

fn poll(p: &mut Poll, events: &mut Events, ms: u64) -> io::Result<()> {
    match p.poll(events, Some(Duration::from_millis(ms))) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
        r => r,
    }
}
