//! TLS and AUTH of a visit: what is offered, and what it changes.

use super::{EnvParts, Surroundings, Visit};
use crate::authn::scram::Keys;
use crate::config::types::Role;
use crate::limits;
use crate::plugin::chain::{Chain, Observed, observe};
use crate::plugin::facts::{Naughty, Secure};
use crate::plugin::log::{Level, foreign};
use crate::plugin::{Hook, Lane};
use crate::smtp::auth::{Credentials, Mechanism};
use crate::smtp::proxy::Introduction;
use crate::smtp::session::{Auth, Call, KeyStore, NO_KEYS, Tls};
use crate::smtp::verdict::Verdict;
use std::sync::Arc;
use std::time::Duration;

/// What the shell around a visit can do for its client. Without one neither TLS nor AUTH is offered.
#[derive(Clone, Copy)]
pub struct Offer {
    /// There is a certificate, and nothing speaks against STARTTLS with this client.
    pub starttls: bool,
    /// What the listener is for.
    pub role: Role,
    /// Logins that failed lately from the client's network.
    pub login_failures: u32,
    /// Octets that nobody can guess and that are never used again.
    pub nonce: fn() -> [u8; 18],
    /// A secret of this process.
    pub secret: fn() -> [u8; 32],
}

/// What HELO brought about, which is taken back by STARTTLS.
#[derive(Clone, Default)]
pub(super) struct BeforeHello {
    naughty: Option<Box<Naughty>>,
    karma: i32,
}

/// What a login brought about, which is taken back by STARTTLS.
pub(super) struct BeforeLogin {
    relay: bool,
    chain: Arc<Chain>,
}

impl Visit {
    /// Says what can be offered to this client.
    pub fn offer(&mut self, offer: Offer) {
        self.facts.role = offer.role;
        self.offer = Some(offer);
        self.chain = self.served_by(&self.chain);
    }

    /// The handshake is done: on a connection that begins with it, or behind STARTTLS.
    pub fn tls_started(&mut self, secure: Secure) {
        let client = secure.client.as_ref().map(|client| {
            let trusted = if client.trusted { "" } else { ", not of our CA" };
            format!(", certificate of {}{trusted}", foreign(client.name.as_bytes()))
        });
        let client = client.unwrap_or_default();
        let text = format!("TLS started: {} {}{client}", secure.version, secure.cipher);
        self.line(Level::Info, text);
        self.facts.tls = Some(Box::new(secure));
        if let Some(before) = self.before_hello.take() {
            self.facts.naughty = before.naughty;
            self.facts.karma = before.karma;
        }
        if let Some(before) = self.before_login.take() {
            self.facts.relay = before.relay;
            self.facts.user = None;
            self.chain = before.chain;
        }
        self.session.tls_started();
    }

    /// What HELO makes plugins find out about the name is forgotten with the name.
    pub(super) fn remember_before_hello(&mut self) {
        if self.tls() == Tls::Offered && self.before_hello.is_none() {
            let (naughty, karma) = (self.facts.naughty.clone(), self.facts.karma);
            self.before_hello = Some(Box::new(BeforeHello { naughty, karma }));
        }
    }

    fn tls(&self) -> Tls {
        match &self.offer {
            _ if self.facts.tls.is_some() => Tls::Active,
            Some(offer) if offer.starttls => Tls::Offered,
            _ => Tls::None,
        }
    }

    /// How long the answer to a failed login takes: a second, then twice as long each time.
    pub(super) fn login_delay(&self, verdict: &Verdict) -> Option<Duration> {
        let failed = !matches!(verdict, Verdict::Ok(_) | Verdict::DenySoft(_));
        if !failed || !matches!(self.session.call(), Some(Call::Auth(_))) {
            return None;
        }
        let before = self.login_failures.saturating_add(self.offer?.login_failures);
        let seconds = 1_u64 << before.min(5);
        Some(Duration::from_secs(seconds).min(limits::LOGIN_DELAY_MAX))
    }

    /// A plugin knows the user: he may relay, what his address was condemned for is forgotten, and the
    /// list `local` serves him from now on.
    pub(super) fn logged_in(&mut self, around: &Surroundings<'_>) {
        let Some(Call::Auth(credentials)) = self.session.call() else { return };
        let Credentials { user, mechanism, .. } = credentials;
        let text = format!("{} login as {}", mechanism.name(), foreign(user.as_bytes()));
        self.facts.user = Some(user.clone());
        self.facts.mechanism = Some(mechanism.name());
        self.line(Level::Notice, text);
        self.before_login =
            Some(Box::new(BeforeLogin { relay: self.facts.relay, chain: Arc::clone(&self.chain) }));
        self.facts.relay = true;
        if self.facts.naughty.take().is_some() {
            self.line(Level::Info, "auth success cleared naughty".to_string());
        }
        self.drop_prefetched();
        let chain = Arc::clone(&self.chain);
        observe(&chain, self, Observed::Authenticated, around.now);
        let local = self.site.peers.as_ref().and_then(|peers| peers.local());
        if let Some(local) = local.and_then(|name| self.site.list(name)) {
            self.chain = self.served_by(local);
        }
    }

    /// The list as it serves this client.
    pub(super) fn served_by(&self, chain: &Arc<Chain>) -> Arc<Chain> {
        if self.facts.role.submission { chain.for_users() } else { Arc::clone(chain) }
    }

    /// The service that the visit is going to wait for on a lane: a number for each plugin. A login has
    /// none, so that no scanner that hangs keeps people from it. With the writers it is the queue from
    /// the first: what begins there as a message's header goes through to the queue on the same thread.
    pub fn service(&self, lane: Lane) -> Option<u64> {
        match lane {
            Lane::Workers => return None,
            Lane::Writers => return self.chain.waits_for_others(),
            Lane::Scanners => {}
        }
        let invocation = self.invocation.as_ref()?;
        let loaded = invocation.current()?;
        (invocation.hook() != Hook::Auth).then_some(loaded.key)
    }

    /// Who a proxy in front of us says that its client is.
    pub fn introduction(&self) -> Option<&Introduction> {
        self.session.introduction()
    }

    /// How the connection is encrypted: what stays of it for the client that a proxy names.
    pub fn secure(&self) -> Option<&Secure> {
        self.facts.tls.as_deref()
    }

    /// A proxy in front of us has asked for a password itself, and believes this user.
    pub fn believe(&mut self, user: &str) {
        self.session.log_in(user);
        self.facts.user = Some(user.into());
        self.facts.mechanism = Some("XCLIENT");
        self.facts.relay = true;
        self.line(Level::Notice, format!("XCLIENT login as {}", foreign(user.as_bytes())));
    }

    /// Whether a user may send in somebody else's name.
    pub(super) fn sender_of_another(&mut self) -> Option<Verdict> {
        let Some(Call::Mail(mail)) = self.session.call() else { return None };
        let user = self.facts.user.as_deref()?;
        let sender = mail.reverse_path.address()?;
        if self.site.config.senders.allows(user, sender) {
            return None;
        }
        let text = format!(
            "fail, {} may not send as {}",
            foreign(user.as_bytes()),
            foreign(sender.to_string().as_bytes())
        );
        let refusal = format!("Sender address rejected: not owned by user {user}");
        self.line(Level::Notice, text);
        Some(Verdict::deny((7, 1), refusal))
    }

    /// Logins that failed since the last call.
    pub fn take_login_failures(&mut self) -> u32 {
        std::mem::take(&mut self.login_failures_untold)
    }

    pub(super) fn security(&self) -> Security {
        let Some(offer) = self.offer else { return Security::default() };
        Security {
            proxy: self.site.config.xclient_hosts.contains(self.peer.ip).is_some(),
            tls: self.tls(),
            mechanisms: mechanisms(&self.chain, self),
            chain: Some(Arc::clone(&self.chain)),
            offer: Some(offer),
        }
    }
}

/// The mechanisms that some plugin can check, in a fixed order.
fn mechanisms(chain: &Chain, visit: &Visit) -> Vec<Mechanism> {
    if !chain.has(Hook::Auth) {
        return Vec::new();
    }
    let of_plugin = |mechanism: &Mechanism| {
        chain.plugins().iter().any(|loaded| {
            loaded.plugin.mechanisms(&visit.peer, visit.facts.role).contains(mechanism)
        })
    };
    Mechanism::ALL.into_iter().filter(of_plugin).collect()
}

/// What an environment of the session borrows from.
#[derive(Default)]
pub(super) struct Security {
    pub(super) proxy: bool,
    pub(super) tls: Tls,
    mechanisms: Vec<Mechanism>,
    chain: Option<Arc<Chain>>,
    offer: Option<Offer>,
}

impl EnvParts {
    pub(super) fn auth(&self) -> Auth<'_> {
        let Security { mechanisms, offer, .. } = &self.security;
        let Some(offer) = offer else { return Auth::NONE };
        let many = offer.login_failures >= limits::LOGIN_FAILURES_OF_NETWORK;
        Auth {
            mechanisms,
            needs_tls: self.site.config.tls.before_auth,
            required: offer.role.submission,
            attempts: if many { 1 } else { limits::LOGIN_FAILURES_MAX },
            keys: &self.security,
            nonce: offer.nonce,
        }
    }
}

impl KeyStore for Security {
    fn keys(&self, user: &str) -> Keys {
        let plugins = self.chain.iter().flat_map(|chain| chain.plugins());
        let found = plugins.into_iter().find_map(|loaded| loaded.plugin.scram_keys(user));
        found.unwrap_or_else(|| match self.offer {
            Some(offer) => Keys::decoy(&(offer.secret)(), user),
            None => NO_KEYS.keys(user),
        })
    }
}
