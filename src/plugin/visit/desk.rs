//! The session machine's sink: replies, log lines, message text, each to its place.

use crate::plugin::content::Intake;
use crate::plugin::log::{Event, Id, Level, Line, foreign};
use crate::plugin::visit::COMMANDS_PER_TURN;
use crate::smtp::reply::Reply;
use crate::smtp::session::Sink;

/// Borrowed parts of a visit.
pub(super) struct Desk<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) commands: &'a mut u32,
    pub(super) log: &'a mut Vec<Event>,
    pub(super) intake: &'a mut Option<Box<Intake>>,
    pub(super) waste: &'a mut Option<Box<Intake>>,
    pub(super) ended: &'a mut bool,
    pub(super) idle_reset: &'a mut bool,
    pub(super) login_failures: (&'a mut u32, &'a mut u32),
    pub(super) karma: &'a mut i32,
    pub(super) id: Id,
    pub(super) verbosity: Level,
}

impl Desk<'_> {
    fn line(&mut self, text: String) {
        self.log.push(Event::Line(Line::core(Level::Info, self.id, text)));
    }
}

impl Sink for Desk<'_> {
    fn send(&mut self, reply: &Reply) {
        let start = self.out.len();
        reply.write(self.out);
        if self.verbosity < Level::Info {
            return;
        }
        let sent = self.out.get(start..).unwrap_or_default();
        let lines: Vec<String> = sent
            .split(|octet| *octet == b'\n')
            .map(|line| String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
            .filter(|line| !line.is_empty())
            .collect();
        for line in lines {
            self.line(line);
        }
    }

    fn send_secret(&mut self, reply: &Reply) {
        reply.write(self.out);
        if self.verbosity >= Level::Info {
            self.line(format!("{} (not shown)", reply.code));
        }
    }

    fn login_failed(&mut self, user: &str) {
        *self.login_failures.0 += 1;
        *self.login_failures.1 += 1;
        *self.karma -= 1;
        if self.verbosity >= Level::Notice {
            let text = format!("login failed for {}, karma -1", foreign(user.as_bytes()));
            self.log.push(Event::Line(Line::core(Level::Notice, self.id, text)));
        }
    }

    fn dispatching(&mut self, line: &[u8]) {
        *self.commands += 1;
        if self.verbosity >= Level::Info {
            self.line(format!("dispatching {}", foreign(line)));
        }
    }

    fn room(&self) -> usize {
        self.intake.as_ref().map_or(0, |intake| intake.room())
    }

    fn body(&mut self, text: &[u8]) {
        if let Some(intake) = self.intake {
            intake.append(text);
        }
    }

    fn spoil(&mut self) {
        *self.waste = self.intake.take().or(self.waste.take());
    }

    fn transaction_ended(&mut self) {
        *self.ended = true;
    }

    fn reset_without_transaction(&mut self) {
        *self.idle_reset = true;
    }

    fn enough(&self) -> bool {
        *self.commands >= COMMANDS_PER_TURN
    }
}
