//! Scanners that are gone: mail does not wait for them, and they are asked again.

use crate::client::clamd::tests::{Act, Fake};
use crate::client::milter::tests as milter;
use crate::client::spamd::tests::{answer, heard, serve};
use crate::plugins::tests::trial::Trial;
use std::path::PathBuf;
use std::time::Duration;

const RESTS: &str = "it has failed again and again and is left alone for a while";
const OPENED: &str = "has failed 3 times in a row and is left alone for a while";
const TEXT: &str = "Message-ID: <1@example.org>\r\n\r\ntext\r\n.";

/// Something that ends the scanner of a test when it is done.
type End = Box<dyn FnOnce()>;

/// A scanner that is asked in vain, rests, and is asked once more when it is there.
struct Row {
    plugin: &'static str,
    name: &'static str,
    /// What the line of the plugin says before and behind the socket.
    line: (&'static str, &'static str),
    /// How failures and a rest are logged.
    error: (&'static str, &'static str),
    reply: &'static str,
    start: fn(&str) -> (PathBuf, End),
    passes: &'static str,
}

fn clamd(name: &str) -> (PathBuf, End) {
    let fake = Fake::start(name, Act::Say(b"stream: OK\0"));
    (fake.path.clone(), Box::new(|| drop(fake.finish())))
}

fn spamd(name: &str) -> (PathBuf, End) {
    let ham = "X-Spam-Status: No, score=-0.1 required=5.0 tests=A\r\n\r\n";
    let (path, thread) = serve(name, answer("False ; -0.1 / 5.0", ham), true);
    (path.clone(), Box::new(move || drop(heard(&path, thread))))
}

fn filter(name: &str) -> (PathBuf, End) {
    let greeting = milter::greeting(6, 0xff, 0);
    let fake = milter::Fake::start(name, &[(b'O', greeting)], 0);
    (fake.path.clone(), Box::new(|| drop(fake.heard())))
}

const ROWS: [Row; 3] = [
    Row {
        plugin: "virus::clamdscan",
        name: "clamd",
        line: ("virus/clamdscan clamd_socket", "defer_on_error yes timeout 20"),
        error: ("error, scanning mail:", ", deferred"),
        reply: "451 4.3.0 ",
        start: clamd,
        passes: "pass, clean",
    },
    Row {
        plugin: "spamassassin",
        name: "spamd",
        line: ("spamassassin reject 1 spamd_socket", "timeout 20"),
        error: ("error,", ""),
        reply: "250 ",
        start: spamd,
        passes: "pass, Ham, -0.1 < 1.0",
    },
    Row {
        plugin: "milter",
        name: "filter",
        line: ("milter filter", "timeout 20"),
        error: ("error, filter:", ", deferred"),
        reply: "451 4.3.0 ",
        start: filter,
        passes: "pass, at eom by filter, 0 changes",
    },
];

#[test]
fn a_scanner_that_fails_is_left_alone_and_asked_again() {
    for row in ROWS {
        let Row { plugin, name, .. } = row;
        let (path, end) = (row.start)(&format!("breaker-{name}"));
        let gone = path.with_extension("gone");
        std::fs::rename(&path, &gone).unwrap();
        let (before, behind) = row.line;
        let plugins = format!("{before} {} {behind}\nrcpt_ok\nqueue/discard\n", path.display());
        let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
        let mut trial = Trial::connect(&files, "192.0.2.1");
        trial.say("EHLO client.example");
        let (start, tail) = row.error;
        let opened = format!("info, {name} {OPENED}");
        let rests = format!("{start} {RESTS}{tail}");
        for (second, is_asked, has_news) in [
            (0, true, false),
            (1, true, false),
            (2, true, true),
            (2, false, false),
            (51, false, false),
            (52, true, false),
            (53, false, false),
            (101, false, false),
        ] {
            trial.now.mono = Duration::from_secs(second);
            let (reply, log) = trial.deliver(TEXT, plugin);
            assert!(reply.starts_with(row.reply), "{name} {second}: {reply}");
            assert_eq!(log.contains(&opened), has_news, "{name} {second}: {log:?}");
            assert_eq!(log.contains(&rests), !is_asked, "{name} {second}: {log:?}");
            assert_eq!(log.len(), 1 + usize::from(has_news), "{name} {second}: {log:?}");
        }
        std::fs::rename(&gone, &path).unwrap();
        trial.now.mono = Duration::from_secs(102);
        let (reply, log) = trial.deliver(TEXT, plugin);
        assert!(reply.starts_with("250 "), "{name}: {reply}");
        assert_eq!(log, [format!("info, {name} answers again"), row.passes.to_string()]);
        end();
    }
}
