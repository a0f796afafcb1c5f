//! `mailreeve check uri`: where a message leads, and which lists have it.

use super::{Words, fault, folder, resolver};
use crate::commands::message::read;
use crate::commands::{DONE, Fault, NO, print};
use crate::config::Config;
use crate::dns::{Answer, Kind, Question};
use crate::mail::uri::Host;
use crate::plugin::site::Setup;
use crate::plugin::uri_lists::{Asked, UriLists};
use crate::plugin::zones::first_text;
use crate::server::live::Live;
use std::net::Ipv4Addr;

/// A line for each domain and address of the message, with the lists that have it; then one for each list
/// that is of no use.
pub(super) fn run(file: &str, words: &Words) -> Result<u8, Fault> {
    let message = read(file)?;
    let files = folder::open_if_any(words.config.clone())?;
    // What is wrong in the folder is the business of check-config.
    let mut problems = Vec::new();
    let lists = UriLists::load(&Setup::new(&files, &mut problems));
    let config = Config::load(&files, &folder::defaults(), &mut problems);
    let found = lists.subjects(&message, true, true, &|_| {});
    if lists.is_empty() {
        print("no lists: the file uribl_zones is missing or empty\n");
    }
    let mut live = resolver(&config, words.resolver.as_deref())?;
    let asked = lists.questions(&found.hosts);
    let answers = ask(&mut live, asked.iter().map(|it| it.question.clone()))?;
    let (mut hits, mut faults) = (Vec::new(), Vec::new());
    for (it, answer) in asked.iter().zip(&answers) {
        match it.zone.judge(answer) {
            Ok(codes) if codes.is_empty() => {}
            Ok(codes) => hits.push((it, codes)),
            Err(what) if faults.contains(&what) => {}
            Err(what) => faults.push(what),
        }
    }
    let texts = hits.iter().map(|(it, _)| Question::new(&it.question.name, Kind::Txt));
    let texts = ask(&mut live, texts)?;
    let listings: Vec<(Host, String)> = hits.iter().zip(&texts).map(listing).collect();
    for host in &found.hosts {
        let of_host = listings.iter().filter(|(listed, _)| listed == host);
        let said: Vec<&str> = of_host.map(|(_, said)| said.as_str()).collect();
        let said = match said.as_slice() {
            [] if lists.is_empty() => "nobody is asked about it".to_string(),
            [] => "not listed".to_string(),
            said => said.join("; "),
        };
        print(&format!("{host}: {said}\n"));
    }
    for host in &found.spared {
        print(&format!("{host}: not asked about: in uribl_whitelist_domains\n"));
    }
    if found.hosts.is_empty() && found.spared.is_empty() {
        print("the message leads nowhere\n");
    }
    if found.more {
        print("there are more, which are not asked about\n");
    }
    faults.iter().for_each(|what| print(&format!("an error of the list, not a listing: {what}\n")));
    Ok(if listings.is_empty() { DONE } else { NO })
}

/// The host, and in words by what it is listed.
fn listing(((asked, codes), text): (&(&Asked<'_>, Vec<Ipv4Addr>), &Answer)) -> (Host, String) {
    let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
    let text = first_text(text).unwrap_or_default();
    let said = format!("LISTED in {} ({}) {text}", asked.zone.name, codes.join(" "));
    (asked.host, said.trim_end().to_string())
}

fn ask(live: &mut Live, questions: impl Iterator<Item = Question>) -> Result<Vec<Answer>, Fault> {
    let questions: Vec<Question> = questions.collect();
    if questions.is_empty() { Ok(Vec::new()) } else { live.ask(&questions).map_err(fault) }
}
