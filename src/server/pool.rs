//! A fixed number of threads behind a bounded queue.
//!
//! No work stealing and no growth: when the queue is full the job comes back at once and the client is
//! told to try later, which is the only honest answer of a small machine.
//!
//! Jobs may belong to a service, such as a virus scanner or the next server. When it hangs it must not take
//! all threads with it: one service holds all but two of them at the most (at least one), all services
//! together all but one, and that one is for jobs that belong to none: people who log in, text that is
//! spooled.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::{io, mem};

/// Stack of a pool's thread. Nothing recurses over foreign input, so little is enough.
const STACK: usize = 256 * 1_024;

/// What a pool has to know of a job.
pub trait Job: Send + 'static {
    /// The service that it may have to wait for; None where nobody is waited for.
    fn service(&self) -> Option<u64> {
        None
    }
}

struct Shared<J> {
    state: Mutex<State<J>>,
    wake: Condvar,
    capacity: usize,
}

struct State<J> {
    queue: VecDeque<J>,
    idle: usize,
    stopping: bool,
    threads: usize,
    /// Services whose jobs are being done, one entry a job.
    busy: Vec<u64>,
}

impl<J: Job> State<J> {
    /// The first job that may be begun.
    fn next(&mut self) -> Option<J> {
        let most = self.threads.saturating_sub(1).max(1);
        let of_one = self.threads.saturating_sub(2).max(1);
        let may_begin = |job: &J| match job.service() {
            None => true,
            Some(service) => {
                let own = self.busy.iter().filter(|busy| **busy == service).count();
                self.busy.len() < most && own < of_one
            }
        };
        let at = self.queue.iter().position(may_begin)?;
        let job = self.queue.remove(at)?;
        self.busy.extend(job.service());
        Some(job)
    }
}

/// Threads that run jobs of one kind.
pub struct Pool<J> {
    shared: Arc<Shared<J>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<J: Job> Pool<J> {
    /// A queue for at most `capacity` waiting jobs, without threads yet.
    pub fn new(capacity: usize) -> Pool<J> {
        let state = State {
            queue: VecDeque::new(),
            idle: 0,
            stopping: false,
            threads: 0,
            busy: Vec::new(),
        };
        let shared = Shared { state: Mutex::new(state), wake: Condvar::new(), capacity };
        Pool { shared: Arc::new(shared), threads: Mutex::new(Vec::new()) }
    }

    /// Starts the threads. A panic in a job ends that job, not its thread.
    ///
    /// # Errors
    /// What the system says when it has no thread to give.
    pub fn start(
        &self,
        name: &str,
        threads: usize,
        run: impl Fn(J) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let run = Arc::new(run);
        let mut started = lock(&self.threads);
        lock(&self.shared.state).threads += threads;
        for _ in 0..threads {
            let shared = Arc::clone(&self.shared);
            let run = Arc::clone(&run);
            let work = move || {
                while let Some(job) = shared.take() {
                    let service = job.service();
                    // The job's own guard tells its owner; the panic hook has logged it.
                    let _ = catch_unwind(AssertUnwindSafe(|| run(job)));
                    shared.done(service);
                }
            };
            let builder = thread::Builder::new().name(name.to_string()).stack_size(STACK);
            started.push(builder.spawn(work)?);
        }
        Ok(())
    }

    /// Queues a job; it comes back if the queue is full.
    ///
    /// # Errors
    /// The job itself.
    pub fn submit(&self, job: J) -> Result<(), J> {
        let mut state = lock(&self.shared.state);
        if state.queue.len() >= self.shared.capacity || state.stopping {
            return Err(job);
        }
        state.queue.push_back(job);
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Jobs that wait.
    pub fn depth(&self) -> usize {
        lock(&self.shared.state).queue.len()
    }

    /// Ends the threads once the queue is empty, and waits for them.
    pub fn finish(&self) {
        lock(&self.shared.state).stopping = true;
        self.shared.wake.notify_all();
        for thread in mem::take(&mut *lock(&self.threads)) {
            // A thread cannot have panicked: jobs are caught.
            let _ = thread.join();
        }
    }
}

impl<J: Job> Shared<J> {
    fn take(&self) -> Option<J> {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.next() {
                if state.stopping && state.queue.is_empty() {
                    // Those who waited for a job that they may begin have nothing left to wait for.
                    self.wake.notify_all();
                }
                return Some(job);
            }
            if state.stopping && state.queue.is_empty() {
                return None;
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// A job is done: one of its service that waited may be begun now.
    fn done(&self, service: Option<u64>) {
        let Some(service) = service else { return };
        let mut state = lock(&self.state);
        if let Some(at) = state.busy.iter().position(|busy| *busy == service) {
            state.busy.swap_remove(at);
        }
        let wake = state.idle > 0 && !state.queue.is_empty();
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }
}

/// A lock whose holder panicked is still good here: states are changed in one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    impl Job for u32 {}

    /// A job of a service that lasts until it is told to end.
    struct Held(Option<u64>, mpsc::Receiver<()>);

    impl Job for Held {
        fn service(&self) -> Option<u64> {
            self.0
        }
    }

    #[test]
    fn a_service_that_hangs_leaves_threads_to_others() {
        let pool: Pool<Held> = Pool::new(100);
        let (begun, began) = mpsc::channel();
        let begin = move |job: Held| {
            begun.send(job.0).expect("the test listens");
            // The end of the sender ends the job.
            let _ = job.1.recv();
        };
        let mut ends = Vec::new();
        for service in [Some(1), Some(1), Some(1), Some(2), Some(2), None] {
            let (end, until) = mpsc::channel();
            ends.push(end);
            assert!(pool.submit(Held(service, until)).is_ok());
        }
        pool.start("test", 4, begin).expect("threads");
        let mut started: Vec<_> = (0..4).map(|_| began.recv().expect("a job")).collect();
        started.sort_unstable();
        assert_eq!(started, [None, Some(1), Some(1), Some(2)]);
        assert_eq!(pool.depth(), 2);
        // One of service 1 ends: the place goes to the third of its kind.
        drop(ends.remove(0));
        assert_eq!(began.recv(), Ok(Some(1)));
        ends.clear();
        assert_eq!(began.recv(), Ok(Some(2)));
        pool.finish();
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let pool: Pool<u32> = Pool::new(2);
        assert_eq!((pool.submit(1), pool.submit(2), pool.submit(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(pool.depth(), 2);
        let (sender, receiver) = mpsc::channel();
        pool.start("test", 1, move |job| sender.send(job).expect("the test listens"))
            .expect("a thread");
        pool.finish();
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_panic_ends_the_job_only() {
        let pool: Pool<u32> = Pool::new(8);
        let (sender, receiver) = mpsc::channel();
        pool.start("test", 1, move |job| {
            assert_ne!(job, 1, "a fault");
            sender.send(job).expect("the test listens");
        })
        .expect("a thread");
        for job in [1, 2, 3] {
            assert_eq!(pool.submit(job), Ok(()));
        }
        pool.finish();
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [2, 3]);
    }
}
