//! Reads JSON (RFC 8259) in one pass, for who wants a few values of it: nothing is built but what is
//! asked for, nesting is bounded, and who calls bounds the size of the whole.

/// How deep values may be nested.
pub const DEPTH_MAX: usize = 32;

/// Octets of a member's name that are kept.
pub const NAME_MAX: usize = 64;

/// Octets of a number.
const NUMBER_MAX: usize = 64;

/// Why a text is not JSON that is read here, in words.
pub type Broken = &'static str;

/// What is called with a member's name; it has to take the value: by one call of the reader.
pub type Member<'f, 'a> = &'f mut dyn FnMut(&str, &mut Reader<'a>) -> Result<(), Broken>;

/// A place in a text.
pub struct Reader<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl<'a> Reader<'a> {
    /// At the text's beginning.
    pub fn new(text: &'a [u8]) -> Reader<'a> {
        Reader { rest: text, depth: 0 }
    }

    /// Takes an object, and hands each name to `member`. Another value is passed over.
    ///
    /// # Errors
    /// This is no value.
    pub fn object(&mut self, member: Member<'_, 'a>) -> Result<(), Broken> {
        if self.peek() != Some(b'{') {
            return self.skip();
        }
        self.list(b'}', &mut |reader| {
            let name = reader.string(NAME_MAX)?;
            if reader.takes(b':') { member(&name, reader) } else { Err("a name without a value") }
        })
    }

    /// Takes a string, cut behind `max` octets; None for another value, which is passed over.
    ///
    /// # Errors
    /// This is no value.
    pub fn text(&mut self, max: usize) -> Result<Option<String>, Broken> {
        match self.peek() {
            Some(b'"') => self.string(max).map(Some),
            _ => self.skip().map(|()| None),
        }
    }

    /// Takes a number, which is finite; None for another value, which is passed over.
    ///
    /// # Errors
    /// This is no value.
    pub fn number(&mut self) -> Result<Option<f64>, Broken> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return self.skip().map(|()| None);
        }
        let of_number =
            |octet: &u8| matches!(octet, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest.iter().take_while(|octet| of_number(octet)).count();
        let (digits, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, b""));
        self.rest = rest;
        let digits = std::str::from_utf8(digits).ok().filter(|it| it.len() <= NUMBER_MAX);
        let number = digits.and_then(|it| it.parse::<f64>().ok()).filter(|it| it.is_finite());
        number.map(Some).ok_or("a number that is none")
    }

    /// Passes over a value.
    ///
    /// # Errors
    /// This is no value.
    pub fn skip(&mut self) -> Result<(), Broken> {
        match self.peek() {
            Some(b'{') => self.object(&mut |_, reader| reader.skip()),
            Some(b'[') => self.list(b']', &mut Reader::skip),
            Some(b'"') => self.string(0).map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(_) => {
                let word = ["true", "false", "null"]
                    .iter()
                    .find_map(|word| self.rest.strip_prefix(word.as_bytes()));
                self.rest = word.ok_or("what is no value")?;
                Ok(())
            }
            None => Err("it ends too early"),
        }
    }

    /// Nothing but blanks may be left.
    ///
    /// # Errors
    /// There is more.
    pub fn end(&mut self) -> Result<(), Broken> {
        if self.peek().is_some() { Err("there is more behind its end") } else { Ok(()) }
    }

    /// What stands between the present bracket and `close`, with commas between.
    fn list(
        &mut self,
        close: u8,
        item: &mut dyn FnMut(&mut Reader<'a>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.octet();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("it is nested too deep");
        }
        if !self.takes(close) {
            loop {
                item(self)?;
                if self.takes(close) {
                    break;
                }
                self.takes(b',').then_some(()).ok_or("a comma or bracket is missing")?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A string, of which so many octets are kept.
    fn string(&mut self, mut max: usize) -> Result<String, Broken> {
        self.takes(b'"').then_some(()).ok_or("a string is missing")?;
        let mut kept: Vec<u8> = Vec::new();
        loop {
            let mut space = [0; 4];
            let piece: &[u8] = match self.octet().ok_or("a string without an end")? {
                b'"' => break,
                b'\\' => self.escaped()?.encode_utf8(&mut space).as_bytes(),
                octet if octet < b' ' => return Err("a control character in a string"),
                octet => &[octet],
            };
            if kept.len() + piece.len() <= max {
                kept.extend_from_slice(piece);
            } else {
                max = kept.len();
            }
        }
        // Where a character was cut, or is none, a mark takes its place.
        Ok(String::from_utf8_lossy(&kept).into_owned())
    }

    fn escaped(&mut self) -> Result<char, Broken> {
        Ok(match self.octet() {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.four_digits()?;
                let second = match self.rest.strip_prefix(b"\\u") {
                    Some(rest) if (0xd800..0xdc00).contains(&first) => {
                        self.rest = rest;
                        self.four_digits()?
                    }
                    _ => 0,
                };
                let pair = char::decode_utf16([first, second]).next();
                pair.and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err("an escape that there is not"),
        })
    }

    fn four_digits(&mut self) -> Result<u16, Broken> {
        let (digits, rest) = self.rest.split_at_checked(4).ok_or("it ends too early")?;
        let digits = std::str::from_utf8(digits).ok().filter(|it| !it.starts_with('+'));
        self.rest = rest;
        let number = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        number.ok_or("an escape that there is not")
    }

    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    fn takes(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        if found {
            self.octet();
        }
        found
    }

    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}
