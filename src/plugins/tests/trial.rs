//! A client and a whole chain of plugins, for tests that a transcript cannot hold because another
//! program takes part. Lanes run at once, on the test's own thread, and no name server ever answers.

use super::super::load::{Strictness, load};
use crate::config::Defaults;
use crate::config::files::Files;
use crate::plugin::content::Stored;
use crate::plugin::content::tests::FakeFile;
use crate::plugin::log::{Event, Id, Level};
use crate::plugin::question::{Answer, Ask, Lane, Place, Question};
use crate::plugin::site::Site;
use crate::plugin::visit::{Surroundings, Visit, Want};
use crate::plugin::{Chain, Loaded, Moment, Peer};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The client.
pub(in crate::plugins) struct Trial {
    visit: Visit,
    site: Arc<Site>,
    log: Vec<String>,
    /// The time, which stands still unless a test moves it.
    pub(in crate::plugins) now: Moment,
    /// The one record of the store, as `table key`; its value is empty.
    pub(in crate::plugins) stored: Option<String>,
}

impl Trial {
    /// Connects from an address to a daemon with these config files; `me` is mx.example.net.
    pub(in crate::plugins) fn connect(files: &[(&str, &str)], ip: &str) -> Trial {
        Trial::connect_with(files, ip, Vec::new())
    }

    /// The same with plugins that stand behind the first line of the file `plugins`.
    pub(in crate::plugins) fn connect_with(
        files: &[(&str, &str)],
        ip: &str,
        more: Vec<Loaded>,
    ) -> Trial {
        let files = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
        let (site, problems) = load(&Files::in_memory(files), &defaults, None, Strictness::Start);
        assert!(problems.is_empty(), "{problems:?}");
        let mut plugins = site.base.plugins().to_vec();
        plugins.splice(1..1, more);
        let (chain, site) = (Arc::new(Chain::new("plugins", plugins)), Arc::new(site));
        let peer = Peer {
            ip: ip.parse().expect("an address"),
            port: 1,
            local: "198.51.100.25:25".parse().expect("an address"),
            name: None,
        };
        let visit = Visit::new(Id(7), peer, chain, &around(&site, Moment::default()));
        let mut trial =
            Trial { visit, site, log: Vec::new(), now: Moment::default(), stored: None };
        trial.pump(b"");
        trial
    }

    /// Sends a whole mail from the envelope on, its text with the line that ends it; gives the reply and
    /// what this plugin has logged.
    pub(in crate::plugins) fn deliver(
        &mut self,
        text: &str,
        plugin: &str,
    ) -> (String, Vec<String>) {
        for command in ["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"] {
            self.say(command);
        }
        let reply = self.say(text);
        let log = self.take_log();
        let ours = log.iter().filter_map(|line| line.strip_prefix(plugin)?.strip_prefix(": "));
        (reply, ours.map(str::to_string).collect())
    }

    /// Sends a line; gives the reply without its last line end.
    pub(in crate::plugins) fn say(&mut self, line: &str) -> String {
        self.pump(format!("{line}\r\n").as_bytes())
    }

    /// What plugins have logged since the last time, each line `plugin: text`.
    pub(in crate::plugins) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn pump(&mut self, mut input: &[u8]) -> String {
        let mut out = Vec::new();
        loop {
            let (used, want) = self.visit.pump(input, &mut out, &around(&self.site, self.now));
            input = input.get(used..).unwrap_or_default();
            match want {
                Want::Move(lane) => self.work(lane),
                Want::Answers => {
                    for question in self.visit.take_questions() {
                        let answer = self.answer(&question);
                        self.visit.answer(&question, &Arc::new(answer));
                    }
                }
                Want::Turn => {}
                Want::Input
                | Want::StartTls
                | Want::Introduced
                | Want::Written
                | Want::Pause(_)
                | Want::Home
                | Want::Close => break,
            }
        }
        self.log.extend(self.visit.take_log().into_iter().filter_map(|event| match event {
            Event::Line(line) if !line.plugin.is_empty() => {
                Some(format!("{}: {}", line.plugin, line.text))
            }
            _ => None,
        }));
        String::from_utf8(out).expect("replies are ASCII").trim_end().to_string()
    }

    fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Store(table, key) => {
                let held = self.stored.as_ref() == Some(&format!("{table} {key}"));
                Answer::Stored(held.then(Box::default))
            }
            Question::Dns(_) | Question::Quiet(_) | Question::Lane(_) => Answer::TempFail,
        }
    }

    fn work(&mut self, mut lane: Lane) {
        loop {
            let place = match lane {
                Lane::Workers => Place::Worker,
                lane => Place::Lane(lane, &Nobody),
            };
            match self.visit.work(place, self.now) {
                Want::Move(next) => lane = next,
                _ => return,
            }
        }
    }
}

fn around(site: &Arc<Site>, now: Moment) -> Surroundings<'_> {
    Surroundings { now, site, verbosity: Level::Debug, stopwatch: || Duration::ZERO }
}

/// A resolver that knows nothing.
pub(in crate::plugins) struct Nobody;

impl Ask for Nobody {
    fn ask(&self, questions: &[Question], _deadline: Duration) -> Vec<Arc<Answer>> {
        questions.iter().map(|_| Arc::new(Answer::TempFail)).collect()
    }

    fn file(&self) -> io::Result<Arc<dyn Stored>> {
        Ok(Arc::new(FakeFile::default()))
    }
}
