//! Lines of the lists of plugins: present names, present arguments.

use super::{Entry, Folder, is_data, numbered};
use crate::plugin::Args;
use crate::plugin::dkim_keys::SELECTOR;
use crate::plugins::{Kind, find};
use std::collections::BTreeMap;

/// Octets below which the former virus/clamav scanned, where its line did not say, in KiB.
const CLAMAV_MAX_SIZE: u64 = 512;

/// Words that every plugin's line may have, before their values.
const COMMON: [&str; 3] = ["loglevel", "speculate", "inline"];

/// Plugins of which one line is enough, whatever it says: two would do the work twice.
const ONCE: [&str; 2] = ["virus/clamdscan", "dkim"];

/// What became of all lists.
#[derive(Default)]
pub(super) struct Lines {
    /// Their texts by name.
    pub(super) texts: BTreeMap<String, Vec<u8>>,
    /// The selector of the first line dkim_sign, if there was one.
    pub(super) signs: Option<String>,
}

/// The file `plugins`, those in `peers/`, and what they include of the folder.
pub(super) fn all(files: &Folder, report: &mut Vec<Entry>) -> Lines {
    let mut lines = Lines::default();
    let is_list = |name: &&String| *name == "plugins" || name.starts_with("peers/");
    let mut waiting: Vec<String> = files.keys().filter(is_list).rev().cloned().collect();
    while let Some(name) = waiting.pop() {
        let Some(text) = files.get(&name) else { continue };
        if lines.texts.contains_key(&name) {
            continue;
        }
        let mut list =
            List { file: &name, files, lines: Vec::new(), report, waiting: &mut waiting };
        for (number, line) in numbered(text) {
            list.take(number, line, &mut lines.signs);
        }
        let text = list.lines.into_iter().flat_map(|it| it.text).collect();
        lines.texts.insert(name, text);
    }
    lines
}

/// One list as it is made.
struct List<'a> {
    file: &'a str,
    files: &'a Folder,
    lines: Vec<Made>,
    report: &'a mut Vec<Entry>,
    waiting: &'a mut Vec<String>,
}

/// A line that is made, and which plugin it names.
struct Made {
    text: Vec<u8>,
    plugin: Option<(&'static str, String)>,
}

/// What an old line is now.
struct Now {
    name: &'static str,
    words: Vec<String>,
}

impl List<'_> {
    fn take(&mut self, number: usize, line: &[u8], signs: &mut Option<String>) {
        let place = format!("{}:{number}", self.file);
        let text = line.trim_ascii();
        let plain = |text: &[u8]| Made { text: text.to_vec(), plugin: None };
        let Ok(old) = str::from_utf8(text) else { return self.lines.push(plain(line)) };
        if !is_data(line) || self.is_include(old, &place) {
            return self.lines.push(plain(line));
        }
        let end: &[u8] = if line.ends_with(b"\n") { b"\n" } else { b"" };
        let args = Args::of(old);
        let instance = args.instance.clone();
        let called = args.called.replace("::", "/");
        let leave_out = |why: &str| {
            let new = format!("# {old}");
            let entry = Entry::changed(&place, old, format!("{new} (left out: {why})"));
            (Made { text: [new.as_bytes(), end].concat(), plugin: None }, entry)
        };
        let left_out = match find(&called).map(|entry| (entry.name, entry.kind)) {
            None => leave_out("no plugin is called that"),
            Some((_, Kind::Gone(why))) => leave_out(why),
            Some((name, Kind::Plugin(_))) => {
                let now = now(name, args, &place, self.report, signs);
                return self.add(&place, old, &now, &instance, line, end);
            }
            Some((_, Kind::Logger(_) | Kind::Peers | Kind::Tls)) => {
                return self.lines.push(plain(line));
            }
        };
        self.lines.push(left_out.0);
        self.report.push(left_out.1);
    }

    fn add(&mut self, place: &str, old: &str, now: &Now, instance: &str, line: &[u8], end: &[u8]) {
        let plugin = (now.name, instance.to_string());
        let mut name = now.name.to_string();
        if !instance.is_empty() {
            name = format!("{name}:{instance}");
        }
        let words = now.words.join(" ");
        let new = format!("{name} {words}").trim_end().to_string();
        if new.split_whitespace().eq(old.split_whitespace()) {
            return self.lines.push(Made { text: line.to_vec(), plugin: Some(plugin) });
        }
        let is_renamed = old.split_whitespace().next() != Some(&*name);
        let twin = self.lines.iter_mut().find(|it| it.plugin.as_ref() == Some(&plugin));
        let Some(twin) = twin.filter(|_| is_renamed) else {
            self.report.push(Entry::changed(place, old, new.as_str()));
            let text = [new.as_bytes(), end].concat();
            return self.lines.push(Made { text, plugin: Some(plugin) });
        };
        if words.is_empty() || ONCE.contains(&now.name) {
            let gone = format!("(removed: the line {name} above does it)");
            return self.report.push(Entry::changed(place, old, gone));
        }
        let end: &[u8] = if twin.text.ends_with(b"\n") { b"\n" } else { b"" };
        twin.text = [twin.text.trim_ascii_end(), b" ", words.as_bytes(), end].concat();
        let added = format!("(added to the line above: {})", twin.text.trim_ascii().escape_ascii());
        self.report.push(Entry::changed(place, old, added));
    }

    /// The line includes others; those of the folder are looked at too.
    fn is_include(&mut self, line: &str, place: &str) -> bool {
        let Some(path) = line.strip_prefix("$include") else { return false };
        if !path.is_empty() && !path.starts_with([' ', '\t']) {
            return false;
        }
        let path = path.trim().trim_end_matches('/');
        let inside = format!("{path}/");
        let is_meant = |name: &&String| *name == path || name.starts_with(&inside);
        let meant: Vec<String> = self.files.keys().filter(is_meant).cloned().collect();
        if meant.is_empty() {
            let what = format!("{line}: is not in this folder and was not looked at");
            self.report.push(Entry::noted(place, what));
        }
        self.waiting.extend(meant);
        true
    }
}

/// The present name and arguments of a plugin's line.
fn now(
    name: &'static str,
    mut args: Args,
    place: &str,
    report: &mut Vec<Entry>,
    signs: &mut Option<String>,
) -> Now {
    match name {
        "headers" => headers(args),
        "relay" if args.was_called("relay_only") => {
            let has_only = args.clone().named("only").is_some();
            let mut words = args.rest();
            if !has_only {
                words.extend(["only".to_string(), "1".to_string()]);
            }
            Now { name, words }
        }
        "virus/clamav" => match clamdscan(args.clone()) {
            Ok(words) => Now { name: "virus/clamdscan", words },
            Err(why) => {
                let what = format!("stays virus/clamav, because of {why}; it asks clamd too");
                report.push(Entry::noted(place, what));
                Now { name, words: args.rest() }
            }
        },
        "dkim_sign" => {
            let selector = args.named("selector").unwrap_or_else(|| SELECTOR.to_string());
            match signs {
                Some(first) if *first != selector => {
                    let what = format!("selector {selector}: {first} of the first line is used");
                    report.push(Entry::noted(place, what));
                }
                Some(_) => {}
                None => *signs = Some(selector),
            }
            Now { name: "dkim", words: Vec::new() }
        }
        _ => Now { name, words: args.rest() },
    }
}

/// The one number of days, or `days`, was for both directions.
fn headers(mut args: Args) -> Now {
    let mut days = args.named("days");
    let is_number = |word: &str| word.parse::<f64>().is_ok();
    let mut words = args.rest();
    if days.is_none() && args.was_called("check_basicheaders") {
        days = words.first().filter(|word| is_number(word)).cloned();
        if days.is_some() {
            words.remove(0);
        }
    }
    let days = days.filter(|days| days.parse() != Ok(0.0));
    for name in ["past", "future"] {
        let has = words.iter().any(|it| it.split('=').next() == Some(name));
        if let Some(days) = days.as_ref().filter(|_| !has) {
            words.extend([name.to_string(), days.clone()]);
        }
    }
    Now { name: "headers", words }
}

/// The arguments that mean the same to virus/clamdscan, or which one has no counterpart.
fn clamdscan(mut args: Args) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut add = |name: &str, value: &str| words.extend([name.to_string(), value.to_string()]);
    if args.named("clamd_conf").is_some() {
        return Err("clamd_conf".to_string());
    }
    match args.named("action").as_deref() {
        None | Some("reject") => {}
        Some("add-header") => add("deny_viruses", "no"),
        Some(other) => return Err(format!("action {other}")),
    }
    let size = match args.named("max_size") {
        None => CLAMAV_MAX_SIZE,
        Some(octets) => {
            octets.parse::<u64>().map_err(|_| format!("max_size {octets}"))?.div_ceil(1_024)
        }
    };
    add("max_size", &size.to_string());
    for name in COMMON.into_iter().chain(["timeout"]) {
        if let Some(value) = args.named(name) {
            add(name, &value);
        }
    }
    for past in ["clamscan_path", "tmp_dir"] {
        args.named(past);
    }
    let mut defer = "yes";
    for (place, word) in args.rest().iter().enumerate() {
        match word.as_str() {
            "declined_on_fail" | "declined_on_fail=1" | "declined_on_fail=yes" => defer = "no",
            "declined_on_fail=0" | "declined_on_fail=no" => defer = "yes",
            word if word.split('=').next() == Some("back_compat") => {}
            path if place == 0 && path.starts_with('/') => {}
            other => return Err(other.to_string()),
        }
    }
    add("defer_on_error", defer);
    Ok(words)
}
