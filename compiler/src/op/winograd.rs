//! Convolutions of 3 x 3 taps in a transformed space; made by the optimizer.

use cygnet_runtime::gemm;
use cygnet_runtime::library::Routine;

use super::{Application, Context, Cotangents, Emit, Primitive, library as routines, operands_of};
use crate::array::Array;
use crate::types::{DType, TensorType};

/// Kernels of 3 x 3 taps transformed for [`Winograd`], in panels of rows: see
/// [`gemm::WinogradKernel`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WinogradKernel {
    /// Whether kernels are `[from, to, 3, 3]`, and windows meet them from their other end, instead of
    /// `[to, from, 3, 3]`.
    pub turned: bool,
    /// Rows and columns of a tile of the result: 2 or 4.
    pub tile: usize,
}

/// A convolution with stride 1 of an input that is padded already, with kernels transformed by
/// [`WinogradKernel`]; the result is `[1, samples, to, rows, columns]`, in whole
/// tiles. See [`gemm::Winograd`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Winograd {
    /// Extents.
    pub shape: gemm::Winograd,
}

impl WinogradKernel {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        let [kernels] = operands else { unreachable!("one operand") };
        (Routine::WinogradKernel(self.shape(kernels)), kernels.dtype)
    }

    fn shape(&self, kernels: &TensorType) -> gemm::WinogradKernel {
        let (outer, inner) = (kernels.shape[0], kernels.shape[1]);
        let (rows, depth) = if self.turned { (inner, outer) } else { (outer, inner) };
        gemm::WinogradKernel { rows, depth, turned: self.turned, tile: self.tile }
    }
}

impl Winograd {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        (Routine::Winograd(self.shape), operands[0].dtype)
    }
}

impl Primitive for WinogradKernel {
    fn name(&self) -> &'static str {
        "winograd_kernel"
    }

    fn doc(&self) -> &'static str {
        "kernels of 3 x 3 taps, transformed"
    }

    fn attributes(&self) -> String {
        let turned = if self.turned { ", turned" } else { "" };
        format!("tile={}{turned}", self.tile)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [kernels] = operands_of(operands)?;
        match (kernels.dtype, &kernels.shape[..]) {
            (DType::F32, &[_, _, 3, 3]) => {
                let shape = self.shape(kernels);
                let panels = [shape.points(), shape.panels(), shape.depth, gemm::KERNEL_PANEL];
                Ok(TensorType::new(DType::F32, &panels))
            }
            _ => Err(format!("kernels {kernels}")),
        }
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        routines::evaluate(self.routine(&[&operands[0].ty]), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err(routines::MADE_AFTER_GRADIENTS.to_owned())
    }

    fn flops(&self, operands: &[&TensorType], _: &TensorType) -> f64 {
        // Three columns and then each row, at two operations for a point.
        let side = (self.tile + 2) as f64;
        operands[0].elements() as f64 / 9.0 * 2.0 * (3.0 + side) * side
    }
}

impl Primitive for Winograd {
    fn name(&self) -> &'static str {
        "winograd"
    }

    fn doc(&self) -> &'static str {
        "sums of products of 3 x 3 windows with transformed kernels"
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [kernels, input] = operands_of(operands)?;
        let gemm::Winograd { samples, to, .. } = self.shape;
        let ([height, width], elements) = (self.shape.extents(), self.shape.elements());
        let fits = [kernels, input].map(TensorType::elements) == elements[..2]
            && [kernels, input].iter().all(|operand| operand.dtype == DType::F32);
        match fits {
            true => Ok(TensorType::new(DType::F32, &[1, samples, to, height, width])),
            false => Err(format!("kernels {kernels} over {input}")),
        }
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        routines::evaluate(self.routine(&[&operands[0].ty]), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err(routines::MADE_AFTER_GRADIENTS.to_owned())
    }

    fn flops(&self, _: &[&TensorType], _: &TensorType) -> f64 {
        let gemm::Winograd { from, to, .. } = self.shape;
        let (tiles, points) = (self.shape.tiles() as f64, self.shape.points() as f64);
        tiles * points * 2.0 * ((from * to) as f64 + (from + to) as f64)
    }
}

/// The matrices of Lavin and Gray, with halves and other fractions in those of kernels: transforms of
/// inputs `B^T`, of kernels `G`, and back to results `A^T`, row by row.
struct Matrices {
    inputs: &'static [&'static [f64]],
    kernels: &'static [[f64; 3]],
    results: &'static [&'static [f64]],
}

const TWO: Matrices = Matrices {
    inputs: &[
        &[1.0, 0.0, -1.0, 0.0],
        &[0.0, 1.0, 1.0, 0.0],
        &[0.0, -1.0, 1.0, 0.0],
        &[0.0, 1.0, 0.0, -1.0],
    ],
    kernels: &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
    results: &[&[1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, -1.0, -1.0]],
};

const FOUR: Matrices = Matrices {
    inputs: &[
        &[4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        &[0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        &[0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        &[0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        &[0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        &[0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ],
    kernels: &[
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ],
    results: &[
        &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        &[0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        &[0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        &[0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ],
};

/// Those for tiles of so many rows and columns.
const fn matrices(tile: usize) -> &'static Matrices {
    if tile == 2 { &TWO } else { &FOUR }
}

/// `matrix * square * matrix^T`.
fn on_both_sides(
    matrix: &[impl AsRef<[f64]>],
    square: impl Fn(usize, usize) -> f64,
) -> Vec<Vec<f64>> {
    let side = matrix[0].as_ref().len();
    let dot = |row: &[f64], value: &dyn Fn(usize) -> f64| -> f64 {
        row.iter().enumerate().map(|(place, factor)| factor * value(place)).sum()
    };
    let row = |left: &[f64]| {
        let half: Vec<f64> = (0..side).map(|j| dot(left, &|i| square(i, j))).collect();
        matrix.iter().map(|right| dot(right.as_ref(), &|j| half[j])).collect()
    };
    matrix.iter().map(|left| row(left.as_ref())).collect()
}

/// Transformed kernels, in f64.
pub(super) fn transform_kernels(shape: &gemm::WinogradKernel, kernels: &[f64]) -> Vec<f64> {
    let &gemm::WinogradKernel { rows, depth, turned, tile } = shape;
    let mut result = vec![0.0; shape.elements()];
    for (row, k) in (0..rows).flat_map(|row| (0..depth).map(move |k| (row, k))) {
        let number = if turned { k * rows + row } else { row * depth + k };
        let tap = |i: usize, j: usize| {
            let place = if turned { 8 - (3 * i + j) } else { 3 * i + j };
            kernels[9 * number + place]
        };
        let points = on_both_sides(matrices(tile).kernels, tap);
        for (point, value) in points.into_iter().flatten().enumerate() {
            result[place(shape, point, row, k)] = value;
        }
    }
    result
}

/// Where an element of transformed kernels lies.
fn place(shape: &gemm::WinogradKernel, point: usize, row: usize, k: usize) -> usize {
    let panel = point * shape.panels() + row / gemm::KERNEL_PANEL;
    (panel * shape.depth + k) * gemm::KERNEL_PANEL + row % gemm::KERNEL_PANEL
}

/// The convolution in transformed space, in f64.
pub(super) fn convolve(shape: &gemm::Winograd, kernels: &[f64], input: &[f64]) -> Vec<f64> {
    let &gemm::Winograd { samples, from, to, tile: side, .. } = shape;
    let [height, width] = shape.extents();
    let (layout, matrices) = (shape.kernel(false), matrices(side));
    let mut result = vec![0.0; samples * to * height * width];
    let row_length = width + 2;
    for tile in 0..shape.tiles() {
        let (rest, x) = (tile / (width / side), side * (tile % (width / side)));
        let (sample, y) = (rest / (height / side), side * (rest % (height / side)));
        let transformed = (0..from).map(|channel| {
            let plane = &input[(sample * from + channel) * (height + 2) * row_length..];
            on_both_sides(matrices.inputs, |i, j| plane[(y + i) * row_length + x + j]).concat()
        });
        let transformed: Vec<Vec<f64>> = transformed.collect();
        for channel in 0..to {
            let sum = |point: usize| -> f64 {
                let terms = transformed.iter().enumerate();
                terms.map(|(k, t)| kernels[place(&layout, point, channel, k)] * t[point]).sum()
            };
            let sums: Vec<f64> = (0..shape.points()).map(sum).collect();
            let results = on_both_sides(matrices.results, |i, j| sums[(side + 2) * i + j]);
            for (i, row) in results.into_iter().enumerate() {
                let start = ((sample * to + channel) * height + y + i) * width + x;
                result[start..start + side].copy_from_slice(&row);
            }
        }
    }
    result
}
