//! The key record: a tag list in a TXT record at `SELECTOR._domainkey.DOMAIN` (RFC 6376 section 3.6.1,
//! RFC 8301, RFC 8463).

use super::Reason;
use super::tags::{Tags, colon_list};
use super::text::base64;
use crate::authn::crypto::{KeyKind, PublicKey, RSA_BITS};

/// Octets of a public key that are decoded. RSA of 4096 bits has 550 of them; one that is somewhat
/// longer is told from one that is none.
const KEY_MAX: usize = 2_400;

/// A key that signatures can be checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key.
    pub key: PublicKey,
    /// `t=y`: the domain is trying DKIM out, and wants failures to be taken for no signature.
    pub testing: bool,
    /// `t=s`: the identity must be of the domain itself, not of one below it.
    pub strict: bool,
}

impl KeyRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// Why no signature on a mail can be checked with it.
    pub fn parse(text: &[u8]) -> Result<KeyRecord, Reason> {
        let tags = Tags::parse(text).map_err(|_| Reason::KeySyntax)?;
        if let Some(version) = tags.get("v")
            && (version != b"DKIM1" || tags.first() != Some(b"v"))
        {
            return Err(Reason::KeySyntax);
        }
        let lists = |tag: &str, word: &str| {
            let names =
                |value| colon_list(value).any(|it| it.eq_ignore_ascii_case(word.as_bytes()));
            tags.get(tag).map(names)
        };
        if lists("h", "sha256") == Some(false) {
            return Err(Reason::KeyHash);
        }
        if lists("s", "email") == Some(false) && lists("s", "*") == Some(false) {
            return Err(Reason::KeyService);
        }
        let kind = match tags.get("k") {
            None => KeyKind::Rsa,
            Some(name) if name.eq_ignore_ascii_case(b"rsa") => KeyKind::Rsa,
            Some(name) if name.eq_ignore_ascii_case(b"ed25519") => KeyKind::Ed25519,
            Some(_) => return Err(Reason::KeyKind),
        };
        let key = match tags.get("p") {
            None => return Err(Reason::KeySyntax),
            Some(b"") => return Err(Reason::KeyRevoked),
            Some(text) => base64(text, KEY_MAX).ok_or(Reason::KeySyntax)?,
        };
        let key = match kind {
            KeyKind::Rsa => PublicKey::rsa_from_der(&key),
            KeyKind::Ed25519 => PublicKey::ed25519(&key),
        };
        let key = key.ok_or(Reason::KeySyntax)?;
        if kind == KeyKind::Rsa {
            match key.bits() {
                bits if bits < *RSA_BITS.start() => return Err(Reason::KeyShort(bits)),
                bits if bits > *RSA_BITS.end() => return Err(Reason::KeyLong(bits)),
                _ => {}
            }
        }
        let flag = |name| lists("t", name) == Some(true);
        Ok(KeyRecord { key, testing: flag("y"), strict: flag("s") })
    }
}

/// Checks on any input: no panic, and what is read is within its bounds.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let Ok(record) = KeyRecord::parse(data) else { return };
    match &record.key {
        PublicKey::Rsa { modulus, exponent } => {
            assert!(RSA_BITS.contains(&record.key.bits()));
            assert!(!exponent.is_empty() && modulus.len() <= KEY_MAX);
        }
        PublicKey::Ed25519(_) => assert_eq!(record.key.bits(), 256),
    }
    // No signature is one on everything.
    assert!(!record.key.verifies(data, &[0; 256]) && !record.key.verifies(data, b""));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::dkim::testing::{ED25519_RECORD, RSA_RECORD};

    #[test]
    fn records() {
        const P: &str = "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        for (text, expected) in [
            (ED25519_RECORD, Ok((256, false, false))),
            (RSA_RECORD, Ok((2_048, false, false))),
            ("k=ed25519; P; ", Ok((256, false, false))),
            ("v=DKIM1;k=ed25519;P;t=y", Ok((256, true, false))),
            ("v=DKIM1;k=ed25519;P;t= s : Y:z", Ok((256, true, true))),
            ("v=DKIM1;k=ed25519;P;h=sha1:sha256;s=email", Ok((256, false, false))),
            ("v=DKIM1;k=ed25519;P;s=x:*;n=a note;zz=1;g=*", Ok((256, false, false))),
            ("v=DKIM1;k=ED25519;P", Ok((256, false, false))),
            ("v=DKIM2;k=ed25519;P", Err(Reason::KeySyntax)),
            ("k=ed25519;v=DKIM1;P", Err(Reason::KeySyntax)),
            ("v=DKIM1;k=ed25519;P;s=tlsrpt", Err(Reason::KeyService)),
            ("v=DKIM1;k=ed25519;P;h=sha1", Err(Reason::KeyHash)),
            ("v=DKIM1;k=ed2014;P", Err(Reason::KeyKind)),
            ("v=DKIM1;k=;P", Err(Reason::KeyKind)),
            ("v=DKIM1;k=rsa;P", Err(Reason::KeySyntax)),
            ("v=DKIM1;k=ed25519;p=AQID", Err(Reason::KeySyntax)),
            ("v=DKIM1;k=ed25519;p=****", Err(Reason::KeySyntax)),
            ("v=DKIM1;k=ed25519;p= ", Err(Reason::KeyRevoked)),
            ("v=DKIM1;k=ed25519", Err(Reason::KeySyntax)),
            ("v=DKIM1;k=ed25519;P;P", Err(Reason::KeySyntax)),
            ("v=DKIM1 k=ed25519 P", Err(Reason::KeySyntax)),
            ("v=spf1 -all", Err(Reason::KeySyntax)),
            ("", Err(Reason::KeySyntax)),
        ] {
            let found = KeyRecord::parse(text.replace('P', P).as_bytes());
            // The records of the first rows hold a P that is no placeholder.
            let found = if text.contains("MII") || text == ED25519_RECORD {
                KeyRecord::parse(text.as_bytes())
            } else {
                found
            };
            let found = found.map(|it| (it.key.bits(), it.testing, it.strict));
            assert_eq!(found, expected, "{text}");
            fuzz(text.as_bytes());
        }
    }

    /// A modulus of each length, in an RSAPublicKey of its own.
    #[test]
    fn lengths_of_rsa_keys() {
        use crate::authn::der;
        use base64::Engine;
        for (bits, expected) in [
            (512, Err(Reason::KeyShort(512))),
            (1_023, Err(Reason::KeyShort(1_023))),
            (1_024, Ok(1_024)),
            (4_096, Ok(4_096)),
            (4_097, Err(Reason::KeyLong(4_097))),
            (16_384, Err(Reason::KeyLong(16_384))),
            (32_768, Err(Reason::KeySyntax)),
        ] {
            let mut modulus = vec![0xff; bits / 8];
            if bits % 8 > 0 {
                modulus.insert(0, 0xff >> (8 - bits % 8));
            }
            let key = der::sequence(&[&der::number(&modulus), &der::number(&[1, 0, 1])]);
            let encoded = base64::engine::general_purpose::STANDARD.encode(key);
            let found = KeyRecord::parse(format!("v=DKIM1; p={encoded}").as_bytes());
            assert_eq!(found.map(|it| it.key.bits()), expected, "{bits}");
        }
    }
}
