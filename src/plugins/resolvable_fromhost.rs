//! Refuses senders whose domain can receive no mail: nobody could be told of a failure.
//!
//! A domain passes if one of its mail exchangers (MX; the first five are looked at) has an address, or
//! if it has no MX and an address itself (RFC 5321 section 5.1). Addresses in the networks of
//! `invalid_resolvable_fromhost` do not count. A domain with a null MX (RFC 7505) says that it never
//! sends mail, so waiting would not help and the refusal is for good whatever the reject_type says.
//! Bounces (the null sender) pass, and so do addresses as domain.
//!
//! Arguments:
//!   reject       `1` (default) refuses, `0` only logs, `naughty` leaves it to the plugin naughty
//!   reject_type  `temp` (default), `perm`, `disconnect`, `temp_disconnect`
//!
//! Config files: `invalid_resolvable_fromhost`, networks of IPv4 and IPv6. The file
//! require_resolvable_fromhost of qpsmtpd 0.84, which switched it on, is not read.
//!
//! Replies: `450 4.1.8 FQDN required in the envelope sender` (`550 5.1.8` with perm),
//! `550 5.7.27 Sender address has null MX`, `450 4.4.3 Temporary address resolution failure`
//!
//! Karma: -1 for a domain without MX or with useless ones, -1 more for a refusal; -1 for an address as
//! domain.
//!
//! When it cannot tell: the sender is asked to come back later; with `reject 0` it passes.

use crate::config::nets::NetList;
use crate::dns::{Answer, Kind, Question, Record};
use crate::plugin::log::{Level, foreign};
use crate::plugin::question::Pending;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, RejectType, Verdict};
use crate::smtp::session::MailFrom;
use std::net::IpAddr;
use std::sync::Arc;

/// Mail exchangers of one domain that are looked at.
const EXCHANGERS_MAX: usize = 5;

struct ResolvableFromhost {
    invalid: NetList,
    policy: Policy,
}

/// What the MX records of a domain say.
#[derive(Debug, PartialEq, Eq)]
enum Exchange {
    /// Names or addresses, in the order of preference.
    Hosts(Vec<Box<str>>),
    /// The domain takes no mail, and sends none.
    Null,
    /// There are none; the domain itself may have an address.
    None,
    /// The domain does not exist.
    NoName,
    /// Nobody could say.
    Unknown,
}

/// What is found out about a domain, with the words for the log.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Pass(String),
    Fail(String),
    NullMx(String),
    Unknown,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let policy = Policy::from_args(args, Reject::Now, RejectType::Temp);
    let lines = setup.lines("invalid_resolvable_fromhost");
    let invalid = setup.with_problems(|problems| NetList::load(&lines, problems));
    Arc::new(ResolvableFromhost { invalid, policy })
}

impl Plugin for ResolvableFromhost {
    fn relies_on_names(&self) -> bool {
        true
    }

    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Mail])
    }

    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let Some(sender) = mail.reverse_path.address() else {
            cx.log(Level::Info, "pass, null sender");
            return Ok(Verdict::Declined);
        };
        let domain = sender.domain();
        if sender.is_literal() {
            cx.karma(-1);
            cx.log(Level::Info, format!("skip, {domain} is an IP"));
            return Ok(Verdict::Declined);
        }
        let outcome = match domain {
            "" => Outcome::Fail("unparsable host".to_string()),
            domain => self.find_out(cx, domain)?,
        };
        Ok(self.apply(cx, outcome))
    }
}

impl ResolvableFromhost {
    /// Asks for the exchangers, then for addresses of theirs or, without any, of the domain.
    fn find_out(&self, cx: &mut Cx<'_>, domain: &str) -> Result<Outcome, Pending> {
        let shown = foreign(domain.as_bytes());
        let addresses = |name: &str| [Kind::A, Kind::Aaaa].map(|kind| Question::new(name, kind));
        Ok(match exchange(&cx.dns(Question::new(domain, Kind::Mx))?) {
            Exchange::Unknown => Outcome::Unknown,
            Exchange::Null => {
                cx.karma(-1);
                Outcome::NullMx(format!("null MX for {shown}"))
            }
            Exchange::NoName => {
                cx.karma(-1);
                Outcome::Fail(format!("{shown} does not exist"))
            }
            Exchange::Hosts(hosts) => {
                let names = hosts.iter().filter(|host| host.parse::<IpAddr>().is_err());
                let answers = cx.dns_all(names.flat_map(|host| addresses(host)))?;
                let outcome = self.judge_exchangers(&shown, &hosts, answers);
                if matches!(outcome, Outcome::Fail(_)) {
                    cx.karma(-1);
                }
                outcome
            }
            Exchange::None => {
                let answers = cx.dns_all(addresses(domain))?;
                cx.karma(-1);
                cx.log(Level::Info, format!("{shown} has no MX"));
                self.judge_domain(&shown, &answers)
            }
        })
    }

    /// One exchanger with an address is enough. The answers are those for A and AAAA of each host that is
    /// no address itself.
    fn judge_exchangers(&self, domain: &str, hosts: &[Box<str>], answers: Vec<Answer>) -> Outcome {
        let mut unknown = false;
        let mut answers = answers.into_iter();
        for host in hosts {
            let good = match host.parse::<IpAddr>() {
                Ok(address) => self.counts(address),
                Err(_) => answers.by_ref().take(2).fold(false, |good, answer| {
                    unknown |= answer == Answer::TempFail;
                    good || answer.addresses().any(|it| self.counts(it))
                }),
            };
            if good {
                return Outcome::Pass(format!("{domain} has MX at {}", foreign(host.as_bytes())));
            }
        }
        if unknown { Outcome::Unknown } else { Outcome::Fail(format!("invalid MX for {domain}")) }
    }

    fn judge_domain(&self, domain: &str, answers: &[Answer]) -> Outcome {
        let mut addresses = answers.iter().flat_map(Answer::addresses).peekable();
        let any = addresses.peek().is_some();
        if addresses.any(|it| self.counts(it)) {
            Outcome::Pass(format!("found A for {domain}"))
        } else if answers.contains(&Answer::TempFail) {
            Outcome::Unknown
        } else if any {
            Outcome::Fail(format!("invalid address for {domain}"))
        } else {
            Outcome::Fail(format!("{domain} has neither MX nor address"))
        }
    }

    fn counts(&self, address: IpAddr) -> bool {
        self.invalid.contains(address).is_none()
    }

    fn apply(&self, cx: &mut Cx<'_>, outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Pass(words) => {
                cx.log(Level::Info, format!("pass, {words}"));
                Verdict::Declined
            }
            Outcome::Fail(words) => {
                cx.karma(-1);
                cx.reject(&self.policy, (1, 8), "FQDN required in the envelope sender", &words)
            }
            Outcome::NullMx(words) => {
                cx.karma(-1);
                let reject_type = match self.policy.reject_type {
                    RejectType::Perm | RejectType::Temp => RejectType::Perm,
                    RejectType::Disconnect | RejectType::TempDisconnect => RejectType::Disconnect,
                };
                let policy = Policy { reject_type, ..self.policy };
                cx.reject(&policy, (7, 27), "Sender address has null MX", &words)
            }
            Outcome::Unknown if self.policy.reject == Reject::Never => {
                cx.log(Level::Info, "fail, tolerated, missing result");
                Verdict::Declined
            }
            // It holds nothing against the sender, so no policy makes more of it.
            Outcome::Unknown => {
                cx.log(Level::Info, "fail, missing result");
                Verdict::deny_soft((4, 3), "Temporary address resolution failure")
            }
        }
    }
}

fn exchange(answer: &Answer) -> Exchange {
    match answer {
        Answer::TempFail => return Exchange::Unknown,
        Answer::NxDomain => return Exchange::NoName,
        Answer::NoData => return Exchange::None,
        Answer::Found(_) => {}
    }
    let mut hosts: Vec<(u16, &str)> = Vec::new();
    for record in answer.records() {
        if let Record::Mx(preference, host) = record {
            hosts.push((*preference, host.trim_end_matches('.')));
        }
    }
    if !hosts.is_empty() && hosts.iter().all(|(_, host)| host.is_empty()) {
        return Exchange::Null;
    }
    // A root name beside others means nothing (RFC 7505 section 3), and what no host can be called
    // has no address.
    let is_host = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    hosts.sort_by_key(|(preference, _)| *preference);
    let mut names: Vec<Box<str>> = Vec::new();
    for (_, host) in &hosts {
        if is_host(host) && !names.iter().any(|known| known.eq_ignore_ascii_case(host)) {
            names.push((*host).into());
        }
    }
    names.truncate(EXCHANGERS_MAX);
    if hosts.is_empty() { Exchange::None } else { Exchange::Hosts(names) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;
    use crate::plugins::tests::testing::{addresses, play};

    fn plugin(line: &str, networks: &str) -> (ResolvableFromhost, usize) {
        let file = ("invalid_resolvable_fromhost".to_string(), networks.to_string());
        let files = Files::in_memory([file]);
        let mut problems = Vec::new();
        let setup = Setup::new(&files, &mut problems);
        let mut args = Args::of(line);
        let policy = Policy::from_args(&mut args, Reject::Now, RejectType::Temp);
        let lines = setup.lines("invalid_resolvable_fromhost");
        let invalid = setup.with_problems(|problems| NetList::load(&lines, problems));
        load(&mut Args::of(line), &setup);
        (ResolvableFromhost { invalid, policy }, args.finish().len())
    }

    fn mx(records: &[(u16, &str)]) -> Answer {
        let record = |(preference, host): &(u16, &str)| Record::Mx(*preference, (*host).into());
        Answer::Found(records.iter().map(record).collect())
    }

    #[test]
    fn arguments() {
        for (line, reject, reject_type, complaints) in [
            ("resolvable_fromhost", Reject::Now, RejectType::Temp, 0),
            ("require_resolvable_fromhost", Reject::Now, RejectType::Temp, 0),
            ("resolvable_fromhost reject 0", Reject::Never, RejectType::Temp, 0),
            ("resolvable_fromhost reject_type perm", Reject::Now, RejectType::Perm, 0),
            ("resolvable_fromhost soft", Reject::Now, RejectType::Temp, 1),
        ] {
            let (plugin, found) = plugin(line, "");
            assert_eq!(plugin.policy, Policy { reject, reject_type }, "{line}");
            assert_eq!(found, complaints, "{line}");
        }
    }

    #[test]
    fn exchangers() {
        let hosts = |names: &[&str]| Exchange::Hosts(names.iter().map(|it| (*it).into()).collect());
        let many: Vec<(u16, String)> =
            (0..50).map(|n| (100 - n, format!("mx{n}.example"))).collect();
        let many: Vec<(u16, &str)> = many.iter().map(|(n, host)| (*n, &**host)).collect();
        let five = ["mx49.example", "mx48.example", "mx47.example", "mx46.example", "mx45.example"];
        for (answer, expected) in [
            (Answer::TempFail, Exchange::Unknown),
            (Answer::NxDomain, Exchange::NoName),
            (Answer::NoData, Exchange::None),
            (mx(&[]), Exchange::None),
            (mx(&[(0, "")]), Exchange::Null),
            (mx(&[(10, ".")]), Exchange::Null),
            (mx(&[(0, ""), (10, "a.example")]), hosts(&["a.example"])),
            (mx(&[(20, "b.example"), (10, "a.example.")]), hosts(&["a.example", "b.example"])),
            (mx(&[(1, "a.example"), (2, "A.example")]), hosts(&["a.example"])),
            (mx(&[(1, "192.0.2.1"), (2, "2001:db8::1")]), hosts(&["192.0.2.1", "2001:db8::1"])),
            (mx(&[(1, "no\\032host.example")]), hosts(&[])),
            (mx(&many), hosts(&five)),
        ] {
            assert_eq!(exchange(&answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn addresses_count_unless_their_network_is_invalid() {
        let (plugin, _) = plugin("resolvable_fromhost", "127.0.0.0/8\n10.0.0.0/8\nfc00::/7");
        let dumb = || Answer::TempFail;
        let pass = |words: &str| Outcome::Pass(words.to_string());
        let fail = |words: &str| Outcome::Fail(words.to_string());
        for (v4, v6, domain, exchanger) in [
            (
                addresses(&["192.0.2.1"]),
                addresses(&[]),
                pass("found A for d"),
                pass("d has MX at m"),
            ),
            (
                addresses(&[]),
                addresses(&["2001:db8::1"]),
                pass("found A for d"),
                pass("d has MX at m"),
            ),
            (
                addresses(&["127.0.0.1", "192.0.2.1"]),
                dumb(),
                pass("found A for d"),
                pass("d has MX at m"),
            ),
            (
                addresses(&["127.0.0.1"]),
                addresses(&["fd00::1"]),
                fail("invalid address for d"),
                fail("invalid MX for d"),
            ),
            (
                addresses(&["::ffff:10.0.0.1"]),
                Answer::NoData,
                fail("invalid address for d"),
                fail("invalid MX for d"),
            ),
            (
                addresses(&[]),
                Answer::NoData,
                fail("d has neither MX nor address"),
                fail("invalid MX for d"),
            ),
            (addresses(&[]), dumb(), Outcome::Unknown, Outcome::Unknown),
            (addresses(&["127.0.0.1"]), dumb(), Outcome::Unknown, Outcome::Unknown),
        ] {
            let answers = vec![v4, v6];
            assert_eq!(plugin.judge_domain("d", &answers), domain, "{answers:?}");
            assert_eq!(plugin.judge_exchangers("d", &["m".into()], answers), exchanger);
        }
        // Addresses in the place of names, and the first exchanger that counts.
        let hosts: [Box<str>; 3] = ["10.0.0.1".into(), "m".into(), "192.0.2.1".into()];
        let answers = vec![Answer::NxDomain, Answer::NxDomain];
        assert_eq!(plugin.judge_exchangers("d", &hosts, answers), pass("d has MX at 192.0.2.1"));
        assert_eq!(plugin.judge_exchangers("d", &[], Vec::new()), fail("invalid MX for d"));
    }

    #[test]
    fn at_most_two_rounds() {
        for (answer, rounds) in [
            (mx(&[(10, "a.example"), (20, "b.example")]), vec![1, 4]),
            (mx(&[(10, "192.0.2.1")]), vec![1]),
            (mx(&[(0, "")]), vec![1]),
            (Answer::NoData, vec![1, 2]),
            (Answer::NxDomain, vec![1]),
            (Answer::TempFail, vec![1]),
        ] {
            let files = [("plugins", "resolvable_fromhost\nrcpt_ok")];
            let commands = ["EHLO c.example", "MAIL FROM:<a@d.example>"];
            let played = play(&files, "192.0.2.1", &commands, |question| match question.kind {
                Kind::Mx => answer.clone(),
                _ => addresses(&["192.0.2.1"]),
            });
            let seen: Vec<usize> = played.rounds.iter().map(Vec::len).collect();
            assert_eq!(seen, rounds, "{answer:?} {:?}", played.rounds);
        }
    }
}
