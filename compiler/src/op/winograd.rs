//! Convolutions of 3 x 3 taps in a transformed space; made by the optimizer.

use cygnet_runtime::gemm;
use cygnet_runtime::library::Routine;

use super::{Application, Context, Cotangents, Emit, Primitive, library as routines, operands_of};
use crate::array::Array;
use crate::types::{DType, TensorType};

/// Kernels `[a, b, 3, 3]` transformed for [`Winograd`]: `[16, a, b]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WinogradKernel;

/// A convolution with stride 1 of an input that is padded already, with kernels transformed by
/// [`WinogradKernel`]; the result is `[1, samples, to, height, width]`. See [`gemm::Winograd`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Winograd {
    /// Extents, and which way the kernels are.
    pub shape: gemm::Winograd,
}

impl WinogradKernel {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        let [kernels] = operands else { unreachable!("one operand") };
        let routine = gemm::WinogradKernel { kernels: kernels.elements() / 9 };
        (Routine::WinogradKernel(routine), kernels.dtype)
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

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [kernels] = operands_of(operands)?;
        match (kernels.dtype, &kernels.shape[..]) {
            (DType::F32, &[a, b, 3, 3]) => Ok(TensorType::new(DType::F32, &[16, a, b])),
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
        // Three additions and halvings of sums for each column and then each row.
        operands[0].elements() as f64 / 9.0 * 42.0
    }
}

impl Primitive for Winograd {
    fn name(&self) -> &'static str {
        "winograd"
    }

    fn doc(&self) -> &'static str {
        "sums of products of 3 x 3 windows with transformed kernels"
    }

    fn attributes(&self) -> String {
        if self.shape.transposed { "transposed".to_owned() } else { String::new() }
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [kernels, input] = operands_of(operands)?;
        let gemm::Winograd { samples, from, to, height, width, .. } = self.shape;
        let elements = [16 * from * to, samples * from * (height + 2) * (width + 2)];
        let fits = [kernels, input].map(TensorType::elements) == elements
            && [kernels, input].iter().all(|operand| operand.dtype == DType::F32)
            && height % 2 == 0
            && width % 2 == 0;
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
        let tiles = self.shape.tiles() as f64;
        tiles * (32.0 * (from * to) as f64 + 32.0 * from as f64 + 24.0 * to as f64)
    }
}

/// Transformed kernels, in f64.
pub(super) fn transform_kernels(kernels: &[f64]) -> Vec<f64> {
    let count = kernels.len() / 9;
    let mut result = vec![0.0; 16 * count];
    let transform = |[a, b, c]: [f64; 3]| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
    for (number, kernel) in kernels.chunks(9).enumerate() {
        let columns = [0, 1, 2]
            .map(|column| transform([kernel[column], kernel[3 + column], kernel[6 + column]]));
        for row in 0..4 {
            let points = transform([columns[0][row], columns[1][row], columns[2][row]]);
            for (column, point) in points.into_iter().enumerate() {
                result[(4 * row + column) * count + number] = point;
            }
        }
    }
    result
}

/// The convolution in transformed space, in f64.
pub(super) fn convolve(shape: &gemm::Winograd, kernels: &[f64], input: &[f64]) -> Vec<f64> {
    let &gemm::Winograd { samples, from, to, height, width, transposed } = shape;
    let mut result = vec![0.0; samples * to * height * width];
    let inputs = |[a, b, c, d]: [f64; 4]| [a - c, b + c, c - b, b - d];
    let results = |[a, b, c, d]: [f64; 4]| [a + b + c, b - c - d];
    let row_length = width + 2;
    let mut tiles = vec![[[0.0; 4]; 4]; from];
    for tile in 0..shape.tiles() {
        let (rest, x) = (tile / (width / 2), 2 * (tile % (width / 2)));
        let (sample, y) = (rest / (height / 2), 2 * (rest % (height / 2)));
        for (channel, transformed) in tiles.iter_mut().enumerate() {
            let plane = &input[(sample * from + channel) * (height + 2) * row_length..];
            let at = |i: usize, j: usize| plane[(y + i) * row_length + x + j];
            let columns: [[f64; 4]; 4] =
                std::array::from_fn(|j| inputs([at(0, j), at(1, j), at(2, j), at(3, j)]));
            *transformed = std::array::from_fn(|i| inputs(columns.map(|column| column[i])));
        }
        for channel in 0..to {
            let mut sums = [[0.0; 4]; 4];
            for (source, transformed) in tiles.iter().enumerate() {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let swap = |index: usize| [3, 1, 2, 0][index];
                        let kernel = match transposed {
                            true => ((4 * swap(i) + swap(j)) * from + source) * to + channel,
                            false => ((4 * i + j) * to + channel) * from + source,
                        };
                        *sum += kernels[kernel] * transformed[i][j];
                    }
                }
            }
            let columns: [[f64; 2]; 4] = std::array::from_fn(|j| results(sums.map(|row| row[j])));
            for i in 0..2 {
                let place = ((sample * to + channel) * height + y + i) * width + x;
                result[place..place + 2].copy_from_slice(&results(columns.map(|c| c[i])));
            }
        }
    }
    result
}
