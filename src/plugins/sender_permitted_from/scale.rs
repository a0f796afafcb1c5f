//! The levels: what is done about which result.

use crate::authn::spf::{Scope, SpfResult};
use crate::config::files::Problem;
use crate::plugin::Args;
use crate::plugin::site::Setup;

/// The file with a level, for lines without one.
const FILE: &str = "spfbehavior";

/// The highest level of `reject`.
const LEVEL_MAX: u8 = 6;

/// The highest level of `no_dmarc_policy`.
const NO_DMARC_MAX: u8 = 4;

/// What the admin wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// At MAIL, 0 to 6.
    pub(super) level: u8,
    /// Behind the header, 0 to 4.
    pub(super) no_dmarc_policy: u8,
    pub(super) helo: HeloPolicy,
}

/// What is done about HELO where the sender is not null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeloPolicy {
    Off,
    Report,
    Reject,
}

/// What is done about a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    Tolerate,
    Defer,
    Refuse,
}

impl Scale {
    pub(super) fn load(args: &mut Args, setup: &Setup<'_>) -> Scale {
        // First, since its value can be the word `reject`.
        let helo = match args.named("helo").as_deref() {
            None | Some("0") => HeloPolicy::Off,
            Some("report") => HeloPolicy::Report,
            Some("reject") => HeloPolicy::Reject,
            Some(other) => {
                args.complain(format!("helo {other}: use 0, report or reject"));
                HeloPolicy::Off
            }
        };
        let old = match args.named("spf_deny").as_deref() {
            None | Some("0") => None,
            Some("1") => Some(3),
            Some("2") => Some(4),
            Some(other) => {
                args.complain(format!("spf_deny {other}: give 1 or 2, or reject with a level"));
                None
            }
        };
        let default = old.or_else(|| of_file(setup)).unwrap_or(0);
        let level = args.number("reject", default, 0..=LEVEL_MAX);
        let no_dmarc_policy = args.number("no_dmarc_policy", 0, 0..=NO_DMARC_MAX);
        Scale { level, no_dmarc_policy, helo }
    }
}

fn of_file(setup: &Setup<'_>) -> Option<u8> {
    let line = setup.lines(FILE).into_iter().next()?;
    let level = line.text.trim().parse().ok().filter(|level| *level <= LEVEL_MAX);
    if level.is_none() {
        let what = format!("give a level from 0 to {LEVEL_MAX}");
        setup.with_problems(|problems| Problem::error(&line, what).note(problems));
    }
    level
}

/// The scale of qpsmtpd's `reject`, but for two cells: a DNS fault is always temporary, and softfail is
/// not deferred at level 3, since it will be softfail the next time too.
pub(super) fn at_mail(level: u8, result: SpfResult, scope: Scope) -> Reaction {
    match (result, level) {
        (SpfResult::Fail, 3..)
        | (SpfResult::SoftFail, 4..)
        | (SpfResult::Neutral, 5..)
        | (SpfResult::PermError, 6..) => Reaction::Refuse,
        // Hardly any host has a record for its own name.
        (SpfResult::None, 6..) if scope == Scope::MailFrom => Reaction::Refuse,
        (SpfResult::Fail, 2) | (SpfResult::PermError, 4..) | (SpfResult::TempError, 2..) => {
            Reaction::Defer
        }
        _ => Reaction::Tolerate,
    }
}

/// Whether a result is refused where there is no DMARC policy, by SME Server's scale.
pub(super) fn without_dmarc(level: u8, result: SpfResult, scope: Scope) -> bool {
    let needed = match result {
        SpfResult::Pass => return false,
        SpfResult::None if scope == Scope::Helo => return false,
        SpfResult::Fail => 1,
        SpfResult::SoftFail => 2,
        SpfResult::Neutral => 3,
        SpfResult::None | SpfResult::PermError | SpfResult::TempError => 4,
    };
    level >= needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    fn read(line: &str, file: &str) -> (Scale, usize, usize) {
        let files = Files::in_memory([(FILE.to_string(), file.to_string())]);
        let mut problems = Vec::new();
        let mut args = Args::of(line);
        let scale = Scale::load(&mut args, &Setup::new(&files, &mut problems));
        (scale, args.finish().len(), problems.len())
    }

    #[test]
    fn arguments() {
        let none = Scale { level: 0, no_dmarc_policy: 0, helo: HeloPolicy::Off };
        for (line, file, expected, complaints, problems) in [
            ("", "", none, 0, 0),
            ("reject 3", "", Scale { level: 3, ..none }, 0, 0),
            (
                "reject=6 no_dmarc_policy=4",
                "",
                Scale { level: 6, no_dmarc_policy: 4, ..none },
                0,
                0,
            ),
            ("", "2\n5", Scale { level: 2, ..none }, 0, 0),
            ("reject 1", "2", Scale { level: 1, ..none }, 0, 0),
            ("spf_deny 1", "", Scale { level: 3, ..none }, 0, 0),
            ("spf_deny 2", "6", Scale { level: 4, ..none }, 0, 0),
            ("spf_deny 2 reject 5", "", Scale { level: 5, ..none }, 0, 0),
            ("helo 0", "", none, 0, 0),
            ("helo report", "", Scale { helo: HeloPolicy::Report, ..none }, 0, 0),
            ("helo reject", "", Scale { helo: HeloPolicy::Reject, ..none }, 0, 0),
            (
                "reject 1 helo reject",
                "",
                Scale { level: 1, helo: HeloPolicy::Reject, ..none },
                0,
                0,
            ),
            ("reject 7 no_dmarc_policy 5 helo 1 spf_deny 3", "", none, 4, 0),
            ("reject naughty", "", none, 1, 0),
            ("", "lots", none, 0, 1),
            ("", "7", none, 0, 1),
            ("odd", "", none, 1, 0),
        ] {
            let line = format!("sender_permitted_from {line}");
            assert_eq!(read(&line, file), (expected, complaints, problems), "{line} {file}");
        }
    }

    /// A letter for each level from 0 on: `.` tolerates, `d` defers, `R` refuses.
    #[test]
    fn levels() {
        for (result, scope, mail, headers) in [
            (SpfResult::Pass, Scope::MailFrom, ".......", "....."),
            (SpfResult::Fail, Scope::MailFrom, "..dRRRR", ".RRRR"),
            (SpfResult::Fail, Scope::Helo, "..dRRRR", ".RRRR"),
            (SpfResult::SoftFail, Scope::MailFrom, "....RRR", "..RRR"),
            (SpfResult::Neutral, Scope::MailFrom, ".....RR", "...RR"),
            (SpfResult::None, Scope::MailFrom, "......R", "....R"),
            (SpfResult::None, Scope::Helo, ".......", "....."),
            (SpfResult::PermError, Scope::MailFrom, "....ddR", "....R"),
            (SpfResult::TempError, Scope::MailFrom, "..ddddd", "....R"),
        ] {
            let letter = |level| match at_mail(level, result, scope) {
                Reaction::Tolerate => '.',
                Reaction::Defer => 'd',
                Reaction::Refuse => 'R',
            };
            assert_eq!((0..=6).map(letter).collect::<String>(), mail, "{result:?}");
            let letter = |level| if without_dmarc(level, result, scope) { 'R' } else { '.' };
            assert_eq!((0..=4).map(letter).collect::<String>(), headers, "{result:?}");
        }
    }
}
