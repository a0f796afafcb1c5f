//! The keys that mail is signed with: the folders `dkim/DOMAIN` and the file `dkim_signing`.
//!
//! A folder holds `private` (PEM), `selector` and `public`; a second pair in `ed25519/` below it signs
//! as well. A folder may be a link, to the folder `default` say: what is signed is in the name of the
//! sender's domain all the same, never in the name of what the link leads to.
//!
//! A key that cannot be used is told when the configuration is read, and keeps no mail down: what it
//! should have signed goes out unsigned.

use crate::authn::crypto::{PrivateKey, PublicKey};
use crate::authn::dkim::published::ToPublish;
use crate::authn::dkim::text::{domain_name, selector_name};
use crate::config::files::{Problem, quote};
use crate::plugin::hosted::Hosted;
use crate::plugin::site::Setup;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The folder whose key signs for domains that have none of their own.
pub const DEFAULT: &str = "default";

/// The selector where a folder does not name one.
pub const SELECTOR: &str = "default";

/// The folder, below a domain's, of its second pair.
pub const SECOND: &str = "ed25519";

/// The file that says for which domains mail is signed.
const SWITCH: &str = "dkim_signing";

/// A key and the name under which its public half is published.
#[derive(Clone, Debug)]
pub struct NamedKey {
    /// `s=`
    pub selector: String,
    /// The private half.
    pub key: Arc<PrivateKey>,
}

impl NamedKey {
    /// What has to be in DNS for it; None where the key has no public half, and cannot sign either.
    pub fn to_publish(&self, domain: &str) -> Option<ToPublish> {
        let (domain, selector) = (domain.to_string(), self.selector.clone());
        self.key.public().map(|key| ToPublish { domain, selector, key })
    }
}

/// All keys, and whom they sign for.
#[derive(Debug, Default)]
pub struct DkimKeys {
    hosted: Hosted,
    /// Hosted domains that `rcpthosts` has by name.
    named: Vec<String>,
    switch: Switch,
    /// Keys by folder, or why there are none.
    folders: BTreeMap<String, Result<Vec<NamedKey>, String>>,
}

/// What is done with a message of a domain.
#[derive(Debug)]
pub enum Choice<'a> {
    /// It is signed.
    Sign {
        /// `d=`
        domain: &'a str,
        /// The folder that the keys are of.
        folder: &'a str,
        /// With all of these.
        keys: &'a [NamedKey],
    },
    /// It is none of ours.
    NotHosted,
    /// Signing is switched off for it.
    Disabled(&'a str),
    /// There is no key for it.
    NoKey(&'a str),
    /// Its key cannot be used.
    Broken {
        /// The folder.
        folder: &'a str,
        /// In words.
        why: &'a str,
    },
}

impl DkimKeys {
    /// Reads folders and files; keys that cannot be used are warned of.
    pub fn read(setup: &Setup<'_>) -> DkimKeys {
        let mut folders = BTreeMap::new();
        let mut known = Vec::new();
        for name in setup.folders("dkim") {
            let Some(domain) = domain_name(&name) else {
                setup.warn(&format!("dkim/{name}"), "is no domain, and no default; left out");
                continue;
            };
            let folder = format!("dkim/{name}");
            let keys = read_folder(setup, &folder, &mut known);
            if let Err(why) = &keys {
                setup.warn(&folder, format!("its mail goes out unsigned: {why}"));
            }
            folders.insert(domain, keys);
        }
        let (hosted, switch) = (Hosted::read(setup), Switch::read(setup));
        let lines = setup.lines("rcpthosts");
        let words = lines.iter().map(|line| line.split_word().0);
        let named = words.filter(|word| !word.starts_with('.')).filter_map(domain_name).collect();
        let keys = DkimKeys { hosted, named, switch, folders };
        keys.warn(setup);
        keys
    }

    /// Who asked for signatures in so many words has to hear that there is no key for them.
    fn warn(&self, setup: &Setup<'_>) {
        if self.switch.all == Some(true) && self.folders.is_empty() {
            setup.warn(SWITCH, "signing is enabled, but there is no key: mailreeve dkim keygen");
        }
        let enabled = self.switch.domains.iter().filter(|(_, enabled)| **enabled);
        for (domain, _) in enabled.filter(|(domain, _)| self.find(domain).is_none()) {
            setup.warn(SWITCH, format!("{domain} is enabled, but there is no key for it"));
        }
    }

    /// The domain is one that we may sign for: ours, or one with a folder of its own.
    pub fn is_hosted(&self, me: &str, domain: &str) -> bool {
        let own = || domain != DEFAULT && self.folders.contains_key(domain);
        !domain.is_empty() && (own() || self.hosted.holds(me, domain))
    }

    /// What to do with a message by `author`, the one domain of its From field, that was sent from an
    /// address of `sender`. The author's domain comes first, since receivers look at that.
    pub fn choose<'a>(
        &'a self,
        me: &str,
        author: Option<&'a str>,
        sender: Option<&'a str>,
    ) -> Choice<'a> {
        let ours = [author, sender].into_iter().flatten().find(|it| self.is_hosted(me, it));
        let Some(domain) = ours else { return Choice::NotHosted };
        if !self.switch.allows(domain) {
            return Choice::Disabled(domain);
        }
        match self.find(domain) {
            None => Choice::NoKey(domain),
            Some((folder, Ok(keys))) => Choice::Sign { domain, folder, keys },
            Some((folder, Err(why))) => Choice::Broken { folder, why },
        }
    }

    /// The folder of a domain: its own, else that of the nearest parent, else the default one.
    pub fn find(&self, domain: &str) -> Option<(&str, &Result<Vec<NamedKey>, String>)> {
        nearest(domain, |name| self.folders.get_key_value(name))
            .map(|(name, keys)| (name.as_str(), keys))
    }

    /// Our domains, as far as they are known by name, each once and in order.
    pub fn domains(&self, me: &str) -> Vec<String> {
        let folders = self.folders.keys().filter(|name| *name != DEFAULT).cloned();
        let mut domains = vec![me.to_ascii_lowercase()];
        domains.extend(self.named.iter().cloned().chain(folders));
        domains.sort_unstable();
        domains.dedup();
        domains
    }

    /// The keys that sign for these domains, whose public halves have to be in DNS.
    pub fn to_publish(&self, me: &str) -> Vec<ToPublish> {
        let mut all = Vec::new();
        for domain in self.domains(me) {
            let Choice::Sign { keys, .. } = self.choose(me, Some(&domain), None) else { continue };
            all.extend(keys.iter().filter_map(|key| key.to_publish(&domain)));
        }
        all
    }

    /// Mail of this domain is to be signed.
    pub fn is_enabled(&self, domain: &str) -> bool {
        self.switch.allows(domain)
    }
}

/// What `look` finds for a domain, the nearest of its parents with two labels or more, or the default.
pub fn nearest<T>(domain: &str, mut look: impl FnMut(&str) -> Option<T>) -> Option<T> {
    let parents = std::iter::successors(Some(domain), |name| name.split_once('.').map(|it| it.1));
    let own = parents.enumerate().filter(|(up, name)| *up == 0 || name.contains('.'));
    let mut names = own.map(|(_, name)| name).chain([DEFAULT]);
    names.find_map(&mut look)
}

/// The keys of a folder, the second pair last.
fn read_folder(
    setup: &Setup<'_>,
    folder: &str,
    known: &mut Vec<(String, Arc<PrivateKey>)>,
) -> Result<Vec<NamedKey>, String> {
    let first = read_pair(setup, folder, SELECTOR, known)?;
    let mut keys = vec![first.ok_or("there is no file private")?];
    let second = format!("{folder}/{SECOND}");
    match read_pair(setup, &second, SECOND, known) {
        Ok(Some(key)) if keys.iter().any(|first| first.selector == key.selector) => {
            setup.warn(&second, "its selector is that of the first key; left out");
        }
        Ok(key) => keys.extend(key),
        Err(why) => setup.warn(&second, format!("left out: {why}")),
    }
    Ok(keys)
}

/// One pair; None where there is no private key. Many domains may have links to one key, which is
/// checked once.
fn read_pair(
    setup: &Setup<'_>,
    folder: &str,
    selector: &str,
    known: &mut Vec<(String, Arc<PrivateKey>)>,
) -> Result<Option<NamedKey>, String> {
    let file = |name: &str| setup.text(&format!("{folder}/{name}"));
    let text = match file("private") {
        Ok(None) => return Ok(None),
        Ok(Some(text)) => text,
        Err(why) => return Err(format!("private {why}")),
    };
    let key = match known.iter().find(|(other, _)| *other == text) {
        Some((_, key)) => Arc::clone(key),
        None => {
            let key = PrivateKey::from_pem(&text).map_err(|why| format!("private {why}"))?;
            let key = Arc::new(key);
            known.push((text, Arc::clone(&key)));
            key
        }
    };
    let named = file("selector").map_err(|why| format!("selector {why}"))?;
    let named = named.as_deref().and_then(first_line).unwrap_or(selector);
    let Some(selector) = selector_name(named) else {
        return Err(format!("{} is no selector", quote(named)));
    };
    if let Some(why) = file("public").map_or_else(Some, |text| mismatch(text.as_deref(), &key)) {
        setup.warn(&format!("{folder}/public"), why);
    }
    Ok(Some(NamedKey { selector, key }))
}

/// The file with the public half is for the admin, who publishes it: one of another key would make all
/// signatures fail.
fn mismatch(text: Option<&str>, key: &PrivateKey) -> Option<String> {
    match PublicKey::from_pem(text?) {
        Ok(public) if Some(&public) == key.public().as_ref() => None,
        Ok(_) => Some("is not the public half of private: do not publish it".to_string()),
        Err(_) => Some("is no public key in PEM".to_string()),
    }
}

/// The first line that is neither empty nor a comment.
pub fn first_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))
}

/// For which domains mail is signed. A line is `enabled` or `disabled`, for all that no other line
/// names, or `DOMAIN enabled` or `DOMAIN disabled`. Without a line all are.
#[derive(Debug, Default)]
struct Switch {
    all: Option<bool>,
    domains: BTreeMap<String, bool>,
}

impl Switch {
    fn read(setup: &Setup<'_>) -> Switch {
        let mut switch = Switch::default();
        for line in setup.lines(SWITCH) {
            let (first, rest) = line.split_word();
            match (word(first), domain_name(first), word(rest)) {
                (Some(value), _, None) if rest.is_empty() => switch.all = Some(value),
                (None, Some(domain), Some(value)) => _ = switch.domains.insert(domain, value),
                _ => {
                    let what = "write enabled or disabled, or DOMAIN enabled or DOMAIN disabled";
                    setup.with_problems(|problems| Problem::error(&line, what).note(problems));
                }
            }
        }
        switch
    }

    fn allows(&self, domain: &str) -> bool {
        self.domains.get(domain).copied().or(self.all).unwrap_or(true)
    }
}

fn word(text: &str) -> Option<bool> {
    match text {
        "enabled" => Some(true),
        "disabled" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
