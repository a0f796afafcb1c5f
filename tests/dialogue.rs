//! Plays the transcripts under `tests/dialogues/`: in virtual time on a visit without any I/O, and
//! over TCP against the real binary.
//!
//! The form of a script:
//!
//! ```text
//! # Why this is tested, in a sentence or two.
//! plugin: earlytalker wait 2     plugin lines in order; rcpt_ok and queue/maildir are added at the
//!                                end unless a line names rcpt_ok or queue/…; $TMP is a folder
//! file rcpthosts: example.com    a line of a config file (repeat for more lines; where not said:
//!                                me = mx.example.net, rcpthosts = example.com, loglevel = 6)
//! program NAME: exec cat          a line of a shell script $TMP/NAME (repeat for more lines)
//! peer: 192.0.2.1                the client; 192.0.2.1 in the pure form, loopback over TCP
//! dns: NAME TYPE DATA            or NXDOMAIN, NODATA, SERVFAIL, TIMEOUT, or RESTS for a list that is
//!                                left alone for a while; other names: NXDOMAIN
//! store: karma 192.0.2.1 naughty=3 nice=1 connects=4 naughty_ago=3600
//!                                a record; greylist KEY black= white= first_ago= last_ago=;
//!                                whitelist ADDRESS mails= written_ago=; `away`: the store cannot say.
//!                                What is recorded is logged: `L: store: karma 192.0.2.1 naughty=4
//!                                nice=1 connects=5`
//! tls: yes                       there is a certificate, so that STARTTLS is offered
//! listener: smtps submission     what the listener is for, in the words of the file `listen`
//! guesses: 10                    logins that failed lately from the client's network
//! geoip: 192.0.2.0/24 EU DE Berlin 52.5 13.4
//!                                what the database of places knows; or NETWORK AS64500 NAME
//! load: 9.5                      1-minute load average at accept
//! connections: 3                 so many of this client are open, this one included
//! history: -1                    what the others have found out of the client's karma
//! pure: reason                   never over TCP, why
//! ---
//! S: 220 mx.example.net ESMTP *  exact reply line without CR LF, `*` matches anything
//! S*3 250 ok                     three such lines
//! S: <rest>                      the remaining lines of this multi-line reply
//! S: <closed>                    the connection is closed by the server
//! C: EHLO client.example         sent with CR LF
//! C\ raw \r \n \t \0 \xHH \\     sent as it is, no line end added; `C\*1000 text`: 1000 times
//! C! tls                         a TLS handshake; what follows is said under it. `C! tls NAME`: with
//!                                a certificate of NAME that our CA has signed
//! C! close                       the client closes; `C! reset` = RST; `C! shutdown` = half close
//! + 2s                           time passes, virtual in the pure form; ms, s, m, h
//! L: (connect) earlytalker: fail some log line contains this; `L!`: none does
//! M: Subject: x                  some delivered message has such a line; `M!`: none has
//! M\ raw                         some delivered message contains these octets (LF line ends)
//! M: <0>                         number of delivered messages so far
//! ```
//!
//! All output must be matched by `S:` lines. `DIALOGUE=text` plays only the scripts whose name
//! contains the text; `UPDATE=1` rewrites the `S:` lines of failing scripts for review.

pub(crate) mod memory;
pub(crate) mod places;
pub(crate) mod play;
pub(crate) mod pure;
pub(crate) mod script;
mod spool;
mod tcp;
pub(crate) mod tls;
pub(crate) mod zone;

use play::{Failure, play};
use script::Script;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Daemons at a time.
const DAEMONS: usize = 4;

#[test]
fn all_pure() {
    let update = std::env::var_os("UPDATE").is_some();
    let (scripts, mut failures) = scripts();
    let mut rewritten = 0;
    for script in &scripts {
        let Err(failure) =
            pure::Visitor::arrive(script).and_then(|mut wire| play(script, &mut wire))
        else {
            continue;
        };
        match update.then(|| rewrite(script)) {
            Some(Ok(true)) => {
                rewritten += 1;
                println!("rewrote {}", script.name);
            }
            Some(Ok(false)) | None => failures.push(failure),
            Some(Err(failure)) => failures.push(failure),
        }
    }
    println!("{} dialogues played, {rewritten} rewritten", scripts.len());
    report(&failures);
}

#[test]
fn all_over_tcp() {
    let (all, mut failures) = scripts();
    // What cannot be read is complained of by the other test already.
    failures.clear();
    let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
    let mut scripts = Vec::new();
    for script in &all {
        match script.not_over_tcp() {
            Some(why) => *left_out.entry(why).or_default() += 1,
            None => scripts.push(script),
        }
    }
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(failures));
    std::thread::scope(|scope| {
        for _ in 0..DAEMONS {
            scope.spawn(|| {
                while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played =
                        tcp::Client::connect(script).and_then(|mut wire| play(script, &mut wire));
                    if let (Err(failure), Ok(mut failed)) = (played, failed.lock()) {
                        failed.push(failure);
                    }
                }
            });
        }
    });
    let count = left_out.values().sum::<usize>();
    println!("{} dialogues played over TCP, {count} left out: {left_out:?}", scripts.len());
    report(&failed.into_inner().unwrap_or_default());
}

/// All scripts that are asked for, in order, and those that cannot be read.
fn scripts() -> (Vec<Script>, Vec<Failure>) {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let wanted = std::env::var("DIALOGUE").unwrap_or_default();
    let mut paths = Vec::new();
    gather(&top, &mut paths);
    paths.sort();
    let (mut scripts, mut failures) = (Vec::new(), Vec::new());
    for path in paths {
        let below = path.strip_prefix(&top).unwrap_or(&path).with_extension("");
        let name = below.to_string_lossy().into_owned();
        if !name.contains(&wanted) {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| format!("1: {error}"));
        match text.and_then(|text| Script::parse(&name, path, &text)) {
            Ok(script) => scripts.push(script),
            Err(what) => failures.push(Failure::of(&format!("{name}.txt:{what}"))),
        }
    }
    (scripts, failures)
}

fn gather(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, found);
        } else if path.extension().is_some_and(|end| end == "txt") {
            found.push(path);
        }
    }
}

/// Plays again, writes down what is said, and puts it in the place of the `S:` lines. False if
/// these were right and something else is wrong.
fn rewrite(script: &Script) -> Result<bool, Failure> {
    let mut wire = pure::Visitor::arrive(script)?;
    let text = play::record(script, &mut wire);
    if text == script.text {
        return Ok(false);
    }
    let written = fs::write(&script.path, text.join("\n") + "\n");
    written.map_err(|error| Failure::of(&format!("{}: {error}", script.name)))?;
    Ok(true)
}

fn report(failures: &[Failure]) {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(texts.is_empty(), "{} failed:\n\n{}\n", texts.len(), texts.join("\n\n"));
}
