//! Lists of bad sites in DNS: the files that name them, what is asked of a message, what an answer means.
//!
//! The plugin `uribl` and `mailreeve check uri` ask the same here. What is asked about is the registered
//! domain ([`Name::registered`](crate::mail::uri::Name::registered)) and not the names below it, which a
//! sender can make without end; an address is asked about in reverse.

use crate::config::files::{Line, Problem, quote};
use crate::dns::lists::{can_be_asked, is_zone};
use crate::dns::{Answer, Kind, Question, reverse_address};
use crate::mail::uri::{Host, Hosts, Levels, in_message};
use crate::plugin::Zone as ToldZone;
use crate::plugin::site::Setup;
use crate::plugin::zones::codes;
use std::collections::HashSet;
use std::net::Ipv4Addr;

/// Domains and addresses of one message that are asked about.
const HOSTS_MAX: usize = 20;

/// Those among which they are chosen: what is only spelt out counts less than what is linked.
const CANDIDATES_MAX: usize = 200;

/// Zones in one file.
const ZONES_MAX: usize = 10;

/// Questions about one message: they leave room in the hook for texts and for other plugins.
const QUESTIONS_MAX: usize = 100;

/// The bits of an answer that may say something: the first octet is 127 in each.
const CODE_BITS: u32 = 0x00ff_ffff;

/// What is done with a message that leads to a listed site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It gets a field that says so.
    AddHeader,
    /// It is refused for good.
    Deny,
    /// It is refused for now.
    DenySoft,
    /// Nothing.
    Log,
}

impl Action {
    /// Reads `add-header`, `deny`, `denysoft` or `log`.
    pub fn of_word(word: &str) -> Option<Action> {
        match word.to_ascii_lowercase().as_str() {
            "add-header" => Some(Action::AddHeader),
            "deny" => Some(Action::Deny),
            "denysoft" => Some(Action::DenySoft),
            "log" => Some(Action::Log),
            _ => None,
        }
    }
}

/// Which codes of a list count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mask {
    /// 127.0.0.2 to 127.0.0.254.
    Any,
    /// Those that have one of these bits.
    Bits(u32),
}

impl Mask {
    /// Reads numbers between commas or hyphens, which are put together. A negative number is the default,
    /// as in qpsmtpd.
    fn of_word(word: &str) -> Option<Mask> {
        if let Some(number) = word.strip_prefix('-') {
            return number.parse::<u32>().is_ok().then_some(Mask::Any);
        }
        let mut bits = 0;
        for number in word.split([',', '-']) {
            bits |= number.parse::<u32>().ok()?;
        }
        (bits & CODE_BITS != 0).then_some(Mask::Bits(bits & CODE_BITS))
    }

    fn counts(self, code: Ipv4Addr) -> bool {
        match self {
            Mask::Any => matches!(code.octets(), [127, 0, 0, 2..=254]),
            Mask::Bits(bits) => code.to_bits() & bits != 0,
        }
    }
}

/// One list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriZone {
    /// In lower case, without dots at its ends.
    pub name: Box<str>,
    /// What its line wants done; else the plugin's own argument counts.
    pub action: Option<Action>,
    mask: Mask,
}

impl UriZone {
    /// The codes of an answer that count, none where the host is not listed; or in words why the list is
    /// of no use.
    ///
    /// # Errors
    /// When the list does not answer, or answers with what is no code of a listing.
    pub fn judge(&self, answer: &Answer) -> Result<Vec<Ipv4Addr>, String> {
        let mut codes = codes(&self.name, answer)?;
        codes.retain(|code| self.mask.counts(*code));
        Ok(codes)
    }
}

/// A question and what it is about.
#[derive(Clone, Debug)]
pub struct Asked<'l> {
    /// A registered domain or an address.
    pub host: Host,
    /// The list.
    pub zone: &'l UriZone,
    /// For an address.
    pub question: Question,
}

/// Where a message leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    /// What the lists are asked about, what is linked first.
    pub hosts: Vec<Host>,
    /// What the admin trusts.
    pub spared: Vec<Host>,
    /// There is more than is asked about.
    pub more: bool,
}

/// The lists, and the domains that nobody is asked about.
#[derive(Clone, Debug, Default)]
pub struct UriLists {
    zones: Vec<UriZone>,
    spared: HashSet<Box<str>>,
    levels: Levels,
}

impl UriLists {
    /// Reads `uribl_zones`, `uribl_whitelist_domains`, `two-level-tlds` and `three-level-tlds`. What cannot
    /// be read is left out with a warning: mail flows without it too.
    pub fn load(setup: &Setup<'_>) -> UriLists {
        let zones = setup.lines("uribl_zones");
        let spared = setup.lines("uribl_whitelist_domains");
        let mut levels = setup.lines("two-level-tlds");
        levels.extend(setup.lines("three-level-tlds"));
        let levels = Levels::new(levels.iter().map(|line| line.text.as_str()));
        setup.with_problems(|problems| {
            let mut lists = UriLists { levels, ..UriLists::default() };
            for line in &zones {
                for zone in parse(line, problems) {
                    lists.add(line, zone, problems);
                }
            }
            for line in &spared {
                match Host::parse(line.text.trim_start_matches('.').as_bytes()) {
                    Some(host) => drop(lists.spared.insert(host.to_string().into())),
                    None => {
                        let what = format!("{} is no domain: left out", quote(&line.text));
                        Problem::warning(line, what).note(problems);
                    }
                }
            }
            lists
        })
    }

    /// There are no lists.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// The lists as [`crate::plugin::Plugin::zones`] tells them.
    pub fn told(&self) -> Vec<ToldZone> {
        let names = self.zones.iter().map(|zone| zone.name.to_string());
        names.map(|name| ToldZone { name, of_names: true }).collect()
    }

    /// Where a message leads: with `header` its header fields too, with `addresses` also to what has no
    /// name. `passed` is told how far the pass has come.
    pub fn subjects(
        &self,
        message: &[u8],
        header: bool,
        addresses: bool,
        passed: &dyn Fn(usize),
    ) -> Subjects {
        let mut found = Hosts::new(&self.levels, CANDIDATES_MAX);
        let whole = in_message(message, header, passed, &mut |uri| found.add(uri));
        let mut entries: Vec<_> = found.entries().iter().collect();
        entries.retain(|entry| addresses || matches!(entry.host, Host::Name(_)));
        entries.sort_by_key(|entry| (entry.mail, !entry.linked));
        let (spared, asked): (Vec<Host>, Vec<Host>) =
            entries.iter().map(|entry| entry.host).partition(|host| self.is_spared(host));
        let room = (QUESTIONS_MAX / self.zones.len().max(1)).min(HOSTS_MAX);
        let more = !whole || found.more() || asked.len() > room;
        Subjects { hosts: asked.into_iter().take(room).collect(), spared, more }
    }

    /// What is asked about these, each zone in the order of the file. What does not fit into a name of
    /// DNS is not asked.
    pub fn questions(&self, hosts: &[Host]) -> Vec<Asked<'_>> {
        let pairs = hosts.iter().flat_map(|host| self.zones.iter().map(move |zone| (host, zone)));
        let asked = pairs.map(|(host, zone)| {
            let below = match host {
                Host::Name(name) => name.as_str().to_string(),
                Host::Ip(address) => reverse_address(*address),
            };
            let question = Question::new(&format!("{below}.{}", zone.name), Kind::A);
            Asked { host: *host, zone, question }
        });
        asked.filter(|asked| can_be_asked(&asked.question)).collect()
    }

    /// The domain, or one above it, is one that the admin trusts.
    fn is_spared(&self, host: &Host) -> bool {
        let name = host.to_string();
        let above = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
        let is_name = matches!(host, Host::Name(_));
        let mut names = std::iter::once(&*name).chain(above.filter(|_| is_name));
        names.any(|name| self.spared.contains(name))
    }

    fn add(&mut self, line: &Line, zone: UriZone, problems: &mut Vec<Problem>) {
        let name = quote(&zone.name);
        let what = if !is_zone(&zone.name) {
            format!("{name} is no name of a list: not asked")
        } else if self.zones.iter().any(|known| known.name == zone.name) {
            format!("{name} stands here twice: asked once")
        } else if self.zones.len() == ZONES_MAX {
            format!("there are more than {ZONES_MAX} lists: {name} is not asked")
        } else {
            return self.zones.push(zone);
        };
        Problem::warning(line, what).note(problems);
    }
}

/// `zone [mask] [action]`, where the zone may also be several with commas between them, each with a mask
/// of its own behind a colon. A list whose mask or action is misspelt is left out: it would judge by what
/// nobody meant.
fn parse(line: &Line, problems: &mut Vec<Problem>) -> Vec<UriZone> {
    let (text, words) = line
        .text
        .split_once(';')
        .map_or((&*line.text, None), |(text, message)| (text, Some(message)));
    if words.is_some() {
        let what = "a text for the client has no use here: left out";
        Problem::warning(line, what).note(problems);
    }
    let mut words = text.split_whitespace();
    let names = words.next().unwrap_or_default();
    let (mut mask, mut action) = (None, None);
    for word in words {
        let (read_mask, read_action) = (Mask::of_word(word), Action::of_word(word));
        match (read_mask, read_action) {
            (Some(read), _) if mask.is_none() && action.is_none() => mask = Some(read),
            (_, Some(read)) if action.is_none() => action = Some(read),
            _ => {
                let kind = if word.starts_with(|c: char| c.is_ascii_alphabetic()) {
                    "Unknown action"
                } else {
                    "Malformed mask"
                };
                let what = format!("{kind} {} for {}: not asked", quote(word), quote(names));
                Problem::warning(line, what).note(problems);
                return Vec::new();
            }
        }
    }
    let mut zones = Vec::new();
    for entry in names.split(',').filter(|entry| !entry.is_empty()) {
        let (name, own) =
            entry.split_once(':').map_or((entry, None), |(name, own)| (name, Some(own)));
        let own_mask = own.map(Mask::of_word);
        if own_mask == Some(None) {
            let own = quote(own.unwrap_or_default());
            let what = format!("Malformed mask {own} for {}: not asked", quote(name));
            Problem::warning(line, what).note(problems);
            continue;
        }
        let mask = own_mask.flatten().or(mask).unwrap_or(Mask::Any);
        let name = name.trim_matches('.').to_ascii_lowercase().into();
        zones.push(UriZone { name, action, mask });
    }
    zones
}

#[cfg(test)]
mod tests;
