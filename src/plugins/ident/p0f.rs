//! Asks p0f which operating system the client has: mail servers rarely run on a desktop's.
//!
//! p0f (version 3) watches the network and answers on a Unix socket. It is asked once for each client
//! that is neither exempt nor this machine. What it says is logged as `NAME FLAVOR` and put into the
//! header; with `smite_os` it lowers the client's score, the file can refuse, and greylisting can be
//! told to look at it. A p0f that does not run is as if this line were not there, and one that hangs is
//! waited for half a second.
//!
//! Arguments:
//!   SOCKET       path of p0f's socket (its option -s); required
//!   version      `3`. Version 2 is no longer maintained: with `2` this plugin is left idle, with a
//!                warning
//!   smite_os     a regular expression, searched without regard to case in `NAME FLAVOR`
//!   add_headers  `false`: add no header fields; by default `true`
//!   local_ip     only version 2 needed it; accepted and not used
//!
//! Config files: `p0f_blocked_operating_systems`, one system a line, refused at RCPT: `NAME`, `NAME
//! FLAVOR`, or `/REGEX/`. Case does not matter.
//!
//! Replies: `550 5.7.1 OS Blocked`
//!
//! Karma: -1 where `smite_os` fits.
//!
//! When it cannot tell: the client is treated as if nobody had asked.

use crate::client::deadline::Deadline;
use crate::client::p0f::{Fingerprint, ask};
use crate::client::words;
use crate::config::files::{Line, Problem, quote};
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Lane, Plugin, Verdict};
use crate::smtp::address::Address;
use regex::bytes::{Regex, RegexBuilder};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long p0f is waited for. It answers from memory.
const PATIENCE: Duration = Duration::from_millis(500);

/// Octets of one compiled expression.
const REGEX_SIZE_MAX: usize = 256 * 1_024;

/// Header fields that only we may add.
const GENRE: &str = "X-P0F-Genre";
const LINK_TYPE: &str = "X-P0F-Link-Type";

struct P0f {
    /// None where there is nobody to ask.
    socket: Option<PathBuf>,
    smite: Option<Regex>,
    add_headers: bool,
    blocked: Vec<Blocked>,
}

/// A line of the file.
enum Blocked {
    Phrase(String),
    Expression(Regex),
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let smite = args.named("smite_os").and_then(|word| {
        compile(&word).map_err(|what| args.complain(format!("smite_os: {what}"))).ok()
    });
    let add_headers = match args.named("add_headers").as_deref() {
        None | Some("true" | "1" | "yes") => true,
        Some("false" | "0" | "no") => false,
        Some(other) => {
            args.complain(format!("add_headers {other}: use true or false"));
            true
        }
    };
    // Version 2 wanted to know which of our addresses the client had reached.
    args.named("local_ip");
    let version = args.named("version");
    let mut socket = args.positional().map(PathBuf::from);
    match &socket {
        None => args.complain("say where p0f listens: ident/p0f /path/of/socket"),
        Some(path) if !path.is_absolute() => {
            args.complain(format!("{}: give an absolute path", path.display()));
        }
        Some(_) => {}
    }
    match version.as_deref() {
        None | Some("3") => {}
        Some("2") => {
            let what = "p0f 2 is not asked: run p0f 3, and write version 3";
            setup.with_problems(|problems| Problem::warning(&args.line, what).note(problems));
            socket = None;
        }
        Some(other) => args.complain(format!("version {other}: only p0f 3 is asked")),
    }
    let lines = setup.lines("p0f_blocked_operating_systems");
    let blocked = setup.with_problems(|problems| {
        lines.iter().filter_map(|line| read_blocked(line, problems)).collect()
    });
    Arc::new(P0f { socket, smite, add_headers, blocked })
}

fn read_blocked(line: &Line, problems: &mut Vec<Problem>) -> Option<Blocked> {
    let inner = line.text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    match inner.map(compile) {
        None => Some(Blocked::Phrase(line.text.clone())),
        Some(Ok(regex)) => Some(Blocked::Expression(regex)),
        Some(Err(what)) => {
            Problem::error(line, what).note(problems);
            None
        }
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(true)
        .nest_limit(50)
        .size_limit(REGEX_SIZE_MAX)
        .dfa_size_limit(REGEX_SIZE_MAX)
        .build();
    built.map_err(|_| format!("{} is no regular expression", quote(text)))
}

/// `NAME FLAVOR`, what qpsmtpd calls the genre.
fn genre(found: &Fingerprint) -> String {
    format!("{} {}", found.os, found.flavor).trim().to_string()
}

impl P0f {
    fn blocks(&self, found: &Fingerprint) -> bool {
        let genre = genre(found);
        self.blocked.iter().any(|entry| match entry {
            Blocked::Phrase(phrase) => {
                phrase.eq_ignore_ascii_case(&genre) || phrase.eq_ignore_ascii_case(&found.os)
            }
            Blocked::Expression(regex) => regex.is_match(genre.as_bytes()),
        })
    }

    fn note(&self, cx: &mut Cx<'_>, found: Fingerprint) {
        let genre = genre(&found);
        cx.log(Level::Info, foreign(genre.as_bytes()));
        if self.smite.as_ref().is_some_and(|regex| regex.is_match(genre.as_bytes())) {
            cx.karma(-1);
        }
        cx.facts_mut().system = Some(Arc::new(found));
    }
}

impl Plugin for P0f {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Connect, Hook::Rcpt, Hook::Message])
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(socket) = &self.socket else { return Ok(Verdict::Declined) };
        let ip = cx.peer().ip;
        if ip.is_loopback() || cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        cx.lane(Lane::Scanners)?;
        match ask(socket, ip, Deadline::after(PATIENCE)) {
            Ok(Some(found)) => self.note(cx, found),
            Ok(None) => cx.log(Level::Info, "pass, no match"),
            Err(error) => {
                let away = matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                );
                let level = if away { Level::Debug } else { Level::Notice };
                cx.log(level, format!("error, p0f: {}", foreign(words(&error).as_bytes())));
            }
        }
        Ok(Verdict::Declined)
    }

    fn rcpt(&self, cx: &mut Cx<'_>, _recipient: &Address) -> Hooked {
        let blocked = cx.facts().system.as_ref().is_some_and(|found| self.blocks(found));
        if !blocked || cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        cx.log(Level::Info, "fail, OS Blocked");
        Ok(Verdict::deny((7, 1), "OS Blocked"))
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        if !self.add_headers {
            return Ok(Verdict::Declined);
        }
        for name in [GENRE, LINK_TYPE] {
            cx.delete_header(name, None);
        }
        if let Some(found) = cx.facts().system.clone() {
            for (name, value) in [(LINK_TYPE, &found.link), (GENRE, &genre(&found))] {
                if !value.is_empty() {
                    cx.insert_header(name, value);
                }
            }
        }
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::p0f::tests::{answer, serve};
    use crate::config::files::Files;
    use crate::plugins::tests::trial::Trial;

    /// Connects while p0f says `octets`, or does not run; gives reply to a RCPT and the plugin's lines.
    fn play(
        name: &str,
        octets: Option<Vec<u8>>,
        arguments: &str,
        ip: &str,
    ) -> (String, Vec<String>) {
        let (path, thread) = match octets {
            Some(octets) => {
                let (path, thread) = serve(name, octets);
                (path, Some(thread))
            }
            None => (PathBuf::from("/nowhere/p0f.sock"), None),
        };
        let socket = path.display();
        let plugins =
            format!("relay\nident/p0f {socket} {arguments} loglevel +0\nrcpt_ok\nqueue/discard\n");
        let mut trial = Trial::connect(
            &[
                ("plugins", plugins.as_str()),
                ("p0f_blocked_operating_systems", "Windows XP"),
                ("relayclients", "198.51.100."),
                ("rcpthosts", "example.com"),
            ],
            ip,
        );
        if let Some(thread) = thread {
            let question = thread.join().unwrap();
            assert_eq!(question[5..9], [192, 0, 2, 1]);
        }
        trial.say("EHLO client.example");
        trial.say("MAIL FROM:<a@example.org>");
        let reply = trial.say("RCPT TO:<b@example.com>");
        let log = trial
            .take_log()
            .into_iter()
            .filter_map(|line| line.strip_prefix("ident::p0f: ").map(str::to_string));
        (reply, log.collect())
    }

    #[test]
    fn systems_are_logged_scored_and_refused() {
        const TAKEN: &str = "250 2.1.5 <b@example.com>, recipient ok";
        const BLOCKED: &str = "550 5.7.1 OS Blocked [7.1]";
        for (name, os, flavor, arguments, reply, log) in [
            ("linux", "Linux", "3.x", "smite_os windows", TAKEN, &["Linux 3.x"][..]),
            ("seven", "Windows", "7", "smite_os ^win", TAKEN, &["Windows 7", "karma -1 (-1)"]),
            ("xp", "Windows", "XP", "", BLOCKED, &["Windows XP", "fail, OS Blocked"]),
            ("none", "", "", "", TAKEN, &["pass, no match"]),
        ] {
            let octets = Some(answer(0x10, os, flavor, ""));
            let seen = play(name, octets, arguments, "192.0.2.1");
            let log = log.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(seen, (reply.to_string(), log), "{name}");
        }
        let (reply, log) = play("alien", Some(vec![b'x'; 232]), "", "192.0.2.1");
        assert_eq!(
            (&*reply, &*log),
            (TAKEN, &["error, p0f: the answer is not p0f's".to_string()][..])
        );
    }

    #[test]
    fn others_can_be_told_to_look_at_it() {
        for (name, os, skipped) in [("other", "Linux", true), ("same", "Windows", false)] {
            let (path, thread) = serve(name, answer(0x10, os, "7", ""));
            let plugins = format!(
                "ident/p0f {}\ngreylisting p0f genre,windows\nrcpt_ok\nqueue/discard\n",
                path.display()
            );
            let mut trial = Trial::connect(&[("plugins", plugins.as_str())], "192.0.2.1");
            thread.join().unwrap();
            trial.say("EHLO client.example");
            trial.say("MAIL FROM:<a@example.org>");
            let skip = "greylisting: skip, no p0f match";
            let log = trial.take_log();
            assert_eq!(log.iter().any(|line| line == skip), skipped, "{log:?}");
            assert!(log.iter().any(|line| line.starts_with("greylisting: ")));
        }
    }

    #[test]
    fn nobody_is_asked_where_nobody_can_say() {
        for (ip, log) in [
            ("192.0.2.1", &["error, p0f: No such file or directory"][..]),
            ("127.0.0.1", &[]),
            ("198.51.100.7", &["skip, relay client"]),
        ] {
            let (reply, seen) = play("absent", None, "", ip);
            assert!(reply.starts_with("250"), "{reply}");
            assert_eq!(seen, log, "{ip}");
        }
    }

    fn line(text: &str) -> Line {
        Line { text: text.to_string(), file: "p0f".into(), number: 1 }
    }

    #[test]
    fn arguments() {
        for (line, complaints, warnings) in [
            ("ident/p0f /run/p0f.sock", 0, 0),
            ("p0f /run/p0f.sock version 3 smite_os windows add_headers false", 0, 0),
            ("ident/p0f /run/p0f.sock local_ip 192.0.2.25", 0, 0),
            ("ident/p0f /run/p0f.sock version 2 local_ip 192.0.2.25", 0, 1),
            ("ident/p0f /run/p0f.sock version 4", 1, 0),
            ("ident/p0f /run/p0f.sock smite_os (", 1, 0),
            ("ident/p0f /run/p0f.sock add_headers perhaps", 1, 0),
            ("ident/p0f run/p0f.sock", 1, 0),
            ("ident/p0f", 1, 0),
            ("ident/p0f /run/p0f.sock more", 1, 0),
        ] {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(line);
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!((args.finish().len(), problems.len()), (complaints, warnings), "{line}");
        }
    }

    #[test]
    fn systems_are_blocked_by_phrase_or_expression() {
        let found = Fingerprint {
            os: "Windows".to_string(),
            flavor: "7 or 8".to_string(),
            link: "DSL".to_string(),
            uptime: None,
            distance: None,
        };
        for (entry, blocked) in [
            ("windows", true),
            ("Windows 7 or 8", true),
            ("Windows 7", false),
            ("7 or 8", false),
            ("/windows [78]/", true),
            ("/^linux/", false),
            ("DSL", false),
        ] {
            let blocked_entry = read_blocked(&line(entry), &mut Vec::new()).unwrap();
            let plugin =
                P0f { socket: None, smite: None, add_headers: true, blocked: vec![blocked_entry] };
            assert_eq!(plugin.blocks(&found), blocked, "{entry}");
        }
        let mut problems = Vec::new();
        assert!(read_blocked(&line("/(/"), &mut problems).is_none());
        assert_eq!(problems.len(), 1);
    }
}
