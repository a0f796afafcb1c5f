//! Judges the name with which a client introduces itself (HELO, EHLO), and writes it into the message
//! as X-HELO.
//!
//! RFC 5321 section 4.1.4 forbids refusing mail because that name does not verify, and small senders
//! cannot always mend it. So by default only lies are refused: policy `lenient` asks no DNS. `rfc` and
//! `strict` refuse more, and then at RCPT, so that a user can log in first. The tests, in this order:
//!   lenient  names in `badhelo`; `localhost` from elsewhere; an address without brackets that is not
//!            the client's (private ones aside: behind NAT it may be); our own name or address. What
//!            rfc would refuse without asking anybody passes, and costs karma
//!   rfc      also an address in brackets that is not the client's; any address without brackets; names
//!            that are not fully qualified; names that do not exist or have no address; clients
//!            whose address has no name
//!   strict   also any address in brackets; names that match the client's address neither forward (the
//!            same address, or its /24 or /96) nor in reverse (the same name or domain)
//! Clients that may relay and white-listed ones are not tested; a name said again is not judged again.
//!
//! Arguments:
//!   policy       `lenient` (default), `rfc` or `strict`
//!   reject       `1` (default) refuses at RCPT, `naughty` leaves it to the plugin naughty, `connect`
//!                refuses HELO itself, `0` only logs
//!   reject_type  `disconnect` (default), `perm`, `temp`, `temp_disconnect`
//!   timeout, dns_timeout  taken for the sake of old lines, without an effect
//!
//! Config files: `badhelo`, a name or a regular expression on each line, which is searched in the name
//! in lower case; with `!` in front names that do not fit are bad.
//!
//! Replies: `550 5.7.1 (helo) TEXT` at RCPT, by default one of `I do not believe you are NAME.`, `You
//! are not localhost`, `Forged IPs not accepted here`.
//!
//! Karma: -1 for a failed test, and under lenient for a name that rfc would refuse without asking; +1
//! under strict for a name that matches both ways.
//!
//! When it cannot tell: the test passes, and an error is logged.

use crate::config::patterns::NameList;
use crate::dns::{Answer, Kind, Question, Record, reverse_name};
use crate::plugin::log::{Level, foreign_within};
use crate::plugin::question::Pending;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, RejectType, Verdict};
use crate::smtp::session::Hello;
use std::net::IpAddr;
use std::sync::Arc;

/// Octets of the name in a reply, a log line and the field.
const NAME_SHOWN: usize = 255;

/// Which tests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tests {
    Lenient,
    Rfc,
    Strict,
}

struct Helo {
    tests: Tests,
    policy: Policy,
    bad: NameList,
}

/// The name judged last on this connection.
#[derive(Clone)]
struct Judged(Box<str>);

/// A failed test: text for the client, words for the log.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    text: String,
    words: String,
}

/// Who speaks, and who we are.
#[derive(Clone, Copy)]
struct Parties<'a> {
    client: IpAddr,
    ours: IpAddr,
    me: &'a str,
}

/// What DNS says: addresses of the name (none asked for a literal), names of the client.
struct Answers {
    forward: Vec<Answer>,
    reverse: Answer,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    for key in ["timeout", "dns_timeout"] {
        args.number(key, 5_u32, 0..=3_600);
    }
    let tests = match args.named("policy").as_deref() {
        None | Some("lenient") => Tests::Lenient,
        Some("rfc") => Tests::Rfc,
        Some("strict") => Tests::Strict,
        Some(other) => {
            args.complain(format!("policy {other}: use lenient, rfc or strict"));
            Tests::Lenient
        }
    };
    let policy = Policy::from_args(args, Reject::Now, RejectType::Disconnect);
    let lines = setup.lines("badhelo");
    let bad = setup.with_problems(|problems| NameList::load(&lines, problems));
    Arc::new(Helo { tests, policy, bad })
}

impl Plugin for Helo {
    fn relies_on_names(&self) -> bool {
        self.tests > Tests::Lenient
    }

    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Helo, Hook::Message])
    }

    fn helo(&self, cx: &mut Cx<'_>, hello: &Hello) -> Hooked {
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        if cx.note::<Judged>().is_some_and(|judged| judged.0.eq_ignore_ascii_case(&hello.name)) {
            cx.log(Level::Debug, "skip, judged before");
            return Ok(Verdict::Declined);
        }
        let name = hello.name.strip_suffix('.').unwrap_or(&hello.name);
        let failure = self.judge(cx, name)?;
        cx.keep_note(Judged(hello.name.clone()));
        Ok(match failure {
            None => Verdict::Declined,
            Some(failure) => {
                cx.karma(-1);
                cx.reject(&self.policy, (7, 1), &failure.text, &failure.words)
            }
        })
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        if let Some(hello) = cx.hello() {
            let printable = |char| if matches!(char, '!'..='~') { char } else { '?' };
            let name: String = hello.name.chars().take(NAME_SHOWN).map(printable).collect();
            cx.delete_header("X-HELO", None);
            cx.insert_header("X-HELO", &name);
        }
        Ok(Verdict::Declined)
    }
}

impl Helo {
    /// The first test that fails.
    fn judge(&self, cx: &mut Cx<'_>, name: &str) -> Result<Option<Failure>, Pending> {
        let me = cx.config().rules.me.to_string();
        let parties = Parties { client: cx.peer().ip, ours: cx.peer().local.ip(), me: &me };
        if let Some(failure) = self.lie(name, parties) {
            return Ok(Some(failure));
        }
        let fault = fault(name, parties);
        if self.tests == Tests::Lenient {
            let words = match &fault {
                Some(fault) => {
                    cx.karma(-1);
                    format!("pass, {}", fault.words)
                }
                None => "pass".to_string(),
            };
            cx.log(Level::Info, words);
            return Ok(None);
        }
        if fault.is_some() {
            return Ok(fault);
        }
        let answers = ask(cx, name)?;
        let mut unknown = Vec::new();
        let failure = answers.test(name, parties.client, self.tests, &mut unknown);
        for what in unknown {
            cx.log(Level::Error, format!("error, skip, query failed ({what}: no answer)"));
        }
        if failure.is_none() {
            if self.tests == Tests::Strict && answers.matches(name, parties.client) == (true, true)
            {
                cx.karma(1);
            }
            cx.log(Level::Info, "pass");
        }
        Ok(failure)
    }

    /// The tests of `lenient`.
    fn lie(&self, name: &str, parties: Parties<'_>) -> Option<Failure> {
        let Parties { client, ours, me } = parties;
        let shown = foreign_within(name.as_bytes(), NAME_SHOWN);
        let disbelief = format!("I do not believe you are {shown}.");
        if let Some(entry) = self.bad.find(name) {
            return failure(disbelief, format!("in badhelo ({entry})"));
        }
        if name.eq_ignore_ascii_case("localhost") && !client.is_loopback() {
            return failure("You are not localhost", "invalid localhost");
        }
        if bare(name).is_some_and(|ip| is_forged(ip, client)) {
            return failure("Forged IPs not accepted here", "forged IP literal");
        }
        let is_us = client.is_loopback() || client == ours.to_canonical();
        if !is_us && name.eq_ignore_ascii_case(me) {
            return failure(disbelief, "our own name");
        }
        if !is_us && bracketed(name) == Some(ours.to_canonical()) {
            return failure("Forged IPs not accepted here", "our own address");
        }
        None
    }
}

/// The tests of `rfc` that ask nobody.
fn fault(name: &str, parties: Parties<'_>) -> Option<Failure> {
    if bracketed(name).is_some_and(|ip| is_forged(ip, parties.client)) {
        return failure("Forged IPs not accepted here", "forged IP literal");
    }
    if bare(name).is_some() {
        return failure("Plain IP is invalid HELO hostname (RFC 2821)", "plain IP");
    }
    if bracketed(name).is_some() {
        return None;
    }
    if !name.contains('.') {
        return failure("HELO name is not fully qualified. Read RFC 2821", "not FQDN");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        let text = "HELO name contains invalid FQDN characters. Read RFC 1035";
        return failure(text, "invalid FQDN chars");
    }
    None
}

/// Everything at once: one round.
fn ask(cx: &mut Cx<'_>, name: &str) -> Result<Answers, Pending> {
    let kinds: &[Kind] = if bracketed(name).is_some() { &[] } else { &[Kind::A, Kind::Aaaa] };
    let forward = kinds.iter().map(|kind| Question::new(name, *kind));
    let reverse = Question::new(&reverse_name(cx.peer().ip), Kind::Ptr);
    let mut forward = cx.dns_all(forward.chain([reverse]))?;
    let reverse = forward.pop().unwrap_or(Answer::TempFail);
    Ok(Answers { forward, reverse })
}

impl Answers {
    /// The tests that ask DNS, in their order. What nobody could answer goes into `unknown`.
    fn test(
        &self,
        name: &str,
        client: IpAddr,
        tests: Tests,
        unknown: &mut Vec<String>,
    ) -> Option<Failure> {
        let is_literal = self.forward.is_empty();
        if !is_literal && self.forward.iter().all(|answer| answer.records().is_empty()) {
            if self.forward.contains(&Answer::NxDomain) {
                return failure("HELO hostname does not exist", "no such host");
            } else if self.forward.contains(&Answer::TempFail) {
                unknown.push(foreign_within(name.as_bytes(), NAME_SHOWN));
            } else {
                return failure("HELO hostname did not resolve", "no forward DNS");
            }
        }
        match self.reverse {
            Answer::NxDomain => return failure(format!("no rDNS for {client}"), "no rDNS"),
            Answer::NoData => return failure(format!("no reverse DNS for {client}"), ""),
            Answer::TempFail => unknown.push(format!("rDNS of {client}")),
            Answer::Found(_) => {}
        }
        if tests < Tests::Strict {
            return None;
        }
        if is_literal {
            let text = "RFC 2821 allows an address literal, but we do not";
            return failure(text, "bracketed IP");
        }
        if unknown.is_empty() && self.matches(name, client) == (false, false) {
            return failure("That HELO hostname fails FCrDNS", "no matching DNS");
        }
        None
    }

    /// The name leads to the client's address, or near it; the address to the name, or its domain.
    fn matches(&self, name: &str, client: IpAddr) -> (bool, bool) {
        let forward = self.forward.iter().flat_map(Answer::addresses);
        let reverse = self.reverse.records().iter().any(|record| match record {
            Record::Name(own) => own.eq_ignore_ascii_case(name) || is_same_domain(own, name),
            Record::Address(_) | Record::Mx(..) | Record::Text(_) => false,
        });
        (forward.into_iter().any(|ip| is_near(ip.to_canonical(), client)), reverse)
    }
}

fn failure(text: impl Into<String>, words: impl Into<String>) -> Option<Failure> {
    Some(Failure { text: text.into(), words: words.into() })
}

/// An address in the place of a name.
fn bare(name: &str) -> Option<IpAddr> {
    name.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// The address in a literal (RFC 5321 section 4.1.3).
fn bracketed(name: &str) -> Option<IpAddr> {
    let inner = name.strip_prefix('[')?.strip_suffix(']')?;
    let (tag, address) = inner.split_at_checked(5).unwrap_or_default();
    bare(if tag.eq_ignore_ascii_case("ipv6:") { address } else { inner })
}

/// Not the client's address. A private one it may well have, on its side of a NAT.
fn is_forged(ip: IpAddr, client: IpAddr) -> bool {
    let is_private = match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    ip != client && !is_private
}

fn is_near(ip: IpAddr, client: IpAddr) -> bool {
    match (ip, client) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.to_bits() >> 8 == b.to_bits() >> 8,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() >> 32 == b.to_bits() >> 32,
        _ => false,
    }
}

/// The last two labels are the same.
fn is_same_domain(a: &str, b: &str) -> bool {
    let mut pairs = a.rsplit('.').zip(b.rsplit('.'));
    let mut same = || pairs.next().is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
    same() && same()
}

#[cfg(test)]
mod tests;
