//! Are the lists alive? Asked in the background, at start, after each reload and once an hour.
//!
//! A list answers its test points (RFC 5782 section 5): 127.0.0.2, or the name TEST, is listed;
//! 127.0.0.1, or INVALID, is not. One that does not, or that answers with an error code, is named in the
//! log and left alone for a while. Mail waits for none of this.

use super::EventLoop;
use crate::dns::lists::{Listing, cause, classify};
use crate::dns::{Kind, Question};
use crate::plugin::Zone;
use crate::plugin::log::Level;
use crate::plugin::question::Answer;
use std::time::Duration;

/// Askers with this bit are probes.
pub(super) const PROBE: u64 = 1 << 62;

/// How often the lists are probed.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// Lists that are probed; no site has more.
const ZONES_MAX: usize = 100;

/// The two test points of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Point {
    Listed,
    NotListed,
}

/// Lists to be probed, and when next.
#[derive(Default)]
pub(super) struct Probes {
    zones: Vec<Zone>,
    due: Option<Duration>,
}

impl Probes {
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }
}

impl EventLoop {
    /// Takes over the lists of the snapshot at hand; they are probed at the next turn of the loop.
    pub(super) fn watch_lists(&mut self) {
        let site = &self.site;
        let mut zones: Vec<Zone> = Vec::new();
        for chain in site.lists.values().chain([&site.base]) {
            for loaded in chain.plugins() {
                for zone in loaded.plugin.zones() {
                    if zones.len() < ZONES_MAX && !zones.contains(&zone) {
                        zones.push(zone);
                    }
                }
            }
        }
        self.resolver.watch_zones(zones.iter().map(|zone| zone.name.as_str()));
        let due = (!zones.is_empty()).then_some(self.now.mono);
        self.probes = Probes { zones, due };
    }

    /// Sends the probes that are due.
    pub(super) fn probe_lists(&mut self) {
        if self.probes.due.is_none_or(|due| due > self.now.mono) {
            return;
        }
        self.probes.due = Some(self.now.mono + INTERVAL);
        for index in 0..self.probes.zones.len() {
            for point in [Point::Listed, Point::NotListed] {
                let Some(zone) = self.probes.zones.get(index) else { continue };
                let question = Question::new(&point_of(zone, point), Kind::A);
                let asker = PROBE | (index as u64) << 1 | u64::from(point == Point::Listed);
                if let Some(answer) = self.resolver.ask(asker, &question, self.now.mono) {
                    self.probed(asker, &answer);
                }
            }
        }
    }

    /// A test point has answered.
    pub(super) fn probed(&mut self, asker: u64, answer: &Answer) {
        let index = usize::try_from((asker & !PROBE) >> 1).unwrap_or(usize::MAX);
        let Some(zone) = self.probes.zones.get(index) else { return };
        let point = if asker & 1 == 1 { Point::Listed } else { Point::NotListed };
        let Answer::Dns(answer) = answer else { return };
        let fault = match (classify(answer), point) {
            (Listing::Listed(_), Point::Listed) | (Listing::NotListed, Point::NotListed) => return,
            // The resolver has its own word on lists that do not answer.
            (Listing::Unknown, _) => return,
            (Listing::NotListed, Point::Listed) => "its test entry is not listed: it looks dead",
            (Listing::Listed(_), Point::NotListed) => "it lists everybody: it looks dead",
            (Listing::ListError(address), _) => cause(address).unwrap_or("an error code"),
        };
        let text = format!("{}: {fault}; it is not asked for a while", zone.name);
        let name = zone.name.clone();
        self.say(Level::Error, text);
        self.resolver.resolver().bench(&name, fault, self.now.mono);
    }

    /// An answer from below a list that is an error of the list: it rests.
    pub(super) fn bench_on_error(&mut self, question: &Question, answer: &Answer) {
        let Answer::Dns(answer) = answer else { return };
        let Listing::ListError(address) = classify(answer) else { return };
        let below = |zone: &&Zone| {
            question.name.strip_suffix(zone.name.as_str()).is_some_and(|rest| rest.ends_with('.'))
        };
        let Some(zone) = self.probes.zones.iter().find(below) else { return };
        let name = zone.name.clone();
        let why = format!("it answers {address}: {}", cause(address).unwrap_or("an error code"));
        self.resolver.resolver().bench(&name, &why, self.now.mono);
    }
}

fn point_of(zone: &Zone, point: Point) -> String {
    let below = match (zone.of_names, point) {
        (false, Point::Listed) => "2.0.0.127",
        (false, Point::NotListed) => "1.0.0.127",
        (true, Point::Listed) => "test",
        (true, Point::NotListed) => "invalid",
    };
    format!("{below}.{}", zone.name)
}
