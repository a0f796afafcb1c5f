//! A script: what stands in a file under `tests/dialogues/`, read into steps.
//!
//! A line that cannot be read is an error with its number, never a step that does nothing: a
//! transcript that is not played proves nothing.

use crate::dialogue::memory::Memory;
use crate::dialogue::places::Places;
use crate::dialogue::zone::Zone;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// A script, ready to be played.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Path below `tests/dialogues/`, without its extension.
    pub(crate) name: String,
    /// The file, for messages and for rewriting.
    pub(crate) path: PathBuf,
    /// All lines of the file.
    pub(crate) text: Vec<String>,
    /// Lines of the file `plugins`, in order.
    pub(crate) plugins: Vec<String>,
    /// Config files: name and content.
    pub(crate) files: Vec<(String, String)>,
    /// Shell scripts in the script's folder: name and content.
    pub(crate) programs: Vec<(String, String)>,
    /// The client's address; none is the default.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) zone: Zone,
    /// What the store holds.
    pub(crate) memory: Memory,
    /// What the databases of places know.
    pub(crate) places: Places,
    pub(crate) load: Option<f64>,
    /// There is a certificate.
    pub(crate) tls: bool,
    /// Logins that failed lately from the client's network.
    pub(crate) guesses: u32,
    /// What the listener is for, in the words of the file `listen`.
    pub(crate) listener: String,
    /// Connections of the client, this one included, where there are others.
    pub(crate) connections: Option<usize>,
    /// What they have found out of its history.
    pub(crate) history: Option<i32>,
    /// Why it is never played over TCP.
    pub(crate) pure: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// A step and where it stands: an index into `Script::text`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) at: usize,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// Octets of the client.
    Send(Vec<u8>),
    /// So many reply lines that match.
    Expect(usize, String),
    /// The remaining lines of a reply.
    Rest,
    /// The server has closed.
    Closed,
    Wait(Duration),
    /// A TLS handshake, in which the client shows a certificate of this name, or none.
    Tls(Option<String>),
    /// The client ends.
    End(End),
    /// Some log line contains it, or none does.
    Log(bool, String),
    /// Some delivered message has such a line, or none has.
    Mail(bool, String),
    /// Some delivered message contains these octets.
    MailOctets(Vec<u8>),
    /// So many messages were delivered.
    MailCount(usize),
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    Reset,
    /// It sends no more, but still reads.
    Shutdown,
}

impl Script {
    /// Reads a file's text.
    ///
    /// # Errors
    /// `line: what is wrong`.
    pub(crate) fn parse(name: &str, path: PathBuf, text: &str) -> Result<Script, String> {
        let mut script = Script { name: name.into(), path, ..Script::default() };
        script.text = text.lines().map(str::to_string).collect();
        let lines = script.text.clone();
        let first = lines.first().and_then(|line| line.strip_prefix('#'));
        if first.is_none_or(|words| words.trim().is_empty()) {
            return Err("1: begin with a `#` paragraph that says why this is tested".into());
        }
        let mut in_steps = false;
        for (at, line) in lines.iter().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if line == "---" && !in_steps {
                in_steps = true;
                continue;
            }
            let read = match in_steps {
                false => script.setting(line),
                true => step(line).map(|what| script.steps.push(Step { at, what })),
            };
            read.map_err(|what| format!("{}: {what}", at + 1))?;
        }
        if script.steps.is_empty() {
            return Err("1: there is nothing to play behind a line `---`".into());
        }
        script.fill_in();
        Ok(script)
    }

    fn setting(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line.split_once(':').ok_or("no `key: value`, and no `---` before it")?;
        let value = value.trim();
        match key {
            "plugin" => self.plugins.push(value.to_string()),
            "peer" => self.peer = Some(value.parse().map_err(|_| "peer: an address")?),
            "dns" => self.zone.add(value)?,
            "store" => self.memory.add(value)?,
            "geoip" => self.places.add(value)?,
            "load" => self.load = Some(value.parse().map_err(|_| "load: a number")?),
            "tls" => self.tls = value == "yes",
            "guesses" => self.guesses = value.parse().map_err(|_| "guesses: a number")?,
            "listener" => self.listener = value.to_string(),
            "connections" => {
                self.connections = Some(value.parse().map_err(|_| "connections: a number")?);
            }
            "history" => {
                self.history = Some(value.parse().map_err(|_| "history: a number")?);
            }
            "pure" if value.is_empty() => return Err("pure: say why".into()),
            "pure" => self.pure = Some(value.to_string()),
            _ => {
                let program = line.strip_prefix("program ");
                // Names of files may hold colons: the first one before a blank counts.
                let rest =
                    program.or(line.strip_prefix("file ")).ok_or(format!("unknown: {key}"))?;
                let (name, text) = rest
                    .split_once(": ")
                    .or(rest.strip_suffix(':').map(|name| (name, "")))
                    .ok_or("file NAME: text, or program NAME: text")?;
                let list = if program.is_some() { &mut self.programs } else { &mut self.files };
                add_line(list, name.trim(), text);
            }
        }
        Ok(())
    }

    /// What a script need not say.
    fn fill_in(&mut self) {
        for (name, text) in
            [("me", "mx.example.net"), ("rcpthosts", "example.com"), ("loglevel", "6")]
        {
            if !self.files.iter().any(|(known, _)| known == name) {
                add_line(&mut self.files, name, text);
            }
        }
        let names = |prefix: &str| self.plugins.iter().any(|line| line.starts_with(prefix));
        let (rcpt_ok, queue) = (names("rcpt_ok"), names("queue/"));
        if !rcpt_ok {
            self.plugins.push("rcpt_ok".into());
        }
        if !queue {
            self.plugins.push("queue/maildir".into());
        }
    }

    /// The config folder's files. `queue/maildir` gets its folder; `$TMP` is the script's own.
    pub(crate) fn config(&self, tmp: &str) -> Vec<(String, String)> {
        let maildir = |line: &String| match line.strip_prefix("queue/maildir") {
            Some(rest) if !rest.trim_start().starts_with(['/', '$']) => {
                format!("queue/maildir {tmp}/mail{rest}\n")
            }
            _ => format!("{line}\n"),
        };
        let mut files = self.files.clone();
        files.push(("plugins".into(), self.plugins.iter().map(maildir).collect()));
        files.into_iter().map(|(name, text)| (name, text.replace("$TMP", tmp))).collect()
    }

    /// Why it is not for TCP; none if it is.
    pub(crate) fn not_over_tcp(&self) -> Option<&'static str> {
        const LONGEST: Duration = Duration::from_secs(3);
        let waits = self.steps.iter().map(|step| match step.what {
            What::Wait(wait) => wait,
            _ => Duration::ZERO,
        });
        let recorded = |step: &Step| match &step.what {
            What::Log(_, text) => text.starts_with("store: "),
            _ => false,
        };
        let certified = |step: &Step| matches!(step.what, What::Tls(Some(_)));
        match self {
            _ if self.steps.iter().any(certified) => Some("a client's certificate"),
            _ if self.steps.iter().any(recorded) => Some("what was recorded"),
            _ if self.pure.is_some() => Some("marked pure"),
            _ if !self.zone.is_empty() => Some("answers from DNS"),
            _ if self.memory.is_set() => Some("a store of its own"),
            _ if self.places.is_set() => Some("databases of places"),
            _ if self.load.is_some() => Some("a load average"),
            _ if self.guesses > 0 => Some("what is remembered of guessers"),
            _ if self.connections.is_some() => Some("other connections"),
            _ if self.peer.is_some_and(|ip| ip != Ipv4Addr::LOCALHOST) => {
                Some("a client elsewhere")
            }
            _ if waits.sum::<Duration>() > LONGEST => Some("long waits"),
            _ => None,
        }
    }
}

fn add_line(list: &mut Vec<(String, String)>, name: &str, text: &str) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, content)) => {
            content.push_str(text);
            content.push('\n');
        }
        None => list.push((name.to_string(), format!("{text}\n"))),
    }
}

fn step(line: &str) -> Result<What, String> {
    let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
    let text = rest.strip_prefix(' ').unwrap_or(rest);
    match mark {
        "C:" => Ok(What::Send([text.as_bytes(), b"\r\n"].concat())),
        "C\\" => repeated(rest),
        "C!" => match text.trim() {
            "tls" => Ok(What::Tls(None)),
            text if text.starts_with("tls ") => {
                Ok(What::Tls(text.strip_prefix("tls ").map(str::to_string)))
            }
            "close" => Ok(What::End(End::Close)),
            "reset" => Ok(What::End(End::Reset)),
            "shutdown" => Ok(What::End(End::Shutdown)),
            _ => Err("C! tls, C! close, C! reset or C! shutdown".into()),
        },
        "S:" if text == "<rest>" => Ok(What::Rest),
        "S:" if text == "<closed>" => Ok(What::Closed),
        "S:" => Ok(What::Expect(1, text.to_string())),
        "S*" => {
            let (count, text) = count(rest)?;
            Ok(What::Expect(count, text.to_string()))
        }
        "+ " => duration(rest.trim()).map(What::Wait),
        "L:" => Ok(What::Log(true, text.to_string())),
        "L!" => Ok(What::Log(false, text.to_string())),
        "M:" => match text.strip_prefix('<').and_then(|text| text.strip_suffix('>')) {
            Some(count) if count.parse::<usize>().is_ok() => {
                Ok(What::MailCount(count.parse().unwrap_or_default()))
            }
            _ => Ok(What::Mail(true, text.to_string())),
        },
        "M!" => Ok(What::Mail(false, text.to_string())),
        "M\\" => unescape(text).map(What::MailOctets),
        _ => Err(format!("{mark:?} is no mark of a step")),
    }
}

/// ` text` once, or `*N text` N times, with escapes.
fn repeated(rest: &str) -> Result<What, String> {
    let (count, text) = match rest.strip_prefix('*') {
        Some(rest) => count(rest)?,
        None => (1, rest.strip_prefix(' ').unwrap_or(rest)),
    };
    Ok(What::Send(unescape(text)?.repeat(count)))
}

fn count(rest: &str) -> Result<(usize, &str), String> {
    let (number, text) = rest.split_once(' ').ok_or("a number, a blank, and text")?;
    let number = number.parse().map_err(|_| format!("{number} is no number"))?;
    Ok((number, text))
}

/// `2s`, `500ms`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "a number and ms, s, m or h")?;
    match unit.trim() {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(60 * number)),
        "h" => Ok(Duration::from_secs(3_600 * number)),
        _ => Err("units are ms, s, m and h".into()),
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'\\' {
            octets.push(octet);
            continue;
        }
        octets.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digit = |octet: Option<u8>| octet.and_then(|it| char::from(it).to_digit(16));
                match (digit(rest.next()), digit(rest.next())) {
                    (Some(high), Some(low)) => u8::try_from(high << 4 | low).unwrap_or_default(),
                    _ => return Err("\\x wants two hexadecimal digits".into()),
                }
            }
            _ => return Err("escapes are \\r \\n \\t \\0 \\\\ and \\xHH".into()),
        });
    }
    Ok(octets)
}

/// Does `text` match, with `*` for any text? Linear: a star matches as little as it can.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Script, String> {
        Script::parse("a/b", PathBuf::from("a/b.txt"), text)
    }

    fn check_step(line: &str, expected: What) {
        assert_eq!(step(line), Ok(expected), "{line}");
    }

    #[test]
    fn steps() {
        let text = |text: &str| text.to_string();
        check_step("C: QUIT", What::Send(b"QUIT\r\n".into()));
        check_step("C:", What::Send(b"\r\n".into()));
        check_step("C: two ", What::Send(b"two \r\n".into()));
        check_step("C\\ a\\r\\n\\0\\x7f\\\\", What::Send(b"a\r\n\0\x7f\\".into()));
        check_step("C\\*3 ab", What::Send(b"ababab".into()));
        check_step("S: 250 *", What::Expect(1, text("250 *")));
        check_step("S*2 250 ok", What::Expect(2, text("250 ok")));
        check_step("S: <rest>", What::Rest);
        check_step("S: <closed>", What::Closed);
        check_step("+ 2s", What::Wait(Duration::from_secs(2)));
        check_step("+ 500ms", What::Wait(Duration::from_millis(500)));
        check_step("C! reset", What::End(End::Reset));
        check_step("C! tls", What::Tls(None));
        check_step("C! tls a.example", What::Tls(Some(text("a.example"))));
        check_step("L! x", What::Log(false, text("x")));
        check_step("M: Subject: x", What::Mail(true, text("Subject: x")));
        check_step("M: <0>", What::MailCount(0));
        check_step("M\\ a\\n.", What::MailOctets(b"a\n.".into()));
        for line in ["X: y", "C\\ \\q", "C\\*x y", "+ 2", "+ s", "C! away", "S*x 250", "C\\ \\x1"] {
            assert!(step(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_script_has_a_reason_and_defaults() {
        let script =
            parse("# Why.\nplugin: relay\nfile rcpthosts: a\nfile rcpthosts: b\n---\nC: x\n")
                .expect("it is right");
        assert_eq!(script.plugins, ["relay", "rcpt_ok", "queue/maildir"]);
        let config = script.config("/tmp/x");
        let of = |name: &str| config.iter().find(|(known, _)| known == name).expect(name).1.clone();
        assert_eq!(of("rcpthosts"), "a\nb\n");
        assert_eq!(of("plugins"), "relay\nrcpt_ok\nqueue/maildir /tmp/x/mail\n");
        assert_eq!(script.not_over_tcp(), None);
        for (text, error) in [
            ("plugin: x\n---\nC: x\n", "1: begin"),
            ("#\n---\nC: x\n", "1: begin"),
            ("# Why.\n---\n", "1: there is nothing"),
            ("# Why.\nC: x\n", "2: unknown: C"),
            ("# Why.\npeer: nobody\n---\nC: x", "2: peer"),
            ("# Why.\n---\n---\nC: x", "3: "),
            ("# Why.\n---\n\nY: x", "4: "),
            ("# Why.\npure:\n---\nC: x", "2: pure"),
        ] {
            let found = parse(text).expect_err(text);
            assert!(found.starts_with(error), "{text:?}: {found}");
        }
    }

    #[test]
    fn what_goes_over_tcp() {
        for (head, steps, tcp) in [
            ("", "+ 3s", true),
            ("", "+ 3s\n+ 1ms", false),
            ("peer: 127.0.0.1\n", "C: x", true),
            ("peer: 192.0.2.1\n", "C: x", false),
            ("peer: ::1\n", "C: x", false),
            ("load: 9\n", "C: x", false),
            ("geoip: 192.0.2.0/24 EU DE Berlin\n", "C: x", false),
            ("connections: 2\n", "C: x", false),
            ("pure: so\n", "C: x", false),
            ("dns: a.example A 192.0.2.1\n", "C: x", false),
            ("store: away\n", "C: x", false),
            ("", "C: x\nL! store: karma", false),
        ] {
            let script = parse(&format!("# Why.\n{head}---\n{steps}\n")).expect(head);
            assert_eq!(script.not_over_tcp().is_none(), tcp, "{head}{steps}");
        }
    }

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*c", "abbc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("*b*", "abc", true),
            ("*", "", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
