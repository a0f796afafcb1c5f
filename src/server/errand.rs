//! Work that leaves the event loop, and how it always comes home.
//!
//! A visit travels by value: while it is away its slot is empty, so nothing is shared and nothing is
//! locked. Whoever carries it holds a [`Guard`]: if the job unwinds or is thrown away, the guard tells
//! the loop, which answers 421 and frees the slot.

use crate::plugin::content::{Block, Intake, Octets, Stored};
use crate::plugin::question::{Answer, Ask, Question};
use crate::plugin::site::Site;
use crate::plugin::visit::{Visit, Want};
use crate::plugin::{Lane, Place};
use crate::server::clock;
use crate::server::pool::{Job, Pool, lock};
use crate::server::spool::{Spool, SpoolFile, Trouble};
use crate::server::tls;
use crate::smtp::reply::{self, Reply};
use crate::sys::map::View;
use mio::Waker;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Jobs that may wait for one kind of thread.
const QUEUE_MAX: usize = 1_024;

/// A job that waited this long for a thread is answered 451 instead of begun.
const QUEUED_MAX: Duration = Duration::from_secs(60);

/// Which slot, in which life of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId {
    /// Place in the table.
    pub index: usize,
    /// Grows each time the place is used again.
    pub generation: u32,
}

/// What comes back to the loop.
pub enum Done {
    /// A visit comes home.
    Home(SlotId, Box<Visit>),
    /// A spool block of the message of this number was written; its memory comes back.
    Written(SlotId, u32, Arc<dyn Stored>, Vec<u8>),
    /// A spool block could not be written: what to tell the client, and the log.
    NotWritten(SlotId, u32, &'static Reply, String),
    /// A ClientHello was answered.
    Handshake(SlotId, tls::Answered),
    /// A job died with the visit.
    Lost(SlotId),
    /// The store has answered.
    Answer(SlotId, Question, Arc<Answer>),
    /// A hook on a lane has questions; the answers go there with their numbers.
    Questions(Vec<Question>, Sender<(usize, Arc<Answer>)>),
    /// A new snapshot of the configuration, and TLS as it wants it.
    Site(Arc<Site>, Option<Arc<tls::Contexts>>),
}

/// The way home: a list and a wake-up.
pub struct Home {
    done: Mutex<Vec<Done>>,
    waker: Waker,
}

impl Home {
    /// A way home that wakes this loop.
    pub fn new(waker: Waker) -> Home {
        Home { done: Mutex::new(Vec::new()), waker }
    }

    /// Brings something home.
    pub fn post(&self, done: Done) {
        let mut list = lock(&self.done);
        list.push(done);
        let first = list.len() == 1;
        drop(list);
        if first {
            // The loop looks at the list whenever it wakes; a wake-up that fails is made up for by
            // its tick.
            let _ = self.waker.wake();
        }
    }

    /// Everything that came home.
    pub fn take(&self) -> Vec<Done> {
        std::mem::take(&mut *lock(&self.done))
    }
}

/// Tells the loop that a job died, unless it is dismissed.
struct Guard {
    home: Arc<Home>,
    slot: SlotId,
    /// What to tell it; None once it is dismissed.
    lost: Option<Done>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.take() {
            self.home.post(lost);
        }
    }
}

/// A job.
pub struct Errand {
    guard: Guard,
    queued: Duration,
    service: Option<u64>,
    work: Work,
}

impl Job for Errand {
    fn service(&self) -> Option<u64> {
        self.service
    }
}

enum Work {
    Message(Box<Visit>),
    Spool(Box<Block>),
    Waste(Box<Intake>),
    Handshake(tls::Hello),
}

/// The three kinds of threads, and what their jobs need.
pub struct Pools {
    workers: Pool<Errand>,
    scanners: Pool<Errand>,
    writers: Pool<Errand>,
    home: Arc<Home>,
    spool: Spool,
}

impl Pools {
    /// Starts all threads.
    ///
    /// # Errors
    /// What the system says when it has no thread to give.
    pub fn start(
        home: Arc<Home>,
        spool: Spool,
        (workers, scanners, writers): (usize, usize, usize),
    ) -> io::Result<Arc<Pools>> {
        let pools = Arc::new(Pools {
            workers: Pool::new(QUEUE_MAX),
            scanners: Pool::new(QUEUE_MAX),
            writers: Pool::new(QUEUE_MAX),
            home,
            spool,
        });
        for (lane, name, threads) in [
            (Lane::Workers, "worker", workers),
            (Lane::Scanners, "scanner", scanners),
            (Lane::Writers, "writer", writers),
        ] {
            let weak = Arc::downgrade(&pools);
            pools.of(lane).start(name, threads, move |errand| {
                if let Some(pools) = weak.upgrade() {
                    pools.run(errand, lane);
                }
            })?;
        }
        Ok(pools)
    }

    fn of(&self, lane: Lane) -> &Pool<Errand> {
        match lane {
            Lane::Workers => &self.workers,
            Lane::Scanners => &self.scanners,
            Lane::Writers => &self.writers,
        }
    }

    /// Takes a visit to a lane; it comes back if that lane's queue is full.
    ///
    /// # Errors
    /// The visit.
    pub fn send(&self, slot: SlotId, visit: Box<Visit>, lane: Lane) -> Result<(), Box<Visit>> {
        let service = visit.service(lane);
        let errand = Errand { service, ..self.errand(slot, Work::Message(visit)) };
        self.of(lane).submit(errand).map_err(|mut errand| {
            errand.guard.lost = None;
            match errand.work {
                Work::Message(visit) => visit,
                // Only what was put in can come out.
                Work::Spool(_) | Work::Waste(_) | Work::Handshake(_) => std::process::abort(),
            }
        })
    }

    /// Has a block written. A full queue is reported like a full disk: try again later.
    pub fn write(&self, slot: SlotId, block: Box<Block>) {
        let message = block.message;
        let errand = self.errand(slot, Work::Spool(block));
        if let Err(mut errand) = self.writers.submit(errand) {
            errand.guard.lost = None;
            let why = "too many writes are waiting".to_string();
            self.home.post(Done::NotWritten(slot, message, &reply::NO_SPACE, why));
        }
    }

    /// Has text thrown away. Where the queue is full it is thrown away here.
    pub fn throw_away(&self, slot: SlotId, waste: Box<Intake>) {
        if let Err(mut errand) = self.writers.submit(self.errand(slot, Work::Waste(waste))) {
            errand.guard.lost = None;
        }
    }

    /// Has a ClientHello answered. False where the queue is full.
    pub fn handshake(&self, slot: SlotId, hello: tls::Hello) -> bool {
        let errand = self.errand(slot, Work::Handshake(hello));
        match self.workers.submit(errand) {
            Ok(()) => true,
            Err(mut errand) => {
                errand.guard.lost = None;
                false
            }
        }
    }

    /// Jobs that wait: workers, scanners, writers.
    pub fn depths(&self) -> (usize, usize, usize) {
        (self.workers.depth(), self.scanners.depth(), self.writers.depth())
    }

    /// Removes the spool folder. A thread that has just brought its job home may still hold on to us
    /// when the process ends, so that waiting for the last one would leave the folder behind.
    pub fn close_spool(&self) {
        self.spool.close();
    }

    fn errand(&self, slot: SlotId, work: Work) -> Errand {
        let lost = match &work {
            Work::Handshake(_) => {
                let failure = tls::Failure::of_ours("the thread that had it died");
                Done::Handshake(slot, Err(failure))
            }
            Work::Message(_) | Work::Spool(_) | Work::Waste(_) => Done::Lost(slot),
        };
        let guard = Guard { home: Arc::clone(&self.home), slot, lost: Some(lost) };
        Errand { guard, queued: clock::monotonic(), service: None, work }
    }

    fn run(&self, errand: Errand, lane: Lane) {
        let Errand { mut guard, queued, work, .. } = errand;
        let slot = guard.slot;
        let waited = clock::monotonic().saturating_sub(queued);
        let done = match work {
            Work::Message(visit) => self.run_message(slot, visit, lane, waited),
            Work::Spool(block) => Some(self.run_spool(slot, *block)),
            Work::Handshake(hello) => Some(Done::Handshake(slot, hello.answer())),
            Work::Waste(waste) => {
                drop(waste);
                None
            }
        };
        guard.lost = None;
        if let Some(done) = done {
            self.home.post(done);
        }
    }

    fn run_message(
        &self,
        slot: SlotId,
        mut visit: Box<Visit>,
        lane: Lane,
        waited: Duration,
    ) -> Option<Done> {
        if waited > QUEUED_MAX {
            visit.overloaded();
            return Some(Done::Home(slot, visit));
        }
        let ask = AskLoop { home: Arc::clone(&self.home), spool: &self.spool };
        let place = match lane {
            Lane::Workers => Place::Worker,
            Lane::Scanners | Lane::Writers => Place::Lane(lane, &ask),
        };
        match visit.work(place, clock::moment()) {
            Want::Move(next) => match self.send(slot, visit, next) {
                Ok(()) => None,
                Err(mut visit) => {
                    visit.overloaded();
                    Some(Done::Home(slot, visit))
                }
            },
            _ => Some(Done::Home(slot, visit)),
        }
    }

    fn run_spool(&self, slot: SlotId, block: Block) -> Done {
        let written = self.write_block(&block);
        match written {
            Ok(file) => Done::Written(slot, block.message, file, block.octets),
            Err(error) => {
                let reply = match Trouble::of(&error) {
                    Trouble::Space => &reply::NO_SPACE,
                    Trouble::Other => &reply::LOCAL_ERROR,
                };
                Done::NotWritten(slot, block.message, reply, error.to_string())
            }
        }
    }

    fn write_block(&self, block: &Block) -> io::Result<Arc<dyn Stored>> {
        let file = match &block.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(self.spool.create()?),
        };
        file.write_at(&block.octets, block.offset)?;
        Ok(file)
    }
}

impl Stored for SpoolFile {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        SpoolFile::write_at(self, octets, offset)
    }

    fn view(&self, len: u64) -> io::Result<Box<dyn Octets>> {
        Ok(Box::new(SpoolFile::view(self, len)?))
    }
}

impl Octets for View {
    fn octets(&self) -> &[u8] {
        self
    }

    fn passed(&self, upto: usize) {
        self.drop_behind(upto);
    }
}

/// On a lane a question waits: it goes to the loop, whose resolver answers, until the deadline.
struct AskLoop<'a> {
    home: Arc<Home>,
    spool: &'a Spool,
}

impl Ask for AskLoop<'_> {
    fn ask(&self, questions: &[Question], deadline: Duration) -> Vec<Arc<Answer>> {
        let mut answers: Vec<_> = questions.iter().map(|_| Arc::new(Answer::TempFail)).collect();
        let (sender, receiver) = channel();
        self.home.post(Done::Questions(questions.to_vec(), sender));
        for _ in questions {
            let patience = deadline.saturating_sub(clock::monotonic());
            let Ok((index, answer)) = receiver.recv_timeout(patience) else { break };
            if let Some(place) = answers.get_mut(index) {
                *place = answer;
            }
        }
        answers
    }

    fn file(&self) -> io::Result<Arc<dyn Stored>> {
        Ok(Arc::new(self.spool.create()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token};

    impl Job for Guard {}

    /// A job that unwinds, or is thrown away before it began, tells the loop.
    #[test]
    fn a_lost_job_is_told() {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
        let home = Arc::new(Home::new(waker));
        let slot = SlotId { index: 3, generation: 7 };
        let pool: Pool<Guard> = Pool::new(2);
        let guard = || Guard { home: Arc::clone(&home), slot, lost: Some(Done::Lost(slot)) };
        assert!(pool.submit(guard()).is_ok());
        pool.start("test", 1, |_guard| panic!("a fault in a job")).expect("a thread");
        pool.finish();
        drop(guard());
        let mut dismissed = guard();
        dismissed.lost = None;
        drop(dismissed);
        let lost = home.take();
        assert_eq!(lost.len(), 2);
        assert!(lost.iter().all(|done| matches!(done, Done::Lost(id) if *id == slot)));
    }
}
