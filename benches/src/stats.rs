//! Counters and latency samples, and their JSON form (written by hand: no serde needed).

use std::collections::BTreeMap;
use std::time::Duration;

/// Latency samples in microseconds, summarised as exact percentiles.
#[derive(Default, Clone)]
pub struct Samples(Vec<u32>);

impl Samples {
    pub fn add(&mut self, d: Duration) {
        self.0.push(d.as_micros().min(u32::MAX as u128) as u32);
    }

    pub fn extend(&mut self, other: Samples) {
        self.0.extend(other.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `{"n":..,"p50":..,"p95":..,"p99":..,"max":..}` in milliseconds.
    pub fn json(&mut self) -> String {
        self.0.sort_unstable();
        let n = self.0.len();
        let at = |q: f64| -> f64 {
            if n == 0 {
                return 0.0;
            }
            let i = ((n as f64 * q).ceil() as usize).clamp(1, n) - 1;
            self.0[i] as f64 / 1000.0
        };
        format!(
            "{{\"n\":{n},\"p50\":{:.3},\"p95\":{:.3},\"p99\":{:.3},\"max\":{:.3}}}",
            at(0.50),
            at(0.95),
            at(0.99),
            at(1.0)
        )
    }
}

/// Everything one worker thread counted.
#[derive(Default, Clone)]
pub struct Stats {
    pub accepted: u64,
    pub failed: u64,
    pub bytes: u64,
    pub conns: u64,
    pub bannered: u64,
    pub handshakes: u64,
    pub connect_errors: u64,
    pub early_close: u64,
    pub timeouts: u64,
    /// stage -> reply code -> count
    pub replies: BTreeMap<&'static str, BTreeMap<u16, u64>>,
    /// mix kind -> outcome -> count
    pub mix: BTreeMap<&'static str, BTreeMap<String, u64>>,
    pub banner: Samples,
    pub tls: Samples,
    pub msg: Samples,
    pub commit: Samples,
    pub session: Samples,
    /// First line of some failures, for diagnosis.
    pub examples: Vec<String>,
}

impl Stats {
    pub fn reply(&mut self, stage: &'static str, code: u16) {
        *self.replies.entry(stage).or_default().entry(code).or_default() += 1;
    }

    pub fn mix_outcome(&mut self, kind: &'static str, outcome: String) {
        *self.mix.entry(kind).or_default().entry(outcome).or_default() += 1;
    }

    pub fn example(&mut self, text: String) {
        if self.examples.len() < 5 {
            self.examples.push(text);
        }
    }

    pub fn merge(&mut self, o: Stats) {
        self.accepted += o.accepted;
        self.failed += o.failed;
        self.bytes += o.bytes;
        self.conns += o.conns;
        self.bannered += o.bannered;
        self.handshakes += o.handshakes;
        self.connect_errors += o.connect_errors;
        self.early_close += o.early_close;
        self.timeouts += o.timeouts;
        for (s, m) in o.replies {
            for (c, n) in m {
                *self.replies.entry(s).or_default().entry(c).or_default() += n;
            }
        }
        for (s, m) in o.mix {
            for (c, n) in m {
                *self.mix.entry(s).or_default().entry(c).or_default() += n;
            }
        }
        self.banner.extend(o.banner);
        self.tls.extend(o.tls);
        self.msg.extend(o.msg);
        self.commit.extend(o.commit);
        self.session.extend(o.session);
        for e in o.examples {
            self.example(e);
        }
    }

    pub fn latency_json(&mut self) -> String {
        let mut parts = Vec::new();
        for (name, s) in [
            ("banner", &mut self.banner),
            ("tls", &mut self.tls),
            ("msg", &mut self.msg),
            ("commit", &mut self.commit),
            ("session", &mut self.session),
        ] {
            if !s.is_empty() {
                parts.push(format!("\"{name}\":{}", s.json()));
            }
        }
        format!("{{{}}}", parts.join(","))
    }

    pub fn replies_json(&self) -> String {
        nested(
            self.replies.iter().map(|(k, m)| {
                (k.to_string(), m.iter().map(|(c, n)| (c.to_string(), *n)).collect())
            }),
        )
    }

    pub fn mix_json(&self) -> String {
        nested(
            self.mix
                .iter()
                .map(|(k, m)| (k.to_string(), m.iter().map(|(c, n)| (c.clone(), *n)).collect())),
        )
    }
}

fn nested(rows: impl Iterator<Item = (String, Vec<(String, u64)>)>) -> String {
    let rows: Vec<String> = rows
        .map(|(k, m)| {
            let inner: Vec<String> = m.iter().map(|(c, n)| format!("{}:{n}", quote(c))).collect();
            format!("{}:{{{}}}", quote(&k), inner.join(","))
        })
        .collect();
    format!("{{{}}}", rows.join(","))
}

/// A JSON string literal.
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
