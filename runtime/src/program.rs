//! What the compiler hands over: a step as barrier-separated phases of pieces of work, and loops
//! over such phases.
//!
//! How work is cut into pieces depends on shapes only. Which thread runs a piece depends on their
//! number and on how fast they are; no result does.

use std::any::Any;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::contraction::Contraction;
use crate::cpu::Cpu;
use crate::dtype::DType;
use crate::library::LibraryCall;

/// Where generated code finds its data while it runs. Passed by pointer; the layout is part of
/// the contract with the code generator.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Start of the arena, aligned to 64 bytes; every buffer is at a fixed byte offset from here.
    pub arena: *mut u8,
    /// Start of the running thread's scratch memory, aligned to 64 bytes. Its contents are
    /// undefined when a piece starts. A contraction's region functions get a frame whose scratch
    /// begins after what the contraction itself uses.
    pub scratch: *mut u8,
    /// Seed of the random streams.
    pub seed: u64,
    /// Number of the step, from 0; part of every random counter.
    pub step: u64,
    /// Where the loops stand that the piece is in, two for each, outermost first: the place in
    /// the stacked tensors, and whether the number of iterations done is odd (0 or 1).
    pub counters: [u64; COUNTERS],
}

/// Most loops that stand inside each other.
pub const MAX_LOOP_DEPTH: usize = 4;

/// Number of counters in a [`Frame`].
pub const COUNTERS: usize = 2 * MAX_LOOP_DEPTH;

/// How a place in the arena moves with the counters of the loops around it: bytes for each.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Motion(pub [isize; COUNTERS]);

impl Motion {
    /// Always the same place.
    pub const NONE: Motion = Motion([0; COUNTERS]);

    /// Number of the counter that tells the place of the loop `depth` loops in.
    pub const fn index(depth: usize) -> usize {
        2 * depth
    }

    /// Number of the counter that tells whether an odd number of iterations of that loop is done.
    pub const fn parity(depth: usize) -> usize {
        2 * depth + 1
    }

    /// The distance in bytes from where everything is when all counters are 0.
    pub fn bytes(&self, counters: &[u64; COUNTERS]) -> isize {
        self.0.iter().zip(counters).map(|(bytes, &counter)| bytes * counter as isize).sum()
    }

    /// The smallest and the largest distance, each counter being below its limit.
    pub fn reach(&self, limits: &[u64; COUNTERS]) -> (i128, i128) {
        let ends = self.0.iter().zip(limits).map(|(&bytes, &limit)| {
            let last = bytes as i128 * i128::from(limit.saturating_sub(1));
            (last.min(0), last.max(0))
        });
        ends.fold((0, 0), |sum, end| (sum.0 + end.0, sum.1 + end.1))
    }
}

/// A generated function that runs one piece of a kernel.
pub type PieceFunction = unsafe extern "C" fn(frame: *const Frame, piece: u64);

/// A rectangle of one matrix of a batch: rows `row_start..row_end`, columns
/// `column_start..column_end` of matrix number `batch` (row-major over the batch axes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Linear index over the batch axes.
    pub batch: u64,
    /// First row.
    pub row_start: u64,
    /// One past the last row.
    pub row_end: u64,
    /// First column.
    pub column_start: u64,
    /// One past the last column.
    pub column_end: u64,
}

/// A generated function over a region of a matrix: an epilogue reads the finished products in
/// `tile` (and may overwrite them) and stores results to the arena; a prologue writes operand
/// values to `tile` and nothing else.
///
/// An epilogue sees every element of the result once, in regions that span all columns of a
/// piece: complete rows where [`Blocking::columns`](crate::contraction::Blocking) covers them.
/// A prologue may be asked for the same element more than once, by several threads.
///
/// Element (r, c) of the region is `tile[(r - row_start) * tile_stride + (c - column_start)]`,
/// in elements of the contraction's dtype.
pub type RegionFunction = unsafe extern "C" fn(
    frame: *const Frame,
    tile: *mut u8,
    tile_stride: u64,
    region: *const Region,
);

/// A compiled step, ready to run.
pub struct Program {
    /// Bytes of the arena: parameters, state, inputs, outputs and every temporary.
    pub arena_bytes: usize,
    /// Bytes of scratch memory per thread that generated code uses: the most that any piece
    /// function or region function does. The executor adds what contractions need themselves,
    /// [`gemm::scratch_bytes`](crate::gemm::scratch_bytes).
    pub scratch_bytes: usize,
    /// The instructions that the code was generated for and that contractions use.
    pub cpu: Cpu,
    /// The step, in order; a barrier follows each phase.
    pub parts: Vec<Part>,
    /// Named places in the arena which the caller reads and writes.
    pub slots: Vec<Slot>,
    /// Owner of the machine code that the function pointers lead to.
    pub code: Arc<dyn Any + Send + Sync>,
}

/// A place in the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Home {
    /// Byte offset while all loops around stand at their beginning.
    pub offset: usize,
    /// How that moves with the loops.
    pub motion: Motion,
}

impl Home {
    /// A place that does not move.
    pub const fn fixed(offset: usize) -> Home {
        Home { offset, motion: Motion::NONE }
    }

    /// The address of the place, if the arena starts at `arena`.
    pub fn address(&self, arena: *mut u8, counters: &[u64; COUNTERS]) -> *mut u8 {
        arena.wrapping_add(self.offset).wrapping_offset(self.motion.bytes(counters))
    }

    /// The smallest and the largest byte offset, each counter being below its limit.
    pub fn reach(&self, limits: &[u64; COUNTERS]) -> (i128, i128) {
        let (back, forth) = self.motion.reach(limits);
        (self.offset as i128 + back, self.offset as i128 + forth)
    }

    /// Whether the place is aligned to so many bytes wherever it moves.
    pub fn is_aligned(&self, bytes: usize) -> bool {
        let aligned = |distance: &isize| distance.unsigned_abs().is_multiple_of(bytes);
        self.offset.is_multiple_of(bytes) && self.motion.0.iter().all(aligned)
    }
}

/// A part of a step.
#[derive(Debug)]
pub enum Part {
    /// What happens between two barriers.
    Phase(Phase),
    /// Parts that are repeated.
    Loop(Loop),
}

/// A loop over parts of a step.
#[derive(Debug)]
pub struct Loop {
    /// Index of the kernel in the compiler's kernel graph, for profiles and messages.
    pub kernel: u32,
    /// How many loops stand around this one; below [`MAX_LOOP_DEPTH`].
    pub depth: usize,
    /// Number of iterations; the most of them, if `until` may end the loop.
    pub count: u64,
    /// Whether the index counts down from the last place instead of up from 0.
    pub reverse: bool,
    /// Where a bool lies that ends the loop after the first iteration that leaves it true. It
    /// has another place in odd iterations than in even ones, so that an iteration can write it
    /// while a slower thread still looks at that of the iteration before.
    pub until: Option<Home>,
    /// If the loop is cut into bands, how many: then it has phases alone, each task has as many pieces,
    /// and a piece neither needs nor overwrites what pieces of other numbers leave behind in the loop.
    pub bands: Option<u32>,
    /// What is repeated; it contains no guard.
    pub parts: Vec<Part>,
}

impl Loop {
    /// The counters of a frame in iteration number `iteration`, given those around the loop.
    pub fn counters(&self, around: &[u64; COUNTERS], iteration: u64) -> [u64; COUNTERS] {
        let mut counters = *around;
        let index = if self.reverse { self.count - 1 - iteration } else { iteration };
        counters[Motion::index(self.depth)] = index;
        counters[Motion::parity(self.depth)] = iteration % 2;
        counters
    }

    /// One more than the largest values of all counters inside, given those around the loop.
    pub fn limits(&self, around: &[u64; COUNTERS]) -> [u64; COUNTERS] {
        let mut limits = *around;
        limits[Motion::index(self.depth)] = self.count.max(1);
        limits[Motion::parity(self.depth)] = self.count.clamp(1, 2);
        limits
    }
}

/// Limits of the counters outside all loops.
pub const NO_LOOP: [u64; COUNTERS] = [1; COUNTERS];

/// Tasks that may run side by side: none reads what another one writes.
#[derive(Debug, Default)]
pub struct Phase {
    /// The tasks of this phase.
    pub tasks: Vec<Task>,
}

/// One kernel's work within a phase.
#[derive(Debug)]
pub struct Task {
    /// Index of the kernel in the compiler's kernel graph, for profiles and messages.
    pub kernel: u32,
    /// What a piece does.
    pub work: Work,
    /// Number of pieces, at least 1.
    pub pieces: u32,
    /// Predicted nanoseconds for one piece on one thread.
    pub piece_cost: f64,
}

/// What a task does for each of its pieces.
#[derive(Debug)]
pub enum Work {
    /// A generated function.
    Native(PieceFunction),
    /// A matrix product by the runtime's micro-kernels.
    Contraction(Box<Contraction>),
    /// A routine of the library.
    Library(Box<LibraryCall>),
    /// Ends the step early, before later phases touch any state, unless the value at this arena
    /// offset is finite. Always alone in its phase.
    Guard {
        /// Byte offset of the scalar.
        offset: usize,
        /// F32 or F64.
        dtype: DType,
    },
}

/// A named tensor in the arena.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slot {
    /// Name: a parameter's path, an input's name, an output's name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Logical extents, outermost first.
    pub shape: Vec<usize>,
    /// Byte offset in the arena.
    pub offset: usize,
    /// Distance between neighbours along each logical axis, in elements. Row-major unless the
    /// compiler chose another layout for the kernels that use it.
    pub strides: Vec<usize>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All phases ran.
    Finished,
    /// A guarded value was not finite; no later phase ran.
    NotFinite {
        /// Index of the guard's kernel.
        kernel: u32,
    },
}
