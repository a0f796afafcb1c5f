//! Refuses clients that talk before it is their turn, as programs do that only pretend to speak SMTP.
//!
//! A client has to wait for our greeting, and for the go-ahead of DATA. This plugin makes it wait a
//! little and listens; other plugins' name lookups go on meanwhile. What was sent ahead in one packet
//! counts too. A BDAT chunk is never early. Clients that are immune are not made to wait, nor, before
//! the greeting, are those with a history of `karma` above 5.
//!
//! Arguments:
//!   wait          seconds to listen, decimals allowed, default 1; more than 9 is 9
//!   check-at      CONNECT (the default) or DATA; repeat it for both
//!   defer-reject  any value: an early talker at CONNECT is greeted, and refused at each MAIL
//!   reject        0 (tolerate), 1 (the default) or naughty
//!   reject_type   perm (the default), temp, disconnect or temp_disconnect
//!   action        the old way: log is `reject 0`, deny is `reject 1`, denysoft is that with
//!                 `reject_type temp`; `reject` and `reject_type` win over it
//!
//! Config files: none.
//!
//! Replies: `554 5.5.1 Connecting host started transmitting before SMTP greeting` (421 for temp) at
//! CONNECT and DATA, after which the connection is closed; 550 or 450 at MAIL.
//!
//! Karma: -1 for talking early, and again at each MAIL that is refused for it.
//!
//! When it cannot tell: a client that could not be listened to counts as quiet.

use crate::config::files::Problem;
use crate::limits::HOOK_TIME_MAX;
use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{
    Args, Cx, Hook, HookSet, Hooked, Pending, Plugin, Policy, Reject, RejectType, Verdict,
};
use crate::smtp::session::MailFrom;
use std::sync::Arc;
use std::time::Duration;

/// Longest time to listen: the hook must not run out of its own.
const WAIT_MAX: Duration = HOOK_TIME_MAX.saturating_sub(Duration::from_secs(1));

/// What a client with this history is not made to wait for.
const GOOD_HISTORY: i32 = 5;

const TEXT: &str = "Connecting host started transmitting before SMTP greeting";
const WORDS: &str = "remote started talking before we said hello";

#[derive(Debug, PartialEq)]
struct EarlyTalker {
    wait: Duration,
    at_connect: bool,
    at_data: bool,
    deferred: bool,
    policy: Policy,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(read(args, setup))
}

fn read(args: &mut Args, setup: &Setup<'_>) -> EarlyTalker {
    let wait = wait(args, setup);
    let (mut at_connect, mut at_data) = (false, false);
    let places = args.repeated("check-at");
    for place in &places {
        match place.to_ascii_uppercase().as_str() {
            "CONNECT" => at_connect = true,
            "DATA" => at_data = true,
            _ => args.complain(format!("check-at {place}: use CONNECT or DATA")),
        }
    }
    let deferred = args.named("defer-reject").is_some();
    let (reject, reject_type) = match args.named("action").as_deref() {
        None | Some("deny" | "denyhard" | "deny_disconnect") => (Reject::Now, RejectType::Perm),
        Some("denysoft" | "denysoft_disconnect") => (Reject::Now, RejectType::Temp),
        Some("log") => (Reject::Never, RejectType::Perm),
        Some(other) => {
            args.complain(format!("action {other}: use log, deny or denysoft"));
            (Reject::Now, RejectType::Perm)
        }
    };
    let policy = Policy::from_args(args, reject, reject_type);
    EarlyTalker { wait, at_connect: at_connect || places.is_empty(), at_data, deferred, policy }
}

fn wait(args: &mut Args, setup: &Setup<'_>) -> Duration {
    let seconds = args.number("wait", 1.0, 0.0..=300.0);
    let wait = Duration::try_from_secs_f64(seconds).unwrap_or(WAIT_MAX);
    if wait > WAIT_MAX {
        let what = format!("wait {seconds}: {} seconds are the longest wait", WAIT_MAX.as_secs());
        let warning = Problem::warning(&args.line, what);
        setup.with_problems(|problems| warning.note(problems));
    }
    wait.min(WAIT_MAX)
}

impl Plugin for EarlyTalker {
    fn hooks(&self) -> HookSet {
        [(Hook::Connect, self.at_connect), (Hook::Mail, self.deferred), (Hook::Data, self.at_data)]
            .into_iter()
            .filter_map(|(hook, wanted)| wanted.then_some(hook))
            .fold(HookSet::default(), HookSet::with)
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        if !self.at_connect {
            return Ok(Verdict::Unhooked);
        }
        if let Some(history) = cx.facts().karma_history
            && history > GOOD_HISTORY
        {
            cx.log(Level::Info, format!("skip, karma {history}"));
            return Ok(Verdict::Declined);
        }
        if !self.is_early(cx)? {
            return Ok(Verdict::Declined);
        }
        if self.deferred {
            cx.log(Level::Info, format!("fail, deferred, {WORDS}"));
            return Ok(Verdict::Declined);
        }
        Ok(self.refuse(cx).and_disconnect())
    }

    fn mail(&self, cx: &mut Cx<'_>, _mail: &MailFrom) -> Hooked {
        if !self.deferred {
            return Ok(Verdict::Unhooked);
        }
        if !cx.facts().early || cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        cx.karma(-1);
        Ok(self.refuse(cx))
    }

    fn data(&self, cx: &mut Cx<'_>, chunked: bool) -> Hooked {
        if !self.at_data {
            return Ok(Verdict::Unhooked);
        }
        // RFC 3030 section 2: the octets of a chunk follow at once.
        if chunked || !self.is_early(cx)? {
            return Ok(Verdict::Declined);
        }
        // What follows is message text, and must not be taken for commands.
        Ok(self.refuse(cx).and_disconnect())
    }
}

impl EarlyTalker {
    /// Listens, and notes what it heard.
    fn is_early(&self, cx: &mut Cx<'_>) -> Result<bool, Pending> {
        if cx.skip_immune() {
            return Ok(false);
        }
        if cx.quiet(self.wait)? {
            cx.log(Level::Info, "pass, not spontaneous");
            return Ok(false);
        }
        cx.facts_mut().early = true;
        cx.karma(-1);
        Ok(true)
    }

    fn refuse(&self, cx: &mut Cx<'_>) -> Verdict {
        cx.reject_at_once(&self.policy, (5, 1), TEXT, WORDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn arguments() {
        let check = |line: &str, expected: &str, faults: usize| {
            let files = Files::in_memory([]);
            let mut problems = Vec::new();
            let mut args = Args::of(&format!("earlytalker {line}"));
            let plugin = read(&mut args, &Setup::new(&files, &mut problems));
            let hooks = [(Hook::Connect, "connect "), (Hook::Mail, "mail "), (Hook::Data, "data ")];
            let mut seen: String = hooks
                .into_iter()
                .filter_map(|(hook, name)| plugin.hooks().has(hook).then_some(name))
                .collect();
            let policy = plugin.policy;
            seen.push_str(&format!(
                "{:?} {:?} {:?}",
                plugin.wait, policy.reject, policy.reject_type
            ));
            assert_eq!(seen, expected, "{line}");
            assert_eq!(args.finish().len() + problems.len(), faults, "{line}");
        };
        for (line, expected, faults) in [
            ("", "connect 1s Now Perm", 0),
            ("wait 0.25", "connect 250ms Now Perm", 0),
            ("wait 0", "connect 0ns Now Perm", 0),
            ("wait 30", "connect 9s Now Perm", 1),
            ("wait NaN", "connect 1s Now Perm", 1),
            ("wait -1", "connect 1s Now Perm", 1),
            ("check-at DATA", "data 1s Now Perm", 0),
            ("check-at connect check-at=data", "connect data 1s Now Perm", 0),
            ("check-at RCPT", "1s Now Perm", 1),
            ("defer-reject 0", "connect mail 1s Now Perm", 0),
            ("reject 0", "connect 1s Never Perm", 0),
            ("reject naughty reject_type temp", "connect 1s Naughty Temp", 0),
            ("action denysoft", "connect 1s Now Temp", 0),
            ("action denysoft defer-reject 1", "connect mail 1s Now Temp", 0),
            ("action deny", "connect 1s Now Perm", 0),
            ("action log", "connect 1s Never Perm", 0),
            ("action log reject 1", "connect 1s Now Perm", 0),
            ("action denysoft reject_type perm", "connect 1s Now Perm", 0),
            ("action shout", "connect 1s Now Perm", 1),
            ("patience 3", "connect 1s Now Perm", 1),
        ] {
            check(line, expected, faults);
        }
    }
}
