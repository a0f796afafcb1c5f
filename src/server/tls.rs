//! TLS: what is offered (here), one connection's encryption (`stream.rs`), what a certificate says of
//! itself (`certificate.rs`). Nothing else names rustls.
//!
//! There are two contexts of the same certificates. Port 25 gives out no session tickets, since large
//! senders break off handshakes over them, and a sender that comes once a day gains nothing by one;
//! listeners for our own users do, under keys that change by themselves and are kept nowhere.

mod certificate;
mod stream;
#[cfg(test)]
mod tests;

use crate::config::files::{Line, Problem, Severity};
use crate::config::tls::{Pair, Tls};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use stream::{Answered, BROKE_OFF, Failure, Hello, Step, Stream, Taken};

/// A certificate that ends sooner is warned of.
const WARN_AHEAD: Duration = Duration::from_secs(14 * 86_400);

/// What a server may be asked for by ALPN: with another protocol in mind a client is sent away, so
/// that nobody can use us against a web site of the same name.
const ALPN: &[u8] = b"smtp";

/// TLS as a snapshot of the configuration wants it.
pub struct Contexts {
    public: Arc<ServerConfig>,
    users: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Where each certificate was named, its path, its end.
    ends: Vec<(Line, String, Option<Duration>)>,
}

impl Contexts {
    /// Builds what the settings say; None without a certificate, and where something is wrong, which
    /// is added to `problems`. `now` is the time since 1970, for certificates that end soon.
    pub fn build(tls: &Tls, now: Duration, problems: &mut Vec<Problem>) -> Option<Contexts> {
        let pair = tls.default.as_ref()?;
        let before = problems.len();
        let provider = Arc::new(provider(&tls.suites));
        let mut ends = Vec::new();
        let mut certified = |pair: &Pair, problems: &mut Vec<Problem>| match usable_key(
            pair, &provider, problems,
        ) {
            Ok(key) => {
                let path = pair.certificate_path.clone();
                ends.push((pair.named.clone(), path, end_of(&key)));
                Some(Arc::new(key))
            }
            Err(what) => {
                Problem::error(&pair.named, what).note(problems);
                None
            }
        };
        let default = certified(pair, problems);
        let mut named = HashMap::new();
        for (name, pair) in &tls.named {
            if let Some(key) = certified(pair, problems) {
                named.insert(name.clone(), key);
            }
        }
        let clients = tls.client_ca.as_ref().and_then(|(line, pem)| {
            let built = client_verifier(pem, &provider);
            built.map_err(|what| Problem::error(line, what).note(problems)).ok()
        });
        let names = Arc::new(Names { default: default?, named });
        let make = |tickets: bool| server_config(tls, &provider, &names, clients.as_ref(), tickets);
        let (public, users) = match (make(tls.tickets), make(true)) {
            (Ok(public), Ok(users)) => (Arc::new(public), Arc::new(users)),
            (Err(error), _) | (_, Err(error)) => {
                Problem::error(&pair.named, format!("TLS: {error}")).note(problems);
                return None;
            }
        };
        let fresh = problems.get(before..).unwrap_or_default();
        if fresh.iter().any(|problem| problem.severity == Severity::Error) {
            return None;
        }
        let contexts = Contexts { public, users, clients, ends };
        for problem in contexts.ending(now) {
            problem.note(problems);
        }
        Some(contexts)
    }

    /// Warnings of certificates that have ended, or will within 14 days.
    pub fn ending(&self, now: Duration) -> Vec<Problem> {
        let warning = |(named, path, end): &(Line, String, Option<Duration>)| {
            let end = (*end)?;
            if end <= now {
                let what = format!("{path}: the certificate has expired: renew it");
                return Some(Problem::warning(named, what));
            }
            let days = (end - now).as_secs() / 86_400;
            let what = format!("{path}: the certificate expires in {days} days: renew it");
            (end - now < WARN_AHEAD).then(|| Problem::warning(named, what))
        };
        self.ends.iter().filter_map(warning).collect()
    }

    /// The server's end of a new connection; `users` says that it came to a listener for our own users.
    /// `first` are octets of the client that were read already.
    pub fn stream(&self, users: bool, first: Vec<u8>) -> Stream {
        let config = if users { &self.users } else { &self.public };
        Stream::new(Arc::clone(config), self.clients.clone(), first)
    }
}

fn provider(suites: &[&str]) -> CryptoProvider {
    let mut provider = default_provider();
    if !suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            suites.contains(&name.as_str())
        });
    }
    provider
}

/// A pair, or the one before it where only a part of it could be read and that has changed: what else
/// a reload brings must not wait for it.
fn usable_key(
    pair: &Pair,
    provider: &CryptoProvider,
    problems: &mut Vec<Problem>,
) -> Result<CertifiedKey, String> {
    match (certified_key(pair, provider), &pair.before) {
        (Err(why), Some(before)) => {
            let key = certified_key(before, provider)?;
            let what = format!("{why}: the two as they were read before are used on");
            Problem::warning(&pair.named, what).note(problems);
            Ok(key)
        }
        (made, _) => made,
    }
}

fn certified_key(pair: &Pair, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let (certificate, key) = (&pair.certificate_path, &pair.key_path);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pair.certificate).collect();
    let chain = chain.map_err(|_| format!("{certificate}: the PEM in it is broken"))?;
    if chain.is_empty() {
        return Err(format!("{certificate}: there is no certificate in it (PEM)"));
    }
    let private = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|_| {
        format!("{key}: there is no key in it (PEM: PKCS#8, PKCS#1 or SEC1, not encrypted)")
    })?;
    let key_of = provider.key_provider.load_private_key(private).map_err(|_| {
        format!("{key}: only RSA from 2048 bits, ECDSA P-256 or P-384, and Ed25519 can be used")
    })?;
    let certified = CertifiedKey::new(chain, key_of);
    certified.keys_match().map_err(|_| format!("{key} is not the key of {certificate}"))?;
    Ok(certified)
}

fn end_of(key: &CertifiedKey) -> Option<Duration> {
    certificate::Certificate::parse(key.end_entity_cert().ok()?)?.not_after()
}

fn server_config(
    tls: &Tls,
    provider: &Arc<CryptoProvider>,
    names: &Arc<Names>,
    clients: Option<&Arc<dyn ClientCertVerifier>>,
    tickets: bool,
) -> Result<ServerConfig, rustls::Error> {
    let mut versions = Vec::new();
    if tls.protocols.tls13 {
        versions.push(&TLS13);
    }
    if tls.protocols.tls12 {
        versions.push(&TLS12);
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions)?;
    let builder = match clients {
        Some(inner) => builder.with_client_cert_verifier(Arc::new(Asked(Arc::clone(inner)))),
        None => builder.with_no_client_auth(),
    };
    let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(names) as _;
    let mut config = builder.with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![ALPN.to_vec()];
    // All suites are good. Yet scanners call a server without a preference of its own a weak one.
    config.ignore_client_order = true;
    if tickets {
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = 1;
    } else {
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// Certificates by the name that a client asks for.
#[derive(Debug)]
struct Names {
    default: Arc<CertifiedKey>,
    named: HashMap<String, Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let found = asked.and_then(|name| self.named.get(&name));
        Some(Arc::clone(found.unwrap_or(&self.default)))
    }
}

fn client_verifier(
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "the PEM in it is broken".to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("there is no CA certificate in it: {error}"))
}

/// Asks for a certificate and takes any: mail from who has another must not be lost. What it is worth
/// is looked at behind the handshake.
struct Asked(Arc<dyn ClientCertVerifier>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

impl ClientCertVerifier for Asked {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Makes a certificate that it signs itself, for a first start: PEM of the certificate and of its key
/// (ECDSA P-256). It is good for `names` for ten years.
///
/// # Errors
/// In words what is wrong with a name.
pub fn self_signed(names: &[String], now: Duration) -> Result<(String, String), String> {
    certificate::self_signed(names, now)
}
