//! `mailreeve dkim status`: which key signs for which domain, and whether the world can know it.

use super::Words;
use crate::authn::dkim::published::{Published, published_as};
use crate::authn::dkim::text::domain_name;
use crate::commands::print_dns::verdict;
use crate::commands::{DONE, Fault, LATER, NO, check, complain, folder, print};
use crate::config::Config;
use crate::config::files::Files;
use crate::dns::{Kind, Question};
use crate::plugin::dkim_keys::{Choice, DkimKeys};
use crate::plugin::site::Setup;
use crate::server::live::Live;

/// Domains that are asked about.
const DOMAINS_MAX: usize = 1_000;

pub(super) fn run(words: &Words, named: &[&str]) -> Result<u8, Fault> {
    let files = folder::open(folder::find(words.config.clone())?);
    let mut problems = Vec::new();
    let config = Config::load(&files, &folder::defaults(), &mut Vec::new());
    let setup = Setup::new(&files, &mut problems);
    let keys = DkimKeys::read(&setup);
    let domains = domains(&keys, &config, named)?;
    drop(setup);
    for problem in &problems {
        complain(&format!("{problem}\n"));
    }
    if !has_plugin(&files) {
        complain("plugins: warning: there is no line dkim, so nothing is signed\n");
    }
    let mut live = check::resolver(&config, words.resolver.as_deref())?;
    let mut worst = DONE;
    for domain in &domains {
        let (words, code) = of_domain(&keys, &config, domain, &mut live)?;
        print(&format!("{domain}: {words}\n"));
        worst = match (worst, code) {
            (NO, _) | (_, NO) => NO,
            (LATER, _) | (_, LATER) => LATER,
            _ => DONE,
        };
    }
    Ok(worst)
}

/// The domains that were named, or all that are known by name.
fn domains(keys: &DkimKeys, config: &Config, named: &[&str]) -> Result<Vec<String>, Fault> {
    let mut domains: Vec<String> = Vec::new();
    for name in named {
        let name = name.trim_end_matches('.');
        let domain = domain_name(name);
        domains.push(domain.ok_or_else(|| Fault::Usage(format!("'{name}' is no domain")))?);
    }
    if named.is_empty() {
        domains = keys.domains(&config.rules.me);
        domains.truncate(DOMAINS_MAX);
    }
    Ok(domains)
}

fn has_plugin(files: &Files) -> bool {
    let mut lists = vec!["plugins".to_string()];
    lists.extend(files.names("peers").iter().map(|name| format!("peers/{name}")));
    lists.iter().any(|list| {
        let lines = files.lines(list, &mut Vec::new());
        lines.iter().any(|line| line.split_word().0.split(':').next() == Some("dkim"))
    })
}

fn of_domain(
    keys: &DkimKeys,
    config: &Config,
    domain: &str,
    live: &mut Live,
) -> Result<(String, u8), Fault> {
    let (folder, named) = match keys.choose(&config.rules.me, Some(domain), None) {
        Choice::Sign { folder, keys, .. } => (folder, keys),
        Choice::NotHosted => return Ok(("unsigned: it is not hosted here".to_string(), NO)),
        Choice::Disabled(_) => return Ok(("unsigned: switched off".to_string(), DONE)),
        Choice::NoKey(_) => return Ok(("unsigned: there is no key".to_string(), NO)),
        Choice::Broken { folder, why } => {
            return Ok((format!("unsigned: dkim/{folder}: {why}"), NO));
        }
    };
    let questions: Vec<Question> = named
        .iter()
        .map(|key| Question::new(&format!("{}._domainkey.{domain}", key.selector), Kind::Txt))
        .collect();
    let answers = live.ask(&questions).map_err(check::fault)?;
    let (mut words, mut worst) = (format!("signed with dkim/{folder}"), DONE);
    for (key, answer) in named.iter().zip(&answers) {
        let Some(public) = key.key.public() else { continue };
        let found = published_as(answer, &public);
        let (said, code) = verdict(&found);
        words.push_str(&format!("; s={} {} bits, {said}", key.selector, public.bits()));
        if let Published::Other(what) = found {
            words.push_str(&format!(": {what}"));
        }
        worst = if worst == NO || code == NO { NO } else { worst.max(code) };
    }
    Ok((words, worst))
}
