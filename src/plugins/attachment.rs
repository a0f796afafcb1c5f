//! Refuses files that nobody should open: by the extension of their name, their type, or how they begin.
//!
//! Attachments are seen as mail clients see them: every name that some client could give a part counts,
//! and so do files in uuencode within text, in winmail.dat, in messages within the message, and in zip
//! archives, those in archives included. The first file that fits a line of the list decides. It sees the
//! message as it stands after the edits of plugins before this one. Nobody is exempt.
//!
//! A line of `attachment_deny` is a pattern, and behind a blank what to tell the client if the usual words
//! will not do:
//!
//!   .EXTENSION        names that end so; `.{}` are those with a class of Windows in braces
//!   TYPE/SUBTYPE      the type that the message says; `*` for any subtype
//!   magic:NAME        how files begin: 7z, cab, chm, class, elf, exe, lnk, macho, ole, rar, script, vhd,
//!                     vhdx, or 2 to 32 octets in hexadecimal
//!   encrypted         archives with something encrypted in them
//!   unreadable        archives and messages that are broken, too large or too deep to be looked through
//!
//! Without the last two lines such mail passes, and the log says so.
//!
//! Arguments:
//!   reject       `1` (default) refuses, `0` only logs and adds a field `X-Attachment-Match`, `naughty`
//!                leaves it to the plugin naughty
//!   reject_type  `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!
//! Config files: `attachment_deny`; without a line in it all mail passes.
//!
//! Replies: `554 5.7.1` (`451 4.7.1`) with `Attachment "NAME" is refused: WHY`, or `Attachment "NAME" is
//! refused: in it is "NAME", WHY`.
//!
//! Karma: none.
//!
//! When it cannot tell: see `encrypted` and `unreadable`; a message that was changed and cannot be read is
//! put off (451).

mod rules;

use crate::limits::{MIME_UNPACKED_MAX, TNEF_DEPTH_MAX};
use crate::mail::headers::clean;
use crate::mail::mime::body::Body;
use crate::mail::mime::{Encoding, Fault, Faults, Item, Role, each_content, uuencode};
use crate::mail::tnef::{self, Tnef};
use crate::mail::zip::{self, Budget, HEAD_LEN, Seen};
use crate::plugin::draft::unreadable;
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{
    Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Policy, Reject, RejectType, Verdict,
};
use rules::Rules;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The field that tells of a file that was tolerated.
const MATCH: &str = "X-Attachment-Match";

/// Octets of a name that client and log are shown.
const NAME_SHOWN: usize = 80;

/// Files in uuencode of one part that are looked at.
const UUENCODED_MAX: usize = 1_000;

struct Attachment {
    rules: Rules,
    policy: Policy,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let lines = setup.lines("attachment_deny");
    let rules = setup.with_problems(|problems| Rules::load(&lines, problems));
    let policy = Policy::from_args(args, Reject::Now, RejectType::Perm);
    Arc::new(Attachment { rules, policy })
}

/// The look through one message.
struct Look<'r> {
    rules: &'r Rules,
    budget: Budget,
    buffer: Vec<u8>,
    /// What is refused, in words.
    found: Option<String>,
    /// What could not be looked into, and passes.
    notes: Vec<String>,
}

/// A file, by how it can be told.
struct File<'f> {
    name: &'f str,
    octets: &'f [u8],
    encoding: Encoding,
}

impl Look<'_> {
    fn refuse(&mut self, name: &str, why: &str) {
        let name = clean(name.as_bytes(), NAME_SHOWN);
        self.found.get_or_insert_with(|| format!("Attachment \"{name}\" is refused: {why}"));
    }

    /// What cannot be looked into is refused if the list says so, and noted else.
    fn obscure(&mut self, name: &str, why: Option<&str>, what: &str) {
        match why {
            Some(why) => self.refuse(name, why),
            None => {
                let name = clean(name.as_bytes(), NAME_SHOWN);
                self.notes.push(format!("\"{name}\" {what}"));
            }
        }
    }

    /// A content of the message.
    fn content(&mut self, item: &Item<'_>) {
        let text_around = !matches!(item.content.role, Role::Body | Role::OtherReading);
        let names = if text_around { Vec::new() } else { item.part.file_names(item.message) };
        let shown = names.first().map_or("without a name", String::as_str);
        let rules = self.rules;
        for name in &names {
            if let Some(why) = rules.by_name(name) {
                return self.refuse(name, why);
            }
        }
        if !text_around {
            for field in item.part.content_types(item.message) {
                if let Some(why) = rules.by_type(field.head()) {
                    return self.refuse(shown, why);
                }
            }
        }
        if item.encoding() == Encoding::Identity {
            self.uuencoded(item.octets());
        }
        self.file(&File { name: shown, octets: item.octets(), encoding: item.encoding() }, 0);
    }

    /// Files in a text.
    fn uuencoded(&mut self, text: &[u8]) {
        for file in uuencode::files(text).take(UUENCODED_MAX) {
            if let Some(why) = self.rules.by_name(&file.name) {
                return self.refuse(&file.name, why);
            }
            let octets = text.get(file.range).unwrap_or_default();
            self.file(&File { name: &file.name, octets, encoding: Encoding::Uuencode }, 0);
        }
    }

    /// What a file holds: as far as it is needed.
    fn file(&mut self, file: &File<'_>, depth: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut body = Body::new(file.octets, file.encoding);
        let mut head = Vec::new();
        while head.len() < HEAD_LEN
            && let Some(piece) = body.next(&mut buffer)
        {
            head.extend_from_slice(piece.get(..HEAD_LEN).unwrap_or(piece));
        }
        if let Some(why) = self.rules.by_magic(&head) {
            self.refuse(file.name, why);
        } else if zip::is_archive(&head) || is_archive_name(file.name) {
            self.archive(file, &mut buffer);
        } else if head.starts_with(&tnef::SIGNATURE) {
            self.tnef(file, &mut buffer, depth);
        }
        self.buffer = buffer;
    }

    fn archive(&mut self, file: &File<'_>, buffer: &mut [u8]) {
        let (rules, mut found, mut inner) = (self.rules, None, String::new());
        let mut see = |seen: Seen<'_>| {
            let why = match seen {
                Seen::Name(name) => {
                    inner = name.to_string();
                    rules.by_name(name)
                }
                Seen::Head(head) => rules.by_magic(head),
            };
            if let Some(why) = why.filter(|_| found.is_none()) {
                found =
                    Some(format!("in it is \"{}\", {why}", clean(inner.as_bytes(), NAME_SHOWN)));
            }
        };
        let mut scanner = zip::Scanner::new();
        let mut body = Body::new(file.octets, file.encoding);
        while let Some(piece) = body.next(buffer) {
            scanner.feed(piece, &mut self.budget, &mut see);
        }
        let facts = scanner.finish(&mut self.budget, &mut see);
        if let Some(why) = found {
            return self.refuse(file.name, &why);
        }
        if facts.encrypted {
            self.obscure(file.name, rules.encrypted.as_deref(), "is encrypted");
        }
        if facts.broken || facts.too_much {
            let what = if facts.too_much { "holds too much" } else { "is a broken archive" };
            self.obscure(file.name, rules.unreadable.as_deref(), what);
        }
    }

    fn tnef(&mut self, file: &File<'_>, buffer: &mut [u8], depth: usize) {
        let mut octets = Vec::new();
        let mut body = Body::new(file.octets, file.encoding);
        while let Some(piece) = body.next(buffer) {
            if octets.len() + piece.len() > MIME_UNPACKED_MAX {
                let why = self.rules.unreadable.as_deref();
                return self.obscure(file.name, why, "is too large to be unpacked");
            }
            octets.extend_from_slice(piece);
        }
        let Ok(tnef) = Tnef::parse(&octets) else {
            return self.obscure(file.name, self.rules.unreadable.as_deref(), "is broken");
        };
        for attachment in &tnef.attachments {
            let own = attachment.long_name.iter().chain(&attachment.title);
            let names: Vec<&String> = own.chain(&attachment.other_names).collect();
            for name in &names {
                if let Some(why) = self.rules.by_name(name) {
                    return self.refuse(name, why);
                }
            }
            let name = names.first().map_or("without a name", |name| name.as_str());
            for content in &attachment.contents {
                let (tnef::Content::File(octets)
                | tnef::Content::Message(octets)
                | tnef::Content::Object { data: octets, .. }) = content;
                if depth < TNEF_DEPTH_MAX {
                    self.buffer.resize(BUFFER, 0);
                    let file = File { name, octets, encoding: Encoding::Identity };
                    self.file(&file, depth + 1);
                }
            }
        }
    }

    /// What the message as a whole hides.
    fn faults(&mut self, faults: Faults) {
        let hides = [Fault::TooDeep, Fault::TooManyParts, Fault::TooLargeToUnpack];
        if hides.iter().any(|fault| faults.contains(*fault)) {
            self.obscure("message", self.rules.unreadable.as_deref(), "has too much in it");
        }
    }
}

/// Octets that are decoded in one step.
const BUFFER: usize = 64 * 1_024;

/// Programs open it as an archive, whatever it begins with.
fn is_archive_name(name: &str) -> bool {
    const NAMES: [&str; 4] = ["zip", "jar", "apk", "xpi"];
    rules::extensions(name).iter().any(|it| NAMES.contains(&it.as_str()))
}

impl Plugin for Attachment {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        // Nobody outside may say what we found.
        cx.delete_header(MATCH, None);
        if self.rules.is_empty() {
            cx.log(Level::Info, "skip, attachment_deny is empty");
            return Ok(Verdict::Declined);
        }
        // A copy needs the writers, who do this work as well then.
        let whole = match cx.whole(&message)? {
            Ok(whole) => whole,
            Err(error) => return Ok(unreadable(cx, &error)),
        };
        let _token = cx.lane(Lane::Workers)?;
        let mut look = Look {
            rules: &self.rules,
            budget: Budget::default(),
            buffer: vec![0; BUFFER],
            found: None,
            notes: Vec::new(),
        };
        let passed = |upto: usize| whole.passed(upto);
        let faults = each_content(whole.octets(), &passed, &mut |item: &Item<'_>| {
            look.content(item);
            if look.found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        look.faults(faults);
        for note in look.notes.iter().take(8) {
            cx.log(Level::Notice, format!("info, {note}, it passes"));
        }
        let Some(words) = look.found else {
            cx.log(Level::Info, "pass");
            return Ok(Verdict::Declined);
        };
        if self.policy.reject == Reject::Never {
            cx.insert_header(MATCH, &words);
        }
        Ok(cx.reject(&self.policy, (7, 1), &words, &words))
    }
}
