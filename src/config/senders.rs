//! In whose name a user who has logged in may send: `auth_sender_match` and `auth_senders`.

use crate::config::files::{Files, Problem, quote};
use crate::config::tls::switch;
use crate::smtp::address::Address;
use std::collections::HashMap;

/// The rule. Off by default: then everybody may send as anybody.
#[derive(Debug, Default)]
pub struct Senders {
    bound: bool,
    more: HashMap<String, Vec<String>>,
}

impl Senders {
    /// Reads `auth_sender_match` (1 or 0) and `auth_senders`: lines `USER ADDRESS|@DOMAIN …`.
    pub fn load(files: &Files, problems: &mut Vec<Problem>) -> Senders {
        let bound = switch(files, "auth_sender_match", false, problems);
        let mut more: HashMap<String, Vec<String>> = HashMap::new();
        for line in files.lines("auth_senders", problems) {
            let (user, rest) = line.split_word();
            if rest.is_empty() || !rest.split_whitespace().all(|word| word.contains('@')) {
                let what = format!("{}: write USER, then addresses or @domains", quote(&line.text));
                Problem::error(&line, what).note(problems);
                continue;
            }
            let senders = rest.split_whitespace().map(str::to_ascii_lowercase);
            more.entry(user.to_ascii_lowercase()).or_default().extend(senders);
        }
        Senders { bound, more }
    }

    /// May this user send as this sender? A user with a domain owns that address, one without every
    /// address with that local part; `auth_senders` names others.
    pub fn allows(&self, user: &str, sender: &Address) -> bool {
        if !self.bound {
            return true;
        }
        let user = user.to_ascii_lowercase();
        let address = sender.to_string().to_ascii_lowercase();
        let local = sender.local().to_ascii_lowercase();
        let domain = format!("@{}", sender.domain().to_ascii_lowercase());
        let owned = if user.contains('@') { address == user } else { local == user };
        let named = |more: &Vec<String>| more.iter().any(|it| *it == address || *it == domain);
        owned || self.more.get(&user).is_some_and(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::address;

    #[test]
    fn users_own_addresses() {
        let load = |files: &[(&str, &str)]| {
            let owned = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
            let mut problems = Vec::new();
            let senders = Senders::load(&Files::in_memory(owned), &mut problems);
            (senders, problems.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let (senders, problems) = load(&[
            ("auth_sender_match", "1"),
            ("auth_senders", "ann info@example.com @example.org"),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        let of = |text: &str| address::parse_forward(text.as_bytes(), false).expect("an address");
        for (user, sender, allowed) in [
            ("ann", "ann@example.com", true),
            ("Ann", "ANN@example.net", true),
            ("ann", "info@example.com", true),
            ("ann", "anybody@example.org", true),
            ("ann", "bob@example.com", false),
            ("bob", "info@example.com", false),
            ("bob@example.com", "bob@example.com", true),
            ("bob@example.com", "bob@example.net", false),
        ] {
            assert_eq!(
                senders.allows(user, &of(&format!("<{sender}>"))),
                allowed,
                "{user} {sender}"
            );
        }
        assert!(load(&[]).0.allows("ann", &of("<bob@example.com>")));
        let (_, problems) = load(&[("auth_senders", "ann\nbob example.com")]);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
