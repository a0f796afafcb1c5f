//! Accepts recipients in our domains, and any recipient from clients that may relay.
//!
//! It stands last among the plugins that judge recipients, for what it does not accept it refuses. A
//! recipient is ours if the domain is `me`, stands in `rcpthosts` (`domain`, or `.domain` for all its
//! subdomains), or is a key of `morercpthosts.cdb`. `postmaster` without a domain is judged as if it
//! were at `me`. Being whitelisted never gives the right to relay: a sender's address can be forged.
//! Nothing in a local part is read as a route: `a%b@ours` and `b!a@ours` are just names at `ours`.
//!
//! Arguments: none.
//!
//! Config files: `rcpthosts`, `morercpthosts.cdb`, `me`.
//!
//! Replies: `550 5.7.1 Relaying denied`
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::cdb::Cdb;
use crate::config::files::{Problem, Severity};
use crate::config::patterns::DomainList;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use std::sync::Arc;

struct RcptOk {
    hosts: DomainList,
    more: Option<Cdb>,
}

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let lines = setup.lines("rcpthosts");
    let hosts = setup.with_problems(|problems| DomainList::load(&lines, problems));
    let more = setup.bytes("morercpthosts.cdb").and_then(|octets| match Cdb::new(octets) {
        Ok(cdb) => Some(cdb),
        Err(what) => {
            let problem = Problem::in_file(Severity::Error, "morercpthosts.cdb", what);
            setup.with_problems(|problems| problem.note(problems));
            None
        }
    });
    Arc::new(RcptOk { hosts, more })
}

impl Plugin for RcptOk {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt])
    }

    fn rcpt(&self, cx: &mut Cx<'_>, recipient: &Address) -> Hooked {
        if cx.may_relay() {
            cx.log(Level::Info, "pass, relay client");
            return Ok(Verdict::OK);
        }
        let me = cx.config().rules.me.to_ascii_lowercase();
        let domain = if recipient.domain().is_empty() { &me } else { recipient.domain() };
        let shown = foreign(domain.as_bytes());
        if domain == me {
            cx.log(Level::Info, format!("pass: {shown} is me"));
            return Ok(Verdict::OK);
        }
        if let Some(entry) = self.hosts.find(domain) {
            let tail = if entry.eq_ignore_ascii_case(domain) {
                String::new()
            } else {
                format!(" as {entry}")
            };
            cx.log(Level::Info, format!("pass: {shown} in rcpthosts{tail}"));
            return Ok(Verdict::OK);
        }
        if self.more.as_ref().is_some_and(|more| more.find(domain.as_bytes()).is_some()) {
            cx.log(Level::Info, format!("pass: {shown} found in morercpthosts"));
            return Ok(Verdict::OK);
        }
        cx.log(Level::Info, format!("fail: {shown} not in rcpthosts"));
        Ok(Verdict::deny((7, 1), "Relaying denied"))
    }
}
