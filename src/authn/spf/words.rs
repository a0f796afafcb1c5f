//! What came of a check, in words: for the log, for the sender, for the header (RFC 7208 section 9.1).

use super::{Checked, Scope, SpfResult};
use crate::mail::authres::comment;

impl Checked {
    /// Why, in a sentence that begins with the domain. It holds text of the sender's.
    pub fn why(&self) -> String {
        let (domain, ip) = (&self.identity.domain, self.ip);
        let whom = format!("'{}' in '{}' identity", self.identity, self.identity.scope.word());
        let by_all = self.matched.as_deref().is_some_and(|it| it.ends_with("all"));
        let said = match (self.result, by_all) {
            (SpfResult::Pass, _) => format!("{ip} is authorized to use {whom}"),
            (SpfResult::Fail, true) => {
                format!("Sender is not authorized by default to use {whom}")
            }
            (SpfResult::Fail, false) => format!("{ip} is not authorized to use {whom}"),
            (SpfResult::SoftFail, _) => format!("{ip} is probably not authorized to use {whom}"),
            (SpfResult::Neutral, _) => {
                format!("Domain does not say whether {ip} is authorized to use {whom}")
            }
            (SpfResult::None, _) => "No applicable sender policy available".to_string(),
            (SpfResult::TempError | SpfResult::PermError, _) => {
                self.problem.clone().unwrap_or_default()
            }
        };
        let by = match (&self.matched, self.result) {
            (Some(matched), _) => format!(" (mechanism '{matched}' matched)"),
            (None, SpfResult::Neutral) => " (no mechanism matched)".to_string(),
            (None, _) => String::new(),
        };
        format!("{domain}: {said}{by}")
    }
}

/// The value of a `Received-SPF` field (RFC 7208 section 9.1) that `receiver` writes. `envelope_from`
/// is the reverse-path without brackets, empty for the null sender.
pub fn received_spf(checked: &Checked, receiver: &str, envelope_from: &str, helo: &str) -> String {
    let identity = match checked.identity.scope {
        Scope::MailFrom => "mailfrom",
        Scope::Helo => "helo",
    };
    format!(
        "{} {} receiver={}; identity={identity}; envelope-from={}; helo={}; client-ip={}",
        checked.result.word(),
        note(&checked.why()),
        value(receiver),
        quoted(envelope_from),
        value(helo),
        value(&checked.ip.to_string()),
    )
}

/// A comment. Parentheses in it are left as they are where they make pairs.
fn note(text: &str) -> String {
    let mut depth = 0_usize;
    let pairs = text.bytes().all(|octet| match octet {
        b'(' => {
            depth += 1;
            true
        }
        b')' => match depth.checked_sub(1) {
            Some(less) => {
                depth = less;
                true
            }
            None => false,
        },
        b' '..=b'~' => octet != b'\\',
        _ => false,
    });
    if pairs && depth == 0 { format!("({text})") } else { comment(text) }
}

/// A `dot-atom` as it is, and anything else as a quoted string.
fn value(text: &str) -> String {
    let atom = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
    let dot_atom = text.split('.').all(|part| !part.is_empty() && part.bytes().all(atom));
    if dot_atom { text.to_string() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            char if char.is_control() => out.push('?'),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::spf::Identity;

    fn checked(result: SpfResult, sender: &str, matched: Option<&str>) -> Checked {
        let helo = Identity::of_helo("mail.good.example");
        Checked {
            result,
            identity: Identity::of_text(sender).unwrap_or(helo),
            ip: "192.0.2.10".parse().expect("an address"),
            matched: matched.map(Into::into),
            is_wide: false,
            problem: Some("it is broken".to_string()),
            explanation: None,
            path: Vec::new(),
        }
    }

    #[test]
    fn reasons() {
        let (sender, null) = ("u@good.example", "");
        for (result, sender, matched, expected) in [
            (
                SpfResult::Pass,
                sender,
                Some("ip4:192.0.2.10"),
                "good.example: 192.0.2.10 is authorized to use 'u@good.example' in 'mfrom' \
                 identity (mechanism 'ip4:192.0.2.10' matched)",
            ),
            (
                SpfResult::Fail,
                sender,
                Some("-all"),
                "good.example: Sender is not authorized by default to use 'u@good.example' in \
                 'mfrom' identity (mechanism '-all' matched)",
            ),
            (
                SpfResult::Fail,
                null,
                Some("-a"),
                "mail.good.example: 192.0.2.10 is not authorized to use 'mail.good.example' in \
                 'helo' identity (mechanism '-a' matched)",
            ),
            (
                SpfResult::Neutral,
                sender,
                None,
                "good.example: Domain does not say whether 192.0.2.10 is authorized to use \
                 'u@good.example' in 'mfrom' identity (no mechanism matched)",
            ),
            (SpfResult::None, sender, None, "good.example: No applicable sender policy available"),
            (SpfResult::PermError, sender, None, "good.example: it is broken"),
        ] {
            assert_eq!(checked(result, sender, matched).why(), expected);
        }
    }

    #[test]
    fn fields() {
        let field = received_spf(
            &checked(SpfResult::Pass, "u@good.example", Some("a")),
            "mx.example.net",
            "u@good.example",
            "mail.good.example",
        );
        assert_eq!(
            field,
            "pass (good.example: 192.0.2.10 is authorized to use 'u@good.example' in 'mfrom' \
             identity (mechanism 'a' matched)) receiver=mx.example.net; identity=mailfrom; \
             envelope-from=\"u@good.example\"; helo=mail.good.example; client-ip=192.0.2.10"
        );
        let mut odd = checked(SpfResult::SoftFail, "a)(\"\\;\r\n@good.example", Some("~all"));
        odd.ip = "2001:db8::1".parse().expect("an address");
        let field = received_spf(&odd, "", "a\"\\\r\n@x", "[192.0.2.1]");
        assert!(field.starts_with("softfail (good.example: 2001:db8::1 is "), "{field}");
        assert!(field.contains(" 'a\\)\\(\"\\\\;??@good.example' in "), "{field}");
        assert!(field.contains("\\(mechanism '~all' matched\\)) receiver=\"\"; "), "{field}");
        let end =
            "envelope-from=\"a\\\"\\\\??@x\"; helo=\"[192.0.2.1]\"; client-ip=\"2001:db8::1\"";
        assert!(field.ends_with(end), "{field}");
    }
}
