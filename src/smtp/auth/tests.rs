//! Exchanges as clients lead them, right and wrong.

use super::scram::{State, Turn};
use super::*;
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

const SEED: Seed<'_> = Seed { me: "mx.example.com", nonce: [0xA5; 18] };

fn coded(text: &str) -> String {
    STANDARD.encode(text)
}

fn start(mechanism: Mechanism, initial: Option<&str>) -> (Exchange, Step) {
    Exchange::start(mechanism, initial.map(str::as_bytes), &SEED)
}

fn challenge(text: &str) -> Step {
    Step::Challenge(coded(text).into_bytes().into())
}

fn password(mechanism: Mechanism, user: &str, text: &str) -> Step {
    let evidence = Evidence::Password(Password::new(text));
    Step::Check(Credentials { mechanism, user: user.into(), evidence })
}

#[test]
fn mechanisms_have_names() {
    for mechanism in Mechanism::ALL {
        assert_eq!(Mechanism::named(mechanism.name().as_bytes()), Some(mechanism));
        let lower = mechanism.name().to_ascii_lowercase();
        assert_eq!(Mechanism::named(lower.as_bytes()), Some(mechanism));
    }
    for name in ["", "PLAI", "PLAINT", "SCRAM-SHA-256-PLUS", "EXTERNAL", "PLAIN\0"] {
        assert_eq!(Mechanism::named(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn plain_messages_are_read() {
    use Failure::{Invalid, OtherIdentity};
    let full = ("u".repeat(USER_MAX), "p".repeat(PASSWORD_MAX));
    let longest = format!("\0{}\0{}", full.0, full.1);
    for (message, expected) in [
        ("\0tim\0tanstaaftanstaaf", Ok(("tim", "tanstaaftanstaaf"))),
        ("tim\0tim\0pass", Ok(("tim", "pass"))),
        ("\0a b@example.com\0p w: ä=", Ok(("a b@example.com", "p w: ä="))),
        (&longest, Ok((&*full.0, &*full.1))),
        ("root\0tim\0pass", Err(OtherIdentity)),
        ("TIM\0tim\0pass", Err(OtherIdentity)),
        ("", Err(Invalid)),
        ("tim", Err(Invalid)),
        ("\0tim", Err(Invalid)),
        ("\0tim\0", Err(Invalid)),
        ("\0\0pass", Err(Invalid)),
        ("tim\0\0pass", Err(Invalid)),
        ("\0tim\0pass\0", Err(Invalid)),
        ("\0tim\0pa\0ss", Err(Invalid)),
        ("\0tim\r\0pass", Err(Invalid)),
        ("\0ti\nm\0pass", Err(Invalid)),
        ("\0ti\tm\0pass", Err(Invalid)),
        ("\0tim\0pa\nss", Err(Invalid)),
        ("\0tim\0pa\u{7f}ss", Err(Invalid)),
        ("\0tim\0pa\u{85}ss", Err(Invalid)),
        (&format!("\0{}u\0p", full.0), Err(Invalid)),
        (&format!("\0u\0{}p", full.1), Err(Invalid)),
    ] {
        let expected = match expected {
            Ok((user, secret)) => password(Mechanism::Plain, user, secret),
            Err(failure) => Step::Fail(failure),
        };
        let (mut exchange, step) = start(Mechanism::Plain, None);
        assert_eq!(step, challenge(""));
        assert_eq!(exchange.feed(coded(message).as_bytes()), expected, "{message:?}");
        assert_eq!(exchange.feed(coded(message).as_bytes()), Step::Fail(Invalid));
        if !message.is_empty() {
            assert_eq!(start(Mechanism::Plain, Some(&coded(message))).1, expected, "{message:?}");
        }
    }
    let octets = STANDARD.encode(b"\0tim\0pa\xffss");
    assert_eq!(start(Mechanism::Plain, Some(&octets)).1, Step::Fail(Invalid));
}

#[test]
fn login_asks_twice() {
    let (mut exchange, step) = start(Mechanism::Login, None);
    assert_eq!((step, exchange.user()), (Step::Challenge((*b"VXNlcm5hbWU6").into()), None));
    assert_eq!(exchange.feed(b"dGlt"), Step::Challenge((*b"UGFzc3dvcmQ6").into()));
    assert_eq!(exchange.user(), Some("tim"));
    assert_eq!(exchange.feed(coded("pass").as_bytes()), password(Mechanism::Login, "tim", "pass"));
    assert_eq!(exchange.feed(b"cGFzcw=="), Step::Fail(Failure::Invalid));

    let (mut exchange, step) = start(Mechanism::Login, Some("dGlt"));
    assert_eq!(step, challenge("Password:"));
    assert_eq!(exchange.feed(b"cGFzcw=="), password(Mechanism::Login, "tim", "pass"));

    for initial in ["=", &coded("t\0m"), &coded("t\nm"), &coded(&"u".repeat(USER_MAX + 1))] {
        assert_eq!(start(Mechanism::Login, Some(initial)).1, Step::Fail(Failure::Invalid));
    }
    for bad in ["", &coded("pa\0ss"), &coded("pa\r\nss"), &coded(&"p".repeat(PASSWORD_MAX + 1))] {
        let (mut exchange, _) = start(Mechanism::Login, Some("dGlt"));
        assert_eq!(exchange.feed(bad.as_bytes()), Step::Fail(Failure::Invalid), "{bad}");
        assert_eq!(exchange.user(), Some("tim"));
    }
}

#[test]
fn cram_md5_answers_are_taken_apart() {
    let sent = "<a5a5a5a5a5a5a5a5a5.a5a5a5a5a5a5a5a5a5@mx.example.com>";
    let digest = "b913a602c7eda7a495b4e6e7334d3890";
    for (answer, user) in [
        (format!("tim {digest}"), Some("tim")),
        (format!("Tim Smith {}", digest.to_uppercase()), Some("Tim Smith")),
        (format!(" {digest}"), None),
        (digest.to_string(), None),
        ("tim".to_string(), None),
        ("tim ".to_string(), None),
        (String::new(), None),
        (format!("tim {digest} "), None),
        (format!("tim {digest}0"), None),
        (format!("tim {}g", &digest[..31]), None),
        (format!("ti\nm {digest}"), None),
    ] {
        let (mut exchange, step) = start(Mechanism::CramMd5, None);
        assert_eq!(step, challenge(sent));
        let expected = user.map_or(Step::Fail(Failure::Invalid), |user| {
            let mut octets = [0; 16];
            octets[..2].copy_from_slice(&[0xb9, 0x13]);
            let rest = [0xa6, 2, 0xc7, 0xed, 0xa7, 0xa4, 0x95, 0xb4, 0xe6, 0xe7, 0x33, 0x4d];
            octets[2..14].copy_from_slice(&rest);
            octets[14..].copy_from_slice(&[0x38, 0x90]);
            let evidence = Evidence::CramMd5 { challenge: sent.into(), digest: octets };
            Step::Check(Credentials { mechanism: Mechanism::CramMd5, user: user.into(), evidence })
        });
        assert_eq!(exchange.feed(coded(&answer).as_bytes()), expected, "{answer:?}");
    }
    let early = start(Mechanism::CramMd5, Some("dGlt")).1;
    assert_eq!(early, Step::Fail(Failure::InitialResponse));
    let early = start(Mechanism::CramMd5, Some("=")).1;
    assert_eq!(early, Step::Fail(Failure::InitialResponse));
}

#[test]
fn base64_is_strict_and_a_star_cancels() {
    for (line, failure) in [
        ("*", Failure::Canceled),
        ("=", Failure::Base64),
        ("==", Failure::Base64),
        ("dGl", Failure::Base64),
        ("dGk", Failure::Base64),
        ("dGk==", Failure::Base64),
        ("dGl=", Failure::Base64),
        ("dG lt", Failure::Base64),
        (" dGlt", Failure::Base64),
        ("dGlt ", Failure::Base64),
        ("dGlt\r", Failure::Base64),
        ("dGk=dGlt", Failure::Base64),
        ("d-_t", Failure::Base64),
        ("**", Failure::Base64),
        ("\u{e4}\u{e4}", Failure::Base64),
    ] {
        let (mut exchange, _) = start(Mechanism::Login, None);
        assert_eq!(exchange.feed(line.as_bytes()), Step::Fail(failure), "{line}");
        assert_eq!(exchange.feed(b"dGlt"), Step::Fail(Failure::Invalid), "{line}");
    }
    assert_eq!(start(Mechanism::Plain, Some("*")).1, Step::Fail(Failure::Base64));
}

#[test]
fn responses_have_a_bound() {
    for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256] {
        let longest = "A".repeat(RESPONSE_MAX);
        for (line, failure) in
            [(longest.clone(), Failure::Invalid), (format!("{longest}AAAA"), Failure::TooLong)]
        {
            assert_eq!(start(mechanism, Some(&line)).1, Step::Fail(failure));
            assert_eq!(start(mechanism, None).0.feed(line.as_bytes()), Step::Fail(failure));
        }
    }
}

#[test]
fn no_secret_is_shown() {
    let (mut login, _) = start(Mechanism::Login, Some("dGlt"));
    let step = login.feed(coded("geheim").as_bytes());
    let (plain, over) = start(Mechanism::Plain, Some(&coded("\0tim\0geheim")));
    let shown = format!("{login:?} {step:?} {plain:?} {over:?}");
    assert!(shown.contains("tim") && !shown.contains("geheim"), "{shown}");
    assert!(!shown.contains(&coded("geheim")[..6]), "{shown}");
    let Step::Check(Credentials { evidence: Evidence::Password(password), .. }) = step else {
        panic!("{step:?}");
    };
    assert_eq!(password.reveal(), "geheim");
}

/// The exchange of RFC 7677 section 3.
#[test]
fn scram_is_that_of_the_standard() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = Keys::derive("pencil", &salt, 4_096).unwrap();
    let state = State::First { nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into() };
    let Turn::Lookup(user, state) = state.message(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") else {
        panic!("the first message is refused");
    };
    let Turn::Say(first, state) = state.stored(&keys) else { panic!("the keys are refused") };
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    assert_eq!(&*user, "user");
    assert_eq!(first, format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
    let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let last = format!("c=biws,r={nonce},p={proof}");
    let Turn::Say(last, state) = state.message(last.as_bytes()) else { panic!("no proof") };
    assert_eq!(last, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert!(matches!(state.message(b""), Turn::Done));
}

/// A client that knows a password. `change` may spoil his last message before he proves it.
struct Client {
    header: &'static str,
    user: &'static str,
    password: &'static str,
    change: fn(&str) -> String,
}

const HONEST: Client =
    Client { header: "n,,", user: "tim", password: "pencil", change: str::to_string };

impl Client {
    /// What becomes of an exchange in which the server has `keys`.
    fn run(&self, keys: &Keys) -> Result<Credentials, Failure> {
        let bare = format!("n={},r=clientnonce", self.user);
        let initial = coded(&format!("{}{bare}", self.header));
        let (mut exchange, step) = start(Mechanism::ScramSha256, Some(&initial));
        let name = match step {
            Step::Lookup(user) => user,
            Step::Fail(failure) => return Err(failure),
            other => panic!("{other:?}"),
        };
        assert_eq!(exchange.user(), Some(&*name));
        let Step::Challenge(first) = exchange.stored(keys) else { panic!("no challenge") };
        let first = String::from_utf8(STANDARD.decode(first).unwrap()).unwrap();
        let nonce = first.strip_prefix("r=").unwrap().split(',').next().unwrap();
        assert!(nonce.starts_with("clientnonce") && nonce.len() >= 11 + 24, "{nonce}");
        let last = (self.change)(&format!("c={},r={nonce}", coded(self.header)));
        let messages = format!("{bare},{first},{last}");
        let (proof, signature) = self.prove(keys, &messages);
        let last = coded(&format!("{last},p={}", STANDARD.encode(proof)));
        match exchange.feed(last.as_bytes()) {
            Step::Challenge(text) => {
                let signature = format!("v={}", STANDARD.encode(signature));
                assert_eq!(STANDARD.decode(text).unwrap(), signature.as_bytes());
            }
            Step::Fail(failure) => return Err(failure),
            other => panic!("{other:?}"),
        }
        match exchange.feed(b"") {
            Step::Check(credentials) => Ok(credentials),
            other => panic!("{other:?}"),
        }
    }

    fn prove(&self, keys: &Keys, messages: &str) -> ([u8; 32], [u8; 32]) {
        let mac = |key: &[u8], text: &str| -> [u8; 32] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, text.as_bytes()).as_ref().try_into().unwrap()
        };
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(keys.iterations()).unwrap();
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, rounds, keys.salt(), self.password.as_bytes(), &mut salted);
        let mut proof = mac(&salted, "Client Key");
        let stored = digest::digest(&digest::SHA256, &proof);
        let signature = mac(stored.as_ref(), messages);
        proof.iter_mut().zip(signature).for_each(|(octet, other)| *octet ^= other);
        (proof, mac(&mac(&salted, "Server Key"), messages))
    }
}

#[test]
fn scram_knows_who_knows_the_password() {
    use Failure::{Invalid, OtherIdentity, WrongProof};
    let keys = Keys::derive("pencil", b"some salt", 4_096).unwrap();
    let credentials = |user: &str| Credentials {
        mechanism: Mechanism::ScramSha256,
        user: user.into(),
        evidence: Evidence::Proved,
    };
    let tim = Ok(credentials("tim"));
    for (client, expected) in [
        (HONEST, tim.clone()),
        (Client { header: "y,,", ..HONEST }, tim.clone()),
        (Client { header: "n,a=tim,", ..HONEST }, tim.clone()),
        (Client { change: |last| format!("{last},x=later,p=1"), ..HONEST }, tim),
        (Client { user: "a=2Cb=3D2C@x", ..HONEST }, Ok(credentials("a,b=2C@x"))),
        (Client { user: "tim,x=unknown", ..HONEST }, Err(Invalid)),
        (Client { password: "Pencil", ..HONEST }, Err(WrongProof)),
        (Client { header: "n,a=root,", ..HONEST }, Err(OtherIdentity)),
        (Client { header: "n,tim,", ..HONEST }, Err(Invalid)),
        (Client { header: "p=tls-unique,,", ..HONEST }, Err(Invalid)),
        (Client { header: ",,", ..HONEST }, Err(Invalid)),
        (Client { header: "n,", ..HONEST }, Err(Invalid)),
        (Client { header: "n,,m=must,", ..HONEST }, Err(Invalid)),
        (Client { user: "", ..HONEST }, Err(Invalid)),
        (Client { user: "t=im", ..HONEST }, Err(Invalid)),
        (Client { user: "t=2cim", ..HONEST }, Err(Invalid)),
        (Client { user: "t\0im", ..HONEST }, Err(Invalid)),
        // Stripping what he said of channel binding, or another exchange's nonce.
        (Client { change: |last| last.replacen("biws", "eSws", 1), ..HONEST }, Err(Invalid)),
        (Client { change: |last| last.replacen("c=", "d=", 1), ..HONEST }, Err(Invalid)),
        (Client { change: |last| last.replacen("client", "Client", 1), ..HONEST }, Err(Invalid)),
        (Client { change: |last| last[..last.len() - 1].to_string(), ..HONEST }, Err(Invalid)),
    ] {
        let shown = format!("{} {} {}", client.header, client.user, client.password);
        assert_eq!(client.run(&keys), expected, "{shown}");
    }
    assert_eq!(HONEST.run(&Keys::decoy(b"secret", "tim")), Err(WrongProof));
}

#[test]
fn scram_messages_that_are_none() {
    let keys = Keys::decoy(b"secret", "tim");
    for first in ["", "n", "n,,", "n,,n=tim", "n,,n=tim,r=", "n,,n=tim,r=\u{e4}", "n,,r=a,n=tim"] {
        let (mut exchange, step) = start(Mechanism::ScramSha256, None);
        assert_eq!(step, challenge(""));
        assert_eq!(exchange.feed(coded(first).as_bytes()), Step::Fail(Failure::Invalid), "{first}");
    }
    assert_eq!(start(Mechanism::ScramSha256, Some("=")).1, Step::Fail(Failure::Invalid));
    let long = coded(&format!("n,,n=tim,r={}", "x".repeat(257)));
    assert_eq!(start(Mechanism::ScramSha256, Some(&long)).1, Step::Fail(Failure::Invalid));
    let octets = STANDARD.encode(b"n,,n=\xff,r=a");
    assert_eq!(start(Mechanism::ScramSha256, Some(&octets)).1, Step::Fail(Failure::Invalid));

    let good = coded("n,,n=tim,r=abc");
    for last in ["", "p=AAAA", "c=biws,p=AAAA", "c=biws,r=abc", ",p=", "c=biws,r=abc,p=!"] {
        let (mut exchange, _) = start(Mechanism::ScramSha256, Some(&good));
        assert!(matches!(exchange.stored(&keys), Step::Challenge(_)));
        assert_eq!(exchange.feed(coded(last).as_bytes()), Step::Fail(Failure::Invalid), "{last}");
    }
    // Keys that nobody asked for, and a message while they are awaited.
    let (mut exchange, _) = start(Mechanism::Plain, None);
    assert_eq!(exchange.stored(&keys), Step::Fail(Failure::Invalid));
    let (mut exchange, _) = start(Mechanism::ScramSha256, Some(&good));
    assert_eq!(exchange.feed(b""), Step::Fail(Failure::Invalid));
    assert_eq!(exchange.stored(&keys), Step::Fail(Failure::Invalid));
}
