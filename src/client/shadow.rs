//! Checks a password against the system's `/etc/shadow`, without PAM.
//!
//! PAM would mean a C library in a program that is linked statically, and modules of unknown origin in
//! its process; what a mail server needs of it is one line of a file. The daemon's user must be able
//! to read that file: on Debian members of the group `shadow` are.
//!
//! Beside the password two dates count (shadow(5)): an account that has expired, and a password that
//! is older than allowed plus the days of grace, are no. A locked account (`!`, `*`), and one without
//! a password, has none that could be right. So that the time to an answer does not tell who has an
//! account, the password is compared with somebody's line in any case.

use crate::authn::password::{self, Verdict, is_hash};
use crate::client::{Fault, words};
use crate::smtp::auth::Password;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Largest file in octets that is read: more than 100,000 users.
const FILE_MAX: u64 = 16 * 1_024 * 1_024;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Checks. `path` is mostly `/etc/shadow`, `now` is seconds since 1970. It reads the file and computes
/// a hash, so it belongs on a lane.
///
/// # Errors
/// The file cannot be read, or the user's hash is of a kind that we cannot compute.
pub fn check(path: &Path, user: &str, password: &Password, now: i64) -> Result<bool, Fault> {
    let octets = read(path).map_err(|error| fault(path, &error))?;
    // Lines that are not UTF-8 are nobody's who could log in here.
    let lines =
        || octets.split(|octet| *octet == b'\n').filter_map(|it| std::str::from_utf8(it).ok());
    let accounts = || lines().filter_map(Account::read);
    let account = accounts().find(|account| account.name == user);
    match account.filter(|it| it.has_password() && it.is_open(now.div_euclid(DAY))) {
        Some(account) => match password::check(account.hash, password.reveal()) {
            Verdict::Match => Ok(true),
            Verdict::NoMatch => Ok(false),
            Verdict::Unsupported(why) => Err(format!("{}: {why}", path.display()).into()),
        },
        None => {
            let other = accounts().find(|account| is_hash(account.hash));
            let _same_time = other.map(|other| password::check(other.hash, password.reveal()));
            Ok(false)
        }
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len().min(FILE_MAX);
    // With room for all, so that no copy is left by growing.
    let capacity = usize::try_from(size).unwrap_or_default() + 1;
    let mut octets = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(FILE_MAX + 1).read_to_end(&mut octets)?;
    if u64::try_from(octets.len()).is_ok_and(|size| size > FILE_MAX) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
    }
    Ok(octets)
}

fn fault(path: &Path, error: &io::Error) -> Fault {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": the daemon's user must be in the group that may read it"
        }
        _ => "",
    };
    format!("{}: {}{advice}", path.display(), words(error)).into()
}

/// A line of the file.
struct Account<'a> {
    name: &'a str,
    hash: &'a str,
    /// Day of the last change of the password.
    changed: Option<i64>,
    /// Days after which a password must be changed.
    longest: Option<i64>,
    /// Days after that in which it still works.
    grace: Option<i64>,
    /// Day from which the account is closed.
    expires: Option<i64>,
}

impl<'a> Account<'a> {
    /// `name:hash:changed:shortest:longest:warning:grace:expires:`; an empty number is none.
    fn read(line: &'a str) -> Option<Account<'a>> {
        let mut fields = line.split(':');
        let (name, hash) = (fields.next()?, fields.next()?);
        let mut numbers = fields.map(|text| text.parse().ok().filter(|days| *days >= 0));
        let mut number = |skipped: usize| numbers.nth(skipped).flatten();
        let (changed, longest, grace, expires) = (number(0), number(1), number(1), number(0));
        let account = Account { name, hash, changed, longest, grace, expires };
        (!account.name.is_empty()).then_some(account)
    }

    /// It is neither locked nor without a password. The hashes of DES have no mark but their length.
    fn has_password(&self) -> bool {
        is_hash(self.hash) || (self.hash.len() == 13 && !self.hash.starts_with(['!', '*']))
    }

    /// Neither account nor password are too old on this day.
    fn is_open(&self, today: i64) -> bool {
        let ages = [self.changed, self.longest, self.grace];
        let useless = match ages {
            [Some(changed), Some(longest), Some(grace)] => {
                Some(changed.saturating_add(longest).saturating_add(grace))
            }
            _ => None,
        };
        self.expires.is_none_or(|day| today < day) && useless.is_none_or(|day| today <= day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    /// The password of all of them is `Hello world!`; today is day 20,000.
    const LINES: &str = "root:*:19000:0:99999:7:::
tim:$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1:19000:0:99999:7:::
short:$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1
locked:!$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1:19000:0:99999:7:::
open::19000:0:99999:7:::
expired:$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1:19000:0:99999:7::20000:
lastday:$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1:19000:0:99999:7::20001:
old:$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1:19000:0:900:7:99::
grace:$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1:19000:0:900:7:100::
nograce:$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1:19000:0:900:7:::
scrypt:$7$BU..../....salt$G8qbWbapr6/Q.vcxTV16GugP/uTyWFvzC4/qkcauHQ2:19000::::::
des:abMbH7WsHr7wQ:19000:0:99999:7:::
:$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1:19000:0:99999:7:::
no colon
";

    struct Shadow(PathBuf);

    impl Shadow {
        fn new(name: &str, text: &[u8]) -> Shadow {
            let path = std::env::temp_dir().join(format!("shadow-{}-{name}", std::process::id()));
            fs::write(&path, text).unwrap();
            Shadow(path)
        }

        fn ask(&self, user: &str, password: &str) -> String {
            let seen = check(&self.0, user, &Password::new(password), 20_000 * DAY + 7);
            let seen = seen.map_or_else(|fault| fault.to_string(), |accepted| accepted.to_string());
            seen.replace(&self.0.display().to_string(), "FILE")
        }
    }

    impl Drop for Shadow {
        fn drop(&mut self) {
            let _gone = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn accounts_are_checked() {
        let shadow = Shadow::new("accounts", &[b"\xff:x:1\n", LINES.as_bytes()].concat());
        for (user, expected) in [
            ("tim", "true"),
            ("short", "true"),
            ("lastday", "true"),
            ("grace", "true"),
            ("nograce", "true"),
            ("root", "false"),
            ("locked", "false"),
            ("open", "false"),
            ("expired", "false"),
            ("old", "false"),
            ("nobody", "false"),
            ("", "false"),
            ("ti", "false"),
            ("tim:$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1", "false"),
            ("no colon", "false"),
            ("scrypt", "FILE: scrypt"),
            ("des", "FILE: a kind of hash that is not known here"),
        ] {
            assert_eq!(shadow.ask(user, "Hello world!"), expected, "{user}");
            let other = if expected == "true" { "false" } else { expected };
            assert_eq!(shadow.ask(user, "Hello world?"), other, "{user}");
        }
        assert_eq!(shadow.ask("open", "*"), "false");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_fault() {
        let missing = Path::new("/nowhere/shadow");
        let fault = check(missing, "tim", &Password::new("x"), 0).unwrap_err();
        assert_eq!(fault.to_string(), "/nowhere/shadow: No such file or directory");
        let denied = io::Error::from_raw_os_error(13);
        assert_eq!(
            super::fault(Path::new("/etc/shadow"), &denied).to_string(),
            "/etc/shadow: Permission denied: the daemon's user must be in the group that may read it"
        );
        let closed = Shadow::new("closed", LINES.as_bytes());
        fs::set_permissions(&closed.0, Permissions::from_mode(0o000)).unwrap();
        if !nix::unistd::Uid::effective().is_root() {
            assert!(closed.ask("tim", "Hello world!").starts_with("FILE: Permission denied"));
        }
        let large = Shadow::new("large", b"");
        let file = File::options().write(true).open(&large.0).unwrap();
        file.set_len(FILE_MAX + 1).unwrap();
        assert_eq!(large.ask("tim", "x"), "FILE: larger than 16 MiB");
        file.set_len(FILE_MAX).unwrap();
        assert_eq!(large.ask("tim", "x"), "false");
    }
}
