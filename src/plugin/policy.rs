//! The arguments that all checks share: `reject`, `reject_type`.
//!
//! Detection is the plugin's business, policy the admin's, and it is applied in one place
//! ([`Cx::reject`](crate::plugin::Cx::reject)), so that every check can be tolerated, deferred or
//! enforced in the same way.

use crate::plugin::args::Args;
use crate::plugin::facts::RejectType;

/// When a failed check refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// `reject 0`: it is logged as tolerated.
    Never,
    /// `reject 1`: at once.
    Now,
    /// `reject naughty`: remembered; the plugin `naughty` refuses later.
    Naughty,
    /// `reject connect`: at the greeting.
    Connect,
}

/// What to do with a failed check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When.
    pub reject: Reject,
    /// How.
    pub reject_type: RejectType,
}

impl Policy {
    /// Reads `reject` and `reject_type` from the plugin's line; what is not given is the default.
    pub fn from_args(args: &mut Args, reject: Reject, reject_type: RejectType) -> Policy {
        let reject = match args.named("reject").as_deref() {
            None => reject,
            Some("0" | "no" | "false") => Reject::Never,
            Some("1" | "yes" | "true") => Reject::Now,
            Some("naughty") => Reject::Naughty,
            Some("connect") => Reject::Connect,
            Some(other) => {
                args.complain(format!("reject {other}: use 0, 1, naughty or connect"));
                reject
            }
        };
        let named = args.named("reject_type").map(|word| (reject_type_of(&word), word));
        let reject_type = match named {
            None => reject_type,
            Some((Some(found), _)) => found,
            Some((None, other)) => {
                args.complain(format!(
                    "reject_type {other}: use perm, temp, disconnect or temp_disconnect"
                ));
                reject_type
            }
        };
        Policy { reject, reject_type }
    }
}

/// Reads a `reject_type`: perm or hard, temp or soft, disconnect, temp_disconnect.
pub fn reject_type_of(word: &str) -> Option<RejectType> {
    match word.to_ascii_lowercase().as_str() {
        "perm" | "hard" => Some(RejectType::Perm),
        "temp" | "soft" => Some(RejectType::Temp),
        "disconnect" => Some(RejectType::Disconnect),
        "temp_disconnect" => Some(RejectType::TempDisconnect),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_a_policy() {
        for (line, reject, reject_type, complaints) in [
            ("", Reject::Now, RejectType::Perm, 0),
            ("reject 0", Reject::Never, RejectType::Perm, 0),
            ("reject naughty reject_type SOFT", Reject::Naughty, RejectType::Temp, 0),
            ("reject=connect reject_type=disconnect", Reject::Connect, RejectType::Disconnect, 0),
            ("reject maybe reject_type never", Reject::Now, RejectType::Perm, 2),
        ] {
            let mut args = Args::of(&format!("test {line}"));
            let policy = Policy::from_args(&mut args, Reject::Now, RejectType::Perm);
            assert_eq!(policy, Policy { reject, reject_type }, "{line}");
            assert_eq!(args.finish().len(), complaints, "{line}");
        }
    }
}
