//! Which line goes where: the log thread's work apart from waiting.
//!
//! qpsmtpd's rule holds: while any logging plugin is loaded, the built-in logger is silent, and
//! each plugin has a level of its own.

use std::sync::Arc;

use crate::plugin::log::{Event, Level, Line, Output, foreign, push_printable};
use crate::sys::time;

use super::adaptive::Adaptive;
use super::destination::Main;
use super::file::FileSink;
use super::pipe::PipeSink;
use super::syslog::SyslogSink;
use crate::sys::stamp::Moment;

/// All outputs, open.
pub(super) struct Router {
    main: Main,
    outputs: Vec<(Output, Sink)>,
    /// Commands of former outputs that have not ended yet.
    retired: Vec<PipeSink>,
    threshold: Level,
    now: Moment,
    host: Arc<str>,
    rendered: Vec<u8>,
    text: Vec<u8>,
}

enum Sink {
    Main(Level),
    File(Box<FileSink>),
    Pipe(Box<PipeSink>),
    Syslog(Box<SyslogSink>),
    Adaptive(Adaptive),
    Nothing,
}

impl Router {
    /// Prints to `main` what is not more than a warning, until outputs are set.
    pub(super) fn new(main: Main) -> Self {
        let unix = unix_seconds();
        Self {
            main,
            outputs: Vec::new(),
            retired: Vec::new(),
            threshold: Level::Warning,
            now: Moment { unix, local: time::local(unix) },
            host: Arc::from(host_name()),
            rendered: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Takes other outputs; what stays the same stays open.
    pub(super) fn set_outputs(&mut self, outputs: Vec<Output>, threshold: Level) {
        let mut old = std::mem::take(&mut self.outputs);
        for output in outputs {
            let kept = old.iter().position(|(known, _)| *known == output);
            let sink = match kept {
                Some(at) => old.swap_remove(at).1,
                None => open(&output, &self.host),
            };
            self.outputs.push((output, sink));
        }
        self.threshold = threshold;
        for (_, mut sink) in old {
            let complaint = sink.flush(&self.now, true);
            self.complain(complaint);
            if let Sink::Pipe(pipe) = sink {
                self.retired.push(*pipe);
            }
        }
    }

    /// Opens files anew.
    pub(super) fn reopen(&mut self) {
        self.main.reopen(&self.now);
        for (_, sink) in &mut self.outputs {
            match sink {
                Sink::File(file) => file.reopen(),
                Sink::Syslog(syslog) => syslog.reopen(),
                Sink::Main(_) | Sink::Pipe(_) | Sink::Adaptive(_) | Sink::Nothing => {}
            }
        }
    }

    /// A round begins: what comes now has this time.
    pub(super) fn begin(&mut self) {
        let unix = unix_seconds();
        if unix != self.now.unix {
            self.now = Moment { unix, local: time::local(unix) };
        }
    }

    /// Hands an event to all outputs.
    pub(super) fn event(&mut self, event: &Event) {
        let (main, now) = (&mut self.main, &self.now);
        let id = match event {
            Event::Line(line) => return self.line(line),
            Event::Denied(id) | Event::Accepted(id) | Event::Closed(id) => *id,
        };
        let mut complaints = Vec::new();
        for (_, sink) in &mut self.outputs {
            match (event, sink) {
                (Event::Denied(_), Sink::Adaptive(adaptive)) => adaptive.denied(id),
                (Event::Accepted(_), Sink::Adaptive(adaptive)) => {
                    adaptive.accepted(id, |level, text| main.put(level, text, now));
                }
                (Event::Closed(_), Sink::Adaptive(adaptive)) => drop(adaptive.closed(id)),
                (Event::Closed(_), Sink::File(file)) => file.closed(id),
                (Event::Closed(_), Sink::Pipe(pipe)) => complaints.extend(pipe.closed(id, now)),
                _ => {}
            }
        }
        complaints.into_iter().for_each(|complaint| self.complain(Some(complaint)));
    }

    /// Hands a line to all outputs, or to the built-in logger if there are none.
    pub(super) fn line(&mut self, line: &Line) {
        let (main, now) = (&mut self.main, &self.now);
        self.rendered.clear();
        line.render(&mut self.rendered);
        if self.outputs.is_empty() {
            if line.level <= self.threshold {
                main.put(line.level, &self.rendered, now);
            }
            return;
        }
        self.text.clear();
        push_printable(&mut self.text, &line.text);
        let mut complaints = Vec::new();
        for (_, sink) in &mut self.outputs {
            match sink {
                Sink::Main(max) if line.level <= *max => main.put(line.level, &self.rendered, now),
                Sink::Main(_) | Sink::Nothing => {}
                Sink::File(file) => file.line(line.level, line.id, &self.text, now),
                Sink::Pipe(pipe) => {
                    complaints.extend(pipe.line(line.level, line.id, &self.text, now));
                }
                Sink::Syslog(syslog) => syslog.line(line.level, line.id, &self.text, now),
                Sink::Adaptive(adaptive) => {
                    adaptive.line(line, |level, text| main.put(level, text, now));
                }
            }
        }
        complaints.into_iter().for_each(|complaint| self.complain(Some(complaint)));
    }

    /// A round ends: writes everything. `last` if there will be no other.
    pub(super) fn flush(&mut self, last: bool) {
        for at in 0..self.outputs.len() {
            let complaint = match self.outputs.get_mut(at) {
                Some((_, sink)) => sink.flush(&self.now, last),
                None => None,
            };
            self.complain(complaint);
        }
        self.main.flush();
        self.retired.retain_mut(|pipe| !pipe.retire());
    }

    /// Whether an output has lines that it will only be able to write later.
    pub(super) fn is_waiting(&self) -> bool {
        self.outputs.iter().any(|(_, sink)| matches!(sink, Sink::Pipe(pipe) if pipe.is_waiting()))
    }

    fn complain(&mut self, complaint: Option<String>) {
        if let Some(text) = complaint {
            self.main.put(Level::Error, text.as_bytes(), &self.now);
        }
    }
}

impl Sink {
    fn flush(&mut self, now: &Moment, last: bool) -> Option<String> {
        match self {
            Self::File(file) => file.flush(),
            Self::Pipe(pipe) => pipe.flush(now, last),
            Self::Main(_) | Self::Syslog(_) | Self::Adaptive(_) | Self::Nothing => None,
        }
    }
}

/// The sink that a description stands for.
fn open(output: &Output, host: &Arc<str>) -> Sink {
    match output {
        Output::Stderr { max } => Sink::Main(*max),
        Output::File(file) => Sink::File(Box::new(FileSink::new(file.clone(), Arc::clone(host)))),
        Output::Pipe(pipe) => Sink::Pipe(Box::new(PipeSink::new(pipe.clone(), Arc::clone(host)))),
        Output::Syslog(syslog) => Sink::Syslog(Box::new(SyslogSink::new(syslog.clone()))),
        Output::Adaptive { accept, reject, prefix } => {
            Sink::Adaptive(Adaptive::new(*accept, *reject, prefix.clone()))
        }
        Output::Devnull => Sink::Nothing,
    }
}

fn unix_seconds() -> i64 {
    i64::try_from(crate::server::clock::unix().as_secs()).unwrap_or(i64::MAX)
}

/// The name of this machine as the kernel knows it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { foreign(name.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::log::{FileOutput, Id, PipeOutput};
    use crate::server::log::Destination;
    use std::sync::Mutex;

    #[test]
    fn a_reload_keeps_what_stays_and_lets_the_rest_end() {
        let folder = std::env::temp_dir().join(format!("mailreeve-router-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("log").to_str().unwrap().to_owned();
        let (max, tsformat, reopen) = (Level::Info, "T".to_owned(), false);
        let keep = Output::File(FileOutput {
            path: file.clone(),
            max,
            split: true,
            reopen,
            tsformat: tsformat.clone(),
        });
        let command = format!("cat > {}", folder.join("piped").display());
        let gone = Output::Pipe(PipeOutput { command, max, reopen, tsformat });

        let seen = Arc::new(Mutex::new(Vec::new()));
        let main = Main::open(Destination::Capture(Arc::clone(&seen))).unwrap();
        let mut router = Router::new(main);
        router.set_outputs(vec![gone, keep.clone()], Level::Debug);
        router.event(&Event::Line(Line::core(Level::Info, Id(7), "one")));
        router.flush(false);
        std::fs::rename(&file, folder.join("moved")).unwrap();
        router.set_outputs(vec![keep], Level::Debug);
        router.event(&Event::Line(Line::core(Level::Info, Id(7), "two")));
        router.flush(false);
        while !router.retired.is_empty() {
            router.retired.retain_mut(|pipe| !pipe.retire());
            std::thread::yield_now();
        }

        let texts = |name: &str| {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            text.lines().map(|line| line.split("[7]: ").last().unwrap().to_owned()).collect()
        };
        let (moved, piped): (Vec<_>, Vec<_>) = (texts("moved"), texts("piped"));
        assert_eq!(moved, ["one", "two"], "the file stayed open");
        assert_eq!(piped, ["one"]);
        assert!(seen.lock().unwrap().is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
