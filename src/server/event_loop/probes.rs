//! Are the lists alive, and do the name servers tell the truth? Asked in the background, at start, after
//! each reload and once an hour. Mail waits for none of this.
//!
//! Some resolvers answer for names that do not exist, with the address of a search page. So first two
//! names are asked for that nobody has; addresses that both have are distrusted from then on.
//!
//! A list answers its test points (RFC 5782 section 5): 127.0.0.2, or the name TEST, is listed;
//! 127.0.0.1, or INVALID, is not, nor is a name that nobody has. One that lists everybody, or that
//! answers with an error code, is named in the log and not asked until its points are right. One that
//! lists nobody does no harm; it is named, too.

use super::{EventLoop, keys};
use crate::dns::lists::{Listing, cause, classify};
use crate::dns::{self, Kind, Question};
use crate::plugin::Zone;
use crate::plugin::log::Level;
use crate::plugin::question::Answer;
use crate::sys;
use std::net::IpAddr;
use std::time::Duration;

/// Askers with this bit are probes.
pub(super) const PROBE: u64 = 1 << 62;

/// Those with this bit as well ask for names that nobody has.
const NAME: u64 = 1 << 61;

/// How often the lists are probed.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// The same while one of them is condemned.
const SHORT_INTERVAL: Duration = Duration::from_secs(600);

/// Lists that are probed; no site has more.
const ZONES_MAX: usize = 100;

/// Where names are asked for that nobody has: a domain of that many random letters does not exist, and
/// neither of these answers for all of them.
const DOMAINS: [&str; 2] = ["net", "org"];

/// What a list is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Point {
    Listed,
    NotListed,
    Nobody,
}

const POINTS: [Point; 3] = [Point::Listed, Point::NotListed, Point::Nobody];

/// Lists to be probed, and when next.
#[derive(Default)]
pub(super) struct Probes {
    zones: Vec<Watched>,
    due: Option<Duration>,
    /// Tells the answers of this round from those of rounds before.
    round: u32,
    names: Names,
}

struct Watched {
    zone: Zone,
    /// Points that were right in this round.
    right: usize,
}

/// What was answered for names that nobody has.
#[derive(Default)]
struct Names {
    open: usize,
    unknown: bool,
    found: [Vec<IpAddr>; DOMAINS.len()],
}

impl Probes {
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    fn asker(&self, what: u64, detail: usize) -> u64 {
        PROBE | what | u64::from(self.round) << 16 | detail as u64
    }
}

impl EventLoop {
    /// Takes over the lists of the snapshot at hand; they are probed at the next turn of the loop.
    pub(super) fn watch_lists(&mut self) {
        let site = &self.site;
        let (mut zones, mut relies): (Vec<Zone>, bool) = (Vec::new(), false);
        for chain in site.lists.values().chain([&site.base]) {
            for loaded in chain.plugins() {
                relies |= loaded.plugin.relies_on_names();
                for zone in loaded.plugin.zones() {
                    if zones.len() < ZONES_MAX && !zones.contains(&zone) {
                        zones.push(zone);
                    }
                }
            }
        }
        self.resolver.watch_zones(zones.iter().map(|zone| zone.name.as_str()));
        let due = (relies || !zones.is_empty()).then_some(self.now.mono);
        let zones = zones.into_iter().map(|zone| Watched { zone, right: 0 }).collect();
        let round = self.probes.round;
        self.probes = Probes { zones, due, round, names: Names::default() };
    }

    /// Sends the probes that are due.
    pub(super) fn probe_lists(&mut self) {
        if self.probes.due.is_none_or(|due| due > self.now.mono) {
            return;
        }
        self.probes.due = Some(self.now.mono + INTERVAL);
        self.probes.round = self.probes.round.wrapping_add(1);
        let kinds = [Kind::A, Kind::Aaaa];
        self.probes.names = Names { open: DOMAINS.len() * kinds.len(), ..Names::default() };
        for (index, domain) in DOMAINS.into_iter().enumerate() {
            let label = nobody();
            for kind in kinds {
                let asker = self.probes.asker(NAME, index);
                let answer = match &label {
                    Some(label) => {
                        let question = Question::new(&format!("{label}.{domain}"), kind);
                        self.resolver.probe(asker, &question, self.now.mono)
                    }
                    None => Some(Answer::TempFail.into()),
                };
                if let Some(answer) = answer {
                    self.probed(asker, &answer);
                }
            }
        }
    }

    /// Something that was probed has answered.
    pub(super) fn probed(&mut self, asker: u64, answer: &Answer) {
        if asker & keys::KEY != 0 {
            return self.key_answered(asker, answer);
        }
        let detail = usize::try_from(asker & 0xffff).unwrap_or_default();
        if asker == self.probes.asker(NAME, detail) {
            self.name_answered(detail, answer);
        } else if asker == self.probes.asker(0, detail) {
            self.point_answered(detail, answer);
        }
    }

    fn name_answered(&mut self, index: usize, answer: &Answer) {
        let names = &mut self.probes.names;
        let unknown = Answer::Dns(dns::Answer::TempFail);
        match (answer, names.found.get_mut(index)) {
            (Answer::Dns(found), Some(known)) if *answer != unknown => {
                known.extend(found.addresses());
            }
            _ => names.unknown = true,
        }
        names.open = names.open.saturating_sub(1);
        if names.open > 0 {
            return;
        }
        let [first, second] = std::mem::take(&mut names.found);
        if !names.unknown {
            let both = first.into_iter().filter(|address| second.contains(address));
            self.resolver.resolver().distrust(both.collect());
        }
        self.probe_zones();
    }

    fn probe_zones(&mut self) {
        let label = nobody();
        for index in 0..self.probes.zones.len() {
            for (number, point) in POINTS.into_iter().enumerate() {
                let Some(watched) = self.probes.zones.get_mut(index) else { continue };
                watched.right = 0;
                let Some(name) = point_of(&watched.zone, point, label.as_deref()) else { continue };
                let asker = self.probes.asker(0, index * POINTS.len() + number);
                let question = Question::new(&name, Kind::A);
                if let Some(answer) = self.resolver.probe(asker, &question, self.now.mono) {
                    self.probed(asker, &answer);
                }
            }
        }
    }

    /// A test point has answered.
    fn point_answered(&mut self, detail: usize, answer: &Answer) {
        let index = detail / POINTS.len();
        let point = POINTS.get(detail % POINTS.len()).copied();
        let (Some(watched), Some(point)) = (self.probes.zones.get_mut(index), point) else {
            return;
        };
        let Answer::Dns(answer) = answer else { return };
        let fault = match (classify(answer), point) {
            // The resolver has its own word on lists that do not answer.
            (Listing::Unknown, _) => return,
            (Listing::Listed(_), Point::Listed) => None,
            (Listing::NotListed, Point::NotListed | Point::Nobody) => None,
            (Listing::NotListed, Point::Listed) => {
                let name = watched.zone.name.clone();
                let text = format!("{name}: its test entry is not listed: it looks dead");
                return self.say(Level::Warning, text);
            }
            (Listing::Listed(_), Point::NotListed | Point::Nobody) => {
                Some("it lists everybody: it looks dead")
            }
            (Listing::ListError(address), _) => Some(cause(address).unwrap_or("an error code")),
        };
        watched.right += usize::from(fault.is_none());
        let (name, all_right) = (watched.zone.name.clone(), watched.right == POINTS.len());
        match fault {
            Some(fault) => {
                self.resolver.resolver().condemn(&name, fault);
                let soon = self.now.mono + SHORT_INTERVAL;
                self.probes.due = self.probes.due.map(|due| due.min(soon));
            }
            None if all_right => self.resolver.resolver().acquit(&name),
            None => {}
        }
    }
}

fn point_of(zone: &Zone, point: Point, nobody: Option<&str>) -> Option<String> {
    let below = match (zone.of_names, point) {
        (_, Point::Nobody) => nobody?,
        (false, Point::Listed) => "2.0.0.127",
        (false, Point::NotListed) => "1.0.0.127",
        (true, Point::Listed) => "test",
        (true, Point::NotListed) => "invalid",
    };
    Some(format!("{below}.{}", zone.name))
}

/// A label that nobody has. None without random numbers.
fn nobody() -> Option<String> {
    let mut octets = [0; 20];
    sys::random::bytes(&mut octets).ok()?;
    Some(octets.iter().map(|octet| char::from(b'a' + octet % 26)).collect())
}
