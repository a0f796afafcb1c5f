//! What is known of each name server: whether it answers, and which tricks it does not understand.

use std::net::SocketAddr;
use std::time::Duration;

/// Servers that are used of those configured.
pub(super) const SERVERS_MAX: usize = 8;

/// Questions that one server is asked for one name.
pub(super) const TRIES_MAX: u8 = 2;

/// Questions in a row without an answer after which a server comes behind all others.
const SILENCE_MAX: u32 = 3;

/// How long it comes behind: doubled each time, up to the second.
const REST_MIN: Duration = Duration::from_secs(10);
const REST_MAX: Duration = Duration::from_secs(300);

/// Questions answered only without EDNS after which a server is asked without it.
const EDNS_SILENCE_MAX: u8 = 3;

/// Replies right but for the case after which names are asked for in lower case.
const CASE_FAULTS_MAX: u8 = 2;

/// Why a question went out with or without EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edns {
    /// With it.
    Used,
    /// The server is known not to like it.
    Off,
    /// The server called a question with it an error.
    AfterError,
    /// The server did not answer with it.
    AfterSilence,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    edns: bool,
    edns_silence: u8,
    edns_proven: bool,
    mixes_case: bool,
    case_faults: u8,
    silence: u32,
    heard: Duration,
    rest: Duration,
    rests_until: Duration,
}

impl Server {
    /// Nothing is known of it yet.
    pub(super) fn new(address: SocketAddr) -> Server {
        Server {
            address,
            edns: true,
            edns_silence: 0,
            edns_proven: false,
            mixes_case: true,
            case_faults: 0,
            silence: 0,
            heard: Duration::ZERO,
            rest: Duration::ZERO,
            rests_until: Duration::ZERO,
        }
    }

    /// How it is asked after so many tries for the same name. A second try goes without EDNS: the
    /// first may have been dropped for it, or its answer for its size.
    pub(super) fn edns(&self, tries: u8) -> Edns {
        match (self.edns, tries) {
            (false, _) => Edns::Off,
            (true, 0) => Edns::Used,
            (true, _) => Edns::AfterSilence,
        }
    }

    /// Whether the case of its questions is mixed.
    pub(super) fn mixes_case(&self) -> bool {
        self.mixes_case
    }

    /// It comes behind the others at the moment.
    pub(super) fn rests(&self, now: Duration) -> bool {
        now < self.rests_until
    }

    /// It answered a question that went out like this. The text is worth a line in the log.
    pub(super) fn answered(&mut self, edns: Edns, now: Duration) -> Option<String> {
        let returned = self.heard(now);
        match edns {
            Edns::Used => self.edns_proven = true,
            Edns::Off => {}
            Edns::AfterError => self.edns_silence = EDNS_SILENCE_MAX,
            // A server that has answered with it was silent for another reason.
            Edns::AfterSilence if self.edns_proven => {}
            Edns::AfterSilence => self.edns_silence += 1,
        }
        if self.edns && self.edns_silence >= EDNS_SILENCE_MAX {
            self.edns = false;
            return Some(format!(
                "DNS server {} does not answer questions with EDNS: asked without from now on",
                self.address
            ));
        }
        returned
    }

    /// It said something, if only an error.
    pub(super) fn heard(&mut self, now: Duration) -> Option<String> {
        self.heard = now;
        let was_silent = self.silence >= SILENCE_MAX;
        (self.silence, self.rest, self.rests_until) = (0, Duration::ZERO, Duration::ZERO);
        was_silent.then(|| format!("DNS server {} answers again", self.address))
    }

    /// It did not answer in time what it was sent at `sent`. If it has said anything since then, the
    /// zone asked for is to blame, not the server.
    pub(super) fn silent(&mut self, sent: Duration, now: Duration) -> Option<String> {
        if self.heard > sent {
            return None;
        }
        self.silence = self.silence.saturating_add(1);
        if self.silence >= SILENCE_MAX && now >= self.rests_until {
            self.rest = (self.rest * 2).clamp(REST_MIN, REST_MAX);
            self.rests_until = now + self.rest;
        }
        (self.silence == SILENCE_MAX)
            .then(|| format!("DNS server {} does not answer", self.address))
    }

    /// It gave the name back in another case.
    pub(super) fn changed_case(&mut self) -> Option<String> {
        self.case_faults = self.case_faults.saturating_add(1);
        if self.case_faults < CASE_FAULTS_MAX || !self.mixes_case {
            return None;
        }
        self.mixes_case = false;
        Some(format!(
            "DNS server {} changes the case of names: asked in lower case from now on",
            self.address
        ))
    }
}

/// The server to ask next after so many tries at each: those asked less often first, then those that
/// answer, then as configured. None when all had their tries.
pub(super) fn choose(servers: &[Server], tries: &[u8], now: Duration) -> Option<usize> {
    let numbered = servers.iter().zip(tries).enumerate();
    let left = numbered.filter(|(_, (_, tries))| **tries < TRIES_MAX);
    left.min_by_key(|(index, (server, tries))| (**tries, server.rests(now), *index))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(count: u8) -> Vec<Server> {
        (0..count).map(|last| Server::new(([192, 0, 2, last], 53).into())).collect()
    }

    #[test]
    fn servers_take_turns_and_silent_ones_come_last() {
        let mut servers = servers(3);
        let now = Duration::from_secs(100);
        for _ in 0..3 {
            servers[0].silent(now, now);
        }
        let mut tries = [0; 3];
        let mut order = Vec::new();
        while let Some(next) = choose(&servers, &tries, now) {
            tries[next] += 1;
            order.push(next);
        }
        assert_eq!(order, [1, 2, 0, 1, 2, 0]);
        assert_eq!(choose(&servers, &[0; 3], now + REST_MIN), Some(0), "the rest is over");
    }

    #[test]
    fn rests_get_longer_and_are_told_once() {
        let server = &mut servers(1)[0];
        let mut now = Duration::ZERO;
        let said: Vec<bool> = (0..5).map(|_| server.silent(now, now).is_some()).collect();
        assert_eq!(said, [false, false, true, false, false]);
        let mut rests = Vec::new();
        for _ in 0..7 {
            rests.push((server.rests_until - now).as_secs());
            now = server.rests_until;
            assert!(server.silent(now, now).is_none());
        }
        assert_eq!(rests, [10, 20, 40, 80, 160, 300, 300]);
        assert!(server.answered(Edns::Used, now).is_some_and(|text| text.contains("again")));
        assert!(!server.rests(now) && server.answered(Edns::Used, now).is_none());
    }

    #[test]
    fn a_server_that_talks_is_not_silent() {
        let server = &mut servers(1)[0];
        let at = Duration::from_secs;
        server.heard(at(10));
        for _ in 0..10 {
            assert_eq!(server.silent(at(9), at(14)), None);
        }
        let said = (0..3).filter_map(|_| server.silent(at(11), at(16))).count();
        assert_eq!(said, 1);
    }

    #[test]
    fn edns_is_left_off_where_it_hurts() {
        use Edns::{AfterError, AfterSilence, Off, Used};
        for (answers, off) in [
            (&[AfterError][..], true),
            (&[AfterSilence, AfterSilence, AfterSilence], true),
            (&[AfterSilence, AfterSilence, Used, AfterSilence, AfterSilence], false),
            (&[Used, Used], false),
        ] {
            let server = &mut servers(1)[0];
            let said =
                answers.iter().filter_map(|edns| server.answered(*edns, Duration::ZERO)).count();
            assert_eq!((said == 1, server.edns(0) == Off), (off, off), "{answers:?}");
        }
        assert_eq!(servers(1)[0].edns(1), AfterSilence);
    }

    #[test]
    fn case_is_left_alone_after_two_faults() {
        let server = &mut servers(1)[0];
        let said: Vec<bool> = (0..4).map(|_| server.changed_case().is_some()).collect();
        assert_eq!((said, server.mixes_case()), (vec![false, true, false, false], false));
    }
}
