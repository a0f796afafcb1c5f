//! A client for tests of plugins that ask: what they ask when, in how many rounds, and what comes of it.
//!
//! The dialogue tests show what a client sees; here the questions are counted, since every round costs
//! the sender a wait. Time stands still, and answers come only when the visit waits for them.

use crate::config::Defaults;
use crate::config::files::{Files, Severity};
use crate::dns;
use crate::plugin::log::{Event, Id, Level};
use crate::plugin::question::{Answer, Lane, Place, Question};
use crate::plugin::visit::{Surroundings, Visit, Want};
use crate::plugin::{Moment, Peer};
use crate::plugins::load::{Strictness, load};
use crate::plugins::tests::trial::Nobody;
use std::sync::Arc;
use std::time::Duration;

/// What came of a visit.
pub(crate) struct Played {
    /// The questions, a batch for each time that some were sent: `A name` in the order they were
    /// asked.
    pub(crate) rounds: Vec<Vec<String>>,
    /// What plugins logged, `(hook) plugin: text`.
    pub(crate) log: Vec<String>,
    /// The replies.
    pub(crate) said: String,
}

/// Connects from `ip` to a site of these files and says the commands. `answer` is the resolver.
pub(crate) fn play(
    files: &[(&str, &str)],
    ip: &str,
    commands: &[&str],
    answer: impl Fn(&dns::Question) -> dns::Answer,
) -> Played {
    let files = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
    let (site, problems) = load(&Files::in_memory(files), &defaults, None, Strictness::Start);
    assert!(problems.iter().all(|it| it.severity == Severity::Warning), "{problems:?}");
    let site = Arc::new(site);
    let around = Surroundings {
        now: Moment::default(),
        site: &site,
        verbosity: Level::Debug,
        stopwatch: || Duration::ZERO,
    };
    let peer = Peer {
        ip: ip.parse().expect("an address"),
        port: 1,
        local: "198.51.100.25:25".parse().expect("an address"),
        name: None,
    };
    let mut visit = Visit::new(Id(7), peer, Arc::clone(&site.base), &around);
    let (mut out, mut rounds, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let mut commands = commands.iter();
    let mut input = Vec::new();
    loop {
        let (used, want) = visit.pump(&input, &mut out, &around);
        input.drain(..used);
        let asked = visit.take_questions();
        if !asked.is_empty() {
            rounds.push(asked.iter().map(shown).collect());
            open.extend(asked);
        }
        match want {
            Want::Input => match commands.next() {
                Some(command) => input.extend_from_slice(format!("{command}\r\n").as_bytes()),
                None => break,
            },
            Want::Answers => {
                assert!(!open.is_empty(), "the visit waits for nothing");
                for question in open.drain(..) {
                    let Question::Dns(asked) = &question else { panic!("{question:?}") };
                    visit.answer(&question, &Arc::new(Answer::Dns(answer(asked))));
                }
            }
            Want::Close => break,
            Want::Pause(_) => visit.unpause(),
            Want::Move(lane) => work(&mut visit, lane),
            Want::Turn => {}
            other => panic!("{other:?}"),
        }
    }
    let log = visit.take_log().into_iter().filter_map(|event| match event {
        Event::Line(line) if !line.plugin.is_empty() => {
            Some(format!("({}) {}: {}", line.hook, line.plugin, line.text))
        }
        _ => None,
    });
    let log = log.collect();
    Played { rounds, log, said: String::from_utf8(out).expect("replies are ASCII") }
}

/// Runs a hook on the lanes that it asks for, at once; there a question has no answer.
fn work(visit: &mut Visit, mut lane: Lane) {
    loop {
        let place = match lane {
            Lane::Workers => Place::Worker,
            lane => Place::Lane(lane, &Nobody),
        };
        match visit.work(place, Moment::default()) {
            Want::Move(next) => lane = next,
            _ => return,
        }
    }
}

fn shown(question: &Question) -> String {
    match question {
        Question::Dns(question) => {
            format!("{} {}", format!("{:?}", question.kind).to_uppercase(), question.name)
        }
        other => format!("{other:?}"),
    }
}

/// An answer with these addresses; none is NXDOMAIN.
pub(crate) fn addresses(texts: &[&str]) -> dns::Answer {
    let record = |text: &&str| dns::Record::Address(text.parse().expect("an address"));
    match texts {
        [] => dns::Answer::NxDomain,
        texts => dns::Answer::Found(texts.iter().map(record).collect()),
    }
}

/// An answer with these names; none is NXDOMAIN.
pub(crate) fn names(names: &[&str]) -> dns::Answer {
    match names {
        [] => dns::Answer::NxDomain,
        names => {
            let record = |name: &&str| dns::Record::Name((*name).into());
            dns::Answer::Found(names.iter().map(record).collect())
        }
    }
}
