//! Says goodbye with a saying to clients that greeted with HELO: most likely a human at the keyboard.
//!
//! Clients that said EHLO are programs and get the plain farewell. qpsmtpd ran `/usr/games/fortune`
//! for each QUIT; no program is run here. There are a few sayings of our own, and yours in the file
//! `fortunes`, one a line, take their place.
//!
//! Arguments: none.
//!
//! Config files: `fortunes`.
//!
//! Replies: `221-2.0.0 ME closing connection.`, then `221 2.0.0   / SAYING`.
//!
//! Karma: none.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use std::sync::Arc;

/// What is said where there is no file.
const SAYINGS: [&str; 12] = [
    "A letter that waits a day is often a better letter.",
    "Be brief: somebody has to read it.",
    "Every queue was somebody's good idea.",
    "He who answers all reaches nobody.",
    "Keep the postmaster friendly; you will need him one day.",
    "Mail is patient. People only think they are not.",
    "Nothing travels as far as a misspelt address.",
    "The attachment you forgot is the one they wanted.",
    "There is no spam in the paper bin, only advertising.",
    "Trust the envelope less than the letter, and the letter less than the writer.",
    "Typing SMTP by hand keeps the fingers warm.",
    "What you send in anger arrives in good order.",
];

struct QuitFortune {
    sayings: Vec<String>,
}

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let own: Vec<String> = setup.lines("fortunes").into_iter().map(|line| line.text).collect();
    let sayings = if own.is_empty() { SAYINGS.map(String::from).into() } else { own };
    Arc::new(QuitFortune { sayings })
}

impl Plugin for QuitFortune {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Quit])
    }

    fn quit(&self, cx: &mut Cx<'_>) -> Hooked {
        if cx.hello().is_none_or(|hello| hello.esmtp) {
            return Ok(Verdict::Declined);
        }
        let Some(saying) = pick(&self.sayings, cx.random()) else { return Ok(Verdict::Declined) };
        let text = format!("{} closing connection.\n  / {saying}", cx.config().rules.me);
        Ok(Verdict::Ok(Some(text.into())))
    }
}

fn pick(sayings: &[String], random: u64) -> Option<&str> {
    let place = random.checked_rem(sayings.len() as u64)?;
    sayings.get(usize::try_from(place).ok()?).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_saying_can_come_and_fits_into_a_reply() {
        let sayings = SAYINGS.map(String::from);
        for (place, saying) in sayings.iter().enumerate() {
            assert_eq!(pick(&sayings, 24 + place as u64), Some(saying.as_str()));
            assert!(saying.is_ascii() && saying.len() <= 78, "{saying}");
        }
        assert_eq!(pick(&[], 7), None);
        assert!(pick(&sayings, u64::MAX).is_some());
    }
}
