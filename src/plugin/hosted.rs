//! Which domains are ours: `me`, `rcpthosts` and `morercpthosts.cdb` in one question.
//!
//! Checks that know only our own recipients have to leave everybody else's to the plugins that judge
//! relaying, or a stranger would be told that a mailbox elsewhere does not exist.

use crate::config::cdb::Cdb;
use crate::config::patterns::DomainList;
use crate::plugin::site::Setup;

/// The files that name our domains.
#[derive(Debug, Default)]
pub struct Hosted {
    hosts: DomainList,
    more: Option<Cdb>,
}

impl Hosted {
    /// Reads the files. What is wrong in them is told by rcpt_ok, which reads them too.
    pub fn read(setup: &Setup<'_>) -> Hosted {
        let hosts = DomainList::load(&setup.lines("rcpthosts"), &mut Vec::new());
        let more = setup.bytes("morercpthosts.cdb").and_then(|octets| Cdb::new(octets).ok());
        Hosted { hosts, more }
    }

    /// The domain is ours; `me` is our own name. The bare `postmaster` has no domain and is ours.
    pub fn holds(&self, me: &str, domain: &str) -> bool {
        let domain = domain.to_ascii_lowercase();
        let more = || self.more.as_ref().is_some_and(|more| more.find(domain.as_bytes()).is_some());
        domain.is_empty()
            || domain.eq_ignore_ascii_case(me)
            || self.hosts.find(&domain).is_some()
            || more()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cdb;
    use crate::config::files::Files;

    #[test]
    fn our_domains_are_known() {
        let files = Files::in_memory_bytes([
            ("rcpthosts".to_string(), b"Example.com\n.example.net\n".to_vec()),
            ("morercpthosts.cdb".to_string(), cdb::write(&[(b"many.example", b"")])),
        ]);
        let mut problems = Vec::new();
        let hosted = Hosted::read(&Setup::new(&files, &mut problems));
        for (domain, ours) in [
            ("example.com", true),
            ("EXAMPLE.com", true),
            ("a.example.com", false),
            ("a.example.net", true),
            ("many.example", true),
            ("mx.example.org", true),
            ("", true),
            ("example.org", false),
        ] {
            assert_eq!(hosted.holds("Mx.Example.org", domain), ours, "{domain}");
        }
        assert!(problems.is_empty());
    }
}
