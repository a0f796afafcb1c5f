//! Condemns clients whose address stands on a block list in DNS.
//!
//! A line of `dnsbl_zones` is `ZONE`, or `ZONE;TEXT` or `ZONE:TEXT` with what the client is told;
//! `%IP%` in it is the client's address. Without a text of ours the list's own (TXT) is shown. All
//! lists are asked at once when the client connects, but nobody waits for them before MAIL, and with
//! `reject 1` the refusal comes at RCPT: a user on a listed address can still log in. The first list
//! in the order of the file that names the address counts. Of IPv6 addresses all 32 nibbles are asked
//! for (RFC 5782).
//!
//! A list that answers with an error code (127.255.255.0/24, 127.0.0.1 and its like) or with an
//! address outside 127.0.0.0/8 is in error: it is blocked, dead, or our resolver rewrites answers. It
//! lists nobody, whatever it says, and its text is not shown.
//!
//! Recipients postmaster, abuse, mailer-daemon and root can be reached by who is listed, too. Plugins
//! read no environment, so RBLSMTPD of tcpserver is not looked at: use `dnsbl_allow`.
//!
//! Arguments:
//!   reject       `1` (default) refuses at RCPT, `connect` at the greeting, `naughty` leaves it to
//!                the plugin naughty, `0` only logs
//!   reject_type  `perm` (default), `temp`, `disconnect`, `temp_disconnect`; one word alone
//!                (`dnsbl disconnect`) means it too
//!   timeout      taken for the sake of old lines, without an effect: the resolver has its own
//!
//! Config files: `dnsbl_zones`; `dnsbl_allow`, networks that are not looked up; `dnsbl_rejectmsg`, a
//! line that stands in front of the text for the client.
//!
//! Replies: `550 5.7.1 (dnsbl) TEXT` at RCPT, `554 5.7.1 TEXT` at the greeting, by default with the
//! list's text, or `listed in ZONE` where it has none.
//!
//! Karma: -1 for a listed address.
//!
//! When it cannot tell: a list that does not answer lists nobody; it is logged by name.

use crate::config::nets::NetList;
use crate::dns::reverse_address;
use crate::plugin::Zone;
use crate::plugin::facts::is_special_account;
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::zones::{Hit, Zones, policy};
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Policy, Reject, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::MailFrom;
use std::sync::Arc;

struct Dnsbl {
    zones: Zones,
    allow: NetList,
    /// What stands in front of each text.
    preface: Option<String>,
    policy: Policy,
}

/// The lists have spoken about this connection.
#[derive(Clone, Copy)]
struct Judged;

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let policy = policy(args);
    let zones = Zones::load(setup, "dnsbl_zones", false);
    let allow = setup.lines("dnsbl_allow");
    let allow = setup.with_problems(|problems| NetList::load(&allow, problems));
    let preface = setup.scalar("dnsbl_rejectmsg").map(|line| line.text);
    Arc::new(Dnsbl { zones, allow, preface, policy })
}

impl Dnsbl {
    /// Asks the lists, or finds their answers, and judges.
    fn judge(&self, cx: &mut Cx<'_>) -> Hooked {
        let ip = cx.peer().ip;
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let hit = if let Some(entry) = self.allow.contains(ip) {
            cx.log(Level::Info, format!("skip, {ip} in dnsbl_allow ({entry})"));
            None
        } else if self.zones.is_empty() {
            cx.log(Level::Info, "pass, no zones");
            None
        } else {
            let hit = self.zones.ask(cx, &reverse_address(ip))?;
            if hit.is_none() {
                cx.log(Level::Info, "pass");
            }
            hit
        };
        cx.keep_note(Judged);
        Ok(hit.map_or(Verdict::Declined, |hit| self.condemn(cx, &hit)))
    }

    fn condemn(&self, cx: &mut Cx<'_>, hit: &Hit) -> Verdict {
        cx.karma(-1);
        cx.facts_mut().listed = true;
        let text = match &self.preface {
            Some(preface) => format!("{preface} {}", hit.text),
            None => hit.text.clone(),
        };
        // What is known only at MAIL is refused where a check at connect would be: at RCPT.
        let at_rcpt = self.policy.reject == Reject::Now;
        let reject = if at_rcpt { Reject::Naughty } else { self.policy.reject };
        let policy = Policy { reject, ..self.policy };
        let verdict = cx.reject(&policy, (7, 1), &text, &hit.words());
        if at_rcpt && let Some(naughty) = &mut cx.facts_mut().naughty {
            naughty.due = true;
        }
        verdict
    }
}

impl Plugin for Dnsbl {
    fn zones(&self) -> Vec<Zone> {
        self.zones.told(false)
    }

    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Connect, Hook::Mail, Hook::Rcpt])
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        if self.policy.reject == Reject::Connect {
            return self.judge(cx);
        }
        let ip = cx.peer().ip;
        let exempt = cx.may_relay() || cx.facts().immune.is_some();
        if !exempt && self.allow.contains(ip).is_none() {
            self.zones.want(cx, &reverse_address(ip));
        }
        Ok(Verdict::Declined)
    }

    fn mail(&self, cx: &mut Cx<'_>, _mail: &MailFrom) -> Hooked {
        let judged = cx.note::<Judged>().is_some() || self.policy.reject == Reject::Connect;
        if judged { Ok(Verdict::Declined) } else { self.judge(cx) }
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        // Chain and naughty let these recipients through by themselves. The condemnation stays, or one
        // mail to postmaster would open the door to everybody.
        if cx.facts().listed && cx.facts().naughty.is_some() && is_special_account(recipient) {
            let user = recipient.local().to_ascii_lowercase();
            cx.log(Level::Warning, format!("skip, don't blacklist special account: {user}"));
        }
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use crate::dns::{Answer, Question};
    use crate::plugins::tests::testing::{addresses, play};

    const LISTS: (&str, &str) = ("dnsbl_zones", "a.example;No\nb.example\nc.example:No %IP%");
    const MAIL: [&str; 3] = ["EHLO c.example", "MAIL FROM:<a@b.example>", "RSET"];

    /// The zones that list everybody.
    fn listing(zones: &[&str]) -> impl Fn(&Question) -> Answer {
        let zones: Vec<String> = zones.iter().map(|zone| format!(".{zone}")).collect();
        move |question| {
            let listed = zones.iter().any(|zone| question.name.ends_with(zone));
            addresses(if listed { &["127.0.0.2"] } else { &[] })
        }
    }

    #[test]
    fn all_lists_are_asked_once_and_together() {
        for (plugins, ip, mails, rounds) in [
            ("dnsbl\nrcpt_ok", "192.0.2.1", 0, vec![4]),
            ("dnsbl\nrcpt_ok", "192.0.2.1", 3, vec![4]),
            ("dnsbl reject connect\nrcpt_ok", "192.0.2.1", 3, vec![4]),
            ("dnsbl reject 0\nrcpt_ok", "2001:db8::1", 3, vec![4]),
            ("relay\ndnsbl\nrcpt_ok", "10.1.2.3", 3, vec![]),
            ("relay\ndnsbl reject connect\nrcpt_ok", "10.1.2.3", 3, vec![]),
            ("dnsbl\nrcpt_ok", "203.0.113.7", 3, vec![]),
        ] {
            let files = [
                ("plugins", plugins),
                LISTS,
                ("relayclients", "10."),
                ("dnsbl_allow", "203.0.113.\n198.51.100.1"),
            ];
            let commands = MAIL.repeat(mails);
            let played = play(&files, ip, &commands, listing(&[]));
            let seen: Vec<usize> = played.rounds.iter().map(Vec::len).collect();
            assert_eq!(seen, rounds, "{plugins} {ip} {:?}", played.rounds);
            let fails = played.log.iter().filter(|line| line.contains("fail")).count();
            assert_eq!(fails, 0, "{:?}", played.log);
        }
    }

    #[test]
    fn addresses_of_both_families_are_asked_for_in_reverse() {
        let ip6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.a.example";
        for (ip, name) in [("192.0.2.1", "1.2.0.192.a.example"), ("2001:db8::1", ip6)] {
            let played = play(&[("plugins", "dnsbl"), LISTS], ip, &[], listing(&[]));
            let first = played.rounds.first().and_then(|round| round.first());
            assert_eq!(first, Some(&format!("A {name}")));
        }
    }

    #[test]
    fn one_connection_is_judged_once_and_by_the_first_list() {
        let files = [("plugins", "dnsbl reject naughty\nrcpt_ok"), LISTS];
        let played =
            play(&files, "192.0.2.1", &MAIL.repeat(2), listing(&["c.example", "b.example"]));
        assert_eq!(
            played.log,
            ["(mail) dnsbl: karma -1 (-1)", "(mail) dnsbl: fail, NAUGHTY, b.example (127.0.0.2)",]
        );
        assert!(!played.said.contains("\r\n5"), "{}", played.said);
    }
}
