//! What happens to a question on its way: it is sent, answered, sent again, given up.

use super::flight::{Flight, Stream, Try};
use super::servers::{Edns, TRIES_MAX, choose};
use super::sockets::Number;
use super::streams::Received;
use super::{Output, Resolver, TRY_TIME_MAX, Weight, list_error, local};
use crate::dns::wire::{self, ALIASES_MAX, Bad, Content, Echo, Found, Head, Status, WireName};
use crate::dns::{Answer, Question, lists};
use std::net::SocketAddr;
use std::time::Duration;

/// Response code NOTIMP, with which some old servers answer EDNS.
const NOT_IMPLEMENTED: u8 = 4;

impl Resolver {
    /// A datagram came to a socket.
    pub fn datagram(&mut self, key: u16, from: SocketAddr, bytes: &[u8], now: Duration) {
        let Some(server) = self.sockets.server(key) else { return };
        let from_server = self.servers.get(server).is_some_and(|it| it.address == from);
        let head = if from_server { wire::head(bytes) } else { None };
        let Some(head) = head else { return self.forged(key, now) };
        match self.sockets.look_up(key, head.id) {
            Number::Of(place) => self.reply(place, key, head, bytes, now),
            // A duplicate, or an answer to a question that was settled otherwise meanwhile.
            Number::Done => {}
            Number::Unknown => self.forged(key, now),
        }
    }

    /// A socket could not be opened, or the system says that nobody listens at its other end.
    pub fn udp_failed(&mut self, key: u16, now: Duration) {
        let Some(server) = self.sockets.server(key) else { return };
        for place in self.sockets.waiting(key) {
            let Some(flight) = self.flights.at(place) else { continue };
            let Some(at) = flight.tries.iter().position(|it| it.socket == key) else { continue };
            let (current, sent) = (is_current(flight, at), flight.sent);
            self.drop_try(place, at);
            if current {
                let text = self.servers.get_mut(server).and_then(|it| it.silent(sent, now));
                self.log_if(Weight::Warning, text);
                self.go_on(place, now);
            }
        }
    }

    /// Octets came by TCP.
    pub fn tcp_data(&mut self, key: u16, bytes: &[u8], now: Duration) {
        let Some(stream) = self.streams.at(key) else { return };
        let (place, number) = (stream.flight, stream.number);
        let reply = match stream.receive(bytes) {
            Received::Part => return,
            Received::TooLong => None,
            Received::Whole(reply) => Some(reply),
        };
        let asked = std::mem::take(&mut stream.asked);
        self.close_stream(place, now);
        let Some(flight) = self.flights.at(place) else { return };
        let (name, kind, server) = (flight.name.clone(), flight.question.kind, flight.server);
        // Nobody forges this way, so the case is of no importance.
        let content = reply.and_then(|reply| {
            let head = wire::head(&reply).filter(|head| head.id == number)?;
            let fits = matches!(wire::echo(&reply, &asked), Echo::Same | Echo::OtherCase);
            let whole = fits && head.status == Status::Answered && !head.truncated;
            whole.then(|| wire::read(&reply, &name, kind).ok()).flatten()
        });
        match content {
            Some(content) => {
                self.heard = now;
                let text = self.servers.get_mut(server).and_then(|it| it.heard(now));
                self.log_if(Weight::Notice, text);
                self.settle(place, content, now);
            }
            None => self.go_on(place, now),
        }
    }

    /// A connection could not be made, or has ended.
    pub fn tcp_closed(&mut self, key: u16, now: Duration) {
        let Some(place) = self.streams.at(key).map(|stream| stream.flight) else { return };
        self.close_stream(place, now);
        self.go_on(place, now);
    }

    /// Starts to ask for a question's present name, at the first server again.
    pub(super) fn begin(&mut self, place: usize, now: Duration) {
        let count = self.servers.len();
        if let Some(flight) = self.flights.at(place) {
            flight.made = vec![0; count];
        }
        self.go_on(place, now);
    }

    /// Takes back all that was sent for a question.
    pub(super) fn withdraw(&mut self, place: usize) {
        while self.drop_try(place, 0) {}
        self.drop_stream(place);
    }

    /// A question's timer has run out.
    pub(super) fn due(&mut self, place: usize, now: Duration) {
        let Some(flight) = self.flights.at(place) else { return };
        let (late, alone) = (flight.deadline <= now, flight.askers.is_empty());
        let (server, sent) = (flight.server, flight.sent);
        let queued = flight.stream == Stream::Waiting;
        if !queued {
            let text = self.servers.get_mut(server).and_then(|it| it.silent(sent, now));
            self.log_if(Weight::Warning, text);
        }
        self.close_stream(place, now);
        if late || alone { self.fail(place, now) } else { self.go_on(place, now) }
    }

    /// Asks the next server, or gives up.
    fn go_on(&mut self, place: usize, now: Duration) {
        let Some(flight) = self.flights.at(place) else { return };
        if flight.deadline <= now {
            return self.fail(place, now);
        }
        let Some(server) = choose(&self.servers, &flight.made, now) else {
            return self.fail(place, now);
        };
        let tries = flight.made.get(server).copied().unwrap_or_default();
        if let Some(made) = flight.made.get_mut(server) {
            *made += 1;
        }
        let edns = self.servers.get(server).map_or(Edns::Off, |it| it.edns(tries));
        self.send(place, server, edns, now);
    }

    /// Sends a question by UDP.
    fn send(&mut self, place: usize, server: usize, edns: Edns, now: Duration) {
        if self.try_send(place, server, edns, now).is_none() {
            self.fail(place, now);
        }
    }

    /// The same; None if there is no randomness left.
    fn try_send(&mut self, place: usize, server: usize, edns: Edns, now: Duration) -> Option<()> {
        let (to, mix) = self.servers.get(server).map(|it| (it.address, it.mixes_case()))?;
        let open = |key, port| Output::OpenUdp { key, server: to, port };
        let random = &mut *self.random;
        let (key, number) = self.sockets.take(server, place, random, open, &mut self.out)?;
        let flight = self.flights.at(place)?;
        // From here on the socket has to learn how it ends.
        let asked = Box::default();
        flight.tries.push(Try { socket: key, number, server, edns, asked });
        (flight.server, flight.sent) = (server, now);
        let mut bytes =
            wire::query(number, &flight.name, flight.question.kind, edns == Edns::Used)?;
        if mix {
            let (mut bits, mut left) = (0, 0);
            wire::mix_case(&mut bytes, &flight.name, || {
                if left == 0 {
                    (bits, left) = (random.u64().unwrap_or_default(), 64);
                }
                left -= 1;
                bits >> left & 1 == 1
            });
        }
        if let Some(sent) = flight.tries.last_mut() {
            sent.asked = wire::question_of(&bytes, &flight.name).into();
        }
        self.out.push_back(Output::Send { key, to, bytes });
        self.counts.sent += 1;
        self.flights.set_timer(place, now + TRY_TIME_MAX);
        Some(())
    }

    /// A reply whose number and socket fit.
    fn reply(&mut self, place: usize, key: u16, head: Head, bytes: &[u8], now: Duration) {
        let Some(flight) = self.flights.at(place) else { return };
        let fits = |it: &Try| it.socket == key && it.number == head.id;
        let Some(at) = flight.tries.iter().position(fits) else { return };
        let Some(sent) = flight.tries.get(at) else { return };
        let (server, edns) = (sent.server, sent.edns);
        match wire::echo(bytes, &sent.asked) {
            Echo::Same | Echo::Absent => {}
            Echo::OtherCase if !sent.asked.iter().any(u8::is_ascii_uppercase) => {}
            Echo::OtherCase => {
                let text = self.servers.get_mut(server).and_then(super::Server::changed_case);
                self.log_if(Weight::Warning, text);
                self.forged(key, now);
                return self.ask_by_tcp(place, server, now);
            }
            Echo::Other => return self.forged(key, now),
        }
        self.heard = now;
        let refuses_edns = match head.status {
            Status::NotUnderstood | Status::Failed(NOT_IMPLEMENTED) => edns == Edns::Used,
            Status::Failed(_) | Status::Answered => false,
        };
        if refuses_edns {
            return self.without_edns(place, at, now);
        }
        if head.status != Status::Answered {
            return self.useless(place, at, now);
        }
        let text = self.servers.get_mut(server).and_then(|it| it.answered(edns, now));
        self.log_if(Weight::Notice, text);
        if head.truncated {
            return self.ask_by_tcp(place, server, now);
        }
        let Some(flight) = self.flights.at(place) else { return };
        match wire::read(bytes, &flight.name, flight.question.kind) {
            Ok(content) => self.settle(place, content, now),
            Err(Bad::Version) if edns == Edns::Used => self.without_edns(place, at, now),
            Err(Bad::Version | Bad::Malformed | Bad::TooMuch | Bad::Referral) => {
                self.useless(place, at, now);
            }
        }
    }

    /// The server does not understand EDNS: the same again without.
    fn without_edns(&mut self, place: usize, at: usize, now: Duration) {
        let Some(flight) = self.flights.at(place) else { return };
        let current = is_current(flight, at);
        let server = flight.server;
        self.drop_try(place, at);
        if current {
            self.send(place, server, Edns::AfterError, now);
        }
    }

    /// A server answered with an error, or with something that is none: for this question it is
    /// not asked again.
    fn useless(&mut self, place: usize, at: usize, now: Duration) {
        let Some(flight) = self.flights.at(place) else { return };
        let current = is_current(flight, at);
        let server = flight.tries.get(at).map_or(flight.server, |it| it.server);
        if let Some(made) = flight.made.get_mut(server) {
            *made = TRIES_MAX;
        }
        self.drop_try(place, at);
        let text = self.servers.get_mut(server).and_then(|it| it.heard(now));
        self.log_if(Weight::Notice, text);
        if current {
            self.go_on(place, now);
        }
    }

    /// Asks the same server by TCP; what still comes by UDP counts as well.
    fn ask_by_tcp(&mut self, place: usize, server: usize, now: Duration) {
        let Some(flight) = self.flights.at(place) else { return };
        if flight.stream != Stream::None {
            return;
        }
        flight.server = server;
        flight.stream = Stream::Waiting;
        let serial = flight.serial;
        self.flights.set_timer(place, now + TRY_TIME_MAX);
        self.streams.queue(place, serial);
        self.fill_streams(now);
    }

    /// Opens connections for questions that wait for one, as long as there is room.
    fn fill_streams(&mut self, now: Duration) {
        while let Some((place, serial)) = self.streams.next() {
            let Some(flight) = self.flights.at(place) else { continue };
            if flight.serial != serial || flight.stream != Stream::Waiting {
                continue;
            }
            let to = self.servers.get(flight.server).map(|it| it.address);
            let number = self.random.u64().map(|number| (number >> 48) as u16);
            let query = number
                .and_then(|number| wire::query(number, &flight.name, flight.question.kind, false));
            let (Some(to), Some(number), Some(query)) = (to, number, query) else { continue };
            let key = self.streams.open(place, number, wire::question_of(&query, &flight.name));
            flight.stream = Stream::Open(key);
            flight.sent = now;
            let length = u16::try_from(query.len()).unwrap_or_default();
            let bytes = [&length.to_be_bytes(), query.as_slice()].concat();
            self.out.push_back(Output::TcpConnect { key, to, bytes });
            self.counts.streams += 1;
            self.flights.set_timer(place, now + TRY_TIME_MAX);
        }
    }

    /// A right reply: an answer, or another name to ask for.
    fn settle(&mut self, place: usize, content: Content, now: Duration) {
        let Some(flight) = self.flights.at(place) else { return };
        flight.aliases += content.aliases;
        flight.ttl = flight.ttl.min(content.ttl);
        if flight.aliases > ALIASES_MAX {
            return self.fail(place, now);
        }
        match content.found {
            Found::Answer(answer) => {
                let ttl = flight.ttl;
                self.finish(place, &answer, ttl, now);
            }
            Found::Alias(name) => self.follow(place, name, now),
        }
    }

    /// Goes on with the name that an alias stands for. Also there some names are never asked for.
    fn follow(&mut self, place: usize, name: WireName, now: Duration) {
        let Some(flight) = self.flights.at(place) else { return };
        let ttl = flight.ttl;
        let target = Question { name: name.text(), kind: flight.question.kind };
        flight.name = name;
        if !self.settings.everything
            && let Some(answer) = local::special(&target)
        {
            return self.finish(place, &answer, ttl, now);
        }
        self.withdraw(place);
        self.begin(place, now);
    }

    /// Nobody could answer.
    fn fail(&mut self, place: usize, now: Duration) {
        self.finish(place, &Answer::TempFail, 0, now);
    }

    fn finish(&mut self, place: usize, answer: &Answer, ttl: u32, now: Duration) {
        self.withdraw(place);
        let Some(flight) = self.flights.remove(place) else { return };
        let Flight { question, askers, is_probe, started, .. } = flight;
        // What was given up because nobody waited is not known to fail.
        if *answer != Answer::TempFail || !askers.is_empty() {
            self.cache.insert(&question, answer, ttl, now);
        }
        if self.flights.len() < super::IN_FLIGHT_MAX / 2 {
            self.full_said = false;
        }
        let answer = self.believed(answer.clone());
        let mut rests = !is_probe && self.is_old_news(&question, &answer, now);
        if let Some(zone) = self.zones.of(&question.name).map(str::to_string) {
            if answer != Answer::TempFail {
                self.zones.answered(&zone);
            } else if self.heard > started {
                // Where nothing at all is answered, no list is to blame.
                self.zone_timed_out(&zone, now);
            }
            if let Some(address) = list_error(&question, &answer).filter(|_| !is_probe) {
                let cause = lists::cause(address).unwrap_or("an error code");
                self.bench(&zone, &format!("it answers {address}: {cause}"), now);
            }
        }
        // The first to hear of a fault gets to know it, the others what is known by now.
        let known = !is_probe && self.is_old_news(&question, &answer, now);
        for asker in askers {
            let (question, answer) = (question.clone(), answer.clone());
            self.out.push_back(Output::Answer { asker, question, answer, rests });
            rests = known;
        }
        self.fill_streams(now);
    }

    /// Counts a reply that fits nothing; when one socket gets many, its questions go by TCP.
    fn forged(&mut self, key: u16, now: Duration) {
        self.counts.forged += 1;
        if self.counts.forged >= self.forged_said {
            let count = self.forged_said;
            self.forged_said = count.saturating_mul(10);
            let text = format!("{count} DNS replies that fit no question so far: ignored");
            self.log(Weight::Warning, text);
        }
        if !self.sockets.forged(key) {
            return;
        }
        for place in self.sockets.waiting(key) {
            let Some(flight) = self.flights.at(place) else { continue };
            let Some(at) = flight.tries.iter().position(|it| it.socket == key) else { continue };
            let (server, current) = (flight.server, is_current(flight, at));
            self.drop_try(place, at);
            if current {
                self.ask_by_tcp(place, server, now);
            }
        }
    }

    /// Forgets one datagram. False if there is none.
    fn drop_try(&mut self, place: usize, at: usize) -> bool {
        let Some(flight) = self.flights.at(place) else { return false };
        if at >= flight.tries.len() {
            return false;
        }
        let gone = flight.tries.remove(at);
        self.sockets.release(gone.socket, gone.number, &mut self.out);
        true
    }

    /// Ends a question's asking by TCP, and lets the next one in.
    fn close_stream(&mut self, place: usize, now: Duration) {
        self.drop_stream(place);
        self.fill_streams(now);
    }

    fn drop_stream(&mut self, place: usize) {
        let Some(flight) = self.flights.at(place) else { return };
        if let Stream::Open(key) = std::mem::replace(&mut flight.stream, Stream::None) {
            self.streams.close(key);
            self.out.push_back(Output::TcpClose { key });
        }
    }
}

/// Whether a question waits for the answer to this datagram in the first place.
fn is_current(flight: &Flight, at: usize) -> bool {
    at + 1 == flight.tries.len() && flight.stream == Stream::None
}
