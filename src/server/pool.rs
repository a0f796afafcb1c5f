//! A fixed number of threads behind a bounded queue.
//!
//! No work stealing and no growth: when the queue is full the job comes back at once and the client is
//! told to try later, which is the only honest answer of a small machine.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::{io, mem};

/// Stack of a pool's thread. Nothing recurses over foreign input, so little is enough.
const STACK: usize = 256 * 1_024;

struct Shared<J> {
    state: Mutex<State<J>>,
    wake: Condvar,
    capacity: usize,
}

struct State<J> {
    queue: VecDeque<J>,
    idle: usize,
    stopping: bool,
}

/// Threads that run jobs of one kind.
pub struct Pool<J> {
    shared: Arc<Shared<J>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<J: Send + 'static> Pool<J> {
    /// A queue for at most `capacity` waiting jobs, without threads yet.
    pub fn new(capacity: usize) -> Pool<J> {
        let state = State { queue: VecDeque::new(), idle: 0, stopping: false };
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
        for _ in 0..threads {
            let shared = Arc::clone(&self.shared);
            let run = Arc::clone(&run);
            let work = move || {
                while let Some(job) = shared.take() {
                    // The job's own guard tells its owner; the panic hook has logged it.
                    let _ = catch_unwind(AssertUnwindSafe(|| run(job)));
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

impl<J> Shared<J> {
    fn take(&self) -> Option<J> {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if state.stopping {
                return None;
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
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
