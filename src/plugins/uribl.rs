//! Looks for the sites that a message leads to on block lists in DNS.
//!
//! Links and names of sites are found in plain text and HTML, in every part that a mail client shows,
//! decoded; each is cut to its registered domain. All lists are asked about all domains at once, 20 of
//! them at most, what is linked before what is only spelt out; only what is listed costs a second round,
//! for the list's text. Addresses in place of names are asked about in reverse.
//!
//! A line of `uribl_zones` is `ZONE`, `ZONE MASK`, `ZONE ACTION` or `ZONE MASK ACTION`; also `ZONE:MASK`,
//! and several of these with commas between them. MASK is numbers between commas or hyphens
//! (`8,16,64,128`): an answer counts if it has one of their bits. Without a mask 127.0.0.2 to 127.0.0.254
//! count. A line with a misspelt mask or action is left out with a warning. At most 10 lists are asked.
//!
//! A list that answers with an error code (127.0.0.1, 127.255.255.0/24) or with an address outside
//! 127.0.0.0/8 is in error: it is blocked, dead, or our resolver rewrites answers. It lists nothing.
//!
//! What clients send that may relay, and what white-listed ones do, is not looked at.
//!
//! Arguments:
//!   action         `add-header` (default), `deny`, `denysoft`, `log`; that of a zone's line counts more
//!   check-headers  `1` looks into the header too; by default `0`. `scan-headers` is the same
//!   checkip        `no` leaves out addresses in place of names; by default `yes`
//!   timeout        taken for the sake of old lines, without an effect: the resolver has its own
//!
//! Config files: `uribl_zones`; `uribl_whitelist_domains`, domains that are not asked about;
//! `two-level-tlds` and `three-level-tlds`, domains below which names are given to others, in addition to
//! the Public Suffix List.
//!
//! Replies: `554 5.7.1 DOMAIN in ZONE: TEXT` with deny, `451 4.7.1` with denysoft. With add-header the same
//! words stand in a field `X-URIBL-Match`, one for each listing.
//!
//! Karma: none.
//!
//! When it cannot tell: a list that does not answer lists nothing; it is logged by name.

use crate::dns::{Kind, Question};
use crate::mail::uri::Host;
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::uri_lists::{Action, UriLists};
use crate::plugin::zones::first_text;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Pending, Plugin, Verdict, Zone};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Listings of one message that are told; more make it no worse.
const HITS_MAX: usize = 8;

/// Trusted domains of one message that the log names.
const SPARED_SHOWN: usize = 8;

struct Uribl {
    lists: UriLists,
    action: Action,
    header: bool,
    addresses: bool,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    args.number("timeout", 30_u32, 0..=3_600);
    let action = args.named("action").map_or(Action::AddHeader, |word| {
        Action::of_word(&word).unwrap_or_else(|| {
            args.complain(format!("action {word}: use add-header, deny, denysoft or log"));
            Action::AddHeader
        })
    });
    let check = args.number("check-headers", 0_u8, 0..=1) == 1;
    let scan = args.number("scan-headers", 0_u8, 0..=1) == 1;
    let addresses = match args.named("checkip").as_deref() {
        None | Some("yes" | "1") => true,
        Some("no" | "0") => false,
        Some(other) => {
            args.complain(format!("checkip {other}: use yes or no"));
            true
        }
    };
    Arc::new(Uribl { lists: UriLists::load(setup), action, header: check || scan, addresses })
}

/// A list has one of the hosts.
struct Hit {
    host: Host,
    zone: Box<str>,
    code: Ipv4Addr,
    action: Action,
    /// For the list's text.
    question: Question,
}

impl Hit {
    fn refuses(&self) -> bool {
        matches!(self.action, Action::Deny | Action::DenySoft)
    }
}

impl Uribl {
    /// All listings, those that refuse first. Lists in error are logged, each once.
    fn ask(&self, cx: &mut Cx<'_>, hosts: &[Host]) -> Result<Vec<Hit>, Pending> {
        let asked = self.lists.questions(hosts);
        let answers = cx.dns_lists(asked.iter().map(|it| it.question.clone()))?;
        let (mut hits, mut logged) = (Vec::new(), Vec::new());
        for (it, answer) in asked.iter().zip(answers) {
            let judged = answer.map(|answer| it.zone.judge(&answer));
            let name = &it.zone.name;
            let (level, words) = match judged {
                Some(Ok(codes)) => {
                    hits.extend(codes.first().map(|code| Hit {
                        host: it.host,
                        zone: name.clone(),
                        code: *code,
                        action: it.zone.action.unwrap_or(self.action),
                        question: Question::new(&it.question.name, Kind::Txt),
                    }));
                    continue;
                }
                Some(Err(what)) => (Level::Error, format!("error, {what}")),
                None => (Level::Debug, format!("skip, {name} is left alone")),
            };
            if !logged.contains(name) {
                logged.push(name.clone());
                cx.log(level, words);
            }
        }
        hits.sort_by_key(|hit| !hit.refuses());
        Ok(hits)
    }

    /// Does what the listings ask for, with the lists' texts.
    fn act(&self, cx: &mut Cx<'_>, hits: &[Hit]) -> Hooked {
        let shown = hits.get(..HITS_MAX).unwrap_or(hits);
        let texts = cx.dns_lists(shown.iter().map(|hit| hit.question.clone()))?;
        for (hit, text) in shown.iter().zip(texts) {
            let text = text.as_ref().and_then(first_text).unwrap_or_else(|| hit.code.to_string());
            // It goes into a header field and a reply, where a list's letters are of no use.
            let text = text.replace(|character: char| !character.is_ascii(), "?");
            let words = format!("{} in {}: {text}", hit.host, hit.zone);
            let log = if hit.refuses() { "fail" } else { "fail, tolerated" };
            cx.log(Level::Warning, format!("{log}, {words}"));
            match hit.action {
                Action::Deny => return Ok(Verdict::deny((7, 1), words)),
                Action::DenySoft => return Ok(Verdict::deny_soft((7, 1), words)),
                Action::AddHeader => cx.insert_header("X-URIBL-Match", &words),
                Action::Log => {}
            }
        }
        if hits.len() > shown.len() {
            let more = hits.len() - shown.len();
            cx.log(Level::Info, format!("fail, tolerated, and {more} more"));
        }
        Ok(Verdict::Declined)
    }
}

impl Plugin for Uribl {
    fn zones(&self) -> Vec<Zone> {
        self.lists.told()
    }

    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        if self.lists.is_empty() {
            cx.log(Level::Info, "pass, no zones");
            return Ok(Verdict::Declined);
        }
        let passed = |upto| message.contents.passed(upto);
        let found = self.lists.subjects(message.received, self.header, self.addresses, &passed);
        for host in found.spared.iter().take(SPARED_SHOWN) {
            cx.log(Level::Info, format!("skip, Skipping whitelist URI domain '{host}'"));
        }
        if found.hosts.is_empty() {
            cx.log(Level::Info, "pass, No URIs found in mail");
            return Ok(Verdict::Declined);
        }
        let hits = self.ask(cx, &found.hosts)?;
        if found.more {
            let count = found.hosts.len();
            cx.log(
                Level::Info,
                format!("info, there are more than the {count} that were asked about"),
            );
        }
        if hits.is_empty() {
            cx.log(Level::Info, format!("pass, {} not listed", found.hosts.len()));
            return Ok(Verdict::Declined);
        }
        self.act(cx, &hits)
    }
}

#[cfg(test)]
mod tests {
    use crate::plugins::tests::testing::{addresses, play};

    const ZONES: (&str, &str) = ("uribl_zones", "multi.example 8,16,64,128\nblack.example deny");

    /// What is asked in which round, and the last reply.
    fn rounds(ip: &str, text: &str, listed: &[&str]) -> (Vec<Vec<String>>, String) {
        let files = [("plugins", "relay\nuribl\nrcpt_ok\nqueue/discard"), ZONES];
        let more = [("relayclients", "10."), ("rcpthosts", "example.com")];
        let files: Vec<_> = files.into_iter().chain(more).collect();
        let envelope = ["EHLO c.example", "MAIL FROM:<a@c.example>", "RCPT TO:<b@example.com>"];
        let commands = [&envelope[..], &["DATA", "Subject: x", "", text, "."]].concat();
        let played = play(&files, ip, &commands, |question| {
            let found = listed.contains(&&*question.name);
            addresses(if found { &["127.0.0.8"] } else { &[] })
        });
        let last = played.said.lines().last().unwrap_or_default().to_string();
        (played.rounds, last)
    }

    #[test]
    fn one_round_for_addresses_and_one_for_the_texts_of_hits() {
        let text = "http://a.site.com/ and www.other.org, http://192.0.2.7/x";
        let first: Vec<String> = ["site.com", "7.2.0.192", "other.org"]
            .iter()
            .flat_map(|it| ["multi", "black"].map(|zone| format!("A {it}.{zone}.example")))
            .collect();
        let (asked, said) = rounds("192.0.2.1", text, &[]);
        assert_eq!((asked, said.starts_with("250")), (vec![first.clone()], true), "{said}");
        let (asked, said) = rounds("192.0.2.1", text, &["other.org.black.example"]);
        let second = vec!["TXT other.org.black.example".to_string()];
        assert_eq!(asked, [first, second]);
        assert!(said.starts_with("554 5.7.1 other.org in black.example: 127.0.0.8 ["), "{said}");
    }

    #[test]
    fn nothing_is_asked_without_need() {
        for (ip, text) in [("10.0.0.1", "http://site.com/"), ("192.0.2.1", "no site")] {
            let (asked, said) = rounds(ip, text, &["site.com.black.example"]);
            assert_eq!(asked, Vec::<Vec<String>>::new(), "{ip}");
            assert!(said.starts_with("250"), "{said}");
        }
    }

    #[test]
    fn a_flood_of_sites_is_bounded() {
        let text: Vec<String> = (0..300).map(|it| format!("http://site{it}.com/")).collect();
        let listed = ["site3.com.multi.example", "site299.com.black.example"];
        let (asked, said) = rounds("192.0.2.1", &text.join(" "), &listed);
        assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [40, 1]);
        assert!(said.starts_with("250"), "{said}");
    }
}
