//! Times in the log: the handful of strftime's patterns that log files use.
//!
//! The C library's strftime writes into a buffer of the caller's and follows the locale; a log
//! that tools read must not. So the patterns are filled in here, in English, from a local time
//! that somebody else looked up.

use std::fmt::Write;

use super::time::LocalTime;

/// A moment in both forms that patterns need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970.
    pub unix: i64,
    /// The same in local time.
    pub local: LocalTime,
}

/// Fills in a pattern of strftime (`%a %b %h %d %e %j %m %y %Y %H %M %S %T %R %F %D %s %z %%`)
/// and `%i`, the connection; other patterns stay as they are.
pub fn expand(pattern: &str, now: &Moment, connection: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some((text, tail)) = rest.split_once('%') {
        out.push_str(text);
        let mut chars = tail.chars();
        let letter = chars.next();
        match letter {
            Some('i') => out.push_str(connection),
            Some(letter) => push(&mut out, letter, now),
            None => out.push('%'),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// `2026-11-23T17:29:05+01:00` (RFC 3339): one word, and sure to sort.
pub fn rfc3339(now: &Moment) -> String {
    let mut stamp = expand("%FT%T%z", now, "");
    if let Some(minutes) = stamp.len().checked_sub(2) {
        stamp.insert(minutes, ':');
    }
    stamp
}

/// `Nov  3 17:29:05`: the time of a syslog message (RFC 3164 section 4.1.2).
pub fn rfc3164(now: &Moment) -> String {
    expand("%b %e %T", now, "")
}

/// Appends what one letter stands for. Writing to a string cannot fail.
fn push(out: &mut String, letter: char, now: &Moment) {
    let t = &now.local;
    let _ = match letter {
        'a' => out.write_str(t.weekday_name()),
        'b' | 'h' => out.write_str(t.month_name()),
        'd' => write!(out, "{:02}", t.day),
        'e' => write!(out, "{:2}", t.day),
        'j' => write!(out, "{:03}", day_of_year(t)),
        'm' => write!(out, "{:02}", t.month),
        'y' => write!(out, "{:02}", t.year.rem_euclid(100)),
        'Y' => write!(out, "{}", t.year),
        'H' => write!(out, "{:02}", t.hour),
        'M' => write!(out, "{:02}", t.minute),
        'S' => write!(out, "{:02}", t.second),
        'T' => write!(out, "{:02}:{:02}:{:02}", t.hour, t.minute, t.second),
        'R' => write!(out, "{:02}:{:02}", t.hour, t.minute),
        'F' => write!(out, "{}-{:02}-{:02}", t.year, t.month, t.day),
        'D' => write!(out, "{:02}/{:02}/{:02}", t.month, t.day, t.year.rem_euclid(100)),
        's' => write!(out, "{}", now.unix),
        'z' => {
            let sign = if t.offset_seconds < 0 { '-' } else { '+' };
            let minutes = t.offset_seconds.unsigned_abs() / 60;
            write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
        }
        '%' => out.write_str("%"),
        other => write!(out, "%{other}"),
    };
}

/// The day of the year, from 1.
fn day_of_year(t: &LocalTime) -> u16 {
    let leap = t.year % 4 == 0 && (t.year % 100 != 0 || t.year % 400 == 0);
    let february = if leap { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = lengths.iter().take(usize::from(t.month).saturating_sub(1)).sum::<u16>();
    before + u16::from(t.day)
}

/// Any pattern gives a text that is bounded by the pattern, and one without `%` stays as it is.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let pattern = String::from_utf8_lossy(data);
    let moment = Moment { unix: 0, local: super::time::local(0) };
    let text = expand(&pattern, &moment, "17");
    assert!(text.len() <= 10 * pattern.len(), "{text:?}");
    if !pattern.contains('%') {
        assert_eq!(text, pattern);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(offset_seconds: i32) -> Moment {
        let local = LocalTime {
            year: 2024,
            month: 12,
            day: 3,
            hour: 7,
            minute: 4,
            second: 59,
            weekday: 2,
            offset_seconds,
        };
        Moment { unix: 1_733_205_899, local }
    }

    #[test]
    fn patterns() {
        for (pattern, expected) in [
            ("", ""),
            ("plain é", "plain é"),
            ("%a %b %d %T %Y", "Tue Dec 03 07:04:59 2024"),
            ("%e|%j|%y|%m|%H%M%S", " 3|338|24|12|070459"),
            ("/log.%F-%h-%R %D", "/log.2024-12-03-Dec-07:04 12/03/24"),
            ("%i/%s/%z", "17/1733205899/+0530"),
            ("100%% %", "100% %"),
            ("%Q %é %%T", "%Q %é %T"),
        ] {
            assert_eq!(expand(pattern, &moment(19_800), "17"), expected, "{pattern:?}");
            fuzz(pattern.as_bytes());
        }
        fuzz(b"%\xff%");
    }

    #[test]
    fn stamps() {
        assert_eq!(rfc3339(&moment(-12_600)), "2024-12-03T07:04:59-03:30");
        assert_eq!(rfc3339(&moment(0)), "2024-12-03T07:04:59+00:00");
        assert_eq!(rfc3164(&moment(0)), "Dec  3 07:04:59");
    }

    #[test]
    fn days_are_counted_through_leap_years() {
        for (year, month, day, expected) in
            [(2024, 1, 1, 1), (2024, 12, 31, 366), (2025, 12, 31, 365), (1900, 3, 1, 60)]
        {
            let local = LocalTime { year, month, day, ..moment(0).local };
            assert_eq!(day_of_year(&local), expected, "{year}-{month}-{day}");
        }
    }
}
