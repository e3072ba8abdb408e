//! Routines on whole tensors whose accesses depend on data, or that go along an axis in order:
//! scattering, cumulation, sorting; movement that takes vectors apart; and convolutions in a transformed
//! space.
//!
//! Tensors are dense and row-major. A routine is cut into pieces, by its extents only, and each
//! piece owns a part of the result: no two write the same element, none waits for another, and
//! the terms of an element are combined in one fixed order. So results do not depend on threads.

mod cumulate;
mod element;
mod interleave;
mod pad;
mod permute;
mod scatter;
mod sort;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub use cumulate::{Cumulate, CumulateKind};
pub use interleave::Interleave;
pub use pad::Pad;
pub use permute::Permute;
pub use scatter::{Scatter, ScatterKind};
pub use sort::Sort;

use crate::cpu::Cpu;
use crate::dtype::DType;
use crate::gemm::{KERNEL_PANEL, Winograd, WinogradGradient, WinogradKernel};
use crate::program::{COUNTERS, Frame, Home};
use crate::verify::elements;
use element::Element;

/// A routine with its extents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Routine {
    /// Rows put at indexed places of a tensor.
    Scatter(Scatter),
    /// Combinations of all elements up to each one.
    Cumulate(Cumulate),
    /// The order of the elements of each row.
    Sort(Sort),
    /// Parts that take turns.
    Interleave(Interleave),
    /// Images with zeros around them.
    Pad(Pad),
    /// Axes in another order.
    Permute(Permute),
    /// A convolution of 3 x 3 taps with transformed kernels.
    Winograd(Winograd),
    /// The input of such a convolution, transformed.
    WinogradInput(Winograd),
    /// Kernels of 3 x 3 taps, transformed.
    WinogradKernel(WinogradKernel),
    /// Sums for the gradient of such kernels, in the transformed space.
    WinogradGradient(WinogradGradient),
    /// The gradient of kernels, made of these sums.
    WinogradTaps(WinogradGradient),
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
            Routine::Interleave(_) => "interleave",
            Routine::Pad(_) => "pad",
            Routine::Permute(_) => "permute",
            Routine::Winograd(_) => "winograd",
            Routine::WinogradInput(_) => "winograd_input",
            Routine::WinogradKernel(_) => "winograd_kernel",
            Routine::WinogradGradient(_) => "winograd_gradient",
            Routine::WinogradTaps(_) => "winograd_taps",
        }
    }

    /// Checks that tensors of these extents, for so many operands, can be.
    fn verify(&self, operands: usize) -> Result<(), String> {
        // An extent of 0 hides no others.
        let count = |extents: &[usize]| elements(extents.iter().map(|&extent| extent.max(1)));
        match self {
            Routine::Scatter(Scatter { batch, extent, count: updates, width, .. }) => {
                count(&[*batch, *extent, *width])?;
                count(&[*batch, *updates, *width])?;
            }
            Routine::Cumulate(Cumulate { outer, length, inner, .. }) => {
                count(&[*outer, *length, *inner])?;
            }
            Routine::Sort(Sort { rows, length, kept, .. }) => {
                count(&[*rows, *length])?;
                if kept > length {
                    return Err(format!("{kept} of {length} positions"));
                }
            }
            Routine::Interleave(Interleave { parts, outer, inner }) => {
                count(&[*parts, *outer, *inner])?;
                if *parts != operands {
                    return Err(format!("interleave with {operands} operands"));
                }
            }
            Routine::Pad(Pad { outer, extents, low, high }) => {
                let along = |axis: usize| {
                    let [low, high] = [low, high].map(|side| side[axis]);
                    low.checked_add(high).and_then(|sum| sum.checked_add(extents[axis]))
                };
                let (Some(rows), Some(columns)) = (along(0), along(1)) else {
                    return Err("margins without an end".to_owned());
                };
                count(&[*outer, rows, columns])?;
            }
            Routine::Permute(permute) => {
                let axes = permute.axes();
                count(&axes.iter().map(|axis| axis.0).collect::<Vec<_>>())?;
                if Permute::new(axes.iter().copied()).as_ref() != Some(permute) {
                    return Err(format!("{axes:?} are not the axes of a permutation"));
                }
            }
            Routine::Winograd(shape) | Routine::WinogradInput(shape) => {
                let Winograd { samples, from, to, input, result, tile, .. } = shape;
                count(&[36, *from, to.saturating_add(KERNEL_PANEL)])?;
                count(&[*samples, *from, input[0], input[1]])?;
                count(&[*samples, *to, result[0], result[1]])?;
                // At most as many transformed elements, in whole blocks.
                let [rows, columns] = result.map(|extent| extent.saturating_add(5));
                count(&[72, *samples, from.saturating_add(32), rows, columns])?;
                if [from, to].contains(&&0) || ![2, 4].contains(tile) {
                    return Err(format!("{from} to {to} channels in tiles of {tile} x {tile}"));
                }
            }
            Routine::WinogradGradient(shape) | Routine::WinogradTaps(shape) => {
                let WinogradGradient { samples, from, to, input, cotangent, .. } = shape;
                // Blocks of channels are whole vectors.
                let [rows, columns] = [to, from].map(|channels| channels.saturating_add(256));
                count(&[2, 16, rows, columns])?;
                count(&[*samples, *from, input[0], input[1]])?;
                count(&[*samples, *to, cotangent[0], cotangent[1]])?;
                if [samples, from, to].contains(&&0) {
                    return Err(format!("{samples} images of {from} to {to} channels"));
                }
            }
            Routine::WinogradKernel(WinogradKernel { to, from, tile, .. }) => {
                count(&[36, to.saturating_add(KERNEL_PANEL), *from])?;
                if ![2, 4].contains(tile) {
                    return Err(format!("tiles of {tile} x {tile}"));
                }
            }
        }
        Ok(())
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
            Routine::Interleave(interleave) => {
                let part = (interleave.outer * interleave.inner, dtype);
                operands.extend(std::iter::repeat_n(part, interleave.parts));
            }
            Routine::Pad(pad) => {
                operands.push((pad.outer * pad.extents[0] * pad.extents[1], dtype));
            }
            Routine::Permute(permute) => operands.push((permute.elements(), dtype)),
            Routine::Winograd(shape) => {
                let [kernels, input, _] = shape.elements();
                operands.extend([(kernels, dtype), (input, dtype)]);
            }
            Routine::WinogradInput(shape) => {
                let of_pieces = Winograd { transformed: false, ..*shape };
                operands.push((of_pieces.elements()[1], dtype));
            }
            Routine::WinogradKernel(kernel) => operands.push((9 * kernel.kernels(), dtype)),
            Routine::WinogradGradient(shape) => {
                let [input, cotangent, _] = shape.elements();
                operands.extend([(input, dtype), (cotangent, dtype)]);
            }
            Routine::WinogradTaps(shape) => operands.push((shape.elements()[2], dtype)),
        }
        operands
    }

    /// Elements and element type of the result, for a call on elements of `dtype`.
    pub fn result(&self, dtype: DType) -> (usize, DType) {
        match self {
            Routine::Scatter(scatter) => (scatter.elements(), dtype),
            Routine::Cumulate(cumulate) => (cumulate.elements(), dtype),
            Routine::Sort(sort) => (sort.rows * sort.kept, DType::I32),
            Routine::Interleave(interleave) => (interleave.elements(), dtype),
            Routine::Pad(pad) => (pad.outer * pad.padded().iter().product::<usize>(), dtype),
            Routine::Permute(permute) => (permute.elements(), dtype),
            Routine::Winograd(shape) => (shape.elements()[2], dtype),
            Routine::WinogradInput(shape) => (shape.transformed_elements(), dtype),
            Routine::WinogradKernel(kernel) => (kernel.elements(), dtype),
            Routine::WinogradGradient(shape) => (shape.elements()[2], dtype),
            Routine::WinogradTaps(shape) => (9 * shape.from * shape.to, dtype),
        }
    }

    /// Number of pieces, at least 1.
    pub fn pieces(&self) -> usize {
        match self {
            Routine::Scatter(scatter) => scatter.parts().iter().product(),
            Routine::Cumulate(cumulate) => cumulate.pieces(),
            Routine::Sort(sort) => sort.pieces(),
            Routine::Interleave(interleave) => interleave.pieces(),
            Routine::Pad(pad) => pad.pieces(),
            Routine::Permute(permute) => permute.pieces(),
            Routine::Winograd(shape) => shape.pieces(),
            Routine::WinogradInput(shape) => shape.input_pieces(),
            Routine::WinogradKernel(kernel) => kernel.pieces(),
            Routine::WinogradGradient(shape) => shape.pieces(),
            Routine::WinogradTaps(shape) => shape.tap_pieces(),
        }
    }

    /// Bytes of scratch memory that a piece needs.
    pub fn scratch_bytes(&self) -> usize {
        match self {
            Routine::Scatter(_)
            | Routine::Cumulate(_)
            | Routine::Interleave(_)
            | Routine::Pad(_)
            | Routine::Permute(_)
            | Routine::WinogradKernel(_)
            | Routine::WinogradTaps(_) => 0,
            Routine::Sort(sort) => sort.scratch_bytes(),
            Routine::Winograd(shape) => shape.scratch_bytes(),
            Routine::WinogradInput(shape) => shape.input_scratch_bytes(),
            Routine::WinogradGradient(shape) => shape.scratch_bytes(),
        }
    }
}

/// A routine applied to tensors in the arena.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LibraryCall {
    /// What is done.
    pub routine: Routine,
    /// Element type of the tensors that are moved or combined: F32, F64 or I32.
    pub dtype: DType,
    /// The place of each operand.
    #[serde(with = "crate::list")]
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
        let only_f32 = matches!(
            self.routine,
            Routine::Pad(_)
                | Routine::Permute(_)
                | Routine::Winograd(_)
                | Routine::WinogradInput(_)
                | Routine::WinogradKernel(_)
                | Routine::WinogradGradient(_)
                | Routine::WinogradTaps(_)
        );
        if only_f32 && self.dtype != DType::F32 {
            return Err(format!("{} of {}", self.routine.name(), self.dtype));
        }
        self.routine.verify(self.operands.len())?;
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

    /// The call made ready for an instruction set.
    pub fn prepare(&self, cpu: Cpu) -> PreparedCall {
        let pad = match &self.routine {
            Routine::Pad(shape) => Some(pad::Prepared::new(shape, cpu)),
            _ => None,
        };
        PreparedCall { call: self.clone(), cpu, pad }
    }
}

/// A call made ready for an instruction set.
pub struct PreparedCall {
    call: LibraryCall,
    cpu: Cpu,
    /// Where the elements that a [`Routine::Pad`] uses together lie.
    pad: Option<pad::Prepared>,
}

impl PreparedCall {
    /// Bytes of scratch memory that a piece needs.
    pub fn scratch_bytes(&self) -> usize {
        self.call.routine.scratch_bytes()
    }

    /// Computes one piece.
    ///
    /// # Safety
    /// This machine supports the instruction set. The call is [valid](LibraryCall::verify) for the
    /// frame's arena, nobody writes its operands or uses its part of the result meanwhile, and the
    /// frame's scratch memory holds what [`Routine::scratch_bytes`] says.
    pub unsafe fn run_piece(&self, frame: &Frame, piece: usize) {
        // SAFETY: by the caller's promise.
        unsafe {
            match self.call.dtype {
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
    /// As [`PreparedCall::run_piece`]; `T` is the Rust type of the call's elements.
    unsafe fn run<T: Element>(&self, frame: &Frame, piece: usize) {
        // SAFETY: operands and result lie in the arena and are aligned, as was verified; nobody
        // else uses them as the caller promises.
        unsafe {
            let place = |home: &Home| home.address(frame.arena, &frame.counters);
            let operand = |number: usize| place(&self.call.operands[number]);
            let pair = || [0, 1].map(|number| operand(number).cast_const().cast());
            let result = place(&self.call.result);
            match &self.call.routine {
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
                Routine::Interleave(interleave) => {
                    let operand = |number: usize| operand(number).cast_const().cast::<T>();
                    interleave.run(operand, result.cast(), piece);
                }
                Routine::Winograd(shape) => {
                    let (result, scratch) = (result.cast(), frame.scratch.cast());
                    shape.run_piece(self.cpu, pair(), result, scratch, piece);
                }
                Routine::WinogradGradient(shape) => {
                    let (result, scratch) = (result.cast(), frame.scratch.cast());
                    shape.run_piece(self.cpu, pair(), result, scratch, piece);
                }
                Routine::WinogradInput(shape) => {
                    let source = operand(0).cast_const().cast();
                    let (result, scratch) = (result.cast(), frame.scratch.cast());
                    shape.transform_piece(self.cpu, source, result, scratch, piece);
                }
                Routine::Pad(_) => {
                    let pad = self.pad.as_ref().expect("prepared");
                    pad.run(operand(0).cast_const().cast(), result.cast(), piece);
                }
                Routine::Permute(permute) => {
                    permute.run(self.cpu, operand(0).cast_const().cast(), result.cast(), piece);
                }
                Routine::WinogradTaps(shape) => {
                    let sums = operand(0).cast_const().cast();
                    shape.run_taps(self.cpu, sums, result.cast(), piece);
                }
                Routine::WinogradKernel(kernel) => {
                    let source = operand(0).cast_const().cast();
                    kernel.run_piece(self.cpu, source, result.cast(), piece);
                }
            }
        }
    }
}
