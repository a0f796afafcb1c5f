//! Looks whether the client's address has a name, and that name the address. It never refuses.
//!
//! The names of an address (PTR) are whatever its owner writes there, so a name counts only if it
//! leads back to this very address: then `facts.fcrdns` is true, and other plugins may trust the
//! name. A name that leads elsewhere is shown in logs and fields and trusted by nobody. The names are
//! asked for when the client connects, their addresses at MAIL, so that no greeting waits; what was
//! found holds for all mails of the connection and stands in Authentication-Results (`iprev`, RFC 8601
//! section 3). Of many names the first ten are looked at.
//!
//! Arguments:
//!   reject, reject_type, timeout  taken for the sake of old lines, without an effect; a `reject` that
//!                                 asks for refusals is warned of
//!
//! Config files: none.
//!
//! Replies: none.
//!
//! Karma: +1 for loopback and for a name that matches; -1 for `localhost` elsewhere, names that are
//! none, no name, and names without any address.
//!
//! When it cannot tell: `iprev=temperror`, nothing else.

use crate::config::files::Problem;
use crate::dns::{Answer, Kind, Question, Record, reverse_name};
use crate::plugin::log::{Level, foreign_within};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, RejectType, Verdict};
use crate::smtp::session::MailFrom;
use std::net::IpAddr;
use std::sync::Arc;

/// Names of one address that are looked up.
const NAMES_MAX: usize = 10;

/// Octets of a name in a log line.
const NAME_SHOWN: usize = 100;

struct Fcrdns;

/// What was found out about the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    iprev: Option<&'static str>,
    karma: i32,
    matches: Option<bool>,
    words: String,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    args.number("timeout", 5_u32, 0..=3_600);
    let policy = Policy::from_args(args, Reject::Never, RejectType::Temp);
    if policy.reject != Reject::Never {
        let what = "fcrdns never refuses: reject is taken as 0";
        setup.with_problems(|problems| Problem::warning(&args.line, what).note(problems));
    }
    Arc::new(Fcrdns)
}

impl Plugin for Fcrdns {
    fn relies_on_names(&self) -> bool {
        true
    }

    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Connect, Hook::Mail])
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        let ip = cx.peer().ip;
        let exempt = cx.may_relay() || cx.facts().immune.is_some();
        if !exempt && !ip.is_loopback() {
            cx.want(Question::new(&reverse_name(ip), Kind::Ptr));
        }
        Ok(Verdict::Declined)
    }

    fn mail(&self, cx: &mut Cx<'_>, _mail: &MailFrom) -> Hooked {
        if let Some(finding) = cx.note::<Finding>() {
            write_result(cx, finding);
            return Ok(Verdict::Declined);
        }
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let ip = cx.peer().ip;
        let finding = if ip.is_loopback() {
            found(None, 1, Some(true), "pass, is localhost")
        } else {
            match names(&cx.dns(Question::new(&reverse_name(ip), Kind::Ptr))?) {
                Err(finding) => finding,
                Ok(names) => {
                    let both = |name| [Kind::A, Kind::Aaaa].map(|kind| Question::new(name, kind));
                    judge(ip, &names, &cx.dns_all(names.iter().flat_map(|name| both(name)))?)
                }
            }
        };
        if finding.karma != 0 {
            cx.karma(finding.karma);
        }
        cx.facts_mut().fcrdns = finding.matches;
        cx.log(Level::Info, finding.words.clone());
        write_result(cx, &finding);
        cx.keep_note(finding);
        Ok(Verdict::Declined)
    }
}

fn write_result(cx: &mut Cx<'_>, finding: &Finding) {
    if let Some(result) = finding.iprev {
        cx.auth_result(format!("iprev={result}"));
    }
}

fn found(
    iprev: Option<&'static str>,
    karma: i32,
    matches: Option<bool>,
    words: impl Into<String>,
) -> Finding {
    Finding { iprev, karma, matches, words: words.into() }
}

/// The names worth looking up, or what it means that there are none.
fn names(answer: &Answer) -> Result<Vec<Box<str>>, Finding> {
    match answer {
        Answer::NxDomain => {
            return Err(found(Some("permerror"), -1, Some(false), "fail, no rDNS: NXDOMAIN"));
        }
        Answer::NoData => {
            return Err(found(Some("permerror"), -1, Some(false), "fail, no PTR (NOERROR)"));
        }
        Answer::TempFail => {
            return Err(found(Some("temperror"), 0, None, "fail, error getting rDNS: no answer"));
        }
        Answer::Found(_) => {}
    }
    let mut good: Vec<Box<str>> = Vec::new();
    let mut fault = "no PTR (NOERROR)";
    for record in answer.records() {
        let Record::Name(name) = record else { continue };
        match fault_of(name) {
            Some(what) => fault = what,
            None if good.contains(name) => {}
            None => good.push(name.clone()),
        }
    }
    good.truncate(NAMES_MAX);
    if good.is_empty() {
        let iprev = Some(if fault.starts_with("no PTR") { "permerror" } else { "fail" });
        return Err(found(iprev, -1, Some(false), format!("fail, {fault}")));
    }
    Ok(good)
}

/// What is wrong with a name that an address outside loopback claims.
fn fault_of(name: &str) -> Option<&'static str> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.eq_ignore_ascii_case("localhost") {
        Some("not localhost")
    } else if !name.bytes().all(is_plain) {
        Some("invalid FQDN chars")
    } else if !name.contains('.') || last.bytes().all(|b| b.is_ascii_digit()) {
        // An address as a name would only confirm itself.
        Some("not FQDN")
    } else {
        None
    }
}

/// Compares; the answers are those for A and AAAA of each name in turn.
fn judge(ip: IpAddr, names: &[Box<str>], answers: &[Answer]) -> Finding {
    if answers.iter().flat_map(Answer::addresses).any(|it| it.to_canonical() == ip) {
        return found(Some("pass"), 1, Some(true), "pass");
    }
    if answers.contains(&Answer::TempFail) {
        return found(Some("temperror"), 0, None, "fail, error getting forward DNS: no answer");
    }
    if answers.iter().all(|answer| answer.records().is_empty()) {
        return found(Some("fail"), -1, Some(false), "fail, no PTR hosts have forward DNS");
    }
    let name = names.first().map(|name| foreign_within(name.as_bytes(), NAME_SHOWN));
    let words = format!("pass, {} has other addresses", name.unwrap_or_default());
    found(Some("fail"), 0, Some(false), words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;
    use crate::plugins::tests::testing;

    fn check(
        ip: &str,
        ptr: &Answer,
        forward: &[Answer],
        expected: (&'static str, i32, Option<bool>, &str),
    ) {
        let ip: IpAddr = ip.parse().expect("an address");
        let finding = match names(ptr) {
            Err(finding) => finding,
            Ok(names) => judge(ip, &names, forward),
        };
        let (iprev, karma, matches, words) = expected;
        assert_eq!(finding, found(Some(iprev), karma, matches, words), "{ip} {ptr:?}");
    }

    #[test]
    fn only_the_very_address_confirms_a_name() {
        let name = testing::names(&["mail.example.org"]);
        let a = testing::addresses;
        let (none, empty, dumb) = (Answer::NxDomain, Answer::NoData, Answer::TempFail);
        let other = "pass, mail.example.org has other addresses";
        let nowhere = "fail, no PTR hosts have forward DNS";
        let unknown = "fail, error getting forward DNS: no answer";
        for (ip, v4, v6, expected) in [
            ("192.0.2.1", a(&["192.0.2.1"]), empty.clone(), ("pass", 1, Some(true), "pass")),
            (
                "192.0.2.1",
                a(&["10.0.0.1", "192.0.2.1"]),
                dumb.clone(),
                ("pass", 1, Some(true), "pass"),
            ),
            ("2001:db8::1", empty.clone(), a(&["2001:db8::1"]), ("pass", 1, Some(true), "pass")),
            ("192.0.2.1", a(&["192.0.2.2"]), empty.clone(), ("fail", 0, Some(false), other)),
            ("192.0.2.1", empty.clone(), a(&["2001:db8::1"]), ("fail", 0, Some(false), other)),
            ("192.0.2.1", none.clone(), none.clone(), ("fail", -1, Some(false), nowhere)),
            ("192.0.2.1", empty.clone(), empty.clone(), ("fail", -1, Some(false), nowhere)),
            ("192.0.2.1", dumb.clone(), empty.clone(), ("temperror", 0, None, unknown)),
            ("192.0.2.1", a(&["192.0.2.2"]), dumb, ("temperror", 0, None, unknown)),
        ] {
            check(ip, &name, &[v4, v6], expected);
        }
    }

    #[test]
    fn what_is_no_name_is_not_looked_up() {
        let many: Vec<String> = (0..300).map(|n| format!("h{n}.example.org")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(names(&testing::names(&many)).map(|names| names.len()), Ok(NAMES_MAX));
        let same = testing::names(&["a.example", "localhost", "a.example", "b.example"]);
        assert_eq!(names(&same), Ok(vec!["a.example".into(), "b.example".into()]));
        for (ptr, expected) in [
            (Answer::NxDomain, ("permerror", -1, Some(false), "fail, no rDNS: NXDOMAIN")),
            (Answer::NoData, ("permerror", -1, Some(false), "fail, no PTR (NOERROR)")),
            (Answer::TempFail, ("temperror", 0, None, "fail, error getting rDNS: no answer")),
            (testing::names(&["localhost"]), ("fail", -1, Some(false), "fail, not localhost")),
            (testing::names(&["mail"]), ("fail", -1, Some(false), "fail, not FQDN")),
            (testing::names(&["192.0.2.1"]), ("fail", -1, Some(false), "fail, not FQDN")),
            (
                testing::names(&["a\\027[31m.example"]),
                ("fail", -1, Some(false), "fail, invalid FQDN chars"),
            ),
            (testing::names(&[""]), ("fail", -1, Some(false), "fail, not FQDN")),
            (
                testing::addresses(&["192.0.2.1"]),
                ("permerror", -1, Some(false), "fail, no PTR (NOERROR)"),
            ),
        ] {
            check("192.0.2.1", &ptr, &[], expected);
        }
    }

    #[test]
    fn two_rounds_a_connection() {
        let resolver = |question: &Question| match question.kind {
            Kind::Ptr => testing::names(&["a.example", "b.example"]),
            Kind::A => testing::addresses(&["192.0.2.1"]),
            _ => Answer::NoData,
        };
        let mails =
            ["EHLO a.example", "MAIL FROM:<a@b.example>", "RSET", "MAIL FROM:<a@b.example>"];
        for (ip, rounds) in [("192.0.2.1", vec![1, 4]), ("127.0.0.1", vec![]), ("10.0.0.1", vec![])]
        {
            let files = [("plugins", "relay\nfcrdns\nrcpt_ok"), ("relayclients", "10.")];
            let played = testing::play(&files, ip, &mails, resolver);
            let seen: Vec<usize> = played.rounds.iter().map(Vec::len).collect();
            assert_eq!(seen, rounds, "{ip} {:?}", played.rounds);
            let karma = played.log.iter().filter(|line| line.contains("karma 1 (1)")).count();
            assert_eq!(karma, usize::from(ip != "10.0.0.1"), "{:?}", played.log);
        }
    }

    #[test]
    fn arguments() {
        for (line, warnings, complaints) in [
            ("fcrdns", 0, 0),
            ("fcrdns reject 0 reject_type temp timeout 5", 0, 0),
            ("fcrdns reject naughty", 1, 0),
            ("fcrdns timeout soon", 0, 1),
            ("fcrdns strict", 0, 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
            assert_eq!(problems.len(), warnings, "{line}");
        }
    }
}
