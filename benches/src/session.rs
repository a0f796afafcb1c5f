//! One client connection as a state machine over a non-blocking socket: what to say next, and what
//! each reply means. How bytes get in and out, plain or through TLS, is `wire`.

mod wire;

use crate::args::{Args, IdleStage, Mode};
use crate::mix::{Kind, Step};
use crate::stats::Stats;
use mio::net::TcpStream;
use rustls::ClientConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What all sessions share.
pub struct Shared {
    pub args: Args,
    /// The message as sent after 354, dot-stuffed, with the end-of-data mark.
    pub message: Arc<Vec<u8>>,
    pub tls: Arc<rustls::ClientConfig>,
    /// Work still to be started: messages, or connections in the other modes.
    pub budget: AtomicU64,
    pub serial: AtomicU64,
    pub deadline: Option<Instant>,
}

impl Shared {
    /// Claims one unit of work.
    pub fn claim(&self) -> bool {
        if self.deadline.is_some_and(|d| Instant::now() >= d) {
            return false;
        }
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Banner,
    Ehlo,
    StartTls,
    Handshake,
    Mail,
    Rcpt,
    Data,
    Dot,
    Quit,
    Held,
    Mix,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Open,
    Closed,
}

pub struct Session {
    pub sock: TcpStream,
    pub started: Instant,
    pub last_progress: Instant,
    pub bannered: bool,
    tls: Option<Box<ClientConnection>>,
    stage: Stage,
    input: Vec<u8>,
    out: Vec<u8>,
    out_pos: usize,
    body: Option<(Arc<Vec<u8>>, usize)>,
    /// The socket would not take more.
    blocked: bool,
    /// Hang up as soon as the output is written.
    closing: bool,
    /// A message is claimed from the budget and not yet accepted or failed.
    claimed: bool,
    rcpts_left: usize,
    rcpts_ok: usize,
    sent_here: u64,
    t_msg: Instant,
    t_dot: Instant,
    t_tls: Instant,
    mix: Option<(&'static Kind, usize)>,
    last_code: u16,
}

impl Session {
    pub fn new(sock: TcpStream, sh: &Shared, mix: Option<&'static Kind>) -> Session {
        let now = Instant::now();
        let stage = match (mix, sh.args.tls) {
            (Some(_), _) => Stage::Mix,
            (None, true) => Stage::Handshake,
            (None, false) => Stage::Banner,
        };
        let mut s = Session {
            sock,
            started: now,
            last_progress: now,
            bannered: false,
            tls: None,
            stage,
            input: Vec::new(),
            out: Vec::new(),
            out_pos: 0,
            body: None,
            blocked: false,
            closing: false,
            claimed: mix.is_none() && sh.args.mode == Mode::Send,
            rcpts_left: 0,
            rcpts_ok: 0,
            sent_here: 0,
            t_msg: now,
            t_dot: now,
            t_tls: now,
            mix: mix.map(|k| (k, 0)),
            last_code: 0,
        };
        if sh.args.tls && mix.is_none() {
            s.start_tls(sh);
        }
        if mix.is_some() {
            s.mix_run();
        }
        s
    }

    pub fn is_held(&self) -> bool {
        self.stage == Stage::Held
    }

    pub fn is_mix(&self) -> bool {
        self.mix.is_some()
    }

    fn start_tls(&mut self, sh: &Shared) {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let conn = ClientConnection::new(sh.tls.clone(), name).expect("TLS client");
        self.tls = Some(Box::new(conn));
        self.stage = Stage::Handshake;
        self.t_tls = Instant::now();
        self.input.clear();
    }

    /// Handles readiness; `hup` when the event said that the peer closed its side.
    pub fn ready(&mut self, sh: &Shared, st: &mut Stats, hup: bool) -> End {
        self.last_progress = Instant::now();
        loop {
            if let Err(e) = self.flush() {
                return self.lost(st, &e.to_string());
            }
            if self.closing && !self.pending() {
                return self.finish(st);
            }
            let (drained, eof) = match self.fill(hup) {
                Ok(x) => x,
                Err(e) => return self.lost(st, &e.to_string()),
            };
            if self.stage == Stage::Handshake
                && self.tls.as_ref().is_some_and(|t| !t.is_handshaking())
            {
                st.handshakes += 1;
                st.tls.add(self.t_tls.elapsed());
                if sh.args.mode == Mode::Handshake {
                    return self.finish(st);
                }
                if self.bannered {
                    self.say_ehlo(sh);
                } else {
                    self.stage = Stage::Banner;
                }
            }
            while let Some((code, _)) = self.take_reply() {
                if self.on_reply(sh, st, code) == End::Closed {
                    return End::Closed;
                }
            }
            if eof {
                return self.lost(st, "closed by server");
            }
            if self.pending() && !self.blocked {
                continue;
            }
            if drained {
                return End::Open;
            }
        }
    }

    /// The session failed: connection refused, reset, closed by the server or timed out.
    pub fn lost(&mut self, st: &mut Stats, why: &str) -> End {
        if let Some((k, _)) = self.mix {
            let o = match why {
                "timeout" => format!("silent/{}", self.last_code),
                _ => format!("closed/{}", self.last_code),
            };
            st.mix_outcome(k.name, o);
            return End::Closed;
        }
        match self.stage {
            Stage::Quit => return self.finish(st),
            Stage::Held => st.early_close += 1,
            _ => {
                st.early_close += 1;
                st.example(format!("{why} at {:?}, last code {}", self.stage, self.last_code));
                self.fail(st);
            }
        }
        End::Closed
    }

    fn fail(&mut self, st: &mut Stats) {
        if self.claimed {
            st.failed += 1;
            self.claimed = false;
        }
    }

    fn finish(&mut self, st: &mut Stats) -> End {
        if let Some((k, _)) = self.mix {
            st.mix_outcome(k.name, self.last_code.to_string());
        } else {
            st.session.add(self.started.elapsed());
        }
        if let Some(t) = &mut self.tls {
            t.send_close_notify();
            let _ = t.write_tls(&mut self.sock);
        }
        End::Closed
    }

    fn say(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    fn say_ehlo(&mut self, sh: &Shared) {
        self.say(&format!("EHLO {}", sh.args.helo));
        self.stage = Stage::Ehlo;
    }

    fn quit(&mut self, sh: &Shared, st: &mut Stats) -> End {
        if !sh.args.quit {
            return self.finish(st);
        }
        self.say("QUIT");
        self.stage = Stage::Quit;
        End::Open
    }

    fn rcpt_line(&self, sh: &Shared) -> String {
        let to = if sh.args.to.contains("%d") {
            let n = sh.serial.fetch_add(1, Ordering::Relaxed);
            sh.args.to.replace("%d", &n.to_string())
        } else {
            sh.args.to.clone()
        };
        format!("RCPT TO:<{to}>")
    }

    fn start_message(&mut self, sh: &Shared) {
        self.t_msg = Instant::now();
        self.rcpts_left = sh.args.rcpts;
        self.rcpts_ok = 0;
        self.say(&format!("MAIL FROM:<{}>", sh.args.from));
        if sh.args.pipelining {
            for _ in 0..sh.args.rcpts {
                let l = self.rcpt_line(sh);
                self.say(&l);
            }
            self.say("DATA");
        }
        self.stage = Stage::Mail;
    }

    fn on_reply(&mut self, sh: &Shared, st: &mut Stats, code: u16) -> End {
        self.last_code = code;
        let ok = (200..400).contains(&code);
        let name = match self.stage {
            Stage::Banner => "banner",
            Stage::Ehlo => "ehlo",
            Stage::StartTls => "starttls",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::Data => "data",
            Stage::Dot => "dot",
            Stage::Quit => "quit",
            Stage::Held => "held",
            Stage::Mix => return self.mix_reply(st),
            Stage::Handshake => return End::Open,
        };
        st.reply(name, code);
        if code == 421 && self.stage != Stage::Quit && self.stage != Stage::Held {
            self.fail(st);
            st.session.add(self.started.elapsed());
            return End::Closed;
        }
        if !ok && !matches!(self.stage, Stage::Rcpt | Stage::Dot | Stage::Quit | Stage::Held) {
            self.fail(st);
            return self.quit(sh, st);
        }
        let idle = sh.args.mode == Mode::Idle;
        match self.stage {
            Stage::Banner => {
                self.bannered = true;
                st.bannered += 1;
                st.banner.add(self.started.elapsed());
                if idle && sh.args.idle_stage == IdleStage::Banner && !sh.args.starttls {
                    self.stage = Stage::Held;
                } else if sh.args.mode == Mode::Connect {
                    return self.quit(sh, st);
                } else {
                    self.say_ehlo(sh);
                }
            }
            Stage::Ehlo => {
                if sh.args.starttls && self.tls.is_none() {
                    self.say("STARTTLS");
                    self.stage = Stage::StartTls;
                } else if idle && sh.args.idle_stage != IdleStage::Data {
                    self.stage = Stage::Held;
                } else {
                    self.start_message(sh);
                }
            }
            Stage::StartTls => self.start_tls(sh),
            Stage::Mail => {
                if !sh.args.pipelining {
                    let l = self.rcpt_line(sh);
                    self.say(&l);
                }
                self.stage = Stage::Rcpt;
            }
            Stage::Rcpt => {
                self.rcpts_left -= 1;
                if ok {
                    self.rcpts_ok += 1;
                }
                if self.rcpts_left > 0 {
                    if !sh.args.pipelining {
                        let l = self.rcpt_line(sh);
                        self.say(&l);
                    }
                } else if self.rcpts_ok == 0 {
                    self.fail(st);
                    return self.quit(sh, st);
                } else {
                    if !sh.args.pipelining {
                        self.say("DATA");
                    }
                    self.stage = Stage::Data;
                }
            }
            Stage::Data if idle => self.stage = Stage::Held,
            Stage::Data => {
                self.body = Some((sh.message.clone(), 0));
                self.stage = Stage::Dot;
            }
            Stage::Dot => {
                if ok {
                    st.accepted += 1;
                    st.bytes += sh.message.len() as u64;
                    st.msg.add(self.t_msg.elapsed());
                    st.commit.add(self.t_dot.elapsed());
                    self.claimed = false;
                } else {
                    self.fail(st);
                }
                self.sent_here += 1;
                let more = sh.args.per_conn == 0 || self.sent_here < sh.args.per_conn;
                if more && sh.claim() {
                    self.claimed = true;
                    self.start_message(sh);
                } else {
                    return self.quit(sh, st);
                }
            }
            // Replies to commands that were pipelined after a failure may come before 221.
            Stage::Quit if code == 221 || code == 421 => return self.finish(st),
            Stage::Quit if code == 354 => return self.finish(st),
            Stage::Quit | Stage::Held | Stage::Mix | Stage::Handshake => {}
        }
        End::Open
    }

    /// Runs the steps of a misbehaving dialogue up to the next awaited reply.
    fn mix_run(&mut self) {
        let Some((kind, mut i)) = self.mix else { return };
        while let Some(step) = kind.steps.get(i) {
            match step {
                Step::Reply => break,
                Step::Send(b) => self.out.extend_from_slice(b),
                Step::Repeat(b, n) => {
                    for _ in 0..*n {
                        self.out.extend_from_slice(b);
                    }
                }
                Step::Close => self.closing = true,
            }
            i += 1;
        }
        if i == kind.steps.len() {
            self.closing = true;
        }
        self.mix = Some((kind, i));
    }

    fn mix_reply(&mut self, st: &mut Stats) -> End {
        if let Some((_, i)) = &mut self.mix {
            *i += 1;
        }
        self.mix_run();
        if self.closing && !self.pending() {
            return self.finish(st);
        }
        End::Open
    }

    /// Seconds without progress after which the session counts as failed.
    pub fn patience(&self, sh: &Shared) -> Duration {
        Duration::from_secs_f64(if self.is_mix() {
            sh.args.timeout.min(5.0)
        } else {
            sh.args.timeout
        })
    }
}
