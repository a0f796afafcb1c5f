//! STARTTLS (RFC 3207), AUTH (RFC 4954) and XCLIENT.
//!
//! After STARTTLS the dialogue starts anew, and whatever came before it is forgotten: what a stranger on
//! the way put in front of the handshake must not become part of what is said behind it. The lines of
//! AUTH go to an [`auth::Exchange`]; what comes out of it is judged by plugins, and no line of it is
//! ever shown to the log.

use super::{Call, Env, KeyStore, Session, Sink, State, Tls};
use crate::limits;
use crate::smtp::auth::{Credentials, Exchange, Failure, Mechanism, Seed, Step};
use crate::smtp::proxy;
use crate::smtp::reply::{self, Reply};
use crate::smtp::verdict::Verdict;

impl Session {
    pub(super) fn check_starttls(&mut self, env: &Env<'_>, sink: &mut dyn Sink) {
        match env.tls {
            Tls::None => self.ask(Call::Unrecognized("STARTTLS".into())),
            Tls::Active => self.fail(&reply::TLS_ACTIVE, env, sink),
            Tls::Offered if self.hello.is_none() => self.fail(&reply::HELLO_FIRST, env, sink),
            Tls::Offered => {
                sink.send(&reply::TLS_GO_AHEAD);
                self.end_transaction(sink);
                self.state = State::StartingTls;
            }
        }
    }

    /// The handshake is done: nothing that the client said before is known any more. What it has done
    /// wrong still counts.
    pub fn tls_started(&mut self) {
        if matches!(self.state, State::StartingTls) {
            self.state = State::Ready;
            self.hello = None;
            self.user = None;
            self.line = Vec::new();
        }
    }

    /// Only from a host that the administrator has named: everything is judged by what it says.
    pub(super) fn check_xclient(&mut self, argument: &[u8], env: &Env<'_>, sink: &mut dyn Sink) {
        if !env.proxy {
            return self.ask(Call::Unrecognized("XCLIENT".into()));
        }
        if self.transaction.is_some() {
            return self.fail(&reply::XCLIENT_IN_TRANSACTION, env, sink);
        }
        match proxy::introduction(argument) {
            Ok(introduction) => self.state = State::Introduced(Box::new(introduction)),
            Err(what) => {
                let text = format!("Syntax error in XCLIENT: {what}");
                self.fail(&Reply::new(501, Some((5, 4)), text), env, sink);
            }
        }
    }

    pub(super) fn check_auth(&mut self, argument: &[u8], env: &Env<'_>, sink: &mut dyn Sink) {
        // The list that serves a user may have nobody who could ask again.
        if env.auth.mechanisms.is_empty() && self.user.is_none() {
            return self.ask(Call::Unrecognized("AUTH".into()));
        }
        let reply = match &self.hello {
            None => Some(&reply::HELLO_FIRST),
            Some(hello) if !hello.esmtp => Some(&reply::AUTH_AFTER_HELO),
            Some(_) if self.user.is_some() => Some(&reply::AUTH_TWICE),
            Some(_) if self.transaction.is_some() => Some(&reply::AUTH_IN_TRANSACTION),
            Some(_) if is_too_early(env) => Some(&reply::AUTH_NEEDS_TLS),
            Some(_) => None,
        };
        if let Some(reply) = reply {
            return self.fail(reply, env, sink);
        }
        let mut words = argument.splitn(2, |octet| *octet == b' ');
        let name = words.next().unwrap_or_default();
        let initial = words.next().map(<[u8]>::trim_ascii).filter(|rest| !rest.is_empty());
        let offered = |mechanism: &Mechanism| env.auth.mechanisms.contains(mechanism);
        let Some(mechanism) = Mechanism::named(name).filter(offered) else {
            let name: String = super::commands::readable(name).chars().take(40).collect();
            let text = format!("Unimplemented authentication mechanism: {name}");
            return self.fail(&Reply::new(504, Some((5, 4)), text), env, sink);
        };
        let seed = Seed { me: &env.rules.me, nonce: (env.auth.nonce)() };
        let (exchange, step) = Exchange::start(mechanism, initial, &seed);
        self.auth_step(exchange, step, env, sink);
    }

    /// One line of an exchange.
    pub(super) fn auth_line(&mut self, env: &Env<'_>, line: &[u8], sink: &mut dyn Sink) {
        let State::Auth(exchange) = std::mem::replace(&mut self.state, State::Ready) else {
            return;
        };
        let mut exchange = *exchange;
        let step = exchange.feed(line);
        self.auth_step(exchange, step, env, sink);
    }

    /// A line of an exchange was too long to be taken.
    pub(super) fn auth_broken_off(&mut self) {
        if matches!(self.state, State::Auth(_)) {
            self.state = State::Ready;
        }
    }

    fn auth_step(&mut self, exchange: Exchange, step: Step, env: &Env<'_>, sink: &mut dyn Sink) {
        let mut exchange = exchange;
        let step = match step {
            Step::Lookup(user) => exchange.stored(&env.auth.keys.keys(&user)),
            other => other,
        };
        match step {
            Step::Challenge(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                sink.send_secret(&Reply::new(334, None, text));
                self.state = State::Auth(Box::new(exchange));
            }
            Step::Check(credentials) => self.ask(Call::Auth(credentials)),
            Step::Fail(failure) => self.auth_failed(&exchange, failure, env, sink),
            // `stored` asks for nothing more.
            Step::Lookup(_) => self.fail(&reply::AUTH_INVALID, env, sink),
        }
    }

    fn auth_failed(
        &mut self,
        exchange: &Exchange,
        failure: Failure,
        env: &Env<'_>,
        sink: &mut dyn Sink,
    ) {
        let reply = match failure {
            Failure::Canceled => &reply::AUTH_CANCELED,
            Failure::TooLong => &reply::AUTH_TOO_LONG,
            Failure::Base64 => &reply::AUTH_BASE64,
            Failure::InitialResponse => &reply::AUTH_INITIAL_RESPONSE,
            Failure::Invalid | Failure::OtherIdentity | Failure::WrongProof => {
                let user = exchange.user().unwrap_or_default();
                let text = match failure {
                    Failure::WrongProof => failed_text(exchange.mechanism(), user),
                    _ if user.is_empty() => "Authentication invalid".to_string(),
                    _ => format!("Authentication invalid for {user}"),
                };
                return self.login_failed(&Reply::new(535, Some((7, 8)), text), user, env, sink);
            }
        };
        self.fail(reply, env, sink);
    }

    /// What the plugins say of somebody who wants to log in.
    pub(super) fn auth_judged(
        &mut self,
        credentials: &Credentials,
        verdict: &Verdict,
        env: &Env<'_>,
        sink: &mut dyn Sink,
    ) {
        let (mechanism, user) = (credentials.mechanism, &credentials.user);
        let tail = |text: Option<&str>| {
            let text = text.filter(|text| !text.is_empty());
            text.map(|text| format!(" - {text}")).unwrap_or_default()
        };
        match verdict {
            Verdict::Ok(text) => {
                let name = mechanism.name();
                let text = tail(text.as_deref());
                let text = format!("{name} authentication successful for {user}{text}");
                self.user = Some(user.clone());
                sink.send(&Reply::new(235, Some((7, 0)), text));
            }
            Verdict::DenySoft(refusal) => {
                let code = if refusal.disconnect { 421 } else { 454 };
                sink.send(&Reply::refusal(code, refusal, env.id));
                if refusal.disconnect {
                    self.close(sink);
                }
            }
            Verdict::Deny(refusal) => {
                let text = failed_text(mechanism, user) + &tail(Some(&refusal.text));
                let reply = Reply::new(535, Some((7, 8)), with_id(text, env.id));
                self.login_failed(&reply, user, env, sink);
                if refusal.disconnect {
                    self.close(sink);
                }
            }
            Verdict::Declined | Verdict::Unhooked => {
                let text = with_id(failed_text(mechanism, user), env.id);
                self.login_failed(&Reply::new(535, Some((7, 8)), text), user, env, sink);
            }
        }
    }

    /// A guess that was wrong. Who has had enough of them is cut off.
    fn login_failed(&mut self, reply: &Reply, user: &str, env: &Env<'_>, sink: &mut dyn Sink) {
        self.login_failures = self.login_failures.saturating_add(1);
        sink.login_failed(user);
        if self.login_failures >= env.auth.attempts {
            self.bye(&reply::AUTH_TOO_MANY, sink);
        } else {
            self.fail(reply, env, sink);
        }
    }

    /// How long the line at hand may be, its end included.
    pub(super) fn line_max(&self, piece: &[u8]) -> usize {
        let start = if self.line.is_empty() { piece } else { &self.line };
        let is_auth = || start.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        if matches!(self.state, State::Auth(_)) || is_auth() {
            limits::AUTH_LINE_MAX
        } else {
            limits::COMMAND_LINE_MAX
        }
    }
}

/// Nobody keeps keys: whoever is asked for gets such as look real.
pub struct NoKeys;

/// The one of its kind.
pub static NO_KEYS: NoKeys = NoKeys;

impl KeyStore for NoKeys {
    fn keys(&self, user: &str) -> crate::authn::scram::Keys {
        crate::authn::scram::Keys::decoy(b"", user)
    }
}

/// Plaintext, where a password may only be shown under TLS.
fn is_too_early(env: &Env<'_>) -> bool {
    env.auth.needs_tls && env.tls != Tls::Active
}

/// What EHLO announces.
pub(super) fn offered<'a>(env: &Env<'a>) -> &'a [Mechanism] {
    if is_too_early(env) { &[] } else { env.auth.mechanisms }
}

fn failed_text(mechanism: Mechanism, user: &str) -> String {
    format!("{} authentication failed for {user}", mechanism.name())
}

fn with_id(text: String, id: &str) -> String {
    if id.is_empty() { text } else { format!("{text} [{id}]") }
}

/// The part of a command line that the log may show: of AUTH the mechanism only.
pub(super) fn without_secrets(line: &[u8]) -> &[u8] {
    let is_auth = line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
    let argument = line.get(5..).unwrap_or_default();
    match argument.iter().position(|octet| *octet == b' ') {
        Some(end) if is_auth => line.get(..5 + end).unwrap_or_default(),
        _ => line,
    }
}

/// RFC 3461 section 4: printable ASCII but `+` and `=`, and `+` with two digits.
pub(super) fn is_xtext(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some((first, others)) = rest.split_first() {
        rest = match first {
            b'+' => match others.split_at_checked(2) {
                Some((digits, others)) if digits.iter().all(u8::is_ascii_hexdigit) => others,
                _ => return false,
            },
            b'=' => return false,
            b'!'..=b'~' => others,
            _ => return false,
        };
    }
    !value.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_response_is_logged() {
        for (line, shown) in [
            ("AUTH PLAIN AGEAYg==", "AUTH PLAIN"),
            ("auth LOGIN YQ== YQ==", "auth LOGIN"),
            ("AUTH LOGIN", "AUTH LOGIN"),
            ("AUTHOR me you", "AUTHOR me you"),
            ("MAIL FROM:<a@b> SIZE=1", "MAIL FROM:<a@b> SIZE=1"),
        ] {
            assert_eq!(without_secrets(line.as_bytes()), shown.as_bytes());
        }
    }

    #[test]
    fn xtext() {
        for (text, good) in [
            ("<>", true),
            ("a+40b", true),
            ("a+4", false),
            ("a=b", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_xtext(text.as_bytes()), good, "{text}");
        }
    }
}
