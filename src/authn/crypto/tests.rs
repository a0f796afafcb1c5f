//! Keys in every wrapping, and what each refuses.

use super::*;
use crate::authn::dkim::testing::{ED25519_PKCS8, RSA_PKCS1, RSA_PKCS8, RSA_PUBLIC};

#[test]
fn hashes() {
    // FIPS 180-4, the examples.
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let hex =
        |hash: Sha256Hash| hash.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    assert_eq!((hex(sha256(b"")).as_str(), hex(sha256(b"abc")).as_str()), (empty, abc));
    let mut pieces = Sha256::default();
    pieces.update(b"a");
    let before = pieces.clone();
    pieces.update(b"bc");
    assert_eq!(pieces.finish(), sha256(b"abc"));
    assert_eq!(before.finish(), sha256(b"a"));
}

#[test]
fn each_key_signs_what_its_public_half_verifies() {
    for (pem, kind, bits) in [
        (RSA_PKCS1, KeyKind::Rsa, 2_048),
        (RSA_PKCS8, KeyKind::Rsa, 2_048),
        (ED25519_PKCS8, KeyKind::Ed25519, 256),
    ] {
        let key = PrivateKey::from_pem(pem).expect("a key");
        let public = key.public().expect("its half");
        assert_eq!((key.kind(), public.kind(), public.bits()), (kind, kind, bits));
        let signature = key.sign(b"message").expect("a signature");
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
        assert!(!public.verifies(b"message", &signature[1..]));
        assert_eq!(PublicKey::from_pem(&public.to_pem()), Ok(public.clone()));
        assert!(!format!("{key:?}").contains("MII"), "a key is never shown");
        let again = match kind {
            KeyKind::Rsa => PublicKey::rsa_from_der(&public.for_record()),
            KeyKind::Ed25519 => PublicKey::ed25519(&public.for_record()),
        };
        assert_eq!(again, Some(public));
    }
    let key = PrivateKey::from_pem(RSA_PKCS1).expect("a key");
    assert_eq!(key.public().expect("its half").to_pem(), RSA_PUBLIC, "as openssl writes it");
}

#[test]
fn a_seed_and_a_bare_rsa_key_are_wrapped_as_openssl_does() {
    let seed = STANDARD.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
    assert_eq!(*ed25519_pem(&seed.try_into().unwrap()), ED25519_PKCS8);
    let (_, pkcs1) = pem(RSA_PKCS1).unwrap();
    assert_eq!(*rsa_pem(&pkcs1), RSA_PKCS8);
}

#[test]
fn what_is_no_key_says_why() {
    let short = "-----BEGIN RSA PRIVATE KEY-----\n\
        MIICXQIBAAKBgQDOvW45Yq+FVfC0XF7qyvALPmFfnuasjxG6J2vP/SpI6k/XT4UX\n\
        D65ay3ChRuZTUZkXsM1AVnDp0l4YkL5ldCZPsqXiNynukTbVMexU6rJE/B6y8DIm\n\
        Scwry62hcONDokk5/D71gfvkiM+rYpiYx+xVqYL47DnfLUb8Iu2HqtM7+wIDAQAB\n\
        AoGAEEpE4Sixg+Qdr1iH8iBDgd9MdOhkbLxpPS3WBPGB33T3DZQqfIKzzluxaEPZ\n\
        6j7HvWIlCijFhOcamvzsw7m/OuwE6UWDpG6YufY5GoXX3FEqJdowslAmjpJ3KRaP\n\
        u4XGcFlSIc8P5m/w5//NaOMPCKZL9V3f4N+OoMr1dE++RQECQQD7/0nr3cUNgSrh\n\
        foWHp5Y2QrTBRWTlWeKAa7igswIv9al/zv0BlCRC4JbfG//Vi4aRl5BzTedIhqlC\n\
        YlDfJbbbAkEA0gYcCmjRjvR/VgcOTIQhiQ8A8VOlZAG3sbDHagaCnHdZxLFA0gS6\n\
        IkXvyzMxnIUcj6j+41hMysyZydOg0xXJYQJBAKdX274PcqlKKrC+NWxlZQI5gBGM\n\
        xLjt3NVNM7k7xusUZ3Ahg7CFsSLcRDR7QoSL+Fw820dG550pF8OmyG+3etsCQEjY\n\
        W6N0pbKqtPvWqKv7bFJIhPAvLf9Y5SjZguEQbv7sGpOxUyVFBHZcwYY+NGfwd26Q\n\
        lA+wkboJaxHouDBeryECQQC1aGJ+a1fiqs2ATATscJZ9k6ars9Xh9dWnBaGsPtHU\n\
        azRHHLbjZXJTLkm27YE+x3T2lOwph4IsSiCgWeZoeoQJ\n\
        -----END RSA PRIVATE KEY-----\n";
    let damaged = RSA_PKCS1.replacen("MII", "MIJ", 1);
    let cut = RSA_PKCS1.replacen('\n', "\nA", 2);
    for (text, why) in [
        (short, KeyError::Length),
        (&damaged, KeyError::Broken),
        (&cut, KeyError::Broken),
        ("", KeyError::NoPem),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n", KeyError::NoPem),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", KeyError::Broken),
        ("-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----\n", KeyError::Broken),
        (RSA_PUBLIC, KeyError::Label("PUBLIC KEY".to_string())),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            KeyError::Encrypted,
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n\
             -----END RSA PRIVATE KEY-----\n",
            KeyError::Encrypted,
        ),
    ] {
        assert_eq!(PrivateKey::from_pem(text).err(), Some(why), "{text}");
    }
    let giant = RSA_PKCS1.repeat(PEM_MAX / RSA_PKCS1.len() + 1);
    assert_eq!(PrivateKey::from_pem(&giant).err(), Some(KeyError::NoPem));
    assert_eq!(
        PublicKey::from_pem(RSA_PKCS1).err().map(|it| it.to_string().contains("RSA")),
        Some(true)
    );
}

/// Exponents and moduli that make forging easy, or work.
#[test]
fn odd_public_keys_verify_nothing() {
    let key = PrivateKey::from_pem(RSA_PKCS1).expect("a key");
    let signature = key.sign(b"message").expect("a signature");
    let Some(PublicKey::Rsa { modulus, exponent }) = key.public() else { panic!("an RSA key") };
    let verifies = |modulus: &[u8], exponent: &[u8]| {
        let key = PublicKey::Rsa { modulus: modulus.into(), exponent: exponent.into() };
        key.verifies(b"message", &signature)
    };
    assert!(verifies(&modulus, &exponent));
    assert!(!verifies(&modulus, &[1]));
    assert!(!verifies(&modulus, &[1, 0, 0, 0, 0, 0, 0, 0, 1]));
    assert!(!verifies(&modulus, &modulus));
    assert!(!verifies(&[0xff; 64], &exponent));
    assert!(!verifies(&[0xff; 1_024], &exponent));
    assert_eq!(PublicKey::rsa_from_der(b""), None);
    assert_eq!(PublicKey::ed25519(&[0; 31]), None);
}
