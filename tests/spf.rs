//! SPF against suites that others wrote: those of mail-auth, pyspf and blitiri, and rspamd's
//! functional tests.
//!
//! Each case is run twice: with all answers at hand, and as the daemon runs it, from its top each time
//! that answers have come in; both must come to the same. A case whose author expects something else
//! than RFC 7208 says is listed here, with what the RFC says. Any further suite in the form of openspf's
//! (as pyspf keeps the one of RFC 7208) that lies in a folder `spf-…` is run as well.

mod mail_auth;
mod openspf;
mod rspamd;
mod world;

use mailreeve::authn::spf::{Checked, Client, Identity, check_host};
use std::collections::BTreeMap;
use std::convert::Infallible;
use world::{Late, World};

/// A case, whatever form it came in.
struct Case {
    /// Suite and name.
    name: String,
    ip: String,
    helo: String,
    /// Empty for the null sender.
    sender: String,
    /// Any of these is right.
    results: Vec<String>,
    /// What the explanation must be; None where nothing is said of it.
    explanation: Option<Option<String>>,
}

impl Case {
    fn identity(&self) -> Identity {
        Identity::of_text(&self.sender).unwrap_or_else(|| Identity::of_helo(&self.helo))
    }

    /// Runs it both ways.
    fn check(&self, world: &World, identity: &Identity) -> Checked {
        let ip = self.ip.parse().unwrap_or_else(|_| panic!("{}: {}", self.name, self.ip));
        let unix = 1_000_000_000;
        let client = Client { ip, helo: &self.helo, receiver: "mx.example.net", unix };
        let Ok(checked): Result<_, Infallible> = check_host(&mut &*world, &client, identity);
        let mut late = Late::new(world);
        let (again, rounds) = loop {
            match check_host(&mut late, &client, identity) {
                Ok(again) => break (again, late.rounds),
                Err(()) => late.arrive(),
            }
        };
        assert_eq!(checked, again, "{}", self.name);
        assert!(rounds <= 25, "{}: {rounds} rounds", self.name);
        checked
    }
}

/// Compares, and keeps what differs.
#[derive(Default)]
struct Tally {
    agreed: usize,
    differ: BTreeMap<String, String>,
}

impl Tally {
    fn case(&mut self, case: &Case, checked: &Checked) {
        let word = checked.result.word();
        let right = case.results.iter().any(|it| it == word);
        let explained = case.explanation.as_ref().is_none_or(|it| *it == checked.explanation);
        if right && explained {
            self.agreed += 1;
            return;
        }
        let said = checked.why();
        let what = format!(
            "{:?} wanted, {word} found ({said}); explanation {:?} wanted, {:?} found",
            case.results, case.explanation, checked.explanation
        );
        self.differ.insert(case.name.clone(), what);
    }

    /// What differs has to be exactly what is listed, with what RFC 7208 says of it.
    fn finish(self, least: usize, listed: &[(&str, &str)]) {
        println!("{} cases agree, {} differ", self.agreed, self.differ.len());
        let differ: Vec<&str> = self.differ.keys().map(String::as_str).collect();
        let mut known: Vec<&str> = listed.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(differ, known, "{:#?}", self.differ);
        assert!(self.agreed >= least, "only {} cases", self.agreed);
    }
}
