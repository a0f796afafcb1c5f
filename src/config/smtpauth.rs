//! `smtpauth`: how we log in at next servers.
//!
//! A line is `HOST USER PASSWORD`; the host is written as in `smtproutes` or as the argument of
//! queue/smtp-forward, and a password may hold blanks. The last line of a host wins. What is wrong with a line
//! is told without the line, which holds a secret.

use super::files::{Line, Problem};
use std::collections::HashMap;
use std::fmt;
use zeroize::Zeroizing;

/// Octets of a name or a password: with these an AUTH command stays far below what servers read.
pub const WORD_MAX: usize = 255;

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// All lines, by lower-cased host without brackets.
#[derive(Clone, Debug, Default)]
pub struct Logins(HashMap<String, Login>);

impl Logins {
    /// Reads the lines. One that cannot be used is an error: mail would be refused for want of it.
    pub fn load(lines: &[Line], problems: &mut Vec<Problem>) -> Logins {
        let mut logins = HashMap::new();
        for line in lines {
            match parse(line) {
                Ok((host, login)) => {
                    logins.insert(host, login);
                }
                Err(what) => Problem::error(line, what).note(problems),
            }
        }
        Logins(logins)
    }

    /// How to log in at this server.
    pub fn find(&self, host: &str) -> Option<&Login> {
        self.0.get(&plain(host))
    }

    /// The servers.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn plain(host: &str) -> String {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host).to_ascii_lowercase()
}

fn parse(line: &Line) -> Result<(String, Login), &'static str> {
    let mut words = line.text.splitn(3, [' ', '\t']);
    let (host, user) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let password = words.next().unwrap_or_default();
    if user.is_empty() || password.is_empty() {
        return Err("write HOST USER PASSWORD, with one blank between them");
    }
    if user.len().max(password.len()) > WORD_MAX {
        return Err("the name or the password is longer than 255 octets");
    }
    if line.text.chars().any(|c| c.is_control() && c != '\t') {
        return Err("there is a control character in it");
    }
    let login = Login { user: user.into(), password: Zeroizing::new(password.into()) };
    Ok((plain(host), login))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let long = format!("a.example u {}", "x".repeat(256));
        for (text, host, expected) in [
            ("Mail.example.net ann secret", "mail.example.NET", Ok(("ann", "secret"))),
            ("[2001:db8::1] ann two words", "2001:db8::1", Ok(("ann", "two words"))),
            ("192.0.2.1\tann@example.com\t#x", "192.0.2.1", Ok(("ann@example.com", "#x"))),
            ("a.example ann", "a.example", Err("write HOST USER")),
            ("a.example", "a.example", Err("write HOST USER")),
            (&long, "a.example", Err("longer than 255")),
            ("a.example ann a\u{7}b", "a.example", Err("control character")),
        ] {
            let line = Line { text: text.into(), file: "smtpauth".into(), number: 1 };
            let mut problems = Vec::new();
            let logins = Logins::load(&[line], &mut problems);
            let found = logins.find(host).map(|it| (&*it.user, &**it.password));
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            match expected {
                Ok(login) => assert_eq!((found, told.len()), (Some(login), 0), "{text}"),
                Err(words) => {
                    assert!(found.is_none() && told.concat().contains(words), "{told:?}");
                    assert!(!told.concat().contains("ann"), "{told:?}");
                }
            }
        }
    }
}
