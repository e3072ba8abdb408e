//! A team of threads that runs one closure together, with cheap barriers.
//!
//! A step of a program is one such run: every thread executes the same closure (SPMD) and meets
//! the others at barriers. Waiting within a run spins, then yields the processor, so that a
//! team larger than the machine still makes progress; between runs, threads that wait long
//! go to sleep.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a waiting thread looks before it yields the processor: some microseconds, above
/// the usual skew of balanced work. Where the system runs two threads of the team on one core,
/// this is what each waits in vain before the other can go on, so it must not be much more.
const SPINS_BEFORE_YIELD: u32 = 128;

/// How long an idle thread watches for the next run before it sleeps. Waking a sleeping thread
/// takes some 50 microseconds, so this bridges what happens between two steps of training.
const IDLE_SPIN: Duration = Duration::from_micros(50);

/// Threads that run closures together: the caller and `threads - 1` workers.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// The job of the current run, with the lifetime of its borrow erased.
type Job = *const (dyn Fn(usize, &Barrier) + Sync);

/// What all threads of a team see.
struct Shared {
    /// Number of the current run; a change starts it. `u64::MAX` ends the workers.
    run: Padded<AtomicU64>,
    /// The closure of the current run; written before `run` changes, while all workers wait.
    job: UnsafeCell<Option<Job>>,
    /// Set when a thread panics, so that others do not wait for it at a barrier.
    poisoned: Padded<AtomicBool>,
    /// One for each thread.
    threads: Box<[Padded<Thread>]>,
}

// SAFETY: `job` is written only by the caller of `Team::run`, between the moment all workers
// finished the previous run and the release store that starts the next one; workers read it
// between an acquire load of that store and their own finish. The closure behind it is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing else is tied to a thread.
unsafe impl Send for Shared {}

/// State that one thread writes and others watch. Two cache lines, since processors prefetch
/// lines in pairs: unpadded, a fork and join takes several times as long.
#[repr(align(128))]
struct Padded<T>(T);

/// A thread's own state.
struct Thread {
    /// Rounds of barriers that this thread entered in the current run.
    arrived: AtomicU64,
    /// Number of the last run that this worker finished.
    finished: AtomicU64,
    /// Whether this worker sleeps, or is about to.
    asleep: AtomicBool,
    /// What a panic of this thread carried; written before `finished`, read after it.
    panic: UnsafeCell<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `panic` is passed from its thread to the caller of `Team::run` by the release store to
// `finished` and the acquire load of it; the rest is atomic.
unsafe impl Sync for Thread {}

/// The value of [`Shared::run`] that ends the workers.
const SHUTDOWN: u64 = u64::MAX;

/// What a thread panics with when it meets a barrier that another thread's panic made useless.
struct Poisoned;

/// The meeting point of the threads of one run, as seen by one thread.
///
/// A dissemination barrier (Hensgen, Finkel and Manber, 1988): in round r, thread i tells thread
/// i + 2^r that it has come and waits to hear from thread i - 2^r. After ceil(log2(n)) rounds
/// everybody has heard, directly or not, from everybody. No location is written by two threads.
pub struct Barrier<'a> {
    shared: &'a Shared,
    thread: usize,
}

impl Barrier<'_> {
    /// Waits until all threads of the team have come here. What they wrote before is then
    /// visible. Every thread must call this equally often during a run.
    ///
    /// # Panics
    /// If another thread panicked in this run.
    pub fn wait(&self) {
        let threads = &self.shared.threads;
        let own = &threads[self.thread].0.arrived;
        let mut rounds = own.load(Ordering::Relaxed);
        let mut distance = 1;
        while distance < threads.len() {
            rounds += 1;
            own.store(rounds, Ordering::Release);
            let partner = (self.thread + threads.len() - distance) % threads.len();
            let partner = &threads[partner].0.arrived;
            spin_until(|| {
                if self.shared.poisoned.0.load(Ordering::Relaxed) {
                    resume_unwind(Box::new(Poisoned));
                }
                partner.load(Ordering::Acquire) >= rounds
            });
            distance *= 2;
        }
    }
}

impl Team {
    /// A team of `threads` threads: starts `threads - 1` workers (none for 0 and 1).
    ///
    /// # Panics
    /// If the system cannot start a thread.
    pub fn new(threads: usize) -> Team {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            run: Padded(AtomicU64::new(0)),
            job: UnsafeCell::new(None),
            poisoned: Padded(AtomicBool::new(false)),
            threads: (0..threads).map(|_| Padded(Thread::new())).collect(),
        });
        let workers = (1..threads)
            .map(|index| {
                let shared = Arc::clone(&shared);
                thread::Builder::new()
                    .name(format!("cygnet-{index}"))
                    .spawn(move || work(&shared, index))
                    .expect("cannot start a worker thread")
            })
            .collect();
        Team { shared, workers }
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.shared.threads.len()
    }

    /// Runs `job(thread index, barrier)` once on every thread at the same time; the caller is
    /// thread 0. Returns when all have returned.
    ///
    /// # Panics
    /// With the panic of a thread whose job panicked. The team stays usable.
    pub fn run(&mut self, job: impl Fn(usize, &Barrier) + Sync) {
        let shared = &*self.shared;
        let run = shared.run.0.load(Ordering::Relaxed) + 1;
        let erased: *const (dyn Fn(usize, &Barrier) + Sync + '_) = &job;
        // SAFETY: only the lifetime changes. Workers use the closure only until they finish this
        // run, and this function does not return or unwind before they have.
        let erased: Job = unsafe { std::mem::transmute(erased) };
        // SAFETY: every worker has finished the previous run and waits for the next.
        unsafe { *shared.job.get() = Some(erased) };
        // Sequentially consistent, as are the operations in `sleep`: either this thread sees
        // that a worker sleeps, or the worker sees the new run before it does.
        shared.run.0.store(run, Ordering::SeqCst);
        for (thread, worker) in shared.threads[1..].iter().zip(&self.workers) {
            if thread.0.asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }

        let own = shared.execute(&job, 0);
        for thread in &shared.threads[1..] {
            spin_until(|| thread.0.finished.load(Ordering::Acquire) == run);
        }
        if shared.poisoned.0.load(Ordering::Relaxed) {
            resume_unwind(shared.recover(own));
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.run.0.store(SHUTDOWN, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            worker.join().expect("workers catch panics");
        }
    }
}

impl Thread {
    fn new() -> Thread {
        Thread {
            arrived: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            panic: UnsafeCell::new(None),
        }
    }
}

impl Shared {
    /// Runs one thread's share, turning a panic into a value and telling the others.
    fn execute(
        &self,
        job: &(dyn Fn(usize, &Barrier) + Sync),
        thread: usize,
    ) -> Option<Box<dyn Any + Send>> {
        let barrier = Barrier { shared: self, thread };
        // The panic is passed on to the caller, who sees what it may have left half done.
        let result = catch_unwind(AssertUnwindSafe(|| job(thread, &barrier)));
        result.inspect_err(|_| self.poisoned.0.store(true, Ordering::Relaxed)).err()
    }

    /// Makes the team usable again after a run in which threads panicked, and picks the panic to
    /// report: the first one that is not a mere consequence. Called when all workers wait.
    fn recover(&self, own: Option<Box<dyn Any + Send>>) -> Box<dyn Any + Send> {
        self.poisoned.0.store(false, Ordering::Relaxed);
        let mut panics = own.into_iter().collect::<Vec<_>>();
        for thread in &self.threads {
            thread.0.arrived.store(0, Ordering::Relaxed);
            // SAFETY: the thread has finished its run and waits for the next.
            panics.extend(unsafe { (*thread.0.panic.get()).take() });
        }
        let cause = panics.iter().position(|panic| !panic.is::<Poisoned>());
        panics.swap_remove(cause.expect("a barrier is poisoned by another panic"))
    }

    /// Waits for a run after number `previous` and returns its number.
    fn next_run(&self, thread: usize, previous: u64) -> u64 {
        let since = Instant::now();
        loop {
            for _ in 0..SPINS_BEFORE_YIELD {
                let run = self.run.0.load(Ordering::Acquire);
                if run != previous {
                    return run;
                }
                spin_loop();
            }
            // Let others have the processor if there are too few.
            thread::yield_now();
            if since.elapsed() > IDLE_SPIN {
                self.sleep(thread, previous);
            }
        }
    }

    /// Sleeps until there is a run after number `previous`, or for no reason.
    fn sleep(&self, thread: usize, previous: u64) {
        let asleep = &self.threads[thread].0.asleep;
        asleep.store(true, Ordering::SeqCst);
        if self.run.0.load(Ordering::SeqCst) == previous {
            thread::park();
        }
        asleep.store(false, Ordering::SeqCst);
    }
}

/// The life of a worker.
fn work(shared: &Shared, index: usize) {
    let mut run = 0;
    loop {
        run = shared.next_run(index, run);
        if run == SHUTDOWN {
            return;
        }
        // SAFETY: written before this run was started; see `Shared`. The closure lives until
        // this thread stores to `finished`.
        let job = unsafe { &*(*shared.job.get()).expect("a run has a job") };
        let panic = shared.execute(job, index);
        let own = &shared.threads[index].0;
        // SAFETY: the caller reads it after `finished` has changed.
        unsafe { *own.panic.get() = panic };
        own.finished.store(run, Ordering::Release);
    }
}

/// Waits for a condition that another thread will make true soon.
fn spin_until(mut condition: impl FnMut() -> bool) {
    let mut spins = 0;
    while !condition() {
        spins += 1;
        if spins < SPINS_BEFORE_YIELD {
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Four threads, as many more than this machine may have, count in lockstep: nobody is ever
    /// a barrier ahead.
    #[test]
    fn barriers_keep_more_threads_than_cores_in_step() {
        let mut team = Team::new(4);
        let counters: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
        for run in 0..20 {
            team.run(|index, barrier| {
                for round in 0..50 {
                    counters[index].fetch_add(1, Ordering::Relaxed);
                    barrier.wait();
                    let expected = run * 50 + round + 1;
                    let seen = counters.iter().map(|counter| counter.load(Ordering::Relaxed));
                    assert!(seen.into_iter().all(|count| count == expected));
                    barrier.wait();
                }
            });
        }
    }

    #[test]
    fn writes_before_a_barrier_are_visible_after_it() {
        let mut team = Team::new(3);
        let values: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        team.run(|index, barrier| {
            for round in 1..100 {
                values[index].store(round, Ordering::Relaxed);
                barrier.wait();
                assert_eq!(values[(index + 1) % 3].load(Ordering::Relaxed), round);
                barrier.wait();
            }
        });
    }

    #[test]
    fn every_thread_runs_once_and_sleepers_wake() {
        for threads in [0, 1, 2, 5] {
            let mut team = Team::new(threads);
            assert_eq!(team.threads(), threads.max(1));
            for pause in [Duration::ZERO, IDLE_SPIN * 40] {
                thread::sleep(pause);
                let runs: Vec<AtomicUsize> =
                    (0..team.threads()).map(|_| AtomicUsize::new(0)).collect();
                team.run(|index, _| {
                    runs[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(runs.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_frees_those_who_wait() {
        let mut team = Team::new(3);
        for culprit in 0..3 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(|index, barrier| {
                    barrier.wait();
                    if index == culprit {
                        resume_unwind(Box::new("the cause"));
                    }
                    barrier.wait();
                });
            }));
            let panic = result.expect_err("the panic is passed on");
            assert_eq!(panic.downcast_ref(), Some(&"the cause"));
            // The team still works.
            let visits = AtomicUsize::new(0);
            team.run(|_, barrier| {
                visits.fetch_add(1, Ordering::Relaxed);
                barrier.wait();
                assert_eq!(visits.load(Ordering::Relaxed), 3);
            });
        }
    }
}
