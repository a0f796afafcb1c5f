//! Logging in at a next server (RFC 4954), with PLAIN (RFC 4616), LOGIN or CRAM-MD5 (RFC 2195).
//!
//! Where the server is not known for sure the mechanism that does not show the password comes first.

use super::connection::{Connection, Trouble};
use super::reply::Reply;
use crate::config::smtpauth::Login;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use zeroize::Zeroizing;

/// What we can do, the best first where the server is who it says it is.
const KNOWN: [&str; 3] = ["PLAIN", "LOGIN", "CRAM-MD5"];

/// What we can do, the best first where it may be somebody else.
const UNSURE: [&str; 3] = ["CRAM-MD5", "PLAIN", "LOGIN"];

/// Logs in by one of the mechanisms that are offered. `known` says that the server's certificate was
/// verified.
pub(super) fn log_in(
    connection: &mut Connection,
    offered: &[String],
    login: &Login,
    known: bool,
) -> Result<(), Trouble> {
    let order = if known { KNOWN } else { UNSURE };
    let is_offered = |ours: &&str| offered.iter().any(|it| it.eq_ignore_ascii_case(ours));
    let answer = match order.into_iter().find(is_offered) {
        Some("PLAIN") => {
            let text = format!("\0{}\0{}", login.user, &*login.password);
            let text = Zeroizing::new(text);
            connection
                .command(&Zeroizing::new(format!("AUTH PLAIN {}", STANDARD.encode(&*text))))?
        }
        Some("LOGIN") => {
            go_on(connection.command("AUTH LOGIN")?)?;
            go_on(connection.command(&STANDARD.encode(&login.user))?)?;
            connection.command(&Zeroizing::new(STANDARD.encode(&*login.password)))?
        }
        Some("CRAM-MD5") => {
            let challenge = go_on(connection.command("AUTH CRAM-MD5")?)?;
            let digest = digest(&challenge, &login.password)
                .ok_or(Trouble::Fault("its challenge for CRAM-MD5 cannot be read"))?;
            connection.command(&STANDARD.encode(format!("{} {digest}", login.user)))?
        }
        _ => {
            let words = "it offers none of PLAIN, LOGIN and CRAM-MD5";
            return Err(Trouble::Fault(words));
        }
    };
    if answer.class() == 2 { Ok(()) } else { Err(Trouble::Login(answer)) }
}

/// The server asks for more.
fn go_on(answer: Reply) -> Result<Reply, Trouble> {
    if answer.code == 334 { Ok(answer) } else { Err(Trouble::Login(answer)) }
}

/// The answer to a challenge, in hexadecimal digits.
fn digest(challenge: &Reply, password: &str) -> Option<String> {
    let challenge = STANDARD.decode(challenge.first_line()).ok()?;
    let mut mac = Hmac::<md5::Md5>::new_from_slice(password.as_bytes()).ok()?;
    mac.update(&challenge);
    Some(mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::deadline::Deadline;
    use crate::client::smtp::hop::{Act, Hop};
    use std::time::Duration;

    /// Logs in at a server that answers so; what came of it, and what it heard.
    fn check(
        offered: &[&str],
        known: bool,
        answer: impl Fn(&str) -> &'static str + Send + Sync + 'static,
    ) -> (String, Vec<String>) {
        let hop = Hop::start(&[], move |_, line| {
            let text = if line.is_empty() { "" } else { answer(line) };
            (!text.is_empty()).then(|| Act::Say(format!("{text}\r\n")))
        });
        let deadline = Deadline::after(Duration::from_secs(60));
        let (_, mut connection) = Connection::open(&[hop.address()], deadline).expect("a server");
        connection.greet("me.example", "EHLO").expect("a greeting");
        let login =
            Login { user: "tim".into(), password: Zeroizing::new("tanstaaftanstaaf".into()) };
        let offered: Vec<String> = offered.iter().map(ToString::to_string).collect();
        let seen = match log_in(&mut connection, &offered, &login, known) {
            Ok(()) => "in".to_string(),
            Err(trouble) => trouble.to_string(),
        };
        drop(connection);
        (seen, hop.finish().remove(0).lines.split_off(1))
    }

    #[test]
    fn mechanisms() {
        let plain = "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm";
        let yes = |line: &str| match line {
            "AUTH LOGIN" | "dGlt" => "334 VXNlcm5hbWU6",
            // The example of RFC 2195.
            "AUTH CRAM-MD5" => "334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+",
            line if line.starts_with("EHLO") => "",
            _ => "235 ok",
        };
        let cram = ["AUTH CRAM-MD5", "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"];
        let login = ["AUTH LOGIN", "dGlt", "dGFuc3RhYWZ0YW5zdGFhZg=="];
        for (offered, known, heard) in [
            (&["login", "plain", "CRAM-MD5"][..], true, &[plain][..]),
            (&["LOGIN", "PLAIN", "CRAM-MD5"], false, &cram),
            (&["LOGIN", "PLAIN"], false, &[plain]),
            (&["XOAUTH2", "LOGIN"], true, &login),
            (&["CRAM-MD5"], true, &cram),
        ] {
            assert_eq!(
                check(offered, known, yes),
                ("in".to_string(), heard.iter().map(ToString::to_string).collect())
            );
        }
        let (seen, heard) = check(&["XOAUTH2"], true, yes);
        assert_eq!((&*seen, heard.len()), ("it offers none of PLAIN, LOGIN and CRAM-MD5", 0));
    }

    #[test]
    fn refusals() {
        for (mechanism, answers, expected, count) in [
            ("PLAIN", ["535 5.7.8 no", ""], "it does not let us in: 535 5.7.8 no", 1),
            ("PLAIN", ["334 more", ""], "it does not let us in: 334 more", 1),
            ("LOGIN", ["535 no", ""], "it does not let us in: 535 no", 1),
            ("LOGIN", ["334 x", "535 no"], "it does not let us in: 535 no", 2),
            ("LOGIN", ["235 so soon", ""], "it does not let us in: 235 so soon", 1),
            ("CRAM-MD5", ["334 !!!", ""], "its challenge for CRAM-MD5 cannot be read", 1),
        ] {
            let (seen, heard) = check(&[mechanism], true, move |line| match line {
                line if line.starts_with("AUTH") => answers[0],
                line if line.starts_with("EHLO") => "",
                _ => answers[1],
            });
            assert_eq!((&*seen, heard.len()), (expected, count), "{mechanism}");
        }
    }
}
