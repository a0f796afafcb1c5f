//! The older hashes of crypt(3) and its base64, which has another alphabet than everybody's and puts
//! the low bits first.

use md5::{Digest, Md5};

/// Six bits a character.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The order in which the octets of a hash are written.
const MD5_ORDER: [usize; 16] = [12, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11];
const SHA256_ORDER: [usize; 32] = [
    20, 10, 0, 11, 1, 21, 2, 22, 12, 23, 13, 3, 14, 4, 24, 5, 25, 15, 26, 16, 6, 17, 7, 27, 8, 28,
    18, 29, 19, 9, 30, 31,
];
const SHA512_ORDER: [usize; 64] = [
    42, 21, 0, 1, 43, 22, 23, 2, 44, 45, 24, 3, 4, 46, 25, 26, 5, 47, 48, 27, 6, 7, 49, 28, 29, 8,
    50, 51, 30, 9, 10, 52, 31, 32, 11, 53, 54, 33, 12, 13, 55, 34, 35, 14, 56, 57, 36, 15, 16, 58,
    37, 38, 17, 59, 60, 39, 18, 19, 61, 40, 41, 20, 62, 63,
];

/// Octets in crypt's base64.
pub(super) fn encode(octets: &[u8]) -> String {
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = three.iter().rev().fold(0, |bits, octet| bits << 8 | usize::from(*octet));
        for place in 0..=three.len() {
            let sign = ALPHABET.get(bits >> (6 * place) & 63).copied().unwrap_or_default();
            text.push(char::from(sign));
        }
    }
    text
}

/// The octets of a text in crypt's base64; None if it is none, or has stray bits.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for (place, sign) in four.iter().enumerate() {
            bits |= ALPHABET.iter().position(|it| it == sign)? << (6 * place);
        }
        for _ in 0..four.len() * 6 / 8 {
            octets.push(u8::try_from(bits & 0xFF).ok()?);
            bits >>= 8;
        }
        if bits != 0 || four.len() == 1 {
            return None;
        }
    }
    Some(octets)
}

/// All characters are of the alphabet.
pub(super) fn is_encoded(text: &str) -> bool {
    text.bytes().all(|octet| ALPHABET.contains(&octet))
}

fn ordered(octets: &[u8], order: &[usize]) -> String {
    encode(&order.iter().filter_map(|place| octets.get(*place).copied()).collect::<Vec<u8>>())
}

/// SHA-256 crypt; None if the rounds are out of the format's bounds.
pub(super) fn sha256(password: &str, salt: &str, rounds: u32) -> Option<String> {
    let params = sha_crypt::Params::new(rounds).ok()?;
    let hash = sha_crypt::sha256_crypt(password.as_bytes(), salt.as_bytes(), params);
    Some(ordered(&hash, &SHA256_ORDER))
}

/// SHA-512 crypt; None if the rounds are out of the format's bounds.
pub(super) fn sha512(password: &str, salt: &str, rounds: u32) -> Option<String> {
    let params = sha_crypt::Params::new(rounds).ok()?;
    let hash = sha_crypt::sha512_crypt(password.as_bytes(), salt.as_bytes(), params);
    Some(ordered(&hash, &SHA512_ORDER))
}

/// MD5 crypt, by Poul-Henning Kamp, 1994: what `/etc/shadow` had until SHA came in 2009.
pub(super) fn md5(password: &str, salt: &str) -> String {
    let (password, salt) = (password.as_bytes(), salt.as_bytes());
    let mixed = Md5::new().chain_update(password).chain_update(salt).chain_update(password);
    let mixed = mixed.finalize();
    let mut first = Md5::new().chain_update(password).chain_update(b"$1$").chain_update(salt);
    for place in (0..password.len()).step_by(mixed.len()) {
        first.update(mixed.iter().take(password.len() - place).copied().collect::<Vec<u8>>());
    }
    let mut bits = password.len();
    while bits > 0 {
        // The octet 0 for a set bit, the first of the password for one that is not.
        first.update(if bits & 1 == 1 { b"\0" } else { password.get(..1).unwrap_or_default() });
        bits >>= 1;
    }
    let mut hash = first.finalize();
    for round in 0..1_000 {
        let (one, other) = if round % 2 == 1 { (password, &*hash) } else { (&*hash, password) };
        let mut next = Md5::new().chain_update(one);
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        hash = next.chain_update(other).finalize();
    }
    ordered(&hash, &MD5_ORDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_written_low_bits_first() {
        for (octets, text) in [
            (&b""[..], ""),
            (b"\0", ".."),
            (b"\x01", "/."),
            (b"\xff", "z1"),
            (b"\xff\xff", "zzD"),
            (b"\x01\x02\x03", "/6k."),
            (b"\xff\xff\xff\x01", "zzzz/."),
        ] {
            assert_eq!(encode(octets), text);
            assert_eq!(decode(text).as_deref(), Some(octets), "{text}");
        }
        for text in ["a", "az", "zzz", "....a", "a=", "a$", "ä"] {
            assert_eq!(decode(text), None, "{text}");
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
    }

    #[test]
    fn every_octet_of_a_hash_is_written_once() {
        for order in [&MD5_ORDER[..], &SHA256_ORDER, &SHA512_ORDER] {
            let mut sorted = order.to_vec();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..order.len()));
        }
    }
}
