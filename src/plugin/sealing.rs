//! Putting DKIM signatures on a message, for the plugins that do so at the hook `seal`.

use crate::authn::dkim::Mail;
use crate::authn::dkim::canon::Canon;
use crate::authn::dkim::sign::{NAME, Signer, sign};
use crate::authn::dmarc::author::Authors;
use crate::plugin::dkim_keys::NamedKey;
use crate::plugin::{Cx, MessageView};

/// The one domain of the message's authors, and that of its sender.
pub fn domains(cx: &Cx<'_>, message: &MessageView<'_>) -> (Option<String>, Option<String>) {
    let header = message.current.header(message.received);
    let authors = Authors::of(header, message.current.headers());
    let sender = cx.envelope().and_then(|envelope| envelope.mail.reverse_path.address());
    (authors.one().map(str::to_string), sender.map(|sender| sender.domain().to_string()))
}

/// Signs the message as it stands with each key, both forms relaxed. False where the library cannot.
pub fn seal(cx: &mut Cx<'_>, message: &MessageView<'_>, domain: &str, keys: &[NamedKey]) -> bool {
    let start = message.current.received_body();
    let passed = |upto: usize| {
        if let Some(start) = start {
            message.contents.passed(start + upto);
        }
    };
    let mail = Mail {
        header: message.current.header(message.received),
        headers: message.current.headers(),
        body: message.current.body(message.received),
        passed: &passed,
    };
    let time = cx.now().unix.as_secs();
    let mut signers = Vec::with_capacity(keys.len());
    for NamedKey { selector, key } in keys {
        let (header_canon, body_canon) = (Canon::Relaxed, Canon::Relaxed);
        signers.push(Signer { key, domain, selector, header_canon, body_canon, time });
    }
    let Some(values) = sign(&mail, &signers) else { return false };
    for value in values.iter().rev() {
        cx.insert_header(NAME, value);
    }
    true
}
