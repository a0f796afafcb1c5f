//! What an answer of a block or white list means (RFC 5782).
//!
//! A list says "listed" with an address in 127.0.0.0/8. That is not all that comes back: lists answer
//! whom they do not serve with an address of the same kind, resolvers answer names that do not exist
//! with the address of a search page, and a list that has died may belong to somebody who answers
//! everything. Whoever takes those for listings refuses all mail. So an answer is judged here, in one
//! place for every kind of list, and whatever is in doubt is an error of the list, never a listing.

use crate::dns::{Answer, Question};
use std::net::{IpAddr, Ipv4Addr};

/// Longest name that can be asked for, in octets as it is written.
const NAME_MAX: usize = 253;

/// Longest label of a name in octets.
const LABEL_MAX: usize = 63;

/// What a list said about an address or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It is listed, with these codes, at least one.
    Listed(Vec<Ipv4Addr>),
    /// It is not listed.
    NotListed,
    /// The list answers, but not to the question: this address is no code of a listing.
    ListError(IpAddr),
    /// Nobody could say.
    Unknown,
}

/// Judges the answer to a question of type A. One address that is no code spoils the whole answer:
/// who sends it does not mean what it says.
pub fn classify(answer: &Answer) -> Listing {
    match answer {
        Answer::TempFail => return Listing::Unknown,
        Answer::NoData | Answer::NxDomain => return Listing::NotListed,
        Answer::Found(_) => {}
    }
    let mut codes = Vec::new();
    for address in answer.addresses() {
        match address {
            IpAddr::V4(code) if cause(code.into()).is_none() => codes.push(code),
            _ => return Listing::ListError(address),
        }
    }
    if codes.is_empty() { Listing::NotListed } else { Listing::Listed(codes) }
}

/// Why an address is no code of a listing; None if it is one.
pub fn cause(address: IpAddr) -> Option<&'static str> {
    let IpAddr::V4(address) = address else { return Some("no list answers like this") };
    match address.octets() {
        [127, 255, 255, 252] => Some("the name of the list is misspelt"),
        [127, 255, 255, 254] => Some("asked through a public resolver"),
        [127, 255, 255, 255] => Some("too many questions"),
        [127, 255, 255, _] => Some("the list refuses to answer"),
        // URIBL and DNSWL say with these that the resolver is blocked; a list that has been given
        // up for a wildcard says the first about everybody.
        [127, 0, 0, 1 | 255] => Some("our resolver is blocked, or the list is dead"),
        [127, 0, 0, 0] => Some("a code without meaning"),
        [127, _, _, _] => None,
        _ => Some("the list is dead, or our resolver rewrites answers"),
    }
}

/// The text is a name that can be a list's: two or more labels of letters, digits, `-` and `_`.
pub fn is_zone(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    text.len() < NAME_MAX && text.contains('.') && text.split('.').all(is_label)
}

/// The question fits into DNS; a long domain below a long zone may not.
pub fn can_be_asked(question: &Question) -> bool {
    question.name.len() <= NAME_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Kind, Record};

    fn found(addresses: &[&str]) -> Answer {
        let record = |text: &&str| Record::Address(text.parse().expect("an address"));
        Answer::Found(addresses.iter().map(record).collect())
    }

    #[test]
    fn only_codes_are_listings() {
        for (addresses, listed) in [
            (&["127.0.0.2"][..], true),
            (&["127.0.0.2", "127.0.0.11"], true),
            (&["127.0.1.2"], true),
            (&["127.0.0.254"], true),
            (&["127.2.255.255"], true),
            (&["127.255.254.255"], true),
            (&["127.0.10.3"], true),
            (&[], false),
        ] {
            let codes = addresses.iter().map(|text| text.parse().expect("an address")).collect();
            let expected = if listed { Listing::Listed(codes) } else { Listing::NotListed };
            assert_eq!(classify(&found(addresses)), expected, "{addresses:?}");
        }
        // A list that cannot have meant it: the address that shows so, and why.
        for (addresses, bad, why) in [
            (&["127.255.255.252"][..], "127.255.255.252", "misspelt"),
            (&["127.255.255.254"], "127.255.255.254", "public resolver"),
            (&["127.255.255.255"], "127.255.255.255", "too many"),
            (&["127.255.255.250"], "127.255.255.250", "refuses to answer"),
            (&["127.0.0.1"], "127.0.0.1", "blocked"),
            (&["127.0.0.255"], "127.0.0.255", "blocked"),
            (&["127.0.0.0"], "127.0.0.0", "without meaning"),
            (&["93.184.216.34"], "93.184.216.34", "rewrites"),
            (&["0.0.0.0"], "0.0.0.0", "rewrites"),
            (&["126.255.255.255"], "126.255.255.255", "rewrites"),
            (&["128.0.0.2"], "128.0.0.2", "rewrites"),
            (&["::1"], "::1", "no list"),
            (&["127.0.0.2", "93.184.216.34"], "93.184.216.34", "rewrites"),
            (&["127.0.0.4", "127.255.255.254", "127.0.0.2"], "127.255.255.254", "public"),
        ] {
            let bad: IpAddr = bad.parse().expect("an address");
            assert_eq!(classify(&found(addresses)), Listing::ListError(bad), "{addresses:?}");
            assert!(cause(bad).is_some_and(|words| words.contains(why)), "{bad}: {why}");
        }
    }

    #[test]
    fn no_addresses_are_no_listings() {
        for (answer, expected) in [
            (Answer::NoData, Listing::NotListed),
            (Answer::NxDomain, Listing::NotListed),
            (Answer::TempFail, Listing::Unknown),
            (Answer::Found([Record::Text(b"127.0.0.2"[..].into())].into()), Listing::NotListed),
        ] {
            assert_eq!(classify(&answer), expected);
        }
    }

    #[test]
    fn zones_are_names() {
        let long = format!("{}.example", "a".repeat(64));
        for (text, expected) in [
            ("zen.spamhaus.org", true),
            ("0123456789abcdef.zen.dq.spamhaus.net", true),
            ("b_l.example", true),
            ("local", false),
            ("", false),
            (".", false),
            ("a..example", false),
            (".a.example", false),
            ("a.example.", false),
            ("a b.example", false),
            ("a,b.example", false),
            ("http//a.example", false),
            (&long, false),
            (&long[1..], true),
            (&"a.".repeat(126), false),
        ] {
            assert_eq!(is_zone(text), expected, "{text}");
        }
        assert!(can_be_asked(&Question::new(&"a.".repeat(127), Kind::A)));
        assert!(!can_be_asked(&Question::new(&"a.".repeat(128), Kind::A)));
    }
}
