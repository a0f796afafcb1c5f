//! The verdict on a call: the hooks that belong to it, one after the other.

use super::Visit;
use crate::plugin::chain::{Chain, Invocation, Observed, Step, observe};
use crate::plugin::cx::Moment;
use crate::plugin::facts::is_special_account;
use crate::plugin::log::{Event, Level};
use crate::plugin::question::{Lane, Place};
use crate::plugin::{Denial, Hook};
use crate::smtp::session::Call;
use crate::smtp::verdict::Verdict;
use std::sync::Arc;

/// Hooks that belong to one call of the session machine, and how far they are.
pub(super) struct Progress {
    hooks: &'static [Hook],
    at: usize,
}

impl Visit {
    /// Runs the hooks of the pending call as far as they go.
    pub(super) fn judge(&mut self, place: Place<'_>, now: Moment) -> Judged {
        let Some(hooks) = self.session.call().map(hooks_of) else {
            return Judged::Decided(Verdict::Declined);
        };
        let mut progress = self.progress.take().unwrap_or(Progress { hooks, at: 0 });
        while let Some(&hook) = progress.hooks.get(progress.at) {
            let judged = match self.one_hook(hook, place, now) {
                Judged::Decided(Verdict::Declined | Verdict::Unhooked) => {
                    progress.at += 1;
                    continue;
                }
                // What `headers` is content with is not delivered yet.
                Judged::Decided(Verdict::Ok(_)) if progress.at + 1 < progress.hooks.len() => {
                    progress.at += 1;
                    continue;
                }
                Judged::Decided(Verdict::Ok(_)) if hook == Hook::Rcpt && self.goes_elsewhere() => {
                    Judged::Decided(goes_elsewhere())
                }
                other => other,
            };
            if !matches!(judged, Judged::Decided(_)) {
                self.progress = Some(progress);
            }
            return judged;
        }
        let decided = match self.session.call() {
            // For most calls silence is consent; a login, RCPT and the queue need somebody's word.
            Some(Call::Auth(_) | Call::Rcpt(_) | Call::Message) => Verdict::Declined,
            _ => Verdict::OK,
        };
        Judged::Decided(decided)
    }

    pub(super) fn one_hook(&mut self, hook: Hook, place: Place<'_>, now: Moment) -> Judged {
        if (Hook::Headers..=Hook::Queue).contains(&hook) {
            if matches!(place, Place::Loop) {
                let waits = self.invocation.as_ref().is_some_and(|it| !it.is_ready(now));
                // The last piece of a spooled message is written where the rest of its way begins.
                let spooled = self.intake.as_ref().is_some_and(|intake| intake.has_file());
                let lane = if spooled { Lane::Writers } else { Lane::Workers };
                return if waits { Judged::Waiting } else { Judged::Move(lane) };
            }
            if self.invocation.is_none()
                && let Some(verdict) = self.before_message_hook(hook, now)
            {
                return Judged::Decided(verdict);
            }
        }
        if self.invocation.is_none()
            && let Some(verdict) = self.condemned(now)
        {
            return Judged::Decided(verdict);
        }
        if self.invocation.is_none()
            && hook == Hook::Mail
            && let Some(verdict) = self.sender_of_another()
        {
            return Judged::Decided(verdict);
        }
        if self.invocation.is_none() && !self.chain.has(hook) {
            return Judged::Decided(Verdict::Declined);
        }
        let waiting = self.invocation.take();
        let mut invocation =
            waiting.unwrap_or_else(|| Box::new(Invocation::new(hook, &self.chain)));
        let step = invocation.run(self, place, now);
        self.prefetch(&mut invocation);
        match step {
            Step::Done(verdict, who) => {
                self.decided(&invocation, who, &verdict, now);
                Judged::Decided(verdict)
            }
            Step::Waiting => {
                self.invocation = Some(invocation);
                Judged::Waiting
            }
            Step::Move(lane) => {
                self.invocation = Some(invocation);
                Judged::Move(lane)
            }
        }
    }

    /// The recipient would be taken, but no message can be kept for him and the first one as a whole.
    fn goes_elsewhere(&mut self) -> bool {
        let first = self.session.transaction().and_then(|it| it.recipients.first());
        let (Some(first), Some(Call::Rcpt(next))) = (first, self.session.call()) else {
            return false;
        };
        if self.chain.go_together(first, next) {
            return false;
        }
        self.line(Level::Info, "this recipient's mail goes another way: put off".to_string());
        true
    }

    /// A check of address or HELO has asked for a refusal: this is its moment, unless the recipient
    /// is one whom everybody must be able to reach.
    fn condemned(&mut self, now: Moment) -> Option<Verdict> {
        let Some(Call::Rcpt(recipient)) = self.session.call() else { return None };
        let naughty = self.facts.naughty.as_deref().filter(|naughty| naughty.due)?;
        let immune = self.facts.immune.or(self.mail_facts.immune).is_some();
        if self.facts.relay || immune || is_special_account(recipient) {
            return None;
        }
        let verdict = naughty.reject_type.verdict((7, 1), &naughty.texts.join("\n"));
        let chain = Arc::clone(&self.chain);
        let denial = Denial { plugin: "naughty", verdict: &verdict };
        observe(&chain, self, Observed::Denied(denial), now);
        self.log.push(Event::Denied(self.id));
        Some(verdict)
    }

    pub(super) fn decided(
        &mut self,
        invocation: &Invocation,
        who: Option<usize>,
        verdict: &Verdict,
        now: Moment,
    ) {
        let (Some(who), chain) = (who, invocation.chain()) else { return };
        if verdict.refusal().is_some() {
            self.tell_denied(chain, who, verdict, now);
        } else if let (Hook::Queue, Verdict::Ok(text)) = (invocation.hook(), verdict) {
            self.tell_queued(chain, who, text.as_deref().unwrap_or("Queued!"), now);
        }
    }

    pub(super) fn tell_denied(
        &mut self,
        chain: &Arc<Chain>,
        who: usize,
        verdict: &Verdict,
        now: Moment,
    ) {
        let Some(loaded) = chain.plugins().get(who) else { return };
        let plugin = Arc::clone(&loaded.log_name);
        observe(chain, self, Observed::Denied(Denial { plugin: &plugin, verdict }), now);
        self.log.push(Event::Denied(self.id));
    }
}

/// As for one recipient too many (RFC 5321 4.5.3.1.10), which every sender knows what to make of.
fn goes_elsewhere() -> Verdict {
    Verdict::deny_soft((5, 3), "Too many recipients: this one needs a message of his own")
        .for_storage()
}

pub(super) enum Judged {
    Decided(Verdict),
    Waiting,
    Move(Lane),
}

/// The hooks that belong to a call, in the order they are run.
fn hooks_of(call: &Call) -> &'static [Hook] {
    match call {
        Call::Connect => &[Hook::Connect, Hook::Greet],
        Call::Helo(_) => &[Hook::Helo],
        Call::Auth(_) => &[Hook::Auth],
        Call::Address(..) => &[Hook::Address],
        Call::Mail(_) => &[Hook::Mail],
        Call::Rcpt(_) => &[Hook::Rcpt],
        Call::Data(_) => &[Hook::Data],
        Call::Message => &[Hook::Headers, Hook::Message, Hook::Seal, Hook::Queue],
        Call::Noop => &[Hook::Noop],
        Call::Vrfy(_) => &[Hook::Vrfy],
        Call::Help(_) => &[Hook::Help],
        Call::Quit => &[Hook::Quit],
        Call::Unrecognized(_) => &[Hook::Unrecognized],
    }
}
