//! The checks of `tidy`, checked: each on strings that hold its rule and strings that break it.
//!
//! A row is a path below `src/`, a text, and the start of each complaint without `src/`. So a check
//! that has gone blind fails here, and not years later in a review.

use super::source::Source;
use super::{
    banned, dialogues, layering, lookups, packages, plugin_header, purity, shape, strangers,
};

/// Runs rows of (path, text, complaints' starts).
fn check(rule: fn(&Source) -> Vec<String>, rows: &[(&str, &str, &[&str])]) {
    for (path, text, wanted) in rows {
        let got = rule(&Source::new(path, text));
        let same = got.len() == wanted.len()
            && got.iter().zip(*wanted).all(|(got, want)| got.starts_with(&format!("src/{want}")));
        assert!(same, "{path} {text:?}\n got {got:?}\nwant {wanted:?}");
    }
}

#[test]
fn layers() {
    check(
        layering,
        &[
            ("smtp/body.rs", "use crate::limits::PATH_MAX;", &[]),
            ("smtp/body.rs", "use crate::{limits, mail::headers::Fields};", &[]),
            ("smtp/body.rs", "use super::reply;\nuse self::x;", &[]),
            ("smtp/body.rs", "use super::super::server;", &["smtp/body.rs:1: smtp uses server"]),
            ("smtp/body.rs", "\nuse crate::config;", &["smtp/body.rs:2: smtp uses config"]),
            (
                "plugin/chain.rs",
                "use crate::{\n    mail,\n    plugins::rcpt_ok,\n    server::{conn, spool},\n};",
                &[
                    "plugin/chain.rs:3: plugin uses plugins",
                    "plugin/chain.rs:4: plugin uses server",
                    "plugin/chain.rs:4: plugin uses server",
                ],
            ),
            ("config/mod.rs", "fn a() { crate::sys::pid() }", &[]),
            ("mail/edit.rs", "fn a() { crate::sys::pid() }", &["mail/edit.rs:1: mail uses sys"]),
            ("smtp/body.rs", "// use crate::server;\nconst A: &str = \"crate::server\";", &[]),
            ("smtp/body.rs", "#[cfg(test)]\nmod tests {\n    use crate::server;\n}", &[]),
            ("smtp/body.rs", "pub(crate) fn a(&self) { self.b() }", &[]),
            ("main.rs", "use mailreeve::commands;", &[]),
            ("server/conn.rs", "use mailreeve::commands;", &["server/conn.rs:1: server uses comm"]),
            ("attic.rs", "", &["attic.rs:1: `attic` has no layer"]),
        ],
    );
}

#[test]
fn pure_modules() {
    check(
        purity,
        &[
            ("smtp/body.rs", "use std::net::{IpAddr, SocketAddr};\nuse std::time::Duration;", &[]),
            ("server/conn.rs", "use std::fs;", &[]),
            (
                "smtp/body.rs",
                "use std::{fs, io};",
                &["smtp/body.rs:1: a pure module names std::fs"],
            ),
            (
                "dns/wire.rs",
                "use std::net::UdpSocket;",
                &["dns/wire.rs:1: a pure module names std"],
            ),
            ("dns/wire.rs", "use std::net;", &["dns/wire.rs:1: a pure module names std::net"]),
            (
                "plugins/relay.rs",
                "fn a() { log::warn!(\"x\"); std::env::var(\"A\") }",
                &[
                    "plugins/relay.rs:1: a pure module names log::warn",
                    "plugins/relay.rs:1: a pure module names std::env::var",
                ],
            ),
            (
                "plugin/mod.rs",
                "use std::time::{\n    Duration,\n    Instant as Now,\n};",
                &["plugin/mod.rs:3: a pure module names std::time::Instant"],
            ),
            ("mail/uri.rs", "#[cfg(test)]\nmod tests {\n use std::fs;\n}\nuse std::io;", &[]),
            ("mail/uri.rs", "#[cfg(any(test, fuzzing))]\npub fn fuzz() { std::fs::x() }", &[]),
            ("plugin/mod.rs", "pub mod log;\nfn a() { log::line() }", &[]),
            ("plugin/cx.rs", "use crate::plugin::{log, note};\nfn a() { log::line() }", &[]),
            ("mail/uri.rs", "/// Unlike `std::fs::read`.\nfn a(log: u8) -> u8 { log }", &[]),
        ],
    );
}

#[test]
fn plugins_apart() {
    let names: Vec<String> = ["relay", "naughty", "queue::maildir"].map(str::to_string).into();
    for (path, text, bad) in [
        ("plugins/relay.rs", "use crate::plugin::Cx;", false),
        ("plugins/relay.rs", "use super::naughty;", true),
        ("plugins/relay.rs", "use super::relay;\nuse crate::plugins::naughtyish;", false),
        ("plugins/relay.rs", "fn a() { crate::plugins::queue::maildir::b() }", true),
        ("plugins/queue/maildir.rs", "use super::super::{relay::Policy};", true),
        ("plugins/mod.rs", "use crate::plugins::relay;", false),
        ("plugins/relay.rs", "#[cfg(test)]\nuse super::naughty;", false),
    ] {
        let got = strangers(&Source::new(path, text), &names);
        assert_eq!(!got.is_empty(), bad, "{path} {text:?} {got:?}");
    }
}

#[test]
fn shapes() {
    let long = |count: usize| format!("//! Why.\nfn a() {{\n{}}}\n", "    b();\n".repeat(count));
    let comments = format!("//! Why.\nfn a() {{\n{}}}\n", "    // Why.\n\n".repeat(100));
    let lines = |count: usize| format!("//! Why.\n{}", "\n".repeat(count - 1));
    check(
        shape,
        &[
            ("a.rs", &long(70), &[]),
            ("a.rs", &long(71), &["a.rs:2: fn a has 71 lines of code"]),
            ("a.rs", &comments, &[]),
            ("a.rs", &lines(500), &[]),
            ("a.rs", &lines(501), &["a.rs:501: 501 lines"]),
            ("a.rs", "use std::io;", &["a.rs:1: begins without"]),
            ("a.rs", "//!\n", &["a.rs:1: begins without"]),
            ("a.rs", "//! Why.\ntype A = fn(&[u8]);\ntrait B { fn c(d: [u8; 2]); }", &[]),
            // Braces in literals and comments close nothing.
            (
                "a.rs",
                "//! Why.\nfn a() { '}'; \"}\"; r#\"\"}\"#; b'\\''; /* } */ }\nfn b() {}",
                &[],
            ),
        ],
    );
}

#[test]
fn bans() {
    check(
        banned,
        &[
            ("sys/mod.rs", "unsafe { a() }", &[]),
            ("smtp/a.rs", "unsafe { a() }", &["smtp/a.rs:1: unsafe"]),
            ("smtp/a.rs", "#![deny(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe\";", &[]),
            ("server/tls/a.rs", "use rustls::A;", &[]),
            ("server/a.rs", "use rustls::A;", &["server/a.rs:1: rustls"]),
            ("smtp/a.rs", "\n// TODO: more", &["smtp/a.rs:2: a note"]),
            ("smtp/a.rs", "fn a() { todo!() }", &["smtp/a.rs:1: unfinished"]),
            ("smtp/a.rs", "fn todo() {}", &[]),
            ("smtp/a.rs", "const A: &[u8] = b\"250 ok\\r\\n\";", &[]),
            (
                "server/a.rs",
                "const A: &[u8] = b\"421 later\\r\\n\"; // \\r\\n",
                &["server/a.rs:1: a line end"],
            ),
            ("server/a.rs", "#[cfg(test)]\nmod tests {\n    const A: &str = \"\\r\\n\";\n}", &[]),
        ],
    );
}

#[test]
fn headers() {
    let whole = "//! Why.\n//!\n//! Arguments: none.\n//! Config files:\n//!   `x`: lines.\n\
                 //! Replies: none.\n//! Karma: none.\n//! When it cannot tell: nothing to fail.\n\
                 impl Plugin for A {}";
    let part = whole.replace("//!   `x`: lines.\n", "").replace("Karma: none", "Karma: ");
    check(
        plugin_header,
        &[
            ("plugins/relay.rs", whole, &[]),
            ("plugins/logging/warn.rs", "use a;", &[]),
            ("plugins/tests.rs", "impl Plugin for A {}", &[]),
            (
                "plugins/queue/maildir.rs",
                &part.replace("Karma: .", "Karma:"),
                &[
                    "plugins/queue/maildir.rs:1: the header lacks a line `//! Config files:",
                    "plugins/queue/maildir.rs:1: the header lacks a line `//! Karma:",
                ],
            ),
        ],
    );
}

#[test]
fn lookups_without_question_marks() {
    let complaint: &[&str] = &["plugins/a.rs:1: a lookup without `?`"];
    check(
        lookups,
        &[
            ("plugins/a.rs", "let a = cx.dns(name(x))?;", &[]),
            ("plugins/a.rs", "let a = cx\n    .dns_all(names.map(|n| q(n)))?;", &[]),
            ("plugins/a.rs", "let (a, b) = (cx.dns(x), cx.dns(y));\nlet (a, b) = (a?, b?);", &[]),
            ("plugins/a.rs", "names.map(|n| cx.dns(n)).collect::<Result<Vec<_>, _>>()?", &[]),
            ("plugins/a.rs", "let quiet = cx.quiet(self.wait);\nquiet?;", &[]),
            ("plugins/a.rs", "cx.dns(x).map(|a| a.records().len())?", &[]),
            ("plugins/a.rs", "if let Ok(a) = cx.dns(x) {}", complaint),
            ("plugins/a.rs", "let Ok(a) = cx.dns(x) else { return };", complaint),
            ("plugins/a.rs", "let a = cx.dns(x).ok();", complaint),
            ("plugins/a.rs", "let a = cx.stored(x, y).unwrap_or(None);", complaint),
            ("plugins/a.rs", "let _ = cx.lane(Lane::Writers);", complaint),
            ("plugins/a.rs", "#[cfg(test)]\nmod tests { fn a() { cx.dns(x).ok(); } }", &[]),
            ("server/a.rs", "let a = cx.dns(x).ok();", &[]),
        ],
    );
}

#[test]
fn dialogue_names() {
    let text =
        "/// A. dialogue: limits/a\nconst A: u8 = 1;\n/// dialogue: limits/b.\nconst B: u8 = 1;";
    assert_eq!(dialogues(text, |name| matches!(name, "limits/a" | "limits/b")).len(), 0);
    let got = dialogues(text, |name| name == "limits/a");
    assert!(matches!(got.as_slice(), [one] if one.starts_with("src/limits.rs:3: there is no")));
    assert_eq!(dialogues("", |_| true).len(), 1);
}

#[test]
fn lock_files() {
    let lock = |names: &[&str]| -> String {
        names.iter().map(|name| format!("[[package]]\nname = \"{name}\"\n")).collect()
    };
    assert_eq!(packages(&lock(&["mio", "tokio-like"])).len(), 0);
    assert_eq!(packages("").len(), 1);
    assert_eq!(packages(&lock(&["a"; 1_000])).len(), 1);
    let got = packages(&lock(&["mio", "tokio"]));
    assert!(matches!(got.as_slice(), [one] if one.starts_with("Cargo.lock:4: tokio is banned")));
}
