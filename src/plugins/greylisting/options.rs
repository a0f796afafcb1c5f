//! The arguments of greylisting: of the plugin's line, the common file, and recipients' own.

use crate::client::p0f::Fingerprint;
use crate::config::files::{Line, Problem};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Own};
use crate::smtp::address::Address;

/// The file with more arguments.
pub(super) const FILE: &str = "denysoft_greylist";

const KEYLESS: &str = "one of remote_ip, sender and recipient has to be 1";

/// Arguments that mean nothing any more.
const FORMER: [&str; 5] = ["grey_timeout", "upgrade", "db_dir", "nfslock", "redis"];

/// Longest `white_timeout`: the store forgets after so many seconds.
const WHITE_MAX: u64 = 40 * 86_400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) remote_ip: bool,
    pub(super) sender: bool,
    pub(super) recipient: bool,
    pub(super) black_timeout: u64,
    pub(super) white_timeout: u64,
    pub(super) reject: bool,
    pub(super) deny_late: bool,
    pub(super) per_recipient: bool,
    /// Countries whose clients are exempt, in upper case.
    pub(super) countries: Vec<Box<str>>,
    /// Only clients of which all this is true.
    pub(super) p0f: Vec<Trait>,
}

/// What p0f may say of a client. Texts are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trait {
    Genre(String),
    Detail(String),
    Link(String),
    Distance(u16),
    Uptime(u32),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            remote_ip: true,
            sender: false,
            recipient: false,
            black_timeout: 3_000,
            white_timeout: 3_110_400,
            reject: true,
            deny_late: false,
            per_recipient: false,
            countries: Vec::new(),
            p0f: Vec::new(),
        }
    }
}

/// What the plugin's line and the common file say; the line counts before the file.
pub(super) fn read(args: &mut Args, setup: &Setup<'_>) -> Options {
    let mut options = Options::default();
    options.take_lines(&setup.lines(FILE), setup);
    options.take(args, setup);
    if !options.has_key() {
        args.complain(KEYLESS);
    }
    options
}

/// What recipients say, on top of that. They cannot say when greylisting looks.
pub(super) fn read_own(common: &Options, setup: &Setup<'_>) -> Own<Options> {
    if !common.per_recipient {
        return Own::none();
    }
    Own::load(setup, FILE, |lines| {
        let mut options = common.clone();
        options.take_lines(lines, setup);
        if let Some(line) = lines.first() {
            let complain = |what: &str| {
                setup.with_problems(|problems| Problem::error(line, what).note(problems));
            };
            if !options.has_key() {
                complain(KEYLESS);
            }
            if !options.per_recipient {
                complain("per_recipient is not for a single recipient to say");
            }
        }
        options
    })
}

impl Options {
    fn take_lines(&mut self, lines: &[Line], setup: &Setup<'_>) {
        for line in lines {
            let text = format!("{FILE} {}", line.text);
            let mut args = Args::new(Line { text, ..line.clone() });
            self.take(&mut args, setup);
            for what in args.finish() {
                setup.with_problems(|problems| Problem::error(line, what).note(problems));
            }
        }
    }

    fn has_key(&self) -> bool {
        self.remote_ip || self.sender || self.recipient
    }

    /// Takes what the words say, and leaves the rest as it was.
    fn take(&mut self, args: &mut Args, setup: &Setup<'_>) {
        for (name, value) in [
            ("remote_ip", &mut self.remote_ip),
            ("sender", &mut self.sender),
            ("recipient", &mut self.recipient),
            ("deny_late", &mut self.deny_late),
            ("per_recipient", &mut self.per_recipient),
        ] {
            match args.named(name).as_deref() {
                None => {}
                Some("1") => *value = true,
                Some("0") => *value = false,
                Some(other) => args.complain(format!("{name} {other}: use 0 or 1")),
            }
        }
        match args.named("mode").as_deref() {
            None => {}
            Some("testonly" | "off") => self.reject = false,
            Some("denysoft") => self.reject = true,
            Some(other) => args.complain(format!("mode {other}: use reject 0 or reject 1")),
        }
        match args.named("reject").as_deref() {
            None => {}
            Some("0" | "no" | "false") => self.reject = false,
            Some("1" | "yes" | "true") => self.reject = true,
            Some(other) => args.complain(format!("reject {other}: use 0 or 1")),
        }
        self.black_timeout = args.number("black_timeout", self.black_timeout, 0..=WHITE_MAX);
        let asked = args.number("white_timeout", self.white_timeout, 1..=u64::MAX);
        self.white_timeout = asked.min(WHITE_MAX);
        let mut warnings = Vec::new();
        if asked > WHITE_MAX {
            let what =
                format!("white_timeout {asked}: the store forgets after {WHITE_MAX} seconds");
            warnings.push(what);
        }
        if let Some(list) = args.named("geoip") {
            self.take_countries(&list, args);
        }
        if let Some(words) = args.named("p0f") {
            match traits(&words) {
                Ok(traits) => self.p0f = traits,
                Err(what) => args.complain(format!("p0f {words}: {what}")),
            }
        }
        for what in warnings {
            setup.with_problems(|problems| Problem::warning(&args.line, what).note(problems));
        }
        for name in FORMER {
            args.named(name);
        }
    }

    fn take_countries(&mut self, list: &str, args: &mut Args) {
        let is_code =
            |code: &str| code.len() == 2 && code.bytes().all(|it| it.is_ascii_alphabetic());
        self.countries.clear();
        for code in list.split(',').filter(|code| !code.is_empty()) {
            if is_code(code) {
                self.countries.push(code.to_ascii_uppercase().into());
            } else {
                args.complain(format!(
                    "geoip {code}: use two-letter codes with commas between them"
                ));
            }
        }
    }

    /// The record's key. Its parts are divided by blanks, which addresses may only have in quotes.
    pub(super) fn key(
        &self,
        who: &str,
        sender: Option<&Address>,
        recipient: Option<&Address>,
    ) -> String {
        let plain = |address: Option<&Address>| {
            address.map_or_else(String::new, |it| it.plain().to_ascii_lowercase())
        };
        let parts = [
            self.remote_ip.then(|| who.to_string()),
            self.sender.then(|| plain(sender)),
            self.recipient.then(|| plain(recipient)),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Is it looked for at RCPT?
    pub(super) fn at_rcpt(&self) -> bool {
        self.recipient || self.per_recipient
    }
}

/// Reads `KEY,VALUE,KEY,VALUE`.
pub(super) fn traits(words: &str) -> Result<Vec<Trait>, String> {
    let words: Vec<String> = words.split(',').map(|word| word.trim().to_lowercase()).collect();
    let (pairs, rest) = words.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("give keys and values, with commas between".to_string());
    }
    let read = |[key, value]: &[String; 2]| {
        let no_number = |_| format!("{key} {value}: give a number");
        match key.as_str() {
            "genre" => Ok(Trait::Genre(value.clone())),
            "detail" => Ok(Trait::Detail(value.clone())),
            "link" => Ok(Trait::Link(value.clone())),
            "distance" => value.parse().map(Trait::Distance).map_err(no_number),
            "uptime" => value.parse().map(Trait::Uptime).map_err(no_number),
            _ => Err(format!("{key}: use genre, detail, link, distance or uptime")),
        }
    };
    pairs.iter().map(read).collect()
}

impl Trait {
    /// The client has it.
    pub(super) fn fits(&self, client: &Fingerprint) -> bool {
        let part = |text: &str, of: &str| of.to_lowercase().contains(text);
        match self {
            Trait::Genre(text) => part(text, &client.os),
            Trait::Detail(text) => part(text, &client.flavor),
            Trait::Link(text) => part(text, &client.link),
            Trait::Distance(hops) => client.distance.is_some_and(|it| it > *hops),
            Trait::Uptime(minutes) => client.uptime.is_some_and(|it| it > *minutes),
        }
    }
}
