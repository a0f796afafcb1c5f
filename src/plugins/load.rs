//! From a config folder to a snapshot with its plugins.
//!
//! Everything that is wrong is found in one pass and told together. At start an unknown name or
//! argument is an error; on a reload the line is skipped with a warning, since mail that flows is worth
//! more than a line that is wrong. A plugin whose line and files are unchanged is taken over from the
//! snapshot before, compiled lists and all.

use crate::config::files::{Files, Line, Problem, Reading, Severity};
use crate::config::peers::Peers;
use crate::config::{self, Config, Defaults};
use crate::plugin::chain::{Chain, Loaded, LogShift};
use crate::plugin::log::{Level, Output, log_name};
use crate::plugin::site::{Part, Setup, Site};
use crate::plugin::{Args, Hook};
use crate::plugins::{Entry, Kind, Loader, find};
use crate::store;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// When a snapshot is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// At start and by `check-config`: what nobody knows is an error.
    Start,
    /// On a reload: it is skipped with a warning.
    Reload,
}

/// Reads a folder. The snapshot is there even if there are errors, for who wants to look at it; the
/// daemon starts, or goes over to it, only without.
pub fn load(
    files: &Files,
    defaults: &Defaults,
    earlier: Option<&Site>,
    strictness: Strictness,
) -> (Site, Vec<Problem>) {
    let mut problems = Vec::new();
    config::require_plugins(files, &mut problems);
    let before = earlier.map(|site| &*site.config);
    let config = Arc::new(Config::load_after(files, defaults, before, &mut problems));
    let mut loader = Loading {
        files,
        strictness,
        earlier,
        problems: &mut problems,
        outputs: Vec::new(),
        parts: BTreeMap::new(),
        warned: Vec::new(),
    };
    let base_lines = loader.lines("plugins");
    let base = loader.chain("plugins", &base_lines, &[]);
    let mut lists = BTreeMap::new();
    let mut peers = None;
    if base_lines.iter().any(is_peers) {
        let names = files.names("peers");
        for name in &names {
            let lines = loader.lines(&format!("peers/{name}"));
            lists.insert(name.clone(), loader.chain(name, &base_lines, &lines));
        }
        peers = Some(loader.peers(&names));
    }
    for line in loader.lines("logging") {
        loader.logger(&line);
    }
    let mut store = store::Settings::load(files, &config.state_dir, loader.problems);
    store.keep_reports(&config.state_dir, &config.rules.me);
    let outputs = std::mem::take(&mut loader.outputs);
    let parts = std::mem::take(&mut loader.parts);
    let loglevel = Level::ALL.into_iter().find(|level| level.number() == config.loglevel);
    let site = Site {
        store,
        base,
        lists,
        peers,
        outputs,
        loglevel: loglevel.unwrap_or(Level::Warning),
        stamps: files.stamps(),
        parts,
        config,
    };
    check_queue(&site, &mut problems);
    (site, problems)
}

/// A list without a queue plugin takes no mail: that is worth a word before the first sender's 451.
fn check_queue(site: &Site, problems: &mut Vec<Problem>) {
    let chains = match &site.peers {
        None => vec![("plugins".to_string(), &site.base)],
        Some(_) => site.lists.iter().map(|(name, list)| (format!("peers/{name}"), list)).collect(),
    };
    for (file, chain) in chains {
        for (hook, what) in [
            (Hook::Rcpt, "no plugin accepts recipients: add rcpt_ok"),
            (Hook::Queue, "no plugin takes messages: add a line queue/…"),
        ] {
            if !chain.has(hook) {
                Problem::in_file(Severity::Warning, &file, what).note(problems);
            }
        }
    }
}

fn is_peers(line: &Line) -> bool {
    line.text.split_whitespace().next().and_then(find).is_some_and(|it| it.name == "peers")
}

struct Loading<'a> {
    files: &'a Files,
    strictness: Strictness,
    earlier: Option<&'a Site>,
    problems: &'a mut Vec<Problem>,
    outputs: Vec<Output>,
    parts: BTreeMap<String, Part>,
    warned: Vec<String>,
}

impl Loading<'_> {
    fn lines(&mut self, name: &str) -> Vec<Line> {
        self.files.lines(name, self.problems)
    }

    /// `base` with the lines of a list in the place of `peers`. Lines that name one plugin twice, by
    /// old names perhaps, load it once, with the arguments of all of them.
    fn chain(&mut self, name: &str, base: &[Line], list: &[Line]) -> Arc<Chain> {
        let mut wanted: Vec<(&'static Entry, Args)> = Vec::new();
        for line in base {
            let lines = if is_peers(line) { list } else { std::slice::from_ref(line) };
            for line in lines {
                self.gather(line, &mut wanted);
            }
        }
        let loaded = wanted.into_iter().filter_map(|(entry, args)| self.plugin(entry, args));
        Arc::new(Chain::new(name, loaded.collect()))
    }

    fn gather(&mut self, line: &Line, wanted: &mut Vec<(&'static Entry, Args)>) {
        let args = Args::new(line.clone());
        let Some(entry) = find(&args.called) else {
            let what = format!("no plugin is called {}", config::files::quote(&args.called));
            return self.complain(line, what);
        };
        if args.called != entry.name {
            self.warn_once(line, format!("'{}' is called '{}' now", args.called, entry.name));
        }
        match entry.kind {
            Kind::Gone(why) => {
                self.warn_once(line, format!("'{}' is left out: {why}", args.called));
            }
            Kind::Peers => {
                self.warn_once(line, "'peers' has no place in a list under peers/".to_string());
            }
            // Read with the settings of the daemon.
            Kind::Tls => {}
            Kind::Logger(_) => self.logger(line),
            Kind::Plugin(_) => {
                let twin = wanted.iter_mut().find(|(known, earlier)| {
                    known.name == entry.name && earlier.instance == args.instance
                });
                match twin {
                    Some((_, earlier)) => earlier.merge(args),
                    None => wanted.push((entry, args)),
                }
            }
        }
    }

    fn plugin(&mut self, entry: &'static Entry, mut args: Args) -> Option<Loaded> {
        let Kind::Plugin(load) = entry.kind else { return None };
        let key = args.key();
        if let Some(part) = self.parts.get(&key) {
            return Some(part.loaded.clone());
        }
        if let Some(part) = self.unchanged(&key) {
            self.parts.insert(key, part.clone());
            return Some(part.loaded);
        }
        let part = self.load_plugin(entry, load, &mut args);
        let faults = args.finish();
        for fault in &faults {
            self.complain(&args.line, format!("{}: {fault}", entry.name));
        }
        if !faults.is_empty() {
            return None;
        }
        self.parts.insert(key, part.clone());
        Some(part.loaded)
    }

    fn load_plugin(&mut self, entry: &'static Entry, load: Loader, args: &mut Args) -> Part {
        let loglevel = log_shift(args);
        let speculate = flag(args, "speculate");
        let inline = flag(args, "inline");
        let full = match args.instance.as_str() {
            "" => entry.name.to_string(),
            instance => format!("{}:{instance}", entry.name),
        };
        let setup = Setup::new(self.files, self.problems);
        let plugin = load(args, &setup);
        let read = setup.read();
        let mut hasher = DefaultHasher::new();
        full.hash(&mut hasher);
        let loaded = Loaded {
            plugin,
            name: entry.name,
            log_name: log_name(&full).into(),
            key: hasher.finish(),
            loglevel,
            speculate,
            inline,
            reputation: entry.reputation,
        };
        Part { loaded, read }
    }

    /// The plugin of the snapshot before, if its line is there again and its files are the same.
    fn unchanged(&mut self, key: &str) -> Option<Part> {
        let part = self.earlier?.parts.get(key)?.clone();
        // Reading makes the digests, and remembers that this snapshot depends on the files.
        let (files, problems) = (self.files, &mut *self.problems);
        let same =
            |(reading, digest): &(Reading, u64)| files.read_again(reading, problems) == *digest;
        part.read.iter().all(same).then_some(part)
    }

    fn logger(&mut self, line: &Line) {
        let mut words = line.text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        match find(name).map(|entry| entry.kind) {
            Some(Kind::Logger(load)) => match load(&words) {
                Ok(output) => self.outputs.push(output),
                Err(what) => self.complain(line, format!("{name}: {what}")),
            },
            Some(Kind::Gone(why)) => self.warn_once(line, format!("{name} is left out: {why}")),
            _ => {
                let what = format!("no logger is called {}", config::files::quote(name));
                self.complain(line, what);
            }
        }
    }

    fn peers(&mut self, names: &[String]) -> Peers {
        let (peers, odd) = Peers::new(names);
        for name in odd {
            let what = "this name is no address, no prefix, and none of 0 and local";
            Problem::in_file(Severity::Warning, &format!("peers/{name}"), what).note(self.problems);
        }
        if !names.iter().any(|name| name == "0") {
            let what = "missing: clients that no other list names will be refused";
            Problem::in_file(Severity::Warning, "peers/0", what).note(self.problems);
        }
        peers
    }

    fn complain(&mut self, line: &Line, what: String) {
        match self.strictness {
            Strictness::Start => Problem::error(line, what).note(self.problems),
            Strictness::Reload => {
                Problem::warning(line, format!("{what}; the line is skipped")).note(self.problems);
            }
        }
    }

    fn warn_once(&mut self, line: &Line, what: String) {
        if !self.warned.contains(&what) {
            Problem::warning(line, what.clone()).note(self.problems);
            self.warned.push(what);
        }
    }
}

fn log_shift(args: &mut Args) -> LogShift {
    let Some(word) = args.named("loglevel") else { return LogShift::Keep };
    let shift = word.strip_prefix('+').or(word.starts_with('-').then_some(word.as_str()));
    let found = match shift {
        Some(shift) => shift.parse().ok().filter(|by| (-7..=7).contains(by)).map(LogShift::By),
        None => word.parse().ok().map(LogShift::Fixed),
    };
    found.unwrap_or_else(|| {
        args.complain(format!("loglevel {word}: use 0 to 7, a name, or a signed digit"));
        LogShift::Keep
    })
}

fn flag(args: &mut Args, name: &str) -> bool {
    match args.named(name).as_deref() {
        None | Some("yes" | "1") => true,
        Some("no" | "0") => false,
        Some(other) => {
            args.complain(format!("{name} {other}: use yes or no"));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(files: &[(&str, &str)], strictness: Strictness) -> (Site, Vec<String>) {
        let owned = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
        let (site, problems) = load(&Files::in_memory(owned), &defaults, None, strictness);
        (site, problems.iter().map(ToString::to_string).collect())
    }

    fn names(chain: &Chain) -> Vec<&str> {
        chain.plugins().iter().map(|loaded| &*loaded.log_name).collect()
    }

    #[test]
    fn order_aliases_and_instances() {
        let (site, problems) = site(
            &[("plugins", "check_relay\ncheck_norelay\nrcpt_ok\nqueue/discard\nrelay:2\n")],
            Strictness::Start,
        );
        assert_eq!(names(&site.base), ["relay", "rcpt_ok", "queue::discard", "relay_3a2"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.contains("is called 'relay' now")));
    }

    #[test]
    fn faults_by_strictness() {
        let files = [("plugins", "nonsense\nrcpt_ok odd\nrcpt_ok:2\nqueue/discard\n")];
        let (_, problems) = site(&files, Strictness::Start);
        assert_eq!(
            problems,
            [
                "plugins:1: no plugin is called \"nonsense\"",
                "plugins:2: rcpt_ok: unknown argument: odd"
            ]
        );
        let (site, problems) = site(&files, Strictness::Reload);
        assert_eq!(names(&site.base), ["rcpt_ok_3a2", "queue::discard"]);
        assert!(problems.iter().all(|problem| problem.contains("warning")), "{problems:?}");
    }

    #[test]
    fn peers_lists_take_the_place_of_the_line() {
        let (site, problems) = site(
            &[
                ("plugins", "relay\npeers\nqueue/discard\n"),
                ("peers/0", "rcpt_ok\n"),
                ("peers/local", "relay:2\nrcpt_ok\n"),
                ("peers/192.0.2", "rcpt_ok\n"),
            ],
            Strictness::Start,
        );
        assert!(problems.is_empty(), "{problems:?}");
        let of = |ip: &str| {
            let chain = site.chain_for(ip.parse().expect("an address")).expect("a list");
            (chain.name.to_string(), names(chain).join(" "))
        };
        let outside = "relay rcpt_ok queue::discard".to_string();
        assert_eq!(of("198.51.100.1"), ("0".to_string(), outside.clone()));
        assert_eq!(of("192.0.2.7"), ("192.0.2".to_string(), outside));
        assert_eq!(
            of("::1"),
            ("local".to_string(), "relay relay_3a2 rcpt_ok queue::discard".to_string())
        );
    }

    /// Files by their whole path, of other software, are looked at again like the config folder's.
    #[test]
    fn plugins_that_read_elsewhere_are_taken_over_too() {
        let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
        let load_with = |excluded: &str, earlier: Option<&Site>| {
            let files = [
                ("plugins", "greylisting\nrcpt_ok\nqueue/discard"),
                ("greylist_exclude_files", "/etc/postgrey/whitelist"),
                ("/etc/postgrey/whitelist", excluded),
            ];
            let owned = files.map(|(name, text)| (name.to_string(), text.to_string()));
            let files = Files::in_memory(owned);
            let (site, problems) = load(&files, &defaults, earlier, Strictness::Reload);
            assert!(problems.is_empty(), "{problems:?}");
            site
        };
        let first = load_with("192.0.2.1", None);
        let same = load_with("192.0.2.1", Some(&first));
        let other = load_with("192.0.2.2", Some(&first));
        let plugin = |site: &Site| Arc::clone(&site.base.plugins()[0].plugin);
        assert!(Arc::ptr_eq(&plugin(&first), &plugin(&same)));
        assert!(!Arc::ptr_eq(&plugin(&first), &plugin(&other)));
    }

    #[test]
    fn unchanged_plugins_are_taken_over() {
        let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
        let load_with = |hosts: &str, earlier: Option<&Site>| {
            let files = [("plugins", "rcpt_ok\nrelay\nqueue/discard"), ("rcpthosts", hosts)];
            let owned = files.map(|(name, text)| (name.to_string(), text.to_string()));
            load(&Files::in_memory(owned), &defaults, earlier, Strictness::Reload).0
        };
        let first = load_with("example.com", None);
        let same = load_with("example.com", Some(&first));
        let other = load_with("example.org", Some(&first));
        let plugin = |site: &Site, at: usize| Arc::clone(&site.base.plugins()[at].plugin);
        assert!(Arc::ptr_eq(&plugin(&first, 0), &plugin(&same, 0)));
        assert!(!Arc::ptr_eq(&plugin(&first, 0), &plugin(&other, 0)));
        assert!(Arc::ptr_eq(&plugin(&first, 1), &plugin(&other, 1)));
    }
}
