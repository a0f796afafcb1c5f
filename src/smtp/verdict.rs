//! What a hook may decide, independent of how the client is told.
//!
//! A verdict carries no reply code: the class (`Deny` or `DenySoft`) and the moment in the dialogue
//! fix both the reply's first digit and that of the enhanced status code, so that the two can never
//! disagree.

/// The outcome of one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The plugin does not implement this hook. Only the default methods return it.
    Unhooked,
    /// No opinion: ask the next plugin.
    Declined,
    /// Decided in favour; later plugins are not asked. The text, if any, is shown to the client
    /// (`250 2.0.0 TEXT`), or replaces the address at the `address` hook.
    Ok(Option<Box<str>>),
    /// Refused for good (5xx).
    Deny(Refusal),
    /// Refused for now (4xx): the sender will try again.
    DenySoft(Refusal),
}

impl Verdict {
    /// In favour, with nothing to say.
    pub const OK: Verdict = Verdict::Ok(None);

    /// A permanent refusal (5xx) with the enhanced status `5.SUBJECT.DETAIL`.
    pub fn deny(status: (u16, u16), text: impl Into<Box<str>>) -> Verdict {
        Verdict::Deny(Refusal::new(status, text))
    }

    /// A temporary refusal (4xx) with the enhanced status `4.SUBJECT.DETAIL`.
    pub fn deny_soft(status: (u16, u16), text: impl Into<Box<str>>) -> Verdict {
        Verdict::DenySoft(Refusal::new(status, text))
    }

    /// The same refusal, after which the connection is closed.
    #[must_use]
    pub fn and_disconnect(self) -> Verdict {
        match self {
            Verdict::Deny(refusal) => Verdict::Deny(Refusal { disconnect: true, ..refusal }),
            Verdict::DenySoft(refusal) => {
                Verdict::DenySoft(Refusal { disconnect: true, ..refusal })
            }
            other => other,
        }
    }

    /// The same refusal, marked as one for want of space or because of size (552 or 452).
    #[must_use]
    pub fn for_storage(self) -> Verdict {
        match self {
            Verdict::Deny(refusal) => Verdict::Deny(Refusal { storage: true, ..refusal }),
            Verdict::DenySoft(refusal) => Verdict::DenySoft(Refusal { storage: true, ..refusal }),
            other => other,
        }
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Verdict::Deny(refusal) | Verdict::DenySoft(refusal) => Some(refusal),
            Verdict::Unhooked | Verdict::Declined | Verdict::Ok(_) => None,
        }
    }

    /// The number that qpsmtpd's logs print for this return value (logterse field 6).
    pub fn number(&self) -> u16 {
        match self {
            Verdict::Ok(_) => 900,
            Verdict::Deny(refusal) if refusal.disconnect => 903,
            Verdict::Deny(_) => 901,
            Verdict::DenySoft(refusal) if refusal.disconnect => 904,
            Verdict::DenySoft(_) => 902,
            Verdict::Declined | Verdict::Unhooked => 909,
        }
    }
}

/// Why something was refused, and how the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The words for the client and the log, without code and status; `\n` makes several lines.
    pub text: Box<str>,
    /// Subject and detail of the enhanced status code (RFC 3463), without its class.
    pub status: (u16, u16),
    /// Close the connection after the reply.
    pub disconnect: bool,
    /// For want of space, or because of size: 552 or 452 where content gets 554 or 451.
    pub storage: bool,
}

impl Refusal {
    /// A refusal that keeps the connection.
    pub fn new(status: (u16, u16), text: impl Into<Box<str>>) -> Refusal {
        Refusal { text: text.into(), status, disconnect: false, storage: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_qpsmtpd() {
        let deny = Verdict::deny((7, 1), "no");
        let soft = Verdict::deny_soft((7, 1), "later");
        for (verdict, number) in [
            (Verdict::OK, 900),
            (deny.clone(), 901),
            (soft.clone(), 902),
            (deny.and_disconnect(), 903),
            (soft.and_disconnect(), 904),
            (Verdict::Declined, 909),
        ] {
            assert_eq!(verdict.number(), number, "{verdict:?}");
        }
    }

    #[test]
    fn disconnecting_changes_refusals_only() {
        assert_eq!(Verdict::OK.and_disconnect(), Verdict::OK);
        let verdict = Verdict::deny((7, 1), "no").and_disconnect().for_storage();
        let refusal = verdict.refusal().expect("a refusal");
        assert!(refusal.disconnect && refusal.storage);
    }
}
