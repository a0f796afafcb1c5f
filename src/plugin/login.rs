//! What plugins share that have somebody else check a password.

use crate::client::Fault;
use crate::client::deadline::Deadline;
use crate::plugin::log::{Level, foreign};
use crate::plugin::{Cx, Hooked, Lane, Verdict};
use crate::smtp::auth::{Credentials, Evidence, Mechanism, Password};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What can be checked by who is shown a password.
pub const MECHANISMS: &[Mechanism] = &[Mechanism::Plain, Mechanism::Login];

/// How long a checker may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a checker has said, in the words of a plugin.
pub struct Words<'a> {
    /// Behind the words of 235.
    pub accepted: &'a str,
    /// Behind the words of 535; empty for none.
    pub refused: &'a str,
}

/// Has a password checked on the lane of scanners. A checker that says neither yes nor no is a fault of
/// ours: 454, and the client tries again.
///
/// # Errors
/// [`crate::plugin::Pending`] until the lane is reached.
pub fn checked(
    cx: &mut Cx<'_>,
    credentials: &Credentials,
    words: &Words<'_>,
    check: impl FnOnce(&Cx<'_>, &Password, Deadline) -> Result<bool, Fault>,
) -> Hooked {
    let Evidence::Password(password) = &credentials.evidence else {
        cx.log(Level::Debug, "skip, only a password can be checked");
        return Ok(Verdict::Declined);
    };
    let _token = cx.lane(Lane::Scanners)?;
    let user = foreign(credentials.user.as_bytes());
    Ok(match check(cx, password, Deadline::after(PATIENCE)) {
        Ok(true) => {
            cx.log(Level::Info, format!("pass: authentication for: {user}"));
            Verdict::Ok(Some(words.accepted.into()))
        }
        Ok(false) => {
            cx.log(Level::Info, format!("fail: authentication failure for: {user}"));
            Verdict::deny((7, 8), words.refused)
        }
        Err(fault) => {
            let fault = foreign(fault.to_string().as_bytes());
            cx.log(Level::Error, format!("error: {user} was not checked: {fault}"));
            Verdict::deny_soft((7, 0), "Temporary authentication failure")
        }
    })
}

/// `HOST:PORT`, `[IPV6]:PORT` or an address alone; `localhost` is 127.0.0.1. Other names are not asked
/// for: a checker is named by where it is, so that no answer from DNS moves it.
///
/// # Errors
/// In words, what to write.
pub fn address(host: &str, port: u16) -> Result<SocketAddr, String> {
    let (host, port) = match host.rsplit_once(':') {
        Some(("localhost", digits)) => ("localhost", digits.parse().unwrap_or(0)),
        _ => (host, port),
    };
    if host == "localhost" && port != 0 {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let whole = host.parse().ok().or(bare.parse::<IpAddr>().ok().map(|ip| (ip, port).into()));
    whole.ok_or_else(|| format!("{host}: give an IP address, with :PORT if it is not {port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("localhost", Some("127.0.0.1:143")),
            ("localhost:1143", Some("127.0.0.1:1143")),
            ("192.0.2.1", Some("192.0.2.1:143")),
            ("192.0.2.1:10", Some("192.0.2.1:10")),
            ("2001:db8::1", Some("[2001:db8::1]:143")),
            ("[2001:db8::1]:10", Some("[2001:db8::1]:10")),
            ("[2001:db8::1]", Some("[2001:db8::1]:143")),
            ("imap.example.com", None),
            ("localhost:x", None),
        ] {
            let found = address(text, 143).ok().map(|it| it.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
