//! What a report says of a message (RFC 9990), for the recorder.

use crate::authn::dmarc::{DmarcResult, Policy};
use crate::mail::headers::{Headers, unfold};
use crate::mail::mime::Field;
use crate::plugin::Cx;
use crate::plugin::facts::Dmarc as Fact;
use crate::store::reports::Judged;

/// A report of another server, or a note about a delivery: if it were reported, the report might bring
/// about the next one.
pub(super) fn is_report(header: &[u8], headers: &Headers) -> bool {
    let types = headers.all(header, "Content-Type");
    if types.map(|field| Field::parse(field.value)).any(|it| it.head() == "multipart/report") {
        return true;
    }
    headers.all(header, "Subject").any(|field| {
        let text = String::from_utf8_lossy(&unfold(field.value)).to_ascii_lowercase();
        text.trim_start().starts_with("report domain:") && text.contains("submitter:")
    })
}

/// Hands the message to the recorder, once it is judged by a policy.
pub(super) fn record(cx: &mut Cx<'_>) {
    let facts = cx.mail_facts();
    let (Some(fact), Some(envelope)) = (facts.dmarc.clone(), cx.envelope()) else { return };
    let Some(applied) = fact.judgement.applied.clone() else { return };
    let sender = envelope.mail.reverse_path.address();
    let mut recipients = envelope.recipients.iter().map(|it| it.domain().to_ascii_lowercase());
    let first = recipients.next().filter(|first| !first.is_empty());
    let recipient = first.filter(|first| recipients.all(|other| other == *first));
    let message = Judged {
        at: cx.now().unix.as_secs(),
        ip: cx.peer().ip,
        sender: sender.map_or_else(String::new, |it| it.domain().to_ascii_lowercase()),
        recipient,
        disposition: fact.disposition,
        spf_aligned: fact.judgement.spf,
        dkim_aligned: fact.judgement.dkim,
        reason: reason(&fact),
        spf: facts.spf.as_ref().map(|spf| (spf.scope, spf.result, spf.domain.clone())),
        dkim: facts.dkim.clone(),
        applied,
    };
    cx.report(message);
}

/// Why something else was done than the policy says.
fn reason(fact: &Fact) -> Option<(&'static str, String)> {
    if let Some(reason) = &fact.reason {
        return Some((reason.kind, reason.comment.clone()));
    }
    let applied = fact.judgement.applied.as_ref()?;
    match fact.judgement.result {
        DmarcResult::Fail if applied.wanted() != applied.policy => {
            Some(("policy_test_mode", String::new()))
        }
        DmarcResult::TempError if applied.policy != Policy::None => {
            Some(("other", fact.judgement.why.to_string()))
        }
        _ => None,
    }
}
