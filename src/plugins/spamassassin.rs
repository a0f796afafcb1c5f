//! Has SpamAssassin look at each message: marks spam, and can refuse it.
//!
//! spamd is given the message as it stands, with our Received and Authentication-Results, and the
//! envelope sender. Clients that may relay and exempt ones are not looked at. The fields `X-Spam-…` that
//! come back are put on top of the header. Those that came with the message are never believed: they
//! are renamed or dropped, also where spamd could not be asked. What spamd said is a finding that later
//! plugins can look at.
//!
//! spamd is asked in the name of a user, so that his settings and what was learnt of his mail count: of
//! the recipient, if there is only one, else of the site, and then a field `X-Spam-User: USER, N
//! recipients` says so. A recipient whose name would be no good user name counts as the site.
//!
//! Arguments:
//!   spamd_socket             path of spamd's socket, or `IP:PORT`, or `localhost:PORT`; by default
//!                            `localhost:783`
//!   reject                   refuses from this score on, `userprefs` from the score on that spamd
//!                            calls spam; by default nothing is refused. Formerly `reject_threshold`
//!   reject_type              `perm` (default), `temp`, `disconnect`, `temp_disconnect`
//!   munge_subject_threshold  spam with a score above this has a prefix put before its subject; by
//!                            default the subject is left alone
//!   subject_prefix           the prefix, one word; by default the line of the file, or `*** SPAM ***`
//!   spamd_user               the site's user for spamd; by default that of the file `user`, or
//!                            `mailreeve`. `vpopmail` is `per_user address`, as it was
//!   per_user                 how the one recipient is named to spamd: `name` is what stands before the
//!                            @, `address` the whole address, `domain` DOMAIN/NAME, `no`: always the
//!                            site's user. By default `name`, and `no` with `spamd_user`
//!   leave_old_headers        `rename` (default) makes `X-Old-Spam-…` of fields that came with the
//!                            message, `drop` deletes them, `keep` leaves them
//!   headers                  `none`: adds no fields
//!   size_limit               octets; a larger message is not looked at; 500000 by default
//!   timeout                  seconds that spamd may take, all in all; 15 by default, at most 180
//!   relayclient              `skip`: accepted, for this is always so
//!
//! Config files: `subject_prefix`, one line.
//!
//! Replies: `554 5.7.1 spam score exceeded threshold`, or `451 4.7.1` with `reject_type temp`
//!
//! Karma: -1 for spam; 1 where SpamAssassin has learnt the message as ham, -1 as spam.
//!
//! When it cannot tell: the message passes as if nobody had asked, with a log line `error, WHY`. A spamd that
//! has failed three times in a row is left alone for `timeout` and half a minute, then one mail asks again.

use crate::client::Fault;
use crate::client::breaker::{Breaker, RESTS};
use crate::client::deadline::Deadline;
use crate::client::spamd::{Points, Report, Request, ask, is_of_spam, is_spam_field};
use crate::client::stream;
use crate::mail::headers::{clean_utf8, unfold};
use crate::plugin::log::{Level, foreign};
use crate::plugin::next_hop::path;
use crate::plugin::policy::reject_type_of;
use crate::plugin::site::Setup;
use crate::plugin::{
    Args, Cx, Hook, HookSet, Hooked, Lane, MessageView, Plugin, RejectType, Verdict,
};
use crate::smtp::address::Address;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The port of spamd.
const PORT: u16 = 783;

/// Fields of others that are renamed, the rest is dropped, and the octets of one.
const OLD_MAX: usize = 20;
const OLD_VALUE_MAX: usize = 2_000;

/// Octets of a subject that is written anew.
const SUBJECT_MAX: usize = 4_000;

/// Octets of a user's name.
const USER_MAX: usize = 128;

/// The field that only we write.
const USER_FIELD: &str = "X-Spam-User";

struct SpamAssassin {
    socket: Socket,
    reject: Option<Threshold>,
    reject_type: RejectType,
    munge: Option<Points>,
    prefix: String,
    site_user: Option<String>,
    per_user: PerUser,
    old: Old,
    add_headers: bool,
    size_limit: usize,
    timeout: Duration,
    breaker: Breaker,
}

#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

#[derive(Clone, Copy)]
enum Threshold {
    Score(Points),
    UserPrefs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PerUser {
    No,
    Name,
    Address,
    Domain,
}

#[derive(Clone, Copy)]
enum Old {
    Rename,
    Drop,
    Keep,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(SpamAssassin::from_args(args, setup))
}

/// Takes one of a few words.
fn choice<T: Copy>(args: &mut Args, key: &str, default: T, words: &[(&str, T)]) -> T {
    let Some(word) = args.named(key) else { return default };
    if let Some((_, found)) = words.iter().find(|(known, _)| *known == word) {
        return *found;
    }
    let known: Vec<_> = words.iter().map(|(known, _)| *known).collect();
    args.complain(format!("{key} {word}: use {}", known.join(", ")));
    default
}

fn points(args: &mut Args, key: &str, word: &str) -> Option<Points> {
    let found = Points::read(word);
    if found.is_none() {
        args.complain(format!("{key} {word}: give a number"));
    }
    found
}

fn socket(args: &mut Args) -> Socket {
    let localhost = |port| Socket::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let Some(word) = args.named("spamd_socket") else { return localhost(PORT) };
    if word.starts_with('/') {
        return Socket::Unix(PathBuf::from(word));
    }
    let local = word.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    match (word.parse(), local) {
        (Ok(address), _) => Socket::Tcp(address),
        (Err(_), Some(port)) => localhost(port),
        (Err(_), None) => {
            let what = "give the path of a socket, IP:PORT, or localhost:PORT";
            args.complain(format!("spamd_socket {word}: {what}"));
            localhost(PORT)
        }
    }
}

impl SpamAssassin {
    fn from_args(args: &mut Args, setup: &Setup<'_>) -> SpamAssassin {
        let older = args.named("reject_threshold");
        let reject = match args.named("reject").or(older).as_deref() {
            // As in qpsmtpd, where 0 is as good as nothing.
            None | Some("0") => None,
            Some("userprefs") => Some(Threshold::UserPrefs),
            Some(word) => points(args, "reject", word).map(Threshold::Score),
        };
        let reject_type = args.named("reject_type").unwrap_or_else(|| "perm".to_string());
        let reject_type = reject_type_of(&reject_type).unwrap_or_else(|| {
            let what = "use perm, temp, disconnect or temp_disconnect";
            args.complain(format!("reject_type {reject_type}: {what}"));
            RejectType::Perm
        });
        let munge = args.named("munge_subject_threshold");
        let munge = munge.and_then(|word| points(args, "munge_subject_threshold", &word));
        let prefix = args.named("subject_prefix");
        let prefix = prefix.or_else(|| setup.scalar("subject_prefix").map(|line| line.text));
        choice(args, "relayclient", (), &[("skip", ())]);
        let spamd_user = args.named("spamd_user");
        let (site_user, default) = match spamd_user.as_deref() {
            None => (None, PerUser::Name),
            Some("vpopmail") => (Some("vpopmail".to_string()), PerUser::Address),
            Some(user) => (Some(user.to_string()), PerUser::No),
        };
        if let Some(user) = site_user.as_ref().filter(|user| !is_user(user)) {
            args.complain(format!("spamd_user {user}: this is no user name"));
        }
        let forms = [
            ("no", PerUser::No),
            ("name", PerUser::Name),
            ("address", PerUser::Address),
            ("domain", PerUser::Domain),
        ];
        let olds = [("rename", Old::Rename), ("drop", Old::Drop), ("keep", Old::Keep)];
        let timeout = Duration::from_secs(args.number("timeout", 15, 1..=180));
        SpamAssassin {
            socket: socket(args),
            reject,
            reject_type,
            munge,
            prefix: prefix.unwrap_or_else(|| "*** SPAM ***".to_string()),
            site_user,
            per_user: choice(args, "per_user", default, &forms),
            old: choice(args, "leave_old_headers", Old::Rename, &olds),
            add_headers: choice(args, "headers", true, &[("none", false)]),
            size_limit: args.number("size_limit", 500_000, 1..=1_000_000_000),
            timeout,
            breaker: Breaker::new(timeout),
        }
    }

    /// In whose name spamd is asked.
    fn user(&self, cx: &Cx<'_>, recipients: &[Address]) -> String {
        let of_recipient = match recipients {
            [only] => per_user(self.per_user, only),
            _ => None,
        };
        of_recipient.or_else(|| self.site_user.clone()).unwrap_or_else(|| {
            let account = cx.config().user.as_deref().unwrap_or("mailreeve");
            account.split(':').next().unwrap_or_default().to_string()
        })
    }

    fn ask(&self, request: &Request<'_>) -> Result<Report, Fault> {
        let place = match &self.socket {
            Socket::Unix(path) => stream::Place::Unix(path),
            Socket::Tcp(address) => stream::Place::Tcp(*address),
        };
        ask(place, request, Deadline::after(self.timeout))
    }

    /// Takes the fields away that came with the message.
    fn clear(&self, cx: &mut Cx<'_>, message: &MessageView<'_>) {
        if let Old::Keep = self.old {
            cx.delete_header(USER_FIELD, None);
            return;
        }
        let header = message.current.header(message.received);
        let mut names: Vec<String> = Vec::new();
        let mut renamed = Vec::new();
        for field in message.current.headers().iter(header) {
            let name = String::from_utf8_lossy(field.name);
            if !is_of_spam(&name) {
                continue;
            }
            let name = name.to_ascii_lowercase();
            let forged = name.eq_ignore_ascii_case(USER_FIELD);
            if let (Old::Rename, false, true) = (self.old, forged, renamed.len() < OLD_MAX)
                && let Some(rest) = name.get(7..).filter(|_| is_spam_field(&name))
            {
                let value = clean_utf8(&unfold(field.value), OLD_VALUE_MAX);
                renamed.push((format!("X-Old-Spam-{}", capitals(rest)), value));
            }
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            cx.delete_header(&name, None);
        }
        for (name, value) in renamed.iter().rev() {
            cx.insert_header(name, value);
        }
    }

    /// Adds what spamd wants added, in its order.
    fn mark(&self, cx: &mut Cx<'_>, report: &Report, user: &str, recipients: usize) {
        if !self.add_headers {
            return;
        }
        let not_taken = [USER_FIELD, "X-Spam-Prev-Subject", "X-Spam-Report"];
        for (name, value) in report.fields.iter().rev() {
            if !not_taken.iter().any(|other| name.eq_ignore_ascii_case(other)) {
                cx.insert_header(name, value);
            }
        }
        if recipients > 1 {
            cx.insert_header(USER_FIELD, &format!("{user}, {recipients} recipients"));
        }
    }

    fn munge_subject(&self, cx: &mut Cx<'_>, message: &MessageView<'_>, report: &Report) {
        let Some(threshold) = self.munge else { return };
        if report.score <= threshold || report.required.is_some_and(|it| report.score <= it) {
            return;
        }
        let header = message.current.header(message.received);
        match message.current.headers().first(header, "Subject") {
            Some(field) => {
                let old = clean_utf8(&unfold(field.value), SUBJECT_MAX);
                cx.change_header("Subject", 0, &format!("{} {old}", self.prefix));
            }
            None => cx.insert_header("Subject", &self.prefix),
        }
    }

    /// Karma, log, and the refusal.
    fn judge(&self, cx: &mut Cx<'_>, report: &Report) -> Verdict {
        if report.spam {
            cx.karma(-1);
        }
        match report.autolearn.as_deref() {
            Some("ham") => cx.karma(1),
            Some("spam") => cx.karma(-1),
            _ => {}
        }
        let kind = if report.spam { "Spam" } else { "Ham" };
        let score = report.score;
        let learn = match &report.autolearn {
            Some(learn) => format!(", learn={}", foreign(learn.as_bytes())),
            None => String::new(),
        };
        let threshold = match self.reject {
            None => None,
            Some(Threshold::Score(points)) => Some(points),
            Some(Threshold::UserPrefs) => report.required,
        };
        let Some(threshold) = threshold else {
            cx.log(Level::Info, format!("error, reject disabled ({kind}, {score}{learn})"));
            return Verdict::Declined;
        };
        if score < threshold {
            let word = if report.spam { "fail, tolerated" } else { "pass" };
            cx.log(Level::Info, format!("{word}, {kind}, {score} < {threshold}{learn}"));
            return Verdict::Declined;
        }
        cx.log(Level::Info, format!("fail, {kind}, {score}, > {threshold}{learn}"));
        self.reject_type.verdict((7, 1), "spam score exceeded threshold")
    }
}

/// `status` as `Status`, `checker-version` as `Checker-Version`.
fn capitals(name: &str) -> String {
    let mut at_start = true;
    let up = |letter: char| {
        let letter = if at_start { letter.to_ascii_uppercase() } else { letter };
        at_start = letter == '-';
        letter
    };
    name.chars().map(up).collect()
}

/// What no one who runs as a user, or looks for his files, can misread.
fn is_user(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-+@/".contains(&octet);
    name.len() <= USER_MAX
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && name.bytes().all(plain)
        && !name.contains("..")
        && !name.contains("//")
}

fn per_user(form: PerUser, recipient: &Address) -> Option<String> {
    let local = recipient.local().to_ascii_lowercase();
    if local.contains(['/', '@']) {
        return None;
    }
    let domain = recipient.domain();
    let name = match form {
        PerUser::No => return None,
        PerUser::Name => local,
        _ if domain.is_empty() => return None,
        PerUser::Address => format!("{local}@{domain}"),
        PerUser::Domain => format!("{domain}/{local}"),
    };
    Some(name).filter(|name| is_user(name))
}

impl Plugin for SpamAssassin {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let (Some(message), Some(envelope)) = (cx.message(), cx.envelope()) else {
            return Ok(Verdict::Declined);
        };
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let length = message.current.len(message.received);
        if length > self.size_limit {
            cx.log(Level::Info, format!("skip, too large ({length})"));
            self.clear(cx, &message);
            return Ok(Verdict::Declined);
        }
        let now = cx.now().mono;
        // Asked once: who has not moved to the lane must not ask spamd, whatever others find out meanwhile.
        let rests = self.breaker.rests(now);
        if !rests {
            cx.lane(Lane::Scanners)?;
        }
        let user = self.user(cx, &envelope.recipients);
        let sender = envelope.mail.reverse_path.address();
        let sender = sender.map_or_else(|| "<>".to_string(), path);
        let parts = message.current.parts(message.received);
        let answer = if !rests && self.breaker.may_ask(now) {
            let answer = self.ask(&Request { user: &user, sender: &sender, parts });
            if let Some(news) = self.breaker.heard(now, answer.is_ok()) {
                cx.log(Level::Warning, format!("info, spamd {news}"));
            }
            answer
        } else {
            Err(RESTS.into())
        };
        self.clear(cx, &message);
        match answer {
            Ok(report) => {
                self.mark(cx, &report, &user, envelope.recipients.len());
                self.munge_subject(cx, &message, &report);
                let verdict = self.judge(cx, &report);
                cx.mail_facts_mut().spamassassin = Some(Arc::new(report));
                Ok(verdict)
            }
            Err(fault) => {
                cx.log(Level::Error, format!("error, {}", foreign(fault.to_string().as_bytes())));
                Ok(Verdict::Declined)
            }
        }
    }
}

#[cfg(test)]
mod tests;
