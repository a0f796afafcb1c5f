//! Lists that do not answer are left alone for a while.
//!
//! A dead list costs every session its whole patience. The resolver is told which zones are lists; it
//! counts questions below them that came to nothing, and after three in a row gives up asking for some
//! minutes. The first question after that is a test: one more failure, and the zone rests again. A zone
//! whose test entries are wrong is condemned: it rests until they are right.

use std::collections::HashMap;
use std::time::Duration;

/// Failures in a row after which a zone rests.
const FAILURES_MAX: u8 = 3;

/// How long it rests.
const REST: Duration = Duration::from_secs(300);

/// The lists, by the end of the names that are asked for.
#[derive(Debug, Default)]
pub(super) struct Zones(HashMap<Box<str>, Zone>);

#[derive(Debug, Default)]
struct Zone {
    failures: u8,
    until: Duration,
    condemned: bool,
    /// Why it rests, or rested last.
    why: Box<str>,
}

impl Zones {
    /// Sets the zones to be watched; those that were watched before keep their state.
    pub(super) fn watch<'a>(&mut self, zones: impl IntoIterator<Item = &'a str>) {
        let mut before = std::mem::take(&mut self.0);
        for zone in zones {
            let zone: Box<str> = zone.trim_matches('.').to_ascii_lowercase().into();
            let state = before.remove(&zone).unwrap_or_default();
            self.0.insert(zone, state);
        }
    }

    /// The watched zone in which a name lies, the longest one.
    pub(super) fn of(&self, name: &str) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let ends = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
        std::iter::once(name)
            .chain(ends)
            .find(|end| self.0.contains_key(*end))
            .and_then(|end| self.0.get_key_value(end).map(|(zone, _)| &**zone))
    }

    /// Whether a zone rests.
    pub(super) fn rests(&self, zone: &str, now: Duration) -> bool {
        self.0.get(zone).is_some_and(|zone| zone.condemned || now < zone.until)
    }

    /// A question was answered.
    pub(super) fn answered(&mut self, zone: &str) {
        if let Some(zone) = self.0.get_mut(zone) {
            zone.failures = 0;
        }
    }

    /// A question came to nothing. True if the zone rests from now on.
    pub(super) fn failed(&mut self, zone: &str, now: Duration) -> bool {
        let Some(zone) = self.0.get_mut(zone) else { return false };
        zone.failures = (zone.failures + 1).min(FAILURES_MAX);
        let tired = zone.failures == FAILURES_MAX && now >= zone.until;
        if tired {
            (zone.until, zone.why) = (now + REST, "does not answer".into());
        }
        tired
    }

    /// Lets a watched zone rest until it is acquitted. True if it was not condemned before.
    pub(super) fn condemn(&mut self, zone: &str, why: &str) -> bool {
        let Some(zone) = self.0.get_mut(zone) else { return false };
        zone.why = why.into();
        !std::mem::replace(&mut zone.condemned, true)
    }

    /// The zones that rest, and why.
    pub(super) fn resting(&self, now: Duration) -> impl Iterator<Item = (&str, &str)> {
        let rests = move |(_, zone): &(_, &Zone)| zone.condemned || now < zone.until;
        self.0.iter().filter(rests).map(|(name, zone)| (&**name, &*zone.why))
    }

    /// Nothing is held against a zone any more. True if it was condemned.
    pub(super) fn acquit(&mut self, zone: &str) -> bool {
        self.0.get_mut(zone).is_some_and(|zone| std::mem::take(zone).condemned)
    }

    /// Lets a watched zone rest at once. True if it did not rest before.
    pub(super) fn bench(&mut self, zone: &str, why: &str, now: Duration) -> bool {
        let Some(zone) = self.0.get_mut(zone) else { return false };
        let fresh = now >= zone.until && !zone.condemned;
        if fresh {
            (zone.failures, zone.until, zone.why) = (FAILURES_MAX, now + REST, why.into());
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_longest_zone_counts() {
        let mut zones = Zones::default();
        assert_eq!(zones.of("1.2.3.4.bl.example.net"), None);
        zones.watch(["bl.example.net", "Example.NET.", "other.example"]);
        for (name, zone) in [
            ("1.2.3.4.bl.example.net", Some("bl.example.net")),
            ("bl.example.net", Some("bl.example.net")),
            ("xbl.example.net", Some("example.net")),
            ("net", None),
            ("", None),
        ] {
            assert_eq!(zones.of(name), zone, "{name}");
        }
    }

    #[test]
    fn three_failures_in_a_row_bring_a_rest() {
        let mut zones = Zones::default();
        zones.watch(["bl.example"]);
        let zone = "bl.example";
        assert!(!zones.failed(zone, SECOND) && !zones.failed(zone, SECOND));
        zones.answered(zone);
        assert!(!zones.failed(zone, SECOND) && !zones.failed(zone, SECOND));
        assert!(!zones.rests(zone, SECOND));
        assert!(zones.failed(zone, SECOND), "the third in a row");
        assert!(!zones.failed(zone, SECOND), "said once");
        assert!(zones.rests(zone, SECOND + REST / 2));
        zones.watch(["new.example", zone]);
        assert!(zones.rests(zone, SECOND + REST / 2), "a reload forgets nothing");
        let later = SECOND + REST;
        assert!(!zones.rests(zone, later));
        assert!(zones.failed(zone, later), "one more after the rest is enough");
        zones.answered(zone);
        assert!(
            zones.bench("new.example", "bad", later) && !zones.bench("new.example", "bad", later)
        );
        assert!(zones.rests("new.example", later) && !zones.failed("unknown.example", later));
        assert!(!zones.bench("unknown.example", "bad", later));
    }

    #[test]
    fn who_is_condemned_rests_until_acquitted() {
        let mut zones = Zones::default();
        zones.watch(["bl.example"]);
        let zone = "bl.example";
        assert!(zones.condemn(zone, "dead") && !zones.condemn(zone, "dead"), "told once");
        assert!(zones.rests(zone, REST * 1_000) && !zones.bench(zone, "bad", SECOND));
        zones.watch([zone]);
        assert!(zones.rests(zone, SECOND), "a reload forgets nothing");
        assert_eq!(zones.resting(SECOND).collect::<Vec<_>>(), [(zone, "dead")]);
        assert!(zones.acquit(zone) && !zones.acquit(zone));
        assert_eq!(zones.resting(SECOND).count(), 0);
        assert!(!zones.rests(zone, SECOND) && !zones.condemn("unknown.example", "dead"));
    }
}
