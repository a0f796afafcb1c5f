//! Both ends of TLS in memory: what is negotiated, what is refused, what a certificate gives.

use super::*;
use crate::config::files::Files;
use crate::plugin::Secure;
use rustls::client::danger::{HandshakeSignatureValid as Signed, ServerCertVerified};
use rustls::client::{ClientConnection, Resumption};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Mutex;

const NOW: Duration = Duration::from_secs(1_795_000_000);

/// A socket in memory, of which one side is read in pieces.
#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    piece: usize,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.to_server.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = buffer.len().min(self.piece);
        self.to_server.read(&mut buffer[..most])
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.to_client.write(octets)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client that believes anybody, and notes which certificate it saw.
#[derive(Debug)]
struct Believer(Mutex<Vec<u8>>);

impl rustls::client::danger::ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().expect("one thread") = end.to_vec();
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<Signed, rustls::Error> {
        Ok(Signed::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<Signed, rustls::Error> {
        Ok(Signed::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

struct Client {
    config: ClientConfig,
    seen: Arc<Believer>,
    name: &'static str,
}

impl Client {
    fn new(change: impl FnOnce(&mut CryptoProvider)) -> Client {
        Client::with(change, None)
    }

    /// A client with a certificate of its own, perhaps.
    fn with(change: impl FnOnce(&mut CryptoProvider), own: Option<(&str, &str)>) -> Client {
        let mut provider = default_provider();
        change(&mut provider);
        let seen = Arc::new(Believer(Mutex::default()));
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(seen.clone());
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
                )
                .expect("a pair"),
        };
        Client { config, seen, name: "mx.example.com" }
    }

    /// The handshake with a server, what the client sends cut into pieces.
    fn shake(
        &self,
        server: &mut Stream,
        piece: usize,
    ) -> Result<(ClientConnection, Secure), String> {
        let name = ServerName::try_from(self.name).expect("a name");
        let config = Arc::new(self.config.clone());
        let mut client = ClientConnection::new(config, name).expect("a client");
        let mut wire = Wire { piece, ..Wire::default() };
        let mut done = None;
        for _ in 0..100_000 {
            while client.wants_write() {
                client.write_tls(&mut wire.to_server).expect("memory");
            }
            let mut readable = true;
            if done.is_none() {
                match server.handshake(&mut wire, &mut readable) {
                    Ok(Step::More) => {}
                    Ok(Step::Work(hello)) => match hello.answer() {
                        Ok(connection) => server.answered(connection),
                        Err(failure) => return Err(failure.why),
                    },
                    Ok(Step::Done(secure)) => done = Some(secure),
                    Err(failure) => return Err(failure.why),
                }
            }
            while !wire.to_client.is_empty() {
                client.read_tls(&mut wire.to_client).expect("memory");
                client.process_new_packets().map_err(|error| format!("client: {error}"))?;
            }
            if let Some(secure) = done.take_if(|_| !client.is_handshaking()) {
                return Ok((client, secure));
            }
        }
        Err("the handshake does not end".to_string())
    }
}

fn pem(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    self_signed(&names, NOW).expect("a certificate")
}

fn build(files: &[(&str, &str)]) -> (Option<Contexts>, Vec<String>) {
    let owned = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    let mut problems = Vec::new();
    let tls = Tls::load(&Files::in_memory(owned), None, &mut problems);
    let contexts = Contexts::build(&tls, NOW, &mut problems);
    (contexts, problems.iter().map(ToString::to_string).collect())
}

fn contexts(more: &[(&str, &str)]) -> Contexts {
    let (certificate, key) = pem(&["mx.example.com"]);
    let pair =
        [("tls_cert", "c"), ("tls_key", "k"), ("c", certificate.as_str()), ("k", key.as_str())];
    let (contexts, problems) = build(&[&pair[..], more].concat());
    contexts.unwrap_or_else(|| panic!("{problems:?}"))
}

#[test]
fn both_versions_and_every_suite() {
    let server = contexts(&[]);
    let (_, secure) =
        Client::new(|_| {}).shake(&mut server.stream(false, Vec::new()), 4_096).expect("TLS");
    assert_eq!((secure.version, secure.client), ("TLS1.3", None));
    // The choice is the server's.
    let client = Client::new(|provider| provider.cipher_suites.reverse());
    let (_, secure) = client.shake(&mut server.stream(false, Vec::new()), 4_096).expect("TLS");
    assert_eq!(&*secure.cipher, "TLS_AES_256_GCM_SHA384");
    for suite in default_provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        let client = Client::new(|provider| provider.cipher_suites = vec![suite]);
        let shaken = client.shake(&mut server.stream(false, Vec::new()), 4_096);
        if name.contains("_RSA_") {
            // The certificate is one of ECDSA.
            assert!(shaken.is_err(), "{name}");
            continue;
        }
        let (_, secure) = shaken.expect(&name);
        assert_eq!(*secure.cipher, name.replace("TLS13_", "TLS_"));
        assert_eq!(secure.version, if name.contains("TLS13") { "TLS1.3" } else { "TLS1.2" });
    }
}

#[test]
fn a_handshake_may_come_in_single_octets_and_with_a_wrong_guess() {
    let server = contexts(&[]);
    Client::new(|_| {}).shake(&mut server.stream(false, Vec::new()), 1).expect("TLS");
    // A server that knows one curve, and a client that begins with another: both have to say hello
    // twice, and the signature is made behind the second.
    let (certificate, key) = pem(&["mx.example.com"]);
    let mut provider = default_provider();
    provider.kx_groups = vec![rustls::crypto::ring::kx_group::SECP384R1];
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
        )
        .expect("a pair");
    let mut stream = Stream::new(Arc::new(config), None, Vec::new());
    let (client, _) = Client::new(|_| {}).shake(&mut stream, 100).expect("TLS");
    assert_eq!(client.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
}

#[test]
fn tickets_are_for_our_own_users() {
    let tickets = |contexts: &Contexts, users: bool| {
        let mut client = Client::new(|_| {});
        client.config.resumption = Resumption::in_memory_sessions(8);
        let kind = |client: &Client| {
            let (shaken, _) =
                client.shake(&mut contexts.stream(users, Vec::new()), 4_096).expect("TLS");
            shaken.handshake_kind()
        };
        kind(&client);
        kind(&client) == Some(HandshakeKind::Resumed)
    };
    let server = contexts(&[]);
    assert!(!tickets(&server, false));
    assert!(tickets(&server, true));
    assert!(tickets(&contexts(&[("tls_tickets", "1")]), false));
}

#[test]
fn each_name_has_its_certificate() {
    let (other, other_key) = pem(&["mail.example.org"]);
    let server = contexts(&[
        ("tls_certs/mail.example.org.crt", &other),
        ("tls_certs/mail.example.org.key", &other_key),
    ]);
    for (asked, shown) in [
        ("mx.example.com", "mx.example.com"),
        ("mail.example.org", "mail.example.org"),
        ("MAIL.example.org", "mail.example.org"),
        ("nobody.example", "mx.example.com"),
        ("192.0.2.1", "mx.example.com"),
    ] {
        let client = Client { name: asked, ..Client::new(|_| {}) };
        client.shake(&mut server.stream(false, Vec::new()), 4_096).expect("TLS");
        let seen = client.seen.0.lock().expect("one thread").clone();
        let name = certificate::Certificate::parse(&seen).and_then(|it| it.name());
        assert_eq!(name.as_deref(), Some(shown), "{asked}");
    }
}

#[test]
fn who_wants_another_protocol_is_sent_away() {
    let server = contexts(&[]);
    for (alpn, good) in [(vec![b"smtp".to_vec()], true), (vec![b"http/1.1".to_vec()], false)] {
        let mut client = Client::new(|_| {});
        client.config.alpn_protocols = alpn;
        assert_eq!(client.shake(&mut server.stream(true, Vec::new()), 4_096).is_ok(), good);
    }
}

#[test]
fn a_client_certificate_is_taken_and_judged() {
    let (own, own_key) = pem(&["scanner.example.com"]);
    let (stranger, stranger_key) = pem(&["stranger.example.org"]);
    // What signs itself is its own CA.
    let server = contexts(&[("tls_ca", "ca"), ("ca", &own)]);
    let (_, secure) =
        Client::new(|_| {}).shake(&mut server.stream(false, Vec::new()), 4_096).expect("TLS");
    assert_eq!(secure.client, None);
    for (pair, name) in [
        ((own.as_str(), own_key.as_str()), "scanner.example.com"),
        ((stranger.as_str(), stranger_key.as_str()), "stranger.example.org"),
    ] {
        let client = Client::with(|_| {}, Some(pair));
        let (_, secure) = client.shake(&mut server.stream(false, Vec::new()), 4_096).expect("TLS");
        let shown = secure.client.expect("a certificate");
        assert_eq!(&*shown.name, name);
        assert_eq!(shown.fingerprint.len(), 64);
        assert!(!shown.trusted || name.starts_with("scanner"));
    }
}

#[test]
fn what_cannot_be_offered_is_told() {
    let (certificate, key) = pem(&["mx.example.com"]);
    let (_, other_key) = pem(&["mx.example.com"]);
    for (certificate, key, what) in [
        (&*certificate, &*other_key, "tls_cert:1: k is not the key of c"),
        ("nothing", &*key, "tls_cert:1: c: there is no certificate in it (PEM)"),
        (&*certificate, "nothing", "tls_cert:1: k: there is no key in it (PEM"),
    ] {
        let (contexts, problems) =
            build(&[("tls_cert", "c"), ("tls_key", "k"), ("c", certificate), ("k", key)]);
        assert!(contexts.is_none() && problems.len() == 1, "{problems:?}");
        assert!(problems[0].starts_with(what), "{problems:?}");
    }
}

/// In memory, what cannot be read is a folder.
#[test]
fn a_new_certificate_beside_a_key_that_cannot_be_read_changes_nothing() {
    let (certificate, key) = pem(&["mx.example.com"]);
    let (other, _) = pem(&["new.example.com"]);
    let load = |earlier: Option<&Tls>, certificate: &str, key: (&str, &str)| {
        let files = [("tls_cert", "c"), ("tls_key", "k"), ("c", certificate), key];
        let owned = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let mut problems = Vec::new();
        let tls = Tls::load(&Files::in_memory(owned), earlier, &mut problems);
        let contexts = Contexts::build(&tls, NOW, &mut problems).expect("TLS");
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        (tls, contexts, problems)
    };
    let shown = |contexts: &Contexts| {
        let client = Client::new(|_| {});
        client.shake(&mut contexts.stream(false, Vec::new()), 4_096).expect("TLS");
        let seen = client.seen.0.lock().expect("one thread").clone();
        certificate::Certificate::parse(&seen).and_then(|it| it.name())
    };
    let (start, _, _) = load(None, &certificate, ("k", &key));
    let (_, contexts, problems) = load(Some(&start), &other, ("k/folder", ""));
    assert_eq!(shown(&contexts).as_deref(), Some("mx.example.com"));
    assert!(problems[0].contains("k: is a folder, not a file: what was read of it before is used"));
    assert_eq!(
        problems[1..],
        [
            "tls_cert:1: warning: k is not the key of c: the two as they were read before are used on"
        ]
    );
    // What belongs to the key as it was is taken over.
    let (_, contexts, problems) = load(Some(&start), &certificate, ("k/folder", ""));
    assert_eq!((shown(&contexts).is_some(), problems.len()), (true, 1));
}

#[test]
fn an_end_that_is_near_is_told() {
    let server = contexts(&[]);
    assert!(server.ending(NOW).is_empty());
    let day = Duration::from_secs(86_400);
    // Ten years from the first of the year.
    let end = day * 24_106;
    let told = |at| server.ending(at).iter().map(ToString::to_string).collect::<Vec<_>>();
    let soon = "tls_cert:1: warning: c: the certificate expires in 3 days: renew it";
    assert_eq!(told(end - day * 3), [soon]);
    assert_eq!(told(end - day * 14), Vec::<String>::new());
    assert_eq!(told(end), ["tls_cert:1: warning: c: the certificate has expired: renew it"]);
}

#[test]
fn no_octets_in_place_of_a_handshake_confuse_it() {
    let server = contexts(&[]);
    for octets in [&b"QUIT\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff], &[0x80; 64]] {
        let mut stream = server.stream(false, Vec::new());
        let mut wire = Wire { piece: 7, ..Wire::default() };
        wire.to_server.extend(octets.iter().cycle().take(100_000));
        let mut readable = true;
        let failed = (0..100).any(|_| stream.handshake(&mut wire, &mut readable).is_err());
        assert!(failed, "{octets:?}");
    }
}
