//! TLS end to end: what senders and admins bring, and what goes wrong with it.

mod clients;
mod formats;
mod keys;
mod reload;

use crate::daemon::house::House;
use crate::dialogue::tls::config;
use mailreeve::server::clock::unix;
use mailreeve::server::tls::self_signed;
use rustls::{ALL_VERSIONS, ClientConfig};
use std::fs;
use std::sync::Arc;

/// A client that believes anybody.
fn believer() -> Arc<ClientConfig> {
    Arc::new(config(ALL_VERSIONS).unwrap())
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
