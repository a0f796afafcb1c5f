//! The rules of restartable hooks, one by one, on plugins made of closures.
//!
//! A [`Play`] is one hook with a host that only takes notes. Time, answers and threads are the test's:
//! what is asked is seen by name, and nothing is answered that the test does not answer.

mod budget;
mod lanes;
mod rules;

use super::*;
use crate::config::files::Files;
use crate::config::{Config, Defaults};
use crate::dns::{self, Kind, Record};
use crate::plugin::cx::{Effect, Peer};
use crate::plugin::facts::{Facts, MailFacts, Notes};
use crate::plugin::log::Id;
use crate::plugin::question::{Answer, Ask, Lane, Question};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};

type Acts = dyn Fn(&mut Cx<'_>) -> Hooked + Send + Sync;

/// A plugin that does the same at three hooks.
struct Acting {
    acts: Box<Acts>,
    gates: bool,
    runs: Arc<AtomicU32>,
}

impl Plugin for Acting {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Accept, Hook::Connect, Hook::Message])
    }
    fn gates(&self) -> bool {
        self.gates
    }
    fn accept(&self, cx: &mut Cx<'_>) -> Hooked {
        self.connect(cx)
    }
    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        self.runs.fetch_add(1, Ordering::Relaxed);
        (self.acts)(cx)
    }
    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        self.connect(cx)
    }
}

fn plugin(
    name: &'static str,
    acts: impl Fn(&mut Cx<'_>) -> Hooked + Send + Sync + 'static,
) -> Loaded {
    counted(name, &Arc::default(), false, acts)
}

fn gate(
    name: &'static str,
    acts: impl Fn(&mut Cx<'_>) -> Hooked + Send + Sync + 'static,
) -> Loaded {
    counted(name, &Arc::default(), true, acts)
}

fn counted(
    name: &'static str,
    runs: &Arc<AtomicU32>,
    gates: bool,
    acts: impl Fn(&mut Cx<'_>) -> Hooked + Send + Sync + 'static,
) -> Loaded {
    let acting = Acting { acts: Box::new(acts), gates, runs: Arc::clone(runs) };
    Loaded::plain(name, Arc::new(acting))
}

/// A plugin that asks one question and refuses if there is something under that name.
fn list(name: &'static str, zone: &'static str) -> Loaded {
    plugin(name, move |cx| {
        if cx.dns(a(zone))?.records().is_empty() {
            cx.karma(1);
            return Ok(Verdict::Declined);
        }
        Ok(refusal(zone))
    })
}

fn refusal(text: &str) -> Verdict {
    Verdict::deny((7, 1), text)
}

fn a(name: &str) -> dns::Question {
    dns::Question::new(name, Kind::A)
}

fn listed() -> Answer {
    let address = "127.0.0.2".parse().expect("an address");
    Answer::Dns(dns::Answer::Found(Arc::new([Record::Address(address)])))
}

fn unlisted() -> Answer {
    Answer::Dns(dns::Answer::NxDomain)
}

fn heavy(octets: usize) -> Answer {
    let text = vec![b'x'; octets - 32].into();
    Answer::Dns(dns::Answer::Found(Arc::new([Record::Text(text)])))
}

fn name_of(question: &Question) -> String {
    match question {
        Question::Dns(question) => question.name.to_string(),
        Question::Store(table, key) => format!("{table}/{key}"),
        Question::Quiet(duration) => format!("quiet {}", duration.as_secs()),
        Question::Lane(_) => "a lane is never sent".to_string(),
    }
}

/// A host that takes notes.
struct Desk {
    peer: Peer,
    config: Config,
    facts: Facts,
    mail_facts: MailFacts,
    notes: Notes,
    prefetched: Memo,
    committed: Vec<&'static str>,
    effects: Vec<Effect>,
    log: Vec<String>,
    took: Cell<Duration>,
}

impl Host for Desk {
    fn ground(&self) -> Ground<'_> {
        Ground {
            id: Id(7),
            peer: &self.peer,
            config: &self.config,
            hello: None,
            envelope: None,
            facts: &self.facts,
            mail_facts: &self.mail_facts,
            notes: &self.notes,
            mail_notes: &self.notes,
            message: None,
            arrival: None,
            occasion: Occasion::Plain,
            connected: Moment::default(),
            prefetched: &self.prefetched,
        }
    }
    fn commit(&mut self, plugin: &Loaded, _hook: &'static str, staged: Staged) {
        self.committed.push(plugin.name);
        if let Some(facts) = staged.facts {
            self.facts = *facts;
        }
        self.facts.karma += staged.karma;
        self.effects.extend(staged.effects);
        self.log.extend(staged.log.into_iter().map(|(_, text)| text));
    }
    fn note(&mut self, _level: Level, hook: &'static str, plugin: &Loaded, text: String) {
        self.log.push(format!("({hook}) {}: {text}", plugin.log_name));
    }
    fn stopwatch(&self) -> Duration {
        self.took.set(self.took.get() + Duration::from_micros(1));
        self.took.get()
    }
}

/// One hook being run.
struct Play {
    invocation: Invocation,
    host: Desk,
    now: Duration,
}

impl Play {
    fn new(plugins: Vec<Loaded>) -> Play {
        Play::of(Hook::Connect, plugins)
    }

    fn of(hook: Hook, plugins: Vec<Loaded>) -> Play {
        let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
        let peer = Peer {
            ip: "192.0.2.1".parse().expect("an address"),
            port: 1,
            local: "127.0.0.1:25".parse().expect("an address"),
            name: None,
        };
        let host = Desk {
            peer,
            config: Config::load(&Files::in_memory([]), &defaults, &mut Vec::new()),
            facts: Facts::default(),
            mail_facts: MailFacts::default(),
            notes: Notes::default(),
            prefetched: Memo::default(),
            committed: Vec::new(),
            effects: Vec::new(),
            log: Vec::new(),
            took: Cell::default(),
        };
        let chain = Arc::new(Chain::new("test", plugins));
        Play { invocation: Invocation::new(hook, &chain), host, now: Duration::ZERO }
    }

    fn run(&mut self) -> Step {
        self.run_at(Place::Loop)
    }

    fn run_at(&mut self, place: Place<'_>) -> Step {
        let now = Moment { mono: self.now, unix: self.now, utc_offset: 0 };
        self.invocation.run(&mut self.host, place, now)
    }

    /// What goes out now.
    fn asked(&mut self) -> Vec<String> {
        self.invocation.take_questions().iter().map(name_of).collect()
    }

    /// Answers a question by its name. True if the hook should run again.
    fn answer(&mut self, name: &str, answer: Answer) -> bool {
        let question = match name.strip_prefix("quiet ") {
            Some(seconds) => Question::Quiet(Duration::from_secs(seconds.parse().expect("digits"))),
            None => Question::Dns(a(name)),
        };
        self.invocation.answer(&question, &Arc::new(answer))
    }

    /// Runs to the end with an answer for everything; gives the verdict and how many questions went
    /// out in each round.
    fn play_out(&mut self, answer: impl Fn(&str) -> Answer) -> (Verdict, Vec<usize>) {
        let mut rounds = Vec::new();
        loop {
            match self.run() {
                Step::Done(verdict, _) => return (verdict, rounds),
                Step::Move(lane) => panic!("nothing here needs {lane:?}"),
                Step::Waiting => {}
            }
            let asked = self.asked();
            assert!(!asked.is_empty(), "the hook waits for nothing");
            rounds.push(asked.len());
            for name in asked {
                self.answer(&name, answer(&name));
            }
        }
    }
}

/// A lane that knows one answer to everything, and remembers what it was asked.
struct Oracle {
    answer: Answer,
    asked: RefCell<Vec<Vec<String>>>,
}

impl Oracle {
    fn new(answer: Answer) -> Oracle {
        Oracle { answer, asked: RefCell::default() }
    }
}

impl Ask for Oracle {
    fn ask(&self, questions: &[Question], _deadline: Duration) -> Vec<Arc<Answer>> {
        self.asked.borrow_mut().push(questions.iter().map(name_of).collect());
        questions.iter().map(|_| Arc::new(self.answer.clone())).collect()
    }
}
