//! The signing plugin of old installations. Use `dkim`, which checks signatures too.
//!
//! It signs the mail of clients that may relay, after all changes by other plugins, for every domain
//! that has a file of its own: the author's, else the sender's. Signatures are rsa-sha256 whatever the
//! line says, for receivers have long stopped accepting rsa-sha1 (RFC 8301) and DomainKeys (RFC 4870).
//!
//! Arguments:
//!   selector      the selector, `default` unless given
//!   keys          `both`, `dk`, `domainkeys` or `dkim`: understood and without effect, and so are
//!                 `algorithm`, `dk_method`, `dkim_method` and `dkim_headers`
//!
//! Config files: `dkimkeys/DOMAIN.private`, a private key in PEM each. To move to `dkim`, put it into
//! `dkim/DOMAIN/private` and the selector into `dkim/DOMAIN/selector`.
//!
//! Replies: none.
//!
//! Karma: none.
//!
//! When it cannot tell: a key that cannot be read is told at start, and that domain's mail goes out
//! unsigned.

use crate::authn::crypto::PrivateKey;
use crate::authn::dkim::published::ToPublish;
use crate::authn::dkim::text::{domain_name, selector_name};
use crate::config::files::Problem;
use crate::plugin::dkim_keys::{NamedKey, SELECTOR};
use crate::plugin::log::{Level, foreign};
use crate::plugin::sealing;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the old plugin took, and what no longer matters.
const PAST: [&str; 5] = ["keys", "algorithm", "dk_method", "dkim_method", "dkim_headers"];

struct DkimSign {
    keys: BTreeMap<String, [NamedKey; 1]>,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let selector = args.named("selector").unwrap_or_else(|| SELECTOR.to_string());
    let selector = selector_name(&selector).unwrap_or_else(|| {
        args.complain(format!("selector {selector}: it is none"));
        SELECTOR.to_string()
    });
    for past in PAST {
        args.named(past);
    }
    let what = "dkim_sign signs with rsa-sha256 only; use dkim, with keys in dkim/DOMAIN";
    setup.with_problems(|problems| Problem::warning(&args.line, what).note(problems));
    let mut keys = BTreeMap::new();
    for file in setup.names("dkimkeys") {
        let Some(domain) = file.strip_suffix(".private").and_then(domain_name) else { continue };
        let path = format!("dkimkeys/{file}");
        match read(setup, &path) {
            Ok(key) => {
                let key = NamedKey { selector: selector.clone(), key: Arc::new(key) };
                keys.insert(domain, [key]);
            }
            Err(why) => setup.warn(&path, format!("its mail goes out unsigned: {why}")),
        }
    }
    Arc::new(DkimSign { keys })
}

fn read(setup: &Setup<'_>, path: &str) -> Result<PrivateKey, String> {
    let text = setup.text(path)?.unwrap_or_default();
    PrivateKey::from_pem(&text).map_err(|why| why.to_string())
}

impl Plugin for DkimSign {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Seal])
    }

    fn to_publish(&self, _: &str) -> Vec<ToPublish> {
        let all =
            self.keys.iter().flat_map(|(domain, keys)| keys.iter().map(move |key| (domain, key)));
        all.filter_map(|(domain, key)| key.to_publish(domain)).collect()
    }

    fn seal(&self, cx: &mut Cx<'_>) -> Hooked {
        let (true, Some(message)) = (cx.may_relay(), cx.message()) else {
            return Ok(Verdict::Declined);
        };
        let (author, sender) = sealing::domains(cx, &message);
        let mut domains = [author.as_deref(), sender.as_deref()].into_iter().flatten();
        let found = domains.find_map(|domain| self.keys.get_key_value(domain));
        let words = match found {
            Some((domain, keys)) if sealing::seal(cx, &message, domain, keys) => {
                "pass, we signed the message".to_string()
            }
            Some((domain, _)) => format!("error, unable to sign with the key of {domain}"),
            None => {
                let domain = author.as_deref().or(sender.as_deref()).unwrap_or("nobody");
                format!("skip, no key for {}", foreign(domain.as_bytes()))
            }
        };
        cx.log(Level::Info, words);
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::dkim::testing::{ED25519_PKCS8, RSA_PKCS1};
    use crate::config::files::Files;

    #[test]
    fn old_lines_are_understood() {
        for (line, complaints) in [
            ("dkim_sign", 0),
            (
                "dkim_sign keys dkim algorithm rsa-sha1 dk_method nofws dkim_method relaxed \
                 selector s1 dkim_headers all",
                0,
            ),
            ("dkim_sign selector a..b", 1),
            ("dkim_sign speed 9", 1),
        ] {
            let files = Files::in_memory([
                ("dkimkeys/Example.com.private".to_string(), RSA_PKCS1.to_string()),
                ("dkimkeys/example.org.private".to_string(), ED25519_PKCS8.to_string()),
                ("dkimkeys/broken.example.private".to_string(), "x".to_string()),
                ("dkimkeys/README".to_string(), "x".to_string()),
            ]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            let setup = Setup::new(&files, &mut problems);
            load(&mut args, &setup);
            drop(setup);
            assert_eq!(args.finish().len(), complaints, "{line}");
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(told[0].starts_with("plugins:1: warning: dkim_sign signs with rsa-sha256"));
            assert!(told[1].starts_with("dkimkeys/broken.example.private: warning: its mail goes"));
        }
    }
}
