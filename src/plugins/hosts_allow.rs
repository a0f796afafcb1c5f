//! Decides at accept, by address alone, who is let in, and how many connections one client may have.
//!
//! First the number: more connections from one address (IPv6: one /64) than `concurrency_per_ip`
//! allows are put off. A good history (`karma` above 5) raises the limit by 3, a bad one (below 0)
//! lowers it to 1. At accept that is known from the client's connections that are open already, and
//! nobody needs it for a first one; several that come in the same moment are counted once more before
//! the greeting, when karma has looked. Loopback, clients that may relay and, before the greeting,
//! whitelisted ones have no such limit. Then the file: of its lines
//! `NETWORK CODE [message]` the first whose network holds the address decides. A network is an address,
//! a block `192.0.2.0/24` or `2001:db8::/32`, or a prefix that ends in a dot or colon. The codes are
//!   DENY, DENY_DISCONNECT, DENYHARD       refuse for good
//!   DENYSOFT, DENYSOFT_DISCONNECT         refuse for now
//!   OK                                    let in; later plugins are not asked at accept
//!   DECLINED                              let in, as if no line held the address
//!
//! Arguments: none.
//!
//! Config files: `hosts_allow`, `concurrency_per_ip`.
//!
//! Replies: `421 4.7.0 too many connections from IP, try again later`; the line's message with
//! `554 5.7.1` or `421 4.7.1`, by default `Sorry, service not available for you` and `Sorry, try
//! again later`. The connection is closed after each of them.
//!
//! Karma: none.
//!
//! When it cannot tell: where nothing is known of a client's past, the plain limit holds.

use crate::config::files::{Line, Problem, quote};
use crate::config::nets::{Net, canonical};
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Arrival, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// How a line of the file decides.
struct Rule {
    /// Network and code as written, for the log.
    written: String,
    verdict: Verdict,
}

/// The file. One look-up for each prefix length in use, however many lines there are.
#[derive(Default)]
struct HostsAllow {
    rules: Vec<Rule>,
    /// The first rule of each network.
    first: HashMap<Net, usize>,
    /// Prefix lengths in use, IPv6 or not.
    lengths: BTreeSet<(bool, u8)>,
}

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let lines = setup.lines("hosts_allow");
    let mut list = HostsAllow::default();
    setup.with_problems(|problems| {
        for line in &lines {
            if let Some((net, rule)) = parse(line, problems) {
                list.first.entry(net).or_insert(list.rules.len());
                list.lengths.insert((net.addr.is_ipv6(), net.bits));
                list.rules.push(rule);
            }
        }
    });
    Arc::new(list)
}

/// Reads one line; what is wrong with it goes into `problems`.
fn parse(line: &Line, problems: &mut Vec<Problem>) -> Option<(Net, Rule)> {
    let (word, rest) = line.split_word();
    let net = match Net::parse(word) {
        Ok((net, warning)) => {
            if let Some(what) = warning {
                Problem::warning(line, format!("{} {what}", quote(word))).note(problems);
            }
            net
        }
        Err(what) => {
            Problem::error(line, format!("{} {what}", quote(word))).note(problems);
            return None;
        }
    };
    let (code, message) = match rest.split_once(|c: char| c.is_ascii_whitespace()) {
        Some((code, message)) => (code, message.trim()),
        None => (rest, ""),
    };
    if code.is_empty() {
        let what = "there is no code behind the network; the line is skipped";
        Problem::warning(line, what).note(problems);
        return None;
    }
    let or = |default: &str| if message.is_empty() { default.to_string() } else { message.into() };
    let verdict = match code {
        "OK" => Verdict::OK,
        "DECLINED" => Verdict::Declined,
        "DENY" | "DENY_DISCONNECT" | "DENYHARD" => {
            Verdict::deny((7, 1), or("Sorry, service not available for you"))
        }
        "DENYSOFT" | "DENYSOFT_DISCONNECT" => {
            Verdict::deny_soft((7, 1), or("Sorry, try again later"))
        }
        other => {
            let what = format!("{} is no code and taken as DECLINED", quote(other));
            Problem::warning(line, what).note(problems);
            Verdict::Declined
        }
    };
    let verdict = if code.ends_with("_DISCONNECT") || code == "DENYHARD" {
        verdict.and_disconnect()
    } else {
        verdict
    };
    let written = foreign(format!("{word} {code}").as_bytes());
    Some((net, Rule { written, verdict }))
}

impl Plugin for HostsAllow {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Accept, Hook::Greet])
    }

    fn accept(&self, cx: &mut Cx<'_>) -> Hooked {
        let ip = cx.peer().ip;
        let history = cx.arrival().and_then(|arrival| arrival.karma_history);
        if let Some(refusal) = too_many(cx, history) {
            return Ok(refusal);
        }
        let Some(rule) = self.find(ip) else {
            cx.log(Level::Debug, "pass, no match");
            return Ok(Verdict::Declined);
        };
        let word = if rule.verdict.refusal().is_some() { "fail" } else { "pass" };
        cx.log(Level::Info, format!("{word}, match in hosts_allow ({})", rule.written));
        Ok(rule.verdict.clone())
    }

    /// By now karma may have found out what nobody knew at accept.
    fn greet(&self, cx: &mut Cx<'_>) -> Hooked {
        let exempt = cx.may_relay() || cx.facts().immune.is_some();
        let history = cx.facts().karma_history.filter(|_| !exempt);
        let refusal = history.and_then(|history| too_many(cx, Some(history)));
        Ok(refusal.unwrap_or(Verdict::Declined))
    }
}

/// The refusal of one connection too many.
fn too_many(cx: &mut Cx<'_>, history: Option<i32>) -> Option<Verdict> {
    let arrival = cx.arrival()?;
    let limit = limit(arrival, history);
    if limit == 0 || arrival.same_ip <= limit {
        return None;
    }
    let ip = cx.peer().ip;
    let mine = format!("{} > {limit}", arrival.same_ip);
    cx.log(Level::Info, format!("fail: too many connections from {ip} ({mine})"));
    let text = format!("too many connections from {ip}, try again later");
    Some(Verdict::deny_soft((7, 0), text))
}

impl HostsAllow {
    /// The first line whose network holds the address.
    fn find(&self, ip: IpAddr) -> Option<&Rule> {
        let ip = canonical(ip);
        let lengths = self.lengths.iter().filter(|(is_v6, _)| *is_v6 == ip.is_ipv6());
        let places = lengths.filter_map(|(_, bits)| self.first.get(&Net::new(ip, *bits)));
        self.rules.get(*places.min()?)
    }
}

/// How many connections the client may have; 0 is no limit.
fn limit(arrival: &Arrival, history: Option<i32>) -> usize {
    match (arrival.same_ip_max, history) {
        (0, _) => 0,
        (_, Some(history)) if history < 0 => 1,
        (max, Some(history)) if history > 5 => max.saturating_add(3),
        (max, _) => max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Defaults;
    use crate::config::files::Files;
    use crate::plugin::log::{Event, Id};
    use crate::plugin::visit::{Surroundings, Visit};
    use crate::plugin::{Moment, Peer};
    use crate::plugins::load::{Strictness, load as load_site};
    use std::time::Duration;

    /// The first reply to a client that arrives, the line about it, and the problems of the file.
    fn arrive(lines: &str, ip: &str, arrival: &Arrival) -> (String, String, Vec<String>) {
        let files = [("plugins", "hosts_allow\nrcpt_ok\nqueue/discard"), ("hosts_allow", lines)];
        let files = files.map(|(name, text)| (name.to_string(), text.to_string()));
        let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
        let (site, problems) =
            load_site(&Files::in_memory(files), &defaults, None, Strictness::Start);
        let (base, site) = (Arc::clone(&site.base), Arc::new(site));
        let around = Surroundings {
            now: Moment::default(),
            site: &site,
            verbosity: Level::Debug,
            stopwatch: || Duration::ZERO,
        };
        let peer = Peer {
            ip: ip.parse().expect("an address"),
            port: 1,
            local: "192.0.2.250:25".parse().expect("an address"),
            name: None,
        };
        let mut visit = Visit::new(Id(7), peer, base, &around);
        let mut out = Vec::new();
        let let_in = visit.accept(arrival, &around, &mut out);
        let reply = String::from_utf8(out).expect("replies are ASCII");
        assert_eq!(let_in, reply.is_empty());
        let said = visit.take_log().into_iter().find_map(|event| match event {
            Event::Line(line) if !line.plugin.is_empty() => Some(line.text),
            _ => None,
        });
        let problems = problems.iter().map(ToString::to_string).collect();
        (reply.trim_end().to_string(), said.unwrap_or_default(), problems)
    }

    #[test]
    fn the_first_line_that_fits_decides() {
        let lines = "192.0.2.9 OK\n192.0.2.0/24 DENY You have sent us too much\n192.0.2.10 OK\n\
                     198.51.100.0/25 DENYSOFT\n203.0.113.0/32 DENY_DISCONNECT\n10.0.0.0/8 DECLINED\n\
                     10.0.0.0/8 DENY\n2001:db8::/32 DENYSOFT_DISCONNECT not yet\n127. DENYHARD";
        for (ip, reply, said) in [
            ("192.0.2.9", "", "pass, match in hosts_allow (192.0.2.9 OK)"),
            (
                "192.0.2.10",
                "554 5.7.1 You have sent us too much [7]",
                "fail, match in hosts_allow (192.0.2.0/24 DENY)",
            ),
            (
                "198.51.100.127",
                "421 4.7.1 Sorry, try again later [7]",
                "fail, match in hosts_allow (198.51.100.0/25 DENYSOFT)",
            ),
            ("198.51.100.128", "", "pass, no match"),
            (
                "203.0.113.0",
                "554 5.7.1 Sorry, service not available for you [7]",
                "fail, match in hosts_allow (203.0.113.0/32 DENY_DISCONNECT)",
            ),
            ("10.1.2.3", "", "pass, match in hosts_allow (10.0.0.0/8 DECLINED)"),
            (
                "2001:db8::1",
                "421 4.7.1 not yet [7]",
                "fail, match in hosts_allow (2001:db8::/32 DENYSOFT_DISCONNECT)",
            ),
            ("2001:db9::1", "", "pass, no match"),
            (
                "127.0.0.1",
                "554 5.7.1 Sorry, service not available for you [7]",
                "fail, match in hosts_allow (127. DENYHARD)",
            ),
        ] {
            let seen = arrive(lines, ip, &Arrival::default());
            assert_eq!(seen, (reply.to_string(), said.to_string(), Vec::new()), "{ip}");
        }
    }

    #[test]
    fn faults_of_the_file_are_told() {
        let lines = "192.0.2.1\n192.0.2.2 deny\n192.0.2.77/24 DENY\nmail.example DENY";
        let (reply, _, problems) = arrive(lines, "192.0.2.2", &Arrival::default());
        assert_eq!(reply, "");
        assert_eq!(
            problems,
            [
                "hosts_allow:1: warning: there is no code behind the network; the line is skipped",
                "hosts_allow:2: warning: \"deny\" is no code and taken as DECLINED",
                "hosts_allow:3: warning: \"192.0.2.77/24\" has bits set behind its prefix; they are \
                 ignored",
                "hosts_allow:4: \"mail.example\" is neither an IP address nor a network",
            ]
        );
    }

    #[test]
    fn more_connections_than_allowed_are_put_off() {
        for (same_ip, same_ip_max, refused) in
            [(5, 5, false), (6, 5, true), (1_000, 0, false), (1, 1, false)]
        {
            let arrival = Arrival { same_ip, same_ip_max, ..Arrival::default() };
            // A line of the file does not lift the limit.
            let (reply, said, _) = arrive("192.0.2.1 OK", "192.0.2.1", &arrival);
            if refused {
                assert_eq!(
                    reply,
                    "421 4.7.0 too many connections from 192.0.2.1, try again later [7]"
                );
                assert_eq!(said, "fail: too many connections from 192.0.2.1 (6 > 5)");
            } else {
                assert_eq!(reply, "", "{same_ip} of {same_ip_max}");
            }
        }
    }

    #[test]
    fn what_other_connections_have_found_out_counts_at_accept() {
        for (same_ip, karma_history, refused) in [
            (1, Some(-1), None),
            (2, Some(-1), Some("2 > 1")),
            (8, Some(6), None),
            (9, Some(6), Some("9 > 8")),
            (2, None, None),
        ] {
            let arrival = Arrival { same_ip, same_ip_max: 5, karma_history, ..Arrival::default() };
            let (reply, said, _) = arrive("", "192.0.2.1", &arrival);
            assert_eq!(reply.starts_with("421 4.7.0 too many connections"), refused.is_some());
            assert!(refused.is_none_or(|counts| said.ends_with(&format!("({counts})"))), "{said}");
        }
    }

    #[test]
    fn a_history_moves_the_limit() {
        for (same_ip_max, history, expected) in [
            (5, None, 5),
            (5, Some(0), 5),
            (5, Some(5), 5),
            (5, Some(6), 8),
            (5, Some(-1), 1),
            (0, Some(-1), 0),
            (0, Some(6), 0),
            (usize::MAX, Some(6), usize::MAX),
        ] {
            let arrival = Arrival { same_ip_max, ..Arrival::default() };
            assert_eq!(limit(&arrival, history), expected, "{same_ip_max} {history:?}");
        }
    }
}
