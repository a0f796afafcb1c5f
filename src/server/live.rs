//! Answers from the network for a command on the terminal: the daemon's own resolver with a small loop
//! of its own, until everything asked has come or its time is up.

use crate::authn;
use crate::config::Config;
use crate::dns::{Answer, Question};
use crate::plugin::chain::Chain;
use crate::plugin::log::{Event, Id, Level};
use crate::plugin::question::Answer as Got;
use crate::plugin::site::Site;
use crate::plugin::visit::{Surroundings, Visit, Want};
use crate::plugin::{Peer, Question as Asked};
use crate::server::clock;
use crate::server::resolver::{Shell, settings};
use mio::{Events, Poll, Token};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Nothing on a terminal waits longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The resolver, outside the daemon.
pub struct Live {
    poll: Poll,
    resolver: Shell,
}

impl Live {
    /// A resolver with the servers of a configuration, or this one instead, which is then asked for
    /// every name.
    ///
    /// # Errors
    /// What the system says when it has no more to give.
    pub fn new(config: &Config, server: Option<SocketAddr>) -> io::Result<Live> {
        let poll = Poll::new()?;
        let mut settings = settings(config);
        if let Some(server) = server {
            settings.servers = vec![server];
            settings.everything = true;
        }
        let resolver = Shell::new(settings, poll.registry().try_clone()?, 0);
        Ok(Live { poll, resolver })
    }

    /// The answers, in the order of the questions; `TempFail` where none came.
    ///
    /// # Errors
    /// What `poll` says.
    pub fn ask(&mut self, questions: &[Question]) -> io::Result<Vec<Answer>> {
        let mut answers = vec![Answer::TempFail; questions.len()];
        let mut open = 0;
        for (asker, question) in (0_u64..).zip(questions) {
            match self.resolver.ask(asker, question, clock::monotonic()) {
                Some(answer) => keep(&mut answers, asker, &answer),
                None => open += 1,
            }
        }
        let until = clock::monotonic() + PATIENCE;
        while open > 0 && clock::monotonic() < until {
            for (asker, _, answer) in self.wait(until)? {
                keep(&mut answers, asker, &answer);
                open -= 1;
            }
        }
        Ok(answers)
    }

    fn wait(&mut self, until: Duration) -> io::Result<Vec<(u64, Asked, Arc<Got>)>> {
        let mut events = Events::with_capacity(64);
        let next = self.resolver.deadline().map_or(until, |at| at.min(until));
        let patience = next.saturating_sub(clock::monotonic());
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        let now = clock::monotonic();
        for event in &events {
            let Token(token) = event.token();
            self.resolver.on_event(token, now);
        }
        self.resolver.tick(now);
        Ok(self.resolver.take_answers().collect())
    }

    /// Plays a client from `ip` that says `commands` to a list of plugins, and returns what was logged
    /// and what was said. Nothing is delivered: the commands end before a message.
    ///
    /// # Errors
    /// What `poll` says.
    pub fn play(
        &mut self,
        site: &Arc<Site>,
        chain: &Arc<Chain>,
        ip: IpAddr,
        commands: &[u8],
    ) -> io::Result<(Vec<String>, String)> {
        let local = SocketAddr::from(([127, 0, 0, 1], 25));
        let peer = Peer { ip, port: 0, local, name: None };
        let around = || Surroundings {
            now: clock::moment(),
            site,
            verbosity: Level::Info,
            stopwatch: clock::monotonic,
        };
        let mut visit = Visit::new(Id::NONE, peer, Arc::clone(chain), &around());
        let (mut out, mut input) = (Vec::new(), commands);
        let until = clock::monotonic() + PATIENCE;
        loop {
            let (used, want) = visit.pump(input, &mut out, &around());
            input = input.get(used..).unwrap_or_default();
            for question in visit.take_questions() {
                self.put(&mut visit, &question);
            }
            match want {
                Want::Answers if clock::monotonic() < until => {
                    for (_, question, answer) in self.wait(until)? {
                        visit.answer(&question, &answer);
                    }
                }
                Want::Turn => {}
                Want::Pause(_) => visit.unpause(),
                _ => break,
            }
        }
        let log = visit.take_log().into_iter().filter_map(|event| match event {
            Event::Line(line) if !line.plugin.is_empty() => {
                Some(format!("({}) {}: {}", line.hook, line.plugin, line.text))
            }
            _ => None,
        });
        Ok((log.collect(), String::from_utf8_lossy(&out).into_owned()))
    }

    /// Sends one of the visit's questions, or answers it at once.
    fn put(&mut self, visit: &mut Visit, question: &Asked) {
        let answer = match question {
            Asked::Dns(name) => self.resolver.ask(0, name, clock::monotonic()),
            Asked::Quiet(_) => Some(Arc::new(Got::Quiet)),
            // No store is opened for a question from the terminal.
            Asked::Store(..) | Asked::Lane(_) => Some(Arc::new(Got::TempFail)),
        };
        if let Some(answer) = answer {
            visit.answer(question, &answer);
        }
    }
}

impl authn::Lookup for Live {
    type Missing = io::Error;

    fn ask(&mut self, question: Question) -> io::Result<Answer> {
        let answers = Live::ask(self, &[question])?;
        Ok(answers.into_iter().next().unwrap_or(Answer::TempFail))
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> io::Result<Vec<Answer>> {
        Live::ask(self, &questions)
    }
}

fn keep(answers: &mut [Answer], asker: u64, answer: &Got) {
    let place = usize::try_from(asker).ok().and_then(|index| answers.get_mut(index));
    if let (Some(place), Got::Dns(answer)) = (place, answer) {
        *place = answer.clone();
    }
}
