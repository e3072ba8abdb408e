//! Which pieces belong to which thread, fixed when a program is loaded. A thread that is done with
//! its own helps others ([`Claims`](crate::claims::Claims)).

use std::ops::Range;

use crate::program::{Part, Phase, Program, Work};

/// Programs predicted to take less than this run on the calling thread: waking the team, or
/// only sharing its cache lines, would cost more than it saves.
const ALONE_PROGRAM_NS: f64 = 10_000.0;

/// Phases, and loops in bands, predicted to take less than this run on the first thread, which needs no barrier
/// between two of them: about what two barriers and the transfer of cache lines cost.
const ALONE_PHASE_NS: f64 = 1_000.0;

/// Predicted nanoseconds of pieces that a thread takes at once: well above what taking them costs,
/// and the longest that another thread waits for it.
const RUN_NS: f64 = 2_000.0;

/// Bands of a loop that a thread runs together, if it has as many: matrices that they share are read once for
/// all. (A step of an LSTM of 32 samples, in bands of 8, takes 7 % less time with 512 KiB of second-level cache.)
const BANDS_TOGETHER: u32 = 2;

/// A run of pieces of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Number of the task, counted through all phases.
    pub task: usize,
    /// Its pieces.
    pub pieces: Range<u32>,
}

/// What one thread does while the others wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Pieces of a task.
    Share(Share),
    /// A loop over items.
    Loop(Looping<Item>),
}

/// What happens between two barriers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The first thread runs these while the others wait. Never followed by another such stage.
    Alone(Vec<Item>),
    /// Every thread takes part.
    Together(Together),
    /// A loop over stages.
    Loop(Looping<Stage>),
}

/// The work of all threads between two barriers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Together {
    /// Runs of pieces in the order of the phase, or the bands of a loop.
    pub runs: Vec<Item>,
    /// Where the runs of each thread begin among all, and where those of the last one end.
    pub bounds: Vec<u32>,
}

impl Together {
    /// Numbers of the runs that belong to a thread.
    pub fn of_thread(&self, thread: usize) -> Range<u32> {
        self.bounds[thread]..self.bounds[thread + 1]
    }
}

/// A loop over what stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Looping<T> {
    /// Number of the loop, counted through all loops of the program.
    pub number: usize,
    /// Number of iterations.
    pub count: u64,
    /// What is repeated.
    pub body: Vec<T>,
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
        let total: f64 = program.parts.iter().map(cost_of_part).sum();
        let threads = if total < ALONE_PROGRAM_NS { 1 } else { threads.max(1) };
        let mut numbers = Numbers::default();
        let stages = stages(&program.parts, threads, &mut numbers);
        Schedule { threads, stages }
    }
}

/// Tasks and loops counted so far, in the order of the program.
#[derive(Default)]
struct Numbers {
    tasks: usize,
    loops: usize,
}

fn stages(parts: &[Part], threads: usize, numbers: &mut Numbers) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for part in parts {
        let stage = match part {
            Part::Phase(phase) => {
                let guard = phase.tasks.iter().any(|task| matches!(task.work, Work::Guard { .. }));
                let first_task = numbers.tasks;
                numbers.tasks += phase.tasks.len();
                if threads == 1 || guard || cost(phase) < ALONE_PHASE_NS {
                    Stage::Alone(whole(phase, first_task).map(Item::Share).collect())
                } else {
                    Stage::Together(split(phase, first_task, threads))
                }
            }
            Part::Loop(the_loop) => {
                let number = numbers.loops;
                numbers.loops += 1;
                let count = the_loop.count;
                let shared = threads > 1 && cost_of_part(part) >= ALONE_PHASE_NS;
                if let Some(bands) = the_loop.bands.filter(|_| shared) {
                    let first_task = numbers.tasks;
                    let tasks: usize = the_loop.parts.iter().map(task_count).sum();
                    numbers.tasks += tasks;
                    let tasks = first_task..first_task + tasks;
                    let together = split_bands(bands, tasks, (number, count), threads);
                    stages.push(Stage::Together(together));
                    continue;
                }
                let body = stages_of_loop(&the_loop.parts, threads, numbers);
                match body {
                    Ok(body) => Stage::Alone(vec![Item::Loop(Looping { number, count, body })]),
                    Err(body) => Stage::Loop(Looping { number, count, body }),
                }
            }
        };
        match (stages.last_mut(), stage) {
            (Some(Stage::Alone(items)), Stage::Alone(more)) => items.extend(more),
            (_, stage) => stages.push(stage),
        }
    }
    stages
}

/// What is repeated: items if the first thread runs all of it.
fn stages_of_loop(
    parts: &[Part],
    threads: usize,
    numbers: &mut Numbers,
) -> Result<Vec<Item>, Vec<Stage>> {
    let mut stages = stages(parts, threads, numbers);
    match stages.as_mut_slice() {
        [] => Ok(Vec::new()),
        [Stage::Alone(items)] => Ok(std::mem::take(items)),
        _ => Err(stages),
    }
}

/// Predicted nanoseconds of a part on one thread.
fn cost_of_part(part: &Part) -> f64 {
    match part {
        Part::Phase(phase) => cost(phase),
        Part::Loop(the_loop) => {
            the_loop.count as f64 * the_loop.parts.iter().map(cost_of_part).sum::<f64>()
        }
    }
}

/// Tasks of a part, those inside loops included.
fn task_count(part: &Part) -> usize {
    match part {
        Part::Phase(phase) => phase.tasks.len(),
        Part::Loop(the_loop) => the_loop.parts.iter().map(task_count).sum(),
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

/// Cuts a phase's list of pieces into one contiguous part for each thread, and these into runs.
///
/// With the phase's cost laid out as a line, thread t of n takes the pieces whose middle lies
/// between t/n and (t + 1)/n of it: within one piece of even, and the same part of a tensor
/// tends to meet the same thread, and its cache, in every phase.
fn split(phase: &Phase, first_task: usize, threads: usize) -> Together {
    let per_thread = cost(phase) / threads as f64;
    let mut lists = vec![Vec::new(); threads];
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
        let in_a_run = ((RUN_NS / task.piece_cost).ceil() as u32).max(1);
        let mut start = 0;
        for (thread, list) in lists.iter_mut().enumerate() {
            let end = end(thread).max(start);
            list.extend((start..end).step_by(in_a_run as usize).map(|first| {
                let pieces = first..end.min(first.saturating_add(in_a_run));
                Item::Share(Share { task: first_task + index, pieces })
            }));
            start = end;
        }
        before += task.piece_cost * f64::from(task.pieces);
    }
    let ends = lists.iter().scan(0, |end, list| {
        *end += list.len() as u32;
        Some(*end)
    });
    let bounds = std::iter::once(0).chain(ends).collect();
    Together { runs: lists.concat(), bounds }
}

/// Hands out the bands of a loop, given by its number and that of iterations: a run is the whole loop
/// for some pieces of each task.
fn split_bands(
    bands: u32,
    tasks: Range<usize>,
    (number, count): (usize, u64),
    threads: usize,
) -> Together {
    let run = |pieces: Range<u32>| {
        let share = |task| Item::Share(Share { task, pieces: pieces.clone() });
        Item::Loop(Looping { number, count, body: tasks.clone().map(share).collect() })
    };
    let bound = |thread: usize| (u64::from(bands) * thread as u64 / threads as u64) as u32;
    let (mut runs, mut bounds) = (Vec::new(), vec![0]);
    for thread in 0..threads {
        let (start, end) = (bound(thread), bound(thread + 1));
        let firsts = (start..end).step_by(BANDS_TOGETHER as usize);
        runs.extend(firsts.map(|first| run(first..end.min(first + BANDS_TOGETHER))));
        bounds.push(runs.len() as u32);
    }
    Together { runs, bounds }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cpu::Cpu;
    use crate::dtype::DType;
    use crate::program::{Frame, Loop, Task};

    unsafe extern "C" fn nothing(_frame: *const Frame, _piece: u64) {}

    fn task(pieces: u32, piece_cost: f64) -> Task {
        Task { kernel: 0, work: Work::Native(nothing), pieces, piece_cost }
    }

    fn schedule(phases: Vec<Vec<Task>>, threads: usize) -> Schedule {
        let program = Program {
            arena_bytes: 0,
            scratch_bytes: 0,
            cpu: Cpu::Portable,
            parts: phases.into_iter().map(|tasks| Part::Phase(Phase { tasks })).collect(),
            slots: Vec::new(),
            code: Arc::new(()),
        };
        Schedule::new(&program, threads)
    }

    fn shares(items: &[Item]) -> Vec<Share> {
        let share = |item: &Item| match item {
            Item::Share(share) => share.clone(),
            Item::Loop(_) => unreachable!("no loop was given"),
        };
        items.iter().map(share).collect()
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
                Stage::Together(together) => (0..threads)
                    .map(|thread| {
                        let Range { start, end } = together.of_thread(thread);
                        shares(&together.runs[start as usize..end as usize])
                    })
                    .collect(),
                Stage::Alone(items) => vec![shares(items)],
                Stage::Loop(_) => unreachable!("no loop was given"),
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

    /// Two bands are one run of all steps; tasks behind the loop keep their numbers.
    #[test]
    fn bands_of_loops_are_runs() {
        let phase = |pieces| Part::Phase(Phase { tasks: vec![task(pieces, 1e4)] });
        let the_loop = Loop {
            kernel: 0,
            depth: 0,
            count: 7,
            reverse: false,
            until: None,
            bands: Some(3),
            parts: vec![phase(3), phase(3)],
        };
        let program = Program {
            arena_bytes: 0,
            scratch_bytes: 0,
            cpu: Cpu::Portable,
            parts: vec![phase(2), Part::Loop(the_loop), phase(4)],
            slots: Vec::new(),
            code: Arc::new(()),
        };
        let Schedule { stages, .. } = Schedule::new(&program, 2);
        let [_, Stage::Together(bands), Stage::Together(last)] = &stages[..] else {
            panic!("{stages:?}")
        };
        assert_eq!((bands.of_thread(0), bands.of_thread(1)), (0..1, 1..2));
        for (pieces, run) in [0..1, 1..3].into_iter().zip(&bands.runs) {
            let share = |task| Item::Share(Share { task, pieces: pieces.clone() });
            let body = vec![share(1), share(2)];
            assert_eq!(*run, Item::Loop(Looping { number: 0, count: 7, body }));
        }
        assert!(shares(&last.runs).iter().all(|share| share.task == 3));
        // One thread alone repeats the phases.
        let alone = Schedule::new(&program, 1);
        assert!(matches!(&alone.stages[..], [Stage::Alone(_)]), "{alone:?}");
    }

    #[test]
    fn neighbouring_small_phases_share_a_stage() {
        let guard = Task { work: Work::Guard { offset: 0, dtype: DType::F32 }, ..task(1, 1.0) };
        let phases = vec![vec![task(4, 1e5)], vec![task(4, 10.0)], vec![guard], vec![task(4, 1e5)]];
        let schedule = schedule(phases, 2);
        assert_eq!(schedule.stages.len(), 3);
        let small = [Share { task: 1, pieces: 0..4 }, Share { task: 2, pieces: 0..1 }];
        assert_eq!(schedule.stages[1], Stage::Alone(small.map(Item::Share).to_vec()));
    }
}
