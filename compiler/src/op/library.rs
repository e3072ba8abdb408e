//! Operations that routines of the runtime's library compute, and what these do.

use std::cmp::Ordering;

use cygnet_runtime::library::{
    Cumulate, CumulateKind, Pad, Permute, Routine, Scatter, ScatterKind, Sort,
};

use super::{Op, ReduceKind, indexing, interleave, winograd};
use crate::array::Array;
use crate::types::{DType, TensorType};

/// Why routines that the optimizer puts in place of others have no gradient.
pub(super) const MADE_AFTER_GRADIENTS: &str = "it is made after gradients";

impl Op {
    /// The routine of the runtime that computes the operation on operands of these types, which
    /// fit it, and the element type that it works on; `None` if the operation is generated code.
    ///
    /// Routines take whole dense tensors; nothing is fused with them.
    pub fn routine(&self, operands: &[&TensorType]) -> Option<(Routine, DType)> {
        match self {
            Op::Scatter(scatter) => Some(scatter.routine(operands)),
            Op::Cumulate(cumulate) => Some(cumulate.routine(operands)),
            Op::ArgSort(sort) => Some(sort.routine(operands)),
            Op::Interleave(interleave) => Some(interleave.routine(operands)),
            Op::Winograd(convolution) => Some(convolution.routine(operands)),
            Op::WinogradInput(input) => Some(input.routine(operands)),
            Op::WinogradKernel(kernel) => Some(kernel.routine(operands)),
            Op::WinogradGradient(gradient) => Some(gradient.routine(operands)),
            Op::WinogradTaps(taps) => Some(taps.routine(operands)),
            _ => None,
        }
    }

    /// Whether a routine of the runtime computes it: whether it has an [`Op::routine`].
    pub fn is_routine(&self) -> bool {
        matches!(
            self,
            Op::Scatter(_)
                | Op::Cumulate(_)
                | Op::ArgSort(_)
                | Op::Interleave(_)
                | Op::Winograd(_)
                | Op::WinogradInput(_)
                | Op::WinogradKernel(_)
                | Op::WinogradGradient(_)
                | Op::WinogradTaps(_)
        )
    }
}

/// What a routine makes of tensors.
pub(super) fn evaluate(
    (routine, dtype): (Routine, DType),
    operands: &[&Array],
    result: &TensorType,
) -> Array {
    let operands: Vec<&[f64]> = operands.iter().map(|operand| &operand.values[..]).collect();
    Array::new(result.clone(), evaluate_routine(&routine, dtype, &operands))
}

/// What a routine makes of dense operands, in f64: what native routines are held against.
pub fn evaluate_routine(routine: &Routine, dtype: DType, operands: &[&[f64]]) -> Vec<f64> {
    match routine {
        Routine::Scatter(routine) => scatter(routine, dtype, operands[0], operands[1]),
        Routine::Cumulate(routine) => cumulate(routine, dtype, operands[0]),
        Routine::Sort(routine) => sort(routine, operands[0]),
        Routine::Interleave(routine) => interleave::interleave(routine, operands),
        Routine::Pad(shape) => pad(shape, operands[0]),
        Routine::Permute(shape) => permute(shape, operands[0]),
        Routine::Winograd(shape) => winograd::convolve(shape, operands[0], operands[1]),
        Routine::WinogradInput(shape) => winograd::transform_inputs(shape, operands[0]),
        Routine::WinogradKernel(shape) => winograd::transform_kernels(shape, operands[0]),
        Routine::WinogradGradient(shape) => winograd::sums(shape, operands[0], operands[1]),
        Routine::WinogradTaps(shape) => winograd::taps(shape, operands[0]),
    }
}

fn pad(routine: &Pad, images: &[f64]) -> Vec<f64> {
    let &Pad { outer, extents: [rows, columns], low, .. } = routine;
    let [height, width] = routine.padded();
    let mut result = vec![0.0; outer * height * width];
    for (image, row) in (0..outer).flat_map(|image| (0..rows).map(move |row| (image, row))) {
        let start = (image * height + low[0] + row) * width + low[1];
        let source = &images[(image * rows + row) * columns..][..columns];
        result[start..start + columns].copy_from_slice(source);
    }
    result
}

fn permute(routine: &Permute, source: &[f64]) -> Vec<f64> {
    let mut places = vec![0];
    for &(extent, distance) in routine.axes() {
        let along = |start: usize| (0..extent).map(move |index| start + index * distance);
        places = places.into_iter().flat_map(along).collect();
    }
    places.into_iter().map(|place| source[place]).collect()
}

fn scatter(routine: &Scatter, dtype: DType, indices: &[f64], updates: &[f64]) -> Vec<f64> {
    let &Scatter { kind, batch, extent, count, width } = routine;
    let mut result = vec![0.0; batch * extent * width];
    for matrix in 0..batch {
        let indices = &indices[matrix * count..][..count];
        let matrix_start = matrix * extent * width;
        for (number, &index) in indices.iter().enumerate() {
            if index < 0.0 || index >= extent as f64 {
                continue;
            }
            for column in 0..width {
                let place = &mut result[matrix_start + index as usize * width + column];
                let update = updates[(matrix * count + number) * width + column];
                *place = match kind {
                    ScatterKind::Add => ReduceKind::Sum.combine(dtype, *place, update),
                    ScatterKind::Set => update,
                };
            }
        }
        let inside = |&index: &f64| (0.0..extent as f64).contains(&index);
        if dtype.is_float() && !indices.iter().all(inside) {
            result[matrix_start..][..extent * width].fill(indexing::missing(dtype));
        }
    }
    result
}

fn cumulate(routine: &Cumulate, dtype: DType, operand: &[f64]) -> Vec<f64> {
    let &Cumulate { kind, reverse, exclusive, outer, length, inner } = routine;
    let kind = match kind {
        CumulateKind::Sum => ReduceKind::Sum,
        CumulateKind::Product => ReduceKind::Prod,
        CumulateKind::Max => ReduceKind::Max,
    };
    let mut result = vec![0.0; operand.len()];
    for line in 0..outer * inner {
        let mut running = kind.identity(dtype).value();
        for step in 0..length {
            let index = if reverse { length - 1 - step } else { step };
            let place = (line / inner * length + index) * inner + line % inner;
            let next = kind.combine(dtype, running, operand[place]);
            result[place] = if exclusive { running } else { next };
            running = next;
        }
    }
    result
}

fn sort(routine: &Sort, operand: &[f64]) -> Vec<f64> {
    let &Sort { descending, rows, length, kept } = routine;
    let order = |row: usize| {
        let elements = &operand[row * length..][..length];
        let compare = |a: f64, b: f64| -> Ordering {
            a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        };
        let mut positions: Vec<usize> = (0..length).collect();
        positions.sort_by(|&a, &b| {
            let order = compare(elements[a], elements[b]);
            if descending { order.reverse() } else { order }
        });
        positions.into_iter().take(kept).map(|position| position as f64)
    };
    (0..rows).flat_map(order).collect()
}
