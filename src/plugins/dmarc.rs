//! DMARC (RFC 9989): asks the domain in From what it wants done with mail that it does not stand behind.
//!
//! A message passes where SPF or a signature passes for the author's domain, or for one of its
//! organisation, as the domain's record has it. It needs `sender_permitted_from` and `dkim` before it:
//! without what they find nothing is refused. A From with several authors, or that readers may read
//! differently, never passes, and the strictest policy of its domains counts. Clients that may relay and
//! exempt ones are not judged, and nothing is assumed of them.
//!
//! Mail that is forwarded fails without anybody's fault. So a message is let through, and the reason is
//! noted in log, field and report, where it comes from a forwarder that the admin trusts: by its
//! address, by its name if that leads back to the address, or by a good signature on all of the body.
//!
//! A failed message whose domain wants it treated as suspicious, or refused while `reject` is off, gets
//! `X-DMARC`; one that came with it loses it.
//!
//! Arguments:
//!   reject             `0` (default): nothing is refused; `1`: what its domain wants refused;
//!                      `naughty`: that is left to the plugin naughty
//!   reject_type        `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!   reject_quarantine  `1`: what is only to be treated as suspicious is refused like the rest; by
//!                      default `0`
//!   reporting          `1` (default): mail from domains with a policy is recorded for the reports that
//!                      they get of a day (RFC 9990), in `dmarc/reports.sqlite` in the state folder; `0`
//!                      is not. Reports of others and notes about deliveries (`multipart/report`) are
//!                      not recorded, or two servers would report each other's reports for ever
//!
//! Config files: `dmarc_trusted`, forwarders, one a line: an address, a network, or a domain, and
//! optionally what it is for reports: `trusted_forwarder` (default), `mailing_list`, `local_policy`.
//!
//! Replies: `550 5.7.26 failed DMARC policy`, `550 5.7.26 empty from address, null sender?`,
//! `550 5.7.26 unparseable from header`.
//!
//! Karma: -3 where a domain wants the message refused or treated as suspicious, unless it is let through.
//!
//! When it cannot tell: the result is temperror, and the message passes.

use crate::authn::dkim::Verified;
use crate::authn::dkim::text::{domain_name, is_below};
use crate::authn::dmarc::author::Authors;
use crate::authn::dmarc::{self, DmarcResult, Evidence, Judgement};
use crate::authn::spf::SpfResult;
use crate::config::files::{Line, Problem, quote};
use crate::config::nets::Net;
use crate::dns::{Answer, Kind, Question};
use crate::mail::authres;
use crate::mail::headers::Headers;
use crate::plugin::facts::{Dmarc as Fact, Override};
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{
    Args, Cx, Hook, HookSet, Hooked, Pending, Plugin, Policy, Reject, RejectType, Verdict,
};
use std::sync::Arc;

/// The field that readers' filters can look for.
const FIELD: &str = "X-DMARC";

/// Subject and detail of "several authentication checks failed" (RFC 7372).
const FAILED: (u16, u16) = (7, 26);

struct Dmarc {
    policy: Policy,
    reject_quarantine: bool,
    reporting: bool,
    trusted: Vec<Trusted>,
}

/// A forwarder that the admin trusts, and what it is.
struct Trusted {
    who: Who,
    kind: &'static str,
}

enum Who {
    Net(Net),
    Domain(String),
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let reject_quarantine = args.number("reject_quarantine", 0_u8, 0..=1) == 1;
    let reporting = args.number("reporting", 1_u8, 0..=1) == 1;
    let policy = Policy::from_args(args, Reject::Never, RejectType::Perm);
    let mut trusted = Vec::new();
    for line in setup.lines("dmarc_trusted") {
        match trusted_of(&line) {
            Ok(found) => trusted.push(found),
            Err(what) => {
                setup.with_problems(|problems| Problem::error(&line, what).note(problems));
            }
        }
    }
    Arc::new(Dmarc { policy, reject_quarantine, reporting, trusted })
}

fn trusted_of(line: &Line) -> Result<Trusted, String> {
    let (word, rest) = line.split_word();
    let kind = match rest {
        "" | "trusted_forwarder" => "trusted_forwarder",
        "mailing_list" => "mailing_list",
        "local_policy" => "local_policy",
        other => {
            let other = quote(other);
            return Err(format!("{other}: use trusted_forwarder, mailing_list or local_policy"));
        }
    };
    let who = match (Net::parse(word), domain_name(word.trim_end_matches('.'))) {
        (Ok((net, _)), _) => Who::Net(net),
        (Err(_), Some(domain)) => Who::Domain(domain),
        (Err(_), None) => return Err(format!("{} is no address and no domain", quote(word))),
    };
    Ok(Trusted { who, kind })
}

impl Plugin for Dmarc {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Headers])
    }

    fn headers(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        let current = message.current.headers();
        if current.count(message.current.header(message.received), FIELD) > 0 {
            cx.delete_header(FIELD, None);
        }
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let Ok(headers) = Headers::index(message.received) else { return Ok(Verdict::Declined) };
        let header = message.received.get(..headers.end()).unwrap_or_default();
        let from = From::of(header, &headers);
        self.want_names(cx);
        let judgement = judge(cx, &from)?;
        let verdict = self.act(cx, &from, judgement)?;
        if self.reporting && !report::is_report(header, &headers) {
            report::record(cx);
        }
        Ok(verdict)
    }
}

/// What From says.
pub struct From {
    /// The domains in it.
    pub authors: Authors,
    fields: usize,
}

impl From {
    /// Reads it from a header block, which `headers` indexes.
    pub fn of(header: &[u8], headers: &Headers) -> From {
        From { authors: Authors::of(header, headers), fields: headers.all(header, "From").count() }
    }

    /// What is known of a message beside it: SPF's domain and result, the signatures.
    pub fn evidence<'a>(
        &'a self,
        spf: Option<(&'a str, SpfResult)>,
        dkim: Option<&'a [Verified]>,
    ) -> Evidence<'a> {
        Evidence { authors: &self.authors.domains, is_clear: self.is_clear(), spf, dkim }
    }

    /// Every reader finds the same author in it.
    fn is_clear(&self) -> bool {
        self.fields == 1 && self.authors.one().is_some()
    }
}

fn judge(cx: &Cx<'_>, from: &From) -> Result<Judgement, Pending> {
    let facts = cx.mail_facts();
    let spf = facts.spf.as_ref().map(|spf| (&*spf.domain, spf.result));
    let signatures = facts.dkim.as_deref().map(|found| found.signatures.as_slice());
    dmarc::evaluate(&mut cx.lookup(), &from.evidence(spf, signatures))
}

impl Dmarc {
    fn act(&self, cx: &mut Cx<'_>, from: &From, judgement: Judgement) -> Hooked {
        let wanted = judgement.wanted();
        let is_condemned = wanted != dmarc::Policy::None;
        let mut reason = if is_condemned { self.trusts(cx)? } else { None };
        cx.auth_result(auth_result(from, &judgement, reason.as_ref()));
        let mut disposition = dmarc::Policy::None;
        let mut verdict = Verdict::Declined;
        match (&reason, is_condemned) {
            (Some(reason), _) => {
                let words = format!("fail, tolerated, {}, {}", reason.kind, describe(&judgement));
                cx.log(Level::Info, words);
            }
            (None, true) => {
                cx.karma(-3);
                verdict = self.refuse(cx, &judgement, wanted);
                disposition = match verdict.refusal() {
                    Some(_) => dmarc::Policy::Reject,
                    None => dmarc::Policy::Quarantine,
                };
                if disposition != wanted {
                    let comment = format!("wanted {}", wanted.word());
                    reason = Some(Override { kind: "local_policy", comment });
                }
            }
            (None, false) => verdict = self.tell(cx, from, &judgement),
        }
        let author = from.authors.domains.first().cloned().unwrap_or_default();
        let fact = Fact { judgement, author, disposition, reason };
        cx.mail_facts_mut().dmarc = Some(Arc::new(fact));
        Ok(verdict)
    }

    /// Refuses what its domain disowns, as far as the admin wants that; marks it where not.
    fn refuse(&self, cx: &mut Cx<'_>, judgement: &Judgement, wanted: dmarc::Policy) -> Verdict {
        let is_meant = wanted == dmarc::Policy::Reject || self.reject_quarantine;
        let reject = if is_meant { self.policy.reject } else { Reject::Never };
        let policy = Policy { reject, ..self.policy };
        let verdict = cx.reject(&policy, FAILED, "failed DMARC policy", &describe(judgement));
        if verdict.refusal().is_none() {
            cx.insert_header(FIELD, &format!("fail, {}", describe(judgement)));
        }
        verdict
    }

    /// The log line of a message that no policy speaks against.
    fn tell(&self, cx: &mut Cx<'_>, from: &From, judgement: &Judgement) -> Verdict {
        let words = match judgement.result {
            DmarcResult::Pass => "pass".to_string(),
            DmarcResult::None => "skip, no policy".to_string(),
            DmarcResult::Fail => format!("fail, tolerated, {}", describe(judgement)),
            DmarcResult::TempError => format!("error, {}", describe(judgement)),
            DmarcResult::PermError if from.fields == 0 => {
                let text = "empty from address, null sender?";
                return cx.reject(&self.policy, FAILED, text, "no From");
            }
            DmarcResult::PermError
                if from.authors.is_doubtful && from.authors.domains.is_empty() =>
            {
                let text = "unparseable from header";
                return cx.reject(&self.policy, FAILED, text, text);
            }
            DmarcResult::PermError => format!("fail, tolerated, {}", judgement.why),
        };
        cx.log(Level::Info, words);
        Verdict::Declined
    }

    /// Asks for the addresses of the client's name, which are wanted if the message fails.
    fn want_names(&self, cx: &Cx<'_>) {
        if self.names_trusted(cx).is_some() {
            for question in addresses_of(cx) {
                cx.want(question);
            }
        }
    }

    /// A listed domain that the client's reverse name claims.
    fn names_trusted(&self, cx: &Cx<'_>) -> Option<&Trusted> {
        let name = cx.peer().name.as_deref()?.to_ascii_lowercase();
        self.trusted.iter().find(|trusted| match &trusted.who {
            Who::Domain(domain) => is_below(&name, domain),
            Who::Net(_) => false,
        })
    }

    /// Whether somebody is trusted who passed the message on.
    fn trusts(&self, cx: &Cx<'_>) -> Result<Option<Override>, Pending> {
        let reason =
            |trusted: &Trusted, comment: String| Some(Override { kind: trusted.kind, comment });
        let ip = cx.peer().ip;
        let of_net = |it: &&Trusted| matches!(&it.who, Who::Net(net) if net.contains(ip));
        if let Some(trusted) = self.trusted.iter().find(of_net) {
            return Ok(reason(trusted, "by its address".to_string()));
        }
        let signatures = cx.mail_facts().dkim.as_deref();
        let signatures = signatures.map(|found| found.signatures.as_slice()).unwrap_or_default();
        for signature in signatures.iter().filter(|signature| signature.passes_for_all()) {
            let of_domain = |it: &&Trusted| match &it.who {
                Who::Domain(domain) => is_below(&signature.domain, domain),
                Who::Net(_) => false,
            };
            if let Some(trusted) = self.trusted.iter().find(of_domain) {
                return Ok(reason(trusted, format!("signed by {}", signature.domain)));
            }
        }
        let Some(trusted) = self.names_trusted(cx) else { return Ok(None) };
        let answers = cx.dns_all(addresses_of(cx))?;
        let leads_back = answers.iter().flat_map(Answer::addresses).any(|it| it == ip);
        Ok(if leads_back { reason(trusted, "by its name".to_string()) } else { None })
    }
}

fn addresses_of(cx: &Cx<'_>) -> Vec<Question> {
    let name = cx.peer().name.as_deref().unwrap_or_default();
    [Kind::A, Kind::Aaaa].map(|kind| Question::new(name, kind)).into()
}

/// The policy and whose it is, or why there is no result. All of it is our own words and domain names.
fn describe(judgement: &Judgement) -> String {
    let mut words = match &judgement.applied {
        Some(applied) => format!("p={} of {}", applied.policy.word(), applied.domain),
        None => String::new(),
    };
    if judgement.applied.as_ref().is_some_and(|applied| applied.record.testing) {
        words.push_str(", testing");
    }
    if !judgement.why.is_empty() {
        let comma = if words.is_empty() { "" } else { ", " };
        words = format!("{words}{comma}{}", judgement.why);
    }
    words
}

/// A part of Authentication-Results (RFC 8601 section 2.7.6, RFC 9989 section 9). `reason` is why a
/// message is let through that its domain disowns.
pub fn auth_result(from: &From, judgement: &Judgement, reason: Option<&Override>) -> String {
    let mut text = format!("dmarc={}", judgement.result.word());
    if let Some(applied) = &judgement.applied {
        let mut words = format!("p={}", applied.policy.word());
        if let Some(reason) = reason {
            words.push_str(&format!(", let through: {} {}", reason.kind, reason.comment));
        }
        text.push(' ');
        text.push_str(&authres::comment(&words));
    }
    let author = judgement.applied.as_ref().map(|applied| applied.author.as_str());
    if let Some(author) = author.or(from.authors.domains.first().map(String::as_str)) {
        text.push_str(&format!(" header.from={}", authres::quote(author)));
    }
    text
}

mod report;

#[cfg(test)]
mod tests;
