//! Copies mail to an archive: one more recipient for each message.
//!
//! An address may stand for all mail, for mail that comes to one of our own domains, and for mail of
//! clients that may relay; a message for which several of them count is copied to each. The copy is
//! one more recipient in the envelope, added when the message is complete, so that refused mail is
//! not copied and the queue keeps the original and its copies together or not at all. A recipient who
//! gets the message anyway gets no second one.
//!
//! What the files bcc_ignore_* list is not copied: mail of a listed sender, and mail whose recipients
//! are all listed. One listed recipient beside others hides nothing. A bare user is one in our own
//! domains, since anybody could use his name elsewhere.
//!
//! Differences to the plugin of qpsmtpd-plugins: its place in the list does not matter as long as it
//! stands before the queue, and it need not stand before relay.
//!
//! Arguments:
//!   mode            `bcc` (default): nobody sees it; `cc`: a field `X-Copied-To: ADDRESS` says so, one
//!                   for each copy; `off`: no copies
//!   all             the address to which everything is copied
//!   incoming        the address for mail to a domain in rcpthosts
//!   outgoing        the address for mail of clients that may relay
//!   per_recipient   `1`: recipients may have a file `bcc` of their own (plugin per_user_config), which
//!                   says what is copied because of them; default 0
//!
//! An address without a domain is one at our own name (file me).
//!
//! Config files: `bcc`, more arguments, one `key value` a line, before which the line in `plugins`
//! counts; `bcc_ignore_mailfrom` and `bcc_ignore_rcptto`, lines `user@domain`, `user` or `@domain`;
//! `rcpthosts`, `morercpthosts.cdb` and `me` say which domains are ours.
//!
//! Replies: none.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out. A queue that cannot take one more recipient along
//! (queue/lmtp, and queue/smtp-forward where another server has him) puts the message off.

use crate::config::files::{Line, Problem, quote};
use crate::config::patterns::canonical;
use crate::plugin::hosted::Hosted;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Own, Plugin, Verdict};
use crate::smtp::address::{Address, parse_forward};
use std::collections::HashSet;
use std::sync::Arc;

/// The file with more arguments.
const FILE: &str = "bcc";

/// Do readers learn of the copy?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bcc,
    Cc,
    Off,
}

/// What is copied where. Addresses are as written, and known to be such.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    mode: Mode,
    all: Option<String>,
    incoming: Option<String>,
    outgoing: Option<String>,
    per_recipient: bool,
}

/// Lines of a file bcc_ignore_*, in lower case: `user@domain`, `user`, `@domain`.
#[derive(Default)]
struct Ignored(HashSet<String>);

struct Bcc {
    options: Options,
    own: Own<Options>,
    senders: Ignored,
    recipients: Ignored,
    hosted: Hosted,
}

/// What a message is, for the choice of copies.
#[derive(Clone, Copy)]
struct Way {
    incoming: bool,
    outgoing: bool,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let mut options = Options::none();
    options.take_lines(&setup.lines(FILE), setup);
    options.take(args);
    let own = if options.per_recipient {
        Own::load(setup, FILE, |lines| {
            let mut own = options.clone();
            own.take_lines(lines, setup);
            own
        })
    } else {
        Own::none()
    };
    Arc::new(Bcc {
        options,
        own,
        senders: Ignored::load("bcc_ignore_mailfrom", setup),
        recipients: Ignored::load("bcc_ignore_rcptto", setup),
        hosted: Hosted::read(setup),
    })
}

impl Options {
    fn none() -> Options {
        Options { mode: Mode::Bcc, all: None, incoming: None, outgoing: None, per_recipient: false }
    }

    fn take_lines(&mut self, lines: &[Line], setup: &Setup<'_>) {
        for line in lines {
            let text = format!("{FILE} {}", line.text);
            let mut args = Args::new(Line { text, ..line.clone() });
            self.take(&mut args);
            for what in args.finish() {
                setup.with_problems(|problems| Problem::error(line, what).note(problems));
            }
        }
    }

    /// Takes what the words say, and leaves the rest as it was.
    fn take(&mut self, args: &mut Args) {
        match args.named("mode").as_deref() {
            None => {}
            Some("bcc") => self.mode = Mode::Bcc,
            Some("cc") => self.mode = Mode::Cc,
            Some("off") => self.mode = Mode::Off,
            Some(other) => args.complain(format!("mode {other}: use bcc, cc or off")),
        }
        match args.named("per_recipient").as_deref() {
            None => {}
            Some("1") => self.per_recipient = true,
            Some("0") => self.per_recipient = false,
            Some(other) => args.complain(format!("per_recipient {other}: use 0 or 1")),
        }
        for (name, value) in [
            ("all", &mut self.all),
            ("incoming", &mut self.incoming),
            ("outgoing", &mut self.outgoing),
        ] {
            let Some(word) = args.named(name) else { continue };
            // Any domain will do to try one without.
            if address(&word, "domain.example").is_some() {
                *value = Some(word);
            } else {
                args.complain(format!("{name} {}: it is no address", quote(&word)));
            }
        }
    }

    /// The addresses that count for such a message.
    fn chosen(&self, way: Way) -> impl Iterator<Item = &str> {
        let incoming = self.incoming.as_deref().filter(|_| way.incoming);
        let outgoing = self.outgoing.as_deref().filter(|_| way.outgoing);
        let found = [self.all.as_deref(), incoming, outgoing].into_iter().flatten();
        found.filter(|_| self.mode != Mode::Off)
    }
}

/// An address of the configuration; without a domain, one at `me`.
fn address(word: &str, me: &str) -> Option<Address> {
    let (local, domain) = word.rsplit_once('@').unwrap_or((word, me));
    let path = format!("<{local}@{}>", canonical(domain));
    parse_forward(path.as_bytes(), false).ok()
}

impl Ignored {
    fn load(file: &str, setup: &Setup<'_>) -> Ignored {
        let mut entries = HashSet::new();
        for line in setup.lines(file) {
            let (word, rest) = line.split_word();
            if !rest.is_empty() {
                let what = format!("only the first word is read, not {}", quote(rest));
                setup.with_problems(|problems| Problem::warning(&line, what).note(problems));
            }
            entries.insert(match word.rsplit_once('@') {
                Some((local, host)) => {
                    format!("{}@{}", local.to_ascii_lowercase(), canonical(host))
                }
                None => word.to_ascii_lowercase(),
            });
        }
        Ignored(entries)
    }

    /// The address stands in the file. `is_ours` says so of its domain.
    fn holds(&self, address: &Address, is_ours: bool) -> bool {
        let local = address.local().to_ascii_lowercase();
        self.0.contains(&address.plain().to_ascii_lowercase())
            || self.0.contains(&format!("@{}", address.domain()))
            // With an @ in it, which takes quotes, it would pass for a whole address.
            || (is_ours && !local.contains('@') && self.0.contains(&local))
    }
}

impl Plugin for Bcc {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(envelope) = cx.envelope() else { return Ok(Verdict::Declined) };
        let me = &cx.config().rules.me;
        let ours = |address: &Address| self.hosted.holds(me, address.domain());
        let sender = envelope.mail.reverse_path.address();
        if sender.is_some_and(|sender| self.senders.holds(sender, ours(sender))) {
            cx.log(Level::Info, "skip, ignored sender");
            return Ok(Verdict::Declined);
        }
        let mut copies: Vec<(Address, Mode)> = Vec::new();
        let mut ignored = 0;
        for recipient in &envelope.recipients {
            let is_ours = ours(recipient);
            if self.recipients.holds(recipient, is_ours) {
                ignored += 1;
                continue;
            }
            let way = Way { incoming: is_ours, outgoing: cx.may_relay() };
            let folders = cx.config_for(recipient)?;
            let options = folders.find(&self.own).unwrap_or(&self.options);
            for word in options.chosen(way) {
                let Some(copy) = address(word, me) else {
                    let text = format!("error, no address at {}", foreign(me.as_bytes()));
                    cx.log(Level::Error, text);
                    continue;
                };
                let known = copies.iter().any(|(known, _)| *known == copy);
                if !known && !envelope.recipients.contains(&copy) {
                    copies.push((copy, options.mode));
                }
            }
        }
        if copies.is_empty() {
            let all = ignored > 0 && ignored == envelope.recipients.len();
            cx.log(Level::Debug, if all { "skip, ignored recipients" } else { "skip, no copy" });
        }
        for (copy, mode) in copies {
            cx.log(Level::Info, format!("message copied to {}", foreign(copy.plain().as_bytes())));
            if mode == Mode::Cc {
                cx.insert_header("X-Copied-To", &copy.to_string());
            }
            cx.add_recipient(copy);
        }
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        for (line, file, complaints, problems) in [
            ("bcc", "", 0, 0),
            ("bcc mode cc all maillog", "", 0, 0),
            ("bcc mode=bcc incoming=a@b.example outgoing c@d.example", "", 0, 0),
            ("bcc mode off per_recipient 1", "", 0, 0),
            ("bcc", "mode cc\nall maillog\nincoming x@m\u{fc}nchen.example", 0, 0),
            ("bcc mode loud", "", 1, 0),
            ("bcc all a@b@c", "", 1, 0),
            ("bcc all @b.example", "", 1, 0),
            ("bcc per_recipient yes", "", 1, 0),
            ("bcc maillog", "", 1, 0),
            ("bcc", "al maillog\nmode loud", 0, 2),
        ] {
            let files = Files::in_memory([(FILE.to_string(), file.to_string())]);
            let mut found = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut found));
            assert_eq!((args.finish().len(), found.len()), (complaints, problems), "{line} {file}");
        }
    }

    #[test]
    fn the_way_chooses_the_addresses() {
        let line = "bcc all a@x.example incoming i@x.example outgoing o@x.example";
        for (mode, incoming, outgoing, expected) in [
            ("bcc", false, false, "a"),
            ("bcc", true, false, "a i"),
            ("cc", false, true, "a o"),
            ("cc", true, true, "a i o"),
            ("off", true, true, ""),
        ] {
            let mut options = Options::none();
            options.take(&mut Args::of(&format!("{line} mode {mode}")));
            let words: Vec<_> = options.chosen(Way { incoming, outgoing }).collect();
            let words = words.join(" ").replace("@x.example", "");
            assert_eq!(words, expected, "{mode} {incoming} {outgoing}");
        }
    }

    #[test]
    fn an_address_without_a_domain_is_at_our_name() {
        for (word, expected) in [
            ("maillog", Some("maillog@mx.example.net")),
            ("a@Example.com", Some("a@example.com")),
            ("a@m\u{fc}nchen.example", Some("a@xn--mnchen-3ya.example")),
            ("a b", None),
            ("a>,<b", None),
            ("", None),
        ] {
            let found = address(word, "mx.example.net").map(|it| it.to_string());
            assert_eq!(found.as_deref(), expected, "{word}");
        }
    }

    #[test]
    fn ignored_addresses() {
        let text = "Ann@Example.com\nbackup\n@quiet.example words";
        let files = Files::in_memory([("list".to_string(), text.to_string())]);
        let mut problems = Vec::new();
        let list = Ignored::load("list", &Setup::new(&files, &mut problems));
        assert_eq!(problems.len(), 1);
        for (path, is_ours, expected) in [
            ("<ann@example.com>", true, true),
            ("<ANN@example.com>", false, true),
            ("<ann@example.org>", true, false),
            ("<Backup@example.com>", true, true),
            ("<backup@example.org>", false, false),
            ("<x@quiet.example>", false, true),
            ("<x@not.quiet.example>", false, false),
            ("<\"ann@example.com\"@example.org>", true, false),
            ("<postmaster>", true, false),
        ] {
            let address = parse_forward(path.as_bytes(), false).unwrap();
            assert_eq!(list.holds(&address, is_ours), expected, "{path}");
        }
    }
}
