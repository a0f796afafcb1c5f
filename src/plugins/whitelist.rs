//! Exempts clients, senders and recipients from content and reputation checks.
//!
//! An exempt client or mail is spared block lists, greylisting, scoring and the like; those plugins log
//! `skip, whitelisted …`. It never gets the right to relay by that, nor does this plugin accept a
//! recipient: names and senders are easily forged. It decides nothing, so that later plugins are asked
//! as always; put it before those that it is to silence.
//!
//! `whitelisthosts` exempts clients by their address (`192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`, or
//! a prefix `192.0.2.`), `whitelisthelo` by the name that they give themselves. `whitelistsenders` lists
//! envelope senders, `user@domain` or a whole `domain`; the null sender is never on it.
//! `whitelistrcpt` lists recipients in the same way: checks at RCPT spare them, and checks of the
//! message spare it if all of its recipients are listed, so that nobody gets the others' spam. Case does
//! not matter anywhere.
//!
//! Arguments:
//!   per_recipient  `1`: everything is judged at RCPT, and counts for that recipient as a line of
//!                  whitelistrcpt does; by default `0`. With the plugin per_user_config the recipient
//!                  may have lists of his own, in a folder of his
//!   merge          `0`: a list of a recipient's own replaces the common one instead of adding to
//!                  it; by default `1`
//!
//! Config files: `whitelisthosts`, `whitelisthelo`, `whitelistsenders`, `whitelistrcpt`, also in the
//! folders of recipients.
//!
//! Replies: none.
//!
//! Karma: +5 for a whitelisted host.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::files::{Line, Problem, Severity, quote};
use crate::config::nets::NetList;
use crate::config::patterns::AddressList;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, ConfigFor, Cx, Hook, HookSet, Hooked, Own, Pending, Plugin, Verdict};
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::session::{Hello, MailFrom};
use std::collections::HashSet;
use std::sync::Arc;

struct Whitelist {
    per_recipient: bool,
    merge: bool,
    hosts: Lists<NetList>,
    names: Lists<Names>,
    senders: Lists<AddressList>,
    recipients: Lists<AddressList>,
}

/// The list that everybody has, and those that recipients have of their own.
struct Lists<T> {
    common: T,
    own: Own<T>,
}

/// Whose lists count: a recipient's, or everybody's.
type Whose<'a> = Option<&'a ConfigFor>;

/// Names that clients give themselves, lower-cased.
type Names = HashSet<Box<str>>;

/// Note on a transaction: its mail is exempt, at this moment, because of a recipient.
#[derive(Clone, Copy)]
struct ByRecipient(bool);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let per_recipient = flag(args, "per_recipient", false);
    let merge = flag(args, "merge", true);
    let names = Lists::load(setup, "whitelisthelo", per_recipient, names);
    if !names.common.is_empty() {
        setup.warn(
            "whitelisthelo",
            "exempts whoever calls himself so, which anybody can: prefer whitelisthosts",
        );
    }
    let addresses = |file: &str| Lists::load(setup, file, per_recipient, AddressList::load);
    Arc::new(Whitelist {
        per_recipient,
        merge,
        hosts: Lists::load(setup, "whitelisthosts", per_recipient, hosts),
        names,
        senders: addresses("whitelistsenders"),
        recipients: addresses("whitelistrcpt"),
    })
}

/// A line that cannot be used exempts nobody, which harms nobody: a warning will do.
fn hosts(lines: &[Line], problems: &mut Vec<Problem>) -> NetList {
    let mut found = Vec::new();
    let hosts = NetList::load(lines, &mut found);
    for problem in found {
        Problem { severity: Severity::Warning, ..problem }.note(problems);
    }
    hosts
}

fn flag(args: &mut Args, name: &str, default: bool) -> bool {
    match args.named(name).as_deref() {
        None => default,
        Some("1") => true,
        Some("0") => false,
        Some(other) => {
            args.complain(format!("{name} {other}: use 0 or 1"));
            default
        }
    }
}

/// The first words of a file's lines, lower-cased.
fn names(lines: &[Line], problems: &mut Vec<Problem>) -> Names {
    lines.iter().map(|line| first_word(line, problems)).collect()
}

fn first_word(line: &Line, problems: &mut Vec<Problem>) -> Box<str> {
    let (word, rest) = line.split_word();
    if !rest.is_empty() {
        let what = format!("only the first word is read, not {}", quote(rest));
        Problem::warning(line, what).note(problems);
    }
    word.to_ascii_lowercase().into()
}

impl<T> Lists<T> {
    /// Reads a file, and those of recipients where they may have one.
    fn load(
        setup: &Setup<'_>,
        file: &str,
        per_recipient: bool,
        read: fn(&[Line], &mut Vec<Problem>) -> T,
    ) -> Lists<T> {
        let lines = setup.lines(file);
        let common = setup.with_problems(|problems| read(&lines, problems));
        let own = if per_recipient { Own::load_with(setup, file, read) } else { Own::none() };
        Lists { common, own }
    }

    /// The lists that count; just the common one where nobody is named.
    fn of(&self, whose: Whose<'_>, merge: bool) -> impl Iterator<Item = &T> {
        let own = whose.and_then(|recipient| recipient.find(&self.own));
        let common = (merge || own.is_none()).then_some(&self.common);
        common.into_iter().chain(own)
    }
}

impl Whitelist {
    fn host(&self, cx: &Cx<'_>, whose: Whose<'_>) -> Option<String> {
        let mut lists = self.hosts.of(whose, self.merge);
        let entry = lists.find_map(|hosts| hosts.contains(cx.peer().ip))?;
        Some(format!("pass, is a whitelisted host ({})", foreign(entry.as_bytes())))
    }

    fn name(&self, hello: &Hello, whose: Whose<'_>) -> Option<String> {
        let name = hello.name.to_ascii_lowercase();
        let listed = self.names.of(whose, self.merge).any(|names| names.contains(&*name));
        listed.then(|| format!("pass, whitelisted helo {}", foreign(hello.name.as_bytes())))
    }

    fn sender(&self, path: &ReversePath, whose: Whose<'_>) -> Option<String> {
        let sender = path.address()?;
        let listed = self.senders.of(whose, self.merge).any(|senders| senders.holds(sender));
        listed.then(|| format!("pass, whitelisted sender {}", foreign(sender.plain().as_bytes())))
    }

    /// Why checks have to spare this recipient, in the words of the log.
    fn recipient(&self, cx: &Cx<'_>, recipient: &Address) -> Result<Option<String>, Pending> {
        let own = if self.per_recipient { Some(cx.config_for(recipient)?) } else { None };
        let own = own.as_ref();
        if self.recipients.of(own, self.merge).any(|list| list.holds(recipient)) {
            let shown = recipient.plain();
            return Ok(Some(format!("pass, whitelisted recipient {}", foreign(shown.as_bytes()))));
        }
        if own.is_none() {
            return Ok(None);
        }
        let name = || self.name(cx.hello()?, own);
        let sender = || self.sender(&cx.envelope()?.mail.reverse_path, own);
        Ok(self.host(cx, own).or_else(name).or_else(sender))
    }
}

impl Plugin for Whitelist {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Connect, Hook::Helo, Hook::Mail, Hook::Rcpt, Hook::Data])
    }

    fn gates(&self) -> bool {
        true
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        if let Some(words) = self.host(cx, None) {
            // A host that is known is known, whoever his mail is for.
            cx.karma(5);
            if !self.per_recipient {
                cx.log(Level::Critical, words);
                cx.exempt_host();
            }
        }
        Ok(Verdict::Declined)
    }

    fn helo(&self, cx: &mut Cx<'_>, hello: &Hello) -> Hooked {
        if let Some(words) = self.name(hello, None).filter(|_| !self.per_recipient) {
            cx.log(Level::Critical, words);
            cx.exempt_host();
        }
        Ok(Verdict::Declined)
    }

    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        if let Some(words) = self.sender(&mail.reverse_path, None).filter(|_| !self.per_recipient) {
            cx.log(Level::Critical, words);
            cx.exempt_sender();
        }
        Ok(Verdict::Declined)
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        let by_recipient = cx.mail_note::<ByRecipient>().is_some_and(|note| note.0);
        if cx.mail_facts().immune.is_some() && !by_recipient {
            return Ok(Verdict::Declined);
        }
        let found = self.recipient(cx, recipient)?;
        if found.is_none() && by_recipient {
            cx.mail_facts_mut().immune = None;
        }
        if found.is_some() || by_recipient {
            cx.keep_mail_note(ByRecipient(found.is_some()));
        }
        if let Some(words) = found {
            cx.log(Level::Critical, words);
            cx.exempt_sender();
        }
        Ok(Verdict::Declined)
    }

    /// The last recipient's exemption holds for the message only if all have it.
    fn data(&self, cx: &mut Cx<'_>, _chunked: bool) -> Hooked {
        let Some(ByRecipient(now)) = cx.mail_note::<ByRecipient>().copied() else {
            return Ok(Verdict::Declined);
        };
        if !now && cx.mail_facts().immune.is_some() {
            // Somebody else has exempted the mail since.
            return Ok(Verdict::Declined);
        }
        let accepted = cx.envelope().map_or(&[][..], |envelope| &envelope.recipients);
        let mut all = true;
        for recipient in accepted {
            all &= self.recipient(cx, recipient)?.is_some();
        }
        if all {
            cx.exempt_sender();
        } else {
            cx.mail_facts_mut().immune = None;
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
        for (line, complaints) in [
            ("whitelist", 0),
            ("whitelist_soft", 0),
            ("whitelist per_recipient 1 merge 0", 0),
            ("whitelist per_recipient=0 merge=1", 0),
            ("whitelist per_recipient yes merge no", 2),
            ("whitelist whitelisthosts", 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line}");
            assert!(problems.is_empty(), "{problems:?}");
        }
    }

    #[test]
    fn doubtful_lines_are_told() {
        let files = [
            ("whitelisthosts", "192.0.2\nmail.example.org\n"),
            ("whitelisthelo", "mail.example.org our partner\n"),
            ("whitelistsenders", "@example.org\n"),
        ];
        let files = files.map(|(name, text)| (name.to_string(), text.to_string()));
        let files = Files::in_memory(files);
        let mut problems = Vec::new();
        load(&mut Args::of("whitelist"), &Setup::new(&files, &mut problems));
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 4, "{problems:?}");
        for part in [
            "whitelisthosts:1: warning: \"192.0.2\" is taken as the start",
            "whitelisthosts:2: warning: \"mail.example.org\" is neither",
            "whitelisthelo:1: warning: only the first word is read",
            "whitelisthelo: warning: exempts whoever calls himself so",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(part)), "{part}");
        }
    }
}
