//! A new connection up to the point where MAIL may be said: greeting, EHLO, TLS, login.
//!
//! TLS is opportunistic unless more is asked for: a server that offers none, or fails in it, gets the mail in
//! clear, on a new connection, and the admin is told. Where it is required there is no such second try, nor
//! at port 465, where TLS begins with the first octet (RFC 8314 section 3.3).
//! A password is never sent in clear to another machine, unless the admin has turned TLS off.

use super::connection::{Connection, EHLO, Extensions, Trouble};
use super::forward::NextHop;
use super::login::log_in;
use super::pool::Line;
use super::tls::Tls;
use crate::client::deadline::Deadline;
use crate::config::smtpauth::Login;
use std::net::SocketAddr;

/// The port of SMTP under TLS from the first octet.
const SMTPS: u16 = 465;

/// When TLS has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Never, even if it is offered.
    Off,
    /// Where it can be had.
    May,
    /// Always, with whatever certificate.
    Required,
    /// Always, with a certificate of the server's name that somebody whom we trust has signed.
    Verify,
}

const NOBODY: &str = "there is nobody whose certificate we believe";

/// How what is said to a next server is kept from others.
#[derive(Clone, Copy, Debug)]
pub struct Secure<'a> {
    /// The server's name, as its certificate has to have it.
    pub host: &'a str,
    /// When TLS has to be there.
    pub policy: Policy,
    /// Whose certificates are believed; None: there can be no TLS.
    pub tls: Option<&'a Tls>,
    /// How to log in.
    pub login: Option<&'a Login>,
}

/// A new connection, at the point where MAIL may be said in our own name. The words tell what the admin
/// should know of how it went.
pub(super) fn introduce(
    hop: &NextHop<'_>,
    deadline: Deadline,
) -> (Result<Line, Trouble>, Option<String>) {
    let is_smtps = hop.servers.iter().any(|server| server.port() == SMTPS);
    let may_do_without = hop.secure.is_some_and(|it| it.policy == Policy::May) && !is_smtps;
    match arrive(hop, true, deadline) {
        Err(Trouble::Tls(words)) if may_do_without => {
            let note = format!("no TLS with {}: {words}; in clear", hop.host());
            (arrive(hop, false, deadline), Some(note))
        }
        other => (other, None),
    }
}

fn arrive(hop: &NextHop<'_>, with_tls: bool, deadline: Deadline) -> Result<Line, Trouble> {
    let (server, mut connection) = Connection::open(hop.servers, deadline)?;
    let wanted = hop.secure.filter(|secure| with_tls && secure.policy != Policy::Off);
    let mut encrypted = false;
    if let Some(secure) = wanted.filter(|_| server.port() == SMTPS) {
        let tls = secure.tls.ok_or_else(|| Trouble::Tls(NOBODY.into()))?;
        connection = connection.handshake(tls, secure.host)?;
        encrypted = true;
    }
    let mut offers = connection.greet(hop.me, EHLO)?;
    if let Some(secure) = wanted.filter(|_| !encrypted) {
        (connection, offers, encrypted) = protect(&secure, hop.me, connection, offers)?;
    }
    if let Some(secure) = &hop.secure
        && let Some(login) = secure.login
    {
        may_show(secure.policy, encrypted, server)?;
        let known = encrypted && secure.policy == Policy::Verify;
        if let Err(trouble) = log_in(&mut connection, &offers.auth, login, known) {
            connection.quit();
            return Err(trouble);
        }
    }
    Ok(Line { server, host: hop.host().into(), connection, offers })
}

/// STARTTLS and what belongs to it; true behind it where there is TLS now.
fn protect(
    secure: &Secure<'_>,
    me: &str,
    mut connection: Connection,
    offers: Extensions,
) -> Result<(Connection, Extensions, bool), Trouble> {
    let mut why = "it does not offer STARTTLS".to_string();
    if secure.tls.is_none() {
        why = NOBODY.to_string();
    }
    if let Some(tls) = secure.tls.filter(|_| offers.starttls) {
        let answer = connection.command("STARTTLS")?;
        if answer.class() == 2 {
            let mut connection = connection.into_tls(tls, secure.host)?;
            // What was offered in clear does not count any more (RFC 3207 section 4.2).
            let offers = connection.hello(me, EHLO)?;
            return Ok((connection, offers, true));
        }
        why = format!("{} {}", answer.code, answer.text());
    }
    if secure.policy == Policy::May {
        return Ok((connection, offers, false));
    }
    connection.quit();
    Err(Trouble::Tls(why))
}

/// A password may go over this connection.
fn may_show(policy: Policy, encrypted: bool, server: SocketAddr) -> Result<(), Trouble> {
    if encrypted || policy == Policy::Off || server.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Trouble::Fault("there is no TLS, and our password is not sent in clear"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_sent_in_clear() {
        let (near, far) = ("127.0.0.1:25", "192.0.2.1:25");
        for (policy, encrypted, server, expected) in [
            (Policy::May, false, far, false),
            (Policy::May, true, far, true),
            (Policy::May, false, near, true),
            (Policy::May, false, "[::1]:25", true),
            (Policy::May, false, "[::ffff:127.0.0.1]:25", true),
            (Policy::Required, false, far, false),
            (Policy::Off, false, far, true),
        ] {
            let shown = may_show(policy, encrypted, server.parse().unwrap()).is_ok();
            assert_eq!(shown, expected, "{policy:?} {encrypted} {server}");
        }
    }
}
