//! The time as the machine's own clock on the wall shows it: log lines, `Received:` and `Date:`.
//!
//! std knows no time zones. The C library does, from TZ or /etc/localtime, and admins expect the
//! daemon's times to be those of the rest of the machine.

use nix::libc;

/// 0001-01-01T00:00:00 in UTC; earlier times are cut to it, since no date in mail can carry them.
const EARLIEST: i64 = -62_135_596_800;

/// 9999-12-31T23:59:59 in UTC; later times are cut to it.
const LATEST: i64 = 253_402_300_799;

/// A moment in the local time zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LocalTime {
    /// The year, as people write it (2026).
    pub year: i32,
    /// 1 (January) to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60: a leap second where the zone's files count them.
    pub second: u8,
    /// 0 (Sunday) to 6.
    pub weekday: u8,
    /// Seconds to add to UTC to get this time; east is positive.
    pub offset_seconds: i32,
}

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl LocalTime {
    /// `Sun` to `Sat`, in English whatever the locale; `?` for a day that there is not.
    #[must_use]
    pub fn weekday_name(&self) -> &'static str {
        DAYS.get(usize::from(self.weekday)).copied().unwrap_or("?")
    }

    /// `Jan` to `Dec`, in English whatever the locale; `?` for a month that there is not.
    #[must_use]
    pub fn month_name(&self) -> &'static str {
        let month = usize::from(self.month).checked_sub(1).and_then(|month| MONTHS.get(month));
        month.copied().unwrap_or("?")
    }
}

/// The local time at `unix` seconds since 1970. Times outside of the years 1 to 9999 are cut to
/// these; where the C library cannot tell, the answer is in UTC.
#[must_use]
pub fn local(unix: i64) -> LocalTime {
    let unix = unix.clamp(EARLIEST, LATEST);
    c_local(unix).unwrap_or_else(|| universal(unix))
}

/// Seconds to add to UTC to get local time at `unix` seconds since 1970.
#[must_use]
pub fn utc_offset(unix: i64) -> i32 {
    local(unix).offset_seconds
}

/// Asks the C library; `None` when the time does not fit its types.
fn c_local(unix: i64) -> Option<LocalTime> {
    let seconds = libc::time_t::try_from(unix).ok()?;
    // SAFETY: `tm` is plain numbers and a pointer that may be null, so all zeroes is a value.
    #[expect(unsafe_code, reason = "libc::tm has no constructor")]
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers come from live locals and are not kept. The call reads the
    // environment (TZ), which this program never changes, and takes the C library's own lock.
    #[expect(unsafe_code, reason = "no safe wrapper of localtime_r exists")]
    let filled = unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
    if filled.is_null() {
        return None;
    }
    Some(LocalTime {
        year: tm.tm_year.checked_add(1_900)?,
        month: u8::try_from(tm.tm_mon + 1).ok()?,
        day: u8::try_from(tm.tm_mday).ok()?,
        hour: u8::try_from(tm.tm_hour).ok()?,
        minute: u8::try_from(tm.tm_min).ok()?,
        second: u8::try_from(tm.tm_sec).ok()?,
        weekday: u8::try_from(tm.tm_wday).ok()?,
        offset_seconds: offset(tm.tm_gmtoff)?,
    })
}

/// The offset's C type is as wide as a pointer; the number always fits.
fn offset(seconds: libc::c_long) -> Option<i32> {
    #[allow(clippy::useless_conversion, reason = "c_long is i32 on 32-bit targets")]
    i32::try_from(seconds).ok()
}

/// The same moment in UTC, by the Gregorian calendar counted from the first of March of year 0,
/// so that the leap day is the last of its year.
fn universal(unix: i64) -> LocalTime {
    let (days, of_day) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let small = |number: i64| u8::try_from(number).unwrap_or(0);
    LocalTime {
        year: i32::try_from(year).unwrap_or(9_999),
        month: small(month),
        day: small(of_year - (153 * march_month + 2) / 5 + 1),
        hour: small(of_day / 3_600),
        minute: small(of_day / 60 % 60),
        second: small(of_day % 60),
        weekday: small((days + 4).rem_euclid(7)),
        offset_seconds: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_in_utc() {
        // unix, (year, month, day, hour, minute, second, weekday)
        let rows = [
            (0, (1970, 1, 1, 0, 0, 0, 4)),
            (-1, (1969, 12, 31, 23, 59, 59, 3)),
            (951_782_400, (2000, 2, 29, 0, 0, 0, 2)),
            (1_709_251_199, (2024, 2, 29, 23, 59, 59, 4)),
            (2_147_483_648, (2038, 1, 19, 3, 14, 8, 2)),
            (EARLIEST, (1, 1, 1, 0, 0, 0, 1)),
            (LATEST, (9999, 12, 31, 23, 59, 59, 5)),
        ];
        for (unix, expected) in rows {
            let t = universal(unix);
            let seen = (t.year, t.month, t.day, t.hour, t.minute, t.second, t.weekday);
            assert_eq!(seen, expected, "{unix}");
        }
    }

    #[test]
    fn local_time_is_utc_moved_by_its_offset() {
        for step in -20_000i64..20_000 {
            let unix = step * 863_999;
            let seen = local(unix);
            let moved = universal(unix + i64::from(seen.offset_seconds));
            assert_eq!(LocalTime { offset_seconds: seen.offset_seconds, ..moved }, seen, "{unix}");
        }
        assert_eq!(utc_offset(0), local(0).offset_seconds);
    }

    #[test]
    fn no_moment_is_out_of_bounds() {
        for unix in [i64::MIN, EARLIEST, -1 << 40, i64::from(i32::MIN) - 1, 1 << 40, i64::MAX] {
            let seen = local(unix);
            assert!((0..=10_000).contains(&seen.year), "{unix}: {seen:?}");
            assert!((1..=12).contains(&seen.month) && (1..=31).contains(&seen.day));
        }
    }
}
