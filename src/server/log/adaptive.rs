//! The memory of `logging/adaptive`: lines kept until it is known what became of their message.
//!
//! Connections run side by side, so lines are kept by connection number, and their sum is
//! bounded. The oldest connections lose theirs first: those are the likeliest to be ones whose
//! end was never told, because the ring was full just then.

use std::collections::BTreeMap;

use crate::limits::LOG_RING_BYTES;
use crate::plugin::log::{Id, Level, Line, push_printable};

/// Connections that anything is remembered about.
const CONNECTIONS_MAX: usize = 4_096;

/// Octets of lines kept for all connections together.
const KEPT_BYTES_MAX: usize = LOG_RING_BYTES;

/// Octets of lines kept for one connection; a message with a thousand refused words in it must
/// not push out everybody else's.
const CONNECTION_BYTES_MAX: usize = 64 * 1_024;

/// What one connection's transaction has come to so far.
#[derive(Debug, Default)]
struct Kept {
    lines: Vec<(Level, Vec<u8>)>,
    bytes: usize,
    denied: bool,
}

/// The lines that `logging/adaptive` keeps.
#[derive(Debug)]
pub(super) struct Adaptive {
    accept: Level,
    reject: Level,
    prefix: String,
    kept: BTreeMap<Id, Kept>,
    bytes: usize,
}

impl Adaptive {
    /// Nothing kept yet.
    pub(super) fn new(accept: Level, reject: Level, prefix: String) -> Self {
        Self { accept, reject, prefix, kept: BTreeMap::new(), bytes: 0 }
    }

    /// Takes a line: `print` gets it if it is to be seen at once.
    pub(super) fn line(&mut self, line: &Line, mut print: impl FnMut(Level, &[u8])) {
        let mut text = Vec::new();
        if line.level <= self.reject {
            render(line, "", &mut text);
            print(line.level, &text);
        }
        if line.level > self.accept || line.id.is_none() {
            return;
        }
        let kept = self.kept.entry(line.id).or_default();
        if kept.denied || kept.bytes >= CONNECTION_BYTES_MAX {
            return;
        }
        text.clear();
        render(line, &self.prefix, &mut text);
        let size = text.len() + size_of::<(Level, Vec<u8>)>();
        kept.bytes += size;
        self.bytes += size;
        kept.lines.push((line.level, text));
        self.bound();
    }

    /// Something was refused: the lines so far are not repeated, nor those up to the end.
    pub(super) fn denied(&mut self, id: Id) {
        let kept = self.kept.entry(id).or_default();
        self.bytes -= kept.bytes;
        *kept = Kept { denied: true, ..Kept::default() };
        self.bound();
    }

    /// A message was accepted: repeats its lines unless something was refused.
    pub(super) fn accepted(&mut self, id: Id, mut print: impl FnMut(Level, &[u8])) {
        for (level, text) in self.closed(id) {
            print(level, &text);
        }
    }

    /// Forgets a connection; gives what was kept.
    pub(super) fn closed(&mut self, id: Id) -> Vec<(Level, Vec<u8>)> {
        let kept = self.kept.remove(&id).unwrap_or_default();
        self.bytes -= kept.bytes;
        kept.lines
    }

    /// Gives up the oldest connections' lines until the rest is within the bounds.
    fn bound(&mut self) {
        while self.bytes > KEPT_BYTES_MAX || self.kept.len() > CONNECTIONS_MAX {
            let Some((_, oldest)) = self.kept.pop_first() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

/// `ID prefix plugin plugin: text`, the form of this logger since it exists.
fn render(line: &Line, prefix: &str, out: &mut Vec<u8>) {
    if !line.id.is_none() {
        out.extend_from_slice(line.id.to_string().as_bytes());
        out.push(b' ');
    }
    if !prefix.is_empty() {
        push_printable(out, prefix);
        out.push(b' ');
    }
    if !line.plugin.is_empty() {
        push_printable(out, &line.plugin);
        out.extend_from_slice(b" plugin: ");
    }
    push_printable(out, &line.text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn line(level: Level, id: u64, plugin: &str, text: &str) -> Line {
        Line::plugin(level, Id(id), "rcpt", &Arc::from(plugin), text)
    }

    #[test]
    fn accepted_messages_are_repeated_and_refused_ones_are_not() {
        let mut adaptive = Adaptive::new(Level::Error, Level::Warning, "`".to_owned());
        let mut seen = Vec::new();
        let mut print =
            |_: Level, text: &[u8]| seen.push(String::from_utf8_lossy(text).into_owned());
        adaptive.line(&line(Level::Info, 1, "dnsbl", "pass"), &mut print);
        adaptive.line(&line(Level::Warning, 1, "dnsbl", "slow"), &mut print);
        adaptive.line(&line(Level::Alert, 1, "", "from\t<a>"), &mut print);
        adaptive.line(&line(Level::Alert, 0, "", "daemon"), &mut print);
        adaptive.line(&line(Level::Error, 2, "helo", "fail"), &mut print);
        adaptive.denied(Id(2));
        adaptive.line(&line(Level::Error, 2, "helo", "more"), &mut print);
        adaptive.accepted(Id(2), &mut print);
        adaptive.accepted(Id(1), &mut print);
        adaptive.accepted(Id(1), &mut print);
        assert_eq!(
            seen,
            [
                "1 dnsbl plugin: slow",
                "1 from\t<a>",
                "daemon",
                "2 helo plugin: fail",
                "2 helo plugin: more",
                "1 ` from\t<a>",
            ]
        );
        assert_eq!((adaptive.bytes, adaptive.kept.len()), (0, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut adaptive = Adaptive::new(Level::Debug, Level::Emergency, String::new());
        let long = "x".repeat(5_000);
        for id in 1..=2 * CONNECTIONS_MAX as u64 {
            adaptive.line(&line(Level::Info, id, "p", &long), |_, _| {});
        }
        assert!(adaptive.bytes <= KEPT_BYTES_MAX && adaptive.kept.len() <= CONNECTIONS_MAX);
        assert!(!adaptive.kept.contains_key(&Id(1)));
        for _ in 0..1_000 {
            adaptive.line(&line(Level::Info, 1 << 40, "p", &long), |_, _| {});
        }
        let last = adaptive.kept.get(&Id(1 << 40)).unwrap();
        assert!(last.bytes < CONNECTION_BYTES_MAX + 6_000);
        for id in 1..=2 * CONNECTIONS_MAX as u64 {
            adaptive.denied(Id(id));
        }
        assert!(adaptive.kept.len() <= CONNECTIONS_MAX);
        for id in adaptive.kept.keys().copied().collect::<Vec<_>>() {
            adaptive.closed(id);
        }
        assert_eq!(adaptive.bytes, 0);
    }
}
