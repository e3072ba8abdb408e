//! Measured times of tasks and barriers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One thread's times, summed over the profiled steps.
#[derive(Debug)]
pub(crate) struct ThreadTimes {
    /// Spent in each task, by number.
    pub tasks: Vec<Duration>,
    /// Spent at barriers within steps.
    pub waiting: Duration,
}

impl ThreadTimes {
    /// Zero for each of `tasks` tasks.
    pub fn new(tasks: usize) -> ThreadTimes {
        ThreadTimes { tasks: vec![Duration::ZERO; tasks], waiting: Duration::ZERO }
    }
}

/// Where the time of some steps went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Number of steps measured.
    pub steps: u64,
    /// One for each task, in the order of the program's phases.
    pub tasks: Vec<TaskTimes>,
    /// Time each thread spent at barriers within steps, summed over the steps.
    pub waiting: Vec<Duration>,
}

/// Where the time of one task went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskTimes {
    /// Index of the kernel in the compiler's kernel graph.
    pub kernel: u32,
    /// Time each thread spent in it, summed over the steps.
    pub threads: Vec<Duration>,
}

impl Profile {
    /// Gathers what the threads measured; `kernels` are the tasks' kernels.
    pub(crate) fn collect(steps: u64, kernels: Vec<u32>, times: &[Mutex<ThreadTimes>]) -> Profile {
        let mut tasks: Vec<TaskTimes> =
            kernels.into_iter().map(|kernel| TaskTimes { kernel, threads: Vec::new() }).collect();
        let mut waiting = Vec::new();
        for times in times {
            let times = times.lock().unwrap_or_else(PoisonError::into_inner);
            for (task, &time) in tasks.iter_mut().zip(&times.tasks) {
                task.threads.push(time);
            }
            waiting.push(times.waiting);
        }
        Profile { steps, tasks, waiting }
    }
}
