//! Date and time of mail: reading a `Date` field and writing one of our own (RFC 5322 3.3).
//!
//! Reading is lenient, because most of what is wrong in a date tells nothing about the mail:
//! day names, comments, old zones, short years and missing seconds are all taken. It is strict in
//! one thing: a date that no calendar has (31 February, 25 o'clock) is no date. There is no clock
//! in here; callers bring the time.

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// Zones with a name and their hours east of UTC (RFC 5322 4.3).
const ZONES: [(&str, i64); 8] = [
    ("EDT", -4),
    ("EST", -5),
    ("CDT", -5),
    ("CST", -6),
    ("MDT", -6),
    ("MST", -7),
    ("PDT", -7),
    ("PST", -8),
];
/// The first and the last second that `format` writes: years of four digits, as the grammar has.
const FIRST: i64 = days_from_civil(1900, 1, 1) * DAY;
const LAST: i64 = days_from_civil(10_000, 1, 1) * DAY - 1;

/// Reads a date-time (RFC 5322 3.3 and 4.3) into seconds since 1970-01-01 UTC.
///
/// Zones reach from -9959 to +9959; unknown names and a missing zone count as UTC, as RFC 5322 4.3
/// asks for. What follows the zone is ignored. `None` if it cannot be read or cannot exist.
pub fn parse(value: &[u8]) -> Option<i64> {
    let mut tokens = Tokens { rest: value, ahead: None };
    if let Some(Token::Word(name)) = tokens.peek() {
        number_of(&WEEKDAYS, name)?;
        tokens.next();
        tokens.accept(b',');
        tokens.accept(b'.');
    }
    let day = tokens.number(1..=2)?;
    tokens.accept(b'-');
    let Some(Token::Word(month)) = tokens.next() else { return None };
    let month = number_of(&MONTHS, month)?;
    tokens.accept(b'-');
    let year = year(&mut tokens)?;
    if day < 1 || day > days_in(year, month) {
        return None;
    }
    let seconds = time_of_day(&mut tokens)?;
    let zone = zone(&mut tokens)?;
    Some(days_from_civil(year, month, day) * DAY + seconds - zone)
}

/// Writes a date-time as `Sun, 22 Nov 2026 05:27:23 +0000`.
///
/// `offset_seconds` is local time minus UTC; only its whole minutes count, for the zone has no
/// more. Moments outside the years 1900 to 9999 are moved to the nearest end.
pub fn format(unix: i64, offset_seconds: i32) -> String {
    let minutes = i64::from(offset_seconds / 60).clamp(-5_999, 5_999);
    let local = unix.saturating_add(minutes * 60).clamp(FIRST, LAST);
    let (days, seconds) = (local.div_euclid(DAY), local.rem_euclid(DAY));
    let (year, month, day) = civil_from_days(days);
    // 1970-01-01 was a Thursday.
    let weekday = short(&WEEKDAYS, (days + 4).rem_euclid(7));
    let month = short(&MONTHS, month - 1);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let sign = if minutes < 0 { '-' } else { '+' };
    let (zone_hours, zone_minutes) = (minutes.abs() / 60, minutes.abs() % 60);
    format!(
        "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} \
         {sign}{zone_hours:02}{zone_minutes:02}"
    )
}

/// Two and three digits are years since 1900 or 2000 (RFC 5322 4.3).
fn year(tokens: &mut Tokens<'_>) -> Option<i64> {
    let Some(Token::Number(year, digits)) = tokens.next() else { return None };
    match (digits, year) {
        (2, 0..50) => Some(year + 2_000),
        (2 | 3, _) => Some(year + 1_900),
        (4, 1900..) => Some(year),
        _ => None,
    }
}

/// Seconds since midnight; a leap second is the first one of the next minute.
fn time_of_day(tokens: &mut Tokens<'_>) -> Option<i64> {
    let hour = tokens.number(1..=2)?;
    if !tokens.accept(b':') {
        return None;
    }
    let minute = tokens.number(1..=2)?;
    let mut second = 0;
    if tokens.accept(b':') {
        second = tokens.number(1..=2)?;
        if tokens.accept(b'.') {
            tokens.number(1..=9)?;
        }
    }
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3_600 + minute * 60 + second)
}

/// Seconds east of UTC.
fn zone(tokens: &mut Tokens<'_>) -> Option<i64> {
    let mut sign = tokens.next();
    if let Some(Token::Word(name)) = sign {
        let hours = ZONES.iter().find(|(zone, _)| name.eq_ignore_ascii_case(zone.as_bytes()));
        if let Some((_, hours)) = hours {
            return Some(hours * 3_600);
        }
        // `GMT+0200` means the number; any other name alone is UTC.
        sign = tokens.peek().filter(|token| matches!(token, Token::Mark(b'+' | b'-')));
        tokens.next();
    }
    let sign = match sign {
        None => return Some(0),
        Some(Token::Mark(b'+')) => 1,
        Some(Token::Mark(b'-')) => -1,
        Some(Token::Mark(_) | Token::Word(_) | Token::Number(..)) => return None,
    };
    let (hours, minutes) = match tokens.next()? {
        Token::Number(number, 4) => (number / 100, number % 100),
        Token::Number(hours, 2) if tokens.accept(b':') => (hours, tokens.number(2..=2)?),
        Token::Number(..) | Token::Word(_) | Token::Mark(_) => return None,
    };
    (minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// The number, from 1, of the name that `word` is or abbreviates to three letters or more.
fn number_of(names: &[&str], word: &[u8]) -> Option<i64> {
    let begins = |name: &&str| {
        name.as_bytes().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let index = names.iter().position(begins).filter(|_| word.len() >= 3)?;
    i64::try_from(index + 1).ok()
}

fn short(names: &[&'static str], index: i64) -> &'static str {
    let name = usize::try_from(index).ok().and_then(|index| names.get(index));
    name.and_then(|name| name.get(..3)).unwrap_or_default()
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
///
/// The year is counted from March, so that the leap day is its last; 153 days are five months.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date (year, month, day) that lies `days` after 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    // Take the leap days out, then years have 365 days; the two ends of a cycle are what differs.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'v> {
    /// A number and how many digits it has.
    Number(i64, usize),
    Word(&'v [u8]),
    Mark(u8),
}

/// The words, numbers and marks of a value, without blanks and comments (RFC 5322 3.2.2).
struct Tokens<'v> {
    rest: &'v [u8],
    ahead: Option<Token<'v>>,
}

impl<'v> Tokens<'v> {
    fn peek(&mut self) -> Option<Token<'v>> {
        self.ahead = self.next();
        self.ahead
    }

    /// Takes the next token if it is that mark, and says whether it was.
    fn accept(&mut self, mark: u8) -> bool {
        let found = self.peek() == Some(Token::Mark(mark));
        if found {
            self.ahead = None;
        }
        found
    }

    /// Takes a number that has so many digits.
    fn number(&mut self, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
        match self.next()? {
            Token::Number(number, length) if digits.contains(&length) => Some(number),
            Token::Number(..) | Token::Word(_) | Token::Mark(_) => None,
        }
    }

    /// Takes the longest run of octets that `belongs` accepts.
    fn run(&mut self, belongs: fn(&u8) -> bool) -> &'v [u8] {
        let length = self.rest.iter().take_while(|octet| belongs(octet)).count();
        let (run, rest) = self.rest.split_at_checked(length).unwrap_or_default();
        self.rest = rest;
        run
    }
}

impl<'v> Iterator for Tokens<'v> {
    type Item = Token<'v>;

    fn next(&mut self) -> Option<Token<'v>> {
        if let Some(token) = self.ahead.take() {
            return Some(token);
        }
        self.rest = skip_blanks_and_comments(self.rest);
        let (&first, rest) = self.rest.split_first()?;
        if first.is_ascii_digit() {
            let digits = self.run(u8::is_ascii_digit);
            // More digits than a number has here; the length alone makes it unfit everywhere.
            let number = digits.iter().take(9);
            let number = number.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            return Some(Token::Number(number, digits.len()));
        }
        if first.is_ascii_alphabetic() {
            return Some(Token::Word(self.run(u8::is_ascii_alphabetic)));
        }
        self.rest = rest;
        Some(Token::Mark(first))
    }
}

/// Comments nest, so depth is counted; one that never closes reaches to the end.
fn skip_blanks_and_comments(value: &[u8]) -> &[u8] {
    let (mut depth, mut escaped) = (0_usize, false);
    let outside = |&octet: &u8| {
        let quoted = std::mem::replace(&mut escaped, false);
        match octet {
            _ if quoted => false,
            b'(' => {
                depth += 1;
                false
            }
            b')' if depth > 0 => {
                depth -= 1;
                false
            }
            b'\\' if depth > 0 => {
                escaped = true;
                false
            }
            b' ' | b'\t' | b'\r' | b'\n' => false,
            _ => depth == 0,
        }
    };
    let start = value.iter().position(outside).unwrap_or(value.len());
    value.get(start..).unwrap_or_default()
}

/// Checks on any input: no panic, and what is read comes back after it was written in any zone.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let mut seed = [0; 8];
    seed.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
    let any = i64::from_le_bytes(seed);
    let text = format(any, data.len() as i32);
    assert!(text.is_ascii() && text.len() == 31 && parse(text.as_bytes()).is_some(), "{text}");
    let Some(unix) = parse(data) else { return };
    assert!((FIRST - 100 * 3_600..=LAST + 100 * 3_600).contains(&unix));
    if (FIRST + 100 * 3_600..LAST - 100 * 3_600).contains(&unix) {
        for offset in [0, 3_600, -12_600, 359_940, -359_940, i32::MAX, i32::MIN] {
            assert_eq!(parse(format(unix, offset).as_bytes()), Some(unix));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads() {
        let at = 1_795_325_243; // 2026-11-22 05:27:23 UTC, a Sunday
        let rows: &[(&str, Option<i64>)] = &[
            ("Sun, 22 Nov 2026 05:27:23 +0000", Some(at)),
            (" Sun, 22 Nov 2026\r\n 06:27:23 +0100 (CET)", Some(at)),
            ("22 Nov 2026 05:27:23 GMT", Some(at)),
            ("22 Nov 26 05:27:23", Some(at)),
            ("22 Nov 126 05:27:23 UT", Some(at)),
            ("Sun,22-NOV-2026 05 : 27 : 23 -0000", Some(at)),
            ("Sunday, 22 November 2026 00:27:23 EST", Some(at)),
            ("Mon, 22 Nov 2026 05:27:23 Z", Some(at)),
            ("22 Nov 2026 05:27:23 MEZ", Some(at)),
            ("22 Nov 2026 07:27:23 GMT+0200", Some(at)),
            ("22 Nov 2026 07:27:23 +02:00", Some(at)),
            ("22 Nov 2026 05:27:23.125 +0000", Some(at)),
            ("(a (nested \\) one)) 22 (x) Nov (y) 2026 05:27 +0000 (open", Some(at - 23)),
            ("22 Nov 2026 05:27:23 +9959", Some(at - 359_940)),
            ("22 Nov 2026 05:27:23 -9959", Some(at + 359_940)),
            ("22 Nov 2026 05:27:23 +9999", None),
            ("22 Nov 2026 05:27:23 +000", None),
            ("22 Nov 2026 05:27:23 0000", None),
            ("Thu, 01 Jan 1970 00:00:00 +0000", Some(0)),
            ("Wed, 31 Dec 1969 23:59:59 +0000", Some(-1)),
            ("1 Jan 2040 00:00:00 +0000", Some(2_208_988_800)),
            ("29 Feb 2000 00:00:00 +0000", Some(951_782_400)),
            ("29 Feb 1900 00:00:00 +0000", None),
            ("29 Feb 2024 23:59:60 +0000", Some(1_709_251_200)),
            ("31 Dec 99 00:00 GMT", Some(946_598_400)),
            ("Sun, 31 Feb 2026 00:00:00 +0000", None),
            ("31 Apr 2026 00:00:00 +0000", None),
            ("0 Apr 2026 00:00:00 +0000", None),
            ("1 Apr 2026 24:00:00 +0000", None),
            ("1 Apr 2026 00:60:00 +0000", None),
            ("1 Apr 2026 00:00:61 +0000", None),
            ("1 Apr 2026", None),
            ("1 Apr 20261 00:00", None),
            ("1 Apr 0099 00:00", None),
            ("1 Ap 2026 00:00", None),
            ("1 Aprilis 2026 00:00", None),
            ("Foo, 1 Apr 2026 00:00", None),
            ("2026-04-01 00:00:00", None),
            ("99999999999999999999 Apr 2026 00:00", None),
            ("yesterday", None),
            ("(", None),
            ("", None),
        ];
        for (text, want) in rows {
            assert_eq!(parse(text.as_bytes()), *want, "{text:?}");
            fuzz(text.as_bytes());
        }
        assert_eq!(parse("(".repeat(100_000).as_bytes()), None);
        assert_eq!(parse(b"22 \xff 2026"), None);
    }

    #[test]
    fn writes() {
        let rows: &[(i64, i32, &str)] = &[
            (1_795_325_243, 0, "Sun, 22 Nov 2026 05:27:23 +0000"),
            (1_795_325_243, 3_600, "Sun, 22 Nov 2026 06:27:23 +0100"),
            (1_795_325_243, -20_700, "Sat, 21 Nov 2026 23:42:23 -0545"),
            (0, -30, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (-1, 0, "Wed, 31 Dec 1969 23:59:59 +0000"),
            (951_782_400, 0, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (i64::MAX, i32::MAX, "Fri, 31 Dec 9999 23:59:59 +9959"),
            (i64::MIN, i32::MIN, "Mon, 01 Jan 1900 00:00:00 -9959"),
        ];
        for (unix, offset, want) in rows {
            assert_eq!(format(*unix, *offset), *want);
        }
    }

    #[test]
    fn calendar_goes_both_ways() {
        let (mut year, mut month, mut day) = (1900, 1, 1);
        for days in days_from_civil(1900, 1, 1)..days_from_civil(2101, 1, 1) {
            assert_eq!(civil_from_days(days), (year, month, day));
            assert_eq!(days_from_civil(year, month, day), days);
            day += 1;
            if day > days_in(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
