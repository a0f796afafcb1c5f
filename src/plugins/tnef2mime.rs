//! Turns Outlook's `winmail.dat` (TNEF) into the files that are in it, which every mail client can show.
//!
//! Meant are parts of a type that ends with `ms-tnef`, and `application/octet-stream` with the name
//! `winmail.dat`, in multiparts of any depth (qpsmtpd's plugin: of the first), at most 16 of a mail. Each
//! file becomes a part with its name, type and Content-ID; texts of the message that the stream holds become
//! `message.txt`, `message.html`, `message.rtf`. A mail that is nothing but `winmail.dat` becomes
//! multipart/mixed. Files of messages within the stream are taken out too, but the stream stays beside
//! them where it holds such a message, an object of OLE, or something that could not be read.
//!
//! What is signed or encrypted (S/MIME, PGP) stays, and so does what is malformed, one of several
//! alternatives, or in a message within the mail. DKIM signatures do not hold any longer afterwards: the
//! plugin dkim stands before this one. Uuencoded text stays as it is, which qpsmtpd's plugin turned as well.
//!
//! The mail gets `X-TNEF2MIME-Plugin: MS-TNEF -> MIME` and loses `X-MS-TNEF-Correlator`.
//!
//! Arguments: none.
//!
//! Config files: none.
//!
//! Replies: `451 winmail.dat could not be unpacked` where a disk fails.
//!
//! Karma: none.
//!
//! When it cannot tell: the mail goes as it is, with a line `skip, …` in the log.

use crate::mail::edit::Edit;
use crate::mail::mime::Mime;
use crate::mail::new_body::NewBody;
use crate::mail::unpack::{self, FILES_MAX, Turn};
use crate::plugin::log::{Level, foreign, foreign_within};
use crate::plugin::question::Lane;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, MessageView, Pending, Plugin, Verdict};
use std::io;
use std::sync::Arc;

/// Octets that a body may have beside four times those of the mail.
const ROOM: usize = 1 << 20;

/// Octets of a file's name in the log.
const NAME_MAX: usize = 60;

/// Fields that tell of one part, and not of a multipart.
const OF_PART: [&str; 4] =
    ["Content-Transfer-Encoding", "Content-Disposition", "Content-Description", "Content-ID"];

struct Tnef2Mime;

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(Tnef2Mime)
}

/// What there is to do.
struct Unpacked {
    body: Option<NewBody>,
    /// The mail itself becomes a multipart.
    is_mail: bool,
    log: Vec<String>,
}

impl Unpacked {
    fn unchanged(log: Vec<String>) -> Unpacked {
        Unpacked { body: None, is_mail: false, log }
    }
}

impl Plugin for Tnef2Mime {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn gates(&self) -> bool {
        true
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        let boundary = format!("=_{:016x}", cx.random());
        let unpacked = match unpacked(cx, &message, &boundary)? {
            Ok(unpacked) => unpacked,
            Err(error) => {
                let what = foreign(error.to_string().as_bytes());
                cx.log(Level::Error, format!("error, {what}"));
                return Ok(Verdict::deny_soft((3, 0), "winmail.dat could not be unpacked"));
            }
        };
        for words in unpacked.log {
            cx.log(Level::Info, words);
        }
        let Some(body) = unpacked.body else { return Ok(Verdict::Declined) };
        cx.replace_body(body);
        if unpacked.is_mail {
            let value = format!("multipart/mixed; boundary=\"{boundary}\"");
            cx.change_header("Content-Type", 0, &value);
            OF_PART.iter().for_each(|name| cx.delete_header(name, None));
            let header = message.current.header(message.received);
            if message.current.headers().first(header, "MIME-Version").is_none() {
                let (name, value) = ("MIME-Version".to_string(), "1.0".to_string());
                cx.edit(Edit::Append { name, value });
            }
        }
        cx.delete_header("X-MS-TNEF-Correlator", None);
        cx.insert_header("X-TNEF2MIME-Plugin", "MS-TNEF -> MIME");
        Ok(Verdict::Declined)
    }
}

/// Makes the new body.
fn unpacked(
    cx: &Cx<'_>,
    message: &MessageView<'_>,
    boundary: &str,
) -> Result<io::Result<Unpacked>, Pending> {
    let whole = match cx.whole(message)? {
        Ok(whole) => whole,
        Err(error) => return Ok(Err(error)),
    };
    let _token = cx.lane(Lane::Workers)?;
    let octets = whole.octets();
    let mime = Mime::index(octets);
    let candidates = unpack::candidates(octets, &mime);
    if candidates.is_empty() {
        return Ok(Ok(Unpacked::unchanged(Vec::new())));
    }
    // Few mails come here: only they go to the writers, where all of this runs once more.
    let room = message.current.len(message.received).saturating_mul(4).saturating_add(ROOM);
    let mut draft = cx.draft(room)?;
    let start = mime.parts.first().map(|part| part.body.start);
    let known = message.current.received_body().or(start);
    let (Some(start), true) = (start, known == start) else {
        let words = "skip, its header has no clear end".to_string();
        return Ok(Ok(Unpacked::unchanged(vec![words])));
    };
    let (mut turns, mut log, mut left) = (Vec::new(), Vec::new(), FILES_MAX);
    for number in candidates {
        match Turn::plan(octets, &mime, number, left) {
            Ok(turn) => {
                left = left.saturating_sub(turn.files);
                turns.push(turn);
            }
            Err(words) => log.push(format!("skip, winmail.dat {words}")),
        }
    }
    if turns.is_empty() {
        return Ok(Ok(Unpacked::unchanged(log)));
    }
    let written = unpack::write(octets, &mime, start, &turns, boundary, &mut draft);
    match written.and_then(|()| draft.finish()) {
        Ok(contents) => {
            log.push(summary(&turns));
            let is_mail = turns.iter().any(Turn::is_mail);
            Ok(Ok(Unpacked { body: Some(NewBody::new(contents)), is_mail, log }))
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            log.push("skip, the files of winmail.dat are too large".to_string());
            Ok(Ok(Unpacked::unchanged(log)))
        }
        Err(error) => Ok(Err(error)),
    }
}

/// The names of the first files, and how many more there are.
fn summary(turns: &[Turn]) -> String {
    let names = turns.iter().flat_map(|turn| &turn.names).take(10);
    let names: Vec<String> = names.map(|name| foreign_within(name.as_bytes(), NAME_MAX)).collect();
    let more = turns.iter().map(|turn| turn.files).sum::<usize>().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("pass, winmail.dat became {}{more}", names.join(", "))
}
