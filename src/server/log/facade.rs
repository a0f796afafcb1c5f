//! What libraries say through the `log` crate.
//!
//! Mailreeve's own lines are data with a connection and a plugin; libraries have neither and log
//! through the field's common facade. Their warnings and errors join the same ring, as lines of
//! the core, so that still only one thread writes.

use std::io;

use log::LevelFilter;
use simplelog::{Config, ConfigBuilder, WriteLogger};

use crate::limits::LOG_TEXT_MAX;
use crate::plugin::log::{Event, Id, Level, Line, foreign};

use super::Log;

/// Octets of one record that are looked at.
const RECORD_MAX: usize = 4 * LOG_TEXT_MAX;

/// Makes the `log` crate's records of level `Warn` and `Error` lines of the core with
/// [`Level::Notice`]. Only the first call in a process has an effect.
pub fn install_facade(log: Log) {
    // The only error is that there is a logger already; then that one stays.
    let _ = WriteLogger::init(LevelFilter::Warn, config(), Lines { log, partial: Vec::new() });
}

/// The text alone: whoever reads the log stamps it, and the rest is of no use to admins.
fn config() -> Config {
    ConfigBuilder::new()
        .set_time_level(LevelFilter::Off)
        .set_max_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build()
}

/// Cuts what is written into lines and posts them.
struct Lines {
    log: Log,
    partial: Vec<u8>,
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = RECORD_MAX.saturating_sub(self.partial.len());
            self.partial.extend(text.iter().take(room));
            if text.len() < piece.len() && !self.partial.is_empty() {
                let text = foreign(&self.partial);
                self.log.post(Event::Line(Line::core(Level::Notice, Id::NONE, text)));
                self.partial.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::log::Destination;
    use log::Log as _;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[test]
    fn records_become_lines() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, thread) = Log::start(Destination::Capture(Arc::clone(&seen)), vec![]).unwrap();
        log.set_outputs(vec![], Level::Notice);
        let lines = Lines { log, partial: Vec::new() };
        let logger = WriteLogger::new(LevelFilter::Warn, config(), lines);
        for (level, text) in [
            (log::Level::Warn, "first\tone"),
            (log::Level::Info, "unseen"),
            (log::Level::Error, "two\nlines\n"),
        ] {
            let arguments = format_args!("{text}").to_string();
            logger.log(
                &log::Record::builder().level(level).args(format_args!("{arguments}")).build(),
            );
        }
        assert!(thread.finish(Duration::from_secs(60)));
        assert_eq!(*seen.lock().unwrap(), ["first\\x09one", "two", "lines"]);
    }
}
