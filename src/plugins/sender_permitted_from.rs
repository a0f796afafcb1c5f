//! SPF (RFC 7208): asks the sender's domain whether this client may send for it.
//!
//! The reverse-path is judged, and the HELO name in its stead where that is null (`postmaster` at the
//! HELO name). What comes of it is logged, counted, and stands in Received-SPF and
//! Authentication-Results; greylisting and DMARC use it. Nothing is asked about clients that may relay
//! and exempt ones, and nothing is assumed of them. Received-SPF fields that a message brings along in
//! our name are removed.
//!
//! Mail that is forwarded fails SPF, and so does much good mail of small senders. So it may be wiser to
//! refuse with `no_dmarc_policy`: only where the domain in From publishes no DMARC policy, which would
//! let DKIM speak for the mail.
//!
//! Differences to qpsmtpd 0.96: a null sender is judged by HELO; a DNS fault is always temporary; level 3
//! does not defer softfail for ever; the domain's own explanation is told to who is refused.
//!
//! Arguments:
//!   reject           a level; without it the file spfbehavior, else 0
//!                    0, 1: refuse nothing; 0 does not count karma either
//!                    2: defer what fails, and DNS faults, which all higher levels do
//!                    3: refuse what fails
//!                    4: refuse softfail too, defer records with faults
//!                    5: refuse neutral too
//!                    6: refuse records with faults, and domains without a record
//!   spf_deny         old name: 1 is `reject 3`, 2 is `reject 4`
//!   no_dmarc_policy  `0` (default) to `4`, behind the header and only where no domain in From has a
//!                    DMARC policy: 1 refuses what fails, 2 softfail too, 3 neutral too, 4 the rest;
//!                    a DNS fault while looking for the policy refuses nothing
//!   helo             `0` (default): the HELO name is judged for null senders only; `report`: always, after
//!                    the sender, and it stands in the results; `reject`: its fail counts like one of
//!                    the sender. The mail waits for the name servers of that name too
//!
//! Config files: `spfbehavior`, a level; `dmarc_discovery`, as in the plugin `dmarc`.
//!
//! Replies: at MAIL `550 5.7.23 SPF - forgery: WHY`, `450 4.7.23` and `550 5.7.23` with
//! `SPF - RESULT: WHY`, `450 4.4.3 SPF - temperror: WHY`; behind the header
//! `550 5.7.23 SPF - RESULT: WHY`, `451 4.4.3 SPF - temperror: WHY`.
//!
//! Karma: +1 for a pass, -1 for fail and softfail from level 1 on, -1 for a HELO name that fails beside a
//! sender that does not.
//!
//! When it cannot tell: the result is temperror, which is tolerated below level 2; from there on the
//! sender is asked to come back later, as with `no_dmarc_policy 4`.

mod scale;

use crate::authn::dmarc::author::Authors;
use crate::authn::dmarc::discover::{Discovery, Published, published};
use crate::authn::spf::{Checked, Client, Identity, Scope, SpfResult, check_host, received_spf};
use crate::mail::authres;
use crate::mail::headers::unfold;
use crate::plugin::dmarc_discovery;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Pending, Plugin, Spf, Verdict};
use crate::smtp::session::MailFrom;
use scale::{HeloPolicy, Reaction, Scale};
use std::sync::Arc;

const FIELD: &str = "Received-SPF";

/// Subject and detail of "SPF validation failed" (RFC 7372).
const FAILED: (u16, u16) = (7, 23);

struct SenderPermittedFrom {
    scale: Scale,
    discovery: Discovery,
}

/// Note on a transaction: what came of it, without the path.
#[derive(Clone)]
struct Note(Box<Checked>);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let discovery = dmarc_discovery::read(setup);
    Arc::new(SenderPermittedFrom { scale: Scale::load(args, setup), discovery })
}

impl Plugin for SenderPermittedFrom {
    /// A name that exists by the grace of a search page would let `a` and `exists` match.
    fn relies_on_names(&self) -> bool {
        true
    }

    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Mail, Hook::Headers])
    }

    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let (checked, helo) = self.check(cx, mail)?;
        cx.auth_result(result_of(&checked));
        cx.mail_facts_mut().spf = Some(fact_of(&checked));
        let mut verdict = self.judge(cx, &checked);
        if let Some(helo) = helo {
            verdict = self.judge_helo(cx, &checked, &helo, verdict);
        }
        cx.keep_mail_note(Note(Box::new(checked)));
        Ok(verdict)
    }

    fn headers(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(Note(checked)) = cx.mail_note::<Note>() else { return Ok(Verdict::Declined) };
        let verdict = self.without_dmarc(cx, checked)?;
        if verdict.refusal().is_none() {
            mark(cx, checked);
        }
        Ok(verdict)
    }
}

impl SenderPermittedFrom {
    /// Judges the sender, and then HELO where that is asked for: the second must not hold up the first.
    fn check(&self, cx: &Cx<'_>, mail: &MailFrom) -> Result<(Checked, Option<Checked>), Pending> {
        let helo = cx.hello().map_or("", |hello| &*hello.name);
        let client = Client {
            ip: cx.peer().ip,
            helo,
            receiver: &cx.config().rules.me,
            unix: cx.now().unix.as_secs(),
        };
        let of_helo = Identity::of_helo(helo);
        let (identity, other) = match mail.reverse_path.address() {
            None => (of_helo, None),
            Some(address) if self.scale.helo == HeloPolicy::Off => {
                (Identity::of_address(address), None)
            }
            Some(address) => (Identity::of_address(address), Some(of_helo)),
        };
        let mut lookup = cx.lookup();
        let check = |lookup: &mut _, identity| {
            let mut checked = check_host(lookup, &client, identity)?;
            // A waiting session keeps it, and nobody asks here which way it went.
            checked.path = Vec::new();
            Ok(checked)
        };
        let checked = check(&mut lookup, &identity)?;
        let other = match &other {
            Some(identity) => Some(check(&mut lookup, identity)?),
            None => None,
        };
        Ok((checked, other))
    }

    /// What the level makes of a result.
    fn judge(&self, cx: &mut Cx<'_>, checked: &Checked) -> Verdict {
        let (level, result) = (self.scale.level, checked.result);
        let why = foreign(checked.why().as_bytes());
        if result == SpfResult::Pass {
            cx.karma(1);
            cx.log(Level::Info, format!("pass, {why}"));
            return Verdict::Declined;
        }
        if level == 0 {
            cx.log(Level::Info, format!("skip, tolerated ({}: {why})", result.word()));
            return Verdict::Declined;
        }
        if matches!(result, SpfResult::Fail | SpfResult::SoftFail) {
            cx.karma(-1);
        }
        let reaction = scale::at_mail(level, result, checked.identity.scope);
        let words = match (result, reaction) {
            (SpfResult::Fail, Reaction::Tolerate) => format!("fail, tolerated, {why}"),
            (SpfResult::Fail, _) => format!("fail, {why}"),
            (SpfResult::SoftFail, Reaction::Tolerate) => format!("fail, tolerated, soft, {why}"),
            (SpfResult::SoftFail, _) => format!("fail, soft, {why}"),
            (_, Reaction::Tolerate) => format!("skip, tolerated, {}, {why}", result.word()),
            (_, _) => format!("fail, {}, {why}", result.word()),
        };
        cx.log(Level::Info, words);
        match reaction {
            Reaction::Tolerate => Verdict::Declined,
            Reaction::Defer if result == SpfResult::TempError => {
                Verdict::deny_soft((4, 3), text_for(checked, false))
            }
            Reaction::Defer => Verdict::deny_soft(FAILED, text_for(checked, false)),
            Reaction::Refuse => Verdict::deny(FAILED, text_for(checked, true)),
        }
    }

    /// HELO beside a sender: it is reported, and where that is wanted its fail is one.
    fn judge_helo(
        &self,
        cx: &mut Cx<'_>,
        checked: &Checked,
        helo: &Checked,
        verdict: Verdict,
    ) -> Verdict {
        cx.mail_facts_mut().spf_helo = Some(fact_of(helo));
        if helo.result != SpfResult::None {
            cx.auth_result(result_of(helo));
        }
        let failed = helo.result == SpfResult::Fail && checked.result != SpfResult::Fail;
        if !failed || self.scale.level == 0 || verdict.refusal().is_some() {
            return verdict;
        }
        if self.scale.helo == HeloPolicy::Reject {
            return self.judge(cx, helo);
        }
        cx.karma(-1);
        cx.log(Level::Info, format!("fail, tolerated, {}", foreign(helo.why().as_bytes())));
        verdict
    }

    /// Refuses by SPF alone where no DMARC policy could let something else speak for the mail.
    fn without_dmarc(&self, cx: &mut Cx<'_>, checked: &Checked) -> Hooked {
        let (result, scope) = (checked.result, checked.identity.scope);
        if !scale::without_dmarc(self.scale.no_dmarc_policy, result, scope) || cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let policy = policy_of(cx, self.discovery, &authors(cx))?;
        let why = foreign(checked.why().as_bytes());
        let words = match &policy {
            Policy::At(domain) => format!("DMARC policy of {}", foreign(domain.as_bytes())),
            Policy::Unknown => "DMARC policy unknown".to_string(),
            Policy::None => {
                cx.log(Level::Info, format!("fail, {}, no DMARC policy, {why}", result.word()));
                let text = text_for(checked, false);
                return Ok(match result {
                    SpfResult::TempError => Verdict::deny_soft((4, 3), text),
                    _ => Verdict::deny(FAILED, text),
                });
            }
        };
        cx.log(Level::Info, format!("skip, tolerated, {}, {words}", result.word()));
        Ok(Verdict::Declined)
    }
}

/// What is known of the policies of all domains in From.
enum Policy {
    /// This domain has one.
    At(String),
    /// There may be one.
    Unknown,
    /// There is none; also where From names no domain that could have one.
    None,
}

fn policy_of(cx: &Cx<'_>, discovery: Discovery, authors: &Authors) -> Result<Policy, Pending> {
    let mut lookup = cx.lookup();
    let mut policy = Policy::None;
    for domain in &authors.domains {
        match published(&mut lookup, discovery, domain)? {
            Published::Record(at, _) => return Ok(Policy::At(at)),
            Published::Unknown => policy = Policy::Unknown,
            Published::None => {}
        }
    }
    Ok(policy)
}

fn authors(cx: &Cx<'_>) -> Authors {
    cx.message().map_or_else(Authors::default, |message| {
        Authors::of(message.current.header(message.received), message.current.headers())
    })
}

/// Puts our field on top, and takes those away that others wrote in our name.
fn mark(cx: &mut Cx<'_>, checked: &Checked) {
    let me = &cx.config().rules.me;
    let mut forged = Vec::new();
    if let Some(message) = cx.message() {
        let block = message.current.header(message.received);
        let fields = message.current.headers().all(block, FIELD).enumerate();
        forged.extend(fields.filter(|(_, it)| claims(it.value, me)).map(|(nth, _)| nth));
    }
    if !forged.is_empty() {
        cx.log(Level::Notice, format!("info, removed {} forged {FIELD}", forged.len()));
    }
    for nth in forged.into_iter().rev() {
        cx.delete_header(FIELD, Some(nth));
    }
    let sender = cx.envelope().and_then(|envelope| envelope.mail.reverse_path.address());
    let sender = sender.map(ToString::to_string).unwrap_or_default();
    let helo = cx.hello().map_or("", |hello| &*hello.name);
    let value = received_spf(checked, me, &sender, helo);
    cx.insert_header(FIELD, &value);
}

/// A Received-SPF field names us as its receiver.
fn claims(value: &[u8], me: &str) -> bool {
    let text = String::from_utf8_lossy(&unfold(value)).to_ascii_lowercase();
    let text: String = text.chars().filter(|char| !" \t\"\\".contains(*char)).collect();
    let me = me.to_ascii_lowercase();
    text.match_indices("receiver=").any(|(at, key)| {
        let rest = text.get(at + key.len()..).and_then(|rest| rest.strip_prefix(me.as_str()));
        rest.is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_alphanumeric() || "-_".contains(c))
        })
    })
}

/// For the client: the result, why, and on a line of its own what the domain says about it.
fn text_for(checked: &Checked, is_final: bool) -> String {
    let word = match checked.result {
        SpfResult::Fail if is_final => "forgery",
        SpfResult::SoftFail => "fail",
        result => result.word(),
    };
    let explanation = match &checked.explanation {
        Some(text) => format!("\nThe domain {} explains: {text}", checked.identity.domain),
        None => String::new(),
    };
    format!("SPF - {word}: {}{explanation}", checked.why())
}

fn fact_of(checked: &Checked) -> Spf {
    Spf {
        result: checked.result,
        scope: checked.identity.scope,
        domain: checked.identity.domain.clone(),
        is_wide: checked.is_wide,
    }
}

/// A part of Authentication-Results (RFC 8601 section 2.7.2).
pub fn result_of(checked: &Checked) -> String {
    let property = match checked.identity.scope {
        Scope::MailFrom => "mailfrom",
        Scope::Helo => "helo",
    };
    let domain = authres::quote(&checked.identity.domain);
    format!("spf={} smtp.{property}={domain}", checked.result.word())
}

#[cfg(test)]
mod tests;
