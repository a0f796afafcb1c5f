//! Making keys. Random octets come from the caller; the library that signs cannot make RSA keys, so
//! those are put together here, by FIPS 186-5 appendix A.1.3: two random primes of half the length,
//! their two highest bits set, tested by Miller and Rabin.
//!
//! This runs on an admin's terminal, once in years: it is plain rather than quick, and its time tells
//! nobody anything. What it makes is loaded by the library that signs, which checks it once more.

use crate::authn::crypto;
use crate::authn::der;
use num_bigint::BigUint;
use std::ops::RangeInclusive;
use zeroize::Zeroizing;

/// Lengths of an RSA key in bits, of which only multiples of [`RSA_STEP`] can be had.
pub const RSA_BITS: RangeInclusive<usize> = 2_048..=4_096;

/// What lengths differ by.
pub const RSA_STEP: usize = 1_024;

/// The public exponent that everybody uses.
const EXPONENT: u32 = 65_537;

/// Rounds of the test for primes. Five do for a random candidate (FIPS 186-5 table B.1); these do for
/// one that somebody chose with care.
const ROUNDS: usize = 32;

/// Candidates are divided by all primes below this first, which is cheaper.
const SMALL: u32 = 2_000;

/// Fills octets with random ones, or says why it cannot.
pub type Random<'a, E> = &'a mut dyn FnMut(&mut [u8]) -> Result<(), E>;

/// An Ed25519 key in PEM.
///
/// # Errors
/// What `random` says.
pub fn ed25519<E>(random: Random<'_, E>) -> Result<Zeroizing<String>, E> {
    let mut seed = Zeroizing::new([0; 32]);
    random(&mut *seed)?;
    Ok(crypto::ed25519_pem(&seed))
}

/// An RSA key of this many bits in PEM, PKCS#8.
///
/// # Errors
/// What `random` says.
pub fn rsa<E>(bits: usize, random: Random<'_, E>) -> Result<Zeroizing<String>, E> {
    let half = bits / 2;
    loop {
        let (p, q) = (prime(half, random)?, prime(half, random)?);
        // The larger one comes first, and both are far apart (FIPS 186-5 appendix A.1.3 step 5.4).
        let (p, q) = if p > q { (p, q) } else { (q, p) };
        if (&p - &q).bits() + 100 <= half as u64 {
            continue;
        }
        if let Some(key) = assemble(&p, &q) {
            return Ok(crypto::rsa_pem(&key));
        }
    }
}

/// The RSAPrivateKey (RFC 8017 appendix A.1.2) of two primes; None where they do not fit the exponent.
fn assemble(p: &BigUint, q: &BigUint) -> Option<Zeroizing<Vec<u8>>> {
    let one = BigUint::from(1_u32);
    let (p1, q1) = (p - &one, q - &one);
    let exponent = BigUint::from(EXPONENT);
    let private = exponent.modinv(&(&p1 * &q1))?;
    let inverse = q.modinv(p)?;
    let parts = [p * q, exponent, private.clone(), p.clone(), q.clone()];
    let parts = parts.into_iter().chain([&private % &p1, &private % &q1, inverse]);
    let mut elements = der::number(&[0]);
    for part in parts {
        elements.extend(der::number(&part.to_bytes_be()));
    }
    let key = der::element(der::SEQUENCE, &elements);
    drop(Zeroizing::new(elements));
    Some(Zeroizing::new(key))
}

/// A random prime of this many bits, the two highest and the lowest of them set.
fn prime<E>(bits: usize, random: Random<'_, E>) -> Result<BigUint, E> {
    let small = small_primes();
    let mut octets = Zeroizing::new(vec![0; bits / 8]);
    loop {
        random(&mut octets)?;
        if let Some(first) = octets.first_mut() {
            *first |= 0xc0;
        }
        if let Some(last) = octets.last_mut() {
            *last |= 1;
        }
        let candidate = BigUint::from_bytes_be(&octets);
        let is_divided = small.iter().any(|prime| &candidate % *prime == BigUint::ZERO);
        let fits = (&candidate - 1_u32) % EXPONENT != BigUint::ZERO;
        if !is_divided && fits && is_prime(&candidate, random)? {
            return Ok(candidate);
        }
    }
}

/// The test of Miller and Rabin (FIPS 186-5 appendix B.3.1) on an odd number above 4, with base 2 and
/// then random ones.
fn is_prime<E>(number: &BigUint, random: Random<'_, E>) -> Result<bool, E> {
    let (one, two) = (BigUint::from(1_u32), BigUint::from(2_u32));
    let less = number - &one;
    let twos = less.trailing_zeros().unwrap_or(0);
    let odd = &less >> twos;
    let mut octets = vec![0; number.to_bytes_be().len()];
    for round in 0..ROUNDS {
        let base = if round == 0 {
            two.clone()
        } else {
            random(&mut octets)?;
            // From 2 to the number less 2; that it is not quite even does no harm.
            BigUint::from_bytes_be(&octets) % (&less - &two) + &two
        };
        let mut power = base.modpow(&odd, number);
        if power == one || power == less {
            continue;
        }
        let mut is_witness = true;
        for _ in 1..twos {
            power = power.modpow(&two, number);
            if power == less {
                is_witness = false;
                break;
            }
        }
        if is_witness {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The odd primes below [`SMALL`].
fn small_primes() -> Vec<u32> {
    let mut primes: Vec<u32> = Vec::new();
    for number in (3..SMALL).step_by(2) {
        let divides = |prime: &&u32| number % **prime == 0;
        if primes.iter().take_while(|prime| **prime * **prime <= number).find(divides).is_none() {
            primes.push(number);
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::crypto::{KeyKind, PrivateKey};
    use std::convert::Infallible;

    /// The same octets in each run, so that a key which cannot be loaded is found again.
    fn dice(seed: u64) -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
        let mut state = seed;
        move |octets| {
            for octet in octets {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *octet = state.to_be_bytes()[3];
            }
            Ok(())
        }
    }

    #[test]
    fn keys_that_are_made_can_sign() {
        for seed in 1..=2 {
            let Ok(pem) = rsa(2_048, &mut dice(seed));
            let key = PrivateKey::from_pem(&pem).expect("a key that the library takes");
            let public = key.public().expect("its half");
            assert_eq!((key.kind(), public.bits()), (KeyKind::Rsa, 2_048), "seed {seed}");
            let signature = key.sign(b"message").expect("a signature");
            assert!(public.verifies(b"message", &signature));
            let Ok(pem) = ed25519(&mut dice(seed));
            let key = PrivateKey::from_pem(&pem).expect("a key");
            assert_eq!(key.kind(), KeyKind::Ed25519);
        }
    }

    #[test]
    fn primes_are_told_from_others() {
        let small = small_primes();
        assert_eq!((small.len(), small.first(), small.last()), (302, Some(&3), Some(&1_999)));
        for number in (5_u32..3_000).step_by(2) {
            let Ok(found) = is_prime(&BigUint::from(number), &mut dice(7));
            let expected =
                (2..number).take_while(|it| it * it <= number).all(|it| number % it != 0);
            assert_eq!(found, expected, "{number}");
        }
        // Carmichael numbers and strong pseudoprimes to base 2.
        for number in [561_u64, 2_047, 3_277, 3_215_031_751, 3_825_123_056_546_413_051] {
            let Ok(found) = is_prime(&BigUint::from(number), &mut dice(7));
            assert!(!found, "{number}");
        }
        // 2^521 - 1 is prime, 2^521 + 1 is not.
        let power = BigUint::from(1_u32) << 521;
        assert_eq!(is_prime(&(&power - 1_u32), &mut dice(7)), Ok(true));
        assert_eq!(is_prime(&(&power + 1_u32), &mut dice(7)), Ok(false));
    }

    #[test]
    fn without_random_numbers_there_is_no_key() {
        let mut none = |_: &mut [u8]| Err("none");
        assert_eq!(rsa(2_048, &mut none).err(), Some("none"));
        assert_eq!(ed25519(&mut none).err(), Some("none"));
    }
}
