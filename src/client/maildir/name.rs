//! Names for the files in a Maildir, which must differ from every other that ever was.
//!
//! The form is the Maildir convention's: time, then what tells deliveries of that second apart
//! (process, a random number of the process, microseconds, a counter), then the machine.

use crate::sys::random;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Octets kept of the host name: the name stays well below the usual 255 with all that readers
/// append to it.
const HOST_MAX: usize = 100;

/// The time since 1970, which Maildir names begin with.
#[expect(clippy::disallowed_methods, reason = "the name of a delivery is made of its time")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// A name that no other delivery has had or will have.
pub(super) fn unique(host: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    static RANDOM: OnceLock<u64> = OnceLock::new();
    let now = now();
    let pid = std::process::id();
    // Uniqueness needs no secret, and a link never replaces a file: where the kernel has no
    // random numbers the clock's nanoseconds do.
    let random = *RANDOM.get_or_init(|| {
        random::u64().unwrap_or_else(|_| u64::from(now.subsec_nanos()) << 32 | u64::from(pid))
    });
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(
        "{}.P{pid}R{random:016x}M{:06}Q{count}.{}",
        now.as_secs(),
        now.subsec_micros(),
        host_part(host)
    )
}

/// The host name as it may stand in a file name: `/` and `:` are written as the Maildir
/// convention says, whatever else is no letter, digit, dot, `-` or `_` becomes `_`.
fn host_part(host: &str) -> String {
    let mut part = String::new();
    for c in host.chars() {
        match c {
            '/' => part.push_str("\\057"),
            ':' => part.push_str("\\072"),
            'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '-' | '_' => part.push(c),
            _ => part.push('_'),
        }
        if part.len() >= HOST_MAX {
            break;
        }
    }
    if part.is_empty() { "localhost".to_owned() } else { part }
}

/// Whatever the host is called, the name is a plain one of bounded length.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    let name = unique(&String::from_utf8_lossy(data));
    assert!(name.len() < 200 && name.bytes().all(|octet| octet.is_ascii_graphic()), "{name}");
    assert!(!name.contains(['/', ':']), "{name}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn hosts_are_made_harmless() {
        let long = "a".repeat(300);
        let rows = [
            ("mail.example.com", "mail.example.com"),
            ("a/b:c", "a\\057b\\072c"),
            ("", "localhost"),
            ("x\ny z\0ü", "x_y_z__"),
            (long.as_str(), &long[..100]),
        ];
        for (host, expected) in rows {
            assert_eq!(host_part(host), expected, "{host:?}");
            fuzz(host.as_bytes());
        }
        fuzz(&b"/".repeat(1_000));
    }

    #[test]
    fn no_two_are_the_same_and_the_form_is_right() {
        let names: HashSet<String> = std::thread::scope(|scope| {
            let some = || (0..1_000).map(|_| unique("h")).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(some)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(names.len(), 4_000);
        let form = regex::Regex::new(r"^[0-9]{10}\.P[0-9]+R[0-9a-f]{16}M[0-9]{6}Q[0-9]+\.h$");
        let form = form.unwrap();
        assert!(names.iter().all(|name| form.is_match(name)), "{names:?}");
    }
}
