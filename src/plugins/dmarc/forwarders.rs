//! Forwarders whose word counts for mail that fails: the files `dmarc_trusted` and `arc_trusted`.

use crate::authn::Lookup;
use crate::authn::arc::results::{Testimony, testimony};
use crate::authn::arc::{self, Chain, Status};
use crate::authn::dkim::text::{domain_name, is_below};
use crate::authn::dkim::{Mail, Verified};
use crate::authn::dmarc::{Applied, any_aligned};
use crate::config::files::{Line, Problem, quote};
use crate::config::nets::Net;
use crate::dns::{Answer, Kind, Question};
use crate::mail::authres;
use crate::plugin::facts::Override;
use crate::plugin::site::Setup;
use std::net::IpAddr;

/// The forwarders that the admin trusts.
#[derive(Default)]
pub struct Forwarders {
    listed: Vec<Listed>,
    /// Those whose seal counts.
    sealers: Vec<Listed>,
}

/// A forwarder, and what it is for reports.
struct Listed {
    who: Who,
    kind: &'static str,
}

enum Who {
    Net(Net),
    Domain(String),
}

impl Listed {
    /// It is this domain, or one above it.
    fn is_of(&self, name: &str) -> bool {
        match &self.who {
            Who::Domain(domain) => is_below(name, domain),
            Who::Net(_) => false,
        }
    }

    fn reason(&self, comment: String) -> Override {
        Override { kind: self.kind, comment }
    }
}

/// A message, and from whom we have it.
#[derive(Clone, Copy)]
pub struct Handover<'a> {
    /// The client.
    pub ip: IpAddr,
    /// Its reverse name, which may be a lie.
    pub name: Option<&'a str>,
    /// The signatures on the message, checked.
    pub signatures: &'a [Verified],
    /// The message.
    pub mail: Mail<'a>,
    /// Every reader finds the same author in it.
    pub is_clear: bool,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// Whether somebody is trusted who passed a message on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Who, and why.
    pub reason: Option<Override>,
    /// Nobody can say now: a name server failed that was asked about a forwarder in the files.
    pub is_unknown: bool,
    /// The chain, where it was looked at.
    pub chain: Option<Judged>,
}

/// What was found of a chain.
#[derive(Debug, PartialEq, Eq)]
pub struct Judged {
    /// A part of Authentication-Results.
    pub result: String,
    /// The same for the log.
    pub words: String,
}

impl Forwarders {
    /// Reads both files; lines that are wrong are told and left out.
    pub fn read(setup: &Setup<'_>) -> Forwarders {
        let listed = read(setup, "dmarc_trusted", |word| match Net::parse(word) {
            Ok((net, _)) => Ok(Who::Net(net)),
            Err(_) => domain(word, "address and no domain"),
        });
        let sealers = read(setup, "arc_trusted", |word| match Net::parse(word) {
            Ok(_) => Err(format!("{} is no domain: seals bear names", quote(word))),
            Err(_) => domain(word, "domain"),
        });
        Forwarders { listed, sealers }
    }

    /// Looks for somebody in the files who passed on a message that fails the policy `applied`.
    ///
    /// # Errors
    /// An answer is missing.
    pub fn trust<L: Lookup>(
        &self,
        lookup: &mut L,
        handover: &Handover<'_>,
        applied: &Applied,
    ) -> Result<Trust, L::Missing> {
        let reason = self.by_address(handover.ip).or_else(|| self.by_signature(handover));
        if reason.is_some() {
            return Ok(Trust { reason, ..Trust::default() });
        }
        let by_name = self.by_name(lookup, handover)?;
        if by_name.reason.is_some() {
            return Ok(by_name);
        }
        let by_chain = self.by_chain(lookup, handover, applied)?;
        let is_unknown = by_chain.reason.is_none() && (by_name.is_unknown || by_chain.is_unknown);
        Ok(Trust { is_unknown, ..by_chain })
    }

    /// The questions for the addresses of the client's name, where it could make a difference.
    pub fn questions(&self, name: Option<&str>) -> Vec<Question> {
        match name.filter(|name| self.named(name).is_some()) {
            Some(name) => addresses_of(name),
            None => Vec::new(),
        }
    }

    /// Some forwarder is known by its name: who asks for the client's needs to know.
    pub fn has_names(&self) -> bool {
        self.listed.iter().any(|it| matches!(it.who, Who::Domain(_)))
    }

    /// A listed domain that a reverse name claims.
    fn named(&self, name: &str) -> Option<&Listed> {
        let name = name.to_ascii_lowercase();
        self.listed.iter().find(|it| it.is_of(&name))
    }

    fn by_address(&self, ip: IpAddr) -> Option<Override> {
        let of_net = |it: &&Listed| matches!(&it.who, Who::Net(net) if net.contains(ip));
        Some(self.listed.iter().find(of_net)?.reason("by its address".to_string()))
    }

    fn by_signature(&self, handover: &Handover<'_>) -> Option<Override> {
        handover.signatures.iter().filter(|signature| signature.passes_for_all()).find_map(|it| {
            let listed = self.listed.iter().find(|listed| listed.is_of(&it.domain))?;
            Some(listed.reason(format!("signed by {}", it.domain)))
        })
    }

    fn by_name<L: Lookup>(
        &self,
        lookup: &mut L,
        handover: &Handover<'_>,
    ) -> Result<Trust, L::Missing> {
        let named = handover.name.and_then(|name| Some((name, self.named(name)?)));
        let Some((name, listed)) = named else { return Ok(Trust::default()) };
        let answers = lookup.ask_all(addresses_of(name))?;
        let leads_back = answers.iter().flat_map(Answer::addresses).any(|it| it == handover.ip);
        Ok(Trust {
            reason: leads_back.then(|| listed.reason("by its name".to_string())),
            is_unknown: !leads_back && answers.contains(&Answer::TempFail),
            chain: None,
        })
    }

    /// Asks for keys only where the name on the newest seal is one that counts.
    fn by_chain<L: Lookup>(
        &self,
        lookup: &mut L,
        handover: &Handover<'_>,
        applied: &Applied,
    ) -> Result<Trust, L::Missing> {
        // A reader may see another author than the one that the forwarder has judged.
        if self.sealers.is_empty() || !handover.is_clear {
            return Ok(Trust::default());
        }
        let Some(sealer) = arc::claimed_sealer(&handover.mail) else { return Ok(Trust::default()) };
        let Some(listed) = self.sealers.iter().find(|listed| listed.is_of(&sealer)) else {
            return Ok(Trust::default());
        };
        let chain = arc::verify(&handover.mail, handover.now, lookup)?;
        let speaks = match chain.status {
            Status::Pass | Status::TempError => speaks(lookup, &chain, applied)?,
            Status::Fail | Status::None => Some(false),
        };
        let is_good = chain.status == Status::Pass && speaks == Some(true);
        Ok(Trust {
            reason: is_good.then(|| listed.reason(format!("sealed by {sealer}"))),
            is_unknown: !is_good && speaks != Some(false),
            chain: Some(judged(&chain, &sealer, speaks)),
        })
    }
}

/// Whether the newest hand found that the author stands behind the message; None where nobody can say.
fn speaks<L: Lookup>(
    lookup: &mut L,
    chain: &Chain,
    applied: &Applied,
) -> Result<Option<bool>, L::Missing> {
    if chain.uncovered > 0 {
        return Ok(Some(false));
    }
    match testimony(&chain.results, &applied.author) {
        Testimony::Passed => Ok(Some(true)),
        Testimony::Failed => Ok(Some(false)),
        Testimony::Checks { spf, dkim } => any_aligned(lookup, applied, &spf, &dkim),
    }
}

fn judged(chain: &Chain, sealer: &str, speaks: Option<bool>) -> Judged {
    let why = match (&chain.fault, speaks) {
        (Some(fault), _) => fault.to_string(),
        (None, _) if chain.uncovered > 0 => {
            format!("sealed by {sealer}, but not the last {} octets", chain.uncovered)
        }
        (None, Some(true)) => format!("sealed by {sealer}"),
        (None, Some(false)) => format!("sealed by {sealer}, who does not speak for the author"),
        (None, None) => format!("sealed by {sealer}, organisation out of reach"),
    };
    let word = chain.status.word();
    let result = format!("arc={word} {}", authres::comment(&why));
    Judged { result, words: format!("info, ARC of {sealer}: {word}, {why}") }
}

fn read(setup: &Setup<'_>, file: &str, who: impl Fn(&str) -> Result<Who, String>) -> Vec<Listed> {
    let mut all = Vec::new();
    for line in setup.lines(file) {
        match listed(&line, &who) {
            Ok(found) => all.push(found),
            Err(what) => {
                setup.with_problems(|problems| Problem::error(&line, what).note(problems));
            }
        }
    }
    all
}

fn listed(line: &Line, who: impl Fn(&str) -> Result<Who, String>) -> Result<Listed, String> {
    let (word, rest) = line.split_word();
    let kind = match rest {
        "" | "trusted_forwarder" => "trusted_forwarder",
        "mailing_list" => "mailing_list",
        "local_policy" => "local_policy",
        other => {
            let other = quote(other);
            return Err(format!("{other}: use trusted_forwarder, mailing_list or local_policy"));
        }
    };
    Ok(Listed { who: who(word)?, kind })
}

fn domain(word: &str, what: &str) -> Result<Who, String> {
    let domain = domain_name(word.trim_end_matches('.'));
    domain.map(Who::Domain).ok_or_else(|| format!("{} is no {what}", quote(word)))
}

fn addresses_of(name: &str) -> Vec<Question> {
    [Kind::A, Kind::Aaaa].map(|kind| Question::new(name, kind)).into()
}
