//! The rules of this code base that no compiler holds, as tests: who may use whom, what a pure
//! module may name, how long a file and a function may be, what every plugin says about itself.
//!
//! Each check is a function from text to complaints, so that the checks are tested too: on small
//! strings, at the end. A complaint is `file:line: what is wrong: what to do`. A rule that stands
//! in the way is changed here, in a line that a reviewer sees, not worked around.

mod source;

use source::{Source, line_of, words};
use std::path::{Path, PathBuf};

/// Packages in Cargo.lock, ours included. One more is a decision: raise it in a commit of its own
/// that says what the package is for and why its work is not done here.
const PACKAGES_MAX: usize = 149;

/// Lines of a file, tests included.
const FILE_LINES_MAX: usize = 500;

/// Lines of code in a function's body.
const FUNCTION_LINES_MAX: usize = 70;

/// What must not come in through any package: another runtime, another resolver, another TLS.
const PACKAGES_BANNED: [&str; 11] = [
    "async-std",
    "aws-lc-rs",
    "aws-lc-sys",
    "hickory-proto",
    "hickory-resolver",
    "native-tls",
    "openssl",
    "openssl-sys",
    "smol",
    "tokio",
    "trust-dns-resolver",
];

/// Modules without I/O, clock, thread, environment or logger.
const PURE: [&str; 7] = ["authn", "dns", "import", "mail", "plugin", "plugins", "smtp"];

/// Each module and those it may use, itself aside. `main`, `lib` and `fuzz` may use everything.
const LAYERS: [(&str, &[&str]); 15] = [
    ("limits", &[]),
    ("sys", &["limits"]),
    ("smtp", PURE_BASE),
    ("mail", PURE_BASE),
    ("authn", PURE_BASE),
    ("dns", PURE_BASE),
    ("config", &["authn", "dns", "limits", "mail", "smtp", "sys"]),
    ("client", &["authn", "config", "dns", "limits", "mail", "smtp", "sys"]),
    ("store", &["authn", "client", "config", "dns", "limits", "mail", "smtp"]),
    ("esmith", &["config", "limits", "sys"]),
    ("plugin", BELOW_PLUGIN),
    ("plugins", &["authn", "client", "config", "dns", "limits", "mail", "plugin", "smtp", "store"]),
    ("import", &["authn", "config", "dns", "esmith", "plugin", "plugins"]),
    ("server", BELOW_SERVER),
    ("commands", BELOW_COMMANDS),
];
const PURE_BASE: &[&str] = &["authn", "dns", "limits", "mail", "smtp"];
const BELOW_PLUGIN: &[&str] =
    &["authn", "client", "config", "dns", "limits", "mail", "smtp", "store"];
const BELOW_SERVER: &[&str] = &[
    "authn", "client", "config", "dns", "limits", "mail", "plugin", "plugins", "smtp", "store",
    "sys",
];
const BELOW_COMMANDS: &[&str] = &[
    "authn", "client", "config", "dns", "esmith", "import", "limits", "mail", "plugin", "plugins",
    "server", "smtp", "store", "sys",
];

/// What the header of a file with an `impl Plugin for` says, each at the start of a line and followed
/// by words. (Loggers are no plugins in this sense: they only take lines.)
const PLUGIN_WORDS: [&str; 5] =
    ["Arguments:", "Config files:", "Replies:", "Karma:", "When it cannot tell:"];

#[test]
fn every_module_uses_only_what_lies_below_it() {
    hold(&each(layering));
}

#[test]
fn pure_modules_name_nothing_of_the_outside() {
    hold(&each(purity));
}

#[test]
fn plugins_do_not_know_each_other() {
    let sources = tree();
    let names: Vec<String> = sources.iter().filter_map(plugin_name).collect();
    let complaints: Vec<String> =
        sources.iter().flat_map(|source| strangers(source, &names)).collect();
    hold(&complaints);
}

#[test]
fn files_and_functions_are_short_and_files_say_what_they_are_for() {
    hold(&each(shape));
}

#[test]
fn no_unsafe_no_unfinished_work_no_stray_replies() {
    hold(&each(banned));
}

#[test]
fn every_plugin_has_its_header() {
    hold(&each(plugin_header));
}

#[test]
fn plugins_judge_what_they_look_up() {
    hold(&each(lookups));
}

#[test]
fn every_named_dialogue_exists() {
    let limits = read(&root().join("src/limits.rs"));
    let exists = |name: &str| root().join(format!("tests/dialogues/{name}.txt")).is_file();
    hold(&dialogues(&limits, exists));
}

#[test]
fn the_lock_file_is_small_and_clean() {
    hold(&packages(&read(&root().join("Cargo.lock"))));
}

/// Fails with all complaints at once.
fn hold(complaints: &[String]) {
    let count = complaints.len();
    assert!(complaints.is_empty(), "{count} to mend:\n{}\n", complaints.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file's text. An unreadable one is empty, which the checks complain of.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Every file of `src/`, in order.
fn tree() -> Vec<Source> {
    let (top, mut found) = (root().join("src"), Vec::new());
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs")
                && let Ok(below) = path.strip_prefix(&top)
            {
                let below = below.to_string_lossy().replace('\\', "/");
                found.push(Source::new(&below, &read(&path)));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 1, "no sources under {}", top.display());
    found
}

fn each(check: fn(&Source) -> Vec<String>) -> Vec<String> {
    tree().iter().flat_map(check).collect()
}

/// The first part of a file's module path: its layer.
fn layer(source: &Source) -> String {
    source.module().first().cloned().unwrap_or_default()
}

fn layering(source: &Source) -> Vec<String> {
    let (own, path) = (layer(source), &source.path);
    if matches!(own.as_str(), "main" | "lib" | "fuzz") {
        return Vec::new();
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == own) else {
        return vec![format!("src/{path}:1: `{own}` has no layer: say in tests/tidy.rs, LAYERS")];
    };
    let mut complaints = Vec::new();
    for (line, used) in source.paths(&[]) {
        let Some(other) = used.get(1) else { continue };
        // A name that is no module is a macro or an item of the crate's root.
        let known = LAYERS.iter().any(|(name, _)| name == other) || other == "fuzz";
        if known && *other != own && !allowed.contains(&other.as_str()) {
            complaints.push(format!(
                "src/{path}:{line}: {own} uses {other}, which does not lie below it: \
                 hand the value in from above, or move the code"
            ));
        }
    }
    complaints
}

fn purity(source: &Source) -> Vec<String> {
    const ROOTS: [&str; 7] =
        ["std", "log", "mio", "nix", "memmap2", "signal_hook", "signal_hook_mio"];
    const ADDRESSES: [&str; 7] = [
        "AddrParseError",
        "IpAddr",
        "Ipv4Addr",
        "Ipv6Addr",
        "SocketAddr",
        "SocketAddrV4",
        "SocketAddrV6",
    ];
    let path = &source.path;
    if !PURE.contains(&layer(source).as_str()) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (line, used) in source.paths(&ROOTS) {
        let parts: Vec<&str> = used.iter().map(String::as_str).collect();
        let outside = match parts.as_slice() {
            ["std", "env" | "fs" | "process" | "thread", ..] => true,
            ["std", "net", name, ..] => !ADDRESSES.contains(name),
            ["std", "time", name, ..] => matches!(*name, "Instant" | "SystemTime" | "self" | "*"),
            ["std", "net" | "time"] => true,
            ["std" | "crate", ..] => false,
            _ => true,
        };
        if outside {
            complaints.push(format!(
                "src/{path}:{line}: a pure module names {}: \
                 do it in server, client or config and hand the value in",
                parts.join("::")
            ));
        }
    }
    complaints
}

/// `plugins/queue/maildir.rs` is the plugin `queue::maildir`; a `mod.rs` is none.
fn plugin_name(source: &Source) -> Option<String> {
    let module = source.module();
    let (first, rest) = module.split_first()?;
    let plugin = first == "plugins" && !rest.is_empty() && !source.path.ends_with("/mod.rs");
    (plugin && !source.shipped.trim().is_empty()).then(|| rest.join("::"))
}

fn strangers(source: &Source, names: &[String]) -> Vec<String> {
    let (Some(own), path) = (plugin_name(source), &source.path) else { return Vec::new() };
    let mut complaints = Vec::new();
    for (line, used) in source.paths(&[]) {
        let Some(used) = used.join("::").strip_prefix("crate::plugins::").map(str::to_string)
        else {
            continue;
        };
        for name in names.iter().filter(|name| **name != own) {
            if used.strip_prefix(name.as_str()).is_some_and(|r| r.is_empty() || r.starts_with("::"))
            {
                complaints.push(format!(
                    "src/{path}:{line}: plugin {own} names plugin {name}: \
                     pass a fact through Cx, or move what both need to a module below plugins"
                ));
            }
        }
    }
    complaints
}

fn shape(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut complaints = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints.push(format!(
            "src/{path}:{lines}: {lines} lines, at most {FILE_LINES_MAX}: split by concern"
        ));
    }
    if source.header().iter().all(|line| line.trim().is_empty()) {
        complaints.push(format!(
            "src/{path}:1: begins without `//!`: say what the file is for, and why it is so"
        ));
    }
    for (name, line, length) in source.functions() {
        if length > FUNCTION_LINES_MAX {
            complaints.push(format!(
                "src/{path}:{line}: fn {name} has {length} lines of code, at most \
                 {FUNCTION_LINES_MAX}: take a step out that has a name"
            ));
        }
    }
    complaints
}

fn banned(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut complaints = Vec::new();
    let mut complain = |text: &str, at: usize, what: &str| {
        complaints.push(format!("src/{path}:{}: {what}", line_of(text, at)));
    };
    let layer = layer(source);
    for (at, word) in words(&source.code) {
        let macro_call = source.code.get(at + word.len()..).is_some_and(|r| r.starts_with('!'));
        match word {
            "rustls"
                if !["server/tls", "client/smtp/tls"].iter().any(|it| path.starts_with(it)) =>
            {
                complain(&source.code, at, "rustls: only in server/tls and client/smtp/tls");
            }
            "unsafe" if layer != "sys" => {
                complain(&source.code, at, "unsafe: only under src/sys, behind a safe function");
            }
            "todo" | "unimplemented" if macro_call => {
                complain(&source.code, at, "unfinished: write it, or leave it out whole");
            }
            _ => {}
        }
    }
    for (at, word) in words(&source.text) {
        if matches!(word, "TODO" | "FIXME" | "XXX") {
            complain(&source.text, at, "a note to come back: do it now, or leave it out whole");
        }
    }
    // authn hashes and signs lines of messages.
    if !matches!(layer.as_str(), "smtp" | "mail" | "authn" | "client" | "fuzz") {
        for (at, _) in source.literals.match_indices("\\r\\n") {
            let what = "a line end on the wire: replies are made in smtp, messages in mail";
            complain(&source.literals, at, what);
        }
    }
    complaints
}

fn plugin_header(source: &Source) -> Vec<String> {
    if layer(source) != "plugins" || !source.shipped.contains("impl Plugin for ") {
        return Vec::new();
    }
    let (header, path) = (source.header(), &source.path);
    let said = |word: &str| {
        header.iter().enumerate().any(|(index, line)| {
            let next = header.get(index + 1).copied().unwrap_or("");
            let more = !next.trim().is_empty() && PLUGIN_WORDS.iter().all(|w| !next.starts_with(w));
            line.strip_prefix(word).is_some_and(|rest| !rest.trim().is_empty() || more)
        })
    };
    PLUGIN_WORDS
        .iter()
        .filter(|word| !said(word))
        .map(|word| {
            format!(
                "src/{path}:1: the header lacks a line `//! {word} …`: \
                 write it (`none` and `nothing to fail` are answers)"
            )
        })
        .collect()
}

/// A lookup that has no answer yet has to leave the hook. The run does not count in any case, so to go
/// on without the answer, or with another in its place, is never what its author means.
fn lookups(source: &Source) -> Vec<String> {
    if layer(source) != "plugins" {
        return Vec::new();
    }
    let (shipped, path) = (&source.shipped, &source.path);
    let mut complaints = Vec::new();
    for call in [".dns(", ".dns_all(", ".stored(", ".quiet(", ".lane(", ".config_for("] {
        for (at, _) in shipped.match_indices(call) {
            let inside = shipped.get(at + call.len()..).unwrap_or("");
            let mut depth = 1_usize;
            let close = inside.find(|letter| {
                match letter {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            let after = close.and_then(|end| inside.get(end + 1..)).unwrap_or("").trim_start();
            let whole = after.starts_with(['?', ')', ',', ';']) || after.starts_with(".map(");
            let before = shipped.get(..at).unwrap_or("");
            let statement = before.rsplit([';', '{', '}']).next().unwrap_or("");
            if !whole || statement.contains("let _ =") {
                complaints.push(format!(
                    "src/{path}:{}: a lookup without `?`: \
                     leave the hook with it, and judge `TempFail`, which is an answer",
                    line_of(shipped, at)
                ));
            }
        }
    }
    complaints
}

fn dialogues(limits: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    if !limits.contains("dialogue: ") {
        complaints.push("src/limits.rs:1: names no dialogue at all".to_string());
    }
    for (at, mark) in limits.match_indices("dialogue: ") {
        let rest = limits.get(at + mark.len()..).unwrap_or("");
        let name = rest.split_whitespace().next().unwrap_or("").trim_end_matches(['.', ',', ';']);
        if !exists(name) {
            let line = line_of(limits, at);
            complaints.push(format!(
                "src/limits.rs:{line}: there is no tests/dialogues/{name}.txt: \
                 write the dialogue that hits this bound"
            ));
        }
    }
    complaints
}

fn packages(lock: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let names =
        || lock.lines().enumerate().filter_map(|(i, l)| Some((i, l.strip_prefix("name = ")?)));
    match names().count() {
        0 => complaints.push("Cargo.lock:1: missing: run cargo and commit it".to_string()),
        count if count > PACKAGES_MAX => complaints.push(format!(
            "Cargo.lock:1: {count} packages, at most {PACKAGES_MAX}: \
             do without, or raise PACKAGES_MAX and say why"
        )),
        _ => {}
    }
    for (index, name) in names() {
        let name = name.trim_matches('"');
        if PACKAGES_BANNED.contains(&name) {
            complaints.push(format!(
                "Cargo.lock:{}: {name} is banned: see `cargo tree --invert {name}`",
                index + 1
            ));
        }
    }
    complaints
}

mod checks;
