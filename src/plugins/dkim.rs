//! DKIM: checks the signatures of mail that comes in, and signs the mail of relay clients (RFC 6376).
//!
//! Checking: all signatures, ten at most, those of the author's domain first. RSA keys of 1024 to 4096
//! bits and Ed25519 count; rsa-sha1 and shorter keys never do (RFC 8301). The results go into
//! Authentication-Results, and to DMARC, which alone refuses mail for them. A signature over a part of
//! the body passes, with a word on how much it leaves open, and does not count for DMARC. A message with
//! a good signature gets `X-DKIM-Authentication`; one that came with it loses it.
//!
//! Signing: mail of clients that may relay, for domains of ours only (`rcpthosts`, `morercpthosts.cdb`,
//! `me`, or a folder of their own), after all changes by other plugins, with rsa-sha256 or
//! ed25519-sha256, or both. The signature is in the name of the author's domain, else of the sender's;
//! mail of neither goes out unsigned. The key is that of the folder `dkim/DOMAIN`, else of its nearest
//! parent, else of `dkim/default`. `mailreeve dkim keygen` makes keys, `print-dns` prints what to
//! publish, `dkim status` says what would be signed. Whether the keys are the ones in DNS is looked for
//! at start and once a day; where they are not, the log and `check-config` warn.
//!
//! Arguments:
//!   reject       understood and without effect: DKIM alone refuses nothing
//!   reject_type  the same
//!
//! Config files: folders `dkim/DOMAIN` and `dkim/default` with `private` (PEM, PKCS#1 or PKCS#8, RSA of
//! 2048 to 4096 bits or Ed25519), `selector` (`default` where missing) and `public`; a second pair in
//! `ed25519/` below it. A folder may be a link. `dkim_signing`: lines `enabled` or `disabled` for all,
//! `DOMAIN enabled` or `DOMAIN disabled` for one; without it all are signed that have a key.
//!
//! Replies: none.
//!
//! Karma: +1 for a good signature of the author's domain; -1 where there are signatures and none is
//! good, unless their domain says that it is only testing, or a name server failed.
//!
//! When it cannot tell: a key that is out of reach is `temperror`, and the message passes.

use crate::authn::dkim::published::ToPublish;
use crate::authn::dkim::text::is_below;
use crate::authn::dkim::{Mail, Outcome, Verification, Verified, verify};
use crate::authn::dmarc::author::Authors;
use crate::config::files::Problem;
use crate::mail::authres;
use crate::mail::headers::Headers;
use crate::plugin::dkim_keys::{Choice, DkimKeys};
use crate::plugin::log::{Level, foreign};
use crate::plugin::sealing;
use crate::plugin::site::Setup;
use crate::plugin::{
    Args, Cx, Hook, HookSet, Hooked, MessageView, Plugin, Policy, Reject, RejectType, Verdict,
};
use std::sync::Arc;

/// The field that readers' filters look for.
const FIELD: &str = "X-DKIM-Authentication";

struct Dkim {
    keys: DkimKeys,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    if Policy::from_args(args, Reject::Never, RejectType::Perm).reject != Reject::Never {
        let what = "dkim: DKIM alone refuses nothing; let dmarc refuse what its domain disowns";
        setup.with_problems(|problems| Problem::warning(&args.line, what).note(problems));
    }
    Arc::new(Dkim { keys: DkimKeys::read(setup) })
}

impl Plugin for Dkim {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Headers, Hook::Seal])
    }

    fn to_publish(&self, me: &str) -> Vec<ToPublish> {
        self.keys.to_publish(me)
    }

    fn headers(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        // Their mail is signed when it is ready.
        if cx.may_relay() {
            return Ok(Verdict::Declined);
        }
        if message.current.headers().count(message.current.header(message.received), FIELD) > 0 {
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
        let authors = Authors::of(mail.header, &headers);
        let author = authors.one();
        let now = cx.now().unix.as_secs();
        let found = verify(&mail, author, now, &mut cx.lookup())?;
        judge(cx, &found, author);
        cx.mail_facts_mut().dkim = Some(Arc::new(found));
        Ok(Verdict::Declined)
    }

    fn seal(&self, cx: &mut Cx<'_>) -> Hooked {
        if let (true, Some(message)) = (cx.may_relay(), cx.message()) {
            self.sign(cx, &message);
        }
        Ok(Verdict::Declined)
    }
}

impl Dkim {
    fn sign(&self, cx: &mut Cx<'_>, message: &MessageView<'_>) {
        let (author, sender) = sealing::domains(cx, message);
        let me = &cx.config().rules.me;
        let words = match self.keys.choose(me, author.as_deref(), sender.as_deref()) {
            Choice::Sign { domain, folder, keys } => {
                if folder != domain {
                    cx.log(Level::Info, format!("info, using {folder} key for {domain}"));
                }
                if sealing::seal(cx, message, domain, keys) {
                    "pass, we signed the message".to_string()
                } else {
                    format!("error, unable to sign with the key of {folder}")
                }
            }
            Choice::NotHosted => {
                let domain = author.as_deref().or(sender.as_deref()).unwrap_or("nobody");
                format!("skip, {} is not hosted here, unsigned", foreign(domain.as_bytes()))
            }
            Choice::Disabled(domain) => format!("skip, DKIM signing is disabled for {domain}"),
            Choice::NoKey(domain) => format!("skip, DKIM not configured for {domain}"),
            Choice::Broken { folder, why } => {
                format!("error, unable to read key from dkim/{folder}: {why}")
            }
        };
        let level = if words.starts_with("error") { Level::Error } else { Level::Info };
        cx.log(level, words);
    }
}

/// Log, score and fields, by what the signatures came to.
fn judge(cx: &mut Cx<'_>, found: &Verification, author: Option<&str>) {
    for result in auth_results(found) {
        cx.auth_result(result);
    }
    for signature in &found.signatures {
        let shown = describe(signature);
        cx.log(Level::Debug, format!("info, {}: {shown}", signature.outcome.word()));
    }
    if found.left_out > 0 {
        cx.log(Level::Notice, format!("info, {} more signatures left out", found.left_out));
    }
    let Some(best) = found.best(author) else {
        cx.log(Level::Info, "pass, no signature, neutral policy");
        return;
    };
    match best.outcome {
        Outcome::Pass => {
            let value =
                format!("domain: {}, selector: {}, result: pass", best.domain, best.selector);
            cx.insert_header(FIELD, &value);
            let is_author = author.is_some_and(|author| is_below(author, &best.domain));
            let policy = if is_author && best.passes_for_all() {
                cx.karma(1);
                "accept"
            } else {
                "neutral"
            };
            cx.log(Level::Info, format!("pass, valid signature, {policy} policy"));
        }
        Outcome::Fail | Outcome::PermError | Outcome::TempError => refuse_to_believe(cx, found),
    }
}

/// None of the signatures is good.
fn refuse_to_believe(cx: &mut Cx<'_>, found: &Verification) {
    let of = |outcome| found.signatures.iter().find(|it| it.outcome == outcome && !it.testing);
    if let Some(signature) = of(Outcome::TempError) {
        return cx.log(Level::Info, format!("error, {}", describe(signature)));
    }
    let (kind, signature) = match (of(Outcome::Fail), of(Outcome::PermError)) {
        (Some(signature), _) => ("signature invalid", signature),
        (None, Some(signature)) => ("invalid DKIM signature", signature),
        (None, None) => {
            return cx.log(Level::Info, "pass, signatures for testing only, neutral policy");
        }
    };
    cx.karma(-1);
    cx.log(Level::Info, format!("fail, tolerated, {kind}: {}", describe(signature)));
}

/// Why it is as it is, and whose it is. Domain and selector are names, so they need no cleaning.
fn describe(signature: &Verified) -> String {
    format!("{} (d={} s={})", signature.words(), signature.domain, signature.selector)
}

/// The parts of Authentication-Results: one for each signature, or that there is none.
pub fn auth_results(found: &Verification) -> Vec<String> {
    match found.signatures.as_slice() {
        [] => vec!["dkim=none".to_string()],
        signatures => signatures.iter().map(auth_result).collect(),
    }
}

/// A result for Authentication-Results (RFC 8601 sections 2.2 and 2.7.1).
fn auth_result(signature: &Verified) -> String {
    let mut text = format!("dkim={}", signature.outcome.word());
    if signature.reason.is_some() || signature.uncovered > 0 || signature.testing {
        text.push(' ');
        text.push_str(&authres::comment(&signature.words()));
    }
    let algorithm = signature.algorithm.map_or("", |algorithm| algorithm.name());
    for (property, value) in [
        ("header.i", signature.identity.as_str()),
        ("header.d", &signature.domain),
        ("header.s", &signature.selector),
        ("header.a", algorithm),
        ("header.b", &signature.start_of_b),
    ] {
        if !value.is_empty() {
            text.push_str(&format!(" {property}={}", authres::quote(value)));
        }
    }
    text
}

#[cfg(test)]
mod tests;
