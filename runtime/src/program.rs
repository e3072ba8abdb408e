//! What the compiler hands over: a step as barrier-separated phases of pieces of work.
//!
//! How work is cut into pieces depends on shapes only. Which thread runs a piece depends on the
//! number of threads, and no result does.

use std::any::Any;
use std::sync::Arc;

use crate::contraction::Contraction;
use crate::cpu::Cpu;
use crate::dtype::DType;
use crate::library::LibraryCall;

/// Where generated code finds its data while it runs. Passed by pointer; the layout is part of
/// the contract with the code generator.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Start of the arena; every buffer is at a fixed byte offset from here.
    pub arena: *mut u8,
    /// Start of the running thread's scratch memory, aligned to 64 bytes. Its contents are
    /// undefined when a piece starts. A contraction's region functions get a frame whose scratch
    /// begins after what the contraction itself uses.
    pub scratch: *mut u8,
    /// Seed of the random streams.
    pub seed: u64,
    /// Number of the step, from 0; part of every random counter.
    pub step: u64,
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
    pub phases: Vec<Phase>,
    /// Named places in the arena which the caller reads and writes.
    pub slots: Vec<Slot>,
    /// Owner of the machine code that the function pointers lead to.
    pub code: Arc<dyn Any + Send + Sync>,
}

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
#[derive(Clone, Debug)]
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
