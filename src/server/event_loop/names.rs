//! Questions to the resolver: the sessions' own, those of hooks on a lane, and the name of each client.
//!
//! The name is asked for when a client is let in and delays nothing: whoever needs it before it is
//! there finds `Unknown`. It is shown in logs and in Received, and never trusted.

use super::{EventLoop, Slot, probes};
use crate::dns;
use crate::limits;
use crate::plugin::Question;
use crate::plugin::question::Answer;
use crate::plugin::visit::Visit;
use crate::server::errand::{Done, SlotId};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// Askers with this bit are hooks that wait on a lane, the others are slots.
const ON_LANE: u64 = 1 << 63;

/// A hook on a lane that waits for one of its answers.
pub(super) struct LaneQuestion {
    pub(super) index: usize,
    pub(super) sender: Sender<(usize, Arc<Answer>)>,
}

impl EventLoop {
    /// Asks for the client's name.
    pub(super) fn ask_name(&mut self, slot: &mut Slot, ip: IpAddr) {
        let question = dns::Question::new(&dns::reverse_name(ip), dns::Kind::Ptr);
        let answer = self.resolver.ask(asker_of(slot.id), &question, self.now.mono);
        slot.name_asked = Some(question);
        if let (Some(answer), Some(visit)) = (answer, &mut slot.visit) {
            slot.name_asked = None;
            take_name(visit, &answer);
        }
    }

    /// Asks one of a session's questions; an answer that is known already comes back.
    pub(super) fn ask_resolver(
        &mut self,
        id: SlotId,
        question: &dns::Question,
    ) -> Option<Arc<Answer>> {
        self.resolver.ask(asker_of(id), question, self.now.mono)
    }

    /// Asks the store; the answer comes home, if it comes in time.
    pub(super) fn ask_store(&mut self, id: SlotId, table: &'static str, key: &str) -> bool {
        let Some(store) = &self.store else { return false };
        let home = Arc::clone(&self.home);
        let question = Question::Store(table, key.into());
        store.read(table, key, move |found| {
            let answer = found.map_or(Answer::TempFail, Answer::Stored);
            home.post(Done::Answer(id, question, Arc::new(answer)));
        });
        true
    }

    /// Questions of a hook on a lane.
    pub(super) fn ask_for_lane(
        &mut self,
        questions: &[Question],
        sender: &Sender<(usize, Arc<Answer>)>,
    ) {
        for (index, question) in questions.iter().enumerate() {
            let Question::Dns(question) = question else {
                // Only names can be asked for from there. The other end may have gone.
                let _ = sender.send((index, Arc::new(Answer::TempFail)));
                continue;
            };
            self.lane_counter += 1;
            let asker = ON_LANE | self.lane_counter;
            match self.resolver.ask(asker, question, self.now.mono) {
                Some(answer) => {
                    let _ = sender.send((index, answer));
                }
                None => {
                    let waits = LaneQuestion { index, sender: sender.clone() };
                    self.lane_questions.insert(asker, waits);
                }
            }
        }
    }

    /// Hands out what the resolver has found.
    pub(super) fn deliver_answers(&mut self) {
        self.resolver.tick(self.now.mono);
        self.say_of_resolver();
        for (asker, question, answer) in self.resolver.take_answers() {
            if asker & ON_LANE != 0 {
                if let Some(waits) = self.lane_questions.remove(&asker) {
                    // The hook may have given up by now.
                    let _ = waits.sender.send((waits.index, answer));
                }
            } else if asker & probes::PROBE != 0 {
                self.probed(asker, &answer);
            } else {
                self.answer_slot(slot_of(asker), question, answer);
            }
        }
        // What the answers of probes led to, too.
        self.say_of_resolver();
    }

    fn say_of_resolver(&mut self) {
        for (level, text) in self.resolver.take_lines(self.now.mono) {
            self.say(level, text);
        }
    }

    pub(super) fn answer_slot(&mut self, id: SlotId, question: Question, answer: Arc<Answer>) {
        let answer = affordable(answer, self.answers_in_memory);
        let Some(slot) = self.slots.find(id) else { return };
        slot.due.retain(|(known, _)| *known != question);
        let Some(visit) = &mut slot.visit else {
            slot.late_answers.push((question, answer));
            return;
        };
        let is_name =
            matches!((&question, &slot.name_asked), (Question::Dns(a), Some(b)) if a == b);
        if is_name {
            slot.name_asked = None;
            take_name(visit, &answer);
        }
        if visit.answer(&question, &answer) {
            slot.waiting = super::Waiting::Turn;
            self.make_ready(id);
        }
    }

    /// Answers that came while the visit was away.
    pub(super) fn catch_up(&mut self, id: SlotId) {
        let Some(slot) = self.slots.find(id) else { return };
        for (question, answer) in std::mem::take(&mut slot.late_answers) {
            self.answer_slot(id, question, answer);
        }
    }
}

/// The answer itself, or "nobody knows" where the answers of all sessions hold too much memory. What
/// weighs nothing is always affordable.
fn affordable(answer: Arc<Answer>, held: usize) -> Arc<Answer> {
    let weight = answer.weight();
    if weight > 0 && held + weight > limits::ANSWERS_IN_MEMORY_MAX {
        Arc::new(Answer::TempFail)
    } else {
        answer
    }
}

fn take_name(visit: &mut Visit, answer: &Answer) {
    let Answer::Dns(answer) = answer else { return };
    let name = answer.records().iter().find_map(|record| match record {
        dns::Record::Name(name) => Some(name),
        dns::Record::Address(_) | dns::Record::Mx(..) | dns::Record::Text(_) => None,
    });
    if let Some(name) = name {
        visit.set_name(name);
    }
}

pub(super) fn asker_of(id: SlotId) -> u64 {
    // Places are reused, so an index stays far below 2^31.
    (id.index as u64) << 32 | u64::from(id.generation)
}

fn slot_of(asker: u64) -> SlotId {
    let index = usize::try_from(asker >> 32).unwrap_or(usize::MAX);
    SlotId { index, generation: (asker & u64::from(u32::MAX)) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sessions together hold a bounded amount of answers.
    #[test]
    fn answers_that_cannot_be_afforded_are_not_kept() {
        let text = dns::Record::Text(vec![b'x'; 1_000].into());
        let found = Arc::new(Answer::Dns(dns::Answer::Found(Arc::new([text]))));
        let nothing = Arc::new(Answer::Dns(dns::Answer::NxDomain));
        let most = limits::ANSWERS_IN_MEMORY_MAX;
        for (answer, held, kept) in [
            (&found, 0, true),
            (&found, most - 10_000, true),
            (&found, most - 1_000, false),
            (&found, most, false),
            (&nothing, most, true),
        ] {
            let given = affordable(Arc::clone(answer), held);
            assert_eq!(Arc::ptr_eq(&given, answer), kept, "{held}");
            assert!(kept || *given == Answer::TempFail);
        }
    }

    #[test]
    fn askers_are_slots_and_back() {
        for (index, generation) in [(0, 0), (7, 9), (20_000, u32::MAX)] {
            let id = SlotId { index, generation };
            assert_eq!(slot_of(asker_of(id)), id);
            assert_eq!(asker_of(id) & (ON_LANE | probes::PROBE), 0);
        }
    }
}
