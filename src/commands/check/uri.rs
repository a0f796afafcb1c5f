//! `mailreeve check uri`: where a message leads, and which lists have it.

use super::{Words, fault, folder, resolver};
use crate::commands::dkim::read;
use crate::commands::{DONE, Fault, NO, print};
use crate::config::Config;
use crate::dns::{Answer, Kind, Question};
use crate::plugin::site::Setup;
use crate::plugin::uri_lists::{Asked, UriLists};
use crate::plugin::zones::first_text;
use crate::server::live::Live;

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
    let questions: Vec<Question> = asked.iter().map(|it| it.question.clone()).collect();
    let answers = if questions.is_empty() { Vec::new() } else { ask(&mut live, &questions)? };
    let (mut listings, mut faults) = (Vec::new(), Vec::new());
    for (it, answer) in asked.iter().zip(&answers) {
        match it.zone.judge(answer) {
            Ok(codes) if codes.is_empty() => {}
            Ok(codes) => {
                let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
                let text = text_of(&mut live, it)?;
                let said = format!("LISTED in {} ({}) {text}", it.zone.name, codes.join(" "));
                listings.push((it.host, said.trim_end().to_string()));
            }
            Err(what) if faults.contains(&what) => {}
            Err(what) => faults.push(what),
        }
    }
    for host in &found.hosts {
        let of_host = |(listed, said): &(_, String)| (listed == host).then(|| said.clone());
        let said: Vec<String> = listings.iter().filter_map(of_host).collect();
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

fn text_of(live: &mut Live, asked: &Asked<'_>) -> Result<String, Fault> {
    let answers = ask(live, &[Question::new(&asked.question.name, Kind::Txt)])?;
    Ok(answers.first().and_then(first_text).unwrap_or_default())
}

fn ask(live: &mut Live, questions: &[Question]) -> Result<Vec<Answer>, Fault> {
    live.ask(questions).map_err(fault)
}
