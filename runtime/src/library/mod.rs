//! Routines on whole tensors whose accesses depend on data, or that go along an axis in order:
//! scattering, cumulation, sorting.
//!
//! Tensors are dense and row-major. A routine is cut into pieces, by its extents only, and each
//! piece owns a part of the result: no two write the same element, none waits for another, and
//! the terms of an element are combined in one fixed order. So results do not depend on threads.

mod cumulate;
mod element;
mod scatter;
mod sort;
#[cfg(test)]
mod tests;

use std::ops::Range;

use smallvec::SmallVec;

pub use cumulate::{Cumulate, CumulateKind};
pub use scatter::{Scatter, ScatterKind};
pub use sort::Sort;

use crate::dtype::DType;
use crate::program::{COUNTERS, Frame, Home};
use element::Element;

/// A routine with its extents.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Routine {
    /// Rows put at indexed places of a tensor.
    Scatter(Scatter),
    /// Combinations of all elements up to each one.
    Cumulate(Cumulate),
    /// The order of the elements of each row.
    Sort(Sort),
}

/// Most pieces of a routine: enough to balance 16 threads. More would not pay, because every
/// piece of a scatter reads all indices.
const MOST_PIECES: usize = 16;

/// Elements of the result per piece, at least: a few microseconds.
const PIECE_ELEMENTS: usize = 1 << 12;

/// How many pieces so many elements are worth.
fn wanted_pieces(elements: usize) -> usize {
    (elements / PIECE_ELEMENTS).clamp(1, MOST_PIECES)
}

/// Part `number` of `0..total` cut into `parts`.
fn part(total: usize, parts: usize, number: usize) -> Range<usize> {
    total * number / parts..total * (number + 1) / parts
}

impl Routine {
    /// Name in listings.
    pub fn name(&self) -> &'static str {
        match self {
            Routine::Scatter(scatter) => match scatter.kind {
                ScatterKind::Add => "scatter_add",
                ScatterKind::Set => "scatter_set",
            },
            Routine::Cumulate(cumulate) => match cumulate.kind {
                CumulateKind::Sum => "cumulate_sum",
                CumulateKind::Product => "cumulate_prod",
                CumulateKind::Max => "cumulate_max",
            },
            Routine::Sort(_) => "argsort",
        }
    }

    /// Elements and element type of each operand, for a call on elements of `dtype`.
    pub fn operands(&self, dtype: DType) -> SmallVec<[(usize, DType); 2]> {
        let mut operands = SmallVec::new();
        match self {
            Routine::Scatter(scatter) => {
                let indices = scatter.batch * scatter.count;
                operands.push((indices, DType::I32));
                operands.push((indices * scatter.width, dtype));
            }
            Routine::Cumulate(cumulate) => operands.push((cumulate.elements(), dtype)),
            Routine::Sort(sort) => operands.push((sort.rows * sort.length, dtype)),
        }
        operands
    }

    /// Elements and element type of the result, for a call on elements of `dtype`.
    pub fn result(&self, dtype: DType) -> (usize, DType) {
        match self {
            Routine::Scatter(scatter) => (scatter.elements(), dtype),
            Routine::Cumulate(cumulate) => (cumulate.elements(), dtype),
            Routine::Sort(sort) => (sort.rows * sort.kept, DType::I32),
        }
    }

    /// Number of pieces, at least 1.
    pub fn pieces(&self) -> usize {
        match self {
            Routine::Scatter(scatter) => scatter.parts().iter().product(),
            Routine::Cumulate(cumulate) => cumulate.pieces(),
            Routine::Sort(sort) => sort.pieces(),
        }
    }

    /// Bytes of scratch memory that a piece needs.
    pub fn scratch_bytes(&self) -> usize {
        match self {
            Routine::Scatter(_) | Routine::Cumulate(_) => 0,
            Routine::Sort(sort) => sort.scratch_bytes(),
        }
    }
}

/// A routine applied to tensors in the arena.
#[derive(Clone, Debug)]
pub struct LibraryCall {
    /// What is done.
    pub routine: Routine,
    /// Element type of the tensors that are moved or combined: F32, F64 or I32.
    pub dtype: DType,
    /// The place of each operand.
    pub operands: SmallVec<[Home; 2]>,
    /// The place of the result, which no operand overlaps.
    pub result: Home,
}

impl LibraryCall {
    /// Checks that operands and result are as many as the routine takes, and lie in an arena of
    /// this size while each counter of the loops around is below its limit.
    ///
    /// # Errors
    /// What does not fit. It is always a mistake of the compiler.
    pub fn verify(&self, arena_bytes: usize, limits: &[u64; COUNTERS]) -> Result<(), String> {
        if !self.dtype.is_float() && self.dtype != DType::I32 {
            return Err(format!("a routine on elements of {}", self.dtype));
        }
        let wanted = self.routine.operands(self.dtype);
        if wanted.len() != self.operands.len() {
            return Err(format!("{} with {} operands", self.routine.name(), self.operands.len()));
        }
        let result = (self.routine.result(self.dtype), self.result);
        let places = wanted.into_iter().zip(self.operands.iter().copied()).chain([result]);
        for ((elements, dtype), home) in places {
            let (first, last) = home.reach(limits);
            let end = last + elements as i128 * dtype.size() as i128;
            if first < 0 || end > arena_bytes as i128 || !home.is_aligned(dtype.size()) {
                return Err(format!("{elements} elements of {dtype} at {}", home.offset));
            }
        }
        Ok(())
    }

    /// Computes one piece.
    ///
    /// # Safety
    /// The call is [valid](LibraryCall::verify) for the frame's arena, nobody writes its operands
    /// or uses its part of the result meanwhile, and the frame's scratch memory holds what
    /// [`Routine::scratch_bytes`] says.
    pub unsafe fn run_piece(&self, frame: &Frame, piece: usize) {
        // SAFETY: by the caller's promise.
        unsafe {
            match self.dtype {
                DType::F64 => self.run::<f64>(frame, piece),
                DType::F32 => self.run::<f32>(frame, piece),
                DType::I32 => self.run::<i32>(frame, piece),
                DType::U8 | DType::Bool => {
                    unreachable!("verified: not an element type of routines")
                }
            }
        }
    }

    /// # Safety
    /// As [`LibraryCall::run_piece`]; `T` is the Rust type of the call's elements.
    unsafe fn run<T: Element>(&self, frame: &Frame, piece: usize) {
        // SAFETY: operands and result lie in the arena and are aligned, as was verified; nobody
        // else uses them as the caller promises.
        unsafe {
            let place = |home: &Home| home.address(frame.arena, &frame.counters);
            let operand = |number: usize| place(&self.operands[number]);
            let result = place(&self.result);
            match &self.routine {
                Routine::Scatter(scatter) => {
                    scatter.run(operand(0).cast(), operand(1).cast::<T>(), result.cast(), piece);
                }
                Routine::Cumulate(cumulate) => {
                    cumulate.run(operand(0).cast::<T>(), result.cast(), piece);
                }
                Routine::Sort(sort) => {
                    let scratch = frame.scratch.cast();
                    sort.run(operand(0).cast::<T>(), result.cast(), scratch, piece);
                }
            }
        }
    }
}
