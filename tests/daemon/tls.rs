//! TLS end to end: what senders and admins bring, and what goes wrong with it.

mod clients;
mod failures;
mod formats;
mod hostile;
mod keys;
mod logins;
mod reload;
mod testssl;
mod wire;

use crate::daemon::house::House;
use crate::dialogue::tls::config;
use mailreeve::server::clock::unix;
use mailreeve::server::tls::self_signed;
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore};
use std::fs;
use std::sync::Arc;

/// A client that believes anybody.
fn believer() -> Arc<ClientConfig> {
    Arc::new(config(ALL_VERSIONS).unwrap())
}

/// A client that believes nobody.
fn unbeliever() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

impl House {
    /// Writes a certificate that signs itself and its key to `cert.pem` and `key.pem`, and names them.
    pub(crate) fn certify(&self) {
        let (certificate, key) = self_signed(&["mx.example.net".to_string()], unix()).unwrap();
        fs::write(self.path("cert.pem"), certificate).unwrap();
        fs::write(self.path("key.pem"), key).unwrap();
        self.set("tls_cert", "cert.pem");
        self.set("tls_key", "key.pem");
    }
}
