//! `mailreeve check spf`: the result of RFC 7208 for a client and a sender, and the way to it.

use super::{Words, fault, folder, resolver};
use crate::authn::Lookup;
use crate::authn::spf::{Checked, Client, Identity, SpfResult, check_host};
use crate::commands::{DONE, Fault, LATER, NO, print};
use crate::config::Config;
use crate::config::files::Files;
use crate::dns::{Answer, Question};
use crate::plugin::log::foreign;
use crate::server::clock;
use crate::server::live::Live;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Time for all questions (RFC 7208 section 4.6.4).
const TIME_MAX: Duration = Duration::from_secs(20);

/// The result on the first line; then why, with the domain's own explanation before it if there is
/// one, and each term that was looked at.
pub(super) fn run(ip: IpAddr, helo: &str, sender: &str, words: &Words) -> Result<u8, Fault> {
    let (_, config) = config(words)?;
    let mut live = resolver(&config, words.resolver.as_deref())?;
    let checked = checked(ip, helo, sender, &config, &mut live)?;
    print(&shown(&checked));
    Ok(match checked.result {
        SpfResult::Pass | SpfResult::Neutral | SpfResult::None => DONE,
        SpfResult::Fail | SpfResult::SoftFail | SpfResult::PermError => NO,
        SpfResult::TempError => LATER,
    })
}

/// The sender, or HELO where that is null, checked for a client.
pub(super) fn checked(
    ip: IpAddr,
    helo: &str,
    sender: &str,
    config: &Config,
    live: &mut Live,
) -> Result<Checked, Fault> {
    let mut asker = Asker { live, until: clock::monotonic() + TIME_MAX };
    let unix = clock::unix().as_secs();
    let client = Client { ip, helo, receiver: &config.rules.me, unix };
    let identity = Identity::of_text(sender).unwrap_or_else(|| Identity::of_helo(helo));
    check_host(&mut asker, &client, &identity).map_err(fault)
}

fn shown(checked: &Checked) -> String {
    let mut text = format!("{}\n", checked.result.word());
    if let Some(explanation) = &checked.explanation {
        text.push_str(&format!("{explanation}\n"));
    }
    text.push_str(&format!("{}\n", foreign(checked.why().as_bytes())));
    for step in &checked.path {
        let indent = "  ".repeat(step.depth as usize + 1);
        let domain = foreign(step.domain.as_bytes());
        text.push_str(&format!("{indent}{domain} {}: {}\n", step.term, step.outcome));
    }
    text
}

/// The config folder and its settings. Name servers and our name are all that is needed of them, so
/// where no folder is named and none is in its usual place the system's will do.
pub(super) fn config(words: &Words) -> Result<(Files, Config), Fault> {
    let files = folder::open_if_any(words.config.clone())?;
    // What is wrong elsewhere is the business of check-config.
    let config = Config::load(&files, &folder::defaults(), &mut Vec::new());
    Ok((files, config))
}

/// Asks while there is time.
struct Asker<'a> {
    live: &'a mut Live,
    until: Duration,
}

impl Lookup for Asker<'_> {
    type Missing = io::Error;

    fn ask(&mut self, question: Question) -> io::Result<Answer> {
        let answers = self.ask_all(vec![question])?;
        Ok(answers.into_iter().next().unwrap_or(Answer::TempFail))
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> io::Result<Vec<Answer>> {
        if clock::monotonic() >= self.until {
            return Ok(vec![Answer::TempFail; questions.len()]);
        }
        self.live.ask(&questions)
    }
}
