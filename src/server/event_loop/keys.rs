//! Are the keys that mail is signed with the ones in DNS? Asked in the background, at start, when a reload
//! brings other keys, and once a day. Nobody waits for it; what is wrong is a warning in the log.

use super::{EventLoop, probes};
use crate::authn::dkim::published::{Report, ToPublish};
use crate::dns;
use crate::plugin::log::Level;
use crate::plugin::question::Answer;
use std::time::Duration;

/// Askers with this bit, and that of probes, ask for keys.
pub(super) const KEY: u64 = 1 << 60;

/// How often the keys are looked for.
const INTERVAL: Duration = Duration::from_secs(24 * 3_600);

/// The same while name servers fail, as at a start before the network is up.
const SHORT_INTERVAL: Duration = Duration::from_secs(600);

/// Keys to be looked for, and when next.
#[derive(Default)]
pub(super) struct Keys {
    wanted: Vec<ToPublish>,
    answers: Vec<Option<dns::Answer>>,
    due: Option<Duration>,
    /// Tells the answers of this round from those of rounds before.
    round: u32,
    /// What was said last of keys that could not be asked for, so that it is not said again and again.
    said: Option<String>,
}

impl Keys {
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    fn asker(&self, index: usize) -> u64 {
        probes::PROBE | KEY | u64::from(self.round) << 16 | index as u64
    }
}

impl EventLoop {
    /// Takes over the keys of the snapshot at hand; other ones than before are looked for at the next
    /// turn of the loop.
    pub(super) fn watch_keys(&mut self) {
        let wanted = self.site.to_publish();
        if wanted != self.keys.wanted {
            let due = (!wanted.is_empty()).then_some(self.now.mono);
            // Answers to what the snapshot before asked are of another round.
            let round = self.keys.round.wrapping_add(1);
            self.keys = Keys { wanted, due, round, ..Keys::default() };
        }
    }

    /// Asks for the keys, when they are due.
    pub(super) fn look_for_keys(&mut self) {
        if self.keys.due.is_none_or(|due| due > self.now.mono) {
            return;
        }
        self.keys.due = Some(self.now.mono + INTERVAL);
        self.keys.round = self.keys.round.wrapping_add(1);
        self.keys.answers = vec![None; self.keys.wanted.len()];
        let questions: Vec<_> = self.keys.wanted.iter().map(ToPublish::question).collect();
        for (index, question) in questions.iter().enumerate() {
            let asker = self.keys.asker(index);
            if let Some(answer) = self.resolver.ask(asker, question, self.now.mono) {
                self.key_answered(asker, &answer);
            }
        }
    }

    /// One of the keys was looked for.
    pub(super) fn key_answered(&mut self, asker: u64, answer: &Answer) {
        let index = usize::try_from(asker & 0xffff).unwrap_or_default();
        if asker != self.keys.asker(index) {
            return;
        }
        let Some(place) = self.keys.answers.get_mut(index) else { return };
        *place = Some(match answer {
            Answer::Dns(answer) => answer.clone(),
            _ => dns::Answer::TempFail,
        });
        let answers: Option<Vec<&dns::Answer>> =
            self.keys.answers.iter().map(Option::as_ref).collect();
        let Some(answers) = answers else { return };
        let report = Report::of(self.keys.wanted.iter().zip(answers));
        for fault in report.faults {
            self.say(Level::Warning, format!("dkim: {fault}"));
        }
        if report.unknown.is_some() {
            self.keys.due = Some(self.now.mono + SHORT_INTERVAL);
        }
        if let Some(text) = report.unknown.as_ref().filter(|_| report.unknown != self.keys.said) {
            self.say(Level::Notice, format!("dkim: {text}"));
        }
        self.keys.said = report.unknown;
    }
}
