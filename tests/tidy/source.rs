//! A Rust source file as the rules of `tidy` want to see it: without comments, without the insides
//! of strings, and without what only tests compile.
//!
//! This is no parser. It knows comments, string and character literals and brackets, which is
//! enough to find items and paths in code that rustfmt has laid out. Every view of a file keeps its
//! line breaks where they were, so that a place found in one of them can be reported as `file:line`.

/// One file of `src/`.
pub(crate) struct Source {
    /// Path below `src/`, with `/`.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) text: String,
    /// Comments, and the insides of string and character literals, are blanks.
    pub(crate) code: String,
    /// As `code`, with the items that only tests and fuzzers compile blanked as well.
    pub(crate) shipped: String,
    /// As `shipped`, but string literals are whole.
    pub(crate) literals: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let (code, literals) = blank(text);
        let mut gone = test_items(&code);
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            gone = vec![(0, code.len())];
        }
        Source {
            path: path.to_string(),
            text: text.to_string(),
            shipped: without(&code, &gone),
            literals: without(&literals, &gone),
            code,
        }
    }

    /// The module path below the crate: `plugins/queue/mod.rs` is `[plugins, queue]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        stem.split('/').map(str::to_string).collect()
    }

    /// The lines of `//!` at the top, without their mark.
    pub(crate) fn header(&self) -> Vec<&str> {
        self.text
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect()
    }

    /// Every path that the shipped code names from its root (`crate`, `mailreeve`, `super`, `self`,
    /// or one of `roots`), braces multiplied out and `super` resolved, with its line.
    pub(crate) fn paths(&self, roots: &[&str]) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        // A module of ours may be called as a crate is.
        let mut shadowed = Vec::new();
        for (at, word) in words(&self.shipped) {
            let before = self.shipped.get(..at).unwrap_or("").trim_end();
            let after = self.shipped.get(at + word.len()..).unwrap_or("");
            let local = matches!(word, "crate" | "mailreeve" | "super" | "self");
            let opens = before.ends_with("use") || after.trim_start().starts_with("::");
            if before.ends_with("mod") {
                shadowed.push(word.to_string());
            }
            if before.ends_with("::") || !opens || !(local || roots.contains(&word)) {
                continue;
            }
            if let Some(rest) = self.shipped.get(at..) {
                tree(rest, &[], &mut |offset, path| {
                    found.push((line_of(&self.shipped, at + offset), self.resolve(path)));
                });
            }
        }
        let named = found.iter().filter(|(_, path)| path.first().is_some_and(|w| w == "crate"));
        shadowed.extend(named.filter_map(|(_, path)| path.last().cloned()));
        found.retain(|(_, path)| path.first().is_none_or(|word| !shadowed.contains(word)));
        found
    }

    /// `super::x` and `self::x` from the crate's root; other paths as they are. The crate's own
    /// paths begin with `crate`.
    fn resolve(&self, path: &[String]) -> Vec<String> {
        let mut base = self.module();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate" | "mailreeve") => base.clear(),
            Some("self" | "super") => {}
            _ => return path.to_vec(),
        }
        while let Some((first, tail)) = rest.split_first() {
            match first.as_str() {
                "super" => {
                    base.pop();
                }
                "crate" | "mailreeve" | "self" => {}
                _ => break,
            }
            rest = tail;
        }
        std::iter::once("crate".to_string()).chain(base).chain(rest.iter().cloned()).collect()
    }

    /// Name, line and length of every function: the lines of its body that hold code.
    pub(crate) fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut found = Vec::new();
        for (at, _) in words(&self.code).filter(|(_, word)| *word == "fn") {
            let rest = self.code.get(at..).unwrap_or("");
            // A type such as `fn(&[u8])` has no name, and no body.
            let Some((3, name)) = words(rest).nth(1) else { continue };
            let Some(end) = item_end(rest) else { continue };
            let item = rest.get(..end).unwrap_or("");
            let Some(open) = item.find('{') else { continue };
            let body = item.get(open..).unwrap_or("");
            let full = body.lines().filter(|line| !line.trim().is_empty()).count();
            // The lines of the two braces do not count, as they do not for clippy.
            found.push((name.to_string(), line_of(&self.code, at), full.saturating_sub(2)));
        }
        found
    }
}

/// The line number of an offset, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Identifiers and keywords with their offsets.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let tail = text.get(rest..)?;
        let start = rest + tail.find(inside)?;
        let tail = text.get(start..)?;
        let word = tail.get(..tail.find(|c| !inside(c)).unwrap_or(tail.len()))?;
        rest = start + word.len();
        Some((start, word))
    })
}

/// Walks a path or `use` tree and calls `found` with each whole path; returns what it took.
fn tree(text: &str, before: &[String], found: &mut dyn FnMut(usize, &[String])) -> usize {
    let mut path = before.to_vec();
    let start = text.len() - text.trim_start().len();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or("");
        let blanks = rest.len() - rest.trim_start().len();
        let rest = rest.trim_start();
        at += blanks;
        if rest.starts_with('{') {
            at += 1;
            loop {
                at += tree(text.get(at..).unwrap_or(""), &path, &mut |o, p| found(at + o, p));
                let rest = text.get(at..).unwrap_or("");
                let Some(stop) = rest.find([',', '}']) else { return text.len() };
                at += stop + 1;
                let ended = rest.get(stop..).is_some_and(|rest| rest.starts_with('}'));
                let more = text.get(at..).unwrap_or("").trim_start();
                if ended || more.is_empty() {
                    return at;
                }
                if more.starts_with('}') {
                    return text.len() - more.len() + 1;
                }
            }
        }
        let word = match words(rest).next() {
            Some((0, word)) => word,
            _ if rest.starts_with('*') => "*",
            _ => break,
        };
        path.push(word.to_string());
        at += word.len();
        if !text.get(at..).unwrap_or("").starts_with("::") {
            break;
        }
        at += 2;
    }
    found(start, &path);
    at
}

/// Where the item that begins at the start of `code` ends: behind its `;` or its closing brace.
fn item_end(code: &str) -> Option<usize> {
    let (mut round, mut curly) = (0_usize, 0_usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round = round.checked_sub(1)?,
            '{' => curly += 1,
            '}' => {
                curly = curly.checked_sub(1)?;
                if curly == 0 && round == 0 {
                    return Some(at + 1);
                }
            }
            ';' if curly == 0 && round == 0 => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The parts that only tests and fuzzers compile.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    const GATES: [&str; 2] = ["[cfg(test)]", "[cfg(any(test, fuzzing))]"];
    let mut found = Vec::new();
    for gate in GATES {
        for (at, _) in code.match_indices(gate) {
            let before = code.get(..at).unwrap_or("");
            if before.ends_with("#!") {
                found.push((0, code.len()));
            }
            // From behind the attribute, so that its own brackets do not end the item.
            let start = at + gate.len();
            if before.ends_with('#')
                && let Some(length) = code.get(start..).and_then(item_end)
            {
                found.push((at, start + length));
            }
        }
    }
    found
}

/// The text with these ranges blanked.
fn without(text: &str, ranges: &[(usize, usize)]) -> String {
    text.char_indices()
        .map(|(at, c)| {
            let gone = ranges.iter().any(|(from, to)| (*from..*to).contains(&at));
            if gone && c != '\n' { ' ' } else { c }
        })
        .collect()
}

/// What the characters at a place belong to.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
    Char,
}

/// The code without comments and literals' insides, and the code without comments only. Blanks are
/// one byte a character, and characters outside ASCII become `?`, so that both have equal offsets.
fn blank(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    let (mut code, mut literals) = (String::new(), String::new());
    let mut inside = Inside::Code;
    let mut rest = chars.as_slice();
    while !rest.is_empty() {
        let (next, length) = step(inside, rest, code.chars().next_back());
        let commented = |i| matches!(i, Inside::LineComment | Inside::BlockComment(_));
        for c in rest.iter().take(length) {
            let keep = *c == '\n';
            let hidden = inside != Inside::Code && next != Inside::Code;
            let comment = commented(inside) || commented(next);
            literals.push(if comment && !keep { ' ' } else { *c });
            code.push(if (comment || hidden) && !keep { ' ' } else { *c });
        }
        inside = next;
        rest = rest.get(length..).unwrap_or(&[]);
    }
    (code, literals)
}

/// How many characters to take now, and what those that follow are inside of.
fn step(inside: Inside, rest: &[char], before: Option<char>) -> (Inside, usize) {
    let starts = |what: &str| what.chars().enumerate().all(|(i, c)| rest.get(i) == Some(&c));
    let hashes = |from: usize| rest.iter().skip(from).take_while(|c| **c == '#').count();
    match inside {
        Inside::Code if starts("//") => (Inside::LineComment, 2),
        Inside::Code if starts("/*") => (Inside::BlockComment(1), 2),
        Inside::Code if starts("\"") => (Inside::Text, 1),
        Inside::Code if starts("r\"") || starts("r#") => {
            let count = hashes(1);
            let word = before.is_some_and(|c| (c.is_alphanumeric() && c != 'b') || c == '_');
            let raw = !word && rest.get(1 + count) == Some(&'"');
            if raw { (Inside::RawText(count), count + 2) } else { (Inside::Code, 1) }
        }
        Inside::Code if starts("'") => {
            // 'a' and '\n' are characters, 'a is a lifetime.
            let character = rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'');
            (if character { Inside::Char } else { Inside::Code }, 1)
        }
        Inside::LineComment if starts("\n") => (Inside::Code, 1),
        Inside::BlockComment(1) if starts("*/") => (Inside::Code, 2),
        Inside::BlockComment(depth) if starts("*/") => (Inside::BlockComment(depth - 1), 2),
        Inside::BlockComment(depth) if starts("/*") => (Inside::BlockComment(depth + 1), 2),
        Inside::Text | Inside::Char if starts("\\") => (inside, rest.len().min(2)),
        Inside::Text if starts("\"") => (Inside::Code, 1),
        Inside::Char if starts("'") => (Inside::Code, 1),
        Inside::RawText(count) if starts("\"") && hashes(1) >= count => (Inside::Code, 1 + count),
        _ => (inside, 1),
    }
}
