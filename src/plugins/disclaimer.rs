//! Puts a text below mail that goes out.
//!
//! The text is added to what a reader sees: to a part text/plain as it is, to text/html before `</body>`,
//! and to each alternative of a multipart/alternative; of other multiparts to the first that is shown.
//! A part keeps its charset and Content-Transfer-Encoding; only text in 7bit that gets other letters
//! becomes quoted-printable. A part whose charset has no place for the text stays as it is, and so does mail
//! that is signed or encrypted (S/MIME, PGP, also PGP within text, DKIM), reports, and mail whose parts are
//! malformed. A field `X-Qpsmtp-Disclaimer: DOMAIN` says that the text is there, and no mail that has one
//! gets another. The signature of the plugin dkim is made behind it.
//!
//! Mail of clients that may relay is meant, from a sender in one of our domains to at least one recipient
//! elsewhere. qpsmtpd's plugin made the text a part of its own, and did not ask whether the client may relay.
//!
//! Arguments:
//!   tag_all          `1`: whoever the sender and the recipients are; default 0
//!   disclaimer_dir   accepted for old lists: the files are those of the config folder
//!   mime_encoding, mime_filename, mime_type   accepted for old lists: there is no part of its own
//!
//! Config files: `disclaimer_DOMAIN`, the text for mail of senders in that domain, read for each domain that
//! `rcpthosts` lists by its full name, and for `me`; with it recipients in our other domains count as
//! elsewhere. `disclaimer`, the text for all others. Both are plain text in UTF-8,
//! at most 16 KiB.
//!
//! Replies: `451 the disclaimer could not be added` where a disk fails.
//!
//! Karma: none.
//!
//! When it cannot tell: without a file the mail goes as it is, and an error is in the log.

use crate::config::files::{Problem, quote};
use crate::config::patterns::canonical;
use crate::mail::edit::Edit;
use crate::mail::extend::{self, Change, Left, Text};
use crate::mail::mime::Mime;
use crate::mail::new_body::NewBody;
use crate::plugin::hosted::Hosted;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, MessageView, Pending, Plugin, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::Transaction;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The field that says that the text is there.
const FIELD: &str = "X-Qpsmtp-Disclaimer";

/// The file with the text, and the beginning of the names of those for one domain.
const FILE: &str = "disclaimer";

/// Domains with a file of their own that are looked for.
const DOMAINS_MAX: usize = 1_000;

/// Fields by which the client has signed the mail.
const SIGNATURES: [&str; 2] = ["DKIM-Signature", "DomainKey-Signature"];

/// Octets of a text. As HTML and in quoted-printable it is at most 15 times as long.
const TEXT_MAX: usize = 16 * 1_024;

/// Octets that a body may grow by beside its growth in another encoding, which is less than fourfold:
/// enough for the longest text in as many alternatives as take it.
const ROOM: usize = 8 << 20;

struct Disclaimer {
    tag_all: bool,
    general: Option<Text>,
    own: BTreeMap<String, Text>,
    hosted: Hosted,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let tag_all = match args.named("tag_all").as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(other) => {
            args.complain(format!("tag_all {}: use 0 or 1", quote(other)));
            false
        }
    };
    for name in ["disclaimer_dir", "mime_encoding", "mime_filename", "mime_type"] {
        if args.named(name).is_some() {
            let what = format!("disclaimer: {name} has no effect");
            setup.with_problems(|problems| Problem::warning(&args.line, what).note(problems));
        }
    }
    let listed = setup.lines("rcpthosts").into_iter().map(|line| canonical(line.split_word().0));
    let me = setup.scalar("me").map(|line| canonical(&line.text));
    let names = listed.chain(me).filter(|name| !name.starts_with('.') && !name.contains('/'));
    let own = names.take(DOMAINS_MAX).filter_map(|name| {
        let text = read(setup, &format!("{FILE}_{name}"))?;
        Some((name.to_string(), text))
    });
    Arc::new(Disclaimer {
        tag_all,
        own: own.collect(),
        general: read(setup, FILE),
        hosted: Hosted::read(setup),
    })
}

fn read(setup: &Setup<'_>, file: &str) -> Option<Text> {
    match setup.text(file) {
        Ok(Some(text)) if text.len() > TEXT_MAX => {
            setup.warn(file, format!("is longer than {TEXT_MAX} octets and not used"));
            None
        }
        Ok(text) => text.as_deref().and_then(Text::new),
        Err(what) => {
            setup.warn(file, what);
            None
        }
    }
}

impl Disclaimer {
    /// The text for this mail and the domain that it is for; or why it gets none.
    fn find(&self, me: &str, envelope: &Transaction) -> Result<(&Text, String), &'static str> {
        let sender = envelope.mail.reverse_path.address();
        let domain = sender.map_or("", |sender| sender.domain()).to_ascii_lowercase();
        if !self.tag_all && (domain.is_empty() || !self.hosted.holds(me, &domain)) {
            return Err("skip, no sender of ours");
        }
        let own = self.own.get(&domain);
        let Some(text) = own.or(self.general.as_ref()) else {
            return Err("error, there is no text in the file disclaimer");
        };
        let mut recipients = envelope.recipients.iter().map(Address::domain);
        let elsewhere = recipients.any(|other| match own {
            Some(_) => !other.eq_ignore_ascii_case(&domain),
            None => !self.hosted.holds(me, other),
        });
        if !self.tag_all && !elsewhere {
            return Err("skip, no recipient elsewhere");
        }
        Ok((text, if domain.is_empty() { me.to_string() } else { domain }))
    }
}

/// The body with the text, None where the mail stays as it is.
struct Extended {
    body: Option<NewBody>,
    /// The mail itself is one part, which became quoted-printable.
    recoded: bool,
    /// What there is to say.
    log: Vec<String>,
}

impl Plugin for Disclaimer {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn gates(&self) -> bool {
        true
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let (Some(envelope), Some(message)) = (cx.envelope(), cx.message()) else {
            return Ok(Verdict::Declined);
        };
        let (header, headers) =
            (message.current.header(message.received), message.current.headers());
        let has = |name: &str| headers.first(header, name).is_some();
        let skip = if !cx.may_relay() {
            Some("skip, it does not go out")
        } else if has(FIELD) {
            Some("skip, it has one")
        } else if SIGNATURES.iter().any(|name| has(name)) {
            Some("skip, it is signed")
        } else {
            None
        };
        let found = match skip {
            Some(words) => Err(words),
            None => self.find(&cx.config().rules.me, envelope),
        };
        let (text, domain) = match found {
            Ok(found) => found,
            Err(words) => {
                let error = words.starts_with("error");
                cx.log(if error { Level::Error } else { Level::Debug }, words);
                return Ok(Verdict::Declined);
            }
        };
        let extended = match extended(cx, &message, text)? {
            Ok(extended) => extended,
            Err(error) => {
                let what = foreign(error.to_string().as_bytes());
                cx.log(Level::Error, format!("error, {what}"));
                return Ok(Verdict::deny_soft((3, 0), "the disclaimer could not be added"));
            }
        };
        for words in extended.log {
            cx.log(Level::Info, words);
        }
        let Some(body) = extended.body else { return Ok(Verdict::Declined) };
        cx.replace_body(body);
        if extended.recoded {
            let (name, value) = ("Content-Transfer-Encoding", "quoted-printable");
            if has(name) {
                cx.change_header(name, 0, value);
            } else {
                cx.edit(Edit::Append { name: name.to_string(), value: value.to_string() });
            }
        }
        cx.insert_header(FIELD, &domain);
        Ok(Verdict::Declined)
    }
}

/// Makes the new body.
fn extended(
    cx: &Cx<'_>,
    message: &MessageView<'_>,
    text: &Text,
) -> Result<io::Result<Extended>, Pending> {
    let room = message.current.len(message.received).saturating_mul(4).saturating_add(ROOM);
    let mut draft = cx.draft(room)?;
    let whole = match cx.whole(message)? {
        Ok(whole) => whole,
        Err(error) => return Ok(Err(error)),
    };
    let octets = whole.octets();
    let mime = Mime::index(octets);
    let unchanged =
        |words: &str| Extended { body: None, recoded: false, log: vec![format!("skip, {words}")] };
    let start = mime.parts.first().map(|part| part.body.start);
    let known = message.current.received_body().or(start);
    let (Some(start), true) = (start, known == start) else {
        return Ok(Ok(unchanged("its header has no clear end")));
    };
    let shown = match extend::shown(octets, &mime) {
        Ok(shown) => shown,
        Err(words) => return Ok(Ok(unchanged(words))),
    };
    let (mut changes, mut log) = (Vec::new(), Vec::new());
    for part in shown.iter().filter_map(|number| mime.parts.get(*number)) {
        match Change::plan(octets, part, text) {
            Ok(change) => changes.push(change),
            Err(Left::Mail(words)) => return Ok(Ok(unchanged(words))),
            Err(Left::Part(words)) => {
                log.push(format!("info, a part stays as it is: {}", foreign(words.as_bytes())));
            }
        }
    }
    if changes.is_empty() {
        log.push("skip, no part takes the text".to_string());
        return Ok(Ok(Extended { body: None, recoded: false, log }));
    }
    log.push(format!("pass, added to {} parts", changes.len()));
    let recoded = changes.iter().any(Change::recodes_mail);
    let written = extend::write(octets, start, &changes, &mut draft).and_then(|()| draft.finish());
    Ok(written.map(|contents| Extended { body: Some(NewBody::new(contents)), recoded, log }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, complaints, warnings) in [
            // One warning is for the long text.
            ("disclaimer", 0, 0),
            ("disclaimer tag_all 1", 0, 0),
            ("disclaimer tag_all perhaps", 1, 0),
            ("disclaimer disclaimer_dir /service/qpsmtpd/config/ mime_type text/plain", 0, 2),
            ("disclaimer loud", 1, 0),
        ] {
            let long = ("disclaimer_example.com".to_string(), "x".repeat(TEXT_MAX + 1));
            let hosts = ("rcpthosts".to_string(), "example.com".to_string());
            let files = Files::in_memory([(FILE.to_string(), "Bye".to_string()), long, hosts]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!((args.finish().len(), problems.len()), (complaints, warnings + 1), "{line}");
        }
    }
}
