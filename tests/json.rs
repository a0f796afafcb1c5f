//! A small reader of JSON (RFC 8259) for test material that others keep in that form.
//!
//! It reads whole files that stand still, so it is short rather than fast, and a mistake in the
//! file is a panic that names the place.
#![expect(clippy::expect_used, clippy::panic, reason = "only tests run this")]

use std::iter::Peekable;
use std::str::CharIndices;

/// A value; an object keeps the order of its members.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a file's text, which is one value.
    pub(crate) fn parse(text: &str) -> Self {
        let mut reader = Reader { text, chars: text.char_indices().peekable() };
        let value = reader.value(0);
        reader.skip_blanks();
        assert!(reader.chars.peek().is_none(), "text behind the value{}", reader.place());
        value
    }

    /// The member of an object, or `Null` where there is none.
    pub(crate) fn at(&self, key: &str) -> &Self {
        match self {
            Self::Object(members) => {
                members.iter().find(|(name, _)| name == key).map_or(&Self::Null, |(_, value)| value)
            }
            _ => &Self::Null,
        }
    }

    /// The items of a list; of anything else none.
    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a string; of anything else none.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Json {
        assert!(depth < 100, "nested too deep{}", self.place());
        self.skip_blanks();
        match self.peek() {
            Some('{') => Json::Object(self.members('}', |reader| {
                let key = reader.string();
                reader.skip_blanks();
                reader.expect(':');
                (key, reader.value(depth + 1))
            })),
            Some('[') => Json::List(self.members(']', |reader| reader.value(depth + 1))),
            Some('"') => Json::Text(self.string()),
            _ => self.word(),
        }
    }

    /// What stands between brackets with commas between.
    fn members<T>(&mut self, close: char, read: impl Fn(&mut Self) -> T) -> Vec<T> {
        self.chars.next();
        let mut found = Vec::new();
        loop {
            self.skip_blanks();
            if found.is_empty() && self.peek() == Some(close) {
                self.chars.next();
                return found;
            }
            found.push(read(self));
            self.skip_blanks();
            if self.peek() == Some(close) {
                self.chars.next();
                return found;
            }
            self.expect(',');
            self.skip_blanks();
        }
    }

    fn string(&mut self) -> String {
        self.expect('"');
        let mut units = Vec::new();
        loop {
            match self.next() {
                '"' => break,
                '\\' => units.push(self.escape()),
                char => {
                    assert!(!char.is_ascii_control(), "control character{}", self.place());
                    units.extend(char.encode_utf16(&mut [0; 2]).iter());
                }
            }
        }
        String::from_utf16_lossy(&units)
    }

    /// An escape as a unit of UTF-16, since pairs of `\u` make one character.
    fn escape(&mut self) -> u16 {
        let char = match self.next() {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            char @ ('"' | '\\' | '/') => char,
            'u' => {
                let digits = (0..4).map(|_| self.next());
                return digits.fold(0, |unit, digit| {
                    unit << 4 | digit.to_digit(16).expect("a hexadecimal digit") as u16
                });
            }
            other => panic!("escape {other:?}{}", self.place()),
        };
        char as u16
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Json {
        let mut word = String::new();
        while let Some(char) = self.peek() {
            if !(char.is_ascii_alphanumeric() || "+-.".contains(char)) {
                break;
            }
            word.extend(self.chars.next().map(|(_, char)| char));
        }
        match word.as_str() {
            "null" => Json::Null,
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            number if number.starts_with(|char: char| char == '-' || char.is_ascii_digit()) => {
                Json::Number(number.parse().unwrap_or_else(|_| panic!("{number}{}", self.place())))
            }
            other => panic!("{other:?} is no value{}", self.place()),
        }
    }

    fn skip_blanks(&mut self) {
        while self.chars.next_if(|(_, char)| matches!(char, ' ' | '\t' | '\n' | '\r')).is_some() {}
    }

    fn expect(&mut self, wanted: char) {
        let found = self.next();
        assert_eq!(found, wanted, "{}", self.place());
    }

    fn next(&mut self) -> char {
        self.chars.next().expect("the text ends early").1
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|&(_, char)| char)
    }

    fn place(&mut self) -> String {
        let at = self.chars.peek().map_or(self.text.len(), |&(at, _)| at);
        format!(", line {}", self.text[..at].lines().count())
    }
}

fn check(text: &str, expected: &Json) {
    assert_eq!(&Json::parse(text), expected, "{text}");
}

#[test]
fn values() {
    let text = |text: &str| Json::Text(text.to_owned());
    check(" null ", &Json::Null);
    check("true", &Json::Bool(true));
    check("-1.5e2", &Json::Number(-150.0));
    check(r#""a\"\\\/\n\u00e9\ud83d\ude00é""#, &text("a\"\\/\né😀é"));
    check("[]", &Json::List(vec![]));
    check("[ 1 , [\"x\"] ]", &Json::List(vec![Json::Number(1.0), Json::List(vec![text("x")])]));
    check("{}", &Json::Object(vec![]));
    let object = Json::parse("{\"a\": {\"b\" :[false]},\n\"c\":\"d\"}");
    assert_eq!(object.at("a").at("b").list(), [Json::Bool(false)]);
    assert_eq!((object.at("c").text(), object.at("x")), (Some("d"), &Json::Null));
}

#[test]
fn mistakes_are_named() {
    for text in ["", "[1 2]", "[1,]", "{\"a\" 1}", "\"a", "\"\\x\"", "nul", "1 2", "1-2", "\"\n\""]
    {
        assert!(std::panic::catch_unwind(|| Json::parse(text)).is_err(), "{text:?}");
    }
}
