//! Hashes, signatures and keys: the one place that names the library they come from.
//!
//! RSA is PKCS#1 v1.5 with SHA-256 and Ed25519 is PureEdDSA, since that is what DKIM signs with (RFC
//! 6376 section 3.3, RFC 8463). A public key is held to its bounds before any arithmetic, for its
//! owner is whoever publishes a record; a private key is checked as a whole when it is loaded, so that
//! a broken one is told then and not by the receivers of mail.

use crate::authn::der::{self, Reader};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ED25519, Ed25519KeyPair, KeyPair, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};
use ring::{digest, error};
use std::fmt;
use zeroize::Zeroizing;

/// Bits of an RSA key whose signatures count: shorter ones are forged at little cost (RFC 8301
/// section 3.2), longer ones only make receivers work.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 1_024..=4_096;

/// Octets of the text of a private key; RSA of 16,384 bits has less.
const PEM_MAX: usize = 16 * 1_024;

/// rsaEncryption (RFC 8017 appendix A.1), as the content of an OBJECT IDENTIFIER.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// id-Ed25519 (RFC 8410 section 3), as the content of an OBJECT IDENTIFIER.
const ED25519_ID: &[u8] = &[0x2b, 0x65, 0x70];

/// A SHA-256 hash.
pub type Sha256Hash = [u8; 32];

/// SHA-256 (FIPS 180-4) of octets that come in pieces.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// Of nothing so far.
    pub fn new() -> Sha256 {
        Sha256(digest::Context::new(&digest::SHA256))
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> Sha256Hash {
        hash_of(&self.0.finish())
    }
}

impl Default for Sha256 {
    fn default() -> Sha256 {
        Sha256::new()
    }
}

/// SHA-256 of octets that are all there.
pub fn sha256(octets: &[u8]) -> Sha256Hash {
    hash_of(&digest::digest(&digest::SHA256, octets))
}

fn hash_of(digest: &digest::Digest) -> Sha256Hash {
    let mut hash = [0; 32];
    for (place, octet) in hash.iter_mut().zip(digest.as_ref()) {
        *place = *octet;
    }
    hash
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, PKCS#1 v1.5.
    Rsa,
    /// Ed25519.
    Ed25519,
}

/// A public key, not yet used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Modulus and exponent, the most significant octet first and not 0.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
    },
    /// The point, compressed (RFC 8032 section 5.1.2).
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// An RSA key from DER: a SubjectPublicKeyInfo, as everybody publishes it, or the bare RSAPublicKey
    /// that RFC 6376 section 3.6.1 speaks of. None where it is neither.
    pub fn rsa_from_der(octets: &[u8]) -> Option<PublicKey> {
        let mut outer = Reader::new(octets);
        let inside = outer.take(der::SEQUENCE).filter(|_| outer.is_empty())?;
        let mut reader = Reader::new(inside);
        if let Some(algorithm) = reader.take(der::SEQUENCE) {
            if Reader::new(algorithm).take(der::OBJECT)? != RSA_ENCRYPTION {
                return None;
            }
            let bits = reader.take(der::BIT_STRING).filter(|_| reader.is_empty())?;
            let mut key = Reader::new(bits.strip_prefix(&[0])?);
            reader = Reader::new(key.take(der::SEQUENCE)?);
        }
        let (modulus, exponent) = (reader.number()?, reader.number()?);
        if modulus.is_empty() || exponent.is_empty() || !reader.is_empty() {
            return None;
        }
        Some(PublicKey::Rsa { modulus: modulus.into(), exponent: exponent.into() })
    }

    /// An Ed25519 key from its 32 octets (RFC 8463 section 4.2).
    pub fn ed25519(octets: &[u8]) -> Option<PublicKey> {
        octets.try_into().ok().map(PublicKey::Ed25519)
    }

    /// A public key from a PEM block `PUBLIC KEY` or `RSA PUBLIC KEY`.
    ///
    /// # Errors
    /// Why the text is not one.
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        let (label, octets) = pem(text)?;
        let found = match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {
                PublicKey::rsa_from_der(&octets).or_else(|| ed25519_from_der(&octets))
            }
            _ => return Err(KeyError::Label(label.chars().take(40).collect())),
        };
        found.ok_or(KeyError::Broken)
    }

    /// What it signs with.
    pub fn kind(&self) -> KeyKind {
        match self {
            PublicKey::Rsa { .. } => KeyKind::Rsa,
            PublicKey::Ed25519(_) => KeyKind::Ed25519,
        }
    }

    /// Its length: that of the modulus, or 256.
    pub fn bits(&self) -> usize {
        match self {
            PublicKey::Rsa { modulus, .. } => {
                let zeros = modulus.first().map_or(0, |octet| octet.leading_zeros() as usize);
                modulus.len() * 8 - zeros
            }
            PublicKey::Ed25519(_) => 256,
        }
    }

    /// The octets that a DKIM key record has in `p=`: SubjectPublicKeyInfo of RSA, the bare point of
    /// Ed25519.
    pub fn for_record(&self) -> Vec<u8> {
        match self {
            PublicKey::Rsa { .. } => self.to_der(),
            PublicKey::Ed25519(point) => point.to_vec(),
        }
    }

    /// A PEM block `PUBLIC KEY`, as `openssl rsa -pubout` writes it.
    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", &self.to_der())
    }

    /// The SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
    fn to_der(&self) -> Vec<u8> {
        let object = |id| der::element(der::OBJECT, id);
        match self {
            PublicKey::Rsa { modulus, exponent } => {
                let null = der::element(der::NULL, b"");
                let algorithm = der::sequence(&[&object(RSA_ENCRYPTION), &null]);
                let key = der::sequence(&[&der::number(modulus), &der::number(exponent)]);
                der::sequence(&[&algorithm, &der::bit_string(&key)])
            }
            PublicKey::Ed25519(point) => {
                let algorithm = der::sequence(&[&object(ED25519_ID)]);
                der::sequence(&[&algorithm, &der::bit_string(point)])
            }
        }
    }

    /// The signature is one of this key on `message`: RSASSA-PKCS1-v1_5 with SHA-256, or PureEdDSA.
    /// Never so for an RSA key outside [`RSA_BITS`].
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified: Result<(), error::Unspecified> = match self {
            PublicKey::Rsa { modulus, exponent } => {
                if !RSA_BITS.contains(&self.bits()) {
                    return false;
                }
                let parameters = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature)
            }
            PublicKey::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

fn ed25519_from_der(octets: &[u8]) -> Option<PublicKey> {
    let mut reader = Reader::new(Reader::new(octets).take(der::SEQUENCE)?);
    let algorithm = reader.take(der::SEQUENCE)?;
    if Reader::new(algorithm).take(der::OBJECT)? != ED25519_ID {
        return None;
    }
    PublicKey::ed25519(reader.take(der::BIT_STRING)?.strip_prefix(&[0])?)
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// There is no PEM block, or more than one could be meant.
    NoPem,
    /// The block is of something else.
    Label(String),
    /// It is locked with a passphrase.
    Encrypted,
    /// It is no key, or its parts do not belong together.
    Broken,
    /// It has fewer than 2048 bits, or more than 4096; or a number that is no multiple of 1024.
    Length,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::NoPem => f.write_str("holds no key in PEM (-----BEGIN PRIVATE KEY-----)"),
            KeyError::Label(label) => write!(f, "holds a {label:?}, not a private key"),
            KeyError::Encrypted => {
                f.write_str("is locked with a passphrase; openssl pkey -in … -out … takes it away")
            }
            KeyError::Broken => f.write_str("is no RSA or Ed25519 key, or is damaged"),
            KeyError::Length => f.write_str(
                "is an RSA key of another length than 2048, 3072 or 4096 bits; make a new one \
                 with mailreeve dkim keygen",
            ),
        }
    }
}

/// A private key that can sign.
pub struct PrivateKey(Pair);

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for PrivateKey {
    /// Says what it is and nothing of its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?})", self.kind())
    }
}

impl PrivateKey {
    /// Reads a PEM block: `PRIVATE KEY` (PKCS#8, RSA or Ed25519) or `RSA PRIVATE KEY` (PKCS#1).
    ///
    /// # Errors
    /// Why the text is no key that can sign.
    pub fn from_pem(text: &str) -> Result<PrivateKey, KeyError> {
        let (label, octets) = pem(text)?;
        let pair = match label {
            "RSA PRIVATE KEY" => Pair::Rsa(rsa(RsaKeyPair::from_der(&octets))?),
            "PRIVATE KEY" => match Ed25519KeyPair::from_pkcs8_maybe_unchecked(&octets) {
                Ok(pair) => Pair::Ed25519(pair),
                Err(_) => Pair::Rsa(rsa(RsaKeyPair::from_pkcs8(&octets))?),
            },
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            _ => return Err(KeyError::Label(label.chars().take(40).collect())),
        };
        Ok(PrivateKey(pair))
    }

    /// What it signs with.
    pub fn kind(&self) -> KeyKind {
        match &self.0 {
            Pair::Rsa(_) => KeyKind::Rsa,
            Pair::Ed25519(_) => KeyKind::Ed25519,
        }
    }

    /// The public half.
    pub fn public(&self) -> Option<PublicKey> {
        match &self.0 {
            Pair::Rsa(pair) => PublicKey::rsa_from_der(pair.public_key().as_ref()),
            Pair::Ed25519(pair) => PublicKey::ed25519(pair.public_key().as_ref()),
        }
    }

    /// A signature on `message`, as [`PublicKey::verifies`] wants it. None where the library fails,
    /// which it does for want of memory at most.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Pair::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// Gives the library's refusals words that an admin can act on.
fn rsa(pair: Result<RsaKeyPair, error::KeyRejected>) -> Result<RsaKeyPair, KeyError> {
    pair.map_err(|why| match why.to_string().as_str() {
        "TooSmall" | "TooLarge" | "PrivateModulusLenNotMultipleOf512Bits" => KeyError::Length,
        _ => KeyError::Broken,
    })
}

/// The seed of an Ed25519 key as PKCS#8 in PEM (RFC 8410 section 7), as `openssl genpkey` writes it.
pub fn ed25519_pem(seed: &[u8; 32]) -> Zeroizing<String> {
    let algorithm = der::sequence(&[&der::element(der::OBJECT, ED25519_ID)]);
    let inner = Zeroizing::new(der::element(der::OCTET_STRING, seed));
    let outer = Zeroizing::new(der::element(der::OCTET_STRING, &inner));
    let key = Zeroizing::new(der::sequence(&[&der::number(&[0]), &algorithm, &outer]));
    Zeroizing::new(to_pem("PRIVATE KEY", &key))
}

/// An RSAPrivateKey (RFC 8017 appendix A.1.2) as PKCS#8 in PEM, as `openssl genrsa` writes it.
pub fn rsa_pem(rsa_private_key: &[u8]) -> Zeroizing<String> {
    let object = der::element(der::OBJECT, RSA_ENCRYPTION);
    let algorithm = der::sequence(&[&object, &der::element(der::NULL, b"")]);
    let inner = Zeroizing::new(der::element(der::OCTET_STRING, rsa_private_key));
    let key = Zeroizing::new(der::sequence(&[&der::number(&[0]), &algorithm, &inner]));
    Zeroizing::new(to_pem("PRIVATE KEY", &key))
}

/// Label and content of the first PEM block (RFC 7468).
fn pem(text: &str) -> Result<(&str, Zeroizing<Vec<u8>>), KeyError> {
    if text.len() > PEM_MAX {
        return Err(KeyError::NoPem);
    }
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(KeyError::NoPem)?;
    let (label, rest) = rest.split_once("-----").ok_or(KeyError::NoPem)?;
    let (inside, _) = rest.split_once("-----END ").ok_or(KeyError::NoPem)?;
    // Headers are found in old keys that are locked, and nowhere else.
    if inside.contains("ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    let squeezed: Zeroizing<String> =
        Zeroizing::new(inside.chars().filter(|it| !it.is_ascii_whitespace()).collect());
    let octets = STANDARD.decode(squeezed.as_bytes()).map_err(|_| KeyError::Broken)?;
    Ok((label, Zeroizing::new(octets)))
}

fn to_pem(label: &str, octets: &[u8]) -> String {
    let encoded = Zeroizing::new(STANDARD.encode(octets));
    // Made large enough at once, so that no copy of a key is left behind by growing.
    let mut out = String::with_capacity(encoded.len() + encoded.len() / 64 + 128);
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = behind;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests;
