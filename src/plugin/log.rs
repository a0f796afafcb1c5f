//! What a log line is, as data: its level, the connection it belongs to, the plugin that says it.
//!
//! Plugins and the core make lines; one thread elsewhere prints them. So nothing here does I/O:
//! a line can be compared in a test, and the rules that keep the log trustworthy stand in one
//! place. They are two. A line is one physical line and printable, whatever is in it
//! ([`Line::render`]). And what somebody else sent goes into a text only through [`foreign`], so
//! that nobody outside can make a line that log tools take for one of ours.
//!
//! The grammar is that of qpsmtpd 0.96, which fail2ban filters and mail statistics read:
//! `ID (hook) plugin: text`, with the connection's id where qpsmtpd had the process number.

mod output;

use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::LOG_TEXT_MAX;

pub use output::{Facility, FileOutput, Output, PipeOutput, SyslogOutput, named_arguments};

/// Longest text of one line in octets. A line is put together from several foreign texts, each of
/// them at most `LOG_TEXT_MAX`; a summary line has nine fields and must not lose the last of them.
const LINE_TEXT_MAX: usize = 10 * LOG_TEXT_MAX;

/// How important a line is, with the numbers of syslog (RFC 5424 section 6.2.1) and qpsmtpd:
/// the smaller, the more urgent. A line is printed where its level is at most the level asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// 0: the system cannot be used.
    Emergency = 0,
    /// 1: somebody must act now; also what must be in the log at every setting.
    Alert,
    /// 2: a part of the daemon does not work.
    Critical,
    /// 3: something failed.
    Error,
    /// 4: something looks wrong; the default threshold.
    Warning,
    /// 5: normal, but worth to know.
    Notice,
    /// 6: the usual course of a connection; what most sites run with.
    Info,
    /// 7: everything.
    Debug = 7,
}

impl Level {
    /// All levels, the most urgent first.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    /// The number, 0 to 7.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name that the log file shows, as `info`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Emergency => "emerg",
            Self::Alert => "alert",
            Self::Critical => "crit",
            Self::Error => "error",
            Self::Warning => "warn",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The level `by` steps less (positive) or more urgent (negative), at most to the ends of the
    /// scale: what a plugin's argument `loglevel +1` means.
    #[must_use]
    pub fn shifted(self, by: i8) -> Self {
        let wanted = i16::from(self.number()) + i16::from(by);
        Self::ALL.into_iter().rfind(|l| i16::from(l.number()) <= wanted).unwrap_or(Self::Emergency)
    }
}

/// Why a text is no [`Level`]; its `Display` names what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel(String);

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = foreign(self.0.as_bytes());
        write!(f, "\"{text}\" is no log level; allowed are 0 to 7, emerg, alert, crit, error, ")?;
        write!(f, "warn, notice, info, debug, each also with LOG before it")
    }
}

impl std::error::Error for UnknownLevel {}

impl FromStr for Level {
    type Err = UnknownLevel;

    /// Reads `0` to `7`, qpsmtpd's names (`LOGINFO`) and those of syslog (`LOG_ERR`), in any case
    /// and with or without the `LOG`. `LOGRADAR` is 0 as in qpsmtpd.
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("log").unwrap_or(&lower);
        match name.strip_prefix('_').unwrap_or(name) {
            "0" | "emerg" | "emergency" | "radar" | "panic" => Ok(Self::Emergency),
            "1" | "alert" => Ok(Self::Alert),
            "2" | "crit" | "critical" => Ok(Self::Critical),
            "3" | "error" | "err" => Ok(Self::Error),
            "4" | "warn" | "warning" => Ok(Self::Warning),
            "5" | "notice" => Ok(Self::Notice),
            "6" | "info" => Ok(Self::Info),
            "7" | "debug" => Ok(Self::Debug),
            _ => Err(UnknownLevel(text.to_owned())),
        }
    }
}

/// The number of a connection, which all its lines carry. Later connections have larger ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

impl Id {
    /// The daemon itself, outside any connection; such lines show no number.
    pub const NONE: Self = Self(0);

    /// Whether this is [`Id::NONE`].
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One line of the log before it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How important it is.
    pub level: Level,
    /// The connection, or [`Id::NONE`].
    pub id: Id,
    /// qpsmtpd's name of the hook that ran (`data_post`), empty outside a hook.
    pub hook: &'static str,
    /// The plugin's name as [`log_name`] gives it, empty for the core.
    pub plugin: Arc<str>,
    /// What is said; foreign parts went through [`foreign`].
    pub text: String,
}

impl Line {
    /// A line of the core.
    #[must_use]
    pub fn core(level: Level, id: Id, text: impl Into<String>) -> Self {
        Self { level, id, hook: "", plugin: Arc::default(), text: text.into() }
    }

    /// A line of the plugin with this [`log_name`], in `hook` or (empty) outside one.
    #[must_use]
    pub fn plugin(
        level: Level,
        id: Id,
        hook: &'static str,
        plugin: &Arc<str>,
        text: impl Into<String>,
    ) -> Self {
        Self { level, id, hook, plugin: Arc::clone(plugin), text: text.into() }
    }

    /// Appends the line without its line end: `ID (hook) plugin: text`, outside a hook
    /// `ID plugin: text`, from the core `ID text`; without `ID` where there is none.
    ///
    /// The result is one physical line of printable UTF-8 (TAB stays) and bounded, whatever the
    /// text holds: that is made sure here once more for texts that missed [`foreign`].
    pub fn render(&self, out: &mut Vec<u8>) {
        if !self.id.is_none() {
            push_display(out, self.id);
            out.push(b' ');
        }
        if !self.plugin.is_empty() {
            if !self.hook.is_empty() {
                out.push(b'(');
                out.extend_from_slice(self.hook.as_bytes());
                out.extend_from_slice(b") ");
            }
            push_printable(out, &self.plugin);
            out.extend_from_slice(b": ");
        }
        push_printable(out, &self.text);
    }
}

/// What happens, as the log thread is told. Besides lines it learns how mail transactions end,
/// for loggers that keep lines until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line to print.
    Line(Line),
    /// A plugin refused something in the transaction that runs.
    Denied(Id),
    /// A message was accepted: the end of its transaction.
    Accepted(Id),
    /// The connection is over; nothing follows with this number.
    Closed(Id),
}

/// Foreign bytes made fit for a log line: printable UTF-8 stays, everything else is written
/// `\xHH` octet by octet, and after `LOG_TEXT_MAX` octets a mark `…[+N]` tells how many octets
/// of the source are not shown.
///
/// Escaped are control characters, TAB, invalid UTF-8, characters that break, hide or reorder
/// text (U+2028, bidirectional controls, zero width), and the backquote. Log tools split summary
/// lines at the backquote and TABs: so those are always our own.
#[must_use]
pub fn foreign(bytes: &[u8]) -> String {
    foreign_within(bytes, LOG_TEXT_MAX)
}

/// [`foreign`] with another bound in octets, for callers that put many texts into one line.
#[must_use]
pub fn foreign_within(bytes: &[u8], max: usize) -> String {
    let mut out = Vec::with_capacity(bytes.len().min(max));
    escape(&mut out, bytes, max, |c| is_printable(c) && c != '\t' && c != '`');
    // The escaper copies whole characters and otherwise writes ASCII, so this never replaces.
    String::from_utf8(out).unwrap_or_default()
}

/// Appends one of our own texts as a line may show it: printable UTF-8 and TAB stay.
pub fn push_printable(out: &mut Vec<u8>, text: &str) {
    let plain = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
    if text.len() <= LINE_TEXT_MAX && text.bytes().all(plain) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape(out, text.as_bytes(), LINE_TEXT_MAX, is_printable);
    }
}

/// The name under which log lines show a plugin, by qpsmtpd's rules: a run of slashes becomes
/// `::`, a digit after it and every octet outside `[A-Za-z0-9_]` becomes `_` and two hex digits.
/// `queue/qmail-queue:2` is `queue::qmail_2dqueue_3a2`.
#[must_use]
pub fn log_name(plugin: &str) -> String {
    let mut name = String::with_capacity(plugin.len() + 8);
    let mut previous = 0;
    for byte in plugin.bytes() {
        match byte {
            b'/' if previous == b'/' => {}
            b'/' => name.push_str("::"),
            b'0'..=b'9' if previous == b'/' => name.push_str(&format!("_{byte:02x}")),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' => name.push(char::from(byte)),
            _ => name.push_str(&format!("_{byte:02x}")),
        }
        previous = byte;
    }
    name
}

/// Appends `bytes`, whatever `keep` refuses as `\xHH`, and stops with a mark before more than
/// `max` octets are written. Work is bounded by `max`, not by the length of the source.
fn escape(out: &mut Vec<u8>, bytes: &[u8], max: usize, keep: impl Fn(char) -> bool) {
    let mut room = max;
    let mut left = bytes.len();
    for chunk in bytes.utf8_chunks() {
        let mut buf = [0; 4];
        for c in chunk.valid().chars() {
            let octets = c.encode_utf8(&mut buf).as_bytes();
            if !escape_one(out, octets, keep(c), &mut room) {
                return push_mark(out, left);
            }
            left -= octets.len();
        }
        for octet in chunk.invalid() {
            if !escape_one(out, &[*octet], false, &mut room) {
                return push_mark(out, left);
            }
            left -= 1;
        }
    }
}

/// Appends one character or stray octet, or says `false` where it has no room.
fn escape_one(out: &mut Vec<u8>, octets: &[u8], keep: bool, room: &mut usize) -> bool {
    let width = if keep { octets.len() } else { 4 * octets.len() };
    let Some(rest) = room.checked_sub(width) else { return false };
    *room = rest;
    if keep {
        out.extend_from_slice(octets);
    } else {
        for octet in octets {
            push_display(out, format_args!("\\x{octet:02x}"));
        }
    }
    true
}

/// The mark at the end of a text that was cut.
fn push_mark(out: &mut Vec<u8>, left: usize) {
    push_display(out, format_args!("…[+{left}]"));
}

/// Appends what `Display` gives, without a string in between; writing to memory cannot fail.
fn push_display(out: &mut Vec<u8>, value: impl fmt::Display) {
    struct Octets<'a>(&'a mut Vec<u8>);
    impl Write for Octets<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    let _ = write!(Octets(out), "{value}");
}

/// Whether a character may stand in a log line: neither a control nor one of the characters
/// that end lines, hide themselves or change the order in which a terminal shows the others.
fn is_printable(c: char) -> bool {
    let disguise = matches!(c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}');
    c == '\t' || !(c.is_control() || disguise)
}

/// Any bytes give a bounded printable text, which is not escaped a second time, and a line that
/// is one physical line.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let clean = |text: &str| text.chars().all(is_printable);
    let once = foreign(data);
    let bound = LOG_TEXT_MAX + "…[+18446744073709551615]".len();
    assert!(clean(&once) && once.len() <= bound, "{once:?}");
    assert!(!once.contains(['\t', '`']), "{once:?}");
    assert_eq!(foreign_within(once.as_bytes(), bound), once);

    let lossy = String::from_utf8_lossy(data);
    let line = Line::plugin(Level::Info, Id(7), "rcpt", &Arc::from(log_name(&lossy)), &*lossy);
    let mut out = Vec::new();
    line.render(&mut out);
    assert!(clean(std::str::from_utf8(&out).unwrap_or("\n")), "{out:?}");
    if let Ok(level) = lossy.parse::<Level>() {
        assert_eq!(level.name().parse(), Ok(level));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_by_number_and_name() {
        for (text, level) in [
            ("0", Some(Level::Emergency)),
            ("7", Some(Level::Debug)),
            ("8", None),
            ("-1", None),
            ("", None),
            ("log", None),
            ("LOGINFO", Some(Level::Info)),
            ("loginfo", Some(Level::Info)),
            ("info", Some(Level::Info)),
            ("LOGRADAR", Some(Level::Emergency)),
            ("LOG_ERR", Some(Level::Error)),
            ("Warning", Some(Level::Warning)),
            ("LOGNOTICE5", None),
        ] {
            assert_eq!(text.parse().ok(), level, "{text:?}");
        }
        for (number, level) in Level::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(level.number()), number);
            assert_eq!(number.to_string().parse(), Ok(level));
            assert_eq!(format!("LOG{}", level.name().to_uppercase()).parse(), Ok(level));
        }
        assert!("x\n".parse::<Level>().unwrap_err().to_string().starts_with("\"x\\x0a\" is no"));
    }

    #[test]
    fn levels_shift_within_the_scale() {
        for (level, by, expected) in [
            (Level::Info, 1, Level::Debug),
            (Level::Info, 9, Level::Debug),
            (Level::Info, 0, Level::Info),
            (Level::Info, -2, Level::Warning),
            (Level::Alert, -1, Level::Emergency),
            (Level::Alert, i8::MIN, Level::Emergency),
            (Level::Debug, i8::MAX, Level::Debug),
        ] {
            assert_eq!(level.shifted(by), expected, "{level:?} {by}");
        }
    }

    #[test]
    fn lines_follow_the_grammar() {
        for (id, hook, plugin, text, expected) in [
            (17, "rcpt", "rcpt_ok", "pass", "17 (rcpt) rcpt_ok: pass"),
            (17, "", "rcpt_ok", "pass", "17 rcpt_ok: pass"),
            (17, "", "", "dispatching QUIT", "17 dispatching QUIT"),
            (0, "", "", "listening", "listening"),
            (0, "", "dnsbl", "loaded", "dnsbl: loaded"),
            (1, "deny", "logging::logterse", "` a\tb", "1 (deny) logging::logterse: ` a\tb"),
            (1, "", "", "a\r\nb\x1b[2J\u{2028}\u{202e}é", {
                "1 a\\x0d\\x0ab\\x1b[2J\\xe2\\x80\\xa8\\xe2\\x80\\xaeé"
            }),
            (1, "", "p\nq", "", "1 p\\x0aq: "),
        ] {
            let line = Line::plugin(Level::Info, Id(id), hook, &Arc::from(plugin), text);
            let mut out = Vec::new();
            line.render(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        let long = |c: char, n: usize| c.to_string().repeat(n);
        for (bytes, expected) in [
            (b"plain".to_vec(), "plain".to_owned()),
            (b"a\tb`c\\".to_vec(), "a\\x09b\\x60c\\".to_owned()),
            (b"\r\n2026 FORGED\0\x7f".to_vec(), "\\x0d\\x0a2026 FORGED\\x00\\x7f".to_owned()),
            ("grüße\u{85}".into(), "grüße\\xc2\\x85".to_owned()),
            (b"\xff\xc3(\xe2\x82".to_vec(), "\\xff\\xc3(\\xe2\\x82".to_owned()),
            (b"\xed\xa0\x80".to_vec(), "\\xed\\xa0\\x80".to_owned()),
            (long('a', 1_000).into(), long('a', 1_000)),
            (long('a', 1_001).into(), long('a', 1_000) + "…[+1]"),
            (long('a', 100_000).into(), long('a', 1_000) + "…[+99000]"),
            (long('\n', 251).into(), "\\x0a".repeat(250) + "…[+1]"),
            (
                ("a".to_owned() + &long('é', 600)).into(),
                "a".to_owned() + &long('é', 499) + { "…[+202]" },
            ),
        ] {
            assert_eq!(foreign(&bytes), expected);
        }
        let line = Line::core(Level::Info, Id::NONE, "x".repeat(LINE_TEXT_MAX + 5));
        let mut out = Vec::new();
        line.render(&mut out);
        assert!(String::from_utf8(out).unwrap().ends_with("xx…[+5]"));
    }

    #[test]
    fn plugin_names_are_those_of_qpsmtpd() {
        for (plugin, expected) in [
            ("rcpt_ok", "rcpt_ok"),
            ("queue/qmail-queue", "queue::qmail_2dqueue"),
            ("queue/qmail-queue:2", "queue::qmail_2dqueue_3a2"),
            ("relay:0", "relay_3a0"),
            ("virus/clamdscan", "virus::clamdscan"),
            ("a//3b/4", "a::_33b::_34"),
            ("", ""),
        ] {
            assert_eq!(log_name(plugin), expected);
        }
    }

    #[test]
    fn seeds_hold_the_invariants() {
        for seed in [
            &b"LOGINFO"[..],
            b"",
            b"\xf0\x9f\x98",
            b"`\t\n",
            &[0xff; 3_000],
            "\u{2028}\u{feff}".as_bytes(),
        ] {
            fuzz(seed);
        }
    }
}
