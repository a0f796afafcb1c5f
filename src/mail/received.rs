//! The `Received` field that every accepted message gets (RFC 5321 4.4).
//!
//! Its words are those of qpsmtpd 0.96 to the letter, `HELO` after an EHLO and the lone blank of
//! `ESMTP ;` included: SpamAssassin has a rule for exactly this form and takes the client's
//! address and name from it. Blanks or parentheses in a foreign part would make that rule read
//! something else, so they become `?` here. The user's name is not told.

use super::date;
use crate::limits::DOMAIN_MAX;
use std::net::IpAddr;

/// Longest name of a cipher in octets; the longest that TLS has are half of it.
const CIPHER_MAX: usize = 100;

/// What a `Received` field tells.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The client's reverse name, `Unknown` without one, with `ident@` in front if known.
    pub remote_info: &'a str,
    /// The argument of HELO or EHLO.
    pub helo: Option<&'a str>,
    /// The client's address.
    pub ip: IpAddr,
    /// Our own name.
    pub me: &'a str,
    /// Our version, as it stands behind `qpsmtpd/`.
    pub version: &'a str,
    /// Whether the client said EHLO.
    pub esmtp: bool,
    /// Protocol and cipher, such as `TLS1.3 TLS_AES_256_GCM_SHA384`, when the session is encrypted.
    pub tls: Option<&'a str>,
    /// The name in the client's certificate, where a CA of ours has signed it.
    pub client: Option<&'a str>,
    /// Who has authenticated; only that somebody has is shown.
    pub auth_user: Option<&'a str>,
    /// Whether the transaction uses SMTPUTF8 (RFC 6531 4.3).
    pub utf8: bool,
    /// When the message came, in seconds since 1970.
    pub unix: i64,
    /// Local time minus UTC in seconds.
    pub offset: i32,
}

/// Longest line of a header field that is not folded (RFC 5322 section 2.1.1).
const LINE_MAX: usize = 78;

/// The value of the field, folded once as qpsmtpd does, and once more before the date where the
/// second line would get long: the date stays whole.
pub fn received(trace: &Trace<'_>) -> String {
    let from = format!(
        "from {} (HELO {}) ({})",
        word(trace.remote_info, "Unknown"),
        word(trace.helo.unwrap_or_default(), ""),
        trace.ip.to_canonical(),
    );
    let by = format!(
        " by {} (qpsmtpd/{}) with {} {};",
        word(trace.me, "localhost"),
        word(trace.version, "0"),
        protocol(trace),
        cipher(trace.tls, trace.client),
    );
    let date = date::format(trace.unix, trace.offset);
    let fold = if by.len() + 1 + date.len() > LINE_MAX { "\r\n " } else { " " };
    format!("{from}\r\n{by}{fold}{date}")
}

/// The registered name of the protocol (RFC 3848, RFC 6531 4.3).
fn protocol(trace: &Trace<'_>) -> String {
    let base = match (trace.utf8, trace.esmtp) {
        (true, _) => "UTF8SMTP",
        (false, true) => "ESMTP",
        // Neither TLS nor AUTH can be had without EHLO.
        (false, false) => return "SMTP".to_owned(),
    };
    let secure = if trace.tls.is_some() { "S" } else { "" };
    let authenticated = if trace.auth_user.is_some() { "A" } else { "" };
    format!("{base}{secure}{authenticated}")
}

fn cipher(tls: Option<&str>, client: Option<&str>) -> String {
    let Some(tls) = tls else { return String::new() };
    let client = client.map(|name| format!(" for {}", harmless(name, DOMAIN_MAX, false)));
    format!("({} encrypted{})", harmless(tls, CIPHER_MAX, true), client.unwrap_or_default())
}

/// Foreign text as one word.
fn word(text: &str, empty: &str) -> String {
    if text.is_empty() { empty.to_owned() } else { harmless(text, DOMAIN_MAX, false) }
}

/// Printable ASCII that cannot open or close a comment nor end the part it stands in.
fn harmless(text: &str, max: usize, blanks: bool) -> String {
    let safe = |char: char| match char {
        '(' | ')' | '\\' | '"' | ';' => '?',
        ' ' if blanks => ' ',
        '!'..='~' => char,
        _ => '?',
    };
    text.chars().take(max).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: Trace<'static> = Trace {
        remote_info: "mail.good.example",
        helo: Some("mail.good.example"),
        ip: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10)),
        me: "mx.example.net",
        version: "0.96",
        esmtp: true,
        tls: None,
        client: None,
        auth_user: None,
        utf8: false,
        unix: 1_795_325_243,
        offset: 0,
    };

    #[test]
    fn qpsmtpd_form() {
        let want = "from mail.good.example (HELO mail.good.example) (192.0.2.10)\r\n \
                    by mx.example.net (qpsmtpd/0.96) with ESMTP ; Sun, 22 Nov 2026 05:27:23 +0000";
        assert_eq!(received(&TRACE), want);
    }

    #[test]
    fn protocols() {
        let tls = Some("TLS1.3 TLS_AES_256_GCM_SHA384");
        let (none, user) = (None, Some("bob"));
        let rows: &[(Trace<'_>, &str)] = &[
            (Trace { esmtp: false, ..TRACE }, "SMTP ;"),
            (TRACE, "ESMTP ;"),
            (Trace { auth_user: user, ..TRACE }, "ESMTPA ;"),
            (
                Trace { tls, auth_user: none, ..TRACE },
                "ESMTPS (TLS1.3 TLS_AES_256_GCM_SHA384 encrypted);",
            ),
            (Trace { tls: Some("x) y"), auth_user: user, ..TRACE }, "ESMTPSA (x? y encrypted);"),
            (Trace { utf8: true, ..TRACE }, "UTF8SMTP ;"),
            (Trace { utf8: true, tls: Some("x"), auth_user: user, ..TRACE }, "UTF8SMTPSA (x en"),
        ];
        for (trace, want) in rows {
            let value = received(trace);
            let (_, with) = value.split_once(" with ").unwrap();
            assert!(with.starts_with(want), "{with}");
            assert!(!value.contains("bob"));
        }
    }

    /// What SpamAssassin's rule for this form takes out of it: reverse name, HELO, address.
    fn read(value: &str) -> Option<(String, String, String)> {
        let line = value.replace("\r\n", "");
        let (rdns, rest) = line.strip_prefix("from ")?.split_once(" (HELO ")?;
        let (helo, rest) = rest.split_once(") (")?;
        let (ip, rest) = rest.split_once(") by ")?;
        let (me, rest) = rest.split_once(" (qpsmtpd/")?;
        let (version, rest) = rest.split_once(") with ")?;
        let words = [rdns, helo, ip, me, version];
        let whole = words.iter().all(|word| !word.contains(char::is_whitespace));
        (whole && rest.starts_with("ESMTP ")).then(|| (rdns.into(), helo.into(), ip.into()))
    }

    #[test]
    fn foreign_parts_stay_in_their_place() {
        let rows: &[(&str, Option<&str>, &str, &str)] = &[
            ("a.example", Some("b.example"), "a.example", "b.example"),
            ("joe@a.example", Some("[192.0.2.10]"), "joe@a.example", "[192.0.2.10]"),
            ("", None, "Unknown", ""),
            ("Unknown", Some("x) (127.0.0.1) by y"), "Unknown", "x???127.0.0.1??by?y"),
            ("a\r\nX: y", Some("h\0\r\n \u{fc}"), "a??X:?y", "h?????"),
            ("a", Some("b;c\\\"\t"), "a", "b?c???"),
        ];
        for (remote_info, helo, rdns, said) in rows {
            let value = received(&Trace { remote_info, helo: *helo, ..TRACE });
            let want = (rdns.to_string(), said.to_string(), "192.0.2.10".to_owned());
            assert_eq!(read(&value), Some(want), "{value}");
        }
        let long = "x".repeat(10_000);
        assert!(received(&Trace { helo: Some(&long), remote_info: &long, ..TRACE }).len() < 800);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let ip = "::ffff:192.0.2.10".parse().unwrap();
        assert!(received(&Trace { ip, ..TRACE }).contains(" (192.0.2.10)\r\n"));
        let ip = "2001:db8::1".parse().unwrap();
        assert!(received(&Trace { ip, ..TRACE }).contains(" (2001:db8::1)\r\n"));
    }
}
