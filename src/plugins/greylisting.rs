//! Defers the first attempt of an unknown sender: programs that only send spam rarely try again.
//!
//! Good mail is late by it, which is why this plugin is on only where it is listed; think twice. Who
//! tries again after `black_timeout` is let in, and from then on without a delay for `white_timeout`
//! after each mail. A sender is known by the /24 of its IPv4 or the /64 of its IPv6 address, because
//! large ones try again from a neighbour, and by the envelope's sender and recipient if asked for.
//! Clients that are whitelisted or may relay are exempt; put `relay` and `whitelist` before this
//! plugin.
//!
//! Large senders try again from any address of a pool, which is no neighbour. Where SPF has passed, by
//! more than a record that lets everybody pass, the sender's domain takes the place of the network, and
//! the second attempt is let in however soon it comes: such a domain is deferred once. Put
//! `sender_permitted_from` before this plugin.
//!
//! The files that `greylist_exclude_files` names list exempt clients in the form of postgrey: an
//! address, a network, a host name (which is also all names below it) or a `/REGEX/` on the host name.
//! The host name is what DNS says of the address; one that `fcrdns` has found to be false does not
//! count.
//!
//! Differences to qpsmtpd 0.96: who has passed once is remembered as white; all lines of the file
//! `denysoft_greylist` are read, and the plugin's own line wins over it.
//!
//! Arguments:
//!   remote_ip, sender, recipient
//!                  `1` or `0`: parts of what is remembered, by default 1, 0 and 0
//!   black_timeout  for how many seconds attempts are deferred, default 3000
//!   white_timeout  for how many seconds after its latest mail a sender is let in, default 3110400 (36
//!                  days), at most 40 days
//!   reject         `0`: only record; by default `1`
//!   mode           the former `reject`: `testonly` and `off` are 0, `denysoft` is 1
//!   deny_late      `1`: defer at DATA, not at MAIL or RCPT; by default `0`
//!   per_recipient  `1`: look at RCPT, not at MAIL; by default `0`. With the plugin per_user_config a
//!                  recipient may have a file denysoft_greylist in a folder of his, whose lines
//!                  count before all others: with `reject 0` he has no greylisting
//!   geoip          two-letter codes of countries with commas between them, such as `DE,AT,CH`: clients
//!                  there are exempt. It needs the plugin ident/geoip before this one
//!   p0f            `KEY,VALUE,KEY,VALUE`: defer only clients of whom ident/p0f, listed before, says all
//!                  of it. `genre`, `detail` and `link` are parts of the system's name, its flavor and the
//!                  kind of link; `distance` and `uptime` are exceeded, in hops and minutes
//!   grey_timeout, upgrade, db_dir, nfslock, redis
//!                  accepted and not used: the file `store` says where the records are kept
//!
//! Config files: `denysoft_greylist` (arguments as lines `key value`), also in the folders of
//! recipients; `greylist_exclude_files` (one path a line).
//!
//! Replies: `450 4.7.1 This mail is temporarily denied` at MAIL or RCPT, `451` at DATA; there also for
//! the null sender where recipients count, since callbacks to check an address use it.
//!
//! Karma: none.
//!
//! When it cannot tell: the mail is let in.

mod excluded;
mod options;

use crate::authn::spf::{Scope, SpfResult};
use crate::config::nets;
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Own, Pending, Plugin, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::MailFrom;
use crate::store::{GREYLIST, Greylist as Record, Op, Unavailable};
use excluded::Excluded;
use options::{Options, read, read_own};
use std::net::IpAddr;
use std::sync::Arc;

const TEXT: &str = "This mail is temporarily denied";

struct Greylisting {
    options: Options,
    /// Those of recipients who have their own.
    own: Own<Options>,
    excluded: Excluded,
}

/// Note on a transaction: it is to be deferred at DATA.
#[derive(Clone, Copy)]
struct Late;

/// What a record comes to, and what is to be recorded for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Unknown,
    White { deliveries: u64 },
    Black { attempts: u64 },
    Grey { was_white: bool },
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let options = read(args, setup);
    let own = read_own(&options, setup);
    Arc::new(Greylisting { options, own, excluded: Excluded::load(setup) })
}

impl Options {
    /// The client's country, if its clients are exempt.
    fn exempt_country(&self, cx: &Cx<'_>) -> Option<Box<str>> {
        let country = cx.facts().place.as_ref()?.country.as_ref()?.to_ascii_uppercase();
        self.countries.iter().find(|exempt| ***exempt == *country).cloned()
    }

    /// `is_pool` says that the record is one of a pool's.
    fn find(&self, record: Option<&Record>, now: u64, is_pool: bool) -> Finding {
        let Some(record) = record else { return Finding::Unknown };
        let was_white = record.white > 0;
        if was_white && now.saturating_sub(record.last) < self.white_timeout {
            return Finding::White { deliveries: u64::from(record.white) + 1 };
        }
        if !is_pool && now.saturating_sub(record.first) < self.black_timeout {
            return Finding::Black { attempts: u64::from(record.black) + 1 };
        }
        Finding::Grey { was_white }
    }
}

/// The domain whose pool the client belongs to, as part of a key, if SPF says so of the sender.
fn pool(cx: &Cx<'_>) -> Option<String> {
    let spf = cx.mail_facts().spf.as_ref()?;
    let passes = spf.result == SpfResult::Pass && spf.scope == Scope::MailFrom && !spf.is_wide;
    passes.then(|| format!("spf:{}", spf.domain.to_ascii_lowercase()))
}

/// The neighbours of an address that may try in its stead: a /24 of IPv4, a /64 of IPv6.
fn network(ip: IpAddr) -> String {
    match nets::site(ip) {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => format!("{v6}/64"),
    }
}

impl Greylisting {
    /// True if the mail is to be deferred.
    fn is_grey(
        &self,
        cx: &mut Cx<'_>,
        options: &Options,
        sender: Option<&Address>,
        recipient: Option<&Address>,
    ) -> Result<bool, Pending> {
        if cx.skip_immune() {
            return Ok(false);
        }
        let name = cx.peer().name.as_deref().filter(|_| cx.facts().fcrdns != Some(false));
        if self.excluded.has(cx.peer().ip, name) {
            cx.log(Level::Info, "skip, excluded");
            return Ok(false);
        }
        if let Some(country) = options.exempt_country(cx) {
            cx.log(Level::Info, format!("skip, geoip {country}"));
            return Ok(false);
        }
        let system = cx.facts().system.as_deref();
        if !options.p0f.iter().all(|it| system.is_some_and(|system| it.fits(system))) {
            cx.log(Level::Info, "skip, no p0f match");
            return Ok(false);
        }
        let pool = pool(cx).filter(|_| options.remote_ip);
        let is_pool = pool.is_some();
        let who = pool.unwrap_or_else(|| network(cx.peer().ip));
        let key = options.key(&who, sender, recipient);
        let record = match cx.recall(GREYLIST, &key)? {
            Ok(found) => found.as_deref().and_then(Record::decode),
            Err(Unavailable) => {
                let what = "UNABLE TO OBTAIN GREYLIST RESULT: the store does not answer";
                cx.log(Level::Error, what);
                return Ok(false);
            }
        };
        let now = cx.now().unix.as_secs();
        let (op, level, words) = match options.find(record.as_ref(), now, is_pool) {
            Finding::Unknown => {
                let words = "fail: initial DENYSOFT, unknown".to_string();
                (Op::insert_if_absent(&key, now), Level::Warning, words)
            }
            Finding::Black { attempts } => {
                let words = format!("fail: black DENYSOFT - {attempts} deferred connections");
                (Op::seen_black(&key, now), Level::Warning, words)
            }
            Finding::White { deliveries } => {
                let words = format!("pass: white, {deliveries} deliveries");
                (Op::seen_white(&key, now), Level::Info, words)
            }
            Finding::Grey { was_white } => {
                let white = if was_white { ", has timed out (white)" } else { "" };
                (
                    Op::seen_white(&key, now),
                    Level::Warning,
                    format!("pass: timed out (grey){white}"),
                )
            }
        };
        let defers = words.starts_with("fail");
        cx.record(op);
        cx.log(level, words);
        if defers && !options.reject {
            cx.log(Level::Info, "fail, tolerated");
        }
        Ok(defers && options.reject)
    }
}

/// Defers now, or at DATA.
fn defer(cx: &mut Cx<'_>, late: bool) -> Verdict {
    if late {
        cx.keep_mail_note(Late);
        return Verdict::Declined;
    }
    Verdict::deny_soft((7, 1), TEXT)
}

impl Plugin for Greylisting {
    fn hooks(&self) -> HookSet {
        let at = if self.options.at_rcpt() { Hook::Rcpt } else { Hook::Mail };
        HookSet::of(&[at, Hook::Data])
    }

    fn mail(&self, cx: &mut Cx<'_>, mail: &MailFrom) -> Hooked {
        if self.options.at_rcpt() {
            return Ok(Verdict::Unhooked);
        }
        let options = &self.options;
        let defers = self.is_grey(cx, options, mail.reverse_path.address(), None)?;
        Ok(if defers { defer(cx, options.deny_late) } else { Verdict::Declined })
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if !self.options.at_rcpt() {
            return Ok(Verdict::Unhooked);
        }
        let sender = cx.envelope().and_then(|envelope| envelope.mail.reverse_path.address());
        let own = cx.config_for(recipient)?;
        let options = own.find(&self.own).unwrap_or(&self.options);
        let defers = self.is_grey(cx, options, sender, Some(recipient))?;
        let is_callback = sender.is_none() && options.recipient;
        let late = options.deny_late || is_callback;
        Ok(if defers { defer(cx, late) } else { Verdict::Declined })
    }

    fn data(&self, cx: &mut Cx<'_>, _chunked: bool) -> Hooked {
        // Who became exempt since, by white-listed recipients for example, is spared.
        if cx.mail_note::<Late>().is_none() || cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        Ok(Verdict::deny_soft((7, 1), TEXT))
    }
}

#[cfg(test)]
mod tests;
