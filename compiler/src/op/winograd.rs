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
}

/// A convolution with stride 1 of an input that is padded already, with kernels transformed by
/// [`WinogradKernel`]; the result is `[1, samples, to, height, width]`. See [`gemm::Winograd`].
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
        gemm::WinogradKernel { rows, depth, turned: self.turned }
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
        if self.turned { "turned".to_owned() } else { String::new() }
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [kernels] = operands_of(operands)?;
        match (kernels.dtype, &kernels.shape[..]) {
            (DType::F32, &[_, _, 3, 3]) => {
                let shape = self.shape(kernels);
                let panels = [16, shape.panels(), shape.depth, gemm::KERNEL_PANEL];
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

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [kernels, input] = operands_of(operands)?;
        let gemm::Winograd { samples, from, to, height, width, .. } = self.shape;
        let kernel = self.shape.kernel(false);
        let elements = [kernel.elements(), samples * from * (height + 2) * (width + 2)];
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
pub(super) fn transform_kernels(shape: &gemm::WinogradKernel, kernels: &[f64]) -> Vec<f64> {
    let &gemm::WinogradKernel { rows, depth, turned } = shape;
    let mut result = vec![0.0; shape.elements()];
    let transform = |[a, b, c]: [f64; 3]| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
    for (row, k) in (0..rows).flat_map(|row| (0..depth).map(move |k| (row, k))) {
        let number = if turned { k * rows + row } else { row * depth + k };
        let tap = |i: usize, j: usize| {
            let place = if turned { 8 - (3 * i + j) } else { 3 * i + j };
            kernels[9 * number + place]
        };
        let columns = [0, 1, 2].map(|j| transform([tap(0, j), tap(1, j), tap(2, j)]));
        for i in 0..4 {
            let points = transform(columns.map(|column| column[i]));
            for (j, point) in points.into_iter().enumerate() {
                result[place(shape, 4 * i + j, row, k)] = point;
            }
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
    let &gemm::Winograd { samples, from, to, height, width } = shape;
    let layout = shape.kernel(false);
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
                        let kernel = place(&layout, 4 * i + j, channel, source);
                        *sum += kernels[kernel] * transformed[i][j];
                    }
                }
            }
            let columns: [[f64; 2]; 4] = std::array::from_fn(|j| results(sums.map(|row| row[j])));
            for i in 0..2 {
                let start = ((sample * to + channel) * height + y + i) * width + x;
                result[start..start + 2].copy_from_slice(&results(columns.map(|c| c[i])));
            }
        }
    }
    result
}
