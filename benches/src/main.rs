//! smtpload: a loopback SMTP load generator. See README.md.

use loadtools::args::{self, Args, Mode};
use loadtools::engine::{Idle, run_idle, run_load};
use loadtools::procstat::{Cpu, Mem, own_cpu};
use loadtools::session::Shared;
use loadtools::stats::{Stats, quote};
use loadtools::tls;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn main() {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(a) => a,
        Err(e) => {
            if !e.is_empty() {
                eprintln!("smtpload: {e}");
            }
            eprint!("{}", args::USAGE);
            std::process::exit(2);
        }
    };
    match run(args) {
        Ok(line) => println!("{line}"),
        Err(e) => {
            eprintln!("smtpload: {e}");
            std::process::exit(1);
        }
    }
}

fn run(args: Args) -> std::io::Result<String> {
    let message = match &args.file {
        Some(p) => wire_form(&std::fs::read(p)?),
        None => wire_form(&generated(&args)),
    };
    let sh = Arc::new(Shared {
        message: Arc::new(message),
        tls: tls::client_config(args.resume),
        budget: AtomicU64::new(args.messages),
        serial: AtomicU64::new(0),
        deadline: args.duration.map(|d| Instant::now() + Duration::from_secs_f64(d)),
        args,
    });
    let mem_before = sh.args.target.mem();
    let stop = Arc::new(AtomicBool::new(false));
    let sampler = (sh.args.mem_every > 0).then(|| {
        let (stop, target) = (stop.clone(), sh.args.target.clone());
        let every = Duration::from_millis(sh.args.mem_every);
        std::thread::spawn(move || {
            let mut peak = Mem::default();
            while !stop.load(Ordering::Relaxed) {
                if let Some(m) = target.mem() {
                    peak.pss = peak.pss.max(m.pss);
                    peak.rss = peak.rss.max(m.rss);
                    peak.procs = peak.procs.max(m.procs);
                }
                std::thread::sleep(every);
            }
            peak
        })
    });
    let cpu_before = sh.args.target.cpu();
    let t0 = Instant::now();
    let mut mem_end = None;
    let mut idle = None;
    let mut stats = Stats::default();
    if sh.args.mode == Mode::Idle {
        let (s, i) = run_idle(&sh, || mem_end = sh.args.target.mem())?;
        stats = s;
        idle = Some(i);
    } else {
        let n = sh.args.threads;
        let threads: Vec<_> = (0..n)
            .map(|t| {
                let sh = sh.clone();
                let share = (sh.args.sessions / n + usize::from(t < sh.args.sessions % n)).max(1);
                std::thread::spawn(move || run_load(&sh, share))
            })
            .collect();
        for t in threads {
            stats.merge(t.join().expect("client thread")?);
        }
    }
    let elapsed = t0.elapsed().as_secs_f64();
    let cpu = match (sh.args.target.cpu(), cpu_before) {
        (Some(a), Some(b)) => Some(a.since(&b)),
        _ => None,
    };
    stop.store(true, Ordering::Relaxed);
    let peak = sampler.map(|s| s.join().expect("sampler"));
    Ok(report(&sh.args, stats, elapsed, cpu, (mem_before, peak, mem_end), idle))
}

fn report(
    a: &Args,
    mut st: Stats,
    elapsed: f64,
    cpu: Option<Cpu>,
    (mem_before, mem_peak, mem_end): (Option<Mem>, Option<Mem>, Option<Mem>),
    idle: Option<Idle>,
) -> String {
    let own = own_cpu();
    let mode = match a.mode {
        Mode::Send => "send",
        Mode::Connect => "connect",
        Mode::Handshake => "handshake",
        Mode::Idle => "idle",
    };
    let mut o = format!("{{\"target\":{},\"mode\":\"{mode}\"", quote(&a.addr.to_string()));
    let mut put = |k: &str, v: String| o.push_str(&format!(",\"{k}\":{v}"));
    put("sessions", a.sessions.to_string());
    put("per_conn", a.per_conn.to_string());
    put("body", a.body.to_string());
    put("elapsed_s", format!("{elapsed:.3}"));
    put("conns", st.conns.to_string());
    put("conns_per_s", format!("{:.1}", st.conns as f64 / elapsed));
    if a.mode == Mode::Send {
        put("accepted", st.accepted.to_string());
        put("failed", st.failed.to_string());
        put("msgs_per_s", format!("{:.1}", st.accepted as f64 / elapsed));
        put("mib_per_s", format!("{:.2}", st.bytes as f64 / elapsed / 1048576.0));
    }
    if st.handshakes > 0 {
        put("handshakes", st.handshakes.to_string());
        put("handshakes_per_s", format!("{:.1}", st.handshakes as f64 / elapsed));
    }
    put("connect_errors", st.connect_errors.to_string());
    put("early_close", st.early_close.to_string());
    put("timeouts", st.timeouts.to_string());
    if let Some(i) = &idle {
        put("idle_requested", a.idle.to_string());
        put("idle_opened", i.opened.to_string());
        put("idle_bannered", i.held.to_string());
        put("idle_no_banner", i.no_banner.to_string());
        put("idle_held_at_end", i.held_at_end.to_string());
        put("idle_open_s", format!("{:.3}", i.open_seconds));
    }
    put("latency_ms", st.latency_json());
    put("replies", st.replies_json());
    if a.mix > 0 {
        put("mix", st.mix_json());
    }
    if let Some(c) = cpu {
        let units = if a.mode == Mode::Send { st.accepted } else { st.conns };
        put("server_cpu_user_s", format!("{:.3}", c.user));
        put("server_cpu_sys_s", format!("{:.3}", c.sys));
        put("server_cpu_s_per_1000", format!("{:.4}", c.total() * 1000.0 / units.max(1) as f64));
    }
    for (name, m) in [("before", mem_before), ("peak", mem_peak), ("end", mem_end)] {
        if let Some(m) = m {
            put(
                &format!("mem_{name}"),
                format!("{{\"pss_kib\":{},\"rss_kib\":{},\"procs\":{}}}", m.pss, m.rss, m.procs),
            );
        }
    }
    put("client_cpu_s", format!("{:.3}", own.total()));
    let ex: Vec<String> = st.examples.iter().map(|e| quote(e)).collect();
    put("examples", format!("[{}]", ex.join(",")));
    o.push('}');
    o
}

/// A plain message whose body has about the size asked for, in lines of 78 characters.
fn generated(a: &Args) -> Vec<u8> {
    let mut m = format!(
        "From: <{}>\nTo: <{}>\nSubject: load test\nDate: Thu, 01 Jan 2026 00:00:00 +0000\n\
         Message-ID: <load.{}@client.test>\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=us-ascii\n\n",
        a.from,
        a.to.replace("%d", "0"),
        std::process::id()
    )
    .into_bytes();
    let alphabet = b"abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789";
    let head = m.len();
    let mut i = 0usize;
    // The wire form adds one byte a line, hence 80 bytes for 78 characters.
    while (m.len() - head) + i / 78 < a.body {
        m.push(alphabet[(i * 7 + i / 78) % alphabet.len()]);
        i += 1;
        if i.is_multiple_of(78) {
            m.push(b'\n');
        }
    }
    if !m.ends_with(b"\n") {
        m.push(b'\n');
    }
    m
}

/// CRLF lines, dots doubled, the end-of-data mark appended.
fn wire_form(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 40 + 8);
    for line in text.split_inclusive(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::wire_form;

    #[test]
    fn dots_are_doubled_and_lines_end_in_crlf() {
        assert_eq!(wire_form(b"a\n.b\r\nc"), b"a\r\n..b\r\nc\r\n.\r\n");
    }
}
