//! Runs a program: owns its memory and its threads.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::arena::{Arena, CACHE_LINE};
use crate::claims::Claims;
use crate::cpu::{Cpu, FlushSubnormals};
use crate::dtype::DType;
use crate::gemm::Product;
use crate::library::PreparedCall;
use crate::profile::{Profile, ThreadTimes};
use crate::program::{COUNTERS, Frame, Loop, Outcome, Part, PieceFunction, Program, Slot, Work};
use crate::schedule::{Item, Looping, Schedule, Share, Stage};
use crate::slots::SlotError;
use crate::team::{Barrier, Team};
use crate::tensor::Tensor;

/// A loaded program with its arena, scratch memory and thread team.
///
/// What a step computes does not depend on the number of threads, to the last bit.
pub struct Executor {
    program: Program,
    tasks: Vec<Task>,
    /// Loops, without what they repeat.
    loops: Vec<Loop>,
    schedule: Schedule,
    team: Team,
    claims: Claims,
    arena: Arena,
    scratch: Vec<Arena>,
    seed: u64,
    step: u64,
    /// One for each thread while profiling.
    times: Option<Vec<Mutex<ThreadTimes>>>,
    profiled_steps: u64,
}

/// A task made ready to run.
struct Task {
    kernel: u32,
    action: Action,
}

/// What a task does for a piece.
enum Action {
    Native(PieceFunction),
    Product(Box<Product>),
    Library(Box<PreparedCall>),
    Guard { offset: usize, dtype: DType },
}

/// Stands for "no guard stopped this step" where a kernel's index would be.
const NOT_STOPPED: u32 = u32::MAX;

impl Executor {
    /// Loads `program` for up to `threads` threads, the calling one included (0 counts as 1).
    /// The arena is zeroed, the seed and the step number are 0.
    ///
    /// # Safety
    /// The program's functions may be called with any frame that describes
    /// [`Program::arena_bytes`] and [`Program::scratch_bytes`] bytes and with each of their
    /// piece numbers, on any thread: then they access nothing else, return, and make no data
    /// race with other tasks of their phase or other pieces of their task.
    ///
    /// # Panics
    /// If the program is inconsistent ([`Program::verify`]), or this machine does not support its
    /// instructions.
    pub unsafe fn new(program: Program, threads: usize) -> Executor {
        assert!(program.cpu.supported(), "this machine has no {} instructions", program.cpu);
        if let Err(problem) = program.verify() {
            panic!("{problem}");
        }
        let schedule = Schedule::new(&program, threads);
        let mut loaded = Loaded::default();
        loaded.add(&program.parts, program.cpu);
        let Loaded { tasks, loops } = loaded;
        let product_scratch = tasks.iter().map(|task| match &task.action {
            Action::Product(product) => product.scratch_bytes(),
            _ => 0,
        });
        let library_scratch = tasks.iter().map(|task| match &task.action {
            Action::Library(call) => call.scratch_bytes(),
            _ => 0,
        });
        let generated = program.scratch_bytes + product_scratch.max().unwrap_or(0);
        let scratch_bytes = generated.max(library_scratch.max().unwrap_or(0));
        Executor {
            team: Team::new(schedule.threads),
            claims: Claims::new(schedule.threads),
            arena: Arena::new(program.arena_bytes),
            // Separate allocations, so that no two threads share a cache line.
            scratch: (0..schedule.threads)
                .map(|_| Arena::new(scratch_bytes + 2 * CACHE_LINE))
                .collect(),
            program,
            tasks,
            loops,
            schedule,
            seed: 0,
            step: 0,
            times: None,
            profiled_steps: 0,
        }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Number of threads that take part in a step: 1 for a program too small to share.
    pub fn threads(&self) -> usize {
        self.schedule.threads
    }

    /// Bytes of memory held: the arena and all scratch.
    pub fn memory_bytes(&self) -> usize {
        self.arena.bytes() + self.scratch.iter().map(Arena::bytes).sum::<usize>()
    }

    /// Seed of the random streams.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Sets the seed of the random streams.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Number of the next step: how many have finished, unless it was set.
    pub fn step_number(&self) -> u64 {
        self.step
    }

    /// Sets the number of the next step, to resume or to repeat.
    pub fn set_step_number(&mut self, step: u64) {
        self.step = step;
    }

    /// Runs all phases once. The step number advances if they finish; when a guard stops them,
    /// it stays, and so does all that later phases would have written.
    pub fn step(&mut self) -> Outcome {
        let stopped = AtomicU32::new(NOT_STOPPED);
        let run = Run {
            tasks: &self.tasks,
            loops: &self.loops,
            claims: &self.claims,
            times: self.times.as_deref(),
            stopped: &stopped,
        };
        let (arena, seed, step) = (&self.arena, self.seed, self.step);
        let (scratch, stages) = (&self.scratch, &self.schedule.stages);
        self.team.run(|thread, barrier| {
            let (arena, scratch) = (arena.start(), scratch[thread].start());
            let frame = Frame { arena, scratch, seed, step, counters: [0; COUNTERS] };
            let _mode = FlushSubnormals::enter();
            run.all_stages(stages, thread, barrier, &frame);
        });
        self.profiled_steps += u64::from(self.times.is_some());
        match stopped.into_inner() {
            NOT_STOPPED => {
                self.step += 1;
                Outcome::Finished
            }
            kernel => Outcome::NotFinite { kernel },
        }
    }

    /// Index of the slot with this name, for the methods that take one.
    pub fn slot_index(&self, name: &str) -> Option<usize> {
        self.program.slots.iter().position(|slot| slot.name == name)
    }

    /// A copy of a slot's value.
    ///
    /// # Panics
    /// If there is no slot with this index.
    pub fn read_slot(&self, index: usize) -> Tensor {
        let slot = &self.program.slots[index];
        let mut tensor = Tensor::zeros(slot.dtype, &slot.shape);
        let (source, target) = (self.slot_start(slot), tensor.bytes_mut());
        slot.for_each_run(|from, to, bytes| {
            // SAFETY: the slot lies in the arena, which nobody else uses between steps.
            let run = unsafe { std::slice::from_raw_parts(source.add(from), bytes) };
            target[to..to + bytes].copy_from_slice(run);
        });
        tensor
    }

    /// Sets a slot's value.
    ///
    /// # Errors
    /// If the tensor's element type or shape is not the slot's; nothing is written then.
    ///
    /// # Panics
    /// If there is no slot with this index.
    pub fn write_slot(&mut self, index: usize, tensor: &Tensor) -> Result<(), SlotError> {
        let slot = &self.program.slots[index];
        slot.accepts(tensor)?;
        let (source, target) = (tensor.bytes(), self.slot_start(slot));
        slot.for_each_run(|to, from, bytes| {
            // SAFETY: the slot lies in the arena, which nobody else uses between steps.
            let run = unsafe { std::slice::from_raw_parts_mut(target.add(to), bytes) };
            run.copy_from_slice(&source[from..from + bytes]);
        });
        Ok(())
    }

    /// The bytes of a slot, or nothing if it is not laid out row-major.
    ///
    /// # Panics
    /// If there is no slot with this index.
    pub fn slot_bytes(&self, index: usize) -> Option<&[u8]> {
        let slot = &self.program.slots[index];
        // SAFETY: the slot lies in the arena, whose bytes are initialized and which nobody
        // writes while this executor is borrowed.
        slot.is_row_major().then(|| unsafe {
            std::slice::from_raw_parts(self.slot_start(slot), slot.span_bytes())
        })
    }

    /// The bytes of a slot, to be filled in place, or nothing if it is not laid out row-major.
    /// Booleans must stay 0 or 1.
    ///
    /// # Panics
    /// If there is no slot with this index.
    pub fn slot_bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let slot = &self.program.slots[index];
        // SAFETY: the slot lies in the arena, whose bytes are initialized and which nobody
        // else uses while this executor is borrowed mutably.
        slot.is_row_major().then(|| unsafe {
            std::slice::from_raw_parts_mut(self.slot_start(slot), slot.span_bytes())
        })
    }

    /// Starts measuring tasks and barriers, from zero, or stops.
    pub fn set_profiling(&mut self, on: bool) {
        self.profiled_steps = 0;
        self.times = on.then(|| {
            (0..self.threads()).map(|_| Mutex::new(ThreadTimes::new(self.tasks.len()))).collect()
        });
    }

    /// What was measured since profiling was switched on, or nothing if it is off.
    pub fn profile(&self) -> Option<Profile> {
        let times = self.times.as_ref()?;
        let kernels = self.tasks.iter().map(|task| task.kernel).collect();
        Some(Profile::collect(self.profiled_steps, kernels, times))
    }

    fn slot_start(&self, slot: &Slot) -> *mut u8 {
        // SAFETY: `new` checked that the slot lies in the arena.
        unsafe { self.arena.start().add(slot.offset) }
    }
}

/// Tasks and loops, made ready to run, in the order of the program.
#[derive(Default)]
struct Loaded {
    tasks: Vec<Task>,
    loops: Vec<Loop>,
}

impl Loaded {
    /// Adds what stands in `parts`.
    fn add(&mut self, parts: &[Part], cpu: Cpu) {
        for part in parts {
            match part {
                Part::Phase(phase) => {
                    self.tasks.extend(phase.tasks.iter().map(|task| Task::new(task, cpu)));
                }
                Part::Loop(the_loop) => {
                    let &Loop { kernel, depth, count, reverse, until, bands, .. } = the_loop;
                    let parts = Vec::new();
                    self.loops.push(Loop { kernel, depth, count, reverse, until, bands, parts });
                    self.add(&the_loop.parts, cpu);
                }
            }
        }
    }
}

/// One step, as all threads see it.
struct Run<'a> {
    tasks: &'a [Task],
    loops: &'a [Loop],
    claims: &'a Claims,
    times: Option<&'a [Mutex<ThreadTimes>]>,
    /// Kernel of the guard that stopped the step, or [`NOT_STOPPED`].
    stopped: &'a AtomicU32,
}

/// One thread's times, while it is profiled.
type Times<'t> = Option<&'t mut ThreadTimes>;

impl Run<'_> {
    /// One thread's part of the step.
    fn all_stages(&self, stages: &[Stage], thread: usize, barrier: &Barrier, frame: &Frame) {
        let mut times =
            self.times.map(|times| times[thread].lock().unwrap_or_else(PoisonError::into_inner));
        self.stages(stages, thread, barrier, frame, &mut times.as_deref_mut());
    }

    /// One thread's part of some stages, up to a guard that stops the step.
    fn stages(
        &self,
        stages: &[Stage],
        thread: usize,
        barrier: &Barrier,
        frame: &Frame,
        times: &mut Times<'_>,
    ) {
        for (index, stage) in stages.iter().enumerate() {
            // Between stages only: the end of the run is a barrier of its own.
            if index > 0 {
                wait(barrier, times);
                // Guards run on the first thread before this barrier, and the next ones after
                // another barrier at least: here, and only here, all see the same verdict.
                let alone_before = matches!(stages[index - 1], Stage::Alone(_));
                if alone_before && self.stopped.load(Ordering::Relaxed) != NOT_STOPPED {
                    return;
                }
            }
            match stage {
                Stage::Alone(items) if thread == 0 => self.items(items, frame, times),
                Stage::Alone(_) => {}
                Stage::Together(together) => {
                    self.claims.for_each(thread, together.of_thread(thread), |run| {
                        let run = &together.runs[run as usize];
                        self.items(std::slice::from_ref(run), frame, times);
                    });
                }
                Stage::Loop(looping) => {
                    for iteration in 0..looping.count {
                        if iteration > 0 {
                            wait(barrier, times);
                            // Behind the barrier all threads see what the iteration before left.
                            if self.ends(looping, &self.frame_inside(looping, frame, iteration - 1))
                            {
                                break;
                            }
                        }
                        let frame = self.frame_inside(looping, frame, iteration);
                        self.stages(&looping.body, thread, barrier, &frame, times);
                    }
                }
            }
        }
    }

    /// Runs items in order, up to a guard that stops the step.
    fn items(&self, items: &[Item], frame: &Frame, times: &mut Times<'_>) {
        for item in items {
            match item {
                Item::Share(share) => {
                    if !self.share(share, frame, times) {
                        return;
                    }
                }
                Item::Loop(looping) => {
                    for iteration in 0..looping.count {
                        let frame = self.frame_inside(looping, frame, iteration);
                        self.items(&looping.body, &frame, times);
                        if self.ends(looping, &frame) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// The frame of an iteration of a loop.
    fn frame_inside<T>(&self, looping: &Looping<T>, frame: &Frame, iteration: u64) -> Frame {
        let counters = self.loops[looping.number].counters(&frame.counters, iteration);
        Frame { counters, ..*frame }
    }

    /// Whether the iteration of a loop with this frame was the last one.
    fn ends<T>(&self, looping: &Looping<T>, frame: &Frame) -> bool {
        let until = &self.loops[looping.number].until;
        until.as_ref().is_some_and(|home| {
            // SAFETY: `Loaded::add` checked that the place lies in the arena for all counters;
            // whoever writes it is done, and starts anew behind another barrier.
            unsafe { home.address(frame.arena, &frame.counters).read() != 0 }
        })
    }

    /// Runs a share; false if it is a guard that stops the step.
    fn share(&self, share: &Share, frame: &Frame, times: &mut Times<'_>) -> bool {
        let task = &self.tasks[share.task];
        let since = times.is_some().then(Instant::now);
        let finite = task.run(share, frame);
        if let (Some(times), Some(since)) = (times.as_deref_mut(), since) {
            times.tasks[share.task] += since.elapsed();
        }
        if !finite {
            self.stopped.store(task.kernel, Ordering::Relaxed);
        }
        finite
    }
}

/// Waits for the other threads.
fn wait(barrier: &Barrier, times: &mut Times<'_>) {
    let since = times.is_some().then(Instant::now);
    barrier.wait();
    if let (Some(times), Some(since)) = (times.as_deref_mut(), since) {
        times.waiting += since.elapsed();
    }
}

impl Task {
    fn new(task: &crate::program::Task, cpu: Cpu) -> Task {
        let action = match &task.work {
            Work::Native(function) => Action::Native(*function),
            Work::Contraction(contraction) => {
                Action::Product(Box::new(Product::new(contraction, cpu)))
            }
            Work::Library(call) => Action::Library(Box::new(call.prepare(cpu))),
            &Work::Guard { offset, dtype } => Action::Guard { offset, dtype },
        };
        Task { kernel: task.kernel, action }
    }

    /// Runs a share; false if this is a guard whose value is not finite.
    fn run(&self, share: &Share, frame: &Frame) -> bool {
        match &self.action {
            Action::Native(function) => {
                for piece in share.pieces.clone() {
                    // SAFETY: by the contract of `Executor::new`; the frame describes the arena
                    // and this thread's scratch.
                    unsafe { function(frame, u64::from(piece)) };
                }
                true
            }
            Action::Product(product) => {
                let pieces = share.pieces.start as usize..share.pieces.end as usize;
                // SAFETY: as above; operands were checked to lie in the arena.
                unsafe { product.run_pieces(frame, pieces) };
                true
            }
            Action::Library(call) => {
                for piece in share.pieces.clone() {
                    // SAFETY: as above; operands and result were checked to lie in the arena, and
                    // scratch memory is as large as the call needs.
                    unsafe { call.run_piece(frame, piece as usize) };
                }
                true
            }
            // SAFETY: `new` checked that an aligned value of this type lies in the arena.
            &Action::Guard { offset, dtype } => unsafe {
                let value = frame.arena.add(offset);
                match dtype {
                    DType::F64 => value.cast::<f64>().read().is_finite(),
                    _ => value.cast::<f32>().read().is_finite(),
                }
            },
        }
    }
}
