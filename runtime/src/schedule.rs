//! Which thread runs which pieces, fixed when a program is loaded.

use std::ops::Range;

use crate::program::{Phase, Program, Work};

/// Programs predicted to take less than this run on the calling thread: waking the team, or
/// only sharing its cache lines, would cost more than it saves.
const ALONE_PROGRAM_NS: f64 = 10_000.0;

/// Phases predicted to take less than this run on the first thread, which needs no barrier
/// between two of them: about what two barriers and the transfer of cache lines cost.
const ALONE_PHASE_NS: f64 = 1_000.0;

/// A run of pieces of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Number of the task, counted through all phases.
    pub task: usize,
    /// Its pieces.
    pub pieces: Range<u32>,
}

/// What happens between two barriers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The first thread runs these while the others wait. Never followed by another such stage.
    Alone(Vec<Share>),
    /// Every thread runs its own list.
    Together(Vec<Vec<Share>>),
}

/// The stages of a program for a number of threads; a barrier follows each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Number of threads that take part, at most as many as were asked for.
    pub threads: usize,
    /// What they do.
    pub stages: Vec<Stage>,
}

impl Schedule {
    /// Spreads the program's pieces over at most `threads` threads by predicted cost.
    pub fn new(program: &Program, threads: usize) -> Schedule {
        let total: f64 = program.phases.iter().map(cost).sum();
        let threads = if total < ALONE_PROGRAM_NS { 1 } else { threads.max(1) };
        let mut stages: Vec<Stage> = Vec::new();
        let mut first_task = 0;
        for phase in &program.phases {
            let guard = phase.tasks.iter().any(|task| matches!(task.work, Work::Guard { .. }));
            if threads == 1 || guard || cost(phase) < ALONE_PHASE_NS {
                let all = whole(phase, first_task);
                match stages.last_mut() {
                    Some(Stage::Alone(shares)) => shares.extend(all),
                    _ => stages.push(Stage::Alone(all.collect())),
                }
            } else {
                stages.push(Stage::Together(split(phase, first_task, threads)));
            }
            first_task += phase.tasks.len();
        }
        Schedule { threads, stages }
    }
}

/// Predicted nanoseconds of a phase on one thread.
fn cost(phase: &Phase) -> f64 {
    phase.tasks.iter().map(|task| task.piece_cost * f64::from(task.pieces)).sum()
}

/// All pieces of a phase.
fn whole(phase: &Phase, first_task: usize) -> impl Iterator<Item = Share> {
    phase
        .tasks
        .iter()
        .enumerate()
        .map(move |(index, task)| Share { task: first_task + index, pieces: 0..task.pieces })
}

/// Cuts a phase's list of pieces into one contiguous part for each thread.
///
/// With the phase's cost laid out as a line, thread t of n takes the pieces whose middle lies
/// between t/n and (t + 1)/n of it: within one piece of even, and the same part of a tensor
/// tends to meet the same thread, and its cache, in every phase.
fn split(phase: &Phase, first_task: usize, threads: usize) -> Vec<Vec<Share>> {
    let per_thread = cost(phase) / threads as f64;
    let mut shares = vec![Vec::new(); threads];
    let mut before = 0.0;
    for (index, task) in phase.tasks.iter().enumerate() {
        // The first piece whose middle reaches the end of thread t's part.
        let end = |thread: usize| {
            if thread + 1 == threads {
                return task.pieces;
            }
            let part_end = per_thread * (thread + 1) as f64;
            let pieces = ((part_end - before) / task.piece_cost - 0.5).ceil();
            // A cast to an integer saturates, and makes zero of the NaN of a task that is free.
            (pieces as u32).min(task.pieces)
        };
        let mut start = 0;
        for (thread, list) in shares.iter_mut().enumerate() {
            let end = end(thread).max(start);
            if start < end {
                list.push(Share { task: first_task + index, pieces: start..end });
            }
            start = end;
        }
        before += task.piece_cost * f64::from(task.pieces);
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cpu::Cpu;
    use crate::dtype::DType;
    use crate::program::{Frame, Task};

    unsafe extern "C" fn nothing(_frame: *const Frame, _piece: u64) {}

    fn task(pieces: u32, piece_cost: f64) -> Task {
        Task { kernel: 0, work: Work::Native(nothing), pieces, piece_cost }
    }

    fn schedule(phases: Vec<Vec<Task>>, threads: usize) -> Schedule {
        let program = Program {
            arena_bytes: 0,
            scratch_bytes: 0,
            cpu: Cpu::Portable,
            phases: phases.into_iter().map(|tasks| Phase { tasks }).collect(),
            slots: Vec::new(),
            code: Arc::new(()),
        };
        Schedule::new(&program, threads)
    }

    /// Every piece runs on exactly one thread, and no thread has more than an even part and one
    /// piece.
    #[test]
    fn phases_are_split_evenly_and_completely() {
        for threads in 1..9 {
            let tasks = vec![task(7, 5000.0), task(1, 100.0), task(31, 900.0), task(2, 0.0)];
            let costs: Vec<f64> = tasks.iter().map(|task| task.piece_cost).collect();
            let even =
                tasks.iter().map(|task| f64::from(task.pieces) * task.piece_cost).sum::<f64>()
                    / threads as f64;
            let expected: Vec<u32> = tasks.iter().map(|task| task.pieces).collect();
            let schedule = schedule(vec![tasks], threads);
            let lists = match &schedule.stages[0] {
                Stage::Together(lists) => lists.clone(),
                Stage::Alone(list) => vec![list.clone()],
            };
            assert_eq!(lists.len(), threads);
            let mut next = vec![0; expected.len()];
            for list in lists {
                let mut cost = 0.0;
                for share in list {
                    assert_eq!(share.pieces.start, next[share.task]);
                    next[share.task] = share.pieces.end;
                    cost += share.pieces.len() as f64 * costs[share.task];
                }
                assert!(cost <= even + 5000.0, "{threads} threads: {cost} of {even}");
            }
            assert_eq!(next, expected);
        }
    }

    #[test]
    fn neighbouring_small_phases_share_a_stage() {
        let guard = Task { work: Work::Guard { offset: 0, dtype: DType::F32 }, ..task(1, 1.0) };
        let phases = vec![vec![task(4, 1e5)], vec![task(4, 10.0)], vec![guard], vec![task(4, 1e5)]];
        let schedule = schedule(phases, 2);
        assert_eq!(schedule.stages.len(), 3);
        let small = [Share { task: 1, pieces: 0..4 }, Share { task: 2, pieces: 0..1 }];
        assert_eq!(schedule.stages[1], Stage::Alone(small.to_vec()));
    }
}
