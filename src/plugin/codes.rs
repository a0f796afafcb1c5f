//! qpsmtpd's names of return values, as admins write them into files: `DENY`, `DENYSOFT` and so on.

use crate::smtp::verdict::Verdict;

/// The verdict that a name stands for, or None for a name that nobody knows. `status` is subject and
/// detail of a refusal's enhanced status code, `text` what the client is told.
pub fn verdict_of(name: &str, status: (u16, u16), text: &str) -> Option<Verdict> {
    match name {
        "OK" => Some(Verdict::OK),
        "DECLINED" => Some(Verdict::Declined),
        "DENY" => Some(Verdict::deny(status, text)),
        "DENYSOFT" => Some(Verdict::deny_soft(status, text)),
        "DENY_DISCONNECT" | "DENYHARD" => Some(Verdict::deny(status, text).and_disconnect()),
        "DENYSOFT_DISCONNECT" => Some(Verdict::deny_soft(status, text).and_disconnect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_verdicts() {
        for (name, number) in [
            ("OK", Some(900)),
            ("DECLINED", Some(909)),
            ("DENY", Some(901)),
            ("DENYSOFT", Some(902)),
            ("DENY_DISCONNECT", Some(903)),
            ("DENYHARD", Some(903)),
            ("DENYSOFT_DISCONNECT", Some(904)),
            ("deny", None),
            ("DONE", None),
            ("", None),
        ] {
            let verdict = verdict_of(name, (1, 1), "no");
            assert_eq!(verdict.map(|verdict| verdict.number()), number, "{name}");
        }
    }
}
