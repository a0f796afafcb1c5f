//! A small reader of YAML for test material that others keep in that form.
//!
//! It reads what such files use: documents, block mappings (a key may repeat) and sequences, flow
//! sequences, plain, quoted and block scalars. Every scalar is a text, an absent one `Null`; the
//! values are those of `json.rs`. What it does not know is a panic that names the line.

use crate::json::Json;

/// The documents of a file.
pub(crate) fn documents(text: &str) -> Vec<Json> {
    let mut pieces: Vec<Vec<(usize, &str)>> = vec![Vec::new()];
    for (number, line) in text.lines().enumerate() {
        if line.trim_end() == "---" {
            pieces.push(Vec::new());
        } else if let Some(piece) = pieces.last_mut() {
            piece.push((number + 1, line));
        }
    }
    let documents = pieces.into_iter().map(|piece| {
        let lines = piece.into_iter().map(|(number, text)| Line::new(number, text)).collect();
        let mut reader = Reader { lines, at: 0 };
        let value = reader.node(0);
        reader.skip_empty();
        if let Some(line) = reader.lines.get(reader.at) {
            panic!("line {}: {:?} is not understood", line.number, line.text);
        }
        value
    });
    documents.filter(|document| *document != Json::Null).collect()
}

#[derive(Clone, Debug)]
struct Line {
    number: usize,
    indent: usize,
    /// Without its indentation and the white space at its end.
    text: String,
    /// The white space at its end, which counts in a block.
    tail: String,
}

impl Line {
    fn new(number: usize, line: &str) -> Line {
        let text = line.trim_start_matches(' ');
        let (kept, tail) = text.split_at(text.trim_end().len());
        let indent = line.len() - text.len();
        Line { number, indent, text: kept.to_owned(), tail: tail.to_owned() }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() || self.text.starts_with('#')
    }

    fn is_item(&self) -> bool {
        self.text == "-" || self.text.starts_with("- ")
    }
}

struct Reader {
    lines: Vec<Line>,
    at: usize,
}

impl Reader {
    fn skip_empty(&mut self) {
        while self.lines.get(self.at).is_some_and(Line::is_empty) {
            self.at += 1;
        }
    }

    /// What stands here, indented by `least` or more.
    fn node(&mut self, least: usize) -> Json {
        self.skip_empty();
        match self.lines.get(self.at).cloned() {
            Some(line) if line.indent >= least => {
                if line.is_item() {
                    self.sequence(line.indent)
                } else if key(&line.text).is_some() {
                    self.mapping(line.indent)
                } else {
                    self.at += 1;
                    self.scalar(&line.text, least)
                }
            }
            _ => Json::Null,
        }
    }

    fn sequence(&mut self, indent: usize) -> Json {
        let mut items = Vec::new();
        loop {
            self.skip_empty();
            let Some(line) = self.lines.get_mut(self.at) else { break };
            if line.indent != indent || !line.is_item() {
                break;
            }
            let inner = line.text.trim_start_matches('-').trim_start_matches(' ').to_owned();
            if inner.is_empty() {
                self.at += 1;
                items.push(self.node(indent + 1));
            } else {
                // The item stands as if on a line of its own, where it begins.
                line.indent += line.text.len() - inner.len();
                line.text = inner;
                items.push(self.node(indent + 1));
            }
        }
        Json::List(items)
    }

    fn mapping(&mut self, indent: usize) -> Json {
        let mut members = Vec::new();
        loop {
            self.skip_empty();
            let Some(line) = self.lines.get(self.at) else { break };
            let number = line.number;
            if line.indent != indent {
                assert!(line.indent < indent, "line {number}: indented too far");
                break;
            }
            let Some((name, rest)) = key(&line.text) else { break };
            self.at += 1;
            let value = match rest.as_str() {
                "" => {
                    self.skip_empty();
                    let next = self.lines.get(self.at);
                    // The items of a member may stand where its key does.
                    let least = if next.is_some_and(Line::is_item) { indent } else { indent + 1 };
                    self.node(least)
                }
                rest if rest.starts_with(['|', '>']) => self.block(rest, indent),
                rest => self.scalar(rest, indent + 1),
            };
            members.push((name, value));
        }
        Json::Object(members)
    }

    /// A scalar that begins with this text and goes on in lines indented by `least` or more.
    fn scalar(&mut self, text: &str, least: usize) -> Json {
        let mut whole = text.to_owned();
        while let Some(line) = self.lines.get(self.at) {
            if line.indent < least || line.is_empty() {
                break;
            }
            whole.push(' ');
            whole.push_str(&line.text);
            self.at += 1;
        }
        let mut rest = whole.as_str();
        let value = flow(&mut rest, "");
        let rest = rest.trim_start();
        assert!(rest.is_empty() || rest.starts_with('#'), "{rest:?} behind a value: {whole}");
        value
    }

    /// A block scalar: `|` keeps its line ends, `>` does not, and one at the end goes with `-`.
    fn block(&mut self, sign: &str, indent: usize) -> Json {
        let mut lines: Vec<String> = Vec::new();
        let mut first = None;
        while let Some(line) = self.lines.get(self.at) {
            if !line.text.is_empty() && line.indent <= indent {
                break;
            }
            let inner = *first.get_or_insert(line.indent);
            let tail = if sign.starts_with('|') { line.tail.as_str() } else { "" };
            let more = " ".repeat(line.indent.saturating_sub(inner));
            lines.push(format!("{more}{}{tail}", line.text));
            self.at += 1;
        }
        while lines.last().is_some_and(|line| line.trim().is_empty()) {
            lines.pop();
        }
        let text = lines.join(if sign.starts_with('|') { "\n" } else { " " });
        Json::Text(if sign.ends_with('-') { text } else { text + "\n" })
    }
}

/// The key of a member, and what stands behind it on its line.
fn key(text: &str) -> Option<(String, String)> {
    let (name, rest) = if text.starts_with(['"', '\'']) {
        let mut rest = text;
        let Json::Text(name) = flow(&mut rest, ":") else { return None };
        (name, rest.strip_prefix(':')?)
    } else if text.starts_with('[') {
        return None;
    } else {
        let at = text.match_indices(':').map(|(at, _)| at);
        let mut ends = at.filter(|at| matches!(text.as_bytes().get(at + 1), None | Some(b' ')));
        let (name, rest) = text.split_at(ends.next()?);
        (name.to_owned(), rest.strip_prefix(':')?)
    };
    Some((name, rest.trim().to_owned()))
}

/// A scalar or a flow sequence; a plain scalar ends before one of `ends`.
fn flow(rest: &mut &str, ends: &str) -> Json {
    *rest = rest.trim_start();
    match rest.chars().next() {
        Some('[') => {
            let mut items = Vec::new();
            *rest = rest[1..].trim_start();
            while !rest.starts_with(']') {
                assert!(!rest.is_empty(), "a list does not end");
                items.push(flow(rest, ",]"));
                *rest = rest.trim_start().strip_prefix(',').unwrap_or(rest).trim_start();
            }
            *rest = &rest[1..];
            Json::List(items)
        }
        Some('\'') => {
            let mut text = String::new();
            let mut left = &rest[1..];
            loop {
                let (piece, behind) = left.split_once('\'').expect("a quote that ends");
                text.push_str(piece);
                match behind.strip_prefix('\'') {
                    Some(behind) => {
                        text.push('\'');
                        left = behind;
                    }
                    None => {
                        *rest = behind;
                        return Json::Text(text);
                    }
                }
            }
        }
        Some('"') => double_quoted(rest),
        Some(_) => {
            let end = rest.find(|char| ends.contains(char)).unwrap_or(rest.len());
            let comment = rest.find(" #").unwrap_or(end).min(end);
            let (text, _) = rest.split_at(comment);
            *rest = &rest[end..];
            Json::Text(text.trim_end().to_owned())
        }
        None => Json::Null,
    }
}

fn double_quoted(rest: &mut &str) -> Json {
    let mut text = String::new();
    let mut chars = rest[1..].chars();
    loop {
        match chars.next().expect("a quote that ends") {
            '"' => break,
            '\\' => text.push(match chars.next().expect("an escape") {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                char @ ('x' | 'u') => {
                    let digits: String =
                        chars.by_ref().take(if char == 'x' { 2 } else { 4 }).collect();
                    let code = u32::from_str_radix(&digits, 16).ok();
                    code.and_then(char::from_u32).unwrap_or_else(|| panic!("escape {digits}"))
                }
                char @ ('"' | '\\' | '/' | ' ') => char,
                other => panic!("escape {other:?}"),
            }),
            char => text.push(char),
        }
    }
    *rest = chars.as_str();
    Json::Text(text)
}

#[test]
fn values() {
    const TEXT: &str = "\
# a comment
name: one
empty:
list:
- a: b: c
  more: [ 10, 'it''s', \"\\x96\\\"\", [] ]
-
  - plain # no
  - x:y/z
'q k': >-
  folded
  text: it is
foo:bar:
    - k: long
         line
end: |
  # kept
    so

---
next: ''
next: \"two
  lines\"
";
    let text = |text: &str| Json::Text(text.to_owned());
    let object = |members: &[(&str, Json)]| {
        Json::Object(
            members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        )
    };
    let more = Json::List(vec![text("10"), text("it's"), text("\u{96}\""), Json::List(vec![])]);
    let first = object(&[
        ("name", text("one")),
        ("empty", Json::Null),
        (
            "list",
            Json::List(vec![
                object(&[("a", text("b: c")), ("more", more)]),
                Json::List(vec![text("plain"), text("x:y/z")]),
            ]),
        ),
        ("q k", text("folded text: it is")),
        ("foo:bar", Json::List(vec![object(&[("k", text("long line"))])])),
        ("end", text("# kept\n  so\n")),
    ]);
    let second = object(&[("next", text("")), ("next", text("two lines"))]);
    assert_eq!(documents(TEXT), [first, second]);
}
