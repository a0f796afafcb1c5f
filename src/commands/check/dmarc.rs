//! `mailreeve check dmarc`: what the daemon would write above a message, and what its author's domain
//! wants done with it.

use super::{Words, fault, resolver, spf};
use crate::authn::Lookup;
use crate::authn::dkim::{Mail, Verified, verify};
use crate::authn::dmarc::{Discovery, DmarcResult, Judgement, Policy, evaluate};
use crate::commands::message::{parse, read};
use crate::commands::{DONE, Fault, LATER, NO, print};
use crate::config::files::Files;
use crate::config::nets::canonical;
use crate::dns::{Kind, Question, Record, reverse_name};
use crate::mail::authres;
use crate::plugin::dmarc_discovery;
use crate::plugin::site::Setup;
use crate::plugins::dmarc::From;
use crate::plugins::dmarc::forwarders::{Forwarders, Handover, Trust};
use crate::plugins::{dkim, dmarc, sender_permitted_from};
use crate::server::clock;
use crate::server::live::Live;
use std::io;
use std::net::IpAddr;

/// The value of Authentication-Results on the first line, the disposition on the second. The client is
/// its address, its HELO name and the reverse-path that it gives.
pub(super) fn run(file: &str, client: (IpAddr, &str, &str), words: &Words) -> Result<u8, Fault> {
    let octets = read(file)?;
    let stored = parse(&octets)?;
    let (files, config) = spf::config(words)?;
    let mut live = resolver(&config, words.resolver.as_deref())?;
    let (ip, helo, sender) = (canonical(client.0), client.1, client.2);
    let checked = spf::checked(ip, helo, sender, &config, &mut live)?;
    let from = From::of(&stored.header, &stored.headers);
    let mail = Mail::of(&stored);
    let now = clock::unix().as_secs();
    let found = verify(&mail, from.authors.one(), now, &mut live).map_err(fault)?;
    let evidence =
        from.evidence(Some((&checked.identity.domain, checked.result)), Some(&found.signatures));
    let (forwarders, discovery) = settings(&files);
    let judgement = evaluate(&mut live, discovery, &evidence).map_err(fault)?;
    let message = Message { ip, mail, from: &from, signatures: &found.signatures, now };
    let trust = trust(&forwarders, &message, &judgement, &mut live).map_err(fault)?;
    // A client that has not logged in, as the daemon writes it.
    let mut results = vec!["auth=none".to_string(), sender_permitted_from::result_of(&checked)];
    results.extend(dkim::auth_results(&found));
    results.extend(trust.chain.as_ref().map(|chain| chain.result.clone()));
    results.push(dmarc::auth_result(&from, &judgement, trust.reason.as_ref()));
    print(&format!("{}\n", authres::build(&config.rules.me, &results)));
    let is_let_through = trust.reason.is_some() || trust.is_unknown;
    let wanted = if is_let_through { Policy::None } else { judgement.wanted() };
    let disposition = match judgement.result {
        DmarcResult::Pass => "pass",
        _ => wanted.word(),
    };
    print(&format!("{disposition}\n"));
    Ok(match judgement.result {
        DmarcResult::TempError => LATER,
        DmarcResult::PermError => NO,
        DmarcResult::Fail if trust.is_unknown => LATER,
        DmarcResult::Fail if wanted != Policy::None => NO,
        DmarcResult::Pass | DmarcResult::None | DmarcResult::Fail => DONE,
    })
}

/// The forwarders in the config folder, and how organisations are found.
fn settings(files: &Files) -> (Forwarders, Discovery) {
    // What is wrong there is the business of check-config.
    let mut problems = Vec::new();
    let setup = Setup::new(files, &mut problems);
    (Forwarders::read(&setup), dmarc_discovery::read(&setup))
}

/// What is judged.
struct Message<'a> {
    ip: IpAddr,
    mail: Mail<'a>,
    from: &'a From,
    signatures: &'a [Verified],
    now: u64,
}

/// Looks for a trusted forwarder of a message that its domain disowns, as the plugin does.
fn trust(
    forwarders: &Forwarders,
    message: &Message<'_>,
    judgement: &Judgement,
    live: &mut Live,
) -> io::Result<Trust> {
    let condemned = judgement.applied.as_ref().filter(|_| judgement.wanted() != Policy::None);
    let Some(applied) = condemned else { return Ok(Trust::default()) };
    let name = if forwarders.has_names() { name_of(message.ip, live)? } else { None };
    let handover = Handover {
        ip: message.ip,
        name: name.as_deref(),
        signatures: message.signatures,
        mail: message.mail,
        is_clear: message.from.is_clear(),
        now: message.now,
    };
    forwarders.trust(live, &handover, applied)
}

/// The reverse name of an address.
fn name_of(ip: IpAddr, live: &mut Live) -> io::Result<Option<String>> {
    let answer = Lookup::ask(live, Question::new(&reverse_name(ip), Kind::Ptr))?;
    Ok(answer.records().iter().find_map(|record| match record {
        Record::Name(name) => Some(name.to_string()),
        Record::Address(_) | Record::Mx(..) | Record::Text(_) => None,
    }))
}
