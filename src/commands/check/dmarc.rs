//! `mailreeve check dmarc`: what the daemon would write above a message, and what its author's domain
//! wants done with it.

use super::{Words, fault, resolver, spf};
use crate::authn::dkim::{Mail, verify};
use crate::authn::dmarc::{DmarcResult, Policy, evaluate};
use crate::commands::message::{parse, read};
use crate::commands::{DONE, Fault, LATER, NO, print};
use crate::config::nets::canonical;
use crate::mail::authres;
use crate::plugins::dmarc::From;
use crate::plugins::{dkim, dmarc, sender_permitted_from};
use crate::server::clock;
use std::net::IpAddr;

/// The value of Authentication-Results on the first line, the disposition on the second. The client is
/// its address, its HELO name and the reverse-path that it gives.
pub(super) fn run(file: &str, client: (IpAddr, &str, &str), words: &Words) -> Result<u8, Fault> {
    let octets = read(file)?;
    let stored = parse(&octets)?;
    let config = spf::config(words)?;
    let mut live = resolver(&config, words.resolver.as_deref())?;
    let (ip, helo, sender) = client;
    let checked = spf::checked(canonical(ip), helo, sender, &config, &mut live)?;
    let from = From::of(&stored.header, &stored.headers);
    let now = clock::unix().as_secs();
    let found = verify(&Mail::of(&stored), from.authors.one(), now, &mut live).map_err(fault)?;
    let evidence =
        from.evidence(Some((&checked.identity.domain, checked.result)), Some(&found.signatures));
    let judgement = evaluate(&mut live, &evidence).map_err(fault)?;
    // A client that has not logged in, as the daemon writes it.
    let mut results = vec!["auth=none".to_string(), sender_permitted_from::result_of(&checked)];
    results.extend(dkim::auth_results(&found));
    results.push(dmarc::auth_result(&from, &judgement, None));
    print(&format!("{}\n", authres::build(&config.rules.me, &results)));
    let wanted = judgement.wanted();
    let disposition = match judgement.result {
        DmarcResult::Pass => "pass",
        _ => wanted.word(),
    };
    print(&format!("{disposition}\n"));
    Ok(match judgement.result {
        DmarcResult::TempError => LATER,
        DmarcResult::PermError => NO,
        DmarcResult::Fail if wanted != Policy::None => NO,
        DmarcResult::Pass | DmarcResult::None | DmarcResult::Fail => DONE,
    })
}
