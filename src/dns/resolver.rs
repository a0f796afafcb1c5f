//! The resolver, without its sockets: questions, datagrams and the time go in, datagrams and answers
//! come out.
//!
//! Whoever drives it does what [`Resolver::take_output`] says, tells what came in, and calls
//! [`Resolver::expire`] when [`Resolver::deadline`] has passed. So all that a hostile or broken server
//! can do is tested in a loop without a network and without waiting.
//!
//! A reply counts only if it comes from the server asked, to the socket it was asked from, with the
//! number and the very question, upper and lower case included (RFC 5452). What it says of other names
//! is never looked at. A server that fails makes room for the next one; what nobody could answer is
//! [`Answer::TempFail`], never "there is none".

mod flight;
mod local;
mod servers;
mod sockets;
mod steps;
mod streams;
mod zones;

use crate::dns::cache::{self, Cache};
use crate::dns::wire::WireName;
use crate::dns::{Answer, Kind, Question, lists};
use flight::{Flight, Flights, Stream};
use local::Local;
pub use local::address_in_hosts;
use servers::{SERVERS_MAX, Server};
use sockets::Sockets;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use streams::Streams;
use zones::Zones;

/// Questions in flight at most; one more gets [`Answer::TempFail`] at once.
pub const IN_FLIGHT_MAX: usize = 32_768;

/// How long a question may take in all.
pub const QUESTION_TIME_MAX: Duration = Duration::from_secs(15);

/// How long one server has to answer.
pub const TRY_TIME_MAX: Duration = Duration::from_secs(5);

/// Addresses of names that do not exist which are remembered.
const INVENTED_MAX: usize = 8;

/// UDP sockets at most.
pub const SOCKETS_MAX: u16 = sockets::SOCKETS_MAX;

/// TCP connections at most.
pub const STREAMS_MAX: u16 = streams::STREAMS_MAX;

/// Whom to ask, and what need not be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Recursive servers in the order of preference; the first eight are used.
    pub servers: Vec<SocketAddr>,
    /// The text of a hosts file.
    pub hosts: String,
    /// Names that mean something only here are asked for like all others, and the hosts file is left
    /// aside: somebody has named the server by hand and wants to know what it says.
    pub everything: bool,
}

/// A source of numbers that nobody can guess.
pub trait Random: Send {
    /// A number; None if the source has failed, and then nothing is asked.
    fn u64(&mut self) -> Option<u64>;
}

/// Something that has to be done for the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a UDP socket on this port, or on any other if that one is taken, and connect it.
    OpenUdp {
        /// Names the socket from now on.
        key: u16,
        /// Where it leads.
        server: SocketAddr,
        /// Its own port.
        port: u16,
    },
    /// Close it.
    CloseUdp {
        /// Which.
        key: u16,
    },
    /// Send a datagram.
    Send {
        /// From this socket.
        key: u16,
        /// Where the socket leads.
        to: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Connect by TCP and send; then hand over what comes.
    TcpConnect {
        /// Names the connection from now on.
        key: u16,
        /// Where to.
        to: SocketAddr,
        /// What to send, its length in front.
        bytes: Vec<u8>,
    },
    /// Close the connection.
    TcpClose {
        /// Which.
        key: u16,
    },
    /// A question is answered.
    Answer {
        /// Who asked.
        asker: u64,
        /// What.
        question: Arc<Question>,
        /// The answer.
        answer: Answer,
        /// It says nothing, and the list that was asked is known to say nothing: that was logged.
        rests: bool,
    },
    /// A line for the log.
    Log(Weight, String),
}

/// How important a line for the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Things work.
    Notice,
    /// Somebody should look.
    Warning,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams sent.
    pub sent: u64,
    /// Questions by TCP.
    pub streams: u64,
    /// Replies that fit no question.
    pub forged: u64,
    /// Questions answered from the cache.
    pub cached: u64,
    /// Questions refused because too many were in flight.
    pub refused: u64,
}

/// The resolver.
pub struct Resolver {
    servers: Vec<Server>,
    settings: Settings,
    local: Local,
    zones: Zones,
    cache: Cache,
    flights: Flights,
    sockets: Sockets,
    streams: Streams,
    random: Box<dyn Random>,
    out: VecDeque<Output>,
    counts: Counts,
    /// When a server last answered anything.
    heard: Duration,
    /// The count of forged replies that is worth the next line in the log.
    forged_said: u64,
    full_said: bool,
    /// Addresses that the servers give to names that do not exist.
    invented: Vec<IpAddr>,
}

impl Resolver {
    /// A resolver with an empty cache.
    pub fn new(settings: Settings, random: Box<dyn Random>) -> Resolver {
        let mut resolver = Resolver {
            servers: Vec::new(),
            settings: Settings::default(),
            local: Local::default(),
            zones: Zones::default(),
            cache: Cache::new(cache::ENTRIES_MAX, cache::OCTETS_MAX),
            flights: Flights::default(),
            sockets: Sockets::default(),
            streams: Streams::default(),
            random,
            out: VecDeque::new(),
            counts: Counts::default(),
            heard: Duration::ZERO,
            forged_said: 1,
            full_said: false,
            invented: Vec::new(),
        };
        resolver.configure(settings, Duration::ZERO);
        resolver
    }

    /// Goes over to other settings. Questions in flight are asked anew if the servers have changed;
    /// the cache stays.
    pub fn configure(&mut self, settings: Settings, now: Duration) {
        if settings.hosts != self.settings.hosts {
            self.local = Local::new(&settings.hosts);
        }
        if settings.servers != self.settings.servers {
            let flights = self.flights.all();
            for place in &flights {
                self.withdraw(*place);
            }
            let servers = settings.servers.iter().take(SERVERS_MAX);
            self.servers = servers.copied().map(Server::new).collect();
            self.sockets = Sockets::new(self.servers.len());
            for place in flights {
                self.begin(place, now);
            }
        }
        self.settings = settings;
    }

    /// Asks. The answer comes at once if it is known, else as [`Output::Answer`].
    pub fn ask(&mut self, asker: u64, question: &Question, now: Duration) -> Option<Answer> {
        if !self.settings.everything
            && let Some(answer) = self.local.find(question)
        {
            return Some(answer);
        }
        if let Some(answer) = self.cache.find(question, now) {
            self.counts.cached += 1;
            return Some(self.believed(answer));
        }
        if self.zones.of(&question.name).is_some_and(|zone| self.zones.rests(zone, now)) {
            return Some(Answer::TempFail);
        }
        self.ask_servers(asker, question, false, now)
    }

    /// The same about a list itself: neither what is known already nor that the list rests counts, and
    /// whoever asks judges the answer.
    pub fn probe(&mut self, asker: u64, question: &Question, now: Duration) -> Option<Answer> {
        self.local.find(question).or_else(|| self.ask_servers(asker, question, true, now))
    }

    fn ask_servers(
        &mut self,
        asker: u64,
        question: &Question,
        is_probe: bool,
        now: Duration,
    ) -> Option<Answer> {
        if let Some(place) = self.flights.find(question) {
            self.flights.join(place, asker);
            return None;
        }
        // What cannot be written as a name cannot exist.
        let Some(name) = WireName::new(&question.name) else { return Some(Answer::NxDomain) };
        if self.flights.len() >= IN_FLIGHT_MAX {
            self.refuse();
            return Some(Answer::TempFail);
        }
        let place = self.flights.add(Flight {
            question: Arc::new(question.clone()),
            name,
            aliases: 0,
            ttl: u32::MAX,
            askers: Vec::new(),
            is_probe,
            started: now,
            deadline: now + QUESTION_TIME_MAX,
            timer: now,
            tries: Vec::new(),
            made: Vec::new(),
            server: 0,
            sent: now,
            stream: Stream::None,
            serial: 0,
        });
        self.flights.join(place, asker);
        self.begin(place, now);
        None
    }

    /// Somebody does not wait any more. What is asked already is not asked again, but an answer that
    /// still comes goes into the cache.
    pub fn cancel(&mut self, asker: u64) {
        self.flights.leave(asker);
    }

    /// Tells which zones are lists, to be left alone for some minutes after three questions in a row
    /// came to nothing.
    pub fn watch_zones<'a>(&mut self, zones: impl IntoIterator<Item = &'a str>) {
        self.zones.watch(zones);
    }

    /// A question below a watched zone came to nothing. The resolver sees to its own questions; this
    /// is for who learns of failures otherwise.
    pub fn zone_timed_out(&mut self, zone: &str, now: Duration) {
        if self.zones.failed(zone, now) {
            let text = format!("{zone} does not answer: not asked for five minutes");
            self.log(Weight::Warning, text);
        }
    }

    /// Leaves a watched zone alone for some minutes, because of what it answers: said once.
    fn bench(&mut self, zone: &str, why: &str, now: Duration) {
        if self.zones.bench(zone, why, now) {
            let text = format!("{zone}: {why}: not asked for five minutes");
            self.log(Weight::Warning, text);
        }
    }

    /// Leaves a watched zone alone until it is acquitted: said once.
    pub fn condemn(&mut self, zone: &str, why: &str) {
        if self.zones.condemn(zone, why) {
            let text = format!("{zone}: {why}: not asked until its test entries are right");
            self.log(Weight::Warning, text);
        }
    }

    /// A zone's test entries are right.
    pub fn acquit(&mut self, zone: &str) {
        if self.zones.acquit(zone) {
            self.log(Weight::Notice, format!("{zone}: its test entries are right: asked again"));
        }
    }

    /// Whether the zone of a name is left alone at the moment.
    pub fn leaves_alone(&self, name: &str, now: Duration) -> bool {
        self.zones.of(name).is_some_and(|zone| self.zones.rests(zone, now))
    }

    /// An answer says nothing, and it is known that the list asked says nothing at the moment.
    pub fn is_old_news(&self, question: &Question, answer: &Answer, now: Duration) -> bool {
        is_useless(question, answer) && self.leaves_alone(&question.name, now)
    }

    /// These addresses are what the servers say of names that do not exist; answers with no other
    /// address are taken for [`Answer::NxDomain`] from now on. None: they are to be trusted again.
    pub fn distrust(&mut self, mut addresses: Vec<IpAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(INVENTED_MAX);
        if addresses == self.invented {
            return;
        }
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let (weight, text) = if shown.is_empty() {
            (Weight::Notice, "names that do not exist are told from others again".to_string())
        } else {
            let shown = shown.join(" ");
            let text = format!(
                "the name servers answer {shown} for names that do not exist: taken for \"no such \
                 name\"; use a resolver that does not do that"
            );
            (Weight::Warning, text)
        };
        self.invented = addresses;
        self.log(weight, text);
    }

    /// An answer as it is to be understood.
    fn believed(&self, answer: Answer) -> Answer {
        let mut addresses = answer.addresses().peekable();
        let any = !self.invented.is_empty() && addresses.peek().is_some();
        if any && addresses.all(|it| self.invented.contains(&it)) {
            return Answer::NxDomain;
        }
        drop(addresses);
        answer
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Duration) {
        while let Some(place) = self.flights.expired(now) {
            self.due(place, now);
        }
    }

    /// When [`Resolver::expire`] has to be called next; None while nothing is in flight.
    pub fn deadline(&self) -> Option<Duration> {
        self.flights.deadline()
    }

    /// The next thing to do for the resolver. To be asked until there is none, after each call.
    pub fn take_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What an admin may want to know, in words: what is on its way, and what is not asked or not
    /// believed at the moment.
    pub fn state(&self, now: Duration) -> String {
        let Counts { sent, cached, forged, .. } = self.counts;
        let mut text = format!(
            "{} questions in flight; {sent} sent, {cached} known, {forged} replies that fit nothing",
            self.flights.len()
        );
        let mut resting: Vec<_> = self.zones.resting(now).collect();
        resting.sort_unstable();
        for (zone, why) in resting {
            text.push_str(&format!("; {zone} is left alone: {why}"));
        }
        for address in &self.invented {
            text.push_str(&format!("; {address} is not believed"));
        }
        text
    }

    /// Questions in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Open UDP sockets.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn refuse(&mut self) {
        self.counts.refused += 1;
        if !self.full_said {
            self.full_said = true;
            self.log(Weight::Warning, format!("{IN_FLIGHT_MAX} DNS questions in flight: no more"));
        }
    }

    fn log(&mut self, weight: Weight, text: String) {
        self.out.push_back(Output::Log(weight, text));
    }

    fn log_if(&mut self, weight: Weight, text: Option<String>) {
        if let Some(text) = text {
            self.log(weight, text);
        }
    }
}

/// Nothing is learnt from it: nobody answered, or a list answered with what is no listing. (Of other
/// names than those of lists it means nothing.)
fn is_useless(question: &Question, answer: &Answer) -> bool {
    *answer == Answer::TempFail || list_error(question, answer).is_some()
}

/// The address with which a list says that it does not serve us.
fn list_error(question: &Question, answer: &Answer) -> Option<IpAddr> {
    match (question.kind, lists::classify(answer)) {
        (Kind::A, lists::Listing::ListError(address)) => Some(address),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
