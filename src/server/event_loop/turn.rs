//! One connection's turn: a bounded amount of reading, obeying and replying.
//!
//! Edges of readiness are remembered in the slot, since a turn may end with input still unread.
//! Replies leave in one write a turn, so that the answers to pipelined commands share a segment.

use super::{EventLoop, Slot, Waiting};
use crate::limits;
use crate::plugin::Question;
use crate::plugin::question::{Answer, Lane};
use crate::plugin::visit::{Visit, Want};
use crate::server::clock;
use crate::server::slots::Taken;
use crate::smtp::reply;
use crate::store::READ_TIME_MAX;
use std::net::Shutdown;
use std::sync::Arc;

/// How a turn ended.
pub(super) enum End {
    /// Put the slot back; its deadline is set.
    Keep,
    /// The same, and it wants another turn.
    Again,
    /// The connection is over.
    Close,
}

impl EventLoop {
    /// Gives a slot its turn, and puts it back or closes it.
    pub(super) fn turn(&mut self, mut slot: Box<Slot>) {
        slot.queued = false;
        if slot.waiting == Waiting::Proxy {
            return self.hear_proxy(slot);
        }
        // Why a handshake came to nothing is told first.
        if slot.gone && slot.visit.is_some() && slot.waiting != Waiting::Handshake {
            return self.close(slot);
        }
        if slot.has_output() {
            slot.flush();
        }
        let end = match slot.waiting {
            Waiting::Away => End::Keep,
            Waiting::Closing => self.finish_closing(&mut slot),
            Waiting::Linger => self.linger(&mut slot),
            Waiting::Pause | Waiting::Written => End::Keep,
            Waiting::Answers => self.listen(&mut slot),
            Waiting::Proxy => End::Keep,
            Waiting::Handshake => self.handshake(&mut slot),
            Waiting::Turn | Waiting::Input => self.go_on(&mut slot),
        };
        self.end_turn(slot, &end);
    }

    pub(super) fn end_turn(&mut self, mut slot: Box<Slot>, end: &End) {
        if matches!(end, End::Close) || (slot.gone && slot.visit.is_some()) {
            return self.close(slot);
        }
        let id = slot.id;
        let again = matches!(end, End::Again);
        slot.queued = again;
        self.slots.put_back(slot);
        if again {
            self.ready.push_back(id);
        }
        self.set_timer(id);
    }

    /// A deadline has passed.
    pub(super) fn expired(&mut self, mut slot: Box<Slot>) {
        let waiting = slot.waiting;
        let end = match waiting {
            Waiting::Away | Waiting::Written => {
                // The job has its own deadline; look again later.
                slot.deadline = self.now.mono + limits::SESSION_TIME_MAX;
                End::Keep
            }
            Waiting::Proxy => {
                self.proxy_failed(&slot, "no PROXY header came in time");
                End::Close
            }
            Waiting::Handshake => self.handshake_expired(&mut slot),
            Waiting::Linger => End::Close,
            Waiting::Closing => End::Close,
            Waiting::Answers => self.answers_due(&mut slot),
            Waiting::Pause => {
                if let Some(visit) = &mut slot.visit {
                    visit.unpause();
                }
                self.go_on(&mut slot)
            }
            Waiting::Input | Waiting::Turn => self.timed_out(&mut slot),
        };
        self.end_turn(slot, &end);
    }

    /// Patience begins anew.
    pub(super) fn note_patience(&mut self, slot: &mut Slot) {
        slot.deadline = self.now.mono + self.site.config.command_timeout;
    }

    fn timed_out(&mut self, slot: &mut Slot) -> End {
        let Some(visit) = &mut slot.visit else { return End::Close };
        let idle_limit = visit.site().config.data_timeout;
        let slow = slot.text.is_some_and(|(since, octets)| {
            self.now.mono >= limits::slowest_text(since, octets, idle_limit)
        });
        let reply = if slow { &reply::TOO_SLOW } else { &reply::TIMED_OUT };
        visit.bye(reply, &mut slot.out);
        self.go_on(slot)
    }

    /// Goes on with the visit until it has to wait.
    pub(super) fn go_on(&mut self, slot: &mut Slot) -> End {
        let Some(mut visit) = slot.visit.take() else { return End::Keep };
        let mut buffer = std::mem::take(&mut self.buffer);
        let end = self.pump(slot, &mut visit, &mut buffer);
        self.buffer = buffer;
        self.post_log(&mut visit);
        self.note_logins(&mut visit);
        self.note_history(slot, &visit);
        let (held, before) = (visit.text_in_memory(), slot.text_in_memory);
        self.text_in_memory = (self.text_in_memory + held).saturating_sub(before);
        slot.text_in_memory = held;
        let (held, before) = (visit.answers_in_memory(), slot.answers_in_memory);
        self.answers_in_memory = (self.answers_in_memory + held).saturating_sub(before);
        slot.answers_in_memory = held;
        match end {
            Next::Stay(end) => {
                slot.visit = Some(visit);
                slot.flush();
                if matches!(end, End::Close) { self.finish_closing(slot) } else { end }
            }
            Next::StartTls => {
                slot.visit = Some(visit);
                slot.pending = Vec::new();
                self.start_tls(slot, b"")
            }
            Next::Introduced => self.introduced(slot, visit),
            Next::Leave(lane) => {
                // Replies so far go out before the client has to wait for a thread.
                slot.flush();
                self.send_away(slot, visit, lane)
            }
        }
    }

    /// What karma has found out counts for the client's further connections.
    fn note_history(&mut self, slot: &mut Slot, visit: &Visit) {
        let history = visit.karma_history();
        if history != slot.karma_history {
            slot.karma_history = history;
            if let Some(client) = self.by_ip.get_mut(&slot.site_ip) {
                client.karma_history = history;
            }
        }
    }

    fn pump(&mut self, slot: &mut Slot, visit: &mut Visit, buffer: &mut [u8]) -> Next {
        visit.set_memory_tight(self.is_memory_tight());
        let mut read = 0;
        let mut fresh: Option<usize> = None;
        loop {
            let before = slot.out.len();
            let was_receiving = visit.is_receiving();
            let want = match fresh.take() {
                Some(count) => {
                    let input = buffer.get(..count).unwrap_or_default();
                    let (used, want) = visit.pump(input, &mut slot.out, &self.around());
                    slot.pending.extend_from_slice(input.get(used..).unwrap_or_default());
                    want
                }
                None => {
                    let (used, want) = visit.pump(&slot.pending, &mut slot.out, &self.around());
                    consume(&mut slot.pending, used);
                    want
                }
            };
            // Also where nothing waits: some questions are asked ahead of time.
            let answered = self.ask(slot, visit);
            if let Some(waste) = visit.take_waste() {
                self.pools.throw_away(slot.id, waste);
            }
            if let Some(block) = visit.take_block() {
                self.pools.write(slot.id, block);
            }
            let progress = slot.out.len() != before || was_receiving != visit.is_receiving();
            match want {
                Want::Input => match self.take_input(slot, visit, buffer, (progress, read)) {
                    Ok(count) => {
                        read += count;
                        fresh = Some(count);
                    }
                    Err(next) => return next,
                },
                Want::Turn => {
                    self.note_progress(slot, visit, true);
                    slot.flush();
                    if slot.is_stuffed() {
                        return self.wait_for(slot, Waiting::Input);
                    }
                    return self.wait_again(slot);
                }
                Want::Answers => {
                    if answered || self.hears_talk(slot, visit) {
                        continue;
                    }
                    let until = visit.deadline().unwrap_or(self.now.mono);
                    slot.deadline =
                        EventLoop::first_due(&slot.due).map_or(until, |due| due.min(until));
                    slot.waiting = Waiting::Answers;
                    return Next::Stay(End::Keep);
                }
                Want::Written => {
                    slot.deadline = self.now.mono + limits::SESSION_TIME_MAX;
                    slot.waiting = Waiting::Written;
                    return Next::Stay(End::Keep);
                }
                Want::Pause(pause) => {
                    slot.deadline = self.now.mono + pause;
                    slot.waiting = Waiting::Pause;
                    return Next::Stay(End::Keep);
                }
                Want::Move(lane) => return Next::Leave(lane),
                Want::StartTls => return Next::StartTls,
                Want::Introduced => return Next::Introduced,
                Want::Close | Want::Home => return Next::Stay(End::Close),
            }
        }
    }

    /// Reads what the client sent, or says why not.
    fn take_input(
        &mut self,
        slot: &mut Slot,
        visit: &Visit,
        buffer: &mut [u8],
        (progress, read): (bool, usize),
    ) -> Result<usize, Next> {
        self.note_progress(slot, visit, progress);
        if slot.is_stuffed() || slot.gone || !slot.readable {
            return Err(self.wait_for(slot, Waiting::Input));
        }
        if read >= limits::TURN_OCTETS {
            return Err(self.wait_again(slot));
        }
        // What could not be taken would have to be kept beside the full blocks.
        let most = visit.appetite().clamp(4_096, buffer.len());
        match slot.read(buffer.get_mut(..most).unwrap_or_default()) {
            Taken::Octets(count) => {
                if let Some((_, octets)) = &mut slot.text {
                    *octets += count as u64;
                }
                Ok(count)
            }
            Taken::Nothing => Err(self.wait_for(slot, Waiting::Input)),
            Taken::End => Err(Next::Stay(End::Close)),
            Taken::Broken(_) => {
                slot.gone = true;
                Err(Next::Stay(End::Close))
            }
        }
    }

    fn wait_for(&mut self, slot: &mut Slot, waiting: Waiting) -> Next {
        slot.waiting = waiting;
        Next::Stay(End::Keep)
    }

    fn wait_again(&mut self, slot: &mut Slot) -> Next {
        slot.waiting = Waiting::Turn;
        Next::Stay(End::Again)
    }

    /// Sets the deadline of a client that is waited for. In the dialogue only a whole command moves
    /// it; message text has an idle limit and has to keep a minimal pace.
    fn note_progress(&mut self, slot: &mut Slot, visit: &Visit, progress: bool) {
        let config = &visit.site().config;
        let now = self.now.mono;
        if visit.is_receiving() {
            let (since, octets) = *slot.text.get_or_insert((now, 0));
            let slowest = limits::slowest_text(since, octets, config.data_timeout);
            slot.deadline = slowest.min(now + config.data_timeout);
            return;
        }
        // Always taken: what is left of a message would give the next timeout the wrong words.
        let text_ended = slot.text.take().is_some();
        if progress || text_ended || slot.waiting != Waiting::Input {
            let patience = self.patience_with(config.command_timeout);
            let longest = slot.connected + limits::SESSION_TIME_MAX;
            slot.deadline = (now + patience).min(longest.max(now));
        }
    }

    /// Sends the visit's questions. True if some were answered at once.
    fn ask(&mut self, slot: &mut Slot, visit: &mut Visit) -> bool {
        let mut answered = false;
        for question in visit.take_questions() {
            match question {
                Question::Quiet(duration) => {
                    slot.due.push((question, self.now.mono + duration));
                }
                Question::Dns(ref name) => {
                    if let Some(answer) = self.ask_resolver(slot.id, name) {
                        answered |= visit.answer(&question, &answer);
                    }
                }
                Question::Store(table, ref key) => {
                    if self.ask_store(slot.id, table, key) {
                        slot.due.push((question, self.now.mono + READ_TIME_MAX));
                    } else {
                        answered |= visit.answer(&question, &Arc::new(Answer::TempFail));
                    }
                }
                // A lane is not asked for but gone to.
                Question::Lane(_) => {
                    answered |= visit.answer(&question, &Arc::new(Answer::TempFail));
                }
            }
        }
        answered
    }

    /// A client that should keep quiet, and does not.
    fn hears_talk(&mut self, slot: &mut Slot, visit: &mut Visit) -> bool {
        if !slot.readable || !visit.listens_for_early_talk() {
            return false;
        }
        match slot.has_talked() {
            Taken::Octets(_) => {
                slot.due.retain(|(question, _)| !matches!(question, Question::Quiet(_)));
                visit.talked()
            }
            Taken::Nothing => false,
            Taken::End | Taken::Broken(_) => {
                slot.gone = true;
                false
            }
        }
    }

    /// Input came while answers are waited for.
    fn listen(&mut self, slot: &mut Slot) -> End {
        let Some(mut visit) = slot.visit.take() else { return End::Keep };
        let talked = self.hears_talk(slot, &mut visit);
        slot.visit = Some(visit);
        if talked { self.go_on(slot) } else { End::Keep }
    }

    /// Silence has lasted, the store was waited for long enough, or a hook's time is up.
    fn answers_due(&mut self, slot: &mut Slot) -> End {
        let now = self.now.mono;
        if let Some(visit) = &mut slot.visit {
            slot.due.retain(|(question, at)| {
                let due = *at <= now;
                if due {
                    let is_quiet = matches!(question, Question::Quiet(_));
                    let answer = if is_quiet { Answer::Quiet } else { Answer::TempFail };
                    visit.answer(question, &Arc::new(answer));
                }
                !due
            });
        }
        self.go_on(slot)
    }

    fn send_away(&mut self, slot: &mut Slot, visit: Box<Visit>, lane: Lane) -> End {
        match self.pools.send(slot.id, visit, lane) {
            Ok(()) => {
                slot.waiting = Waiting::Away;
                slot.deadline = self.now.mono + limits::SESSION_TIME_MAX;
                End::Keep
            }
            Err(mut visit) => {
                visit.bye(&reply::OVERLOADED, &mut slot.out);
                slot.visit = Some(visit);
                slot.flush();
                self.finish_closing(slot)
            }
        }
    }

    /// Everything is said: close, or read off what the client still sends, for a close with unread
    /// input resets the connection and the client may never see the last reply.
    pub(super) fn finish_closing(&mut self, slot: &mut Slot) -> End {
        slot.waiting = Waiting::Closing;
        if slot.gone {
            return End::Close;
        }
        if !slot.has_output() && !std::mem::replace(&mut slot.said_end, true) {
            if let Some(tls) = &mut slot.tls {
                tls.close();
            }
            slot.flush();
        }
        if slot.has_output() {
            // Who does not read its replies must not hold up a restart either.
            let patience = match self.stopping {
                None => self.site.config.command_timeout.min(limits::STRESS_TIMEOUT),
                Some(_) => limits::LINGER_TIME_MAX,
            };
            slot.deadline = self.now.mono + patience;
            return End::Keep;
        }
        if slot.pending.is_empty() && !slot.has_unread() {
            return End::Close;
        }
        if slot.stream.shutdown(Shutdown::Write).is_err() {
            return End::Close;
        }
        slot.waiting = Waiting::Linger;
        slot.deadline = clock::monotonic() + limits::LINGER_TIME_MAX;
        self.linger(slot)
    }

    fn linger(&mut self, slot: &mut Slot) -> End {
        slot.pending = Vec::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        let end = loop {
            match slot.read_plain(&mut buffer) {
                Taken::Octets(count) => {
                    slot.lingered += count;
                    if slot.lingered > limits::LINGER_OCTETS_MAX {
                        break End::Close;
                    }
                    slot.readable = true;
                }
                Taken::Nothing => break End::Keep,
                Taken::End | Taken::Broken(_) => break End::Close,
            }
        };
        self.buffer = buffer;
        end
    }
}

enum Next {
    Stay(End),
    Leave(Lane),
    StartTls,
    Introduced,
}

/// Drops what was used; an emptied buffer gives its memory back.
fn consume(pending: &mut Vec<u8>, used: usize) {
    if used >= pending.len() {
        *pending = Vec::new();
    } else {
        pending.drain(..used);
    }
}
