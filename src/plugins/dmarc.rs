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
//! address, by its name if that leads back to the address, by a good signature on all of the body, or by
//! an ARC chain (RFC 8617) that passes for all of the body, whose newest seal is the forwarder's, and in
//! which it says that DMARC passed there for this author, or SPF or a signature that speaks for it.
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
//! `arc_trusted`: the same with domains only: those whose ARC seals, and the seals of domains below
//! them, count. A chain is looked at where a message would be refused or marked and names such a domain
//! as its newest; then Authentication-Results has an `arc=`. `dmarc_discovery`: `tree` (default), or `psl`
//! to find the domain of an organisation by the Public Suffix List, as before RFC 9989.
//!
//! Replies: `550 5.7.26 failed DMARC policy`, `550 5.7.26 empty from address, null sender?`,
//! `550 5.7.26 unparseable from header`.
//!
//! Karma: -3 where a domain wants the message refused or treated as suspicious, unless it is let through.
//!
//! When it cannot tell: the result is temperror, and the message passes. Where it fails, but may have
//! come by a trusted forwarder whose addresses or keys are out of reach, it is marked and not refused.

use crate::authn::dkim::{Mail, Verified};
use crate::authn::dmarc::author::Authors;
use crate::authn::dmarc::{self, Discovery, DmarcResult, Evidence, Judgement};
use crate::authn::spf::SpfResult;
use crate::mail::authres;
use crate::mail::headers::Headers;
use crate::plugin::dmarc_discovery;
use crate::plugin::facts::{Dmarc as Fact, Override};
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{
    Args, Cx, Hook, HookSet, Hooked, Pending, Plugin, Policy, Reject, RejectType, Verdict,
};
use forwarders::{Forwarders, Handover, Trust};
use std::sync::Arc;

/// The field that readers' filters can look for.
const FIELD: &str = "X-DMARC";

/// Subject and detail of "several authentication checks failed" (RFC 7372).
const FAILED: (u16, u16) = (7, 26);

struct Dmarc {
    policy: Policy,
    reject_quarantine: bool,
    reporting: bool,
    forwarders: Forwarders,
    discovery: Discovery,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let reject_quarantine = args.number("reject_quarantine", 0_u8, 0..=1) == 1;
    let reporting = args.number("reporting", 1_u8, 0..=1) == 1;
    let policy = Policy::from_args(args, Reject::Never, RejectType::Perm);
    let forwarders = Forwarders::read(setup);
    let discovery = dmarc_discovery::read(setup);
    Arc::new(Dmarc { policy, reject_quarantine, reporting, forwarders, discovery })
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
        let start = headers.body();
        let mail = Mail {
            header: message.received.get(..headers.end()).unwrap_or_default(),
            headers: &headers,
            body: message.received.get(start..).unwrap_or_default(),
            passed: &|upto| message.contents.passed(start + upto),
        };
        let from = From::of(mail.header, &headers);
        // They are wanted if the message fails.
        for question in self.forwarders.questions(cx.peer().name.as_deref()) {
            cx.want(question);
        }
        let judgement = judge(cx, self.discovery, &from)?;
        let trust = self.trust(cx, mail, &from, &judgement)?;
        let verdict = self.act(cx, &from, judgement, trust);
        if self.reporting && !report::is_report(mail.header, &headers) {
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
    pub fn is_clear(&self) -> bool {
        self.fields == 1 && self.authors.one().is_some()
    }
}

fn judge(cx: &Cx<'_>, discovery: Discovery, from: &From) -> Result<Judgement, Pending> {
    let facts = cx.mail_facts();
    let spf = facts.spf.as_ref().map(|spf| (&*spf.domain, spf.result));
    let signatures = facts.dkim.as_deref().map(|found| found.signatures.as_slice());
    dmarc::evaluate(&mut cx.lookup(), discovery, &from.evidence(spf, signatures))
}

impl Dmarc {
    /// Who speaks for a message that its domain disowns; nobody is looked for where none has to.
    fn trust(
        &self,
        cx: &Cx<'_>,
        mail: Mail<'_>,
        from: &From,
        judgement: &Judgement,
    ) -> Result<Trust, Pending> {
        let applied = judgement.applied.as_ref();
        let condemned = applied.filter(|_| judgement.wanted() != dmarc::Policy::None);
        let Some(applied) = condemned else { return Ok(Trust::default()) };
        let signatures = cx.mail_facts().dkim.as_deref();
        let handover = Handover {
            ip: cx.peer().ip,
            name: cx.peer().name.as_deref(),
            signatures: signatures.map(|found| found.signatures.as_slice()).unwrap_or_default(),
            mail,
            is_clear: from.is_clear(),
            now: cx.now().unix.as_secs(),
        };
        self.forwarders.trust(&mut cx.lookup(), &handover, applied)
    }

    fn act(&self, cx: &mut Cx<'_>, from: &From, judgement: Judgement, trust: Trust) -> Verdict {
        let wanted = judgement.wanted();
        let is_condemned = wanted != dmarc::Policy::None;
        if let Some(chain) = trust.chain {
            cx.log(Level::Info, chain.words);
            cx.auth_result(chain.result);
        }
        let mut reason = trust.reason;
        cx.auth_result(auth_result(from, &judgement, reason.as_ref()));
        let mut disposition = dmarc::Policy::None;
        let mut verdict = Verdict::Declined;
        match (&reason, is_condemned) {
            (Some(reason), _) => {
                let words = format!("fail, tolerated, {}, {}", reason.kind, describe(&judgement));
                cx.log(Level::Info, words);
            }
            (None, true) => {
                verdict = self.refuse(cx, &judgement, wanted, trust.is_unknown);
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
        verdict
    }

    /// Refuses what its domain disowns, as far as the admin wants that; marks it where not. Where it may
    /// have come by a trusted forwarder (`is_unsure`), that is no reason to lose it.
    fn refuse(
        &self,
        cx: &mut Cx<'_>,
        judgement: &Judgement,
        wanted: dmarc::Policy,
        is_unsure: bool,
    ) -> Verdict {
        let is_meant = wanted == dmarc::Policy::Reject || self.reject_quarantine;
        let mut words = describe(judgement);
        let reject = if is_meant && !is_unsure { self.policy.reject } else { Reject::Never };
        if is_unsure {
            words.push_str(", forwarder out of reach");
        } else {
            cx.karma(-3);
        }
        let policy = Policy { reject, ..self.policy };
        let verdict = cx.reject(&policy, FAILED, "failed DMARC policy", &words);
        if verdict.refusal().is_none() {
            cx.insert_header(FIELD, &format!("fail, {words}"));
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

pub mod forwarders;
mod report;

#[cfg(test)]
mod tests;
