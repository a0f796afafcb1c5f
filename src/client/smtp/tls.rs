//! The client's end of TLS: what is believed of a server's certificate, and a [`Transport`] that encrypts.
//!
//! Beside the server's end in `server/tls` nothing else names rustls. There is no resumption: connections
//! are kept, so a handshake is rare, and nothing has to be remembered of other people's servers.

use super::transport::Transport;
use crate::client::deadline::Deadline;
use crate::client::words;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// Octets that are encrypted or decrypted at a time: a record of the largest size and what is around it.
const PIECE: usize = 18 * 1_024;

/// Octets in clear that wait to be encrypted.
const BUFFER_MAX: usize = 64 * 1_024;

/// Whose certificate is taken for that of a server.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Anybody's: what is sent cannot be read on the way by who only listens.
    ///
    /// # Errors
    /// In words, if the library has no protocol to speak.
    pub fn with_anybody() -> Result<Tls, String> {
        let provider = Arc::new(default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let verifier = Arc::new(Anybody(provider));
        let config = builder.dangerous().with_custom_certificate_verifier(verifier);
        Ok(Tls::of(config.with_no_client_auth()))
    }

    /// That of the server's name, signed by one of these (PEM). Certificates that no library can use are
    /// passed over, as the bundles of old systems have some.
    ///
    /// # Errors
    /// In words: none of them is of use.
    pub fn trusting(pem: &str) -> Result<Tls, String> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
        let (usable, _) = roots.add_parsable_certificates(certificates);
        if usable == 0 {
            return Err("there is no CA certificate in it (PEM)".into());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        Ok(Tls::of(config.with_no_client_auth()))
    }

    fn of(mut config: ClientConfig) -> Tls {
        config.resumption = Resumption::disabled();
        Tls(Arc::new(config))
    }

    /// The handshake with a server of this name or address.
    ///
    /// # Errors
    /// In words why there is no TLS. The connection is of no more use.
    pub(in crate::client) fn start(
        &self,
        host: &str,
        inner: Box<dyn Transport>,
        deadline: Deadline,
    ) -> Result<Encrypted, String> {
        let name = ServerName::try_from(host).map_err(|_| "no certificate has such a name")?;
        let mut tls = ClientConnection::new(Arc::clone(&self.0), name.to_owned())
            .map_err(|error| error.to_string())?;
        tls.set_buffer_limit(Some(BUFFER_MAX));
        let mut encrypted = Encrypted { tls, inner };
        while encrypted.tls.is_handshaking() {
            encrypted.flush(deadline).map_err(|error| words(&error))?;
            if encrypted.tls.is_handshaking()
                && encrypted.hear(deadline).map_err(|error| reason(&error))? == 0
            {
                return Err("it closed the connection".into());
            }
        }
        encrypted.flush(deadline).map_err(|error| words(&error))?;
        Ok(encrypted)
    }
}

/// What rustls says, where it was its word.
fn reason(error: &io::Error) -> String {
    match error.get_ref().map(ToString::to_string) {
        Some(said) => said,
        None => words(error).to_string(),
    }
}

/// A connection under TLS.
pub(in crate::client) struct Encrypted {
    tls: ClientConnection,
    inner: Box<dyn Transport>,
}

impl Encrypted {
    /// Waits for octets and decrypts them; 0 is the end.
    fn hear(&mut self, deadline: Deadline) -> io::Result<usize> {
        let mut buffer = vec![0; PIECE];
        let count = self.inner.receive(&mut buffer, deadline)?;
        let said = buffer.get(..count).unwrap_or_default();
        if let Err(error) = self.decrypt(said) {
            // The server is told why, if it still listens.
            let _told = self.flush(deadline);
            return Err(error);
        }
        Ok(count)
    }

    fn decrypt(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            self.tls.read_tls(&mut octets)?;
            self.tls.process_new_packets().map_err(|error| io::Error::other(cause(&error)))?;
        }
        Ok(())
    }

    /// Sends what is encrypted.
    fn flush(&mut self, deadline: Deadline) -> io::Result<()> {
        while self.tls.wants_write() {
            let mut octets = Vec::new();
            self.tls.write_tls(&mut octets)?;
            let mut rest = octets.as_slice();
            while !rest.is_empty() {
                match self.inner.send(rest, deadline)? {
                    0 => return Err(ErrorKind::WriteZero.into()),
                    count => rest = rest.get(count..).unwrap_or_default(),
                }
            }
        }
        Ok(())
    }
}

/// Without the times and names that rustls adds: the words may be told to a client.
fn cause(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(what) => {
            let what = format!("{what:?}");
            let end = what.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(what.len());
            let (what, _) = what.split_at_checked(end).unwrap_or((&what, ""));
            format!("its certificate is not believed: {what}")
        }
        other => other.to_string(),
    }
}

impl Transport for Encrypted {
    fn receive(&mut self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            self.flush(deadline)?;
            if self.hear(deadline)? == 0 {
                return Ok(0);
            }
        }
    }

    fn send(&mut self, octets: &[u8], deadline: Deadline) -> io::Result<usize> {
        let count = self.tls.writer().write(octets)?;
        self.flush(deadline)?;
        Ok(count)
    }

    fn arrived(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            let mut octets = vec![0; PIECE];
            let count = self.inner.arrived(&mut octets)?;
            if count == 0 {
                return Ok(0);
            }
            self.decrypt(octets.get(..count).unwrap_or_default())?;
        }
    }
}

/// Takes any certificate. That its key signed the handshake is checked all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
