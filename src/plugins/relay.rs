//! Gives clients the right to relay, by their address or by their certificate.
//!
//! `norelayclients` is asked first and wins. Both it and `relayclients` take addresses, CIDR blocks
//! (their first and last address included) and prefixes that end in a dot or colon;
//! `morerelayclients.cdb` takes addresses and prefixes. `::1` may always relay, unless
//! `norelayclients` says otherwise. The right holds for any recipient; it also exempts from content
//! and reputation checks. Put it before the plugins that such clients are spared.
//!
//! A client that shows a certificate under TLS (`tls_ca` asks for one) may relay if `relay_certs` names
//! it: by the SHA-256 of the certificate, in hex with colons or without, or by the name in it, which
//! counts only where the CA of `tls_ca` has signed it. A certificate counts from any address, those in
//! `norelayclients` too.
//!
//! Arguments:
//!   only       `1`: nobody else may send mail here at all (the old `relay_only`)
//!
//! Config files: `relayclients`, `morerelayclients.cdb`, `norelayclients`, `relay_certs`.
//!
//! Replies: with `only`, `550 5.7.1 relaying denied` to every other client's recipients.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::config::types::RelayMatch;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::Hello;
use std::sync::Arc;

struct Relay {
    only: bool,
    /// Fingerprints and names, lower case.
    certificates: Vec<String>,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let only = match args.named("only").as_deref() {
        None => args.was_called("relay_only"),
        Some("1") => true,
        Some("0") => false,
        Some(other) => {
            args.complain(format!("only {other}: use 0 or 1"));
            false
        }
    };
    let certificates = setup.lines("relay_certs");
    let certificates = certificates.iter().map(|line| identity(&line.text)).collect();
    Arc::new(Relay { only, certificates })
}

/// A fingerprint without its colons, or a name.
fn identity(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    let digits = text.replace(':', "");
    let is_digest = digits.len() == 64 && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
    if is_digest { digits } else { text }
}

impl Relay {
    /// The client has shown a certificate that is listed.
    fn by_certificate(&self, cx: &Cx<'_>) -> Option<String> {
        let client = cx.facts().tls.as_deref()?.client.as_ref()?;
        let name = client.name.to_ascii_lowercase();
        let listed = self.certificates.iter().find(|entry| {
            **entry == *client.fingerprint
                || (client.trusted && !name.is_empty() && **entry == name)
        })?;
        Some(format!("pass, certificate of {} ({listed})", foreign(client.name.as_bytes())))
    }
}

impl Plugin for Relay {
    fn hooks(&self) -> HookSet {
        let hooks = HookSet::of(&[Hook::Connect, Hook::Helo]);
        if self.only { hooks.with(Hook::Rcpt) } else { hooks }
    }

    fn gates(&self) -> bool {
        true
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        let ip = cx.peer().ip;
        let (relay, words) = match cx.config().relay.find(ip) {
            RelayMatch::Listed(entry) if entry.contains('/') => {
                (true, format!("pass, cidr match ({ip}) in {entry}"))
            }
            RelayMatch::Listed(entry) => {
                (true, format!("pass, octet match in relayclients ({entry})"))
            }
            RelayMatch::More(prefix) => {
                (true, format!("pass, octet match in morerelayclients ({prefix})"))
            }
            RelayMatch::Localhost => (true, "pass, octet matched localhost (::1)".to_string()),
            RelayMatch::Never(entry) => {
                (false, format!("fail, disabled by norelayclients ({entry})"))
            }
            RelayMatch::None => (cx.may_relay(), "skip, no match".to_string()),
        };
        let (relay, words) = match self.by_certificate(cx) {
            Some(words) if !relay => (true, words),
            _ => (relay, words),
        };
        cx.set_relay(relay);
        cx.log(Level::Info, words);
        Ok(Verdict::Declined)
    }

    /// Behind STARTTLS there is a certificate that was not there at connect.
    fn helo(&self, cx: &mut Cx<'_>, _hello: &Hello) -> Hooked {
        if !cx.may_relay()
            && let Some(words) = self.by_certificate(cx)
        {
            cx.set_relay(true);
            cx.log(Level::Info, words);
        }
        Ok(Verdict::Declined)
    }

    fn rcpt(&self, cx: &mut Cx<'_>, _recipient: &Address) -> Hooked {
        if !self.only {
            return Ok(Verdict::Unhooked);
        }
        if cx.may_relay() {
            cx.log(Level::Info, "pass, relay client");
            return Ok(Verdict::OK);
        }
        cx.log(Level::Info, "fail, only relay clients may send mail here");
        Ok(Verdict::deny((7, 1), "relaying denied"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn identities() {
        let digest = "0A:".repeat(31) + "ff";
        assert_eq!(identity(&digest), "0a".repeat(31) + "ff");
        assert_eq!(identity("Scanner.Example.com"), "scanner.example.com");
        assert_eq!(identity("0a:0b"), "0a:0b");
    }

    #[test]
    fn arguments() {
        for (line, only, complaints) in [
            ("relay", false, 0),
            ("relay only 1", true, 0),
            ("relay only=0", false, 0),
            ("check_relay", false, 0),
            ("check_norelay", false, 0),
            ("relay_only", true, 0),
            ("relay_only only 0", false, 0),
            ("relay only perhaps", false, 1),
            ("relay 1", false, 1),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            let plugin = load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(plugin.hooks().has(Hook::Rcpt), only, "{line}");
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
