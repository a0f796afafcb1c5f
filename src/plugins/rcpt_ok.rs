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
    Arc::new(RcptOk::read(setup))
}

impl RcptOk {
    fn read(setup: &Setup<'_>) -> RcptOk {
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
        RcptOk { hosts, more }
    }

    /// Why a domain is ours, in the words of the log. `me` and `domain` are in lower case.
    fn why_ours(&self, me: &str, domain: &str) -> Option<String> {
        let shown = foreign(domain.as_bytes());
        if domain == me {
            return Some(format!("{shown} is me"));
        }
        if let Some(entry) = self.hosts.find(domain) {
            let tail = if entry.eq_ignore_ascii_case(domain) {
                String::new()
            } else {
                format!(" as {entry}")
            };
            return Some(format!("{shown} in rcpthosts{tail}"));
        }
        let more = self.more.as_ref()?.find(domain.as_bytes());
        more.map(|_| format!("{shown} found in morercpthosts"))
    }
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
        if let Some(why) = self.why_ours(&me, domain) {
            cx.log(Level::Info, format!("pass: {why}"));
            return Ok(Verdict::OK);
        }
        cx.log(Level::Info, format!("fail: {} not in morercpthosts", foreign(domain.as_bytes())));
        Ok(Verdict::deny((7, 1), "Relaying denied"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cdb;
    use crate::config::files::Files;

    fn plugin(files: Vec<(&str, Vec<u8>)>) -> (RcptOk, Vec<String>) {
        let owned = files.into_iter().map(|(name, octets)| (name.to_string(), octets));
        let files = Files::in_memory_bytes(owned);
        let mut problems = Vec::new();
        let plugin = RcptOk::read(&Setup::new(&files, &mut problems));
        (plugin, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn domains_are_ours_by_name_by_list_and_by_database() {
        let keys = ["many.example", ".never.example"];
        let more = cdb::write(&keys.map(|key| (key.as_bytes(), b"".as_slice())));
        let (plugin, problems) = plugin(vec![
            ("rcpthosts", b"Example.com\n.example.net\n[192.0.2.25]\n".to_vec()),
            ("morercpthosts.cdb", more),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        for (domain, expected) in [
            ("mx.example.org", Some("mx.example.org is me")),
            ("example.com", Some("example.com in rcpthosts")),
            ("a.example.com", None),
            ("example.com.", None),
            ("a.b.example.net", Some("a.b.example.net in rcpthosts as .example.net")),
            ("example.net", None),
            ("anexample.net", None),
            ("[192.0.2.25]", Some("[192.0.2.25] in rcpthosts")),
            ("many.example", Some("many.example found in morercpthosts")),
            ("a.many.example", None),
            ("a.never.example", None),
            ("example.org", None),
            ("", None),
        ] {
            assert_eq!(plugin.why_ours("mx.example.org", domain).as_deref(), expected, "{domain}");
        }
    }

    #[test]
    fn a_database_that_is_none_is_an_error() {
        let (_, problems) = plugin(vec![("morercpthosts.cdb", b"example.com\n".to_vec())]);
        assert_eq!(
            problems,
            ["morercpthosts.cdb: is no cdb file: it is shorter than a cdb's head"]
        );
    }
}
