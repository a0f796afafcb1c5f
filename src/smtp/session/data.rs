//! DATA and BDAT: from the command to the reply behind the last octet.
//!
//! Whatever is wrong with a message is said at its end, never in the middle: the rest is read and
//! thrown away first, so that no part of it can be taken for commands. A BDAT chunk is swallowed in
//! full even when it is refused (RFC 3030 section 2).

use super::{Call, Chunk, Env, Need, Session, Sink, State};
use crate::limits;
use crate::smtp::body::{Decoder, Framing};
use crate::smtp::reply::{self, Reply};
use crate::smtp::verdict::Verdict;

/// Less room than this is not used unless it takes all there is: crumbs cost more than they bring.
const FITS_MIN: usize = 512;

/// A message on its way in.
#[derive(Debug)]
pub struct Receiving {
    decoder: Decoder,
    spoiled: Option<&'static Reply>,
    chunks: u32,
}

impl Receiving {
    fn new(framing: Framing, normalize: bool) -> Receiving {
        Receiving { decoder: Decoder::new(framing, normalize), spoiled: None, chunks: 0 }
    }

    /// The first fault counts; the text is forgotten at once.
    pub(super) fn spoil(&mut self, reply: &'static Reply, sink: &mut dyn Sink) {
        if self.spoiled.is_none() {
            self.spoiled = Some(reply);
            sink.spoil();
        }
    }

    fn decode(&mut self, input: &[u8], env: &Env<'_>, sink: &mut dyn Sink) -> usize {
        let keep = self.spoiled.is_none();
        let used = self.decoder.decode(input, &mut |text| {
            if keep {
                sink.body(text);
            }
        });
        self.judge(env, sink);
        used
    }

    fn judge(&mut self, env: &Env<'_>, sink: &mut dyn Sink) {
        let databytes = env.rules.databytes;
        if databytes != 0 && self.decoder.size() > databytes {
            self.spoil(&reply::TOO_BIG, sink);
        } else if self.decoder.saw_bare_newline() && !env.normalize {
            self.spoil(&reply::BARE_NEWLINE, sink);
        } else if self.decoder.saw_long_line() {
            self.spoil(&reply::TEXT_LINE_TOO_LONG, sink);
        }
    }
}

impl Session {
    pub(super) fn check_data(&mut self, env: &Env<'_>, sink: &mut dyn Sink) {
        match self.ready_for_text() {
            Err(reply) => self.fail(reply, env, sink),
            Ok(()) if self.receiving.is_some() => self.fail(&reply::DATA_AFTER_BDAT, env, sink),
            Ok(()) => self.ask(Call::Data(None)),
        }
    }

    pub(super) fn check_bdat(&mut self, size: u64, last: bool, env: &Env<'_>, sink: &mut dyn Sink) {
        let chunk = Chunk { left: size, size, last };
        match self.ready_for_text() {
            Err(reply) => self.begin_chunk(chunk, Some(Box::new(reply.clone())), env, sink),
            Ok(()) if self.receiving.is_none() => self.ask(Call::Data(Some(chunk))),
            Ok(()) => self.begin_chunk(chunk, None, env, sink),
        }
    }

    fn ready_for_text(&self) -> Result<(), &'static Reply> {
        match self.transaction.as_deref() {
            None => Err(&reply::MAIL_FIRST),
            Some(transaction) if transaction.recipients.is_empty() => Err(&reply::RCPT_FIRST),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn data_judged(
        &mut self,
        chunk: Option<Chunk>,
        verdict: &Verdict,
        env: &Env<'_>,
        sink: &mut dyn Sink,
    ) {
        let Some(chunk) = chunk else {
            return self.dots_judged(verdict, env, sink);
        };
        if let Some(refusal) = verdict.refusal() {
            let code = if matches!(verdict, Verdict::Deny(_)) { 554 } else { 451 };
            if refusal.disconnect {
                return self.refuse(verdict, (554, 451), env, sink);
            }
            let reply = Reply::refusal(code, refusal, env.id);
            self.end_transaction(sink);
            return self.begin_chunk(chunk, Some(Box::new(reply)), env, sink);
        }
        self.receiving = Some(Box::new(Receiving::new(Framing::Counted, env.normalize)));
        self.begin_chunk(chunk, None, env, sink);
    }

    fn dots_judged(&mut self, verdict: &Verdict, env: &Env<'_>, sink: &mut dyn Sink) {
        if verdict.refusal().is_some() {
            self.refuse(verdict, (554, 451), env, sink);
            return self.end_transaction(sink);
        }
        self.receiving = Some(Box::new(Receiving::new(Framing::Dots, env.normalize)));
        self.state = State::Data;
        sink.send(&reply::GO_AHEAD);
    }

    fn begin_chunk(
        &mut self,
        chunk: Chunk,
        refused: Option<Box<Reply>>,
        env: &Env<'_>,
        sink: &mut dyn Sink,
    ) {
        self.state = State::Chunk(chunk, refused);
        if let Some(receiving) = &mut self.receiving {
            receiving.chunks += 1;
            if receiving.chunks > limits::CHUNKS_MAX {
                receiving.spoil(&reply::TOO_MANY_CHUNKS, sink);
            }
        }
        if chunk.left == 0 {
            self.end_chunk(env, sink);
        }
    }

    pub(super) fn feed_data(&mut self, env: &Env<'_>, rest: &[u8], sink: &mut dyn Sink) -> usize {
        let Some(piece) = self.that_fits(rest, sink) else { return 0 };
        let Some(receiving) = &mut self.receiving else { return 0 };
        let used = receiving.decode(piece, env, sink);
        if receiving.decoder.is_done() {
            self.message_complete(env, sink);
        }
        used
    }

    pub(super) fn feed_chunk(&mut self, env: &Env<'_>, rest: &[u8], sink: &mut dyn Sink) -> usize {
        let Some(piece) = self.that_fits(rest, sink) else { return 0 };
        let State::Chunk(chunk, refused) = &mut self.state else { return 0 };
        let take = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(piece.len());
        let piece = piece.get(..take).unwrap_or_default();
        if let (None, Some(receiving)) = (&refused, &mut self.receiving) {
            receiving.decode(piece, env, sink);
        }
        chunk.left -= take as u64;
        if chunk.left == 0 {
            self.end_chunk(env, sink);
        }
        take
    }

    /// The part of the input whose text is sure to fit; None, and a hold, where none does.
    fn that_fits<'i>(&mut self, rest: &'i [u8], sink: &dyn Sink) -> Option<&'i [u8]> {
        let thrown_away = self.receiving.as_ref().is_none_or(|it| it.spoiled.is_some());
        if thrown_away {
            return Some(rest);
        }
        // A repaired line end is twice as long as it came, and a held CR adds its own.
        let fits = (sink.room() / 2).saturating_sub(1);
        if fits < rest.len().min(FITS_MIN) {
            self.held = true;
            debug_assert_eq!(self.need(), Need::Hold);
            return None;
        }
        Some(rest.get(..fits).unwrap_or(rest))
    }

    fn end_chunk(&mut self, env: &Env<'_>, sink: &mut dyn Sink) {
        let State::Chunk(chunk, refused) = std::mem::replace(&mut self.state, State::Ready) else {
            return;
        };
        if let Some(reply) = refused {
            return self.fail(&reply, env, sink);
        }
        if chunk.last {
            if let Some(receiving) = &mut self.receiving {
                receiving.decoder.finish(&mut |text| sink.body(text));
                receiving.judge(env, sink);
            }
            return self.message_complete(env, sink);
        }
        match self.receiving.as_ref().and_then(|receiving| receiving.spoiled) {
            Some(reply) => self.message_refused(reply, env, sink),
            None => {
                let text = format!("{} octets received", chunk.size);
                sink.send(&Reply::new(250, Some((0, 0)), text));
            }
        }
    }

    fn message_complete(&mut self, env: &Env<'_>, sink: &mut dyn Sink) {
        self.state = State::Ready;
        match self.receiving.as_ref().and_then(|receiving| receiving.spoiled) {
            Some(reply) => self.message_refused(reply, env, sink),
            None => self.ask(Call::Message),
        }
    }

    fn message_refused(&mut self, reply: &Reply, env: &Env<'_>, sink: &mut dyn Sink) {
        self.end_transaction(sink);
        sink.send(reply);
        if reply.is_permanent() {
            self.count_error(env, sink);
        }
    }

    /// The transaction is over before the reply leaves, so that nothing of it can be used again.
    pub(super) fn message_judged(&mut self, verdict: &Verdict, env: &Env<'_>, sink: &mut dyn Sink) {
        self.end_transaction(sink);
        match verdict {
            Verdict::Ok(text) => {
                self.errors = 0;
                self.junk = 0;
                let text = text.as_deref().unwrap_or("Queued").to_string();
                sink.send(&Reply::new(250, Some((0, 0)), text));
            }
            Verdict::Declined | Verdict::Unhooked => sink.send(&reply::NOT_QUEUED),
            Verdict::Deny(refusal) | Verdict::DenySoft(refusal) => {
                let hard = if is_authentication(refusal.status) { 550 } else { 554 };
                self.refuse(verdict, (hard, 451), env, sink);
            }
        }
    }
}

/// The sender's authentication failed: RFC 7372 gives these statuses with 550, and filters of bounces
/// know them so.
fn is_authentication(status: (u16, u16)) -> bool {
    matches!(status, (7, 20..=26))
}
