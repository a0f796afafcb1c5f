//! How busy the machine is: the number that the check of the load at accept compares.

use nix::sys::sysinfo::sysinfo;
use std::fs;

/// The load average of the last minute, as `uptime` prints it; `None` where neither the kernel
/// call nor `/proc/loadavg` gives one (the caller then takes the machine to be idle).
#[must_use]
pub fn one_minute() -> Option<f64> {
    match sysinfo() {
        Ok(info) => Some(info.load_average().0),
        Err(_) => parse(&fs::read_to_string("/proc/loadavg").ok()?),
    }
}

/// Reads the first number of `/proc/loadavg`; nonsense is no number.
fn parse(text: &str) -> Option<f64> {
    let load: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    (load.is_finite() && load >= 0.0).then_some(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc_loadavg() {
        let rows = [
            ("0.52 0.58 0.59 1/467 12345\n", Some(0.52)),
            ("12.00", Some(12.0)),
            ("", None),
            ("inf 1 1", None),
            ("-1 0 0", None),
            ("x", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn this_machine_has_a_load() {
        assert!(one_minute().is_some_and(|load| (0.0..100_000.0).contains(&load)));
    }
}
