//! `Authentication-Results` (RFC 8601): writing our own, and finding those that pretend to be.
//!
//! Whoever reads mail behind us believes a field that carries our name, so before ours goes on
//! top every other one with that name has to go (RFC 8601 5), whatever a signature covers and
//! however the name is disguised. Readers differ in how well they parse, so `claims` asks whether
//! *any* of them could find our name in a field. A foreign field taken out by mistake costs
//! nothing; a forged one left in costs the reader's trust.

use super::edit::Edit;
use super::headers::{Headers, clean};

/// The field's name.
pub const NAME: &str = "Authentication-Results";

/// Longest foreign value in a result, in octets.
const VALUE_MAX: usize = 320;

/// Whether a field with this value could be taken for one that `authserv_id` has written.
///
/// In doubt it is: no name at all, the name of a parent domain, anything that is not ASCII or
/// does not parse.
pub fn claims(value: &[u8], authserv_id: &str) -> bool {
    let ours = authserv_id.trim_matches('.').to_ascii_lowercase();
    let Some(section) = name_section(value) else { return true };
    // U-labels, full-width letters and encoded words can all come out as our name.
    if !section.is_ascii() || section.contains("=?") || !ours.is_ascii() {
        return true;
    }
    // No name: the field starts with a result, or with nothing.
    let mut words = words(&section);
    let Some(first) = words.next() else { return true };
    let behind = section.split_once(first).map_or("", |(_, behind)| behind);
    if behind.trim_start().starts_with('=') {
        return true;
    }
    let is_ours = |word: &str| word == ours || is_parent(word, &ours);
    is_ours(first) || words.any(is_ours) || is_split(&section, &ours)
}

/// The edits that take out every `Authentication-Results` that claims to be from `me`.
///
/// `headers` is an index into `message`. The edits run from the bottom up, so that none moves
/// the fields that a later one counts. `ARC-Authentication-Results` is a chain's own and stays.
pub fn strip(headers: &Headers, message: &[u8], me: &str) -> Vec<Edit> {
    let claimed: Vec<bool> =
        headers.all(message, NAME).map(|field| claims(field.value, me)).collect();
    if !claimed.is_empty() && claimed.iter().all(|claims| *claims) {
        return vec![Edit::Delete { name: NAME.to_owned(), nth: None }];
    }
    let bottom_up = claimed.iter().enumerate().rev().filter(|(_, claims)| **claims);
    bottom_up.map(|(nth, _)| Edit::Delete { name: NAME.to_owned(), nth: Some(nth) }).collect()
}

/// The value of our own field: `me; result; result`, as qpsmtpd 0.96 writes it.
///
/// The caller puts `auth=…` first. A result whose quotes or parentheses do not close, or that
/// holds a second result, is defused with `?`: text from outside cannot add a result. Without any
/// result the value is `me; none` (RFC 8601 2.2).
pub fn build(me: &str, results: &[String]) -> String {
    let mut value = quote(me);
    for result in results {
        value.push_str("; ");
        value.push_str(&defuse(result));
    }
    if results.is_empty() {
        value.push_str("; none");
    }
    value
}

/// Foreign text as the value of a property (`smtp.mailfrom=…`): as it is when it is a token, a
/// domain or an address, else a quoted string (RFC 8601 2.2). What is not printable becomes `?`.
pub fn quote(text: &str) -> String {
    let text = clean(text.as_bytes(), VALUE_MAX);
    let token = |part: &str| {
        part.bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&octet))
    };
    let domain = |part: &str| {
        let in_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.');
        !part.is_empty() && part.bytes().all(in_name)
    };
    let plain = match text.split_once('@') {
        Some((local, behind)) => token(local) && domain(behind),
        None => !text.is_empty() && token(&text),
    };
    if plain {
        return text;
    }
    format!("\"{}\"", escape(&text, &['"', '\\']))
}

/// Foreign text as a comment, with its parentheses.
pub fn comment(text: &str) -> String {
    format!("({})", escape(&clean(text.as_bytes(), VALUE_MAX), &['(', ')', '\\']))
}

fn escape(text: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if special.contains(&char) {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

fn defuse(result: &str) -> String {
    // The length is the writer's affair; only foreign parts of it are cut, where they are quoted.
    let text = clean(result.trim().as_bytes(), usize::MAX);
    let mut scan = Scan::default();
    let loose = text
        .bytes()
        .any(|octet| scan.step(octet) == Place::Outside && matches!(octet, b';' | b')' | b'\\'));
    if !loose && scan.is_closed() && !text.is_empty() {
        return text;
    }
    text.replace([';', '"', '(', ')', '\\'], "?")
}

/// What stands before the first `;`, in lower case, without comments, quotes, escapes and
/// controls, on one line. `None` if a comment or a quoted string never closes.
fn name_section(value: &[u8]) -> Option<String> {
    let mut scan = Scan::default();
    let mut section = String::new();
    for &octet in value {
        match scan.step(octet) {
            Place::Outside if octet == b';' => return Some(section),
            Place::Outside | Place::Quoted => match octet {
                b'\t' => section.push(' '),
                // Readers drop a backslash. A line end stands next to a blank anyway, and other
                // controls are padding.
                b'\\' | 0..b' ' | 0x7f => {}
                b' '..=b'~' => section.push(char::from(octet.to_ascii_lowercase())),
                0x80.. => section.push(char::REPLACEMENT_CHARACTER),
            },
            Place::Mark | Place::Comment => {}
        }
    }
    scan.is_closed().then_some(section)
}

/// Everything that can be a host name: version, port, brackets and other trimmings separate.
fn words(section: &str) -> impl Iterator<Item = &str> {
    let in_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_');
    let words = section.split(move |char| !in_name(char)).map(|word| word.trim_matches('.'));
    words.filter(|word| !word.is_empty())
}

fn is_parent(word: &str, ours: &str) -> bool {
    ours.strip_suffix(word).is_some_and(|front| front.ends_with('.'))
}

/// Whether our name comes out when blanks inside it are dropped, as some readers do.
fn is_split(section: &str, ours: &str) -> bool {
    let squeezed: String = section.chars().filter(|char| *char != ' ').collect();
    let behind = squeezed.trim_start_matches('.').strip_prefix(ours).map(str::as_bytes);
    behind.is_some_and(|behind| match behind {
        [b'.', next, ..] => !next.is_ascii_alphanumeric(),
        [next, ..] => !next.is_ascii_alphabetic() && !matches!(next, b'-' | b'_'),
        [] => true,
    })
}

/// Where an octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    Quoted,
    Comment,
    /// A quote or backslash that is syntax and not text.
    Mark,
}

/// Walks over comments, which nest, and quoted strings (RFC 5322 3.2.2, 3.2.4) octet by octet.
#[derive(Default)]
struct Scan {
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Scan {
    fn step(&mut self, octet: u8) -> Place {
        let place = match (self.quoted, self.depth) {
            (true, _) => Place::Quoted,
            (false, 0) => Place::Outside,
            (false, _) => Place::Comment,
        };
        if std::mem::replace(&mut self.escaped, false) {
            return place;
        }
        match (octet, place) {
            (b'\\', Place::Quoted | Place::Comment) => {
                self.escaped = true;
                Place::Mark
            }
            (b'"', Place::Outside | Place::Quoted) => {
                self.quoted = !self.quoted;
                Place::Mark
            }
            (b'(', Place::Outside | Place::Comment) => {
                self.depth += 1;
                Place::Comment
            }
            (b')', Place::Comment) => {
                self.depth -= 1;
                Place::Comment
            }
            _ => place,
        }
    }

    fn is_closed(&self) -> bool {
        self.depth == 0 && !self.quoted && !self.escaped
    }
}

/// Checks on any input: no panic; our name is found behind any comment; nothing foreign adds a
/// result to what we write.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let me = "mx.example.net";
    claims(data, me);
    let text = String::from_utf8_lossy(data);
    let disguised = format!("{} {me} ; spf=pass", comment(&text));
    assert!(claims(disguised.as_bytes(), me), "{disguised}");
    let results =
        ["auth=none".to_owned(), text.to_string(), format!("spf=pass a={}", quote(&text))];
    let value = build(me, &results);
    assert!(value.bytes().all(|octet| matches!(octet, b' '..=b'~')));
    let mut scan = Scan::default();
    let ends = value.bytes().filter(|octet| scan.step(*octet) == Place::Outside && *octet == b';');
    assert_eq!(ends.count(), 3, "{value}");
    assert!(scan.is_closed() && claims(value.as_bytes(), me), "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_our_name_in_any_disguise() {
        let rows: &[(&str, bool)] = &[
            (" mx.example.net; spf=pass", true),
            ("MX.Example.NET; spf=pass", true),
            (" mx.example.net", true),
            (" (x) mx.example.net; a=b", true),
            (" (a(b\\)c);d) mx.example.net (e); a=b", true),
            ("\r\n mx.example.net\r\n ; a=b", true),
            (" \"mx.example.net\"; a=b", true),
            (" \"mx.\\example.net\"; a=b", true),
            (" mx.example.net/1; a=b", true),
            (" mx.example.net 1; a=b", true),
            (" mx.example.net.; a=b", true),
            (" mx.(c)example.net; a=b", true),
            (" mx. example.net 1; a=b", true),
            (" mx.example\0.net; a=b", true),
            (" mx.ex\r\n\tample.net; a=b", true),
            (" m\u{fffd}.example.net; a=b", true),
            (" \u{ff4d}x.example.net; a=b", true),
            (" =?utf-8?q?mx.example.net?=; a=b", true),
            (" m\\x.example.net; a=b", true),
            (" [mx.example.net]:25; a=b", true),
            (" i=1; mx.example.net; a=b", true),
            (" example.net; a=b", true),
            (" net; a=b", true),
            ("", true),
            (" ; mx.example.net; a=b", true),
            (" spf=pass (x) smtp.mailfrom=a; dkim=none", true),
            (" (open mx.google.com; a=b", true),
            (" \"open mx.google.com; a=b", true),
            (" mx.google.com; a=b", false),
            (" mx2.example.net; a=b", false),
            (" a.mx.example.net; a=b", false),
            (" mx.example.net.evil.example; a=b", false),
            (" mx.example.network; a=b", false),
            (" xmx.example.net; a=b", false),
            (" mx.google.com; spf=pass smtp.helo=mx.example.net", false),
            (" mx.google.com (mx.example.net); a=b", false),
            (" mx.google.com 1 (x); a=b", false),
        ];
        for (value, want) in rows {
            assert_eq!(claims(value.as_bytes(), "mx.example.net"), *want, "{value:?}");
            fuzz(value.as_bytes());
        }
        assert!(claims(b" m\xfcx.example.net; a=b", "mx.example.net"));
        assert!(claims(b"xn--mx-zka.example; a=b", "m\u{fc}x.example"));
        assert!(claims("(".repeat(1_000_000).as_bytes(), "mx.example.net"));
    }

    #[test]
    fn strips_every_claim() {
        let names = ["Authentication-Results:", "AUTHENTICATION-RESULTS :"];
        let ours = "mx.example.net; spf=pass\r\n";
        let theirs = "mx.google.com; spf=pass\r\n";
        let chain = "ARC-Authentication-Results: i=1; mx.example.net; spf=pass\r\n";
        let rows: &[(&str, &[Option<usize>])] = &[
            ("", &[]),
            ("t", &[]),
            ("c", &[]),
            ("o", &[None]),
            ("oooooo", &[None]),
            ("ocoo", &[None]),
            ("toto", &[Some(3), Some(1)]),
            ("ootcto", &[Some(4), Some(1), Some(0)]),
        ];
        for (fields, want) in rows {
            let mut message = String::new();
            for (index, field) in fields.chars().enumerate() {
                match field {
                    'o' => message.extend([names[index % 2], ours]),
                    't' => message.extend([names[index % 2], theirs]),
                    _ => message.push_str(chain),
                }
            }
            message.push_str("DKIM-Signature: h=Authentication-Results\r\n\r\n");
            let headers = Headers::index(message.as_bytes()).unwrap();
            let edits = strip(&headers, message.as_bytes(), "mx.example.net");
            let nths = edits.iter().map(|edit| match edit {
                Edit::Delete { nth, .. } => *nth,
                other => panic!("{other:?}"),
            });
            assert!(nths.eq(want.iter().copied()), "{fields}");
        }
    }

    #[test]
    fn builds() {
        let rows: &[(&[&str], &str)] = &[
            (&[], "mx; none"),
            (&["auth=none"], "mx; auth=none"),
            (&["auth=none", "iprev=pass"], "mx; auth=none; iprev=pass"),
            (&["auth=fail () smtp.auth="], "mx; auth=fail () smtp.auth="),
            (&["spf=pass a=\"b;c\" (d;e)"], "mx; spf=pass a=\"b;c\" (d;e)"),
            (&["spf=pass a=b; dkim=pass"], "mx; spf=pass a=b? dkim=pass"),
            (&["spf=fail (x", "y) dkim=pass"], "mx; spf=fail ?x; y? dkim=pass"),
            (&["a=b\\\"c"], "mx; a=b??c"),
            (&["a=\"x", "b=\"y;z"], "mx; a=?x; b=?y?z"),
            (&["a=b\r\n\0\u{e9}"], "mx; a=b?????"),
        ];
        for (results, want) in rows {
            let results: Vec<String> = results.iter().map(ToString::to_string).collect();
            assert_eq!(build("mx", &results), *want);
        }
    }

    #[test]
    fn quotes() {
        let rows: &[(&str, &str, &str)] = &[
            ("good.example", "good.example", "(good.example)"),
            ("u@good.example", "u@good.example", "(u@good.example)"),
            ("", "\"\"", "()"),
            ("@good.example", "@good.example", "(@good.example)"),
            ("a b", "\"a b\"", "(a b)"),
            ("a@b'c", "\"a@b'c\"", "(a@b'c)"),
            ("a@b@c", "\"a@b@c\"", "(a@b@c)"),
            ("a;b", "\"a;b\"", "(a;b)"),
            ("a\"(\\)", "\"a\\\"(\\\\)\"", "(a\"\\(\\\\\\))"),
            ("a\r\nb\u{e9}", "\"a??b??\"", "(a??b??)"),
        ];
        for (text, quoted, commented) in rows {
            assert_eq!((&*quote(text), &*comment(text)), (*quoted, *commented));
        }
    }
}
